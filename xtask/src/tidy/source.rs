//! Just enough of Rust's grammar to look at code without its comments and literals.

/// `text` with comments and the content of literals blanked out; lines stay where they are.
pub fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let bytes: Vec<char> = text.chars().collect();
    let mut at = 0;
    while let Some(&now) = bytes.get(at) {
        let next = bytes.get(at + 1).copied().unwrap_or('\0');
        let end = match (now, next) {
            ('/', '/') => line_end(&bytes, at),
            ('/', '*') => block_end(&bytes, at),
            ('"', _) => string_end(&bytes, at + 1),
            ('r', '"' | '#') if !inside_word(&bytes, at) => raw_end(&bytes, at),
            ('b', 'r') if !inside_word(&bytes, at) => match raw_end(&bytes, at + 1) {
                // A word that begins so.
                end if end == at + 1 => at,
                end => end,
            },
            ('\'', _) => char_end(&bytes, at),
            _ => at,
        };
        if end == at {
            out.push(now);
            at += 1;
        } else {
            out.extend(
                bytes[at..end]
                    .iter()
                    .map(|&one| if one == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        }
    }
    out
}

fn inside_word(bytes: &[char], at: usize) -> bool {
    at > 0
        && bytes
            .get(at - 1)
            .is_some_and(|&one| one.is_alphanumeric() || one == '_')
}

fn line_end(bytes: &[char], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|&one| one == '\n')
        .map_or(bytes.len(), |length| at + length)
}

fn block_end(bytes: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut place = at;
    while place + 1 < bytes.len() {
        match (bytes[place], bytes[place + 1]) {
            ('/', '*') => {
                depth += 1;
                place += 2;
            }
            ('*', '/') => {
                depth -= 1;
                place += 2;
                if depth == 0 {
                    return place;
                }
            }
            _ => place += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[char], mut at: usize) -> usize {
    while let Some(&one) = bytes.get(at) {
        match one {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `r"…"`, `r#"…"#`; `at` itself when it is a raw identifier.
fn raw_end(bytes: &[char], at: usize) -> usize {
    let hashes = bytes[at + 1..]
        .iter()
        .take_while(|&&one| one == '#')
        .count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&'"') {
        return at;
    }
    let mut place = open + 1;
    while place < bytes.len() {
        if bytes[place] == '"'
            && bytes[place + 1..]
                .iter()
                .take(hashes)
                .filter(|&&one| one == '#')
                .count()
                == hashes
        {
            return place + 1 + hashes;
        }
        place += 1;
    }
    bytes.len()
}

/// The end of a character literal; `at` itself when it is a lifetime.
fn char_end(bytes: &[char], at: usize) -> usize {
    match (bytes.get(at + 1), bytes.get(at + 2)) {
        (Some('\\'), Some(_)) => bytes[at + 3..]
            .iter()
            .position(|&one| one == '\'')
            .map_or(bytes.len(), |length| at + 4 + length),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// The part of a file before its test module.
pub fn without_tests(code: &str) -> &str {
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let rest = code[start + "#[cfg(test)]".len()..].trim_start();
        let inline = rest.strip_prefix("mod ").is_some_and(|rest| {
            rest.find(['{', ';'])
                .is_some_and(|place| rest[place..].starts_with('{'))
        });
        if inline {
            return &code[..start];
        }
        from = start + 1;
    }
    code
}

/// Whether `word` stands in `code` on its own: no letter, digit or `_` touches its word ends.
pub fn has_word(code: &str, word: &str) -> bool {
    let touches = |one: Option<char>| one.is_some_and(|one| one.is_alphanumeric() || one == '_');
    let open = word.ends_with([':', '!', '_', '(']);
    code.match_indices(word).any(|(place, _)| {
        !touches(code[..place].chars().next_back())
            && (open || !touches(code[place + word.len()..].chars().next()))
    })
}

/// Names of the tests in `text`: functions marked `#[test]`, and the cases of a test program that runs its own list:
/// functions without arguments that give `Checked`. One that is in no list is unused, and the compiler says so.
pub fn test_names(text: &str) -> Vec<String> {
    let code = code_only(text);
    let mut names = Vec::new();
    let mut marked = false;
    for line in code.lines().map(str::trim) {
        if line.contains("#[test]") {
            marked = true;
        }
        if let Some((_, rest)) = line.split_once("fn ")
            && (marked || rest.trim_end().ends_with("() -> Checked {"))
        {
            let end = rest.find(|one: char| !one.is_alphanumeric() && one != '_');
            names.push(rest[..end.unwrap_or(rest.len())].to_owned());
            marked = false;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        let text = "let a = \"unsafe \\\" x\"; // unsafe\nlet b = r#\"unsafe\"#; /* unsafe /* */ */ \
                    let c = '\"'; let d: &'static str = 'x'; fn r#try() {} fn bring() {} let e = b\"q\"; done";
        let code = code_only(text);
        assert!(!code.contains("unsafe"), "{code}");
        assert!(
            code.contains("&'static str") && code.ends_with("done"),
            "{code}"
        );
        assert!(code.contains("fn r#try() {} fn bring()"), "{code}");
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn words_are_whole_words() {
        assert!(has_word("unsafe {", "unsafe"));
        assert!(!has_word("#![forbid(unsafe_code)]", "unsafe"));
        assert!(has_word("use libc::c_int", "libc::"));
        assert!(!has_word("mylibc::x", "libc::"));
        assert!(has_word("pub fn get_x()", "fn get_"));
    }

    #[test]
    fn tests_are_found_by_their_mark() {
        let text = "#[test]\n#[should_panic]\nfn one() {}\nfn two() {}\n// #[test]\nfn three() {}";
        assert_eq!(test_names(text), ["one"]);
        let text = "fn case() -> Checked {\n}\nfn part(of: u8) -> Checked {\n}\npub fn other() -> Checked {\n}";
        assert_eq!(test_names(text), ["case", "other"]);
        assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\nb }"), "a\n");
        assert_eq!(
            without_tests("#[cfg(test)]\nmod tests;\nb"),
            "#[cfg(test)]\nmod tests;\nb"
        );
    }
}
