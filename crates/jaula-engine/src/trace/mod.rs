//! Programs under observation: what they, and all that they start, open, execute, connect to and become, as
//! [`jaula_plan::trace::Trace`] has it. The kernel tells each call that says something and waits until it is told to go on
//! (seccomp_unotify(2)); all others run at full speed. Nothing needs to be root for that, and nothing is refused.

mod eyes;
mod file;
mod wanted;
mod watch;

pub use file::{TraceFileError, TracePlan, read_file, write_file};
pub use wanted::wanted;
pub use watch::watch;

use crate::engine::Engine;
use crate::error::{EngineError, Kind};
use crate::event::Observer;
use crate::jail;
use crate::outcome::{Io, Status};
use crate::spec::ExecSpec;
use jaula_plan::names::JailName;
use jaula_plan::spec::jail::SeccompSpec;
use jaula_plan::trace::{Difference, Run, Trace, compare};
use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

/// A program to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSpec {
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Its environment, whole; its `PATH` is where the program is looked for.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory, as it is called; what is done about it is the caller's affair.
    pub directory: PathBuf,
    /// After this long it is told to end (SIGTERM).
    pub time: Option<Duration>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// What it used.
    pub trace: Trace,
    /// How the program ended.
    pub status: Status,
    /// Calls whose arguments could not be read: of programs that nobody may look into.
    pub unread: u64,
}

/// Why a program could not be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Nothing was typed.
    #[error("there is no program")]
    Nothing,
    /// The kernel tells nobody of its calls.
    #[error("the kernel does not tell of a program's calls (seccomp, errno {errno})")]
    Refused {
        /// What it said; EBUSY (16) when somebody listens already.
        errno: i32,
    },
    /// It could not be executed.
    #[error("cannot execute {}", jaula_plan::explain::word(.program))]
    Program {
        /// As typed.
        program: OsString,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// Anything of the system's.
    #[error(transparent)]
    Sys(#[from] jaula_sys::SysError),
    /// What was seen inside a jail did not come out.
    #[error("what was seen inside did not come out: {0}")]
    Lost(String),
}

impl WatchError {
    /// The exit code by which it is told (chroot(1)).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Program { source, .. } if source.kind() == std::io::ErrorKind::NotFound => 127,
            Self::Program { .. } => 126,
            _ => 125,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Nothing => Kind::User,
            Self::Refused { .. } => Kind::KernelRefused,
            Self::Program { source, .. } => crate::error::kind_of_io(source),
            Self::Sys(_) | Self::Lost(_) => Kind::Internal,
        }
    }

    pub(crate) fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Refused { errno: 16 } => {
                "only one can listen: not within another trace, and not in a jail with one identifier, whose files' owners \
                 are kept on record"
            }
            Self::Refused { .. } => "jaula doctor tells what this kernel allows",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

/// The most that a run inside may say.
const MOST: u64 = jaula_plan::trace::MAX_BYTES as u64;

impl Engine {
    /// Runs a program in a named jail and watches it there. The filter of system calls is off: who watches needs calls
    /// that it refuses. All else is as for every program in the jail.
    ///
    /// # Errors
    /// When the jail cannot be entered, or the program not be watched.
    pub fn trace_in_jail(
        &self,
        name: &JailName,
        exec: &ExecSpec,
        time: Option<Duration>,
        observer: &dyn Observer,
    ) -> Result<Watched, EngineError> {
        let mut file = jaula_sys::observe::memory_file().map_err(WatchError::from)?;
        let mut exec = exec.clone();
        exec.guards.seccomp = SeccompSpec::Off;
        exec.guards.keep_fds.push(file.number());
        let spec = TraceSpec {
            command: exec.command.clone(),
            env: exec.env.clone(),
            directory: exec.cwd.clone().unwrap_or_else(|| "/".into()),
            time,
        };
        let plan = self.plan_exec(name, &exec)?;
        let mut inside = || {
            file.keep_from_programs();
            let text = match watch(&spec) {
                Ok(mut watched) => {
                    watched.trace.only_text();
                    let Status::Exited(code) = watched.status else {
                        return 1;
                    };
                    // Not as the file has it: there, who asked is a comment.
                    let trace = serde_json::to_string(&watched.trace).unwrap_or_default();
                    format!("{code} {}\n{trace}", watched.unread)
                }
                Err(error) => format!("{}\n{}", error.exit_code(), crate::named::chain(&error)),
            };
            u8::from(file.write_all(text.as_bytes()).is_err())
        };
        let outcome = self.exec_by(&plan, |running, held, plan, groups| {
            crate::cgroup::tell_of_missing(plan, observer);
            Ok(jail::enter_call(
                running,
                held,
                plan,
                Io::Inherit,
                groups,
                &mut inside,
            )?)
        })?;
        let lost = |text: String| EngineError::from(WatchError::Lost(text));
        let mut text = String::new();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| (&mut file).take(MOST).read_to_string(&mut text))
            .map_err(|error| lost(error.to_string()))?;
        let (head, trace) = text
            .split_once('\n')
            .ok_or_else(|| lost(format!("it ended early ({:?})", outcome.status)))?;
        let Some((code, unread)) = head.split_once(' ') else {
            let text: String = trace.chars().filter(|c| !c.is_control()).collect();
            return Err(lost(text));
        };
        Ok(Watched {
            trace: serde_json::from_str(trace).map_err(|error| lost(error.to_string()))?,
            status: Status::Exited(code.parse().unwrap_or(125)),
            unread: unread.parse().unwrap_or(0),
        })
    }
}

/// Does work that changes the process that does it, as going on in another user namespace, in a process of its own; its
/// exit code. This one must have one thread.
///
/// # Errors
/// When no process can be started.
pub fn apart(work: &mut dyn FnMut() -> u8) -> Result<u8, EngineError> {
    let ended = jaula_sys::userns::fork(work).and_then(|child| child.wait_passing_signals());
    // What a signal ended has not said what it is worth.
    Ok(ended.map_err(WatchError::from)?.unwrap_or(125))
}

/// What was missing inside: asked for there and not found, and there on this host.
pub fn difference(outside: &Trace, inside: &Trace) -> Difference {
    compare(outside, inside, &mut |path| {
        !wanted::is_made(path) && path.symlink_metadata().is_ok()
    })
}

fn run(spec: &TraceSpec) -> Run {
    Run {
        command: spec
            .command
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
        directory: spec.directory.clone(),
    }
}
