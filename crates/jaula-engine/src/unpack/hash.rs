use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// Hashes and counts what is read through it, so that what is used is what was checked.
pub struct HashReader<R, D = Sha256> {
    inner: R,
    hash: D,
    bytes: u64,
}

impl<R: Read, D: Digest> HashReader<R, D> {
    /// Nothing read yet.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            hash: D::new(),
            bytes: 0,
        }
    }

    /// The hash of what was read so far.
    pub fn digest(self) -> Vec<u8> {
        self.hash.finalize().to_vec()
    }
}

impl<R: Read> HashReader<R> {
    /// Reads to the end, and tells how many bytes there were and their SHA-256.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn finish(mut self) -> io::Result<(u64, [u8; 32])> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((self.bytes, self.hash.finalize().into()))
    }
}

impl<R: Read, D: Digest> Read for HashReader<R, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(read as u64);
        Ok(read)
    }
}
