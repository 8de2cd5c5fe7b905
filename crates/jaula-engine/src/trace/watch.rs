//! Starting a program that is watched, and the loop that lets each call go on.

use super::eyes::Eyes;
use super::{TraceSpec, WatchError, Watched, run};
use crate::outcome::Status;
use jaula_plan::seccomp::{Abi, names, number};
use jaula_plan::trace::UNASKED;
use jaula_sys::direct::{self, Change};
use jaula_sys::notify::Call;
use jaula_sys::observe::ptrace::{self, Step, Traced};
use jaula_sys::observe::{self, Ended, Held, NotObserved, Observed};
use jaula_sys::process;
use jaula_sys::seccomp::Filter;
use jaula_sys::signal::{self, Blocked};
use jaula_sys::{Errno, notify};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where programs are looked for when the environment does not say it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Between being told to end and being ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// Steps that are taken before signals and time have their turn.
const AT_ONCE: usize = 256;

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
    watch_held(spec, &Held::default(), None)
}

/// The same with a program that is held by more than being watched. `profile` is tried: what it refuses fails and is noted.
pub(super) fn watch_held(
    spec: &TraceSpec,
    held: &Held,
    profile: Option<&Filter>,
) -> Result<Watched, WatchError> {
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
    let filter = notify::watch(&unasked, spec.each_look).ok_or(WatchError::Refused { errno: 0 })?;
    let blocked = Blocked::new()?;
    let signals = blocked.descriptor()?;
    let refused = |why| match why {
        NotObserved::Filter(errno) | NotObserved::Start(errno) => {
            WatchError::Refused { errno: errno.0 }
        }
    };
    let observed = match observe::start(&filter, held, &paths, &args, Some(&env)) {
        Ok(observed) => Ok(observed),
        // Somebody listens already, or the kernel lets nobody listen.
        Err(NotObserved::Filter(why)) => {
            let mut held = held.clone();
            held.filters.extend(profile.cloned());
            match ptrace::start(&held, &paths, &args, Some(&env)) {
                Ok(traced) => Err(traced),
                Err(_) => return Err(refused(NotObserved::Filter(why))),
            }
        }
        Err(why) => return Err(refused(why)),
    };
    let mut watching = Watching {
        eyes: Eyes::new(),
        main: Some(
            observed
                .as_ref()
                .map_or_else(|traced| traced.pid, |observed| observed.pid),
        ),
        code: None,
        profile,
        names: by_number(),
        refused: BTreeSet::new(),
        told: 0,
        deadline: spec.time.map(|time| Instant::now() + time),
    };
    let not_executed = match observed {
        Ok(observed) => {
            watching.answers(&observed, &signals)?;
            observed.not_executed()
        }
        Err(mut traced) => {
            watching.steps(&mut traced, &filter, &signals)?;
            traced.not_executed()
        }
    };
    drop(blocked);
    if let Some(errno) = not_executed {
        return Err(WatchError::Program {
            program: program.clone(),
            source: std::io::Error::from_raw_os_error(errno.0),
        });
    }
    let refused = watching.refused;
    let (mut trace, unread, left_out) = watching.eyes.done();
    trace.runs.insert(run(spec));
    Ok(Watched {
        trace,
        status: Status::Exited(watching.code.unwrap_or(125)),
        unread,
        left_out,
        refused,
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

struct Watching<'a> {
    eyes: Eyes,
    /// The program, until it has ended.
    main: Option<i32>,
    code: Option<u8>,
    /// The profile that is tried.
    profile: Option<&'a Filter>,
    names: BTreeMap<u32, &'static str>,
    /// The calls that it refused.
    refused: BTreeSet<String>,
    /// How often it was told to end.
    told: u32,
    deadline: Option<Instant>,
}

impl Watching<'_> {
    /// Milliseconds until something has to be done.
    fn wait(&self) -> i32 {
        self.deadline.map_or(-1, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            i32::try_from(left.as_millis())
                .unwrap_or(i32::MAX)
                .saturating_add(1)
        })
    }

    /// Answers calls until nobody is left who could make one.
    fn answers(&mut self, observed: &Observed, signals: &OwnedFd) -> Result<(), WatchError> {
        observed.listener.prefer_this_processor();
        loop {
            let ready = observed.listener.wait_beside(signals.as_fd(), self.wait());
            if ready.other {
                while let Some(signal) = signal::next(signals) {
                    self.signal(signal);
                }
                self.reap();
            }
            if ready.call {
                self.call(observed)?;
            } else if ready.end {
                break;
            }
            self.late();
        }
        self.reap();
        if self.code.is_none() {
            // Its filter went with it, just now.
            self.wait_for_main();
        }
        Ok(())
    }

    /// Lets what is stopped at its calls go on, until nothing is left.
    fn steps(
        &mut self,
        traced: &mut Traced,
        filter: &Filter,
        signals: &OwnedFd,
    ) -> Result<(), WatchError> {
        loop {
            for _ in 0..AT_ONCE {
                match traced.look()? {
                    Step::Call(call) => {
                        if call.asked_by(filter) {
                            self.eyes.see(&call);
                            // The kernel refuses it then: the profile is among its filters.
                            if self.judged(&call).is_some() {
                                self.note_refused(&call);
                            }
                        }
                        traced.proceed(&call);
                    }
                    Step::Ended(ended) => self.ended(ended),
                    Step::Nothing => break,
                    Step::End => return Ok(()),
                }
            }
            if process::readable(&[signals.as_fd()], self.wait()) != 0 {
                while let Some(signal) = signal::next(signals) {
                    self.signal(signal);
                }
            }
            self.late();
        }
    }

    fn judged(&self, call: &Call) -> Option<Errno> {
        self.profile.and_then(|profile| call.refused_by(profile))
    }

    fn note_refused(&mut self, call: &Call) {
        let number = call.number();
        let name = self.names.get(&number);
        let name = name.map_or_else(|| number.to_string(), |name| (*name).to_owned());
        self.refused.insert(name);
    }

    fn call(&mut self, observed: &Observed) -> Result<(), WatchError> {
        let Some(call) = observed.listener.take()? else {
            return Ok(());
        };
        self.eyes.see(&call);
        match self.judged(&call) {
            Some(errno) => {
                self.note_refused(&call);
                observed.listener.answer(&call, Err(errno));
            }
            None => observed.listener.proceed(&call),
        }
        Ok(())
    }

    fn reap(&mut self) {
        while let (Some(ended), _) = observe::ended() {
            self.ended(ended);
        }
    }

    fn ended(&mut self, ended: Ended) {
        if Some(ended.pid) == self.main {
            self.main = None;
            self.code = Some(ended.code);
        }
    }

    fn wait_for_main(&mut self) {
        let ended = self.main.map(|pid| direct::wait(pid, false));
        self.code = match ended {
            Some(Ok(Change::Exited(code))) => Some(code),
            Some(Ok(Change::Killed(signal))) => {
                Some(u8::try_from(signal).map_or(255, |n| n.saturating_add(128)))
            }
            _ => None,
        };
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
            Some(pid) if signal != SIGKILL => drop(direct::kill(pid, signal)),
            _ => crate::descendants::tell(signal),
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
