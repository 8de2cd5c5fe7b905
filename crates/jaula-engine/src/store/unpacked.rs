//! Packages as they were unpacked once, and how their files get into trees here.

use super::{Store, StoreError};
use crate::error::At;
use crate::unpack::{Kept, Share};
use jaula_plan::names::Digest;
use jaula_sys::overlay;
use jaula_sys::tree::{self, Dir};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a stage has its packages in before they are the store's.
pub(super) const PLACE: &str = "unpacked";

impl Store {
    /// Where an unpacked package is kept, or would be.
    pub fn unpacked_path(&self, sha256: &[u8; 32]) -> PathBuf {
        self.root().join(PLACE).join(Digest(*sha256).to_string())
    }

    /// Whether an unpacked package is kept. Whether it is whole is seen when it is opened.
    pub fn has_unpacked(&self, sha256: &[u8; 32]) -> bool {
        self.unpacked_path(sha256).join("index").is_file()
    }

    /// Opens those of these packages that are kept. One that is damaged is removed: it is
    /// made anew from its archive.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open_unpacked(
        &self,
        packages: &[[u8; 32]],
        threads: usize,
    ) -> Result<HashMap<[u8; 32], Arc<Kept>>, StoreError> {
        let next = AtomicUsize::new(0);
        let (found, damaged) = (Mutex::new(HashMap::new()), Mutex::new(Vec::new()));
        let work = || -> Result<(), StoreError> {
            while let Some(sha256) = packages.get(next.fetch_add(1, Ordering::Relaxed)) {
                let path = self.unpacked_path(sha256);
                let dir = match Dir::open(&path) {
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    other => other.at("open", &path)?,
                };
                match Kept::open(dir).at("read", &path)? {
                    Some(kept) => {
                        kept.used();
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        found.insert(*sha256, Arc::new(kept));
                    }
                    None => damaged
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(Digest(*sha256).to_string()),
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads.min(packages.len()))
                .map(|_| scope.spawn(work))
                .collect();
            let mut result = work();
            for other in others {
                let other = other.join().unwrap_or(Ok(()));
                result = result.and(other);
            }
            result
        })?;
        for name in damaged.into_inner().unwrap_or_else(PoisonError::into_inner) {
            self.discard(PLACE, &name)?;
        }
        Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the packages that a stage unpacked into the store. They are synced already.
    pub(super) fn adopt_unpacked(&self, stage: &Path) -> Result<(), StoreError> {
        let place = stage.join(PLACE);
        let from = match Dir::open(&place) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other.at("open", &place)?,
        };
        let path = self.made(PLACE)?;
        let to = Dir::open(&path).at("open", &path)?;
        for entry in from.entries().at("list", &place)? {
            let name = &entry.name;
            // Without an index it was not unpacked to its end.
            let whole = from
                .dir(name)
                .and_then(|package| package.stat(c"index"))
                .is_ok();
            if !whole {
                continue;
            }
            match from.rename_new(name, &to, name) {
                // Somebody else unpacked it too.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => other.at("rename", &place)?,
            }
        }
        let dir = jaula_sys::dir::Dir::open(stage).at("open", stage)?;
        crate::remove::tree(&dir, OsStr::new(PLACE))
            .map_err(io::Error::other)
            .at("remove", &place)?;
        Ok(())
    }

    /// How files of kept packages get into trees of this store, as it was found the last time; none before the first.
    pub fn last_share(&self) -> Option<Share> {
        let text = std::fs::read_to_string(self.root().join("share")).ok()?;
        [Share::Clone, Share::Link, Share::Copy]
            .into_iter()
            .find(|share| share.as_str() == text.trim_end())
    }

    /// Tries it, in a stage: blocks are shared where the file system can, else inodes where an overlay can be mounted
    /// above them, else nothing.
    pub(crate) fn probe_share(&self, stage: &Path) -> Result<Share, StoreError> {
        if let Some(share) = self.forced {
            return Ok(share);
        }
        let share = probe(stage).at("try what can be shared in", stage)?;
        if self.last_share() != Some(share) {
            let path = self.root().join("share");
            std::fs::write(&path, share.as_str()).at("write", &path)?;
        }
        Ok(share)
    }

    /// The same store, with files shared in this way whatever can be.
    #[doc(hidden)]
    pub fn with_share(mut self, share: Share) -> Self {
        self.forced = Some(share);
        self
    }
}

fn probe(stage: &Path) -> io::Result<Share> {
    let dir = Dir::open(stage)?;
    dir.make_dir(c"probe", 0o700)?;
    let probe = dir.dir(c"probe")?;
    let mut from = probe.create(c"from", 0o600)?;
    from.write_all(b"x")?;
    let cloned = tree::clone_content(&from, &probe.create(c"to", 0o600)?).is_ok();
    let share = if cloned {
        Share::Clone
    } else if linked(&probe).is_ok() && layered(&stage.join("probe")).is_ok() {
        Share::Link
    } else {
        Share::Copy
    };
    let dir = jaula_sys::dir::Dir::open(stage)?;
    crate::remove::tree(&dir, OsStr::new("probe")).map_err(io::Error::other)?;
    Ok(share)
}

fn linked(probe: &Dir) -> io::Result<()> {
    probe.link(c"from", probe, c"again")
}

/// Mounts an overlay, seen by nobody, and writes into a file of its lower tree.
fn layered(probe: &Path) -> io::Result<()> {
    let open = |name: &str| {
        let path = probe.join(name);
        std::fs::create_dir(&path)?;
        jaula_sys::dir::Dir::open(&path)
    };
    let (lower, upper, work) = (open("lower")?, open("upper")?, open("work")?);
    lower.create_file("file", 0o600)?;
    let overlay = overlay::detached(&lower, &upper, &work)?;
    overlay.root().set_mode("file", 0o644)
}
