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
pub(super) const ECHO_REQUEST_6: u8 = 128;
pub(super) const ROUTER_SOLICIT: u8 = 133;
pub(super) const ROUTER_ADVERT: u8 = 134;
pub(super) const NEIGHBOUR_SOLICIT: u8 = 135;
pub(super) const NEIGHBOUR_ADVERT: u8 = 136;
pub(super) const REDIRECT: u8 = 137;
pub(super) const LISTENER_REPORT: u8 = 143;
/// The protocol's number.
const ICMP6: u8 = 58;
/// Type of ICMP (RFC 792).
const ECHO_REQUEST: u8 = 8;
/// What a cloud tells its machines about themselves is here, and what has no address yet.
pub(super) const LINK_LOCAL_4: Value = Value::Net4(Ipv4Addr::new(169, 254, 0, 0), 16);
pub(super) const LINK_LOCAL_6: Value = Value::Net6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
const METADATA_6: [Value; 2] = [
    Value::Net6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128),
    Value::Net6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
];

pub(super) fn is(field: Field, value: Value) -> Statement {
    Statement::Is {
        field,
        not: false,
        value,
    }
}

pub(super) fn not(field: Field, value: Value) -> Statement {
    Statement::Is {
        field,
        not: true,
        value,
    }
}

pub(super) fn within(fields: &[Field], set: &str) -> Statement {
    Statement::In {
        fields: fields.to_vec(),
        not: false,
        set: set.to_owned(),
    }
}

pub(super) fn outside(fields: &[Field], set: &str) -> Statement {
    Statement::In {
        fields: fields.to_vec(),
        not: true,
        set: set.to_owned(),
    }
}

pub(super) fn jump(chain: &str) -> Statement {
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

pub(super) fn source(address: IpAddr, prefix: u8) -> Statement {
    match address {
        IpAddr::V4(a) => is(Field::Ip4Source, Value::Net4(a, prefix)),
        IpAddr::V6(a) => is(Field::Ip6Source, Value::Net6(a, prefix)),
    }
}

pub(super) fn destination(address: IpAddr, prefix: u8) -> Statement {
    match address {
        IpAddr::V4(a) => is(Field::Ip4Destination, Value::Net4(a, prefix)),
        IpAddr::V6(a) => is(Field::Ip6Destination, Value::Net6(a, prefix)),
    }
}

pub(super) fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

pub(super) fn chain(name: &str, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.into(),
        base: None,
        rules,
    }
}

pub(super) fn base(name: &str, kind: Kind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.into(),
        base: Some((kind, hook, priority)),
        rules,
    }
}

pub(super) fn set(name: &str, key: &[KeyType], elements: Vec<Vec<Value>>) -> Set {
    Set {
        name: name.into(),
        key: key.to_vec(),
        timeout: false,
        elements,
    }
}

/// Chains of one guest are named by its port.
pub(super) fn list_name(guest: &Guest) -> String {
    format!("from-{}", guest.port)
}

/// Whether what no line of the guest's list fits is denied.
pub(super) fn denies_the_rest(guest: &Guest) -> bool {
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

    /// Where a published port leads: the guest's first address of each family that fits.
    pub(super) fn led_to(&self, guest: &Guest, publish: &Publish) -> Vec<IpAddr> {
        led_to(&guest.addresses, publish)
    }

    /// Published ports that rules cannot serve: those of `::1`, to which a program has to listen. What it hears goes to
    /// the guest's address.
    pub fn relayed(&self) -> Vec<(Publish, IpAddr)> {
        let guests = self.guests.iter();
        guests
            .flat_map(|guest| {
                let publish = guest.publish.iter();
                publish.filter_map(|p| Some((*p, relayed_to(&guest.addresses, p)?)))
            })
            .collect()
    }

    /// What comes from a guest.
    fn of_guests(&self) -> Vec<Statement> {
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
        let ports = self.guests.iter();
        let ports = ports.map(|guest| vec![Value::Link(guest.port.clone())]);
        sets.push(set("ports", &[KeyType::Link], ports.collect()));
        let ways = self.ways.iter().filter(|_| self.nat);
        let ways = ways.map(|link| vec![Value::Link(link.clone())]);
        sets.push(set("ways", &[KeyType::Link], ways.collect()));
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
        // Of other networks of this host guests reach what those publish, and nothing else.
        let elsewhere = vec![
            vec![redirected(), Statement::Return],
            vec![Statement::Counter, Statement::Reject],
        ];
        let elsewhere = chain("elsewhere", elsewhere);
        chains.extend([self.for_host(), elsewhere, self.out(), self.inward()]);
        let bridge = || Value::Link(self.bridge.clone());
        let with = |mut rule: Rule, last: Statement| {
            rule.push(last);
            rule
        };
        let forward = vec![
            with(self.of_guests(), jump("out")),
            vec![is(Field::OutLink, bridge()), jump("inward")],
        ];
        let [before, output] = self.published();
        chains.extend([
            base(
                "loopback",
                Kind::Filter,
                Hook::Prerouting,
                -300,
                // Frames to 01:80:c2:00:00:0x do not go through the bridge: what is in them arrives by the port itself,
                // past all that is said of the bridge below (br_handle_frame of net/bridge/br_input.c).
                vec![
                    vec![within(&[Field::InLink], "ports"), Statement::Drop],
                    vec![
                        is(Field::InLink, bridge()),
                        is(
                            Field::Ip4Destination,
                            Value::Net4(Ipv4Addr::new(127, 0, 0, 0), 8),
                        ),
                        Statement::Drop,
                    ],
                ],
            ),
            base("prerouting", Kind::Nat, Hook::Prerouting, -100, before),
            base(
                "input",
                Kind::Filter,
                Hook::Input,
                0,
                vec![with(self.of_guests(), jump("to-host"))],
            ),
            base("forward", Kind::Filter, Hook::Forward, 0, forward),
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
    pub(super) fn lists(&self) -> impl Iterator<Item = Rule> + '_ {
        let guests = self.guests.iter().filter(|guest| !guest.access.is_empty());
        guests.map(|guest| {
            vec![
                is(Field::EtherSource, Value::Mac(guest.mac)),
                jump(&list_name(guest)),
            ]
        })
    }

    /// What a guest may want of this host: a sign of life, and what this network gives.
    fn for_host(&self) -> Chain {
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
        // Not by names: who answers for a name would choose what of this host it opens.
        for guest in &self.guests {
            let lines = guest.access.iter();
            let lines = lines.filter(|line| !matches!(line.target, Target::Name { .. }));
            for rule in lines.flat_map(|line| access(line, true)) {
                let from = is(Field::EtherSource, Value::Mac(guest.mac));
                rules.push(std::iter::once(from).chain(rule).collect());
            }
        }
        rules.push(vec![Statement::Counter, Statement::Reject]);
        chain("to-host", rules)
    }

    /// What a guest may reach through this host.
    fn out(&self) -> Chain {
        let mut rules = vec![known()];
        rules.push(vec![
            not(Field::OutLink, Value::Link(self.bridge.clone())),
            outside(&[Field::OutLink], "ways"),
            jump("elsewhere"),
        ]);
        rules.extend(self.lists());
        let [amazon, google] = METADATA_6;
        let closed = [
            (Field::Ip4Destination, LINK_LOCAL_4),
            (Field::Ip6Destination, LINK_LOCAL_6),
            (Field::Ip6Destination, amazon),
            (Field::Ip6Destination, google),
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
                let [first, second] = led(&guest.addresses, publish);
                before.extend(first);
                output.extend(second);
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
}

/// Whether a name of a guest's list may stand for an address: not for one of a link or of this host alone, and not for
/// those where clouds tell their machines about themselves. Who answers for the name would open them otherwise.
pub fn may_be_named(address: IpAddr) -> bool {
    let nets = std::iter::once(LINK_LOCAL_4)
        .chain([LINK_LOCAL_6])
        .chain(METADATA_6);
    let subnet = |address, prefix| super::Subnet { address, prefix };
    let held = |net: Value| match (net, address) {
        (Value::Net4(net, prefix), _) => subnet(net.into(), prefix).holds(address),
        (Value::Net6(net, prefix), _) => subnet(net.into(), prefix).holds(address),
        _ => false,
    };
    !(address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || nets.into_iter().any(held))
}

/// Where a published port leads that a program has to listen for, if it is one.
pub fn relayed_to(addresses: &[IpAddr], publish: &Publish) -> Option<IpAddr> {
    let local = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let everywhere = Publish {
        address: None,
        ..*publish
    };
    let listens = publish.address.is_none_or(|address| address == local);
    led_to(addresses, &everywhere)
        .last()
        .copied()
        .filter(|_| listens)
}

fn led_to(addresses: &[IpAddr], publish: &Publish) -> Vec<IpAddr> {
    let first = |four: bool| addresses.iter().find(|a| a.is_ipv4() == four).copied();
    let fits = |a: &IpAddr| publish.address.is_none_or(|p| p.is_ipv4() == a.is_ipv4());
    [first(true), first(false)]
        .into_iter()
        .flatten()
        .filter(fits)
        .collect()
}

/// The rules that lead a published port to a guest of these addresses: for what comes, and for what this host sends.
pub(super) fn led(addresses: &[IpAddr], publish: &Publish) -> [Vec<Rule>; 2] {
    let (mut before, mut output) = (Vec::new(), Vec::new());
    if publish.address == Some(IpAddr::V6(Ipv6Addr::LOCALHOST)) {
        return [before, output];
    }
    for to in led_to(addresses, publish) {
        if !publish.address.is_some_and(|address| address.is_loopback()) {
            before.push(redirect(publish, to, false));
        }
        output.push(redirect(publish, to, to.is_ipv6()));
    }
    [before, output]
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
pub(super) fn access(line: &Access, packets: bool) -> Vec<Rule> {
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
pub(super) fn unasked(four: Option<bool>) -> Vec<Rule> {
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

/// The rules that lead a published port to a guest of these addresses, each with its chain.
pub fn leads(addresses: &[IpAddr], publish: &Publish) -> Vec<(&'static str, String)> {
    let [before, output] = led(addresses, publish);
    let named = |chain, rules: Vec<Rule>| {
        rules
            .into_iter()
            .map(move |rule| (chain, super::text::rule_text(&rule)))
    };
    named("prerouting", before)
        .chain(named("output", output))
        .collect()
}

/// The rules of a line of a guest's list, for packets.
pub fn list(line: &Access) -> Vec<String> {
    access(line, true)
        .iter()
        .map(|rule| super::text::rule_text(rule))
        .collect()
}

/// The sets of a line that names a name, each with its type.
pub fn sets_of(line: &Access) -> Vec<(String, &'static str)> {
    match &line.target {
        Target::Name { name, below } => {
            let kinds = ["ipv4_addr", "ipv6_addr"];
            name_sets(name, *below).into_iter().zip(kinds).collect()
        }
        _ => Vec::new(),
    }
}
