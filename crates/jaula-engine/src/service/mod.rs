//! Services in named jails: one program each, kept running in the foreground, its lines passed on under the jail's name.

mod inside;
mod sockets;
mod tagged;
mod units;

pub use sockets::{SocketsFailure, serve_sockets};
pub use tagged::{Sink, To};
pub use units::{Change, UnitPlan, UnitsError, services};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::{Event, Observer};
use crate::jail;
use crate::outcome::{Io, Status};
use crate::plan::Preview;
use crate::run::ExecPlan;
use crate::spec::ExecSpec;
use jaula_plan::explain::{ExplainLine, word};
use jaula_plan::names::JailName;
use jaula_plan::service::{BackOff, Flow, Restart};
use jaula_sys::signal::Blocked;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// A service to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Program and arguments; when empty, the first of the known services that the jail has.
    pub command: Vec<OsString>,
    /// Environment, whole.
    pub env: Vec<(OsString, OsString)>,
    /// Directories that are made when absent.
    pub dirs: Vec<PathBuf>,
    /// Log files that become pipes.
    pub logs: Vec<PathBuf>,
    /// Whether the jail gets a `/dev/log`.
    pub relay: bool,
    /// How much of it is passed on; as good as all when absent.
    pub flow: Option<Flow>,
    /// What SIGHUP becomes; as the table of services says when absent.
    pub reload: Option<i32>,
    /// What SIGTERM becomes, likewise.
    pub stop: Option<i32>,
    /// Between being told to end and being killed.
    pub stop_after: Duration,
    /// Sockets that jaula was started with, from descriptor 3 on (sd_listen_fds(3)).
    pub sockets: Option<u32>,
    /// Their names.
    pub socket_names: Option<String>,
    /// When it is started again.
    pub restart: Restart,
}

/// Everything about running a service.
#[derive(Debug)]
pub struct ServicePlan {
    name: JailName,
    spec: ServiceSpec,
    exec: ExecSpec,
    first: ExecPlan,
}

impl fmt::Display for ServicePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "run a service in jail {} and keep it running", self.name)?;
        match self.spec.command.is_empty() {
            true => writeln!(f, "  whichever of the known services the jail has")?,
            false => writeln!(f, "  {}", self.command())?,
        }
        self.first.fmt(f)
    }
}

impl ServicePlan {
    fn command(&self) -> String {
        let words: Vec<String> = self.spec.command.iter().map(word).collect();
        words.join(" ")
    }
}

impl Preview for ServicePlan {
    fn to_json(&self) -> Value {
        let words: Vec<_> = self
            .spec
            .command
            .iter()
            .map(|w| w.to_string_lossy())
            .collect();
        json!({ "version": 1, "jail": self.name, "service": words, "first": self.first.to_json() })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        self.first.explain()
    }
}

impl Engine {
    /// What running a service in a named jail takes.
    ///
    /// # Errors
    /// As for running any program in it.
    pub fn plan_service(
        &self,
        name: &JailName,
        spec: &ServiceSpec,
        exec: &ExecSpec,
    ) -> Result<ServicePlan, EngineError> {
        let mut exec = exec.clone();
        exec.command = match spec.command.is_empty() {
            true => vec!["service".into()],
            false => spec.command.clone(),
        };
        exec.env.clone_from(&spec.env);
        if let Some(count) = spec.sockets {
            exec.guards.keep_fds.extend(3..3u32.saturating_add(count));
        }
        let first = self.plan_exec(name, &exec)?;
        Ok(ServicePlan {
            name: name.clone(),
            spec: spec.clone(),
            exec,
            first,
        })
    }

    /// Runs a service in the foreground until it has ended for good: its last exit code. SIGTERM and SIGINT end it,
    /// SIGHUP makes it read its settings again.
    ///
    /// # Errors
    /// When the jail cannot be entered the first time.
    pub fn service(
        &self,
        plan: &ServicePlan,
        sink: &mut Sink,
        observer: &dyn Observer,
    ) -> Result<u8, EngineError> {
        // Between two runs a signal waits.
        let blocked = Blocked::new().map_err(crate::trace::WatchError::from)?;
        let mut pauses = BackOff::default();
        loop {
            let began = Instant::now();
            let (code, asked) = self.serve_once(plan, sink, observer)?;
            if asked || !plan.spec.restart.again(code) {
                return Ok(code);
            }
            let pause = pauses.after(began.elapsed());
            observer.event(Event::Note {
                text: format!(
                    "the service of jail {} ended ({code}) and is started again in {} ms",
                    plan.name,
                    pause.as_millis()
                ),
            });
            let until = Instant::now() + pause;
            loop {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let millis = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1);
                if let Some(SIGTERM | SIGINT) = blocked.wait_within(millis) {
                    return Ok(code);
                }
            }
        }
    }

    /// One run: its exit code, and whether somebody asked for its end.
    fn serve_once(
        &self,
        plan: &ServicePlan,
        sink: &mut Sink,
        observer: &dyn Observer,
    ) -> Result<(u8, bool), EngineError> {
        let memory = || jaula_sys::observe::memory_file().map_err(crate::trace::WatchError::from);
        let mut asked = memory()?;
        let mut exec = plan.exec.clone();
        exec.guards.keep_fds.push(asked.number());
        let run = self.plan_exec(&plan.name, &exec)?;
        let mut inside = || {
            asked.keep_from_programs();
            let Ok(mut output) = jaula_sys::pty::output().map(File::from) else {
                return 125;
            };
            let mut told = || {
                asked.write_all(b"1").ok();
            };
            inside::serve(&plan.spec, &mut told, &mut output)
        };
        let mut take = |bytes: &[u8]| sink.add(bytes);
        let outcome = self.exec_by(&run, |running, held, jail, groups| {
            crate::cgroup::tell_of_missing(jail, observer);
            Ok(jail::enter_call(
                running,
                held,
                jail,
                Io::Captured(&mut take),
                groups,
                &mut inside,
            )?)
        })?;
        sink.end();
        let mut byte = [0u8];
        let told = asked
            .seek(SeekFrom::Start(0))
            .and_then(|_| asked.read(&mut byte));
        // One that was not there yet, when it came to its process first.
        let early =
            jail::told_to_end() | matches!(outcome.status, Status::Signalled(SIGTERM | SIGINT));
        Ok((outcome.code(), early || matches!(told, Ok(1))))
    }
}

/// What a message to `/dev/log` says, without its priority and its time (RFC 3164, 4.1).
pub(crate) fn message(text: &[u8]) -> &[u8] {
    let rest = match text.strip_prefix(b"<") {
        Some(rest) => {
            let digits = rest
                .iter()
                .take(4)
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            match rest.get(digits) {
                Some(b'>') if digits > 0 => {
                    rest.get(digits.saturating_add(1)..).unwrap_or_default()
                }
                _ => return text,
            }
        }
        None => text,
    };
    // `Nov 27 03:04:05 `
    let time = rest.get(..16).is_some_and(|time| {
        let at = |index: usize, want: u8| time.get(index) == Some(&want);
        at(3, b' ') && at(6, b' ') && at(9, b':') && at(12, b':') && at(15, b' ')
    });
    match time {
        true => rest.get(16..).unwrap_or_default(),
        false => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_without_priority_and_time() {
        for (text, says) in [
            (
                &b"<13>Nov 27 03:04:05 nginx: hello"[..],
                &b"nginx: hello"[..],
            ),
            (b"<13>hello", b"hello"),
            (b"hello", b"hello"),
            (b"<x>hello", b"<x>hello"),
            (b"<13", b"<13"),
            (b"<>x", b"<>x"),
            (b"<13>Nov 27", b"Nov 27"),
            (b"", b""),
        ] {
            assert_eq!(message(text), says);
        }
    }
}
