//! What is to be seen in a jail besides its root, in the order in which it is put there.

use crate::spec::disk::DiskSpec;
use std::path::PathBuf;

/// How a path of the host is shown inside (mount_setattr(2)). The default is writable, without set-user-id programs
/// and device nodes, and with what is mounted beneath.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindOptions {
    /// Not writable.
    pub read_only: bool,
    /// Nothing can be executed.
    pub no_exec: bool,
    /// Device nodes can be opened.
    pub devices: bool,
    /// With what is mounted beneath.
    pub recursive: bool,
    /// Left out when there is no such path.
    pub optional: bool,
}

impl BindOptions {
    /// Writable, no devices, with what is mounted beneath.
    pub const WRITABLE: Self = Self {
        read_only: false,
        no_exec: false,
        devices: false,
        recursive: true,
        optional: false,
    };

    /// The same, but not writable.
    pub const READ_ONLY: Self = Self {
        read_only: true,
        ..Self::WRITABLE
    };

    /// What differs from [`Self::WRITABLE`], in words: `read-only, no programs`.
    pub fn words(&self) -> Vec<&'static str> {
        let all = [
            (self.read_only, "read-only"),
            (self.no_exec, "no programs"),
            (self.devices, "with devices"),
            (!self.recursive, "without what is mounted beneath"),
        ];
        all.into_iter()
            .filter(|(set, _)| *set)
            .map(|(_, word)| word)
            .collect()
    }
}

impl Default for BindOptions {
    fn default() -> Self {
        Self::WRITABLE
    }
}

/// Where an overlay keeps what is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverlayTop {
    /// In memory, and gone with the jail.
    Memory,
    /// Nowhere: it cannot be written. Takes two lower directories at least.
    Nothing,
    /// In a directory of the host.
    Directory {
        /// What is written.
        upper: PathBuf,
        /// An empty directory on the same file system.
        work: PathBuf,
    },
}

/// One more thing to be seen at a place in the jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSpec {
    /// A path of the host.
    Bind {
        /// In the host.
        from: PathBuf,
        /// In the jail.
        to: PathBuf,
        /// How.
        options: BindOptions,
    },
    /// A disk image.
    Disk(DiskSpec),
    /// Memory.
    Tmpfs {
        /// In the jail.
        at: PathBuf,
        /// The most it may hold, in bytes; half of the memory when absent (tmpfs(5)).
        size: Option<u64>,
        /// Mode of its top directory; 1777 when absent.
        mode: Option<u32>,
    },
    /// Directories over each other (overlayfs).
    Overlay {
        /// Of the host, the uppermost first.
        lower: Vec<PathBuf>,
        /// In the jail.
        to: PathBuf,
        /// What becomes of writes.
        top: OverlayTop,
    },
    /// A symbolic link.
    Symlink {
        /// Its text.
        text: PathBuf,
        /// In the jail.
        at: PathBuf,
    },
    /// A copy of a file of the caller's, read with his rights.
    File {
        /// In the host.
        from: PathBuf,
        /// In the jail.
        to: PathBuf,
        /// Its mode; 644 when absent.
        mode: Option<u32>,
    },
    /// A directory.
    Directory {
        /// In the jail.
        at: PathBuf,
        /// Its mode if it has to be made.
        mode: u32,
    },
    /// A `/dev` of its own: nodes that hold no data, terminals, shared memory.
    Dev {
        /// In the jail.
        at: PathBuf,
    },
    /// A procfs of its own, with the usual masks.
    Proc {
        /// In the jail.
        at: PathBuf,
    },
    /// POSIX message queues (mq_overview(7)).
    Mqueue {
        /// In the jail.
        at: PathBuf,
    },
    /// Makes the mount at a place read-only; not what is mounted beneath.
    RemountReadOnly {
        /// In the jail.
        at: PathBuf,
    },
    /// Changes the mode of what is there.
    Chmod {
        /// In the jail.
        at: PathBuf,
        /// Its new mode.
        mode: u32,
    },
}

impl MountSpec {
    /// A bind with options.
    pub fn bind(from: impl Into<PathBuf>, to: impl Into<PathBuf>, options: BindOptions) -> Self {
        Self::Bind {
            from: from.into(),
            to: to.into(),
            options,
        }
    }

    /// Memory of the usual size and mode.
    pub fn tmpfs(at: impl Into<PathBuf>) -> Self {
        Self::Tmpfs {
            at: at.into(),
            size: None,
            mode: None,
        }
    }

    /// Where it goes in the jail.
    pub fn target(&self) -> &PathBuf {
        match self {
            Self::Bind { to, .. } | Self::Overlay { to, .. } | Self::File { to, .. } => to,
            Self::Disk(DiskSpec { at, .. })
            | Self::Tmpfs { at, .. }
            | Self::Symlink { at, .. }
            | Self::Directory { at, .. }
            | Self::Dev { at }
            | Self::Proc { at }
            | Self::Mqueue { at }
            | Self::RemountReadOnly { at }
            | Self::Chmod { at, .. } => at,
        }
    }

    /// The paths of the host in it, to be made absolute by whoever knows where the caller is.
    pub fn sources(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Bind { from, .. }
            | Self::File { from, .. }
            | Self::Disk(DiskSpec { file: from, .. }) => vec![from],
            Self::Overlay { lower, top, .. } => {
                let mut all: Vec<&mut PathBuf> = lower.iter_mut().collect();
                if let OverlayTop::Directory { upper, work } = top {
                    all.extend([upper, work]);
                }
                all
            }
            _ => Vec::new(),
        }
    }
}
