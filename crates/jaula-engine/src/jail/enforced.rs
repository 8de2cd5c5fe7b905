//! What was really enforced, made from what was applied.

use super::lower::Lowered;
use crate::cgroup::HeldLimit;
use jaula_plan::explain::shown;
use jaula_plan::jail::JailPlan;
use jaula_plan::setup_op::{CapSet, IdPlan, RootPlan, SetupOp};
use jaula_plan::spec::jail::{Changes, IdRange};
use jaula_sys::child::Op;
use jaula_sys::spawn::{Absent, Found};

/// The protections of a jail whose program ran. Every one was applied without an error before it did.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Enforced {
    /// Namespaces of its own.
    pub namespaces: Vec<&'static str>,
    /// Where its identifiers are outside.
    pub ids: Ids,
    /// `memory`, `overlay`, `layer`, `direct`, `read-only`; `joined` for that of a process.
    pub root: &'static str,
    /// Whether the old root was let go of (false only for a program that joined a jail, whose root it has).
    pub pivoted: bool,
    /// User of the program.
    pub uid: u32,
    /// Group of the program.
    pub gid: u32,
    /// The bounding set, as the kernel said.
    pub capabilities: Vec<&'static str>,
    /// The effective set, as the kernel said; permitted is the same, inheritable and ambient are empty.
    pub effective: Vec<&'static str>,
    /// Securebits (capabilities(7)), as the kernel said.
    pub securebits: u32,
    /// PR_SET_NO_NEW_PRIVS, as the kernel said.
    pub no_new_privs: bool,
    /// The filter: `default`, `default, no sync`, `none`, or `profile` and its name.
    pub seccomp: String,
    /// The Landlock rules that hold.
    pub landlock: Vec<String>,
    /// Device nodes of the host.
    pub devices: Vec<String>,
    /// Descriptors that were kept besides 0, 1 and 2.
    pub kept_descriptors: Vec<u32>,
    /// Whether the jail ends when its supervisor is killed.
    pub dies_with_parent: bool,
    /// Paths under something empty; those that this kernel does not have are not listed.
    pub masked: Vec<&'static str>,
    /// Paths made read-only.
    pub read_only: Vec<&'static str>,
    /// Disk images, read-only: where, and shown by `fuse`, `unpacked` or `kernel`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<(std::path::PathBuf, &'static str)>,
    /// Whether the network is the host's.
    pub host_network: bool,
    /// Whether it has a session of its own.
    pub own_session: bool,
    /// Whether it has a terminal of its own.
    pub own_terminal: bool,
    /// Whether descriptors past 2 were closed.
    pub descriptors_closed: bool,
    /// Its limits, as the kernel tells them.
    pub limits: Vec<HeldLimit>,
}

/// Where a jail's identifiers are outside.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Ids {
    /// The host's.
    #[default]
    Host,
    /// A range.
    Range {
        /// First inside.
        inside: u32,
        /// First outside, as the caller's namespace counts.
        outside: u32,
        /// How many.
        count: u32,
    },
    /// Several ranges: inside, outside as the caller's namespace counts, how many.
    Map {
        /// Of users.
        users: Vec<[u32; 3]>,
        /// Of groups.
        groups: Vec<[u32; 3]>,
    },
}

/// The kinds of namespaces that can be joined, as below `/proc/PID/ns`.
const JOINED: [&str; 8] = ["mnt", "user", "pid", "ipc", "uts", "net", "cgroup", "time"];

/// What was applied, kept until somebody asks what was enforced by it: most never do, and the words take longer than
/// the work.
pub(crate) struct Applied {
    pub(super) plan: JailPlan,
    pub(super) lowered: Lowered,
    pub(super) absent: Absent,
    pub(super) ids: Ids,
    pub(super) terminal: bool,
    pub(super) limits: Vec<HeldLimit>,
    /// What the kernel said of the program's process.
    pub(super) found: Option<Found>,
}

impl Applied {
    pub(crate) fn enforced(&self) -> Enforced {
        Enforced {
            limits: self.limits.clone(),
            ..Enforced::new(self)
        }
    }
}

impl Enforced {
    fn new(applied: &Applied) -> Self {
        let (plan, lowered) = (&applied.plan, &applied.lowered);
        let mut this = Self {
            ids: applied.ids.clone(),
            own_terminal: applied.terminal,
            seccomp: "none".to_owned(),
            ..Self::default()
        };
        this.namespaces = lowered.namespaces.names();
        this.host_network = !lowered.namespaces.net;
        for (step, op) in plan.ops.iter().enumerate() {
            let applied = |paths: &[&'static str]| {
                let hidden = lowered
                    .of_step(step)
                    .filter(|(index, _)| !applied.absent.holds(*index));
                let names: Vec<String> = hidden
                    .filter_map(|(_, op)| match op {
                        Op::Mask { to, .. } | Op::Freeze(to) => {
                            Some(format!("/{}", to.to_string_lossy()))
                        }
                        _ => None,
                    })
                    .collect();
                paths
                    .iter()
                    .copied()
                    .filter(|path| names.iter().any(|name| path.ends_with(name.as_str())))
                    .collect()
            };
            match op {
                SetupOp::Join(join) => {
                    let joined = |kind: &&str| join.kinds.iter().any(|name| name == kind);
                    this.namespaces = JOINED.into_iter().filter(joined).collect();
                    this.host_network = !this.namespaces.contains(&"net");
                    this.root = "joined";
                }
                SetupOp::Root(RootPlan::Memory) => this.root = "memory",
                SetupOp::Root(RootPlan::Tree { changes, .. }) => {
                    this.root = match changes {
                        Changes::Ephemeral => "overlay",
                        Changes::Layer { .. } => "layer",
                        Changes::Direct => "direct",
                        Changes::ReadOnly => "read-only",
                    };
                }
                SetupOp::Mask(paths) => this.masked = applied(paths),
                SetupOp::ReadOnly(paths) => this.read_only = applied(paths),
                SetupOp::Disk(disk) if lowered.of_step(step).next().is_some() => {
                    this.disks.push((disk.at.clone(), disk.how_name()));
                }
                SetupOp::PivotRoot => this.pivoted = lowered.of_step(step).next().is_some(),
                SetupOp::Stdio(_) => this.own_session = true,
                SetupOp::User { uid, gid, .. } => (this.uid, this.gid) = (*uid, *gid),
                SetupOp::Capabilities(set) => this.capabilities = set.names(),
                SetupOp::NoNewPrivs => this.no_new_privs = true,
                SetupOp::CloseDescriptors => this.descriptors_closed = true,
                SetupOp::KeepDescriptors(keep) => {
                    this.descriptors_closed = true;
                    this.kept_descriptors.clone_from(keep);
                }
                SetupOp::DieWithParent => this.dies_with_parent = true,
                SetupOp::Device(at) => this.devices.push(shown(at)),
                SetupOp::Landlock(set) => {
                    this.landlock = set.rules.iter().map(ToString::to_string).collect();
                }
                SetupOp::Seccomp(plan) => {
                    this.seccomp = match plan.no_sync {
                        true => "default, no sync".to_owned(),
                        false => "default".to_owned(),
                    };
                }
                SetupOp::SeccompProfile { name, .. } => {
                    this.seccomp = match this.seccomp.starts_with("default") {
                        true => format!("default, and profile {name}"),
                        false => format!("profile {name}"),
                    };
                }
                _ => {}
            }
        }
        // What the kernel says goes before what it was told.
        if let Some(found) = &applied.found {
            this.capabilities = CapSet(found.bounding).names();
            this.effective = CapSet(found.effective).names();
            this.securebits = found.securebits;
            this.no_new_privs = found.no_new_privs;
        }
        this
    }

    pub(super) fn of_ids(ids: &IdPlan, block: Option<u32>) -> Ids {
        match ids {
            IdPlan::Host => Ids::Host,
            IdPlan::Map { users, groups, .. } => {
                let all = |list: &[IdRange]| {
                    list.iter()
                        .map(|r| [r.inside, r.outside, r.count])
                        .collect()
                };
                Ids::Map {
                    users: all(users),
                    groups: all(groups),
                }
            }
            IdPlan::PrivateBlock { count } => Ids::Range {
                inside: 0,
                outside: block.unwrap_or(0),
                count: *count,
            },
            IdPlan::Nested { count } => Ids::Range {
                inside: 0,
                outside: 0,
                count: *count,
            },
            IdPlan::Single { inside, outside } => Ids::Range {
                inside: inside.0,
                outside: outside.0,
                count: 1,
            },
        }
    }
}
