//! Whether somebody has an address already: he is asked before it is given (RFC 5227 section 2.1.1).

use crate::net::error::NetError;
use jaula_plan::facts::net::NetFacts;
use jaula_plan::names::LinkName;
use jaula_plan::net::address::Mac;
use jaula_plan::net::bridge::NetPlan;
use jaula_plan::net::step::NetStep;
use jaula_sys::SysError;
use jaula_sys::packet::{ARP, PacketSocket, arp_question, card, read_arp};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// How often somebody is asked, and how long each answer is waited for. A second each, as the RFC wants it, is for
/// networks of its time.
const ASKED: u32 = 3;
const PATIENCE: Duration = Duration::from_millis(120);
/// To every card.
const EVERYONE: [u8; 6] = [0xff; 6];

/// Whose card an address is on, as it answers by a link that is up.
pub(crate) fn who_has(link: &str, address: Ipv4Addr) -> Result<Option<Mac>, SysError> {
    let own = card(link)?;
    let socket = PacketSocket::open(link, ARP, None)?;
    let question = arp_question(own, Ipv4Addr::UNSPECIFIED, address);
    let mut buffer = [0; 256];
    for _ in 0..ASKED {
        socket.send(&question, EVERYONE)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let Some(arrived) = socket.receive(&mut buffer, left)? else {
                continue;
            };
            let packet = buffer.get(..arrived.length).unwrap_or_default();
            if let Some((mac, said, _)) = read_arp(packet)
                && said == address
                && mac != own
            {
                return Ok(Some(Mac(mac)));
            }
        }
    }
    Ok(None)
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
        let IpAddr::V4(address) = given.address.address else {
            continue;
        };
        if moved(address.into()) {
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
