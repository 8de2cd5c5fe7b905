//! Trees as archives and directories, and back: the same bytes each time, nothing half-made.

use jaula_engine::event::{Event, Observer};
use jaula_engine::export::{About, ExportError, ExportTarget, export};
use jaula_engine::fault::{Faults, Mode};
use jaula_engine::import;
use jaula_engine::store::Store;
use jaula_engine::{Kind, Silent};
use jaula_plan::step::Compression;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

type Fallible = Result<(), Box<dyn std::error::Error>>;

/// A tree with every kind of thing an image has.
fn tree(base: &Path) -> Fallible {
    let root = base.join("tree");
    fs::create_dir_all(root.join("usr/bin"))?;
    fs::create_dir_all(root.join("etc/empty"))?;
    fs::write(root.join("etc/os-release"), "ID=debian\n")?;
    fs::write(root.join("usr/bin/true"), vec![7u8; 100_000])?;
    fs::hard_link(root.join("usr/bin/true"), root.join("usr/bin/again"))?;
    fs::hard_link(root.join("usr/bin/true"), root.join("etc/third"))?;
    fs::set_permissions(root.join("usr/bin/true"), PermissionsExt::from_mode(0o4755))?;
    fs::set_permissions(root.join("etc/empty"), PermissionsExt::from_mode(0o1777))?;
    symlink("usr/bin", root.join("bin"))?;
    symlink("/nowhere/at/all", root.join("etc/dangling"))?;
    symlink("x".repeat(180), root.join("etc/long-target"))?;
    fs::write(
        root.join(std::ffi::OsStr::from_bytes(b"etc/na\nme \xff")),
        "odd",
    )?;
    let deep = root.join("usr").join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("file"), "deep")?;
    for number in 0..40 {
        fs::create_dir_all(root.join(format!("var/{number}")))?;
        fs::write(root.join(format!("var/{number}/file")), number.to_string())?;
    }
    assert!(
        Command::new("mkfifo")
            .arg(root.join("etc/pipe"))
            .status()?
            .success()
    );
    std::os::unix::net::UnixListener::bind(root.join("etc/socket"))?;
    let sparse = fs::File::create(root.join("etc/sparse"))?;
    sparse.set_len(3 << 20)?;
    for entry in facts(&root)?.keys() {
        let touched = Command::new("touch")
            .args(["-h", "-d", "@1700000000"])
            .arg(root.join(entry))
            .status()?;
        assert!(touched.success());
    }
    Ok(())
}

/// Path → type, mode, owner, size, time, content.
fn facts(root: &Path) -> Result<BTreeMap<PathBuf, String>, std::io::Error> {
    let mut found = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    let mut inodes: BTreeMap<u64, PathBuf> = BTreeMap::new();
    while let Some(path) = left.pop() {
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full)?;
        let content = if meta.is_file() {
            format!(
                "{:x?}",
                fs::read(&full)?.iter().fold(0u64, |sum, byte| sum
                    .wrapping_mul(31)
                    .wrapping_add((*byte).into()))
            )
        } else if meta.is_symlink() {
            format!("{:?}", fs::read_link(&full)?)
        } else {
            String::new()
        };
        if meta.is_dir() {
            for entry in fs::read_dir(&full)? {
                left.push(path.join(entry?.file_name()));
            }
        }
        let links = if meta.is_dir() { 0 } else { meta.nlink() };
        inodes.entry(meta.ino()).or_insert_with(|| path.clone());
        let size = if meta.is_dir() { 0 } else { meta.len() };
        let (mode, uid, gid, mtime) = (meta.mode(), meta.uid(), meta.gid(), meta.mtime());
        found.insert(
            path,
            format!("{mode:o} {uid}:{gid} {size} {mtime} {links} {content}"),
        );
    }
    Ok(found)
}

/// Without what no archive holds.
fn without_sockets(mut facts: BTreeMap<PathBuf, String>) -> BTreeMap<PathBuf, String> {
    facts.retain(|_, fact| !fact.starts_with("14"));
    facts
}

fn archive(
    store: &Store,
    root: &Path,
    path: &Path,
    compression: Compression,
) -> Result<(), ExportError> {
    let target = ExportTarget::Archive {
        path: path.to_owned(),
        compression,
    };
    export(store, &target.plan(root)?, &About::default(), &Silent)
}

fn names(dir: &Path) -> Result<Vec<String>, std::io::Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[test]
fn an_archive_is_read_by_tar_and_comes_out_the_same() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let base = scratch.path();
    tree(base)?;
    let store = Store::open(base.join("store"))?;
    let suffixes = [
        ("tar", Compression::None),
        ("tar.gz", Compression::Gzip),
        ("tar.xz", Compression::Xz),
        ("tar.zst", Compression::Zstd),
    ];
    for (suffix, compression) in suffixes {
        assert_eq!(
            Compression::of_name(&format!("a.{suffix}")),
            Some(compression)
        );
        let (one, two) = (
            base.join(format!("1.{suffix}")),
            base.join(format!("2.{suffix}")),
        );
        archive(&store, &base.join("tree"), &one, compression)?;
        archive(&store, &base.join("tree"), &two, compression)?;
        assert!(
            fs::read(&one)? == fs::read(&two)?,
            "{suffix}: two archives of one tree differ"
        );
        let out = base.join(format!("out.{suffix}"));
        fs::create_dir(&out)?;
        let untar = Command::new("tar")
            .args(["-xpf"])
            .arg(&one)
            .arg("-C")
            .arg(&out)
            .output()?;
        assert!(
            untar.status.success(),
            "{suffix}: {}",
            String::from_utf8_lossy(&untar.stderr)
        );
        assert_eq!(
            without_sockets(facts(&out)?),
            without_sockets(facts(&base.join("tree"))?),
            "{suffix}"
        );
    }
    assert!(names(base)?.iter().all(|name| !name.ends_with(".part")));
    Ok(())
}

/// Two copies of a tree, made at other times and in other orders, become the same archive.
#[test]
fn an_archive_depends_on_the_tree_alone() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let base = scratch.path();
    tree(base)?;
    let other = base.join("other");
    assert!(
        Command::new("cp")
            .arg("-a")
            .arg(base.join("tree"))
            .arg(&other)
            .status()?
            .success()
    );
    fs::write(other.join("zzz"), "")?;
    fs::remove_file(other.join("zzz"))?;
    let touched = Command::new("touch")
        .args(["-d", "@1700000000"])
        .arg(&other)
        .status()?;
    assert!(touched.success());
    let store = Store::open(base.join("store"))?;
    archive(
        &store,
        &base.join("tree"),
        &base.join("1.tar.zst"),
        Compression::Zstd,
    )?;
    archive(&store, &other, &base.join("2.tar.zst"), Compression::Zstd)?;
    assert!(fs::read(base.join("1.tar.zst"))? == fs::read(base.join("2.tar.zst"))?);
    Ok(())
}

#[test]
fn times_are_clamped() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let base = scratch.path();
    fs::create_dir(base.join("tree"))?;
    fs::write(base.join("tree/new"), "")?;
    let store = Store::open(base.join("store"))?;
    let target = ExportTarget::Archive {
        path: base.join("a.tar"),
        compression: Compression::None,
    };
    export(
        &store,
        &target.plan(&base.join("tree"))?,
        &About {
            newest: Some(1_000),
            ..About::default()
        },
        &Silent,
    )?;
    let list = Command::new("tar")
        .args(["--utc", "-tvf"])
        .arg(base.join("a.tar"))
        .output()?;
    let list = String::from_utf8(list.stdout)?;
    assert_eq!(list.matches("1970-01-01 00:16").count(), 2, "{list}");
    Ok(())
}

#[test]
fn a_directory_is_an_exact_copy() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let base = scratch.path();
    tree(base)?;
    let store = Store::open(base.join("store"))?;
    fs::create_dir(base.join("empty"))?;
    for name in ["new", "empty"] {
        let target = ExportTarget::Directory(base.join(name));
        export(
            &store,
            &target.plan(&base.join("tree"))?,
            &About::default(),
            &Silent,
        )?;
        let copied = facts(&base.join(name))?;
        assert_eq!(
            copied,
            without_sockets(facts(&base.join("tree"))?),
            "{name}"
        );
        let ino = |path: &str| fs::metadata(base.join(name).join(path)).map(|meta| meta.ino());
        assert_eq!(ino("usr/bin/again")?, ino("etc/third")?);
        assert!(fs::metadata(base.join(name).join("etc/sparse"))?.blocks() < 64);
    }
    // What holds something is refused before anything happens.
    for taken in ["new", "tree/etc/os-release"] {
        let refused = ExportTarget::Directory(base.join(taken)).plan(&base.join("tree"));
        assert!(
            matches!(refused, Err(ExportError::Occupied { .. })),
            "{taken}: {refused:?}"
        );
    }
    let refused = ExportTarget::Archive {
        path: base.join("new"),
        compression: Compression::None,
    }
    .plan(base);
    assert!(refused.is_err_and(|error| error.kind() == Kind::User && !error.hints().is_empty()));
    assert_eq!(names(base)?, ["empty", "new", "store", "tree"]);
    Ok(())
}

/// An export that fails after every possible number of points leaves the place as it was, or the whole export.
#[test]
fn a_failed_export_leaves_all_or_nothing() -> Fallible {
    for kind in ["archive", "directory", "into an empty directory"] {
        for point in 0..60 {
            let scratch = tempfile::tempdir()?;
            let base = scratch.path();
            tree(base)?;
            let faults = Arc::new(Faults::after(point, Mode::Fail));
            let store = Store::open(base.join("store"))?;
            let target = match kind {
                "archive" => ExportTarget::Archive {
                    path: base.join("out"),
                    compression: Compression::None,
                },
                _ => ExportTarget::Directory(base.join("out")),
            };
            if kind == "into an empty directory" {
                fs::create_dir(base.join("out"))?;
            }
            let before = names(base)?;
            let step = target.plan(&base.join("tree"))?;
            let done = export(
                &store.clone().with_faults(faults.clone()),
                &step,
                &About::default(),
                &Silent,
            );
            if !faults.struck() {
                done?;
                assert!(point > 2, "{kind}: only {point} points were passed");
                break;
            }
            assert!(done.is_err(), "{kind} at point {point}");
            let after: Vec<String> = names(base)?
                .into_iter()
                .filter(|name| name != "store")
                .collect();
            let whole = fs::symlink_metadata(base.join("out")).is_ok_and(|meta| {
                meta.is_file()
                    || fs::read_dir(base.join("out")).is_ok_and(|entries| entries.count() > 0)
            });
            match whole {
                true if kind == "archive" => {
                    assert!(fs::metadata(base.join("out"))?.len() > 3 << 20)
                }
                true => assert_eq!(
                    facts(&base.join("out"))?,
                    without_sockets(facts(&base.join("tree"))?)
                ),
                false => assert_eq!(
                    after,
                    before
                        .into_iter()
                        .filter(|name| name != "store")
                        .collect::<Vec<_>>()
                ),
            }
            assert!(point < 59, "{kind} passes no end of points");
        }
    }
    Ok(())
}

/// A directory that something is mounted on is filled in place, and emptied again when that fails.
#[test]
fn a_mount_point_is_filled_in_place() {
    jaula_testkit::kernel_test!(Mounts);
    let scratch = tempfile::tempdir().expect("a directory");
    let base = scratch.path();
    tree(base).expect("a tree");
    let out = base.join("out");
    fs::create_dir(&out).expect("made");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "none"])
        .arg(&out)
        .status();
    assert!(mounted.is_ok_and(|status| status.success()));
    let store = Store::open(base.join("store")).expect("opens");
    for point in 0..60 {
        let faults = Arc::new(Faults::after(point, Mode::Fail));
        let step = ExportTarget::Directory(out.clone())
            .plan(&base.join("tree"))
            .expect("empty");
        let done = export(
            &store.clone().with_faults(faults.clone()),
            &step,
            &About::default(),
            &Silent,
        );
        if !faults.struck() {
            done.expect("nothing stands against it");
            assert_eq!(
                facts(&out).expect("read"),
                without_sockets(facts(&base.join("tree")).expect("read"))
            );
            return;
        }
        if names(&out).expect("read").len() == 4 {
            // Struck after everything was there.
            for name in names(&out).expect("read") {
                let path = out.join(name);
                fs::remove_dir_all(&path)
                    .or_else(|_| fs::remove_file(&path))
                    .expect("removed");
            }
        }
        assert_eq!(
            names(&out).expect("read"),
            Vec::<String>::new(),
            "point {point}"
        );
    }
    panic!("an export passes no end of points");
}

/// No room for the archive: a clear error, and what was there before is still there.
#[test]
fn a_full_disk_keeps_the_old_archive() {
    jaula_testkit::kernel_test!(Mounts);
    let scratch = tempfile::tempdir().expect("a directory");
    let base = scratch.path();
    tree(base).expect("a tree");
    let out = base.join("out");
    fs::create_dir(&out).expect("made");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "none"])
        .arg(&out)
        .status();
    assert!(mounted.is_ok_and(|status| status.success()));
    fs::write(out.join("a.tar"), "old").expect("written");
    let store = Store::open(base.join("store")).expect("opens");
    let error = archive(
        &store,
        &base.join("tree"),
        &out.join("a.tar"),
        Compression::None,
    )
    .expect_err("full");
    assert_eq!(error.kind(), Kind::DiskFull, "{error}");
    assert_eq!(names(&out).expect("read"), ["a.tar"]);
    assert_eq!(fs::read(out.join("a.tar")).expect("read"), b"old");
}

#[derive(Default)]
struct Notes(Mutex<Vec<Event>>);

impl Observer for Notes {
    fn event(&self, event: Event) {
        self.0.lock().expect("not poisoned").push(event);
    }
}

#[test]
fn an_archive_becomes_an_image_once() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let base = scratch.path();
    tree(base)?;
    let store = Store::open(base.join("store"))?;
    let path = base.join("a.tar.zst");
    archive(&store, &base.join("tree"), &path, Compression::Zstd)?;
    assert_eq!(import::find(&store, &path)?, None);
    let plan = import::plan(&path)?;
    assert_eq!(
        (plan.compression, plan.steps(&store).len()),
        (Compression::Zstd, 3)
    );
    let notes = Notes::default();
    let image = plan.import(&store, &["mine".parse()?], &notes)?;
    assert!(notes.0.lock().is_ok_and(|events| {
        events
            .iter()
            .any(|event| matches!(event, Event::Made { .. }))
    }));
    let sum = Command::new("sha256sum").arg(&path).output()?;
    assert!(String::from_utf8(sum.stdout)?.starts_with(&image.digest().to_string()));
    assert_eq!(
        without_sockets(facts(image.root())?),
        without_sockets(facts(&base.join("tree"))?)
    );
    assert_eq!(import::find(&store, &path)?.as_ref(), Some(&image));
    assert_eq!(store.info(image.digest())?.created, 1_700_000_000);
    // The same bytes under another name are the same image.
    fs::copy(&path, base.join("b.tar.zst"))?;
    assert_eq!(import::find(&store, &base.join("b.tar.zst"))?, None);
    assert_eq!(
        import::plan(&base.join("b.tar.zst"))?.import(&store, &[], &Silent)?,
        image
    );
    assert_eq!(
        import::find(&store, &base.join("b.tar.zst"))?.as_ref(),
        Some(&image)
    );
    Ok(())
}

#[test]
fn bad_archives_leave_nothing() -> Fallible {
    let scratch = tempfile::tempdir()?;
    let base = scratch.path();
    tree(base)?;
    let store = Store::open(base.join("store"))?;
    let path = base.join("a.tar");
    archive(&store, &base.join("tree"), &path, Compression::None)?;
    let whole = fs::read(&path)?;
    fs::write(
        base.join("short.tar"),
        whole.get(..whole.len() / 2).ok_or("short")?,
    )?;
    fs::write(
        base.join("text.tar"),
        "this is no archive, whatever it is called\n".repeat(40),
    )?;
    for name in ["short.tar", "text.tar"] {
        let error = import::plan(&base.join(name))?
            .import(&store, &[], &Silent)
            .err()
            .ok_or(name)?;
        assert_eq!(error.kind(), Kind::Verification, "{name}: {error}");
    }
    // Another archive is put in the place of the one that was planned.
    let plan = import::plan(&path)?;
    fs::write(base.join("tree/usr/bin/evil"), "evil")?;
    archive(&store, &base.join("tree"), &path, Compression::None)?;
    assert!(matches!(
        plan.import(&store, &[], &Silent),
        Err(import::ImportError::Changed { .. })
    ));
    assert!(import::plan(base).is_err() && import::plan(&base.join("absent.tar")).is_err());
    assert_eq!(store.images()?.0.len(), 0);
    assert_eq!(names(&store.root().join("stages"))?, Vec::<String>::new());
    assert_eq!(names(&store.root().join("journal"))?, Vec::<String>::new());
    for bad in ["/", "store/locks"] {
        let bad = base.join(bad);
        assert!(
            matches!(
                import::directory(&bad),
                Err(import::ImportError::NoTree { .. })
            ),
            "{}",
            bad.display()
        );
    }
    Ok(())
}
