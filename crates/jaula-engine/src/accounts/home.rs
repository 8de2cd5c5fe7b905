//! Copies of homes and of the skeleton, by descriptor.

use super::AccountsError;
use crate::error::At;
use jaula_sys::dir::{self, Dir, Kind};
use std::os::fd::AsFd;
use std::path::Path;

/// Directories in each other.
const DEPTH: usize = 64;

/// Copies what is in a directory into another one. `owner` is that of the copies; those of the originals when absent.
pub(super) fn copy(
    from: &Dir,
    to: &Dir,
    shown: &Path,
    owner: Option<(u32, u32)>,
) -> Result<(), AccountsError> {
    deep(from, to, shown, owner, 0)
}

fn deep(
    from: &Dir,
    to: &Dir,
    shown: &Path,
    owner: Option<(u32, u32)>,
    depth: usize,
) -> Result<(), AccountsError> {
    let odd = |path: &Path| AccountsError::Odd {
        path: path.to_owned(),
    };
    if depth > DEPTH {
        return Err(odd(shown));
    }
    for (name, _) in from.entries().at("read", shown)? {
        let whole = shown.join(&name);
        let meta = from.meta(&name).at("look at", &whole)?;
        let (uid, gid) = owner.unwrap_or((meta.uid, meta.gid));
        match meta.kind {
            Kind::Directory => {
                to.make_dir(&name, 0o700).at("copy", &whole)?;
                let (inner, copy) = (
                    from.open_dir(&name).at("open", &whole)?,
                    to.open_dir(&name).at("open", &whole)?,
                );
                // What was opened, and not what had the name before.
                let meta = inner.own_meta().at("look at", &whole)?;
                let (uid, gid) = owner.unwrap_or((meta.uid, meta.gid));
                deep(&inner, &copy, &whole, owner, depth + 1)?;
                dir::set_owner(copy.as_fd(), uid, gid).at("copy", &whole)?;
                dir::set_mode(copy.as_fd(), meta.mode).at("copy", &whole)?;
            }
            Kind::File => {
                let mut source = from.open_file(&name).at("open", &whole)?;
                let meta = dir::meta_of(source.as_fd()).at("look at", &whole)?;
                let (uid, gid) = owner.unwrap_or((meta.uid, meta.gid));
                let mut file = to.create_file(&name, 0o600).at("copy", &whole)?;
                std::io::copy(&mut source, &mut file).at("copy", &whole)?;
                dir::set_owner(file.as_fd(), uid, gid).at("copy", &whole)?;
                // Set-id bits do not go along.
                dir::set_mode(file.as_fd(), meta.mode & 0o777).at("copy", &whole)?;
                dir::set_mtime(file.as_fd(), meta.mtime, meta.mtime_nanos).at("copy", &whole)?;
            }
            Kind::Link => {
                let target = from.read_link(&name).at("read", &whole)?;
                to.make_link(&target, &name).at("copy", &whole)?;
                to.set_owner(&name, uid, gid).at("copy", &whole)?;
            }
            // A socket is nothing without who listens.
            Kind::Socket => {}
            _ => return Err(odd(&whole)),
        }
    }
    Ok(())
}
