//! Limits from end to end, as root and as an ordinary user: what they hold, how they are refused, and that nothing of
//! them is left. Where this host gives a user no control groups, that is what is tested.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod groups;
mod who;

use groups::{groups_of, held_by, left, until};
use jaula_testkit::{Ran, skip};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use who::{User, Who, everyone};

/// Whether this user can have these limits here; when not, that it is said which controller is missing, that
/// `--best-effort` goes on and tells of it, and that nothing else happens.
fn holds(user: &User, limits: &str) -> bool {
    let planned = user
        .place
        .run(&["run", "--limit", limits, "--plan", "--", "true"]);
    if planned.code == 0 {
        return true;
    }
    assert_eq!(planned.code, 125, "{}", planned.stderr);
    let refused = user
        .place
        .run(&["run", "--limit", limits, "--", "true"])
        .expect(125);
    assert!(refused.stderr.contains("controller"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("--best-effort"),
        "{}",
        refused.stderr
    );
    let words = [
        "run",
        "--json",
        "--best-effort",
        "--limit",
        limits,
        "--",
        "echo",
        "ran",
    ];
    let without = user.place.run(&words).expect(0);
    assert_eq!(without.stdout, "ran\n");
    let outcome = outcome(&without);
    let held = &outcome["enforced"]["limits"];
    assert!(
        held.as_array()
            .is_some_and(|all| all.iter().any(|one| one["enforced"] == false)),
        "{outcome}"
    );
    assert!(
        without.stderr.contains("is not enforced"),
        "{}",
        without.stderr
    );
    assert!(
        user.who != Who::Root || !std::path::Path::new("/sys/fs/cgroup/pids/cgroup.procs").exists(),
        "root of a host with control groups was refused: {}",
        refused.stderr
    );
    false
}

/// The last line of standard error with `--json`.
fn outcome(ran: &Ran) -> Value {
    let line = ran.stderr.lines().find(|line| line.contains("\"outcome\""));
    serde_json::from_str(line.unwrap_or_else(|| panic!("{}", ran.stderr))).expect("JSON")
}

/// Runs a script under limits.
fn run(user: &User, limits: &str, script: &str) -> Ran {
    user.place
        .run(&["run", "--json", "--limit", limits, "--", "sh", "-c", script])
}

/// A jail whose script has said its first line.
fn begun(user: &User, limits: &str, script: &str) -> (Child, String) {
    let mut command = user
        .place
        .command(&["run", "--limit", limits, "--", "sh", "-c", script]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("jaula");
    let mut line = String::new();
    let output = child.stdout.take().expect("a pipe");
    BufReader::new(output).read_line(&mut line).expect("a line");
    if line.is_empty() {
        let mut text = String::new();
        child
            .stderr
            .take()
            .expect("a pipe")
            .read_to_string(&mut text)
            .expect("text");
        panic!("it did not begin: {text}");
    }
    (child, line)
}

fn end(mut child: Child) {
    child.kill().expect("a child");
    child.wait().expect("an end");
}

#[test]
fn a_limited_jail_is_in_a_group_of_its_own_and_sees_itself_at_the_top() {
    let _alone = groups::alone();
    everyone(|user| {
        if !holds(user, "memory=64M,pids=20") {
            return;
        }
        let script = "while IFS=: read -r n c path; do [ \"$path\" = / ] || echo \"$c at $path\"; done </proc/self/cgroup; echo up; sleep 60";
        let (child, line) = begun(user, "memory=64M,pids=20", script);
        assert_eq!(line, "up\n", "inside it is at the top of every hierarchy");
        let processes = held_by(child.id());
        assert!(processes.len() >= 2, "{processes:?}");
        // All of the jail's processes, its first one too, and not the supervisor.
        for pid in &processes {
            let groups = groups_of(*pid);
            let ours = |controller: &str| {
                groups.iter().any(|(names, path)| {
                    (names.is_empty() || names.split(',').any(|name| name == controller))
                        && path.contains("/jaula-")
                })
            };
            assert!(ours("pids") && ours("memory"), "{pid}: {groups:?}");
        }
        let own = groups_of(child.id());
        assert!(
            own.iter().all(|(_, path)| !path.contains("/jaula-")),
            "{own:?}"
        );
        end(child);
        user.place.run(&["recover"]).expect(0);
        assert_eq!(left(), Vec::<String>::new());
    });
}

#[test]
fn what_is_enforced_is_what_the_kernel_says() {
    let _alone = groups::alone();
    everyone(|user| {
        let words = "files=77,core=0,nice=3,time=1h";
        let ran = run(user, words, "ulimit -n; ulimit -c; nice").expect(0);
        assert_eq!(ran.stdout, "77\n0\n3\n");
        let told = outcome(&ran)["enforced"]["limits"].to_string();
        for text in ["\"files=77\"", "\"core=0\"", "\"nice=3\"", "\"time=1h\""] {
            assert!(told.contains(text), "{told}");
        }
        if !holds(user, "memory=100000001,pids=20") {
            return;
        }
        let ran = run(user, "memory=100000001,pids=20", "true").expect(0);
        let told = outcome(&ran)["enforced"]["limits"].clone();
        let value = |limit: &str| {
            let all = told.as_array().expect("a list");
            let one = all.iter().find(|one| one["limit"] == *limit);
            one.unwrap_or_else(|| panic!("{told}"))["value"]
                .as_str()
                .expect("text")
                .to_owned()
        };
        assert_eq!(value("pids=20"), "20");
        // Memory is counted in pages: what is told is what was read back, not what was written.
        assert_eq!(
            value("memory=100000001").parse::<u64>().expect("bytes") % 4096,
            0,
            "{told}"
        );
        assert_eq!(left(), Vec::<String>::new());
    });
}

#[test]
fn limits_of_processes_hold_inside() {
    let _alone = groups::alone();
    everyone(|user| {
        let ran = run(
            user,
            "file-size=8K",
            "head -c 100000 /dev/zero >/tmp/x; stat -c %s /tmp/x",
        )
        .expect(0);
        assert_eq!(ran.stdout, "8192\n");
        let ran = run(
            user,
            "stack=1M,core=0",
            "grep -E 'stack size|core file' /proc/self/limits",
        )
        .expect(0);
        assert!(
            ran.stdout.contains("1048576              1048576"),
            "{}",
            ran.stdout
        );
        let ran = run(
            user,
            "files=8",
            "perl -e 'for (1..20) { open(my $f, q(<), q(/dev/null)) or exit 9; push @all, $f }'",
        );
        assert_eq!(ran.code, 9, "{}", ran.stderr);
        // SIGXCPU, or SIGKILL where the hard limit is the same.
        let ran = run(user, "cpu-time=1s", "while :; do :; done");
        assert!(matches!(ran.code, 137 | 152), "{}", ran.code);
        // The program cannot take back what its limits are.
        let ran = run(user, "files=64", "ulimit -n 128").code;
        assert_ne!(ran, 0);
    });
}

#[test]
fn a_limit_above_the_hard_limit_is_refused_with_the_reason() {
    let _alone = groups::alone();
    everyone(|user| {
        let ran = user
            .place
            .run(&["run", "--limit", "files=4000000000", "--", "true"])
            .expect(125);
        assert!(ran.stderr.contains("hard limit"), "{}", ran.stderr);
        assert!(ran.stderr.contains("CAP_SYS_RESOURCE"), "{}", ran.stderr);
        let words = [
            "run",
            "--best-effort",
            "--limit",
            "files=4000000000",
            "--",
            "true",
        ];
        let ran = user.place.run(&words).expect(0);
        assert!(
            ran.stderr.contains("files=4000000000 is not enforced"),
            "{}",
            ran.stderr
        );
    });
}

#[test]
fn forking_past_the_limit_fails_and_a_fork_bomb_stays_within_it() {
    let _alone = groups::alone();
    everyone(|user| {
        if !holds(user, "pids=20") {
            return;
        }
        let script = "n=0; while [ $n -lt 40 ]; do sleep 60 & n=$((n+1)); done; echo never";
        let ran = run(user, "pids=20", script);
        assert_ne!(ran.code, 0);
        assert!(ran.stderr.to_lowercase().contains("fork"), "{}", ran.stderr);
        assert!(!ran.stdout.contains("never"));
        let (child, _) = begun(
            user,
            "pids=20",
            "bomb() { bomb | bomb & }; echo up; bomb; sleep 60",
        );
        let mut most = 0;
        // The count is taken while it does its worst.
        for _ in 0..10 {
            most = most.max(held_by(child.id()).len());
        }
        assert!(most <= 20, "{most} processes");
        end(child);
        until("the bomb's groups are empty", || {
            left().iter().all(|group| groups::is_empty(group))
        });
        // The next start removes what the killed one left.
        run(user, "pids=20", "true").expect(0);
        assert_eq!(left(), Vec::<String>::new());
    });
}

#[test]
fn a_jail_that_takes_too_much_memory_is_killed_and_the_reason_is_said() {
    let _alone = groups::alone();
    everyone(|user| {
        if !holds(user, "memory=32M") {
            return;
        }
        let words = [
            "run",
            "--limit",
            "memory=32M",
            "--",
            "sh",
            "-c",
            "exec perl -e '$x = \"x\" x 300000000; print length $x'",
        ];
        let ran = user.place.run(&words).expect(137);
        assert_eq!(ran.stdout, "");
        assert!(
            ran.stderr.contains("out of memory (memory=32M)"),
            "{}",
            ran.stderr
        );
        let ran = run(
            user,
            "memory=32M",
            "perl -e '$x = \"x\" x 300000000'; exit 0",
        )
        .expect(0);
        assert_eq!(outcome(&ran)["reached"]["limit"], "memory");
        let ran = run(user, "memory=512M", "perl -e '$x = \"x\" x 3000000'").expect(0);
        assert_eq!(outcome(&ran)["reached"], Value::Null);
    });
}

#[test]
fn time_on_cpus_is_held_to_the_quota() {
    let _alone = groups::alone();
    everyone(|user| {
        if !holds(user, "cpu=20%") {
            return;
        }
        let (child, line) = begun(user, "cpu=20%", "echo $$; while :; do :; done");
        assert!(!line.is_empty());
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|text| text.trim().parse::<u64>().ok())
                .unwrap_or(0)
        };
        let has_figures = |group: &String| std::path::Path::new(group).join("cpu.stat").exists();
        let group = left().into_iter().find(has_figures).expect("a group");
        let stat = || std::fs::read_to_string(format!("{group}/cpu.stat")).expect("figures");
        until("ten periods have passed", || {
            field(&stat(), "nr_periods ") >= 10
        });
        let used: u64 = held_by(child.id())
            .iter()
            .map(|pid| groups::cpu_millis(*pid))
            .sum();
        let text = stat();
        assert!(field(&text, "nr_throttled ") > 0, "{text}");
        // A fifth of each period of a tenth of a second; setting the jail up was before, and the clock has ticks.
        let most = 20 * (field(&text, "nr_periods ") + 2) + 100;
        assert!(used <= most, "{used} ms on CPUs, at most {most}");
        end(child);
        run(user, "cpu=20%", "true").expect(0);
        assert_eq!(left(), Vec::<String>::new());
    });
}

#[test]
fn a_jail_runs_on_the_cpus_it_was_given() {
    let _alone = groups::alone();
    everyone(|user| {
        if !holds(user, "cpus=0") {
            return;
        }
        let ran = run(user, "cpus=0", "grep Cpus_allowed_list /proc/self/status").expect(0);
        assert_eq!(ran.stdout.trim(), "Cpus_allowed_list:\t0");
        let ran = user
            .place
            .run(&["run", "--limit", "cpus=60000", "--", "true"])
            .expect(125);
        assert!(
            ran.stderr.contains("there is no CPU 60000"),
            "{}",
            ran.stderr
        );
    });
}

#[test]
fn a_killed_jaula_leaves_groups_that_the_next_start_removes() {
    let _alone = groups::alone();
    everyone(|user| {
        if !holds(user, "pids=20") {
            return;
        }
        let (child, _) = begun(user, "pids=20", "echo up; sleep 60");
        assert!(!left().is_empty());
        // One that lives keeps its groups whatever others start.
        run(user, "pids=10", "true").expect(0);
        assert!(!left().is_empty());
        let inside = held_by(child.id());
        end(child);
        until("its processes are gone", || {
            inside.iter().all(|pid| groups::is_gone(*pid))
        });
        let planned = user.place.run(&["recover", "--plan"]).expect(0);
        assert!(planned.stdout.contains("/jaula-"), "{}", planned.stdout);
        user.place.run(&["recover"]).expect(0);
        assert_eq!(left(), Vec::<String>::new());
        let (child, _) = begun(user, "pids=20", "echo up; sleep 60");
        end(child);
        run(user, "pids=10", "true").expect(0);
        assert_eq!(left(), Vec::<String>::new());
    });
}

#[test]
fn without_any_hierarchy_the_missing_controller_is_named() {
    let _alone = groups::alone();
    everyone(|user| {
        if user.who != Who::Root {
            return;
        }
        // A host without control groups, for this process alone.
        let hide = "umount --recursive --lazy /sys/fs/cgroup && exec \"$@\"";
        let program = user.place.command::<&str>(&[]).get_program().to_owned();
        let program = program.to_str().expect("a path").to_owned();
        let bare = |words: &[&str]| {
            let outer = [
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                hide,
                "sh",
                &program,
            ];
            let mut command = user.other("unshare", &[&outer, words].concat());
            let output = command.output().expect("unshare");
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            (
                output.status.code(),
                text(output.stdout),
                text(output.stderr),
            )
        };
        for (limit, controller) in [
            ("pids=20", "pids"),
            ("io-weight=50", "io"),
            ("cpus=0", "cpuset"),
        ] {
            let (code, _, text) = bare(&["run", "--limit", limit, "--", "true"]);
            if text.contains("umount") {
                skip!("{text}");
            }
            assert_eq!(code, Some(125), "{text}");
            let expected =
                format!("no hierarchy of control groups has the controller {controller}");
            assert!(text.contains(&expected), "{text}");
        }
        let (code, out, text) = bare(&[
            "run",
            "--best-effort",
            "--limit",
            "pids=20,files=50",
            "--",
            "sh",
            "-c",
            "ulimit -n",
        ]);
        assert_eq!((code, out.as_str()), (Some(0), "50\n"), "{text}");
        assert!(text.contains("pids=20 is not enforced"), "{text}");
    });
}

#[test]
fn a_run_whose_time_is_up_is_told_to_end_and_then_killed() {
    let _alone = groups::alone();
    everyone(|user| {
        let place = &user.place;
        let ran = place
            .run(&["run", "--timeout", "300ms", "--", "sleep", "60"])
            .expect(124);
        assert!(
            ran.stderr.contains("its time was up (time=300ms)"),
            "{}",
            ran.stderr
        );
        let willing = "trap 'echo told; exit 3' TERM; while :; do sleep 0.02; done";
        let words = ["run", "--timeout", "300ms", "--", "sh", "-c", willing];
        assert_eq!(place.run(&words).expect(124).stdout, "told\n");
        let deaf = "trap '' TERM; echo deaf; sleep 60; sleep 60";
        let words = [
            "run",
            "--timeout",
            "300ms",
            "--kill-after",
            "200ms",
            "--",
            "sh",
            "-c",
            deaf,
        ];
        assert_eq!(place.run(&words).expect(124).stdout, "deaf\n");
        place
            .run(&["run", "--timeout", "1h", "--", "sh", "-c", "exit 5"])
            .expect(5);
        for bad in ["0", "-1", "x", "5y"] {
            place
                .run(&["run", "--timeout", bad, "--", "true"])
                .expect(125);
        }
    });
}

#[test]
fn limits_that_make_no_sense_are_refused_before_anything_happens() {
    let _alone = groups::alone();
    everyone(|user| {
        for bad in [
            "memory", "memory=", "memory=0", "what=1", "pids=0", "cpus=a", "",
        ] {
            let ran = user
                .place
                .run(&["run", "--limit", bad, "--", "true"])
                .expect(125);
            assert!(ran.stderr.contains("cannot use"), "{bad}: {}", ran.stderr);
        }
        let ran = user
            .place
            .run(&["run", "--limit", "io-read=/etc/passwd:1M", "--", "true"])
            .expect(125);
        assert!(
            ran.stderr.contains("no block device") || ran.stderr.contains("controller"),
            "{}",
            ran.stderr
        );
    });
}
