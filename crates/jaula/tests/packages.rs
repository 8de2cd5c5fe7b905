//! Packages of jails that are there: installed, upgraded and removed from outside, by the jail's own dpkg inside.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod mirror;
mod who;

use jaula_testkit::{Deb, DebBuilder, Repo, RepoBuilder, Server, TestKey, skip};
use mirror::{Web, assert_gone};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use who::{User, everyone};

fn deb(name: &str, version: &str, change: impl Fn(DebBuilder) -> DebBuilder) -> Deb {
    let file = format!("usr/share/of-{name}");
    let plain = DebBuilder::new(name, version).file(&file, format!("{version}\n"), 0o644);
    change(plain).build().expect("a package")
}

/// Small packages beside Debian's own: a broken one, one with a service, and some that need each other.
fn ours(at: &Path, key: &TestKey, version: &str) -> Repo {
    let policy = "#!/bin/sh\nif [ -x /usr/sbin/policy-rc.d ]; then /usr/sbin/policy-rc.d daemon start; fi\n\
        echo \"policy $?\" >/var/lib/daemon\n/sbin/start-stop-daemon --start --exec /bin/true >/var/lib/starter\nfor fd in 100 101 102; do\n\
        if (printf x >>/proc/self/fd/$fd) 2>/dev/null; then echo \"wrote $fd\" >>/var/lib/wrote; fi\ndone\n";
    let broken = "#!/bin/sh\necho this cannot go on\nexit 3\n";
    let same = |deb| deb;
    RepoBuilder::new("bookworm")
        .package(deb("broken", "1", |deb| deb.script("postinst", broken)))
        .package(deb("daemon", "1", |deb| deb.script("postinst", policy)))
        .package(deb("app", version, |deb| {
            deb.field("Depends", "lib")
                .field("Recommends", "extra")
                .conffile("etc/app.conf", version)
        }))
        .package(deb("lib", version, |deb| deb.field("Pre-Depends", "deep")))
        .package(deb("deep", "1", same))
        .package(deb("extra", "1", same))
        .package(deb("refuses", "1", |deb| deb.field("Conflicts", "app")))
        .write(at, key)
        .expect("a repository")
}

fn list(user: &User, name: &str) -> String {
    user.place.run(&["pkg", "ls", name]).expect(0).stdout
}

/// Every package of the store has the bytes that its name says.
fn assert_store_is_whole(user: &User) {
    let mut count = 0;
    for (path, size, _) in mirror::tree(&user.place.store().join("packages/sha256")) {
        if path.is_file() && size > 0 {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a name");
            assert_eq!(
                jaula_testkit::digest::sha256(&fs::read(&path).expect("a package")),
                name
            );
            count += 1;
        }
    }
    assert!(count > 0);
}

fn host_database() -> Vec<u8> {
    fs::read("/var/lib/dpkg/status").unwrap_or_default()
}

#[test]
fn packages_come_and_go_in_a_jail() {
    let web = match Web::start(&["hello", "gcc", "libc6-dev"]) {
        Ok(web) => web,
        Err(reason) => skip!("{reason}"),
    };
    let key = TestKey::sound("ours").expect("a key");
    let host = host_database();
    everyone(|user| {
        let place = user.place.work();
        let repo = ours(&place.join("one"), &key, "1.0");
        let newer = ours(&place.join("two"), &key, "2.0");
        let (url, next) = (repo.url(), newer.url());
        let keys = repo.keyring.display().to_string();
        let from = ["--mirror", &url, "--keyring", &keys];
        web.run(
            user,
            &[
                "new",
                "one",
                "--from",
                "debian:bookworm",
                "--variant",
                "essential",
            ],
        )
        .expect(0);
        let run = |words: &[&str], code: i32| user.place.run(words).expect(code);
        let with = |words: &[&str], code: i32| run(&[words, &from].concat(), code);
        let inside = |script: &str| run(&["exec", "one", "--", "sh", "-c", script], 0).stdout;

        // An application, and a program that is compiled: from where the image came from, without a word of it.
        let plan = run(&["pkg", "install", "one", "hello", "--plan"], 0);
        assert!(
            plan.stdout.contains("install hello 2.10"),
            "{}",
            plan.stdout
        );
        assert!(!list(user, "one").contains("\nhello "));
        run(&["pkg", "install", "one", "hello", "gcc", "libc6-dev"], 0);
        fs::write(
            place.join("h.c"),
            "#include <stdio.h>\nint main(void) { puts(\"made here\"); return 0; }\n",
        )
        .expect("a file");
        run(&["cp", "h.c", "one:/h.c"], 0);
        assert_eq!(
            inside("hello; cc /h.c -o /h && /h"),
            "Hello, world!\nmade here\n"
        );
        assert!(!Path::new("/h").exists());
        let found = list(user, "one");
        assert!(found.contains("\nhello 2.10-3 amd64 manual\n"), "{found}");
        assert!(
            found
                .lines()
                .any(|line| line.starts_with("binutils ") && line.ends_with(" auto")),
            "{found}"
        );
        // Nothing of ours is in it, and dpkg finds every package whole.
        let script = "ls /usr/sbin/policy-rc.d /var/lib/apt/extended_states.new 2>/dev/null; dpkg --audit; dpkg --verify; \
            grep -c '^Auto-Installed: 1' /var/lib/apt/extended_states";
        let audit = inside(script);
        assert!(
            audit.trim().parse::<u32>().is_ok_and(|count| count > 20),
            "{audit}"
        );
        // The same again is nothing to do.
        let ran = run(&["pkg", "install", "one", "hello", "--json"], 0);
        assert!(ran.stdout.contains("\"installed\":[]"), "{}", ran.stdout);

        // Services are kept from starting, and package files cannot be written through what is lent.
        with(&["pkg", "install", "one", "daemon"], 0);
        assert_eq!(
            inside("cat /var/lib/daemon; ls /usr/sbin/policy-rc.d 2>/dev/null | wc -l"),
            "policy 101\n0\n"
        );
        // Also by who calls dpkg's starter by its path; it is there again.
        assert_eq!(
            inside(
                "grep -c Fake /var/lib/starter; ls /usr/sbin/*.REAL 2>/dev/null; dpkg --verify dpkg; /sbin/start-stop-daemon --version | grep -c '^start-stop-daemon [1-9]'"
            ),
            "1\n1\n"
        );
        // Whatever it wrote into what it was lent, the store has what it had.
        assert_store_is_whole(user);
        // A policy of the jail's own stays.
        inside(
            "printf '#!/bin/sh\\nexit 104\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d",
        );
        inside("dpkg --purge daemon >/dev/null 2>&1");
        with(&["pkg", "install", "one", "daemon"], 0);
        assert_eq!(
            inside(
                "cat /var/lib/daemon; tail -n 1 /usr/sbin/policy-rc.d; rm /usr/sbin/policy-rc.d"
            ),
            "policy 104\nexit 104\n"
        );
        // What a killed one left of ours goes.
        inside(
            "printf '#!/bin/sh\\n# while jaula changes packages\\nexit 101\\n' >/usr/sbin/policy-rc.d",
        );

        // What comes for others is known, and goes with them when that is asked for.
        with(&["pkg", "install", "one", "app"], 0);
        assert_eq!(
            inside("ls /usr/sbin/policy-rc.d 2>/dev/null; cat /usr/share/of-*"),
            "1.0\n1\n1\n1.0\n"
        );
        let refused = with(&["pkg", "install", "one", "refuses"], 125);
        assert!(
            refused.stderr.contains("refuses") && refused.stderr.contains("app"),
            "{}",
            refused.stderr
        );
        let up = |words: &[&str]| {
            run(
                &[words, &["--mirror", &next, "--keyring", &keys]].concat(),
                0,
            )
            .stdout
        };
        inside("echo mine >/etc/app.conf; dpkg --set-selections <<E\nlib hold\nE");
        let held = up(&["pkg", "upgrade", "one"]);
        assert_eq!(held, "app 1.0 → 2.0\nkept back: lib\n");
        inside("dpkg --set-selections <<E\nlib install\nE");
        assert_eq!(
            up(&["pkg", "upgrade", "one", "--recommends"]),
            "lib 1.0 → 2.0\n"
        );
        // The user's own configuration stays.
        assert_eq!(
            inside("cat /etc/app.conf; cat /usr/share/of-app"),
            "mine\n2.0\n"
        );
        assert_gone(user.place.path());
    });
    // Compared without printing it: it is long.
    assert!(host == host_database(), "the host's own packages changed");
}

#[test]
fn a_script_that_fails_leaves_what_dpkg_leaves() {
    let web = match Web::start(&[]) {
        Ok(web) => web,
        Err(reason) => skip!("{reason}"),
    };
    let key = TestKey::sound("ours").expect("a key");
    everyone(|user| {
        let repo = ours(&user.place.work().join("one"), &key, "1.0");
        let (url, keys) = (repo.url(), repo.keyring.display().to_string());
        let from = ["--mirror", &url, "--keyring", &keys];
        web.run(
            user,
            &[
                "new",
                "one",
                "--from",
                "debian:bookworm",
                "--variant",
                "essential",
            ],
        )
        .expect(0);
        let with =
            |words: &[&str], code: i32| user.place.run(&[words, &from].concat()).expect(code);
        let inside = |script: &str| {
            user.place
                .run(&["exec", "one", "--", "sh", "-c", script])
                .expect(0)
                .stdout
        };

        // A running jail is joined: it goes on.
        let mut command = user
            .place
            .command(&["exec", "one", "--", "sh", "-c", "echo here; cat"]);
        let mut running = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("jaula");
        let mut line = String::new();
        BufReader::new(running.stdout.take().expect("output"))
            .read_line(&mut line)
            .expect("a line");
        assert_eq!(line, "here\n");
        with(&["pkg", "install", "one", "app"], 0);
        assert!(inside("cat /usr/share/of-app").starts_with("1.0"));
        let ran = with(&["pkg", "install", "one", "broken"], 125);
        for says in [
            "dpkg failed at package broken",
            "this cannot go on",
            "not whole: broken (half-configured)",
        ] {
            assert!(ran.stderr.contains(says), "{}", ran.stderr);
        }
        drop(running.stdin.take());
        assert!(running.wait().expect("a child").success());
        assert_eq!(
            inside("ls /usr/sbin/policy-rc.d 2>/dev/null | wc -l"),
            "0\n"
        );
        // It is shown, and can be mended and removed.
        let found = list(user, "one");
        assert!(
            found.contains("broken 1 amd64 manual half-configured"),
            "{found}"
        );
        user.place
            .run(&["pkg", "remove", "one", "broken"])
            .expect(0);
        assert!(!list(user, "one").contains("broken"));

        // What goes takes its dependents along; essential packages never go.
        let plan = user
            .place
            .run(&["pkg", "remove", "one", "lib", "--plan"])
            .expect(0)
            .stdout;
        assert!(
            plan.contains("remove app 1.0 amd64 (needs what goes)")
                && plan.contains("needed no more: deep"),
            "{plan}"
        );
        let ran = user
            .place
            .run(&["pkg", "remove", "one", "dpkg"])
            .expect(125);
        assert!(
            ran.stderr.contains("dpkg") && ran.stderr.contains("essential"),
            "{}",
            ran.stderr
        );
        let ran = user
            .place
            .run(&["pkg", "remove", "one", "app", "--purge", "--autoremove"])
            .expect(0);
        let mut lines: Vec<&str> = ran.stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["- app 1.0", "- deep 1", "- lib 1.0"]);
        assert_eq!(
            inside("ls /etc/app.conf /usr/share/of-* 2>/dev/null; dpkg --audit"),
            ""
        );

        // Words that cannot be meant.
        let ran = user.place.run(&["pkg", "install", "one", "nohting"]);
        assert_eq!(ran.code, 125, "{}", ran.stderr);
        let ran = user
            .place
            .run(&["pkg", "remove", "one", "nothing"])
            .expect(125);
        assert!(
            ran.stderr.contains("not installed in jail one: nothing"),
            "{}",
            ran.stderr
        );
        let ran = user.place.run(&["pkg", "install"]).expect(125);
        assert!(ran.stderr.contains("NAME is missing"), "{}", ran.stderr);

        // Where packages come from is never said by the jail itself.
        let there = web.server.requests().len();
        inside("echo 'deb [trusted=yes] http://192.0.2.1/ x main' >/etc/apt/sources.list");
        user.place
            .run(&["pkg", "search", "one", "nginx-li"])
            .expect(0);
        assert!(
            web.server.requests().len() > there,
            "the image's own archive is asked"
        );

        // A database that lies is refused, whatever it says.
        for (lie, says) in [
            (
                "printf 'Package: ../x\\nStatus: install ok installed\\nArchitecture: amd64\\nVersion: 1\\n' >status",
                "a bad name",
            ),
            ("printf 'Package x\\n' >status", "line 1"),
            ("rm status; ln -s /etc/passwd status", "cannot reach into"),
            ("rm status; mkfifo status", "cannot reach into"),
            ("rm status; truncate -s 1T status", "cannot reach into"),
            ("rm status", "has no packages"),
        ] {
            inside(&format!("cd /var/lib/dpkg; {lie}"));
            let ran = user.place.run(&["pkg", "ls", "one"]).expect(125);
            assert!(ran.stderr.contains(says), "{lie}: {}", ran.stderr);
        }
        assert_gone(user.place.path());
    });
}

#[test]
fn a_tree_of_the_host_has_packages_too() {
    let web = match Web::start(&["hello"]) {
        Ok(web) => web,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let tree = user.place.work().join("tree").display().to_string();
        web.run(
            user,
            &[
                "build",
                "debian:bookworm",
                "--variant",
                "essential",
                "-o",
                &tree,
            ],
        )
        .expect(0);
        let ran = user
            .place
            .run(&["pkg", "install", "--root", &tree, "hello"])
            .expect(125);
        assert!(ran.stderr.contains("--from DISTRO:SUITE"), "{}", ran.stderr);
        // Neither the host itself nor an image, whose files are those of others too.
        let image = std::fs::read_dir(user.place.path().join("store/images"))
            .expect("images")
            .flatten()
            .map(|entry| entry.path().join("root").display().to_string())
            .next()
            .expect("an image");
        for (root, why) in [
            ("/", "the host's own root"),
            (&image, "an image is never written"),
        ] {
            let words = ["pkg", "remove", "--root", root, "dash"];
            let ran = user.place.run(&words).expect(125);
            assert!(ran.stderr.contains(why), "{}", ran.stderr);
            let words = ["run", "--write", root, "--", "true"];
            let ran = user.place.run(&words).expect(125);
            assert!(ran.stderr.contains(why), "{}", ran.stderr);
        }
        let words = [
            "pkg",
            "install",
            "--root",
            &tree,
            "--from",
            "debian:bookworm",
            "hello",
        ];
        web.run(user, &words).expect(0);
        assert!(Path::new(&tree).join("usr/bin/hello").exists());
        assert!(!Path::new(&tree).join("usr/sbin/policy-rc.d").exists());
        let found = user
            .place
            .run(&["pkg", "ls", "--root", &tree])
            .expect(0)
            .stdout;
        assert!(found.contains("\nhello 2.10-3 amd64 manual"), "{found}");
        user.place
            .run(&["pkg", "remove", "--root", &tree, "hello"])
            .expect(0);
        assert!(!Path::new(&tree).join("usr/bin/hello").exists());
        assert_gone(user.place.path());
    });
}

#[test]
fn the_jails_own_sources_count_only_when_that_is_asked_for() {
    let web = match Web::start(&[]) {
        Ok(web) => web,
        Err(reason) => skip!("{reason}"),
    };
    let key = TestKey::sound("ours").expect("a key");
    everyone(|user| {
        let repo = ours(&user.place.work().join("one"), &key, "1.0");
        let server = Server::start(&repo.dir).expect("a server");
        let keys = repo.keyring.display().to_string();
        let words = [
            "new",
            "one",
            "--from",
            "debian:bookworm",
            "--variant",
            "essential",
        ];
        web.run(user, &[&words[..], &["--exclude", "usrmerge"]].concat())
            .expect(0);
        let run = |words: &[&str], code: i32| user.place.run(words).expect(code);
        let inside = |script: &str| run(&["exec", "one", "--", "sh", "-c", script], 0).stdout;
        let list = format!(
            "deb [signed-by=/etc/evil.gpg] {} bookworm main",
            server.url()
        );
        inside(&format!(
            "rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*; echo '{list}' >/etc/apt/sources.list.d/ours.list; \
             echo 'not read' >/etc/apt/sources.list.d/ours.list.save"
        ));

        // Not by itself.
        let ran = run(&["pkg", "install", "one", "app"], 125);
        assert!(ran.stderr.contains("app"), "{}", ran.stderr);
        assert_eq!(server.requests().len(), 0);
        // The jail says where, and not whom to trust: that is said by the image's keys, or by the user.
        let asked = ["pkg", "install", "one", "app", "--sources-from-jail"];
        let ran = run(&asked, 125);
        assert!(ran.stderr.contains("is not signed by"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("evil"), "{}", ran.stderr);
        let asked = [&asked[..], &["--keyring", &keys]].concat();
        let plan = run(&[&asked[..], &["--plan"]].concat(), 0).stdout;
        assert!(
            plan.contains(&format!(
                "from deb {} bookworm main, which the jail names",
                server.url()
            )) && plan.contains("install app 1.0"),
            "{plan}"
        );
        run(&asked, 0);
        assert_eq!(inside("cat /usr/share/of-app"), "1.0\n");
        let found = run(
            &[
                "pkg",
                "search",
                "one",
                "app",
                "--sources-from-jail",
                "--keyring",
                &keys,
            ],
            0,
        );
        assert!(found.stdout.contains("app"), "{}", found.stdout);
        let ran = run(&[&asked[..], &["--mirror", &server.url()]].concat(), 125);
        assert!(ran.stderr.contains("--mirror"), "{}", ran.stderr);

        // Whatever a jail writes there, nothing of the host is read and nobody is asked.
        let there = server.requests().len();
        for (lie, says) in [
            (format!("echo '{}' >x.list", list.replace("signed-by=/etc/evil.gpg", "trusted=yes")), "signatures"),
            (format!("echo '{}' >x.list", list.replace("signed-by=/etc/evil.gpg", "check-valid-until=no")), "dates"),
            ("echo 'deb file:/etc x main' >x.list".into(), "of the host"),
            ("echo 'deb copy:/root x main' >x.list".into(), "of the host"),
            ("printf 'Types: deb\\nURIs: cdrom:/dev/vda\\nSuites: x\\nComponents: main\\n' >x.sources".into(), "of the host"),
            ("printf 'Typos: deb\\n' >x.sources".into(), "line 1"),
            ("printf '\\377' >x.list".into(), "no text"),
            ("ln -s /etc/passwd x.list".into(), "cannot reach into"),
            ("mkfifo x.list".into(), "cannot reach into"),
            ("truncate -s 1T x.list".into(), "cannot reach into"),
            ("cd ..; rm -r sources.list.d; ln -s /nowhere sources.list.d".into(), "no source of packages"),
        ] {
            inside(&format!("cd /etc/apt/sources.list.d; rm -f x.*; {lie}"));
            let ran = run(&asked, 125);
            assert!(ran.stderr.contains(says), "{lie}: {}", ran.stderr);
        }
        assert_eq!(server.requests().len(), there);
        assert_gone(user.place.path());
    });
}
