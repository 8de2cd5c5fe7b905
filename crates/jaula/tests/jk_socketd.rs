//! jk_socketd, in namespaces whose `/dev` has a log that this test reads.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

use jaula_testkit::kernel_test;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

fn sh(script: &str) -> Output {
    let mut command = Command::new("sh");
    command
        .args(["-euc", script])
        .env("J", env!("CARGO_BIN_EXE_jaula"));
    command.output().expect("sh")
}

#[track_caller]
fn ok(script: &str) -> String {
    let output = sh(script);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A `/dev` of its own, settings of its own, and two jails.
fn host() {
    ok(
        "mount -t tmpfs -o mode=755 none /dev; mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/urandom c 1 9\n\
        mount -t tmpfs -o mode=755 none /srv; mkdir -p /srv/ini /srv/j/dev /srv/k/dev\n\
        [ ! -d /etc/jailkit ] || mount --bind /srv/ini /etc/jailkit",
    );
}

/// What the log is told, without its times.
fn next(log: &UnixDatagram) -> String {
    let mut line = [0; 9000];
    let length = log.recv(&mut line).expect("a line of the log");
    String::from_utf8_lossy(&line[..length]).into_owned()
}

fn listener() -> UnixDatagram {
    drop(std::fs::remove_file("/dev/log"));
    let log = UnixDatagram::bind("/dev/log").expect("a log");
    ok("chmod 666 /dev/log");
    log.set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a limit");
    log
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn lines_of_jails_come_to_the_log_and_who_writes_too_much_waits() {
    kernel_test!(Root);
    host();
    let log = listener();
    let start = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jaula"));
        command.args(["compat", "jk_socketd", "-n"]).args(words);
        Running(command.spawn().expect("the program"))
    };
    let socket = "--socket=/srv/j/dev/log";
    let running = start(&[
        socket,
        "--base=100",
        "--peak=200",
        "--interval=1.5",
        "-p",
        "/srv/pid",
    ]);
    let hello = next(&log);
    assert!(
        hello.starts_with("<29>jk_socketd[")
            && hello
                .ends_with("]: listening on socket /srv/j/dev/log with rates [100:200]/1.500000"),
        "{hello}"
    );
    // It is nobody, with no rights, and its number is where it was asked for.
    let number = ok("cat /srv/pid");
    assert_eq!(number.trim(), running.0.id().to_string());
    let status = ok("grep -E '^(Uid|CapEff|NoNewPrivs|Seccomp):' /proc/$(cat /srv/pid)/status");
    assert_eq!(
        status,
        "Uid:\t65534\t65534\t65534\t65534\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    );
    assert_eq!(ok("stat -c '%F %a' /srv/j/dev/log"), "socket 666\n");
    let inside = UnixDatagram::unbound().expect("a socket");
    inside.connect("/srv/j/dev/log").expect("the jail's log");
    inside.send(b"<13>it works").expect("a line");
    assert_eq!(next(&log), "<13>it works");
    // Nothing is cut, and what is too much is told once and makes everybody wait.
    let long = "y".repeat(700);
    let sent = Instant::now();
    inside.send(long.as_bytes()).expect("a line");
    inside.send(b"<13>later").expect("a line");
    assert_eq!(next(&log), long);
    let warning = next(&log);
    assert!(
        warning.starts_with("<28>jk_socketd[")
            && warning.ends_with("device /srv/j/dev/log is writing too much, it waits"),
        "{warning}"
    );
    assert_eq!(next(&log), "<13>later");
    assert!(sent.elapsed() > Duration::from_millis(100), "nobody waited");
    // A log that is started anew is found again.
    drop(log);
    let log = listener();
    inside.send(b"<13>again").expect("a line");
    assert_eq!(next(&log), "<13>again");
    // And its socket is taken over by the next one.
    drop(running);
    let _next = start(&[socket]);
    assert!(next(&log).ends_with("with rates [511:2048]/5.000000"));
}

#[test]
fn settings_are_read_and_the_process_goes_to_the_background() {
    kernel_test!(Root);
    if !std::path::Path::new("/etc/jailkit").is_dir() {
        jaula_testkit::skip!("there is no /etc/jailkit to stand in for");
    }
    host();
    let launch = "$J compat jk_socketd -p /srv/pid";
    let refused = |why: &str| {
        let output = sh(launch);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(1) && said.contains(why),
            "{said}"
        );
    };
    refused("/etc/jailkit/jk_socketd.ini: ");
    let ini = "[/srv/j/dev/log]\nbase = 512\npeek = 2048\ninterval = 10\n[/srv/k/dev/log]\n";
    std::fs::write("/srv/ini/jk_socketd.ini", ini).expect("settings");
    refused("cannot reach the log at /dev/log");
    assert!(!std::path::Path::new("/srv/j/dev/log").exists());
    let log = listener();
    std::fs::write("/srv/k/dev/log", "a file").expect("a file");
    refused("/srv/k/dev/log is there already and is not a socket");
    ok("rm /srv/k/dev/log; chmod 777 /srv/k");
    refused("cannot make /srv/k/dev/log: /srv/k can be written by");
    ok("chmod 755 /srv/k");
    ok(launch);
    let mut told =
        [next(&log), next(&log)].map(|line| line.rsplit("socket ").next().unwrap_or("").to_owned());
    told.sort();
    assert_eq!(
        told,
        [
            "/srv/j/dev/log with rates [512:2048]/10.000000",
            "/srv/k/dev/log with rates [511:2048]/5.000000"
        ]
    );
    for jail in ["j", "k"] {
        let inside = UnixDatagram::unbound().expect("a socket");
        inside
            .connect(format!("/srv/{jail}/dev/log"))
            .expect("the jail's log");
        inside.send(jail.as_bytes()).expect("a line");
        assert_eq!(next(&log), jail);
    }
    ok("kill $(cat /srv/pid)");
    std::fs::write("/srv/ini/jk_socketd.ini", "[/srv/j/dev/log]\nburst = 1\n").expect("settings");
    refused("line 2, column 1: ");
}
