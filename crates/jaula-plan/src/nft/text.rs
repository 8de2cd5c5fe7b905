//! Tables as `nft` reads and lists them (nft(8)).

use super::{Chain, Family, Field, Hook, KeyType, Kind, Protocol, Set, Statement, Table, Value};
use std::fmt::{self, Display, Formatter};

impl Display for Family {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Inet => "inet",
            Family::Bridge => "bridge",
        })
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {} {{", self.family, self.name)?;
        let mut first = true;
        let mut between = |f: &mut Formatter<'_>| {
            let blank = !std::mem::take(&mut first);
            if blank { f.write_str("\n") } else { Ok(()) }
        };
        for set in &self.sets {
            between(f)?;
            write_set(f, set)?;
        }
        for chain in &self.chains {
            between(f)?;
            self.write_chain(f, chain)?;
        }
        writeln!(f, "}}")
    }
}

fn write_set(f: &mut Formatter<'_>, set: &Set) -> fmt::Result {
    let word = |key: &KeyType| match key {
        KeyType::Link => "ifname",
        KeyType::Mac => "ether_addr",
        KeyType::Ip4 => "ipv4_addr",
        KeyType::Ip6 => "ipv6_addr",
    };
    let key: Vec<&str> = set.key.iter().map(word).collect();
    writeln!(f, "\tset {} {{", set.name)?;
    writeln!(f, "\t\ttype {}", key.join(" . "))?;
    if set.timeout {
        writeln!(f, "\t\tflags timeout")?;
    }
    if !set.elements.is_empty() {
        let one = |parts: &Vec<Value>| {
            let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
            parts.join(" . ")
        };
        let elements: Vec<String> = set.elements.iter().map(one).collect();
        let elements = elements.join(",\n\t\t\t     ");
        writeln!(f, "\t\telements = {{ {elements} }}")?;
    }
    writeln!(f, "\t}}")
}

/// A rule of a table of packets.
pub(super) fn rule_text(rule: &[Statement]) -> String {
    let table = Table {
        family: Family::Inet,
        name: String::new(),
        sets: Vec::new(),
        chains: Vec::new(),
    };
    table.rule(rule)
}

impl Table {
    fn rule(&self, rule: &[Statement]) -> String {
        let words: Vec<String> = rule.iter().map(|s| self.statement(s)).collect();
        words.join(" ")
    }

    fn write_chain(&self, f: &mut Formatter<'_>, chain: &Chain) -> fmt::Result {
        writeln!(f, "\tchain {} {{", chain.name)?;
        if let Some((kind, hook, priority)) = &chain.base {
            let kind = match kind {
                Kind::Filter => "filter",
                Kind::Nat => "nat",
            };
            let priority = self.priority(*hook, *priority);
            writeln!(
                f,
                "\t\ttype {kind} hook {hook} priority {priority}; policy accept;"
            )?;
        }
        for rule in &chain.rules {
            writeln!(f, "\t\t{}", self.rule(rule))?;
        }
        writeln!(f, "\t}}")
    }

    /// Priorities have names (nft(8), "Standard priority names"), not the same ones everywhere.
    fn priority(&self, hook: Hook, number: i32) -> String {
        let named = match (self.family, hook, number) {
            (Family::Inet, _, -300) => "raw",
            (Family::Inet, Hook::Prerouting, -100) | (Family::Bridge, Hook::Prerouting, -300) => {
                "dstnat"
            }
            (Family::Inet, _, 0) | (Family::Bridge, _, -200) => "filter",
            (Family::Inet, Hook::Postrouting, 100) => "srcnat",
            _ => return number.to_string(),
        };
        named.to_owned()
    }

    fn statement(&self, statement: &Statement) -> String {
        match statement {
            Statement::Is { field, not, value } => is(*field, *not, value),
            Statement::In { fields, not, set } => {
                let fields: Vec<String> = fields.iter().map(|field| word(*field)).collect();
                let not = if *not { "!= " } else { "" };
                format!("{} {not}@{set}", fields.join(" . "))
            }
            Statement::Opens => "tcp flags syn / syn,ack".into(),
            Statement::Over { rate, burst } => {
                let burst = match burst {
                    0 => String::new(),
                    _ => format!(" burst {}", rate_text(u64::from(*burst))),
                };
                format!("limit rate over {}/second{burst}", rate_text(*rate))
            }
            Statement::Counter => "counter".into(),
            Statement::Accept => "accept".into(),
            Statement::Drop => "drop".into(),
            Statement::Return => "return".into(),
            Statement::Jump(chain) => format!("jump {chain}"),
            Statement::Reject => "reject with icmpx admin-prohibited".into(),
            Statement::To(address, port) => {
                let family = if address.is_ipv4() { "ip" } else { "ip6" };
                match (port, address.ip()) {
                    (true, _) => format!("dnat {family} to {address}"),
                    (false, ip) => format!("dnat {family} to {ip}"),
                }
            }
            Statement::Masquerade => "masquerade".into(),
        }
    }
}

/// The units of `nft` are powers of 1024.
fn rate_text(bytes: u64) -> String {
    const K: u64 = 1024;
    match bytes {
        n if n > 0 && n.is_multiple_of(K * K) => format!("{} mbytes", n / (K * K)),
        n if n > 0 && n.is_multiple_of(K) => format!("{} kbytes", n / K),
        n => format!("{n} bytes"),
    }
}

fn word(field: Field) -> String {
    match field {
        Field::InLink => "iifname".into(),
        Field::OutLink => "oifname".into(),
        Field::EtherSource => "ether saddr".into(),
        Field::IpVersion => "meta nfproto".into(),
        Field::Ip4Source => "ip saddr".into(),
        Field::Ip4Destination => "ip daddr".into(),
        Field::Ip6Source => "ip6 saddr".into(),
        Field::Ip6Destination => "ip6 daddr".into(),
        Field::ArpEther => "arp saddr ether".into(),
        Field::ArpSource => "arp saddr ip".into(),
        Field::Transport => "meta l4proto".into(),
        Field::SourcePort(protocol) => format!("{protocol} sport"),
        Field::DestinationPort(protocol) => format!("{protocol} dport"),
        Field::Icmp => "icmp type".into(),
        Field::Icmp6 => "icmpv6 type".into(),
        Field::Icmp6Target => "@th,64,128".into(),
        Field::DestinationType => "fib daddr type".into(),
        Field::ConnectionState => "ct state".into(),
        Field::ConnectionStatus => "ct status".into(),
    }
}

fn is(field: Field, not: bool, value: &Value) -> String {
    let shown = match (field, value) {
        (Field::IpVersion, Value::Number(2)) => "ipv4".into(),
        (Field::IpVersion, Value::Number(10)) => "ipv6".into(),
        (Field::Transport, Value::Number(58)) => "ipv6-icmp".into(),
        (Field::Transport, Value::Number(1)) => "icmp".into(),
        (Field::Transport, Value::Number(6)) => "tcp".into(),
        (Field::Transport, Value::Number(17)) => "udp".into(),
        (Field::Icmp, Value::Number(8)) => "echo-request".into(),
        (Field::Icmp6, Value::Number(number)) => {
            icmp6(*number).map_or_else(|| number.to_string(), ToOwned::to_owned)
        }
        (Field::ConnectionState, Value::Bits(bits)) => {
            let names = [(2, "established"), (4, "related"), (8, "new")];
            let set = names.iter().filter(|(bit, _)| bits & bit != 0);
            set.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
        }
        (Field::ConnectionStatus, Value::Bits(0x20)) => "dnat".into(),
        (Field::Icmp6Target, Value::Net6(address, _)) => {
            // As one number, without its leading zeros.
            format!("{:#x}", u128::from(*address))
        }
        _ => value.to_string(),
    };
    let not = if not { "!= " } else { "" };
    format!("{} {not}{shown}", word(field))
}

fn icmp6(number: u8) -> Option<&'static str> {
    Some(match number {
        128 => "echo-request",
        133 => "nd-router-solicit",
        134 => "nd-router-advert",
        135 => "nd-neighbor-solicit",
        136 => "nd-neighbor-advert",
        137 => "nd-redirect",
        143 => "mld2-listener-report",
        _ => return None,
    })
}

impl Display for Protocol {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        })
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Link(name) => write!(f, "\"{name}\""),
            Value::Mac([a, b, c, d, e, g]) => {
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
            Value::Net4(address, 32) => write!(f, "{address}"),
            Value::Net4(address, bits) => write!(f, "{address}/{bits}"),
            Value::Net6(address, 128) => write!(f, "{address}"),
            Value::Net6(address, bits) => write!(f, "{address}/{bits}"),
            Value::Ports(from, to) if from == to => write!(f, "{from}"),
            Value::Ports(from, to) => write!(f, "{from}-{to}"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Bits(bits) => write!(f, "{bits:#x}"),
            Value::Local => f.write_str("local"),
        }
    }
}
