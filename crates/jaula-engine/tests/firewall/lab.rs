//! A host with a bridge, two guests on it and a peer outside, all in namespaces of one test.

use jaula_plan::nft::{Firewall, Guest, Subnet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

/// Runs a shell's line in this namespace, which plays the host.
pub fn sh(line: &str) -> Output {
    Command::new("bash")
        .args(["-c", line])
        .output()
        .expect("bash is there")
}

/// The same, which has to go well; gives what it said.
#[track_caller]
pub fn ok(line: &str) -> String {
    let output = sh(line);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{text}{errors}");
    text
}

/// A command in a namespace of the laboratory; the host's own is `host`.
pub fn place(place: &str, line: &str) -> String {
    match place {
        "host" => line.to_owned(),
        _ => format!("nsenter --net=/run/netns/{place} {line}"),
    }
}

pub const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0xa], [2, 0, 0, 0, 0, 0xb]];

/// Makes the laboratory: `a` and `b` with 10.77.0.2, .3 and fd77::2, ::3 on the bridge `jb0`; `wan` with 198.51.100.2
/// and 2001:db8::2 beyond the host's `up0`.
pub fn make() {
    ok("mount -t tmpfs none /run && mkdir -p /run/netns && ip link set lo up");
    ok(
        "ip link add jb0 type bridge && ip addr add 10.77.0.1/24 dev jb0 \
        && ip addr add fd77::1/64 dev jb0 nodad && ip link set jb0 up",
    );
    for (index, name) in ["a", "b"].iter().enumerate() {
        let last = index + 2;
        let hex = ["0a", "0b"][index];
        ok(&format!(
            "ip netns add {name} && ip link add jv-{name} type veth peer name eth0 netns {name} address 02:00:00:00:00:{hex} \
             && ip link set jv-{name} master jb0 up"
        ));
        for line in [
            "ip link set lo up".to_owned(),
            format!("ip addr add 10.77.0.{last}/24 dev eth0"),
            format!("ip addr add fd77::{last}/64 dev eth0 nodad"),
            "ip link set eth0 up".to_owned(),
            "ip route add default via 10.77.0.1".to_owned(),
            "ip -6 route add default via fd77::1".to_owned(),
        ] {
            ok(&place(name, &line));
        }
    }
    ok(
        "ip netns add wan && ip link add up0 type veth peer name eth0 netns wan \
        && ip addr add 198.51.100.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad && ip link set up0 up",
    );
    for line in [
        "ip link set lo up",
        "ip addr add 198.51.100.2/24 dev eth0",
        "ip addr add 198.51.100.3/24 dev eth0",
        "ip addr add 169.254.169.254/32 dev lo",
        "ip addr add 2001:db8::2/64 dev eth0 nodad",
        "ip link set eth0 up",
    ] {
        ok(&place("wan", line));
    }
    ok("ip route add 169.254.169.254 via 198.51.100.2");
    ok(
        "sysctl -qw net.ipv4.conf.jb0.forwarding=1 net.ipv4.conf.up0.forwarding=1 net.ipv6.conf.all.forwarding=1 \
        net.ipv4.conf.jb0.route_localnet=1",
    );
}

/// The laboratory's network.
pub fn firewall() -> Firewall {
    let guest = |index: usize, name: &str| Guest {
        port: format!("jv-{name}"),
        mac: MACS[index],
        addresses: vec![
            format!("10.77.0.{}", index + 2).parse().unwrap(),
            format!("fd77::{}", index + 2).parse().unwrap(),
        ],
        asks: false,
        publish: Vec::new(),
        access: Vec::new(),
        rate: None,
    };
    let subnet = |address: &str, prefix| Subnet {
        address: address.parse().unwrap(),
        prefix,
    };
    Firewall {
        bridge: "jb0".into(),
        subnets: vec![subnet("10.77.0.1", 24), subnet("fd77::1", 64)],
        nat: true,
        ways: vec!["up0".into()],
        locals: vec!["fe80::1".parse().unwrap()],
        shared: false,
        open: false,
        dhcp: true,
        dns: true,
        guests: vec![guest(0, "a"), guest(1, "b")],
    }
}

const SERVER: &str = r#"
import socket, sys, threading
port = int(sys.argv[1])
t = socket.socket(socket.AF_INET6); t.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); t.bind(("::", port)); t.listen()
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
u.bind(("::", port))
def udp():
    while True:
        _, who = u.recvfrom(100)
        u.sendto(who[0].encode(), who)
threading.Thread(target=udp, daemon=True).start()
print("ready", flush=True)
while True:
    c, who = t.accept()
    c.sendall(who[0].encode()); c.close()
"#;

const CLIENT: &str = r#"
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.settimeout(1.5)
if len(sys.argv) > 4: s.bind((sys.argv[4], 0))
s.connect((host, port))
if kind == "udp": s.send(b"?")
print(s.recv(100).decode().removeprefix("::ffff:"))
"#;

/// A program that ends with the test.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A server of TCP and UDP on all addresses of a place, which answers with the address that it sees.
pub fn serve(at: &str, port: u16) -> Running {
    let mut command = match at {
        "host" => Command::new("python3"),
        _ => {
            let mut command = Command::new("nsenter");
            command.args([&format!("--net=/run/netns/{at}"), "python3"]);
            command
        }
    };
    let mut child = command
        .args(["-c", SERVER, &port.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    Running(child)
}

/// The same for what must answer: a neighbour that is asked for the first time may take a second (RFC 4861).
pub fn reached(from: &str, kind: &str, host: &str, port: u16) -> Result<String, String> {
    let again = |_| ask(from, kind, host, port);
    again(()).or_else(|_| again(())).or_else(|_| again(()))
}

/// Asks a server; says what address it saw, or why it could not be asked.
pub fn ask(from: &str, kind: &str, host: &str, port: u16) -> Result<String, String> {
    let output = sh(&place(
        from,
        &format!("python3 -c '{CLIENT}' {kind} {host} {port}"),
    ));
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(errors.lines().last().unwrap_or_default().to_owned())
    }
}
