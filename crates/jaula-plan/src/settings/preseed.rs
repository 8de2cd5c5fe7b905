//! Answers for debconf, as debconf-set-selections(1) reads them.

use super::SettingError;

/// Types of questions (debconf-devel(7)); `seen` sets a flag instead of an answer.
const TYPES: [&str; 11] = [
    "string",
    "boolean",
    "select",
    "multiselect",
    "note",
    "text",
    "password",
    "title",
    "error",
    "terminal",
    "seen",
];

/// The most that is taken.
const LONGEST: usize = 4 << 20;

/// Checks that every line says something: `PACKAGE QUESTION TYPE ANSWER`, with lines continued by a backslash at their
/// end, empty lines and comments.
///
/// # Errors
/// [`SettingError::Preseed`] at the first line that does not.
pub fn check(text: &str) -> Result<(), SettingError> {
    let wrong = |line, column, why| SettingError::Preseed { line, column, why };
    if text.len() > LONGEST {
        return Err(wrong(1, 1, "the text is too long"));
    }
    let mut lines = text.lines().enumerate();
    while let Some((number, first)) = lines.next() {
        let mut whole = first.to_owned();
        // Continued lines are put together as debconf does it: without the backslash.
        while let Some(before) = whole.strip_suffix('\\') {
            whole = before.to_owned();
            match lines.next() {
                Some((_, more)) => whole.push_str(more.trim_start()),
                None => {
                    return Err(wrong(
                        number + 1,
                        whole.chars().count() + 1,
                        "nothing follows the backslash",
                    ));
                }
            }
        }
        if let Some(at) = whole.chars().position(|c| c.is_control() && c != '\t') {
            return Err(wrong(number + 1, at + 1, "a control character"));
        }
        if whole.trim_start().is_empty() || whole.trim_start().starts_with('#') {
            continue;
        }
        line(&whole).map_err(|(column, why)| wrong(number + 1, column, why))?;
    }
    Ok(())
}

/// One line; where it is wrong, in characters from 1, and what is wrong.
fn line(text: &str) -> Result<(), (usize, &'static str)> {
    let column = |rest: &str| text.chars().count() - rest.chars().count() + 1;
    let mut rest = text.trim_start();
    let mut word = |missing: &'static str| -> Result<(&str, usize), (usize, &'static str)> {
        let at = column(rest);
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        rest = after.trim_start();
        match word {
            "" => Err((at, missing)),
            word => Ok((word, at)),
        }
    };
    word("the package is missing")?;
    let (question, at) = word("the question is missing")?;
    if !question.contains('/') {
        return Err((at, "a question has a slash in its name"));
    }
    let (kind, at) = word("the type of the question is missing")?;
    if !TYPES.contains(&kind) {
        return Err((at, "there is no such type of question"));
    }
    let at = column(rest);
    match (kind, rest.trim_end()) {
        ("boolean" | "seen", "true" | "false") => Ok(()),
        ("boolean" | "seen", _) => Err((at, "the answer is true or false")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_debconf_reads_is_good() {
        let text = "# a comment\n\n  d-i debian-installer/locale string es_ES\n\
                    tzdata tzdata/Areas select Europe\ntzdata\ttzdata/Zones/Europe select Madrid\n\
                    man-db man-db/auto-update boolean false\nx x/empty string\n\
                    x x/many multiselect a, \\\n   b, c\nx x/p password seen\nx x/q seen true\n";
        assert_eq!(check(text), Ok(()));
        assert_eq!(check(""), Ok(()));
    }

    #[test]
    fn a_bad_line_is_named_with_its_column() {
        let cases = [
            ("a\n", 1, 2),
            ("# x\na b/c\n", 2, 6),
            ("a noslash string x\n", 1, 3),
            ("\n\n  a b/c strin x\n", 3, 9),
            ("a b/c boolean yes\n", 1, 15),
            ("a b/c string x\\", 1, 15),
            ("a b/c string \u{7}\n", 1, 14),
            ("a b/c multiselect x, \\\n y\nbad\n", 3, 4),
            ("ñ b/c nada x\n", 1, 7),
        ];
        for (text, line, column) in cases {
            match check(text) {
                Err(SettingError::Preseed {
                    line: l, column: c, ..
                }) => assert_eq!((l, c), (line, column), "{text:?}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }
}
