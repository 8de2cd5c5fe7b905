//! Namespaces kept by name: faults at every point, and what is left.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests start programs and read the environment; the rules are for the engine itself"
)]

use jaula_engine::fault::{Faults, Mode};
use jaula_engine::namespaces::{
    KeepError, KeepSource, NsKind, all_kept, keep, kept, let_go_of, plan_keep, plan_let_go,
};
use jaula_engine::recover::recover;
use jaula_engine::store::Store;
use jaula_plan::names::JailName;
use jaula_testkit::{kernel_test, skip};
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// A process in host name and network namespaces of its own.
struct Elsewhere(Child);

impl Elsewhere {
    /// One whose mount namespace can be mounted here. The kernel takes a younger one only, and numbers them by CPU, so
    /// that one made on another CPU may look older than it is.
    fn start() -> Self {
        let fits = |this: &Self| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            let from = format!("/proc/{}/ns/mnt", this.0.id());
            let run = |program: &str, words: &[&std::ffi::OsStr]| {
                let mut command = Command::new(program);
                command.args(words).stderr(Stdio::null());
                command.status().is_ok_and(|status| status.success())
            };
            let at = file.path().as_os_str();
            run("mount", &["--bind".as_ref(), from.as_ref(), at]) && run("umount", &[at])
        };
        let mut tries = std::iter::repeat_with(Self::once).take(200);
        tries.find(fits).expect("a younger mount namespace")
    }

    fn once() -> Self {
        let mut child = Command::new("unshare")
            .args([
                "--uts",
                "--net",
                "--mount",
                "sh",
                "-c",
                "echo ready; exec cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        Self(child)
    }

    fn inode(&self, kind: &str) -> u64 {
        let path = format!("/proc/{}/ns/{kind}", self.0.id());
        std::fs::metadata(path).expect("its namespace").ino()
    }

    fn source(&self) -> KeepSource {
        KeepSource::Process(self.0.id())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn store() -> (tempfile::TempDir, Store, JailName) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("store")).expect("a store");
    (dir, store, "demo".parse().expect("a name"))
}

fn mounts(store: &Store) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").expect("proc(5)");
    let root = store.root().display().to_string();
    let ours = text.lines().filter(|line| line.contains(&root));
    ours.map(str::to_owned).collect()
}

#[test]
fn kept_namespaces_outlive_their_processes() {
    kernel_test!();
    let (_dir, store, name) = store();
    let process = Elsewhere::start();
    let uts = process.inode("uts");
    let plan = plan_keep(&store, &name, process.source(), &[], true).expect("a plan");
    let kinds: Vec<_> = plan.namespaces().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [NsKind::Mnt, NsKind::Net, NsKind::Uts]);
    keep(&store, &plan).expect("kept");
    // Once more is nothing more.
    let again = plan_keep(&store, &name, process.source(), &[], true).expect("a plan");
    keep(&store, &again).expect("kept already");
    let other = Elsewhere::start();
    let refused = plan_keep(&store, &name, other.source(), &[], true);
    assert!(matches!(refused, Err(KeepError::Exists { .. })));
    drop(process);
    let opened = kept(&store, &name).expect("still there");
    let found = opened
        .iter()
        .find(|(_, kind)| *kind == NsKind::Uts)
        .expect("uts");
    let path = format!("/proc/self/fd/{}", found.0.as_raw_fd());
    assert_eq!(std::fs::metadata(path).expect("open").ino(), uts);
    drop(opened);
    assert!(!plan_let_go(&store, &name).expect("a plan").is_empty());
    let_go_of(&store, &name).expect("let go");
    assert_eq!(mounts(&store), [] as [String; 0]);
    assert!(matches!(
        kept(&store, &name),
        Err(KeepError::NoSuchName { .. })
    ));
    // The host's own mount namespace cannot be kept by it.
    let own = KeepSource::Process(std::process::id());
    let plan = plan_keep(&store, &name, own, &[NsKind::Mnt], true).expect("a plan");
    assert!(matches!(keep(&store, &plan), Err(KeepError::Mount { .. })));
    assert!(all_kept(&store).expect("a list").is_empty());
    let_go_of(&store, &name).expect_err("nothing is kept");
}

#[test]
fn a_name_whose_mounts_are_gone_is_free_again() {
    kernel_test!();
    let (_dir, store, name) = store();
    let process = Elsewhere::start();
    let plan = plan_keep(&store, &name, process.source(), &[NsKind::Uts], true).expect("a plan");
    keep(&store, &plan).expect("kept");
    // As after a restart of the host: files without mounts.
    let file = store.root().join("run/kept/demo/uts");
    assert!(
        Command::new("umount")
            .arg(&file)
            .status()
            .expect("umount")
            .success()
    );
    assert!(matches!(kept(&store, &name), Err(KeepError::Gone { .. })));
    let other = Elsewhere::start();
    let plan = plan_keep(&store, &name, other.source(), &[NsKind::Net], true).expect("a plan");
    keep(&store, &plan).expect("kept anew");
    let opened = kept(&store, &name).expect("there");
    assert_eq!(
        opened.iter().map(|(_, kind)| *kind).collect::<Vec<_>>(),
        [NsKind::Net]
    );
    let_go_of(&store, &name).expect("let go");
    assert_eq!(mounts(&store), [] as [String; 0]);
}

#[test]
fn a_process_that_changed_is_not_taken_for_the_one_planned_with() {
    kernel_test!();
    let (_dir, store, name) = store();
    let process = Elsewhere::start();
    let plan = plan_keep(&store, &name, process.source(), &[], true).expect("a plan");
    let pid = process.0.id();
    drop(process);
    // The number is used again.
    if std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).is_err() {
        skip!("process numbers cannot be chosen here");
    }
    let other = Elsewhere::start();
    if other.0.id() != pid {
        skip!("the number was taken by somebody else");
    }
    let refused = keep(&store, &plan);
    assert!(
        matches!(refused, Err(KeepError::Changed { .. })),
        "{refused:?}"
    );
    assert!(mounts(&store).iter().all(|line| !line.contains("nsfs")));
}

#[test]
fn a_failure_at_any_point_keeps_all_or_nothing() {
    kernel_test!();
    let (_dir, store, name) = store();
    let process = Elsewhere::start();
    let mut points = 0;
    loop {
        let faults = Arc::new(Faults::after(points, Mode::Fail));
        let faulty = store.clone().with_faults(faults.clone());
        let plan = plan_keep(&store, &name, process.source(), &[], true).expect("a plan");
        let done = keep(&faulty, &plan);
        if !faults.struck() {
            done.expect("no fault was left");
            break;
        }
        // The last point is behind the change.
        if done.is_err() && all_kept(&store).expect("a list").is_empty() {
            assert!(
                mounts(&store).iter().all(|line| !line.contains("nsfs")),
                "{points}"
            );
            assert!(!store.root().join("run/kept/demo").exists(), "{points}");
        } else {
            kept(&store, &name).expect("all of them");
            let_go_of(&store, &name).expect("let go");
        }
        points += 1;
    }
    assert!(points >= 5, "{points}");
    let_go_of(&store, &name).expect("let go");
}

/// The variable that tells a test's own program at which point it is killed.
const KILLED: &str = "JAULA_TEST_KILLED_AT";

#[test]
fn a_kill_at_any_point_leaves_nothing_after_recovery() {
    kernel_test!();
    let name: JailName = "demo".parse().expect("a name");
    if let Some(at) = std::env::var_os(KILLED) {
        // The inner run: killed on its way.
        let words = at.into_string().expect("words");
        let mut words = words.split(' ');
        let mut word = || words.next().expect("three words");
        let (point, pid, root) = (word(), word(), word());
        let faults = Arc::new(Faults::after(point.parse().expect("a number"), Mode::Kill));
        let store = Store::open(root).expect("the store").with_faults(faults);
        let source = KeepSource::Process(pid.parse().expect("a number"));
        let plan = plan_keep(&store, &name, source, &[], true).expect("a plan");
        keep(&store, &plan).expect("kept");
        return;
    }
    let (_dir, store, name) = store();
    let process = Elsewhere::start();
    let program = std::env::current_exe().expect("this program");
    let mut points = 0;
    loop {
        let words = format!("{points} {} {}", process.0.id(), store.root().display());
        let status = Command::new(&program)
            .args([
                "--exact",
                "a_kill_at_any_point_leaves_nothing_after_recovery",
            ])
            .env(KILLED, words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("this program");
        let killed = status.signal() == Some(9);
        if killed {
            let (_, errors) = recover(&store).expect("recovery");
            assert!(errors.is_empty(), "{points}: {errors:?}");
        }
        match all_kept(&store).expect("a list").is_empty() {
            true => {
                assert!(killed, "{points}");
                assert!(
                    mounts(&store).iter().all(|line| !line.contains("nsfs")),
                    "{points}"
                );
                assert!(!store.root().join("run/kept/demo").exists(), "{points}");
            }
            false => {
                kept(&store, &name).expect("all of them");
                let_go_of(&store, &name).expect("let go");
            }
        }
        if !killed {
            break;
        }
        points += 1;
    }
    assert!(points >= 5, "{points}");
    assert_eq!(mounts(&store), [] as [String; 0]);
}
