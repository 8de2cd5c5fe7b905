//! POSIX extended regular expressions (POSIX.1-2024, 9.4), given to an engine that never takes exponential time.

use regex_lite::Regex;

/// A pattern is no longer than this.
const LONGEST: usize = 4096;

/// One expression.
#[derive(Debug)]
pub(super) struct Regular(Regex);

impl Regular {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        if pattern.len() > LONGEST {
            return Err("Regular expression too big".to_owned());
        }
        let translated = translate(pattern).ok_or("Unmatched [, [^, [:, [., or [=")?;
        Regex::new(&translated)
            .map(Self)
            .map_err(|_| "Invalid preceding regular expression".to_owned())
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// In the engine's language: a backslash in brackets is one, and outside it makes any sign a plain character.
fn translate(pattern: &str) -> Option<String> {
    let mut out = String::from("(?s)");
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                // The GNU library's own.
                Some(word @ ('w' | 'W' | 's' | 'S' | 'b' | 'B')) => out.extend(['\\', word]),
                Some(sign) if sign.is_ascii_punctuation() => out.extend(['\\', sign]),
                Some(plain) => out.push(plain),
                None => return None,
            },
            '[' => rest = brackets(rest, &mut out)?,
            _ => out.push(c),
        }
    }
    Some(out)
}

/// A bracket expression, from behind its bracket.
fn brackets<'a>(mut rest: std::str::Chars<'a>, out: &mut String) -> Option<std::str::Chars<'a>> {
    out.push('[');
    if let Some(behind) = rest.as_str().strip_prefix('^') {
        out.push('^');
        rest = behind.chars();
    }
    let mut first = true;
    loop {
        let c = rest.next()?;
        match c {
            ']' if !first => {
                out.push(']');
                return Some(rest);
            }
            '[' if rest.as_str().starts_with(':') => {
                let (class, behind) = rest.as_str().get(1..)?.split_once(":]")?;
                out.push_str(&format!("[:{class}:]"));
                rest = behind.chars();
            }
            '-' | 'a'..='z' | 'A'..='Z' | '0'..='9' => out.push(c),
            c if c.is_ascii_punctuation() => out.extend(['\\', c]),
            c => out.push(c),
        }
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_as_posix_says() {
        for (pattern, text, expected) in [
            ("^a.c$", "abc", true),
            ("a|b", "xb", true),
            ("(ab){2}", "abab", true),
            ("[]x]", "]", true),
            ("[^]x]", "]", false),
            ("[\\d]", "\\", true),
            ("[\\d]", "1", false),
            ("[[:digit:]]+", "42", true),
            ("[a-c]", "b", true),
            ("[a&&b]", "&", true),
            ("\\.", "x", false),
            ("\\d", "1", false),
            ("", "anything", true),
        ] {
            let regular = Regular::new(pattern).expect(pattern);
            assert_eq!(regular.matches(text), expected, "{pattern} {text}");
        }
        for pattern in ["[a", "(", "[[:nothing:]]", "a\\", "x{9999}{9999}"] {
            assert!(Regular::new(pattern).is_err(), "{pattern}");
        }
    }
}
