//! Where the bytes of an image come from.

use super::error::IsoError;
use std::io;

/// A thing of known length that can be read at any place. The engine implements it over a file, with
/// `pread`; here it exists for bytes in memory.
pub trait ReadAt {
    /// Reads at most `buf.len()` bytes that begin at `offset`. Fewer are allowed, 0 only at the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Length in bytes. Asked once, when the image is opened.
    fn len(&self) -> u64;

    /// Whether there is not a byte in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|o| self.get(o..))
            .unwrap_or_default();
        let n = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }

    fn len(&self) -> u64 {
        self.len() as u64
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, buf)
    }

    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }

    fn len(&self) -> u64 {
        (**self).len()
    }
}

impl<T: ReadAt + ?Sized> ReadAt for std::sync::Arc<T> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }

    fn len(&self) -> u64 {
        (**self).len()
    }
}

/// A source and the length it had when it was opened.
#[derive(Debug)]
pub(super) struct Image<S> {
    source: S,
    len: u64,
}

impl<S: ReadAt> Image<S> {
    pub(super) fn new(source: S) -> Self {
        let len = source.len();
        Self { source, len }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Errs unless `need` bytes at `at` are inside the image.
    pub(super) fn check(&self, at: u64, need: u64) -> Result<(), IsoError> {
        match at.checked_add(need) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(IsoError::Outside {
                at,
                need,
                len: self.len,
            }),
        }
    }

    /// Fills the whole buffer, or errs.
    pub(super) fn fill(&self, at: u64, buf: &mut [u8]) -> Result<(), IsoError> {
        let need = buf.len() as u64;
        self.check(at, need)?;
        let mut done = 0usize;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            match self.source.read_at(at.saturating_add(done as u64), rest) {
                // The source is shorter than it said.
                Ok(0) => {
                    return Err(IsoError::Outside {
                        at,
                        need,
                        len: at.saturating_add(done as u64),
                    });
                }
                Ok(n) => done = done.saturating_add(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(IsoError::Read { at, source }),
            }
        }
        Ok(())
    }

    /// `len` bytes at `at`; the caller has bounded `len`.
    pub(super) fn bytes(&self, at: u64, len: usize) -> Result<Vec<u8>, IsoError> {
        // Checked before the memory is taken.
        self.check(at, len as u64)?;
        let mut buf = vec![0; len];
        self.fill(at, &mut buf)?;
        Ok(buf)
    }
}
