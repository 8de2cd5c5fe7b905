//! Base systems, from the first word to a tree that works.

use super::{address, bookworm, compat, installed, left_in_store, names_in, renamed};
use crate::who::{User, Who, everyone};
use jaula_testkit::mirror::Variant;
use jaula_testkit::{TestKey, skip};
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// What a base system has at its root.
const ROOT: &str =
    "bin boot dev etc home lib lib64 media mnt opt proc root run sbin srv sys tmp usr var";

/// What of a place is mounted, or on something in it. Other tests of this machine mount things, too.
fn mounted(place: &Path) -> Vec<String> {
    let place = place.display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("our mounts");
    let lines = mounts.lines().filter(|line| line.contains(&place));
    lines.map(str::to_owned).collect()
}

/// A directory in which a user may write whom root plays.
fn directory(path: &Path) {
    fs::create_dir_all(path).expect("a directory");
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("ours");
}

#[test]
fn the_chapters_words_make_a_base_system() {
    let mirror = match bookworm("amd64", Variant::Important) {
        Ok(mirror) => mirror,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let target = user.place.work().join("jaulas/saucy");
        let (shown, address) = (target.display().to_string(), address(&mirror));
        // The chapter's own line, with a suite that mirrors still have.
        let words = ["debootstrap", "--arch=amd64", "bookworm", &shown, &address];
        let keyring = mirror.join("keyring.gpg").display().to_string();
        let small = [
            "debootstrap",
            "--variant=minbase",
            "--keyring",
            &keyring,
            "bookworm",
            &shown,
            &address,
        ];
        let ran = match user.who {
            Who::Ana => compat(user, &small),
            _ => compat(user, &words),
        };
        let ran = ran.expect(0);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines.first(), Some(&"I: Retrieving InRelease "));
        assert_eq!(
            lines.last(),
            Some(&"I: Base system installed successfully.")
        );
        for line in [
            "I: Checking Release signature",
            "I: Resolving dependencies of required packages...",
            "I: Extracting base-files...",
            "I: Configuring required packages...",
            "I: Unpacking the base system...",
        ] {
            assert_eq!(
                lines.iter().filter(|said| **said == line).count(),
                1,
                "{line}"
            );
        }
        for begin in [
            "I: Valid Release signature (key id ",
            "I: Retrieving apt 2.",
            "I: Validating apt 2.",
            "I: Configuring libc6:amd64...",
        ] {
            assert!(lines.iter().any(|line| line.starts_with(begin)), "{begin}");
        }
        assert_eq!(ran.stderr, "");
        assert_eq!(names_in(&target).join(" "), ROOT);
        let sources = fs::read_to_string(target.join("etc/apt/sources.list")).expect("sources");
        assert_eq!(sources, format!("deb {address} bookworm main\n"));
        let log = fs::read_to_string(target.join("var/log/bootstrap.log")).expect("a log");
        assert!(log.contains("Setting up base-files ("), "{log}");
        let host = fs::read("/etc/hostname").expect("the host's name");
        assert_eq!(fs::read(target.join("etc/hostname")).expect("a name"), host);
        let packages = installed(&target);
        assert!(
            packages.len() > 70
                && packages
                    .iter()
                    .all(|(_, state)| state == "install ok installed"),
            "{packages:?}"
        );
        assert!(!packages.iter().any(|(name, _)| name == "usrmerge"));
        assert_eq!(mounted(user.place.path()), Vec::<String>::new());
        let null = target.join("dev/null").symlink_metadata();
        match user.who {
            // Nobody else may make one.
            Who::Root => assert!(null.expect("a node").file_type().is_char_device()),
            _ => assert!(null.is_err()),
        }
        assert!(!target.join("debootstrap").exists());
        // It is a system: its own programs say what they are.
        if user.who == Who::Root {
            let script = "dpkg --print-architecture && dpkg --audit";
            let ran = user.place.run(&["run", &shown, "--", "sh", "-c", script]);
            assert_eq!(ran.expect(0).stdout, "amd64\n");
        }
        // Once more into the same place: what is there is not replaced, and nothing is added.
        fs::remove_file(target.join("etc/apt/sources.list")).expect("a file");
        let again = compat(user, &small).expect(1);
        assert!(
            again
                .stdout
                .contains("E: Tried to extract package, but file already exists. Exit...\n"),
            "{}",
            again.stdout
        );
        assert!(!target.join("etc/apt/sources.list").exists());
    });
}

#[test]
fn a_tree_is_mixed_into_what_is_there() {
    let mirror = match bookworm("amd64", Variant::Minbase) {
        Ok(mirror) => mirror,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let target = user.place.work().join("target");
        let own = |path: &str| target.join(path);
        fs::create_dir_all(own("etc/apt")).expect("a directory");
        fs::create_dir_all(own("home/me")).expect("a directory");
        fs::write(own("etc/hostname"), "mine\n").expect("a file");
        fs::set_permissions(&target, fs::Permissions::from_mode(0o751)).expect("ours");
        let keyring = mirror.join("keyring.gpg").display().to_string();
        let options = [
            "debootstrap",
            "--variant=minbase",
            "--keyring",
            &keyring,
            "--exclude=tzdata",
        ];
        let address = address(&mirror);
        let words = [&options[..], &["bookworm", "target/", &address]].concat();
        compat(user, &words).expect(0);
        assert_eq!(
            fs::read_to_string(own("etc/hostname")).expect("a name"),
            "mine\n"
        );
        assert!(own("home/me").is_dir() && own("usr/bin/apt").is_file());
        let mode = fs::metadata(&target)
            .expect("the target")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o751);
        let hidden = names_in(&target)
            .into_iter()
            .filter(|name| name.starts_with('.'));
        assert_eq!(hidden.count(), 0);
        // Without a target that is free of it, a file stands in the way before anything is made.
        let other = user.place.work().join("other");
        directory(&other.join("usr/bin"));
        fs::write(other.join("usr/bin/apt"), "").expect("a file");
        let words = [&options[..], &["bookworm", "other", &address]].concat();
        let ran = compat(user, &words).expect(1);
        assert!(ran.stdout.contains("/usr/bin/apt\n"), "{}", ran.stdout);
        assert_eq!(names_in(&other), ["usr"]);
    });
}

#[test]
fn a_relative_that_no_table_knows_is_made_like_another() {
    let mirror = match bookworm("amd64", Variant::Minbase) {
        Ok(mirror) => mirror,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let key = TestKey::sound("guadalinex").expect("a key");
        let repo = renamed(&mirror, "buho", &user.place.work(), &key);
        let (url, keyring) = (repo.url(), repo.keyring.display().to_string());
        let words = [
            "debootstrap",
            "--variant=minbase",
            "--keyring",
            &keyring,
            "buho",
            "jail",
            &url,
        ];
        let ran = compat(user, &words).expect(1);
        assert_eq!(
            ran.stdout,
            format!(
                "E: No such script: /usr/share/debootstrap/scripts/buho\nI: If buho is made like sid, name that as the \
                 fourth word: debootstrap buho jail {url} sid\n"
            )
        );
        assert_eq!(left_in_store(user), 0);
        let words = [&words[..], &["sid"]].concat();
        compat(user, &words).expect(0);
        let root = user.place.work().join("jail");
        let sources = fs::read_to_string(root.join("etc/apt/sources.list")).expect("sources");
        assert_eq!(sources, format!("deb {url} buho main\n"));
        assert!(
            installed(&root)
                .iter()
                .all(|(_, state)| state == "install ok installed")
        );
    });
}

#[test]
fn a_32_bit_system_is_made_by_the_chapters_word() {
    if !cfg!(target_arch = "x86_64") {
        skip!("i386 runs beside amd64 only");
    }
    // The chapter's own line makes the whole base system, whose packages are many more.
    let full = std::env::var_os("JAULA_TEST_FULL").is_some();
    let variant = match full {
        true => Variant::Important,
        false => Variant::Minbase,
    };
    let mirror = match bookworm("i386", variant) {
        Ok(mirror) => mirror,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let address = address(&mirror);
        let small = (!full).then_some("--variant=minbase");
        let words: Vec<&str> = ["debootstrap", "--arch=i386"]
            .into_iter()
            .chain(small)
            .chain(["bookworm", "./narrow", &address])
            .collect();
        let ran = compat(user, &words).expect(0);
        let last = ran.stdout.lines().last();
        assert_eq!(last, Some("I: Base system installed successfully."));
        let root = user.place.work().join("narrow");
        let bash = fs::read(root.join("bin/bash")).expect("a shell");
        // EI_CLASS of elf(5): ELFCLASS32.
        assert_eq!(bash.get(..5), Some(&b"\x7fELF\x01"[..]));
        if user.who == Who::Root {
            let script = "dpkg --print-architecture; uname -m";
            let ran = user
                .place
                .run(&["run", "./narrow", "--", "sh", "-c", script]);
            assert_eq!(ran.expect(0).stdout, "i386\ni686\n");
        }
    });
}

#[test]
fn cdebootstrap_makes_a_minimal_system_that_starts_nothing() {
    let mirror = match bookworm("amd64", Variant::Minbase) {
        Ok(mirror) => mirror,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let keyring = mirror.join("keyring.gpg").display().to_string();
        let words = [
            "cdebootstrap",
            "-f",
            "minimal",
            "-k",
            &keyring,
            "bookworm",
            "c",
            &address(&mirror),
        ];
        let ran = compat(user, &words).expect(0);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert!(
            lines.contains(&"P: Retrieving libc6") && lines.contains(&"P: Configuring package apt"),
            "{lines:?}"
        );
        assert_eq!(lines.last(), Some(&"P: Writing resolv.conf"));
        let root = user.place.work().join("c");
        let policy = fs::read_to_string(root.join("usr/sbin/policy-rc.d")).expect("a policy");
        assert!(
            policy.starts_with("#!/bin/sh\n") && policy.ends_with("exit 101\n"),
            "{policy}"
        );
        assert_eq!(
            fs::read_to_string(root.join("etc/hosts")).expect("hosts"),
            "127.0.0.1 localhost\n"
        );
        assert!(root.join("var/log/bootstrap.log").is_file());
        let names: Vec<String> = installed(&root).into_iter().map(|(name, _)| name).collect();
        // Essential packages and apt, but not what is only required.
        assert!(
            names.contains(&"apt".to_owned()) && !names.contains(&"e2fsprogs".to_owned()),
            "{names:?}"
        );
        if user.who == Who::Root {
            let ran = user.place.run(&[
                "run",
                "./c",
                "--",
                "sh",
                "-c",
                "policy-rc.d ssh start; echo $?",
            ]);
            assert_eq!(ran.expect(0).stdout, "101\n");
            assert!(!root.join("dev/console").exists() && root.join("dev/null").exists());
        }
    });
}

#[test]
fn packages_alone_as_names_as_files_and_as_an_archive() {
    let mirror = match bookworm("amd64", Variant::Minbase) {
        Ok(mirror) => mirror,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let keyring = mirror.join("keyring.gpg").display().to_string();
        let address = address(&mirror);
        let work = user.place.work();
        let with = |more: &[&str], target: &str| {
            let options = ["debootstrap", "--variant=minbase", "--keyring", &keyring];
            let words = [&options[..], more, &["bookworm", target, &address]].concat();
            compat(user, &words)
        };
        let ran = with(&["--print-debs"], "none").expect(0);
        let names: Vec<&str> = ran.stdout.split_whitespace().collect();
        assert!(
            names.contains(&"apt") && names.contains(&"libc6") && names.len() > 70,
            "{names:?}"
        );
        assert!(
            ran.stderr.contains("I: Resolving dependencies"),
            "{}",
            ran.stderr
        );
        assert!(!work.join("none").exists());

        directory(&work.join("cache"));
        let cache = format!("--cache-dir={}", work.join("cache").display());
        with(&["--download-only", &cache], "files").expect(0);
        let is_deb = |name: &&String| name.ends_with(".deb");
        let archives = names_in(&work.join("files/var/cache/apt/archives"));
        assert_eq!(archives.iter().filter(is_deb).count(), names.len());
        assert_eq!(names_in(&work.join("cache")).len(), names.len());
        let paths = fs::read_to_string(work.join("files/debootstrap/debpaths")).expect("paths");
        let there = |line: &str| {
            let (_, path) = line.split_once(" /").expect("a name and a path");
            work.join("files").join(path).is_file()
        };
        assert!(
            paths.lines().count() == names.len() && paths.lines().all(there),
            "{paths}"
        );

        let tarball = work.join("debs.tgz").display().to_string();
        with(&["--make-tarball", &tarball], "gone").expect(0);
        assert!(!work.join("gone").exists() && Path::new(&tarball).is_file());
        with(&["--unpack-tarball", &tarball], "from").expect(0);
        let there = installed(&work.join("from"));
        assert!(
            there
                .iter()
                .all(|(_, state)| state == "install ok installed")
        );
        let mut made: Vec<&str> = there.iter().map(|(name, _)| name.as_str()).collect();
        let mut wanted = names.clone();
        made.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(made, wanted);
        assert!(!work.join("from/debootstrap").exists());
        if user.who == Who::Root {
            both_ways(user, &mirror, &tarball);
        }
        directory(&work.join("full"));
        fs::write(work.join("full/file"), "").expect("a file");
        let ran = with(&["--make-tarball=x.tgz"], "full").expect(1);
        assert!(
            ran.stdout.contains("is not empty and it would be wiped\n"),
            "{}",
            ran.stdout
        );
        assert_eq!(names_in(&work.join("full")), ["file"]);
    });
}

/// The original's archive of packages unpacked by ours, and ours by the original.
fn both_ways(user: &User, mirror: &Path, ours: &str) {
    let program = "/usr/sbin/debootstrap";
    if !Path::new(program).exists() {
        jaula_testkit::skip::note("both_ways", "no debootstrap here");
        return;
    }
    let (address, keyring) = (address(mirror), mirror.join("keyring.gpg"));
    let keyring = format!("--keyring={}", keyring.display());
    let work = user.place.work();
    let original = |option: &str, target: &str| {
        let fixed = [
            "--mount",
            "--propagation=private",
            program,
            "--variant=minbase",
        ];
        let words = [
            &fixed[..],
            &[&keyring, option, "bookworm", target, &address],
        ]
        .concat();
        let output = user.other("unshare", &words).output().expect("debootstrap");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{option}: {said}");
    };
    let sorted = |target: &str| {
        let mut all = installed(&work.join(target));
        all.sort();
        all
    };
    let theirs = work.join("theirs.tgz").display().to_string();
    original(&format!("--make-tarball={theirs}"), "theirs");
    let from = format!("--unpack-tarball={theirs}");
    let words = [
        "debootstrap",
        "--variant=minbase",
        &from,
        "bookworm",
        "of-theirs",
        &address,
    ];
    compat(user, &words).expect(0);
    original(&format!("--unpack-tarball={ours}"), "of-ours");
    assert_eq!(sorted("of-theirs"), sorted("from"));
    assert_eq!(sorted("of-ours"), sorted("from"));
}

#[test]
fn a_second_stage_finishes_what_was_unpacked_only() {
    let mirror = match bookworm("amd64", Variant::Minbase) {
        Ok(mirror) => mirror,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let address = address(&mirror);
        let words = [
            "debootstrap",
            "--foreign",
            "--variant=minbase",
            "bookworm",
            "f",
            &address,
        ];
        let ran = compat(user, &words).expect(0);
        assert!(!ran.stdout.contains("Configuring"), "{}", ran.stdout);
        let root = user.place.work().join("f");
        let notes = names_in(&root.join("debootstrap"));
        for note in [
            "arch",
            "base",
            "debootstrap",
            "debpaths",
            "deburis",
            "mirror",
            "required",
            "suite",
            "variant",
        ] {
            assert!(notes.contains(&note.to_owned()), "{notes:?}");
        }
        let unpacked = |(_, state): &(String, String)| state == "install ok unpacked";
        assert!(installed(&root).iter().all(unpacked));
        let ran = if user.who == Who::Root {
            // The tree's own shell does it, where no jaula is.
            let script = "exec chroot f /debootstrap/debootstrap --second-stage";
            let words = ["--mount", "--propagation=private", "sh", "-c", script];
            let output = user.other("unshare", &words).output().expect("a shell");
            assert!(output.status.success(), "{output:?}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        } else {
            let target = root.display().to_string();
            let words = [
                "debootstrap",
                "--second-stage",
                "--second-stage-target",
                &target,
            ];
            compat(user, &words).expect(0).stdout
        };
        assert!(
            ran.ends_with("I: Base system installed successfully.\n"),
            "{ran}"
        );
        assert!(
            installed(&root)
                .iter()
                .all(|(_, state)| state == "install ok installed")
        );
        assert!(!root.join("debootstrap").exists() && !root.join("var/lib/jaula").exists());
    });
}

#[test]
fn mmdebstrap_makes_a_tree_an_archive_and_nothing() {
    let mirror = match bookworm("amd64", Variant::Minbase) {
        Ok(mirror) => mirror,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let address = address(&mirror);
        let keyring = format!("--keyring={}", mirror.join("keyring.gpg").display());
        let work = user.place.work();
        let line = format!("deb {address} bookworm main");
        // A program of the tree finds what it would have on a machine of its own.
        let hook = "--customize-hook=chroot \"$1\" sh -ec 'test -e /proc/self/fd; test -c /dev/null; test -d /sys/class' \
                    && echo made >\"$1/etc/made\"";
        let words = [
            "mmdebstrap",
            "--variant=apt",
            "--aptopt=Acquire::Languages \"none\"",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            &keyring,
            hook,
            "bookworm",
            "tree",
            &line,
        ];
        let ran = compat(user, &words).expect(0);
        let says = |text: &str| assert!(ran.stderr.contains(text), "{}", ran.stderr);
        says("I: automatically chosen format: directory\n");
        says("I: success in ");
        assert_eq!(
            fs::read_to_string(work.join("tree/etc/made")).expect("the hook's"),
            "made\n"
        );
        for empty in ["proc", "sys"] {
            let mut entries = fs::read_dir(work.join("tree").join(empty)).expect("a directory");
            assert!(entries.next().is_none(), "{empty}");
        }
        let read = |path: &str| fs::read_to_string(work.join("tree/etc").join(path)).expect("text");
        assert_eq!(
            read("apt/apt.conf.d/99mmdebstrap"),
            "Acquire::Languages \"none\";\n"
        );
        assert_eq!(
            read("dpkg/dpkg.cfg.d/99mmdebstrap"),
            "path-exclude=/usr/share/man/*\n"
        );
        assert!(!work.join("tree/usr/share/man/man1").exists());
        let list = fs::read_to_string(work.join("tree/etc/apt/sources.list")).expect("sources");
        assert_eq!(list, format!("{line}\n"));
        let again = compat(user, &words);
        assert_eq!(
            (again.code, again.stderr.lines().last()),
            (
                25,
                Some(&*format!("E: {} is not empty", work.join("tree").display()))
            )
        );

        let words = [
            "mmdebstrap",
            "-q",
            "--variant=apt",
            &keyring,
            hook,
            "bookworm",
            "t.tar.zst",
            &address,
        ];
        let ran = compat(user, &words).expect(0);
        assert_eq!(ran.stderr, "");
        let archive = work.join("t.tar.zst").display().to_string();
        let listed = user.other("tar", &["-tf", &archive]).output().expect("tar");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for name in ["./", "./dev/null", "./etc/made", "./usr/bin/apt"] {
            assert_eq!(
                listed.lines().filter(|line| *line == name).count(),
                1,
                "{name}"
            );
        }
        let words = ["mmdebstrap", "--format=ext2", "bookworm", "-", &address];
        let ran = compat(user, &words).expect(25);
        assert!(ran.stderr.contains("unable to write to standard output"));

        // Nothing is made where nothing is asked to be made, and words that make no sense are told so.
        let words = [
            "mmdebstrap",
            "--simulate",
            "--variant=apt",
            &keyring,
            "bookworm",
            "dry.tar",
            &address,
        ];
        compat(user, &words).expect(0);
        assert!(!work.join("dry.tar").exists());
        let refused = |words: &[&str], says: &str| {
            let ran = compat(user, &[&["mmdebstrap"], words].concat()).expect(25);
            assert_eq!(ran.stderr.lines().last(), Some(&*format!("E: {says}")));
        };
        refused(&["bookworm", "x", "nonsense"], "invalid mirror: nonsense");
        refused(
            &["bookworm", "/"],
            "refusing to use the filesystem root as output directory",
        );
        refused(
            &["--mode=odd", "bookworm"],
            "invalid mode. Choose from auto, root, unshare, fakechroot, chrootless",
        );
        refused(
            &["--format=odd", "bookworm"],
            "invalid format. Choose from auto, directory, tar, squashfs, ext2, ext4, null",
        );
        refused(
            &["--keyring=/no/such", "bookworm"],
            "keyring \"/no/such\" does not exist",
        );
        refused(
            &["--format=dir", "bookworm", "-", &address],
            "the directory format is unable to write to standard output",
        );
    });
}
