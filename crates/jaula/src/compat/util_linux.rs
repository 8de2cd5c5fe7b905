//! What the tools of util-linux have in common: messages, numbers, the caller's locale.

use crate::output::write_stderr;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The release whose help, messages and options are spoken; what older ones from 2.38 on understood is understood.
pub const RELEASE: &str = "util-linux 2.41";

/// The words by which the tool was called: what getopt_long(3) puts in front of its messages.
pub fn called_as(tool: &str) -> String {
    let argv0 = std::env::args_os().next().unwrap_or_default();
    if Path::new(&argv0).file_name() == Some(OsStr::new(tool)) {
        argv0.display().to_string()
    } else {
        tool.to_owned()
    }
}

/// A complaint of getopt_long(3), and where to read more.
pub fn complain_of_options(tool: &str, complaint: &dyn std::fmt::Display) {
    write_stderr(&format!(
        "{}: {complaint}\nTry '{tool} --help' for more information.\n",
        called_as(tool)
    ));
}

/// errx(3): a message behind the tool's name.
pub fn complain(tool: &str, message: &dyn std::fmt::Display) {
    write_stderr(&format!("{tool}: {message}\n"));
}

/// A number that is none, or too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadNumber {
    /// No number at all.
    Form,
    /// Beyond what fits.
    Range,
}

impl BadNumber {
    /// The message, with the word as it was written.
    pub fn message(self, what: &str, word: &OsStr) -> String {
        match self {
            Self::Form => format!("{what}: '{}'", word.display()),
            Self::Range => {
                format!(
                    "{what}: '{}': Numerical result out of range",
                    word.display()
                )
            }
        }
    }
}

/// A whole number as strtoimax(3) reads one to the end: blanks and a sign in front, decimal digits.
pub fn number(word: &OsStr) -> Result<i128, BadNumber> {
    let text = word.to_str().ok_or(BadNumber::Form)?;
    let text = text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadNumber::Form);
    }
    let value: i128 = digits.parse().map_err(|_| BadNumber::Range)?;
    Ok(if negative {
        value.saturating_neg()
    } else {
        value
    })
}

/// Whether the caller's locale has UTF-8 (locale(7): LC_ALL before LC_CTYPE before LANG).
pub fn utf8() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let locale: Option<OsString> = set("LC_ALL")
        .or_else(|| set("LC_CTYPE"))
        .or_else(|| set("LANG"));
    locale.is_some_and(|locale| {
        let locale = locale.as_bytes().to_ascii_lowercase();
        let charset = locale
            .split(|byte| *byte == b'.')
            .nth(1)
            .unwrap_or_default();
        let charset = charset
            .split(|byte| *byte == b'@')
            .next()
            .unwrap_or_default();
        charset == b"utf-8" || charset == b"utf8"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_c_library_reads_them() {
        let read = |text: &str| number(OsStr::new(text));
        assert_eq!(read(" +42"), Ok(42));
        assert_eq!(read("-7"), Ok(-7));
        for word in ["", "x", "4x", "4 ", "0x4", "- 4", "+-4"] {
            assert_eq!(read(word), Err(BadNumber::Form), "{word}");
        }
        assert_eq!(read(&"9".repeat(60)), Err(BadNumber::Range));
    }
}
