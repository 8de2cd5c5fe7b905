//! mmdebstrap's words, each with a system that is made in a blink.

use super::{compat, installed, names_in};
use crate::who::{User, Who, everyone};
use jaula_testkit::{Ran, Repo, RepoBuilder, TestKey, skip, small};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

/// The small system in a user's place.
pub struct Small {
    repo: Repo,
    pub url: String,
    pub keyring: String,
}

impl Small {
    pub fn of(user: &User, repo: RepoBuilder) -> Self {
        let key = TestKey::sound("small").expect("a key");
        let repo = repo.write(&user.place.work(), &key).expect("a repository");
        Self {
            url: repo.url(),
            keyring: format!("--keyring={}", repo.keyring.display()),
            repo,
        }
    }

    /// `mmdebstrap --keyring=… OPTIONS bookworm TARGET URL`
    #[track_caller]
    pub fn make(&self, user: &User, options: &[&str], target: &str) -> Ran {
        let first = ["mmdebstrap", &self.keyring];
        let words = [&first[..], options, &["bookworm", target, &self.url]].concat();
        compat(user, &words)
    }
}

/// The system, or the reason to skip.
pub fn system() -> Result<RepoBuilder, String> {
    small::system("bookworm").map_err(|error| format!("{error:#}"))
}

pub fn names(user: &User, target: &str) -> String {
    let all = installed(&user.place.work().join(target));
    let mut names: Vec<String> = all.into_iter().map(|(name, _)| name).collect();
    names.sort();
    names.join(" ")
}

pub fn file(user: &User, path: &str) -> String {
    let path = user.place.work().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What tar(1) lists of an archive.
pub fn listed(user: &User, archive: &str) -> Vec<String> {
    let output = user.other("tar", &["-tf", archive]).output().expect("tar");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn mmdebstraps_variants_are_its_own() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let standard = small::package("extra", "1.0", &[("Priority", "standard")]);
        let small = Small::of(user, system.clone().package(standard.expect("a package")));
        let essential = "base-files busybox dash dpkg";
        let minbase = format!("apt {essential} login");
        let important = "apt base-files busybox cron dash dpkg libcron login";
        let standard = "apt base-files busybox cron dash dpkg extra libcron login";
        let cases: [(&[&str], &str); 10] = [
            (&["essential"], essential),
            (&["apt"], &format!("apt {essential}")),
            (&["required"], &minbase),
            (&["minbase"], &minbase),
            (
                &["buildd"],
                "apt base-files build-essential busybox dash dpkg login",
            ),
            (&["important"], important),
            (&["debootstrap"], important),
            (&["-"], important),
            (&["standard"], standard),
            (
                &["custom", "--include=base-files,dash,dpkg,busybox,tool"],
                "base-files busybox dash dpkg tool",
            ),
        ];
        for (words, wanted) in cases {
            let (variant, more) = words.split_first().expect("a variant");
            let target = format!("v{variant}");
            let variant = format!("--variant={variant}");
            small
                .make(user, &[&[&*variant], more].concat(), &target)
                .expect(0);
            assert_eq!(names(user, &target), wanted, "{variant}");
            let states = installed(&user.place.work().join(&target));
            assert!(
                states
                    .iter()
                    .all(|(_, state)| state == "install ok installed"),
                "{states:?}"
            );
        }
        // Only unpacked, and only what is named.
        small
            .make(
                user,
                &[
                    "--variant=extract",
                    "--include=tool,login",
                    "--aptopt=APT::X \"y\"",
                ],
                "x",
            )
            .expect(0);
        assert_eq!(names(user, "x"), "login tool");
        assert_eq!(file(user, "x/usr/share/tool/version"), "1.0");
        assert!(!user.place.work().join("x/etc/login.configured").exists());
    });
}

#[test]
fn mmdebstraps_sources_come_in_every_form() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    let narrow = small::deb("narrow")
        .arch("i386")
        .file("usr/lib/narrow", "32", 0o644);
    let system = system
        .component("extra")
        .also_arch("i386")
        .package(narrow.build().expect("a package"));
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let (url, keyring) = (&small.url, small.repo.keyring.display());
        let line = format!("deb [signed-by={keyring}] {url} bookworm extra");
        let stanza = format!(
            "Types: deb\nURIs: {url}\nSuites: bookworm\nComponents: extra\nSigned-By: {keyring}\n"
        );
        let write = |name: &str, text: &str| {
            fs::write(user.place.work().join(name), text).expect("a file");
        };
        write("own.list", &format!("{line}\n"));
        write("own.sources", &stanza);
        write("other", &stanza);
        let fixed = ["mmdebstrap", "--variant=essential", "--format=dir"];
        let given = |words: &[&str], input: &str| {
            let mut command = user
                .place
                .command(&[&["compat"], &fixed[..], words].concat());
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            let mut child = command.spawn().expect("jaula");
            let mut stdin = child.stdin.take().expect("its input");
            stdin.write_all(input.as_bytes()).expect("written");
            drop(stdin);
            let output = child.wait_with_output().expect("its end");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{words:?} {said}");
            said
        };
        let key = format!("--keyring={keyring}");
        given(&[&key, "--components=extra", "bookworm", "a", url], "");
        given(&["bookworm", "b", &line], "");
        given(&["bookworm", "c", "./own.list"], "");
        given(&["bookworm", "d", "./own.sources"], "");
        given(&["bookworm", "e", "./other"], "");
        let said = given(&["bookworm", "f", "-"], &line);
        assert!(
            said.contains("I: reading sources.list from standard input...\n"),
            "{said}"
        );
        given(&["", "g", "-"], &stanza);
        for tree in ["a", "b", "c", "d", "e", "f", "g"] {
            assert_eq!(names(user, tree), "base-files busybox dash dpkg", "{tree}");
        }
        assert_eq!(file(user, "b/etc/apt/sources.list"), format!("{line}\n"));
        // Two components of which one is there, and two architectures.
        let more = [
            "--architectures=amd64,i386",
            "--include=narrow:i386",
            "--components=extra",
        ];
        let words = [&fixed[..], &more, &[&key, "bookworm", "two", url]].concat();
        compat(user, &words).expect(0);
        assert_eq!(names(user, "two"), "base-files busybox dash dpkg narrow");
        assert_eq!(file(user, "two/var/lib/dpkg/arch"), "amd64\ni386\n");
        let words = [
            &fixed[..],
            &["--components=extra,none", &key, "bookworm", "three", url],
        ]
        .concat();
        let ran = compat(user, &words).expect(25);
        assert!(ran.stderr.contains("none"), "{}", ran.stderr);
    });
}

#[test]
fn hooks_call_mmdebstrap_for_files() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let work = user.place.work();
        let link = user.place.run(&["compat", "install", "."]).expect(0);
        assert!(work.join("mmdebstrap").exists(), "{}", link.stdout);
        let script = "#!/bin/sh\nset -eu\necho \"$MMDEBSTRAP_HOOK\" >>said\n\
             mkdir -p \"$1/real\"; ln -sfn /real \"$1/link\"\n\
             help() { \"$MMDEBSTRAP_ARGV0\" --hook-helper \"$1\" \"$MMDEBSTRAP_MODE\" \"$MMDEBSTRAP_HOOK\" env 1 \"$2\" \"$3\" \"$4\" \\\n\
             <&$MMDEBSTRAP_HOOKSOCK >&$MMDEBSTRAP_HOOKSOCK; }\n\
             echo $MMDEBSTRAP_HOOK >one; help \"$1\" upload one /../link/./two\n\
             cmp one \"$1/real/two\"\n\
             help \"$1\" download /link/two three; cmp one three\n\
             help \"$1\" tar-out /link/two four.tar; [ \"$(tar -tf four.tar)\" = two ]\n\
             help \"$1\" copy-in one /link; cmp one \"$1/real/one\"\n\
             rm \"$1/real/two\"; help \"$1\" tar-in four.tar /link; cmp one \"$1/real/two\"\n\
             mkdir -p five; help \"$1\" sync-out /link five; cmp one five/two; rm -r five\n\
             ! help \"$1\" upload one /nowhere/two 2>refused\n\
             grep -q '^E: hookhelper failed: ' refused\n\
             grep -qF \"Dir \\\"$1/\\\";\" \"$MMDEBSTRAP_APT_CONFIG\"\n\
             grep -qF \"DPkg::Chroot-Directory \\\"$1\\\";\" \"$MMDEBSTRAP_APT_CONFIG\"\n";
        fs::write(work.join("hook"), script).expect("a file");
        fs::set_permissions(work.join("hook"), fs::Permissions::from_mode(0o755)).expect("ours");
        // A script that does not say of what it is one.
        fs::write(work.join("plain"), "echo plain >\"$1/plain\"\n").expect("a file");
        fs::set_permissions(work.join("plain"), fs::Permissions::from_mode(0o755)).expect("ours");
        let plain = format!("--setup-hook={}", work.join("plain").display());
        let hook = work.join("hook").display().to_string();
        let stages = ["setup", "extract", "essential", "customize"];
        let options = stages.map(|stage| format!("--{stage}-hook={hook}"));
        let mut words: Vec<&str> = options.iter().map(String::as_str).collect();
        words.extend([
            &*plain,
            "--customize-hook=echo heard aloud",
            "--variant=essential",
            &small.keyring,
        ]);
        words.extend(["bookworm", "tree", &small.url]);
        // By its link: so a hook can call it.
        let own = work.join("mmdebstrap").display().to_string();
        let mut command = match user.who {
            Who::Ana => user
                .place
                .command(&[&["compat", "mmdebstrap"], &words[..]].concat()),
            _ => user.other(&own, &words),
        };
        if user.who == Who::Ana {
            // She plays through a shell of root's, which no link leads to: the name alone is looked for.
            let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", work.display());
            command.env("PATH", path);
        }
        let output = command.output().expect("jaula");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(said.contains("\nheard aloud\n"), "{said}");
        assert_eq!(file(user, "said"), "setup\nextract\nessential\ncustomize\n");
        assert_eq!(file(user, "tree/real/two"), "customize\n");
        assert_eq!(file(user, "tree/plain"), "plain\n");
        // And the one that only waits.
        let script = format!(
            "printf '\\0\\0adios' | {own} --hook-listener 1 && ! printf x | {own} --hook-listener 1"
        );
        let output = user
            .other("sh", &["-c", &script])
            .output()
            .expect("a shell");
        assert!(output.status.success(), "{output:?}");
    });
}

#[test]
fn what_is_skipped_and_what_is_only_looked_at() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let starter = small::deb("starter").field("Essential", "yes").file(
            "sbin/start-stop-daemon",
            "real",
            0o755,
        );
        let small = Small::of(
            user,
            system.clone().package(starter.build().expect("a package")),
        );
        let work = user.place.work();
        let fixed = ["-q", "--variant=essential"];
        let make =
            |more: &[&str], target: &str| small.make(user, &[&fixed[..], more].concat(), target);
        make(&[], "all.tar").expect(0);
        make(&["--skip=output/mknod"], "links.tar").expect(0);
        make(&["--skip=output/dev"], "none.tar").expect(0);
        let dev = |archive: &str| -> Vec<String> {
            let mut all = listed(user, archive);
            all.retain(|name| name.starts_with("./dev/"));
            all.sort();
            all
        };
        let links = [
            "./dev/",
            "./dev/fd",
            "./dev/pts/",
            "./dev/shm/",
            "./dev/stderr",
            "./dev/stdin",
            "./dev/stdout",
        ];
        assert_eq!(dev("links.tar"), links);
        assert_eq!(dev("none.tar"), ["./dev/"]);
        assert_eq!(dev("all.tar").len(), links.len() + 8);
        let rest = |archive: &str| {
            let mut all = listed(user, archive);
            all.retain(|name| !name.starts_with("./dev/"));
            all
        };
        assert_eq!(rest("none.tar"), rest("all.tar"));

        // Images of file systems: told by their magic numbers.
        for (name, at, magic) in [
            ("i.squashfs", 0, &b"hsqs"[..]),
            ("i.ext2", 1080, &[0x53, 0xef]),
        ] {
            make(&[], name).expect(0);
            let image = fs::read(work.join(name)).expect("an image");
            assert_eq!(image.get(at..at + magic.len()), Some(magic), "{name}");
        }

        // What hooks find in the tree.
        let guards = "for file in sbin/start-stop-daemon.REAL usr/sbin/policy-rc.d; do test -e \"$1/$file\" && echo $file; done; true";
        let hook = format!("--customize-hook=({guards}) >\"$1/etc/guards\"");
        make(&[&hook], "guarded").expect(0);
        assert_eq!(
            file(user, "guarded/etc/guards"),
            "sbin/start-stop-daemon.REAL\nusr/sbin/policy-rc.d\n"
        );
        make(&[&hook, "--skip=chroot/policy-rc.d"], "policy").expect(0);
        assert_eq!(
            file(user, "policy/etc/guards"),
            "sbin/start-stop-daemon.REAL\n"
        );
        make(
            &[&hook, "--skip=chroot/policy-rc.d,chroot/start-stop-daemon"],
            "open",
        )
        .expect(0);
        assert_eq!(file(user, "open/etc/guards"), "");
        let gone =
            "--customize-hook=rm \"$1/usr/sbin/policy-rc.d\" \"$1/usr/sbin/start-stop-daemon\"";
        make(&[gone], "gone").expect(0);
        for tree in ["guarded", "policy", "open", "gone"] {
            assert_eq!(
                names_in(&work.join(tree).join("usr/sbin")),
                ["start-stop-daemon"],
                "{tree}"
            );
            assert_eq!(
                file(user, &format!("{tree}/usr/sbin/start-stop-daemon")),
                "real"
            );
        }
        let mounts = "--customize-hook=for name in proc sys dev; do mountpoint -q \"$1/$name\" && echo $name; done >\"$1/etc/mounts\"; true";
        for (skip, wanted) in [
            ("--skip=cleanup/none", "proc\nsys\ndev\n"),
            ("--skip=chroot/mount/proc,chroot/mount/sys", "dev\n"),
            ("--skip=chroot/mount", ""),
        ] {
            let target = format!("mounts{}", wanted.len());
            make(&[mounts, skip], &target).expect(0);
            assert_eq!(file(user, &format!("{target}/etc/mounts")), wanted);
        }

        // Only looked at: the places of a tree, and no hook was run.
        let hooks = [
            "--simulate",
            "--setup-hook=exit 1",
            "--customize-hook=exit 1",
        ];
        let ran = small
            .make(
                user,
                &[&hooks[..], &["--variant=essential"]].concat(),
                "dry",
            )
            .expect(0);
        assert!(
            ran.stderr
                .contains("W: In dry-run mode, --setup-hook options have no effect\n"),
            "{}",
            ran.stderr
        );
        let dry = work.join("dry");
        for path in [
            "etc/apt/sources.list",
            "etc/fstab",
            "var/lib/apt/lists/lock",
            "var/lib/dpkg/status",
            "var/lib/dpkg/arch",
        ] {
            assert!(dry.join(path).is_file(), "{path}");
        }
        assert!(dry.join("dev/stdin").is_symlink() && !dry.join("usr").exists());
        assert_eq!(dry.join("dev/null").exists(), user.who == Who::Root);
        assert_eq!(file(user, "dry/var/lib/dpkg/status"), "");
        // Quiet, loud, and into a file.
        assert_eq!(make(&[], "q").expect(0).stderr, "");
        let log = work.join("log").display().to_string();
        let ran = small
            .make(
                user,
                &["--variant=essential", "--debug", "--logfile", &log],
                "l",
            )
            .expect(0);
        assert_eq!(ran.stderr, "");
        let log = file(user, "log");
        assert!(
            log.contains("D: chosen: dash 1.0 amd64\n") && log.contains("I: success in "),
            "{log}"
        );
        let ran = small
            .make(user, &["--variant=essential", "-v", "--include=login"], "v")
            .expect(0);
        assert!(
            ran.stderr.contains("\nSetting up login (1.0) ...\n"),
            "{}",
            ran.stderr
        );
    });
}

#[test]
fn an_interrupt_ends_a_hook_also_where_a_shell_ignores_it() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        if user.who == Who::Ana {
            return;
        }
        let small = Small::of(user, system.clone());
        let work = user.place.work();
        let script = format!(
            "trap '' INT; exec {} compat mmdebstrap --variant=essential {} \\
             --customize-hook='touch started && sleep 60 && touch slept' bookworm tree {}",
            env!("CARGO_BIN_EXE_jaula"),
            small.keyring,
            small.url
        );
        let mut command = user.other("sh", &["-c", &script]);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().expect("a shell");
        while !work.join("started").exists() {
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "it ended before its hook");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let group = format!("-{}", child.id());
        let kill = user.other("kill", &["-INT", "--", &group]).status();
        assert!(kill.expect("kill").success());
        assert!(!child.wait().expect("its end").success());
        assert!(!work.join("slept").exists());
    });
}
