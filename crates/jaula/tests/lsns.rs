//! The old name `lsns`, beside the tool itself and by what it must find.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::hermetic::PROGRAM;
use jaula_testkit::{kernel_test, skip};
use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// What came of a run: exit code, standard output, standard error.
type Ran = (Option<i32>, String, String);

fn ours() -> String {
    std::env::var(PROGRAM).unwrap_or_else(|_| env!("CARGO_BIN_EXE_jaula").to_owned())
}

fn run(program: &str, words: &[&str], locale: &str) -> Ran {
    let output = Command::new(program)
        .arg0("lsns")
        .args(words)
        .env_clear()
        .env("LC_ALL", locale)
        .stdin(Stdio::null())
        .output()
        .expect("a program that can be started");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn json(words: &[&str]) -> Vec<Value> {
    let (code, out, err) = run(&ours(), words, "C.UTF-8");
    assert_eq!((code, err.as_str()), (Some(0), ""), "{words:?}");
    let value: Value = serde_json::from_str(&out).expect("JSON");
    value["namespaces"].as_array().expect("a list").clone()
}

/// A child that is ended with its test.
struct Held(Child);

impl Held {
    /// A program that says a line when it is where it should be, and then waits.
    fn start(program: &str, words: &[&str]) -> Option<Self> {
        use std::io::{BufRead, BufReader};
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take()?)
            .read_line(&mut line)
            .ok()?;
        let held = Self(child);
        (line.trim() == "ready").then_some(held)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const WAIT: &str = "echo ready; exec cat";

/// The original, when it is one of the releases whose output is the same on these options.
fn original() -> Result<&'static str, String> {
    let path = "/usr/bin/lsns";
    let output = Command::new(path).arg("-V").output();
    let said = output.map_err(|error| format!("no lsns: {error}"))?.stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let of = ["2.38", "2.39", "2.40", "2.41"]
        .iter()
        .any(|release| said.contains(release));
    if of {
        Ok(path)
    } else {
        Err(format!("another release: {}", said.trim()))
    }
}

/// The next process gets this number, so that both tools see themselves alike.
fn next_pid(number: u32) -> bool {
    std::fs::write("/proc/sys/kernel/ns_last_pid", number.to_string()).is_ok()
}

#[test]
fn lsns_says_what_the_tool_says() {
    kernel_test!();
    let original = match original() {
        Ok(path) => path,
        Err(reason) => skip!("{reason}"),
    };
    if !next_pid(300) {
        skip!("process numbers cannot be chosen here");
    }
    let unshare = |words: &[&str]| {
        let words = [words, &["sh", "-c", WAIT]].concat();
        Held::start("unshare", &words)
    };
    let named = |name: &str| {
        let words = ["-c", "exec -a \"$0\" sh -c 'echo ready; read x'", name];
        Held::start("bash", &words)
    };
    let _world = [
        unshare(&["--uts"]),
        unshare(&["--user", "--map-root-user", "--net", "--ipc", "--mount"]),
        unshare(&["--pid", "--fork", "--kill-child"]),
        unshare(&["--time"]),
        unshare(&["--cgroup", "--uts"]),
        named("new\nline \u{1b}[31mred\\x41"),
        named("ñ日本語 wide"),
    ];
    let inode = |kind: &str| {
        let meta = std::fs::metadata(format!("/proc/self/ns/{kind}")).expect("proc(5)");
        meta.ino().to_string()
    };
    let (pid, user, net) = (inode("pid"), inode("user"), inode("net"));
    let own = std::process::id().to_string();
    let lines = [
        "",
        "-l",
        "-r",
        "-J",
        "-u",
        "-W",
        "-T",
        "-Tparent",
        "-T=process",
        "--tree=owner",
        "-Jl",
        "-JT",
        "-JTparent",
        "-rTowner",
        "-l -T",
        "-t net",
        "-t net -r",
        "-t net -J",
        "-t mnt -t uts",
        "-t user -Tparent",
        "-t cgroup -l",
        "--output-all",
        "--output-all -l -u",
        "--output-all -J -W",
        "-o NS,PID",
        "-o +PATH",
        "-o +UID,PPID",
        "-o ns,nsfs",
        "-o COMMAND,NS -l",
        "-o PNS,ONS,TYPE",
        "-p OWN",
        "-p 1 -o ns,type",
        "-p 9999",
        "-p 0",
        "-p -5",
        "-p x",
        "-p 99999999999",
        "-p 99999999999999999999",
        "-t foo",
        "-T=foo",
        "--json --raw",
        "-o xx",
        "-o ns,xx,pid",
        "-o +",
        "-o ns,,pid",
        "-o ns,",
        "--foo",
        "-Z",
        "-p",
        "--output",
        "77",
        "abc",
        "-- -1",
        "0",
        "-p 1 2",
        "PIDNS",
        "PIDNS -l",
        "USERNS -J",
        "NETNS -T",
        "NETNS -o PID,COMMAND,NS -r",
        "-t net PIDNS",
        "99999999999999999999999",
        "--no",
        "--out",
        "--json=x",
        "--jso",
    ];
    let mut differ = Vec::new();
    for line in lines {
        let line = line.replace("PIDNS", &pid).replace("USERNS", &user);
        let line = line.replace("NETNS", &net).replace("OWN", &own);
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        for locale in ["C", "C.UTF-8"] {
            let ran = [original, &ours()].map(|program| {
                next_pid(400);
                run(program, &words, locale)
            });
            let [theirs, mine] = &ran;
            if theirs != mine {
                differ.push(format!("lsns {line} [{locale}]\n{theirs:#?}\n{mine:#?}"));
            }
        }
    }
    assert!(
        differ.is_empty(),
        "{} differ:\n{}",
        differ.len(),
        differ.join("\n")
    );
}

#[test]
fn help_and_version_are_those_of_the_release_that_is_spoken() {
    let (code, out, err) = run(&ours(), &["-V"], "C");
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (Some(0), "lsns from util-linux 2.41\n", "")
    );
    let (code, out, _) = run(&ours(), &["--help"], "C");
    assert_eq!(code, Some(0));
    assert!(
        out.starts_with("\nUsage:\n lsns [options] [<namespace>]\n"),
        "{out}"
    );
    let (_, out, _) = run(&ours(), &["-H"], "C");
    assert!(
        out.starts_with("     NS <integer> namespace identifier (inode number)\n"),
        "{out}"
    );
    let (_, out, _) = run(&ours(), &["-Hr"], "C");
    assert!(
        out.starts_with("NS <integer> namespace\\x20identifier"),
        "{out}"
    );
    let (code, _, err) = run(&ours(), &["-P", "-p", "1"], "C");
    assert_eq!(
        (code, err.as_str()),
        (
            Some(1),
            "lsns: mutually exclusive arguments: --persistent --task\n"
        )
    );
}

#[test]
fn namespaces_without_processes_are_found() {
    kernel_test!();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("a net");
    std::fs::write(&file, "").expect("a file");
    let made = Command::new("unshare")
        .arg(format!("--net={}", file.display()))
        .arg("true")
        .status();
    if !made.is_ok_and(|status| status.success()) {
        skip!("a namespace cannot be kept by a mount here");
    }
    // Another one is held open by a descriptor of this process only.
    let held = {
        let child = Held::start("unshare", &["--uts", "sh", "-c", WAIT]).expect("a child");
        std::fs::File::open(format!("/proc/{}/ns/uts", child.pid())).expect("its namespace")
    };
    let held = held
        .metadata()
        .map(|meta| (meta.ino(), held))
        .expect("a namespace");
    let mounted = std::fs::metadata(&file).expect("a namespace").ino();
    let listed = json(&["-JP", "-o", "NS,TYPE,NPROCS,PID,NSFS,COMMAND"]);
    let find = |inode: u64| listed.iter().find(|ns| ns["ns"] == inode).cloned();
    let net = find(mounted).expect("the one kept by a mount");
    assert_eq!(
        (&net["type"], &net["nprocs"]),
        (&Value::from("net"), &Value::from(0))
    );
    assert_eq!(net["nsfs"], Value::from(file.to_str().expect("UTF-8")));
    assert_eq!(
        find(held.0).expect("the one held open")["type"],
        Value::from("uts")
    );
    // None of those that processes are in.
    assert!(
        listed
            .iter()
            .all(|ns| ns["nprocs"] == 0 && ns["pid"].is_null())
    );
    let filtered = json(&["-J", "-Q", "NPROCS == 0 and TYPE =~ '^u.s$'", "-o", "NS"]);
    assert_eq!(filtered, [serde_json::json!({ "ns": held.0 })]);
    let (code, _, err) = run(&ours(), &["-Q", "TYPE =="], "C");
    assert_eq!(code, Some(1));
    assert_eq!(
        err,
        "lsns: failed to parse \"TYPE ==\": syntax error, unexpected end of file\n"
    );
    let unmounted = Command::new("umount").arg(&file).status();
    assert!(unmounted.expect("umount").success());
}

#[test]
fn processes_that_come_and_go_do_not_mislead_it() {
    let mut children: Vec<Child> = Vec::new();
    for round in 0..40 {
        for _ in 0..4 {
            let child = Command::new("sh").args(["-c", "sh -c : & :"]).spawn();
            children.push(child.expect("a child"));
        }
        let listed = json(&["-Jl", "-o", "NS,TYPE,NPROCS,PID"]);
        assert!(!listed.is_empty(), "round {round}");
        let own: u64 = std::fs::metadata("/proc/self/ns/mnt")
            .expect("proc(5)")
            .ino();
        let mnt = listed.iter().find(|ns| ns["ns"] == own).expect("this one");
        assert!(mnt["nprocs"].as_u64() >= Some(2), "{mnt}");
    }
    for mut child in children {
        child.wait().expect("ended");
    }
}

#[test]
fn a_terminal_sees_nothing_that_a_process_calls_itself() {
    let name = "evil\n\u{1b}]0;title\u{7}\u{202e}\u{9b}31m";
    let words = ["-c", "exec -a \"$0\" sh -c 'echo ready; read x'", name];
    let Some(evil) = Held::start("bash", &words) else {
        skip!("no bash");
    };
    let pid = evil.pid().to_string();
    let own = std::fs::metadata("/proc/self/ns/mnt")
        .expect("proc(5)")
        .ino()
        .to_string();
    for form in ["-l", "-r", "-J", "-u"] {
        let (code, out, err) = run(&ours(), &[form, &own, "-o", "PID,COMMAND"], "C.UTF-8");
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(out.contains(&pid) && out.contains("evil"), "{out}");
        let bad =
            |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c);
        // JSON escapes what must be; the rest is for its reader.
        if form != "-J" {
            assert_eq!(out.chars().find(bad), None, "{out:?}");
        }
        assert!(out.lines().filter(|line| line.contains("evil")).count() == 1);
    }
}
