//! Archives that lie, break off or lack what is asked: each gives one clear error with a hint and exit code 125,
//! and leaves neither image nor stage in the store.

#![allow(clippy::disallowed_types)]

use jaula_testkit::server::Server;
use jaula_testkit::{DebBuilder, Fault, Hermetic, Ran, Repo, RepoBuilder, TestKey, hermetic};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

/// A base of a few packages that has the names a Debian system needs; `bookworm`, as the table knows it.
fn base() -> RepoBuilder {
    let deb = |name: &str, fields: &[(&str, &str)]| {
        let empty = DebBuilder::new(name, "1.0").file(
            &format!("usr/share/doc/{name}/copyright"),
            "none\n",
            0o644,
        );
        let deb = fields
            .iter()
            .fold(empty, |deb, (field, value)| deb.field(field, value));
        deb.build().expect("a package")
    };
    let essential = ("Essential", "yes");
    RepoBuilder::new("bookworm")
        .package(deb("base-files", &[essential, ("Priority", "required")]))
        .package(deb("dpkg", &[essential, ("Priority", "required")]))
        .package(deb("apt", &[("Priority", "required")]))
        .package(deb("nginx-light", &[("Depends", "nginx-common (>= 2)")]))
        .package(deb("nginx-common", &[]))
        .package(deb("left", &[("Conflicts", "right")]))
        .package(deb("right", &[]))
}

struct Archive {
    place: Hermetic,
    repo: Repo,
    keyring: String,
}

fn archive(repo: RepoBuilder, key: &TestKey) -> Archive {
    let place = hermetic!();
    let repo = repo
        .write(&place.path().join("work"), key)
        .expect("a repository");
    let keyring = repo.keyring.display().to_string();
    Archive {
        place,
        repo,
        keyring,
    }
}

impl Archive {
    fn build_from(&self, mirror: &str, words: &[&str]) -> Ran {
        let fixed = [
            "build",
            "debian:bookworm",
            "--arch",
            "amd64",
            "--mirror",
            mirror,
            "--keyring",
            &self.keyring,
        ];
        self.place.run(&[&fixed, words].concat())
    }

    fn build(&self, words: &[&str]) -> Ran {
        self.build_from(&self.repo.url(), words)
    }

    /// One error that says it, a hint, and nothing half-made.
    #[track_caller]
    fn refuses(&self, ran: Ran, saying: &[&str]) {
        let ran = ran.expect(125);
        let errors = ran
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .count();
        assert_eq!(errors, 1, "{}", ran.stderr);
        assert!(
            ran.stderr.lines().any(|line| line.starts_with("hint: ")),
            "{}",
            ran.stderr
        );
        let text = ran.stderr.to_lowercase();
        assert!(
            saying.iter().any(|word| text.contains(word)),
            "none of {saying:?} in\n{}",
            ran.stderr
        );
        assert_eq!(ran.stdout, "");
        for part in ["images", "stages", "tags"] {
            let dir = self.place.store().join(part);
            assert_eq!(entries(&dir), 0, "{part} of the store");
        }
    }
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).map(Iterator::count).unwrap_or(0)
}

fn key() -> TestKey {
    TestKey::sound("archive").expect("a key")
}

#[test]
fn an_unknown_suite() {
    let archive = archive(base(), &key());
    let mirror = archive.repo.url();
    let fixed = [
        "build",
        "debian:bokworm",
        "--arch",
        "amd64",
        "--mirror",
        &mirror,
        "--keyring",
        &archive.keyring,
    ];
    archive.refuses(archive.place.run(&fixed), &["bokworm"]);
}

#[test]
fn an_unreachable_mirror() {
    let archive = archive(base(), &key());
    archive.refuses(
        archive.build_from("file:///no/such/mirror", &[]),
        &["/no/such/mirror"],
    );
    // Port 9 of the loopback: nobody listens.
    archive.refuses(
        archive.build_from("http://127.0.0.1:9/debian", &[]),
        &["127.0.0.1:9"],
    );
}

#[test]
fn keys_that_do_not_sign_for_it() {
    let mut archive = archive(base(), &key());
    let other = TestKey::sound("somebody else")
        .expect("a key")
        .keyring()
        .expect("a keyring");
    let file = archive.place.path().join("other.gpg");
    fs::write(&file, other).expect("a file");
    archive.keyring = file.display().to_string();
    archive.refuses(archive.build(&[]), &["key", "sign"]);
    archive.keyring = archive
        .place
        .path()
        .join("absent.gpg")
        .display()
        .to_string();
    archive.refuses(archive.build(&[]), &["absent.gpg"]);
}

#[test]
fn keys_that_may_not_sign() {
    for (key, word) in [
        (TestKey::expired("archive"), "expired"),
        (TestKey::revoked("archive"), "revoked"),
        (TestKey::weak_hash("archive"), "weak"),
    ] {
        let archive = archive(base(), &key.expect("a key"));
        archive.refuses(archive.build(&[]), &[word, "sha1", "sha-1", "md5"]);
    }
}

#[test]
fn a_release_past_its_time() {
    let day = 86_400;
    let now = jaula_testkit::repo::now();
    let archive = archive(
        base().date(now - 30 * day).valid_until(Some(now - day)),
        &key(),
    );
    archive.refuses(
        archive.build(&[]),
        &["expired", "valid until", "valid-until"],
    );
}

#[test]
fn an_altered_index_or_package() {
    let altered = archive(base(), &key());
    for ending in ["Packages", "Packages.gz", "Packages.xz"] {
        alter_all(&altered.repo.dir.join("dists"), ending);
    }
    alter_all(&altered.repo.dir.join("dists"), "by-hash");
    altered.refuses(
        altered.build(&[]),
        &["sha256", "sha-256", "hash", "digest", "size"],
    );

    let altered = archive(base(), &key());
    alter_all(&altered.repo.dir.join("pool"), ".deb");
    altered.refuses(
        altered.build(&[]),
        &["sha256", "sha-256", "hash", "digest", "size"],
    );
}

/// Changes one byte of every file whose path holds `part`.
fn alter_all(dir: &Path, part: &str) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            alter_all(&path, part);
        } else if path.to_string_lossy().contains(part) {
            let mut bytes = fs::read(&path).expect("a file of ours");
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
            }
            fs::write(&path, bytes).expect("a file of ours");
        }
    }
}

#[test]
fn a_download_that_always_breaks_off() {
    let archive = archive(base(), &key());
    let server = Server::start(&archive.repo.dir).expect("a server");
    server.fault(".deb", Fault::Truncate(7), usize::MAX);
    archive.refuses(archive.build_from(&server.url(), &[]), &[".deb"]);
}

#[test]
fn packages_that_cannot_be_had() {
    let archive = archive(base(), &key());
    let unknown = archive.build(&["--include", "ngin-light"]);
    assert!(
        unknown.stderr.contains("nginx-light"),
        "the nearest name:\n{}",
        unknown.stderr
    );
    archive.refuses(unknown, &["ngin-light"]);
    // The reasons, as a tree.
    let unsolvable = archive.build(&["--include", "nginx-light"]);
    assert!(
        unsolvable.stderr.contains("nginx-common"),
        "{}",
        unsolvable.stderr
    );
    archive.refuses(unsolvable, &["nginx-common (>= 2)"]);
    let both = archive.build(&["--include", "left,right"]);
    assert!(
        both.stderr.contains("left") && both.stderr.contains("right"),
        "{}",
        both.stderr
    );
    archive.refuses(both, &["conflict"]);
    archive.refuses(archive.build(&["--include", "left=2.0"]), &["2.0"]);
}

#[test]
fn another_architecture() {
    let archive = archive(base().arch("ia64"), &key());
    let mirror = archive.repo.url();
    let fixed = [
        "build",
        "debian:bookworm",
        "--arch",
        "ia64",
        "--mirror",
        &mirror,
        "--keyring",
        &archive.keyring,
    ];
    archive.refuses(archive.place.run(&fixed), &["ia64"]);
}

#[test]
fn an_interrupted_build_leaves_nothing() {
    let archive = archive(base(), &key());
    let server = Server::start(&archive.repo.dir).expect("a server");
    server.fault(".deb", Fault::Slow(20), usize::MAX);
    let url = server.url();
    let words = [
        "build",
        "debian:bookworm",
        "--arch",
        "amd64",
        "--mirror",
        &url,
        "--keyring",
        &archive.keyring,
    ];
    let mut child = archive.place.command(&words).spawn().expect("jaula");
    let start = std::time::Instant::now();
    while entries(&archive.place.store().join("stages")) == 0 {
        assert!(start.elapsed().as_secs() < 30, "no stage was made");
        assert_eq!(child.try_wait().expect("a child"), None, "it ended early");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill");
    assert!(sent.success());
    let ended = child.wait().expect("an end");
    assert_eq!(
        ended
            .code()
            .or_else(|| ended.signal().map(|signal| 128 + signal)),
        Some(130)
    );
    archive.place.run(&["recover"]).expect(0);
    for part in ["images", "stages", "tags"] {
        assert_eq!(
            entries(&archive.place.store().join(part)),
            0,
            "{part} of the store"
        );
    }
}
