//! What happens while the engine works, told as it happens to one observer.

use std::path::PathBuf;

/// A phase of long work, in the order in which a build passes through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Reading and verifying the archives' indices.
    Indices,
    /// Choosing packages.
    Solve,
    /// Fetching packages.
    Fetch,
    /// Unpacking packages into the stage.
    Unpack,
    /// Running the packages' own scripts in a jail.
    Configure,
    /// Making the tree the same for the same inputs, and registering it.
    Finish,
    /// Writing an archive or a directory.
    Export,
}

/// One thing that happened. Bytes and counts are totals so far, never increments.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A phase began; totals are 0 when they are not known yet.
    Started {
        /// The phase.
        phase: Phase,
        /// Items to do.
        items: u64,
        /// Bytes to do.
        bytes: u64,
    },
    /// A phase went on.
    Progress {
        /// The phase.
        phase: Phase,
        /// Items done.
        items: u64,
        /// Bytes done.
        bytes: u64,
        /// What is being worked on.
        item: String,
    },
    /// A phase ended.
    Finished {
        /// The phase.
        phase: Phase,
        /// Items done.
        items: u64,
        /// Bytes done.
        bytes: u64,
        /// How long it took, in milliseconds.
        millis: u64,
    },
    /// A suite's Release file was signed by who may.
    Verified {
        /// The archive.
        uri: String,
        /// The suite.
        suite: String,
        /// Fingerprints of the signers' certificates, in hexadecimal.
        signers: Vec<String>,
    },
    /// Something the user should know that is no failure: a protection done without on request, a retry.
    Note {
        /// One sentence.
        text: String,
    },
    /// A line that a package's script wrote.
    Output {
        /// The line.
        line: String,
    },
    /// Something lasting came to be.
    Made {
        /// What: `image`, `jail`, `archive`, `directory`.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
}

/// Who is told. Called from the thread that works; must not block for long.
pub trait Observer: Sync {
    /// Something happened.
    fn event(&self, event: Event);

    /// Whether programs of the user's own that run meanwhile, as hooks are, may have this process's terminal: what is
    /// typed on its standard input goes to them, and what they show to its standard error. Both are a terminal then.
    fn lends_terminal(&self) -> bool {
        false
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: Event) {}
}
