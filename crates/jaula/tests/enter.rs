//! Going into what runs, by process and by name: in all its namespaces and its root, under what holds it.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use jaula_testkit::skip;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use who::{User, Who, everyone, everyone_and_ana};

/// A jail whose program waits for the end of its input.
struct Background {
    child: Child,
    /// Its program, as the host numbers processes.
    pid: String,
}

impl Background {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("jaula");
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        let mut pid = child.id().to_string();
        // The last of its line: the program has no child of its own.
        loop {
            let path = format!("/proc/{pid}/task/{pid}/children");
            let children = std::fs::read_to_string(path).expect("its children");
            match children.split_whitespace().next() {
                Some(next) => pid = next.to_owned(),
                None => break,
            }
        }
        Self { child, pid }
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("an end").success());
    }
}

const WAIT: &str = "echo text >/tmp/f; echo ready; read -r end; exit 0";

fn jail(user: &User, words: &[&str]) -> Background {
    let mut all = vec!["run", "--hostname", "inside2"];
    all.extend(words);
    all.extend(["--", "sh", "-c", WAIT]);
    Background::start(user.place.command(&all))
}

#[test]
fn a_process_is_entered_with_all_it_has() {
    everyone(|user| {
        let jail = jail(user, &[]);
        let script = "hostname; cat /tmp/f; pwd; exit 9";
        let run = user
            .place
            .run(&["enter", &jail.pid, "--", "sh", "-c", script]);
        assert_eq!(
            run.expect(9).stdout,
            "inside2
text
/
"
        );
        // What holds the jail holds who enters.
        let script = "grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; cut -d' ' -f5 /proc/self/mountinfo | sort | head -1";
        let inside = user
            .place
            .run(&["enter", &jail.pid, "--", "sh", "-c", script]);
        let own = user.place.run(&["run", "--", "sh", "-c", script]);
        assert_eq!(inside.expect(0).stdout, own.expect(0).stdout);
        // Ends of the entered program are told as of any other.
        let run = user
            .place
            .run(&["enter", &jail.pid, "--", "no-such-program"]);
        run.expect(127);
        let run = user
            .place
            .run(&["enter", &jail.pid, "--", "sh", "-c", "kill -9 $$"]);
        run.expect(137);
        jail.end();
    });
}

#[test]
fn a_part_is_entered_on_request() {
    everyone(|user| {
        let jail = jail(user, &[]);
        let only = if user.who == Who::Root {
            "uts"
        } else {
            "user,uts"
        };
        let run = user.place.run(&[
            "enter",
            &jail.pid,
            "--only",
            only,
            "--",
            "sh",
            "-c",
            "hostname; test -e /tmp/f",
        ]);
        assert_eq!(run.expect(1).stdout, "inside2\n");
        if user.who != Who::Root {
            let run = user
                .place
                .run(&["enter", &jail.pid, "--only", "uts", "--", "true"]);
            assert!(run.expect(125).stderr.contains("add user to --only"));
        }
        let run = user
            .place
            .run(&["enter", &jail.pid, "--only", "time", "--", "true"]);
        assert!(run.expect(125).stderr.contains("time namespace"));
        jail.end();
    });
}

#[test]
fn a_named_jail_is_entered_while_it_runs() {
    everyone(|user| {
        let tree = user.place.path().join("home/tree");
        let made = user
            .other(
                "sh",
                &[
                    "-ec",
                    &format!("mkdir -p {0}/bin {0}/tmp; cp /bin/busybox {0}/bin/busybox; for n in sh cat hostname sleep; do ln -s busybox {0}/bin/$n; done", tree.display()),
                ],
            )
            .stderr(Stdio::null())
            .status();
        if !made.is_ok_and(|status| status.success()) {
            skip!("there is no busybox");
        }
        let from = tree.display().to_string();
        user.place.run(&["new", "box", "--from", &from]).expect(0);
        let run = user.place.run(&["enter", "box", "--", "true"]);
        assert!(run.expect(125).stderr.contains("it does not run"));
        let first = Background::start(user.place.command(&["exec", "box", "--", "sh", "-c", WAIT]));
        let run = user.place.run(&[
            "enter",
            "box",
            "--",
            "sh",
            "-c",
            "hostname; cat /tmp/f; pwd; exit 9",
        ]);
        assert_eq!(run.expect(9).stdout, "box\ntext\n/\n");
        first.end();
    });
}

#[test]
fn what_is_not_there_or_not_yours_is_not_entered() {
    everyone_and_ana(|user| {
        let run = user.place.run(&["enter", "2147483000", "--", "true"]);
        assert!(run.expect(125).stderr.contains("there is no process"));
        for word in ["0", "4294967296", "12x", "-1", "../x"] {
            user.place.run(&["enter", word, "--", "true"]).expect(125);
        }
        if user.who == Who::Ana {
            // The test itself is root's.
            let other = std::process::id().to_string();
            let run = user.place.run(&["enter", &other, "--", "true"]);
            assert!(run.expect(125).stderr.contains("not yours to join"));
        }
    });
}

#[test]
fn a_root_alone_is_entered_and_left_where_it_is() {
    everyone(|user| {
        if user.who != Who::Root {
            return;
        }
        let tree = user.place.path().join("tree");
        std::fs::create_dir(&tree).expect("a tree");
        if std::fs::copy("/bin/busybox", tree.join("busybox")).is_err() {
            skip!("there is no busybox");
        }
        let mut command = Command::new("chroot");
        command.arg(&tree);
        command.args(["/busybox", "sh", "-c", "echo ready; read -r end; exit 0"]);
        let chrooted = Background::start(command);
        let run = user
            .place
            .run(&["enter", &chrooted.pid, "--", "/busybox", "ls", "/"]);
        assert_eq!(run.expect(0).stdout, "busybox\n");
        chrooted.end();
    });
}

#[test]
fn what_is_kept_is_entered_without_a_process() {
    everyone(|user| {
        let words = [
            "-q",
            "run",
            "--detach",
            "--name",
            "demo",
            "--hostname",
            "inside3",
        ];
        let program = ["--", "sh", "-c", "echo text >/tmp/f; exec sleep 1000"];
        user.place.run(&[&words[..], &program].concat()).expect(0);
        // A run in the background is entered by its name.
        let script = "until test -s /tmp/f; do :; done; hostname; cat /tmp/f; pwd; exit 9";
        let run = user.place.run(&["enter", "demo", "--", "sh", "-c", script]);
        assert_eq!(run.expect(9).stdout, "inside3\ntext\n/\n");
        user.place
            .run(&["ns", "keep", "mine", "--jail", "demo"])
            .expect(0);
        let script = "hostname; cat /tmp/f; grep ^NoNewPrivs: /proc/self/status; pwd; exit 9";
        let run = user.place.run(&["enter", "mine", "--", "sh", "-c", script]);
        assert_eq!(run.expect(9).stdout, "inside3\ntext\nNoNewPrivs:\t1\n/\n");
        // The jail ends; what is kept stays, without its processes.
        user.place.run(&["kill", "demo"]).expect(0);
        let run = user.place.run(&["enter", "mine", "--", "true"]).expect(125);
        assert!(run.stderr.contains("has ended"), "{}", run.stderr);
        let only = ["enter", "mine", "--only", "user,mnt,uts", "--", "sh", "-c"];
        let run = user
            .place
            .run(&[&only[..], &["hostname; cat /tmp/f"]].concat());
        assert_eq!(run.expect(0).stdout, "inside3\ntext\n");
        user.place.run(&["ns", "rm", "mine"]).expect(0);
        user.place.run(&["enter", "mine", "--", "true"]).expect(125);
        user.place.run(&["rm", "demo"]).expect(0);
    });
}
