//! The groups of one jail: made, entered, removed.

use super::PREFIX;
use super::probe::{is_jails, own_groups};
use crate::error::{At, PathError};
use crate::event::{Event, Observer};
use crate::jail::JailError;
use crate::journal::{Intent, Journal};
use crate::store::Store;
use jaula_plan::jail::JailPlan;
use jaula_plan::limit_op::{GroupPlan, LimitOp, Setting};
use jaula_plan::setup_op::SetupOp;
use jaula_plan::spec::limits::shown_duration;
use jaula_sys::cgroup::Group;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the processes of a group may take to be gone after they were killed.
const END: Duration = Duration::from_secs(5);

/// A limit, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HeldLimit {
    /// As asked.
    pub limit: String,
    /// Whether it is enforced.
    pub enforced: bool,
    /// By what: a file of a control group, `setrlimit`, `setpriority`, `supervisor`; why not when it is not.
    pub by: String,
    /// What the kernel says of it.
    pub value: String,
}

/// One group of the jail.
#[derive(Debug)]
struct Made {
    parent: Group,
    name: String,
    path: PathBuf,
    /// The group itself.
    group: Group,
    /// Where its processes go.
    home: Option<Group>,
    held: Vec<HeldLimit>,
}

/// The groups of a jail that is started, or of a program that joins one.
#[derive(Debug, Default)]
pub struct Groups {
    made: Vec<Made>,
    /// Those of the jail that is joined.
    joined: Vec<(PathBuf, Group)>,
    journal: Option<Journal>,
    /// Whether another process removes them.
    left: bool,
}

/// The groups of a plan, each with its place in it.
fn planned(plan: &JailPlan) -> impl Iterator<Item = (usize, &GroupPlan)> {
    plan.ops
        .iter()
        .enumerate()
        .filter_map(|(step, op)| match op {
            SetupOp::Limit(LimitOp::Group(group)) => Some((step, group)),
            _ => None,
        })
}

impl Groups {
    /// The groups that a plan needs; nothing is done when it needs none. With a store they are in its journal before
    /// they are made, and removed by the next start when this process is killed.
    ///
    /// # Errors
    /// [`JailError::Limit`]; nothing is left then.
    pub fn make(plan: &JailPlan, store: Option<&Store>) -> Result<Self, JailError> {
        let mut groups = Self::default();
        if planned(plan).next().is_none() {
            return Ok(groups);
        }
        let own = |source| JailError::Limit {
            limit: String::new(),
            source,
        };
        let id = match store {
            Some(store) => {
                let (id, journal) = store.journal().map_err(|source| JailError::Journal {
                    source: Box::new(source),
                })?;
                groups.journal = Some(journal);
                id
            }
            None => {
                let bytes = jaula_sys::dir::random()
                    .at("name", "a control group")
                    .map_err(own)?;
                jaula_repo::hex::encode(&bytes)
            }
        };
        for (step, plan_of_one) in planned(plan) {
            let fault = plan.fault.filter(|fault| fault.op == step);
            // What is made so far is removed when `groups` is dropped.
            match fault.map(|fault| fault.errno) {
                Some(0) => jaula_sys::dir::kill_self(),
                Some(errno) => {
                    let error = std::io::Error::from_raw_os_error(errno);
                    Err(error).at("make", &plan_of_one.parent).map_err(own)?;
                }
                None => {}
            }
            groups.one(plan_of_one, &format!("{PREFIX}{id}"))?;
        }
        Ok(groups)
    }

    fn point(&self) -> Result<(), PathError> {
        self.journal.as_ref().map_or(Ok(()), Journal::point)
    }

    fn one(&mut self, plan: &GroupPlan, name: &str) -> Result<(), JailError> {
        let of = |limit: &str| {
            let limit = limit.to_owned();
            move |source: PathError| JailError::Limit { limit, source }
        };
        let first = plan
            .settings
            .iter()
            .find(|setting| !setting.limit.is_empty());
        let first = first.map_or("", |setting| setting.limit.as_str());
        let path = plan.parent.join(name);
        let parent = Group::open(&plan.parent)
            .at("open", &plan.parent)
            .map_err(of(first))?;
        for controller in &plan.enable {
            let file = plan.parent.join("cgroup.subtree_control");
            parent
                .write("cgroup.subtree_control", &format!("+{controller}"))
                .at("write", file)
                .map_err(of(first))?;
        }
        if let Some(journal) = &mut self.journal {
            let intended = journal.intend(Intent::Group(path.clone()));
            intended.map_err(of(first))?;
        }
        let group = parent.make(name).at("make", &path).map_err(of(first))?;
        // From here on it is removed again whatever fails.
        self.made.push(Made {
            parent,
            name: name.to_owned(),
            path: path.clone(),
            group,
            home: None,
            held: Vec::new(),
        });
        self.point().map_err(of(first))?;
        let Some(made) = self.made.last_mut() else {
            return Ok(());
        };
        for setting in &plan.settings {
            let file = path.join(setting.file);
            made.group
                .write(setting.file, &setting.value)
                .at("write", &file)
                .map_err(of(&setting.limit))?;
        }
        for setting in plan.settings.iter().filter(|set| !set.limit.is_empty()) {
            let file = path.join(setting.file);
            let text = made.group.read(setting.file).at("read", &file);
            made.held.push(HeldLimit {
                limit: setting.limit.clone(),
                enforced: true,
                by: jaula_plan::explain::shown(&file),
                value: said(setting, &text.map_err(of(&setting.limit))?),
            });
        }
        if plan.inner {
            for controller in &plan.controllers {
                made.group
                    .write("cgroup.subtree_control", &format!("+{controller}"))
                    .at("write", path.join("cgroup.subtree_control"))
                    .map_err(of(first))?;
            }
            let home = made.group.make("jail").at("make", path.join("jail"));
            made.home = Some(home.map_err(of(first))?);
        }
        self.point().map_err(of(first))
    }

    /// The same with the groups of a running jail, which a process that joins it goes into too.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn joining(mut self, pid: u32) -> Result<Self, JailError> {
        for (_, path) in own_groups(Some(pid)) {
            let made = |made: &Made| made.path.starts_with(&path) || parents(made, &path);
            if path.ancestors().any(is_jails) && !self.made.iter().any(made) {
                let group = Group::open(&path).at("open", &path);
                let group = group.map_err(|source| JailError::Limit {
                    limit: String::new(),
                    source,
                })?;
                self.joined.push((path, group));
            }
        }
        Ok(self)
    }

    /// The same in a process whose starter has them too, and removes them.
    pub(crate) fn left_to_starter(mut self) -> Self {
        self.left = true;
        self
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty() && self.joined.is_empty()
    }

    /// Whether every group of a plan was made.
    pub(crate) fn are_those_of(&self, plan: &JailPlan) -> bool {
        planned(plan).count() == self.made.len()
    }

    /// Puts a process into all of them.
    pub(crate) fn place(&self, pid: i32) -> Result<(), JailError> {
        let made = self
            .made
            .iter()
            .map(|made| (&made.path, made.home.as_ref().unwrap_or(&made.group)));
        let joined = self.joined.iter().map(|(path, group)| (path, group));
        for (path, group) in made.chain(joined) {
            group
                .place(pid)
                .at("put the jail into", path)
                .map_err(|source| JailError::Limit {
                    limit: String::new(),
                    source,
                })?;
        }
        Ok(())
    }

    /// Every limit of a plan as it is held.
    pub(crate) fn held(&self, plan: &JailPlan) -> Vec<HeldLimit> {
        let mut held: Vec<HeldLimit> = self
            .made
            .iter()
            .flat_map(|made| made.held.clone())
            .collect();
        let mut add = |limit: String, enforced, by: &str, value: String| {
            let by = by.to_owned();
            held.push(HeldLimit {
                limit,
                enforced,
                by,
                value,
            });
        };
        for op in &plan.ops {
            match op {
                SetupOp::Limit(LimitOp::Process { resource, value }) => {
                    let value = value.map_or("unlimited".to_owned(), |n| n.to_string());
                    add(
                        format!("{}={value}", resource.key()),
                        true,
                        "setrlimit",
                        value,
                    );
                }
                SetupOp::Limit(LimitOp::Nice(nice)) => {
                    add(
                        format!("nice={nice}"),
                        true,
                        "setpriority",
                        nice.to_string(),
                    );
                }
                SetupOp::Limit(LimitOp::Time { after, .. }) => {
                    let text = shown_duration(*after);
                    add(format!("time={text}"), true, "supervisor", text);
                }
                SetupOp::Limit(LimitOp::Without { limit, why }) => {
                    add(limit.clone(), false, why, String::new());
                }
                _ => {}
            }
        }
        held
    }

    /// How many processes the kernel killed because there was no memory left within the limit (cgroup-v2,
    /// `memory.events`; cgroup-v1 memory, `memory.oom_control`).
    pub(crate) fn memory_kills(&self) -> u64 {
        let count = |made: &Made| {
            let files = ["memory.events", "memory.oom_control"];
            let text = files.iter().find_map(|file| made.group.read(file).ok())?;
            let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
            line?.trim().parse::<u64>().ok()
        };
        self.made.iter().filter_map(count).sum()
    }

    /// Kills whatever is left in them, and removes them.
    ///
    /// # Errors
    /// When one cannot be removed; it stays in the journal.
    pub fn remove(mut self) -> Result<(), PathError> {
        self.clear()
    }

    fn clear(&mut self) -> Result<(), PathError> {
        let mut failed = None;
        for made in self.made.drain(..).rev() {
            if let Err(error) = remove_child(&made.parent, made.name.as_ref(), &made.path) {
                failed = Some(error);
            }
        }
        match failed {
            Some(error) => Err(error),
            None => self.journal.take().map_or(Ok(()), Journal::finish),
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        if self.left {
            std::mem::forget(self.journal.take());
            return;
        }
        // What could not be removed is in the journal.
        drop(self.clear());
    }
}

/// Says which limits of a plan are done without.
pub(crate) fn tell_of_missing(plan: &JailPlan, observer: &dyn Observer) {
    for op in &plan.ops {
        if let SetupOp::Limit(LimitOp::Without { limit, why }) = op {
            let text = format!("the limit {limit} is not enforced: {why}");
            observer.event(Event::Note { text });
        }
    }
}

fn parents(made: &Made, path: &Path) -> bool {
    // A session's own group stands beside the one where the jail's processes are.
    made.path.parent() == path.parent() && path.file_name() == Some(OsStr::new("jail"))
}

/// What a file says of a setting: of a device, when it has a line for each.
fn said(setting: &Setting, text: &str) -> String {
    let device = setting
        .value
        .split_once(' ')
        .map(|(first, _)| first)
        .filter(|first| first.contains(':'));
    let line = match device {
        Some(device) => text.lines().find(|line| line.starts_with(device)),
        None => text.lines().next(),
    };
    line.unwrap_or_default().trim().to_owned()
}

/// Kills what is in a group and removes it with the groups in it.
fn remove_child(parent: &Group, name: &OsStr, path: &Path) -> Result<(), PathError> {
    // Nearly always it is empty.
    if parent.remove(name).is_ok() {
        return Ok(());
    }
    let start = Instant::now();
    loop {
        let group = match parent.child(name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.at("open", path)?,
        };
        // A new process may come to be while the others are killed: again, until none is left.
        group.kill_once().at("empty", path)?;
        for child in group.children().at("list", path)? {
            if group.remove(&child).is_err() && start.elapsed() > END {
                remove_child(&group, &child, &path.join(&child))?;
            }
        }
        match parent.remove(name) {
            Ok(()) => return Ok(()),
            Err(error) if start.elapsed() > END => return Err(error).at("remove", path),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Removes a group that an interrupted run left; only one whose name is ours.
pub fn remove_group(path: &Path) -> Result<(), PathError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    if !is_jails(path) {
        return Ok(());
    }
    match Group::open(parent) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => remove_child(&other.at("open", parent)?, name, path),
    }
}
