//! What a network's description can be refused for.

use std::net::IpAddr;

/// Why no firewall can be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirewallError {
    /// A link's name that cannot be part of the names in a table.
    #[error(
        "the name {name:?} cannot be used in a firewall: letters, digits, `-`, `_` and `.` only, at most 15"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A guest's address that is in none of the network's subnets.
    #[error("{address} is not in a subnet of {network}")]
    Elsewhere {
        /// The address.
        address: IpAddr,
        /// The network.
        network: String,
    },
    /// Two guests with the same address or the same card.
    #[error("{what} belongs to two guests of {network}")]
    Twice {
        /// The address, or the card's.
        what: String,
        /// The network.
        network: String,
    },
    /// Two published ports at the same place.
    #[error("port {port}/{protocol} is published twice in {network}")]
    PublishedTwice {
        /// The port of the host.
        port: u16,
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// The network.
        network: String,
    },
    /// A published port of a guest that has no address of its family.
    #[error("port {port} cannot be published: the guest has no address that fits")]
    NoAddress {
        /// The port of the host.
        port: u16,
    },
    /// A prefix that is longer than an address.
    #[error("/{prefix} is too long for {address}")]
    Prefix {
        /// The address.
        address: IpAddr,
        /// Its bits.
        prefix: u8,
    },
    /// Text that is no rule.
    #[error("{text:?} is not {what}")]
    Syntax {
        /// What was given.
        text: String,
        /// What was expected, with an example.
        what: &'static str,
    },
}
