//! The host's files as facts.

use super::MinimalImageError;
use crate::error::{At, PathError};
use jaula_plan::facts::elf::{Content, HostFiles, Seen, Unreadable};
use jaula_repo::disk::ReadAt;
use jaula_repo::elf::{Dynamic, ElfError, Identity, NEEDED};
use jaula_repo::rpm::{RpmDb, RpmError};
use jaula_sys::dir::{Dir, Kind};
use jaula_sys::{SysError, beneath};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// What the kernel reads of a script (BINPRM_BUF_SIZE).
const SCRIPT: usize = 256;
/// A file of settings, or of what a package has, is never longer than this.
pub(super) const TEXT: u64 = 16 << 20;
/// Names in one directory.
const NAMES: usize = 100_000;

/// The machine that this program is for: its kind of programs runs here.
pub(super) fn native() -> Result<Identity, MinimalImageError> {
    let own = Path::new("/proc/self/exe");
    let mut start = [0; NEEDED];
    let read = File::open(own).and_then(|mut file| file.read_exact(&mut start));
    read.at("read", own)?;
    Identity::read(&start).ok_or(MinimalImageError::Host)
}

/// The host's own root.
pub(super) struct Host {
    root: File,
}

/// A file that is read where it is asked for, by blocks: what reads headers asks for a few bytes at a time, and again.
pub(crate) struct Bytes {
    file: File,
    length: u64,
    /// The blocks that were read last, and where each begins.
    blocks: Mutex<VecDeque<(u64, Vec<u8>)>>,
}

/// Bytes of a block.
const BLOCK: u64 = 4096;
/// Blocks that are kept: those of headers, of the dynamic section and of its texts.
const BLOCKS: usize = 8;

impl Bytes {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            length,
            blocks: Mutex::new(VecDeque::new()),
        })
    }

    /// Gives what there is of the block in which an offset is, from there on.
    fn within<T>(&self, offset: u64, gives: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        let skipped = offset.checked_rem(BLOCK).unwrap_or(0);
        let start = offset.saturating_sub(skipped);
        let skipped = usize::try_from(skipped).unwrap_or(0);
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let known = blocks.iter().find(|(known, _)| *known == start);
        if let Some((_, block)) = known {
            return Ok(gives(block.get(skipped..).unwrap_or_default()));
        }
        let mut fresh = vec![0; BLOCK as usize];
        let mut read = 0usize;
        while let Some(rest) = fresh.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, start.saturating_add(read as u64)) {
                Ok(0) => break,
                Ok(more) => read = read.saturating_add(more),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        fresh.truncate(read);
        let given = gives(fresh.get(skipped..).unwrap_or_default());
        blocks.truncate(BLOCKS.saturating_sub(1));
        blocks.push_front((start, fresh));
        Ok(given)
    }
}

impl ReadAt for Bytes {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if buf.len() as u64 > BLOCK {
            return self.file.read_at(buf, offset);
        }
        self.within(offset, |there| {
            let size = there.len().min(buf.len());
            if let (Some(into), Some(from)) = (buf.get_mut(..size), there.get(..size)) {
                into.copy_from_slice(from);
            }
            size
        })
    }

    fn len(&self) -> u64 {
        self.length
    }
}

impl Host {
    pub(super) fn open() -> Result<Self, MinimalImageError> {
        let root = Path::new("/");
        Ok(Self {
            root: File::open(root).at("open", root)?,
        })
    }

    /// A regular file for reading; no component of the path may be a link.
    pub(super) fn file(&self, path: &Path) -> Result<File, PathError> {
        beneath::open_file(&self.root, path)
            .map_err(plain)
            .at("open", path)
    }

    /// The same in a directory of [`Host::dir`], by name; `path` is said when it fails.
    pub(super) fn file_in(dir: &Dir, name: &OsStr, path: &Path) -> Result<File, PathError> {
        beneath::open_file(&dir.as_fd(), Path::new(name))
            .map_err(plain)
            .at("open", path)
    }

    /// A directory; no component of the path may be a link.
    pub(super) fn dir(&self, path: &Path) -> Result<Dir, PathError> {
        beneath::open_dir(&self.root, path)
            .map(Dir::from)
            .map_err(plain)
            .at("open", path)
    }
}

fn plain(error: SysError) -> io::Error {
    io::Error::from_raw_os_error(error.errno.0)
}

fn unreadable(error: PathError) -> Unreadable {
    Unreadable {
        action: error.action,
        path: error.path,
        source: error.source,
    }
}

/// All of a file of text. Of one that is too long nothing is taken: the rest would be missed by nobody.
pub(super) fn whole(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(TEXT.saturating_add(1)).read_to_end(&mut text)?;
    match text.len() as u64 <= TEXT {
        true => Ok(text),
        false => Err(io::Error::other("it is longer than 16 MiB")),
    }
}

/// What a regular file is.
pub(super) fn content_of(file: File) -> io::Result<Content> {
    let bytes = Bytes::new(file)?;
    let start = bytes.within(0, |block| block.get(..SCRIPT).unwrap_or(block).to_vec())?;
    if let Some(line) = start.strip_prefix(b"#!") {
        let end = line.iter().position(|byte| *byte == b'\n');
        // A file that ends before a new line has its line whole.
        let end = end.or((start.len() < SCRIPT).then_some(line.len()));
        let line = end.and_then(|end| line.get(..end));
        return Ok(Content::Script(line.map(<[u8]>::to_vec)));
    }
    match Dynamic::read(&bytes) {
        Ok(dynamic) => Ok(Content::Elf(dynamic)),
        Err(ElfError::NotElf) => Ok(Content::Other),
        Err(ElfError::Read(error)) => Err(error),
        Err(error) => Ok(Content::Damaged(error)),
    }
}

impl HostFiles for Host {
    fn look(&mut self, path: &Path) -> Result<Seen, Unreadable> {
        let meta = match std::fs::symlink_metadata(path) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Seen::Missing);
            }
            meta => meta.at("look at", path).map_err(unreadable)?,
        };
        let mode = meta.mode() & 0o7777;
        Ok(if meta.is_dir() {
            Seen::Directory { mode }
        } else if meta.is_symlink() {
            let target = std::fs::read_link(path);
            let target = target.at("read", path).map_err(unreadable)?;
            Seen::Link { target }
        } else if meta.is_file() {
            Seen::File { mode }
        } else {
            Seen::Special
        })
    }

    fn content(&mut self, path: &Path) -> Result<Content, Unreadable> {
        let file = self.file(path).map_err(unreadable)?;
        content_of(file).map_err(|source| Unreadable {
            action: "read",
            path: path.to_owned(),
            source,
        })
    }

    fn text(&mut self, path: &Path) -> Result<Option<Vec<u8>>, Unreadable> {
        match File::open(path).and_then(whole) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Ok(Some(read.at("read", path).map_err(unreadable)?)),
        }
    }

    fn names(&mut self, path: &Path) -> Result<Vec<OsString>, Unreadable> {
        let nothing = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
        let entries = match std::fs::read_dir(path) {
            Err(error) if nothing.contains(&error.kind()) => return Ok(Vec::new()),
            entries => entries.at("list", path).map_err(unreadable)?,
        };
        let names = entries.take(NAMES).map(|entry| Ok(entry?.file_name()));
        let names: io::Result<_> = names.collect();
        names.at("list", path).map_err(unreadable)
    }

    fn entries(&mut self, path: &Path) -> Result<Vec<(OsString, Seen)>, Unreadable> {
        let nothing = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
        // Asked of the open directory: the way to it is not gone again for every name.
        let dir = match Dir::open(path) {
            Err(error) if nothing.contains(&error.kind()) => return Ok(Vec::new()),
            dir => dir.at("list", path).map_err(unreadable)?,
        };
        let names = dir.entries_once().at("list", path).map_err(unreadable)?;
        let mut entries = Vec::with_capacity(names.len().min(NAMES));
        for (name, kind) in names.into_iter().take(NAMES) {
            let seen = match kind {
                // Nothing but where it leads is asked.
                Kind::Link => dir
                    .read_link(&name)
                    .map(|target| Seen::Link {
                        target: target.into(),
                    })
                    .or_else(|_| seen_in(&dir, &name)),
                _ => seen_in(&dir, &name),
            };
            let seen = seen.map_err(|source| Unreadable {
                action: "look at",
                path: path.join(&name),
                source,
            })?;
            entries.push((name, seen));
        }
        Ok(entries)
    }

    fn rpm(&mut self, name: &str, machines: &[&str]) -> Result<Option<Vec<Vec<u8>>>, Unreadable> {
        for path in RPM {
            let path = Path::new(path);
            let failed = |source: io::Error| Unreadable {
                action: "read",
                path: path.to_owned(),
                source,
            };
            let file = match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file.map_err(failed)?,
            };
            // What stands beside it comes first, and is not read here.
            let mut beside = path.as_os_str().to_owned();
            beside.push("-wal");
            if std::fs::metadata(beside).is_ok_and(|meta| meta.len() > 0) {
                let text = "packages are being installed, or that was interrupted";
                return Err(failed(io::Error::other(text)));
            }
            let found = Bytes::new(file)
                .map_err(RpmError::Read)
                .and_then(RpmDb::open)
                .and_then(|db| db.files(name, machines));
            return found.map_err(|error| failed(io::Error::other(error)));
        }
        Ok(None)
    }
}

fn seen_in(dir: &Dir, name: &OsStr) -> io::Result<Seen> {
    let meta = match dir.meta(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seen::Missing),
        meta => meta?,
    };
    let mode = meta.mode;
    Ok(match meta.kind {
        Kind::Directory => Seen::Directory { mode },
        Kind::File => Seen::File { mode },
        Kind::Link => Seen::Link {
            target: dir.read_link(name)?.into(),
        },
        _ => Seen::Special,
    })
}

/// Databases of RPM, those of today first. The last is Berkeley's, of which only the name is known here.
const RPM: [&str; 5] = [
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/Packages.db",
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/Packages.db",
    "/var/lib/rpm/Packages",
];
