mod arrivals;
mod choosing;
mod filters;
mod hooks;
mod lies;

use super::*;
use crate::Kind;
use crate::configure::{ConfigureError, Runner};
use crate::engine::Dry;
use crate::event::Silent;
use crate::fetch::{Client, FetchError, Settings};
use crate::outcome::Status;
use crate::store::Store;
use crate::view::Image;
use jaula_plan::facts::archive::AptFacts;
use jaula_plan::rootfs::Table;
use jaula_plan::spec::jail::{JailSpec, RootSpec};
use jaula_plan::spec::rootfs::{AptTraces, ImageOptions, ImageSpec, Variant, Want};
use jaula_plan::spec::source::SourceOptions;
use jaula_testkit::{Deb, DebBuilder, Fault, RepoBuilder, Server, TestKey};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

mod shared;
mod sources;

fn now() -> u64 {
    jaula_testkit::repo::now()
}

/// A repository on a server, and a store.
struct World {
    dir: tempfile::TempDir,
    server: Server,
    spec: ImageSpec,
    store: Store,
    client: Client,
}

fn package(name: &str, change: impl FnOnce(DebBuilder) -> DebBuilder) -> Deb {
    change(DebBuilder::new(name, "1.0")).build().unwrap()
}

fn base() -> RepoBuilder {
    let essential = |b: DebBuilder| {
        b.field("Essential", "yes")
            .dir("./etc", 0o755)
            .file("./bin/tool", "tool", 0o755)
            .conffile("etc/tool.conf", "setting\n")
            .script("preinst", "#!/bin/sh\nexit 0\n")
    };
    RepoBuilder::new("bookworm")
        .date(now() - 1000)
        .valid_until(Some(now() + 1000))
        .package(package("tool", essential))
        .package(package("extra", |b| {
            b.field("Depends", "library")
                .file("./usr/bin/extra", "extra", 0o755)
        }))
        .package(package("library", |b| {
            b.file("./usr/lib/library", "library", 0o644)
        }))
        .package(package("broken", |b| {
            b.field("Depends", "nowhere-to-be-found")
        }))
}

fn world_of(repo: RepoBuilder, key: &TestKey) -> World {
    let dir = tempfile::tempdir().unwrap();
    let made = repo.write(dir.path(), key).unwrap();
    let server = Server::start(&made.dir).unwrap();
    let spec = ImageSpec {
        distro: "debian".parse().unwrap(),
        suite: Some("bookworm".parse().unwrap()),
        options: ImageOptions {
            variant: Variant::Essential,
            sources: SourceOptions {
                mirror: Some(server.url()),
                keyrings: vec![made.keyring],
                ..SourceOptions::default()
            },
            ..ImageOptions::default()
        },
    };
    let store = Store::open(dir.path().join("store")).unwrap();
    let client = Client::new(Settings {
        pause: Duration::from_millis(1),
        attempts: 2,
        ..Settings::default()
    })
    .unwrap();
    World {
        dir,
        server,
        spec,
        store,
        client,
    }
}

fn world() -> World {
    world_of(base(), &TestKey::sound("archive").unwrap())
}

/// What dpkg would do to the database when nothing goes wrong.
fn pretend(spec: JailSpec, _: &mut dyn FnMut(&[u8])) -> Result<Status, ConfigureError> {
    let RootSpec::Tree { dir, .. } = &spec.root else {
        panic!("no tree")
    };
    if spec.command.last().unwrap() == "configure" {
        let status = dir.join("var/lib/dpkg/status");
        let text = std::fs::read_to_string(&status).unwrap();
        std::fs::write(
            &status,
            text.replace("install ok unpacked", "install ok installed"),
        )
        .unwrap();
    }
    Ok(Status::Exited(0))
}

impl World {
    fn plan_at(&self, now: u64, way: Way, dry: Dry) -> Result<ImagePlan, BuildError> {
        let facts = AptFacts {
            arch: "amd64".parse().unwrap(),
            runnable: vec!["amd64".parse().unwrap()],
            sources: vec![],
            trusted: vec![],
            keyrings: vec![],
        };
        let table = Table::builtin().unwrap();
        let host = Host {
            facts: &facts,
            table: &table,
            client: &self.client,
            now,
        };
        plan(&self.spec, None, &self.store, &host, way, &Silent, dry)
    }

    fn plan(&self) -> Result<ImagePlan, BuildError> {
        self.plan_at(now(), Way::Whole, Dry::MayCache)
    }

    fn build_with(&self, plan: &ImagePlan, runner: Runner<'_>) -> Result<Image, BuildError> {
        build::build_with(
            plan,
            &["mine".parse().unwrap()],
            &self.store,
            &self.client,
            runner,
            &Silent,
        )
    }

    fn build(&self, plan: &ImagePlan) -> Result<Image, BuildError> {
        self.build_with(plan, &mut pretend)
    }

    /// The error of planning and building, after which nothing half-made is in the store.
    fn fails(&self) -> BuildError {
        let error = match self.plan() {
            Err(error) => error,
            Ok(plan) => self.build(&plan).unwrap_err(),
        };
        for place in ["images", "stages", "journal"] {
            let left = std::fs::read_dir(self.store.root().join(place)).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{place} after {error}");
        }
        error
    }

    fn include(&mut self, names: &[&str]) {
        self.spec.options.include = names
            .iter()
            .map(|name| Want::any(name.parse().unwrap()))
            .collect();
    }
}

/// Only root can give files to root.
fn needs_root(test: &str) -> bool {
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        return false;
    }
    jaula_testkit::skip::note(
        test,
        "packages' files belong to root, and only root can give files away",
    );
    true
}

/// Path → type, mode, owner, time, content.
fn tree(root: &Path) -> BTreeMap<String, (u32, u32, u32, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().flatten() {
            let (path, meta) = (entry.path(), entry.path().symlink_metadata().unwrap());
            let content = if meta.is_dir() {
                open.push(path.clone());
                Vec::new()
            } else if meta.is_symlink() {
                std::fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else {
                std::fs::read(&path).unwrap()
            };
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.insert(
                name,
                (meta.mode(), meta.uid(), meta.gid(), meta.mtime(), content),
            );
        }
    }
    found
}

#[test]
fn an_image_is_made_whole_and_found_again() {
    if needs_root("an_image_is_made_whole_and_found_again") {
        return;
    }
    let world = world();
    let plan = world.plan().unwrap();
    assert_eq!(plan.to_fetch().0, 1);
    let image = world.build(&plan).unwrap();
    let read = |path: &str| std::fs::read_to_string(image.root().join(path)).unwrap();
    assert_eq!(
        (
            read("usr/bin/tool").as_str(),
            read("etc/tool.conf").as_str()
        ),
        ("tool", "setting\n")
    );
    assert_eq!(
        read("etc/apt/sources.list"),
        format!("deb {} bookworm main\n", world.server.url())
    );
    let status = read("var/lib/dpkg/status");
    assert!(
        status.contains("Status: install ok installed\n")
            && status.contains("Conffiles:\n /etc/tool.conf "),
        "{status}"
    );
    assert!(!status.contains("newconffile"));
    assert!(read("var/lib/dpkg/info/tool.list").contains("/bin/tool\n"));
    assert!(
        image
            .root()
            .join("var/lib/dpkg/info/tool.preinst")
            .is_file()
    );
    assert!(!image.root().join("usr/sbin/policy-rc.d").exists());
    assert!(!image.root().join("run/jaula-shortcuts").exists());
    assert!(
        tree(image.root())
            .values()
            .all(|(_, _, _, time, _)| *time <= plan.epoch() as i64)
    );
    // Again: everything is there, nothing is fetched.
    let before = world.server.count(".deb");
    let again = world.plan().unwrap();
    assert_eq!(again.ready(), Some(&image));
    assert_eq!(world.build(&again).unwrap(), image);
    assert_eq!(world.server.count(".deb"), before);
    assert_eq!(
        world.store.by_tag(&"mine".parse().unwrap()).unwrap(),
        Some(image)
    );
}

#[test]
fn two_builds_have_the_same_bytes() {
    if needs_root("two_builds_have_the_same_bytes") {
        return;
    }
    let mut first = world();
    first.include(&["extra"]);
    let one = first.build(&first.plan().unwrap()).unwrap();
    let store = Store::open(first.dir.path().join("other-store")).unwrap();
    let first_store = std::mem::replace(&mut first.store, store);
    let other = first.build(&first.plan().unwrap()).unwrap();
    assert_eq!(one.digest(), other.digest());
    assert_ne!(one.root(), other.root());
    let (a, b) = (tree(one.root()), tree(other.root()));
    let differ: Vec<&String> = a
        .iter()
        .filter(|(path, entry)| b.get(*path) != Some(entry))
        .map(|(path, _)| path)
        .collect();
    assert!(differ.is_empty() && a.len() == b.len(), "{differ:?}");
    drop(first_store);
}

#[test]
fn only_what_is_missing_is_fetched_and_unpacked() {
    if needs_root("only_what_is_missing_is_fetched_and_unpacked") {
        return;
    }
    let mut world = world();
    let base = world.build(&world.plan().unwrap()).unwrap();
    let before = tree(base.root());
    world.include(&["extra"]);
    let plan = world.plan_at(now(), Way::Reuse, Dry::MayCache).unwrap();
    assert_eq!(plan.base().map(|base| base.packages), Some(1));
    assert_eq!(plan.to_fetch().0, 2);
    let image = world.build(&plan).unwrap();
    assert_eq!(
        std::fs::read_to_string(image.root().join("usr/lib/library")).unwrap(),
        "library"
    );
    let status = std::fs::read_to_string(image.root().join("var/lib/dpkg/status")).unwrap();
    assert_eq!(
        status.matches("Status: install ok installed\n").count(),
        3,
        "{status}"
    );
    for name in ["extra", "library", "tool"] {
        assert_eq!(
            status.matches(&format!("Package: {name}\n")).count(),
            1,
            "{name}: {status}"
        );
    }
    let states = std::fs::read_to_string(image.root().join("var/lib/apt/extended_states")).unwrap();
    assert_eq!(
        states,
        "Package: library\nArchitecture: amd64\nAuto-Installed: 1\n\n"
    );
    // The base is as it was, although files of it are shared.
    assert_eq!(tree(base.root()), before);
    // Whole, it has another digest.
    let whole = world.plan().unwrap();
    assert_ne!(whole.digest(), plan.digest());
    assert_eq!(whole.base(), None);
    assert!(
        world
            .plan_at(now(), Way::Reuse, Dry::MayCache)
            .unwrap()
            .ready()
            .is_some()
    );
}

#[test]
fn planning_read_only_writes_nothing() {
    let world = world();
    let plan = world.plan_at(now(), Way::Reuse, Dry::ReadOnly).unwrap();
    assert!(plan.to_string().contains("fetch 1 of 1 packages"), "{plan}");
    assert!(!world.store.root().exists());
    let world = self::world();
    world.plan().unwrap();
    let before = world.server.count("Packages.xz") + world.server.count("by-hash");
    world.plan().unwrap();
    assert_eq!(
        world.server.count("Packages.xz") + world.server.count("by-hash"),
        before
    );
}

#[test]
fn a_diversion_made_by_a_preinst_holds() {
    if needs_root("a_diversion_made_by_a_preinst_holds") {
        return;
    }
    let divert = |b: DebBuilder| {
        b.file("./bin/tool", "diverted", 0o755).script(
            "preinst",
            "#!/bin/sh\ndpkg-divert --add --rename /bin/tool\n",
        )
    };
    let mut world = world_of(
        base().package(package("diverter", divert)),
        &TestKey::sound("archive").unwrap(),
    );
    world.include(&["diverter"]);
    let mut runs = 0;
    let image = world
        .build_with(&world.plan().unwrap(), &mut |spec, hear| {
            let RootSpec::Tree { dir, .. } = &spec.root else {
                panic!("no tree")
            };
            runs += 1;
            if runs == 1 {
                assert_eq!(
                    std::fs::read_to_string(dir.join("usr/bin/tool")).unwrap(),
                    "tool"
                );
                std::fs::rename(dir.join("usr/bin/tool"), dir.join("usr/bin/tool.distrib"))
                    .unwrap();
                let line = "/bin/tool\n/bin/tool.distrib\ndiverter\n";
                std::fs::write(dir.join("var/lib/dpkg/diversions"), line).unwrap();
            }
            pretend(spec, hear)
        })
        .unwrap();
    assert_eq!(runs, 2);
    let read = |path: &str| std::fs::read_to_string(image.root().join(path)).unwrap();
    assert_eq!(
        (
            read("usr/bin/tool").as_str(),
            read("usr/bin/tool.distrib").as_str()
        ),
        ("diverted", "tool")
    );
}

#[test]
fn a_failed_script_leaves_nothing() {
    if needs_root("a_failed_script_leaves_nothing") {
        return;
    }
    let world = world();
    let plan = world.plan().unwrap();
    let error = world
        .build_with(&plan, &mut |_, _| Ok(Status::Exited(1)))
        .unwrap_err();
    assert!(
        matches!(
            error,
            BuildError::Configure(ConfigureError::Configure { .. })
        ),
        "{error}"
    );
    let error = world
        .build_with(&plan, &mut |_, _| Ok(Status::Exited(0)))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "not installed after dpkg ended: tool (install ok unpacked)"
    );
    for place in ["images", "stages", "journal"] {
        assert_eq!(
            std::fs::read_dir(world.store.root().join(place)).map_or(0, Iterator::count),
            0,
            "{place}"
        );
    }
    world.build(&plan).unwrap();
}

#[test]
fn bad_mirrors_and_keys_are_told_apart() {
    let key = || TestKey::sound("archive").unwrap();
    // No such suite there.
    let mut world = world();
    world.spec.suite = Some("trixie".parse().unwrap());
    let error = world.fails();
    assert!(
        matches!(&error, BuildError::Mismatch { what, .. } if what.to_string().contains("no suite trixie")),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::NotFound);
    // No such suite at all.
    world.spec.options.sources.mirror = None;
    world.spec.suite = Some("bookwrom".parse().unwrap());
    assert!(world.fails().to_string().contains("nearest: bookworm"));
    // Nobody there.
    world.spec.suite = Some("bookworm".parse().unwrap());
    world.spec.options.sources.mirror = Some("http://127.0.0.1:1/debian".into());
    let error = world.fails();
    assert!(
        matches!(&error, BuildError::Fetch(FetchError::Unreachable { .. })),
        "{error}"
    );
    assert!(!error.hints().is_empty());
    // Another key; no key.
    let mut world = world_of(base(), &key());
    let other = world.dir.path().join("other.gpg");
    std::fs::write(&other, TestKey::sound("other").unwrap().keyring().unwrap()).unwrap();
    world.spec.options.sources.keyrings = vec![other];
    let error = world.fails();
    assert!(matches!(&error, BuildError::Signature { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Verification);
    world.spec.options.sources.keyrings = vec!["/no/such/keyring.gpg".into()];
    assert!(matches!(world.fails(), BuildError::Io(_)));
    for bad in [
        TestKey::expired("k"),
        TestKey::revoked("k"),
        TestKey::weak_hash("k"),
        TestKey::not_for_signing("k"),
    ] {
        let error = world_of(base(), &bad.unwrap()).fails();
        assert!(matches!(&error, BuildError::Signature { .. }), "{error}");
    }
    // Not signed at all.
    let error = world_of(base().without_inrelease().without_detached(), &key()).fails();
    assert!(error.to_string().contains("not signed"), "{error}");
    // A Release file of another suite.
    let error = world_of(
        base()
            .release_field("X-Nothing", "x")
            .codename("sid")
            .release_field("Y", "y"),
        &key(),
    )
    .plan();
    assert!(error.is_ok(), "the suite's name is right");
}

#[test]
fn a_detached_signature_is_as_good() {
    let world = world_of(
        base().without_inrelease(),
        &TestKey::sound("archive").unwrap(),
    );
    assert_eq!(world.plan().unwrap().lock().packages.len(), 1);
}

#[test]
fn release_files_are_of_their_time() {
    let key = TestKey::sound("archive").unwrap();
    let error = world_of(base().valid_until(Some(now() - 100)), &key).fails();
    assert!(matches!(&error, BuildError::Release { .. }), "{error}");
    assert!(error.hints()[0].contains("clock"));
    let error = world_of(base().date(now() + 5000), &key).fails();
    assert!(matches!(&error, BuildError::Release { .. }), "{error}");
}

#[test]
fn altered_and_cut_files_are_refused() {
    if needs_root("altered_and_cut_files_are_refused") {
        return;
    }
    let world = world();
    world.server.fault("InRelease", Fault::Flip(200), 9);
    assert!(matches!(world.fails(), BuildError::Signature { .. }));
    world.server.fault("InRelease", Fault::Flip(200), 0);
    world
        .plan_at(now(), Way::Whole, Dry::ReadOnly)
        .map(|_| ())
        .unwrap();
    let () = ();
    let by_hash = world
        .server
        .requests()
        .iter()
        .rev()
        .find(|r| r.path.contains("by-hash"))
        .unwrap()
        .path
        .clone();
    world.server.fault(&by_hash, Fault::Flip(40), 9);
    let error = world.fails();
    assert!(
        matches!(&error, BuildError::Fetch(FetchError::Altered { .. })),
        "{error}"
    );
    world.server.fault(&by_hash, Fault::Truncate(40), 9);
    let error = world.fails();
    assert!(
        matches!(
            &error,
            BuildError::Fetch(FetchError::Truncated { .. } | FetchError::Read { .. })
        ),
        "{error}"
    );
    world.server.fault(&by_hash, Fault::Flip(0), 0);
    world.server.fault(".deb", Fault::Flip(300), 9);
    let error = world.fails();
    assert!(
        matches!(&error, BuildError::Fetch(FetchError::Altered { .. })),
        "{error}"
    );
    world.server.fault(".deb", Fault::NotFound, 9);
    assert!(matches!(
        world.fails(),
        BuildError::Fetch(FetchError::NotFound { .. })
    ));
    world.server.fault(".deb", Fault::NotFound, 0);
    // Altered in the store after it was fetched: found while it is unpacked, and removed.
    let plan = world.plan().unwrap();
    let path = world.store.package_path(&plan.lock().packages[0].sha256);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(
        &path,
        vec![0u8; usize::try_from(plan.lock().packages[0].size).unwrap()],
    )
    .unwrap();
    let error = world.fails();
    assert!(
        matches!(
            &error,
            BuildError::Unpack(crate::unpack::UnpackError::Altered { .. })
        ),
        "{error}"
    );
    assert!(!path.exists());
    world.build(&plan).unwrap();
}

#[test]
fn wishes_that_cannot_be_met_are_explained() {
    let mut world = world();
    world.include(&["exra"]);
    let error = world.fails();
    assert!(
        error.to_string().contains("exra") && error.to_string().contains("extra"),
        "{error}"
    );
    world.include(&["broken"]);
    let error = world.fails();
    assert!(error.to_string().contains("nowhere-to-be-found"), "{error}");
    world.include(&[]);
    world.spec.options.sources.components = vec!["contrib".parse().unwrap()];
    assert!(world.fails().to_string().contains("no component contrib"));
    world.spec.options.sources.components.clear();
    world.spec.options.arch = Some("riscv64".parse().unwrap());
    assert!(matches!(world.fails(), BuildError::Sources(_)));
}
