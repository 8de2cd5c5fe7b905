use super::*;
use crate::explain::{Language, in_language, script};
use crate::spec::lab::parse;
use std::path::Path;

/// Two LANs, two routers and a link between them.
const TWO: &str = r#"
[[lan]]
name = "left"
subnets = ["10.1.0.0/24", "fd01::/64"]

[[lan]]
name = "right"
subnets = ["10.2.0.0/24", "fd02::/64"]

[[router]]
name = "r1"
lans = ["left"]

[[router]]
name = "r2"
lans = ["right"]
addresses = ["10.2.0.254"]

[[link]]
ends = ["r1", "r2"]
rate = "10mbit"
delay = "20ms"
loss = "0.5%"

[[host]]
name = "ana"
lan = "left"

[[host]]
name = "bob"
lan = "right"
run = ["python3", "-m", "http.server"]
"#;

fn plan(text: &str) -> LabPlan {
    try_plan(text, LabFacts::ALL).expect("a plan")
}

fn try_plan(text: &str, facts: LabFacts) -> Result<LabPlan, LabError> {
    plan_lab(&parse(Path::new("two.toml"), text)?, &facts)
}

#[test]
fn two_lans_two_routers() {
    let text = plan(TWO).to_string();
    let wanted = "\
start lab two
  new user, network and process namespaces, held by a process
  switch left 10.1.0.0/24 fd01::/64
  switch right 10.2.0.0/24 fd02::/64
  cable r1:eth0 - left:p0b
  cable r2:eth0 - right:p1b
  cable ana:eth0 - left:p2b
  cable bob:eth0 - right:p3b
  cable r1:eth1 - r2:eth1, netem delay 20000us loss 0.5000% rate 10000000bit
  router r1
    eth0 02:6a:61:00:00:01 10.1.0.1/24 fd01::1/64
    eth1 02:6a:61:00:00:02 10.0.1.1/24 fd00:0:0:1::1/64
    route 10.2.0.0/24 via 10.0.1.2
    route fd02::/64 via fd00:0:0:1::2
  router r2
    eth0 02:6a:61:00:00:03 10.2.0.254/24 fd02::1/64
    eth1 02:6a:61:00:00:04 10.0.1.2/24 fd00:0:0:1::2/64
    route 10.1.0.0/24 via 10.0.1.1
    route fd01::/64 via fd00:0:0:1::1
  host ana
    eth0 02:6a:61:00:00:05 10.1.0.2/24 fd01::2/64
    route default via 10.1.0.1
    route default via fd01::1
  host bob
    eth0 02:6a:61:00:00:06 10.2.0.1/24 fd02::2/64
    route default via 10.2.0.254
    route default via fd02::1
    run python3 -m http.server
";
    assert_eq!(text, wanted, "{text}");
}

#[test]
fn a_plan_is_read_back_as_it_was_written() {
    let plan = plan(TWO);
    let text = serde_json::to_string(&plan).expect("json");
    assert_eq!(
        serde_json::from_str::<LabPlan>(&text).expect("a plan"),
        plan
    );
}

#[test]
fn the_drawing_shows_every_lan_and_link() {
    let plan = plan(TWO);
    let wanted = "\
+-- LAN left  10.1.0.0/24 fd01::/64
|- r1 (router)  eth0  10.1.0.1/24 fd01::1/64
`- ana          eth0  10.1.0.2/24 fd01::2/64

+-- LAN right  10.2.0.0/24 fd02::/64
|- r2 (router)  eth0  10.2.0.254/24 fd02::1/64
`- bob          eth0  10.2.0.1/24 fd02::2/64

r1 (router) eth1 ------ ------ eth1 r2 (router)  [netem delay 20000us loss 0.5000% rate 10000000bit]
    10.0.1.1/24 fd00:0:0:1::1/64
    10.0.1.2/24 fd00:0:0:1::2/64
";
    let text = drawing(&plan, true);
    assert_eq!(text, wanted, "{text}");
    assert!(drawing(&plan, false).contains("├─ r1 (router)"));
    assert!(dot(&plan).contains("\"r1\" -- \"r2\" [label=\"netem"));
    let svg = svg(&plan);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<line ").count(), 5);
}

#[test]
fn the_explanation_is_a_script_in_two_languages() {
    let lines = plan(TWO).explain();
    let text = script(&lines);
    for wanted in [
        "# the switch of LAN left\nip link add left type bridge; ip link set left up\n",
        "ip link add eth0 address 02:6a:61:00:00:01 netns r1 type veth peer p0b; ip link set p0b master left up\n",
        "ip -n ana addr add 10.1.0.2/24 dev eth0; ip -n ana addr add fd01::2/64 dev eth0 nodad; ip -n ana link set eth0 up\n",
        "ip -n ana route add default via 10.1.0.1 dev eth0 proto static\n",
        "ip netns exec r1 sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1\n",
        "tc -n r1 qdisc add dev eth1 root netem delay 20000us loss 0.5000% rate 10000000bit\n",
        "ip netns exec bob python3 -m http.server &\n",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    let spanish = in_language(lines.clone(), Language::Spanish);
    for (english, spanish) in lines.iter().zip(&spanish) {
        assert_ne!(english.reason, spanish.reason, "{}", english.reason);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let lan = |name: &str, subnet: &str| {
        format!("[[lan]]\nname = \"{name}\"\nsubnets = [\"{subnet}\"]\n")
    };
    let host = |name: &str, lan: &str| format!("[[host]]\nname = \"{name}\"\nlan = \"{lan}\"\n");
    let a = lan("a", "10.1.0.0/24");
    let cases = [
        (format!("{a}{}{}", host("h", "a"), host("h", "a")), "8:8: there is a host h already, in line 5"),
        (format!("{a}{}", host("a", "a")), "5:8: there is a LAN a already, in line 2"),
        (format!("{}{}", lan("office", "10.1.0.0/24"), host("h", "ofice")), "6:7: there is no LAN \"ofice\"; did you mean \"office\"?"),
        (format!("{a}{}[[host]]\nname = \"x\"\n", host("h", "a")), "8:8: x cannot be reached from h: no LAN, link or router joins them"),
        (format!("{a}{}", lan("b", "10.1.0.128/25")), "6:12: 10.1.0.128/25 overlaps 10.1.0.0/24, which is that of a"),
        (format!("{a}{}addresses = [\"10.2.0.1\"]\n", host("h", "a")), "7:14: 10.2.0.1 is of none of the networks of h: 10.1.0.0/24"),
        (format!("{a}{}addresses = [\"10.1.0.255\"]\n", host("h", "a")), "7:14: 10.1.0.255 cannot be a node's address in 10.1.0.0/24"),
        (format!("{a}{0}addresses = [\"10.1.0.9\"]\n{1}addresses = [\"10.1.0.9\"]\n", host("h", "a"), host("i", "a")), "11:14: 10.1.0.9 is that of h already"),
        (lan("sixteen-letters-", "10.1.0.0/24"), "2:8: link name \"sixteen-letters-\" is longer than 15 characters"),
        (format!("{a}{}[[link]]\nends = [\"a\", \"b\"]\n[[link]]\nends = [\"b\", \"a\"]\n", "[[lan]]\nname = \"b\"\n"), "9:14: b and a are joined already: frames would go round for ever"),
        (format!("{a}[[link]]\nends = [\"a\", \"a\"]\n"), "5:14: a and a are joined already: frames would go round for ever"),
        ("[[host]]\nname = \"h\"\nlann = \"a\"\n".to_owned(), "3:1: [[host]] has no key \"lann\"; did you mean \"lan\"?"),
        ("routes = \"aut\"\n".to_owned(), "1:10: routes cannot be \"aut\": there are auto, none; did you mean \"auto\"?"),
        (format!("{a}{}{}", lan("b", "10.1.1.1/24"), host("h", "a")), "6:12: 10.1.1.1/24 is an address, not a network: did you mean 10.1.1.0/24?"),
        ("[[lan]]\nname = \"t\"\nsubnets = [\"10.1.0.0/30\"]\n[[host]]\nname=\"a\"\nlan=\"t\"\n[[host]]\nname=\"b\"\nlan=\"t\"\n[[host]]\nname=\"c\"\nlan=\"t\"\n".to_owned(), "11:6: 10.1.0.0/30 has no address left for c"),
        ("mtu = 100\n".to_owned(), "1:7: mtu is from 1280 to 65535, not 100"),
        (format!("{a}rate = \"10mb\"\n"), "4:8: rate cannot be \"10mb\": write it as 10mbit"),
        (format!("{a}{}gateway = \"10.9.0.1\"\n", host("h", "a")), "7:11: 10.9.0.1 is on none of the networks of h"),
        ("[[link]]\nends = [\"a\"]\n".to_owned(), "2:8: a link has two ends, not 1"),
        ("[[lan]\n".to_owned(), "1:"),
    ];
    for (text, wanted) in cases {
        let error = try_plan(&text, LabFacts::ALL)
            .expect_err(wanted)
            .to_string();
        assert!(
            error.starts_with(&format!("two.toml:{wanted}")),
            "{error}\nwanted {wanted}\n{text}"
        );
    }
}

#[test]
fn a_loop_of_switches_needs_one_that_breaks_it() {
    let text = "[[lan]]\nname=\"a\"\n[[lan]]\nname=\"b\"\nstp=true\n[[link]]\nends=[\"a\",\"b\"]\n[[link]]\nends=[\"a\",\"b\"]\n";
    let plan = plan(text);
    assert_eq!(plan.switches[0].subnets, plan.switches[1].subnets);
    assert!(plan.to_string().contains("cable a:p1 - b:p1b"));
}

#[test]
fn what_the_kernel_lacks_is_refused_or_left_out() {
    let none = LabFacts {
        netem: false,
        tbf: true,
    };
    let error = try_plan(TWO, none).expect_err("no netem");
    assert_eq!(
        error.to_string(),
        "two.toml:19:1: this kernel has no netem, so a link cannot have a delay"
    );
    assert!(error.hint().expect("a hint").contains("best-effort"));
    let plan = try_plan(&format!("best-effort = true\n{TWO}"), none).expect("a plan");
    assert_eq!(
        plan.notes,
        ["line 20: this kernel has no netem, so a link cannot have a delay: left out"]
    );
    let text = plan.to_string();
    assert!(
        text.contains("tbf rate 10000000bit burst 12500b limit 62500b"),
        "{text}"
    );
}

#[test]
fn nobody_outside_knows_what_is_behind_nat() {
    let text = "[[lan]]\nname=\"in\"\n[[lan]]\nname=\"out\"\n[[router]]\nname=\"r\"\nlans=[\"in\",\"out\"]\nnat=[\"out\"]\n\
                [[host]]\nname=\"a\"\nlan=\"in\"\n[[host]]\nname=\"b\"\nlan=\"out\"\n";
    let plan = plan(text);
    let (_, inside) = plan.node("a").expect("a");
    let (_, outside) = plan.node("b").expect("b");
    assert_eq!(inside.routes.len(), 2);
    assert!(outside.routes.is_empty(), "{:?}", outside.routes);
    assert_eq!(plan.node("r").expect("r").1.nat, ["eth1"]);
}

#[test]
fn a_ring_is_gone_round_by_its_shorter_side() {
    let mut text = String::new();
    for i in 0..6 {
        text.push_str(&format!(
            "[[router]]\nname=\"r{i}\"\n[[link]]\nends=[\"r{i}\",\"r{}\"]\n",
            (i + 1) % 6
        ));
    }
    let plan = plan(&text);
    let (_, first) = plan.node("r0").expect("r0");
    // Six networks, two of them its own; of the other four two by each side.
    let four: Vec<&Way> = first
        .routes
        .iter()
        .filter(|way| way.to.address.is_ipv4())
        .collect();
    assert_eq!(four.len(), 4);
    let by = |interface| four.iter().filter(|way| way.interface == interface).count();
    assert_eq!((by(0), by(1)), (2, 2));
}

#[test]
fn a_large_lan_gets_a_large_network() {
    let mut text = String::from(
        "[[lan]]\nname=\"all\"\n[[lan]]\nname=\"few\"\n[[router]]\nname=\"r\"\nlans=[\"all\",\"few\"]\n",
    );
    for i in 0..300 {
        text.push_str(&format!("[[host]]\nname=\"h{i}\"\nlan=\"all\"\n"));
    }
    let plan = plan(&text);
    assert_eq!(plan.switches[0].subnets[0].to_string(), "10.0.16.0/20");
    assert_eq!(plan.switches[1].subnets[0].to_string(), "10.0.32.0/24");
    let (_, last) = plan.node("h299").expect("the last");
    assert_eq!(last.interfaces[0].addresses[0].to_string(), "10.0.17.45/20");
}
