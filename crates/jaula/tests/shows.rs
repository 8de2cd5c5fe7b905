//! What the main job promises, word for word, against a web server that counts: the second run needs none, more
//! packages fetch only what is missing, a plan and an explanation change nothing, and the explanation runs.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod mirror;
mod who;

use jaula_testkit::skip;
use mirror::{Web, assert_gone, tree};
use std::io::Write;
use std::process::{Command, Stdio};
use who::{User, Who, everyone};

#[test]
fn the_second_run_needs_no_server() {
    everyone(|user| {
        let web = match Web::start(&["nginx-light"]) {
            Ok(web) => web,
            Err(reason) => skip!("{reason}"),
        };
        let words = ["run", "debian:bookworm", "--", "cat", "/etc/os-release"];
        let first = web.run(user, &words).expect(0);
        assert!(first.stdout.contains("VERSION_CODENAME=bookworm\n"));
        assert!(web.packages().len() > 50);
        let words = web.words(&words);
        drop(web);
        let second = user.place.run(&words).expect(0);
        assert_eq!(second.stdout, first.stdout);
        assert_eq!(second.stderr, "");
        assert!(second.elapsed.as_millis() < 1000, "{:?}", second.elapsed);
        assert_gone(user.place.path());
    });
}

#[test]
fn only_missing_packages_are_asked_for() {
    everyone(|user| {
        let web = match Web::start(&["nginx-light"]) {
            Ok(web) => web,
            Err(reason) => skip!("{reason}"),
        };
        web.run(user, &["run", "debian:bookworm", "--", "true"])
            .expect(0);
        let base = web.packages();
        let words = ["--include", "nginx-light", "--", "nginx", "-v"];
        let ran = web
            .run(user, &[&["run", "debian:bookworm"], &words[..]].concat())
            .expect(0);
        assert!(
            ran.stderr.contains("nginx version: nginx/"),
            "{}",
            ran.stderr
        );
        let requests = web.server.requests();
        let debs = requests.iter().filter(|r| r.path.ends_with(".deb")).count();
        let all = web.packages();
        // Each package once, over both runs.
        assert_eq!(debs, all.len());
        let more: Vec<&String> = all.difference(&base).collect();
        assert!(more.iter().any(|path| path.contains("/nginx-light_")));
        assert!((2..40).contains(&more.len()), "{more:?}");
    });
}

#[test]
fn a_plan_leaves_an_absent_store_absent() {
    everyone(|user| {
        let web = match Web::start(&["nginx-light"]) {
            Ok(web) => web,
            Err(reason) => skip!("{reason}"),
        };
        let absent = user.place.path().join("home/absent");
        let place = absent.display().to_string();
        let before = tree(user.place.path());
        for verb in [
            &["run", "debian:bookworm"][..],
            &["build", "debian:bookworm", "-o", "x.tar"],
            &["new", "web", "--from", "debian:bookworm"],
        ] {
            for shown in ["--plan", "--explain"] {
                let ran = web.run(user, &[&["--store", &place], verb, &[shown]].concat());
                assert!(ran.expect(0).stdout.contains("libc6") || shown == "--explain");
                assert_eq!(tree(user.place.path()), before, "{verb:?} {shown}");
            }
        }
        for words in [
            &["run", "--plan", "--", "true"][..],
            &["run", "--explain", "--", "true"],
            &["recover", "--plan"],
            &["recover", "--explain"],
        ] {
            user.place
                .run(&[&["--store", &place], words].concat())
                .expect(0);
            assert_eq!(tree(user.place.path()), before, "{words:?}");
        }
        assert!(!absent.exists());
        // Nothing was fetched but indices.
        assert!(web.packages().is_empty());
        // A store that has an image stays as it is, too.
        web.run(user, &["run", "debian:bookworm", "--", "true"])
            .expect(0);
        user.place.run(&["new", "one", "--from", "debian:bookworm"]);
        let before = tree(&user.place.store());
        for words in [
            &["run", "debian:bookworm", "--plan"][..],
            &["run", "debian:bookworm", "--explain"],
            &[
                "run",
                "debian:bookworm",
                "--include",
                "nginx-light",
                "--plan",
            ],
            &["build", "debian:bookworm", "-o", "x.tar", "--plan"],
            &["new", "two", "--from", "debian:bookworm", "--explain"],
        ] {
            web.run(user, words).expect(0);
            assert_eq!(tree(&user.place.store()), before, "{words:?}");
        }
    });
}

/// The output of a command that is given a line to read.
#[track_caller]
fn told(mut command: Command) -> String {
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a child");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(b"typed\n").expect("written");
    drop(input);
    let output = child.wait_with_output().expect("an end");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether mount(8) can map identifiers (util-linux 2.39).
fn mount_maps() -> bool {
    let text = mirror::lines("mount", &["--version"]).concat();
    let numbers: Vec<u32> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect();
    matches!(numbers.as_slice(), [major, minor, ..] if (*major, *minor) >= (2, 39))
}

/// Runs what `--explain` says and compares it with what jaula does.
#[track_caller]
fn explained(user: &User, words: &[String]) {
    // What a process can see of its jail; the last line shows that its input is the caller's.
    let script = "id; hostname; pwd; env | sort; cat /proc/self/uid_map /proc/self/gid_map; \
                  grep -E '^(Cap|NoNewPrivs)' /proc/self/status; ls / /dev; \
                  wc -l </proc/self/mountinfo; cat /proc/net/dev | wc -l; ls /sys/class/net; \
                  head -c 10 /proc/keys | wc -c; echo x 2>/dev/null >/proc/sys/kernel/hostname || echo refused; \
                  cat; set -- /proc/[0-9]*; echo $#";
    let program = ["--", "sh", "-c", script].map(str::to_owned);
    let with = |more: &[String]| [&[String::from("run")], words, more, &program].concat();
    let text = user.place.run(&with(&["--explain".into()])).expect(0);
    let file = user.place.work().join("explained");
    std::fs::write(&file, &text.stdout).expect("a file");
    let native = told(user.place.command(&with(&[])));
    let classic = told(user.other("sh", &[&file.display().to_string()]));
    let split = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let count = lines.pop().and_then(|count| count.parse::<u32>().ok());
        (lines, count.unwrap_or_else(|| panic!("{text}")))
    };
    let ((native, jaula), (classic, plain)) = (split(&native), split(&classic));
    let maps = |line: &String| line.split_whitespace().all(|n| n.parse::<u32>().is_ok());
    // Which identifiers outside it are may differ; how many, and from where inside, may not.
    let seen = |lines: Vec<String>| -> Vec<String> {
        let shorten = |line: String| match maps(&line) && line.starts_with(' ') {
            true => line.split_whitespace().take(1).collect(),
            false => line,
        };
        lines.into_iter().map(shorten).collect()
    };
    assert_eq!(seen(classic), seen(native));
    // jaula's jail has a first process that reaps.
    assert_eq!(plain + 1, jaula);
}

#[test]
fn the_explanation_of_a_run_does_the_same() {
    everyone(|user| {
        explained(user, &[]);
        let words = ["--hostname", "cell", "--tmpfs", "/srv", "--env", "A=b c"];
        explained(user, &words.map(str::to_owned));
        assert_gone(user.place.path());
    });
}

#[test]
fn the_explanation_of_a_run_of_an_image_does_the_same() {
    everyone(|user| {
        let web = match Web::start(&["nginx-light"]) {
            Ok(web) => web,
            Err(reason) => skip!("{reason}"),
        };
        web.run(user, &["run", "debian:bookworm", "--", "true"])
            .expect(0);
        let words = web.words(&["debian:bookworm"]);
        if user.who == Who::Root && !mount_maps() {
            // The mount(8) of this host cannot map the image's identifiers.
            let host = ["--ids".to_owned(), "host".to_owned()];
            explained(user, &[words, host.to_vec()].concat());
        } else {
            explained(user, &words);
        }
    });
}
