//! The parent's part of a fork.

use super::{End, Failure, Part};
use jaula_plan::direct::{DirectOp, Wait};
use jaula_sys::direct::{self as sys, Change, Mask, signo};
use jaula_sys::error::Errno;

/// The signals that are not to end the parent before its child; with forwarding, those that it has to hear.
pub(super) fn held(wait: Wait) -> &'static [i32] {
    match wait {
        Wait::Held => &[signo::SIGINT, signo::SIGTERM],
        Wait::Forwarded => &[signo::SIGINT, signo::SIGTERM, signo::SIGCHLD],
        Wait::Mirrored => &[],
    }
}

/// In the child, after the fork: signals are as they were before, and those that are sent on have their effect.
pub(super) fn in_child(wait: Wait, before: Option<&Mask>) -> Result<(), Errno> {
    if wait == Wait::Forwarded {
        sys::default_effect(signo::SIGINT)?;
        sys::default_effect(signo::SIGTERM)?;
    }
    before.map_or(Ok(()), Mask::restore)
}

/// Waits for the child's end, and ends as it did.
pub(super) fn wait(op: &DirectOp, wait: Wait, child: i32) -> Result<End, Failure> {
    let failed = |part, errno: Errno| Failure::step(op, part, errno.0);
    let waited = |errno| failed(Part::Wait, errno);
    let change = match wait {
        Wait::Held => sys::wait(child, false).map_err(waited)?,
        Wait::Forwarded => forward(child).map_err(waited)?,
        Wait::Mirrored => loop {
            match sys::wait(child, true).map_err(waited)? {
                Change::Stopped => {
                    sys::raise(signo::SIGSTOP);
                    // Somebody continued this process: the child goes on too. It may be gone by now.
                    let _sent = sys::kill(child, signo::SIGCONT);
                }
                end => break end,
            }
        },
    };
    match change {
        Change::Exited(code) => Ok(End::Exited(code)),
        Change::Killed(signal) => {
            sys::end_by(signal).map_err(|errno| failed(Part::Signals, errno))?;
            Ok(End::Survived(signal))
        }
        Change::Stopped => Err(waited(Errno(0))),
    }
}

fn forward(child: i32) -> Result<Change, Errno> {
    loop {
        match sys::next_signal(held(Wait::Forwarded)) {
            signo::SIGCHLD => {
                if let Some(change) = sys::look(child)? {
                    return Ok(change);
                }
            }
            signal => {
                // The child has not been waited for: its number is its own, and a zombie takes signals too.
                let _sent = sys::kill(child, signal);
            }
        }
    }
}
