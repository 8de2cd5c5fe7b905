//! Settings, hooks and filters of images from end to end, as root and as an ordinary user: an image that is set up
//! with nobody asked anything, a jail that speaks Spanish, hooks that work and that fail, files left out.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod mirror;
mod who;

use jaula_testkit::{DebBuilder, RepoBuilder, Server, TestKey, partial_mirror, skip};
use mirror::{Web, assert_gone, essential};
use std::collections::BTreeSet;
use std::path::Path;
use who::{User, Who, everyone};

/// `openssl passwd -6 -salt salt secreto`
const HASH: &str = "$6$salt$vbvmBnV9bnb8HZjWUYdQFkcM7TxUbSuWbmnZ6A2LBmwAGE3QMYX3bdGSXoSWRLOWnIPh6ZKDKJpnA0OTdQX9W0";
const PACKAGES: [&str; 5] = [
    "locales",
    "tzdata",
    "keyboard-configuration",
    "passwd",
    "debconf",
];

fn small<'w>(words: &[&'w str]) -> Vec<&'w str> {
    [
        &["build", "debian:bookworm", "--variant", "essential"],
        words,
    ]
    .concat()
}

/// What of a store tells of images that are there or come to be.
fn entries(user: &User) -> BTreeSet<String> {
    let store = user.place.path().join("store");
    ["images", "stages", "journal"]
        .iter()
        .flat_map(|dir| {
            std::fs::read_dir(store.join(dir))
                .into_iter()
                .flatten()
                .flatten()
        })
        .map(|entry| entry.path().display().to_string())
        .collect()
}

#[test]
fn an_image_is_set_up_unattended_and_speaks_spanish() {
    let mut whole: Option<Vec<u8>> = None;
    everyone(|user| {
        let web = match Web::start(&PACKAGES) {
            Ok(web) => web,
            Err(reason) => skip!("{reason}"),
        };
        let answers = user.place.path().join("home/answers");
        std::fs::write(
            &answers,
            "# nobody is asked\ntzdata tzdata/Areas select Europe\ntzdata tzdata/Zones/Europe select Madrid\n\
             passwd passwd/user-fullname string Ana\n",
        )
        .expect("a file");
        let answers = answers.display().to_string();
        // The mirror of each user has another port, which is no part of what is compared.
        let list = user.place.path().join("home/list");
        std::fs::write(&list, "deb http://deb.debian.org/debian bookworm main\n").expect("a file");
        let list = list.display().to_string();
        let ana = format!("ana:password={HASH},groups=sudo+audio,comment=Ana Bel,shell=/bin/bash");
        let options = [
            "--include",
            "keyboard-configuration",
            "--locale",
            "es_ES.UTF-8",
            "--timezone",
            "Europe/Madrid",
            "--keyboard",
            "es:nodeadkeys",
            "--preseed",
            &answers,
            "--set-hostname",
            "jaula28",
            "--add-user",
            &ana,
            "--add-user",
            "bea",
            "--root-password-hash",
            HASH,
            "--apt-option",
            "APT::Install-Recommends \"false\"",
            "--dpkg-option",
            "force-unsafe-io",
            "--no-services",
            "--sources-list",
            &list,
            "--tag",
            "s28",
            "--json",
        ];
        let made = web.run(user, &small(&options)).expect(0);
        // Standard input is closed: nobody could have answered. Every phase is told as it comes.
        for phase in ["indices", "solve", "fetch", "unpack", "configure", "finish"] {
            assert!(
                made.stderr.contains(&format!("\"phase\":\"{phase}\"")),
                "{phase}: {}",
                made.stderr
            );
        }
        let before = entries(user);
        let again = web.run(user, &small(&options)).expect(0);
        assert_eq!(again.stdout, made.stdout);
        assert_eq!(entries(user), before);
        for phase in ["fetch", "unpack", "configure"] {
            assert!(
                !again.stderr.contains(&format!("\"phase\":\"{phase}\"")),
                "{}",
                again.stderr
            );
        }

        let run = |script: &str| user.place.run(&["run", "s28", "--", "bash", "-c", script]);
        let ls = run("ls /nada").expect(2);
        assert_eq!(
            ls.stderr.trim_end(),
            "ls: no se puede acceder a '/nada': No existe el fichero o el directorio"
        );
        let said = user
            .place
            .run(&["run", "s28", "--env", "LANG=C", "--", "ls", "/nada"])
            .expect(2);
        assert!(said.stderr.contains("No such file"), "{}", said.stderr);
        let said = user
            .place
            .run(&["run", "s28", "--clean-env", "--", "ls", "/nada"])
            .expect(2);
        assert!(said.stderr.contains("No such file"), "{}", said.stderr);

        let ran = run(
            "cat /etc/hostname /etc/timezone /etc/default/locale; readlink /etc/localtime; locale -a; \
             grep jaula28 /etc/hosts; date -d @0 +%H; . /etc/default/keyboard; echo $XKBLAYOUT/$XKBVARIANT; \
             cat /usr/sbin/policy-rc.d /etc/apt/apt.conf.d/99jaula /etc/dpkg/dpkg.cfg.d/99jaula",
        )
        .expect(0);
        assert_eq!(
            ran.stdout,
            "jaula28\nEurope/Madrid\nLANG=es_ES.UTF-8\n/usr/share/zoneinfo/Europe/Madrid\nC\nC.utf8\nes_ES.utf8\nPOSIX\n\
             127.0.1.1\tjaula28\n01\nes/nodeadkeys\n#!/bin/sh\nexit 101\nAPT::Install-Recommends \"false\";\nforce-unsafe-io\n"
        );
        let ran = run(
            "for question in tzdata/Zones/Europe passwd/user-fullname keyboard-configuration/layoutcode; do \
             echo \"get $question\"; done | debconf-communicate 2>/dev/null",
        )
        .expect(0);
        assert_eq!(ran.stdout, "0 Madrid\n0 Ana\n0 es\n");

        // Accounts are what the real useradd makes of them.
        let ran = run(
            "export SOURCE_DATE_EPOCH=$(stat -c %Y /etc/shadow); id ana; \
             show() { grep -h \"^$1:\" /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/subuid /etc/subgid | \
             sed \"s/$1/NAME/g; s/100[0-9]:100[0-9]/U:G/; s/x:100[0-9]:/x:G:/; s/NAME:[0-9]*:65536/NAME:S:65536/\"; \
             stat -c '%a %F' /home/$1; ls -A /home/$1; }; \
             show bea >/tmp/ours; useradd -m clara; show clara >/tmp/theirs; diff /tmp/ours /tmp/theirs && \
             stat -c %U:%G /home/ana /home/ana/.profile && grep ^sudo: /etc/group /etc/gshadow; grep '^root:' /etc/shadow | cut -d: -f2",
        );
        assert!(
            ran.stdout.starts_with("uid=1000(ana) gid=1000(ana) "),
            "{} {}",
            ran.stdout,
            ran.stderr
        );
        assert!(ran.stdout.contains("27(sudo),29(audio)"), "{}", ran.stdout);
        assert!(
            ran.stdout.ends_with(&format!(
                "ana:ana\nana:ana\n/etc/group:sudo:x:27:ana\n/etc/gshadow:sudo:*::ana\n{HASH}\n"
            )),
            "{} {}",
            ran.stdout,
            ran.stderr
        );

        // The same bytes, whoever makes it.
        let tar = user.place.path().join("home/s28.tar");
        let words = ["build", "s28", "-o", &tar.display().to_string()].map(str::to_owned);
        user.place.run(&words).expect(0);
        let bytes = std::fs::read(&tar).expect("an archive");
        if let Some(other) = &whole {
            assert!(
                *other == bytes,
                "the bytes of root's and of the user's image differ"
            );
        }
        whole = Some(bytes);
        assert_gone(user.place.path());
    });
}

/// A script beside the user's home.
fn script(user: &User, name: &str, text: &str) -> String {
    let path = user.place.path().join("home").join(name);
    std::fs::write(&path, text).expect("a script");
    path.display().to_string()
}

#[test]
fn hooks_run_in_a_jail_at_their_stages_and_one_that_fails_leaves_nothing() {
    everyone(|user| {
        let web = match Web::start(&["tzdata"]) {
            Ok(web) => web,
            Err(reason) => skip!("{reason}"),
        };
        let state = "grep -c '^Status: install ok installed' /var/lib/dpkg/status";
        let extract = script(
            user,
            "extract",
            &format!("test ! -e /proc/sys/net/ipv4/conf/eth0\n{state} >/etc/extract\nexit 0\n"),
        );
        let essential = script(
            user,
            "essential",
            "#!/bin/bash\n[[ $BASH_VERSION ]] && dpkg -s bash | grep -q '^Status: install ok installed' &&\n\
             test ! -e /usr/share/zoneinfo/Europe && echo \"$0 $LC_ALL $#\" >/etc/essential\n",
        );
        let last = script(
            user,
            "last",
            "#!/usr/bin/perl\nopen(my $f, '>', '/etc/last'); print $f -e '/usr/share/zoneinfo/Europe' ? 'all' : 'no';\n",
        );
        let copied = user.place.path().join("home/copied");
        std::fs::create_dir_all(copied.join("below")).expect("a directory");
        std::fs::write(copied.join("below/file"), "copied").expect("a file");
        let hooks = [
            format!("extract:{extract}"),
            format!("essential:{essential}"),
            format!("customize:{last}"),
        ];
        let copy = format!("{}/.:/srv", copied.display());
        let mut words = vec!["--include", "tzdata", "--tag", "hooked", "--copy-in", &copy];
        for hook in &hooks {
            words.extend(["--hook", hook]);
        }
        let built = web.run(user, &small(&words)).expect(0);
        let ran = user
            .place
            .run(&[
                "run",
                "hooked",
                "--",
                "sh",
                "-c",
                "cd /etc; cat extract essential last /srv/below/file; ls /run /tmp",
            ])
            .expect(0);
        assert_eq!(
            ran.stdout,
            "0\n/run/jaula-hook/hook C 0\nallcopied/run:\nlock\n\n/tmp:\n"
        );
        // The same again is the same; another content of a file is another image.
        assert_eq!(web.run(user, &small(&words)).expect(0).stdout, built.stdout);
        std::fs::write(copied.join("below/file"), "changed").expect("a file");
        assert_ne!(web.run(user, &small(&words)).expect(0).stdout, built.stdout);

        let bad = script(user, "bad", "echo one; echo two >&2; exit 7\n");
        let bad = format!("customize:{bad}");
        let before = entries(user);
        let ran = web.run(user, &small(&["--hook", &bad])).expect(125);
        assert!(
            ran.stderr
                .contains("customize hook bad failed with status 7")
                && ran.stderr.contains("one")
                && ran.stderr.contains("two"),
            "{}",
            ran.stderr
        );
        assert_eq!(entries(user), before);
        let early = format!("setup:{extract}");
        let ran = web.run(user, &small(&["--hook", &early])).expect(125);
        assert!(
            ran.stderr.contains("no program is in the tree"),
            "{}",
            ran.stderr
        );
        // A hook has no network unless it is said.
        let net = script(user, "net", "test $(grep -c : /proc/net/dev) = 1\n");
        web.run(user, &small(&["--hook", &format!("customize:{net}")]))
            .expect(0);
        assert_gone(user.place.path());
    });
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_fetched() {
    everyone(|user| {
        let web = match Web::start(&[]) {
            Ok(web) => web,
            Err(reason) => skip!("{reason}"),
        };
        let answers = script(user, "answers", "good good/one string x\nbad line\n");
        for (words, said) in [
            (&["--preseed", &answers][..], "line 2, column 5"),
            (&["--root-password-hash", "secreto"], "no hash of crypt(5)"),
            (
                &["--add-user", "ana:password=secreto"],
                "no hash of crypt(5)",
            ),
            (&["--add-user", "ana:shell=bash"], "no absolute path"),
            (&["--timezone", "../../etc/passwd"], "no name of a zone"),
            (&["--locale", "español"], "no name of a locale"),
            (&["--keyboard", "es\"x"], "keyboard(5)"),
            (&["--path-exclude", "usr/share"], "must begin with a slash"),
            (&["--apt-option", "APT { x"], "a brace is not closed"),
            (&["--dpkg-option", "root=/"], "not for an image"),
            (&["--hook", "customize:/nowhere"], "/nowhere"),
            (&["--copy-in", "/nowhere:/srv"], "/nowhere"),
            (&["--merged-usr", "no"], "usr-is-merged"),
        ] {
            let ran = web.run(user, &small(words));
            assert!(
                ran.code != 0 && ran.stderr.contains(said),
                "{words:?} {}",
                ran.stderr
            );
            assert!(!ran.stderr.contains("secreto"), "{}", ran.stderr);
        }
        assert_eq!(web.packages(), BTreeSet::new());
        assert_eq!(entries(user), BTreeSet::new());
        // These need the tree.
        for (words, said) in [
            (
                &["--add-user", "ana:groups=nowhere"][..],
                "there is no group nowhere",
            ),
            (
                &["--timezone", "Europe/Nowhere"],
                "no time zone Europe/Nowhere",
            ),
        ] {
            let ran = web.run(user, &small(words)).expect(125);
            assert!(ran.stderr.contains(said), "{words:?} {}", ran.stderr);
            assert_eq!(entries(user), BTreeSet::new());
        }
        assert_gone(user.place.path());
    });
}

fn files(dir: &Path) -> BTreeSet<String> {
    mirror::tree(dir)
        .into_iter()
        .map(|(path, ..)| {
            path.strip_prefix(dir)
                .unwrap_or(&path)
                .display()
                .to_string()
        })
        .collect()
}

#[test]
fn documentation_and_other_languages_are_left_out_and_stay_out() {
    everyone(|user| {
        let web = match Web::start(&[]) {
            Ok(web) => web,
            Err(reason) => skip!("{reason}"),
        };
        let tree = user.place.path().join("home/tree");
        let out = tree.display().to_string();
        let words = ["--no-docs", "--keep-locales", "es", "-o", &out];
        web.run(user, &small(&words)).expect(0);
        let found = files(&tree);
        let has = |start: &str| found.iter().any(|path| path.starts_with(start));
        assert!(has("usr/share/doc/bash/copyright") && has("usr/share/locale/es/LC_MESSAGES/"));
        assert!(!has("usr/share/man/man1/") && !has("usr/share/locale/de/"));
        let docs = found
            .iter()
            .filter(|path| path.starts_with("usr/share/doc/") && path.contains("changelog"));
        assert_eq!(docs.collect::<Vec<_>>(), Vec::<&String>::new());
        let list =
            std::fs::read_to_string(tree.join("var/lib/dpkg/info/coreutils.list")).expect("a list");
        assert!(list.contains("/usr/share/man/man1/ls.1.gz\n"));
        let rules =
            std::fs::read_to_string(tree.join("etc/dpkg/dpkg.cfg.d/99jaula")).expect("rules");
        assert!(rules.contains("path-exclude=/usr/share/man/*\n"), "{rules}");
        assert_gone(user.place.path());
    });
}

const TEMPLATES: &str = "Template: asks/nobody\nType: string\nDescription: Who is it?\n Somebody.\n\n\
    Template: asks/welcome\nType: note\nDescription: Welcome\n It asks.\n";

#[test]
fn a_question_without_an_answer_and_bin_without_a_link() {
    let Ok(mirror) = partial_mirror(&["debconf"]) else {
        skip!("no mirror");
    };
    let key = TestKey::sound("archive").expect("a key");
    everyone(|user| {
        // A small archive with what both need: Debian's essential packages, and ours.
        let packages = essential(user, &mirror, &["usr-is-merged", "debconf"]);
        let asks = DebBuilder::new("asks", "1")
            .field("Depends", "debconf")
            .control_file("templates", TEMPLATES.as_bytes(), 0o644)
            .script(
                "config",
                "#!/bin/sh\nset -e\n. /usr/share/debconf/confmodule\ndb_input critical asks/nobody || true\ndb_go\n",
            )
            .script(
                "postinst",
                "#!/bin/sh\nset -e\n. /usr/share/debconf/confmodule\ndb_get asks/nobody\n\
                 [ \"$RET\" ] || { echo 'nobody said who it is' >&2; exit 3; }\necho \"$RET\" >/etc/asked\n",
            );
        let plain =
            |name: &str| DebBuilder::new(name, "1").file(&format!("usr/share/{name}"), name, 0o644);
        let mut repo = RepoBuilder::new("bookworm");
        for deb in [asks, plain("apt"), plain("build-essential")] {
            repo = repo.package(deb.build().expect("a package"));
        }
        let repo = packages.into_iter().fold(repo, RepoBuilder::package);
        let dir = tempfile::tempdir().expect("a directory");
        let repo = repo.write(dir.path(), &key).expect("a repository");
        let server = Server::start(&repo.dir).expect("a server");
        let keyring = user.place.work().join("archive.gpg");
        std::fs::copy(&repo.keyring, &keyring).expect("a keyring");
        let (url, keyring) = (server.url(), keyring.display().to_string());
        let build = |words: &[&str]| {
            let common = [
                "build",
                "debian:bookworm",
                "--exclude",
                "usrmerge",
                "--mirror",
                &url,
                "--keyring",
                &keyring,
            ];
            user.place.run(&[&common[..], words].concat())
        };

        // Nobody is asked, and nobody waits: the script that needs an answer fails, and what would help is said.
        let asked = ["--variant", "essential", "--include", "asks"];
        let ran = build(&asked).expect(125);
        for says in [
            "package asks could not be configured",
            "nobody said who it is",
            "it asks asks/nobody and nobody answers; --preseed FILE does",
        ] {
            assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("asks/welcome"), "{}", ran.stderr);
        assert_eq!(entries(user), BTreeSet::new());
        let answers = script(user, "answers", "asks asks/nobody string Ana\n");
        let answered = [&asked[..], &["--preseed", &answers, "--tag", "asked"]].concat();
        build(&answered).expect(0);
        let ran = user.place.run(&["run", "asked", "--", "cat", "/etc/asked"]);
        assert_eq!(ran.expect(0).stdout, "Ana\n");

        assert_gone(user.place.path());
        if user.who == Who::Ana {
            return;
        }

        // The machines that build Debian's packages may have /bin as a directory; it is made, and works.
        let split = [
            "--variant",
            "buildd",
            "--merged-usr",
            "no",
            "--tag",
            "split",
        ];
        build(&split).expect(0);
        let look = "for at in /bin /sbin /lib /lib64; do [ -d $at ] && [ ! -L $at ] || echo link $at; done; \
            ls -d /bin/sh /usr/bin/env /lib64/ld-linux-x86-64.so.2; [ -e /usr/bin/sh ] || echo not there; \
            dpkg --audit; dpkg -S /bin/ls; grep -c '^Status: install ok installed' /var/lib/dpkg/status";
        let ran = user
            .place
            .run(&["run", "split", "--", "sh", "-c", look])
            .expect(0);
        let mut lines = ran.stdout.lines();
        for says in [
            "/bin/sh",
            "/lib64/ld-linux-x86-64.so.2",
            "/usr/bin/env",
            "not there",
            "coreutils: /bin/ls",
        ] {
            assert_eq!(lines.next(), Some(says), "{}", ran.stdout);
        }
        let count = lines.next().and_then(|line| line.parse::<u32>().ok());
        assert!(count.is_some_and(|count| count > 50), "{}", ran.stdout);
        // Any other is refused by the release's own package, before anything is fetched.
        let ran = build(&["--variant", "essential", "--merged-usr", "no"]).expect(125);
        assert!(ran.stderr.contains("usr-is-merged"), "{}", ran.stderr);
        assert_gone(user.place.path());
    });
}
