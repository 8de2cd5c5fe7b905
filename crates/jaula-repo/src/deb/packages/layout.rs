//! The binary form of an index: one block of bytes that means the same wherever it is loaded.
//!
//! All numbers are little-endian.
//!
//! ```text
//! header     64 bytes (below)
//! strings    each: length as u16 (0xFFFF: a u32 with the length follows), then UTF-8
//! records    one a package, RECORD bytes, in the order of the index
//! by name    one u32 a package: package numbers, ordered by name
//! provides   one entry of PROVIDE bytes each, ordered by name: name, package, version (0: none)
//! ```
//!
//! A string is named by the offset of its length from the start of the block; offset 0 is the empty
//! string, for the header is there.

use super::IndexError;

pub(super) const MAGIC: [u8; 8] = *b"JAULAPKG";
/// Raised whenever the meaning of the bytes changes; another number is refused, never converted.
pub(super) const FORMAT: u32 = 2;
pub(super) const HEADER: usize = 64;
pub(super) const RECORD: usize = 112;
pub(super) const PROVIDE: usize = 12;
/// A block longer than this is refused: offsets are u32, and no real index comes near.
pub(super) const MAX_BLOCK: usize = 1 << 30;

/// The strings of a record, by their place in it.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(super) enum Text {
    Name,
    Version,
    Architecture,
    Section,
    Source,
    Filename,
    PreDepends,
    Depends,
    Recommends,
    Conflicts,
    Breaks,
    Replaces,
    Provides,
    Suggests,
    Task,
}

pub(super) const TEXTS: usize = 15;
pub(super) const SIZE_AT: usize = TEXTS * 4;
pub(super) const INSTALLED_AT: usize = SIZE_AT + 8;
pub(super) const SHA256_AT: usize = INSTALLED_AT + 8;
pub(super) const MULTI_ARCH_AT: usize = SHA256_AT + 32;
pub(super) const PRIORITY_AT: usize = MULTI_ARCH_AT + 1;
pub(super) const FLAGS_AT: usize = PRIORITY_AT + 1;
const _: () = assert!(FLAGS_AT + 2 == RECORD);

pub(super) const FLAG_ESSENTIAL: u8 = 1;
pub(super) const FLAG_PROTECTED: u8 = 2;

/// Where the parts of a block are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    pub packages: u32,
    pub provides: u32,
    pub strings_end: usize,
}

impl Parts {
    pub fn records_at(&self) -> usize {
        self.strings_end
    }
    pub fn names_at(&self) -> usize {
        self.records_at()
            .saturating_add((self.packages as usize).saturating_mul(RECORD))
    }
    pub fn provides_at(&self) -> usize {
        self.names_at()
            .saturating_add((self.packages as usize).saturating_mul(4))
    }
    pub fn end(&self) -> usize {
        self.provides_at()
            .saturating_add((self.provides as usize).saturating_mul(PROVIDE))
    }

    /// The header for a finished block; `block` still has an empty one.
    pub fn seal(&self, block: &mut [u8]) {
        let body = checksum(block.get(HEADER..).unwrap_or_default());
        let mut header = [0u8; HEADER];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(slot) = header.get_mut(at..at + bytes.len()) {
                slot.copy_from_slice(bytes);
            }
            at += bytes.len();
        };
        put(&MAGIC);
        put(&FORMAT.to_le_bytes());
        put(&self.packages.to_le_bytes());
        put(&self.provides.to_le_bytes());
        put(&u32::try_from(self.strings_end)
            .unwrap_or(u32::MAX)
            .to_le_bytes());
        put(&body.to_le_bytes());
        let own = checksum(header.get(..32).unwrap_or_default());
        if let Some(slot) = header.get_mut(32..40) {
            slot.copy_from_slice(&own.to_le_bytes());
        }
        if let Some(slot) = block.get_mut(..HEADER) {
            slot.copy_from_slice(&header);
        }
    }

    /// Checks a block's header, checksums and sizes.
    pub fn open(block: &[u8]) -> Result<Self, IndexError> {
        let bad = |what| IndexError::Cache { what };
        let header = block.get(..HEADER).ok_or(bad("shorter than its header"))?;
        if header.get(..8) != Some(&MAGIC) {
            return Err(bad("not a parsed index"));
        }
        if u32_at(header, 8) != FORMAT {
            return Err(bad("another format version"));
        }
        if checksum(header.get(..32).unwrap_or_default()) != u64_at(header, 32) {
            return Err(bad("wrong checksum of the header"));
        }
        if header
            .get(40..)
            .is_none_or(|rest| rest.iter().any(|b| *b != 0))
        {
            return Err(bad("reserved bytes in use"));
        }
        let parts = Self {
            packages: u32_at(header, 12),
            provides: u32_at(header, 16),
            strings_end: u32_at(header, 20) as usize,
        };
        if parts.strings_end < HEADER || parts.end() != block.len() || block.len() > MAX_BLOCK {
            return Err(bad("sizes that do not fit"));
        }
        if checksum(block.get(HEADER..).unwrap_or_default()) != u64_at(header, 24) {
            return Err(bad("wrong checksum"));
        }
        Ok(parts)
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .copied()
        .map_or(0, u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .copied()
        .map_or(0, u64::from_le_bytes)
}

/// The bytes of the string at `at`, if they lie before `strings_end`.
pub(super) fn string_at(block: &[u8], strings_end: usize, at: u32) -> Option<&[u8]> {
    if at == 0 {
        return Some(&[]);
    }
    let at = at as usize;
    if at < HEADER {
        return None;
    }
    let strings = block.get(..strings_end)?;
    let short = u16::from_le_bytes(*strings.get(at..)?.first_chunk()?);
    let (start, len) = if short == u16::MAX {
        (
            at.checked_add(6)?,
            u32::from_le_bytes(*strings.get(at.checked_add(2)?..)?.first_chunk()?) as usize,
        )
    } else {
        (at.checked_add(2)?, usize::from(short))
    };
    strings.get(start..start.checked_add(len)?)
}

/// A fast checksum against damage on disk (not against an attacker: the cache is the caller's own).
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    const K: [u64; 4] = [
        0x9E37_79B9_7F4A_7C15,
        0xC2B2_AE3D_27D4_EB4F,
        0x1656_67B1_9E37_79F9,
        0x8522_2325_CBF2_9CE5,
    ];
    let mut lanes = K;
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for ((lane, word), k) in lanes.iter_mut().zip(words).zip(K) {
            *lane = (*lane ^ u64::from_le_bytes(*word))
                .wrapping_mul(k)
                .rotate_left(29);
        }
    }
    let mut sum = (bytes.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for word in lanes.into_iter().chain(rest.iter().map(|b| u64::from(*b))) {
        sum = (sum ^ word).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        sum ^= sum >> 33;
    }
    sum
}
