//! Scripts run on an overlay above a tree whose files are shared with kept packages and with other images, so that
//! what writes into a file in place writes into a copy. Afterwards the layer's content is moved into the tree, as if
//! it had been written there.
//!
//! One difference is evened out by hand: a file with two names in a tree that is changed by one of them is two files
//! afterwards. Where only its owner or mode changed, [`Changed`] remembers it, and the other name is given to the new
//! file. Where its content was rewritten through one of several names, the other keeps the old one; no package does so.

use crate::configure::{ConfigureError, Runner};
use crate::error::{At, PathError};
use crate::outcome::Status;
use crate::unpack::Share;
use jaula_plan::spec::jail::{Changes, JailSpec, RootSpec};
use jaula_sys::owner;
use jaula_sys::tree::{self, Dir, Kind, Stat};
use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Deeper than any tree may be (`normalise` has the same bound).
const DEPTH: usize = 256;
/// What overlayfs marks with in a user namespace (overlayfs documentation, "User xattr").
const MARKS: &[u8] = b"user.overlay.";
const OPAQUE: &[u8] = b"user.overlay.opaque";

/// Shared files of the tree that only their attributes changed of: by inode, the path of the changed one, relative.
pub type Changed = HashMap<u64, PathBuf>;

/// A stage whose scripts run in layers where they must.
pub struct Layers<'a> {
    dir: &'a Path,
    root: &'a Path,
    share: Share,
    changed: Changed,
}

impl<'a> Layers<'a> {
    /// Of the stage in `dir` with the tree `root`.
    pub fn new(dir: &'a Path, root: &'a Path, share: Share) -> Self {
        Self {
            dir,
            root,
            share,
            changed: Changed::new(),
        }
    }

    /// What changed so far.
    pub fn changed(self) -> Changed {
        self.changed
    }

    /// Runs what a jail's specification says; if it is to write into the tree, by way of a layer.
    ///
    /// # Errors
    /// The runner's, and [`ConfigureError::Layer`].
    pub fn run(
        &mut self,
        mut spec: JailSpec,
        hear: &mut dyn FnMut(&[u8]),
        runner: Runner<'_>,
    ) -> Result<Status, ConfigureError> {
        let direct = RootSpec::Tree {
            dir: self.root.to_owned(),
            changes: Changes::Direct,
        };
        if self.share != Share::Link || spec.root != direct {
            return runner(spec, hear);
        }
        // One directory for both, since a jail takes a layer with the directory that it is in.
        let place = self.dir.join("layer");
        let (upper, work) = (place.join("upper"), place.join("work"));
        self.make(&place)?;
        spec.root = RootSpec::Tree {
            dir: self.root.to_owned(),
            changes: Changes::Layer {
                upper: upper.clone(),
                work,
            },
        };
        let status = runner(spec, hear)?;
        let open = |path: &Path| Dir::open(path).at("open", path);
        let (from, to) = (open(&upper)?, open(self.root)?);
        let mut merge = Merge {
            changed: &mut self.changed,
        };
        merge
            .dir(&from, &to, &PathBuf::new(), 0)
            .at("take the scripts' changes into", self.root)?;
        let dir = jaula_sys::dir::Dir::open(self.dir).at("open", self.dir)?;
        crate::remove::tree(&dir, OsStr::new("layer"))
            .map_err(io::Error::other)
            .at("remove", &place)?;
        Ok(status)
    }

    fn make(&self, place: &Path) -> Result<(), PathError> {
        let made = || -> io::Result<()> {
            let stage = Dir::open(self.dir)?;
            stage.make_dir(c"layer", 0o700)?;
            let layer = stage.dir(c"layer")?;
            layer.make_dir(c"upper", 0o700)?;
            layer.make_dir(c"work", 0o700)?;
            // The top of an overlay looks as the top of its upper directory.
            let stat = Dir::open(self.root)?.stat_self()?;
            like(&layer.dir(c"upper")?, &stat)
        };
        made().at("make", place)
    }
}

fn like(dir: &Dir, stat: &Stat) -> io::Result<()> {
    dir.set_self(stat.uid, stat.gid, stat.mode, stat.mtime, stat.mtime_nsec)
}

struct Merge<'c> {
    changed: &'c mut Changed,
}

impl Merge<'_> {
    fn dir(&mut self, from: &Dir, to: &Dir, path: &Path, depth: usize) -> io::Result<()> {
        if depth > DEPTH {
            return Err(ErrorKind::InvalidInput.into());
        }
        if owner::is_recorded() {
            owner::carry(from.as_fd(), to.as_fd())?;
        }
        for entry in from.entries()? {
            let name = entry.name.as_c_str();
            let stat = from.stat(name)?;
            let below = path.join(OsStr::from_bytes(name.to_bytes()));
            match stat.kind {
                Kind::Char if stat.rdev == 0 => discard(to, name)?,
                Kind::Dir => {
                    let upper = from.dir(name)?;
                    let lower = into(&upper, to, name)?;
                    self.dir(&upper, &lower, &below, depth + 1)?;
                }
                _ => self.file(from, to, name, &stat, below)?,
            }
        }
        like(to, &from.stat_self()?)
    }

    fn file(
        &mut self,
        from: &Dir,
        to: &Dir,
        name: &CStr,
        stat: &Stat,
        path: PathBuf,
    ) -> io::Result<()> {
        match to.stat(name) {
            Ok(old) if old.kind == Kind::Dir => discard(to, name)?,
            Ok(old) if old.kind == Kind::File && stat.kind == Kind::File => {
                let same = |stat: &Stat| (stat.size, stat.mtime, stat.mtime_nsec);
                if old.nlink > 1 && same(&old) == same(stat) {
                    self.changed.insert(old.ino, path);
                }
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if stat.kind == Kind::File {
            unmark(&from.read(name)?)?;
        }
        from.rename(name, to, name)
    }
}

/// The directory of the tree that the layer's directory goes into: the one that is there, or a new one where there is
/// none, or where the layer's hides what is there.
fn into(upper: &Dir, to: &Dir, name: &CStr) -> io::Result<Dir> {
    let marks = tree::file_xattrs(upper)?;
    let opaque = marks
        .iter()
        .any(|(key, value)| key.to_bytes() == OPAQUE && value == b"y");
    let there = match to.stat(name) {
        Ok(stat) => Some(stat.kind),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if there.is_some_and(|kind| opaque || kind != Kind::Dir) {
        discard(to, name)?;
    }
    if opaque || there != Some(Kind::Dir) {
        to.make_dir(name, 0o700)?;
    }
    let lower = to.dir(name)?;
    for (key, value) in marks {
        if !key.to_bytes().starts_with(MARKS) {
            tree::set_xattr(&lower, &key, &value)?;
        }
    }
    Ok(lower)
}

fn unmark(file: &std::fs::File) -> io::Result<()> {
    for (key, _) in tree::file_xattrs(file)? {
        if key.to_bytes().starts_with(MARKS) {
            tree::remove_xattr(file, &key)?;
        }
    }
    Ok(())
}

/// Removes what has the name, a directory with all in it.
pub(super) fn discard(dir: &Dir, name: &CStr) -> io::Result<()> {
    fn below(dir: &Dir, name: &CStr, depth: usize) -> io::Result<()> {
        if depth > DEPTH {
            return Err(ErrorKind::InvalidInput.into());
        }
        if dir.stat(name)?.kind != Kind::Dir {
            return dir.unlink(name);
        }
        let inner = dir.dir(name)?;
        for entry in inner.entries()? {
            below(&inner, &entry.name, depth + 1)?;
        }
        dir.remove_dir(name)
    }
    match below(dir, name, 0) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Gives the file `name` of `dir` an inode of its own, if it is a file with several names; with all its attributes.
pub(super) fn part(dir: &Dir, name: &CStr, stat: &Stat) -> io::Result<()> {
    let from = dir.read(name)?;
    let aside = CString::new(
        [
            b".jaula-",
            name.to_bytes().get(..200).unwrap_or(name.to_bytes()),
        ]
        .concat(),
    )?;
    let file = dir.create(&aside, 0o600)?;
    tree::copy_content(&from, &file, stat.size)?;
    tree::set_file(
        &file,
        stat.uid,
        stat.gid,
        stat.mode,
        stat.mtime,
        stat.mtime_nsec,
    )?;
    for (key, value) in tree::file_xattrs(&from)? {
        tree::set_xattr(&file, &key, &value)?;
    }
    tree::set_file_times(&file, stat.mtime, stat.mtime_nsec)?;
    dir.rename(&aside, dir, name)
}
