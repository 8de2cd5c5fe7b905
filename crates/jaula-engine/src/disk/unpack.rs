//! An image copied into memory, for hosts without FUSE. First it is measured, so that one that would not fit, or never
//! ends, is refused before anything is made.

use super::{Identifiers, REQUEST, chain};
use jaula_repo::disk::{Attributes, DiskTree, NodeKind, ROOT};
use jaula_sys::tree::{Dir, set_file};
use std::collections::HashSet;
use std::ffi::CString;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Most entries of a tree that is unpacked.
const MAX_ENTRIES: u64 = 1_000_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 200;
/// Memory that a file takes besides its content, in bytes: what the kernel keeps of a name and a node.
const NODE: u64 = 1024;
/// Memory is given out in pages.
const PAGE: u64 = 4096;
/// Bytes copied at once.
const CHUNK: usize = 256 << 10;

/// A name in a directory.
struct Found {
    name: Vec<u8>,
    node: u64,
}

fn list(tree: &mut dyn DiskTree, dir: u64, left: &mut u64) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    let mut over = false;
    tree.read_dir(dir, 0, &mut |entry| {
        over = *left == 0;
        *left = left.saturating_sub(1);
        found.push(Found {
            name: entry.name.clone(),
            node: entry.node,
        });
        !over
    })
    .map_err(|e| chain(&e))?;
    if over {
        return Err(format!(
            "it has more than {MAX_ENTRIES} files, too many to be unpacked"
        ));
    }
    Ok(found)
}

/// Whether the whole tree fits into so many bytes of memory.
pub(super) fn measure(tree: &mut dyn DiskTree, limit: u64) -> Result<(), String> {
    let mut left = MAX_ENTRIES;
    let mut bytes = 0u64;
    let mut seen = HashSet::from([ROOT]);
    let mut levels = vec![list(tree, ROOT, &mut left)?];
    while let Some(level) = levels.last_mut() {
        let Some(found) = level.pop() else {
            levels.pop();
            continue;
        };
        let Ok(known) = tree.attributes(found.node) else {
            continue;
        };
        let content = match known.kind {
            NodeKind::File => known.size,
            _ => 0,
        };
        let pages = content.div_ceil(PAGE).saturating_mul(PAGE);
        bytes = bytes.saturating_add(pages).saturating_add(NODE);
        if bytes > limit {
            return Err(format!(
                "unpacked it takes more than {} MiB of memory; with /dev/fuse it need not be unpacked",
                limit >> 20
            ));
        }
        if known.kind == NodeKind::Directory {
            if levels.len() >= MAX_DEPTH || !seen.insert(found.node) {
                return Err("its directories are nested too deep, or in themselves".into());
            }
            levels.push(list(tree, found.node, &mut left)?);
        }
    }
    Ok(())
}

/// A directory being filled; what it is itself is set when all that is in it is there.
struct Level {
    dir: Dir,
    known: Attributes,
    left: Vec<Found>,
}

/// Copies the tree into an empty directory.
pub(super) fn fill(tree: &mut dyn DiskTree, top: Dir, ids: &Identifiers) -> Result<(), String> {
    let mut left = MAX_ENTRIES;
    let mut buffer = vec![0u8; CHUNK];
    let root = tree.attributes(ROOT).map_err(|e| chain(&e))?;
    let mut levels = vec![Level {
        dir: top,
        known: root,
        left: list(tree, ROOT, &mut left)?,
    }];
    while let Some(level) = levels.last_mut() {
        jaula_sys::server::deadline(REQUEST);
        let Some(found) = level.left.pop() else {
            let (uid, gid) = ids.inside(level.known.uid, level.known.gid);
            let done = level
                .dir
                .set_self(uid, gid, level.known.mode, level.known.mtime, 0);
            done.map_err(|e| format!("cannot finish a directory: {e}"))?;
            levels.pop();
            continue;
        };
        let shown = String::from_utf8_lossy(&found.name)
            .escape_debug()
            .to_string();
        let failed = |e: &dyn std::error::Error| format!("cannot unpack {shown}: {}", chain(e));
        // One that is damaged is left out, as it is in a listing by FUSE.
        let Ok(known) = tree.attributes(found.node) else {
            continue;
        };
        let name = CString::new(found.name).map_err(|e| failed(&e))?;
        let (uid, gid) = ids.inside(known.uid, known.gid);
        match known.kind {
            NodeKind::Directory => {
                level.dir.make_dir(&name, 0o700).map_err(|e| failed(&e))?;
                let dir = level.dir.dir(&name).map_err(|e| failed(&e))?;
                if levels.len() >= MAX_DEPTH {
                    return Err("its directories are nested too deep".into());
                }
                let left = list(tree, found.node, &mut left)?;
                levels.push(Level { dir, known, left });
            }
            NodeKind::File => {
                let file = level.dir.create(&name, 0o600).map_err(|e| failed(&e))?;
                copy(tree, found.node, &file, known.size, &mut buffer)
                    .map_err(|why| format!("cannot unpack {shown}: {why}"))?;
                set_file(&file, uid, gid, known.mode, known.mtime, 0).map_err(|e| failed(&e))?;
            }
            NodeKind::Symlink => {
                let target = tree.read_link(found.node).map_err(|e| failed(&e))?;
                let target = CString::new(target).map_err(|e| failed(&e))?;
                level
                    .dir
                    .symlink(&target, &name)
                    .and_then(|()| level.dir.chown(&name, uid, gid))
                    .and_then(|()| level.dir.set_mtime(&name, known.mtime, 0))
                    .map_err(|e| failed(&e))?;
            }
            NodeKind::Fifo => {
                level
                    .dir
                    .fifo(&name, known.mode)
                    .and_then(|()| level.dir.chown(&name, uid, gid))
                    .map_err(|e| failed(&e))?;
            }
            // Devices would open nothing on a nodev mount, and a socket without its server is nothing.
            NodeKind::CharDevice | NodeKind::BlockDevice | NodeKind::Socket => {}
        }
    }
    jaula_sys::server::deadline(0);
    Ok(())
}

fn copy(
    tree: &mut dyn DiskTree,
    node: u64,
    to: &File,
    size: u64,
    buffer: &mut [u8],
) -> Result<(), String> {
    to.set_len(size).map_err(|e| chain(&e))?;
    let mut at = 0u64;
    while at < size {
        jaula_sys::server::deadline(REQUEST);
        let got = tree.read(node, at, buffer).map_err(|e| chain(&e))?;
        let bytes = buffer.get(..got).unwrap_or_default();
        if bytes.is_empty() {
            return Err("it is shorter than it says".into());
        }
        // Holes stay holes.
        if bytes.iter().any(|byte| *byte != 0) {
            to.write_all_at(bytes, at).map_err(|e| chain(&e))?;
        }
        at = at.saturating_add(bytes.len() as u64);
    }
    Ok(())
}
