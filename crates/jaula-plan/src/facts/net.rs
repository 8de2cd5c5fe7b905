//! The networks of a network namespace: links, addresses and routes as the kernel tells them.

use crate::names::LinkName;
use crate::net::address::{Cidr, Mac};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// The identifier of a bridge (IEEE 802.1D-2004, 9.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BridgeId {
    /// Priority: the smaller becomes the root.
    pub priority: u16,
    /// Address.
    pub mac: Mac,
}

impl fmt::Display for BridgeId {
    /// As brctl(8) writes it: `8000.1c6f65a40690`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}.", self.priority)?;
        self.mac
            .0
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for BridgeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a bridge says of itself. Times and timers are hundredths of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)] // The words of IEEE 802.1D-2004, clause 9, as the kernel uses them.
pub struct BridgeFacts {
    pub id: BridgeId,
    pub stp: bool,
    pub forward_delay: u32,
    pub hello_time: u32,
    pub max_age: u32,
    pub ageing_time: u32,
    pub priority: u16,
    pub vlan_filtering: bool,
    pub root_id: BridgeId,
    pub root_port: u16,
    pub root_path_cost: u32,
    pub topology_change: bool,
    pub topology_change_detected: bool,
    pub hello_timer: u64,
    pub tcn_timer: u64,
    pub topology_change_timer: u64,
    pub gc_timer: u64,
}

/// What a bridge does with a port's frames (IEEE 802.1D-2004, 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum PortState {
    #[default]
    Disabled,
    Listening,
    Learning,
    Forwarding,
    Blocking,
}

impl PortState {
    /// By the kernel's number.
    pub fn of_number(number: u8) -> Self {
        match number {
            1 => Self::Listening,
            2 => Self::Learning,
            3 => Self::Forwarding,
            4 => Self::Blocking,
            _ => Self::Disabled,
        }
    }

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Listening => "listening",
            Self::Learning => "learning",
            Self::Forwarding => "forwarding",
            Self::Blocking => "blocking",
        }
    }
}

/// What a bridge says of one of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct PortFacts {
    pub number: u16,
    pub id: u16,
    pub state: PortState,
    pub priority: u16,
    pub cost: u32,
    pub hairpin: bool,
    pub learning: bool,
    pub isolated: bool,
    pub root_id: BridgeId,
    pub bridge_id: BridgeId,
    pub designated_port: u16,
    pub designated_cost: u16,
    pub topology_change_ack: bool,
    pub config_pending: bool,
    pub message_age_timer: u64,
    pub forward_delay_timer: u64,
    pub hold_timer: u64,
}

/// Whom a link is of, as far as its name or what is written on it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Maker {
    Jaula,
    Docker,
    Libvirt,
    Lxc,
    Podman,
}

impl Maker {
    /// By a bridge's name, as these programs choose them unless told otherwise.
    pub fn of_bridge(name: &LinkName) -> Option<Self> {
        let name = name.as_str();
        let hex =
            |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let numbered = |head: &str| {
            name.strip_prefix(head)
                .is_some_and(|tail| tail.bytes().all(|byte| byte.is_ascii_digit()))
        };
        if numbered("virbr") {
            Some(Self::Libvirt)
        } else if numbered("lxcbr") || numbered("lxdbr") || numbered("incusbr") {
            Some(Self::Lxc)
        } else if numbered("docker") || name.strip_prefix("br-").is_some_and(hex) {
            Some(Self::Docker)
        } else if numbered("podman") || numbered("cni-podman") {
            Some(Self::Podman)
        } else {
            None
        }
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Jaula => "jaula",
            Self::Docker => "docker",
            Self::Libvirt => "libvirt",
            Self::Lxc => "lxc",
            Self::Podman => "podman",
        }
    }
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkFacts {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: LinkName,
    /// Its driver's name, `bridge`, `veth`; none for hardware and the loopback.
    pub kind: Option<String>,
    /// Whether it is the loopback.
    pub loopback: bool,
    /// Whether it has frames of Ethernet.
    pub ethernet: bool,
    /// Whether it is a wireless card: in its ordinary mode it can be no port of a bridge.
    pub wireless: bool,
    /// Its address.
    pub mac: Option<Mac>,
    /// Its largest packet.
    pub mtu: u32,
    /// Whether it was set up.
    pub up: bool,
    /// Whether there is a carrier.
    pub carrier: bool,
    /// What it is a port of.
    pub master: Option<LinkName>,
    /// What it lies on, or its other end, where that is here.
    pub below: Option<LinkName>,
    /// Whether its other end is in another network namespace.
    pub leads_away: bool,
    /// What is written on it.
    pub alias: Option<String>,
    /// A VLAN's number.
    pub vlan: Option<u16>,
    /// Of a bridge.
    pub bridge: Option<BridgeFacts>,
    /// Of a port of a bridge.
    pub port: Option<PortFacts>,
}

/// What is written on links that are ours.
pub const MARK: &str = "jaula";

impl LinkFacts {
    /// A link that is up and nothing else, for tests and for what is about to be made.
    pub fn new(index: u32, name: LinkName) -> Self {
        Self {
            index,
            name,
            kind: None,
            loopback: false,
            ethernet: true,
            wireless: false,
            mac: None,
            mtu: 1500,
            up: true,
            carrier: true,
            master: None,
            below: None,
            leads_away: false,
            alias: None,
            vlan: None,
            bridge: None,
            port: None,
        }
    }

    /// What it is, in a word for a person.
    pub fn kind_word(&self) -> &str {
        match &self.kind {
            Some(kind) => kind,
            None if self.loopback => "loopback",
            None if self.wireless => "wireless card",
            None => "card",
        }
    }

    /// Whether we made it: it says so itself.
    pub fn is_ours(&self) -> bool {
        let mark = self
            .alias
            .as_deref()
            .and_then(|alias| alias.split(' ').next());
        mark == Some(MARK)
    }

    /// Who made it, where that can be told.
    pub fn maker(&self) -> Option<Maker> {
        if self.is_ours() {
            return Some(Maker::Jaula);
        }
        self.bridge.and(Maker::of_bridge(&self.name))
    }
}

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct AddressFacts {
    /// The link.
    pub link: LinkName,
    /// The address.
    pub address: Cidr,
    /// RT_SCOPE_…: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// IPv4's broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// For how long it is preferred and valid, in seconds; none: for ever.
    pub life: Option<(u32, u32)>,
    /// Whether the kernel or somebody else gave it for a time (RFC 4862, DHCP).
    pub passing: bool,
}

impl AddressFacts {
    /// A global address for ever.
    pub fn new(link: LinkName, address: Cidr) -> Self {
        let broadcast = match address.address {
            IpAddr::V4(four) if address.prefix < 31 => {
                let hosts = u32::MAX.checked_shr(u32::from(address.prefix)).unwrap_or(0);
                Some(Ipv4Addr::from_bits(four.to_bits() | hosts))
            }
            _ => None,
        };
        Self {
            link,
            address,
            scope: 0,
            broadcast,
            life: None,
            passing: false,
        }
    }
}

/// A route to hosts by one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct RouteFacts {
    /// The network.
    pub to: Cidr,
    /// The router.
    pub via: Option<IpAddr>,
    /// The link.
    pub link: LinkName,
    /// The address that packets are sent from.
    pub source: Option<IpAddr>,
    /// Of two, the smaller is taken.
    pub metric: Option<u32>,
    /// RTPROT_…: 2 is the kernel's own, 9 a router's advertisement.
    pub protocol: u8,
    /// RT_SCOPE_…
    pub scope: u8,
    /// 254 is the main table.
    pub table: u32,
    /// The router is on the link although no address says so.
    pub onlink: bool,
}

/// RTPROT_KERNEL: a route that comes and goes with an address.
pub const BY_KERNEL: u8 = 2;
/// RTPROT_RA: a route that a router advertised.
pub const BY_ROUTER: u8 = 9;
/// RTPROT_STATIC: a route that an administrator made.
pub const BY_HAND: u8 = 4;
/// RT_TABLE_MAIN
pub const MAIN_TABLE: u32 = 254;

impl RouteFacts {
    /// A route of the main table, made by hand.
    pub fn new(to: Cidr, via: Option<IpAddr>, link: LinkName) -> Self {
        let v4 = to.address.is_ipv4();
        Self {
            to,
            via,
            link,
            source: None,
            metric: None,
            protocol: BY_HAND,
            scope: if via.is_none() && v4 { 253 } else { 0 },
            table: MAIN_TABLE,
            onlink: false,
        }
    }
}

/// Everything of one network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct NetFacts {
    /// Links, by their numbers.
    pub links: Vec<LinkFacts>,
    /// Addresses.
    pub addresses: Vec<AddressFacts>,
    /// Routes of all tables but the local one.
    pub routes: Vec<RouteFacts>,
    /// Settings of the kernel, by the names that sysctl(8) uses.
    pub sysctls: BTreeMap<String, String>,
}

impl NetFacts {
    /// A link by its name.
    pub fn link(&self, name: &LinkName) -> Option<&LinkFacts> {
        self.links.iter().find(|link| link.name == *name)
    }

    /// The ports of a bridge, as it numbers them.
    pub fn ports<'a>(&'a self, bridge: &'a LinkName) -> Vec<&'a LinkFacts> {
        let ports = self.links.iter();
        let mut ports: Vec<_> = ports
            .filter(|link| link.master.as_ref() == Some(bridge))
            .collect();
        ports.sort_by_key(|link| link.port.map(|port| port.number));
        ports
    }

    /// The addresses of a link.
    pub fn addresses_of<'a>(
        &'a self,
        link: &'a LinkName,
    ) -> impl Iterator<Item = &'a AddressFacts> {
        self.addresses
            .iter()
            .filter(move |address| address.link == *link)
    }

    /// The routes by a link.
    pub fn routes_of<'a>(&'a self, link: &'a LinkName) -> impl Iterator<Item = &'a RouteFacts> {
        self.routes.iter().filter(move |route| route.link == *link)
    }

    /// The bridges, by their names.
    pub fn bridges(&self) -> Vec<&LinkFacts> {
        let mut bridges: Vec<_> = self.links.iter().filter(|l| l.bridge.is_some()).collect();
        bridges.sort_by(|a, b| a.name.cmp(&b.name));
        bridges
    }
}
