//! What a plan is in the words of the classic tools: a command and the reason for it, and the shell quoting both need.

mod spanish;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One command a person could type, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ExplainLine {
    /// A shell command (sh(1)); may span several lines; empty when no classic tool does this.
    pub command: String,
    /// One line on what it is for.
    pub reason: String,
}

impl ExplainLine {
    /// A command and its reason.
    pub fn new(command: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            reason: reason.into(),
        }
    }
}

/// A language of explanations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Spanish.
    Spanish,
}

impl Language {
    /// The language of a locale's name (locale(7)): `es`, `es_ES.UTF-8`.
    pub fn of_locale(name: &str) -> Self {
        let word = name.split(['_', '.', '@']).next().unwrap_or_default();
        if word == "es" {
            Self::Spanish
        } else {
            Self::English
        }
    }
}

/// The same lines with their reasons in a language; commands are in none.
pub fn in_language(lines: Vec<ExplainLine>, language: Language) -> Vec<ExplainLine> {
    match language {
        Language::English => lines,
        Language::Spanish => lines
            .into_iter()
            .map(|line| ExplainLine::new(line.command, spanish::translated(&line.reason)))
            .collect(),
    }
}

/// The lines as one shell script: each reason a comment above its command.
pub fn script(lines: &[ExplainLine]) -> String {
    let mut text = String::from("set -e\n");
    for line in lines {
        for part in line.reason.lines() {
            text.push_str("# ");
            text.push_str(part);
            text.push('\n');
        }
        if !line.command.is_empty() {
            text.push_str(&line.command);
            text.push('\n');
        }
    }
    text
}

/// One word for sh(1): as it is when only plain characters are in it, else in single quotes; bytes that are no
/// UTF-8 and control characters as `$'…'` escapes (POSIX.1-2024, 2.2.4), so that a terminal is never written to
/// by a file's name.
pub fn word(text: impl AsRef<OsStr>) -> String {
    let bytes = text.as_ref().as_bytes();
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_-./:=+,@%^".contains(b);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().all(plain) => text.to_owned(),
        Ok(text) if !text.chars().any(char::is_control) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => {
            let mut quoted = String::from("$'");
            for byte in bytes {
                match byte {
                    b'\'' | b'\\' => {
                        quoted.push('\\');
                        quoted.push(char::from(*byte));
                    }
                    0x20..=0x7e => quoted.push(char::from(*byte)),
                    _ => quoted.push_str(&format!("\\{byte:03o}")),
                }
            }
            quoted.push('\'');
            quoted
        }
    }
}

/// A path for a person to read: as it is, control characters and bytes that are no UTF-8 escaped.
pub fn shown(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => word(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales_have_a_language() {
        for name in ["es", "es_ES", "es_AR.UTF-8", "es@euro"] {
            assert_eq!(Language::of_locale(name), Language::Spanish);
        }
        for name in ["", "C.UTF-8", "en_GB", "est_EE"] {
            assert_eq!(Language::of_locale(name), Language::English);
        }
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(word("/srv/x-1.0:a=b"), "/srv/x-1.0:a=b");
        assert_eq!(word(""), "''");
        assert_eq!(word("a b"), "'a b'");
        assert_eq!(word("it's"), r"'it'\''s'");
        assert_eq!(word("$HOME;`id`"), "'$HOME;`id`'");
        assert_eq!(word("~root"), "'~root'");
        assert_eq!(word(OsStr::from_bytes(b"a\nb\xff'")), r"$'a\012b\377\''");
    }

    #[test]
    fn a_script_comments_every_reason() {
        let lines = [
            ExplainLine::new("true", "one\ntwo"),
            ExplainLine::new("", "nothing to type"),
        ];
        assert_eq!(
            script(&lines),
            "set -e\n# one\n# two\ntrue\n# nothing to type\n"
        );
    }
}
