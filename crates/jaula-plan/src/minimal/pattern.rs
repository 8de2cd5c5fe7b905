//! Patterns of paths: `*` and `?` within a name, `**` across directories, `[…]` one of some characters.

/// A pattern.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pattern<'a> {
    text: &'a [u8],
}

/// Steps of one comparison; the bound keeps a hostile pattern from taking long.
const MOST_STEPS: usize = 100_000;

impl<'a> Pattern<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
        }
    }

    /// Whether a text is a pattern, and no plain name.
    pub(super) fn is_one(text: &str) -> bool {
        text.contains(['*', '?', '['])
    }

    pub(super) fn fits(self, path: &[u8]) -> bool {
        let mut steps = 0;
        fits(self.text, path, &mut steps)
    }
}

fn fits(mut pattern: &[u8], mut text: &[u8], steps: &mut usize) -> bool {
    loop {
        *steps = steps.saturating_add(1);
        if *steps > MOST_STEPS {
            return false;
        }
        let Some((first, rest)) = pattern.split_first() else {
            return text.is_empty();
        };
        if *first == b'*' {
            let (after, across) = match rest.split_first() {
                Some((b'*', after)) => (after, true),
                _ => (rest, false),
            };
            // Where a plain byte comes next, only a place that has it is tried.
            let plain = after.first().filter(|byte| !b"*?[".contains(byte));
            let mut left = text;
            loop {
                *steps = steps.saturating_add(1);
                let may = plain.is_none_or(|byte| left.first() == Some(byte));
                if may && fits(after, left, steps) {
                    return true;
                }
                match left.split_first() {
                    Some((byte, next)) if (across || *byte != b'/') && *steps <= MOST_STEPS => {
                        left = next;
                    }
                    _ => return false,
                }
            }
        }
        let Some((byte, left)) = text.split_first() else {
            return false;
        };
        let (same, rest) = match first {
            b'?' => (*byte != b'/', rest),
            b'[' => match one_of(rest, *byte) {
                Some(found) => found,
                None => (*byte == b'[', rest),
            },
            _ => (byte == first, rest),
        };
        if !same {
            return false;
        }
        (pattern, text) = (rest, left);
    }
}

/// Whether a byte is in the set that begins here, and what comes after the set; none when it has no end.
fn one_of(set: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let end = set
        .iter()
        .skip(1)
        .position(|b| *b == b']')?
        .saturating_add(1);
    let (inside, rest) = set.split_at_checked(end)?;
    let mut found = false;
    let mut left = inside;
    while let Some((from, next)) = left.split_first() {
        match next {
            [b'-', to, next @ ..] => {
                found |= (*from..=*to).contains(&byte);
                left = next;
            }
            _ => {
                found |= *from == byte;
                left = next;
            }
        }
    }
    Some((found && byte != b'/', rest.get(1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, expected) in [
            ("/usr/bin/git*", "/usr/bin/git-shell", true),
            ("/usr/bin/git*", "/usr/bin/git/x", false),
            ("**/libnss_*.so.2", "/usr/lib/x/libnss_dns.so.2", true),
            ("/usr/lib/python3*/**", "/usr/lib/python3.11/a/b.py", true),
            ("/a/python3.[0-9]*", "/a/python3.11", true),
            ("/a/python3.[0-9]", "/a/python3.x", false),
            ("/a?", "/a/", false),
            ("/a[", "/a[", true),
        ] {
            let fits = Pattern::new(pattern).fits(path.as_bytes());
            assert_eq!(fits, expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let text = "a".repeat(5000);
        assert!(!Pattern::new(&"*a".repeat(200)).fits(format!("{text}b").as_bytes()));
    }
}
