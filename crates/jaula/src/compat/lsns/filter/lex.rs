//! The words of a filter.

use super::Order;

/// One word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Open,
    Close,
    And,
    Or,
    Not,
    Compare(Order),
    /// Matches a regular expression, or does not.
    Matches(bool),
    Truth(bool),
    Number(u64),
    Float(f64),
    Text(String),
    Name(String),
    End,
}

impl Token {
    /// As the tools name it when it stands where it may not.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Open => "'('",
            Self::Close => "')'",
            Self::And => "AND",
            Self::Or => "OR",
            Self::Not => "NEG",
            Self::Compare(Order::Eq) => "EQ",
            Self::Compare(Order::Ne) => "NE",
            Self::Compare(Order::Lt) => "LT",
            Self::Compare(Order::Le) => "LE",
            Self::Compare(Order::Gt) => "GT",
            Self::Compare(Order::Ge) => "GE",
            Self::Matches(true) => "REG",
            Self::Matches(false) => "NREG",
            Self::Truth(true) => "TRUE",
            Self::Truth(false) => "FALSE",
            Self::Number(_) => "NUMBER",
            Self::Float(_) => "FLOAT",
            Self::Text(_) => "STRING",
            Self::Name(_) => "HOLDER",
            Self::End => "end of file",
        }
    }
}

/// Signs, the longer ones first.
const SIGNS: [(&str, Token); 13] = [
    ("&&", Token::And),
    ("||", Token::Or),
    ("==", Token::Compare(Order::Eq)),
    ("!=", Token::Compare(Order::Ne)),
    ("<=", Token::Compare(Order::Le)),
    (">=", Token::Compare(Order::Ge)),
    ("=~", Token::Matches(true)),
    ("!~", Token::Matches(false)),
    ("<", Token::Compare(Order::Lt)),
    (">", Token::Compare(Order::Gt)),
    ("!", Token::Not),
    ("(", Token::Open),
    (")", Token::Close),
];

/// The words of a text.
///
/// # Errors
/// When something in it is none.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', '\n']);
    while let Some(first) = rest.chars().next() {
        let (token, behind) = match first {
            '"' | '\'' => quoted(first, rest)?,
            '0'..='9' => number(rest)?,
            'a'..='z' | 'A'..='Z' => word(rest),
            _ => SIGNS
                .iter()
                .find_map(|(sign, token)| Some((token.clone(), rest.strip_prefix(sign)?)))
                .ok_or_else(|| format!("syntax error, unexpected {first:?}"))?,
        };
        tokens.push(token);
        rest = behind.trim_start_matches([' ', '\t', '\n']);
    }
    Ok(tokens)
}

fn quoted(quote: char, rest: &str) -> Result<(Token, &str), String> {
    let inner = rest.get(1..).unwrap_or_default();
    match inner.split_once(quote) {
        Some((text, behind)) if !text.contains('\n') => {
            Ok((Token::Text(text.trim().to_owned()), behind))
        }
        _ => Err(format!("syntax error, unexpected {quote:?}")),
    }
}

fn split_where(text: &str, inside: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !inside(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn number(rest: &str) -> Result<(Token, &str), String> {
    let (digits, behind) = split_where(rest, |c| c.is_ascii_digit());
    let too_large = |text: &str| format!("\"{text}\" number too large");
    if let Some(fraction) = behind.strip_prefix('.') {
        let (decimals, after) = split_where(fraction, |c| c.is_ascii_digit());
        if !decimals.is_empty() {
            let value = format!("{digits}.{decimals}").parse();
            return Ok((Token::Float(value.map_err(|_| too_large(digits))?), after));
        }
    }
    let value: u64 = digits.parse().map_err(|_| too_large(digits))?;
    let power = behind.chars().next().and_then(|c| "KMGTPEZY".find(c));
    let Some(power) = power else {
        return Ok((Token::Number(value), behind));
    };
    let after = behind.get(1..).unwrap_or_default();
    let after = after.strip_prefix("iB").unwrap_or(after);
    let factor = u32::try_from(power)
        .ok()
        .and_then(|power| 1024u64.checked_pow(power.saturating_add(1)));
    let value = factor.and_then(|factor| value.checked_mul(factor));
    Ok((
        Token::Number(value.ok_or_else(|| too_large(digits))?),
        after,
    ))
}

fn word(rest: &str) -> (Token, &str) {
    let (word, behind) = split_where(rest, |c| c.is_ascii_alphanumeric() || "_.%:/-".contains(c));
    let token = match word {
        "and" | "AND" => Token::And,
        "or" | "OR" => Token::Or,
        "not" | "NOT" => Token::Not,
        "eq" | "EQ" => Token::Compare(Order::Eq),
        "ne" | "NE" => Token::Compare(Order::Ne),
        "le" | "LE" => Token::Compare(Order::Le),
        "lt" | "LT" => Token::Compare(Order::Lt),
        "ge" | "GE" => Token::Compare(Order::Ge),
        "gt" | "GT" => Token::Compare(Order::Gt),
        "true" | "TRUE" => Token::Truth(true),
        "false" | "FALSE" => Token::Truth(false),
        _ => Token::Name(word.to_owned()),
    };
    (token, behind)
}
