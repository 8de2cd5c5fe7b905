//! The old name `multistrap`: its configuration file, its messages and exit codes, and trees mixed from repositories.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod keys;
#[path = "../who/mod.rs"]
mod who;

use jaula_testkit::{DebBuilder, Ran, Repo, RepoBuilder, TestKey, partial_mirror, skip};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use who::{User, Who, everyone};

/// Archives, a configuration and hooks in a directory that everybody can read.
struct Place {
    dir: tempfile::TempDir,
    a: Repo,
    b: Repo,
}

/// `NAME VERSION` of one architecture.
fn package(name: &str, version: &str) -> jaula_testkit::Deb {
    DebBuilder::new(name, version)
        .file(&format!("usr/share/{name}"), version, 0o644)
        .build()
        .expect("a package")
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("jaula-multistrap-")
            .tempdir()
            .expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let key = TestKey::sound("archive").expect("a key");
        let write = |name: &str, suite: &str, packages: &[(&str, &str)]| {
            let place = dir.path().join(name);
            fs::create_dir(&place).expect("a directory");
            let mut repo = RepoBuilder::new(suite);
            for (name, version) in packages {
                repo = repo.package(package(name, version));
            }
            repo.write(&place, &key).expect("a repository")
        };
        let a = write("a", "alpha", &[("pkg", "1.0")]);
        let b = write("b", "beta", &[("pkg", "2.0"), ("only", "1.0")]);
        Self { dir, a, b }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    /// The two archives and what is made of them, with more lines for `[General]`.
    fn config(&self, name: &str, general: &str) -> String {
        let (a, b) = (self.a.url(), self.b.url());
        let (key_a, key_b) = (self.a.keyring.display(), self.b.keyring.display());
        let text = format!(
            "[General]\narch=\nomitrequired=true\nignorenativearch=true\nbootstrap=Alpha Beta\naptsources=Alpha\n{general}\n\
             [alpha]\npackages=pkg\nsource={a}\nsuite=alpha\nkeyring={key_a}\nomitdebsrc=true\n\
             [Beta]\npackages=only\nsource={b}\nsuite=beta\nkeyring={key_b}\n"
        );
        self.write(name, &text)
    }
}

#[track_caller]
fn multistrap(user: &User, words: &[&str]) -> Ran {
    user.place.run(&[&["compat", "multistrap"], words].concat())
}

fn versions(tree: &Path) -> Vec<String> {
    let status = fs::read_to_string(tree.join("var/lib/dpkg/status")).expect("a status file");
    let field = |name: &str| -> Vec<String> {
        let lines = status.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(str::to_owned).collect()
    };
    let names = field("Package: ").into_iter().zip(field("Version: "));
    names
        .map(|(name, version)| format!("{name} {version}"))
        .collect()
}

#[test]
fn two_archives_are_mixed_with_a_pin() {
    let place = Place::new();
    let pin = place.write(
        "pin.conf",
        "Package: *\nPin: release n=beta\nPin-Priority: 400\n",
    );
    for name in ["download-1", "native-1", "completion-1"] {
        let script = "#!/bin/sh\ntest -f \"$1/usr/share/pkg\" && echo \"hook $(basename \"$0\") $2\"\n\
                      echo \"$(basename \"$0\")\" >>\"$1/etc/hooks\"\n";
        let path = place.write(&format!("hooks/{name}"), script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a hook");
    }
    let script = "#!/bin/sh\necho \"setup $2\" >\"$1/etc/hooks\"\n";
    let setup = place.write("setup.sh", script);
    fs::set_permissions(&setup, fs::Permissions::from_mode(0o755)).expect("a script");
    let table = place.write(
        "table",
        "# name type mode uid gid major minor start inc count\n/dev/disk\tb\t640\t0\t6\t8\t0\t0\t1\t2\n\
         /dev/pts\td\t755\t0\t0\t-\t-\t-\t-\t-\n/dev/fd\ts\t/proc/self/fd\t-\t-\t-\t-\t-\t-\t-\n",
    );
    let hooks = place.path("hooks").display().to_string();
    everyone(|user| {
        let tree = user.place.work().join("tree");
        let tree_text = tree.display().to_string();
        let plain = place.config("plain.conf", "");
        let pinned = place.config(
            "pinned.conf",
            &format!(
                "aptpreferences={pin}\nhookdir={hooks}\nsetupscript={setup}\nconfigscript={setup}"
            ),
        );

        // Nothing is changed by looking.
        let ran = multistrap(
            user,
            &["-f", &pinned, "-d", &tree_text, "-a", "amd64", "--simulate"],
        );
        let text = ran.expect(0).stdout;
        assert!(
            text.contains("Section name:\tbeta\n\tsource:\t\tfile://"),
            "{text}"
        );
        assert!(
            text.contains(&format!("Apt preferences file to use: '{pin}'")),
            "{text}"
        );
        assert!(!tree.exists());

        multistrap(user, &["-f", &plain, "-d", &tree_text]).expect(0);
        assert_eq!(versions(&tree), ["only 1.0", "pkg 2.0"]);

        let tree = user.place.work().join("pinned");
        let ran = multistrap(user, &["-f", &pinned, "-d", &tree.display().to_string()]).expect(0);
        assert_eq!(versions(&tree), ["only 1.0", "pkg 1.0"], "{}", ran.stderr);
        assert!(
            ran.stdout
                .contains("Multistrap system installed successfully in"),
            "{}",
            ran.stdout
        );
        let kept = fs::read_to_string(tree.join("etc/apt/preferences.d/pin.pref"));
        assert_eq!(kept.ok(), fs::read_to_string(&pin).ok());
        // The tree is not configured here, so there is no native hook; completion comes after download.
        let ran_hooks = fs::read_to_string(tree.join("etc/hooks")).expect("hooks");
        assert_eq!(ran_hooks, "setup amd64\ndownload-1\ncompletion-1\n");
        assert!(tree.join("setup.sh").is_file());
        // Of the two sections one stays in the image's sources.
        let mut lists: Vec<String> = fs::read_dir(tree.join("etc/apt/sources.list.d"))
            .expect("sources")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        lists.sort();
        assert!(
            lists.len() == 1
                && lists
                    .iter()
                    .all(|name| name.starts_with("multistrap-alpha.")),
            "{lists:?}"
        );
        if user.who == Who::Root {
            let null = fs::metadata(tree.join("dev/null")).expect("a device");
            assert!(
                null.file_type().is_char_device() && null.rdev() == 0x103,
                "{null:?}"
            );
            let tree_text = tree.display().to_string();
            let words = ["compat", "device-table.pl", "-f", &table, "-d", &tree_text];
            let dry = user.place.run(&[&words[..], &["-n"]].concat()).expect(0);
            assert!(
                dry.stdout.contains("mknod ./dev/disk1 b 8 1\n"),
                "{}",
                dry.stdout
            );
            assert!(!tree.join("dev/disk1").exists());
            user.place.run(&words).expect(0);
            let disk = fs::metadata(tree.join("dev/disk1")).expect("a device");
            assert!(
                disk.file_type().is_block_device() && disk.rdev() == 0x801,
                "{disk:?}"
            );
            assert_eq!((disk.mode() & 0o7777, disk.gid()), (0o640, 6));
            assert!(!tree.join("dev/disk2").exists() && tree.join("dev/fd").is_symlink());
        }
    });
}

#[test]
fn exit_codes_and_places_of_what_is_wrong() {
    let place = Place::new();
    let mut first = true;
    everyone(|user| {
        // None of it depends on who it is.
        if std::mem::take(&mut first) {
            wrong(&place, user);
        }
    });
}

fn wrong(place: &Place, user: &User) {
    let ran = multistrap(user, &[]).expect(255);
    assert_eq!(
        ran.stderr,
        "multistrap: Need a configuration file - use multistrap -f\n"
    );
    multistrap(user, &["-f", "/no/such/file"]).expect(2);
    multistrap(user, &["--bogus"]).expect(255);
    multistrap(user, &["--help"]).expect(0);
    let conf = place.config("c.conf", "");
    // No directory.
    multistrap(user, &["-f", &conf]).expect(3);
    let ran = multistrap(user, &["-f", &conf, "--dry-run"]).expect(1);
    assert!(
        ran.stderr.contains("Cannot determine directory from"),
        "{}",
        ran.stderr
    );
    let both = place.config("both.conf", "addimportant=true");
    let ran = multistrap(user, &["-f", &both, "-d", "tree"]).expect(7);
    assert!(
        ran.stderr.contains("Cannot set 'add Priority: important'"),
        "{}",
        ran.stderr
    );
    let unknown = place.config("unknown.conf", "aptsource=x");
    let ran = multistrap(user, &["-f", &unknown, "-d", "tree"]).expect(255);
    assert!(
        ran.stderr.contains("unknown.conf, line 7, column 1: there is no key \"aptsource\" here; did you mean aptsources?"),
        "{}",
        ran.stderr
    );
    let undefined = place.config("undefined.conf", "debootstrap=Gamma");
    let ran = multistrap(user, &["-f", &undefined, "-d", "tree"]).expect(1);
    assert!(
        ran.stderr.contains("The 'gamma' section is not defined"),
        "{}",
        ran.stderr
    );
    // Who may sign has to be said, or that nobody need.
    let text = fs::read_to_string(&conf).expect("the file");
    let lines = text.lines().filter(|line| !line.starts_with("keyring="));
    let open: String = lines.map(|line| format!("{line}\n")).collect();
    let open = place.write("open.conf", &open);
    let ran = multistrap(user, &["-f", &open, "-d", "open"]).expect(1);
    assert!(
        ran.stderr.contains("no keyring says who may sign"),
        "{}",
        ran.stderr
    );
    multistrap(user, &["-f", &open, "-d", "open", "--no-auth"]).expect(0);
    assert_eq!(
        versions(&user.place.work().join("open")),
        ["only 1.0", "pkg 2.0"]
    );
    // What was asked for and is not there counts, and is made without it.
    let missing = place.config("missing.conf", "hookdir=/no/such/dir");
    let ran = multistrap(user, &["-f", &missing, "-d", "tree"]).expect(1);
    assert!(ran.stderr.contains("reported 1 error in"), "{}", ran.stderr);
    assert!(user.place.work().join("tree/usr/share/pkg").is_file());
}

#[test]
fn a_native_tree_is_configured_between_the_hooks() {
    let mirror = match partial_mirror(&[]) {
        Ok(mirror) => mirror,
        Err(error) => skip!("no mirror: {error:#}"),
    };
    let place = Place::new();
    for name in ["completion-x", "download-x", "native-x"] {
        let script = "#!/bin/sh\nstate=$(grep -c 'ok installed' \"$1/var/lib/dpkg/status\")\n\
                      [ \"$state\" -gt 0 ] && state=configured || state=unpacked\n\
                      echo \"$(basename \"$0\") $2 $state\" >>\"$1/etc/hooks\"\n";
        let path = place.write(&format!("hooks/{name}"), script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a hook");
    }
    let text = format!(
        "[General]\narch=amd64\nbootstrap=Debian\naptsources=Debian\nhookdir={}\n\
         [Debian]\nsource=file://{}\nsuite=bookworm\nkeyring=debian-archive-keyring\nomitdebsrc=true\n",
        place.path("hooks").display(),
        mirror.display()
    );
    let conf = place.write("native.conf", &text);
    let mut first = true;
    everyone(|user| {
        if !std::mem::take(&mut first) {
            return;
        }
        let ran = multistrap(user, &["-f", &conf, "-d", "tree"]).expect(0);
        let tree = user.place.work().join("tree");
        let hooks = fs::read_to_string(tree.join("etc/hooks")).expect("hooks");
        let order = "download-x  unpacked\nnative-x start unpacked\nnative-x end configured\ncompletion-x  configured\n";
        assert_eq!(hooks, order, "{}", ran.stderr);
        let status = fs::read_to_string(tree.join("var/lib/dpkg/status")).expect("a status file");
        let states = status.lines().filter(|line| line.starts_with("Status: "));
        assert!(states.clone().count() > 50);
        assert!(
            states
                .clone()
                .all(|line| line == "Status: install ok installed")
        );
        // The package with the keys is one of those that are installed.
        assert!(
            versions(&tree)
                .iter()
                .any(|line| line.starts_with("debian-archive-keyring "))
        );
    });
}

#[test]
fn a_hook_that_fails_leaves_nothing() {
    let place = Place::new();
    let path = place.write("hooks/download-1", "#!/bin/sh\necho broken >&2\nexit 9\n");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a hook");
    let conf = place.config(
        "c.conf",
        &format!("hookdir={}", place.path("hooks").display()),
    );
    everyone(|user| {
        let ran = multistrap(user, &["-f", &conf, "-d", "tree"]).expect(1);
        assert!(
            ran.stderr.contains("download-1") && ran.stderr.contains('9'),
            "{}",
            ran.stderr
        );
        assert!(!user.place.work().join("tree").exists());
        let images = user.place.run(&["image", "ls", "--json"]).expect(0).stdout;
        assert!(!images.contains("digest"), "{images}");
    });
}

#[test]
fn a_tarball_with_an_absolute_name_is_made_where_it_is_named() {
    let place = Place::new();
    everyone(|user| {
        let tarball = user.place.work().join("out/tree.tgz");
        fs::create_dir_all(user.place.work().join("out")).expect("a directory");
        if user.who == Who::Ana {
            return;
        }
        let name = format!("t-{:?}.conf", user.who);
        let conf = place.config(
            &name,
            &format!("tarballname={}\ncleanup=true", tarball.display()),
        );
        multistrap(user, &["-f", &conf, "-d", "tree"]).expect(0);
        let listed = std::process::Command::new("tar")
            .arg("-tzf")
            .arg(&tarball)
            .output()
            .expect("tar");
        let text = String::from_utf8_lossy(&listed.stdout);
        assert!(
            listed.status.success() && text.contains("usr/share/pkg"),
            "{text}"
        );
        assert!(!user.place.work().join("tree/usr").exists());
    });
}
