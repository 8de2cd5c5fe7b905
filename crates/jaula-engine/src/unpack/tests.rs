use super::*;
use jaula_repo::tar::{Entries, Limits};
use jaula_sys::tree::Dir;
use jaula_testkit::DebBuilder;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

struct Place {
    dir: tempfile::TempDir,
    debs: Vec<Deb>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        std::fs::write(dir.path().join("canary"), "untouched").unwrap();
        Self {
            dir,
            debs: Vec::new(),
        }
    }

    /// As `builder`'s owner: the tests may run as an ordinary user.
    fn add(&mut self, builder: DebBuilder, replaces: &str) -> &mut Self {
        let deb = builder.build().unwrap();
        let path = self.dir.path().join(deb.file_name());
        std::fs::write(&path, &deb.bytes).unwrap();
        self.debs.push(Deb {
            name: deb.name,
            version: deb.version,
            arch: deb.arch,
            replaces: replaces.into(),
            path,
            size: deb.bytes.len() as u64,
            sha256: <sha2::Sha256 as sha2::Digest>::digest(&deb.bytes).into(),
            essential: false,
        });
        self
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }

    fn unpack_with(
        &self,
        merged: bool,
        rules: Option<Diversions>,
    ) -> Result<(Wave, Vec<Vec<u8>>), UnpackError> {
        let root = Dir::open(&self.root()).unwrap();
        let before = Before::new([], &self.debs);
        let kept = tempfile::tempdir().unwrap();
        let place = Dir::open(kept.path()).unwrap();
        let keeping = Keeping::new(Share::Copy, &place, Default::default());
        let mut unpacker = Unpacker::new(
            &root,
            &self.debs,
            &before,
            Aliases::debian(merged),
            1_000_000_000,
            3,
            &keeping,
        );
        if let Some(diversions) = rules {
            unpacker.set_rules(diversions, StatOverrides::default());
        }
        unpacker.prepare().unwrap();
        let all: Vec<usize> = (0..self.debs.len()).collect();
        let wave = unpacker.unpack(&all, false, &|_, _| {})?;
        let lists = wave
            .unpacked
            .iter()
            .map(|unpacked| unpacker.kept(unpacked))
            .collect();
        Ok((wave, lists))
    }

    fn unpack(&self) -> Result<(Wave, Vec<Vec<u8>>), UnpackError> {
        self.unpack_with(true, None)
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path))
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn empty(&self) {
        std::fs::remove_dir_all(self.root()).unwrap();
        std::fs::create_dir(self.root()).unwrap();
    }

    fn assert_outside_untouched(&self) {
        assert_eq!(
            std::fs::read_to_string(self.dir.path().join("canary")).unwrap(),
            "untouched"
        );
    }
}

fn own() -> (u64, u64) {
    let meta = std::fs::metadata("/proc/self").unwrap();
    (meta.uid().into(), meta.gid().into())
}

fn deb(name: &str) -> DebBuilder {
    DebBuilder::new(name, "1.0")
}

fn file(builder: DebBuilder, path: &str, content: &str, mode: u32) -> DebBuilder {
    let (uid, gid) = own();
    builder.file(path, content, mode).owner(uid, gid)
}

/// As root every owner can be given, as an ordinary user only his own.
fn needs_root(test: &str) -> bool {
    if own().0 == 0 {
        return false;
    }
    jaula_testkit::skip::note(
        test,
        "directories of a package belong to root, and only root can give files away",
    );
    true
}

#[test]
fn files_modes_links_and_configuration_files() {
    if needs_root("files_modes_links_and_configuration_files") {
        return;
    }
    let mut place = Place::new();
    let one = file(
        deb("one").dir("./bin", 0o755).dir("./srv", 0o2750),
        "./bin/tool",
        "#!",
        0o4755,
    );
    let one = one
        .hardlink("./bin/again", "./bin/tool")
        .symlink("./usr/bin/link", "tool")
        .conffile("etc/one.conf", "setting");
    place.add(one, "");
    let (wave, lists) = place.unpack().unwrap();
    assert_eq!(
        std::fs::read_link(place.root().join("bin")).unwrap(),
        Path::new("usr/bin")
    );
    let tool = std::fs::metadata(place.root().join("usr/bin/tool")).unwrap();
    assert_eq!(
        (tool.permissions().mode() & 0o7777, tool.nlink()),
        (0o4755, 2)
    );
    assert_eq!(
        std::fs::metadata(place.root().join("srv"))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777,
        0o2750
    );
    assert_eq!(place.read("etc/one.conf"), "setting");
    let (path, md5) = &wave.unpacked[0].conffiles[0];
    let expected = "4bd5de4f1ca0e9a0b6bd9f3ea5ea0f1c";
    assert_eq!(
        (path.as_str(), jaula_repo::hex::encode(&md5.unwrap()).len()),
        ("/etc/one.conf", expected.len())
    );
    let list = String::from_utf8(lists[0].clone()).unwrap();
    assert!(
        list.contains("/bin/tool\n/bin/again\n") && list.contains("/etc/one.conf\n"),
        "{list}"
    );
}

#[test]
fn without_the_merge_directories_stay() {
    if needs_root("without_the_merge_directories_stay") {
        return;
    }
    let mut place = Place::new();
    place.add(
        file(deb("one").dir("./bin", 0o755), "./bin/tool", "x", 0o755),
        "",
    );
    place.unpack_with(false, None).unwrap();
    assert!(
        std::fs::symlink_metadata(place.root().join("bin"))
            .unwrap()
            .is_dir()
    );
}

#[test]
fn replaces_decides_whoever_is_first() {
    if needs_root("replaces_decides_whoever_is_first") {
        return;
    }
    for round in 0..20 {
        // The larger package is unpacked first, so the order of the threads differs between the two halves.
        let (big, small) = ("x".repeat(200_000), "y".to_owned());
        let (first, second) = if round % 2 == 0 {
            (&big, &small)
        } else {
            (&small, &big)
        };
        let mut place = Place::new();
        place.add(
            file(
                file(deb("old"), "./opt/f", "old", 0o644),
                "./opt/pad-old",
                first,
                0o644,
            ),
            "",
        );
        place.add(
            file(
                file(deb("new"), "./opt/f", "new", 0o600),
                "./opt/pad-new",
                second,
                0o644,
            ),
            "old (<< 2)",
        );
        let (_, lists) = place.unpack().unwrap();
        assert_eq!(place.read("opt/f"), "new");
        assert!(
            !String::from_utf8(lists[0].clone())
                .unwrap()
                .contains("/opt/f\n")
        );
        assert!(
            String::from_utf8(lists[1].clone())
                .unwrap()
                .contains("/opt/f\n")
        );
        // The earlier one replaces the later one: it keeps its file.
        place.empty();
        place.debs[0].replaces = "new".into();
        place.debs[1].replaces = "old (>> 5)".into();
        let (_, lists) = place.unpack().unwrap();
        assert_eq!(place.read("opt/f"), "old");
        assert!(
            !String::from_utf8(lists[1].clone())
                .unwrap()
                .contains("/opt/f\n")
        );
    }
}

#[test]
fn a_conflict_names_both_packages() {
    if needs_root("a_conflict_names_both_packages") {
        return;
    }
    let mut place = Place::new();
    place.add(file(deb("one"), "./opt/f", "1", 0o644), "");
    place.add(file(deb("two"), "./opt/f", "2", 0o644), "other");
    let error = place.unpack().unwrap_err();
    assert_eq!(
        error.to_string(),
        "packages one and two both bring /opt/f, and neither replaces the other"
    );
    place.empty();
    place.add(deb("three").dir("./opt/f", 0o755), "one, two");
    place.debs.remove(1);
    assert!(matches!(place.unpack(), Err(UnpackError::Shape { .. })));
}

#[test]
fn the_first_in_unpack_order_gives_a_directory_its_mode() {
    if needs_root("the_first_in_unpack_order_gives_a_directory_its_mode") {
        return;
    }
    let mut place = Place::new();
    place.add(deb("one").dir("./shared", 0o750), "");
    place.add(
        file(
            deb("two").dir("./shared", 0o777),
            "./shared/pad",
            &"x".repeat(100_000),
            0o644,
        ),
        "",
    );
    place.unpack().unwrap();
    assert_eq!(
        std::fs::metadata(place.root().join("shared"))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777,
        0o750
    );
}

#[test]
fn diversions_move_the_files_of_others() {
    if needs_root("diversions_move_the_files_of_others") {
        return;
    }
    let mut place = Place::new();
    place.add(file(deb("owner"), "./usr/bin/tool", "theirs", 0o755), "");
    place.add(file(deb("diverter"), "./usr/bin/tool", "mine", 0o755), "");
    let rules = Diversions::parse("/usr/bin/tool\n/usr/bin/tool.distrib\ndiverter\n").unwrap();
    place.unpack_with(true, Some(rules)).unwrap();
    assert_eq!(
        (
            place.read("usr/bin/tool").as_str(),
            place.read("usr/bin/tool.distrib").as_str()
        ),
        ("mine", "theirs")
    );
    for bad in ["/a\n", "/a\n/b\n", "a\n/b\nc\n", "/a\n/../b\nc\n"] {
        assert!(Diversions::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_preinst_that_diverts_waits() {
    if needs_root("a_preinst_that_diverts_waits") {
        return;
    }
    let mut place = Place::new();
    place.add(
        file(deb("plain"), "./opt/a", "a", 0o644).script("preinst", "#!/bin/sh\ntrue\n"),
        "",
    );
    place.add(
        file(deb("diverter"), "./opt/b", "b", 0o644)
            .script("preinst", "#!/bin/sh\ndpkg-divert --add /x\n"),
        "",
    );
    let (wave, _) = place.unpack().unwrap();
    assert_eq!(
        wave.deferred
            .iter()
            .map(|deferred| deferred.index)
            .collect::<Vec<_>>(),
        [1]
    );
    assert!(place.root().join("opt/a").exists() && !place.root().join("opt/b").exists());
    // What is essential is there before any script runs, and comes again after it.
    place.empty();
    place.debs[1].essential = true;
    let (wave, _) = place.unpack().unwrap();
    assert!(
        wave.deferred.is_empty() && wave.unpacked[1].again && place.root().join("opt/b").exists()
    );
}

#[test]
fn stat_overrides_are_read_from_the_trees_own_names() {
    let rules = StatOverrides::parse(
        "root mail 2755 /usr/bin/x\n#5 #6 0700 /y\n",
        "root:x:0:0::/:\n",
        "mail:x:8:\n",
    )
    .unwrap();
    assert_eq!(
        (rules.of(b"usr/bin/x"), rules.of(b"y"), rules.of(b"z")),
        (Some((0, 8, 0o2755)), Some((5, 6, 0o700)), None)
    );
    for bad in [
        "nobody mail 0755 /x\n",
        "root mail 9999 /x\n",
        "root mail 0755 x\n",
        "root\n",
        "#0 #0 77777 /x\n",
    ] {
        assert!(
            StatOverrides::parse(bad, "root:x:0:0::/:\n", "mail:x:8:\n").is_err(),
            "{bad:?}"
        );
    }
}

#[test]
fn an_altered_package_is_refused() {
    if needs_root("an_altered_package_is_refused") {
        return;
    }
    let mut place = Place::new();
    place.add(file(deb("one"), "./opt/f", &"1".repeat(5000), 0o644), "");
    let good = std::fs::read(&place.debs[0].path).unwrap();
    for at in [0, 60, 200, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&place.debs[0].path, &bad).unwrap();
        place.empty();
        let error = place.unpack().unwrap_err();
        assert!(
            matches!(
                &error,
                UnpackError::Altered {
                    what: "SHA-256",
                    ..
                }
            ),
            "at {at}: {error}"
        );
    }
    std::fs::write(&place.debs[0].path, &good[..good.len() - 1]).unwrap();
    assert!(matches!(
        place.unpack(),
        Err(UnpackError::Altered { what: "size", .. })
    ));
    std::fs::write(&place.debs[0].path, &good).unwrap();
    place.debs[0].version = "2.0".into();
    place.empty();
    assert!(matches!(
        place.unpack(),
        Err(UnpackError::Altered {
            what: "version",
            ..
        })
    ));
}

#[test]
fn hostile_packages_stay_inside() {
    if needs_root("hostile_packages_stay_inside") {
        return;
    }
    type Build = fn(DebBuilder) -> DebBuilder;
    let build: Vec<(&str, Build)> = vec![
        ("up", |b| b.file("./../canary", "bad", 0o644)),
        ("deep up", |b| b.file("./usr/../../canary", "bad", 0o644)),
        ("absolute", |b| b.file("/../canary", "bad", 0o644)),
        ("link then file through it", |b| {
            b.symlink("./way", "..").file("./way/canary", "bad", 0o644)
        }),
        ("absolute link then file", |b| {
            b.symlink("./way", "/tmp")
                .file("./way/jaula-canary", "bad", 0o644)
        }),
        ("hard link out", |b| b.hardlink("./in", "./../canary")),
        ("hard link to nothing before", |b| {
            b.hardlink("./in", "./etc/passwd")
        }),
        ("link then the same as a file", |b| {
            b.symlink("./x", "../canary").file("./x", "bad", 0o644)
        }),
        ("device", |b| b.device("./disk", 8, 0)),
    ];
    for (what, change) in build {
        let mut place = Place::new();
        place.add(change(deb("hostile")), "");
        assert!(place.unpack().is_err(), "{what}");
        place.assert_outside_untouched();
    }
    assert!(!Path::new("/tmp/jaula-canary").exists());
}

#[test]
fn a_link_does_not_take_the_place_of_a_directory() {
    if needs_root("a_link_does_not_take_the_place_of_a_directory") {
        return;
    }
    let mut place = Place::new();
    place.add(
        deb("one")
            .symlink("./usr", "..")
            .file("./bin/canary", "bad", 0o644),
        "",
    );
    place.unpack().unwrap();
    assert!(
        std::fs::symlink_metadata(place.root().join("usr"))
            .unwrap()
            .is_dir()
    );
    assert_eq!(place.read("usr/bin/canary"), "bad");
    place.assert_outside_untouched();
}

#[test]
fn a_link_of_one_package_is_no_way_for_another() {
    if needs_root("a_link_of_one_package_is_no_way_for_another") {
        return;
    }
    for _ in 0..10 {
        let mut place = Place::new();
        place.add(deb("one").symlink("./way", ".."), "");
        place.add(file(deb("two"), "./way/canary", "bad", 0o644), "");
        assert!(place.unpack().is_err());
        place.assert_outside_untouched();
    }
}

/// Somebody exchanges a directory of the tree with a link out of it all the time: nothing outside is ever written.
#[test]
fn a_race_for_a_directory_leads_nowhere() {
    if needs_root("a_race_for_a_directory_leads_nowhere") {
        return;
    }
    let place = {
        let mut place = Place::new();
        let many = (0..300).fold(deb("many"), |b, n| {
            file(b, &format!("./a/b/f{n}"), "x", 0o644)
        });
        place.add(many, "");
        place
    };
    let outside = place.dir.path().join("outside");
    std::fs::create_dir_all(outside.join("b")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let root = Dir::open(&place.root()).unwrap();
            root.symlink(c"../outside", c"evil").unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                drop(root.exchange(c"a", &root, c"evil"));
            }
        });
        for _ in 0..20 {
            drop(place.unpack());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(std::fs::read_dir(outside.join("b")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
}

fn tar(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    build(&mut builder);
    builder.into_inner().unwrap()
}

fn entry(
    builder: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    link: &str,
    content: &str,
) {
    let mut header = tar::Header::new_gnu();
    let (uid, gid) = own();
    header.set_entry_type(kind);
    header.set_mode(0o750);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_mtime(1_234_567_890);
    header.set_size(content.len() as u64);
    let name = &mut header.as_old_mut().name;
    name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    builder.append(&header, content.as_bytes()).unwrap();
}

#[test]
fn an_archive_is_extracted_as_it_is() {
    let place = Place::new();
    use tar::EntryType as T;
    let bytes = tar(|b| {
        entry(b, "./d/", T::Directory, "", "");
        entry(b, "d/f", T::Regular, "", "first");
        entry(b, "d/f", T::Regular, "", "second");
        entry(b, "d/l", T::Symlink, "/etc/passwd", "");
        entry(b, "d/h", T::Link, "d/f", "");
        entry(b, "d/p", T::Fifo, "", "");
    });
    let root = Dir::open(&place.root()).unwrap();
    let mut extractor = Extractor::new(&root, Devices::Skip);
    let done = extractor
        .extract(Entries::new(&bytes[..], Limits::default()), &mut |_, _| {})
        .unwrap();
    assert_eq!(
        (done.entries, done.bytes, done.newest),
        (6, 11, 1_234_567_890)
    );
    assert_eq!(place.read("d/h"), "second");
    let meta = std::fs::metadata(place.root().join("d")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o750, 1_234_567_890));
    assert_eq!(
        std::fs::read_link(place.root().join("d/l")).unwrap(),
        Path::new("/etc/passwd")
    );
}

#[test]
fn devices_are_refused_or_left_out() {
    let bytes = tar(|b| entry(b, "dev-null", tar::EntryType::Char, "", ""));
    for (devices, good) in [(Devices::Refuse, false), (Devices::Skip, true)] {
        let place = Place::new();
        let root = Dir::open(&place.root()).unwrap();
        let outcome = Extractor::new(&root, devices)
            .extract(Entries::new(&bytes[..], Limits::default()), &mut |_, _| {});
        assert_eq!(outcome.is_ok(), good);
        assert!(!place.root().join("dev-null").exists());
    }
}

#[test]
fn an_archive_over_a_tree_with_links_stays_inside() {
    use tar::EntryType as T;
    let place = Place::new();
    std::os::unix::fs::symlink("..", place.root().join("way")).unwrap();
    let bytes = tar(|b| entry(b, "way/canary", T::Regular, "", "bad"));
    let root = Dir::open(&place.root()).unwrap();
    let outcome = Extractor::new(&root, Devices::Refuse)
        .extract(Entries::new(&bytes[..], Limits::default()), &mut |_, _| {});
    assert!(outcome.is_err());
    place.assert_outside_untouched();
}
