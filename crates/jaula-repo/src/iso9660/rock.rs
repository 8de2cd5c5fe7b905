//! The System Use Sharing Protocol (IEEE P1281, 1.12) and Rock Ridge (IEEE P1282, 1.12), and zisofs.

use super::error::IsoError;
use super::field::{Both, array, byte, long_date, short_date};
use super::name::MAX_NAME;
use super::source::{Image, ReadAt};

/// Continuation areas of one record; Linux has the same bound.
const MAX_AREAS: u64 = 32;
/// Bytes of all continuation areas of one record.
const MAX_CONTINUED: u64 = 64 << 10;
/// Longest target of a link, in bytes (`PATH_MAX` without the NUL).
const MAX_TARGET: usize = 4095;
/// Names under which Rock Ridge announces itself.
const IDENTIFIERS: [&[u8]; 3] = [b"RRIP_1991A", b"IEEE_P1282", b"IEEE_1282"];

/// `PX`: POSIX attributes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Posix {
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
}

/// `ZF`: how a file is compressed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed {
    /// Bytes of the header before the table of blocks.
    pub header: u64,
    /// Logarithm of a block's bytes.
    pub shift: u8,
    /// Bytes of the file when unpacked.
    pub size: u32,
}

/// All that the fields of one record say.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// `NM`.
    pub name: Option<Vec<u8>>,
    pub posix: Option<Posix>,
    /// `TF`, in seconds from 1970.
    pub mtime: Option<i64>,
    pub atime: Option<i64>,
    pub ctime: Option<i64>,
    /// `SL`.
    pub target: Option<Vec<u8>>,
    /// `PN`: major and minor number.
    pub device: Option<(u32, u32)>,
    /// `CL`: the block of the directory that was moved away from here.
    pub child: Option<u32>,
    /// `RE`: this directory was moved here and is shown elsewhere.
    pub moved: bool,
    pub packed: Option<Packed>,
    /// `SF`: where the field stands.
    pub sparse: Option<u64>,
    /// `ER` of Rock Ridge.
    pub declared: bool,
}

/// The `SP` field of the root's own record: where it stands in the system use field, and how many bytes
/// are to be left out of the other records' (P1281 5.3). It may stand behind 14 bytes of CD-ROM XA.
pub(super) fn start(system_use: &[u8]) -> Option<(usize, usize)> {
    [0usize, 14]
        .into_iter()
        .find_map(|from| match system_use.get(from..)? {
            [b'S', b'P', 7, 1, 0xbe, 0xef, skip, ..] => Some((from, usize::from(*skip))),
            _ => None,
        })
}

/// Reads the fields in `area`, which stands at byte `at`, and in the areas that continue it.
pub(super) fn parse<S: ReadAt>(
    image: &Image<S>,
    block_size: u64,
    area: &[u8],
    at: u64,
) -> Result<Fields, IsoError> {
    let mut fields = Fields::default();
    let mut link = Link::default();
    let mut next = one_area(area, at, &mut fields, &mut link)?;
    let mut areas = 0;
    let mut bytes = 0u64;
    while let Some(Continuation { field_at, at, len }) = next {
        areas += 1;
        if areas > MAX_AREAS {
            return Err(IsoError::Limit {
                at: field_at,
                what: "continuation areas of a record",
                limit: MAX_AREAS,
            });
        }
        let at = at.place(block_size);
        bytes = bytes.saturating_add(u64::from(len));
        if bytes > MAX_CONTINUED {
            return Err(IsoError::Limit {
                at: field_at,
                what: "bytes in continuation areas",
                limit: MAX_CONTINUED,
            });
        }
        let continued = image.bytes(at, len as usize)?;
        next = one_area(&continued, at, &mut fields, &mut link)?;
    }
    fields.target = link.seen.then_some(link.target);
    Ok(fields)
}

/// `CE`: where more fields are.
struct Continuation {
    field_at: u64,
    at: BlockOffset,
    len: u32,
}

struct BlockOffset {
    block: u32,
    offset: u32,
}

impl BlockOffset {
    fn place(&self, block_size: u64) -> u64 {
        u64::from(self.block)
            .saturating_mul(block_size)
            .saturating_add(self.offset.into())
    }
}

fn one_area(
    area: &[u8],
    area_at: u64,
    fields: &mut Fields,
    link: &mut Link,
) -> Result<Option<Continuation>, IsoError> {
    let mut next = None;
    let mut rest = area;
    // P1281 4: fewer than four bytes are padding.
    while rest.len() >= 4 {
        let at = area_at.saturating_add((area.len() - rest.len()) as u64);
        let broken = |what| IsoError::RockRidge { at, what };
        let len = usize::from(byte(rest, 2).unwrap_or(0));
        // Some writers fill up with zeros.
        if rest.iter().all(|b| *b == 0) {
            break;
        }
        if len < 4 {
            return Err(broken("its length is less than 4"));
        }
        let field = rest
            .get(..len)
            .ok_or_else(|| broken("it is longer than the area it stands in"))?;
        rest = rest.get(len..).unwrap_or_default();
        let short = || broken("it is too short");
        let long = |from: usize, what| {
            Both::long(field, from)
                .ok_or_else(short)?
                .value(at.saturating_add(from as u64), what)
        };
        let signature = [byte(field, 0).unwrap_or(0), byte(field, 1).unwrap_or(0)];
        match &signature {
            b"ST" => return Ok(None),
            b"CE" => {
                let block = long(4, "the block of a continuation area")?;
                let offset = long(12, "the offset of a continuation area")?;
                let len = long(20, "the size of a continuation area")?;
                next = Some(Continuation {
                    field_at: at,
                    at: BlockOffset { block, offset },
                    len,
                });
            }
            b"ER" => {
                let id_len = usize::from(byte(field, 4).ok_or_else(short)?);
                let id = field
                    .get(8..8usize.saturating_add(id_len))
                    .ok_or_else(short)?;
                fields.declared |= IDENTIFIERS.contains(&id);
            }
            b"NM" => {
                let flags = byte(field, 4).ok_or_else(short)?;
                // Names of `.`, of `..` and of the host are for others; the record's own name stays.
                if flags & !1 == 0 {
                    let name = fields.name.get_or_insert_default();
                    name.extend_from_slice(field.get(5..).unwrap_or_default());
                    if name.len() > MAX_NAME {
                        return Err(broken("the name is longer than 255 bytes"));
                    }
                }
            }
            b"PX" => {
                fields.posix = Some(Posix {
                    mode: long(4, "a file's mode")?,
                    nlink: long(12, "a file's number of links")?,
                    uid: long(20, "a file's owner")?,
                    gid: long(28, "a file's group")?,
                });
            }
            b"TF" => times(field, fields).ok_or_else(short)?,
            b"SL" => link.add(field).map_err(broken)?,
            b"PN" => {
                let high = long(4, "a device's number")?;
                let low = long(12, "a device's number")?;
                // Linux: writers that keep the whole number in the low half are recognised.
                fields.device = Some(if high == 0 && low > 0xff {
                    (low >> 8, low & 0xff)
                } else {
                    (high, low)
                });
            }
            b"CL" => fields.child = Some(long(4, "the block of a moved directory")?),
            b"RE" => fields.moved = true,
            b"SF" => fields.sparse = Some(at),
            b"ZF" => match field.get(4..6) {
                Some(b"pz") => {
                    let header = byte(field, 6).ok_or_else(short)?;
                    let shift = byte(field, 7).ok_or_else(short)?;
                    let size = long(8, "a compressed file's size")?;
                    if !(12..=17).contains(&shift) || header < 4 {
                        return Err(broken(
                            "its header or its blocks have a size that zisofs does not have",
                        ));
                    }
                    fields.packed = Some(Packed {
                        header: u64::from(header) * 4,
                        shift,
                        size,
                    });
                }
                Some(_) => {
                    return Err(IsoError::Unsupported {
                        at,
                        what: "compression other than zisofs version 1",
                    });
                }
                None => return Err(short()),
            },
            _ => {}
        }
    }
    Ok(next)
}

/// `TF` (P1282 4.1.6). `None` if the field is too short.
fn times(field: &[u8], fields: &mut Fields) -> Option<()> {
    let flags = byte(field, 4)?;
    let size = if flags & 0x80 == 0 { 7 } else { 17 };
    let mut stamps = field.get(5..)?.chunks_exact(size);
    for bit in 0..4u8 {
        if flags & (1 << bit) == 0 {
            continue;
        }
        let raw = stamps.next()?;
        let time = match (array::<7>(raw, 0), array::<17>(raw, 0)) {
            (_, Some(long)) => long_date(long),
            (Some(short), None) => short_date(short),
            (None, None) => return None,
        };
        match bit {
            // As Linux: some writers put the time of change into the time of creation.
            0 => fields.ctime = Some(time),
            1 => fields.mtime = Some(time),
            2 => fields.atime = Some(time),
            _ => fields.ctime = Some(time),
        }
    }
    Some(())
}

/// A link's target while it is put together from `SL` fields (P1282 4.1.3).
#[derive(Default)]
struct Link {
    seen: bool,
    target: Vec<u8>,
    /// A slash is due before the next component.
    slash: bool,
}

impl Link {
    fn add(&mut self, field: &[u8]) -> Result<(), &'static str> {
        self.seen = true;
        let mut rest = field.get(5..).ok_or("it is too short")?;
        while let [flags, len, tail @ ..] = rest {
            let text = tail
                .get(..usize::from(*len))
                .ok_or("a link's component is longer than the field")?;
            rest = tail.get(usize::from(*len)..).unwrap_or_default();
            if self.slash {
                self.target.push(b'/');
            }
            match flags & !1 {
                0 => self.target.extend_from_slice(text),
                2 => self.target.push(b'.'),
                4 => self.target.extend_from_slice(b".."),
                8 => self.target.push(b'/'),
                _ => return Err("a link's component has an unknown flag"),
            }
            self.slash = flags & 9 == 0;
            if self.target.len() > MAX_TARGET {
                return Err("a link's target is longer than 4095 bytes");
            }
        }
        Ok(())
    }
}
