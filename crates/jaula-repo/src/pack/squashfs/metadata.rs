//! What squashfs keeps besides content: blocks of at most 8 KiB, each behind two bytes with its size.

use super::super::{PackError, Xattr};
use super::{Compression, halves, words};
use std::collections::BTreeMap;
use std::io;

/// Bytes of a metadata block before compression.
const METADATA: usize = 8 << 10;
/// In the size of a metadata block: it is stored as it is.
const AS_IT_IS: u16 = 1 << 15;

/// A run of metadata blocks.
pub(super) struct Metadata {
    how: Compression,
    blocks: Vec<u8>,
    open: Vec<u8>,
}

impl Metadata {
    pub(super) fn new(how: Compression) -> Self {
        Self {
            how,
            blocks: Vec::new(),
            open: Vec::with_capacity(METADATA),
        }
    }

    /// Where the next byte will be: the start of its block, and the place in that.
    pub(super) fn place(&self) -> (u64, u16) {
        let offset = u16::try_from(self.open.len()).unwrap_or(0);
        (self.blocks.len() as u64, offset)
    }

    /// The same as one number.
    pub(super) fn reference(&self) -> u64 {
        let (block, offset) = self.place();
        (block << 16) | u64::from(offset)
    }

    pub(super) fn add(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = METADATA.saturating_sub(self.open.len()).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            self.open.extend_from_slice(now);
            bytes = later;
            if self.open.len() >= METADATA {
                self.close()?;
            }
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let block = block(self.how, &self.open)?;
        self.blocks.extend_from_slice(&block);
        self.open.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.close()?;
        Ok(self.blocks)
    }
}

/// One block with its size.
fn block(how: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let packed = how.pack(bytes)?;
    let (stored, flag) = match &packed {
        Some(packed) => (packed.as_slice(), 0),
        None => (bytes, AS_IT_IS),
    };
    let size = u16::try_from(stored.len()).unwrap_or(0) | flag;
    let mut block = size.to_le_bytes().to_vec();
    block.extend_from_slice(stored);
    Ok(block)
}

/// A table: metadata blocks, and where each is from the first.
pub(super) struct Table {
    pub(super) blocks: Vec<u8>,
    starts: Vec<u64>,
}

impl Table {
    pub(super) fn pack(how: Compression, bytes: &[u8]) -> io::Result<Self> {
        let mut table = Self {
            blocks: Vec::new(),
            starts: Vec::new(),
        };
        for part in bytes.chunks(METADATA) {
            table.starts.push(table.blocks.len() as u64);
            table.blocks.extend(block(how, part)?);
        }
        Ok(table)
    }

    /// The places of the blocks when the first is at `at`.
    pub(super) fn index(&self, at: u64) -> Vec<u8> {
        let places = self.starts.iter().map(|start| start.saturating_add(at));
        places.flat_map(u64::to_le_bytes).collect()
    }
}

/// Lists of extended attributes, each once.
pub(super) struct Xattrs {
    how: Compression,
    pairs: Metadata,
    lists: Vec<u8>,
    count: u32,
    known: BTreeMap<Vec<Xattr>, u32>,
}

/// The prefixes that the format has a number for.
const PREFIXES: [(&[u8], u16); 3] = [(b"user.", 0), (b"trusted.", 1), (b"security.", 2)];

impl Xattrs {
    pub(super) fn new(how: Compression) -> Self {
        Self {
            how,
            pairs: Metadata::new(how),
            lists: Vec::new(),
            count: 0,
            known: BTreeMap::new(),
        }
    }

    /// The number of a list; none for an empty one. Attributes of other prefixes are counted in `left`.
    pub(super) fn add(&mut self, all: &[Xattr], left: &mut u64) -> Result<Option<u32>, PackError> {
        let kept: Vec<(&[u8], u16, &Xattr)> = all
            .iter()
            .filter_map(|attribute| {
                PREFIXES.iter().find_map(|(prefix, number)| {
                    Some((attribute.0.strip_prefix(*prefix)?, *number, attribute))
                })
            })
            .collect();
        *left = left.saturating_add(all.len().saturating_sub(kept.len()) as u64);
        if kept.is_empty() {
            return Ok(None);
        }
        let key: Vec<Xattr> = kept.iter().map(|(.., whole)| (*whole).clone()).collect();
        if let Some(number) = self.known.get(&key) {
            return Ok(Some(*number));
        }
        let reference = self.pairs.reference();
        // As listxattr(2) counts: the names with their ends.
        let mut size = 0usize;
        for (name, prefix, (whole, value)) in &kept {
            let mut pair = Vec::new();
            halves(
                &mut pair,
                &[*prefix, u16::try_from(name.len()).unwrap_or(0)],
            );
            pair.extend_from_slice(name);
            words(&mut pair, &[u32::try_from(value.len()).unwrap_or(0)]);
            pair.extend_from_slice(value);
            self.pairs.add(&pair)?;
            size = size.saturating_add(whole.len()).saturating_add(1);
        }
        self.lists.extend_from_slice(&reference.to_le_bytes());
        let entries = u32::try_from(kept.len()).unwrap_or(0);
        words(
            &mut self.lists,
            &[entries, u32::try_from(size).unwrap_or(0)],
        );
        let number = self.count;
        self.count = self.count.saturating_add(1);
        self.known.insert(key, number);
        Ok(Some(number))
    }

    /// The blocks of names and values, how many lists, and their table; none when there are no lists.
    pub(super) fn finish(self) -> io::Result<Option<(Vec<u8>, u32, Table)>> {
        if self.count == 0 {
            return Ok(None);
        }
        let pairs = self.pairs.finish()?;
        Ok(Some((
            pairs,
            self.count,
            Table::pack(self.how, &self.lists)?,
        )))
    }
}
