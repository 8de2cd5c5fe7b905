//! `jaula net` as it is typed, in network namespaces that play the host.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::{Hermetic, hermetic, kernel_test, skip};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// What a shell says to a script that must succeed.
fn sh(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", script])
        .output()
        .expect("sh");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{script}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// A host somewhere else: a network namespace with a process in it.
struct Peer(Child);

impl Peer {
    fn start() -> Self {
        let mut child = Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up; echo ready; exec cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        Self(child)
    }

    /// A cable from `link` here to `eth0` there, with an address.
    fn cable(&self, link: &str, address: &str) {
        sh(&format!(
            "ip link add {link} type veth peer name eth0 netns {}",
            self.0.id()
        ));
        self.sh(&format!(
            "ip address add {address} dev eth0; ip link set eth0 up"
        ));
    }

    fn sh(&self, script: &str) -> String {
        let command = format!(
            "nsenter --net=/proc/{}/ns/net sh -ec '{script}'",
            self.0.id()
        );
        sh(&command)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Links, addresses, routes and bridges, without what counts or ages.
fn world() -> String {
    sh(
        "ip -details link | sed 's/[a-z_]*_timer *[0-9.]*//g; s/^[0-9]*: //; s/ageing_time.*//'; \
        ip -oneline address | sed 's/^[0-9]*: //'; ip route show table all; ip -6 route show table all; \
        cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding",
    )
}

fn json(place: &Hermetic, words: &[&str]) -> Value {
    let ran = place.run(&[words, &["--json"]].concat()).expect(0);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

/// Runs and returns what was said on standard error of a refusal.
fn refused(place: &Hermetic, words: &[&str]) -> String {
    place.run(words).expect(125).stderr
}

#[test]
fn a_bridge_is_made_shown_and_removed() {
    kernel_test!();
    let place = hermetic!();
    let before = world();
    assert_eq!(place.run(&["net", "add", "alcantara"]).expect(0).stdout, "");
    let shown = sh("ip addr show alcantara");
    assert!(
        shown.contains("alcantara: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN"),
        "{shown}"
    );
    assert!(
        shown.contains("link/ether ") && !shown.contains("inet"),
        "{shown}"
    );
    assert_eq!(
        refused(&place, &["net", "add", "alcantara"]),
        "error: cannot make the bridge alcantara\n  there is a bridge named alcantara already\n"
    );
    let long = refused(&place, &["net", "add", "nombre_demasiado_largo"]);
    assert!(long.contains("longer than 15 characters"), "{long}");
    let listed = json(&place, &["net", "ls"]);
    let bridge = &listed["links"][0];
    assert_eq!(bridge["name"], "alcantara");
    assert_eq!(bridge["maker"], "jaula");
    assert_eq!(bridge["state"], "down");
    assert_eq!(bridge["bridge"]["id"], "8000.000000000000");
    place.run(&["net", "rm", "alcantara"]).expect(0);
    assert_eq!(world(), before);
}

#[test]
fn a_bridge_has_addresses_and_is_up() {
    kernel_test!();
    let place = hermetic!();
    let before = world();
    let words = [
        "net",
        "add",
        "alcantara",
        "--addr",
        "10.9.0.1/24,fd00:9::1/64",
        "--set",
        "stp=on,ageing=12.5",
    ];
    place.run(&words).expect(0);
    let shown = sh("ip addr show alcantara; cat /proc/self/net/if_inet6");
    assert!(
        shown.contains("inet 10.9.0.1/24 brd 10.9.0.255 scope global alcantara"),
        "{shown}"
    );
    assert!(shown.contains("inet6 fd00:9::1/64 scope global"), "{shown}");
    assert!(shown.contains(",UP"), "{shown}");
    let details = sh("ip -details link show alcantara");
    assert!(
        details.contains("ageing_time 1250 ") && details.contains("stp_state 1 "),
        "{details}"
    );
    let text = refused(&place, &["net", "add", "otro", "--addr", "10.9.0.129/25"]);
    assert!(
        text.contains("10.9.0.129/25 overlaps 10.9.0.0/24, which is reached by alcantara"),
        "{text}"
    );
    place.run(&["net", "rm", "alcantara"]).expect(0);
    assert_eq!(world(), before);
}

#[test]
fn a_port_gives_the_bridge_its_address() {
    kernel_test!();
    let place = hermetic!();
    sh("ip link add eth0 address 1c:6f:65:a4:06:90 type veth peer name p0; ip link set p0 up; ip link set eth0 up
        ip link add eth1 address 1e:6f:65:a4:06:90 type veth peer name p1; ip link set p1 up
        ip link add eth2 address 0e:6f:65:a4:06:90 type veth peer name p2; ip link set p2 up");
    place
        .run(&["net", "add", "alcantara", "--port", "eth0"])
        .expect(0);
    let mac = || {
        sh("cat /proc/self/net/dev >/dev/null; ip -brief link show alcantara | awk '{print $3}'")
    };
    let shown = sh("ip addr show eth0");
    assert!(shown.contains("master alcantara state UP"), "{shown}");
    assert_eq!(mac(), "1c:6f:65:a4:06:90\n");
    let bridge = json(&place, &["net", "show", "alcantara"]);
    assert_eq!(bridge["link"]["bridge"]["id"], "8000.1c6f65a40690");
    place.run(&["net", "attach", "alcantara", "eth1"]).expect(0);
    assert_eq!(mac(), "1c:6f:65:a4:06:90\n", "a higher one changes nothing");
    place.run(&["net", "attach", "alcantara", "eth2"]).expect(0);
    assert_eq!(mac(), "0e:6f:65:a4:06:90\n", "a lower one is taken");
    let attach = |link: &str| refused(&place, &["net", "attach", "alcantara", link]);
    assert!(attach("eth1").contains("it is a port of alcantara"));
    assert!(attach("lo").contains("it is the loopback"));
    assert!(attach("eth7").contains("there is no link named eth7"));
    let text = refused(&place, &["net", "attach", "eth0", "p0"]);
    assert!(text.contains("eth0 is a veth, not a bridge"), "{text}");
    // Ports are cut off one by one, and what was down before is down again.
    place
        .run(&["net", "detach", "alcantara", "eth0", "eth1"])
        .expect(0);
    let ports = json(&place, &["net", "show", "alcantara"]);
    assert_eq!(ports["link"]["ports"], serde_json::json!(["eth2"]));
    place.run(&["net", "rm", "alcantara"]).expect(0);
}

#[test]
fn addresses_move_to_the_bridge_and_back_while_a_peer_keeps_pinging() {
    kernel_test!();
    let place = hermetic!();
    let peer = Peer::start();
    peer.cable("eth0", "10.9.0.1/24");
    peer.sh("ip address add 2001:db8:9::1/64 dev eth0 nodad; ip address add 192.0.2.1/32 dev lo");
    sh("ip link set lo up; ip address add 10.9.0.5/24 dev eth0; ip address add 2001:db8:9::5/64 dev eth0 nodad
        ip link set eth0 up; ip route add default via 10.9.0.1; ip route add 198.51.100.0/24 via 10.9.0.7 metric 9
        ip -6 route add default via 2001:db8:9::1
        ping -c1 -w5 10.9.0.1 >/dev/null; ping -c1 -w5 2001:db8:9::1 >/dev/null; ping -c1 -w5 192.0.2.1 >/dev/null");
    // fe80:: of the card comes and goes with the kernel's own timing: wait for it.
    sh(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
        ip -6 address show dev eth0 scope link | grep -q tentative || break; sleep 0.1; done",
    );
    let before = world();
    let text = refused(&place, &["net", "add", "alcantara", "--port", "eth0"]);
    assert!(
        text.contains("it has 10.9.0.5/24 and 2001:db8:9::5/64"),
        "{text}"
    );
    assert!(
        text.contains("--move-address gives eth0's addresses and routes to alcantara"),
        "{text}"
    );
    assert_eq!(world(), before, "what is refused changes nothing");
    let inside = format!("/proc/{}/ns/net", peer.0.id());
    let mut pings = Vec::new();
    for to in ["10.9.0.5", "2001:db8:9::5"] {
        let ping = Command::new("nsenter")
            .args([
                &format!("--net={inside}"),
                "ping",
                "-i",
                "0.02",
                "-w",
                "20",
                to,
            ])
            .stdout(Stdio::piped())
            .spawn();
        pings.push(ping.expect("ping"));
    }
    for _ in 0..3 {
        place
            .run(&[
                "net",
                "add",
                "alcantara",
                "--port",
                "eth0",
                "--move-address",
            ])
            .expect(0);
        let shown = sh(
            "ip -brief address show alcantara; ip route; ip -6 route; ip -brief address show eth0",
        );
        assert!(
            shown.contains("10.9.0.5/24") && shown.contains("2001:db8:9::5/64"),
            "{shown}"
        );
        assert!(
            shown.contains("default via 10.9.0.1 dev alcantara"),
            "{shown}"
        );
        assert!(
            shown.contains("198.51.100.0/24 via 10.9.0.7 dev alcantara"),
            "{shown}"
        );
        assert!(
            shown.contains("default via 2001:db8:9::1 dev alcantara"),
            "{shown}"
        );
        sh(
            "ping -c5 -i0.02 -w5 192.0.2.1 >/dev/null; ping -c5 -i0.02 -w5 2001:db8:9::1 >/dev/null",
        );
        let macs = json(&place, &["net", "macs", "alcantara"]);
        let stations = macs["stations"].as_array().expect("a list");
        let far = stations
            .iter()
            .find(|station| station["local"] == false)
            .expect("the peer");
        assert!(far["addresses"].to_string().contains("10.9.0.1"), "{macs}");
        place.run(&["net", "rm", "alcantara"]).expect(0);
        assert_eq!(world(), before);
        sh(
            "ping -c5 -i0.02 -w5 192.0.2.1 >/dev/null; ping -c5 -i0.02 -w5 2001:db8:9::1 >/dev/null",
        );
    }
    for mut ping in pings {
        // SIGINT has it sum up.
        sh(&format!("kill -INT {}", ping.id()));
        let mut text = String::new();
        let output = ping.stdout.take().expect("piped");
        std::io::Read::read_to_string(&mut BufReader::new(output), &mut text).expect("text");
        drop(ping.wait());
        let summary = text
            .lines()
            .find(|line| line.contains("transmitted"))
            .expect("a summary");
        let number = |word: &str| -> i32 {
            let words: Vec<_> = summary
                .split([' ', ','])
                .filter(|word| !word.is_empty())
                .collect();
            let at = words.iter().position(|found| *found == word).expect(word);
            words[at - 1].parse().expect("a number")
        };
        let (sent, got) = (number("packets"), number("received"));
        // Six changes, at most one packet each; one may be on its way at the end.
        assert!(sent >= 10 && sent - got <= 7, "{summary}");
    }
}

#[test]
fn what_is_attached_with_its_addresses_is_detached_with_them() {
    kernel_test!();
    let place = hermetic!();
    sh("ip link add br0 type bridge; ip link set br0 up
        ip link add eth0 type veth peer name p0; ip link set p0 up; ip link set eth0 up alias uplink
        ip address add 10.9.0.5/24 dev eth0");
    // An empty bridge forgets its address and its carrier: that is the kernel's doing.
    let world = || {
        sh(
            "ip -brief link show eth0; ip link show eth0 | grep alias; ip -4 -brief address; ip route",
        )
    };
    let before = world();
    place
        .run(&["net", "attach", "br0", "eth0", "--move-address"])
        .expect(0);
    assert!(sh("ip -brief address show br0").contains("10.9.0.5/24"));
    place.run(&["net", "detach", "br0", "eth0"]).expect(0);
    assert_eq!(world(), before);
    // It is not ours.
    let text = refused(&place, &["net", "rm", "br0"]);
    assert!(text.contains("br0 was not made by jaula"), "{text}");
    place.run(&["net", "rm", "br0", "--force"]).expect(0);
    assert!(!sh("ip -brief link").contains("br0"));
}

#[test]
fn what_is_set_is_in_the_kernel_and_only_what_differs() {
    kernel_test!();
    let place = hermetic!();
    sh("ip link add eth0 type veth peer name p0; ip link set p0 up");
    place
        .run(&["net", "add", "alcantara", "--port", "eth0"])
        .expect(0);
    let words = [
        "net",
        "set",
        "alcantara",
        "stp=on",
        "ageing=12.5",
        "priority=4096",
        "fd=4",
        "hello=1",
        "maxage=6",
    ];
    place.run(&words).expect(0);
    let details = sh("ip -details link show alcantara");
    for word in [
        "forward_delay 400 ",
        "hello_time 100 ",
        "max_age 600 ",
        "ageing_time 1250 ",
        "stp_state 1 ",
        "priority 4096 ",
    ] {
        assert!(details.contains(word), "{word}: {details}");
    }
    let plan = place
        .run(&[&words[..], &["--plan"]].concat())
        .expect(0)
        .stdout;
    assert_eq!(plan, "set alcantara\n  nothing to do\n");
    place
        .run(&[
            "net",
            "set",
            "alcantara/eth0",
            "cost=7",
            "priority=3",
            "hairpin=on",
            "isolated=on",
        ])
        .expect(0);
    let details = sh("bridge -details link show dev eth0; ip -details link show eth0");
    for word in ["hairpin on", "isolated on", "priority 3 ", "cost 7 "] {
        assert!(details.contains(word), "{word}: {details}");
    }
    let text = refused(&place, &["net", "set", "alcantara", "priority=70000"]);
    assert!(text.contains("from 0 to 65535"), "{text}");
    let text = refused(&place, &["net", "set", "alcantara/eth0", "priority=64"]);
    assert!(text.contains("from 0 to 63"), "{text}");
    let text = refused(&place, &["net", "set", "alcantara", "stp=maybe"]);
    assert!(text.contains("nothing that can be set"), "{text}");
}

/// The commands of `--explain` do what the verb does.
#[test]
fn what_is_explained_is_what_is_done() {
    kernel_test!();
    let place = hermetic!();
    let host =
        "ip link add eth0 address 1c:6f:65:a4:06:90 type veth peer name p0 address 1e:6f:65:a4:06:90; ip link set p0 up
        ip link set eth0 up; ip address add 10.9.0.5/24 dev eth0; ip route add default via 10.9.0.1
        ip -6 address flush dev eth0 scope link; ip -6 address flush dev p0 scope link";
    let quiet = "sysctl -qw net.ipv6.conf.default.addr_gen_mode=1";
    let steps: [&[&str]; 4] = [
        &[
            "net",
            "add",
            "alcantara",
            "--port",
            "eth0",
            "--move-address",
            "--addr",
            "10.50.0.1/24",
        ],
        &["net", "set", "alcantara", "stp=on", "priority=4096"],
        &["net", "set", "alcantara/eth0", "cost=7"],
        &["net", "rm", "alcantara"],
    ];
    let mut worlds = Vec::new();
    for explained in [false, true] {
        sh(&format!("{quiet}; {host}"));
        let mut seen = Vec::new();
        for words in steps {
            if explained {
                let script = place
                    .run(&[words, &["--explain"]].concat())
                    .expect(0)
                    .stdout;
                sh(&script);
            } else {
                place.run(words).expect(0);
            }
            let ids = sh(
                "ip -details link show alcantara 2>/dev/null | grep -o 'bridge_id [^ ]*' || true",
            );
            seen.push((world(), ids));
        }
        worlds.push(seen);
        sh("ip link delete eth0");
    }
    let (done, explained) = (&worlds[0], &worlds[1]);
    for (done, explained) in done.iter().zip(explained) {
        assert_eq!(done, explained);
    }
}

#[test]
fn an_ordinary_user_is_told_what_he_may_do() {
    kernel_test!();
    let place = hermetic!();
    // Root in a user namespace that does not own this network namespace has no right over it, as an ordinary user.
    let made = place.command(&["net"]);
    let (jaula, store) = (made.get_program(), place.store());
    let command = format!(
        "unshare --user --map-user=1000 --map-group=1000 env JAULA_STORE={} {} net add alcantara; true",
        store.display(),
        jaula.display()
    );
    let output = Command::new("sh")
        .args(["-c", &command])
        .output()
        .expect("sh");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("only root may change the host's networks"),
        "{text}"
    );
    assert!(text.contains("hint: run it as root"), "{text}");
    assert!(!sh("ip -brief link").contains("alcantara"));
}

#[test]
fn what_the_kernel_lacks_is_named() {
    kernel_test!();
    let place = hermetic!();
    sh("ip link add eth0 type veth peer name p0; ip link add eth1 type veth peer name p1");
    let before = world();
    let mut lacks = Vec::new();
    for words in [
        &[
            "net",
            "bond",
            "bond0",
            "eth0",
            "eth1",
            "--mode",
            "balance-rr",
        ][..],
        &["net", "vlan", "eth0", "7"][..],
    ] {
        let ran = place.run(words);
        if ran.code == 0 {
            let made = if words[1] == "bond" {
                "bond0"
            } else {
                "eth0.7"
            };
            assert!(sh("ip -brief link").contains(made));
            place.run(&["net", "rm", made]).expect(0);
        } else {
            lacks.push(words[1]);
            assert_eq!(ran.code, 125);
            assert!(
                ran.stderr.contains("this kernel has no driver named"),
                "{}",
                ran.stderr
            );
        }
        assert_eq!(world(), before);
    }
    if !lacks.is_empty() {
        skip!("this kernel has no driver for {}", lacks.join(" and "));
    }
}

/// What is saved makes the same again; it is shown, and written where nothing is.
#[test]
fn ifupdowns_stanzas_make_a_bridge() {
    kernel_test!();
    let host = hermetic!();
    sh(
        "ip link set lo up; ip link add eth0 type veth peer name cable; ip link set cable up; ip link set eth0 up",
    );
    let dir = host.work().join("interfaces.d");
    std::fs::create_dir(&dir).expect("a directory");
    let file = host.work().join("interfaces");
    std::fs::write(
        &file,
        "auto lo\niface lo inet loopback\nsource interfaces.d/*\n",
    )
    .expect("a file");
    let stanza = "auto alcantara\niface alcantara inet static\n  address 10.77.0.1\n  netmask 255.255.255.0\n  \
        bridge_ports eth0\n  bridge_stp on\n  bridge_fd 4\n  bridge_pathcost eth0 7\n";
    std::fs::write(dir.join("alcantara"), stanza).expect("a file");
    let from = format!("--from-interfaces={}", file.display());
    let made = host
        .run(&["net", "add", "alcantara", &from, "--addr", "fd77::1/64"])
        .expect(0);
    assert!(
        made.stderr.contains("jaula net set alcantara eth0 cost=7"),
        "{}",
        made.stderr
    );
    let shown = host.run(&["net", "show", "alcantara", "--json"]).expect(0);
    let show: Value = serde_json::from_str(&shown.stdout).expect("json");
    assert_eq!(show["link"]["bridge"]["stp"], true);
    assert_eq!(show["link"]["bridge"]["forward_delay"], 400);
    assert_eq!(show["link"]["ports"][0], "eth0");
    let addresses = sh("ip -o addr show dev alcantara scope global");
    assert!(
        addresses.contains("10.77.0.1/24") && addresses.contains("fd77::1/64"),
        "{addresses}"
    );
    let error = host.run(&["net", "add", "other", &from]).expect(125);
    assert!(
        error.stderr.contains("have no bridge other, but alcantara"),
        "{}",
        error.stderr
    );
    host.run(&["net", "rm", "alcantara"]).expect(0);
}

#[test]
fn a_saved_bridge_is_made_again() {
    kernel_test!();
    let host = hermetic!();
    sh(
        "ip link set lo up; ip link add eth0 type veth peer name cable; ip link set cable up; ip link set eth0 up; ip addr add 192.0.2.7/24 dev eth0",
    );
    let words = "net add alcantara --addr 10.77.0.1/24 --addr fd77::1/64 --port eth0 --move-address --set stp=on --set fd=4";
    let add: Vec<&str> = words.split(' ').collect();
    host.run(&add).expect(0);
    let state = || {
        let text = host
            .run(&["net", "show", "alcantara", "--json"])
            .expect(0)
            .stdout;
        let show: Value = serde_json::from_str(&text).expect("json");
        let link = &show["link"];
        assert!(link.is_object(), "{text}");
        let addresses = sh("ip -o addr show dev alcantara scope global | sed 's/^[0-9]*: //'");
        let bridge = &link["bridge"];
        format!(
            "{addresses}{} {} {}",
            bridge["stp"], bridge["forward_delay"], link["ports"]
        )
    };
    let before = state();
    assert!(
        before.contains("192.0.2.7/24") && before.contains("400"),
        "{before}"
    );

    let shown = host.run(&["net", "save", "alcantara"]).expect(0).stdout;
    let dir = host.work().join("units");
    std::fs::create_dir(&dir).expect("a directory");
    let dir = dir.display().to_string();
    let written = host
        .run(&["net", "save", "alcantara", "-o", &dir])
        .expect(0)
        .stdout;
    assert_eq!(
        written,
        format!(
            "{dir}/jaula-net-alcantara.service\nin force with: systemctl enable jaula-net-alcantara\n"
        )
    );
    let unit =
        std::fs::read_to_string(format!("{dir}/jaula-net-alcantara.service")).expect("a unit");
    assert_eq!(
        shown,
        format!("# /etc/systemd/system/jaula-net-alcantara.service\n{unit}")
    );
    let again = host
        .run(&["net", "save", "alcantara", "-o", &dir])
        .expect(125);
    assert!(
        again.stderr.contains("jaula-net-alcantara.service"),
        "{}",
        again.stderr
    );

    // As the service manager would: it ends, and starts, what the file says.
    let line = |key: &str| {
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .expect(key);
        line.strip_prefix("jaula ").expect("our program").to_owned()
    };
    let stop = line("ExecStop=");
    host.run(&stop.split(' ').collect::<Vec<_>>()).expect(0);
    assert!(sh("ip -o addr show dev eth0").contains("192.0.2.7/24"));
    let start = line("ExecStart=");
    host.run(&start.split(' ').collect::<Vec<_>>()).expect(0);
    assert_eq!(state(), before);

    for (form, file) in [
        ("ifupdown", "alcantara"),
        ("networkd", "40-alcantara.netdev"),
    ] {
        host.run(&["net", "save", "alcantara", "--as", form, "-o", &dir])
            .expect(0);
        assert!(std::path::Path::new(&dir).join(file).is_file(), "{file}");
    }
    host.run(&["net", "save", "eth0"]).expect(125);
}
