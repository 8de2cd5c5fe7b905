//! What a network's firewall has to do, and the words in which a person says it.

use super::FirewallError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A protocol with ports.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Both.
    pub const ALL: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

    /// As people write it.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }

    /// Its number above IP.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }
}

/// The bridge's own address in a subnet, and how many bits the subnet's addresses share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    /// The bridge's address.
    pub address: IpAddr,
    /// Bits in common.
    pub prefix: u8,
}

impl Subnet {
    /// Whether an address is one of the subnet's.
    pub fn holds(self, address: IpAddr) -> bool {
        match (self.network(), address) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                Subnet { address, ..self }.network() == self.network()
            }
            _ => false,
        }
    }

    /// The first address: all bits that are not shared are 0.
    pub fn network(self) -> IpAddr {
        let gone = |bits: u32| bits.saturating_sub(u32::from(self.prefix));
        match self.address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(gone(32)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(a) & mask))
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(gone(128)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(a) & mask))
            }
        }
    }
}

/// Ports, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ports {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}

/// A port of the host that leads to a guest: `8080:80`, `127.0.0.1:8080:80`, `[::1]:5353:53/udp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Publish {
    /// The host's address; every one of its own if none is given.
    pub address: Option<IpAddr>,
    /// The host's port.
    pub port: u16,
    /// The guest's.
    pub guest_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// Where a packet goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Anywhere.
    Any,
    /// Addresses with the same first bits.
    Net(IpAddr, u8),
    /// Whatever a name stands for, as the network's own forwarder answers.
    Name {
        /// In small letters, without a dot at the end.
        name: String,
        /// Whether names below it are meant as well: `*.example.org`.
        below: bool,
    },
}

/// One line of a guest's list; the first that fits decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Access {
    /// Whether it is allowed.
    pub allow: bool,
    /// Where to.
    pub target: Target,
    /// Which ports; all, and what has none, if none are given.
    pub ports: Option<Ports>,
    /// Which protocol; both if none is given.
    pub protocol: Option<Protocol>,
}

/// A guest on the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// The host's end of its link, a port of the bridge.
    pub port: String,
    /// The guest's card.
    pub mac: [u8; 6],
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it asks for further addresses itself (DHCP, SLAAC): any that nobody else has is let pass.
    pub asks: bool,
    /// Its ports that the host leads to.
    pub publish: Vec<Publish>,
    /// What it may reach. With no line that allows, what no line denies is allowed; else denied.
    pub access: Vec<Access>,
    /// Bytes a second that it may send and receive.
    pub rate: Option<u64>,
}

/// A network's firewall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    /// The bridge, which is the network's name too.
    pub bridge: String,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// Whether guests reach the outside under the host's address.
    pub nat: bool,
    /// The links by which they do: what leads to other networks of this host is closed.
    pub ways: Vec<String>,
    /// The bridge's own addresses of its link.
    pub locals: Vec<Ipv6Addr>,
    /// Whether the bridge has a port to a network outside: then only the guests named here are judged, for what else
    /// comes by the bridge is the host's own neighbourhood.
    pub shared: bool,
    /// Whether others may open connections to guests, and not to published ports only.
    pub open: bool,
    /// Whether the host gives addresses here (DHCP).
    pub dhcp: bool,
    /// Whether the host resolves names here.
    pub dns: bool,
    /// The guests.
    pub guests: Vec<Guest>,
}

const PUBLISH: &str = "a published port, as `8080:80`, `127.0.0.1:8080:80` or `[::1]:5353:53/udp`";
const ACCESS: &str = "a destination, as `192.0.2.0/24`, `192.0.2.7:443`, `[2001:db8::7]:53/udp`, `example.org:443` or `any:80-90`";
/// A name and its set's prefix fit the kernel's 256 bytes.
const LONGEST_NAME: usize = 240;

fn protocol(text: &str) -> (&str, Option<Protocol>) {
    for protocol in Protocol::ALL {
        if let Some(rest) = text
            .strip_suffix(protocol.word())
            .and_then(|rest| rest.strip_suffix('/'))
        {
            return (rest, Some(protocol));
        }
    }
    (text, None)
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

impl FromStr for Publish {
    type Err = FirewallError;

    fn from_str(text: &str) -> Result<Self, FirewallError> {
        let parse = || {
            let (rest, protocol) = protocol(text);
            let (rest, guest_port) = rest.rsplit_once(':')?;
            let (address, host_port) = match rest.rsplit_once(':') {
                None => (None, rest),
                Some((address, port)) => {
                    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
                    let address = match bare {
                        Some(six) => IpAddr::V6(six.parse().ok()?),
                        None => IpAddr::V4(address.parse().ok()?),
                    };
                    (Some(address), port)
                }
            };
            Some(Publish {
                address: address.filter(|address| !address.is_unspecified()),
                port: port(host_port)?,
                guest_port: port(guest_port)?,
                protocol: protocol.unwrap_or(Protocol::Tcp),
            })
        };
        parse().ok_or_else(|| FirewallError::Syntax {
            text: text.to_owned(),
            what: PUBLISH,
        })
    }
}

impl std::fmt::Display for Publish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            None => {}
        }
        write!(f, "{}:{}", self.port, self.guest_port)?;
        match self.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => f.write_str("/udp"),
        }
    }
}

impl Publish {
    /// Whether both would be the same port of the same address of the host.
    pub fn meets(&self, other: &Self) -> bool {
        let everywhere = self.address.is_none() || other.address.is_none();
        (other.port, other.protocol) == (self.port, self.protocol)
            && (everywhere || other.address == self.address)
    }
}

impl std::fmt::Display for Access {
    /// Without whether it is allowed, as [`Access::parse`] reads it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bracket = self.ports.is_some() && matches!(self.target, Target::Net(IpAddr::V6(_), _));
        if bracket {
            f.write_str("[")?;
        }
        match &self.target {
            Target::Any => f.write_str("any")?,
            Target::Net(address, prefix) => {
                write!(f, "{address}")?;
                if *prefix != super::rules::bits(*address) {
                    write!(f, "/{prefix}")?;
                }
            }
            Target::Name { name, below } => {
                write!(f, "{}{name}", if *below { "*." } else { "" })?;
            }
        }
        if bracket {
            f.write_str("]")?;
        }
        match self.ports {
            Some(ports) if ports.from == ports.to => write!(f, ":{}", ports.from)?,
            Some(ports) => write!(f, ":{}-{}", ports.from, ports.to)?,
            None => {}
        }
        match self.protocol {
            Some(protocol) => write!(f, "/{}", protocol.word()),
            None => Ok(()),
        }
    }
}

impl Access {
    /// Reads a destination.
    ///
    /// # Errors
    /// [`FirewallError::Syntax`].
    pub fn parse(allow: bool, text: &str) -> Result<Self, FirewallError> {
        let refused = || FirewallError::Syntax {
            text: text.to_owned(),
            what: ACCESS,
        };
        let (rest, protocol) = protocol(text);
        let (target, ports) = split_ports(rest).ok_or_else(refused)?;
        let ports = ports
            .map(|p| parse_ports(p).ok_or_else(refused))
            .transpose()?;
        if protocol.is_some() && ports.is_none() {
            return Err(refused());
        }
        Ok(Access {
            allow,
            target: parse_target(target).ok_or_else(refused)?,
            ports,
            protocol,
        })
    }
}

/// The target and what follows its colon; an IPv6 address with ports is in brackets.
fn split_ports(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        return match after {
            "" => Some((address, None)),
            _ => Some((address, Some(after.strip_prefix(':')?))),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((target, ports)) => Some((target, Some(ports))),
        None => Some((text, None)),
    }
}

fn parse_ports(text: &str) -> Option<Ports> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (port(from)?, port(to)?);
    (from <= to).then_some(Ports { from, to })
}

fn parse_target(text: &str) -> Option<Target> {
    if text == "any" {
        return Some(Target::Any);
    }
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
        None => (text, None),
    };
    if let Ok(address) = address.parse::<IpAddr>() {
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(most);
        let net = Subnet { address, prefix };
        return (prefix <= most).then(|| Target::Net(net.network(), prefix));
    }
    if prefix.is_some() {
        return None;
    }
    let (name, below) = match text.strip_prefix("*.") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    is_name(&name).then_some(Target::Name { name, below })
}

/// Labels of letters, digits, dashes and underscores (RFC 1035 section 2.3.1, as it is practised); not a number, which
/// would be an address with a mistake.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= LONGEST_NAME
        && name.split('.').all(label)
        && last.bytes().any(|b| b.is_ascii_alphabetic())
}

/// The sets that the addresses of a name go into, of IPv4 and IPv6.
pub fn name_sets(name: &str, below: bool) -> [String; 2] {
    let word = if below { "below" } else { "name" };
    [format!("{word}4_{name}"), format!("{word}6_{name}")]
}

impl Firewall {
    /// The tables' name.
    pub fn table(&self) -> String {
        table_name(&self.bridge)
    }
}

/// The name of a network's tables.
pub fn table_name(bridge: &str) -> String {
    format!("jaula-{bridge}")
}
