//! What must hold for any bytes: shared by the tests and the fuzz targets.

use jaula_repo::disk::{self, Attributes, DiskEntry, DiskTree, NodeKind, ROOT};
use jaula_repo::image_kind::ImageKind;

/// Nodes that are looked at.
const NODES: usize = 300;
/// Deepest nesting that is followed.
const DEPTH: usize = 20;

/// A squashfs image.
pub fn squashfs(data: &[u8]) {
    any(ImageKind::Squashfs, data);
}

/// An ext2, ext3 or ext4 image.
#[allow(dead_code, reason = "each fuzz target has its own")]
pub fn ext(data: &[u8]) {
    any(ImageKind::Ext4, data);
}

fn any(kind: ImageKind, data: &[u8]) {
    let mut tree = match disk::open(kind, data.to_vec()) {
        Ok(tree) => tree,
        Err(error) => {
            assert!(error.to_string().len() > 5);
            return;
        }
    };
    // Numbers that nobody gave out are refused or harmless.
    for node in [0, 2, 3, 12_345, u64::MAX - 1, u64::MAX] {
        drop(tree.attributes(node));
        drop(tree.read(node, 0, &mut [0; 16]));
        drop(tree.read_link(node));
        drop(tree.read_dir(node, 7, &mut |_| true));
        drop(tree.lookup(node, b"a"));
    }
    let mut left = NODES;
    walk(tree.as_mut(), ROOT, 0, &mut left);
}

fn walk(tree: &mut dyn DiskTree, dir: u64, depth: usize, left: &mut usize) {
    let mut entries: Vec<DiskEntry> = Vec::new();
    let listed = tree.read_dir(dir, 0, &mut |entry| {
        entries.push(entry.clone());
        entries.len() < 100
    });
    if listed.is_err() {
        return;
    }
    assert!(entries.is_sorted_by(|a, b| a.next < b.next));
    // Going on behind any entry gives the ones after it.
    if let Some(middle) = entries.get(entries.len() / 2) {
        let mut next = None;
        tree.read_dir(dir, middle.next, &mut |entry| {
            next = Some(entry.clone());
            false
        })
        .expect("it could be listed before");
        assert_eq!(next.as_ref(), entries.get(entries.len() / 2 + 1));
    }
    for entry in entries {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let name = &entry.name;
        assert!(!name.is_empty() && name.len() <= 255 && !name.contains(&b'/'));
        assert!(name != b"." && name != b".." && !name.contains(&0));
        assert!(entry.node != 0);
        drop(tree.lookup(dir, name));
        let Ok(known) = tree.attributes(entry.node) else {
            continue;
        };
        assert!(known.mode <= 0o7777);
        node(tree, entry.node, &known);
        if known.kind == NodeKind::Directory && depth < DEPTH {
            walk(tree, entry.node, depth + 1, left);
        }
    }
}

fn node(tree: &mut dyn DiskTree, node: u64, known: &Attributes) {
    let mut buffer = vec![0u8; 10_000];
    match known.kind {
        NodeKind::File => {
            assert!(i64::try_from(known.size).is_ok());
            for at in [0, known.size / 2, known.size.saturating_sub(1), known.size] {
                if let Ok(got) = tree.read(node, at, &mut buffer) {
                    assert_eq!(got as u64, (known.size - at).min(buffer.len() as u64));
                }
            }
        }
        NodeKind::Symlink => {
            if let Ok(target) = tree.read_link(node) {
                assert!(!target.is_empty() && target.len() <= 4095 && !target.contains(&0));
            }
        }
        _ => assert!(tree.read(node, 0, &mut buffer).is_err()),
    }
}
