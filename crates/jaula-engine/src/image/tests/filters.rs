//! Files left out of packages, against dpkg itself on the same package.

use super::*;
use jaula_plan::spec::settings::PathRule;
use jaula_testkit::skip;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const DIRS: [&str; 9] = [
    "usr",
    "usr/share",
    "usr/share/doc",
    "usr/share/doc/filtered",
    "usr/share/locale",
    "usr/share/locale/es",
    "usr/share/locale/es/LC_MESSAGES",
    "usr/share/man",
    "usr/share/man/man1",
];
const FILES: [&str; 8] = [
    "usr/share/doc/filtered/copyright",
    "usr/share/doc/filtered/changelog.gz",
    "usr/share/locale/es/LC_MESSAGES/a.mo",
    "usr/share/locale/locale.alias",
    "usr/share/man/man1/a.1.gz",
    "usr/share/man/man1/b[1].gz",
    "usr/share/x y",
    "usr/share/\u{f1}",
];
/// What patterns are made of, besides the paths themselves.
const PATTERNS: [&str; 16] = [
    "/usr/*",
    "/usr/share/*",
    "/usr/share/doc/*",
    "/usr/share/doc/*/copyright",
    "/usr/share/locale/*/*",
    "/usr/share/locale/[a-f]*",
    "/usr/share/locale/[!d]*/*.mo",
    "/usr/share/man/man?/*",
    "/usr/share/man",
    "/usr/share/man/",
    "*.gz",
    "/usr/share/man/man1/b\\[1].gz",
    "/usr/share/man/man1/b[[]1]*",
    "/usr/share/[[:alpha:]]*",
    "/usr/share/x y",
    "*",
];

fn filtered() -> Deb {
    package("filtered", |mut b| {
        b = b.field("Essential", "yes");
        for dir in DIRS {
            b = b.dir(dir, 0o755);
        }
        for file in FILES {
            b = b.file(file, file, 0o644);
        }
        b.symlink("usr/share/doc/linked", "filtered")
            .symlink("usr/share/man/es", "man1")
            .hardlink(
                "usr/share/doc/same.gz",
                "usr/share/doc/filtered/changelog.gz",
            )
    })
}

/// Everything of the package that is in a tree.
fn present(root: &Path) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = vec![root.join("usr")];
    while let Some(path) = open.pop() {
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        found.push(path.strip_prefix(root).unwrap().display().to_string());
        if meta.is_dir() {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    // Directories that a tree has anyway.
    found.retain(|path| path.starts_with("usr/share/"));
    found.sort();
    found
}

/// What dpkg leaves of it; none when it leaves out a directory of what it brings back, and then cannot unpack it.
fn by_dpkg(dir: &Path, deb: &Path, rules: &[PathRule]) -> Option<Vec<String>> {
    let root: PathBuf = dir.join("root");
    drop(fs::remove_dir_all(&root));
    for at in ["var/lib/dpkg/info", "var/lib/dpkg/updates"] {
        fs::create_dir_all(root.join(at)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let mut command = Command::new("dpkg");
    command.args(["--log=/dev/null", "--force-all"]);
    command.arg(format!("--root={}", root.display()));
    for rule in rules {
        command.arg(match rule {
            PathRule::Exclude(pattern) => format!("--path-exclude={pattern}"),
            PathRule::Include(pattern) => format!("--path-include={pattern}"),
        });
    }
    let done = command
        .env("LC_ALL", "C")
        .arg("--unpack")
        .arg(deb)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    let no_directory = said.contains(" creat") && said.contains("No such file");
    assert!(done.status.success() || no_directory, "{said}");
    done.status.success().then(|| present(&root))
}

#[test]
fn what_is_left_of_a_package_is_what_dpkg_leaves() {
    if needs_root("what_is_left_of_a_package_is_what_dpkg_leaves") {
        return;
    }
    if Command::new("dpkg").arg("--version").output().is_err() {
        skip!("no dpkg");
    }
    let dir = tempfile::tempdir().unwrap();
    let deb = filtered();
    let file = dir.path().join("filtered.deb");
    fs::write(&file, &deb.bytes).unwrap();
    let mut world = world_of(base().package(deb), &TestKey::sound("archive").unwrap());
    let mut seed = 88_172_645_463_325_252_u64;
    let mut below = |most: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % most as u64).unwrap()
    };
    let (mut refused, mut kinds) = (0, BTreeSet::new());
    for _ in 0..40 {
        let rules: Vec<PathRule> = (0..=below(4))
            .map(|_| {
                let pattern = match below(3) {
                    0 => format!("/{}", FILES[below(FILES.len())].replace('[', "\\[")),
                    _ => PATTERNS[below(PATTERNS.len())].to_owned(),
                };
                match below(3) {
                    0 => PathRule::Include(pattern),
                    _ => PathRule::Exclude(pattern),
                }
            })
            .collect();
        world.spec.options.paths.clone_from(&rules);
        let ours = world.build(&world.plan().unwrap());
        let theirs = by_dpkg(dir.path(), &file, &rules);
        let (Ok(image), Some(theirs)) = (&ours, &theirs) else {
            // What has nowhere to go, or a link to what is left out: we make more directories than dpkg, and refuse no more.
            assert!(theirs.is_none(), "{rules:?}: {ours:?}");
            refused += 1;
            continue;
        };
        let ours = present(image.root());
        assert_eq!(ours, *theirs, "{rules:?}");
        kinds.insert(ours);
    }
    assert!(kinds.len() > 10 && refused < 10, "{} outcomes", kinds.len());
}
