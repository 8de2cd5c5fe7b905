//! Planning a jail: [`JailSpec`] and [`HostFacts`] become an ordered list of [`SetupOp`]s.

mod explain;
mod guard;
mod ids;
mod limits;
mod mounts;
mod network;

pub use explain::explain;
pub use ids::MAP_LINES;
pub use mounts::OVERLAY_LAYERS;

use crate::disk::{DiskPlan, DiskPlanError};
use crate::explain::shown;
use crate::facts::host::{Account, EntryKind, HostFacts, ProgramsFacts};
use crate::net::error::NetPlanError;
use crate::personality::Personality;
use crate::setup_op::{BindKind, CapSet, IdPlan, RootPlan, SetupOp, StdioPlan};
use crate::spec::jail::{
    BindOptions, Changes, IdRange, JailNet, JailSpec, Namespaces, Propagation, RootSpec, Terminal,
    UserSpec,
};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// How many identifiers a jail has when there are enough: 0 to 65535, so that `nobody` (65534) is one of them.
pub const ID_COUNT: u32 = 65536;

/// Paths of procfs and sysfs that tell about the whole machine or reach into it, and that a user namespace alone
/// does not close (the list of the OCI runtimes).
pub const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths of procfs through which the kernel is changed.
pub const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Why there can be no such jail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JailPlanError {
    /// Only root has the host's identifiers to give.
    #[error("only root can run a jail with the identifiers of the host")]
    HostIdsNeedRoot,
    /// A user that does not exist where only one does.
    #[error(
        "there is only user {only} in this jail, because the caller has no subordinate identifiers"
    )]
    OneUserOnly {
        /// The one there is.
        only: u32,
    },
    /// An identifier past the last one mapped.
    #[error("identifier {id} does not exist in this jail: it has 0 to {}", .count.saturating_sub(1))]
    NoSuchId {
        /// As asked.
        id: u32,
        /// How many there are.
        count: u32,
    },
    /// An identifier that no range has.
    #[error("identifier {id} does not exist in this jail: no --map or --gmap has it")]
    NotMapped {
        /// As asked.
        id: u32,
    },
    /// A range that cannot be.
    #[error("cannot map {what}s {}:{}:{}: {why}", .range.inside, .range.outside, .range.count)]
    BadMap {
        /// `user`, `group`.
        what: &'static str,
        /// The range.
        range: IdRange,
        /// Why not.
        why: &'static str,
    },
    /// More ranges than the kernel takes.
    #[error("there are more than {} ranges of {what}s", MAP_LINES)]
    LongMap {
        /// `user`, `group`.
        what: &'static str,
    },
    /// Without it nobody could make the jail's files.
    #[error("no range has identifier 0 inside, so the jail would have no root {what} to set it up")]
    NoRootInMap {
        /// `user`, `group`.
        what: &'static str,
    },
    /// The caller may give away only what he has.
    #[error(
        "{what} {id} is not the caller's to map: neither his own nor one of his subordinate ones"
    )]
    NotOurs {
        /// `user`, `group`.
        what: &'static str,
        /// Outside, as the host numbers it.
        id: u32,
    },
    /// Only a time namespace has clocks of its own.
    #[error("clocks of its own need a time namespace")]
    TimeNamespaceNeeded,
    /// chmod(2) knows twelve bits.
    #[error("{mode:o} is no mode: it is at most 7777")]
    BadMode {
        /// As asked.
        mode: u32,
    },
    /// Too few directories, or too many.
    #[error(
        "an overlay of {count} directories cannot be made: it takes {least} to {}",
        OVERLAY_LAYERS
    )]
    OverlayLayers {
        /// As asked.
        count: usize,
        /// The fewest that are possible here.
        least: usize,
    },
    /// Not in the jail's passwd(5).
    #[error("{name} is not defined in this jail: its /etc/passwd has no such user")]
    UnknownUser {
        /// As asked.
        name: String,
    },
    /// Not in capabilities(7).
    #[error("there is no capability {name:?}")]
    UnknownCapability {
        /// As asked.
        name: String,
    },
    /// A path that cannot be used as it is.
    #[error("cannot use {} as {what}: {why}", shown(.path))]
    BadPath {
        /// The path as given.
        path: PathBuf,
        /// What it was to be.
        what: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// The kernel wants both in one mount.
    #[error("{} and {} are not in the same directory", shown(.upper), shown(.work))]
    LayerSplit {
        /// The layer.
        upper: PathBuf,
        /// Its work directory.
        work: PathBuf,
    },
    /// A word with a NUL byte can be handed to no program.
    #[error("the {what} holds a NUL byte")]
    Nul {
        /// `command`, `environment`.
        what: &'static str,
    },
    /// An environment name that is none.
    #[error("{name:?} cannot be the name of an environment variable")]
    BadVariable {
        /// As given.
        name: OsString,
    },
    /// The host's programs were to be used, but nothing is known of them.
    #[error("the host has no /usr to take programs from")]
    NoPrograms,
    /// A profile that means nothing here.
    #[error("cannot use the seccomp profile {name}")]
    Profile {
        /// What it is called.
        name: String,
        /// Why.
        #[source]
        source: crate::seccomp::ProfileError,
    },
    /// A Landlock rule that the kernel is too old for.
    #[error(
        "this kernel cannot hold the Landlock rule {rule}: it needs version {needs} of the interface, and has {have}"
    )]
    LandlockTooOld {
        /// The rule.
        rule: String,
        /// The version it needs.
        needs: u32,
        /// The version there is; 0: none.
        have: u32,
    },
    /// A jail on a block of identifiers that its supervisor holds.
    #[error("a jail with identifiers of its own ends with the process that holds them for it")]
    OutlivesItsIds,
    /// A network.
    #[error(transparent)]
    Net(#[from] NetPlanError),
    /// A disk image.
    #[error(transparent)]
    Disk(#[from] DiskPlanError),
    /// The combination would leave the jail's processes running when the supervisor is killed.
    #[error(
        "a jail on its own layer needs a pid namespace of its own, or its processes could outlive it"
    )]
    PidNamespaceNeeded,
    /// A limit that nothing on this host can enforce.
    #[error("cannot enforce the limit {limit}: {why}")]
    Limit {
        /// As asked.
        limit: String,
        /// Why not.
        why: String,
        /// Whether it is one of control groups.
        group: bool,
    },
}

impl JailPlanError {
    /// What the user may do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::LandlockTooOld { .. } => {
                Some("--best-effort leaves out what this kernel cannot hold")
            }
            Self::Profile {
                source: crate::seccomp::ProfileError::UnknownCalls(_),
                ..
            } => Some("--best-effort leaves out what does not exist"),
            Self::OutlivesItsIds => {
                Some("--ids caller or --ids host does without identifiers of its own")
            }
            _ => None,
        }
    }
}

/// A fault to be made on purpose, so that tests see every step fail. No face can ask for one.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Index in [`JailPlan::ops`].
    pub op: usize,
    /// errno(3) to fail with; 0 kills the process that sets the jail up instead.
    pub errno: i32,
}

/// Everything that will be done to start a jail, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailPlan {
    /// The operations.
    pub ops: Vec<SetupOp>,
    /// What the caller is told before: protections that are off, and what was left out.
    pub notes: Vec<String>,
    /// Whether the program itself is PID 1, which nobody reaps for.
    pub as_pid_1: bool,
    #[doc(hidden)]
    pub fault: Option<Fault>,
}

impl fmt::Display for JailPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ops.iter().try_for_each(|op| writeln!(f, "{op}"))?;
        self.notes
            .iter()
            .try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

impl JailPlan {
    /// The same jail with another command: for the verbs that only change what runs.
    pub fn with_command(mut self, new: Vec<OsString>) -> Self {
        for op in &mut self.ops {
            if let SetupOp::Exec { command, .. } = op {
                command.clone_from(&new);
            }
        }
        self
    }

    /// The plan as data: its operations in words.
    pub fn to_json(&self) -> serde_json::Value {
        let ops: Vec<String> = self.ops.iter().map(ToString::to_string).collect();
        serde_json::json!({ "version": 1, "setup": ops, "notes": self.notes })
    }
}

/// Whether absent directories may be made and wrong ones replaced: only where the change is ours to make.
pub fn replaceable(changes: &Changes) -> bool {
    matches!(changes, Changes::Ephemeral | Changes::Layer { .. })
}

/// Plans a jail. Pure.
pub fn plan_jail(spec: &JailSpec, facts: &HostFacts) -> Result<JailPlan, JailPlanError> {
    let mut namespaces = spec.namespaces;
    namespaces.net &= spec.net.is_own();
    let ids = ids::plan(&spec.ids, facts)?;
    namespaces.user = ids != IdPlan::Host;
    if !namespaces.pid
        && matches!(
            &spec.root,
            RootSpec::Tree {
                changes: Changes::Layer { .. },
                ..
            }
        )
    {
        return Err(JailPlanError::PidNamespaceNeeded);
    }
    let root = match (&spec.user, &facts.account) {
        (UserSpec::Ids { uid, .. }, _) => *uid == 0,
        (UserSpec::Named(_), Some(account)) => account.uid == 0,
        (UserSpec::Root | UserSpec::Named(_), _) => true,
    };
    let limits = limits::plan(&spec.limits, &facts.limits, root && ids == IdPlan::Host)?;
    let mut notes = Vec::new();
    let mut ops = limits.outside;
    ops.push(SetupOp::Namespaces(namespaces));
    if namespaces.net {
        ops.push(SetupOp::Loopback);
    }
    ops.extend(network::plan(spec, facts, namespaces.user)?);
    if namespaces.uts {
        let name = match &spec.hostname {
            Some(name) => Some(name.clone()),
            None => "jaula".parse().ok(),
        };
        ops.extend(name.map(SetupOp::HostName));
    }
    if let Some(clocks) = spec.clocks {
        if !namespaces.time {
            return Err(JailPlanError::TimeNamespaceNeeded);
        }
        ops.push(SetupOp::Clocks(clocks));
    }
    ops.push(match spec.propagation {
        Propagation::Slave => SetupOp::SlaveMounts,
        Propagation::Private | Propagation::Shared => SetupOp::PrivateMounts,
    });
    ops.push(SetupOp::MapIds(ids.clone()));
    ops.push(guard::lifetime(spec, &ids)?);
    match &spec.root {
        RootSpec::HostPrograms => {
            ops.push(SetupOp::Root(RootPlan::Memory));
            plan_programs(
                facts.programs.as_ref().ok_or(JailPlanError::NoPrograms)?,
                &mut ops,
            )?;
        }
        RootSpec::Empty => ops.push(SetupOp::Root(RootPlan::Memory)),
        RootSpec::Tree { dir, changes } => {
            plan_tree(dir, changes, &ids, &mut ops)?;
        }
    }
    if spec.root != RootSpec::Empty {
        plan_kernel(spec, &ids, namespaces, facts, &mut notes, &mut ops);
    }
    mounts::plan(spec, &ids, facts, &mut ops)?;
    if spec.root == RootSpec::Empty
        && let Some(device) = spec.devices.first()
    {
        let dev = |op: &SetupOp| matches!(op, SetupOp::Dev { at, .. } if at == Path::new("/dev"));
        if !ops.iter().any(dev) {
            return Err(JailPlanError::BadPath {
                path: device.path().to_owned(),
                what: "device",
                why: "an empty root has no /dev: it takes --dev /dev",
            });
        }
        guard::devices(spec, &mut notes, &mut ops);
    }
    ops.push(SetupOp::PivotRoot);
    if spec.propagation == Propagation::Shared {
        ops.push(SetupOp::SharedMounts);
    }
    ops.push(SetupOp::Stdio(match spec.terminal {
        Terminal::Auto => StdioPlan::Auto,
        Terminal::Inherit => StdioPlan::Inherit,
        Terminal::Captured => StdioPlan::Captured,
    }));
    ops.extend(limits.process);
    plan_program(spec, facts, &ids, &mut ops, &mut notes)?;
    limits::insert_late(limits.late, &mut ops);
    notes.extend(crate::disk::images(&ops).filter_map(DiskPlan::note));
    Ok(JailPlan {
        ops,
        notes,
        as_pid_1: spec.as_pid_1 && namespaces.pid,
        fault: None,
    })
}

/// What every root gets from the kernel.
fn plan_kernel(
    spec: &JailSpec,
    ids: &IdPlan,
    namespaces: Namespaces,
    facts: &HostFacts,
    notes: &mut Vec<String>,
    ops: &mut Vec<SetupOp>,
) {
    ops.push(SetupOp::Dev {
        at: "/dev".into(),
        tty_group: ids.has_group(5),
    });
    guard::devices(spec, notes, ops);
    // Without a pid namespace of its own a fresh procfs shows what the host's shows; that is what was asked. Who has no
    // rights over the host's pid namespace may not mount one.
    ops.push(match namespaces.user && !namespaces.pid {
        true => SetupOp::HostProc,
        false => SetupOp::Proc { at: "/proc".into() },
    });
    // Before the system's settings are closed: that is where it is put.
    let interpreter = facts.interpreter.clone().filter(|_| namespaces.user);
    ops.extend(interpreter.map(SetupOp::Interpret));
    ops.push(SetupOp::Sys {
        empty: !namespaces.net && namespaces.user,
    });
    let hidden = MASKED
        .into_iter()
        .filter(|p| namespaces.net || !namespaces.user || !p.starts_with("/sys/"));
    ops.push(SetupOp::Mask(hidden.collect()));
    ops.push(SetupOp::ReadOnly(READ_ONLY.to_vec()));
    if spec.net == JailNet::Host && facts.resolv_conf {
        ops.push(SetupOp::ResolvConf);
    }
    ops.extend(network::names(ops, facts));
}

/// The last part, which also a program that joins a running jail goes through: user, capabilities, filter, program.
fn plan_program(
    spec: &JailSpec,
    facts: &HostFacts,
    ids: &IdPlan,
    ops: &mut Vec<SetupOp>,
    notes: &mut Vec<String>,
) -> Result<(), JailPlanError> {
    let asked = guard::caps(&spec.cap_add, &spec.cap_drop)?;
    let guards = guard::guards(spec, facts, asked, notes)?;
    let caps = match spec.own_names {
        true => guard::with_names(asked, spec, ids, notes),
        false => asked,
    };
    // First: a filter that comes before the user changes need not permit it.
    let personality = facts.arch.as_ref();
    let personality = personality.and_then(|arch| Personality::of(facts.kernel.native, arch));
    ops.extend(personality.map(SetupOp::Personality));
    ops.extend(guards.before);
    let (user, kept) = plan_user(spec, facts, ids, caps)?;
    ops.push(user);
    ops.push(SetupOp::Capabilities(kept));
    ops.extend(guards.after);
    ops.push(SetupOp::Chdir(match (&spec.cwd, &facts.account) {
        (Some(cwd), _) => vec![inside(cwd, "working directory")?],
        (None, Some(account)) if account.home.is_absolute() => {
            vec![account.home.clone(), "/".into()]
        }
        (None, _) => vec!["/root".into(), "/".into()],
    }));
    ops.push(guard::descriptors(spec));
    ops.extend(guards.last);
    ops.push(plan_exec(spec, facts)?);
    Ok(())
}

fn plan_tree(
    dir: &Path,
    changes: &Changes,
    ids: &IdPlan,
    ops: &mut Vec<SetupOp>,
) -> Result<(), JailPlanError> {
    absolute(dir, "root of a jail")?;
    if let Changes::Layer { upper, work } = changes {
        absolute(upper, "layer of a jail")?;
        absolute(work, "work directory of a layer")?;
        if upper.parent() != work.parent() || upper == work {
            return Err(JailPlanError::LayerSplit {
                upper: upper.clone(),
                work: work.clone(),
            });
        }
    }
    ops.push(SetupOp::Root(RootPlan::Tree {
        dir: dir.to_owned(),
        changes: changes.clone(),
        id_mapped: matches!(ids, IdPlan::PrivateBlock { .. }),
    }));
    Ok(())
}

fn plan_programs(programs: &ProgramsFacts, ops: &mut Vec<SetupOp>) -> Result<(), JailPlanError> {
    if !programs.top.iter().any(|e| e.name == "usr") {
        return Err(JailPlanError::NoPrograms);
    }
    let root = Path::new("/");
    for entry in &programs.top {
        plan_entry(&root.join(&entry.name), &entry.kind, ops);
    }
    let etc = Path::new("/etc");
    ops.push(SetupOp::Directory {
        at: etc.to_owned(),
        mode: 0o755,
    });
    for entry in &programs.etc {
        plan_entry(&etc.join(&entry.name), &entry.kind, ops);
    }
    for (dir, mode) in [("/var", 0o755), ("/home", 0o755)] {
        ops.push(SetupOp::Directory {
            at: dir.into(),
            mode,
        });
    }
    for (dir, mode) in [
        ("/run", 0o755),
        ("/tmp", 0o1777),
        ("/var/tmp", 0o1777),
        ("/root", 0o700),
    ] {
        ops.push(SetupOp::Tmpfs {
            at: dir.into(),
            mode,
            size: None,
        });
    }
    Ok(())
}

fn plan_entry(at: &Path, kind: &EntryKind, ops: &mut Vec<SetupOp>) {
    let bind = |kind| SetupOp::Bind {
        from: at.to_owned(),
        to: at.to_owned(),
        options: BindOptions::READ_ONLY,
        kind,
    };
    ops.push(match kind {
        EntryKind::Link(to) => SetupOp::Link {
            at: at.to_owned(),
            to: to.clone(),
        },
        EntryKind::Directory => bind(BindKind::Directory),
        EntryKind::File => bind(BindKind::File),
    });
}

fn plan_user(
    spec: &JailSpec,
    facts: &HostFacts,
    ids: &IdPlan,
    caps: CapSet,
) -> Result<(SetupOp, CapSet), JailPlanError> {
    let (uid, gid, groups) = match (&spec.user, ids) {
        // Root is who the jail belongs to; where the caller stays himself, that is he.
        (
            UserSpec::Root,
            IdPlan::Single {
                inside: (uid, gid), ..
            },
        ) => (*uid, *gid, Vec::new()),
        (UserSpec::Root, _) => (0, 0, Vec::new()),
        (UserSpec::Ids { uid, gid, groups }, _) => (*uid, *gid, groups.clone()),
        (UserSpec::Named(name), _) => match &facts.account {
            Some(account) => (account.uid, account.gid, account.groups.clone()),
            None => return Err(JailPlanError::UnknownUser { name: name.clone() }),
        },
    };
    match ids {
        IdPlan::Single {
            inside: (only, only_gid),
            ..
        } if uid != *only || gid != *only_gid => {
            return Err(JailPlanError::OneUserOnly { only: *only });
        }
        IdPlan::PrivateBlock { count } | IdPlan::Nested { count } => {
            let all = groups.iter().chain([&uid, &gid]);
            if let Some(id) = all.copied().find(|id| id >= count) {
                return Err(JailPlanError::NoSuchId { id, count: *count });
            }
        }
        IdPlan::Map { .. } => {
            let unknown = groups
                .iter()
                .chain([&gid])
                .find(|gid| !ids.has_group(**gid));
            if let Some(id) = unknown.copied().or((!ids.has_user(uid)).then_some(uid)) {
                return Err(JailPlanError::NotMapped { id });
            }
        }
        IdPlan::Single { .. } | IdPlan::Host => {}
    }
    // Only root keeps capabilities; the bounding set is cut to the same for everyone else's set-uid programs.
    let set_groups = ids.set_groups();
    Ok((
        SetupOp::User {
            uid,
            gid,
            groups,
            set_groups,
        },
        caps,
    ))
}

fn plan_exec(spec: &JailSpec, facts: &HostFacts) -> Result<SetupOp, JailPlanError> {
    let (command, env) = environment(&spec.command, &spec.env, facts.account.as_ref())?;
    Ok(SetupOp::Exec { command, env })
}

/// Words of a program and its environment, whole.
type Words = (Vec<OsString>, Vec<(OsString, OsString)>);

/// The program (the account's shell when there is none) and its environment, with what an account gives.
pub(crate) fn environment(
    command: &[OsString],
    env: &[(OsString, OsString)],
    account: Option<&Account>,
) -> Result<Words, JailPlanError> {
    let nul = |word: &OsStr| word.as_bytes().contains(&0);
    let mut command = command.to_vec();
    if command.is_empty() {
        let shell = account.map(|a| a.shell.clone().into_os_string());
        command.push(
            shell
                .filter(|s| !s.is_empty())
                .unwrap_or_else(|| "/bin/sh".into()),
        );
    }
    if command.iter().any(|word| nul(word)) {
        return Err(JailPlanError::Nul { what: "command" });
    }
    let mut env = env.to_vec();
    for (name, value) in &env {
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            return Err(JailPlanError::BadVariable { name: name.clone() });
        }
        if nul(name) || nul(value) {
            return Err(JailPlanError::Nul {
                what: "environment",
            });
        }
    }
    let mut offer = |name: &str, value: OsString| {
        if !env.iter().any(|(have, _)| have == name) {
            env.push((name.into(), value));
        }
    };
    match account {
        Some(account) => {
            offer("HOME", account.home.clone().into_os_string());
            offer("USER", account.name.clone().into());
            offer("LOGNAME", account.name.clone().into());
        }
        None => offer("HOME", "/root".into()),
    }
    // The name by which programs learn that they are in a container (systemd's container interface).
    offer("container", "jaula".into());
    Ok((command, env))
}

fn absolute(path: &Path, what: &'static str) -> Result<(), JailPlanError> {
    let refuse = |why| JailPlanError::BadPath {
        path: path.to_owned(),
        what,
        why,
    };
    if !path.is_absolute() {
        return Err(refuse("it is not absolute"));
    }
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(refuse("it holds a NUL byte"));
    }
    Ok(())
}

/// A path inside the jail: absolute, without `..`, normalised.
pub(crate) fn inside(path: &Path, what: &'static str) -> Result<PathBuf, JailPlanError> {
    absolute(path, what)?;
    if path.components().any(|c| c == Component::ParentDir) {
        let why = "it holds ..";
        return Err(JailPlanError::BadPath {
            path: path.to_owned(),
            what,
            why,
        });
    }
    Ok(path.components().collect())
}

#[cfg(test)]
mod tests;
