//! Firewalls of networks in namespaces that play host, guests and the outside: what `nft` reads of them, and what
//! packets experience.

mod lab;

use jaula_engine::firewall::{self, Difference};
use jaula_plan::nft::{Access, Family, Publish};
use jaula_testkit::kernel_test;
use lab::{ask, firewall, ok, place, reached, serve, sh};

fn access(allow: bool, text: &str) -> Access {
    Access::parse(allow, text).unwrap()
}

fn publish(text: &str) -> Publish {
    text.parse().unwrap()
}

fn has_nft() -> bool {
    sh("nft --version").status.success()
}

/// A network with something of everything.
fn everything() -> jaula_plan::nft::Firewall {
    let mut wanted = firewall();
    wanted.guests[0].publish = vec![
        publish("8080:80"),
        publish("127.0.0.1:8081:80"),
        publish("[::1]:8081:80"),
        publish("198.51.100.1:5353:53/udp"),
    ];
    wanted.guests[0].rate = Some(10 << 20);
    wanted.guests[1].asks = true;
    wanted.guests[1].rate = Some(1_000_001);
    wanted.guests[1].access = vec![
        access(false, "10.0.0.0/9:25"),
        access(false, "192.0.2.0/24"),
        access(true, "198.51.100.2:7000-7010/tcp"),
        access(true, "[2001:db8::/33]:53/udp"),
        access(true, "example.org:443"),
        access(true, "*.example.org"),
        access(false, "any:22"),
    ];
    wanted
}

#[test]
fn nft_lists_what_the_text_says() {
    kernel_test!();
    if !has_nft() {
        jaula_testkit::skip!("no nft");
    }
    for wanted in [firewall(), everything()] {
        let tables = wanted.tables().unwrap();
        firewall::put(&tables).unwrap();
        for table in &tables {
            let listed = ok(&format!("nft list table {} {}", table.family, table.name));
            let listed = listed.replace("counter packets 0 bytes 0", "counter");
            assert_eq!(sorted(&table.to_string()), sorted(&listed));
        }
        assert_eq!(firewall::differences(&tables).unwrap(), []);
    }
}

/// A table's lines with the elements of sets in order: the kernel keeps none.
fn sorted(table: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut elements: Option<String> = None;
    for line in table.lines() {
        if let Some(all) = &mut elements {
            all.push_str(line.trim());
        } else if line.contains("elements = {") {
            elements = Some(line.trim().to_owned());
        } else {
            lines.push(line.to_owned());
        }
        if let Some(all) = elements.take_if(|all| all.ends_with('}')) {
            let inner = all.trim_start_matches("elements = {").trim_end_matches('}');
            let mut each: Vec<&str> = inner.split(',').map(str::trim).collect();
            each.sort_unstable();
            lines.push(each.join(", "));
        }
    }
    lines.join("\n")
}

#[test]
fn the_text_typed_into_nft_makes_the_same_table() {
    kernel_test!();
    if !has_nft() {
        jaula_testkit::skip!("no nft");
    }
    let tables = everything().tables().unwrap();
    let text: String = tables.iter().map(ToString::to_string).collect();
    std::fs::write("/tmp/jaula-nft-text", &text).unwrap();
    let loaded = sh("nft -f /tmp/jaula-nft-text");
    std::fs::remove_file("/tmp/jaula-nft-text").unwrap();
    assert!(loaded.status.success(), "{loaded:?}\n{text}");
    let listed = ok("nft list ruleset");
    ok("nft flush ruleset");
    firewall::put(&tables).unwrap();
    assert_eq!(sorted(&ok("nft list ruleset")), sorted(&listed));
}

#[test]
fn guests_reach_the_outside_and_nobody_reaches_them_unasked() {
    kernel_test!();
    lab::make();
    firewall::put(&firewall().tables().unwrap()).unwrap();
    let _wan = serve("wan", 7000);
    let _a = serve("a", 80);
    let _host = serve("host", 9000);
    // Out, under the host's address, in both families and protocols.
    for kind in ["tcp", "udp"] {
        assert_eq!(
            reached("a", kind, "198.51.100.2", 7000).as_deref(),
            Ok("198.51.100.1")
        );
        assert_eq!(
            reached("a", kind, "2001:db8::2", 7000).as_deref(),
            Ok("2001:db8::1")
        );
        // Neighbours see each other as they are.
        assert_eq!(
            reached("b", kind, "10.77.0.2", 80).as_deref(),
            Ok("10.77.0.3")
        );
        assert_eq!(reached("b", kind, "fd77::2", 80).as_deref(), Ok("fd77::3"));
        // Host, metadata, and from outside: closed.
        ok(&place(
            "wan",
            "ip route replace 10.77.0.0/24 via 198.51.100.1",
        ));
        ok(&place(
            "wan",
            "ip -6 route replace fd77::/64 via 2001:db8::1",
        ));
        ask("a", kind, "10.77.0.1", 9000).unwrap_err();
        ask("a", kind, "198.51.100.1", 9000).unwrap_err();
        ask("a", kind, "fd77::1", 9000).unwrap_err();
        ask("a", kind, "169.254.169.254", 7000).unwrap_err();
        ask("wan", kind, "10.77.0.2", 80).unwrap_err();
        ask("wan", kind, "fd77::2", 80).unwrap_err();
        // The host itself reaches its guests.
        assert_eq!(
            reached("host", kind, "10.77.0.2", 80).as_deref(),
            Ok("10.77.0.1")
        );
    }
    for address in [
        "10.77.0.1",
        "fd77::1",
        "10.77.0.3",
        "fd77::3",
        "198.51.100.2",
    ] {
        ok(&place("a", &format!("ping -q -c1 -W2 {address}")));
    }
    // Without our tables the same doors are open: the test can fail.
    assert!(firewall::remove("jb0").unwrap());
    assert_eq!(
        reached("a", "tcp", "10.77.0.1", 9000).as_deref(),
        Ok("10.77.0.2")
    );
    assert!(reached("wan", "tcp", "10.77.0.2", 80).is_ok());
    assert!(!firewall::remove("jb0").unwrap());
}

/// A bridge hands frames to the link-local group addresses of IEEE 802.1D to the host by the port itself.
#[test]
fn a_frame_that_goes_around_the_bridge_reaches_nothing() {
    kernel_test!();
    lab::make();
    firewall::put(&firewall().tables().unwrap()).unwrap();
    let _host = serve("host", 9000);
    ok("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.jv-a.rp_filter=0");
    for (address, group) in [("10.77.0.1", "0e"), ("fd77::1", "0e")] {
        ok(&place(
            "a",
            &format!("ip neigh replace {address} lladdr 01:80:c2:00:00:{group} dev eth0"),
        ));
        ask("a", "udp", address, 9000).unwrap_err();
    }
    // Without our tables something arrives, by the port: the test can fail.
    assert!(firewall::remove("jb0").unwrap());
    let arrived = || {
        let text = ok("nft list chain inet control seen");
        !text.contains("packets 0")
    };
    ok("nft add table inet control");
    ok("nft 'add chain inet control seen { type filter hook input priority 0; }'");
    ok("nft 'add rule inet control seen iifname \"jv-a\" udp dport 9000 counter'");
    ask("a", "udp", "10.77.0.1", 9000).ok();
    assert!(arrived(), "{}", ok("nft list table inet control"));
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    kernel_test!();
    lab::make();
    let mut wanted = firewall();
    wanted.guests[0].publish = vec![
        publish("8080:80"),
        publish("8080:80/udp"),
        publish("127.0.0.1:8081:80"),
        publish("198.51.100.1:8082:80"),
    ];
    firewall::put(&wanted.tables().unwrap()).unwrap();
    let _a = serve("a", 80);
    // Where frames between guests go through the host's firewall (br_netfilter), a guest that asks for its own published
    // port is answered by the bridge itself, at the port that it came by.
    ok("ip link set jv-a type bridge_slave hairpin on");
    for (kind, filtered) in [("tcp", 1), ("udp", 1), ("tcp", 0), ("udp", 0)] {
        for version in ["ip", "ip6"] {
            sh(&format!(
                "sysctl -qw net.bridge.bridge-nf-call-{version}tables={filtered}"
            ));
        }
        // From outside, with the source as it is.
        assert_eq!(
            reached("wan", kind, "198.51.100.1", 8080).as_deref(),
            Ok("198.51.100.2")
        );
        assert_eq!(
            reached("wan", kind, "2001:db8::1", 8080).as_deref(),
            Ok("2001:db8::2")
        );
        // From the host: its addresses, and localhost.
        for host in ["198.51.100.1", "10.77.0.1", "127.0.0.1", "2001:db8::1"] {
            reached("host", kind, host, 8080).unwrap_or_else(|e| panic!("{kind} {host}: {e}"));
        }
        // Where no rule can lead there, there is an answer at once: who asked tries IPv4.
        let refused = ask("host", kind, "::1", 8080).unwrap_err();
        assert!(refused.contains("refused"), "{refused}");
        // From a neighbour, and from the guest itself.
        for from in ["a", "b"] {
            for host in ["198.51.100.1", "10.77.0.1", "fd77::1", "2001:db8::1"] {
                reached(from, kind, host, 8080)
                    .unwrap_or_else(|e| panic!("{from} {kind} {host}: {e}"));
            }
        }
    }
    reached("host", "tcp", "127.0.0.1", 8081).unwrap();
    ask("host", "tcp", "198.51.100.1", 8081).unwrap_err();
    ask("wan", "tcp", "198.51.100.1", 8081).unwrap_err();
    reached("wan", "tcp", "198.51.100.1", 8082).unwrap();
    ask("host", "tcp", "10.77.0.1", 8082).unwrap_err();
    // What a guest sends to the host's loopback by hand does not arrive.
    let _host = serve("host", 9000);
    ok(&place("b", "ip route add 127.0.0.2 via 10.77.0.1"));
    ask("b", "tcp", "127.0.0.2", 9000).unwrap_err();
}

#[test]
fn a_list_decides_what_a_guest_reaches() {
    kernel_test!();
    lab::make();
    let mut wanted = firewall();
    wanted.guests[0].access = vec![
        access(false, "198.51.100.2:7001"),
        access(true, "198.51.100.2:7000-7002"),
        access(true, "10.77.0.1:9000/tcp"),
        access(true, "example.org:7003"),
    ];
    wanted.guests[1].access = vec![
        access(false, "10.77.0.2:80"),
        access(false, "2001:db8::/32"),
    ];
    let tables = wanted.tables().unwrap();
    firewall::put(&tables).unwrap();
    let _servers = [
        serve("wan", 7000),
        serve("wan", 7001),
        serve("wan", 7003),
        serve("host", 9000),
        serve("a", 80),
        serve("a", 81),
        serve("b", 82),
    ];
    for kind in ["tcp", "udp"] {
        reached("a", kind, "198.51.100.2", 7000).unwrap();
        ask("a", kind, "198.51.100.2", 7001).unwrap_err();
        ask("a", kind, "198.51.100.3", 7000).unwrap_err();
        ask("a", kind, "2001:db8::2", 7000).unwrap_err();
        // A neighbour is a destination as well.
        ask("a", kind, "10.77.0.3", 82).unwrap_err();
        ask("b", kind, "10.77.0.2", 80).unwrap_err();
        reached("b", kind, "198.51.100.2", 7001).unwrap();
        ask("b", kind, "2001:db8::2", 7001).unwrap_err();
    }
    // Answers to who may ask are no questions.
    reached("b", "tcp", "10.77.0.2", 81).unwrap();
    reached("a", "tcp", "10.77.0.1", 9000).unwrap();
    ask("b", "tcp", "10.77.0.1", 9000).unwrap_err();
    // A name: closed until somebody says what it stands for, and closed again after its time.
    ask("a", "tcp", "198.51.100.2", 7003).unwrap_err();
    let stands = |millis| {
        let lifetime = std::time::Duration::from_millis(millis);
        let addresses = [("198.51.100.2".parse().unwrap(), lifetime)];
        firewall::feed("jb0", ("example.org", false), &addresses).unwrap();
    };
    stands(60_000);
    reached("a", "tcp", "198.51.100.2", 7003).unwrap();
    stands(90_000);
    // Replacing the tables does not forget.
    firewall::put(&tables).unwrap();
    reached("a", "tcp", "198.51.100.2", 7003).unwrap();
    reached("b", "tcp", "198.51.100.2", 7003).unwrap();
    ok("nft flush set inet jaula-jb0 name4_example.org");
    ask("a", "tcp", "198.51.100.2", 7003).unwrap_err();
}

#[test]
fn a_guest_cannot_be_somebody_else() {
    kernel_test!();
    lab::make();
    let tables = firewall().tables().unwrap();
    firewall::put(&tables).unwrap();
    let _b = serve("b", 82);
    reached("a", "udp", "10.77.0.3", 82).unwrap();
    // Another address, of nobody or of the neighbour.
    let steal = [
        "ip addr add 10.77.0.9/24 dev eth0",
        "ip addr add fd77::9/64 dev eth0 nodad",
        "ip addr add 10.77.0.1/24 dev eth0",
    ];
    for line in steal {
        ok(&place("a", line));
    }
    for source in ["10.77.0.9", "fd77::9"] {
        let target = if source.contains(':') {
            "fd77::3"
        } else {
            "10.77.0.3"
        };
        let ping = format!("ping -q -c1 -W1 -I {source} {target}");
        assert!(!sh(&place("a", &ping)).status.success(), "{source}");
    }
    // The bridge's address is not taken over by whoever shouts.
    ok("ip neigh flush dev jb0");
    ok("command -v arping");
    // It says that nobody answered, as it should be.
    sh(&place("a", "arping -c1 -w1 -U -I eth0 10.77.0.1"));
    ok(&place("b", "ip neigh flush all"));
    ok(&place("b", "ping -q -c1 -W2 10.77.0.1"));
    let neighbours = ok(&place("b", "ip neigh show 10.77.0.1"));
    assert!(!neighbours.contains("02:00:00:00:00:0a"), "{neighbours}");
    // Another card.
    for line in steal {
        ok(&place(
            "a",
            &line.replace(" add ", " del ").replace(" nodad", ""),
        ));
    }
    ok(&place("a", "ping -q -c1 -W2 10.77.0.3"));
    ok(&place("a", "ip link set eth0 address 02:00:00:00:00:0c"));
    assert!(
        !sh(&place("a", "ping -q -c1 -W1 10.77.0.3"))
            .status
            .success()
    );
    // Without the table of frames it passes.
    ok("nft delete table bridge jaula-jb0");
    ok(&place("a", "ping -q -c1 -W2 10.77.0.3"));
    assert_eq!(
        firewall::heal(&tables).unwrap(),
        [Difference::NoTable(Family::Bridge)]
    );
    assert!(
        !sh(&place("a", "ping -q -c1 -W1 10.77.0.3"))
            .status
            .success()
    );
}

/// Says in a neighbour advertisement (RFC 4861 section 4.4) where an address is: card, source, address.
const ADVERT: &str = r#"
import ipaddress, socket, struct, sys
card, source, target = bytes.fromhex(sys.argv[1]), *(ipaddress.ip_address(a).packed for a in sys.argv[2:])
every = ipaddress.ip_address("ff02::1").packed
body = struct.pack(">BBHI", 136, 0, 0, 0x20000000) + target + b"\2\1" + card
data = source + every + struct.pack(">II", len(body), 58) + body
total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
while total >> 16: total = (total & 0xffff) + (total >> 16)
body = body[:2] + struct.pack(">H", total ^ 0xffff) + body[4:]
frame = bytes.fromhex("333300000001") + card + b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, len(body), 58, 255) + source + every + body
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0)); s.send(frame)
"#;

#[test]
fn nobody_says_where_anothers_address_of_ipv6_is() {
    kernel_test!();
    lab::make();
    ok("ip addr add fe80::1/64 dev jb0 nodad");
    let mut wanted = firewall();
    let tables = wanted.tables().unwrap();
    firewall::put(&tables).unwrap();
    let (own, b) = ("fe80::ff:fe00:a", "fe80::ff:fe00:b");
    // Whom everybody knows, and where he is.
    let meet = || {
        ok(&format!(
            "ping -q -c1 -W2 {b}%jb0 && ping -q -c1 -W2 fd77::3"
        ));
        ok(&place("b", "ping -q -c1 -W2 fe80::1%eth0"));
        ok(&place("b", "ping -q -c1 -W2 fd77::1"));
    };
    let says = |source: &str, target: &str| {
        let line = format!("python3 -c '{ADVERT}' 02000000000a {source} {target}");
        ok(&place("a", &line));
    };
    let misled = |victim: &str, link: &str, target: &str| {
        let line = format!("ip -6 neigh show {target} dev {link}");
        ok(&place(victim, &line)).contains("02:00:00:00:00:0a")
    };
    let lies = [
        ("host", "jb0", b),
        ("host", "jb0", "fd77::3"),
        ("b", "eth0", "fe80::1"),
        ("b", "eth0", "fd77::1"),
    ];
    meet();
    for asks in [false, true] {
        wanted.guests[0].asks = asks;
        firewall::put(&wanted.tables().unwrap()).unwrap();
        for (victim, link, target) in lies {
            says(own, target);
            assert!(!misled(victim, link, target), "{target}");
        }
    }
    // Somebody at a port where nobody is known is not who is known either.
    wanted.guests.remove(0);
    let stranger = wanted.tables().unwrap();
    firewall::put(&stranger).unwrap();
    for (victim, link, target) in lies {
        says(own, target);
        assert!(!misled(victim, link, target), "{target}");
    }
    says(b, b);
    assert!(!misled("host", "jb0", b));
    // It is the table that holds it back.
    ok("nft delete table bridge jaula-jb0");
    for (victim, link, target) in lies {
        says(own, target);
        assert!(misled(victim, link, target), "{target}");
    }
}

#[test]
fn what_others_flush_or_change_is_healed() {
    kernel_test!();
    lab::make();
    let tables = everything().tables().unwrap();
    firewall::put(&tables).unwrap();
    assert_eq!(firewall::heal(&tables).unwrap(), []);
    let _wan = serve("wan", 7000);
    ok("nft flush ruleset");
    ask("a", "tcp", "198.51.100.2", 7000).unwrap_err();
    assert_eq!(firewall::heal(&tables).unwrap().len(), 2);
    reached("a", "tcp", "198.51.100.2", 7000).unwrap();
    let wrong = [
        (
            "nft flush chain inet jaula-jb0 out",
            Difference::Rules("out".into()),
        ),
        (
            "nft add rule inet jaula-jb0 inward accept",
            Difference::Rules("inward".into()),
        ),
        (
            "nft insert rule inet jaula-jb0 out drop",
            Difference::Rules("out".into()),
        ),
        (
            "nft add chain inet jaula-jb0 more",
            Difference::ForeignChain("more".into()),
        ),
        (
            "nft add element bridge jaula-jb0 taken4 '{ 10.77.0.77 }'",
            Difference::Elements("taken4".into()),
        ),
        (
            "nft flush set bridge jaula-jb0 cards",
            Difference::Elements("cards".into()),
        ),
    ];
    for (line, difference) in wrong {
        ok(line);
        assert_eq!(firewall::heal(&tables).unwrap(), [difference], "{line}");
        assert_eq!(firewall::differences(&tables).unwrap(), [], "{line}");
    }
}

#[test]
fn a_thousand_guests_are_put_at_once() {
    kernel_test!();
    let mut wanted = firewall();
    let one = wanted.guests[0].clone();
    wanted.guests = (0..1000u16)
        .map(|n| {
            let [high, low] = (n + 258).to_be_bytes();
            let mut guest = one.clone();
            guest.port = format!("jv{n}");
            guest.mac = [2, 0, 0, 0, high, low];
            guest.addresses = vec![
                std::net::Ipv4Addr::new(10, 77, high, low).into(),
                format!("fd77::{:x}", n + 2).parse().unwrap(),
            ];
            guest
        })
        .collect();
    wanted.subnets[0].prefix = 16;
    let tables = wanted.tables().unwrap();
    let start = std::time::Instant::now();
    firewall::put(&tables).unwrap();
    eprintln!("1000 guests: {:?}", start.elapsed());
    assert_eq!(firewall::differences(&tables).unwrap(), []);
    firewall::put(&tables).unwrap();
    assert!(firewall::remove("jb0").unwrap());
}

/// Rules as Docker, firewalld and ufw write them, and what has to be said to each of them.
const OTHERS: [(&str, &str, &str); 4] = [
    (
        "Docker",
        "table ip filter { chain DOCKER-USER { return; }
         chain DOCKER { }
         chain FORWARD { type filter hook forward priority 0; policy drop; counter jump DOCKER-USER
           iifname \"docker0\" counter accept; } }",
        "nft insert rule ip filter DOCKER-USER iifname jb0 accept; nft insert rule ip filter DOCKER-USER oifname jb0 accept",
    ),
    (
        "firewalld",
        "table inet firewalld { chain filter_FORWARD_IN_ZONES { } chain filter_FORWARD { type filter hook forward priority 10
           policy accept; ct state established,related accept; jump filter_FORWARD_IN_ZONES; reject with icmpx admin-prohibited; } }",
        "nft add rule inet firewalld filter_FORWARD_IN_ZONES iifname jb0 accept",
    ),
    (
        "ufw",
        "table ip filter { chain ufw-user-forward { } chain FORWARD { type filter hook forward priority 0; policy drop
           ct state established,related accept; jump ufw-user-forward; } }",
        "nft add rule ip filter ufw-user-forward iifname jb0 accept",
    ),
    (
        "somebody else",
        "table inet mine { chain forward { type filter hook forward priority 0; policy drop; ct state established accept; } }",
        "",
    ),
];

#[test]
fn who_stands_in_the_way_is_named_and_can_be_asked() {
    kernel_test!();
    if !has_nft() {
        jaula_testkit::skip!("no nft");
    }
    lab::make();
    let tables = firewall().tables().unwrap();
    let _wan = serve("wan", 7000);
    for (owner, ruleset, asked) in OTHERS {
        ok("nft flush ruleset");
        std::fs::write(
            "/run/others.nft",
            ruleset.replace(';', "\n").replace('}', "\n}\n"),
        )
        .unwrap();
        ok("nft -f /run/others.nft");
        let before = ok("nft -s list ruleset");
        firewall::put(&tables).unwrap();
        // An `accept` of ours does not overrule them, and nothing of theirs was touched.
        ask("a", "tcp", "198.51.100.2", 7000).unwrap_err();
        let found = firewall::others("jb0").unwrap();
        let [other] = found.as_slice() else {
            panic!("{owner}: {found:?}")
        };
        assert_eq!(other.owner, owner);
        assert!(other.stands_in_the_way(), "{other:?}");
        let hint = other.hint("jb0");
        assert!(hint.contains("jb0"), "{hint}");
        firewall::remove("jb0").unwrap();
        assert_eq!(ok("nft -s list ruleset"), before);
        // After that it is not in the way, and packets say the same.
        firewall::put(&tables).unwrap();
        let asked = if asked.is_empty() { &hint } else { asked };
        ok(&asked.replace("jb0", "\"jb0\"").replace("\"\"", "\""));
        let found = firewall::others("jb0").unwrap();
        assert!(!found[0].stands_in_the_way(), "{owner}: {found:?}");
        reached("a", "tcp", "198.51.100.2", 7000).unwrap_or_else(|e| panic!("{owner}: {e}"));
        // They reload: theirs is as before, ours is gone until it is healed.
        ok("nft flush ruleset; nft -f /run/others.nft");
        ok(&asked.replace("jb0", "\"jb0\"").replace("\"\"", "\""));
        assert_eq!(firewall::heal(&tables).unwrap().len(), 2);
        reached("a", "tcp", "198.51.100.2", 7000).unwrap();
    }
}
