//! Serves one image by FUSE: reads requests of the kernel, answers each before it reads the next.
//!
//! The protocol is our own, small and without threads ([`super::wire`]): the crate `fuser` starts threads even for one
//! session, which a process that was forked in the middle of another, behind a list of system calls, should not, and it
//! asks that a file system can be shared between them, which the readers here cannot.

use super::wire::{Answer, Ask, MAX_READ, OUT_HEADER, Request, name_len};
use super::{Identifiers, REQUEST};
use jaula_repo::disk::{DiskEntry, DiskError, DiskTree, NodeKind, ROOT};
use jaula_repo::ext::ExtError;
use jaula_repo::iso9660::IsoError;
use jaula_repo::squashfs::SquashfsError;
use jaula_sys::server::deadline;
use std::fs::File;
use std::io::{Read, Write};

/// The kernel wants room for its longest request: a header and 8 KiB at least (`FUSE_MIN_READ_BUFFER`).
const BUFFER: usize = 64 << 10;

const ENOENT: i32 = 2;
const EIO: i32 = 5;
const ENODEV: i32 = 19;
const EINTR: i32 = 4;
const EINVAL: i32 = 22;
const EPROTO: i32 = 71;
const ENOSYS: i32 = 38;
const EOPNOTSUPP: i32 = 95;

/// `.` and `..`, which readers leave out.
const DOTS: u64 = 2;

/// Until the file system is gone; the exit code.
pub(super) fn serve(mut device: File, mut tree: Box<dyn DiskTree>, ids: &Identifiers) -> u8 {
    let mut buffer = vec![0u8; BUFFER];
    let mut answer = Answer::default();
    loop {
        let got = match device.read(&mut buffer) {
            Ok(got) => got,
            Err(error) => match error.raw_os_error() {
                // Interrupted, or the one who asked has gone.
                Some(EINTR | ENOENT) => continue,
                // Unmounted: the jail has ended.
                Some(ENODEV) => return 0,
                _ => return 1,
            },
        };
        let Some(request) = Request::parse(buffer.get(..got).unwrap_or_default()) else {
            return 1;
        };
        if matches!(request.ask, Ask::Forget) {
            continue;
        }
        // Whoever asks waits, and cannot be killed: a reader that never ends is ended.
        deadline(REQUEST);
        answer.start(request.unique);
        if let Err(errno) = reply(&request, tree.as_mut(), ids, &mut answer) {
            answer.error(request.unique, errno);
        }
        let sent = device.write(answer.finish());
        deadline(0);
        match sent.map_err(|error| error.raw_os_error()) {
            // The one who asked has gone meanwhile.
            Ok(_) | Err(Some(ENOENT | EINTR)) => {}
            Err(Some(ENODEV)) => return 0,
            Err(_) => return 1,
        }
        if matches!(request.ask, Ask::Destroy) {
            return 0;
        }
    }
}

/// What an error of a reader is to a program.
fn errno(error: &DiskError) -> i32 {
    match error {
        DiskError::Iso(IsoError::Unsupported { .. })
        | DiskError::Ext(ExtError::Unsupported { .. })
        | DiskError::Squashfs(SquashfsError::Unsupported { .. }) => EOPNOTSUPP,
        DiskError::Node { .. } => EINVAL,
        _ => EIO,
    }
}

fn reply(
    request: &Request<'_>,
    tree: &mut dyn DiskTree,
    ids: &Identifiers,
    answer: &mut Answer,
) -> Result<(), i32> {
    let failed = |error: DiskError| errno(&error);
    match request.ask {
        Ask::Init {
            major,
            read_ahead,
            flags,
        } => {
            if major != 7 {
                return Err(EPROTO);
            }
            answer.init(read_ahead, flags);
        }
        Ask::Lookup(name) => match tree.lookup(request.node, name).map_err(failed)? {
            Some(node) => {
                let known = tree.attributes(node).map_err(failed)?;
                let owner = ids.inside(known.uid, known.gid);
                answer.entry(node, Some((&known, owner)));
            }
            None => answer.entry(0, None),
        },
        Ask::Attributes => {
            let known = tree.attributes(request.node).map_err(failed)?;
            answer.stat(&known, ids.inside(known.uid, known.gid));
        }
        Ask::ReadLink => answer.bytes(&tree.read_link(request.node).map_err(failed)?),
        Ask::Read { offset, size } => {
            let size = usize::try_from(size).unwrap_or(usize::MAX).min(MAX_READ);
            let room = answer.room(size);
            let got = tree.read(request.node, offset, room).map_err(failed)?;
            answer.cut(OUT_HEADER.saturating_add(got));
        }
        Ask::ReadDir { offset, size, plus } => {
            let size = usize::try_from(size).unwrap_or(usize::MAX).min(MAX_READ);
            let end = OUT_HEADER.saturating_add(size);
            list(request.node, offset, end, plus, tree, ids, answer)?;
        }
        Ask::StatFs => answer.stat_fs(tree.bytes()),
        Ask::Release | Ask::Destroy | Ask::Forget => {}
        Ask::Open | Ask::Other => return Err(ENOSYS),
    }
    Ok(())
}

/// A listing of at most so many bytes.
fn list(
    dir: u64,
    offset: u64,
    end: usize,
    plus: bool,
    tree: &mut dyn DiskTree,
    ids: &Identifiers,
    answer: &mut Answer,
) -> Result<(), i32> {
    let fits =
        |answer: &Answer, name: &[u8]| answer.len().saturating_add(name_len(name, plus)) <= end;
    for (place, name) in (1..=DOTS).zip([&b"."[..], b".."]) {
        if place <= offset {
            continue;
        }
        if !fits(answer, name) {
            return Ok(());
        }
        if plus {
            answer.entry(0, None);
        }
        // The kernel knows who is above; the number only has to be there.
        answer.name(dir.max(ROOT), place, NodeKind::Directory, name);
    }
    // Attributes need the tree again, so a page of names comes first.
    let mut page: Vec<DiskEntry> = Vec::new();
    let mut len = answer.len();
    tree.read_dir(dir, offset.saturating_sub(DOTS), &mut |entry| {
        let new = len.saturating_add(name_len(&entry.name, plus));
        if new > end {
            return false;
        }
        len = new;
        page.push(entry.clone());
        true
    })
    .map_err(|error| errno(&error))?;
    for entry in page {
        let next = entry.next.saturating_add(DOTS);
        let known = tree.attributes(entry.node);
        if plus {
            match &known {
                Ok(known) => {
                    let owner = ids.inside(known.uid, known.gid);
                    answer.entry(entry.node, Some((known, owner)));
                }
                // The name is told, and whoever looks closer hears what is wrong.
                Err(_) => answer.entry(0, None),
            }
        }
        let ino = known.map_or(entry.node, |known| known.ino);
        answer.name(ino, next, entry.kind, &entry.name);
    }
    Ok(())
}
