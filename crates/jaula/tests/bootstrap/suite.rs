//! What mmdebstrap's own test suite asks of it, asked again in a system that is made in a blink.

use super::mm::{Small, file, listed, names, system};
use super::{compat, names_in};
use crate::who::{User, Who, everyone};
use jaula_testkit::{Ran, skip};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

const FIXED: [&str; 2] = ["-q", "--variant=essential"];

/// The words for a shell: `jaula compat mmdebstrap … bookworm TARGET URL`. Those that are given are quoted.
fn line(user: &User, small: &Small, words: &[&str], target: &str) -> String {
    let started = user.place.command::<&str>(&[]);
    let program = Path::new(started.get_program());
    // Ana's is started by a shell of root's beside it.
    let program = match user.who {
        Who::Ana => program.with_file_name("jaula"),
        _ => program.to_owned(),
    };
    let program = program.display();
    let all = [words, &[&*small.keyring, "bookworm", target, &small.url]].concat();
    let quoted: Vec<String> = all
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
        .collect();
    format!("{program} compat mmdebstrap {}", quoted.join(" "))
}

/// Runs a program of the host that runs jaula; what it said.
#[track_caller]
fn outside(user: &User, program: &str, words: &[&str], typed: &str) -> (bool, String) {
    let mut command = user.other(program, words);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("a program");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(typed.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("its end");
    drop(input);
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn archives_begin_as_the_tools_and_keep_fractions_of_seconds() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let work = user.place.work();
        let script = "set -e; umask 022; mkdir -p many/deep; echo one >one; echo two >many/deep/two; ln many/deep/two many/two; \
             ln -s $(printf 'x%.0s' $(seq 150)) many/far; mkfifo many/pipe; \
             touch -d '2021-02-03 04:05:06.7' one; touch -d '2021-02-03 04:05:06.123456789' many/deep/two; \
             touch -d '1960-02-03 04:05:06.25' many/pipe; touch -d '2021-02-03 04:05:06' many/deep; \
             for name in one many; do tar --sort=name --owner=0 --group=0 --numeric-owner --format=pax \
             --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime -cf $name.tar $name; done; rm -r one many";
        let (sound, said) = outside(user, "sh", &["-c", script], "");
        assert!(sound, "{said}");
        let hooks = [
            "--customize-hook=mkdir \"$1/place\"",
            "--customize-hook=tar-in one.tar /place",
            "--customize-hook=tar-in many.tar /place",
            "--customize-hook=tar-out /place/one one.again",
            "--customize-hook=tar-out /place/many many.again",
            "--customize-hook=rm -r \"$1/place\"",
        ];
        small
            .make(user, &[&FIXED[..], &hooks].concat(), "t.tar")
            .expect(0);
        for name in ["one", "many"] {
            let before = fs::read(work.join(name).with_extension("tar")).expect("an archive");
            let after = fs::read(work.join(name).with_extension("again")).expect("an archive");
            assert!(before == after, "{name} differs");
        }
        // By this the suite tells its archives: GNU's magic, not that of pax.
        let archive = fs::read(work.join("t.tar")).expect("an archive");
        assert_eq!(archive.get(257..263), Some(&b"ustar "[..]));
        assert!(listed(user, "t.tar").contains(&"./dev/null".to_owned()));
    });
}

#[test]
fn a_hook_has_a_terminal_of_its_own_when_its_caller_has_one() {
    let has = std::process::Command::new("script").arg("-V").output();
    if !has.is_ok_and(|output| output.status.success()) {
        skip!("there is no script(1)");
    }
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let hook = "--customize-hook=test -t 0 && test -t 1 && test -t 2 && : </dev/tty && stty size >size \
             && read -r word && echo \"heard $word\" && echo \"$word\" >typed && tty >inner";
        let words = [&FIXED[..], &[hook]].concat();
        let command = format!(
            "tty >outer; stty rows 33 cols 77; {}",
            line(user, &small, &words, "tree")
        );
        let (sound, said) = outside(user, "script", &["-qfec", &command, "/dev/null"], "tecla\n");
        assert!(sound, "{said}");
        assert!(said.contains("heard tecla"), "{said}");
        assert_eq!(file(user, "typed"), "tecla\n");
        assert_eq!(file(user, "size"), "33 77\n");
        // Not the caller's: what runs in the tree cannot type there.
        let [outer, inner] = ["outer", "inner"].map(|name| file(user, name));
        assert!(outer.starts_with("/dev/pts/") && inner.starts_with("/dev/pts/"));
        assert_ne!(outer, inner);
        // Its end is told as ever, and the terminal given back.
        let failing = [&FIXED[..], &["--customize-hook=echo; kill -INT $$"]].concat();
        let command = format!(
            "{}; echo code $? $(stty -a | grep -c ' icanon')",
            line(user, &small, &failing, "other")
        );
        let (_, said) = outside(user, "script", &["-qfc", &command, "/dev/null"], "");
        assert!(said.contains("failed with signal 2"), "{said}");
        assert!(said.contains("code 25 1"), "{said}");
        // Without a terminal there is none, and neither with a log.
        let none = [
            &FIXED[..],
            &["--customize-hook=! test -t 0 && ! test -t 1 && ! test -t 2"],
        ]
        .concat();
        small.make(user, &none, "plain").expect(0);
        let logged = [&none[..], &["--logfile=log"]].concat();
        let command = line(user, &small, &logged, "logged");
        let (sound, said) = outside(user, "script", &["-qfec", &command, "/dev/null"], "");
        assert!(sound, "{said}");
    });
}

#[test]
fn root_who_may_not_mount_makes_a_system_all_the_same() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        if user.who != Who::Root {
            return;
        }
        let small = Small::of(user, system.clone());
        let hook = "--customize-hook=test ! -e \"$1/proc/self\" && chroot \"$1\" busybox id -u >\"$1/etc/who\"; chown 8:12 \"$1/etc/who\"";
        let words = ["--variant=apt", hook];
        let poor = |target: &str, words: &[&str]| {
            let command = format!("exec {}", line(user, &small, words, target));
            let drop = ["--bounding-set=-sys_admin", "sh", "-c", &command];
            outside(user, "setpriv", &drop, "")
        };
        let (sound, said) = poor("poor.tar", &words);
        assert!(sound, "{said}");
        let warning = "W: cannot mount because CAP_SYS_ADMIN is not in the effective set\n";
        assert!(said.contains(warning), "{said}");
        small
            .make(
                user,
                &["--skip=chroot/mount", words[0], words[1]],
                "rich.tar",
            )
            .expect(0);
        let work = user.place.work();
        let same = fs::read(work.join("poor.tar")).expect("an archive")
            == fs::read(work.join("rich.tar")).expect("an archive");
        assert!(same, "{:?}", listed(user, "poor.tar"));
        // In a directory everything is whose it is outside.
        let (sound, said) = poor("poor", &words);
        assert!(sound, "{said}");
        let who = std::os::unix::fs::MetadataExt::uid;
        let owner = |path: &str| who(&fs::symlink_metadata(work.join(path)).expect("a file"));
        assert_eq!((owner("poor/etc/who"), owner("poor/etc")), (8, 0));
        assert_eq!(file(user, "poor/etc/who"), "0\n");
    });
}

#[test]
fn only_packages_make_links_of_bin_where_nothing_else_is_wanted() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let work = user.place.work();
        let include = "--include=base-files,busybox,dash,dpkg";
        let hooks = [
            "--setup-hook=mkdir -p \"$1/bin\"",
            "--extract-hook=chroot \"$1\" /bin/busybox readlink /proc/self/exe >\"$1/self\"",
        ];
        let words = [&["--variant=custom", include], &hooks[..]].concat();
        small.make(user, &words, "apart").expect(0);
        let is_link = |path: &str| {
            let meta = fs::symlink_metadata(work.join(path));
            meta.is_ok_and(|meta| meta.is_symlink())
        };
        assert!(!is_link("apart/bin") && work.join("apart/bin/busybox").is_file());
        assert_eq!(file(user, "apart/self"), "/bin/busybox\n");
        let merged = format!("{include},usr-is-merged");
        small
            .make(user, &["--variant=custom", &merged], "merged")
            .expect(0);
        assert!(is_link("merged/bin"));
        // All of it was named, so that apt has nothing to remember.
        let states = "var/lib/apt/extended_states";
        assert!(!work.join("apart").join(states).exists());
        small
            .make(user, &["--variant=extract", include], "x")
            .expect(0);
        assert!(!is_link("x/bin"));
        assert_eq!(names(user, "x"), "base-files busybox dash dpkg");
    });
}

#[test]
fn modes_are_one_and_hooks_are_told_which() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let hook = "--customize-hook=test \"$MMDEBSTRAP_SUITE $MMDEBSTRAP_FORMAT\" = 'bookworm tar' && echo \"$MMDEBSTRAP_MODE $(id -u)\" >\"$1/etc/mode\"; chown 8:12 \"$1/etc/mode\"";
        let (root, own) = match user.who {
            Who::Root => (true, "root"),
            _ => (false, "unshare"),
        };
        let mut archives = Vec::new();
        for (mode, told) in [
            ("auto", own),
            ("unshare", "unshare"),
            ("fakechroot", "unshare"),
            ("fakeroot", "unshare"),
            ("root", "root"),
            ("sudo", "root"),
        ] {
            let option = format!("--mode={mode}");
            let target = format!("{mode}.tar");
            let ran = small.make(user, &[&FIXED[..], &[&*option, hook]].concat(), &target);
            if told == "root" && !root {
                assert_eq!(ran.expect(25).stderr, "E: need to be root\n");
                continue;
            }
            ran.expect(0);
            let list = ["--numeric-owner", "-tvf", &target, "./etc/mode"];
            let output = user.other("tar", &list).output().expect("tar");
            let shown = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(shown.contains(" 8/12 "), "{mode} {shown}");
            let read = user
                .other("tar", &["-xOf", &target, "./etc/mode"])
                .output()
                .expect("tar");
            let text = String::from_utf8_lossy(&read.stdout).into_owned();
            assert_eq!(text, format!("{told} 0\n"), "{mode}");
            archives.push((told, fs::read(user.place.work().join(&target)).expect("it")));
        }
        // The same bytes where hooks were told the same.
        for (told, archive) in &archives {
            let first = archives.iter().find(|(other, _)| other == told);
            assert!(first.is_some_and(|(_, first)| first == archive), "{told}");
        }
        let refused: [(&str, &str); 2] = [
            (
                "--mode=chrootless",
                "would run packages' scripts on this host",
            ),
            (
                "--mode=proot",
                "invalid mode. Choose from auto, root, unshare, fakechroot, chrootless",
            ),
        ];
        for (mode, why) in refused {
            let ran: Ran = small.make(user, &[mode], "none").expect(25);
            assert!(ran.stderr.contains(why), "{}", ran.stderr);
            assert!(!user.place.work().join("none").exists());
        }
    });
}

#[test]
fn files_go_in_and_out_by_every_special_hook_at_each_stage() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let work = user.place.work();
        let mut options =
            vec!["--setup-hook=mkdir \"$1/real\"; ln -s /real \"$1/link\"".to_owned()];
        for stage in ["setup", "extract", "essential", "customize"] {
            let dir = work.join(format!("in-{stage}"));
            fs::create_dir_all(dir.join("deep")).expect("a directory");
            fs::write(dir.join("deep/file"), stage).expect("a file");
            fs::write(work.join(format!("one-{stage}")), stage).expect("a file");
            let said = format!("printf {stage} | cmp \"$1/real/");
            for hook in [
                format!("sync-in in-{stage} /link"),
                format!("{said}deep/file\" -"),
                format!("sync-out /link out-{stage}"),
                format!("copy-in one-{stage} /link"),
                format!("{said}one-{stage}\" -"),
                format!("copy-out /link/one-{stage} ./copies"),
                format!("upload one-{stage} /link/up"),
                format!("{said}up\" -"),
                format!("download /link/up down-{stage}"),
                "rm -r \"$1\"/real/*".to_owned(),
            ] {
                options.push(format!("--{stage}-hook={hook}"));
            }
        }
        // A link of the tree leads to what it leads to inside.
        options.push("--customize-hook=ln -sfn /etc/passwd \"$1/real/out\"".to_owned());
        options.push("--customize-hook=sync-in in-setup /link".to_owned());
        options.push("--customize-hook=rm -r \"$1/real\" \"$1/link\"".to_owned());
        let words: Vec<&str> = options.iter().map(String::as_str).collect();
        let fixed = [&FIXED[..], &words].concat();
        small.make(user, &fixed, "tree").expect(0);
        for stage in ["setup", "extract", "essential", "customize"] {
            for path in [
                format!("out-{stage}/deep/file"),
                format!("copies/one-{stage}"),
                format!("down-{stage}"),
            ] {
                assert_eq!(file(user, &path), stage, "{path}");
            }
        }
        assert!(!names_in(&work.join("tree")).contains(&"real".to_owned()));
        // What is no directory cannot be made the same as one.
        let bad = ["--customize-hook=sync-in one-setup /etc"];
        let ran = small
            .make(user, &[&FIXED[..], &bad].concat(), "bad")
            .expect(25);
        assert!(ran.stderr.contains("one-setup"), "{}", ran.stderr);
    });
}

/// What is in the `dev` of an image of a file system, without the names of everywhere.
fn dev_of(user: &User, image: &str) -> Vec<String> {
    let shown = |program: &str, words: &[&str]| {
        let output = user.other(program, words).output().expect("a program");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = match image.ends_with(".squashfs") {
        true => shown("unsquashfs", &["-l", "-d", "", image, "dev"])
            .lines()
            .filter_map(|line| Some(line.strip_prefix("/dev/")?.to_owned()))
            .collect::<Vec<_>>(),
        false => shown("/usr/sbin/debugfs", &["-R", "ls -p /dev", image])
            .lines()
            .filter_map(|line| Some(line.split('/').nth(5)?.to_owned()))
            .filter(|name| !name.is_empty() && !name.starts_with('.'))
            .collect(),
    };
    let mut names = text;
    names.sort();
    names
}

#[test]
fn what_is_skipped_of_dev_is_skipped_in_images_too() {
    if ["/usr/bin/unsquashfs", "/usr/sbin/debugfs"]
        .iter()
        .any(|path| !Path::new(path).exists())
    {
        skip!("there is no unsquashfs(1) or no debugfs(8)");
    }
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let links = ["fd", "pts", "shm", "stderr", "stdin", "stdout"];
        for ending in ["squashfs", "ext2"] {
            let make = |skip: &str, name: &str| {
                let target = format!("{name}.{ending}");
                small
                    .make(user, &[&FIXED[..], &[skip]].concat(), &target)
                    .expect(0);
                dev_of(user, &target)
            };
            let all = make("--skip=check/empty", "all");
            assert_eq!(all.len(), links.len() + 8, "{ending} {all:?}");
            assert!(all.contains(&"null".to_owned()), "{ending} {all:?}");
            assert_eq!(make("--skip=output/mknod", "links"), links, "{ending}");
            assert!(make("--skip=output/dev", "none").is_empty(), "{ending}");
        }
    });
}

#[test]
fn what_the_host_lacks_is_not_in_a_skeleton() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        // Others than root need the host's /etc for their identifiers.
        if user.who != Who::Root {
            return;
        }
        let small = Small::of(user, system.clone());
        let words = ["--simulate", "--variant=essential"];
        let command = format!(
            "set -e; mkdir own; cp /etc/passwd /etc/group own; mount --bind own /etc; test ! -e /etc/resolv.conf; exec {}",
            line(user, &small, &words, "dry")
        );
        let inside = ["--mount", "--propagation", "private", "sh", "-c", &command];
        let (sound, said) = outside(user, "unshare", &inside, "");
        assert!(sound, "{said}");
        let etc = names_in(&user.place.work().join("dry/etc"));
        assert_eq!(etc, ["apt", "fstab"]);
    });
}

#[test]
fn packages_are_not_laid_through_a_link_that_leads_outside() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let work = user.place.work();
        // Where the packages go is a link of the tree's own; it leads to what it leads to inside.
        fs::create_dir_all(work.join("tree/var/cache/apt")).expect("a directory");
        fs::create_dir_all(work.join("tree/elsewhere/partial")).expect("a directory");
        fs::create_dir_all(work.join("elsewhere")).expect("a directory");
        let outside = work.join("tree/var/cache/apt/archives");
        std::os::unix::fs::symlink("/elsewhere", outside).expect("a link");
        let words = [
            "debootstrap",
            &small.keyring,
            "--download-only",
            "--variant=minbase",
            "bookworm",
            "tree",
            &small.url,
        ];
        let ran = compat(user, &words);
        assert!(!Path::new("/elsewhere").exists());
        assert!(names_in(&work.join("elsewhere")).is_empty());
        if ran.code == 0 {
            let laid = names_in(&work.join("tree/elsewhere"));
            assert!(
                laid.iter().any(|name| name.starts_with("dash_")),
                "{laid:?}"
            );
        }
    });
}

#[test]
fn hooks_find_names_and_what_they_did_themselves_is_not_done_again() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    let host = fs::read("/etc/resolv.conf").unwrap_or_default();
    everyone(|user| {
        let small = Small::of(user, system.clone());
        // What a tree of another makes knows of the package; its files come from there.
        small
            .make(
                user,
                &[
                    "-q",
                    "--variant=custom",
                    "--include=base-files,busybox,dash,dpkg,tool",
                ],
                "model",
            )
            .expect(0);
        let hooks = [
            "--essential-hook=cat \"$1/etc/resolv.conf\" >names",
            "--essential-hook=sed -n '/^Package: tool$/,/^$/p' model/var/lib/dpkg/status >>\"$1/var/lib/dpkg/status\"",
            "--essential-hook=cp model/var/lib/dpkg/info/tool.* \"$1/var/lib/dpkg/info\"; mkdir -p \"$1/usr/share/tool\"; echo mine >\"$1/usr/share/tool/version\"",
        ];
        let words = [&["--variant=essential", "--include=tool,login"], &hooks[..]].concat();
        small.make(user, &words, "tree").expect(0);
        assert_eq!(fs::read(user.place.work().join("names")).expect("it"), host);
        // The host's is no part of it, and the hook's package is.
        assert_eq!(file(user, "tree/etc/resolv.conf"), "");
        assert_eq!(file(user, "tree/usr/share/tool/version"), "mine\n");
        assert_eq!(
            names(user, "tree"),
            "base-files busybox dash dpkg login tool"
        );
        // What a hook writes there stays.
        let own = "--customize-hook=echo nameserver 192.0.2.1 >\"$1/etc/resolv.conf\"";
        small
            .make(user, &[&FIXED[..], &[own]].concat(), "own")
            .expect(0);
        assert_eq!(file(user, "own/etc/resolv.conf"), "nameserver 192.0.2.1\n");
    });
}

#[test]
fn nodes_of_devices_in_an_archive_are_refused_or_left_out() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        small.make(user, &FIXED, "whole.tar").expect(0);
        let hook = "--setup-hook=mkdir \"$1/w\"";
        let unpack = "--setup-hook=tar-in whole.tar /w";
        let words = [&FIXED[..], &[hook, unpack]].concat();
        let ran = small.make(user, &words, "refused").expect(25);
        assert!(ran.stderr.contains("is a device node"), "{}", ran.stderr);
        let words = [&words[..], &["--skip=tar-in/mknod"]].concat();
        let ran = small.make(user, &words, "tree").expect(0);
        assert_eq!(ran.stderr, "");
        let tree = user.place.work().join("tree/w");
        assert!(tree.join("dev/fd").is_symlink() && !tree.join("dev/null").exists());
        assert!(tree.join("usr/bin/dpkg").is_file());
    });
}

#[test]
fn apt_on_a_tree_finds_what_there_is_and_lists_stay_only_when_asked() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    let apt = std::path::Path::new("/usr/bin/apt-get").exists();
    everyone(|user| {
        let small = Small::of(user, system.clone());
        // The host's apt works on the tree, where the host has one.
        let hooks = [
            "--extract-hook=ls \"$1/var/lib/apt/lists\" >lists",
            "--customize-hook=touch \"$1/var/cache/apt/archives/x.deb\" \"$1/var/cache/apt/pkgcache.bin\"",
            "--customize-hook=[ ! -x /usr/bin/apt-get ] || APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -s install cron >said",
        ];
        let words = [&["--variant=apt"], &hooks[..]].concat();
        small.make(user, &words, "tree").expect(0);
        let lists = file(user, "lists");
        let is_there = |ending: &str| lists.lines().any(|line| line.ends_with(ending));
        assert!(
            is_there("_dists_bookworm_InRelease") && is_there("_main_binary-amd64_Packages.xz"),
            "{lists}"
        );
        if apt {
            let said = file(user, "said");
            assert!(said.contains("\nInst cron (1.0 "), "{said}");
            assert!(said.contains("\nInst libcron (1.0 "), "{said}");
        }
        let left = |tree: &str, dir: &str| -> Vec<String> {
            let dir = user.place.work().join(tree).join("var").join(dir);
            let entries = fs::read_dir(dir).expect("a directory").flatten();
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        };
        assert_eq!(left("tree", "lib/apt/lists"), ["lock", "partial"]);
        assert_eq!(left("tree", "cache/apt/archives"), ["lock", "partial"]);
        assert_eq!(left("tree", "cache/apt"), ["archives"]);
        let words = [&words[..], &["--skip=cleanup/apt/lists,cleanup/apt/cache"]].concat();
        let ran = small.make(user, &words, "kept").expect(0);
        assert!(!ran.stderr.contains("no effect"), "{}", ran.stderr);
        assert_eq!(
            left("kept", "lib/apt/lists").len(),
            lists.lines().count() + 1
        );
        assert!(left("kept", "cache/apt/archives").contains(&"x.deb".to_owned()));
        assert!(left("kept", "cache/apt").contains(&"pkgcache.bin".to_owned()));
    });
}
