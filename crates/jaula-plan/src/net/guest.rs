//! The cards of jails: what each is called, what it hangs on, which addresses it has.

use crate::facts::net::NetFacts;
use crate::gateway::GatewaySpec;
use crate::names::LinkName;
use crate::net::address::{Cidr, Mac, hash};
use crate::net::error::{NetPlanError, NoPort};
use crate::net::names::Neighbour;
use crate::net::nat::NatFacts;
use crate::net::port::{bridge, link};
use crate::net::published::{Listener, Published, check_card, commands};
use crate::nft::{Access, Publish};
use crate::spec::net::{JailLink, Uplink};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// An address that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: IpAddr,
    /// Whose it is.
    pub holder: String,
}

/// What a jail's cards are planned from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestFacts {
    /// The host's networks.
    pub net: NetFacts,
    /// The addresses of other jails.
    pub leases: Vec<Lease>,
    /// What bridges give.
    pub gateways: Vec<GatewaySpec>,
    /// Ports of the host that lead to jails.
    pub published: Vec<Published>,
    /// Where programs of the host listen.
    pub listeners: Vec<Listener>,
    /// Names of allow lists of which the host's resolvers say that there are none.
    pub unknown: Vec<String>,
    /// The host's resolvers.
    pub resolvers: Vec<IpAddr>,
    /// The addresses of jails on bridges, by name.
    pub neighbours: Vec<Neighbour>,
    /// The file of the network namespace that was named, if it is there.
    pub namespace: Option<PathBuf>,
    /// What connects a jail without rights over the host's networks.
    pub nat: NatFacts,
    /// Whether frames of bridges go through the rules of IP (br_netfilter, in the kernel's bridge documentation).
    pub filtered_frames: bool,
}

/// One card of a jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestLink {
    /// Its name inside.
    pub name: LinkName,
    /// Its other end, on the host; a card without another end has none.
    pub host_end: LinkName,
    /// What it hangs on.
    pub on: Uplink,
    /// Its address.
    pub mac: Mac,
    /// That of its other end.
    pub host_mac: Mac,
    /// Its largest packet.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// The bridge's addresses of whose networks its addresses are chosen; none where they were given.
    pub networks: Vec<Cidr>,
    /// The routers to everywhere, one for each family.
    pub routers: Vec<IpAddr>,
    /// Bytes a second, each way, at most.
    pub rate: Option<u64>,
    /// Ports of the host that lead to it.
    pub publish: Vec<Publish>,
    /// What it may reach.
    pub access: Vec<Access>,
    /// Whether frames go back by the port that they came from: where bridged frames go through the rules of IP, a jail
    /// that calls its own published port is answered by the port that it called from.
    pub hairpin: bool,
}

impl GuestLink {
    /// Its addresses, as what other cards of the same holder may not have.
    pub fn leases<'a>(&'a self, holder: &'a str) -> impl Iterator<Item = Lease> + 'a {
        self.addresses.iter().map(move |address| Lease {
            address: address.address,
            holder: format!("{} of {holder}", self.name),
        })
    }

    /// The same with addresses that nobody has; those that were given stay.
    ///
    /// # Errors
    /// When somebody has one that was given, or none is left.
    pub fn with_free_addresses(
        mut self,
        holder: &str,
        leases: &[Lease],
    ) -> Result<Self, NetPlanError> {
        let held = |address: IpAddr| {
            leases
                .iter()
                .find(|lease| lease.address == address && lease.holder != holder)
        };
        if self.networks.is_empty() {
            for address in &self.addresses {
                if let Some(lease) = held(address.address) {
                    return Err(NetPlanError::Held {
                        address: address.address,
                        holder: lease.holder.clone(),
                    });
                }
            }
            return Ok(self);
        }
        self.addresses.clear();
        for network in &self.networks {
            let taken = |address: IpAddr| address == network.address || held(address).is_some();
            let address = pick(*network, holder, taken).ok_or(NetPlanError::Full(*network))?;
            self.addresses.push(address);
        }
        Ok(self)
    }
}

/// How many addresses of a network are tried before it counts as full.
const TRIES: u64 = 1 << 16;

/// The address of a jail in a network: the same for the same name as long as nobody else has it.
fn pick(network: Cidr, holder: &str, taken: impl Fn(IpAddr) -> bool) -> Option<Cidr> {
    let bits = Cidr::host(network.address)
        .prefix
        .checked_sub(network.prefix)?;
    // The upper half of a subnet of IPv4 is for guests that ask (DHCP), where there is room for both.
    let bits = match network.address {
        IpAddr::V4(_) if bits >= 4 => bits - 1,
        _ => bits,
    };
    // Neither the network's own address nor the last one; of IPv6 no more than anybody can count.
    let size = (1u64.checked_shl(u32::from(bits.min(63)))?).checked_sub(2)?;
    let start = hash(holder, 0).checked_rem(size)?;
    (0..size.min(TRIES)).find_map(|at| {
        let number = (start + at) % size + 1;
        let address = network.nth(number).filter(|address| !taken(*address))?;
        let prefix = network.prefix;
        Some(Cidr { address, prefix })
    })
}

/// The name of the host's end: the jail's own where it fits, else by its hash.
fn host_end(holder: &str, number: u8) -> Result<LinkName, NetPlanError> {
    let plain = format!("v-{holder}");
    let name = match plain.parse() {
        Ok(name) if number == 0 => Ok(name),
        _ => format!("v-{:012x}", hash(holder, number) & 0xffff_ffff_ffff).parse(),
    };
    name.map_err(|_| NetPlanError::Word {
        word: holder.to_owned(),
        known: "a name for the host's end of a card",
    })
}

/// The cards of a jail.
///
/// # Errors
/// When one cannot be had.
pub fn plan_guest(
    links: &[JailLink],
    holder: &str,
    facts: &GuestFacts,
) -> Result<Vec<GuestLink>, NetPlanError> {
    let mut planned = Vec::new();
    let mut leases = facts.leases.clone();
    for (number, asked) in links.iter().enumerate() {
        let number = u8::try_from(number).unwrap_or(u8::MAX);
        check_card(asked, holder, facts)?;
        let link = plan_one(asked, number, holder, facts, &leases)?;
        // Another card on the same network gets another address.
        leases.extend(link.leases(holder));
        planned.push(link);
    }
    Ok(planned)
}

fn plan_one(
    asked: &JailLink,
    number: u8,
    holder: &str,
    facts: &GuestFacts,
    leases: &[Lease],
) -> Result<GuestLink, NetPlanError> {
    let (Uplink::Bridge(on) | Uplink::Macvlan(on)) = &asked.on;
    let below = match &asked.on {
        Uplink::Bridge(name) => bridge(&facts.net, name)?,
        Uplink::Macvlan(name) => link(&facts.net, name)?,
    };
    if !below.up {
        return Err(NetPlanError::Down { name: on.clone() });
    }
    let inside: LinkName = format!("eth{number}")
        .parse()
        .map_err(|_| NetPlanError::Full(Cidr::all(false)))?;
    let mtu = asked.mtu.unwrap_or(below.mtu);
    if mtu > below.mtu {
        return Err(NetPlanError::NoPort {
            port: inside,
            bridge: on.clone(),
            why: NoPort::Mtu {
                port: mtu,
                bridge: below.mtu,
            },
        });
    }
    let own: Vec<Cidr> = facts
        .net
        .addresses_of(on)
        .filter(|address| address.scope == 0)
        .map(|address| address.address)
        .collect();
    let of_family = |v4: bool| own.iter().find(|address| address.address.is_ipv4() == v4);
    // On a card of the host, who gives addresses is somebody else.
    let from_bridge = matches!(asked.on, Uplink::Bridge(_)) && asked.ip.is_empty() && !asked.no_ip;
    let networks: Vec<Cidr> = [true, false]
        .into_iter()
        .filter(|_| from_bridge)
        .filter_map(of_family)
        .copied()
        .collect();
    for address in &asked.ip {
        if own.iter().any(|own| own.address == address.address) {
            return Err(NetPlanError::Held {
                address: address.address,
                holder: on.to_string(),
            });
        }
    }
    let link = GuestLink {
        name: inside,
        host_end: host_end(holder, number)?,
        on: asked.on.clone(),
        mac: asked.mac.unwrap_or_else(|| Mac::of_guest(holder, number)),
        host_mac: Mac::of_host_end(holder, number),
        mtu,
        addresses: asked.ip.clone(),
        networks,
        routers: Vec::new(),
        rate: asked.rate,
        publish: asked.publish.clone(),
        access: asked.access.clone(),
        hairpin: facts.filtered_frames
            && !asked.publish.is_empty()
            && matches!(asked.on, Uplink::Bridge(_)),
    };
    let mut link = link.with_free_addresses(holder, leases)?;
    // Only the first card leads everywhere.
    if number == 0 {
        let reaches = |router: &&Cidr| link.addresses.iter().any(|a| a.holds(router.address));
        let routers = [true, false].into_iter().filter_map(|v4| {
            own.iter()
                .filter(|a| a.address.is_ipv4() == v4)
                .find(reaches)
        });
        link.routers = routers.map(|router| router.address).collect();
    }
    Ok(link)
}

impl fmt::Display for GuestLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.on {
            Uplink::Bridge(name) => write!(f, "connect {} to the bridge {name}", self.name)?,
            Uplink::Macvlan(name) => write!(f, "make {} on the host's {name}", self.name)?,
        }
        for (at, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if at == 0 { " as " } else { " and " })?;
        }
        write!(f, ", {}", self.mac)?;
        if let Uplink::Bridge(_) = &self.on {
            write!(f, " ({} outside)", self.host_end)?;
        }
        for publish in &self.publish {
            write!(f, ", published {publish}")?;
        }
        for line in &self.access {
            let word = if line.allow { "allowed" } else { "denied" };
            write!(f, ", {word} {line}")?;
        }
        if let Some(rate) = self.rate {
            write!(f, ", at most {rate} bytes a second")?;
        }
        Ok(())
    }
}

impl GuestLink {
    /// The same as commands of ip(8), typed on the host when the jail's first process is there; `$jail` is it.
    pub fn commands(&self) -> Vec<String> {
        let (name, mac, mtu) = (&self.name, self.mac, self.mtu);
        let inside = "nsenter --net=/proc/$jail/ns/net";
        let mut lines = Vec::new();
        match &self.on {
            Uplink::Bridge(on) => lines.push(format!(
                "ip link add name {} mtu {mtu} address {} master {on} up type veth peer name {name} mtu {mtu} address \
                 {mac} netns $jail",
                self.host_end, self.host_mac
            )),
            Uplink::Macvlan(on) => lines.push(format!(
                "ip link add name {name} link {on} mtu {mtu} address {mac} netns $jail type macvlan mode bridge"
            )),
        }
        if self.hairpin {
            lines.push(format!("bridge link set dev {} hairpin on", self.host_end));
        }
        lines.push(format!("{inside} ip link set dev {name} up"));
        for address in &self.addresses {
            lines.push(format!("{inside} ip address add {address} dev {name}"));
        }
        for router in &self.routers {
            let six = if router.is_ipv6() { "-6 " } else { "" };
            lines.push(format!("{inside} ip {six}route add default via {router}"));
        }
        lines.extend(commands(self));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::net::{AddressFacts, BridgeFacts, LinkFacts};

    fn name(text: &str) -> LinkName {
        text.parse().expect(text)
    }

    fn facts() -> GuestFacts {
        let mut bridge = LinkFacts::new(3, name("alcantara"));
        bridge.bridge = Some(BridgeFacts::default());
        let mut down = LinkFacts::new(4, name("down"));
        down.bridge = Some(BridgeFacts::default());
        down.up = false;
        let address = |text: &str| AddressFacts::new(name("alcantara"), text.parse().expect(text));
        let mut facts = GuestFacts::default();
        facts.net.links = vec![LinkFacts::new(2, name("eth0")), bridge, down];
        facts.net.addresses = vec![address("10.9.0.1/24"), address("fd00:9::1/64")];
        facts
    }

    fn plan(texts: &[&str], facts: &GuestFacts) -> Result<Vec<GuestLink>, NetPlanError> {
        let links: Vec<JailLink> = texts.iter().map(|t| t.parse().expect("a card")).collect();
        plan_guest(&links, "web", facts)
    }

    #[test]
    fn a_card_has_its_name_its_addresses_and_its_way_out() {
        let links = plan(&["bridge:alcantara"], &facts()).expect("a plan");
        assert_eq!(
            links[0].to_string(),
            "connect eth0 to the bridge alcantara as 10.9.0.120/24 and fd00:9::66b7:f2e:998:a79a/64, \
             0a:2e:09:98:a7:99 (v-web outside)"
        );
        assert_eq!(links, plan(&["bridge:alcantara"], &facts()).expect("again"));
        let commands = links[0].commands().join("\n");
        assert!(
            commands.contains("route add default via 10.9.0.1"),
            "{commands}"
        );
        assert!(
            commands.contains("ip -6 route add default via fd00:9::1"),
            "{commands}"
        );
    }

    #[test]
    fn frames_go_back_where_they_came_from_only_where_rules_see_them() {
        let hairpin = |text: &str, filtered_frames| {
            let facts = GuestFacts {
                filtered_frames,
                gateways: vec![GatewaySpec {
                    bridge: name("alcantara"),
                    nat: true,
                    dhcp: false,
                    dns: false,
                    uplink: None,
                }],
                ..facts()
            };
            let link = plan(&[text], &facts).expect("a plan").remove(0);
            let line = "bridge link set dev v-web hairpin on".to_owned();
            assert_eq!(link.commands().contains(&line), link.hairpin);
            link.hairpin
        };
        assert!(hairpin("bridge:alcantara,publish=80:80", true));
        assert!(!hairpin("bridge:alcantara,publish=80:80", false));
        assert!(!hairpin("bridge:alcantara", true));
    }

    #[test]
    fn several_cards_are_told_apart() {
        let two = plan(
            &[
                "bridge:alcantara,ip=10.9.0.7/24",
                "macvlan:eth0,ip=none,mac=02:00:00:00:00:09",
            ],
            &facts(),
        );
        let two = two.expect("a plan");
        assert_eq!(
            two[1].to_string(),
            "make eth1 on the host's eth0, 02:00:00:00:00:09"
        );
        assert_eq!(two[0].addresses.len(), 1);
        assert_eq!(two[0].routers.len(), 1);
        assert!(two[1].routers.is_empty());
        assert_ne!(two[0].host_end, two[1].host_end);
    }

    #[test]
    fn two_cards_of_a_jail_on_one_bridge_have_an_address_each() {
        let two = plan(&["bridge:alcantara", "bridge:alcantara"], &facts()).expect("a plan");
        for (one, other) in two[0].addresses.iter().zip(&two[1].addresses) {
            assert_ne!(one, other);
        }
        let same = "bridge:alcantara,ip=10.9.0.7/24";
        let error = plan(&[same, same], &facts()).expect_err("twice");
        assert_eq!(error.to_string(), "10.9.0.7 is the address of eth0 of web");
    }

    #[test]
    fn an_address_has_one_holder() {
        let mut facts = facts();
        let first = plan(&["bridge:alcantara"], &facts).expect("a plan")[0].clone();
        let lease = |holder: &str| Lease {
            address: first.addresses[0].address,
            holder: holder.to_owned(),
        };
        facts.leases = vec![lease("web")];
        assert_eq!(
            plan(&["bridge:alcantara"], &facts).expect("its own")[0],
            first
        );
        facts.leases = vec![lease("mail")];
        let other = plan(&["bridge:alcantara"], &facts).expect("another one");
        assert_ne!(other[0].addresses[0], first.addresses[0]);
        let asked = format!("bridge:alcantara,ip={}", first.addresses[0]);
        let error = plan(&[&asked], &facts).expect_err("it is taken");
        assert_eq!(error.to_string(), "10.9.0.120 is the address of mail");
        let error = plan(&["bridge:alcantara,ip=10.9.0.1/24"], &facts).expect_err("the bridge's");
        assert_eq!(error.to_string(), "10.9.0.1 is the address of alcantara");
    }

    #[test]
    fn a_network_can_be_full() {
        let mut facts = facts();
        facts.net.addresses = vec![AddressFacts::new(
            name("alcantara"),
            "10.9.0.1/30".parse().expect("an address"),
        )];
        let links = plan(&["bridge:alcantara"], &facts).expect("one is left");
        assert_eq!(links[0].addresses[0].to_string(), "10.9.0.2/30");
        facts.leases = vec![Lease {
            address: links[0].addresses[0].address,
            holder: "mail".to_owned(),
        }];
        let error = plan(&["bridge:alcantara"], &facts).expect_err("none is left");
        assert_eq!(error.to_string(), "no address of 10.9.0.0/30 is left");
        for prefix in ["10.9.0.1/31", "10.9.0.1/32"] {
            let address = prefix.parse().expect("an address");
            facts.net.addresses = vec![AddressFacts::new(name("alcantara"), address)];
            plan(&["bridge:alcantara"], &facts).expect_err("no room");
        }
    }

    #[test]
    fn what_is_not_there_or_not_up_is_refused() {
        let facts = facts();
        let refused = |text: &str| plan(&[text], &facts).expect_err(text).to_string();
        assert_eq!(refused("bridge:nada"), "there is no link named nada");
        assert_eq!(refused("bridge:eth0"), "eth0 is a card, not a bridge");
        assert_eq!(refused("bridge:down"), "down is down");
        assert!(refused("bridge:alcantara,mtu=9000").contains("of 9000 bytes at most"));
        assert!(refused("bridge:alcantara,rate=1mbit").contains("gives nothing"));
    }

    #[test]
    fn long_names_are_cut_to_a_hash() {
        assert_eq!(host_end("web", 0).expect("a name").as_str(), "v-web");
        let long = host_end("a-jail-with-a-long-name", 0).expect("a name");
        assert!(long.as_str().len() == 14 && long.as_str().starts_with("v-"));
        assert_ne!(
            long,
            host_end("a-jail-with-a-long-name", 1).expect("a name")
        );
    }
}
