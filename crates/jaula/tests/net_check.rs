//! `jaula net check`: what stands in a network's way is named, each time another thing.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::{hermetic, kernel_test};
use std::process::{Child, Command, Output, Stdio};

fn sh(line: &str) -> Output {
    Command::new("bash").args(["-c", line]).output().unwrap()
}

#[track_caller]
fn ok(line: &str) -> String {
    let output = sh(line);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{text}{errors}");
    text
}

fn at(place: &str, line: &str) -> String {
    format!("nsenter --net=/run/netns/{place} {line}")
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A name server that has an answer without records for everything.
const SERVER: &str = r#"
import socket
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("198.51.100.2", 53))
while True:
    q, who = u.recvfrom(2000); u.sendto(q[:2] + b"\x81\x80\0\1\0\0\0\0\0\0" + q[12:], who)
"#;

fn world() {
    ok("mount -t tmpfs none /run && mkdir -p /run/netns && ip link set lo up");
    ok(
        "ip netns add wan && ip link add up0 type veth peer name eth0 netns wan \
        && ip addr add 198.51.100.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad && ip link set up0 up",
    );
    for line in [
        "ip link set lo up",
        "ip addr add 198.51.100.2/24 dev eth0",
        "ip addr add 2001:db8::2/64 dev eth0 nodad",
        "ip link set eth0 up",
    ] {
        ok(&at("wan", line));
    }
    ok("ip route add default via 198.51.100.2 && ip -6 route add default via 2001:db8::2");
    ok(
        "echo nameserver 198.51.100.2 >/run/resolv.conf && mount --bind /run/resolv.conf /etc/resolv.conf",
    );
}

#[test]
fn what_stands_in_the_way_is_named() {
    kernel_test!();
    if !sh("nft --version").status.success() {
        jaula_testkit::skip!("no nft");
    }
    world();
    let line = at("wan", &format!("python3 -c '{SERVER}'"));
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("exec {line}")])
        .stderr(Stdio::null());
    let names = Running(bash.spawn().unwrap());
    // It listens before anybody asks.
    let listens = at("wan", "ss -Hlnu 'sport = :53'");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while ok(&listens).is_empty() {
        assert!(std::time::Instant::now() < end, "no name server");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let host = hermetic!();
    host.run(&[
        "net",
        "add",
        "alcantara",
        "--addr",
        "10.77.0.1/24",
        "--addr",
        "fd77::1/64",
        "--nat",
        "--dns",
    ])
    .expect(0);
    // Somebody has the address that is tried first, and a link is called as one of the check's once was.
    ok(
        "ip netns add vm && ip link add jaula-check type veth peer name eth0 netns vm && ip link set jaula-check master alcantara up",
    );
    ok(&at("vm", "ip addr add 10.77.0.254/24 dev eth0"));
    ok(&at("vm", "ip link set eth0 up"));
    let links = ok("ip -o link | wc -l");
    let check = |code: i32| host.run(&["net", "check", "alcantara"]).expect(code).stdout;
    let text = check(0);
    for hop in [
        "ok      guest to bridge, 10.77.0.1: answered",
        "ok      guest to router, 198.51.100.2: answered",
        "ok      names of this network, 10.77.0.1: answered",
        "ok      names of others, 10.77.0.1: answered",
        "ok      guest to bridge, fd77::1: answered",
        "ok      guest to router, 2001:db8::2: answered",
        "ok      names of others, fd77::1: answered",
    ] {
        assert!(text.contains(hop), "{hop}\n{text}");
    }
    assert_eq!(ok("ip -o link | wc -l"), links);
    // Somebody flushed everything.
    ok("nft flush ruleset");
    let text = check(1);
    assert!(
        text.contains("the table of inet was gone") && text.contains("jaula net heal alcantara"),
        "{text}"
    );
    host.run(&["net", "heal"]).expect(0);
    // A firewall of somebody else.
    ok(
        "nft add table ip filter && nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }' \
        && nft add chain ip filter DOCKER-USER && nft add rule ip filter FORWARD jump DOCKER-USER",
    );
    let text = check(1);
    let router = "FAILED  guest to router, 198.51.100.2: no answer";
    let wall = "Docker's firewall: the chain FORWARD of table ip filter drops";
    assert!(
        text.contains(router) && text.contains(wall) && text.contains("DOCKER-USER -i alcantara"),
        "{text}"
    );
    assert!(
        text.contains("ok      guest to router, 2001:db8::2"),
        "{text}"
    );
    ok("nft delete table ip filter");
    // A switch.
    ok("sysctl -qw net.ipv4.conf.up0.forwarding=0");
    let text = check(1);
    assert!(
        text.contains("net.ipv4.conf.up0.forwarding is not 1"),
        "{text}"
    );
    host.run(&["net", "heal"]).expect(0);
    // Names: nobody outside answers.
    drop(names);
    let text = check(1);
    assert!(
        text.contains("ok      names of this network") && text.contains("/etc/resolv.conf"),
        "{text}"
    );
    // The bridge is down.
    ok("ip link set alcantara down");
    let text = check(1);
    assert!(text.contains("the bridge alcantara is down"), "{text}");
    ok("ip link set alcantara up");
    ok("ip link show jaula-check && ip link del jaula-check");
    host.run(&["net", "rm", "alcantara"]).expect(0);
    assert!(host.run(&["net", "check", "alcantara"]).code == 125);
}
