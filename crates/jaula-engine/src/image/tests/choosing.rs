//! What is chosen, and from where: wishes, tasks, package files, pins, architectures.

use super::*;
use jaula_plan::spec::source::Preferences;
use jaula_repo::lock::Lock;

fn names(plan: &ImagePlan) -> Vec<String> {
    let mut names: Vec<String> = plan
        .lock()
        .packages
        .iter()
        .map(|p| match p.arch.as_str() {
            "amd64" | "all" => format!("{}={}", p.name, p.version),
            arch => format!("{}:{arch}={}", p.name, p.version),
        })
        .collect();
    names.sort();
    names
}

fn deb(name: &str, version: &str, change: impl FnOnce(DebBuilder) -> DebBuilder) -> Deb {
    change(DebBuilder::new(name, version)).build().unwrap()
}

fn choices() -> World {
    let repo = base()
        .also_arch("i386")
        .package(deb("extra", "2.0", |b| b.field("Recommends", "library")))
        .package(deb("one", "1", |b| b.field("Task", "web, mail")))
        .package(deb("two", "1", |b| b.field("Task", "mail")))
        .package(deb("task-print", "1", |b| b))
        .package(deb("shared", "1", |b| {
            b.field("Multi-Arch", "same")
                .file("./usr/share/doc/shared/note", "note", 0o644)
                .file("./usr/lib/x86_64-linux-gnu/shared", "amd64", 0o644)
        }))
        .package(deb("shared", "1", |b| {
            b.arch("i386")
                .field("Multi-Arch", "same")
                .file("./usr/share/doc/shared/note", "note", 0o644)
                .file("./usr/lib/i386-linux-gnu/shared", "i386", 0o644)
        }))
        .package(deb("old", "1", |b| {
            b.arch("i386").field("Depends", "shared, any")
        }))
        .package(deb("any", "1", |b| b.field("Multi-Arch", "foreign")))
        .package(deb("strict", "1", |b| {
            b.arch("i386").field("Depends", "library")
        }));
    world_of(repo, &TestKey::sound("archive").unwrap())
}

impl World {
    fn pin(&mut self, text: &str) {
        self.spec.options.sources.preferences = vec![Preferences {
            name: "pins".into(),
            text: text.into(),
        }];
    }

    fn foreign(&mut self) {
        self.spec.options.foreign_archs = vec!["i386".parse().unwrap()];
    }

    fn refusal(&self) -> String {
        self.plan().unwrap_err().to_string()
    }
}

#[test]
fn wishes_are_obeyed_or_refused() {
    let mut world = choices();
    world.include(&["extra"]);
    assert_eq!(names(&world.plan().unwrap()), ["extra=2.0", "tool=1.0"]);
    world.spec.options.recommends = true;
    assert_eq!(
        names(&world.plan().unwrap()),
        ["extra=2.0", "library=1.0", "tool=1.0"]
    );
    let only = &mut world.spec.options.include[0];
    only.version = Some("1.0".into());
    assert_eq!(
        names(&world.plan().unwrap()),
        ["extra=1.0", "library=1.0", "tool=1.0"]
    );
    world.spec.options.include[0].version = None;
    world.spec.options.include[0].suite = Some("bookworm".into());
    assert_eq!(
        names(&world.plan().unwrap()),
        ["extra=2.0", "library=1.0", "tool=1.0"]
    );
    world.spec.options.include[0].suite = Some("trixie".into());
    assert_eq!(
        world.refusal(),
        "no source offers extra/trixie (2.0 in bookworm; 1.0 in bookworm are there)"
    );
}

/// The same question is answered without reading an index, another one is not.
#[test]
fn what_was_chosen_before_is_known() {
    let mut world = choices();
    world.include(&["extra"]);
    let first = world.plan().unwrap();
    let solved = world.store.root().join("solved");
    let count = || std::fs::read_dir(&solved).unwrap().count();
    assert_eq!(count(), 1);
    // Other questions have other answers.
    world.pin("Package: extra\nPin: version 1.*\nPin-Priority: 600\n");
    let pinned = world.plan().unwrap();
    assert_ne!(names(&pinned), names(&first));
    world.spec.options.recommends = true;
    world.plan().unwrap();
    assert_eq!(count(), 3);
    world.spec.options.include.clear();
    world.plan_at(now(), Way::Whole, Dry::ReadOnly).unwrap();
    assert_eq!(count(), 3, "who only looks writes nothing");
    // Proof that no index is read for what is known: there is none any more, neither here nor on the server.
    std::fs::remove_dir_all(world.store.root().join("indices")).unwrap();
    std::fs::remove_dir_all(world.dir.path().join("repo/dists/bookworm/main")).unwrap();
    assert!(world.plan().is_err());
    world.include(&["extra"]);
    world.spec.options.recommends = false;
    assert_eq!(world.plan().unwrap(), pinned);
    world.spec.options.sources.preferences.clear();
    assert_eq!(world.plan().unwrap(), first);
    // A damaged answer is none.
    for entry in std::fs::read_dir(&solved).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, text.get(..100).unwrap()).unwrap();
    }
    assert!(world.plan().is_err());
}

#[test]
fn tasks_are_sets_of_packages() {
    let mut world = choices();
    let mut of = |task: &str| {
        world.spec.options.tasks = vec![task.to_owned()];
        world
            .plan()
            .map(|plan| names(&plan))
            .map_err(|e| e.to_string())
    };
    assert_eq!(of("mail").unwrap(), ["one=1", "tool=1.0", "two=1"]);
    assert_eq!(of("web").unwrap(), ["one=1", "tool=1.0"]);
    assert_eq!(of("print").unwrap(), ["task-print=1", "tool=1.0"]);
    assert_eq!(
        of("webs").unwrap_err(),
        "no source has a task webs (near: web)"
    );
}

#[test]
fn pins_decide_and_nothing_in_them_is_passed_over() {
    let mut world = choices();
    world.include(&["extra"]);
    world.pin("Package: extra\nPin: version 1.*\nPin-Priority: 600\n");
    assert_eq!(
        names(&world.plan().unwrap()),
        ["extra=1.0", "library=1.0", "tool=1.0"]
    );
    world.pin("Package: src:extra\nPin: release n=bookworm, c=main, b=amd64\nPin-Priority: -1\n");
    assert_eq!(
        world.refusal(),
        "extra cannot be installed:\n└─ extra 2.0, 1.0 is forbidden by a pin (priority -1)"
    );
    world.pin("Package: extra\nPin: version 1.*\nPriority: 600\n");
    assert_eq!(
        world.refusal(),
        "pins, line 3, column 1: unknown key \"Priority\": there are Package, Pin, Pin-Priority and Explanation"
    );
    world.spec.options.sources.preferences[0].name = "pins.bak".into();
    assert!(world.refusal().contains("APT reads no preferences"));
    // Who is let in says so: by version or suite a pin is overruled, as apt-get does.
    world.pin("Package: extra\nPin: version *\nPin-Priority: -1\n");
    world.spec.options.include[0].version = Some("1.0".into());
    assert_eq!(
        names(&world.plan().unwrap()),
        ["extra=1.0", "library=1.0", "tool=1.0"]
    );
}

#[test]
fn package_files_are_a_source_of_their_own() {
    let mut world = choices();
    let mine = deb("mine", "3", |b| {
        b.field("Depends", "extra (= 1.0)")
            .field("Description", "mine\n of several\n .\n lines")
            .file("./usr/share/mine", "mine", 0o644)
    });
    let path = world.dir.path().join("mine file.deb");
    std::fs::write(&path, &mine.bytes).unwrap();
    world.spec.options.debs = vec![path.clone()];
    let plan = world.plan().unwrap();
    assert_eq!(
        names(&plan),
        ["extra=1.0", "library=1.0", "mine=3", "tool=1.0"]
    );
    let text = plan.lock().to_string();
    assert!(text.contains("local:/ local - "), "{text}");
    assert_eq!(text.parse::<Lock>().unwrap(), *plan.lock());
    let before = plan.digest().to_owned();

    if !needs_root("package_files_are_a_source_of_their_own") {
        let image = world.build(&plan).unwrap();
        let read = |path: &str| std::fs::read_to_string(image.root().join(path)).unwrap();
        assert_eq!(read("usr/share/mine"), "mine");
        assert!(!read("var/lib/apt/extended_states").contains("Package: mine\n"));
    }
    // Another content is another image; no package is none.
    let other = deb("mine", "3", |b| {
        b.field("Depends", "extra (= 1.0)")
            .file("./usr/share/mine", "other", 0o644)
    });
    std::fs::write(&path, &other.bytes).unwrap();
    assert_ne!(*world.plan().unwrap().digest(), before);
    std::fs::write(&path, "nothing").unwrap();
    assert!(world.refusal().ends_with("is no package that can be read"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(world.refusal().contains("read"));
}

#[test]
fn a_package_file_that_changes_meanwhile_is_refused() {
    let mut world = choices();
    let path = world.dir.path().join("mine.deb");
    std::fs::write(&path, deb("mine", "1", |b| b).bytes).unwrap();
    world.spec.options.debs = vec![path.clone()];
    let plan = world.plan().unwrap();
    std::fs::write(&path, deb("mine", "2", |b| b).bytes).unwrap();
    let error = world.build(&plan).unwrap_err();
    assert!(matches!(error, BuildError::NoSuchDeb { .. }), "{error}");
}

#[test]
fn foreign_architectures_are_beside_the_own_one() {
    let mut world = choices();
    world.include(&["shared", "old"]);
    assert!(world.refusal().starts_with("no source offers old"));
    world.spec.options.include[1].arch = Some("armhf".parse().unwrap());
    assert_eq!(
        world.refusal(),
        "old:armhf is of an architecture that is not among those of the image (amd64)"
    );
    world.foreign();
    world.spec.options.include[1].arch = None;
    let plan = world.plan().unwrap();
    assert_eq!(
        names(&plan),
        [
            "any=1",
            "old:i386=1",
            "shared:i386=1",
            "shared=1",
            "tool=1.0"
        ]
    );
    // What is not for several architectures at once serves only its own.
    world.include(&["strict"]);
    assert_eq!(
        world.refusal(),
        "strict:i386 cannot be installed:\n\
         └─ strict:i386 1 depends on library\n\
         \u{20}  └─ which no source offers, and no package provides"
    );
    if needs_root("foreign_architectures_are_beside_the_own_one") {
        return;
    }
    let image = world.build(&plan).unwrap();
    let read = |path: &str| std::fs::read_to_string(image.root().join(path)).unwrap();
    assert_eq!(read("var/lib/dpkg/arch"), "amd64\ni386\n");
    for arch in ["amd64", "i386"] {
        let list = read(&format!("var/lib/dpkg/info/shared:{arch}.list"));
        assert!(list.contains("/usr/share/doc/shared/note\n"), "{list}");
    }
    assert!(read("var/lib/apt/extended_states").contains("Package: shared\nArchitecture: i386\n"));
    assert_eq!(read("usr/lib/i386-linux-gnu/shared"), "i386");
    // dpkg itself finds nothing wrong with it.
    let root = image.root().display().to_string();
    if let Ok(out) = std::process::Command::new("dpkg")
        .args(["--root", &root, "--audit"])
        .output()
    {
        assert!(out.status.success() && out.stdout.is_empty(), "{out:?}");
        let listed = std::process::Command::new("dpkg-query")
            .args(["--admindir", &format!("{root}/var/lib/dpkg"), "-W"])
            .args(["-f", "${binary:Package} ${db:Status-Status}\n"])
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(
            listed.contains("shared:amd64 installed\nshared:i386 installed\n"),
            "{listed}"
        );
    }
}

#[test]
fn files_of_two_architectures_that_differ_are_refused() {
    if needs_root("files_of_two_architectures_that_differ_are_refused") {
        return;
    }
    let shared = |arch: &str, text: &str| {
        deb("shared", "1", |b| {
            b.arch(arch)
                .field("Multi-Arch", "same")
                .file("./usr/share/note", text, 0o644)
        })
    };
    let repo = base()
        .also_arch("i386")
        .package(shared("amd64", "one"))
        .package(shared("i386", "other"));
    let mut world = world_of(repo, &TestKey::sound("archive").unwrap());
    world.foreign();
    world.include(&["shared", "shared"]);
    world.spec.options.include[1].arch = Some("i386".parse().unwrap());
    let error = world.fails().to_string();
    assert!(error.contains("usr/share/note"), "{error}");
}

#[test]
fn two_sources_that_disagree_are_refused() {
    let one =
        RepoBuilder::new("bookworm").package(deb("tool", "1", |b| b.field("Essential", "yes")));
    let other = one.clone().package(deb("tool", "1", |b| {
        b.field("Essential", "yes").file("./other", "x", 0o644)
    }));
    let world = world_of(other, &TestKey::sound("archive").unwrap());
    let error = world.refusal();
    assert!(
        error.starts_with("two sources disagree on tool 1 amd64: "),
        "{error}"
    );
}
