//! Bytes as a terminal may see them, and how wide they are there.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text for a terminal: control characters, what is no character of the locale, and the letters `\x` themselves
/// as `\xHH`, byte by byte.
pub fn shown(bytes: &[u8], utf8: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let escape = *first == b'\\' && after.first() == Some(&b'x');
        if escape || first.is_ascii_control() {
            push_hex(&mut text, *first);
            rest = after;
        } else if first.is_ascii() {
            text.push(char::from(*first));
            rest = after;
        } else {
            rest = push_beyond_ascii(&mut text, rest, utf8);
        }
    }
    text
}

/// The first character of the bytes, which is none of ASCII; gives what is behind it.
fn push_beyond_ascii<'a>(text: &mut String, rest: &'a [u8], utf8: bool) -> &'a [u8] {
    let whole = (2..=4).find_map(|length| {
        let (head, tail) = rest.split_at_checked(length)?;
        let c = std::str::from_utf8(head).ok()?.chars().next()?;
        Some((c, head, tail))
    });
    match whole {
        Some((c, _, tail)) if utf8 && printable(c) => {
            text.push(c);
            tail
        }
        Some((_, head, tail)) if utf8 => {
            head.iter().for_each(|byte| push_hex(text, *byte));
            tail
        }
        _ => {
            let (first, tail) = rest.split_first().unwrap_or((&0, &[]));
            push_hex(text, *first);
            tail
        }
    }
}

/// Whether a character is shown as it is: no control, no separator of lines, and none that turns the direction of
/// writing (which the tools do show; a process could disguise its name with it).
fn printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        // Private use, and what is no character.
        && !matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fff0}'..='\u{fff8}')
        && c < '\u{f0000}'
        && u32::from(c) & 0xfffe != 0xfffe
}

fn push_hex(text: &mut String, byte: u8) {
    text.push_str(&format!("\\x{byte:02x}"));
}

/// Bytes with everything but the visible characters of ASCII as `\xHH`; the backslash too.
pub fn escape_all(bytes: &[u8], text: &mut Vec<u8>) {
    for byte in bytes {
        if byte.is_ascii_graphic() && *byte != b'\\' {
            text.push(*byte);
        } else {
            text.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
}

/// How many cells of a terminal the text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The beginning of the text that takes no more than `cells`.
pub fn cut(text: &str, cells: usize) -> &str {
    let mut taken = 0usize;
    for (at, c) in text.char_indices() {
        taken = taken.saturating_add(c.width().unwrap_or(0));
        if taken > cells {
            return text.get(..at).unwrap_or(text);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_sees_no_control_character() {
        assert_eq!(shown(b"a\x1b[31m\n\x7f", true), "a\\x1b[31m\\x0a\\x7f");
        assert_eq!(
            shown("ñ日\u{202e}\u{9b}".as_bytes(), true),
            "ñ日\\xe2\\x80\\xae\\xc2\\x9b"
        );
        assert_eq!(shown("ñ".as_bytes(), false), "\\xc3\\xb1");
        assert_eq!(shown(b"\xff\xc3", true), "\\xff\\xc3");
        assert_eq!(shown(b"a\\xb\\c", true), "a\\x5cxb\\c");
    }

    #[test]
    fn raw_has_no_blank_and_nothing_beyond_ascii() {
        let mut text = Vec::new();
        escape_all("a b\\ñ\n".as_bytes(), &mut text);
        assert_eq!(text, b"a\\x20b\\x5c\\xc3\\xb1\\x0a");
    }

    #[test]
    fn wide_characters_are_cut_whole() {
        assert_eq!(width("日本"), 4);
        assert_eq!(cut("日本", 3), "日");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abc", 0), "");
    }
}
