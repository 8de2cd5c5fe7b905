//! Named jails from end to end, as root and as an ordinary user: state that lasts, sessions that share one jail, exit
//! codes, copies in and out while it runs and while it does not, removal, and sessions that are killed.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod mirror;
mod who;

use jaula_testkit::{Ran, skip};
use mirror::{Web, assert_gone};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use who::{User, everyone};

/// A new jail `web` for each user.
fn each(test: impl Fn(&User)) {
    everyone(|user| {
        let web = match Web::start(&["nginx-light"]) {
            Ok(web) => web,
            Err(reason) => skip!("{reason}"),
        };
        let words = [
            "new",
            "web",
            "--from",
            "debian:bookworm",
            "--variant",
            "essential",
        ];
        web.run(user, &words).expect(0);
        drop(web);
        test(user);
        assert_gone(user.place.path());
    });
}

#[track_caller]
fn exec(user: &User, script: &str) -> Ran {
    user.place.run(&["exec", "web", "--", "sh", "-c", script])
}

/// A session that has begun: its first line of output is there.
fn session(user: &User, script: &str) -> (Child, String) {
    let mut command = user
        .place
        .command(&["exec", "web", "--", "sh", "-c", script]);
    command.stdout(Stdio::piped());
    let mut child = command.spawn().expect("jaula");
    let mut line = String::new();
    let output = child.stdout.take().expect("a pipe");
    BufReader::new(output).read_line(&mut line).expect("a line");
    (child, line)
}

fn end(mut child: Child) {
    child.kill().expect("a child");
    child.wait().expect("an end");
}

#[test]
fn state_lasts_and_exit_codes_are_the_programs() {
    each(|user| {
        exec(user, "echo kept >/srv/kept; rm /etc/debian_version").expect(0);
        let ran = exec(
            user,
            "cat /srv/kept; ls /etc/debian_version 2>&1; hostname; id -u",
        );
        assert!(
            ran.stdout.starts_with("kept\nls: cannot access"),
            "{}",
            ran.stdout
        );
        assert!(ran.stdout.ends_with("web\n0\n"), "{}", ran.stdout);
        exec(user, "exit 7").expect(7);
        exec(user, "kill -TERM $$; sleep 9").expect(143);
        let run = |words: &[&str]| user.place.run(&[&["exec", "web", "--"], words].concat());
        run(&["/no/such"]).expect(127);
        run(&["/etc/passwd"]).expect(126);
        let missing = user.place.run(&["exec", "wbe", "--", "true"]).expect(125);
        assert!(missing.stderr.contains("hint: "), "{}", missing.stderr);
    });
}

#[test]
fn two_sessions_share_one_jail() {
    each(|user| {
        let (first, own) = session(
            user,
            "readlink /proc/self/ns/pid; echo here >/dev/shm/seen; sleep 60",
        );
        let ran = exec(
            user,
            "readlink /proc/self/ns/pid; cat /dev/shm/seen; ls /proc | grep -c '^[0-9]'",
        )
        .expect(0);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines.first(), Some(&own.trim()), "{}", ran.stdout);
        assert_eq!(lines.get(1), Some(&"here"));
        let listed = user.place.run(&["ls", "--json"]).expect(0).stdout;
        assert!(
            listed.contains("\"pid\":") && !listed.contains("\"pid\":null"),
            "{listed}"
        );
        // The second one stays when the first is killed, and all is gone after it.
        let (second, same) = session(user, "readlink /proc/self/ns/pid; sleep 60");
        assert_eq!(same, own);
        end(first);
        assert!(exec(user, "readlink /proc/self/ns/pid").expect(0).stdout == own);
        end(second);
        assert_gone(user.place.path());
        // A new start.
        let start = Instant::now();
        let fresh = exec(user, "ls /dev/shm; ls /proc | grep -c '^[0-9]'").expect(0);
        assert!(!fresh.stdout.contains("seen"), "{}", fresh.stdout);
        assert!(start.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn a_running_jail_is_removed_by_force_only() {
    each(|user| {
        let (mut child, _) = session(user, "echo up; sleep 60");
        let refused = user.place.run(&["rm", "web"]).expect(125);
        assert!(refused.stderr.contains("running"), "{}", refused.stderr);
        assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
        let shown = user.place.run(&["show", "web", "--json"]).expect(0).stdout;
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        let digest = shown["jail"]["image"]
            .as_str()
            .unwrap_or_else(|| panic!("{shown}"));
        let held = user.place.run(&["image", "rm", digest]).expect(125);
        assert!(held.stderr.contains("web"), "{}", held.stderr);
        user.place.run(&["rm", "--force", "web"]).expect(0);
        let status = child.wait().expect("an end");
        assert!(!status.success());
        assert_gone(user.place.path());
        assert!(!user.place.run(&["ls"]).expect(0).stdout.contains("web"));
        user.place.run(&["image", "rm", digest]).expect(0);
    });
}

/// Copies in all shapes, the jail as it is.
fn copies(user: &User, tag: &str) {
    let place = &user.place;
    let (work, seen) = (place.work().join(tag), format!("/srv/{tag}"));
    let make = |script: &str| {
        let done = user.other("sh", &["-ec", script]).status().expect("sh");
        assert!(done.success(), "{script}");
    };
    make(&format!(
        "mkdir {tag} {tag}/sub; echo one >{tag}/one; chmod 751 {tag}/one; ln -s sub/two {tag}/link; echo two >{tag}/sub/two"
    ));
    let cp = |from: &str, to: &str| place.run(&["cp", from, to]);
    // In: a directory under a new name, a file into a directory, a file under a new name, a link as a link.
    cp(tag, &format!("web:{seen}")).expect(0);
    cp(&format!("{tag}/one"), &format!("web:{seen}/sub")).expect(0);
    cp(&format!("{tag}/one"), &format!("web:{seen}/other")).expect(0);
    cp(&format!("{tag}/link"), &format!("web:{seen}/link2")).expect(0);
    let found = exec(
        user,
        &format!("cd {seen}; find . -printf '%p %y %U:%G %l\\n' | sort; cat link; stat -c %a one"),
    )
    .expect(0);
    assert_eq!(
        found.stdout,
        ". d 0:0 \n./link l 0:0 sub/two\n./link2 l 0:0 sub/two\n./one f 0:0 \n./other f 0:0 \n./sub d 0:0 \n\
         ./sub/one f 0:0 \n./sub/two f 0:0 \ntwo\n751\n"
    );
    // Out: what the jail's own users own is the caller's.
    exec(user, &format!("mkdir /srv/{tag}-out; cd /srv/{tag}-out; echo three >three; chown 33:33 three; ln -s /etc/passwd l")).expect(0);
    let back = format!("{tag}-back");
    cp(&format!("web:/srv/{tag}-out"), &back).expect(0);
    cp(&format!("web:/srv/{tag}-out/three"), ".").expect(0);
    cp(&format!("web:{seen}/one"), &format!("{tag}-one")).expect(0);
    let own = work.metadata().expect("a directory").uid();
    for path in [
        format!("{back}/three"),
        "three".into(),
        format!("{tag}-one"),
    ] {
        let meta = place.work().join(&path).symlink_metadata().expect(&path);
        assert_eq!(meta.uid(), own, "{path}");
    }
    let text = std::fs::read_to_string(place.work().join("three")).expect("a file");
    assert_eq!(text, "three\n");
    let link = std::fs::read_link(place.work().join(&back).join("l")).expect("a link");
    assert_eq!(link.to_str(), Some("/etc/passwd"));
    std::fs::remove_file(place.work().join("three")).expect("a file");
    // Links of the jail stay in it: absolute ones begin at its root, `..` ends there.
    let outside = place.path().join("home").join(format!("{tag}-planted"));
    std::fs::write(&outside, "the host's\n").expect("a file");
    let shown = outside.display().to_string();
    exec(user, &format!("ln -s {shown} /srv/{tag}-file; ln -s {} /srv/{tag}-dir; ln -s ../../../../../.. /srv/{tag}-up", outside.parent().expect("a parent").display())).expect(0);
    cp(&format!("{tag}/one"), &format!("web:/srv/{tag}-file")).expect(0);
    cp(&format!("{tag}/one"), &format!("web:/srv/{tag}-dir/x")).expect(125);
    cp(
        &format!("{tag}/one"),
        &format!("web:/srv/{tag}-up/in-{tag}"),
    )
    .expect(0);
    assert_eq!(
        std::fs::read_to_string(&outside).expect("a file"),
        "the host's\n"
    );
    exec(user, &format!("cat /in-{tag}")).expect(0);
    cp(&format!("web:/srv/{tag}-dir/{tag}-planted"), "stolen").expect(125);
    assert!(!place.work().join("stolen").exists());
    // What is not there, and what cannot be copied.
    let absent = cp("absent", "web:/srv").expect(125);
    assert!(absent.stderr.contains("absent"), "{}", absent.stderr);
    let absent = cp("web:/srv/absent", ".").expect(125);
    assert!(
        absent.stderr.contains("web:/srv/absent"),
        "{}",
        absent.stderr
    );
    cp(tag, &format!("web:{seen}/sub/two/x")).expect(125);
    // Nothing half-made on either side.
    assert_eq!(
        exec(user, "find / -xdev -name '.jaula-*'").expect(0).stdout,
        ""
    );
    let names = std::fs::read_dir(place.work())
        .expect("a directory")
        .flatten();
    let half = names.filter(|entry| entry.file_name().to_string_lossy().starts_with(".jaula"));
    assert_eq!(half.count(), 0);
}

#[test]
fn files_go_in_and_out_of_a_jail_that_does_not_run() {
    each(|user| copies(user, "stopped"));
}

#[test]
fn files_go_in_and_out_of_a_running_jail() {
    each(|user| {
        let (child, _) = session(user, "echo up; sleep 60");
        copies(user, "running");
        // What only the running jail has: its own memory file systems.
        std::fs::write(user.place.work().join("note"), "read me\n").expect("a file");
        user.place.run(&["cp", "note", "web:/dev/shm/"]).expect(0);
        assert_eq!(
            exec(user, "cat /dev/shm/note").expect(0).stdout,
            "read me\n"
        );
        user.place
            .run(&["cp", "web:/dev/shm/note", "noted"])
            .expect(0);
        end(child);
        // What was copied lasts.
        assert_eq!(exec(user, "cat /srv/running/one").expect(0).stdout, "one\n");
    });
}

#[test]
fn a_user_who_is_not_defined_inside_can_be() {
    each(|user| {
        let run = |words: &[&str]| user.place.run(words);
        let id = ["exec", "--user", "rjmerelo", "web", "--", "id"];
        let refused = run(&id).expect(125).stderr;
        assert!(
            refused.contains("rjmerelo is not defined in this jail"),
            "{refused}"
        );
        assert!(
            refused.contains("hint: jaula user add web rjmerelo defines that user"),
            "{refused}"
        );
        let login = run(&["user", "add", "web", "rjmerelo", "--only", "sftp"]).expect(125);
        assert!(
            login.stderr.contains("logins from the host"),
            "{}",
            login.stderr
        );
        if run(&["exec", "web", "--", "test", "-x", "/usr/sbin/useradd"]).code != 0 {
            let none = run(&["user", "add", "web", "rjmerelo"]).expect(127);
            assert!(none.stderr.contains("useradd"), "{}", none.stderr);
            return;
        }
        run(&["user", "add", "web", "rjmerelo", "--sudo"]).expect(0);
        let shown = run(&id).expect(0).stdout;
        assert!(
            shown.contains("(rjmerelo)") && shown.contains("(sudo)"),
            "{shown}"
        );
        run(&["user", "rm", "web", "rjmerelo"]).expect(0);
        run(&id).expect(125);
    });
}
