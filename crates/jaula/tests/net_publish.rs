//! Ports of the host that lead to jails, lists of what jails may reach, and their speed: packets of real programs between
//! a host, jails and the outside, in namespaces of one test.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::{Hermetic, hermetic, skip};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Running {
    /// Starts it and waits for its first line.
    fn start(mut command: Command) -> (Self, String) {
        command.stdout(Stdio::piped()).stdin(Stdio::piped());
        let mut child = Self(command.spawn().unwrap());
        let mut line = String::new();
        let output = child.0.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        (child, line)
    }

    /// Its input ends, and so does it.
    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

/// Says its name and who called, at a port of TCP and of UDP, of both families, until its input ends.
const SERVER: &str = r#"
import os, socket, sys, threading
name, port = sys.argv[1], int(sys.argv[2])
t = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0); u.bind(("::", port))
def said(who): return f"{name} {who[0]}\n".encode()
def tcp():
    while True:
        c, who = t.accept(); c.sendall(said(who)); c.close()
def udp():
    while True:
        _, who = u.recvfrom(100); u.sendto(said(who), who)
for f in (tcp, udp): threading.Thread(target=f, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"#;

/// Calls by TCP or UDP; says what was answered, or nothing.
const CLIENT: &str = r#"
import socket, sys
way, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
try:
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM if way == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(5); s.connect((host, port))
    if way == "udp": s.send(b"x")
    print(s.recv(100).decode().split()[0])
except OSError: print("nobody")
"#;

/// Asks a name server for an address (RFC 1035), then calls it by TCP: what was answered, or nothing.
const NAMED: &str = r#"
import socket, struct, sys
server, name, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
q = b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0\0\1\0\1"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.sendto(q, (server, 53)); a = s.recv(2000)
host = socket.inet_ntoa(a[-4:])
try:
    t = socket.create_connection((host, port), 3); print(host, t.recv(100).decode().split()[0])
except OSError: print(host, "nobody")
"#;

/// A name server of the outside: everything is at 198.51.100.2 for 60 s.
const NAMES: &str = r#"
import socket
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("198.51.100.2", 53))
print("ready", flush=True)
while True:
    q, who = u.recvfrom(2000); n = q[12:q.index(b"\0", 12) + 5]
    u.sendto(q[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + n + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([198, 51, 100, 2]), who)
"#;

/// A host with a way to the outside, `wan`, which is 198.51.100.2 and 2001:db8::2.
struct Host {
    process: Running,
    place: Hermetic,
}

impl Drop for Host {
    /// Who serves a bridge ends with it, and would hold this namespace for ever.
    fn drop(&mut self) {
        for bridge in ["alcantara", "other", "plain"] {
            let words = ["net", "rm", bridge, "--force"];
            for _ in 0..50 {
                // One that is not there is no error here.
                self.jaula(&words).output().ok();
                if !self.sh(&format!("ip link show {bridge}")).status.success() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

impl Host {
    fn start(place: Hermetic) -> Option<Self> {
        let out = |program: &str, word: &str| Command::new(program).arg(word).output();
        let root = out("id", "-u").is_ok_and(|output| output.stdout == b"0\n");
        if !root || out("nft", "--version").is_err() {
            return None;
        }
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount", "sh", "-c"]).arg(
            "mount -t sysfs sys /sys && mount -t tmpfs none /run && mkdir /run/netns && ip link set lo up && \
             mkdir /run/etc && cp -a /etc/. /run/etc/ && rm -f /run/etc/resolv.conf && : >/run/etc/resolv.conf && mount --bind /run/etc /etc && echo nameserver 198.51.100.2 >/run/resolv.conf && mount --bind /run/resolv.conf /etc/resolv.conf && echo ready && exec cat",
        );
        let (process, ready) = Running::start(unshare);
        if ready != "ready\n" {
            return None;
        }
        let host = Self { process, place };
        host.ok(
            "ip netns add wan && ip link add up0 type veth peer name eth0 netns wan && ip addr add 198.51.100.1/24 dev up0 && \
             ip addr add 2001:db8::1/64 dev up0 nodad && ip link set up0 up && ip route add default via 198.51.100.2 && \
             ip -6 route add default via 2001:db8::2",
        );
        host.ok(
            "nsenter --net=/run/netns/wan sh -c 'ip link set lo up; ip addr add 198.51.100.2/24 dev eth0; \
             ip addr add 2001:db8::2/64 dev eth0 nodad; ip link set eth0 up'",
        );
        Some(host)
    }

    fn on(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.process.0.id().to_string();
        command.args(["--net", "--mount", "--target", &pid, "--", program]);
        command
    }

    fn sh(&self, line: &str) -> Output {
        self.on("bash").args(["-c", line]).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        said(self.sh(line), line)
    }

    /// A program in Python, of this host or of the outside.
    fn python(&self, outside: bool, program: &str, words: &str) -> Command {
        let place = if outside {
            "nsenter --net=/run/netns/wan"
        } else {
            ""
        };
        let mut command = self.on("bash");
        command.args([
            "-c",
            &format!("exec {place} python3 -c '{program}' {words}"),
        ]);
        command
    }

    fn serve(&self, outside: bool, program: &str, words: &str) -> Running {
        let (server, ready) = Running::start(self.python(outside, program, words));
        assert_eq!(ready, "ready\n");
        server
    }

    #[track_caller]
    fn call(&self, outside: bool, words: &str) -> String {
        let output = self.python(outside, CLIENT, words).output().unwrap();
        said(output, words).trim().to_owned()
    }

    /// Somebody answers by that name; a first packet may be lost.
    #[track_caller]
    fn reaches(&self, outside: bool, words: &str, name: &str) {
        let end = Instant::now() + Duration::from_secs(15);
        loop {
            let answer = self.call(outside, words);
            if answer == name {
                return;
            }
            assert!(Instant::now() < end, "{outside} {words}: {answer}");
        }
    }

    fn jaula(&self, words: &[&str]) -> Command {
        let program = self.place.command(&["x"]).get_program().to_owned();
        let mut command = self.on(program.to_str().unwrap());
        command.args(words).env("JAULA_STORE", self.place.store());
        command
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        said(self.jaula(words).output().unwrap(), &words.join(" "))
    }

    #[track_caller]
    fn refused(&self, words: &[&str]) -> String {
        let output = self.jaula(words).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{words:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// What a jail with such options says of a program in Python.
    #[track_caller]
    fn jailed(&self, options: &[&str], program: &str, words: &str) -> String {
        let words = words.split(' ').collect::<Vec<_>>();
        let python = [&["--", "python3", "-c", program], &words[..]].concat();
        let said = self.run(&[&["run", "--net", "bridge:alcantara"], options, &python].concat());
        said.trim().to_owned()
    }

    /// A jail that serves, in which programs can be started while it runs.
    fn server(&self, options: &[&str], name: &str) -> Running {
        let python = ["--", "python3", "-c", SERVER, name, "7080"];
        let words = [&["run", "--net", "bridge:alcantara"], options, &python].concat();
        let (jail, ready) = Running::start(self.jaula(&words));
        assert_eq!(ready, "ready\n");
        jail
    }
}

#[track_caller]
fn said(output: Output, what: &str) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    assert!(status.success(), "{what}: {status} {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

macro_rules! host {
    () => {{
        let place = hermetic!();
        match Host::start(place) {
            Some(host) => host,
            None => skip!(
                "only root gives jails cards on the host's networks, and nft reads the firewall"
            ),
        }
    }};
}

const BRIDGE: [&str; 5] = [
    "net",
    "add",
    "alcantara",
    "--addr",
    "10.77.0.1/24,fd77::1/64",
];

#[test]
fn a_published_port_is_reached_from_everywhere_and_gone_with_its_jail() {
    let host = host!();
    host.run(&[&BRIDGE[..], &["--nat"]].concat());
    let before = host.ok("nft list ruleset");
    let options = [
        "--publish",
        "8080:7080",
        "--publish",
        "127.0.0.1:8081:7080",
        "--publish",
        "8082:7080/udp",
    ];
    // Planned first, and what it explains is what the kernel has then.
    let ip = ["--net", "bridge:alcantara,ip=10.77.0.5/24,ip=fd77::5/64"];
    let explained = [&["run"], &ip[..], &options, &["--explain", "--", "true"]].concat();
    let explained = host.run(&explained);
    assert_eq!(host.ok("nft list ruleset"), before);
    let python = ["--", "python3", "-c", SERVER, "web", "7080"];
    let words = [&["run"], &ip[..], &options, &python].concat();
    let (jail, ready) = Running::start(host.jaula(&words));
    assert_eq!(ready, "ready\n");
    let table = host.ok("nft list table inet jaula-alcantara");
    let mut rules = 0;
    for line in explained.lines().filter(|line| line.contains("dnat")) {
        let rule = line
            .split_once("prerouting ")
            .or(line.split_once("output "));
        let rule = rule.expect(line).1.trim_end_matches('\'');
        assert!(
            table.lines().any(|there| there.trim() == rule),
            "{rule}\n{table}"
        );
        rules += 1;
    }
    assert_eq!(rules, 9, "{explained}");
    for (outside, words) in [
        (false, "tcp 127.0.0.1 8080"),
        (false, "tcp 127.0.0.1 8081"),
        (false, "tcp 198.51.100.1 8080"),
        (false, "tcp 2001:db8::1 8080"),
        (false, "udp 127.0.0.1 8082"),
        (false, "tcp ::1 8080"),
        (false, "udp ::1 8082"),
        (true, "tcp 198.51.100.1 8080"),
        (true, "tcp 2001:db8::1 8080"),
        (true, "udp 198.51.100.1 8082"),
        (true, "udp 2001:db8::1 8082"),
    ] {
        host.reaches(outside, words, "web");
    }
    for (outside, words) in [
        (true, "tcp 198.51.100.1 8081"),
        (true, "tcp 198.51.100.1 8082"),
        (true, "udp 198.51.100.1 8080"),
        (true, "tcp 198.51.100.1 7080"),
        (false, "tcp ::1 8081"),
    ] {
        assert_eq!(host.call(outside, words), "nobody", "{outside} {words}");
    }
    assert_eq!(host.run(&["net", "heal"]), "");
    // Other jails, and the bridge's own addresses.
    for words in [
        "tcp 198.51.100.1 8080",
        "tcp 10.77.0.1 8080",
        "tcp fd77::1 8080",
        "udp 10.77.0.1 8082",
    ] {
        assert_eq!(host.jailed(&[], CLIENT, words), "web", "{words}");
    }
    jail.end();
    assert_eq!(host.call(true, "tcp 198.51.100.1 8080"), "nobody");
    assert_eq!(host.call(false, "tcp 127.0.0.1 8080"), "nobody");
    assert_eq!(host.call(false, "tcp ::1 8080"), "nobody");
    assert!(!host.ok("nft list ruleset").contains("dnat ip"));
}

#[test]
fn a_jail_reaches_itself_by_its_published_port() {
    let host = host!();
    host.run(&[&BRIDGE[..], &["--nat"]].concat());
    let both = SERVER.replace("sys.stdin.read()", "import time; time.sleep(60)");
    let words = [
        "run",
        "--net",
        "bridge:alcantara",
        "--publish",
        "8080:7080",
        "--",
        "bash",
        "-c",
        "python3 -c \"$1\" web 7080 >/tmp/ready & until [ -s /tmp/ready ]; do sleep 0.05; done; \
         for to in '198.51.100.1' '10.77.0.1' '2001:db8::1'; do python3 -c \"$2\" tcp $to 8080; done; kill %1",
        "x",
        &both,
        CLIENT,
    ];
    assert_eq!(host.run(&words), "web\nweb\nweb\n");
}

#[test]
fn a_port_that_somebody_has_is_refused_by_name() {
    let host = host!();
    host.run(&[&BRIDGE[..], &["--nat"]].concat());
    host.run(&["net", "add", "other", "--addr", "10.78.0.1/24", "--nat"]);
    host.run(&["net", "add", "plain", "--addr", "10.79.0.1/24"]);
    let _own = host.serve(false, SERVER, "host 9000");
    let options = ["--publish", "8080:7080"];
    let tried = |net: &str, publish: &str| {
        host.refused(&["run", "--net", net, "--publish", publish, "--", "true"])
    };
    let words = [
        "run",
        "--net",
        "bridge:alcantara",
        "--detach",
        "--name",
        "first",
        "--publish",
        "8080:7080",
    ];
    host.run(&[&words[..], &["--", "sleep", "60"]].concat());
    for net in ["bridge:alcantara", "bridge:other"] {
        for publish in ["8080:1", "127.0.0.1:8080:1"] {
            let error = tried(net, publish);
            assert!(error.contains("leads to the jail first"), "{error}");
        }
    }
    host.run(&[
        "run",
        "--net",
        "bridge:other",
        "--publish",
        "8080:1/udp",
        "--",
        "true",
    ]);
    let error = tried("bridge:other", "9000:1");
    assert!(error.contains("listens at [::]:9000/tcp"), "{error}");
    assert!(error.contains("sport = :9000"), "{error}");
    let error = tried("bridge:plain", "80:80");
    assert!(error.contains("--nat"), "{error}");
    let error = tried("none", "80:80");
    assert!(error.contains("bridge:NAME"), "{error}");
    let error = tried("bridge:other", "203.0.113.9:80:80");
    assert!(error.contains("no link of the host"), "{error}");
    let error = host.refused(&[
        "run",
        "--net",
        "bridge:other",
        "--publish",
        "80:1",
        "--publish",
        "[::1]:80:2",
        "--",
        "true",
    ]);
    assert!(error.contains("are the same port of the host"), "{error}");
    let error = tried("bridge:other", "80");
    assert!(error.contains("--publish"), "{error}");
    // A jail that was killed has nothing any more.
    host.run(&["rm", "--force", "first"]);
    let jail = host.server(&options, "second");
    host.reaches(true, "tcp 198.51.100.1 8080", "second");
    jail.end();
    for bridge in ["alcantara", "other", "plain"] {
        host.run(&["net", "rm", bridge, "--force"]);
    }
    assert_eq!(host.ok("nft list ruleset"), "");
}

/// Listens where a jail's port of the loopback is to be.
const TAKER: &str = r#"
import socket, sys
s = socket.create_server(("::1", 8080), family=socket.AF_INET6)
print("ready", flush=True)
sys.stdin.read()
"#;

#[test]
fn a_port_that_somebody_takes_while_a_jail_starts_is_an_error_that_leaves_nothing() {
    let host = host!();
    host.run(&[&BRIDGE[..], &["--nat"]].concat());
    let net = host.place.store().join("net");
    let process = std::fs::read(net.join("alcantara.ports")).unwrap();
    let process: serde_json::Value = serde_json::from_slice(&process).unwrap();
    let pid = process["pid"].as_u64().expect("a process");
    let words = [
        "run",
        "--net",
        "bridge:alcantara",
        "--publish",
        "8080:7080",
        "--",
        "true",
    ];
    let notes = || std::fs::read_dir(net.join("alcantara.guests")).map_or(0, Iterator::count);
    for taken in [true, false] {
        // Who listens for jails is kept from it until somebody else does.
        host.ok(&format!("kill -STOP {pid}"));
        let mut jail = host.jaula(&words);
        let jail = jail.stderr(Stdio::piped()).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while notes() == 0 {
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(1));
        }
        let taker = taken.then(|| host.serve(false, TAKER, ""));
        if taken {
            host.ok(&format!("kill -CONT {pid}"));
        }
        let output = jail.wait_with_output().unwrap();
        host.ok(&format!("kill -CONT {pid}"));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(125), "{error}");
        let wanted = if taken {
            "a program of the host listens at [::1]:8080/tcp"
        } else {
            "does not say that it has their ports"
        };
        assert!(error.contains(wanted), "{error}");
        assert_eq!(notes(), 0);
        let rules = host.ok("nft list ruleset");
        assert!(
            !rules.contains("8080") && !rules.contains("v-run-"),
            "{rules}"
        );
        taker.into_iter().for_each(Running::end);
        host.run(&words);
    }
}

#[test]
fn a_jail_reaches_what_its_list_says() {
    let host = host!();
    host.run(&[&BRIDGE[..], &["--nat"]].concat());
    let _one = host.serve(true, SERVER, "one 7000");
    let _two = host.serve(true, SERVER, "two 7001");
    let seen = |options: &[&str]| -> Vec<String> {
        let calls = [
            "tcp 198.51.100.2 7000",
            "tcp 198.51.100.2 7001",
            "udp 198.51.100.2 7000",
            "tcp 2001:db8::2 7000",
        ];
        calls
            .map(|words| host.jailed(options, CLIENT, words))
            .into()
    };
    assert_eq!(seen(&[]), ["one", "two", "one", "one"]);
    assert_eq!(
        seen(&["--deny", "198.51.100.2:7000/tcp"]),
        ["nobody", "two", "one", "one"]
    );
    assert_eq!(
        seen(&["--allow", "198.51.100.0/24:7000"]),
        ["one", "nobody", "one", "nobody"]
    );
    assert_eq!(
        seen(&["--allow", "[2001:db8::/32]:7000"]),
        ["nobody", "nobody", "nobody", "one"]
    );
    // The first that fits decides.
    let order = ["--deny", "any:7001", "--allow", "198.51.100.2"];
    assert_eq!(seen(&order), ["one", "nobody", "one", "nobody"]);
    let order = ["--allow", "198.51.100.2", "--deny", "any:7001"];
    assert_eq!(seen(&order), ["one", "two", "one", "nobody"]);
    assert!(!host.ok("nft list ruleset").contains("from-v-"));
    let error = host.refused(&[
        "run",
        "--net",
        "bridge:alcantara",
        "--allow",
        "example.org",
        "--",
        "true",
    ]);
    assert!(error.contains("--dns"), "{error}");
}

#[test]
fn a_name_of_a_list_opens_when_its_answer_comes() {
    let host = host!();
    let _names = host.serve(true, NAMES, "");
    let _one = host.serve(true, SERVER, "one 7000");
    host.run(&[&BRIDGE[..], &["--nat", "--dns"]].concat());
    let allow = ["--allow", "example.org:7000"];
    // Closed until it is asked for; another name of the same address opens nothing.
    assert_eq!(
        host.jailed(&allow, CLIENT, "tcp 198.51.100.2 7000"),
        "nobody"
    );
    assert_eq!(
        host.jailed(&allow, NAMED, "10.77.0.1 example.net 7000"),
        "198.51.100.2 nobody"
    );
    assert_eq!(
        host.jailed(&allow, NAMED, "10.77.0.1 example.org 7000"),
        "198.51.100.2 one"
    );
    assert_eq!(
        host.jailed(
            &["--allow", "*.example.org"],
            NAMED,
            "10.77.0.1 a.example.org 7000"
        ),
        "198.51.100.2 one"
    );
    assert_eq!(
        host.jailed(
            &["--allow", "*.example.org"],
            NAMED,
            "10.77.0.1 example.org 7000"
        ),
        "198.51.100.2 nobody"
    );
    assert_eq!(
        host.jailed(
            &["--deny", "example.org"],
            NAMED,
            "10.77.0.1 example.org 7000"
        ),
        "198.51.100.2 nobody"
    );
    // With the lifetime of the answer, and a moment for who opens the connection.
    let python = ["--", "python3", "-c"];
    let both = format!("{NAMED}\nsys.stdin.read()\n");
    let words = [
        &["run", "--net", "bridge:alcantara"],
        &allow[..],
        &python,
        &[&both, "10.77.0.1", "example.org", "7000"],
    ]
    .concat();
    let mut command = host.jaula(&words);
    command.env("PYTHONUNBUFFERED", "1");
    let jail = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let jail = Running(jail);
    let end = Instant::now() + Duration::from_secs(10);
    let listed = loop {
        let listed = host.sh("nft list set inet jaula-alcantara name4_example.org");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        if listed.contains("198.51.100.2") {
            break listed;
        }
        assert!(Instant::now() < end, "{listed}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(listed.contains("timeout 1m30s"), "{listed}");
    jail.end();
    host.run(&["net", "rm", "alcantara", "--force"]);
}

/// Sends 800 kB to the outside, or asks it for as many, and waits for the end of the answer; says how many tenths of a
/// second that took.
const SENDER: &str = r#"
import socket, sys, time
s = socket.create_connection(("198.51.100.2", 7000), 60); start = time.monotonic()
up, down = ([b"u"] * 800000, 1) if sys.argv[1] == "up" else ([b"d"], 800000)
s.sendall(b"".join(up)); s.shutdown(socket.SHUT_WR); got = sum(map(len, iter(lambda: s.recv(65536), b"")))
assert got == down, got
print(int((time.monotonic() - start) * 10))
"#;
const SINK: &str = r#"
import socket
t = socket.create_server(("198.51.100.2", 7000)); print("ready", flush=True)
while True:
    c, _ = t.accept()
    first = c.recv(1)
    while c.recv(65536): pass
    c.sendall(b"." * (1 if first == b"u" else 800000)); c.close()
"#;

#[test]
fn a_card_is_no_faster_than_its_rate() {
    let host = host!();
    host.run(&[&BRIDGE[..], &["--nat"]].concat());
    let _sink = host.serve(true, SINK, "");
    let tenths = |net: &str, way: &str| -> u32 {
        let said = host.run(&["run", "--net", net, "--", "python3", "-c", SENDER, way]);
        said.trim().parse().expect(&said)
    };
    for way in ["up", "down"] {
        let free = tenths("bridge:alcantara", way);
        let limited = tenths("bridge:alcantara,rate=1600kbit", way);
        // 800 kB at 200 kB a second, less what may pass at once: a second of it, and 64 kB.
        assert!(free < 10 && limited >= 24, "{way} {free} {limited}");
    }
}

impl Host {
    /// A session of a named jail that lasts until its input ends, and a server of the host's among its processes.
    fn session(&self, name: &str, words: &str) -> (Running, Running) {
        let shell = [
            "exec",
            name,
            "--",
            "bash",
            "-c",
            "echo ready; read line; true",
        ];
        let (session, ready) = Running::start(self.jaula(&shell));
        assert_eq!(ready, "ready\n");
        let shown: serde_json::Value =
            serde_json::from_str(&self.run(&["--json", "show", name])).unwrap();
        let pid = shown["jail"]["pid"].as_u64().expect("it runs").to_string();
        let mut server = Command::new("nsenter");
        server.args(["--net", "--target", &pid, "--", "python3", "-c", SERVER]);
        server.args(words.split(' '));
        let (server, ready) = Running::start(server);
        assert_eq!(ready, "ready\n");
        (session, server)
    }
}

#[test]
fn a_named_jail_keeps_its_ports_and_lists_for_each_session() {
    let host = host!();
    let _one = host.serve(true, SERVER, "one 7000");
    host.run(&[&BRIDGE[..], &["--nat"]].concat());
    let words = [
        "new",
        "web",
        "--empty",
        "--with-files",
        "/bin/bash,/bin/cat",
        "--net",
        "bridge:alcantara,ip=10.77.0.5/24",
        "--publish",
        "8080:7080",
        "--publish",
        "8082:7080/udp",
        "--deny",
        "198.51.100.2:7000",
    ];
    host.run(&words);
    let net = "bridge:alcantara,ip=10.77.0.5/24,publish=8080:7080,publish=8082:7080/udp,deny=198.51.100.2:7000";
    for shown in [host.run(&["ls"]), host.run(&["show", "web"])] {
        assert!(shown.contains(net), "{shown}");
    }
    for round in 0..3 {
        let (session, server) = host.session("web", "web 7080");
        for (outside, words) in [
            (false, "tcp 127.0.0.1 8080"),
            (false, "tcp ::1 8080"),
            (true, "tcp 198.51.100.1 8080"),
            (true, "udp 198.51.100.1 8082"),
        ] {
            host.reaches(outside, words, "web");
        }
        let called = "exec 3<>/dev/tcp/198.51.100.2/7000 && cat <&3";
        let called = host.jaula(&["exec", "web", "--", "bash", "-c", called]);
        let called = { called }.output().unwrap();
        assert!(
            !called.status.success() && called.stdout.is_empty(),
            "{round}"
        );
        // Another one wants what it has while it runs, and gets it when it does not.
        let other = [
            "run",
            "--net",
            "bridge:alcantara",
            "--publish",
            "8080:1",
            "--",
            "true",
        ];
        let error = host.refused(&other);
        assert!(error.contains("leads to the jail web"), "{error}");
        drop(server);
        session.end();
        let end = Instant::now() + Duration::from_secs(10);
        while !host.jaula(&other).output().unwrap().status.success() {
            assert!(Instant::now() < end);
        }
    }
    assert!(!host.ok("nft list ruleset").contains("dnat ip"));
}

#[test]
fn what_led_to_a_jail_that_was_killed_leads_nowhere() {
    let host = host!();
    host.run(&[&BRIDGE[..], &["--nat"]].concat());
    let options = ["--publish", "8080:7080", "--allow", "198.51.100.0/24"];
    let jail = host.server(&options, "web");
    host.reaches(false, "tcp ::1 8080", "web");
    let rules = host.ok("nft list ruleset");
    assert!(
        rules.contains("8080") && rules.contains("from-v-"),
        "{rules}"
    );
    // Somebody flushes what is not his: healed, it leads there again.
    host.ok("nft flush ruleset");
    assert_eq!(host.call(false, "tcp 127.0.0.1 8080"), "nobody");
    host.run(&["net", "heal"]);
    host.reaches(false, "tcp 127.0.0.1 8080", "web");
    host.reaches(true, "tcp 2001:db8::1 8080", "web");
    assert_eq!(host.run(&["net", "heal"]), "");
    // `drop` kills: its supervisor cannot tidy up.
    drop(jail);
    let end = Instant::now() + Duration::from_secs(15);
    loop {
        let rules = host.ok("nft list ruleset");
        let left = rules.contains("8080") || rules.contains("v-run-") || rules.contains("from-v");
        let listens = host.ok("ss -Hln sport = :8080");
        if !left && listens.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "{rules}{listens}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(host.run(&["net", "heal"]), "");
    host.run(&["net", "rm", "alcantara", "--force"]);
    assert_eq!(host.ok("nft list ruleset"), "");
}

#[test]
fn jails_know_each_other_and_the_outside_by_name() {
    let host = host!();
    let _names = host.serve(true, NAMES, "");
    host.run(&[&BRIDGE[..], &["--nat", "--dns"]].concat());
    host.run(&["net", "add", "plain", "--addr", "10.78.0.1/24", "--nat"]);
    let files = ["--empty", "--with-files", "/bin/bash,/bin/cat"];
    for (name, net) in [
        ("web", "bridge:alcantara,ip=10.77.0.5/24"),
        ("db", "bridge:plain,ip=10.78.0.5/24"),
    ] {
        host.run(&[&["new", name], &files[..], &["--net", net]].concat());
    }
    let (_web, _server) = host.session("web", "web 7080");
    let (_db, _other) = host.session("db", "db 7080");
    let files = "cat /etc/resolv.conf /etc/hosts; for f in resolv.conf hosts; do : >>/etc/$f && echo written; done 2>/dev/null; true";
    // The forwarder of the bridge, which knows jails.
    let own = host.run(&["exec", "web", "--", "bash", "-c", "cat /etc/resolv.conf"]);
    assert_eq!(own, "search alcantara\nnameserver 10.77.0.1\n");
    let text = host.run(&[
        "run",
        "--net",
        "bridge:alcantara",
        "--",
        "bash",
        "-c",
        files,
    ]);
    let start = "search alcantara\nnameserver 10.77.0.1\nnameserver fd77::1\n";
    assert!(
        text.starts_with(start) && !text.contains("written"),
        "{text}"
    );
    const LOOK: &str = "import socket, sys\nfor name in sys.argv[1:]:\n  try: print(sorted({a[4][0] for a in socket.getaddrinfo(name, 1)}))\n  except OSError as e: print('none')";
    let looked = host.jailed(&[], LOOK, "web web.alcantara nada.alcantara example.org");
    assert_eq!(
        looked,
        "['10.77.0.5']\n['10.77.0.5']\nnone\n['198.51.100.2']"
    );
    // Without one: the host's resolvers, and a file with the names of the neighbours.
    let words = [
        "run",
        "--net",
        "bridge:plain,ip=10.78.0.6/24",
        "--",
        "bash",
        "-c",
        files,
    ];
    assert_eq!(
        host.run(&words).split("10.78.0.6").next().unwrap(),
        "nameserver 198.51.100.2\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    );
    let words = [
        "run",
        "--net",
        "bridge:plain",
        "--",
        "python3",
        "-c",
        LOOK,
        "db",
        "example.org",
    ];
    assert_eq!(host.run(&words), "['10.78.0.5']\n['198.51.100.2']\n");
    // Neither is written into what the jail stands on.
    let store = host.place.store();
    let found = host.ok(&format!(
        "find {}/jails -name resolv.conf -size +0 -o -name hosts -size +0",
        store.display()
    ));
    assert_eq!(found, "");
}

#[test]
fn a_link_in_the_tree_does_not_lead_a_file_of_names_outside() {
    let host = host!();
    host.run(&[&BRIDGE[..], &["--nat", "--dns"]].concat());
    let tree = host.place.store().with_file_name("hostile");
    host.ok(&format!(
        "mkdir -p {0}/etc && echo mine >{0}/../canary && ln -s ../../canary {0}/etc/resolv.conf && ln -s /canary {0}/etc/hosts && cp -L --parents $(ldd /bin/cat | grep -o '/[^ ]*') /bin/cat {0}",
        tree.display()
    ));
    let root = tree.display().to_string();
    let words = [
        "run",
        &root,
        "--net",
        "bridge:alcantara",
        "--",
        "/bin/cat",
        "/etc/resolv.conf",
    ];
    // It is the jail's own file.
    let text = host.run(&words);
    assert!(text.starts_with("search alcantara\n"), "{text}");
    assert_eq!(host.ok(&format!("cat {root}/../canary")), "mine\n");
    assert_eq!(
        host.ok(&format!("readlink {root}/etc/resolv.conf")),
        "../../canary\n"
    );
}

/// A name server that knows of no name.
const NO_NAMES: &str = r#"
import socket
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("198.51.100.2", 53))
print("ready", flush=True)
while True:
    q, who = u.recvfrom(2000); u.sendto(q[:2] + b"\x81\x83" + q[4:6] + bytes(6) + q[12:], who)
"#;

#[test]
fn a_name_that_nobody_knows_is_no_name_to_allow() {
    let host = host!();
    let _names = host.serve(true, NO_NAMES, "");
    host.run(&[&BRIDGE[..], &["--nat", "--dns"]].concat());
    for name in ["example.invalid", "*.example.invalid:443"] {
        let words = [
            "run",
            "--net",
            "bridge:alcantara",
            "--allow",
            name,
            "--",
            "true",
        ];
        let error = host.refused(&words);
        assert!(error.contains("know no such name"), "{error}");
    }
    host.run(&[
        "run",
        "--net",
        "bridge:alcantara",
        "--deny",
        "example.invalid",
        "--",
        "true",
    ]);
}

/// Says with which code a name server answers.
const CODE: &str = r#"
import socket, sys
q = b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + b"\7example\3org\0\0\1\0\1"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(30); s.sendto(q, (sys.argv[1], 53)); print(s.recv(2000)[3] & 15)
"#;

#[test]
fn two_forwarders_that_ask_each_other_stop() {
    let host = host!();
    host.run(&[&BRIDGE[..], &["--nat", "--dns"]].concat());
    host.run(&[
        "net",
        "add",
        "other",
        "--addr",
        "10.78.0.1/24",
        "--nat",
        "--dns",
    ]);
    host.ok("printf 'nameserver 10.77.0.1\\nnameserver 10.78.0.1\\n' >/run/resolv.conf");
    assert_eq!(host.jailed(&[], CODE, "10.77.0.1"), "2");
    // Nothing goes round any more.
    let sent = "cat /proc/net/snmp | awk '/^Udp: [0-9]/ { print $5 }'";
    let (mut last, end) = (host.ok(sent), Instant::now() + Duration::from_secs(30));
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = host.ok(sent);
        if now == last {
            break;
        }
        assert!(Instant::now() < end, "{last}{now}");
        last = now;
    }
    // With somebody who knows beside them it is found.
    let _names = host.serve(true, NAMES, "");
    host.ok("printf 'nameserver 10.77.0.1\\nnameserver 10.78.0.1\\nnameserver 198.51.100.2\\n' >/run/resolv.conf");
    assert_eq!(host.jailed(&[], CODE, "10.77.0.1"), "0");
}
