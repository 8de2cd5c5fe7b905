//! Directories.

use super::Iso;
use super::error::IsoError;
use super::name;
use super::node::{Ino, Node, NodeKind, Part, entry_kind};
use super::record::{ASSOCIATED, DIRECTORY, MORE, PARENT, Record, SECTOR, SELF, Step, step};
use super::source::ReadAt;
use super::volume::Tree;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};

/// Largest directory, in bytes: some 400,000 entries with Rock Ridge.
const MAX_DIRECTORY: u64 = 64 << 20;
/// Bytes read at once.
const CHUNK: u64 = 16 * SECTOR;
/// A directory of more bytes than this is indexed by name when something is looked up in it.
const SMALL: u64 = 2 * SECTOR;
/// Directories whose names are kept.
const KEPT_DIRECTORIES: usize = 16;
/// Names kept in all.
const KEPT_NAMES: usize = 400_000;

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name: 1 to 255 bytes, no slash, no NUL, neither `.` nor `..`. UTF-8 only with Joliet.
    pub name: Vec<u8>,
    /// Its number.
    pub ino: Ino,
    /// What it is.
    pub kind: NodeKind,
    /// Where the next entry is, for [`Iso::read_dir_from`]. Always greater than 0 and growing.
    pub next: u64,
}

/// Iterates over a directory.
#[derive(Debug)]
pub struct ReadDir<'a, S> {
    iso: &'a Iso<S>,
    dir: Part,
    /// Offset in the directory of the next record.
    pos: u64,
    /// Records before this offset are left out.
    from: u64,
    chunk: Vec<u8>,
    chunk_pos: u64,
    /// The name of a file one of whose parts is broken: its other parts are no files.
    cut: Option<Vec<u8>>,
    done: bool,
}

/// An entry's first record, while those of its further parts are passed over.
struct First {
    at: u64,
    raw_name: Vec<u8>,
    entry: Result<Option<Entry>, IsoError>,
}

impl<'a, S: ReadAt> ReadDir<'a, S> {
    pub(super) fn new(iso: &'a Iso<S>, dir: &Node, next: u64) -> Result<Self, IsoError> {
        let at = dir.ino.number();
        let part = match dir.parts.first() {
            Some(part) if dir.is_dir() => *part,
            _ => {
                return Err(IsoError::Kind {
                    at,
                    wanted: "directory",
                });
            }
        };
        if part.len > MAX_DIRECTORY {
            return Err(IsoError::Limit {
                at: part.at,
                what: "bytes in a directory",
                limit: MAX_DIRECTORY,
            });
        }
        iso.image.check(part.at, part.len)?;
        // Begins at the sector: a number from outside must not make it read from inside a record.
        let sector = next - (part.at.saturating_add(next) % SECTOR).min(next);
        Ok(Self {
            iso,
            dir: part,
            pos: sector,
            from: next,
            chunk: Vec::new(),
            chunk_pos: 0,
            cut: None,
            done: false,
        })
    }

    /// The bytes from `pos` to the end of its sector, or of the directory.
    fn sector(&mut self) -> Result<&[u8], IsoError> {
        let inside = |pos: u64, chunk_pos: u64, len: usize| {
            pos >= chunk_pos && pos < chunk_pos.saturating_add(len as u64)
        };
        if !inside(self.pos, self.chunk_pos, self.chunk.len()) {
            let at = self.dir.at.saturating_add(self.pos);
            let end = at.saturating_add(CHUNK) / SECTOR * SECTOR;
            let len = end
                .saturating_sub(at)
                .min(self.dir.len.saturating_sub(self.pos));
            self.chunk = self.iso.image.bytes(at, len as usize)?;
            self.chunk_pos = self.pos;
        }
        let at = self.dir.at.saturating_add(self.pos);
        let to_end = (SECTOR - at % SECTOR).min(self.dir.len.saturating_sub(self.pos));
        let from = self.pos.saturating_sub(self.chunk_pos) as usize;
        let rest = self.chunk.get(from..).unwrap_or_default();
        Ok(rest.get(..to_end as usize).unwrap_or(rest))
    }

    fn next_sector(&mut self) {
        let at = self.dir.at.saturating_add(self.pos);
        self.pos = self.pos.saturating_add(SECTOR - at % SECTOR);
    }

    /// The next entry. `None` in the result: nothing to show there.
    fn advance(&mut self, first: &mut Option<First>) -> Result<Option<Entry>, IsoError> {
        let (iso, dir, pos, from) = (self.iso, self.dir, self.pos, self.from);
        let at = dir.at.saturating_add(pos);
        let bytes = match self.sector() {
            Ok(bytes) => bytes,
            Err(e) => {
                self.done = true;
                return Err(e);
            }
        };
        let len = match step(bytes) {
            Step::Record(len) => u64::from(len),
            Step::NextSector => {
                self.next_sector();
                return Ok(None);
            }
            Step::Broken => {
                let result = Record::parse(bytes, at).map(|_| None);
                self.cut = first.take().map(|f| f.raw_name);
                self.next_sector();
                return result;
            }
        };
        let next = pos.saturating_add(len);
        if pos < from {
            self.pos = next;
            return Ok(None);
        }
        let record = match Record::parse(bytes, at) {
            Ok(record) => record,
            Err(e) => {
                self.cut = first.take().map(|f| f.raw_name);
                self.pos = next;
                return Err(e);
            }
        };
        let begun = match first.take() {
            Some(begun) if begun.raw_name == record.name => begun,
            // The record here belongs to another file and is read again.
            Some(begun) => return Err(begun.no_end()),
            None => First {
                at,
                raw_name: record.name.to_vec(),
                entry: iso.entry(&record),
            },
        };
        let more = record.has(MORE);
        self.pos = next;
        if self.cut.as_ref().is_some_and(|cut| *cut == begun.raw_name) {
            return Ok(None);
        }
        self.cut = None;
        if more {
            *first = Some(begun);
            return Ok(None);
        }
        Ok(begun.entry?.map(|entry| Entry { next, ..entry }))
    }
}

impl First {
    fn no_end(self) -> IsoError {
        IsoError::Record {
            at: self.at,
            what: "the last part of the file is missing",
        }
    }
}

impl<S: ReadAt> Iterator for ReadDir<'_, S> {
    type Item = Result<Entry, IsoError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut first = None;
        while !self.done && self.pos < self.dir.len {
            match self.advance(&mut first) {
                Ok(Some(entry)) => return Some(Ok(entry)),
                Ok(None) => {}
                Err(e) => return Some(Err(e)),
            }
        }
        self.done = true;
        first.map(|f| Err(f.no_end()))
    }
}

/// Names of directories that were looked into, newest last.
#[derive(Debug, Default)]
pub(super) struct Names {
    kept: VecDeque<(Ino, Arc<Index>)>,
}

/// The names of one directory.
#[derive(Debug, Default)]
struct Index {
    exact: HashMap<Vec<u8>, Ino>,
    folded: HashMap<Vec<u8>, Ino>,
}

impl Index {
    fn len(&self) -> usize {
        self.exact.len().saturating_add(self.folded.len())
    }
}

/// Without case and, as Joliet has it, without dots at the end.
fn fold(name: &[u8]) -> Vec<u8> {
    let mut folded = name.to_ascii_lowercase();
    while folded.len() > 1 && folded.last() == Some(&b'.') {
        folded.pop();
    }
    folded
}

/// Whether the source failed, not just one entry: then a name may be there that was not seen.
fn at_source(e: &IsoError) -> bool {
    matches!(e, IsoError::Read { .. })
}

impl<S: ReadAt> Iso<S> {
    /// The entry of one record; `None` for what is not shown.
    fn entry(&self, record: &Record<'_>) -> Result<Option<Entry>, IsoError> {
        if record.name == SELF || record.name == PARENT || record.has(ASSOCIATED) {
            return Ok(None);
        }
        let at = record.at;
        let fields = self.fields(record, false)?;
        if fields.moved {
            return Ok(None);
        }
        let kind = entry_kind(record, &fields)?;
        let ino = match fields.child {
            Some(block) => self.directory_ino(block.into())?,
            None if record.has(DIRECTORY) => self.directory_ino(record.block)?,
            None => Ino::at(at),
        };
        let name = match fields.name {
            Some(name) if !name.is_empty() => name,
            _ if self.volume.tree == Tree::Joliet => name::joliet(record.name),
            _ => name::plain(record.name),
        };
        name::check(&name, at)?;
        Ok(Some(Entry {
            name,
            ino,
            kind,
            next: 0,
        }))
    }

    /// The number of the entry with this name; the first, if several have it.
    pub(super) fn find(&self, dir: &Node, name: &[u8]) -> Result<Option<Ino>, IsoError> {
        let entries = self.read_dir(dir)?;
        let any_case = self.volume.tree != Tree::RockRidge;
        let index = if dir.size > SMALL {
            self.index(dir, any_case)?
        } else {
            None
        };
        if let Some(index) = index {
            let exact = index.exact.get(name).copied();
            return Ok(exact.or_else(|| {
                any_case
                    .then(|| index.folded.get(&fold(name)).copied())
                    .flatten()
            }));
        }
        let wanted = fold(name);
        let mut close = None;
        for entry in entries {
            match entry {
                Ok(entry) if entry.name == name => return Ok(Some(entry.ino)),
                Ok(entry) if any_case && close.is_none() && fold(&entry.name) == wanted => {
                    close = Some(entry.ino)
                }
                Err(e) if at_source(&e) => return Err(e),
                _ => {}
            }
        }
        Ok(close)
    }

    /// The names of a directory; `None` if they are too many to keep.
    fn index(&self, dir: &Node, any_case: bool) -> Result<Option<Arc<Index>>, IsoError> {
        {
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, index)) = names.kept.iter().find(|(ino, _)| *ino == dir.ino) {
                return Ok(Some(Arc::clone(index)));
            }
        }
        let mut index = Index::default();
        for entry in self.read_dir(dir)? {
            if index.len() > KEPT_NAMES {
                return Ok(None);
            }
            match entry {
                Ok(entry) => {
                    if any_case {
                        index.folded.entry(fold(&entry.name)).or_insert(entry.ino);
                    }
                    index.exact.entry(entry.name).or_insert(entry.ino);
                }
                Err(e) if at_source(&e) => return Err(e),
                Err(_) => {}
            }
        }
        let index = Arc::new(index);
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.kept.push_back((dir.ino, Arc::clone(&index)));
        while names.kept.len() > KEPT_DIRECTORIES
            || names.kept.iter().map(|(_, i)| i.len()).sum::<usize>() > KEPT_NAMES
        {
            names.kept.pop_front();
        }
        Ok(Some(index))
    }
}
