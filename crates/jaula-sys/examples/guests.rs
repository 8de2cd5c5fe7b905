//! A bridge with guests, as cards of jails are made: pairs, one end a port, the other with an address, in one batch. What
//! `benches/compare.py net` measures.
//!
//! `guests up NUMBER` in a network namespace where nothing is; `guests down` takes all of it away again.

use jaula_sys::SysError;
use jaula_sys::netlink::{Address, Batch, BridgeSet, LinkSet, NewLink, NewLinkKind, Socket};
use std::net::Ipv4Addr;

const BRIDGE: u32 = 10;
/// A group that no link is in.
const GROUP: u32 = 0x6a61_756c;
/// The guests' ends have numbers from here on, the bridge's from that and this on.
const FIRST: u32 = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        (Some("up"), Some(number)) => Ok(up(number.parse()?)?),
        (Some("down"), None) => Ok(down()?),
        _ => Err("guests up NUMBER, or guests down".into()),
    }
}

fn up(number: u32) -> Result<(), SysError> {
    let mut batch = Batch::new();
    let mut bridge = NewLink::new("br0", NewLinkKind::Bridge(BridgeSet::default()));
    bridge.index = Some(BRIDGE);
    batch.add_link(&bridge);
    for guest in 0..number {
        let (own, port) = (format!("g{guest}"), format!("v{guest}"));
        let index = FIRST + guest;
        let mut end = NewLink::new(&own, NewLinkKind::Macvlan { below: 0 });
        end.index = Some(index);
        let mut pair = NewLink::new(&port, NewLinkKind::Veth(&end));
        pair.index = Some(index + FIRST);
        pair.master = Some(BRIDGE);
        pair.up = true;
        batch.add_link(&pair);
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 9, 0, 2)) + guest);
        batch.add_address(&Address::new(index, address.into(), 16), &own);
    }
    // What is up keeps the kernel busy with telling others, so that comes last: cards, and then the bridge, for of one
    // that is up each card that comes is told to all that are there.
    let up = LinkSet {
        up: Some(true),
        ..LinkSet::default()
    };
    for guest in 0..number {
        batch.set_link(FIRST + guest, &format!("g{guest}"), &up);
    }
    batch.set_link(BRIDGE, "br0", &up);
    Socket::open()?.apply(&batch).map_err(|failed| failed.error)
}

fn down() -> Result<(), SysError> {
    let mut socket = Socket::open()?;
    let mut batch = Batch::new();
    let links = socket.links()?;
    // Of a bridge that is up each card that goes is told to all that stay.
    let down = LinkSet {
        up: Some(false),
        ..LinkSet::default()
    };
    batch.set_link(BRIDGE, "br0", &down);
    // With one end of a pair the other goes.
    let ours = links
        .iter()
        .filter(|link| link.index == BRIDGE || link.master == Some(BRIDGE));
    batch.remove_links(ours.map(|link| (link.index, link.name.as_str())), GROUP);
    socket.apply(&batch).map_err(|failed| failed.error)
}
