//! The kinds of namespaces (namespaces(7)).

use std::fmt;

/// One kind. In the order in which the classic tools go through them: the user namespace first, since it gives or
/// takes the right to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Users, groups, capabilities.
    User,
    /// The root of the control groups.
    Cgroup,
    /// System V IPC, POSIX message queues.
    Ipc,
    /// Host name, NIS domain.
    Uts,
    /// Everything of the network.
    Net,
    /// Process identifiers.
    Pid,
    /// Mounts.
    Mnt,
    /// Clocks.
    Time,
}

impl Kind {
    /// All kinds, in order.
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::Cgroup,
        Self::Ipc,
        Self::Uts,
        Self::Net,
        Self::Pid,
        Self::Mnt,
        Self::Time,
    ];

    /// Its name in `/proc/PID/ns`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::Mnt => "mnt",
            Self::Time => "time",
        }
    }

    /// The file below `/proc/PID` of the namespace that the process is in.
    pub const fn file(self) -> &'static str {
        match self {
            Self::User => "ns/user",
            Self::Cgroup => "ns/cgroup",
            Self::Ipc => "ns/ipc",
            Self::Uts => "ns/uts",
            Self::Net => "ns/net",
            Self::Pid => "ns/pid",
            Self::Mnt => "ns/mnt",
            Self::Time => "ns/time",
        }
    }

    /// The file below `/proc/PID` of the namespace that unshare(2) made: of some kinds only children are in it.
    pub const fn new_file(self) -> &'static str {
        match self {
            Self::Pid => "ns/pid_for_children",
            Self::Time => "ns/time_for_children",
            other => other.file(),
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds(u16);

impl Kinds {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// With this one.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | kind.bit())
    }

    /// Without this one.
    #[must_use]
    pub const fn without(self, kind: Kind) -> Self {
        Self(self.0 & !kind.bit())
    }

    /// Those of either.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Adds one.
    pub const fn insert(&mut self, kind: Kind) {
        self.0 |= kind.bit();
    }

    /// Whether this one is in it.
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// They, in order.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, kind) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(kind.name())?;
        }
        Ok(())
    }
}
