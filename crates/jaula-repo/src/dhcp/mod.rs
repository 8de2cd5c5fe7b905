//! DHCP for IPv4 (RFC 2131, 2132, 3396, 3397, 3442): messages, and both ends of the talk as machines without a clock or
//! a socket. What comes from the network is hostile: every length is checked, what is not understood is passed over or
//! refused, nothing panics.

mod client;
mod lease;
mod message;
mod names;
mod options;
mod server;
mod udp;

#[cfg(test)]
mod tests;

pub use client::{Client, ClientEvent, ClientOutput, News, Outgoing};
pub use lease::{Lease, Route};
pub use message::{Message, MessageKind};
pub(crate) use names::write as written_names;
pub use options::Options;
pub use server::{Answer, Held, MOST as MOST_LEASES, Server, ServerSettings};
pub use udp::{CLIENT_PORT, Datagram, SERVER_PORT, datagram, read_datagram};

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DhcpError {
    /// Fewer bytes than a header has, or more than a packet may have.
    #[error("a message of {length} bytes")]
    Length {
        /// How many there are.
        length: usize,
    },
    /// Neither a request nor a reply.
    #[error("operation {0}")]
    Operation(u8),
    /// Not Ethernet with addresses of six bytes.
    #[error("hardware type {kind} with addresses of {length} bytes")]
    Hardware {
        /// The type.
        kind: u8,
        /// Bytes of an address.
        length: u8,
    },
    /// The options do not start as they have to, so it is BOOTP or nothing (RFC 951).
    #[error("no options of DHCP")]
    Cookie,
    /// An option that says it is longer than what is there.
    #[error("option {0} is cut off")]
    CutOff(u8),
    /// No message type, or one that does not exist.
    #[error("no message type")]
    Kind,
}
