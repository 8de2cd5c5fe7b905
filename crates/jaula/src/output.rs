//! The only place that writes to standard output, and with [`crate::bars`] the only one that writes to standard
//! error. What comes from outside (a package's script, a name, a path) passes [`clean`] before a terminal sees it.

use crate::args::high::{Colour, Surroundings};
use crate::args::low::Global;
use crate::error::CommandError;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// The version of every JSON shape that jaula writes; a change that removes or renames a field raises it.
pub const JSON_VERSION: u32 = 1;

/// What a verb returns when it did its work: the exit code.
pub type Done = Result<u8, CommandError>;

/// How results and errors are written.
#[derive(Debug, Clone)]
pub struct Output {
    json: bool,
    quiet: bool,
    colour_stderr: bool,
}

impl Output {
    /// As the options and the surroundings say.
    pub fn new(global: &Global, around: &Surroundings) -> Self {
        let on = |terminal: bool| match global.colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && !around.no_colour,
        };
        Self {
            json: global.json,
            quiet: global.quiet,
            colour_stderr: on(around.stderr_terminal),
        }
    }

    /// Before the arguments are understood; `words` are they.
    pub fn early(around: &Surroundings, words: &[OsString]) -> Self {
        Self {
            json: words
                .iter()
                .take_while(|word| *word != "--")
                .any(|word| word == "--json"),
            quiet: false,
            colour_stderr: around.stderr_terminal && !around.no_colour,
        }
    }

    /// Is the result to be JSON?
    pub fn json(&self) -> bool {
        self.json
    }

    /// Writes a result: `text` for a person, or the fields of `shape` as one JSON object headed by its version and
    /// kind. A text that ends without a newline is given one.
    pub fn result(
        &self,
        kind: &str,
        shape: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Done {
        if self.json {
            let mut object = serde_json::Map::new();
            object.insert("version".to_owned(), json!(JSON_VERSION));
            object.insert("kind".to_owned(), json!(kind));
            match shape() {
                Value::Object(fields) => object.extend(fields),
                other => {
                    object.insert(kind.to_owned(), other);
                }
            }
            return write_stdout(&format!("{}\n", Value::Object(object)));
        }
        let mut text = text();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        write_stdout(&text)
    }

    /// One line for a person about what was done; nothing with `--quiet`.
    pub fn did(
        &self,
        kind: &str,
        shape: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Done {
        if self.quiet && !self.json {
            Ok(0)
        } else {
            self.result(kind, shape, text)
        }
    }

    /// The one printer of errors. Returns the exit code.
    pub fn error(&self, error: &CommandError) -> u8 {
        let code = error.kind.code();
        if self.json {
            let shape = json!({
                "version": JSON_VERSION,
                "event": "error",
                "code": code,
                "error": error.headline(),
                "causes": error.causes(),
                "hints": error.hints,
            });
            write_stderr(&format!("{shape}\n"));
            return code;
        }
        let mut text = format!(
            "{}: {}\n",
            self.paint("1;31", "error"),
            clean_lines(error.headline(), "  ")
        );
        for cause in error.causes() {
            text.push_str("  ");
            text.push_str(&clean_lines(&cause, "  "));
            text.push('\n');
        }
        for hint in &error.hints {
            text.push_str(&format!(
                "{}: {}\n",
                self.paint("1;36", "hint"),
                clean_lines(hint, "  ")
            ));
        }
        write_stderr(&text);
        code
    }

    fn paint(&self, sgr: &str, word: &str) -> String {
        if self.colour_stderr {
            format!("\x1b[{sgr}m{word}\x1b[0m")
        } else {
            word.to_owned()
        }
    }
}

/// Which of standard input, output and error are terminals.
pub fn terminals() -> [bool; 3] {
    [
        io::stdin().is_terminal(),
        io::stdout().is_terminal(),
        io::stderr().is_terminal(),
    ]
}

/// Writes text to standard output. A reader that went away is no error: the process ends as quietly as if
/// SIGPIPE had ended it.
pub fn write_stdout(text: &str) -> Done {
    write_stdout_bytes(text.as_bytes())
}

/// [`write_stdout`] for bytes.
pub fn write_stdout_bytes(bytes: &[u8]) -> Done {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(128 + 13),
        Err(error) => Err(CommandError::failed("cannot write to standard output").because(error)),
    }
}

/// Standard output for an archive.
pub fn stdout_writer() -> io::BufWriter<io::Stdout> {
    io::BufWriter::with_capacity(1 << 20, io::stdout())
}

/// Writes text to standard error, as it is. There is nowhere to report a failure to.
pub fn write_stderr(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// Text for a terminal: every control character (C0, DEL, C1) and every character that turns the direction of
/// writing is shown as an escape.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(dangerous) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if dangerous(c) {
            cleaned.extend(c.escape_unicode())
        } else {
            cleaned.push(c)
        }
    }
    Cow::Owned(cleaned)
}

fn dangerous(c: char) -> bool {
    (c.is_control() && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// [`clean`], line by line; the lines after the first start with `indent`.
fn clean_lines(text: &str, indent: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().map(clean).collect();
    lines.join(&format!("\n{indent}"))
}

/// A table: the columns aligned, two blanks between, the last not padded. The first row is the head.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these headings.
    pub fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|word| (*word).to_owned()).collect()],
        }
    }

    /// One more row.
    pub fn row<const N: usize>(&mut self, cells: [&dyn Display; N]) {
        self.rows.push(
            cells
                .iter()
                .map(|cell| clean(&cell.to_string()).into_owned())
                .collect(),
        );
    }

    /// The text.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Facts about one thing, `name: value` with the values aligned.
pub fn facts(pairs: &[(&str, String)]) -> String {
    let width = pairs
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0)
        + 1;
    let mut text = String::new();
    for (name, value) in pairs {
        let indent = " ".repeat(width + 1);
        text.push_str(&format!(
            "{:<width$} {}\n",
            format!("{name}:"),
            clean_lines(value, &indent)
        ));
    }
    text
}

/// A number of bytes for a person, in binary units: `812 B`, `1.4 MiB`.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{count} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// A time in seconds since 1970 as `YYYY-MM-DD HH:MM:SS UTC` (the proleptic Gregorian calendar; H. Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
pub fn utc(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_never_sees_a_control_character() {
        assert_eq!(
            clean("a\x1b[31mb\u{9b}c\u{202e}"),
            "a\\u{1b}[31mb\\u{9b}c\\u{202e}"
        );
        assert!(matches!(clean("plain"), Cow::Borrowed(_)));
        assert_eq!(clean_lines("one\ntwo\x07\n", "  "), "one\n  two\\u{7}");
    }

    #[test]
    fn columns_align() {
        let mut table = Table::new(&["NAME", "IMAGE"]);
        table.row([&"a", &"debian:bookworm"]);
        table.row([&"longer", &"x"]);
        assert_eq!(
            table.text(),
            "NAME    IMAGE\na       debian:bookworm\nlonger  x\n"
        );
    }

    #[test]
    fn bytes_have_a_unit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn times_are_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_827_696), "2000-02-29 12:34:56 UTC");
        assert_eq!(utc(-1), "1969-12-31 23:59:59 UTC");
        assert!(utc(i64::MAX).ends_with("UTC") && utc(i64::MIN).ends_with("UTC"));
    }

    #[test]
    fn facts_align() {
        assert_eq!(
            facts(&[("a", "1".into()), ("long", "2\n3".into())]),
            "a:    1\nlong: 2\n      3\n"
        );
    }
}
