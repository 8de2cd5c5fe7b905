//! Whether somebody has an address already: he is asked before it is given (RFC 5227 section 2.1.1, RFC 4862 section
//! 5.4).

use crate::net::error::NetError;
use jaula_plan::facts::net::NetFacts;
use jaula_plan::names::LinkName;
use jaula_plan::net::address::Mac;
use jaula_plan::net::bridge::NetPlan;
use jaula_plan::net::guest::GuestLink;
use jaula_plan::net::step::NetStep;
use jaula_plan::spec::net::Uplink;
use jaula_sys::SysError;
use jaula_sys::icmp6::{claimed, neighbour_question};
use jaula_sys::netlink::Socket;
use jaula_sys::packet::{ARP, IP6, PacketSocket, arp_question, card, read_arp, readable};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// How often somebody is asked, and how long each answer is waited for. A second each, as the RFC wants it, is for
/// networks of its time.
const ASKED: u32 = 3;
const PATIENCE: Duration = Duration::from_millis(120);
/// The same for a jail, whose start somebody waits for.
const ASKED_FOR_JAILS: u32 = 2;
const PATIENCE_FOR_JAILS: Duration = Duration::from_millis(50);
/// For how long a jail that has ended may still answer.
const ENDING: Duration = Duration::from_secs(1);
/// To every card.
const EVERYONE: [u8; 6] = [0xff; 6];

/// Whose card an address is on, as it answers by a link that is up.
pub(crate) fn who_has(link: &str, address: IpAddr) -> Result<Option<Mac>, SysError> {
    let own = card(link)?;
    let found = claims(link, &[address], &[own], ASKED, PATIENCE)?;
    Ok(found.map(|(_, mac)| mac))
}

/// The first of these addresses that somebody else than `own` has, or is about to take, and his card.
fn claims(
    link: &str,
    addresses: &[IpAddr],
    own: &[[u8; 6]],
    asked: u32,
    patience: Duration,
) -> Result<Option<(IpAddr, Mac)>, SysError> {
    let sender = card(link)?;
    let sockets = [ARP, IP6].map(|protocol| PacketSocket::open(link, protocol, None));
    let [four, six] = sockets;
    let (four, six) = (four?, six?);
    let mut buffer = [0; 256];
    for _ in 0..asked {
        for address in addresses {
            match address {
                IpAddr::V4(address) => {
                    let question = arp_question(sender, Ipv4Addr::UNSPECIFIED, *address);
                    four.send(&question, EVERYONE)?;
                }
                IpAddr::V6(address) => {
                    let (question, to) = neighbour_question(*address);
                    six.send(&question, to)?;
                }
            }
        }
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            readable(&[four.as_raw_fd(), six.as_raw_fd()], left)?;
            for (socket, is_arp) in [(&four, true), (&six, false)] {
                let Some(arrived) = socket.receive(&mut buffer, Duration::ZERO)? else {
                    continue;
                };
                let packet = buffer.get(..arrived.length).unwrap_or_default();
                let said = match is_arp {
                    true => read_arp(packet).map(|(mac, said, _)| (said.into(), mac)),
                    false => claimed(packet).map(|said| (said.into(), arrived.from)),
                };
                if let Some((said, mac)) = said
                    && addresses.contains(&said)
                    && !own.contains(&mac)
                {
                    return Ok(Some((said, Mac(mac))));
                }
            }
        }
    }
    Ok(None)
}

/// Refuses cards with addresses that were given by hand and that somebody has.
///
/// # Errors
/// [`NetError::Taken`].
pub(crate) fn refuse_by_hand(links: &[GuestLink]) -> Result<(), NetError> {
    let by_hand = links.iter().filter(|link| link.networks.is_empty());
    for guest in by_hand.filter(|link| !link.addresses.is_empty()) {
        let (Uplink::Bridge(on) | Uplink::Macvlan(on)) = &guest.on;
        // Where nobody is there is nobody to ask; what cannot be asked cannot answer.
        let found = Socket::open().and_then(|mut socket| socket.link(on.as_str()));
        let Ok(own) = card(on.as_str()) else { continue };
        if !found.is_ok_and(|link| link.carrier) {
            continue;
        }
        let addresses: Vec<IpAddr> = guest.addresses.iter().map(|cidr| cidr.address).collect();
        let own = [own, guest.mac.0];
        let (asked, patience) = (ASKED_FOR_JAILS, PATIENCE_FOR_JAILS);
        let ask = || claims(on.as_str(), &addresses, &own, asked, patience);
        let end = Instant::now() + ENDING;
        while let Ok(Some((address, mac))) = ask() {
            if Instant::now() >= end {
                let link = on.clone();
                return Err(NetError::Taken { address, link, mac });
            }
        }
    }
    Ok(())
}

/// Refuses a plan by which a bridge would get an address that somebody has who is reached by one of its ports.
pub(crate) fn refuse_taken(plan: &NetPlan, facts: &NetFacts) -> Result<(), NetError> {
    let moved = |address: IpAddr| {
        plan.steps.iter().any(|step| {
            matches!(step, NetStep::RemoveAddress { address: gone } if gone.address.address == address)
        })
    };
    for step in &plan.steps {
        let NetStep::AddAddress { address: given } = step else {
            continue;
        };
        let address = given.address.address;
        if moved(address) {
            continue;
        }
        let new = plan.steps.iter().filter_map(|step| match step {
            NetStep::SetMaster { name, to, .. } if to.as_ref() == Some(&given.link) => Some(name),
            _ => None,
        });
        let there = facts.ports(&given.link);
        let links = new.chain(there.iter().map(|port| &port.name));
        for link in links {
            let facts = facts.link(link);
            if !facts.is_some_and(|facts| facts.up && facts.carrier) {
                continue;
            }
            // What cannot be asked cannot answer.
            if let Ok(Some(mac)) = who_has(link.as_str(), address) {
                let link: LinkName = link.clone();
                return Err(NetError::Taken { address, link, mac });
            }
        }
    }
    Ok(())
}
