//! Starting a program that is watched, and the loop that lets each call go on.

use super::eyes::Eyes;
use super::{TraceSpec, WatchError, Watched, run};
use crate::outcome::Status;
use jaula_plan::seccomp::{Abi, names, number};
use jaula_plan::trace::UNASKED;
use jaula_sys::notify;
use jaula_sys::observe::{self, NotObserved, Observed};
use jaula_sys::process;
use jaula_sys::signal::{self, Blocked};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where programs are looked for when the environment does not say it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Between being told to end and being ended.
const PATIENCE: Duration = Duration::from_secs(10);

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGKILL: i32 = 9;
const SIGUSR1: i32 = 10;
const SIGUSR2: i32 = 12;
const SIGTERM: i32 = 15;

/// The entry by which this machine's programs call.
pub(super) const ABI: Abi = if cfg!(target_arch = "x86_64") {
    Abi::X86_64
} else {
    Abi::Aarch64
};

/// The names of this machine's calls by number.
pub(super) fn by_number() -> BTreeMap<u32, &'static str> {
    names()
        .filter_map(|name| Some((number(name, ABI)?, name)))
        .collect()
}

/// Runs a program and notes what it uses, until it and all that it has started have ended. This process must have one
/// thread; from then on it adopts orphans of its descendants.
///
/// # Errors
/// When it cannot be watched or executed.
pub fn watch(spec: &TraceSpec) -> Result<Watched, WatchError> {
    let (Some(program), Ok(args)) = (spec.command.first(), strings(&spec.command)) else {
        return Err(WatchError::Nothing);
    };
    let paths = candidates(program, &spec.env);
    let env: Vec<OsString> = spec
        .env
        .iter()
        .map(|(name, value)| {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            pair
        })
        .collect();
    let env = strings(&env).map_err(|()| WatchError::Nothing)?;
    let unasked: Vec<u32> = UNASKED
        .iter()
        .filter_map(|name| number(name, ABI))
        .collect();
    let filter = notify::watch(&unasked).ok_or(WatchError::Refused { errno: 0 })?;
    let blocked = Blocked::new()?;
    let signals = blocked.descriptor()?;
    let observed = observe::start(&filter, &paths, &args, Some(&env)).map_err(|why| match why {
        NotObserved::Filter(errno) | NotObserved::Start(errno) => {
            WatchError::Refused { errno: errno.0 }
        }
    })?;
    let mut watching = Watching {
        eyes: Eyes::new(),
        main: Some(observed.pid),
        code: None,
        seen: BTreeSet::new(),
        told: 0,
        deadline: spec.time.map(|time| Instant::now() + time),
    };
    observed.listener.prefer_this_processor();
    loop {
        let wait = watching.wait();
        let ready = process::readable(&[observed.listener.as_fd(), signals.as_fd()], wait);
        if ready & 2 != 0 {
            while let Some(signal) = signal::next(&signals) {
                watching.signal(signal);
            }
            watching.reap();
        }
        if ready & 1 != 0 && !watching.call(&observed)? {
            break;
        }
        watching.late();
    }
    watching.reap();
    if watching.code.is_none() {
        // Its filter went with it, just now.
        watching.wait_for_main();
    }
    drop(blocked);
    if let Some(errno) = observed.not_executed() {
        return Err(WatchError::Program {
            program: program.clone(),
            source: std::io::Error::from_raw_os_error(errno.0),
        });
    }
    let (mut trace, unread) = watching.eyes.done();
    trace.runs.insert(run(spec));
    Ok(Watched {
        trace,
        status: Status::Exited(watching.code.unwrap_or(125)),
        unread,
    })
}

fn strings(words: &[OsString]) -> Result<Vec<CString>, ()> {
    let strings = words.iter().map(|word| CString::new(word.as_bytes()));
    strings.collect::<Result<_, _>>().map_err(|_| ())
}

/// Where a program may be (execvp(3)).
fn candidates(program: &OsStr, env: &[(OsString, OsString)]) -> Vec<CString> {
    let name = program.as_bytes();
    let path = env.iter().find(|(name, _)| name == "PATH");
    let path = path.map_or(OsStr::new(PATH), |(_, value)| value.as_os_str());
    let list: Vec<PathBuf> = match name.contains(&b'/') {
        true => vec![program.into()],
        false => path
            .as_bytes()
            .split(|byte| *byte == b':')
            .map(|dir| match dir {
                [] => Path::new(".").join(program),
                dir => Path::new(OsStr::from_bytes(dir)).join(program),
            })
            .collect(),
    };
    list.iter()
        .filter_map(|path| CString::new(path.as_os_str().as_bytes()).ok())
        .collect()
}

struct Watching {
    eyes: Eyes,
    /// The program, until it has ended.
    main: Option<i32>,
    code: Option<u8>,
    /// Every process that made a call, for those that outlive the program.
    seen: BTreeSet<u32>,
    /// How often it was told to end.
    told: u32,
    deadline: Option<Instant>,
}

impl Watching {
    /// Milliseconds until something has to be done.
    fn wait(&self) -> i32 {
        self.deadline.map_or(-1, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            i32::try_from(left.as_millis())
                .unwrap_or(i32::MAX)
                .saturating_add(1)
        })
    }

    /// One call; false when nobody is left.
    fn call(&mut self, observed: &Observed) -> Result<bool, WatchError> {
        match observed.listener.take()? {
            notify::Taken::Call(call) => {
                self.seen.insert(call.pid);
                self.eyes.see(&call);
                observed.listener.proceed(&call);
                Ok(true)
            }
            notify::Taken::Missed => Ok(true),
            notify::Taken::End => Ok(false),
        }
    }

    fn reap(&mut self) {
        while let (Some(ended), _) = observe::ended() {
            if Some(ended.pid) == self.main {
                self.main = None;
                self.code = Some(ended.code);
            }
        }
    }

    fn wait_for_main(&mut self) {
        if let Some(pid) = self.main
            && let Ok(jaula_sys::direct::Change::Exited(code)) = jaula_sys::direct::wait(pid, false)
        {
            self.code = Some(code);
        }
    }

    fn signal(&mut self, signal: i32) {
        match signal {
            // A terminal's keys reach the program by themselves; twice is patience at its end.
            SIGINT | SIGQUIT | SIGTERM => {
                self.told = self.told.saturating_add(1);
                let strong = if self.told > 2 { SIGKILL } else { signal };
                self.send(strong);
            }
            SIGHUP | SIGUSR1 | SIGUSR2 => self.send(signal),
            _ => {}
        }
    }

    /// To the program; once it has ended, to what it has left.
    fn send(&self, signal: i32) {
        match self.main {
            Some(pid) if signal != SIGKILL => drop(jaula_sys::direct::kill(pid, signal)),
            _ => {
                let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
                let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
                for pid in entries.filter_map(number) {
                    // Held first: a number may be another process's a moment later.
                    if let Ok(process) = process::pidfd(pid)
                        && descends(pid)
                    {
                        drop(process::signal(&process, signal));
                    }
                }
            }
        }
    }

    fn late(&mut self) {
        if self
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            let signal = if self.told == 0 { SIGTERM } else { SIGKILL };
            self.told = self.told.saturating_add(1);
            self.send(signal);
            self.deadline = Some(Instant::now() + PATIENCE);
        }
    }
}

/// Whether a process is a descendant of this one.
fn descends(pid: u32) -> bool {
    let own = std::process::id();
    let mut at = pid;
    for _ in 0..64 {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{at}/stat")) else {
            return false;
        };
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, fields)| fields.split(' ').nth(1)?.parse().ok());
        match parent {
            Some(parent) if parent == own => return true,
            Some(parent) if parent > 1 => at = parent,
            _ => return false,
        }
    }
    false
}
