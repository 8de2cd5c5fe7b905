//! How a run ends, and what the doctor finds.

use crate::jail::{Applied, Enforced};
use std::fmt;

/// Where a jail's standard input, output and error go.
pub enum Io<'a> {
    /// Those of the caller.
    Inherit,
    /// A pseudo-terminal of the jail's own, joined to the caller's terminal.
    Pty,
    /// Input from nothing; output and error to this function, as it comes.
    Captured(&'a mut dyn FnMut(&[u8])),
}

/// How the jail's program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// With this code.
    Exited(u8),
    /// By this signal.
    Signalled(i32),
}

/// How a run ended.
pub struct Outcome {
    /// The program's end.
    pub status: Status,
    /// What was done to the jail, from which [`Outcome::enforced`] is made when somebody asks.
    pub(crate) applied: Box<Applied>,
    /// The limit that ended it, or a part of it.
    pub limit: Option<Reached>,
}

/// The exit code of a jail whose time was up, as timeout(1) has it.
const TIME_IS_UP: u8 = 124;

impl Outcome {
    /// The exit code by which it is told: the program's, 128 + n when signal n ended it (chroot(1)), 124 when its time
    /// was up (timeout(1)).
    pub fn code(&self) -> u8 {
        match (self.limit, self.status) {
            (Some(Reached::Time), _) => TIME_IS_UP,
            (_, Status::Exited(code)) => code,
            (_, Status::Signalled(signal)) => {
                u8::try_from(128i64 + i64::from(signal)).unwrap_or(255)
            }
        }
    }
}

impl Outcome {
    /// What was really enforced.
    pub fn enforced(&self) -> Enforced {
        self.applied.enforced()
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("status", &self.status)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A limit that ended a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "limit")]
pub enum Reached {
    /// Its time was up.
    Time,
    /// The kernel killed processes of it because there was no memory left within the limit.
    Memory {
        /// How many.
        killed: u64,
    },
}

/// Something that the host allows or not.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Gate {
    /// What was tried.
    pub name: String,
    /// Whether it works.
    pub open: bool,
    /// What was found.
    pub found: String,
    /// What follows when it does not.
    pub follows: String,
    /// The narrowest fix.
    pub fix: String,
}
