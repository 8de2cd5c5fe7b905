//! What a jail is to be: its root, what it sees, who runs in it, what is kept from it.

use crate::device::DeviceSpec;
use crate::landlock::LandlockRule;
use crate::names::{Arch, HostName};
use crate::seccomp::Profile;
use crate::spec::limits::Limits;
pub use crate::spec::mount::{BindOptions, MountSpec, OverlayTop};
pub use crate::spec::net::{JailNet, Lessee};
use std::ffi::OsString;
use std::path::PathBuf;

/// Where the root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSpec {
    /// The host's own programs, read-only, in a fresh private tree.
    HostPrograms,
    /// Nothing: an empty tree in memory, in which only what the mounts put is seen. Not even `/dev` and `/proc`.
    Empty,
    /// A tree that is never written: changes go to `changes`.
    Tree {
        /// The tree.
        dir: PathBuf,
        /// Who owns the files as stored: identifiers on disk are those of the jail (0 is root), or shifted by the
        /// caller's subordinate range already (an ordinary user's store).
        changes: Changes,
    },
}

/// What becomes of what is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// Kept in memory and gone with the run.
    Ephemeral,
    /// Kept in an overlay layer: `upper` and `work` are directories on one file system.
    Layer {
        /// The layer.
        upper: PathBuf,
        /// The overlay's work directory.
        work: PathBuf,
    },
    /// Written into the tree itself (a stage being built, or a user's own directory on request).
    Direct,
    /// Refused: the tree is mounted read-only.
    ReadOnly,
}

/// The namespaces a jail may have of its own; the mount namespace always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces {
    /// uts_namespaces(7)
    pub uts: bool,
    /// ipc_namespaces(7)
    pub ipc: bool,
    /// pid_namespaces(7)
    pub pid: bool,
    /// network_namespaces(7)
    pub net: bool,
    /// user_namespaces(7)
    pub user: bool,
    /// cgroup_namespaces(7)
    pub cgroup: bool,
    /// time_namespaces(7)
    pub time: bool,
}

impl Namespaces {
    /// What a jail has unless asked otherwise: all but the time namespace, which keeps nothing away from anybody.
    pub const DEFAULT: Self = Self {
        uts: true,
        ipc: true,
        pid: true,
        net: true,
        user: true,
        cgroup: true,
        time: false,
    };

    /// The names of those that are set, as unshare(1) spells its options; the mount namespace first.
    pub fn names(&self) -> Vec<&'static str> {
        let all = [
            (true, "mount"),
            (self.user, "user"),
            (self.pid, "pid"),
            (self.ipc, "ipc"),
            (self.uts, "uts"),
            (self.net, "net"),
            (self.cgroup, "cgroup"),
            (self.time, "time"),
        ];
        all.into_iter()
            .filter(|(set, _)| *set)
            .map(|(_, name)| name)
            .collect()
    }
}

/// `count` identifiers from `inside` are those from `outside` (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First inside.
    pub inside: u32,
    /// First outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Which identifiers the jail's users are outside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IdSpec {
    /// A range of their own: root's runs take a private range and an id-mapped view, an ordinary user's take the
    /// subordinate range; with none, only the caller's own identifier is mapped (to root inside).
    #[default]
    Private,
    /// Only the caller's own identifier is mapped, to root inside.
    CallerAsRoot,
    /// Only the caller's own identifier is mapped, to itself.
    CallerAsSelf,
    /// These, as the host numbers them.
    Map {
        /// Users.
        users: Vec<IdRange>,
        /// Groups; those of `users` when empty.
        groups: Vec<IdRange>,
    },
    /// Those of the host: no user namespace. Said aloud, shown in `Enforced`.
    Host,
}

/// Who the program runs as inside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum UserSpec {
    /// Root of the jail (identifier 0).
    #[default]
    Root,
    /// By name or number, looked up in the jail's own passwd(5).
    Named(String),
    /// By numbers.
    Ids {
        /// User.
        uid: u32,
        /// Primary group.
        gid: u32,
        /// Supplementary groups.
        groups: Vec<u32>,
    },
}

/// What becomes of mounts made on the host after the start, and inside (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// Neither side sees the other's.
    #[default]
    Private,
    /// What the host mounts beneath what was bound is seen inside; never the other way round.
    Slave,
    /// As private, and namespaces made inside see each other's.
    Shared,
}

/// How far the clocks inside are ahead of the host's, in seconds (time_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// CLOCK_MONOTONIC and its relatives.
    pub monotonic: i64,
    /// CLOCK_BOOTTIME and its relatives: what uptime(1) shows.
    pub boottime: i64,
}

/// Which system calls are kept from the program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SeccompSpec {
    /// The default list (class 19 of SECURITY.md).
    #[default]
    Default,
    /// The default list, and fsync(2) and its relatives answer success at once (a build).
    DefaultNoSync,
    /// What a profile says, instead of the default list.
    Profile(Box<Profile>),
    /// None. Said aloud.
    Off,
}

/// Standard input, output and error of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Terminal {
    /// A pseudo-terminal of the jail's own when all three are a terminal, else those of the caller.
    #[default]
    Auto,
    /// Always those of the caller.
    Inherit,
    /// Input from nothing, output and error to one pipe that the engine reads (a build).
    Captured,
}

/// A jail to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailSpec {
    /// The root file system.
    pub root: RootSpec,
    /// Architecture of the root's programs, where it is on record; else they are looked at.
    pub arch: Option<Arch>,
    /// Namespaces of its own.
    pub namespaces: Namespaces,
    /// Identifiers outside.
    pub ids: IdSpec,
    /// Identifiers inside.
    pub user: UserSpec,
    /// Host name; the mark of the jail when absent.
    pub hostname: Option<HostName>,
    /// Whether root inside may change the host name.
    pub own_names: bool,
    /// Network.
    pub net: JailNet,
    /// Whose name the addresses of its cards are leased by.
    pub lessee: Option<Lessee>,
    /// More mounts, in order.
    pub mounts: Vec<MountSpec>,
    /// How mounts travel.
    pub propagation: Propagation,
    /// Clocks of its own; they need a time namespace of its own.
    pub clocks: Option<Clocks>,
    /// Working directory inside; the user's home or `/` when absent.
    pub cwd: Option<PathBuf>,
    /// Environment, whole: nothing is inherited that is not here.
    pub env: Vec<(OsString, OsString)>,
    /// System calls.
    pub seccomp: SeccompSpec,
    /// Capabilities kept beyond the default set, by name without `CAP_`.
    pub cap_add: Vec<String>,
    /// Capabilities taken from the default set.
    pub cap_drop: Vec<String>,
    /// prctl(2) PR_SET_NO_NEW_PRIVS; off only when said aloud.
    pub no_new_privs: bool,
    /// What may be touched of what is seen (landlock(7)); none: no such limit.
    pub landlock: Vec<LandlockRule>,
    /// Device nodes of the host besides those that every jail has.
    pub devices: Vec<DeviceSpec>,
    /// Descriptors that the program keeps besides 0, 1 and 2, under their numbers.
    pub keep_fds: Vec<u32>,
    /// Whether the jail ends when its supervisor is killed.
    pub die_with_parent: bool,
    /// Whether the program itself is the first process of its PID namespace.
    pub as_pid_1: bool,
    /// Leave out what this kernel cannot hold, aloud, instead of refusing.
    pub best_effort: bool,
    /// What it may use at most.
    pub limits: Limits,
    /// Terminal.
    pub terminal: Terminal,
    /// Program and arguments; the user's shell when empty.
    pub command: Vec<OsString>,
}

impl JailSpec {
    /// A jail with every default: namespaces of its own, a private range of identifiers, root inside, no network,
    /// the default filter and capabilities, a small environment, and `command` to run (a shell when empty).
    pub fn new(root: RootSpec, command: Vec<OsString>) -> Self {
        let env = [
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("LANG", "C.UTF-8"),
        ];
        Self {
            root,
            arch: None,
            namespaces: Namespaces::DEFAULT,
            ids: IdSpec::default(),
            user: UserSpec::default(),
            hostname: None,
            own_names: false,
            net: JailNet::default(),
            lessee: None,
            mounts: Vec::new(),
            propagation: Propagation::default(),
            clocks: None,
            cwd: None,
            env: env
                .iter()
                .map(|(k, v)| (OsString::from(k), OsString::from(v)))
                .collect(),
            seccomp: SeccompSpec::default(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            no_new_privs: true,
            landlock: Vec::new(),
            devices: Vec::new(),
            keep_fds: Vec::new(),
            die_with_parent: true,
            as_pid_1: false,
            best_effort: false,
            limits: Limits::default(),
            terminal: Terminal::default(),
            command,
        }
    }
}
