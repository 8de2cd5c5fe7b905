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
    /// The format cannot hold something.
    #[error("{what} has no room for {why}: {}", jaula_plan::explain::shown(.path))]
    Limit {
        /// The format.
        what: &'static str,
        /// What it is that does not fit.
        why: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Files have more holes than an archive should fill with zeros.
    #[error("the files have too many holes to be written as zeros, {} among them", jaula_plan::explain::shown(.path))]
    Holes {
        /// The file that was too much.
        path: PathBuf,
    },
    /// Something is there that is not replaced.
    #[error("{} is there already, and is no regular file", jaula_plan::explain::shown(.path))]
    NoFile {
        /// The place.
        path: PathBuf,
    },
    /// The tree does not fit into an image of that size.
    #[error("{} bytes are not enough for the tree: {why}", .size)]
    Size {
        /// As asked.
        size: u64,
        /// What the writer said.
        why: String,
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
            | Self::IsDirectory { .. }
            | Self::Limit { .. }
            | Self::Holes { .. }
            | Self::NoFile { .. }
            | Self::Size { .. } => Kind::User,
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
            Self::Holes { .. } => {
                vec!["squashfs and ext4 keep holes: --format squashfs, --format ext4".to_owned()]
            }
            Self::NoFile { .. } => vec!["name a file that does not exist yet".to_owned()],
            Self::Size { .. } => {
                vec!["give more with --size, or leave it out and let jaula count".to_owned()]
            }
            Self::Io(error) if error.kind() == Kind::DiskFull => {
                vec!["free space, or write to another place".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}
