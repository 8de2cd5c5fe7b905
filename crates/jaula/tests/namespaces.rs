//! `jaula ns` as it is typed: what is listed, kept and let go.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::{Hermetic, hermetic, kernel_test, skip};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// A process in namespaces of its own, ended with the test.
struct Elsewhere(Child);

impl Elsewhere {
    fn start(kinds: &[&str], user: Option<u32>) -> Self {
        let mut command = Command::new("unshare");
        command
            .args(kinds)
            .args(["sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let mut child = command.spawn().expect("unshare");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        Self(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn inode(&self, kind: &str) -> u64 {
        let path = format!("/proc/{}/ns/{kind}", self.0.id());
        std::fs::metadata(path).expect("its namespace").ino()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn listed(place: &Hermetic, words: &[&str]) -> Vec<Value> {
    let ran = place
        .run(&[&["ns", "ls", "--json"], words].concat())
        .expect(0);
    let value: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(
        (&value["version"], &value["kind"]),
        (&1.into(), &"namespaces".into())
    );
    value["namespaces"].as_array().expect("a list").clone()
}

#[test]
fn a_process_with_all_kinds_has_each_of_them_listed() {
    kernel_test!();
    let place = hermetic!();
    let kinds = [
        "--mount",
        "--net",
        "--uts",
        "--ipc",
        "--user",
        "--map-root-user",
        "--cgroup",
    ];
    let process = Elsewhere::start(&kinds, None);
    let listed = listed(&place, &["--pid", &process.pid()]);
    for kind in ["mnt", "net", "uts", "ipc", "user", "cgroup", "pid", "time"] {
        let found: Vec<_> = listed.iter().filter(|ns| ns["type"] == kind).collect();
        let [found] = found[..] else {
            panic!("{kind}: {found:?}");
        };
        assert_eq!(found["inode"], process.inode(kind), "{kind}");
        let own = std::fs::metadata(format!("/proc/self/ns/{kind}"))
            .expect("own")
            .ino();
        assert_eq!(
            found["inode"] != own,
            !matches!(kind, "pid" | "time"),
            "{kind}"
        );
        if kind == "net" {
            assert_eq!(found["owner"], process.inode("user"));
        }
    }
    let plain = place
        .run(&[
            "ns",
            "ls",
            "--plain",
            "--no-header",
            "--type",
            "uts",
            "--columns",
            "NS",
        ])
        .expect(0);
    assert!(
        plain
            .stdout
            .lines()
            .any(|line| line == process.inode("uts").to_string())
    );
    let tree = place.run(&["ns", "ls", "--tree"]).expect(0).stdout;
    assert!(
        tree.contains(&format!("└─{}", process.inode("cgroup"))) || tree.contains("├─"),
        "{tree}"
    );
    let shown = place
        .run(&["ns", "show", &process.inode("net").to_string()])
        .expect(0)
        .stdout;
    assert!(
        shown.starts_with(&format!("namespace: net:[{}]\n", process.inode("net"))),
        "{shown}"
    );
    assert!(shown.contains("cat"), "{shown}");
    place.run(&["ns", "show", "1"]).expect(125);
    place.run(&["ns", "ls", "--columns", "xx"]).expect(125);
    place.run(&["ns", "ls", "--pid", "-1"]).expect(125);
}

#[test]
fn what_roots_names_keep_is_mounted_and_let_go() {
    kernel_test!();
    let place = hermetic!();
    let process = Elsewhere::start(&["--net", "--uts"], None);
    let (net, uts) = (process.inode("net"), process.inode("uts"));
    let pid = process.pid();
    let planned = place
        .run(&["ns", "keep", "demo", "--pid", &pid, "--plan"])
        .expect(0)
        .stdout;
    assert!(
        planned.contains(&format!("mount net:[{net}] on ")),
        "{planned}"
    );
    place.run(&["ns", "show", "demo"]).expect(125);
    let kept = place.run(&["ns", "keep", "demo", "--pid", &pid]).expect(0);
    assert_eq!(kept.stdout, "kept as demo: net, uts\n");
    drop(process);
    let found = listed(&place, &["--type", "net,uts"]);
    for inode in [net, uts] {
        let one = found
            .iter()
            .find(|ns| ns["inode"] == inode)
            .expect("still there");
        assert_eq!(
            (&one["kept"][0], &one["processes"], &one["found"]),
            (&"demo".into(), &0.into(), &"mount".into())
        );
    }
    let shown = place.run(&["ns", "show", "demo"]).expect(0).stdout;
    assert!(shown.contains("kept as demo"), "{shown}");
    let refused = place
        .run(&["ns", "keep", "other", "--pid", &pid])
        .expect(125);
    assert!(
        refused.stderr.contains("there is no process"),
        "{}",
        refused.stderr
    );
    let refused = place.run(&["ns", "rm", "demo", "absent"]).expect(125);
    assert!(
        refused.stderr.contains("kept are demo"),
        "{}",
        refused.stderr
    );
    place.run(&["ns", "rm", "demo"]).expect(0);
    assert!(listed(&place, &[]).iter().all(|ns| ns["inode"] != net));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("proc(5)");
    assert!(!mounts.contains("run/kept"), "{mounts}");
}

#[test]
fn what_a_users_names_keep_is_held_by_a_process() {
    let place = hermetic!();
    let root = std::fs::metadata("/proc/self").expect("proc(5)").uid() == 0;
    let user = root.then_some(65534);
    if root {
        // The place becomes that of an ordinary user.
        for dir in [
            place.path(),
            &place.store(),
            &place.work(),
            &place.path().join("home"),
        ] {
            chown(dir, user, user).expect("root may");
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))
                .expect("root may");
        }
    }
    let run = |words: &[&str]| {
        let mut command = place.command(words);
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command.output()
    };
    match run(&["--version"]) {
        Ok(output) if output.status.success() => {}
        other => skip!("the program cannot be reached by an ordinary user: {other:?}"),
    }
    let probe = {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--uts", "true"]);
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command.status()
    };
    if !probe.is_ok_and(|status| status.success()) {
        skip!("an ordinary user makes no user namespace here");
    }
    let process = Elsewhere::start(&["--user", "--map-root-user", "--uts"], user);
    let inode = process.inode("uts");
    let text = |output: std::io::Result<std::process::Output>| {
        let output = output.expect("jaula");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    let (code, said) = text(run(&["ns", "keep", "demo", "--pid", &process.pid()]));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("a process holds them"), "{said}");
    drop(process);
    let (code, said) = text(run(&["ns", "show", "demo", "--json"]));
    assert!(
        code == Some(0) && said.contains(&inode.to_string()),
        "{said}"
    );
    let record =
        std::fs::read_to_string(place.store().join("run/kept/demo.json")).expect("a record");
    let record: Value = serde_json::from_str(&record).expect("JSON");
    let holder = record["keeper"]["pid"].as_u64().expect("a process");
    let (code, said) = text(run(&["ns", "rm", "demo"]));
    assert_eq!(code, Some(0), "{said}");
    assert!(std::fs::metadata(format!("/proc/{holder}/exe")).is_err());
    assert_ne!(text(run(&["ns", "show", "demo"])).0, Some(0));
}
