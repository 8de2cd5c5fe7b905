//! How a run ends, and what the doctor finds.

use serde_json::Value;

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
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// The program's end.
    pub status: Status,
    /// What was really enforced.
    pub enforced: Value,
    /// The limit that ended it, or a part of it.
    pub limit: Option<Reached>,
}

/// A limit that ended a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
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
