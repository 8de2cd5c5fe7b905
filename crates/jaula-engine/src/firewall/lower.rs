//! From a table as `nft` would write it to what the kernel takes: each field is a load and a comparison, and a field of
//! a protocol asks first whether it is that protocol (as nft(8) does, so that `nft` lists what was meant).

use jaula_plan::nft::{Chain, Family, Field, Hook, KeyType, Kind, Set, Statement, Table, Value};
use jaula_sys::nfnetlink as kernel;
use jaula_sys::nfnetlink::expr::{Base, Expr, Order, REG_1, REG32_00, Verdict};

/// `NFT_META_*`.
const META_PROTOCOL: u32 = 1;
const META_IN_NAME: u32 = 6;
const META_OUT_NAME: u32 = 7;
const META_IN_TYPE: u32 = 8;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
/// `NFT_CT_*`.
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// `NFT_FIB_RESULT_ADDRTYPE`, `NFTA_FIB_F_DADDR`, `RTN_LOCAL`.
const FIB_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 2;
const LOCAL: u32 = 2;
/// `NFT_REJECT_ICMPX_UNREACH` with `NFT_REJECT_ICMPX_ADMIN_PROHIBITED`.
const REJECT_ANY: u32 = 2;
const FORBIDDEN: u8 = 3;
/// `ARPHRD_ETHER`.
const ETHERNET: u16 = 1;
/// Bytes of a link's name, with what fills it.
const LINK_NAME: usize = 16;
/// TCP's flags, those that an opening packet is told by, and what they are in one.
const TCP_FLAGS: u32 = 13;
const SYN_ACK: u8 = 0x12;
const SYN: u8 = 0x02;

/// A network protocol, by its number on Ethernet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    Ip4,
    Ip6,
    Arp,
}

/// What the rule has asked already.
struct Asked {
    family: Family,
    out: Vec<Expr>,
    network: Option<Network>,
    transport: Option<u8>,
    ethernet: bool,
}

/// How the kernel knows the family.
pub fn family(family: Family) -> kernel::Family {
    match family {
        Family::Inet => kernel::Family::Inet,
        Family::Bridge => kernel::Family::Bridge,
    }
}

/// A chain without its rules.
pub fn chain(chain: &Chain) -> kernel::Chain {
    kernel::Chain {
        name: chain.name.clone(),
        hook: chain.base.map(|(kind, hook, priority)| kernel::Hook {
            kind: match kind {
                Kind::Filter => "filter".into(),
                Kind::Nat => "nat".into(),
            },
            // The same numbers for IP and for bridges.
            number: match hook {
                Hook::Prerouting => 0,
                Hook::Input => 1,
                Hook::Forward => 2,
                Hook::Output => 3,
                Hook::Postrouting => 4,
            },
            priority,
            drops: false,
        }),
    }
}

/// A set without its elements. The numbers of types are those of `nft`, and those of parts stand next to each other.
pub fn set(set: &Set) -> kernel::Set {
    let part = |key: &KeyType| match key {
        KeyType::Link => (41, 16),
        KeyType::Mac => (9, 6),
        KeyType::Ip4 => (7, 4),
        KeyType::Ip6 => (8, 16),
    };
    let single = set.key.len() == 1;
    let parts = || set.key.iter().map(part);
    kernel::Set {
        name: set.name.clone(),
        key_type: parts().fold(0, |all, (number, _)| all << 6 | number),
        key_length: parts()
            .map(|(_, length): (u32, u32)| {
                if single {
                    length
                } else {
                    length.next_multiple_of(4)
                }
            })
            .sum(),
        timeout: set.timeout,
        native: set.key == [KeyType::Link],
    }
}

/// The elements of a set.
pub fn elements(set: &Set) -> Vec<kernel::Element> {
    let one = |parts: &Vec<Value>| {
        let mut key = Vec::new();
        for part in parts {
            key.extend(bytes(part));
            if parts.len() > 1 {
                key.resize(key.len().next_multiple_of(4), 0);
            }
        }
        kernel::Element { key, timeout: None }
    };
    set.elements.iter().map(one).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::Link(name) => {
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(LINK_NAME, 0);
            bytes
        }
        Value::Mac(mac) => mac.to_vec(),
        Value::Net4(address, _) => address.octets().to_vec(),
        Value::Net6(address, _) => address.octets().to_vec(),
        Value::Ports(from, _) => from.to_be_bytes().to_vec(),
        Value::Number(number) => vec![*number],
        Value::Bits(bits) => bits.to_ne_bytes().to_vec(),
        Value::Local => LOCAL.to_ne_bytes().to_vec(),
    }
}

/// A rule.
pub fn rule(family: Family, statements: &[Statement]) -> Vec<Expr> {
    let mut asked = Asked {
        family,
        out: Vec::new(),
        network: None,
        transport: None,
        ethernet: false,
    };
    for statement in statements {
        asked.statement(statement);
    }
    asked.out
}

/// All that makes a table, from nothing.
pub fn table(table: &Table) -> Vec<kernel::Change> {
    let family = family(table.family);
    let name = || table.name.clone();
    let mut changes = vec![kernel::Change::Table(family, name())];
    for wanted in &table.sets {
        changes.push(kernel::Change::Set(family, name(), set(wanted)));
        let elements = elements(wanted);
        if !elements.is_empty() {
            changes.push(kernel::Change::Elements(
                family,
                name(),
                wanted.name.clone(),
                elements,
            ));
        }
    }
    for wanted in &table.chains {
        changes.push(kernel::Change::Chain(family, name(), chain(wanted)));
    }
    for wanted in &table.chains {
        for statements in &wanted.rules {
            changes.push(kernel::Change::Rule(
                family,
                name(),
                wanted.name.clone(),
                rule(table.family, statements),
            ));
        }
    }
    changes
}

impl Asked {
    fn compare(&mut self, not: bool, data: Vec<u8>) {
        let order = if not { Order::NotEqual } else { Order::Equal };
        self.out.push(Expr::Compare { order, data });
    }

    fn meta(&mut self, key: u32, register: u32) {
        self.out.push(Expr::Meta { key, register });
    }

    fn network(&mut self, wanted: Network) {
        if self.network == Some(wanted) {
            return;
        }
        self.network = Some(wanted);
        if self.family == Family::Bridge {
            self.meta(META_PROTOCOL, REG_1);
            let number: u16 = match wanted {
                Network::Ip4 => 0x0800,
                Network::Ip6 => 0x86dd,
                Network::Arp => 0x0806,
            };
            self.compare(false, number.to_be_bytes().to_vec());
        } else {
            self.meta(META_NFPROTO, REG_1);
            let number = if wanted == Network::Ip4 { 2 } else { 10 };
            self.compare(false, vec![number]);
        }
    }

    fn transport(&mut self, wanted: u8) {
        if self.transport != Some(wanted) {
            self.transport = Some(wanted);
            self.meta(META_L4PROTO, REG_1);
            self.compare(false, vec![wanted]);
        }
    }

    /// Asks what has to be so before the field means anything.
    fn before(&mut self, field: Field) {
        match field {
            Field::Ip4Source | Field::Ip4Destination => self.network(Network::Ip4),
            Field::Ip6Source | Field::Ip6Destination => self.network(Network::Ip6),
            Field::ArpEther | Field::ArpSource => self.network(Network::Arp),
            Field::EtherSource if self.family == Family::Inet && !self.ethernet => {
                self.ethernet = true;
                self.meta(META_IN_TYPE, REG_1);
                self.compare(false, ETHERNET.to_ne_bytes().to_vec());
            }
            Field::SourcePort(protocol) | Field::DestinationPort(protocol) => {
                self.transport(protocol.number());
            }
            Field::Icmp => {
                self.network(Network::Ip4);
                self.transport(1);
            }
            Field::Icmp6 => {
                self.network(Network::Ip6);
                self.transport(58);
            }
            _ => {}
        }
    }

    /// Loads a field, or its first bytes only; says how many bytes it has.
    fn load(&mut self, field: Field, register: u32, only: Option<u32>) -> u32 {
        let mut payload = |base, offset, length| {
            let length = only.unwrap_or(length);
            self.out.push(Expr::Payload {
                base,
                offset,
                length,
                register,
            });
            length
        };
        match field {
            Field::EtherSource => payload(Base::Link, 6, 6),
            Field::Ip4Source => payload(Base::Network, 12, 4),
            Field::Ip4Destination => payload(Base::Network, 16, 4),
            Field::Ip6Source => payload(Base::Network, 8, 16),
            Field::Ip6Destination => payload(Base::Network, 24, 16),
            Field::ArpEther => payload(Base::Network, 8, 6),
            Field::ArpSource => payload(Base::Network, 14, 4),
            Field::SourcePort(_) => payload(Base::Transport, 0, 2),
            Field::DestinationPort(_) => payload(Base::Transport, 2, 2),
            Field::Icmp | Field::Icmp6 => payload(Base::Transport, 0, 1),
            Field::Icmp6Target => payload(Base::Transport, 8, 16),
            Field::InLink => self.fact(META_IN_NAME, register, 16),
            Field::OutLink => self.fact(META_OUT_NAME, register, 16),
            Field::IpVersion => self.fact(META_NFPROTO, register, 1),
            Field::Transport => self.fact(META_L4PROTO, register, 1),
            Field::DestinationType => {
                self.out.push(Expr::Route {
                    result: FIB_TYPE,
                    flags: FIB_DESTINATION,
                    register,
                });
                4
            }
            Field::ConnectionState | Field::ConnectionStatus => {
                let state = field == Field::ConnectionState;
                let key = if state { CT_STATE } else { CT_STATUS };
                self.out.push(Expr::Connection { key, register });
                4
            }
        }
    }

    fn fact(&mut self, key: u32, register: u32, length: u32) -> u32 {
        self.meta(key, register);
        length
    }

    fn is(&mut self, field: Field, not: bool, value: &Value) {
        self.before(field);
        let known = bytes(value);
        match value {
            Value::Net4(_, prefix) | Value::Net6(_, prefix) => {
                self.prefix(field, not, &known, *prefix);
            }
            Value::Ports(from, to) if from != to && !not => {
                self.load(field, REG_1, None);
                for (order, port) in [(Order::AtLeast, from), (Order::AtMost, to)] {
                    let data = port.to_be_bytes().to_vec();
                    self.out.push(Expr::Compare { order, data });
                }
            }
            Value::Bits(_) => {
                self.load(field, REG_1, None);
                self.out.push(Expr::Mask { mask: known });
                // One of the bits is enough; none of them where it must not be so.
                self.compare(!not, vec![0; 4]);
            }
            _ => {
                self.load(field, REG_1, None);
                self.compare(not, known);
                if let (Field::IpVersion, Value::Number(number), false) = (field, value, not) {
                    let four = *number == 2;
                    self.network = Some(if four { Network::Ip4 } else { Network::Ip6 });
                }
            }
        }
    }

    /// Addresses with the same first bits: whole bytes are loaded alone, else the rest is masked.
    fn prefix(&mut self, field: Field, not: bool, address: &[u8], prefix: u8) {
        let whole = usize::from(prefix / 8);
        if prefix == 0 {
            return;
        }
        if prefix.is_multiple_of(8) {
            let length = u32::from(prefix / 8);
            self.load(field, REG_1, Some(length));
            self.compare(not, address.iter().take(whole).copied().collect());
            return;
        }
        self.load(field, REG_1, None);
        let mask: Vec<u8> = (0..address.len())
            .map(|at| match at.cmp(&whole) {
                std::cmp::Ordering::Less => 0xff,
                std::cmp::Ordering::Equal => !(0xff_u8 >> (prefix % 8)),
                std::cmp::Ordering::Greater => 0,
            })
            .collect();
        let kept = address.iter().zip(&mask).map(|(a, m)| a & m).collect();
        self.out.push(Expr::Mask { mask });
        self.compare(not, kept);
    }

    fn within(&mut self, fields: &[Field], not: bool, set: &str) {
        for field in fields {
            self.before(*field);
        }
        // Words of four bytes from the first register; where a register of sixteen starts it is named as such.
        let mut word = 0;
        for field in fields {
            let register = match word % 4 {
                0 => REG_1 + word / 4,
                _ => REG32_00 + word,
            };
            word += self.load(*field, register, None).div_ceil(4);
        }
        self.out.push(Expr::Lookup {
            set: set.to_owned(),
            not,
        });
    }

    fn statement(&mut self, statement: &Statement) {
        let verdict = match statement {
            Statement::Is { field, not, value } => return self.is(*field, *not, value),
            Statement::In { fields, not, set } => return self.within(fields, *not, set),
            Statement::Opens => {
                self.transport(6);
                self.out.push(Expr::Payload {
                    base: Base::Transport,
                    offset: TCP_FLAGS,
                    length: 1,
                    register: REG_1,
                });
                self.out.push(Expr::Mask {
                    mask: vec![SYN_ACK],
                });
                return self.compare(false, vec![SYN]);
            }
            Statement::Over { rate, burst } => {
                let (rate, burst) = (*rate, *burst);
                return self.out.push(Expr::Over { rate, burst });
            }
            Statement::Counter => return self.out.push(Expr::Counter),
            Statement::Reject => {
                let (kind, code) = (REJECT_ANY, FORBIDDEN);
                return self.out.push(Expr::Reject { kind, code });
            }
            Statement::Masquerade => return self.out.push(Expr::Masquerade),
            Statement::To(to, port) => return self.to(*to, *port),
            Statement::Accept => Verdict::Accept,
            Statement::Drop => Verdict::Drop,
            Statement::Return => Verdict::Return,
            Statement::Jump(chain) => Verdict::Jump(chain.clone()),
        };
        self.out.push(Expr::Verdict(verdict));
    }

    fn to(&mut self, to: std::net::SocketAddr, port: bool) {
        let address = match to.ip() {
            std::net::IpAddr::V4(a) => a.octets().to_vec(),
            std::net::IpAddr::V6(a) => a.octets().to_vec(),
        };
        self.out.push(Expr::Data {
            register: REG_1,
            data: address,
        });
        if port {
            self.out.push(Expr::Data {
                register: 2,
                data: to.port().to_be_bytes().to_vec(),
            });
        }
        let family = if to.is_ipv4() { 2 } else { 10 };
        self.out.push(Expr::Destination { family, port });
    }
}
