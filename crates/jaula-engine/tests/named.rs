//! Named jails: made and removed whole or not at all; what is copied stays inside.

use jaula_engine::fault::{Faults, Mode};
use jaula_engine::named::{self, NamedError, Record};
use jaula_engine::spec::{ImageOptions, JailSettings, NewSpec};
use jaula_engine::store::Store;
use jaula_engine::{Kind, recover};
use jaula_plan::spec::rootfs::Reference;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Fallible = Result<(), Box<dyn std::error::Error>>;

fn record(name: &str, base: &Path) -> Result<Record, Box<dyn std::error::Error>> {
    let tree = base.join("tree");
    let spec = NewSpec {
        name: name.parse()?,
        from: Reference::Directory(tree.clone()),
        image: ImageOptions::default(),
        settings: JailSettings {
            hostname: Some("web.example".parse()?),
            ..JailSettings::default()
        },
    };
    Ok(Record::new(&spec, None, Some(tree)))
}

fn held(store: &Store, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.root().join(name))
        .into_iter()
        .flatten()
        .flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn a_jail_is_made_read_and_removed() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let store = Store::open(scratch.path().join("store"))?;
    let web = record("web", scratch.path())?;
    named::create(&store, &web)?;
    assert_eq!(named::record(&store, &web.name)?, web);
    assert_eq!(named::records(&store)?.0, std::slice::from_ref(&web));
    let view = serde_json::to_value(web.view(&store))?;
    assert_eq!(
        view.get("version").and_then(|version| version.as_u64()),
        Some(1)
    );
    assert_eq!(
        view.get("hostname").and_then(|name| name.as_str()),
        Some("web.example")
    );
    assert_eq!(
        fs::metadata(named::jail_dir(&store, &web.name))?.mode() & 0o777,
        0o700
    );
    assert!(matches!(
        named::create(&store, &web),
        Err(NamedError::Exists { .. })
    ));
    let error = named::record(&store, &"wib".parse()?)
        .err()
        .ok_or("there is no such jail")?;
    assert_eq!(
        (error.kind(), error.hints()),
        (Kind::NotFound, vec!["there are: web".to_owned()])
    );
    // Damaged settings do not stop the others, nor their own removal.
    named::create(&store, &record("bad", scratch.path())?)?;
    fs::write(store.root().join("jails/bad/jail.json"), "{")?;
    let (good, notes) = named::records(&store)?;
    assert_eq!((good.len(), notes.len()), (1, 1));
    named::remove(&store, &"bad".parse()?, None)?;
    named::remove(&store, &web.name, None)?;
    assert!(matches!(
        named::remove(&store, &web.name, None),
        Err(NamedError::NoSuchJail { .. })
    ));
    assert_eq!(held(&store, "jails"), Vec::<PathBuf>::new());
    assert_eq!(held(&store, "stages"), Vec::<PathBuf>::new());
    Ok(())
}

/// Making and removing fail after every possible number of points: the jail is there whole, or not at all.
#[test]
fn a_jail_is_made_and_removed_whole_or_not_at_all() -> Fallible {
    for removing in [false, true] {
        for point in 0..40 {
            let scratch = tempfile::tempdir()?;
            let store = Store::open(scratch.path().join("store"))?;
            let web = record("web", scratch.path())?;
            let faults = Arc::new(Faults::after(point, Mode::Fail));
            let faulty = store.clone().with_faults(faults.clone());
            let done = if removing {
                named::create(&store, &web)?;
                named::remove(&faulty, &web.name, None)
            } else {
                named::create(&faulty, &web)
            };
            if !faults.struck() {
                done?;
                assert!(point > 2, "only {point} points were passed");
                break;
            }
            match named::record(&store, &web.name) {
                Ok(found) => assert_eq!(found, web),
                Err(NamedError::NoSuchJail { .. }) => {
                    assert_eq!(held(&store, "jails"), Vec::<PathBuf>::new())
                }
                Err(error) => return Err(error.into()),
            }
            assert_eq!(
                held(&store, "stages"),
                Vec::<PathBuf>::new(),
                "removing {removing}, point {point}"
            );
            assert_eq!(
                held(&store, "journal"),
                Vec::<PathBuf>::new(),
                "removing {removing}, point {point}"
            );
            assert!(point < 39, "it passes no end of points");
        }
    }
    Ok(())
}

#[test]
fn an_entry_of_a_dead_process_is_stale_and_goes() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let store = Store::open(scratch.path().join("store"))?;
    let web = record("web", scratch.path())?;
    named::create(&store, &web)?;
    let run = store.made("run")?;
    let own = named::Running::of(std::process::id()).ok_or("this process runs")?;
    fs::write(run.join("web.json"), serde_json::to_vec(&own)?)?;
    assert_eq!(named::running(&store, &web.name), Some(own.clone()));
    assert!(matches!(
        named::remove(&store, &web.name, None),
        Err(NamedError::Running { .. })
    ));
    // The number is in use, but by somebody who started at another time.
    let other = named::Running {
        start_time: own.start_time + 1,
        ..own
    };
    fs::write(run.join("web.json"), serde_json::to_vec(&other)?)?;
    assert_eq!(named::running(&store, &web.name), None);
    assert_eq!(recover::leftovers(&store)?, [run.join("web.json")]);
    recover::recover(&store)?;
    assert!(!run.join("web.json").exists());
    named::remove(&store, &web.name, Some(own.pid))?;
    Ok(())
}

#[test]
fn a_jail_that_is_about_to_end_is_not_joined() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let store = Store::open(scratch.path().join("store"))?;
    let web = record("web", scratch.path())?;
    named::create(&store, &web)?;
    let run = store.made("run")?;
    // The keeper of a jail: it has seen the end of its input, and has not closed it yet.
    let pipe = run.join("web.pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status()?;
    assert!(made.success());
    let both = fs::File::options().read(true).write(true).open(&pipe)?;
    let mut jail = std::process::Command::new("sleep").arg("1000").spawn()?;
    let entry = named::Running::of(jail.id()).ok_or("it runs")?;
    fs::write(run.join("web.json"), serde_json::to_vec(&entry)?)?;
    let mut prepare = || Ok(());
    let mut plan = || Err("no jail is made in this test".to_owned());
    drop(named::join(&store, &web, &mut prepare, &mut plan)?);
    both.lock()?;
    // It is ended, and another would be started; not from a test with several threads.
    assert!(named::join(&store, &web, &mut prepare, &mut plan).is_err());
    assert!(!jail.wait()?.success());
    Ok(())
}

/// In and out of a jail whose layer and tree are full of links that lead out.
#[test]
fn copies_stay_inside() {
    jaula_testkit::kernel_test!(Mounts);
    let scratch = tempfile::tempdir().expect("a directory");
    let base = scratch.path();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(base)
        .status();
    assert!(mounted.is_ok_and(|status| status.success()));
    copies(base).expect("copies");
}

fn copies(base: &Path) -> Fallible {
    fs::create_dir_all(base.join("tree/etc"))?;
    fs::create_dir_all(base.join("tree/data/deep"))?;
    fs::create_dir_all(base.join("host/dir/sub"))?;
    fs::write(base.join("host/secret"), "host")?;
    fs::write(base.join("host/dir/sub/file"), "in")?;
    fs::set_permissions(
        base.join("host/dir/sub/file"),
        PermissionsExt::from_mode(0o6755),
    )?;
    fs::write(base.join("tree/etc/shadow"), "jail")?;
    fs::write(base.join("tree/data/deep/file"), "out")?;
    symlink(base.join("host"), base.join("tree/absolute"))?;
    symlink("../../../../../../../..", base.join("tree/up"))?;
    symlink("../etc", base.join("tree/data/etc"))?;
    let store = Store::open(base.join("store"))?;
    let web = record("web", base)?;
    named::create(&store, &web)?;
    let upper = named::jail_dir(&store, &web.name).join("upper");
    // In: into a directory, and under a new name.
    named::copy_in(
        &store,
        &web,
        None,
        &base.join("host/secret"),
        Path::new("/data"),
    )?;
    assert_eq!(fs::read_to_string(upper.join("data/secret"))?, "host");
    named::copy_in(
        &store,
        &web,
        None,
        &base.join("host/dir"),
        Path::new("data/etc/new"),
    )?;
    assert_eq!(fs::read_to_string(upper.join("etc/new/sub/file"))?, "in");
    assert_eq!(
        fs::metadata(upper.join("etc/new/sub/file"))?.mode() & 0o7777,
        0o755,
        "set-id bits were kept"
    );
    // Where the links lead inside the jail, and never where they lead on the host.
    let up = named::copy_in(
        &store,
        &web,
        None,
        &base.join("host/secret"),
        Path::new("/up/etc"),
    );
    up?;
    assert_eq!(fs::read_to_string(upper.join("etc/secret"))?, "host");
    assert!(
        named::copy_in(
            &store,
            &web,
            None,
            &base.join("host/dir"),
            Path::new("/absolute/evil")
        )
        .is_err()
    );
    assert!(!base.join("host/evil").exists());
    assert!(
        named::copy_out(
            &store,
            &web,
            None,
            Path::new("/absolute/secret"),
            &base.join("got")
        )
        .is_err()
    );
    named::copy_out(
        &store,
        &web,
        None,
        Path::new("../../../etc/shadow"),
        &base.join("got"),
    )?;
    assert_eq!(fs::read_to_string(base.join("got"))?, "jail");
    // Out: a directory, links as they are.
    named::copy_out(&store, &web, None, Path::new("/data"), &base.join("copied"))?;
    assert_eq!(fs::read_to_string(base.join("copied/deep/file"))?, "out");
    assert_eq!(fs::read_link(base.join("copied/etc"))?, Path::new("../etc"));
    // A directory is never merged into another, and nothing is left of the attempt.
    assert!(
        named::copy_out(
            &store,
            &web,
            None,
            Path::new("/data"),
            &base.join("nowhere/copied")
        )
        .is_err()
    );
    named::copy_out(&store, &web, None, Path::new("/data"), &base.join("copied"))?;
    assert!(named::copy_out(&store, &web, None, Path::new("/data"), &base.join("copied")).is_err());
    assert_eq!(fs::read_dir(base.join("copied"))?.count(), 4);
    // The tree beneath is as it was.
    assert!(!base.join("tree/data/secret").exists() && !base.join("tree/etc/new").exists());
    Ok(())
}
