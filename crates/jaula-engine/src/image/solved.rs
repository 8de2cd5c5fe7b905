//! Choices that were made before, by everything that they depend on: the same question over the same indices is answered
//! without reading an index.

use super::debs::Local;
use super::plan::PlannedPackage;
use crate::store::Store;
use jaula_plan::names::Digest;
use jaula_plan::rootfs::Sources;
use jaula_plan::spec::rootfs::ImageSpec;
use jaula_repo::lock::Lock;
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;

/// Raised whenever another choice may be made of the same question.
const RULES: u32 = 2;
/// Most answers that are kept; the oldest go first.
const MOST: usize = 256;
/// The largest answer that is read, in bytes. All of Debian's standard system takes a tenth of a megabyte.
const LARGEST: u64 = 64 << 20;

/// The name of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

/// The packages of an image and where they come from.
pub type Answer = (Lock, Vec<PlannedPackage>);

#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    lock: String,
    /// `Replaces` and installed size of each package of the lock.
    packages: Vec<(String, u64)>,
}

/// The key of a request over `indices`, which says what Release files and indices there are by their hashes. None when the
/// request cannot be written down.
pub fn key(spec: &ImageSpec, sources: &Sources, local: &Local, indices: &str) -> Option<Key> {
    let mut hash = Sha256::new();
    // A length before each part: no two questions give the same bytes.
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(&RULES.to_le_bytes());
    part(env!("CARGO_PKG_VERSION").as_bytes());
    part(spec.distro.as_str().as_bytes());
    part(&serde_json::to_vec(&spec.options).ok()?);
    part(&serde_json::to_vec(sources).ok()?);
    part(local.index.as_bytes());
    part(indices.as_bytes());
    Some(Key(Digest(hash.finalize().into()).to_string()))
}

fn place(store: &Store, key: &Key) -> PathBuf {
    store.root().join("solved").join(&key.0)
}

/// The answer, if it is kept. What cannot be read is none.
pub fn find(store: &Store, key: &Key) -> Option<Answer> {
    let path = place(store, key);
    if std::fs::metadata(&path).ok()?.len() > LARGEST {
        return None;
    }
    let kept: Kept = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
    let lock = Lock::parse(&kept.lock).ok()?;
    if lock.packages.len() != kept.packages.len() {
        return None;
    }
    let planned = kept.packages.into_iter();
    let planned = planned.map(|(replaces, installed_size)| PlannedPackage {
        replaces,
        installed_size,
        kept: false,
        unpacked: false,
        in_base: false,
    });
    Some((lock, planned.collect()))
}

/// Keeps an answer. It is no harm when it cannot be kept: the question is answered anew.
pub fn keep(store: &Store, key: &Key, (lock, packages): &Answer) {
    let kept = Kept {
        lock: lock.to_string(),
        packages: packages
            .iter()
            .map(|package| (package.replaces.clone(), package.installed_size))
            .collect(),
    };
    let (Ok(dir), Ok(bytes)) = (store.made("solved"), serde_json::to_vec(&kept)) else {
        return;
    };
    let random: Vec<u8> = jaula_sys::dir::random().map_or_else(|_| Vec::new(), |r| r.to_vec());
    let beside = dir.join(format!(".{}", jaula_repo::hex::encode(&random)));
    let written =
        std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, place(store, key)));
    if written.is_err() {
        drop(std::fs::remove_file(&beside));
        return;
    }
    let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
    let mut all: Vec<_> = entries
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    all.sort();
    for (_, path) in all.iter().take(all.len().saturating_sub(MOST)) {
        drop(std::fs::remove_file(path));
    }
}
