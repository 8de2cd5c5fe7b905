#![no_main]
//! `dhcp`: a message from anybody is read or refused; what is read can be written, and no end of the talk is
//! impressed by it.

use jaula_repo::dhcp::{Client, ClientEvent, Lease, Message, Server, ServerSettings, read_datagram};
use std::collections::BTreeMap;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    read_datagram(data, true);
    let Ok(message) = Message::parse(data) else {
        return;
    };
    let again = Message::parse(&message.bytes()).expect("what was written is read");
    assert_eq!(again.kind, message.kind);
    Lease::of(&message);
    let mut client = Client::new(message.mac, None, message.transaction, 0);
    client.step(ClientEvent::Time, 0);
    client.step(ClientEvent::Heard(Box::new(message.clone())), 0);
    let settings = ServerSettings {
        address: [10, 77, 0, 1].into(),
        prefix: 24,
        pool: Some(([10, 77, 0, 2].into(), [10, 77, 0, 9].into())),
        fixed: BTreeMap::new(),
        taken: Vec::new(),
        router: None,
        name_servers: Vec::new(),
        domain: None,
        search: Vec::new(),
        routes: Vec::new(),
        mtu: None,
        seconds: 3600,
    };
    Server::new(settings, BTreeMap::new()).answer(&message, message.mac, 0);
});
