//! The kinds of namespaces.

use jaula_sys::namespace::KINDS;
use std::fmt;
use std::str::FromStr;

/// A kind of namespace (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NsKind {
    /// Mount points, mount_namespaces(7).
    Mnt,
    /// Network devices, addresses, ports, network_namespaces(7).
    Net,
    /// Process identifiers, pid_namespaces(7).
    Pid,
    /// Host and domain name, uts_namespaces(7).
    Uts,
    /// System V IPC and POSIX message queues, ipc_namespaces(7).
    Ipc,
    /// User and group identifiers and capabilities, user_namespaces(7).
    User,
    /// The root of control groups, cgroup_namespaces(7).
    Cgroup,
    /// The monotonic and the boot clock, time_namespaces(7).
    Time,
}

impl NsKind {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Mnt,
        Self::Net,
        Self::Pid,
        Self::Uts,
        Self::Ipc,
        Self::User,
        Self::Cgroup,
        Self::Time,
    ];

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name below `/proc/PID/ns`.
    pub fn name(self) -> &'static str {
        KINDS.get(self.index()).map_or("", |(name, _)| name)
    }

    /// Its `CLONE_NEW*` (clone(2)).
    pub fn flag(self) -> i32 {
        KINDS.get(self.index()).map_or(0, |(_, flag)| *flag)
    }

    /// The kind of a `CLONE_NEW*`; none of a kind that is newer than this program.
    pub fn of_flag(flag: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.flag() == flag)
    }

    /// Whether namespaces of this kind stand one below another.
    pub fn nested(self) -> bool {
        matches!(self, Self::Pid | Self::User)
    }
}

impl fmt::Display for NsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No kind of namespace has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of namespace; there are mnt, net, pid, uts, ipc, user, cgroup and time")]
pub struct UnknownKind(String);

impl FromStr for NsKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_their_names_and_numbers() {
        for (index, kind) in NsKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index);
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(NsKind::of_flag(kind.flag()), Some(kind));
        }
        assert_eq!(NsKind::Mnt.flag(), 0x0002_0000);
        assert_eq!(NsKind::Time.flag(), 0x80);
        assert!("mount".parse::<NsKind>().is_err());
    }
}
