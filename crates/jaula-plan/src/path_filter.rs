//! Which files of packages are left out, as dpkg(1) does it for `path-exclude` and `path-include`.

use crate::spec::settings::PathRule;

/// Rules ready to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathFilter {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    include: bool,
    pattern: Vec<u8>,
}

/// A rule that says nothing that dpkg would understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use the pattern {pattern:?}: {why}")]
pub struct BadPattern {
    /// As written.
    pub pattern: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Longer patterns are a mistake.
const LONGEST: usize = 4096;

impl PathFilter {
    /// Reads rules.
    ///
    /// # Errors
    /// [`BadPattern`]: dpkg compares patterns with absolute paths, and its file of options has a line for each.
    pub fn new(rules: &[PathRule]) -> Result<Self, BadPattern> {
        let mut read = Vec::with_capacity(rules.len());
        for rule in rules {
            let (include, pattern) = match rule {
                PathRule::Exclude(pattern) => (false, pattern),
                PathRule::Include(pattern) => (true, pattern),
            };
            let bad = |why| BadPattern {
                pattern: pattern.clone(),
                why,
            };
            if !pattern.starts_with(['/', '*', '?', '[']) {
                return Err(bad("it must begin with a slash, or nothing fits"));
            }
            if pattern.chars().any(char::is_control) || pattern.len() > LONGEST {
                return Err(bad("it must be one line of text"));
            }
            if pattern.ends_with(char::is_whitespace) {
                return Err(bad("dpkg does not see blanks at the end"));
            }
            if pattern.contains("[.") || pattern.contains("[=") {
                return Err(bad("collating symbols are not supported"));
            }
            read.push(Rule {
                include,
                pattern: pattern.clone().into_bytes(),
            });
        }
        Ok(Self { rules: read })
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether something at `path` (absolute) is left out: the last rule that fits says so. A directory, or a link that
    /// may lead to one, stays when something beneath it could be included again.
    pub fn skips(&self, path: &[u8], may_hold: bool) -> bool {
        let last = self
            .rules
            .iter()
            .rev()
            .find(|rule| fits(&rule.pattern, path));
        if last.is_none_or(|rule| rule.include) {
            return false;
        }
        !may_hold
            || !self
                .rules
                .iter()
                .any(|rule| rule.include && path.starts_with(rule.plain()))
    }

    /// The lines of dpkg's file of options that say the same.
    pub fn lines(&self) -> String {
        self.rules
            .iter()
            .map(|rule| {
                let word = if rule.include {
                    "path-include"
                } else {
                    "path-exclude"
                };
                format!("{word}={}\n", String::from_utf8_lossy(&rule.pattern))
            })
            .collect()
    }
}

impl Rule {
    /// The pattern as far as it is plain text, without slashes at the end.
    fn plain(&self) -> &[u8] {
        let end = self
            .pattern
            .iter()
            .position(|byte| b"*?[\\".contains(byte))
            .unwrap_or(self.pattern.len());
        let mut plain = self.pattern.get(..end).unwrap_or_default();
        while let Some(rest) = plain.strip_suffix(b"/") {
            plain = rest;
        }
        plain
    }
}

/// fnmatch(3) without flags, in the C locale: `*` fits slashes too.
pub(crate) fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where to go on when it does not fit: after the last star, one byte further. Earlier stars need no second try.
    let mut again: Option<(usize, usize)> = None;
    loop {
        let step = match (pattern.get(at), text.get(from)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                at += 1;
                again = Some((at, from));
                continue;
            }
            (Some(_), Some(byte)) => one(pattern.get(at..).unwrap_or_default(), *byte),
            _ => None,
        };
        match (step, again) {
            (Some(length), _) => {
                at += length;
                from += 1;
            }
            (None, Some((after, begun))) if begun < text.len() => {
                (at, from) = (after, begun + 1);
                again = Some((after, begun + 1));
            }
            _ => return false,
        }
    }
}

/// How long the first element of a pattern is, if it fits this byte. It is no star.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', ..] => match bracket(pattern, byte) {
            Some((length, fits)) => fits.then_some(length),
            // Without an end it is an ordinary character.
            None => (byte == b'[').then_some(1),
        },
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// A bracket expression (regex(7)): its length, and whether the byte is in it.
fn bracket(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let mut at = 1;
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    if negated {
        at += 1;
    }
    let (first, mut found) = (at, false);
    loop {
        let rest = pattern.get(at..)?;
        match rest {
            [b']', ..] if at > first => return Some((at + 1, found != negated)),
            [b'[', b':', class @ ..] => {
                let end = class.windows(2).position(|pair| pair == b":]")?;
                found |= of_class(class.get(..end)?, byte);
                at += end + 4;
            }
            _ => {
                let (low, length) = member(rest)?;
                at += length;
                // A dash before the closing bracket is itself.
                let range = matches!(pattern.get(at..), Some([b'-', next, ..]) if *next != b']');
                if range {
                    let (high, length) = member(pattern.get(at + 1..)?)?;
                    at += 1 + length;
                    found |= (low..=high).contains(&byte);
                } else {
                    found |= low == byte;
                }
            }
        }
    }
}

fn member(pattern: &[u8]) -> Option<(u8, usize)> {
    match pattern {
        [b'\\', literal, ..] => Some((*literal, 2)),
        [literal, ..] => Some((*literal, 1)),
        [] => None,
    }
}

fn of_class(class: &[u8], byte: u8) -> bool {
    match class {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => matches!(byte, b' ' | b'\t'),
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte.is_ascii_graphic() || byte == b' ',
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => matches!(byte, b' ' | 9..=13),
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => false,
    }
}

/// No documentation but the licences, which must go with what is copied (Debian Policy 12.5).
pub fn no_docs() -> Vec<PathRule> {
    let mut rules = no_man();
    rules.extend(
        [
            "/usr/share/doc/*",
            "/usr/share/info/*",
            "/usr/share/gtk-doc/*",
        ]
        .map(|pattern| PathRule::Exclude(pattern.into())),
    );
    rules.push(PathRule::Include("/usr/share/doc/*/copyright".into()));
    rules
}

/// No manual pages.
pub fn no_man() -> Vec<PathRule> {
    ["/usr/share/man/*", "/usr/share/groff/*"]
        .map(|pattern| PathRule::Exclude(pattern.into()))
        .into()
}

/// No translations but those into these languages, `es` or `pt_BR`; what belongs to no language stays.
pub fn keep_locales(languages: &[String]) -> Vec<PathRule> {
    let mut rules = vec![
        PathRule::Exclude("/usr/share/locale/*".into()),
        PathRule::Include("/usr/share/locale/locale.alias".into()),
        PathRule::Exclude("/usr/share/man/[a-z][a-z]/*".into()),
        PathRule::Exclude("/usr/share/man/[a-z][a-z]_*/*".into()),
        PathRule::Exclude("/usr/share/man/[a-z][a-z].*/*".into()),
    ];
    for language in languages {
        for place in ["locale", "man"] {
            // `es`, and all that is more exact: `es_ES`, `es.UTF-8`, `es@x`.
            rules.push(PathRule::Include(format!(
                "/usr/share/{place}/{language}/*"
            )));
            rules.push(PathRule::Include(format!(
                "/usr/share/{place}/{language}[_.@]*"
            )));
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exclude(pattern: &str) -> PathRule {
        PathRule::Exclude(pattern.into())
    }

    fn include(pattern: &str) -> PathRule {
        PathRule::Include(pattern.into())
    }

    #[test]
    fn patterns_fit_as_fnmatch_says() {
        let cases: [(&str, &str, bool); 26] = [
            ("/usr/share/doc/*", "/usr/share/doc/a/b", true),
            ("/usr/share/doc/*", "/usr/share/doc", false),
            ("/usr/share/doc/*", "/usr/share/doc/", true),
            ("*", "", true),
            ("*", "/a/b", true),
            ("/a*b*c", "/axbxbxc", true),
            ("/a*b*c", "/axbxbx", false),
            ("/a?c", "/a/c", true),
            ("/a?c", "/ac", false),
            ("/[a-c]x", "/bx", true),
            ("/[!a-c]x", "/bx", false),
            ("/[^a-c]x", "/dx", true),
            ("/[]x]", "/]", true),
            ("/[a-]", "/-", true),
            ("/[[:digit:]]*", "/7", true),
            ("/[[:digit:]]*", "/x", false),
            ("/[[:alpha:]_]", "/_", true),
            ("/a\\*", "/a*", true),
            ("/a\\*", "/ab", false),
            ("/[a", "/[a", true),
            ("/[a", "/a", false),
            ("/.*", "/.x", true),
            ("/*", "/.x", true),
            ("/x[\\]]", "/x]", true),
            ("/é*", "/él", true),
            ("/**/x", "/a/b/x", true),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(
                fits(pattern.as_bytes(), path.as_bytes()),
                expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "/".to_owned() + &"*a".repeat(400);
        assert!(!fits(pattern.as_bytes(), "/".repeat(4000).as_bytes()));
    }

    #[test]
    fn the_last_rule_decides_and_directories_stay_for_what_is_included() {
        let filter = PathFilter::new(&[
            exclude("/usr/share/doc/*"),
            include("/usr/share/doc/*/copyright"),
            exclude("/usr/share/locale/*"),
            include("/usr/share/locale/es/*"),
        ])
        .unwrap();
        assert!(filter.skips(b"/usr/share/doc/a/README", false));
        assert!(!filter.skips(b"/usr/share/doc/a/copyright", false));
        assert!(!filter.skips(b"/usr/share/doc/a", true));
        assert!(filter.skips(b"/usr/share/doc/a", false));
        assert!(filter.skips(b"/usr/share/locale/de", true));
        assert!(!filter.skips(b"/usr/share/locale/es", true));
        assert!(!filter.skips(b"/usr/share/locale/es/LC_MESSAGES/x.mo", false));
        assert!(!filter.skips(b"/etc/passwd", false));
        assert!(!PathFilter::default().skips(b"/etc/passwd", false));
    }

    #[test]
    fn what_dpkg_would_not_understand_is_refused() {
        for bad in ["usr/share/doc/*", "", "/a\nb", "/a ", "/[[.a.]]", "/\u{1b}"] {
            assert!(PathFilter::new(&[exclude(bad)]).is_err(), "{bad:?}");
        }
        let filter = PathFilter::new(&[exclude("/a/*"), include("/a/b")]).unwrap();
        assert_eq!(filter.lines(), "path-exclude=/a/*\npath-include=/a/b\n");
    }

    #[test]
    fn only_my_languages_stay() {
        let filter = PathFilter::new(&keep_locales(&["es".into(), "pt_BR".into()])).unwrap();
        let stays = |path: &str| !filter.skips(path.as_bytes(), false);
        for path in [
            "/usr/share/locale/es/LC_MESSAGES/a.mo",
            "/usr/share/locale/es_AR/LC_MESSAGES/a.mo",
            "/usr/share/locale/pt_BR/LC_MESSAGES/a.mo",
            "/usr/share/locale/locale.alias",
            "/usr/share/man/man1/ls.1.gz",
            "/usr/share/man/es/man1/ls.1.gz",
        ] {
            assert!(stays(path), "{path}");
        }
        for path in [
            "/usr/share/locale/de/LC_MESSAGES/a.mo",
            "/usr/share/locale/est/LC_MESSAGES/a.mo",
            "/usr/share/locale/pt/LC_MESSAGES/a.mo",
            "/usr/share/man/de/man1/ls.1.gz",
            "/usr/share/man/zh_CN/man1/ls.1.gz",
        ] {
            assert!(!stays(path), "{path}");
        }
    }

    #[test]
    fn licences_stay_without_documentation() {
        let filter = PathFilter::new(&no_docs()).unwrap();
        assert!(!filter.skips(b"/usr/share/doc/a/copyright", false));
        assert!(filter.skips(b"/usr/share/doc/a/changelog.gz", false));
        assert!(filter.skips(b"/usr/share/man/man1/a.1.gz", false));
    }
}
