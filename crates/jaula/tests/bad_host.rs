//! Hosts that do not give what is needed: a full disk, no subordinate identifiers, no user namespaces. One clear
//! error with a hint and exit code 125, and nothing half-made.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod mirror;
mod who;

use jaula_testkit::{Hermetic, Ran, skip};
use mirror::{Web, assert_gone};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use who::everyone;

/// Runs to the end.
fn end(mut command: Command) -> Ran {
    let start = std::time::Instant::now();
    command.stdin(Stdio::null());
    let output = command.output().expect("a child");
    let status = output.status;
    Ran {
        code: status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .expect("an end"),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        elapsed: start.elapsed(),
    }
}

/// One error, a hint, and these words.
#[track_caller]
fn refused(ran: Ran, words: &[&str]) -> Ran {
    let ran = ran.expect(125);
    let begin = |with: &str| {
        ran.stderr
            .lines()
            .filter(|line| line.starts_with(with))
            .count()
    };
    assert_eq!(begin("error: "), 1, "{}", ran.stderr);
    assert!(begin("hint: ") > 0, "{}", ran.stderr);
    for word in words {
        assert!(
            ran.stderr.to_lowercase().contains(word),
            "no {word:?} in\n{}",
            ran.stderr
        );
    }
    ran
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("our own process").uid() == 0
}

#[test]
fn a_full_disk() {
    if !is_root() {
        skip!("only root mounts a small file system for a user");
    }
    everyone(|user| {
        let web = match Web::start(&["nginx-light"]) {
            Ok(web) => web,
            Err(reason) => skip!("{reason}"),
        };
        // Her store is hers before anything is mounted on it.
        user.place.run(&["ls"]).expect(0);
        // Too small for the indices, the packages, and for what is in them.
        for size in ["1m", "40m", "120m"] {
            let model = web.command(user, &["build", "debian:bookworm", "-q"]);
            let script = format!(
                "mount -t tmpfs -o size={size},mode=755 tmpfs $JAULA_STORE; chown --reference=$JAULA_STORE/.. $JAULA_STORE; \"$@\"; code=$?; cd $JAULA_STORE; \
                 ls -A stages images tags 2>/dev/null; exit $code"
            );
            let mut command = Command::new("unshare");
            command.args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                &script,
                "sh",
            ]);
            command
                .arg(model.get_program())
                .args(model.get_args())
                .env_clear();
            let set = model
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?)));
            command.envs(set).current_dir(user.place.work());
            let ran = refused(end(command), &["no space"]);
            let left: Vec<&str> = ran
                .stdout
                .lines()
                .filter(|line| !line.ends_with(':') && !line.is_empty())
                .collect();
            assert!(left.is_empty(), "{size}: {left:?}");
        }
        // An archive that does not fit where it shall go.
        web.run(user, &["run", "debian:bookworm", "--", "true"])
            .expect(0);
        let model = web.command(
            user,
            &["build", "debian:bookworm", "-q", "-o", "small/x.tar"],
        );
        let script = "mkdir -p small; mount -t tmpfs -o size=1m,mode=777 tmpfs small; \"$@\"; code=$?; ls -A small; exit $code";
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ]);
        command
            .arg(model.get_program())
            .args(model.get_args())
            .env_clear();
        let set = model
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        command.envs(set).current_dir(user.place.work());
        let ran = refused(end(command), &["no space"]);
        assert_eq!(ran.stdout, "");
        assert_gone(user.place.path());
    });
}

/// A user without subordinate identifiers, and what root does to become him; none when this is not root.
const BEA: u32 = 4343;

fn bea() -> Option<(Hermetic, tempfile::TempDir)> {
    if !is_root() {
        return None;
    }
    let dir = tempfile::Builder::new()
        .prefix("jaula-bea-")
        .tempdir()
        .expect("a directory");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(dir.path(), mode).expect("a directory of ours");
    let program = dir.path().join("jaula");
    fs::copy(env!("CARGO_BIN_EXE_jaula"), &program).expect("the program");
    let place = Hermetic::new("/usr/bin/setpriv");
    for part in ["", "home", "store", "run", "work"] {
        chown(place.path().join(part), Some(BEA), Some(BEA)).expect("a directory of ours");
    }
    Some((place, dir))
}

fn as_bea<'a>(program: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    let who = ["--reuid=4343", "--regid=4343", "--clear-groups", program];
    [&who[..], words].concat()
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).map(Iterator::count).unwrap_or(0)
}

#[test]
fn no_subordinate_identifiers() {
    let Some((place, dir)) = bea() else {
        skip!("only root plays a user without subordinate identifiers");
    };
    let program = dir.path().join("jaula").display().to_string();
    let run = |words: &[&str]| place.run(&as_bea(&program, words));
    // Images do without them (`one_id`), and so does everything else; the old tool that unshares does not.
    let ran = run(&[
        "compat",
        "mmdebstrap",
        "--mode=unshare",
        "bookworm",
        "x.tar",
    ]);
    assert_eq!(ran.code, 25, "{}", ran.stderr);
    for said in ["subordinate", "/etc/subuid", "4343:", ":65536"] {
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    for part in ["images", "stages", "tags", "jails"] {
        assert_eq!(entries(&place.store().join(part)), 0, "{part}");
    }
    let script =
        "id -u; hostname; ls /proc | grep -c '^[0-9]'; echo x >/tmp/x; wc -l </proc/self/uid_map";
    let ran = run(&["run", "--", "sh", "-c", script]).expect(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(
        (lines.first(), lines.get(1), lines.last()),
        (Some(&"0"), Some(&"jaula"), Some(&"1")),
        "{}",
        ran.stderr
    );
    run(&["run", "--", "sh", "-c", "exit 9"]).expect(9);
    run(&["ls"]).expect(0);
    run(&["image", "ls"]).expect(0);
    run(&["doctor"]);
    assert_gone(place.path());
}

#[test]
fn no_user_namespaces() {
    let Some((place, dir)) = bea() else {
        skip!("only root plays another user");
    };
    let program = dir.path().join("jaula").display().to_string();
    // A user namespace in which no other may be made.
    let script = "echo 0 >/proc/sys/user/max_user_namespaces || exit 99; exec setpriv --inh-caps=-all --ambient-caps=-all \"$@\"";
    let inside = [
        "--user",
        "--map-current-user",
        "--keep-caps",
        "sh",
        "-c",
        script,
        "sh",
        &program,
    ];
    let run = |words: &[&str]| place.run(&as_bea("unshare", &[&inside[..], words].concat()));
    if run(&["--version"]).code != 0 {
        skip!("user namespaces are refused here already");
    }
    refused(
        run(&["run", "--", "true"]),
        &["namespace", "max_user_namespaces"],
    );
    let doctor = run(&["doctor"]);
    assert!(
        doctor.stdout.contains("user namespace"),
        "{}\n{}",
        doctor.stdout,
        doctor.stderr
    );
    // Root of a namespace, as in a container.
    let inside = [
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        script,
        "sh",
        &program,
    ];
    let run = |words: &[&str]| place.run(&as_bea("unshare", &[&inside[..], words].concat()));
    refused(run(&["run", "--", "true"]), &["identifiers", "--ids host"]);
    assert_gone(place.path());
}
