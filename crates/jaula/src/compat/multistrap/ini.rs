//! The form of multistrap(1)'s files: sections in brackets, `key=value` lines, comments after `#` or `;`.

use std::fmt;
use std::path::{Path, PathBuf};

/// Longest file, in bytes: real ones have some thousand.
pub const LIMIT: u64 = 1 << 20;
/// Most lines with a value.
const MAX_ENTRIES: usize = 20_000;

/// Where something stands: lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = jaula_plan::explain::shown(&self.file);
        write!(f, "{file}, line {}, column {}", self.line, self.column)
    }
}

/// Something in a file that cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Refused {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub what: String,
}

/// A `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, as written.
    pub key: String,
    /// The value without blanks around it.
    pub value: String,
    /// Where the key stands.
    pub place: Place,
    /// The column of the value.
    pub value_column: usize,
}

impl Entry {
    /// Where the value stands.
    pub fn value_place(&self) -> Place {
        Place {
            column: self.value_column,
            ..self.place.clone()
        }
    }
}

/// A section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its name in small letters: section names are the same in any case.
    pub name: String,
    /// Where it begins.
    pub place: Place,
    /// Its entries in order.
    pub entries: Vec<Entry>,
}

/// Reads a file's text.
///
/// # Errors
/// [`Refused`] at the first line that is neither a section, a value, a comment nor empty.
pub fn parse(file: &Path, text: &str) -> Result<Vec<Section>, Refused> {
    let mut sections: Vec<Section> = Vec::new();
    let mut count = 0usize;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let at = |column: usize| Place {
            file: file.to_owned(),
            line: number + 1,
            column,
        };
        let refuse = |column, what: String| Refused {
            place: at(column),
            what,
        };
        let body = line.trim_start();
        let start = line.chars().count() - body.chars().count() + 1;
        let body = body.trim_end();
        if body.is_empty() || body.starts_with(['#', ';']) {
            continue;
        }
        if let Some(bad) = body.chars().position(|c| c.is_control() && c != '\t') {
            return Err(refuse(start + bad, "there is a control character".into()));
        }
        if let Some(rest) = body.strip_prefix('[') {
            let Some(name) = rest.strip_suffix(']') else {
                return Err(refuse(start, "the section's name has no ]".into()));
            };
            let name = name.trim().to_lowercase();
            if !is_section_name(&name) {
                let what =
                    format!("{name:?} cannot be the name of a section: letters, digits, . _ + -");
                return Err(refuse(start + 1, what));
            }
            sections.push(Section {
                name,
                place: at(start),
                entries: Vec::new(),
            });
            continue;
        }
        let Some((key, value)) = body.split_once('=') else {
            return Err(refuse(
                start,
                "this is neither [SECTION] nor KEY=VALUE".into(),
            ));
        };
        let Some(section) = sections.last_mut() else {
            return Err(refuse(start, "a value before the first section".into()));
        };
        count += 1;
        if count > MAX_ENTRIES {
            return Err(refuse(start, format!("more than {MAX_ENTRIES} values")));
        }
        let blanks = value.chars().take_while(|c| c.is_whitespace()).count();
        let value_column = start + key.chars().count() + 1 + blanks;
        let entry = |value: &str| Entry {
            key: key.trim_end().to_owned(),
            value: value.to_owned(),
            place: at(start),
            value_column,
        };
        let value = value.trim();
        // A text of several lines: each is a value of the key.
        let Some(end) = value.strip_prefix("<<").map(str::trim) else {
            section.entries.push(entry(value));
            continue;
        };
        let mut ended = false;
        for (_, line) in lines.by_ref() {
            if line.trim() == end {
                ended = true;
                break;
            }
            section.entries.push(entry(line.trim()));
        }
        if !ended {
            return Err(refuse(
                value_column,
                format!("the text that ends with {end:?} has no end"),
            ));
        }
    }
    Ok(sections)
}

/// The name becomes that of a file in the image.
fn is_section_name(name: &str) -> bool {
    let good = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
    name.len() <= 100 && name.chars().all(good) && name.starts_with(|c: char| c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Section>, String> {
        parse(Path::new("c.conf"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn sections_values_and_comments() {
        let text = "# one\n; two\n\n[General]\narch = amd64 \n  directory=/x y\n[Debian]\npackages=a\npackages = b=c\nempty=\n";
        let sections = read(text).unwrap();
        let names: Vec<&str> = sections.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["general", "debian"]);
        let values = |at: usize| -> Vec<(&str, &str)> {
            let entries = sections[at].entries.iter();
            entries
                .map(|e| (e.key.as_str(), e.value.as_str()))
                .collect()
        };
        assert_eq!(values(0), [("arch", "amd64"), ("directory", "/x y")]);
        assert_eq!(
            values(1),
            [("packages", "a"), ("packages", "b=c"), ("empty", "")]
        );
        let arch = &sections[0].entries[0];
        assert_eq!(
            (arch.place.line, arch.place.column, arch.value_column),
            (5, 1, 8)
        );
        assert_eq!(sections[0].entries[1].place.column, 3);
    }

    #[test]
    fn a_text_of_several_lines() {
        let sections = read("[a]\npackages=<<END\none two\nthree\nEND\nsuite=x\n").unwrap();
        let values: Vec<&str> = sections[0]
            .entries
            .iter()
            .map(|e| e.value.as_str())
            .collect();
        assert_eq!(values, ["one two", "three", "x"]);
        assert_eq!(
            read("[a]\nk=<<E\nx\n").unwrap_err(),
            "c.conf, line 2, column 3: the text that ends with \"E\" has no end"
        );
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_place() {
        let refused = |text: &str| read(text).unwrap_err();
        assert_eq!(
            refused("[a]\n  word\n"),
            "c.conf, line 2, column 3: this is neither [SECTION] nor KEY=VALUE"
        );
        assert_eq!(
            refused("a=b\n"),
            "c.conf, line 1, column 1: a value before the first section"
        );
        assert_eq!(
            refused("[a\n"),
            "c.conf, line 1, column 1: the section's name has no ]"
        );
        for bad in ["[../x]\n", "[]\n", "[a b]\n", "[-x]\n", "[a/b]\n"] {
            assert!(refused(bad).contains("line 1, column 2"), "{bad}");
        }
        assert!(refused("[a]\nk=x\u{7}y\n").contains("line 2, column 4: there is a control"));
    }
}
