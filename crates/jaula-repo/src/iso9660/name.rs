//! Names, as Linux shows them.

use super::error::IsoError;

/// Longest name, in bytes (`NAME_MAX`).
pub(super) const MAX_NAME: usize = 255;

/// A plain name, as Linux's `map=normal` (its default) shows it: lower case, without `;1` and without
/// the dot that ECMA-119 asks for behind a name without extension; a further `;`, and a `/`, become dots.
pub(super) fn plain(raw: &[u8]) -> Vec<u8> {
    let raw = raw.split(|c| *c == 0).next().unwrap_or_default();
    let base = raw
        .strip_suffix(b".;1")
        .or_else(|| raw.strip_suffix(b";1"))
        .unwrap_or(raw);
    base.iter()
        .map(|c| match c {
            b';' | b'/' => b'.',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

/// A Joliet name (UCS-2, big end first) as UTF-8, without `;1` and without dots at its end, as Linux
/// shows it. What is no character becomes U+FFFD. A name that UTF-8 makes longer than 255 bytes is
/// shortened at a character.
pub(super) fn joliet(raw: &[u8]) -> Vec<u8> {
    let units = raw.chunks_exact(2).map(|c| match c {
        [a, b] => u16::from_be_bytes([*a, *b]),
        _ => 0,
    });
    let mut text = String::new();
    for c in char::decode_utf16(units.take_while(|u| *u != 0)) {
        text.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    let mut text = text
        .strip_suffix(";1")
        .filter(|t| !t.is_empty())
        .unwrap_or(&text);
    while let Some(shorter) = text.strip_suffix('.').filter(|t| !t.is_empty()) {
        text = shorter;
    }
    let mut end = text.len().min(MAX_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().as_bytes().to_vec()
}

/// Refuses what cannot be one name on Linux. `at` is the record's place.
pub(super) fn check(name: &[u8], at: u64) -> Result<(), IsoError> {
    let what = match name {
        [] => "it is empty",
        b"." | b".." => "it is `.` or `..`",
        _ if name.contains(&b'/') => "it has a slash in it",
        _ if name.contains(&0) => "it has a NUL byte in it",
        _ if name.len() > MAX_NAME => "it is longer than 255 bytes",
        _ => return Ok(()),
    };
    Err(IsoError::Name { at, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ucs2(s: &str) -> Vec<u8> {
        s.encode_utf16().flat_map(u16::to_be_bytes).collect()
    }

    #[test]
    fn plain_names_as_linux_maps_them() {
        for (raw, shown) in [
            (&b"LEEME.TXT;1"[..], &b"leeme.txt"[..]),
            (b"LEEME.;1", b"leeme"),
            (b"LEEME", b"leeme"),
            (b"A.B;2", b"a.b.2"),
            (b"A;1;1", b"a.1"),
            (b"A/B.;1", b"a.b"),
            (b"A\0B", b"a"),
            (b";1", b""),
            (b"..;1", b"."),
        ] {
            assert_eq!(plain(raw), shown, "{}", String::from_utf8_lossy(raw));
        }
    }

    #[test]
    fn joliet_names() {
        assert_eq!(joliet(&ucs2("Léeme ñ.txt;1")), "Léeme ñ.txt".as_bytes());
        assert_eq!(joliet(&ucs2("fin...")), b"fin");
        assert_eq!(joliet(&ucs2("...")), b".");
        assert_eq!(joliet(&ucs2("😀;1")), "😀".as_bytes());
        assert_eq!(joliet(&[0xd8, 0x00, 0, b'a']), "\u{fffd}a".as_bytes());
        assert_eq!(joliet(&[0, b'a', 0]), b"a");
        let long = joliet(&ucs2(&"€".repeat(103)));
        assert_eq!(long.len(), 255);
        assert!(std::str::from_utf8(&long).is_ok());
    }

    #[test]
    fn refused_names() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'x'; 256]] {
            assert!(matches!(check(bad, 7), Err(IsoError::Name { at: 7, .. })));
        }
        check(b"...", 0).unwrap();
        check(&[b'x'; 255], 0).unwrap();
    }
}
