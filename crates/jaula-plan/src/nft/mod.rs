//! Tables of nf_tables, as data: what a network's firewall is, before anything is sent to the kernel. Its text is what
//! `nft` reads and lists (nft(8)).

mod check;
mod error;
mod frames;
pub mod network;
mod rules;
mod text;

#[cfg(test)]
mod tests;

pub use error::FirewallError;
pub use frames::link_local;
pub use network::{Access, Firewall, Guest, Ports, Protocol, Publish, Subnet, Target};
pub use rules::{leads, list, may_be_named, relayed_to, sets_of};

use std::net::{Ipv4Addr, Ipv6Addr};

/// A family of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 and IPv6 packets.
    Inet,
    /// Frames that a bridge handles.
    Bridge,
}

/// A table: all of a network's in one family, replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Its sets.
    pub sets: Vec<Set>,
    /// Its chains; one that is jumped to comes before who jumps.
    pub chains: Vec<Chain>,
}

/// What kind of base chain it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Decides what passes.
    Filter,
    /// Sees the first packet of a connection and changes its addresses.
    Nat,
}

/// When a base chain is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before it is known where the packet goes.
    Prerouting,
    /// For this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// When it leaves.
    Postrouting,
}

/// A chain of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where it hangs, and its priority; none for one that is jumped to. What no rule decides is accepted: others'
    /// tables are asked as well.
    pub base: Option<(Kind, Hook, i32)>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A rule: its statements, from the left, until one does not match.
pub type Rule = Vec<Statement>;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The link that it came by.
    InLink,
    /// The link that it leaves by.
    OutLink,
    /// The address of the card that sent it.
    EtherSource,
    /// IPv4 or IPv6, as `NFPROTO_*`.
    IpVersion,
    /// IPv4 source.
    Ip4Source,
    /// IPv4 destination.
    Ip4Destination,
    /// IPv6 source.
    Ip6Source,
    /// IPv6 destination.
    Ip6Destination,
    /// Who says in ARP who he is, by card.
    ArpEther,
    /// Who says in ARP who he is, by address.
    ArpSource,
    /// The protocol above IP.
    Transport,
    /// Source port of that protocol.
    SourcePort(Protocol),
    /// Destination port of that protocol.
    DestinationPort(Protocol),
    /// Type of an ICMP message.
    Icmp,
    /// Type of an ICMPv6 message.
    Icmp6,
    /// The address that a neighbour advertisement is about (RFC 4861 section 4.4).
    Icmp6Target,
    /// Whether the destination is this host's own.
    DestinationType,
    /// What the connection is.
    ConnectionState,
    /// What was done to the connection.
    ConnectionStatus,
}

/// What it is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A link's name.
    Link(String),
    /// A card's address.
    Mac([u8; 6]),
    /// IPv4 addresses with the same first bits.
    Net4(Ipv4Addr, u8),
    /// IPv6 addresses with the same first bits.
    Net6(Ipv6Addr, u8),
    /// Ports, both included.
    Ports(u16, u16),
    /// A number with a word of its own for `nft`: of a protocol, a type, a version.
    Number(u8),
    /// Bits, of which one is set.
    Bits(u32),
    /// An address of this host (`RTN_LOCAL`).
    Local,
}

/// One statement of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// Matches what is so, or is not.
    Is {
        /// What is looked at.
        field: Field,
        /// Whether it must not be so.
        not: bool,
        /// What it is compared with.
        value: Value,
    },
    /// Matches what is in a set, or is not.
    In {
        /// What is looked at, in the order of the set's elements.
        fields: Vec<Field>,
        /// Whether it must not be there.
        not: bool,
        /// The set's name.
        set: String,
    },
    /// Matches the first packet of a TCP connection.
    Opens,
    /// Matches what is over so many bytes a second.
    Over {
        /// Bytes a second.
        rate: u64,
        /// Bytes more for a moment.
        burst: u32,
    },
    /// Counts.
    Counter,
    /// This hook is done with it.
    Accept,
    /// It is gone.
    Drop,
    /// Back to the chain that jumped here.
    Return,
    /// On with another chain, then back.
    Jump(String),
    /// The sender learns that it is forbidden.
    Reject,
    /// It goes to another address, and another port unless none is given.
    To(std::net::SocketAddr, bool),
    /// The address of the link that it leaves by becomes its source.
    Masquerade,
}

/// A part of a set's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// A link's name.
    Link,
    /// A card's address.
    Mac,
    /// An IPv4 address.
    Ip4,
    /// An IPv6 address.
    Ip6,
}

/// A set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// What its elements are made of.
    pub key: Vec<KeyType>,
    /// Whether elements come with an end, from somebody else: then there are none here.
    pub timeout: bool,
    /// The elements; addresses with all their bits.
    pub elements: Vec<Vec<Value>>,
}
