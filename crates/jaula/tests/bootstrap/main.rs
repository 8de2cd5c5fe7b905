//! The bootstrappers' old names: `debootstrap`, `cdebootstrap`, `mmdebstrap`, typed by their users.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests start programs; the rule is for the program itself"
)]

mod base;
mod mm;
mod old_names;
mod refusals;
mod small;
mod suite;
#[path = "../tls/mod.rs"]
mod tls;
#[path = "../who/mod.rs"]
mod who;
mod words;

use jaula_testkit::mirror::{MirrorWish, Variant, cache_dir, make_mirror};
use jaula_testkit::{Deb, Ran, Repo, RepoBuilder, TestKey};
use std::path::{Path, PathBuf};
use who::User;

/// The partial mirror of bookworm for an architecture, or why there is none.
fn bookworm(arch: &str, variant: Variant) -> Result<PathBuf, String> {
    let wish = MirrorWish {
        arch: arch.to_owned(),
        variant,
        ..MirrorWish::default()
    };
    let name = match arch {
        "amd64" => "mirror-bookworm".to_owned(),
        other => format!("mirror-bookworm-{other}"),
    };
    let dir = cache_dir()
        .map_err(|error| format!("no mirror: {error:#}"))?
        .join(name);
    make_mirror(&dir, &wish).map_err(|error| format!("no mirror: {error:#}"))?;
    Ok(dir)
}

fn address(dir: &Path) -> String {
    format!("file://{}", dir.display())
}

/// The packages of a mirror as an archive of another name, signed by another key.
fn renamed(mirror: &Path, suite: &str, parent: &Path, key: &TestKey) -> Repo {
    let mut repo = RepoBuilder::new(suite);
    let mut left = vec![mirror.join("pool")];
    while let Some(dir) = left.pop() {
        let entries = std::fs::read_dir(&dir).expect("the pool");
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|ending| ending == "deb") {
                repo = repo.package(Deb::read(&path).expect("a package"));
            }
        }
    }
    repo.write(parent, key).expect("a repository")
}

/// `jaula compat TOOL WORDS…`
#[track_caller]
fn compat(user: &User, words: &[&str]) -> Ran {
    user.place.run(&[&["compat"], words].concat())
}

/// How many images, stages and journals there are in a user's store.
fn left_in_store(user: &User) -> usize {
    let parts = ["images", "stages", "journal"];
    let count =
        |part: &str| std::fs::read_dir(user.place.store().join(part)).map_or(0, Iterator::count);
    parts.into_iter().map(count).sum()
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Names and states of the packages in a tree's dpkg(1) database.
fn installed(root: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root.join("var/lib/dpkg/status")).expect("dpkg's database");
    let field = |stanza: &str, name: &str| {
        let lines = stanza.lines();
        lines
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .map(str::to_owned)
            .next()
            .unwrap_or_default()
    };
    text.split("\n\n")
        .filter(|stanza| stanza.contains("Package: "))
        .map(|stanza| (field(stanza, "Package"), field(stanza, "Status")))
        .collect()
}
