//! A simulated network as a file says it: LANs, routers, hosts and links between them, every value with its place.

mod read;
mod schema;

pub use crate::spec::recipe::tree::MAX_BYTES;
pub use read::parse;

use crate::names::{HostName, JailName, LinkName};
use crate::net::address::Cidr;
use crate::spec::recipe::{Place, RecipeError, What};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// The most nodes of a lab: each holds a descriptor of a process.
pub const MAX_NODES: usize = 1000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// Where.
    pub place: Place,
    /// What.
    pub value: T,
}

/// How slow, late and lossy a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// Bits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// Microseconds that a packet takes, one way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<u32>,
    /// Of a million packets, how many are lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<u32>,
}

impl Shape {
    /// Whether it is as any link is.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a node's files come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum NodeRoot {
    /// The host's own programs.
    #[default]
    Host,
    /// An image of the store, by the words of its reference.
    Image(String),
    /// A directory.
    Directory(PathBuf),
}

/// A LAN: everything on it hears everything else on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanSpec {
    /// Its name, which is that of its switch.
    pub name: At<LinkName>,
    /// Its networks, at most one a family; chosen when there is none.
    pub subnets: Vec<At<Cidr>>,
    /// Whether its switch speaks the spanning tree protocol.
    pub stp: bool,
    /// Its largest packet.
    pub mtu: Option<u32>,
    /// What its cables are like.
    pub shape: Shape,
}

/// A router or a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name.
    pub name: At<HostName>,
    /// Whether it hands packets on.
    pub router: bool,
    /// Whether it finds its ways by OSPF instead of being given them.
    pub ospf: bool,
    /// The LANs it is on.
    pub lans: Vec<At<String>>,
    /// Its addresses; each is of one of its LANs or links.
    pub addresses: Vec<At<IpAddr>>,
    /// The router that gets what has no other way: an address, or a name.
    pub gateway: Option<At<String>>,
    /// Routes by hand: to, and by which address.
    pub routes: Vec<At<(Cidr, IpAddr)>>,
    /// The LANs that see its own address instead of those behind it.
    pub nat: Vec<At<String>>,
    /// Its files.
    pub root: NodeRoot,
    /// What it runs from the start.
    pub run: Vec<String>,
}

/// A cable of its own: between two nodes, a node and a LAN, or two LANs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSpec {
    /// Where it stands.
    pub place: Place,
    /// What it joins.
    pub ends: [At<String>; 2],
    /// Its networks when both ends are nodes; chosen when there is none.
    pub subnets: Vec<At<Cidr>>,
    /// Its largest packet.
    pub mtu: Option<u32>,
    /// What it is like.
    pub shape: Shape,
}

/// What a check of the lab expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectSpec {
    /// The node that asks.
    pub from: At<String>,
    /// The node that is asked.
    pub to: At<String>,
    /// Whether it is to answer.
    pub reach: bool,
}

/// A lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabSpec {
    /// Its name; the file's without its ending unless it says one.
    pub name: JailName,
    /// Whether ways between networks are found, or only those given are there.
    pub auto_routes: bool,
    /// Whether parts without a connection to the rest are meant.
    pub islands: bool,
    /// Leave out what this kernel cannot do, aloud.
    pub best_effort: bool,
    /// The LANs.
    pub lans: Vec<LanSpec>,
    /// The nodes, in the order of the file.
    pub nodes: Vec<NodeSpec>,
    /// The cables.
    pub links: Vec<LinkSpec>,
    /// What a check expects; that all reach all when there is nothing.
    pub expects: Vec<ExpectSpec>,
}

/// What is wrong with a lab.
#[derive(Debug, thiserror::Error)]
pub enum Mistake {
    /// What is wrong with any such file.
    #[error("{0}")]
    Written(What),
    /// A name that two have.
    #[error("there is a {what} {name} already, in line {line}")]
    Duplicate {
        /// `lan`, `router`, `host`.
        what: &'static str,
        /// The name.
        name: String,
        /// Where the first is.
        line: usize,
    },
    /// A name that nobody has.
    #[error("there is no {what} {name:?}{}", .nearest.as_ref().map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    Unknown {
        /// `LAN`, `node`.
        what: &'static str,
        /// As written.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// A node, or several, that nothing leads to.
    #[error("{name} cannot be reached from {other}: no LAN, link or router joins them")]
    Unreachable {
        /// It.
        name: String,
        /// Any of the rest.
        other: String,
    },
    /// Networks that share addresses.
    #[error("{subnet} overlaps {other}, which is that of {owner}")]
    Overlap {
        /// This.
        subnet: Cidr,
        /// The other.
        other: Cidr,
        /// Whose that is.
        owner: String,
    },
    /// An address that is of none of a node's networks.
    #[error("{address} is of none of the networks of {node}: {networks}")]
    Outside {
        /// The address.
        address: IpAddr,
        /// Whose it was to be.
        node: String,
        /// What it has.
        networks: String,
    },
    /// An address that two have.
    #[error("{address} is that of {owner} already")]
    Taken {
        /// The address.
        address: IpAddr,
        /// Whose it is.
        owner: String,
    },
    /// More nodes than addresses.
    #[error("{subnet} has no address left for {node}")]
    Full {
        /// The network.
        subnet: Cidr,
        /// Who gets none.
        node: String,
    },
    /// Frames would go round for ever.
    #[error("{a} and {b} are joined already: frames would go round for ever")]
    Loop {
        /// A LAN.
        a: String,
        /// The other.
        b: String,
    },
    /// A queue that the kernel has not.
    #[error("this kernel has no {queue}, so a link cannot have a {what}")]
    NoQueue {
        /// `netem`, `tbf`.
        queue: &'static str,
        /// `delay`, `loss`, `rate`.
        what: &'static str,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

/// What is wrong with a lab, and where.
#[derive(Debug)]
pub struct LabError {
    /// Where.
    pub place: Place,
    /// What.
    pub what: Mistake,
}

impl LabError {
    /// What the user may do.
    pub fn hint(&self) -> Option<&'static str> {
        match &self.what {
            Mistake::Unreachable { .. } => {
                Some("islands = true at the top of the file says that it is meant")
            }
            Mistake::Loop { .. } => {
                Some("stp = true on one of the LANs lets its switch break the loop")
            }
            Mistake::NoQueue { .. } => Some(
                "best-effort = true at the top of the file leaves out what this kernel cannot do",
            ),
            _ => None,
        }
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl std::error::Error for LabError {}

impl From<RecipeError> for LabError {
    fn from(error: RecipeError) -> Self {
        Self {
            place: error.place,
            what: Mistake::Written(error.what),
        }
    }
}
