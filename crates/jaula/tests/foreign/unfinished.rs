//! `build --foreign` and `finish`: unpacked here, configured where the programs run.

use super::{Archive, narrow, words};
use crate::who::everyone;
use jaula_testkit::{DebBuilder, skip};
use std::path::Path;

const BUILD: [&str; 8] = [
    "build",
    "debian:bookworm",
    "--arch",
    "i386",
    "--variant",
    "essential",
    "--include",
    "diverter,probe",
];

/// The states of dpkg's database, each once.
fn states(tree: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(tree.join("var/lib/dpkg/status")).expect("a status file");
    let mut states: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("Status: "))
        .map(str::to_owned)
        .collect();
    states.sort();
    states.dedup();
    states
}

#[test]
fn what_was_unpacked_only_is_finished_to_the_same_image() {
    let archive = match narrow() {
        Ok(archive) => archive,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let place = &user.place;
        let build = [&BUILD[..], &["--foreign", "--tag", "part", "-o", "tree"]].concat();
        place.run(&words(&build, &archive)).expect(0);
        let tree = place.work().join("tree");
        assert_eq!(states(&tree), ["install ok unpacked"]);
        assert!(!tree.join("etc/passwd").exists() && !tree.join("etc/built-on").exists());
        assert!(tree.join("var/lib/dpkg/info/probe.postinst").is_file());
        assert!(tree.join("usr/share/mine").is_file());

        // Nothing runs in it, wherever it is; the error says what does.
        for what in [&["run", "part"][..], &["run", "./tree"]] {
            let ran = place.run(&[what, &["--", "true"]].concat()).expect(125);
            assert!(ran.stderr.contains("only unpacked"), "{}", ran.stderr);
            assert!(ran.stderr.contains("hint: jaula finish "), "{}", ran.stderr);
        }
        place.run(&["new", "later", "--from", "part"]).expect(0);
        let ran = place.run(&["exec", "later", "--", "true"]).expect(125);
        assert!(ran.stderr.contains("only unpacked"), "{}", ran.stderr);

        // A jail on it: an image that is the one of a build at once.
        let plan = place.run(&["finish", "--plan", "later"]).expect(0).stdout;
        assert!(
            plan.contains("preinst scripts and dpkg --configure"),
            "{plan}"
        );
        place.run(&["finish", "later", "--tag", "whole"]).expect(0);
        let ran = place.run(&[
            "exec",
            "later",
            "--",
            "sh",
            "-c",
            "cat /etc/built-on /usr/share/mine; dpkg --audit",
        ]);
        assert_eq!(ran.expect(0).stdout, "i686\nmine\n");
        place
            .run(&["build", "whole", "-o", "finished.tar"])
            .expect(0);
        let other = ["--store", "other", "-o", "direct.tar"];
        place
            .run(&words(&[&BUILD[..], &other].concat(), &archive))
            .expect(0);
        let read = |name: &str| std::fs::read(place.work().join(name)).expect("an archive");
        assert!(
            read("finished.tar") == read("direct.tar"),
            "the archives differ"
        );

        // The directory, in place, and only once.
        place.run(&["finish", "./tree"]).expect(0);
        assert_eq!(states(&tree), ["install ok installed"]);
        assert!(!tree.join("var/lib/jaula").exists());
        let ran = place.run(&[
            "run",
            "./tree",
            "--",
            "cat",
            "/etc/built-on",
            "/usr/share/mine",
        ]);
        assert_eq!(ran.expect(0).stdout, "i686\nmine\n");
        for what in ["./tree", "whole"] {
            let ran = place.run(&["finish", what]).expect(125);
            assert!(
                ran.stderr.contains("nothing of it is left"),
                "{}",
                ran.stderr
            );
        }
    });
}

#[test]
fn an_architecture_that_does_not_run_here_is_only_unpacked() {
    // No machine starts ia64 programs: QEMU does not know it either.
    let made = vec![
        DebBuilder::new("thing", "1.0")
            .arch("ia64")
            .file("usr/bin/thing", "\u{7f}ELF", 0o755)
            .script("preinst", "#!/bin/sh\nexit 0\n"),
    ];
    let archive = Archive::new("bookworm", "ia64", &[], made);
    let build = [
        "build",
        "debian:bookworm",
        "--arch",
        "ia64",
        "--variant",
        "custom",
        "--include",
        "thing",
    ];
    everyone(|user| {
        let ran = user.place.run(&words(&build, &archive)).expect(125);
        assert!(
            ran.stderr.contains("does not run ia64 programs"),
            "{}",
            ran.stderr
        );
        for way in ["qemu-user-static", "--foreign", "jaula finish"] {
            assert!(ran.stderr.contains(way), "{}", ran.stderr);
        }
        let foreign = [&build[..], &["--foreign", "-o", "tree", "--tag", "part"]].concat();
        user.place.run(&words(&foreign, &archive)).expect(0);
        assert_eq!(
            states(&user.place.work().join("tree")),
            ["install ok unpacked"]
        );
        let note = user.place.work().join("tree/var/lib/jaula/unfinished");
        let note_text = std::fs::read_to_string(&note).expect("a note");
        assert!(
            note_text.ends_with("\npreinst thing ia64 thing\n"),
            "{note_text}"
        );
        for what in ["./tree", "part"] {
            let ran = user.place.run(&["finish", what]).expect(125);
            assert!(
                ran.stderr.contains("does not run ia64 programs"),
                "{}",
                ran.stderr
            );
        }
        // A tree says what it likes of itself.
        if user.who != crate::who::Who::Ana {
            std::fs::write(
                &note,
                "jaula unfinished 1\narch amd64\nepoch 0\npreinst a amd64 ../../../../../bin/sh\n",
            )
            .expect("a note");
            let ran = user.place.run(&["finish", "./tree"]).expect(125);
            assert!(ran.stderr.contains("makes no sense"), "{}", ran.stderr);
        }
    });
}
