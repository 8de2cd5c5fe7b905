//! Blocks: from the image, unpacked, kept for a while.

use super::error::SquashfsError;
use crate::iso9660::ReadAt;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

/// Bytes of a metadata block, unpacked.
pub(super) const METADATA: usize = 8192;
/// Metadata blocks that are kept.
const KEPT_METADATA: usize = 128;
/// Bytes of data blocks that are kept.
const KEPT_DATA: usize = 8 << 20;
/// Memory an xz stream may ask for, in bytes: the dictionary is at most a block.
const XZ_MEMORY: u64 = 32 << 20;

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Zlib,
    Xz,
    Zstd,
}

impl Compression {
    pub(super) fn from_id(id: u16) -> Result<Self, SquashfsError> {
        Ok(match id {
            1 => Self::Zlib,
            4 => Self::Xz,
            6 => Self::Zstd,
            2 => return unsupported("lzma compression"),
            3 => return unsupported("lzo compression"),
            5 => return unsupported("lz4 compression"),
            _ => return unsupported("a compression that is not known"),
        })
    }

    /// Unpacks to at most `most` bytes; more is an error.
    fn unpack(self, packed: &[u8], most: usize) -> io::Result<Vec<u8>> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let mut out = Vec::with_capacity(most);
        // One byte more than allowed tells that there is more.
        let limit = most as u64 + 1;
        match self {
            Self::Zlib => {
                flate2::bufread::ZlibDecoder::new(packed)
                    .take(limit)
                    .read_to_end(&mut out)?;
            }
            Self::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, 0)?;
                liblzma::bufread::XzDecoder::new_stream(packed, stream)
                    .take(limit)
                    .read_to_end(&mut out)?;
            }
            // The destination's capacity is the bound, and the dictionary is never larger.
            Self::Zstd => out = zstd::bulk::decompress(packed, most)?,
        }
        if out.len() > most {
            return Err(bad());
        }
        Ok(out)
    }
}

fn unsupported<T>(what: &'static str) -> Result<T, SquashfsError> {
    Err(SquashfsError::Unsupported { what })
}

/// A source and what of it was unpacked last.
#[derive(Debug)]
pub(super) struct Blocks<S> {
    source: S,
    /// Where the file system ends: nothing behind it is read.
    end: u64,
    compression: Compression,
    /// A data block, unpacked.
    block_size: usize,
    /// Metadata blocks: where, the unpacked bytes, where the next one is.
    metadata: VecDeque<(u64, Rc<Vec<u8>>, u64)>,
    data: VecDeque<(u64, Rc<Vec<u8>>)>,
}

/// Fills the whole buffer, or errs.
pub(super) fn fill<S: ReadAt>(
    source: &S,
    end: u64,
    at: u64,
    buf: &mut [u8],
) -> Result<(), SquashfsError> {
    let need = buf.len() as u64;
    let outside = |len| SquashfsError::Outside { at, need, len };
    if at.checked_add(need).is_none_or(|last| last > end) {
        return Err(outside(end));
    }
    let mut done = 0usize;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match source.read_at(at.saturating_add(done as u64), rest) {
            Ok(0) => return Err(outside(at.saturating_add(done as u64))),
            Ok(n) => done = done.saturating_add(n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(SquashfsError::Read { at, source }),
        }
    }
    Ok(())
}

impl<S: ReadAt> Blocks<S> {
    pub(super) fn new(source: S, end: u64, compression: Compression, block_size: usize) -> Self {
        Self {
            source,
            end,
            compression,
            block_size,
            metadata: VecDeque::new(),
            data: VecDeque::new(),
        }
    }

    pub(super) fn fill(&self, at: u64, buf: &mut [u8]) -> Result<(), SquashfsError> {
        fill(&self.source, self.end, at, buf)
    }

    /// The metadata block at a place, and where the next one begins.
    pub(super) fn metadata(&mut self, at: u64) -> Result<(Rc<Vec<u8>>, u64), SquashfsError> {
        if let Some(index) = self.metadata.iter().position(|(of, ..)| *of == at)
            && let Some(found) = self.metadata.remove(index)
        {
            let result = (Rc::clone(&found.1), found.2);
            self.metadata.push_front(found);
            return Ok(result);
        }
        let mut header = [0u8; 2];
        self.fill(at, &mut header)?;
        let header = u16::from_le_bytes(header);
        let (stored, len) = (header & 0x8000 != 0, usize::from(header & 0x7fff));
        if len == 0 || len > METADATA {
            return Err(SquashfsError::Damaged {
                at,
                what: "the length of a metadata block",
            });
        }
        let from = at.saturating_add(2);
        let mut bytes = vec![0; len];
        self.fill(from, &mut bytes)?;
        if !stored {
            bytes = self
                .compression
                .unpack(&bytes, METADATA)
                .map_err(|_| SquashfsError::Block { at })?;
        }
        let (bytes, next) = (Rc::new(bytes), from.saturating_add(len as u64));
        self.metadata.push_front((at, Rc::clone(&bytes), next));
        self.metadata.truncate(KEPT_METADATA);
        Ok((bytes, next))
    }

    /// The data block at a place. `size` is as stored: bit 24 says that it is not compressed.
    pub(super) fn data(&mut self, at: u64, size: u32) -> Result<Rc<Vec<u8>>, SquashfsError> {
        if let Some(index) = self.data.iter().position(|(of, _)| *of == at)
            && let Some(found) = self.data.remove(index)
        {
            let result = Rc::clone(&found.1);
            self.data.push_front(found);
            return Ok(result);
        }
        let len = (size & !STORED) as usize;
        if len == 0 || len > self.block_size {
            return Err(SquashfsError::Damaged {
                at,
                what: "the length of a data block",
            });
        }
        let mut bytes = vec![0; len];
        self.fill(at, &mut bytes)?;
        if size & STORED == 0 {
            bytes = self
                .compression
                .unpack(&bytes, self.block_size)
                .map_err(|_| SquashfsError::Block { at })?;
        }
        let bytes = Rc::new(bytes);
        self.data.push_front((at, Rc::clone(&bytes)));
        self.data.truncate((KEPT_DATA / self.block_size).max(4));
        Ok(bytes)
    }
}

/// A data block that is stored as it is.
pub(super) const STORED: u32 = 1 << 24;

/// Reads metadata from block to block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    /// The block, a byte of the image.
    pub block: u64,
    /// Byte in it, unpacked.
    pub offset: usize,
}

impl Cursor {
    pub(super) fn read<S: ReadAt>(
        &mut self,
        blocks: &mut Blocks<S>,
        buf: &mut [u8],
    ) -> Result<(), SquashfsError> {
        let mut done = 0usize;
        while done < buf.len() {
            let (bytes, next) = blocks.metadata(self.block)?;
            let here = bytes.get(self.offset..).ok_or(SquashfsError::Damaged {
                at: self.block,
                what: "a place behind the end of a block",
            })?;
            if here.is_empty() {
                *self = Self {
                    block: next,
                    offset: 0,
                };
                continue;
            }
            let rest = buf.get_mut(done..).unwrap_or_default();
            let n = rest.len().min(here.len());
            if let (Some(to), Some(from)) = (rest.get_mut(..n), here.get(..n)) {
                to.copy_from_slice(from);
            }
            done += n;
            self.offset += n;
        }
        Ok(())
    }

    pub(super) fn array<const N: usize, S: ReadAt>(
        &mut self,
        blocks: &mut Blocks<S>,
    ) -> Result<[u8; N], SquashfsError> {
        let mut bytes = [0; N];
        self.read(blocks, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u16<S: ReadAt>(&mut self, blocks: &mut Blocks<S>) -> Result<u16, SquashfsError> {
        Ok(u16::from_le_bytes(self.array(blocks)?))
    }

    pub(super) fn u32<S: ReadAt>(&mut self, blocks: &mut Blocks<S>) -> Result<u32, SquashfsError> {
        Ok(u32::from_le_bytes(self.array(blocks)?))
    }

    pub(super) fn u64<S: ReadAt>(&mut self, blocks: &mut Blocks<S>) -> Result<u64, SquashfsError> {
        Ok(u64::from_le_bytes(self.array(blocks)?))
    }
}
