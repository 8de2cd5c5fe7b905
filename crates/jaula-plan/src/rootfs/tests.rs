use super::*;
use crate::facts::archive::{AptFacts, SourcesFile};
use crate::spec::rootfs::{ImageOptions, ImageSpec};
use std::path::PathBuf;

const DEBIAN_HOST: &str = "\
Types: deb
# a comment in a stanza
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://packages.example/apt
Suites: bookworm
Components: main
";

fn spec(distro: &str, suite: Option<&str>) -> ImageSpec {
    ImageSpec {
        distro: distro.parse().unwrap(),
        suite: suite.map(|s| s.parse().unwrap()),
        options: ImageOptions::default(),
    }
}

fn facts(text: &str) -> AptFacts {
    AptFacts {
        arch: "amd64".parse().unwrap(),
        runnable: vec!["amd64".parse().unwrap(), "i386".parse().unwrap()],
        sources: vec![SourcesFile {
            path: "/etc/apt/sources.list.d/debian.sources".into(),
            text: text.into(),
        }],
        trusted: vec!["/etc/apt/trusted.gpg.d/a.asc".into()],
        keyrings: vec!["/usr/share/keyrings/debian-archive-keyring.gpg".into()],
    }
}

fn show(sources: &Sources) -> String {
    let mut text = format!(
        "{:?} {} {} merged={}\n",
        sources.origin, sources.suite, sources.arch, sources.merged_usr
    );
    for entry in &sources.entries {
        text += &format!("{entry} <{:?}>\n", entry.keyrings);
    }
    text
}

fn resolve(spec: &ImageSpec, facts: &AptFacts) -> Result<Sources, SourcesError> {
    resolve_sources(spec, facts, &Table::builtin().unwrap())
}

#[test]
fn the_builtin_table_is_sound() {
    let table = Table::builtin().unwrap();
    for name in table.names() {
        let distro = table.distro(name).unwrap();
        assert!(
            distro.release(&distro.default_suite).is_some(),
            "{name}: default suite is a release"
        );
        assert!(name.parse::<crate::names::DistroName>().is_ok());
        for release in &distro.releases {
            assert!(release.name.parse::<crate::names::Suite>().is_ok());
        }
    }
}

#[test]
fn the_hosts_own_release_is_taken_as_apt_would() {
    let key = "[File(\"/usr/share/keyrings/debian-archive-keyring.gpg\")]";
    assert_eq!(
        show(&resolve(&spec("debian", Some("bookworm")), &facts(DEBIAN_HOST)).unwrap()),
        format!(
            "Host bookworm amd64 merged=true\n\
             deb http://mirror.example/debian bookworm main <{key}>\n\
             deb http://mirror.example/debian bookworm-updates main <{key}>\n\
             deb http://mirror.example/debian-security bookworm-security main <{key}>\n"
        )
    );
}

#[test]
fn another_release_takes_the_hosts_mirror_and_the_tables_suites() {
    let sources = resolve(&spec("debian", None), &facts(DEBIAN_HOST)).unwrap();
    assert_eq!(
        sources.sources_list(),
        "deb http://mirror.example/debian trixie main\n\
         deb http://mirror.example/debian trixie-updates main\n\
         deb http://mirror.example/debian-security trixie-security main\n"
    );
    assert_eq!(sources.origin, Origin::Host);
}

#[test]
fn a_mirror_alone_decides() {
    let mut spec = spec("debian", Some("bookworm"));
    spec.options.sources.mirror = Some("http://127.0.0.1:8080/debian/".into());
    spec.options.sources.keyrings = vec!["/tmp/k.gpg".into()];
    assert_eq!(
        show(&resolve(&spec, &facts(DEBIAN_HOST)).unwrap()),
        "Mirror bookworm amd64 merged=true\n\
         deb http://127.0.0.1:8080/debian bookworm main <[File(\"/tmp/k.gpg\")]>\n"
    );
    spec.options.sources.mirror = Some("file:/srv/debian".into());
    assert_eq!(
        resolve(&spec, &facts(""))
            .unwrap()
            .entries
            .first()
            .unwrap()
            .uri,
        "file:///srv/debian"
    );
    for mirror in [
        "ftp://x/debian",
        "http://",
        "http://a b/",
        "-o",
        "file:relative",
        "http://a\n/",
    ] {
        spec.options.sources.mirror = Some(mirror.into());
        assert!(
            matches!(
                resolve(&spec, &facts("")),
                Err(SourcesError::BadMirror { .. })
            ),
            "{mirror}"
        );
    }
}

#[test]
fn a_keyring_wins_over_the_hosts() {
    let mut spec = spec("debian", Some("bookworm"));
    spec.options.sources.keyrings = vec!["/tmp/k.gpg".into()];
    for entry in resolve(&spec, &facts(DEBIAN_HOST)).unwrap().entries {
        assert_eq!(entry.keyrings, [Keyring::File("/tmp/k.gpg".into())]);
    }
}

#[test]
fn an_old_release_comes_from_the_archive() {
    let sources = resolve(&spec("debian", Some("buster")), &facts(DEBIAN_HOST)).unwrap();
    assert_eq!(
        sources.sources_list(),
        "deb http://archive.debian.org/debian buster main\n\
         deb http://archive.debian.org/debian buster-updates main\n\
         deb http://archive.debian.org/debian-security buster/updates main\n"
    );
    assert!(sources.old && !sources.merged_usr);
}

#[test]
fn one_line_sources_and_options_are_read() {
    let mut facts = facts("");
    facts.sources = vec![SourcesFile {
        path: "/etc/apt/sources.list".into(),
        text: "# deb http://no/debian bookworm main\n\
               deb [arch=arm64] http://no/debian bookworm main\n\
               deb [ signed-by=/k.asc arch=amd64,i386 ] https://a.example/debian bookworm main # why\n\
               deb-src http://no/debian bookworm main\n\
               deb http://flat.example/debian bookworm/\n\
               deb\n"
            .into(),
    }];
    let sources = resolve(&spec("debian", Some("bookworm")), &facts).unwrap();
    assert_eq!(
        sources.sources_list(),
        "deb https://a.example/debian bookworm main\n"
    );
    assert_eq!(
        sources.entries.first().unwrap().keyrings,
        [Keyring::File(PathBuf::from("/k.asc"))]
    );
}

#[test]
fn unknown_names_give_the_nearest() {
    let error = resolve(&spec("debain", None), &facts("")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown distribution debain; nearest: debian, devuan"
    );
    let error = resolve(&spec("debian", Some("bookwrm")), &facts("")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "debian has no suite bookwrm; nearest: bookworm"
    );
    assert!(error.hint().is_some());
}

#[test]
fn what_is_missing_is_said() {
    let error = resolve(&spec("ubuntu", None), &facts(DEBIAN_HOST)).unwrap_err();
    assert!(
        matches!(&error, SourcesError::NoKeyring { package: Some(p), .. } if p == "ubuntu-keyring"),
        "{error}"
    );
    let mut foreign = spec("debian", None);
    foreign.options.arch = Some("riscv64".parse().unwrap());
    assert!(matches!(
        resolve(&foreign, &facts("")),
        Err(SourcesError::ForeignArch { .. })
    ));
}

#[test]
fn a_users_table_adds_distributions() {
    let mut table = Table::builtin().unwrap();
    table
        .extend(
            "[mine]\ndefault-suite = \"one\"\ncomponents = [\"main\"]\nmirror = \"http://m/mine\"\n\
             keyrings = [\"/usr/share/keyrings/debian-archive-keyring.gpg\"]\n[[mine.release]]\nname = \"one\"\n",
        )
        .unwrap();
    let sources = resolve_sources(&spec("mine", None), &facts(""), &table).unwrap();
    assert_eq!(sources.sources_list(), "deb http://m/mine one main\n");
    assert!(table.extend("[mine]\nno-such-key = 1\n").is_err());
}

#[test]
fn the_headings_tell_the_names_of_the_table() {
    let table = Table::builtin().expect("the table");
    let mut names: Vec<&str> = builtin_names().collect();
    names.sort_unstable();
    assert_eq!(names, table.names().collect::<Vec<_>>());
}
