//! Landlock rules (landlock(7)): what a program may touch, of what it sees. Everything of a kind that is not granted is
//! refused as soon as one rule of that kind is given.

use crate::explain::shown;
use std::fmt;
use std::path::{Component, PathBuf};
use std::str::FromStr;

/// What a path and all beneath it may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Files and directories are read.
    Read,
    /// The same, and written, made, renamed and removed.
    Write,
    /// Files are read and executed, directories read.
    Execute,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LandlockRule {
    /// A path of the jail.
    Path {
        /// What for.
        access: Access,
        /// Absolute, without `..`.
        path: PathBuf,
    },
    /// A TCP port to be bound; none: no port at all.
    Bind(Option<u16>),
    /// A TCP port to be connected to; none: no port at all.
    Connect(Option<u16>),
    /// No signal to a process outside of the program's own tree of processes.
    Signals,
    /// No abstract unix socket (unix(7)) made outside of it.
    AbstractSockets,
}

/// Why a word is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LandlockRuleError {
    /// None of the kinds.
    #[error(
        "{0:?} is no kind of rule: ro:PATH, rw:PATH, exec:PATH, bind:PORT, connect:PORT, scope:signals, scope:abstract-sockets"
    )]
    Kind(String),
    /// A path that means nothing in the jail.
    #[error("{} is not absolute, or holds \"..\"", shown(.0))]
    Path(PathBuf),
    /// Not 0 to 65535, nor `none`.
    #[error("{0:?} is no TCP port, and not \"none\"")]
    Port(String),
}

impl FromStr for LandlockRule {
    type Err = LandlockRuleError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let unknown = || LandlockRuleError::Kind(word.to_owned());
        let (kind, value) = word.split_once(':').ok_or_else(unknown)?;
        let path = |access| {
            let path = PathBuf::from(value);
            let up = path.components().any(|part| part == Component::ParentDir);
            if !path.is_absolute() || up || value.contains('\0') {
                return Err(LandlockRuleError::Path(path));
            }
            let path = path.components().collect();
            Ok(Self::Path { access, path })
        };
        let port = || match value {
            "none" => Ok(None),
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits
                .parse()
                .map(Some)
                .map_err(|_| LandlockRuleError::Port(value.to_owned())),
            _ => Err(LandlockRuleError::Port(value.to_owned())),
        };
        match (kind, value) {
            ("ro", _) => path(Access::Read),
            ("rw", _) => path(Access::Write),
            ("exec", _) => path(Access::Execute),
            ("bind", _) => port().map(Self::Bind),
            ("connect", _) => port().map(Self::Connect),
            ("scope", "signals") => Ok(Self::Signals),
            ("scope", "abstract-sockets") => Ok(Self::AbstractSockets),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for LandlockRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = |port: &Option<u16>| port.map_or("none".to_owned(), |port| port.to_string());
        match self {
            Self::Path { access, path } => {
                let kind = match access {
                    Access::Read => "ro",
                    Access::Write => "rw",
                    Access::Execute => "exec",
                };
                write!(f, "{kind}:{}", shown(path))
            }
            Self::Bind(number) => write!(f, "bind:{}", port(number)),
            Self::Connect(number) => write!(f, "connect:{}", port(number)),
            Self::Signals => f.write_str("scope:signals"),
            Self::AbstractSockets => f.write_str("scope:abstract-sockets"),
        }
    }
}

impl LandlockRule {
    /// The first version of the kernel's interface that can hold it (landlock(7), ABI versions). Before version 3 a file
    /// that may not be written could still be truncated.
    pub fn needs(&self) -> u32 {
        match self {
            Self::Path { .. } => 3,
            Self::Bind(_) | Self::Connect(_) => 4,
            Self::Signals | Self::AbstractSockets => 6,
        }
    }
}

/// Rights on files (linux/landlock.h), by name as setpriv(1) spells them.
pub const FILE_RIGHTS: [&str; 16] = [
    "execute",
    "write-file",
    "read-file",
    "read-dir",
    "remove-dir",
    "remove-file",
    "make-char",
    "make-dir",
    "make-reg",
    "make-sock",
    "make-fifo",
    "make-block",
    "make-sym",
    "refer",
    "truncate",
    "ioctl-dev",
];

const EXECUTE: u64 = 1;
const READ: u64 = 1 << 2 | 1 << 3;
/// Everything but execution and the making of device nodes.
const WRITE: u64 = 0xffff & !(EXECUTE | 1 << 6 | 1 << 11);
const BIND: u64 = 1;
const CONNECT: u64 = 1 << 1;

/// A ruleset for a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruleset {
    /// The rules, as given.
    pub rules: Vec<LandlockRule>,
    /// LANDLOCK_ACCESS_FS_* that are refused where no rule grants them.
    pub handled_files: u64,
    /// LANDLOCK_ACCESS_NET_*, likewise.
    pub handled_net: u64,
    /// LANDLOCK_SCOPE_*
    pub scoped: u64,
    /// What is granted on paths.
    pub paths: Vec<(PathBuf, u64)>,
    /// What is granted on TCP ports.
    pub ports: Vec<(u16, u64)>,
}

/// The ruleset of those rules that a kernel with this version of the interface can hold, and the rules that it
/// cannot.
pub fn ruleset(rules: &[LandlockRule], abi: u32) -> (Ruleset, Vec<LandlockRule>) {
    let mut set = Ruleset::default();
    let mut beyond = Vec::new();
    // From version 5 on, commands of devices are refused too.
    let files = if abi >= 5 { 0xffff } else { 0x7fff };
    for rule in rules {
        if rule.needs() > abi {
            beyond.push(rule.clone());
            continue;
        }
        set.rules.push(rule.clone());
        match rule {
            LandlockRule::Path { access, path } => {
                set.handled_files = files;
                let rights = match access {
                    Access::Read => READ,
                    Access::Write => WRITE,
                    Access::Execute => EXECUTE | READ,
                };
                set.paths.push((path.clone(), rights & files));
            }
            LandlockRule::Bind(port) => {
                set.handled_net |= BIND;
                set.ports.extend(port.map(|port| (port, BIND)));
            }
            LandlockRule::Connect(port) => {
                set.handled_net |= CONNECT;
                set.ports.extend(port.map(|port| (port, CONNECT)));
            }
            LandlockRule::AbstractSockets => set.scoped |= 1,
            LandlockRule::Signals => set.scoped |= 1 << 1,
        }
    }
    (set, beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_shown_alike() {
        for word in [
            "ro:/usr",
            "rw:/tmp",
            "exec:/",
            "bind:8080",
            "connect:443",
            "connect:none",
            "scope:signals",
            "scope:abstract-sockets",
        ] {
            let rule: LandlockRule = word.parse().unwrap();
            assert_eq!(rule.to_string(), word);
        }
        for (word, part) in [
            ("", "no kind"),
            ("/usr", "no kind"),
            ("wr:/usr", "no kind"),
            ("ro:usr", "not absolute"),
            ("ro:/a/../b", ".."),
            ("ro:", "not absolute"),
            ("bind:65536", "no TCP port"),
            ("bind:+1", "no TCP port"),
            ("connect:http", "no TCP port"),
            ("connect:", "no TCP port"),
            ("scope:all", "no kind"),
        ] {
            let error = word.parse::<LandlockRule>().unwrap_err().to_string();
            assert!(error.contains(part), "{word}: {error}");
        }
    }

    #[test]
    fn a_rule_that_the_kernel_cannot_hold_is_told() {
        let rules: Vec<LandlockRule> = ["ro:/usr", "bind:80", "scope:signals"]
            .iter()
            .map(|word| word.parse().unwrap())
            .collect();
        let beyond = |abi| ruleset(&rules, abi).1.len();
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 7].map(beyond),
            [3, 3, 3, 2, 1, 1, 0, 0]
        );
        let (set, _) = ruleset(&rules, 4);
        assert_eq!(set.handled_files, 0x7fff);
        assert_eq!((set.handled_net, set.scoped), (1, 0));
        assert_eq!(set.paths, [("/usr".into(), 0b1100)]);
        let (set, _) = ruleset(&rules, 7);
        assert_eq!((set.handled_files, set.scoped), (0xffff, 2));
        // Writing grants neither execution nor device nodes.
        let (set, _) = ruleset(&["rw:/tmp".parse().unwrap()], 7);
        assert_eq!(set.paths, [("/tmp".into(), 0xf7be)]);
    }
}
