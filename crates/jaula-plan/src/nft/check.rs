//! Whether a network's description fits together.

use super::network::{Firewall, Publish};
use super::rules::bits;
use super::{FirewallError, Value};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

/// Names of links have 15 bytes (netdevice(7)).
const LINK_NAME: usize = 15;

impl Firewall {
    pub(super) fn check(&self) -> Result<(), FirewallError> {
        let network = || self.bridge.clone();
        let ports = self.guests.iter().map(|guest| &guest.port);
        for name in ports.chain([&self.bridge]) {
            let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            if !(1..=LINK_NAME).contains(&name.len()) || !name.bytes().all(good) {
                return Err(FirewallError::Name { name: name.clone() });
            }
        }
        for subnet in &self.subnets {
            if subnet.prefix > bits(subnet.address) {
                return Err(FirewallError::Prefix {
                    address: subnet.address,
                    prefix: subnet.prefix,
                });
            }
        }
        let mut seen = BTreeSet::new();
        for guest in &self.guests {
            let words = [guest.port.clone(), Value::Mac(guest.mac).to_string()];
            let addresses = guest.addresses.iter().map(ToString::to_string);
            for what in words.into_iter().chain(addresses) {
                if !seen.insert(what.clone()) {
                    let network = network();
                    return Err(FirewallError::Twice { what, network });
                }
            }
            for address in &guest.addresses {
                if !self.subnets.iter().any(|subnet| subnet.holds(*address)) {
                    return Err(FirewallError::Elsewhere {
                        address: *address,
                        network: network(),
                    });
                }
            }
        }
        self.check_published()
    }

    fn check_published(&self) -> Result<(), FirewallError> {
        let mut seen: Vec<&Publish> = Vec::new();
        for guest in &self.guests {
            for publish in &guest.publish {
                if seen.iter().any(|other| publish.meets(other)) {
                    return Err(FirewallError::PublishedTwice {
                        port: publish.port,
                        protocol: publish.protocol.word(),
                        network: self.bridge.clone(),
                    });
                }
                let relayed = publish.address == Some(IpAddr::V6(Ipv6Addr::LOCALHOST));
                if guest.addresses.is_empty() || !relayed && self.led_to(guest, publish).is_empty()
                {
                    return Err(FirewallError::NoAddress { port: publish.port });
                }
                seen.push(publish);
            }
        }
        Ok(())
    }
}
