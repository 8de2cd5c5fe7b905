//! Running jails: what a [`jaula_plan::jail::JailPlan`] says is done, by one process that clones itself.
//!
//! The caller must have one thread when [`run`], [`call`] or [`enter`] is called: the process is cloned, and what
//! other threads held would stay locked in the clone.

mod blocks;
pub mod bwrap;
mod clock;
mod enforced;
mod error;
mod lower;
mod owners;
pub(crate) mod supervise;
mod watchman;

pub(crate) use enforced::Applied;
pub use enforced::{Enforced, Ids};
pub use error::JailError;
pub(crate) use supervise::told_to_end;

use crate::cgroup::Groups;
use crate::disk::Disks;
use crate::net::NetError;
use crate::outcome::{Io, Outcome, Reached, Status};
use jaula_plan::jail::JailPlan;
use jaula_plan::net::guest::GuestLink;
use jaula_plan::setup_op::{IdPlan, SetupOp};
use jaula_plan::spec::jail::{IdRange, Lessee, Namespaces};
use jaula_sys::SysError;
use jaula_sys::child::Op;
use jaula_sys::companion::Companion;
use jaula_sys::idmap::{self, Range};
use jaula_sys::joining::{self, Held};
use jaula_sys::namespace::in_network;
use jaula_sys::pty;
use jaula_sys::signal::Blocked;
use jaula_sys::spawn::{Child, Payload, Progress, Spawn, ns};
pub(crate) use lower::guard::{default_filter, landlock_ruleset, profile_filter};
use lower::{Lowered, Stdio};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use watchman::Watchman;

/// Runs the plan's program in a new jail and waits for it.
///
/// A program that is not found or not executable is [`JailError::Program`].
pub fn run(plan: &JailPlan, io: Io<'_>) -> Result<Outcome, JailError> {
    run_in(plan, io, Groups::make(plan, None)?, None)
}

/// As [`run`], in control groups that were made for the plan; they are gone at the end. `started` is told where the
/// jail runs, and its namespaces, which stay open as long as it does.
pub fn run_in(
    plan: &JailPlan,
    io: Io<'_>,
    groups: Groups,
    started: Option<Started<'_>>,
) -> Result<Outcome, JailError> {
    start(plan, io, None, started, None, groups)
}

/// As [`run`]; tells where the jail runs as soon as its program does, so that others may [`enter`] it.
pub fn run_watched(
    plan: &JailPlan,
    io: Io<'_>,
    started: &mut dyn FnMut(Running),
) -> Result<Outcome, JailError> {
    let mut started = |running, _: &[Held]| started(running);
    run_in(plan, io, Groups::make(plan, None)?, Some(&mut started))
}

/// Runs a function instead of a program in a new jail, under the same protections, and waits for it; what it gives
/// is the exit code. It runs in a process of its own: nothing it changes in memory is seen by the caller.
pub fn call(
    plan: &JailPlan,
    io: Io<'_>,
    function: &mut dyn FnMut() -> u8,
) -> Result<Outcome, JailError> {
    let groups = Groups::make(plan, None)?;
    start(plan, io, Some(function), None, None, groups)
}

/// As [`call`]; tells where the jail runs as soon as the function does, and its namespaces, which stay open as long
/// as it runs, so that others may [`enter`] it.
pub fn call_watched(
    plan: &JailPlan,
    io: Io<'_>,
    function: &mut dyn FnMut() -> u8,
    groups: Groups,
    started: &mut dyn FnMut(Running, &[Held]),
) -> Result<Outcome, JailError> {
    start(plan, io, Some(function), Some(started), None, groups)
}

/// Runs the plan's program in a jail that runs already: joins its namespaces and root, then goes through the
/// plan's last part (user, capabilities, filter, program). An ordinary user calls it *outside* his session, and needs
/// the jail's namespaces: its processes do not let themselves be looked at. `groups` are those of the jail and of
/// the plan.
pub fn enter(
    running: &Running,
    held: Vec<Held>,
    plan: &JailPlan,
    io: Io<'_>,
    groups: Groups,
) -> Result<Outcome, JailError> {
    let joined = Joined::new(running, held)?;
    start(plan, io, None, None, Some(joined), groups)
}

/// As [`enter`], with a function instead of the program; see [`call`].
pub fn enter_call(
    running: &Running,
    held: Vec<Held>,
    plan: &JailPlan,
    io: Io<'_>,
    groups: Groups,
    function: &mut dyn FnMut() -> u8,
) -> Result<Outcome, JailError> {
    let joined = Joined::new(running, held)?;
    start(plan, io, Some(function), None, Some(joined), groups)
}

/// Runs the plan's program where a process is: in its namespaces and its root. See [`crate::enter`].
pub fn enter_process(running: &Running, plan: &JailPlan, io: Io<'_>) -> Result<Outcome, JailError> {
    let Joined::Process(pidfd) = Joined::new(running, Vec::new())? else {
        return Err(JailError::Gone);
    };
    let path = format!("/proc/{}/root", running.pid);
    let root = jaula_sys::beneath::open_path(&path)?;
    // What the path led to was its root if it is still there.
    if !running.is_alive() {
        return Err(JailError::Gone);
    }
    let groups = Groups::make(plan, None)?.joining(running.pid)?;
    let joined = Joined::Target { pidfd, root };
    start(plan, io, None, None, Some(joined), groups)
}

/// Runs the plan's program in these namespaces, joined in their order.
pub fn enter_kept(held: Vec<Held>, plan: &JailPlan, io: Io<'_>) -> Result<Outcome, JailError> {
    let groups = Groups::make(plan, None)?;
    start(plan, io, None, None, Some(Joined::Namespaces(held)), groups)
}

/// Who is told of a jail that runs.
pub type Started<'a> = &'a mut dyn FnMut(Running, &[Held]);

/// What a process joins.
enum Joined {
    /// Whatever namespaces the plan has, of this process.
    Process(OwnedFd),
    /// These.
    Namespaces(Vec<Held>),
    /// Those that the plan names, of this process, and its root.
    Target {
        /// The process.
        pidfd: OwnedFd,
        /// Its root.
        root: OwnedFd,
    },
}

impl Joined {
    fn new(running: &Running, held: Vec<Held>) -> Result<Self, JailError> {
        // The descriptor first: then the start time tells whether it is of the process that was meant.
        let pidfd = jaula_sys::process::pidfd(running.pid).map_err(|_| JailError::Gone)?;
        if Running::of(running.pid) != Some(*running) {
            return Err(JailError::Gone);
        }
        Ok(match held.is_empty() {
            true => Self::Process(pidfd),
            false => Self::Namespaces(held),
        })
    }
}

/// A jail that runs: its program as the host's process identifiers name it. A process is only taken for it when
/// its start time is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Running {
    /// Process identifier.
    pub pid: u32,
    /// When it was started, in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
}

impl Running {
    /// The process that has this identifier now; none when there is none, or only a dead one not yet waited for.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything; the fields after it are plain.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        Some(Self {
            pid,
            start_time: fields.nth(18)?.parse().ok()?,
        })
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }
}

fn flags(namespaces: &Namespaces) -> i32 {
    let list = [
        (namespaces.user, ns::CLONE_NEWUSER),
        (namespaces.pid, ns::CLONE_NEWPID),
        (namespaces.ipc, ns::CLONE_NEWIPC),
        (namespaces.uts, ns::CLONE_NEWUTS),
        (namespaces.net, ns::CLONE_NEWNET),
        (namespaces.cgroup, ns::CLONE_NEWCGROUP),
        (namespaces.time, ns::CLONE_NEWTIME),
    ];
    list.iter()
        .filter(|(set, _)| *set)
        .fold(ns::CLONE_NEWNS, |flags, (_, flag)| flags | flag)
}

fn start(
    plan: &JailPlan,
    io: Io<'_>,
    function: Option<&mut dyn FnMut() -> u8>,
    started: Option<Started<'_>>,
    join: Option<Joined>,
    groups: Groups,
) -> Result<Outcome, JailError> {
    if !groups.are_those_of(plan) {
        return Err(JailError::Unlimited);
    }
    if join.is_some() || !Disks::wanted(plan) {
        return supervised(plan, io, function, started, join, groups, &Disks::default());
    }
    // Before the servers, which are not to be ended by what ends the jail.
    let _blocked = Blocked::new()?;
    let disks = Disks::start(plan)?;
    supervised(plan, io, function, started, join, groups, &disks)
        .map_err(|error| disks.reason(error))
}

fn supervised(
    plan: &JailPlan,
    io: Io<'_>,
    function: Option<&mut dyn FnMut() -> u8>,
    started: Option<Started<'_>>,
    join: Option<Joined>,
    groups: Groups,
    disks: &Disks,
) -> Result<Outcome, JailError> {
    let mut pipe = None;
    let stdio = match &io {
        Io::Inherit => Stdio::Raw([0, 1, 2]),
        Io::Pty => Stdio::Pty,
        Io::Captured(_) => {
            let failed =
                |call, e: std::io::Error| jaula_sys::SysError::io(call, "captured output", &e);
            let (reader, writer) = std::io::pipe().map_err(|e| failed("pipe2", e))?;
            let null = File::open("/dev/null").map_err(|e| failed("open", e))?;
            let fds = [null.as_raw_fd(), writer.as_raw_fd(), writer.as_raw_fd()];
            pipe = Some((reader, writer, null));
            Stdio::Raw(fds)
        }
    };
    let mut lowered = lower::lower(
        plan,
        &stdio,
        join.is_some(),
        !groups.is_empty(),
        &disks.sockets(),
    )?;
    let mut wanted = flags(&lowered.namespaces);
    if !groups.is_empty() {
        wanted &= !ns::CLONE_NEWCGROUP;
    }
    match &join {
        Some(Joined::Process(pidfd)) => {
            lowered.join(vec![(pidfd.as_raw_fd(), wanted)]);
        }
        Some(Joined::Target { pidfd, root }) => {
            if lowered.joins_root {
                lowered.prepend(Op::EnterRoot(root.as_raw_fd()));
            }
            if lowered.joins != 0 {
                lowered.join(vec![(pidfd.as_raw_fd(), lowered.joins)]);
            }
        }
        Some(Joined::Namespaces(held)) => {
            let list = held.iter().map(|(fd, flag)| (fd.as_raw_fd(), *flag));
            let ours =
                |(_, flag): &(i32, i32)| flag & (wanted | lowered.joins | ns::CLONE_NEWUSER) != 0;
            lowered.join(list.filter(ours).collect());
        }
        None => {}
    }
    if join.is_some() && !groups.is_empty() {
        lowered.wait_for_groups();
    }
    let block = match lowered.ids {
        IdPlan::PrivateBlock { .. } if join.is_none() => Some(blocks::take()?),
        _ => None,
    };
    let blocked = Blocked::new()?;
    let calls = function.is_some() && started.is_some();
    let payload = match function {
        Some(function) => Payload::Call(function),
        None => Payload::Exec {
            paths: &lowered.paths,
            args: &lowered.args,
            env: &lowered.env,
        },
    };
    let spawn = Spawn {
        namespaces: if join.is_some() { 0 } else { wanted },
        first: &lowered.first,
        last: &lowered.last,
        payload,
        announce: started.is_some(),
        as_pid_1: plan.as_pid_1,
    };
    let cards = match &join {
        None => Cards::reserve(plan)?,
        Some(_) => None,
    };
    let network = match &join {
        None => network(plan)?,
        Some(_) => None,
    };
    // Who goes into somebody's network namespace is born there.
    let born = match &network {
        Some(namespace) => in_network(namespace.as_fd(), || spawn.start())
            .map_err(|error| failed(plan, place(plan, is_network), error.errno))?,
        None => spawn.start(),
    };
    let mut child = born.map_err(|source| JailError::Namespaces { source })?;
    // Dropped before the child, and so waited for in every case.
    let bound = plan.ops.contains(&SetupOp::DieWithParent);
    let watched = plan.as_pid_1 && bound;
    let _watchman = watched.then(|| Watchman::over(&child)).transpose()?;
    let mut held = Vec::new();
    let mut outside = None;
    if !groups.is_empty() {
        // It waits: nothing of it has run, and nothing else is in it.
        groups.place(child.pid())?;
        if join.is_some() {
            child.go(&[])?;
        }
    }
    if join.is_none() {
        // Now it waits to be prepared, and nothing but itself is in it.
        if started.is_some() {
            let all = joining::namespaces(child.pid(), wanted);
            held = all.map_err(|e| {
                jaula_sys::SysError::io("open", "the namespaces of the new jail", &e)
            })?;
        }
        let first = block.as_ref().map(|block| block.first);
        let links = cards.as_ref().map(|cards| &cards.links[..]);
        let prepared = prepare(&child, plan, &lowered, first, disks, links);
        if let Err(error) = prepared.map(|beside| outside = beside) {
            // It may be that there was nobody left to prepare for: then what the child says is the reason. One that is
            // about to end refuses its maps already and is not seen as dead yet.
            let dead = jaula_sys::process::readable(&[child.pidfd()], 100) != 0;
            child.signal(9);
            return Err(match child.wait()? {
                Progress::Failed(index, errno) => failed(plan, lowered.step(index), errno),
                Progress::Unfinished if dead => JailError::Killed,
                _ => error,
            });
        }
    }
    let terminal = matches!(stdio, Stdio::Pty);
    let master = if terminal { child.descriptor()? } else { None };
    if let (Io::Pty, Some(master)) = (&io, &master) {
        // Before the program is waited for: it may ask at once.
        pty::copy_size(pty::input()?.as_fd(), master.as_fd());
    }
    // Who plays the program in a function's stead tells that he is there first of all.
    let running_now = calls.then(|| child.announced()).flatten();
    let asks = lowered.last.iter().any(|op| matches!(op, Op::Listen(_)));
    let mut answering = None;
    if let Some(listener) = asks.then(|| child.descriptor()).transpose()?.flatten() {
        let session = match &join {
            Some(Joined::Namespaces(held)) => owners::session(held)?,
            _ => None,
        };
        answering = Some(owners::answer(listener, session)?);
    }
    if let Some(running) = started.and_then(|f| {
        running_now
            .or_else(|| child.announced())
            .and_then(running)
            .map(|r| (f, r))
    }) {
        let (started, running) = running;
        started(running, &held);
    }
    let clock = supervise::Clock::start(plan, held)?;
    match (io, master, pipe) {
        (Io::Captured(sink), _, Some((reader, writer, null))) => {
            drop((writer, null));
            supervise::captured(
                &child,
                &blocked,
                &clock,
                File::from(OwnedFd::from(reader)),
                sink,
            )?;
        }
        (Io::Pty, Some(master), _) => supervise::terminal(&child, &blocked, &clock, master)?,
        _ => supervise::plain(&child, &blocked, &clock),
    }
    let progress = child.wait()?;
    let struck = clock.stop();
    drop(outside);
    drop(blocked);
    if let Some(answering) = answering.filter(|_| join.is_none() && lowered.namespaces.pid) {
        // With PID 1 everybody went who could have asked; without one somebody may stay, and is still answered.
        answering.wait()?;
    }
    let status = match progress {
        Progress::Ended(status) => ended(status),
        Progress::Failed(index, errno) => return Err(failed(plan, lowered.step(index), errno)),
        Progress::NotExecuted(errno) => {
            return Err(JailError::Program {
                program: lowered.program,
                errno,
                landlock: plan
                    .ops
                    .iter()
                    .any(|op| matches!(op, SetupOp::Landlock(set) if set.handled_files != 0)),
            });
        }
        Progress::Unfinished => return Err(JailError::Killed),
        // The whole jail was killed, the program with it.
        Progress::Killed => Status::Signalled(9),
    };
    let ids = Enforced::of_ids(&lowered.ids, block.map(|block| block.first));
    let limit = match (struck, groups.memory_kills()) {
        (true, _) => Some(Reached::Time),
        (false, 0) => None,
        (false, killed) => Some(Reached::Memory { killed }),
    };
    let applied = Box::new(Applied {
        plan: plan.clone(),
        absent: child.absent(),
        found: child.found(),
        limits: groups.held(plan),
        lowered,
        ids,
        terminal,
    });
    Ok(Outcome {
        status,
        applied,
        limit,
    })
}

fn running(pid: i32) -> Option<Running> {
    Running::of(u32::try_from(pid).ok()?)
}

/// A status of wait(2).
fn ended(status: i32) -> Status {
    match status & 0x7f {
        0 => Status::Exited((status >> 8 & 0xff) as u8),
        signal => Status::Signalled(signal),
    }
}

fn failed(plan: &JailPlan, step: Option<usize>, errno: jaula_sys::error::Errno) -> JailError {
    let step = step.unwrap_or(plan.ops.len().saturating_sub(1));
    let what = plan
        .ops
        .get(step)
        .map(ToString::to_string)
        .unwrap_or_default();
    JailError::Step {
        step: step + 1,
        of: plan.ops.len(),
        what,
        errno,
        id_mapping: false,
    }
}

fn is_network(op: &SetupOp) -> bool {
    matches!(op, SetupOp::Network { .. })
}

fn place(plan: &JailPlan, wanted: fn(&SetupOp) -> bool) -> Option<usize> {
    plan.ops.iter().position(wanted)
}

/// The network namespace that a plan goes into.
fn network(plan: &JailPlan) -> Result<Option<File>, JailError> {
    let found = plan.ops.iter().find_map(|op| match op {
        SetupOp::Network { path, .. } => Some(path),
        _ => None,
    });
    let open = |path: &std::path::PathBuf| {
        let error = |error| SysError::io("open", path.display().to_string(), &error);
        File::open(path).map_err(error)
    };
    found
        .map(open)
        .transpose()
        .map_err(|error| failed(plan, place(plan, is_network), error.errno))
}

/// A jail's cards, and the leases of their addresses, which end with this unless they last.
struct Cards<'p> {
    lessee: &'p Lessee,
    links: Vec<GuestLink>,
}

impl<'p> Cards<'p> {
    fn reserve(plan: &'p JailPlan) -> Result<Option<Self>, JailError> {
        for op in &plan.ops {
            if let SetupOp::Links { links, lessee } = op {
                let links = crate::net::guest::reserve(lessee, links)
                    .map_err(|error| JailError::Network(Box::new(error)))?;
                let cards = Self { lessee, links };
                crate::gateway::guests::join(lessee, &cards.links).map_err(|error| {
                    JailError::Network(Box::new(NetError::Gateway(Box::new(error))))
                })?;
                return Ok(Some(cards));
            }
        }
        Ok(None)
    }
}

impl Drop for Cards<'_> {
    fn drop(&mut self) {
        crate::gateway::guests::leave(self.lessee, &self.links);
        crate::net::guest::release(self.lessee);
    }
}

/// What the supervisor does for the child: maps, cards, id-mapped views; then the child goes on. What connects it has to
/// be kept.
fn prepare(
    child: &Child,
    plan: &JailPlan,
    lowered: &Lowered,
    block: Option<u32>,
    disks: &Disks,
    links: Option<&[GuestLink]>,
) -> Result<Option<Companion>, JailError> {
    let step = |wanted: fn(&SetupOp) -> bool| plan.ops.iter().position(wanted);
    let range = |inside, outside, count| Range {
        inside,
        outside,
        count,
    };
    let maps = match &lowered.ids {
        IdPlan::Host => None,
        IdPlan::PrivateBlock { count } => {
            let all = vec![range(0, block.unwrap_or(u32::MAX), *count)];
            Some((all.clone(), all, false))
        }
        // A session has two ranges: the caller himself, and his subordinate identifiers.
        IdPlan::Nested { count } => {
            let both = vec![range(0, 0, 1), range(1, 1, count.saturating_sub(1))];
            Some((both.clone(), both, false))
        }
        IdPlan::Map {
            users,
            groups,
            deny,
        } => {
            let all = |list: &[IdRange]| {
                list.iter()
                    .map(|r| range(r.inside, r.outside, r.count))
                    .collect()
            };
            Some((all(users), all(groups), *deny))
        }
        IdPlan::Single { inside, outside } => Some((
            vec![range(inside.0, outside.0, 1)],
            vec![range(inside.1, outside.1, 1)],
            true,
        )),
    };
    if let Some((users, groups, deny)) = maps {
        idmap::map(child.pid(), &users, &groups, deny).map_err(|error| {
            failed(
                plan,
                step(|op| matches!(op, SetupOp::MapIds(_))),
                error.errno,
            )
        })?;
    }
    if let Some(links) = links {
        crate::net::guest::connect(child.pid().cast_unsigned(), links).map_err(|error| {
            let is_links = |op: &SetupOp| matches!(op, SetupOp::Links { .. });
            failed(plan, step(is_links), error.errno)
        })?;
    }
    let nat = plan.ops.iter().find_map(|op| match op {
        SetupOp::Nat(nat) => Some(crate::net::outside::connect(
            child.pid().cast_unsigned(),
            nat,
        )),
        _ => None,
    });
    let outside = nat.transpose()?;
    let mut fds = Vec::with_capacity(2);
    if !lowered.mapped.is_empty() {
        let refuse = |error: jaula_sys::SysError| {
            let mut failed = failed(plan, step(|op| matches!(op, SetupOp::Root(_))), error.errno);
            if let JailError::Step { id_mapping, .. } = &mut failed {
                *id_mapping = error.call == "mount_setattr";
            }
            failed
        };
        let userns = idmap::user_namespace(child.pid()).map_err(refuse)?;
        for tree in &lowered.mapped {
            fds.push(idmap::mapped_tree(tree, &userns).map_err(refuse)?);
        }
    }
    let userns = match lowered.ids {
        IdPlan::Host => None,
        _ if !disks.has_mounts() => None,
        _ => Some(idmap::user_namespace(child.pid())?),
    };
    fds.extend(disks.mounts(userns.as_ref(), block)?);
    let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    child.go(&raw)?;
    Ok(outside)
}

impl Lowered {
    fn join(&mut self, list: Vec<(i32, i32)>) {
        self.prepend(Op::Join(list));
    }
}
