//! Why a change to networks is refused before anything happens.

use crate::names::LinkName;
use crate::net::address::Cidr;
use crate::net::published::Listener;
use crate::nft::Publish;
use crate::spec::net::NatTool;
use std::net::IpAddr;

/// Why a link can be no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPort {
    /// A bridge, or a link on top of it, would make a loop.
    #[error("it is a bridge itself")]
    Bridge,
    /// The loopback has no frames.
    #[error("it is the loopback")]
    Loopback,
    /// Its frames are not those of Ethernet.
    #[error("it has no frames of Ethernet")]
    NoEthernet,
    /// A wireless card sends only frames from its own address (IEEE 802.11, three addresses).
    #[error("a wireless card sends frames from its own address alone, so the kernel refuses it")]
    Wireless,
    /// It is one already.
    #[error("it is a port of {0}")]
    Taken(LinkName),
    /// It has addresses, which would not be reached any more.
    #[error("it has {}, which nobody would reach any more", list(.addresses))]
    Addresses {
        /// Which.
        addresses: Vec<Cidr>,
        /// Whether they may move.
        movable: bool,
    },
    /// Larger packets of other ports would be lost.
    #[error("its packets are of {port} bytes at most, those of the bridge of {bridge}")]
    Mtu {
        /// The port's.
        port: u32,
        /// The bridge's.
        bridge: u32,
    },
    /// It is the bridge's own foundation.
    #[error("the same link is named twice")]
    Twice,
}

fn list(addresses: &[Cidr]) -> String {
    let texts: Vec<_> = addresses.iter().map(Cidr::to_string).collect();
    texts.join(" and ")
}

/// A change that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetPlanError {
    /// The name is in use.
    #[error("there is a {kind} named {name} already")]
    NameTaken {
        /// The name.
        name: LinkName,
        /// What has it.
        kind: String,
    },
    /// There is none.
    #[error("there is no link named {name}")]
    NoSuchLink {
        /// The name.
        name: LinkName,
        /// What is there.
        links: Vec<LinkName>,
    },
    /// Files that are read when the machine starts would say something else.
    #[error(
        "{name} cannot be written to such a file: only letters, digits, '-', '_' and '.' of a name mean nothing else there"
    )]
    NotPlain {
        /// The name.
        name: LinkName,
    },
    /// Something else has the name.
    #[error("{name} is a {kind}, not a bridge")]
    NotABridge {
        /// The name.
        name: LinkName,
        /// What it is.
        kind: String,
    },
    /// Somebody else made it.
    #[error("{name} was not made by jaula{}", .maker.map(|maker| format!(" but by {maker}")).unwrap_or_default())]
    NotOurs {
        /// The link.
        name: LinkName,
        /// Who, where that can be told.
        maker: Option<&'static str>,
    },
    /// Guests hang on it.
    #[error("{name} is in use: {} of its ports lead into other network namespaces ({})", .guests.len(), names(.guests))]
    Guests {
        /// The bridge.
        name: LinkName,
        /// The ports.
        guests: Vec<LinkName>,
    },
    /// A link cannot become a port.
    #[error("{port} cannot be a port of {bridge}: {why}")]
    NoPort {
        /// The link.
        port: LinkName,
        /// The bridge.
        bridge: LinkName,
        /// Why not.
        why: NoPort,
    },
    /// It is not one.
    #[error("{port} is no port of {bridge}")]
    NotAPort {
        /// The link.
        port: LinkName,
        /// The bridge.
        bridge: LinkName,
    },
    /// The host reaches those addresses elsewhere.
    #[error("{address} overlaps {route}, which is reached by {link}")]
    Overlap {
        /// The address asked for.
        address: Cidr,
        /// The network that is there.
        route: Cidr,
        /// Its link.
        link: LinkName,
    },
    /// No link may have such an address.
    #[error("{0} cannot be the address of a link")]
    BadAddress(Cidr),
    /// A number that the kernel refuses.
    #[error("{what} is from {low} to {high}, not {value}")]
    Range {
        /// Of what.
        what: &'static str,
        /// As asked.
        value: String,
        /// The least.
        low: u32,
        /// The most.
        high: u32,
    },
    /// Somebody has that address.
    #[error("{address} is the address of {holder}")]
    Held {
        /// The address.
        address: IpAddr,
        /// Whose it is.
        holder: String,
    },
    /// Every address of a network is somebody's.
    #[error("no address of {} is left", .0.network())]
    Full(Cidr),
    /// Nothing passes what is down.
    #[error("{name} is down")]
    Down {
        /// The bridge or card.
        name: LinkName,
    },
    /// Only root may put jails on networks of the host.
    #[error("only root can give a jail a card on the host's networks")]
    NotRoot,
    /// No network namespace has that name.
    #[error("no network namespace is kept as {name}, and no jail of that name runs")]
    NoNamespace {
        /// As asked.
        name: String,
    },
    /// A bridge without what is needed.
    #[error("{what} needs {bridge} to be made with {option}; it gives nothing of the kind")]
    Lacks {
        /// What was asked.
        what: String,
        /// The bridge.
        bridge: LinkName,
        /// What it lacks, as an option.
        option: &'static str,
    },
    /// A port that leads to another jail.
    #[error("port {publish} cannot be published: {other} leads to the jail {holder}")]
    Published {
        /// What was asked.
        publish: Publish,
        /// What is there.
        other: Publish,
        /// Whose it is.
        holder: String,
    },
    /// A port that a program of the host has.
    #[error("port {publish} cannot be published: a program of the host listens at {listener}")]
    Listens {
        /// What was asked.
        publish: Publish,
        /// Where it listens.
        listener: Listener,
    },
    /// Two that cannot both be had.
    #[error("ports {publish} and {other} are the same port of the host")]
    Twice {
        /// One.
        publish: Publish,
        /// The other.
        other: Publish,
    },
    /// What slirp4netns(1) cannot do.
    #[error("port {0} cannot be published: slirp4netns publishes at addresses of IPv4 only")]
    OnlyIpv4(Publish),
    /// Nothing would ever be let pass by it.
    #[error("{0} is in the list of what is allowed, and the host's resolvers know no such name")]
    UnknownName(String),
    /// An address that is not the host's.
    #[error("port {0} cannot be published: no link of the host has that address")]
    NotOfHost(Publish),
    /// What is not there yet.
    #[error("{0} is not part of this build")]
    Absent(&'static str),
    /// No program that connects a jail is there.
    #[error("--net nat needs {}, which is not installed", tools(.wanted))]
    NoNat {
        /// The one that was named.
        wanted: Option<NatTool>,
    },
    /// Such a program cannot make a card.
    #[error("--net nat needs /dev/net/tun, which cannot be opened")]
    NoTun,
    /// A word of `set` that is none.
    #[error("{word:?} is nothing that can be set: {known}")]
    Word {
        /// As given.
        word: String,
        /// What can.
        known: &'static str,
    },
}

fn tools(wanted: &Option<NatTool>) -> String {
    match wanted {
        Some(tool) => tool.name().to_owned(),
        None => NatTool::ALL.map(NatTool::name).join(" or "),
    }
}

fn names(names: &[LinkName]) -> String {
    let names: Vec<_> = names.iter().map(LinkName::as_str).collect();
    names.join(", ")
}

impl NetPlanError {
    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        let one = |text: String| vec![text];
        match self {
            Self::NoSuchLink { links, .. } if links.is_empty() => Vec::new(),
            Self::NoSuchLink { links, .. } => one(format!("there are {}", names(links))),
            Self::NotOurs { name, .. } => one(format!(
                "jaula net rm --force {name} removes it all the same; whoever made it may want it"
            )),
            Self::Guests { name, .. } => one(format!(
                "end what uses it, or cut it off with jaula net rm --force {name}"
            )),
            Self::NoPort { port, bridge, why } => match why {
                NoPort::Addresses { movable: false, .. } => {
                    one(format!("take them away first: ip address flush dev {port}"))
                }
                NoPort::Addresses { .. } => one(format!(
                    "--move-address gives {port}'s addresses and routes to {bridge}, and back when it is detached"
                )),
                NoPort::Wireless => one(format!(
                    "a bridge without {port} whose packets the host routes does the same for guests: \
                     jaula net add {bridge} --addr 10.9.0.1/24 --uplink {port}"
                )),
                NoPort::Taken(other) => one(format!("jaula net detach {other} {port}")),
                NoPort::Mtu { bridge: size, .. } => one(format!(
                    "make them equal first: jaula net set {port} mtu={size}"
                )),
                _ => Vec::new(),
            },
            Self::Overlap { .. } => one(
                "take another network, as of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or fd00::/8"
                    .to_owned(),
            ),
            Self::BadAddress(address) if address.network().address == address.address => {
                let first = address
                    .nth(1)
                    .map(|first| format!("{first}/{}", address.prefix));
                first
                    .map(|first| format!("{address} is the network; its first address is {first}"))
                    .into_iter()
                    .collect()
            }
            Self::Down { name } => one(format!("jaula net set {name} up")),
            Self::NotRoot => one(
                "without rights there are --net nat, which reaches the outside, --net none and --net host"
                    .to_owned(),
            ),
            Self::NoNat { wanted } => one(format!(
                "apt install {}",
                wanted.unwrap_or(NatTool::Pasta).package()
            )),
            Self::NoTun => one(
                "load the module tun, and let the user open the device: chmod 666 /dev/net/tun"
                    .to_owned(),
            ),
            Self::NoNamespace { .. } => one("jaula ns ls lists what is kept".to_owned()),
            Self::Lacks { bridge, option, .. } => one(format!(
                "make it anew when nobody uses it: jaula net rm {bridge}; jaula net add {bridge} --addr 10.77.0.1/24 \
                 {option}"
            )),
            Self::Published { publish, .. } => one(format!(
                "take another port of the host, or another address of it: ADDRESS:{}:{}",
                publish.port, publish.guest_port
            )),
            Self::Listens { publish, .. } => one(format!(
                "take another port of the host; ss -lnp 'sport = :{}' names the program",
                publish.port
            )),
            Self::OnlyIpv4(_) => one("--net nat:pasta publishes at those of IPv6 too".to_owned()),
            Self::UnknownName(_) => {
                one("an address or a subnet needs no name: --allow 192.0.2.0/24:443".to_owned())
            }
            Self::NotOfHost(_) => one("ip -brief address lists the host's own".to_owned()),
            Self::NotAPort { bridge, .. } => {
                one(format!("jaula net show {bridge} lists its ports"))
            }
            _ => Vec::new(),
        }
    }
}
