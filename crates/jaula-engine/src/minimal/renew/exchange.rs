//! Two trees exchanged at once. A marker in the store says how far that is, so that after a kill at any moment the
//! next command finishes it or takes it back.

use super::tested;
use crate::error::{At, PathError};
use crate::minimal::inspect::rooted_in;
use crate::minimal::safety::refuse_changeable;
use crate::minimal::tree::TreePlan;
use crate::minimal::within::inside;
use crate::minimal::{MinimalImageError, kept, place};
use crate::store::{Store, StoreError};
use jaula_plan::minimal::{Record, path_text};
use jaula_sys::dir::{Dir as Beneath, Meta};
use jaula_sys::tree::{self, Dir, Kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Directories within each other.
const MOST_DEPTH: usize = 128;
/// The form of the marker.
const VERSION: u32 = 1;
/// What a marker's name ends in, beside the record.
pub(super) const MARKER: &str = "updating";

/// A directory on its file system: device and inode.
type Number = ((u32, u32), u64);

fn number(meta: Meta) -> Number {
    (meta.device, meta.inode)
}

/// How far an update of a directory is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Marker {
    version: u32,
    /// The jail's directory.
    #[serde(with = "path_text")]
    pub(super) at: PathBuf,
    /// The directory that it is in.
    above: Number,
    state: State,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
enum State {
    /// The new tree is being made, and goes.
    Making,
    /// It is whole. Whether it was exchanged with the old one is seen from what the directory is.
    Whole {
        old: Number,
        new: Number,
        /// What was placed in the old one and is not in the new one.
        #[serde(with = "path_text::list")]
        gone: Vec<PathBuf>,
        /// What is in the new one.
        record: Box<Record>,
    },
}

/// A jail's directory and the one that it is in, held open: what was judged is what is changed.
#[derive(Debug)]
pub(super) struct Held {
    dir: PathBuf,
    name: OsString,
    /// What the other tree is called.
    beside: OsString,
    up: Beneath,
    pub(super) jail: Beneath,
}

/// What the other tree is called.
fn beside_of(name: &OsStr) -> OsString {
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(".jaula-update");
    beside
}

fn walker(dir: &Beneath) -> io::Result<Dir> {
    Ok(Dir::from_fd(dir.as_fd().try_clone_to_owned()?))
}

fn word(name: &OsStr) -> io::Result<CString> {
    CString::new(name.as_bytes()).map_err(io::Error::from)
}

impl Held {
    /// # Errors
    /// When somebody else could exchange what is on the way to it or in it.
    pub(super) fn open(dir: &Path) -> Result<Self, MinimalImageError> {
        let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput)).at("update", dir)?;
        };
        let up = Beneath::open(parent).at("open", parent)?;
        let jail = up.open_dir(name).at("open", dir)?;
        // By the path without links, which must lead to what is held.
        let real = parent.canonicalize().at("find", parent)?.join(name);
        refuse_changeable(&real)?;
        let there = Beneath::open(&real).and_then(|there| there.own_meta());
        let (there, held) = (
            there.at("look at", dir)?,
            jail.own_meta().at("look at", dir)?,
        );
        if number(there) != number(held) {
            return Err(MinimalImageError::Changed {
                path: dir.to_owned(),
            });
        }
        Ok(Self {
            dir: dir.to_owned(),
            name: name.to_owned(),
            beside: beside_of(name),
            up,
            jail,
        })
    }

    fn beside_path(&self) -> PathBuf {
        self.dir.with_file_name(&self.beside)
    }

    fn above(&self) -> Result<Number, PathError> {
        Ok(number(self.up.own_meta().at("look at", &self.dir)?))
    }

    /// What a name in the directory above is; none when it is no directory.
    fn of(&self, name: &OsStr) -> Option<Number> {
        Some(number(self.up.open_dir(name).ok()?.own_meta().ok()?))
    }

    fn remove_beside(&self) -> Result<(), MinimalImageError> {
        crate::remove::tree(&self.up, &self.beside).map_err(MinimalImageError::Remove)
    }

    /// Exchanges the two names.
    fn exchange(&self) -> Result<(), PathError> {
        let exchanged = (|| {
            let up = walker(&self.up)?;
            up.exchange(&word(&self.name)?, &up, &word(&self.beside)?)
        })();
        exchanged.at("exchange", &self.dir)
    }
}

fn marker(store: &Store, dir: &Path) -> PathBuf {
    kept::place(store, dir).with_extension(MARKER)
}

pub(super) fn read(path: &Path) -> Result<Option<Marker>, MinimalImageError> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.at("read", path)?,
    };
    let marker: Marker =
        serde_json::from_slice(&text).map_err(|source| MinimalImageError::Record {
            path: path.to_owned(),
            source,
        })?;
    Ok((marker.version == VERSION).then_some(marker))
}

fn write(store: &Store, held: &Held, state: State) -> Result<(), MinimalImageError> {
    let path = marker(store, &held.dir);
    let marker = Marker {
        version: VERSION,
        at: held.dir.clone(),
        above: held.above()?,
        state,
    };
    let text = serde_json::to_vec(&marker).map_err(|source| MinimalImageError::Record {
        path: path.clone(),
        source,
    })?;
    kept::put(&path, &text, true)
}

fn forget(store: &Store, dir: &Path) -> Result<(), MinimalImageError> {
    let path = marker(store, dir);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => Ok(removed.at("remove", &path)?),
    }
}

/// Finishes or takes back what an update that was killed has left; the caller holds the jail's lock. Whether there was
/// anything.
///
/// # Errors
/// When it cannot be told what is there; then all stays as it is.
pub(in crate::minimal) fn resume(store: &Store, dir: &Path) -> Result<bool, MinimalImageError> {
    let Some(found) = read(&marker(store, dir))? else {
        return Ok(false);
    };
    let held = Held::open(dir)?;
    let strange = || MinimalImageError::Conflict {
        path: dir.to_owned(),
        wanted: "what an update that was killed has left there",
    };
    if held.above()? != found.above {
        return Err(strange());
    }
    let (old, new, gone, record) = match found.state {
        State::Making => {
            held.remove_beside()?;
            forget(store, dir)?;
            return Ok(true);
        }
        State::Whole {
            old,
            new,
            gone,
            record,
        } => (old, new, gone, record),
    };
    let (is, other) = (held.of(&held.name), held.of(&held.beside));
    if is == Some(old) && (other == Some(new) || other.is_none()) {
        held.remove_beside()?;
    } else if is == Some(new) && (other == Some(old) || other.is_none()) {
        finish(store, &held, &gone, &record)?;
        if other.is_some() && !gone_away(&held)? {
            return Ok(true);
        }
    } else {
        return Err(strange());
    }
    forget(store, dir)?;
    Ok(true)
}

/// The directories whose update was killed, and their markers.
pub(crate) fn interrupted(store: &Store) -> Result<Vec<(PathBuf, PathBuf)>, StoreError> {
    let mut found = Vec::new();
    for path in store.paths_in("trees")? {
        if path.extension() != Some(OsStr::new(MARKER)) {
            continue;
        }
        // One that cannot be read is passed over here, and told where the jail is looked at.
        let Ok(Some(marker)) = read(&path) else {
            continue;
        };
        // Somebody is at it, or still in the old tree.
        if matches!(kept::try_lock(store, &marker.at), Ok(Some(_))) && !marker.awaits() {
            found.push((marker.at, path));
        }
    }
    found.sort();
    Ok(found)
}

/// [`resume`], unless somebody is at it.
pub(crate) fn resume_one(store: &Store, dir: &Path) -> Result<bool, MinimalImageError> {
    match kept::try_lock(store, dir)? {
        Some(_lock) => resume(store, dir),
        None => Ok(false),
    }
}

impl Marker {
    /// Whether all is done but that somebody is still in the old tree.
    fn awaits(&self) -> bool {
        let State::Whole { old, .. } = &self.state else {
            return false;
        };
        let beside = beside_of(self.at.file_name().unwrap_or_default());
        let dir = Beneath::open(&self.at.with_file_name(beside));
        dir.is_ok_and(|dir| {
            dir.own_meta().is_ok_and(|meta| number(meta) == *old)
                && matches!(rooted_in(&dir), Ok(Some(processes)) if !processes.is_empty())
        })
    }
}

/// Brings along what was made in the old tree meanwhile, and writes the record. What that does a second time changes
/// nothing.
fn finish(
    store: &Store,
    held: &Held,
    gone: &[PathBuf],
    record: &Record,
) -> Result<(), MinimalImageError> {
    let path = kept::place(store, &held.dir);
    if kept::read(&path)?.as_ref() == Some(record) {
        return Ok(());
    }
    if held.of(&held.beside).is_some() {
        let dirs: io::Result<_> = (|| {
            let up = walker(&held.up)?;
            Ok((up.dir(&word(&held.beside)?)?, up.dir(&word(&held.name)?)?))
        })();
        let (old, new) = dirs.at("open", &held.dir)?;
        let gone: BTreeSet<&Path> = gone.iter().map(PathBuf::as_path).collect();
        mirror(&old, &new, Path::new("/"), 0, &mut |path| {
            !gone.contains(path)
        })?;
    }
    kept::put(&path, &kept::text(record)?, true)
}

/// Removes the old tree, unless somebody has it as his root. Whether it is gone.
fn gone_away(held: &Held) -> Result<bool, MinimalImageError> {
    if let Ok(old) = held.up.open_dir(&held.beside)
        && rooted_in(&old)?.is_some_and(|processes| !processes.is_empty())
    {
        return Ok(false);
    }
    held.remove_beside()?;
    Ok(true)
}

/// The new tree beside the old one: every file that stays is the same inode, so nothing that jaula does not know is
/// copied, and nothing is lost when it is written meanwhile.
pub(super) fn exchange(
    store: &Store,
    held: &Held,
    fresh: &TreePlan,
    before: &Record,
    gone: &[PathBuf],
    in_use: bool,
) -> Result<(), MinimalImageError> {
    let beside = held.beside_path();
    if held.up.meta(&held.beside).is_ok() {
        // What an update of ours has left is either gone by now, or somebody is still in it.
        let by = "somebody still runs in what an update replaced";
        return Err(match marker(store, &held.dir).exists() {
            true => MinimalImageError::InUse {
                path: held.dir.clone(),
                by: by.to_owned(),
            },
            false => MinimalImageError::Conflict {
                path: beside,
                wanted: "left by an update",
            },
        });
    }
    store.made("trees")?;
    write(store, held, State::Making)?;
    let done = exchanged(store, held, fresh, before, gone, in_use);
    match done {
        Ok(true) => forget(store, &held.dir),
        // The marker stays for whoever comes when nobody is in the old tree any more.
        Ok(false) => Ok(()),
        Err(error) => {
            resume(store, &held.dir)?;
            Err(error)
        }
    }
}

/// Whether nothing of the old tree is left.
fn exchanged(
    store: &Store,
    held: &Held,
    fresh: &TreePlan,
    before: &Record,
    gone: &[PathBuf],
    in_use: bool,
) -> Result<bool, MinimalImageError> {
    let (dir, beside) = (&held.dir, held.beside_path());
    store.point()?;
    held.up.make_dir(&held.beside, 0o700).at("make", &beside)?;
    store.point()?;
    let inner = held.up.open_dir(&held.beside).at("open", &beside)?;
    let old = walker(&held.jail).at("open", dir)?;
    let new = walker(&inner).at("open", &beside)?;
    mirror(&old, &new, Path::new("/"), 0, &mut |_| true)?;
    store.point()?;
    for path in gone {
        let (Some(above), Some(last)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let within = inner.open_dir(inside(above)).at("open", path)?;
        within.unlink(last).at("remove", path)?;
    }
    let again = inner.try_clone().at("open", &beside)?;
    let placed = place::fill(fresh, again, &mut |_| {})?;
    store.point()?;
    let mut record = Record::clone(before);
    record.entries.retain(|path, _| !gone.contains(path));
    record.entries.extend(placed);
    let again = inner.try_clone().at("open", &beside)?;
    tested(again, &beside, &record)?;
    new.sync_fs().at("sync", &beside)?;
    let state = State::Whole {
        old: number(held.jail.own_meta().at("look at", dir)?),
        new: number(inner.own_meta().at("look at", &beside)?),
        gone: gone.to_vec(),
        record: Box::new(record.clone()),
    };
    write(store, held, state)?;
    store.point()?;
    held.exchange()?;
    let rest = (|| {
        store.point()?;
        // Who came in between the look and the exchange is in the old one.
        let inside = rooted_in(&held.jail)?.filter(|processes| !processes.is_empty());
        if let Some(processes) = inside.filter(|_| !in_use) {
            return Err(MinimalImageError::in_use(dir, &processes));
        }
        finish(store, held, gone, &record)?;
        Ok(store.point()?)
    })();
    if let Err(error) = rest {
        // The record first: who is killed before the exchange is followed by somebody who writes it again. The caller
        // removes the new tree.
        kept::put(&kept::place(store, dir), &kept::text(before)?, true)?;
        held.exchange()?;
        return Err(error);
    }
    let away = gone_away(held)?;
    store.point()?;
    Ok(away)
}

/// Gives everything in a tree a further name in another one, where that has not the name yet.
fn mirror(
    from: &Dir,
    to: &Dir,
    path: &Path,
    depth: usize,
    wanted: &mut dyn FnMut(&Path) -> bool,
) -> Result<(), PathError> {
    if depth > MOST_DEPTH {
        return Err(io::Error::from_raw_os_error(40)).at("look at", path);
    }
    for entry in from.entries().at("list", path)? {
        let here = path.join(OsStr::from_bytes(entry.name.to_bytes()));
        let name = &entry.name;
        let stat = match from.stat(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            stat => stat.at("look at", &here)?,
        };
        if stat.kind != Kind::Dir {
            if wanted(&here) && to.stat(name).is_err() {
                from.link(name, to, name).at("link", &here)?;
            }
            continue;
        }
        let inner = from.dir(name).at("open", &here)?;
        let made = to.stat(name).is_err();
        if made {
            to.make_dir(name, 0o700).at("make", &here)?;
        }
        let Ok(other) = to.dir(name) else { continue };
        mirror(&inner, &other, &here, depth.saturating_add(1), wanted)?;
        if made {
            same(&inner, &other).at("change", &here)?;
        }
    }
    if depth == 0 {
        same(from, to).at("change", path)?;
    }
    Ok(())
}

/// Owner, mode, times and attributes of a directory.
fn same(from: &Dir, to: &Dir) -> io::Result<()> {
    let stat = from.stat_self()?;
    for (key, value) in tree::file_xattrs(from)? {
        tree::set_xattr(to, &key, &value)?;
    }
    to.set_self(stat.uid, stat.gid, stat.mode, stat.mtime, stat.mtime_nsec)
}
