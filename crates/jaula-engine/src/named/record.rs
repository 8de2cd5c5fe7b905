//! What lasts of a named jail: `jail.json` beside its layer.

use super::NamedError;
use crate::error::At;
use crate::spec::{JailSettings, NewSpec};
use crate::store::{Store, StoreError};
use crate::view::Jail;
use jaula_plan::names::{Digest, JailName};
use jaula_plan::spec::jail::{IdSpec, JailNet};
use jaula_plan::spec::limits::{
    KILL_AFTER, Limit, LimitError, Limits, parse_duration, shown_duration,
};
use jaula_plan::spec::net::BadNet;
use jaula_sys::joining::Held;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Settings are never longer than this.
const LIMIT: u64 = 64 << 10;

/// `jail.json` as it is on disk. Names are checked when it is read.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OnDisk {
    version: u32,
    image: Option<String>,
    directory: Option<PathBuf>,
    from: String,
    hostname: Option<String>,
    net: String,
    ids: String,
    created: i64,
    /// Its limits, each `KEY=VALUE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    limits: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    best_effort: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kill_after: Option<String>,
}

/// A named jail as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub name: JailName,
    /// The image it stands on.
    pub image: Option<Digest>,
    /// Or the directory of the host.
    pub directory: Option<PathBuf>,
    /// The reference it was made from, as typed.
    pub from: String,
    /// Its settings.
    pub settings: JailSettings,
    /// When it was made, seconds since 1970.
    pub created: i64,
}

impl Record {
    /// A new one, made now.
    pub fn new(spec: &NewSpec, image: Option<Digest>, directory: Option<PathBuf>) -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            name: spec.name.clone(),
            image,
            directory,
            from: crate::view::reference_text(&spec.from),
            settings: spec.settings.clone(),
            created: since
                .ok()
                .and_then(|since| i64::try_from(since.as_secs()).ok())
                .unwrap_or(0),
        }
    }

    /// The text of `jail.json`.
    pub fn to_text(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec_pretty(&OnDisk {
            version: 1,
            image: self.image.map(|digest| digest.to_string()),
            directory: self.directory.clone(),
            from: self.from.clone(),
            hostname: self.settings.hostname.as_ref().map(|name| name.to_string()),
            net: self.settings.net.to_string(),
            ids: ids_word(&self.settings.ids).to_owned(),
            created: self.created,
            limits: limit_words(&self.settings.limits),
            best_effort: self.settings.limits.best_effort,
            kill_after: Some(self.settings.limits.kill_after)
                .filter(|time| *time != KILL_AFTER)
                .map(shown_duration),
        })
    }

    /// Reads the settings of the jail in `dir`. A word that is not known is the safe one.
    fn read(dir: &Path, name: JailName) -> Result<Self, StoreError> {
        let path = dir.join("jail.json");
        let mut text = Vec::new();
        std::fs::File::open(&path)
            .and_then(|file| file.take(LIMIT).read_to_end(&mut text))
            .at("read", &path)?;
        let disk: OnDisk = serde_json::from_slice(&text).map_err(|source| StoreError::Damaged {
            path: path.clone(),
            source,
        })?;
        let mut limits = Limits::default();
        limits.best_effort = disk.best_effort;
        let kill_after = disk.kill_after.as_deref();
        limits.kill_after = kill_after
            .and_then(|text| parse_duration(text).ok())
            .unwrap_or(KILL_AFTER);
        for word in &disk.limits {
            // What cannot be read cannot be enforced, so such a jail is not started.
            let limit = word
                .parse()
                .map_err(|error: LimitError| StoreError::Damaged {
                    path: path.clone(),
                    source: serde::de::Error::custom(error),
                })?;
            limits.set(limit);
        }
        Ok(Self {
            name,
            image: disk.image.and_then(|digest| digest.parse().ok()),
            directory: disk.directory,
            from: disk.from.chars().filter(|c| !c.is_control()).collect(),
            settings: JailSettings {
                hostname: disk.hostname.and_then(|name| name.parse().ok()),
                net: net_of(&disk.net).map_err(|error| StoreError::Damaged {
                    path: path.clone(),
                    source: serde::de::Error::custom(error),
                })?,
                ids: match disk.ids.as_str() {
                    "host" => IdSpec::Host,
                    "caller-as-root" => IdSpec::CallerAsRoot,
                    "caller-as-self" => IdSpec::CallerAsSelf,
                    _ => IdSpec::Private,
                },
                limits,
            },
            created: disk.created,
        })
    }

    /// The jail as the faces show it.
    pub fn view(&self, store: &Store) -> Jail {
        Jail {
            version: 1,
            name: self.name.clone(),
            image: self.image,
            directory: self.directory.clone(),
            from: self.from.clone(),
            hostname: self
                .settings
                .hostname
                .as_ref()
                .map_or(self.name.to_string(), |name| name.to_string()),
            net: self.settings.net.to_string(),
            limits: limit_words(&self.settings.limits),
            created: self.created,
            path: jail_dir(store, &self.name),
            pid: running(store, &self.name).map(|running| running.pid),
        }
    }
}

fn limit_words(limits: &Limits) -> Vec<String> {
    limits.all().iter().map(Limit::to_string).collect()
}

/// What cannot be read cannot be held either, so such a jail is not started.
fn net_of(text: &str) -> Result<JailNet, BadNet> {
    let words = text.split(' ').filter(|word| !word.is_empty());
    JailNet::together(words.map(str::parse).collect::<Result<_, _>>()?)
}

fn ids_word(ids: &IdSpec) -> &'static str {
    match ids {
        IdSpec::Private => "private",
        IdSpec::CallerAsRoot => "caller-as-root",
        IdSpec::CallerAsSelf => "caller-as-self",
        IdSpec::Host => "host",
        // No verb gives a named jail ranges; read back, it has a range of its own.
        IdSpec::Map { .. } => "private",
    }
}

/// Where a jail is kept.
pub fn jail_dir(store: &Store, name: &JailName) -> PathBuf {
    store.root().join("jails").join(name.as_str())
}

/// Every named jail, by name, and a sentence on each that could not be read.
pub fn records(store: &Store) -> Result<(Vec<Record>, Vec<String>), StoreError> {
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    for path in store.paths_in("jails")? {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse::<JailName>().ok());
        match name.map(|name| Record::read(&path, name)) {
            Some(Ok(record)) => found.push(record),
            Some(Err(error)) => notes.push(format!(
                "skipped {}: {error}",
                jaula_plan::explain::shown(&path)
            )),
            None => notes.push(format!(
                "skipped {}: no jail",
                jaula_plan::explain::shown(&path)
            )),
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((found, notes))
}

/// One named jail.
pub fn record(store: &Store, name: &JailName) -> Result<Record, NamedError> {
    let dir = jail_dir(store, name);
    match std::fs::symlink_metadata(&dir) {
        Ok(meta) if meta.is_dir() => Ok(Record::read(&dir, name.clone())?),
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(error).at("look at", &dir)?
        }
        _ => {
            let others = records(store)?
                .0
                .into_iter()
                .map(|record| record.name.to_string())
                .collect();
            Err(NamedError::NoSuchJail {
                name: name.clone(),
                others,
            })
        }
    }
}

/// The first process of a running jail, as the caller's proc(5) numbers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The version of this shape: 1.
    pub version: u32,
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of proc_pid_stat(5)): a number that is used again
    /// belongs to a process that started later.
    pub start_time: u64,
    /// Who holds its namespaces open for those who may not look at its processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeper: Option<Keeper>,
}

/// The keeper of a running jail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    /// Its number.
    pub pid: u32,
    /// When it started.
    pub start_time: u64,
    /// Its descriptors of the jail's namespaces, each with its `CLONE_NEW*`, in the order in which they are joined.
    pub namespaces: Vec<(i32, i32)>,
}

impl Keeper {
    /// This process.
    pub fn current(held: &[Held]) -> Option<Self> {
        let pid = std::process::id();
        Some(Self {
            pid,
            start_time: start_time(pid)?,
            namespaces: held
                .iter()
                .map(|(fd, flag)| (fd.as_raw_fd(), *flag))
                .collect(),
        })
    }

    /// The jail's namespaces.
    pub(crate) fn open(&self) -> io::Result<Vec<Held>> {
        let mut held = Vec::with_capacity(self.namespaces.len());
        for (fd, flag) in self.namespaces.iter().take(16) {
            let file = std::fs::File::open(format!("/proc/{}/fd/{fd}", self.pid))?;
            held.push((file.into(), *flag));
        }
        // They were its, if it is still that process.
        if start_time(self.pid) != Some(self.start_time) {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(held)
    }
}

impl Running {
    /// Of a process that is alive.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self {
            version: 1,
            pid,
            start_time: start_time(pid)?,
            keeper: None,
        })
    }

    /// That process.
    pub fn process(&self) -> crate::jail::Running {
        crate::jail::Running {
            pid: self.pid,
            start_time: self.start_time,
        }
    }

    /// The jail's namespaces as whoever is not root needs them to join it; root needs none.
    pub fn namespaces(&self) -> io::Result<Vec<Held>> {
        match &self.keeper {
            Some(keeper) if jaula_sys::process::effective_ids().0 != 0 => keeper.open(),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether that very process still lives.
    pub fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }
}

/// When a process started; none when it is gone, or only waits to be reaped.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let mut fields = stat.get(stat.rfind(')')?.saturating_add(2)..)?.split(' ');
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Where the first process of a jail is noted.
pub fn run_path(store: &Store, name: &JailName) -> PathBuf {
    store.root().join("run").join(format!("{name}.json"))
}

pub(super) fn read_running(path: &Path) -> Option<Running> {
    let mut text = Vec::new();
    std::fs::File::open(path)
        .ok()?
        .take(LIMIT)
        .read_to_end(&mut text)
        .ok()?;
    serde_json::from_slice(&text).ok()
}

/// Whether an entry still is this one's.
pub(crate) fn is_entry_of(path: &Path, running: &Running) -> bool {
    read_running(path).as_ref() == Some(running)
}

/// The first process of a jail, when it runs.
pub fn running(store: &Store, name: &JailName) -> Option<Running> {
    read_running(&run_path(store, name)).filter(Running::alive)
}

/// The entries of `run` whose process is gone, and nobody is about to remove them. What is no entry of ours is left alone.
pub fn stale_runs(store: &Store) -> Result<Vec<PathBuf>, StoreError> {
    let mut paths = store.paths_in("run")?;
    paths.retain(|path| {
        let ours = path.extension().is_some_and(|suffix| suffix == "json");
        ours && read_running(path).is_some_and(|running| {
            // A keeper that is still there takes its entry back itself.
            let kept = |keeper: &Keeper| start_time(keeper.pid) == Some(keeper.start_time);
            !running.alive() && !running.keeper.as_ref().is_some_and(kept)
        })
    });
    Ok(paths)
}
