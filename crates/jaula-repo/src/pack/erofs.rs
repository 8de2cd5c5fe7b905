//! Writes erofs images (the kernel's `fs/erofs/erofs_fs.h`, `Documentation/filesystems/erofs.rst`) without
//! compression: inodes of the extended form, ends of files behind their inodes, hard links, devices, extended
//! attributes and access control lists. Linux 5.4 and later.

use super::cpio::type_bits;
use super::{
    Content, Item, NodeKind, PackError, Packed, Source, Tell, Xattr, children, device_word,
    link_counts, read_exactly,
};
use std::io::{Seek, SeekFrom, Write};

const WHAT: &str = "erofs";
/// Bytes of a block.
const BLOCK: u64 = 4096;
const BLOCK_BITS: u8 = 12;
/// Where the super block is, and its bytes.
const SUPER: u64 = 1024;
const SUPER_SIZE: u64 = 128;
/// Inodes begin at multiples of this, and are numbered so.
const SLOT: u64 = 32;
/// Bytes of an inode of the extended form.
const INODE: u64 = 64;
/// Bytes of an entry of a directory before the names.
const ENTRY: usize = 12;
/// Data layouts: blocks; blocks and the end behind the inode.
const PLAIN: u16 = 0;
const INLINE: u16 = 2;

/// What may differ between images of one tree.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The time that the image says it was made at: seconds since 1970.
    pub time: i64,
    /// Its identifier.
    pub uuid: [u8; 16],
}

/// Where an inode is and what it points to.
#[derive(Debug, Clone, Default)]
struct Place {
    at: u64,
    layout: u16,
    size: u64,
    xattrs: Vec<u8>,
    /// Whole blocks, and the first of them.
    blocks: u64,
    first: u64,
}

impl Place {
    /// Bytes behind the inode and its attributes.
    fn end(&self) -> u64 {
        if self.layout == INLINE {
            self.size % BLOCK
        } else {
            0
        }
    }

    fn number(&self) -> u64 {
        self.at / SLOT
    }
}

/// The attributes as they stand behind an inode: a header of 12 bytes, then each with its name and value.
fn attributes(all: &[Xattr], left: &mut u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, value) in all {
        let table: [(&[u8], u8); 5] = [
            (b"user.", 1),
            (b"system.posix_acl_access", 2),
            (b"system.posix_acl_default", 3),
            (b"trusted.", 4),
            (b"security.", 6),
        ];
        let found = table
            .iter()
            .find_map(|(prefix, index)| Some((name.strip_prefix(*prefix)?, *index)));
        let Some((rest, index)) = found else {
            *left = left.saturating_add(1);
            continue;
        };
        if bytes.is_empty() {
            bytes.resize(12, 0);
        }
        bytes.push(u8::try_from(rest.len()).ok()?);
        bytes.push(index);
        bytes.extend_from_slice(&u16::try_from(value.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(rest);
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    // The header counts them in units of 4 bytes.
    (bytes.len() < 4 * usize::from(u16::MAX)).then_some(bytes)
}

/// A directory's names, sorted, with what each leads to.
type Names<'a> = Vec<(&'a [u8], usize)>;

fn names<'a>(items: &'a [Item], index: usize, children: &[usize]) -> Names<'a> {
    let parent = items.get(index).map_or(0, |item| item.parent);
    let mut names: Names<'a> = vec![(b".", index), (b"..", parent)];
    for child in children {
        if let Some(item) = items.get(*child) {
            names.push((&item.name, item.same_as.unwrap_or(*child)));
        }
    }
    names.sort_unstable();
    names
}

/// How many names go into each block, and how many bytes the last block has.
fn blocks_of(names: &Names<'_>) -> (Vec<usize>, u64) {
    let (mut counts, mut count, mut used) = (Vec::new(), 0usize, 0usize);
    for (name, _) in names {
        let more = name.len().saturating_add(ENTRY);
        if used.saturating_add(more) > BLOCK as usize {
            counts.push(count);
            (count, used) = (0, 0);
        }
        count = count.saturating_add(1);
        used = used.saturating_add(more);
    }
    counts.push(count);
    (counts, used as u64)
}

/// A directory's bytes: blocks of entries and names.
fn directory(names: &Names<'_>, places: &[Place], items: &[Item]) -> Result<Vec<u8>, PackError> {
    let (counts, _) = blocks_of(names);
    let mut bytes = Vec::new();
    let mut rest = names.as_slice();
    for count in counts {
        let (now, later) = rest.split_at(count.min(rest.len()));
        rest = later;
        bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        let mut offset = now.len().saturating_mul(ENTRY);
        for (name, to) in now {
            let place = places.get(*to).ok_or(PackError::NoTree)?;
            let kind = items
                .get(*to)
                .map(|item| item.kind)
                .ok_or(PackError::NoTree)?;
            bytes.extend_from_slice(&place.number().to_le_bytes());
            bytes.extend_from_slice(&u16::try_from(offset).unwrap_or(0).to_le_bytes());
            bytes.extend_from_slice(&[file_type(kind), 0]);
            offset = offset.saturating_add(name.len());
        }
        now.iter()
            .for_each(|(name, _)| bytes.extend_from_slice(name));
    }
    Ok(bytes)
}

fn file_type(kind: NodeKind) -> u8 {
    match kind {
        NodeKind::File => 1,
        NodeKind::Directory => 2,
        NodeKind::CharDevice => 3,
        NodeKind::BlockDevice => 4,
        NodeKind::Fifo => 5,
        NodeKind::Socket => 6,
        NodeKind::Symlink => 7,
    }
}

struct Writer<W> {
    out: W,
    offset: u64,
    /// The first block as it was written: its checksum is known at the end.
    first: Vec<u8>,
}

impl<W: Write> Writer<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        let room = (BLOCK as usize)
            .saturating_sub(self.first.len())
            .min(bytes.len());
        self.first
            .extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        Ok(self.out.write_all(bytes)?)
    }

    fn pad_to(&mut self, at: u64) -> Result<(), PackError> {
        const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
        while self.offset < at {
            let rest = usize::try_from(at.saturating_sub(self.offset)).unwrap_or(usize::MAX);
            self.put(ZEROS.get(..rest.min(ZEROS.len())).unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Writes an image from where `out` is, and gives it back.
///
/// # Errors
/// [`PackError::Limit`] for what the format cannot hold; others when something cannot be read or written.
pub fn write<W: Write + Seek>(
    items: &[Item],
    content: &mut dyn Content,
    mut out: W,
    options: &Options,
    tell: Tell<'_>,
) -> Result<(W, Packed), PackError> {
    let children = children(items)?;
    let begin = out.stream_position()?;
    let mut packed = Packed::default();
    let (places, blocks) = lay_out(items, &children, &mut packed)?;
    let links = link_counts(items);
    let mut writer = Writer {
        out,
        offset: 0,
        first: Vec::with_capacity(BLOCK as usize),
    };
    let mut number = 0u32;
    for (index, item) in items.iter().enumerate() {
        packed.items = packed.items.saturating_add(1);
        if item.same_as.is_some() {
            continue;
        }
        number = number.saturating_add(1);
        let place = places.get(index).ok_or(PackError::NoTree)?;
        let own = children.get(index).map(Vec::as_slice).unwrap_or_default();
        let nlink = match item.kind {
            NodeKind::Directory => {
                let below = own.iter().filter_map(|child| items.get(*child));
                let subdirs = below
                    .filter(|child| child.kind == NodeKind::Directory)
                    .count();
                u32::try_from(subdirs.saturating_add(2)).unwrap_or(u32::MAX)
            }
            _ => links.get(index).copied().unwrap_or(1),
        };
        writer.pad_to(place.at)?;
        writer.put(&inode(item, place, number, nlink, index)?)?;
        writer.put(&place.xattrs)?;
        if place.end() > 0 {
            let end = end_of(items, index, place, own, &places, content)?;
            writer.put(&end)?;
        }
    }
    let mut buffer = vec![0u8; 256 << 10];
    for (index, item) in items.iter().enumerate() {
        let place = places.get(index).ok_or(PackError::NoTree)?;
        if item.same_as.is_none() {
            if place.blocks > 0 {
                writer.pad_to(place.first.saturating_mul(BLOCK))?;
                match item.kind {
                    NodeKind::File => {
                        let mut reader = opened(content, index)?;
                        let mut left = place.size.saturating_sub(place.end());
                        while left > 0 {
                            let most = usize::try_from(left)
                                .unwrap_or(usize::MAX)
                                .min(buffer.len());
                            let part = buffer.get_mut(..most).unwrap_or_default();
                            read_exactly(&mut *reader, part, index)?;
                            writer.put(part)?;
                            left = left.saturating_sub(most as u64);
                        }
                    }
                    NodeKind::Directory => {
                        let own = children.get(index).map(Vec::as_slice).unwrap_or_default();
                        let bytes = directory(&names(items, index, own), &places, items)?;
                        let whole =
                            usize::try_from(place.size.saturating_sub(place.end())).unwrap_or(0);
                        writer.put(bytes.get(..whole).unwrap_or_default())?;
                    }
                    _ => writer.put(&item.target)?,
                }
            }
            if item.kind == NodeKind::File {
                packed.bytes = packed.bytes.saturating_add(item.size);
            }
        }
        tell(packed.items, packed.bytes, index);
    }
    writer.pad_to(blocks.saturating_mul(BLOCK))?;
    let mut first = std::mem::take(&mut writer.first);
    let root = places.first().map_or(0, Place::number);
    let root = u16::try_from(root).unwrap_or(0);
    let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
    let block = super_block(options, root, u64::from(number), blocks);
    let (from, to) = (SUPER as usize, (SUPER + SUPER_SIZE) as usize);
    if let Some(room) = first.get_mut(from..to) {
        room.copy_from_slice(&block);
    }
    let sum = crc32c(first.get(from..).unwrap_or_default());
    if let Some(room) = first.get_mut(from + 4..from + 8) {
        room.copy_from_slice(&sum.to_le_bytes());
    }
    let (mut out, end) = (writer.out, begin.saturating_add(writer.offset));
    out.seek(SeekFrom::Start(begin))?;
    out.write_all(&first)?;
    out.seek(SeekFrom::Start(end))?;
    Ok((out, packed))
}

fn opened<'a>(
    content: &'a mut dyn Content,
    item: usize,
) -> Result<Box<dyn Source + 'a>, PackError> {
    content
        .open(item)
        .map_err(|source| PackError::Read { item, source })
}

/// What stands behind an inode: all of what is small, the end of what is larger.
fn end_of(
    items: &[Item],
    index: usize,
    place: &Place,
    children: &[usize],
    places: &[Place],
    content: &mut dyn Content,
) -> Result<Vec<u8>, PackError> {
    let item = items.get(index).ok_or(PackError::NoTree)?;
    let from = place.size.saturating_sub(place.end());
    let start = usize::try_from(from).unwrap_or(usize::MAX);
    match item.kind {
        NodeKind::Directory => {
            let bytes = directory(&names(items, index, children), places, items)?;
            Ok(bytes.get(start..).unwrap_or_default().to_vec())
        }
        NodeKind::File => {
            let mut end = vec![0u8; usize::try_from(place.end()).unwrap_or(0)];
            let mut reader = opened(content, index)?;
            reader
                .seek(SeekFrom::Start(from))
                .map_err(|source| PackError::Read {
                    item: index,
                    source,
                })?;
            read_exactly(&mut *reader, &mut end, index)?;
            Ok(end)
        }
        _ => Ok(item.target.get(start..).unwrap_or_default().to_vec()),
    }
}

/// Where everything goes, and how many blocks there are.
fn lay_out(
    items: &[Item],
    children: &[Vec<usize>],
    packed: &mut Packed,
) -> Result<(Vec<Place>, u64), PackError> {
    let mut places = vec![Place::default(); items.len()];
    let mut at = SUPER + SUPER_SIZE;
    for (index, item) in items.iter().enumerate() {
        if item.same_as.is_some() {
            continue;
        }
        let limit = |why| PackError::Limit {
            what: WHAT,
            why,
            item: index,
        };
        let xattrs = attributes(&item.xattrs, &mut packed.xattrs)
            .ok_or_else(|| limit("so many extended attributes"))?;
        let own = children.get(index).map(Vec::as_slice).unwrap_or_default();
        let size = match item.kind {
            NodeKind::File => item.size,
            NodeKind::Symlink => item.target.len() as u64,
            NodeKind::Directory => {
                let (counts, last) = blocks_of(&names(items, index, own));
                let before = counts.len().saturating_sub(1) as u64;
                before.saturating_mul(BLOCK).saturating_add(last)
            }
            _ => 0,
        };
        let head = INODE.saturating_add(xattrs.len() as u64);
        let end = size % BLOCK;
        // The end may not lie in two blocks.
        let inline = end > 0 && head.saturating_add(end) <= BLOCK;
        let behind = if inline { end } else { 0 };
        if inline
            && at / BLOCK
                != at
                    .saturating_add(head)
                    .saturating_add(behind)
                    .saturating_sub(1)
                    / BLOCK
        {
            at = at.next_multiple_of(BLOCK);
        }
        let place = places.get_mut(index).ok_or(PackError::NoTree)?;
        *place = Place {
            at,
            layout: if inline { INLINE } else { PLAIN },
            size,
            xattrs,
            blocks: if inline {
                size / BLOCK
            } else {
                size.div_ceil(BLOCK)
            },
            first: 0,
        };
        at = at
            .checked_add(head)
            .and_then(|at| at.checked_add(behind))
            .and_then(|at| at.checked_next_multiple_of(SLOT))
            .ok_or_else(|| limit("so much"))?;
    }
    let mut next = at.div_ceil(BLOCK);
    for (index, place) in places.iter_mut().enumerate() {
        place.first = next;
        next = next
            .checked_add(place.blocks)
            .filter(|next| *next < u64::from(u32::MAX))
            .ok_or(PackError::Limit {
                what: WHAT,
                why: "more than 16 TiB",
                item: index,
            })?;
    }
    Ok((places, next))
}

fn inode(
    item: &Item,
    place: &Place,
    number: u32,
    nlink: u32,
    index: usize,
) -> Result<Vec<u8>, PackError> {
    let mut bytes = Vec::with_capacity(INODE as usize);
    let half = |bytes: &mut Vec<u8>, half: u16| bytes.extend_from_slice(&half.to_le_bytes());
    let word = |bytes: &mut Vec<u8>, word: u32| bytes.extend_from_slice(&word.to_le_bytes());
    half(&mut bytes, 1 | (place.layout << 1));
    let count = match place.xattrs.len() {
        0 => 0,
        length => length.saturating_sub(12) / 4 + 1,
    };
    half(&mut bytes, u16::try_from(count).unwrap_or(0));
    let mode = type_bits(item.kind) | item.mode & 0o7777;
    half(&mut bytes, u16::try_from(mode).unwrap_or(0));
    half(&mut bytes, 0);
    bytes.extend_from_slice(&place.size.to_le_bytes());
    word(
        &mut bytes,
        match item.kind {
            NodeKind::CharDevice | NodeKind::BlockDevice => {
                device_word(item.device).ok_or(PackError::Limit {
                    what: WHAT,
                    why: "such a device number",
                    item: index,
                })?
            }
            _ if place.blocks > 0 => u32::try_from(place.first).unwrap_or(0),
            _ => 0,
        },
    );
    for value in [number, item.uid, item.gid] {
        word(&mut bytes, value);
    }
    bytes.extend_from_slice(&item.mtime.max(0).to_le_bytes());
    word(&mut bytes, 0);
    word(&mut bytes, nlink);
    bytes.resize(INODE as usize, 0);
    Ok(bytes)
}

/// The super block without its checksum.
fn super_block(options: &Options, root: u16, inodes: u64, blocks: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SUPER_SIZE as usize);
    bytes.extend_from_slice(&0xe0f5_e1e2_u32.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    // There is a checksum.
    bytes.extend_from_slice(&1u32.to_le_bytes());
    bytes.extend_from_slice(&[BLOCK_BITS, 0]);
    bytes.extend_from_slice(&root.to_le_bytes());
    bytes.extend_from_slice(&inodes.to_le_bytes());
    bytes.extend_from_slice(&options.time.max(0).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&blocks.to_le_bytes());
    // Inodes and attributes are counted from the beginning of the image.
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&options.uuid);
    bytes.resize(SUPER_SIZE as usize, 0);
    bytes
}

/// CRC-32C (RFC 3720, appendix B.4) as the kernel has it: not inverted at the end.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(sum & 1))
        })
    })
}
