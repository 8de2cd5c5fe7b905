//! From what a lab's file asks to every switch, cable, address and route of it.
//!
//! All of it is in one user namespace and one network namespace, in which the switches are bridges; every node is a
//! network namespace of its own.

mod addresses;
mod explain;
mod graph;
pub mod ospf;
mod routes;
mod shape;
mod topology;

#[cfg(test)]
mod tests;

pub use graph::{dot, drawing, svg};
pub use shape::tbf_bytes;

use crate::facts::lab::LabFacts;
use crate::names::JailName;
use crate::net::address::{Cidr, Mac};
use crate::spec::lab::{LabError, LabSpec, NodeRoot};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// A switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// The LAN's name.
    pub name: String,
    /// Whether it speaks the spanning tree protocol.
    pub stp: bool,
    /// Its largest packet.
    pub mtu: Option<u32>,
    /// The networks of the LAN.
    pub subnets: Vec<Cidr>,
}

/// What makes a link slow, late or lossy, as tc(8) says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Queue {
    /// tc-netem(8)
    Netem {
        /// Microseconds.
        delay: u32,
        /// Of a million packets.
        loss: u32,
        /// Bits a second; 0: no limit.
        rate: u64,
    },
    /// tc-tbf(8)
    Tbf {
        /// Bits a second.
        rate: u64,
    },
}

/// A node's end of a cable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name in the node: `eth0` and up.
    pub name: String,
    /// Its link-level address.
    pub mac: Mac,
    /// Its largest packet.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// What is at the other end: a LAN, or a node.
    pub to: String,
    /// How packets leave by it.
    pub queue: Option<Queue>,
}

/// A way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// To this network; all addresses of a family: the default route.
    pub to: Cidr,
    /// By this router.
    pub via: IpAddr,
    /// The interface, by its place among the node's.
    pub interface: usize,
}

/// A router or a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabNode {
    /// Its name, which is its host name.
    pub name: String,
    /// Whether it hands packets on.
    pub router: bool,
    /// Whether a daemon finds its ways by OSPF.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ospf: bool,
    /// Its ends of cables.
    pub interfaces: Vec<Interface>,
    /// Its ways besides those of its own networks.
    pub routes: Vec<Way>,
    /// The interfaces by which packets leave under its own address.
    pub nat: Vec<String>,
    /// Its files.
    pub root: NodeRoot,
    /// What it runs from the start.
    pub run: Vec<String>,
}

/// What a cable ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// A node's interface.
    Node {
        /// The node's place in the plan.
        node: usize,
        /// The interface's place in the node.
        interface: usize,
    },
    /// A switch, by its place in the plan. The port is called after the cable.
    Switch(usize),
}

/// A cable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cable {
    /// What it joins; a switch is never before a node.
    pub ends: [End; 2],
    /// The largest packet.
    pub mtu: Option<u32>,
    /// How packets leave a switch by it.
    pub queue: Option<Queue>,
}

/// What a check looks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// Who asks.
    pub from: usize,
    /// Who is asked.
    pub to: usize,
    /// Whether he is to answer.
    pub reach: bool,
}

/// A lab, every detail of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabPlan {
    /// Its name.
    pub name: JailName,
    /// The switches.
    pub switches: Vec<Switch>,
    /// The nodes.
    pub nodes: Vec<LabNode>,
    /// The cables.
    pub cables: Vec<Cable>,
    /// What a check looks for; that all reach all when there is nothing.
    pub expects: Vec<Expectation>,
    /// What a person should know: what was left out.
    pub notes: Vec<String>,
}

/// Plans a lab. Pure.
///
/// # Errors
/// The first thing of the file that cannot be, and where it stands.
pub fn plan_lab(spec: &LabSpec, facts: &LabFacts) -> Result<LabPlan, LabError> {
    let topology = topology::build(spec)?;
    let mut notes = Vec::new();
    let shapes = shape::queues(spec, facts, &mut notes)?;
    let addresses = addresses::assign(spec, &topology)?;
    let routes = routes::find(spec, &topology, &addresses)?;
    Ok(topology::assemble(
        spec, topology, &shapes, addresses, routes, notes,
    ))
}

/// The name of a switch's end of a cable, by the cable's place in the plan; of a cable between two switches the second
/// end has `b` behind it.
pub fn port_name(cable: usize, second: bool) -> String {
    format!("p{cable}{}", if second { "b" } else { "" })
}

impl LabPlan {
    /// A node by its name.
    pub fn node(&self, name: &str) -> Option<(usize, &LabNode)> {
        let mut nodes = self.nodes.iter().enumerate();
        nodes.find(|(_, node)| node.name == name)
    }

    /// hosts(5) of every node: the names of all.
    pub fn hosts(&self) -> String {
        let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n");
        for node in &self.nodes {
            for address in node.interfaces.iter().flat_map(|i| &i.addresses) {
                text.push_str(&format!("{}\t{}\n", address.address, node.name));
            }
        }
        text
    }

    /// Every pair that a check tries, with what is to come of it.
    pub fn pairs(&self) -> Vec<Expectation> {
        if !self.expects.is_empty() {
            return self.expects.clone();
        }
        let all = 0..self.nodes.len();
        let pairs = all
            .clone()
            .flat_map(|from| all.clone().map(move |to| (from, to)));
        pairs
            .filter(|(from, to)| from != to)
            .map(|(from, to)| Expectation {
                from,
                to,
                reach: true,
            })
            .collect()
    }

    /// The plan as commands of the classic tools.
    pub fn explain(&self) -> Vec<crate::explain::ExplainLine> {
        explain::explain(self)
    }

    fn end(&self, end: End, cable: usize, second: bool) -> String {
        match end {
            End::Node { node, interface } => {
                let node = self.nodes.get(node);
                let interface = node.and_then(|node| node.interfaces.get(interface));
                match (node, interface) {
                    (Some(node), Some(interface)) => format!("{}:{}", node.name, interface.name),
                    _ => String::new(),
                }
            }
            End::Switch(switch) => {
                let name = self.switches.get(switch).map(|s| s.name.as_str());
                format!("{}:{}", name.unwrap_or_default(), port_name(cable, second))
            }
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Netem { delay, loss, rate } => {
                f.write_str("netem")?;
                if *delay > 0 {
                    write!(f, " delay {delay}us")?;
                }
                if *loss > 0 {
                    write!(f, " loss {}.{:04}%", loss / 10_000, loss % 10_000)?;
                }
                if *rate > 0 {
                    write!(f, " rate {rate}bit")?;
                }
                Ok(())
            }
            Self::Tbf { rate } => {
                let (burst, limit) = shape::tbf_bytes(*rate);
                write!(f, "tbf rate {rate}bit burst {burst}b limit {limit}b")
            }
        }
    }
}

impl fmt::Display for LabPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "start lab {}", self.name)?;
        writeln!(
            f,
            "  new user, network and process namespaces, held by a process"
        )?;
        for switch in &self.switches {
            write!(f, "  switch {}", switch.name)?;
            for subnet in &switch.subnets {
                write!(f, " {subnet}")?;
            }
            writeln!(f, "{}", if switch.stp { ", spanning tree" } else { "" })?;
        }
        for (at, cable) in self.cables.iter().enumerate() {
            let [a, b] = cable.ends;
            write!(
                f,
                "  cable {} - {}",
                self.end(a, at, false),
                self.end(b, at, true)
            )?;
            if let Some(mtu) = cable.mtu {
                write!(f, ", mtu {mtu}")?;
            }
            match &cable.queue {
                Some(queue) => writeln!(f, ", {queue}")?,
                None => writeln!(f)?,
            }
        }
        for node in &self.nodes {
            let kind = if node.router { "router" } else { "host" };
            writeln!(f, "  {kind} {}", node.name)?;
            for interface in &node.interfaces {
                write!(f, "    {} {}", interface.name, interface.mac)?;
                for address in &interface.addresses {
                    write!(f, " {address}")?;
                }
                writeln!(f)?;
            }
            for way in &node.routes {
                writeln!(f, "    route {} via {}", route_word(way.to), way.via)?;
            }
            for name in &node.nat {
                writeln!(f, "    masquerade what leaves by {name}")?;
            }
            match &node.root {
                NodeRoot::Host => {}
                NodeRoot::Image(image) => writeln!(f, "    files of image {image}")?,
                NodeRoot::Directory(path) => {
                    writeln!(f, "    files of {}", crate::explain::shown(path))?;
                }
            }
            if !node.run.is_empty() {
                let words: Vec<String> = node.run.iter().map(crate::explain::word).collect();
                writeln!(f, "    run {}", words.join(" "))?;
            }
        }
        self.notes
            .iter()
            .try_for_each(|note| writeln!(f, "  note: {note}"))
    }
}

/// A network as ip-route(8) writes it.
pub fn route_word(to: Cidr) -> String {
    if to.prefix == 0 {
        "default".to_owned()
    } else {
        to.to_string()
    }
}
