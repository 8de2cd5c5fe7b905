//! Networks of segments, and addresses of interfaces: as given, else the next that are free, routers first.

use super::topology::{Port, Topology};
use crate::net::address::Cidr;
use crate::spec::lab::{At, LabError, LabSpec, Mistake};
use crate::spec::recipe::Place;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses there are.
pub struct Addresses {
    /// Of each segment its networks.
    pub subnets: Vec<Vec<Cidr>>,
    /// Of each node, and each of its interfaces, the addresses.
    pub of_ports: Vec<Vec<Vec<Cidr>>>,
    /// Whose each address is.
    pub owners: BTreeMap<IpAddr, usize>,
}

impl Addresses {
    /// The address of a node's interface in a family.
    pub fn of(&self, node: usize, port: usize, v6: bool) -> Option<IpAddr> {
        let list = self.of_ports.get(node)?.get(port)?;
        let mut list = list.iter().map(|cidr| cidr.address);
        list.find(|address| address.is_ipv6() == v6)
    }
}

/// How many addresses a network of 256 is used for at most.
const SMALL: usize = 250;

fn at(place: &Place, what: Mistake) -> LabError {
    LabError {
        place: place.clone(),
        what,
    }
}

pub fn assign(spec: &LabSpec, topology: &Topology) -> Result<Addresses, LabError> {
    let subnets = subnets(topology)?;
    let name = |node: usize| match spec.nodes.get(node) {
        Some(node) => node.name.value.to_string(),
        None => String::new(),
    };
    let mut addresses = Addresses {
        of_ports: topology
            .ports
            .iter()
            .map(|ports| ports.iter().map(|_| Vec::new()).collect())
            .collect(),
        subnets,
        owners: BTreeMap::new(),
    };
    for (node, (asked, ports)) in spec.nodes.iter().zip(&topology.ports).enumerate() {
        for given in &asked.addresses {
            give(&mut addresses, node, given, ports, &name)?;
        }
    }
    // Where the search for a free address goes on, of each segment and family.
    let mut next: BTreeMap<(usize, bool), u64> = BTreeMap::new();
    for routers in [true, false] {
        for (node, (asked, ports)) in spec.nodes.iter().zip(&topology.ports).enumerate() {
            if asked.router != routers {
                continue;
            }
            for (place, port) in ports.iter().enumerate() {
                let nets = addresses.subnets.get(port.segment);
                for subnet in nets.cloned().unwrap_or_default() {
                    let v6 = subnet.address.is_ipv6();
                    if addresses.of(node, place, v6).is_some() {
                        continue;
                    }
                    let from = next.entry((port.segment, v6)).or_insert(1);
                    let Some(free) = free(subnet, from, &addresses.owners) else {
                        let what = Mistake::Full {
                            subnet,
                            node: name(node),
                        };
                        return Err(at(&asked.name.place, what));
                    };
                    put(&mut addresses, node, place, free, subnet.prefix);
                }
            }
        }
    }
    Ok(addresses)
}

fn put(addresses: &mut Addresses, node: usize, place: usize, address: IpAddr, prefix: u8) {
    addresses.owners.insert(address, node);
    let list = addresses.of_ports.get_mut(node);
    if let Some(list) = list.and_then(|ports| ports.get_mut(place)) {
        list.push(Cidr { address, prefix });
        list.sort_by_key(|cidr| cidr.address.is_ipv6());
    }
}

fn free(subnet: Cidr, from: &mut u64, owners: &BTreeMap<IpAddr, usize>) -> Option<IpAddr> {
    loop {
        let address = subnet.nth(*from)?;
        *from += 1;
        let cidr = Cidr {
            address,
            prefix: subnet.prefix,
        };
        if cidr.is_usable() && !owners.contains_key(&address) {
            return Some(address);
        }
    }
}

fn give(
    addresses: &mut Addresses,
    node: usize,
    given: &At<IpAddr>,
    ports: &[Port],
    name: &dyn Fn(usize) -> String,
) -> Result<(), LabError> {
    let address = given.value;
    let nets = |port: &Port| addresses.subnets.get(port.segment).cloned();
    let found = ports.iter().enumerate().find_map(|(place, port)| {
        let nets = nets(port).unwrap_or_default();
        let subnet = nets.into_iter().find(|subnet| subnet.holds(address))?;
        Some((place, subnet))
    });
    let Some((place, subnet)) = found else {
        let nets: Vec<String> = ports
            .iter()
            .flat_map(|port| nets(port).unwrap_or_default())
            .map(|subnet| subnet.to_string())
            .collect();
        let what = Mistake::Outside {
            address,
            node: name(node),
            networks: match nets.is_empty() {
                true => "it has none".to_owned(),
                false => nets.join(", "),
            },
        };
        return Err(at(&given.place, what));
    };
    let cidr = Cidr {
        address,
        prefix: subnet.prefix,
    };
    if !cidr.is_usable() {
        let text = format!("{address} cannot be a node's address in {subnet}");
        return Err(at(&given.place, Mistake::Other(text)));
    }
    if let Some(owner) = addresses.owners.get(&address) {
        let owner = name(*owner);
        return Err(at(&given.place, Mistake::Taken { address, owner }));
    }
    put(addresses, node, place, address, subnet.prefix);
    Ok(())
}

/// The networks of every segment: as given, checked against each other, else chosen beside them.
fn subnets(topology: &Topology) -> Result<Vec<Vec<Cidr>>, LabError> {
    let mut given: Vec<(&At<Cidr>, &str)> = Vec::new();
    for segment in &topology.segments {
        for subnet in &segment.subnets {
            if let Some((other, owner)) = given
                .iter()
                .find(|(other, _)| other.value.overlaps(subnet.value))
            {
                return Err(at(
                    &subnet.place,
                    Mistake::Overlap {
                        subnet: subnet.value,
                        other: other.value,
                        owner: (*owner).to_owned(),
                    },
                ));
            }
            let family = subnet.value.address.is_ipv6();
            let same = |other: &&At<Cidr>| other.value.address.is_ipv6() == family;
            // LANs that a link joins are one network.
            if let Some(first) = segment.subnets.iter().find(same)
                && !std::ptr::eq(first, subnet)
            {
                let text = format!(
                    "LANs that a link joins are one network, and it has {} already",
                    first.value
                );
                return Err(at(&subnet.place, Mistake::Other(text)));
            }
            given.push((subnet, &segment.name));
        }
    }
    let mut members = vec![0usize; topology.segments.len()];
    for port in topology.ports.iter().flatten() {
        if let Some(count) = members.get_mut(port.segment) {
            *count += 1;
        }
    }
    let mut number = 0u32;
    let mut all = Vec::with_capacity(topology.segments.len());
    for (segment, members) in topology.segments.iter().zip(members) {
        if !segment.subnets.is_empty() {
            let mut nets: Vec<Cidr> = segment.subnets.iter().map(|s| s.value).collect();
            nets.sort_by_key(|net| net.address.is_ipv6());
            all.push(nets);
            continue;
        }
        // Of 256 addresses, or of 4096.
        let (step, prefix) = if members > SMALL { (16, 20) } else { (1, 24) };
        let chosen = loop {
            number = (number / step + 1) * step;
            let four = Ipv4Addr::from_bits(0x0a00_0000u32.wrapping_add(number << 8));
            let four = Cidr {
                address: four.into(),
                prefix,
            };
            let six = Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(number) << 64);
            let six = Cidr {
                address: six.into(),
                prefix: 64,
            };
            let clear = |net: Cidr| given.iter().all(|(other, _)| !other.value.overlaps(net));
            if number >= 0xffff {
                let text = "there is no network left for it: give it subnets".to_owned();
                return Err(at(&segment.place, Mistake::Other(text)));
            }
            if clear(four) && clear(six) {
                number += step - 1;
                break vec![four, six];
            }
        };
        all.push(chosen);
    }
    Ok(all)
}
