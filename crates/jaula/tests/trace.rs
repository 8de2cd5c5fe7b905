//! Programs under observation, from end to end, as root and as an ordinary user.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use who::{User, everyone};

fn file(user: &User, name: &str, text: &str, mode: u32) -> String {
    let path = user.place.work().join(name);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a file of ours");
    path.to_str().expect("text").to_owned()
}

/// The entries of a list of a trace.
fn list(text: &str, name: &str) -> Vec<String> {
    let start = format!("{name} = [\n");
    let Some((_, rest)) = text.split_once(&start) else {
        return Vec::new();
    };
    rest.lines()
        .take_while(|line| *line != "]")
        .filter_map(|line| Some(line.trim().strip_prefix('"')?.split_once('"')?.0.to_owned()))
        .collect()
}

#[test]
fn a_trace_names_what_a_program_and_its_children_use() {
    everyone(|user| {
        let data = file(user, "data", "some\n", 0o644);
        let script = file(
            user,
            "script",
            &format!(
                "#!/bin/sh\ncat {data}\n[ -e /no/such/thing ]\ncat /proc/$$/comm >/dev/null\nexit 3\n"
            ),
            0o755,
        );
        let ran = user
            .place
            .run(&["trace", "-o", "-", "--", &script])
            .expect(3);
        let has =
            |name: &str, path: &str| list(&ran.stdout, name).iter().any(|known| known == path);
        assert!(ran.stdout.starts_with("some\n"), "{}", ran.stdout);
        assert!(
            has("programs", &script)
                && list(&ran.stdout, "programs")
                    .iter()
                    .any(|p| p.ends_with("/cat")),
            "{}",
            ran.stdout
        );
        assert!(
            has("read", &data) && has("absent", "/no/such/thing"),
            "{}",
            ran.stdout
        );
        assert!(has("kernel", "/proc/PID/comm"), "{}", ran.stdout);
        assert!(
            list(&ran.stdout, "read")
                .iter()
                .any(|path| path.contains("libc.so")),
            "{}",
            ran.stdout
        );
        assert!(has("calls", "execve") && !has("calls", "read"));
        let asker = ran
            .stdout
            .lines()
            .find(|line| line.contains(&format!("\"{data}\"")));
        assert!(
            asker.is_some_and(|line| line.contains("# ") && line.ends_with("/cat")),
            "{asker:?}"
        );
    });
}

#[test]
fn traces_are_added_to_each_other_and_read_again() {
    everyone(|user| {
        let a = file(user, "a", "a\n", 0o644);
        let b = file(user, "b", "b\n", 0o644);
        let out = user.place.work().join("both.toml");
        let out = out.to_str().expect("text");
        for data in [&a, &b] {
            user.place
                .run(&["trace", "-o", out, "--merge", out, "--", "cat", data])
                .expect(0);
        }
        let text = fs::read_to_string(out).expect("a trace");
        let read = list(&text, "read");
        assert!(read.contains(&a) && read.contains(&b), "{text}");
        assert_eq!(text.matches("[[run]]").count(), 2);
        // The same file is a profile: what was not seen is refused.
        let words = ["run", "--seccomp", out, "--", "cat", "/etc/hosts"];
        user.place.run(&words).expect(0);
        let words = ["run", "--seccomp", out, "--", "mkdir", "/tmp/x"];
        let refused = user.place.run(&words);
        assert_ne!(refused.code, 0);
        assert!(
            refused.stderr.contains("not permitted"),
            "{}",
            refused.stderr
        );
    });
}

#[test]
fn what_cannot_be_watched_is_said_and_nothing_is_written() {
    everyone(|user| {
        let out = user.place.work().join("none.toml");
        let path = out.to_str().expect("text");
        let ran = user
            .place
            .run(&["trace", "-o", path, "--", "no-such-program"])
            .expect(127);
        assert!(ran.stderr.contains("no-such-program"), "{}", ran.stderr);
        let plain = file(user, "plain", "text\n", 0o644);
        user.place
            .run(&["trace", "-o", path, "--", &plain])
            .expect(126);
        let ran = user.place.run(&["trace", "--", "true"]).expect(125);
        assert!(ran.stderr.contains("-o FILE"), "{}", ran.stderr);
        let bad = file(user, "bad.toml", "version = 1\n[files]\nraed = []\n", 0o644);
        let ran = user
            .place
            .run(&["trace", "-o", path, "--merge", &bad, "--", "true"])
            .expect(125);
        assert!(ran.stderr.contains("line 3"), "{}", ran.stderr);
        let ran = user
            .place
            .run(&["trace", "-o", path, "--plan", "--", "true"])
            .expect(0);
        assert!(ran.stdout.contains("watch true"), "{}", ran.stdout);
        assert!(!Path::new(path).exists());
    });
}

#[test]
fn a_program_that_goes_on_is_told_to_end_in_time() {
    everyone(|user| {
        let words = ["trace", "-o", "-", "--for", "1s", "--", "sleep", "1000"];
        user.place.run(&words).expect(128 + 15);
        // One that has left the program is ended with it.
        let words = [
            "trace",
            "-o",
            "-",
            "--for",
            "1s",
            "--",
            "sh",
            "-c",
            "setsid sleep 1000 & exit 4",
        ];
        user.place.run(&words).expect(4);
    });
}
