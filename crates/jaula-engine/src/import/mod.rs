//! Images from what others made: a tar archive, a directory.

use crate::error::{Kind, PathError};


/// An import failed. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file operation.
    #[error(transparent)]
    Io(#[from] PathError),
}

impl ImportError {
    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io(error) => error.kind(),
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}
