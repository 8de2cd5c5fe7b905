//! System call filters as data: a profile in the form of the OCI runtime specification (and of the files that Docker
//! and Podman ship) becomes rules by number, for the entries that this machine has.
//!
//! What a profile means here, where its specification leaves it open:
//!
//! - Of all entries that fit a call, **the most restrictive answers**, in the kernel's own order (seccomp(2)). Entries
//!   equally restrictive: the first. So an exception to a refusal has to be written as a condition of the refusal.
//! - Conditions of one entry must all hold; those on one argument are alternatives, as libseccomp's users have it.
//! - A profile that refuses by default answers ENOSYS to calls newer than every call it names: programs then fall
//!   back, where EPERM would end them.
//! - On x86-64 the x32 entry is always answered ENOSYS, and an entry whose architecture is not listed ends the process.

mod compile;
mod errno;
mod profile;
mod syscalls;

pub use compile::{Target, compile};
pub use profile::{MAX_BYTES, Profile, ProfileError};
pub use syscalls::{names, number};

/// What is answered to a call, the most restrictive first (seccomp(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The process ends as by SIGSYS.
    KillProcess,
    /// The thread ends.
    KillThread,
    /// SIGSYS is sent.
    Trap,
    /// It fails with this errno(3).
    Errno(u16),
    /// A tracer is told, with this message; without one it fails with ENOSYS.
    Trace(u16),
    /// It is done, and logged.
    Log,
    /// It is done.
    Allow,
}

impl Action {
    /// How restrictive: less is more so.
    fn rank(self) -> u8 {
        match self {
            Self::KillProcess => 0,
            Self::KillThread => 1,
            Self::Trap => 2,
            Self::Errno(_) => 3,
            Self::Trace(_) => 4,
            Self::Log => 5,
            Self::Allow => 6,
        }
    }

    /// Whether the call is done.
    pub fn permits(self) -> bool {
        matches!(self, Self::Log | Self::Allow)
    }
}

/// What is asked of an argument, all 64 bits of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// Equal.
    Eq(u64),
    /// Not equal.
    Ne(u64),
    /// Less.
    Lt(u64),
    /// Less or equal.
    Le(u64),
    /// Greater.
    Gt(u64),
    /// Greater or equal.
    Ge(u64),
    /// Equal in the bits of a mask.
    Masked {
        /// The bits that are looked at.
        mask: u64,
        /// What they are to be; no bit outside of the mask.
        value: u64,
    },
}

impl Test {
    /// Whether it holds.
    pub fn holds(self, arg: u64) -> bool {
        match self {
            Self::Eq(value) => arg == value,
            Self::Ne(value) => arg != value,
            Self::Lt(value) => arg < value,
            Self::Le(value) => arg <= value,
            Self::Gt(value) => arg > value,
            Self::Ge(value) => arg >= value,
            Self::Masked { mask, value } => arg & mask == value,
        }
    }
}

/// A test of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which, from 0 to 5.
    pub arg: u8,
    /// What is asked.
    pub test: Test,
}

/// An answer, and when it is given: when all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// The conditions; none: always.
    pub conditions: Vec<Condition>,
    /// The answer.
    pub action: Action,
}

/// What is answered to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its number.
    pub number: u32,
    /// The first that fits answers; when none does, the table's default.
    pub clauses: Vec<Clause>,
}

/// An entry into the kernel: its numbers and registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Abi {
    /// x86-64, without x32.
    #[default]
    X86_64,
    /// The 32-bit entry of x86.
    I386,
    /// arm64.
    Aarch64,
}

/// The rules of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which.
    pub abi: Abi,
    /// By number, each once.
    pub calls: Vec<Call>,
    /// What all others are answered.
    pub default: Action,
    /// From this number on, calls are answered ENOSYS.
    pub newer: Option<u32>,
}

/// Flags of seccomp(2) that a profile asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// SECCOMP_FILTER_FLAG_LOG
    pub log: bool,
    /// SECCOMP_FILTER_FLAG_SPEC_ALLOW
    pub spec_allow: bool,
    /// SECCOMP_FILTER_FLAG_TSYNC
    pub tsync: bool,
}

/// A filter as rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// One for each entry that the filter knows; any other ends the process.
    pub tables: Vec<Table>,
    /// How it is loaded.
    pub flags: Flags,
}

impl Rules {
    /// What a call is answered: the meaning that the compiled program is held against.
    pub fn answer(&self, abi: Abi, number: u32, args: [u64; 6]) -> Action {
        let Some(table) = self.tables.iter().find(|table| table.abi == abi) else {
            return Action::KillProcess;
        };
        let enosys = Action::Errno(errno::ENOSYS);
        if abi == Abi::X86_64 && number >= X32 || table.newer.is_some_and(|from| number >= from) {
            return enosys;
        }
        let call = table.calls.iter().find(|call| call.number == number);
        let fits = |clause: &&Clause| {
            let holds = |c: &Condition| {
                args.get(usize::from(c.arg))
                    .is_some_and(|arg| c.test.holds(*arg))
            };
            clause.conditions.iter().all(holds)
        };
        let clause = call.and_then(|call| call.clauses.iter().find(fits));
        clause.map_or(table.default, |clause| clause.action)
    }
}

/// The bit of the numbers of the x32 entry (syscall(2)).
const X32: u32 = 0x4000_0000;

#[cfg(test)]
mod tests;
