//! Children: how long they live, what signals do, and that nobody is left behind.

use crate::who::{User, everyone};
use crate::{Links, TOOLS, run, run_here};
use jaula_testkit::{kernel_test, skip};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A process that a test holds, ended with it.
pub struct Held {
    child: Child,
    /// What it says.
    said: BufReader<ChildStdout>,
    /// Its number as it told it.
    pub pid: String,
}

impl Held {
    /// Waits for a first line `ready PID`.
    pub fn start(mut command: Command) -> Option<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().ok()?;
        let mut said = BufReader::new(child.stdout.take()?);
        let mut line = String::new();
        said.read_line(&mut line).ok()?;
        let held = Self {
            child,
            said,
            pid: line.trim().strip_prefix("ready ")?.to_owned(),
        };
        Some(held)
    }

    /// Waits until nobody holds its output any more: all that it started has ended.
    fn until_silent(&mut self) -> String {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).expect("a pipe");
        rest
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A process of the user in namespaces of its own, made by the tool itself; none when it is not allowed.
pub fn target(user: &User) -> Option<Held> {
    let script = "PATH=/usr/sbin:/usr/bin:/sbin:/bin\nexec unshare -UrmuinCTpf --kill-child sh -c \
         'hostname inner; mount -t tmpfs t /mnt; echo hello > /mnt/f; cd /mnt; read pid rest < /proc/self/stat; echo ready $pid; exec cat'";
    let held = Held::start(user.other("/bin/sh", &["-c", script]));
    if held.is_none() {
        jaula_testkit::skip::note("nsenter", "no namespaces of a user here");
    }
    held
}

fn shell(links: &Links, script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &links.ours(script)]).env_clear();
    command
}

#[test]
fn a_killed_unshare_takes_its_child_along() {
    kernel_test!();
    let links = Links::new();
    for line in [
        "exec unshare --kill-child sh -c 'echo ready $PPID; exec sleep 1000'",
        "exec unshare -Ur --kill-child sh -c 'echo ready $PPID; exec sleep 1000'",
        // A change of identity forgets the request; it is made again.
        "exec unshare --kill-child -S 0 sh -c 'echo ready $PPID; exec sleep 1000'",
    ] {
        let mut held = Held::start(shell(&links, line)).expect("a child");
        assert_eq!(held.pid, held.child.id().to_string(), "{line}");
        held.child.kill().expect("ours");
        // Only the child's end closes the pipe.
        assert_eq!(held.until_silent(), "", "{line}");
    }
}

#[test]
fn signals_are_sent_on_when_asked_and_held_back_when_not() {
    kernel_test!();
    let links = Links::new();
    let trap = "trap \"echo got; exit 5\" TERM; echo ready $PPID; while :; do sleep 0.01; done";
    let line = format!("exec unshare --forward-signals sh -c '{trap}'");
    let mut held = Held::start(shell(&links, &line)).expect("a child");
    run_here(&format!("kill -TERM {}", held.pid));
    assert_eq!(held.until_silent(), "got\n");
    assert_eq!(held.child.wait().expect("ours").code(), Some(5));
    // Without: the parent holds it back until the child has ended by itself, then does as the child did.
    let line = "exec unshare -f sh -c 'echo ready $PPID; read line; exit 6'";
    let mut held = Held::start(shell(&links, line)).expect("a child");
    run_here(&format!("kill -TERM {0}; kill -INT {0}", held.pid));
    drop(held.child.stdin.take());
    assert_eq!(held.child.wait().expect("ours").code(), Some(6));
}

#[test]
fn nsenter_stops_and_goes_on_with_its_child() {
    kernel_test!();
    let links = Links::new();
    // The shell's job control sees nsenter stop: 147 is 128 + SIGSTOP. It may be told of that once more.
    let script = "set -m\nunshare -fp --kill-child sleep 1000 &\nuntil P=$(pgrep -P $!); do :; done\n\
         nsenter -t $P -p sh -c 'kill -STOP $$; exit 4' &\nN=$!\nwait $N; echo $?\nkill -CONT $N\n\
         while wait $N; code=$?; [ $code = 147 ]; do :; done\necho $code\nkill -9 $P";
    let mut command = Command::new("/bin/bash");
    command.args(["-c", &links.ours(script)]).env_clear();
    let Ok(output) = command.stderr(Stdio::null()).stdin(Stdio::null()).output() else {
        skip!("no bash here");
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "147\n4\n");
}

#[test]
fn a_failure_leaves_no_process_behind() {
    kernel_test!();
    let links = Links::new();
    // No user namespace can be made here: what waits to write its maps, or to keep it, must go.
    let limit = "echo 0 > /proc/sys/user/max_user_namespaces || exit 77\n";
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().display();
    for line in [
        "unshare --map-users=0:0:1 --map-groups=0:0:1 true".to_owned(),
        format!("touch {place}/u; unshare --user={place}/u true"),
        format!("unshare --user={place}/u --map-users=0:0:1 true"),
    ] {
        let count = "set -- $(ls -d /proc/[0-9]*); echo $#";
        let script = format!("{limit}{count}\n{line}\necho $?\n{count}");
        let (code, out, err) = run_here(&links.ours(&script));
        if code == Some(77) {
            skip!("the limit cannot be set here");
        }
        let lines: Vec<_> = out.lines().collect();
        let [before, code, after] = lines[..] else {
            panic!("{line}: {out}{err}");
        };
        assert_eq!((code, after), ("1", before), "{line}: {err}");
        assert_eq!(err, "unshare: unshare failed: No space left on device\n");
    }
}

#[test]
fn only_the_process_that_was_meant_is_entered() {
    let links = Links::new();
    everyone(|user| {
        let Some(target) = target(user) else {
            return;
        };
        let pid = &target.pid;
        let (code, _, err) = run(user, &links.ours(&format!("nsenter -t {pid}:1 -U true")));
        let said = format!(
            "nsenter: failed to obtain a valid file descriptor for PID {pid}: No such process\n"
        );
        assert_eq!((code, err), (Some(1), said));
        // The number that the kernel gave the descriptor of this process.
        let inode = format!(
            "python3 -c 'import os; print(os.fstat(os.pidfd_open({pid})).st_ino)' 2>/dev/null"
        );
        let (code, inode, _) = run(user, &format!("PATH={TOOLS}\n{inode}"));
        if code == Some(0) {
            let line = format!(
                "nsenter -t {pid}:{} --preserve-credentials -U -u hostname",
                inode.trim()
            );
            let (code, out, _) = run(user, &links.ours(&line));
            assert_eq!((code, out.as_str()), (Some(0), "inner\n"));
        }
    });
}
