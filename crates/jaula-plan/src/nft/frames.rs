//! The table of frames: whether what a guest sends says of its sender what is true, and what guests may send each other
//! past this host's routing.

use super::network::{Firewall, Guest, Protocol};
use super::rules::*;
use super::{Chain, Family, Field, Hook, KeyType, Kind, Rule, Statement, Table, Value};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A burst of a tenth of a second, and at least what one large frame with its segments takes.
const LEAST_BURST: u64 = 1 << 16;

impl Firewall {
    pub(super) fn frames(&self) -> Table {
        let guests = || self.guests.iter();
        let link = |guest: &Guest| Value::Link(guest.port.clone());
        let ports = guests().map(|g| vec![link(g)]).collect();
        let macs = guests().map(|g| vec![link(g), Value::Mac(g.mac)]).collect();
        let asking = guests().filter(|g| g.asks).map(|g| vec![link(g)]).collect();
        let (mut four, mut six, mut taken4, mut taken6) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for subnet in &self.subnets {
            match subnet.address {
                IpAddr::V4(a) => taken4.push(vec![Value::Net4(a, 32)]),
                IpAddr::V6(a) => taken6.push(vec![Value::Net6(a, 128)]),
            }
        }
        let locals = self.locals.iter().copied();
        let locals = locals.chain(guests().map(|guest| link_local(guest.mac)));
        taken6.extend(locals.map(|address| vec![Value::Net6(address, 128)]));
        for guest in guests() {
            six.push(vec![link(guest), Value::Net6(link_local(guest.mac), 128)]);
            for address in &guest.addresses {
                match address {
                    IpAddr::V4(a) => {
                        four.push(vec![link(guest), Value::Net4(*a, 32)]);
                        taken4.push(vec![Value::Net4(*a, 32)]);
                    }
                    IpAddr::V6(a) => {
                        six.push(vec![link(guest), Value::Net6(*a, 128)]);
                        taken6.push(vec![Value::Net6(*a, 128)]);
                    }
                }
            }
        }
        use KeyType::{Ip4, Ip6, Link, Mac};
        let sets = vec![
            set("ports", &[Link], ports),
            set("cards", &[Link, Mac], macs),
            set("own4", &[Link, Ip4], four),
            set("own6", &[Link, Ip6], six),
            set("asking", &[Link], asking),
            set("taken4", &[Ip4], taken4),
            set("taken6", &[Ip6], taken6),
            set(
                "macs",
                &[Mac],
                guests().map(|g| vec![Value::Mac(g.mac)]).collect(),
            ),
        ];
        let mut chains = Vec::new();
        for guest in guests().filter(|guest| !guest.access.is_empty()) {
            let lines = guest.access.iter().flat_map(|line| access(line, false));
            chains.push(chain(&list_name(guest), lines.collect()));
        }
        let at_port = |last: Statement| vec![within(&[Field::InLink], "ports"), last];
        let mut arriving = vec![at_port(jump("genuine"))];
        let mut passing = Vec::new();
        chains.push(self.about());
        if !self.shared {
            // Who is not known here may be anybody but those who are.
            let unknown = || outside(&[Field::InLink], "ports");
            chains.extend([strangers(), servers()]);
            arriving.push(vec![unknown(), jump("strangers")]);
            let to_guest = within(&[Field::OutLink], "ports");
            passing.push(vec![unknown(), to_guest, jump("servers")]);
        }
        passing.push(at_port(jump("between")));
        chains.extend([
            self.genuine(),
            self.between(),
            base("prerouting", Kind::Filter, Hook::Prerouting, -300, arriving),
            base("forward", Kind::Filter, Hook::Forward, -200, passing),
            base(
                "postrouting",
                Kind::Filter,
                Hook::Postrouting,
                0,
                guests()
                    .filter_map(|g| limited(g, Field::OutLink))
                    .collect(),
            ),
        ]);
        Table {
            family: Family::Bridge,
            name: self.table(),
            sets,
            chains,
        }
    }

    /// Whether a frame says of its sender what is true.
    fn genuine(&self) -> Chain {
        use Field::{ArpEther, ArpSource, EtherSource, InLink, Ip4Source, Ip6Source};
        let mut rules: Vec<Rule> = self
            .guests
            .iter()
            .filter_map(|guest| limited(guest, Field::InLink))
            .collect();
        let port = |field, port| is(field, Value::Ports(port, port));
        let kind = |kind| is(Field::Icmp6, Value::Number(kind));
        rules.push(vec![
            outside(&[InLink, EtherSource], "cards"),
            Statement::Drop,
        ]);
        // ARP: by which card, and for which address (RFC 5227 asks with none).
        rules.push(vec![outside(&[InLink, ArpEther], "cards"), Statement::Drop]);
        let none4 = || Value::Net4(Ipv4Addr::UNSPECIFIED, 32);
        rules.push(vec![is(ArpSource, none4()), Statement::Accept]);
        rules.push(vec![
            within(&[InLink, ArpSource], "own4"),
            Statement::Accept,
        ]);
        // Only this host gives addresses and routes.
        let (from, to) = (
            Field::SourcePort(Protocol::Udp),
            Field::DestinationPort(Protocol::Udp),
        );
        rules.extend(served());
        rules.push(vec![kind(NEIGHBOUR_ADVERT), jump("about")]);
        rules.push(vec![
            is(Ip4Source, none4()),
            port(from, 68),
            port(to, 67),
            Statement::Accept,
        ]);
        rules.push(vec![
            within(&[InLink, Ip4Source], "own4"),
            Statement::Accept,
        ]);
        let none6 = || Value::Net6(Ipv6Addr::UNSPECIFIED, 128);
        for allowed in [NEIGHBOUR_SOLICIT, LISTENER_REPORT] {
            rules.push(vec![
                is(Ip6Source, none6()),
                kind(allowed),
                Statement::Accept,
            ]);
        }
        rules.push(vec![
            within(&[InLink, Ip6Source], "own6"),
            Statement::Accept,
        ]);
        self.asked(&mut rules);
        // Nothing else: no other protocol of links, so none in which an address could hide.
        rules.push(vec![Statement::Counter, Statement::Drop]);
        chain("genuine", rules)
    }

    /// What a neighbour advertisement is about: nobody's address but who has it may say where it is. (One rule each: `nft`
    /// has no name for this field in a set before its version 1.0.8.)
    fn about(&self) -> Chain {
        let about = |address| is(Field::Icmp6Target, Value::Net6(address, 128));
        let six = |address: &IpAddr| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(six) => Some(*six),
        };
        let own = self.subnets.iter().filter_map(|s| six(&s.address));
        let own = own.chain(self.locals.iter().copied());
        let mut rules: Vec<Rule> = own
            .map(|address| vec![about(address), Statement::Counter, Statement::Drop])
            .collect();
        for guest in &self.guests {
            let other = not(Field::InLink, Value::Link(guest.port.clone()));
            let addresses = guest.addresses.iter().filter_map(six);
            for address in addresses.chain([link_local(guest.mac)]) {
                let last = [Statement::Counter, Statement::Drop];
                let mut rule = vec![other.clone(), about(address)];
                rule.extend(last);
                rules.push(rule);
            }
        }
        chain("about", rules)
    }

    /// Guests that ask for addresses may have any of the network's that nobody has.
    fn asked(&self, rules: &mut Vec<Rule>) {
        let asking = || within(&[Field::InLink], "asking");
        let taken = [
            (Field::ArpSource, "taken4"),
            (Field::Ip4Source, "taken4"),
            (Field::Ip6Source, "taken6"),
        ];
        for (field, set) in taken {
            rules.push(vec![
                within(&[field], set),
                Statement::Counter,
                Statement::Drop,
            ]);
        }
        for subnet in &self.subnets {
            let net = subnet.network();
            if let IpAddr::V4(address) = net {
                let said = is(Field::ArpSource, Value::Net4(address, subnet.prefix));
                rules.push(vec![said, asking(), Statement::Accept]);
            }
            rules.push(vec![
                source(net, subnet.prefix),
                asking(),
                Statement::Accept,
            ]);
        }
        let local = is(Field::Ip6Source, LINK_LOCAL_6);
        rules.push(vec![local, asking(), Statement::Accept]);
    }

    /// What one guest sends another past this host's routing. There is no memory of connections here: of TCP the first
    /// packet is judged, of everything else each.
    fn between(&self) -> Chain {
        let mut rules: Vec<Rule> = self.lists().collect();
        rules.push(vec![
            is(Field::Ip4Destination, LINK_LOCAL_4),
            Statement::Counter,
            Statement::Drop,
        ]);
        for guest in self.guests.iter().filter(|guest| denies_the_rest(guest)) {
            for middle in unasked(None) {
                let mut rule = vec![is(Field::EtherSource, Value::Mac(guest.mac))];
                rule.extend(middle);
                rule.extend([Statement::Counter, Statement::Drop]);
                rules.push(rule);
            }
        }
        chain("between", rules)
    }
}

/// What only this host says on the network: who gives addresses, and where the router is.
fn served() -> Vec<Rule> {
    let to = Field::DestinationPort(Protocol::Udp);
    // Clients listen at these ports, and do not ask from which an answer comes.
    let clients = [68, 546].map(|port| is(to, Value::Ports(port, port)));
    let routers = [ROUTER_ADVERT, REDIRECT].map(|kind| is(Field::Icmp6, Value::Number(kind)));
    let all = clients.into_iter().chain(routers);
    all.map(|what| vec![what, Statement::Drop]).collect()
}

fn servers() -> Chain {
    chain("servers", served())
}

/// Frames by ports where nobody is known: the cards and addresses of those who are known are not theirs.
fn strangers() -> Chain {
    use Field::{ArpSource, EtherSource, Icmp6, Ip4Source, Ip6Source};
    let taken = [
        (EtherSource, "macs"),
        (ArpSource, "taken4"),
        (Ip4Source, "taken4"),
        (Ip6Source, "taken6"),
    ];
    let taken = taken
        .into_iter()
        .map(|(field, set)| vec![within(&[field], set), Statement::Counter, Statement::Drop]);
    let mut rules: Vec<Rule> = taken.collect();
    let advert = is(Icmp6, Value::Number(NEIGHBOUR_ADVERT));
    rules.push(vec![advert, jump("about")]);
    chain("strangers", rules)
}

/// The address that a card gives itself (RFC 4291 appendix A).
pub fn link_local([a, b, c, d, e, f]: [u8; 6]) -> Ipv6Addr {
    let two = |x, y| u16::from_be_bytes([x, y]);
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        two(a ^ 2, b),
        two(c, 0xff),
        two(0xfe, d),
        two(e, f),
    )
}

fn limited(guest: &Guest, field: Field) -> Option<Rule> {
    let rate = guest.rate?;
    let burst = (rate / 10).max(LEAST_BURST);
    Some(vec![
        is(field, Value::Link(guest.port.clone())),
        Statement::Over {
            rate,
            burst: u32::try_from(burst).unwrap_or(u32::MAX),
        },
        Statement::Drop,
    ])
}
