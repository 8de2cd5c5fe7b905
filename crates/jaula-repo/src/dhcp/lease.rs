//! What a client was given.

use super::message::Message;
use super::options;
use std::net::Ipv4Addr;

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// The network.
    pub to: Ipv4Addr,
    /// Bits that its addresses share.
    pub prefix: u8,
    /// The router; `0.0.0.0` where the network is on the link itself.
    pub by: Ipv4Addr,
}

/// An address for a time, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits that the addresses of its network share.
    pub prefix: u8,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// Routes, the one to everywhere among them.
    pub routes: Vec<Route>,
    /// Who resolves names.
    pub name_servers: Vec<Ipv4Addr>,
    /// The domain of this host.
    pub domain: Option<String>,
    /// Domains that names are searched in.
    pub search: Vec<String>,
    /// The name that the server has for this host.
    pub host_name: Option<String>,
    /// The largest packet.
    pub mtu: Option<u16>,
    /// Who knows the time.
    pub time_servers: Vec<Ipv4Addr>,
    /// Seconds that it holds; none where it holds for ever.
    pub seconds: Option<u32>,
    /// Seconds after which it is renewed where it came from.
    pub renew: u32,
    /// Seconds after which it is renewed wherever somebody answers.
    pub rebind: u32,
}

/// Seconds that mean for ever (RFC 2131 section 3.3).
const FOR_EVER: u32 = u32::MAX;
/// A lease of seconds would be renewed all the time.
const SHORTEST: u32 = 10;
/// IPv4 demands no less of a link (RFC 791), and a smaller number would cut the host off.
const SMALLEST_MTU: u16 = 576;

impl Lease {
    /// What an offer or an acknowledgement gives; nothing where it gives no usable address.
    pub fn of(message: &Message) -> Option<Self> {
        let options = &message.options;
        let address = message.yours;
        if !usable(address) {
            return None;
        }
        let mask = options.address(options::SUBNET_MASK);
        let mask = u32::from(mask.unwrap_or_else(|| classful(address)));
        let prefix = mask.leading_ones();
        // Ones, then zeros, and room for this host and another.
        if mask.count_ones() != prefix || prefix == 0 {
            return None;
        }
        let server = options.address(options::SERVER).filter(|a| usable(*a))?;
        let given = options.seconds(options::LEASE_TIME)?.max(SHORTEST);
        let seconds = (given != FOR_EVER).then_some(given);
        let part = |eighths: u64| u32::try_from(u64::from(given) * eighths / 8).unwrap_or(given);
        let times = [options::RENEW, options::REBIND].map(|code| options.seconds(code));
        let (renew, rebind) = match times {
            [Some(renew), Some(rebind)] if 0 < renew && renew < rebind && rebind < given => {
                (renew, rebind)
            }
            _ => (part(4), part(7)),
        };
        let routers = options.addresses(options::ROUTERS);
        let everywhere = |by: &Ipv4Addr| Route {
            to: Ipv4Addr::UNSPECIFIED,
            prefix: 0,
            by: *by,
        };
        // Who understands routes passes over routers (RFC 3442).
        let routes = options
            .routes()
            .unwrap_or_else(|| routers.first().map(everywhere).into_iter().collect());
        Some(Lease {
            address,
            prefix: u8::try_from(prefix).ok()?,
            server,
            routes: routes
                .into_iter()
                .filter(|route| route.by.is_unspecified() || usable(route.by))
                .collect(),
            name_servers: options.addresses(options::NAME_SERVERS),
            domain: options.name(options::DOMAIN),
            search: options.search(),
            host_name: options.name(options::HOST_NAME),
            mtu: options
                .short(options::MTU)
                .filter(|mtu| *mtu >= SMALLEST_MTU),
            time_servers: options.addresses(options::TIME_SERVERS),
            seconds,
            renew,
            rebind,
        })
    }
}

/// An address that one host can have.
pub(super) fn usable(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && !address.is_loopback() && !address.is_multicast() && first < 240
}

/// The mask of old, where none is said (RFC 950).
fn classful(address: Ipv4Addr) -> Ipv4Addr {
    match address.octets() {
        [..128, _, _, _] => Ipv4Addr::new(255, 0, 0, 0),
        [..192, _, _, _] => Ipv4Addr::new(255, 255, 0, 0),
        _ => Ipv4Addr::new(255, 255, 255, 0),
    }
}
