//! Who is joined with whom: segments, on which everybody hears everybody, and the interfaces on them.

use super::addresses::Addresses;
use super::routes::Routes;
use super::shape::Shapes;
use super::{Cable, End, Expectation, Interface, LabNode, LabPlan, Switch};
use crate::net::address::{Cidr, Mac};
use crate::spec::lab::{At, LabError, LabSpec, MAX_NODES, Mistake};
use crate::spec::recipe::Place;
use std::collections::BTreeMap;

/// The most cables and the most LANs.
const MAX_CABLES: usize = 4000;

/// An interface of a node.
pub struct Port {
    /// The node.
    pub node: usize,
    /// Its segment.
    pub segment: usize,
    /// What is at the other end.
    pub to: String,
    cable: usize,
}

/// Where everybody hears everybody.
pub struct Segment {
    /// What a person calls it.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// Its networks as given.
    pub subnets: Vec<At<Cidr>>,
}

/// All of it.
pub struct Topology {
    /// The segments.
    pub segments: Vec<Segment>,
    /// Of each node its interfaces, in order.
    pub ports: Vec<Vec<Port>>,
    /// Of each LAN its segment.
    pub of_lan: Vec<usize>,
    cables: Vec<(Wire, [Foot; 2])>,
    expects: Vec<Expectation>,
}

/// Which part of the file a cable is of.
#[derive(Clone, Copy)]
enum Wire {
    Lan(usize),
    Link(usize),
}

/// What a cable ends in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Foot {
    Node(usize),
    Lan(usize),
}

/// Sets that are put together one by one.
pub struct Sets(Vec<usize>);

impl Sets {
    pub fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    pub fn of(&self, mut at: usize) -> usize {
        // A set's first points to itself, and the others to one before them.
        while let Some(up) = self.0.get(at).copied().filter(|up| *up != at) {
            at = up;
        }
        at
    }

    /// Whether they were two sets.
    pub fn join(&mut self, a: usize, b: usize) -> bool {
        let (a, b) = (self.of(a), self.of(b));
        let (first, second) = (a.min(b), a.max(b));
        if let Some(up) = self.0.get_mut(second) {
            *up = first;
        }
        a != b
    }
}

fn wrong<T>(at: &At<T>, what: Mistake) -> LabError {
    LabError {
        place: at.place.clone(),
        what,
    }
}

struct Names {
    all: BTreeMap<String, (Foot, &'static str, usize)>,
}

impl Names {
    fn read(spec: &LabSpec) -> Result<Self, LabError> {
        let mut all: BTreeMap<String, (Foot, &'static str, usize)> = BTreeMap::new();
        let mut entries: Vec<(&str, &Place, Foot, &'static str)> = Vec::new();
        for (at, lan) in spec.lans.iter().enumerate() {
            entries.push((
                lan.name.value.as_str(),
                &lan.name.place,
                Foot::Lan(at),
                "LAN",
            ));
        }
        for (at, node) in spec.nodes.iter().enumerate() {
            let kind = if node.router { "router" } else { "host" };
            entries.push((
                node.name.value.as_str(),
                &node.name.place,
                Foot::Node(at),
                kind,
            ));
        }
        entries.sort_by_key(|(_, place, ..)| (place.line, place.column));
        for (name, place, foot, kind) in entries {
            if let Some((_, what, line)) = all.get(name) {
                return Err(LabError {
                    place: place.clone(),
                    what: Mistake::Duplicate {
                        what,
                        name: name.to_owned(),
                        line: *line,
                    },
                });
            }
            all.insert(name.to_owned(), (foot, kind, place.line));
        }
        Ok(Self { all })
    }

    fn find(
        &self,
        name: &At<String>,
        what: &'static str,
        fits: impl Fn(Foot) -> bool,
    ) -> Result<Foot, LabError> {
        match self.all.get(&name.value) {
            Some((foot, ..)) if fits(*foot) => Ok(*foot),
            _ => {
                let known = self.all.iter().filter(|(_, (foot, ..))| fits(*foot));
                // Of a letter or two, every word is near.
                let known = known.filter(|_| name.value.len() > 2);
                let known = known.map(|(name, _)| name.as_str());
                let nearest = crate::rootfs::nearest(&name.value, known);
                Err(wrong(
                    name,
                    Mistake::Unknown {
                        what,
                        name: name.value.chars().take(60).collect(),
                        nearest: nearest.into_iter().next(),
                    },
                ))
            }
        }
    }

    fn lan(&self, name: &At<String>) -> Result<usize, LabError> {
        match self.find(name, "LAN", |foot| matches!(foot, Foot::Lan(_)))? {
            Foot::Lan(lan) => Ok(lan),
            Foot::Node(_) => Ok(0),
        }
    }

    fn node(&self, name: &At<String>) -> Result<usize, LabError> {
        match self.find(name, "node", |foot| matches!(foot, Foot::Node(_)))? {
            Foot::Node(node) => Ok(node),
            Foot::Lan(_) => Ok(0),
        }
    }
}

pub fn build(spec: &LabSpec) -> Result<Topology, LabError> {
    limits(spec)?;
    let names = Names::read(spec)?;
    let mut cables = Vec::new();
    for (at, node) in spec.nodes.iter().enumerate() {
        let mut seen = Vec::new();
        for lan in &node.lans {
            let found = names.lan(lan)?;
            if seen.contains(&found) {
                let text = format!("{} is on {} already", node.name.value, lan.value);
                return Err(wrong(lan, Mistake::Other(text)));
            }
            seen.push(found);
            cables.push((Wire::Lan(found), [Foot::Node(at), Foot::Lan(found)]));
        }
        for lan in &node.nat {
            let found = names.lan(lan)?;
            let text = match node.router {
                false => "only a router has nat".to_owned(),
                true if seen.contains(&found) => continue,
                true => format!("{} is not on {}", node.name.value, lan.value),
            };
            return Err(wrong(lan, Mistake::Other(text)));
        }
    }
    let mut lans = Sets::new(spec.lans.len());
    // Of switches without the spanning tree protocol only: one that has it breaks every loop it is in.
    let mut plain = Sets::new(spec.lans.len());
    for (at, link) in spec.links.iter().enumerate() {
        let [first, second] = &link.ends;
        let any = |_: Foot| true;
        let mut feet = [
            names.find(first, "node or LAN", any)?,
            names.find(second, "node or LAN", any)?,
        ];
        match feet {
            [Foot::Lan(a), Foot::Lan(b)] => {
                let stp = |lan: usize| spec.lans.get(lan).is_some_and(|lan| lan.stp);
                lans.join(a, b);
                if !stp(a) && !stp(b) && !plain.join(a, b) {
                    let (a, b) = (first.value.clone(), second.value.clone());
                    return Err(wrong(second, Mistake::Loop { a, b }));
                }
            }
            [Foot::Node(a), Foot::Node(b)] if a == b => {
                let text = format!("a link from {} to itself leads nowhere", first.value);
                return Err(wrong(second, Mistake::Other(text)));
            }
            [Foot::Lan(_), Foot::Node(_)] => feet.reverse(),
            _ => {}
        }
        let both_nodes = matches!(feet, [Foot::Node(_), Foot::Node(_)]);
        if let (false, Some(subnet)) = (both_nodes, link.subnets.first()) {
            let text = "only a link between two nodes has a network of its own".to_owned();
            return Err(wrong(subnet, Mistake::Other(text)));
        }
        cables.push((Wire::Link(at), feet));
    }
    let topology = segments(spec, cables, &lans, expects(spec, &names)?);
    if !spec.islands {
        connected(spec, &topology)?;
    }
    Ok(topology)
}

fn limits(spec: &LabSpec) -> Result<(), LabError> {
    let over = |place: &Place, text: String| LabError {
        place: place.clone(),
        what: Mistake::Other(text),
    };
    if let Some(node) = spec.nodes.get(MAX_NODES) {
        let text = format!("a lab has at most {MAX_NODES} nodes");
        return Err(over(&node.name.place, text));
    }
    let of_nodes: usize = spec.nodes.iter().map(|node| node.lans.len()).sum();
    if of_nodes + spec.links.len() + spec.lans.len() > MAX_CABLES {
        let first = spec.lans.first().map(|lan| &lan.name.place);
        let first = first.or(spec.links.first().map(|link| &link.place));
        if let Some(place) = first {
            let text = format!("a lab has at most {MAX_CABLES} LANs and cables");
            return Err(over(place, text));
        }
    }
    Ok(())
}

fn expects(spec: &LabSpec, names: &Names) -> Result<Vec<Expectation>, LabError> {
    let expects = spec.expects.iter().map(|expect| {
        Ok(Expectation {
            from: names.node(&expect.from)?,
            to: names.node(&expect.to)?,
            reach: expect.reach,
        })
    });
    expects.collect()
}

fn segments(
    spec: &LabSpec,
    cables: Vec<(Wire, [Foot; 2])>,
    lans: &Sets,
    expects: Vec<Expectation>,
) -> Topology {
    let mut segments: Vec<Segment> = Vec::new();
    let mut of_lan = vec![0; spec.lans.len()];
    for (at, lan) in spec.lans.iter().enumerate() {
        let first = lans.of(at);
        let segment = match of_lan.get(first).copied() {
            Some(segment) if first != at => segment,
            _ => {
                segments.push(Segment {
                    name: lan.name.value.to_string(),
                    place: lan.name.place.clone(),
                    subnets: Vec::new(),
                });
                segments.len() - 1
            }
        };
        if let Some(entry) = of_lan.get_mut(at) {
            *entry = segment;
        }
        if let Some(segment) = segments.get_mut(segment) {
            segment.subnets.extend(lan.subnets.iter().cloned());
        }
    }
    let mut ports: Vec<Vec<Port>> = spec.nodes.iter().map(|_| Vec::new()).collect();
    let node_name = |node: usize| spec.nodes.get(node).map(|node| node.name.value.to_string());
    let mut add = |node: usize, segment: usize, to: Option<String>, cable: usize| {
        if let Some(list) = ports.get_mut(node) {
            list.push(Port {
                node,
                segment,
                to: to.unwrap_or_default(),
                cable,
            });
        }
    };
    for (at, (wire, feet)) in cables.iter().enumerate() {
        match *feet {
            [Foot::Node(node), Foot::Lan(lan)] => {
                let name = spec.lans.get(lan).map(|lan| lan.name.value.to_string());
                add(node, of_lan.get(lan).copied().unwrap_or(0), name, at);
            }
            [Foot::Node(a), Foot::Node(b)] => {
                let Wire::Link(link) = *wire else { continue };
                let Some(link) = spec.links.get(link) else {
                    continue;
                };
                let [first, second] = &link.ends;
                segments.push(Segment {
                    name: format!("the link from {} to {}", first.value, second.value),
                    place: link.place.clone(),
                    subnets: link.subnets.clone(),
                });
                add(a, segments.len() - 1, node_name(b), at);
                add(b, segments.len() - 1, node_name(a), at);
            }
            _ => {}
        }
    }
    Topology {
        segments,
        ports,
        of_lan,
        cables,
        expects,
    }
}

/// Every node is joined to every other somehow.
fn connected(spec: &LabSpec, topology: &Topology) -> Result<(), LabError> {
    let nodes = spec.nodes.len();
    let mut sets = Sets::new(nodes + topology.segments.len());
    for port in topology.ports.iter().flatten() {
        sets.join(port.node, nodes + port.segment);
    }
    for (at, node) in spec.nodes.iter().enumerate().skip(1) {
        if sets.of(at) != sets.of(0)
            && let Some(first) = spec.nodes.first()
        {
            return Err(wrong(
                &node.name,
                Mistake::Unreachable {
                    name: node.name.value.to_string(),
                    other: first.name.value.to_string(),
                },
            ));
        }
    }
    Ok(())
}

/// The link-level address of the `number`th interface of a lab: given out locally (IEEE 802), always the same.
fn mac(number: usize) -> Mac {
    let [.., a, b, c] = number.to_be_bytes();
    Mac([0x02, 0x6a, 0x61, a, b, c])
}

pub fn assemble(
    spec: &LabSpec,
    topology: Topology,
    shapes: &Shapes,
    mut addresses: Addresses,
    mut routes: Routes,
    notes: Vec<String>,
) -> LabPlan {
    let look = |wire: Wire| match wire {
        Wire::Lan(at) => (
            spec.lans.get(at).and_then(|lan| lan.mtu),
            shapes.lans.get(at).copied().flatten(),
        ),
        Wire::Link(at) => (
            spec.links.get(at).and_then(|link| link.mtu),
            shapes.links.get(at).copied().flatten(),
        ),
    };
    let switches = spec.lans.iter().zip(&topology.of_lan);
    let switches = switches.map(|(lan, segment)| Switch {
        name: lan.name.value.to_string(),
        stp: lan.stp,
        mtu: lan.mtu,
        subnets: addresses.subnets.get(*segment).cloned().unwrap_or_default(),
    });
    let switches = switches.collect();
    let mut number = 0;
    let mut nodes = Vec::with_capacity(spec.nodes.len());
    let mut places: BTreeMap<(usize, usize), End> = BTreeMap::new();
    for (at, (node, ports)) in spec.nodes.iter().zip(&topology.ports).enumerate() {
        let mut interfaces = Vec::with_capacity(ports.len());
        let mut nat = Vec::new();
        for (place, port) in ports.iter().enumerate() {
            number += 1;
            let wire = topology.cables.get(port.cable).map(|(wire, _)| *wire);
            let (mtu, queue) = wire.map(look).unwrap_or((None, None));
            let name = format!("eth{place}");
            if node.nat.iter().any(|lan| lan.value == port.to) {
                nat.push(name.clone());
            }
            places.insert(
                (port.cable, at),
                End::Node {
                    node: at,
                    interface: place,
                },
            );
            let own = addresses.of_ports.get_mut(at);
            let own = own.and_then(|list| list.get_mut(place));
            interfaces.push(Interface {
                name,
                mac: mac(number),
                mtu,
                addresses: own.map(std::mem::take).unwrap_or_default(),
                to: port.to.clone(),
                queue,
            });
        }
        nodes.push(LabNode {
            name: node.name.value.to_string(),
            router: node.router,
            ospf: node.ospf,
            interfaces,
            routes: routes.get_mut(at).map(std::mem::take).unwrap_or_default(),
            nat,
            root: node.root.clone(),
            run: node.run.clone(),
        });
    }
    let cables = topology.cables.iter().enumerate();
    let cables = cables.map(|(at, (wire, feet))| {
        let (mtu, queue) = look(*wire);
        let end = |foot: Foot| match foot {
            Foot::Lan(lan) => End::Switch(lan),
            Foot::Node(node) => places.get(&(at, node)).copied().unwrap_or(End::Switch(0)),
        };
        Cable {
            ends: feet.map(end),
            mtu,
            queue,
        }
    });
    let cables = cables.collect();
    LabPlan {
        name: spec.name.clone(),
        switches,
        nodes,
        cables,
        expects: topology.expects,
        notes,
    }
}
