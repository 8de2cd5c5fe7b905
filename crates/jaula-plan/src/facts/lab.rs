//! What of the kernel a simulated network needs to know.

/// What queues there are to make links slow, late or lossy (tc(8)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabFacts {
    /// `netem`: delay and loss (tc-netem(8)).
    pub netem: bool,
    /// `tbf`: a rate (tc-tbf(8)).
    pub tbf: bool,
}

impl LabFacts {
    /// A kernel that has all of it.
    pub const ALL: Self = Self {
        netem: true,
        tbf: true,
    };
}
