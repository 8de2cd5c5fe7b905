//! Simulated networks from end to end, as root and as an ordinary user: real packets through routers, NAT, captures,
//! what the host sees of it, what is left, and what is said of a bad file.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use jaula_testkit::{Ran, skip};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use who::{User, Who, everyone_and_ana};

/// Two LANs, each with a router, and a link between the routers.
const TWO: &str = r#"
[[lan]]
name = "left"
subnets = ["10.1.0.0/24", "fd01::/64"]
[[lan]]
name = "right"
subnets = ["10.2.0.0/24", "fd02::/64"]
[[router]]
name = "r1"
lans = ["left"]
[[router]]
name = "r2"
lans = ["right"]
[[link]]
ends = ["r1", "r2"]
[[host]]
name = "ana"
lan = "left"
[[host]]
name = "bob"
lan = "right"
"#;

/// A server that answers each connection with the address it came from, on both families.
const SERVER: &str = "import socket\n\
    s = socket.create_server(('', 7000), family=socket.AF_INET6, dualstack_ipv6=True)\n\
    while True:\n    c, a = s.accept()\n    c.sendall(a[0].encode())\n    c.close()\n";

/// What asks it, until it listens.
const CLIENT: &str = "import socket, sys, time\n\
    for i in range(200):\n    try:\n        c = socket.create_connection((sys.argv[1], 7000), timeout=5)\n        break\n    \
    except ConnectionRefusedError:\n        time.sleep(0.02)\n\
    print(c.recv(99).decode())\n";

struct Lab<'u> {
    user: &'u User,
}

impl Lab<'_> {
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.user.place.work().join(name);
        fs::write(&path, text).expect("a file");
        path
    }

    fn jaula(&self, words: &[&str]) -> Ran {
        let words: Vec<&str> = ["net", "lab"].iter().chain(words).copied().collect();
        self.user.place.run(&words)
    }

    fn up(&self, text: &str) -> Ran {
        let file = self.file("two.toml", text);
        self.jaula(&["up", file.to_str().expect("a path")])
    }

    #[track_caller]
    fn sh(&self, node: &str, script: &str) -> String {
        self.jaula(&["run", node, "--", "sh", "-c", script])
            .expect(0)
            .stdout
    }

    #[track_caller]
    fn python(&self, node: &str, script: &str, word: &str) -> String {
        let python = python();
        self.jaula(&["run", node, "--", &python, "-c", script, word])
            .expect(0)
            .stdout
    }

    fn entry(&self, lab: &str) -> PathBuf {
        self.user.place.store().join(format!("run/labs/{lab}.json"))
    }

    /// The processes that hold a lab.
    fn pids(&self, lab: &str) -> Vec<u32> {
        let text = fs::read(self.entry(lab)).expect("an entry");
        let entry: serde_json::Value = serde_json::from_slice(&text).expect("json");
        ["holder", "keeper"]
            .map(|who| {
                entry[who]["pid"]
                    .as_u64()
                    .and_then(|pid| u32::try_from(pid).ok())
                    .expect("a pid")
            })
            .to_vec()
    }

    #[track_caller]
    fn assert_nothing_left(&self) {
        let labs = self.user.place.store().join("run/labs");
        let left: Vec<_> = fs::read_dir(labs)
            .expect("a directory")
            .flatten()
            .map(|e| e.path())
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }
}

/// The system's own Python, which jails of the host's programs have too.
fn python() -> String {
    let found = ["/usr/bin/python3", "/usr/local/bin/python3"];
    let found = found.iter().find(|path| Path::new(path).exists());
    found.copied().unwrap_or("python3").to_owned()
}

fn gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

#[track_caller]
fn wait_until(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::yield_now();
    }
}

fn links() -> BTreeSet<String> {
    let all = fs::read_dir("/sys/class/net").expect("sysfs");
    all.flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("proc(5)");
    text.lines().map(str::to_owned).collect()
}

/// Every user, with a lab that is ended also when the test fails.
fn each(test: impl Fn(&Lab<'_>)) {
    everyone_and_ana(|user| {
        struct Down<'u>(&'u User);
        impl Drop for Down<'_> {
            fn drop(&mut self) {
                let ended = self.0.place.run(&["net", "lab", "down"]);
                drop(ended);
            }
        }
        let _down = Down(user);
        if user.who == Who::Ana {
            // Makes the place hers, so that the test's files are beside it.
            user.place.run(&["net", "lab", "ls"]).expect(0);
        }
        test(&Lab { user });
    });
}

/// Three routers in a ring, two of them with a LAN.
const RING: &str = r#"
[[lan]]
name = "left"
subnets = ["10.1.0.0/24", "fd01::/64"]
[[lan]]
name = "right"
subnets = ["10.2.0.0/24", "fd02::/64"]
[[router]]
name = "r1"
lans = ["left"]
routing = "ospf"
[[router]]
name = "r2"
routing = "ospf"
[[router]]
name = "r3"
lans = ["right"]
routing = "ospf"
[[link]]
ends = ["r1", "r3"]
[[link]]
ends = ["r1", "r2"]
[[link]]
ends = ["r2", "r3"]
[[host]]
name = "ana"
lan = "left"
[[host]]
name = "bob"
lan = "right"
"#;

#[test]
fn routers_that_speak_ospf_find_another_way_when_a_link_is_cut() {
    let programs = ["/usr/sbin/bird", "/usr/bin/bird"];
    if !programs.iter().any(|path| Path::new(path).exists()) {
        skip!("no bird");
    }
    each(|lab| {
        lab.up(RING).expect(0);
        let reaches = |ttl: &str| {
            let start = Instant::now();
            for family in ["-4", "-6"] {
                loop {
                    let words = ["run", "ana", "--", "ping", family, "-c1", "-W1", "bob"];
                    let said = lab.jaula(&words).stdout;
                    if said.contains(ttl) {
                        break;
                    }
                    assert!(
                        start.elapsed() < Duration::from_secs(60),
                        "{family}: {said}"
                    );
                }
            }
        };
        reaches("ttl=62");
        let ways = lab.sh("r1", "ip route; ip -6 route");
        assert!(
            ways.contains("10.2.0.0/24") && ways.contains("proto bird"),
            "{ways}"
        );
        // The short way is the second interface of r1; the long one goes by r2.
        lab.sh("r1", "ip link set eth1 down");
        reaches("ttl=61");
        lab.jaula(&["down"]).expect(0);
        lab.assert_nothing_left();
    });
}

#[test]
fn hosts_of_two_lans_reach_each_other_through_the_routers() {
    each(|lab| {
        let before = (links(), mounts());
        lab.up(TWO).expect(0);
        assert_eq!((links(), mounts()), before, "the host sees nothing of it");
        let seen = lab.sh(
            "ana",
            "hostname; ls /sys/class/net; cat /proc/net/route | wc -l; ls /proc | grep -c '^[0-9]'",
        );
        assert!(seen.starts_with("ana\neth0\nlo\n"), "{seen}");
        // Two routers on the way: 64 - 2.
        for family in ["-4", "-6"] {
            let said = lab.sh("ana", &format!("ping {family} -c1 -W5 bob"));
            assert!(said.contains("ttl=62"), "{said}");
        }
        let checked = lab.jaula(&["check"]).expect(0);
        assert_eq!(checked.stdout, "two: all 24 are as expected\n");
        let table = lab.jaula(&["show", "ana"]).expect(0).stdout;
        assert!(
            table.contains("ana   host  eth0  left  02:6a:61:00:00:05  10.1.0.2/24 fd01::2/64"),
            "{table}"
        );
        assert!(table.contains("ana   default  10.1.0.1  eth0"), "{table}");
        let picture = lab.jaula(&["graph", "--ascii"]).expect(0).stdout;
        assert!(
            picture.contains("`- bob          eth0  10.2.0.2/24 fd02::2/64"),
            "{picture}"
        );
        lab.jaula(&["run", "ana", "--", "sh", "-c", "exit 7"])
            .expect(7);
        lab.jaula(&["run", "ana", "--", "/no/such"]).expect(127);
        let wrong = lab.jaula(&["run", "eve", "--", "true"]).expect(125);
        assert!(
            wrong.stderr.contains("lab two has no node \"eve\"")
                && wrong.stderr.contains("ana, bob"),
            "{}",
            wrong.stderr
        );
        let twice = lab.up(TWO).expect(125);
        assert!(
            twice.stderr.contains("lab two runs already"),
            "{}",
            twice.stderr
        );
        let pids = lab.pids("two");
        lab.jaula(&["down"]).expect(0);
        assert!(pids.into_iter().all(gone));
        lab.assert_nothing_left();
        assert_eq!((links(), mounts()), before);
    });
}

#[test]
fn a_service_runs_from_the_start_and_ends_with_its_lab() {
    each(|lab| {
        let python = python();
        let run = format!("run = [{:?}, \"-c\", '''{SERVER}''']\n", python);
        lab.up(&format!("{TWO}{run}")).expect(0);
        assert_eq!(lab.python("ana", CLIENT, "10.2.0.2"), "::ffff:10.1.0.2\n");
        assert_eq!(lab.python("ana", CLIENT, "fd02::2"), "fd01::2\n");
        let ours = || {
            let all = fs::read_dir("/proc").expect("proc(5)").flatten();
            let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
            let server = SERVER.lines().nth(1).expect("a line").as_bytes();
            lines
                .filter(|line| line.windows(server.len()).any(|w| w == server))
                .count()
        };
        assert!(ours() > 0);
        lab.jaula(&["down"]).expect(0);
        wait_until("the service ends with its lab", || ours() == 0);
        lab.assert_nothing_left();
    });
}

#[test]
fn nat_hides_who_is_behind_a_router() {
    each(|lab| {
        let python = python();
        let text = format!(
            "[[lan]]\nname = \"inside\"\nsubnets = [\"192.168.7.0/24\", \"fd07::/64\"]\n\
             [[lan]]\nname = \"outside\"\nsubnets = [\"203.0.113.0/24\", \"fd08::/64\"]\n\
             [[router]]\nname = \"gate\"\nlans = [\"inside\", \"outside\"]\nnat = [\"outside\"]\n\
             [[host]]\nname = \"ana\"\nlan = \"inside\"\n\
             [[host]]\nname = \"web\"\nlan = \"outside\"\nrun = [{python:?}, \"-c\", '''{SERVER}''']\n\
             [[expect]]\nfrom = \"ana\"\nto = \"web\"\n[[expect]]\nfrom = \"web\"\nto = \"ana\"\nreach = false\n"
        );
        lab.up(&text).expect(0);
        assert_eq!(
            lab.python("ana", CLIENT, "203.0.113.2"),
            "::ffff:203.0.113.1\n"
        );
        assert_eq!(lab.python("ana", CLIENT, "fd08::2"), "fd08::1\n");
        let checked = lab.jaula(&["check"]).expect(0);
        assert_eq!(checked.stdout, "two: all 4 are as expected\n");
    });
}

#[test]
fn a_check_says_what_is_not_as_expected() {
    each(|lab| {
        lab.up(&format!(
            "{TWO}[[expect]]\nfrom = \"ana\"\nto = \"bob\"\nreach = false\n"
        ))
        .expect(0);
        let checked = lab.jaula(&["check"]).expect(1);
        assert!(
            checked
                .stdout
                .contains("ana   bob  10.2.0.2  no answer  an answer"),
            "{}",
            checked.stdout
        );
        assert!(
            checked.stdout.ends_with("2 of 2 are not as expected\n"),
            "{}",
            checked.stdout
        );
    });
}

#[test]
fn a_capture_holds_the_packets_that_pass() {
    each(|lab| {
        lab.up(TWO).expect(0);
        let file = lab.user.place.work().join("r1.pcapng");
        let name = file.to_str().expect("a path");
        let words = [
            "net",
            "lab",
            "pcap",
            "r1/eth1",
            "-o",
            name,
            "--seconds",
            "20",
        ];
        let mut command = lab.user.place.command(&words);
        let mut capture = command.spawn().expect("jaula");
        // Its head is written when nothing is missed any more.
        wait_until("the capture begins", || {
            fs::metadata(&file).is_ok_and(|meta| meta.len() > 0)
        });
        lab.sh("ana", "ping -4 -c1 -W5 -p 6a61756c61 bob");
        let holds = || {
            let bytes = fs::read(&file).expect("a file");
            // Twice: there and back.
            bytes
                .windows(15)
                .filter(|bytes| bytes == b"jaulajaulajaula")
                .count()
                >= 2
        };
        wait_until("both packets are in the file", holds);
        let bytes = fs::read(&file).expect("a file");
        assert_eq!(bytes[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
        assert!(bytes.windows(4).any(|bytes| bytes == b"eth1"));
        // It ends when its lab does.
        lab.jaula(&["down"]).expect(0);
        let status = capture.wait().expect("an end");
        assert!(status.success(), "{status}");
        if let Ok(read) = Command::new("tcpdump").args(["-nr", name, "icmp"]).output() {
            let text = String::from_utf8_lossy(&read.stdout).into_owned();
            assert!(
                text.contains("10.1.0.2 > 10.2.0.2: ICMP echo request"),
                "{text}"
            );
        }
    });
}

#[test]
fn what_a_capture_cannot_hold_is_counted_and_told() {
    each(|lab| {
        lab.up(TWO).expect(0);
        let file = lab.user.place.work().join("burst.pcapng");
        let name = file.to_str().expect("a path");
        let words = ["--json", "net", "lab", "pcap", "r1/eth1", "-o", name];
        let mut command = lab.user.place.command(&words);
        let capture = command.stdout(Stdio::piped()).spawn().expect("jaula");
        wait_until("the capture begins", || {
            fs::metadata(&file).is_ok_and(|meta| meta.len() > 0)
        });
        // It reads nothing while more passes than may wait for it.
        let signal = |word: &str| {
            let pid = capture.id().to_string();
            let sent = Command::new("kill").args([word, &pid]).status();
            assert!(sent.expect("kill").success());
        };
        signal("-STOP");
        lab.sh("ana", "ping -4 -q -f -s 1400 -c 8000 bob");
        signal("-CONT");
        signal("-TERM");
        let ended = capture.wait_with_output().expect("an end");
        assert!(ended.status.success(), "{}", ended.status);
        let told: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
        let count = |key: &str| told[key].as_u64().expect(key);
        // There and back, and what nodes ask each other besides.
        assert!(count("lost") > 0, "{told}");
        assert!(count("frames") + count("lost") >= 16_000, "{told}");
    });
}

#[test]
fn a_killed_keeper_leaves_nothing() {
    each(|lab| {
        for which in [0, 1] {
            lab.up(TWO).expect(0);
            let pids = lab.pids("two");
            // Whoever plays ana may kill what she started.
            let killed = Command::new("kill")
                .args(["-KILL", &pids[which].to_string()])
                .status();
            assert!(killed.expect("kill(1)").success());
            wait_until("both end", || pids.iter().all(|pid| gone(*pid)));
            assert_eq!(lab.jaula(&["ls"]).expect(0).stdout.lines().count(), 1);
            lab.user.place.run(&["recover"]).expect(0);
            lab.assert_nothing_left();
        }
        // Its name is free as well without that.
        lab.up(TWO).expect(0);
        let killed = Command::new("kill")
            .args(["-KILL", &lab.pids("two")[1].to_string()])
            .status();
        assert!(killed.expect("kill(1)").success());
        wait_until("it ends", || lab.up(TWO).stderr.is_empty());
        lab.sh("ana", "ping -c1 -W5 bob");
    });
}

#[test]
fn a_bad_file_is_refused_with_line_and_column() {
    each(|lab| {
        for (text, wanted) in [
            (
                "[[host]]\nname = \"h\"\nlan = \"a\"\n",
                "two.toml:3:7: there is no LAN \"a\"",
            ),
            (
                "[[lan]]\nnam = \"a\"\n",
                "two.toml:2:1: [[lan]] has no key \"nam\"; did you mean \"name\"?",
            ),
            (
                "[[lan]]\nname = \"a\"\n[[lan]]\nname = \"a\"\n",
                "two.toml:4:8: there is a LAN a already, in line 2",
            ),
            ("x = [\n", "two.toml:"),
        ] {
            let ran = lab.up(text).expect(125);
            assert!(ran.stderr.contains(wanted), "{}", ran.stderr);
        }
        let ran = lab.jaula(&["up", "/no/such.toml"]).expect(125);
        assert!(
            ran.stderr.contains("cannot open /no/such.toml"),
            "{}",
            ran.stderr
        );
    });
}

#[test]
fn a_hundred_nodes_are_up_at_once() {
    each(|lab| {
        let mut text = String::from("[[lan]]\nname = \"core\"\n");
        for k in 0..9 {
            text.push_str(&format!("[[lan]]\nname = \"lan{k}\"\n[[router]]\nname = \"r{k}\"\nlans = [\"core\", \"lan{k}\"]\n"));
            for h in 0..10 {
                text.push_str(&format!(
                    "[[host]]\nname = \"h{k}x{h}\"\nlan = \"lan{k}\"\n"
                ));
            }
        }
        text.push_str("[[host]]\nname = \"last\"\nlan = \"core\"\n");
        for k in 0..9 {
            text.push_str(&format!(
                "[[expect]]\nfrom = \"h{k}x{k}\"\nto = \"h{}x0\"\n",
                8 - k
            ));
        }
        let before = links();
        let ran = lab.up(&text).expect(0);
        assert_eq!(ran.stdout, "two: 100 nodes, 10 LANs\n");
        let checked = lab.jaula(&["check"]).expect(0);
        assert_eq!(checked.stdout, "two: all 18 are as expected\n");
        assert_eq!(links(), before);
        lab.jaula(&["down"]).expect(0);
        lab.assert_nothing_left();
    });
}

#[test]
fn the_explanation_makes_the_same_network() {
    each(|lab| {
        let file = lab.file("two.toml", TWO);
        let said = lab
            .jaula(&["up", file.to_str().expect("a path"), "--explain"])
            .expect(0);
        let script = lab.file("two.sh", &said.stdout);
        fs::write(
            lab.user.place.work().join("look"),
            "#!/bin/sh\nfor n in r1 r2 ana bob; do ip -n $n -br addr show dev eth0 | tr -s ' '; ip -n $n route; done\n",
        )
        .expect("a file");
        let look = lab.user.place.work().join("look");
        let look = look.to_str().expect("a path");
        Command::new("chmod")
            .args(["755", look])
            .status()
            .expect("chmod(1)");
        let mut by_hand = lab.user.other("sh", &[script.to_str().expect("a path")]);
        by_hand.env("SHELL", look);
        let out = by_hand.output().expect("sh");
        let by_hand = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        lab.up(TWO).expect(0);
        let mut ours = String::new();
        for node in ["r1", "r2", "ana", "bob"] {
            ours.push_str(&lab.sh(node, "ip -br addr show dev eth0 | tr -s ' '; ip route"));
        }
        // The number of the far end, and link-local addresses, which come later.
        let plain = |text: &str| {
            let lines = text.lines().map(|line| {
                let line = line.split(" fe80:").next().unwrap_or_default();
                match line.split_once('@') {
                    Some((name, rest)) => {
                        format!("{name} {}", rest.split_once(' ').unwrap_or_default().1)
                    }
                    None => line.to_owned(),
                }
            });
            lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(plain(&ours), plain(&by_hand));
    });
}

#[test]
fn a_node_may_have_files_of_its_own() {
    const BUSYBOX: &str = "/usr/bin/busybox";
    if !Path::new(BUSYBOX).exists() {
        skip!("there is no {BUSYBOX}");
    }
    each(|lab| {
        let tree = lab.user.place.work().join("tree");
        for dir in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(tree.join(dir)).expect("a directory");
        }
        fs::copy(BUSYBOX, tree.join("bin/busybox")).expect("busybox");
        fs::write(tree.join("etc/hosts"), "").expect("a file");
        let text = format!(
            "{TWO}root = {:?}\n",
            tree.to_str().expect("a path of letters")
        );
        lab.up(&text).expect(0);
        let script =
            "/bin/busybox hostname; /bin/busybox grep -c ana /etc/hosts; /bin/busybox ls /";
        let words = ["run", "bob", "--", "/bin/busybox", "sh", "-c", script];
        let said = lab.jaula(&words).expect(0).stdout;
        assert_eq!(said, "bob\n2\nbin\ndev\netc\nproc\nsys\ntmp\n");
        let ping = [
            "run",
            "bob",
            "--",
            "/bin/busybox",
            "ping",
            "-c1",
            "-W5",
            "ana",
        ];
        lab.jaula(&ping).expect(0);
    });
}

#[test]
fn killed_while_it_starts_it_leaves_a_whole_lab_or_nothing() {
    each(|lab| {
        let file = lab.file("two.toml", TWO);
        let words = ["net", "lab", "up", file.to_str().expect("a path")];
        for millis in [1, 3, 6, 10, 15, 20, 30, 40, 60, 90] {
            let mut starting = lab.user.place.command(&words).spawn().expect("jaula");
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(millis) {
                std::thread::yield_now();
            }
            // SIGKILL, whether it is done or not.
            starting.kill().expect("a child");
            starting.wait().expect("an end");
            if lab.jaula(&["check"]).code != 0 {
                lab.user.place.run(&["recover"]).expect(0);
                if lab.user.place.store().join("run/labs").exists() {
                    wait_until("nothing is left", || {
                        let left = fs::read_dir(lab.user.place.store().join("run/labs"));
                        left.expect("a directory").count() == 0
                    });
                }
            } else {
                lab.jaula(&["down"]).expect(0);
                lab.assert_nothing_left();
            }
        }
    });
}
