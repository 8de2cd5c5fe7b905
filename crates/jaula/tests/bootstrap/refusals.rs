//! Archives that are not what they should be, and callers who may not: one line that says it, and nothing half-made.

use super::{address, compat, left_in_store, names_in};
use crate::who::everyone;
use jaula_testkit::{DebBuilder, Hermetic, RepoBuilder, TestKey, skip};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

fn little() -> RepoBuilder {
    let deb = |name: &str| {
        DebBuilder::new(name, "1.0")
            .field("Essential", "yes")
            .field("Priority", "required")
            .build()
            .expect("a package")
    };
    RepoBuilder::new("bookworm")
        .package(deb("base-files"))
        .package(deb("dpkg"))
        .package(deb("apt"))
        .package(deb("usr-is-merged"))
}

#[test]
fn what_is_wrong_is_said_in_the_tools_words() {
    everyone(|user| {
        let work = user.place.work();
        let key = TestKey::sound("archive").expect("a key");
        let stranger = TestKey::sound("stranger").expect("a key");
        let repo = little().write(&work, &key).expect("a repository");
        let (url, keyring) = (repo.url(), repo.keyring.display().to_string());
        let other = work.join("other.gpg");
        fs::write(&other, stranger.keyring().expect("a keyring")).expect("a file");
        let other = other.display().to_string();
        let refused = |words: &[&str], says: &str| {
            let ran = compat(user, words).expect(1);
            let line = ran.stdout.lines().find(|line| line.starts_with("E: "));
            assert!(
                line.is_some_and(|line| line.starts_with(says)),
                "{words:?}\n{}\n{}",
                ran.stdout,
                ran.stderr
            );
            assert_eq!(left_in_store(user), 0, "{words:?}");
            assert!(names_in(&work.join("t")).is_empty(), "{words:?}");
        };
        let base = [
            "debootstrap",
            "--arch=amd64",
            "--variant=minbase",
            "--keyring",
        ];
        let with = |keyring: &str, more: &[&str], rest: &[&str], says: &str| {
            refused(&[&base[..], &[keyring], more, rest].concat(), says);
        };
        let rest = ["bookworm", "t", &url];
        with(
            &other,
            &[],
            &rest,
            "E: Release signed by unknown key (key id ",
        );
        with(
            &keyring,
            &["--components=main,wrong"],
            &rest,
            "E: Invalid Release file, no entry for wrong/binary-amd64/Packages",
        );
        with(
            &keyring,
            &["--include=no-such-thing"],
            &rest,
            "E: Couldn't find these debs: no-such-thing",
        );
        with(
            &keyring,
            &[],
            &["trixie", "t", &url],
            &format!("E: Failed getting release file {url}/dists/trixie/Release"),
        );
        with(
            &keyring,
            &["--variant=huge"],
            &rest,
            "E: unsupported variant",
        );
        with(
            &keyring,
            &["--arch=ia64"],
            &rest,
            "E: Unable to execute target architecture",
        );
        with(
            &keyring,
            &[],
            &["bookworm", "t", "ftp://x/debian"],
            "E: unknown location ftp://x/debian/",
        );
        with(
            &keyring,
            &["--no-check-certificate"],
            &rest,
            "E: --no-check-certificate is refused",
        );
        // Another suite under this one's name.
        let trixie = work.join("repo/dists/trixie");
        std::os::unix::fs::symlink("bookworm", &trixie).expect("a link");
        with(
            &keyring,
            &[],
            &["trixie", "t", &url],
            "E: Asked to install suite trixie, but got bookworm (codename: bookworm) from mirror",
        );
        // A package that is not the one that was signed for.
        let deb = work.join("repo/pool/main/a/apt/apt_1.0_amd64.deb");
        let mut bytes = fs::read(&deb).expect("a package");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&deb, bytes).expect("a package");
        with(&keyring, &[], &rest, "E: Couldn't download packages: apt");
        // And a keyring that nobody has.
        let words = ["debootstrap", "--arch=amd64", "crimson", "t", &url];
        let ran = compat(user, &words).expect(1);
        assert!(
            ran.stdout
                .contains("E: Nothing is installed that nobody signed"),
            "{}",
            ran.stdout
        );

        let ran = compat(
            user,
            &[
                "cdebootstrap",
                "-a",
                "amd64",
                "-k",
                &other,
                "bookworm",
                "t",
                &url,
            ],
        )
        .expect(1);
        assert!(
            ran.stderr.contains("E: Can't validate Release\n"),
            "{}",
            ran.stderr
        );
        let ran = compat(
            user,
            &[
                "cdebootstrap",
                "-f",
                "huge",
                "-k",
                &keyring,
                "bookworm",
                "t",
                &url,
            ],
        )
        .expect(1);
        assert!(
            ran.stderr.contains("E: Unknown flavour huge"),
            "{}",
            ran.stderr
        );
        let nowhere = address(&work.join("nowhere"));
        let ran = compat(
            user,
            &["cdebootstrap", "-k", &keyring, "bookworm", "t", &nowhere],
        )
        .expect(1);
        assert_eq!(ran.stderr, "E: Couldn't download Release!\n");
        assert!(names_in(&work.join("t")).is_empty());
    });
}

/// Has no subordinate identifiers.
const BEA: u32 = 4343;

#[test]
fn a_user_without_identifiers_is_told_that_only_root_can() {
    let root = fs::metadata("/proc/self").expect("our own process").uid() == 0;
    if !root {
        skip!("only root plays a user without subordinate identifiers");
    }
    let dir = tempfile::Builder::new()
        .prefix("jaula-bea-")
        .tempdir()
        .expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let program = dir.path().join("jaula");
    fs::copy(env!("CARGO_BIN_EXE_jaula"), &program).expect("the program");
    let place = Hermetic::new("/usr/bin/setpriv");
    for part in ["", "home", "store", "run", "work"] {
        chown(place.path().join(part), Some(BEA), Some(BEA)).expect("ours");
    }
    let program = program.display().to_string();
    let who = [
        "--reuid=4343",
        "--regid=4343",
        "--clear-groups",
        &program,
        "compat",
    ];
    let run = |words: &[&str]| place.run(&[&who[..], words].concat());
    let ran = run(&["debootstrap", "sid", "t"]).expect(1);
    assert!(
        ran.stdout
            .starts_with("E: debootstrap can only run as root\n"),
        "{}",
        ran.stdout
    );
    let ran = run(&["cdebootstrap", "sid", "t"]).expect(1);
    assert!(
        ran.stderr
            .starts_with("E: This program must be run as root"),
        "{}",
        ran.stderr
    );
    assert!(names_in(&place.work()).is_empty());
}
