//! Where the blocks of a file are: by extents, or by the older lists of blocks.

use super::layout::{EXTENTS, Node, u16_at, u32_at};
use super::{Ext, ExtError};
use crate::iso9660::ReadAt;

/// Deepest tree of extents, as the kernel has it.
const MAX_DEPTH: u16 = 5;
/// Bytes of an entry of an extent tree, and of its header.
const ENTRY: usize = 12;
/// Blocks named in the node itself, before the lists.
const DIRECT: u64 = 12;
/// An extent that is longer is one of zeros that were never written.
const WRITTEN: u16 = 0x8000;

/// Some blocks of a file, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first, in the image; none in a hole.
    pub at: Option<u64>,
    /// How many.
    pub blocks: u64,
}

/// The entry with the largest first block not above `wanted`, and the first block of the one after it.
fn entry(bytes: &[u8], count: usize, wanted: u64) -> (Option<&[u8]>, Option<u64>) {
    let entries = bytes.get(ENTRY..).unwrap_or_default();
    let mut all = entries.chunks_exact(ENTRY).take(count).peekable();
    let mut found = None;
    while let Some(entry) = all.peek().copied() {
        let first = u64::from(u32_at(entry, 0));
        if first > wanted {
            return (found, Some(first));
        }
        found = Some(entry);
        all.next();
    }
    (found, None)
}

impl<S: ReadAt> Ext<S> {
    /// The run that a block of a file begins.
    pub(super) fn map(&mut self, node: &Node, block: u64) -> Result<Run, ExtError> {
        if node.flags & EXTENTS != 0 {
            self.by_extents(&node.block, block)
        } else {
            self.by_lists(&node.block, block)
        }
    }

    fn by_extents(&mut self, top: &[u8], wanted: u64) -> Result<Run, ExtError> {
        let mut bytes = std::rc::Rc::new(top.to_vec());
        let mut at = 0u64;
        let mut above = MAX_DEPTH + 1;
        // Where the next extent begins, as far as the levels above know.
        let mut limit = u64::from(u32::MAX) + 1;
        loop {
            let damaged = |what| ExtError::Damaged { at, what };
            let (magic, count, depth) = (u16_at(&bytes, 0), u16_at(&bytes, 2), u16_at(&bytes, 6));
            if magic != 0xf30a || depth >= above {
                return Err(damaged("a tree of extents"));
            }
            let (found, next) = entry(&bytes, count.into(), wanted);
            limit = next.unwrap_or(limit).min(limit);
            let hole = Run {
                at: None,
                blocks: limit.saturating_sub(wanted),
            };
            let Some(found) = found else { return Ok(hole) };
            let first = u64::from(u32_at(found, 0));
            if depth == 0 {
                let len = u16_at(found, 4);
                let (len, zeros) = match len {
                    0..=WRITTEN => (len, false),
                    _ => (len - WRITTEN, true),
                };
                let skip = wanted.saturating_sub(first);
                let blocks = u64::from(len).saturating_sub(skip);
                if blocks == 0 {
                    return Ok(hole);
                }
                let start = u64::from(u16_at(found, 6)) << 32 | u64::from(u32_at(found, 8));
                let at = (!zeros).then(|| start.saturating_add(skip));
                return Ok(Run { at, blocks });
            }
            let below = u64::from(u16_at(found, 8)) << 32 | u64::from(u32_at(found, 4));
            bytes = self.block(below)?;
            at = below.saturating_mul(self.head.block_size);
            above = depth;
        }
    }

    fn by_lists(&mut self, top: &[u8], wanted: u64) -> Result<Run, ExtError> {
        let slot = |index: u64| u64::from(u32_at(top, (index * 4) as usize));
        let one = |block: u64| Run {
            at: (block != 0).then_some(block),
            blocks: 1,
        };
        let Some(mut rest) = wanted.checked_sub(DIRECT) else {
            return Ok(one(slot(wanted)));
        };
        let per_block = self.head.block_size / 4;
        let mut span = 1u64;
        for level in 0..3u64 {
            let all = span.saturating_mul(per_block);
            if rest < all {
                let mut block = slot(DIRECT + level);
                // From the list of the most blocks to the one that names them.
                while span > 0 && block != 0 {
                    let list = self.block(block)?;
                    block = u64::from(u32_at(&list, ((rest / span) * 4) as usize));
                    rest %= span;
                    if block == 0 {
                        return Ok(Run {
                            at: None,
                            blocks: span - rest,
                        });
                    }
                    span /= per_block;
                }
                if block == 0 {
                    return Ok(Run {
                        at: None,
                        blocks: all - rest,
                    });
                }
                return Ok(one(block));
            }
            rest -= all;
            span = all;
        }
        Err(ExtError::Damaged {
            at: 0,
            what: "a file is longer than its lists can be",
        })
    }
}
