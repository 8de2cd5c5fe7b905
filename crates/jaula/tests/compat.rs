//! The old tools' names: the links, the words, and what is never touched.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::{Hermetic, hermetic};
use std::fs;
use std::process::Command;

fn install(place: &Hermetic, words: &[&str]) -> jaula_testkit::Ran {
    let dir = place.work().join("bin");
    let dir = dir.to_str().expect("UTF-8");
    place.run(&[&["compat", "install", dir], words].concat())
}

#[test]
fn a_link_answers_as_its_tool() {
    let place = hermetic!();
    let bin = place.work().join("bin");
    fs::create_dir(&bin).expect("a directory");
    let planned = install(&place, &["lsns", "--plan"]).expect(0);
    assert!(
        planned.stdout.contains("1. make link"),
        "{}",
        planned.stdout
    );
    let explained = install(&place, &["lsns", "--explain"]).expect(0);
    assert!(
        explained.stdout.contains("ln --symbolic"),
        "{}",
        explained.stdout
    );
    assert!(!bin.join("lsns").exists());
    assert!(install(&place, &[]).expect(0).stdout.contains("made "));
    assert!(install(&place, &[]).expect(0).stdout.contains("already"));
    let output = Command::new(bin.join("lsns"))
        .arg("-V")
        .output()
        .expect("a link");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("lsns from util-linux"));
    // The same words, behind jaula's name.
    let said = place.run(&["compat", "lsns", "-V"]).expect(0).stdout;
    assert_eq!(said.as_bytes(), output.stdout);
    // Nothing of jaula's is read there.
    let refused = place.run(&["compat", "lsns", "--store", "x"]).expect(1);
    assert!(
        refused
            .stderr
            .starts_with("lsns: unrecognized option '--store'"),
        "{}",
        refused.stderr
    );
    let refused = place.run(&["--json", "compat", "lsns"]).expect(125);
    assert!(
        refused.stderr.contains("options of jaula"),
        "{}",
        refused.stderr
    );
}

#[test]
fn the_list_says_what_path_holds() {
    let place = hermetic!();
    let bin = place.work().join("bin");
    fs::create_dir(&bin).expect("a directory");
    install(&place, &["lsns"]).expect(0);
    let path = format!("{}:/nowhere", bin.display());
    let output = place
        .command(&["compat", "ls"])
        .env("PATH", &path)
        .output()
        .expect("jaula");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find(|line| line.starts_with("lsns "))
        .expect("lsns");
    assert!(
        line.ends_with(&format!("{} (jaula)", bin.join("lsns").display())),
        "{line}"
    );
}

#[test]
fn names_that_others_have_are_left_alone() {
    let place = hermetic!();
    let bin = place.work().join("bin");
    let refused = install(&place, &[]).expect(125);
    assert!(
        refused.stderr.contains("hint: make it first"),
        "{}",
        refused.stderr
    );
    fs::create_dir(&bin).expect("a directory");
    fs::write(bin.join("lsns"), "theirs").expect("a file");
    let refused = install(&place, &[]).expect(125);
    assert!(
        refused.stderr.contains("is there already"),
        "{}",
        refused.stderr
    );
    assert_eq!(fs::read_dir(&bin).expect("a directory").count(), 1);
    assert_eq!(fs::read(bin.join("lsns")).expect("theirs"), b"theirs");
    let refused = install(&place, &["lsnss"]).expect(125);
    assert!(
        refused.stderr.contains("did you mean lsns?"),
        "{}",
        refused.stderr
    );
}
