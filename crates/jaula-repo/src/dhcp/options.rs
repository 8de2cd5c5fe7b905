//! Options (RFC 2132): numbered values. One that comes several times is one value in parts (RFC 3396); where the field
//! for them is too small they go on in two others (option 52).

use super::DhcpError;
use super::lease::Route;
use super::names;
use std::net::Ipv4Addr;

pub const PAD: u8 = 0;
pub const SUBNET_MASK: u8 = 1;
pub const ROUTERS: u8 = 3;
pub const NAME_SERVERS: u8 = 6;
pub const HOST_NAME: u8 = 12;
pub const DOMAIN: u8 = 15;
pub const MTU: u8 = 26;
pub const BROADCAST_ADDRESS: u8 = 28;
pub const TIME_SERVERS: u8 = 42;
pub const REQUESTED: u8 = 50;
pub const LEASE_TIME: u8 = 51;
const OVERLOAD: u8 = 52;
pub const KIND: u8 = 53;
pub const SERVER: u8 = 54;
pub const WANTED: u8 = 55;
pub const LARGEST: u8 = 57;
pub const RENEW: u8 = 58;
pub const REBIND: u8 = 59;
pub const CLIENT_ID: u8 = 61;
pub const SEARCH: u8 = 119;
pub const ROUTES: u8 = 121;
pub const END: u8 = 255;

/// Addresses in one option: a person configures a few.
const MOST_ADDRESSES: usize = 16;
/// Routes: the same.
const MOST_ROUTES: usize = 64;
/// Bytes of text that is used.
const LONGEST_TEXT: usize = 255;

/// The options of a message but its type, in order of their first appearance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    values: Vec<(u8, Vec<u8>)>,
}

impl Options {
    /// Reads the field of options, and what goes on in the fields of file and server name.
    pub(super) fn parse(field: &[u8], file: &[u8], server: &[u8]) -> Result<Self, DhcpError> {
        let mut options = Options::default();
        options.part(field)?;
        let overload = options.first(OVERLOAD).unwrap_or(0);
        if overload & 1 != 0 {
            options.part(file)?;
        }
        if overload & 2 != 0 {
            options.part(server)?;
        }
        Ok(options)
    }

    fn part(&mut self, mut rest: &[u8]) -> Result<(), DhcpError> {
        while let Some((code, after)) = rest.split_first() {
            match *code {
                PAD => rest = after,
                END => break,
                code => {
                    let cut = DhcpError::CutOff(code);
                    let (length, after) = after.split_first().ok_or(cut)?;
                    let value = after.split_at_checked(usize::from(*length)).ok_or(cut)?;
                    self.add(code, value.0);
                    rest = value.1;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, code: u8, more: &[u8]) {
        match self.values.iter_mut().find(|(known, _)| *known == code) {
            Some((_, value)) => value.extend(more),
            None => self.values.push((code, more.to_vec())),
        }
    }

    /// Sets an option's bytes.
    pub fn set(&mut self, code: u8, value: &[u8]) {
        self.values.retain(|(known, _)| *known != code);
        self.add(code, value);
    }

    /// Sets an option of addresses; none sets nothing.
    pub fn set_addresses(&mut self, code: u8, addresses: &[Ipv4Addr]) {
        let bytes: Vec<u8> = addresses.iter().flat_map(|a| a.octets()).collect();
        if !bytes.is_empty() {
            self.set(code, &bytes);
        }
    }

    /// Sets an option that is a number of seconds.
    pub fn set_seconds(&mut self, code: u8, seconds: u32) {
        self.set(code, &seconds.to_be_bytes());
    }

    /// Appends all but the type, long values in parts.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (code, value) in &self.values {
            if [KIND, OVERLOAD, PAD, END].contains(code) {
                continue;
            }
            let mut chunks: Vec<&[u8]> = value.chunks(255).collect();
            if chunks.is_empty() {
                chunks.push(&[]);
            }
            for chunk in chunks {
                out.push(*code);
                out.push(u8::try_from(chunk.len()).unwrap_or(u8::MAX));
                out.extend(chunk);
            }
        }
    }

    /// An option's bytes.
    pub fn raw(&self, code: u8) -> Option<&[u8]> {
        let found = self.values.iter().find(|(known, _)| *known == code);
        found.map(|(_, value)| value.as_slice())
    }

    /// An option's first byte.
    pub(super) fn first(&self, code: u8) -> Option<u8> {
        self.raw(code)?.first().copied()
    }

    /// An option that is one address.
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = self.raw(code)?.try_into().ok()?;
        Some(bytes.into())
    }

    /// An option that is a list of addresses; the first sixteen.
    pub fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        let bytes = self.raw(code).unwrap_or_default();
        let (four, _) = bytes.as_chunks::<4>();
        four.iter()
            .take(MOST_ADDRESSES)
            .map(|bytes| Ipv4Addr::from(*bytes))
            .collect()
    }

    /// An option that is a number of seconds.
    pub fn seconds(&self, code: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.raw(code)?.try_into().ok()?))
    }

    /// An option that is a small number.
    pub fn short(&self, code: u8) -> Option<u16> {
        Some(u16::from_be_bytes(self.raw(code)?.try_into().ok()?))
    }

    /// An option that is text for a person: control characters are left out.
    pub fn text(&self, code: u8) -> Option<String> {
        let bytes = self.raw(code)?;
        let bytes = bytes.get(..LONGEST_TEXT).unwrap_or(bytes);
        let text = String::from_utf8_lossy(bytes);
        Some(text.chars().filter(|c| !c.is_control()).collect())
    }

    /// An option that is a name of hosts or domains, if it can be one (RFC 1035 section 2.3.1).
    pub fn name(&self, code: u8) -> Option<String> {
        let bytes = self.raw(code)?;
        // Some servers count the terminator.
        let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        names::checked(std::str::from_utf8(bytes).ok()?)
    }

    /// The domains that names are searched in (RFC 3397).
    pub fn search(&self) -> Vec<String> {
        self.raw(SEARCH).map(names::list).unwrap_or_default()
    }

    /// Routes (RFC 3442): with an option that is wrong anywhere there are none.
    pub fn routes(&self) -> Option<Vec<Route>> {
        let mut rest = self.raw(ROUTES)?;
        let mut routes = Vec::new();
        while let Some((prefix, after)) = rest.split_first() {
            if *prefix > 32 || routes.len() == MOST_ROUTES {
                return None;
            }
            let given = usize::from(prefix.div_ceil(8));
            let (significant, after) = after.split_at_checked(given)?;
            let (router, after) = after.split_first_chunk::<4>()?;
            let mut octets = [0; 4];
            for (octet, byte) in octets.iter_mut().zip(significant) {
                *octet = *byte;
            }
            let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
            routes.push(Route {
                to: Ipv4Addr::from(u32::from_be_bytes(octets) & mask),
                prefix: *prefix,
                by: Ipv4Addr::from(*router),
            });
            rest = after;
        }
        Some(routes)
    }

    /// The bytes of routes.
    pub fn set_routes(&mut self, routes: &[Route]) {
        let mut bytes = Vec::new();
        for route in routes.iter().take(MOST_ROUTES) {
            bytes.push(route.prefix);
            let given = usize::from(route.prefix.div_ceil(8));
            bytes.extend(route.to.octets().iter().take(given));
            bytes.extend(route.by.octets());
        }
        if !bytes.is_empty() {
            self.set(ROUTES, &bytes);
        }
    }
}
