//! What nsenter(1) does, in the order in which it does it.

use super::{Attempt, DirectOp, DirectPlan, Environment, IdFrom, Kind, Kinds, Program, Wait};
use std::path::PathBuf;

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Its number.
    pub pid: u32,
    /// The inode number of its descriptor (pidfs, since Linux 6.9), which no other process has until the next boot.
    pub inode: Option<u64>,
}

/// Where a namespace is had from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceFrom {
    /// A file: a kept namespace, or one of `/proc`.
    File(PathBuf),
    /// Its identifier (nsfs file handles; Linux 6.18 cannot open them by identifier alone).
    Id(u64),
    /// The network namespace of this socket of the target.
    Socket(i32),
    /// The user namespace that owns the target's user namespace, or the one held of this kind.
    Owner(Option<Kind>),
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The target's.
    Target,
    /// This one, as the caller sees it now.
    Path(PathBuf),
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NsenterSpec {
    /// The process whose namespaces are joined.
    pub target: Option<Target>,
    /// All of its namespaces.
    pub all: bool,
    /// These of its namespaces.
    pub kinds: Kinds,
    /// What is opened by name, in the order asked for: [`DirectOp::OpenNamespace`], [`DirectOp::OpenRoot`],
    /// [`DirectOp::OpenWork`].
    pub opens: Vec<DirectOp>,
    /// Join the owner of the user namespace.
    pub user_parent: bool,
    /// Join the network namespace of this socket of the target.
    pub net_socket: Option<i32>,
    /// The target's root.
    pub root: bool,
    /// The target's working directory.
    pub work: bool,
    /// A working directory in the new root.
    pub work_inside: Option<PathBuf>,
    /// The target's environment.
    pub environment: bool,
    /// The target's control group.
    pub cgroup: bool,
    /// The user.
    pub uid: Option<IdFrom>,
    /// The group.
    pub gid: Option<IdFrom>,
    /// User and group stay, also in another user namespace.
    pub preserve_credentials: bool,
    /// Capabilities survive the program's start.
    pub keep_caps: bool,
    /// Do not fork, also in another namespace of processes.
    pub no_fork: bool,
    /// What then runs.
    pub program: Program,
}

impl NsenterSpec {
    /// This program, and nothing joined.
    pub fn new(program: Program) -> Self {
        Self {
            target: None,
            all: false,
            kinds: Kinds::NONE,
            opens: Vec::new(),
            user_parent: false,
            net_socket: None,
            root: false,
            work: false,
            work_inside: None,
            environment: false,
            cgroup: false,
            uid: None,
            gid: None,
            preserve_credentials: false,
            keep_caps: false,
            no_fork: false,
            program,
        }
    }
}

/// What the kernel and the target are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NsenterFacts {
    /// With [`NsenterSpec::all`]: the kinds that the kernel has, without the user namespace when the target's is the
    /// caller's own, which cannot be joined again (setns(2)).
    pub usable: Kinds,
}

/// It cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NsenterError {
    /// `--all` of nobody.
    #[error("no process was given to take all namespaces of")]
    AllOfNobody,
    /// Something of the target, and there is none.
    #[error("no process was given")]
    NoTarget,
    /// This of the target, and there is none.
    #[error("no process and no path was given for its {0}")]
    NothingFor(&'static str),
    /// Nothing to join.
    #[error("no namespace was given")]
    NoNamespace,
}

/// The plan.
pub fn plan_nsenter(spec: NsenterSpec, facts: &NsenterFacts) -> Result<DirectPlan, NsenterError> {
    let mut files: Kinds = spec
        .opens
        .iter()
        .filter_map(|op| match op {
            DirectOp::OpenNamespace { kind, .. } => Some(*kind),
            _ => None,
        })
        .collect();
    let mut kinds = spec.kinds;
    if spec.all {
        if spec.target.is_none() {
            return Err(NsenterError::AllOfNobody);
        }
        kinds = kinds.and(facts.usable);
    }
    kinds = kinds.iter().filter(|kind| !files.has(*kind)).collect();
    let of_target = !kinds.is_empty() || spec.net_socket.is_some() || spec.user_parent;
    if of_target && spec.target.is_none() {
        return Err(NsenterError::NoTarget);
    }
    let by_number = [
        (spec.root, "root", DirectOp::OpenRoot(Place::Target)),
        (spec.work, "cwd", DirectOp::OpenWork(Place::Target)),
        (spec.environment, "environ", DirectOp::OpenEnvironment),
        (follows(&spec), "", DirectOp::OpenIds),
        (spec.cgroup, "cgroup", DirectOp::OpenCgroup),
    ];
    let mut ops = spec.opens.clone();
    let asked: Vec<_> = by_number.into_iter().filter(|(asked, ..)| *asked).collect();
    match spec.target {
        Some(target) if of_target || !asked.is_empty() => ops.push(DirectOp::Target(target)),
        None if !asked.is_empty() => {
            let what = asked.first().map_or("", |(_, what, _)| what);
            return Err(NsenterError::NothingFor(what));
        }
        _ => {}
    }
    let check = !asked.is_empty();
    ops.extend(asked.into_iter().map(|(.., op)| op));
    if check {
        ops.push(DirectOp::TargetUnchanged);
    }
    if spec.user_parent {
        // Of the user namespace that was given by a file; else of the target's.
        let of = files.has(Kind::User).then_some(Kind::User);
        ops.push(DirectOp::OpenNamespace {
            kind: Kind::User,
            from: NamespaceFrom::Owner(of),
        });
        kinds = kinds.without(Kind::User);
        files.insert(Kind::User);
    }
    if let Some(socket) = spec.net_socket {
        ops.push(DirectOp::OpenNamespace {
            kind: Kind::Net,
            from: NamespaceFrom::Socket(socket),
        });
        kinds = kinds.without(Kind::Net);
        files.insert(Kind::Net);
    }
    let all = kinds.and(files);
    if all.is_empty() {
        return Err(NsenterError::NoNamespace);
    }
    enter(&spec, kinds, files, &mut ops);
    Ok(DirectPlan {
        program: Program {
            env: if spec.environment {
                Environment::OfTarget
            } else {
                spec.program.env.clone()
            },
            ..spec.program
        },
        ops,
    })
}

fn follows(spec: &NsenterSpec) -> bool {
    [spec.uid, spec.gid].contains(&Some(IdFrom::Target))
}

/// Everything after what had to be opened.
fn enter(spec: &NsenterSpec, target: Kinds, files: Kinds, ops: &mut Vec<DirectOp>) {
    let all = target.and(files);
    let becomes_root = all.has(Kind::User) && !spec.preserve_credentials;
    if becomes_root {
        ops.push(DirectOp::ClearGroups(Attempt::First));
    }
    let rest = |kinds: Kinds| kinds.without(Kind::User);
    if all.has(Kind::User) && !rest(all).is_empty() {
        ops.push(DirectOp::TryJoin {
            target: rest(target),
            files: rest(files),
        });
    }
    ops.push(DirectOp::Join { target, files });
    let opened = |root: bool| {
        spec.opens.iter().any(|op| match op {
            DirectOp::OpenRoot(_) => root,
            DirectOp::OpenWork(_) => !root,
            _ => false,
        })
    };
    let root = spec.root || opened(true);
    let work = spec.work || opened(false);
    let stays = root && !work && spec.work_inside.is_none();
    if stays {
        ops.push(DirectOp::HoldWork);
    }
    if root {
        ops.push(DirectOp::EnterRoot);
    }
    if let Some(inside) = &spec.work_inside {
        ops.push(DirectOp::OpenWorkInside(inside.clone()));
    }
    if stays || work || spec.work_inside.is_some() {
        ops.push(DirectOp::EnterWork);
    }
    if spec.cgroup {
        ops.push(DirectOp::JoinCgroup);
    }
    if follows(spec) {
        ops.push(DirectOp::ReadIds);
    }
    if all.has(Kind::Pid) && !spec.no_fork {
        ops.push(DirectOp::ChildSignal);
        ops.push(DirectOp::Fork {
            wait: Wait::Mirrored,
            kill_child: None,
            parent: Vec::new(),
        });
    }
    let default = becomes_root.then_some(IdFrom::Number(0));
    if let Some(gid) = spec.gid.or(default) {
        let attempt = if becomes_root {
            Attempt::Second
        } else {
            Attempt::Optional
        };
        ops.push(DirectOp::ClearGroups(attempt));
        ops.push(DirectOp::SetGid(gid));
    }
    ops.extend(spec.uid.or(default).map(DirectOp::SetUid));
    if spec.keep_caps && all.has(Kind::User) {
        ops.push(DirectOp::Ambient);
    }
}
