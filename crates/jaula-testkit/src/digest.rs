//! Digests as lower-case hexadecimal text, the way Debian's indices write them.

use md5::Md5;
use sha2::{Digest, Sha256};

/// Lower-case hexadecimal text of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing into a String cannot fail");
            text
        })
}

/// SHA-256 of `bytes` as hexadecimal text.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// MD5 of `bytes` as hexadecimal text (`md5sums` members and old `Release` sections).
#[must_use]
pub fn md5(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

#[cfg(test)]
mod tests {
    #[test]
    fn digests_of_nothing_are_the_published_ones() {
        assert_eq!(
            super::sha256(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(super::md5(b""), "d41d8cd98f00b204e9800998ecf8427e");
    }
}
