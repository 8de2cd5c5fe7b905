//! The 512 bytes in front of an entry (POSIX ustar, GNU tar manual "Basic Tar Format").

/// Length of a block in bytes.
pub const BLOCK: usize = 512;

/// A header with its numbers read.
pub struct Header<'a> {
    name: &'a [u8],
    prefix: &'a [u8],
    pub link: &'a [u8],
    pub kind: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: i64,
    device: [&'a [u8]; 2],
}

fn field(block: &[u8; BLOCK], at: usize, len: usize) -> &[u8] {
    block.get(at..at + len).unwrap_or_default()
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

impl<'a> Header<'a> {
    pub fn parse(block: &'a [u8; BLOCK]) -> Result<Self, &'static str> {
        let sum_field = field(block, 148, 8);
        let expected = number(sum_field)?;
        let counted = |b: u8, i: usize| if (148..156).contains(&i) { b' ' } else { b };
        let unsigned: u64 = block
            .iter()
            .enumerate()
            .map(|(i, b)| u64::from(counted(*b, i)))
            .sum();
        // Old programs summed signed bytes.
        let signed: i64 = block
            .iter()
            .enumerate()
            .map(|(i, b)| i64::from(counted(*b, i).cast_signed()))
            .sum();
        if expected != i128::from(unsigned) && expected != i128::from(signed) {
            return Err("a header with a wrong checksum");
        }
        let magic = field(block, 257, 8);
        let (posix, gnu) = (magic == b"ustar\x0000", magic == b"ustar  \0");
        // Some writers leave the version out; the prefix is then ustar's all the same.
        let ustar = posix || (magic.starts_with(b"ustar\0") && !gnu);
        let id = |at| {
            u32::try_from(number(field(block, at, 8))?)
                .ok()
                // -1 means "unchanged" to chown(2).
                .filter(|id| *id != u32::MAX)
                .ok_or("an owner or group that is out of range")
        };
        Ok(Self {
            name: text(field(block, 0, 100)),
            prefix: if ustar {
                text(field(block, 345, 155))
            } else {
                &[]
            },
            link: text(field(block, 157, 100)),
            kind: field(block, 156, 1).first().copied().unwrap_or(0),
            mode: u32::try_from(number(field(block, 100, 8))? & 0o7777).unwrap_or(0),
            uid: id(108)?,
            gid: id(116)?,
            size: u64::try_from(number(field(block, 124, 12))?).map_err(|_| "a negative size")?,
            mtime: i64::try_from(number(field(block, 136, 12))?)
                .map_err(|_| "a time that is out of range")?,
            device: if ustar || gnu {
                [field(block, 329, 8), field(block, 337, 8)]
            } else {
                [&[], &[]]
            },
        })
    }

    /// Prefix and name together.
    pub fn path(&self) -> Vec<u8> {
        if self.prefix.is_empty() {
            return self.name.to_vec();
        }
        [self.prefix, b"/", self.name].concat()
    }

    /// Major and minor number.
    pub fn device(&self) -> Result<[u32; 2], &'static str> {
        let read = |field| {
            u32::try_from(number(field)?).map_err(|_| "a device number that is out of range")
        };
        let [major, minor] = self.device;
        Ok([read(major)?, read(minor)?])
    }
}

/// A number: octal digits with blanks before and blanks or NULs behind, or GNU's base 256 when the
/// first byte's highest bit is set. An empty field is 0.
fn number(field: &[u8]) -> Result<i128, &'static str> {
    const BAD: &str = "a field that is not a number";
    let first = field.first().copied().unwrap_or(0);
    if first & 0x80 != 0 {
        // Two's complement with the highest bit as marker: 0x80 positive, 0xff negative. Twelve bytes fit.
        let start: i128 = match first {
            0x80 => 0,
            0xff => -1,
            _ => return Err("a number in base 256 that is out of range"),
        };
        let rest = field.get(1..).unwrap_or_default();
        return Ok(rest.iter().fold(start, |n, b| (n << 8) | i128::from(*b)));
    }
    let digits = field.trim_ascii_start();
    let end = digits
        .iter()
        .position(|b| matches!(b, 0 | b' '))
        .unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if !rest.iter().all(|b| matches!(b, 0 | b' '))
        || !digits.iter().all(|b| matches!(b, b'0'..=b'7'))
    {
        return Err(BAD);
    }
    Ok(digits.iter().fold(0, |n, b| n * 8 + i128::from(b - b'0')))
}
