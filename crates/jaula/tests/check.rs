//! A jail attacks itself: a default one holds, a weakened one says where it does not.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use serde_json::Value;
use who::{User, Who, everyone};

/// The probes of a check that are open, and how many held.
fn open(user: &User, words: &[&str], code: i32) -> (Vec<String>, usize) {
    let mut all = vec!["--json", "check", "--from-inside"];
    all.extend(words);
    let run = user.place.run(&all);
    let text = run.expect(code).stdout.clone();
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let findings = value["findings"].as_array().expect("findings").clone();
    let of = |verdict: &str| {
        findings
            .iter()
            .filter(|finding| finding["verdict"] == verdict)
            .map(|finding| finding["probe"].as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    (of("open"), of("held").len())
}

#[test]
fn a_default_jail_holds_against_itself() {
    everyone(|user| {
        let (found, held) = open(user, &[], 0);
        assert_eq!(found, Vec::<String>::new());
        assert!(held >= 40, "{held}");
    });
}

#[test]
fn a_weakened_jail_says_where_it_is_open() {
    everyone(|user| {
        let (found, _) = open(user, &["--net", "host"], 1);
        assert!(found.contains(&"namespace-net".to_owned()), "{found:?}");
        let work = user.place.work().display().to_string();
        let bind = format!("{work}:/mine");
        let (found, _) = open(user, &["--bind", &bind], 1);
        assert_eq!(found, ["host-files"]);
        let (found, _) = open(user, &["--no-new-privs=off"], 1);
        assert_eq!(found, ["no-new-privileges"]);
        let (found, _) = open(user, &["--cap-add", "SYS_PTRACE"], 1);
        assert_eq!(found, ["bounding-set"]);
        let (found, _) = open(user, &["--seccomp", "off"], 1);
        for probe in [
            "terminal-injection",
            "terminal-injection-high-bits",
            "calls-keys",
            "calls-io-uring",
            "calls-user-namespaces",
            "calls-32-bit-entry",
        ] {
            assert!(found.contains(&probe.to_owned()), "{probe} of {found:?}");
        }
        assert!(
            found
                .iter()
                .all(|probe| probe.starts_with("calls-") || probe.starts_with("terminal"))
        );
        let (found, _) = open(user, &["--ns", "-pid"], 1);
        assert!(found.contains(&"namespace-pid".to_owned()), "{found:?}");
        // Only root has the host's identifiers to give.
        if user.who == Who::Root {
            let (found, _) = open(user, &["--ids", "host"], 1);
            assert_eq!(found, ["root-outside", "namespace-user"]);
        }
    });
}

#[test]
fn a_named_jail_is_checked_where_it_runs() {
    everyone(|user| {
        let tree = user.place.path().join("home/tree");
        std::fs::create_dir_all(tree.join("usr/bin")).expect("a tree");
        let tree = tree.display().to_string();
        user.place.run(&["new", "box", "--from", &tree]).expect(0);
        let (found, held) = open(user, &["box"], 0);
        assert_eq!(found, Vec::<String>::new());
        assert!(held >= 40, "{held}");
    });
}

#[test]
fn what_is_no_jail_is_an_error_and_not_a_verdict() {
    everyone(|user| {
        let run = user
            .place
            .run(&["check", "--from-inside", "nowhere-at-all"]);
        run.expect(125);
        let run = user.place.run(&["check"]);
        run.expect(125);
    });
}
