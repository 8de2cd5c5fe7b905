//! The names of directories, kept while they are likely to be asked for again.

use super::{DiskEntry, NodeKind};
use std::collections::VecDeque;
use std::rc::Rc;

/// Directories whose names are kept.
const KEPT_DIRECTORIES: usize = 16;
/// Names kept in all; one directory always is, however large.
const KEPT_NAMES: usize = 400_000;
/// Most entries of one directory.
pub(crate) const MAX_ENTRIES: usize = 1_000_000;

/// A name, its node, and what it is.
pub(crate) type Name = (Vec<u8>, u64, NodeKind);

/// A directory.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    dir: u64,
    names: Rc<Vec<Name>>,
    sorted: bool,
}

impl Listing {
    pub(crate) fn find(&self, name: &[u8]) -> Option<u64> {
        if self.sorted {
            let index = self
                .names
                .binary_search_by(|entry| entry.0.as_slice().cmp(name));
            return index
                .ok()
                .and_then(|index| self.names.get(index))
                .map(|found| found.1);
        }
        let mut all = self.names.iter();
        all.find(|entry| entry.0 == name).map(|found| found.1)
    }

    /// As [`super::DiskTree::read_dir`].
    pub(crate) fn hand_out(&self, next: u64, each: &mut dyn FnMut(&DiskEntry) -> bool) {
        let skip = usize::try_from(next).unwrap_or(usize::MAX);
        for (index, (name, node, kind)) in self.names.iter().enumerate().skip(skip) {
            let entry = DiskEntry {
                name: name.clone(),
                node: *node,
                kind: *kind,
                next: index as u64 + 1,
            };
            if !each(&entry) {
                break;
            }
        }
    }
}

/// The directories that were read last.
#[derive(Debug, Default)]
pub(crate) struct Listings(VecDeque<Listing>);

impl Listings {
    pub(crate) fn kept(&mut self, dir: u64) -> Option<Listing> {
        let index = self.0.iter().position(|of| of.dir == dir)?;
        let found = self.0.remove(index)?;
        self.0.push_front(found.clone());
        Some(found)
    }

    pub(crate) fn keep(&mut self, dir: u64, names: Vec<Name>) -> Listing {
        let sorted = names.is_sorted_by(|a, b| a.0 < b.0);
        let listing = Listing {
            dir,
            names: Rc::new(names),
            sorted,
        };
        self.0.push_front(listing.clone());
        let mut names = 0usize;
        let few = self.0.iter().take(KEPT_DIRECTORIES).take_while(|of| {
            names = names.saturating_add(of.names.len());
            names <= KEPT_NAMES
        });
        let few = few.count().max(1);
        self.0.truncate(few);
        listing
    }
}
