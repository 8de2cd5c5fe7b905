//! The process that holds a lab, and its entry in the store.
//!
//! It is the keeper of a jail with nothing in it, whose function makes the network and then waits. It waits first for
//! whoever started it to have written the entry: if he is killed before, his end of a pipe closes, and nothing is left.

use super::{LabEntry, LabRunError, build, entry_path, hosts_path};
use crate::error::At;
use crate::jail;
use crate::named::{chain, start_time};
use crate::outcome::Io;
use crate::store::Store;
use jaula_plan::jail::{JailPlan, plan_jail};
use jaula_plan::lab::LabPlan;
use jaula_plan::setup_op::SetupOp;
use jaula_plan::spec::jail::{IdRange, IdSpec, JailSpec, MountSpec, RootSpec, SeccompSpec};
use jaula_sys::detach::{detach, wait_for_the_end, wait_for_word};
use jaula_sys::joining::Held;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A report is never longer than this.
const REPORT: u64 = 64 << 10;
/// The least number of the descriptor through which the jail's function reports.
const TOLD: i32 = 10;
/// How many identifiers root's labs have: those of every user, so that the files of an image are whose they are.
const IDS: u32 = 65_536;

/// What the processes of a lab tell while it starts, a line each.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    /// Where it runs: the process that has the networks open, and its supervisor.
    Runs(super::Holder, super::Holder),
    /// Under which numbers it has them open.
    Nets(Vec<i32>),
    /// Why not.
    Failed(String),
}

fn tell(mut to: &File, told: &Told) {
    if let Ok(mut line) = serde_json::to_vec(told) {
        line.push(b'\n');
        // Who is not there to read it has ended, and so does this.
        drop(to.write_all(&line));
    }
}

/// Holds the labs of a store against others who start or end one.
pub fn lock(store: &Store) -> Result<File, LabRunError> {
    let path = store.made("run/labs")?.with_extension("lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).at("open", &path)?;
    file.lock().at("lock", &path)?;
    Ok(file)
}

/// The same, without waiting.
pub fn try_lock(store: &Store) -> Result<File, LabRunError> {
    let path = store.root().join("run/labs.lock");
    let mut options = OpenOptions::new();
    let file = options.write(true).open(&path).at("open", &path)?;
    file.try_lock()
        .map_err(std::io::Error::from)
        .at("lock", &path)?;
    Ok(file)
}

/// Starts a lab. The process must have one thread.
pub fn up(
    store: &Store,
    plan: &LabPlan,
    prepare: &mut dyn FnMut() -> Result<(), String>,
) -> Result<LabEntry, LabRunError> {
    let _lock = lock(store)?;
    if let Ok(there) = super::entry(store, &plan.name) {
        if there.alive() {
            return Err(LabRunError::Exists {
                name: plan.name.clone(),
            });
        }
        super::forget(store, &plan.name)?;
    }
    let path = entry_path(store, &plan.name);
    let (wait, mut go) = std::io::pipe().at("make a pipe for", &path)?;
    let (answer, report) = std::io::pipe().at("make a pipe for", &path)?;
    let started = detach(wait.as_fd(), report.as_fd(), &mut |report| {
        if let Err(text) = keep(&path, plan, &report, prepare) {
            tell(&report, &Told::Failed(text));
            return 1;
        }
        0
    });
    started.at("start a process for", &path)?;
    drop((wait, report));
    let (mut runs, mut nets) = (None, None);
    let mut lines = BufReader::new(answer.take(REPORT)).lines();
    while runs.is_none() || nets.is_none() {
        let line = match lines.next() {
            Some(line) => line.at("read the answer of the process for", &path)?,
            None => return Err(LabRunError::failed(plan, "its process ended early")),
        };
        match serde_json::from_str(&line) {
            Ok(Told::Runs(holder, keeper)) => runs = Some((holder, keeper)),
            Ok(Told::Nets(numbers)) => nets = Some(numbers),
            Ok(Told::Failed(text)) => return Err(LabRunError::failed(plan, &text)),
            Err(error) => return Err(LabRunError::failed(plan, &error.to_string())),
        }
    }
    let ((holder, keeper), nets) = runs
        .zip(nets)
        .ok_or_else(|| LabRunError::failed(plan, "it did not start"))?;
    let entry = LabEntry {
        version: 1,
        holder,
        keeper,
        nets,
        plan: plan.clone(),
    };
    let hosts = hosts_path(store, &plan.name);
    crate::store::replace(&hosts, plan.hosts().as_bytes()).at("write", &hosts)?;
    let text = serde_json::to_vec(&entry).map_err(std::io::Error::from);
    let text = text.at("write", &path)?;
    if text.len() as u64 > super::LIMIT {
        // Nobody would read it again; without a word its processes end.
        return Err(LabRunError::failed(plan, "it is too large to be noted"));
    }
    crate::store::replace(&path, &text).at("write", &path)?;
    // From here on it lives without us.
    go.write_all(b"!").at("let go", &path)?;
    Ok(entry)
}

/// A jail with nothing in it but what the kernel tells of networks, in which networks may be made.
fn jail_plan(keep: i32) -> Result<JailPlan, String> {
    let mut spec = JailSpec::new(RootSpec::Empty, vec!["jaula".into()]);
    if jaula_sys::process::effective_ids().0 == 0 && crate::session::ids().is_none() {
        let all = vec![IdRange {
            inside: 0,
            outside: 0,
            count: IDS,
        }];
        spec.ids = IdSpec::Map {
            users: all.clone(),
            groups: all,
        };
    }
    spec.cap_add = vec!["SYS_ADMIN".to_owned(), "NET_ADMIN".to_owned()];
    // Nothing but jaula's own code runs here, and it makes namespaces.
    spec.seccomp = SeccompSpec::Off;
    spec.namespaces.cgroup = false;
    spec.keep_fds = u32::try_from(keep).into_iter().collect();
    spec.mounts.push(MountSpec::Proc { at: "/proc".into() });
    let mut plan = plan_jail(&spec, &crate::probe::host(&spec)).map_err(|error| chain(&error))?;
    // Parameters of the lab's networks are set through it.
    plan.ops
        .retain(|op| !matches!(op, SetupOp::ReadOnly(_) | SetupOp::Mask(_)));
    Ok(plan)
}

fn keep(
    entry: &Path,
    plan: &LabPlan,
    report: &File,
    prepare: &mut dyn FnMut() -> Result<(), String>,
) -> Result<(), String> {
    prepare()?;
    jaula_sys::process::let_be_seen().map_err(|error| error.to_string())?;
    let told = jaula_sys::process::lend(report.as_fd(), TOLD).map_err(|error| error.to_string())?;
    let told = File::from(told);
    let jail = jail_plan(told.as_raw_fd())?;
    let mut own = None;
    let mut started = |found: jail::Running, _: &[Held]| {
        let pid = std::process::id();
        let keeper = super::Holder {
            pid,
            start_time: start_time(pid).unwrap_or(0),
        };
        let holder = super::Holder {
            pid: found.pid,
            start_time: found.start_time,
        };
        own = Some(holder);
        tell(report, &Told::Runs(holder, keeper));
    };
    let mut hold = || {
        // Root of the lab's own users made it: its owner looks at it from outside.
        let made = jaula_sys::process::let_be_seen()
            .and_then(|()| jaula_sys::process::more_descriptors())
            .map_err(|error| error.to_string())
            .and_then(|()| build::build(plan).map_err(|error| chain(&error)));
        let nets = match made {
            Ok(nets) => nets,
            Err(text) => {
                tell(&told, &Told::Failed(text));
                return 1;
            }
        };
        tell(
            &told,
            &Told::Nets(nets.iter().map(AsRawFd::as_raw_fd).collect()),
        );
        if !wait_for_word() {
            return 1;
        }
        jaula_sys::process::release_code();
        wait_for_the_end();
    };
    let groups = crate::cgroup::Groups::make(&jail, None).map_err(|error| chain(&error))?;
    let ended = jail::call_watched(&jail, Io::Inherit, &mut hold, groups, &mut started);
    // Whatever ended it. Another lab may have the name by now.
    let text = std::fs::read(entry).unwrap_or_default();
    if serde_json::from_slice::<LabEntry>(&text).is_ok_and(|entry| Some(entry.holder) == own) {
        drop(std::fs::remove_file(entry));
        drop(std::fs::remove_file(entry.with_extension("hosts")));
    }
    ended.map(drop).map_err(|error| chain(&error))
}
