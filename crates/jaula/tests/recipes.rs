//! Recipes and their locks: an image from a file, the same bytes by its lock when the archive has moved on.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod mirror;
mod who;

use jaula_testkit::server::Server;
use jaula_testkit::{Deb, DebBuilder, Ran, Repo, RepoBuilder, TestKey, partial_mirror, skip};
use mirror::essential;
use std::fs;
use std::path::Path;
use who::{User, Who, everyone};

fn probe(version: &str) -> Deb {
    let deb = DebBuilder::new("probe", version)
        .field("Depends", "libc6")
        .file("usr/share/probe", format!("of {version}\n"), 0o644);
    deb.build().expect("a package")
}

fn archive(at: &Path, key: &TestKey, packages: &[Deb], probe: Deb, expired: bool) -> Repo {
    let mut repo = RepoBuilder::new("bookworm").package(probe);
    if expired {
        let now = jaula_testkit::repo::now();
        repo = repo
            .date(now - 90 * 86_400)
            .valid_until(Some(now - 60 * 86_400));
    }
    for deb in packages {
        repo = repo.package(deb.clone());
    }
    repo.write(at, key).expect("a repository")
}

/// `jaula` with a store of its own.
fn with_store(user: &User, store: &Path, words: &[&str]) -> Ran {
    let mut all = vec!["--store", store.to_str().expect("a path")];
    all.extend(words);
    user.place.run(&all)
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
}

#[test]
fn one_lock_gives_the_same_bytes_on_another_day() {
    let Ok(mirror) = partial_mirror(&[]) else {
        skip!("no mirror");
    };
    let key = TestKey::sound("archive").expect("a key");
    let mut whole: Option<Vec<u8>> = None;
    let mut packages: Vec<Deb> = Vec::new();
    // One place for all, as the addresses in the lock are part of the image.
    let shared = tempfile::tempdir().expect("a directory");
    let mut port: Option<u16> = None;
    let date = jaula_testkit::repo::now();
    everyone(|user| {
        if packages.is_empty() {
            packages = essential(user, &mirror, &["usr-is-merged"]);
        }
        let first = shared.path().join("archive");
        drop(fs::remove_dir_all(&first));
        let mut repo = RepoBuilder::new("bookworm")
            .date(date)
            .package(probe("1.0"));
        for deb in &packages {
            repo = repo.package(deb.clone());
        }
        let repo = repo.write(&first, &key).expect("a repository");
        let server = match port {
            None => Server::start(&repo.dir),
            Some(port) => Server::start_on(&repo.dir, port),
        }
        .expect("a server");
        let url = server.url();
        port = url
            .rsplit(':')
            .next()
            .and_then(|port| port.trim_end_matches('/').parse().ok());
        let work = user.place.work();
        let keyring = work.join("archive.gpg");
        fs::copy(&repo.keyring, &keyring).expect("a keyring");
        write(
            &work.join("base.toml"),
            &format!(
                "distro = \"debian\"\nsuite = \"bookworm\"\narch = \"amd64\"\nvariant = \"essential\"\n\
                exclude = [\"usrmerge\"]\n[sources]\nmirror = \"{url}\"\nkeyrings = [\"archive.gpg\"]\n"
            ),
        );
        let recipe = work.join("web.toml");
        let text = "extends = \"base.toml\"\ninclude = [\"probe\"]\ntags = [\"web\"]\n[[output]]\npath = \"web.tar\"\n";
        write(&recipe, text);

        // Without a lock there is no locked build, and nothing is made.
        let ran = user
            .place
            .run(&["build", "web.toml", "--locked"])
            .expect(125);
        assert!(ran.stderr.contains("there is no lock"), "{}", ran.stderr);
        assert!(!work.join("web.lock").exists());

        let ran = user.place.run(&["build", "web.toml", "--json"]).expect(0);
        let built: serde_json::Value =
            serde_json::from_str(ran.stdout.lines().last().expect("a line")).expect("JSON");
        assert_eq!(built["lock"]["written"], true, "{}", ran.stdout);
        let lock = fs::read_to_string(work.join("web.lock")).expect("a lock");
        assert!(lock.starts_with("jaula-recipe-lock 1\nrecipe "), "{lock}");
        assert!(lock.contains("package probe 1.0 amd64 "), "{lock}");
        let made = fs::read(work.join("web.tar")).expect("an archive");
        match &whole {
            None => whole = Some(made.clone()),
            // As whoever it is made.
            Some(whole) => assert!(*whole == made, "other bytes for {:?}", user.who),
        }
        let ran = user
            .place
            .run(&["run", "web", "--", "sh", "-c", "cat /usr/share/probe"]);
        assert_eq!(ran.expect(0).stdout, "of 1.0\n");

        // The same again is nothing to do: nothing is fetched, nothing written.
        let before = (
            fs::metadata(work.join("web.tar"))
                .expect("it")
                .modified()
                .ok(),
            server.requests().len(),
        );
        let ran = user.place.run(&["build", "web.toml", "--json"]).expect(0);
        let built: serde_json::Value =
            serde_json::from_str(ran.stdout.lines().last().expect("a line")).expect("JSON");
        assert_eq!(built["lock"]["written"], false);
        assert_eq!(built["outputs"][0]["written"], false, "{}", ran.stdout);
        let after = (
            fs::metadata(work.join("web.tar"))
                .expect("it")
                .modified()
                .ok(),
            server.requests().len(),
        );
        assert_eq!(before, after);

        // Later: the archive has gone on, what its index says has expired, and nothing of it is in the store.
        archive(&first, &key, &packages, probe("2.0"), true);
        let there = server.requests().len();
        fs::remove_file(work.join("web.tar")).expect("it");
        let store = user.place.path().join("other-store");
        with_store(user, &store, &["build", "web.toml", "--locked"]).expect(0);
        assert!(
            fs::read(work.join("web.tar")).expect("an archive") == made,
            "other bytes by the lock"
        );
        let asked: Vec<String> = server
            .requests()
            .into_iter()
            .skip(there)
            .map(|request| request.path)
            .collect();
        assert!(asked.iter().all(|path| path.ends_with(".deb")), "{asked:?}");
        assert_eq!(asked.len(), packages.len() + 1);
        assert_eq!(
            fs::read_to_string(work.join("web.lock")).expect("a lock"),
            lock
        );

        // What has changed since.
        archive(&first, &key, &packages, probe("2.0"), false);
        let ran = user
            .place
            .run(&["lock", "update", "web.toml", "--plan"])
            .expect(0);
        assert!(
            ran.stdout.contains("probe 1.0 → 2.0 amd64, "),
            "{}",
            ran.stdout
        );
        assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
        assert_eq!(
            fs::read_to_string(work.join("web.lock")).expect("a lock"),
            lock
        );

        // A lock that no mirror can satisfy any more says which packages are gone.
        let gone = repo.dir.join("pool/main/p/probe/probe_1.0_amd64.deb");
        let kept = shared
            .path()
            .join("kept/pool/main/p/probe/probe_1.0_amd64.deb");
        fs::create_dir_all(kept.parent().expect("a directory")).expect("a directory");
        fs::rename(&gone, &kept).expect("a package");
        let store = user.place.path().join("third-store");
        let ran = with_store(user, &store, &["build", "web.toml", "--locked"]).expect(125);
        assert!(
            ran.stderr
                .contains("no mirror has 1 of the lock's packages any more: probe 1.0 (amd64)"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("jaula lock update"), "{}", ran.stderr);
        // Another place that kept it will do: only its bytes count.
        let other = Server::start(&shared.path().join("kept")).expect("a server");
        let mirrors = format!("{text}[sources]\nmirrors = [\"{}\"]\n", other.url());
        write(&recipe, &mirrors);
        fs::remove_file(work.join("web.tar")).expect("it");
        // For one of them: the way is the same.
        if user.who != Who::Ana {
            with_store(user, &store, &["build", "web.toml", "--locked"]).expect(0);
            assert!(
                fs::read(work.join("web.tar")).expect("an archive") == made,
                "other bytes from another mirror"
            );
        }
        // A false one is none.
        fs::write(&kept, vec![b'x'; 700]).expect("a file");
        let store = user.place.path().join("fourth-store");
        let ran = with_store(user, &store, &["build", "web.toml", "--locked"]).expect(125);
        assert!(ran.stderr.contains("probe"), "{}", ran.stderr);

        // Another request does not fit the lock.
        write(&recipe, &text.replace("probe", "probe\", \"dash"));
        let ran = user
            .place
            .run(&["build", "web.toml", "--locked"])
            .expect(125);
        assert!(
            ran.stderr.contains("was made for another recipe"),
            "{}",
            ran.stderr
        );
        // The update is written, and built from then on.
        write(&recipe, text);
        user.place.run(&["lock", "update", "web.toml"]).expect(0);
        let lock = fs::read_to_string(work.join("web.lock")).expect("a lock");
        assert!(lock.contains("package probe 2.0 amd64 "), "{lock}");
        user.place.run(&["build", "web.toml", "--locked"]).expect(0);
        let ran = user
            .place
            .run(&["run", "web", "--", "cat", "/usr/share/probe"])
            .expect(0);
        assert_eq!(ran.stdout, "of 2.0\n");
        // Shown, and damaged.
        let ran = user.place.run(&["lock", "show", "web.toml"]).expect(0);
        assert!(
            ran.stdout.contains("\nprobe 2.0 amd64 requested"),
            "{}",
            ran.stdout
        );
        write(
            &work.join("web.lock"),
            &lock.replacen("source ", "source x", 1),
        );
        let ran = user.place.run(&["build", "web.toml"]).expect(125);
        assert!(
            ran.stderr.contains("web.lock") && ran.stderr.contains("line "),
            "{}",
            ran.stderr
        );
        drop(fs::remove_dir_all(shared.path().join("kept")));
    });
}

/// What is done to the clock: the C library of the tree is told another day by a library that is loaded into every
/// program (libfaketime), from when the essential packages are configured until after the last script. The day is chosen by chance at each
/// build, the same script does it in each, and it is copied out so that the test knows it. What this does not move is
/// the kernel's own clock, from which files get their times (two builds have different ones anyway), and jaula's, which a
/// locked build has no use for: it reads no index that could be too old.
const CLOCK: &str = r#"
[[hook]]
stage = "essential"
upload = "libfaketime.so.1"
to = "/usr/lib/libfaketime.so.1"
[[hook]]
stage = "essential"
run = """
echo "+$(($(od -An -N4 -tu4 /dev/urandom) % 9000 + 2))d" >/etc/faketimerc
echo /usr/lib/libfaketime.so.1 >/etc/ld.so.preload
"""
[[hook]]
stage = "customize"
run = """
set -e
read -r up _ </proc/uptime
boot=$(sed -n 's/^btime //p' /proc/stat)
ahead=$(($(date +%s) - boot - ${up%.*}))
[ "$ahead" -gt 86400 ] || { echo "the clock is only $ahead s ahead"; exit 9; }
"""
[[hook]]
stage = "customize"
download = "/etc/faketimerc"
to = "day"
[[hook]]
stage = "customize"
run = "rm /etc/ld.so.preload /etc/faketimerc /usr/lib/libfaketime.so.1 && ldconfig"
[[output]]
path = "web.tar"
"#;

#[test]
fn two_builds_of_one_lock_on_different_days_are_identical() {
    let Ok(mirror) = partial_mirror(&["passwd", "libfaketime"]) else {
        skip!("no mirror");
    };
    let key = TestKey::sound("archive").expect("a key");
    // A script that makes what has a date in it: an account and its password's age, files, a cache.
    let diary = DebBuilder::new("diary", "1.0")
        .field("Depends", "passwd")
        .script(
            "postinst",
            "#!/bin/sh\nset -e\nuseradd --system diary\ntouch /var/lib/diary\nmkdir /var/lib/days\n\
         cp /etc/passwd /var/lib/days/\nldconfig\n",
        );
    let diary = diary.build().expect("a package");
    everyone(|user| {
        let work = user.place.work();
        let packages = essential(user, &mirror, &["passwd", "usr-is-merged"]);
        let now = jaula_testkit::repo::now();
        let at = |date: u64, expired: bool| {
            let mut repo = RepoBuilder::new("bookworm")
                .date(date)
                .package(diary.clone());
            if expired {
                repo = repo.valid_until(Some(date + 86_400));
            }
            let repo = packages
                .iter()
                .fold(repo, |repo, deb| repo.package(deb.clone()));
            repo.write(&work.join("archive"), &key)
                .expect("a repository")
        };
        let repo = at(now - 90 * 86_400, false);
        let server = Server::start(&repo.dir).expect("a server");
        fs::copy(&repo.keyring, work.join("archive.gpg")).expect("a keyring");
        let unpacked = work.join("faketime");
        let deb = mirror::tree(&mirror)
            .into_iter()
            .map(|(path, _, _)| path)
            .find(|path| path.display().to_string().contains("/libfaketime_"))
            .expect("the library's package");
        let ran = user.other(
            "dpkg-deb",
            &[
                "-x",
                &deb.display().to_string(),
                &unpacked.display().to_string(),
            ],
        );
        assert!({ ran }.status().expect("dpkg-deb").success());
        fs::copy(
            unpacked.join("usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"),
            work.join("libfaketime.so.1"),
        )
        .expect("the library");
        write(
            &work.join("web.toml"),
            &format!(
                "distro = \"debian\"\nsuite = \"bookworm\"\narch = \"amd64\"\nvariant = \"essential\"\n\
                 include = [\"diary\"]\nexclude = [\"usrmerge\"]\n[sources]\nmirror = \"{}\"\nkeyrings = [\"archive.gpg\"]\n{CLOCK}",
                server.url()
            ),
        );
        let (mut days, mut made) = (Vec::new(), Vec::new());
        for store in ["one-store", "other-store"] {
            let store = user.place.path().join(store);
            let locked: &[&str] = match days.len() {
                0 => &["build", "web.toml"],
                _ => &["build", "web.toml", "--locked"],
            };
            with_store(user, &store, locked).expect(0);
            days.push(fs::read_to_string(work.join("day")).expect("the day"));
            made.push(fs::read(work.join("web.tar")).expect("an archive"));
            fs::remove_file(work.join("web.tar")).expect("an archive");
            // By the archive it is another day too: what it said has expired.
            at(now - 60 * 86_400, true);
        }
        assert_ne!(
            days[0], days[1],
            "the same day by chance: one in nine thousand"
        );
        assert!(made[0] == made[1], "days {days:?}: the bytes differ");
        let text = String::from_utf8_lossy(&made[0]);
        assert!(text.contains("\ndiary:!:"), "there is no account");
        assert!(!text.contains("faketime"), "the clock's library is left");
    });
}

#[test]
fn a_recipe_that_is_wrong_says_where() {
    everyone(|user| {
        let work = user.place.work();
        let refused = |text: &str| {
            write(&work.join("bad.toml"), text);
            let ran = user.place.run(&["build", "bad.toml"]).expect(125);
            assert!(ran.stdout.is_empty() && !user.place.store().join("images").exists());
            ran.stderr
        };
        let error = refused("distro = \"debian\"\n\n  inclde = [\"x\"]\n");
        assert!(
            error.contains(
                "bad.toml:3:3: a recipe has no key \"inclde\"; did you mean \"include\"?"
            ),
            "{error}"
        );
        let error = refused("distro = \"debian\"\nextends = \"bad.toml\"\n");
        assert!(
            error.contains("bad.toml:2:11: ") && error.contains("extends itself"),
            "{error}"
        );
        let error = refused("distro = \"debian\"\nextends = \"../other.toml\"\n");
        assert!(error.contains("leads out of the directory"), "{error}");
        // Nor by a link.
        write(&user.place.path().join("secret"), "secret\n");
        let link = work.join("inside");
        std::os::unix::fs::symlink(user.place.path().join("secret"), &link).expect("a link");
        let error = refused("distro = \"debian\"\n[settings]\npreseed-files = [\"inside\"]\n");
        assert!(
            error.contains("bad.toml:3:18: ") && error.contains("a link that leads out"),
            "{error}"
        );
        let error = refused("distro = \"debian\"\n[settings]\npreseed-files = [\"/dev/zero\"]\n");
        assert!(error.contains("no ordinary file"), "{error}");
        let error =
            refused("distro = \"debian\"\n[[output]]\npath = \"x\"\nformat = \"nothing\"\n");
        assert!(error.contains("bad.toml:2:1"), "{error}");
        let ran = user
            .place
            .run(&["build", "bad.toml", "--include", "x"])
            .expect(125);
        assert!(
            ran.stderr.contains("--include belongs into the recipe"),
            "{}",
            ran.stderr
        );
        let ran = user.place.run(&["build", "absent.toml"]).expect(125);
        assert!(ran.stderr.contains("absent.toml"), "{}", ran.stderr);
        let ran = user.place.run(&["build", "--schema"]).expect(0);
        let schema: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(
            schema["properties"]["settings"]["properties"]["locales"]["type"],
            "array"
        );
    });
}

/// Three packages, of which one needs another in its own version from 2.0 on.
fn three(at: &Path, key: &TestKey, version: &str, other: &str) -> Repo {
    let plain = |name: &str, version: &str| {
        DebBuilder::new(name, version).file(&format!("usr/share/{name}"), version, 0o644)
    };
    let (needs, breaks) = (format!("lib (>= {version})"), format!("old (<< {version})"));
    let whole = [
        plain("probe", version).field("Depends", &needs),
        plain("lib", version).field("Breaks", &breaks),
        plain("old", version),
        plain("other", other),
        plain("extra", version),
    ];
    let whole = whole
        .into_iter()
        .fold(RepoBuilder::new("bookworm"), |repo, deb| {
            repo.package(deb.build().expect("a package"))
        });
    whole.write(at, key).expect("a repository")
}

/// The names and versions of a lock, as `lock show` has them.
fn shown(user: &User) -> Vec<String> {
    let ran = user.place.run(&["lock", "show", "web.toml", "--json"]);
    let lock: serde_json::Value = serde_json::from_str(&ran.expect(0).stdout).expect("JSON");
    assert_eq!(lock["architecture"], "amd64");
    let packages = lock["packages"].as_array().expect("packages");
    let mut found: Vec<String> = packages
        .iter()
        .map(|package| {
            let path = package["path"].as_str().expect("a path");
            assert!(path.starts_with("pool/main/"), "{path}");
            assert_eq!(package["sha256"].as_str().map(str::len), Some(64));
            let word = |key: &str| package[key].as_str().expect(key).to_owned();
            format!("{} {}", word("name"), word("version"))
        })
        .collect();
    found.sort();
    found
}

#[test]
fn only_what_is_named_moves_in_a_lock() {
    let key = TestKey::sound("archive").expect("a key");
    everyone(|user| {
        let work = user.place.work();
        let archive = work.join("archive");
        let repo = three(&archive, &key, "1.0", "1.0");
        let server = Server::start(&repo.dir).expect("a server");
        fs::copy(&repo.keyring, work.join("archive.gpg")).expect("a keyring");
        write(
            &work.join("web.toml"),
            &format!(
                "distro = \"debian\"\nsuite = \"bookworm\"\narch = \"amd64\"\nvariant = \"custom\"\n\
                 include = [\"probe\", \"old\", \"other\"]\n\
                 [sources]\nmirror = \"{}\"\nkeyrings = [\"archive.gpg\"]\n",
                server.url()
            ),
        );
        let lock = || fs::read_to_string(work.join("web.lock")).expect("a lock");
        let update = |words: &[&str], code: i32| {
            let words = [&["lock", "update", "web.toml"], words].concat();
            user.place.run(&words).expect(code)
        };
        let ran = update(&["other"], 125);
        assert!(ran.stderr.contains("there is no lock"), "{}", ran.stderr);
        update(&[], 0);
        assert_eq!(
            shown(user),
            ["lib 1.0", "old 1.0", "other 1.0", "probe 1.0"]
        );

        // The archive goes on, and its index has nothing old any more; its pool has.
        three(&archive, &key, "2.0", "1.5");
        let before = lock();
        let there = server.requests().len();
        let ran = update(&["other", "--plan", "--json"], 0);
        let told: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(told["written"], false, "{}", ran.stdout);
        assert_eq!(told["changes"].as_array().map(Vec::len), Some(1));
        assert_eq!(told["changes"][0]["name"], "other");
        assert_eq!(told["changes"][0]["old"]["version"], "1.0");
        assert_eq!(told["changes"][0]["new"]["version"], "1.5");
        assert_eq!(lock(), before);
        // The three that stay are looked at where they are, the one that moves is not.
        let asked = server.requests().split_off(there);
        let debs = asked.iter().filter(|r| r.path.ends_with("_1.0_amd64.deb"));
        assert_eq!(debs.count(), 3, "{asked:?}");
        let ran = update(&["other"], 0);
        assert!(
            ran.stdout.starts_with("other 1.0 → 1.5 amd64, ") && ran.stdout.lines().count() == 2,
            "{}",
            ran.stdout
        );
        assert_eq!(
            shown(user),
            ["lib 1.0", "old 1.0", "other 1.5", "probe 1.0"]
        );
        // Where each is has not moved either: by this lock all are fetched.
        user.place
            .run(&["build", "web.toml", "--locked", "--plan"])
            .expect(0);

        // What is forced moves too: what the new one needs, and what that breaks.
        three(&archive, &key, "2.0", "2.0");
        let ran = update(&["probe"], 0);
        let moved: Vec<&str> = ran
            .stdout
            .lines()
            .map(|l| l.split(',').next().unwrap_or(l))
            .collect();
        assert_eq!(
            moved.split_last().expect("lines").1,
            [
                "lib 1.0 → 2.0 amd64",
                "old 1.0 → 2.0 amd64",
                "probe 1.0 → 2.0 amd64"
            ]
        );
        assert_eq!(
            shown(user),
            ["lib 2.0", "old 2.0", "other 1.5", "probe 2.0"]
        );
        let ran = update(&["probe"], 0);
        assert!(
            ran.stdout.starts_with("nothing changes: 4 packages"),
            "{}",
            ran.stdout
        );

        let ran = update(&["nginx"], 125);
        assert!(
            ran.stderr.contains("web.lock has no nginx") && ran.stderr.contains("jaula lock show"),
            "{}",
            ran.stderr
        );
        let ran = update(&["../x"], 125);
        assert!(ran.stderr.contains("a package"), "{}", ran.stderr);

        // What is altered is not believed, and what is nowhere is named; the lock stays.
        let before = lock();
        let other = repo.dir.join("pool/main/o/other/other_1.5_amd64.deb");
        let bytes = fs::read(&other).expect("a package");
        let mut false_bytes = bytes.clone();
        if let Some(byte) = false_bytes.last_mut() {
            *byte ^= 1;
        }
        fs::write(&other, false_bytes).expect("a package");
        let ran = update(&["probe"], 125);
        assert!(ran.stderr.contains("other_1.5_amd64.deb"), "{}", ran.stderr);
        fs::remove_file(&other).expect("a package");
        let ran = update(&["probe"], 125);
        for says in [
            "no mirror has 1 of the lock's packages any more: other 1.5 (amd64)",
            "sources.mirrors",
            "snapshot",
            "jaula lock update",
        ] {
            assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
        }
        assert_eq!(lock(), before);
        // So does a locked build.
        let ran = user
            .place
            .run(&["build", "web.toml", "--locked"])
            .expect(125);
        assert!(ran.stderr.contains("other 1.5 (amd64)"), "{}", ran.stderr);
        assert!(ran.stderr.contains("snapshot"), "{}", ran.stderr);
        // It moves when it is named.
        let ran = update(&["other"], 0);
        assert!(
            ran.stdout.starts_with("other 1.5 → 2.0 amd64, "),
            "{}",
            ran.stdout
        );

        // What the recipe asks for newly comes without being named, and the rest stays all the same.
        three(&archive, &key, "3.0", "3.0");
        let recipe = fs::read_to_string(work.join("web.toml")).expect("a recipe");
        let recipe = recipe.replace("\"other\"", "\"other\", \"extra\"");
        write(&work.join("web.toml"), &recipe);
        let ran = update(&["other"], 0);
        let moved: Vec<&str> = ran
            .stdout
            .lines()
            .filter_map(|l| l.split(',').next())
            .collect();
        assert_eq!(
            moved.split_last().expect("lines").1,
            ["+ extra 3.0 amd64", "other 2.0 → 3.0 amd64"]
        );
    });
}
