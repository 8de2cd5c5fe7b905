//! An index decompressed on one thread and parsed on another: each takes about half of the time.

use crate::unpack::HashReader;
use jaula_repo::compress::{Decoder, Format};
use jaula_repo::deb::packages::{Index, IndexError};
use std::io::{Cursor, Read, Result};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes of a piece: what the parser asks for at once.
const PIECE: u64 = 256 << 10;
/// Pieces that may wait for the parser.
const WAITING: usize = 4;
/// Bytes that tell how an index is compressed.
const START: usize = 6;

/// The parsed text of compressed bytes, and the SHA-256 of these: nothing is to be believed before that was compared.
///
/// # Errors
/// When the bytes are in a form that nobody here decompresses.
pub fn parse(bytes: &[u8]) -> Result<(std::result::Result<Index, IndexError>, [u8; 32])> {
    let start = bytes.get(..START).unwrap_or(bytes);
    let format = Format::sniff(start).map_err(std::io::Error::other)?;
    std::thread::scope(|scope| {
        let (send, pieces) = sync_channel(WAITING);
        let decoding = scope.spawn(move || {
            let mut reader = HashReader::new(Cursor::new(bytes));
            decode(&mut reader, format, &send);
            drop(send);
            reader.finish()
        });
        let parsed = Index::parse(Pieces {
            pieces,
            piece: Cursor::default(),
        });
        match decoding.join() {
            Ok(hashed) => hashed.map(|(_, sha256)| (parsed, sha256)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Sends all pieces, or the error that ends them; until nobody wants more.
fn decode(reader: impl Read, format: Format, send: &SyncSender<Result<Vec<u8>>>) {
    let mut decoder = match Decoder::of_hashed(reader, format) {
        Ok(decoder) => decoder,
        Err(error) => {
            // Who does not hear it has an error of his own.
            drop(send.send(Err(std::io::Error::other(error))));
            return;
        }
    };
    loop {
        let mut piece = Vec::with_capacity(PIECE as usize);
        let read = (&mut decoder).take(PIECE).read_to_end(&mut piece);
        let last = !matches!(read, Ok(1..));
        if send.send(read.map(|_| piece)).is_err() || last {
            return;
        }
    }
}

/// What was decompressed, in order.
struct Pieces {
    pieces: Receiver<Result<Vec<u8>>>,
    piece: Cursor<Vec<u8>>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let read = self.piece.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.pieces.recv() {
                Ok(piece) => self.piece = Cursor::new(piece?),
                Err(_) => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jaula_repo::hex;
    use sha2::{Digest, Sha256};
    use std::io::Write;

    /// More than all pieces that may wait.
    fn text() -> String {
        let stanza = |n| {
            format!(
                "Package: p{n}\nVersion: 1\nArchitecture: all\nFilename: pool/p{n}.deb\nSize: 1\nSHA256: {}\n\n",
                hex::encode(&[n as u8; 32])
            )
        };
        (0..20_000).map(stanza).collect()
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut bytes = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        bytes.write_all(text.as_bytes()).expect("writes");
        bytes.finish().expect("ends")
    }

    #[test]
    fn every_piece_is_parsed_and_every_byte_hashed() {
        let text = text();
        assert!(text.len() as u64 > PIECE * (WAITING as u64 + 2));
        for bytes in [gzip(&text), text.clone().into_bytes()] {
            let (index, sha256) = parse(&bytes).expect("a known form");
            let index = index.expect("a sound index");
            assert_eq!(index.len(), 20_000);
            assert_eq!(sha256, <[u8; 32]>::from(Sha256::digest(&bytes)));
        }
    }

    #[test]
    fn what_is_cut_or_wrong_is_an_error_and_hashed_all_the_same() {
        let whole = gzip(&text());
        let cut = whole.get(..whole.len() / 2).expect("half");
        // The parser stops at once; the other thread has much left.
        let wrong = gzip(&format!("nonsense\n\n{}", text()));
        for bytes in [cut, wrong.as_slice()] {
            let (index, sha256) = parse(bytes).expect("a known form");
            assert!(index.is_err());
            assert_eq!(sha256, <[u8; 32]>::from(Sha256::digest(bytes)));
        }
        assert!(parse(b"BZh91AY&SY").is_err());
    }
}
