//! A jail that attacks itself: harmless attempts of what hostile programs try, made inside a jail under exactly its
//! protections, with a verdict on each. See [`Engine::check_run`] and [`Engine::check_jail`].

mod probes;

use crate::error::EngineError;
use crate::event::Observer;
use crate::jail;
use crate::outcome::{Io, Status};
use crate::run::{ExecPlan, RunPlan};
use crate::{Engine, JailError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

/// The most that a jail's probes may say.
const LIMIT: usize = 256 << 10;

/// What was found out about one way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Closed.
    Held,
    /// Open: it leads out of the jail, or further into the kernel than a jail needs.
    Open,
    /// It cannot be tried here.
    Absent,
}

/// A probe and its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A word for it.
    pub probe: String,
    /// The class of failure it belongs to, as SECURITY.md numbers them.
    pub class: u8,
    /// What was found.
    pub verdict: Verdict,
    /// What was tried, and what came of it.
    pub found: String,
}

/// What the process outside is, for the probes to tell inside from outside.
#[derive(Debug, Clone)]
struct Outside {
    /// The kinds of namespaces and the inode of each.
    namespaces: BTreeMap<&'static str, u64>,
    /// Its process.
    pid: u32,
    /// Whether it is root of the host.
    root: bool,
    /// The device numbers of what is mounted, as proc_pid_mountinfo(5) writes them.
    devices: BTreeSet<String>,
}

/// The files of `/proc/self/ns` that probes compare.
const NAMESPACES: [&str; 7] = ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"];

fn namespaces() -> BTreeMap<&'static str, u64> {
    let inode = |kind: &&str| std::fs::metadata(format!("/proc/self/ns/{kind}")).ok();
    NAMESPACES
        .iter()
        .filter_map(|kind| Some((*kind, inode(kind)?.ino())))
        .collect()
}

impl Outside {
    fn current() -> Self {
        let caller = crate::probe::caller();
        Self {
            namespaces: namespaces(),
            pid: std::process::id(),
            root: caller.uid == 0 && crate::session::ids().is_none(),
            devices: std::fs::read_to_string("/proc/self/mountinfo")
                .unwrap_or_default()
                .lines()
                .filter_map(|mount| mount.split(' ').nth(2).map(str::to_owned))
                .collect(),
        }
    }
}

/// Runs the probes by `start`, which runs a function in the jail.
fn run(
    start: impl FnOnce(Io<'_>, &mut dyn FnMut() -> u8) -> Result<crate::Outcome, JailError>,
) -> Result<Vec<Finding>, EngineError> {
    let outside = Outside::current();
    let mut bytes = Vec::new();
    let mut sink = |part: &[u8]| {
        let room = LIMIT.saturating_sub(bytes.len());
        bytes.extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
    };
    let mut inside = || {
        // First, for they look at what is open.
        let findings = probes::all(&outside);
        let Ok(mut output) = jaula_sys::pty::output().map(File::from) else {
            return 1;
        };
        for finding in findings {
            let Ok(mut line) = serde_json::to_vec(&finding) else {
                return 1;
            };
            line.push(b'\n');
            if output.write_all(&line).is_err() {
                return 1;
            }
        }
        0
    };
    let outcome = start(Io::Captured(&mut sink), &mut inside)?;
    let findings: Result<Vec<Finding>, _> = serde_json::Deserializer::from_slice(&bytes)
        .into_iter()
        .collect();
    match (outcome.status, findings) {
        (Status::Exited(0), Ok(findings)) if !findings.is_empty() => Ok(findings),
        _ => Err(EngineError::Check {
            status: outcome.status,
        }),
    }
}

impl Engine {
    /// Runs the probes in the jail that a login of the calling user gets.
    ///
    /// # Errors
    /// When he would not be let in, or the jail cannot be started.
    pub fn check_login(&self) -> Result<Vec<Finding>, EngineError> {
        let plan =
            crate::accounts::jail_of_login().map_err(crate::accounts::AccountsError::from)?;
        run(|io, inside| jail::call(&plan, io, inside))
    }

    /// Attacks the jail that a run would have, its image made when it is missing; its program is not run.
    ///
    /// # Errors
    /// When the jail cannot be made, or the probes did not come to their end.
    pub fn check_run(
        &self,
        plan: &RunPlan,
        observer: &dyn Observer,
    ) -> Result<Vec<Finding>, EngineError> {
        self.run_by(plan, observer, |jail| {
            run(|io, function| jail::call(jail, io, function))
        })
    }

    /// Attacks a named jail from inside: joins it, starting it first when it does not run.
    ///
    /// # Errors
    /// As for [`Engine::check_run`].
    pub fn check_jail(&self, plan: &ExecPlan) -> Result<Vec<Finding>, EngineError> {
        self.exec_by(plan, |running, held, plan, groups| {
            run(|io, function| jail::enter_call(running, held, plan, io, groups, function))
        })
    }
}
