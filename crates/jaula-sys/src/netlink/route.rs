//! Routes (rtnetlink(7), RTM_NEWROUTE).

use super::socket::{Batch, Socket};
use super::wire::{Writer, attributes, ip, ip_bytes, u32_at};
use crate::error::SysError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NEWROUTE: (u16, &str) = (24, "RTM_NEWROUTE");
const DELROUTE: (u16, &str) = (25, "RTM_DELROUTE");
const GETROUTE: (u16, &str) = (26, "RTM_GETROUTE");
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
/// The size of `struct rtmsg`.
const RTMSG: usize = 12;
/// The main table.
pub(super) const MAIN: u32 = 254;
const RTN_UNICAST: u8 = 1;
const RTNH_F_ONLINK: u32 = 4;

/// A route to hosts by one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The network; its address is unspecified with the default route.
    pub to: IpAddr,
    /// How many bits are the network's.
    pub prefix: u8,
    /// The router; none on the link itself.
    pub via: Option<IpAddr>,
    /// The link's number.
    pub link: u32,
    /// The address that packets are sent from.
    pub source: Option<IpAddr>,
    /// Of two, the smaller is taken.
    pub metric: Option<u32>,
    /// RTPROT_…: who made it; 2 is the kernel, 3 boot, 4 an administrator.
    pub protocol: u8,
    /// RT_SCOPE_…: 0 global, 253 link.
    pub scope: u8,
    /// RT_TABLE_…: 254 is the main one.
    pub table: u32,
    /// The router is on the link although no address says so.
    pub onlink: bool,
    /// RTN_…: 1 is a route to hosts.
    pub kind: u8,
}

impl Route {
    /// A route of the main table.
    pub fn new(to: IpAddr, prefix: u8, via: Option<IpAddr>, link: u32) -> Self {
        let scope = if via.is_none() && to.is_ipv4() {
            253
        } else {
            0
        };
        Self {
            to,
            prefix,
            via,
            link,
            source: None,
            metric: None,
            protocol: 4,
            scope,
            table: MAIN,
            onlink: false,
            kind: RTN_UNICAST,
        }
    }
}

impl Batch {
    /// Makes a route; another to the same network by another way stays.
    pub fn add_route(&mut self, route: &Route, name: &str) {
        self.route(NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, route, name);
    }

    /// Removes a route.
    pub fn remove_route(&mut self, route: &Route, name: &str) {
        self.route(DELROUTE, 0, route, name);
    }

    fn route(&mut self, call: (u16, &'static str), flags: u16, route: &Route, name: &str) {
        let target = format!("{}/{} {name}", route.to, route.prefix);
        self.push(call, flags, target, |writer| {
            let mut head = [0; RTMSG];
            head[0] = match route.to {
                IpAddr::V4(_) => libc::AF_INET as u8,
                IpAddr::V6(_) => libc::AF_INET6 as u8,
            };
            head[1] = route.prefix;
            // Larger numbers stand in the attribute alone.
            head[4] = u8::try_from(route.table).unwrap_or(0);
            head[5] = route.protocol;
            head[6] = route.scope;
            head[7] = route.kind;
            if route.onlink {
                head[8..12].copy_from_slice(&RTNH_F_ONLINK.to_ne_bytes());
            }
            writer.raw(&head);
            writer.put_u32(RTA_TABLE, route.table);
            if route.prefix > 0 {
                writer.put(RTA_DST, &ip_bytes(route.to));
            }
            if let Some(via) = route.via {
                writer.put(RTA_GATEWAY, &ip_bytes(via));
            }
            if let Some(source) = route.source {
                writer.put(RTA_PREFSRC, &ip_bytes(source));
            }
            if let Some(metric) = route.metric {
                writer.put_u32(RTA_PRIORITY, metric);
            }
            writer.put_u32(RTA_OIF, route.link);
        });
    }
}

impl Socket {
    /// Every route of both families that leads to a link; those by several ways are left out.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn routes(&mut self) -> Result<Vec<Route>, SysError> {
        self.dump(GETROUTE, &[0; RTMSG], read)
    }
}

impl Socket {
    /// Whether packets to an address are this namespace's own. An address of IPv6 that is there already becomes its own
    /// by a worker of the kernel, which may be busy (`addrconf_dad_work` of net/ipv6/addrconf.c).
    ///
    /// # Errors
    /// When there is no way to it at all.
    pub fn is_own(&mut self, address: IpAddr) -> Result<bool, SysError> {
        let write = |writer: &mut Writer| {
            let mut head = [0; RTMSG];
            head[0] = match address {
                IpAddr::V4(_) => libc::AF_INET as u8,
                IpAddr::V6(_) => libc::AF_INET6 as u8,
            };
            let bytes = ip_bytes(address);
            head[1] = if bytes.len() == 4 { 32 } else { 128 };
            writer.raw(&head);
            writer.put(RTA_DST, &bytes);
        };
        let local = |kind, body: &[u8]| {
            let kind_of_route = body.get(7).filter(|_| kind == NEWROUTE.0)?;
            Some(*kind_of_route == libc::RTN_LOCAL)
        };
        self.one(GETROUTE, &address.to_string(), write, local)
    }
}

fn read(kind: u16, body: &[u8]) -> Option<Route> {
    if kind != NEWROUTE.0 {
        return None;
    }
    let any: IpAddr = match i32::from(*body.first()?) {
        libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        libc::AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let mut route = Route {
        to: any,
        prefix: *body.get(1)?,
        via: None,
        link: 0,
        source: None,
        metric: None,
        protocol: *body.get(5)?,
        scope: *body.get(6)?,
        table: u32::from(*body.get(4)?),
        onlink: u32_at(body, 8)? & RTNH_F_ONLINK != 0,
        kind: *body.get(7)?,
    };
    for (kind, value) in attributes(body.get(RTMSG..)?) {
        match kind {
            RTA_DST => route.to = ip(value)?,
            RTA_GATEWAY => route.via = ip(value),
            RTA_PREFSRC => route.source = ip(value),
            RTA_PRIORITY => route.metric = u32_at(value, 0),
            RTA_OIF => route.link = u32_at(value, 0)?,
            RTA_TABLE => route.table = u32_at(value, 0)?,
            RTA_MULTIPATH => return None,
            _ => {}
        }
    }
    Some(route)
}
