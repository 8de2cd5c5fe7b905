//! What can go wrong with an image of files of the host.

use crate::error::{Kind, PathError};
use crate::store::StoreError;
use jaula_plan::minimal::MinimalError;
use std::path::PathBuf;

/// No image was made. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum MinimalImageError {
    /// What was asked for, or what it needs.
    #[error(transparent)]
    Plan(#[from] MinimalError),
    /// A file operation.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file was replaced or written while it was copied.
    #[error("{} changed while it was read", jaula_plan::explain::shown(.path))]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Something else is where it is to be.
    #[error("{} is there already and is not {wanted}", jaula_plan::explain::shown(.path))]
    Conflict {
        /// The place.
        path: PathBuf,
        /// What is to be there.
        wanted: &'static str,
    },
    /// The file system cannot share the bytes.
    #[error("cannot share the bytes of {}", jaula_plan::explain::shown(.path))]
    Reflink {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// A directory keeps no binds.
    #[error("a directory cannot be filled with live files: they are bound when a jail starts")]
    LiveTree,
    /// A record that cannot be read or written.
    #[error("cannot read the record {}", jaula_plan::explain::shown(.path))]
    Record {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Nobody knows what was placed.
    #[error("there is no record of what {what} was made of")]
    NoRecord {
        /// The jail.
        what: String,
    },
    /// Somebody is in it.
    #[error("{} is in use: {by}", jaula_plan::explain::shown(.path))]
    InUse {
        /// The jail.
        path: PathBuf,
        /// By whom.
        by: String,
    },
    /// Others could exchange what is changed.
    #[error("{} is not safe: {}", jaula_plan::explain::shown(.path), said(.reasons))]
    Unsafe {
        /// The jail.
        path: PathBuf,
        /// Why.
        reasons: Vec<jaula_plan::minimal::Unsafe>,
    },
    /// The new content does not hold together.
    #[error("{} of its programs cannot be loaded in the new content: {}", .failed.len(), first(.failed))]
    SelfTest {
        /// Which, and why.
        failed: Vec<(PathBuf, String)>,
    },
    /// An old tree that does not go away.
    #[error(transparent)]
    Remove(crate::remove::RemoveError),
    /// This program is no ELF file as any machine has it.
    #[error("cannot tell which machine's programs run here")]
    Host,
}

fn said(reasons: &[jaula_plan::minimal::Unsafe]) -> String {
    let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    reasons.join("; ")
}

fn first(failed: &[(PathBuf, String)]) -> String {
    let first = failed
        .first()
        .map(|(path, why)| (jaula_plan::explain::shown(path), why));
    first
        .map(|(path, why)| format!("{path}: {why}"))
        .unwrap_or_default()
}

impl MinimalImageError {
    /// A jail that is the root of these processes.
    pub(super) fn in_use(path: &std::path::Path, processes: &[String]) -> Self {
        Self::InUse {
            path: path.to_owned(),
            by: super::inspect::process_list(processes),
        }
    }

    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Plan(
                MinimalError::Missing { .. }
                | MinimalError::Library { .. }
                | MinimalError::Program { .. },
            ) => Kind::NotFound,
            Self::Plan(MinimalError::Host(error)) => crate::error::kind_of_io(&error.source),
            Self::Plan(_) => Kind::User,
            Self::Io(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Changed { .. } => Kind::Verification,
            Self::Conflict { .. } | Self::LiveTree => Kind::User,
            Self::Reflink { .. } => Kind::KernelRefused,
            Self::Record { .. } | Self::Remove(_) => Kind::Internal,
            Self::NoRecord { .. } => Kind::NotFound,
            Self::InUse { .. } | Self::Unsafe { .. } => Kind::User,
            Self::SelfTest { .. } => Kind::Verification,
            Self::Host => Kind::Internal,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Plan(error) => error.hint().map(str::to_owned).into_iter().collect(),
            Self::Store(error) => error.hints(),
            Self::Changed { .. } => vec!["try again when nothing is being installed".to_owned()],
            Self::Conflict { .. } => {
                vec![
                    "the host's directories are laid out otherwise; take an empty directory"
                        .to_owned(),
                ]
            }
            Self::Reflink { .. } => {
                vec!["both must be on one file system that can, as btrfs or XFS; --copy always works".to_owned()]
            }
            Self::NoRecord { .. } => {
                vec!["only jails made by --with, jk_init or jk_cp can be updated so".to_owned()]
            }
            Self::InUse { .. } => {
                vec!["end what runs in it, and unmount what is mounted; --in-use lets programs go on in the old one".to_owned()]
            }
            Self::Unsafe { .. } => {
                vec!["let nobody else write there; jaula check names all that is wrong".to_owned()]
            }
            Self::SelfTest { .. } => vec!["the jail is as it was".to_owned()],
            Self::LiveTree => {
                vec!["jaula new NAME --with … --live makes a named jail of them".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}
