//! Stories of a jail's content: made once and used later, made unattended, spoken to in Spanish, tried out, built in.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod mirror;
mod who;

use jaula_testkit::{Deb, DebBuilder, RepoBuilder, Server, TestKey, partial_mirror, skip};
use mirror::{Web, assert_gone, essential};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use who::{User, Who, everyone};

/// The trees of the images in a user's store.
fn images(user: &User) -> Vec<PathBuf> {
    let dir = fs::read_dir(user.place.store().join("images"));
    let mut found: Vec<PathBuf> = dir
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// A recipe of the partial mirror's bookworm.
fn recipe(web: &Web, dir: &Path, name: &str, rest: &str) {
    let words = web.words(&[]);
    let (mirror, keyring) = (&words[1], &words[3]);
    let text = format!(
        "distro = \"debian\"\nsuite = \"bookworm\"\narch = \"amd64\"\n{rest}\n[sources]\nmirror = \"{mirror}\"\nkeyrings = [\"{keyring}\"]\n"
    );
    fs::write(dir.join(name), text).expect("a recipe");
}

#[test]
fn a_minimal_system_is_made_now_and_run_later() {
    let web = match Web::start(&[]) {
        Ok(web) => web,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        web.run(
            user,
            &[
                "new",
                "min",
                "--from",
                "debian:bookworm",
                "--variant",
                "essential",
            ],
        )
        .expect(0);
        let first = images(user);
        // As after a start of the host: nothing of it runs, and nothing of its run directory is there.
        assert_gone(user.place.path());
        drop(fs::remove_dir_all(user.place.store().join("run")));
        user.place.run(&["exec", "min", "--", "true"]).expect(0);
        let ran = user.place.run(&["ls", "--json"]).expect(0);
        let listed: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let text = listed.to_string();
        assert!(
            text.contains("\"name\":\"min\"") && text.contains("debian:bookworm"),
            "{text}"
        );
        let ran = user.place.run(&["image", "ls", "--json"]).expect(0).stdout;
        assert!(
            ran.contains("\"arch\":\"amd64\"") && ran.contains("\"size\":"),
            "{ran}"
        );
        // Made again from the same inputs it is the same image, by digest and by bytes.
        let again = user.place.path().join("again");
        let tar = |store: &Path, to: &str| {
            let store = store.display().to_string();
            let words = [
                "--store",
                &store,
                "build",
                "debian:bookworm",
                "--variant",
                "essential",
                "-o",
                to,
            ];
            web.run(user, &words).expect(0);
            fs::read(user.place.work().join(to)).expect("an archive")
        };
        let (one, two) = (tar(&user.place.store(), "one.tar"), tar(&again, "two.tar"));
        assert!(one == two, "other bytes");
        let digests: Vec<_> = fs::read_dir(again.join("images"))
            .expect("images")
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert_eq!(digests, [first[0].file_name().expect("a digest")]);
    });
}

#[test]
fn the_same_recipe_twice_is_nothing_to_do_and_nobody_is_asked() {
    let web = match Web::start(&["locales"]) {
        Ok(web) => web,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let work = user.place.work();
        let rest = "variant = \"essential\"\ninclude = [\"debconf\", \"adduser\"]\n[[output]]\npath = \"out\"\n\
            [[hook]]\nrun = \"adduser --system ana >&2; getent passwd ana >/etc/who; tty >>/etc/who || true\"\n";
        recipe(&web, &work, "web.toml", rest);
        let ran = user.place.run(&["build", "web.toml", "--json"]).expect(0);
        // Every step is told, as it happens.
        let mut phases = Vec::new();
        for line in ran.stderr.lines() {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            assert_eq!(event["version"], 1, "{line}");
            if event["event"] == "finished" {
                phases.push(event["phase"].as_str().expect("a phase").to_owned());
            }
        }
        for phase in [
            "indices",
            "solve",
            "fetch",
            "unpack",
            "configure",
            "finish",
            "export",
        ] {
            assert!(
                phases.iter().any(|done| done == phase),
                "{phase}: {phases:?}"
            );
        }
        let out = work.join("out");
        let text = |path: &str| fs::read_to_string(out.join(path)).unwrap_or_default();
        let who = text("etc/who");
        assert!(
            who.starts_with("ana:x:") && who.ends_with("not a tty\n"),
            "{who}"
        );
        // The same again.
        let before = (
            web.server.requests().len(),
            mirror::tree(&out),
            mirror::tree(&user.place.store().join("images")),
        );
        let ran = user.place.run(&["build", "web.toml", "--json"]).expect(0);
        let built: Value =
            serde_json::from_str(ran.stdout.lines().last().expect("a line")).expect("JSON");
        assert_eq!(
            (&built["outputs"][0]["written"], &built["lock"]["written"]),
            (&false.into(), &false.into())
        );
        let after = (
            web.server.requests().len(),
            mirror::tree(&out),
            mirror::tree(&user.place.store().join("images")),
        );
        assert!(before == after, "something changed");
    });
}

const MISSING: &str = "LC_ALL=; export LC_ALL; perl -e 1 2>&1 | head -n 1; ls /nada 2>&1";

#[test]
fn a_jail_is_made_to_speak_spanish() {
    let web = match Web::start(&["locales"]) {
        Ok(web) => web,
        Err(reason) => skip!("{reason}"),
    };
    let key = TestKey::sound("ours").expect("a key");
    everyone(|user| {
        web.run(
            user,
            &[
                "new",
                "es",
                "--from",
                "debian:bookworm",
                "--variant",
                "essential",
            ],
        )
        .expect(0);
        let said = || {
            let words = [
                "exec",
                "es",
                "--env",
                "LANG=es_ES.UTF-8",
                "--",
                "sh",
                "-c",
                MISSING,
            ];
            user.place.run(&words).stdout
        };
        let before = said();
        assert!(
            before.contains("Setting locale failed") && before.contains("No such file"),
            "{before}"
        );
        let plan = user
            .place
            .run(&["locale", "es", "es_ES.utf8", "--plan"])
            .expect(0)
            .stdout;
        assert!(
            plan.contains("install locales ") && plan.contains("generate es_ES.UTF-8"),
            "{plan}"
        );
        user.place.run(&["locale", "es", "es_ES.utf8"]).expect(0);
        let after = said();
        assert!(
            !after.contains("Setting locale failed")
                && after.contains("No existe el fichero o el directorio"),
            "{after}"
        );
        let ran = user
            .place
            .run(&[
                "exec",
                "es",
                "--",
                "sh",
                "-c",
                "locale -a; cat /etc/default/locale",
            ])
            .expect(0);
        assert!(
            ran.stdout.contains("es_ES.utf8\n") && ran.stdout.contains("LANG=es_ES.UTF-8\n"),
            "{}",
            ran.stdout
        );
        let ran = user.place.run(&["locale", "es", "xx_XX.UTF-8"]).expect(125);
        assert!(
            ran.stderr.contains("there is no locale xx_XX.UTF-8"),
            "{}",
            ran.stderr
        );
        let ran = user.place.run(&["locale", "es", "../x"]).expect(125);
        assert!(ran.stderr.contains("as a locale"), "{}", ran.stderr);
        // Where a distribution has language packs, that of the language comes along.
        let pack =
            DebBuilder::new("language-pack-es", "1").file("usr/share/pack-es", "es\n", 0o644);
        let repo = RepoBuilder::new("noble").package(pack.build().expect("a package"));
        let repo = repo
            .write(&user.place.work().join("ubuntu"), &key)
            .expect("a repository");
        let keys = repo.keyring.display().to_string();
        let words = [
            "locale",
            "es",
            "es_AR.UTF-8",
            "--from",
            "ubuntu:noble",
            "--mirror",
            &repo.url(),
            "--components",
            "main",
            "--keyring",
            &keys,
        ];
        user.place.run(&words).expect(0);
        let ran = user
            .place
            .run(&[
                "exec",
                "es",
                "--",
                "sh",
                "-c",
                "cat /usr/share/pack-es; locale -a | grep -c es_",
            ])
            .expect(0);
        assert_eq!(ran.stdout, "es\n2\n");
    });
}

/// A source package as Debian's are, that needs nothing but what every build has (Debian Policy 4).
const SOURCE: &str = r#"
set -e
mkdir -p "$HOME/tiny/debian/source" && cd "$HOME/tiny"
printf 'int main(void) { return 42; }\n' >tiny.c
printf '3.0 (native)\n' >debian/source/format
printf 'tiny (1.0) unstable; urgency=low\n\n  * First.\n\n -- Ana <ana@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n' >debian/changelog
printf 'Source: tiny\nMaintainer: Ana <ana@example.org>\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n\nPackage: tiny\nArchitecture: any\nDepends: ${shlibs:Depends}\nDescription: small\n Very.\n' >debian/control
cat >debian/rules <<'RULES'
#!/usr/bin/make -f
clean:
	rm -rf tiny debian/tiny debian/files debian/*substvars
build build-arch build-indep:
	cc -o tiny tiny.c
binary binary-arch: build
	install -D tiny debian/tiny/usr/bin/tiny
	mkdir -p debian/tiny/DEBIAN
	dpkg-shlibdeps debian/tiny/usr/bin/tiny
	dpkg-gencontrol -Pdebian/tiny
	dpkg-deb --root-owner-group --build debian/tiny ..
binary-indep:
RULES
chmod +x debian/rules
dpkg-buildpackage -us -uc >/tmp/log 2>&1 || { tail -n 20 /tmp/log; exit 1; }
id -u
ls /sys/class/net
dpkg-deb -x ../tiny_1.0_amd64.deb /tmp/x
code=0; /tmp/x/usr/bin/tiny || code=$?; echo "$code"
dpkg-deb -f ../tiny_1.0_amd64.deb Depends
"#;

/// A package as Ubuntu has it: without the messages of a language, which are apart in packs of languages.
fn without_messages(dir: &Path, deb: &Deb) -> (Deb, Vec<u8>) {
    let (tree, file) = (dir.join(&deb.name), dir.join(deb.file_name()));
    fs::write(&file, &deb.bytes).expect("a package");
    let dpkg = |words: &[&std::ffi::OsStr]| {
        let done = std::process::Command::new("dpkg-deb").args(words).output();
        let done = done.expect("dpkg-deb");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
    };
    dpkg(&["-R".as_ref(), file.as_os_str(), tree.as_os_str()]);
    let messages = tree.join("usr/share/locale/es/LC_MESSAGES/coreutils.mo");
    let bytes = fs::read(&messages).expect("messages");
    fs::remove_file(&messages).expect("messages");
    dpkg(&[
        "--root-owner-group".as_ref(),
        "-Znone".as_ref(),
        "-b".as_ref(),
        tree.as_os_str(),
        file.as_os_str(),
    ]);
    (Deb::read(&file).expect("a package"), bytes)
}

#[test]
fn ubuntus_language_pack_makes_a_jail_speak_spanish() {
    let Ok(mirror) = partial_mirror(&["locales"]) else {
        skip!("no mirror");
    };
    let key = TestKey::sound("ubuntu").expect("a key");
    everyone(|user| {
        let packages = essential(user, &mirror, &["usr-is-merged", "locales"]);
        let dir = tempfile::tempdir().expect("a directory");
        // An archive that is Ubuntu's in what counts here: its suite, and who has a language's messages.
        let mut repo = RepoBuilder::new("noble");
        let mut messages = Vec::new();
        for deb in packages {
            if deb.name == "coreutils" {
                let (bare, of_es) = without_messages(dir.path(), &deb);
                messages = of_es;
                repo = repo.package(bare);
            } else {
                repo = repo.package(deb);
            }
        }
        let pack = DebBuilder::new("language-pack-es", "1:24.04")
            .arch("all")
            .field("Depends", "language-pack-es-base, locales");
        let base = DebBuilder::new("language-pack-es-base", "1:24.04")
            .arch("all")
            .file(
                "usr/share/locale/es/LC_MESSAGES/coreutils.mo",
                messages,
                0o644,
            );
        let other = DebBuilder::new("language-pack-fr", "1:24.04").arch("all");
        for deb in [pack, base, other] {
            repo = repo.package(deb.build().expect("a package"));
        }
        let repo = repo
            .write(&dir.path().join("archive"), &key)
            .expect("a repository");
        let server = Server::start(&repo.dir).expect("a server");
        let (url, keyring) = (server.url(), user.place.work().join("ubuntu.gpg"));
        fs::copy(&repo.keyring, &keyring).expect("a keyring");
        let keyring = keyring.display().to_string();
        let from = ["--mirror", &url, "--keyring", &keyring];
        let small = [
            "--variant",
            "essential",
            "--exclude",
            "usrmerge",
            "--components",
            "main",
        ];
        let ran = |words: &[&str]| user.place.run(&[words, &small, &from].concat()).expect(0);

        // The flag of an image brings the pack.
        let plan = ran(&["build", "ubuntu:noble", "--locale", "es_ES.UTF-8", "--plan"]).stdout;
        for name in ["locales ", "language-pack-es ", "language-pack-es-base "] {
            assert!(plan.contains(&format!("\n    {name}")), "{name}: {plan}");
        }
        assert!(!plan.contains("language-pack-fr"), "{plan}");
        ran(&[
            "build",
            "ubuntu:noble",
            "--locale",
            "es_ES.UTF-8",
            "--tag",
            "es",
        ]);
        let ls = user
            .place
            .run(&["run", "es", "--", "ls", "/nada"])
            .expect(2);
        let said = "ls: no se puede acceder a '/nada': No existe el fichero o el directorio";
        assert_eq!(ls.stderr.trim_end(), said);

        assert_gone(user.place.path());
        if user.who == Who::Ana {
            return;
        }

        // So does the verb in a jail that was made without, and where locales alone is there already.
        ran(&["new", "u", "--from", "ubuntu:noble", "--include", "locales"]);
        let ls = || {
            let words = [
                "exec",
                "u",
                "--env",
                "LANG=es_ES.UTF-8",
                "--",
                "ls",
                "/nada",
            ];
            user.place.run(&words).expect(2).stderr
        };
        assert!(ls().contains("cannot access"), "{}", ls());
        let plan = user
            .place
            .run(&["locale", "u", "es_ES.utf8", "--plan"])
            .expect(0)
            .stdout;
        assert!(
            plan.contains("install language-pack-es 1:24.04") && !plan.contains("install locales"),
            "{plan}"
        );
        user.place.run(&["locale", "u", "es_ES.utf8"]).expect(0);
        assert_eq!(ls().trim_end(), said);
        let found = user.place.run(&["pkg", "ls", "u"]).expect(0).stdout;
        assert!(
            found.contains("\nlanguage-pack-es 1:24.04 all manual\n")
                && found.contains("\nlanguage-pack-es-base 1:24.04 all auto\n"),
            "{found}"
        );
        assert_gone(user.place.path());
    });
}

#[test]
fn software_is_tried_and_packages_are_built_without_a_trace() {
    let web = match Web::start(&["build-essential", "apt"]) {
        Ok(web) => web,
        Err(reason) => skip!("{reason}"),
    };
    everyone(|user| {
        let ran = web.run(
            user,
            &[
                "build",
                "debian:bookworm",
                "--variant",
                "buildd",
                "--tag",
                "build",
            ],
        );
        ran.expect(0);
        let [image] = images(user).try_into().expect("one image");
        let before = mirror::tree(&image);
        assert!(before.len() > 1000);
        // What is thrown away with the run is not in the image.
        let script = "dpkg --purge --force-depends bzip2 2>/dev/null >/dev/null; ls /usr/bin/bzip2 2>/dev/null; dpkg -s bzip2 2>/dev/null | wc -l";
        let ran = user
            .place
            .run(&["run", "build", "--", "sh", "-c", script])
            .expect(0);
        assert_eq!(ran.stdout, "0\n");
        assert!(before == mirror::tree(&image), "the image changed");
        let ran = user
            .place
            .run(&["run", "build", "--", "ls", "/usr/bin/bzip2"])
            .expect(0);
        assert_eq!(ran.stdout, "/usr/bin/bzip2\n");
        // A package is built by an ordinary user inside, without a network.
        let words = [
            "run",
            "build",
            "--user",
            "1000:1000",
            "--env",
            "HOME=/tmp/home",
            "--",
            "sh",
            "-c",
            SOURCE,
        ];
        let ran = user.place.run(&words).expect(0);
        let mut lines = ran.stdout.lines();
        assert_eq!(
            [lines.next(), lines.next(), lines.next()],
            [Some("1000"), Some("lo"), Some("42")],
            "{}",
            ran.stdout
        );
        assert!(
            lines
                .next()
                .is_some_and(|line| line.starts_with("libc6 (>= ")),
            "{}",
            ran.stdout
        );
        assert!(before == mirror::tree(&image), "the image changed");
    });
}
