use super::*;
use proptest::prelude::*;
use std::net::IpAddr;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn guest(last: u8) -> Guest {
    Guest {
        port: format!("jv{last}"),
        mac: [2, 0, 0, 0, 0, last],
        addresses: vec![address(&format!("10.77.0.{last}"))],
        asks: false,
        publish: Vec::new(),
        access: Vec::new(),
        rate: None,
    }
}

fn network(guests: Vec<Guest>) -> Firewall {
    Firewall {
        bridge: "alcantara".into(),
        subnets: vec![Subnet {
            address: address("10.77.0.1"),
            prefix: 24,
        }],
        nat: true,
        ways: vec!["up0".into()],
        locals: Vec::new(),
        shared: false,
        open: false,
        dhcp: false,
        dns: false,
        guests,
    }
}

#[test]
fn ports_are_published_in_these_words() {
    for (text, shown) in [
        ("8080:80", "8080:80"),
        ("8080:80/tcp", "8080:80"),
        ("0.0.0.0:8080:80", "8080:80"),
        ("[::]:8080:80", "8080:80"),
        ("127.0.0.1:5353:53/udp", "127.0.0.1:5353:53/udp"),
        ("[2001:db8::1]:1:65535", "[2001:db8::1]:1:65535"),
    ] {
        assert_eq!(text.parse::<Publish>().unwrap().to_string(), shown);
    }
    for text in [
        "",
        "80",
        ":80",
        "80:",
        "0:80",
        "80:0",
        "80:65536",
        "+80:80",
        "80:80/sctp",
        "::1:80:80",
        "[1.2.3.4]:80:80",
        "host:80:80",
        "1.2.3:80:80",
        "80:80/",
        "80:80:80:80",
        " 80:80",
    ] {
        text.parse::<Publish>().unwrap_err();
    }
}

#[test]
fn destinations_are_said_in_these_words() {
    let net = |text: &str, prefix| Target::Net(address(text), prefix);
    let name = |name: &str, below| Target::Name {
        name: name.into(),
        below,
    };
    for (text, target, ports, protocol) in [
        ("192.0.2.7", net("192.0.2.7", 32), None, None),
        (
            "192.0.2.7/24:443",
            net("192.0.2.0", 24),
            Some((443, 443)),
            None,
        ),
        ("2001:db8::7", net("2001:db8::7", 128), None, None),
        ("2001:db8::7/32", net("2001:db8::", 32), None, None),
        (
            "[2001:db8::/33]:1-9/udp",
            net("2001:db8::", 33),
            Some((1, 9)),
            Some(Protocol::Udp),
        ),
        (
            "any:80/tcp",
            Target::Any,
            Some((80, 80)),
            Some(Protocol::Tcp),
        ),
        ("Example.ORG.", name("example.org", false), None, None),
        (
            "*.example.org:443",
            name("example.org", true),
            Some((443, 443)),
            None,
        ),
        ("0.0.0.0/0", net("0.0.0.0", 0), None, None),
    ] {
        let access = Access::parse(true, text).unwrap();
        let (from, to) = ports.unzip();
        assert_eq!(access.target, target, "{text}");
        assert_eq!(Access::parse(true, &access.to_string()), Ok(access.clone()));
        assert_eq!(access.ports.map(|p| p.from), from, "{text}");
        assert_eq!(access.ports.map(|p| p.to), to, "{text}");
        assert_eq!(access.protocol, protocol, "{text}");
    }
    for text in [
        "",
        ":80",
        "192.0.2.7/33",
        "::/129",
        "192.0.2.7/tcp",
        "192.0.2.7:9-1",
        "192.0.2.7:0",
        "1.2.3",
        "1.2.3.4.5",
        "-a.org",
        "a..org",
        "*.",
        "*",
        "*.*.org",
        "[::1",
        "[::1]80",
        "ex ample.org",
        "example.org/24",
        "exa\nmple.org",
    ] {
        Access::parse(true, text).unwrap_err();
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let refused = |network: &Firewall| network.tables().unwrap_err();
    let mut wrong = network(vec![guest(2), guest(2)]);
    assert!(matches!(refused(&wrong), FirewallError::Twice { .. }));
    wrong.guests[1] = guest(3);
    wrong.guests[1].addresses = vec![address("10.77.1.3")];
    assert!(matches!(refused(&wrong), FirewallError::Elsewhere { .. }));
    wrong.guests[1].addresses = vec![address("fd77::3")];
    assert!(matches!(refused(&wrong), FirewallError::Elsewhere { .. }));
    for name in [
        "",
        "a b",
        "a;drop",
        "\"",
        "a\n",
        "sixteenletters-x",
        "jaula@if2",
    ] {
        wrong.guests[1] = guest(3);
        wrong.guests[1].port = name.into();
        assert!(
            matches!(refused(&wrong), FirewallError::Name { .. }),
            "{name}"
        );
    }
    let publish = |texts: [&str; 2]| {
        let mut network = network(vec![guest(2), guest(3)]);
        for (guest, text) in network.guests.iter_mut().zip(texts) {
            guest.publish = vec![text.parse().unwrap()];
        }
        network
    };
    for twice in [
        ["80:80", "80:81"],
        ["80:80", "127.0.0.1:80:80"],
        ["10.0.0.1:80:80", "10.0.0.1:80:81"],
    ] {
        assert!(matches!(
            refused(&publish(twice)),
            FirewallError::PublishedTwice { port: 80, .. }
        ));
    }
    publish(["80:80", "80:80/udp"]).tables().unwrap();
    publish(["10.0.0.1:80:80", "10.0.0.2:80:80"])
        .tables()
        .unwrap();
    assert!(matches!(
        refused(&publish(["[2001:db8::1]:80:80", "81:80"])),
        FirewallError::NoAddress { port: 80 }
    ));
    let mut long = network(Vec::new());
    long.subnets[0].prefix = 33;
    assert!(matches!(refused(&long), FirewallError::Prefix { .. }));
}

#[test]
fn the_text_is_what_nft_reads() {
    let mut with = guest(2);
    with.publish = vec!["8080:80".parse().unwrap()];
    with.access = vec![Access::parse(false, "192.0.2.0/25:25/tcp").unwrap()];
    let [packets, frames] = network(vec![with]).tables().unwrap();
    let text = packets.to_string();
    for line in [
        "table inet jaula-alcantara {",
        "\tchain from-jv2 {",
        "\t\tip daddr 192.0.2.0/25 tcp dport 25 counter reject with icmpx admin-prohibited",
        "\t\ttype nat hook prerouting priority dstnat; policy accept;",
        "\t\tmeta nfproto ipv4 fib daddr type local tcp dport 8080 dnat ip to 10.77.0.2:80",
        "\t\tip saddr 10.77.0.0/24 oifname != \"alcantara\" masquerade",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    let text = frames.to_string();
    for line in [
        "\t\telements = { \"jv2\" . 02:00:00:00:00:02 }",
        "\t\tip daddr 192.0.2.0/25 tcp dport 25 tcp flags syn / syn,ack counter drop",
        "\t\tiifname . ether saddr != @cards drop",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn what_listens_at_the_loopback_of_ipv6_is_relayed() {
    let mut with = guest(2);
    with.publish = ["1:1", "[::1]:2:2", "127.0.0.1:3:3"]
        .map(|text| text.parse().unwrap())
        .to_vec();
    let relayed = network(vec![with]).relayed();
    let ports: Vec<u16> = relayed.iter().map(|(publish, _)| publish.port).collect();
    assert_eq!(ports, [1, 2]);
    assert!(relayed.iter().all(|(_, to)| *to == address("10.77.0.2")));
}

proptest! {
    #[test]
    fn no_words_are_too_strange(text in ".{0,40}") {
        if let Ok(publish) = text.parse::<Publish>() {
            prop_assert_eq!(publish.to_string().parse::<Publish>(), Ok(publish));
        }
        for allow in [true, false] {
            let mut with = guest(2);
            with.access.extend(Access::parse(allow, &text));
            if let Some(line) = with.access.first() {
                prop_assert_eq!(&Access::parse(allow, &line.to_string()), &Ok(line.clone()));
            }
            let [packets, frames] = network(vec![with]).tables().unwrap();
            let lines = format!("{packets}{frames}");
            prop_assert!(!lines.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        }
    }

    #[test]
    fn a_subnet_holds_what_shares_its_bits(a: u128, b: u128, prefix in 0u8..=128) {
        let address = |n: u128| IpAddr::V6(n.into());
        let subnet = Subnet { address: address(a), prefix };
        let shares = prefix == 0 || (a ^ b).leading_zeros() >= u32::from(prefix);
        prop_assert_eq!(subnet.holds(address(b)), shares);
    }
}

#[test]
fn who_answers_for_a_name_opens_nothing_of_this_host_or_its_cloud() {
    for closed in [
        "127.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fd00:ec2::254",
        "fd20:ce::254",
    ] {
        assert!(!may_be_named(address(closed)), "{closed}");
    }
    for open in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fd01::1"] {
        assert!(may_be_named(address(open)), "{open}");
    }
    let mut one = guest(2);
    for line in ["example.org", "192.0.2.7:443"] {
        one.access.push(Access::parse(true, line).unwrap());
    }
    let tables = network(vec![one]).tables().unwrap();
    let packets = tables.iter().find(|table| table.family == Family::Inet);
    let chains = &packets.unwrap().chains;
    let text = |name: &str| {
        let chain = chains.iter().find(|chain| chain.name == name).unwrap();
        let rules = chain.rules.iter().map(|rule| text::rule_text(rule));
        rules.collect::<Vec<_>>().join("\n")
    };
    assert!(
        text("from-jv2").contains("example.org"),
        "{}",
        text("from-jv2")
    );
    assert!(
        !text("to-host").contains("example.org"),
        "{}",
        text("to-host")
    );
    assert!(text("to-host").contains("192.0.2.7"), "{}", text("to-host"));
}
