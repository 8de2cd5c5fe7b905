//! Compressors whose output depends on the input alone: no time, no name, and the same number of parts whatever the
//! number of processors.

use jaula_plan::step::Compression;
use std::io::{self, Write};

/// Workers of the compressors that have any. Their number changes the speed only: where the input is cut depends on
/// the sizes below.
const WORKERS: u32 = 2;
/// zstd(1) level: that of most archives of images.
const ZSTD_LEVEL: i32 = 9;
/// Bytes a zstd worker takes at a time.
const ZSTD_JOB: u32 = 8 << 20;
/// xz(1) preset: half the memory of the default one, and the same window that decompressors need for packages.
const XZ_PRESET: u32 = 4;
/// Bytes of an xz block.
const XZ_BLOCK: u64 = 12 << 20;

/// A writer that compresses into another.
pub enum Compressor<W: Write> {
    /// As it is.
    Plain(W),
    /// gzip.
    Gzip(Box<flate2::write::GzEncoder<W>>),
    /// xz.
    Xz(Box<liblzma::write::XzEncoder<W>>),
    /// Zstandard.
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
}

impl<W: Write> Compressor<W> {
    /// Compresses into `out`.
    pub fn new(out: W, how: Compression) -> io::Result<Self> {
        Ok(match how {
            Compression::None => Self::Plain(out),
            Compression::Gzip => {
                let builder = flate2::GzBuilder::new().mtime(0);
                Self::Gzip(Box::new(builder.write(out, flate2::Compression::new(6))))
            }
            Compression::Xz => {
                let mut builder = liblzma::stream::MtStreamBuilder::new();
                let stream = builder
                    .threads(WORKERS)
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
                encoder.multithread(WORKERS)?;
                encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(ZSTD_JOB))?;
                Self::Zstd(Box::new(encoder))
            }
        })
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
