//! What goes from the store, and what stays, whatever else is done in it at that time.
#![allow(
    clippy::disallowed_methods,
    reason = "a test starts itself again and tells the child what to do"
)]

use jaula_engine::fault::{Faults, Mode};
use jaula_engine::store::{Begin, GcSpec, Manifest, Store};
use jaula_engine::{Config, Dry, Engine, Event, Image, Phase, Silent, recover};
use jaula_plan::names::{Digest, Tag};
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec, Variant, Want};
use jaula_plan::spec::source::SourceOptions;
use jaula_repo::lock::{Lock, LockPackage, LockSource, Role};
use jaula_testkit::{DebBuilder, RepoBuilder, Server, TestKey};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

type Fallible<T = ()> = Result<T, Box<dyn std::error::Error>>;

const CHILD: &str = "JAULA_TEST_GC_CHILD";

/// A package of every kind of use: its number is every byte of its SHA-256.
fn hex(byte: u8) -> String {
    Digest([byte; 32]).to_string()
}

fn lock(packages: &[u8]) -> Lock {
    Lock {
        distribution: "debian".into(),
        arch: "amd64".into(),
        variant: "minbase".into(),
        sources: vec![LockSource {
            date: 1,
            uri: "http://localhost".into(),
            suite: "bookworm".into(),
            components: "main".into(),
            release_sha256: [1; 32],
        }],
        packages: packages
            .iter()
            .map(|byte| LockPackage {
                name: format!("package{byte}"),
                version: "1".into(),
                arch: "amd64".into(),
                size: 1,
                sha256: [*byte; 32],
                source: 0,
                path: format!("pool/package{byte}.deb"),
                role: Role::Requested,
            })
            .collect(),
    }
}

/// An image of these packages, with a file of its own and one of each package.
fn image(
    store: &Store,
    byte: u8,
    tag: Option<&str>,
    asked: bool,
    packages: &[u8],
) -> Fallible<Image> {
    let Begin::Stage(stage) = store.begin(&Digest([byte; 32]))? else {
        return Err("it is there".into());
    };
    fs::write(stage.root().join("own"), vec![byte; 50_000])?;
    for package in packages {
        let name = format!("of-{package}");
        fs::hard_link(unpacked(store, *package).join("0"), stage.root().join(name))?;
    }
    let tags: Vec<Tag> = tag
        .iter()
        .map(|tag| tag.parse())
        .collect::<Result<_, _>>()?;
    let spec = ImageSpec {
        distro: "debian".parse()?,
        suite: Some(format!("suite{byte}").parse()?),
        options: ImageOptions::default(),
    };
    let spec = asked.then_some(&spec);
    let manifest = Manifest::default();
    Ok(stage.publish(
        Digest([byte; 32]),
        &lock(packages).to_string(),
        &manifest,
        &tags,
        spec,
    )?)
}

fn unpacked(store: &Store, byte: u8) -> std::path::PathBuf {
    store.root().join("unpacked").join(hex(byte))
}

fn package(store: &Store, byte: u8) -> Fallible {
    let path = store.package_path(&[byte; 32]);
    fs::create_dir_all(path.parent().unwrap_or(&path))?;
    fs::write(&path, vec![byte; 20_000])?;
    let dir = unpacked(store, byte);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("index"), "index")?;
    fs::write(dir.join("0"), vec![byte; 100_000])?;
    Ok(())
}

/// Images 1 (tagged), 2 (asked for) and 3 (nothing leads to it), of packages 11, 12 and 13; nobody needs package 14.
fn filled(root: &Path) -> Fallible<Store> {
    let store = Store::open(root)?;
    for byte in 11..=14 {
        package(&store, byte)?;
    }
    image(&store, 1, Some("kept"), true, &[11])?;
    image(&store, 2, None, true, &[11, 12])?;
    image(&store, 3, None, false, &[13])?;
    for (dir, name, text) in [
        ("packages/part", hex(21), "half"),
        (
            "releases",
            hex(31),
            &*format!("SHA256:\n {} 1 main/x\n", hex(32)),
        ),
        ("indices", hex(32), "current"),
        ("indices", hex(33), "of an older release"),
    ] {
        let dir = store.made(dir)?;
        fs::write(dir.join(name), text)?;
    }
    symlink(
        format!("../images/{}", hex(99)),
        store.made("requests")?.join("nowhere"),
    )?;
    Ok(store)
}

/// What there is, by short names.
fn there(store: &Store) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (dir, short) in [
        ("images", "image"),
        ("unpacked", "unpacked"),
        ("packages/part", "part"),
        ("indices", "index"),
        ("releases", "release"),
        ("requests", "request"),
        ("tags", "tag"),
        ("stages", "stage"),
        ("journal", "journal"),
    ] {
        for entry in fs::read_dir(store.root().join(dir))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = u8::from_str_radix(name.get(..2).unwrap_or_default(), 16);
            found.insert(match number {
                Ok(number) if name.len() == 64 => format!("{short} {number}"),
                _ => format!("{short} {name}"),
            });
        }
    }
    for byte in 11..=14 {
        if store.package(&[byte; 32]).is_some() {
            found.insert(format!("package {byte}"));
        }
    }
    found
}

/// Bytes on disk, each inode once.
fn disk(root: &Path) -> u64 {
    fn walk(dir: &Path, seen: &mut HashSet<u64>) -> u64 {
        let mut sum = 0;
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = fs::symlink_metadata(entry.path()) else {
                continue;
            };
            if seen.insert(meta.ino()) {
                sum += meta.blocks() * 512;
            }
            if meta.is_dir() {
                sum += walk(&entry.path(), seen);
            }
        }
        sum
    }
    let own = fs::metadata(root).map_or(0, |meta| meta.blocks() * 512);
    own + walk(root, &mut HashSet::new())
}

fn gone<'a>(before: &'a BTreeSet<String>, after: &'a BTreeSet<String>) -> Vec<&'a str> {
    before.difference(after).map(String::as_str).collect()
}

#[test]
fn what_nothing_needs_goes_and_the_rest_stays() -> Fallible {
    let dir = tempfile::tempdir()?;
    let store = filled(&dir.path().join("store"))?;
    let (before, full) = (there(&store), disk(store.root()));
    let plan = store.plan_gc(&GcSpec::default())?;
    assert_eq!(there(&store), before, "planning removed something");
    assert_eq!(plan.before, full);
    let done = store.gc(&GcSpec::default())?;
    let after = there(&store);
    assert_eq!(
        gone(&before, &after),
        [
            "image 3",
            "index 33",
            "package 14",
            "part 21",
            "request nowhere",
            "unpacked 14"
        ]
    );
    assert!(after.is_subset(&before), "{after:?}");
    assert_eq!(done.garbage.len(), 6, "{done}");
    // The contents that image 3 shares with package 13 are still that package's. What a directory of the store's own
    // layout takes may change by some blocks.
    let really = full - disk(store.root());
    let freed = done.freed();
    assert!(
        freed.abs_diff(really) <= 4 * 4096 && freed > 150_000,
        "{freed} {really}"
    );
    assert!(
        freed < 150_000 + 20_000 + 100_000 + 50_000,
        "a shared file counted: {freed}"
    );
    // Now nobody needs 13 either.
    let done = store.gc(&GcSpec::default())?;
    let last = there(&store);
    assert_eq!(gone(&after, &last), ["package 13", "unpacked 13"]);
    assert!(done.freed() > 100_000, "the last name counts: {done}");
    assert!(store.gc(&GcSpec::default())?.garbage.is_empty());
    Ok(())
}

fn used(path: &Path, days: u64) -> Fallible {
    let time = SystemTime::now() - Duration::from_secs(days * 86_400);
    let times = fs::FileTimes::new().set_accessed(time).set_modified(time);
    Ok(fs::File::open(path)?.set_times(times)?)
}

#[test]
fn the_longest_unused_goes_first_until_the_bound_is_met() -> Fallible {
    let dir = tempfile::tempdir()?;
    let store = filled(&dir.path().join("store"))?;
    store.gc(&GcSpec::default())?;
    store.gc(&GcSpec::default())?;
    used(&store.package_path(&[11; 32]), 30)?;
    used(&store.package_path(&[12; 32]), 20)?;
    used(&unpacked(&store, 11).join("index"), 10)?;
    let before = there(&store);
    let spec = |keep_bytes, days: Option<u64>| GcSpec {
        keep_bytes,
        older_than: days.map(|days| Duration::from_secs(days * 86_400)),
    };
    // By age.
    let plan = store.plan_gc(&spec(None, Some(25)))?;
    let paths: Vec<_> = plan
        .garbage
        .iter()
        .map(|garbage| garbage.path.clone())
        .collect();
    assert_eq!(paths, [store.package_path(&[11; 32])]);
    // By size: a byte too many costs the oldest, and only that.
    let full = disk(store.root());
    assert!(store.plan_gc(&spec(Some(full), None))?.garbage.is_empty());
    let done = store.gc(&spec(Some(full - 1), None))?;
    assert_eq!(done.garbage.len(), 1, "{done}");
    assert_eq!(gone(&before, &there(&store)), ["package 11"]);
    // Nothing may stay that can go.
    let done = store.gc(&spec(Some(0), None))?;
    let last: Vec<String> = there(&store).into_iter().collect();
    assert_eq!(last.len(), 3, "{last:?}");
    assert!(
        last.contains(&"image 1".into()) && last.contains(&"tag kept".into()),
        "{last:?}"
    );
    assert!(
        done.notes.iter().any(|note| note.contains("stay")),
        "{done}"
    );
    // The image is whole, although its package is kept no longer.
    assert_eq!(
        fs::read(store.root().join("images").join(hex(1)).join("root/of-11"))?,
        vec![11; 100_000]
    );
    Ok(())
}

#[test]
fn what_somebody_uses_stays() -> Fallible {
    if std::env::var_os(CHILD).is_some() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let store = filled(&dir.path().join("store"))?;
    let before = there(&store);
    // Another process makes an image, and waits in the middle of it.
    let mut builder = Command::new(std::env::current_exe()?)
        .args(["--exact", "a_builder", "--nocapture", "--test-threads", "1"])
        .env(CHILD, store.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut heard = Vec::new();
    let mut out = builder.stdout.take().ok_or("no output")?;
    while !heard.ends_with(b"building\n") {
        let mut byte = [0];
        assert_ne!(
            out.read(&mut byte)?,
            0,
            "{}",
            String::from_utf8_lossy(&heard)
        );
        heard.extend(byte);
    }
    // And something runs from an image.
    let running = store.image(&Digest([2; 32]))?.ok_or("no image")?;
    let held = running.hold()?;
    let spec = GcSpec {
        keep_bytes: Some(0),
        older_than: None,
    };
    for spec in [GcSpec::default(), spec] {
        let done = store.gc(&spec)?;
        assert!(
            done.notes.iter().any(|note| note.contains("being made")),
            "{done}"
        );
        let after: BTreeSet<String> = there(&store)
            .into_iter()
            .filter(|name| !name.starts_with("stage") && !name.starts_with("journal"))
            .collect();
        assert_eq!(gone(&before, &after), ["image 3", "request nowhere"]);
    }
    // The builder goes on with what was there when it began.
    builder
        .stdin
        .take()
        .ok_or("no input")?
        .write_all(b"go on\n")?;
    assert!(builder.wait()?.success());
    assert!(store.image(&Digest([5; 32]))?.is_some());
    drop(held);
    store.gc(&spec)?;
    assert!(store.image(&Digest([2; 32]))?.is_none());
    assert!(store.package(&[14; 32]).is_none());
    Ok(())
}

/// The other process of [`what_somebody_uses_stays`].
#[test]
fn a_builder() -> Fallible {
    let Some(root) = std::env::var_os(CHILD) else {
        return Ok(());
    };
    let store = Store::open(root)?;
    let Begin::Stage(stage) = store.begin(&Digest([5; 32]))? else {
        return Err("it is there".into());
    };
    println!("building");
    std::io::stdin().read_line(&mut String::new())?;
    let package = store.package(&[14; 32]).ok_or("the package went")?;
    fs::copy(package, stage.root().join("copy"))?;
    fs::hard_link(unpacked(&store, 14).join("0"), stage.root().join("linked"))?;
    let lock = lock(&[14]).to_string();
    stage.publish(
        Digest([5; 32]),
        &lock,
        &Manifest::default(),
        &["built".parse()?],
        None,
    )?;
    Ok(())
}

#[test]
fn killed_at_any_step_the_store_is_sound() -> Fallible {
    if let Some(task) = std::env::var_os(CHILD) {
        let task = task.to_string_lossy().into_owned();
        let (points, root) = task.split_once('|').ok_or("no task")?;
        let faults = Arc::new(Faults::after(points.parse()?, Mode::Kill));
        Store::open(root)?
            .with_faults(faults)
            .gc(&GcSpec::default())?;
        return Ok(());
    }
    for points in 0..60 {
        let dir = tempfile::tempdir()?;
        let store = filled(&dir.path().join("store"))?;
        let before = there(&store);
        let status = Command::new(std::env::current_exe()?)
            .args([
                "--exact",
                "killed_at_any_step_the_store_is_sound",
                "--test-threads",
                "1",
            ])
            .env(CHILD, format!("{points}|{}", store.root().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        recover::recover(&store)?;
        let after = there(&store);
        let garbage: BTreeMap<&str, bool> = ["image 3", "index 33", "package 14", "part 21"]
            .into_iter()
            .chain(["request nowhere", "unpacked 14"])
            .map(|name| (name, after.contains(name)))
            .collect();
        for name in gone(&before, &after) {
            assert!(garbage.contains_key(name), "{name} went at {points}");
        }
        assert!(after.is_subset(&before), "{after:?} at {points}");
        // What is there is whole.
        for byte in 11..=14 {
            let dir = unpacked(&store, byte);
            assert_eq!(
                dir.exists(),
                dir.join("0").exists() && dir.join("index").exists()
            );
        }
        if status.success() {
            assert!(garbage.values().all(|there| !there), "{garbage:?}");
            assert!(points > 6, "the points were passed: {points}");
            return Ok(());
        }
        assert_eq!(status.signal(), Some(9), "at {points}");
        store.gc(&GcSpec::default())?;
        assert!(!there(&store).contains("package 14"));
    }
    Err("it never came to its end".into())
}

/// Collects, as another process would, at each event of somebody's fetching.
struct Collector {
    store: Store,
    notes: std::sync::Mutex<Vec<String>>,
}

impl jaula_engine::Observer for Collector {
    fn event(&self, event: Event) {
        if let Event::Progress {
            phase: Phase::Fetch,
            ..
        } = event
        {
            let spec = GcSpec {
                keep_bytes: Some(0),
                older_than: None,
            };
            let done = self.store.gc(&spec).expect("a collection");
            assert!(done.garbage.is_empty(), "{done}");
            self.notes.lock().expect("no panic").extend(done.notes);
        }
    }
}

#[test]
fn packages_stay_while_they_are_fetched_and_used() -> Fallible {
    let dir = tempfile::tempdir()?;
    let key = TestKey::sound("archive")?;
    let mut repo = RepoBuilder::new("bookworm");
    for name in ["one", "two", "three"] {
        repo = repo.package(DebBuilder::new(name, "1").build()?);
    }
    let repo = repo.write(dir.path(), &key)?;
    let server = Server::start(&repo.dir)?;
    let engine = Engine::open(Config::new(dir.path().join("store")))?;
    let wants = ["one", "two", "three"].map(|name| Want::any(name.parse().expect("a name")));
    let spec = ImageSpec {
        distro: "debian".parse()?,
        suite: Some("bookworm".parse()?),
        options: ImageOptions {
            arch: Some("amd64".parse()?),
            variant: Variant::Custom,
            include: wants.to_vec(),
            sources: SourceOptions {
                mirror: Some(server.url()),
                keyrings: vec![repo.keyring],
                ..SourceOptions::default()
            },
            ..ImageOptions::default()
        },
    };
    let plan = engine.plan_image(&spec, &Silent, Dry::MayCache)?;
    let collector = Collector {
        store: Store::open(dir.path().join("store"))?,
        notes: std::sync::Mutex::default(),
    };
    let fetched = engine.fetch_packages(&plan, &collector)?;
    let heard = collector.notes.lock().expect("no panic").len();
    assert!(heard >= 3, "a collection at each package: {heard}");
    let all = GcSpec {
        keep_bytes: Some(0),
        older_than: None,
    };
    // Fetched is not used yet.
    let done = collector.store.gc(&all)?;
    assert!(
        done.notes.iter().any(|note| note.contains("being made")),
        "{done}"
    );
    assert_eq!(fetched.paths.len(), 3);
    assert!(fetched.paths.iter().all(|path| path.is_file()));
    let paths = fetched.paths.clone();
    drop(fetched);
    collector.store.gc(&all)?;
    assert!(paths.iter().all(|path| !path.exists()));
    Ok(())
}
