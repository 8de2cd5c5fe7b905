//! What a router tells its neighbours (RFC 4861 section 4.2): which addresses they may give themselves, which way is out,
//! who resolves names (RFC 8106).

use std::net::Ipv6Addr;

/// An advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    /// The router's card.
    pub mac: [u8; 6],
    /// Seconds that it is a way out; 0 where it is none.
    pub lifetime: u16,
    /// Prefixes of which addresses are made, all of 64 bits.
    pub prefixes: Vec<Ipv6Addr>,
    /// Seconds that such an address holds.
    pub seconds: u32,
    /// Who resolves names.
    pub name_servers: Vec<Ipv6Addr>,
    /// Domains that names are searched in.
    pub search: Vec<String>,
    /// The largest packet.
    pub mtu: Option<u32>,
}

/// The types of ICMPv6.
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
/// Hops that neighbours are told to give their packets.
const HOPS: u8 = 64;
/// Lists have few entries: an option counts eights of bytes in one byte.
const MOST: usize = 16;

fn option(out: &mut Vec<u8>, kind: u8, data: &[u8]) {
    let start = out.len();
    out.extend([kind, 0]);
    out.extend(data);
    while !(out.len() - start).is_multiple_of(8) {
        out.push(0);
    }
    let eights = u8::try_from((out.len() - start) / 8).unwrap_or(0);
    if let Some(length) = out.get_mut(start + 1) {
        *length = eights;
    }
}

impl Advertisement {
    /// Its bytes; the checksum is left to the kernel.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![ADVERTISEMENT, 0, 0, 0, HOPS, 0];
        out.extend(self.lifetime.to_be_bytes());
        out.extend([0; 8]);
        option(&mut out, 1, &self.mac);
        if let Some(mtu) = self.mtu {
            option(&mut out, 5, &[&[0, 0][..], &mtu.to_be_bytes()].concat());
        }
        for prefix in self.prefixes.iter().take(MOST) {
            // On the link, and to make addresses of.
            let mut data = vec![64, 0xc0];
            data.extend(self.seconds.to_be_bytes());
            data.extend((self.seconds / 2).to_be_bytes());
            data.extend([0; 4]);
            data.extend(prefix.octets());
            option(&mut out, 3, &data);
        }
        let lists = self.name_servers.iter().take(MOST);
        let servers: Vec<u8> = lists.flat_map(|server| server.octets()).collect();
        let lifetime = self.seconds.to_be_bytes();
        if !servers.is_empty() {
            option(&mut out, 25, &[&[0, 0][..], &lifetime, &servers].concat());
        }
        let search = self.search.get(..self.search.len().min(MOST));
        let search = crate::dhcp::written_names(search.unwrap_or_default());
        if !search.is_empty() && search.len() < 2000 {
            option(&mut out, 31, &[&[0, 0][..], &lifetime, &search].concat());
        }
        out
    }
}

/// Whether a message of ICMPv6 asks for an advertisement: whole, and its options too (RFC 4861 section 6.1.1).
pub fn is_solicitation(message: &[u8]) -> bool {
    let [SOLICITATION, 0, _, _, _, _, _, _, rest @ ..] = message else {
        return false;
    };
    let mut rest = rest;
    while let [_, eights, ..] = rest {
        let length = usize::from(*eights) * 8;
        match rest.get(length..) {
            Some(after) if length > 0 => rest = after,
            _ => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_has_whole_options() {
        let all = Advertisement {
            mac: [2, 0, 0, 0, 0, 1],
            lifetime: 1800,
            prefixes: vec!["fd77::".parse().unwrap()],
            seconds: 3600,
            name_servers: vec!["fd77::1".parse().unwrap()],
            search: vec!["alcantara".into()],
            mtu: Some(1400),
        };
        let bytes = all.bytes();
        assert_eq!(bytes.get(..8).unwrap(), [134, 0, 0, 0, 64, 0, 7, 8]);
        let mut kinds = Vec::new();
        let mut rest = bytes.get(16..).unwrap();
        while let [kind, eights, ..] = rest {
            kinds.push(*kind);
            rest = rest.get(usize::from(*eights) * 8..).unwrap();
        }
        assert_eq!(kinds, [1, 5, 3, 25, 31]);
    }

    #[test]
    fn only_a_whole_solicitation_is_one() {
        let mut good = vec![133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1];
        assert!(is_solicitation(&good) && is_solicitation(good.get(..8).unwrap()));
        for end in (0..8).chain(9..16) {
            assert!(!is_solicitation(good.get(..end).unwrap()));
        }
        for (at, wrong) in [(0, 134), (1, 1), (9, 0), (9, 2)] {
            let old = std::mem::replace(good.get_mut(at).unwrap(), wrong);
            assert!(!is_solicitation(&good));
            *good.get_mut(at).unwrap() = old;
        }
    }
}
