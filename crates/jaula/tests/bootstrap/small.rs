//! debootstrap's options, each with a system that is made in a blink.

use super::{compat, installed, names_in, tls};
use crate::who::{User, Who, everyone};
use jaula_testkit::{Ran, Repo, RepoBuilder, TestKey, skip, small};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// The small system in a user's place, under the name of bookworm.
struct Small {
    repo: Repo,
    url: String,
    keyring: String,
    key: TestKey,
}

impl Small {
    fn of(user: &User, repo: RepoBuilder) -> Self {
        let key = TestKey::sound("small").expect("a key");
        let repo = repo.write(&user.place.work(), &key).expect("a repository");
        Self {
            url: repo.url(),
            keyring: repo.keyring.display().to_string(),
            repo,
            key,
        }
    }

    /// `debootstrap --keyring … OPTIONS bookworm TARGET URL`
    #[track_caller]
    fn make(&self, user: &User, options: &[&str], target: &str) -> Ran {
        let first = ["debootstrap", "--keyring", &self.keyring];
        let words = [&first[..], options, &["bookworm", target, &self.url]].concat();
        compat(user, &words)
    }
}

fn names(user: &User, target: &str) -> Vec<String> {
    let all = installed(&user.place.work().join(target));
    assert!(
        all.iter().all(|(_, state)| state == "install ok installed"),
        "{all:?}"
    );
    let mut names: Vec<String> = all.into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

fn file(user: &User, path: &str) -> String {
    let path = user.place.work().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The system, or the reason to skip.
fn system() -> Result<RepoBuilder, String> {
    small::system("bookworm").map_err(|error| format!("{error:#}"))
}

#[test]
fn debootstraps_words_choose_packages() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let extra = RepoBuilder::new("bookworm-extra")
            .package(small::package("novel", "1.0", &[]).expect("a package"))
            .package(small::package("tool", "2.0", &[]).expect("a package"));
        extra
            .write(&user.place.work(), &small.key)
            .expect("a suite");
        let more = [
            "--extra-suites=bookworm-extra",
            "--include=novel,tool",
            "--log-extra-deps",
        ];
        let ran = small.make(user, &more, "extra").expect(0);
        assert!(
            ran.stdout
                .contains("I: Found additional base dependencies: libcron\n"),
            "{}",
            ran.stdout
        );
        let there = names(user, "extra");
        let wanted = "apt base-files busybox cron dash dpkg libcron login novel tool usr-is-merged";
        assert_eq!(there.join(" "), wanted);
        assert_eq!(file(user, "extra/usr/share/tool/version"), "2.0");
        let url = &small.url;
        assert_eq!(
            file(user, "extra/etc/apt/sources.list"),
            format!("deb {url} bookworm main\ndeb {url} bookworm-extra main\n")
        );
        let ran = small
            .make(user, &["--extra-suites=none-such"], "none")
            .expect(1);
        assert!(ran.stdout.contains("E: "), "{}", ran.stdout);

        // What is left out comes back where something else needs it.
        let out = ["--include=cron", "--exclude=login,libcron,apt"];
        small.make(user, &out, "out").expect(0);
        let there = names(user, "out");
        assert_eq!(
            there.join(" "),
            "base-files busybox cron dash dpkg libcron usr-is-merged"
        );

        // What is named, and nothing that it needs: dpkg says whether that is enough.
        let alone = "--no-resolve-deps";
        let ran = small.make(user, &["--print-debs", alone], "list").expect(0);
        let list: Vec<&str> = ran.stdout.split_whitespace().collect();
        assert!(
            list.contains(&"cron") && !list.contains(&"libcron"),
            "{list:?}"
        );
        let ran = small.make(user, &[alone], "alone").expect(1);
        for says in [
            "W: Failure while configuring required packages.\n",
            "(possibly the package cron is at fault)",
        ] {
            assert!(ran.stdout.contains(says), "{}", ran.stdout);
        }
        assert!(names_in(&user.place.work().join("alone")).is_empty());
        small
            .make(user, &[alone, "--exclude=cron"], "alone")
            .expect(0);
        let there = names(user, "alone");
        assert_eq!(
            there.join(" "),
            "apt base-files busybox dash dpkg login usr-is-merged"
        );
    });
}

#[test]
fn debootstraps_variants_have_usr_as_they_should() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let flag = "etc/unsupported-skip-usrmerge-conversion";
        let cases: [(&[&str], &str, bool); 4] = [
            (&["--variant=minbase"], "usr-is-merged", true),
            (&["--variant=minbase", "--no-merged-usr"], "", false),
            (&["--variant=buildd"], "build-essential", false),
            (
                &["--variant=buildd", "--merged-usr"],
                "build-essential usr-is-merged",
                true,
            ),
        ];
        for (number, (options, more, merged)) in cases.into_iter().enumerate() {
            let target = format!("usr{number}");
            small.make(user, options, &target).expect(0);
            let mut wanted: Vec<&str> = "apt base-files busybox dash dpkg login"
                .split(' ')
                .collect();
            wanted.extend(more.split_whitespace());
            wanted.sort_unstable();
            assert_eq!(names(user, &target), wanted, "{options:?}");
            let root = user.place.work().join(&target);
            for dir in ["bin", "sbin", "lib", "lib64"] {
                let link = fs::read_link(root.join(dir)).ok();
                let to = merged.then(|| PathBuf::from("usr").join(dir));
                assert_eq!(link, to, "{options:?} {dir}");
            }
            assert_eq!(root.join(flag).is_file(), !merged, "{options:?}");
        }
    });
}

#[test]
fn an_archive_that_nobody_signed_is_used_when_that_is_said() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        for name in ["InRelease", "Release.gpg"] {
            fs::remove_file(small.repo.dists(name)).expect("a signature");
        }
        let ran = small.make(user, &["--variant=minbase"], "d").expect(1);
        let says = "E: Failed getting release signature file ";
        assert!(ran.stdout.contains(says), "{}", ran.stdout);
        let ran = small
            .make(user, &["--variant=minbase", "--no-check-gpg"], "d")
            .expect(0);
        assert!(
            ran.stdout.contains("W: Signatures are not checked"),
            "{}",
            ran.stdout
        );
        assert!(!ran.stdout.contains("Release signature"), "{}", ran.stdout);
        assert_eq!(names(user, "d").len(), 7);

        let ran = compat(
            user,
            &[
                "cdebootstrap",
                "-k",
                &small.keyring,
                "bookworm",
                "c",
                &small.url,
            ],
        );
        let ran = ran.expect(1);
        assert!(ran.stderr.contains("E: "), "{}", ran.stderr);
        let words = [
            "cdebootstrap",
            "--allow-unauthenticated",
            "-k",
            "none-such.gpg",
        ];
        let words = [&words[..], &["-f", "minimal", "bookworm", "c", &small.url]].concat();
        compat(user, &words).expect(0);
        assert!(names(user, "c").contains(&"apt".to_owned()));
    });
}

#[test]
fn the_work_directory_stays_when_asked() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let keep = "--keep-debootstrap-dir";
        let notes = "arch base debootstrap debootstrap.log debpaths deburis mirror required suite";
        small.make(user, &[keep], "kept").expect(0);
        let there = names_in(&user.place.work().join("kept/debootstrap"));
        assert_eq!(there.join(" "), notes);
        assert_eq!(file(user, "kept/debootstrap/suite"), "bookworm\n");
        let log = file(user, "kept/var/log/bootstrap.log");
        assert!(log.contains("Setting up login (1.0)"), "{log}");
        assert_eq!(file(user, "kept/debootstrap/debootstrap.log"), log);
        // What is only listed is noted.
        let ran = small.make(user, &["--print-debs", keep], "list").expect(0);
        assert!(!ran.stderr.contains("Deleting"), "{}", ran.stderr);
        let list = user.place.work().join("list");
        assert_eq!(names_in(&list.join("debootstrap")).join(" "), notes);
        assert!(!list.join("usr").exists());
        let tarball = user.place.work().join("debs.tgz").display().to_string();
        small
            .make(user, &["--make-tarball", &tarball, keep], "made")
            .expect(0);
        let debs = names_in(&user.place.work().join("made/var/cache/apt/archives"));
        assert!(debs.contains(&"login_1.0_amd64.deb".to_owned()), "{debs:?}");
    });
}

#[test]
fn a_target_on_which_nothing_runs_is_refused() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        if user.who != Who::Root {
            return;
        }
        let small = Small::of(user, system.clone());
        fs::create_dir(user.place.work().join("t")).expect("a directory");
        for option in ["noexec", "nodev"] {
            let program = env!("CARGO_BIN_EXE_jaula");
            let script = format!(
                "mount -t tmpfs -o {option} t t && {program} compat debootstrap --keyring {} bookworm t {}; \
                 code=$?; ls -A t; exit $code",
                small.keyring, small.url
            );
            let words = ["--mount", "--propagation=private", "sh", "-c", &script];
            let output = user.other("unshare", &words).output().expect("a shell");
            let said = String::from_utf8_lossy(&output.stdout);
            let target = user.place.work().join("t");
            let line = format!(
                "E: Cannot install into target '{}' mounted with noexec or nodev\n",
                target.display()
            );
            assert!(
                output.status.code() == Some(1) && said.ends_with(&line),
                "{option}\n{said}"
            );
        }
    });
}

#[test]
fn nothing_is_started_while_packages_are_configured() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        // A package that starts its daemon without asking whether it may, and one that asks.
        let real = "#!/bin/sh\necho real >/started\n";
        let starter = small::deb("starter").field("Essential", "yes").file(
            "sbin/start-stop-daemon",
            real,
            0o755,
        );
        let postinst = "#!/bin/sh\n/sbin/start-stop-daemon --start --exec /bin/daemon >/said\n\
                        policy-rc.d daemon start\necho $? >/policy\n";
        let daemon = small::deb("daemon").script("postinst", postinst);
        let system = system
            .clone()
            .package(starter.build().expect("a package"))
            .package(daemon.build().expect("a package"));
        let small = Small::of(user, system);
        small
            .make(user, &["--variant=minbase", "--include=daemon"], "d")
            .expect(0);
        let root = user.place.work().join("d");
        assert!(!root.join("started").exists());
        assert!(file(user, "d/said").contains("Fake start-stop-daemon called"));
        assert_eq!(file(user, "d/policy"), "101\n");
        // And what stood in their place is gone.
        assert_eq!(file(user, "d/usr/sbin/start-stop-daemon"), real);
        assert_eq!(names_in(&root.join("usr/sbin")), ["start-stop-daemon"]);
    });
}

#[test]
fn debootstrap_shows_servers_its_certificate() {
    let system = match system() {
        Ok(system) => system.without_by_hash(),
        Err(reason) => skip!("{reason}"),
    };
    let keys = tempfile::tempdir().expect("a directory");
    fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    if let Err(why) = tls::certificates(keys.path()) {
        skip!("{why}");
    }
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let server = match tls::serve(&small.repo.dir, keys.path()) {
            Ok(server) => server,
            Err(why) => skip!("{why}"),
        };
        let at = |name: &str| keys.path().join(name).display().to_string();
        let make = |options: &[&str]| {
            let first = [
                "compat",
                "debootstrap",
                "--variant=minbase",
                "--keyring",
                &small.keyring,
            ];
            let words = [&first[..], options, &["bookworm", "t", &server.url]].concat();
            let mut command = user.place.command(&words);
            command.env("SSL_CERT_FILE", keys.path().join("ca.pem"));
            let output = command.output().expect("jaula");
            (
                output.status.code(),
                String::from_utf8_lossy(&output.stdout).into_owned(),
            )
        };
        let (code, said) = make(&[]);
        assert!(code == Some(1) && said.contains("E: "), "{said}");
        let (certificate, key) = (at("client.pem"), at("client.key"));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("ours");
        let (code, said) = make(&["--certificate", &certificate, "--private-key", &key]);
        assert_eq!(code, Some(0), "{said}");
        // As the tool has it: apt could not read such an archive without.
        assert!(names(user, "t").contains(&"ca-certificates".to_owned()));
        assert_eq!(
            file(user, "t/etc/apt/sources.list"),
            format!("deb {} bookworm main\n", server.url)
        );
    });
}

/// `cdebootstrap -k … OPTIONS bookworm TARGET URL`
#[track_caller]
fn cdebootstrap(small: &Small, user: &User, options: &[&str], target: &str) -> Ran {
    let first = ["cdebootstrap", "-k", &small.keyring];
    compat(
        user,
        &[&first[..], options, &["bookworm", target, &small.url]].concat(),
    )
}

#[test]
fn cdebootstraps_words_are_obeyed() {
    let system = match system() {
        Ok(system) => system,
        Err(reason) => skip!("{reason}"),
    };
    let foreign = small::deb("base-files")
        .arch("ia64")
        .field("Essential", "yes")
        .field("Priority", "required");
    let mut system = system
        .also_arch("ia64")
        .package(foreign.build().expect("a package"));
    for name in ["apt", "usr-is-merged"] {
        system = system.package(small::deb(name).arch("ia64").build().expect("a package"));
    }
    everyone(|user| {
        let small = Small::of(user, system.clone());
        let work = user.place.work();
        let make = |options: &[&str], target: &str| cdebootstrap(&small, user, options, target);
        let more = ["--include=tool,novel-less", "--exclude=login"];
        make(&more, "none").expect(1);
        let ran = make(
            &["--include=tool", "--exclude=login,libcron", "-a", "amd64"],
            "plain",
        )
        .expect(0);
        assert_eq!(
            names(user, "plain").join(" "),
            "apt base-files busybox cron dash dpkg libcron tool"
        );
        assert!(
            !ran.stdout.contains("D: ") && !ran.stdout.contains("Setting up"),
            "{}",
            ran.stdout
        );

        // How much is said.
        let minimal = ["-f", "minimal"];
        let ran = make(&[&minimal[..], &["-q"]].concat(), "quiet").expect(0);
        assert_eq!(ran.stdout, "");
        assert!(file(user, "quiet/var/log/bootstrap.log").contains("P: Retrieving InRelease\n"));
        let ran = make(&[&minimal[..], &["-v", "--include=tool"]].concat(), "loud").expect(0);
        assert!(
            ran.stdout.contains("\nSetting up tool (1.0) ...\n"),
            "{}",
            ran.stdout
        );
        assert!(!ran.stdout.contains("D: "), "{}", ran.stdout);
        let ran = make(&[&minimal[..], &["--debug"]].concat(), "debug").expect(0);
        for line in [
            format!("D: Using mirror {}", small.url),
            format!("D: Using keyring {}", small.keyring),
            "D: Using dash 1.0: essential".to_owned(),
        ] {
            assert!(
                ran.stdout.lines().any(|said| said == line),
                "{line}\n{}",
                ran.stdout
            );
        }

        // Only fetched, also for what cannot run here.
        for (options, arch) in [(&["-d"][..], "amd64"), (&["-d", "-a", "ia64"], "ia64")] {
            let target = format!("debs-{arch}");
            let ran = make(&[&minimal[..], options].concat(), &target).expect(0);
            let last = ran.stdout.lines().last();
            assert_eq!(last, Some("I: Download-only mode, not installing anything"));
            let debs = names_in(&work.join(&target).join("var/cache/bootstrap"));
            assert!(
                debs.contains(&format!("base-files_1.0_{arch}.deb")),
                "{debs:?}"
            );
            assert!(!work.join(&target).join("usr").exists());
        }
        let first = [
            "debootstrap",
            "--print-debs",
            "--arch=ia64",
            "--keyring",
            &small.keyring,
        ];
        let words = [&first[..], &["--variant=minbase", "--exclude=apt"]].concat();
        let words = [&words[..], &["bookworm", "list", &small.url]].concat();
        let listed = compat(user, &words).expect(0).stdout;
        let listed: Vec<&str> = listed.split_whitespace().collect();
        assert_eq!(listed, ["base-files", "usr-is-merged"]);
        for options in [&["-a", "ia64"][..], &["-a", "ia64", "--foreign"]] {
            // No machine runs these.
            let ran = make(&[&minimal[..], options].concat(), "foreign").expect(1);
            assert!(
                ran.stderr.starts_with("E: ") && ran.stderr.contains("ia64"),
                "{}",
                ran.stderr
            );
            assert!(names_in(&work.join("foreign")).is_empty());
        }
        make(&[&minimal[..], &["--foreign"]].concat(), "same").expect(0);
    });
}
