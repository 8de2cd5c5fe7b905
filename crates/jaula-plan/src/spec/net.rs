//! The networks that a user asks for: bridges, and the cards of jails.

use crate::names::{LinkName, NameError};
use crate::net::address::{BadAddress, Cidr, Mac};
use crate::nft::{Access, FirewallError, Publish};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What of a bridge is chosen; the kernel's own values where nothing is. Times are hundredths of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgeSet {
    /// The spanning tree protocol (IEEE 802.1D-2004, 9).
    pub stp: Option<bool>,
    /// Its priority in it.
    pub priority: Option<u16>,
    /// How long a port listens, and learns, before it forwards.
    pub forward_delay: Option<u32>,
    /// The time between two of its messages.
    pub hello_time: Option<u32>,
    /// How old a message may get.
    pub max_age: Option<u32>,
    /// After how long an address that is not seen is forgotten.
    pub ageing_time: Option<u32>,
    /// Whether frames are kept apart by their VLAN (IEEE 802.1Q).
    pub vlan_filtering: Option<bool>,
}

impl BridgeSet {
    /// This, and what it leaves open from another one.
    #[must_use]
    pub fn over(self, other: Self) -> Self {
        Self {
            stp: self.stp.or(other.stp),
            priority: self.priority.or(other.priority),
            forward_delay: self.forward_delay.or(other.forward_delay),
            hello_time: self.hello_time.or(other.hello_time),
            max_age: self.max_age.or(other.max_age),
            ageing_time: self.ageing_time.or(other.ageing_time),
            vlan_filtering: self.vlan_filtering.or(other.vlan_filtering),
        }
    }
}

/// What of a port is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PortSet {
    /// Its priority in the spanning tree, 0 to 63.
    pub priority: Option<u16>,
    /// What a way through it costs.
    pub cost: Option<u32>,
    /// Whether frames may leave by the port they came in by.
    pub hairpin: Option<bool>,
    /// Whether addresses are learned from it.
    pub learning: Option<bool>,
    /// Whether it is kept apart from other ports that are.
    pub isolated: Option<bool>,
}

/// What of a link is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkSet {
    /// Up or down.
    pub up: Option<bool>,
    /// Its largest packet.
    pub mtu: Option<u32>,
    /// Its address.
    pub mac: Option<Mac>,
    /// What is written on it; empty for nothing.
    pub alias: Option<String>,
}

/// A bridge that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeSpec {
    /// Its name.
    pub name: LinkName,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// Its largest packet; that of its ports when absent.
    pub mtu: Option<u32>,
    /// Its address; the lowest of its ports' when absent.
    pub mac: Option<Mac>,
    /// Its ports.
    pub ports: Vec<LinkName>,
    /// Whether the addresses and routes of its ports become its own.
    pub move_address: bool,
    /// Whether it is set up; one with ports or addresses always is.
    pub up: bool,
    /// What else is chosen.
    pub set: BridgeSet,
}

impl BridgeSpec {
    /// A bridge and nothing else.
    pub fn new(name: LinkName) -> Self {
        Self {
            name,
            addresses: Vec::new(),
            mtu: None,
            mac: None,
            ports: Vec::new(),
            move_address: false,
            up: false,
            set: BridgeSet::default(),
        }
    }
}

/// How several cards are one (the kernel's documentation of bonding, "mode").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum BondMode {
    #[serde(rename = "balance-rr")]
    BalanceRr,
    #[serde(rename = "active-backup")]
    ActiveBackup,
    #[serde(rename = "balance-xor")]
    BalanceXor,
    #[serde(rename = "broadcast")]
    Broadcast,
    #[serde(rename = "802.3ad")]
    Lacp,
    #[serde(rename = "balance-tlb")]
    BalanceTlb,
    #[serde(rename = "balance-alb")]
    BalanceAlb,
}

impl BondMode {
    /// All, as the kernel numbers them.
    pub const ALL: [Self; 7] = [
        Self::BalanceRr,
        Self::ActiveBackup,
        Self::BalanceXor,
        Self::Broadcast,
        Self::Lacp,
        Self::BalanceTlb,
        Self::BalanceAlb,
    ];

    /// The word that the kernel uses.
    pub fn word(self) -> &'static str {
        match self {
            Self::BalanceRr => "balance-rr",
            Self::ActiveBackup => "active-backup",
            Self::BalanceXor => "balance-xor",
            Self::Broadcast => "broadcast",
            Self::Lacp => "802.3ad",
            Self::BalanceTlb => "balance-tlb",
            Self::BalanceAlb => "balance-alb",
        }
    }

    /// By its word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.word() == word)
    }
}

/// What a jail's card hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uplink {
    /// A port of a bridge of the host.
    Bridge(LinkName),
    /// An address of its own on a card of the host.
    Macvlan(LinkName),
}

/// One card of a jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailLink {
    /// What it hangs on.
    pub on: Uplink,
    /// Its addresses; of the bridge's networks, by leases, when there are none.
    pub ip: Vec<Cidr>,
    /// Whether it is given no address at all: the jail asks for one itself, or needs none.
    pub no_ip: bool,
    /// Its link-level address; by the jail's name when absent.
    pub mac: Option<Mac>,
    /// Its largest packet; the bridge's when absent.
    pub mtu: Option<u32>,
    /// The most bytes a second, each way.
    pub rate: Option<u64>,
    /// Ports of the host that lead to it; of a card on a bridge only.
    pub publish: Vec<Publish>,
    /// What it may reach; of a card on a bridge only.
    pub access: Vec<Access>,
}

/// A program that connects a network namespace without rights over the host's: it translates, as a process like any
/// other, between a card of the jail's and sockets of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatTool {
    /// pasta(1), of the package passt.
    Pasta,
    /// slirp4netns(1).
    Slirp4netns,
}

impl NatTool {
    /// All of them, the one that is rather taken first.
    pub const ALL: [Self; 2] = [Self::Pasta, Self::Slirp4netns];

    /// The name of the program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
        }
    }

    /// The Debian package that it is in.
    pub fn package(self) -> &'static str {
        match self {
            Self::Pasta => "passt",
            Self::Slirp4netns => "slirp4netns",
        }
    }
}

/// Through a program of the host's that sends what it gets as its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NatSpec {
    /// Which; the first that is there unless one is named.
    pub tool: Option<NatTool>,
    /// Ports of the host that lead to the jail.
    pub publish: Vec<Publish>,
}

/// The network of a jail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum JailNet {
    /// A loopback of its own and nothing else.
    #[default]
    None,
    /// The host's.
    Host,
    /// Cards.
    Links(Vec<JailLink>),
    /// Through a program of the host's.
    Nat(NatSpec),
    /// A network namespace that is there: kept by that name, or of that named jail.
    Namespace(String),
}

/// By what name a jail has its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lessee {
    /// The jail's name, or one made up for a run.
    pub holder: String,
    /// Whether the addresses stay the jail's when it is not running.
    pub lasting: bool,
    /// The directory that the leases are kept in.
    pub dir: PathBuf,
}

/// A network of a jail that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadNet {
    /// None of the words.
    #[error(
        "{0:?} is no network of a jail: none, host, nat, nat:TOOL, bridge:NAME, macvlan:LINK or ns:NAME"
    )]
    Kind(String),
    /// None of the keys.
    #[error("{0:?} is nothing that a card has: ip=, mac=, mtu=, rate=, publish=, allow= or deny=")]
    Key(String),
    /// A name of a link.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An address.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// A published port, or a line of a list.
    #[error(transparent)]
    Rule(#[from] FirewallError),
    /// Lists are kept, and ports published, by a bridge's firewall; ports also by what translates.
    #[error("{0} needs a card on a bridge: --net bridge:NAME")]
    NoBridge(&'static str),
    /// A number.
    #[error("{value:?} cannot be used for {key}=")]
    Value {
        /// For what.
        key: &'static str,
        /// As given.
        value: String,
    },
    /// None and host stand alone.
    #[error("{0} goes with no other network")]
    Alone(String),
}

fn value(key: &'static str, value: &str) -> BadNet {
    let value = value.chars().take(64).collect();
    BadNet::Value { key, value }
}

impl FromStr for JailNet {
    type Err = BadNet;

    /// `none`, `host`, `nat`, `ns:NAME`, or a card.
    fn from_str(text: &str) -> Result<Self, BadNet> {
        match text {
            "none" => return Ok(Self::None),
            "host" => return Ok(Self::Host),
            _ => {}
        }
        if let Some(nat) = NatSpec::read(text) {
            return Ok(Self::Nat(nat?));
        }
        if let Some(name) = text.strip_prefix("ns:") {
            let name: crate::names::JailName = name.parse()?;
            return Ok(Self::Namespace(name.to_string()));
        }
        Ok(Self::Links(vec![text.parse()?]))
    }
}

impl JailNet {
    /// Several, as they were given one after the other.
    ///
    /// # Errors
    /// When something that stands alone does not.
    pub fn together(all: Vec<Self>) -> Result<Self, BadNet> {
        let mut whole: Option<Self> = None;
        for net in all {
            whole = Some(match (whole, net) {
                (None, net) => net,
                (Some(Self::Links(mut links)), Self::Links(more)) => {
                    links.extend(more);
                    Self::Links(links)
                }
                (Some(Self::Links(_)), alone) => return Err(BadNet::Alone(alone.to_string())),
                (Some(alone), _) => return Err(BadNet::Alone(alone.to_string())),
            });
        }
        Ok(whole.unwrap_or_default())
    }

    /// The same with published ports and lists: those of the first card on a bridge, or of what connects the jail.
    ///
    /// # Errors
    /// [`BadNet::NoBridge`].
    pub fn with(mut self, publish: Vec<Publish>, access: Vec<Access>) -> Result<Self, BadNet> {
        if publish.is_empty() && access.is_empty() {
            return Ok(self);
        }
        let what = match publish.is_empty() {
            false => "--publish",
            true => list_word(&access),
        };
        let links: &mut [JailLink] = match &mut self {
            Self::Links(links) => links,
            Self::Nat(nat) if access.is_empty() => {
                nat.publish.extend(publish);
                return Ok(self);
            }
            Self::Nat(_) => return Err(BadNet::NoBridge(list_word(&access))),
            _ => &mut [],
        };
        let link = links
            .iter_mut()
            .find(|link| matches!(link.on, Uplink::Bridge(_)))
            .ok_or(BadNet::NoBridge(what))?;
        link.publish.extend(publish);
        link.access.extend(access);
        Ok(self)
    }

    /// Whether the jail has a network namespace of its own.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::None | Self::Links(_) | Self::Nat(_))
    }
}

fn list_word(access: &[Access]) -> &'static str {
    match access.iter().any(|line| line.allow) {
        true => "--allow",
        false => "--deny",
    }
}

impl NatSpec {
    /// `nat` or `nat:TOOL`, with `,publish=` as often as is wanted; none if it is another word.
    fn read(text: &str) -> Option<Result<Self, BadNet>> {
        let mut words = text.split(',');
        let head = words.next().unwrap_or_default();
        let tool = match head.strip_prefix("nat")? {
            "" => None,
            rest => Some(rest.strip_prefix(':')?),
        };
        Some((|| {
            let mut nat = Self::default();
            if let Some(name) = tool {
                let known = NatTool::ALL.into_iter().find(|tool| tool.name() == name);
                let unknown = || BadNet::Kind(text.chars().take(64).collect());
                nat.tool = Some(known.ok_or_else(unknown)?);
            }
            for word in words {
                match word.split_once('=') {
                    Some(("publish", text)) => nat.publish.push(text.parse()?),
                    Some(("allow", _)) => return Err(BadNet::NoBridge("allow=")),
                    Some(("deny", _)) => return Err(BadNet::NoBridge("deny=")),
                    Some(("rate", _)) => return Err(BadNet::NoBridge("rate=")),
                    _ => return Err(BadNet::Key(word.chars().take(64).collect())),
                }
            }
            Ok(nat)
        })())
    }
}

impl FromStr for JailLink {
    type Err = BadNet;

    fn from_str(text: &str) -> Result<Self, BadNet> {
        let mut words = text.split(',');
        let head = words.next().unwrap_or_default();
        let on = match head.split_once(':') {
            Some(("bridge", name)) => Uplink::Bridge(name.parse()?),
            Some(("macvlan", name)) => Uplink::Macvlan(name.parse()?),
            _ => return Err(BadNet::Kind(head.chars().take(64).collect())),
        };
        let mut link = Self {
            on,
            ip: Vec::new(),
            no_ip: false,
            mac: None,
            mtu: None,
            rate: None,
            publish: Vec::new(),
            access: Vec::new(),
        };
        let on_bridge = matches!(link.on, Uplink::Bridge(_));
        for word in words {
            match word.split_once('=') {
                Some(("ip", "none")) => link.no_ip = true,
                Some(("ip", text)) => {
                    let address: Cidr = text.parse()?;
                    if !address.is_usable() {
                        return Err(value("ip", text));
                    }
                    link.ip.push(address);
                }
                Some(("mac", text)) => {
                    let mac: Mac = text.parse()?;
                    link.mac = Some(mac);
                    if !mac.is_station() {
                        return Err(value("mac", text));
                    }
                }
                Some(("mtu", text)) => {
                    let mtu = number(text).and_then(|mtu| u32::try_from(mtu).ok());
                    let mtu = mtu.filter(|mtu| (68..=65535).contains(mtu));
                    link.mtu = Some(mtu.ok_or_else(|| value("mtu", text))?);
                }
                Some(("rate", text)) => {
                    link.rate = Some(rate(text).ok_or_else(|| value("rate", text))?);
                }
                Some(("publish", text)) if on_bridge => link.publish.push(text.parse()?),
                Some(("allow", text)) if on_bridge => link.access.push(Access::parse(true, text)?),
                Some(("deny", text)) if on_bridge => link.access.push(Access::parse(false, text)?),
                Some(("publish", _)) => return Err(BadNet::NoBridge("publish=")),
                Some(("allow", _)) => return Err(BadNet::NoBridge("allow=")),
                Some(("deny", _)) => return Err(BadNet::NoBridge("deny=")),
                _ => return Err(BadNet::Key(word.chars().take(64).collect())),
            }
        }
        if link.no_ip && !link.ip.is_empty() {
            return Err(value("ip", "none"));
        }
        Ok(link)
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Bytes a second from bits a second, as tc(8) writes them: `100mbit`, `1gbit`, `800kbit`.
fn rate(text: &str) -> Option<u64> {
    let units = [
        ("kbit", 1_000),
        ("mbit", 1_000_000),
        ("gbit", 1_000_000_000),
        ("bit", 1),
    ];
    let (digits, unit) = units
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    let bits: u64 = number(digits)?.checked_mul(unit)?;
    (bits >= 8).then_some(bits / 8)
}

impl fmt::Display for JailNet {
    /// As [`FromStr`] reads it; cards one after the other with a blank.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Nat(nat) => {
                f.write_str("nat")?;
                if let Some(tool) = nat.tool {
                    write!(f, ":{}", tool.name())?;
                }
                let mut all = nat.publish.iter();
                all.try_for_each(|publish| write!(f, ",publish={publish}"))
            }
            Self::Namespace(name) => write!(f, "ns:{name}"),
            Self::Links(links) => {
                for (at, link) in links.iter().enumerate() {
                    let blank = if at == 0 { "" } else { " " };
                    write!(f, "{blank}{link}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for JailLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.on {
            Uplink::Bridge(name) => write!(f, "bridge:{name}")?,
            Uplink::Macvlan(name) => write!(f, "macvlan:{name}")?,
        }
        if self.no_ip {
            f.write_str(",ip=none")?;
        }
        self.ip.iter().try_for_each(|ip| write!(f, ",ip={ip}"))?;
        self.mac
            .iter()
            .try_for_each(|mac| write!(f, ",mac={mac}"))?;
        self.mtu
            .iter()
            .try_for_each(|mtu| write!(f, ",mtu={mtu}"))?;
        self.rate
            .iter()
            .try_for_each(|rate| write!(f, ",rate={}bit", rate.saturating_mul(8)))?;
        self.publish
            .iter()
            .try_for_each(|publish| write!(f, ",publish={publish}"))?;
        self.access.iter().try_for_each(|line| {
            let word = if line.allow { "allow" } else { "deny" };
            write!(f, ",{word}={line}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_jails_are_read_and_written() {
        for text in [
            "none",
            "host",
            "nat",
            "nat:pasta,publish=8080:80,publish=[::1]:53:53/udp",
            "ns:lab",
            "bridge:alcantara",
            "bridge:br-1,ip=10.9.0.7/24,ip=fd00::7/64,mac=02:00:00:00:00:07,mtu=1400,rate=8000bit",
            "macvlan:eth0,ip=none",
            "bridge:b,publish=8080:80,publish=127.0.0.1:53:53/udp,allow=10.0.0.0/8,deny=*.example.org:80-90/tcp",
            "bridge:b,allow=[2001:db8::/32]:443,deny=2001:db8::7,deny=any",
        ] {
            let net: JailNet = text.parse().expect(text);
            assert_eq!(net.to_string(), text);
        }
        let link: JailLink = "bridge:b,rate=100mbit".parse().expect("a card");
        assert_eq!(link.rate, Some(12_500_000));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "",
            "bridge",
            "bridge:",
            "bridge:a/b",
            "bridge:nombre_demasiado",
            "veth:a",
            "ns:",
            "ns:-a",
            "bridge:a,ip=10.9.0.7",
            "bridge:a,ip=10.9.0.0/24",
            "bridge:a,ip=none,ip=10.9.0.1/24",
            "bridge:a,mac=01:00:00:00:00:07",
            "bridge:a,mtu=67",
            "bridge:a,mtu=+1500",
            "bridge:a,rate=7bit",
            "bridge:a,rate=1",
            "bridge:a,x=1",
            "bridge:a,publish=80",
            "bridge:a,allow=a b",
            "macvlan:eth0,publish=80:80",
            "macvlan:eth0,deny=any",
            "bridge:a,",
        ] {
            text.parse::<JailNet>().expect_err(text);
        }
    }

    #[test]
    fn only_cards_are_several() {
        let read = |text: &str| text.parse::<JailNet>().expect(text);
        assert_eq!(read("nat"), JailNet::Nat(NatSpec::default()));
        assert_eq!(read("nat:pasta").to_string(), "nat:pasta");
        "nat:vpn".parse::<JailNet>().expect_err("no such program");
        JailNet::together(vec![read("nat"), read("bridge:a")]).expect_err("nat stands alone");
        let two = JailNet::together(vec![read("bridge:a"), read("macvlan:eth0")]);
        assert_eq!(two.expect("two").to_string(), "bridge:a macvlan:eth0");
        assert_eq!(JailNet::together(Vec::new()), Ok(JailNet::None));
        JailNet::together(vec![read("bridge:a"), read("host")]).expect_err("host stands alone");
        JailNet::together(vec![read("none"), read("bridge:a")]).expect_err("none stands alone");
    }

    #[test]
    fn ports_and_lists_are_of_the_first_card_on_a_bridge() {
        let read = |text: &str| text.parse::<JailNet>().expect(text);
        let publish = || vec!["8080:80".parse().expect("a port")];
        let line = || vec![Access::parse(false, "any").expect("a line")];
        let two = JailNet::together(vec![read("macvlan:eth0"), read("bridge:a")]);
        let with = two.expect("two").with(publish(), line()).expect("a bridge");
        assert_eq!(
            with.to_string(),
            "macvlan:eth0 bridge:a,publish=8080:80,deny=any"
        );
        for text in ["none", "host", "ns:lab", "macvlan:eth0"] {
            let refused = read(text).with(publish(), Vec::new()).expect_err(text);
            assert!(refused.to_string().starts_with("--publish"), "{refused}");
            let refused = read(text).with(Vec::new(), line()).expect_err(text);
            assert!(refused.to_string().starts_with("--deny"), "{refused}");
            assert_eq!(read(text).with(Vec::new(), Vec::new()), Ok(read(text)));
        }
    }
}
