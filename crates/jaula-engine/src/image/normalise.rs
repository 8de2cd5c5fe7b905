//! What only one run has is taken out of a finished tree, so that the same packages give the same bytes.

use super::error::BuildError;
use super::layer::{self, Changed};
use super::layout::Tree;
use crate::error::At;
use jaula_sys::tree::{Dir, Kind};
use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsStr};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Files that tell of the run: mmdebstrap(1) removes most of these too.
const FILES: [&str; 11] = [
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/available-old",
    "var/lib/dpkg/status-old",
    "var/log/alternatives.log",
    "var/log/apt/eipp.log.xz",
    "var/log/apt/history.log",
    "var/log/apt/term.log",
    "var/log/dpkg.log",
];

/// Does it, and tells how many bytes the tree has on disk, a file with several names counted once.
/// `changed` are files of which other names are to be given too.
pub fn normalise(
    root: &Dir,
    shown: &Path,
    tree: &Tree<'_>,
    epoch: i64,
    changed: &Changed,
) -> Result<u64, BuildError> {
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
    let mut walk = Walk {
        root,
        epoch,
        changed,
        bytes: 0,
        seen: HashSet::new(),
        parted: HashMap::new(),
        own: HashSet::new(),
    };
    walk.clamp(root, shown, 0)?;
    Ok(walk.bytes)
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
            layer::discard(&dir, &entry.name).at("empty", &path)?;
        }
    }
    Ok(())
}

/// The walk over the finished tree.
struct Walk<'a> {
    root: &'a Dir,
    epoch: i64,
    changed: &'a Changed,
    /// On disk.
    bytes: u64,
    /// Inodes of files that have several names.
    seen: HashSet<u64>,
    /// Those that were shared with other trees and got a later time: the new inode, where it is, and its name.
    parted: HashMap<u64, (Dir, CString)>,
    /// Inodes that several names were given to here.
    own: HashSet<u64>,
}

impl Walk<'_> {
    /// No time in the tree is later than `epoch`.
    fn clamp(&mut self, dir: &Dir, shown: &Path, depth: usize) -> Result<(), BuildError> {
        if depth > 256 {
            return Err(BuildError::Io(
                std::io::Error::from(ErrorKind::InvalidInput).at_path(shown),
            ));
        }
        // As the directory was before names in it were given anew.
        let mut before = None;
        for entry in dir.entries().at("list", shown)? {
            let path = || shown.join(OsStr::from_bytes(entry.name.to_bytes()));
            let mut stat = dir.stat(&entry.name).at("look at", path())?;
            let several = stat.kind == Kind::File && stat.nlink > 1;
            let late = stat.mtime > self.epoch || (stat.mtime == self.epoch && stat.mtime_nsec > 0);
            // Its last other name may have been parted from it by now.
            let elsewhere = stat.kind == Kind::File
                && (self.parted.contains_key(&stat.ino) || self.changed.contains_key(&stat.ino));
            if before.is_none() && (elsewhere || several && late) {
                before = Some(dir.stat_self().at("look at", shown)?);
            }
            if elsewhere {
                self.join(dir, &entry.name, stat.ino).at("link", path())?;
                stat = dir.stat(&entry.name).at("look at", path())?;
                self.own.insert(stat.ino);
            }
            if stat.nlink < 2 || stat.kind == Kind::Dir || self.seen.insert(stat.ino) {
                self.bytes = self.bytes.saturating_add(stat.disk);
            }
            if stat.kind == Kind::Dir {
                let below = dir.dir(&entry.name).at("open", path())?;
                self.clamp(&below, &path(), depth + 1)?;
            }
            if stat.mtime > self.epoch || (stat.mtime == self.epoch && stat.mtime_nsec > 0) {
                if stat.kind == Kind::File && stat.nlink > 1 && !self.own.contains(&stat.ino) {
                    // It may be a file of other images, which nobody may change.
                    layer::part(dir, &entry.name, &stat).at("copy", path())?;
                    let dir = dir.try_clone().at("open", shown)?;
                    self.parted.insert(stat.ino, (dir, entry.name.clone()));
                }
                dir.set_mtime(&entry.name, self.epoch, 0)
                    .at("set the time of", path())?;
            }
        }
        if depth == 0 && before.is_none() {
            before = Some(dir.stat_self().at("look at", shown)?);
        }
        if let Some(stat) = before {
            let mtime = stat.mtime.min(self.epoch);
            let nsec = if depth == 0 || mtime < stat.mtime {
                0
            } else {
                stat.mtime_nsec
            };
            dir.set_self(stat.uid, stat.gid, stat.mode, mtime, nsec)
                .at("set the time of", shown)?;
        }
        Ok(())
    }

    /// Gives the name to the file that its own inode became.
    fn join(&self, dir: &Dir, name: &CString, ino: u64) -> std::io::Result<()> {
        if let Some((from, first)) = self.parted.get(&ino) {
            dir.unlink(name)?;
            return from.link(first, dir, name);
        }
        let path = self.changed.get(&ino);
        let Some((parent, last)) = path.and_then(|path| path.parent().zip(path.file_name())) else {
            return Ok(());
        };
        let from = if parent.as_os_str().is_empty() {
            self.root.try_clone()?
        } else {
            self.root.open_beneath(parent)?
        };
        dir.unlink(name)?;
        from.link(&CString::new(last.as_bytes())?, dir, name)
    }
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
