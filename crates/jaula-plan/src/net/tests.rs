//! Plans as text, and every refusal.

use crate::facts::net::{
    AddressFacts, BY_KERNEL, BridgeFacts, LinkFacts, NetFacts, PortFacts, RouteFacts,
};
use crate::names::LinkName;
use crate::net::address::Cidr;
use crate::net::bridge::{
    NetPlan, plan_add, plan_attach, plan_bond, plan_detach, plan_rm, plan_vlan,
};
use crate::net::error::NetPlanError;
use crate::net::set::{plan_set, plan_set_port, read_link, read_port};
use crate::net::step::NetStep;
use crate::spec::net::{BondMode, BridgeSpec};

fn name(text: &str) -> LinkName {
    text.parse().expect(text)
}

fn cidr(text: &str) -> Cidr {
    text.parse().expect(text)
}

/// A host: eth0 with addresses and a default route, eth1 bare, wlan0, a bridge of libvirt's, one of ours with a
/// port and a guest.
fn host() -> NetFacts {
    let mut facts = NetFacts::default();
    let mut add = |text: &str| {
        let index = facts.links.len() as u32 + 1;
        facts.links.push(LinkFacts::new(index, name(text)));
        facts.links.len() - 1
    };
    let [lo, eth0, eth1, wlan0, virbr0, ours, port, guest, tun0] = [
        "lo", "eth0", "eth1", "wlan0", "virbr0", "ours", "port0", "v-web", "tun0",
    ]
    .map(&mut add);
    facts.links[lo].loopback = true;
    facts.links[eth0].mac = Some("1c:6f:65:a4:06:90".parse().expect("a mac"));
    facts.links[eth1].up = false;
    facts.links[wlan0].wireless = true;
    for at in [virbr0, ours] {
        facts.links[at].kind = Some("bridge".to_owned());
        facts.links[at].bridge = Some(BridgeFacts {
            priority: 0x8000,
            forward_delay: 1500,
            ..BridgeFacts::default()
        });
    }
    facts.links[ours].alias = Some("jaula".to_owned());
    for at in [port, guest] {
        facts.links[at].kind = Some("veth".to_owned());
        facts.links[at].master = Some(name("ours"));
        facts.links[at].port = Some(PortFacts::default());
    }
    facts.links[guest].leads_away = true;
    facts.links[tun0].ethernet = false;
    let address = |link: &str, text: &str| AddressFacts::new(name(link), cidr(text));
    facts.addresses = vec![
        address("lo", "127.0.0.1/8"),
        address("eth0", "10.9.0.5/24"),
        address("eth0", "fe80::1e6f:65ff:fea4:690/64"),
        address("eth0", "2001:db8::5/64"),
        address("ours", "10.77.0.1/24"),
    ];
    let kernel = |link: &str, text: &str| RouteFacts {
        protocol: BY_KERNEL,
        ..RouteFacts::new(cidr(text), None, name(link))
    };
    let via = "10.9.0.1".parse().expect("an address");
    facts.routes = vec![
        kernel("eth0", "10.9.0.0/24"),
        kernel("ours", "10.77.0.0/24"),
        RouteFacts::new(cidr("0.0.0.0/0"), Some(via), name("eth0")),
    ];
    facts
}

/// The host after a plan, as far as the plans look.
fn after(plan: &NetPlan, mut facts: NetFacts) -> NetFacts {
    for step in &plan.steps {
        let link = |name: &LinkName| {
            let at = facts.links.iter().position(|link| link.name == *name);
            at.expect("a link that is there")
        };
        match step {
            NetStep::AddLink { link } => {
                let index = facts.links.len() as u32 + 1;
                let mut new = LinkFacts::new(index, link.name.clone());
                new.kind = Some(link.kind.word().to_owned());
                new.alias = link.alias.clone();
                new.mac = link.mac;
                new.bridge = (link.kind.word() == "bridge").then(BridgeFacts::default);
                facts.links.push(new);
            }
            NetStep::RemoveLink { name, .. } => facts.links.retain(|link| link.name != *name),
            NetStep::SetLink { name, to, .. } => {
                let at = link(name);
                let link = &mut facts.links[at];
                link.up = to.up.unwrap_or(link.up);
                if let Some(alias) = &to.alias {
                    link.alias = (!alias.is_empty()).then(|| alias.clone());
                }
            }
            NetStep::SetMaster { name, to, .. } => {
                let at = link(name);
                facts.links[at].master = to.clone();
                facts.links[at].port = to.as_ref().map(|_| PortFacts::default());
            }
            NetStep::AddAddress { address } => facts.addresses.push(address.clone()),
            NetStep::RemoveAddress { address } => facts.addresses.retain(|a| a != address),
            NetStep::AddRoute { route } => facts.routes.push(route.clone()),
            NetStep::RemoveRoute { route } => facts.routes.retain(|r| r != route),
            _ => {}
        }
    }
    facts
}

fn bridge(text: &str, ports: &[&str]) -> BridgeSpec {
    BridgeSpec {
        ports: ports.iter().map(|port| name(port)).collect(),
        ..BridgeSpec::new(name(text))
    }
}

#[test]
fn a_bare_bridge_is_one_step() {
    let plan = plan_add(&bridge("alcantara", &[]), &host()).expect("a plan");
    assert_eq!(
        plan.to_string(),
        "make bridge alcantara\n  1. make bridge alcantara\n"
    );
    assert_eq!(
        plan.explain()[0].command,
        "ip link add name alcantara type bridge\nip link set dev alcantara alias jaula"
    );
}

#[test]
fn what_is_chosen_is_in_the_plan_and_in_its_commands() {
    let mut spec = bridge("alcantara", &["eth1"]);
    spec.addresses = vec![cidr("10.50.0.1/24"), cidr("fd00:50::1/64")];
    spec.set.stp = Some(true);
    spec.set.ageing_time = Some(1250);
    let plan = plan_add(&spec, &host()).expect("a plan");
    assert_eq!(
        plan.to_string(),
        "make bridge alcantara\n  \
         1. make bridge alcantara stp=on ageing=12.5\n  \
         2. give 10.50.0.1/24 to alcantara\n  \
         3. give fd00:50::1/64 to alcantara\n  \
         4. set alcantara up (was down)\n  \
         5. set eth1 up (was down)\n  \
         6. attach eth1 to alcantara\n"
    );
    let commands: Vec<_> = plan
        .explain()
        .into_iter()
        .map(|line| line.command)
        .collect();
    assert_eq!(
        commands[..4],
        [
            "ip link add name alcantara type bridge stp_state 1 ageing_time 1250\n\
             ip link set dev alcantara alias jaula",
            "ip address add 10.50.0.1/24 broadcast 10.50.0.255 dev alcantara",
            "ip address add fd00:50::1/64 dev alcantara nodad",
            "ip link set dev alcantara up",
        ]
    );
}

#[test]
fn addresses_and_routes_move_over_and_back() {
    let before = host();
    let mut spec = bridge("alcantara", &["eth0"]);
    spec.move_address = true;
    let plan = plan_add(&spec, &before).expect("a plan");
    assert_eq!(
        plan.to_string(),
        "make bridge alcantara\n  \
         1. make bridge alcantara mac=1c:6f:65:a4:06:90\n  \
         2. set alcantara up (was down)\n  \
         3. set eth0 mark=\"jaula-moved=10.9.0.5/24,2001:db8::5/64\" (was mark=\"\")\n  \
         4. attach eth0 to alcantara\n  \
         5. give 10.9.0.5/24 to alcantara\n  \
         6. give 2001:db8::5/64 to alcantara\n  \
         7. make route default via 10.9.0.1 by alcantara\n  \
         8. remove route default via 10.9.0.1 by eth0\n  \
         9. take 10.9.0.5/24 from eth0\n  \
         10. take 2001:db8::5/64 from eth0\n"
    );
    let during = after(&plan, before.clone());
    let own = |facts: &NetFacts, link: &str| {
        let mut all: Vec<_> = facts.addresses_of(&name(link)).map(|a| a.address).collect();
        all.sort();
        all
    };
    assert_eq!(own(&during, "eth0").len(), 1, "the kernel's own stays");
    let back = plan_rm(&name("alcantara"), false, &during).expect("a plan");
    let restored = after(&back, during);
    assert_eq!(restored.links, before.links);
    assert_eq!(own(&restored, "eth0"), own(&before, "eth0"));
    assert_eq!(restored.routes.len(), before.routes.len());
    for route in &before.routes {
        assert!(restored.routes.contains(route), "{route:?}");
    }
}

#[test]
fn detaching_is_the_way_back_too() {
    let before = host();
    let plan = plan_attach(&name("virbr0"), &[name("eth0")], true, &before).expect("a plan");
    let during = after(&plan, before.clone());
    let plan = plan_detach(&name("virbr0"), &[name("eth0")], &during).expect("a plan");
    assert_eq!(after(&plan, during).links, before.links);
}

#[test]
fn every_step_has_a_way_back_but_the_last() {
    let facts = host();
    let plan = plan_rm(&name("ours"), true, &facts).expect("a plan");
    let (last, others) = plan.steps.split_last().expect("steps");
    assert_eq!(last.inverse(), None);
    for step in others {
        let inverse = step.inverse().expect("a way back");
        let again = inverse.inverse().expect("a way back");
        // A link that was made is found again by its name alone.
        assert!(again == *step || matches!(step, NetStep::AddLink { .. }));
        let text = serde_json::to_string(&inverse).expect("JSON");
        assert_eq!(
            serde_json::from_str::<NetStep>(&text).expect("again"),
            inverse
        );
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, NetPlanError>) -> String {
    let error = result.expect_err("a refusal");
    let mut text = error.to_string();
    for hint in error.hints() {
        text.push_str("\nhint: ");
        text.push_str(&hint);
    }
    text
}

#[test]
fn names_are_free_and_links_are_there() {
    let facts = host();
    let add = |spec: &BridgeSpec| refused(plan_add(spec, &facts));
    assert_eq!(
        add(&bridge("virbr0", &[])),
        "there is a bridge named virbr0 already"
    );
    assert_eq!(
        add(&bridge("eth0", &[])),
        "there is a card named eth0 already"
    );
    assert_eq!(
        add(&bridge("alcantara", &["eth7"])),
        "there is no link named eth7\nhint: there are lo, eth0, eth1, wlan0, virbr0, ours, port0, v-web, tun0"
    );
    assert_eq!(
        "nombre_demasiado_largo"
            .parse::<LinkName>()
            .expect_err("too long")
            .to_string(),
        "link name \"nombre_demasiado_largo\" is longer than 15 characters"
    );
    for text in [
        "", ".", "..", "a/b", "a b", "a\tb", "-a", "a%d", "a:b", "a\u{7}",
    ] {
        text.parse::<LinkName>().expect_err(text);
    }
    "ñandú".parse::<LinkName>().expect("bytes are the limit");
    "ññññññññ".parse::<LinkName>().expect_err("sixteen bytes");
}

#[test]
fn what_cannot_be_a_port_says_why() {
    let facts = host();
    let attach = |port: &str| refused(plan_attach(&name("virbr0"), &[name(port)], false, &facts));
    assert_eq!(
        attach("ours"),
        "ours cannot be a port of virbr0: it is a bridge itself"
    );
    assert_eq!(
        attach("lo"),
        "lo cannot be a port of virbr0: it is the loopback"
    );
    assert_eq!(
        attach("port0"),
        "port0 cannot be a port of virbr0: it is a port of ours\nhint: jaula net detach ours port0"
    );
    assert_eq!(
        attach("wlan0"),
        "wlan0 cannot be a port of virbr0: a wireless card sends frames from its own address alone, so the kernel \
         refuses it\nhint: a bridge without wlan0 whose packets the host routes does the same for guests: \
         jaula net add virbr0 --addr 10.9.0.1/24 --uplink wlan0"
    );
    assert_eq!(
        attach("eth0"),
        "eth0 cannot be a port of virbr0: it has 10.9.0.5/24 and 2001:db8::5/64, which nobody would reach any more\n\
         hint: --move-address gives eth0's addresses and routes to virbr0, and back when it is detached"
    );
    assert!(attach("tun0").contains("no frames of Ethernet"));
    let twice = [name("eth1"), name("eth1")];
    assert!(refused(plan_attach(&name("virbr0"), &twice, false, &facts)).contains("twice"));
    let mut small = host();
    small.links[2].mtu = 1400;
    assert_eq!(
        refused(plan_attach(&name("ours"), &[name("eth1")], false, &small)),
        "eth1 cannot be a port of ours: its packets are of 1400 bytes at most, those of the bridge of 1500\n\
         hint: make them equal first: jaula net set eth1 mtu=1500"
    );
    // The first port decides where nobody else does.
    plan_attach(&name("virbr0"), &[name("eth1")], false, &small).expect("a plan");
    let plan = plan_add(&bridge("alcantara", &["eth1"]), &small).expect("a plan");
    assert!(plan.to_string().contains("mtu=1400"), "{plan}");
    assert_eq!(
        refused(plan_attach(&name("eth1"), &[name("eth0")], false, &facts)),
        "eth1 is a card, not a bridge"
    );
    assert_eq!(
        refused(plan_detach(&name("virbr0"), &[name("port0")], &facts)),
        "port0 is no port of virbr0\nhint: jaula net show virbr0 lists its ports"
    );
}

#[test]
fn addresses_are_free() {
    let facts = host();
    let add = |text: &str| {
        let mut spec = bridge("alcantara", &[]);
        spec.addresses = vec![cidr(text)];
        refused(plan_add(&spec, &facts))
    };
    assert_eq!(
        add("10.9.0.7/24"),
        "10.9.0.7/24 overlaps 10.9.0.0/24, which is reached by eth0\nhint: take another network, as of 10.0.0.0/8, \
         172.16.0.0/12, 192.168.0.0/16 or fd00::/8"
    );
    assert!(add("10.0.0.1/8").contains("overlaps 10.9.0.0/24"));
    assert!(add("10.77.0.129/25").contains("reached by ours"));
    assert!(add("2001:db8::1/32").contains("overlaps 2001:db8::5/128"));
    assert_eq!(
        add("10.50.0.0/24"),
        "10.50.0.0/24 cannot be the address of a link\nhint: 10.50.0.0/24 is the network; its first address is \
         10.50.0.1/24"
    );
    assert!(add("10.50.0.255/24").contains("cannot be the address"));
}

#[test]
fn what_is_not_ours_stays() {
    let facts = host();
    assert_eq!(
        refused(plan_rm(&name("virbr0"), false, &facts)),
        "virbr0 was not made by jaula but by libvirt\nhint: jaula net rm --force virbr0 removes it all the same; \
         whoever made it may want it"
    );
    let plan = plan_rm(&name("virbr0"), true, &facts).expect("forced");
    assert_eq!(
        plan.to_string(),
        "remove bridge virbr0\n  1. remove link virbr0\n  note: virbr0 was not made by jaula\n"
    );
    assert_eq!(
        refused(plan_rm(&name("ours"), false, &facts)),
        "ours is in use: 1 of its ports lead into other network namespaces (v-web)\nhint: end what uses it, or cut it \
         off with jaula net rm --force ours"
    );
    // What the bridge's firewall held would speak to the host itself.
    let plan = plan_rm(&name("ours"), true, &facts).expect("forced");
    assert_eq!(
        plan.to_string(),
        "remove bridge ours\n  1. detach port0 from ours\n  2. set v-web down (was up)\n  3. detach v-web from \
         ours\n  4. remove link ours\n"
    );
    // A card is never removed.
    refused(plan_rm(&name("eth1"), true, &facts));
    refused(plan_rm(&name("lo"), true, &facts));
}

#[test]
fn only_what_differs_is_set() {
    let facts = host();
    let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    let set = |text: &str| {
        let (link, bridge) = read_link(&words(text))?;
        plan_set(&name("ours"), &link, &bridge, &facts)
    };
    assert_eq!(
        set("stp=on priority=32768 fd=15 ageing=12.5 mtu=1400 up")
            .expect("a plan")
            .to_string(),
        "set ours\n  1. set ours stp=on ageing=12.5 (was stp=off ageing=0)\n  2. set ours mtu=1400 (was mtu=1500)\n"
    );
    assert_eq!(
        refused(set("priority=70000")),
        "the priority of a bridge is from 0 to 65535, not 70000"
    );
    assert_eq!(
        refused(set("stp=on fd=31")),
        "the forward delay in seconds is from 2 to 30, not 31"
    );
    assert_eq!(
        refused(set("stp=on fd=1.5")),
        "the forward delay in seconds is from 2 to 30, not 1.5"
    );
    for word in ["hello=0.9", "hello=11", "maxage=5", "maxage=41", "mtu=67"] {
        assert!(refused(set(word)).contains("is from"), "{word}");
    }
    for word in [
        "",
        "x",
        "stp",
        "stp=maybe",
        "fd=1.234",
        "fd=-1",
        "mac=01:00:00:00:00:00",
        "up=1",
    ] {
        assert!(
            refused(set(word)).contains("nothing that can be set"),
            "{word}"
        );
    }
    let port = |text: &str| {
        plan_set_port(
            &name("ours"),
            &name("port0"),
            &read_port(&words(text))?,
            &facts,
        )
    };
    assert_eq!(
        port("cost=10 hairpin=on isolated=off")
            .expect("a plan")
            .explain()[0]
            .command,
        "bridge link set dev port0 cost 10 hairpin on"
    );
    assert_eq!(
        refused(port("priority=64")),
        "the priority of a port is from 0 to 63, not 64"
    );
    refused(port("cost=0"));
    refused(plan_set_port(
        &name("ours"),
        &name("eth1"),
        &read_port(&words("cost=9")).expect("words"),
        &facts,
    ));
    let (link, bridge) = read_link(&words("stp=on")).expect("words");
    assert_eq!(
        refused(plan_set(&name("eth1"), &link, &bridge, &facts)),
        "eth1 is a card, not a bridge"
    );
}

#[test]
fn vlans_and_bonds() {
    let facts = host();
    let plan = plan_vlan(&name("eth0.7"), &name("eth0"), 7, &facts).expect("a plan");
    assert_eq!(
        plan.explain()[0].command,
        "ip link add name eth0.7 link eth0 type vlan id 7\nip link set dev eth0.7 alias jaula"
    );
    refused(plan_vlan(&name("x"), &name("eth0"), 4095, &facts));
    refused(plan_vlan(&name("x"), &name("lo"), 7, &facts));
    let two = [name("eth1"), name("eth0")];
    assert!(
        refused(plan_bond(&name("bond0"), BondMode::BalanceRr, &two, &facts)).contains("10.9.0.5")
    );
    let plan = plan_bond(&name("bond0"), BondMode::ActiveBackup, &two[..1], &facts);
    assert_eq!(
        plan.expect("a plan").to_string(),
        "make bond bond0\n  1. make bond bond0 active-backup\n  2. attach eth1 to bond0\n  3. set bond0 up (was down)\n"
    );
}

#[test]
fn every_reason_is_there_in_spanish() {
    use crate::explain::{Language, in_language};
    let facts = host();
    let mut spec = bridge("alcantara", &["eth0"]);
    spec.move_address = true;
    let (link, set) = read_link(&["stp=on".to_owned(), "mtu=1400".to_owned()]).expect("words");
    let two = [name("eth1")];
    let cost = read_port(&["cost=9".to_owned()]).expect("words");
    let plans = [
        plan_add(&spec, &facts),
        plan_rm(&name("ours"), true, &facts),
        plan_set(&name("ours"), &link, &set, &facts),
        plan_set_port(&name("ours"), &name("port0"), &cost, &facts),
        plan_vlan(&name("eth0.7"), &name("eth0"), 7, &facts),
        plan_bond(&name("bond0"), BondMode::Lacp, &two, &facts),
    ];
    for plan in plans {
        let lines = plan.expect("a plan").explain();
        let spanish = in_language(lines.clone(), Language::Spanish);
        for (line, spanish) in lines.iter().zip(&spanish) {
            assert_ne!(line.reason, spanish.reason);
        }
    }
}
