//! Plans of what acts on the calling process itself, as unshare(1), nsenter(1) and chroot(1) do: it leaves or joins
//! namespaces where it stands, and becomes the program. A jail is made around a new process instead (`crate::jail`).
//!
//! A plan is an ordered list of [`DirectOp`]. What it needs later is opened first; what only a process that stays
//! behind can do is done by a [`Helper`], which waits for its [`DirectOp::Release`]; what was already refused when the
//! plan was made stands in it as [`DirectOp::Refuse`], at the place where it counts.

pub mod accounts;
pub mod chroot;
pub mod explain;
pub mod map;
pub mod namespace;
pub mod nsenter;
pub mod program;
pub mod unshare;

pub use chroot::{ChrootFacts, ChrootSpec, plan_chroot};
pub use map::{Choice, IdRange, MapError, Which};
pub use namespace::{Kind, Kinds};
pub use nsenter::{NamespaceFrom, NsenterFacts, NsenterSpec, Place, Target, plan_nsenter};
pub use program::{Environment, Program};
pub use unshare::{UnshareFacts, UnshareSpec, plan_unshare};

use std::ffi::OsString;
use std::path::PathBuf;

/// Where a user or group comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdFrom {
    /// This number.
    Number(u32),
    /// That of the target process, as the namespace that was joined numbers it.
    Target,
}

/// What the clocks of a time namespace are set against (time_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// CLOCK_MONOTONIC.
    Monotonic,
    /// CLOCK_BOOTTIME.
    Boottime,
}

/// How mounts are passed on between the new mount namespace and the old one (mount_namespaces(7)); always with all
/// that is beneath.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// To nobody, from nobody.
    Private,
    /// Both ways.
    Shared,
    /// From the old one only.
    Slave,
    /// As the kernel copied it.
    Unchanged,
}

/// A file that keeps a namespace: the namespace is mounted on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Which namespace.
    pub kind: Kind,
    /// The file, which must be there.
    pub on: PathBuf,
}

/// Whether setgroups(2) may be called in a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetGroups {
    /// It may.
    Allow,
    /// It may not: an ordinary user can map groups only then.
    Deny,
}

/// Who writes the identifier maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapBy {
    /// The helper itself, which has the rights.
    Itself,
    /// newuidmap(1) and newgidmap(1), which look the ranges up in subuid(5) and subgid(5).
    Programs {
        /// Where they are looked for (execvp(3)).
        path: Option<OsString>,
    },
}

/// A process that stays in the old namespaces, and does one thing when it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Helper {
    /// Mounts the caller's new namespaces on files.
    Keep(Vec<Kept>),
    /// Maps identifiers of the caller's new user namespace.
    Map {
        /// Users; empty when they are not mapped so.
        users: Vec<IdRange>,
        /// Groups; empty when they are not mapped so.
        groups: Vec<IdRange>,
        /// By whom.
        by: MapBy,
    },
}

/// Which helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelperName {
    /// [`Helper::Keep`].
    Keep,
    /// [`Helper::Map`].
    Map,
}

/// What the process that forked does about signals until its child has ended, and how the end is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// SIGINT and SIGTERM are held back; a signal that ended the child ends this process too.
    Held,
    /// SIGINT and SIGTERM are sent on to the child; its end is passed on as above.
    Forwarded,
    /// Stops when the child stops, and continues it afterwards; its end is passed on as above.
    Mirrored,
}

/// Which of two attempts to drop the supplementary groups: in some orders of namespaces only one can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It must succeed.
    Only,
    /// It may fail, if the other succeeds.
    First,
    /// It may fail, if the first succeeded.
    Second,
    /// Groups are dropped where that can be done at all.
    Optional,
}

/// One step. A path is one of the process as it is at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectOp {
    /// SIGCHLD does what it does by default.
    ChildSignal,
    /// Hold the target by a descriptor (pidfd_open(2)). With its inode number given, it must have that (pidfs).
    Target(Target),
    /// Open a namespace file.
    OpenNamespace {
        /// What it must be.
        kind: Kind,
        /// From where.
        from: NamespaceFrom,
    },
    /// Open the directory that becomes the root.
    OpenRoot(Place),
    /// Open the directory that becomes the working directory.
    OpenWork(Place),
    /// Open the target's environment.
    OpenEnvironment,
    /// Open what tells the target's user and group.
    OpenIds,
    /// Open the target's control group for writing, with the rights of whoever calls.
    OpenCgroup,
    /// The target still is the process that was held: everything opened by its number is its own.
    TargetUnchanged,
    /// Start a helper, which waits.
    Start(Helper),
    /// Let a helper do its work, and wait for its end.
    Release(HelperName),
    /// Leave namespaces for new ones (unshare(2)).
    Unshare(Kinds),
    /// Join all held namespaces but the user namespace that can be joined by now; what cannot is left to
    /// [`DirectOp::Join`].
    TryJoin {
        /// Those of the target.
        target: Kinds,
        /// Those of files, in this order.
        files: Kinds,
    },
    /// Join the held namespaces that were not joined yet, the user namespace first (setns(2)).
    Join {
        /// Those of the target.
        target: Kinds,
        /// Those of files.
        files: Kinds,
    },
    /// Set a clock of the time namespace that children will be in.
    ClockOffset {
        /// Which.
        clock: Clock,
        /// Added to the host's, in seconds.
        seconds: i64,
    },
    /// Fork: the child goes on with the rest, the parent does what `parent` says, then waits.
    Fork {
        /// How it waits.
        wait: Wait,
        /// The signal that the child gets when the parent ends.
        kill_child: Option<i32>,
        /// What only the parent does.
        parent: Vec<DirectOp>,
    },
    /// Mount this process's namespaces on files.
    Keep(Vec<Kept>),
    /// Map one identifier from within the new user namespace.
    MapOne {
        /// User or group.
        which: Which,
        /// Inside.
        inside: u32,
        /// Outside: the process's own.
        outside: u32,
    },
    /// Allow or deny setgroups(2).
    SetGroups(SetGroups),
    /// Set the propagation of every mount.
    Propagation(Propagation),
    /// chroot(2), without going there.
    Chroot(PathBuf),
    /// chdir(2).
    Chdir(PathBuf),
    /// Remember the working directory, to come back to it.
    HoldWork,
    /// Make the held directory the root, and go there.
    EnterRoot,
    /// Open a directory of the new root, to go there.
    OpenWorkInside(PathBuf),
    /// Go to the held working directory.
    EnterWork,
    /// Make what is mounted there private; nothing being mounted there is no error.
    PrivateAt(PathBuf),
    /// Mount proc(5).
    MountProc(PathBuf),
    /// Mount binfmt_misc.
    MountBinfmt(PathBuf),
    /// Register an interpreter with the binfmt_misc mounted there.
    Register {
        /// Where it is mounted.
        at: PathBuf,
        /// The registration (binfmt_misc's own format).
        text: Vec<u8>,
    },
    /// Drop the supplementary groups.
    ClearGroups(Attempt),
    /// Set the supplementary groups.
    Groups(Vec<u32>),
    /// setgid(2).
    SetGid(IdFrom),
    /// setuid(2).
    SetUid(IdFrom),
    /// Get this signal when the parent ends; once more, since a change of identity forgets it (prctl(2)).
    DieWithParent(i32),
    /// Move this process into the target's control group.
    JoinCgroup,
    /// Make every permitted capability ambient, so that it survives execve(2) (capabilities(7)).
    Ambient,
    /// Read the user and group of the target, as they are numbered now.
    ReadIds,
    /// What was asked makes no sense: stop, everything before it having been done as it always is.
    Refuse(Refusal),
    /// Something that is worth a word.
    Warn(Warning),
}

/// Why a plan ends without a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// `--setgroups=allow` with one mapped group.
    SetGroupsAllow,
    /// chroot(1) does not know the user.
    InvalidUser,
    /// chroot(1) does not know the group.
    InvalidGroup,
    /// chroot(1) got a login group asked of a number.
    InvalidSpec,
    /// chroot(1) has no group for this user.
    NoGroupFor(u32),
    /// chroot(1) does not know these supplementary groups; with nothing in it the list was empty.
    InvalidGroups(Vec<String>),
}

/// What a plan says by the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// chroot(1) got a dot for a colon.
    Dot,
}

/// What happens to the calling process, in this order, and what it then becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectPlan {
    /// The steps.
    pub ops: Vec<DirectOp>,
    /// The program.
    pub program: Program,
}

#[cfg(test)]
mod tests;
