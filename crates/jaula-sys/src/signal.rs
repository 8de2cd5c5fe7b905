//! Signals (signal(7)).

use crate::error::{Errno, SysError};
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

/// Those that a process sends itself by a mistake in its own code: never blocked.
const SYNCHRONOUS: [i32; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGSYS,
];

pub(crate) fn all() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set; the others change it.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        SYNCHRONOUS.iter().for_each(|s| {
            libc::sigdelset(set.as_mut_ptr(), *s);
        });
        set.assume_init()
    }
}

/// All signals blocked; as it was again on drop.
pub struct Blocked(libc::sigset_t);

impl Blocked {
    /// Blocks all that can be.
    pub fn new() -> Result<Self, SysError> {
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the first set is read, the second written.
        unsafe {
            if libc::sigprocmask(libc::SIG_SETMASK, &all(), before.as_mut_ptr()) < 0 {
                return Err(SysError::last("sigprocmask", "all signals"));
            }
            Ok(Self(before.assume_init()))
        }
    }

    /// The next signal; blocks.
    pub fn wait(&self) -> i32 {
        loop {
            // SAFETY: the set is read only; no information is asked for.
            let signal = unsafe { libc::sigwaitinfo(&all(), std::ptr::null_mut()) };
            if signal > 0 {
                return signal;
            }
        }
    }

    /// The next signal, if one comes within `millis`.
    pub fn wait_within(&self, millis: i32) -> Option<i32> {
        let limit = libc::timespec {
            tv_sec: (millis / 1000).into(),
            tv_nsec: (millis % 1000 * 1_000_000).into(),
        };
        // SAFETY: set and time are read only; no information is asked for.
        let signal = unsafe { libc::sigtimedwait(&all(), std::ptr::null_mut(), &raw const limit) };
        (signal > 0).then_some(signal)
    }

    /// A descriptor from which [`next`] reads signals.
    pub fn descriptor(&self) -> Result<OwnedFd, SysError> {
        // SAFETY: the set is read only.
        let fd = unsafe { libc::signalfd(-1, &all(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(SysError::last("signalfd", "all signals"));
        }
        // SAFETY: just opened, and owned by nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Stops this process as a shell's Ctrl-Z would, and comes back when it is continued.
    pub fn stop_self(&self) {
        // SAFETY: takes a number only.
        unsafe { libc::raise(libc::SIGSTOP) };
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set is read only.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

/// The next signal of a [`Blocked::descriptor`], if there is one.
pub fn next(descriptor: &OwnedFd) -> Option<i32> {
    use std::os::fd::AsRawFd;
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: room for one structure, as said; it is read only when all of it was written.
    unsafe {
        let got = libc::read(descriptor.as_raw_fd(), info.as_mut_ptr().cast(), size);
        (usize::try_from(got).ok() == Some(size)).then(|| info.assume_init().ssi_signo as i32)
    }
}

/// Unblocks all signals, stops ignoring those that this program ignores (Rust's start-up ignores SIGPIPE), and
/// gives the usual umask: how a program expects to be started.
pub(crate) fn restore_defaults() -> Result<(), Errno> {
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set; the disposition is a constant.
    unsafe {
        libc::umask(0o022);
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::sigemptyset(none.as_mut_ptr());
        if libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) < 0 {
            return Err(Errno::last());
        }
    }
    Ok(())
}

/// Unblocks all signals: a program that is started has the mask of who starts it.
pub(crate) fn unblock() -> Result<(), Errno> {
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set, which is read only then.
    let done = unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut())
    };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// Signals and umask as a program expects them when it is started: for what is executed next.
///
/// # Errors
/// sigprocmask(2).
pub fn as_a_program_expects() -> Result<(), Errno> {
    restore_defaults()
}

/// An interrupt (SIGINT) from now on ends this process and those it starts, also where a shell had it ignored, as it does
/// for what it starts with `&`.
pub fn interruptible() {
    // SAFETY: takes numbers only; the default action needs no function of ours.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL);
    }
}
