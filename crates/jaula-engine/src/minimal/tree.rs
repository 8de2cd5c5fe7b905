//! A directory filled with files of the host, as jailkit does it: what is there stays, what is missing comes.

use super::host::{self, Host};
use super::renew::resume;
use super::{MinimalImageError, kept, place};
use crate::engine::Engine;
use crate::error::{At, EngineError};
use crate::plan::Preview;
use jaula_plan::explain::{ExplainLine, shown, word};
use jaula_plan::minimal::{
    Content, Gathered, ItemKind, Note, Placing, RECORD_VERSION, Record, Rules, gather,
};
use jaula_plan::step::human;
use jaula_sys::dir::Dir;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a directory is to be filled with.
#[derive(Debug, Clone)]
pub struct TreeSpec {
    /// The directory, absolute. It is made when it is missing.
    pub dir: PathBuf,
    /// What comes into it.
    pub content: Content,
    /// How.
    pub placing: Placing,
    /// Whether files that are there are replaced.
    pub force: bool,
    /// Whether the bytes of what is copied are hashed, for a later check.
    pub hash: bool,
}

/// What filling it takes.
#[derive(Debug, Clone)]
pub struct TreePlan {
    pub(super) spec: TreeSpec,
    pub(super) found: Gathered,
}

/// What is told while a directory is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// A directory was made at this path in the jail.
    Directory(&'a Path),
    /// A link was made.
    Link(&'a Path, &'a Path),
    /// A file was copied.
    Copied(&'a Path),
    /// A file of the host got a further name.
    Linked(&'a Path),
    /// It could not, and was copied.
    NotLinked(&'a Path),
    /// Something is there already, and stays.
    Exists(&'a Path),
    /// It was there, and was replaced.
    Replaced(&'a Path),
    /// Its set-id bits were not taken over.
    SetId(&'a Path),
    /// A device was made.
    Device(&'a Path),
    /// It could not be made.
    NoDevice(&'a Path),
    /// An account of this name was written to this file.
    Account(&'a str, &'a Path),
    /// It was there.
    HasAccount(&'a str, &'a Path),
}

/// Who is told; called from one thread at a time, in the order of paths.
pub type Tell<'a> = dyn FnMut(Told<'_>) + 'a;

impl Engine {
    /// Finds what comes into the directory.
    pub fn plan_fill(&self, spec: &TreeSpec) -> Result<TreePlan, EngineError> {
        let mut host = Host::open()?;
        let native = host::native()?;
        let found = gather(&mut host, &spec.content, native).map_err(MinimalImageError::Plan)?;
        Ok(TreePlan::new(spec.clone(), found))
    }

    /// Fills it.
    pub fn fill(&self, plan: &TreePlan, tell: &mut Tell<'_>) -> Result<Record, EngineError> {
        let dir = &plan.spec.dir;
        if plan.spec.placing == Placing::Live {
            return Err(MinimalImageError::LiveTree.into());
        }
        let _lock = kept::lock(self.store(), dir)?;
        resume(self.store(), dir)?;
        place::make_way(dir).map_err(MinimalImageError::Io)?;
        let root = Dir::open(dir).at("open", dir);
        let placed = place::fill(plan, root.map_err(MinimalImageError::Io)?, tell)?;
        let mut record = plan.record(placed);
        let before = kept::read(&kept::place(self.store(), dir))?;
        record.joined(before.as_ref());
        kept::write(self.store(), dir, &record)?;
        Ok(record)
    }
}

trait Joined {
    fn joined(&mut self, before: Option<&Record>);
}

impl Joined for Record {
    /// What was placed earlier stays on record.
    fn joined(&mut self, before: Option<&Record>) {
        let Some(before) = before else { return };
        for (path, entry) in &before.entries {
            let entry = entry.clone();
            self.entries.entry(path.clone()).or_insert(entry);
        }
        let mut with = before.with.clone();
        with.extend(self.with.drain(..).filter(|new| !before.with.contains(new)));
        self.with = with;
        for (name, rule) in &before.rules {
            match self.rules.get_mut(name) {
                // What came by an earlier form of the rule is still there.
                Some(new) => new.join(rule),
                None => drop(self.rules.insert(name.clone(), rule.clone())),
            }
        }
        self.packs |= before.packs;
    }
}

impl TreePlan {
    pub(super) fn new(spec: TreeSpec, found: Gathered) -> Self {
        Self { spec, found }
    }

    /// Bytes of all its files.
    fn bytes(&self) -> u64 {
        let sizes = self.found.items.iter().filter_map(|(path, item)| {
            let is_file = matches!(item.kind, ItemKind::File { .. });
            let meta = is_file.then(|| path.symlink_metadata().ok());
            meta.flatten().map(|meta| meta.len())
        });
        sizes.fold(0, u64::saturating_add)
    }

    /// What was passed over.
    pub fn notes(&self) -> &[Note] {
        &self.found.notes
    }

    /// The rules that are followed.
    pub fn rules(&self) -> &[String] {
        &self.found.rules
    }

    pub(super) fn record(
        &self,
        entries: BTreeMap<PathBuf, jaula_plan::minimal::Recorded>,
    ) -> Record {
        Record {
            version: RECORD_VERSION,
            at: Some(self.spec.dir.clone()),
            with: self.spec.content.with.clone(),
            rules: strange(&self.spec.content.rules),
            packs: self.spec.content.packs,
            placing: self.spec.placing,
            live: Vec::new(),
            entries,
        }
    }
}

/// The rules that are not the program's own.
pub(super) fn strange(rules: &Rules) -> BTreeMap<String, jaula_plan::minimal::Rule> {
    let own = Rules::own();
    let differ = rules
        .all()
        .filter(|rule| own.named(&rule.name) != Some(rule));
    differ
        .map(|rule| (rule.name.clone(), rule.clone()))
        .collect()
}

impl fmt::Display for TreePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |is: fn(&ItemKind) -> bool| {
            let kinds = self.found.items.values();
            kinds.filter(|item| is(&item.kind)).count()
        };
        writeln!(
            f,
            "fill {} with {} files ({}), {} links and {} directories of the host",
            shown(&self.spec.dir),
            count(|kind| matches!(kind, ItemKind::File { .. } | ItemKind::Made { .. })),
            human(self.bytes()),
            count(|kind| matches!(kind, ItemKind::Link { .. })),
            count(|kind| matches!(kind, ItemKind::Directory { .. })),
        )?;
        for (path, item) in &self.found.items {
            let (path, why) = (shown(path), &item.why);
            match &item.kind {
                ItemKind::Directory { mode } => writeln!(f, "  {mode:04o} {path}/: {why}")?,
                ItemKind::Link { target } => {
                    writeln!(f, "  link {path} -> {}: {why}", shown(target))?;
                }
                ItemKind::File { mode, dropped } => {
                    let note = if *dropped {
                        ", set-id bits dropped"
                    } else {
                        ""
                    };
                    writeln!(f, "  {mode:04o} {path}: {why}{note}")?;
                }
                ItemKind::Made { mode, .. } => writeln!(f, "  {mode:04o} {path}, made: {why}")?,
            }
        }
        for device in &self.found.devices {
            writeln!(f, "  device {}", shown(device))?;
        }
        for note in &self.found.notes {
            writeln!(f, "  note: {note}")?;
        }
        Ok(())
    }
}

impl Preview for TreePlan {
    fn to_json(&self) -> Value {
        json!({
            "version": 1,
            "dir": self.spec.dir,
            "placing": self.spec.placing,
            "rules": self.found.rules,
            "items": self.found.items,
            "devices": self.found.devices,
            "notes": self.found.notes,
        })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        let dir = &self.spec.dir;
        let inside = |path: &Path| word(dir.join(path.strip_prefix("/").unwrap_or(path)));
        let (mut directories, mut links, mut files) = (Vec::new(), Vec::new(), Vec::new());
        let how = match self.spec.placing {
            Placing::Hardlink => "ln",
            Placing::Reflink => "cp --reflink=always --preserve=mode,timestamps",
            Placing::Copy | Placing::Live => "cp --preserve=mode,timestamps",
        };
        for (path, item) in &self.found.items {
            let to = inside(path);
            match &item.kind {
                ItemKind::Directory { mode } => {
                    directories.push(format!("mkdir -m {mode:04o} {to}"));
                }
                ItemKind::Link { target } => {
                    links.push(format!("ln --symbolic {} {to}", word(target)));
                }
                ItemKind::File { .. } => files.push(format!("{how} {} {to}", word(path))),
                ItemKind::Made { mode, text } => {
                    let text = word(text);
                    files.push(format!(
                        "printf %s {text} | install -m {mode:04o} /dev/stdin {to}"
                    ));
                }
            }
        }
        vec![
            ExplainLine::new(
                directories.join("\n"),
                "directories with the modes that they have on the host",
            ),
            ExplainLine::new(
                links.join("\n"),
                "links as on the host, and where the loader looks without a cache",
            ),
            ExplainLine::new(
                files.join("\n"),
                "the files and what they need; set-id bits and file capabilities are dropped",
            ),
        ]
    }
}
