//! What went wrong, exactly enough for a face to say it as the tool does that it speaks for.

use jaula_plan::direct::{DirectOp, Kinds, Refusal};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// What of a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The one thing that it does.
    Whole,
    /// Opening this file.
    Open(PathBuf),
    /// Looking at this file.
    Look(PathBuf),
    /// Reading.
    Read,
    /// Writing this file.
    Write(PathBuf),
    /// Mounting one on the other.
    Mount(PathBuf, PathBuf),
    /// Executing this program.
    Exec(&'static str),
    /// Forking.
    Fork,
    /// Making what two processes talk by.
    Pair,
    /// Holding a process by a descriptor.
    Pidfd,
    /// Asking for a signal at the parent's end, or for ambient capabilities.
    Prctl,
    /// Looking whether the parent is still there.
    Poll,
    /// Waiting for a child.
    Wait,
    /// Blocking signals.
    Signals,
    /// Taking a descriptor of the target.
    Descriptor,
    /// Asking what a descriptor belongs to.
    Ioctl,
    /// Joining these namespaces.
    Join(Kinds),
    /// Going to a directory by its descriptor.
    Go,
    /// Making it the root.
    Chroot,
    /// Going to the new root.
    Top,
    /// Reading capabilities.
    CapGet,
    /// Setting capabilities.
    CapSet,
    /// It is not what it should be, or is not supported.
    Unfit,
}

/// A plan did not come to its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A step failed.
    Step {
        /// Which.
        op: Box<DirectOp>,
        /// What of it.
        part: Part,
        /// What the kernel said; 0 when it said nothing.
        errno: i32,
    },
    /// A program that was to help ended with this code, and has said why.
    Said(u8),
    /// This process was to go on after its parent had ended.
    Orphaned,
    /// The plan says so.
    Refused(Refusal),
    /// The program could not be executed.
    Exec {
        /// As it was asked for.
        name: OsString,
        /// What the kernel said.
        errno: i32,
    },
}

impl Failure {
    pub(super) fn step(op: &DirectOp, part: Part, errno: i32) -> Self {
        Self::Step {
            op: Box::new(op.clone()),
            part,
            errno,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = |errno: i32| jaula_sys::error::Errno(errno);
        match self {
            Self::Step { op, errno: 0, .. } => write!(f, "cannot {op}"),
            Self::Step { op, errno, .. } => write!(f, "cannot {op}: {}", reason(*errno)),
            Self::Said(code) => write!(f, "a helper ended with status {code}"),
            Self::Orphaned => f.write_str("the parent has ended"),
            Self::Refused(refusal) => write!(f, "refused: {refusal:?}"),
            Self::Exec { name, errno } => {
                write!(f, "cannot execute {}: {}", name.display(), reason(*errno))
            }
        }
    }
}

impl std::error::Error for Failure {}
