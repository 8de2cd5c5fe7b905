//! A tree as an ext4 image: laid out before anything is written, with a journal, checksums and indexed directories.
//! Runs of zeros become holes by what the files hold, not by how this host's file system keeps them.

use super::ExportError;
use super::image::Wish;
use super::scan::Scan;
use crate::error::At;
use jaula_repo::pack::{Content, Item, NodeKind, PackError, Packed, Source};
use mkext4::sink::RegionSink;
use mkext4::{
    FsBuilder, InodeCount, InodeHandle, Layout, Meta, Options, ROOT, SparseSeg, SpecialKind,
};
use std::fs::File;
use std::io::{self, Read, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

const WHAT: &str = "ext4";
const BLOCK: u64 = 4096;
/// Blocks of zeros in a row that become a hole.
const LEAST_HOLE: u64 = 16;
/// Files smaller than this are not looked into for holes.
const LEAST_FILE: u64 = LEAST_HOLE * BLOCK;
/// Most parts of one file: more are written as they are.
const MAX_PARTS: usize = 1 << 15;
/// Room besides what is there: for what is written later.
const ROOM: u64 = 16 << 20;
/// Images are multiples of this.
const UNIT: u64 = 1 << 20;
/// How often a larger image is tried when the estimate was too small.
const TRIES: usize = 12;

/// What a file is written as: the parts of it that are no holes.
type Parts = Vec<(u64, u64)>;

/// Writes the tree to an empty file.
pub(super) fn write(
    scan: &mut Scan<'_>,
    items: &[Item],
    file: File,
    part: &Path,
    wish: Wish,
    uuid: [u8; 16],
    told: &mut dyn FnMut(u64, u64, usize),
) -> Result<(File, Packed), ExportError> {
    let mut parts: Vec<Option<Parts>> = vec![None; items.len()];
    let mut data = 0u64;
    for (index, item) in items.iter().enumerate() {
        if item.kind != NodeKind::File || item.same_as.is_some() {
            continue;
        }
        if item.size >= LEAST_FILE {
            let found =
                not_zero(scan, index, item.size).map_err(|error| scan.explained(error, part))?;
            let whole = [(0, item.size)];
            data = found.iter().fold(data, |sum, (from, to)| {
                sum.saturating_add(to.saturating_sub(*from).div_ceil(BLOCK))
            });
            if found != whole
                && let Some(slot) = parts.get_mut(index)
            {
                *slot = Some(found);
            }
        } else {
            data = data.saturating_add(item.size.div_ceil(BLOCK));
        }
    }
    let inodes = items.iter().filter(|item| item.same_as.is_none()).count() as u64;
    let mut size = wish.size.unwrap_or_else(|| estimate(items, data, inodes));
    let mut tries = if wish.size.is_some() { 1 } else { TRIES };
    let (layout, files) = loop {
        match declare(items, &parts, size, inodes, uuid, wish.time) {
            Ok(done) => break done,
            Err(Failed::Limit(why, item)) => {
                return Err(scan.explained(
                    PackError::Limit {
                        what: WHAT,
                        why,
                        item,
                    },
                    part,
                ));
            }
            Err(Failed::Room(why)) => {
                tries -= 1;
                if tries == 0 {
                    return Err(ExportError::Size { size, why });
                }
                size = size.saturating_add(size / 8).next_multiple_of(UNIT);
            }
        }
    };
    let written = fill(scan, items, &parts, &layout, &files, &file, told);
    let packed = written.map_err(|error| scan.explained(error, part))?;
    file.set_len(layout.image_len()).at("write", part)?;
    Ok((file, packed))
}

/// The parts of a file that are not long runs of zeros, in whole blocks.
fn not_zero(scan: &mut Scan<'_>, index: usize, size: u64) -> Result<Parts, PackError> {
    let read = |source| PackError::Read {
        item: index,
        source,
    };
    let known = scan.data(index).map_err(read)?;
    let mut reader = scan.open(index).map_err(read)?;
    let mut buffer = vec![0u8; 64 * BLOCK as usize];
    let mut parts: Parts = Vec::new();
    for (start, end) in known.unwrap_or_else(|| vec![(0, size)]) {
        let mut at = start - start % BLOCK;
        reader.seek(SeekFrom::Start(at)).map_err(read)?;
        let end = end.next_multiple_of(BLOCK).min(size);
        while at < end {
            let most = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let bytes = buffer.get_mut(..most).unwrap_or_default();
            reader.read_exact(bytes).map_err(read)?;
            for block in bytes.chunks(BLOCK as usize) {
                let next = at.saturating_add(block.len() as u64);
                if block.iter().any(|byte| *byte != 0) {
                    match parts.last_mut() {
                        Some(last) if at.saturating_sub(last.1) < LEAST_HOLE * BLOCK => {
                            last.1 = next
                        }
                        None if at < LEAST_HOLE * BLOCK => parts.push((0, next)),
                        _ => parts.push((at, next)),
                    }
                }
                at = next;
            }
        }
        if parts.len() > MAX_PARTS {
            return Ok(vec![(0, size)]);
        }
    }
    // A short run of zeros at the end is no hole either.
    if let Some(last) = parts.last_mut()
        && size.saturating_sub(last.1) < LEAST_HOLE * BLOCK
    {
        last.1 = size;
    }
    Ok(parts)
}

/// How large an image is made that nobody gave a size: what is there, a tenth more, and some room.
fn estimate(items: &[Item], data: u64, inodes: u64) -> u64 {
    let names: u64 = items
        .iter()
        .map(|item| 12u64.saturating_add(item.name.len() as u64))
        .sum();
    let directories = items
        .iter()
        .filter(|item| item.kind == NodeKind::Directory)
        .count() as u64;
    let links = items.iter().filter(|item| item.target.len() > 59).count() as u64;
    let attributes = items.iter().filter(|item| !item.xattrs.is_empty()).count() as u64;
    let blocks = [
        data,
        (names / BLOCK).saturating_mul(2),
        directories,
        links,
        attributes,
        inode_count(inodes).saturating_mul(256).div_ceil(BLOCK),
    ];
    let bytes = blocks
        .into_iter()
        .fold(0u64, u64::saturating_add)
        .saturating_mul(BLOCK);
    // The journal takes up to a sixteenth of small images, and less of large ones.
    let journal = (bytes / 16).clamp(4 << 20, 128 << 20);
    bytes
        .saturating_add(bytes / 6)
        .saturating_add(journal)
        .saturating_add(ROOM)
        .next_multiple_of(UNIT)
}

fn inode_count(inodes: u64) -> u64 {
    inodes.saturating_add(inodes / 4).saturating_add(1024)
}

/// Why a tree was not laid out.
enum Failed {
    Limit(&'static str, usize),
    Room(String),
}

type Declared = (Layout, Vec<(usize, InodeHandle)>);

fn declare(
    items: &[Item],
    parts: &[Option<Parts>],
    size: u64,
    inodes: u64,
    uuid: [u8; 16],
    time: i64,
) -> Result<Declared, Failed> {
    let room = |error: mkext4::Error| Failed::Room(error.to_string());
    let mut options = Options::new(size - size % BLOCK, uuid, time);
    let count =
        u32::try_from(inode_count(inodes)).map_err(|_| Failed::Limit("so many files", 0))?;
    options.inodes = InodeCount::Exact(count);
    let mut builder = FsBuilder::new(options).map_err(room)?;
    let mut handles: Vec<Option<InodeHandle>> = vec![None; items.len()];
    let mut files = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let refused = |_: mkext4::Error| Failed::Limit("it", index);
        let utf8 = |bytes: &'_ [u8]| {
            std::str::from_utf8(bytes)
                .map(str::to_owned)
                .map_err(|_| Failed::Limit("a name or link that is not UTF-8", index))
        };
        let mode = u16::try_from(item.mode & 0o7777).unwrap_or(0);
        let meta = Meta::new(mode, item.uid, item.gid, (item.mtime, 0));
        let name = utf8(&item.name)?;
        let parent = handles.get(item.parent).copied().flatten();
        let handle = if index == 0 {
            builder.set_meta(ROOT, meta).map_err(refused)?;
            ROOT
        } else {
            // What is below a directory that every ext4 has itself.
            let Some(parent) = parent else {
                return Err(Failed::Limit("files in lost+found", index));
            };
            if item.parent == 0 && name == "lost+found" && item.kind == NodeKind::Directory {
                continue;
            }
            if let Some(first) = item
                .same_as
                .and_then(|first| handles.get(first).copied().flatten())
            {
                builder.hardlink(parent, &name, first).map_err(refused)?;
                continue;
            }
            match item.kind {
                NodeKind::Directory => builder.mkdir(parent, &name, meta).map_err(refused)?,
                NodeKind::Symlink => builder
                    .symlink(parent, &name, &utf8(&item.target)?, meta)
                    .map_err(refused)?,
                NodeKind::File => {
                    let handle = match parts.get(index).and_then(Option::as_ref) {
                        Some(parts) => {
                            let segments = segments(parts, item.size);
                            builder.file_sparse(parent, &name, meta, &segments)
                        }
                        None => builder.file(parent, &name, meta, item.size),
                    };
                    let handle = handle.map_err(|error| match item.size > size {
                        true => room(error),
                        false => refused(error),
                    })?;
                    files.push((index, handle));
                    handle
                }
                other => {
                    let (major, minor) = item.device;
                    let kind = match other {
                        NodeKind::CharDevice => SpecialKind::Char { major, minor },
                        NodeKind::BlockDevice => SpecialKind::Block { major, minor },
                        NodeKind::Fifo => SpecialKind::Fifo,
                        _ => SpecialKind::Socket,
                    };
                    builder.mknod(parent, &name, meta, kind).map_err(refused)?
                }
            }
        };
        for (name, value) in &item.xattrs {
            let name = utf8(name)?;
            let value = match name.starts_with("system.posix_acl_") {
                true => acl(value).ok_or(Failed::Limit("such an access control list", index))?,
                false => value.clone(),
            };
            builder
                .set_xattr(handle, &name, &value)
                .map_err(|_| Failed::Limit("such extended attributes", index))?;
        }
        if let Some(slot) = handles.get_mut(index) {
            *slot = Some(handle);
        }
    }
    Ok((builder.seal().map_err(room)?, files))
}

fn segments(parts: &Parts, size: u64) -> Vec<SparseSeg> {
    let mut segments = Vec::new();
    let mut at = 0;
    for (from, to) in parts {
        if *from > at {
            segments.push(SparseSeg::Hole(from - at));
        }
        segments.push(SparseSeg::Data(to - from));
        at = *to;
    }
    if at < size {
        segments.push(SparseSeg::Hole(size - at));
    }
    segments
}

/// An access control list as ext4 keeps it: version 1, and numbers only where they say something (the kernel's
/// `fs/ext4/acl.h`); from the form of xattr(7), version 2.
fn acl(value: &[u8]) -> Option<Vec<u8>> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != 2 || entries.len() % 8 != 0 {
        return None;
    }
    let mut kept = 1u32.to_le_bytes().to_vec();
    for entry in entries.chunks(8) {
        let (tag, _) = entry.split_first_chunk::<2>()?;
        // A named user or group.
        let named = matches!(u16::from_le_bytes(*tag), 2 | 8);
        kept.extend_from_slice(entry.get(..if named { 8 } else { 4 })?);
    }
    Some(kept)
}

/// The image's file: zeros are left as holes.
struct Sink<'a>(&'a File);

impl RegionSink for Sink<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn zeros(&mut self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}

/// The parts of a file, one after the other.
struct Joined<'a> {
    source: Box<dyn Source + 'a>,
    parts: Vec<(u64, u64)>,
    at: u64,
}

impl Read for Joined<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some((from, to)) = self.parts.last().copied() {
            if self.at >= to {
                self.parts.pop();
                continue;
            }
            if self.at < from {
                self.at = from;
                self.source.seek(SeekFrom::Start(from))?;
            }
            let most = usize::try_from(to - self.at)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let got = self
                .source
                .read(buffer.get_mut(..most).unwrap_or_default())?;
            self.at = self.at.saturating_add(got as u64);
            return Ok(got);
        }
        Ok(0)
    }
}

fn fill(
    scan: &mut Scan<'_>,
    items: &[Item],
    parts: &[Option<Parts>],
    layout: &Layout,
    files: &[(usize, InodeHandle)],
    file: &File,
    told: &mut dyn FnMut(u64, u64, usize),
) -> Result<Packed, PackError> {
    let plain = |error: mkext4::Error| match error {
        mkext4::Error::Io(error) => PackError::Io(error),
        other => PackError::Io(io::Error::other(other.to_string())),
    };
    let mut sink = Sink(file);
    let mut writer = layout.writer(&mut sink).map_err(plain)?;
    let mut packed = Packed {
        items: items.len() as u64,
        ..Packed::default()
    };
    for (done, (index, handle)) in files.iter().enumerate() {
        let size = items.get(*index).map_or(0, |item| item.size);
        let known = parts.get(*index).and_then(Option::as_ref);
        let mut own = known.cloned().unwrap_or_else(|| vec![(0, size)]);
        if size > 0 && !own.is_empty() {
            own.reverse();
            let source = scan.open(*index).map_err(|source| PackError::Read {
                item: *index,
                source,
            })?;
            let mut reader = Joined {
                source,
                parts: own,
                at: 0,
            };
            writer.fill(*handle, &mut reader).map_err(plain)?;
        }
        packed.bytes = packed.bytes.saturating_add(size);
        told(done as u64, packed.bytes, *index);
    }
    writer.finish().map_err(plain)?;
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_control_list_is_kept_as_ext4_has_it() {
        // user::rwx, user:1000:r--, group::r-x, mask::rwx, other::---
        let mut value = 2u32.to_le_bytes().to_vec();
        for (tag, rights, id) in [
            (1u16, 7u16, u32::MAX),
            (2, 4, 1000),
            (4, 5, u32::MAX),
            (16, 7, u32::MAX),
            (32, 0, u32::MAX),
        ] {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&rights.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        }
        let kept = acl(&value).unwrap();
        assert_eq!(kept.len(), 4 + 4 + 8 + 4 + 4 + 4);
        assert_eq!(kept.get(8..16), Some(&[2, 0, 4, 0, 0xe8, 3, 0, 0][..]));
        for bad in [
            &b""[..],
            b"\x02\0\0",
            b"\x01\0\0\0",
            b"\x02\0\0\0\x01\0\x07",
        ] {
            assert_eq!(acl(bad), None);
        }
    }

    #[test]
    fn segments_cover_the_file() {
        let parts = vec![(4096, 8192), (65536, 70000)];
        let all = segments(&parts, 100_000);
        let sum: u64 = all
            .iter()
            .map(|part| match part {
                SparseSeg::Data(size) | SparseSeg::Hole(size) => *size,
            })
            .sum();
        assert_eq!(sum, 100_000);
        assert_eq!(segments(&Vec::new(), 9), [SparseSeg::Hole(9)]);
    }
}
