//! The terminal of a jail, in a real one: tmux plays the user.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use jaula_testkit::skip;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use who::{User, everyone};

/// A terminal of 100 columns and 30 lines with a shell of the host in it.
struct Tmux {
    socket: PathBuf,
    work: PathBuf,
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

impl Tmux {
    /// None when there is no tmux.
    fn start(user: &User) -> Option<Self> {
        let has = Command::new("tmux")
            .arg("-V")
            .stdout(Stdio::null())
            .status();
        has.ok()?;
        let place = user.place.path();
        let model = user.place.command(&["run"]);
        // `j` is jaula with the environment of every other test.
        let mut script = String::from("#!/bin/sh\nexec env -i");
        for (name, value) in model.get_envs() {
            if let Some(value) = value {
                script.push_str(&format!(" '{}={}'", name.display(), value.display()));
            }
        }
        script.push_str(&format!(
            " TERM=dumb SHELL=/bin/sh '{}' \"$@\"\n",
            model.get_program().display()
        ));
        let file = place.join("j");
        std::fs::write(&file, script).expect("a file");
        let set = Command::new("chmod").arg("755").arg(&file).status();
        assert!(set.is_ok_and(|status| status.success()));
        let this = Self {
            socket: place.join("tmux"),
            work: user.place.work(),
        };
        // Replaced, so that the pane's process is the interactive shell whatever the user's login shell does with `-c`.
        let shell = format!(
            "exec env PS1='host$ ' PATH=\"{}:$PATH\" sh",
            place.display()
        );
        let words = [
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "30",
            &shell,
        ];
        assert!(this.tmux(&words).is_some(), "tmux does not start");
        this.tmux(&["set-option", "-g", "status", "off"]);
        this.resize(100, 30);
        Some(this)
    }

    fn tmux(&self, words: &[&str]) -> Option<String> {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(words);
        let output = command.current_dir(&self.work).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }

    fn resize(&self, columns: u32, lines: u32) {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &lines]);
    }

    /// Types a line.
    fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.tmux(&["send-keys", "Enter"]);
    }

    /// A key such as `C-c`.
    fn key(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Waits until a line of the screen is this one.
    #[track_caller]
    fn wait(&self, line: &str) -> String {
        let start = Instant::now();
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]).unwrap_or_default();
            if screen.lines().any(|shown| shown.trim_end() == line) {
                return screen;
            }
            let late = start.elapsed() > Duration::from_secs(20);
            assert!(!late, "no line {line:?} on\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The processes of the terminal's shell.
    fn children(&self) -> Vec<String> {
        let pid = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let pid = pid.expect("a pane").trim().to_owned();
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let list = list.expect("its children");
        list.split_whitespace().map(str::to_owned).collect()
    }
}

fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).expect(name)
}

#[test]
fn a_shell_is_what_runs_and_job_control_is_its_own() {
    everyone(|user| {
        let Some(tmux) = Tmux::start(user) else {
            skip!("there is no tmux");
        };
        tmux.line("stty -a >before; j run; echo after=$?; stty -a >after; echo do'ne'");
        tmux.line("echo in$(hostname)");
        tmux.wait("injaula");
        // The window's size, and its change.
        tmux.line("stty size");
        tmux.wait("30 100");
        tmux.resize(80, 24);
        tmux.line("sleep 0.3; stty size");
        tmux.wait("24 80");
        // Ctrl-C ends the program in the jail; the shell in it, and jaula, live on.
        let jaula = tmux.children();
        assert_eq!(jaula.len(), 1);
        tmux.line("clear; echo sta'rted'; sleep 1000");
        tmux.wait("started");
        tmux.key("C-c");
        tmux.line("echo code=$?");
        tmux.wait("code=130");
        assert_eq!(tmux.children(), jaula);
        // Ctrl-Z stops it; the shell in the jail has it back.
        tmux.line("echo aga'in'; sleep 1000");
        tmux.wait("again");
        tmux.key("C-z");
        tmux.line("jobs | grep -c sleep");
        tmux.wait("1");
        tmux.line("kill %1; fg 2>/dev/null; echo b'g'=$(jobs | wc -l)");
        tmux.wait("bg=0");
        assert_eq!(tmux.children(), jaula);
        // Its end gives the terminal back as it was.
        tmux.line("exit 3");
        tmux.wait("after=3");
        tmux.wait("done");
        let work = user.place.work();
        assert_eq!(
            read(&work, "after").replace("rows 24; columns 80", "rows 30; columns 100"),
            read(&work, "before")
        );
    });
}

#[test]
fn a_terminated_jaula_gives_the_terminal_back() {
    everyone(|user| {
        let Some(tmux) = Tmux::start(user) else {
            skip!("there is no tmux");
        };
        let work = user.place.work();
        for (signal, code) in [
            ("-TERM", "after=143"),
            ("-HUP", "after=129"),
            ("-INT", "after=130"),
        ] {
            // A word of its own each time: the last round's is on the screen until it is cleared.
            tmux.line(&format!("clear; stty -a >before; j run -- sh -c 'echo sta\"rted\"{signal}; exec sleep 1000'; echo aft'er'=$?; stty -a >after; echo do'ne'"));
            tmux.wait(&format!("started{signal}"));
            let jaula = tmux.children();
            assert_eq!(jaula.len(), 1);
            let sent = Command::new("kill")
                .args([signal, &jaula.concat()])
                .status();
            assert!(sent.expect("kill").success());
            tmux.wait(code);
            tmux.wait("done");
            assert_eq!(read(&work, "after"), read(&work, "before"), "{signal}");
        }
    });
}

#[test]
fn a_jail_that_lasts_has_a_terminal_too() {
    everyone(|user| {
        let Some(tmux) = Tmux::start(user) else {
            skip!("there is no tmux");
        };
        // A directory with what a shell needs: the host's own.
        let tree = user.place.path().join("home/tree");
        let made = user
            .other("sh", &["-ec", &format!("mkdir -p {0}/bin {0}/usr {0}/lib {0}/lib64; cp /bin/busybox {0}/bin/busybox; for n in sh stty tty sleep id; do ln -s busybox {0}/bin/$n; done", tree.display())])
            .stderr(Stdio::null())
            .status();
        if !made.is_ok_and(|status| status.success()) {
            skip!("there is no busybox");
        }
        user.place
            .run(&["new", "box", "--from", &tree.display().to_string()])
            .expect(0);
        tmux.line("stty -a >before; j sh box; echo aft'er'=$?; stty -a >after; echo do'ne'");
        tmux.line("echo size=$(stty size) $(tty)");
        tmux.wait("size=30 100 /dev/pts/0");
        tmux.line("exit 5");
        tmux.wait("after=5");
        tmux.wait("done");
        assert_eq!(
            read(&user.place.work(), "after"),
            read(&user.place.work(), "before")
        );
    });
}

#[test]
fn without_a_terminal_input_is_a_pipe() {
    everyone(|user| {
        let mut command = user
            .place
            .command(&["run", "--", "sh", "-c", "cat; tty; echo two >&2"]);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("jaula");
        let mut input = child.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || input.write_all(&b"line\n".repeat(100_000)));
        let output = child.wait_with_output().expect("an end");
        writer.join().expect("a thread").expect("written");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.lines().filter(|line| *line == "line").count(), 100_000);
        assert_eq!(text.lines().last(), Some("not a tty"));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "two\n");
        // A shell reads its commands from it.
        let mut shell = user.place.command(&["run"]);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().expect("jaula");
        let mut input = child.stdin.take().expect("a pipe");
        input
            .write_all(b"echo $((6*7))\nexit 4\n")
            .expect("written");
        drop(input);
        let output = child.wait_with_output().expect("an end");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "42\n");
        assert_eq!(output.status.code(), Some(4));
    });
}

#[test]
fn nothing_is_typed_into_the_callers_terminal() {
    everyone(|user| {
        let Some(tmux) = Tmux::start(user) else {
            skip!("there is no tmux");
        };
        // TIOCSTI and TIOCLINUX, also with bits that the kernel does not look at; `X` would be in the shell's next line.
        let inject = r#"for my $fd (0, 2) { for my $r (0x5412, 0xdead00005412, 0x541c, 0xdead0000541c) {
            for my $c ("X", "\x02X") { my $a = $c; $! = 0; syscall(16, $fd, $r, $a); print $!+0, " "; } } } print "\n";"#;
        std::fs::write(tmux.work.join("inject.pl"), inject).expect("a file");
        // With output elsewhere the terminal is the caller's own; once without the filter, where the session alone holds.
        for (name, options) in [("filtered", ""), ("unfiltered", "--seccomp off ")] {
            tmux.line(&format!(
                "j run {options}-- perl -e \"$(cat inject.pl)\" >{name} 2>/dev/tty; echo en'd'ed"
            ));
            tmux.wait("ended");
            tmux.line(&format!("echo {name}='clean'"));
            tmux.wait(&format!("{name}=clean"));
            let told = read(&tmux.work, name);
            let answers: Vec<&str> = told.split_whitespace().collect();
            assert_eq!(answers.len(), 16, "{name}: {told}");
            assert!(!answers.contains(&"0"), "{name}: {told}");
            if name == "filtered" {
                assert!(answers.iter().all(|errno| *errno == "1"), "{name}: {told}");
            }
            tmux.line("clear");
        }
    });
}
