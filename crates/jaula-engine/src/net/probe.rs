//! The networks of this process's network namespace, read into facts.

use crate::net::error::NetError;
use jaula_plan::facts::net::{
    AddressFacts, BridgeFacts, BridgeId, LinkFacts, NetFacts, PortFacts, PortState, RouteFacts,
};
use jaula_plan::names::LinkName;
use jaula_plan::net::address::{Cidr, Mac};
use jaula_sys::netlink::{self, Socket};
use std::collections::HashMap;
use std::path::Path;

/// RT_TABLE_LOCAL: the kernel's own routes to addresses of this host.
const LOCAL_TABLE: u32 = 255;
/// RTN_UNICAST: a route to hosts.
const TO_HOSTS: u8 = 1;
/// ARPHRD_ETHER of linux/if_arp.h
const ETHERNET: u16 = 1;
/// IFF_UP and IFF_LOOPBACK of netdevice(7)
const UP: u32 = 1;
const LOOPBACK: u32 = 8;

/// Everything of the network namespace that this process is in. A link whose name nobody could type is left out.
pub fn probe() -> Result<NetFacts, NetError> {
    let refused = |source| NetError::Look { source };
    let mut socket = Socket::open().map_err(refused)?;
    let links = socket.links().map_err(refused)?;
    let names: HashMap<u32, LinkName> = links
        .iter()
        .filter_map(|link| Some((link.index, link.name.parse().ok()?)))
        .collect();
    let mut facts = NetFacts {
        links: links.iter().filter_map(|raw| link(raw, &names)).collect(),
        ..NetFacts::default()
    };
    facts.links.sort_by_key(|link| link.index);
    for raw in socket.addresses().map_err(refused)? {
        facts.addresses.extend(address(&raw, &names));
    }
    for raw in socket.routes().map_err(refused)? {
        facts.routes.extend(route(&raw, &names));
    }
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        if let Ok(value) = std::fs::read_to_string(Path::new("/proc/sys").join(key)) {
            facts
                .sysctls
                .insert(key.to_owned(), value.trim().to_owned());
        }
    }
    Ok(facts)
}

fn id(id: netlink::BridgeId) -> BridgeId {
    BridgeId {
        priority: id.priority,
        mac: Mac(id.mac),
    }
}

fn link(raw: &netlink::Link, names: &HashMap<u32, LinkName>) -> Option<LinkFacts> {
    let name = names.get(&raw.index)?.clone();
    let mut link = LinkFacts::new(raw.index, name);
    // Only this namespace's own sysfs(5) tells, and only a card of the machine is wireless.
    let wireless = || {
        let dir = Path::new("/sys/class/net").join(&raw.name);
        dir.join("phy80211").exists() || dir.join("wireless").exists()
    };
    link.wireless = raw.kind.is_none() && raw.hardware == ETHERNET && wireless();
    link.kind = raw.kind.clone();
    link.loopback = raw.flags & LOOPBACK != 0;
    link.ethernet = raw.hardware == ETHERNET;
    link.mac = raw.mac.map(Mac);
    link.mtu = raw.mtu;
    link.up = raw.flags & UP != 0;
    link.carrier = raw.carrier;
    link.master = raw.master.and_then(|master| names.get(&master).cloned());
    link.leads_away = raw.below_netns.is_some();
    if !link.leads_away {
        link.below = raw.below.and_then(|below| names.get(&below).cloned());
    }
    link.alias = raw.alias.clone();
    link.vlan = raw.vlan;
    link.bridge = raw.bridge.map(bridge);
    link.port = raw.port.map(port);
    Some(link)
}

fn bridge(raw: netlink::Bridge) -> BridgeFacts {
    BridgeFacts {
        id: id(raw.bridge_id),
        stp: raw.stp_state != 0,
        forward_delay: raw.forward_delay,
        hello_time: raw.hello_time,
        max_age: raw.max_age,
        ageing_time: raw.ageing_time,
        priority: raw.priority,
        vlan_filtering: raw.vlan_filtering,
        root_id: id(raw.root_id),
        root_port: raw.root_port,
        root_path_cost: raw.root_path_cost,
        topology_change: raw.topology_change,
        topology_change_detected: raw.topology_change_detected,
        hello_timer: raw.hello_timer,
        tcn_timer: raw.tcn_timer,
        topology_change_timer: raw.topology_change_timer,
        gc_timer: raw.gc_timer,
    }
}

fn port(raw: netlink::Port) -> PortFacts {
    PortFacts {
        number: raw.number,
        id: raw.id,
        state: PortState::of_number(raw.state),
        priority: raw.priority,
        cost: raw.cost,
        hairpin: raw.hairpin,
        learning: raw.learning,
        isolated: raw.isolated,
        root_id: id(raw.root_id),
        bridge_id: id(raw.bridge_id),
        designated_port: raw.designated_port,
        designated_cost: raw.designated_cost,
        topology_change_ack: raw.topology_change_ack,
        config_pending: raw.config_pending,
        message_age_timer: raw.message_age_timer,
        forward_delay_timer: raw.forward_delay_timer,
        hold_timer: raw.hold_timer,
    }
}

fn address(raw: &netlink::Address, names: &HashMap<u32, LinkName>) -> Option<AddressFacts> {
    Some(AddressFacts {
        link: names.get(&raw.link)?.clone(),
        address: Cidr {
            address: raw.address,
            prefix: raw.prefix,
        },
        scope: raw.scope,
        broadcast: raw.broadcast,
        life: raw.life.map(|life| (life.preferred, life.valid)),
        passing: raw.passing(),
    })
}

fn route(raw: &netlink::Route, names: &HashMap<u32, LinkName>) -> Option<RouteFacts> {
    if raw.table == LOCAL_TABLE || raw.kind != TO_HOSTS {
        return None;
    }
    Some(RouteFacts {
        to: Cidr {
            address: raw.to,
            prefix: raw.prefix,
        },
        via: raw.via,
        link: names.get(&raw.link)?.clone(),
        source: raw.source,
        metric: raw.metric,
        protocol: raw.protocol,
        scope: raw.scope,
        table: raw.table,
        onlink: raw.onlink,
    })
}
