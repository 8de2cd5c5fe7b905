//! What can go wrong with a named jail.

use crate::error::{Kind, PathError};
use crate::store::StoreError;
use jaula_plan::names::JailName;

/// An operation on a named jail failed.
#[derive(Debug, thiserror::Error)]
pub enum NamedError {
    /// A file operation.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such jail.
    #[error("there is no jail {name}")]
    NoSuchJail {
        /// As asked.
        name: JailName,
        /// Names that are there.
        others: Vec<String>,
    },
    /// There is one already.
    #[error("there is a jail {name} already")]
    Exists {
        /// As asked.
        name: JailName,
    },
    /// It runs.
    #[error("jail {name} is running (pid {pid})")]
    Running {
        /// The jail.
        name: JailName,
        /// Its first process.
        pid: u32,
    },
    /// It does not run.
    #[error("{name} does not run: {state}")]
    NotRunning {
        /// The jail or run.
        name: JailName,
        /// What it does instead.
        state: String,
    },
    /// A word that names nothing that runs.
    #[error("{word} is neither a name nor a process of a jail of this store")]
    NoJailOf {
        /// As typed.
        word: String,
    },
    /// What it wrote was not kept.
    #[error("there is no log of {name}")]
    NoLog {
        /// The jail or run.
        name: JailName,
    },
    /// Its files are still mounted where namespaces of it are kept: two mounts of one layer damage it.
    #[error("the files of jail {name} are still mounted in the namespaces kept as {kept}")]
    FilesKept {
        /// The jail.
        name: JailName,
        /// The name of what is kept.
        kept: JailName,
    },
    /// Its first session could not start it.
    #[error("cannot start jail {name}: {text}")]
    Start {
        /// The jail.
        name: JailName,
        /// What its keeper said.
        text: String,
    },
    /// Copying to or from one that runs, or whose users could not be had.
    #[error("cannot reach into jail {name}: {text}")]
    Copying {
        /// The jail.
        name: JailName,
        /// What went wrong there.
        text: String,
    },
    /// Copying.
    #[error(transparent)]
    Copy(#[from] crate::export::ExportError),
    /// What it stands on is gone.
    #[error("what jail {name} stands on is gone: {base}")]
    BaseGone {
        /// The jail.
        name: JailName,
        /// The image or directory.
        base: String,
    },
}

impl NamedError {
    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Copy(error) => error.kind(),
            Self::Start { .. } => Kind::KernelRefused,
            Self::Copying { .. } => Kind::Internal,
            Self::NoSuchJail { .. }
            | Self::NoJailOf { .. }
            | Self::NoLog { .. }
            | Self::BaseGone { .. } => Kind::NotFound,
            Self::Exists { .. }
            | Self::Running { .. }
            | Self::NotRunning { .. }
            | Self::FilesKept { .. } => Kind::User,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Store(error) => error.hints(),
            Self::Copy(error) => error.hints(),
            Self::NoSuchJail { name, others } if others.is_empty() => {
                vec![format!("jaula new {name} makes it")]
            }
            Self::NoSuchJail { others, .. } => vec![format!("there are: {}", others.join(", "))],
            Self::Exists { name } => vec![format!(
                "jaula sh {name} enters it; jaula rm {name} removes it"
            )],
            Self::NoJailOf { .. } => vec!["jaula ps lists what runs".to_owned()],
            Self::NoLog { .. } => {
                vec![
                    "runs that were started with --detach, and without --no-log, have one"
                        .to_owned(),
                ]
            }
            Self::Running { name, .. } => vec![format!(
                "jaula stop {name} ends it; jaula rm --force {name} ends and removes it"
            )],
            Self::FilesKept { kept, .. } => vec![format!("jaula ns rm {kept} lets go of them")],
            _ => Vec::new(),
        }
    }
}
