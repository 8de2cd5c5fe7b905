//! What a Release file lacks, or has instead of what was asked for.

/// How an archive is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The Release file is of another suite.
    #[error("asked for {asked}, but it is of {}", names(suite.as_deref(), codename.as_deref()))]
    Suite {
        /// As asked for.
        asked: String,
        /// Its `Suite`.
        suite: Option<String>,
        /// Its `Codename`.
        codename: Option<String>,
    },
    /// The archive has nothing for this architecture.
    #[error("no packages for {arch} (only {})", known.join(", "))]
    Arch {
        /// As asked for.
        arch: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The suite has no such component for this architecture.
    #[error("no component {component} for {arch} (there are {})", known.join(", "))]
    Component {
        /// As asked for.
        component: String,
        /// The architecture.
        arch: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The archive has no such suite.
    #[error("the mirror has no suite {suite} ({base} has neither InRelease nor Release)")]
    Absent {
        /// As asked for.
        suite: String,
        /// Where its Release file was looked for.
        base: String,
    },
    /// Something else, in words.
    #[error("{0}")]
    Other(&'static str),
}

fn names(suite: Option<&str>, codename: Option<&str>) -> String {
    let names: Vec<&str> = [suite, codename].into_iter().flatten().collect();
    names.join(", ")
}
