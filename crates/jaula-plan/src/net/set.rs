//! What is changed of a bridge, a port or another link, word by word.

use crate::facts::net::{BridgeFacts, NetFacts, PortFacts};
use crate::names::LinkName;
use crate::net::address::Mac;
use crate::net::bridge::NetPlan;
use crate::net::error::NetPlanError;
use crate::net::port::{bridge, link};
use crate::net::step::NetStep;
use crate::spec::net::{BridgeSet, LinkSet, PortSet};

/// The words for links and bridges.
const OF_BRIDGE: &str = "up, down, mtu=, mac=, and of a bridge stp=, priority=, fd=, hello=, maxage=, ageing=, vlan-filtering=";
/// The words for ports.
const OF_PORT: &str = "cost=, priority=, hairpin=, learning=, isolated=";

pub(super) fn range(
    what: &'static str,
    value: u32,
    low: u32,
    high: u32,
) -> Result<(), NetPlanError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(NetPlanError::Range {
        what,
        value: value.to_string(),
        low,
        high,
    })
}

/// A time within seconds, given in hundredths.
fn time(what: &'static str, value: u32, low: u32, high: u32) -> Result<(), NetPlanError> {
    if (low.saturating_mul(100)..=high.saturating_mul(100)).contains(&value) {
        return Ok(());
    }
    Err(NetPlanError::Range {
        what,
        value: super::step::seconds(value),
        low,
        high,
    })
}

/// Refuses what the kernel would (IEEE 802.1D-2004, table 17-1; net/bridge/br_stp.c).
pub(super) fn check_bridge(set: &BridgeSet, now: Option<&BridgeFacts>) -> Result<(), NetPlanError> {
    let stp = set.stp.unwrap_or(now.is_some_and(|now| now.stp));
    if let Some(delay) = set.forward_delay {
        let low = if stp { 2 } else { 0 };
        time("the forward delay in seconds", delay, low, 30)?;
    }
    if let Some(hello) = set.hello_time {
        time("the hello time in seconds", hello, 1, 10)?;
    }
    if let Some(age) = set.max_age {
        time("the maximum age in seconds", age, 6, 40)?;
    }
    Ok(())
}

fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let parts: u32 = format!("{part:0<2}").parse().ok()?;
    whole
        .parse::<u32>()
        .ok()?
        .checked_mul(100)?
        .checked_add(parts)
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn switch(text: &str) -> Option<bool> {
    match text {
        "on" | "yes" | "1" => Some(true),
        "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn small(what: &'static str, text: &str) -> Option<Result<u16, NetPlanError>> {
    let value = number(text)?;
    Some(range(what, value, 0, 65535).map(|()| value as u16))
}

/// What is asked of a link, in words: `stp=on`, `mtu=1400`, `up`.
///
/// # Errors
/// When a word is none.
pub fn read_link(words: &[String]) -> Result<(LinkSet, BridgeSet), NetPlanError> {
    let (mut link, mut bridge) = (LinkSet::default(), BridgeSet::default());
    for word in words {
        let unknown = || NetPlanError::Word {
            word: word.chars().take(64).collect(),
            known: OF_BRIDGE,
        };
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let done = match (key, value) {
            ("up", "") => link.up.replace(true).is_none(),
            ("down", "") => link.up.replace(false).is_none(),
            ("mtu", value) => {
                link.mtu = number(value);
                link.mtu.is_some()
            }
            ("mac", value) => {
                link.mac = value.parse::<Mac>().ok().filter(|mac| mac.is_station());
                link.mac.is_some()
            }
            ("stp", value) => {
                bridge.stp = switch(value);
                bridge.stp.is_some()
            }
            ("vlan-filtering", value) => {
                bridge.vlan_filtering = switch(value);
                bridge.vlan_filtering.is_some()
            }
            ("priority", value) => {
                let value = small("the priority of a bridge", value).ok_or_else(unknown)??;
                bridge.priority.replace(value).is_none()
            }
            ("fd", value) => {
                bridge.forward_delay = hundredths(value);
                bridge.forward_delay.is_some()
            }
            ("hello", value) => {
                bridge.hello_time = hundredths(value);
                bridge.hello_time.is_some()
            }
            ("maxage", value) => {
                bridge.max_age = hundredths(value);
                bridge.max_age.is_some()
            }
            ("ageing", value) => {
                bridge.ageing_time = hundredths(value);
                bridge.ageing_time.is_some()
            }
            _ => false,
        };
        if !done {
            return Err(unknown());
        }
    }
    if let Some(mtu) = link.mtu {
        range("mtu", mtu, 68, 65535)?;
    }
    check_bridge(&bridge, None)?;
    Ok((link, bridge))
}

/// What is asked of a port, in words: `cost=10`, `hairpin=on`.
///
/// # Errors
/// When a word is none.
pub fn read_port(words: &[String]) -> Result<PortSet, NetPlanError> {
    let mut port = PortSet::default();
    for word in words {
        let unknown = || NetPlanError::Word {
            word: word.chars().take(64).collect(),
            known: OF_PORT,
        };
        let (key, value) = word.split_once('=').ok_or_else(unknown)?;
        match key {
            "cost" => {
                let cost = number(value).ok_or_else(unknown)?;
                range("the cost of a port", cost, 1, 65535)?;
                port.cost = Some(cost);
            }
            "priority" => {
                let priority = number(value).ok_or_else(unknown)?;
                range("the priority of a port", priority, 0, 63)?;
                port.priority = u16::try_from(priority).ok();
            }
            "hairpin" => port.hairpin = Some(switch(value).ok_or_else(unknown)?),
            "learning" => port.learning = Some(switch(value).ok_or_else(unknown)?),
            "isolated" => port.isolated = Some(switch(value).ok_or_else(unknown)?),
            _ => return Err(unknown()),
        }
    }
    Ok(port)
}

/// What of `to` is not so already, with what it was. Of each pair the second is what is there.
fn changed<T: PartialEq + Clone>(to: &Option<T>, now: &T) -> (Option<T>, Option<T>) {
    match to {
        Some(to) if to != now => (Some(to.clone()), Some(now.clone())),
        _ => (None, None),
    }
}

/// What changing a link takes; only what is not so already.
///
/// # Errors
/// When there is no such link, or it is no bridge and should be.
pub fn plan_set(
    name: &LinkName,
    to: &LinkSet,
    set: &BridgeSet,
    facts: &NetFacts,
) -> Result<NetPlan, NetPlanError> {
    let found = link(facts, name)?;
    let mut plan = NetPlan::new(format!("set {name}"));
    if *set != BridgeSet::default() {
        bridge(facts, name)?;
    }
    if let Some(now) = &found.bridge {
        check_bridge(set, Some(now))?;
        let (mut to, mut before) = (BridgeSet::default(), BridgeSet::default());
        (to.stp, before.stp) = changed(&set.stp, &now.stp);
        (to.priority, before.priority) = changed(&set.priority, &now.priority);
        (to.forward_delay, before.forward_delay) = changed(&set.forward_delay, &now.forward_delay);
        (to.hello_time, before.hello_time) = changed(&set.hello_time, &now.hello_time);
        (to.max_age, before.max_age) = changed(&set.max_age, &now.max_age);
        (to.ageing_time, before.ageing_time) = changed(&set.ageing_time, &now.ageing_time);
        (to.vlan_filtering, before.vlan_filtering) =
            changed(&set.vlan_filtering, &now.vlan_filtering);
        if to != BridgeSet::default() {
            let name = name.clone();
            plan.steps.push(NetStep::SetBridge { name, to, before });
        }
    }
    let (mut changes, mut before) = (LinkSet::default(), LinkSet::default());
    (changes.up, before.up) = changed(&to.up, &found.up);
    (changes.mtu, before.mtu) = changed(&to.mtu, &found.mtu);
    if let Some(now) = &found.mac {
        (changes.mac, before.mac) = changed(&to.mac, now);
    }
    if changes != LinkSet::default() {
        plan.steps.push(NetStep::SetLink {
            name: name.clone(),
            to: changes,
            before,
        });
    }
    Ok(plan)
}

/// What changing a port takes; only what is not so already.
///
/// # Errors
/// When it is no port of that bridge.
pub fn plan_set_port(
    name: &LinkName,
    port: &LinkName,
    set: &PortSet,
    facts: &NetFacts,
) -> Result<NetPlan, NetPlanError> {
    bridge(facts, name)?;
    let found = link(facts, port)?;
    let now: &PortFacts = match &found.port {
        Some(now) if found.master.as_ref() == Some(name) => now,
        _ => {
            return Err(NetPlanError::NotAPort {
                port: port.clone(),
                bridge: name.clone(),
            });
        }
    };
    let (mut to, mut before) = (PortSet::default(), PortSet::default());
    (to.priority, before.priority) = changed(&set.priority, &now.priority);
    (to.cost, before.cost) = changed(&set.cost, &now.cost);
    (to.hairpin, before.hairpin) = changed(&set.hairpin, &now.hairpin);
    (to.learning, before.learning) = changed(&set.learning, &now.learning);
    (to.isolated, before.isolated) = changed(&set.isolated, &now.isolated);
    let mut plan = NetPlan::new(format!("set {name}/{port}"));
    if to != PortSet::default() {
        let name = port.clone();
        plan.steps.push(NetStep::SetPort { name, to, before });
    }
    Ok(plan)
}
