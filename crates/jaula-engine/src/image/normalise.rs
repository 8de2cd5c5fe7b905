//! What only one run has is taken out of a finished tree, so that the same packages give the same bytes.

use super::error::BuildError;
use super::layout::Tree;
use crate::error::At;
use jaula_sys::tree::{Dir, Kind};
use std::collections::HashSet;
use std::ffi::CString;
use std::io::ErrorKind;
use std::path::Path;

/// Files that tell of the run: mmdebstrap(1) removes most of these too.
const FILES: [&str; 10] = [
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/available-old",
    "var/lib/dpkg/status-old",
    "var/log/alternatives.log",
    "var/log/apt/history.log",
    "var/log/apt/term.log",
    "var/log/dpkg.log",
];

/// Does it, and tells how many bytes the tree has on disk, a file with several names counted once.
pub fn normalise(root: &Dir, shown: &Path, tree: &Tree<'_>, epoch: i64) -> Result<u64, BuildError> {
    for path in FILES {
        tree.remove(path)?;
    }
    if tree.read("etc/machine-id")?.is_some() {
        // machine-id(5): empty in an image that is used on several machines.
        tree.write("etc/machine-id", 0o644, b"")?;
    }
    for dir in ["run", "tmp"] {
        empty(root, dir, shown)?;
    }
    let mut usage = Usage::default();
    clamp(root, shown, epoch, 0, &mut usage)?;
    Ok(usage.bytes)
}

/// What the walk over the tree counts by the way.
#[derive(Default)]
struct Usage {
    bytes: u64,
    /// Inodes of files that have several names.
    seen: HashSet<u64>,
}

/// Removes what is in a directory of the root, but `run/lock`, which `/var/lock` leads to.
fn empty(root: &Dir, name: &str, shown: &Path) -> Result<(), BuildError> {
    let path = shown.join(name);
    let dir = match root.open_beneath(Path::new(name)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.at("open", &path)?,
    };
    for entry in dir.entries().at("list", &path)? {
        let lock = name == "run" && entry.name.as_c_str() == c"lock";
        if !lock {
            remove(&dir, &entry.name, 0).at("empty", &path)?;
        }
    }
    Ok(())
}

fn remove(dir: &Dir, name: &CString, depth: usize) -> std::io::Result<()> {
    if dir.stat(name)?.kind != Kind::Dir {
        return dir.unlink(name);
    }
    if depth > 256 {
        return Err(ErrorKind::InvalidInput.into());
    }
    let below = dir.dir(name)?;
    for entry in below.entries()? {
        remove(&below, &entry.name, depth + 1)?;
    }
    dir.remove_dir(name)
}

/// No time in the tree is later than `epoch`.
fn clamp(
    dir: &Dir,
    shown: &Path,
    epoch: i64,
    depth: usize,
    usage: &mut Usage,
) -> Result<(), BuildError> {
    if depth > 256 {
        return Err(BuildError::Io(
            std::io::Error::from(ErrorKind::InvalidInput).at_path(shown),
        ));
    }
    for entry in dir.entries().at("list", shown)? {
        let path = || {
            shown.join(
                <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(
                    entry.name.to_bytes(),
                ),
            )
        };
        let stat = dir.stat(&entry.name).at("look at", path())?;
        if stat.nlink < 2 || stat.kind == Kind::Dir || usage.seen.insert(stat.ino) {
            usage.bytes = usage.bytes.saturating_add(stat.disk);
        }
        if stat.kind == Kind::Dir {
            let below = dir.dir(&entry.name).at("open", path())?;
            clamp(&below, &path(), epoch, depth + 1, usage)?;
        }
        if stat.mtime > epoch || (stat.mtime == epoch && stat.mtime_nsec > 0) {
            dir.set_mtime(&entry.name, epoch, 0)
                .at("set the time of", path())?;
        }
    }
    if depth == 0 {
        let stat = dir.stat_self().at("look at", shown)?;
        dir.set_self(stat.uid, stat.gid, stat.mode, stat.mtime.min(epoch), 0)
            .at("set the time of", shown)?;
    }
    Ok(())
}

trait AtPath {
    fn at_path(self, path: &Path) -> crate::error::PathError;
}

impl AtPath for std::io::Error {
    fn at_path(self, path: &Path) -> crate::error::PathError {
        crate::error::PathError {
            action: "go down into",
            path: path.to_owned(),
            source: self,
        }
    }
}
