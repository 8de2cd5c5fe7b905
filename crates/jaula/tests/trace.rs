//! Programs under observation, from end to end, as root and as an ordinary user.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use jaula_testkit::skip;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use who::{User, Who, everyone};

fn file(user: &User, name: &str, text: &str, mode: u32) -> String {
    let path = user.place.work().join(name);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a file of ours");
    path.to_str().expect("text").to_owned()
}

/// The entries of a list of a trace.
fn list(text: &str, name: &str) -> Vec<String> {
    let start = format!("{name} = [\n");
    let Some((_, rest)) = text.split_once(&start) else {
        return Vec::new();
    };
    rest.lines()
        .take_while(|line| *line != "]")
        .filter_map(|line| Some(line.trim().strip_prefix('"')?.split_once('"')?.0.to_owned()))
        .collect()
}

#[test]
fn a_trace_names_what_a_program_and_its_children_use() {
    everyone(|user| {
        let data = file(user, "data", "some\n", 0o644);
        let script = file(
            user,
            "script",
            &format!(
                "#!/bin/sh\ncat {data}\n[ -e /no/such/thing ]\ncat /proc/$$/comm >/dev/null\nexit 3\n"
            ),
            0o755,
        );
        let ran = user
            .place
            .run(&["trace", "-o", "-", "--", &script])
            .expect(3);
        let has =
            |name: &str, path: &str| list(&ran.stdout, name).iter().any(|known| known == path);
        assert!(ran.stdout.starts_with("some\n"), "{}", ran.stdout);
        assert!(
            has("programs", &script)
                && list(&ran.stdout, "programs")
                    .iter()
                    .any(|p| p.ends_with("/cat")),
            "{}",
            ran.stdout
        );
        assert!(
            has("read", &data) && has("absent", "/no/such/thing"),
            "{}",
            ran.stdout
        );
        assert!(has("kernel", "/proc/PID/comm"), "{}", ran.stdout);
        assert!(
            list(&ran.stdout, "read")
                .iter()
                .any(|path| path.contains("libc.so")),
            "{}",
            ran.stdout
        );
        assert!(has("calls", "execve") && !has("calls", "read"));
        let asker = ran
            .stdout
            .lines()
            .find(|line| line.contains(&format!("\"{data}\"")));
        assert!(
            asker.is_some_and(|line| line.contains("# ") && line.ends_with("/cat")),
            "{asker:?}"
        );
    });
}

#[test]
fn traces_are_added_to_each_other_and_read_again() {
    everyone(|user| {
        let a = file(user, "a", "a\n", 0o644);
        let b = file(user, "b", "b\n", 0o644);
        let out = user.place.work().join("both.toml");
        let out = out.to_str().expect("text");
        for data in [&a, &b] {
            user.place
                .run(&["trace", "-o", out, "--merge", out, "--", "cat", data])
                .expect(0);
        }
        let text = fs::read_to_string(out).expect("a trace");
        let read = list(&text, "read");
        assert!(read.contains(&a) && read.contains(&b), "{text}");
        assert_eq!(text.matches("[[run]]").count(), 2);
        // The same file is a profile: what was not seen is refused.
        let words = ["run", "--seccomp", out, "--", "cat", "/etc/hosts"];
        user.place.run(&words).expect(0);
        let words = ["run", "--seccomp", out, "--", "mkdir", "/tmp/x"];
        let refused = user.place.run(&words);
        assert_ne!(refused.code, 0);
        assert!(
            refused.stderr.contains("not permitted"),
            "{}",
            refused.stderr
        );
    });
}

#[test]
fn a_trace_allows_nothing_that_every_jail_is_refused() {
    everyone(|user| {
        // What makes a process is seen without what it is made with.
        user.place
            .run(&["trace", "-o", "t", "--", "unshare", "--user", "true"])
            .expect(0);
        let words = ["run", "--seccomp", "t", "--", "unshare", "--user", "true"];
        let refused = user.place.run(&words);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(
            refused.stderr.contains("unshare failed"),
            "{}",
            refused.stderr
        );
    });
}

#[test]
fn what_is_no_file_is_written_to_and_not_replaced() {
    everyone(|user| {
        let own = file(user, "t.new", "mine", 0o644);
        file(user, "t", "old", 0o644);
        user.place
            .run(&["trace", "-o", "t", "--", "true"])
            .expect(0);
        assert_eq!(fs::read_to_string(own).expect("a file"), "mine");
        let text = fs::read_to_string(user.place.work().join("t")).expect("a trace");
        assert!(text.contains("programs"), "{text}");
        let pipe = user.place.work().join("pipe");
        let made = std::process::Command::new("mkfifo")
            .args(["-m", "666"])
            .arg(&pipe)
            .status();
        assert!(made.expect("mkfifo").success());
        // Both ways, so that nobody waits for the other end.
        let held = fs::File::options().read(true).write(true).open(&pipe);
        user.place
            .run(&["trace", "-o", "pipe", "--", "true"])
            .expect(0);
        drop(held);
        use std::os::unix::fs::FileTypeExt;
        let there = fs::symlink_metadata(&pipe).expect("the pipe").file_type();
        assert!(there.is_fifo());
    });
}

#[test]
fn what_cannot_be_watched_is_said_and_nothing_is_written() {
    everyone(|user| {
        let out = user.place.work().join("none.toml");
        let path = out.to_str().expect("text");
        let ran = user
            .place
            .run(&["trace", "-o", path, "--", "no-such-program"])
            .expect(127);
        assert!(ran.stderr.contains("no-such-program"), "{}", ran.stderr);
        let plain = file(user, "plain", "text\n", 0o644);
        user.place
            .run(&["trace", "-o", path, "--", &plain])
            .expect(126);
        let ran = user.place.run(&["trace", "--", "true"]).expect(125);
        assert!(ran.stderr.contains("-o FILE"), "{}", ran.stderr);
        let bad = file(user, "bad.toml", "version = 1\n[files]\nraed = []\n", 0o644);
        let ran = user
            .place
            .run(&["trace", "-o", path, "--merge", &bad, "--", "true"])
            .expect(125);
        assert!(ran.stderr.contains("line 3"), "{}", ran.stderr);
        let ran = user
            .place
            .run(&["trace", "-o", path, "--plan", "--", "true"])
            .expect(0);
        assert!(ran.stdout.contains("watch true"), "{}", ran.stdout);
        assert!(!Path::new(path).exists());
    });
}

#[test]
fn a_program_that_goes_on_is_told_to_end_in_time() {
    everyone(|user| {
        let words = ["trace", "-o", "-", "--for", "1s", "--", "sleep", "1000"];
        user.place.run(&words).expect(128 + 15);
        // One that has left the program is ended with it.
        let words = [
            "trace",
            "-o",
            "-",
            "--for",
            "1s",
            "--",
            "sh",
            "-c",
            "setsid sleep 1000 & exit 4",
        ];
        user.place.run(&words).expect(4);
    });
}

/// Whether nothing could be watched inside: counted, and only so where files' owners are on record.
fn unwatched(user: &User, ran: &jaula_testkit::Ran) -> bool {
    let not = ran.stderr.contains("only one can listen");
    if not {
        assert_ne!(user.who, Who::Root, "{}", ran.stderr);
        let test = std::thread::current();
        jaula_testkit::skip::note(
            test.name().unwrap_or_default(),
            "somebody listens already in a jail with one identifier",
        );
    }
    not
}

/// The host's own programs only, wherever the tests' caller looks first.
fn plainly(user: &User, words: &[&str]) -> jaula_testkit::Ran {
    let mut command = user.place.command(words);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = command.output().expect("jaula");
    jaula_testkit::Ran {
        code: output.status.code().expect("an end"),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        elapsed: std::time::Duration::ZERO,
    }
}

#[test]
fn a_jail_of_what_was_seen_runs_the_program_and_misses_nothing() {
    if !Path::new("/usr/bin/python3").exists() {
        skip!("no python3");
    }
    // What is listed has to be a place that the jail has too.
    let program = "import http.server, os, threading, urllib.request\nos.chdir(os.path.dirname(os.__file__) + '/json')\n\
        server = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\n\
        threading.Thread(target=server.handle_request).start()\n\
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))\n\
        print(opener.open('http://127.0.0.1:%d/' % server.server_port).status)\n";
    everyone(|user| {
        let words = [
            "new",
            "t",
            "--trace",
            "-o",
            "app.toml",
            "--",
            "/usr/bin/python3",
            "-c",
            program,
        ];
        let ran = plainly(user, &words);
        // Where files' owners are on record, somebody listens already.
        if !unwatched(user, &ran) {
            assert!(
                ran.stderr.contains("jail t: nothing is missing"),
                "{}",
                ran.stderr
            );
            assert_eq!(
                (ran.code, ran.stdout.as_str()),
                (0, "200\nt\n200\n"),
                "{}",
                ran.stderr
            );
        }
        let again = ["exec", "t", "--", "/usr/bin/python3", "-c", program];
        assert_eq!(plainly(user, &again).expect(0).stdout, "200\n");
        // And nothing but that: no shell, no other program.
        assert_eq!(
            plainly(user, &["exec", "t", "--", "/bin/sh", "-c", "true"]).code,
            127
        );
        let text = fs::read_to_string(user.place.work().join("app.toml")).expect("a trace");
        assert!(
            list(&text, "bind")
                .iter()
                .any(|address| address.starts_with("tcp 127.0.0.1:")),
            "{text}"
        );
        // Made of the file, it is the same.
        plainly(user, &["new", "u", "--from-trace", "app.toml"]).expect(0);
        let again = [
            "exec",
            "u",
            "--seccomp",
            "app.toml",
            "--",
            "/usr/bin/python3",
            "-c",
            program,
        ];
        assert_eq!(plainly(user, &again).expect(0).stdout, "200\n");
    });
}

#[test]
fn what_a_jail_lacks_is_named_with_who_asked_for_it() {
    everyone(|user| {
        plainly(
            user,
            &[
                "trace",
                "-o",
                "full.toml",
                "--",
                "/bin/cat",
                "/usr/lib/os-release",
            ],
        )
        .expect(0);
        let text = fs::read_to_string(user.place.work().join("full.toml")).expect("a trace");
        let less: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("\"/usr/lib/os-release\","))
            .collect();
        file(user, "less.toml", &less.join("\n"), 0o644);
        plainly(user, &["new", "m", "--from-trace", "less.toml"]).expect(0);
        let words = [
            "trace",
            "--in",
            "m",
            "--against",
            "full.toml",
            "--",
            "/bin/cat",
            "/usr/lib/os-release",
        ];
        let ran = plainly(user, &words);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        if !unwatched(user, &ran) {
            let told = ran
                .stderr
                .lines()
                .find(|line| line.contains("missing in jail m: /usr/lib/os-release"));
            assert!(
                told.is_some_and(|line| line.contains("asked for by") && line.ends_with("/cat")),
                "{}",
                ran.stderr
            );
        }
        // One file more, and it is there.
        plainly(
            user,
            &[
                "new",
                "n",
                "--from-trace",
                "less.toml",
                "--from-trace",
                "full.toml",
            ],
        )
        .expect(0);
        plainly(
            user,
            &["exec", "n", "--", "/bin/cat", "/usr/lib/os-release"],
        )
        .expect(0);
    });
}

/// A script as root in a network of its own.
fn alone(user: &User, script: &str) -> std::process::Output {
    let model = user.place.command::<&str>(&[]);
    let mut command = std::process::Command::new("unshare");
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
    command.output().expect("unshare(1)")
}

#[test]
fn nginx_with_tls_is_traced_jailed_and_answers_there() {
    for program in ["/usr/sbin/nginx", "/usr/bin/openssl", "/usr/bin/curl"] {
        if !Path::new(program).exists() {
            skip!("no {program}");
        }
    }
    everyone(|user| {
        if user.who != Who::Root {
            if user.who == Who::Caller {
                let test = "nginx_with_tls_is_traced_jailed_and_answers_there";
                jaula_testkit::skip::note(test, "only root makes a network for it");
            }
            return;
        }
        let here = user.place.work();
        let here = here.to_str().expect("text");
        fs::create_dir(user.place.work().join("www")).expect("a directory");
        file(user, "www/index.html", "of the jail\n", 0o644);
        let conf = format!(
            "daemon off; pid {here}/pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off; server {{ listen 127.0.0.1:8443 ssl; \
             ssl_certificate {here}/c.pem; ssl_certificate_key {here}/k.pem; root {here}/www; }} }}\n"
        );
        file(user, "tls.conf", &conf, 0o644);
        // Whoever starts nginx asks it until it answers, then tells it to end.
        let script = "ip link set lo up\n\
            openssl req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -days 2 -subj /CN=x 2>/dev/null\n\
            ask() { n=0; until curl -sk https://127.0.0.1:8443/; do n=$((n+1)); [ $n -lt 2000 ] || exit 9; done; kill $1; wait $1 || true; }\n\
            $J trace -o tls.toml -- nginx -c $PWD/tls.conf & ask $!\n\
            $J new ng --net none --from-trace tls.toml\n\
            $J service run ng --restart never -- nginx -c $PWD/tls.conf > log 2>&1 & s=$!\n\
            n=0; until pid=$($J ls --json | sed -n 's/.*\"pid\":\\([0-9]*\\).*/\\1/p') && [ -n \"$pid\" ] && nsenter -t $pid -n curl -sk https://127.0.0.1:8443/; do n=$((n+1)); [ $n -lt 300 ] || { cat log; exit 8; }; done\n\
            kill $s; wait $s || true\n";
        let output = alone(user, script);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{said}");
        assert_eq!(text.matches("of the jail\n").count(), 2, "{text}{said}");
        let trace = fs::read_to_string(user.place.work().join("tls.toml")).expect("a trace");
        assert!(
            list(&trace, "bind").contains(&"tcp 127.0.0.1:8443".to_owned()),
            "{trace}"
        );
        assert!(
            list(&trace, "capabilities").contains(&"SETUID".to_owned()),
            "{trace}"
        );
    });
}

#[test]
fn git_in_a_jail_of_what_was_seen_clones_again() {
    if !Path::new("/usr/bin/git").exists() {
        skip!("no git");
    }
    everyone(|user| {
        let script = "set -e; cd /tmp; rm -rf jaula-$$; mkdir jaula-$$; cd jaula-$$; export HOME=$PWD GIT_CONFIG_NOSYSTEM=1\n\
            git -c init.defaultBranch=main init -q a; cd a; echo x > x; git add x\n\
            git -c user.name=x -c user.email=x@x commit -qm x; cd ..; git clone -q --no-local file://$PWD/a b; cat b/x; cd ..; rm -rf jaula-$$";
        let ran = plainly(
            user,
            &["new", "g", "--trace", "--", "/bin/sh", "-c", script],
        );
        assert!(
            ran.stdout.starts_with("x\n"),
            "{}{}",
            ran.stdout,
            ran.stderr
        );
        if !unwatched(user, &ran) {
            assert!(
                ran.stderr.contains("jail g: nothing is missing"),
                "{}",
                ran.stderr
            );
        }
        let ran = plainly(user, &["exec", "g", "--", "/bin/sh", "-c", script]);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (0, "x\n"),
            "{}",
            ran.stderr
        );
    });
}

/// A jail of /bin/sh and some programs.
fn tools(user: &User, name: &str) {
    let files = "/bin/sh,/bin/mkdir,/usr/bin/unshare,/bin/true";
    let words = ["new", name, "--empty", "--with-files", files];
    plainly(user, &words).expect(0);
}

#[test]
fn a_program_watched_in_a_jail_is_refused_what_every_program_there_is() {
    everyone(|user| {
        tools(user, "f");
        let words = [
            "trace",
            "--in",
            "f",
            "--",
            "/usr/bin/unshare",
            "--user",
            "true",
        ];
        let ran = plainly(user, &words);
        if unwatched(user, &ran) {
            return;
        }
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(ran.stderr.contains("unshare failed"), "{}", ran.stderr);
    });
}

#[test]
fn the_protections_of_a_trace_are_tried_where_its_jail_is() {
    everyone(|user| {
        let mark = file(user, "mark", "", 0o644);
        // Inside there is no such mark, and the program does what was not seen.
        let script = format!(
            "mkdir --version > /dev/null; if [ -e {mark} ]; then rm {mark}; else mkdir /tmp/more; fi"
        );
        let words = ["new", "p", "--trace", "--", "/bin/sh", "-c", &script];
        let ran = plainly(user, &words);
        if unwatched(user, &ran) {
            return;
        }
        let told = ran
            .stderr
            .lines()
            .find(|line| line.contains("refused in jail p"));
        assert!(
            told.is_some_and(|line| line.contains("mkdir")),
            "{}",
            ran.stderr
        );
    });
}

#[test]
fn steps_of_a_walk_are_noted_when_each_look_is_wanted() {
    let walk = ["find", "d", "-newer", "d/b"];
    everyone(|user| {
        fs::create_dir(user.place.work().join("d")).expect("a directory");
        let a = file(user, "d/a", "a\n", 0o644);
        file(user, "d/b", "b\n", 0o644);
        let noted = |more: &[&str]| {
            let words = [&["trace", "-o", "-"][..], more, &["--"], &walk].concat();
            list(&plainly(user, &words).expect(0).stdout, "looked").contains(&a)
        };
        assert!(!noted(&[]));
        assert!(noted(&["--each-look"]));
    });
}

#[test]
fn where_somebody_listens_already_a_program_is_stopped_at_its_calls_instead() {
    everyone(|user| {
        let data = file(user, "data", "some\n", 0o644);
        let jaula = if user.who == Who::Ana {
            let model = user.place.command::<&str>(&[]);
            let dir = Path::new(model.get_program())
                .parent()
                .expect("a directory");
            dir.join("jaula").to_str().expect("text").to_owned()
        } else {
            env!("CARGO_BIN_EXE_jaula").to_owned()
        };
        let script = format!(
            "cat {data} & wait; (exec 2>/dev/null; ls /no/such); perl -e 'kill 19, $$' & sleep 0; kill -s KILL $! ; wait; mkdir d; exit 3"
        );
        let inner = ["trace", "-o", "inner.toml", "--", "/bin/sh", "-c", &script];
        let words = [&["trace", "-o", "outer.toml", "--", &jaula][..], &inner].concat();
        let ran = plainly(user, &words).expect(3);
        assert!(
            ran.stdout.contains("some\n"),
            "{} {}",
            ran.stdout,
            ran.stderr
        );
        for name in ["inner.toml", "outer.toml"] {
            let text = fs::read_to_string(user.place.work().join(name)).expect("a trace");
            assert!(list(&text, "read").contains(&data), "{name}: {text}");
            let programs = list(&text, "programs");
            assert!(
                programs.iter().any(|path| path.ends_with("/cat")),
                "{name}: {text}"
            );
            assert!(
                list(&text, "absent").contains(&"/no/such".to_owned()),
                "{name}: {text}"
            );
            assert!(
                list(&text, "calls").contains(&"mkdir".to_owned()),
                "{name}: {text}"
            );
        }
        let words = [
            "trace", "-o", "-", "--", &jaula, "trace", "-o", "-", "--", "no-such",
        ];
        assert_eq!(plainly(user, &words).code, 127);
        let inner = ["trace", "-o", "-", "--for", "1s", "--", "sleep", "1000"];
        let words = [&["trace", "-o", "-", "--", &jaula][..], &inner].concat();
        assert_eq!(plainly(user, &words).code, 128 + 15);
    });
}
