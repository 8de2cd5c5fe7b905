//! Directory records, ECMA-119 section 9.1.

use super::error::IsoError;
use super::field::{Both, array, byte, short_date};

/// Bytes of a logical sector. Directory records never cross one.
pub(super) const SECTOR: u64 = 2048;
/// Bytes of a record before its name.
const FIXED: usize = 33;

/// 9.1.6: the file is hidden from an ordinary user.
pub(super) const HIDDEN: u8 = 1;
/// 9.1.6: this is a directory.
pub(super) const DIRECTORY: u8 = 2;
/// 9.1.6: associated with another file of the same name (a resource fork).
pub(super) const ASSOCIATED: u8 = 4;
/// 9.1.6: another record with a further part of the file follows.
pub(super) const MORE: u8 = 0x80;

/// Name of a directory's record of itself.
pub(super) const SELF: &[u8] = &[0];
/// Name of a directory's record of its parent.
pub(super) const PARENT: &[u8] = &[1];

/// One directory record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    /// Where it begins in the image.
    pub at: u64,
    /// Logical block of the data, behind the extended attribute record.
    pub block: u64,
    /// Bytes of data.
    pub size: u32,
    /// Seconds from 1970.
    pub mtime: i64,
    /// 9.1.6.
    pub flags: u8,
    /// Written in several pieces with gaps between.
    pub interleaved: bool,
    /// As it stands.
    pub name: &'a [u8],
    /// The system use field.
    pub system_use: &'a [u8],
    /// Where that begins in the image.
    pub system_use_at: u64,
}

/// What the first byte of a record says about where the next one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// No more records in this sector.
    NextSector,
    /// A record of so many bytes.
    Record(u8),
    /// A length that cannot be.
    Broken,
}

/// Looks at the record that begins `bytes`, which end with the sector (or the directory).
pub(super) fn step(bytes: &[u8]) -> Step {
    match bytes.first() {
        None | Some(0) => Step::NextSector,
        Some(n) if usize::from(*n) > FIXED && usize::from(*n) <= bytes.len() => Step::Record(*n),
        Some(_) => Step::Broken,
    }
}

impl<'a> Record<'a> {
    /// Reads the record that begins `bytes`. `at` is where that is in the image.
    pub(super) fn parse(bytes: &'a [u8], at: u64) -> Result<Self, IsoError> {
        let broken = |what| IsoError::Record { at, what };
        let Step::Record(len) = step(bytes) else {
            return Err(broken(
                "its length is less than 34 bytes, or it runs over the end of its sector",
            ));
        };
        let raw = bytes.get(..usize::from(len)).unwrap_or_default();
        let short = || broken("it is too short");
        let block = Both::long(raw, 2)
            .ok_or_else(short)?
            .value(at.saturating_add(2), "the block of a file")?;
        let size = Both::long(raw, 10)
            .ok_or_else(short)?
            .value(at.saturating_add(10), "the size of a file")?;
        let xattr = byte(raw, 1).ok_or_else(short)?;
        let date: [u8; 7] = array(raw, 18).ok_or_else(short)?;
        let flags = byte(raw, 25).ok_or_else(short)?;
        let unit = byte(raw, 26).ok_or_else(short)?;
        let gap = byte(raw, 27).ok_or_else(short)?;
        let name_len = usize::from(byte(raw, 32).ok_or_else(short)?);
        let name_end = FIXED.saturating_add(name_len);
        let name = raw
            .get(FIXED..name_end)
            .ok_or_else(|| broken("its name is longer than the record"))?;
        if name.is_empty() {
            return Err(broken("it has no name"));
        }
        // 9.1.12: a padding byte makes the name's end even.
        let system_use_from = name_end.saturating_add(name_end % 2);
        Ok(Self {
            at,
            block: u64::from(block).saturating_add(u64::from(xattr)),
            size,
            mtime: short_date(date),
            flags,
            interleaved: unit != 0 || gap != 0,
            name,
            system_use: raw.get(system_use_from..).unwrap_or_default(),
            system_use_at: at.saturating_add(system_use_from as u64),
        })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}
