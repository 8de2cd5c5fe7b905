//! Hexadecimal text, as hashes are written.

fn digit(b: u8) -> Option<u8> {
    match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    }
}

/// The bytes that hexadecimal digits name, two each, or nothing.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let bytes = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    bytes.collect()
}

/// The 32 bytes that 64 hexadecimal digits name, or nothing.
pub fn decode32(text: &str) -> Option<[u8; 32]> {
    // Before anything is kept of what is too long.
    if text.len() != 64 {
        return None;
    }
    decode(text)?.try_into().ok()
}

/// The bytes as lower-case hexadecimal text.
pub fn encode(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from(if n < 10 { b'0' + n } else { b'a' + n - 10 });
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let text = "00ff7f80".repeat(8);
        assert_eq!(encode(&decode32(&text).unwrap()), text);
        assert_eq!(decode32(&text.to_uppercase()), decode32(&text));
        for bad in [
            "",
            "00",
            &"0".repeat(63),
            &"0".repeat(65),
            &"g".repeat(64),
            &"é".repeat(32),
        ] {
            assert_eq!(decode32(bad), None, "{bad}");
        }
    }
}
