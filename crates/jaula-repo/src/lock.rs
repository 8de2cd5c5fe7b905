//! The lock file: which packages an image is made of, to the byte, in the order of unpacking.
//!
//! ```text
//! jaula-lock 1
//! distribution debian
//! architecture amd64
//! variant minbase
//! source 1780736400 http://deb.debian.org/debian bookworm main <SHA-256 of the verified Release text>
//! package base-files 12.4 amd64 70936 <SHA-256> 0 pool/main/b/base-files/base-files_12.4_amd64.deb essential
//! ```
//!
//! One line an item, words with single blanks between them; blanks, `%` and what is not ASCII are written
//! as `%XX`. There is one way to write a lock, so its digest can be an image's identity.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod recipe;

use crate::deb::packages::is_safe_path;
use crate::deb::{is_architecture_name, is_package_name, version};
use crate::hex;
use sha2::{Digest, Sha256};
use std::fmt::{self, Write};
use std::str::FromStr;

/// The number in the first line. Another number is refused.
pub const FORMAT: u32 = 1;
/// Largest lock file, in bytes.
const MAX_BYTES: usize = 64 << 20;
const MAX_SOURCES: usize = 256;

/// Why a text is not a lock file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Of another format version.
    #[error("the lock file is of format {found:?}, this program reads {FORMAT}")]
    Format {
        /// What the first line says, at most 40 characters of it.
        found: String,
    },
    /// A line that is wrong.
    #[error("line {line} of the lock file: {what}")]
    Line {
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Larger than any lock file.
    #[error("the lock file is too large")]
    TooLarge,
}

/// Why a package is in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Essential: there before anything else is configured.
    Essential,
    /// Named by the variant.
    Variant,
    /// Asked for by the user.
    Requested,
    /// Needed by another one.
    Dependency,
}

impl Role {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Essential => "essential",
            Self::Variant => "variant",
            Self::Requested => "requested",
            Self::Dependency => "dependency",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [
            Self::Essential,
            Self::Variant,
            Self::Requested,
            Self::Dependency,
        ]
        .into_iter()
        .find(|r| r.as_str() == text)
    }
}

/// Where packages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockSource {
    /// Date of its Release file, seconds since 1970; 0 where it has none.
    pub date: u64,
    /// The archive's root. Never with a password in it.
    pub uri: String,
    /// Suite.
    pub suite: String,
    /// Components, joined by commas; empty for a flat archive.
    pub components: String,
    /// SHA-256 of the verified text of its Release file.
    pub release_sha256: [u8; 32],
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockPackage {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// Size of the archive file in bytes.
    pub size: u64,
    /// SHA-256 of the archive file.
    pub sha256: [u8; 32],
    /// Which of [`Lock::sources`].
    pub source: usize,
    /// Path below the source's root.
    pub path: String,
    /// Why it is there.
    pub role: Role,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Distribution, such as `debian`.
    pub distribution: String,
    /// Architecture.
    pub arch: String,
    /// Variant, such as `minbase`.
    pub variant: String,
    /// Where packages come from.
    pub sources: Vec<LockSource>,
    /// The packages, in the order of unpacking.
    pub packages: Vec<LockPackage>,
}

/// A word that can be read back. The empty word is `-`, a dash alone is escaped.
fn escape(word: &str) -> String {
    match word {
        "" => return "-".into(),
        "-" => return "%2D".into(),
        _ => {}
    }
    let mut out = String::with_capacity(word.len());
    for byte in word.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode(&[byte]).to_ascii_uppercase());
        }
    }
    out
}

fn unescape(word: &str) -> Option<String> {
    if word == "-" {
        return Some(String::new());
    }
    let mut out = Vec::with_capacity(word.len());
    let mut bytes = word.bytes();
    let digit = |b: Option<u8>| char::from(b?).to_digit(16);
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    let text = String::from_utf8(out).ok()?;
    // Only one spelling counts.
    (escape(&text) == word).then_some(text)
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "jaula-lock {FORMAT}")?;
        writeln!(f, "distribution {}", escape(&self.distribution))?;
        writeln!(f, "architecture {}", escape(&self.arch))?;
        writeln!(f, "variant {}", escape(&self.variant))?;
        for s in &self.sources {
            let words = [&s.uri, &s.suite, &s.components]
                .map(|w| escape(w))
                .join(" ");
            writeln!(
                f,
                "source {} {words} {}",
                s.date,
                hex::encode(&s.release_sha256)
            )?;
        }
        for p in &self.packages {
            f.write_str("package")?;
            for word in [&p.name, &p.version, &p.arch] {
                f.write_char(' ')?;
                f.write_str(&escape(word))?;
            }
            let hash = hex::encode(&p.sha256);
            writeln!(
                f,
                " {} {hash} {} {} {}",
                p.size,
                p.source,
                escape(&p.path),
                p.role.as_str()
            )?;
        }
        Ok(())
    }
}

/// A decimal number in its one spelling.
fn number(word: &str) -> Option<u64> {
    let value: u64 = word.parse().ok()?;
    (value.to_string() == word).then_some(value)
}

/// A hash in its one spelling.
fn hash(word: &str) -> Option<[u8; 32]> {
    hex::decode32(word).filter(|bytes| hex::encode(bytes) == word)
}

/// Whether an address may stand in a lock: with a scheme, printable, no name or password in it.
fn is_clean_uri(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(":/") else {
        return false;
    };
    let authority = rest
        .strip_prefix('/')
        .map_or("", |r| r.split('/').next().unwrap_or_default());
    !scheme.is_empty()
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        && !authority.contains('@')
        && !uri.chars().any(|c| c.is_control() || c.is_whitespace())
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 255 && !text.chars().any(char::is_control)
}

impl Lock {
    /// Reads a lock file. What comes out is written back to the byte.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        if text.len() > MAX_BYTES {
            return Err(LockError::TooLarge);
        }
        let bad = |line, what| LockError::Line { line, what };
        if !text.ends_with('\n') {
            return Err(bad(text.lines().count().max(1), "the last line is cut"));
        }
        let mut lines = text
            .split_terminator('\n')
            .enumerate()
            .map(|(i, line)| (i + 1, line));
        let first = lines.next().map_or("", |(_, line)| line);
        let found = first
            .strip_prefix("jaula-lock ")
            .ok_or(bad(1, "not a lock file"))?;
        if found != FORMAT.to_string() {
            return Err(LockError::Format {
                found: found.chars().take(40).collect(),
            });
        }
        let mut head = |key: &str, what| {
            let (line, text) = lines.next().ok_or(bad(1, "the head is cut"))?;
            text.strip_prefix(key)
                .and_then(unescape)
                .filter(|w| is_word(w))
                .ok_or(bad(line, what))
        };
        let distribution = head("distribution ", "expected `distribution`")?;
        let arch = head("architecture ", "expected `architecture`")?;
        let variant = head("variant ", "expected `variant`")?;
        if !is_architecture_name(&arch) {
            return Err(bad(3, "a bad architecture"));
        }
        let mut lock = Self {
            distribution,
            arch,
            variant,
            sources: Vec::new(),
            packages: Vec::new(),
        };
        for (line, text) in lines {
            let words: Vec<&str> = text.split(' ').collect();
            match words.as_slice() {
                ["source", date, uri, suite, components, release] => {
                    if !lock.packages.is_empty() || lock.sources.len() >= MAX_SOURCES {
                        return Err(bad(line, "too many sources, or one behind the packages"));
                    }
                    let source = (|| {
                        Some(LockSource {
                            date: number(date)?,
                            uri: unescape(uri).filter(|u| is_clean_uri(u))?,
                            suite: unescape(suite).filter(|s| is_word(s))?,
                            components: unescape(components)
                                .filter(|c| c.is_empty() || is_word(c))?,
                            release_sha256: hash(release)?,
                        })
                    })();
                    lock.sources.push(source.ok_or(bad(line, "a bad source"))?);
                }
                [
                    "package",
                    name,
                    version,
                    arch,
                    size,
                    sha256,
                    source,
                    path,
                    role,
                ] => {
                    let package = (|| {
                        Some(LockPackage {
                            name: unescape(name).filter(|n| is_package_name(n))?,
                            version: unescape(version).filter(|v| version::validate(v).is_ok())?,
                            arch: unescape(arch).filter(|a| is_architecture_name(a))?,
                            size: number(size)?,
                            sha256: hash(sha256)?,
                            source: usize::try_from(number(source)?)
                                .ok()
                                .filter(|s| *s < lock.sources.len())?,
                            path: unescape(path).filter(|p| is_safe_path(p))?,
                            role: Role::parse(role)?,
                        })
                    })();
                    lock.packages
                        .push(package.ok_or(bad(line, "a bad package"))?);
                }
                _ => return Err(bad(line, "neither a source nor a package")),
            }
        }
        Ok(lock)
    }

    /// SHA-256 of the text: the identity of the image that is made from it.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_string().as_bytes()).into()
    }

    /// Sum of the sizes of the packages' archive files, in bytes.
    pub fn download_size(&self) -> u64 {
        self.packages
            .iter()
            .fold(0, |sum, p| sum.saturating_add(p.size))
    }
}

impl FromStr for Lock {
    type Err = LockError;
    fn from_str(text: &str) -> Result<Self, LockError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Lock {
        Lock {
            distribution: "debian".into(),
            arch: "amd64".into(),
            variant: "minbase".into(),
            sources: vec![LockSource {
                date: 1_780_736_400,
                uri: "http://deb.debian.org/debian".into(),
                suite: "bookworm".into(),
                components: "main".into(),
                release_sha256: [1; 32],
            }],
            packages: vec![LockPackage {
                name: "base-files".into(),
                version: "12.4+deb12u15".into(),
                arch: "amd64".into(),
                size: 70936,
                sha256: [0xab; 32],
                source: 0,
                path: "pool/main/b/base-files/base-files_12.4+deb12u15_amd64.deb".into(),
                role: Role::Essential,
            }],
        }
    }

    #[test]
    fn text_and_digest_are_stable() {
        let lock = sample();
        let text = lock.to_string();
        assert_eq!(
            text,
            format!(
                "jaula-lock 1\ndistribution debian\narchitecture amd64\nvariant minbase\n\
                 source 1780736400 http://deb.debian.org/debian bookworm main {}\n\
                 package base-files 12.4+deb12u15 amd64 70936 {} 0 pool/main/b/base-files/base-files_12.4+deb12u15_amd64.deb essential\n",
                "01".repeat(32),
                "ab".repeat(32)
            )
        );
        assert_eq!(Lock::parse(&text).unwrap(), lock);
        let mut other = lock.clone();
        other.packages[0].size += 1;
        assert_ne!(lock.digest(), other.digest());
        assert_eq!(lock.digest(), sample().digest());
        assert_eq!(lock.download_size(), 70936);
    }

    #[test]
    fn refusals() {
        let good = sample().to_string();
        for (from, to) in [
            ("jaula-lock 1", "jaula-lock 2"),
            ("jaula-lock 1", "lock"),
            ("architecture amd64", "architecture a/b"),
            ("variant minbase\n", ""),
            ("http://", "http://me:secret@"),
            ("http://deb", "deb"),
            ("1780736400", "01780736400"),
            ("1780736400", "-1"),
            ("base-files 12", "../x 12"),
            ("12.4+deb12u15 amd64", "x amd64"),
            (" 0 pool", " 1 pool"),
            (" 0 pool", " 0 /pool"),
            (" 0 pool", " 0 ../pool"),
            ("essential", "other"),
            ("abab", "ABAB"),
            ("abab", "ab"),
            ("essential\n", "essential"),
            ("essential\n", "essential \n"),
            ("essential\n", "essential\n\n"),
            ("minbase", "min%62ase"),
            ("minbase", "min%zzase"),
            ("minbase", "min%"),
            ("minbase", "-"),
            ("package ", "package  "),
            ("\n", "\r\n"),
        ] {
            let text = good.replacen(from, to, if from == "\n" { 99 } else { 1 });
            assert_ne!(text, good);
            assert!(Lock::parse(&text).is_err(), "accepted {to:?}");
        }
        assert!(matches!(
            Lock::parse("jaula-lock 7\n"),
            Err(LockError::Format { .. })
        ));
        assert!(Lock::parse("").is_err());
    }

    proptest! {
        #[test]
        fn every_lock_comes_back(
            words in proptest::array::uniform3("[^\\p{Cc}]{1,20}"),
            uri in "https?://[a-z.]{1,10}(/[!-~]{0,8})?",
            components in "[a-z, %é-]{0,10}",
            numbers in proptest::array::uniform2(any::<u64>()),
            hash in any::<[u8; 32]>(),
            name in "[a-z0-9][a-z0-9+.-]{0,10}",
            version in "[0-9][a-z0-9.+~]{0,10}",
            path in "[a-z][ -.0-\\[a-zé]{0,20}[a-z]",
            role in 0usize..4,
        ) {
            let [distribution, variant, suite] = words;
            prop_assume!(!path.contains("..") && !path.contains('\\'));
            let lock = Lock {
                distribution, variant, arch: "amd64".into(),
                sources: vec![LockSource { date: numbers[0], uri, suite, components, release_sha256: hash }],
                packages: vec![LockPackage {
                    name, version, arch: "all".into(), size: numbers[1], sha256: hash, source: 0, path,
                    role: [Role::Essential, Role::Variant, Role::Requested, Role::Dependency][role],
                }],
            };
            let text = lock.to_string();
            prop_assert_eq!(&Lock::parse(&text).unwrap(), &lock);
        }

        #[test]
        fn what_is_read_is_written_back(text in "(jaula-lock 1\\n)?(distribution [a-z%2]{1,4}\\n)?(architecture amd64\\n)?(variant x\\n)?[ -~\\n]{0,80}") {
            if let Ok(lock) = Lock::parse(&text) {
                prop_assert_eq!(lock.to_string(), text);
            }
        }
    }
}
