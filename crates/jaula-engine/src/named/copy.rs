//! Files in and out of a named jail that does not run: through an overlay that is mounted nowhere. Every path of the
//! jail is walked inside its root, and no link in it leads out.

use super::{NamedError, Record, base, jail_dir, running, try_lock};
use crate::error::At;
use crate::export::{CopyOptions, Owner, copy_tree};
use crate::store::Store;
use jaula_sys::content::copy_contents;
use jaula_sys::dir::{Dir, Kind, Meta, set_mode, set_mtime, set_owner};
use jaula_sys::overlay::{Overlay, detached};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

/// What the jail sees, held against being started meanwhile.
struct View {
    overlay: Overlay,
    name: String,
    _lock: File,
}

impl View {
    fn open(store: &Store, record: &Record) -> Result<Self, NamedError> {
        let lock = try_lock(store, &record.name)?;
        if let Some(found) = running(store, &record.name) {
            return Err(NamedError::Running {
                name: record.name.clone(),
                pid: found.pid,
            });
        }
        let lock = match lock {
            Some(lock) => lock,
            None => super::lock(store, &record.name)?,
        };
        let dir = jail_dir(store, &record.name);
        let open = |path: PathBuf| Dir::open(&path).at("open", path);
        let (lower, upper, work) = (
            open(base(store, record)?)?,
            open(dir.join("upper"))?,
            open(dir.join("work"))?,
        );
        let overlay = detached(&lower, &upper, &work).at("mount the layer of", &dir)?;
        Ok(Self {
            overlay,
            name: record.name.to_string(),
            _lock: lock,
        })
    }

    /// A path of the jail as errors show it.
    fn shown(&self, path: &Path) -> PathBuf {
        let mut shown = OsString::from(format!("{}:", self.name));
        shown.push(path);
        shown.into()
    }
}

/// A directory, and the name of something in it.
struct Place {
    dir: Dir,
    name: OsString,
    shown: PathBuf,
}

/// Copies a file, a link or a directory of the host into the jail, as `cp --recursive` does: into `to` when that is a
/// directory, else under that name. Everything belongs to the jail's root; set-id bits are not kept.
pub fn copy_in(store: &Store, record: &Record, from: &Path, to: &Path) -> Result<(), NamedError> {
    let view = View::open(store, record)?;
    let source = host_place(from)?;
    let target = in_jail_target(&view, to, &source.name)?;
    copy(&source, &target, Owner::All(0, 0))
}

/// Copies a file, a link or a directory of the jail out to the host, in the same way. Everything belongs to the caller.
pub fn copy_out(store: &Store, record: &Record, from: &Path, to: &Path) -> Result<(), NamedError> {
    let view = View::open(store, record)?;
    let source = in_jail_source(&view, from)?;
    let target = match std::fs::metadata(to) {
        Ok(meta) if meta.is_dir() => {
            let (dir, shown) = (Dir::open(to).at("open", to)?, to.join(&source.name));
            Place {
                dir,
                name: source.name.clone(),
                shown,
            }
        }
        _ => host_place(to)?,
    };
    let (uid, gid) = jaula_sys::process::effective_ids();
    copy(&source, &target, Owner::All(uid, gid))
}

/// Something of the host, by its real directory.
fn host_place(path: &Path) -> Result<Place, NamedError> {
    let real;
    let path = match path.file_name() {
        Some(_) => path,
        // `..` or `.`: what it means.
        None => {
            real = std::fs::canonicalize(path).at("find", path)?;
            &real
        }
    };
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let dir = Dir::open(parent).at("open", parent)?;
    let name = path.file_name().unwrap_or(OsStr::new(".")).to_owned();
    Ok(Place {
        dir,
        name,
        shown: path.to_owned(),
    })
}

/// The directory and the last component of a path of the jail. `..` goes no further up than its root.
fn split(path: &Path) -> (PathBuf, OsString) {
    match (path.components().next_back(), path.parent()) {
        (Some(Component::Normal(name)), Some(parent)) => {
            (Path::new("/").join(parent), name.to_owned())
        }
        _ => (Path::new("/").join(path), OsString::from(".")),
    }
}

fn in_jail_source(view: &View, path: &Path) -> Result<Place, NamedError> {
    let (parent, name) = split(path);
    let dir = view
        .overlay
        .root()
        .open_dir_in_root(&parent)
        .at("open", view.shown(&parent))?;
    Ok(Place {
        dir,
        name,
        shown: view.shown(path),
    })
}

fn in_jail_target(view: &View, path: &Path, name: &OsStr) -> Result<Place, NamedError> {
    if let Ok(dir) = view
        .overlay
        .root()
        .open_dir_in_root(&Path::new("/").join(path))
    {
        return Ok(Place {
            dir,
            name: name.to_owned(),
            shown: view.shown(&path.join(name)),
        });
    }
    in_jail_source(view, path)
}

fn copy(source: &Place, target: &Place, owner: Owner) -> Result<(), NamedError> {
    let meta = source.dir.meta(&source.name).at("look at", &source.shown)?;
    if target.name == "." || target.name.is_empty() {
        return Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists))
            .at("write", &target.shown)?;
    }
    // Beside its place first, so that a copy is there whole or not at all.
    let random = jaula_sys::dir::random().at("write", &target.shown)?;
    let aside: OsString = random
        .iter()
        .fold(String::from(".jaula-"), |name, byte| {
            format!("{name}{byte:02x}")
        })
        .into();
    let copied = write(source, target, &aside, &meta, owner).and_then(|()| {
        if meta.kind == Kind::Directory {
            // A directory is never merged into another.
            target
                .dir
                .rename_new(&aside, &target.dir, &target.name)
                .at("write", &target.shown)?;
        } else {
            target
                .dir
                .rename(&aside, &target.dir, &target.name)
                .at("write", &target.shown)?;
        }
        Ok(())
    });
    if copied.is_err() {
        drop(crate::remove::tree(&target.dir, &aside));
    }
    copied
}

fn write(
    source: &Place,
    target: &Place,
    aside: &OsStr,
    meta: &Meta,
    owner: Owner,
) -> Result<(), NamedError> {
    let (uid, gid) = match owner {
        Owner::All(uid, gid) => (uid, gid),
        Owner::Same => (meta.uid, meta.gid),
    };
    match meta.kind {
        Kind::Directory => {
            target
                .dir
                .make_dir(aside, 0o700)
                .at("make", &target.shown)?;
            let from = match source.name == "." {
                true => source.dir.try_clone(),
                false => source.dir.open_dir(&source.name),
            };
            let (from, to) = (
                from.at("open", &source.shown)?,
                target.dir.open_dir(aside).at("open", &target.shown)?,
            );
            copy_tree(
                &from,
                &source.shown,
                &to,
                &target.shown,
                &CopyOptions { owner },
                &|_, _, _| {},
            )?;
        }
        Kind::Link => {
            let to = source
                .dir
                .read_link(&source.name)
                .at("read", &source.shown)?;
            target.dir.make_link(&to, aside).at("make", &target.shown)?;
            target
                .dir
                .set_owner(aside, uid, gid)
                .at("change", &target.shown)?;
        }
        Kind::File => {
            let from = source
                .dir
                .open_file(&source.name)
                .at("open", &source.shown)?;
            let to = target
                .dir
                .create_file(aside, 0o600)
                .at("make", &target.shown)?;
            copy_contents(&from, &to, meta.size).at("write", &target.shown)?;
            set_owner(to.as_fd(), uid, gid).at("change", &target.shown)?;
            set_mode(to.as_fd(), meta.mode & 0o777).at("change", &target.shown)?;
            set_mtime(to.as_fd(), meta.mtime, meta.mtime_nanos).at("change", &target.shown)?;
        }
        _ => {
            return Err(std::io::Error::from(std::io::ErrorKind::Unsupported))
                .at("copy", &source.shown)?;
        }
    }
    Ok(())
}
