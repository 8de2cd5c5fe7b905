//! What was placed in a jail and where it is from: what `check` compares with and `update` renews.

use super::{Rule, With, path_text};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The form of the record; another number is not read.
pub const VERSION: u32 = 1;

/// How files of the host come into a jail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placing {
    /// Their bytes are copied; shared with the host's where the file system can (reflinks).
    #[default]
    Copy,
    /// They are the host's own inodes: fast, and what writes into one writes into the host's.
    Hardlink,
    /// Their bytes are shared until one of both is written; refused where the file system cannot.
    Reflink,
    /// They are bound read-only at each start: nothing is placed.
    Live,
}

/// Everything that was placed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// The jail's directory, for one that lives at a path.
    #[serde(default, with = "path_text::option")]
    pub at: Option<PathBuf>,
    /// What was asked for.
    pub with: Vec<With>,
    /// Rules that are not the program's own, by name.
    pub rules: BTreeMap<String, Rule>,
    /// Whether the program's packs were looked at.
    pub packs: bool,
    /// How.
    pub placing: Placing,
    /// Files and directories of the host that are bound at each start, of one that is live.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        with = "path_text::list"
    )]
    pub live: Vec<PathBuf>,
    /// What is there, by its path in the jail.
    #[serde(with = "path_text::map")]
    pub entries: BTreeMap<PathBuf, Recorded>,
}

/// One path.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// What.
    pub kind: RecordedKind,
}

/// What was placed at a path.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum RecordedKind {
    /// A directory.
    Directory {
        /// Its permission bits.
        mode: u32,
    },
    /// A link.
    Link {
        /// Where it leads.
        #[serde(with = "path_text")]
        target: PathBuf,
    },
    /// A file of the host.
    File {
        /// Its permission bits in the jail.
        mode: u32,
        /// SHA-256 of its bytes in hexadecimal digits; absent where they were never read, as with a hard link.
        sha256: Option<String>,
        /// The host's file when it was placed.
        origin: Origin,
    },
    /// A file that was made for the jail, as its `etc/passwd`.
    Made {
        /// Its permission bits.
        mode: u32,
        /// SHA-256 of its bytes.
        sha256: String,
    },
}

/// What tells whether a file of the host is the one that it was. Times are in seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When its bytes were changed.
    pub mtime: (i64, i64),
    /// When anything of it was changed.
    pub ctime: (i64, i64),
}
