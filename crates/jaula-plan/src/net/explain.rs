//! Changes as commands of ip(8), bridge(8) and sysctl(8).

use crate::explain::{ExplainLine, word};
use crate::facts::net::{AddressFacts, BY_HAND, MAIN_TABLE, RouteFacts};
use crate::net::step::{LinkKind, NetStep, NewLink, seconds};
use crate::spec::net::{BridgeSet, LinkSet, PortSet};

/// A word and its value, as ip(8) takes them.
fn pair(words: &mut Vec<String>, name: &str, value: Option<impl ToString>) {
    if let Some(value) = value {
        words.push(name.to_owned());
        words.push(word(value.to_string()));
    }
}

fn flag(value: Option<bool>) -> Option<u8> {
    value.map(u8::from)
}

fn on(value: Option<bool>) -> Option<&'static str> {
    value.map(|on| if on { "on" } else { "off" })
}

/// Options of `type bridge`; ip(8) takes hundredths of a second.
fn bridge(words: &mut Vec<String>, set: &BridgeSet) {
    pair(words, "stp_state", flag(set.stp));
    pair(words, "priority", set.priority);
    pair(words, "forward_delay", set.forward_delay);
    pair(words, "hello_time", set.hello_time);
    pair(words, "max_age", set.max_age);
    pair(words, "ageing_time", set.ageing_time);
    pair(words, "vlan_filtering", flag(set.vlan_filtering));
}

fn port(set: &PortSet) -> Vec<String> {
    let mut words = Vec::new();
    pair(&mut words, "cost", set.cost);
    pair(&mut words, "priority", set.priority);
    pair(&mut words, "hairpin", on(set.hairpin));
    pair(&mut words, "learning", on(set.learning));
    pair(&mut words, "isolated", on(set.isolated));
    words
}

fn link(set: &LinkSet) -> Vec<String> {
    let mut words = Vec::new();
    pair(&mut words, "mtu", set.mtu);
    pair(&mut words, "address", set.mac);
    pair(&mut words, "alias", set.alias.as_deref());
    if let Some(up) = set.up {
        words.push(if up { "up" } else { "down" }.to_owned());
    }
    words
}

fn new_link(link: &NewLink) -> String {
    let mut words = vec!["ip link add name".to_owned(), word(link.name.as_str())];
    pair(&mut words, "address", link.mac);
    pair(&mut words, "mtu", link.mtu);
    if let LinkKind::Vlan { below, .. } | LinkKind::Macvlan { below } = &link.kind {
        pair(&mut words, "link", Some(below));
    }
    words.push(format!("type {}", link.kind.word()));
    match &link.kind {
        LinkKind::Bridge { set } => bridge(&mut words, set),
        LinkKind::Veth { peer } => {
            words.push("peer".to_owned());
            pair(&mut words, "name", Some(peer));
        }
        LinkKind::Macvlan { .. } => words.push("mode bridge".to_owned()),
        LinkKind::Vlan { id, .. } => pair(&mut words, "id", Some(id)),
        LinkKind::Dummy => {}
        LinkKind::Bond { mode, miimon } => {
            pair(&mut words, "mode", Some(mode.word()));
            pair(&mut words, "miimon", Some(miimon));
        }
    }
    let mut text = words.join(" ");
    if let Some(alias) = &link.alias {
        let name = word(link.name.as_str());
        text.push_str(&format!("\nip link set dev {name} alias {}", word(alias)));
    }
    text
}

fn address(verb: &str, address: &AddressFacts) -> String {
    let mut words = vec![format!("ip address {verb} {}", address.address)];
    if verb == "add" {
        pair(&mut words, "broadcast", address.broadcast);
        let scope = match address.scope {
            0 => None,
            253 => Some("link".to_owned()),
            254 => Some("host".to_owned()),
            other => Some(other.to_string()),
        };
        pair(&mut words, "scope", scope);
    }
    pair(&mut words, "dev", Some(&address.link));
    if verb == "add" {
        if let Some((preferred, valid)) = address.life {
            pair(&mut words, "valid_lft", Some(valid));
            pair(&mut words, "preferred_lft", Some(preferred));
        }
        if address.address.address.is_ipv6() {
            words.push("nodad".to_owned());
        }
    }
    words.join(" ")
}

fn route(verb: &str, route: &RouteFacts) -> String {
    let to = if route.to.prefix == 0 {
        "default".to_owned()
    } else {
        route.to.to_string()
    };
    let mut words = vec!["ip".to_owned()];
    if route.to.address.is_ipv6() {
        words.push("-6".to_owned());
    }
    words.push(format!("route {verb} {to}"));
    pair(&mut words, "via", route.via);
    pair(&mut words, "dev", Some(&route.link));
    pair(&mut words, "src", route.source);
    pair(
        &mut words,
        "metric",
        route.metric.filter(|metric| *metric != 0),
    );
    pair(
        &mut words,
        "table",
        Some(route.table).filter(|table| *table != MAIN_TABLE),
    );
    let protocol = match route.protocol {
        BY_HAND => "static".to_owned(),
        3 => "boot".to_owned(),
        16 => "dhcp".to_owned(),
        other => other.to_string(),
    };
    pair(&mut words, "proto", Some(protocol));
    if route.onlink {
        words.push("onlink".to_owned());
    }
    words.join(" ")
}

impl NetStep {
    /// The same as a command of the classic tools.
    pub fn explain(&self) -> ExplainLine {
        match self {
            Self::AddLink { link } => {
                let reason = match &link.kind {
                    LinkKind::Bridge { .. } => {
                        "a switch inside the kernel; the mark tells that jaula made it"
                    }
                    LinkKind::Veth { .. } => {
                        "a cable: what goes in at one end comes out of the other"
                    }
                    LinkKind::Macvlan { .. } => "an address of its own on the card",
                    LinkKind::Vlan { .. } => "a network of its own among the card's frames",
                    LinkKind::Dummy => "a link that swallows all",
                    LinkKind::Bond { .. } => "several cards that work as one",
                };
                ExplainLine::new(new_link(link), reason)
            }
            Self::RemoveLink { name, .. } => ExplainLine::new(
                format!("ip link delete dev {}", word(name.as_str())),
                "remove it; its addresses and routes go with it",
            ),
            Self::SetLink { name, to, .. } => {
                let command = format!(
                    "ip link set dev {} {}",
                    word(name.as_str()),
                    link(to).join(" ")
                );
                let reason = if to.alias.is_some() {
                    "written on the card: what goes back to it, and from where"
                } else if to.up == Some(true) {
                    "only what is up passes packets"
                } else {
                    "change the link"
                };
                ExplainLine::new(command, reason)
            }
            Self::SetMaster { name, to, .. } => match to {
                Some(to) => ExplainLine::new(
                    format!(
                        "ip link set dev {} master {}",
                        word(name.as_str()),
                        word(to.as_str())
                    ),
                    "its frames go to the bridge; addresses on it would not be reached any more",
                ),
                None => ExplainLine::new(
                    format!("ip link set dev {} nomaster", word(name.as_str())),
                    "its frames are its own again",
                ),
            },
            Self::SetBridge { name, to, .. } => {
                let mut words = vec![format!(
                    "ip link set dev {} type bridge",
                    word(name.as_str())
                )];
                bridge(&mut words, to);
                let times = [to.forward_delay, to.hello_time, to.max_age, to.ageing_time];
                let times: Vec<_> = times.into_iter().flatten().map(seconds).collect();
                let reason = if times.is_empty() {
                    "change how the bridge works".to_owned()
                } else {
                    format!(
                        "change how the bridge works; times are hundredths of a second ({} s)",
                        times.join(", ")
                    )
                };
                ExplainLine::new(words.join(" "), reason)
            }
            Self::SetPort { name, to, .. } => ExplainLine::new(
                format!(
                    "bridge link set dev {} {}",
                    word(name.as_str()),
                    port(to).join(" ")
                ),
                "change how the bridge treats the port",
            ),
            Self::AddAddress { address: given } => ExplainLine::new(
                address("add", given),
                "an address; the route to its network comes with it",
            ),
            Self::RemoveAddress { address: taken } => ExplainLine::new(
                address("delete", taken),
                "take the address away; the route to its network goes with it",
            ),
            Self::AddRoute { route: made } => {
                ExplainLine::new(route("append", made), "a way to other networks")
            }
            Self::RemoveRoute { route: gone } => {
                ExplainLine::new(route("delete", gone), "the old way to other networks")
            }
            Self::StopGiving { .. } | Self::Forget { .. } => {
                ExplainLine::new("", "its firewall goes, and who serves it")
            }
            Self::SetSysctl { key, to, .. } => ExplainLine::new(
                format!("sysctl --write {}={}", word(key), word(to)),
                "a setting of the kernel",
            ),
        }
    }
}
