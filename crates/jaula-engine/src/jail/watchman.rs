//! Somebody who ends a jail whose first process is the program itself. The kernel does that for others (prctl(2),
//! PR_SET_PDEATHSIG), but forgets it of a process that changes its user, and a program may forget it itself.

use super::JailError;
use jaula_sys::process::readable;
use jaula_sys::spawn::Child;
use jaula_sys::{SysError, userns};
use std::io::PipeWriter;
use std::os::fd::AsFd;

const SIGKILL: i32 = 9;

/// A process that waits for the end of this one or of the jail, and then ends the jail if it is still there.
pub(super) struct Watchman {
    end: Option<PipeWriter>,
    process: Option<userns::Forked>,
}

impl Watchman {
    /// Starts him. The process must have one thread and all signals blocked.
    pub(super) fn over(child: &Child) -> Result<Self, JailError> {
        let failed = |error: std::io::Error| SysError::io("pipe2", "a watchman's pipe", &error);
        let (alive, end) = std::io::pipe().map_err(failed)?;
        let mut end = Some(end);
        let process = userns::fork(&mut || {
            // Only who started him is to hold it.
            drop(end.take());
            while readable(&[child.pidfd(), alive.as_fd()], -1) == 0 {}
            child.signal(SIGKILL);
            0
        })?;
        Ok(Self {
            end,
            process: Some(process),
        })
    }
}

impl Drop for Watchman {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(process) = self.process.take() {
            drop(process.wait());
        }
    }
}
