//! Names for the guests of a network: those of the guests themselves, and everybody else's by the host's own resolvers
//! (RFC 1035, 7766). It listens at the bridge's addresses only.

mod forward;
mod queue;
mod zone;

pub(crate) use forward::is_unknown;
pub use forward::{Forwarder, Listed, Watched};
pub use zone::{Decision, Zone};

use std::net::SocketAddr;

/// A forwarder that cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve names at {address}: {source}")]
pub struct DnsError {
    /// Where it was to listen.
    pub address: SocketAddr,
    /// Why not.
    pub source: std::io::Error,
}

impl DnsError {
    /// What the user may do.
    pub fn hint(&self) -> Option<&'static str> {
        (self.source.kind() == std::io::ErrorKind::AddrInUse).then_some(
            "another name server listens at that address, or at all of them: bind it to its own, or leave --dns out",
        )
    }
}
