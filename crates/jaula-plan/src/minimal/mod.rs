//! A root from single files of the host and what they need: their interpreters, their libraries as ld.so(8) finds
//! them, and the links and directories on the way.

mod accounts;
mod closure;
mod error;
mod gather;
pub mod path_text;
mod pattern;
mod record;
mod rule;
mod safety;
mod search;
mod walk;
mod with;

pub use closure::{closure, verify};
pub use error::MinimalError;
pub use gather::{Content, Gathered, Note, gather};
pub use record::{Origin, Placing, Record, Recorded, RecordedKind, VERSION as RECORD_VERSION};
pub use rule::{Rule, RuleError, Rules};
pub use safety::{PartKind, PathPart, TOP, Unsafe, UnsafePart, changeable, reasons};
pub use with::With;
pub(crate) use with::is_secret;

use crate::explain::shown;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// What comes into the root at one path.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ItemKind {
    /// A directory.
    Directory {
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it leads.
        target: PathBuf,
    },
    /// The host's file of the same path.
    File {
        /// Its permission bits, without set-id bits.
        mode: u32,
        /// Whether the host's has set-id bits.
        dropped: bool,
    },
    /// A file that is made for the jail.
    Made {
        /// Its permission bits.
        mode: u32,
        /// Its content.
        text: String,
    },
}

impl ItemKind {
    /// A file that has these permission bits on the host.
    pub(crate) fn of_file(mode: u32) -> Self {
        Self::File {
            mode: mode & 0o777,
            dropped: mode & closure::SET_ID != 0,
        }
    }
}

/// Why it is taken.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Why {
    /// It was asked for.
    Asked,
    /// The host has its directories of programs merged so.
    Merged,
    /// PT_INTERP of a program.
    Loader {
        /// The program.
        of: PathBuf,
    },
    /// The `#!` line of a script.
    Interpreter {
        /// The script.
        of: PathBuf,
    },
    /// What env(1) starts for a script.
    Program {
        /// The script.
        of: PathBuf,
    },
    /// DT_NEEDED.
    Needed {
        /// The name that is needed.
        name: String,
        /// Who needs it.
        by: PathBuf,
    },
    /// A rule lists it.
    Rule {
        /// The rule.
        name: String,
    },
    /// A package has installed it.
    Package {
        /// The package.
        name: String,
    },
    /// Accounts that rules ask for.
    Account,
    /// The place in which the loader finds, without a cache, what ld.so.conf names the directory of.
    Found {
        /// The library.
        library: PathBuf,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("asked for"),
            Self::Merged => f.write_str("merged as on the host"),
            Self::Loader { of } => write!(f, "loads {}", shown(of)),
            Self::Interpreter { of } => write!(f, "interpreter of {}", shown(of)),
            Self::Program { of } => write!(f, "started by env for {}", shown(of)),
            Self::Needed { name, by } => {
                write!(f, "{} needed by {}", shown(Path::new(name)), shown(by))
            }
            Self::Rule { name } => write!(f, "rule {name}"),
            Self::Package { name } => write!(f, "package {name}"),
            Self::Account => f.write_str("accounts that rules ask for"),
            Self::Found { library } => write!(f, "where the loader looks for {}", shown(library)),
        }
    }
}

/// One path of the root.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Item {
    /// What.
    #[serde(flatten)]
    pub kind: ItemKind,
    /// Why; of what is needed more than once, for whom first.
    pub why: Why,
}

/// Everything that comes into the root, by path; a directory comes before what is in it.
pub type Items = BTreeMap<PathBuf, Item>;

#[cfg(test)]
mod tests;
