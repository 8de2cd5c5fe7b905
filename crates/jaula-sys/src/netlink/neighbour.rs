//! Neighbours: who was seen behind which port of a bridge, and which address is at which link-level address
//! (rtnetlink(7), RTM_GETNEIGH).

use super::socket::Socket;
use super::wire::{Writer, attributes, ip, u16_at, u32_at};
use crate::error::SysError;
use std::net::IpAddr;

const NEWNEIGH: u16 = 28;
const GETNEIGH: (u16, &str) = (30, "RTM_GETNEIGH");
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_CACHEINFO: u16 = 3;
const NDA_VLAN: u16 = 5;
const NDA_MASTER: u16 = 9;
/// The size of `struct ndmsg`.
const NDMSG: usize = 12;
const NUD_PERMANENT: u16 = 0x80;
const NUD_NOARP: u16 = 0x40;

/// A neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// AF_INET, AF_INET6 or AF_BRIDGE.
    pub family: u8,
    /// The number of the link, or of the port of a bridge, that it is behind.
    pub link: u32,
    /// The bridge's number.
    pub bridge: Option<u32>,
    /// NUD_…
    pub state: u16,
    /// Its link-level address.
    pub mac: Option<[u8; 6]>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// The VLAN it was seen in.
    pub vlan: Option<u16>,
    /// For how long it was not seen, in hundredths of a second.
    pub age: u32,
}

impl Neighbour {
    /// Whether it is an address of the bridge's own.
    pub fn permanent(&self) -> bool {
        self.state & NUD_PERMANENT != 0
    }

    /// Whether it never ages: the bridge's own, and what somebody wrote down.
    pub fn fixed(&self) -> bool {
        self.state & (NUD_PERMANENT | NUD_NOARP) != 0
    }
}

impl Socket {
    /// What every bridge has learned, and the addresses of its ports.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn forwarding(&mut self) -> Result<Vec<Neighbour>, SysError> {
        // The forwarding tables are asked for with the head of a link (bridge(8) does the same).
        let mut head = [0; 16];
        head[0] = libc::AF_BRIDGE as u8;
        self.dump(GETNEIGH, &head, read)
    }

    /// The neighbours of a family: AF_INET or AF_INET6.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn neighbours(&mut self, family: u8) -> Result<Vec<Neighbour>, SysError> {
        let mut fixed = Writer::default();
        let mut head = [0; NDMSG];
        head[0] = family;
        fixed.raw(&head);
        self.dump(GETNEIGH, fixed.bytes(), read)
    }
}

fn read(kind: u16, body: &[u8]) -> Option<Neighbour> {
    if kind != NEWNEIGH {
        return None;
    }
    let mut found = Neighbour {
        family: *body.first()?,
        link: u32_at(body, 4)?,
        bridge: None,
        state: u16_at(body, 8)?,
        mac: None,
        address: None,
        vlan: None,
        age: 0,
    };
    for (kind, value) in attributes(body.get(NDMSG..)?) {
        match kind {
            NDA_DST => found.address = ip(value),
            NDA_LLADDR => found.mac = value.try_into().ok(),
            NDA_VLAN => found.vlan = u16_at(value, 0),
            NDA_MASTER => found.bridge = u32_at(value, 0),
            // confirmed, used, updated, refcnt: brctl shows the time since it was last seen.
            NDA_CACHEINFO => found.age = u32_at(value, 8).unwrap_or(0),
            _ => {}
        }
    }
    Some(found)
}
