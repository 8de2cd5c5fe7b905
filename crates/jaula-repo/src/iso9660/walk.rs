//! A walk through the whole tree.

use super::Iso;
use super::dir::{Entry, ReadDir};
use super::error::IsoError;
use super::node::{Ino, Node};
use super::source::ReadAt;
use std::collections::HashSet;

/// Longest path, in bytes (`PATH_MAX` without the NUL).
const MAX_PATH: usize = 4095;

/// Bounds of a walk.
#[derive(Debug, Clone, Copy)]
pub struct WalkLimits {
    /// Most entries, broken ones included.
    pub entries: u64,
    /// Deepest nesting; the root's entries have depth 1.
    pub depth: usize,
    /// Largest sum of all files' sizes (unpacked), in bytes. Files may overlap in the image, so the sum
    /// can be far more than the image has.
    pub bytes: u64,
}

impl Default for WalkLimits {
    /// Two million entries, 256 levels, 1 TiB.
    fn default() -> Self {
        Self {
            entries: 2_000_000,
            depth: 256,
            bytes: 1 << 40,
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its path below the root: names joined by single slashes, at most 4095 bytes, no `.` or `..`.
    pub path: Vec<u8>,
    /// What it is.
    pub node: Node,
}

/// Something that cannot be shown.
#[derive(Debug, thiserror::Error)]
#[error("{}: left out", String::from_utf8_lossy(path).escape_debug())]
pub struct Skipped {
    /// Its path, or that of the directory it is in if it has no name.
    pub path: Vec<u8>,
    /// Why.
    #[source]
    pub error: IsoError,
    /// The walk ends here: a bound is passed, and what follows is not known.
    pub last: bool,
}

/// A directory on the way.
#[derive(Debug)]
struct Level<'a, S> {
    path_len: usize,
    entries: ReadDir<'a, S>,
    names: HashSet<Vec<u8>>,
}

/// Iterates over the tree; see [`Iso::walk`].
#[derive(Debug)]
pub struct Walk<'a, S> {
    iso: &'a Iso<S>,
    limits: WalkLimits,
    levels: Vec<Level<'a, S>>,
    path: Vec<u8>,
    entered: HashSet<Ino>,
    entries: u64,
    bytes: u64,
}

impl<'a, S: ReadAt> Walk<'a, S> {
    pub(super) fn new(iso: &'a Iso<S>, limits: WalkLimits) -> Result<Self, IsoError> {
        let entries = iso.read_dir(&iso.root()?)?;
        let levels = vec![Level {
            path_len: 0,
            entries,
            names: HashSet::new(),
        }];
        Ok(Self {
            iso,
            limits,
            levels,
            path: Vec::new(),
            entered: HashSet::from([Ino::ROOT]),
            entries: 0,
            bytes: 0,
        })
    }

    fn end(&mut self, at: Ino, what: &'static str, limit: u64) -> Skipped {
        self.levels.clear();
        let error = IsoError::Limit {
            at: at.number(),
            what,
            limit,
        };
        Skipped {
            path: self.path.clone(),
            error,
            last: true,
        }
    }

    /// The node of an entry whose name has been added to the path.
    fn meet(&mut self, entry: &Entry, new_name: bool) -> Result<Found, Skipped> {
        let at = entry.ino.number();
        let skip = |path: &[u8], error| Skipped {
            path: path.to_vec(),
            error,
            last: false,
        };
        if !new_name {
            return Err(skip(
                &self.path,
                IsoError::Name {
                    at,
                    what: "an entry before has the same",
                },
            ));
        }
        if self.path.len() > MAX_PATH {
            return Err(skip(
                &self.path,
                IsoError::Limit {
                    at,
                    what: "bytes in a path",
                    limit: MAX_PATH as u64,
                },
            ));
        }
        let node = self.iso.node(entry.ino).map_err(|e| skip(&self.path, e))?;
        if !node.is_dir() {
            self.bytes = self.bytes.saturating_add(node.size);
            if self.bytes > self.limits.bytes {
                return Err(self.end(entry.ino, "bytes in all files", self.limits.bytes));
            }
            return Ok(Found {
                path: self.path.clone(),
                node,
            });
        }
        if !self.entered.insert(node.ino) {
            return Err(skip(
                &self.path,
                IsoError::Record {
                    at,
                    what: "the directory is shown in another place already",
                },
            ));
        }
        if self.levels.len() >= self.limits.depth {
            return Err(skip(
                &self.path,
                IsoError::Limit {
                    at,
                    what: "levels of directories",
                    limit: self.limits.depth as u64,
                },
            ));
        }
        let entries = self.iso.read_dir(&node).map_err(|e| skip(&self.path, e))?;
        self.levels.push(Level {
            path_len: self.path.len(),
            entries,
            names: HashSet::new(),
        });
        Ok(Found {
            path: self.path.clone(),
            node,
        })
    }
}

impl<S: ReadAt> Iterator for Walk<'_, S> {
    type Item = Result<Found, Skipped>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let level = self.levels.last_mut()?;
            self.path.truncate(level.path_len);
            let Some(entry) = level.entries.next() else {
                self.levels.pop();
                continue;
            };
            self.entries = self.entries.saturating_add(1);
            if self.entries > self.limits.entries {
                return Some(Err(self.end(Ino::ROOT, "entries", self.limits.entries)));
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    return Some(Err(Skipped {
                        path: self.path.clone(),
                        error,
                        last: false,
                    }));
                }
            };
            let new_name = level.names.insert(entry.name.clone());
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&entry.name);
            return Some(self.meet(&entry, new_name));
        }
    }
}
