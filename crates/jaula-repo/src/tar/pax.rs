//! PAX extended headers (POSIX pax, "pax Extended Header").

use super::path::{MAX_NAME, MAX_PATH};

/// Most extended attributes of an entry.
const MAX_XATTRS: usize = 128;
/// Largest value of an extended attribute, in bytes (the kernel's XATTR_SIZE_MAX).
const MAX_XATTR: usize = 65536;

/// The keys that mean something here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Seconds, and nanoseconds of the next.
    pub mtime: Option<(i64, u32)>,
    pub xattrs: Vec<(String, Vec<u8>)>,
    pub sparse: bool,
}

impl Pax {
    /// Whether these keys may stand in a header for all entries: nothing but times and comments.
    pub fn is_harmless_globally(&self) -> bool {
        Self {
            mtime: self.mtime,
            ..Self::default()
        } == *self
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), &'static str> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("a PAX key twice in one header"),
    }
}

fn decimal<T: std::str::FromStr>(value: &[u8]) -> Result<T, &'static str> {
    const BAD: &str = "a PAX value that is not a number or out of range";
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    std::str::from_utf8(value)
        .ok()
        .and_then(|v| v.parse().ok())
        .ok_or(BAD)
}

/// Seconds of `[-]seconds[.fraction]`, rounded down, and nanoseconds after them; what is finer is cut off.
fn time(value: &[u8]) -> Result<(i64, u32), &'static str> {
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = digits.splitn(2, |b| *b == b'.');
    let seconds: i64 = decimal(parts.next().unwrap_or_default())?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err("a PAX time that is not a number");
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0'));
    let nanos = digits
        .take(9)
        .fold(0u32, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    let more = fraction.iter().any(|b| *b != b'0');
    Ok(match (negative, more) {
        (false, _) => (seconds, nanos),
        (true, false) => (-seconds, 0),
        // Less than a nanosecond before a whole second is that second's last nanosecond.
        (true, true) => (-seconds - 1, 1_000_000_000 - nanos.max(1)),
    })
}

fn id(value: &[u8]) -> Result<u32, &'static str> {
    decimal(value).and_then(|id| {
        if id == u32::MAX {
            Err("a PAX owner that is out of range")
        } else {
            Ok(id)
        }
    })
}

/// Reads the records `length key=value\n`.
pub fn parse(mut data: &[u8]) -> Result<Pax, &'static str> {
    const BAD: &str = "a PAX record that is cut or has a wrong length";
    let mut pax = Pax::default();
    while !data.is_empty() {
        let space = data.iter().take(8).position(|b| *b == b' ').ok_or(BAD)?;
        let (digits, _) = data.split_at(space);
        let length: usize = decimal(digits).map_err(|_| BAD)?;
        let record = data.get(..length).ok_or(BAD)?;
        data = data.get(length..).unwrap_or_default();
        let record = record
            .get(space + 1..)
            .and_then(|r| r.strip_suffix(b"\n"))
            .ok_or(BAD)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or(BAD)?;
        let (key, value) = record.split_at(equals);
        let value = value.get(1..).unwrap_or_default();
        match key {
            b"path" | b"linkpath" => {
                if value.is_empty() || value.contains(&0) || value.len() >= MAX_PATH {
                    return Err("a PAX path that is empty, too long or has a NUL byte in it");
                }
                let slot = if key == b"path" {
                    &mut pax.path
                } else {
                    &mut pax.link
                };
                once(slot, value.to_vec())?;
            }
            b"size" => once(&mut pax.size, decimal(value)?)?,
            b"uid" => once(&mut pax.uid, id(value)?)?,
            b"gid" => once(&mut pax.gid, id(value)?)?,
            b"mtime" => once(&mut pax.mtime, time(value)?)?,
            _ if key.starts_with(b"GNU.sparse.") => pax.sparse = true,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    let name = std::str::from_utf8(name)
                        .map_err(|_| "an extended attribute with a bad name")?;
                    if name.is_empty()
                        || name.len() > MAX_NAME
                        || name.contains('\0')
                        || !name.contains('.')
                    {
                        return Err("an extended attribute with a bad name");
                    }
                    if value.len() > MAX_XATTR || pax.xattrs.len() >= MAX_XATTRS {
                        return Err("too many or too large extended attributes");
                    }
                    if pax.xattrs.iter().any(|(n, _)| n == name) {
                        return Err("an extended attribute twice");
                    }
                    pax.xattrs.push((name.to_owned(), value.to_vec()));
                }
            }
        }
    }
    Ok(pax)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_down() {
        assert_eq!(time(b"1.9"), Ok((1, 900_000_000)));
        assert_eq!(time(b"1.0000000019"), Ok((1, 1)));
        assert_eq!(time(b"-1.25"), Ok((-2, 750_000_000)));
        assert_eq!(time(b"-1"), Ok((-1, 0)));
        assert_eq!(time(b"-1.0"), Ok((-1, 0)));
        assert_eq!(time(b"-1.0000000001"), Ok((-2, 999_999_999)));
        for bad in [
            &b""[..],
            b".",
            b"1.x",
            b"--1",
            b"1e9",
            b"99999999999999999999",
        ] {
            assert!(time(bad).is_err());
        }
    }

    #[test]
    fn records() {
        let pax = parse(b"10 path=a\n\n19 size=4294967296\n27 SCHILY.xattr.user.x=a=\0\n")
            .unwrap_or_default();
        assert_eq!(
            pax.size, None,
            "the first record has a newline inside and is one byte short"
        );
        let pax = parse(b"9 path=a\n19 size=4294967296\n26 SCHILY.xattr.user.x=a=\n").unwrap();
        assert_eq!(
            (pax.path.as_deref(), pax.size),
            (Some(&b"a"[..]), Some(1 << 32))
        );
        assert_eq!(pax.xattrs, [("user.x".to_owned(), b"a=".to_vec())]);
        for bad in [
            &b"9 path=a"[..],
            b"99 path=a\n",
            b"0 path=a\n",
            b"x path=a\n",
            b"7 path\n",
            b"1 ",
            b"+9 path=a\n",
            b"9 path=a\n9 path=b\n",
            b"8 path=\n",
            b"9 path=\0\n",
            b"10 size=-1\n",
            b"18446744073709551616 a=b\n",
            b"19 uid=99999999999\n",
            b"18 uid=4294967295\n",
        ] {
            assert!(parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
