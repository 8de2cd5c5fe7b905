//! Files in and out of a named jail. One that does not run is seen through an overlay that is mounted nowhere, one
//! that runs by a child that joins its mounts. Every path of the jail is walked inside its root, and no link in it
//! leads out; what lies on the host is opened before.

use super::{NamedError, Record, base, jail_dir};
use crate::error::At;
use crate::export::{CopyOptions, Owner, copy_tree};
use crate::store::Store;
use jaula_plan::names::JailName;
use jaula_sys::content::copy_contents;
use jaula_sys::dir::{Dir, Kind, Meta, set_mode, set_mtime, set_owner};
use jaula_sys::joining;
use jaula_sys::overlay::{Overlay, detached};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

/// The report of a child is never longer than this.
const REPORT: u64 = 16 << 10;

/// What the jail sees.
enum View {
    /// It does not run, and is held against being started meanwhile.
    Stopped { overlay: Overlay, _lock: File },
    /// It runs: this process has joined it.
    Joined { root: Dir },
}

impl View {
    fn stopped(store: &Store, record: &Record, lock: File) -> Result<Self, NamedError> {
        let dir = jail_dir(store, &record.name);
        let open = |path: PathBuf| Dir::open(&path).at("open", path);
        let (lower, upper, work) = (
            open(base(store, record)?)?,
            open(dir.join("upper"))?,
            open(dir.join("work"))?,
        );
        let overlay = detached(&lower, &upper, &work).at("mount the layer of", &dir)?;
        Ok(Self::Stopped {
            overlay,
            _lock: lock,
        })
    }

    fn root(&self) -> &Dir {
        match self {
            Self::Stopped { overlay, .. } => overlay.root(),
            Self::Joined { root } => root,
        }
    }
}

/// The jail as a copy sees it.
pub(super) struct Inside<'a> {
    name: &'a JailName,
    view: View,
    /// Whoever is root of it, as this process numbers users and groups.
    root_ids: (u32, u32),
}

impl Inside<'_> {
    /// Its root.
    pub(super) fn root(&self) -> &Dir {
        self.view.root()
    }

    /// A path of the jail as errors show it.
    pub(super) fn shown(&self, path: &Path) -> PathBuf {
        let mut shown = OsString::from(format!("{}:", self.name));
        shown.push(path);
        shown.into()
    }
}

/// What the caller of a copy does to get several users, where the jail does not run.
type Prepare = Option<fn() -> Result<(), String>>;

/// Calls a function where the jail can be seen: in this process when it does not run, else in a child that has joined
/// it, and which the jail's own processes neither see nor reach.
pub(super) fn inside(
    store: &Store,
    record: &Record,
    prepare: Prepare,
    copy: &mut dyn FnMut(&Inside<'_>) -> Result<(), NamedError>,
) -> Result<(), NamedError> {
    let name = &record.name;
    let failed = |text: String| NamedError::Copying {
        name: name.clone(),
        text,
    };
    let lock = super::lock(store, name)?;
    let Some(session) = super::exec::running_session(store, name)? else {
        prepare
            .map_or(Ok(()), |prepare| prepare())
            .map_err(failed)?;
        let view = View::stopped(store, record, lock)?;
        return copy(&Inside {
            name,
            view,
            root_ids: (0, 0),
        });
    };
    // Others may join it meanwhile; it runs for as long as the session is held.
    drop(lock);
    let held = session.running.namespaces();
    let held = held.at("join", super::run_path(store, name))?;
    let jail = match held.is_empty() {
        true => joining::Jail::for_root(session.running.pid, &|| session.running.alive()),
        false => Ok(joining::Jail::for_owner(held)),
    };
    let jail = jail.at("join", super::run_path(store, name))?;
    let (mut answer, tell) = std::io::pipe().at("make a pipe for", super::run_path(store, name))?;
    let mut tell = Some(tell);
    let mut child = || {
        let Some(mut tell) = tell.take() else {
            return 1;
        };
        let copied = jail
            .join()
            .and_then(|ids| Ok((ids, Dir::open(Path::new("/"))?)))
            .map_err(|error| error.to_string())
            .and_then(|(root_ids, root)| {
                let view = View::Joined { root };
                let seen = Inside {
                    name,
                    view,
                    root_ids,
                };
                copy(&seen).map_err(|error| super::chain(&error))
            });
        match copied {
            Ok(()) => 0,
            Err(text) => {
                // Without the text the exit code still says that it failed.
                drop(tell.write_all(text.as_bytes()));
                1
            }
        }
    };
    let forked = jaula_sys::userns::fork(&mut child).map_err(|error| failed(error.to_string()))?;
    drop(tell.take());
    let mut text = Vec::new();
    let read = (&mut answer).take(REPORT).read_to_end(&mut text);
    let code = forked.wait().map_err(|error| failed(error.to_string()))?;
    drop(session);
    match (code, read) {
        (Some(0), _) => Ok(()),
        _ => {
            let text = String::from_utf8_lossy(&text);
            Err(failed(text.chars().filter(|c| !c.is_control()).collect()))
        }
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
pub fn copy_in(
    store: &Store,
    record: &Record,
    prepare: Prepare,
    from: &Path,
    to: &Path,
) -> Result<(), NamedError> {
    let source = host_place(from)?;
    inside(store, record, prepare, &mut |inside| {
        let target = in_jail_target(inside, to, &source.name)?;
        copy(
            &source,
            &target,
            Owner::All(inside.root_ids.0, inside.root_ids.1),
        )
    })
}

/// Copies a file, a link or a directory of the jail out to the host, in the same way. Everything belongs to the caller.
pub fn copy_out(
    store: &Store,
    record: &Record,
    prepare: Prepare,
    from: &Path,
    to: &Path,
) -> Result<(), NamedError> {
    // Before the jail is joined: the host's paths are not to be seen from there.
    let (place, into) = match std::fs::metadata(to) {
        Ok(meta) if meta.is_dir() => {
            let dir = Dir::open(to).at("open", to)?;
            let (name, shown) = (OsString::new(), to.to_owned());
            (Place { dir, name, shown }, true)
        }
        _ => (host_place(to)?, false),
    };
    inside(store, record, prepare, &mut |inside| {
        let source = in_jail_source(inside, from)?;
        let dir = place.dir.try_clone().at("open", &place.shown)?;
        let (name, shown) = match into {
            true => (source.name.clone(), place.shown.join(&source.name)),
            false => (place.name.clone(), place.shown.clone()),
        };
        let (uid, gid) = jaula_sys::process::effective_ids();
        copy(&source, &Place { dir, name, shown }, Owner::All(uid, gid))
    })
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

fn in_jail_source(inside: &Inside<'_>, path: &Path) -> Result<Place, NamedError> {
    let (parent, name) = split(path);
    let dir = inside
        .view
        .root()
        .open_dir_in_root(&parent)
        .at("open", inside.shown(&parent))?;
    Ok(Place {
        dir,
        name,
        shown: inside.shown(path),
    })
}

fn in_jail_target(inside: &Inside<'_>, path: &Path, name: &OsStr) -> Result<Place, NamedError> {
    if let Ok(dir) = inside
        .view
        .root()
        .open_dir_in_root(&Path::new("/").join(path))
    {
        return Ok(Place {
            dir,
            name: name.to_owned(),
            shown: inside.shown(&path.join(name)),
        });
    }
    in_jail_source(inside, path)
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
