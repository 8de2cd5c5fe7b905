//! From a network's description to its two tables: `inet`, for what passes through this host or is for it, and
//! `bridge`, for who a guest says it is.
//!
//! Nothing is decided for others: what a rule here accepts, a table of somebody else may still drop.

use super::network::{Access, Firewall, Guest, Protocol, Publish, Target, name_sets};
use super::{
    Chain, Family, Field, FirewallError, Hook, KeyType, Kind, Rule, Set, Statement, Table, Value,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const IP4: u8 = 2;
const IP6: u8 = 10;
/// Types of ICMPv6 (RFC 4443, 4861, 3810).
const ECHO_REQUEST_6: u8 = 128;
const ROUTER_SOLICIT: u8 = 133;
const ROUTER_ADVERT: u8 = 134;
const NEIGHBOUR_SOLICIT: u8 = 135;
const NEIGHBOUR_ADVERT: u8 = 136;
const REDIRECT: u8 = 137;
const LISTENER_REPORT: u8 = 143;
/// The protocol's number.
const ICMP6: u8 = 58;
/// Type of ICMP (RFC 792).
const ECHO_REQUEST: u8 = 8;
/// What a cloud tells its machines about themselves is here, and what has no address yet.
const LINK_LOCAL_4: Value = Value::Net4(Ipv4Addr::new(169, 254, 0, 0), 16);
const LINK_LOCAL_6: Value = Value::Net6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
const METADATA_6: Value = Value::Net6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128);
/// A burst of a tenth of a second, and at least what one large frame with its segments takes.
const LEAST_BURST: u64 = 1 << 16;
/// Names of links have 15 bytes (netdevice(7)).
const LINK_NAME: usize = 15;

fn is(field: Field, value: Value) -> Statement {
    Statement::Is {
        field,
        not: false,
        value,
    }
}

fn not(field: Field, value: Value) -> Statement {
    Statement::Is {
        field,
        not: true,
        value,
    }
}

fn within(fields: &[Field], set: &str) -> Statement {
    Statement::In {
        fields: fields.to_vec(),
        not: false,
        set: set.to_owned(),
    }
}

fn outside(fields: &[Field], set: &str) -> Statement {
    Statement::In {
        fields: fields.to_vec(),
        not: true,
        set: set.to_owned(),
    }
}

fn jump(chain: &str) -> Statement {
    Statement::Jump(chain.to_owned())
}

fn state(bits: u32) -> Statement {
    is(Field::ConnectionState, Value::Bits(bits))
}

fn known() -> Rule {
    vec![state(6), Statement::Accept]
}

fn redirected() -> Statement {
    is(Field::ConnectionStatus, Value::Bits(0x20))
}

fn source(address: IpAddr, prefix: u8) -> Statement {
    match address {
        IpAddr::V4(a) => is(Field::Ip4Source, Value::Net4(a, prefix)),
        IpAddr::V6(a) => is(Field::Ip6Source, Value::Net6(a, prefix)),
    }
}

fn destination(address: IpAddr, prefix: u8) -> Statement {
    match address {
        IpAddr::V4(a) => is(Field::Ip4Destination, Value::Net4(a, prefix)),
        IpAddr::V6(a) => is(Field::Ip6Destination, Value::Net6(a, prefix)),
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn chain(name: &str, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.into(),
        base: None,
        rules,
    }
}

fn base(name: &str, kind: Kind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.into(),
        base: Some((kind, hook, priority)),
        rules,
    }
}

fn set(name: &str, key: &[KeyType], elements: Vec<Vec<Value>>) -> Set {
    Set {
        name: name.into(),
        key: key.to_vec(),
        timeout: false,
        elements,
    }
}

/// Chains of one guest are named by its port.
fn list_name(guest: &Guest) -> String {
    format!("from-{}", guest.port)
}

/// Whether what no line of the guest's list fits is denied.
fn denies_the_rest(guest: &Guest) -> bool {
    guest.access.iter().any(|line| line.allow)
}

impl Firewall {
    /// The network's tables, in the order `inet`, `bridge`.
    ///
    /// # Errors
    /// What of the description does not fit together.
    pub fn tables(&self) -> Result<[Table; 2], FirewallError> {
        self.check()?;
        Ok([self.packets(), self.frames()])
    }

    fn check(&self) -> Result<(), FirewallError> {
        let network = || self.bridge.clone();
        let ports = self.guests.iter().map(|guest| &guest.port);
        for name in ports.chain([&self.bridge]) {
            let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            if !(1..=LINK_NAME).contains(&name.len()) || !name.bytes().all(good) {
                return Err(FirewallError::Name { name: name.clone() });
            }
        }
        for subnet in &self.subnets {
            if subnet.prefix > bits(subnet.address) {
                return Err(FirewallError::Prefix {
                    address: subnet.address,
                    prefix: subnet.prefix,
                });
            }
        }
        let mut seen = BTreeSet::new();
        for guest in &self.guests {
            let words = [guest.port.clone(), Value::Mac(guest.mac).to_string()];
            let addresses = guest.addresses.iter().map(ToString::to_string);
            for what in words.into_iter().chain(addresses) {
                if !seen.insert(what.clone()) {
                    let network = network();
                    return Err(FirewallError::Twice { what, network });
                }
            }
            for address in &guest.addresses {
                if !self.subnets.iter().any(|subnet| subnet.holds(*address)) {
                    return Err(FirewallError::Elsewhere {
                        address: *address,
                        network: network(),
                    });
                }
            }
        }
        self.check_published()
    }

    fn check_published(&self) -> Result<(), FirewallError> {
        let mut seen: Vec<&Publish> = Vec::new();
        for guest in &self.guests {
            for publish in &guest.publish {
                let same = |other: &&Publish| {
                    let everywhere = publish.address.is_none() || other.address.is_none();
                    (other.port, other.protocol) == (publish.port, publish.protocol)
                        && (everywhere || other.address == publish.address)
                };
                if seen.iter().any(same) {
                    return Err(FirewallError::PublishedTwice {
                        port: publish.port,
                        protocol: publish.protocol.word(),
                        network: self.bridge.clone(),
                    });
                }
                let relayed = publish.address == Some(IpAddr::V6(Ipv6Addr::LOCALHOST));
                if guest.addresses.is_empty() || !relayed && self.led_to(guest, publish).is_empty()
                {
                    return Err(FirewallError::NoAddress { port: publish.port });
                }
                seen.push(publish);
            }
        }
        Ok(())
    }

    /// Where a published port leads: the guest's first address of each family that fits.
    fn led_to(&self, guest: &Guest, publish: &Publish) -> Vec<IpAddr> {
        let first = |four: bool| {
            let mut addresses = guest.addresses.iter();
            addresses.find(|a| a.is_ipv4() == four).copied()
        };
        let fits = |a: &IpAddr| publish.address.is_none_or(|p| p.is_ipv4() == a.is_ipv4());
        [first(true), first(false)]
            .into_iter()
            .flatten()
            .filter(fits)
            .collect()
    }

    /// Published ports that rules cannot serve: those of `::1`, to which a program has to listen. What it hears goes to
    /// the guest's address.
    pub fn relayed(&self) -> Vec<(Publish, IpAddr)> {
        let local = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let all = |publish: &&Publish| publish.address.is_none_or(|address| address == local);
        let guests = self.guests.iter();
        guests
            .flat_map(|guest| {
                let publish = guest.publish.iter().filter(all);
                publish.filter_map(|p| {
                    let everywhere = Publish {
                        address: None,
                        ..*p
                    };
                    Some((*p, *self.led_to(guest, &everywhere).last()?))
                })
            })
            .collect()
    }

    /// What comes from a guest.
    fn from_guests(&self) -> Vec<Statement> {
        let link = is(Field::InLink, Value::Link(self.bridge.clone()));
        if self.shared {
            vec![link, within(&[Field::EtherSource], "cards")]
        } else {
            vec![link]
        }
    }

    fn packets(&self) -> Table {
        let mut sets = Vec::new();
        let macs = self.guests.iter().map(|guest| vec![Value::Mac(guest.mac)]);
        if self.shared {
            sets.push(set("cards", &[KeyType::Mac], macs.collect()));
        }
        let mut names = BTreeSet::new();
        for line in self.guests.iter().flat_map(|guest| &guest.access) {
            if let Target::Name { name, below } = &line.target
                && names.insert((name, below))
            {
                let keys = [KeyType::Ip4, KeyType::Ip6];
                for (name, key) in name_sets(name, *below).into_iter().zip(keys) {
                    sets.push(Set {
                        timeout: true,
                        ..set(&name, &[key], Vec::new())
                    });
                }
            }
        }
        let mut chains = Vec::new();
        for guest in self.guests.iter().filter(|guest| !guest.access.is_empty()) {
            let lines = guest.access.iter().flat_map(|line| access(line, true));
            chains.push(chain(&list_name(guest), lines.collect()));
        }
        chains.extend([self.to_host(), self.out(), self.inward()]);
        let bridge = || Value::Link(self.bridge.clone());
        let with = |mut rule: Rule, last: Statement| {
            rule.push(last);
            rule
        };
        let [before, output] = self.published();
        chains.extend([
            base(
                "loopback",
                Kind::Filter,
                Hook::Prerouting,
                -300,
                vec![vec![
                    is(Field::InLink, bridge()),
                    is(
                        Field::Ip4Destination,
                        Value::Net4(Ipv4Addr::new(127, 0, 0, 0), 8),
                    ),
                    Statement::Drop,
                ]],
            ),
            base("prerouting", Kind::Nat, Hook::Prerouting, -100, before),
            base(
                "input",
                Kind::Filter,
                Hook::Input,
                0,
                vec![with(self.from_guests(), jump("to-host"))],
            ),
            base(
                "forward",
                Kind::Filter,
                Hook::Forward,
                0,
                vec![
                    with(self.from_guests(), jump("out")),
                    vec![is(Field::OutLink, bridge()), jump("inward")],
                ],
            ),
            base("output", Kind::Nat, Hook::Output, -100, output),
            base(
                "postrouting",
                Kind::Nat,
                Hook::Postrouting,
                100,
                self.translated(),
            ),
        ]);
        Table {
            family: Family::Inet,
            name: self.table(),
            sets,
            chains,
        }
    }

    /// Jumps to the lists of those guests that have one.
    fn lists(&self) -> impl Iterator<Item = Rule> + '_ {
        let guests = self.guests.iter().filter(|guest| !guest.access.is_empty());
        guests.map(|guest| {
            vec![
                is(Field::EtherSource, Value::Mac(guest.mac)),
                jump(&list_name(guest)),
            ]
        })
    }

    /// What a guest may want of this host: a sign of life, and what this network gives.
    fn to_host(&self) -> Chain {
        let mut rules = vec![
            known(),
            vec![
                is(Field::Icmp, Value::Number(ECHO_REQUEST)),
                Statement::Accept,
            ],
        ];
        let six = [
            ECHO_REQUEST_6,
            ROUTER_SOLICIT,
            NEIGHBOUR_SOLICIT,
            NEIGHBOUR_ADVERT,
            LISTENER_REPORT,
        ];
        for kind in six {
            rules.push(vec![
                is(Field::Icmp6, Value::Number(kind)),
                Statement::Accept,
            ]);
        }
        let to = |protocol, port| is(Field::DestinationPort(protocol), Value::Ports(port, port));
        if self.dhcp {
            rules.push(vec![to(Protocol::Udp, 67), Statement::Accept]);
        }
        if self.dns {
            for subnet in &self.subnets {
                for protocol in Protocol::ALL {
                    rules.push(vec![
                        destination(subnet.address, bits(subnet.address)),
                        to(protocol, 53),
                        Statement::Accept,
                    ]);
                }
            }
        }
        rules.extend(self.lists());
        rules.push(vec![Statement::Counter, Statement::Reject]);
        chain("to-host", rules)
    }

    /// What a guest may reach through this host.
    fn out(&self) -> Chain {
        let mut rules = vec![known()];
        rules.extend(self.lists());
        let closed = [
            (Field::Ip4Destination, LINK_LOCAL_4),
            (Field::Ip6Destination, LINK_LOCAL_6),
            (Field::Ip6Destination, METADATA_6),
        ];
        for (field, value) in closed {
            rules.push(vec![
                is(field, value),
                Statement::Counter,
                Statement::Reject,
            ]);
        }
        for guest in self.guests.iter().filter(|guest| denies_the_rest(guest)) {
            rules.push(vec![
                is(Field::EtherSource, Value::Mac(guest.mac)),
                Statement::Counter,
                Statement::Reject,
            ]);
        }
        chain("out", rules)
    }

    /// Who may reach a guest.
    fn inward(&self) -> Chain {
        let mut rules = vec![known(), vec![redirected(), Statement::Accept]];
        rules.push(vec![
            is(Field::InLink, Value::Link(self.bridge.clone())),
            Statement::Accept,
        ]);
        if self.open || self.shared {
            rules.push(vec![Statement::Accept]);
        } else {
            rules.push(vec![Statement::Counter, Statement::Reject]);
        }
        chain("inward", rules)
    }

    /// The first packet of a connection to a published port: what comes from outside, and what this host itself sends.
    fn published(&self) -> [Vec<Rule>; 2] {
        let (mut before, mut output) = (Vec::new(), Vec::new());
        for guest in &self.guests {
            for publish in &guest.publish {
                if publish.address == Some(IpAddr::V6(Ipv6Addr::LOCALHOST)) {
                    continue;
                }
                for to in self.led_to(guest, publish) {
                    if !publish.address.is_some_and(|address| address.is_loopback()) {
                        before.push(redirect(publish, to, false));
                    }
                    output.push(redirect(publish, to, to.is_ipv6()));
                }
            }
        }
        [before, output]
    }

    /// Who gets the address of the link that he leaves by.
    fn translated(&self) -> Vec<Rule> {
        let bridge = || Value::Link(self.bridge.clone());
        let mut rules = Vec::new();
        for subnet in &self.subnets {
            let from = || source(subnet.network(), subnet.prefix);
            if self.nat {
                rules.push(vec![
                    from(),
                    not(Field::OutLink, bridge()),
                    Statement::Masquerade,
                ]);
            }
            // A guest that reaches its neighbour by the host's address must not be answered past the host.
            rules.push(vec![
                from(),
                is(Field::OutLink, bridge()),
                redirected(),
                Statement::Masquerade,
            ]);
        }
        // What this host sends to itself has a source that no guest can answer. (IPv6 has no such way: answers to ::1
        // are not routed from a link, so that address is relayed.)
        rules.push(vec![
            source(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
            is(Field::OutLink, bridge()),
            Statement::Masquerade,
        ]);
        rules
    }

    fn frames(&self) -> Table {
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
        ];
        let mut chains = Vec::new();
        for guest in guests().filter(|guest| !guest.access.is_empty()) {
            let lines = guest.access.iter().flat_map(|line| access(line, false));
            chains.push(chain(&list_name(guest), lines.collect()));
        }
        let at_port = |last: Statement| vec![within(&[Field::InLink], "ports"), last];
        chains.extend([
            self.genuine(),
            self.between(),
            base(
                "prerouting",
                Kind::Filter,
                Hook::Prerouting,
                -300,
                vec![at_port(jump("genuine"))],
            ),
            base(
                "forward",
                Kind::Filter,
                Hook::Forward,
                -200,
                vec![at_port(jump("between"))],
            ),
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
        rules.push(vec![port(from, 67), port(to, 68), Statement::Drop]);
        for forbidden in [ROUTER_ADVERT, REDIRECT] {
            rules.push(vec![kind(forbidden), Statement::Drop]);
        }
        for subnet in &self.subnets {
            if let IpAddr::V6(address) = subnet.address {
                let about = is(Field::Icmp6Target, Value::Net6(address, 128));
                rules.push(vec![kind(NEIGHBOUR_ADVERT), about, Statement::Drop]);
            }
        }
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

/// A rule that leads a published port to a guest; `spare` leaves out IPv6's own address of this host.
fn redirect(publish: &Publish, to: IpAddr, spare: bool) -> Rule {
    let version = if to.is_ipv4() { IP4 } else { IP6 };
    let mut rule = match publish.address {
        Some(address) => vec![destination(address, bits(address))],
        None => {
            let local = Value::Net6(Ipv6Addr::LOCALHOST, 128);
            let first = if spare {
                not(Field::Ip6Destination, local)
            } else {
                is(Field::IpVersion, Value::Number(version))
            };
            vec![first, is(Field::DestinationType, Value::Local)]
        }
    };
    let field = Field::DestinationPort(publish.protocol);
    rule.push(is(field, Value::Ports(publish.port, publish.port)));
    rule.push(Statement::To(SocketAddr::new(to, publish.guest_port), true));
    rule
}

/// The rules of one line: for packets, which can be answered, or for frames, which cannot.
fn access(line: &Access, packets: bool) -> Vec<Rule> {
    let starts: Vec<Rule> = match &line.target {
        Target::Any => vec![vec![]],
        Target::Net(address, prefix) => vec![vec![destination(*address, *prefix)]],
        // Neighbours are not known by names from outside.
        Target::Name { .. } if !packets => Vec::new(),
        Target::Name { name, below } => {
            let [four, six] = name_sets(name, *below);
            vec![
                vec![within(&[Field::Ip4Destination], &four)],
                vec![within(&[Field::Ip6Destination], &six)],
            ]
        }
    };
    let end: Vec<Statement> = match (line.allow, packets) {
        (true, _) => vec![Statement::Accept],
        (false, true) => vec![Statement::Counter, Statement::Reject],
        (false, false) => vec![Statement::Counter, Statement::Drop],
    };
    let protocols = Protocol::ALL.into_iter();
    let chosen = protocols.filter(|p| line.protocol.is_none_or(|only| only == *p));
    let middles: Vec<Rule> = match line.ports {
        Some(ports) => chosen
            .map(|protocol| {
                let field = Field::DestinationPort(protocol);
                let ports = is(field, Value::Ports(ports.from, ports.to));
                let first = protocol == Protocol::Tcp && !packets && !line.allow;
                let opens = first.then_some(Statement::Opens);
                std::iter::once(ports).chain(opens).collect()
            })
            .collect(),
        None if packets || line.allow => vec![vec![]],
        None => unasked(match &line.target {
            Target::Net(address, _) => Some(address.is_ipv4()),
            _ => None,
        }),
    };
    let mut rules = Vec::new();
    for start in &starts {
        for middle in &middles {
            rules.push([start.as_slice(), middle, &end].concat());
        }
    }
    rules
}

/// What no answer is, where there is no memory of connections: TCP's first packet, and everything of other protocols
/// but the talk of IPv6 neighbours about each other.
fn unasked(four: Option<bool>) -> Vec<Rule> {
    let other = |number| not(Field::Transport, Value::Number(number));
    let tcp = Protocol::Tcp.number();
    if four == Some(true) {
        return vec![vec![Statement::Opens], vec![other(tcp)]];
    }
    vec![
        vec![Statement::Opens],
        vec![other(tcp), other(ICMP6)],
        vec![is(Field::Icmp6, Value::Number(ECHO_REQUEST_6))],
    ]
}
