//! A bridge that asks for its own address, with dnsmasq at the other end of its port.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::{hermetic, kernel_test};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

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

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_bridge_gets_its_address_by_dhcp_and_without_a_server_there_is_none() {
    kernel_test!();
    if !sh("dnsmasq --version").status.success() {
        jaula_testkit::skip!("no dnsmasq");
    }
    ok("mount -t tmpfs none /run && mkdir -p /run/netns && ip link set lo up");
    ok(
        "ip netns add far && ip link add eth0 type veth peer name far0 netns far && ip link set eth0 up",
    );
    ok(
        "nsenter --net=/run/netns/far bash -c 'ip link set lo up; ip addr add 192.0.2.1/24 dev far0; ip link set far0 up'",
    );
    let host = hermetic!();
    let add = ["net", "add", "alcantara", "--port", "eth0", "--dhcp"];
    // Nobody answers: said after a while, and there is no bridge.
    let refused = host.run(&add).expect(125);
    assert!(
        refused
            .stderr
            .contains("no DHCP server answered on alcantara within 15 s"),
        "{}",
        refused.stderr
    );
    assert!(!sh("ip link show alcantara").status.success());
    assert!(!ok("ip link show eth0").contains("master"));
    let mut server = Command::new("bash");
    server.args([
        "-c",
        "exec nsenter --net=/run/netns/far dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface=far0 \
         --bind-interfaces --dhcp-leasefile=/run/leases --pid-file= --dhcp-authoritative \
         --dhcp-range=192.0.2.50,192.0.2.59,2m --dhcp-option=option:dns-server,192.0.2.53 \
         --dhcp-option=option:classless-static-route,198.51.100.0/24,192.0.2.9,0.0.0.0/0,192.0.2.1",
    ]);
    let _server = Running(server.stderr(Stdio::null()).spawn().unwrap());
    let began = Instant::now();
    let made = host.run(&add).expect(0);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert!(made.stderr.contains("192.0.2.53"), "{}", made.stderr);
    let address = ok("ip -4 addr show dev alcantara");
    assert!(
        address.contains("inet 192.0.2.5") && address.contains("/24 brd 192.0.2.255"),
        "{address}"
    );
    assert!(
        address.contains("valid_lft 1") && address.contains("sec"),
        "{address}"
    );
    let routes = ok("ip route show dev alcantara");
    assert!(
        routes.contains("default via 192.0.2.1 proto dhcp"),
        "{routes}"
    );
    assert!(
        routes.contains("198.51.100.0/24 via 192.0.2.9 proto dhcp"),
        "{routes}"
    );
    ok("ping -q -c1 -W2 192.0.2.1");
    // It goes with its process.
    host.run(&["net", "rm", "alcantara", "--force"]).expect(0);
    assert!(!sh("ip link show alcantara").status.success());
    let end = Instant::now() + Duration::from_secs(5);
    while ok("ps -e -o stat=,comm= | grep -v ^Z").contains("jaula") {
        assert!(Instant::now() < end, "a process is left");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(host.run(&["net", "heal"]).expect(0).stdout, "");
}
