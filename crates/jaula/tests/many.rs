//! Many jails: one after the other, and all at once. `JAULA_TEST_MANY=1000,500` makes it that many.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod mirror;
mod who;

use mirror::{assert_gone, left_in};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use who::everyone;

/// How many in a row, and how many at once.
fn sizes() -> (usize, usize) {
    let asked = std::env::var("JAULA_TEST_MANY").unwrap_or_default();
    let mut numbers = asked.split(',').map(|number| number.trim().parse().ok());
    let mut next = |usual| numbers.next().flatten().unwrap_or(usual);
    (next(200), next(50))
}

fn links() -> Vec<String> {
    let dir = fs::read_dir("/sys/class/net").into_iter().flatten();
    let mut names: Vec<String> = dir
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("our mounts")
}

#[test]
fn many_jails_in_a_row_leave_nothing() {
    let (rows, _) = sizes();
    everyone(|user| {
        let (mounts_before, links_before) = (mounts(), links());
        let tree = user.place.work().join("tree");
        for name in ["usr", "etc", "dev", "proc", "sys"] {
            fs::create_dir_all(tree.join(name)).expect("a directory");
        }
        for name in ["bin", "lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{name}"), tree.join(name)).expect("a link");
        }
        let tree = format!("{}/", tree.display());
        for round in 0..rows {
            let words: &[&str] = match round % 2 {
                0 => &["run", "--", "true"],
                _ => &["run", &tree, "--bind", "/usr:/usr:ro", "--", "true"],
            };
            user.place.run(words).expect(0);
        }
        assert_gone(user.place.path());
        assert_eq!(mounts(), mounts_before);
        assert_eq!(links(), links_before);
    });
}

/// What a process alone has of memory, in KiB (proc_pid_smaps(5)), and whether it is one of ours.
fn private(pid: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    let size = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    lines.filter_map(size).sum()
}

#[test]
fn many_jails_at_once_are_small() {
    let (_, alive) = sizes();
    everyone(|user| {
        let start = || -> Child {
            let mut command = user.place.command(&["run", "--", "cat"]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            command.spawn().expect("jaula")
        };
        let mut jails: Vec<Child> = (0..alive).map(|_| start()).collect();
        for jail in &mut jails {
            let input = jail.stdin.as_mut().expect("a pipe");
            input.write_all(b"here\n").expect("a jail that reads");
            let mut line = String::new();
            let output = jail.stdout.as_mut().expect("a pipe");
            BufReader::new(output).read_line(&mut line).expect("a line");
            assert_eq!(line, "here\n");
        }
        let own = left_in(user.place.path());
        let own: Vec<&str> = own
            .iter()
            .filter_map(|text| text.split_once(' '))
            // The programs in the jails have the place's name in nothing.
            .map(|(pid, _)| pid)
            .collect();
        // A supervisor, which is whom the caller waits for, and the jail's first process.
        assert!(own.len() <= 2 * alive, "{} processes", own.len());
        let memory: u64 = own.iter().map(|pid| private(pid)).sum();
        let each = memory / alive as u64;
        assert!(each <= 1024, "{each} KiB for a jail");
        for mut jail in jails {
            drop(jail.stdin.take());
            assert!(jail.wait().expect("a child").success());
        }
        assert_gone(user.place.path());
    });
}
