//! What the host does for a card: ports that lead to it, lists of what it may reach, its speed. Checked before anything
//! is made.

use crate::net::error::NetPlanError;
use crate::net::guest::{GuestFacts, GuestLink};
use crate::nft::network::table_name;
use crate::nft::{Protocol, Publish, Target, leads, list};
use crate::spec::net::{JailLink, Uplink};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A port of the host that leads to a jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The port.
    pub publish: Publish,
    /// The jail.
    pub holder: String,
}

/// A program of the host that waits for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Where; all addresses where it is the unspecified one.
    pub at: SocketAddr,
    /// Its protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.at, self.protocol.word())
    }
}

impl Listener {
    /// Whether packets for a published port would have been for this one.
    pub fn meets(&self, publish: &Publish) -> bool {
        let own = self.at.ip().to_canonical();
        let address = match publish.address {
            // A socket of IPv6 at all addresses has those of IPv4 too, unless it says otherwise (ipv6(7), IPV6_V6ONLY).
            Some(address) if own.is_unspecified() => own.is_ipv6() || address.is_ipv4(),
            Some(address) => own == address,
            None => true,
        };
        address && (self.at.port(), self.protocol) == (publish.port, publish.protocol)
    }
}

/// The state of a socket of TCP that listens, and of one of UDP that is not connected (net/tcp_states.h).
const LISTENS: &str = "0A";
const UNCONNECTED: &str = "07";

/// The listeners in a file of `/proc/net` (proc_net(5)): `tcp`, `tcp6`, `udp` or `udp6`.
pub fn listeners(text: &str, protocol: Protocol) -> Vec<Listener> {
    let wanted = match protocol {
        Protocol::Tcp => LISTENS,
        Protocol::Udp => UNCONNECTED,
    };
    let one = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (address, port) = words.next()?.split_once(':')?;
        let state = words.nth(1)?;
        let at = SocketAddr::new(address_of(address)?, u16::from_str_radix(port, 16).ok()?);
        (state == wanted).then_some(Listener { at, protocol })
    };
    text.lines().skip(1).filter_map(one).collect()
}

/// Words of four bytes, each printed as the number that the machine takes it for.
fn address_of(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let part = text.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(part, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(IpAddr::from(bytes))
        }
        _ => None,
    }
}

/// Whether a card can have what is asked of the host.
pub(super) fn check_card(
    asked: &JailLink,
    holder: &str,
    facts: &GuestFacts,
) -> Result<(), NetPlanError> {
    let bridge = match &asked.on {
        Uplink::Bridge(bridge) => bridge,
        Uplink::Macvlan(_) if asked.rate.is_some() => {
            return Err(NetPlanError::Absent("rate= of a macvlan card"));
        }
        Uplink::Macvlan(_) => return Ok(()),
    };
    let gives = facts.gateways.iter().find(|spec| spec.bridge == *bridge);
    let needs = |fits: bool, what: &dyn fmt::Display, option| match fits {
        true => Ok(()),
        false => Err(NetPlanError::Lacks {
            what: what.to_string(),
            bridge: bridge.clone(),
            option,
        }),
    };
    if asked.rate.is_some() {
        needs(gives.is_some(), &"rate=", "--nat")?;
    }
    for line in &asked.access {
        let what = format!("{} {line}", if line.allow { "--allow" } else { "--deny" });
        match &line.target {
            Target::Name { name, .. } => {
                needs(gives.is_some_and(|g| g.dns), &what, "--nat --dns")?;
                if line.allow && facts.unknown.contains(name) {
                    return Err(NetPlanError::UnknownName(name.clone()));
                }
            }
            _ => needs(gives.is_some(), &what, "--nat")?,
        }
    }
    for (number, publish) in asked.publish.iter().enumerate() {
        let what = format!("--publish {publish}");
        needs(gives.is_some_and(|gives| gives.nat), &what, "--nat")?;
        let own = |address: IpAddr| {
            let mut all = facts.net.addresses.iter();
            address.is_loopback() || all.any(|row| row.address.address == address)
        };
        if !publish.address.is_none_or(own) {
            return Err(NetPlanError::NotOfHost(*publish));
        }
        check_others(publish, holder, &facts.published)?;
        let earlier = asked.publish.iter().take(number);
        check_listeners(publish, earlier, &facts.listeners)?;
    }
    Ok(())
}

/// Whether a port is free on the host, and of those that are published with it.
pub(super) fn check_listeners<'a>(
    publish: &Publish,
    mut earlier: impl Iterator<Item = &'a Publish>,
    listeners: &[Listener],
) -> Result<(), NetPlanError> {
    if let Some(other) = earlier.find(|other| other.meets(publish)) {
        return Err(NetPlanError::Twice {
            publish: *publish,
            other: *other,
        });
    }
    match listeners.iter().find(|l| l.meets(publish)) {
        Some(listener) => Err(NetPlanError::Listens {
            publish: *publish,
            listener: *listener,
        }),
        None => Ok(()),
    }
}

fn taken(publish: &Publish, other: &Publish, holder: &str) -> NetPlanError {
    NetPlanError::Published {
        publish: *publish,
        other: *other,
        holder: holder.to_owned(),
    }
}

/// Whether a port leads to another jail already.
///
/// # Errors
/// [`NetPlanError::Published`].
pub fn check_others(
    publish: &Publish,
    holder: &str,
    published: &[Published],
) -> Result<(), NetPlanError> {
    let mut others = published.iter().filter(|other| other.holder != holder);
    match others.find(|other| other.publish.meets(publish)) {
        Some(other) => Err(taken(publish, &other.publish, &other.holder)),
        None => Ok(()),
    }
}

/// The same as commands of nft(8), tc(8) and sysctl(8), in the tables that the bridge has.
pub(super) fn commands(link: &GuestLink) -> Vec<String> {
    let Uplink::Bridge(bridge) = &link.on else {
        return Vec::new();
    };
    let table = table_name(bridge.as_str());
    let addresses: Vec<IpAddr> = link.addresses.iter().map(|cidr| cidr.address).collect();
    let mut lines = Vec::new();
    if !link.publish.is_empty() {
        lines.push(format!("sysctl -w net.ipv4.conf.{bridge}.route_localnet=1"));
    }
    for publish in &link.publish {
        for (chain, rule) in leads(&addresses, publish) {
            lines.push(format!("nft 'add rule inet {table} {chain} {rule}'"));
        }
    }
    if !link.access.is_empty() {
        let chain = format!("from-{}", link.host_end);
        lines.push(format!("nft 'add chain inet {table} {chain}'"));
        for (set, kind) in link.access.iter().flat_map(crate::nft::sets_of) {
            lines.push(format!(
                "nft 'add set inet {table} {set} {{ type {kind}; flags timeout; }}'"
            ));
        }
        for rule in link.access.iter().flat_map(list) {
            lines.push(format!("nft 'add rule inet {table} {chain} {rule}'"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::net::{AddressFacts, BridgeFacts, LinkFacts};
    use crate::gateway::GatewaySpec;
    use crate::net::guest::plan_guest;

    fn facts() -> GuestFacts {
        let mut facts = GuestFacts::default();
        for (number, name) in (3..).zip(["alcantara", "plain"]) {
            let mut bridge = LinkFacts::new(number, name.parse().expect(name));
            bridge.bridge = Some(BridgeFacts::default());
            facts.net.links.push(bridge);
        }
        facts
            .net
            .links
            .push(LinkFacts::new(9, "eth0".parse().expect("a name")));
        let address = |link: &str, text: &str| {
            AddressFacts::new(link.parse().expect(link), text.parse().expect(text))
        };
        facts.net.addresses = vec![
            address("alcantara", "10.77.0.1/24"),
            address("plain", "10.78.0.1/24"),
            address("eth0", "198.51.100.1/24"),
        ];
        facts.gateways = vec![GatewaySpec {
            bridge: "alcantara".parse().expect("a name"),
            nat: true,
            dhcp: false,
            dns: false,
            uplink: None,
        }];
        facts
    }

    fn plan(text: &str, facts: &GuestFacts) -> Result<GuestLink, NetPlanError> {
        plan_guest(&[text.parse().expect(text)], "web", facts).map(|mut links| links.remove(0))
    }

    #[test]
    fn what_is_asked_is_planned_and_explained() {
        let link = plan(
            "bridge:alcantara,ip=10.77.0.5/24,publish=8080:80,deny=192.0.2.0/24:25/tcp,rate=8mbit",
            &facts(),
        );
        let link = link.expect("a plan");
        let said = link.to_string();
        assert!(
            said.ends_with(
                ", published 8080:80, denied 192.0.2.0/24:25/tcp, at most 1000000 bytes a second"
            ),
            "{said}"
        );
        let commands = link.commands().join("\n");
        for wanted in [
            "sysctl -w net.ipv4.conf.alcantara.route_localnet=1",
            "nft 'add rule inet jaula-alcantara prerouting meta nfproto ipv4 fib daddr type local tcp dport 8080 dnat ip to 10.77.0.5:80'",
            "nft 'add rule inet jaula-alcantara output meta nfproto ipv4 fib daddr type local tcp dport 8080 dnat ip to 10.77.0.5:80'",
            "nft 'add rule inet jaula-alcantara from-v-web ip daddr 192.0.2.0/24 tcp dport 25 counter reject with icmpx admin-prohibited'",
        ] {
            assert!(commands.lines().any(|line| line == wanted), "{commands}");
        }
    }

    #[test]
    fn a_port_has_one_who_answers() {
        let mut facts = facts();
        let refused = |text: &str, facts: &GuestFacts| {
            let text = format!("bridge:alcantara,{text}");
            plan(&text, facts).expect_err(&text).to_string()
        };
        assert_eq!(
            refused("publish=80:80,publish=127.0.0.1:80:81", &facts),
            "ports 127.0.0.1:80:81 and 80:80 are the same port of the host"
        );
        facts.published = vec![Published {
            publish: "8080:80".parse().expect("a port"),
            holder: "mail".to_owned(),
        }];
        assert_eq!(
            refused("publish=127.0.0.1:8080:1", &facts),
            "port 127.0.0.1:8080:1 cannot be published: 8080:80 leads to the jail mail"
        );
        plan("bridge:alcantara,publish=8080:80/udp", &facts).expect("another protocol");
        facts.published[0].holder = "web".to_owned();
        plan("bridge:alcantara,publish=8080:80", &facts).expect("its own");
        let table = "  sl  local_address rem_address   st tx_queue\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n   \
            1: 00000000:0016 00000000:0000 0A 00000000:00000000\n   \
            2: 016433C6:0017 0100007F:0001 01 00000000:00000000\nrubbish\n";
        facts.published.clear();
        facts.listeners = listeners(table, Protocol::Tcp);
        assert_eq!(facts.listeners.len(), 2);
        if cfg!(target_endian = "little") {
            assert_eq!(
                refused("publish=8080:80", &facts),
                "port 8080:80 cannot be published: a program of the host listens at 127.0.0.1:8080/tcp"
            );
        }
        refused("publish=198.51.100.1:22:22", &facts);
        plan("bridge:alcantara,publish=198.51.100.1:8080:80", &facts).expect("another address");
        plan("bridge:alcantara,publish=23:23", &facts).expect("a connection is no listener");
        let six = "  sl\n 0: 00000000000000000000000000000000:0016 0:0 0A\n";
        facts.listeners = listeners(six, Protocol::Tcp);
        refused("publish=127.0.0.1:22:22", &facts);
    }

    #[test]
    fn what_a_bridge_cannot_do_is_refused() {
        let facts = facts();
        let refused = |text: &str| plan(text, &facts).expect_err(text);
        for text in [
            "bridge:plain,publish=80:80",
            "bridge:plain,allow=any",
            "bridge:plain,rate=1mbit",
            "bridge:alcantara,allow=example.org",
        ] {
            let error = refused(text);
            assert!(matches!(error, NetPlanError::Lacks { .. }), "{error}");
            assert!(error.hints()[0].contains("--nat"), "{:?}", error.hints());
        }
        plan("bridge:alcantara,publish=[::1]:80:80", &facts).expect("it is relayed");
        let mut resolving = facts.clone();
        resolving.gateways[0].dns = true;
        resolving.unknown = vec!["example.invalid".to_owned()];
        plan("bridge:alcantara,allow=example.org", &resolving).expect("a name");
        plan("bridge:alcantara,deny=example.invalid", &resolving).expect("it does no harm");
        let text = "bridge:alcantara,allow=*.example.invalid:443";
        let error = plan(text, &resolving).expect_err("no such name");
        assert!(matches!(error, NetPlanError::UnknownName(_)), "{error}");
        let error = refused("bridge:alcantara,publish=198.51.100.9:80:80");
        assert!(matches!(error, NetPlanError::NotOfHost(_)), "{error}");
        refused("macvlan:eth0,rate=1mbit");
    }
}
