//! Stanzas of `Name: value` fields (deb822(5)), borrowed from the text.

/// Most fields one stanza may have.
pub const MAX_FIELDS: usize = 1024;

/// Why a text is not a sequence of stanzas. `line` counts from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// A line that is neither field, continuation, comment nor blank.
    #[error("line {line}: expected `Field: value`")]
    NotAField {
        /// Where.
        line: usize,
    },
    /// A field name with bytes that may not be in one.
    #[error("line {line}: bad field name {name:?}")]
    FieldName {
        /// Where.
        line: usize,
        /// The name, at most 40 characters of it.
        name: String,
    },
    /// A continuation line before any field.
    #[error("line {line}: a continuation line without a field before it")]
    Continuation {
        /// Where.
        line: usize,
    },
    /// The same field twice in a stanza.
    #[error("line {line}: field {name} appears twice in one stanza")]
    Duplicate {
        /// Where the second one is.
        line: usize,
        /// The field.
        name: String,
    },
    /// More than [`MAX_FIELDS`] fields.
    #[error("line {line}: more than {MAX_FIELDS} fields in one stanza")]
    TooManyFields {
        /// Where.
        line: usize,
    },
    /// A NUL byte.
    #[error("line {line}: a NUL byte")]
    Nul {
        /// Where.
        line: usize,
    },
    /// The text is not UTF-8.
    #[error("line {line}: not valid UTF-8")]
    Utf8 {
        /// Where.
        line: usize,
    },
    /// A field the caller cannot do without.
    #[error("stanza at line {line}: field {name} is missing")]
    Missing {
        /// Where the stanza starts.
        line: usize,
        /// The field.
        name: &'static str,
    },
    /// One stanza was expected.
    #[error("expected exactly one stanza, found {found}")]
    StanzaCount {
        /// How many there were (counting stops at two).
        found: usize,
    },
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as written. Names compare without regard to case.
    pub name: &'a str,
    /// The value: from behind the colon to the end of the last continuation line, white space at both
    /// ends removed. Inner lines keep their leading space, and comment lines between them stay in.
    pub raw: &'a str,
    /// The line of the name, from 1.
    pub line: usize,
}

/// One stanza: the fields in the order of the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stanza<'a> {
    fields: Vec<Field<'a>>,
    line: usize,
}

impl<'a> Stanza<'a> {
    /// The raw value of a field (see [`Field::raw`]).
    pub fn field(&self, name: &str) -> Option<&'a str> {
        self.fields
            .iter()
            .find(|f| f.name.eq_ignore_ascii_case(name))
            .map(|f| f.raw)
    }

    /// The raw value of a field that has to be there.
    pub fn required(&self, name: &'static str) -> Result<&'a str, ControlError> {
        self.field(name).ok_or(ControlError::Missing {
            line: self.line,
            name,
        })
    }

    /// The lines of a field's value: trimmed, without comment lines, without an empty first line.
    pub fn lines(&self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.field(name)
            .unwrap_or_default()
            .split('\n')
            .filter(|l| !l.starts_with('#'))
            .map(str::trim)
            .enumerate()
            .filter(|(i, l)| *i > 0 || !l.is_empty())
            .map(|(_, l)| l)
    }

    /// All fields, in the order of the text.
    pub fn fields(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// The line the stanza starts at, from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

/// The stanzas of a text, one after the other. After an error nothing more comes.
#[derive(Debug, Clone)]
pub struct Stanzas<'a> {
    rest: &'a str,
    line: usize,
    failed: bool,
}

/// Reads the stanzas of `text`.
pub fn stanzas(text: &str) -> Stanzas<'_> {
    Stanzas {
        rest: text,
        line: 0,
        failed: false,
    }
}

/// Reads stanzas from bytes that have not been checked for UTF-8 yet.
pub fn stanzas_from_bytes(bytes: &[u8]) -> Result<Stanzas<'_>, ControlError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(stanzas(text)),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            Err(ControlError::Utf8 {
                line: good.iter().filter(|b| **b == b'\n').count() + 1,
            })
        }
    }
}

/// Reads a text that has to hold exactly one stanza, such as the `control` member of a package.
pub fn single_stanza(text: &str) -> Result<Stanza<'_>, ControlError> {
    let mut all = stanzas(text);
    let first = all.next().ok_or(ControlError::StanzaCount { found: 0 })??;
    match all.next() {
        None => Ok(first),
        Some(Ok(_)) => Err(ControlError::StanzaCount { found: 2 }),
        Some(Err(error)) => Err(error),
    }
}

impl<'a> Stanzas<'a> {
    fn next_line(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        self.line = self.line.saturating_add(1);
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(line)
    }

    fn stanza(&mut self) -> Result<Option<Stanza<'a>>, ControlError> {
        let mut stanza = Stanza::default();
        let text = self.rest;
        // Where, in `text`, the value of the last field starts and ends.
        let mut open: Option<(usize, usize)> = None;
        let close = |stanza: &mut Stanza<'a>, open: &mut Option<(usize, usize)>| {
            if let (Some((start, end)), Some(last)) = (open.take(), stanza.fields.last_mut()) {
                last.raw = text.get(start..end).unwrap_or_default().trim();
            }
        };
        loop {
            let before = text.len() - self.rest.len();
            let Some(line) = self.next_line() else { break };
            let end = before + line.len();
            let number = self.line;
            if line.contains('\0') {
                return Err(ControlError::Nul { line: number });
            }
            if line.starts_with('#') {
                continue;
            }
            if line.trim().is_empty() {
                // A line of only white space ends a stanza too (deb822(5)).
                if stanza.fields.is_empty() {
                    continue;
                }
                break;
            }
            if line.starts_with([' ', '\t']) {
                match &mut open {
                    Some(open) => open.1 = end,
                    None => return Err(ControlError::Continuation { line: number }),
                }
                continue;
            }
            close(&mut stanza, &mut open);
            let Some((name, _)) = line.split_once(':') else {
                return Err(ControlError::NotAField { line: number });
            };
            if name.is_empty()
                || name.starts_with('-')
                || !name.bytes().all(|b| b.is_ascii_graphic())
            {
                return Err(ControlError::FieldName {
                    line: number,
                    name: name.chars().take(40).collect(),
                });
            }
            if stanza.fields.len() >= MAX_FIELDS {
                return Err(ControlError::TooManyFields { line: number });
            }
            if stanza
                .fields
                .iter()
                .any(|f| f.name.eq_ignore_ascii_case(name))
            {
                return Err(ControlError::Duplicate {
                    line: number,
                    name: name.chars().take(40).collect(),
                });
            }
            if stanza.fields.is_empty() {
                stanza.line = number;
            }
            stanza.fields.push(Field {
                name,
                raw: "",
                line: number,
            });
            open = Some((before + name.len() + 1, end));
        }
        close(&mut stanza, &mut open);
        Ok((!stanza.fields.is_empty()).then_some(stanza))
    }
}

impl<'a> Iterator for Stanzas<'a> {
    type Item = Result<Stanza<'a>, ControlError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let result = self.stanza();
        self.failed = result.is_err();
        result.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_continuations_and_comments() {
        let text = "# top\nPackage: a\nDescription: short\n long\n .\n more\nTag:\n x,\n y\n\n\n \t\nPackage: b\n# in between\nEmpty:\n";
        let all: Vec<_> = stanzas(text).collect::<Result<_, _>>().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].field("package"), Some("a"));
        assert_eq!(all[0].field("Description"), Some("short\n long\n .\n more"));
        assert_eq!(
            all[0].lines("Description").collect::<Vec<_>>(),
            ["short", "long", ".", "more"]
        );
        assert_eq!(all[0].lines("Tag").collect::<Vec<_>>(), ["x,", "y"]);
        assert_eq!(all[0].line(), 2);
        assert_eq!(all[1].field("Empty"), Some(""));
        assert_eq!(all[1].line(), 13);
        assert_eq!(
            all[1].required("Version").unwrap_err(),
            ControlError::Missing {
                line: 13,
                name: "Version"
            }
        );
    }

    #[test]
    fn comment_inside_a_value_is_not_a_line_of_it() {
        let stanza = single_stanza("A: 1,\n# no\n 2\n").unwrap();
        assert_eq!(stanza.lines("A").collect::<Vec<_>>(), ["1,", "2"]);
    }

    #[test]
    fn refusals_name_the_line() {
        let table = [
            ("A: 1\nnonsense\n", ControlError::NotAField { line: 2 }),
            (" x\n", ControlError::Continuation { line: 1 }),
            ("A: 1\n\n x\n", ControlError::Continuation { line: 3 }),
            (
                ": x\n",
                ControlError::FieldName {
                    line: 1,
                    name: String::new(),
                },
            ),
            (
                "A B: x\n",
                ControlError::FieldName {
                    line: 1,
                    name: "A B".into(),
                },
            ),
            (
                "-A: x\n",
                ControlError::FieldName {
                    line: 1,
                    name: "-A".into(),
                },
            ),
            (
                "A: 1\na: 2\n",
                ControlError::Duplicate {
                    line: 2,
                    name: "a".into(),
                },
            ),
            ("A: 1\0\n", ControlError::Nul { line: 1 }),
        ];
        for (text, expected) in table {
            assert_eq!(
                stanzas(text).find_map(Result::err),
                Some(expected),
                "{text:?}"
            );
        }
        assert_eq!(
            stanzas_from_bytes(b"A: 1\nB: \xff\n").unwrap_err(),
            ControlError::Utf8 { line: 2 }
        );
        let many: String = (0..=MAX_FIELDS).map(|i| format!("F{i}: x\n")).collect();
        assert!(matches!(
            single_stanza(&many),
            Err(ControlError::TooManyFields { line: 1025 })
        ));
        assert_eq!(
            single_stanza("").unwrap_err(),
            ControlError::StanzaCount { found: 0 }
        );
        assert_eq!(
            single_stanza("A: 1\n\nA: 2\n").unwrap_err(),
            ControlError::StanzaCount { found: 2 }
        );
    }

    #[test]
    fn nothing_comes_after_an_error() {
        let mut all = stanzas("bad\nA: 1\n");
        assert!(all.next().is_some_and(|r| r.is_err()));
        assert!(all.next().is_none());
    }
}
