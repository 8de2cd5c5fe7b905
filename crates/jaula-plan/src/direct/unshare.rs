//! What unshare(1) does, in the order in which it does it.

use super::map::{self, MapFacts};
use super::{
    Attempt, Choice, Clock, DirectOp, DirectPlan, Helper, HelperName, IdFrom, Kept, Kind, Kinds,
    MapBy, MapError, Program, Propagation, Refusal, SetGroups, Wait, Which,
};
use std::ffi::OsString;
use std::path::PathBuf;

/// Where binfmt_misc belongs.
pub const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnshareSpec {
    /// New namespaces.
    pub kinds: Kinds,
    /// Those of them that are kept, one file a kind.
    pub keep: Vec<Kept>,
    /// Go on in a child.
    pub fork: bool,
    /// The signal that the child gets when this process ends.
    pub kill_child: Option<i32>,
    /// SIGINT and SIGTERM are sent on to the child.
    pub forward_signals: bool,
    /// The caller's user is this one inside.
    pub map_user: Option<u32>,
    /// The caller's group is this one inside.
    pub map_group: Option<u32>,
    /// Blocks of users.
    pub map_users: Vec<Choice>,
    /// Blocks of groups.
    pub map_groups: Vec<Choice>,
    /// The user and group that own the user namespace.
    pub owner: Option<(u32, u32)>,
    /// Whether setgroups(2) may be called inside.
    pub set_groups: Option<SetGroups>,
    /// Capabilities survive the program's start.
    pub keep_caps: bool,
    /// Of the new mounts.
    pub propagation: Propagation,
    /// Mount proc(5) here.
    pub mount_proc: Option<PathBuf>,
    /// Mount binfmt_misc here.
    pub mount_binfmt: Option<PathBuf>,
    /// An interpreter to register there.
    pub load_interp: Option<Vec<u8>>,
    /// The new root.
    pub root: Option<PathBuf>,
    /// The working directory, in the new root.
    pub work: Option<PathBuf>,
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// Of CLOCK_MONOTONIC, in seconds.
    pub monotonic: Option<i64>,
    /// Of CLOCK_BOOTTIME, in seconds.
    pub boottime: Option<i64>,
    /// Where newuidmap(1) and newgidmap(1) are looked for.
    pub path: Option<OsString>,
    /// What then runs.
    pub program: Program,
}

impl UnshareSpec {
    /// This program, and nothing changed.
    pub fn new(program: Program) -> Self {
        Self {
            kinds: Kinds::NONE,
            keep: Vec::new(),
            fork: false,
            kill_child: None,
            forward_signals: false,
            map_user: None,
            map_group: None,
            map_users: Vec::new(),
            map_groups: Vec::new(),
            owner: None,
            set_groups: None,
            keep_caps: false,
            propagation: Propagation::Private,
            mount_proc: None,
            mount_binfmt: None,
            load_interp: None,
            root: None,
            work: None,
            uid: None,
            gid: None,
            monotonic: None,
            boottime: None,
            path: None,
            program,
        }
    }

    /// Whether a file of subordinate identifiers must be read.
    pub fn needs_subordinate(&self, which: Which) -> bool {
        self.choices(which)
            .iter()
            .any(|choice| matches!(choice, Choice::Auto | Choice::Subids))
    }

    /// Whether the caller's own map must be read.
    pub fn needs_own(&self, which: Which) -> bool {
        self.choices(which).contains(&Choice::All)
    }

    fn choices(&self, which: Which) -> &[Choice] {
        match which {
            Which::Users => &self.map_users,
            Which::Groups => &self.map_groups,
        }
    }
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnshareFacts {
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// For maps of users.
    pub users: MapFacts,
    /// For maps of groups.
    pub groups: MapFacts,
}

/// It cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnshareError {
    /// Clocks are set without a time namespace.
    #[error("clocks can be set in a new time namespace only")]
    ClocksWithoutTime,
    /// There is no such map.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// The plan.
pub fn plan_unshare(spec: UnshareSpec, facts: &UnshareFacts) -> Result<DirectPlan, UnshareError> {
    let clocks = [
        (Clock::Boottime, spec.boottime),
        (Clock::Monotonic, spec.monotonic),
    ];
    if clocks.iter().any(|(_, set)| set.is_some()) && !spec.kinds.has(Kind::Time) {
        return Err(UnshareError::ClocksWithoutTime);
    }
    let mut ops = vec![DirectOp::ChildSignal];
    // Once the caller is in a new mount namespace, or has no rights in the old one, somebody else must keep them.
    let keep_by_helper = spec.kinds.has(Kind::Mnt) || spec.kinds.has(Kind::User);
    let keep_by_helper = keep_by_helper && !spec.keep.is_empty();
    if keep_by_helper {
        ops.push(DirectOp::Start(Helper::Keep(spec.keep.clone())));
    }
    let users = block_map(&spec, facts, Which::Users)?;
    let groups = block_map(&spec, facts, Which::Groups)?;
    let (map_user, map_group) = (
        spec.map_user.filter(|_| users.is_none()),
        spec.map_group.filter(|_| groups.is_none()),
    );
    let mapped_by_helper = users.is_some() || groups.is_some();
    if mapped_by_helper {
        ops.push(DirectOp::Start(Helper::Map {
            users: users.unwrap_or_default(),
            groups: groups.unwrap_or_default(),
            by: match facts.uid {
                0 => MapBy::Itself,
                _ => MapBy::Programs {
                    path: spec.path.clone(),
                },
            },
        }));
    }
    if let Some((uid, gid)) = spec.owner {
        ops.push(DirectOp::ClearGroups(Attempt::Only));
        ops.push(DirectOp::SetGid(IdFrom::Number(gid)));
        ops.push(DirectOp::SetUid(IdFrom::Number(uid)));
    }
    if !spec.kinds.is_empty() {
        ops.push(DirectOp::Unshare(spec.kinds));
    }
    if mapped_by_helper {
        ops.push(DirectOp::Release(HelperName::Map));
    }
    for (clock, seconds) in clocks {
        ops.extend(seconds.map(|seconds| DirectOp::ClockOffset { clock, seconds }));
    }
    let keep = match (spec.keep.is_empty(), keep_by_helper) {
        (true, _) => None,
        (false, true) => Some(DirectOp::Release(HelperName::Keep)),
        (false, false) => Some(DirectOp::Keep(spec.keep.clone())),
    };
    if spec.fork || spec.forward_signals || spec.kill_child.is_some() {
        ops.push(DirectOp::Fork {
            wait: if spec.forward_signals {
                Wait::Forwarded
            } else {
                Wait::Held
            },
            kill_child: spec.kill_child,
            parent: keep.into_iter().collect(),
        });
    } else {
        ops.extend(keep);
    }
    if let Some(inside) = map_user {
        ops.push(DirectOp::MapOne {
            which: Which::Users,
            inside,
            outside: facts.uid,
        });
    }
    if let Some(inside) = map_group {
        if spec.set_groups == Some(SetGroups::Allow) {
            ops.push(DirectOp::Refuse(Refusal::SetGroupsAllow));
        }
        ops.push(DirectOp::SetGroups(SetGroups::Deny));
        ops.push(DirectOp::MapOne {
            which: Which::Groups,
            inside,
            outside: facts.gid,
        });
    }
    ops.extend(spec.set_groups.map(DirectOp::SetGroups));
    mounts(&spec, &mut ops);
    if let Some(gid) = spec.gid {
        ops.push(DirectOp::ClearGroups(Attempt::Only));
        ops.push(DirectOp::SetGid(IdFrom::Number(gid)));
    }
    ops.extend(spec.uid.map(|uid| DirectOp::SetUid(IdFrom::Number(uid))));
    let changed = spec.uid.is_some() || spec.gid.is_some();
    ops.extend(
        spec.kill_child
            .filter(|_| changed)
            .map(DirectOp::DieWithParent),
    );
    if spec.keep_caps && spec.kinds.has(Kind::User) {
        ops.push(DirectOp::Ambient);
    }
    Ok(DirectPlan {
        ops,
        program: spec.program,
    })
}

/// The map that a helper writes, if there is to be one: blocks, or one identifier of a namespace that is another's.
fn block_map(
    spec: &UnshareSpec,
    facts: &UnshareFacts,
    which: Which,
) -> Result<Option<Vec<super::IdRange>>, MapError> {
    let (one, own, facts_of) = match which {
        Which::Users => (spec.map_user, facts.uid, &facts.users),
        Which::Groups => (spec.map_group, facts.gid, &facts.groups),
    };
    let choices = spec.choices(which);
    if choices.is_empty() && (one.is_none() || spec.owner.is_none()) {
        return Ok(None);
    }
    let single = one.map(|inside| (inside, own));
    map::compose(which, choices, single, facts.uid, facts_of).map(Some)
}

/// Propagation, root, working directory, proc, binfmt_misc.
fn mounts(spec: &UnshareSpec, ops: &mut Vec<DirectOp>) {
    if spec.kinds.has(Kind::Mnt) && spec.propagation != Propagation::Unchanged {
        ops.push(DirectOp::Propagation(spec.propagation));
    }
    // An interpreter that is opened at registration (flag F) is one of the old root.
    let early = spec.root.is_some() && spec.load_interp.as_deref().is_some_and(opened_at_once);
    let register = |at: PathBuf| {
        let text = spec.load_interp.clone();
        text.map(|text| DirectOp::Register { at, text })
    };
    if early {
        ops.push(DirectOp::MountBinfmt(BINFMT.into()));
        ops.extend(register(BINFMT.into()));
    }
    if let Some(root) = &spec.root {
        ops.push(DirectOp::Chroot(root.clone()));
    }
    let top = spec.root.is_some().then(|| PathBuf::from("/"));
    ops.extend(spec.work.clone().or(top).map(DirectOp::Chdir));
    if let Some(proc) = &spec.mount_proc {
        if spec.root.is_none() && spec.propagation != Propagation::Private {
            ops.push(DirectOp::PrivateAt(proc.clone()));
        }
        ops.push(DirectOp::MountProc(proc.clone()));
    }
    if let Some(binfmt) = &spec.mount_binfmt {
        ops.push(DirectOp::MountBinfmt(binfmt.clone()));
        if !early {
            ops.extend(register(binfmt.clone()));
        }
    }
}

fn opened_at_once(registration: &[u8]) -> bool {
    let flags = registration.rsplit(|byte| *byte == b':').next();
    registration.contains(&b':') && flags.is_some_and(|flags| flags.contains(&b'F'))
}
