//! One lasting change to networks. What takes it back is a change too; both can be done again without harm.

use crate::facts::net::{AddressFacts, RouteFacts};
use crate::names::LinkName;
use crate::net::address::Mac;
use crate::spec::net::{BondMode, BridgeSet, LinkSet, PortSet};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a new link is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LinkKind {
    /// A bridge.
    Bridge {
        /// What is chosen of it.
        set: BridgeSet,
    },
    /// A pair, both ends here.
    Veth {
        /// The other end.
        peer: LinkName,
    },
    /// An address of its own on a card.
    Macvlan {
        /// The card.
        below: LinkName,
    },
    /// Frames with a tag (IEEE 802.1Q).
    Vlan {
        /// The card.
        below: LinkName,
        /// The tag.
        id: u16,
    },
    /// Swallows all.
    Dummy,
    /// Several cards as one.
    Bond {
        /// How.
        mode: BondMode,
        /// How often carriers are looked at, in thousandths of a second.
        miimon: u32,
    },
}

impl LinkKind {
    /// Its driver's name.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Bridge { .. } => "bridge",
            Self::Veth { .. } => "veth",
            Self::Macvlan { .. } => "macvlan",
            Self::Vlan { .. } => "vlan",
            Self::Dummy => "dummy",
            Self::Bond { .. } => "bond",
        }
    }
}

/// A link that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewLink {
    /// Its name.
    pub name: LinkName,
    /// What it is.
    #[serde(flatten)]
    pub kind: LinkKind,
    /// Its address.
    pub mac: Option<Mac>,
    /// Its largest packet.
    pub mtu: Option<u32>,
    /// What is written on it.
    pub alias: Option<String>,
}

/// One lasting change. Links go by their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum NetStep {
    /// A link comes to be that was not there.
    AddLink {
        /// The link.
        link: NewLink,
    },
    /// A link goes.
    RemoveLink {
        /// The link.
        name: LinkName,
        /// Its number, where it must be that one and no later one of the same name.
        index: Option<u32>,
    },
    /// A link is changed.
    SetLink {
        /// The link.
        name: LinkName,
        /// To what.
        to: LinkSet,
        /// What it was.
        before: LinkSet,
    },
    /// A link becomes a port, or none any more.
    SetMaster {
        /// The link.
        name: LinkName,
        /// Of what.
        to: Option<LinkName>,
        /// Of what it was.
        before: Option<LinkName>,
    },
    /// A bridge is changed.
    SetBridge {
        /// The bridge.
        name: LinkName,
        /// To what.
        to: BridgeSet,
        /// What it was.
        before: BridgeSet,
    },
    /// A port of a bridge is changed.
    SetPort {
        /// The port.
        name: LinkName,
        /// To what.
        to: PortSet,
        /// What it was.
        before: PortSet,
    },
    /// A link is given an address.
    AddAddress {
        /// The address.
        address: AddressFacts,
    },
    /// An address is taken from a link.
    RemoveAddress {
        /// The address.
        address: AddressFacts,
    },
    /// A route is made.
    AddRoute {
        /// The route.
        route: RouteFacts,
    },
    /// A route is taken away.
    RemoveRoute {
        /// The route.
        route: RouteFacts,
    },
    /// A bridge gives its guests nothing any more: its firewall goes, and who serves it. Only ever done to take back.
    StopGiving {
        /// The bridge.
        name: LinkName,
    },
    /// What a bridge gave that is gone goes too: its firewall, and who served it. Until then it held its guests.
    Forget {
        /// The bridge.
        name: LinkName,
    },
    /// A setting of the kernel is changed.
    SetSysctl {
        /// Its name, as sysctl(8) has it with slashes: `net/ipv4/conf/eth0.1/forwarding`.
        key: String,
        /// To what.
        to: String,
        /// What it was.
        before: String,
    },
}

impl NetStep {
    /// The change that takes this one back; none when it cannot be.
    pub fn inverse(&self) -> Option<Self> {
        Some(match self.clone() {
            Self::AddLink { link } => Self::RemoveLink {
                name: link.name,
                index: None,
            },
            Self::RemoveLink { .. } | Self::StopGiving { .. } | Self::Forget { .. } => return None,
            Self::SetLink { name, to, before } => Self::SetLink {
                name,
                to: before,
                before: to,
            },
            Self::SetMaster { name, to, before } => Self::SetMaster {
                name,
                to: before,
                before: to,
            },
            Self::SetBridge { name, to, before } => Self::SetBridge {
                name,
                to: before,
                before: to,
            },
            Self::SetPort { name, to, before } => Self::SetPort {
                name,
                to: before,
                before: to,
            },
            Self::AddAddress { address } => Self::RemoveAddress { address },
            Self::RemoveAddress { address } => Self::AddAddress { address },
            Self::AddRoute { route } => Self::RemoveRoute { route },
            Self::RemoveRoute { route } => Self::AddRoute { route },
            Self::SetSysctl { key, to, before } => Self::SetSysctl {
                key,
                to: before,
                before: to,
            },
        })
    }
}

/// Hundredths of a second as seconds: `12.5`.
pub(super) fn seconds(hundredths: u32) -> String {
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn on(value: bool) -> &'static str {
    if value { "on" } else { "off" }
}

/// What is set, as `net set` reads it.
pub(super) fn bridge_words(set: &BridgeSet) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(set.stp.map(|value| format!("stp={}", on(value))));
    words.extend(set.priority.map(|value| format!("priority={value}")));
    words.extend(set.forward_delay.map(|v| format!("fd={}", seconds(v))));
    words.extend(set.hello_time.map(|v| format!("hello={}", seconds(v))));
    words.extend(set.max_age.map(|v| format!("maxage={}", seconds(v))));
    words.extend(set.ageing_time.map(|v| format!("ageing={}", seconds(v))));
    words.extend(
        set.vlan_filtering
            .map(|v| format!("vlan-filtering={}", on(v))),
    );
    words
}

fn port_words(set: &PortSet) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(set.cost.map(|value| format!("cost={value}")));
    words.extend(set.priority.map(|value| format!("priority={value}")));
    words.extend(set.hairpin.map(|value| format!("hairpin={}", on(value))));
    words.extend(set.learning.map(|v| format!("learning={}", on(v))));
    words.extend(set.isolated.map(|v| format!("isolated={}", on(v))));
    words
}

fn link_words(set: &LinkSet) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(set.mtu.map(|value| format!("mtu={value}")));
    words.extend(set.mac.map(|value| format!("mac={value}")));
    words.extend(set.alias.as_ref().map(|alias| format!("mark={alias:?}")));
    words.extend(set.up.map(|up| if up { "up" } else { "down" }.to_owned()));
    words
}

fn changed(
    f: &mut fmt::Formatter<'_>,
    name: &LinkName,
    to: &[String],
    before: &[String],
) -> fmt::Result {
    write!(f, "set {name} {}", to.join(" "))?;
    if before.is_empty() {
        return Ok(());
    }
    write!(f, " (was {})", before.join(" "))
}

pub(super) fn route_words(route: &RouteFacts) -> String {
    let to = if route.to.prefix == 0 {
        "default".to_owned()
    } else {
        route.to.to_string()
    };
    let via = route.via.map(|via| format!(" via {via}"));
    format!("{to}{} by {}", via.unwrap_or_default(), route.link)
}

impl fmt::Display for NetStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddLink { link } => {
                write!(f, "make {} {}", link.kind.word(), link.name)?;
                let mut words = match &link.kind {
                    LinkKind::Bridge { set } => bridge_words(set),
                    LinkKind::Veth { peer } => vec![format!("and its other end {peer}")],
                    LinkKind::Macvlan { below } => vec![format!("on {below}")],
                    LinkKind::Vlan { below, id } => vec![format!("of number {id} on {below}")],
                    LinkKind::Dummy => Vec::new(),
                    LinkKind::Bond { mode, .. } => vec![mode.word().to_owned()],
                };
                words.extend(link.mtu.map(|mtu| format!("mtu={mtu}")));
                words.extend(link.mac.map(|mac| format!("mac={mac}")));
                words.iter().try_for_each(|word| write!(f, " {word}"))
            }
            Self::RemoveLink { name, .. } => write!(f, "remove link {name}"),
            Self::SetLink { name, to, before } => {
                changed(f, name, &link_words(to), &link_words(before))
            }
            Self::SetBridge { name, to, before } => {
                changed(f, name, &bridge_words(to), &bridge_words(before))
            }
            Self::SetPort { name, to, before } => {
                changed(f, name, &port_words(to), &port_words(before))
            }
            Self::SetMaster { name, to, before } => match (to, before) {
                (Some(to), None) => write!(f, "attach {name} to {to}"),
                (Some(to), Some(before)) => write!(f, "attach {name} to {to} (was of {before})"),
                (None, Some(before)) => write!(f, "detach {name} from {before}"),
                (None, None) => write!(f, "detach {name}"),
            },
            Self::AddAddress { address } => {
                write!(f, "give {} to {}", address.address, address.link)
            }
            Self::RemoveAddress { address } => {
                write!(f, "take {} from {}", address.address, address.link)
            }
            Self::AddRoute { route } => write!(f, "make route {}", route_words(route)),
            Self::RemoveRoute { route } => write!(f, "remove route {}", route_words(route)),
            Self::StopGiving { name } => write!(f, "take away what {name} gives its guests"),
            Self::Forget { name } => write!(f, "take away what {name} gave its guests"),
            Self::SetSysctl { key, to, before } => write!(f, "set {key} to {to} (was {before})"),
        }
    }
}
