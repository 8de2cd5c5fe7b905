//! Images of other architectures than the host's, and images that are made in two parts.
#![allow(
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod interpreted;
mod natively;
mod unfinished;
#[path = "../who/mod.rs"]
mod who;

use jaula_testkit::mirror::{MirrorWish, Variant, cache_dir, make_mirror};
use jaula_testkit::{Deb, DebBuilder, Repo, RepoBuilder, TestKey};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tempfile::TempDir;

/// The essential packages of bookworm for i386; else the reason to skip.
fn essential_i386() -> Result<PathBuf, String> {
    let dir = cache_dir().map_err(|error| format!("no mirror: {error:#}"))?;
    let dir = dir.join("mirror-bookworm-i386");
    let wish = MirrorWish {
        arch: "i386".into(),
        variant: Variant::Essential,
        ..MirrorWish::default()
    };
    make_mirror(&dir, &wish).map_err(|error| format!("no mirror: {error:#}"))?;
    Ok(dir)
}

/// Every package file below a directory.
fn debs(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|end| end == "deb") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A repository of a test's own, which every user can read: real packages, and some made here.
struct Archive {
    dir: TempDir,
    repo: Repo,
}

impl Archive {
    fn new(suite: &str, arch: &str, real: &[PathBuf], made: Vec<DebBuilder>) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::Builder::new()
            .prefix("jaula-archive-")
            .tempdir()
            .expect("a directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))
            .expect("a directory of ours");
        let mut builder = RepoBuilder::new(suite).arch(arch);
        for path in real {
            builder = builder.package(Deb::read(path).expect("a package"));
        }
        for deb in made {
            builder = builder.package(deb.build().expect("a package"));
        }
        let key = TestKey::sound("archive").expect("a key");
        let repo = builder.write(dir.path(), &key).expect("a repository");
        Self { dir, repo }
    }

    /// The words that name it.
    fn options(&self) -> [String; 4] {
        let keyring = self.repo.keyring.display().to_string();
        [
            "--mirror".into(),
            self.repo.url(),
            "--keyring".into(),
            keyring,
        ]
    }
}

/// The essential packages for i386 and some of the tests' own, the same for all tests that run at a time, and gone with
/// the last of them; else the reason to skip.
fn narrow() -> Result<Arc<Archive>, String> {
    static MADE: Mutex<Weak<Archive>> = Mutex::new(Weak::new());
    if !cfg!(target_arch = "x86_64") {
        return Err("i386 runs beside amd64 only".to_owned());
    }
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(archive) = made.upgrade() {
        return Ok(archive);
    }
    let new = || {
        let package = |name: &str| DebBuilder::new(name, "1.0").arch("i386");
        // Says what the kernel told a maintainer script.
        let probe = package("probe").script("postinst", "#!/bin/sh\nuname -m >/etc/built-on\n");
        // Has a file that it diverts before it is unpacked, as if another package had it too.
        let divert = "#!/bin/sh\nset -e\n[ \"$1\" = install ]\ndpkg-divert --package diverter --add --rename \
                      --divert /usr/share/mine.distrib /usr/share/mine\n";
        let diverter = package("diverter")
            .file("usr/share/mine", "mine\n", 0o644)
            .script("preinst", divert);
        let mirror = essential_i386()?;
        let made = vec![probe, diverter];
        Ok::<_, String>(Archive::new("bookworm", "i386", &debs(&mirror), made))
    };
    let archive = Arc::new(new()?);
    *made = Arc::downgrade(&archive);
    Ok(archive)
}

#[test]
fn the_archive_goes_with_the_last_test_that_uses_it() {
    let archive = match narrow() {
        Ok(archive) => archive,
        Err(reason) => jaula_testkit::skip!("{reason}"),
    };
    let place = archive.dir.path().to_owned();
    assert!(place.is_dir());
    // Others may be at work with it.
    let alone = Arc::strong_count(&archive) == 1;
    drop(archive);
    assert!(!alone || !place.exists());
}

/// Words as a user types them, and an archive's options.
fn words(words: &[&str], archive: &Archive) -> Vec<String> {
    let typed = words.iter().map(|word| (*word).to_owned());
    typed.chain(archive.options()).collect()
}
