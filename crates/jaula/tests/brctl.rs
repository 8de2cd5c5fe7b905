//! brctl by its old name, beside the original: the same words in two hosts that are alike.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::{Hermetic, hermetic, kernel_test, skip};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const ORIGINAL: &str = "/usr/sbin/brctl";

/// A host: a network namespace, with the directory by which the original looks at it.
struct Host(Child);

impl Host {
    fn start() -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c"])
            .arg("mount -t sysfs sys /sys && ip link set lo up && echo ready; exec cat")
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

    fn enter(&self, program: &Path, words: &[&str]) -> (String, String, i32) {
        let output = Command::new("nsenter")
            .args([
                "--net",
                "--mount",
                "--target",
                &self.0.id().to_string(),
                "--",
            ])
            .arg(program)
            .args(words)
            .output()
            .expect("nsenter");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().expect("a code");
        (text(&output.stdout), text(&output.stderr), code)
    }

    fn sh(&self, script: &str) -> String {
        let (out, error, code) = self.enter(Path::new("/bin/sh"), &["-ec", script]);
        assert_eq!(code, 0, "{script}: {error}");
        out
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The program by its old name.
fn linked(place: &Hermetic) -> PathBuf {
    let link = place.work().join("brctl");
    symlink(place.command(&["x"]).get_program(), &link).expect("a link");
    link
}

/// What runs down meanwhile is a dot, and so is the way to the program.
fn still(text: &str) -> String {
    let line = |line: &str| {
        let line = match line.split_once("brctl: ") {
            Some((_, said)) => format!("brctl: {said}"),
            None => line.to_owned(),
        };
        let mut kept = String::new();
        let fields: Vec<&str> = line.split('\t').collect();
        let timed = |before: &[&str]| {
            before
                .iter()
                .rev()
                .find(|field| !field.is_empty())
                .is_some_and(|field| {
                    let name = field.trim();
                    name.ends_with("timer") && name != "ageing timer" || name == "no"
                })
        };
        for (at, field) in fields.iter().enumerate() {
            let number = field.trim().parse::<f64>().is_ok();
            let field = if number && timed(&fields[..at]) {
                "."
            } else {
                field
            };
            kept.push_str(field);
            kept.push('\t');
        }
        kept
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

/// Commands of a shell, and after `-` words for brctl, blanks between them.
const SCRIPT: &str = "\
- --help
- -h
- --version
- -V
- --vers
- -x
- --foo
- show --help
-
- sho
- setgcint alcantara 1
- show
- show nada
- showmacs nada
- addbr
- addbr alcantara
- addbr alcantara
- addbr x/y
- addbr a:b
- addbr .
- addbr b c d
- addbr nombre_demasiado_largo
- show
- delbr b
- delbr nombre_demasiad
- delbr nombre_demasiado_largo
- delbr nada
- delbr lo
- delbr
ip link add eth0 address 1c:6f:65:a4:06:90 type veth peer name p0 address 1c:00:00:00:00:01
ip link add eth1 address 1e:6f:65:a4:06:90 type veth peer name p1 address 1c:00:00:00:00:02
ip link add eth10 address 2e:6f:65:a4:06:90 type veth peer name p10 address 1c:00:00:00:00:03
- addif alcantara
- addif alcantara eth0
- addif alcantara eth0
- addif alcantara nada
- addif nada eth1
- addif nada nada2
- addif alcantara lo
- addif lo eth1
- addif alcantara alcantara
- addbr otro
- addif otro alcantara
- addif otro eth0
- addif otro nada eth1
- addif otro eth1 nada
- show
- show otro lo alcantara nada
- show lo
- show nada alcantara
- delif otro eth1
- delif alcantara eth1
- delif alcantara nada
- delif nada eth0
- delif nada nada2
- delif lo eth0
- delif alcantara lo
- delif alcantara
- addif alcantara eth10 eth1
- show
- showstp alcantara
- delif alcantara eth10 eth1
- delbr otro
- stp alcantara on
- show alcantara
- stp alcantara yes
- stp alcantara ON
- stp alcantara
- stp nada on
- stp lo on
- setfd alcantara 1
- setfd alcantara 31
- setfd alcantara 4
- stp alcantara off
- setfd alcantara 0
- setfd alcantara x
- setfd nada x
- setfd nada 1
- setfd lo 1
- setageing alcantara 12.5
- setageing alcantara 5x
- setageing alcantara 0x10
- setageing alcantara 1e1
- setageing alcantara -1
- setageing alcantara x
- setageing nada 1
- setageing lo 1
- sethello alcantara 0.5
- sethello alcantara 11
- sethello alcantara 1.5
- sethello alcantara x
- sethello nada 1
- setmaxage alcantara 5
- setmaxage alcantara 41
- setmaxage alcantara 12.25
- setmaxage alcantara x
- showstp alcantara
- setbridgeprio alcantara 70000
- show
- setbridgeprio alcantara 100000000000
- show
- setbridgeprio alcantara 0x10
- setbridgeprio alcantara 010
- show
- setbridgeprio alcantara x
- setbridgeprio nada 1
- setbridgeprio lo 1
- setbridgeprio alcantara 4096
- show
- setpathcost alcantara eth0 0
- setpathcost alcantara eth0 65536
- setpathcost alcantara eth0 7
- setpathcost alcantara eth0 x
- setpathcost alcantara eth1 7
- setpathcost alcantara nada 7
- setpathcost nada eth0 8
- setpathcost alcantara eth0
- setportprio alcantara eth0 64
- setportprio alcantara eth0 65536
- setportprio alcantara eth0 7
- setportprio alcantara eth0 x
- setportprio alcantara eth1 7
- setportprio alcantara nada 7
- setportprio nada eth0 8
- hairpin alcantara eth0 on
- showstp alcantara
- hairpin alcantara eth0 no
- hairpin alcantara eth0 x
- hairpin alcantara eth1 on
- hairpin alcantara nada on
- hairpin nada eth0 on
- hairpin nada nada2 on
- hairpin lo eth0 on
- hairpin alcantara eth0
- showmacs alcantara
- showmacs lo
- showmacs
- showstp nada
- showstp lo
ip link set alcantara up; ip link set eth0 up; ip link set p0 up
- delbr alcantara
bridge fdb add 02:00:00:00:00:77 dev eth0 master static
- showmacs alcantara
- showstp alcantara
- -- show
ip link set alcantara down
- delbr alcantara
- show
";

#[test]
fn brctl_says_what_the_original_says() {
    kernel_test!();
    let place = hermetic!();
    if !Path::new(ORIGINAL).exists() {
        skip!("there is no {ORIGINAL}");
    }
    let ours = linked(&place);
    let quiet = "sysctl -qw net.ipv6.conf.default.disable_ipv6=1";
    let (one, other) = (Host::start(), Host::start());
    one.sh(quiet);
    other.sh(quiet);
    let mut said = 0;
    for line in SCRIPT.lines() {
        let Some(words) = line.strip_prefix('-') else {
            one.sh(line);
            other.sh(line);
            continue;
        };
        let words: Vec<_> = words.split(' ').filter(|word| !word.is_empty()).collect();
        let (out, error, code) = one.enter(Path::new(ORIGINAL), &words);
        let (our_out, our_error, our_code) = other.enter(&ours, &words);
        assert_eq!(still(&our_out), still(&out), "brctl {line}");
        assert_eq!(still(&our_error), still(&error), "brctl {line}");
        assert_eq!(our_code, code, "brctl {line}");
        said += 1;
        if code != 0
            || words
                .first()
                .is_none_or(|word| word.starts_with(['-', 's']) && !word.starts_with("se"))
        {
            continue;
        }
        let world = "ip -details link | grep -o ' forward_delay .* priority [0-9]*\\| cost [0-9]*\\|hairpin [a-z]*\\|^[0-9]*: [a-z0-9]*' | sed 's/^[0-9]*: //' | sort";
        assert_eq!(other.sh(world), one.sh(world), "brctl {line}");
    }
    assert!(said > 140, "{said}");
}

/// The chapter's words, typed as they stand there, with what it says that they show.
#[test]
fn the_chapters_bridge() {
    kernel_test!();
    let place = hermetic!();
    let brctl = linked(&place);
    let host = Host::start();
    let typed = |words: &[&str]| {
        let (out, error, code) = host.enter(&brctl, words);
        assert_eq!((error.as_str(), code), ("", 0), "{words:?}");
        out
    };
    host.sh(
        "ip link add eth0 address 1c:6f:65:a4:06:90 type veth peer name p0
             tc qdisc replace dev eth0 root pfifo_fast 2>/dev/null || true
             ip link set p0 up; ip link set eth0 up",
    );
    // sudo brctl addbr alcantara
    assert_eq!(typed(&["addbr", "alcantara"]), "");
    let shown = host.sh("ip addr show");
    let line = |name: &str| {
        let mut lines = host_lines(&shown)
            .into_iter()
            .skip_while(|line| !line.contains(name));
        (
            lines.next().expect(name),
            lines.next().expect("its address"),
        )
    };
    let (first, second) = line("alcantara:");
    assert!(
        first.contains("alcantara: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN"),
        "{first}"
    );
    let mac = second
        .trim()
        .strip_prefix("link/ether ")
        .expect("an address of its own");
    assert!(
        mac.ends_with(" brd ff:ff:ff:ff:ff:ff") && mac.len() == 17 + 22,
        "{mac}"
    );
    // sudo brctl addif alcantara eth0
    assert_eq!(typed(&["addif", "alcantara", "eth0"]), "");
    let shown = host.sh("ip addr show eth0; ip addr show alcantara");
    let eth0 = shown.lines().next().expect("eth0");
    assert!(
        eth0.contains("<BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc "),
        "{eth0}"
    );
    assert!(eth0.contains(" master alcantara state UP "), "{eth0}");
    assert_eq!(
        shown.matches("link/ether 1c:6f:65:a4:06:90 ").count(),
        2,
        "{shown}"
    );
    // brctl show, on the machine of the example
    host.sh(
        "ip link set eth0 down; ip link set eth0 name eth2; ip link add lxcbr0 type bridge
             ip link add virbr0 type bridge stp_state 1",
    );
    assert_eq!(
        typed(&["show"]),
        "bridge name\tbridge id\t\tSTP enabled\tinterfaces\n\
         alcantara\t\t8000.1c6f65a40690\tno\t\teth2\n\
         lxcbr0\t\t8000.000000000000\tno\t\t\n\
         virbr0\t\t8000.000000000000\tyes\t\t\n"
    );
    // The same facts, and who made them.
    let jaula = PathBuf::from(place.command(&["x"]).get_program());
    let store = format!("--store={}", place.store().display());
    let (out, _, code) = host.enter(&jaula, &["net", "ls", &store]);
    assert_eq!(code, 0);
    for row in ["alcantara  down", "lxcbr0", "virbr0"] {
        assert!(out.contains(row), "{out}");
    }
    assert!(
        out.lines()
            .any(|line| line.starts_with("lxcbr0") && line.contains(" lxc ")),
        "{out}"
    );
    assert!(
        out.lines()
            .any(|line| line.starts_with("virbr0") && line.contains(" libvirt ")),
        "{out}"
    );
    // Without bridges nothing is shown, not even headings.
    host.sh("ip link delete alcantara; ip link delete lxcbr0; ip link delete virbr0");
    assert_eq!(typed(&["show"]), "");
}

fn host_lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn without_rights_the_kernels_words_are_handed_on() {
    kernel_test!();
    let place = hermetic!();
    let brctl = linked(&place);
    let host = Host::start();
    host.sh("ip link add br0 type bridge; ip link add eth0 type veth peer name p0");
    let user = |words: &[&str]| {
        let program = brctl.to_str().expect("a path");
        let script = [
            &["--user", "--map-user=1000", "--map-group=1000", program],
            words,
        ]
        .concat();
        let (_, error, code) = host.enter(Path::new("unshare"), &script);
        assert_eq!(code, 1, "{words:?}");
        error
    };
    assert_eq!(
        user(&["addbr", "alcantara"]),
        "add bridge failed: Operation not permitted\n"
    );
    assert_eq!(
        user(&["delbr", "br0"]),
        "can't delete bridge br0: Operation not permitted\n"
    );
    assert_eq!(
        user(&["addif", "br0", "eth0"]),
        "can't add eth0 to bridge br0: Operation not permitted\n"
    );
    assert_eq!(
        user(&["stp", "br0", "on"]),
        "set stp status failed: Operation not permitted\n"
    );
}
