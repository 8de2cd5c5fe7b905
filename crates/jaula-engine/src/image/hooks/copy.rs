//! Copying into a directory that has things already: as `tar --create | tar --extract` would, which is how
//! mmdebstrap(1) copies. Owners, modes, times, attributes and hard links are kept; a file takes the place of a file,
//! a directory of the same name stays and gets what comes. No link is followed on either side.

use super::super::base::copy_one;
use super::super::error::BuildError;
use crate::error::At;
use jaula_sys::tree::{self, Dir, Kind, Stat};
use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

/// Deeper trees are refused, as everywhere.
const DEPTH: usize = 256;

/// What a copy knows of itself: where the first name of each file with several was put.
#[derive(Default)]
pub struct Merge {
    first: HashMap<(u64, u64), (Rc<Dir>, CString)>,
    depth: usize,
    /// Who owns the copies; whoever owns the originals when absent.
    owner: Option<(u32, u32)>,
}

impl Merge {
    /// All copies belong to this user and group.
    pub fn owned(uid: u32, gid: u32) -> Self {
        Self {
            owner: Some((uid, gid)),
            ..Self::default()
        }
    }
}

/// Copies everything that is in a directory.
pub fn merge_all(
    from: &Dir,
    from_shown: &Path,
    to: &Rc<Dir>,
    to_shown: &Path,
    links: &mut Merge,
) -> Result<(), BuildError> {
    if links.depth > DEPTH {
        Err(std::io::Error::from(ErrorKind::InvalidInput)).at("go down into", from_shown)?;
    }
    let mut entries = from.entries().at("list", from_shown)?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    links.depth += 1;
    for entry in entries {
        let shown = from_shown.join(OsStr::from_bytes(entry.name.to_bytes()));
        merge(from, &entry.name, &shown, to, to_shown, links)?;
    }
    links.depth -= 1;
    Ok(())
}

/// Copies one name with everything beneath it.
pub fn merge(
    from: &Dir,
    name: &CString,
    from_shown: &Path,
    to: &Rc<Dir>,
    to_dir: &Path,
    links: &mut Merge,
) -> Result<(), BuildError> {
    let to_shown = to_dir.join(OsStr::from_bytes(name.to_bytes()));
    let mut stat = from.stat(name).at("look at", from_shown)?;
    (stat.uid, stat.gid) = links.owner.unwrap_or((stat.uid, stat.gid));
    if stat.kind == Kind::Dir {
        let below = from.dir(name).at("open", from_shown)?;
        match to.make_dir(name, 0o700) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other.at("make", &to_shown)?,
        }
        let made = Rc::new(to.dir(name).at("open", &to_shown)?);
        merge_all(&below, from_shown, &made, &to_shown, links)?;
        for (key, value) in tree::file_xattrs(&below).at("read", from_shown)? {
            tree::set_xattr(made.as_ref(), &key, &value).at("write", &to_shown)?;
        }
        made.set_self(stat.uid, stat.gid, stat.mode, stat.mtime, stat.mtime_nsec)
            .at("set the mode of", &to_shown)?;
        return Ok(());
    }
    match to.unlink(name) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).at("replace", &to_shown)?;
        }
        _ => {}
    }
    leaf(from, name, &stat, to, links).at("copy", from_shown)?;
    Ok(())
}

/// Copies what is no directory.
fn leaf(
    from: &Dir,
    name: &CString,
    stat: &Stat,
    to: &Rc<Dir>,
    links: &mut Merge,
) -> std::io::Result<()> {
    if stat.nlink > 1 {
        if let Some((dir, first)) = links.first.get(&(stat.dev, stat.ino)) {
            return dir.link(first, to, name);
        }
        let place = (to.clone(), name.clone());
        links.first.insert((stat.dev, stat.ino), place);
    }
    match stat.kind {
        Kind::File | Kind::Symlink | Kind::Fifo => copy_one(from, to, name, stat).map(drop),
        Kind::Dir | Kind::Socket | Kind::Char | Kind::Block => {
            Err(std::io::Error::other("it is no file, link or pipe"))
        }
    }
}
