//! What a program or a shared library says of what it needs: the interpreter and the dynamic section (elf(5),
//! ld.so(8)). Nothing of the file is executed; every offset, size and count in it is an enemy's.

use super::{Identity, NEEDED};
use crate::iso9660::ReadAt;
use std::io;

/// Program headers; Linux itself refuses more than 64 KiB of them.
const MOST_HEADERS: u16 = 1024;
/// Entries of the dynamic section; large libraries have some forty besides one for each needed library.
const MOST_ENTRIES: usize = 4096;
/// The longest text: a path of the kernel's length.
const MOST_TEXT: usize = 4096;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;

/// Bytes of all notes of one file that are looked at.
const MOST_NOTES: usize = 256 << 10;
/// What is said in notes of later loading (systemd.io/ELF_DLOPEN_METADATA): owner and type.
const LATER: (&[u8], u32) = (b"FDO\0", 0x407c_0c0a);

/// What one file needs, its texts as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dynamic {
    /// The machine it is for.
    pub identity: Identity,
    /// PT_INTERP: the program that loads it; none for a library or a static program.
    pub interpreter: Option<Vec<u8>>,
    /// DT_NEEDED, in their order.
    pub needed: Vec<Vec<u8>>,
    /// DT_SONAME: the name it is known by once it is loaded.
    pub soname: Option<Vec<u8>>,
    /// DT_RPATH, its directories still joined by colons.
    pub rpath: Option<Vec<u8>>,
    /// DT_RUNPATH, the same.
    pub runpath: Option<Vec<u8>>,
    /// `.note.dlopen`: texts of JSON that say what is loaded later by dlopen(3).
    pub later: Vec<Vec<u8>>,
}

/// Why a file cannot be read so.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Reading its bytes.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// It does not begin as ELF does.
    #[error("it is no ELF file")]
    NotElf,
    /// An object file, a core.
    #[error("it is an ELF file, but neither a program nor a shared library (type {0})")]
    Type(u16),
    /// It ends too early, or an offset leads out of it.
    #[error("its {0} is cut off, or lies outside of the file")]
    Cut(&'static str),
    /// More than anything real has.
    #[error("it has too many or too long {0}")]
    TooMuch(&'static str),
}

/// One program header, as far as it matters.
#[derive(Clone, Copy)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

struct Reader<'a> {
    bytes: &'a dyn ReadAt,
    identity: Identity,
}

impl Dynamic {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is no program or library, or damaged.
    pub fn read(bytes: &dyn ReadAt) -> Result<Self, ElfError> {
        let mut start = [0u8; NEEDED];
        fill(bytes, 0, &mut start).map_err(|error| match error {
            ElfError::Cut(_) => ElfError::NotElf,
            error => error,
        })?;
        let identity = Identity::read(&start).ok_or(ElfError::NotElf)?;
        let reader = Reader { bytes, identity };
        let kind = reader.half(16, "header")?;
        if kind != 2 && kind != 3 {
            return Err(ElfError::Type(kind));
        }
        let segments = reader.segments()?;
        let mut found = Self {
            identity,
            interpreter: None,
            needed: Vec::new(),
            soname: None,
            rpath: None,
            runpath: None,
            later: Vec::new(),
        };
        if let Some(segment) = segments.iter().find(|segment| segment.kind == PT_INTERP) {
            let length = usize::try_from(segment.size)
                .ok()
                .filter(|length| *length <= MOST_TEXT)
                .ok_or(ElfError::TooMuch("interpreter's name"))?;
            let mut text = vec![0; length];
            fill(bytes, segment.offset, &mut text).map_err(cut("interpreter's name"))?;
            let end = text.iter().position(|byte| *byte == 0);
            text.truncate(end.ok_or(ElfError::Cut("interpreter's name"))?);
            found.interpreter = Some(text);
        }
        if let Some(segment) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) {
            reader.dynamic(segment, &segments, &mut found)?;
        }
        let mut left = MOST_NOTES;
        for segment in segments.iter().filter(|segment| segment.kind == PT_NOTE) {
            reader.notes(segment, &mut left, &mut found.later)?;
        }
        Ok(found)
    }
}

impl Reader<'_> {
    fn half(&self, offset: u64, what: &'static str) -> Result<u16, ElfError> {
        let mut bytes = [0; 2];
        fill(self.bytes, offset, &mut bytes).map_err(cut(what))?;
        Ok(if self.identity.little_endian {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    }

    fn word(&self, offset: u64, what: &'static str) -> Result<u32, ElfError> {
        let mut bytes = [0; 4];
        fill(self.bytes, offset, &mut bytes).map_err(cut(what))?;
        Ok(if self.identity.little_endian {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    }

    /// A number as wide as the machine's addresses.
    fn wide(&self, offset: u64, what: &'static str) -> Result<u64, ElfError> {
        if !self.identity.wide {
            return self.word(offset, what).map(u64::from);
        }
        let mut bytes = [0; 8];
        fill(self.bytes, offset, &mut bytes).map_err(cut(what))?;
        Ok(if self.identity.little_endian {
            u64::from_le_bytes(bytes)
        } else {
            u64::from_be_bytes(bytes)
        })
    }

    fn segments(&self) -> Result<Vec<Segment>, ElfError> {
        const WHAT: &str = "program header";
        // Elf64_Ehdr and Elf64_Phdr, then their 32-bit forms.
        let (table, size_at, count_at, least, fields) = match self.identity.wide {
            true => (32, 54, 56, 56, [8, 16, 32]),
            false => (28, 42, 44, 32, [4, 8, 16]),
        };
        let table = self.wide(table, "header")?;
        let size = self.half(size_at, "header")?;
        let count = self.half(count_at, "header")?;
        if count > MOST_HEADERS {
            return Err(ElfError::TooMuch("program headers"));
        }
        if count > 0 && size < least {
            return Err(ElfError::Cut(WHAT));
        }
        let [offset, address, length] = fields;
        let mut segments = Vec::new();
        for number in 0..u64::from(count) {
            let at = |field: u64| {
                number
                    .checked_mul(u64::from(size))
                    .and_then(|skipped| table.checked_add(skipped)?.checked_add(field))
                    .ok_or(ElfError::Cut(WHAT))
            };
            segments.push(Segment {
                kind: self.word(at(0)?, WHAT)?,
                offset: self.wide(at(offset)?, WHAT)?,
                address: self.wide(at(address)?, WHAT)?,
                size: self.wide(at(length)?, WHAT)?,
            });
        }
        Ok(segments)
    }

    fn dynamic(
        &self,
        section: &Segment,
        segments: &[Segment],
        found: &mut Dynamic,
    ) -> Result<(), ElfError> {
        const WHAT: &str = "dynamic section";
        let half: u64 = if self.identity.wide { 8 } else { 4 };
        let size = half.saturating_mul(2);
        let count = section.size.checked_div(size).unwrap_or_default();
        let mut entries = Vec::new();
        for number in 0..count {
            let at = number
                .checked_mul(size)
                .and_then(|skipped| section.offset.checked_add(skipped))
                .ok_or(ElfError::Cut(WHAT))?;
            let tag = self.wide(at, WHAT)?;
            if tag == 0 {
                break;
            }
            if entries.len() >= MOST_ENTRIES {
                return Err(ElfError::TooMuch("entries of the dynamic section"));
            }
            let value = at.checked_add(half).ok_or(ElfError::Cut(WHAT))?;
            entries.push((tag, self.wide(value, WHAT)?));
        }
        let value = |wanted: u64| {
            let entry = entries.iter().rev().find(|(tag, _)| *tag == wanted);
            entry.map(|(_, value)| *value)
        };
        // DT_STRTAB and DT_STRSZ.
        let strings = value(5)
            .and_then(|address| file_offset(segments, address))
            .zip(value(10));
        let text = |value: u64| self.text(strings, value);
        for (_, value) in entries.iter().filter(|(tag, _)| *tag == 1) {
            found.needed.push(text(*value)?);
        }
        found.soname = value(14).map(text).transpose()?;
        found.rpath = value(15).map(text).transpose()?;
        found.runpath = value(29).map(text).transpose()?;
        Ok(())
    }

    /// Notes of later loading. What is not understood ends the search and is no error: nothing depends on it.
    fn notes(
        &self,
        segment: &Segment,
        left: &mut usize,
        found: &mut Vec<Vec<u8>>,
    ) -> Result<(), ElfError> {
        let room = usize::try_from(segment.size).unwrap_or(*left).min(*left);
        *left = left.saturating_sub(room);
        let mut bytes = vec![0; room];
        let read = read_some(self.bytes, segment.offset, &mut bytes)?;
        bytes.truncate(read);
        let mut rest = bytes.as_slice();
        while let Some((head, after)) = rest.split_at_checked(12) {
            let number = |at: usize| {
                let four = head.get(at..).and_then(|part| part.first_chunk::<4>());
                let four = four.copied().unwrap_or_default();
                match self.identity.little_endian {
                    true => u32::from_le_bytes(four),
                    false => u32::from_be_bytes(four),
                }
            };
            let rounded = |size: u32| usize::try_from(size.checked_next_multiple_of(4)?).ok();
            let parts = rounded(number(0)).zip(rounded(number(4)));
            let Some((name, text)) = parts.and_then(|(name_room, text_room)| {
                let (name, after) = after.split_at_checked(name_room)?;
                let (text, after) = after.split_at_checked(text_room)?;
                rest = after;
                Some((name, text))
            }) else {
                break;
            };
            if name == LATER.0 && number(8) == LATER.1 {
                let end = text.iter().position(|byte| *byte == 0);
                let text = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
                found.push(text.to_vec());
            }
        }
        Ok(())
    }

    /// The text at a place of the table of strings.
    fn text(&self, table: Option<(u64, u64)>, at: u64) -> Result<Vec<u8>, ElfError> {
        const WHAT: &str = "table of strings";
        let (start, size) = table.ok_or(ElfError::Cut(WHAT))?;
        let left = size.checked_sub(at).ok_or(ElfError::Cut(WHAT))?;
        let start = start.checked_add(at).ok_or(ElfError::Cut(WHAT))?;
        let room = usize::try_from(left).unwrap_or(MOST_TEXT).min(MOST_TEXT);
        let mut text = vec![0; room];
        let read = read_some(self.bytes, start, &mut text)?;
        text.truncate(read);
        match text.iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.truncate(end);
                // Thousands are kept, and most are short.
                text.shrink_to_fit();
                Ok(text)
            }
            None if read == MOST_TEXT => Err(ElfError::TooMuch("names")),
            None => Err(ElfError::Cut(WHAT)),
        }
    }
}

/// Where in the file an address of the loaded program is.
fn file_offset(segments: &[Segment], address: u64) -> Option<u64> {
    segments
        .iter()
        .filter(|segment| segment.kind == PT_LOAD)
        .find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            (inside < segment.size).then(|| segment.offset.checked_add(inside))?
        })
}

fn cut(what: &'static str) -> impl Fn(ElfError) -> ElfError {
    move |error| match error {
        ElfError::Cut(_) => ElfError::Cut(what),
        error => error,
    }
}

fn read_some(bytes: &dyn ReadAt, offset: u64, into: &mut [u8]) -> Result<usize, ElfError> {
    let mut done = 0usize;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = u64::try_from(done)
            .ok()
            .and_then(|done| offset.checked_add(done));
        let Some(at) = at else { break };
        match bytes.read_at(at, rest).map_err(ElfError::Read)? {
            0 => break,
            read => done = done.saturating_add(read),
        }
    }
    Ok(done)
}

fn fill(bytes: &dyn ReadAt, offset: u64, into: &mut [u8]) -> Result<(), ElfError> {
    let wanted = into.len();
    match read_some(bytes, offset, into)? == wanted {
        true => Ok(()),
        false => Err(ElfError::Cut("content")),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
