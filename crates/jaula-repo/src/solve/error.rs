//! Why a request could not be solved.

use super::explain::Explanation;
use std::fmt;

/// A wanted name that no package has or provides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    /// The name as it was given.
    pub name: String,
    /// Names that exist and look like it, nearest first; may be empty.
    pub nearest: Vec<String>,
    /// Architectures for which there is a package of this name.
    pub elsewhere: Vec<String>,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if !self.nearest.is_empty() {
            write!(f, " (near: {})", self.nearest.join(", "))?;
        }
        if !self.elsewhere.is_empty() {
            write!(f, " (only for {})", self.elsewhere.join(", "))?;
        }
        Ok(())
    }
}

/// A request that could not be solved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SolveError {
    /// Names that no source offers.
    #[error("no source offers {}", join(.0))]
    Unknown(Vec<UnknownName>),
    /// A task that nothing belongs to.
    #[error("no source has a task {task}{}", if near.is_empty() { String::new() } else { format!(" (near: {})", near.join(", ")) })]
    NoTask {
        /// The task.
        task: String,
        /// Tasks like it.
        near: Vec<String>,
    },
    /// Of an architecture whose packages are not looked at.
    #[error("{wanted} is of an architecture that is not among those of the image ({})", archs.join(", "))]
    NoArch {
        /// The wish.
        wanted: String,
        /// The architectures there are.
        archs: Vec<String>,
    },
    /// Not in the release that it was asked from.
    #[error("no source offers {wanted} ({})", listed(there))]
    NotInRelease {
        /// The wish.
        wanted: String,
        /// The versions there are, with their releases.
        there: Vec<String>,
    },
    /// The wishes contradict each other or what the sources offer.
    #[error("{0}")]
    Unsolvable(Explanation),
    /// The search was stopped after a fixed amount of work. The largest real requests need an
    /// eighth of it; an index that gets here was made to.
    #[error("the dependencies are too tangled: no answer after {steps} steps")]
    GaveUp {
        /// How many steps were made.
        steps: u64,
    },
}

fn join(names: &[UnknownName]) -> String {
    names
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

fn listed(there: &[String]) -> String {
    match there {
        [] => "there is no such package".to_owned(),
        [one] => format!("{one} is there"),
        some => format!("{} are there", some.join("; ")),
    }
}
