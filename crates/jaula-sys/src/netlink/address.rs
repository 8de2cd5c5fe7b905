//! Addresses of links (rtnetlink(7), RTM_NEWADDR).

use super::socket::{Batch, Socket};
use super::wire::{attributes, ip, ip_bytes, text, u32_at};
use crate::error::SysError;
use std::net::{IpAddr, Ipv4Addr};

const NEWADDR: (u16, &str) = (20, "RTM_NEWADDR");
const DELADDR: (u16, &str) = (21, "RTM_DELADDR");
const GETADDR: (u16, &str) = (22, "RTM_GETADDR");
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
/// No duplicate address detection (RFC 4862, 5.4).
const IFA_F_NODAD: u32 = 2;
const IFA_F_PERMANENT: u32 = 0x80;
/// The size of `struct ifaddrmsg`.
const IFADDR: usize = 8;

/// How long an address holds, in seconds; `u32::MAX` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressLife {
    /// Until then new connections may use it.
    pub preferred: u32,
    /// Then it goes.
    pub valid: u32,
}

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The link's number.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// How many bits are the network's.
    pub prefix: u8,
    /// RT_SCOPE_…: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// IFA_F_…
    pub flags: u32,
    /// IPv4's broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// IPv4's label, where it is not the link's name.
    pub label: Option<String>,
    /// How long it holds; none: for ever.
    pub life: Option<AddressLife>,
}

impl Address {
    /// A global address without an end.
    pub fn new(link: u32, address: IpAddr, prefix: u8) -> Self {
        Self {
            link,
            address,
            prefix,
            scope: 0,
            flags: 0,
            broadcast: broadcast(address, prefix),
            label: None,
            life: None,
        }
    }

    /// Whether its lifetime has an end, as one that DHCP or a router gave has.
    pub fn passing(&self) -> bool {
        self.flags & IFA_F_PERMANENT == 0
    }

    /// It is used at once: its owner knows that nobody else has it.
    #[must_use]
    pub fn certain(mut self) -> Self {
        if self.address.is_ipv6() {
            self.flags |= IFA_F_NODAD;
        }
        self
    }
}

/// IPv4's broadcast address of a network, where it has one (RFC 3021: not of two addresses).
fn broadcast(address: IpAddr, prefix: u8) -> Option<Ipv4Addr> {
    let IpAddr::V4(four) = address else {
        return None;
    };
    let hosts = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    (prefix < 31).then(|| Ipv4Addr::from_bits(four.to_bits() | hosts))
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

impl Batch {
    /// Gives a link an address that it has not; `name` is for people.
    pub fn add_address(&mut self, address: &Address, name: &str) {
        self.address(NEWADDR, NLM_F_CREATE | NLM_F_EXCL, address, name);
    }

    /// Gives a link an address, or, where it has it, another lifetime.
    pub fn renew_address(&mut self, address: &Address, name: &str) {
        self.address(NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, address, name);
    }

    /// Takes an address from a link.
    pub fn remove_address(&mut self, address: &Address, name: &str) {
        self.address(DELADDR, 0, address, name);
    }

    fn address(&mut self, call: (u16, &'static str), flags: u16, address: &Address, name: &str) {
        let target = format!("{}/{} {name}", address.address, address.prefix);
        self.push(call, flags, target, |writer| {
            let mut head = [0; IFADDR];
            head[0] = family(address.address);
            head[1] = address.prefix;
            head[3] = address.scope;
            head[4..8].copy_from_slice(&address.link.to_ne_bytes());
            writer.raw(&head);
            let bytes = ip_bytes(address.address);
            writer.put(IFA_LOCAL, &bytes);
            writer.put(IFA_ADDRESS, &bytes);
            if let Some(broadcast) = address.broadcast {
                writer.put(IFA_BROADCAST, &broadcast.octets());
            }
            if let Some(label) = &address.label {
                writer.put_text(IFA_LABEL, label);
            }
            // IFA_F_PERMANENT is the kernel's to set.
            let flags = address.flags & !IFA_F_PERMANENT;
            if flags != 0 {
                writer.put_u32(IFA_FLAGS, flags);
            }
            if let Some(life) = address.life {
                let mut info = [0; 16];
                info[0..4].copy_from_slice(&life.preferred.to_ne_bytes());
                info[4..8].copy_from_slice(&life.valid.to_ne_bytes());
                writer.put(IFA_CACHEINFO, &info);
            }
        });
    }
}

impl Socket {
    /// Every address of both families.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn addresses(&mut self) -> Result<Vec<Address>, SysError> {
        self.dump(GETADDR, &[0; IFADDR], read)
    }
}

fn read(kind: u16, body: &[u8]) -> Option<Address> {
    if kind != NEWADDR.0 {
        return None;
    }
    let (mut local, mut other) = (None, None);
    let mut flags = u32::from(*body.get(2)?);
    let (mut wide, mut label, mut life) = (None, None, None);
    for (kind, value) in attributes(body.get(IFADDR..)?) {
        match kind {
            IFA_LOCAL => local = ip(value),
            IFA_ADDRESS => other = ip(value),
            IFA_LABEL => label = Some(text(value)),
            IFA_BROADCAST => wide = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from),
            IFA_FLAGS => flags = u32_at(value, 0)?,
            IFA_CACHEINFO => {
                life = Some(AddressLife {
                    preferred: u32_at(value, 0)?,
                    valid: u32_at(value, 4)?,
                });
            }
            _ => {}
        }
    }
    Some(Address {
        link: u32_at(body, 4)?,
        // Of a point-to-point link IFA_ADDRESS is the other side.
        address: local.or(other)?,
        prefix: *body.get(1)?,
        scope: *body.get(3)?,
        flags,
        broadcast: wide,
        label,
        life: life.filter(|life| life.valid != u32::MAX),
    })
}
