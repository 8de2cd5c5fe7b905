//! Services in jails, from end to end, as root and as an ordinary user.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use jaula_testkit::skip;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use who::{User, Who, everyone};

/// A service that runs, and its lines.
struct Service {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Service {
    fn start(user: &User, words: &[&str]) -> Self {
        let mut all = vec!["service", "run"];
        all.extend(words);
        Self::of(user.place.command(&all))
    }

    fn of(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("jaula");
        let output = child.stdout.take().expect("its output");
        Self {
            child,
            lines: BufReader::new(output).lines(),
        }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        self.lines.next().expect("a line").expect("text")
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("kill(1)").success());
    }

    fn end(mut self) -> Option<i32> {
        // What is still written is not to hold it up.
        for line in self.lines.by_ref() {
            drop(line);
        }
        self.child.wait().expect("an end").code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn jail(user: &User, files: &str) {
    let words = ["new", "s", "--empty", "--with-files", files];
    user.place.run(&words).expect(0);
}

/// How many of a jail's processes, seen from inside, have this in their command line.
fn counted(user: &User, text: &str) -> usize {
    let script = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null; echo; done";
    let words = ["exec", "s", "--", "/bin/sh", "-c", script];
    let ran = user.place.run(&words).expect(0);
    ran.stdout
        .lines()
        .filter(|line| line.contains(text))
        .count()
}

#[test]
fn nothing_of_a_service_outlives_it_in_a_jail_that_goes_on() {
    everyone(|user| {
        jail(user, "/bin/sh,/bin/sleep,/usr/bin/setsid,/usr/bin/tr");
        // Somebody else keeps the jail.
        let words = [
            "exec",
            "s",
            "--",
            "/bin/sh",
            "-c",
            "echo here; exec sleep 4000",
        ];
        let mut other = Service::of(user.place.command(&words));
        assert_eq!(other.line(), "here");
        let script = "setsid sleep 4711 & (setsid sh -c 'trap \"\" TERM; sleep 4711; :' &); echo up; wait; exec sleep 4711";
        for end in ["TERM", "KILL"] {
            let words = ["s", "--stop-after", "2s", "--", "/bin/sh", "-c", script];
            let mut service = Service::start(user, &words);
            assert_eq!(service.line(), "s: up");
            let there = || counted(user, "4711");
            assert!((0..500).any(|_| there() >= 3), "{end}: {}", there());
            if end == "KILL" && user.who == Who::Ana {
                // What plays her is between: its end is not that of the program.
                service.signal("TERM");
            } else {
                service.signal(end);
            }
            service.end();
            assert!((0..500).any(|_| there() == 0), "{end}: {}", there());
        }
        assert!(counted(user, "sleep 4000") > 0);
    });
}

const LOOP: &str = "trap 'echo again' HUP; trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 1000 & wait; done";

#[test]
fn a_service_reads_its_settings_again_and_ends_when_asked() {
    everyone(|user| {
        jail(user, "/bin/sh,/bin/sleep");
        let mut service = Service::start(user, &["s", "--", "/bin/sh", "-c", LOOP]);
        assert_eq!(service.line(), "s: up");
        service.signal("HUP");
        assert_eq!(service.line(), "s: again");
        service.signal("TERM");
        assert_eq!(service.line(), "s: bye");
        assert_eq!(service.end(), Some(0));
        // Nothing of it is left.
        let gone = || {
            let ran = user.place.run(&["ls", "--json"]).expect(0);
            ran.stdout.contains("\"pid\":null")
        };
        assert!((0..500).any(|_| gone()), "the jail still runs");
    });
}

#[test]
fn a_service_that_fails_is_started_again_unless_never() {
    everyone(|user| {
        jail(user, "/bin/sh");
        let fails = ["s", "--", "/bin/sh", "-c", "echo run; exit 3"];
        let mut service = Service::start(user, &fails);
        for _ in 0..3 {
            assert_eq!(service.line(), "s: run");
        }
        service.signal("TERM");
        // It was told between two runs, or in one.
        assert!(matches!(service.end(), Some(3 | 143)));
        let words = [&["service", "run", "--restart", "never"][..], &fails].concat();
        let ran = user.place.run(&words).expect(3);
        assert_eq!(ran.stdout, "s: run\n");
        // One that ends well is done.
        let words = [
            "service",
            "run",
            "s",
            "--log",
            "plain",
            "--",
            "/bin/sh",
            "-c",
            "echo once",
        ];
        assert_eq!(user.place.run(&words).expect(0).stdout, "once\n");
    });
}

#[test]
fn a_service_that_does_not_end_is_killed_in_time() {
    everyone(|user| {
        jail(user, "/bin/sh,/bin/sleep");
        let script = "trap '' TERM; echo up; while :; do sleep 1; done";
        let words = ["s", "--stop-after", "1s", "--", "/bin/sh", "-c", script];
        let mut service = Service::start(user, &words);
        assert_eq!(service.line(), "s: up");
        service.signal("TERM");
        assert_eq!(service.end(), Some(128 + 9));
    });
}

#[test]
fn lines_of_log_files_and_of_dev_log_come_out_under_the_jails_name() {
    if !Path::new("/usr/bin/logger").exists() {
        skip!("no logger(1)");
    }
    everyone(|user| {
        jail(user, "/bin/sh,/usr/bin/logger");
        let script = "echo plain; echo of a file > /var/log/x/y.log; logger -t tag of the log; \
                      printf 'bell \\007 and no end'";
        let words = [
            "service",
            "run",
            "s",
            "--log-file",
            "/var/log/x/y.log",
            "--",
            "/bin/sh",
            "-c",
            script,
        ];
        let ran = user.place.run(&words).expect(0);
        let mut lines: Vec<&str> = ran.stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "s: bell ? and no end",
                "s: of a file",
                "s: plain",
                "s: tag: of the log"
            ]
        );
        let words = [
            "service",
            "run",
            "s",
            "--no-dev-log",
            "--",
            "/bin/sh",
            "-c",
            "[ -e /dev/log ] || echo none",
        ];
        assert_eq!(user.place.run(&words).expect(0).stdout, "s: none\n");
    });
}

#[test]
fn the_hosts_log_gets_lines_with_priority_and_name() {
    everyone(|user| {
        jail(user, "/bin/sh");
        let path = user.place.work().join("log");
        let log = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(&path, everybody).expect("a socket of ours");
        let to = format!("syslog:{}", path.display());
        let words = [
            "service",
            "run",
            "s",
            "--log",
            &to,
            "--",
            "/bin/sh",
            "-c",
            "echo hello",
        ];
        assert_eq!(user.place.run(&words).expect(0).stdout, "");
        let mut text = [0u8; 100];
        let length = log.recv(&mut text).expect("a message");
        assert_eq!(&text[..length], b"<30>s: hello");
        let words = [
            "service",
            "run",
            "s",
            "--log",
            "syslog:/no/such",
            "--",
            "/bin/sh",
        ];
        assert!(
            user.place
                .run(&words)
                .expect(125)
                .stderr
                .contains("log for jail s")
        );
    });
}

#[test]
fn sockets_that_jaula_was_started_with_reach_the_service() {
    everyone(|user| {
        if user.who == Who::Ana {
            // What plays her does not keep its process's number.
            return;
        }
        jail(user, "/bin/sh,/bin/cat");
        fs::write(user.place.work().join("three"), "of descriptor three\n").expect("a file");
        let inner = "[ \"$LISTEN_PID\" = $$ ] && echo \"$LISTEN_FDS $LISTEN_FDNAMES\"; cat <&3";
        let model = user
            .place
            .command(&["service", "run", "s", "--", "/bin/sh", "-c", inner]);
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "exec 3<three; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$@\"",
                "sh",
            ])
            .arg(model.get_program())
            .args(model.get_args())
            .env_clear()
            .current_dir(user.place.work());
        command.envs(
            model
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let mut service = Service::of(command);
        assert_eq!(service.line(), "s: 1 web");
        assert_eq!(service.line(), "s: of descriptor three");
        assert_eq!(service.end(), Some(0));
    });
}

#[test]
fn units_are_shown_as_a_difference_written_and_taken_away() {
    everyone(|user| {
        jail(user, "/bin/sh");
        let dir = user.place.work().join("system");
        let units = dir.to_str().expect("text");
        let add = |more: &[&str]| {
            let mut words = vec!["service", "add", "s", "--unit-dir", units];
            words.extend(more);
            words.extend([
                "--limit",
                "pids=20",
                "--",
                "/bin/sh",
                "-c",
                "echo 100% $x; exit",
            ]);
            user.place.run(&words)
        };
        let ran = add(&["--plan", "--listen", "8000"]).expect(0);
        for part in [
            "--- /dev/null",
            "+ListenStream=8000",
            "+Requires=jaula-s.socket",
            "--limit=pids=20",
        ] {
            assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
        }
        assert!(!dir.exists());
        add(&["--listen", "8000"]).expect(0);
        let text = fs::read_to_string(dir.join("jaula-s.service")).expect("a unit");
        assert!(text.contains("service run s --restart=never --log=plain --limit=pids=20 -- /bin/sh -c \"echo 100%% $$x; exit\""), "{text}");
        verified(&dir);
        // What is given often keeps its order: the last counts.
        let ran = add(&["--plan", "--env", "A=2", "--cwd", "/", "--env", "A=1"]).expect(0);
        let both = "--cwd=/ --env=A=2 --env=A=1 --limit=pids=20";
        assert!(ran.stdout.contains(both), "{}", ran.stdout);
        // Without sockets their unit goes.
        let ran = add(&["--plan"]).expect(0);
        assert!(
            ran.stdout.contains("-Requires=jaula-s.socket") && ran.stdout.contains("+++ /dev/null"),
            "{}",
            ran.stdout
        );
        add(&[]).expect(0);
        assert!(!dir.join("jaula-s.socket").exists());
        let ran = user
            .place
            .run(&["service", "ls", "--unit-dir", units])
            .expect(0);
        assert!(ran.stdout.contains("jaula-s.service"), "{}", ran.stdout);
        user.place
            .run(&["service", "rm", "s", "--unit-dir", units])
            .expect(0);
        assert_eq!(fs::read_dir(&dir).expect("a directory").count(), 0);
        user.place
            .run(&["service", "rm", "s", "--unit-dir", units])
            .expect(125);
        // What somebody else wrote is left alone.
        fs::write(dir.join("jaula-s.service"), "[Service]\n").expect("a file");
        let ran = add(&[]).expect(125);
        assert!(ran.stderr.contains("was not written by"), "{}", ran.stderr);
        assert_eq!(
            fs::read_to_string(dir.join("jaula-s.service")).expect("a file"),
            "[Service]\n"
        );
        for wrong in [
            &["--listen", "nowhere"][..],
            &["--listen", "/run/x\\"],
            &["--stop-signal", "NONE"],
            &["--log-rate", "1"],
            &["--seccomp", "/no"],
        ] {
            assert_ne!(add(wrong).code, 0, "{wrong:?}");
        }
    });
}

/// systemd itself finds nothing wrong, where it is installed.
fn verified(dir: &Path) {
    let units = ["jaula-s.service", "jaula-s.socket"].map(|name| dir.join(name));
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]).args(&units);
    command.process_group(0);
    let Ok(output) = command.output() else {
        let test = "units_are_shown_as_a_difference_written_and_taken_away";
        jaula_testkit::skip::note(test, "no systemd-analyze(1) to verify units by");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let about: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("jaula-s"))
        .collect();
    assert!(about.is_empty(), "{about:?}");
}

#[test]
fn nginx_is_jailed_by_one_command_and_answers_from_outside() {
    for program in ["/usr/sbin/nginx", "/usr/bin/curl"] {
        if !Path::new(program).exists() {
            skip!("no {program}");
        }
    }
    everyone(|user| {
        if user.who != Who::Root {
            // A bridge is root's affair; a user's nginx is in `lines_of…` and in the traces' tests.
            if user.who == Who::Caller {
                let test = "nginx_is_jailed_by_one_command_and_answers_from_outside";
                jaula_testkit::skip::note(test, "only root makes a bridge");
            }
            return;
        }
        let script = r#"
            ip link set lo up
            $J net add br0 --addr 10.77.0.1/24 >/dev/null
            $J new web --with nginx --net bridge:br0,ip=10.77.0.2/24
            echo 'of the jail' > index.html
            $J cp index.html web:/var/www/html/index.html
            ln -s /etc/passwd evil
            $J cp evil web:/var/www/html/evil
            $J service run web > log 2>&1 & s=$!
            n=0; until curl -sf http://10.77.0.2/; do n=$((n+1)); [ $n -lt 2000 ] || { cat log; exit 8; }; done
            pid=$($J ls --json | sed -n 's/.*"pid":\([0-9]*\).*/\1/p')
            workers=0
            for p in $(cat /proc/*/stat 2>/dev/null | sed -n 's/^\([0-9]*\) (nginx) .*/\1/p'); do
                [ "$(readlink /proc/$p/ns/mnt)" = "$(readlink /proc/$pid/ns/mnt)" ] || continue
                [ "$(stat -Lc %d:%i /proc/$p/root/)" = "$(stat -Lc %d:%i /proc/$pid/root/)" ] || echo other root
                [ "$(stat -Lc %d:%i /proc/$p/root/)" != "$(stat -Lc %d:%i /)" ] || echo root of the host
                ! grep -qE '^Uid:.*[[:space:]]0([[:space:]]|$)' /proc/$p/status || echo uid 0
                workers=$((workers+1))
            done
            [ $workers -ge 2 ] || echo $workers processes
            curl -sf http://10.77.0.2/evil > passwd
            kill -HUP $s
            n=0; until curl -sf http://10.77.0.2/ >/dev/null; do n=$((n+1)); [ $n -lt 2000 ] || exit 7; done
            kill $s; wait $s; echo ended $?
            du -sk $JAULA_STORE/images/*/root | cut -f1 > size
        "#;
        let model = user.place.command::<&str>(&[]);
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--mount", "sh", "-euc", script])
            .env_clear()
            .current_dir(user.place.work());
        command.envs(
            model
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        command
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("J", model.get_program());
        let output = command.output().expect("unshare(1)");
        let (out, said) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert_eq!(out, "web\nof the jail\nended 0\n", "{said}");
        let read = |name: &str| fs::read_to_string(user.place.work().join(name)).expect("a file");
        // Through the link the jail's own file was read.
        let passwd = read("passwd");
        assert!(
            passwd.contains("www-data:") && passwd.lines().count() < 8,
            "{passwd}"
        );
        assert_ne!(
            passwd,
            fs::read_to_string("/etc/passwd").expect("the host's")
        );
        let log = read("log");
        assert!(
            log.lines()
                .any(|line| line.starts_with("web: 10.77.0.1 ") && line.contains("GET / HTTP")),
            "{log}"
        );
        let size: u64 = read("size").trim().parse().expect("one image");
        assert!(size <= 12 << 10, "{size} KiB");
    });
}
