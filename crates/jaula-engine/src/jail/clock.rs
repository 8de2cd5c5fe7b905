//! The time limit of a jail: at its end every process is told to end, and a while later killed.

use super::JailError;
use jaula_plan::jail::JailPlan;
use jaula_plan::limit_op::LimitOp;
use jaula_plan::setup_op::SetupOp;
use jaula_sys::joining::{Held, PROCESSES, signal_all};
use jaula_sys::limits::alarm;
use jaula_sys::spawn::Child;
use std::cell::Cell;
use std::time::Duration;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// A clock that runs, or none. All signals are blocked while it does; SIGALRM is what it strikes by.
pub(super) struct Clock {
    kill_after: Option<Duration>,
    /// The namespaces of the jail, where they are held: then all of its processes are told.
    held: Vec<Held>,
    strikes: Cell<u32>,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Clock {
    /// Starts the clock of a plan that has one.
    pub(super) fn start(plan: &JailPlan, held: Vec<Held>) -> Result<Self, JailError> {
        let times = plan.ops.iter().find_map(|op| match op {
            SetupOp::Limit(LimitOp::Time { after, kill_after }) => Some((*after, *kill_after)),
            _ => None,
        });
        if let Some((after, _)) = times {
            alarm(micros(after))?;
        }
        Ok(Self {
            kill_after: times.map(|(_, kill_after)| kill_after),
            held,
            strikes: Cell::new(0),
        })
    }

    pub(super) fn runs(&self) -> bool {
        self.kill_after.is_some()
    }

    /// The time is up, or the time after that.
    pub(super) fn strike(&self, child: &Child) {
        self.strikes.set(self.strikes.get().saturating_add(1));
        if self.strikes.get() > 1 {
            child.signal(SIGKILL);
            return;
        }
        let processes = self.held.iter().any(|(_, flag)| *flag == PROCESSES);
        if !processes || signal_all(&self.held, SIGTERM).is_err() {
            child.signal(SIGTERM);
        }
        // One that was stopped has to go on to end.
        child.signal(18);
        if alarm(micros(self.kill_after.unwrap_or_default()).max(1)).is_err() {
            child.signal(SIGKILL);
        }
    }

    /// Stops it; whether it struck.
    pub(super) fn stop(&self) -> bool {
        if self.runs() {
            // The alarm that could not be stopped would be one that never was started.
            drop(alarm(0));
        }
        self.strikes.get() > 0
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop();
    }
}
