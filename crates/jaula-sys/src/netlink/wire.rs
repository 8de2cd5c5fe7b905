//! The bytes of netlink(7): messages of a head and attributes, each padded to four bytes. Native byte order.

/// The size of `struct nlmsghdr`.
pub const HEAD: usize = 16;

/// Set on attributes that hold attributes.
const NESTED: u16 = 1 << 15;
/// What of an attribute's type is its number.
const TYPE_MASK: u16 = 0x3fff;

/// Messages being written, one after the other.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// All that was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Begins a message; [`Self::end`] takes what this returns.
    pub fn begin(&mut self, kind: u16, flags: u16, sequence: u32) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        start
    }

    /// Ends a message.
    pub fn end(&mut self, start: usize) {
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        if let Some(place) = self.bytes.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
    }

    /// The fixed part of a message.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    /// An attribute.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(value);
    }

    /// An attribute of one byte.
    pub fn put_u8(&mut self, kind: u16, value: u8) {
        self.put(kind, &[value]);
    }

    /// An attribute of two bytes.
    pub fn put_u16(&mut self, kind: u16, value: u16) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// An attribute of four bytes.
    pub fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// An attribute of text, ended by NUL.
    pub fn put_text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes);
    }

    /// An attribute that holds what `inner` writes.
    pub fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.put(kind | NESTED, &[]);
        inner(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = self.bytes.get_mut(start..start + 2) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

/// A message as it was received.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Its kind: `RTM_…` or `NLMSG_…`.
    pub kind: u16,
    /// `NLM_F_…`
    pub flags: u16,
    /// The number of the request that it answers.
    pub sequence: u32,
    /// What follows the head.
    pub body: &'a [u8],
}

/// The messages of a datagram. Ends at the first that is cut off.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let whole = bytes.get(..length).filter(|whole| whole.len() >= HEAD)?;
        let message = Message {
            kind: u16_at(whole, 4)?,
            flags: u16_at(whole, 6)?,
            sequence: u32_at(whole, 8)?,
            body: whole.get(HEAD..)?,
        };
        bytes = bytes.get(padded(length)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in `bytes`, each a number and a value. Ends at the first that is cut off.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..length)?;
        let kind = u16_at(bytes, 2)? & TYPE_MASK;
        bytes = bytes.get(padded(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// One attribute's value.
pub fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

fn padded(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// Two bytes at an offset.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

/// Four bytes at an offset.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

/// Eight bytes at an offset.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

/// Text that may end in NUL; what is no UTF-8 is replaced.
pub fn text(value: &[u8]) -> String {
    let end = value
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

/// The address in an attribute, by its length.
pub fn ip(value: &[u8]) -> Option<std::net::IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(value) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(value).ok().map(Into::into)
}

/// The bytes of an address, in network order.
pub fn ip_bytes(address: std::net::IpAddr) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(four) => four.octets().to_vec(),
        std::net::IpAddr::V6(six) => six.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut writer = Writer::default();
        for sequence in [1, 2] {
            let start = writer.begin(16, 5, sequence);
            writer.raw(&[7; 6]);
            writer.put_text(3, "eth0");
            writer.nest(18, |writer| {
                writer.put_u16(1, 0x1234);
                writer.put_u8(2, 9);
            });
            writer.end(start);
        }
        let read: Vec<_> = messages(writer.bytes()).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[1].kind, read[1].flags, read[1].sequence), (16, 5, 2));
        let body = read[0].body.get(8..).expect("the fixed part is padded");
        assert_eq!(attribute(body, 3).map(text).as_deref(), Some("eth0"));
        let nested = attribute(body, 18).expect("the nest");
        assert_eq!(
            attribute(nested, 1).and_then(|v| u16_at(v, 0)),
            Some(0x1234)
        );
        assert_eq!(attribute(nested, 2), Some(&[9u8][..]));
        assert_eq!(attribute(nested, 3), None);
    }

    #[test]
    fn garbage_is_read_to_its_end_and_no_further() {
        // Every prefix, and every single byte changed, of a sound message.
        let mut writer = Writer::default();
        let start = writer.begin(16, 0, 1);
        writer.put_u32(4, 1500);
        writer.put_text(3, "eth0");
        writer.end(start);
        let sound = writer.bytes().to_vec();
        for end in 0..sound.len() {
            assert!(messages(&sound[..end]).count() == 0);
            attributes(&sound[..end]).for_each(drop);
        }
        for at in 0..sound.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let mut changed = sound.clone();
                changed[at] = value;
                for message in messages(&changed) {
                    attributes(message.body).for_each(drop);
                }
            }
        }
        // A length of nought would never end.
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[0; 64]).count(), 0);
    }
}
