//! The form of jailkit's files: sections in brackets, `key = value` lines, values that go on in indented lines.

use std::fmt;

/// Bytes of one file; the longest that is shipped has six thousand.
const MOST_BYTES: usize = 1 << 20;
/// Sections of one file, one a user at most.
const MOST_SECTIONS: usize = 4096;
/// Keys of one section.
const MOST_ENTRIES: usize = 1024;

/// A file's sections in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ini {
    /// The sections.
    pub sections: Vec<IniSection>,
}

/// What stands below one `[name]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IniSection {
    /// The text between the brackets, as in `alice`, `group users`, `DEFAULT`.
    pub name: String,
    /// Its line, from 1.
    pub line: usize,
    /// Its keys in their order.
    pub entries: Vec<IniEntry>,
}

/// One key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IniEntry {
    /// In lower case.
    pub key: String,
    /// Without white space at its ends; the lines of a longer one joined by a new line.
    pub value: String,
    /// The key's line, from 1.
    pub line: usize,
    /// The key's column in characters, from 1.
    pub column: usize,
    /// The column of the value.
    pub value_column: usize,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {wrong}")]
pub struct IniError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What.
    pub wrong: IniWrong,
}

/// The sorts of faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IniWrong {
    /// Larger than any such file.
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How many may be.
        most: usize,
    },
    /// A byte that no text has.
    NoText,
    /// `[name` without its end, or something after it.
    Bracket,
    /// `[]`.
    NoName,
    /// A line that is neither a section, nor a key with a value, nor a comment.
    NoKey,
    /// A key before any section.
    Outside,
    /// A section that was there before.
    Again {
        /// Its name.
        section: String,
        /// Where it was first.
        line: usize,
    },
    /// A key that its section has already.
    Twice {
        /// The key.
        key: String,
        /// Where it was first.
        line: usize,
    },
    /// A key that means nothing here.
    Unknown {
        /// The key.
        key: String,
        /// The nearest one that does.
        nearest: Option<String>,
    },
    /// A value that its key cannot have.
    Value {
        /// The key.
        key: String,
        /// What is expected, as in `a number from 1 to 10`.
        expected: String,
    },
}

impl fmt::Display for IniWrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMuch { what, most } => write!(f, "more than {most} {what}"),
            Self::NoText => f.write_str("this is no UTF-8 text"),
            Self::Bracket => f.write_str("a section is [name] and nothing else"),
            Self::NoName => f.write_str("a section has no name"),
            Self::NoKey => f.write_str("expected [section] or key = value"),
            Self::Outside => f.write_str("a key stands before any [section]"),
            Self::Again { section, line } => {
                write!(f, "the section [{section}] is in line {line} already")
            }
            Self::Twice { key, line } => write!(f, "{key} is in line {line} already"),
            Self::Unknown { key, nearest } => {
                write!(f, "there is no key {key}")?;
                match nearest {
                    Some(nearest) => write!(f, "; did you mean {nearest}?"),
                    None => Ok(()),
                }
            }
            Self::Value { key, expected } => write!(f, "{key} is {expected}"),
        }
    }
}

impl Ini {
    /// Reads a file's bytes.
    ///
    /// # Errors
    /// At the first line that cannot be understood.
    pub fn read(bytes: &[u8]) -> Result<Self, IniError> {
        if bytes.len() > MOST_BYTES {
            return Err(at(1, 1, too_much("bytes", MOST_BYTES)));
        }
        let mut ini = Self::default();
        // Whether an indented line goes on with the value before it.
        let mut open = false;
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let number = index.saturating_add(1);
            let line = std::str::from_utf8(line).map_err(|error| {
                let before = line.get(..error.valid_up_to()).unwrap_or_default();
                let before = String::from_utf8_lossy(before).chars().count();
                at(number, before.saturating_add(1), IniWrong::NoText)
            })?;
            let line = line.strip_suffix('\r').unwrap_or(line);
            if let Some(column) = line.chars().position(|c| c == '\0') {
                return Err(at(number, column.saturating_add(1), IniWrong::NoText));
            }
            let text = line.trim();
            let indent = line.chars().take_while(|c| c.is_whitespace()).count();
            if text.is_empty() {
                open = false;
            } else if text.starts_with(['#', ';']) {
                // Neither ends a value nor is part of one.
            } else if indent > 0 && open {
                if let Some(entry) = ini.sections.last_mut().and_then(|s| s.entries.last_mut()) {
                    if !entry.value.is_empty() {
                        entry.value.push('\n');
                    }
                    entry.value.push_str(text);
                }
            } else if text.starts_with('[') {
                open = false;
                ini.section(number, indent, text)?;
            } else {
                open = true;
                ini.entry(number, indent, text)?;
            }
        }
        Ok(ini)
    }

    fn section(&mut self, line: usize, indent: usize, text: &str) -> Result<(), IniError> {
        let column = indent.saturating_add(1);
        let name = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let Some(name) = name.filter(|name| !name.contains(']')).map(str::trim) else {
            return Err(at(line, column, IniWrong::Bracket));
        };
        if name.is_empty() {
            return Err(at(line, column, IniWrong::NoName));
        }
        if let Some(first) = self.section_named(name) {
            let wrong = IniWrong::Again {
                section: name.to_owned(),
                line: first.line,
            };
            return Err(at(line, column, wrong));
        }
        if self.sections.len() >= MOST_SECTIONS {
            return Err(at(line, column, too_much("sections", MOST_SECTIONS)));
        }
        self.sections.push(IniSection {
            name: name.to_owned(),
            line,
            entries: Vec::new(),
        });
        Ok(())
    }

    fn entry(&mut self, line: usize, indent: usize, text: &str) -> Result<(), IniError> {
        let column = indent.saturating_add(1);
        let Some((key, value)) = text.split_once(['=', ':']) else {
            return Err(at(line, column, IniWrong::NoKey));
        };
        let skipped = key.chars().count().saturating_add(1);
        let spaces = value.chars().take_while(|c| c.is_whitespace()).count();
        let value_column = column.saturating_add(skipped).saturating_add(spaces);
        let key = key.trim().to_lowercase();
        if key.is_empty() {
            return Err(at(line, column, IniWrong::NoKey));
        }
        let Some(section) = self.sections.last_mut() else {
            return Err(at(line, column, IniWrong::Outside));
        };
        if let Some(first) = section.entry(&key) {
            let wrong = IniWrong::Twice {
                key,
                line: first.line,
            };
            return Err(at(line, column, wrong));
        }
        if section.entries.len() >= MOST_ENTRIES {
            return Err(at(line, column, too_much("keys", MOST_ENTRIES)));
        }
        section.entries.push(IniEntry {
            key,
            value: value.trim().to_owned(),
            line,
            column,
            value_column,
        });
        Ok(())
    }

    /// The section of this very name.
    pub fn section_named(&self, name: &str) -> Option<&IniSection> {
        self.sections.iter().find(|section| section.name == name)
    }
}

impl IniSection {
    /// The key's entry.
    pub fn entry(&self, key: &str) -> Option<&IniEntry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The key's value.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.entry(key).map(|entry| entry.value.as_str())
    }

    /// The key's value as a list: its parts between commas and lines, without the empty ones.
    pub fn list(&self, key: &str) -> Vec<String> {
        self.entry(key).map(IniEntry::list).unwrap_or_default()
    }

    /// Refuses every key that is none of these.
    ///
    /// # Errors
    /// At the first one.
    pub fn only(&self, known: &[&str]) -> Result<(), IniError> {
        for entry in &self.entries {
            if !known.contains(&entry.key.as_str()) {
                let nearest = known.iter().min_by_key(|known| distance(known, &entry.key));
                let near = |known: &&&str| distance(known, &entry.key) <= 2;
                let wrong = IniWrong::Unknown {
                    key: entry.key.clone(),
                    nearest: nearest.filter(near).map(|known| (*known).to_owned()),
                };
                return Err(at(entry.line, entry.column, wrong));
            }
        }
        Ok(())
    }
}

impl IniEntry {
    /// The value's parts between commas and lines, without the empty ones.
    pub fn list(&self) -> Vec<String> {
        let parts = self.value.split([',', '\n']).map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    }

    /// An error at the value.
    pub fn wrong(&self, expected: impl Into<String>) -> IniError {
        let wrong = IniWrong::Value {
            key: self.key.clone(),
            expected: expected.into(),
        };
        at(self.line, self.value_column, wrong)
    }

    /// Whether the value says yes: what is not empty, `0`, `no`, `false` or `off` does. (In jailkit everything does,
    /// `0` too.)
    pub fn is_on(&self) -> bool {
        !["", "0", "no", "false", "off"].contains(&self.value.to_lowercase().as_str())
    }
}

fn at(line: usize, column: usize, wrong: IniWrong) -> IniError {
    IniError {
        line,
        column,
        wrong,
    }
}

fn too_much(what: &'static str, most: usize) -> IniWrong {
    IniWrong::TooMuch { what, most }
}

/// Letters to change, to put in or to take out.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().take(64).enumerate() {
        let mut next = vec![i.saturating_add(1)];
        for (j, b) in other.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX);
            let after = j.saturating_add(1);
            let changed = cell(&row, j).saturating_add(usize::from(a != *b));
            let put = cell(&next, j).saturating_add(1);
            let taken = cell(&row, after).saturating_add(1);
            next.push(changed.min(put).min(taken));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Ini::read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn sections_keys_comments_and_longer_values() {
        let text = "# c\n[one]\r\nPaths = a, b,\n  c\n; no\n  d\n\nx:1\n[group two]\ny=\n";
        let ini = Ini::read(text.as_bytes()).unwrap();
        let one = ini.section_named("one").unwrap();
        assert_eq!(one.list("paths"), ["a", "b", "c", "d"]);
        assert_eq!(one.value("x"), Some("1"));
        let two = ini.section_named("group two").unwrap();
        assert_eq!((two.line, two.value("y")), (9, Some("")));
        let entry = one.entry("paths").unwrap();
        assert_eq!((entry.line, entry.column, entry.value_column), (3, 1, 9));
    }

    #[test]
    fn every_fault_has_its_place() {
        assert_eq!(
            error("[a]\n[b\n"),
            "line 2, column 1: a section is [name] and nothing else"
        );
        assert_eq!(error("[ ]"), "line 1, column 1: a section has no name");
        assert_eq!(
            error("x = 1"),
            "line 1, column 1: a key stands before any [section]"
        );
        assert_eq!(
            error("[a]\n hm\n"),
            "line 2, column 2: expected [section] or key = value"
        );
        assert_eq!(
            error("[a]\nx=1\nX=2"),
            "line 3, column 1: x is in line 2 already"
        );
        assert_eq!(
            error("[a]\n[a]"),
            "line 2, column 1: the section [a] is in line 1 already"
        );
        let bytes = Ini::read(b"[a]\nab\xff=1").unwrap_err();
        assert_eq!((bytes.line, bytes.column), (2, 3));
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        let ini = Ini::read(b"[a]\npaths = x\nuserss = b\n").unwrap();
        let section = ini.section_named("a").unwrap();
        let error = section.only(&["paths", "users"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 3, column 1: there is no key userss; did you mean users?"
        );
        let wrong = section.entry("paths").unwrap().wrong("a number");
        assert_eq!(wrong.to_string(), "line 2, column 9: paths is a number");
    }

    #[test]
    fn zero_is_no() {
        let ini = Ini::read(b"[a]\nx = 0\ny = 1\n").unwrap();
        let section = ini.section_named("a").unwrap();
        assert!(!section.entry("x").unwrap().is_on() && section.entry("y").unwrap().is_on());
    }
}
