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
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if !self.nearest.is_empty() {
            write!(f, " (near: {})", self.nearest.join(", "))?;
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
