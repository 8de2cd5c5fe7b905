//! What jaula keeps.

use crate::error::{Kind, PathError};

/// Reading or changing the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation.
    #[error(transparent)]
    Io(#[from] PathError),
}

impl StoreError {
    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io(error) => error.kind(),
        }
    }
}
