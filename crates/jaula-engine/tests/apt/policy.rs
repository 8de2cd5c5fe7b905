//! Priorities and candidates against `apt-cache policy`.

use crate::root::{Apt, Random};
use jaula_repo::deb::packages::Index;
use jaula_repo::deb::preferences::{Policy, Preferences, ReleaseFacts};
use jaula_repo::solve::Universe;
use jaula_testkit::{Server, digest, skip};
use std::collections::BTreeMap;
use std::path::Path;

const PACKAGES: [&str; 6] = [
    "alpha",
    "alpha-doc",
    "beta",
    "libgamma1",
    "libgamma-dev",
    "delta",
];
const ARCHS: [&str; 2] = ["amd64", "i386"];

/// One index: what pins look at, and its text.
struct Part {
    facts: ReleaseFacts,
    text: String,
}

/// An archive with one suite, in a directory.
struct Archive {
    suite: &'static str,
    release: &'static str,
    components: &'static [&'static str],
}

const ARCHIVES: [Archive; 4] = [
    Archive {
        suite: "bookworm",
        release: "Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: bookworm\nVersion: 12.5\n",
        components: &["main", "contrib"],
    },
    Archive {
        suite: "bookworm-backports",
        release: "Origin: Debian Backports\nLabel: Debian Backports\nSuite: stable-backports\nCodename: bookworm-backports\nNotAutomatic: yes\nButAutomaticUpgrades: yes\n",
        components: &["main"],
    },
    Archive {
        suite: "experimental",
        release: "Origin: Debian\nLabel: Debian\nSuite: experimental\nCodename: rc-buggy\nNotAutomatic: yes\n",
        components: &["main"],
    },
    Archive {
        suite: "noble",
        release: "Origin: Vendor\nLabel: Vendor's packages\nCodename: noble\nVersion: 24.04\n",
        components: &["main"],
    },
];

fn stanza(name: &str, version: &str, arch: &str) -> String {
    let source = match name {
        "libgamma1" | "libgamma-dev" => "Source: gamma\n",
        "alpha-doc" => "Source: alpha (1.0)\n",
        _ => "",
    };
    // One version is one file, wherever it is.
    let sha256 = digest::sha256(format!("{name} {version} {arch}").as_bytes());
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {arch}\n{source}Maintainer: A <a@example.org>\nFilename: pool/{name}_{version}_{arch}.deb\nSize: 10\nSHA256: {sha256}\nDescription: x\n\n"
    )
}

/// Writes an archive and says what its indices are.
fn write(archive: &Archive, dir: &Path, site: &str, random: &mut Random) -> Vec<Part> {
    let dists = dir.join("dists").join(archive.suite);
    let mut parts = Vec::new();
    let mut sums = String::new();
    for component in archive.components {
        for arch in ARCHS {
            let mut text = String::new();
            for name in PACKAGES {
                for version in ["0.9", "1.0", "1.0-1+b1", "1.1~rc1", "2:0.1", "2.0"] {
                    if random.below(4) == 0 {
                        text.push_str(&stanza(name, version, arch));
                    }
                }
            }
            let place = format!("{component}/binary-{arch}/Packages");
            let path = dists.join(&place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
            let hash = digest::sha256(text.as_bytes());
            sums.push_str(&format!(" {hash} {} {place}\n", text.len()));
            let field = |name: &str| {
                let line = archive.release.lines().find_map(|l| l.strip_prefix(name));
                line.map(|value| value.trim_start_matches(": ").to_owned())
            };
            let not_automatic = archive.release.contains("\nNotAutomatic: yes");
            parts.push(Part {
                facts: ReleaseFacts {
                    archive: field("Suite"),
                    codename: field("Codename"),
                    version: field("Version"),
                    origin: field("Origin"),
                    label: field("Label"),
                    component: Some((*component).to_owned()),
                    architecture: Some(arch.to_owned()),
                    site: site.to_owned(),
                    not_automatic,
                    but_automatic_upgrades: archive.release.contains("ButAutomatic"),
                },
                text,
            });
        }
    }
    let release = format!(
        "{}Date: Thu, 01 Jan 2026 00:00:00 UTC\nArchitectures: {}\nComponents: {}\nSHA256:\n{sums}",
        archive.release,
        ARCHS.join(" "),
        archive.components.join(" ")
    );
    std::fs::write(dists.join("Release"), release).unwrap();
    parts
}

fn pin(random: &mut Random, general: bool) -> String {
    match random.below(if general { 7 } else { 10 }) {
        0 => format!(
            "release {}",
            random.one(&[
                "stable",
                "bookworm",
                "bookworm*",
                "noble",
                "/^exp/",
                "12*",
                "12.5",
                "24.04",
                "24*",
                "*",
                "rc-buggy",
                "Stable"
            ])
        ),
        1 | 2 => {
            let mut parts = Vec::new();
            for (key, values) in [
                (
                    "a",
                    &["stable", "stable*", "experimental", "now", "STABLE"][..],
                ),
                ("n", &["bookworm", "noble", "rc-*", "/book/"]),
                ("v", &["12*", "12.5", "24.04", "24.0?"]),
                ("c", &["main", "contrib", "m*"]),
                ("o", &["Debian", "debian", "Vendor", "Debian*"]),
                ("l", &["Debian", "Vendor's packages", "/backports$/"]),
                ("b", &["amd64", "i386", "all"]),
            ] {
                if random.below(4) == 0 {
                    parts.push(format!("{key}={}", random.one(values)));
                }
            }
            if parts.is_empty() {
                return "release o=Debian".to_owned();
            }
            let glue = random.one(&[",", ", ", " , "]);
            format!("release {}", parts.join(glue))
        }
        3 => format!(
            "release a={}",
            random.one(&["stable", "experimental", "stable-backports"])
        ),
        4 => format!(
            "release n={}",
            random.one(&["bookworm", "noble", "bookworm-backports", "none"])
        ),
        5 => format!(
            "origin {}",
            random.one(&[
                "\"\"",
                "127.0.0.1",
                "\"127.0.0.1\"",
                "\"127.*\"",
                "elsewhere",
                "/0\\.0/"
            ])
        ),
        6 => "release *".to_owned(),
        _ => format!(
            "version {}",
            random.one(&[
                "1.0",
                "1.0*",
                "2.*",
                "*",
                "2:*",
                "1.1~rc1",
                "/^1\\.[01]/",
                "1.?",
                "0.9*",
                "[12].0",
                "*b1"
            ])
        ),
    }
}

/// A preferences file that APT has nothing to say against.
fn preferences(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..1 + random.below(4) {
        if random.below(5) == 0 {
            text.push_str("# a comment\n\n");
        }
        if random.below(6) == 0 {
            text.push_str("Explanation: why\n of several lines\n");
        }
        let general = random.below(3) == 0;
        let priority = match random.below(8) {
            0 if general => "never".to_owned(),
            _ => random
                .one(&[
                    "-10", "-1", "1", "50", "99", "100", "101", "400", "500", "501", "600", "990",
                    "1000", "1001", "-32768", "32767",
                ])
                .to_owned(),
        };
        let names = if general {
            "*".to_owned()
        } else {
            let words = [
                "alpha",
                "beta",
                "libgamma1",
                "delta",
                "alpha*",
                "lib*",
                "/^lib.*1$/",
                "/a$/",
                "?eta",
                "[ab]*",
                "src:gamma",
                "src:alpha",
                "src:*a",
                "src:/^g/",
                "alpha:i386",
                "alpha:amd64",
                "beta:any",
                "lib*:i386",
                "src:gamma:i386",
                "nothing",
                "ALPHA",
                "B*",
                "* delta",
            ];
            (0..1 + random.below(2))
                .map(|_| random.one(&words))
                .collect::<Vec<_>>()
                .join(" ")
        };
        text.push_str(&format!(
            "Package: {names}\nPin: {}\nPin-Priority: {priority}\n\n",
            pin(random, general)
        ));
    }
    text
}

/// Versions with their priorities, and the candidate.
type Table = (Vec<(String, i32)>, Option<String>);

fn parse(text: &str) -> BTreeMap<String, Table> {
    let mut found = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if !line.starts_with(' ') {
            name = line.trim_end_matches(':').to_owned();
            found.insert(name.clone(), (Vec::new(), None));
            continue;
        }
        let Some(entry) = found.get_mut(&name) else {
            continue;
        };
        if let Some(candidate) = line.strip_prefix("  Candidate: ") {
            entry.1 = Some(candidate.to_owned()).filter(|c| c != "(none)");
        } else if let [version, priority] = line.split_whitespace().collect::<Vec<_>>()[..]
            && let Ok(priority) = priority.parse()
            && line.starts_with("     ")
        {
            // A line of a source has more words.
            entry.0.push((version.to_owned(), priority));
        }
    }
    found
}

struct World {
    apt: Apt,
    /// Keeps the archives.
    _dirs: (tempfile::TempDir, Server),
    indices: Vec<(Index, ReleaseFacts)>,
}

impl World {
    fn new(seed: u64) -> Result<Self, String> {
        let mut random = Random(seed);
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path()).unwrap();
        let mut lines = String::new();
        let mut indices = Vec::new();
        for (number, archive) in ARCHIVES.iter().enumerate() {
            let place = dir.path().join(number.to_string());
            let remote = number % 2 == 1;
            let site = if remote { "127.0.0.1" } else { "" };
            for part in write(archive, &place, site, &mut random) {
                indices.push((Index::parse(part.text.as_bytes()).unwrap(), part.facts));
            }
            let uri = match remote {
                true => format!("{}/{number}", server.url()),
                false => format!("file:{}", place.display()),
            };
            lines.push_str(&format!(
                "deb [trusted=yes] {uri} {} {}\n",
                archive.suite,
                archive.components.join(" ")
            ));
        }
        let apt = Apt::new(&lines, &ARCHS)?;
        Ok(Self {
            apt,
            _dirs: (dir, server),
            indices,
        })
    }

    /// What APT says of all packages, and what we say.
    fn compare(&self, text: &str, target: Option<&str>) -> Result<(), String> {
        std::fs::write(self.apt.place("pins"), text).unwrap();
        let names: Vec<(&str, &str, String)> = PACKAGES
            .iter()
            .flat_map(|name| {
                ARCHS.map(|arch| match arch {
                    "amd64" => (*name, arch, (*name).to_owned()),
                    _ => (*name, arch, format!("{name}:{arch}")),
                })
            })
            .collect();
        let mut arguments: Vec<&str> = vec!["policy"];
        let option = target.map(|release| format!("-oAPT::Default-Release={release}"));
        arguments.extend(option.as_deref());
        arguments.extend(names.iter().map(|(_, _, shown)| shown.as_str()));
        let out = self.apt.run("apt-cache", &arguments);
        let (said, complaint) = (
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr),
        );
        if !out.status.success() || !complaint.is_empty() {
            return Err(format!("apt-cache: {complaint}"));
        }
        let theirs = parse(&said);
        let file = Preferences::parse("pins", text).map_err(|e| e.to_string())?;
        let mut policy = Policy::new("amd64", [file]);
        if let Some(release) = target {
            policy = policy.with_target(release);
        }
        let mut universe = Universe::new("amd64")
            .with_foreign(["i386".to_owned()])
            .with_policy(policy);
        for (index, facts) in &self.indices {
            universe.add_source(index, facts.clone());
        }
        for (name, arch, shown) in &names {
            let (versions, candidate) = universe.policy_of(name, arch);
            let candidate = candidate.map(|at| versions[at].0.to_owned());
            let versions: Vec<(String, i32)> = versions
                .into_iter()
                .map(|(version, priority)| (version.to_owned(), priority))
                .collect();
            let ours = (versions, candidate);
            match theirs.get(shown.as_str()) {
                None if ours.0.is_empty() => {}
                Some(theirs) if *theirs == ours => {}
                theirs => return Err(format!("{shown}: apt {theirs:?}, here {ours:?}")),
            }
        }
        Ok(())
    }
}

#[test]
fn priorities_are_those_of_apt() {
    let mut files = 0;
    for seed in [1, 7] {
        let world = match World::new(seed) {
            Ok(world) => world,
            Err(reason) => skip!("{reason}"),
        };
        world.compare("", None).unwrap();
        for target in [
            "stable",
            "bookworm-backports",
            "24.04",
            "rc-buggy",
            "n=noble",
        ] {
            world.compare("", Some(target)).unwrap();
        }
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for _ in 0..150 {
            let text = preferences(&mut random);
            let target = (random.below(5) == 0).then_some("bookworm");
            if let Err(difference) = world.compare(&text, target) {
                panic!("{difference}\nwith a target {target:?} and\n{text}");
            }
            files += 1;
        }
    }
    println!(
        "{files} preference files, {} packages each",
        PACKAGES.len() * ARCHS.len()
    );
}

/// What APT's own tests of pinning are about, in cases of our own.
#[test]
fn known_corners_of_pinning() {
    let world = match World::new(3) {
        Ok(world) => world,
        Err(reason) => skip!("{reason}"),
    };
    let record = |package: &str, pin: &str, priority: &str| {
        format!("Package: {package}\nPin: {pin}\nPin-Priority: {priority}\n\n")
    };
    let rows = [
        // The specific form counts before the general one, wherever it stands.
        record("*", "release *", "900") + &record("alpha", "release *", "50"),
        record("alpha", "release *", "50") + &record("*", "release *", "900"),
        // The first of several that fit.
        record("alpha", "version 1.0", "10") + &record("alpha", "version 1*", "20"),
        record("alpha*", "release *", "-5") + &record("alpha", "release *", "700"),
        // `never` on every source that has a version outdoes a pin of the specific form.
        record("*", "release *", "never") + &record("alpha", "release *", "700"),
        record("*", "release a=stable", "never") + &record("alpha", "release *", "700"),
        record("*", "origin \"\"", "never"),
        record("*", "release *", "77") + &record("*", "release n=bookworm", "never"),
        // A package that nobody has.
        record("no-such-package", "release *", "1000"),
        record("no-such-package:i386 alpha", "version 9", "1000"),
        // Not above zero is no candidate.
        record("*", "release *", "-1"),
        record("alpha", "version 2.0", "-1") + &record("alpha", "version *", "1"),
        // Ends of the range.
        record("*", "release *", "-32768"),
        record("*", "release *", "32767"),
        // Names of releases and versions by a star.
        record("*", "release 12", "900") + &record("*", "release 24.0*", "901"),
        // Keys in another case, white space.
        "package:alpha   beta\npIn:   release   a=stable , c=main\nPIN-PRIORITY:   42  \n"
            .to_owned(),
    ];
    for text in rows {
        if let Err(difference) = world.compare(&text, None) {
            panic!("{difference}\nwith\n{text}");
        }
    }
}
