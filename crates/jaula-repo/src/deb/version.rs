//! Debian versions and their order (deb-version(7)).

use std::cmp::Ordering;
use std::fmt;

/// Longest version accepted, in bytes. It becomes part of file names, so a file name's limit is enough.
pub const MAX_LEN: usize = 255;

/// Why a text is not a Debian version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// No text, or nothing between epoch and revision.
    #[error("the version is empty")]
    Empty,
    /// Longer than [`MAX_LEN`].
    #[error("the version is longer than {MAX_LEN} bytes")]
    TooLong,
    /// The epoch is not a number from 0 to 2147483647.
    #[error("the epoch is not a number")]
    Epoch,
    /// The upstream part has to start with a digit.
    #[error("the upstream version does not start with a digit")]
    NoDigit,
    /// A byte that no version may hold.
    #[error("byte 0x{byte:02x} at position {position} is not allowed in a version")]
    Byte {
        /// The byte.
        byte: u8,
        /// Its position, from 0.
        position: usize,
    },
    /// A `-` with nothing behind it.
    #[error("the revision is empty")]
    EmptyRevision,
}

/// A valid version, ordered as dpkg orders.
///
/// Equality is the order's equality: `1.0` equals `1.0-0` and `0:1.0`.
#[derive(Clone)]
pub struct Version(Box<str>);

impl Version {
    /// Checks `text` and keeps it.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        validate(text)?;
        Ok(Self(text.into()))
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text without its epoch, as used in names of archive files.
    pub fn without_epoch(&self) -> &str {
        split(&self.0).1
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", self.0)
    }
}

impl std::str::FromStr for Version {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        Self::parse(text)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Version {}
impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        cmp_versions(&self.0, &other.0)
    }
}

/// Checks that `text` is a version dpkg accepts, with upstream starting with a digit as policy asks.
pub fn validate(text: &str) -> Result<(), VersionError> {
    if text.is_empty() {
        return Err(VersionError::Empty);
    }
    if text.len() > MAX_LEN {
        return Err(VersionError::TooLong);
    }
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'~' | b':');
    if let Some((position, byte)) = text.bytes().enumerate().find(|(_, b)| !allowed(*b)) {
        return Err(VersionError::Byte { byte, position });
    }
    let rest = match text.split_once(':') {
        Some((epoch, rest)) => {
            let number: Option<u32> = epoch
                .bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| epoch.parse().ok())
                .flatten();
            if number.is_none_or(|n| n > i32::MAX as u32) {
                return Err(VersionError::Epoch);
            }
            rest
        }
        None => text,
    };
    let (upstream, revision) = match rest.rsplit_once('-') {
        Some((upstream, revision)) => (upstream, Some(revision)),
        None => (rest, None),
    };
    if revision == Some("") {
        return Err(VersionError::EmptyRevision);
    }
    if let Some(colon) = revision.and_then(|r| r.find(':')) {
        let position = text.len() - revision.map_or(0, str::len) + colon;
        return Err(VersionError::Byte {
            byte: b':',
            position,
        });
    }
    match upstream.bytes().next() {
        None => Err(VersionError::Empty),
        Some(first) if first.is_ascii_digit() => Ok(()),
        Some(_) => Err(VersionError::NoDigit),
    }
}

/// Splits off the epoch. A text that has no numeric epoch is all rest.
fn split(text: &str) -> (u64, &str) {
    let Some((epoch, rest)) = text.split_once(':') else {
        return (0, text);
    };
    if epoch.is_empty() || !epoch.bytes().all(|b| b.is_ascii_digit()) {
        return (0, text);
    }
    let number = epoch.bytes().fold(0u64, |n, b| {
        n.saturating_mul(10).saturating_add(u64::from(b - b'0'))
    });
    (number, rest)
}

/// Orders two versions as `dpkg --compare-versions` does, without allocating.
///
/// Any text is ordered; texts that are not versions get some stable place.
pub fn cmp_versions(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (epoch_a, a) = split(a);
    let (epoch_b, b) = split(b);
    epoch_a.cmp(&epoch_b).then_with(|| {
        let (upstream_a, revision_a) = a.rsplit_once('-').unwrap_or((a, ""));
        let (upstream_b, revision_b) = b.rsplit_once('-').unwrap_or((b, ""));
        cmp_part(upstream_a.as_bytes(), upstream_b.as_bytes())
            .then_with(|| cmp_part(revision_a.as_bytes(), revision_b.as_bytes()))
    })
}

/// The place of a byte in a stretch without digits: `~` before the end, the end before letters,
/// letters before the rest. A digit ends the stretch, so it counts as the end.
fn weight(byte: Option<u8>) -> i32 {
    match byte {
        None => 0,
        Some(b'~') => -1,
        Some(b) if b.is_ascii_digit() => 0,
        Some(b) if b.is_ascii_alphabetic() => i32::from(b),
        Some(b) => i32::from(b) + 256,
    }
}

fn cmp_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        // A stretch without digits, byte by byte.
        loop {
            let (x, y) = (a.first().copied(), b.first().copied());
            let more = |c: Option<u8>| c.is_some_and(|c| !c.is_ascii_digit());
            if !more(x) && !more(y) {
                break;
            }
            let order = weight(x).cmp(&weight(y));
            if order != Ordering::Equal {
                return order;
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        // A stretch of digits, as a number of any length.
        let (number_a, rest_a) = take_number(a);
        let (number_b, rest_b) = take_number(b);
        let order = number_a
            .len()
            .cmp(&number_b.len())
            .then_with(|| number_a.cmp(number_b));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

/// The leading digits without leading zeros, and what follows.
fn take_number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let zeros = number
        .iter()
        .position(|b| *b != b'0')
        .unwrap_or(number.len());
    (number.get(zeros..).unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ordering::{Equal, Greater, Less};

    #[test]
    fn order_table() {
        let table = [
            ("1", "1", Equal),
            ("0:1", "1", Equal),
            ("1-0", "1", Equal),
            ("1.0", "1.00", Equal),
            ("1.", "1.0", Equal),
            ("1:0", "9", Greater),
            ("1.2", "1.10", Less),
            ("1.0~rc1", "1.0", Less),
            ("1.0~~", "1.0~", Less),
            ("1.0~", "1.0~a", Less),
            ("1.0a", "1.0", Greater),
            ("1.0a", "1.0+", Less),
            ("1.0+b1", "1.0", Greater),
            ("1.0-1", "1.0-1.1", Less),
            ("1.0-1~bpo12+1", "1.0-1", Less),
            ("1.0-1+deb12u1", "1.0-1", Greater),
            ("2-1-1", "2-1-2", Less),
            ("2-10", "2-9", Greater),
            ("2-1-10", "2-2-1", Less),
            ("9999999999999999999999", "10000000000000000000000", Less),
            ("00000000000000000000001", "1", Equal),
            ("1.0.a", "1.0.1", Greater),
            ("1a1", "1a01", Equal),
            ("1:1:2", "1:1:1", Greater),
        ];
        for (a, b, expected) in table {
            assert_eq!(cmp_versions(a, b), expected, "{a} and {b}");
            assert_eq!(cmp_versions(b, a), expected.reverse(), "{b} and {a}");
        }
    }

    #[test]
    fn equal_versions_are_equal_values() {
        assert_eq!(
            Version::parse("1.0").unwrap(),
            Version::parse("0:1.0-0").unwrap()
        );
        assert_eq!(Version::parse("2:1.0-1").unwrap().without_epoch(), "1.0-1");
        assert_eq!("2:1.0-1".parse::<Version>().unwrap().to_string(), "2:1.0-1");
    }

    #[test]
    fn refusals() {
        let table = [
            ("", VersionError::Empty),
            ("1:", VersionError::Empty),
            ("-1", VersionError::Empty),
            (":1", VersionError::Epoch),
            ("a:1", VersionError::Epoch),
            ("+1:1", VersionError::Epoch),
            ("2147483648:1", VersionError::Epoch),
            ("99999999999:1", VersionError::Epoch),
            ("a1", VersionError::NoDigit),
            ("1-", VersionError::EmptyRevision),
            (
                "1:1-2:3",
                VersionError::Byte {
                    byte: b':',
                    position: 5,
                },
            ),
            (
                "1 2",
                VersionError::Byte {
                    byte: b' ',
                    position: 1,
                },
            ),
            (
                "1/2",
                VersionError::Byte {
                    byte: b'/',
                    position: 1,
                },
            ),
            (
                "1\n",
                VersionError::Byte {
                    byte: b'\n',
                    position: 1,
                },
            ),
            (
                "1_2",
                VersionError::Byte {
                    byte: b'_',
                    position: 1,
                },
            ),
        ];
        for (text, expected) in table {
            assert_eq!(Version::parse(text).unwrap_err(), expected, "{text:?}");
        }
        assert_eq!(
            validate(&"1".repeat(256)).unwrap_err(),
            VersionError::TooLong
        );
        for good in [
            "1",
            "1:2.3-4",
            "1.0~rc1+dfsg-1~bpo12+1",
            "2147483647:1",
            "1:2:3-4",
            "0-0-0",
        ] {
            assert_eq!(validate(good), Ok(()), "{good}");
        }
    }
}
