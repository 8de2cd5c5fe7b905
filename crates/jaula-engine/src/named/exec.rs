//! Sessions of a named jail.

use super::record::Keeper;
use super::{NamedError, Record, Running, forget, lock, run_path, running};
use crate::cgroup::Groups;
use crate::error::At;
use crate::jail;
use crate::outcome::Io;
use crate::store::Store;
use jaula_plan::jail::JailPlan;
use jaula_plan::names::JailName;
use jaula_sys::detach::{detach, wait_for_end_of_input};
use jaula_sys::dir::{Dir, Kind};
use jaula_sys::joining::Held;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A report of the keeper is never longer than this.
const REPORT: u64 = 16 << 10;

/// A running jail, kept running for as long as this is held.
#[derive(Debug)]
pub struct Session {
    /// Its first process.
    pub running: Running,
    _pipe: File,
}

/// Joins the jail when it runs, else starts it: `plan` is then called in the keeper for the jail to be made, whose
/// program is not run, after `prepare`. The process must have one thread.
pub fn join(
    store: &Store,
    record: &Record,
    prepare: &mut dyn FnMut() -> Result<(), String>,
    plan: &mut dyn FnMut() -> Result<JailPlan, String>,
) -> Result<Session, NamedError> {
    let name = &record.name;
    let lock = lock(store, name)?;
    if let Some(session) = running_session(store, name)? {
        return Ok(session);
    }
    super::refuse_kept(store, name)?;
    let path = run_path(store, name).with_extension("pipe");
    let session = start(store, name, &path, prepare, plan)?;
    drop(lock);
    Ok(session)
}

/// A session of the jail when it runs; the caller holds its lock. A jail that is about to end is waited for.
pub(super) fn running_session(
    store: &Store,
    name: &JailName,
) -> Result<Option<Session>, NamedError> {
    let Some(running) = running(store, name) else {
        return Ok(None);
    };
    let path = run_path(store, name).with_extension("pipe");
    // The lock as well: a keeper that has seen the end of its input, and still has its end of the pipe, holds it.
    if let Ok(pipe) = open_pipe(&path, true)
        && pipe.try_lock_shared().is_ok()
    {
        return Ok(Some(Session {
            running,
            _pipe: pipe,
        }));
    }
    // Without a reader the keeper is on its way out.
    let gone = jaula_sys::dir::kill_and_wait(running.pid, &|| running.alive(), super::END)
        .at("end the jail of", &path)?;
    if gone {
        return Ok(None);
    }
    Err(NamedError::Running {
        name: name.clone(),
        pid: running.pid,
    })
}

/// Whether the last session of a running jail has ended, and its keeper is about to; the caller holds its lock.
pub(super) fn is_left(store: &Store, name: &JailName) -> bool {
    let path = run_path(store, name).with_extension("pipe");
    // Each session shares the lock; a keeper that saw the end of them has it alone.
    match open_pipe(&path, true) {
        Ok(pipe) => pipe.try_lock().is_ok() || pipe.try_lock_shared().is_err(),
        // ENXIO: nobody reads. One without a pipe was not started by this.
        Err(error) => error.raw_os_error() == Some(6),
    }
}

/// One end of a named pipe, without waiting for the other one.
fn open_pipe(path: &Path, write: bool) -> std::io::Result<File> {
    // O_NONBLOCK of open(2); the file is in a directory of the store that is ours alone.
    OpenOptions::new()
        .write(write)
        .read(!write)
        .custom_flags(0o4000)
        .open(path)
}

fn start(
    store: &Store,
    name: &JailName,
    path: &Path,
    prepare: &mut dyn FnMut() -> Result<(), String>,
    plan: &mut dyn FnMut() -> Result<JailPlan, String>,
) -> Result<Session, NamedError> {
    forget(path)?;
    let run = store.made("run")?;
    let dir = Dir::open(&run).at("open", &run)?;
    dir.make_node(
        path.file_name().unwrap_or_default(),
        Kind::Fifo,
        0o600,
        (0, 0),
    )
    .at("make", path)?;
    let reader = open_pipe(path, false).at("open", path)?;
    let writer = open_pipe(path, true).at("open", path)?;
    writer.lock_shared().at("lock", path)?;
    jaula_sys::dir::set_blocking(reader.as_fd()).at("change", path)?;
    let (answer, report) = std::io::pipe().at("make a pipe for", path)?;
    let entry = run_path(store, name);
    detach(reader.as_fd(), report.as_fd(), &mut |mut report| {
        let kept = keep(store, &entry, &mut report, prepare, plan);
        match kept {
            Ok(()) => 0,
            Err(text) => {
                let line: String = text.chars().filter(|c| !c.is_control()).collect();
                drop(report.write_all(format!("{line}\n").as_bytes()));
                1
            }
        }
    })
    .at("start a process for", path)?;
    drop((reader, report));
    let mut text = String::new();
    // One line, not all there is: what the keeper starts may hold the other end a moment longer.
    let mut limited = BufReader::new(answer.take(REPORT));
    limited
        .read_line(&mut text)
        .at("read the answer of the keeper of", path)?;
    match serde_json::from_str::<Running>(&text) {
        Ok(running) => Ok(Session {
            running,
            _pipe: writer,
        }),
        Err(_) => Err(NamedError::Start {
            name: name.clone(),
            text: text.chars().filter(|c| !c.is_control()).collect(),
        }),
    }
}

/// The keeper: makes the jail, says so, and stays until the function in it has returned.
fn keep(
    store: &Store,
    entry: &Path,
    report: &mut File,
    prepare: &mut dyn FnMut() -> Result<(), String>,
    plan: &mut dyn FnMut() -> Result<JailPlan, String>,
) -> Result<(), String> {
    prepare()?;
    // Its user's other sessions take the jail's namespaces from it. The jail does not see it.
    jaula_sys::process::let_be_seen().map_err(|error| error.to_string())?;
    let plan = plan()?;
    let (mut told, mut own) = (Ok(()), None);
    let mut started = |found: jail::Running, held: &[Held]| {
        let running = Running {
            version: 1,
            pid: found.pid,
            start_time: found.start_time,
            keeper: Keeper::current(held),
        };
        told = tell(entry, report, &running);
        own = Some(running);
    };
    let mut wait = || {
        // What is sent to all of the jail is for its programs.
        let _blocked = jaula_sys::signal::Blocked::new();
        wait_for_end_of_input();
        0
    };
    let groups = Groups::make(&plan, Some(store)).map_err(|error| chain(&error))?;
    let ended = jail::call_watched(&plan, Io::Inherit, &mut wait, groups, &mut started);
    // The next one may have been started already: its entry is not ours.
    if own.is_some() && super::record::read_running(entry) == own {
        drop(std::fs::remove_file(entry));
    }
    ended.map_err(|error| chain(&error))?;
    told.map_err(|error| error.to_string())
}

/// Notes the jail's first process, whole or not at all, and then says it to whoever waits.
fn tell(entry: &Path, report: &mut File, running: &Running) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(running)?;
    text.push(b'\n');
    crate::store::replace(entry, &text)?;
    report.write_all(&text)
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
