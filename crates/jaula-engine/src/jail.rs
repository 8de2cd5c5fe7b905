//! Running jails: what a [`jaula_plan::jail::JailPlan`] says is done, by one process that clones itself.
//!
//! The caller must have one thread when [`run`], [`call`] or [`enter`] is called: the process is cloned, and what
//! other threads held would stay locked in the clone.

mod error;

pub use error::JailError;

use crate::outcome::{Io, Outcome};
use jaula_plan::jail::JailPlan;

/// Runs the plan's program in a new jail and waits for it.
///
/// A program that is not found or not executable is [`JailError::Program`].
pub fn run(plan: &JailPlan, io: Io<'_>) -> Result<Outcome, JailError> {
    run_watched(plan, io, &mut |_| ())
}

/// As [`run`]; tells where the jail runs as soon as its program does, so that others may [`enter`] it.
pub fn run_watched(
    _plan: &JailPlan,
    _io: Io<'_>,
    _started: &mut dyn FnMut(Running),
) -> Result<Outcome, JailError> {
    Err(JailError::NotYet)
}

/// Runs a function instead of a program in a new jail, under the same protections, and waits for it; what it gives
/// is the exit code. It runs in a process of its own: nothing it changes in memory is seen by the caller.
pub fn call(_plan: &JailPlan, _io: Io<'_>, _function: &mut dyn FnMut() -> u8) -> Result<Outcome, JailError> {
    Err(JailError::NotYet)
}

/// As [`call`]; tells where the jail runs as soon as the function does, so that others may [`enter`] it.
pub fn call_watched(
    _plan: &JailPlan,
    _io: Io<'_>,
    _function: &mut dyn FnMut() -> u8,
    _started: &mut dyn FnMut(Running),
) -> Result<Outcome, JailError> {
    Err(JailError::NotYet)
}

/// Runs the plan's program in a jail that runs already: joins its namespaces and root, then goes through the
/// plan's last part (user, capabilities, filter, program). An ordinary user calls it *outside* his session.
pub fn enter(_running: &Running, _plan: &JailPlan, _io: Io<'_>) -> Result<Outcome, JailError> {
    Err(JailError::NotYet)
}

/// A jail that runs: its program as the host's process identifiers name it. A process is only taken for it when
/// its start time is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Running {
    /// Process identifier.
    pub pid: u32,
    /// When it was started, in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
}
