//! rpm's own database, `Packages.db`: slots that lead to blobs, one a package (lib/backend/ndb/rpmpkg.c of rpm).

use super::header::{self, Header};
use super::{MOST_HEADER, MOST_SAME, RpmError, read_exact};
use crate::disk::ReadAt;

const PAGE: u64 = 4096;
const SLOT: usize = 16;
/// What the first page begins with instead of slots, in slots.
const HEAD: u64 = 2;
/// Slots stand in blocks of this many bytes.
const BLOCK: u64 = 16;
/// Pages of slots: a million packages.
const MOST_PAGES: u32 = 4096;

/// The database.
#[derive(Debug)]
pub struct Ndb<D: ReadAt> {
    data: D,
    pages: u32,
}

fn little(bytes: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    Some(u32::from_le_bytes(bytes.get(at..end)?.try_into().ok()?))
}

impl<D: ReadAt> Ndb<D> {
    pub fn open(data: D) -> Result<Self, RpmError> {
        let mut start = [0; 16];
        read_exact(&data, 0, &mut start)?;
        let pages = little(&start, 12).unwrap_or_default();
        if little(&start, 4) != Some(0) {
            return Err(RpmError::Unknown);
        }
        match pages <= MOST_PAGES {
            true => Ok(Self { data, pages }),
            false => Err(RpmError::TooMuch("packages")),
        }
    }

    /// The headers of packages of this name.
    pub fn headers(&self, name: &[u8]) -> Result<Vec<Vec<u8>>, RpmError> {
        let mut found = Vec::new();
        let mut page = [0; PAGE as usize];
        for number in 0..self.pages {
            read_exact(
                &self.data,
                u64::from(number).saturating_mul(PAGE),
                &mut page,
            )?;
            let (slots, _) = page.as_chunks::<SLOT>();
            let skipped = if number == 0 { HEAD as usize } else { 0 };
            for slot in slots.iter().skip(skipped) {
                if !slot.starts_with(b"Slot") {
                    return Err(RpmError::Damaged("a slot is none"));
                }
                let package = little(slot, 4).unwrap_or_default();
                match little(slot, 8).unwrap_or_default() {
                    // Free.
                    0 => {}
                    block => found.extend(self.one(package, block, name)?),
                }
                if found.len() > MOST_SAME {
                    return Err(RpmError::TooMuch("packages of one name"));
                }
            }
        }
        Ok(found)
    }

    /// A package's header, when it has the name. Of others only a piece is read.
    fn one(&self, package: u32, block: u32, name: &[u8]) -> Result<Option<Vec<u8>>, RpmError> {
        let at = u64::from(block).saturating_mul(BLOCK);
        let mut start = [0; 24];
        read_exact(&self.data, at, &mut start)?;
        let length = little(&start, 12).and_then(|length| usize::try_from(length).ok());
        let length = length.unwrap_or(usize::MAX);
        if !start.starts_with(b"BlbS") || little(&start, 4) != Some(package) {
            return Err(RpmError::Damaged("a slot leads to no package"));
        }
        if length > MOST_HEADER {
            return Err(RpmError::TooMuch("bytes of one header"));
        }
        let (whole, entries) = header::lengths(start.get(16..).unwrap_or_default())?;
        if whole > length {
            return Err(RpmError::Damaged("a header is longer than its place"));
        }
        // The name stands at the beginning of what is stored.
        let near = entries.saturating_add(8).saturating_add(4096).min(whole);
        let mut piece = vec![0; near];
        read_exact(&self.data, at.saturating_add(16), &mut piece)?;
        let is = Header::part(&piece)?.text(header::NAME)?;
        if is.is_some_and(|is| is != name) {
            return Ok(None);
        }
        piece.resize(whole, 0);
        let rest = piece.get_mut(near..).unwrap_or_default();
        let after = at.saturating_add(16).saturating_add(near as u64);
        read_exact(&self.data, after, rest)?;
        Ok(Some(piece))
    }
}
