//! One change inside the new namespaces, as data.

use crate::binfmt::Interpreter;
use crate::disk::DiskPlan;
use crate::explain::{shown, word};
use crate::landlock::Ruleset;
use crate::limit_op::LimitOp;
use crate::names::{HostName, JailName};
use crate::net::guest::GuestLink;
use crate::net::names::NamePlan;
use crate::net::nat::NatPlan;
use crate::personality::Personality;
use crate::seccomp::Rules;
use crate::spec::jail::{BindOptions, Changes, Clocks, IdRange, Namespaces, OverlayTop};
use crate::spec::net::Lessee;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// Which identifiers exist inside, and what they are outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdPlan {
    /// A free block of identifiers that no other jail has; the tree is seen through an id-mapped mount.
    PrivateBlock {
        /// How many identifiers.
        count: u32,
    },
    /// The first identifiers of the caller's own user namespace, one to one.
    Nested {
        /// How many identifiers.
        count: u32,
    },
    /// One user and one group.
    Single {
        /// User and group inside.
        inside: (u32, u32),
        /// User and group outside.
        outside: (u32, u32),
    },
    /// As asked, outside as the caller's own namespace numbers them. Identifier 0 is one of each.
    Map {
        /// Users.
        users: Vec<IdRange>,
        /// Groups.
        groups: Vec<IdRange>,
        /// Whether setgroups(2) has to be given up, without which one group of one's own cannot be mapped.
        deny: bool,
    },
    /// No user namespace: those of the host.
    Host,
}

impl IdPlan {
    /// Whether setgroups(2) is possible inside.
    pub fn set_groups(&self) -> bool {
        !matches!(self, Self::Single { .. } | Self::Map { deny: true, .. })
    }

    /// Whether a group exists inside.
    pub fn has_group(&self, gid: u32) -> bool {
        match self {
            Self::PrivateBlock { count } | Self::Nested { count } => gid < *count,
            Self::Single { inside, .. } => inside.1 == gid,
            Self::Map { groups, .. } => in_ranges(groups, gid),
            Self::Host => true,
        }
    }

    /// Whether a user exists inside.
    pub fn has_user(&self, uid: u32) -> bool {
        match self {
            Self::PrivateBlock { count } | Self::Nested { count } => uid < *count,
            Self::Single { inside, .. } => inside.0 == uid,
            Self::Map { users, .. } => in_ranges(users, uid),
            Self::Host => true,
        }
    }
}

fn in_ranges(ranges: &[IdRange], id: u32) -> bool {
    let has = |range: &IdRange| {
        id.checked_sub(range.inside)
            .is_some_and(|n| n < range.count)
    };
    ranges.iter().any(has)
}

fn range_words(ranges: &[IdRange]) -> String {
    let word = |r: &IdRange| format!("{}:{}:{}", r.inside, r.outside, r.count);
    ranges.iter().map(word).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for IdPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrivateBlock { count } => {
                write!(f, "{count} identifiers from 0 to a block no other jail has")
            }
            Self::Nested { count } => {
                write!(f, "{count} identifiers from 0 to the caller's own range")
            }
            Self::Single {
                inside: (uid, gid),
                outside: (out_uid, out_gid),
            } => {
                write!(f, "user {uid} to {out_uid} and group {gid} to {out_gid}")
            }
            Self::Map { users, groups, .. } => {
                let (users, groups) = (range_words(users), range_words(groups));
                write!(
                    f,
                    "users {users} and groups {groups} (inside:outside:count)"
                )
            }
            Self::Host => f.write_str("none: the identifiers are those of the host"),
        }
    }
}

/// Where the root comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootPlan {
    /// A new, empty tree in memory.
    Memory,
    /// A directory of the host.
    Tree {
        /// The directory.
        dir: PathBuf,
        /// What becomes of writes.
        changes: Changes,
        /// Seen through the jail's identifier map, so that root's files on disk are root's inside.
        id_mapped: bool,
    },
}

/// A capability set, one bit a capability (capabilities(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapSet(pub u64);

/// The capabilities by number, as `linux/capability.h` numbers them.
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

impl CapSet {
    /// What root of a jail keeps: enough to install packages and run daemons, nothing that configures the kernel
    /// (the set that OCI runtimes give).
    pub const DEFAULT: Self = Self(
        1 | 1 << 1
            | 1 << 3
            | 1 << 4
            | 1 << 5
            | 1 << 6
            | 1 << 7
            | 1 << 8
            | 1 << 10
            | 1 << 13
            | 1 << 18
            | 1 << 27
            | 1 << 29
            | 1 << 31,
    );

    /// The number of a capability, with or without `CAP_`, in any case.
    pub fn number(name: &str) -> Option<u32> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        CAPABILITIES
            .iter()
            .position(|c| *c == bare)
            .and_then(|n| u32::try_from(n).ok())
    }

    /// Whether a capability is in the set.
    pub fn has(self, number: u32) -> bool {
        self.0.checked_shr(number).unwrap_or(0) & 1 == 1
    }

    /// The names in the set, in the order of their numbers.
    pub fn names(self) -> Vec<&'static str> {
        (0u32..)
            .zip(CAPABILITIES)
            .filter(|(n, _)| self.has(*n))
            .map(|(_, name)| name)
            .collect()
    }
}

impl fmt::Display for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        f.write_str(&self.names().join(" "))
    }
}

/// What the seccomp filter keeps away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterPlan {
    /// fsync(2) and its relatives answer success at once.
    pub no_sync: bool,
    /// Calls that mount are left to the kernel's own checks (the jail was given `SYS_ADMIN`).
    pub mounts: bool,
}

/// What is joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinTarget {
    /// What a process is in, as the caller numbers it.
    Process(u32),
    /// Namespaces that are kept under this name.
    Kept(JailName),
}

impl fmt::Display for JoinTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(pid) => write!(f, "process {pid}"),
            Self::Kept(name) => write!(f, "what is kept as {name}"),
        }
    }
}

/// Going where a process is, or into what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinPlan {
    /// The process or the name.
    pub target: JoinTarget,
    /// The kinds of its namespaces that are joined, as below `/proc/PID/ns`.
    pub kinds: Vec<String>,
    /// Whether its root becomes that of who joins.
    pub root: bool,
    /// Who the joining process is at first in the user namespace it joins.
    pub become_ids: Option<(u32, u32)>,
    /// Whether supplementary groups can be dropped there.
    pub set_groups: bool,
    /// Whether there are terminals to be had in its `/dev`.
    pub terminals: bool,
}

/// Where standard input, output and error lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdioPlan {
    /// A pseudo-terminal of the jail's own if the caller's are a terminal, else those of the caller.
    Auto,
    /// Those of the caller.
    Inherit,
    /// Nothing in, one pipe out.
    Captured,
}

/// One change inside the new namespaces. The order in a plan is the order of execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetupOp {
    /// A process in new namespaces.
    Namespaces(Namespaces),
    /// A process in the namespaces, the root and the jail's control groups of another.
    Join(JoinPlan),
    /// Give them identifiers.
    MapIds(IdPlan),
    /// End with the supervisor.
    DieWithParent,
    /// Go on when the supervisor is killed.
    Outlive,
    /// The loopback interface.
    Loopback,
    /// Cards on the host's networks, made by the supervisor.
    Links {
        /// The cards.
        links: Vec<GuestLink>,
        /// By what name their addresses are leased.
        lessee: Lessee,
    },
    /// The network namespace of somebody else, entered before all others are made.
    Network {
        /// Its name.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// A card to the outside, made and served by a program beside the jail.
    Nat(NatPlan),
    /// The host name.
    HostName(HostName),
    /// Keep mounts from travelling, either way.
    PrivateMounts,
    /// Keep mounts from travelling back; what the host mounts later is seen.
    SlaveMounts,
    /// Let namespaces made inside see each other's mounts.
    SharedMounts,
    /// Clocks that are ahead of the host's.
    Clocks(Clocks),
    /// The tree that becomes the root.
    Root(RootPlan),
    /// A directory in it, if there is none.
    Directory {
        /// Where, from the root.
        at: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A symbolic link in it.
    Link {
        /// Where, from the root.
        at: PathBuf,
        /// Its text.
        to: PathBuf,
    },
    /// Something of the host in it.
    Bind {
        /// In the host.
        from: PathBuf,
        /// In the jail.
        to: PathBuf,
        /// How.
        options: BindOptions,
        /// Whether what is bound is a directory, as far as it is known.
        kind: BindKind,
    },
    /// Memory in it.
    Tmpfs {
        /// Where, from the root.
        at: PathBuf,
        /// Mode of its top directory.
        mode: u32,
        /// The most it may hold, in bytes.
        size: Option<u64>,
    },
    /// Several directories of the host as one.
    Overlay {
        /// In the host, the uppermost first.
        lower: Vec<PathBuf>,
        /// Where, from the root.
        to: PathBuf,
        /// What becomes of writes.
        top: OverlayTop,
    },
    /// A copy of a file of the caller's in it.
    File {
        /// In the host.
        from: PathBuf,
        /// Where, from the root.
        to: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Message queues in it.
    Mqueue {
        /// Where, from the root.
        at: PathBuf,
    },
    /// Make a mount in it read-only.
    RemountReadOnly {
        /// Where, from the root.
        at: PathBuf,
    },
    /// Change the mode of something in it.
    Chmod {
        /// Where, from the root.
        at: PathBuf,
        /// The mode.
        mode: u32,
    },
    /// A disk image in it, read-only.
    Disk(DiskPlan),
    /// A new `/dev`.
    Dev {
        /// Where, from the root.
        at: PathBuf,
        /// Whether group `tty` (5) exists inside.
        tty_group: bool,
    },
    /// The host's `/proc`, for a jail that has the host's processes but not the host's identifiers: the kernel lets it
    /// have no new one.
    HostProc,
    /// A new `/proc`.
    Proc {
        /// Where, from the root.
        at: PathBuf,
    },
    /// A new, read-only `/sys`.
    Sys {
        /// An empty directory instead, because the network (and with it what sysfs shows) is the host's.
        empty: bool,
    },
    /// A device node of the host in the fresh `/dev`.
    Device(PathBuf),
    /// Hide paths of the last `/proc` and `/sys` under something empty of our own, where the kernel has them.
    Mask(Vec<&'static str>),
    /// Make paths of the last `/proc` read-only, where the kernel has them.
    ReadOnly(Vec<&'static str>),
    /// The host's resolv.conf(5), for a jail on the host's network.
    ResolvConf,
    /// A resolv.conf(5) and a hosts(5) of its own.
    Names(NamePlan),
    /// Make the tree the root and let go of the old one.
    PivotRoot,
    /// A new session, and standard input, output and error.
    Stdio(StdioPlan),
    /// What the kernel says it is (personality(2)).
    Personality(Personality),
    /// Who the program runs as.
    User {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// Supplementary groups.
        groups: Vec<u32>,
        /// Whether setgroups(2) is possible here (not with a single identifier).
        set_groups: bool,
    },
    /// The capabilities that stay; bounding set and all others lose the rest.
    Capabilities(CapSet),
    /// prctl(2) PR_SET_NO_NEW_PRIVS.
    NoNewPrivs,
    /// The working directory: the first that exists.
    Chdir(Vec<PathBuf>),
    /// Close everything but standard input, output and error.
    CloseDescriptors,
    /// The same, but for these further ones.
    KeepDescriptors(Vec<u32>),
    /// Start the programs of another machine by an interpreter, in this jail only.
    Interpret(Interpreter),
    /// Where the jail has one identifier: what is given to another is recorded, and told so when it is asked for.
    RecordOwners {
        /// Whether changes of user and group seem to succeed too, as packages' scripts need it.
        users: bool,
    },
    /// The system call filter.
    Seccomp(FilterPlan),
    /// A system call filter of the caller's.
    SeccompProfile {
        /// What the profile is called.
        name: String,
        /// What it means on this machine.
        rules: Rules,
    },
    /// What may be touched of what is seen, from here on.
    Landlock(Ruleset),
    /// A limit.
    Limit(LimitOp),
    /// The program.
    Exec {
        /// Program and arguments.
        command: Vec<OsString>,
        /// Its whole environment.
        env: Vec<(OsString, OsString)>,
    },
}

/// What a bound path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindKind {
    /// A directory.
    Directory,
    /// Anything else.
    File,
    /// To be looked at when it is bound.
    Unknown,
}

impl fmt::Display for SetupOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |p: &PathBuf| shown(p);
        match self {
            Self::Namespaces(ns) => write!(
                f,
                "start a process in new namespaces: {}",
                ns.names().join(" ")
            ),
            Self::Join(join) => {
                write!(f, "join {}: ", join.target)?;
                if !join.kinds.is_empty() {
                    write!(f, "its {} namespaces, ", join.kinds.join(" "))?;
                }
                if join.root {
                    f.write_str("its root, ")?;
                }
                f.write_str("the control groups of its jail")
            }
            Self::MapIds(ids) => write!(f, "map {ids}"),
            Self::DieWithParent => f.write_str("end when the supervisor ends"),
            Self::Outlive => f.write_str("go on when the supervisor is killed"),
            Self::Loopback => f.write_str("bring up the loopback interface"),
            Self::Links { links, .. } => {
                for (at, link) in links.iter().enumerate() {
                    write!(f, "{}{link}", if at == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Self::Nat(plan) => plan.fmt(f),
            Self::Network { name, .. } => write!(f, "go into the network namespace {name}"),
            Self::HostName(name) => write!(f, "set the host name to {name}"),
            Self::PrivateMounts => f.write_str("keep every mount private to the jail"),
            Self::SlaveMounts => f.write_str("see what the host mounts later, and show it nothing"),
            Self::SharedMounts => f.write_str("share mounts with namespaces made inside"),
            Self::Clocks(clocks) => write!(
                f,
                "set the clocks ahead: monotonic by {} s, boot time by {} s",
                clocks.monotonic, clocks.boottime
            ),
            Self::Root(RootPlan::Memory) => f.write_str("make an empty root in memory"),
            Self::Root(RootPlan::Tree {
                dir,
                changes,
                id_mapped,
            }) => {
                let how = match changes {
                    Changes::Ephemeral => "under a layer in memory",
                    Changes::Layer { .. } => "under its own layer",
                    Changes::Direct => "writable",
                    Changes::ReadOnly => "read-only",
                };
                write!(f, "take {} as root, {how}", path(dir))?;
                if let Changes::Layer { upper, .. } = changes {
                    write!(f, " {}", path(upper))?;
                }
                f.write_str(if *id_mapped {
                    ", identifiers mapped"
                } else {
                    ""
                })
            }
            Self::Directory { at, mode } => {
                write!(f, "make directory {} (mode {mode:o})", path(at))
            }
            Self::Link { at, to } => write!(f, "make link {} to {}", path(at), path(to)),
            Self::Bind {
                from, to, options, ..
            } => {
                write!(f, "bind {} at {}", path(from), path(to))?;
                let words = options.words();
                words.iter().try_for_each(|word| write!(f, ", {word}"))
            }
            Self::Tmpfs { at, mode, size } => {
                write!(f, "mount memory at {} (mode {mode:o}", path(at))?;
                match size {
                    Some(size) => write!(f, ", at most {size} bytes)"),
                    None => f.write_str(")"),
                }
            }
            Self::Overlay { lower, to, top } => {
                let list: Vec<String> = lower.iter().map(path).collect();
                write!(
                    f,
                    "lay {} over each other at {}, ",
                    list.join(" "),
                    path(to)
                )?;
                match top {
                    OverlayTop::Memory => f.write_str("changes in memory"),
                    OverlayTop::Nothing => f.write_str("read-only"),
                    OverlayTop::Directory { upper, .. } => {
                        write!(f, "changes in {}", path(upper))
                    }
                }
            }
            Self::File { from, to, mode } => {
                write!(f, "copy {} to {} (mode {mode:o})", path(from), path(to))
            }
            Self::Mqueue { at } => write!(f, "mount message queues at {}", path(at)),
            Self::RemountReadOnly { at } => write!(f, "make {} read-only", path(at)),
            Self::Chmod { at, mode } => write!(f, "change the mode of {} to {mode:o}", path(at)),
            Self::Device(at) => write!(f, "give it the host's device {}", path(at)),
            Self::Disk(plan) => plan.fmt(f),
            Self::Dev { at, .. } => write!(f, "make a fresh {}", path(at)),
            Self::HostProc => f.write_str("bind the host's /proc, whose processes the jail sees"),
            Self::Proc { at } => write!(f, "mount a fresh {}", path(at)),
            Self::Sys { empty: false } => f.write_str("mount a read-only /sys"),
            Self::Sys { empty: true } => f.write_str("leave /sys empty"),
            Self::Mask(paths) => write!(f, "hide {}", paths.join(" ")),
            Self::ReadOnly(paths) => write!(f, "make read-only: {}", paths.join(" ")),
            Self::ResolvConf => f.write_str("bind the host's /etc/resolv.conf, read-only"),
            Self::Names(names) => names.fmt(f),
            Self::PivotRoot => f.write_str("change the root and let go of the old one"),
            Self::Stdio(StdioPlan::Auto) => {
                f.write_str("start a session, on a terminal of its own if the caller is on one")
            }
            Self::Stdio(StdioPlan::Inherit) => {
                f.write_str("start a session with the caller's input and output")
            }
            Self::Stdio(StdioPlan::Captured) => {
                f.write_str("start a session with captured output and no input")
            }
            Self::Personality(Personality::Linux32) => {
                f.write_str("let the kernel call itself a 32-bit one")
            }
            Self::User {
                uid, gid, groups, ..
            } => {
                write!(f, "become user {uid}, group {gid}")?;
                let list: Vec<String> = groups.iter().map(u32::to_string).collect();
                if list.is_empty() {
                    Ok(())
                } else {
                    write!(f, ", groups {}", list.join(" "))
                }
            }
            Self::Capabilities(set) => write!(f, "keep these capabilities only: {set}"),
            Self::NoNewPrivs => f.write_str("let no program gain privileges"),
            Self::Chdir(dirs) => {
                let list: Vec<String> = dirs.iter().map(path).collect();
                write!(f, "work in {}", list.join(" or else "))
            }
            Self::CloseDescriptors => {
                f.write_str("close every descriptor but input, output and error")
            }
            Self::KeepDescriptors(keep) => {
                let list: Vec<String> = keep.iter().map(u32::to_string).collect();
                write!(
                    f,
                    "close every descriptor but input, output, error and {}",
                    list.join(" ")
                )
            }
            Self::Interpret(Interpreter { arch, path: by }) => {
                write!(f, "start {arch} programs by {}", path(by))
            }
            Self::RecordOwners { users } => {
                f.write_str("record whose files would be, since one identifier can own them")?;
                f.write_str(if *users {
                    "; changes of user seem to succeed"
                } else {
                    ""
                })
            }
            Self::SeccompProfile { name, .. } => {
                write!(
                    f,
                    "filter system calls: the profile {}",
                    shown(name.as_ref())
                )
            }
            Self::Landlock(set) => {
                let list: Vec<String> = set.rules.iter().map(ToString::to_string).collect();
                write!(f, "let it touch only: {}", list.join(" "))
            }
            Self::Seccomp(plan) => {
                f.write_str("filter system calls: the default list")?;
                f.write_str(if plan.mounts {
                    ", mounting left to the kernel"
                } else {
                    ""
                })?;
                f.write_str(if plan.no_sync {
                    ", syncing answered at once"
                } else {
                    ""
                })
            }
            Self::Limit(op) => op.fmt(f),
            Self::Exec { command, .. } => {
                let words: Vec<String> = command.iter().map(word).collect();
                write!(f, "run {}", words.join(" "))
            }
        }
    }
}
