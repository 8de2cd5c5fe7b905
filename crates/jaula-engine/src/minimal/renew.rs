//! A jail's content made anew from what the host has now: beside the old one, tested, then exchanged with it.

use super::host::{self, Host};
use super::inspect::{CheckTarget, in_use, trees, unloadable};
use super::kept::{self, origin};
use super::tree::{TreePlan, TreeSpec};
use super::within::inside;
use super::{MinimalImageError, MinimalPlan, Wanted, place};
use crate::engine::Engine;
use crate::error::{At, EngineError, PathError};
use crate::event::{Event, Observer};
use crate::named;
use crate::plan::Preview;
use jaula_plan::explain::{ExplainLine, shown, word};
use jaula_plan::minimal::{
    Content, ItemKind, Placing, Record, Recorded, RecordedKind, Rules, gather,
};
use jaula_sys::dir::Dir as Beneath;
use jaula_sys::tree::{self, Dir, Kind};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Directories within each other.
const MOST_DEPTH: usize = 128;

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

/// What an update takes.
#[derive(Debug)]
pub struct UpdatePlan {
    target: CheckTarget,
    changes: BTreeMap<PathBuf, Change>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Another image for a named jail.
    Image(Box<named::Record>, Box<MinimalPlan>),
    /// Another tree for a directory.
    Tree(Box<TreePlan>, Box<Record>),
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
        let trees = trees(self, target)?;
        let Some(before) = trees.record else {
            return Err(MinimalImageError::NoRecord {
                what: named_or_path(target),
            }
            .into());
        };
        let content = content_of(&before);
        match target {
            CheckTarget::Named(name) => {
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
                    let upper = Beneath::open(upper).at("open", upper)?;
                    for (path, change) in &mut changes {
                        if upper.meta_beneath(path) {
                            *change = Change::Kept;
                        }
                    }
                }
                let way = Way::Image(Box::new(jail), Box::new(plan));
                Ok(UpdatePlan {
                    target: target.clone(),
                    changes,
                    way,
                })
            }
            CheckTarget::Directory(dir) => {
                if let Some(found) = in_use(dir, spec.in_use)? {
                    return Err(MinimalImageError::InUse {
                        path: dir.clone(),
                        by: found,
                    }
                    .into());
                }
                Ok(plan_tree(dir, before, content, spec)?)
            }
        }
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
                    tested(image.root(), &record)?;
                }
                let mut jail = named::Record::clone(jail);
                jail.image = Some(*image.digest());
                named::rewrite(self.store(), &jail)?;
                observer.event(Event::Made {
                    what: "jail",
                    path: named::jail_dir(self.store(), &jail.name),
                });
            }
            Way::Tree(fresh, before) => {
                exchange(self, fresh, before, &plan.changes)?;
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
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return false;
        };
        self.open_dir(inside(parent))
            .is_ok_and(|dir| dir.meta(name).is_ok())
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
    before: Record,
    content: Content,
    spec: UpdateSpec,
) -> Result<UpdatePlan, MinimalImageError> {
    let mut host = Host::open()?;
    let native = host::native()?;
    let mut found = gather(&mut host, &content, native)?;
    let jail = Beneath::open(dir).at("open", dir)?;
    let mut changes = BTreeMap::new();
    let mut unchanged = Vec::new();
    for (path, item) in &found.items {
        let ItemKind::File { .. } = item.kind else {
            if !before.entries.contains_key(path) && !jail.meta_beneath(path) {
                changes.insert(path.clone(), Change::Added);
            }
            continue;
        };
        let old = match before.entries.get(path).map(|entry| &entry.kind) {
            Some(RecordedKind::File { sha256, origin, .. }) => Some((sha256, origin)),
            _ => None,
        };
        let there = jail.meta_beneath(path);
        let Some((sha256, was)) = old else {
            match there {
                true => unchanged.push(path.clone()),
                false => drop(changes.insert(path.clone(), Change::Added)),
            }
            continue;
        };
        if !there {
            changes.insert(path.clone(), Change::Added);
            continue;
        }
        let file = host.file(path)?;
        let now = origin(&file.metadata().at("look at", path)?);
        let same =
            now == *was || sha256.is_some() && *sha256 == Some(super::inspect::hash(file, path)?);
        if same {
            unchanged.push(path.clone());
            continue;
        }
        let own = changed_inside(&jail, path, sha256.as_deref())? && !spec.force;
        let change = match own {
            true => Change::Kept,
            false => Change::Replaced,
        };
        changes.insert(path.clone(), change);
    }
    for (path, entry) in &before.entries {
        if found.items.contains_key(path) || !jail.meta_beneath(path) {
            continue;
        }
        let change = match &entry.kind {
            RecordedKind::Directory { .. } | RecordedKind::Made { .. } => continue,
            RecordedKind::Link { .. } => Change::Removed,
            RecordedKind::File { sha256, .. } => {
                match changed_inside(&jail, path, sha256.as_deref())? && !spec.force {
                    true => Change::Kept,
                    false => Change::Removed,
                }
            }
        };
        changes.insert(path.clone(), change);
    }
    let unchanged: BTreeSet<PathBuf> = unchanged.iter().cloned().collect();
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
        Some(before.clone()),
    );
    Ok(UpdatePlan {
        target: CheckTarget::Directory(dir.to_owned()),
        changes,
        way: Way::Tree(Box::new(plan), Box::new(before)),
    })
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

fn tested(root: &Path, record: &Record) -> Result<(), MinimalImageError> {
    let failed = unloadable(root, record)?;
    match failed.is_empty() {
        true => Ok(()),
        false => Err(MinimalImageError::SelfTest { failed }),
    }
}

/// The new tree beside the old one: every file that stays is the same inode, so nothing that jaula does not know is
/// copied, and nothing is lost when it is written meanwhile.
fn exchange(
    engine: &Engine,
    fresh: &TreePlan,
    before: &Record,
    changes: &BTreeMap<PathBuf, Change>,
) -> Result<(), MinimalImageError> {
    let dir = &fresh.spec.dir;
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).at("update", dir)?;
    };
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(".jaula-update");
    let beside_path = parent.join(&beside);
    let marker = kept::place(engine.store(), dir).with_extension("updating");
    let up = Beneath::open(parent).at("open", parent)?;
    if beside_path.symlink_metadata().is_ok() {
        // Only what an update that was killed has left is removed.
        if !marker.is_file() {
            return Err(MinimalImageError::Conflict {
                path: beside_path,
                wanted: "left by an update",
            });
        }
        crate::remove::tree(&up, &beside).map_err(MinimalImageError::Remove)?;
    }
    engine.store().made("trees")?;
    std::fs::write(&marker, b"").at("write", &marker)?;
    let done = exchanged(engine, fresh, before, changes, &up, name, &beside);
    if done.is_err() && beside_path.symlink_metadata().is_ok() {
        crate::remove::tree(&up, &beside).map_err(MinimalImageError::Remove)?;
    }
    std::fs::remove_file(&marker).at("remove", &marker)?;
    done
}

fn exchanged(
    engine: &Engine,
    fresh: &TreePlan,
    before: &Record,
    changes: &BTreeMap<PathBuf, Change>,
    up: &Beneath,
    name: &std::ffi::OsStr,
    beside: &std::ffi::OsStr,
) -> Result<(), MinimalImageError> {
    let dir = &fresh.spec.dir;
    let parent = dir.parent().unwrap_or(Path::new("/"));
    let beside_path = parent.join(beside);
    up.make_dir(beside, 0o700).at("make", &beside_path)?;
    let upper = Dir::open(parent).at("open", parent)?;
    let word = |name: &std::ffi::OsStr| CString::new(name.as_bytes()).map_err(io::Error::from);
    let (one, other) = (
        word(name).at("exchange", dir)?,
        word(beside).at("exchange", dir)?,
    );
    let old = upper.dir(&one).at("open", dir)?;
    let new = upper.dir(&other).at("open", &beside_path)?;
    mirror(&old, &new, Path::new("/"), 0, &mut |_| true)?;
    let gone: BTreeSet<&PathBuf> = changes
        .iter()
        .filter(|(_, change)| **change == Change::Removed)
        .map(|(path, _)| path)
        .collect();
    let inner = up.open_dir(beside).at("open", &beside_path)?;
    for path in &gone {
        let (Some(above), Some(last)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let within = inner.open_dir(inside(above)).at("open", path)?;
        within.unlink(last).at("remove", path)?;
    }
    let mut here = TreePlan::clone(fresh);
    here.spec.dir = beside_path.clone();
    let placed = place::fill(&here, &mut |_| {})?;
    let mut record = Record::clone(before);
    record.entries.retain(|path, _| !gone.contains(path));
    record.entries.extend(placed);
    tested(&beside_path, &record)?;
    new.sync_fs().at("sync", &beside_path)?;
    let exchange = || upper.exchange(&one, &upper, &other).at("exchange", dir);
    exchange()?;
    // What was made in the old one meanwhile comes along.
    let rest = mirror(&old, &new, Path::new("/"), 0, &mut |path| {
        !gone.contains(&path.to_owned())
    });
    let rest = rest.map_err(MinimalImageError::Io);
    if let Err(error) = rest.and_then(|()| kept::write(engine.store(), dir, &record)) {
        // The caller removes the new one; the record is still that of the old one.
        exchange()?;
        return Err(error);
    }
    crate::remove::tree(up, beside).map_err(MinimalImageError::Remove)
}

/// Gives everything in a tree a further name in another one, where that has not the name yet.
fn mirror(
    from: &Dir,
    to: &Dir,
    path: &Path,
    depth: usize,
    wanted: &mut dyn FnMut(&Path) -> bool,
) -> Result<(), PathError> {
    if depth > MOST_DEPTH {
        return Err(io::Error::from_raw_os_error(40)).at("look at", path);
    }
    for entry in from.entries().at("list", path)? {
        let here = path.join(std::ffi::OsStr::from_bytes(entry.name.to_bytes()));
        let name = &entry.name;
        let stat = match from.stat(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            stat => stat.at("look at", &here)?,
        };
        if stat.kind != Kind::Dir {
            if wanted(&here) && to.stat(name).is_err() {
                from.link(name, to, name).at("link", &here)?;
            }
            continue;
        }
        let inner = from.dir(name).at("open", &here)?;
        let made = to.stat(name).is_err();
        if made {
            to.make_dir(name, 0o700).at("make", &here)?;
        }
        let Ok(other) = to.dir(name) else { continue };
        mirror(&inner, &other, &here, depth.saturating_add(1), wanted)?;
        if made {
            same(&inner, &other).at("change", &here)?;
        }
    }
    if depth == 0 {
        same(from, to).at("change", path)?;
    }
    Ok(())
}

/// Owner, mode, times and attributes of a directory.
fn same(from: &Dir, to: &Dir) -> io::Result<()> {
    let stat = from.stat_self()?;
    for (key, value) in tree::file_xattrs(from)? {
        tree::set_xattr(to, &key, &value)?;
    }
    to.set_self(stat.uid, stat.gid, stat.mode, stat.mtime, stat.mtime_nsec)
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
            Way::Tree(plan, _) => {
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
