//! A tree copied into an empty directory: every attribute, hard links as such, blocks shared where the file system
//! can, on two processors. No link is followed on either side.

use super::ExportError;
use super::scan::open_deep;
use super::tar::belongs;
use crate::error::At;
use jaula_sys::content::copy_contents;
use jaula_sys::dir::{Dir, Kind, Meta, set_mode, set_mtime, set_owner, set_xattr, xattrs};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads that copy. More do not help: they wait for the same file system.
const THREADS: usize = 2;

/// Who owns the copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owner {
    /// Whoever owns the originals.
    #[default]
    Same,
    /// All of them belong to this user and group; set-id bits and capabilities are not kept.
    All(u32, u32),
}

/// How a tree is copied.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyOptions {
    /// Who owns the copies.
    pub owner: Owner,
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Entries.
    pub items: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Sockets, and device nodes that may not be made.
    pub skipped: u64,
}

struct Copier<'a> {
    from: &'a Dir,
    from_path: &'a Path,
    to: &'a Dir,
    to_path: &'a Path,
    options: &'a CopyOptions,
    items: AtomicU64,
    bytes: AtomicU64,
    skipped: AtomicU64,
    /// Files with several names: number of the file, name. Copied last, in the order of their names.
    linked: Mutex<Vec<(u64, PathBuf)>>,
    tell: &'a (dyn Fn(u64, u64, &Path) + Sync),
}

/// Copies what is beneath `from` into the empty directory `to`, and `from`'s own attributes to it. The paths are for
/// errors. `tell` hears of every directory: entries and bytes so far, its name.
pub fn copy_tree(
    from: &Dir,
    from_path: &Path,
    to: &Dir,
    to_path: &Path,
    options: &CopyOptions,
    tell: &(dyn Fn(u64, u64, &Path) + Sync),
) -> Result<Copied, ExportError> {
    let (items, bytes, skipped) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let linked = Mutex::new(Vec::new());
    let copier = Copier {
        from,
        from_path,
        to,
        to_path,
        options,
        items,
        bytes,
        skipped,
        linked,
        tell,
    };
    // Directories first, so that the threads need no order between them.
    let mut dirs = vec![(
        PathBuf::from("."),
        from.own_meta().at("look at", from_path)?,
    )];
    let mut next = 0usize;
    while let Some((path, _)) = dirs.get(next).cloned() {
        next = next.saturating_add(1);
        let (dir, made) = copier.both(&path)?;
        for (name, kind) in dir.entries().at("list", from_path.join(&path))? {
            if kind != Kind::Directory && kind != Kind::Unknown {
                continue;
            }
            let meta = dir
                .meta(&name)
                .at("look at", from_path.join(&path).join(&name))?;
            if meta.kind == Kind::Directory {
                made.make_dir(&name, 0o700)
                    .at("make", to_path.join(&path).join(&name))?;
                dirs.push((path.join(&name), meta));
            }
        }
    }
    let turn = AtomicUsize::new(0);
    let work = || -> Result<(), ExportError> {
        while let Some((path, _)) = dirs.get(turn.fetch_add(1, Ordering::Relaxed)) {
            copier.directory(path)?;
        }
        Ok(())
    };
    at_once(dirs.len() < 8, from_path, work)?;
    copier.hard_links()?;
    // Times of directories change while things are made in them, so they come last, the deepest first.
    for (path, meta) in dirs.iter().rev() {
        let (original, made) = copier.both(path)?;
        copier
            .attributes(original.as_fd(), made.as_fd())
            .at("change", to_path.join(path))?;
        dress(&made, ".", meta, options.owner).at("change", to_path.join(path))?;
    }
    let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
    Ok(Copied {
        items: read(&copier.items).saturating_add(dirs.len() as u64),
        bytes: read(&copier.bytes),
        skipped: read(&copier.skipped),
    })
}

/// Owner, mode and times of a name, in the order in which none undoes another.
pub(super) fn dress(
    dir: &Dir,
    name: impl AsRef<Path>,
    meta: &Meta,
    owner: Owner,
) -> io::Result<()> {
    let name = name.as_ref();
    let (uid, gid, mode) = worn(meta, owner);
    dir.set_owner(name, uid, gid)?;
    if meta.kind != Kind::Link {
        dir.set_mode(name, mode)?;
    }
    dir.set_mtime(name, meta.mtime, meta.mtime_nanos)
}

fn worn(meta: &Meta, owner: Owner) -> (u32, u32, u32) {
    match owner {
        Owner::Same => (meta.uid, meta.gid, meta.mode),
        Owner::All(uid, gid) => (uid, gid, meta.mode & 0o1777),
    }
}

impl Copier<'_> {
    fn both(&self, path: &Path) -> Result<(Dir, Dir), ExportError> {
        let from = open_deep(self.from, path).at("open", self.from_path.join(path))?;
        let to = open_deep(self.to, path).at("open", self.to_path.join(path))?;
        Ok((from, to))
    }

    fn attributes(
        &self,
        from: std::os::fd::BorrowedFd<'_>,
        to: std::os::fd::BorrowedFd<'_>,
    ) -> io::Result<()> {
        for (name, value) in xattrs(from)?.into_iter().filter(|(name, _)| belongs(name)) {
            if self.options.owner != Owner::Same && !name.as_encoded_bytes().starts_with(b"user.") {
                continue;
            }
            match set_xattr(to, &name, &value) {
                // The file system has none, and the content is what matters.
                Err(error)
                    if error.kind() == ErrorKind::Unsupported
                        && name.as_encoded_bytes().starts_with(b"user.") => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Everything in one directory that is no directory.
    fn directory(&self, path: &Path) -> Result<(), ExportError> {
        let (from, to) = self.both(path)?;
        for (name, kind) in from.entries().at("list", self.from_path.join(path))? {
            if kind == Kind::Directory {
                continue;
            }
            let meta = from
                .meta(&name)
                .at("look at", self.from_path.join(path).join(&name))?;
            if meta.kind == Kind::Directory {
                continue;
            }
            if meta.links > 1 {
                let mut linked = self
                    .linked
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                linked.push((meta.inode, path.join(&name)));
                continue;
            }
            self.one(&from, &to, &name, &meta)
                .at("copy", self.from_path.join(path).join(&name))?;
        }
        (self.tell)(
            self.items.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
            path,
        );
        Ok(())
    }

    fn one(&self, from: &Dir, to: &Dir, name: &OsStr, meta: &Meta) -> io::Result<()> {
        match meta.kind {
            Kind::File => {
                let (source, copy) = (from.open_file(name)?, to.create_file(name, 0o600)?);
                copy_contents(&source, &copy, meta.size)?;
                let (uid, gid, mode) = worn(meta, self.options.owner);
                set_owner(copy.as_fd(), uid, gid)?;
                set_mode(copy.as_fd(), mode)?;
                // After the owner: a change of owner takes capabilities away.
                self.attributes(source.as_fd(), copy.as_fd())?;
                set_mtime(copy.as_fd(), meta.mtime, meta.mtime_nanos)?;
                self.bytes.fetch_add(meta.size, Ordering::Relaxed);
            }
            Kind::Link => {
                to.make_link(&from.read_link(name)?, name)?;
                dress(to, name, meta, self.options.owner)?;
            }
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => {
                match to.make_node(name, meta.kind, 0o600, meta.node) {
                    Err(error)
                        if error.kind() == ErrorKind::PermissionDenied
                            && meta.kind != Kind::Fifo =>
                    {
                        self.skipped.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    }
                    other => other?,
                }
                dress(to, name, meta, self.options.owner)?;
            }
            Kind::Socket | Kind::Unknown | Kind::Directory => {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        }
        self.items.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn hard_links(&self) -> Result<(), ExportError> {
        let mut linked = std::mem::take(
            &mut *self
                .linked
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        linked.sort();
        // Most have their other names outside of the tree, as where a store keeps them: nothing to link.
        let (mut alone, mut shared) = (Vec::new(), Vec::new());
        for names in linked.chunk_by(|a, b| a.0 == b.0) {
            match names {
                [(_, only)] => alone.push(only),
                several => shared.push(several),
            }
        }
        let turn = AtomicUsize::new(0);
        at_once(alone.len() < 8, self.from_path, || {
            while let Some(path) = alone.get(turn.fetch_add(1, Ordering::Relaxed)) {
                self.copy_one(path)?;
            }
            Ok(())
        })?;
        for names in shared {
            let Some(((_, first), others)) = names.split_first() else {
                continue;
            };
            self.copy_one(first)?;
            for (_, path) in others {
                match self.to.hard_link(first, path) {
                    // The first of them was left out.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    other => other.at("link", self.to_path.join(path))?,
                }
                self.items.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn copy_one(&self, path: &Path) -> Result<(), ExportError> {
        let full = self.from_path.join(path);
        let (from, to) = self.both(path.parent().unwrap_or(Path::new(".")))?;
        let name = path.file_name().unwrap_or_default();
        let meta = from.meta(name).at("look at", &full)?;
        Ok(self.one(&from, &to, name, &meta).at("copy", &full)?)
    }
}

/// Does work on several threads; on this one when there is little.
fn at_once(
    little: bool,
    path: &Path,
    work: impl Fn() -> Result<(), ExportError> + Sync,
) -> Result<(), ExportError> {
    if little {
        return work();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(&work)).collect();
        let mut outcome = Ok(());
        for thread in threads {
            let ended = thread.join().unwrap_or_else(|_| {
                Err(io::Error::other("a copying thread panicked"))
                    .at("copy", path)
                    .map_err(ExportError::from)
            });
            outcome = outcome.and(ended);
        }
        outcome
    })
}
