//! What can go wrong with an archive or a directory as an image.

use crate::error::{Kind, PathError};
use crate::store::StoreError;
use crate::unpack::UnpackError;
use jaula_repo::compress::CompressError;
use std::path::PathBuf;

/// An import failed. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file operation.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Not a file.
    #[error("{} is no archive", jaula_plan::explain::shown(.path))]
    NoArchive {
        /// The path.
        path: PathBuf,
    },
    /// Its compression.
    #[error("cannot read {}", jaula_plan::explain::shown(.path))]
    Format {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: CompressError,
    },
    /// Its content.
    #[error("cannot take {} into the store", jaula_plan::explain::shown(.path))]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: UnpackError,
    },
    /// Its bytes were others the second time.
    #[error("{} changed while it was read", jaula_plan::explain::shown(.path))]
    Changed {
        /// The archive.
        path: PathBuf,
    },
    /// A directory without a root file system.
    #[error("{} cannot be the root of a jail: it is empty, or the host's own root", jaula_plan::explain::shown(.path))]
    NoTree {
        /// The directory.
        path: PathBuf,
    },
}

impl ImportError {
    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Archive { source, .. } => source.kind(),
            Self::NoArchive { .. } | Self::NoTree { .. } => Kind::User,
            Self::Format { .. } | Self::Changed { .. } => Kind::Verification,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Store(error) => error.hints(),
            Self::Archive { source, .. } => source.hints(),
            Self::NoTree { .. } => {
                vec!["without a reference, jaula run uses the host's own programs".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}
