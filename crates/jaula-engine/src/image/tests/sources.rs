//! What of the sources is in the image, and what makes it another image.

use super::*;
use jaula_plan::spec::source::{Preferences, Repository, SignedBy, Trust, Used};

/// A second, flat repository with a key of its own.
fn flat(world: &World) -> (jaula_testkit::Repo, Repository) {
    let parent = world.dir.path().join("flat");
    let repo = RepoBuilder::new("x")
        .package(DebBuilder::new("flat", "1").build().unwrap())
        .write_flat(&parent, Some(&TestKey::sound("second").unwrap()), "debs/")
        .unwrap();
    let repository = Repository {
        name: Some("own".into()),
        uri: repo.url(),
        suites: vec!["debs/".into()],
        signed_by: SignedBy::Files(vec![repo.keyring.clone()]),
        ..Repository::default()
    };
    (repo, repository)
}

fn text(image: &Image, path: &str) -> String {
    std::fs::read_to_string(image.root().join(path)).unwrap_or_default()
}

#[test]
fn the_image_has_each_repository_with_its_key() {
    if super::needs_root("the_image_has_each_repository_with_its_key") {
        return;
    }
    let mut world = world();
    let plain = world.plan().unwrap();
    let (repo, repository) = flat(&world);
    let sources = &mut world.spec.options.sources;
    sources.repositories = vec![
        repository.clone(),
        Repository {
            name: Some("later".into()),
            used: Used::Image,
            uri: "http://later.example/x".into(),
            suites: vec!["s".into()],
            components: vec!["main".into()],
            ..repository.clone()
        },
    ];
    sources.preferences = vec![Preferences {
        name: "pins".into(),
        text: "Package: flat\nPin: release a=x\nPin-Priority: 400\n".into(),
    }];
    world.spec.options.include = vec![
        "flat"
            .parse()
            .map(jaula_plan::spec::rootfs::Want::any)
            .unwrap(),
    ];
    let plan = world.plan().unwrap();
    let image = world.build(&plan).unwrap();
    let main = format!("deb {} bookworm main\n", world.server.url());
    assert_eq!(text(&image, "etc/apt/sources.list"), main);
    assert_eq!(
        text(&image, "etc/apt/sources.list.d/own.sources"),
        format!(
            "Types: deb\nURIs: {}\nSuites: debs/\nSigned-By: /etc/apt/keyrings/own.gpg\n",
            repo.url()
        )
    );
    assert_eq!(
        std::fs::read(image.root().join("etc/apt/keyrings/own.gpg")).unwrap(),
        std::fs::read(&repo.keyring).unwrap()
    );
    assert!(
        text(&image, "etc/apt/sources.list.d/later.sources").contains("http://later.example/x")
    );
    assert!(text(&image, "etc/apt/preferences.d/pins").contains("Pin-Priority: 400"));
    assert_ne!(plan.digest(), plain.digest());
}

#[test]
fn a_repository_of_the_build_leaves_no_trace() {
    if super::needs_root("a_repository_of_the_build_leaves_no_trace") {
        return;
    }
    let mut world = world();
    let (_, repository) = flat(&world);
    world.spec.options.sources.repositories = vec![Repository {
        used: Used::Build,
        ..repository
    }];
    world.spec.options.include = vec![jaula_plan::spec::rootfs::Want::any("flat".parse().unwrap())];
    let image = world.build(&world.plan().unwrap()).unwrap();
    assert!(text(&image, "var/lib/dpkg/status").contains("Package: flat"));
    let main = format!("deb {} bookworm main\n", world.server.url());
    assert_eq!(text(&image, "etc/apt/sources.list"), main);
    for dir in ["etc/apt/sources.list.d", "etc/apt/keyrings"] {
        let entries = std::fs::read_dir(image.root().join(dir));
        assert_eq!(entries.into_iter().flatten().count(), 0, "{dir}");
    }
}

#[test]
fn what_is_only_written_makes_another_image() {
    let mut world = world();
    let plain = *world.plan().unwrap().digest();
    let (_, repository) = flat(&world);
    world.spec.options.sources.repositories = vec![Repository {
        used: Used::Image,
        ..repository
    }];
    let plan = world.plan().unwrap();
    assert_eq!(plan.sources().entries.len(), 1);
    assert_ne!(*plan.digest(), plain);
    assert_eq!(plan.digest(), world.plan().unwrap().digest());
}

#[test]
fn passwords_are_nowhere() {
    if super::needs_root("passwords_are_nowhere") {
        return;
    }
    let mut world = world();
    let url = world.server.url().replace("http://", "http://ana:geheim@");
    world.spec.options.sources.mirror = Some(url);
    let plan = world.plan().unwrap();
    let image = world.build(&plan).unwrap();
    let shown = format!(
        "{plan}{plan:?}{}{:?}",
        crate::plan::Preview::to_json(&plan),
        crate::plan::Preview::explain(&plan)
    );
    let lock = plan.lock().to_string();
    for text in [&shown, &lock, &text(&image, "etc/apt/sources.list")] {
        assert!(text.contains("127.0.0.1"), "{text}");
    }
    // The request itself is where it has to be.
    let shown = shown.replace(&format!("{:?}", plan.spec()), "");
    for text in [&shown, &lock, &text(&image, "etc/apt/sources.list")] {
        assert!(!text.contains("geheim") && !text.contains("ana:"), "{text}");
    }
    let mut left = vec![world.store.root().to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(!name.contains("geheim"), "{name}");
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() {
                let bytes = std::fs::read(entry.path()).unwrap();
                let found = bytes.windows(6).any(|part| part == b"geheim");
                assert!(!found, "{}", entry.path().display());
            }
        }
    }
}

#[test]
fn nothing_is_parsed_before_it_is_verified() {
    let world = world();
    // A file that would be an error of parsing were it read: it is the signature that is missing.
    let dists = world.dir.path().join("repo/dists/bookworm");
    std::fs::remove_file(dists.join("InRelease")).unwrap();
    std::fs::write(dists.join("Release"), "SHA256:\n no table at all\n").unwrap();
    assert!(matches!(world.plan(), Err(BuildError::Signature { .. })));
    let mut unsigned = world;
    unsigned.spec.options.sources.trust = Trust::Unsigned;
    assert!(matches!(unsigned.plan(), Err(BuildError::Release { .. })));
}

#[test]
fn an_archive_of_another_architecture_tells_it() {
    let dir = tempfile::tempdir().unwrap();
    let repo = RepoBuilder::new("buho").arch("i386").package(
        DebBuilder::new("tool", "1")
            .arch("i386")
            .field("Essential", "yes")
            .build()
            .unwrap(),
    );
    let mut world = world_of(repo, &TestKey::sound("k").unwrap());
    world.spec.distro = "guadalinex".parse().unwrap();
    world.spec.suite = Some("buho".parse().unwrap());
    drop(dir);
    // amd64 is all that this test's host runs.
    assert!(matches!(
        world.plan(),
        Err(BuildError::Mismatch {
            what: Mismatch::Arch { .. },
            ..
        })
    ));
}

#[test]
fn a_merged_usr_is_told_by_the_packages_of_an_unknown_distribution() {
    for (packages, merged) in [
        (vec![("base-files", "11.1")], false),
        (vec![("base-files", "12.4")], true),
        (vec![("base-files", "11.1"), ("usr-is-merged", "1")], true),
        (vec![("tool", "1")], true),
    ] {
        let mut repo = RepoBuilder::new("buho");
        for (name, version) in &packages {
            repo = repo.package(
                DebBuilder::new(name, version)
                    .field("Essential", "yes")
                    .build()
                    .unwrap(),
            );
        }
        let mut world = world_of(repo.component("libre"), &TestKey::sound("k").unwrap());
        world.spec.distro = "guadalinex".parse().unwrap();
        world.spec.suite = Some("buho".parse().unwrap());
        let plan = world.plan().unwrap();
        assert_eq!(plan.sources().merged_usr, merged, "{packages:?}");
        // Its components are those of its Release file.
        let components: Vec<&[String]> = plan
            .sources()
            .entries
            .iter()
            .map(|entry| entry.components.as_slice())
            .collect();
        assert_eq!(components, [["libre".to_owned()]]);
        if packages.len() > 1 {
            // usr-is-merged refuses anything else.
            continue;
        }
        world.spec.options.merged_usr = Some(!merged);
        let other = world.plan().unwrap();
        assert_eq!(other.sources().merged_usr, !merged);
        assert_ne!(other.digest(), plan.digest());
    }
}
