//! The one error of this crate.

use std::fmt;

/// A number of errno(3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// What the last system call of this thread left.
    pub fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The standard library's text without its "(os error N)".
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        let mut letters = text.chars();
        let first = letters.next().map(|c| c.to_ascii_lowercase());
        first
            .into_iter()
            .chain(letters)
            .try_for_each(|c| fmt::Write::write_char(f, c))
    }
}

/// A system call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}({target}): {errno}")]
pub struct SysError {
    /// Its name.
    pub call: &'static str,
    /// What it was called on, as a person would name it.
    pub target: String,
    /// What the kernel said.
    pub errno: Errno,
}

impl SysError {
    /// The last error of this thread.
    pub fn last(call: &'static str, target: impl Into<String>) -> Self {
        Self {
            call,
            target: target.into(),
            errno: Errno::last(),
        }
    }

    /// An I/O error of the standard library.
    pub fn io(call: &'static str, target: impl Into<String>, error: &std::io::Error) -> Self {
        Self {
            call,
            target: target.into(),
            errno: Errno(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }
}

impl From<SysError> for std::io::Error {
    fn from(error: SysError) -> Self {
        Self::from_raw_os_error(error.errno.0)
    }
}
