//! What can go wrong while a tree is written.

use crate::error::{Kind, PathError};
use crate::store::StoreError;
use std::path::PathBuf;

/// An export failed. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file operation.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The place is taken.
    #[error("{} is there already, and is no empty directory", jaula_plan::explain::shown(.path))]
    Occupied {
        /// The place.
        path: PathBuf,
    },
    /// A file of the tree has the name of something that is there.
    #[error("{} is there already", jaula_plan::explain::shown(.path))]
    Clash {
        /// Which.
        path: PathBuf,
    },
    /// Devices or programs in the directory would be without effect.
    #[error("{} is on a file system that is mounted nodev or noexec", jaula_plan::explain::shown(.path))]
    Inert {
        /// The directory.
        path: PathBuf,
    },
    /// An archive was to be written where a directory is.
    #[error("{} is a directory, and an archive was to be written", jaula_plan::explain::shown(.path))]
    IsDirectory {
        /// The place.
        path: PathBuf,
    },
    /// A file became shorter or longer while it was read.
    #[error("{} changed while it was read", jaula_plan::explain::shown(.path))]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A step of another verb.
    #[error("an export does not do: {step}")]
    Foreign {
        /// The step.
        step: String,
    },
}

impl ExportError {
    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Occupied { .. }
            | Self::Clash { .. }
            | Self::Inert { .. }
            | Self::IsDirectory { .. } => Kind::User,
            Self::Changed { .. } | Self::Foreign { .. } => Kind::Internal,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Store(error) => error.hints(),
            Self::Occupied { .. } => {
                vec!["name a directory that does not exist yet, or an empty one".to_owned()]
            }
            Self::IsDirectory { path } => {
                vec![format!(
                    "for a directory leave out the suffix; for an archive name a file in {}",
                    path.display()
                )]
            }
            Self::Io(error) if error.kind() == Kind::DiskFull => {
                vec!["free space, or write to another place".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}
