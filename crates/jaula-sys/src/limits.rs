//! Limits of a process, and its own view of control groups.

use crate::error::{Errno, SysError};

/// What the child does about limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitOp {
    /// Soft and hard limit of a resource (setrlimit(2)); the kernel is asked whether they hold.
    Process {
        /// `RLIMIT_*` of [`resource`].
        resource: u32,
        /// `RLIM_INFINITY` for none.
        value: u64,
    },
    /// Nice value (setpriority(2)).
    Nice(i32),
    /// A control group namespace of its own, whose root is the group it is in now (cgroup_namespaces(7)).
    OwnGroups,
}

/// Resources of setrlimit(2).
#[allow(
    clippy::unnecessary_cast,
    reason = "signed in some C libraries, unsigned in others"
)]
pub mod resource {
    /// CPU time.
    pub const CPU: u32 = libc::RLIMIT_CPU as u32;
    /// File size.
    pub const FSIZE: u32 = libc::RLIMIT_FSIZE as u32;
    /// Stack.
    pub const STACK: u32 = libc::RLIMIT_STACK as u32;
    /// Core dumps.
    pub const CORE: u32 = libc::RLIMIT_CORE as u32;
    /// Processes of a user.
    pub const NPROC: u32 = libc::RLIMIT_NPROC as u32;
    /// Data.
    pub const DATA: u32 = libc::RLIMIT_DATA as u32;
    /// 20 less the lowest nice value.
    pub(super) const NICE: u32 = libc::RLIMIT_NICE as u32;
    /// Descriptors.
    pub const NOFILE: u32 = libc::RLIMIT_NOFILE as u32;
}

impl LimitOp {
    pub(crate) fn apply(self) -> Result<(), Errno> {
        match self {
            Self::Process { resource, value } => {
                let wanted = libc::rlimit64 {
                    rlim_cur: value,
                    rlim_max: value,
                };
                prlimit(resource, Some(&wanted))?;
                let now = prlimit(resource, None)?;
                if (now.rlim_cur, now.rlim_max) != (value, value) {
                    return Err(Errno(libc::EPROTO));
                }
                Ok(())
            }
            Self::Nice(nice) => {
                // SAFETY: takes numbers only. The raw call, which changes this thread: it is the only one.
                let done =
                    unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, nice) };
                if done < 0 {
                    return Err(match Errno::last() {
                        // What setpriority(2) means by it here.
                        Errno(libc::EACCES) => Errno(libc::EPERM),
                        other => other,
                    });
                }
                Ok(())
            }
            // SAFETY: takes a number only.
            Self::OwnGroups => match unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } {
                0 => Ok(()),
                _ => Err(Errno::last()),
            },
        }
    }
}

/// prlimit(2) of this process: sets when there is something to set; what held before.
fn prlimit(resource: u32, wanted: Option<&libc::rlimit64>) -> Result<libc::rlimit64, Errno> {
    let mut before = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let new = wanted.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the one structure is read or null, the other written only.
    let done = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, &raw mut before) };
    if done < 0 {
        Err(Errno::last())
    } else {
        Ok(before)
    }
}

/// The hard limit of this process; none: no limit.
pub fn hard(resource: u32) -> Result<Option<u64>, SysError> {
    match prlimit(resource, None) {
        Ok(limit) => Ok((limit.rlim_max != libc::RLIM64_INFINITY).then_some(limit.rlim_max)),
        Err(errno) => Err(SysError {
            call: "prlimit",
            target: format!("resource {resource}"),
            errno,
        }),
    }
}

/// No limit, for [`LimitOp::Process`].
pub const UNLIMITED: u64 = libc::RLIM64_INFINITY;

/// The nice value of this process, and the lowest it may take by its limit (getrlimit(2), RLIMIT_NICE).
pub fn nice() -> (i32, i32) {
    // SAFETY: takes numbers only. The raw call gives 20 less the value (getpriority(2)).
    let now = 20 - unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) } as i32;
    let ceiling = prlimit(resource::NICE, None).map_or(0, |limit| limit.rlim_cur.min(40));
    (now, now.min(20 - ceiling as i32))
}

/// Sends this process SIGALRM after `micros` microseconds (setitimer(2)); never for 0.
pub fn alarm(micros: u64) -> Result<(), SysError> {
    let timer = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: (micros / 1_000_000) as libc::time_t,
            tv_usec: (micros % 1_000_000) as libc::suseconds_t,
        },
    };
    // SAFETY: the structure is read only; where the former one would go is null.
    let done = unsafe {
        libc::syscall(
            libc::SYS_setitimer,
            libc::ITIMER_REAL,
            &raw const timer,
            std::ptr::null_mut::<libc::itimerval>(),
        )
    };
    if done < 0 {
        return Err(SysError::last("setitimer", "the time limit"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_what_was_set_or_an_error() {
        let pid = crate::userns::fork(&mut || {
            let set = |value| {
                LimitOp::Process {
                    resource: resource::FSIZE,
                    value,
                }
                .apply()
            };
            let lowered = set(4096).is_ok() && hard(resource::FSIZE).ok() == Some(Some(4096));
            // Raising needs a capability of the host, which not even its root may have.
            let raised = set(8192);
            let whole = raised.is_ok() && hard(resource::FSIZE).ok() == Some(Some(8192));
            u8::from(!(lowered && (whole || raised == Err(Errno(libc::EPERM)))))
        });
        assert_eq!(pid.expect("a child").wait().expect("an end"), Some(0));
    }
}
