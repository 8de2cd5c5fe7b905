//! Compressors whose output depends on the input alone: no time, no name, and the same number of parts whatever the
//! number of processors.

use flate2::{Compress, Crc, FlushCompress, Status};
use jaula_plan::step::Compression;
use jaula_repo::pack::lanes::Lanes;
use std::io::{self, Write};

/// Most workers of a compressor. Their number changes the speed only: where the input is cut depends on the sizes
/// below.
const MOST_WORKERS: usize = 8;
/// zstd(1) level: its own default, which other makers of archives take too.
const ZSTD_LEVEL: i32 = 3;
/// Bytes a zstd worker takes at a time.
const ZSTD_JOB: u32 = 8 << 20;
/// xz(1) preset: half the memory of the default one, and the same window that decompressors need for packages.
const XZ_PRESET: u32 = 4;
/// Bytes of a piece that a gzip worker takes.
const GZIP_PIECE: usize = 1 << 20;
/// gzip(1) level.
const GZIP_LEVEL: u32 = 6;
/// Bytes of an xz block.
const XZ_BLOCK: u64 = 12 << 20;

/// A writer that compresses into another.
pub enum Compressor<W: Write> {
    /// As it is.
    Plain(W),
    /// gzip.
    Gzip(Box<Gzip<W>>),
    /// xz.
    Xz(Box<liblzma::write::XzEncoder<W>>),
    /// Zstandard.
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
}

/// How many threads compress: as many as there are processors.
pub(super) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(MOST_WORKERS))
}

/// A gzip stream of one member (RFC 1952) whose pieces are compressed on several threads, each without what came
/// before it, and joined where deflate is at a whole byte.
pub struct Gzip<W: Write> {
    out: W,
    lanes: Lanes<(Vec<u8>, bool), io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    sum: Crc,
}

impl<W: Write> Gzip<W> {
    fn new(mut out: W) -> io::Result<Self> {
        // No flags, no time, no level, system unknown.
        out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])?;
        Ok(Self {
            out,
            lanes: Lanes::start(workers(), |(piece, last): (Vec<u8>, bool)| {
                deflated(&piece, last)
            }),
            piece: Vec::with_capacity(GZIP_PIECE),
            sum: Crc::new(),
        })
    }

    fn take(&mut self) -> io::Result<()> {
        let gone = || io::Error::other("a thread that compresses has ended");
        let packed = self.lanes.next_result().ok_or_else(gone)??;
        self.out.write_all(&packed)
    }

    fn give(&mut self, last: bool) -> io::Result<()> {
        while self.lanes.full() {
            self.take()?;
        }
        let room = if last { 0 } else { GZIP_PIECE };
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(room));
        match self.lanes.give((piece, last)) {
            true => Ok(()),
            false => Err(io::Error::other("the threads that compress have ended")),
        }
    }

    fn finish(mut self) -> io::Result<W> {
        self.give(true)?;
        while !self.lanes.idle() {
            self.take()?;
        }
        self.out.write_all(&self.sum.sum().to_le_bytes())?;
        self.out.write_all(&self.sum.amount().to_le_bytes())?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() >= GZIP_PIECE {
            self.give(false)?;
        }
        let room = GZIP_PIECE.saturating_sub(self.piece.len()).min(bytes.len());
        let now = bytes.get(..room).unwrap_or_default();
        self.sum.update(now);
        self.piece.extend_from_slice(now);
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A piece as raw deflate (RFC 1951): the last ends the stream, the others end at a whole byte.
fn deflated(piece: &[u8], last: bool) -> io::Result<Vec<u8>> {
    let how = if last {
        FlushCompress::Finish
    } else {
        FlushCompress::Sync
    };
    let mut state = Compress::new(flate2::Compression::new(GZIP_LEVEL), false);
    let mut packed = Vec::with_capacity(piece.len() / 2 + 1024);
    loop {
        let read = usize::try_from(state.total_in()).unwrap_or(usize::MAX);
        let rest = piece.get(read..).unwrap_or_default();
        let status = state
            .compress_vec(rest, &mut packed, how)
            .map_err(io::Error::other)?;
        let all = state.total_in() == piece.len() as u64;
        // With room left over nothing is held back.
        match status {
            Status::StreamEnd => return Ok(packed),
            _ if all && !last && packed.len() < packed.capacity() => return Ok(packed),
            _ => packed.reserve(64 << 10),
        }
    }
}

impl<W: Write> Compressor<W> {
    /// Compresses into `out`.
    pub fn new(out: W, how: Compression) -> io::Result<Self> {
        Ok(match how {
            Compression::None => Self::Plain(out),
            Compression::Gzip => Self::Gzip(Box::new(Gzip::new(out)?)),
            Compression::Xz => {
                let mut builder = liblzma::stream::MtStreamBuilder::new();
                let stream = builder
                    .threads(workers() as u32)
                    .preset(XZ_PRESET)
                    .block_size(XZ_BLOCK)
                    .check(liblzma::stream::Check::Crc64);
                Self::Xz(Box::new(liblzma::write::XzEncoder::new_stream(
                    out,
                    stream.encoder()?,
                )))
            }
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                encoder.multithread(workers() as u32)?;
                encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(ZSTD_JOB))?;
                Self::Zstd(Box::new(encoder))
            }
        })
    }

    /// The same for archives that the kernel unpacks: its xz has no CRC64 and a small dictionary
    /// (`Documentation/staging/xz.rst`).
    pub fn for_kernel(out: W, how: Compression) -> io::Result<Self> {
        if how != Compression::Xz {
            return Self::new(out, how);
        }
        let mut builder = liblzma::stream::MtStreamBuilder::new();
        let stream = builder
            .threads(workers() as u32)
            .preset(XZ_PRESET)
            .block_size(XZ_BLOCK)
            .check(liblzma::stream::Check::Crc32)
            .encoder()?;
        Ok(Self::Xz(Box::new(liblzma::write::XzEncoder::new_stream(
            out, stream,
        ))))
    }

    /// Ends the compressed stream and gives the inner writer back.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Xz(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Xz(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Xz(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Text that compresses, with noise.
    fn text(length: usize) -> Vec<u8> {
        (0..length)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> (at % 23)) as u8 & 0x3f)
            .collect()
    }

    #[test]
    fn a_gzip_of_pieces_is_one_member_and_comes_back() {
        for length in [
            0,
            1,
            GZIP_PIECE - 1,
            GZIP_PIECE,
            GZIP_PIECE + 1,
            5 * GZIP_PIECE,
            3_333_333,
        ] {
            let plain = text(length);
            let mut out = Compressor::new(Vec::new(), Compression::Gzip).unwrap();
            // However it is handed in.
            plain
                .chunks(77_777)
                .for_each(|part| out.write_all(part).unwrap());
            let packed = out.finish().unwrap();
            let mut whole = Compressor::new(Vec::new(), Compression::Gzip).unwrap();
            whole.write_all(&plain).unwrap();
            assert!(whole.finish().unwrap() == packed, "{length}");
            let mut back = Vec::new();
            // The decoder of one member: what comes after it would be left over.
            let mut decoder = flate2::bufread::GzDecoder::new(packed.as_slice());
            decoder.read_to_end(&mut back).unwrap();
            assert!(back == plain, "{length}");
            assert!(decoder.into_inner().is_empty(), "{length}");
        }
    }

    /// The number of threads is the machine's, and changes nothing.
    #[test]
    fn zstd_and_xz_do_not_depend_on_the_number_of_threads() {
        let plain = text(18 << 20);
        let zstd = |workers| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.multithread(workers).unwrap();
            encoder
                .set_parameter(zstd::zstd_safe::CParameter::JobSize(ZSTD_JOB))
                .unwrap();
            encoder.write_all(&plain).unwrap();
            encoder.finish().unwrap()
        };
        let mut ours = Compressor::new(Vec::new(), Compression::Zstd).unwrap();
        ours.write_all(&plain).unwrap();
        let ours = ours.finish().unwrap();
        assert!(zstd(1) == zstd(4) && zstd(4) == ours);
    }
}
