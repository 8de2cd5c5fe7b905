//! What comes out of images, as root and as an ordinary user: the same bytes for both, pipes, lists, differences.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod who;

use jaula_testkit::{Hermetic, Ran, hermetic};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use who::everyone;

/// An archive with files of several users and a little of dpkg's database; the same bytes each time.
fn archive(dir: &Path, version: &str) -> String {
    let tree = dir.join(format!("tree-{version}"));
    let put = |path: &str, text: &str| {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    };
    let status = |name: &str, version: &str| {
        format!(
            "Package: {name}\nStatus: install ok installed\nVersion: {version}\nArchitecture: amd64\nMaintainer: A <a@example.org>\n\n"
        )
    };
    let mut all = status("dpkg", "1.22") + &status("libx", version);
    if version == "2" {
        all += &status("new", "1");
    }
    put("var/lib/dpkg/status", &all);
    put("etc/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n");
    put("usr/bin/tool", &format!("tool {version}\n"));
    put("etc/same", "same\n");
    put("home/mail", "for mail\n");
    if version == "2" {
        put("etc/added", "");
    }
    fs::hard_link(tree.join("usr/bin/tool"), tree.join("usr/bin/alias")).expect("a link");
    let name = format!("a-{version}.tar");
    let base = [
        "--sort=name",
        "--numeric-owner",
        "--mtime=@1700000000",
        "--mode=u=rwX,go=rX",
    ];
    let tar = |words: &[&str]| {
        let mut command = Command::new("tar");
        command
            .args(base)
            .args(words)
            .arg("-C")
            .arg(&tree)
            .args(["--file"])
            .arg(dir.join(&name));
        let done = command.args(match words.contains(&"--append") {
            true => vec!["./home/mail"],
            false => vec!["--exclude=./home/mail", "."],
        });
        assert!(done.status().expect("tar").success());
    };
    tar(&["--create", "--owner=0", "--group=0"]);
    tar(&["--append", "--owner=8", "--group=12"]);
    format!("./{name}")
}

/// Takes an archive into the store; its digest.
fn imported(place: &Hermetic, name: &str) -> String {
    place.run(&["image", "sbom", name]).expect(0);
    let listed = place.run(&["image", "ls", "--json"]).expect(0);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let images = listed["images"].as_array().expect("images");
    images[0]["digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn outputs_are_the_same_for_everyone() {
    let mut all: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
    everyone(|user| {
        let work = user.place.work();
        let digest = imported(&user.place, &archive(&work, "1"));
        for name in [
            "x.tar",
            "x.tar.gz",
            "x.tar.zst",
            "x.tar.xz",
            "x.squashfs",
            "x.ext4",
            "x.erofs",
            "x.cpio",
            "x.cpio.gz",
            "x.oci.tar",
        ] {
            user.place
                .run(&["image", "export", &digest, "-o", name])
                .expect(0);
            let bytes = fs::read(work.join(name)).expect("the output");
            all.entry(name).or_default().push(bytes);
        }
        // To a pipe, and as an image of the store by build.
        let piped = user
            .place
            .run(&["build", &digest, "-o", "-", "--format", "cpio"])
            .expect(0);
        assert!(piped.stdout.starts_with("070701"), "{:.40}", piped.stdout);
        assert_eq!(
            piped.stdout.as_bytes(),
            fs::read(work.join("x.cpio")).expect("read")
        );
        user.place
            .run(&["image", "export", &digest, "-o", "x.oci"])
            .expect(0);
        assert!(work.join("x.oci/oci-layout").exists());
        user.place
            .run(&["build", &digest, "--format", "null"])
            .expect(0);
        // Lists beside an output.
        user.place
            .run(&["build", &digest, "-o", "l.tar", "--sbom", "spdx,cyclonedx"])
            .expect(0);
        for name in ["l.tar.spdx.json", "l.tar.cdx.json", "l.tar.manifest"] {
            let bytes = fs::read(work.join(name)).expect("the list");
            all.entry(name).or_default().push(bytes);
        }
        let left: Vec<String> = fs::read_dir(&work)
            .expect("read")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
    });
    assert_eq!(all["l.tar.manifest"][0], b"dpkg\t1.22\nlibx\t1\n");
    for (name, bytes) in &all {
        assert!(
            bytes.iter().all(|one| one == &bytes[0]),
            "{name} differs between users"
        );
    }
    // The owners of the archive are in it, whoever wrote it.
    let text = String::from_utf8_lossy(&all["x.cpio"][0]).into_owned();
    let mail = text
        .split("070701")
        .find(|entry| entry.contains("home/mail"))
        .expect("the file");
    assert_eq!(&mail[16..32], "000000080000000c");
}

#[test]
fn differences_are_told_and_counted() {
    let place = hermetic!();
    let work = place.work();
    let (one, two) = (archive(&work, "1"), archive(&work, "2"));
    let run = |words: &[&str]| -> Ran { place.run(words) };
    // Directories need no store and no session.
    let (a, b) = ("./tree-1", "./tree-2");
    let same = run(&["image", "diff", a, a]).expect(0);
    assert_eq!(same.stdout, "");
    let diff = run(&["image", "diff", a, b]).expect(1);
    let wanted = "+ package new:amd64 1\n~ package libx:amd64 1 -> 2 (upgraded)\n+ etc/added\n\
                  ~ usr/bin/alias (content)\n~ usr/bin/tool (content)\n~ var/lib/dpkg/status";
    assert!(diff.stdout.starts_with(wanted), "{}", diff.stdout);
    let back = run(&["image", "diff", b, a, "--packages", "--json"]).expect(1);
    let back: serde_json::Value = serde_json::from_str(&back.stdout).expect("JSON");
    assert_eq!(back["same"], false);
    assert_eq!(back["diff"]["packages_removed"][0]["name"], "new");
    assert_eq!(back["diff"]["packages_downgraded"][0]["to"], "1");
    assert_eq!(
        back["diff"]["files_changed"].as_array().map(Vec::len),
        Some(0)
    );
    fs::set_permissions(
        work.join("tree-1/etc/same"),
        std::os::unix::fs::PermissionsExt::from_mode(0o640),
    )
    .expect("changed");
    std::os::unix::fs::symlink("x", work.join("tree-1/home/link")).expect("made");
    std::os::unix::fs::symlink("y", work.join("tree-2/home/link")).expect("made");
    let diff = run(&["image", "diff", a, b]).expect(1).stdout;
    assert!(diff.contains("~ etc/same (mode 0640 -> 0644)"), "{diff}");
    assert!(diff.contains("~ home/link (link x -> y)"), "{diff}");
    run(&["image", "diff", "./nowhere", b]).expect(125);
    // Archives go through the store.
    everyone(|user| {
        let work = user.place.work();
        archive(&work, "1");
        archive(&work, "2");
        let ran = user
            .place
            .run(&["image", "diff", &one, &two, "--packages"])
            .expect(1);
        assert!(ran.stdout.contains("libx"), "{}", ran.stdout);
    });
}

#[test]
fn what_cannot_be_written_is_refused_with_a_hint() {
    let place = hermetic!();
    for (words, said) in [
        (
            &["build", "debian", "-o", "x.tar.bz2"][..],
            "does not write that kind",
        ),
        (
            &["build", "debian", "-o", "x", "--format", "zip"],
            "does not know that format",
        ),
        (
            &["build", "debian", "-o", "-", "--format", "ext4"],
            "standard output",
        ),
        (&["build", "debian", "--format", "tar"], "no place is given"),
        (
            &["build", "debian", "-o", "x.tar", "--size", "1G"],
            "--size",
        ),
        (
            &["build", "debian", "-o", "x.ext4", "--size", "huge"],
            "as a size",
        ),
        (&["build", "debian", "-o", "-", "--sbom", "spdx"], "--sbom"),
        (&["image", "export", "web"], "no place is given"),
        (
            &["image", "export", "./x.tar", "-o", "y.tar"],
            "it is a path",
        ),
    ] {
        let ran = place.run(words).expect(125);
        assert!(
            ran.stderr.contains(said) && ran.stderr.contains("hint:"),
            "{words:?}: {}",
            ran.stderr
        );
    }
    assert_eq!(fs::read_dir(place.work()).expect("read").count(), 0);
}
