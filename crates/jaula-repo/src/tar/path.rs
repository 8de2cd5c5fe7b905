//! Paths of entries.

use std::fmt;

/// A path of this many bytes or more is refused (`PATH_MAX`, which counts the NUL).
pub const MAX_PATH: usize = 4096;
/// Longest component, in bytes (`NAME_MAX`).
pub const MAX_NAME: usize = 255;
/// Deepest nesting.
pub const MAX_DEPTH: usize = 256;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing in it.
    #[error("the path is empty")]
    Empty,
    /// It starts with a slash.
    #[error("the path is absolute")]
    Absolute,
    /// A `..` in it.
    #[error("the path has `..` in it")]
    Parent,
    /// A NUL byte in it.
    #[error("the path has a NUL byte in it")]
    Nul,
    /// Too long, or too deep.
    #[error("the path, or a name in it, is too long or too deep")]
    TooLong,
    /// A slash at the end of what is not a directory.
    #[error("a slash at the end of what is not a directory")]
    Slash,
    /// A symbolic link to nothing.
    #[error("the link's target is empty, too long or has a NUL byte in it")]
    LinkTarget,
}

/// A relative path in normal form: names joined by single slashes, none of them `.` or `..`. Bytes, not
/// text. Empty only for the root directory itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TarPath(Vec<u8>);

impl TarPath {
    /// Checks a path as it stands in an archive (`./usr/bin/`) and brings it into normal form.
    pub fn parse(raw: &[u8]) -> Result<Self, PathError> {
        if raw.is_empty() {
            return Err(PathError::Empty);
        }
        if raw.len() >= MAX_PATH {
            return Err(PathError::TooLong);
        }
        if raw.contains(&0) {
            return Err(PathError::Nul);
        }
        if raw.first() == Some(&b'/') || raw.starts_with(b".//") {
            return Err(PathError::Absolute);
        }
        let mut path = Vec::with_capacity(raw.len());
        let mut depth = 0usize;
        for name in raw.split(|b| *b == b'/') {
            match name {
                b"" | b"." => continue,
                b".." => return Err(PathError::Parent),
                _ if name.len() > MAX_NAME => return Err(PathError::TooLong),
                _ => {}
            }
            depth = depth.saturating_add(1);
            if depth > MAX_DEPTH {
                return Err(PathError::TooLong);
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        Ok(Self(path))
    }

    /// The bytes, without slash at either end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The names, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|name| !name.is_empty())
    }

    /// Whether this is the root directory.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for TarPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

impl fmt::Debug for TarPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}
