//! Jails with cards on bridges of the host, as root, in network namespaces that play the host.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::{Hermetic, hermetic, skip};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A host: a network namespace, as root of the machine.
struct Host(Child);

impl Host {
    fn start() -> Option<Self> {
        let mut child = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c"])
            .arg("mount -t sysfs sys /sys && ip link set lo up && echo ready; exec cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take()?)
            .read_line(&mut line)
            .ok()?;
        (line == "ready\n").then_some(Self(child))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.0.id().to_string();
        command.args(["--net", "--mount", "--target", &pid, "--", program]);
        command
    }

    fn sh(&self, script: &str) -> String {
        let output = self
            .command("sh")
            .args(["-ec", script])
            .output()
            .expect("sh");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn jaula(&self, place: &Hermetic, words: &[&str]) -> Command {
        let program = place.command(&["x"]).get_program().to_owned();
        let mut command = self.command(program.to_str().expect("a path"));
        command.args(words).env("JAULA_STORE", place.store());
        command
    }

    fn run(&self, place: &Hermetic, words: &[&str]) -> String {
        let output = self.jaula(place, words).output().expect("jaula");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn refused(&self, place: &Hermetic, words: &[&str]) -> String {
        let output = self.jaula(place, words).output().expect("jaula");
        assert_eq!(output.status.code(), Some(125), "{words:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Host ends that are there.
    fn ends(&self) -> usize {
        self.sh("ip -brief link")
            .lines()
            .filter(|line| line.starts_with("v-"))
            .count()
    }

    /// The kernel removes what an ended jail had in its own time.
    fn wait_for_ends(&self, wanted: usize) {
        for _ in 0..100 {
            if self.ends() == wanted {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{}", self.sh("ip -brief link"));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

macro_rules! host {
    () => {
        match (Hermetic::root(), Host::start()) {
            (true, Some(host)) => host,
            _ => skip!("only root gives jails cards on the host's networks"),
        }
    };
}

trait Root {
    fn root() -> bool;
}

impl Root for Hermetic {
    fn root() -> bool {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        whole && status.contains("Uid:\t0\t0\t0\t0")
    }
}

/// A jail that waits with its card, until its input ends.
struct Guest(Child);

impl Guest {
    /// With the words of its network; tells what `ip -brief address` shows inside.
    fn start(host: &Host, place: &Hermetic, words: &[&str]) -> (Self, String) {
        let script = "ip -brief address; ip route; ip -6 route show default";
        Self::with(host, place, words, script)
    }

    /// With a script of its own to be run before.
    fn with(host: &Host, place: &Hermetic, words: &[&str], script: &str) -> (Self, String) {
        let script = format!("{script}; ip -brief link show eth0; echo ready; exec cat");
        let words = [&["run"], words, &["--", "sh", "-c", &script]].concat();
        let mut child = host
            .jaula(place, &words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("jaula");
        let mut said = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        while !said.ends_with("ready\n") {
            assert_ne!(lines.read_line(&mut said).expect("a line"), 0, "{said}");
        }
        (Self(child), said)
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("its end").success());
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The address of a family that `ip -brief address` shows of eth0.
fn address(said: &str, start: &str) -> String {
    let line = said
        .lines()
        .find(|line| line.starts_with("eth0"))
        .expect(said);
    let found = line.split_whitespace().find(|word| word.starts_with(start));
    found
        .expect(said)
        .split('/')
        .next()
        .expect("an address")
        .to_owned()
}

#[test]
fn two_jails_on_a_bridge_reach_each_other_and_the_bridge() {
    let host = host!();
    let place = hermetic!();
    let words = [
        "net",
        "add",
        "alcantara",
        "--addr",
        "10.9.0.1/24,fd00:9::1/64",
    ];
    host.run(&place, &words);
    let net = ["--net", "bridge:alcantara"];
    let (one, said) = Guest::start(&host, &place, &net);
    let (four, six) = (address(&said, "10.9.0."), address(&said, "fd00:9::"));
    assert!(said.contains("default via 10.9.0.1 dev eth0"), "{said}");
    assert!(said.contains("default via fd00:9::1 dev eth0"), "{said}");
    assert_eq!(host.ends(), 1);
    // The second reaches the first, the bridge, and has an address of its own.
    let script = format!(
        "ip -brief address; ping -c1 -w5 {four} >/dev/null && ping -c1 -w5 {six} >/dev/null && \
         ping -c1 -w5 10.9.0.1 >/dev/null && ping -c1 -w5 fd00:9::1 >/dev/null && echo all"
    );
    let caps = ["--cap-add", "NET_RAW"];
    let own = |said: &str| {
        let mut words = said.split_whitespace();
        let mac = words.find(|word| word.starts_with("0a:") && word.len() == 17);
        mac.expect(said).to_owned()
    };
    let first = own(&said);
    let (two, said) = Guest::with(&host, &place, &[&net[..], &caps].concat(), &script);
    assert!(said.contains("\nall\n"), "{said}");
    assert_ne!(address(&said, "10.9.0."), four);
    let mut wanted = vec![first, own(&said)];
    wanted.sort();
    let macs = host.run(&place, &["net", "macs", "alcantara", "--json"]);
    let macs: Value = serde_json::from_str(&macs).expect("JSON");
    let guests = macs["stations"].as_array().expect("a list").iter();
    let guests = guests.filter(|station| station["local"] == false);
    let guests = guests.map(|station| station["mac"].as_str().expect("a card").to_owned());
    assert_eq!(guests.collect::<Vec<_>>(), wanted, "{macs}");
    // Whoever types the old name sees the same.
    let link = place.work().join("brctl");
    std::os::unix::fs::symlink(place.command(&["x"]).get_program(), &link).expect("a link");
    let shown = host.sh(&format!("{} showmacs alcantara", link.display()));
    for mac in &wanted {
        assert!(shown.contains(&format!("\t{mac}\tno\t")), "{shown}");
    }
    two.end();
    one.end();
    host.wait_for_ends(0);
    // The address of the one that is over is free.
    let net = format!("bridge:alcantara,ip={four}/24");
    host.run(&place, &["run", "--net", &net, "--", "true"]);
}

#[test]
fn a_named_jail_keeps_its_name_addresses_and_mac() {
    let host = host!();
    let place = hermetic!();
    host.run(
        &place,
        &["net", "add", "alcantara", "--addr", "10.9.0.1/24"],
    );
    let root = place.work().join("root");
    std::fs::create_dir(&root).expect("a directory");
    let script = format!(
        "cp --archive --parents /bin/busybox {0} 2>/dev/null || cp --parents /usr/bin/busybox {0}
         mkdir -p {0}/bin {0}/usr/bin; for tool in sh ip cat; do ln -sf $(command -v busybox) {0}/usr/bin/$tool; done
         [ -e {0}/bin/sh ] || for tool in sh ip cat; do ln -sf $(command -v busybox) {0}/bin/$tool; done",
        root.display()
    );
    let made = Command::new("sh").args(["-ec", &script]).status();
    if !made.is_ok_and(|status| status.success()) {
        skip!("there is no busybox");
    }
    let root = root.to_str().expect("a path");
    let words = ["new", "web", "--from", root, "--net", "bridge:alcantara"];
    host.run(&place, &words);
    let show = || {
        host.run(
            &place,
            &["exec", "web", "--", "ip", "address", "show", "eth0"],
        )
    };
    let first = show();
    assert!(first.contains("link/ether 0a:2e:09:98:a7:99"), "{first}");
    assert!(first.contains("inet 10.9.0.120/24"), "{first}");
    host.wait_for_ends(0);
    let lines = |text: &str| -> Vec<String> {
        let kept = text
            .lines()
            .filter(|line| line.contains("link/ether") || line.contains("inet "));
        kept.map(str::to_owned).collect()
    };
    assert_eq!(lines(&show()), lines(&first));
    assert!(
        host.run(&place, &["show", "web"])
            .contains("bridge:alcantara")
    );
    // While it is not running its address is its own all the same.
    let text = host.refused(
        &place,
        &[
            "run",
            "--net",
            "bridge:alcantara,ip=10.9.0.120/24",
            "--",
            "true",
        ],
    );
    assert!(text.contains("10.9.0.120 is the address of web"), "{text}");
}

#[test]
fn what_is_asked_of_a_card_is_so_inside() {
    let host = host!();
    let place = hermetic!();
    host.sh("ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up");
    host.run(&place, &["net", "add", "uno", "--addr", "10.9.0.1/24"]);
    host.run(&place, &["net", "add", "dos", "--addr", "10.10.0.1/24"]);
    let words = [
        "run",
        "--net",
        "bridge:uno,ip=10.9.0.7/24,mac=02:00:00:00:00:07,mtu=1400",
        "--net",
        "bridge:dos",
        "--net",
        "macvlan:up0,ip=10.11.0.7/24",
        "--",
        "sh",
        "-c",
        "ip -brief link; ip -brief address; ip route",
    ];
    let said = host.run(&place, &words);
    for part in [
        "02:00:00:00:00:07",
        "10.9.0.7/24",
        "10.11.0.7/24",
        "eth1",
        "eth2",
        "default via 10.9.0.1 dev eth0",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(said.matches("default via").count(), 1, "{said}");
    let link = host.run(
        &place,
        &[&words[..3], &["--", "cat", "/sys/class/net/eth0/mtu"]].concat(),
    );
    assert_eq!(link, "1400\n");
    host.wait_for_ends(0);
    // A network namespace that is kept.
    let (guest, _) = Guest::start(&host, &place, &["--net", "bridge:uno,ip=10.9.0.9/24"]);
    host.run(
        &place,
        &[
            "ns",
            "keep",
            "lab",
            "--pid",
            &inner(&guest),
            "--only",
            "net",
        ],
    );
    guest.end();
    let said = host.run(
        &place,
        &["run", "--net", "ns:lab", "--", "ip", "-brief", "address"],
    );
    assert!(said.contains("10.9.0.9/24"), "{said}");
    host.run(&place, &["ns", "rm", "lab"]);
    host.wait_for_ends(0);
}

/// A process inside a guest: the deepest child of the one that was started.
fn inner(guest: &Guest) -> String {
    let mut pid = guest.0.id().to_string();
    loop {
        let path = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(path).unwrap_or_default();
        match children.split_whitespace().next() {
            Some(child) => pid = child.to_owned(),
            None => return pid,
        }
    }
}

#[test]
fn what_cannot_be_had_is_refused_and_nothing_is_left() {
    let host = host!();
    let place = hermetic!();
    host.run(
        &place,
        &["net", "add", "alcantara", "--addr", "10.9.0.1/24"],
    );
    host.sh("ip link add name abajo type bridge");
    let links = host.sh("ip -brief link");
    for (net, text) in [
        ("bridge:nada", "there is no link named nada"),
        ("bridge:lo", "lo is a loopback, not a bridge"),
        ("bridge:abajo", "abajo is down"),
        (
            "bridge:alcantara,ip=10.9.0.1/24",
            "10.9.0.1 is the address of alcantara",
        ),
        ("bridge:alcantara,mtu=9000", "of 9000 bytes at most"),
        ("bridge:alcantara,ip=10.9.0.0/24", "cannot use"),
        ("bridge:nombre_demasiado_largo", "longer than 15"),
        ("ns:nada", "no network namespace is kept as nada"),
        ("veth:x", "is no network of a jail"),
    ] {
        let said = host.refused(&place, &["run", "--net", net, "--", "true"]);
        assert!(said.contains(text), "{net}: {said}");
    }
    let said = host.refused(
        &place,
        &[
            "run",
            "--net",
            "host",
            "--net",
            "bridge:alcantara",
            "--",
            "true",
        ],
    );
    assert!(said.contains("host goes with no other network"), "{said}");
    assert_eq!(host.sh("ip -brief link"), links);
    let plan = host.run(
        &place,
        &["run", "--net", "bridge:alcantara", "--plan", "--", "true"],
    );
    assert!(
        plan.contains("connect eth0 to the bridge alcantara as 10.9.0."),
        "{plan}"
    );
    let script = host.run(
        &place,
        &[
            "run",
            "--net",
            "bridge:alcantara",
            "--explain",
            "--",
            "true",
        ],
    );
    assert!(
        script.contains("master alcantara up type veth peer name eth0"),
        "{script}"
    );
    assert_eq!(host.sh("ip -brief link"), links);
}

/// Somebody who is no jail, or was given his addresses by nobody, answers for them.
#[test]
fn an_address_that_somebody_has_is_given_to_no_jail() {
    let host = host!();
    let place = hermetic!();
    for nat in [&[][..], &["--nat"]] {
        let words = [
            "net",
            "add",
            "alcantara",
            "--addr",
            "10.9.0.1/24,fd09::1/64",
        ];
        host.run(&place, &[&words[..], nat].concat());
        let guest = host.sh(
            "unshare --net sleep 60 >/dev/null 2>&1 & g=$!; echo $g; until [ $(readlink /proc/$g/ns/net) != $(readlink /proc/self/ns/net) ]; do :; done
             ip link add name v-g type veth peer name g0 netns $g && ip link set v-g master alcantara up
             nsenter --net=/proc/$g/ns/net sh -ec 'ip link set g0 up; ip addr add 10.9.0.9/24 dev g0
                 ip addr add fd09::9/64 dev g0 nodad'",
        );
        let words = |address: &str| {
            let net = format!("bridge:alcantara,{address}");
            [
                "run".into(),
                "--net".into(),
                net,
                "--".into(),
                "true".into(),
            ]
        };
        for (address, given) in [
            ("10.9.0.9", "ip=10.9.0.9/24"),
            ("fd09::9", "ip=10.9.0.10/24,ip=fd09::9/64"),
        ] {
            let words: [String; 5] = words(given);
            let said = host.refused(&place, &words.each_ref().map(String::as_str));
            let text = format!("{address} is in use: ");
            let by = "answers for it by alcantara";
            assert!(said.contains(&text) && said.contains(by), "{said}");
        }
        // What has just ended itself is no reason.
        let words = words("ip=10.9.0.10/24,ip=fd09::10/64");
        for _ in 0..3 {
            host.run(&place, &words.each_ref().map(String::as_str));
        }
        host.sh(&format!("ip link del v-g; kill {guest}"));
        host.run(&place, &["net", "rm", "alcantara"]);
    }
}
