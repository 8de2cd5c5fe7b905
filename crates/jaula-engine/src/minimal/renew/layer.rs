//! What a named jail's own layer has in the place of what its image has.

use crate::error::{At, PathError};
use crate::journal::Intent;
use crate::minimal::MinimalImageError;
use crate::minimal::renew::Change;
use crate::minimal::within::inside;
use crate::named;
use crate::store::Store;
use jaula_sys::dir::{self, Dir, Kind};
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// How a layer stands to a path of what is beneath it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// It has nothing there.
    Nothing,
    /// It has something there that can be taken away.
    Itself,
    /// A directory above it was replaced or removed, or it is a directory now.
    Whole,
}

/// What is not a directory of an overlay that lets what is beneath be seen.
fn hides(dir: &Dir) -> Result<bool, std::io::Error> {
    let opaque =
        |name: &std::ffi::OsStr| name == "trusted.overlay.opaque" || name == "user.overlay.opaque";
    let found = dir::xattrs(dir.as_fd())?;
    Ok(found
        .iter()
        .any(|(name, value)| opaque(name) && value == b"y"))
}

fn over(upper: &Dir, path: &Path) -> Result<Over, PathError> {
    let mut here = upper.try_clone().at("open", path)?;
    let mut parts = inside(path).components().peekable();
    while let Some(part) = parts.next() {
        let Ok(meta) = here.meta(part.as_os_str()) else {
            return Ok(Over::Nothing);
        };
        match (parts.peek().is_some(), meta.kind) {
            (true, Kind::Directory) => {}
            (true, _) | (false, Kind::Directory) => return Ok(Over::Whole),
            (false, _) => return Ok(Over::Itself),
        }
        here = here.open_dir(part.as_os_str()).at("open", path)?;
        if hides(&here).at("look at", path)? {
            return Ok(Over::Whole);
        }
    }
    Ok(Over::Nothing)
}

/// Marks what stays as it is because the jail has it otherwise, and `may` does not say that it is taken away.
pub(super) fn keep(
    upper: &Path,
    changes: &mut BTreeMap<PathBuf, Change>,
    may: &dyn Fn(&Path) -> bool,
) -> Result<(), MinimalImageError> {
    let upper = Dir::open(upper).at("open", upper)?;
    for (path, change) in changes {
        match over(&upper, path)? {
            Over::Nothing => {}
            Over::Itself if may(path) => {}
            Over::Itself | Over::Whole => *change = Change::Kept,
        }
    }
    Ok(())
}

/// Writes the jail's settings, and takes what is on these paths out of its layer, so that the image's are seen. On any
/// failure the layer is as it was. The caller holds the jail's lock.
pub(super) fn rewritten(
    store: &Store,
    jail: &named::Record,
    paths: &[&Path],
) -> Result<(), crate::error::EngineError> {
    let home = named::jail_dir(store, &jail.name);
    let upper = Dir::open(&home.join("upper")).at("open", &home);
    let upper = upper.map_err(MinimalImageError::Io)?;
    let mut found = Vec::new();
    for path in paths {
        if over(&upper, path).map_err(MinimalImageError::Io)? == Over::Itself {
            found.push(*path);
        }
    }
    if found.is_empty() {
        return Ok(named::rewrite_held(store, jail)?);
    }
    let (id, mut journal) = store.journal()?;
    let mut moved = Vec::new();
    let done = (|| {
        let aside = store.made("stages")?.join(&id);
        journal.intend(Intent::Create(Path::new("stages").join(&id)))?;
        let mut builder = DirBuilder::new();
        builder.mode(0o700).create(&aside).at("make", &aside)?;
        journal.point()?;
        let aside = Dir::open(&aside).at("open", &aside)?;
        for (number, path) in found.iter().enumerate() {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                continue;
            };
            let from = upper.open_dir(inside(parent)).at("open", path)?;
            let to = number.to_string();
            from.rename_new(name, &aside, &to).at("take away", path)?;
            moved.push((from, name, aside.try_clone().at("open", path)?, to));
            journal.point()?;
        }
        named::rewrite_held(store, jail)
    })();
    match done {
        Ok(()) => {
            // What was taken away goes with the journal.
            let errors = journal.undo();
            let first = errors.into_iter().next();
            first.map_or(Ok(()), |error| {
                Err(crate::store::StoreError::from(error).into())
            })
        }
        Err(error) => {
            for (from, name, aside, to) in moved.iter().rev() {
                drop(aside.rename_new(to, from, name));
            }
            drop(journal.undo());
            Err(error.into())
        }
    }
}
