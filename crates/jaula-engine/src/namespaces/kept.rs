//! Namespaces kept by name: what is on disk, and the way back to a descriptor.
//!
//! `run/kept` of the store holds `NAME.json` for each name. Root's namespaces are mounted on the files of `NAME/`
//! beside it, in a directory that is a private mount of its own; an ordinary user, who may not mount there, has a
//! process that holds them open.

use super::NsKind;
use super::scan::{own_device, pids};
use crate::error::{At, PathError};
use crate::named::{Keeper, start_time};
use crate::store::{Store, StoreError};
use jaula_plan::names::JailName;
use jaula_sys::namespace;
use jaula_sys::procfs::ProcDir;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A record is never longer than this.
const LIMIT: u64 = 64 << 10;

/// Why namespaces cannot be kept, or what is kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A file operation.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing is kept by that name.
    #[error("no namespaces are kept as {name}")]
    NoSuchName {
        /// As asked.
        name: JailName,
        /// What is kept.
        others: Vec<String>,
    },
    /// Others are kept by that name.
    #[error("other namespaces are kept as {name}")]
    Exists {
        /// As asked.
        name: JailName,
    },
    /// There is no such process, or none that runs in that jail.
    #[error("there is no process to keep the namespaces of: {what}")]
    NoProcess {
        /// What was looked for.
        what: String,
    },
    /// The process is where the caller is.
    #[error("process {pid} has no namespace that the caller has not")]
    NothingOwn {
        /// The process.
        pid: u32,
    },
    /// A kind that was asked for cannot be opened.
    #[error("cannot open the {kind} namespace of process {pid}")]
    Closed {
        /// The kind.
        kind: NsKind,
        /// The process.
        pid: u32,
    },
    /// The process is not what it was when the plan was made.
    #[error("process {pid} ended, or went elsewhere, before its namespaces were kept")]
    Changed {
        /// The process.
        pid: u32,
    },
    /// The kernel refused a mount.
    #[error("cannot keep the {kind} namespace")]
    Mount {
        /// Its kind.
        kind: NsKind,
        /// Why.
        #[source]
        source: jaula_sys::SysError,
    },
    /// The process that was to hold them could not.
    #[error("cannot start a process that holds the namespaces: {text}")]
    Holder {
        /// What it said.
        text: String,
    },
    /// What kept them is gone: unmounted, killed, or lost with a restart of the host.
    #[error("the namespaces kept as {name} are gone")]
    Gone {
        /// The name.
        name: JailName,
    },
}

impl KeepError {
    /// What sort of failure it is.
    pub fn kind(&self) -> crate::Kind {
        match self {
            Self::Io(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::NoSuchName { .. } | Self::NoProcess { .. } | Self::Gone { .. } => {
                crate::Kind::NotFound
            }
            Self::Exists { .. } | Self::NothingOwn { .. } => crate::Kind::User,
            Self::Closed { .. } | Self::Mount { .. } => crate::Kind::KernelRefused,
            Self::Changed { .. } | Self::Holder { .. } => crate::Kind::Internal,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NoSuchName { others, .. } if !others.is_empty() => {
                vec![format!("kept are {}", others.join(", "))]
            }
            Self::NoSuchName { .. } => vec!["jaula ns keep NAME --pid PID keeps some".to_owned()],
            Self::Exists { name } | Self::Gone { name } => {
                vec![format!("jaula ns rm {name} takes them away")]
            }
            Self::NoProcess { .. } => {
                vec!["name a process with --pid PID, or a jail that runs".to_owned()]
            }
            Self::NothingOwn { .. } => {
                vec!["--only KIND,… keeps those that it shares with the caller".to_owned()]
            }
            Self::Closed { .. } => vec![
                "it is somebody else's, or this kernel has no such kind; --only KIND,… leaves it out".to_owned(),
            ],
            Self::Mount { kind: NsKind::Mnt, .. } => vec![
                "the kernel keeps a mount namespace only where an older one is: not the caller's own, nor the host's"
                    .to_owned(),
                "--only KIND,… leaves it out".to_owned(),
            ],
            _ => Vec::new(),
        }
    }
}

/// A record as it is on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OnDisk {
    version: u32,
    from: String,
    jail: Option<String>,
    namespaces: Vec<(String, u64)>,
    keeper: Option<Keeper>,
}

/// Namespaces kept by a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The name.
    pub name: JailName,
    /// What they were when they were kept: `process 42`, `jail web`.
    pub from: String,
    /// The named jail that they are of.
    pub jail: Option<JailName>,
    /// Each kind with its inode.
    pub namespaces: Vec<(NsKind, u64)>,
    /// The process that holds them; none when they are mounted.
    pub keeper: Option<Keeper>,
}

/// A descriptor of a namespace and its kind.
pub type Opened = (OwnedFd, NsKind);

impl Kept {
    /// Reads the record of a name; none when there is none, or it is damaged.
    pub(super) fn read(store: &Store, name: &JailName) -> Option<Self> {
        let mut text = Vec::new();
        File::open(record_path(store, name))
            .and_then(|file| file.take(LIMIT).read_to_end(&mut text))
            .ok()?;
        let disk: OnDisk = serde_json::from_slice(&text).ok()?;
        let namespaces = disk
            .namespaces
            .into_iter()
            .filter_map(|(kind, inode)| Some((kind.parse().ok()?, inode)));
        Some(Self {
            name: name.clone(),
            from: disk.from.chars().filter(|c| !c.is_control()).collect(),
            jail: disk.jail.and_then(|jail| jail.parse().ok()),
            namespaces: namespaces.take(NsKind::ALL.len()).collect(),
            keeper: disk.keeper,
        })
    }

    /// Writes it, whole or not at all.
    pub(super) fn write(&self, store: &Store) -> Result<(), KeepError> {
        let path = record_path(store, &self.name);
        let text = serde_json::to_vec(&OnDisk {
            version: 1,
            from: self.from.clone(),
            jail: self.jail.as_ref().map(|jail| jail.to_string()),
            namespaces: self
                .namespaces
                .iter()
                .map(|(kind, inode)| (kind.to_string(), *inode))
                .collect(),
            keeper: self.keeper.clone(),
        });
        let text = text.map_err(std::io::Error::from).at("write", &path)?;
        Ok(crate::store::replace(&path, &text).at("write", &path)?)
    }

    /// Opens them, the user namespace first, as they are joined. Each is the very one that was kept.
    ///
    /// # Errors
    /// When one is not there any more.
    pub fn open(&self, store: &Store) -> Result<Vec<Opened>, KeepError> {
        let device = own_device()?;
        let gone = || KeepError::Gone {
            name: self.name.clone(),
        };
        let mut opened = Vec::new();
        for (place, (kind, inode)) in self.namespaces.iter().enumerate() {
            let fd = match &self.keeper {
                Some(keeper) => keeper_file(keeper, place, device).ok_or_else(gone)?,
                None => {
                    let path = dir(store, &self.name).join(kind.name());
                    OwnedFd::from(File::open(&path).map_err(|_| gone())?)
                }
            };
            let meta = jaula_sys::dir::meta_of(fd.as_fd()).map_err(|_| gone())?;
            // A file that nothing is mounted on is of another device and tells no kind.
            if meta.inode != *inode || namespace::kind(fd.as_fd()).ok() != Some(kind.flag()) {
                return Err(gone());
            }
            opened.push((fd, *kind));
        }
        opened.sort_by_key(|(_, kind)| (*kind != NsKind::User, *kind));
        if opened.is_empty() {
            Err(gone())
        } else {
            Ok(opened)
        }
    }

    /// Whether all of them are still there.
    pub fn alive(&self, store: &Store) -> bool {
        self.open(store).is_ok()
    }
}

fn keeper_file(keeper: &Keeper, place: usize, device: u64) -> Option<OwnedFd> {
    let (number, _) = keeper.namespaces.get(place)?;
    let process = ProcDir::open(keeper.pid).ok()?;
    let (fd, _) = process
        .open_of_device(&format!("fd/{number}"), device)
        .ok()?;
    // It was that process's if it is still that one.
    (start_time(keeper.pid) == Some(keeper.start_time)).then_some(fd)
}

/// Where names are.
pub(super) fn base(store: &Store) -> PathBuf {
    store.root().join("run/kept")
}

/// Where the namespaces of a name are mounted.
pub(super) fn dir(store: &Store, name: &JailName) -> PathBuf {
    base(store).join(name.as_str())
}

pub(super) fn record_path(store: &Store, name: &JailName) -> PathBuf {
    base(store).join(format!("{name}.json"))
}

/// Everything that is kept, by name, whether it is still there or not.
///
/// # Errors
/// When the directory cannot be read.
pub fn all_kept(store: &Store) -> Result<Vec<Kept>, StoreError> {
    let mut found = Vec::new();
    for path in store.paths_in("run/kept")? {
        let name = path.file_name().and_then(|name| {
            name.to_str()?
                .strip_suffix(".json")?
                .parse::<JailName>()
                .ok()
        });
        found.extend(name.and_then(|name| Kept::read(store, &name)));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// What is kept by a name.
///
/// # Errors
/// When nothing is.
pub fn find_kept(store: &Store, name: &JailName) -> Result<Kept, KeepError> {
    match Kept::read(store, name) {
        Some(kept) => Ok(kept),
        None => Err(KeepError::NoSuchName {
            name: name.clone(),
            others: all_kept(store)?
                .iter()
                .map(|kept| kept.name.to_string())
                .collect(),
        }),
    }
}

/// The namespaces kept by a name, open, in the order in which they are joined: the user namespace first. A pid
/// namespace among them takes new processes only while its first process lives (pid_namespaces(7)).
///
/// # Errors
/// When nothing is kept by that name, or it is gone.
pub fn kept(store: &Store, name: &JailName) -> Result<Vec<Opened>, KeepError> {
    find_kept(store, name)?.open(store)
}

/// Whether the files of a named jail are still mounted by what is kept, under which name.
pub(crate) fn holds_files_of(store: &Store, jail: &JailName) -> Option<JailName> {
    let kept = all_kept(store).ok()?;
    // Root of a user's session may not look at the process that holds them, only see that it lives.
    let lives = |kept: &Kept| match &kept.keeper {
        Some(keeper) => start_time(keeper.pid) == Some(keeper.start_time),
        None => kept.alive(store),
    };
    let holds = |kept: &Kept| {
        kept.jail.as_ref() == Some(jail)
            && kept.namespaces.iter().any(|(kind, _)| *kind == NsKind::Mnt)
            && lives(kept)
    };
    kept.into_iter().find(holds).map(|kept| kept.name)
}

/// Takes away a directory with mounts of namespaces: nothing but such mounts, files and itself. What is absent is away
/// already.
pub(crate) fn remove_mounts(dir: &Path) -> Result<(), PathError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.at("list", dir)?,
    };
    for entry in entries {
        let path = entry.at("list", dir)?.path();
        let file = File::open(&path).at("open", &path)?;
        let mounted = namespace::kind(file.as_fd()).is_ok();
        drop(file);
        if mounted {
            namespace::unmount(&path).at("unmount", &path)?;
        }
        fs::remove_file(&path).at("remove", &path)?;
    }
    fs::remove_dir(dir).at("remove", dir)
}

/// The first process that is in a pid namespace.
pub(super) fn someone_in(inode: u64) -> Option<u32> {
    let inside = |pid: &u32| {
        let found = ProcDir::open(*pid).and_then(|dir| dir.identity("ns/pid"));
        found.is_ok_and(|found| found.ino == inode)
    };
    pids().ok()?.into_iter().find(inside)
}
