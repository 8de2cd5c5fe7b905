//! What the host is, as far as a jail needs to know. Observed by `jaula_engine::probe`, never by this crate.

use crate::binfmt::Interpreter;
use crate::facts::cgroup::LimitFacts;
use crate::facts::disk::DiskFacts;
use crate::names::Arch;
use crate::net::guest::GuestFacts;
use crate::seccomp::Abi;
use crate::spec::jail::IdRange;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the calling process may do about identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerKind {
    /// Root of the host: has a pool of private identifier ranges and id-mapped mounts.
    Root,
    /// Root of a user namespace that the caller set up for himself: `ids` identifiers from 0 exist in it.
    Session {
        /// How many.
        ids: u32,
    },
    /// An ordinary user without subordinate identifiers: one user, one group.
    Single,
}

/// Who calls, as the calling process sees itself now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerFacts {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// What follows from them.
    pub kind: CallerKind,
}

/// What a name of the host's tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A symbolic link and its text.
    Link(PathBuf),
}

/// A name in a directory of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, relative to the directory; may hold slashes (`ssl/certs`).
    pub name: OsString,
    /// What it is.
    pub kind: EntryKind,
}

/// The parts of the host's tree that a jail of the host's own programs may see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgramsFacts {
    /// Which of [`PROGRAM_DIRS`] exist in `/`, and as what.
    pub top: Vec<Entry>,
    /// Which of [`ETC_ENTRIES`] exist in `/etc`, and as what.
    pub etc: Vec<Entry>,
}

/// The directories of programs and libraries at the top of a tree (hier(7)).
pub const PROGRAM_DIRS: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// What of `/etc` programs need to work at all, and what holds no secret.
pub const ETC_ENTRIES: [&str; 36] = [
    "alternatives",
    "bash.bashrc",
    "bindresvport.blacklist",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "default/locale",
    "environment",
    "fonts",
    "gai.conf",
    "group",
    "host.conf",
    "hosts",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "login.defs",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki/tls/certs",
    "profile",
    "profile.d",
    "protocols",
    "services",
    "shells",
    "ssl/certs",
    "terminfo",
    "timezone",
];

/// An account as the jail's own passwd(5) and group(5) know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: PathBuf,
    /// Shell; empty in the file means `/bin/sh`.
    pub shell: PathBuf,
}

/// The kernel, as far as filters depend on it; looked at only when the spec asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KernelFacts {
    /// Its own entry for system calls.
    pub native: Abi,
    /// Its version, the first two numbers.
    pub version: (u32, u32),
    /// Version of the Landlock interface; 0: there is none.
    pub landlock: u32,
}

/// Everything a plan of a jail is made from besides the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Who calls.
    pub caller: CallerFacts,
    /// The host's own programs, when the root is to be made of them.
    pub programs: Option<ProgramsFacts>,
    /// What the programs of the jail's tree are for, as far as it is known.
    pub arch: Option<Arch>,
    /// What runs those programs in a jail that registers it for itself, where nothing else does.
    pub interpreter: Option<Interpreter>,
    /// Whether the host has a readable `/etc/resolv.conf`.
    pub resolv_conf: bool,
    /// The account the program runs as, when its name, home or shell matters and was found in the jail's tree.
    pub account: Option<Account>,
    /// What its cards are made from, when it has some.
    pub net: Option<GuestFacts>,
    /// The kernel.
    pub kernel: KernelFacts,
    /// What is known of limits; empty when the jail has none.
    pub limits: LimitFacts,
    /// What disk images need, when some are asked for.
    pub disks: Option<DiskFacts>,
    /// Which of the paths that may be left out are not there.
    pub absent: Vec<PathBuf>,
    /// The identifiers that the caller may give away, when the spec names some: as they are numbered here, and as the
    /// host numbers them.
    pub ids: OwnIds,
}

/// Identifiers that a caller has (`/proc/self/uid_map`, `gid_map`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnIds {
    /// Users.
    pub users: Vec<IdRange>,
    /// Groups.
    pub groups: Vec<IdRange>,
}
