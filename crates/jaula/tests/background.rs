//! Runs in the background, and what ends, waits for and measures what runs, as root and as an ordinary user.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod groups;
mod who;

use groups::{is_gone, left, until};
use jaula_testkit::{Ran, skip};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use who::{User, everyone};

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stdout))
}

/// Starts a run `bg`; the processes by which it is known: supervisor and program.
fn start(user: &User, words: &[&str], script: &str) -> (u32, u32) {
    let all = [
        &["run", "--json", "--detach", "--name", "bg"],
        words,
        &["--", "sh", "-c", script],
    ]
    .concat();
    let entry = json(&user.place.run(&all).expect(0));
    let pid = |value: &Value| u32::try_from(value.as_u64().expect("a number")).expect("a number");
    (
        pid(&entry["run"]["supervisor"]["pid"]),
        pid(&entry["run"]["running"]["pid"]),
    )
}

fn logged(user: &User, text: &str) {
    until(text, || {
        user.place.run(&["logs", "bg"]).stdout.contains(text)
    });
}

#[test]
fn a_run_goes_on_in_the_background_and_its_end_is_kept() {
    everyone(|user| {
        let place = &user.place;
        let script = "echo begun; echo wrong >&2; trap 'echo told; exit 3' TERM; while :; do sleep 0.02; done";
        let (supervisor, program) = start(user, &[], script);
        logged(user, "wrong");
        assert!(!is_gone(supervisor) && !is_gone(program));
        // The name is taken, and what runs is not removed unasked.
        let again = place
            .run(&["run", "--detach", "--name", "bg", "--", "true"])
            .expect(125);
        assert!(again.stderr.contains("is running"), "{}", again.stderr);
        place.run(&["rm", "bg"]).expect(125);
        let planned = place.run(&["stop", "bg", "--plan"]).expect(0);
        assert!(planned.stdout.contains("tell bg"), "{}", planned.stdout);
        assert!(!is_gone(program), "a plan stops nothing");
        place.run(&["stop", "bg"]).expect(0);
        assert!(is_gone(supervisor) && is_gone(program));
        place.run(&["wait", "bg"]).expect(3);
        let log = place.run(&["logs", "bg"]).expect(0);
        assert!(
            log.stdout.contains("begun\nwrong\n") && log.stdout.contains("told\n"),
            "{}",
            log.stdout
        );
        let ended = place.run(&["stop", "bg"]).expect(125);
        assert!(ended.stderr.contains("ended (3)"), "{}", ended.stderr);
        // An ended one makes room for the next of its name.
        place
            .run(&[
                "run",
                "--detach",
                "--name",
                "bg",
                "--",
                "sh",
                "-c",
                "echo second",
            ])
            .expect(0);
        place.run(&["wait", "bg"]).expect(0);
        assert_eq!(place.run(&["logs", "bg"]).expect(0).stdout, "second\n");
        place.run(&["rm", "bg"]).expect(0);
        place.run(&["logs", "bg"]).expect(125);
    });
}

#[test]
fn what_does_not_end_in_time_is_killed() {
    everyone(|user| {
        let (supervisor, program) = start(user, &[], "trap '' TERM; echo deaf; sleep 60; sleep 60");
        logged(user, "deaf");
        let stopped = user
            .place
            .run(&["--json", "stop", "--time", "200ms", "bg"])
            .expect(0);
        assert_eq!(
            json(&stopped)["jails"][0]["killed"],
            true,
            "{}",
            stopped.stdout
        );
        assert!(is_gone(supervisor) && is_gone(program));
        user.place.run(&["wait", "bg"]).expect(137);
    });
}

#[test]
fn a_signal_reaches_the_program_and_kill_ends_all() {
    everyone(|user| {
        let place = &user.place;
        let script = "trap 'echo hup' HUP; echo begun; while :; do sleep 0.02; done";
        let (supervisor, program) = start(user, &[], script);
        logged(user, "begun");
        place.run(&["kill", "--signal", "HUP", "bg"]).expect(0);
        logged(user, "hup");
        place
            .run(&["kill", "--signal", "SIGNONE", "bg"])
            .expect(125);
        // By a process of it as well as by name.
        place.run(&["kill", &program.to_string()]).expect(0);
        assert!(is_gone(supervisor) && is_gone(program));
        place.run(&["wait", "bg"]).expect(137);
        // Neither a number that is nobody's nor one of somebody else.
        for pid in ["1", "4194304", &std::process::id().to_string()] {
            let refused = place.run(&["kill", pid]).expect(125);
            assert!(
                refused.stderr.contains("process of a jail"),
                "{}",
                refused.stderr
            );
        }
    });
}

#[test]
fn a_killed_supervisor_takes_its_run_with_it_and_is_said_to_have_been_killed() {
    everyone(|user| {
        let (supervisor, program) = start(user, &[], "echo begun; sleep 60");
        logged(user, "begun");
        let killed = Command::new("kill")
            .args(["-9", &supervisor.to_string()])
            .status();
        assert!(killed.expect("kill").success());
        until("its program is gone", || {
            is_gone(program) && is_gone(supervisor)
        });
        user.place.run(&["wait", "bg"]).expect(125);
        let refused = user.place.run(&["stop", "bg"]).expect(125);
        assert!(refused.stderr.contains("killed"), "{}", refused.stderr);
        start(user, &[], "true");
        user.place.run(&["wait", "bg"]).expect(0);
    });
}

/// When a process started, in clock ticks since boot (proc_pid_stat(5), field 22).
fn started(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, fields) = stat.rsplit_once(") ").expect("its fields");
    let field = fields.split(' ').nth(19).expect("field 22");
    field.parse().expect("a number")
}

#[test]
fn a_number_used_again_is_not_signalled() {
    everyone(|user| {
        let (supervisor, program) = start(user, &[], "echo begun; sleep 60");
        logged(user, "begun");
        // Another process has the number that the entry names: as if it had been used again.
        let path = user.place.store().join("detached/bg.json");
        let text = std::fs::read_to_string(&path).expect("an entry");
        let mut entry: Value = serde_json::from_str(&text).expect("JSON");
        // One that started in another tick of the clock: numbers do not come round within one.
        let mut other = loop {
            let mut other = Command::new("sleep").arg("60").spawn().expect("sleep");
            if entry["running"]["start_time"] != started(other.id()) {
                break other;
            }
            other.kill().expect("a child");
            other.wait().expect("an end");
        };
        entry["running"]["pid"] = other.id().into();
        std::fs::write(&path, entry.to_string()).expect("an entry");
        user.place
            .run(&["kill", "bg", "--signal", "TERM"])
            .expect(0);
        assert!(!is_gone(other.id()), "somebody else was signalled");
        std::fs::write(&path, text).expect("an entry");
        user.place.run(&["kill", "bg"]).expect(0);
        assert!(is_gone(supervisor) && is_gone(program));
        other.kill().expect("a child");
        other.wait().expect("an end");
    });
}

#[test]
fn a_run_in_the_background_has_its_limits_and_figures() {
    let _alone = groups::alone();
    everyone(|user| {
        let place = &user.place;
        place
            .run(&[
                "run",
                "--detach",
                "--name",
                "t",
                "--timeout",
                "200ms",
                "--",
                "sleep",
                "60",
            ])
            .expect(0);
        place.run(&["wait", "t"]).expect(124);
        let planned = place.run(&[
            "run",
            "--limit",
            "memory=64M,pids=20",
            "--plan",
            "--",
            "true",
        ]);
        let grouped = planned.code == 0;
        let limits: &[&str] = if grouped {
            &["--limit", "memory=64M,pids=20"]
        } else {
            &[]
        };
        let script = "sleep 60 & sleep 60 & n=0; while [ $n -lt 20000 ]; do n=$((n+1)); done; echo begun; wait";
        start(user, limits, script);
        logged(user, "begun");
        let figures =
            json(&place.run(&["stats", "--json", "bg"]).expect(0))["jails"][0]["figures"].clone();
        // Its first process, the shell, and two more.
        assert_eq!(figures["pids"], 4, "{figures}");
        assert!(figures["memory"].as_u64() > Some(10_000), "{figures}");
        assert_eq!(
            figures["pids_limit"],
            if grouped { 20.into() } else { Value::Null },
            "{figures}"
        );
        assert_eq!(figures["net_received"], 0, "its own network: {figures}");
        let table = place.run(&["stats"]).expect(0).stdout;
        assert!(
            table.starts_with("NAME") && table.contains("\nbg "),
            "{table}"
        );
        place.run(&["kill", "bg"]).expect(0);
        assert_eq!(left(), Vec::<String>::new());
        assert!(!place.run(&["stats"]).expect(0).stdout.contains("bg"));
        place.run(&["stats", "bg"]).expect(125);
    });
}

/// A directory with a shell and a few programs of the host.
fn tree(at: &Path) -> Result<(), String> {
    for dir in ["bin", "usr", "etc", "tmp", "proc", "sys", "dev", "root"] {
        std::fs::create_dir_all(at.join(dir)).map_err(|error| error.to_string())?;
    }
    for program in ["sh", "sleep", "cat"] {
        let found = std::fs::canonicalize(Path::new("/bin").join(program))
            .map_err(|error| error.to_string())?;
        std::fs::copy(&found, at.join("bin").join(program)).map_err(|error| error.to_string())?;
        let output = Command::new("ldd")
            .arg(&found)
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = at.join(library.trim_start_matches('/'));
            let dir = to.parent().ok_or("no directory")?;
            std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
            std::fs::copy(library, &to).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// A session of jail `web` that has said its first line.
fn session(user: &User, words: &[&str], script: &str) -> (Child, String) {
    let all = [&["exec", "web"], words, &["--", "sh", "-c", script]].concat();
    let mut command = user.place.command(&all);
    command.stdout(Stdio::piped());
    let mut child = command.spawn().expect("jaula");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe"))
        .read_line(&mut line)
        .expect("a line");
    (child, line)
}

#[test]
fn sessions_of_a_named_jail_share_its_limits_and_are_stopped_together() {
    let _alone = groups::alone();
    everyone(|user| {
        let place = &user.place;
        if let Err(reason) = tree(&place.work().join("tree")) {
            skip!("{reason}");
        }
        let planned = place.run(&["run", "--limit", "pids=20", "--plan", "--", "true"]);
        let grouped = planned.code == 0;
        let limits = if grouped {
            "pids=20,files=99"
        } else {
            "files=99"
        };
        place
            .run(&["new", "web", "--from", "./tree", "--limit", limits])
            .expect(0);
        let shown = place.run(&["show", "web"]).expect(0).stdout;
        assert!(
            shown.contains(limits.split(',').next().expect("one")),
            "{shown}"
        );
        let ran = place
            .run(&["exec", "web", "--", "sh", "-c", "ulimit -n"])
            .expect(0);
        assert_eq!(ran.stdout, "99\n");
        let top = "while IFS=: read -r n c path; do [ \"$path\" = / ] || echo \"$path\"; done </proc/self/cgroup; echo up; ";
        let (mut first, line) = session(
            user,
            &[],
            &format!("{top} trap 'exit 7' TERM; while :; do sleep 0.02; done"),
        );
        assert_eq!(line, "up\n");
        if grouped {
            let (mut second, line) = session(user, &[], &format!("{top} sleep 60"));
            assert_eq!(line, "up\n");
            // A session may have less than its jail, and not more.
            let few = "n=0; while [ $n -lt 5 ]; do sleep 60 >/dev/null 2>&1 & n=$((n+1)); done; echo never";
            let less = place.run(&["exec", "web", "--limit", "pids=4", "--", "sh", "-c", few]);
            assert!(
                less.code != 0 && !less.stdout.contains("never"),
                "{}",
                less.stderr
            );
            // What one takes the other has not.
            let many = "n=0; while [ $n -lt 30 ]; do sleep 60 >/dev/null 2>&1 & n=$((n+1)); done; echo never";
            let full = place.run(&["exec", "web", "--", "sh", "-c", many]);
            assert!(
                full.code != 0 && !full.stdout.contains("never"),
                "{}",
                full.stderr
            );
            let more = place.run(&["exec", "web", "--limit", "pids=100", "--", "sh", "-c", many]);
            assert!(
                more.code != 0 && !more.stdout.contains("never"),
                "{}",
                more.stderr
            );
            second.kill().expect("a child");
            second.wait().expect("an end");
        }
        place.run(&["new", "bg", "--from", "./tree"]).expect(0);
        let taken = place
            .run(&["run", "--detach", "--name", "bg", "--", "true"])
            .expect(125);
        assert!(taken.stderr.contains("already"), "{}", taken.stderr);
        place.run(&["stop", "web"]).expect(0);
        assert_eq!(first.wait().expect("an end").code(), Some(7));
        until("the jail is gone", || {
            let shown = place.run(&["show", "web"]).expect(0).stdout;
            shown.contains("not running")
        });
        let refused = place.run(&["stop", "web"]).expect(125);
        assert!(refused.stderr.contains("not run"), "{}", refused.stderr);
        until("its groups are gone", || left().is_empty());
        place.run(&["rm", "web", "bg"]).expect(0);
    });
}
