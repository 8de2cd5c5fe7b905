//! Images of the usual tools, compared with the tree they were made of. Without the tools the tests say so and check
//! nothing.

use jaula_repo::disk::{self, DiskTree, NodeKind, ROOT};
use jaula_repo::image_kind::{ImageKind, SNIFF_LEN};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

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
    let noise: Vec<u8> = (0u64..70_001).map(|n| ((n * n) >> 7) as u8).collect();
    file("bin/programa", &noise, 0o755);
    file("ceros", &[0; 300_000], 0o644);
    file(
        "texto",
        "una línea cualquiera\n".repeat(20_000).as_bytes(),
        0o644,
    );
    file("a/b/c/d/e/hondo.txt", b"deep", 0o644);
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
    symlink("/usr/../etc/passwd", at.join("absoluto")).unwrap();
    symlink("x/".repeat(400) + "y", at.join("largo")).unwrap();
}

/// What a file is, in one line.
type Shown = BTreeMap<Vec<u8>, (char, u32, i64, Vec<u8>)>;

fn on_disk(at: &Path, below: &Path, shown: &mut Shown) {
    for entry in fs::read_dir(at.join(below)).unwrap() {
        let path = below.join(entry.unwrap().file_name());
        let full = at.join(&path);
        let meta = fs::symlink_metadata(&full).unwrap();
        let (kind, content) = if meta.is_dir() {
            on_disk(at, &path, shown);
            ('d', Vec::new())
        } else if meta.is_symlink() {
            (
                'l',
                fs::read_link(&full)
                    .unwrap()
                    .as_os_str()
                    .as_bytes()
                    .to_vec(),
            )
        } else {
            ('f', fs::read(&full).unwrap())
        };
        let key = path.as_os_str().as_bytes().to_vec();
        shown.insert(key, (kind, meta.mode() & 0o7777, meta.mtime(), content));
    }
}

fn in_image(tree: &mut dyn DiskTree, dir: u64, below: &[u8], shown: &mut Shown) {
    let mut entries = Vec::new();
    tree.read_dir(dir, 0, &mut |entry| {
        entries.push(entry.clone());
        true
    })
    .unwrap();
    for entry in entries {
        let mut path = below.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend(&entry.name);
        assert_eq!(tree.lookup(dir, &entry.name).unwrap(), Some(entry.node));
        let known = tree.attributes(entry.node).unwrap();
        assert_eq!(known.kind, entry.kind);
        if path == b"lost+found" {
            continue;
        }
        let (kind, content) = match known.kind {
            NodeKind::Directory => {
                in_image(tree, entry.node, &path, shown);
                ('d', Vec::new())
            }
            NodeKind::Symlink => ('l', tree.read_link(entry.node).unwrap()),
            _ => {
                // In odd pieces, from the end to the beginning.
                let mut content = vec![0xaa; known.size as usize];
                let mut end = content.len();
                while end > 0 {
                    let start = end.saturating_sub(60_013);
                    let piece = &mut content[start..end];
                    assert_eq!(
                        tree.read(entry.node, start as u64, piece).unwrap(),
                        piece.len()
                    );
                    end = start;
                }
                ('f', content)
            }
        };
        shown.insert(path, (kind, known.mode, known.mtime, content));
    }
}

/// An image that a tool made of the tree: `mksquashfs DIR IMAGE …`, `mke2fs … -d DIR IMAGE SIZE`. None without the tool.
pub fn made(tool: &str, options: &[&str], size: &str) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    if size == "512K" {
        fs::write(tree.join("a"), "contenido").unwrap();
        fs::create_dir(tree.join("b")).unwrap();
        symlink("a", tree.join("b/c")).unwrap();
    } else {
        source(&tree);
    }
    image_of(tool, options, size, &tree)
}

fn image_of(tool: &str, options: &[&str], size: &str, tree: &Path) -> Option<Vec<u8>> {
    let image = tree.with_extension("img");
    let mut command = Command::new(tool);
    if tool == "mksquashfs" {
        command.arg(tree).arg(&image).args(options);
    } else {
        command
            .args(options)
            .arg("-d")
            .arg(tree)
            .arg(&image)
            .arg(size);
    }
    let Ok(output) = command.output() else {
        eprintln!("skipped: {tool} is not installed");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    Some(fs::read(&image).unwrap())
}

fn compare(tool: &str, options: &[&str], kind: ImageKind) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    fs::create_dir(&root).unwrap();
    source(&root);
    let Some(image) = image_of(tool, options, "20M", &root) else {
        return;
    };
    assert_eq!(
        ImageKind::sniff(&image[..SNIFF_LEN.min(image.len())]),
        Some(kind)
    );
    let (mut wanted, mut found) = (Shown::new(), Shown::new());
    on_disk(&root, Path::new(""), &mut wanted);
    let mut tree = disk::open(kind, image).unwrap();
    in_image(tree.as_mut(), ROOT, b"", &mut found);
    let names = |shown: &Shown| shown.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&wanted));
    for (path, one) in &wanted {
        let other = &found[path];
        let path = String::from_utf8_lossy(path);
        assert_eq!((one.0, one.1, one.2), (other.0, other.1, other.2), "{path}");
        assert!(one.3 == other.3, "{path} has another content");
    }
}

#[test]
fn squashfs_of_mksquashfs_is_the_tree_it_was_made_of() {
    let quiet = ["-quiet", "-no-progress", "-all-root"];
    for more in [
        &["-comp", "gzip"][..],
        &["-comp", "xz", "-b", "1M"],
        &["-comp", "zstd"],
        &["-noI", "-noD", "-noF", "-noX", "-b", "4096"],
        &["-no-fragments"],
        &["-always-use-fragments", "-nopad"],
    ] {
        compare(
            "mksquashfs",
            &[&quiet[..], more].concat(),
            ImageKind::Squashfs,
        );
    }
}

#[test]
fn a_compression_that_is_not_supported_is_named() {
    let options = ["-quiet", "-no-progress", "-comp", "lz4"];
    let Some(image) = made("mksquashfs", &options, "") else {
        return;
    };
    let error = disk::open(ImageKind::Squashfs, image).err().unwrap();
    assert_eq!(error.to_string(), "not supported: lz4 compression");
}

#[test]
fn ext_of_mke2fs_is_the_tree_it_was_made_of() {
    for (kind, options) in [
        (ImageKind::Ext2, &["-q", "-t", "ext2"][..]),
        (ImageKind::Ext3, &["-q", "-t", "ext3"]),
        (ImageKind::Ext4, &["-q", "-t", "ext4"]),
        (
            ImageKind::Ext4,
            &["-q", "-t", "ext4", "-b", "4096", "-O", "^64bit"],
        ),
        (
            ImageKind::Ext4,
            &["-q", "-t", "ext4", "-b", "1024", "-O", "^has_journal"],
        ),
    ] {
        compare("mke2fs", options, kind);
    }
}
