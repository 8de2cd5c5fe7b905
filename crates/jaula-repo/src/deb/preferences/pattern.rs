//! Patterns of preferences: glob(7) as fnmatch(3) reads them, or a regular expression between slashes; case never
//! counts.

use regex_lite::{Regex, RegexBuilder};

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 1000;
/// Memory a compiled expression may take, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// What a text has to look like.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Vec<Form>);

/// One of the forms that a pattern can have; one that fits is enough.
#[derive(Debug, Clone)]
enum Form {
    Exact(String),
    Prefix(String),
    Glob(Vec<char>),
    Regex(Box<Regex>),
}

impl Pattern {
    /// A name as it stands, whose case counts.
    pub(super) fn exact(text: &str) -> Self {
        Self(vec![Form::Exact(text.to_owned())])
    }

    /// `/regex/`, else a glob.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        if text.len() > MAX_PATTERN {
            return Err(format!("a pattern longer than {MAX_PATTERN} bytes"));
        }
        let inside = text
            .strip_prefix('/')
            .and_then(|rest| rest.strip_suffix('/'));
        let Some(regex) = inside else {
            return Ok(Self(vec![Form::Glob(
                text.to_lowercase().chars().collect(),
            )]));
        };
        RegexBuilder::new(regex)
            .case_insensitive(true)
            .size_limit(MAX_COMPILED)
            .build()
            .map(|regex| Self(vec![Form::Regex(Box::new(regex))]))
            .map_err(|error| format!("a bad regular expression {regex:?}: {error}"))
    }

    /// A version: as it stands, or beginning so when it ends in a star, or as a glob.
    pub(super) fn version(text: &str) -> Self {
        let plain = match text.strip_suffix('*') {
            Some(start) => Form::Prefix(start.to_lowercase()),
            None => Form::Exact(text.to_lowercase()),
        };
        // APT has cut the star off by the time it looks for a glob.
        let start = text.strip_suffix('*').unwrap_or(text);
        let glob = Self::new(start)
            .map(|pattern| pattern.0)
            .unwrap_or_default();
        let mut forms = vec![plain];
        forms.extend(glob);
        Self(forms)
    }

    /// The same, or exactly this text.
    pub(super) fn or_exact(mut self, text: &str) -> Self {
        self.0.push(Form::Exact(text.to_lowercase()));
        self
    }

    /// Whether a text fits. Case does not count.
    pub(super) fn fits(&self, text: &str) -> bool {
        let lower = text.to_lowercase();
        self.0.iter().any(|form| match form {
            Form::Exact(exact) => *exact == lower || exact == text,
            Form::Prefix(start) => lower.starts_with(start.as_str()),
            Form::Glob(glob) => glob_fits(glob, &lower.chars().collect::<Vec<_>>()),
            Form::Regex(regex) => regex.is_match(text),
        })
    }

    /// The name, when nothing else can fit.
    pub(super) fn only(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Form::Exact(text)] => Some(text),
            _ => None,
        }
    }
}

/// fnmatch(3) without flags but for the case. Goes back only to the last star, so its time is the product of the lengths.
fn glob_fits(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() || p < pattern.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
            continue;
        }
        let step = match (pattern.get(p..), text.get(t)) {
            (Some(rest), Some(c)) if !rest.is_empty() => one(rest, *c),
            _ => None,
        };
        if let Some(used) = step {
            p += used;
            t += 1;
            continue;
        }
        match star {
            Some((at, from)) if from < text.len() => {
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
            _ => return false,
        }
    }
    true
}

/// How much of the pattern one character uses up; none when it does not fit.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '\\' => match pattern.get(1) {
            Some(next) => (*next == c).then_some(2),
            None => None,
        },
        '[' => match bracket(pattern, c) {
            Some((fits, length)) => fits.then_some(length),
            // A bracket without an end is a bracket.
            None => (c == '[').then_some(1),
        },
        plain => (*plain == c).then_some(1),
    }
}

/// `[…]` at the start of the pattern: whether it has the character, and its length.
fn bracket(pattern: &[char], c: char) -> Option<(bool, usize)> {
    let mut at = 1;
    let negated = matches!(pattern.get(at), Some('!' | '^'));
    if negated {
        at += 1;
    }
    let mut fits = false;
    let mut first = true;
    loop {
        let mut low = *pattern.get(at)?;
        if low == ']' && !first {
            return Some((fits != negated, at + 1));
        }
        first = false;
        if low == '[' && pattern.get(at + 1) == Some(&':') {
            let rest = pattern.get(at + 2..)?;
            let end = rest.iter().position(|c| *c == ':')?;
            if rest.get(end + 1) == Some(&']') {
                let name: String = rest.get(..end)?.iter().collect();
                fits |= in_class(&name, c)?;
                at += end + 4;
                continue;
            }
        }
        if low == '\\' {
            at += 1;
            low = *pattern.get(at)?;
        }
        let mut high = low;
        if pattern.get(at + 1) == Some(&'-') && pattern.get(at + 2).is_some_and(|c| *c != ']') {
            at += 2;
            high = *pattern.get(at)?;
            if high == '\\' {
                at += 1;
                high = *pattern.get(at)?;
            }
        }
        fits |= (low..=high).contains(&c);
        at += 1;
    }
}

fn in_class(name: &str, c: char) -> Option<bool> {
    Some(match name {
        "alnum" => c.is_ascii_alphanumeric(),
        "alpha" => c.is_ascii_alphabetic(),
        "blank" => c == ' ' || c == '\t',
        "cntrl" => c.is_ascii_control(),
        "digit" => c.is_ascii_digit(),
        "graph" => c.is_ascii_graphic(),
        // Case does not count, and the text is in small letters.
        "lower" | "upper" => c.is_ascii_alphabetic(),
        "print" => c.is_ascii_graphic() || c == ' ',
        "punct" => c.is_ascii_punctuation(),
        "space" => c.is_ascii_whitespace(),
        "xdigit" => c.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_those_of_the_shell() {
        for (pattern, yes, no) in [
            ("*", &["", "a", "a/b"][..], &[][..]),
            ("a*b", &["ab", "axb", "axbxb"], &["a", "abx"]),
            ("a?c", &["abc"], &["ac", "abbc"]),
            ("[a-c]x", &["ax", "cx", "BX"], &["dx", "x"]),
            ("[!a-c]x", &["dx"], &["ax"]),
            ("[]x]", &["]", "x"], &["y"]),
            ("[[:digit:]]*", &["1a"], &["a1"]),
            ("a\\*", &["a*"], &["ab"]),
            ("[", &["["], &["a"]),
            ("**a**", &["bab", "a"], &["b"]),
            ("[a-]", &["a", "-"], &["b"]),
        ] {
            let pattern_ = Pattern::new(pattern).unwrap();
            for text in yes {
                assert!(pattern_.fits(text), "{pattern} {text}");
            }
            for text in no {
                assert!(!pattern_.fits(text), "{pattern} {text}");
            }
        }
        let slow = Pattern::new(&"*a".repeat(400)).unwrap();
        assert!(!slow.fits(&"a".repeat(390)));
    }

    #[test]
    fn expressions_are_searched_for() {
        let pattern = Pattern::new("/^lib.*[0-9]$/").unwrap();
        assert!(pattern.fits("LIBC6") && !pattern.fits("libc6-dev"));
        assert!(Pattern::new("/a(/").is_err());
        assert!(Pattern::new("/(((a{900}){900}){900})/").is_err());
        assert!(Pattern::new("/").unwrap().fits("/"));
    }
}
