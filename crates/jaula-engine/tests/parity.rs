//! A minbase image has the same packages and the same files as mmdebstrap(1) makes, apart from a short list.
//! See [`EXPLAINED`].

use jaula_engine::{Config, Dry, Engine, Silent};
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec};
use jaula_plan::spec::source::SourceOptions;
use jaula_testkit::{Server, partial_mirror, skip};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// Paths that differ, and why.
const EXPLAINED: [(&str, &str); 6] = [
    (
        "dev/",
        "no device nodes: a build needs no right to make any, and a jail has a fresh /dev",
    ),
    (
        "etc/hostname",
        "not the host's: an image is the same wherever it is made",
    ),
    (
        "etc/resolv.conf",
        "not the host's: an image is the same wherever it is made",
    ),
    (
        "var/cache/debconf/config.dat-old",
        "what was before the last change tells only of the order of the run",
    ),
    (
        "var/cache/debconf/templates.dat-old",
        "what was before the last change tells only of the order of the run",
    ),
    (
        "var/lib/dpkg/status-old",
        "what was before the last change tells only of the order of the run",
    ),
];
/// Files whose parts come in another order, because everything is unpacked before anything is configured; and what
/// their parts are separated by.
const REORDERED: [(&str, &str); 2] = [
    ("etc/shells", "\n"),
    ("var/lib/apt/extended_states", "\n\n"),
];

type Entry = (u32, u32, u32, Vec<u8>);

/// Path → type and mode, owner, group, content (size included).
fn tree(root: &Path) -> BTreeMap<String, Entry> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_dir() {
                open.push(path.clone());
                Vec::new()
            } else if meta.is_symlink() {
                std::fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else if meta.is_file() {
                std::fs::read(&path).unwrap()
            } else {
                meta.rdev().to_le_bytes().to_vec()
            };
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.insert(name, (meta.mode(), meta.uid(), meta.gid(), content));
        }
    }
    found
}

fn explained(path: &str) -> bool {
    EXPLAINED
        .iter()
        .any(|(known, _)| path == *known || (known.ends_with('/') && path.starts_with(known)))
}

fn same(path: &str, ours: &Entry, theirs: &Entry) -> bool {
    let Some((_, separator)) = REORDERED.iter().find(|(known, _)| path == *known) else {
        return ours == theirs;
    };
    let parts = |entry: &Entry| {
        let text = String::from_utf8(entry.3.clone()).unwrap();
        let mut parts: Vec<String> = text
            .trim_end()
            .split(separator)
            .map(str::to_owned)
            .collect();
        parts.sort();
        parts
    };
    (ours.0, ours.1, ours.2) == (theirs.0, theirs.1, theirs.2) && parts(ours) == parts(theirs)
}

#[test]
fn minbase_is_what_mmdebstrap_makes() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        skip!("only root's build has the same owners as root's mmdebstrap");
    }
    if Command::new("mmdebstrap")
        .arg("--version")
        .output()
        .is_err()
    {
        skip!("no mmdebstrap on this host");
    }
    let mirror = match partial_mirror(&[]) {
        Ok(mirror) => mirror,
        Err(error) => skip!("no mirror: {error:#}"),
    };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mirror).unwrap();
    let spec = ImageSpec {
        distro: "debian".parse().unwrap(),
        suite: Some("bookworm".parse().unwrap()),
        options: ImageOptions {
            arch: Some("amd64".parse().unwrap()),
            sources: SourceOptions {
                mirror: Some(server.url()),
                keyrings: vec![mirror.join("keyring.gpg")],
                ..SourceOptions::default()
            },
            ..ImageOptions::default()
        },
    };
    let engine = Engine::open(Config::new(dir.path().join("store"))).unwrap();
    let plan = engine
        .plan_image(&spec, &Silent, Dry::MayCache)
        .unwrap_or_else(|error| panic!("{error}"));
    let image = engine
        .image(&plan, &Silent)
        .unwrap_or_else(|error| panic!("{error}"));

    let theirs = dir.path().join("theirs");
    let made = Command::new("mmdebstrap")
        .args([
            "--quiet",
            "--mode=root",
            "--variant=minbase",
            "--architectures=amd64",
        ])
        .arg(format!(
            "--keyring={}",
            mirror.join("keyring.gpg").display()
        ))
        .args(["bookworm"])
        .arg(&theirs)
        .arg(server.url())
        .env("SOURCE_DATE_EPOCH", plan.epoch().to_string())
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );

    let (ours, theirs) = (tree(image.root()), tree(&theirs));
    assert!(theirs.len() > 5000, "a real tree: {}", theirs.len());
    let mut differ = Vec::new();
    for path in ours
        .keys()
        .chain(theirs.keys())
        .filter(|path| !explained(path))
    {
        match (ours.get(path), theirs.get(path)) {
            (Some(a), Some(b)) if same(path, a, b) => {}
            (Some(a), Some(b)) => differ.push(format!(
                "{path}: {:o} {} {} here, {:o} {} {} there",
                a.0, a.1, a.2, b.0, b.1, b.2
            )),
            (Some(_), None) => differ.push(format!("{path}: only here")),
            (None, _) => differ.push(format!("{path}: only there")),
        }
    }
    differ.sort();
    differ.dedup();
    assert!(differ.is_empty(), "{differ:#?}");
}
