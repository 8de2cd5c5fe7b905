//! The main job from end to end, as root and as an ordinary user with subordinate ids: from a distribution's name to
//! a program that runs isolated. Real packages come from a partial mirror of bookworm, verified by Debian's keys.

#![allow(clippy::disallowed_types)]

mod who;

use jaula_testkit::{Ran, partial_mirror, skip};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use who::{User, Who, everyone};

/// The mirror, seen through a link in the user's place so that it can be taken away.
struct Mirror {
    link: PathBuf,
    options: Vec<String>,
}

impl Mirror {
    fn of(user: &User) -> Result<Self, String> {
        let mirror =
            partial_mirror(&["nginx-light"]).map_err(|error| format!("no mirror: {error:#}"))?;
        let link = user.place.path().join("mirror");
        std::os::unix::fs::symlink(&mirror, &link).map_err(|error| error.to_string())?;
        let options = vec![
            "--mirror".to_owned(),
            format!("file://{}", link.display()),
            "--keyring".to_owned(),
            link.join("keyring.gpg").display().to_string(),
        ];
        Ok(Self { link, options })
    }

    /// By the name it has for everyone: the mirror's address is written into the image.
    fn without_link(mut self) -> Self {
        let plain = std::fs::read_link(&self.link).expect("the link");
        let (link, plain) = (self.link.display().to_string(), plain.display().to_string());
        for option in &mut self.options {
            *option = option.replace(&link, &plain);
        }
        self
    }

    fn take_away(&self) {
        std::fs::remove_file(&self.link).expect("the link");
    }
}

/// `jaula WORDS` with the mirror's options put before `--`.
fn run(user: &User, mirror: &Mirror, words: &[&str]) -> Ran {
    let at = words
        .iter()
        .position(|word| *word == "--")
        .unwrap_or(words.len());
    let (before, after) = words.split_at(at);
    let options = mirror.options.iter().map(String::as_str);
    let words: Vec<&str> = before
        .iter()
        .copied()
        .chain(options)
        .chain(after.iter().copied())
        .collect();
    user.place.run(&words)
}

/// Everything in a directory, by name.
fn listing(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn the_hosts_programs_run_isolated_without_network_or_root() {
    everyone(|user| {
        let script = "id -u; ls /proc | grep -c '^[0-9]'; hostname; cat /proc/net/dev | wc -l";
        let ran = user.place.run(&["run", "--", "sh", "-c", script]).expect(0);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        let [uid, processes, hostname, links] = lines.as_slice() else {
            panic!("{}", ran.stdout)
        };
        assert_eq!(*uid, "0");
        // The shell, the pipe's two, perhaps an init; nothing of the host.
        assert!(
            processes
                .parse::<u32>()
                .is_ok_and(|count| (1..=6).contains(&count)),
            "{processes}"
        );
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name");
        assert_ne!(*hostname, host.trim());
        // Two lines of heading and the loopback.
        assert_eq!(*links, "3");
        assert_eq!(ran.stderr, "");
    });
}

#[test]
fn the_exit_code_is_the_programs() {
    everyone(|user| {
        let code = |words: &[&str]| user.place.run(&[&["run", "--"], words].concat()).code;
        assert_eq!(code(&["true"]), 0);
        assert_eq!(code(&["sh", "-c", "exit 7"]), 7);
        assert_eq!(code(&["sh", "-c", "kill -TERM $$; sleep 9"]), 143);
        let missing = user
            .place
            .run(&["run", "--", "/no/such/program"])
            .expect(127);
        assert!(
            missing.stderr.starts_with("error: cannot "),
            "{}",
            missing.stderr
        );
        let refused = user.place.run(&["run", "--", "/etc/passwd"]).expect(126);
        assert!(
            refused.stderr.starts_with("error: cannot "),
            "{}",
            refused.stderr
        );
    });
}

#[test]
fn what_was_enforced_is_told() {
    everyone(|user| {
        let ran = user
            .place
            .run(&["run", "--json", "--", "echo", "mine"])
            .expect(0);
        assert_eq!(ran.stdout, "mine\n");
        let events: Vec<serde_json::Value> = ran
            .stderr
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let outcome = events
            .iter()
            .find(|event| event["event"] == "outcome")
            .expect("an outcome");
        assert_eq!(outcome["status"]["exited"], 0);
        assert!(outcome["enforced"].is_object(), "{outcome}");
    });
}

#[test]
fn options_of_a_run_hold_inside() {
    everyone(|user| {
        let shared = user.place.path().join("work");
        std::fs::write(shared.join("told"), "by the host\n").expect("a file");
        let bind = format!("{}:/mnt:ro", shared.display());
        let words = [
            "run",
            "--hostname",
            "cell",
            "--env",
            "A=b c",
            "--bind",
            &bind,
            "--tmpfs",
            "/opt",
            "--cwd",
            "/opt",
            "--",
            "sh",
            "-c",
            "hostname; echo $A; cat /mnt/told; touch /mnt/x 2>/dev/null || echo refused; pwd; touch x; env | grep -c JAULA_STORE",
        ];
        let ran = user.place.run(&words);
        assert_eq!(
            ran.stdout, "cell\nb c\nby the host\nrefused\n/opt\n0\n",
            "{}",
            ran.stderr
        );
        assert!(!shared.join("x").exists());
    });
}

#[test]
fn a_distribution_runs_and_runs_again_without_its_mirror() {
    everyone(|user| {
        let mirror = match Mirror::of(user) {
            Ok(mirror) => mirror,
            Err(reason) => skip!("{reason}"),
        };
        let ran = run(
            user,
            &mirror,
            &["run", "debian:bookworm", "--", "cat", "/etc/os-release"],
        )
        .expect(0);
        assert!(
            ran.stdout.contains("VERSION_CODENAME=bookworm"),
            "{}",
            ran.stdout
        );
        mirror.take_away();
        let again = run(
            user,
            &mirror,
            &["run", "debian:bookworm", "--", "cat", "/etc/os-release"],
        )
        .expect(0);
        assert_eq!(again.stdout, ran.stdout);
        assert_eq!(again.stderr, "");
        assert!(again.elapsed.as_millis() < 1000, "{:?}", again.elapsed);
        // The image is never written.
        let ran = run(
            user,
            &mirror,
            &[
                "run",
                "debian:bookworm",
                "--",
                "sh",
                "-c",
                "rm -rf /etc && touch /x && ls /",
            ],
        );
        assert!(ran.expect(0).stdout.lines().any(|line| line == "x"));
        let ran = run(
            user,
            &mirror,
            &[
                "run",
                "debian:bookworm",
                "--",
                "sh",
                "-c",
                "ls / ; cat /etc/hostname",
            ],
        );
        assert!(
            !ran.stdout
                .lines()
                .any(|line| line == "x" || line.is_empty()),
            "{}",
            ran.stdout
        );
        // It can be seen and removed.
        let listed = user.place.run(&["image", "ls"]).expect(0);
        assert!(
            listed.stdout.contains("debian:bookworm"),
            "{}",
            listed.stdout
        );
        user.place
            .run(&["image", "show", "debian:bookworm"])
            .expect(0);
        user.place
            .run(&["image", "rm", "debian:bookworm"])
            .expect(0);
        let listed = user.place.run(&["image", "ls"]).expect(0);
        assert_eq!(listed.stdout.lines().count(), 1, "{}", listed.stdout);
    });
}

#[test]
fn more_packages_fetch_only_what_is_missing() {
    everyone(|user| {
        let mirror = match Mirror::of(user) {
            Ok(mirror) => mirror,
            Err(reason) => skip!("{reason}"),
        };
        let fetched = |ran: &Ran| {
            let events = ran
                .stderr
                .lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let done =
                events.filter(|event| event["event"] == "finished" && event["phase"] == "fetch");
            done.filter_map(|event| event["items"].as_u64())
                .sum::<u64>()
        };
        let base = run(
            user,
            &mirror,
            &["run", "debian:bookworm", "--json", "--", "true"],
        )
        .expect(0);
        assert!(fetched(&base) > 50, "{}", base.stderr);
        let words = [
            "run",
            "debian:bookworm",
            "--include",
            "nginx-light",
            "--json",
            "--",
            "nginx",
            "-v",
        ];
        let more = run(user, &mirror, &words).expect(0);
        assert!(
            more.stderr.contains("nginx version: nginx/"),
            "{}",
            more.stderr
        );
        assert!((1..40).contains(&fetched(&more)), "{}", fetched(&more));
    });
}

#[test]
fn a_plan_and_an_explanation_change_nothing() {
    everyone(|user| {
        let mirror = match Mirror::of(user) {
            Ok(mirror) => mirror,
            Err(reason) => skip!("{reason}"),
        };
        let before = listing(&user.place.store());
        for verb in [
            &["run", "debian:bookworm"][..],
            &["build", "debian:bookworm"],
            &["new", "web", "--from", "debian:bookworm"],
        ] {
            let plan = run(user, &mirror, &[verb, &["--plan"]].concat()).expect(0);
            assert!(plan.stdout.lines().count() > 3, "{verb:?}: {}", plan.stdout);
            assert!(plan.stdout.contains("dpkg"), "{verb:?}: {}", plan.stdout);
            let script = run(user, &mirror, &[verb, &["--explain"]].concat())
                .expect(0)
                .stdout;
            assert!(script.starts_with("#!/bin/sh\n"), "{script}");
            let file = user.place.work().join("script");
            std::fs::write(&file, &script).expect("a file");
            let checked = Command::new("sh")
                .arg("-n")
                .arg(&file)
                .output()
                .expect("sh");
            assert!(
                checked.status.success(),
                "{}\n{script}",
                String::from_utf8_lossy(&checked.stderr)
            );
            assert_eq!(listing(&user.place.store()), before, "{verb:?}");
        }
        for words in [
            &["run", "--plan", "--", "true"][..],
            &["run", "--explain", "--", "true"],
            &["run", "--plan", "--json"],
        ] {
            let ran = user.place.run(words).expect(0);
            assert!(!ran.stdout.is_empty());
            assert_eq!(listing(&user.place.store()), before, "{words:?}");
        }
    });
}

#[test]
fn the_same_packages_give_the_same_archive() {
    let mut archives: Vec<Vec<u8>> = Vec::new();
    let mut compressed: Vec<Vec<u8>> = Vec::new();
    let mut skipped = None;
    everyone(|user| {
        let mirror = match Mirror::of(user) {
            Ok(mirror) => mirror.without_link(),
            Err(reason) => {
                skipped = Some(reason);
                return;
            }
        };
        for round in ["one", "two"] {
            // A store of its own: the second archive is not the first one's image written again.
            let store = user.place.path().join("home").join(round);
            let store = store.display().to_string();
            let file = format!("{round}.tar");
            let words = [
                "--store",
                &store,
                "build",
                "debian:bookworm",
                "--variant",
                "minbase",
                "-o",
                &file,
            ];
            run(user, &mirror, &words).expect(0);
            archives.push(std::fs::read(user.place.work().join(&file)).expect("the archive"));
            let file = format!("{round}.tar.zst");
            let words: Vec<&str> = words[..words.len() - 1]
                .iter()
                .copied()
                .chain([file.as_str()])
                .collect();
            run(user, &mirror, &words).expect(0);
            compressed.push(std::fs::read(user.place.work().join(&file)).expect("the archive"));
        }
        // The archive is one that tar(1) reads and jaula runs.
        let list = Command::new("tar")
            .arg("-tf")
            .arg(user.place.work().join("one.tar"))
            .output()
            .expect("tar");
        assert!(String::from_utf8_lossy(&list.stdout).contains("etc/os-release"));
        let ran = user
            .place
            .run(&["run", "./one.tar", "--", "cat", "/etc/debian_version"])
            .expect(0);
        assert!(ran.stdout.starts_with("12."), "{}", ran.stdout);
    });
    if let Some(reason) = skipped {
        skip!("{reason}");
    }
    let same = compressed.iter().all(|archive| archive == &compressed[0]);
    assert!(same, "a tar.zst differs from another");
    for archive in &archives {
        assert!(archive.len() > 50_000_000);
        // The ordinary user's and root's too.
        let same = archive
            .iter()
            .zip(&archives[0])
            .take_while(|(a, b)| a == b)
            .count();
        assert!(
            archive == &archives[0],
            "an archive differs from the first at byte {same}"
        );
    }
}

#[test]
fn a_named_jail_keeps_what_is_written() {
    everyone(|user| {
        let mirror = match Mirror::of(user) {
            Ok(mirror) => mirror,
            Err(reason) => skip!("{reason}"),
        };
        let place = &user.place;
        run(user, &mirror, &["new", "web", "--from", "debian:bookworm"]).expect(0);
        place.run(&["new", "web"]).expect(125);
        let ran = place
            .run(&[
                "exec",
                "web",
                "--",
                "sh",
                "-c",
                "echo kept > /srv/file; hostname",
            ])
            .expect(0);
        assert_eq!(ran.stdout, "web\n");
        assert_eq!(
            place
                .run(&["exec", "web", "--", "cat", "/srv/file"])
                .expect(0)
                .stdout,
            "kept\n"
        );
        place.run(&["exec", "web", "--", "false"]).expect(1);
        // In and out.
        std::fs::write(place.work().join("in"), "from the host\n").expect("a file");
        place.run(&["cp", "in", "web:/srv/in"]).expect(0);
        assert_eq!(
            place
                .run(&["exec", "web", "--", "cat", "/srv/in"])
                .expect(0)
                .stdout,
            "from the host\n"
        );
        place.run(&["cp", "web:/srv/file", "out"]).expect(0);
        assert_eq!(
            std::fs::read_to_string(place.work().join("out")).expect("a file"),
            "kept\n"
        );
        // A link inside leads nowhere outside.
        let planted = place.path().join("home").join("planted");
        let plant = format!("ln -s {} /srv/link", planted.display());
        place
            .run(&["exec", "web", "--", "sh", "-c", &plant])
            .expect(0);
        let copied = place.run(&["cp", "in", "web:/srv/link"]);
        assert!(!planted.exists(), "{}", copied.stderr);
        // Seen and removed.
        assert!(place.run(&["ls"]).expect(0).stdout.contains("web"));
        assert!(
            place
                .run(&["show", "web"])
                .expect(0)
                .stdout
                .contains("hostname: web")
        );
        place.run(&["image", "rm", "debian:bookworm"]).expect(125);
        place.run(&["rm", "web"]).expect(0);
        assert!(!place.run(&["ls"]).expect(0).stdout.contains("web"));
        place.run(&["exec", "web", "--", "true"]).expect(125);
        place.run(&["image", "rm", "debian:bookworm"]).expect(0);
    });
}

#[test]
fn a_directory_runs_and_is_only_written_on_request() {
    everyone(|user| {
        let mirror = match Mirror::of(user) {
            Ok(mirror) => mirror,
            Err(reason) => skip!("{reason}"),
        };
        if user.who != Who::Root {
            // A tree with the files of several owners is not an ordinary user's to make outside his session.
            return;
        }
        run(
            user,
            &mirror,
            &[
                "build",
                "debian:bookworm",
                "--variant",
                "essential",
                "-o",
                "tree",
            ],
        )
        .expect(0);
        let tree = user.place.work().join("tree");
        user.place
            .run(&["run", "./tree", "--", "touch", "/srv/gone"])
            .expect(0);
        assert!(!tree.join("srv/gone").exists());
        assert_ne!(
            user.place
                .run(&["run", "./tree", "--read-only", "--", "touch", "/srv/no"])
                .code,
            0
        );
        user.place
            .run(&["run", "./tree", "--write", "--", "touch", "/srv/kept"])
            .expect(0);
        assert!(tree.join("srv/kept").exists());
        // It is an ordinary tree.
        let plain = Command::new("chroot")
            .arg(&tree)
            .args(["dpkg", "--audit"])
            .output()
            .expect("chroot");
        assert!(
            plain.status.success() && plain.stdout.is_empty(),
            "{plain:?}"
        );
    });
}

#[test]
fn a_shell_has_a_terminal_of_its_own() {
    everyone(|user| {
        let jaula = user.place.command(&["run"]);
        let line = format!(
            "stty rows 33 cols 101; {} run; echo after=$?; stty -a",
            jaula.get_program().display()
        );
        let mut script = Command::new("script");
        script
            .args(["-qec", &line, "/dev/null"])
            .env_clear()
            .current_dir(user.place.work());
        for (name, value) in jaula.get_envs() {
            if let Some(value) = value {
                script.env(name, value);
            }
        }
        script.env("SHELL", "/bin/sh").env("TERM", "dumb");
        script
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = script.spawn().expect("script(1)");
        let mut input = child.stdin.take().expect("a pipe");
        input
            .write_all(b"stty size; tty; echo id=$(id -u)\nexit 3\n")
            .expect("written");
        let output = child.wait_with_output().expect("an end");
        drop(input);
        let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        assert!(text.lines().any(|line| line.ends_with("33 101")), "{text}");
        assert!(
            text.contains("/dev/pts/0") || text.contains("/dev/console"),
            "{text}"
        );
        assert!(text.contains("id=0"), "{text}");
        assert!(text.contains("after=3"), "{text}");
        // The terminal is as it was: not raw.
        assert!(
            text.contains(" icanon") && text.contains(" echo "),
            "{text}"
        );
    });
}
