//! What the archive has made so far, so that no entry turns an earlier one into something else.

use super::{Kind, TarPath};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    /// A directory with an entry of its own, or one that only stands in the path of another entry.
    Directory,
    File,
    Symlink,
    Hardlink,
    Special,
}

/// Paths are kept as keyed hashes of 64 bits: the writer of an archive cannot know the key, so it
/// cannot choose paths that collide.
#[derive(Default)]
pub struct Ledger {
    made: HashMap<u64, Made>,
    keys: RandomState,
}

impl Ledger {
    /// The hash of the path and of every directory above it, outermost first; the path itself last.
    fn hashes(&self, path: &TarPath) -> impl Iterator<Item = u64> {
        let mut hasher = self.keys.build_hasher();
        path.components().map(move |name| {
            name.hash(&mut hasher);
            hasher.finish()
        })
    }

    /// Takes note of an entry, or says why it may not be.
    pub fn admit(&mut self, path: &TarPath, kind: &Kind) -> Result<(), &'static str> {
        let now = match kind {
            Kind::Directory => Made::Directory,
            Kind::File => Made::File,
            Kind::Symlink(_) => Made::Symlink,
            Kind::Hardlink(_) => Made::Hardlink,
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => Made::Special,
        };
        if let Kind::Hardlink(target) = kind {
            if target == path {
                return Err("a hard link to itself");
            }
            match self
                .hashes(target)
                .last()
                .and_then(|hash| self.made.get(&hash))
            {
                None => return Err("a hard link to what the archive has not brought before"),
                Some(Made::Directory) => return Err("a hard link to a directory"),
                Some(_) => {}
            }
        }
        let mut hashes: Vec<u64> = self.hashes(path).collect();
        let Some(own) = hashes.pop() else {
            return Ok(());
        };
        for hash in hashes {
            match self.made.entry(hash).or_insert(Made::Directory) {
                Made::Directory => {}
                Made::Symlink => {
                    return Err("an entry beneath a symbolic link of the same archive");
                }
                _ => return Err("an entry beneath what is not a directory"),
            }
        }
        match self.made.insert(own, now) {
            None => Ok(()),
            Some(before) if before == now && now != Made::Hardlink => Ok(()),
            Some(_) => Err("an entry that changes what an earlier one made"),
        }
    }
}
