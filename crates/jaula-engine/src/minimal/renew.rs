//! A jail's content made anew from what the host has now: beside the old one, tested, then exchanged with it.

mod exchange;
mod layer;

use super::host::{self, Host};
use super::inspect::{CheckTarget, in_use, trees, unloadable};
use super::kept::{self, origin};
use super::tree::{TreePlan, TreeSpec};
use super::within::inside;
use super::{MinimalImageError, MinimalPlan, Wanted};
use crate::engine::Engine;
use crate::error::{At, EngineError};
use crate::event::{Event, Observer};
use crate::named;
use crate::plan::Preview;
use jaula_plan::explain::{ExplainLine, shown, word};
use jaula_plan::minimal::{
    Content, ItemKind, Placing, Record, Recorded, RecordedKind, Rules, gather,
};
use jaula_sys::dir::Dir as Beneath;
use jaula_sys::dir::Kind;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

pub(in crate::minimal) use exchange::resume;
pub(crate) use exchange::{interrupted, resume_one};

/// What becomes of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It comes.
    Added,
    /// The host has another one.
    Replaced,
    /// The host's programs need it no more.
    Removed,
    /// It would be replaced or removed, but was changed in the jail.
    Kept,
}

impl Change {
    /// Whether the jail gets or loses what is there.
    fn is_taken(&self) -> bool {
        matches!(self, Self::Added | Self::Replaced | Self::Removed)
    }
}

/// What an update takes.
#[derive(Debug)]
pub struct UpdatePlan {
    target: CheckTarget,
    changes: BTreeMap<PathBuf, Change>,
    way: Way,
    spec: UpdateSpec,
    /// Nobody else fills, updates or starts the jail until this is done.
    _lock: File,
}

#[derive(Debug)]
enum Way {
    /// Another image for a named jail.
    Image(Box<named::Record>, Box<MinimalPlan>),
    /// Another tree for a directory.
    Tree(Box<TreePlan>, Box<Record>, Box<exchange::Held>),
}

/// How an update is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpdateSpec {
    /// Whether what was changed in the jail is replaced too.
    pub force: bool,
    /// Whether processes that are in the jail do not matter: they go on in the old one.
    pub in_use: bool,
}

impl Engine {
    /// Finds what the host has other than the jail.
    pub fn plan_update(
        &self,
        target: &CheckTarget,
        spec: UpdateSpec,
    ) -> Result<UpdatePlan, EngineError> {
        // First: what is looked at is what is changed.
        let (lock, held) = match target {
            CheckTarget::Named(name) => (named::lock(self.store(), name)?, None),
            CheckTarget::Directory(dir) => {
                let lock = kept::lock(self.store(), dir)?;
                resume(self.store(), dir)?;
                (lock, Some(exchange::Held::open(dir)?))
            }
        };
        let trees = trees(self, target)?;
        let Some(before) = trees.record else {
            return Err(MinimalImageError::NoRecord {
                what: named_or_path(target),
            }
            .into());
        };
        let content = content_of(&before);
        let (changes, way) = match (target, held) {
            (CheckTarget::Named(name), _) => {
                let jail = named::record(self.store(), name)?;
                if let Some(running) = named::running(self.store(), name) {
                    return Err(named::NamedError::Running {
                        name: name.clone(),
                        pid: running.pid,
                    }
                    .into());
                }
                let wanted = Wanted::Content(Box::new(content), before.placing);
                let plan = self.plan_wanted(&wanted)?;
                let fresh = plan.record().map(|record| &record.entries);
                let mut changes = compared(&before.entries, fresh.unwrap_or(&BTreeMap::new()));
                if let [upper, _] = trees.layers.as_slice() {
                    // The jail's own accounts are among what is made for it, and are never taken away.
                    let made = |path: &Path| {
                        let entry = before.entries.get(path);
                        entry.is_some_and(|is| matches!(is.kind, RecordedKind::Made { .. }))
                    };
                    layer::keep(upper, &mut changes, &|path| spec.force && !made(path))?;
                }
                (changes, Way::Image(Box::new(jail), Box::new(plan)))
            }
            (CheckTarget::Directory(dir), Some(held)) => {
                if let Some(found) = in_use(dir, &held.jail, spec.in_use)? {
                    return Err(MinimalImageError::InUse {
                        path: dir.clone(),
                        by: found,
                    }
                    .into());
                }
                let (changes, plan) = plan_tree(dir, &held.jail, &before, content, spec)?;
                let way = Way::Tree(Box::new(plan), Box::new(before), Box::new(held));
                (changes, way)
            }
            (CheckTarget::Directory(_), None) => return Err(MinimalImageError::Host.into()),
        };
        Ok(UpdatePlan {
            target: target.clone(),
            changes,
            way,
            spec,
            _lock: lock,
        })
    }

    /// Does it. On any failure the jail is as it was.
    pub fn update(&self, plan: &UpdatePlan, observer: &dyn Observer) -> Result<(), EngineError> {
        if plan.is_empty() {
            return Ok(());
        }
        match &plan.way {
            Way::Image(jail, fresh) => {
                let image = fresh.make(self.store(), &[], observer)?;
                let _held = image.hold()?;
                let record = fresh.record().cloned();
                if let Some(record) = record.filter(|record| record.placing != Placing::Live) {
                    let root = Beneath::open(image.root()).at("open", image.root());
                    tested(root.map_err(MinimalImageError::Io)?, image.root(), &record)?;
                }
                let mut jail = named::Record::clone(jail);
                jail.image = Some(*image.digest());
                let dropped = plan.changes.iter().filter(|(_, change)| change.is_taken());
                let dropped: Vec<&Path> = dropped.map(|(path, _)| path.as_path()).collect();
                // Without force nothing that the layer has is among them.
                layer::rewritten(self.store(), &jail, &dropped)?;
                observer.event(Event::Made {
                    what: "jail",
                    path: named::jail_dir(self.store(), &jail.name),
                });
            }
            Way::Tree(fresh, before, held) => {
                let gone = plan
                    .changes
                    .iter()
                    .filter(|(_, is)| **is == Change::Removed);
                let gone: Vec<PathBuf> = gone.map(|(path, _)| path.clone()).collect();
                let in_use = plan.spec.in_use;
                exchange::exchange(self.store(), held, fresh, before, &gone, in_use)?;
                observer.event(Event::Made {
                    what: "directory",
                    path: fresh.spec.dir.clone(),
                });
            }
        }
        Ok(())
    }
}

trait MetaBeneath {
    fn meta_beneath(&self, path: &Path) -> bool;
}

impl MetaBeneath for Beneath {
    fn meta_beneath(&self, path: &Path) -> bool {
        kind_of(self, path).is_some()
    }
}

fn named_or_path(target: &CheckTarget) -> String {
    match target {
        CheckTarget::Named(name) => name.to_string(),
        CheckTarget::Directory(dir) => shown(dir),
    }
}

/// What was asked for, to be found again.
fn content_of(before: &Record) -> Content {
    let mut rules = Rules::own().clone();
    for (name, rule) in &before.rules {
        rules.put(jaula_plan::minimal::Rule {
            name: name.clone(),
            ..rule.clone()
        });
    }
    Content {
        with: before.with.clone(),
        rules,
        packs: before.packs,
        make: before.packs,
        secrets: false,
    }
}

/// The differences of two records.
fn compared(
    before: &BTreeMap<PathBuf, Recorded>,
    fresh: &BTreeMap<PathBuf, Recorded>,
) -> BTreeMap<PathBuf, Change> {
    let mut changes = BTreeMap::new();
    for (path, entry) in fresh {
        let same = |old: &Recorded| match (&old.kind, &entry.kind) {
            (
                RecordedKind::File {
                    mode,
                    sha256,
                    origin,
                },
                RecordedKind::File {
                    mode: m,
                    sha256: s,
                    origin: o,
                },
            ) => mode == m && (sha256.is_some() && sha256 == s || origin == o),
            (RecordedKind::Directory { .. }, RecordedKind::Directory { .. }) => true,
            (old, new) => old == new,
        };
        match before.get(path) {
            None => drop(changes.insert(path.clone(), Change::Added)),
            Some(old) if same(old) => {}
            Some(_) => drop(changes.insert(path.clone(), Change::Replaced)),
        }
    }
    for (path, entry) in before {
        let is_dir = matches!(entry.kind, RecordedKind::Directory { .. });
        if !fresh.contains_key(path) && !is_dir {
            changes.insert(path.clone(), Change::Removed);
        }
    }
    changes
}

fn plan_tree(
    dir: &Path,
    jail: &Beneath,
    before: &Record,
    content: Content,
    spec: UpdateSpec,
) -> Result<(BTreeMap<PathBuf, Change>, TreePlan), MinimalImageError> {
    let mut host = Host::open()?;
    let native = host::native()?;
    let mut found = gather(&mut host, &content, native)?;
    let mut changes = BTreeMap::new();
    let mut unchanged = BTreeSet::new();
    let own = |changed: bool| match changed && !spec.force {
        true => Change::Kept,
        false => Change::Replaced,
    };
    for (path, item) in &found.items {
        let was = before.entries.get(path).map(|entry| &entry.kind);
        let there = jail.meta_beneath(path);
        let change = match (&item.kind, was) {
            (ItemKind::File { .. }, _) if !there => Some(Change::Added),
            (
                ItemKind::File { .. },
                Some(RecordedKind::File {
                    sha256,
                    origin: was,
                    ..
                }),
            ) => {
                let file = host.file(path)?;
                let now = origin(&file.metadata().at("look at", path)?);
                let same = now == *was
                    || sha256.is_some() && *sha256 == Some(super::inspect::hash(file, path)?);
                match same {
                    true => None,
                    false => Some(own(changed_inside(jail, path, sha256.as_deref())?)),
                }
            }
            (ItemKind::File { .. }, Some(RecordedKind::Link { target })) => {
                Some(own(link_of(jail, path).as_ref() != Some(target)))
            }
            (ItemKind::File { .. }, _) => None,
            (ItemKind::Link { .. }, _) if !there => Some(Change::Added),
            (ItemKind::Link { target }, was) => match link_of(jail, path) {
                Some(is) if is == *target => None,
                // What was a directory does not become a link.
                None if matches!(kind_of(jail, path), Some(Kind::Directory)) => None,
                is => {
                    let placed = match was {
                        Some(RecordedKind::Link { target: was }) => is.as_ref() == Some(was),
                        Some(RecordedKind::File { sha256, .. }) => {
                            !changed_inside(jail, path, sha256.as_deref())?
                        }
                        _ => false,
                    };
                    Some(own(!placed))
                }
            },
            _ if !before.entries.contains_key(path) && !there => {
                changes.insert(path.clone(), Change::Added);
                continue;
            }
            _ => continue,
        };
        match change {
            Some(change) => {
                changes.insert(path.clone(), change);
            }
            None => {
                unchanged.insert(path.clone());
            }
        }
    }
    for (path, entry) in &before.entries {
        if found.items.contains_key(path) || !jail.meta_beneath(path) {
            continue;
        }
        let changed = match &entry.kind {
            RecordedKind::Directory { .. } | RecordedKind::Made { .. } => continue,
            RecordedKind::Link { target } => link_of(jail, path).as_ref() != Some(target),
            RecordedKind::File { sha256, .. } => changed_inside(jail, path, sha256.as_deref())?,
        };
        // A directory of the user's is never removed.
        let is_dir = kind_of(jail, path) == Some(Kind::Directory);
        let change = match is_dir || changed && !spec.force {
            true => Change::Kept,
            false => Change::Removed,
        };
        changes.insert(path.clone(), change);
    }
    let kept =
        |path: &PathBuf| unchanged.contains(path) || changes.get(path) == Some(&Change::Kept);
    found.items.retain(|path, _| !kept(path));
    found.devices.clear();
    let plan = TreePlan::new(
        TreeSpec {
            dir: dir.to_owned(),
            content,
            placing: before.placing,
            force: true,
            hash: true,
        },
        found,
    );
    Ok((changes, plan))
}

fn kind_of(jail: &Beneath, path: &Path) -> Option<Kind> {
    let (parent, name) = (path.parent()?, path.file_name()?);
    let dir = jail.open_dir(inside(parent)).ok()?;
    Some(dir.meta(name).ok()?.kind)
}

/// Where a link of the jail leads.
fn link_of(jail: &Beneath, path: &Path) -> Option<PathBuf> {
    let (parent, name) = (path.parent()?, path.file_name()?);
    let dir = jail.open_dir(inside(parent)).ok()?;
    Some(dir.read_link(name).ok()?.into())
}

/// Whether a file of the jail is not what was placed.
fn changed_inside(
    jail: &Beneath,
    path: &Path,
    sha256: Option<&str>,
) -> Result<bool, MinimalImageError> {
    // Never hashed, as a hard link: nothing can be said, and it is the host's to change.
    let Some(sha256) = sha256 else {
        return Ok(false);
    };
    match jail.open_file(inside(path)) {
        Ok(file) => Ok(super::inspect::hash(file, path)? != sha256),
        Err(_) => Ok(true),
    }
}

fn tested(root: Beneath, path: &Path, record: &Record) -> Result<(), MinimalImageError> {
    let failed = unloadable(root, path, record)?;
    match failed.is_empty() {
        true => Ok(()),
        false => Err(MinimalImageError::SelfTest { failed }),
    }
}

impl UpdatePlan {
    /// Whether the host has nothing that the jail has not.
    pub fn is_empty(&self) -> bool {
        self.changes.values().all(|change| *change == Change::Kept)
    }

    /// What becomes of which path.
    pub fn changes(&self) -> &BTreeMap<PathBuf, Change> {
        &self.changes
    }
}

impl fmt::Display for UpdatePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = named_or_path(&self.target);
        match self.is_empty() {
            true => writeln!(f, "{name} has what the host has")?,
            false => writeln!(f, "update {name}")?,
        }
        for (path, change) in &self.changes {
            let what = match change {
                Change::Added => "add",
                Change::Replaced => "replace",
                Change::Removed => "remove",
                Change::Kept => "keep, changed in the jail:",
            };
            writeln!(f, "  {what} {}", shown(path))?;
        }
        Ok(())
    }
}

impl Preview for UpdatePlan {
    fn to_json(&self) -> Value {
        let changes = self.changes.iter();
        let changes = changes.map(|(path, change)| json!({ "path": path, "change": change }));
        json!({
            "version": 1,
            "jail": named_or_path(&self.target),
            "changes": changes.collect::<Vec<_>>(),
        })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        if self.is_empty() {
            return Vec::new();
        }
        match &self.way {
            Way::Image(_, plan) => plan.explain(),
            Way::Tree(plan, ..) => {
                let dir = word(&plan.spec.dir);
                let mut lines = vec![ExplainLine::new(
                    format!("cp --archive --link {dir} {dir}.new"),
                    "the new tree is made beside the old one; what stays is the same file",
                )];
                lines.extend(plan.explain());
                lines.push(ExplainLine::new(
                    format!("mv --exchange {dir}.new {dir}"),
                    "both are exchanged at once, after every program was seen to find its libraries",
                ));
                lines
            }
        }
    }
}
