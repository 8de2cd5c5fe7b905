//! Packages that were unpacked before, and trees that share files.

use super::*;
use crate::unpack::{Kept, Share};
use jaula_plan::spec::jail::Changes;
use jaula_sys::dir::Dir;
use jaula_sys::overlay;

/// Changes a tree as scripts do: in place, by other names, by removal; and then as dpkg does.
fn scripts(spec: JailSpec, _: &mut dyn FnMut(&[u8])) -> Result<Status, ConfigureError> {
    let RootSpec::Tree { dir, changes } = &spec.root else {
        panic!("no tree")
    };
    let open = |path: &Path| Dir::open(path).unwrap();
    let mounted = match changes {
        Changes::Layer { upper, work } => {
            Some(overlay::detached(&open(dir), &open(upper), &open(work)).unwrap())
        }
        Changes::Direct => None,
        other => panic!("{other:?}"),
    };
    let top = match &mounted {
        Some(overlay) => format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(overlay.root()))
        ),
        None => dir.display().to_string(),
    };
    let at = |path: &str| Path::new(&top).join(path);
    if spec.command.last().unwrap() == "configure" && at("usr/lib/library").exists() {
        use std::io::Write;
        let append = std::fs::OpenOptions::new()
            .append(true)
            .open(at("usr/bin/extra"));
        append.unwrap().write_all(b" and more").unwrap();
        let mode = |path: &str, mode| {
            std::fs::set_permissions(at(path), std::os::unix::fs::PermissionsExt::from_mode(mode))
                .unwrap();
        };
        mode("usr/bin/tool", 0o4711);
        mode("usr/share/twice", 0o600);
        std::fs::remove_file(at("usr/lib/library")).unwrap();
        std::fs::rename(at("usr/share/moved"), at("usr/share/there")).unwrap();
        // A directory in place of one that was there.
        std::fs::remove_dir_all(at("usr/share/old")).unwrap();
        std::fs::create_dir(at("usr/share/old")).unwrap();
        std::fs::write(at("usr/share/old/new"), "new").unwrap();
        std::os::unix::fs::symlink("nowhere", at("usr/share/old/link")).unwrap();
        std::fs::hard_link(at("usr/share/old/new"), at("usr/share/again")).unwrap();
    }
    if spec.command.last().unwrap() == "configure" {
        let status = at("var/lib/dpkg/status");
        let text = std::fs::read_to_string(&status).unwrap();
        let text = text.replace("install ok unpacked", "install ok installed");
        std::fs::write(&status, text).unwrap();
    }
    Ok(Status::Exited(0))
}

fn shared_world() -> World {
    let many = |b: DebBuilder| {
        b.file("./usr/share/once", "once", 0o644)
            .hardlink("./usr/share/twice", "./usr/share/once")
            .file("./usr/share/moved", "moved", 0o644)
            .dir("./usr/share/old", 0o755)
            .file("./usr/share/old/file", "old", 0o644)
    };
    let mut world = world_of(
        base().package(package("many", many)),
        &TestKey::sound("archive").unwrap(),
    );
    world.include(&["extra", "many"]);
    world
}

/// The ways that this file system has.
fn ways(world: &World) -> Vec<Share> {
    let probed = {
        let stage = world.store.stage().unwrap();
        world.store.probe_share(stage.dir()).unwrap()
    };
    let mut ways = vec![Share::Copy, Share::Link];
    if probed == Share::Clone {
        ways.push(probed);
    }
    ways
}

fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

/// The kept packages of the store, each with all its bytes and times.
fn kept_bytes(store: &Store) -> BTreeMap<String, (u32, u32, u32, i64, Vec<u8>)> {
    let mut all = tree(&store.root().join("unpacked"));
    // An index has the time of its last use.
    all.values_mut().for_each(|entry| {
        if entry.0 & 0o777 == 0o600 {
            entry.3 = 0;
        }
    });
    // The time of a directory is no part of what is kept.
    all.retain(|path, _| path.contains('/'));
    all
}

#[test]
fn files_are_shared_in_every_way_with_the_same_outcome() {
    if needs_root("files_are_shared_in_every_way_with_the_same_outcome") {
        return;
    }
    let mut world = shared_world();
    let mut trees = Vec::new();
    for share in ways(&world) {
        let store = Store::open(world.dir.path().join(share.as_str())).unwrap();
        world.store = store.with_share(share);
        let first = world
            .build_with(&world.plan().unwrap(), &mut scripts)
            .unwrap();
        let made = tree(first.root());
        assert_eq!(made["usr/bin/extra"].4, b"extra and more", "{share:?}");
        assert_eq!(made["usr/bin/tool"].0 & 0o7777, 0o4711);
        assert!(!made.contains_key("usr/lib/library") && !made.contains_key("usr/share/moved"));
        assert!(!made.contains_key("usr/share/old/file"));
        assert_eq!(made["usr/share/there"].4, b"moved");
        assert_eq!(made["usr/share/once"].0 & 0o7777, 0o600, "{share:?}");
        let at = |image: &Image, path: &str| inode(&image.root().join(path));
        assert_eq!(at(&first, "usr/share/once"), at(&first, "usr/share/twice"));
        assert_eq!(
            at(&first, "usr/share/again"),
            at(&first, "usr/share/old/new")
        );
        // What is kept has the packages' bytes, whatever scripts did.
        let kept = kept_bytes(&world.store);
        let contents: Vec<&[u8]> = kept.values().map(|entry| entry.4.as_slice()).collect();
        for content in ["extra", "library", "tool", "moved", "once", "old"] {
            assert!(contents.contains(&content.as_bytes()), "{content}");
        }
        // Again, without the archives: nothing is fetched, nothing is unpacked.
        world.store.remove_image(first.digest()).unwrap();
        std::fs::remove_dir_all(world.store.root().join("packages")).unwrap();
        let before = world.server.count(".deb");
        let plan = world.plan().unwrap();
        assert_eq!(plan.to_fetch(), (0, 0));
        assert!(plan.to_string().contains(share.as_str()), "{plan}");
        let again = world.build_with(&plan, &mut scripts).unwrap();
        assert_eq!(world.server.count(".deb"), before);
        assert_eq!(tree(again.root()), made, "{share:?}");
        assert_eq!(kept_bytes(&world.store), kept);
        let linked = std::fs::metadata(again.root().join("usr/share/there")).unwrap();
        assert!(linked.nlink() == 1, "moved by a script: {share:?}");
        let conf = std::fs::metadata(again.root().join("etc/tool.conf")).unwrap();
        assert_eq!(conf.nlink() > 1, share == Share::Link);
        trees.push((share, made));
    }
    for (share, made) in &trees {
        let differ: Vec<_> = made
            .iter()
            .filter(|(path, entry)| trees[0].1.get(*path) != Some(entry))
            .collect();
        assert!(
            differ.is_empty() && made.len() == trees[0].1.len(),
            "{share:?}: {differ:?}"
        );
    }
}

#[test]
fn an_image_on_another_shares_its_files_and_never_changes_them() {
    if needs_root("an_image_on_another_shares_its_files_and_never_changes_them") {
        return;
    }
    let mut world = shared_world();
    world.store = world.store.with_share(Share::Link);
    world.include(&[]);
    let base = world
        .build_with(&world.plan().unwrap(), &mut scripts)
        .unwrap();
    let before = tree(base.root());
    world.include(&["extra", "many"]);
    let plan = world.plan_at(now(), Way::Reuse, Dry::MayCache).unwrap();
    assert!(plan.base().is_some());
    let image = world.build_with(&plan, &mut scripts).unwrap();
    let at = |image: &Image, path: &str| inode(&image.root().join(path));
    assert_eq!(at(&base, "etc/tool.conf"), at(&image, "etc/tool.conf"));
    // Changed by a script in one of them.
    assert_ne!(at(&base, "usr/bin/tool"), at(&image, "usr/bin/tool"));
    assert_eq!(tree(base.root()), before);
    // Only what is missing was unpacked for it.
    let stat = |image: &Image| {
        std::fs::metadata(image.root().join("usr/bin/tool"))
            .unwrap()
            .mode()
            & 0o7777
    };
    assert_eq!((stat(&base), stat(&image)), (0o755, 0o4711));
    // Removing one leaves the other.
    world.store.remove_image(base.digest()).unwrap();
    assert_eq!(
        std::fs::read(image.root().join("etc/tool.conf")).unwrap(),
        b"setting\n"
    );
}

#[test]
fn what_would_change_a_shared_file_later_parts_it_first() {
    if needs_root("what_would_change_a_shared_file_later_parts_it_first") {
        return;
    }
    // Files later than the archive: their time is set back, in the tree and not in what is kept.
    let late = now() + 500_000;
    let future = |b: DebBuilder| {
        b.mtime(late)
            .file("./usr/share/late", "late", 0o644)
            .hardlink("./usr/share/later", "./usr/share/late")
    };
    let mut world = world_of(
        base().package(package("future", future)),
        &TestKey::sound("archive").unwrap(),
    );
    world.store = world.store.with_share(Share::Link);
    world.include(&["future"]);
    let plan = world.plan().unwrap();
    let image = world.build(&plan).unwrap();
    let stat = |path: &str| std::fs::metadata(image.root().join(path)).unwrap();
    assert_eq!(stat("usr/share/late").mtime(), plan.epoch() as i64);
    assert_eq!(stat("usr/share/late").ino(), stat("usr/share/later").ino());
    assert_eq!(stat("usr/share/late").nlink(), 2);
    let kept = kept_bytes(&world.store);
    assert!(
        kept.values()
            .any(|entry| entry.3 == late as i64 && entry.4 == b"late"),
        "{kept:?}"
    );
}

#[test]
fn a_damaged_package_is_unpacked_anew() {
    if needs_root("a_damaged_package_is_unpacked_anew") {
        return;
    }
    let world = shared_world();
    let plan = world.plan().unwrap();
    let image = world.build_with(&plan, &mut scripts).unwrap();
    let (made, kept) = (tree(image.root()), kept_bytes(&world.store));
    let open = |sha256: &[u8; 32]| {
        let dir = jaula_sys::tree::Dir::open(&world.store.unpacked_path(sha256)).unwrap();
        Kept::open(dir).unwrap()
    };
    let damage: [&dyn Fn(&Path); 5] = [
        &|dir| {
            let mut index = std::fs::read(dir.join("index")).unwrap();
            let middle = index.len() / 2;
            index[middle] ^= 1;
            std::fs::write(dir.join("index"), index).unwrap();
        },
        &|dir| std::fs::write(dir.join("index"), "").unwrap(),
        &|dir| std::fs::remove_file(content(dir)).unwrap(),
        // A new inode: the image has the old one.
        &|dir| {
            let content = content(dir);
            std::fs::remove_file(&content).unwrap();
            std::fs::write(content, "longer than it was").unwrap();
        },
        &|dir| {
            let content = content(dir);
            std::fs::remove_file(&content).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", content).unwrap();
        },
    ];
    for (number, damage) in damage.iter().enumerate() {
        world.store.remove_image(image.digest()).unwrap();
        for package in &plan.lock().packages {
            damage(&world.store.unpacked_path(&package.sha256));
            assert!(open(&package.sha256).is_none(), "damage {number}");
        }
        let again = world.plan().unwrap();
        let image = world.build_with(&again, &mut scripts).unwrap();
        assert_eq!(tree(image.root()), made, "damage {number}");
        assert_eq!(kept_bytes(&world.store), kept, "damage {number}");
    }
}

/// A content of a kept package.
fn content(dir: &Path) -> std::path::PathBuf {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "index")
        .collect();
    names.sort();
    dir.join(&names[0])
}

#[test]
fn a_failed_script_does_not_make_packages_be_unpacked_again() {
    if needs_root("a_failed_script_does_not_make_packages_be_unpacked_again") {
        return;
    }
    let world = shared_world();
    let plan = world.plan().unwrap();
    let fails: Runner<'_> = &mut |_, _| Ok(Status::Exited(1));
    world.build_with(&plan, fails).unwrap_err();
    assert!(
        std::fs::read_dir(world.store.root().join("stages"))
            .unwrap()
            .next()
            .is_none()
    );
    for package in &plan.lock().packages {
        assert!(
            world.store.has_unpacked(&package.sha256),
            "{}",
            package.name
        );
    }
    world.build_with(&plan, &mut scripts).unwrap();
}
