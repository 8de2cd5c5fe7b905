//! Starting a run in the background.

use super::log::Log;
use super::{Ended, Entry, log_path, now, refuse_taken, take, write};
use crate::cgroup::Groups;
use crate::error::At;
use crate::jail::{self, JailError, Running as Process};
use crate::named::{Keeper, NamedError, Running, chain};
use crate::outcome::Io;
use crate::store::Store;
use crate::view::Image;
use jaula_plan::explain::word;
use jaula_plan::jail::JailPlan;
use jaula_plan::names::JailName;
use jaula_plan::setup_op::SetupOp;
use jaula_sys::detach::detach;
use jaula_sys::joining::Held;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;

/// A report of the supervisor is never longer than this.
const REPORT: u64 = 64 << 10;

/// Starts a run in the background: returns when its program runs. `image` is held against being removed meanwhile.
/// This process must have one thread.
///
/// # Errors
/// [`NamedError::Exists`] and [`NamedError::Running`] when the name is taken, [`NamedError::Start`] with what the
/// supervisor said.
pub fn start(
    store: &Store,
    name: &JailName,
    plan: &JailPlan,
    image: Option<&Image>,
    logged: bool,
) -> Result<Entry, NamedError> {
    refuse_taken(store, name)?;
    store.made(super::DIR)?;
    let place = log_path(store, name);
    let null = File::open("/dev/null").at("open", "/dev/null")?;
    let (answer, report) = std::io::pipe().at("make a pipe for", &place)?;
    detach(
        null.as_fd(),
        report.as_fd(),
        &mut |mut report| match supervise(store, name, plan, image, logged, &mut report) {
            Ok(()) => 0,
            Err(text) => {
                let line: String = text.chars().filter(|c| !c.is_control()).collect();
                drop(report.write_all(format!("{line}\n").as_bytes()));
                1
            }
        },
    )
    .at("start a process for", &place)?;
    drop(report);
    let mut text = String::new();
    // One line, not all there is: what the supervisor starts may hold the other end a moment longer.
    BufReader::new(answer.take(REPORT))
        .read_line(&mut text)
        .at("read the answer of the supervisor of", &place)?;
    serde_json::from_str(&text).map_err(|_| NamedError::Start {
        name: name.clone(),
        text: text.chars().filter(|c| !c.is_control()).collect(),
    })
}

/// The command of a plan, as a person would type it.
fn command(plan: &JailPlan) -> String {
    let words = plan.ops.iter().find_map(|op| match op {
        SetupOp::Exec { command, .. } => Some(command),
        _ => None,
    });
    let words: Vec<String> = words.into_iter().flatten().map(word).collect();
    words.join(" ")
}

/// The supervisor: runs the jail, says so, and notes its end.
fn supervise(
    store: &Store,
    name: &JailName,
    plan: &JailPlan,
    image: Option<&Image>,
    logged: bool,
    report: &mut File,
) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| chain(error);
    // Its user's other commands take the jail's namespaces from it. The jail does not see it.
    jaula_sys::process::let_be_seen().map_err(|error| text(&error))?;
    let Some(_name) = take(store, name).map_err(|error| text(&error))? else {
        return Err(format!("a run {name} is being started or ended"));
    };
    let _held = image
        .map(Image::hold)
        .transpose()
        .map_err(|error| text(&error))?;
    let own = Process::of(std::process::id()).ok_or("this process is not in /proc")?;
    let mut log = match logged {
        true => Some(
            Log::new(&log_path(store, name))
                .map_err(|error| format!("cannot make a log: {error}"))?,
        ),
        false => None,
    };
    let groups = Groups::make(plan, Some(store)).map_err(|error| text(&error))?;
    let made = |running| Entry {
        version: 1,
        name: name.clone(),
        supervisor: own,
        running,
        command: command(plan),
        started: now(),
        logged,
        ended: None,
    };
    let (mut entry, mut told) = (None, Ok(()));
    let mut started = |found: Process, held: &[Held]| {
        let new = made(Running {
            version: 1,
            pid: found.pid,
            start_time: found.start_time,
            keeper: Keeper::current(held),
        });
        told = write(store, &new).map_err(|error| text(&error));
        if told.is_ok() {
            tell(report, &new);
        }
        entry = Some(new);
    };
    let mut sink = |bytes: &[u8]| {
        if let Some(log) = &mut log {
            log.add(bytes);
        }
    };
    let outcome = jail::run_in(plan, Io::Captured(&mut sink), groups, Some(&mut started));
    told?;
    let told = entry.is_some();
    // One that ended before it could be told of has no process any more.
    let mut entry = match (entry, &outcome) {
        (Some(entry), _) => entry,
        (None, Ok(_)) => made(Running {
            version: 1,
            pid: own.pid,
            start_time: own.start_time,
            keeper: None,
        }),
        (None, Err(error)) => return Err(text(error)),
    };
    entry.ended = Some(match outcome {
        Ok(outcome) => Ended {
            code: outcome.code(),
            reached: outcome.limit,
            error: None,
            at: now(),
        },
        Err(error) => Ended {
            code: JailError::exit_code(&error),
            reached: None,
            error: Some(text(&error)),
            at: now(),
        },
    });
    write(store, &entry).map_err(|error| text(&error))?;
    if !told {
        tell(report, &entry);
    }
    Ok(())
}

/// Says to whoever started it what runs. Nobody may listen any more.
fn tell(report: &mut File, entry: &Entry) {
    let line = serde_json::to_string(entry).unwrap_or_default();
    drop(report.write_all(format!("{line}\n").as_bytes()));
}
