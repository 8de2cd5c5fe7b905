//! What a process that is to be joined is, as proc(5) told it at one moment.

use crate::facts::host::Account;
use crate::personality::Personality;
use crate::setup_op::{CapSet, JoinTarget};

/// A process and what protects it; for namespaces that are kept, what protects any jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFacts {
    /// The process, or the name under which namespaces are kept.
    pub target: JoinTarget,
    /// The kinds of namespaces (as below `/proc/PID/ns`) in which it is not where the caller is.
    pub differs: Vec<String>,
    /// Whether its root is another directory than the caller's.
    pub other_root: bool,
    /// Whether the caller has the rights to join without joining its user namespace.
    pub caller_root: bool,
    /// Its user and group, as its own user namespace numbers them; none when they have no number there.
    pub ids: Option<(u32, u32)>,
    /// Whether user and group 0 exist in its user namespace.
    pub has_root: bool,
    /// Whether setgroups(2) is possible there.
    pub set_groups: bool,
    /// Whether set-user-id programs gain it nothing.
    pub no_new_privs: bool,
    /// Whether a system call filter is on it.
    pub filtered: bool,
    /// What it can have at most (capabilities(7)).
    pub bounding: CapSet,
    /// Whether its `/dev` has terminals of its own to give.
    pub terminals: bool,
    /// The personality it has (personality(2)), when it is not that of every program.
    pub personality: Option<Personality>,
    /// The account that is to be had, from its own passwd(5).
    pub account: Option<Account>,
}
