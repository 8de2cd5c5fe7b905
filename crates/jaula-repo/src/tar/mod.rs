//! A streaming tar reader for hostile archives: v7, ustar, GNU and PAX headers.
//!
//! What an entry says is checked before it is handed out: paths are relative and without `..`, links
//! go to what the archive itself brought, an entry never changes what an earlier one made, sizes and
//! counts are bounded. Where two readers of tar could disagree about a header, it is refused, so that
//! nothing can hide between two opinions. Writing to a disk is not done here.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod header;
mod ledger;
mod path;
mod pax;

pub use path::{PathError, TarPath};

use crate::compress::{CompressError, Decoder};
use header::{BLOCK, Header};
use ledger::Ledger;
use std::io::{self, BufReader, Read};

/// Bounds on an archive.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most entries.
    pub entries: u64,
    /// Largest file, in bytes.
    pub file: u64,
    /// Largest sum of all files, in bytes.
    pub total: u64,
}

impl Default for Limits {
    /// Four million entries, 64 GiB a file, 1 TiB in all.
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            file: 64 << 30,
            total: 1 << 40,
        }
    }
}

/// Largest PAX header or GNU long name, in bytes.
const MAX_META: u64 = 1 << 20;
/// Zeros an archive may be padded with at its end.
const MAX_PADDING: u64 = 64 << 20;

/// Why a tar archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// Reading (or decompressing) failed; an end in the middle is `UnexpectedEof`.
    #[error("cannot read the archive after entry {entry}")]
    Read {
        /// Entries read before.
        entry: u64,
        /// The reader's error.
        #[source]
        source: io::Error,
    },
    /// The compression is unknown or broken.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// A header's bytes make no sense.
    #[error("entry {entry}: {what}")]
    Header {
        /// Number of the entry, from 1.
        entry: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A path or a hard link's target that may not be.
    #[error("entry {entry}: path {path:?}")]
    Path {
        /// Number of the entry, from 1.
        entry: u64,
        /// The path as written, at most 200 characters of it.
        path: String,
        /// What is wrong with it.
        #[source]
        source: PathError,
    },
    /// An entry that does not go together with an earlier one.
    #[error("entry {entry}: {path:?}: {what}")]
    Conflict {
        /// Number of the entry, from 1.
        entry: u64,
        /// The path.
        path: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A kind of entry that is not handled.
    #[error("entry {entry}: {what} are not supported")]
    Unsupported {
        /// Number of the entry, from 1.
        entry: u64,
        /// What it is, in the plural.
        what: &'static str,
    },
    /// More than a limit allows.
    #[error("entry {entry}: {what} over the limit of {limit}")]
    Limit {
        /// Number of the entry, from 1.
        entry: u64,
        /// What is over.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file; its content is read from the [`Entry`].
    File,
    /// A directory.
    Directory,
    /// A symbolic link to these bytes, which may be anything but empty or with NUL.
    Symlink(Vec<u8>),
    /// Another name for an earlier entry that is not a directory.
    Hardlink(TarPath),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// What is known of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Where it belongs; empty only for the root directory itself.
    pub path: TarPath,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, at most 0o7777.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Time of last change, in seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds after that second.
    pub mtime_nanos: u32,
    /// Bytes of content; 0 unless a regular file.
    pub size: u64,
    /// Extended attributes (`SCHILY.xattr.*` of PAX): name, value.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// The entries of an archive, read one after the other.
pub struct Entries<R: Read> {
    reader: BufReader<R>,
    limits: Limits,
    /// Content of the current entry not read yet, and the padding behind it.
    left: u64,
    padding: u64,
    entry: u64,
    total: u64,
    ledger: Ledger,
    done: bool,
}

/// One entry: [`Entry::meta`], and `Read` for its content.
pub struct Entry<'a, R: Read> {
    entries: &'a mut Entries<R>,
    meta: Meta,
}

/// Opens a tar archive, plain or compressed; the first bytes tell.
pub fn open<R: Read>(reader: R) -> Result<Entries<Decoder<R>>, TarError> {
    open_with(reader, Limits::default())
}

/// [`open`] with other limits.
pub fn open_with<R: Read>(reader: R, limits: Limits) -> Result<Entries<Decoder<R>>, TarError> {
    Ok(Entries::new(Decoder::new(reader)?, limits))
}

/// What PAX and GNU headers said about the entry that follows them.
#[derive(Default)]
struct Extended {
    pax: Option<pax::Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> Entries<R> {
    /// Reads plain tar.
    pub fn new(reader: R, limits: Limits) -> Self {
        Self {
            reader: BufReader::with_capacity(32 << 10, reader),
            limits,
            left: 0,
            padding: 0,
            entry: 0,
            total: 0,
            ledger: Ledger::default(),
            done: false,
        }
    }

    /// The next entry, or nothing at the archive's end. What is left of the entry before is skipped.
    /// After an error or the end nothing more comes.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_, R>>, TarError> {
        if self.done {
            return Ok(None);
        }
        self.done = true;
        self.skip_rest()?;
        let Some(meta) = self.read_meta()? else {
            return Ok(None);
        };
        self.done = false;
        Ok(Some(Entry {
            entries: self,
            meta,
        }))
    }

    fn read_error(&self, source: io::Error) -> TarError {
        TarError::Read {
            entry: self.entry,
            source,
        }
    }

    fn header_error(&self, what: &'static str) -> TarError {
        TarError::Header {
            entry: self.entry,
            what,
        }
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        let skip = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.reader).take(skip), &mut io::sink())
            .map_err(|e| self.read_error(e))?;
        if skipped < skip {
            return Err(self.read_error(io::ErrorKind::UnexpectedEof.into()));
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    fn block(&mut self) -> Result<[u8; BLOCK], TarError> {
        let mut block = [0; BLOCK];
        self.reader
            .read_exact(&mut block)
            .map_err(|e| self.read_error(e))?;
        Ok(block)
    }

    /// Behind the first empty block: a second one, or the end, and then nothing but zeros.
    fn finish(&mut self) -> Result<(), TarError> {
        let mut left = MAX_PADDING;
        let mut buffer = [0; 4096];
        loop {
            let n = self
                .reader
                .read(&mut buffer)
                .map_err(|e| self.read_error(e))?;
            if n == 0 {
                return Ok(());
            }
            if buffer.get(..n).is_none_or(|b| b.iter().any(|b| *b != 0)) {
                return Err(self.header_error("something behind the archive's end"));
            }
            left = left.checked_sub(n as u64).ok_or(TarError::Limit {
                entry: self.entry,
                what: "padding at the end",
                limit: MAX_PADDING,
            })?;
        }
    }

    /// The data of a meta entry (PAX header, long name).
    fn meta_data(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_META {
            return Err(TarError::Limit {
                entry: self.entry,
                what: "an extended header",
                limit: MAX_META,
            });
        }
        let mut data = Vec::new();
        (&mut self.reader)
            .take(size)
            .read_to_end(&mut data)
            .map_err(|e| self.read_error(e))?;
        if (data.len() as u64) < size {
            return Err(self.read_error(io::ErrorKind::UnexpectedEof.into()));
        }
        self.padding = padding(size);
        self.skip_rest()?;
        Ok(data)
    }

    /// A GNU long name: up to the first NUL, which has to be the last byte.
    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let mut data = self.meta_data(size)?;
        if data.last() == Some(&0) {
            data.pop();
        }
        if data.is_empty() || data.contains(&0) {
            return Err(self.header_error("a bad GNU long name"));
        }
        Ok(data)
    }

    fn read_meta(&mut self) -> Result<Option<Meta>, TarError> {
        let mut extended = Extended::default();
        let mut headers = 0;
        loop {
            let block = self.block()?;
            if block.iter().all(|b| *b == 0) {
                if headers > 0 {
                    return Err(self.header_error("an extended header without an entry"));
                }
                self.finish()?;
                return Ok(None);
            }
            if headers == 0 {
                self.entry = self.entry.saturating_add(1);
                if self.entry > self.limits.entries {
                    return Err(TarError::Limit {
                        entry: self.entry,
                        what: "entries",
                        limit: self.limits.entries,
                    });
                }
            }
            headers += 1;
            if headers > 8 {
                return Err(self.header_error("too many extended headers in a row"));
            }
            let header = Header::parse(&block).map_err(|what| self.header_error(what))?;
            match header.kind {
                b'x' | b'X' => {
                    let data = self.meta_data(header.size)?;
                    let parsed = pax::parse(&data).map_err(|what| self.header_error(what))?;
                    if extended.pax.replace(parsed).is_some() {
                        return Err(self.header_error("two PAX headers for one entry"));
                    }
                }
                b'g' => {
                    let data = self.meta_data(header.size)?;
                    let parsed = pax::parse(&data).map_err(|what| self.header_error(what))?;
                    if !parsed.is_harmless_globally() {
                        return Err(self.header_error(
                            "a global PAX header that changes paths, sizes or owners",
                        ));
                    }
                    // A global header stands for itself: the next block starts an entry of its own.
                    if extended.pax.is_none()
                        && extended.long_name.is_none()
                        && extended.long_link.is_none()
                    {
                        headers = 0;
                    }
                }
                b'L' => {
                    let name = self.long_name(header.size)?;
                    if extended.long_name.replace(name).is_some() {
                        return Err(self.header_error("two long names for one entry"));
                    }
                }
                b'K' => {
                    let name = self.long_name(header.size)?;
                    if extended.long_link.replace(name).is_some() {
                        return Err(self.header_error("two long link targets for one entry"));
                    }
                }
                _ => return self.make_meta(&header, extended).map(Some),
            }
        }
    }

    fn make_meta(&mut self, header: &Header<'_>, extended: Extended) -> Result<Meta, TarError> {
        let pax = extended.pax.unwrap_or_default();
        if pax.sparse {
            return Err(TarError::Unsupported {
                entry: self.entry,
                what: "sparse files",
            });
        }
        let either = |a: Option<Vec<u8>>, b: Option<Vec<u8>>| match (a, b) {
            (Some(_), Some(_)) => Err(self.header_error("a name both from PAX and from GNU")),
            (a, b) => Ok(a.or(b)),
        };
        let raw_path = either(pax.path, extended.long_name)?.unwrap_or_else(|| header.path());
        let raw_link =
            either(pax.link, extended.long_link)?.unwrap_or_else(|| header.link.to_vec());
        let entry = self.entry;
        let path_error = |raw: &[u8], source| TarError::Path {
            entry,
            path: String::from_utf8_lossy(raw).chars().take(200).collect(),
            source,
        };
        let path = TarPath::parse(&raw_path).map_err(|e| path_error(&raw_path, e))?;
        let size = pax.size.unwrap_or(header.size);
        // v7 has no type for directories: a slash at the end says it.
        let slash = raw_path.last() == Some(&b'/');
        let kind = match header.kind {
            0 | b'0' | b'7' if slash => Kind::Directory,
            0 | b'0' | b'7' => Kind::File,
            b'5' => Kind::Directory,
            b'2' => {
                if raw_link.is_empty() || raw_link.contains(&0) || raw_link.len() >= path::MAX_PATH
                {
                    return Err(path_error(&raw_link, PathError::LinkTarget));
                }
                Kind::Symlink(raw_link)
            }
            b'1' => {
                Kind::Hardlink(TarPath::parse(&raw_link).map_err(|e| path_error(&raw_link, e))?)
            }
            b'3' | b'4' => {
                let [major, minor] = header.device().map_err(|what| self.header_error(what))?;
                match header.kind {
                    b'3' => Kind::CharDevice { major, minor },
                    _ => Kind::BlockDevice { major, minor },
                }
            }
            b'6' => Kind::Fifo,
            b'S' => {
                return Err(TarError::Unsupported {
                    entry,
                    what: "sparse files",
                });
            }
            b'M' => {
                return Err(TarError::Unsupported {
                    entry,
                    what: "archives of several volumes",
                });
            }
            b'D' | b'N' | b'V' => {
                return Err(TarError::Unsupported {
                    entry,
                    what: "GNU incremental archives",
                });
            }
            _ => return Err(self.header_error("an unknown type of entry")),
        };
        if path.is_root() && kind != Kind::Directory {
            return Err(path_error(&raw_path, PathError::Empty));
        }
        if slash && !matches!(kind, Kind::Directory) {
            return Err(path_error(&raw_path, PathError::Slash));
        }
        if kind != Kind::File && size != 0 {
            return Err(self.header_error("content in an entry that is not a regular file"));
        }
        if size > self.limits.file {
            return Err(TarError::Limit {
                entry,
                what: "a file",
                limit: self.limits.file,
            });
        }
        self.total = self.total.saturating_add(size);
        if self.total > self.limits.total {
            return Err(TarError::Limit {
                entry,
                what: "the sum of all files",
                limit: self.limits.total,
            });
        }
        self.ledger
            .admit(&path, &kind)
            .map_err(|what| TarError::Conflict {
                entry,
                path: path.to_string(),
                what,
            })?;
        self.left = size;
        self.padding = padding(size);
        let (mtime, mtime_nanos) = pax.mtime.unwrap_or((header.mtime, 0));
        Ok(Meta {
            path,
            kind,
            mode: header.mode & 0o7777,
            uid: pax.uid.unwrap_or(header.uid),
            gid: pax.gid.unwrap_or(header.gid),
            mtime,
            mtime_nanos,
            size,
            xattrs: pax.xattrs,
        })
    }

    /// The reader beneath; what it has given may have been read ahead.
    pub fn into_inner(self) -> R {
        self.reader.into_inner()
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

impl<R: Read> Entry<'_, R> {
    /// What is known of the entry.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The same, to keep.
    pub fn into_meta(self) -> Meta {
        self.meta
    }

    /// Bytes of content not read yet.
    pub fn remaining(&self) -> u64 {
        self.entries.left
    }
}

impl<R: Read> Read for Entry<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.entries.left;
        if left == 0 || buf.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let n = self
            .entries
            .reader
            .read(buf.get_mut(..most).unwrap_or_default())?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.entries.left = left.saturating_sub(n as u64);
        Ok(n)
    }
}
