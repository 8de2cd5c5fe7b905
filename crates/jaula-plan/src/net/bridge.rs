//! Bridges: made, removed, given ports; and the other links that networks are made of.

use crate::explain::ExplainLine;
use crate::facts::net::{AddressFacts, LinkFacts, MARK, NetFacts};
use crate::names::LinkName;
use crate::net::error::{NetPlanError, NoPort};
use crate::net::mark::Moved;
use crate::net::port::{attached, bridge, check, detached, free, link};
use crate::net::set::{check_bridge, range};
use crate::net::step::{LinkKind, NetStep, NewLink};
use crate::spec::net::{BondMode, BridgeSpec, LinkSet};
use std::collections::BTreeSet;
use std::fmt;

/// Ordered changes to networks.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NetPlan {
    /// What it is for, in a few words.
    pub title: String,
    /// What should be known besides.
    pub notes: Vec<String>,
    /// The changes, in order.
    pub steps: Vec<NetStep>,
}

impl NetPlan {
    pub(super) fn new(title: String) -> Self {
        Self {
            title,
            notes: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// The plan as commands of ip(8), bridge(8) and sysctl(8).
    pub fn explain(&self) -> Vec<ExplainLine> {
        self.steps.iter().map(NetStep::explain).collect()
    }
}

impl fmt::Display for NetPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        if self.steps.is_empty() {
            writeln!(f, "  nothing to do")?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {}. {step}", number.saturating_add(1))?;
        }
        self.notes
            .iter()
            .try_for_each(|note| writeln!(f, "  note: {note}"))
    }
}

fn untaken(facts: &NetFacts, name: &LinkName) -> Result<(), NetPlanError> {
    match facts.link(name) {
        None => Ok(()),
        Some(link) => Err(NetPlanError::NameTaken {
            name: name.clone(),
            kind: link.kind_word().to_owned(),
        }),
    }
}

fn twice(bridge: &LinkName, ports: &[LinkName]) -> Result<(), NetPlanError> {
    let mut seen = BTreeSet::new();
    match ports.iter().find(|port| !seen.insert(*port)) {
        None => Ok(()),
        Some(port) => Err(NetPlanError::NoPort {
            port: port.clone(),
            bridge: bridge.clone(),
            why: NoPort::Twice,
        }),
    }
}

fn made(name: &LinkName, kind: LinkKind) -> NewLink {
    NewLink {
        name: name.clone(),
        kind,
        mac: None,
        mtu: None,
        alias: Some(MARK.to_owned()),
    }
}

fn set_up(name: &LinkName, up: bool) -> NetStep {
    let set = |up| LinkSet {
        up: Some(up),
        ..LinkSet::default()
    };
    NetStep::SetLink {
        name: name.clone(),
        to: set(up),
        before: set(!up),
    }
}

/// What making a bridge takes.
///
/// # Errors
/// When it cannot be had.
pub fn plan_add(spec: &BridgeSpec, facts: &NetFacts) -> Result<NetPlan, NetPlanError> {
    let name = &spec.name;
    untaken(facts, name)?;
    check_bridge(&spec.set, None)?;
    twice(name, &spec.ports)?;
    let first = match spec.ports.first() {
        Some(port) => Some(link(facts, port)?),
        None => None,
    };
    if let Some(mtu) = spec.mtu {
        range("mtu", mtu, 68, 65535)?;
    }
    let mtu = spec.mtu.or(first.map(|port| port.mtu)).unwrap_or(1500);
    let mut ports = Vec::new();
    for port in &spec.ports {
        ports.push(check(facts, name, mtu, port, spec.move_address)?);
    }
    let given: Vec<&LinkName> = spec.ports.iter().filter(|_| spec.move_address).collect();
    for address in &spec.addresses {
        free(facts, *address, &given)?;
    }
    let mut plan = NetPlan::new(format!("make bridge {name}"));
    let mut bridge = made(name, LinkKind::Bridge { set: spec.set });
    bridge.mtu = (mtu != 1500).then_some(mtu);
    // The address by which others know the host stays with the addresses that move.
    let known = ports
        .iter()
        .filter(|_| spec.move_address)
        .find(|port| facts.addresses_of(&port.name).next().is_some());
    bridge.mac = spec.mac.or_else(|| known?.mac);
    plan.steps.push(NetStep::AddLink { link: bridge });
    for address in &spec.addresses {
        plan.steps.push(NetStep::AddAddress {
            address: AddressFacts::new(name.clone(), *address),
        });
    }
    if spec.up || !spec.addresses.is_empty() || !ports.is_empty() {
        plan.steps.push(set_up(name, true));
    }
    for port in ports {
        let notes = &mut plan.notes;
        plan.steps
            .extend(attached(facts, name, port, spec.move_address, notes));
    }
    Ok(plan)
}

/// What removing a link takes that we made: a bridge with what hangs on it, a VLAN, several cards as one.
///
/// # Errors
/// When it is somebody else's, or guests use it, and it is not `forced`.
pub fn plan_rm(name: &LinkName, forced: bool, facts: &NetFacts) -> Result<NetPlan, NetPlanError> {
    let found = link(facts, name)?;
    if !found.is_ours() && (!forced || found.kind.is_none()) {
        return Err(NetPlanError::NotOurs {
            name: name.clone(),
            maker: found.maker().map(|maker| maker.word()),
        });
    }
    let ports = facts.ports(name);
    // A card whose addresses moved goes back to what it was.
    let guest =
        |port: &&&LinkFacts| port.leads_away && Moved::read(port.alias.as_deref()).is_none();
    // The cards of several as one are no guests, wherever their cables lead.
    let guests = ports
        .iter()
        .filter(|_| found.bridge.is_some())
        .filter(guest);
    let guests: Vec<_> = guests.map(|port| port.name.clone()).collect();
    if !guests.is_empty() && !forced {
        let name = name.clone();
        return Err(NetPlanError::Guests { name, guests });
    }
    let mut plan = NetPlan::new(format!("remove {} {name}", found.kind_word()));
    if !found.is_ours() {
        plan.notes.push(format!("{name} was not made by jaula"));
    }
    for port in ports {
        // Where the firewall no longer sees what it sends, a guest would speak to the host itself.
        if port.up && guests.contains(&port.name) {
            plan.steps.push(set_up(&port.name, false));
        }
        plan.steps.extend(detached(facts, name, port));
    }
    plan.steps.push(NetStep::RemoveLink {
        name: name.clone(),
        index: Some(found.index),
    });
    Ok(plan)
}

/// What giving a bridge ports takes.
///
/// # Errors
/// When one cannot be a port.
pub fn plan_attach(
    name: &LinkName,
    ports: &[LinkName],
    move_address: bool,
    facts: &NetFacts,
) -> Result<NetPlan, NetPlanError> {
    let found = bridge(facts, name)?;
    twice(name, ports)?;
    let mut plan = NetPlan::new(format!("attach {} to {name}", joined(ports)));
    let first = ports.first().and_then(|port| facts.link(port));
    // The kernel gives a bridge without ports the size of its first one.
    let mtu = match first {
        Some(first) if facts.ports(name).is_empty() => first.mtu,
        _ => found.mtu,
    };
    let mut checked: Vec<&LinkFacts> = Vec::new();
    for port in ports {
        checked.push(check(facts, name, mtu, port, move_address)?);
    }
    if move_address && !found.up {
        plan.steps.push(set_up(name, true));
    }
    for port in checked {
        let notes = &mut plan.notes;
        plan.steps
            .extend(attached(facts, name, port, move_address, notes));
    }
    Ok(plan)
}

/// What taking ports from a bridge takes.
///
/// # Errors
/// When one is none of its ports.
pub fn plan_detach(
    name: &LinkName,
    ports: &[LinkName],
    facts: &NetFacts,
) -> Result<NetPlan, NetPlanError> {
    bridge(facts, name)?;
    twice(name, ports)?;
    let mut plan = NetPlan::new(format!("detach {} from {name}", joined(ports)));
    for port in ports {
        let found = link(facts, port)?;
        if found.master.as_ref() != Some(name) {
            return Err(NetPlanError::NotAPort {
                port: port.clone(),
                bridge: name.clone(),
            });
        }
        plan.steps.extend(detached(facts, name, found));
    }
    Ok(plan)
}

fn joined(names: &[LinkName]) -> String {
    let names: Vec<_> = names.iter().map(LinkName::as_str).collect();
    names.join(", ")
}

/// What making a VLAN of a card takes (IEEE 802.1Q): numbers are from 1 to 4094.
///
/// # Errors
/// When the name is taken, or there is no such card.
pub fn plan_vlan(
    name: &LinkName,
    below: &LinkName,
    id: u16,
    facts: &NetFacts,
) -> Result<NetPlan, NetPlanError> {
    untaken(facts, name)?;
    let card = link(facts, below)?;
    range("the number of a VLAN", u32::from(id), 1, 4094)?;
    if card.loopback || !card.ethernet {
        let why = NoPort::NoEthernet;
        let (port, bridge) = (below.clone(), name.clone());
        return Err(NetPlanError::NoPort { port, bridge, why });
    }
    let mut plan = NetPlan::new(format!("make vlan {name}"));
    let below = below.clone();
    plan.steps.push(NetStep::AddLink {
        link: made(name, LinkKind::Vlan { below, id }),
    });
    plan.steps.push(set_up(name, true));
    Ok(plan)
}

/// How often carriers of cards that are one are looked at, in thousandths of a second.
const LOOK: u32 = 100;

fn immovable(error: NetPlanError) -> NetPlanError {
    match error {
        NetPlanError::NoPort {
            port,
            bridge,
            why: NoPort::Addresses { addresses, .. },
        } => {
            let movable = false;
            let why = NoPort::Addresses { addresses, movable };
            NetPlanError::NoPort { port, bridge, why }
        }
        other => other,
    }
}

/// What making one link of several cards takes.
///
/// # Errors
/// When the name is taken, or one of them cannot be.
pub fn plan_bond(
    name: &LinkName,
    mode: BondMode,
    cards: &[LinkName],
    facts: &NetFacts,
) -> Result<NetPlan, NetPlanError> {
    untaken(facts, name)?;
    twice(name, cards)?;
    let mut found = Vec::new();
    for card in cards {
        let mtu = link(facts, card)?.mtu;
        found.push(check(facts, name, mtu, card, false).map_err(immovable)?);
    }
    let mut plan = NetPlan::new(format!("make bond {name}"));
    let miimon = LOOK;
    plan.steps.push(NetStep::AddLink {
        link: made(name, LinkKind::Bond { mode, miimon }),
    });
    for card in found {
        // The kernel takes only what is down, and sets it up itself.
        if card.up {
            plan.steps.push(set_up(&card.name, false));
        }
        plan.steps.push(NetStep::SetMaster {
            name: card.name.clone(),
            to: Some(name.clone()),
            before: None,
        });
    }
    plan.steps.push(set_up(name, true));
    Ok(plan)
}
