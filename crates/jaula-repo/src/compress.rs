//! The decompressors, behind one reader. Only this module knows the compression crates.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

/// Memory an xz stream may ask for, in bytes (`xz -9` needs 65 MiB).
pub const XZ_MEMORY: u64 = 128 << 20;
/// Largest window a zstd frame may ask for, as a power of two (128 MiB, zstd's own default).
pub const ZSTD_WINDOW_LOG: u32 = 27;
const BUFFER: usize = 64 << 10;

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Not at all.
    Plain,
    /// gzip (RFC 1952), one member or several.
    Gzip,
    /// xz, one stream or several.
    Xz,
    /// Zstandard (RFC 8878), one frame or several.
    Zstd,
}

/// Why bytes cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// A known format that is not handled.
    #[error("{0} compression is not supported (gzip, xz, zstd and none are)")]
    Unsupported(&'static str),
    /// The reader failed before the first byte came out.
    #[error("cannot start to decompress")]
    Start(#[source] io::Error),
}

impl Format {
    /// The format that the first bytes (six are enough) belong to.
    pub fn sniff(start: &[u8]) -> Result<Self, CompressError> {
        let magics: [(&[u8], Result<Self, &'static str>); 6] = [
            (b"\xfd7zXZ\0", Ok(Self::Xz)),
            (b"\x1f\x8b", Ok(Self::Gzip)),
            (b"\x28\xb5\x2f\xfd", Ok(Self::Zstd)),
            (b"BZh", Err("bzip2")),
            (b"\x04\x22\x4d\x18", Err("lz4")),
            (b"\x5d\x00\x00", Err("lzma")),
        ];
        match magics.iter().find(|(magic, _)| start.starts_with(magic)) {
            Some((_, Ok(format))) => Ok(*format),
            Some((_, Err(name))) => Err(CompressError::Unsupported(name)),
            None => Ok(Self::Plain),
        }
    }

    /// The format a file name's ending promises (`Packages.xz`, `data.tar.zst`, `x.tgz`).
    pub fn from_name(name: &str) -> Result<Self, CompressError> {
        match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
            "gz" | "tgz" => Ok(Self::Gzip),
            "xz" | "txz" => Ok(Self::Xz),
            "zst" | "tzst" => Ok(Self::Zstd),
            "bz2" => Err(CompressError::Unsupported("bzip2")),
            "lzma" => Err(CompressError::Unsupported("lzma")),
            "lz4" => Err(CompressError::Unsupported("lz4")),
            _ => Ok(Self::Plain),
        }
    }
}

/// Who checks that nothing was damaged.
#[derive(Clone, Copy)]
enum Check {
    /// The format, where it can.
    Own,
    /// The caller, by the hash of the compressed bytes.
    Callers,
}

type Source<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// A reader of the decompressed bytes. A cut or damaged stream is an error, not an early end.
pub struct Decoder<R: Read>(Inner<R>);

enum Inner<R: Read> {
    Plain(Source<R>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Source<R>>>),
    Xz(Box<liblzma::bufread::XzDecoder<Source<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Source<R>>>),
}

impl<R: Read> Decoder<R> {
    /// Takes the format from the first bytes.
    pub fn new(mut reader: R) -> Result<Self, CompressError> {
        let mut start = Vec::with_capacity(6);
        (&mut reader)
            .take(6)
            .read_to_end(&mut start)
            .map_err(CompressError::Start)?;
        let format = Format::sniff(&start)?;
        Self::start(start, reader, format, Check::Own)
    }

    /// Expects the given format.
    pub fn with_format(reader: R, format: Format) -> Result<Self, CompressError> {
        Self::start(Vec::new(), reader, format, Check::Own)
    }

    /// The same, for bytes whose hash the caller compares before he believes anything that came out: an xz stream's
    /// own check of what it decompressed to, a tenth of the time, is left out.
    pub fn of_hashed(reader: R, format: Format) -> Result<Self, CompressError> {
        Self::start(Vec::new(), reader, format, Check::Callers)
    }

    fn start(
        start: Vec<u8>,
        reader: R,
        format: Format,
        check: Check,
    ) -> Result<Self, CompressError> {
        let source = BufReader::with_capacity(BUFFER, Cursor::new(start).chain(reader));
        Ok(Self(match format {
            Format::Plain => Inner::Plain(source),
            Format::Gzip => Inner::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(source))),
            Format::Xz => {
                let flags = liblzma::stream::CONCATENATED
                    | match check {
                        Check::Own => 0,
                        Check::Callers => liblzma::stream::IGNORE_CHECK,
                    };
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)
                    .map_err(|e| CompressError::Start(e.into()))?;
                Inner::Xz(Box::new(liblzma::bufread::XzDecoder::new_stream(
                    source, stream,
                )))
            }
            Format::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)
                    .map_err(CompressError::Start)?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG)
                    .map_err(CompressError::Start)?;
                Inner::Zstd(Box::new(decoder))
            }
        }))
    }

    /// The format in use.
    pub fn format(&self) -> Format {
        match self.0 {
            Inner::Plain(_) => Format::Plain,
            Inner::Gzip(_) => Format::Gzip,
            Inner::Xz(_) => Format::Xz,
            Inner::Zstd(_) => Format::Zstd,
        }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(r) => r.read(buf),
            Inner::Gzip(r) => r.read(buf),
            Inner::Xz(r) => r.read(buf),
            Inner::Zstd(r) => r.read(buf),
        }
    }
}

impl<R: Read> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Decoder").field(&self.format()).finish()
    }
}

/// Gives at most `limit` bytes; one more is an error. For texts whose size is known to be bounded.
pub fn read_bounded(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut reader = BufReader::new(reader.take(limit.saturating_add(1)));
    reader.read_to_end(&mut out)?;
    if out.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {limit} bytes"),
        ));
    }
    debug_assert!(reader.fill_buf().is_ok_and(<[u8]>::is_empty));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn text() -> Vec<u8> {
        (0..200_000u32)
            .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect()
    }

    fn packed() -> [(Format, Vec<u8>); 4] {
        let text = text();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&text).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
        xz.write_all(&text).unwrap();
        [
            (Format::Plain, text.clone()),
            (Format::Gzip, gz.finish().unwrap()),
            (Format::Xz, xz.finish().unwrap()),
            (Format::Zstd, zstd::encode_all(&text[..], 1).unwrap()),
        ]
    }

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Decoder::new(bytes)
            .map_err(io::Error::other)?
            .read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn every_format_comes_back_and_twice_in_a_row() {
        for (format, bytes) in packed() {
            assert_eq!(Decoder::new(&bytes[..]).unwrap().format(), format);
            assert!(decode(&bytes).unwrap() == text(), "{format:?}");
            let twice = [&bytes[..], &bytes[..]].concat();
            assert!(
                decode(&twice).unwrap() == text().repeat(2),
                "{format:?} twice"
            );
        }
    }

    #[test]
    fn cut_and_damaged_streams_are_errors() {
        for (format, bytes) in packed() {
            if format == Format::Plain {
                continue;
            }
            for cut in [bytes.len() - 1, bytes.len() / 2, 7] {
                assert!(decode(&bytes[..cut]).is_err(), "{format:?} cut at {cut}");
            }
            let mut bad = bytes.clone();
            let middle = bad.len() / 2;
            bad[middle] ^= 0x55;
            bad[middle + 1] ^= 0x55;
            // gzip and xz carry checksums; a zstd frame from this encoder may not.
            assert!(
                decode(&bad).is_err()
                    || (format == Format::Zstd && decode(&bad).unwrap() != text()),
                "{format:?}"
            );
        }
    }

    #[test]
    fn unsupported_formats_are_named() {
        for (bytes, name) in [
            (&b"BZh91AY"[..], "bzip2"),
            (b"\x04\x22\x4d\x18xxxx", "lz4"),
            (b"\x5d\0\0\x80\0\xff", "lzma"),
        ] {
            assert!(matches!(Decoder::new(bytes), Err(CompressError::Unsupported(n)) if n == name));
        }
        assert!(matches!(
            Format::from_name("data.tar.bz2"),
            Err(CompressError::Unsupported("bzip2"))
        ));
        assert!(matches!(Format::from_name("a.tar.zst"), Ok(Format::Zstd)));
        assert!(matches!(Format::from_name("data.tar"), Ok(Format::Plain)));
    }

    #[test]
    fn memory_is_bounded() {
        // A frame header that asks for a window of 2 GiB.
        let frame = b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00";
        assert!(decode(frame).is_err());
        let mut options = liblzma::stream::LzmaOptions::new_preset(6).unwrap();
        options.dict_size(512 << 20);
        let mut filters = liblzma::stream::Filters::new();
        filters.lzma2(&options);
        // Only the header has to ask for it: write a tiny stream by hand is not possible with a
        // checksum, so the encoder makes it where its own memory allows.
        if let Ok(stream) =
            liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32)
        {
            let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
            encoder.write_all(b"tiny").unwrap();
            assert!(decode(&encoder.finish().unwrap()).is_err());
        }
    }

    #[test]
    fn bounded_reading() {
        assert_eq!(read_bounded(&b"abc"[..], 3).unwrap(), b"abc");
        assert!(read_bounded(&b"abcd"[..], 3).is_err());
    }

    #[test]
    fn short_inputs() {
        for bytes in [&b""[..], b"a", b"\xfd", b"\x28\xb5"] {
            assert_eq!(decode(bytes).unwrap(), bytes);
        }
        assert!(decode(b"\x1f\x8b").is_err());
    }
}
