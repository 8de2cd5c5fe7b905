//! Volume descriptors, ECMA-119 section 8, and Joliet's.

use super::error::IsoError;
use super::field::{Both, byte};
use super::record::{DIRECTORY, Record, SECTOR};
use super::source::{Image, ReadAt};

/// Which of the image's trees is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// The primary tree with Rock Ridge: names as written, modes, owners, links.
    RockRidge,
    /// The Joliet tree: Unicode names, no modes.
    Joliet,
    /// The primary tree alone: short upper-case names, shown in lower case.
    Plain,
}

/// What the image says of itself as a whole.
#[derive(Debug, Clone)]
pub struct Volume {
    /// The volume's name, without padding; control characters are replaced.
    pub label: String,
    /// Bytes of a logical block: 512, 1024 or 2048.
    pub block_size: u32,
    /// Logical blocks.
    pub blocks: u32,
    /// Which tree is shown.
    pub tree: Tree,
    /// Bytes the volume claims to have behind the image's end: not 0 for an image that is cut off.
    pub missing: u64,
}

/// The parts of a primary or Joliet descriptor that matter.
#[derive(Debug, Clone)]
pub(super) struct Descriptor {
    pub label: String,
    pub block_size: u32,
    pub blocks: u32,
    pub root_block: u64,
}

/// The descriptors of an image.
#[derive(Debug)]
pub(super) struct Descriptors {
    pub primary: Option<Descriptor>,
    pub joliet: Option<Descriptor>,
}

/// 8.1: the first descriptor's sector.
const FIRST: u64 = 16;
/// Linux looks no further than this sector.
const LAST: u64 = 100;

impl Descriptors {
    /// Reads the descriptor set as Linux does without `session=`: from sector 16 (further sessions are
    /// not looked for), the first primary descriptor counts, and the search ends at the first Joliet one.
    pub(super) fn read<S: ReadAt>(image: &Image<S>) -> Result<Self, IsoError> {
        let mut found = Self {
            primary: None,
            joliet: None,
        };
        if image.check(FIRST * SECTOR, SECTOR).is_err() {
            return Err(IsoError::NotIso {
                what: "it is shorter than 17 sectors",
            });
        }
        for sector in FIRST..LAST {
            let at = sector * SECTOR;
            if sector > FIRST && image.check(at, SECTOR).is_err() {
                return Err(IsoError::Descriptor {
                    at,
                    what: "the image ends before the last descriptor",
                });
            }
            let raw = image.bytes(at, SECTOR as usize)?;
            if raw.get(1..6) != Some(b"CD001") {
                if raw.get(9..14) == Some(b"CDROM") {
                    return Err(IsoError::Unsupported {
                        at,
                        what: "the High Sierra format",
                    });
                }
                continue;
            }
            match byte(&raw, 0) {
                Some(255) => break,
                Some(1) if found.primary.is_none() => {
                    if byte(&raw, 6) != Some(1) {
                        return Err(IsoError::Descriptor {
                            at,
                            what: "its version is not 1",
                        });
                    }
                    found.primary = Some(Descriptor::parse(&raw, at, false)?);
                }
                // Joliet: escape sequences of UCS-2 level 1, 2 or 3.
                Some(2) if matches!(raw.get(88..91), Some([0x25, 0x2f, 0x40 | 0x43 | 0x45])) => {
                    found.joliet = Some(Descriptor::parse(&raw, at, true)?);
                    break;
                }
                _ => {}
            }
        }
        if found.primary.is_none() && found.joliet.is_none() {
            return Err(IsoError::NotIso {
                what: "it has no volume descriptor `CD001`",
            });
        }
        Ok(found)
    }
}

impl Descriptor {
    fn parse(raw: &[u8], at: u64, unicode: bool) -> Result<Self, IsoError> {
        let short = || IsoError::Descriptor {
            at,
            what: "it is too short",
        };
        let place = |n: u64| at.saturating_add(n);
        let blocks = Both::long(raw, 80)
            .ok_or_else(short)?
            .value(place(80), "the size of the volume")?;
        let block_size = Both::short(raw, 128)
            .ok_or_else(short)?
            .value(place(128), "the size of a block")?;
        if !matches!(block_size, 512 | 1024 | 2048) {
            return Err(IsoError::Descriptor {
                at,
                what: "its blocks have not 512, 1024 or 2048 bytes",
            });
        }
        let root = Record::parse(raw.get(156..190).ok_or_else(short)?, place(156))?;
        if !root.has(DIRECTORY) {
            return Err(IsoError::Descriptor {
                at,
                what: "its root is not a directory",
            });
        }
        let label = raw.get(40..72).ok_or_else(short)?;
        Ok(Self {
            label: label_text(label, unicode),
            block_size,
            blocks,
            root_block: root.block,
        })
    }
}

/// The label is shown on terminals: nothing in it may steer one.
fn label_text(raw: &[u8], unicode: bool) -> String {
    let text = if unicode {
        let units = raw.chunks_exact(2).map(|c| match c {
            [a, b] => u16::from_be_bytes([*a, *b]),
            _ => 0,
        });
        char::decode_utf16(units)
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    } else {
        String::from_utf8_lossy(raw).into_owned()
    };
    text.trim_end_matches([' ', '\0'])
        .chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}
