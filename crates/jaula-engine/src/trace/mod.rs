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
use jaula_plan::seccomp::{Profile, Target, compile};
use jaula_plan::setup_op::{CapSet, SetupOp};
use jaula_plan::spec::jail::SeccompSpec;
use jaula_plan::trace::{Difference, Run, Trace, compare};
use jaula_sys::observe::Held;
use jaula_sys::seccomp::Filter;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
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
    /// Whether steps of a walk through directories are seen too: looks at names in a directory that is open. Programs that
    /// do little else take some times as long then.
    pub each_look: bool,
}

/// Protections that are tried on a program in a jail.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    /// Calls that are allowed.
    pub profile: Option<Profile>,
    /// What may be touched; what this kernel cannot hold, or is not there, is left out.
    pub landlock: Vec<jaula_plan::landlock::LandlockRule>,
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
    /// Uses that were not written down: there were too many different ones.
    pub left_out: u64,
    /// Calls that a profile that was tried refused.
    pub refused: BTreeSet<String>,
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
    /// A profile that is to be tried is none.
    #[error("the profile cannot be tried: {0}")]
    Profile(String),
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
            Self::Sys(_) | Self::Lost(_) | Self::Profile(_) => Kind::Internal,
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

/// What a run inside says: its exit code, unread and left out, what was refused, and what was seen.
type Said = (u8, u64, u64, BTreeSet<String>, Trace);

impl Engine {
    /// Runs a program in a named jail and watches it there. The filter of system calls, and Landlock, hold the program
    /// and not who watches it, for he needs calls that they refuse. All else is as for every program in the jail. With
    /// `tried` these protections are tried, too: what the profile refuses is in the outcome.
    ///
    /// # Errors
    /// When the jail cannot be entered, or the program not be watched.
    pub fn trace_in_jail(
        &self,
        name: &JailName,
        exec: &ExecSpec,
        time: Option<Duration>,
        tried: &Tried,
        observer: &dyn Observer,
    ) -> Result<Watched, EngineError> {
        let mut exec = exec.clone();
        exec.guards.landlock.extend(tried.landlock.iter().cloned());
        exec.guards.best_effort |= !tried.landlock.is_empty();
        let mut held = held(&self.plan_exec(name, &exec)?.jail.ops)?;
        let profile = tried.profile.as_ref().map(judge).transpose()?;
        let mut file = jaula_sys::observe::memory_file().map_err(WatchError::from)?;
        exec.guards.seccomp = SeccompSpec::Off;
        exec.guards.landlock.clear();
        exec.guards.keep_fds.push(file.number());
        let spec = TraceSpec {
            command: exec.command.clone(),
            env: exec.env.clone(),
            directory: exec.cwd.clone().unwrap_or_else(|| "/".into()),
            time,
            each_look: true,
        };
        let plan = self.plan_exec(name, &exec)?;
        let mut inside = || {
            file.keep_from_programs();
            if let Some(set) = &mut held.landlock {
                let there = |path: &std::ffi::CString| {
                    let path = std::ffi::OsStr::from_bytes(path.to_bytes());
                    std::path::Path::new(path).exists()
                };
                set.paths.retain(|(path, _)| there(path));
            }
            let text = match watch::watch_held(&spec, &held, profile.as_ref()) {
                Ok(mut watched) => {
                    watched.trace.only_text();
                    let Status::Exited(code) = watched.status else {
                        return 1;
                    };
                    // Not as the file has it: there, who asked is a comment.
                    let said: Said = (
                        code,
                        watched.unread,
                        watched.left_out,
                        watched.refused,
                        watched.trace,
                    );
                    format!("0\n{}", serde_json::to_string(&said).unwrap_or_default())
                }
                Err(error) => format!("1\n{}", crate::named::chain(&error)),
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
        let (head, said) = text
            .split_once('\n')
            .ok_or_else(|| lost(format!("it ended early ({:?})", outcome.status)))?;
        if head != "0" {
            let text: String = said.chars().filter(|c| !c.is_control()).collect();
            return Err(lost(text));
        }
        let (code, unread, left_out, refused, trace): Said =
            serde_json::from_str(said).map_err(|error| lost(error.to_string()))?;
        Ok(Watched {
            trace,
            status: Status::Exited(code),
            unread,
            left_out,
            refused,
        })
    }
}

/// What of a jail's plan holds the program itself.
fn held(ops: &[SetupOp]) -> Result<Held, EngineError> {
    let mut held = Held::default();
    for op in ops {
        match op {
            SetupOp::Seccomp(plan) => held.filters.push(jail::default_filter(plan)),
            SetupOp::SeccompProfile { name, rules } => {
                held.filters.push(jail::profile_filter(name, rules)?);
            }
            SetupOp::Landlock(set) => held.landlock = Some(jail::landlock_ruleset(set)?),
            _ => {}
        }
    }
    Ok(held)
}

/// A profile as a filter that is asked here, and not by the kernel: so it can be told what it refuses. Every call that it
/// may refuse is asked about.
fn judge(profile: &Profile) -> Result<Filter, EngineError> {
    let target = Target {
        native: watch::ABI,
        caps: CapSet(u64::MAX),
        kernel: jaula_sys::process::kernel_version(),
        best_effort: true,
    };
    let unfit = |error: String| EngineError::from(WatchError::Profile(error));
    let rules = compile(profile, &target).map_err(|error| unfit(error.to_string()))?;
    Ok(jail::profile_filter(profile.name(), &rules)?)
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
