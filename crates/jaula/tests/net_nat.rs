//! Jails that reach the outside through pasta or slirp4netns: as root, and as a user with one identifier, in network
//! namespaces that play the host and a server beside it.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::skip;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The host has 192.0.2.1 and something that listens on its loopback; the server beyond its default route 192.0.2.2
/// and, as a cloud has, 169.254.169.254.
const HOST: &str = r#"
    mount -t sysfs sys /sys
    mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200
    ip link set lo up
    unshare --net sleep infinity & server=$!
    while [ "$(readlink /proc/$server/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
    ip link add up0 type veth peer name peer0 netns /proc/$server/ns/net
    ip addr add 192.0.2.1/24 dev up0 && ip link set up0 up && ip route add default via 192.0.2.2
    ip addr add 2001:db8::1/64 dev up0 nodad && ip -6 route add default via 2001:db8::2 dev up0
    nsenter --net=/proc/$server/ns/net sh -c 'ip link set lo up; ip link set peer0 up;
        ip addr add 192.0.2.2/24 dev peer0; ip addr add 169.254.169.254/32 dev lo'
    nsenter --net=/proc/$server/ns/net python3 -c "$LISTEN" 80 outside & 
    python3 -c "$LISTEN" 81 loopback &
    read one; read two; echo ready
"#;

/// Answers everybody with a word.
const LISTEN: &str = "
import socket, sys
s = socket.create_server(('0.0.0.0' if sys.argv[2] == 'outside' else '127.0.0.1', int(sys.argv[1])))
print(file=open('/proc/self/fd/3', 'w'), flush=True)
while True:
    c = s.accept()[0]; c.sendall((sys.argv[2] + '\\n').encode()); c.close()
";

/// Who runs jaula.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Root,
    OneIdentifier,
}

struct Host {
    process: Child,
    place: PathBuf,
}

impl Host {
    fn start(name: &str) -> Option<Self> {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        if !map.split_whitespace().eq(["0", "0", "4294967295"]) {
            return None;
        }
        let script = HOST.replace(
            "read one; read two; echo ready",
            "read one <&4; read two <&4; echo ready; exec cat",
        );
        let script = format!("fifo=$1/fifo; mkfifo $fifo; exec 4<>$fifo 3>$fifo\n{script}");
        let place = std::env::temp_dir().join(format!("jaula-nat-{name}-{}", std::process::id()));
        std::fs::create_dir(&place).expect("a new directory");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&place, open).expect("its mode");
        // A pid namespace: what is started in it ends with it, whoever its parent is.
        let mut process = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
            .args(["--mount-proc", "sh", "-c", &script, "sh"])
            .arg(&place)
            .env("LISTEN", LISTEN)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let mut lines = BufReader::new(process.stdout.take()?);
        let read = lines.read_line(&mut line);
        let this = Self { process, place };
        (read.is_ok() && line == "ready\n").then_some(this)
    }

    /// A program there.
    fn command(&self, program: &str) -> Command {
        let path = format!("/proc/{0}/task/{0}/children", self.process.id());
        let inside = std::fs::read_to_string(path).expect("the host's processes");
        let mut command = Command::new("nsenter");
        command
            .args(["--net", "--mount", "--pid", "--target", inside.trim()])
            .args(["--", program]);
        command
    }

    fn jaula(&self, who: Who, words: &[&str]) -> Command {
        let mut command = self.command("env");
        command.arg("-i").arg("PATH=/usr/bin:/bin:/usr/sbin:/sbin");
        let store = self.place.join(format!("{who:?}"));
        command.arg(format!("JAULA_STORE={}", store.display()));
        if who == Who::OneIdentifier {
            command.args(["setpriv", "--reuid=65534", "--regid=65534"]);
            command.arg("--clear-groups");
        }
        command.arg(env!("CARGO_BIN_EXE_jaula")).args(words);
        command
    }

    /// What a script in a jail says.
    fn inside(&self, who: Who, net: &str, script: &str) -> String {
        let words = ["run", "--net", net, "--", "bash", "-c", script];
        let output = self.jaula(who, &words).output().expect("jaula");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{who:?} {net}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// How many programs that connect jails run.
    fn tools(&self) -> usize {
        // A dead one is not yet waited for.
        let script = "cat /proc/[0-9]*/stat 2>/dev/null | grep -E '\\((passt|pasta|slirp)' | grep -vcE '\\) [ZX]'";
        let output = self.command("sh").args(["-c", script]).output();
        let count = String::from_utf8(output.expect("sh").stdout).expect("text");
        count.trim().parse().expect(&count)
    }

    fn wait_for_tools(&self, wanted: usize) {
        for _ in 0..100 {
            if self.tools() == wanted {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let all = self
            .command("ps")
            .args(["-eo", "pid,ppid,stat,args"])
            .output();
        let all = String::from_utf8_lossy(&all.expect("ps").stdout).into_owned();
        panic!("{} instead of {wanted}:\n{all}", self.tools());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(std::fs::remove_dir_all(&self.place));
    }
}

macro_rules! host {
    ($name:literal) => {
        match Host::start($name) {
            Some(host) => host,
            None => skip!("only root can make a host with a device /dev/net/tun"),
        }
    };
}

const ALL: [(Who, &str, &str); 4] = [
    (Who::Root, "nat:pasta", "169.254.1.1"),
    (Who::Root, "nat:slirp4netns", "10.0.2.3"),
    (Who::OneIdentifier, "nat", "169.254.1.1"),
    (Who::OneIdentifier, "nat:slirp4netns", "10.0.2.3"),
];

#[test]
fn a_jail_reaches_the_outside_without_root_and_not_the_hosts_loopback() {
    let host = host!("reach");
    let script = r#"
        cat /etc/resolv.conf; ip -brief link show eth0 | grep -c LOWER_UP; ip route show default | wc -l
        for to in 192.0.2.2/80 169.254.169.254/80 127.0.0.1/81 192.0.2.1/81 192.0.2.2/81 10.0.2.2/81; do
            echo "$to: $(timeout 1 bash -c "cat </dev/tcp/$to" 2>/dev/null || echo no)"
        done
        if : >>/etc/resolv.conf; then echo written; fi 2>/dev/null
    "#;
    for (who, net, resolver) in ALL {
        let said = host.inside(who, net, script);
        let wanted = format!(
            "nameserver {resolver}\n1\n1\n192.0.2.2/80: outside\n169.254.169.254/80: no\n127.0.0.1/81: no\n\
             192.0.2.1/81: no\n192.0.2.2/81: no\n10.0.2.2/81: no\n"
        );
        assert_eq!(said, wanted, "{who:?} {net}");
        host.wait_for_tools(0);
    }
    // Both servers are there for who may reach them.
    let own = "cat </dev/tcp/127.0.0.1/81; cat </dev/tcp/169.254.169.254/80";
    let own = host.command("bash").args(["-c", own]).output();
    assert_eq!(own.expect("bash").stdout, b"loopback\noutside\n");
}

#[test]
fn what_connects_a_jail_ends_with_its_supervisor() {
    let host = host!("killed");
    for (who, net, _) in ALL {
        let words = ["run", "--net", net, "--", "sh", "-c", "echo $$; exec cat"];
        let mut child = host
            .jaula(who, &words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("jaula");
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        lines.read_line(&mut line).expect("a line");
        assert_eq!(host.tools(), 1, "{who:?} {net}");
        // nsenter waits for it and is not it.
        let script = "kill -9 $(ps -eo pid=,stat=,comm= --sort pid | awk '$3 == \"jaula\" && $2 !~ /Z/ { print $1; exit }')";
        let killed = host.command("sh").args(["-c", script]).status();
        assert!(killed.expect("sh").success());
        host.wait_for_tools(0);
        drop(child.kill());
        drop(child.wait());
    }
}

#[test]
fn what_is_missing_for_it_is_said_before_anything_is_started() {
    let host = host!("missing");
    let say = |words: &[&str]| {
        let output = host.jaula(Who::OneIdentifier, words).output();
        let output = output.expect("jaula");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    let plan = ["run", "--net", "nat", "--plan", "--", "true"];
    let (code, text) = say(&plan);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("through pasta (/usr/bin/pasta)"), "{text}");
    let (_, text) = say(&["run", "--net", "nat", "--explain", "--", "true"]);
    let typed = "/usr/bin/pasta --config-net --ns-ifname eth0 --no-map-gw";
    assert!(text.contains(typed), "{text}");
    assert!(
        text.contains("ip route add unreachable 169.254.169.254"),
        "{text}"
    );
    let (code, text) = say(&["run", "--net", "nat:vpn", "--", "true"]);
    assert_eq!(code, Some(125), "{text}");

    let hide = "for tool in pasta slirp4netns; do for dir in /usr/bin /usr/sbin /usr/local/bin /bin; do \
        [ ! -e $dir/$tool ] || { mount --bind /dev/null $dir/$tool; }; done; done";
    let hidden = host.command("sh").args(["-ec", hide]).status();
    assert!(hidden.expect("sh").success());
    let (code, text) = say(&["run", "--net", "nat", "--", "true"]);
    assert_eq!(code, Some(125), "{text}");
    assert!(text.contains("needs pasta or slirp4netns"), "{text}");
    assert!(text.contains("apt install passt"), "{text}");

    let host = Host::start("device").expect("a second host");
    let closed = host.command("chmod").args(["600", "/dev/net/tun"]).status();
    assert!(closed.expect("chmod").success());
    let output = host.jaula(Who::OneIdentifier, &["run", "--net", "nat", "--", "true"]);
    let output = { output }.output().expect("jaula");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{text}");
    assert!(text.contains("/dev/net/tun"), "{text}");
}

#[test]
fn what_the_program_cannot_do_is_told_in_its_words() {
    let host = host!("route");
    let gone = host
        .command("sh")
        .args(["-ec", "ip route del default; ip -6 route del default"])
        .status();
    assert!(gone.expect("ip").success());
    let words = ["run", "--net", "nat:pasta", "--", "echo", "started"];
    let output = host.jaula(Who::OneIdentifier, &words).output();
    let output = output.expect("jaula");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{text}");
    assert!(output.stdout.is_empty());
    assert!(text.contains("pasta did not connect the jail"), "{text}");
    assert!(text.contains("nat:slirp4netns"), "{text}");
    host.wait_for_tools(0);
}

/// Says a word to who speaks first, at a port of TCP and of UDP: pasta of 2023 loses what a server says before that.
const SERVER: &str = "
import os, socket, sys, threading
t = socket.create_server(('::', 7080), family=socket.AF_INET6, dualstack_ipv6=True); u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('', 7080))
def udp():
    while True: u.sendto(b'jail', u.recvfrom(100)[1])
def tcp():
    while True:
        c = t.accept()[0]; c.recv(1); c.sendall(b'jail'); c.close()
for f in (tcp, udp): threading.Thread(target=f, daemon=True).start()
print('ready', flush=True)
sys.stdin.read(); os._exit(0)
";

/// Calls by TCP or UDP; says what was answered, or nothing.
const CLIENT: &str = "
import socket, sys
way, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
try:
    s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_STREAM if way == 'tcp' else socket.SOCK_DGRAM)
    s.settimeout(3); s.connect((host, port)); s.send(b'x')
    print(s.recv(100).decode() or 'nobody')
except OSError: print('nobody')
";

/// Says what comes to be in a directory until its input ends (inotify(7)).
const WATCH: &str = "
import ctypes, os, select, sys
libc = ctypes.CDLL(None); fd = libc.inotify_init(); libc.inotify_add_watch(fd, sys.argv[1].encode(), 0x100)
print('ready', flush=True)
while True:
    ready = select.select([fd, 0], [], [])[0]
    if fd in ready: print(os.read(fd, 1 << 16))
    elif 0 in ready: break
";

#[test]
fn a_published_port_leads_to_a_jail_without_root() {
    let host = host!("publish");
    // Whatever is written there outlives who is killed.
    let mut watch = host
        .command("python3")
        .args(["-c", WATCH, "/tmp"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut watched = BufReader::new(watch.stdout.take().expect("piped"));
    let mut ready = String::new();
    watched.read_line(&mut ready).expect("a line");
    assert_eq!(ready, "ready\n");
    let call = |outside: bool, words: &str| {
        let place = match outside {
            true => "exec nsenter --net=/proc/$(pgrep -x sleep | head -n 1)/ns/net",
            false => "exec",
        };
        let script = format!("{place} python3 -c \"$1\" {words}");
        let output = host
            .command("bash")
            .args(["-c", &script, "x", CLIENT])
            .output();
        let output = output.expect("bash");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for (who, net, _) in ALL {
        let pasta = !net.ends_with("slirp4netns");
        let mut words = vec!["run", "--net", net];
        for port in ["8080:7080", "7080:7080/udp", "127.0.0.1:8081:7080"] {
            words.extend(["--publish", port]);
        }
        words.extend(["--", "python3", "-c", SERVER]);
        let mut child = host
            .jaula(who, &words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("jaula");
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        lines.read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n", "{who:?} {net}");
        for (outside, words) in [
            (false, "tcp 127.0.0.1 8080"),
            (false, "tcp 127.0.0.1 8081"),
            (false, "udp 127.0.0.1 7080"),
            (false, "tcp ::1 8080"),
            (true, "tcp 192.0.2.1 8080"),
            (true, "udp 192.0.2.1 7080"),
        ] {
            // It knows nothing of IPv6, and what it keeps from the host's loopback are answers to datagrams too.
            if !pasta && (words.starts_with("udp 127") || words.contains("::1")) {
                continue;
            }
            assert_eq!(call(outside, words), "jail", "{who:?} {net} {words}");
        }
        for (outside, words) in [
            (true, "tcp 192.0.2.1 8081"),
            (true, "tcp 192.0.2.1 7080"),
            (true, "udp 192.0.2.1 8080"),
        ] {
            assert_eq!(call(outside, words), "nobody", "{who:?} {net} {words}");
        }
        // Somebody has it now.
        let other = ["run", "--net", net, "--publish", "8080:1", "--", "true"];
        let output = host.jaula(who, &other).output().expect("jaula");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{error}");
        assert!(
            error.contains("a program of the host listens at"),
            "{error}"
        );
        let six = [
            "run",
            "--net",
            net,
            "--publish",
            "[::1]:8083:1",
            "--",
            "true",
        ];
        let output = host.jaula(who, &six).output().expect("jaula");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), pasta, "{error}");
        drop(child.stdin.take());
        assert!(child.wait().expect("jaula").success());
        host.wait_for_tools(0);
        assert_eq!(call(true, "tcp 192.0.2.1 8080"), "nobody");
    }
    drop(watch.stdin.take());
    let mut made = String::new();
    watched.read_to_string(&mut made).expect("what it says");
    assert!(watch.wait().expect("it ends").success());
    assert!(!made.contains(".jaula-"), "{made}");
}

#[test]
fn a_named_jail_without_root_keeps_its_ports() {
    let host = host!("named");
    let who = Who::OneIdentifier;
    let words = [
        "new",
        "web",
        "--empty",
        "--with-files",
        "/bin/bash,/bin/cat",
        "--net",
        "nat",
        "--publish",
        "8080:7080",
    ];
    let made = host.jaula(who, &words).output().expect("jaula");
    let error = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{error}");
    let shown = host.jaula(who, &["show", "web"]).output().expect("jaula");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("nat,publish=8080:7080"), "{shown}");
    for _ in 0..2 {
        let listens = "cat /etc/resolv.conf; exit 7";
        let words = ["exec", "web", "--", "bash", "-c", listens];
        let output = host.jaula(who, &words).output().expect("jaula");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{error}");
        assert_eq!(output.stdout, b"nameserver 169.254.1.1\n");
        host.wait_for_tools(0);
    }
}
