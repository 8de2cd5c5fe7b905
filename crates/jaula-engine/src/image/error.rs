use super::mismatch::Mismatch;
use crate::configure::ConfigureError;
use crate::error::{Kind, PathError};
use crate::fetch::FetchError;
use crate::store::StoreError;
use crate::unpack::UnpackError;
use jaula_plan::rootfs::SourcesError;
use jaula_repo::deb::packages::IndexError;
use jaula_repo::deb::release::ReleaseError;
use jaula_repo::solve::SolveError;
use jaula_repo::verify::{KeyringError, VerifyError};
use std::path::PathBuf;

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Where the packages come from.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// Fetching.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A keyring.
    #[error("keyring {keyring} cannot be used")]
    Keyring {
        /// Which.
        keyring: String,
        /// What is wrong.
        #[source]
        source: KeyringError,
    },
    /// Nobody who may has signed the index.
    #[error("{url} is not signed by {}", .keyrings.join(", "))]
    Signature {
        /// The Release file.
        url: String,
        /// The keyrings it was checked against.
        keyrings: Vec<String>,
        /// What is wrong.
        #[source]
        source: VerifyError,
    },
    /// The Release file: unreadable, expired, from the future.
    #[error("{url} cannot be used")]
    Release {
        /// The Release file.
        url: String,
        /// What is wrong.
        #[source]
        source: ReleaseError,
    },
    /// The Release file is of something else, or lacks what is needed.
    #[error("{url}: {what}")]
    Mismatch {
        /// The Release file.
        url: String,
        /// What is missing or different.
        what: Mismatch,
    },
    /// The index of packages.
    #[error("{url} cannot be read")]
    Index {
        /// The index.
        url: String,
        /// What is wrong.
        #[source]
        source: IndexError,
    },
    /// Choosing packages.
    #[error(transparent)]
    Solve(#[from] SolveError),
    /// Unpacking.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The packages' scripts.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the host or of the new tree.
    #[error(transparent)]
    Io(#[from] PathError),
}

impl BuildError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Sources(_) => Kind::User,
            Self::Fetch(error) => error.kind(),
            Self::Keyring { .. }
            | Self::Signature { .. }
            | Self::Release { .. }
            | Self::Index { .. } => Kind::Verification,
            Self::Mismatch { .. } => Kind::NotFound,
            Self::Solve(SolveError::Unknown(_)) => Kind::NotFound,
            Self::Solve(_) => Kind::User,
            Self::Unpack(error) => error.kind(),
            Self::Configure(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Io(error) => error.kind(),
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        let one = |hint: &str| vec![hint.to_owned()];
        match self {
            Self::Sources(error) => error.hint().into_iter().collect(),
            Self::Fetch(error) => error.hints(),
            Self::Keyring { .. } => one("name another keyring with --keyring"),
            Self::Signature { .. } => {
                one("if the mirror is right, name the keyring of its archive with --keyring")
            }
            Self::Release {
                source: ReleaseError::Expired { .. },
                ..
            } => one(
                "the mirror is no longer updated, or the clock of this machine is wrong; try another with --mirror",
            ),
            Self::Solve(SolveError::Unknown(_)) => {
                one("look at the name, or at the components (main is the usual one)")
            }
            Self::Solve(_) => {
                one("ask for other packages or versions with --include and --exclude")
            }
            Self::Mismatch { .. } => {
                one("look at the suite's name and the mirror's address; --mirror names another")
            }
            Self::Index { .. } => {
                one("do not use what this mirror gives; use another with --mirror")
            }
            Self::Release { .. } => one(
                "the mirror is broken or its archive is not Debian's kind; try another with --mirror",
            ),
            Self::Io(PathError {
                action: "read the keyring",
                ..
            }) => one("name another keyring with --keyring"),
            Self::Unpack(error) => error.hints(),
            Self::Configure(error) => error.hints(),
            Self::Store(error) => error.hints(),
            Self::Io(_) => Vec::new(),
        }
    }

    /// A file that must not stay in the store.
    pub(super) fn bad_file(&self) -> Option<&PathBuf> {
        match self {
            Self::Unpack(UnpackError::Altered { path, .. }) => Some(path),
            _ => None,
        }
    }
}
