//! A tree as a tar archive whose bytes depend on the tree alone: POSIX.1-2017 pax interchange format (pax, "ustar
//! Interchange Format" and "pax Extended Header"), names sorted by their bytes, owners as numbers, times in whole
//! seconds, extended attributes as `SCHILY.xattr.*`, no other time and no name of a user.

use super::ExportError;
use super::scan::{HELD, open_deep, sorted};
use crate::error::At;
use jaula_sys::dir::{Dir, Kind, Meta, xattrs};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const BLOCK: usize = 512;
/// Records are of twenty blocks, as tar(1) writes them.
const RECORD: u64 = 20 * BLOCK as u64;

/// Bytes of holes that become zeros in an archive without asking: a file of a terabyte may be one block on disk.
pub(super) const MOST_HOLES: u64 = 16 << 30;

/// What may differ between archives of one tree.
#[derive(Debug, Clone)]
pub struct TarOptions {
    /// Times later than this become this: seconds since 1970.
    pub clamp: Option<i64>,
    /// All belongs to root, everything can be read by all, and has this time: for what is no tree of somebody's.
    pub plain: Option<i64>,
    /// Most bytes of holes in files. An archive holds them as zeros.
    pub holes: u64,
    /// Only this of the tree, and names without `./` before them.
    pub only: Option<OsString>,
    /// A directory whose content is left out.
    pub empty: Option<PathBuf>,
    /// To the nanosecond and to the byte as `tar --format=pax --numeric-owner
    /// --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime` of GNU writes it.
    pub as_gnu: bool,
}

impl Default for TarOptions {
    fn default() -> Self {
        Self {
            clamp: None,
            plain: None,
            holes: MOST_HOLES,
            only: None,
            empty: None,
            as_gnu: false,
        }
    }
}

/// What an archive holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Entries.
    pub items: u64,
    /// Bytes of files, before compression.
    pub bytes: u64,
    /// Sockets, which no archive can hold.
    pub skipped: u64,
}

/// Which extended attributes are part of a tree: those that mean the same for root and for everybody else. What
/// overlay mounts, security modules and privileged programs keep in a file is not.
pub(super) fn belongs(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let exact: [&[u8]; 3] = [
        b"security.capability",
        b"system.posix_acl_access",
        b"system.posix_acl_default",
    ];
    exact.contains(&name) || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

struct Writer<'a, W> {
    tree: &'a Dir,
    root: &'a Path,
    out: W,
    target: &'a Path,
    offset: u64,
    options: &'a TarOptions,
    /// The first name of each file that has several.
    names: HashMap<u64, PathBuf>,
    written: Written,
    holes: u64,
    buffer: Vec<u8>,
}

/// A directory on the way down.
struct Level {
    path: PathBuf,
    names: Vec<OsString>,
    dir: Option<Dir>,
}

/// Writes the tree beneath `tree` (called `root` in errors) to `out` (called `target`). `tell` hears of every entry:
/// how many, how many bytes, its name.
pub fn write_tar<W: Write>(
    tree: &Dir,
    root: &Path,
    out: W,
    target: &Path,
    options: &TarOptions,
    tell: &mut dyn FnMut(u64, u64, &Path),
) -> Result<(W, Written), ExportError> {
    let (names, written, buffer) = (HashMap::new(), Written::default(), vec![0u8; 256 << 10]);
    let mut writer = Writer {
        tree,
        root,
        out,
        target,
        offset: 0,
        options,
        names,
        written,
        holes: 0,
        buffer,
    };
    // Depth first; each directory's names are read once and taken from the end.
    let first = match &options.only {
        Some(name) => vec![name.clone()],
        None => {
            let top = tree.own_meta().at("look at", root)?;
            writer.entry(Path::new(""), &top, tree)?;
            sorted(tree).at("list", root)?
        }
    };
    let mut left: Vec<Level> = vec![Level {
        path: PathBuf::new(),
        names: first,
        dir: Some(tree.try_clone().at("open", root)?),
    }];
    while let Some(level) = left.last_mut() {
        let Some(name) = level.names.pop() else {
            left.pop();
            continue;
        };
        let parent = match &mut level.dir {
            Some(held) => &*held,
            none => none.insert(open_deep(tree, &level.path).at("open", root.join(&level.path))?),
        };
        let path = level.path.join(&name);
        let meta = parent.meta(&name).at("look at", root.join(&path))?;
        writer.entry(&path, &meta, parent)?;
        tell(writer.written.items, writer.written.bytes, &path);
        let is_empty = options.empty.as_ref() == Some(&path);
        if meta.kind == Kind::Directory && !meta.mount_root && !is_empty {
            let below = parent.open_dir(&name).at("open", root.join(&path))?;
            let names = sorted(&below).at("list", root.join(&path))?;
            left.push(Level {
                path,
                names,
                dir: Some(below),
            });
            // Those further up are opened again when it is their turn.
            let far = left.len().checked_sub(HELD);
            if let Some(far) = far.and_then(|far| left.get_mut(far)) {
                far.dir = None;
            }
        }
    }
    writer.end()?;
    Ok((writer.out, writer.written))
}

impl<W: Write> Writer<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        Ok(self.out.write_all(bytes).at("write", self.target)?)
    }

    /// Zeros up to a multiple of `unit`.
    fn pad(&mut self, unit: u64) -> Result<(), ExportError> {
        let rest = self.offset.checked_rem(unit).unwrap_or(0);
        let zeros = if rest == 0 {
            0
        } else {
            unit.saturating_sub(rest)
        };
        self.write(&vec![0u8; usize::try_from(zeros).unwrap_or(0)])
    }

    fn end(&mut self) -> Result<(), ExportError> {
        self.write(&[0u8; 2 * BLOCK])?;
        self.pad(RECORD)
    }

    fn entry(&mut self, path: &Path, meta: &Meta, parent: &Dir) -> Result<(), ExportError> {
        let full = self.root.join(path);
        let name = path.file_name().unwrap_or(OsStr::new("."));
        // As `tar --directory ROOT .` names them.
        let before: &[u8] = match self.options.only {
            Some(_) => b"",
            None => b"./",
        };
        let mut stored = before.to_vec();
        stored.extend_from_slice(path.as_os_str().as_bytes());
        let mut linkpath = Vec::new();
        let mut first_name = None;
        if meta.links > 1 && meta.kind != Kind::Directory {
            first_name = self.names.get(&meta.inode).cloned();
            if first_name.is_none() {
                self.names.insert(meta.inode, path.to_owned());
            }
        }
        let (mut size, mut pax) = (0, Vec::new());
        let mut file = None;
        let flag = match (&first_name, meta.kind) {
            (Some(first), _) => {
                linkpath = before.to_vec();
                linkpath.extend_from_slice(first.as_os_str().as_bytes());
                b'1'
            }
            (None, Kind::File) => {
                let opened = parent.open_file(name).at("open", &full)?;
                size = meta.size;
                self.holes = self
                    .holes
                    .saturating_add(meta.size.saturating_sub(meta.disk));
                if self.holes > self.options.holes {
                    return Err(ExportError::Holes { path: full });
                }
                self.attributes(
                    &mut pax,
                    xattrs(opened.as_fd()).at("read the attributes of", &full)?,
                );
                file = Some(opened);
                b'0'
            }
            (None, Kind::Directory) => {
                if stored.last() != Some(&b'/') {
                    stored.push(b'/');
                }
                let opened =
                    parent
                        .open_dir(name)
                        .or_else(|error| match path.as_os_str().is_empty() {
                            true => self.tree.try_clone(),
                            false => Err(error),
                        });
                let opened = opened.at("open", &full)?;
                self.attributes(
                    &mut pax,
                    xattrs(opened.as_fd()).at("read the attributes of", &full)?,
                );
                b'5'
            }
            (None, Kind::Link) => {
                linkpath = parent
                    .read_link(name)
                    .at("read", &full)?
                    .into_encoded_bytes();
                b'2'
            }
            (None, Kind::CharDevice) => b'3',
            (None, Kind::BlockDevice) => b'4',
            (None, Kind::Fifo) => b'6',
            (None, Kind::Socket | Kind::Unknown) => {
                self.written.skipped = self.written.skipped.saturating_add(1);
                return Ok(());
            }
        };
        let mtime = self
            .options
            .clamp
            .map_or(meta.mtime, |clamp| meta.mtime.min(clamp));
        let exact = self.options.as_gnu && mtime == meta.mtime;
        let mut header = Header {
            flag,
            size,
            mtime,
            nanos: if exact { meta.mtime_nanos } else { 0 },
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            node: meta.node,
            nodes: self.options.as_gnu,
        };
        if let Some(time) = self.options.plain {
            header.mode = if flag == b'5' { 0o755 } else { 0o644 };
            (header.uid, header.gid, header.mtime) = (0, 0, time);
            pax.clear();
        }
        self.headers(&stored, &linkpath, &header, pax)?;
        if let Some(mut file) = file {
            self.content(&mut file, size, &full)?;
        }
        self.written.items = self.written.items.saturating_add(1);
        Ok(())
    }

    fn attributes(&self, pax: &mut Vec<u8>, found: Vec<(OsString, Vec<u8>)>) {
        for (name, value) in found.into_iter().filter(|(name, _)| belongs(name)) {
            let mut key = b"SCHILY.xattr.".to_vec();
            key.extend_from_slice(name.as_bytes());
            record(pax, &key, &value);
        }
    }

    /// The extended header, when one is needed, and the header.
    fn headers(
        &mut self,
        path: &[u8],
        linkpath: &[u8],
        header: &Header,
        mut pax: Vec<u8>,
    ) -> Result<(), ExportError> {
        if path.len() > 100 {
            record(&mut pax, b"path", path);
        }
        if linkpath.len() > 100 {
            record(&mut pax, b"linkpath", linkpath);
        }
        for (key, value, digits) in [
            (&b"size"[..], header.size, 11),
            (b"uid", header.uid.into(), 7),
            (b"gid", header.gid.into(), 7),
        ] {
            if value >> (3 * digits) != 0 {
                record(&mut pax, key, value.to_string().as_bytes());
            }
        }
        if header.nanos != 0 || !(0..1 << 33).contains(&header.mtime) {
            record(&mut pax, b"mtime", &header.time());
        }
        if !pax.is_empty() {
            let mut own = Header {
                flag: b'x',
                size: pax.len() as u64,
                mtime: 0,
                nanos: 0,
                mode: 0o644,
                uid: 0,
                gid: 0,
                node: (0, 0),
                nodes: false,
            };
            let mut name = b"./PaxHeaders/@".to_vec();
            if self.options.as_gnu {
                own.mtime = header.mtime;
                name = beside(path);
            }
            self.write(&own.block(&name, b""))?;
            self.write(&pax)?;
            self.pad(BLOCK as u64)?;
        }
        self.write(&header.block(path, linkpath))
    }

    fn content(
        &mut self,
        file: &mut std::fs::File,
        size: u64,
        full: &Path,
    ) -> Result<(), ExportError> {
        let mut left = size;
        let mut buffer = std::mem::take(&mut self.buffer);
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let got = file
                .read(buffer.get_mut(..most).unwrap_or_default())
                .at("read", full)?;
            if got == 0 {
                return Err(ExportError::Changed {
                    path: full.to_owned(),
                });
            }
            self.write(buffer.get(..got).unwrap_or_default())?;
            left = left.saturating_sub(got as u64);
        }
        self.buffer = buffer;
        self.written.bytes = self.written.bytes.saturating_add(size);
        self.pad(BLOCK as u64)
    }
}

/// Appends `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len().saturating_add(value.len()).saturating_add(3);
    let mut length = rest.saturating_add(1);
    while rest.saturating_add(length.to_string().len()) != length {
        length = rest.saturating_add(length.to_string().len());
    }
    pax.extend_from_slice(length.to_string().as_bytes());
    pax.push(b' ');
    pax.extend_from_slice(key);
    pax.push(b'=');
    pax.extend_from_slice(value);
    pax.push(b'\n');
}

/// Where GNU's tar says that the extended header of a path is: `%d/PaxHeaders/%f`.
fn beside(path: &[u8]) -> Vec<u8> {
    let path = Path::new(OsStr::from_bytes(path));
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let name = path.file_name().unwrap_or(OsStr::new("."));
    let beside = parent.unwrap_or(Path::new(".")).join("PaxHeaders");
    beside.join(name).into_os_string().into_encoded_bytes()
}

struct Header {
    flag: u8,
    size: u64,
    mtime: i64,
    /// Of a second, of the time.
    nanos: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    node: (u32, u32),
    /// Whether the fields of a device's numbers are filled for what is none.
    nodes: bool,
}

impl Header {
    /// The time as an extended header has it.
    fn time(&self) -> Vec<u8> {
        // Before 1970 the fraction counts towards zero in decimal, and away from it in the kernel's form.
        let (seconds, nanos) = match self.mtime < 0 && self.nanos != 0 {
            true => (
                self.mtime.saturating_add(1),
                1_000_000_000u32.saturating_sub(self.nanos),
            ),
            false => (self.mtime, self.nanos),
        };
        let sign = if self.mtime < 0 { "-" } else { "" };
        let mut text = format!("{sign}{}", seconds.unsigned_abs());
        if nanos != 0 {
            text.push_str(&format!(".{nanos:09}"));
            text.truncate(text.trim_end_matches('0').len());
        }
        text.into_bytes()
    }

    /// The header's block. What does not fit is cut here, and whole in the extended header.
    fn block(&self, path: &[u8], linkpath: &[u8]) -> [u8; BLOCK] {
        let mut block = [0u8; BLOCK];
        let mut put = |at: usize, most: usize, bytes: &[u8]| {
            let bytes = bytes.get(..most.min(bytes.len())).unwrap_or_default();
            if let Some(field) = block.get_mut(at..at.saturating_add(bytes.len())) {
                field.copy_from_slice(bytes);
            }
        };
        let octal = |value: u64, digits: u32| {
            let most = 1u64
                .checked_shl(3 * digits)
                .map_or(u64::MAX, |end| end.saturating_sub(1));
            let value = if value > most { 0 } else { value };
            format!("{value:0width$o}", width = digits as usize)
        };
        put(0, 100, path);
        put(100, 8, octal(self.mode.into(), 7).as_bytes());
        put(108, 8, octal(self.uid.into(), 7).as_bytes());
        put(116, 8, octal(self.gid.into(), 7).as_bytes());
        put(124, 12, octal(self.size, 11).as_bytes());
        put(
            136,
            12,
            octal(u64::try_from(self.mtime).unwrap_or(0), 11).as_bytes(),
        );
        put(148, 8, b"        ");
        put(156, 1, &[self.flag]);
        put(157, 100, linkpath);
        put(257, 8, b"ustar\x0000");
        if self.nodes && !matches!(self.flag, b'3' | b'4') {
            put(329, 8, b"0000000\0");
            put(337, 8, b"0000000\0");
        }
        if matches!(self.flag, b'3' | b'4') {
            put(329, 8, octal(self.node.0.into(), 7).as_bytes());
            put(337, 8, octal(self.node.1.into(), 7).as_bytes());
        }
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let sum = format!("{sum:06o}\0 ");
        if let Some(field) = block.get_mut(148..156) {
            field.copy_from_slice(sum.as_bytes().get(..8).unwrap_or(b"        "));
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pax_record_counts_its_own_length() {
        for length in [
            1usize, 5, 84, 85, 86, 90, 93, 94, 95, 96, 97, 980, 985, 990, 9984, 9990,
        ] {
            let mut pax = Vec::new();
            record(&mut pax, b"path", &vec![b'x'; length]);
            let text = String::from_utf8_lossy(&pax);
            let said = text
                .split(' ')
                .next()
                .and_then(|said| said.parse::<usize>().ok());
            assert_eq!(said, Some(pax.len()), "{length}");
        }
    }
}
