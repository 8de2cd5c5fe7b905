//! Accounts that could not be changed.

use crate::error::{Kind, PathError};
use jaula_plan::account::AccountError;
use jaula_plan::explain::shown;
use std::path::PathBuf;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// A file operation.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The plan.
    #[error(transparent)]
    Plan(#[from] AccountError),
    /// Somebody else changes accounts.
    #[error("{} is locked{}", shown(.path), .pid.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    Locked {
        /// The file.
        path: PathBuf,
        /// Who, if he says so.
        pid: Option<i32>,
    },
    /// The kernel has no lock.
    #[error(transparent)]
    Kernel(#[from] jaula_sys::SysError),
    /// What is to change is no plain file.
    #[error("{} is no plain file", shown(.path))]
    NotPlain {
        /// The file.
        path: PathBuf,
    },
    /// Something changed since it was looked at.
    #[error("{} is not as it was a moment ago", shown(.path))]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Something in a home that is neither file, directory nor link, or too deep.
    #[error("{} cannot be copied", shown(.path))]
    Odd {
        /// What.
        path: PathBuf,
    },
    /// The user is out, and this is still there.
    #[error("the account is gone, and {} could not be removed whole", shown(.path))]
    Home {
        /// The home.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<crate::remove::RemoveError>,
    },
    /// A step failed; those before it were taken back.
    #[error("step {number} of {count}: {step}")]
    Step {
        /// From 1.
        number: usize,
        /// Of all.
        count: usize,
        /// What it was to do.
        step: String,
        /// How much was taken back, in words.
        undone: String,
        /// Why.
        #[source]
        source: Box<AccountsError>,
    },
    /// A login would be refused.
    #[error("a login would be refused: {0}")]
    Refused(#[from] jaula_plan::account::LoginRefusal),
    /// Nobody can be let in by the service.
    #[error(transparent)]
    Entry(#[from] super::EntryError),
    /// Only root changes accounts.
    #[error("only root changes accounts")]
    NotRoot,
}

impl AccountsError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Path(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Plan(_) | Self::NotPlain { .. } | Self::Odd { .. } => Kind::User,
            Self::Home { .. } => Kind::KernelRefused,
            Self::Locked { .. } | Self::Changed { .. } => Kind::User,
            Self::Refused(_) => Kind::User,
            Self::Kernel(_) | Self::NotRoot | Self::Entry(_) => Kind::KernelRefused,
            Self::Step { source, .. } => source.kind(),
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Plan(error) => error.hint().into_iter().collect(),
            Self::Locked { .. } => {
                vec!["wait until the other program has ended, and try again".to_owned()]
            }
            Self::Changed { .. } => vec!["try again".to_owned()],
            Self::NotRoot | Self::Entry(super::EntryError::NotRoot) => {
                vec!["run it as root".to_owned()]
            }
            Self::Step { source, undone, .. } => {
                let mut hints = source.hints();
                hints.push(undone.clone());
                hints
            }
            _ => Vec::new(),
        }
    }
}
