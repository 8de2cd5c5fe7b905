//! Writes squashfs images, version 4.0 (the kernel's `fs/squashfs/squashfs_fs.h`,
//! `Documentation/filesystems/squashfs.rst`): blocks compressed on several threads, ends of files together in
//! fragments, blocks of zeros as holes, hard links, devices, extended attributes of `user.`, `trusted.` and
//! `security.`; no export table. Nothing depends on time or on the number of threads.

mod metadata;

use super::lanes::Lanes;
use super::{
    Content, Item, NodeKind, PackError, Packed, Source, Tell, children, device_word, link_counts,
    read_exactly,
};
use metadata::{Metadata, Table, Xattrs};
use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom, Write};

const WHAT: &str = "squashfs";
/// Bytes of a block of a file's content: what mksquashfs(1) takes too.
const BLOCK: usize = 128 << 10;
const BLOCK_LOG: u16 = 17;
/// Bytes of the super block.
const SUPER_BLOCK: usize = 96;
/// In the size of a block: it is stored as it is.
const AS_IT_IS: u32 = 1 << 24;
/// Instead of a number: there is none.
const NONE: u32 = u32::MAX;
/// Most blocks of all files together: 2 TiB, holes included.
const MAX_BLOCKS: u64 = 16 << 20;
/// The whole is padded to this, as the kernel reads devices by pages.
const PADDING: u64 = 4096;

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// gzip (zlib, RFC 1950), for the oldest kernels.
    Gzip,
    /// xz: small and slow.
    Xz,
    /// Zstandard; Linux 4.14 and later.
    #[default]
    Zstd,
}

impl Compression {
    fn id(self) -> u16 {
        match self {
            Self::Gzip => 1,
            Self::Xz => 4,
            Self::Zstd => 6,
        }
    }

    /// A block compressed, or none when that does not make it smaller.
    fn pack(self, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let packed = match self {
            Self::Gzip => {
                let mut encoder = flate2::write::ZlibEncoder::new(
                    Vec::with_capacity(bytes.len()),
                    flate2::Compression::new(9),
                );
                encoder.write_all(bytes)?;
                encoder.finish()?
            }
            Self::Xz => {
                // The kernel's decoder has a dictionary of a block's size, and knows CRC32 alone.
                let mut options = liblzma::stream::LzmaOptions::new_preset(6)?;
                options.dict_size(BLOCK as u32);
                let mut filters = liblzma::stream::Filters::new();
                filters.lzma2(&options);
                let stream = liblzma::stream::Stream::new_stream_encoder(
                    &filters,
                    liblzma::stream::Check::Crc32,
                )?;
                let mut encoder =
                    liblzma::write::XzEncoder::new_stream(Vec::with_capacity(bytes.len()), stream);
                encoder.write_all(bytes)?;
                encoder.finish()?
            }
            Self::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL)?,
        };
        Ok(Some(packed).filter(|packed| packed.len() < bytes.len()))
    }
}

/// zstd(1) level of the blocks.
const ZSTD_LEVEL: i32 = 12;

/// What may differ between images of one tree.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How blocks are compressed.
    pub compression: Compression,
    /// The time that the image says it was made at: seconds since 1970.
    pub time: i64,
    /// How many threads compress. The bytes do not depend on it.
    pub threads: usize,
}

/// What the bytes of a file became.
#[derive(Debug, Clone, Default)]
struct Stored {
    start: u64,
    sizes: Vec<u32>,
    fragment: Option<(u32, u32)>,
    holes: u64,
}

/// What a compressed piece is for.
enum Piece {
    /// The block of this number of this file.
    Block(usize, usize),
    /// A fragment block.
    Fragment,
}

/// A piece as it goes to the file: its bytes, whether they are compressed.
type Done = io::Result<(Vec<u8>, bool)>;

struct Writer<W> {
    out: W,
    offset: u64,
    lanes: Lanes<Vec<u8>, Done>,
    under_way: std::collections::VecDeque<Piece>,
    stored: BTreeMap<usize, Stored>,
    fragments: Vec<(u64, u32)>,
    /// Ends of files that are to share a block.
    ends: Vec<u8>,
    /// How many fragment blocks were given out.
    given: u32,
}

impl<W: Write + Seek> Writer<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        Ok(self.out.write_all(bytes)?)
    }

    /// Gives a piece to the threads; their results are written in the order of the pieces.
    fn give(&mut self, piece: Piece, bytes: Vec<u8>) -> Result<(), PackError> {
        while self.lanes.full() {
            self.take()?;
        }
        if !self.lanes.give(bytes) {
            return Err(gone().into());
        }
        self.under_way.push_back(piece);
        Ok(())
    }

    /// Writes the next piece.
    fn take(&mut self) -> Result<(), PackError> {
        let (Some(result), Some(piece)) = (self.lanes.next_result(), self.under_way.pop_front())
        else {
            return Err(gone().into());
        };
        let (bytes, packed) = result?;
        let size = u32::try_from(bytes.len()).unwrap_or(0) | if packed { 0 } else { AS_IT_IS };
        let at = self.offset;
        match piece {
            Piece::Fragment => self.fragments.push((at, size)),
            Piece::Block(item, number) => {
                let stored = self.stored.entry(item).or_default();
                if number == 0 || stored.start == 0 {
                    stored.start = at;
                }
                if let Some(slot) = stored.sizes.get_mut(number) {
                    *slot = size;
                }
            }
        }
        self.put(&bytes)
    }

    fn flush_ends(&mut self) -> Result<(), PackError> {
        if !self.ends.is_empty() {
            let block = std::mem::replace(&mut self.ends, Vec::with_capacity(BLOCK));
            self.give(Piece::Fragment, block)?;
            self.given = self.given.saturating_add(1);
        }
        Ok(())
    }

    /// The bytes of one file.
    fn file(
        &mut self,
        index: usize,
        size: u64,
        content: &mut dyn Content,
    ) -> Result<(), PackError> {
        let read = |source| PackError::Read {
            item: index,
            source,
        };
        let whole = size / BLOCK as u64;
        let end = (size % BLOCK as u64) as usize;
        let known = content.data(index).map_err(read)?;
        let count = usize::try_from(whole).map_err(|_| too_large(index))?;
        self.stored.insert(
            index,
            Stored {
                sizes: vec![0; count],
                ..Stored::default()
            },
        );
        let mut reader = content.open(index).map_err(read)?;
        let mut parts = known.as_deref().map(|parts| parts.iter().peekable());
        let mut skipped = 0u64;
        for number in 0..count {
            let (from, to) = block_range(number);
            // Holes that are known of are not read: a file of a terabyte may hold one byte.
            if let Some(parts) = &mut parts {
                while parts.next_if(|part| part.1 <= from).is_some() {}
                if parts.peek().is_none_or(|part| part.0 >= to) {
                    skipped = skipped.saturating_add(BLOCK as u64);
                    continue;
                }
            }
            skip(&mut *reader, &mut skipped, index)?;
            let mut block = vec![0u8; BLOCK];
            read_exactly(&mut *reader, &mut block, index)?;
            if block.iter().all(|byte| *byte == 0) {
                continue;
            }
            self.give(Piece::Block(index, number), block)?;
        }
        if end > 0 {
            if self.ends.len().saturating_add(end) > BLOCK {
                self.flush_ends()?;
            }
            let offset = self.ends.len();
            skip(&mut *reader, &mut skipped, index)?;
            self.ends.resize(offset.saturating_add(end), 0);
            let room = self.ends.get_mut(offset..).unwrap_or_default();
            read_exactly(&mut *reader, room, index)?;
            let place = (self.given, u32::try_from(offset).unwrap_or(0));
            if let Some(stored) = self.stored.get_mut(&index) {
                stored.fragment = Some(place);
            }
        }
        Ok(())
    }
}

fn block_range(number: usize) -> (u64, u64) {
    let from = (number as u64).saturating_mul(BLOCK as u64);
    (from, from.saturating_add(BLOCK as u64))
}

/// Passes over bytes that are known to be zeros.
fn skip(reader: &mut dyn Source, skipped: &mut u64, item: usize) -> Result<(), PackError> {
    let wanted = i64::try_from(std::mem::take(skipped)).unwrap_or(i64::MAX);
    if wanted > 0 {
        reader
            .seek(SeekFrom::Current(wanted))
            .map_err(|source| PackError::Read { item, source })?;
    }
    Ok(())
}

fn gone() -> io::Error {
    io::Error::other("a thread that compresses has ended")
}

fn too_large(item: usize) -> PackError {
    PackError::Limit {
        what: WHAT,
        why: "files of more than 2 TiB",
        item,
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
    out.write_all(&[0u8; SUPER_BLOCK])?;
    let how = options.compression;
    let lanes = Lanes::start(options.threads, move |bytes: Vec<u8>| {
        Ok(match how.pack(&bytes)? {
            Some(packed) => (packed, true),
            None => (bytes, false),
        })
    });
    let mut writer = Writer {
        out,
        offset: SUPER_BLOCK as u64,
        lanes,
        under_way: Default::default(),
        stored: BTreeMap::new(),
        fragments: Vec::new(),
        ends: Vec::with_capacity(BLOCK),
        given: 0,
    };
    let mut packed = Packed::default();
    let mut blocks = 0u64;
    for (index, item) in items.iter().enumerate() {
        packed.items = packed.items.saturating_add(1);
        if item.kind == NodeKind::File && item.same_as.is_none() && item.size > 0 {
            blocks = blocks.saturating_add(item.size / BLOCK as u64);
            if blocks > MAX_BLOCKS {
                return Err(too_large(index));
            }
            writer.file(index, item.size, content)?;
            packed.bytes = packed.bytes.saturating_add(item.size);
        }
        tell(packed.items, packed.bytes, index);
    }
    writer.flush_ends()?;
    while !writer.lanes.idle() {
        writer.take()?;
    }
    for stored in writer.stored.values_mut() {
        let holes = stored.sizes.iter().filter(|size| **size == 0).count() as u64;
        stored.holes = holes.saturating_mul(BLOCK as u64);
    }
    let super_block = tables(&mut writer, items, &children, options, &mut packed)?;
    let end = begin.saturating_add(writer.offset);
    let padding = writer
        .offset
        .next_multiple_of(PADDING)
        .saturating_sub(writer.offset);
    writer.put(&vec![0u8; usize::try_from(padding).unwrap_or(0)])?;
    let mut out = writer.out;
    out.seek(SeekFrom::Start(begin))?;
    out.write_all(&super_block)?;
    out.seek(SeekFrom::Start(end.saturating_add(padding)))?;
    Ok((out, packed))
}

/// Numbers of inodes: by the first name of each file, from 1.
fn numbers(items: &[Item]) -> (Vec<u32>, u32) {
    let mut numbers = vec![0u32; items.len()];
    let mut next = 0u32;
    for (index, item) in items.iter().enumerate() {
        let number = match item.same_as {
            Some(first) => numbers.get(first).copied().unwrap_or(0),
            None => {
                next = next.saturating_add(1);
                next
            }
        };
        if let Some(slot) = numbers.get_mut(index) {
            *slot = number;
        }
    }
    (numbers, next)
}

/// All that stands behind the content. The super block.
fn tables<W: Write + Seek>(
    writer: &mut Writer<W>,
    items: &[Item],
    children: &[Vec<usize>],
    options: &Options,
    packed: &mut Packed,
) -> Result<Vec<u8>, PackError> {
    let links = link_counts(items);
    let (numbers, count) = numbers(items);
    let mut ids = Ids::default();
    let mut xattrs = Xattrs::new(options.compression);
    let mut inodes = Metadata::new(options.compression);
    let mut directories = Metadata::new(options.compression);
    let mut places: Vec<u64> = vec![0; items.len()];
    // A directory's entries name places of inodes, so what is in it comes first: all that is no directory, which may
    // have names in several, then the directories from the last, because the list has parents first.
    let is_dir = |index: &usize| {
        let item = items.get(*index);
        item.is_some_and(|item| item.kind == NodeKind::Directory)
    };
    let plain = (0..items.len()).filter(|index| !is_dir(index));
    let directories_last = (0..items.len()).rev().filter(is_dir);
    for index in plain.chain(directories_last) {
        let item = items.get(index).ok_or(PackError::NoTree)?;
        if item.same_as.is_some() {
            continue;
        }
        let limit = |why| PackError::Limit {
            what: WHAT,
            why,
            item: index,
        };
        let attributes = xattrs
            .add(&item.xattrs, &mut packed.xattrs)?
            .unwrap_or(NONE);
        let extended = attributes != NONE;
        let (uid, gid) = (ids.index(item.uid), ids.index(item.gid));
        let (Some(uid), Some(gid)) = (uid, gid) else {
            return Err(limit("more than 65535 owners"));
        };
        let mtime = u32::try_from(item.mtime.max(0)).unwrap_or(u32::MAX);
        let number = numbers.get(index).copied().unwrap_or(0);
        let nlink = links.get(index).copied().unwrap_or(1);
        let mut body = Vec::with_capacity(64);
        let kind = match item.kind {
            NodeKind::Directory => {
                let own = children.get(index).map(Vec::as_slice).unwrap_or_default();
                let (block, offset) = directories.place();
                let size = listing(&mut directories, items, own, &places, &numbers)?;
                // What a listing holds besides its entries is counted too.
                let size = u32::try_from(size.saturating_add(3))
                    .map_err(|_| limit("such a large directory"))?;
                let below = own.iter().filter_map(|child| items.get(*child));
                let subdirs = below
                    .filter(|child| child.kind == NodeKind::Directory)
                    .count();
                let nlink = u32::try_from(subdirs.saturating_add(2)).unwrap_or(u32::MAX);
                let parent = match index {
                    0 => count.saturating_add(1),
                    _ => numbers.get(item.parent).copied().unwrap_or(0),
                };
                let block = u32::try_from(block).map_err(|_| limit("so many names"))?;
                match u16::try_from(size) {
                    Ok(size) if !extended => {
                        words(&mut body, &[block, nlink]);
                        halves(&mut body, &[size, offset]);
                        words(&mut body, &[parent]);
                        1
                    }
                    _ => {
                        words(&mut body, &[nlink, size, block, parent]);
                        halves(&mut body, &[0, offset]);
                        words(&mut body, &[attributes]);
                        8
                    }
                }
            }
            NodeKind::File => {
                let stored = writer.stored.remove(&index).unwrap_or_default();
                let (fragment, offset) = stored.fragment.unwrap_or((NONE, 0));
                let small = (u32::try_from(stored.start), u32::try_from(item.size));
                let kind = match small {
                    (Ok(start), Ok(size)) if !extended && nlink == 1 && stored.holes == 0 => {
                        words(&mut body, &[start, fragment, offset, size]);
                        2
                    }
                    _ => {
                        let holes = stored.holes.min(item.size);
                        for word in [stored.start, item.size, holes] {
                            body.extend_from_slice(&word.to_le_bytes());
                        }
                        words(&mut body, &[nlink, fragment, offset, attributes]);
                        9
                    }
                };
                words(&mut body, &stored.sizes);
                kind
            }
            NodeKind::Symlink => {
                let size =
                    u32::try_from(item.target.len()).map_err(|_| limit("such a long link"))?;
                words(&mut body, &[nlink, size]);
                body.extend_from_slice(&item.target);
                if extended {
                    words(&mut body, &[attributes]);
                }
                3 + 7 * u16::from(extended)
            }
            NodeKind::BlockDevice | NodeKind::CharDevice => {
                let device =
                    device_word(item.device).ok_or_else(|| limit("such a device number"))?;
                words(&mut body, &[nlink, device]);
                if extended {
                    words(&mut body, &[attributes]);
                }
                4 + u16::from(item.kind == NodeKind::CharDevice) + 7 * u16::from(extended)
            }
            NodeKind::Fifo | NodeKind::Socket => {
                words(&mut body, &[nlink]);
                if extended {
                    words(&mut body, &[attributes]);
                }
                6 + u16::from(item.kind == NodeKind::Socket) + 7 * u16::from(extended)
            }
        };
        let mut inode = Vec::with_capacity(body.len().saturating_add(16));
        let mode = u16::try_from(item.mode & 0o7777).unwrap_or(0);
        halves(&mut inode, &[kind, mode, uid, gid]);
        words(&mut inode, &[mtime, number]);
        inode.extend_from_slice(&body);
        if let Some(place) = places.get_mut(index) {
            *place = inodes.reference();
        }
        inodes.add(&inode)?;
    }
    let root = places.first().copied().unwrap_or(0);
    let fragments = writer_fragments(&writer.fragments);
    let mut at = Places {
        offset: writer.offset,
    };
    let inode_table = at.put(&mut writer.out, &inodes.finish()?)?;
    let directory_table = at.put(&mut writer.out, &directories.finish()?)?;
    let fragment_table = at.table(
        &mut writer.out,
        Table::pack(options.compression, &fragments)?,
    )?;
    let id_bytes: Vec<u8> = ids.list.iter().flat_map(|id| id.to_le_bytes()).collect();
    let id_table = at.table(
        &mut writer.out,
        Table::pack(options.compression, &id_bytes)?,
    )?;
    let xattr_table = match xattrs.finish()? {
        None => u64::MAX,
        Some((pairs, count, table)) => {
            let start = at.put(&mut writer.out, &pairs)?;
            let blocks = at.offset;
            at.put(&mut writer.out, &table.blocks)?;
            let mut head = start.to_le_bytes().to_vec();
            words(&mut head, &[count, 0]);
            head.extend(table.index(blocks));
            at.put(&mut writer.out, &head)?
        }
    };
    writer.offset = at.offset;
    let mut block = Vec::with_capacity(SUPER_BLOCK);
    block.extend_from_slice(b"hsqs");
    let time = u32::try_from(options.time.max(0)).unwrap_or(u32::MAX);
    let fragment_count = u32::try_from(writer.fragments.len()).unwrap_or(NONE);
    words(&mut block, &[count, time, BLOCK as u32, fragment_count]);
    let flags = if xattr_table == u64::MAX { 0x0200 } else { 0 };
    let ids = u16::try_from(ids.list.len()).unwrap_or(u16::MAX);
    halves(
        &mut block,
        &[options.compression.id(), BLOCK_LOG, flags, ids, 4, 0],
    );
    for word in [
        root,
        writer.offset,
        id_table,
        xattr_table,
        inode_table,
        directory_table,
        fragment_table,
        u64::MAX,
    ] {
        block.extend_from_slice(&word.to_le_bytes());
    }
    Ok(block)
}

fn writer_fragments(fragments: &[(u64, u32)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(fragments.len().saturating_mul(16));
    for (at, size) in fragments {
        bytes.extend_from_slice(&at.to_le_bytes());
        words(&mut bytes, &[*size, 0]);
    }
    bytes
}

/// Where the next table goes.
struct Places {
    offset: u64,
}

impl Places {
    fn put(&mut self, out: &mut impl Write, bytes: &[u8]) -> Result<u64, PackError> {
        let at = self.offset;
        out.write_all(bytes)?;
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        Ok(at)
    }

    /// A table's blocks, and behind them the list of their places, which is where the table is said to be.
    fn table(&mut self, out: &mut impl Write, table: Table) -> Result<u64, PackError> {
        let blocks = self.put(out, &table.blocks)?;
        self.put(out, &table.index(blocks))
    }
}

/// Owners, each once.
#[derive(Default)]
struct Ids {
    list: Vec<u32>,
    known: BTreeMap<u32, u16>,
}

impl Ids {
    fn index(&mut self, id: u32) -> Option<u16> {
        if let Some(index) = self.known.get(&id) {
            return Some(*index);
        }
        let index = u16::try_from(self.list.len())
            .ok()
            .filter(|index| *index < u16::MAX)?;
        self.list.push(id);
        self.known.insert(id, index);
        Some(index)
    }
}

/// Entries under one header: as many as it can count, of inodes in one block, with numbers not far apart.
const GROUP: usize = 256;

/// Adds a directory's entries, sorted by name, and tells how many bytes they take.
fn listing(
    directories: &mut Metadata,
    items: &[Item],
    children: &[usize],
    places: &[u64],
    numbers: &[u32],
) -> Result<u64, PackError> {
    let mut entries: Vec<(&Item, u64, u32)> = Vec::with_capacity(children.len());
    for child in children {
        let item = items.get(*child).ok_or(PackError::NoTree)?;
        let first = item.same_as.unwrap_or(*child);
        let (place, number) = (places.get(first), numbers.get(first));
        let (Some(place), Some(number)) = (place, number) else {
            return Err(PackError::NoTree);
        };
        entries.push((item, *place, *number));
    }
    entries.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let mut size = 0u64;
    let mut rest = entries.as_slice();
    while let Some((_, place, base)) = rest.first() {
        let fits = |entry: &&(&Item, u64, u32)| {
            let far = i64::from(entry.2).saturating_sub(i64::from(*base));
            entry.1 >> 16 == place >> 16 && i16::try_from(far).is_ok()
        };
        let group = rest.iter().take(GROUP).take_while(fits).count().max(1);
        let (now, later) = rest.split_at(group.min(rest.len()));
        rest = later;
        let mut bytes = Vec::new();
        let block = u32::try_from(place >> 16).unwrap_or(NONE);
        words(
            &mut bytes,
            &[
                u32::try_from(now.len().saturating_sub(1)).unwrap_or(0),
                block,
                *base,
            ],
        );
        for (item, place, number) in now {
            let far = i64::from(*number).saturating_sub(i64::from(*base));
            let far = i16::try_from(far).unwrap_or(0);
            bytes.extend_from_slice(&((place & 0xffff) as u16).to_le_bytes());
            bytes.extend_from_slice(&far.to_le_bytes());
            let name = u16::try_from(item.name.len().saturating_sub(1)).unwrap_or(0);
            halves(&mut bytes, &[basic_type(item.kind), name]);
            bytes.extend_from_slice(&item.name);
        }
        size = size.saturating_add(bytes.len() as u64);
        directories.add(&bytes)?;
    }
    Ok(size)
}

fn basic_type(kind: NodeKind) -> u16 {
    match kind {
        NodeKind::Directory => 1,
        NodeKind::File => 2,
        NodeKind::Symlink => 3,
        NodeKind::BlockDevice => 4,
        NodeKind::CharDevice => 5,
        NodeKind::Fifo => 6,
        NodeKind::Socket => 7,
    }
}

fn words(bytes: &mut Vec<u8>, words: &[u32]) {
    words
        .iter()
        .for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
}

fn halves(bytes: &mut Vec<u8>, halves: &[u16]) {
    halves
        .iter()
        .for_each(|half| bytes.extend_from_slice(&half.to_le_bytes()));
}
