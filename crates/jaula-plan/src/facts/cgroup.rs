//! Control groups of the host (cgroups(7)), and the limits that the calling process has itself.

use crate::spec::limits::Resource;
use std::path::PathBuf;

/// A group of the unified hierarchy in which a new one could be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// Its directory.
    pub dir: PathBuf,
    /// The controllers it has (`cgroup.controllers`).
    pub controllers: Vec<String>,
    /// Those that its children have (`cgroup.subtree_control`).
    pub enabled: Vec<String>,
    /// Whether the caller may make groups in it and move processes into them.
    pub writable: bool,
    /// Whether it has processes of its own, so that its children can have no controllers ("no internal processes"). The
    /// root of the hierarchy is never so.
    pub busy: bool,
}

/// A hierarchy of the first version, and the caller's own group in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Legacy {
    /// Its controllers, as the first version names them.
    pub controllers: Vec<String>,
    /// The group's directory.
    pub dir: PathBuf,
    /// Whether the caller may make groups in it.
    pub writable: bool,
    /// Whether swap is counted (`memory.memsw.limit_in_bytes`).
    pub swap: bool,
    /// The nodes of memory that the group has (`cpuset.mems`), which a new group has to be given.
    pub mems: String,
}

/// What is known of limits on this host; empty when none was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitFacts {
    /// The caller's own group of the unified hierarchy, then every one above it that can be seen. Those above a
    /// jail's own group are left out: what runs in a jail stays within its limits. None: there is no such hierarchy.
    pub unified: Option<Vec<Place>>,
    /// The hierarchies of the first version.
    pub legacy: Vec<Legacy>,
    /// The caller's hard limits (getrlimit(2)); none: no limit.
    pub hard: Vec<(Resource, Option<u64>)>,
    /// Whether the caller may raise them (CAP_SYS_RESOURCE of the host).
    pub may_raise: bool,
    /// The lowest value of nice(1) the caller may take.
    pub lowest_nice: i8,
    /// Block devices that were named by their paths, and their numbers.
    pub devices: Vec<(PathBuf, (u32, u32))>,
    /// The CPUs that are online, as a list.
    pub cpus: String,
}
