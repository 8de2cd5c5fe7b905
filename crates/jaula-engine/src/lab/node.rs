//! Programs in a node: each in mount, host name and process namespaces of its own, on the node's network.

use super::{LabEntry, LabRunError, hosts_path};
use crate::error::At;
use crate::jail;
use crate::named::chain;
use crate::outcome::Io;
use crate::store::Store;
use jaula_plan::facts::host::CallerKind;
use jaula_plan::jail::plan_jail;
use jaula_plan::spec::jail::{
    BindOptions, IdSpec, JailNet, JailSpec, MountSpec, RootSpec, Terminal, UserSpec,
};
use jaula_sys::detach::detach;
use jaula_sys::joining::Held;
use jaula_sys::{namespace, userns};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// A reason is never longer than this.
const REPORT: u64 = 16 << 10;
/// What a daemon is told is never longer than this: half of what a pipe holds.
const MOST_TOLD: usize = 32 << 10;
/// What a child ends with that was not started by us: its message says more.
const FAILED: u8 = 125;

/// A program for a node.
#[derive(Debug, Clone)]
pub struct NodeProgram {
    /// The node's files.
    pub root: RootSpec,
    /// As whom.
    pub user: UserSpec,
    /// Working directory inside.
    pub cwd: Option<PathBuf>,
    /// Its environment, whole.
    pub env: Vec<(OsString, OsString)>,
    /// Its terminal.
    pub terminal: Terminal,
    /// Program and arguments; a shell when empty.
    pub command: Vec<OsString>,
    /// What a daemon of routers reads, which also may send packets as they are; of others nothing.
    pub told: Option<String>,
}

/// How a program ended: the exit code, as chroot(1) has it.
pub type Ran = u8;

/// The jail of a program: root of the lab's users, with the node's network, which it may change.
fn spec(store: &Store, entry: &LabEntry, node: usize, program: &NodeProgram) -> JailSpec {
    let mut spec = JailSpec::new(program.root.clone(), program.command.clone());
    spec.ids = IdSpec::Host;
    // That of this process, which is the node's.
    spec.net = JailNet::Host;
    spec.hostname = entry
        .plan
        .nodes
        .get(node)
        .and_then(|node| node.name.parse().ok());
    spec.user = program.user.clone();
    spec.cwd.clone_from(&program.cwd);
    spec.env.clone_from(&program.env);
    spec.terminal = program.terminal;
    spec.cap_add = vec!["NET_ADMIN".to_owned()];
    if program.told.is_some() {
        let more = ["NET_RAW", "NET_BIND_SERVICE", "NET_BROADCAST"];
        spec.cap_add.extend(more.map(str::to_owned));
    }
    spec.mounts.push(MountSpec::Bind {
        from: hosts_path(store, &entry.plan.name),
        to: "/etc/hosts".into(),
        options: BindOptions::READ_ONLY,
    });
    spec
}

fn failed(entry: &LabEntry, node: usize) -> impl Fn(String, u8) -> LabRunError {
    let name = entry.plan.nodes.get(node).map(|node| node.name.clone());
    let what = format!("run a program in {}", name.unwrap_or_default());
    move |text, code| LabRunError::Node {
        what: what.clone(),
        text,
        code,
    }
}

/// Goes among the lab's users and onto a node's network; children are among its processes.
fn join(held: &[Held]) -> Result<(), String> {
    for (fd, kind) in held {
        namespace::join_kind(fd.as_fd(), *kind).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Runs a program in a node and waits for it. This process must have one thread, and is in the lab from then on.
///
/// # Errors
/// When the lab has ended, or the program cannot be started.
pub fn run_in(
    store: &Store,
    entry: &LabEntry,
    node: usize,
    program: &NodeProgram,
    io: Io<'_>,
) -> Result<Ran, LabRunError> {
    let failed = failed(entry, node);
    let held = [entry.users()?, entry.net(node)?, entry.processes()?];
    let path = super::entry_path(store, &entry.plan.name);
    let spec = spec(store, entry, node, program);
    let (mut answer, mut report) = std::io::pipe().at("make a pipe for", &path)?;
    join(&held).map_err(|text| failed(text, FAILED))?;
    drop(held);
    let mut io = Some(io);
    let mut child = || {
        let Some(io) = io.take() else { return FAILED };
        match supervised(&spec, io) {
            Ok(code) => code,
            Err((text, code)) => {
                drop(report.write_all(text.as_bytes()));
                code
            }
        }
    };
    let started =
        userns::fork_bound(&mut child).map_err(|error| failed(error.to_string(), FAILED))?;
    drop(report);
    let ended = started.wait_passing_signals();
    let ended = ended.map_err(|error| failed(error.to_string(), FAILED))?;
    let mut text = String::new();
    if answer
        .by_ref()
        .take(REPORT)
        .read_to_string(&mut text)
        .is_err()
    {
        text.clear();
    }
    match ended {
        Some(code) if text.is_empty() => Ok(code),
        Some(code) => Err(failed(text, code)),
        // Everything of the lab is killed when it ends.
        None if !entry.alive() => Err(LabRunError::Ended {
            name: entry.plan.name.clone(),
        }),
        None => Ok(128 + 9),
    }
}

/// Among the lab's processes already: the jail of the program. Its failure with an exit code.
fn supervised(spec: &JailSpec, io: Io<'_>) -> Result<u8, (String, u8)> {
    let mut facts = crate::probe::host(spec);
    // Root of the lab's users is all the root there is to be.
    facts.caller.kind = CallerKind::Root;
    // What resolves names outside is not to be reached from here.
    facts.resolv_conf = false;
    let plan = plan_jail(spec, &facts).map_err(|error| (chain(&error), FAILED))?;
    match jail::run(&plan, io) {
        Ok(outcome) => Ok(outcome.code()),
        Err(error) => {
            let code = error.exit_code();
            Err((chain(&error), code))
        }
    }
}

/// Starts a program in a node that goes on by itself, until the lab ends; its output goes nowhere.
///
/// # Errors
/// When its process cannot be started. What becomes of the program is not waited for.
pub fn start_in(
    store: &Store,
    entry: &LabEntry,
    node: usize,
    program: &NodeProgram,
) -> Result<(), LabRunError> {
    let path = super::entry_path(store, &entry.plan.name);
    let input = match &program.told {
        None => OwnedFd::from(File::open("/dev/null").at("open", &path)?),
        Some(text) => {
            // It fits the pipe, which holds 64 KiB; a longer one would be refused here, and not wait.
            let (input, mut into) = std::io::pipe().at("make a pipe for", &path)?;
            if text.len() > MOST_TOLD {
                return Err(failed(entry, node)("too many interfaces".into(), FAILED));
            }
            into.write_all(text.as_bytes()).at("write to", &path)?;
            OwnedFd::from(input)
        }
    };
    let (mut answer, report) = std::io::pipe().at("make a pipe for", &path)?;
    let started = detach(input.as_fd(), report.as_fd(), &mut |mut report| {
        let held =
            (|| Ok::<_, LabRunError>([entry.users()?, entry.net(node)?, entry.processes()?]))();
        let joined = match held {
            Ok(held) => join(&held),
            Err(error) => Err(chain(&error)),
        };
        if let Err(text) = joined {
            drop(report.write_all(text.as_bytes()));
            return FAILED;
        }
        let spec = spec(store, entry, node, program);
        // Whoever waits for the report waits until nobody has it.
        let mut report = Some(report);
        let mut child = || {
            drop(report.take());
            match supervised(&spec, Io::Inherit) {
                Ok(code) => code,
                Err((_, code)) => code,
            }
        };
        let child = userns::fork_bound(&mut child);
        drop(report.take());
        match child.and_then(userns::Forked::wait) {
            Ok(Some(code)) => code,
            _ => FAILED,
        }
    });
    started.at("start a process for", &path)?;
    drop(report);
    let mut text = String::new();
    let read = answer.by_ref().take(REPORT).read_to_string(&mut text);
    read.at("read the answer of a process for", &path)?;
    if text.is_empty() {
        return Ok(());
    }
    Err(failed(entry, node)(text, FAILED))
}
