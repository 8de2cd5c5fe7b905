//! Named jails: an image, a layer that lasts, and settings.

use crate::error::{Kind, PathError};


/// An operation on a named jail failed. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum NamedError {
    /// A file operation.
    #[error(transparent)]
    Io(#[from] PathError),
}

impl NamedError {
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
