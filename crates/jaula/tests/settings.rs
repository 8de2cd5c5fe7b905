//! Settings and filters of images from end to end, as root and as an ordinary user.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod mirror;
mod who;

use jaula_testkit::skip;
use mirror::{Web, assert_gone};
use std::collections::BTreeSet;
use std::path::Path;
use who::{User, everyone};

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
fn a_jail_made_with_a_locale_speaks_it() {
    everyone(|user| {
        let web = match Web::start(&PACKAGES) {
            Ok(web) => web,
            Err(reason) => skip!("{reason}"),
        };
        let words = ["--locale", "es_ES.UTF-8", "--tag", "s31"];
        web.run(user, &small(&words)).expect(0);
        let ls = |options: &[&str]| {
            let words = [&["run", "s31"], options, &["--", "ls", "/nada"]].concat();
            user.place.run(&words).expect(2).stderr
        };
        assert_eq!(
            ls(&[]).trim_end(),
            "ls: no se puede acceder a '/nada': No existe el fichero o el directorio"
        );
        for options in [&["--env", "LANG=C"][..], &["--clean-env"]] {
            assert!(ls(options).contains("No such file"), "{options:?}");
        }
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
