//! Images of the usual tools, compared with the tree they were made of. Without the tools the tests say
//! so and check nothing.

use crate::entry;
use crate::shown::content;
use jaula_repo::iso9660::{Iso, Node, NodeKind, Tree, WalkLimits};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

fn present(tool: &str) -> bool {
    let found = Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        eprintln!("skipped: {tool} is not installed");
    }
    found
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A tree with what is hard for an image.
fn source(at: &Path) {
    let file = |name: &str, data: &[u8], mode: u32| {
        let path = at.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, data).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    file("LEEME.TXT", b"contenido\n", 0o644);
    file("vacio", b"", 0o600);
    file("con espacios y ñ.txt", "ñandú\n".as_bytes(), 0o640);
    file(&format!("largo-{}", "x".repeat(90)), b"long name", 0o444);
    file("bin/programa", &[0x7f; 3_000_001], 0o4755);
    file("ceros", &[0; 300_000], 0o644);
    file(
        "texto",
        "una línea cualquiera\n".repeat(20_000).as_bytes(),
        0o644,
    );
    file("a/b/c/d/e/f/g/h/i/j/k/hondo.txt", b"deep", 0o644);
    file("a/b/c/d/e/f/g/h2/i/otro.txt", b"deep too", 0o644);
    for n in 0..400 {
        file(
            &format!("muchos/fichero-{n:03}.dat"),
            format!("número {n}").as_bytes(),
            0o644,
        );
    }
    fs::create_dir(at.join("vacia")).unwrap();
    fs::set_permissions(at.join("vacia"), fs::Permissions::from_mode(0o1777)).unwrap();
    symlink("LEEME.TXT", at.join("enlace")).unwrap();
    symlink("../bin/./programa", at.join("a/relativo")).unwrap();
    symlink("/usr/../etc/passwd", at.join("absoluto")).unwrap();
    symlink("/", at.join("raiz")).unwrap();
    symlink("..", at.join("a/arriba")).unwrap();
    symlink(vec!["componente-largo"; 60].join("/"), at.join("lejos")).unwrap();
    symlink("y".repeat(250), at.join("seguido")).unwrap();
    run(Command::new("mkfifo").arg(at.join("tubo")));
}

type Sources = BTreeMap<Vec<u8>, fs::Metadata>;

fn list(root: &Path) -> Sources {
    fn below(root: &Path, dir: &Path, all: &mut Sources) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let is_dir = meta.is_dir();
            all.insert(
                path.strip_prefix(root)
                    .unwrap()
                    .as_os_str()
                    .as_bytes()
                    .to_vec(),
                meta,
            );
            if is_dir {
                below(root, &path, all);
            }
        }
    }
    let mut all = Sources::new();
    below(root, root, &mut all);
    all
}

fn shown(image: &[u8], tree: Tree) -> BTreeMap<Vec<u8>, Node> {
    entry::iso9660(image);
    let iso = Iso::open(image).unwrap();
    assert_eq!(iso.volume().tree, tree);
    let found = iso
        .walk(WalkLimits::default())
        .unwrap()
        .map(|f| f.unwrap_or_else(|s| panic!("{s}: {}", s.error)));
    found.map(|f| (f.path, f.node)).collect()
}

/// Rock Ridge loses nothing.
fn same(image: &[u8], root: &Path, owner: bool) {
    let mut shown = shown(image, Tree::RockRidge);
    // Where deep directories were moved to stays visible, empty, as in Linux.
    for moved in [&b"rr_moved"[..], b".rr_moved"] {
        shown.remove(moved);
    }
    let source = list(root);
    assert_eq!(
        shown.keys().collect::<Vec<_>>(),
        source.keys().collect::<Vec<_>>()
    );
    let iso = Iso::open(image).unwrap();
    for (path, meta) in &source {
        let node = &shown[path];
        let name = String::from_utf8_lossy(path);
        let on_disk = root.join(std::ffi::OsStr::from_bytes(path));
        assert_eq!(node.mode, meta.mode() & 0o7777, "{name}");
        assert_eq!(node.mtime, meta.mtime(), "{name}");
        if owner {
            assert_eq!((node.uid, node.gid), (meta.uid(), meta.gid()), "{name}");
        }
        let kind = match node.kind {
            NodeKind::File => meta.is_file(),
            NodeKind::Directory => meta.is_dir(),
            NodeKind::Symlink => meta.is_symlink(),
            NodeKind::Fifo => meta.mode() & 0o170_000 == 0o010_000,
            _ => false,
        };
        assert!(kind, "{name} is no {:?}", node.kind);
        if meta.is_file() {
            assert!(
                content(image, node) == fs::read(&on_disk).unwrap(),
                "{name}"
            );
        }
        if meta.is_symlink() {
            assert_eq!(
                node.target.as_deref(),
                Some(fs::read_link(&on_disk).unwrap().as_os_str().as_bytes()),
                "{name}"
            );
        }
        // Step by step, as a kernel looks it up.
        let mut at = iso.root().unwrap();
        for step in path.split(|c| *c == b'/') {
            at = iso.lookup(&at, step).unwrap().unwrap();
        }
        assert_eq!(at.ino, node.ino, "{name}");
    }
}

fn with_source(test: impl FnOnce(&Path, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    let (root, image) = (dir.path().join("origen"), dir.path().join("p.iso"));
    fs::create_dir(&root).unwrap();
    source(&root);
    test(&root, &image);
}

#[test]
fn genisoimage() {
    if !present("genisoimage") {
        return;
    }
    with_source(|root, image| {
        let make = |options: &[&str]| {
            run(Command::new("genisoimage")
                .args(["-quiet", "-V", "PRUEBA", "-input-charset", "utf-8", "-o"])
                .arg(image)
                .args(options)
                .arg(root));
            fs::read(image).unwrap()
        };
        // It writes wrong lengths when a target needs more than a block; its own `isoinfo` says so too.
        fs::remove_file(root.join("lejos")).unwrap();
        same(&make(&["-R"]), root, true);
        same(&make(&["-R", "-J", "-joliet-long"]), root, true);
        // El Torito: the image boots, and is read as any other.
        let bootable = make(&[
            "-R",
            "-b",
            "LEEME.TXT",
            "-no-emul-boot",
            "-c",
            "muchos/boot.cat",
        ]);
        let found = shown(&bootable, Tree::RockRidge);
        assert_eq!(
            content(&bootable, &found[&b"LEEME.TXT"[..]]),
            b"contenido\n"
        );
        assert!(found.contains_key(&b"muchos/boot.cat"[..]));
        // Joliet: names and contents.
        let joliet = make(&["-J", "-joliet-long", "-D"]);
        let found = shown(&joliet, Tree::Joliet);
        for (path, meta) in list(root).iter().filter(|(_, m)| m.is_file() || m.is_dir()) {
            let node = found
                .get(path)
                .unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(path)));
            assert_eq!(node.is_dir(), meta.is_dir());
            if meta.is_file() {
                assert!(
                    content(&joliet, node)
                        == fs::read(root.join(std::ffi::OsStr::from_bytes(path))).unwrap()
                );
            }
        }
        // Plain: the names are shortened, the contents are all there.
        for options in [
            &["-iso-level", "1"][..],
            &["-iso-level", "2", "-l"],
            &["-iso-level", "3", "-D"],
        ] {
            let plain = make(options);
            let contents: BTreeSet<Vec<u8>> = shown(&plain, Tree::Plain)
                .values()
                .filter(|n| n.kind == NodeKind::File)
                .map(|n| content(&plain, n))
                .collect();
            let files = list(root);
            for (path, _) in files.iter().filter(|(_, m)| m.is_file()) {
                let bytes = fs::read(root.join(std::ffi::OsStr::from_bytes(path))).unwrap();
                // Deeper than eight levels is left out without -D.
                assert!(
                    contents.contains(&bytes) || bytes.starts_with(b"deep"),
                    "{}",
                    String::from_utf8_lossy(path)
                );
            }
        }
    });
}

#[test]
fn genisoimage_compressed() {
    if !present("genisoimage") || !present("mkzftree") {
        return;
    }
    with_source(|root, image| {
        let packed = root.with_file_name("comprimido");
        fs::remove_file(root.join("tubo")).unwrap();
        fs::remove_file(root.join("lejos")).unwrap();
        run(Command::new("mkzftree").arg(root).arg(&packed));
        run(Command::new("genisoimage")
            .args(["-quiet", "-R", "-z", "-o"])
            .arg(image)
            .arg(&packed));
        let bytes = fs::read(image).unwrap();
        let found = shown(&bytes, Tree::RockRidge);
        let mut smaller = 0;
        for (path, _) in list(root).iter().filter(|(_, m)| m.is_file()) {
            let node = &found[path];
            let name = String::from_utf8_lossy(path);
            assert!(
                content(&bytes, node)
                    == fs::read(root.join(std::ffi::OsStr::from_bytes(path))).unwrap(),
                "{name}"
            );
            smaller += u32::from(node.stored() < node.size);
        }
        assert!(smaller >= 3);
    });
}

#[test]
fn xorriso() {
    if !present("xorriso") {
        return;
    }
    with_source(|root, image| {
        let make = |options: &[&str]| {
            // It adds to an image that is there.
            if image.exists() {
                fs::remove_file(image).unwrap();
            }
            run(Command::new("xorriso")
                .args(["-as", "mkisofs", "-quiet", "-V", "PRUEBA", "-o"])
                .arg(image)
                .args(options)
                .arg(root));
            fs::read(image).unwrap()
        };
        same(&make(&["-R"]), root, true);
        same(&make(&["-R", "-J", "-joliet-long"]), root, true);
        fs::remove_file(image).unwrap();
        let filter = [
            "-zisofs",
            "level=6:block_size=128k",
            "-set_filter_r",
            "--zisofs",
            "/",
            "--",
            "-commit",
        ];
        run(Command::new("xorriso")
            .arg("-outdev")
            .arg(image)
            .arg("-map")
            .arg(root)
            .arg("/")
            .args(filter));
        let packed = fs::read(image).unwrap();
        same(&packed, root, true);
        assert!(
            shown(&packed, Tree::RockRidge)
                .values()
                .any(|n| n.stored() < n.size)
        );
        // A further session in a file: the writer moves the first descriptors on, so the newest is shown.
        let before = make(&["-R"]);
        fs::write(root.join("nuevo"), b"later").unwrap();
        run(Command::new("xorriso")
            .args(["-dev"])
            .arg(image)
            .args(["-map"])
            .arg(root.join("nuevo"))
            .args(["/nuevo"]));
        let after = fs::read(image).unwrap();
        assert!(after.len() > before.len());
        let found = shown(&after, Tree::RockRidge);
        assert!(found.contains_key(&b"nuevo"[..]));
    });
}
