//! Jails from single files of the host, from end to end, as root and as an ordinary user.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use jaula_testkit::Ran;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use who::{User, everyone};

/// What the loader itself lists for programs of the host that are trusted, and they themselves; links followed.
fn loaded(programs: &[&str]) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for program in programs {
        let ran = Command::new(program)
            .env("LD_TRACE_LOADED_OBJECTS", "1")
            .output()
            .expect("a program of the host");
        for line in String::from_utf8_lossy(&ran.stdout).lines() {
            let line = line.split(" (").next().unwrap_or_default();
            let path = line.rsplit("=>").next().unwrap_or_default().trim();
            if path.starts_with('/') {
                files.insert(fs::canonicalize(path).expect("a library"));
            }
        }
        files.insert(fs::canonicalize(program).expect("a program"));
    }
    files
}

/// The regular files beneath a directory, as seen from it, links not followed.
fn files_of(root: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let mut left = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).expect("a directory") {
            let entry = entry.expect("an entry");
            let kind = entry.file_type().expect("a type");
            let path = entry.path();
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_file() {
                let inside = path.strip_prefix(root).expect("beneath");
                files.insert(Path::new("/").join(inside));
            }
        }
    }
    files
}

#[track_caller]
fn plan(user: &User, files: &str) -> Ran {
    user.place
        .run(&["new", "x", "--empty", "--with-files", files, "--plan"])
}

#[test]
fn a_jail_of_two_programs_has_their_closure_and_no_more() {
    everyone(|user| {
        let words = ["new", "c", "--empty", "--with-files", "/bin/bash,/bin/ls"];
        user.place.run(&words).expect(0);
        let ran = user
            .place
            .run(&["exec", "c", "--", "/bin/ls", "/"])
            .expect(0);
        let names: Vec<&str> = ran.stdout.lines().collect();
        assert!(names.contains(&"usr"), "{names:?}");
        let script = "echo $((6*7)); for n in /bin /lib; do [ -L $n ] && echo link; done; [ -e /etc/passwd ] || echo none";
        let ran = user
            .place
            .run(&["exec", "c", "--", "/bin/bash", "-c", script]);
        let ran = ran.expect(0);
        let merged = ["/bin", "/lib"]
            .iter()
            .filter(|name| fs::symlink_metadata(name).is_ok_and(|meta| meta.is_symlink()))
            .count();
        assert_eq!(ran.stdout, format!("42\n{}none\n", "link\n".repeat(merged)));

        // The same files are the same image, and its tree holds what the loader lists.
        let tree = user.place.work().join("tree");
        let tree_word = tree.to_str().expect("a path");
        let build = |output: &[&str]| {
            let words = ["build", "--empty", "--with-files", "/bin/ls,/bin/bash"];
            user.place
                .run(&[&words[..], output].concat())
                .expect(0)
                .stdout
        };
        build(&["-o", tree_word]);
        assert_eq!(files_of(&tree), loaded(&["/bin/bash", "/bin/ls"]));
        let (one, two) = (build(&[]), build(&[]));
        assert!(one.starts_with("sha256:") && one == two, "{one} {two}");
        let images = user.place.run(&["image", "ls", "--json"]).expect(0).stdout;
        assert_eq!(images.matches("\"digest\":").count(), 1, "{images}");
    });
}

#[test]
fn a_script_brings_its_interpreter_and_set_id_bits_stay_behind() {
    everyone(|user| {
        let dir = tempfile::Builder::new()
            .prefix("jaula-files-")
            .tempdir_in("/var/tmp")
            .expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let write = |name: &str, text: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::write(&path, text).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
            path.to_str().expect("a path").to_owned()
        };
        let script = write("hello", "#!/usr/bin/env bash\necho from $BASH\n", 0o755);
        let cat = dir.path().join("cat");
        fs::copy("/bin/cat", &cat).expect("a copy");
        fs::set_permissions(&cat, fs::Permissions::from_mode(0o6755)).expect("a mode");
        let cat = cat.to_str().expect("a path").to_owned();

        let asked = format!("{script},{cat},/bin/ls");
        let shown = plan(user, &asked).expect(0).stdout;
        for part in [
            format!("0755 {script}: asked for"),
            format!("0755 {cat}: asked for, set-id bits dropped"),
            format!("interpreter of {script}"),
            format!("started by env for {script}"),
            "libc.so.6 needed by".to_owned(),
        ] {
            assert!(shown.contains(&part), "{part} in {shown}");
        }
        user.place
            .run(&["new", "s", "--empty", "--with-files", &asked])
            .expect(0);
        let ran = user.place.run(&["exec", "s", "--", &script]).expect(0);
        assert!(
            ran.stdout.starts_with("from /") && ran.stdout.ends_with("/bash\n"),
            "{}",
            ran.stdout
        );
        let ran = user
            .place
            .run(&["exec", "s", "--", "/bin/ls", "-ln", &cat])
            .expect(0);
        assert!(
            ran.stdout.starts_with("-rwxr-xr-x 1 0 0 "),
            "{}",
            ran.stdout
        );
        // A data file is refused by name, and nothing was made.
        let data = write("data", "only text\n", 0o644);
        let ran = plan(user, &data).expect(125);
        assert!(
            ran.stderr
                .contains("neither a program, nor a library, nor a script"),
            "{}",
            ran.stderr
        );
    });
}

#[test]
fn what_cannot_be_copied_is_refused_by_name() {
    everyone(|user| {
        for (files, part) in [
            ("bin/ls", "bin/ls is not absolute"),
            ("/bin/none", "/bin/none does not exist"),
            ("/etc", "/etc is neither"),
            ("/dev/null", "/dev/null is neither"),
        ] {
            let ran = user
                .place
                .run(&["new", "x", "--empty", "--with-files", files])
                .expect(125);
            assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
        }
        for words in [
            &["new", "x", "--empty"][..],
            &["new", "x", "--with-files", "/bin/ls"],
            &[
                "new",
                "x",
                "--from",
                "debian",
                "--empty",
                "--with-files",
                "/bin/ls",
            ],
            &[
                "new",
                "x",
                "--empty",
                "--with-files",
                "/bin/ls",
                "--variant",
                "minbase",
            ],
            &["build", "debian", "--empty", "--with-files", "/bin/ls"],
        ] {
            user.place.run(words).expect(125);
        }
        assert_eq!(
            user.place
                .run(&["ls"])
                .expect(0)
                .stdout
                .matches("x ")
                .count(),
            0
        );
    });
}
