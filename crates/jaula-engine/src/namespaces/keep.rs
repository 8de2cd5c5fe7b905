//! Keeping namespaces by name, and letting them go.

use super::NsKind;
use super::kept::{
    KeepError, Kept, Opened, base, dir, find_kept, record_path, remove_mounts, someone_in,
};
use super::scan::own_device;
use crate::error::At;
use crate::journal::Intent;
use crate::named::{Keeper, Running, start_time};
use crate::plan::{Preview, StepPlan};
use crate::store::Store;
use jaula_plan::explain::ExplainLine;
use jaula_plan::names::JailName;
use jaula_plan::step::Step;
use jaula_sys::detach::{detach, wait_for_the_end};
use jaula_sys::namespace;
use jaula_sys::procfs::ProcDir;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// A report of the holder is never longer than this.
const REPORT: u64 = 4096;
/// Milliseconds a holder that is told to end may take.
const END: i64 = 5_000;

/// Whose namespaces are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepSource {
    /// Those of a process.
    Process(u32),
    /// Those of a named jail that runs.
    Jail(JailName, Running),
}

impl KeepSource {
    fn pid(&self) -> u32 {
        match self {
            Self::Process(pid) => *pid,
            Self::Jail(_, running) => running.pid,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Process(pid) => format!("process {pid}"),
            Self::Jail(name, _) => format!("jail {name}"),
        }
    }

    fn jail(&self) -> Option<&JailName> {
        match self {
            Self::Process(_) => None,
            Self::Jail(name, _) => Some(name),
        }
    }

    /// Its namespaces of these kinds, each with its inode. Those it cannot open are left out.
    fn open(&self, kinds: &[NsKind], start: Option<u64>) -> Result<Vec<(Opened, u64)>, KeepError> {
        let pid = self.pid();
        let none = || KeepError::NoProcess { what: self.words() };
        // An ordinary user's jail lets nobody look but through its keeper.
        let held = match self {
            Self::Jail(_, running) => running.namespaces().map_err(|_| none())?,
            Self::Process(_) => Vec::new(),
        };
        let mut opened: Vec<(Opened, u64)> = Vec::new();
        let inode = |fd: &OwnedFd| {
            jaula_sys::dir::meta_of(fd.as_fd())
                .ok()
                .map(|meta| meta.inode)
        };
        if held.is_empty() {
            let device = own_device()?;
            let process = ProcDir::open(pid).map_err(|_| none())?;
            for kind in kinds {
                if let Ok((fd, found)) = process.open_of_device(&format!("ns/{kind}"), device) {
                    opened.push(((fd, *kind), found.ino));
                }
            }
        } else {
            for (fd, flag) in held {
                let kind = NsKind::of_flag(flag).filter(|kind| kinds.contains(kind));
                if let (Some(kind), Some(inode)) = (kind, inode(&fd)) {
                    opened.push(((fd, kind), inode));
                }
            }
        }
        let now = start_time(pid).ok_or_else(none)?;
        if start.is_some_and(|start| start != now) {
            return Err(KeepError::Changed { pid });
        }
        Ok(opened)
    }
}

/// What keeping namespaces by a name takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepPlan {
    kept: Kept,
    source: KeepSource,
    start_time: u64,
    mounts: bool,
    steps: StepPlan,
}

impl KeepPlan {
    /// The namespaces, by kind and inode.
    pub fn namespaces(&self) -> &[(NsKind, u64)] {
        &self.kept.namespaces
    }

    /// What a person should know of it.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self
            .kept
            .namespaces
            .iter()
            .any(|(kind, _)| *kind == NsKind::Pid)
        {
            notes.push(
                "the pid namespace takes new processes only as long as its first process lives; no mount changes that"
                    .to_owned(),
            );
        }
        if !self.mounts {
            notes.push(
                "an ordinary user cannot mount them: a process holds them, until jaula ns rm, its end, or the host's"
                    .to_owned(),
            );
        }
        notes
    }
}

impl fmt::Display for KeepPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.fmt(f)?;
        self.notes()
            .iter()
            .try_for_each(|note| writeln!(f, "  note: {note}"))
    }
}

impl Preview for KeepPlan {
    fn to_json(&self) -> serde_json::Value {
        let mut json = self.steps.to_json();
        if let Some(object) = json.as_object_mut() {
            object.insert("notes".to_owned(), self.notes().into());
        }
        json
    }

    fn explain(&self) -> Vec<ExplainLine> {
        self.steps.explain()
    }
}

/// What keeping the namespaces of `source` as `name` takes: those of the kinds in `only`, or all that the caller has
/// not himself. `mounts` says whether the caller may mount. What is kept by that name already takes nothing.
///
/// # Errors
/// When the process is gone, cannot be looked at, or has nothing of its own; when others are kept by that name.
pub fn plan_keep(
    store: &Store,
    name: &JailName,
    source: KeepSource,
    only: &[NsKind],
    mounts: bool,
) -> Result<KeepPlan, KeepError> {
    let pid = source.pid();
    let start = start_time(pid).ok_or_else(|| KeepError::NoProcess {
        what: source.words(),
    })?;
    let kinds: &[NsKind] = if only.is_empty() { &NsKind::ALL } else { only };
    let opened = source.open(kinds, Some(start))?;
    if let Some(kind) = only
        .iter()
        .find(|kind| !opened.iter().any(|((_, found), _)| found == *kind))
    {
        return Err(KeepError::Closed { kind: *kind, pid });
    }
    let own = ProcDir::open(std::process::id()).at("open", "/proc/self")?;
    let differs = |kind: NsKind, inode: u64| {
        let same = own
            .identity(&format!("ns/{kind}"))
            .is_ok_and(|found| found.ino == inode);
        !only.is_empty() || !same
    };
    let mut namespaces: Vec<(NsKind, u64)> = opened
        .iter()
        .map(|((_, kind), inode)| (*kind, *inode))
        .filter(|(kind, inode)| differs(*kind, *inode))
        .collect();
    namespaces.sort_by_key(|(kind, _)| *kind);
    if namespaces.is_empty() {
        return Err(KeepError::NothingOwn { pid });
    }
    let kept = Kept {
        name: name.clone(),
        from: source.words(),
        jail: source.jail().cloned(),
        namespaces,
        keeper: None,
    };
    let there = Kept::read(store, name).filter(|there| there.alive(store));
    let steps = match there {
        Some(there) if there.namespaces == kept.namespaces => Vec::new(),
        Some(_) => return Err(KeepError::Exists { name: name.clone() }),
        None if mounts => kept
            .namespaces
            .iter()
            .map(|(kind, inode)| Step::MountNamespace {
                namespace: format!("{kind}:[{inode}]"),
                from: super::path_of(pid, *kind),
                path: dir(store, name).join(kind.name()),
            })
            .collect(),
        None => vec![Step::HoldNamespaces {
            name: name.clone(),
            namespaces: kept
                .namespaces
                .iter()
                .map(|(kind, inode)| format!("{kind}:[{inode}]"))
                .collect(),
            pid,
        }],
    };
    Ok(KeepPlan {
        kept,
        source,
        start_time: start,
        mounts,
        steps: StepPlan::new(format!("keep namespaces as {name}"), steps),
    })
}

/// Keeps them. Either all are kept, or none. A process that has got the number in the meantime is not taken for the
/// one that was planned with.
///
/// # Errors
/// When the process is gone or went elsewhere, or the kernel refuses.
pub fn keep(store: &Store, plan: &KeepPlan) -> Result<(), KeepError> {
    if plan.steps.is_empty() {
        return Ok(());
    }
    let _lock = lock(store)?;
    let name = &plan.kept.name;
    match Kept::read(store, name) {
        Some(there) if there.alive(store) => return Err(KeepError::Exists { name: name.clone() }),
        // What is gone leaves its place to what comes.
        Some(there) => let_go(store, &there)?,
        None => remove_mounts(&dir(store, name))?,
    }
    if !plan.mounts {
        return hold(store, plan);
    }
    make_base(&base(store))?;
    let path = dir(store, name);
    let (_, mut journal) = store.journal()?;
    let made = (|| {
        journal.intend(Intent::Mounts(path.clone()))?;
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .at("make", &path)?;
        journal.point()?;
        for ((fd, kind), _) in taken(plan)? {
            let file = path.join(kind.name());
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o400);
            options.open(&file).at("make", &file)?;
            let mounted = namespace::keep(fd.as_fd(), &file);
            mounted.map_err(|source| KeepError::Mount { kind, source })?;
            journal.point()?;
        }
        journal.intend(Intent::Create(record_path(store, name)))?;
        plan.kept.write(store)
    })();
    match made {
        Ok(()) => Ok(journal.finish()?),
        Err(error) => {
            drop(journal.undo());
            Err(error)
        }
    }
}

/// The namespaces of a plan, open: the very ones.
fn taken(plan: &KeepPlan) -> Result<Vec<(Opened, u64)>, KeepError> {
    let kinds: Vec<NsKind> = plan.kept.namespaces.iter().map(|(kind, _)| *kind).collect();
    let mut opened = plan.source.open(&kinds, Some(plan.start_time))?;
    opened.sort_by_key(|((_, kind), _)| *kind);
    let found: Vec<_> = opened
        .iter()
        .map(|((_, kind), inode)| (*kind, *inode))
        .collect();
    if found != plan.kept.namespaces {
        return Err(KeepError::Changed {
            pid: plan.source.pid(),
        });
    }
    Ok(opened)
}

/// Makes the place of all names, once, a mount of its own that nobody else sees: the kernel keeps a mount namespace
/// only below such a one.
fn make_base(path: &Path) -> Result<(), KeepError> {
    if !is_mounted(path)? {
        namespace::make_private(path).at("make a private mount of", path)?;
    }
    Ok(())
}

/// Whether the path itself is where something is mounted.
fn is_mounted(path: &Path) -> Result<bool, KeepError> {
    let text = fs::read("/proc/self/mountinfo").at("read", "/proc/self/mountinfo")?;
    Ok(super::mountinfo::mounts(&text).any(|(target, _)| target == path))
}

fn lock(store: &Store) -> Result<File, KeepError> {
    let path = store.made("run/kept")?.with_extension("lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).at("open", &path)?;
    file.lock().at("lock", &path)?;
    Ok(file)
}

/// Starts the process that holds an ordinary user's namespaces.
fn hold(store: &Store, plan: &KeepPlan) -> Result<(), KeepError> {
    let nothing = File::open("/dev/null").at("open", "/dev/null")?;
    let (answer, report) = std::io::pipe().at("make a pipe for", base(store))?;
    let mut function = |mut report: File| {
        let started = (|| {
            let opened = taken(plan)?;
            let (pid, mut kept) = (std::process::id(), plan.kept.clone());
            kept.keeper = Some(Keeper {
                pid,
                start_time: start_time(pid).unwrap_or(0),
                namespaces: opened
                    .iter()
                    .map(|((fd, kind), _)| (fd.as_raw_fd(), kind.flag()))
                    .collect(),
            });
            kept.write(store)?;
            Ok::<_, KeepError>(opened)
        })();
        match started {
            Ok(_opened) => {
                drop(report.write_all(b"ok\n"));
                drop(report);
                jaula_sys::process::release_code();
                wait_for_the_end();
            }
            Err(error) => {
                let text: String = crate::named::chain(&error)
                    .chars()
                    .filter(|c| !c.is_control())
                    .collect();
                drop(report.write_all(format!("{text}\n").as_bytes()));
                1
            }
        }
    };
    detach(nothing.as_fd(), report.as_fd(), &mut function)
        .at("start a process for", base(store))?;
    drop(report);
    let mut text = String::new();
    let read = BufReader::new(answer.take(REPORT)).read_line(&mut text);
    read.at("read the answer of the process for", base(store))?;
    match text.trim() {
        "ok" => Ok(()),
        other => Err(KeepError::Holder {
            text: other.to_owned(),
        }),
    }
}

/// What letting go of a name takes.
///
/// # Errors
/// When nothing is kept by it.
pub fn plan_let_go(store: &Store, name: &JailName) -> Result<StepPlan, KeepError> {
    let kept = find_kept(store, name)?;
    let steps = match &kept.keeper {
        Some(keeper) => vec![Step::EndHolder {
            name: name.clone(),
            pid: keeper.pid,
        }],
        None => kept
            .namespaces
            .iter()
            .map(|(kind, inode)| Step::UnmountNamespace {
                namespace: format!("{kind}:[{inode}]"),
                path: dir(store, name).join(kind.name()),
            })
            .collect(),
    };
    Ok(StepPlan::new(
        format!("let go of namespaces kept as {name}"),
        steps,
    ))
}

/// Lets go of a name: its mounts, or the process that holds its namespaces, and its record. Namespaces that nothing
/// else uses are gone then.
///
/// # Errors
/// When nothing is kept by it, or a mount cannot be taken away.
pub fn let_go_of(store: &Store, name: &JailName) -> Result<(), KeepError> {
    let _lock = lock(store)?;
    let kept = find_kept(store, name)?;
    let_go(store, &kept)?;
    drop_base(store)
}

fn let_go(store: &Store, kept: &Kept) -> Result<(), KeepError> {
    if let Some(keeper) = &kept.keeper {
        let right = || start_time(keeper.pid) == Some(keeper.start_time);
        let path = record_path(store, &kept.name);
        let ended = jaula_sys::dir::kill_and_wait(keeper.pid, &right, END);
        if !ended.at("end the process of", &path)? {
            return Err(KeepError::Holder {
                text: format!("process {} does not end", keeper.pid),
            });
        }
    }
    remove_mounts(&dir(store, &kept.name))?;
    let path = record_path(store, &kept.name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => Ok(other.at("remove", &path)?),
    }
}

/// The last name takes the place of all names with it.
fn drop_base(store: &Store) -> Result<(), KeepError> {
    let path = base(store);
    let empty = store.paths_in("run/kept")?.is_empty();
    if empty && is_mounted(&path)? {
        namespace::unmount(&path).at("unmount", &path)?;
    }
    Ok(())
}

/// Whether a pid namespace still takes new processes: its first process lives.
pub fn takes_processes(inode: u64) -> bool {
    someone_in(inode).is_some()
}
