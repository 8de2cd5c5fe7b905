//! The files of a plan put into a directory, beneath its descriptor.

use super::MinimalImageError;
use super::host::Host;
use super::kept::{origin, origin_of};
use super::tree::{Tell, Told, TreePlan};
use super::within::inside;
use crate::error::{At, PathError};
use jaula_plan::minimal::{ItemKind, Origin, Placing, Recorded, RecordedKind};
use jaula_repo::hex;
use jaula_sys::dir::{self, Dir, Kind};
use jaula_sys::tree::{clone_content, copy_content};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes read at once.
const PIECE: usize = 256 << 10;
/// Threads that copy. More gain nothing where one disk is read.
const WORKERS: usize = 4;
/// Files that one of them takes at once: those of one directory are mostly one thread's, so that two do not wait for
/// the same one.
const BATCH: usize = 32;
/// An account file is never longer than this.
const ACCOUNTS: u64 = 8 << 20;
/// Bytes of a name to which something can be added (NAME_MAX is 255).
const LONGEST: usize = 240;

type Placed = BTreeMap<PathBuf, Recorded>;

/// A file to be placed.
struct Job<'a> {
    path: &'a Path,
    mode: u32,
    dropped: bool,
    keep: Option<bool>,
    replace: bool,
}

/// What became of it.
struct Done {
    origin: Origin,
    sha256: Option<String>,
    mode: u32,
    linked: Option<bool>,
}

/// Fills this directory with what the plan says.
pub(super) fn fill(
    plan: &TreePlan,
    root: Dir,
    tell: &mut Tell<'_>,
) -> Result<Placed, MinimalImageError> {
    let spec = &plan.spec;
    let mut placed: Vec<(PathBuf, Recorded)> = Vec::with_capacity(plan.found.items.len());
    let mut jobs: Vec<Job<'_>> = Vec::new();
    let mut found: Vec<(Told<'_>, Option<usize>)> = Vec::new();
    let mut last: Option<(&Path, Option<Dir>)> = None;
    // Directories that were made just now: nothing is in them, and what comes between fails what is made there.
    let mut fresh: BTreeSet<&OsStr> = BTreeSet::new();
    for (path, item) in &plan.found.items {
        let parent = path.parent().unwrap_or(path).as_os_str();
        let there = match (last.take(), split(path)) {
            _ if fresh.contains(parent) => None,
            // What comes next is mostly in the same directory.
            (Some((parent, Some(dir))), Some((here, name))) if parent == here => {
                let meta = dir.meta(name).ok();
                last = Some((parent, Some(dir)));
                meta
            }
            (_, Some((here, name))) => {
                let dir = root.open_dir(here).ok();
                let meta = dir.as_ref().and_then(|dir| dir.meta(name).ok());
                last = Some((here, dir));
                meta
            }
            (_, None) => None,
        };
        let kind = match &item.kind {
            ItemKind::Directory { mode } => {
                match there.map(|meta| meta.kind) {
                    None => {
                        root_make_dir(&root, path, *mode)?;
                        fresh.insert(path.as_os_str());
                        found.push((Told::Directory(path), None));
                    }
                    Some(Kind::Directory) => {}
                    Some(_) => return Err(conflict(&spec.dir, path, "a directory")),
                }
                Some(RecordedKind::Directory { mode: *mode })
            }
            ItemKind::Link { target } => {
                match there.map(|meta| meta.kind) {
                    None => {
                        make_link(&root, target, path)?;
                        found.push((Told::Link(path, target), None));
                    }
                    Some(Kind::Link) => {
                        let same = read_link(&root, path)?.as_os_str() == target.as_os_str();
                        match spec.force && !same {
                            true => {
                                remove(&root, path)?;
                                make_link(&root, target, path)?;
                                found.push((Told::Replaced(path), None));
                            }
                            false => found.push((Told::Exists(path), None)),
                        }
                    }
                    Some(Kind::File) if spec.force => {
                        remove(&root, path)?;
                        make_link(&root, target, path)?;
                        found.push((Told::Replaced(path), None));
                    }
                    Some(Kind::File) => found.push((Told::Exists(path), None)),
                    Some(_) => return Err(conflict(&spec.dir, path, "a link")),
                }
                Some(RecordedKind::Link {
                    target: target.clone(),
                })
            }
            ItemKind::Made { mode, text } => made(&root, path, *mode, text, &mut found)?,
            ItemKind::File { mode, dropped } => {
                match there.map(|meta| meta.kind) {
                    Some(Kind::Directory) => return Err(conflict(&spec.dir, path, "a file")),
                    Some(_) if !spec.force => found.push((Told::Exists(path), None)),
                    there => {
                        let keep = plan.found.kept.get(path).copied();
                        found.push((Told::Copied(path), Some(jobs.len())));
                        jobs.push(Job {
                            path,
                            mode: *mode,
                            dropped: *dropped,
                            keep,
                            replace: there.is_some(),
                        });
                    }
                }
                None
            }
        };
        if let Some(kind) = kind {
            placed.push((path.clone(), Recorded { kind }));
        }
    }
    let done = all(plan, &root, &jobs)?;
    for (told, job) in found {
        let Some(index) = job else {
            tell(told);
            continue;
        };
        let (Some(job), Some(done)) = (jobs.get(index), done.get(index)) else {
            continue;
        };
        match done.linked {
            Some(true) => tell(Told::Linked(job.path)),
            Some(false) => {
                tell(Told::NotLinked(job.path));
                tell(Told::Copied(job.path));
            }
            None => tell(told),
        }
        if job.dropped && job.keep != Some(true) {
            tell(Told::SetId(job.path));
        }
        let kind = RecordedKind::File {
            mode: done.mode,
            sha256: done.sha256.clone(),
            origin: done.origin,
        };
        placed.push((job.path.to_owned(), Recorded { kind }));
    }
    for device in &plan.found.devices {
        let told = make_device(&root, device);
        match told {
            Ok(true) => tell(Told::Device(device)),
            Ok(false) => tell(Told::Exists(device)),
            Err(_) => tell(Told::NoDevice(device)),
        }
    }
    Ok(placed.into_iter().collect())
}

fn conflict(dir: &Path, path: &Path, wanted: &'static str) -> MinimalImageError {
    MinimalImageError::Conflict {
        path: dir.join(inside(path)),
        wanted,
    }
}

/// What is at a path beneath the root; nothing when it cannot be reached, which making it then says.
fn at(root: &Dir, path: &Path) -> Option<dir::Meta> {
    let (parent, name) = split(path)?;
    root.open_dir(parent).ok()?.meta(name).ok()
}

fn split(path: &Path) -> Option<(&Path, &std::ffi::OsStr)> {
    Some((inside(path.parent()?), path.file_name()?))
}

/// Does something in the directory in which a path is.
fn beneath<T>(
    root: &Dir,
    path: &Path,
    action: &'static str,
    does: impl FnOnce(&Dir, &std::ffi::OsStr) -> io::Result<T>,
) -> Result<T, PathError> {
    let parts = split(path).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput));
    parts
        .and_then(|(parent, name)| does(&root.open_dir(parent)?, name))
        .at(action, path)
}

fn root_make_dir(root: &Dir, path: &Path, mode: u32) -> Result<(), PathError> {
    beneath(root, path, "make", |dir, name| {
        dir.make_dir(name, mode)?;
        dir.set_mode(name, mode)
    })
}

fn make_link(root: &Dir, target: &Path, path: &Path) -> Result<(), PathError> {
    beneath(root, path, "make", |dir, name| {
        dir.make_link(target.as_os_str(), name)
    })
}

fn read_link(root: &Dir, path: &Path) -> Result<std::ffi::OsString, PathError> {
    beneath(root, path, "read", |dir, name| dir.read_link(name))
}

fn remove(root: &Dir, path: &Path) -> Result<(), PathError> {
    beneath(root, path, "remove", |dir, name| dir.unlink(name))
}

/// The jail's directory and those on the way to it, as `mkdir -p`.
pub(super) fn make_way(dir: &Path) -> Result<(), PathError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .at("make", dir)
}

/// A made file: an account file gets the lines that it lacks, and whatever else is in it stays as it is; another file
/// stays as it is.
fn made<'a>(
    root: &Dir,
    path: &'a Path,
    mode: u32,
    text: &'a str,
    told: &mut Vec<(Told<'a>, Option<usize>)>,
) -> Result<Option<RecordedKind>, MinimalImageError> {
    let accounts = path == Path::new("/etc/passwd") || path == Path::new("/etc/group");
    let there = at(root, path);
    let mut whole = Vec::new();
    match there {
        None => whole.extend_from_slice(text.as_bytes()),
        Some(_) if !accounts => {
            told.push((Told::Exists(path), None));
            return Ok(None);
        }
        Some(_) => {
            let file = beneath(root, path, "open", |dir, name| dir.open_file(name))?;
            let most = ACCOUNTS.saturating_add(1);
            file.take(most).read_to_end(&mut whole).at("read", path)?;
            if whole.len() as u64 > ACCOUNTS {
                // What is not read would be lost.
                return Err(io::Error::other("it is longer than 8 MiB")).at("read", path)?;
            }
        }
    }
    let mut changed = there.is_none();
    for line in text.lines().filter(|_| accounts) {
        let name = line.split(':').next().unwrap_or_default();
        let has = |line: &[u8]| line.split(|byte| *byte == b':').next() == Some(name.as_bytes());
        if there.is_some() && whole.split(|byte| *byte == b'\n').any(has) {
            told.push((Told::HasAccount(name, path), None));
            continue;
        }
        told.push((Told::Account(name, path), None));
        if there.is_some() {
            if whole.last().is_some_and(|last| *last != b'\n') {
                whole.push(b'\n');
            }
            whole.extend_from_slice(line.as_bytes());
            whole.push(b'\n');
            changed = true;
        }
    }
    // One that is there keeps its owner and mode.
    match there {
        Some(meta) if changed => replace(root, path, meta.mode, Some(meta), &whole)?,
        None => replace(root, path, mode, None, &whole)?,
        Some(_) => {}
    }
    Ok(Some(RecordedKind::Made {
        mode: there.map_or(mode, |meta| meta.mode),
        sha256: hex::encode(&Sha256::digest(&whole)),
    }))
}

/// Writes a file anew, there at once or not at all.
fn replace(
    root: &Dir,
    path: &Path,
    mode: u32,
    like: Option<dir::Meta>,
    bytes: &[u8],
) -> Result<(), PathError> {
    beneath(root, path, "write", |dir, name| {
        let fresh = fresh_name(name);
        let mut file = create(dir, &fresh, 0o600)?;
        file.write_all(bytes)?;
        let own = dir::meta_of(file.as_fd())?;
        if let Some(meta) = like.filter(|meta| (meta.uid, meta.gid) != (own.uid, own.gid)) {
            dir::set_owner(file.as_fd(), meta.uid, meta.gid)?;
        }
        dir::set_mode(file.as_fd(), mode)?;
        match like {
            Some(_) => dir.rename(&fresh, dir, name),
            None => dir.rename_new(&fresh, dir, name),
        }
    })
}

/// What a file is called until it is whole.
fn fresh_name(name: &std::ffi::OsStr) -> std::ffi::OsString {
    let mut fresh = std::ffi::OsString::from(".");
    match name.len() <= LONGEST {
        true => fresh.push(name),
        false => fresh.push(hex::encode(&Sha256::digest(name.as_bytes()))),
    }
    fresh.push(".jaula-new");
    fresh
}

/// Makes a file of such a name. What somebody who was killed has left there is removed: a file, never anything else.
fn create(dir: &Dir, fresh: &std::ffi::OsStr, mode: u32) -> io::Result<File> {
    match dir.create_file(fresh, mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if dir.meta(fresh)?.kind != Kind::File {
                return Err(error);
            }
            dir.unlink(fresh)?;
            dir.create_file(fresh, mode)
        }
        made => made,
    }
}

fn make_device(root: &Dir, device: &Path) -> Result<bool, PathError> {
    let meta = std::fs::metadata(device).at("look at", device)?;
    use std::os::unix::fs::FileTypeExt;
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => Kind::CharDevice,
        kind if kind.is_block_device() => Kind::BlockDevice,
        _ => return Err(io::Error::from(io::ErrorKind::InvalidInput)).at("make", device),
    };
    let mut way = PathBuf::from("/");
    for part in device
        .parent()
        .unwrap_or(Path::new("/"))
        .components()
        .skip(1)
    {
        way.push(part);
        if at(root, &way).is_none() {
            root_make_dir(root, &way, 0o755)?;
        }
    }
    if at(root, device).is_some() {
        return Ok(false);
    }
    let number = meta.rdev();
    // makedev(3) of the C library.
    let major = ((number >> 8) & 0xfff) | ((number >> 32) & 0xffff_f000);
    let minor = (number & 0xff) | ((number >> 12) & 0xffff_ff00);
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    beneath(root, device, "make", |dir, name| {
        let mode = meta.mode() & 0o777;
        dir.make_node(name, kind, mode, (narrow(major), narrow(minor)))?;
        dir.set_mode(name, mode)
    })?;
    Ok(true)
}

/// All files, by a few threads.
fn all(plan: &TreePlan, root: &Dir, jobs: &[Job<'_>]) -> Result<Vec<Done>, MinimalImageError> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Done)>> = Mutex::new(Vec::with_capacity(jobs.len()));
    let work = || -> Result<(), MinimalImageError> {
        let host = Host::open()?;
        let root = root.try_clone().at("open", &plan.spec.dir)?;
        let mut worker = Worker {
            plan,
            host,
            root,
            space: vec![0; PIECE],
            shares: true,
            open: None,
        };
        let mut own = Vec::new();
        loop {
            let start = next.fetch_add(BATCH, Ordering::Relaxed);
            let batch = jobs.iter().enumerate().skip(start).take(BATCH);
            if batch.len() == 0 {
                break;
            }
            for (index, job) in batch {
                match worker.one(job) {
                    Ok(done) => own.push((index, done)),
                    Err(error) => {
                        // The others find nothing more to do.
                        next.store(jobs.len(), Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
        }
        let mut results = results
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        results.extend(own);
        Ok(())
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = cores.min(WORKERS).min(jobs.len().div_ceil(64)).max(1);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let mut first = work();
        for other in others {
            match other.join() {
                Ok(Err(error)) if first.is_ok() => first = Err(error),
                Ok(_) => {}
                Err(_) => first = Err(MinimalImageError::Host),
            }
        }
        first
    })?;
    let mut results = results
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    results.sort_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, done)| done).collect())
}

struct Worker<'a> {
    plan: &'a TreePlan,
    host: Host,
    root: Dir,
    space: Vec<u8>,
    /// Whether bytes may be shared: until the file system says that it cannot.
    shares: bool,
    /// The directory of the last file, in the jail and on the host.
    open: Option<(PathBuf, Dir, Dir)>,
}

impl Worker<'_> {
    fn one(&mut self, job: &Job<'_>) -> Result<Done, MinimalImageError> {
        let path = job.path;
        let Some((parent, name)) = split(path) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput)).at("copy", path)?;
        };
        let link = self.plan.spec.placing == Placing::Hardlink && !job.dropped;
        if self.open.as_ref().is_none_or(|(open, ..)| open != parent) {
            let to = self.root.open_dir(parent).at("open", path)?;
            let from = self.host.dir(parent)?;
            self.open = Some((parent.to_owned(), to, from));
        }
        let Some((_, to, from)) = &self.open else {
            return Err(MinimalImageError::Host);
        };
        let fresh = fresh_name(name);
        if link && linked(from, name, to, job.replace.then_some(&fresh)) {
            let meta = from.meta(name).at("look at", path)?;
            return Ok(Done {
                origin: origin_of(&meta),
                sha256: None,
                mode: meta.mode,
                linked: Some(true),
            });
        }
        let source = Host::file_in(from, name, path)?;
        let meta = source.metadata().at("look at", path)?;
        let file = create(to, &fresh, 0o600).at("make", path)?;
        let sha256 = match self.plan.spec.placing {
            Placing::Reflink => {
                clone_content(&source, &file).map_err(|source| MinimalImageError::Reflink {
                    path: path.to_owned(),
                    source,
                })?;
                None
            }
            _ if self.plan.spec.hash => {
                let shared = self.shares && meta.len() > 0 && clone_content(&source, &file).is_ok();
                self.shares &= shared || meta.len() == 0;
                let digest = copy_hashed(&source, &file, shared, meta.len(), &mut self.space);
                Some(hex::encode(&digest.at("copy", path)?))
            }
            _ => {
                copy_content(&source, &file, meta.len()).at("copy", path)?;
                None
            }
        };
        let mut mode = job.mode;
        if let Some(set_id) = job.keep {
            dir::set_owner(file.as_fd(), meta.uid(), meta.gid()).at("change", path)?;
            if set_id {
                mode = meta.mode() & 0o7777;
            }
        }
        dir::set_mode(file.as_fd(), mode).at("change", path)?;
        let nanos = u32::try_from(meta.mtime_nsec()).unwrap_or(0);
        dir::set_mtime(file.as_fd(), meta.mtime(), nanos).at("change", path)?;
        // There whole or not at all.
        match job.replace {
            true => to.rename(&fresh, to, name),
            false => to.rename_new(&fresh, to, name),
        }
        .at("name", path)?;
        Ok(Done {
            origin: origin(&meta),
            sha256,
            mode,
            linked: link.then_some(false),
        })
    }
}

/// Gives a file of the host a name in the jail, by way of another one where something has that name. Whether it could.
fn linked(
    from: &Dir,
    name: &std::ffi::OsStr,
    to: &Dir,
    fresh: Option<&std::ffi::OsString>,
) -> bool {
    let Some(fresh) = fresh else {
        return from.hard_link_to(name, to, name).is_ok();
    };
    if to.meta(fresh).is_ok_and(|meta| meta.kind == Kind::File) {
        drop(to.unlink(fresh));
    }
    if from.hard_link_to(name, to, fresh).is_err() {
        return false;
    }
    // rename(2) of two names of one file does nothing.
    let renamed = to.rename(fresh, to, name).is_ok();
    drop(to.unlink(fresh));
    renamed
}

/// Copies and hashes in one go what is `size` bytes long, if it did not change.
fn copy_hashed(
    from: &File,
    to: &File,
    cloned: bool,
    size: u64,
    space: &mut [u8],
) -> io::Result<sha2::digest::Output<Sha256>> {
    let mut hash = Sha256::new();
    let mut at = 0u64;
    loop {
        let read = match from.read_at(space, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let Some(piece) = space.get(..read).filter(|piece| !piece.is_empty()) else {
            return Ok(hash.finalize());
        };
        hash.update(piece);
        if !cloned {
            to.write_all_at(piece, at)?;
        }
        at = at.saturating_add(read as u64);
        // Less than there was room for, and all: the end, without asking for it.
        if at == size && piece.len() < PIECE {
            return Ok(hash.finalize());
        }
    }
}
