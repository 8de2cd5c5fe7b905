//! What is wrong with a jail's content: looked at from outside, nothing in it is executed or believed.

mod host_side;
mod walk;

pub(super) use host_side::rooted_in;
pub(super) use walk::hash;

use super::host::{self, Host};
use super::renew::resume;
use super::within::Within;
use super::{MinimalImageError, kept, unsafe_parts};
use crate::engine::Engine;
use crate::error::{At, EngineError};
use jaula_plan::minimal::{Record, verify};
use jaula_plan::names::JailName;
use jaula_sys::dir::Dir as Beneath;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// Faults of one jail that are listed; more are only counted.
const MOST_FAULTS: usize = 10_000;

/// What is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckTarget {
    /// A named jail.
    Named(JailName),
    /// A jail that lives at an absolute path.
    Directory(PathBuf),
}

/// The sorts of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Others can change the jail or what leads to it.
    Unsafe,
    /// Who executes it becomes somebody else.
    SetId,
    /// Who executes it gets rights.
    Capability,
    /// Others can write it.
    Writable,
    /// A device that no jail needs.
    Device,
    /// It is not what was placed.
    Changed,
    /// It was placed and is not there.
    Missing,
    /// The host has another one now.
    Stale,
    /// A program cannot start.
    Loader,
    /// An account is not the host's.
    Account,
    /// A setting of sshd's that undoes the jail for somebody.
    Sshd,
    /// A way out to the host.
    Open,
    /// It could not be looked at, so nothing is said of it.
    Unseen,
}

/// What would mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mend {
    /// The mode without these bits.
    Mode(u32),
    /// No file capabilities.
    Capability,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// What sort.
    pub kind: FaultKind,
    /// Where: a path in the jail, or of the host for what leads to it.
    pub path: PathBuf,
    /// What is wrong.
    pub text: String,
    /// Whether `fix` mends it.
    pub fixable: bool,
    #[serde(skip)]
    mend: Option<Mend>,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unsafe => "unsafe",
            Self::SetId => "set-id",
            Self::Capability => "capability",
            Self::Writable => "writable",
            Self::Device => "device",
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::Loader => "loader",
            Self::Account => "account",
            Self::Sshd => "sshd",
            Self::Open => "open",
            Self::Unseen => "unseen",
        })
    }
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct ContentCheck {
    /// The faults, by sort and path.
    pub faults: Vec<Fault>,
    /// How many files, directories and links were looked at.
    pub looked: u64,
    /// Faults that are not listed, because there are too many.
    pub unlisted: u64,
    /// Whether there was a record to compare with.
    pub recorded: bool,
    /// The directory that can be mended.
    top: PathBuf,
}

impl ContentCheck {
    pub(super) fn add(
        &mut self,
        kind: FaultKind,
        path: &Path,
        text: impl Into<String>,
        mend: Option<Mend>,
    ) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault {
                kind,
                path: path.to_owned(),
                text: text.into(),
                fixable: mend.is_some(),
                mend,
            });
        } else {
            self.unlisted = self.unlisted.saturating_add(1);
        }
    }

    /// What nothing can be said of is a fault: nobody may take silence for a word.
    pub(super) fn unseen(&mut self, path: &Path, why: impl fmt::Display) {
        self.add(
            FaultKind::Unseen,
            path,
            format!("is not looked at: {why}"),
            None,
        );
    }
}

impl Engine {
    /// Looks at the content of a jail.
    pub fn check_content(&self, target: &CheckTarget) -> Result<ContentCheck, EngineError> {
        check(self, target)
    }

    /// Mends what can be mended without taking anything away; how many faults that were.
    pub fn fix_content(&self, check: &ContentCheck) -> Result<usize, EngineError> {
        Ok(walk::mend(&check.top, &check.faults)?)
    }

    /// Whether there is a record of the directory's content, so that it is a jail of jaula's.
    pub fn has_record(&self, dir: &Path) -> bool {
        kept::place(self.store(), dir).is_file()
    }
}

/// The trees of a jail, the uppermost first, and the record of what was placed in it.
pub(super) struct Trees {
    pub(super) layers: Vec<PathBuf>,
    pub(super) record: Option<Record>,
}

/// Who is in a jail's directory, or what is mounted there, so that it cannot be exchanged; processes do not matter when
/// `processes_may`.
pub(super) fn in_use(
    dir: &Path,
    held: &Beneath,
    processes_may: bool,
) -> Result<Option<String>, MinimalImageError> {
    let untold = || Some("there is no /proc that tells whether it is in use".to_owned());
    let Some(mounts) = host_side::mounts_in(dir)? else {
        return Ok(untold());
    };
    if let Some((mount, _)) = mounts.first() {
        return Ok(Some(format!(
            "{} is mounted",
            jaula_plan::explain::shown(mount)
        )));
    }
    if processes_may {
        return Ok(None);
    }
    match rooted_in(held)? {
        None => Ok(untold()),
        Some(pids) if pids.is_empty() => Ok(None),
        Some(pids) => Ok(Some(process_list(&pids))),
    }
}

/// Whose root a jail is.
pub(super) fn process_list(pids: &[String]) -> String {
    let first: Vec<&str> = pids.iter().take(20).map(String::as_str).collect();
    format!("it is the root of process {}", first.join(", "))
}

pub(super) fn trees(engine: &Engine, target: &CheckTarget) -> Result<Trees, EngineError> {
    match target {
        CheckTarget::Directory(dir) => Ok(Trees {
            layers: vec![dir.clone()],
            record: kept::read(&kept::place(engine.store(), dir))?,
        }),
        CheckTarget::Named(name) => {
            let jail = crate::named::record(engine.store(), name)?;
            let base = crate::named::base(engine.store(), &jail)?;
            let record = match &jail.image {
                Some(image) => {
                    let dir = engine.store().image_dir(image);
                    kept::read(&dir.join(kept::NAME))?
                }
                None => None,
            };
            let upper = crate::named::jail_dir(engine.store(), name).join("upper");
            Ok(Trees {
                layers: vec![upper, base],
                record,
            })
        }
    }
}

fn check(engine: &Engine, target: &CheckTarget) -> Result<ContentCheck, EngineError> {
    // What an update that was killed has left is finished first, unless somebody is at it; who has no record has none.
    let mut _lock = None;
    if let CheckTarget::Directory(dir) = target
        && engine.has_record(dir)
    {
        _lock = kept::try_lock(engine.store(), dir)?;
        if _lock.is_some() {
            resume(engine.store(), dir)?;
        }
    }
    let trees = trees(engine, target)?;
    let mut found = ContentCheck {
        recorded: trees.record.is_some(),
        top: trees.layers.first().cloned().unwrap_or_default(),
        ..ContentCheck::default()
    };
    if let CheckTarget::Directory(dir) = target {
        for reason in unsafe_parts(dir).map_err(MinimalImageError::Io)? {
            let path = reason.path.clone();
            let text = reason.to_string();
            let prefix = format!("{} ", jaula_plan::explain::shown(&path));
            let text = text.strip_prefix(&prefix).unwrap_or(&text).to_owned();
            found.add(FaultKind::Unsafe, &path, text, None);
        }
    }
    let mut accounted = BTreeSet::new();
    for (index, layer) in trees.layers.iter().enumerate() {
        // The image is shared and never written: nothing in it is mended.
        walk::tree(
            layer,
            index == 0,
            trees.record.as_ref(),
            &mut found,
            &mut accounted,
        )?;
    }
    if let Some(record) = &trees.record {
        walk::compare(&trees.layers, record, &mut found)?;
        if let [dir] = trees.layers.as_slice() {
            let root = Beneath::open(dir).at("open", dir);
            let failed = unloadable(root.map_err(MinimalImageError::Io)?, dir, record)?;
            for (path, why) in failed {
                found.add(FaultKind::Loader, &path, why, None);
            }
        }
    }
    host_side::accounts(&trees.layers, target, &mut found)?;
    if let CheckTarget::Directory(dir) = target {
        host_side::mounts(dir, &mut found)?;
        let held = Beneath::open(dir).at("open", dir);
        let held = held.map_err(MinimalImageError::Io)?;
        host_side::processes(dir, &held, &mut found).map_err(MinimalImageError::Io)?;
    }
    found
        .faults
        .sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
    Ok(found)
}

/// The programs and libraries of a tree that cannot be loaded there though they can on the host, with the reason.
pub(super) fn unloadable(
    root: Beneath,
    dir: &Path,
    record: &Record,
) -> Result<Vec<(PathBuf, String)>, MinimalImageError> {
    let native = host::native()?;
    let programs = walk::loadable(record);
    let mut tree = Within::of(root, dir);
    let mut failed = verify(&mut tree, &programs, native)?;
    if failed.is_empty() {
        return Ok(failed);
    }
    // What cannot be loaded on the host either is no fault of the jail.
    let paths: Vec<PathBuf> = failed.iter().map(|(path, _)| path.clone()).collect();
    let mut host = Host::open()?;
    let there = verify(&mut host, &paths, native)?;
    failed.retain(|(path, _)| !there.iter().any(|(other, _)| other == path));
    Ok(failed)
}
