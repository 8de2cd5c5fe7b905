use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

fn settings() -> ServerSettings {
    ServerSettings {
        address: Ipv4Addr::new(10, 77, 0, 1),
        prefix: 24,
        pool: Some((Ipv4Addr::new(10, 77, 0, 100), Ipv4Addr::new(10, 77, 0, 102))),
        fixed: BTreeMap::from([([2, 0, 0, 0, 0, 9], Ipv4Addr::new(10, 77, 0, 9))]),
        taken: vec![Ipv4Addr::new(10, 77, 0, 101)],
        router: Some(Ipv4Addr::new(10, 77, 0, 1)),
        name_servers: vec![Ipv4Addr::new(10, 77, 0, 1)],
        domain: Some("alcantara".into()),
        search: vec!["alcantara".into(), "example.org".into()],
        routes: vec![Route {
            to: Ipv4Addr::new(192, 0, 2, 128),
            prefix: 25,
            by: Ipv4Addr::new(10, 77, 0, 2),
        }],
        mtu: Some(1400),
        seconds: 3600,
    }
}

fn server() -> Server {
    Server::new(settings(), BTreeMap::new())
}

/// Lets a client talk to a server until nobody has more to say; the address is free.
fn talk(client: &mut Client, server: &mut Server, now: u64) -> Option<News> {
    let mut output = client.step(ClientEvent::Time, now);
    let mut last = None;
    for _ in 0..20 {
        if let Some(news) = output.news.take() {
            if let News::Probe(_) = news {
                output = client.step(ClientEvent::Free, now);
                continue;
            }
            last = Some(news);
        }
        let Some(sent) = output.send.pop() else { break };
        let heard = Message::parse(&sent.message.bytes()).unwrap();
        assert_eq!(heard.bytes(), sent.message.bytes());
        let Some(answer) = server.answer(&heard, heard.mac, now / 1000) else {
            break;
        };
        let answer = Message::parse(&answer.message.bytes()).unwrap();
        output = client.step(ClientEvent::Heard(Box::new(answer)), now);
    }
    last
}

fn client(last: u8) -> Client {
    Client::new([2, 0, 0, 0, 0, last], Some("web".into()), 7, 0)
}

fn bound(news: Option<News>) -> Lease {
    match news {
        Some(News::Bound(lease)) => *lease,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_gets_an_address_and_all_that_goes_with_it() {
    let (mut client, mut server) = (client(7), server());
    let lease = bound(talk(&mut client, &mut server, 0));
    assert_eq!(lease.address, Ipv4Addr::new(10, 77, 0, 100));
    assert_eq!((lease.prefix, lease.mtu), (24, Some(1400)));
    assert_eq!(lease.search, ["alcantara", "example.org"]);
    assert_eq!(lease.domain.as_deref(), Some("alcantara"));
    assert_eq!(lease.name_servers, [Ipv4Addr::new(10, 77, 0, 1)]);
    assert_eq!(
        (lease.seconds, lease.renew, lease.rebind),
        (Some(3600), 1800, 3150)
    );
    let routes: Vec<(u8, Ipv4Addr)> = lease.routes.iter().map(|r| (r.prefix, r.by)).collect();
    assert_eq!(
        routes,
        [
            (25, Ipv4Addr::new(10, 77, 0, 2)),
            (0, Ipv4Addr::new(10, 77, 0, 1))
        ]
    );
    let row = &server.held()[&lease.address];
    assert_eq!(
        (row.until, row.taken, row.name.as_deref()),
        (3600, true, Some("web"))
    );
    // It is woken to renew, and renews where it came from.
    assert_eq!(client.wake(), Some(1_800_000));
    assert_eq!(
        client.step(ClientEvent::Time, 1_799_999),
        ClientOutput::default()
    );
    bound(talk(&mut client, &mut server, 1_800_000));
    assert_eq!(server.held()[&lease.address].until, 1800 + 3600);
    // Released, it is another's.
    let out = client.step(ClientEvent::Release, 1_900_000);
    assert_eq!(out.news, Some(News::Lost(lease.address)));
    assert!(
        server
            .answer(&out.send[0].message, client_mac(7), 1900)
            .is_none()
    );
    assert!(server.held().is_empty());
    assert_eq!(client.wake(), None);
}

/// A request of a card, by an identifier, for whatever there is: the offer, and its acceptance.
fn asks(server: &mut Server, card: u32, id: u8, now: u64) -> Option<Ipv4Addr> {
    let [a, b, c, d] = card.to_be_bytes();
    let mac = [2, 0, a, b, c, d];
    let mut message = Message::new(MessageKind::Discover, 1, mac);
    message.options.set(options::CLIENT_ID, &[0, id]);
    let offer = server.answer(&message, mac, now)?.message;
    let mut message = Message::new(MessageKind::Request, 1, mac);
    message.options.set(options::CLIENT_ID, &[0, id]);
    message
        .options
        .set_addresses(options::REQUESTED, &[offer.yours]);
    message
        .options
        .set_addresses(options::SERVER, &[Ipv4Addr::new(10, 77, 0, 1)]);
    let answer = server.answer(&message, mac, now)?.message;
    (answer.kind == MessageKind::Ack).then_some(answer.yours)
}

#[test]
fn whoever_has_an_address_keeps_it_however_many_ask() {
    let wide = ServerSettings {
        prefix: 16,
        pool: Some((Ipv4Addr::new(10, 77, 64, 0), Ipv4Addr::new(10, 77, 255, 0))),
        ..settings()
    };
    let mut server = Server::new(wide, BTreeMap::new());
    let most = u32::try_from(MOST_LEASES).unwrap();
    let first = asks(&mut server, 0, 1, 0).expect("an address");
    for card in 1..most {
        asks(&mut server, card, 1, 10).expect("an address");
    }
    let all = server.held().clone();
    // What is left of the pool cannot be remembered, so it is given to nobody.
    assert_eq!(asks(&mut server, most, 1, 3500), None);
    assert_eq!(server.held(), &all);
    assert_eq!(asks(&mut server, 0, 1, 3500), Some(first));
    // What is over makes room.
    assert!(asks(&mut server, most, 1, 3700).is_some());
    assert_eq!(server.held().len(), MOST_LEASES);
    assert_eq!(server.held()[&first].until, 3500 + 3600);
}

#[test]
fn a_card_does_not_empty_the_pool_by_calling_itself_otherwise() {
    let wide = ServerSettings {
        pool: Some((Ipv4Addr::new(10, 77, 0, 128), Ipv4Addr::new(10, 77, 0, 254))),
        ..settings()
    };
    let mut server = Server::new(wide, BTreeMap::new());
    let given = (1..=50).filter_map(|id| asks(&mut server, 7, id, 0));
    assert_eq!(given.count(), 4);
    assert!(asks(&mut server, 8, 1, 0).is_some());
    assert!(asks(&mut server, 7, 50, 4000).is_some());
}

#[test]
fn who_comes_later_is_learned_of() {
    let mut server = server();
    let first = asks(&mut server, 1, 1, 0).expect("an address");
    assert_eq!(first, Ipv4Addr::new(10, 77, 0, 100));
    // A jail that was started has that address now, and another the last that was left; a third card is a jail's.
    let jail = [2, 0, 0, 0, 0, 5];
    let fixed = BTreeMap::from([(jail, Ipv4Addr::new(10, 77, 0, 5))]);
    server.learn(fixed, vec![first, Ipv4Addr::new(10, 77, 0, 102)]);
    assert_eq!(
        asks(&mut server, 5, 1, 1),
        Some(Ipv4Addr::new(10, 77, 0, 5))
    );
    assert_eq!(
        asks(&mut server, 1, 1, 1),
        Some(Ipv4Addr::new(10, 77, 0, 101))
    );
    assert_eq!(asks(&mut server, 2, 1, 1), None);
}

fn client_mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

#[test]
fn renewal_goes_to_the_server_then_to_all_then_the_address_is_lost() {
    let (mut client, mut server) = (client(7), server());
    let lease = bound(talk(&mut client, &mut server, 0));
    let mut times = Vec::new();
    let mut lost = None;
    while lost.is_none() {
        let now = client.wake().unwrap();
        let out = client.step(ClientEvent::Time, now);
        lost = out.news;
        times.push((now / 1000, out.send[0].to, out.send[0].message.kind));
    }
    assert_eq!(lost, Some(News::Lost(lease.address)));
    let (last, rest) = times.split_last().unwrap();
    assert_eq!((last.0, last.2), (3600, MessageKind::Discover));
    for (at, to, kind) in rest {
        assert_eq!(*kind, MessageKind::Request);
        let all = *to == Ipv4Addr::BROADCAST;
        assert_eq!(all, *at >= 3150, "{at}");
    }
    let ats: Vec<u64> = times.iter().map(|(at, ..)| *at).collect();
    assert!(
        ats.windows(2)
            .all(|w| w[1] - w[0] >= 60 || w[1] == 3150 || w[1] == 3600),
        "{ats:?}"
    );
    assert!(ats.len() < 20 && ats.contains(&3150), "{ats:?}");
}

#[test]
fn without_a_server_it_asks_less_and_less_often() {
    let mut client = client(7);
    let mut ats = Vec::new();
    let mut numbers = Vec::new();
    for _ in 0..10 {
        let now = client.wake().unwrap();
        let out = client.step(ClientEvent::Time, now);
        ats.push(now);
        numbers.push(out.send[0].message.transaction);
    }
    let waits: Vec<u64> = ats.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(
        waits.windows(2).all(|w| w[1] >= w[0] || w[0] >= 64_000),
        "{waits:?}"
    );
    assert!(waits[0] >= 1000 && waits[0] <= 1250 && waits[8] >= 64_000);
    numbers.dedup();
    assert_eq!(numbers.len(), 10);
}

#[test]
fn an_address_that_is_anothers_is_declined_and_left_alone() {
    let (mut client, mut server) = (client(7), server());
    let mut heard = client.step(ClientEvent::Time, 0).send.remove(0).message;
    let mut out = ClientOutput::default();
    for _ in 0..2 {
        let answer = server.answer(&heard, heard.mac, 0).unwrap();
        out = client.step(ClientEvent::Heard(Box::new(answer.message)), 0);
        if let Some(sent) = out.send.first() {
            heard = sent.message.clone();
        }
    }
    assert_eq!(out.news, Some(News::Probe(Ipv4Addr::new(10, 77, 0, 100))));
    let out = client.step(ClientEvent::Taken, 100);
    assert_eq!(out.send[0].message.kind, MessageKind::Decline);
    assert!(server.answer(&out.send[0].message, MAC, 0).is_none());
    assert_eq!(client.wake(), Some(10_100));
    let lease = bound(talk(&mut client, &mut server, 10_200));
    assert_eq!(lease.address, Ipv4Addr::new(10, 77, 0, 102));
    // Nothing is free: silence.
    let mut third = self::client(8);
    assert_eq!(talk(&mut third, &mut server, 10_300), None);
    // Ten minutes later it is.
    assert_eq!(
        bound(talk(&mut third, &mut server, 700_000)).address,
        Ipv4Addr::new(10, 77, 0, 100)
    );
}

#[test]
fn a_card_with_a_fixed_address_gets_it_and_nobody_else_does() {
    let mut server = server();
    let lease = bound(talk(&mut client(9), &mut server, 0));
    assert_eq!(lease.address, Ipv4Addr::new(10, 77, 0, 9));
    let mut wants = Message::new(MessageKind::Request, 1, MAC);
    let want = |message: &mut Message, address| {
        message
            .options
            .set_addresses(options::REQUESTED, &[address]);
    };
    for wrong in [
        Ipv4Addr::new(10, 77, 0, 9),
        Ipv4Addr::new(10, 77, 0, 1),
        Ipv4Addr::new(10, 77, 0, 101),
        Ipv4Addr::new(10, 77, 0, 255),
        Ipv4Addr::new(192, 0, 2, 1),
    ] {
        want(&mut wants, wrong);
        let answer = server.answer(&wants, MAC, 0).unwrap();
        assert_eq!(answer.message.kind, MessageKind::Nak, "{wrong}");
    }
    // One of the pool that is free: an old client that comes back.
    want(&mut wants, Ipv4Addr::new(10, 77, 0, 102));
    assert_eq!(
        server.answer(&wants, MAC, 0).unwrap().message.kind,
        MessageKind::Ack
    );
    // Not for somebody else's card, nor by a relay.
    assert!(server.answer(&wants, [2; 6], 0).is_none());
    wants.relay = Ipv4Addr::new(10, 77, 0, 50);
    assert!(server.answer(&wants, MAC, 0).is_none());
}

#[test]
fn what_others_say_is_not_believed() {
    let (mut client, mut server) = (client(7), server());
    let discover = client.step(ClientEvent::Time, 0).send.remove(0).message;
    let offer = server.answer(&discover, MAC, 0).unwrap().message;
    let change = |change: fn(&mut Message)| {
        let mut other = offer.clone();
        change(&mut other);
        Box::new(other)
    };
    let wrong: [fn(&mut Message); 8] = [
        |m| m.transaction ^= 1,
        |m| m.mac[0] ^= 4,
        |m| m.kind = MessageKind::Ack,
        |m| m.yours = Ipv4Addr::new(127, 0, 0, 1),
        |m| m.yours = Ipv4Addr::new(224, 0, 0, 1),
        |m| m.options.set(options::SUBNET_MASK, &[255, 0, 255, 0]),
        |m| m.options.set(options::LEASE_TIME, &[1]),
        |m| m.options.set(options::SERVER, &[]),
    ];
    for wrong in wrong {
        let out = client.step(ClientEvent::Heard(change(wrong)), 1);
        assert_eq!(out, ClientOutput::default());
    }
    let request = client.step(ClientEvent::Heard(Box::new(offer)), 1);
    assert_eq!(request.send[0].message.kind, MessageKind::Request);
}

#[test]
fn options_go_on_elsewhere_and_in_parts() {
    let mut bytes = Message::new(MessageKind::Offer, 1, MAC).bytes();
    bytes.truncate(240);
    bytes.extend([53, 1, 2, 52, 1, 3, 15, 3, b'e', b'x', b'a', 255]);
    bytes[108..108 + 11]
        .copy_from_slice(&[15, 8, b'm', b'p', b'l', b'e', b'.', b'o', b'r', b'g', 255]);
    bytes[44..52].copy_from_slice(&[12, 3, b'w', b'e', b'b', 0, 0, 255]);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(
        message.options.name(options::DOMAIN).as_deref(),
        Some("example.org")
    );
    assert_eq!(
        message.options.name(options::HOST_NAME).as_deref(),
        Some("web")
    );
    for end in 0..bytes.len() {
        Message::parse(&bytes[..end]).map(|m| m.bytes()).ok();
    }
}

#[test]
fn domains_with_pointers_that_loop_end() {
    let list = |bytes: &[u8]| names::list(bytes);
    assert_eq!(
        list(b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04"),
        ["eng.apple.com", "marketing.apple.com"]
    );
    assert!(list(b"\xc0\x00").is_empty());
    assert!(list(b"\x01a\xc0\x00").is_empty());
    assert!(list(b"\x01a\xc0\x09").is_empty());
    assert!(list(b"\x40aaaa").is_empty());
    assert!(list(b"\x03a.b\x00").is_empty());
    assert!(list(b"\x03a\nb\x00").is_empty());
    assert!(list(&[b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(10)).is_empty());
}

#[test]
fn a_packet_is_read_as_it_was_written_and_not_otherwise() {
    let written = Datagram {
        from: Ipv4Addr::UNSPECIFIED,
        to: Ipv4Addr::BROADCAST,
        from_port: CLIENT_PORT,
        to_port: SERVER_PORT,
        data: b"jaula!!",
    };
    let packet = datagram(&written).unwrap();
    assert_eq!(read_datagram(&packet, false), Some(written));
    for at in 0..packet.len() {
        let mut other = packet.clone();
        other[at] ^= 0x10;
        assert_ne!(read_datagram(&other, false), Some(written), "{at}");
        assert_eq!(read_datagram(&packet[..at], false), None);
    }
    assert!(
        datagram(&Datagram {
            data: &[0; 65_508],
            ..written
        })
        .is_none()
    );
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(mut bytes in proptest::collection::vec(any::<u8>(), 0..700), good: bool) {
        if good && bytes.len() > 243 {
            bytes[0] = 1 + bytes[0] % 2;
            bytes[1..3].copy_from_slice(&[1, 6]);
            let kind = if bytes[0] == 1 { 3 } else { 5 };
            bytes[236..243].copy_from_slice(&[99, 130, 83, 99, 53, 1, kind]);
        }
        if let Ok(message) = Message::parse(&bytes) {
            let again = Message::parse(&message.bytes());
            prop_assert_eq!(again.as_ref().map(|m| &m.kind), Ok(&message.kind));
            Lease::of(&message);
            let mut server = server();
            server.answer(&message, message.mac, 0);
            let mut client = client(7);
            client.step(ClientEvent::Time, 0);
            client.step(ClientEvent::Heard(Box::new(message)), 0);
        }
        read_datagram(&bytes, true);
        names::list(&bytes);
    }

    #[test]
    fn whatever_clients_do_no_address_has_two(
        events in proptest::collection::vec((0u8..5, 3u8..9, 0u64..4000), 1..60)
    ) {
        let mut server = server();
        let mut now = 0;
        for (kind, who, later) in events {
            now += later;
            let kind = [MessageKind::Discover, MessageKind::Request, MessageKind::Release,
                MessageKind::Decline, MessageKind::Inform][usize::from(kind)];
            let mut message = Message::new(kind, 1, client_mac(who));
            let address = Ipv4Addr::new(10, 77, 0, 97 + who);
            message.options.set_addresses(options::REQUESTED, &[address]);
            message.client = address;
            if let Some(answer) = server.answer(&message, message.mac, now)
                && answer.message.kind == MessageKind::Ack && kind == MessageKind::Request {
                let row = &server.held()[&answer.message.yours];
                prop_assert_eq!(row.mac, client_mac(who));
                prop_assert!(answer.message.yours != Ipv4Addr::new(10, 77, 0, 101));
            }
            let mine = |who: u8| server.held().values().filter(|row| row.mac == client_mac(who)).count();
            prop_assert!((3..9).all(|who| mine(who) <= 2));
        }
    }
}
