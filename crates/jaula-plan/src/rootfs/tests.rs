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

mod forms {
    use super::*;
    use crate::spec::source::{Repository, SignedBy, Trust, Used};

    fn repository(uri: &str, suites: &[&str], components: &[&str]) -> Repository {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Repository {
            uri: uri.into(),
            suites: owned(suites),
            components: owned(components),
            signed_by: SignedBy::Files(vec!["/k/own.gpg".into()]),
            ..Repository::default()
        }
    }

    /// Every file of the image, with the place where each source's keys would be.
    fn files(sources: &Sources) -> String {
        let keys = |source: &Source| match source.own_keys {
            true => vec!["/etc/apt/keyrings/x.gpg".to_owned()],
            false => Vec::new(),
        };
        let files = sources.image_files(&keys);
        files
            .iter()
            .map(|file| format!("{}:\n{}", file.path, file.text))
            .collect()
    }

    #[test]
    fn repositories_come_after_the_distributions_own_suites() {
        let mut spec = spec("debian", Some("bookworm"));
        let sources = &mut spec.options.sources;
        sources.extra_suites = vec!["bookworm-backports".parse().unwrap()];
        sources.repositories = vec![
            repository(
                "https://ana:pw@packages.example/apt/",
                &["one", "two"],
                &["main"],
            ),
            Repository {
                trust: Trust::Unsigned,
                name: Some("own debs".into()),
                signed_by: SignedBy::Default,
                ..repository("file:/srv/debs", &["./"], &[])
            },
            Repository {
                used: Used::Build,
                ..repository("copy:/srv/build", &["x"], &["main"])
            },
            Repository {
                used: Used::Image,
                check_valid_until: false,
                source_packages: true,
                ..repository("http://later.example", &["y"], &["main", "extra"])
            },
            Repository {
                archs: vec!["arm64".parse().unwrap()],
                ..repository("https://packages.example/arm", &["one"], &["main"])
            },
        ];
        let found = resolve(&spec, &facts(DEBIAN_HOST)).unwrap();
        let built: Vec<String> = found.entries.iter().map(ToString::to_string).collect();
        assert_eq!(
            built,
            [
                "deb http://mirror.example/debian bookworm main",
                "deb http://mirror.example/debian bookworm-updates main",
                "deb http://mirror.example/debian-security bookworm-security main",
                "deb http://mirror.example/debian bookworm-backports main",
                "deb https://packages.example/apt one main",
                "deb https://packages.example/apt two main",
                "deb [trusted=yes] file:///srv/debs ./",
                "deb copy:///srv/build x main",
            ]
        );
        let login = found.entries.get(4).and_then(|entry| entry.login.as_ref());
        assert_eq!(login.map(|login| login.password.as_str()), Some("pw"));
        assert_eq!(
            files(&found),
            "etc/apt/sources.list:\n\
             deb http://mirror.example/debian bookworm main\n\
             deb http://mirror.example/debian bookworm-updates main\n\
             deb http://mirror.example/debian-security bookworm-security main\n\
             deb http://mirror.example/debian bookworm-backports main\n\
             etc/apt/sources.list.d/packages.example-one.sources:\n\
             Types: deb\nURIs: https://packages.example/apt\nSuites: one two\nComponents: main\n\
             Signed-By: /etc/apt/keyrings/x.gpg\n\
             etc/apt/sources.list.d/own_debs.sources:\n\
             Types: deb\nURIs: file:///srv/debs\nSuites: ./\nTrusted: yes\n\
             etc/apt/sources.list.d/later.example-y.sources:\n\
             Types: deb deb-src\nURIs: http://later.example\nSuites: y\nComponents: main extra\n\
             Signed-By: /etc/apt/keyrings/x.gpg\nCheck-Valid-Until: no\n\
             etc/apt/sources.list.d/packages.example-one-2.sources:\n\
             Types: deb\nURIs: https://packages.example/arm\nSuites: one\nComponents: main\nArchitectures: arm64\n\
             Signed-By: /etc/apt/keyrings/x.gpg\n"
        );
        // No password in anything that is shown or kept.
        let shown = serde_json::to_string(&found).unwrap()
            + &serde_json::to_string(&spec.options).unwrap()
            + &format!("{found:?}")
            + &files(&found);
        assert!(!shown.contains("pw") && !shown.contains("ana"), "{shown}");
    }

    #[test]
    fn repositories_alone() {
        let mut spec = spec("guadalinex", None);
        let sources = &mut spec.options.sources;
        sources.only_repositories = true;
        sources.repositories = vec![repository("file:/a", &["buho"], &["main"])];
        let found = resolve(&spec, &facts(DEBIAN_HOST)).unwrap();
        assert_eq!(found.origin, Origin::Repositories);
        assert_eq!(found.suite.as_str(), "buho");
        assert!(found.merged_usr_by_packages && found.arch_by_release);
        assert_eq!(found.entries.len(), 1);
        // A source without a key: which, and what to do.
        for repository in &mut spec.options.sources.repositories {
            repository.signed_by = SignedBy::Default;
        }
        let error = resolve(&spec, &facts(DEBIAN_HOST)).unwrap_err();
        assert!(
            error.to_string().contains("deb file:///a buho main"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("--keyring"));
        spec.options.sources.keyrings = vec!["/k".into()];
        assert!(resolve(&spec, &facts(DEBIAN_HOST)).is_ok());
        spec.options.sources.repositories.clear();
        assert!(resolve(&spec, &facts(DEBIAN_HOST)).is_err());
    }

    #[test]
    fn an_unknown_distribution_needs_its_archive_a_suite_and_a_key() {
        let mut spec = spec("guadalinex", Some("buho"));
        let error = resolve(&spec, &facts(DEBIAN_HOST)).unwrap_err();
        assert!(matches!(error, SourcesError::UnknownDistro { .. }));
        assert!(error.hint().unwrap().contains("--mirror"));
        spec.options.sources.mirror = Some("cdrom:/d.iso".into());
        let error = resolve(&spec, &facts(DEBIAN_HOST)).unwrap_err();
        assert!(matches!(error, SourcesError::NoKey { .. }), "{error}");
        spec.options.sources.keyrings = vec!["/k".into()];
        let found = resolve(&spec, &facts(DEBIAN_HOST)).unwrap();
        // The components are those of its Release file.
        assert_eq!(
            files(&found),
            "etc/apt/sources.list:\n# deb [signed-by=/etc/apt/keyrings/x.gpg] cdrom:///d.iso buho\n"
        );
        spec.suite = None;
        let error = resolve(&spec, &facts(DEBIAN_HOST)).unwrap_err();
        assert!(matches!(error, SourcesError::NoSuite { .. }), "{error}");
    }

    #[test]
    fn the_past_is_where_the_table_or_the_mirror_says() {
        let mut spec = spec("debian", Some("bookworm"));
        spec.options.sources.snapshot = moment("2026-06-06T09:12:13Z");
        assert_eq!(
            resolve(&spec, &facts(DEBIAN_HOST)).unwrap().sources_list(),
            "deb [check-valid-until=no] https://snapshot.debian.org/archive/debian/20260606T091213Z bookworm main\n\
             deb [check-valid-until=no] https://snapshot.debian.org/archive/debian/20260606T091213Z bookworm-updates main\n\
             deb [check-valid-until=no] https://snapshot.debian.org/archive/debian-security/20260606T091213Z \
             bookworm-security main\n"
        );
        spec.options.sources.mirror = Some("http://past.example/{}/debian".into());
        assert_eq!(
            resolve(&spec, &facts(DEBIAN_HOST)).unwrap().sources_list(),
            "deb [check-valid-until=no] http://past.example/20260606T091213Z/debian bookworm main\n"
        );
        spec.options.sources.mirror = Some("http://u:secret@past.example/debian".into());
        let error = resolve(&spec, &facts(DEBIAN_HOST)).unwrap_err();
        assert!(matches!(error, SourcesError::NoSnapshot { .. }));
        assert!(!error.to_string().contains("secret"), "{error}");
        let mut kali = super::spec("kali", None);
        kali.options.sources.snapshot = Some(0);
        assert!(matches!(
            resolve(&kali, &facts(DEBIAN_HOST)),
            Err(SourcesError::NoSnapshot { .. })
        ));
    }

    #[test]
    fn without_signatures_no_key_is_looked_for() {
        let mut spec = spec("ubuntu", None);
        assert!(resolve(&spec, &facts(DEBIAN_HOST)).is_err());
        spec.options.sources.trust = Trust::Unsigned;
        let found = resolve(&spec, &facts(DEBIAN_HOST)).unwrap();
        assert!(found.entries.iter().all(|entry| entry.keyrings.is_empty()));
        // The image's own apt goes on asking for signatures.
        assert!(!found.sources_list().contains("trusted"));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for (uri, suites, components) in [
            ("http://a", vec!["../x"], vec!["main"]),
            ("http://a", vec!["-x"], vec!["main"]),
            ("http://a", vec!["x/../../y/"], vec![]),
            ("http://a", vec!["x\n"], vec!["main"]),
            ("http://a", vec!["x"], vec!["../main"]),
            ("http://a", vec!["x/"], vec!["main"]),
            ("http://a", vec![], vec!["main"]),
            ("gopher://a", vec!["x"], vec!["main"]),
        ] {
            let mut spec = spec("debian", Some("bookworm"));
            spec.options.sources.repositories = vec![repository(uri, &suites, &components)];
            assert!(
                resolve(&spec, &facts(DEBIAN_HOST)).is_err(),
                "{uri} {suites:?}"
            );
        }
    }
}
