use crate::error::{Kind, kind_of_io};
use std::io;
use std::path::PathBuf;

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody answers there.
    #[error("cannot reach {url}")]
    Unreachable {
        /// The address.
        url: String,
        /// Why not.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server has no such file.
    #[error("{url} does not exist")]
    NotFound {
        /// The address.
        url: String,
    },
    /// The server says something else than yes or no.
    #[error("{url}: the server answers with status {status}")]
    Status {
        /// The address.
        url: String,
        /// The status (RFC 9110).
        status: u16,
    },
    /// The connection ended, or the file is too short.
    #[error("{url}: only {got} of {expected} bytes came")]
    Truncated {
        /// The address.
        url: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that were expected.
        expected: u64,
    },
    /// More bytes than there may be.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge {
        /// The address.
        url: String,
        /// The most that is taken.
        limit: u64,
    },
    /// The file is not the one that the signed index lists.
    #[error("{url}: SHA-256 {got} instead of {expected}")]
    Altered {
        /// The address.
        url: String,
        /// In hexadecimal.
        expected: String,
        /// In hexadecimal.
        got: String,
    },
    /// Reading from the connection or from a `file:` address.
    #[error("cannot read {url}")]
    Read {
        /// The address.
        url: String,
        /// What was said.
        #[source]
        source: io::Error,
    },
    /// Writing into the store.
    #[error("cannot write {}", jaula_plan::explain::shown(.path))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A certificate to be shown to servers.
    #[error("cannot use the certificate {}: {what}", jaula_plan::explain::shown(.path))]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// An address that is none, or a proxy's.
    #[error("{url:?} is no address to fetch from")]
    BadAddress {
        /// The address.
        url: String,
    },
    /// Something else failed, and nobody wants it any more.
    #[error("{url} was not fetched to the end")]
    Stopped {
        /// The address.
        url: String,
    },
    /// The network may not be used.
    #[error("{url} is not in the store, and the network may not be used")]
    Offline {
        /// The address.
        url: String,
    },
}

impl FetchError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Altered { .. } => Kind::Verification,
            Self::Write { source, .. } => kind_of_io(source),
            Self::BadAddress { .. } | Self::Certificate { .. } => Kind::User,
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Kind::KernelRefused
            }
            _ => Kind::Network,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Unreachable { .. }
            | Self::Truncated { .. }
            | Self::Status { .. }
            | Self::Read { .. } => {
                "look at the network connection, or use another mirror with --mirror"
            }
            Self::NotFound { .. } => {
                "the mirror may be in the middle of an update, or may not carry this; try another with --mirror"
            }
            Self::Altered { .. } | Self::TooLarge { .. } => {
                "do not use what this mirror gives; use another with --mirror"
            }
            Self::Write { source, .. } if kind_of_io(source) == Kind::DiskFull => {
                "free space, or use another place with --store DIR"
            }
            Self::Offline { .. } => "run it once with the network",
            Self::Certificate { .. } => "name PEM files with --tls-cert and --tls-key",
            Self::Write { .. } | Self::BadAddress { .. } | Self::Stopped { .. } => {
                return Vec::new();
            }
        };
        vec![hint.to_owned()]
    }

    /// Whether the same request may do better in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Truncated { .. } => true,
            Self::Read { source, .. } => !matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound
            ),
            Self::Status { status, .. } => *status >= 500 || *status == 429 || *status == 408,
            _ => false,
        }
    }
}
