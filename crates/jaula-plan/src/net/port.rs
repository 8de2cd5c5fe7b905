//! Links that become ports of a bridge, and go again; and the addresses that move with them.

use crate::facts::net::{AddressFacts, BY_KERNEL, BY_ROUTER, LinkFacts, NetFacts, RouteFacts};
use crate::names::LinkName;
use crate::net::address::Cidr;
use crate::net::error::{NetPlanError, NoPort};
use crate::net::mark::Moved;
use crate::net::step::NetStep;
use crate::spec::net::LinkSet;
use std::net::IpAddr;

/// A bridge that is there.
pub(super) fn bridge<'a>(
    facts: &'a NetFacts,
    name: &LinkName,
) -> Result<&'a LinkFacts, NetPlanError> {
    let link = link(facts, name)?;
    if link.bridge.is_none() {
        return Err(NetPlanError::NotABridge {
            name: name.clone(),
            kind: link.kind_word().to_owned(),
        });
    }
    Ok(link)
}

/// A link that is there.
pub(super) fn link<'a>(
    facts: &'a NetFacts,
    name: &LinkName,
) -> Result<&'a LinkFacts, NetPlanError> {
    facts.link(name).ok_or_else(|| NetPlanError::NoSuchLink {
        name: name.clone(),
        links: facts.links.iter().map(|link| link.name.clone()).collect(),
    })
}

/// IPv6's addresses of a single link are the kernel's: each link has its own (RFC 4862, 5.3).
fn is_link_local(address: &AddressFacts) -> bool {
    matches!(address.address.address, IpAddr::V6(six) if six.is_unicast_link_local())
}

/// The addresses of a card that somebody reaches it by.
fn reached<'a>(facts: &'a NetFacts, port: &'a LinkName) -> impl Iterator<Item = &'a AddressFacts> {
    facts
        .addresses_of(port)
        .filter(|address| !is_link_local(address))
}

/// Refuses a link that can be no port of `bridge`, whose packets are of `mtu` bytes.
pub(super) fn check<'a>(
    facts: &'a NetFacts,
    bridge: &LinkName,
    mtu: u32,
    port: &LinkName,
    move_address: bool,
) -> Result<&'a LinkFacts, NetPlanError> {
    let link = link(facts, port)?;
    let refused = |why| {
        Err(NetPlanError::NoPort {
            port: port.clone(),
            bridge: bridge.clone(),
            why,
        })
    };
    if link.bridge.is_some() {
        return refused(NoPort::Bridge);
    }
    if link.loopback {
        return refused(NoPort::Loopback);
    }
    if link.wireless {
        return refused(NoPort::Wireless);
    }
    if !link.ethernet {
        return refused(NoPort::NoEthernet);
    }
    if let Some(master) = &link.master {
        return refused(NoPort::Taken(master.clone()));
    }
    if link.mtu != mtu {
        let port = link.mtu;
        return refused(NoPort::Mtu { port, bridge: mtu });
    }
    let addresses: Vec<_> = reached(facts, port).map(|a| a.address).collect();
    if !addresses.is_empty() && !move_address {
        let movable = true;
        return refused(NoPort::Addresses { addresses, movable });
    }
    Ok(link)
}

fn written(name: &LinkName, to: String, before: String) -> NetStep {
    NetStep::SetLink {
        name: name.clone(),
        to: LinkSet {
            alias: Some(to),
            ..LinkSet::default()
        },
        before: LinkSet {
            alias: Some(before),
            ..LinkSet::default()
        },
    }
}

fn up(link: &LinkFacts) -> Option<NetStep> {
    let set = |up| LinkSet {
        up: Some(up),
        ..LinkSet::default()
    };
    (!link.up).then(|| NetStep::SetLink {
        name: link.name.clone(),
        to: set(true),
        before: set(false),
    })
}

/// The routes of a link that do not come and go by themselves.
fn lasting<'a>(facts: &'a NetFacts, link: &'a LinkName) -> impl Iterator<Item = &'a RouteFacts> {
    facts
        .routes_of(link)
        .filter(|route| route.protocol != BY_KERNEL && route.protocol != BY_ROUTER)
}

/// Addresses and routes from one link to another: the new ones first, so that the host is reached all the while.
fn carried(
    addresses: &[AddressFacts],
    routes: &[RouteFacts],
    to: &LinkName,
    steps: &mut Vec<NetStep>,
) {
    steps.extend(addresses.iter().map(|address| NetStep::AddAddress {
        address: AddressFacts {
            link: to.clone(),
            ..address.clone()
        },
    }));
    steps.extend(routes.iter().map(|route| NetStep::AddRoute {
        route: RouteFacts {
            link: to.clone(),
            ..route.clone()
        },
    }));
    let route = |route: &RouteFacts| NetStep::RemoveRoute {
        route: route.clone(),
    };
    steps.extend(routes.iter().map(route));
    let address = |address: &AddressFacts| NetStep::RemoveAddress {
        address: address.clone(),
    };
    steps.extend(addresses.iter().map(address));
}

/// The steps that make `port` a port of `bridge`. The bridge is up already when addresses move.
pub(super) fn attached(
    facts: &NetFacts,
    bridge: &LinkName,
    port: &LinkFacts,
    move_address: bool,
    notes: &mut Vec<String>,
) -> Vec<NetStep> {
    let mut steps: Vec<_> = up(port).into_iter().collect();
    let moving: Vec<_> = reached(facts, &port.name)
        .filter(|_| move_address)
        // A router's advertisements give the bridge an address of its own.
        .filter(|address| !(address.passing && address.address.address.is_ipv6()))
        .cloned()
        .collect();
    let left = reached(facts, &port.name).filter(|_| move_address).count() - moving.len();
    if left > 0 {
        notes.push(format!(
            "{left} of {}'s addresses came from a router's advertisements: {bridge} gets its own in their place",
            port.name
        ));
    }
    if moving.iter().any(|address| address.passing) {
        notes.push(format!(
            "an address of {} holds only for a time: whatever renews it on {0} should do so on {bridge}",
            port.name
        ));
    }
    let was = port.alias.clone().unwrap_or_default();
    if move_address && reached(facts, &port.name).next().is_some() {
        let moved = Moved {
            addresses: Some(moving.iter().map(|address| address.address).collect()),
            was: was.clone(),
        };
        steps.push(written(&port.name, moved.text(), was));
    }
    steps.push(NetStep::SetMaster {
        name: port.name.clone(),
        to: Some(bridge.clone()),
        before: None,
    });
    if !moving.is_empty() {
        let routes: Vec<_> = lasting(facts, &port.name).cloned().collect();
        carried(&moving, &routes, bridge, &mut steps);
    }
    steps
}

/// The steps that make `port` a link of its own again, with the addresses that it had.
pub(super) fn detached(facts: &NetFacts, bridge: &LinkName, port: &LinkFacts) -> Vec<NetStep> {
    let mut steps = Vec::new();
    let moved = Moved::read(port.alias.as_deref());
    if let Some(moved) = &moved {
        let back: Vec<AddressFacts> = reached(facts, bridge)
            .filter(|address| moved.holds(address.address))
            .cloned()
            .collect();
        let by_them = |route: &&RouteFacts| {
            let near = route.via.or(route.source).unwrap_or(route.to.address);
            let of = |address: &AddressFacts| address.address.holds(near);
            back.iter().any(of)
                || route.source.is_some_and(|source| {
                    back.iter().any(|address| address.address.address == source)
                })
        };
        let routes: Vec<_> = lasting(facts, bridge).filter(by_them).cloned().collect();
        carried(&back, &routes, &port.name, &mut steps);
    }
    steps.push(NetStep::SetMaster {
        name: port.name.clone(),
        to: None,
        before: Some(bridge.clone()),
    });
    if let Some(moved) = moved {
        let before = port.alias.clone().unwrap_or_default();
        steps.push(written(&port.name, moved.was, before));
    }
    steps
}

/// Refuses an address that no link may have, or whose network the host reaches by another link than those `given`.
pub(super) fn free(
    facts: &NetFacts,
    address: Cidr,
    given: &[&LinkName],
) -> Result<(), NetPlanError> {
    if !address.is_usable() {
        return Err(NetPlanError::BadAddress(address));
    }
    if matches!(address.address, IpAddr::V6(six) if six.is_unicast_link_local()) {
        return Ok(());
    }
    let networks = facts
        .routes
        .iter()
        .filter(|route| route.to.prefix > 0)
        .map(|route| (route.to, &route.link));
    let hosts = facts
        .addresses
        .iter()
        .map(|held| (Cidr::host(held.address.address), &held.link));
    let mut all = networks.chain(hosts);
    match all.find(|(network, link)| network.overlaps(address) && !given.contains(link)) {
        None => Ok(()),
        Some((route, link)) => Err(NetPlanError::Overlap {
            address,
            route,
            link: link.clone(),
        }),
    }
}
