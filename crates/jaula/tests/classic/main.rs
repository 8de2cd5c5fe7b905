//! The old names `unshare`, `nsenter` and `chroot`: typed by their users, beside the tools themselves.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod chapter;
mod numbers;
mod original;
mod processes;
mod unlike;
#[path = "../who/mod.rs"]
mod who;

use jaula_testkit::hermetic::PROGRAM;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;
use who::User;

/// Where the tools themselves are.
const TOOLS: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What came of a script: exit code, standard output, standard error.
type Ran = (Option<i32>, String, String);

/// A directory with the program under its old names, which everybody can execute.
struct Links(TempDir);

impl Links {
    fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("jaula-classic-")
            .tempdir()
            .expect("a directory");
        let open = |path: &Path| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        };
        open(dir.path());
        let program = dir.path().join("jaula");
        let built =
            std::env::var(PROGRAM).unwrap_or_else(|_| env!("CARGO_BIN_EXE_jaula").to_owned());
        std::fs::copy(built, &program).expect("the program");
        open(&program);
        for name in ["unshare", "nsenter", "chroot"] {
            symlink("jaula", dir.path().join(name)).expect("a link");
        }
        Self(dir)
    }

    /// A shell in which the old names are ours, and what it is told.
    fn ours(&self, script: &str) -> String {
        format!("PATH={}:{TOOLS}\n{script}", self.0.path().display())
    }
}

/// The same shell with the tools themselves.
fn theirs(script: &str) -> String {
    format!("PATH={TOOLS}\n{script}")
}

fn finish(mut command: Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().expect("a shell");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Runs a script as a user.
fn run(user: &User, script: &str) -> Ran {
    let mut command = user.other("/bin/sh", &["-c", script]);
    command.env("LC_ALL", "C.UTF-8").env_remove("SHELL");
    finish(command)
}

/// Runs a script as this process's user, in the namespaces that it is in.
fn run_here(script: &str) -> Ran {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).env_clear();
    command.env("LC_ALL", "C.UTF-8").env("HOME", "/");
    finish(command)
}

/// Process numbers in paths of proc(5), which no two runs have in common.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split("/proc/");
    let mut done = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        done.push_str("/proc/");
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        done.push_str(if rest.len() == part.len() { "" } else { "N" });
        done.push_str(rest);
    }
    done
}

/// What releases since 2.38 word otherwise, and how 2.38 did.
const REWORDED: [(&str, &str); 2] = [
    ("setuid() failed", "setuid failed"),
    ("setgid() failed", "setgid failed"),
];

fn alike((code, out, err): &Ran) -> Ran {
    let mut err = without_numbers(err);
    for (new, old) in REWORDED {
        err = err.replace(new, old);
    }
    (*code, without_numbers(out), err)
}

/// Whether the tools are those whose messages are compared.
fn tools_are_known() -> Result<(), String> {
    for (tool, release) in [("unshare", "util-linux 2.38"), ("chroot", "coreutils) 9.1")] {
        let (_, said, _) = run_here(&theirs(&format!("{tool} --version")));
        if !said.contains(release) {
            return Err(format!("no {tool} of {release} here"));
        }
    }
    Ok(())
}

/// Both answers to each line; those that differ.
fn differences(lines: &str, mut both: impl FnMut(&str) -> (Ran, Ran)) -> Vec<String> {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .filter_map(|line| {
            let (theirs, ours) = both(line);
            let same = alike(&theirs) == alike(&ours);
            (!same).then(|| format!("{line}\n  theirs {theirs:?}\n  ours   {ours:?}"))
        })
        .collect()
}
