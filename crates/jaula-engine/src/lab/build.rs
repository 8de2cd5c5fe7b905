//! The network of a lab, made inside its own namespaces by the one process that then holds it.

use super::LabRunError;
use jaula_plan::lab::{Cable, End, Interface, LabNode, LabPlan, Queue, port_name, tbf_bytes};
use jaula_plan::nft::{Chain, Family, Field, Hook, Kind, Statement, Table, Value};
use jaula_sys::SysError;
use jaula_sys::namespace::{join, own_net, unshare_net};
use jaula_sys::netlink::{
    Address, Batch, BridgeSet, LinkSet, NewLink, NewLinkKind, Place, Qdisc, Route, Socket,
};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

/// Numbers of switches begin here, and of their ends of cables: chosen, so that one batch makes a whole network.
const SWITCHES: u32 = 1_000;
const PORTS: u32 = 10_000;
/// Numbers of a node's interfaces begin here; 1 is the loopback interface.
const INTERFACES: u32 = 2;
/// Of a switch with the spanning tree protocol, in hundredths of a second: the shortest that IEEE 802.1D-2004, table
/// 17-1, allows, for nobody wants to wait half a minute.
const QUICK: (u32, u32) = (400, 200);

/// A node's network, open.
struct Net {
    fd: OwnedFd,
    socket: Socket,
}

fn refused(what: impl Into<String>) -> impl FnOnce(SysError) -> LabRunError {
    let what = what.into();
    move |source| LabRunError::Make { what, source }
}

/// A number chosen by a place in the plan. Plans have bounds far below.
fn number(first: u32, place: usize) -> u32 {
    first.saturating_add(u32::try_from(place).unwrap_or(u32::MAX))
}

/// Makes it in the network namespace of this process, which is the switches'. Gives the network namespaces of the
/// nodes, in the plan's order.
pub fn build(plan: &LabPlan) -> Result<Vec<OwnedFd>, LabRunError> {
    let home = own_net().map_err(refused("the switches' network"))?;
    // Switches and their ports have no addresses of their own. A kernel without IPv6 has no such file.
    set("net/ipv6/conf/default/disable_ipv6", "1");
    let mut fabric = Socket::open().map_err(refused("the switches' network"))?;
    let mut nets = Vec::with_capacity(plan.nodes.len());
    for node in &plan.nodes {
        nets.push(net(node)?);
    }
    join(home.as_fd()).map_err(refused("the switches' network"))?;
    let made = |failed: jaula_sys::netlink::Failed| failed.error;
    fabric
        .apply(&switches(plan, &nets))
        .map_err(made)
        .map_err(refused("the switches and their cables"))?;
    for (at, cable) in plan.cables.iter().enumerate() {
        direct(plan, &mut nets, at, cable)?;
    }
    for (node, net) in plan.nodes.iter().zip(&mut nets) {
        let batch = interfaces(node);
        let done = net.socket.apply(&batch).map_err(made);
        done.map_err(refused(format!("the network of {}", node.name)))?;
    }
    Ok(nets.into_iter().map(|net| net.fd).collect())
}

/// A kernel parameter of the network namespace this process is in (sysctl(8)); whether it could be set.
fn set(path: &str, value: &str) -> bool {
    let file = OpenOptions::new()
        .write(true)
        .open(format!("/proc/sys/{path}"));
    file.is_ok_and(|mut file| file.write_all(value.as_bytes()).is_ok())
}

fn net(node: &LabNode) -> Result<Net, LabRunError> {
    let what = || format!("a network for {}", node.name);
    let fd = unshare_net().map_err(refused(what()))?;
    let socket = Socket::open().map_err(refused(what()))?;
    // Nobody else has the addresses of a lab: nothing is waited for.
    set("net/ipv6/conf/default/accept_dad", "0");
    if node.router {
        let v6 = set("net/ipv6/conf/all/forwarding", "1");
        if !set("net/ipv4/ip_forward", "1")
            || !v6 && std::fs::exists("/proc/sys/net/ipv6").unwrap_or(true)
        {
            return Err(LabRunError::Forwarding {
                node: node.name.clone(),
            });
        }
    }
    if !node.nat.is_empty() {
        crate::firewall::put(&[nat(node)]).map_err(|source| LabRunError::Nat {
            node: node.name.clone(),
            source,
        })?;
    }
    Ok(Net { fd, socket })
}

fn nat(node: &LabNode) -> Table {
    let rule = |name: &String| {
        vec![
            Statement::Is {
                field: Field::OutLink,
                not: false,
                value: Value::Link(name.clone()),
            },
            Statement::Masquerade,
        ]
    };
    Table {
        family: Family::Inet,
        name: "lab".to_owned(),
        sets: Vec::new(),
        chains: vec![Chain {
            name: "nat".to_owned(),
            base: Some((Kind::Nat, Hook::Postrouting, 100)),
            rules: node.nat.iter().map(rule).collect(),
        }],
    }
}

/// The switches, and every cable that ends in one.
fn switches(plan: &LabPlan, nets: &[Net]) -> Batch {
    let mut batch = Batch::new();
    for (at, switch) in plan.switches.iter().enumerate() {
        let set = BridgeSet {
            stp: Some(switch.stp),
            forward_delay: switch.stp.then_some(QUICK.0),
            hello_time: switch.stp.then_some(QUICK.1),
            ..BridgeSet::default()
        };
        let mut link = NewLink::new(&switch.name, NewLinkKind::Bridge(set));
        link.index = Some(number(SWITCHES, at));
        link.mtu = switch.mtu;
        link.up = true;
        batch.add_link(&link);
    }
    for (at, cable) in plan.cables.iter().enumerate() {
        let [first, End::Switch(switch)] = cable.ends else {
            continue;
        };
        let name = port_name(at, true);
        let index = number(PORTS, 2 * at);
        let master = number(SWITCHES, switch);
        let other = match first {
            End::Node { node, interface } => {
                let found = plan
                    .nodes
                    .get(node)
                    .and_then(|n| n.interfaces.get(interface));
                let (Some(found), Some(net)) = (found, nets.get(node)) else {
                    continue;
                };
                end(found, interface, Place::Net(net.fd.as_fd()))
            }
            End::Switch(_) => {
                let mut link = NewLink::new("", NewLinkKind::Dummy);
                link.index = Some(index + 1);
                link.mtu = cable.mtu;
                link
            }
        };
        let far = port_name(at, false);
        let other = match first {
            End::Switch(_) => NewLink {
                name: &far,
                ..other
            },
            End::Node { .. } => other,
        };
        let mut link = NewLink::new(&name, NewLinkKind::Veth(&other));
        link.index = Some(index);
        link.mtu = cable.mtu;
        link.master = Some(master);
        link.up = true;
        batch.add_link(&link);
        if let Some(queue) = &cable.queue {
            batch.add_qdisc(index, &qdisc(queue), &name);
        }
        if let End::Switch(first) = first {
            let set = LinkSet {
                master: Some(number(SWITCHES, first)),
                up: Some(true),
                ..LinkSet::default()
            };
            batch.set_link(index + 1, &far, &set);
            if let Some(queue) = &cable.queue {
                batch.add_qdisc(index + 1, &qdisc(queue), &far);
            }
        }
    }
    batch
}

/// A node's end of a cable.
fn end<'a>(interface: &'a Interface, place: usize, at: Place<'a>) -> NewLink<'a> {
    let mut link = NewLink::new(&interface.name, NewLinkKind::Dummy);
    link.index = Some(number(INTERFACES, place));
    link.mac = Some(interface.mac.0);
    link.mtu = interface.mtu;
    // Not up yet: the far end of a pair cannot be before the pair is one.
    link.place = at;
    link
}

/// A cable from node to node.
fn direct(plan: &LabPlan, nets: &mut [Net], at: usize, cable: &Cable) -> Result<(), LabRunError> {
    let [
        End::Node {
            node: a,
            interface: i,
        },
        End::Node {
            node: b,
            interface: j,
        },
    ] = cable.ends
    else {
        return Ok(());
    };
    let find = |node: usize, place: usize| plan.nodes.get(node)?.interfaces.get(place);
    let (Some(near), Some(far)) = (find(a, i), find(b, j)) else {
        return Ok(());
    };
    let Ok([here, there]) = nets.get_disjoint_mut([a, b]) else {
        return Ok(());
    };
    let other = end(far, j, Place::Net(there.fd.as_fd()));
    let mut link = end(near, i, Place::Here);
    link.kind = NewLinkKind::Veth(&other);
    let mut batch = Batch::new();
    batch.add_link(&link);
    let made = here.socket.apply(&batch);
    made.map_err(|failed| LabRunError::Make {
        what: format!("cable {at}"),
        source: failed.error,
    })
}

/// Addresses, queues and ways of a node.
fn interfaces(node: &LabNode) -> Batch {
    let mut batch = Batch::new();
    let up = LinkSet {
        up: Some(true),
        ..LinkSet::default()
    };
    batch.set_link(1, "lo", &up);
    for (place, interface) in node.interfaces.iter().enumerate() {
        let index = number(INTERFACES, place);
        batch.set_link(index, &interface.name, &up);
        for cidr in &interface.addresses {
            let address = Address::new(index, cidr.address, cidr.prefix).certain();
            batch.add_address(&address, &interface.name);
        }
        if let Some(queue) = &interface.queue {
            batch.add_qdisc(index, &qdisc(queue), &interface.name);
        }
    }
    for way in &node.routes {
        let index = number(INTERFACES, way.interface);
        let route = Route::new(way.to.address, way.to.prefix, Some(way.via), index);
        let device = node.interfaces.get(way.interface);
        batch.add_route(&route, device.map_or("", |device| device.name.as_str()));
    }
    batch
}

/// A queue in the kernel's units.
pub fn qdisc(queue: &Queue) -> Qdisc {
    match *queue {
        Queue::Netem { delay, loss, rate } => Qdisc::Netem {
            delay: u64::from(delay) * 1000,
            // Of a million to of 2³² − 1.
            loss: u32::try_from(u64::from(loss) * u64::from(u32::MAX) / 1_000_000)
                .unwrap_or(u32::MAX),
            rate: rate / 8,
        },
        Queue::Tbf { rate } => {
            let (burst, limit) = tbf_bytes(rate);
            Qdisc::Tbf {
                rate: rate / 8,
                burst,
                limit,
            }
        }
    }
}
