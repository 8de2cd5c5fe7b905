//! Changes to networks: stopped at every point, and what is left; many in one batch.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests start programs and read the environment; the rules are for the engine itself"
)]

use jaula_engine::fault::{Faults, Mode};
use jaula_engine::gateway;
use jaula_engine::net::{NetChange, NetError, apply, networks};
use jaula_engine::recover::{leftovers, net_leftovers, recover};
use jaula_engine::store::Store;
use jaula_plan::facts::net::LinkFacts;
use jaula_plan::gateway::GatewaySpec;
use jaula_plan::names::LinkName;
use jaula_plan::spec::net::{BridgeSet, BridgeSpec, LinkSet, PortSet};
use jaula_sys::netlink::{Batch, NewLink, NewLinkKind, Socket};
use jaula_testkit::kernel_test;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Tells the inner run at which point, in which store and by which change it is stopped.
const STOPPED: &str = "JAULA_TEST_STOPPED";

fn sh(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", script])
        .output()
        .expect("sh");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn name(text: &str) -> LinkName {
    text.parse().expect(text)
}

/// Links that go at once are all gone, and nobody else's.
#[test]
fn many_links_go_at_once() {
    kernel_test!();
    sh(
        "ip link add br0 type bridge; ip link add stays type veth peer name too
        for k in $(seq 20); do ip link add v$k master br0 type veth peer name g$k; done",
    );
    let mut socket = Socket::open().expect("a socket");
    let links = socket.links().expect("links");
    let mut batch = Batch::new();
    let ports = links.iter().filter(|link| link.name.starts_with('v'));
    batch.remove_links(ports.map(|link| (link.index, link.name.as_str())), 7_007);
    socket.apply(&batch).expect("removed");
    assert_eq!(
        sh("ip -oneline link | cut -d: -f2 | cut -d@ -f1 | sort")
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["br0", "lo", "stays", "too"]
    );
    // An end of a pair has one queue, as if nothing was said of queues.
    let peer = NewLink::new("b", NewLinkKind::Dummy);
    let mut batch = Batch::new();
    batch.add_link(&NewLink::new("a", NewLinkKind::Veth(&peer)));
    socket.apply(&batch).expect("made");
    assert_eq!(
        sh(
            "ip -d link show a | grep -o 'num[tr]xqueues [0-9]*'; ip -d link show b | grep -o 'num[tr]xqueues [0-9]*'"
        ),
        "numtxqueues 1\nnumrxqueues 1\n".repeat(2)
    );
}

/// A host with a card that it is reached by.
const HOST: &str = "ip link set lo up
    sysctl -qw net.ipv6.conf.default.addr_gen_mode=1
    ip link add eth0 address 1c:6f:65:a4:06:90 type veth peer name p0; ip link set p0 up; ip link set eth0 up
    ip address add 10.9.0.5/24 dev eth0; ip address add 2001:db8:9::5/64 dev eth0 nodad
    ip route add default via 10.9.0.1; ip route add 198.51.100.0/24 via 10.9.0.7 metric 9";

/// Links, addresses and routes, without what counts or ages, and without carriers, which come and go by themselves.
fn world() -> String {
    sh(
        "{ ip link; ip -oneline address; ip route show table all; ip -6 route show table all; } \
        | sed 's/^[0-9]*: //; s/,LOWER_UP//; s/NO-CARRIER,//; s/ state [A-Z]*//; s/ linkdown//'",
    )
}

/// The changes, each possible once those before it are made.
fn changes() -> Vec<NetChange> {
    let bridge = name("alcantara");
    let mut add = BridgeSpec::new(bridge.clone());
    add.ports = vec![name("eth0")];
    add.move_address = true;
    add.addresses = vec!["10.50.0.1/24".parse().expect("an address")];
    let set = BridgeSet {
        stp: Some(true),
        priority: Some(4096),
        ..BridgeSet::default()
    };
    let link = LinkSet {
        mtu: Some(1400),
        ..LinkSet::default()
    };
    let port = PortSet {
        cost: Some(7),
        hairpin: Some(true),
        ..PortSet::default()
    };
    vec![
        NetChange::Add(add),
        NetChange::Set {
            name: bridge.clone(),
            link,
            bridge: set,
        },
        NetChange::SetPort {
            bridge: bridge.clone(),
            port: name("eth0"),
            set: port,
        },
        NetChange::Detach {
            bridge: bridge.clone(),
            ports: vec![name("eth0")],
        },
        NetChange::Attach {
            bridge: bridge.clone(),
            ports: vec![name("eth0")],
            move_address: true,
        },
        NetChange::Remove {
            name: bridge,
            forced: false,
        },
    ]
}

fn make(store: &Store, change: &NetChange) -> Result<(), NetError> {
    let plan = change.plan(&networks()?)?;
    apply(store, &plan)
}

#[test]
fn a_change_killed_at_any_point_is_undone_by_recovery() {
    kernel_test!();
    let changes = changes();
    if let Some(at) = std::env::var_os(STOPPED) {
        let words = at.into_string().expect("words");
        let words: Vec<_> = words.split(' ').collect();
        let [point, number, root] = words[..] else {
            panic!("three words");
        };
        let number: usize = number.parse().expect("a number");
        let faults = Arc::new(Faults::after(point.parse().expect("a number"), Mode::Kill));
        let store = Store::open(root).expect("the store").with_faults(faults);
        make(&store, &changes[number]).expect("made");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("store")).expect("a store");
    sh(HOST);
    let untouched = world();
    let program = std::env::current_exe().expect("this program");
    for (number, _) in changes.iter().enumerate() {
        let before = world();
        let mut point = 0;
        loop {
            let words = format!("{point} {number} {}", store.root().display());
            let status = Command::new(&program)
                .args([
                    "--exact",
                    "a_change_killed_at_any_point_is_undone_by_recovery",
                ])
                .env(STOPPED, words)
                .stdout(Stdio::null())
                .stderr(Stdio::inherit())
                .status()
                .expect("this program");
            if status.signal() != Some(9) {
                assert!(status.success(), "{number}.{point}");
                break;
            }
            let (_, errors) = recover(&store).expect("recovery");
            assert!(errors.is_empty(), "{number}.{point}: {errors:?}");
            assert!(
                leftovers(&store).expect("a list").is_empty(),
                "{number}.{point}"
            );
            // The way to no return is the last: the bridge without ports is ours still, and goes the next time.
            if number + 1 == changes.len() && world() != before {
                assert!(world().contains("alcantara: <BROADCAST,MULTICAST,UP"));
                assert!(!world().contains("master alcantara"));
                break;
            }
            assert_eq!(world(), before, "{number}.{point}");
            point += 1;
        }
        assert!(point >= 3, "{number}: {point}");
    }
    if world() != untouched {
        make(&store, changes.last().expect("the last")).expect("removed");
    }
    assert_eq!(world(), untouched);
}

/// The exit code of a test whose child was killed.
const KILLED: i32 = 137;

#[test]
fn what_a_bridge_gives_is_undone_when_it_was_killed_at_any_point() {
    kernel_test!();
    let spec = GatewaySpec {
        bridge: name("alcantara"),
        nat: true,
        uplink: None,
        dhcp: false,
        // Who serves is started by a process of one thread, which a test is not.
        dns: false,
    };
    let give = |store: &Store| {
        let plan = gateway::plan(store, &spec, &[]).expect("a plan");
        gateway::put(store, &plan)
    };
    if let Some(at) = std::env::var_os(STOPPED) {
        let words = at.into_string().expect("words");
        let (point, root) = words.split_once(' ').expect("two words");
        let faults = Arc::new(Faults::after(point.parse().expect("a number"), Mode::Kill));
        let store = Store::open(root).expect("the store").with_faults(faults);
        // Who starts the process that looks after the bridge has one thread.
        let mut alone = || u8::from(give(&store).is_err());
        let ended = jaula_sys::userns::fork(&mut alone).and_then(|child| child.wait());
        std::process::exit(ended.expect("a child").map_or(KILLED, i32::from));
    }
    if Command::new("nft").arg("--version").output().is_err() {
        jaula_testkit::skip!("no nft");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("store")).expect("a store");
    sh(HOST);
    sh(
        "ip link add alcantara type bridge; ip address add 10.50.0.1/24 dev alcantara; ip link set alcantara up",
    );
    let world = || {
        let all = "nft list ruleset; sysctl net.ipv4.conf.eth0.forwarding";
        let files = std::fs::read_dir(store.root().join("net")).into_iter();
        let files = files.flatten().flatten();
        (
            world(),
            sh(all),
            files.map(|entry| entry.file_name()).collect::<Vec<_>>(),
        )
    };
    let before = world();
    let program = std::env::current_exe().expect("this program");
    let mut point = 0;
    let mut struck = 0;
    loop {
        let status = Command::new(&program)
            .args([
                "--exact",
                "what_a_bridge_gives_is_undone_when_it_was_killed_at_any_point",
            ])
            .env(STOPPED, format!("{point} {}", store.root().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .status()
            .expect("this program");
        if status.code() != Some(KILLED) {
            assert!(status.success(), "{point}");
            break;
        }
        struck += usize::from(world() != before);
        let (_, errors) = recover(&store).expect("recovery");
        assert!(errors.is_empty(), "{point}: {errors:?}");
        assert_eq!(world(), before, "{point}");
        point += 1;
    }
    assert!(struck >= 3, "{struck} of {point}");
    assert!(world() != before);
    gateway::remove(&store, &spec.bridge).expect("removed");
    sh("sysctl -qw net.ipv4.conf.eth0.forwarding=0");
    assert_eq!(world(), before);
}

#[test]
fn a_change_that_fails_at_any_point_is_undone_at_once() {
    kernel_test!();
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("store");
    let sound = Store::open(&root).expect("a store");
    sh(HOST);
    for change in &changes()[..5] {
        let before = world();
        let planned = change.plan(&networks().expect("facts"));
        let steps = planned.expect("a plan").steps.len();
        for point in 0.. {
            let faults = Arc::new(Faults::after(point, Mode::Fail));
            let store = Store::open(&root)
                .expect("the store")
                .with_faults(faults.clone());
            let result = make(&store, change);
            if !faults.struck() {
                result.expect("made");
                break;
            }
            // The last point is past the change, and nothing of it is to be undone any more.
            if result.is_ok() || point as usize > steps && world() != before {
                assert_ne!(world(), before, "{point}");
                assert!(net_leftovers(&sound).expect("a list").is_empty());
                break;
            }
            assert_eq!(world(), before, "{point}");
            assert!(leftovers(&sound).expect("a list").is_empty(), "{point}");
            assert!(net_leftovers(&sound).expect("a list").is_empty(), "{point}");
        }
    }
}

#[test]
fn what_the_kernel_refuses_names_the_step_and_what_was_undone() {
    kernel_test!();
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("store")).expect("a store");
    sh(HOST);
    let mut spec = BridgeSpec::new(name("alcantara"));
    spec.ports = vec![name("eth0")];
    spec.move_address = true;
    let plan = NetChange::Add(spec).plan(&networks().expect("facts"));
    let plan = plan.expect("a plan");
    // The card goes meanwhile.
    sh("ip link delete eth0");
    let error = apply(&store, &plan).expect_err("the card is gone");
    assert!(
        error
            .to_string()
            .ends_with("(step 3 of 12); what was done is undone"),
        "{error}"
    );
    assert_eq!(networks().expect("facts").bridges(), [] as [&LinkFacts; 0]);
    // A link of that name that comes meanwhile is not ours, and stays.
    let spec = BridgeSpec::new(name("alcantara"));
    let plan = NetChange::Add(spec).plan(&networks().expect("facts"));
    sh("ip link add alcantara type bridge");
    apply(&store, &plan.expect("a plan")).expect_err("it is there");
    sh("ip link show alcantara");
}
