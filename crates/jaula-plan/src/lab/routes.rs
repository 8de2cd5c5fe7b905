//! Ways: those given, and the shortest.

use super::Way;
use super::addresses::Addresses;
use super::topology::Topology;
use crate::net::address::Cidr;
use crate::spec::lab::{At, LabError, LabSpec, Mistake, NodeSpec};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Of each node, its ways.
pub type Routes = Vec<Vec<Way>>;

fn wrong<T>(at: &At<T>, text: String) -> LabError {
    LabError {
        place: at.place.clone(),
        what: Mistake::Other(text),
    }
}

/// Who is on each segment: routers, with the interface that is there.
type Members = Vec<Vec<(usize, usize)>>;

pub fn find(
    spec: &LabSpec,
    topology: &Topology,
    addresses: &Addresses,
) -> Result<Routes, LabError> {
    let mut routers: Members = topology.segments.iter().map(|_| Vec::new()).collect();
    for (node, (asked, ports)) in spec.nodes.iter().zip(&topology.ports).enumerate() {
        if !asked.router {
            continue;
        }
        for (place, port) in ports.iter().enumerate() {
            if let Some(list) = routers.get_mut(port.segment) {
                list.push((node, place));
            }
        }
    }
    let mut routes = Vec::with_capacity(spec.nodes.len());
    for (node, asked) in spec.nodes.iter().enumerate() {
        let mut ways = by_hand(spec, topology, addresses, node, asked)?;
        let by_gateway = ways.len();
        // Who speaks a protocol of routers is told the rest by it.
        if spec.auto_routes && !asked.ospf {
            for v6 in [false, true] {
                let found = shortest(spec, topology, addresses, &routers, node, v6);
                let has_default = ways
                    .iter()
                    .any(|way| way.to.prefix == 0 && way.to.address.is_ipv6() == v6);
                if !asked.router && has_default {
                    continue;
                }
                let found = found.into_iter();
                let found = found.filter(|way| !ways.iter().any(|other| other.to == way.to));
                let found: Vec<Way> = found.collect();
                ways.extend(match asked.router {
                    true => found,
                    false => by_default(found, v6),
                });
            }
        }
        // The default route last, as ip-route(8) would have it in a script.
        let hand = by_gateway.min(ways.len());
        ways[hand..].sort_by_key(|way| (way.to.prefix == 0, way.to));
        routes.push(ways);
    }
    Ok(routes)
}

/// The interface of a node on whose network an address is.
fn on_link(
    topology: &Topology,
    addresses: &Addresses,
    node: usize,
    address: IpAddr,
) -> Option<usize> {
    let ports = topology.ports.get(node)?;
    ports.iter().position(|port| {
        let nets = addresses.subnets.get(port.segment);
        nets.is_some_and(|nets| nets.iter().any(|net| net.holds(address)))
    })
}

fn by_hand(
    spec: &LabSpec,
    topology: &Topology,
    addresses: &Addresses,
    node: usize,
    asked: &NodeSpec,
) -> Result<Vec<Way>, LabError> {
    let mut ways = Vec::new();
    for route in &asked.routes {
        let (to, via) = route.value;
        let Some(interface) = on_link(topology, addresses, node, via) else {
            let text = format!("{via} is on none of the networks of {}", asked.name.value);
            return Err(wrong(route, text));
        };
        ways.push(Way { to, via, interface });
    }
    let Some(gateway) = &asked.gateway else {
        return Ok(ways);
    };
    let mut add = |via: IpAddr| {
        let interface = on_link(topology, addresses, node, via)?;
        let to = Cidr::all(via.is_ipv6());
        ways.push(Way { to, via, interface });
        Some(())
    };
    if let Ok(via) = gateway.value.parse::<IpAddr>() {
        if add(via).is_none() {
            let text = format!("{via} is on none of the networks of {}", asked.name.value);
            return Err(wrong(gateway, text));
        }
        return Ok(ways);
    }
    let found = spec
        .nodes
        .iter()
        .position(|other| other.name.value.as_str() == gateway.value);
    let Some(router) = found else {
        let what = Mistake::Unknown {
            what: "node",
            name: gateway.value.chars().take(60).collect(),
            nearest: None,
        };
        return Err(LabError {
            place: gateway.place.clone(),
            what,
        });
    };
    let theirs = addresses
        .of_ports
        .get(router)
        .into_iter()
        .flatten()
        .flatten();
    let mut count = 0;
    for v6 in [false, true] {
        let mut theirs = theirs.clone().map(|cidr| cidr.address);
        // The first of its addresses that is near.
        count += usize::from(theirs.any(|via| via.is_ipv6() == v6 && add(via).is_some()));
    }
    if count == 0 || router == node {
        let text = format!("{} is not beside {}", gateway.value, asked.name.value);
        return Err(wrong(gateway, text));
    }
    Ok(ways)
}

/// The shortest ways from a node to every network of a family that is not its own: of two as short, that by the
/// interface, and then the router, that comes first.
fn shortest(
    spec: &LabSpec,
    topology: &Topology,
    addresses: &Addresses,
    routers: &Members,
    node: usize,
    v6: bool,
) -> Vec<Way> {
    let Some(ports) = topology.ports.get(node) else {
        return Vec::new();
    };
    // Segments with the first router on the way; none on the node's own.
    let mut seen: BTreeMap<usize, Option<(IpAddr, usize)>> = BTreeMap::new();
    let mut now: Vec<usize> = Vec::new();
    let usable = |place: usize| addresses.of(node, place, v6).is_some();
    for (place, port) in ports.iter().enumerate() {
        if usable(place) && !seen.contains_key(&port.segment) {
            seen.insert(port.segment, None);
            now.push(port.segment);
        }
    }
    while !now.is_empty() {
        let mut next = Vec::new();
        for segment in now {
            let first = seen.get(&segment).copied().flatten();
            for (router, place) in routers.get(segment).into_iter().flatten() {
                let Some(via) = addresses.of(*router, *place, v6) else {
                    continue;
                };
                if *router == node {
                    continue;
                }
                let own = ports.iter().position(|port| port.segment == segment);
                let Some(first) = first.or(own.map(|own| (via, own))) else {
                    continue;
                };
                let others = topology.ports.get(*router).into_iter().flatten();
                for (out, port) in others.enumerate() {
                    let open = addresses.of(*router, out, v6).is_some()
                        && !hides(spec, topology, *router, segment, port.segment);
                    if open && !seen.contains_key(&port.segment) {
                        seen.insert(port.segment, Some(first));
                        next.push(port.segment);
                    }
                }
            }
        }
        now = next;
    }
    let ways = seen.into_iter().filter_map(|(segment, first)| {
        let (via, interface) = first?;
        let nets = addresses.subnets.get(segment)?;
        let to = *nets.iter().find(|net| net.address.is_ipv6() == v6)?;
        Some(Way { to, via, interface })
    });
    ways.collect()
}

/// Whether a router shows those on `from` nothing of what is on `to`: it has NAT towards `from` and not towards `to`.
fn hides(spec: &LabSpec, topology: &Topology, router: usize, from: usize, to: usize) -> bool {
    let Some(asked) = spec.nodes.get(router) else {
        return false;
    };
    let outside = |segment: usize| {
        let ports = topology.ports.get(router).into_iter().flatten();
        let mut ports = ports.filter(|port| port.segment == segment);
        ports.any(|port| asked.nat.iter().any(|lan| lan.value == port.to))
    };
    outside(from) && !outside(to)
}

/// What a host needs of these ways: the router that most lead by gets all that has no other way.
fn by_default(found: Vec<Way>, v6: bool) -> Vec<Way> {
    let mut counts: Vec<(IpAddr, usize, usize)> = Vec::new();
    for way in &found {
        match counts.iter_mut().find(|(via, ..)| *via == way.via) {
            Some((_, _, count)) => *count += 1,
            None => counts.push((way.via, way.interface, 1)),
        }
    }
    // The first of the largest.
    let best = counts.iter().rev().max_by_key(|(_, _, count)| *count);
    let Some(&(via, interface, _)) = best else {
        return Vec::new();
    };
    let mut ways: Vec<Way> = found.into_iter().filter(|way| way.via != via).collect();
    ways.push(Way {
        to: Cidr::all(v6),
        via,
        interface,
    });
    ways
}
