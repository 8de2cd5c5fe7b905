//! Named jails: an image (or a directory), a layer that lasts, and settings.
//!
//! The first session of a jail starts a *keeper*: a process of its own that makes the jail with nothing in it but a
//! function that waits, and every session, the first too, joins it. The keeper's input is a pipe (`run/NAME.pipe`)
//! whose other end every session holds open; when the last one ends, however it ends, the kernel says so, the
//! function returns, and the jail is gone with whatever still ran in it. Nothing polls and nothing has to be cleaned
//! up by somebody who may have been killed. `run/NAME.lock` is held while a jail is started, copied to or removed.

mod copy;
mod error;
mod exec;
mod look;
mod record;

pub use copy::{copy_in, copy_out};
pub use error::NamedError;
pub(crate) use exec::chain;
pub use exec::{Session, join};
pub use look::{Files, look};
pub use record::{
    Keeper, Record, Running, jail_dir, record, records, run_path, running, stale_runs,
};
pub(crate) use record::{is_entry_of, start_time};

use crate::error::At;
use crate::journal::Intent;
use crate::store::Store;
use jaula_plan::names::JailName;
use jaula_plan::spec::jail::{Changes, RootSpec};
use jaula_sys::dir::Dir;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Milliseconds a jail that was told to end may take.
const END: i64 = 5_000;

/// Makes a named jail: its settings and an empty layer, there at once or not at all.
pub fn create(store: &Store, record: &Record) -> Result<(), NamedError> {
    let jails = store.made("jails")?;
    let stages = store.made("stages")?;
    if jail_dir(store, &record.name).symlink_metadata().is_ok() {
        return Err(NamedError::Exists {
            name: record.name.clone(),
        });
    }
    let (id, mut journal) = store.journal()?;
    let made = (|| {
        let stage = stages.join(&id);
        journal.intend(Intent::Create(Path::new("stages").join(&id)))?;
        DirBuilder::new()
            .mode(0o700)
            .create(&stage)
            .at("make", &stage)?;
        journal.point()?;
        // The layer's own directory is what the jail sees as `/` when something in it changes.
        for (name, mode) in [("upper", 0o755), ("work", 0o700)] {
            let path = stage.join(name);
            DirBuilder::new()
                .mode(mode)
                .create(&path)
                .at("make", &path)?;
        }
        let text = record
            .to_text()
            .map_err(std::io::Error::from)
            .at("write", &stage)?;
        crate::store::write_new(&stage.join("jail.json"), &text)?;
        journal.point()?;
        let (from, to) = (
            Dir::open(&stages).at("open", &stages)?,
            Dir::open(&jails).at("open", &jails)?,
        );
        to.own_meta().at("look at", &jails)?;
        from.open_dir(&id)
            .and_then(|stage| stage.sync_file_system())
            .at("sync", &stage)?;
        match from.rename_new(&id, &to, record.name.as_str()) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(NamedError::Exists {
                    name: record.name.clone(),
                });
            }
            other => other.at("rename", &stage)?,
        }
        journal.point()?;
        Ok(())
    })();
    match made {
        Ok(()) => Ok(journal.finish()?),
        Err(error) => {
            drop(journal.undo());
            Err(error)
        }
    }
}

/// Writes the settings of a jail anew, whole or not at all. One that runs is left as it is.
pub(crate) fn rewrite(store: &Store, record: &Record) -> Result<(), NamedError> {
    let _lock = lock(store, &record.name)?;
    rewrite_held(store, record)
}

/// The same for a caller who holds its lock.
pub(crate) fn rewrite_held(store: &Store, record: &Record) -> Result<(), NamedError> {
    if let Some(found) = running(store, &record.name) {
        return Err(NamedError::Running {
            name: record.name.clone(),
            pid: found.pid,
        });
    }
    let path = jail_dir(store, &record.name).join("jail.json");
    let text = record
        .to_text()
        .map_err(std::io::Error::from)
        .at("write", &path)?;
    Ok(crate::store::replace(&path, &text).at("write", &path)?)
}

/// Removes a named jail with its layer. One that runs is ended when `stop` names its first process or nobody is in it any
/// more, else refused.
pub fn remove(store: &Store, name: &JailName, stop: Option<u32>) -> Result<(), NamedError> {
    let _lock = lock(store, name)?;
    if let Some(found) = running(store, name) {
        if stop != Some(found.pid) && !exec::is_left(store, name) {
            return Err(NamedError::Running {
                name: name.clone(),
                pid: found.pid,
            });
        }
        let path = run_path(store, name);
        if !jaula_sys::dir::kill_and_wait(found.pid, &|| found.alive(), END)
            .at("end the jail of", &path)?
        {
            return Err(NamedError::Running {
                name: name.clone(),
                pid: found.pid,
            });
        }
    }
    refuse_kept(store, name)?;
    // A jail whose settings are damaged can be removed as well; one that is not there cannot.
    if jail_dir(store, name).symlink_metadata().is_err() {
        record(store, name)?;
    }
    for suffix in ["json", "pipe"] {
        forget(&run_path(store, name).with_extension(suffix))?;
    }
    store.discard("jails", name.as_str())?;
    // The lock's file stays: whoever waits for it must not be joined by somebody with another one.
    Ok(())
}

/// Nothing is mounted a second time on a layer that kept namespaces still have mounted, nor taken from under them.
fn refuse_kept(store: &Store, name: &JailName) -> Result<(), NamedError> {
    match crate::namespaces::holds_files_of(store, name) {
        Some(kept) => Err(NamedError::FilesKept {
            name: name.clone(),
            kept,
        }),
        None => Ok(()),
    }
}

fn forget(path: &Path) -> Result<(), NamedError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => Ok(other.at("remove", path)?),
    }
}

fn lock_file(store: &Store, name: &JailName) -> Result<(File, PathBuf), NamedError> {
    let path = store.made("run")?.join(format!("{name}.lock"));
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .at("open", &path)?;
    Ok((file, path))
}

/// Holds a jail against being started, copied to, updated or removed by others; waits for them.
pub(crate) fn lock(store: &Store, name: &JailName) -> Result<File, NamedError> {
    let (file, path) = lock_file(store, name)?;
    file.lock().at("lock", &path)?;
    Ok(file)
}

/// The tree beneath a jail's layer.
pub fn base(store: &Store, record: &Record) -> Result<PathBuf, NamedError> {
    let gone = |base: String| NamedError::BaseGone {
        name: record.name.clone(),
        base,
    };
    match (&record.image, &record.directory) {
        (Some(digest), _) => match store.image(digest)? {
            Some(image) => Ok(image.root().to_owned()),
            None => Err(gone(format!("image {digest}"))),
        },
        (None, Some(dir)) if dir.is_dir() => Ok(dir.clone()),
        (None, dir) => Err(gone(
            dir.as_deref()
                .map(jaula_plan::explain::shown)
                .unwrap_or_default(),
        )),
    }
}

/// The root of a jail: the tree it stands on under its own layer.
pub fn root_spec(store: &Store, record: &Record) -> Result<RootSpec, NamedError> {
    let dir = jail_dir(store, &record.name);
    let changes = Changes::Layer {
        upper: dir.join("upper"),
        work: dir.join("work"),
    };
    Ok(RootSpec::Tree {
        dir: base(store, record)?,
        changes,
    })
}
