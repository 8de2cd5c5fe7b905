//! A tree as something others can use: a directory or a tar archive.

use crate::error::{Kind, PathError};
use jaula_plan::step::Compression;
use std::path::PathBuf;

/// What a tree is exported to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportTarget {
    /// An ordinary tree; new, or an empty directory.
    Directory(PathBuf),
    /// A tar archive.
    Archive {
        /// The file.
        path: PathBuf,
        /// How it is compressed.
        compression: Compression,
    },
}

/// An export failed. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file operation.
    #[error(transparent)]
    Io(#[from] PathError),
}

impl ExportError {
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
