//! Names in options: as text, and as DNS writes them, with pointers (RFC 1035 section 4.1.4, RFC 3397).

/// Bytes of a name in text.
const LONGEST: usize = 253;
/// Bytes of a label.
const LONGEST_LABEL: usize = 63;
/// Names in a list: resolvers take six (resolv.conf(5)).
const MOST: usize = 32;
/// Labels and pointers that one name is followed through.
const MOST_STEPS: usize = 128;

/// The name in small letters, if it is one.
pub fn checked(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let good = text.len() <= LONGEST && text.split('.').all(label);
    good.then(|| text.to_ascii_lowercase())
}

/// The names in a list; those before the first that is wrong.
pub fn list(bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = 0;
    while at < bytes.len() && names.len() < MOST {
        let Some((name, next)) = one(bytes, at) else {
            break;
        };
        names.extend(checked(&name));
        at = next;
    }
    names
}

/// The name at a place, and where the next one starts.
fn one(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let (mut at, mut next) = (start, None);
    for _ in 0..MOST_STEPS {
        let length = *bytes.get(at)?;
        match length {
            0 => return Some((name, next.unwrap_or(at + 1))),
            1..64 => {
                let label = bytes.get(at + 1..at + 1 + usize::from(length))?;
                if !name.is_empty() {
                    name.push('.');
                }
                // A dot inside a label would be two labels.
                let text = std::str::from_utf8(label).ok()?;
                if text.contains('.') || name.len() + text.len() > LONGEST {
                    return None;
                }
                name.push_str(text);
                at += 1 + usize::from(length);
            }
            192.. => {
                let low = *bytes.get(at + 1)?;
                let to = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                next.get_or_insert(at + 2);
                // Backwards only: no loop.
                if to >= at {
                    return None;
                }
                at = to;
            }
            _ => return None,
        }
    }
    None
}

/// Names as DNS writes them, without pointers.
pub fn write(names: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    for name in names.iter().filter_map(|name| checked(name)) {
        for label in name.split('.') {
            out.push(u8::try_from(label.len()).unwrap_or(0));
            out.extend(label.as_bytes());
        }
        out.push(0);
    }
    out
}
