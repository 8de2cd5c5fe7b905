//! Addresses for a time, over a link: our client for a bridge, and our server for guests that ask.

mod client;
mod server;

pub use client::{AddressClient, Ended};
pub use server::{AddressServer, LeaseBook};

use crate::error::Kind;
use jaula_sys::SysError;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// The clock, in seconds; leases last longer than a process.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

/// A talk that could not be held.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// The link, or the right to its packets.
    #[error("no DHCP on {link}: {source}")]
    Link {
        /// The link.
        link: String,
        /// What the kernel said.
        source: SysError,
    },
    /// Nobody answered.
    #[error("no DHCP server answered on {link} within {seconds} s")]
    Silence {
        /// The link.
        link: String,
        /// How long it was waited.
        seconds: u64,
    },
    /// Leases that cannot be kept.
    #[error("{path}: {source}")]
    Book {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl DhcpError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            DhcpError::Link { source, .. } if source.errno.0 == 19 => Kind::NotFound,
            DhcpError::Link { .. } => Kind::KernelRefused,
            DhcpError::Silence { .. } => Kind::Network,
            DhcpError::Book { .. } => Kind::Internal,
        }
    }

    /// What the user may do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            DhcpError::Silence { .. } => Some(
                "a bridge needs a port to a network with a server; give a fixed address with --addr",
            ),
            _ => None,
        }
    }
}
