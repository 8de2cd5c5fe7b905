//! A package's header as a database keeps it: counts, entries, and the values that they point at (RPM's V4 format).

use super::{MOST_HEADER, RpmError, big};

pub const NAME: u32 = 1000;
pub const ARCH: u32 = 1022;
const DIRINDEXES: u32 = 1116;
const BASENAMES: u32 = 1117;
const DIRNAMES: u32 = 1118;

const INT32: u32 = 4;
const STRING: u32 = 6;
const STRING_ARRAY: u32 = 8;
/// Bytes of an entry.
const ENTRY: usize = 16;
/// Entries of one header (rpm's HEADER_TAGS_MAX).
const MOST_ENTRIES: usize = 65_535;
/// Files of one package.
const MOST_FILES: usize = 1_000_000;
/// Bytes of all paths of one package.
const MOST_BYTES: usize = 256 << 20;

/// A header.
#[derive(Debug)]
pub struct Header<'a> {
    entries: &'a [u8],
    store: &'a [u8],
}

/// How many bytes a header has whose first eight bytes these are, and how many of them are entries.
pub fn lengths(start: &[u8]) -> Result<(usize, usize), RpmError> {
    let count = |at| big(start, at).and_then(|count| usize::try_from(count).ok());
    let (Some(entries), Some(store)) = (count(0), count(4)) else {
        return Err(RpmError::Damaged("a header is cut off"));
    };
    if entries > MOST_ENTRIES || store > MOST_HEADER {
        return Err(RpmError::TooMuch("bytes of one header"));
    }
    let entries = entries.saturating_mul(ENTRY);
    Ok((entries.saturating_add(store).saturating_add(8), entries))
}

impl<'a> Header<'a> {
    /// Takes a header apart.
    pub fn read(blob: &'a [u8]) -> Result<Self, RpmError> {
        let (whole, entries) = lengths(blob)?;
        let cut = RpmError::Damaged("a header is cut off");
        let Some((entries, store)) = blob
            .get(8..whole)
            .and_then(|it| it.split_at_checked(entries))
        else {
            return Err(cut);
        };
        Ok(Self { entries, store })
    }

    /// The beginning of a header: values may be missing.
    pub fn part(piece: &'a [u8]) -> Result<Self, RpmError> {
        let (_, entries) = lengths(piece)?;
        let parts = piece.get(8..).and_then(|it| it.split_at_checked(entries));
        let (entries, store) = parts.ok_or(RpmError::Damaged("a header is cut off"))?;
        Ok(Self { entries, store })
    }

    /// The values behind a tag: what is stored from there on, and how many there are.
    fn find(&self, tag: u32, kinds: &[u32]) -> Result<Option<(&'a [u8], usize)>, RpmError> {
        let (entries, _) = self.entries.as_chunks::<ENTRY>();
        let entry = entries.iter().find(|entry| big(*entry, 0) == Some(tag));
        let Some(entry) = entry else { return Ok(None) };
        let word = |at| big(entry, at).and_then(|word| usize::try_from(word).ok());
        let kind = big(entry, 4).is_some_and(|kind| kinds.contains(&kind));
        match (kind, word(8).and_then(|at| self.store.get(at..)), word(12)) {
            (true, Some(values), Some(count)) => Ok(Some((values, count))),
            _ => Err(RpmError::Damaged("an entry of a header leads nowhere")),
        }
    }

    /// A text.
    pub fn text(&self, tag: u32) -> Result<Option<&'a [u8]>, RpmError> {
        let found = self.find(tag, &[STRING])?;
        Ok(found.and_then(|(values, _)| values.split(|byte| *byte == 0).next()))
    }

    fn texts(&self, tag: u32) -> Result<Vec<&'a [u8]>, RpmError> {
        let Some((values, count)) = self.find(tag, &[STRING_ARRAY])? else {
            return Ok(Vec::new());
        };
        if count > MOST_FILES {
            return Err(RpmError::TooMuch("files of one package"));
        }
        let texts: Vec<&[u8]> = values.split(|byte| *byte == 0).take(count).collect();
        match texts.len() == count {
            true => Ok(texts),
            false => Err(RpmError::Damaged("a list of a header is cut off")),
        }
    }

    /// The paths.
    pub fn files(&self) -> Result<Vec<Vec<u8>>, RpmError> {
        let (names, dirs) = (self.texts(BASENAMES)?, self.texts(DIRNAMES)?);
        let indices = match self.find(DIRINDEXES, &[INT32])? {
            Some((values, count)) if count == names.len() => values,
            None if names.is_empty() => return Ok(Vec::new()),
            _ => {
                return Err(RpmError::Damaged(
                    "a package has other directories than files",
                ));
            }
        };
        let mut bytes = 0usize;
        let mut files = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let index = big(indices, number.saturating_mul(4));
            let index = index.and_then(|index| usize::try_from(index).ok());
            let Some(dir) = index.and_then(|index| dirs.get(index)) else {
                return Err(RpmError::Damaged("a file has no directory"));
            };
            bytes = bytes.saturating_add(dir.len()).saturating_add(name.len());
            if bytes > MOST_BYTES {
                return Err(RpmError::TooMuch("bytes of paths"));
            }
            files.push([*dir, *name].concat());
        }
        Ok(files)
    }
}
