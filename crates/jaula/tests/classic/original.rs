//! Line by line beside the tools.

use crate::who::everyone;
use crate::{Links, alike, differences, run, run_here, theirs, tools_are_known};
use jaula_testkit::{kernel_test, skip};

/// Everything that can be asked of unshare(1) 2.38 and leaves nothing behind.
const UNSHARE: &str = r#"
unshare true
unshare
SHELL=/bin/echo unshare
unshare sh -c 'exit 9'
unshare -- sh -c 'exit 9'
unshare nosuchprogram
unshare /etc/passwd
unshare /
unshare ''
PATH=/nonexistent:/etc /usr/bin/env unshare passwd
unshare -X
unshare --x=1 true
unshare -S
unshare --setuid
unshare --fork=1
unshare -ux
unshare -u=/nonexistent true
unshare --u true
unshare -S x true
unshare -G x true
unshare -S '' true
unshare -S -1x true
unshare -T --monotonic x true
unshare -T --boottime 99999999999999999999 true
unshare --setgroups x true
unshare --propagation x true
unshare --kill-child=x true
unshare -r --setgroups=allow true
unshare -U --map-user=nosuchuser true
unshare -U --map-group=nosuchgroup true
unshare -u true
unshare -m true
unshare -n true
unshare -p true
unshare -C true
unshare -T true
unshare -i true
unshare -U id -u
unshare -U sh -c 'cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups'
unshare -r id
unshare -c id
unshare -r sh -c 'cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups'
unshare -c sh -c 'cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups'
unshare --map-root-user --setgroups=deny cat /proc/self/setgroups
unshare -U --setgroups=deny cat /proc/self/setgroups
unshare -r --map-user=5 cat /proc/self/uid_map /proc/self/gid_map
unshare --map-user=5 -r cat /proc/self/uid_map
unshare -U --map-user=daemon --map-group=daemon cat /proc/self/uid_map /proc/self/gid_map
unshare -Urm sh -c 'findmnt -no PROPAGATION /'
unshare -Urm --propagation shared sh -c 'findmnt -no PROPAGATION /'
unshare -Urm --propagation slave sh -c 'findmnt -no PROPAGATION /'
unshare -Urm --propagation private sh -c 'findmnt -no PROPAGATION /'
unshare -Urm --propagation unchanged sh -c 'findmnt -no PROPAGATION /'
unshare -Ur --propagation shared true
unshare -Urpf --mount-proc sh -c 'echo $$; ls -d /proc/[0-9]*'
unshare -Urpf --mount-proc=/proc sh -c 'echo $$'
unshare -Urmpf --propagation slave --mount-proc sh -c 'findmnt -no PROPAGATION,OPTIONS /proc | tail -1'
unshare -Ur --mount-proc true
unshare -Urpf --mount-proc=/nonexistent true
unshare -Ur mount -t tmpfs t /mnt
unshare -Urp sh -c 'true; /bin/true; /bin/true; echo x'
unshare -Urpf sh -c 'echo $$; exit 3'
unshare -Urp --kill-child sh -c 'exit 7'
unshare -Urp --kill-child=TERM sh -c 'exit 7'
unshare -Urp --kill-child=SIGRTMIN+1 sh -c 'exit 7'
unshare -f sh -c 'kill -TERM $$'
unshare -f sh -c 'kill -INT $$'
unshare -Urn sh -c 'ip -br link 2>/dev/null || cat /proc/net/dev | wc -l'
unshare -UrC cat /proc/self/cgroup
unshare -Uru sh -c 'hostname inside; hostname; uname -n; cat /proc/sys/kernel/hostname'; uname -n
unshare -UrT --boottime 86400 --monotonic 7200 cat /proc/self/timens_offsets
unshare -UrTf --boottime -1 cat /proc/self/timens_offsets
unshare -UrT --boottime -99999999999 true
unshare -Uri ipcs -q
unshare -Urm -R / pwd
unshare -Urm -R / -w /usr pwd
unshare -w /usr pwd
unshare -w /nonexistent pwd
unshare -R /nonexistent true
unshare -Ur -R /nonexistent true
unshare -Ur -R / --wd=/nonexistent true
unshare -UrS 0 id -u
unshare -Ur -S 0 -G 0 id
unshare -S 5 id
unshare -G 5 id
unshare -Ur --keep-caps sh -c 'grep Cap /proc/self/status'
unshare -U --keep-caps --map-user=7 sh -c 'grep Cap /proc/self/status'
unshare -Ur sh -c 'grep Cap /proc/self/status'
unshare -Urmpf --mount-proc ls /proc/self/fd
unshare -c ls /proc/self/fd
unshare ls /proc/self/fd <&-
unshare -Urf readlink /proc/self/fd/0 <&-
trap '' PIPE; unshare grep SigIgn /proc/self/status
trap '' INT TERM; unshare -f grep SigIgn /proc/self/status
unshare -f grep Sig[BI] /proc/self/status
umask 077; unshare sh -c umask
unshare env -i sh -c 'echo ok'
A=b unshare sh -c 'echo $A'
unshare -Ur --map-users=0,0,1 --setgroups=maybe true
"#;

/// The same of nsenter(1); `$P` is a process of the user in namespaces of its own.
const NSENTER: &str = r#"
nsenter -t 2147483647 -m true
nsenter -t 2147483647 -a true
nsenter -t 2147483647 -u -i true
nsenter -t x -u true
nsenter -t '' -u true
nsenter -a true
nsenter -m/nonexistent true
nsenter --mount=/nonexistent true
nsenter -u/etc/passwd true
nsenter -t $P -r/nonexistent -U true
nsenter -t $P -w/nonexistent -U true
nsenter -t $P -w/ -W / -U true
nsenter -t $P -W / -w/ -U true
nsenter -t $P -S x -U true
nsenter -t $P -G x -U true
nsenter --foo
nsenter -t
nsenter --target
nsenter --all=1
nsenter -t $P -U -m nosuchprogram
nsenter -t $P -U -m /etc/passwd
nsenter -t $P -a sh -c 'hostname; cat /mnt/f; pwd; id'
nsenter -at $P sh -c 'exit 9'
nsenter --target=$P --all sh -c 'kill -9 $$'
nsenter -t $P -a sh -c 'kill -TERM $$'
nsenter -t $P -a --preserve-credentials id
nsenter -t $P -U id
nsenter -t $P --user -S 0 -G 0 id
nsenter -t $P -U -G 0 sh -c 'id -g; grep Groups /proc/self/status'
nsenter -t $P -U -u hostname
nsenter -t $P -U -S 5 true
nsenter -t $P -U -m -w pwd
nsenter -t $P -a -w pwd
nsenter -t $P -a -w/ pwd
nsenter -t $P -a -W /mnt pwd
nsenter -t $P -a -W /nonexistent pwd
nsenter -t $P -a -r pwd
nsenter -t $P -a -r -w pwd
nsenter -t $P -a -r -W /mnt pwd
nsenter -t $P -a -r/ pwd
nsenter -t $P -U -m -F sh -c 'cat /mnt/f'
nsenter -t $P -a -F sh -c 'cat /mnt/f'
nsenter -t $P -a -Z cat /mnt/f
nsenter -t $P -U -u/proc/$P/ns/uts hostname
nsenter -U/proc/$P/ns/user -u/proc/$P/ns/uts hostname
nsenter --user=/proc/$P/ns/user --uts=/proc/$P/ns/uts --mount=/proc/$P/ns/mnt cat /mnt/f
nsenter -t $P -m true
nsenter -t $P -a ls /proc/self/fd
nsenter -t $P -a -r -w ls /proc/self/fd
SHELL=/bin/echo nsenter -t $P -U
trap '' PIPE; nsenter -t $P -U grep SigIgn /proc/self/status
"#;

/// Of chroot(1) 9.1.
const CHROOT: &str = r#"
chroot
chroot --x
chroot --user
chroot --skip
chroot --skip-chdir /tmp true
chroot /nonexistent
chroot /etc/passwd true
chroot "/it's not there" true
chroot '/a "b" $c' true
chroot / true
cd /usr; chroot / pwd
cd /usr; chroot --skip-chdir / pwd
SHELL=/bin/echo chroot /
chroot / sh -c 'exit 9'
chroot / nosuchprogram
chroot / "no such'program"
LC_ALL=C chroot / "no such'program"
chroot / /etc/passwd
chroot --userspec=nosuchuser / true
chroot --userspec=root:nosuchgroup / true
chroot --userspec=12345 / true
chroot --userspec=12345: / true
chroot --userspec=12345:5 / id
chroot --userspec=root.root / id
chroot --userspec=nobody.nogroup / id
chroot --userspec=root.nosuchgroup / id
chroot --userspec=: / id
chroot --userspec= / id
chroot --userspec=:daemon / id
chroot --userspec=daemon / id
chroot --userspec=daemon: / id
chroot --userspec=1:1 / id
chroot --userspec=1 / id
chroot --userspec=+1:+1 / id
chroot --userspec=-1 / id
chroot --userspec=4294967295 / id
chroot --userspec=4294967296 / id
chroot --userspec=0x1 / id
chroot --userspec=daemon --groups=5 / id
chroot --groups=nosuch,none / true
chroot --groups=nosuch,5 / true
chroot --groups= / id
chroot --groups=, / id
chroot --groups=1,daemon,2 / id
chroot --groups=-1 / id
chroot --userspec=1 --groups= / id
trap '' PIPE; chroot / grep SigIgn /proc/self/status
"#;

#[test]
fn unshare_answers_as_the_tool_does() {
    if let Err(reason) = tools_are_known() {
        skip!("{reason}");
    }
    let links = Links::new();
    everyone(|user| {
        let wrong = differences(UNSHARE, |line| {
            (run(user, &theirs(line)), run(user, &links.ours(line)))
        });
        assert!(wrong.is_empty(), "{:?}\n{}", user.who, wrong.join("\n"));
    });
}

#[test]
fn nsenter_answers_as_the_tool_does() {
    if let Err(reason) = tools_are_known() {
        skip!("{reason}");
    }
    let links = Links::new();
    everyone(|user| {
        let Some(target) = crate::processes::target(user) else {
            return;
        };
        let here = format!("P={}\n", target.pid);
        let wrong = differences(NSENTER, |line| {
            let line = format!("{here}{line}");
            (run(user, &theirs(&line)), run(user, &links.ours(&line)))
        });
        assert!(wrong.is_empty(), "{:?}\n{}", user.who, wrong.join("\n"));
    });
}

#[test]
fn chroot_answers_as_the_tool_does() {
    if let Err(reason) = tools_are_known() {
        skip!("{reason}");
    }
    let links = Links::new();
    everyone(|user| {
        let wrong = differences(CHROOT, |line| {
            (run(user, &theirs(line)), run(user, &links.ours(line)))
        });
        assert!(wrong.is_empty(), "{:?}\n{}", user.who, wrong.join("\n"));
    });
}

/// Namespaces kept by files, in a place of its own.
const KEPT: &str = r#"
unshare --uts=$D/u hostname inside; nsenter --uts=$D/u hostname; nsenter -u$D/u hostname; umount $D/u; nsenter --uts=$D/u hostname
unshare --net=$D/u true; nsenter --net=$D/u ls /sys/class/net; umount $D/u
unshare --ipc=$D/u true; nsenter --ipc=$D/u ipcs -q; umount $D/u
unshare --cgroup=$D/u true; nsenter --cgroup=$D/u cat /proc/self/cgroup; umount $D/u
unshare --mount=$D/u sh -c 'mount -t tmpfs t /mnt; echo inside > /mnt/f'; nsenter --mount=$D/u cat /mnt/f; umount $D/u
unshare --mount=$D/u --uts=$D/v hostname inside; nsenter --mount=$D/u --uts=$D/v hostname; umount $D/u $D/v
unshare --pid=$D/u true; umount $D/u
unshare -f --pid=$D/u true; nsenter --pid=$D/u true; umount $D/u
unshare -f --time=$D/u true; umount $D/u
unshare --uts=$D/none true
unshare --mount=$D/none true
unshare --uts=$D/none --mount true
unshare --uts= true
"#;

#[test]
fn kept_namespaces_are_as_the_tool_keeps_them() {
    jaula_testkit::kernel::on_one_cpu();
    kernel_test!();
    if let Err(reason) = tools_are_known() {
        skip!("{reason}");
    }
    let links = Links::new();
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().display();
    // A mount namespace can be kept on a mount that is private only.
    let before =
        format!("mount -t tmpfs --make-private t {place} || exit 77\nD={place}; touch $D/u $D/v\n");
    let after = format!("\ncode=$?; umount -R {place}; exit $code");
    let wrong = differences(KEPT, |line| {
        let line = format!("{before}{line}{after}");
        (run_here(&theirs(&line)), run_here(&links.ours(&line)))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (code, out, _) = run_here(&links.ours(&format!(
        "{before}unshare --uts=$D/u hostname inside; nsenter -u$D/u hostname{after}"
    )));
    assert_eq!((code, out.as_str()), (Some(0), "inside\n"));
    // Since 2.39 of a new user namespace too: the caller has no rights any more where the file is.
    for (line, said) in [
        (
            "unshare --user=$D/u true; nsenter --user=$D/u --preserve-credentials id -u",
            "65534\n",
        ),
        (
            "unshare -r --user=$D/u --uts=$D/v hostname inside\n\
             nsenter --user=$D/u --uts=$D/v --preserve-credentials hostname",
            "inside\n",
        ),
    ] {
        let (code, out, err) = run_here(&links.ours(&format!("{before}{line}{after}")));
        assert_eq!((code, out.as_str()), (Some(0), said), "{line}: {err}");
    }
}

#[test]
fn inside_a_jail_of_one_user_the_answers_are_the_tools_too() {
    kernel_test!();
    if let Err(reason) = tools_are_known() {
        skip!("{reason}");
    }
    let links = Links::new();
    for lines in [UNSHARE, CHROOT] {
        let wrong = differences(lines, |line| {
            let (a, b) = (run_here(&theirs(line)), run_here(&links.ours(line)));
            (alike(&a), alike(&b))
        });
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
