//! What the store keeps only because it may be of use again, taken away.
//!
//! Nothing that is in use goes: images with a tag, or that a named jail stands on, or from which something runs; and
//! while an image is being made, by whatever process, no package and no index. What nothing in the store refers to goes
//! always, the rest by age or until the store is small enough, the longest unused first.

use super::{Store, StoreError};
use crate::error::At;
use crate::journal::Intent;
use crate::plan::Preview;
use jaula_plan::explain::{ExplainLine, shown, word};
use jaula_plan::names::Digest;
use jaula_repo::lock::Lock;
use jaula_sys::dir::{Dir, Kind};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A kept Release file is never read further than this.
const RELEASE: u64 = 64 << 20;

/// How much may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GcSpec {
    /// Bytes on disk; above them the longest unused goes.
    pub keep_bytes: Option<u64>,
    /// What was used since then stays, but for the sake of `keep_bytes`.
    pub older_than: Option<Duration>,
}

/// What something of the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// A tag or a request that leads nowhere.
    Link,
    /// A file that was not fetched to its end.
    Partial,
    /// A parsed index.
    Index,
    /// A Release file.
    Release,
    /// A package as it was fetched.
    Package,
    /// A package as it was unpacked.
    Unpacked,
    /// An image.
    Image,
}

/// Something that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Garbage {
    /// What it is.
    pub what: Sort,
    /// Where it is.
    pub path: PathBuf,
    /// What its removal frees, after that of everything before it: files with several names count with the last.
    pub bytes: u64,
    /// For how long it was not used, in seconds.
    pub idle: u64,
    /// Whether nothing refers to it.
    pub unneeded: bool,
}

/// What a collection does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GcPlan {
    /// In this order.
    pub garbage: Vec<Garbage>,
    /// Bytes on disk of the whole store, each file counted once.
    pub before: u64,
    /// Why something that might go stays.
    pub notes: Vec<String>,
}

impl GcPlan {
    /// Bytes that become free.
    pub fn freed(&self) -> u64 {
        self.garbage.iter().map(|garbage| garbage.bytes).sum()
    }
}

impl fmt::Display for GcPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for garbage in &self.garbage {
            let why = match garbage.unneeded {
                true => "nothing needs it".to_owned(),
                false => format!("not used for {}", age(garbage.idle)),
            };
            let (path, bytes) = (shown(&garbage.path), garbage.bytes);
            writeln!(f, "remove {path}: {bytes} bytes, {why}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        let (freed, before) = (self.freed(), self.before);
        writeln!(f, "frees {freed} bytes of {before}")
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

impl Preview for GcPlan {
    fn to_json(&self) -> Value {
        json!({
            "version": 1,
            "garbage": self.garbage,
            "before": self.before,
            "freed": self.freed(),
            "notes": self.notes,
        })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        let line = |garbage: &Garbage| {
            ExplainLine::new(
                format!("rm -rf --one-file-system -- {}", word(&garbage.path)),
                match garbage.unneeded {
                    true => "nothing in the store needs it",
                    false => "it can be had again, and was not used for long",
                },
            )
        };
        self.garbage.iter().map(line).collect()
    }
}

/// Something that may go.
struct Item {
    what: Sort,
    path: PathBuf,
    used: SystemTime,
    unneeded: bool,
    /// Inode and bytes of each of its files; one name each.
    inodes: Vec<(u64, u64)>,
}

impl Store {
    /// Held while packages and indices are in use: many may hold it together.
    pub(crate) fn use_content(&self) -> Result<File, StoreError> {
        let (file, path) = self.content_lock()?;
        file.lock_shared().at("lock", &path)?;
        Ok(file)
    }

    fn content_lock(&self) -> Result<(File, PathBuf), StoreError> {
        self.made("stages")?;
        let path = self.root().join("content.lock");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        Ok((options.open(&path).at("open", &path)?, path))
    }

    /// What a collection would do now. Nothing is changed.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn plan_gc(&self, spec: &GcSpec) -> Result<GcPlan, StoreError> {
        let path = self.root().join("content.lock");
        let idle = match File::open(&path) {
            // Nobody ever made anything.
            Err(_) => true,
            Ok(file) => !matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
        };
        self.collection(spec, idle)
    }

    /// Does it, and tells what was done. Killed at any moment, what was to go is gone or there, or goes with the next
    /// change to the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn gc(&self, spec: &GcSpec) -> Result<GcPlan, StoreError> {
        if !self.root().is_dir() {
            return Ok(GcPlan::default());
        }
        let (lock, path) = self.content_lock()?;
        let idle = match lock.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(error).at("lock", path)?,
        };
        let stages = self.made("stages")?;
        let (id, mut journal) = self.journal()?;
        let mut plan = self.collection(spec, idle)?;
        let moved = (|| {
            journal.intend(Intent::Create(Path::new("stages").join(&id)))?;
            let dir = stages.join(&id);
            DirBuilder::new()
                .mode(0o700)
                .create(&dir)
                .at("make", &dir)?;
            let to = Dir::open(&dir).at("open", &dir)?;
            let mut gone = Vec::new();
            for garbage in std::mem::take(&mut plan.garbage) {
                if self.take(&garbage, &to, &gone.len().to_string())? {
                    gone.push(garbage);
                }
                journal.point()?;
            }
            plan.garbage = gone;
            Ok::<(), StoreError>(())
        })();
        // Whoever waits to make something need not wait for the files to be removed.
        drop(lock);
        let errors = journal.undo();
        moved?;
        errors
            .into_iter()
            .next()
            .map_or(Ok(plan), |error| Err(error.into()))
    }

    /// Moves something out of the store's sight. Not an image from which something was started meanwhile.
    fn take(&self, garbage: &Garbage, to: &Dir, name: &str) -> Result<bool, StoreError> {
        let path = &garbage.path;
        let _held = match (garbage.what, self.image_at(path)?) {
            (Sort::Image, Some(image)) => {
                let Some(held) = image.hold_alone()? else {
                    return Ok(false);
                };
                for link in self.links_to(image.digest())? {
                    std::fs::remove_file(&link).at("remove", &link)?;
                }
                Some(held)
            }
            _ => None,
        };
        let (Some(parent), Some(last)) = (path.parent(), path.file_name()) else {
            return Ok(false);
        };
        let from = Dir::open(parent).at("open", parent)?;
        match from.rename_new(last, to, name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            other => Ok(other.at("rename", path).map(|()| true)?),
        }
    }

    fn image_at(&self, path: &Path) -> Result<Option<crate::view::Image>, StoreError> {
        let digest = path.file_name().and_then(|name| name.to_str());
        match digest.and_then(|name| name.parse().ok()) {
            Some(digest) if path.starts_with(self.root().join("images")) => self.image(&digest),
            _ => Ok(None),
        }
    }

    /// `idle`: nobody uses packages and indices now.
    fn collection(&self, spec: &GcSpec, idle: bool) -> Result<GcPlan, StoreError> {
        let mut plan = GcPlan::default();
        let mut items = self.image_items(&mut plan.notes)?;
        if idle {
            items.extend(self.content_items()?);
        } else {
            plan.notes.push(
                "an image is being made: packages, indices and what is half fetched stay"
                    .to_owned(),
            );
        }
        for dir in ["tags", "requests"] {
            for path in self.paths_in(dir)? {
                if let Some(digest) = super::tags::target(&path)?
                    && self.image(&digest)?.is_none()
                {
                    items.push(Item::new(Sort::Link, path, true)?);
                }
            }
        }
        // How many names each file has in the whole store, and how many of those are left.
        let mut names: HashMap<u64, u64> = HashMap::new();
        let mut total = 0u64;
        if self.root().is_dir() {
            for (inode, bytes) in inodes(self.root())? {
                let seen = names.entry(inode).or_default();
                *seen += 1;
                total = total.saturating_add(if *seen == 1 { bytes } else { 0 });
            }
        }
        plan.before = total;
        let now = SystemTime::now();
        let idle_for = |item: &Item| now.duration_since(item.used).unwrap_or_default();
        items.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
        let old = |item: &Item| spec.older_than.map(|age| idle_for(item) >= age);
        let (first, later): (Vec<Item>, Vec<Item>) = items
            .into_iter()
            .partition(|item| old(item).unwrap_or(item.unneeded));
        for (item, always) in first
            .iter()
            .map(|item| (item, true))
            .chain(later.iter().map(|item| (item, false)))
        {
            let over = spec.keep_bytes.is_some_and(|keep| total > keep);
            if !always && !over {
                break;
            }
            let mut bytes = 0u64;
            for (inode, size) in &item.inodes {
                if let Some(left) = names.get_mut(inode) {
                    *left = left.saturating_sub(1);
                    bytes = bytes.saturating_add(if *left == 0 { *size } else { 0 });
                }
            }
            total = total.saturating_sub(bytes);
            plan.garbage.push(Garbage {
                what: item.what,
                path: item.path.clone(),
                bytes,
                idle: idle_for(item).as_secs(),
                unneeded: item.unneeded,
            });
        }
        if spec.keep_bytes.is_some_and(|keep| total > keep) {
            plan.notes.push(format!(
                "{total} bytes stay: images with tags or jails, and what is in use"
            ));
        }
        Ok(plan)
    }

    /// The images that may go.
    fn image_items(&self, notes: &mut Vec<String>) -> Result<Vec<Item>, StoreError> {
        let tagged: HashSet<Digest> = self.tags()?.into_iter().map(|(_, of)| of).collect();
        let mut items = Vec::new();
        let (images, skipped) = self.images()?;
        notes.extend(skipped);
        for info in images {
            let Some(image) = self.image(&info.digest)? else {
                continue;
            };
            if tagged.contains(&info.digest) || !info.jails.is_empty() {
                continue;
            }
            if image.hold_alone()?.is_none() {
                notes.push(format!("image {} is in use", info.digest));
                continue;
            }
            let asked = !self.links_to(&info.digest)?.is_empty();
            let mut item = Item::new(Sort::Image, image.dir().to_owned(), !asked)?;
            let manifest = image.dir().join("manifest.json");
            if let Ok(meta) = std::fs::symlink_metadata(&manifest) {
                item.used = used(&meta);
            }
            items.push(item);
        }
        Ok(items)
    }

    /// Packages, indices and Release files.
    fn content_items(&self) -> Result<Vec<Item>, StoreError> {
        let mut wanted: HashSet<String> = HashSet::new();
        for path in self.paths_in("images")? {
            // What has no lock of ours needs no package.
            let lock = std::fs::read_to_string(path.join("lock")).unwrap_or_default();
            if let Ok(lock) = Lock::parse(&lock) {
                let packages = lock.packages.iter();
                wanted.extend(packages.map(|package| Digest(package.sha256).to_string()));
            }
        }
        let name = |path: &Path| -> String {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        let mut items = Vec::new();
        for bucket in self.paths_in("packages/sha256")? {
            let bucket = Path::new("packages/sha256").join(name(&bucket));
            for path in self.paths_in(&bucket.to_string_lossy())? {
                let unneeded = !wanted.contains(&name(&path));
                items.push(Item::new(Sort::Package, path, unneeded)?);
            }
        }
        for path in self.paths_in("packages/part")? {
            items.push(Item::new(Sort::Partial, path, true)?);
        }
        for path in self.paths_in("unpacked")? {
            let unneeded = !wanted.contains(&name(&path));
            let mut item = Item::new(Sort::Unpacked, path, unneeded)?;
            if let Ok(meta) = std::fs::symlink_metadata(item.path.join("index")) {
                item.used = used(&meta);
            }
            items.push(item);
        }
        let mut releases = String::new();
        for path in self.paths_in("releases")? {
            let mut text = Vec::new();
            File::open(&path)
                .and_then(|file| file.take(RELEASE).read_to_end(&mut text))
                .at("read", &path)?;
            releases.push_str(&String::from_utf8_lossy(&text));
            items.push(Item::new(Sort::Release, path, false)?);
        }
        for path in self.paths_in("indices")? {
            // Of a Release file that another has replaced.
            let sha256 = name(&path.with_extension(""));
            items.push(Item::new(Sort::Index, path, !releases.contains(&sha256))?);
        }
        Ok(items)
    }
}

impl Item {
    fn new(what: Sort, path: PathBuf, unneeded: bool) -> Result<Self, StoreError> {
        let meta = std::fs::symlink_metadata(&path).at("look at", &path)?;
        let inodes = match meta.is_dir() {
            true => inodes(&path)?,
            false => vec![(meta.ino(), meta.blocks().saturating_mul(512))],
        };
        Ok(Self {
            what,
            used: used(&meta),
            unneeded,
            inodes,
            path,
        })
    }
}

/// The later of the times of last reading and writing, where the file system keeps the former.
fn used(meta: &Metadata) -> SystemTime {
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or(0));
    time(meta.mtime()).max(time(meta.atime()))
}

/// Inode and bytes on disk of everything in a tree, its top included, once a name. No mount is crossed. What goes away
/// meanwhile is not counted.
fn inodes(root: &Path) -> Result<Vec<(u64, u64)>, StoreError> {
    let dir = match Dir::open(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        dir => dir.at("open", root)?,
    };
    let own = dir.own_meta().at("look at", root)?;
    let mut found = vec![(own.inode, own.disk)];
    let mut left = vec![PathBuf::from(".")];
    while let Some(path) = left.pop() {
        let Ok(at) = dir.open_dir(&path) else {
            continue;
        };
        let entries = match at.entries() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.at("list", root.join(&path))?,
        };
        for (name, _) in entries {
            let Ok(meta) = at.meta(&name) else {
                continue;
            };
            found.push((meta.inode, meta.disk));
            if meta.kind == Kind::Directory && !meta.mount_root {
                left.push(path.join(&name));
            }
        }
    }
    Ok(found)
}
