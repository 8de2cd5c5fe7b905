//! The protections of the command line: `run` and `exec`, as root and as an ordinary user.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use jaula_testkit::Ran;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use who::{User, everyone};

fn end(mut command: Command) -> Ran {
    let start = std::time::Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("a child");
    let code = output.status.code();
    Ran {
        code: code
            .or_else(|| output.status.signal().map(|signal| 128 + signal))
            .expect("an end"),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        elapsed: start.elapsed(),
    }
}

fn jaula(user: &User, words: &[&str]) -> Ran {
    end(user.place.command(words))
}

/// `jaula`, started by a shell that has opened descriptors before.
fn after(user: &User, redirections: &str, words: &[&str]) -> Ran {
    let model = user.place.command(words);
    let mut command = Command::new("sh");
    let script = format!("exec {redirections}; exec \"$@\"");
    command
        .args(["-c", &script, "sh"])
        .arg(model.get_program())
        .args(model.get_args())
        .env_clear();
    let set = model
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    command.envs(set);
    if let Some(dir) = model.get_current_dir() {
        command.current_dir(dir);
    }
    end(command)
}

/// A file in the user's place.
fn file(user: &User, name: &str, text: &str) -> String {
    let path = user.place.work().join(name);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a file of ours");
    path.to_str().expect("text").to_owned()
}

/// Looked at one by one: to list the directory would open one more.
const LOOK: &str = "for (0..300) { print \"$_ \" if -e \"/proc/self/fd/$_\" }";

#[test]
fn descriptors_stay_only_when_they_are_named() {
    everyone(|user| {
        let redirections = "9</etc/passwd 7</";
        let look = |options: &[&str]| {
            let words: Vec<&str> = ["run"]
                .iter()
                .chain(options)
                .copied()
                .chain(["--", "perl", "-e", LOOK])
                .collect();
            after(user, redirections, &words)
        };
        assert_eq!(look(&[]).expect(0).stdout, "0 1 2 ");
        assert_eq!(look(&["--keep-fd", "9"]).expect(0).stdout, "0 1 2 9 ");
        assert_eq!(
            look(&["--keep-fd", "9,7", "--keep-fd=1"]).expect(0).stdout,
            "0 1 2 7 9 "
        );
        let ran = after(
            user,
            redirections,
            &["run", "--keep-fd", "9", "--", "sh", "-c", "head -c 4 <&9"],
        );
        assert_eq!(ran.expect(0).stdout, "root");
        // One that nobody gave, although jaula itself may have opened it.
        for absent in ["3", "4", "5", "8"] {
            let ran = look(&["--keep-fd", absent]).expect(125);
            assert!(
                ran.stderr
                    .contains(&format!("cannot keep descriptor {absent}")),
                "{}",
                ran.stderr
            );
        }
    });
}

#[test]
fn no_descriptor_is_a_way_to_the_working_directory() {
    everyone(|user| {
        for number in 0..16 {
            let cwd = format!("/proc/self/fd/{number}");
            for options in [
                &["run", "--cwd", &cwd][..],
                &["run", "--keep-fd", "9", "--cwd", &cwd],
            ] {
                let words: Vec<&str> = options.iter().copied().chain(["--", "pwd"]).collect();
                let ran = after(user, "9</ 7</etc", &words).expect(125);
                assert!(ran.stderr.contains("work in"), "{}", ran.stderr);
            }
        }
    });
}

#[test]
fn what_is_off_is_said_aloud_and_shown() {
    everyone(|user| {
        let status = [
            "--",
            "grep",
            "-E",
            "NoNewPrivs|Seccomp:",
            "/proc/self/status",
        ];
        let words = |options: &[&'static str]| {
            ["run", "--json"]
                .iter()
                .chain(options)
                .chain(&status)
                .copied()
                .collect::<Vec<_>>()
        };
        let ran = jaula(user, &words(&["--no-new-privs=off", "--seccomp", "off"])).expect(0);
        assert_eq!(ran.stdout, "NoNewPrivs:\t0\nSeccomp:\t0\n");
        for part in [
            "may gain privileges",
            "no system call is filtered",
            "\"no_new_privs\":false",
            "\"seccomp\":\"none\"",
        ] {
            assert!(ran.stderr.contains(part), "no {part} in {}", ran.stderr);
        }
        let ran = jaula(user, &words(&[])).expect(0);
        assert_eq!(ran.stdout, "NoNewPrivs:\t1\nSeccomp:\t2\n");
        for part in [
            "\"no_new_privs\":true",
            "\"seccomp\":\"default\"",
            "\"dies_with_parent\":true",
            "\"securebits\":0",
        ] {
            assert!(ran.stderr.contains(part), "no {part} in {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("\"note\""), "{}", ran.stderr);
        let ran = jaula(user, &["run", "--no-new-privs=off", "--", "true"]).expect(0);
        assert!(
            ran.stderr
                .starts_with("note: programs inside may gain privileges"),
            "{}",
            ran.stderr
        );
        let plan = jaula(user, &["run", "--plan", "--no-new-privs=off", "--", "true"]).expect(0);
        assert!(
            plan.stdout.contains("note: programs inside"),
            "{}",
            plan.stdout
        );
    });
}

#[test]
fn a_profile_filters_and_a_wrong_one_is_refused() {
    everyone(|user| {
        let good = file(
            user,
            "good.json",
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":30}]}"#,
        );
        let wrong = good.replace("good", "wrong");
        fs::write(
            &wrong,
            fs::read_to_string(&good)
                .expect("a file")
                .replace("\"mkdirat\"", "\"mkdrat\""),
        )
        .expect("a file");
        fs::set_permissions(&wrong, fs::Permissions::from_mode(0o644)).expect("a file of ours");
        let run = |options: &[&str]| {
            let words: Vec<&str> = ["run"]
                .iter()
                .chain(options)
                .copied()
                .chain(["--", "mkdir", "/tmp/new"])
                .collect();
            jaula(user, &words)
        };
        assert!(
            run(&["--seccomp", &good])
                .expect(1)
                .stderr
                .contains("Read-only file system")
        );
        run(&["--seccomp", "default"]).expect(0);
        let ran = run(&["--seccomp", &wrong]).expect(125);
        for part in [
            "do not exist: mkdrat",
            "hint: mkdrat: did you mean mkdirat?",
            "--best-effort",
        ] {
            assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
        }
        let ran = run(&["--seccomp", &wrong, "--best-effort"]).expect(1);
        assert!(ran.stderr.contains("left out: mkdrat"), "{}", ran.stderr);
        let ran = run(&["--seccomp", "/no/such/profile"]).expect(125);
        assert!(
            ran.stderr.contains("cannot use the seccomp profile"),
            "{}",
            ran.stderr
        );
        let plan = jaula(user, &["run", "--plan", "--seccomp", &good, "--", "true"]).expect(0);
        assert!(
            plan.stdout
                .contains(&format!("filter system calls: the profile {good}")),
            "{}",
            plan.stdout
        );
    });
}

#[test]
fn landlock_is_shown_and_explained() {
    everyone(|user| {
        let options = [
            "--landlock",
            "exec:/usr,rw:/tmp,connect:443",
            "--landlock",
            "scope:signals",
        ];
        let words = |shown: &'static str| {
            ["run", shown]
                .iter()
                .chain(&options)
                .chain(&["--", "true"])
                .copied()
                .collect::<Vec<_>>()
        };
        let plan = jaula(user, &words("--plan"));
        if plan.code == 125 && plan.stderr.contains("cannot hold the Landlock rule") {
            jaula_testkit::skip!("this kernel has no Landlock of version 6");
        }
        let line = "let it touch only: exec:/usr rw:/tmp connect:443 scope:signals";
        assert!(plan.expect(0).stdout.contains(line));
        let explained = jaula(user, &words("--explain")).expect(0).stdout;
        assert!(
            explained.contains(
                "--landlock-access fs --landlock-rule path-beneath:execute,read-file,read-dir:/usr"
            ),
            "{explained}"
        );
        let ran = jaula(user, &["run", "--landlock", "ro:/usr", "--", "true"]).expect(126);
        assert!(ran.stderr.contains("exec:PATH"), "{}", ran.stderr);
    });
}

#[test]
fn a_named_jails_program_has_its_own_protections() {
    everyone(|user| {
        let tree = user.place.work().join("tree");
        for name in ["usr", "etc", "dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(tree.join(name)).expect("a directory");
        }
        // The smallest tree that has a program: our own, which is static.
        let program = tree.join("usr/jaula");
        fs::copy(env!("CARGO_BIN_EXE_jaula"), &program).expect("a program");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a file of ours");
        let tree = tree.to_str().expect("text");
        jaula(user, &["new", "guarded", "--from", tree]).expect(0);
        let exec = |options: &[&str]| {
            let words: Vec<&str> = ["exec", "guarded", "--json"]
                .iter()
                .chain(options)
                .copied()
                .chain(["--", "/usr/jaula", "--version"])
                .collect();
            jaula(user, &words)
        };
        let ran = exec(&["--cap-drop", "all", "--cap-add", "chown"]).expect(0);
        assert!(
            ran.stderr.contains("\"capabilities\":[\"CHOWN\"]"),
            "{}",
            ran.stderr
        );
        let refuse = file(
            user,
            "p.json",
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["execve"],"action":"SCMP_ACT_ERRNO"}]}"#,
        );
        exec(&["--seccomp", &refuse]).expect(126);
        let ran = exec(&["--no-new-privs=off"]).expect(0);
        assert!(ran.stderr.contains("may gain privileges"), "{}", ran.stderr);
        exec(&[]).expect(0);
        jaula(user, &["rm", "--force", "guarded"]).expect(0);
    });
}
