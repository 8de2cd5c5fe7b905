//! Numbers as sscanf(3) reads them: the longest beginning of a word that is one, whatever follows.

/// `%i`: decimal, octal after `0`, hexadecimal after `0x`; what is too large for a C int is cut.
pub fn integer(word: &str) -> Option<i32> {
    let word = word.trim_start_matches(|c: char| c.is_ascii_whitespace());
    let (negative, digits) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let (radix, digits) = match digits.strip_prefix('0') {
        Some(rest) => match rest.strip_prefix(['x', 'X']) {
            Some(rest) => (16, rest),
            None => (8, digits),
        },
        None => (10, digits),
    };
    let mut value: i64 = 0;
    let mut any = false;
    for digit in digits.chars().map_while(|c| c.to_digit(radix)) {
        any = true;
        let next = value.saturating_mul(i64::from(radix));
        value = next.saturating_add(i64::from(digit));
    }
    let value = if negative {
        value.saturating_neg()
    } else {
        value
    };
    any.then_some(value as i32)
}

/// `%lf`: decimal with a point and an exponent, hexadecimal after `0x`.
pub fn double(word: &str) -> Option<f64> {
    let word = word.trim_start_matches(|c: char| c.is_ascii_whitespace());
    let (negative, digits) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let value = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(rest) => hexadecimal(rest),
        None => decimal(digits),
    }?;
    Some(if negative { -value } else { value })
}

fn hexadecimal(digits: &str) -> Option<f64> {
    let digits = digits.chars().map_while(|c| c.to_digit(16));
    let mut any = false;
    let value = digits.fold(0.0, |value, digit| {
        any = true;
        value * 16.0 + f64::from(digit)
    });
    any.then_some(value)
}

fn decimal(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("inf") {
        return Some(f64::INFINITY);
    }
    if lower.starts_with("nan") {
        return Some(f64::NAN);
    }
    let number = |end: &usize| {
        let part = text.get(..*end)?;
        let plain = part
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
        part.parse::<f64>().ok().filter(|_| plain)
    };
    let ends: Vec<usize> = (1..=text.len().min(400)).rev().collect();
    ends.iter().find_map(number)
}

/// Seconds in hundredths, as the tool computes them: whole seconds and millionths first.
pub fn hundredths(seconds: f64) -> u32 {
    let whole = seconds as i64;
    let millionths = (1_000_000.0 * (seconds - whole as f64)) as i64;
    let value = whole
        .saturating_mul(100)
        .saturating_add(millionths / 10_000);
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        for (word, value) in [
            ("10", Some(10)),
            (" 10x", Some(10)),
            ("010", Some(8)),
            ("0x10", Some(16)),
            ("-1", Some(-1)),
            ("+7", Some(7)),
            ("12.5", Some(12)),
            ("0", Some(0)),
            ("100000000000", Some(1_215_752_192)),
            ("99999999999999999999", Some(-1)),
            ("x", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(integer(word), value, "{word:?}");
        }
        for (word, value) in [
            ("12.5", Some(1250)),
            ("5x", Some(500)),
            ("1e1", Some(1000)),
            ("1e", Some(100)),
            (".5", Some(50)),
            ("5.", Some(500)),
            ("0x10", Some(1600)),
            ("  3", Some(300)),
            ("1_0", Some(100)),
            ("100000000000", Some(u32::MAX)),
            ("inf", Some(u32::MAX)),
            ("x", None),
            ("", None),
            (".", None),
        ] {
            assert_eq!(double(word).map(hundredths), value, "{word:?}");
        }
    }
}
