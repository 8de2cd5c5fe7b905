//! Addresses: of links, and of networks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}")]
pub struct BadAddress {
    /// What it should have been, with an example.
    pub what: &'static str,
    /// As given.
    pub text: String,
}

fn bad(what: &'static str, text: &str) -> BadAddress {
    let text = text.chars().take(64).collect();
    BadAddress { what, text }
}

macro_rules! as_text {
    ($type:ident) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// A link-level address of six bytes (IEEE 802).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

as_text!(Mac);

impl Mac {
    /// The address of a jail's `number`th card: always the same for the same name, and of those that are given out
    /// locally (IEEE 802, bit 2 of the first byte).
    pub fn of_guest(jail: &str, number: u8) -> Self {
        let [_, _, _, b, c, d, e, f] = hash(jail, number).to_be_bytes();
        Self([0x0a, b, c, d, e, f])
    }

    /// The address of the host's end of that card. A bridge takes the lowest address of its ports for its own, and
    /// this one is higher than any card's: what comes and goes does not change the bridge's address.
    pub fn of_host_end(jail: &str, number: u8) -> Self {
        let Self([_, b, c, d, e, f]) = Self::of_guest(jail, number);
        Self([0xfe, b, c, d, e, f])
    }

    /// The address of a bridge of a machine, which stays when ports come and go: who is on it knows it by that.
    pub fn of_bridge(machine: &str, bridge: &str) -> Self {
        Self::of_guest(&format!("{machine} {bridge}"), u8::MAX)
    }

    /// Whether it is of one station, as a link's own must be, and not nought.
    pub fn is_station(self) -> bool {
        self.0 != [0; 6] && self.0.first().is_some_and(|first| first & 1 == 0)
    }
}

/// FNV-1a of 64 bits (draft-eastlake-fnv, 2).
pub(super) fn hash(name: &str, number: u8) -> u64 {
    let bytes = name.bytes().chain([0, number]);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Mac {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let wrong = || bad("link-level address (02:00:5e:10:00:01)", text);
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(wrong)?;
            let hex = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
            *byte = u8::from_str_radix(part, 16)
                .ok()
                .filter(|_| hex)
                .ok_or_else(wrong)?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(wrong()),
        }
    }
}

/// An address and how many of its bits are the network's (RFC 4632, RFC 4291 2.3): `10.9.0.1/24`, `fd00::1/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// The bits, at most 32 or 128.
    pub prefix: u8,
}

as_text!(Cidr);

impl Cidr {
    /// An address with all its bits.
    pub fn host(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }

    /// Every address of a family.
    pub fn all(v6: bool) -> Self {
        let address = if v6 {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        Self { address, prefix: 0 }
    }

    /// The network: the other bits are nought.
    #[must_use]
    pub fn network(self) -> Self {
        let address = match self.address {
            IpAddr::V4(four) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32)));
                Ipv4Addr::from_bits(four.to_bits() & mask.unwrap_or(0)).into()
            }
            IpAddr::V6(six) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128)));
                Ipv6Addr::from_bits(six.to_bits() & mask.unwrap_or(0)).into()
            }
        };
        Self { address, ..self }
    }

    /// Whether an address is of its network.
    pub fn holds(self, address: IpAddr) -> bool {
        let prefix = self.prefix;
        self.address.is_ipv4() == address.is_ipv4()
            && Self { address, prefix }.network() == self.network()
    }

    /// Whether the two networks have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.holds(other.address) || other.holds(self.address)
    }

    /// Whether a link may have it for its own: no network or broadcast address, nothing that means many or none.
    pub fn is_usable(self) -> bool {
        let address = self.address;
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return false;
        }
        match address {
            IpAddr::V4(four) if self.prefix < 31 => {
                let hosts = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                let host = four.to_bits() & hosts;
                host != 0 && host != hosts
            }
            IpAddr::V4(_) => true,
            // The address with no bits of its own is every router's (RFC 4291, 2.6.1).
            IpAddr::V6(_) => self.prefix > 126 || self.network().address != address,
        }
    }

    /// The `number`th address of its network after the network's own; none outside of it.
    pub fn nth(self, number: u64) -> Option<IpAddr> {
        let address: IpAddr = match self.network().address {
            IpAddr::V4(four) => {
                let bits = four.to_bits().checked_add(u32::try_from(number).ok()?)?;
                Ipv4Addr::from_bits(bits).into()
            }
            IpAddr::V6(six) => {
                Ipv6Addr::from_bits(six.to_bits().checked_add(number.into())?).into()
            }
        };
        self.holds(address).then_some(address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let wrong = || {
            bad(
                "address with its network's bits (10.9.0.1/24, fd00::1/64)",
                text,
            )
        };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let digits = (1..=3).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix: u8 = prefix.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        if prefix > Self::host(address).prefix {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect(text)
    }

    #[test]
    fn addresses_have_one_form() {
        for text in ["10.9.0.1/24", "fd00::1/64", "0.0.0.0/0", "::/0", "::1/128"] {
            assert_eq!(cidr(text).to_string(), text);
        }
        for text in [
            "",
            "10.9.0.1",
            "10.9.0.1/33",
            "10.9.0.1/-1",
            "10.9.0.1/+4",
            "10.9.0.1/",
            "::/129",
            "10.9.0/24",
            "x/24",
            "10.9.0.1/24/3",
        ] {
            text.parse::<Cidr>().expect_err(text);
        }
    }

    #[test]
    fn networks_are_compared() {
        assert_eq!(cidr("10.9.7.1/20").network(), cidr("10.9.0.0/20"));
        assert_eq!(cidr("fd00:1:2:3::9/64").network(), cidr("fd00:1:2:3::/64"));
        assert_eq!(cidr("1.2.3.4/0").network(), cidr("0.0.0.0/0"));
        assert!(cidr("10.9.0.1/24").overlaps(cidr("10.0.0.0/8")));
        assert!(cidr("10.0.0.0/8").overlaps(cidr("10.9.0.1/24")));
        assert!(!cidr("10.9.0.1/24").overlaps(cidr("10.9.1.1/24")));
        assert!(!cidr("0.0.0.0/0").overlaps(cidr("::/0")));
    }

    #[test]
    fn what_a_link_may_have() {
        for text in ["10.9.0.1/24", "10.9.0.0/31", "10.9.0.1/32", "fd00::1/64"] {
            assert!(cidr(text).is_usable(), "{text}");
        }
        for text in [
            "10.9.0.0/24",
            "10.9.0.255/24",
            "224.0.0.1/24",
            "127.0.0.1/8",
            "fd00::/64",
            "ff02::1/64",
            "0.0.0.0/0",
        ] {
            assert!(!cidr(text).is_usable(), "{text}");
        }
    }

    #[test]
    fn addresses_are_counted_within_their_network() {
        assert_eq!(
            cidr("10.9.0.1/24").nth(7),
            Some("10.9.0.7".parse().expect("4"))
        );
        assert_eq!(cidr("10.9.0.1/24").nth(256), None);
        assert_eq!(cidr("255.255.255.0/24").nth(u64::MAX), None);
        assert_eq!(
            cidr("fd00::/64").nth(0x1_0000),
            Some("fd00::1:0".parse().expect("6"))
        );
    }

    #[test]
    fn link_level_addresses_have_one_form() {
        let mac: Mac = "1C:6f:65:a4:6:90".parse().expect("an address");
        assert_eq!(mac.to_string(), "1c:6f:65:a4:06:90");
        for text in [
            "",
            "1c:6f:65:a4:06",
            "1c:6f:65:a4:06:90:1",
            "1c-6f-65-a4-06-90",
            "+1:6f:65:a4:06:90",
            "1cc:6f:65:a4:06:90",
        ] {
            text.parse::<Mac>().expect_err(text);
        }
    }

    #[test]
    fn guests_keep_their_addresses() {
        let web = Mac::of_guest("web", 0);
        assert_eq!(web.to_string(), "0a:2e:09:98:a7:99");
        assert_ne!(web, Mac::of_guest("web", 1));
        assert!(web.is_station() && Mac::of_host_end("web", 0).is_station());
        assert!(Mac::of_host_end("web", 0) > Mac([0xfd, 0xff, 0xff, 0xff, 0xff, 0xff]));
    }
}
