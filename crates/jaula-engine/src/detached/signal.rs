//! Ending jails, and sending them signals. A number that is used again belongs to somebody else: whoever is signalled
//! is held by a descriptor, and is the process meant by its start time (pidfd_open(2)).

use super::Entry;
use crate::error::At;
use crate::jail::Running as Process;
use crate::named::{NamedError, Running};
use jaula_plan::names::JailName;
use jaula_sys::joining;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// SIGTERM of signal(7).
pub const SIGTERM: i32 = 15;
/// SIGKILL of signal(7).
pub const SIGKILL: i32 = 9;

/// How long a jail that was killed may take to be gone.
const END: Duration = Duration::from_secs(10);

/// A jail that runs, by what it is signalled through.
#[derive(Debug, Clone)]
pub enum Target {
    /// A named jail: its sessions have programs of their own.
    Named(JailName, Running),
    /// A run in the background: it has one program, and a supervisor.
    Detached(Box<Entry>),
}

impl Target {
    /// Its name.
    pub fn name(&self) -> &JailName {
        match self {
            Self::Named(name, _) => name,
            Self::Detached(entry) => &entry.name,
        }
    }

    /// The process in it by which it is known.
    pub fn running(&self) -> &Running {
        match self {
            Self::Named(_, running) => running,
            Self::Detached(entry) => &entry.running,
        }
    }

    /// The process whose end is the end of it.
    fn last(&self) -> Process {
        match self {
            Self::Named(_, running) => running.process(),
            Self::Detached(entry) => entry.supervisor,
        }
    }
}

/// A descriptor of a process that is still the one meant; none when it has ended.
fn hold(process: Process) -> Result<Option<OwnedFd>, NamedError> {
    let Ok(held) = jaula_sys::process::pidfd(process.pid) else {
        return Ok(None);
    };
    // The descriptor first: from then on the number cannot become another's.
    Ok(process.is_alive().then_some(held))
}

fn send(process: Process, signal: i32) -> Result<(), NamedError> {
    let Some(held) = hold(process)? else {
        return Ok(());
    };
    match jaula_sys::process::signal(&held, signal) {
        // It has ended meanwhile.
        Err(error) if error.errno.0 == 3 => Ok(()),
        Err(error) => Err(std::io::Error::from_raw_os_error(error.errno.0))
            .at("signal process", process.pid.to_string())
            .map_err(NamedError::from),
        Ok(()) => Ok(()),
    }
}

/// Sends a signal to the program of a run, or to all programs of a named jail; SIGKILL ends either as a whole.
///
/// # Errors
/// When the kernel refuses. That it has ended already is none.
pub fn signal(target: &Target, signal: i32) -> Result<(), NamedError> {
    match target {
        Target::Named(_, running) if signal != SIGKILL => everyone(running, signal),
        Target::Detached(entry) if signal == SIGKILL => end(entry),
        _ => send(target.running().process(), signal),
    }
}

/// Kills a run: its program, and what is left ends with that. One that may not be signalled, as it is another user
/// inside, ends with its supervisor.
fn end(entry: &Entry) -> Result<(), NamedError> {
    match send(entry.running.process(), SIGKILL) {
        Ok(()) => Ok(()),
        Err(_) => send(entry.supervisor, SIGKILL),
    }
}

/// Sends a signal to all processes of a jail that has a process identifier namespace of its own.
fn everyone(running: &Running, signal: i32) -> Result<(), NamedError> {
    let place = || format!("/proc/{}", running.pid);
    let held = running.namespaces().at("join", place())?;
    let all = match held.is_empty() {
        true => {
            let Some(process) = hold(running.process())? else {
                return Ok(());
            };
            joining::signal_all(&[(process, joining::PROCESSES)], signal)
        }
        false => joining::signal_all(&held, signal),
    };
    Ok(all.at("signal the processes of", place())?)
}

/// Waits for the end of a jail, at most so long; whether it has ended.
///
/// # Errors
/// None that matters to the caller: a process that cannot be held has ended.
pub fn wait(target: &Target, time: Option<Duration>) -> Result<bool, NamedError> {
    let Some(held) = hold(target.last())? else {
        return Ok(true);
    };
    let end = time.map(|time| Instant::now() + time);
    loop {
        let left = end.map_or(Duration::MAX, |end| {
            end.saturating_duration_since(Instant::now())
        });
        use std::os::fd::AsFd;
        let millis = match end {
            None => -1,
            // Rounded up, so that no time is left when nothing is ready.
            Some(_) => i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX),
        };
        if jaula_sys::process::readable(&[held.as_fd()], millis) != 0 {
            return Ok(true);
        }
        if left.is_zero() {
            return Ok(false);
        }
    }
}

/// Tells a jail to end, waits, and kills it when it has not ended in time. Whether it ended by itself.
///
/// # Errors
/// When it cannot be signalled, or is still there after it was killed.
pub fn stop(target: &Target, time: Duration) -> Result<bool, NamedError> {
    match target {
        Target::Named(_, running) => everyone(running, SIGTERM)?,
        // Its supervisor hands it on, to the program and its children.
        Target::Detached(entry) => send(entry.supervisor, SIGTERM)?,
    }
    if wait(target, Some(time))? {
        return Ok(true);
    }
    match target {
        Target::Detached(entry) => end(entry)?,
        Target::Named(_, running) => send(running.process(), SIGKILL)?,
    }
    match wait(target, Some(END))? {
        true => Ok(false),
        false => Err(NamedError::Running {
            name: target.name().clone(),
            pid: target.running().pid,
        }),
    }
}
