//! What a user runs while an image is made.

use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// A command at a stage of the making of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// When.
    pub stage: HookStage,
    /// What.
    pub action: HookAction,
}

/// When a hook is run, in the order of mmdebstrap(1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum HookStage {
    /// The tree has its directories and the image's sources, and no package.
    Setup,
    /// Packages are unpacked, and no script ran yet.
    Extract,
    /// The essential packages are configured. Where everything is configured at once, all are.
    Essential,
    /// Everything is there.
    Customize,
}

impl HookStage {
    /// Every stage, in their order.
    pub const ALL: [Self; 4] = [Self::Setup, Self::Extract, Self::Essential, Self::Customize];

    /// The word a user types.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Extract => "extract",
            Self::Essential => "essential",
            Self::Customize => "customize",
        }
    }
}

impl fmt::Display for HookStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum HookAction {
    /// A script, run in a jail on the tree by the interpreter of its first line (else `/bin/sh`), with these arguments.
    Inside {
        /// Its name, for messages.
        name: String,
        /// Its text.
        script: Vec<u8>,
        /// Its arguments.
        args: Vec<String>,
        /// Whether it has the host's network; none otherwise.
        network: bool,
    },
    /// A program of the host, run with its files in sight; the tree is its argument, after these. The way of
    /// mmdebstrap(1) and multistrap(1): only their names ask for it.
    Outside {
        /// Program and arguments.
        command: Vec<String>,
        /// Arguments after the tree.
        after: Vec<String>,
        /// Variables besides those of the caller.
        env: Vec<(String, String)>,
        /// A variable that names a file of apt.conf(5), by which the host's apt works on the tree.
        apt_config: Option<String>,
        /// Which of `proc`, `sys` and a small `dev` are mounted in the tree meanwhile.
        mounts: Vec<String>,
    },
    /// Files of the host into a directory of the tree, with their owners and modes. What is there of the same name is
    /// replaced; directories are merged.
    CopyIn {
        /// What is copied; of a directory that is written with `/.` at its end, what is in it.
        from: Vec<PathBuf>,
        /// A directory of the tree, which must be there.
        to: PathBuf,
    },
    /// Files of the tree into a directory of the host, made if it is not there; as [`Self::CopyIn`].
    CopyOut {
        /// Paths in the tree; of a directory that is written with `/.` at its end, what is in it.
        from: Vec<PathBuf>,
        /// A directory of the host.
        to: PathBuf,
    },
    /// An archive of the host unpacked into a directory of the tree.
    TarIn {
        /// The archive.
        from: PathBuf,
        /// A directory of the tree, which must be there.
        to: PathBuf,
        /// Whether nodes of devices in it are left out, instead of refused.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        no_devices: bool,
    },
    /// A directory of the tree as an archive of the host.
    TarOut {
        /// A path in the tree.
        from: PathBuf,
        /// The archive.
        to: PathBuf,
        /// Whether its last name is in the archive, as `tar -C PARENT NAME` has it, and it may be no directory. Else what
        /// is in it.
        named: bool,
    },
    /// The content of a file of the host as a file of the tree, which belongs to root. Links are followed.
    Upload {
        /// The host's.
        from: PathBuf,
        /// The tree's.
        to: PathBuf,
    },
    /// The content of a file of the tree as a file of the host. Links are followed, inside the tree.
    Download {
        /// The tree's.
        from: PathBuf,
        /// The host's.
        to: PathBuf,
    },
}

impl HookAction {
    /// The files and directories of the host that come into the tree.
    pub fn reads(&self) -> Vec<&Path> {
        match self {
            Self::CopyIn { from, .. } => from.iter().map(PathBuf::as_path).collect(),
            Self::TarIn { from, .. } | Self::Upload { from, .. } => vec![from],
            _ => Vec::new(),
        }
    }

    /// Whether the tree is all that it changes, and is all that it depends on besides what is named in it. What is
    /// not so must be done each time that it is asked for.
    pub fn is_of_the_tree(&self) -> bool {
        match self {
            Self::Inside { network, .. } => !network,
            Self::CopyIn { .. } | Self::TarIn { .. } | Self::Upload { .. } => true,
            Self::Outside { .. }
            | Self::CopyOut { .. }
            | Self::TarOut { .. }
            | Self::Download { .. } => false,
        }
    }
}
