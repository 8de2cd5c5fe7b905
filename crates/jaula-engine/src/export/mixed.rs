//! A tree written into a directory that may hold something already, with what only this place has: the old
//! bootstrappers' way (debootstrap(8), cdebootstrap(1)). Nothing that was there is replaced. The tree is made beside
//! what is there and renamed into place name by name, so that an interrupted change is undone by its journal.

use super::copy::{self, Copied, CopyOptions, Owner, copy_tree};
use super::{ExportError, Meter, absolute};
use crate::engine::Engine;
use crate::error::{At, EngineError};
use crate::event::{Event, Observer};
use crate::journal::{Intent, Journal};
use crate::store::StoreError;
use crate::view::Image;
use jaula_plan::names::Digest;
use jaula_sys::dir::{Dir, Kind, set_mode, set_owner};
use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Nodes everybody may use: name, major and minor number (null(4), full(4), random(4), tty(4), console(4), pts(4)).
pub const DEVICES: [(&str, (u32, u32)); 8] = [
    ("console", (5, 1)),
    ("full", (1, 7)),
    ("null", (1, 3)),
    ("ptmx", (5, 2)),
    ("random", (1, 8)),
    ("tty", (5, 0)),
    ("urandom", (1, 9)),
    ("zero", (1, 5)),
];

/// Where a tree is mixed in, and what is added there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixTarget {
    /// The directory; made with its parents when it is not there yet.
    pub path: PathBuf,
    /// Whether it may hold anything but an empty `lost+found`.
    pub mixed: bool,
    /// Whether programs and devices must be usable there: not on a file system mounted noexec or nodev.
    pub usable: bool,
    /// What is added, in this order.
    pub extras: Vec<Extra>,
}

/// Something of one place only: it is in no image, because it differs from host to host or from run to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// Where, relative to the tree. The directories above it are made when they are not there.
    pub path: PathBuf,
    /// What.
    pub what: ExtraKind,
    /// Whether it replaces what the image has there. What was in the target before always stays.
    pub replaces: bool,
}

/// What is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtraKind {
    /// A file of root's.
    File {
        /// Its permission bits.
        mode: u32,
        /// Its bytes.
        content: Vec<u8>,
    },
    /// A file of the host, copied.
    Copy {
        /// The file.
        from: PathBuf,
    },
    /// A symbolic link.
    Link(PathBuf),
    /// A character device that everybody may use. Left out where the kernel does not let the caller make one.
    Device {
        /// Major and minor number.
        node: (u32, u32),
    },
    /// A directory of root's.
    Directory {
        /// Its permission bits.
        mode: u32,
    },
}

/// An image about to be mixed into a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixPlan {
    image: Option<Image>,
    target: MixTarget,
}

impl MixPlan {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.target.path
    }
}

/// What is in the target when the tree comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Absent,
    Directory,
}

impl Engine {
    /// Looks whether an image, or the extras alone, can be written into a directory that may hold something.
    ///
    /// # Errors
    /// [`ExportError::Occupied`] when it holds something and may not, [`ExportError::Clash`] when the image has a file
    /// that the directory has too.
    pub fn plan_mix(
        &self,
        image: Option<&Digest>,
        target: &MixTarget,
    ) -> Result<MixPlan, EngineError> {
        let image = match image {
            Some(digest) => Some(
                self.store()
                    .image(digest)?
                    .ok_or(StoreError::NoImage { digest: *digest })?,
            ),
            None => None,
        };
        let mut target = target.clone();
        target.path = absolute(&target.path)?;
        if target.usable {
            usable(&target.path)?;
        }
        if let (Found::Directory, Some(image)) = (found(&target)?, &image)
            && target.mixed
        {
            let place = Dir::open(&target.path)
                .at("open", &target.path)
                .map_err(ExportError::from)?;
            let tree = Dir::open(image.root())
                .at("open", image.root())
                .map_err(ExportError::from)?;
            let ours = |path: &Path| {
                let mut extras = target.extras.iter().filter(|extra| extra.replaces);
                extras.any(|extra| extra.path == path)
            };
            clashes(&tree, &place, &target.path, Path::new(""), &ours)?;
        }
        Ok(MixPlan { image, target })
    }

    /// Writes it. Nothing of it is left when it fails.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn mix(&self, plan: &MixPlan, observer: &dyn Observer) -> Result<(), EngineError> {
        let held = plan.image.as_ref().map(Image::hold).transpose()?;
        let size = match &plan.image {
            Some(image) => self.store().info(image.digest())?.size,
            None => 0,
        };
        let (id, mut journal) = self.store().journal()?;
        let done = write(&mut journal, &id, plan, size, observer);
        match done {
            Ok(()) => journal.finish().map_err(ExportError::from)?,
            Err(error) => {
                for left in journal.undo() {
                    observer.event(Event::Note {
                        text: left.to_string(),
                    });
                }
                return Err(error.into());
            }
        }
        drop(held);
        observer.event(Event::Made {
            what: "directory",
            path: plan.target.path.clone(),
        });
        Ok(())
    }
}

/// Looks at the mount that a directory is on, or will be on.
fn usable(path: &Path) -> Result<(), ExportError> {
    for path in path.ancestors() {
        match Dir::open(path) {
            Ok(dir) if dir.inert().at("look at", path)? => {
                return Err(ExportError::Inert {
                    path: path.to_owned(),
                });
            }
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("open", path)?,
        }
    }
    Ok(())
}

fn found(target: &MixTarget) -> Result<Found, ExportError> {
    let path = &target.path;
    let occupied = || ExportError::Occupied { path: path.clone() };
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err() => {
            return Ok(Found::Absent);
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::NotFound) => {
            return Err(occupied());
        }
        Err(error) => return Err(error).at("list", path)?,
    };
    for entry in entries {
        let name = entry.at("list", path)?.file_name();
        if !target.mixed && !empty_lost_and_found(path, &name)? {
            return Err(occupied());
        }
    }
    Ok(Found::Directory)
}

/// What every new ext file system holds.
fn empty_lost_and_found(path: &Path, name: &OsStr) -> Result<bool, ExportError> {
    if name != "lost+found" {
        return Ok(false);
    }
    let path = path.join(name);
    match std::fs::read_dir(&path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error).at("list", path)?,
    }
}

/// A directory beneath another, also where something is mounted on it.
fn below(dir: &Dir, name: &OsStr, path: &Path) -> Result<Dir, ExportError> {
    Ok(dir.open_dir_in_root(Path::new(name)).at("open", path)?)
}

/// Whether two names can become one: both are directories, or links that lead to the same.
fn alike(tree: &Dir, place: &Dir, name: &OsStr, kinds: (Kind, Kind)) -> bool {
    match kinds {
        (Kind::Directory, Kind::Directory) => true,
        (Kind::Link, Kind::Link) => match (tree.read_link(name), place.read_link(name)) {
            (Ok(ours), Ok(there)) => ours == there,
            _ => false,
        },
        _ => false,
    }
}

/// Refuses what both have and only one can keep. What an extra replaces does not come to be where something is.
fn clashes(
    tree: &Dir,
    place: &Dir,
    top: &Path,
    inner: &Path,
    replaced: &dyn Fn(&Path) -> bool,
) -> Result<(), ExportError> {
    for (name, _) in tree.entries().at("list", top.join(inner))? {
        let inner = inner.join(&name);
        let path = top.join(&inner);
        let there = match place.meta(&name) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.at("look at", &path)?.kind,
        };
        let ours = tree.meta(&name).at("look at", &path)?.kind;
        if replaced(&inner) {
            continue;
        }
        if !alike(tree, place, &name, (ours, there)) {
            return Err(ExportError::Clash { path });
        }
        if ours == Kind::Directory {
            let (tree, place) = (below(tree, &name, &path)?, below(place, &name, &path)?);
            clashes(&tree, &place, top, &inner, replaced)?;
        }
    }
    Ok(())
}

fn write(
    journal: &mut Journal,
    id: &str,
    plan: &MixPlan,
    size: u64,
    observer: &dyn Observer,
) -> Result<(), ExportError> {
    let path = &plan.target.path;
    let meter = Meter::start(observer, 0, size);
    let fresh = make_missing(journal, path)?;
    let place = Dir::open(path).at("open", path)?;
    let part = Part::make(journal, id, &place, path)?;
    let tell = |items: u64, bytes: u64, name: &Path| {
        meter.progress(items, bytes, jaula_plan::explain::shown(name));
    };
    let (mut copied, mut top) = (Copied::default(), None);
    if let Some(image) = &plan.image {
        let from = image.root();
        let tree = Dir::open(from).at("open", from)?;
        top = Some(tree.own_meta().at("look at", from)?);
        let options = CopyOptions::default();
        copied = copy_tree(&tree, from, &part.dir, &part.path, &options, &tell)?;
    }
    let mut skipped = copied.skipped;
    for extra in &plan.target.extras {
        skipped += u64::from(!add(&part, &place, extra)?);
    }
    part.dir.sync_file_system().at("sync", &part.path)?;
    journal.point()?;
    // A directory in which somebody has something keeps its own attributes.
    let empty = fresh || place.entries().at("list", path)?.len() <= 1;
    merge(journal, id, &part.dir, &part.path, &place, path)?;
    if let Some(meta) = top.filter(|_| empty) {
        copy::dress(&place, ".", &meta, Owner::Same).at("change", path)?;
    }
    part.remove(&place)?;
    if skipped > 0 {
        observer.event(Event::Note {
            text: format!("left out {skipped} sockets and device nodes that may not be made here"),
        });
    }
    meter.finish(copied.items, copied.bytes);
    Ok(())
}

/// Makes the directory and those above it; whether it was not there.
fn make_missing(journal: &mut Journal, path: &Path) -> Result<bool, ExportError> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|path| path.symlink_metadata().is_err())
        .collect();
    let Some(first) = missing.last() else {
        return Ok(false);
    };
    journal.intend(Intent::Create((*first).to_owned()))?;
    for path in missing.iter().rev() {
        DirBuilder::new()
            .mode(0o755)
            .create(path)
            .at("make", path)?;
    }
    journal.point()?;
    Ok(true)
}

/// A directory in which a tree comes to be, in the one that it is for.
struct Part {
    name: OsString,
    path: PathBuf,
    dir: Dir,
}

impl Part {
    fn make(journal: &mut Journal, id: &str, place: &Dir, at: &Path) -> Result<Self, ExportError> {
        let name = OsString::from(format!(".{id}.part"));
        let path = at.join(&name);
        journal.intend(Intent::Create(path.clone()))?;
        place.make_dir(&name, 0o700).at("make", &path)?;
        journal.point()?;
        let dir = place.open_dir(&name).at("open", &path)?;
        Ok(Self { name, path, dir })
    }

    /// Removes it with what was not moved: directories and links that were there already.
    fn remove(self, place: &Dir) -> Result<(), ExportError> {
        crate::remove::tree(place, &self.name)
            .map_err(std::io::Error::other)
            .at("remove", &self.path)?;
        Ok(())
    }
}

/// Moves what is in one directory to another. What both have was looked at before.
fn merge(
    journal: &mut Journal,
    id: &str,
    from: &Dir,
    from_path: &Path,
    place: &Dir,
    path: &Path,
) -> Result<(), ExportError> {
    for (name, _) in from.entries().at("list", from_path)? {
        let (source, target) = (from_path.join(&name), path.join(&name));
        let there = match place.meta(&name) {
            Ok(meta) => meta,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                journal.intend(Intent::Create(target.clone()))?;
                from.rename_new(&name, place, &name).at("rename", &source)?;
                journal.point()?;
                continue;
            }
            Err(error) => return Err(error).at("look at", &target)?,
        };
        let ours = from.meta(&name).at("look at", &source)?;
        if !alike(from, place, &name, (ours.kind, there.kind)) {
            return Err(ExportError::Clash { path: target });
        }
        if ours.kind != Kind::Directory {
            continue;
        }
        let (inner, into) = (below(from, &name, &source)?, below(place, &name, &target)?);
        if there.mount_root {
            // Nothing can be renamed to another file system.
            let part = Part::make(journal, id, &into, &target)?;
            let still = |_: u64, _: u64, _: &Path| {};
            copy_tree(
                &inner,
                &source,
                &part.dir,
                &part.path,
                &CopyOptions::default(),
                &still,
            )?;
            merge(journal, id, &part.dir, &part.path, &into, &target)?;
            part.remove(&into)?;
        } else {
            merge(journal, id, &inner, &source, &into, &target)?;
        }
    }
    Ok(())
}

/// Adds one thing to a part; whether it could be made.
fn add(part: &Part, place: &Dir, extra: &Extra) -> Result<bool, ExportError> {
    let shown = part.path.join(&extra.path);
    let mut parents = extra
        .path
        .components()
        .map(|part| part.as_os_str().to_owned());
    let Some(name) = parents.next_back() else {
        return Ok(true);
    };
    let mut dir = part.dir.try_clone().at("open", &part.path)?;
    let mut there = Some(place.try_clone().at("open", &part.path)?);
    for parent in parents {
        there = there.and_then(|dir| dir.open_dir(&parent).ok());
        dir = match dir.open_dir(&parent) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                dir.make_dir(&parent, 0o755).at("make", &shown)?;
                let made = dir.open_dir(&parent).at("open", &shown)?;
                set_mode(made.as_fd(), 0o755).at("change", &shown)?;
                made
            }
            Err(error) => return Err(error).at("open", &shown)?,
        };
    }
    let taken = there.is_some_and(|dir| dir.meta(&name).is_ok());
    match dir.meta(&name) {
        Ok(meta) if taken && extra.replaces && meta.kind != Kind::Directory => {
            dir.unlink(&name).at("replace", &shown)?;
            return Ok(true);
        }
        _ if taken => return Ok(true),
        Ok(_) if !extra.replaces => return Ok(true),
        Ok(meta) if meta.kind != Kind::Directory => dir.unlink(&name).at("replace", &shown)?,
        _ => {}
    }
    match &extra.what {
        ExtraKind::File { mode, content } => file(&dir, &name, *mode, content, &shown)?,
        ExtraKind::Copy { from } => {
            let mode = std::fs::metadata(from).at("look at", from)?;
            let content = std::fs::read(from).at("read", from)?;
            let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777;
            file(&dir, &name, mode, &content, &shown)?;
        }
        ExtraKind::Link(to) => dir.make_link(to.as_os_str(), &name).at("make", &shown)?,
        ExtraKind::Directory { mode } => match dir.make_dir(&name, *mode) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => {
                other.at("make", &shown)?;
                dir.set_mode(&name, *mode).at("change", &shown)?;
            }
        },
        ExtraKind::Device { node } => {
            match dir.make_node(&name, Kind::CharDevice, 0o666, *node) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(false),
                other => other.at("make", &shown)?,
            }
            dir.set_mode(&name, 0o666).at("change", &shown)?;
        }
    }
    Ok(true)
}

fn file(
    dir: &Dir,
    name: &OsStr,
    mode: u32,
    content: &[u8],
    shown: &Path,
) -> Result<(), ExportError> {
    let mut file = dir.create_file(name, 0o600).at("create", shown)?;
    file.write_all(content).at("write", shown)?;
    set_owner(file.as_fd(), 0, 0).at("change", shown)?;
    set_mode(file.as_fd(), mode).at("change", shown)?;
    Ok(())
}
