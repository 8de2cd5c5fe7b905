//! What must hold for any bytes: shared by the smoke test and the fuzz target.

use jaula_repo::image_kind::ImageKind;
use jaula_repo::iso9660::{Iso, IsoError, Node, NodeKind, WalkLimits};
use std::error::Error;

/// Opens, walks, looks up and reads everything, within bounds, and checks the promises of the
/// documentation on the way.
pub fn iso9660(data: &[u8]) {
    let opened = Iso::open(data);
    if ImageKind::sniff(data) != Some(ImageKind::Iso9660) {
        // A descriptor further on may still be found, but then nothing more is claimed here.
        return;
    }
    let iso = match opened {
        Ok(iso) => iso,
        Err(e) => return readable(&e),
    };
    let volume = iso.volume();
    assert!(!volume.label.chars().any(char::is_control) && volume.block_size.is_power_of_two());
    let limits = WalkLimits {
        entries: 2000,
        depth: 40,
        bytes: 1 << 24,
    };
    let Ok(walk) = iso.walk(limits) else { return };
    let mut ended = false;
    let mut seen = 0u64;
    for step in walk {
        assert!(!ended, "nothing follows the last one");
        seen += 1;
        assert!(seen <= limits.entries + 1);
        match step {
            Ok(found) => {
                let names: Vec<&[u8]> = found.path.split(|c| *c == b'/').collect();
                assert!(names.len() <= limits.depth + 1 && found.path.len() <= 4095);
                assert!(
                    names
                        .iter()
                        .all(|n| !n.is_empty() && *n != b"." && *n != b".." && n.len() <= 255)
                );
                assert!(!found.path.contains(&0));
                node(&iso, &found.node);
            }
            Err(skipped) => {
                ended = skipped.last;
                assert!(!skipped.to_string().chars().any(char::is_control));
                readable(&skipped.error);
            }
        }
    }
}

fn readable(error: &IsoError) {
    assert!(error.to_string().len() > 10);
    assert!(error.source().is_none(), "bytes in memory cannot fail");
}

fn node(iso: &Iso<&[u8]>, node: &Node) {
    assert!(node.ino.number() != 0 && node.mode <= 0o7777);
    let again = iso.node(node.ino).expect("a number that was given out");
    assert_eq!(
        (again.ino, again.kind, again.size),
        (node.ino, node.kind, node.size)
    );
    assert_eq!(node.target.is_some(), node.kind == NodeKind::Symlink);
    if let Some(target) = &node.target {
        assert!(!target.is_empty() && target.len() <= 4095 && !target.contains(&0));
    }
    match node.kind {
        NodeKind::File => file(iso, node),
        NodeKind::Directory => directory(iso, node),
        _ => assert!(iso.read(node, 0, &mut [0]).is_err() && iso.read_dir(node).is_err()),
    }
}

fn file(iso: &Iso<&[u8]>, node: &Node) {
    let mut buf = [0u8; 5000];
    assert_eq!(iso.read(node, node.size, &mut buf).unwrap(), 0);
    assert_eq!(iso.read(node, u64::MAX, &mut buf).unwrap(), 0);
    for offset in [0, 1, node.size / 2, node.size.saturating_sub(1), 2047] {
        let want = node.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        match iso.read(node, offset, &mut buf) {
            Ok(n) => assert_eq!(n, want),
            Err(e) => readable(&e),
        }
    }
}

fn directory(iso: &Iso<&[u8]>, node: &Node) {
    let Ok(entries) = iso.read_dir(node) else {
        return;
    };
    let entries: Vec<_> = entries.take(300).collect();
    let mut last = 0;
    for (place, entry) in entries.iter().enumerate() {
        let Ok(entry) = entry else { continue };
        assert!(entry.next > last);
        last = entry.next;
        if place < 8 {
            let rest = iso
                .read_dir_from(node, entry.next)
                .unwrap()
                .find_map(Result::ok);
            let next = entries
                .get(place + 1..)
                .and_then(|r| r.iter().find_map(|e| e.as_ref().ok()));
            if let Some(next) = next {
                assert_eq!(rest.as_ref(), Some(next));
            }
            if let Ok(found) = iso.lookup(node, &entry.name) {
                assert!(found.is_some(), "a name that was listed");
            }
            // Numbers from outside are safe.
            assert!(
                iso.read_dir_from(node, entry.next.saturating_sub(7))
                    .unwrap()
                    .count()
                    <= 300_000
            );
        }
    }
    assert_eq!(iso.read_dir_from(node, u64::MAX).unwrap().count(), 0);
    assert!(iso.read(node, 0, &mut [0]).is_err());
}
