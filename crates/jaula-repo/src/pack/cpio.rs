//! cpio archives in the "new ASCII" format without checksums (cpio(5), "New ASCII Format"; the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`). A file with several names has its bytes at the last
//! of them, as cpio(1) has it. The format has no extended attributes, and sizes and times of 32 bits.

use super::{Content, Item, NodeKind, PackError, Packed, Tell, link_counts, read_exactly};
use std::io::Write;

const MAGIC: &str = "070701";
/// What stands for the format in errors.
const WHAT: &str = "cpio";
/// The name that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";
/// Archives end at a multiple of this, as cpio(1) writes them.
const BLOCK: u64 = 512;

struct Writer<W> {
    out: W,
    offset: u64,
}

impl<W: Write> Writer<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        Ok(self.out.write_all(bytes)?)
    }

    fn pad(&mut self, unit: u64) -> Result<(), PackError> {
        let rest = self
            .offset
            .next_multiple_of(unit)
            .saturating_sub(self.offset);
        let zeros = [0u8; BLOCK as usize];
        let rest = usize::try_from(rest).unwrap_or(0);
        self.put(zeros.get(..rest).unwrap_or_default())
    }

    fn header(&mut self, fields: [u32; 13], name: &[u8]) -> Result<(), PackError> {
        let mut text = String::with_capacity(110);
        text.push_str(MAGIC);
        for field in fields {
            text.push_str(&format!("{field:08x}"));
        }
        self.put(text.as_bytes())?;
        self.put(name)?;
        self.put(&[0])?;
        self.pad(4)
    }
}

/// Writes an archive, and gives the writer back.
///
/// # Errors
/// [`PackError::Limit`] for a file of 4 GiB or more; others when something cannot be read or written.
pub fn write<W: Write>(
    items: &[Item],
    content: &mut dyn Content,
    out: W,
    tell: Tell<'_>,
) -> Result<(W, Packed), PackError> {
    super::children(items)?;
    let links = link_counts(items);
    let mut last = vec![0usize; items.len()];
    let mut subdirs = vec![2u32; items.len()];
    let mut paths: Vec<Vec<u8>> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let first = item.same_as.unwrap_or(index);
        if let Some(last) = last.get_mut(first) {
            *last = index;
        }
        if index > 0
            && item.kind == NodeKind::Directory
            && let Some(count) = subdirs.get_mut(item.parent)
        {
            *count = count.saturating_add(1);
        }
        let mut path = Vec::new();
        if index > 0 {
            path.extend_from_slice(paths.get(item.parent).map_or(&[][..], Vec::as_slice));
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&item.name);
        }
        paths.push(path);
    }
    let mut writer = Writer { out, offset: 0 };
    let mut packed = Packed::default();
    let mut buffer = vec![0u8; 256 << 10];
    for (index, (item, path)) in items.iter().zip(&paths).enumerate() {
        let limit = |why| PackError::Limit {
            what: WHAT,
            why,
            item: index,
        };
        let first = item.same_as.unwrap_or(index);
        let with_content = item.kind == NodeKind::File && last.get(first) == Some(&index);
        let size = match item.kind {
            NodeKind::File if with_content => item.size,
            NodeKind::Symlink => item.target.len() as u64,
            _ => 0,
        };
        let small = u32::try_from(size).map_err(|_| limit("a file of 4 GiB or more"))?;
        let mtime = u32::try_from(item.mtime.max(0)).unwrap_or(u32::MAX);
        let name = if index == 0 { &b"."[..] } else { path };
        let name_size =
            u32::try_from(name.len().saturating_add(1)).map_err(|_| limit("such a name"))?;
        let number = u32::try_from(first.saturating_add(1)).map_err(|_| limit("so many files"))?;
        let nlink = match item.kind {
            NodeKind::Directory => subdirs.get(index).copied().unwrap_or(2),
            _ => links.get(first).copied().unwrap_or(1),
        };
        let (major, minor) = item.device;
        let mode = type_bits(item.kind) | item.mode;
        writer.header(
            [
                number, mode, item.uid, item.gid, nlink, mtime, small, 0, 0, major, minor,
                name_size, 0,
            ],
            name,
        )?;
        if item.kind == NodeKind::Symlink {
            writer.put(&item.target)?;
        } else if size > 0 {
            let mut reader = content.open(first).map_err(|source| PackError::Read {
                item: index,
                source,
            })?;
            let mut left = size;
            while left > 0 {
                let most = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let part = buffer.get_mut(..most).unwrap_or_default();
                read_exactly(&mut *reader, part, index)?;
                writer.put(part)?;
                left = left.saturating_sub(most as u64);
            }
            packed.bytes = packed.bytes.saturating_add(size);
        }
        writer.pad(4)?;
        packed.items = packed.items.saturating_add(1);
        if item.same_as.is_none() {
            packed.xattrs = packed.xattrs.saturating_add(item.xattrs.len() as u64);
        }
        tell(packed.items, packed.bytes, index);
    }
    writer.header([0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0], TRAILER)?;
    writer.pad(BLOCK)?;
    Ok((writer.out, packed))
}

/// The type bits of a mode, inode(7).
pub(crate) fn type_bits(kind: NodeKind) -> u32 {
    match kind {
        NodeKind::Fifo => 0o010_000,
        NodeKind::CharDevice => 0o020_000,
        NodeKind::Directory => 0o040_000,
        NodeKind::BlockDevice => 0o060_000,
        NodeKind::File => 0o100_000,
        NodeKind::Symlink => 0o120_000,
        NodeKind::Socket => 0o140_000,
    }
}
