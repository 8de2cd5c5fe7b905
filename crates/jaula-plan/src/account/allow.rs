//! Which commands a user may start, and what a command's words are. No shell ever reads them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// The most words of one command.
const MOST_WORDS: usize = 1024;

/// Why the words of a command cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// It would take a shell.
    #[error("{0:?} means something only to a shell, and there is none")]
    Shell(char),
    /// A quote without its end.
    #[error("a quote has no end")]
    Open,
    /// Too many.
    #[error("it has more than {MOST_WORDS} words")]
    Many,
    /// There is none.
    #[error("it is empty")]
    Empty,
    /// A control character.
    #[error("it holds a control character")]
    Control,
}

/// The words of a command as sh(1) would split them, quotes and backslashes included; what only a shell could do is
/// refused, and patterns of file names stay as they are.
///
/// # Errors
/// [`WordsError`].
pub fn words(command: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = command.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some('\'') => break,
                        Some(inner) => word.push(inner),
                        None => return Err(WordsError::Open),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some('"') => break,
                        Some('\\') => match letters.next() {
                            Some(inner @ ('"' | '\\' | '$' | '`')) => word.push(inner),
                            Some(inner) => word.extend(['\\', inner]),
                            None => return Err(WordsError::Open),
                        },
                        Some(inner @ ('$' | '`')) => return Err(WordsError::Shell(inner)),
                        Some(inner) => word.push(inner),
                        None => return Err(WordsError::Open),
                    }
                }
            }
            '\\' => match letters.next() {
                Some(inner) => word.get_or_insert_default().push(inner),
                None => return Err(WordsError::Open),
            },
            ';' | '&' | '|' | '<' | '>' | '(' | ')' | '$' | '`' | '\n' | '\r' => {
                return Err(WordsError::Shell(letter));
            }
            '#' if word.is_none() => return Err(WordsError::Shell(letter)),
            plain => word.get_or_insert_default().push(plain),
        }
        if words.len() > MOST_WORDS {
            return Err(WordsError::Many);
        }
    }
    words.extend(word);
    if words.iter().any(|word| word.chars().any(char::is_control)) {
        return Err(WordsError::Control);
    }
    match words.is_empty() {
        true => Err(WordsError::Empty),
        false => Ok(words),
    }
}

/// A command with its arguments as patterns: `git-upload-pack *`. In a word `*` stands for any letters and `?` for one;
/// an argument that starts with a dash is only matched by a word that does; a last word `**` stands for any arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    words: Vec<String>,
    rest: bool,
}

/// A pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    /// It cannot be split.
    #[error(transparent)]
    Words(#[from] WordsError),
    /// The program itself may not be a pattern.
    #[error("the program {0:?} is a pattern: it has to be named")]
    Program(String),
    /// `**` before the end.
    #[error("** stands only at the end")]
    Rest,
}

impl FromStr for Allow {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        let mut words = words(text)?;
        let rest = words.last().is_some_and(|word| word == "**");
        if rest {
            words.pop();
        }
        if words.iter().any(|word| word == "**") {
            return Err(AllowError::Rest);
        }
        match words.first() {
            None => Err(AllowError::Words(WordsError::Empty)),
            Some(program) if program.contains(['*', '?']) || program.starts_with('-') => {
                Err(AllowError::Program(program.clone()))
            }
            Some(_) => Ok(Self { words, rest }),
        }
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.words.iter().map(crate::explain::word).collect();
        let text = words.join(" ").replace("'*'", "*");
        f.write_str(&text)?;
        if self.rest {
            f.write_str(" **")?;
        }
        Ok(())
    }
}

impl Allow {
    /// Whether it permits these words. A program is meant by its name or by its whole path, as it was written.
    pub fn permits(&self, words: &[String]) -> bool {
        let (Some((program, patterns)), Some((asked, arguments))) =
            (self.words.split_first(), words.split_first())
        else {
            return false;
        };
        let enough = match self.rest {
            true => arguments.len() >= patterns.len(),
            false => arguments.len() == patterns.len(),
        };
        let fits = |(pattern, argument): (&String, &String)| {
            (!argument.starts_with('-') || pattern.starts_with('-'))
                && matches(pattern.as_bytes(), argument.as_bytes())
        };
        program == asked && enough && patterns.iter().zip(arguments).all(fits)
    }
}

/// `*` and `?`, in time that grows with the product of both lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(letter) if *letter == b'?' || text.get(t) == Some(letter) => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((at, from)) => {
                    *from += 1;
                    (p, t) = (*at + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern
        .get(p..)
        .is_none_or(|rest| rest.iter().all(|b| *b == b'*'))
}

/// Whether a pattern of `*` and `?` means a name.
pub fn fits(pattern: &str, name: &str) -> bool {
    matches(pattern.as_bytes(), name.as_bytes())
}

/// The last part of a program's path.
pub fn base(program: &str) -> &str {
    Path::new(program)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_would_and_never_run_by_one() {
        let split = |text| words(text).unwrap();
        assert_eq!(
            split("git-upload-pack 'my repo.git'"),
            ["git-upload-pack", "my repo.git"]
        );
        assert_eq!(split(r#"a "b c"\ d "" e*"#), ["a", "b c d", "", "e*"]);
        for (text, error) in [
            ("ls; id", WordsError::Shell(';')),
            ("a && b", WordsError::Shell('&')),
            ("a $(id)", WordsError::Shell('$')),
            ("a \"$HOME\"", WordsError::Shell('$')),
            ("a `id`", WordsError::Shell('`')),
            ("a > b", WordsError::Shell('>')),
            ("a\nb", WordsError::Shell('\n')),
            ("a 'b", WordsError::Open),
            ("a \\", WordsError::Open),
            ("  ", WordsError::Empty),
            ("a 'b\nc'", WordsError::Control),
        ] {
            assert_eq!(words(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_pattern_permits_what_it_says_and_no_option() {
        let permits = |pattern: &str, command: &str| {
            let pattern: Allow = pattern.parse().unwrap();
            pattern.permits(&words(command).unwrap())
        };
        assert!(permits("git-upload-pack *", "git-upload-pack 'a/b.git'"));
        assert!(!permits("git-upload-pack *", "git-upload-pack --strict"));
        assert!(!permits("git-upload-pack *", "git-upload-pack a b"));
        assert!(!permits("git-upload-pack *", "git-receive-pack a"));
        assert!(!permits("git-upload-pack *", "git-upload-pack"));
        assert!(permits(
            "rsync --server **",
            "rsync --server -vlogDtpre.iLsfxC . x"
        ));
        assert!(!permits("rsync --server --sender **", "rsync --server . x"));
        assert!(permits("tar cf - *.d", "tar cf - conf.d"));
        assert!(!permits("tar cf - *.d", "tar cf - conf"));
        assert!(permits("x a*b*c", "x aXbbYc") && !permits("x a*b*c", "x aXbbY"));
        for bad in ["* x", "", "a ** b", "-c x", "a; b"] {
            assert!(bad.parse::<Allow>().is_err(), "{bad:?}");
        }
    }
}
