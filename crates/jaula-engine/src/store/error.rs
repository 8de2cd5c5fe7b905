//! What can go wrong in the store.

use crate::error::{Kind, PathError};
use crate::journal::UndoError;
use jaula_plan::names::{Digest, JailName};
use std::path::PathBuf;

/// Reading or changing the store failed. A change that failed is undone.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The directory belongs to somebody else, or others may write in it.
    #[error(
        "the store {} cannot be trusted: it belongs to user {owner} with mode {mode:o}, not to {own} alone",
        jaula_plan::explain::shown(.path)
    )]
    NotOurs {
        /// The store.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
        /// The caller.
        own: u32,
    },
    /// It was filled with another number of identifiers.
    #[error(
        "the store {} was filled {}",
        jaula_plan::explain::shown(.path),
        if *recorded {
            "with one identifier, and now there are more"
        } else {
            "with subordinate identifiers, and now there are none"
        }
    )]
    OtherOwners {
        /// The store.
        path: PathBuf,
        /// Whether owners are on record in it.
        recorded: bool,
    },
    /// A file of the store is not what it should be.
    #[error("{} is damaged", jaula_plan::explain::shown(.path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        #[source]
        source: serde_json::Error,
    },
    /// The image is not there.
    #[error("there is no image {digest}")]
    NoImage {
        /// The image asked for.
        digest: Digest,
    },
    /// A jail of the store stands on the image.
    #[error("image {digest} is in use by jail {jail}")]
    UsedByJail {
        /// The image.
        digest: Digest,
        /// The jail.
        jail: JailName,
    },
    /// Something runs from the image.
    #[error("image {digest} is in use by a running jail")]
    Running {
        /// The image.
        digest: Digest,
    },
    /// What was begun could not be taken back whole; `recover` tries again.
    #[error("something was left behind")]
    Left(#[from] UndoError),
}

impl StoreError {
    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io(error) => error.kind(),
            Self::NotOurs { .. }
            | Self::OtherOwners { .. }
            | Self::UsedByJail { .. }
            | Self::Running { .. } => Kind::User,
            Self::NoImage { .. } => Kind::NotFound,
            Self::Damaged { .. } | Self::Left(_) => Kind::Internal,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NotOurs { path, .. } => {
                format!(
                    "use another place with --store DIR, or: chmod go-w {}",
                    jaula_plan::explain::word(path)
                )
            }
            Self::OtherOwners { path, .. } => format!(
                "use another place with --store DIR, or move {} away",
                jaula_plan::explain::word(path)
            ),
            Self::UsedByJail { jail, .. } => format!("jaula rm {jail} removes the jail"),
            Self::Running { .. } => "try again when it has ended".to_owned(),
            Self::Left(_) => "jaula recover removes it".to_owned(),
            Self::Io(error) if error.kind() == Kind::DiskFull => {
                "free space, or use another place with --store DIR".to_owned()
            }
            _ => return Vec::new(),
        };
        vec![hint]
    }
}
