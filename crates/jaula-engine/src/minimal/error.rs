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
    /// This program is no ELF file as any machine has it.
    #[error("cannot tell which machine's programs run here")]
    Host,
}

impl MinimalImageError {
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
            Self::Host => Kind::Internal,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Plan(error) => error.hint().map(str::to_owned).into_iter().collect(),
            Self::Store(error) => error.hints(),
            Self::Changed { .. } => vec!["try again when nothing is being installed".to_owned()],
            _ => Vec::new(),
        }
    }
}
