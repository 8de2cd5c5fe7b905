//! The cleartext frame (RFC 9580 section 7).

use super::{MAX_TEXT, VerifyError};

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// The two parts of a framed text.
pub struct Frame<'a> {
    /// The text without escapes and white space at the ends of lines; each line ends with a newline.
    pub text: String,
    /// The armored block of signatures, with its own first and last line.
    pub signatures: &'a str,
}

/// Without what is not signed at a line's end.
fn trim(line: &str) -> &str {
    line.trim_end_matches([' ', '\t', '\r'])
}

impl<'a> Frame<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, VerifyError> {
        if bytes.len() > MAX_TEXT {
            return Err(VerifyError::Text("too long"));
        }
        let all = std::str::from_utf8(bytes).map_err(|_| VerifyError::Text("not valid UTF-8"))?;
        let mut rest = all;
        let mut number = 0usize;
        let mut next = |rest: &mut &'a str| -> Option<(usize, &'a str)> {
            if rest.is_empty() {
                return None;
            }
            number += 1;
            let (line, after) = rest.split_once('\n').unwrap_or((*rest, ""));
            *rest = after;
            Some((number, line))
        };
        let error = |line, what| VerifyError::Frame { line, what };

        let (line, first) = next(&mut rest).ok_or(error(1, "it is empty"))?;
        if trim(first) != BEGIN {
            return Err(error(
                line,
                "it does not start with a signed message's first line",
            ));
        }
        loop {
            let (line, header) =
                next(&mut rest).ok_or(error(2, "it ends in the frame's headers"))?;
            match trim(header) {
                "" => break,
                header if header.starts_with("Hash: ") => {}
                _ => return Err(error(line, "a header of the frame other than Hash")),
            }
        }
        let mut text = String::with_capacity(rest.len());
        let block = loop {
            let at = all.len() - rest.len();
            let (line, this) = next(&mut rest).ok_or(error(1, "it ends without signatures"))?;
            let this = trim(this);
            if this == SIGNATURE {
                break at;
            }
            let clear = match this.strip_prefix('-') {
                None => this,
                // The escape, or a line `-` whose blank was trimmed.
                Some(escaped) => match escaped.strip_prefix(' ') {
                    Some(clear) => clear,
                    None if escaped.is_empty() => "",
                    None => {
                        return Err(error(
                            line,
                            "a line that starts with a dash and is not escaped",
                        ));
                    }
                },
            };
            if clear.contains(['\r', '\0']) {
                return Err(error(line, "a carriage return or NUL inside of a line"));
            }
            text.push_str(clear);
            text.push('\n');
        };
        let end = loop {
            let (_, this) = next(&mut rest).ok_or(error(1, "it ends inside of the signatures"))?;
            if trim(this) == END {
                break all.len() - rest.len();
            }
        };
        while let Some((line, this)) = next(&mut rest) {
            if !trim(this).is_empty() {
                return Err(error(line, "something behind the signatures"));
            }
        }
        Ok(Self {
            text,
            signatures: all.get(block..end).unwrap_or_default(),
        })
    }
}
