//! Jails on a bridge that gives something: the firewall knows each before it starts.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::{hermetic, skip};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

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
}

const SERVER: &str = r#"
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("0.0.0.0", int(sys.argv[1]))); s.listen()
print("ready", flush=True)
while True:
    c, who = s.accept(); c.sendall((who[0] + "\n").encode()); c.close()
"#;

#[test]
fn a_jail_is_known_to_the_firewall_before_it_starts() {
    let root =
        String::from_utf8_lossy(&Command::new("id").arg("-u").output().unwrap().stdout) == "0\n";
    let able = Command::new("nft").arg("--version").output().is_ok();
    if !root || !able {
        skip!("only root gives jails cards on the host's networks, and nft reads the firewall");
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "sh", "-c"]).arg(
        "mount -t sysfs sys /sys && mount -t tmpfs none /run && mkdir /run/netns && ip link set lo up && echo ready; exec cat",
    );
    let (host, ready) = Running::start(unshare);
    if ready != "ready\n" {
        skip!("no namespaces");
    }
    let pid = host.0.id().to_string();
    let on_host = |program: &str| {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--target", &pid, "--", program]);
        command
    };
    let sh = |line: &str| -> Output { on_host("bash").args(["-c", line]).output().unwrap() };
    let ok = |line: &str| -> String {
        let output = sh(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    ok(
        "ip netns add wan && ip link add up0 type veth peer name eth0 netns wan && ip addr add 198.51.100.1/24 dev up0 \
        && ip link set up0 up && ip route add default via 198.51.100.2",
    );
    ok(
        "nsenter --net=/run/netns/wan sh -c 'ip link set lo up; ip addr add 198.51.100.2/24 dev eth0; ip link set eth0 up'",
    );
    let serve = |place: &str, port: &str| {
        let mut command = on_host("bash");
        command.args(["-c", &format!("exec {place} python3 -c '{SERVER}' {port}")]);
        let (server, ready) = Running::start(command);
        assert_eq!(ready, "ready\n");
        server
    };
    let _wan = serve("nsenter --net=/run/netns/wan", "7000");
    let _own = serve("", "9000");
    let place = hermetic!();
    let program = place.command(&["x"]).get_program().to_owned();
    let jaula = |words: &[&str]| {
        let mut command = on_host(program.to_str().unwrap());
        command.args(words).env("JAULA_STORE", place.store());
        command
    };
    let run = |words: &[&str]| -> String {
        let output = jaula(words).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run(&[
        "net",
        "add",
        "alcantara",
        "--addr",
        "10.77.0.1/24",
        "--nat",
        "--dns",
    ]);
    let inside = "exec 3<>/dev/tcp/198.51.100.2/7000 && cat <&3; \
        timeout 3 bash -c 'exec 3<>/dev/tcp/10.77.0.1/9000' 2>/dev/null && echo open || echo closed; exec cat";
    let jail = jaula(&[
        "run",
        "--net",
        "bridge:alcantara",
        "--",
        "bash",
        "-c",
        inside,
    ]);
    let (jail, seen) = Running::start(jail);
    assert_eq!(seen, "198.51.100.1\n");
    for (set, wanted) in [
        ("cards", "\"v-"),
        ("own4", ". 10.77.0."),
        ("taken4", "10.77.0."),
    ] {
        let listed = ok(&format!("nft list set bridge jaula-alcantara {set}"));
        assert!(listed.contains(wanted), "{listed}");
    }
    assert!(run(&["net", "heal"]).is_empty());
    let closed = run(&[
        "run",
        "--net",
        "bridge:alcantara",
        "--",
        "bash",
        "-c",
        "timeout 3 bash -c 'exec 3<>/dev/tcp/10.77.0.1/9000' 2>/dev/null && echo open || echo closed",
    ]);
    // A jail that is over is forgotten: nothing is left to heal.
    assert_eq!(run(&["net", "heal"]), "");
    assert_eq!(closed, "closed\n");
    drop(jail);
    run(&["net", "rm", "alcantara", "--force"]);
    assert_eq!(ok("nft list ruleset"), "");
    let left = place.store().join("net");
    let left: Vec<_> = std::fs::read_dir(left)
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().starts_with("alcantara.")),
        "{left:?}"
    );
}
