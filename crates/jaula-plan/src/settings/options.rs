//! Options of apt and dpkg in an image, as text of their files.

use super::{SettingError, bad};

/// The most that one option may be: it may be a whole file.
const LONGEST: usize = 1 << 20;

/// Checks text of apt.conf(5): names with values in quotes or as words, blocks in braces, comments. Whether apt knows the
/// names is for apt to say.
///
/// # Errors
/// [`SettingError::Value`]
pub fn check_apt(text: &str) -> Result<(), SettingError> {
    apt_text(text).map(drop)
}

/// The text as a statement that others may follow: with a semicolon at its end.
///
/// # Errors
/// [`SettingError::Value`]
pub fn apt_text(text: &str) -> Result<String, SettingError> {
    let wrong = |why| bad("an option of apt", text, why);
    if text.len() > LONGEST {
        return Err(wrong("it is too long"));
    }
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0usize, 0usize);
    // Whether something was said since the last semicolon or brace.
    let (mut open, mut any, mut comment_last) = (false, false, false);
    while let Some(byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        let line_comment = rest.starts_with(b"//")
            || *byte == b'#' && !rest.starts_with(b"#include") && !rest.starts_with(b"#clear");
        comment_last = false;
        if line_comment {
            let length = rest.iter().position(|b| *b == b'\n');
            comment_last = length.is_none();
            at += length.unwrap_or(rest.len());
            continue;
        }
        if rest.starts_with(b"/*") {
            let end = rest.windows(2).skip(2).position(|pair| pair == b"*/");
            at += end.ok_or(wrong("a comment does not end"))? + 4;
            continue;
        }
        match byte {
            b'"' => {
                let inner = bytes.get(at + 1..).unwrap_or_default();
                let end = inner.iter().position(|b| *b == b'"' || *b == b'\n');
                match end.and_then(|end| Some((end, inner.get(end)?))) {
                    Some((end, b'"')) => at += end + 1,
                    _ => return Err(wrong("a quote does not end")),
                }
                if !open {
                    // In a block a value may stand alone: it is one more of a list.
                    any |= depth > 0;
                    if depth == 0 {
                        return Err(wrong("a value without a name"));
                    }
                }
                open = true;
            }
            b'{' if !open => return Err(wrong("a block without a name")),
            b'{' => {
                depth += 1;
                open = false;
            }
            b'}' => {
                depth = depth.checked_sub(1).ok_or(wrong("a brace too many"))?;
                open = false;
                any = true;
            }
            b';' => open = false,
            b' ' | b'\t' | b'\n' | b'\r' => {}
            byte if byte.is_ascii_control() => return Err(wrong("a control character")),
            _ => (open, any) = (true, true),
        }
        at += 1;
    }
    if depth > 0 {
        return Err(wrong("a brace is not closed"));
    }
    if !any {
        return Err(wrong("it says nothing"));
    }
    let mut text = text.trim_end().to_owned();
    if comment_last {
        text.push('\n');
    }
    if !text.ends_with(';') {
        text.push(';');
    }
    text.push('\n');
    Ok(text)
}

/// Checks lines of dpkg.cfg(5): an option of dpkg(1) without its dashes, with `=VALUE` where it has one.
///
/// # Errors
/// [`SettingError::Value`]
pub fn check_dpkg(text: &str) -> Result<(), SettingError> {
    let wrong = |line: &str, why| Err(bad("an option of dpkg", line, why));
    let mut any = false;
    if text.len() > LONGEST {
        return wrong("", "it is too long");
    }
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        any = true;
        let line = line.strip_prefix("--").unwrap_or(line);
        let end = line
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(line.len());
        let name = line.get(..end).unwrap_or_default();
        if name.is_empty()
            || !name.starts_with(|c: char| c.is_ascii_lowercase())
            || !name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return wrong(line, "it is no name of an option");
        }
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return wrong(line, "a control character");
        }
        // They would take dpkg away from the tree that is being made.
        if ["root", "admindir", "instdir", "log", "chrootdir"].contains(&name) {
            return wrong(line, "this option is not for an image");
        }
    }
    if any {
        return Ok(());
    }
    wrong(text, "it says nothing")
}

/// The lines as dpkg.cfg(5) has them.
pub fn dpkg_text(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\n", line.strip_prefix("--").unwrap_or(line)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_conf_is_read() {
        for good in [
            "Acquire::Check-Valid-Until \"false\"",
            "APT::Install-Recommends 0;",
            "Acquire { http { Proxy \"x\"; }; };",
            "// only\nA::B \"c\"; /* d */ # e",
            "DPkg::Post-Invoke { \"true\"; \"false\"; };",
            "#clear APT::Never",
        ] {
            let text = apt_text(good).unwrap_or_else(|error| panic!("{good}: {error}"));
            assert!(text.ends_with(";\n"), "{text}");
        }
        for bad in [
            "", " ; ", "# x", "A \"b", "A { b;", "A b; }", "\"a\"", "{ a; }", "A /* b", "A \u{1};",
        ] {
            assert!(check_apt(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_comment_does_not_hide_the_semicolon() {
        assert_eq!(apt_text("A b # c").unwrap(), "A b # c\n;\n");
        assert_eq!(apt_text("A b").unwrap(), "A b;\n");
    }

    #[test]
    fn dpkg_cfg_is_read() {
        for good in [
            "force-unsafe-io",
            "path-exclude=/a/*",
            "--no-debsig",
            "# x\nforce-confold\n",
        ] {
            assert_eq!(check_dpkg(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "# x",
            "Force",
            "=a",
            "root=/x",
            "--admindir=/y",
            "a\u{1b}",
            "-a",
        ] {
            assert!(check_dpkg(bad).is_err(), "{bad:?}");
        }
        assert_eq!(dpkg_text("--a\nb"), "a\nb\n");
    }
}
