//! Removal of a tree by descriptor. It never follows a link, never crosses a mount, and has no limit of depth:
//! whatever was left in the tree, and wherever a link in it leads, nothing outside is touched.

use jaula_sys::dir::{Dir, Kind};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};

/// A tree was not removed, or not whole.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Something is mounted beneath it. Everything else of the tree is gone.
    #[error("something is mounted on {name:?} in the tree to be removed; it was left alone")]
    Mounted {
        /// The last component of the place.
        name: OsString,
    },
    /// The kernel refused.
    #[error("cannot remove {name:?}")]
    Io {
        /// The last component of the place.
        name: OsString,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// Descriptors held at once; deeper directories are first moved up to the top.
const DEPTH: usize = 128;

/// EXDEV of errno(3): the answer of openat2(2) to a path that crosses a mount.
const CROSSES: ErrorKind = ErrorKind::CrossesDevices;

/// Removes `name` in `dir`, with all beneath it when it is a directory. What is absent is removed already. Goes on
/// after an error, so that as little as possible stays, and returns the first.
pub fn tree(dir: &Dir, name: &OsStr) -> Result<(), RemoveError> {
    let mut first = None;
    let mut moved = Vec::new();
    let mut serial = 0u64;
    let mut note = |error: RemoveError| {
        first.get_or_insert(error);
    };
    remove(dir, name, dir, 0, &mut moved, &mut serial, &mut note);
    // What lay deeper than DEPTH was moved up beside `name`; each such tree may yield more of them.
    while let Some(next) = moved.pop() {
        remove(dir, &next, dir, 0, &mut moved, &mut serial, &mut note);
    }
    first.map_or(Ok(()), Err)
}

fn remove(
    parent: &Dir,
    name: &OsStr,
    top: &Dir,
    depth: usize,
    moved: &mut Vec<OsString>,
    serial: &mut u64,
    note: &mut dyn FnMut(RemoveError),
) {
    let io_error = |source: io::Error| match source.kind() {
        CROSSES => RemoveError::Mounted {
            name: name.to_owned(),
        },
        ErrorKind::ResourceBusy => RemoveError::Mounted {
            name: name.to_owned(),
        },
        _ => RemoveError::Io {
            name: name.to_owned(),
            source,
        },
    };
    // unlinkat(2) of a directory is EISDIR on Linux; trying it first spares a stat for each file.
    match parent.unlink(name) {
        Ok(()) => return,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) if error.kind() == ErrorKind::IsADirectory => {}
        Err(error) => return note(io_error(error)),
    }
    if depth >= DEPTH {
        *serial = serial.wrapping_add(1);
        let aside = OsString::from(format!(".jaula-deep-{}-{serial}", std::process::id()));
        match parent.rename_new(name, top, &aside) {
            Ok(()) => moved.push(aside),
            Err(error) => note(io_error(error)),
        }
        return;
    }
    let opened = match parent.open_dir(name) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            // A directory without rights for its owner, in the store of somebody who is not root. It is no link
            // (unlinkat said EISDIR), and the parent is ours.
            parent
                .set_mode(name, 0o700)
                .and_then(|()| parent.open_dir(name))
        }
        other => other,
    };
    let child = match opened {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => return note(io_error(error)),
    };
    // openat2 with NO_XDEV refuses another mount, also one of the same file system; the attribute says the same
    // where the walk went by components.
    match child.own_meta() {
        Ok(meta) if meta.mount_root && depth > 0 => {
            return note(RemoveError::Mounted {
                name: name.to_owned(),
            });
        }
        Ok(_) => {}
        Err(error) => return note(io_error(error)),
    }
    let entries = match child.entries() {
        Ok(entries) => entries,
        Err(error) => return note(io_error(error)),
    };
    let mut writable = false;
    for (entry, kind) in entries {
        if kind != Kind::Directory && kind != Kind::Unknown {
            match child.unlink(&entry) {
                Ok(()) => continue,
                Err(error) if error.kind() == ErrorKind::PermissionDenied && !writable => {
                    // Read-only directory of an ordinary user.
                    writable = true;
                    if let Err(error) = parent.set_mode(name, 0o700) {
                        note(io_error(error));
                    }
                }
                Err(_) => {}
            }
        }
        remove(
            &child,
            &entry,
            top,
            depth.saturating_add(1),
            moved,
            serial,
            note,
        );
    }
    drop(child);
    match parent.remove_dir(name) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // Something in it was left, and was noted, or is still to be removed from the top.
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
        Err(error) => note(io_error(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_link_is_removed_and_its_target_stays() -> Result<(), Box<dyn std::error::Error>> {
        let scratch = tempfile::tempdir()?;
        let base = scratch.path();
        fs::create_dir_all(base.join("canary/deep"))?;
        fs::write(base.join("canary/deep/file"), "sings")?;
        fs::create_dir_all(base.join("tree/etc"))?;
        std::os::unix::fs::symlink(base.join("canary"), base.join("tree/etc/link"))?;
        std::os::unix::fs::symlink("../../canary/deep", base.join("tree/etc/relative"))?;
        std::os::unix::fs::symlink("/", base.join("tree/root"))?;
        std::os::unix::net::UnixListener::bind(base.join("tree/socket"))?;
        let dir = Dir::open(base)?;
        tree(&dir, OsStr::new("tree"))?;
        assert!(!base.join("tree").exists());
        assert_eq!(fs::read_to_string(base.join("canary/deep/file"))?, "sings");
        // A name that is itself a link: the link goes.
        std::os::unix::fs::symlink("canary", base.join("tree"))?;
        tree(&dir, OsStr::new("tree"))?;
        tree(&dir, OsStr::new("tree"))?;
        assert_eq!(fs::read_to_string(base.join("canary/deep/file"))?, "sings");
        Ok(())
    }

    #[test]
    fn depth_has_no_limit() -> Result<(), Box<dyn std::error::Error>> {
        let scratch = tempfile::tempdir()?;
        let base = scratch.path();
        let mut at = Dir::open(base)?;
        at.make_dir("tree", 0o755)?;
        at = at.open_dir("tree")?;
        for _ in 0..1000 {
            at.make_dir("dddddddddd", 0o755)?;
            at.create_file("file", 0o400)?;
            at = at.open_dir("dddddddddd")?;
        }
        drop(at);
        tree(&Dir::open(base)?, OsStr::new("tree"))?;
        assert_eq!(fs::read_dir(base)?.count(), 0);
        Ok(())
    }
}
