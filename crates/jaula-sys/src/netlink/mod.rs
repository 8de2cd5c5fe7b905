//! Links, addresses and routes (rtnetlink(7)), synchronously: requests are gathered in a [`Batch`], many go to the
//! kernel in one system call, and their answers are counted. A dozen kinds of message are spoken, so they are
//! written and read here; an attribute that is not known is passed over, whatever is in it.

mod address;
mod link;
mod neighbour;
mod queue;
mod route;
mod socket;
mod wire;

pub use address::{Address, AddressLife};
pub use link::{
    BondMode, Bridge, BridgeId, BridgeSet, Link, LinkSet, NewLink, NewLinkKind, Place, Port,
    PortSet,
};
pub use neighbour::Neighbour;
pub use queue::Qdisc;
pub use route::Route;
pub use socket::{Batch, Failed, Socket};

/// The most characters of a link's name (netdevice(7): `IFNAMSIZ` without its NUL).
pub const NAME_LIMIT: usize = 15;
