use crate::error::{Kind, kind_of_io};
use jaula_repo::deb::archive::DebError;
use jaula_repo::tar::TarError;
use std::io;
use std::path::PathBuf;

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A system call on a path of the tree.
    #[error("cannot {action} {path} in the new tree")]
    Tree {
        /// What was attempted.
        action: &'static str,
        /// The path in the tree.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// What is kept of an unpacked package.
    #[error("cannot keep the unpacked package {package}")]
    Keep {
        /// The package.
        package: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The archive's file itself.
    #[error("cannot read {}", jaula_plan::explain::shown(.path))]
    Archive {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The package is not what the index said.
    #[error("package {package} is not the one that the archive's index lists: {what}")]
    Altered {
        /// The package.
        package: String,
        /// Which of size and digest, or which field.
        what: &'static str,
        /// The file, to be removed from the store.
        path: PathBuf,
    },
    /// The package's format.
    #[error("package {package} cannot be unpacked")]
    Deb {
        /// The package.
        package: String,
        /// What is wrong.
        #[source]
        source: DebError,
    },
    /// A tar archive's format.
    #[error("the archive{} cannot be unpacked", of(package))]
    Tar {
        /// The package it belongs to, if any.
        package: Option<String>,
        /// What is wrong.
        #[source]
        source: TarError,
    },
    /// Two packages bring the same file and neither says that it replaces the other.
    #[error("packages {first} and {second} both bring {path}, and neither replaces the other")]
    Conflict {
        /// The one that comes first in unpack order.
        first: String,
        /// The other.
        second: String,
        /// The path.
        path: String,
    },
    /// One package has a directory where another has something else.
    #[error("{path} is a directory in package {directory} and none in package {other}")]
    Shape {
        /// The path.
        path: String,
        /// Who has a directory there.
        directory: String,
        /// Who has not.
        other: String,
    },
    /// A hard link to a file that another package replaced.
    #[error("package {package}: {path} is a hard link to {target}, which another package replaces")]
    LostTarget {
        /// The package.
        package: String,
        /// The link.
        path: String,
        /// What it should be linked to.
        target: String,
    },
    /// A device node where none may be.
    #[error("{path} is a device node{}", of(package))]
    Device {
        /// The path.
        path: String,
        /// The package it belongs to, if any.
        package: Option<String>,
    },
    /// A file of the tree's dpkg database that makes no sense.
    #[error("{file} in the new tree makes no sense: {line:?}")]
    Database {
        /// The file.
        file: &'static str,
        /// The line.
        line: String,
    },
}

fn of(package: &Option<String>) -> String {
    package
        .as_ref()
        .map(|package| format!(" of package {package}"))
        .unwrap_or_default()
}

impl UnpackError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Tree { source, .. }
            | Self::Archive { source, .. }
            | Self::Keep { source, .. } => kind_of_io(source),
            Self::Tar {
                source: TarError::Read { source, .. },
                ..
            } if kind_of_io(source) == Kind::DiskFull => Kind::DiskFull,
            _ => Kind::Verification,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Altered { .. } => vec![
                "the file was removed; try again, or use another mirror with --mirror".to_owned(),
            ],
            Self::Conflict { second, .. } => vec![format!(
                "leave one of them out, for example with --exclude {second}"
            )],
            _ => Vec::new(),
        }
    }
}
