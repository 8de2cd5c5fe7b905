//! Apps of a directory, each in a jail of its own that is started, renewed and ended as its file comes, changes and
//! goes. A jail is a `jaula run` of its own process: what ends the emperor ends them all.

mod court;
mod look;

use crate::engine::Engine;
use crate::error::{At, PathError};
use crate::event::Observer;
use crate::plan::Preview;
use crate::service::To;
use crate::store::{Store, StoreError};
use jaula_plan::emperor::App;
use jaula_plan::explain::{ExplainLine, word};
use jaula_sys::SysError;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What an emperor is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmperorSpec {
    /// The directory of the apps' files.
    pub dir: PathBuf,
    /// Where the caller is.
    pub cwd: PathBuf,
    /// What a jail is started with, up to and with the word `run`.
    pub launch: Vec<OsString>,
    /// How often the directory is looked at.
    pub freq: Duration,
    /// Between being told to end and being killed.
    pub patience: Duration,
    /// Where the apps' lines go.
    pub to: To,
    /// Where everybody who connects is told how all are.
    pub stats: Option<SocketAddr>,
}

/// Why nobody reigns.
#[derive(Debug, thiserror::Error)]
pub enum EmperorError {
    /// A file or directory.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others could have programs run.
    #[error("{} is not only the caller's to write: {why}", jaula_plan::explain::shown(.path))]
    Unsafe {
        /// The directory or file.
        path: PathBuf,
        /// Who else can.
        why: String,
    },
    /// There is one already.
    #[error("somebody reigns over {} already", jaula_plan::explain::shown(.0))]
    Taken(PathBuf),
    /// There is none.
    #[error("nobody reigns over {}", jaula_plan::explain::shown(.0))]
    Nobody(PathBuf),
    /// The address for those who ask.
    #[error("cannot listen at {address}")]
    Stats {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The kernel.
    #[error(transparent)]
    Sys(#[from] SysError),
}

/// The apps that are there now, and how each would be run.
#[derive(Debug)]
pub struct EmperorPlan {
    spec: EmperorSpec,
    apps: BTreeMap<String, Result<App, String>>,
}

impl EmperorPlan {
    fn line(&self, name: &str, app: &App) -> String {
        let mut words: Vec<String> = ["jaula", "run"].map(str::to_owned).to_vec();
        words.extend(app.options.iter().map(word));
        if app.config.is_some() {
            words.push(word(format!(
                "--file={}:{}/{name}",
                self.spec.dir.join(name).display(),
                jaula_plan::emperor::CONFIG_DIR
            )));
        }
        words.extend(app.root.iter().map(word));
        words.push("--".to_owned());
        words.extend(app.command.iter().map(word));
        words.join(" ")
    }
}

impl fmt::Display for EmperorPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = jaula_plan::explain::shown(&self.spec.dir);
        writeln!(f, "keep an app running for each file of {dir}")?;
        for (name, app) in &self.apps {
            match app {
                Ok(app) => writeln!(f, "  {name}: {}", self.line(name, app))?,
                Err(why) => writeln!(f, "  {name} is not started: {why}")?,
            }
        }
        Ok(())
    }
}

impl Preview for EmperorPlan {
    fn to_json(&self) -> Value {
        let apps = self.apps.iter().map(|(name, app)| match app {
            Ok(app) => json!({ "id": name, "run": self.line(name, app) }),
            Err(why) => json!({ "id": name, "error": why }),
        });
        json!({ "version": 1, "emperor": self.spec.dir, "apps": apps.collect::<Vec<_>>() })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        let apps = self
            .apps
            .iter()
            .filter_map(|(name, app)| Some((name, app.as_ref().ok()?)));
        let lines = apps.map(|(name, app)| ExplainLine {
            command: format!("{} &", self.line(name, app)),
            reason: "started again when it ends, and ended with its file".to_owned(),
        });
        lines.collect()
    }
}

/// Where root's apps find their configuration: their jails have identifiers of their own, who come into nothing of
/// root's. Nobody can list it, and names in it are not to be guessed.
const PUBLIC: &str = "/run/jaula-apps";

/// How long the lock is waited for: longer than anybody has it who only looks.
const PATIENCE: Duration = Duration::from_secs(1);

/// A directory's place in the store: who has its lock reigns.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
    path: PathBuf,
    /// What the apps' jails come to.
    public: PathBuf,
}

impl Place {
    fn of(engine: &Engine, dir: &Path) -> Result<Self, EmperorError> {
        let dir = dir.canonicalize().at("open", dir)?;
        let path = engine.store().made("run/emperors")?;
        let digest = Sha256::digest(dir.as_os_str().as_bytes());
        let path = path.join(jaula_repo::hex::encode(digest.get(..8).unwrap_or_default()));
        Ok(Self {
            dir,
            public: path.join("apps"),
            path,
        })
    }

    /// The lock of who reigns. Those who only look whether somebody does have it for a moment too.
    fn take(&self) -> Result<File, EmperorError> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lock(true) {
                Err(EmperorError::Taken(_)) if Instant::now() < until => {
                    std::thread::sleep(PATIENCE / 20);
                }
                lock => return lock,
            }
        }
    }

    /// Whether somebody reigns.
    fn is_taken(&self) -> Result<bool, PathError> {
        let path = self.path.with_extension("lock");
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            file => file.at("open", &path)?,
        };
        // Shared: others who look are not taken for him.
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(std::fs::TryLockError::WouldBlock) => Ok(true),
            Err(std::fs::TryLockError::Error(error)) => Err(error).at("lock", &path),
        }
    }

    /// The lock, when nobody else has it.
    fn lock(&self, make: bool) -> Result<File, EmperorError> {
        let path = self.path.with_extension("lock");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(make).truncate(false).mode(0o600);
        let file = options.open(&path).at("open", &path)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(EmperorError::Taken(self.dir.clone())),
            Err(std::fs::TryLockError::Error(error)) => Err(error).at("lock", &path)?,
        }
    }

    /// Where an interrupted reign left its apps' configuration.
    fn left_public(&self) -> Option<PathBuf> {
        let public = std::fs::read(self.path.join("public")).ok()?;
        let public = PathBuf::from(OsStr::from_bytes(&public));
        (public.parent() == Some(Path::new(PUBLIC))).then_some(public)
    }

    /// Makes the directories, after what one that was killed left is gone.
    fn make(&mut self) -> Result<(), EmperorError> {
        self.remove();
        std::fs::create_dir(&self.path).at("make", &self.path)?;
        if jaula_sys::process::effective_ids().0 != 0 {
            std::fs::create_dir(&self.public).at("make", &self.public)?;
            return Ok(());
        }
        let top = Path::new(PUBLIC);
        let chance = jaula_sys::dir::random().at("make", top)?;
        let public = top.join(jaula_repo::hex::encode(&chance));
        let note = self.path.join("public");
        std::fs::write(&note, public.as_os_str().as_bytes()).at("write", &note)?;
        for dir in [top, &public] {
            let mut builder = DirBuilder::new();
            match builder.mode(0o711).create(dir) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(error).at("make", dir)?;
                }
                _ => {}
            }
            let mode = Permissions::from_mode(0o711);
            std::fs::set_permissions(dir, mode).at("change", dir)?;
        }
        self.public = public;
        Ok(())
    }

    fn remove(&self) {
        if let Some(public) = self.left_public() {
            drop(std::fs::remove_dir_all(public));
            // Where somebody else reigns, it is not empty.
            drop(std::fs::remove_dir(PUBLIC));
        }
        drop(std::fs::remove_dir_all(&self.path));
    }

    fn status(&self) -> PathBuf {
        self.path.join("status.json")
    }
}

/// What reigns left that were killed; it is removed if that is asked for.
pub(crate) fn stale(store: &Store, remove: bool) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    for path in store.paths_in("run/emperors")? {
        if !path.is_dir() {
            continue;
        }
        let place = Place {
            dir: path.clone(),
            public: path.join("apps"),
            path,
        };
        // Held until it is gone: nobody begins meanwhile.
        let Ok(_lock) = place.lock(false) else {
            continue;
        };
        found.extend(place.left_public().filter(|public| public.exists()));
        found.push(place.path.clone());
        if remove {
            place.remove();
        }
    }
    Ok(found)
}

impl Engine {
    /// What reigning over a directory would start now.
    ///
    /// # Errors
    /// When the directory cannot be read, or others can write in it.
    pub fn plan_emperor(&self, spec: &EmperorSpec) -> Result<EmperorPlan, EmperorError> {
        look::check_dir(&spec.dir)?;
        let files = look::files(&spec.dir)?;
        let apps = files.into_keys().map(|name| {
            let app = look::app(&spec.dir, &name);
            (name, app)
        });
        Ok(EmperorPlan {
            spec: spec.clone(),
            apps: apps.collect(),
        })
    }

    /// Reigns over the apps of a directory until SIGTERM, SIGINT or SIGQUIT; all have ended then. SIGHUP has all of them
    /// read their settings again, SIGUSR1 writes a line for each.
    ///
    /// # Errors
    /// [`EmperorError`]; what is wrong with a single app is told to the observer and waited out.
    pub fn emperor(&self, spec: &EmperorSpec, observer: &dyn Observer) -> Result<(), EmperorError> {
        let mut place = Place::of(self, &spec.dir)?;
        look::check_dir(&place.dir)?;
        let _lock = place.take()?;
        let made = place.make();
        let reigned = made
            .and_then(|()| court::Court::new(spec, &place, observer))
            .and_then(court::Court::reign);
        place.remove();
        reigned
    }

    /// How all are of a directory over which somebody reigns, as uWSGI's emperor tells it.
    ///
    /// # Errors
    /// When nobody does.
    pub fn emperor_status(&self, dir: &Path) -> Result<Value, EmperorError> {
        let place = Place::of(self, dir)?;
        let nobody = || EmperorError::Nobody(place.dir.clone());
        if !place.is_taken()? {
            return Err(nobody());
        }
        let path = place.status();
        let text = match std::fs::read(&path) {
            // One who has only just begun.
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(nobody()),
            text => text.at("read", &path)?,
        };
        serde_json::from_slice(&text).map_err(|_| nobody())
    }
}
