//! The command lines that everybody types, verbatim, with the old names first in PATH.

use crate::who::{Who, everyone};
use crate::{Links, run, run_here};
use jaula_testkit::{kernel_test, skip};

#[test]
fn a_host_name_is_changed_inside_only() {
    let links = Links::new();
    everyone(|user| {
        let before = run(user, "uname -n").1;
        let script = "printf 'hostname dentro; hostname; uname -n; cat /proc/sys/kernel/hostname\\n' | unshare -u /bin/bash";
        let (code, out, err) = run(user, &links.ours(script));
        if user.who == Who::Root {
            assert_eq!(
                (code, out.as_str()),
                (Some(0), "dentro\ndentro\ndentro\n"),
                "{err}"
            );
        } else {
            let said = "unshare: unshare failed: Operation not permitted\n";
            assert_eq!((code, err.as_str()), (Some(1), said));
        }
        assert_eq!(run(user, "uname -n").1, before);
    });
}

#[test]
fn an_image_is_mounted_where_nobody_else_sees_it() {
    let links = Links::new();
    everyone(|user| {
        if user.who != Who::Root {
            return;
        }
        let place = user.place.work();
        let place = place.display();
        let script = format!(
            "mkdir -p {place}/content {place}/cd && echo contenido > {place}/content/LEEME.TXT\n\
             truncate -s 1M {place}/p.img && mke2fs -q -t ext2 -d {place}/content {place}/p.img || exit 77\n\
             losetup -f > /dev/null || exit 77\ncd {place}\n\
             unshare -m sh -c 'mount -o loop,ro p.img cd && cat cd/LEEME.TXT && findmnt -no PROPAGATION /'\n\
             code=$?; ls cd; losetup -j p.img; exit $code"
        );
        let (code, out, err) = run(user, &links.ours(&script));
        if code == Some(77) || err.contains("loop") {
            jaula_testkit::skip::note(
                "an_image_is_mounted_where_nobody_else_sees_it",
                "no image can be made or mounted here",
            );
            return;
        }
        assert_eq!(
            (code, out.as_str()),
            (Some(0), "contenido\nprivate\n"),
            "{err}"
        );
    });
}

#[test]
fn a_jail_is_entered_by_its_number() {
    let links = Links::new();
    everyone(|user| {
        let Some(target) = crate::processes::target(user) else {
            return;
        };
        // Who may not drop his groups keeps them.
        let keep = if user.who == Who::Root {
            ""
        } else {
            " --preserve-credentials"
        };
        let script = format!(
            "echo 'hostname; cat /mnt/f; pwd; exit 9' | SHELL=/bin/sh nsenter -t {} -a{keep}",
            target.pid
        );
        let (code, out, err) = run(user, &links.ours(&script));
        assert_eq!(
            (code, out.as_str()),
            (Some(9), "inner\nhello\n/\n"),
            "{err}"
        );
    });
}

#[test]
fn a_directory_becomes_the_root() {
    kernel_test!();
    let links = Links::new();
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().display();
    let script = format!(
        "mount --bind / {place} || exit 77\nmount -t tmpfs t {place}/mnt; echo inside > {place}/mnt/f\n\
         echo 'cat /mnt/f; pwd; exit 9' | SHELL=/bin/sh chroot {place}"
    );
    let (code, out, err) = run_here(&links.ours(&script));
    if code == Some(77) {
        skip!("the tree cannot be mounted here");
    }
    assert_eq!((code, out.as_str()), (Some(9), "inside\n/\n"), "{err}");
}
