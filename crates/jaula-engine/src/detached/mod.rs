//! Runs that go on in the background under a name: a supervisor of their own, an entry and a log in the store.
//!
//! `detached/NAME.json` says what runs, and how it ended when it has; `detached/NAME.log` is what it wrote, and
//! `detached/NAME.lock` is held by its supervisor for as long as that lives. An entry stays until it is removed or the
//! name is used again.

mod log;
mod signal;
mod start;

pub use signal::{SIGKILL, SIGTERM, Target, signal, stop, wait};
pub use start::start;

use crate::error::{At, PathError};
use crate::jail::Running as Process;
use crate::named::{NamedError, Running};
use crate::outcome::Reached;
use crate::store::Store;
use jaula_plan::names::JailName;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where entries and logs are, in the store.
const DIR: &str = "detached";

/// An entry is never longer than this.
const LIMIT: u64 = 1 << 20;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The exit code as `jaula run` has it.
    pub code: u8,
    /// The limit that ended it.
    pub reached: Option<Reached>,
    /// Why jaula itself failed.
    pub error: Option<String>,
    /// When, seconds since 1970.
    pub at: i64,
}

/// A run in the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The version of this shape: 1.
    pub version: u32,
    /// Its name.
    #[serde(deserialize_with = "checked")]
    pub name: JailName,
    /// Its supervisor.
    pub supervisor: Process,
    /// Its program.
    pub running: Running,
    /// What runs, for people.
    pub command: String,
    /// When it was started, seconds since 1970.
    pub started: i64,
    /// Whether it has a log.
    pub logged: bool,
    /// How it ended; none while it runs, and when its supervisor was killed.
    pub ended: Option<Ended>,
}

impl Entry {
    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.ended.is_none() && self.supervisor.is_alive()
    }

    /// In a few words what became of it.
    pub fn state(&self) -> String {
        match &self.ended {
            _ if self.is_alive() => "running".to_owned(),
            Some(ended) => format!("ended ({})", ended.code),
            None => "killed".to_owned(),
        }
    }
}

fn checked<'de, D: serde::Deserializer<'de>>(from: D) -> Result<JailName, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// Now, in seconds since 1970.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

fn path(store: &Store, name: &JailName, suffix: &str) -> PathBuf {
    store.root().join(DIR).join(format!("{name}.{suffix}"))
}

/// Where what a run wrote is kept.
pub fn log_path(store: &Store, name: &JailName) -> PathBuf {
    path(store, name, "log")
}

/// The entry of this name, if there is one.
///
/// # Errors
/// When it cannot be read, or is no entry.
pub fn entry(store: &Store, name: &JailName) -> Result<Option<Entry>, NamedError> {
    read(&path(store, name, "json"))
}

fn read(path: &Path) -> Result<Option<Entry>, NamedError> {
    let mut text = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.at("open", path)?,
    }
    .take(LIMIT)
    .read_to_end(&mut text)
    .at("read", path)?;
    let entry =
        serde_json::from_slice(&text).map_err(|source| crate::store::StoreError::Damaged {
            path: path.to_owned(),
            source,
        })?;
    Ok(Some(entry))
}

fn write(store: &Store, entry: &Entry) -> Result<(), PathError> {
    let to = path(store, &entry.name, "json");
    let aside = path(store, &entry.name, "new");
    let text = serde_json::to_vec_pretty(entry)
        .map_err(std::io::Error::from)
        .at("write", &to)?;
    std::fs::write(&aside, text).at("write", &aside)?;
    std::fs::rename(&aside, &to).at("rename", &aside)
}

/// Every entry, by name; what cannot be read is left out, with a sentence on it.
///
/// # Errors
/// When the store cannot be listed.
pub fn entries(store: &Store) -> Result<(Vec<Entry>, Vec<String>), NamedError> {
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    for path in store.paths_in(DIR)? {
        if path.extension().is_none_or(|suffix| suffix != "json") {
            continue;
        }
        match read(&path) {
            Ok(entry) => found.extend(entry),
            Err(error) => notes.push(format!("skipped {}", crate::named::chain(&error))),
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((found, notes))
}

/// Takes the name for as long as the file is held; none when somebody has it.
fn take(store: &Store, name: &JailName) -> Result<Option<File>, NamedError> {
    store.made(DIR)?;
    let path = path(store, name, "lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .at("open", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).at("lock", &path)?,
    }
}

/// Refuses a name that a named jail has, or a run that goes on.
///
/// # Errors
/// [`NamedError::Exists`], [`NamedError::Running`].
pub fn refuse_taken(store: &Store, name: &JailName) -> Result<(), NamedError> {
    let jail = crate::named::jail_dir(store, name);
    if jail.symlink_metadata().is_ok() {
        return Err(NamedError::Exists { name: name.clone() });
    }
    refuse_running(store, name)
}

/// Refuses the name of a run that goes on.
///
/// # Errors
/// [`NamedError::Running`].
pub fn refuse_running(store: &Store, name: &JailName) -> Result<(), NamedError> {
    match entry(store, name)? {
        Some(entry) if entry.is_alive() => Err(NamedError::Running {
            name: name.clone(),
            pid: entry.running.pid,
        }),
        _ => Ok(()),
    }
}

/// Removes an ended run's entry and log.
///
/// # Errors
/// [`NamedError::Running`] while it goes on.
pub fn remove(store: &Store, name: &JailName) -> Result<(), NamedError> {
    let Some(lock) = take(store, name)? else {
        refuse_running(store, name)?;
        // Its supervisor is on its way out, or on its way in.
        return Err(NamedError::Running {
            name: name.clone(),
            pid: entry(store, name)?.map_or(0, |entry| entry.supervisor.pid),
        });
    };
    for suffix in ["json", "log", "log.1", "new"] {
        let path = path(store, name, suffix);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other.at("remove", &path)?,
        }
    }
    // Its file stays: whoever waits for it must not be joined by somebody with another one.
    drop(lock);
    Ok(())
}
