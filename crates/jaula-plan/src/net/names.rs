//! Where a jail asks for names, and those that it knows without asking: files of its own that are put over those of its
//! tree, never written into it.

use super::guest::{GuestFacts, GuestLink};
use crate::spec::net::Uplink;
use std::fmt;
use std::net::IpAddr;

/// Servers that resolv.conf(5) may name.
const SERVERS: usize = 3;
/// Bytes of a hosts(5) file: it is handed over in a pipe, which holds twice as much.
const LONGEST: usize = 32 << 10;
/// What every machine calls itself.
const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// What a jail is told of names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamePlan {
    /// Who answers; what the tree says stays where there is nobody.
    pub servers: Vec<IpAddr>,
    /// The domain in which short names are.
    pub search: Option<String>,
    /// Names that are known without asking; what the tree says stays where there are none.
    pub hosts: Vec<(IpAddr, String)>,
}

/// An address of a jail's, as its neighbours are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The bridge that it is on.
    pub bridge: crate::names::LinkName,
    /// The address.
    pub address: IpAddr,
    /// The jail.
    pub name: String,
}

impl NamePlan {
    /// Of a jail that asks this server.
    pub fn server(server: IpAddr) -> Self {
        Self {
            servers: vec![server],
            ..Self::default()
        }
    }

    /// Of a jail with these cards: the first on a bridge counts. Where the bridge resolves names it is asked; else the
    /// host's resolvers are, those that can be reached, and the names of the jails on the bridge are written down.
    pub fn of_links(links: &[GuestLink], name: &str, facts: &GuestFacts) -> Option<Self> {
        let (link, bridge) = links.iter().find_map(|link| match &link.on {
            Uplink::Bridge(bridge) => Some((link, bridge)),
            Uplink::Macvlan(_) => None,
        })?;
        let gives = facts.gateways.iter().find(|spec| spec.bridge == *bridge);
        let mut plan = Self::default();
        if gives.is_some_and(|gives| gives.dns) {
            let own = facts.net.addresses_of(bridge).filter(|row| row.scope == 0);
            let own = own.map(|row| row.address);
            let has = |four: bool| link.addresses.iter().any(|a| a.address.is_ipv4() == four);
            let fits = |four: bool| link.addresses.is_empty() || has(four);
            let servers = own.map(|cidr| cidr.address).filter(|a| fits(a.is_ipv4()));
            plan.servers = servers.take(SERVERS).collect();
            plan.search = Some(bridge.as_str().to_ascii_lowercase());
            return Some(plan);
        }
        if gives.is_some_and(|gives| gives.nat) {
            let reached = facts
                .resolvers
                .iter()
                .filter(|server| is_elsewhere(**server));
            plan.servers = reached.copied().take(SERVERS).collect();
        }
        let own = link.addresses.iter();
        plan.hosts = own.map(|cidr| (cidr.address, name.to_owned())).collect();
        let others = facts.neighbours.iter();
        let others = others.filter(|other| other.bridge == *bridge && other.name != name);
        plan.hosts
            .extend(others.map(|other| (other.address, other.name.clone())));
        Some(plan)
    }

    /// The text of resolv.conf(5), if there is to be one.
    pub fn resolv_conf(&self) -> Option<String> {
        if self.servers.is_empty() {
            return None;
        }
        let search = self
            .search
            .iter()
            .map(|domain| format!("search {domain}\n"));
        let servers = self.servers.iter().map(|at| format!("nameserver {at}\n"));
        Some(search.chain(servers).collect())
    }

    /// The text of hosts(5), if there is to be one.
    pub fn hosts(&self) -> Option<String> {
        if self.hosts.is_empty() {
            return None;
        }
        let mut text = LOCAL.to_owned();
        for (address, name) in &self.hosts {
            let line = format!("{address}\t{name}\n");
            if text.len() + line.len() > LONGEST {
                break;
            }
            text.push_str(&line);
        }
        Some(text)
    }

    /// The same with commands, inside the new root.
    pub(crate) fn commands(&self) -> String {
        let files = [("resolv.conf", self.resolv_conf()), ("hosts", self.hosts())];
        let one = |(name, text): (&str, Option<String>)| {
            let text = text?.replace('\n', "\\n").replace('\t', "\\t");
            Some(format!("rm -f etc/{name}\nprintf '{text}' > etc/{name}"))
        };
        let lines: Vec<String> = files.into_iter().filter_map(one).collect();
        lines.join("\n")
    }
}

/// Whether a jail reaches it: not what only this host, or one link, does.
fn is_elsewhere(server: IpAddr) -> bool {
    let link_local = match server {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    !(server.is_loopback() || server.is_unspecified() || link_local)
}

impl fmt::Display for NamePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.servers.is_empty() {
            true => f.write_str("names are not resolved")?,
            false => write!(f, "name servers in /etc/resolv.conf: {:?}", self.servers)?,
        }
        if let Some(domain) = &self.search {
            write!(f, ", for short names in {domain}")?;
        }
        if !self.hosts.is_empty() {
            let names: Vec<&str> = self.hosts.iter().map(|(_, name)| name.as_str()).collect();
            write!(f, "; in /etc/hosts: {}", names.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::net::{AddressFacts, BridgeFacts, LinkFacts};
    use crate::gateway::GatewaySpec;
    use crate::net::guest::plan_guest;

    fn facts(nat: bool, dns: bool) -> GuestFacts {
        let mut facts = GuestFacts::default();
        let mut bridge = LinkFacts::new(3, "Alcantara".parse().expect("a name"));
        bridge.bridge = Some(BridgeFacts::default());
        facts.net.links = vec![bridge];
        facts.net.addresses = ["10.77.0.1/24", "fd77::1/64"]
            .map(|text| {
                let name = "Alcantara".parse().expect("a name");
                AddressFacts::new(name, text.parse().expect(text))
            })
            .to_vec();
        facts.gateways = vec![GatewaySpec {
            bridge: "Alcantara".parse().expect("a name"),
            nat,
            uplink: None,
            dhcp: false,
            dns,
        }];
        facts.resolvers = ["127.0.0.53", "198.51.100.2", "fe80::1", "2001:db8::53"]
            .map(|text| text.parse().expect(text))
            .to_vec();
        facts.neighbours = [
            ("Alcantara", "10.77.0.9", "db"),
            ("other", "10.78.0.9", "far"),
        ]
        .map(|(bridge, address, name)| Neighbour {
            bridge: bridge.parse().expect(bridge),
            address: address.parse().expect(address),
            name: name.to_owned(),
        })
        .to_vec();
        facts
    }

    fn plan(card: &str, facts: &GuestFacts) -> Option<NamePlan> {
        let links = plan_guest(&[card.parse().expect(card)], "web", facts).expect(card);
        NamePlan::of_links(&links, "web", facts)
    }

    #[test]
    fn a_bridge_that_resolves_is_asked_and_the_hosts_resolvers_else() {
        let resolves = facts(true, true);
        let names = plan("bridge:Alcantara", &resolves).expect("names");
        assert_eq!(
            names.resolv_conf().expect("a text"),
            "search alcantara\nnameserver 10.77.0.1\nnameserver fd77::1\n"
        );
        assert_eq!(names.hosts(), None);
        let four = plan("bridge:Alcantara,ip=10.77.0.5/24", &resolves).expect("names");
        assert_eq!(four.servers.len(), 1);

        let routes = facts(true, false);
        let names = plan("bridge:Alcantara,ip=10.77.0.5/24", &routes).expect("names");
        assert_eq!(
            names.resolv_conf().expect("a text"),
            "nameserver 198.51.100.2\nnameserver 2001:db8::53\n"
        );
        assert_eq!(
            names.hosts().expect("a text"),
            format!("{LOCAL}10.77.0.5\tweb\n10.77.0.9\tdb\n")
        );
        let closed = plan("bridge:Alcantara", &facts(false, false)).expect("names");
        assert_eq!(closed.resolv_conf(), None);
        assert!(closed.hosts().is_some());
    }

    #[test]
    fn as_many_names_as_fit_are_written_down() {
        let mut many = facts(false, false);
        let one = many.neighbours[0].clone();
        many.neighbours = vec![one; 100_000];
        let names = plan("bridge:Alcantara", &many).expect("names");
        let text = names.hosts().expect("a text");
        assert!(text.len() <= LONGEST && text.ends_with("\tdb\n"));
    }
}
