//! Simulated networks: many nodes in one user namespace, held by one process, with an entry in the store.
//!
//! The entry, `run/labs/NAME.json`, says which process holds the networks of the nodes open, under which numbers, and
//! what was planned; `NAME.hosts` beside it is every node's hosts(5). A program in a node joins the lab's user and
//! process namespaces and the node's network; it ends with the lab, because the first process of that process
//! namespace does.

mod build;
mod capture;
mod check;
mod error;
mod keep;
mod node;
mod probe;

pub use capture::{Bounds, Captured, capture};
pub use check::{Answer, check};
pub use error::LabRunError;
pub use keep::up;
pub use node::{NodeProgram, Ran, run_in, start_in};
pub use probe::facts;

use crate::error::At;
use crate::named::start_time;
use crate::plan::Preview;
use crate::store::{Store, StoreError};
use jaula_plan::explain::ExplainLine;
use jaula_plan::lab::LabPlan;
use jaula_plan::names::JailName;
use jaula_sys::joining::Held;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// An entry is never longer: a plan of the most nodes with some interfaces each.
const LIMIT: u64 = 16 << 20;
/// Milliseconds a lab may take to end.
const END: i64 = 10_000;

impl Preview for LabPlan {
    fn to_json(&self) -> Value {
        json!({ "version": 1, "plan": self })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        Self::explain(self)
    }
}

/// A process, by its number and when it started: a number that is used again belongs to one that started later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// In clock ticks since boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
}

impl Holder {
    /// Whether it still lives.
    pub fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }
}

/// A lab that runs, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabEntry {
    /// The version of this shape: 1.
    pub version: u32,
    /// The process that has the networks open.
    pub holder: Holder,
    /// Its supervisor, which ends last.
    pub keeper: Holder,
    /// The holder's descriptors of the nodes' networks, in the plan's order.
    pub nets: Vec<i32>,
    /// What was made.
    pub plan: LabPlan,
}

impl LabEntry {
    /// Whether it runs.
    pub fn alive(&self) -> bool {
        self.holder.alive()
    }

    /// The place of a node.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn node(&self, name: &str) -> Result<usize, LabRunError> {
        match self.plan.node(name) {
            Some((at, _)) => Ok(at),
            None => Err(LabRunError::NoNode {
                lab: self.plan.name.clone(),
                node: name.to_owned(),
                others: self
                    .plan
                    .nodes
                    .iter()
                    .map(|n| n.name.clone())
                    .take(12)
                    .collect(),
            }),
        }
    }

    fn open(&self, file: &str) -> Result<OwnedFd, LabRunError> {
        let path = format!("/proc/{}/{file}", self.holder.pid);
        let opened = File::open(&path).at("open", Path::new(&path))?;
        // It was that process's if it is still that one.
        if !self.alive() {
            return Err(LabRunError::Ended {
                name: self.plan.name.clone(),
            });
        }
        Ok(opened.into())
    }

    /// Whose users the lab's are.
    ///
    /// # Errors
    /// When it has ended, or is somebody else's.
    pub fn users(&self) -> Result<Held, LabRunError> {
        Ok((
            self.open("ns/user")?,
            crate::namespaces::NsKind::User.flag(),
        ))
    }

    /// Its processes: who is among them ends with it.
    ///
    /// # Errors
    /// When it has ended, or is somebody else's.
    pub fn processes(&self) -> Result<Held, LabRunError> {
        Ok((self.open("ns/pid")?, crate::namespaces::NsKind::Pid.flag()))
    }

    /// The network of a node.
    ///
    /// # Errors
    /// When it has ended, or is somebody else's.
    pub fn net(&self, node: usize) -> Result<Held, LabRunError> {
        let number = self.nets.get(node).copied().unwrap_or(-1);
        let fd = self.open(&format!("fd/{number}"))?;
        Ok((fd, crate::namespaces::NsKind::Net.flag()))
    }
}

fn entry_path(store: &Store, name: &JailName) -> PathBuf {
    store.root().join("run/labs").join(format!("{name}.json"))
}

/// hosts(5) of a lab's nodes.
pub fn hosts_path(store: &Store, name: &JailName) -> PathBuf {
    entry_path(store, name).with_extension("hosts")
}

fn read(path: &Path) -> Option<LabEntry> {
    let mut text = Vec::new();
    File::open(path)
        .ok()?
        .take(LIMIT)
        .read_to_end(&mut text)
        .ok()?;
    serde_json::from_slice(&text).ok()
}

/// Every lab of the store, by name, whether it still runs or not; what is no entry is passed over.
///
/// # Errors
/// When the directory cannot be read.
pub fn entries(store: &Store) -> Result<Vec<LabEntry>, StoreError> {
    let paths = store.paths_in("run/labs")?;
    let ours = paths
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut found: Vec<LabEntry> = ours.filter_map(|path| read(path)).collect();
    found.sort_by(|a, b| a.plan.name.cmp(&b.plan.name));
    Ok(found)
}

/// One lab of the store, whether it still runs or not.
///
/// # Errors
/// When there is none.
pub fn entry(store: &Store, name: &JailName) -> Result<LabEntry, LabRunError> {
    match read(&entry_path(store, name)) {
        Some(entry) => Ok(entry),
        None => Err(LabRunError::NoLab {
            name: name.clone(),
            others: running(store)?
                .iter()
                .map(|lab| lab.plan.name.to_string())
                .collect(),
        }),
    }
}

/// Those that run.
///
/// # Errors
/// When the directory cannot be read.
pub fn running(store: &Store) -> Result<Vec<LabEntry>, StoreError> {
    let mut found = entries(store)?;
    found.retain(LabEntry::alive);
    Ok(found)
}

fn forget(store: &Store, name: &JailName) -> Result<(), LabRunError> {
    for path in [entry_path(store, name), hosts_path(store, name)] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other.at("remove", &path)?,
        }
    }
    Ok(())
}

/// The files of labs whose process is gone.
///
/// # Errors
/// When the directory cannot be read.
pub fn stale(store: &Store) -> Result<Stale, StoreError> {
    let paths = store.paths_in("run/labs")?;
    let of = |path: &PathBuf| path.with_extension("json");
    let runs = |path: &PathBuf| read(&of(path)).is_some_and(|entry| entry.alive());
    // While one is started its entry may not be there yet, and its other files are.
    let Ok(lock) = keep::try_lock(store) else {
        return Ok(Stale::default());
    };
    Ok(Stale {
        paths: paths.into_iter().filter(|path| !runs(path)).collect(),
        _lock: Some(lock),
    })
}

/// Files that no lab has; while this lives none is started that could have them.
#[derive(Debug, Default)]
pub struct Stale {
    /// The files.
    pub paths: Vec<PathBuf>,
    _lock: Option<File>,
}

/// Ends a lab with all that runs in it.
///
/// # Errors
/// When it does not end.
pub fn down(store: &Store, entry: &LabEntry) -> Result<(), LabRunError> {
    let _lock = keep::lock(store)?;
    let path = entry_path(store, &entry.plan.name);
    let alive = || entry.holder.alive();
    let stuck = || LabRunError::Stuck {
        name: entry.plan.name.clone(),
        pid: entry.keeper.pid,
    };
    let ended = jaula_sys::dir::kill_and_wait(entry.holder.pid, &alive, END);
    if !ended.at("end the lab of", &path)? {
        return Err(stuck());
    }
    // The supervisor has waited for the last process of the lab when it ends.
    if let Ok(keeper) = jaula_sys::process::pidfd(entry.keeper.pid)
        && entry.keeper.alive()
    {
        use std::os::fd::AsFd;
        let wait = i32::try_from(END).unwrap_or(i32::MAX);
        if jaula_sys::process::readable(&[keeper.as_fd()], wait) == 0 {
            return Err(stuck());
        }
    }
    // Meanwhile another one of that name may have been started.
    match read(&path) {
        Some(there) if there.holder != entry.holder => Ok(()),
        _ => forget(store, &entry.plan.name),
    }
}
