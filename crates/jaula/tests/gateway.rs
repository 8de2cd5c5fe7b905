//! What a bridge gives its guests, as it is typed: a host, a guest and the outside in namespaces of one test.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::{hermetic, kernel_test};
use std::io::BufRead;
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

fn start(line: &str) -> Running {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("exec {line}")]);
    Running(command.stderr(Stdio::null()).spawn().unwrap())
}

/// Waits until a line says `wanted`.
#[track_caller]
fn until(seconds: u64, line: &str, wanted: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        let output = sh(line);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if wanted(&text) {
            return text;
        }
        assert!(Instant::now() < end, "{line}: {text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A name server that knows one name, at 198.51.100.2; what it was asked by TCP it answers by TCP.
const SERVER: &str = r#"
import socket, struct, threading
def answer(q):
    end = q.index(b"\0", 12) + 5
    name = q[12:end]
    if name[:13] == b"\7example\3org\0":
        kind = struct.unpack(">H", name[13:15])[0]
        data = {1: bytes([192, 0, 2, 77]), 28: bytes([0x20, 1, 0xd, 0xb8] + [0] * 11 + [7])}.get(kind)
        if data:
            return q[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + name + b"\xc0\x0c" + name[13:17] + struct.pack(">IH", 60, len(data)) + data
    return q[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + name
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("198.51.100.2", 53))
t = socket.socket(); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); t.bind(("198.51.100.2", 53)); t.listen()
def tcp():
    while True:
        c, _ = t.accept()
        n = struct.unpack(">H", c.recv(2))[0]; a = answer(c.recv(n)); c.sendall(struct.pack(">H", len(a)) + a); c.close()
threading.Thread(target=tcp, daemon=True).start()
while True:
    q, who = u.recvfrom(2000); u.sendto(answer(q), who)
"#;

/// Asks a name server: kind, server, name, `udp` or `tcp`. Prints the answer's code and its last record's data.
const QUESTION: &str = r#"
import socket, struct, sys, ipaddress
kind, server, name, way = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
q = b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0" + struct.pack(">HH", kind, 1)
f = socket.AF_INET6 if ":" in server else socket.AF_INET
s = socket.socket(f, socket.SOCK_STREAM if way == "tcp" else socket.SOCK_DGRAM); s.settimeout(4); s.connect((server, 53))
if way == "tcp":
    s.sendall(struct.pack(">H", len(q)) + q); n = struct.unpack(">H", s.recv(2))[0]; a = s.recv(n)
else:
    s.send(q); a = s.recv(2000)
assert a[:2] == q[:2]
code, count = a[3] & 15, struct.unpack(">H", a[6:8])[0]
data = ""
if count:
    data = a[-4:] if kind == 1 else a[-16:] if kind == 28 else a[a.rindex(b"\xc0\x0c") if b"\xc0\x0c" in a else 0:]
    data = str(ipaddress.ip_address(data)) if kind in (1, 28) else data.decode(errors="replace")
print(code, data)
"#;

#[track_caller]
fn question(place: &str, kind: u16, server: &str, name: &str, way: &str) -> String {
    let line = format!("python3 -c '{QUESTION}' {kind} {server} {name} {way}");
    ok(&at(place, &line)).trim().to_owned()
}

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

/// A guest that asks for everything itself.
fn guest(name: &str) {
    ok(&format!(
        "ip netns add {name} && ip link add v-{name} type veth peer name eth0 netns {name} && ip link set v-{name} master alcantara up"
    ));
    ok(&at(
        name,
        "bash -c 'ip link set lo up; ip link set eth0 up'",
    ));
}

/// A card that cannot be a port (a wireless one) is the way out instead, and the only one.
#[test]
fn guests_get_out_by_the_uplink_alone() {
    kernel_test!();
    if !sh("nft --version && ping -V").status.success() {
        jaula_testkit::skip!("no nft or no ping");
    }
    world();
    ok(
        "ip netns add isp && ip link add up1 type veth peer name eth0 netns isp \
        && ip addr add 203.0.113.1/24 dev up1 && ip link set up1 up",
    );
    for line in [
        "ip addr add 203.0.113.2/24 dev eth0",
        "ip link set eth0 up",
        "ip route add default via 203.0.113.1",
    ] {
        ok(&at("isp", line));
    }
    // The kernel would pass packets on to it.
    ok("sysctl -qw net.ipv4.conf.up1.forwarding=1");
    let host = hermetic!();
    let add = ["net", "add", "alcantara", "--addr", "10.77.0.1/24"];
    let ran = host
        .run(&[&add[..], &["--uplink", "wlan7"]].concat())
        .expect(125);
    assert!(
        ran.stderr.contains("there is no link named wlan7"),
        "{}",
        ran.stderr
    );
    assert!(
        !sh("ip link show alcantara").status.success(),
        "a bridge is left"
    );
    let guest_is_there = || {
        guest("g");
        ok(&at("g", "ip addr add 10.77.0.9/24 dev eth0"));
        ok(&at("g", "ip route add default via 10.77.0.1"));
    };
    let reaches = |address: &str| {
        sh(&at("g", &format!("ping -c1 -W1 {address}")))
            .status
            .success()
    };
    host.run(&[&add[..], &["--uplink", "up0"]].concat())
        .expect(0);
    guest_is_there();
    assert!(reaches("198.51.100.2"), "{}", ok("nft list ruleset"));
    assert!(!reaches("203.0.113.2"), "{}", ok("nft list ruleset"));
    // It is the firewall that holds it back: without it the way is open, and healed it is closed.
    ok("nft flush ruleset");
    assert!(reaches("203.0.113.2"));
    host.run(&["net", "heal"]).expect(0);
    assert!(!reaches("203.0.113.2"), "{}", ok("nft list ruleset"));
    // Without an uplink there is the host's own way to everywhere, and no way to its other networks.
    ok("ip netns del g");
    until(5, "ip -o link", |text| !text.contains("v-g"));
    host.run(&["net", "rm", "alcantara"]).expect(0);
    host.run(&[&add[..], &["--nat"]].concat()).expect(0);
    guest_is_there();
    assert!(reaches("198.51.100.2") && !reaches("203.0.113.2"));
    ok("ip route add default via 203.0.113.2 metric 9");
    assert!(!reaches("203.0.113.2"));
    host.run(&["net", "heal"]).expect(0);
    assert!(reaches("198.51.100.2") && reaches("203.0.113.2"));
    host.run(&["net", "rm", "alcantara", "--force"]).expect(0);
}

/// A host that passes on whatever it is given, with two networks and one that has names and nothing else.
#[test]
fn guests_of_one_network_do_not_reach_another() {
    kernel_test!();
    if !sh("nft --version && ping -V").status.success() {
        jaula_testkit::skip!("no nft or no ping");
    }
    world();
    ok("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    ok("ip netns exec wan ip route add 10.76.0.0/14 via 198.51.100.1");
    let host = hermetic!();
    host.run(&["net", "add", "alcantara", "--addr", "10.77.0.1/24", "--nat"])
        .expect(0);
    host.run(&["net", "add", "plain", "--addr", "10.78.0.1/24"])
        .expect(0);
    host.run(&["net", "add", "names", "--addr", "10.79.0.1/24", "--dns"])
        .expect(0);
    for (name, bridge, net) in [
        ("g", "alcantara", "10.77.0"),
        ("p", "plain", "10.78.0"),
        ("n", "names", "10.79.0"),
    ] {
        ok(&format!(
            "ip netns add {name} && ip link add v-{name} type veth peer name eth0 netns {name} && ip link set v-{name} master {bridge} up"
        ));
        ok(&at(name, "ip link set eth0 up"));
        ok(&at(name, &format!("ip addr add {net}.9/24 dev eth0")));
        ok(&at(name, &format!("ip route add default via {net}.1")));
    }
    let reaches = |from: &str, to: &str| {
        sh(&at(from, &format!("ping -c1 -W1 {to}")))
            .status
            .success()
    };
    let rules = || ok("nft list ruleset");
    // Where nothing is asked for nothing is closed; that is how it is known that the ways are there.
    assert!(reaches("p", "10.78.0.1") && reaches("p", "198.51.100.2"));
    assert!(reaches("g", "10.77.0.1") && reaches("g", "198.51.100.2"));
    assert!(reaches("n", "10.79.0.1"));
    for (from, to) in [
        ("g", "10.78.0.9"),
        ("g", "10.79.0.9"),
        ("n", "10.78.0.9"),
        ("n", "10.77.0.9"),
        ("n", "198.51.100.2"),
        ("p", "10.77.0.9"),
        ("wan", "10.79.0.9"),
    ] {
        assert!(!reaches(from, to), "{from} to {to}: {}", rules());
    }
    ok("nft flush ruleset");
    assert!(reaches("g", "10.78.0.9") && reaches("n", "198.51.100.2"));
    host.run(&["net", "heal"]).expect(0);
    assert!(!reaches("g", "10.78.0.9") && !reaches("n", "198.51.100.2"));
}

#[test]
fn a_guest_that_asks_is_given_address_way_out_and_names() {
    kernel_test!();
    if !sh("nft --version && command -v dhclient").status.success() {
        jaula_testkit::skip!("no nft or no dhclient");
    }
    world();
    let _names = start(&at("wan", &format!("python3 -c '{SERVER}'")));
    // It listens before anybody asks.
    let listens = at("wan", "ss -Hlnu 'sport = :53'");
    until(10, &listens, |text| !text.is_empty());
    let host = hermetic!();
    let before = (ok("nft list ruleset"), ok("ip -o link"));
    let add = [
        "net",
        "add",
        "alcantara",
        "--addr",
        "10.77.0.1/24",
        "--addr",
        "fd77::1/64",
        "--nat",
        "--dhcp-server",
        "--dns",
    ];
    let planned = host.run(&[&add[..], &["--plan"]].concat()).expect(0);
    assert!(
        planned
            .stdout
            .contains("give the addresses 10.77.0.128 to 10.77.0.254"),
        "{}",
        planned.stdout
    );
    assert_eq!(ok("nft list ruleset"), "");
    let made = host.run(&add).expect(0);
    assert!(
        made.stderr
            .contains("net.ipv4.conf.alcantara.forwarding = 1"),
        "{}",
        made.stderr
    );
    guest("g");
    // Addresses: by DHCP, and made of what the router says.
    std::fs::write(
        "/run/script",
        "#!/bin/bash\n[ \"$reason\" = BOUND ] && ip addr add $new_ip_address/24 dev eth0 && ip route add default via $new_routers\n\
         echo $new_ip_address $new_domain_name_servers $new_domain_name >/run/said.$reason\nexit 0\n",
    )
    .unwrap();
    ok("chmod +x /run/script");
    std::fs::write("/run/dhclient.conf", "send host-name \"Web\";\n").unwrap();
    let _client = start(&at(
        "g",
        "dhclient -d -1 -sf /run/script -lf /run/client -pf /run/pid -cf /run/dhclient.conf eth0",
    ));
    let said = until(20, "cat /run/said.BOUND", |text| text.ends_with('\n'));
    assert_eq!(said, "10.77.0.128 10.77.0.1 alcantara\n");
    until(
        20,
        &at("g", "ip -6 addr show dev eth0 scope global"),
        |text| text.contains("inet6 fd77:") && !text.contains("tentative"),
    );
    until(20, &at("g", "ip -6 route show default"), |text| {
        text.contains("fe80:")
    });
    // The way out, of both families.
    ok(&at("g", "ping -q -c1 -W3 198.51.100.2"));
    ok(&at("g", "ping -q -c1 -W3 2001:db8::2"));
    // Names: its own, by what it called itself, and others'.
    for way in ["udp", "tcp"] {
        for server in ["10.77.0.1", "fd77::1"] {
            assert_eq!(question("g", 1, server, "web", way), "0 10.77.0.128");
            assert_eq!(
                question("g", 1, server, "Web.alcantara", way),
                "0 10.77.0.128"
            );
            assert_eq!(question("g", 1, server, "nobody.alcantara", way), "3");
            assert_eq!(question("g", 1, server, "example.org", way), "0 192.0.2.77");
            assert_eq!(
                question("g", 28, server, "example.org", way),
                "0 2001:db8::7"
            );
            assert_eq!(question("g", 1, server, "example.net", way), "3");
        }
    }
    let pointer = question("g", 12, "10.77.0.1", "128.0.77.10.in-addr.arpa", "udp");
    assert!(
        pointer.contains("web") && pointer.contains("alcantara"),
        "{pointer}"
    );
    // Not from outside, though the host is reached there, by UDP and TCP.
    ok(&at("wan", "ip route add 10.77.0.0/24 via 198.51.100.1"));
    ok(&at("wan", "ping -c1 -W2 10.77.0.1"));
    for way in ["udp", "tcp"] {
        let line = format!("python3 -c '{QUESTION}' 1 10.77.0.1 web {way}");
        assert!(!sh(&at("wan", &line)).status.success(), "{way}");
    }
    // Others flush everything: said, and put back.
    ok("nft flush ruleset");
    let healed = host.run(&["net", "heal"]).expect(0);
    assert!(
        healed
            .stdout
            .contains("alcantara: the table of inet was gone"),
        "{}",
        healed.stdout
    );
    assert_eq!(host.run(&["net", "heal", "alcantara"]).expect(0).stdout, "");
    ok(&at("g", "ping -q -c1 -W3 198.51.100.2"));
    // The process dies: started again, with what it knew.
    ok("kill -9 $(ss -Hlnup 'sport = :67' | grep -o 'pid=[0-9]*' | head -1 | cut -d= -f2)");
    until(5, "ss -Hlnu 'sport = :67'", |text| !text.contains(":67"));
    let healed = host.run(&["net", "heal"]).expect(0);
    assert!(
        healed.stdout.contains("the serving process was gone"),
        "{}",
        healed.stdout
    );
    assert_eq!(question("g", 1, "10.77.0.1", "web", "udp"), "0 10.77.0.128");
    // It goes, and nothing is left.
    host.run(&["net", "rm", "alcantara", "--force"]).expect(0);
    ok("ip link del v-g 2>/dev/null; true");
    assert_eq!(ok("nft list ruleset"), before.0);
    assert_eq!(ok("ip -o link").lines().count(), before.1.lines().count());
    // Nobody reaps in this namespace: those that have ended are no processes any more.
    until(5, "ps -e -o stat=,comm= | grep -v ^Z", |now| {
        !now.contains("jaula")
    });
    assert!(host.run(&["net", "heal", "alcantara"]).code != 0);
}

#[test]
fn an_address_that_somebody_has_is_not_given() {
    kernel_test!();
    world();
    let host = hermetic!();
    let links = ok("ip -o link");
    let add = |address: &str| {
        let words = ["net", "add", "alcantara", "--port", "up0", "--move-address"];
        host.run(&[&words[..], &["--addr", address]].concat())
    };
    let card = ok(&at("wan", "ip -oneline link show eth0"));
    let mac = card
        .split_whitespace()
        .skip_while(|word| *word != "link/ether");
    let mac = { mac }.nth(1).unwrap();
    for address in ["198.51.100.2/24", "2001:db8::2/64"] {
        let refused = add(address).expect(125).stderr;
        let (bare, _) = address.split_once('/').unwrap();
        let text = format!("{bare} is in use: {mac} answers for it by up0");
        assert!(refused.contains(&text), "{refused}");
        assert_eq!(ok("ip -o link"), links);
    }
    add("198.51.100.3/24,2001:db8::3/64").expect(0);
    host.run(&["net", "rm", "alcantara"]).expect(0);
}

#[test]
fn who_serves_a_bridge_is_nobody_with_few_rights() {
    kernel_test!();
    world();
    let host = hermetic!();
    let add = [
        "net",
        "add",
        "alcantara",
        "--addr",
        "10.77.0.1/24",
        "--dhcp-server",
    ];
    let field = |word: &str| {
        let record = host.store().join("net/alcantara.process");
        let record = std::fs::read_to_string(record).unwrap();
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", record["pid"])).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(word));
        line.unwrap().split_whitespace().next().unwrap().to_owned()
    };
    let has_nobody = sh("setpriv --reuid 65534 --clear-groups true")
        .status
        .success();
    // Names of lists are told to the firewall; nothing else of root's is needed.
    for (more, rights) in [(vec![], 0u64), (vec!["--dns", "--nat"], 1 << 12)] {
        host.run(&[&add[..], &more].concat()).expect(0);
        for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
            assert_eq!(u64::from_str_radix(&field(set), 16), Ok(rights), "{set}");
        }
        assert_eq!(field("NoNewPrivs:"), "1");
        assert_eq!(field("Seccomp:"), "2");
        if has_nobody {
            assert_eq!(field("Uid:"), "65534");
        }
        host.run(&["net", "rm", "alcantara"]).expect(0);
        let left = std::fs::read_dir(host.store().join("net")).unwrap();
        assert_eq!(left.count(), 0);
    }
}

/// What comes by a bridge is judged by what its ports lead to, so the tables change with the ports.
#[test]
fn the_tables_follow_the_ports() {
    kernel_test!();
    if !sh("nft --version").status.success() {
        jaula_testkit::skip!("no nft");
    }
    world();
    ok("ip link add lan0 type veth peer name lan1 && ip link set lan0 up && ip link set lan1 up");
    let host = hermetic!();
    let add = ["net", "add", "alcantara", "--addr", "10.77.0.1/24", "--nat"];
    host.run(&add).expect(0);
    let shared = || ok("nft list table inet jaula-alcantara").contains("set cards");
    assert!(!shared());
    host.run(&["net", "attach", "alcantara", "lan0"]).expect(0);
    assert!(shared());
    assert_eq!(host.run(&["net", "heal"]).expect(0).stdout, "");
    host.run(&["net", "detach", "alcantara", "lan0"]).expect(0);
    assert!(!shared());
    // Whoever types the old name means the same.
    let link = host.work().join("brctl");
    std::os::unix::fs::symlink(host.command(&["x"]).get_program(), &link).unwrap();
    let brctl = |words: &[&str]| {
        let store = host.store();
        let mut command = Command::new(&link);
        let output = command.args(words).env("JAULA_STORE", store).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
    };
    brctl(&["addif", "alcantara", "lan0"]);
    assert!(shared());
    brctl(&["delif", "alcantara", "lan0"]);
    assert!(!shared());
    // What another program did is seen with the next change of any link.
    ok("ip link set lan0 master alcantara");
    assert!(!shared());
    host.run(&["net", "set", "lan1", "mtu=1400"]).expect(0);
    assert!(shared());
    ok("ip link set lan0 nomaster");
    brctl(&["addbr", "other"]);
    brctl(&["addif", "other", "lan0"]);
    assert!(!shared());
    brctl(&["delbr", "other"]);
    ok("ip link set alcantara down");
    brctl(&["delbr", "alcantara"]);
    assert_eq!(ok("nft list ruleset"), "");
    assert!(!host.store().join("net/alcantara.gateway").exists());
    host.run(&add).expect(0);
    host.run(&["net", "rm", "alcantara"]).expect(0);
}

/// Says which of a network goes first: `link` when it is gone, `table` for each table. Until both tables are gone.
const ORDER: &str = r#"
import select, socket, struct
def opened(protocol, group):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol); s.bind((0, 0)); s.setsockopt(270, 1, group); return s
links, tables = opened(0, 1), opened(12, 7)
print("ready", flush=True)
seen = []
while seen.count("table") < 2:
    ready = select.select([links, tables], [], [])[0]
    for s in (links, tables):
        if s not in ready: continue
        data = s.recv(1 << 20)
        while len(data) >= 16:
            length, kind = struct.unpack("=IH", data[:6])
            if s is links and kind == 17 and b"alcantara\0" in data[:length]: seen.append("link")
            if s is tables and kind == 0x0a02: seen.append("table")
            data = data[(length + 3) & ~3:]
print(seen, flush=True)
"#;

#[test]
fn the_firewall_of_a_network_goes_after_it_and_its_guests_are_cut_off() {
    kernel_test!();
    if !sh("nft --version").status.success() {
        jaula_testkit::skip!("no nft");
    }
    world();
    let host = hermetic!();
    let add = ["net", "add", "alcantara", "--addr", "10.77.0.1/24", "--nat"];
    host.run(&add).expect(0);
    guest("one");
    // The host's end of its card has an address of its own, which nobody reaches as long as it is a port.
    let end = "ip -6 -oneline addr show v-one scope link | grep -v tentative | grep -o 'fe80[^/]*'";
    let end = until(10, end, |text| !text.is_empty());
    let output = Stdio::piped();
    let mut order = Command::new("python3");
    let mut order = order.args(["-c", ORDER]).stdout(output).spawn().unwrap();
    let mut said = std::io::BufReader::new(order.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "ready");
    host.run(&["net", "rm", "alcantara"]).expect(125);
    let removal = ["net", "rm", "--force", "alcantara"];
    let plan = host
        .run(&[&removal[..], &["--plan"]].concat())
        .expect(0)
        .stdout;
    let steps = [
        "set v-one down",
        "detach v-one from alcantara",
        "remove link alcantara",
        "take away what alcantara gave its guests",
    ];
    let places = steps.map(|step| plan.find(step).expect(&plan));
    assert!(places.is_sorted(), "{plan}");
    host.run(&removal).expect(0);
    assert_eq!(said.next().unwrap().unwrap(), "['link', 'table', 'table']");
    order.wait().unwrap();
    // Its card leads nowhere now.
    let card = ok("ip -json link show v-one");
    assert!(
        !card.contains("\"UP\"") && !card.contains("master"),
        "{card}"
    );
    let ping = format!("ping -c1 -W1 {}%eth0", end.trim());
    assert!(!sh(&at("one", &ping)).status.success());
    assert_eq!(ok("nft list ruleset"), "");
}

#[test]
fn what_cannot_be_given_leaves_no_bridge() {
    kernel_test!();
    world();
    let host = hermetic!();
    let refused = host.run(&["net", "add", "alcantara", "--nat"]).expect(125);
    assert!(
        refused.stderr.contains("--addr 10.77.0.1/24"),
        "{}",
        refused.stderr
    );
    // Another server has the port.
    let _other = start(
        "python3 -c 'import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((\"0.0.0.0\", 53)); time.sleep(60)'",
    );
    until(10, "ss -Hlnu 'sport = :53'", |text| text.contains(":53"));
    let refused = host
        .run(&["net", "add", "alcantara", "--addr", "10.77.0.1/24", "--dns"])
        .expect(125);
    assert!(
        refused.stderr.contains("10.77.0.1:53") && refused.stderr.contains("in use"),
        "{}",
        refused.stderr
    );
    assert!(!sh("ip link show alcantara").status.success());
    assert_eq!(ok("nft list ruleset"), "");
    assert_eq!(ok("ls -A /run/netns").trim(), "wan");
}

#[test]
fn the_explanation_typed_by_hand_makes_the_same_firewall() {
    kernel_test!();
    if !sh("nft --version").status.success() {
        jaula_testkit::skip!("no nft");
    }
    world();
    let host = hermetic!();
    let add = [
        "net",
        "add",
        "alcantara",
        "--addr",
        "10.77.0.1/24",
        "--addr",
        "fd77::1/64",
        "--nat",
    ];
    let script = host
        .run(&[&add[..], &["--explain"]].concat())
        .expect(0)
        .stdout;
    host.run(&add).expect(0);
    let made = ok("nft list ruleset");
    let switches = "sysctl net.ipv4.conf.alcantara.forwarding net.ipv4.conf.up0.forwarding";
    assert_eq!(ok(switches).matches("= 1").count(), 2);
    host.run(&["net", "rm", "alcantara"]).expect(0);
    ok("sysctl -qw net.ipv4.conf.up0.forwarding=0");
    assert_eq!(ok("nft list ruleset"), "");
    std::fs::write("/run/script", script).unwrap();
    ok("sh /run/script");
    assert_eq!(ok("nft list ruleset"), made);
    assert_eq!(ok(switches).matches("= 1").count(), 2);
}
