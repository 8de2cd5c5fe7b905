//! Files compressed block by block (zisofs, version 1): a header, a table of where each block's
//! compressed bytes begin (little end first, one more than there are blocks), and the blocks.

use super::Iso;
use super::error::IsoError;
use super::node::{Ino, Node};
use super::rock::Packed;
use super::source::ReadAt;
use flate2::{Decompress, FlushDecompress, Status};
use std::sync::PoisonError;

/// The first eight bytes of a compressed file.
const MAGIC: [u8; 8] = [0x37, 0xe4, 0x53, 0x96, 0xc9, 0xdb, 0xd6, 0x07];

/// The block unpacked last: small reads in a row unpack each block once.
#[derive(Debug)]
pub(super) struct Block {
    ino: Ino,
    index: u64,
    bytes: Vec<u8>,
}

/// Checks that the table of blocks is inside the stored bytes. So a file's size is bounded by what is
/// stored: four bytes for every block of at most 128 KiB.
pub(super) fn check(node: &Node, packed: Packed) -> Result<(), IsoError> {
    let blocks = u64::from(packed.size).div_ceil(1 << packed.shift);
    let table_end = packed
        .header
        .saturating_add(blocks.saturating_add(1).saturating_mul(4));
    if table_end > node.stored() {
        return Err(IsoError::Zisofs {
            at: node.ino.number(),
            what: "the table of blocks is longer than the file",
        });
    }
    Ok(())
}

impl<S: ReadAt> Iso<S> {
    /// Fills `buf`, all of which is inside the file's size, with the bytes from `offset`.
    pub(super) fn read_packed(
        &self,
        node: &Node,
        packed: Packed,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), IsoError> {
        let broken = |what| IsoError::Zisofs {
            at: node.ino.number(),
            what,
        };
        let block_size = 1u64 << packed.shift;
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let index = at / block_size;
            let inside =
                usize::try_from(at % block_size).map_err(|_| broken("a block is too long"))?;
            // Not locked while a block is unpacked: other threads read other files meanwhile.
            let kept = self
                .unpacked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            let block = match kept {
                Some(block) if block.ino == node.ino && block.index == index => block,
                _ => Block {
                    ino: node.ino,
                    index,
                    bytes: self.unpack(node, packed, index)?,
                },
            };
            let bytes = block.bytes.get(inside..).unwrap_or_default();
            let here = bytes.len().min(rest.len());
            if here == 0 {
                return Err(broken("a block is shorter than the file's size says"));
            }
            let (now, later) = rest.split_at_mut(here);
            now.copy_from_slice(bytes.get(..here).unwrap_or_default());
            rest = later;
            at = at.saturating_add(here as u64);
            *self.unpacked.lock().unwrap_or_else(PoisonError::into_inner) = Some(block);
        }
        Ok(())
    }

    /// Block number `index`, in full: as long as the file's size says.
    fn unpack(&self, node: &Node, packed: Packed, index: u64) -> Result<Vec<u8>, IsoError> {
        let broken = |what| IsoError::Zisofs {
            at: node.ino.number(),
            what,
        };
        let block_size = 1u64 << packed.shift;
        let mut magic = [0u8; 8];
        self.read_stored(node, 0, &mut magic)?;
        if magic != MAGIC {
            return Err(broken("it does not begin as a compressed file"));
        }
        let mut pair = [0u8; 8];
        self.read_stored(
            node,
            packed.header.saturating_add(index.saturating_mul(4)),
            &mut pair,
        )?;
        let [a, b, c, d, e, f, g, h] = pair;
        let from = u64::from(u32::from_le_bytes([a, b, c, d]));
        let to = u64::from(u32::from_le_bytes([e, f, g, h]));
        let full =
            block_size.min(u64::from(packed.size).saturating_sub(index.saturating_mul(block_size)));
        let full = usize::try_from(full).map_err(|_| broken("a block is too long"))?;
        // Bytes that do not compress grow a little; never to twice their size.
        if from > to || to > node.stored() || to - from > 2 * block_size {
            return Err(broken("a block's place makes no sense"));
        }
        let mut out = vec![0u8; full];
        // A block of zeros is stored as nothing.
        if from == to {
            return Ok(out);
        }
        let mut stored =
            vec![0u8; usize::try_from(to - from).map_err(|_| broken("a block is too long"))?];
        self.read_stored(node, from, &mut stored)?;
        // The output has a fixed size: what unpacks to more is cut, what unpacks to less is refused.
        let mut inflate = Decompress::new(true);
        match inflate.decompress(&stored, &mut out, FlushDecompress::Finish) {
            Ok(Status::StreamEnd | Status::BufError | Status::Ok)
                if inflate.total_out() == full as u64 =>
            {
                Ok(out)
            }
            Ok(_) => Err(broken("a block is shorter than the file's size says")),
            Err(_) => Err(broken("a block does not unpack")),
        }
    }
}
