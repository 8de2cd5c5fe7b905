//! What a bridge gives its guests: a way out, addresses, names. Planned from what was asked and from what the host's
//! links are; the way out takes a few of the host's switches (sysctl(8)), each of one link.

use crate::explain::{ExplainLine, word};
use crate::facts::net::NetFacts;
use crate::names::LinkName;
use crate::net::address::Cidr;
use crate::nft::{Firewall, FirewallError, Guest, Subnet, Table, link_local};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a bridge is to give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewaySpec {
    /// The bridge.
    pub bridge: LinkName,
    /// The way out, under the host's address.
    pub nat: bool,
    /// The only link that is the way out; any that leads out if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<LinkName>,
    /// Addresses, for guests that ask.
    pub dhcp: bool,
    /// Names.
    pub dns: bool,
}

impl GatewaySpec {
    /// Whether it gives anything.
    pub fn gives(&self) -> bool {
        self.nat || self.dhcp || self.dns
    }

    /// Whether a process has to be there for it.
    pub fn serves(&self) -> bool {
        self.dhcp || self.dns
    }
}

/// A switch of the kernel, below `/proc/sys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sysctl {
    /// Its path.
    pub key: String,
    /// What it has to be.
    pub value: String,
}

/// Why it cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// There is no address to give from.
    #[error("{bridge} has no address: guests cannot be given {what}")]
    NoAddress {
        /// The bridge.
        bridge: LinkName,
        /// What cannot be given.
        what: &'static str,
    },
    /// The way out is not there.
    #[error("there is no link named {uplink} by which guests of {bridge} could get out")]
    NoUplink {
        /// The bridge.
        bridge: LinkName,
        /// What was asked for.
        uplink: LinkName,
    },
    /// Too few addresses.
    #[error("{subnet} has no room for guests that ask")]
    Small {
        /// The subnet.
        subnet: Cidr,
    },
    /// The firewall.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
}

impl GatewayError {
    /// What the user may do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoAddress { .. } => {
                Some("give the bridge one: --addr 10.77.0.1/24 --addr fd77::1/64")
            }
            Self::Small { .. } => Some("a /24 has room for 150"),
            Self::NoUplink { .. } => Some("jaula net ls --all lists the links that there are"),
            Self::Firewall(_) => None,
        }
    }
}

/// What it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayPlan {
    /// What was asked.
    pub spec: GatewaySpec,
    /// The firewall as it was described.
    pub firewall: Firewall,
    /// Its tables.
    pub tables: [Table; 2],
    /// Switches that are not as they have to be.
    pub sysctls: Vec<Sysctl>,
    /// The first and the last address for guests that ask.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// Switches that matter for a link, and that the plan wants to know.
pub fn switches(link: &LinkName) -> [String; 5] {
    [
        format!("net/ipv4/conf/{link}/forwarding"),
        format!("net/ipv4/conf/{link}/route_localnet"),
        format!("net/ipv6/conf/{link}/forwarding"),
        format!("net/ipv6/conf/{link}/force_forwarding"),
        format!("net/ipv6/conf/{link}/accept_ra"),
    ]
}

/// IPv6's switch for all links, where a link has none of its own.
pub const ALL_6: &str = "net/ipv6/conf/all/forwarding";

/// The links by which packets leave the host: those with a way to everywhere (in two halves, as some tunnels have it);
/// where there is none, all that have addresses and are no bridges. What is behind another link is another network of
/// this host, and none of the guests' business.
pub fn uplinks(bridge: &LinkName, facts: &NetFacts) -> Vec<LinkName> {
    let mut found: Vec<LinkName> = Vec::new();
    let mut add = |link: &LinkName| {
        if link != bridge && !found.contains(link) {
            found.push(link.clone());
        }
    };
    let mut ways = facts.routes.iter().filter(|r| r.to.prefix <= 1).peekable();
    if ways.peek().is_some() {
        ways.for_each(|route| add(&route.link));
        return found;
    }
    let global = facts.addresses.iter().filter(|a| a.scope == 0);
    for address in global {
        let link = facts.link(&address.link);
        if !link.is_some_and(|link| link.loopback || link.bridge.is_some()) {
            add(&address.link);
        }
    }
    found
}

/// The bridge's own addresses of its link: those that it has, and the one that its card makes.
fn locals(bridge: &LinkName, addresses: &[Cidr], facts: &NetFacts) -> Vec<Ipv6Addr> {
    let mut found: Vec<Ipv6Addr> = addresses
        .iter()
        .filter_map(|cidr| match cidr.address {
            IpAddr::V6(six) if is_local(six) => Some(six),
            _ => None,
        })
        .collect();
    let card = facts.link(bridge).and_then(|link| link.mac);
    found.extend(card.map(|mac| link_local(mac.0)));
    found.sort();
    found.dedup();
    found
}

fn is_local(six: Ipv6Addr) -> bool {
    six.segments().first().is_some_and(|s| s & 0xffc0 == 0xfe80)
}

/// Plans what a bridge gives.
///
/// # Errors
/// What stands against it.
pub fn plan(
    spec: &GatewaySpec,
    addresses: &[Cidr],
    guests: Vec<Guest>,
    facts: &NetFacts,
    switched: &BTreeMap<String, String>,
) -> Result<GatewayPlan, GatewayError> {
    let usable = |cidr: &&Cidr| match cidr.address {
        IpAddr::V4(_) => true,
        IpAddr::V6(six) => !is_local(six),
    };
    let subnets: Vec<Subnet> = addresses
        .iter()
        .filter(usable)
        .map(|cidr| Subnet {
            address: cidr.address,
            prefix: cidr.prefix,
        })
        .collect();
    let none = |what| GatewayError::NoAddress {
        bridge: spec.bridge.clone(),
        what,
    };
    let what = [
        (spec.nat, "a way out"),
        (spec.dns, "names"),
        (spec.dhcp, "addresses"),
    ];
    if let Some((_, what)) = what.iter().find(|(asked, _)| *asked && subnets.is_empty()) {
        return Err(none(what));
    }
    if let Some(uplink) = spec
        .uplink
        .as_ref()
        .filter(|link| facts.link(link).is_none())
    {
        return Err(GatewayError::NoUplink {
            bridge: spec.bridge.clone(),
            uplink: uplink.clone(),
        });
    }
    let four = subnets.iter().find(|subnet| subnet.address.is_ipv4());
    let pool = match four.filter(|_| spec.dhcp) {
        Some(subnet) => Some(upper_half(*subnet).ok_or(GatewayError::Small {
            subnet: Cidr {
                address: subnet.address,
                prefix: subnet.prefix,
            },
        })?),
        None => None,
    };
    // A port that no guest is behind leads to the host's own neighbourhood, and so does one by which there is a router:
    // the card of a host that is a container itself is one end of a pair, as a guest's.
    let shared = facts
        .ports(&spec.bridge)
        .iter()
        .any(|port| !port.leads_away && port.kind.as_deref() != Some("tun"))
        || facts
            .routes
            .iter()
            .any(|route| route.link == spec.bridge && route.via.is_some());
    let ways = match &spec.uplink {
        Some(link) => vec![link.clone()],
        None => uplinks(&spec.bridge, facts),
    };
    let published = guests.iter().any(|guest| !guest.publish.is_empty());
    let firewall = Firewall {
        bridge: spec.bridge.to_string(),
        subnets,
        nat: spec.nat,
        ways: ways.iter().map(ToString::to_string).collect(),
        locals: locals(&spec.bridge, addresses, facts),
        shared,
        open: false,
        dhcp: spec.dhcp,
        dns: spec.dns,
        guests,
    };
    let tables = firewall.tables()?;
    let sysctls = sysctls(spec, &firewall, published, facts, switched);
    Ok(GatewayPlan {
        spec: spec.clone(),
        firewall,
        tables,
        sysctls,
        pool,
    })
}

/// The second half of a subnet without its last address; guests with fixed addresses are in the first.
fn upper_half(subnet: Subnet) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let IpAddr::V4(first) = subnet.network() else {
        return None;
    };
    let host_bits = 32u32.checked_sub(u32::from(subnet.prefix))?;
    let size = 1u32.checked_shl(host_bits)?;
    // Where there are fewer, guests with fixed addresses have all of them.
    if size < 16 {
        return None;
    }
    let first = u32::from(first);
    let last = first.checked_add(size - 2)?;
    Some(((first + size / 2).into(), last.into()))
}

fn sysctls(
    spec: &GatewaySpec,
    firewall: &Firewall,
    published: bool,
    facts: &NetFacts,
    switched: &BTreeMap<String, String>,
) -> Vec<Sysctl> {
    let mut wanted: Vec<(String, &str)> = Vec::new();
    let four = firewall.subnets.iter().any(|s| s.address.is_ipv4());
    let six = firewall.subnets.iter().any(|s| s.address.is_ipv6());
    let links: Vec<LinkName> = std::iter::once(spec.bridge.clone())
        .chain(match &spec.uplink {
            Some(link) => vec![link.clone()],
            None => uplinks(&spec.bridge, facts),
        })
        .collect();
    if spec.nat && four {
        wanted.extend(
            links
                .iter()
                .map(|l| (format!("net/ipv4/conf/{l}/forwarding"), "1")),
        );
    }
    if published && four {
        let key = format!("net/ipv4/conf/{}/route_localnet", spec.bridge);
        wanted.push((key, "1"));
    }
    if spec.nat && six {
        // It says of itself that it is a router, or guests forget the way (RFC 4861 section 7.2.5).
        wanted.push((format!("net/ipv6/conf/{}/forwarding", spec.bridge), "1"));
    }
    if spec.nat && six && switched.get(ALL_6).is_none_or(|value| value != "1") {
        let own = |link: &LinkName| format!("net/ipv6/conf/{link}/force_forwarding");
        // Since Linux 6.17 a link has a switch of its own; the one of all links also makes the host deaf to routers,
        // so those that it listens to are told to go on listening first.
        let each = links
            .iter()
            .skip(1)
            .any(|link| switched.contains_key(&own(link)));
        if each {
            wanted.extend(links.iter().map(|link| (own(link), "1")));
        } else {
            for link in links.iter().skip(1) {
                let key = format!("net/ipv6/conf/{link}/accept_ra");
                if switched.get(&key).is_some_and(|value| value == "1") {
                    wanted.push((key, "2"));
                }
            }
            wanted.push((ALL_6.to_owned(), "1"));
        }
    }
    wanted
        .into_iter()
        .filter(|(key, value)| switched.get(key).is_none_or(|is| is != value))
        .map(|(key, value)| Sysctl {
            key,
            value: value.to_owned(),
        })
        .collect()
}

impl Sysctl {
    /// As sysctl(8) names it: a dot between the parts, a slash where a link's name has a dot.
    pub fn dotted(&self) -> String {
        let swap = |c| match c {
            '/' => '.',
            '.' => '/',
            other => other,
        };
        self.key.chars().map(swap).collect()
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.dotted(), self.value)
    }
}

impl GatewayPlan {
    /// IPv6 prefixes of which guests may make addresses.
    pub fn prefixes(&self) -> Vec<Ipv6Addr> {
        let six = self.firewall.subnets.iter().filter(|s| s.prefix == 64);
        six.filter_map(|subnet| match subnet.network() {
            IpAddr::V6(six) => Some(six),
            IpAddr::V4(_) => None,
        })
        .collect()
    }

    /// As commands of sysctl(8) and nft(8).
    pub fn explain(&self) -> Vec<ExplainLine> {
        let mut lines: Vec<ExplainLine> = Vec::new();
        for sysctl in &self.sysctls {
            lines.push(ExplainLine::new(
                format!("sysctl -w {}={}", word(sysctl.dotted()), sysctl.value),
                "the kernel passes packets on between this link and others; it stays so",
            ));
        }
        let [packets, frames] = &self.tables;
        lines.push(ExplainLine::new(
            format!("nft -f - <<'EOF'\n{packets}EOF"),
            "the network's own table: a way out, and nothing else open",
        ));
        lines.push(ExplainLine::new(
            format!("nft -f - <<'EOF'\n{frames}EOF"),
            "frames: no guest can be another one",
        ));
        if self.spec.serves() {
            lines.push(ExplainLine::new(
                "",
                "a process gives addresses and names at the bridge until it goes (dnsmasq(8) does the same)",
            ));
        }
        lines
    }
}

impl fmt::Display for GatewayPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sysctl in &self.sysctls {
            writeln!(f, "set {sysctl}")?;
        }
        for table in &self.tables {
            writeln!(
                f,
                "put the table {} {} of nf_tables",
                table.family, table.name
            )?;
        }
        if let Some((first, last)) = self.pool {
            writeln!(f, "give the addresses {first} to {last} to guests that ask")?;
        }
        if self.spec.dns {
            writeln!(f, "resolve names at the bridge's addresses")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> GatewaySpec {
        GatewaySpec {
            bridge: "alcantara".parse().unwrap(),
            nat: true,
            uplink: None,
            dhcp: true,
            dns: true,
        }
    }

    fn facts() -> NetFacts {
        let mut facts = NetFacts::default();
        let all = Cidr {
            address: "::".parse().unwrap(),
            prefix: 0,
        };
        let router = "fe80::1".parse().unwrap();
        let route =
            crate::facts::net::RouteFacts::new(all, Some(router), "eth0.7".parse().unwrap());
        facts.routes.push(route);
        facts
    }

    fn addresses() -> Vec<Cidr> {
        ["10.77.0.1/24", "fd77::1/64", "fe80::1/64"]
            .map(|text| text.parse().unwrap())
            .to_vec()
    }

    fn switched(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn set(pairs: &[(&str, &str)]) -> Vec<String> {
        let plan = plan(
            &spec(),
            &addresses(),
            Vec::new(),
            &facts(),
            &switched(pairs),
        )
        .unwrap();
        plan.sysctls.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_switches_of_the_links_concerned_are_set() {
        let own = [
            ("net/ipv6/conf/eth0.7/force_forwarding", "0"),
            ("net/ipv4/conf/eth0.7/forwarding", "1"),
            (ALL_6, "0"),
        ];
        assert_eq!(
            set(&own),
            [
                "net.ipv4.conf.alcantara.forwarding = 1",
                "net.ipv6.conf.alcantara.forwarding = 1",
                "net.ipv6.conf.alcantara.force_forwarding = 1",
                "net.ipv6.conf.eth0/7.force_forwarding = 1"
            ]
        );
        // An older kernel: all links, and the host goes on listening to its router.
        let old = [("net/ipv6/conf/eth0.7/accept_ra", "1"), (ALL_6, "0")];
        assert_eq!(
            set(&old).get(3..).unwrap(),
            [
                "net.ipv6.conf.eth0/7.accept_ra = 2",
                "net.ipv6.conf.all.forwarding = 1"
            ]
        );
        // Who does not listen is left alone, and what is so already too.
        let deaf = [("net/ipv6/conf/eth0.7/accept_ra", "0"), (ALL_6, "1")];
        assert_eq!(set(&deaf).len(), 3);
    }

    #[test]
    fn the_way_out_leads_outside_and_not_to_other_networks_of_the_host() {
        let bridge: LinkName = "alcantara".parse().unwrap();
        assert_eq!(uplinks(&bridge, &facts()), ["eth0.7".parse().unwrap()]);
        let mut facts = facts();
        let link = |name: &str| name.parse::<LinkName>().unwrap();
        let route = |to: &str, by: &str| {
            crate::facts::net::RouteFacts::new(to.parse().unwrap(), None, link(by))
        };
        // A tunnel that has everywhere in two halves; another network; the bridge itself.
        facts.routes.push(route("128.0.0.0/1", "tun0"));
        facts.routes.push(route("10.0.0.0/8", "eth1"));
        facts.routes.push(route("0.0.0.0/0", "alcantara"));
        assert_eq!(uplinks(&bridge, &facts), [link("eth0.7"), link("tun0")]);
        // Only by the bridge itself: guests are out already.
        facts.routes.drain(..3);
        assert_eq!(uplinks(&bridge, &facts), []);
    }

    #[test]
    fn a_router_by_the_bridge_is_the_hosts_own_neighbourhood() {
        let shared = |facts: &NetFacts| {
            let plan = plan(&spec(), &addresses(), Vec::new(), facts, &switched(&[]));
            plan.unwrap().firewall.shared
        };
        let mut facts = facts();
        assert!(!shared(&facts));
        let (all, via) = ("0.0.0.0/0".parse().unwrap(), "10.77.0.254".parse().unwrap());
        let bridge = "alcantara".parse().unwrap();
        let route = crate::facts::net::RouteFacts::new(all, Some(via), bridge);
        facts.routes.push(route);
        assert!(shared(&facts));
    }

    #[test]
    fn addresses_are_given_from_the_upper_half() {
        let plan = plan(&spec(), &addresses(), Vec::new(), &facts(), &switched(&[])).unwrap();
        let text = plan.to_string();
        assert!(
            text.contains("give the addresses 10.77.0.128 to 10.77.0.254"),
            "{text}"
        );
        assert_eq!(plan.prefixes(), ["fd77::".parse::<Ipv6Addr>().unwrap()]);
        assert_eq!(plan.firewall.subnets.len(), 2);
    }

    #[test]
    fn without_an_address_there_is_nothing_to_give() {
        for addresses in [Vec::new(), vec!["fe80::1/64".parse().unwrap()]] {
            let refused = plan(&spec(), &addresses, Vec::new(), &facts(), &switched(&[]));
            assert!(matches!(refused, Err(GatewayError::NoAddress { .. })));
        }
        for (address, room) in [
            ("10.0.0.1/30", false),
            ("10.0.0.1/29", false),
            ("10.0.0.1/28", true),
        ] {
            let address = [address.parse().unwrap()];
            let plan = plan(&spec(), &address, Vec::new(), &facts(), &switched(&[]));
            assert_eq!(!matches!(plan, Err(GatewayError::Small { .. })), room);
        }
    }
}
