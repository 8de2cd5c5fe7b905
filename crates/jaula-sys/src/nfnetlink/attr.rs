//! Attributes of netlink messages: type, length, bytes, padded to four (netlink(7)). Nested ones are attributes in
//! attributes. What is read comes from the kernel, and is checked all the same.

/// The bit that says that an attribute holds attributes.
const NESTED: u16 = 0x8000;
/// The bits of a type that are not flags.
const TYPE: u16 = 0x3fff;

/// Bytes of a message that is being written.
#[derive(Debug, Default)]
pub struct Writer {
    pub bytes: Vec<u8>,
}

impl Writer {
    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    /// One attribute. Data of 64 KiB and more does not fit: it is cut, and the kernel refuses the message.
    pub fn put(&mut self, kind: u16, data: &[u8]) {
        let length = u16::try_from(data.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes
            .extend(data.iter().take(usize::from(length).saturating_sub(4)));
        self.pad();
    }

    /// A number in network order, as all of nf_tables' are.
    pub fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// A longer number.
    pub fn long(&mut self, kind: u16, value: u64) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Text with its terminator.
    pub fn text(&mut self, kind: u16, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes);
    }

    /// Attributes in an attribute.
    pub fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Writer)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        inside(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        if let Some(head) = self.bytes.get_mut(start..start + 4) {
            head.copy_from_slice(&[length.to_ne_bytes(), (kind | NESTED).to_ne_bytes()].concat());
        }
        self.pad();
    }
}

/// The attributes in `bytes`; ends at the first that does not fit.
pub fn read(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (head, _) = rest.split_at_checked(4)?;
        let [a, b, c, d] = *head else { return None };
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let kind = u16::from_ne_bytes([c, d]) & TYPE;
        let data = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, data))
    })
}

/// The data of the first attribute of a type.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    read(bytes).find(|(k, _)| *k == kind).map(|(_, data)| data)
}

/// A number in network order.
pub fn number(bytes: &[u8], kind: u16) -> Option<u32> {
    Some(u32::from_be_bytes(find(bytes, kind)?.try_into().ok()?))
}

/// A longer number.
pub fn long(bytes: &[u8], kind: u16) -> Option<u64> {
    Some(u64::from_be_bytes(find(bytes, kind)?.try_into().ok()?))
}

/// Text up to its terminator.
pub fn text(bytes: &[u8], kind: u16) -> Option<String> {
    let data = find(bytes, kind)?;
    let end = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    Some(String::from_utf8_lossy(data.get(..end)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.text(1, "jaula");
        writer.nest(2, |inner| {
            inner.number(1, 7);
            inner.long(2, 1 << 40);
        });
        let bytes = writer.bytes;
        assert_eq!(text(&bytes, 1).as_deref(), Some("jaula"));
        let inner = find(&bytes, 2).unwrap();
        assert_eq!(number(inner, 1), Some(7));
        assert_eq!(long(inner, 2), Some(1 << 40));
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        for length in 0..=9u16 {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend([1, 0, 1, 2, 3]);
            let found = read(&bytes).count();
            assert_eq!(found, usize::from((4..=7).contains(&length)), "{length}");
        }
    }
}
