//! The store: an image is there whole or not at all, whatever happens to whoever makes it.
#![allow(
    clippy::disallowed_methods,
    reason = "a test starts itself again and tells the child what to do"
)]

use jaula_engine::fault::{Faults, Mode};
use jaula_engine::store::{Begin, Manifest, Stage, Store, StoreError};
use jaula_engine::{Kind, recover};
use jaula_plan::names::{Digest, Tag};
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec, Reference, Variant};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Fallible = Result<(), Box<dyn std::error::Error>>;

/// What a child is to do, when this process is one.
const CHILD: &str = "JAULA_TEST_STORE_CHILD";

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn spec() -> Result<ImageSpec, jaula_plan::names::NameError> {
    Ok(ImageSpec {
        distro: "debian".parse()?,
        suite: Some("bookworm".parse()?),
        options: ImageOptions::default(),
    })
}

/// Everything the store holds, apart from the directories of its layout and the builders' locks.
fn facts(store: &Store) -> BTreeSet<String> {
    fn walk(base: &Path, at: &Path, facts: &mut BTreeSet<String>) {
        for entry in fs::read_dir(at).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path
                .strip_prefix(base)
                .unwrap_or(&path)
                .display()
                .to_string();
            let meta = fs::symlink_metadata(&path);
            let what = match &meta {
                Ok(meta) if meta.is_symlink() => {
                    format!("-> {:?}", fs::read_link(&path).unwrap_or_default())
                }
                Ok(meta) if meta.is_file() => format!("{:?}", fs::read(&path).unwrap_or_default()),
                Ok(_) => "/".to_owned(),
                Err(error) => error.to_string(),
            };
            if name.contains('/') && !name.starts_with("locks/") {
                facts.insert(format!("{name} {what}"));
            }
            if meta.is_ok_and(|meta| meta.is_dir()) {
                walk(base, &path, facts);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(store.root(), store.root(), &mut found);
    found
}

fn fill(stage: &Stage) -> Result<(), Box<dyn std::error::Error>> {
    let root = stage.root();
    fs::create_dir_all(root.join("etc/deep"))?;
    stage.point()?;
    fs::write(root.join("etc/os-release"), "ID=debian\n")?;
    stage.point()?;
    symlink("/etc/passwd", root.join("etc/link"))?;
    fs::hard_link(root.join("etc/os-release"), root.join("etc/deep/again"))?;
    Ok(())
}

/// What a builder does, with a small tree.
fn build(store: &Store, byte: u8) -> Result<jaula_engine::Image, Box<dyn std::error::Error>> {
    let tags = ["debian:bookworm".parse::<Tag>()?, "web".parse()?];
    match store.begin(&digest(byte))? {
        Begin::Ready(image) => Ok(image),
        Begin::Stage(stage) => {
            fill(&stage)?;
            let manifest = Manifest {
                distro: "debian".into(),
                packages: 3,
                created: 7,
                ..Manifest::default()
            };
            Ok(stage.publish(digest(byte), "lock\n", &manifest, &tags, Some(&spec()?))?)
        }
    }
}

/// Starts this test again as a child with a task; in the child, `task()` tells it.
fn child(test: &str, task: &str) -> Result<Child, Box<dyn std::error::Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(CHILD, task);
    Ok(command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?)
}

fn task() -> Option<Vec<String>> {
    Some(
        std::env::var(CHILD)
            .ok()?
            .split('|')
            .map(str::to_owned)
            .collect(),
    )
}

#[test]
fn an_image_is_found_by_digest_tag_and_request() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let store = Store::open(scratch.path().join("deep/store"))?;
    let distro = Reference::Distro {
        distro: "debian".parse()?,
        suite: Some("bookworm".parse()?),
    };
    assert_eq!(store.find(&distro)?, None);
    assert!(!store.root().exists(), "looking made something");
    let image = build(&store, 1)?;
    assert_eq!(store.find(&distro)?.as_ref(), Some(&image));
    assert_eq!(
        store.find(&Reference::Tag("web".parse()?))?.as_ref(),
        Some(&image)
    );
    assert_eq!(
        store.find(&Reference::Digest(digest(1)))?.as_ref(),
        Some(&image)
    );
    assert_eq!(store.find(&Reference::Tag("webby".parse()?))?, None);
    assert_eq!(
        store.by_request(&ImageSpec {
            options: ImageOptions {
                variant: Variant::Apt,
                ..ImageOptions::default()
            },
            ..spec()?
        })?,
        None
    );
    assert_eq!(
        fs::read_to_string(image.root().join("etc/os-release"))?,
        "ID=debian\n"
    );
    let info = store.info(&digest(1))?;
    assert_eq!((info.packages, info.created, info.tags.len()), (3, 7, 2));
    assert!(info.size >= 4096);
    assert_eq!(store.lock_text(&digest(1))?, "lock\n");
    for name in [
        "", "images", "tags", "stages", "journal", "requests", "locks",
    ] {
        assert_eq!(
            fs::metadata(store.root().join(name))?.mode() & 0o777,
            0o700,
            "{name}"
        );
    }
    assert_eq!(fs::read_dir(store.root().join("journal"))?.count(), 0);
    assert_eq!(fs::read_dir(store.root().join("locks"))?.count(), 0);
    Ok(())
}

#[test]
fn a_stage_that_is_dropped_leaves_nothing() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let store = Store::open(scratch.path().join("store"))?;
    build(&store, 1)?;
    let before = facts(&store);
    match store.begin(&digest(2))? {
        Begin::Ready(_) => return Err("there is no such image".into()),
        Begin::Stage(stage) => fill(&stage)?,
    }
    assert_eq!(facts(&store), before);
    Ok(())
}

#[test]
fn a_tag_moves_at_once_and_a_removed_image_takes_its_names_along() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let store = Store::open(scratch.path().join("store"))?;
    build(&store, 1)?;
    let before = facts(&store);
    build(&store, 2)?;
    let web: Tag = "web".parse()?;
    assert_eq!(
        store.by_tag(&web)?.map(|image| *image.digest()),
        Some(digest(2))
    );
    let steps = store.plan_remove(&digest(2))?;
    assert_eq!(steps.len(), 3, "{steps:?}");
    // While something runs from it, it stays.
    let held = store.image(&digest(2))?.ok_or("gone")?.hold()?;
    assert!(matches!(
        store.remove_image(&digest(2)),
        Err(StoreError::Running { .. })
    ));
    drop(held);
    store.remove_image(&digest(2))?;
    assert_eq!(store.by_tag(&web)?, None);
    assert!(matches!(
        store.remove_image(&digest(2)),
        Err(StoreError::NoImage { .. })
    ));
    store.label(
        &digest(1),
        &["web".parse()?, "debian:bookworm".parse()?],
        Some(&spec()?),
    )?;
    assert_eq!(facts(&store), before);
    store.untag(&web)?;
    store.untag(&web)?;
    assert_eq!(store.tags()?.len(), 1);
    assert!(matches!(
        store.label(&digest(9), &[web], None),
        Err(StoreError::NoImage { .. })
    ));
    Ok(())
}

#[test]
fn garbage_is_skipped_and_noted() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let store = Store::open(scratch.path().join("store"))?;
    build(&store, 1)?;
    let root = store.root();
    fs::create_dir_all(root.join("images/not a digest"))?;
    fs::create_dir_all(root.join(format!("images/{}", digest(5))))?;
    fs::create_dir_all(root.join(format!("images/{}/root", digest(6))))?;
    fs::write(
        root.join(format!("images/{}/manifest.json", digest(6))),
        b"{\"version\":\xff",
    )?;
    symlink("/etc", root.join("tags/evil"))?;
    symlink("loop", root.join("tags/loop"))?;
    fs::write(root.join("tags/file"), "x")?;
    fs::create_dir_all(root.join("jails/..hidden"))?;
    fs::create_dir_all(root.join("jails/half"))?;
    fs::create_dir_all(root.join("run"))?;
    fs::write(root.join("run/odd.json"), "[]")?;
    fs::write(root.join("journal/README"), "not ours")?;
    fs::write(
        root.join("journal").join("a".repeat(32)),
        b"\xff\xff\n{\"intent\":\"create\",\"path\":\"2f\"}\n",
    )?;
    fs::create_dir_all(root.join("stages/kept by somebody"))?;
    let (images, notes) = store.images()?;
    assert_eq!(images.len(), 1);
    assert!(notes.len() >= 4, "{notes:?}");
    assert!(store.find(&Reference::Tag("evil".parse()?))?.is_none());
    assert!(store.find(&Reference::Tag("file".parse()?))?.is_none());
    build(&store, 2)?;
    assert!(root.join("stages/kept by somebody").exists() && root.join("journal/README").exists());
    assert!(
        !root.join("journal").join("a".repeat(32)).exists(),
        "a dead journal stays for ever"
    );
    Ok(())
}

#[test]
fn a_store_that_others_can_write_is_refused() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("store");
    fs::create_dir(&path)?;
    fs::set_permissions(&path, PermissionsExt::from_mode(0o777))?;
    assert!(matches!(
        Store::open(&path),
        Err(StoreError::NotOurs { .. })
    ));
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
    Store::open(&path)?;
    fs::write(scratch.path().join("file"), "")?;
    assert!(Store::open(scratch.path().join("file")).is_err());
    Ok(())
}

/// A builder that fails after every possible number of points leaves what was there before, or the whole image.
#[test]
fn a_failure_at_any_point_leaves_all_or_nothing() -> Fallible {
    for point in 0..100 {
        let scratch = tempfile::tempdir()?;
        let store = Store::open(scratch.path().join("store"))?;
        build(&store, 1)?;
        let before = facts(&store);
        let faults = Arc::new(Faults::after(point, Mode::Fail));
        let built = build(&store.clone().with_faults(faults.clone()), 2);
        if !faults.struck() {
            built?;
            assert!(point > 10, "only {point} points were passed");
            return Ok(());
        }
        all_or_nothing(&store, &before, &format!("point {point}"))?;
    }
    Err("a build passes no end of points".into())
}

/// The same when it is killed there: the next change heals.
#[test]
fn a_kill_at_any_point_leaves_all_or_nothing() -> Fallible {
    if let Some(task) = task() {
        let [root, point] = task.as_slice() else {
            return Err("no task".into());
        };
        let faults = Arc::new(Faults::after(point.parse()?, Mode::Kill));
        build(&Store::open(root)?.with_faults(faults), 2)?;
        return Ok(());
    }
    for point in 0..100 {
        let scratch = tempfile::tempdir()?;
        let store = Store::open(scratch.path().join("store"))?;
        build(&store, 1)?;
        let before = facts(&store);
        let task = format!("{}|{point}", store.root().display());
        let status = child("a_kill_at_any_point_leaves_all_or_nothing", &task)?.wait()?;
        if status.success() {
            assert!(point > 10, "only {point} points were passed");
            return Ok(());
        }
        assert_eq!(status.signal(), Some(9), "point {point}: {status}");
        let (_, errors) = recover::recover(&store)?;
        assert!(errors.is_empty(), "{errors:?}");
        all_or_nothing(&store, &before, &format!("point {point}"))?;
    }
    Err("a build passes no end of points".into())
}

fn all_or_nothing(store: &Store, before: &BTreeSet<String>, when: &str) -> Fallible {
    let after = facts(store);
    if store.image(&digest(2))?.is_none() {
        assert_eq!(&after, before, "{when}");
    } else {
        let is_image = |fact: &String| fact.starts_with(&format!("images/{}", digest(2)));
        // The image is whole, and each name is the old one or the new one.
        assert_eq!(
            after.iter().filter(|fact| is_image(fact)).count(),
            9,
            "{when}: {after:?}"
        );
        let is_name = |fact: &&String| fact.starts_with("tags/") || fact.starts_with("requests/");
        let rest = |facts: &BTreeSet<String>| {
            facts
                .iter()
                .filter(|fact| !is_image(fact) && !is_name(fact))
                .cloned()
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(rest(&after), rest(before), "{when}");
        assert_eq!(after.iter().filter(is_name).count(), 3, "{when}: {after:?}");
    }
    // And the next one works.
    assert_eq!(*build(store, 2)?.digest(), digest(2), "{when}");
    Ok(())
}

/// Many builders, killed at random moments while they work in the same store.
#[test]
fn builders_killed_at_random_leave_nothing() -> Fallible {
    if let Some(task) = task() {
        let store = Store::open(task.first().ok_or("no task")?)?;
        for byte in 10..250 {
            build(&store, byte)?;
            store
                .remove_image(&digest(byte))
                .or_else(|error| match error {
                    StoreError::NoImage { .. } | StoreError::Io(_) => Ok(()),
                    error => Err(error),
                })?;
        }
        return Ok(());
    }
    let scratch = tempfile::tempdir()?;
    let store = Store::open(scratch.path().join("store"))?;
    build(&store, 1)?;
    let end = Instant::now() + Duration::from_secs(3);
    let mut killed = 0u64;
    while Instant::now() < end {
        let task = store.root().display().to_string();
        let name = "builders_killed_at_random_leave_nothing";
        let mut both = [child(name, &task)?, child(name, &task)?];
        std::thread::sleep(Duration::from_micros(5_000 + killed * 7_919 % 60_000));
        for one in &mut both {
            one.kill()?;
            killed += u64::from(one.wait()?.signal() == Some(9));
        }
    }
    assert!(killed > 20, "{killed}");
    let (_, errors) = recover::recover(&store)?;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(
        recover::leftovers(&store)?,
        Vec::<std::path::PathBuf>::new()
    );
    assert_eq!(fs::read_dir(store.root().join("stages"))?.count(), 0);
    assert_eq!(fs::read_dir(store.root().join("journal"))?.count(), 0);
    for (image, _) in store.images()?.0.into_iter().map(|info| (info.digest, ())) {
        assert_eq!(store.lock_text(&image)?, "lock\n");
    }
    build(&store, 2)?;
    Ok(())
}

/// Two at once of the same missing image build it once.
#[test]
fn the_same_image_is_built_once() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let store = Store::open(scratch.path().join("store"))?;
    let built = std::sync::atomic::AtomicU32::new(0);
    let outcomes: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let work = || {
            match store.begin(&digest(3)).map_err(|error| error.to_string())? {
                Begin::Ready(image) => assert!(image.root().join("etc/os-release").exists()),
                Begin::Stage(stage) => {
                    fill(&stage).map_err(|error| error.to_string())?;
                    std::thread::sleep(Duration::from_millis(20));
                    built.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    let published =
                        stage.publish(digest(3), "lock\n", &Manifest::default(), &[], None);
                    published.map_err(|error| error.to_string())?;
                }
            }
            Ok(())
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err("panicked".into())))
            .collect()
    });
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(built.load(std::sync::atomic::Ordering::SeqCst), 1);
    Ok(())
}

/// A builder that works holds its stage; a recovery beside it takes nothing away.
#[test]
fn recovery_leaves_the_living_alone() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let store = Store::open(scratch.path().join("store"))?;
    let Begin::Stage(stage) = store.begin(&digest(4))? else {
        return Err("there is no such image".into());
    };
    fill(&stage)?;
    assert_eq!(
        recover::leftovers(&store)?,
        Vec::<std::path::PathBuf>::new()
    );
    recover::recover(&store)?;
    assert!(stage.root().join("etc/os-release").exists());
    stage.publish(digest(4), "lock\n", &Manifest::default(), &[], None)?;
    Ok(())
}

/// A store on a file system that fills up: a clear error, nothing half-made, and it works when there is room.
#[test]
fn a_full_disk_leaves_nothing() {
    jaula_testkit::kernel_test!(Mounts);
    let scratch = tempfile::tempdir().expect("a directory");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "none"])
        .arg(scratch.path())
        .status();
    assert!(mounted.is_ok_and(|status| status.success()));
    let store = Store::open(scratch.path().join("store")).expect("opens");
    build(&store, 1).expect("a small image fits");
    let before = facts(&store);
    let Ok(Begin::Stage(stage)) = store.begin(&digest(2)) else {
        panic!("no stage")
    };
    let error =
        fs::write(stage.root().join("big"), vec![1u8; 4 << 20]).expect_err("it does not fit");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let error = stage
        .publish(
            digest(2),
            &"x".repeat(1 << 20),
            &Manifest::default(),
            &[],
            None,
        )
        .expect_err("full");
    assert_eq!(error.kind(), Kind::DiskFull, "{error}");
    assert!(!error.hints().is_empty());
    assert_eq!(facts(&store), before);
    build(&store, 2).expect("there is room again");
}

/// What is mounted beneath a tree that is removed stays as it is, and is named.
#[test]
fn a_mounted_canary_survives_removal() {
    jaula_testkit::kernel_test!(Mounts);
    let scratch = tempfile::tempdir().expect("a directory");
    let base = scratch.path();
    fs::create_dir_all(base.join("canary/deep")).expect("made");
    fs::write(base.join("canary/deep/file"), "sings").expect("written");
    for at in ["tree/a/mnt", "tree/b"] {
        fs::create_dir_all(base.join(at)).expect("made");
    }
    fs::write(base.join("tree/b/file"), "").expect("written");
    fs::write(base.join("tree/b/other"), "goes").expect("written");
    let mount = |from: &str, to: &str| {
        let done = Command::new("mount")
            .arg("--bind")
            .arg(base.join(from))
            .arg(base.join(to))
            .status();
        assert!(done.is_ok_and(|status| status.success()));
    };
    mount("canary", "tree/a/mnt");
    mount("canary/deep/file", "tree/b/file");
    let dir = jaula_sys::dir::Dir::open(base).expect("opens");
    let error =
        jaula_engine::remove::tree(&dir, "tree".as_ref()).expect_err("a mount stands against it");
    assert!(
        matches!(error, jaula_engine::remove::RemoveError::Mounted { .. }),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(base.join("canary/deep/file")).expect("sings on"),
        "sings"
    );
    assert!(base.join("tree/a/mnt/deep/file").exists() && !base.join("tree/b/other").exists());
    for at in ["tree/a/mnt", "tree/b/file"] {
        assert!(
            Command::new("umount")
                .arg(base.join(at))
                .status()
                .is_ok_and(|status| status.success())
        );
    }
    jaula_engine::remove::tree(&dir, "tree".as_ref()).expect("nothing is mounted any more");
    assert!(!base.join("tree").exists());
}

/// The way of every run: no lock, a link read and its target looked at.
#[test]
fn finding_an_image_takes_microseconds() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let store = Store::open(scratch.path().join("store"))?;
    build(&store, 1)?;
    let distro = Reference::Distro {
        distro: "debian".parse()?,
        suite: Some("bookworm".parse()?),
    };
    let mut best = Duration::MAX;
    for _ in 0..200 {
        let start = Instant::now();
        let found = Store::open(store.root())?.find(&distro)?;
        best = best.min(start.elapsed());
        assert!(found.is_some());
    }
    assert!(best < Duration::from_micros(300), "{best:?}");
    println!("found in {best:?}");
    Ok(())
}
