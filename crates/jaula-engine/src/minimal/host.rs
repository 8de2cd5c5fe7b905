//! The host's files as facts.

use super::MinimalImageError;
use crate::error::{At, PathError};
use jaula_plan::facts::elf::{Content, HostFiles, Seen, Unreadable};
use jaula_repo::disk::ReadAt;
use jaula_repo::elf::{Dynamic, ElfError, Identity, NEEDED};
use jaula_sys::beneath;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// What the kernel reads of a script (BINPRM_BUF_SIZE).
const SCRIPT: usize = 256;
/// A file of settings is never longer than this.
const TEXT: u64 = 1 << 20;
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

/// A file that is read where it is asked for, small pieces by blocks: what reads headers asks for a few bytes at a time.
pub(crate) struct Bytes {
    file: File,
    length: u64,
    /// The last block that was read, and where it begins.
    block: Mutex<(u64, Vec<u8>)>,
}

/// Bytes of a block.
const BLOCK: u64 = 4096;

impl Bytes {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self::of(file, length))
    }

    fn of(file: File, length: u64) -> Self {
        let block = Mutex::new((0, Vec::new()));
        Self {
            file,
            length,
            block,
        }
    }

    /// The part of a block that is asked for; none when it is not within one.
    fn within(block: &(u64, Vec<u8>), offset: u64, size: usize) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(block.0)?).ok()?;
        block.1.get(at..at.checked_add(size)?)
    }
}

impl ReadAt for Bytes {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if buf.len() > 64 {
            return self.file.read_at(buf, offset);
        }
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        if Self::within(&block, offset, buf.len()).is_none() {
            let start = offset.saturating_sub(offset.checked_rem(BLOCK).unwrap_or(0));
            let mut fresh = vec![0; BLOCK as usize];
            let read = self.file.read_at(&mut fresh, start)?;
            fresh.truncate(read);
            *block = (start, fresh);
        }
        match Self::within(&block, offset, buf.len()) {
            Some(found) => {
                buf.copy_from_slice(found);
                Ok(buf.len())
            }
            // Across two blocks, or at the end of the file.
            None => self.file.read_at(buf, offset),
        }
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
        let opened = beneath::open_file(&self.root, path);
        opened
            .map_err(|error| io::Error::from_raw_os_error(error.errno.0))
            .at("open", path)
    }
}

fn unreadable(error: PathError) -> Unreadable {
    Unreadable {
        action: error.action,
        path: error.path,
        source: error.source,
    }
}

/// What a regular file is.
pub(super) fn content_of(file: File) -> io::Result<Content> {
    let length = file.metadata()?.len();
    let mut start = Vec::new();
    (&file).take(SCRIPT as u64).read_to_end(&mut start)?;
    if let Some(line) = start.strip_prefix(b"#!") {
        let end = line.iter().position(|byte| *byte == b'\n');
        // A file that ends before a new line has its line whole.
        let end = end.or((start.len() < SCRIPT).then_some(line.len()));
        let line = end.and_then(|end| line.get(..end));
        return Ok(Content::Script(line.map(<[u8]>::to_vec)));
    }
    match Dynamic::read(&Bytes::of(file, length)) {
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
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(TEXT).read_to_end(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => {
                read.at("read", path).map_err(unreadable)?;
                Ok(Some(text))
            }
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
}
