//! What is done, in order.

use crate::setup_op::{CapSet, SetupOp};
use crate::spec::jail::Namespaces;
use std::ffi::OsString;
use std::path::PathBuf;

/// One thing that is done; the order in a plan is the order of execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BwrapOp {
    /// The supervisor goes into a user namespace of the caller's.
    JoinUser(i32),
    /// The supervisor's children go into a pid namespace of the caller's.
    JoinPid(i32),
    /// A process in new namespaces.
    Namespaces(Namespaces),
    /// It waits until the caller was told of it.
    Await,
    /// No program gains privileges.
    NoNewPrivs,
    /// Descriptors that only the supervisor needs.
    Close(Vec<i32>),
    /// User and group of a joined user namespace.
    ChangeIds {
        /// User.
        uid: Option<u32>,
        /// Group.
        gid: Option<u32>,
    },
    /// The loopback interface.
    Loopback,
    /// The process's own maps: one user, one group.
    Map {
        /// Inside and outside.
        user: (u32, u32),
        /// Inside and outside.
        group: (u32, u32),
        /// Whether setgroups(2) is given up.
        deny: bool,
    },
    /// Mounts travel from the host only.
    SlaveMounts,
    /// An empty root.
    Root,
    /// As a jail has it.
    Tree(SetupOp),
    /// The host's path, looked at again: it must still be what the descriptor is.
    BindDescriptor {
        /// The descriptor.
        fd: i32,
        /// The bind.
        bind: SetupOp,
    },
    /// A procfs of its own, or the host's, with what changes the kernel read-only.
    Proc {
        /// Where.
        to: PathBuf,
        /// Of its own.
        own: bool,
    },
    /// A `/dev`.
    Dev {
        /// Where.
        to: PathBuf,
        /// The terminal to be `console`.
        console: Option<PathBuf>,
    },
    /// A file from a descriptor.
    File {
        /// The descriptor.
        from: i32,
        /// Where.
        to: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file in memory from a descriptor, bound.
    Data {
        /// The descriptor.
        from: i32,
        /// Where.
        to: PathBuf,
        /// Its mode.
        mode: u32,
        /// Not writable.
        read_only: bool,
    },
    /// The host name.
    HostName(OsString),
    /// Make the tree the root.
    PivotRoot,
    /// Go into a second user namespace of the caller's.
    JoinSecondUser(i32),
    /// The next user namespace is the last one.
    LastUserNamespace,
    /// A user namespace in the first.
    SecondUserNamespace,
    /// Fails unless no user namespace can be made.
    NoUserNamespace,
    /// What stays of the bounding set.
    Bound(CapSet),
    /// Permitted, effective and inheritable capabilities.
    Capabilities {
        /// The set.
        set: CapSet,
        /// Whether it is no error that it may not be done.
        lenient: bool,
    },
    /// Others of the same user may look at it.
    Dumpable,
    /// Wait for the caller.
    BlockOn(i32),
    /// The caller's umask again.
    RestoreUmask,
    /// The working directory: the first that can be entered.
    Chdir(Vec<PathBuf>),
    /// A session of its own.
    NewSession,
    /// A process stays to reap; see [`Reaper`].
    Reap(Reaper),
    /// End with the parent.
    DieWithParent,
    /// Ambient capabilities.
    Ambient(CapSet),
    /// Filters of the caller's, in order.
    Filters(Vec<Vec<u8>>),
    /// The program.
    Exec {
        /// What is looked for.
        program: OsString,
        /// Its arguments, the name it is called by first.
        args: Vec<OsString>,
        /// Its environment, but for `PWD`, which is the working directory.
        env: Vec<(OsString, OsString)>,
    },
}

/// What the process that stays does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reaper {
    /// A descriptor that it keeps.
    pub sync_fd: Option<i32>,
    /// Files that it locks.
    pub lock_files: Vec<PathBuf>,
    /// Whether it ends with its parent.
    pub die_with_parent: bool,
    /// Whether it is no error that capabilities cannot be given up.
    pub lenient: bool,
    /// Filters of the caller's.
    pub filters: Vec<Vec<u8>>,
}

/// Everything that is done, and what the supervisor tells whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BwrapPlan {
    /// The operations.
    pub ops: Vec<BwrapOp>,
    /// `--info-fd`
    pub info_fd: Option<i32>,
    /// `--json-status-fd`
    pub json_status_fd: Option<i32>,
    /// `--userns-block-fd`
    pub userns_block_fd: Option<i32>,
    /// `--userns2`, which the supervisor joins too.
    pub userns2: Option<i32>,
    /// Whether the supervisor ends with its parent.
    pub die_with_parent: bool,
}
