//! The stories of the first namespaces: a name, processes, kinds chosen one by one.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use jaula_testkit::Ran;
use who::{User, everyone};

#[track_caller]
fn sh(user: &User, options: &[&str], script: &str) -> Ran {
    let words = [&["run"], options, &["--", "sh", "-c", script]].concat();
    user.place.run(&words)
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name")
}

#[test]
fn a_host_name_changes_inside_only() {
    everyone(|user| {
        let before = host_name();
        let script = "hostname dentro; hostname; uname -n; cat /proc/sys/kernel/hostname";
        let ran = sh(user, &["--ns", "uts"], script).expect(0);
        assert_eq!(ran.stdout, "dentro\ndentro\ndentro\n");
        assert!(ran.stderr.contains("SYS_ADMIN"), "{}", ran.stderr);
        assert_eq!(host_name(), before);
        // What else the capability could do stays closed.
        let script = "mount -t tmpfs none /tmp || echo refused; echo x >/proc/sys/kernel/hostname";
        let ran = sh(user, &["--ns", "uts"], script);
        assert_eq!(ran.stdout, "refused\n");
        assert_ne!(ran.code, 0);
        // A whole jail's root does not have it.
        let ran = sh(user, &[], "hostname dentro || hostname").expect(0);
        assert_eq!(ran.stdout, "jaula\n");
    });
}

#[test]
fn processes_of_a_jail_are_a_world_of_their_own() {
    everyone(|user| {
        let script = "echo $$; ls -d /proc/[0-9]* | sort -u | tr '\\n' ' '; grep ^NSpid /proc/self/status | wc -w";
        let ran = sh(user, &["--ns", "pid"], script).expect(0);
        let mut lines = ran.stdout.lines();
        // The first process is the one that reaps.
        assert_eq!(lines.next(), Some("2"));
        let seen = lines.next().expect("processes");
        assert!(
            seen.starts_with("/proc/1 /proc/2 ")
                && !seen.contains(&format!("/proc/{} ", std::process::id())),
            "{seen}"
        );
    });
}

#[test]
fn kinds_are_chosen_one_by_one() {
    everyone(|user| {
        let kinds = ["mnt", "uts", "ipc", "net", "pid", "user", "cgroup", "time"];
        let inode = |kind: &str| {
            std::fs::read_link(format!("/proc/self/ns/{kind}"))
                .map(|link| link.display().to_string())
                .unwrap_or_default()
        };
        for chosen in ["uts", "ipc", "net", "pid", "cgroup", "time"] {
            let list: Vec<String> = kinds
                .iter()
                .map(|kind| format!("/proc/self/ns/{kind}"))
                .collect();
            let script = format!("for f in {}; do readlink $f; done", list.join(" "));
            let ran = sh(user, &["--ns", chosen], &script).expect(0);
            for (kind, inside) in kinds.iter().zip(ran.stdout.lines()) {
                let own = [chosen, "mnt", "user"].contains(kind);
                // Ana's processes are in a mount namespace of her own, which this test is not in.
                assert_eq!(
                    inside != inode(kind),
                    own,
                    "--ns {chosen}: {kind} is {inside}"
                );
            }
        }
    });
}

#[test]
fn explanations_are_in_the_callers_language() {
    everyone(|user| {
        let reasons = |options: &[&str], language: &str| -> Vec<String> {
            let words = [&["run"], options, &["--explain", "--", "true"]].concat();
            let mut command = user.place.command(&words);
            command.env("LC_ALL", language);
            let output = command.output().expect("jaula");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{options:?} {text}");
            // The comments, without the words of the first line.
            let comments = text.lines().filter_map(|line| line.strip_prefix("# "));
            comments.map(str::to_owned).collect()
        };
        let dir = user.place.path().join("home/tree");
        std::fs::create_dir_all(dir.join("usr")).expect("a tree");
        let dir = dir.display().to_string();
        let bind = format!("{dir}:/mine:ro");
        let overlay = format!("{dir}:/over");
        for options in [
            &[][..],
            &["--net", "host", "--bind", &bind, "--tmpfs", "/t"],
            &["--ns", "uts,time", "--clock-offset", "monotonic=5"],
            &["--propagation", "slave", "--overlay", &overlay],
            &["--propagation", "shared", "--limit", "files=100,nice=5"],
            &["--seccomp", "off", "--keep-fd", "0", "--no-new-privs=off"],
            &["--read-only", &dir],
            &[&dir],
            &["--write", &dir],
            &["--landlock", "ro:/usr", "--timeout", "5s"],
        ] {
            let english = reasons(options, "C.UTF-8");
            let spanish = reasons(options, "es_ES.UTF-8");
            assert_eq!(english.len(), spanish.len());
            assert!(english.len() > 10, "{options:?}");
            for (english, spanish) in english.iter().zip(spanish) {
                assert_ne!(english, &spanish, "not translated");
            }
        }
    });
}

#[test]
fn top_works_in_a_jail_at_once_and_in_a_chroot_with_proc() {
    everyone(|user| {
        let tree = user.place.path().join("home/tree");
        for dir in ["usr", "proc", "tmp"] {
            std::fs::create_dir_all(tree.join(dir)).expect("a tree");
        }
        for name in ["bin", "lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{name}"), tree.join(name)).expect("a link");
        }
        let tree = tree.display().to_string();
        if user.who == who::Who::Root {
            let chroot = user.place.path().join("chroot");
            let program = std::env::var_os("JAULA_TEST_PROGRAM");
            let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_jaula").into());
            std::os::unix::fs::symlink(program, &chroot).expect("a link");
            let script = format!(
                "exec 2>&1; mount --bind /usr {tree}/usr; c={}; $c {tree} top -b -n1; echo code=$?; \
                 mount -t proc proc {tree}/proc; $c {tree} top -b -n1 | head -n 1; $c {tree} /bin/none; echo code=$?; \
                 $c {tree} /tmp; echo code=$?; $c {tree}/none true; echo code=$?",
                chroot.display()
            );
            let mut command = user.other("/usr/bin/unshare", &["--mount", "sh", "-c", &script]);
            let output = command.env("TERM", "dumb").output().expect("a shell");
            let text = String::from_utf8_lossy(&output.stdout);
            let lines: Vec<&str> = text.lines().collect();
            let at = |start: &str| lines.iter().position(|line| line.starts_with(start));
            assert!(text.contains("mount -t proc proc /proc"), "{text}");
            assert!(at("code=") < at("top - "), "{text}");
            let codes: Vec<&str> = lines
                .iter()
                .filter_map(|line| line.strip_prefix("code="))
                .collect();
            assert_ne!(codes.first(), Some(&"0"), "{text}");
            assert_eq!(codes.get(1..), Some(&["127", "126", "125"][..]), "{text}");
        }
        let ran = user.place.run(&[
            "run",
            &tree,
            "--bind",
            "/usr:/usr:ro",
            "--env",
            "TERM=dumb",
            "--",
            "top",
            "-b",
            "-n1",
        ]);
        let text = ran.expect(0).stdout;
        assert!(text.starts_with("top - "), "{text}");
        // The one that reaps, and itself.
        assert!(text.contains("Tasks:   2 total"), "{text}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        assert!(!mounts.contains(&tree), "{mounts}");
    });
}
