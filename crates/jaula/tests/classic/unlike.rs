//! What the tools of this host do not have, or say otherwise.

use crate::who::{Who, everyone_and_ana};
use crate::{Links, run, run_here};
use jaula_testkit::{kernel_test, skip};

/// A map of proc(5) with single spaces.
fn map(text: &str) -> String {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).collect::<Vec<_>>().join("; ")
}

#[test]
fn blocks_of_identifiers_are_mapped_in_every_spelling() {
    let links = Links::new();
    let show = "cat /proc/self/uid_map /proc/self/gid_map";
    everyone_and_ana(|user| {
        let of = |options: &str| {
            let (code, out, err) = run(user, &links.ours(&format!("unshare {options} {show}")));
            if code == Some(0) { map(&out) } else { err }
        };
        match user.who {
            Who::Root => {
                let both = "0 7 3; 0 9 2";
                assert_eq!(of("--map-users=0:7:3 --map-groups=0:9:2"), both);
                assert_eq!(of("--map-users=7,0,3 --map-groups 9,0,2"), both);
                let several = "--map-users 0:7:3 --map-users=10:100:5 --map-groups=0:0:1";
                assert_eq!(of(several), "0 7 3; 10 100 5; 0 0 1");
                assert_eq!(
                    of("-r --map-users=1:7:3 --map-groups=1:7:3"),
                    "0 0 1; 1 7 3; 0 0 1; 1 7 3"
                );
                let all = of("--map-users=all --map-groups=all");
                assert!(all.starts_with("0 0 "), "{all}");
                assert_eq!(of("--map-users=0:0:1"), "0 0 1");
            }
            Who::Ana => {
                assert_eq!(of("--map-auto"), "0 2000000 65536; 0 2000000 65536");
                assert_eq!(
                    of("-r --map-auto"),
                    "0 4242 1; 1 2000000 65536; 0 4242 1; 1 2000000 65536"
                );
                assert_eq!(
                    of("-c --map-users=auto --map-groups=auto"),
                    "4242 4242 1; 0 2000000 4242; 4243 2004242 61294; \
                     4242 4242 1; 0 2000000 4242; 4243 2004242 61294"
                );
                assert_eq!(
                    of("--map-subids"),
                    "2000000 2000000 65536; 2000000 2000000 65536"
                );
                assert_eq!(
                    of("--map-users=subids -r"),
                    "0 4242 1; 2000000 2000000 65536; 0 4242 1"
                );
                assert_eq!(
                    of("--map-users=5:2000000:7 --map-groups=2000000,5,7"),
                    "5 2000000 7; 5 2000000 7"
                );
                // newuidmap(1) speaks for itself.
                let (code, _, err) = run(user, &links.ours("unshare --map-users=0:0:1 true"));
                assert!(code == Some(1) && err.starts_with("newuidmap:"), "{err}");
                let (code, _, err) = run(user, &links.ours("PATH=$PATH\nenv PATH=/nonexistent $(command -v unshare) --map-auto /bin/true"));
                let said = "unshare: failed to execute newuidmap: No such file or directory\n";
                assert_eq!((code, err.as_str()), (Some(127), said));
            }
            Who::Caller => {}
        }
        for (options, said) in [
            ("--map-users=1", "invalid mapping '1'"),
            ("--map-users=1,2,3,4", "invalid mapping '1,2,3,4'"),
            ("--owner 1", "failed to parse owner"),
        ] {
            assert_eq!(of(options), format!("unshare: {said}\n"));
        }
    });
}

#[test]
fn who_has_no_subordinate_identifiers_is_told_so_and_gets_nobody_elses() {
    kernel_test!();
    let links = Links::new();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("subuid");
    std::fs::write(&file, "bob:100000:65536\n").expect("a file");
    let script = format!(
        "mount --bind {} /etc/subuid || exit 77\nunshare --map-auto true",
        file.display()
    );
    let (code, _, err) = run_here(&links.ours(&script));
    if code == Some(77) {
        skip!("no /etc/subuid here");
    }
    let said = "unshare: no line matching user \"root\" in /etc/subuid\n";
    assert_eq!((code, err.as_str()), (Some(1), said));
}

#[test]
fn the_environment_is_what_is_asked_for() {
    let links = Links::new();
    everyone_and_ana(|user| {
        let out = |line: &str| run(user, &links.ours(line)).1;
        assert_eq!(out("A=1 unshare --clear-env env"), "");
        assert_eq!(
            out("A=1 B=2 C=3 unshare --whitelist-env A,C,D env | sort"),
            "A=1\nC=3\n"
        );
        assert_eq!(
            out("A=1 B=2 unshare --clear-env --whitelist-env B env"),
            "B=2\n"
        );
        let Some(target) = crate::processes::target(user) else {
            return;
        };
        let home = out(&format!(
            "A=1 nsenter -t {} -U --preserve-credentials -e sh -c 'echo $A$HOME'",
            target.pid
        ));
        assert_eq!(home, out("echo $HOME"));
    });
}

#[test]
fn another_can_own_the_namespace() {
    let links = Links::new();
    everyone_and_ana(|user| {
        let line = "unshare --owner 4242:4242 -r cat /proc/self/uid_map /proc/self/gid_map";
        let (code, out, err) = run(user, &links.ours(line));
        if user.who == Who::Root {
            assert_eq!(
                (code, map(&out).as_str()),
                (Some(0), "0 0 1; 0 0 1"),
                "{err}"
            );
        } else {
            assert_eq!(
                (code, err.as_str()),
                (
                    Some(1),
                    "unshare: setgroups failed: Operation not permitted\n"
                )
            );
        }
    });
}

#[test]
fn nsenter_takes_the_newer_options() {
    let links = Links::new();
    everyone_and_ana(|user| {
        let Some(target) = crate::processes::target(user) else {
            return;
        };
        let pid = &target.pid;
        let ran = |line: &str| run(user, &links.ours(&line.replace("$P", pid)));
        let (code, out, err) =
            ran("nsenter -t $P -U --preserve-credentials -S follow -G follow id -u");
        assert_eq!((code, out.as_str()), (Some(0), "0\n"), "{err}");
        let (_, out, err) = ran(
            "nsenter -t $P -U --preserve-credentials --keep-caps grep CapAmb /proc/self/status",
        );
        assert!(!out.contains("0000000000000000"), "{out}{err}");
        // The parent of the target's user namespace is the caller's own, which cannot be joined again.
        let (code, _, err) = ran("nsenter -t $P --user-parent true");
        let said = "nsenter: reassociate to namespace 'ns/user' failed: Invalid argument\n";
        assert_eq!((code, err.as_str()), (Some(1), said));
        let (code, _, err) = ran("nsenter -t $P -U -N 0 true");
        let said = "nsenter: ioctl(0, SIOCGSKNS) failed: Inappropriate ioctl for device\n";
        assert_eq!((code, err.as_str()), (Some(1), said));
        for (line, said) in [
            ("nsenter -t $P true", "no namespace specified"),
            ("nsenter -m true", "no target PID specified"),
            (
                "nsenter -r -u/proc/self/ns/uts true",
                "neither filename nor target pid supplied for root",
            ),
            ("nsenter -u:x true", "failed to parse nsid: x"),
        ] {
            let (code, _, err) = ran(line);
            assert_eq!(
                (code, err),
                (Some(1), format!("nsenter: {said}\n")),
                "{line}"
            );
        }
    });
}

#[test]
fn the_network_of_a_socket_is_joined() {
    kernel_test!();
    let links = Links::new();
    let script = "unshare -n python3 -c 'import socket, sys; s = socket.socket(); print(s.fileno(), flush=True); sys.stdin.read()' < /dev/zero > /tmp/$$ 2>/dev/null &\n\
         while kill -0 $! 2>/dev/null && ! read fd < /tmp/$$; do :; done; rm -f /tmp/$$\n\
         [ -n \"$fd\" ] || exit 77\n\
         nsenter -t $! -N $fd readlink /proc/self/ns/net; readlink /proc/$!/ns/net; kill -9 $!";
    let (code, out, err) = run_here(&links.ours(script));
    if code == Some(77) {
        skip!("no python3 here");
    }
    let lines: Vec<_> = out.lines().collect();
    assert!(matches!(lines[..], [a, b] if a == b), "{out}{err}");
}

#[test]
fn the_control_group_is_joined_with_the_callers_rights_only() {
    kernel_test!();
    let links = Links::new();
    // A hierarchy of version 2 in the usual place, where the kernel lets us have one.
    let script = "mount -t cgroup2 c /sys/fs/cgroup 2>/dev/null || exit 77\n\
         sh -c 'exec sleep 1000' & P=$!\n\
         unshare -U true\n\
         nsenter -t $P -u -c sh -c 'cat /proc/self/cgroup | grep ^0:' || echo refused\n\
         grep ^0: /proc/$P/cgroup; kill -9 $P";
    let (code, out, err) = run_here(&links.ours(script));
    if code == Some(77) {
        skip!("control groups cannot be mounted here");
    }
    // In a user namespace the group's list is not ours to write, whatever the target may do.
    let lines: Vec<_> = out.lines().collect();
    match lines[..] {
        [joined, of] => assert!(joined == of || joined == "refused", "{out}{err}"),
        _ => panic!("{out}{err}"),
    }
    if out.starts_with("refused") {
        assert!(err.contains("cgroup.procs"), "{err}");
    }
}

#[test]
fn help_and_version_can_be_read_by_scripts() {
    let links = Links::new();
    for tool in ["unshare", "nsenter"] {
        for option in ["-V", "--version"] {
            let (code, out, _) = run_here(&links.ours(&format!("{tool} {option} -X")));
            assert_eq!(code, Some(0));
            let number = out.split(' ').nth(3).and_then(|n| n.strip_prefix("2."));
            assert!(
                out.starts_with(&format!("{tool} from util-linux ")),
                "{out}"
            );
            assert!(
                number.is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n >= 41)),
                "{out}"
            );
        }
        let (code, out, err) = run_here(&links.ours(&format!("{tool} -h")));
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(
            out.starts_with(&format!("\nUsage:\n {tool} [options] ")),
            "{out}"
        );
    }
    let (code, out, _) = run_here(&links.ours("chroot --version"));
    assert!(
        code == Some(0) && out.contains("GNU coreutils") && out.ends_with(" 9.1\n"),
        "{out}"
    );
    let (code, out, _) = run_here(&links.ours("chroot --help"));
    assert!(
        code == Some(0) && out.starts_with("Usage: chroot "),
        "{out}"
    );
}

#[test]
fn a_root_that_lies_about_its_accounts_makes_nobody_root() {
    kernel_test!();
    let links = Links::new();
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("etc")).expect("a directory");
    let etc = |name: &str| root.join("etc").join(name);
    // Names of numbers, signs, overflows: no such line is anybody's.
    std::fs::write(
        etc("passwd"),
        "x:x:-1:0::/:\ny:x:4294967296:0::/:\n+:x:0:0::/:\nz::\n",
    )
    .expect("a file");
    std::os::unix::fs::symlink("/proc/self/fd/0", etc("group")).expect("a link");
    for user in ["x", "y", "+", "z", "nosuchuser"] {
        let line = format!("chroot --userspec={user} {} true", root.display());
        let (code, out, err) = run_here(&links.ours(&line));
        let said = "chroot: invalid user\n";
        assert_eq!(
            (code, out.as_str(), err.as_str()),
            (Some(125), "", said),
            "{line}"
        );
    }
    // A pipe for a list is not waited for.
    std::fs::remove_file(etc("passwd")).expect("ours");
    run_here(&format!("mkfifo {}", etc("passwd").display()));
    let line = format!("chroot --userspec=nosuchuser {} true", root.display());
    assert_eq!(run_here(&links.ours(&line)).0, Some(125));
}
