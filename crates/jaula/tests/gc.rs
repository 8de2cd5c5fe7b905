//! What is unpacked once is used again, with the same bytes, and goes with `jaula gc`: as root and as an ordinary user.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests start programs; the rule is for the program itself"
)]

mod mirror;
mod who;

use jaula_testkit::skip;
use mirror::{Web, assert_gone};
use std::fs;
use who::everyone;

#[test]
fn from_unpacked_packages_come_the_same_bytes_until_they_are_collected() {
    everyone(|user| {
        let web = match Web::start(&["nginx-light"]) {
            Ok(web) => web,
            Err(reason) => skip!("{reason}"),
        };
        let store = user.place.path().join("store");
        assert!(!store.join("unpacked").exists());
        let words = |out: &'static str| {
            let mut words = vec!["build", "debian:bookworm", "--variant", "essential", "-q"];
            words.extend(["-o", out, "--tag", "kept"]);
            words
        };
        web.run(user, &words("first.tar")).expect(0);
        let first = fs::read(user.place.work().join("first.tar")).unwrap();
        let requests = web.packages().len();
        assert!(requests > 50);
        // An image that is tagged, and what it was made of, stay; and so it can be made again without its archives.
        user.place.run(&["gc"]).expect(0);
        user.place.run(&["image", "rm", "kept"]).expect(0);
        fs::remove_dir_all(store.join("packages")).unwrap();
        let again = web.run(user, &words("second.tar")).expect(0);
        assert_eq!(again.stderr, "");
        assert_eq!(web.packages().len(), requests);
        let second = fs::read(user.place.work().join("second.tar")).unwrap();
        assert!(first == second, "the bytes differ");
        assert!(!store.join("packages/sha256").exists());
        // Without the image nothing needs them.
        user.place.run(&["image", "rm", "kept"]).expect(0);
        let before = disk(&store);
        assert!(before > 50 << 20, "{before}");
        let plan = user.place.run(&["gc", "--plan"]).expect(0);
        assert!(
            plan.stdout.contains("nothing needs it\n"),
            "{}",
            plan.stdout
        );
        let told = user.place.run(&["gc", "--json"]).expect(0);
        let told: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
        let freed = told["freed"].as_u64().unwrap();
        let left = disk(&store);
        assert!(left < 40 << 20 && freed > 50 << 20, "{left} {freed}");
        assert!(
            freed.abs_diff(before - left) < 1 << 20,
            "{freed}, {before} to {left}"
        );
        let packages = fs::read_dir(store.join("unpacked")).unwrap();
        assert_eq!(packages.count(), 0);
        user.place.run(&["gc", "--keep-bytes", "0"]).expect(0);
        assert!(disk(&store) < 1 << 20, "indices went");
        assert_gone(user.place.path());
    });
}

/// Bytes on disk, each inode once.
fn disk(root: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let (mut sum, mut seen) = (0, std::collections::HashSet::new());
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.path().symlink_metadata() else {
                continue;
            };
            if seen.insert(meta.ino()) {
                sum += meta.blocks() * 512;
            }
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    sum
}
