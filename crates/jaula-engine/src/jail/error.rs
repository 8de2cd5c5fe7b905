//! What can go wrong while a jail is started.

use crate::error::{Kind, PathError};
use crate::store::StoreError;
use jaula_sys::SysError;
use jaula_sys::error::Errno;
use std::path::PathBuf;

/// A jail could not be started, or not be followed to its end. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// The kernel gave no process in new namespaces.
    #[error("cannot start a process in new namespaces")]
    Namespaces {
        /// What the kernel said.
        #[source]
        source: SysError,
    },
    /// An operation of the plan failed, so the program was not run.
    #[error("cannot start the jail\n  step {step} of {of}: {what}\n  {errno}")]
    Step {
        /// Which, from 1.
        step: usize,
        /// Of how many.
        of: usize,
        /// The operation in words.
        what: String,
        /// What the kernel said.
        errno: Errno,
        /// Whether it was the mapping of the tree's identifiers.
        id_mapping: bool,
    },
    /// The process that sets the jail up was killed.
    #[error("the jail was killed while it was set up")]
    Killed,
    /// The program was not run.
    #[error("cannot run {program:?} in the jail: {errno}")]
    Program {
        /// As asked.
        program: std::ffi::OsString,
        /// What the kernel said.
        errno: Errno,
        /// Whether Landlock restricts what may be executed.
        landlock: bool,
    },
    /// A file that was to be copied into the jail.
    #[error("cannot read {} to copy it into the jail", .path.display())]
    Source {
        /// In the host.
        path: PathBuf,
        /// What was wrong.
        #[source]
        source: std::io::Error,
    },
    /// A filter that was given is no whole number of instructions.
    #[error("the given filter is no program of the kernel's")]
    BadProgram,
    /// The filter that asks whose files are does not fit the kernel's bounds.
    #[error("the filter that asks about owners cannot be made on this machine")]
    NoRecord,
    /// No free block of identifiers.
    #[error("every block of identifiers for jails is in use, or {} cannot be used", .dir.display())]
    Blocks {
        /// Where they are locked.
        dir: PathBuf,
        /// What was wrong with the last one tried.
        #[source]
        source: std::io::Error,
    },
    /// A disk image could not be shown.
    #[error("cannot show the disk image {}: {why}", .file.display())]
    Disk {
        /// The image.
        file: PathBuf,
        /// What was wrong with it, or with the host.
        why: String,
    },
    /// What was to connect it did not.
    #[error("{tool} did not connect the jail: {why}")]
    Outside {
        /// The program.
        tool: &'static str,
        /// What it said.
        why: String,
    },
    /// The addresses of its cards.
    #[error(transparent)]
    Network(Box<crate::net::NetError>),
    /// A path or word that cannot be handed to the kernel.
    #[error("{word:?} holds a NUL byte")]
    Nul {
        /// The word.
        word: std::ffi::OsString,
    },
    /// A filter that the kernel would not take.
    #[error("cannot make a filter of the seccomp profile {name}")]
    Filter {
        /// What the profile is called.
        name: String,
        /// Why not.
        #[source]
        source: jaula_sys::seccomp::program::Unfit,
    },
    /// A descriptor that was to be kept is not one of the caller's.
    #[error("cannot keep descriptor {fd}: it was not open when jaula was started")]
    NoDescriptor {
        /// Its number.
        fd: u32,
    },
    /// A limit could not be set, or the jail not be put under it.
    #[error("{}", limit_text(.limit))]
    Limit {
        /// As asked; empty when it is about all of a control group.
        limit: String,
        /// What failed.
        #[source]
        source: PathError,
    },
    /// The plan has limits that no group was made for.
    #[error("cannot start the jail without the limits of its plan")]
    Unlimited,
    /// The journal for control groups.
    #[error("cannot note the jail's control groups")]
    Journal {
        /// What failed.
        #[source]
        source: Box<StoreError>,
    },
    /// A jail to be joined is gone.
    #[error("the jail does not run any more")]
    Gone,
    /// Waiting, reading or the terminal.
    #[error("cannot follow the jail")]
    Follow {
        /// What the kernel said.
        #[from]
        source: SysError,
    },
}

fn limit_text(limit: &str) -> String {
    match limit {
        "" => "cannot limit the jail".to_owned(),
        limit => format!("cannot enforce the limit {limit}"),
    }
}

impl JailError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Program { errno, .. } if errno.0 == 2 => Kind::NotFound,
            Self::Program { .. }
            | Self::Disk { .. }
            | Self::Nul { .. }
            | Self::NoDescriptor { .. }
            | Self::Source { .. } => Kind::User,
            Self::Gone => Kind::NotFound,
            Self::Step { errno, .. } if errno.0 == 28 => Kind::DiskFull,
            Self::Limit { source, .. } => source.kind(),
            Self::Journal { source } => source.kind(),
            Self::Unlimited | Self::Killed | Self::Follow { .. } => Kind::Internal,
            _ => Kind::KernelRefused,
        }
    }

    /// The exit code by which chroot(1) tells it: 127 not found, 126 not executable, 125 anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Program { errno, .. } if errno.0 == 2 || errno.0 == 20 => 127,
            Self::Program { .. } => 126,
            _ => 125,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        let one = |text: &str| vec![text.to_owned()];
        match self {
            Self::Namespaces { source } => match source.errno.0 {
                1 | 13 => one(
                    "this host does not let this user make user namespaces; jaula doctor says what stands against it",
                ),
                28 | 87 => one(
                    "the limit of namespaces is reached: see /proc/sys/user/max_user_namespaces",
                ),
                _ => one("jaula doctor says what this host allows"),
            },
            Self::Step {
                id_mapping: true, ..
            } => one(
                "the file system of the tree cannot map identifiers: use --ids host, or keep the store on ext4, xfs, btrfs or tmpfs",
            ),
            Self::Step { errno, .. } if matches!(errno.0, 40 | 20) => {
                one("the tree has a link or a file where the jail needs a directory of its own")
            }
            Self::Step { .. } => one("jaula doctor says what this host allows"),
            Self::Program { errno, .. } if errno.0 == 8 => {
                one("it is a program of another architecture, or no program")
            }
            Self::Program {
                landlock: true,
                errno,
                ..
            } if errno.0 == 13 => one(
                "Landlock lets only that be executed which exec:PATH names: the program, and the loader or interpreter that it wants",
            ),
            Self::Program { errno, .. } if errno.0 == 2 => {
                one("if the file is there, the interpreter in its first line is not")
            }
            Self::Filter { .. } => {
                one("a profile with fewer conditions on arguments makes a shorter filter")
            }
            Self::Limit { source, .. } => match source.source.raw_os_error() {
                Some(2) => one(
                    "this kernel was built without it: leave it out, or go on without it with --best-effort",
                ),
                Some(16) => one(
                    "the group above may be full, or the value be less than what is used already",
                ),
                _ => one(
                    "jaula run --plan says which file is written; --best-effort goes on without what no controller can hold",
                ),
            },
            Self::Outside { tool: "pasta", .. } => one(
                "it needs a default route of the host's; slirp4netns does without: --net nat:slirp4netns",
            ),
            Self::Journal { source } => source.hints(),
            Self::Blocks { .. } => one(
                "--ids host does without identifiers of its own; rather run jaula as a user who is not root here",
            ),
            _ => Vec::new(),
        }
    }
}
