//! Debian's formats: versions, control stanzas, relations, indices, archives, the dpkg database.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod archive;
pub mod control;
pub mod copyright;
pub mod dpkg;
pub mod installed;
pub mod packages;
pub mod preferences;
pub mod relation;
pub mod release;
pub mod version;

/// Whether `name` can be a package name.
///
/// The rule is dpkg's own (`pkg_name_is_illegal`), which is a little wider than Debian policy 5.6.1:
/// letters and digits first, then also `-+._`. At least one and at most 255 bytes, because the name
/// becomes part of file names in the dpkg database.
pub fn is_package_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() <= 255
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.' | b'_'))
}

/// Whether `name` can be a Debian architecture name (`amd64`, `all`, `musl-linux-i386`).
pub fn is_architecture_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() <= 64
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}
