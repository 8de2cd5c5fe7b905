//! Links: what there is, making, changing and removing them (rtnetlink(7), linux/if_link.h).

use super::socket::{Batch, Socket};
use super::wire::{Writer, attribute, attributes, text, u16_at, u32_at, u64_at};
use crate::error::SysError;
use std::os::fd::{AsRawFd, BorrowedFd};

const NEWLINK: (u16, &str) = (16, "RTM_NEWLINK");
const DELLINK: (u16, &str) = (17, "RTM_DELLINK");
const GETLINK: (u16, &str) = (18, "RTM_GETLINK");
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_QDISC: u16 = 6;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_IFALIAS: u16 = 20;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_CARRIER: u16 = 33;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_BOND_MODE: u16 = 1;
const IFLA_BOND_MIIMON: u16 = 3;
/// linux/rtnetlink.h: counters are left out.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

/// The size of `struct ifinfomsg`.
const IFINFO: usize = 16;
/// netdevice(7)
const IFF_UP: u32 = 1;
/// MACVLAN_MODE_BRIDGE of linux/if_link.h
const MACVLAN_BRIDGE: u32 = 4;

/// The identifier of a bridge (IEEE 802.1D-2004, 9.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BridgeId {
    /// Priority.
    pub priority: u16,
    /// Address.
    pub mac: [u8; 6],
}

/// What a bridge says of itself. Times are hundredths of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Named as in linux/if_link.h, IFLA_BR_….
pub struct Bridge {
    pub forward_delay: u32,
    pub hello_time: u32,
    pub max_age: u32,
    pub ageing_time: u32,
    pub stp_state: u32,
    pub priority: u16,
    pub vlan_filtering: bool,
    pub root_id: BridgeId,
    pub bridge_id: BridgeId,
    pub root_port: u16,
    pub root_path_cost: u32,
    pub topology_change: bool,
    pub topology_change_detected: bool,
    pub hello_timer: u64,
    pub tcn_timer: u64,
    pub topology_change_timer: u64,
    pub gc_timer: u64,
}

/// What a bridge says of a port. Times are hundredths of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Named as in linux/if_link.h, IFLA_BRPORT_….
pub struct Port {
    pub state: u8,
    pub priority: u16,
    pub cost: u32,
    pub hairpin: bool,
    pub learning: bool,
    pub isolated: bool,
    pub root_id: BridgeId,
    pub bridge_id: BridgeId,
    pub designated_port: u16,
    pub designated_cost: u16,
    pub id: u16,
    pub number: u16,
    pub topology_change_ack: bool,
    pub config_pending: bool,
    pub message_age_timer: u64,
    pub forward_delay_timer: u64,
    pub hold_timer: u64,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Its number in its network namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its driver's name, `bridge`, `veth`; none for hardware.
    pub kind: Option<String>,
    /// ARPHRD_… of linux/if_arp.h.
    pub hardware: u16,
    /// IFF_… of netdevice(7).
    pub flags: u32,
    /// Its address, when it is of Ethernet's form.
    pub mac: Option<[u8; 6]>,
    /// The largest packet.
    pub mtu: u32,
    /// The number of the link that it is a port of.
    pub master: Option<u32>,
    /// The number of the link below, or of the other end of a pair.
    pub below: Option<u32>,
    /// The network namespace of `below`, as this one numbers it; none: this one.
    pub below_netns: Option<i32>,
    /// RFC 2863's operational state: 6 is up, 2 down.
    pub operstate: u8,
    /// Whether there is a carrier.
    pub carrier: bool,
    /// Its queueing discipline.
    pub qdisc: String,
    /// What somebody wrote on it.
    pub alias: Option<String>,
    /// The number of a VLAN.
    pub vlan: Option<u16>,
    /// Of a bridge.
    pub bridge: Option<Bridge>,
    /// Of a port of a bridge.
    pub port: Option<Port>,
}

/// How several cards are one (bonding of the kernel's documentation, "mode").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum BondMode {
    BalanceRr = 0,
    ActiveBackup = 1,
    BalanceXor = 2,
    Broadcast = 3,
    Lacp = 4,
    BalanceTlb = 5,
    BalanceAlb = 6,
}

/// Where a new link is.
#[derive(Debug, Clone, Copy, Default)]
pub enum Place<'a> {
    /// The socket's own network namespace.
    #[default]
    Here,
    /// That network namespace; the descriptor stays open until the batch was applied.
    Net(BorrowedFd<'a>),
    /// That of a process.
    Process(u32),
}

/// What a new link is.
#[derive(Debug, Clone, Copy)]
pub enum NewLinkKind<'a> {
    /// A bridge.
    Bridge(BridgeSet),
    /// A pair; the other end is this.
    Veth(&'a NewLink<'a>),
    /// An address of its own on another link; frames between such links of the same card pass.
    Macvlan {
        /// The number of the link below.
        below: u32,
    },
    /// Frames with a tag (IEEE 802.1Q).
    Vlan {
        /// The number of the link below.
        below: u32,
        /// The tag.
        id: u16,
    },
    /// Swallows all.
    Dummy,
    /// Several cards as one.
    Bond {
        /// How.
        mode: BondMode,
        /// How often carriers are looked at, in thousandths of a second.
        miimon: u32,
    },
}

/// A link to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewLink<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is; not looked at in the other end of a pair.
    pub kind: NewLinkKind<'a>,
    /// Its number; the kernel chooses when absent.
    pub index: Option<u32>,
    /// Its address.
    pub mac: Option<[u8; 6]>,
    /// Its largest packet.
    pub mtu: Option<u32>,
    /// The number of the bridge that it is a port of.
    pub master: Option<u32>,
    /// Whether it is up at once.
    pub up: bool,
    /// Where.
    pub place: Place<'a>,
}

impl<'a> NewLink<'a> {
    /// With nothing chosen but what it is.
    pub fn new(name: &'a str, kind: NewLinkKind<'a>) -> Self {
        Self {
            name,
            kind,
            index: None,
            mac: None,
            mtu: None,
            master: None,
            up: false,
            place: Place::Here,
        }
    }
}

/// What of a link is changed.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinkSet<'a> {
    /// Up or down.
    pub up: Option<bool>,
    /// Its address.
    pub mac: Option<[u8; 6]>,
    /// Its largest packet.
    pub mtu: Option<u32>,
    /// The number of the link that it becomes a port of; 0: of none.
    pub master: Option<u32>,
    /// Its name.
    pub name: Option<&'a str>,
    /// What is written on it.
    pub alias: Option<&'a str>,
    /// Where it goes.
    pub place: Place<'a>,
}

/// What of a bridge is changed. Times are hundredths of a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct BridgeSet {
    pub forward_delay: Option<u32>,
    pub hello_time: Option<u32>,
    pub max_age: Option<u32>,
    pub ageing_time: Option<u32>,
    pub stp: Option<bool>,
    pub priority: Option<u16>,
    pub vlan_filtering: Option<bool>,
}

/// What of a port of a bridge is changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PortSet {
    pub priority: Option<u16>,
    pub cost: Option<u32>,
    pub hairpin: Option<bool>,
    pub learning: Option<bool>,
    pub isolated: Option<bool>,
}

fn head(index: u32, flags: u32, change: u32) -> [u8; IFINFO] {
    let mut bytes = [0; IFINFO];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

fn place(writer: &mut Writer, place: Place<'_>) {
    match place {
        Place::Here => {}
        Place::Net(fd) => writer.put_u32(IFLA_NET_NS_FD, fd.as_raw_fd().cast_unsigned()),
        Place::Process(pid) => writer.put_u32(IFLA_NET_NS_PID, pid),
    }
}

fn new_link(writer: &mut Writer, link: &NewLink<'_>, whole: bool) {
    let up = if link.up { IFF_UP } else { 0 };
    writer.raw(&head(link.index.unwrap_or(0), up, up));
    writer.put_text(IFLA_IFNAME, link.name);
    if let Some(mac) = link.mac {
        writer.put(IFLA_ADDRESS, &mac);
    }
    if let Some(mtu) = link.mtu {
        writer.put_u32(IFLA_MTU, mtu);
    }
    if let Some(master) = link.master {
        writer.put_u32(IFLA_MASTER, master);
    }
    if matches!(link.kind, NewLinkKind::Veth(_)) || !whole {
        // What an end of a pair has anyway. Unsaid, the kernel makes one for each CPU and takes all but one back, for
        // which it waits for every CPU, twice a pair (veth_init_queues of drivers/net/veth.c).
        writer.put_u32(IFLA_NUM_TX_QUEUES, 1);
        writer.put_u32(IFLA_NUM_RX_QUEUES, 1);
    }
    place(writer, link.place);
    if !whole {
        return;
    }
    if let NewLinkKind::Macvlan { below } | NewLinkKind::Vlan { below, .. } = link.kind {
        writer.put_u32(IFLA_LINK, below);
    }
    writer.nest(IFLA_LINKINFO, |writer| {
        writer.put_text(IFLA_INFO_KIND, link.kind.name());
        writer.nest(IFLA_INFO_DATA, |writer| match link.kind {
            NewLinkKind::Bridge(set) => bridge_set(writer, &set),
            NewLinkKind::Veth(peer) => {
                writer.nest(VETH_INFO_PEER, |writer| new_link(writer, peer, false));
            }
            NewLinkKind::Macvlan { .. } => writer.put_u32(IFLA_MACVLAN_MODE, MACVLAN_BRIDGE),
            NewLinkKind::Vlan { id, .. } => writer.put_u16(IFLA_VLAN_ID, id),
            NewLinkKind::Dummy => {}
            NewLinkKind::Bond { mode, miimon } => {
                writer.put_u8(IFLA_BOND_MODE, mode as u8);
                writer.put_u32(IFLA_BOND_MIIMON, miimon);
            }
        });
    });
}

impl NewLinkKind<'_> {
    /// The name of its driver.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bridge(_) => "bridge",
            Self::Veth(_) => "veth",
            Self::Macvlan { .. } => "macvlan",
            Self::Vlan { .. } => "vlan",
            Self::Dummy => "dummy",
            Self::Bond { .. } => "bond",
        }
    }
}

fn bridge_set(writer: &mut Writer, set: &BridgeSet) {
    let words = [
        (1, set.forward_delay),
        (2, set.hello_time),
        (3, set.max_age),
        (4, set.ageing_time),
        (5, set.stp.map(u32::from)),
    ];
    for (kind, value) in words {
        if let Some(value) = value {
            writer.put_u32(kind, value);
        }
    }
    if let Some(priority) = set.priority {
        writer.put_u16(6, priority);
    }
    if let Some(on) = set.vlan_filtering {
        writer.put_u8(7, on.into());
    }
}

fn port_set(writer: &mut Writer, set: &PortSet) {
    if let Some(priority) = set.priority {
        writer.put_u16(2, priority);
    }
    if let Some(cost) = set.cost {
        writer.put_u32(3, cost);
    }
    for (kind, value) in [(4, set.hairpin), (8, set.learning), (33, set.isolated)] {
        if let Some(on) = value {
            writer.put_u8(kind, on.into());
        }
    }
}

impl Batch {
    /// Makes a link that was not there.
    pub fn add_link(&mut self, link: &NewLink<'_>) {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.push(NEWLINK, flags, link.name, |writer| {
            new_link(writer, link, true)
        });
    }

    /// Removes a link by its number; `name` is for people.
    pub fn remove_link(&mut self, index: u32, name: &str) {
        self.push(DELLINK, 0, name, |writer| writer.raw(&head(index, 0, 0)));
    }

    /// Removes links by their numbers, all at once: they are put into a group that nobody else uses, and the group goes.
    /// One by one the kernel waits for all CPUs after each (`rcu_barrier` of net/core/dev.c).
    pub fn remove_links<'a>(
        &mut self,
        links: impl IntoIterator<Item = (u32, &'a str)>,
        group: u32,
    ) {
        for (index, name) in links {
            self.push(NEWLINK, 0, name, |writer| {
                writer.raw(&head(index, 0, 0));
                writer.put_u32(IFLA_GROUP, group);
            });
        }
        self.push(DELLINK, 0, "a group of links", |writer| {
            writer.raw(&head(0, 0, 0));
            writer.put_u32(IFLA_GROUP, group);
        });
    }

    /// Changes a link.
    pub fn set_link(&mut self, index: u32, name: &str, set: &LinkSet<'_>) {
        self.push(NEWLINK, 0, name, |writer| {
            let (flags, change) = match set.up {
                None => (0, 0),
                Some(true) => (IFF_UP, IFF_UP),
                Some(false) => (0, IFF_UP),
            };
            writer.raw(&head(index, flags, change));
            if let Some(mac) = set.mac {
                writer.put(IFLA_ADDRESS, &mac);
            }
            if let Some(mtu) = set.mtu {
                writer.put_u32(IFLA_MTU, mtu);
            }
            if let Some(master) = set.master {
                writer.put_u32(IFLA_MASTER, master);
            }
            if let Some(name) = set.name {
                writer.put_text(IFLA_IFNAME, name);
            }
            if let Some(alias) = set.alias {
                writer.put(IFLA_IFALIAS, alias.as_bytes());
            }
            place(writer, set.place);
        });
    }

    /// Changes a bridge.
    pub fn set_bridge(&mut self, index: u32, name: &str, set: &BridgeSet) {
        self.push(NEWLINK, 0, name, |writer| {
            writer.raw(&head(index, 0, 0));
            writer.nest(IFLA_LINKINFO, |writer| {
                writer.put_text(IFLA_INFO_KIND, "bridge");
                writer.nest(IFLA_INFO_DATA, |writer| bridge_set(writer, set));
            });
        });
    }

    /// Changes a port of a bridge.
    pub fn set_port(&mut self, index: u32, name: &str, set: &PortSet) {
        self.push(NEWLINK, 0, name, |writer| {
            writer.raw(&head(index, 0, 0));
            writer.nest(IFLA_LINKINFO, |writer| {
                writer.put_text(IFLA_INFO_SLAVE_KIND, "bridge");
                writer.nest(IFLA_INFO_SLAVE_DATA, |writer| port_set(writer, set));
            });
        });
    }
}

impl Socket {
    /// Every link.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn links(&mut self) -> Result<Vec<Link>, SysError> {
        let mut fixed = Writer::default();
        fixed.raw(&head(0, 0, 0));
        fixed.put_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        self.dump(GETLINK, fixed.bytes(), read_link)
    }

    /// One link, by its name.
    ///
    /// # Errors
    /// ENODEV when there is none.
    pub fn link(&mut self, name: &str) -> Result<Link, SysError> {
        self.one(
            GETLINK,
            name,
            |writer| {
                writer.raw(&head(0, 0, 0));
                writer.put_text(IFLA_IFNAME, name);
                writer.put_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
            },
            read_link,
        )
    }
}

fn read_link(kind: u16, body: &[u8]) -> Option<Link> {
    if kind != NEWLINK.0 {
        return None;
    }
    let mut link = Link {
        hardware: u16_at(body, 2)?,
        index: u32_at(body, 4)?,
        flags: u32_at(body, 8)?,
        ..Link::default()
    };
    for (kind, value) in attributes(body.get(IFINFO..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_ADDRESS => link.mac = value.try_into().ok(),
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_MASTER => link.master = u32_at(value, 0),
            IFLA_LINK => link.below = u32_at(value, 0),
            IFLA_LINK_NETNSID => link.below_netns = u32_at(value, 0).map(u32::cast_signed),
            IFLA_OPERSTATE => link.operstate = value.first().copied().unwrap_or(0),
            IFLA_CARRIER => link.carrier = value.first() == Some(&1),
            IFLA_QDISC => link.qdisc = text(value),
            IFLA_IFALIAS => link.alias = Some(text(value)),
            IFLA_LINKINFO => read_info(&mut link, value),
            _ => {}
        }
    }
    Some(link)
}

fn read_info(link: &mut Link, info: &[u8]) {
    link.kind = attribute(info, IFLA_INFO_KIND).map(text);
    let data = attribute(info, IFLA_INFO_DATA).unwrap_or_default();
    match link.kind.as_deref() {
        Some("bridge") => link.bridge = Some(read_bridge(data)),
        Some("vlan") => link.vlan = attribute(data, IFLA_VLAN_ID).and_then(|id| u16_at(id, 0)),
        _ => {}
    }
    if attribute(info, IFLA_INFO_SLAVE_KIND).map(text).as_deref() == Some("bridge") {
        let data = attribute(info, IFLA_INFO_SLAVE_DATA).unwrap_or_default();
        link.port = Some(read_port(data));
    }
}

fn id(value: &[u8]) -> BridgeId {
    let priority = value.first_chunk::<2>().copied().map(u16::from_be_bytes);
    BridgeId {
        priority: priority.unwrap_or(0),
        mac: value
            .get(2..8)
            .and_then(|mac| mac.try_into().ok())
            .unwrap_or_default(),
    }
}

fn read_bridge(data: &[u8]) -> Bridge {
    let mut bridge = Bridge::default();
    for (kind, value) in attributes(data) {
        let byte = value.first().copied().unwrap_or(0) != 0;
        let half = u16_at(value, 0).unwrap_or(0);
        let word = u32_at(value, 0).unwrap_or(0);
        let long = u64_at(value, 0).unwrap_or(0);
        match kind {
            1 => bridge.forward_delay = word,
            2 => bridge.hello_time = word,
            3 => bridge.max_age = word,
            4 => bridge.ageing_time = word,
            5 => bridge.stp_state = word,
            6 => bridge.priority = half,
            7 => bridge.vlan_filtering = byte,
            10 => bridge.root_id = id(value),
            11 => bridge.bridge_id = id(value),
            12 => bridge.root_port = half,
            13 => bridge.root_path_cost = word,
            14 => bridge.topology_change = byte,
            15 => bridge.topology_change_detected = byte,
            16 => bridge.hello_timer = long,
            17 => bridge.tcn_timer = long,
            18 => bridge.topology_change_timer = long,
            19 => bridge.gc_timer = long,
            _ => {}
        }
    }
    bridge
}

fn read_port(data: &[u8]) -> Port {
    let mut port = Port::default();
    for (kind, value) in attributes(data) {
        let byte = value.first().copied().unwrap_or(0);
        let half = u16_at(value, 0).unwrap_or(0);
        let long = u64_at(value, 0).unwrap_or(0);
        match kind {
            1 => port.state = byte,
            2 => port.priority = half,
            3 => port.cost = u32_at(value, 0).unwrap_or(0),
            4 => port.hairpin = byte != 0,
            8 => port.learning = byte != 0,
            13 => port.root_id = id(value),
            14 => port.bridge_id = id(value),
            15 => port.designated_port = half,
            16 => port.designated_cost = half,
            17 => port.id = half,
            18 => port.number = half,
            19 => port.topology_change_ack = byte != 0,
            20 => port.config_pending = byte != 0,
            21 => port.message_age_timer = long,
            22 => port.forward_delay_timer = long,
            23 => port.hold_timer = long,
            33 => port.isolated = byte != 0,
            _ => {}
        }
    }
    port
}
