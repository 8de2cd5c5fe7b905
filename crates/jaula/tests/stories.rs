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
