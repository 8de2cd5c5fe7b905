//! The same without a filter that asks, where the kernel lends none: every call of a program stops it twice (ptrace(2)).
//! That is some ten times slower.

use super::{Ended, Held, NotObserved, adopt, ended_by, heard, prepare, tell};
use crate::direct;
use crate::error::{Errno, SysError};
use crate::notify::Call;
use crate::seccomp::program::Entry;
use crate::spawn::pair;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

/// A program whose calls stop it.
#[derive(Debug)]
pub struct Traced {
    /// Its process.
    pub pid: i32,
    /// Whether it is executing the program already: what comes before is this program's own.
    begun: bool,
    socket: OwnedFd,
}

/// What [`Traced::next`] finds.
#[derive(Debug)]
pub enum Step {
    /// A call that waits for [`Traced::proceed`].
    Call(Call),
    /// A process, or a thread of it, has ended.
    Ended(Ended),
    /// Nothing has happened.
    Nothing,
    /// Nobody is left.
    End,
}

/// `struct ptrace_syscall_info` (ptrace(2)) of a call that begins.
#[repr(C)]
#[derive(Default)]
struct Info {
    op: u8,
    _pad: [u8; 3],
    arch: u32,
    _instruction: u64,
    _stack: u64,
    number: u64,
    args: [u64; 6],
    _more: [u64; 2],
}

const GET_SYSCALL_INFO: u32 = 0x420e;
/// PTRACE_SYSCALL_INFO_ENTRY
const BEGINS: u8 = 1;
/// PTRACE_EVENT_STOP
const STOP: i32 = 128;
/// PTRACE_O_TRACESYSGOOD, _TRACEFORK, _TRACEVFORK, _TRACECLONE, _TRACEEXEC, _EXITKILL: all descendants, and none of them
/// outlives this process.
const OPTIONS: usize = 1 | 2 | 4 | 8 | 16 | 1 << 20;
const NATIVE: Entry = if cfg!(target_arch = "x86_64") {
    Entry::X86_64
} else {
    Entry::Aarch64
};

fn request(request: u32, pid: i32, address: usize, data: usize) -> Result<i64, Errno> {
    // SAFETY: data is a number, or the address of a structure as long as the other one says, which lives until then.
    let done = unsafe { libc::ptrace(request, pid, address, data) };
    match done {
        0.. => Ok(done),
        _ => Err(Errno::last()),
    }
}

/// Starts a program that is stopped at each call; the rest as [`super::start`].
///
/// # Errors
/// When it may not be traced. That it cannot be executed is told by [`Traced::not_executed`].
pub fn start(
    held: &Held,
    paths: &[CString],
    args: &[CString],
    env: Option<&[CString]>,
) -> Result<Traced, NotObserved> {
    let (socket, other) = pair().map_err(|error| NotObserved::Start(error.errno))?;
    adopt();
    match direct::fork().map_err(NotObserved::Start)? {
        direct::Side::Child => {
            drop(socket);
            // Who looks into a jail may not be looked at, and his child neither: from here on it is the program, held as
            // that will be, and so it may.
            let prepared = prepare(held).and_then(|()| {
                crate::process::let_be_seen().map_err(|error| error.errno)?;
                tell(other.as_raw_fd(), Errno(0));
                // Until it is traced.
                heard(other.as_raw_fd(), 0).ok_or(Errno(libc::ECHILD))
            });
            let errno = match prepared {
                Ok(_) => direct::exec(paths, args, env),
                Err(errno) => errno,
            };
            tell(other.as_raw_fd(), errno);
            let code = if errno.0 == libc::ENOENT { 127 } else { 126 };
            direct::exit(code)
        }
        direct::Side::Parent(pid) => {
            drop(other);
            let ready = match heard(socket.as_raw_fd(), 0) {
                Some(Errno(0)) => Ok(()),
                other => Err(other.unwrap_or(Errno(libc::ECHILD))),
            };
            let seized = ready
                .and_then(|()| request(libc::PTRACE_SEIZE, pid, 0, OPTIONS))
                .and_then(|_| request(libc::PTRACE_INTERRUPT, pid, 0, 0));
            if let Err(errno) = seized {
                direct::kill(pid, libc::SIGKILL).ok();
                direct::wait(pid, false).ok();
                return Err(NotObserved::Filter(errno));
            }
            tell(socket.as_raw_fd(), Errno(0));
            Ok(Traced {
                pid,
                begun: false,
                socket,
            })
        }
    }
}

impl Traced {
    /// What has happened; does not wait. Each change comes with SIGCHLD.
    ///
    /// # Errors
    /// wait(2).
    pub fn look(&mut self) -> Result<Step, SysError> {
        loop {
            let mut status = 0;
            let flags = libc::WNOHANG | libc::__WALL;
            // SAFETY: `status` is written only.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
            match pid {
                0 => return Ok(Step::Nothing),
                1.. => {}
                _ => {
                    let error = SysError::last("waitpid", "what is traced");
                    return match error.errno.0 {
                        libc::ECHILD => Ok(Step::End),
                        libc::EINTR => Ok(Step::Nothing),
                        _ => Err(error),
                    };
                }
            }
            if !libc::WIFSTOPPED(status) {
                return Ok(Step::Ended(ended_by(pid, status)));
            }
            let signal = libc::WSTOPSIG(status);
            if signal == libc::SIGTRAP | 0x80 {
                if let Some(call) = self.call(pid) {
                    return Ok(Step::Call(call));
                }
                resume(pid, 0);
                continue;
            }
            let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
            match status >> 16 {
                // The whole group stops, as it would if nobody looked.
                STOP if stops.contains(&signal) => {
                    request(libc::PTRACE_LISTEN, pid, 0, 0).ok();
                }
                0 => resume(pid, signal),
                _ => resume(pid, 0),
            }
        }
    }

    /// The call that a thread has stopped at; none when it is at the end of one, or calls as another machine does.
    fn call(&mut self, pid: i32) -> Option<Call> {
        let mut info = Info::default();
        let room = (&raw mut info).expose_provenance();
        request(GET_SYSCALL_INFO, pid, size_of::<Info>(), room).ok()?;
        if info.op != BEGINS || info.arch != NATIVE.audit() {
            return None;
        }
        let call = Call::traced(pid.cast_unsigned(), info.number, info.args);
        self.begun |= call.executes();
        self.begun.then_some(call)
    }

    /// The call goes on.
    pub fn proceed(&self, call: &Call) {
        resume(call.pid.cast_signed(), 0);
    }

    /// Why the program could not be executed, once it has ended.
    pub fn not_executed(&self) -> Option<Errno> {
        heard(self.socket.as_raw_fd(), libc::MSG_DONTWAIT)
    }
}

/// On to the next call. One that was killed meanwhile is told of by wait(2).
fn resume(pid: i32, signal: i32) {
    let signal = usize::try_from(signal).unwrap_or(0);
    request(libc::PTRACE_SYSCALL, pid, 0, signal).ok();
}
