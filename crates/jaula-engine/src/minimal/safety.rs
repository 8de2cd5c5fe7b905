//! What is on the way to a jail's directory, and in it, as facts for the safety test.

use super::MinimalImageError;
use crate::error::{At, PathError};
use jaula_plan::minimal::{PartKind, PathPart, TOP, Unsafe, changeable, reasons};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Every reason why the directory at this absolute path is not safe as a jail: `/`, each directory down to it, and
/// those of its own that its programs trust. One that does not exist yet is judged by what leads to it.
///
/// # Errors
/// When one of them cannot be looked at.
pub fn unsafe_parts(jail: &Path) -> Result<Vec<Unsafe>, PathError> {
    let mut way: Vec<PathBuf> = jail.ancestors().map(Path::to_owned).collect();
    way.reverse();
    let way = way.iter().map(|path| part(path));
    let way = way.collect::<Result<Vec<_>, _>>()?;
    let top = TOP.iter().map(|name| part(&jail.join(name)));
    let top = top.collect::<Result<Vec<_>, _>>()?;
    Ok(reasons(&way, &top))
}

/// The same of the way to a directory alone, itself among it.
pub(crate) fn unsafe_way(dir: &Path) -> Result<Vec<Unsafe>, PathError> {
    let mut way: Vec<PathBuf> = dir.ancestors().map(Path::to_owned).collect();
    way.reverse();
    let way = way.iter().map(|path| part(path));
    Ok(reasons(&way.collect::<Result<Vec<_>, _>>()?, &[]))
}

/// Refuses a directory when others than root and the caller could exchange what leads to it or what its programs trust, while
/// it is changed. `dir` has no link on the way.
pub(super) fn refuse_changeable(dir: &Path) -> Result<(), MinimalImageError> {
    let mut way: Vec<PathBuf> = dir.ancestors().map(Path::to_owned).collect();
    way.reverse();
    let way = way.iter().map(|path| part(path));
    let way = way.collect::<Result<Vec<_>, _>>()?;
    let top = TOP.iter().map(|name| part(&dir.join(name)));
    let top = top.collect::<Result<Vec<_>, _>>()?;
    let reasons = changeable(&way, &top, jaula_sys::dir::effective_uid());
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(MinimalImageError::Unsafe {
            path: dir.to_owned(),
            reasons,
        }),
    }
}

fn part(path: &Path) -> Result<PathPart, PathError> {
    let made = |kind, uid, gid, mode| PathPart {
        path: path.to_owned(),
        kind,
        uid,
        gid,
        mode,
    };
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(made(PartKind::Missing, 0, 0, 0));
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Ok(made(PartKind::Missing, 0, 0, 0));
        }
        Err(error) => return Err(error).at("look at", path),
    };
    let kind = if meta.is_symlink() {
        PartKind::Link(std::fs::read_link(path).at("read", path)?)
    } else if meta.is_dir() {
        PartKind::Directory
    } else {
        PartKind::Other
    };
    Ok(made(kind, meta.uid(), meta.gid(), meta.mode() & 0o7777))
}
