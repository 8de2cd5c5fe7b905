//! A program whose calls are told to its parent, with all that it starts.

pub mod ptrace;

use crate::direct;
use crate::error::Errno;
use crate::landlock::{self, Ruleset};
use crate::notify::Listener;
use crate::seccomp::Filter;
use crate::spawn::{DESCRIPTORS, pair, receive, send_fd};
use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A program under observation.
#[derive(Debug)]
pub struct Observed {
    /// Its process.
    pub pid: i32,
    /// Where its calls are told. Each waits for its answer.
    pub listener: Listener,
    socket: OwnedFd,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotObserved {
    /// The filter was refused (seccomp(2)): EBUSY when somebody else listens already.
    Filter(Errno),
    /// Something before that.
    Start(Errno),
}

/// What a child that has ended says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its process.
    pub pid: i32,
    /// Its exit code; 128 and the number of the signal that ended it.
    pub code: u8,
}

/// What holds the program besides being observed.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// Filters of system calls. What they refuse nobody is asked about.
    pub filters: Vec<Filter>,
    /// What may be touched.
    pub landlock: Option<Ruleset>,
}

/// Starts a program under a filter that asks. The caller has one thread and all signals blocked
/// ([`crate::signal::Blocked`]), and from here on adopts what its descendants leave behind (PR_SET_CHILD_SUBREAPER).
///
/// # Errors
/// When it cannot be observed. That it cannot be executed is told by [`Observed::not_executed`].
pub fn start(
    filter: &Filter,
    held: &Held,
    paths: &[CString],
    args: &[CString],
    env: Option<&[CString]>,
) -> Result<Observed, NotObserved> {
    let (socket, other) = pair().map_err(|error| NotObserved::Start(error.errno))?;
    adopt();
    match direct::fork().map_err(NotObserved::Start)? {
        direct::Side::Child => {
            let errno = child(filter, held, other.as_raw_fd(), paths, args, env);
            tell(other.as_raw_fd(), errno);
            let code = if errno.0 == libc::ENOENT { 127 } else { 126 };
            direct::exit(code)
        }
        direct::Side::Parent(pid) => {
            drop(other);
            let mut fds = [-1; DESCRIPTORS];
            let got = receive(socket.as_raw_fd(), &mut fds);
            match (got, fds) {
                (Ok(1..), [fd, ..]) => {
                    // SAFETY: just received, and owned by nobody else.
                    let listener = Listener::new(unsafe { OwnedFd::from_raw_fd(fd) });
                    Ok(Observed {
                        pid,
                        listener,
                        socket,
                    })
                }
                // Without a descriptor it tells what the kernel said.
                _ => {
                    let errno = heard(socket.as_raw_fd(), libc::MSG_DONTWAIT)
                        .unwrap_or(Errno(libc::ECHILD));
                    direct::wait(pid, false).ok();
                    Err(NotObserved::Filter(errno))
                }
            }
        }
    }
}

fn child(
    filter: &Filter,
    held: &Held,
    socket: i32,
    paths: &[CString],
    args: &[CString],
    env: Option<&[CString]>,
) -> Errno {
    // The filter that asks is the last: until the listener is sent, nobody would answer.
    let listener = prepare(held).and_then(|()| filter.listen());
    match listener {
        Err(errno) => {
            // A message without a descriptor: what comes next is why.
            crate::spawn::send_fds(socket, &[]).ok();
            errno
        }
        Ok(listener) => match send_fd(socket, listener.0) {
            Ok(()) => direct::exec(paths, args, env),
            Err(errno) => errno,
        },
    }
}

/// What is done before the program is executed.
fn prepare(held: &Held) -> Result<(), Errno> {
    crate::signal::restore_defaults()?;
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } < 0 {
        return Err(Errno::last());
    }
    if let Some(set) = &held.landlock {
        landlock::restrict(set)?;
    }
    held.filters.iter().try_for_each(Filter::load)
}

fn tell(socket: i32, errno: Errno) {
    let bytes = errno.0.to_ne_bytes();
    // SAFETY: as long as said.
    unsafe { libc::write(socket, bytes.as_ptr().cast(), bytes.len()) };
}

/// What the other end told.
fn heard(socket: i32, flags: i32) -> Option<Errno> {
    let mut bytes = [0u8; 4];
    // SAFETY: the room is as long as said.
    let got = unsafe { libc::recv(socket, bytes.as_mut_ptr().cast(), bytes.len(), flags) };
    (got == 4).then(|| Errno(i32::from_ne_bytes(bytes)))
}

impl Observed {
    /// Why the program could not be executed, once it has ended.
    pub fn not_executed(&self) -> Option<Errno> {
        heard(self.socket.as_raw_fd(), libc::MSG_DONTWAIT)
    }
}

/// From here on this process adopts what its descendants leave behind (PR_SET_CHILD_SUBREAPER).
pub fn adopt() {
    // SAFETY: takes numbers only. It cannot fail.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// The next child that has ended, its own or adopted; none when none has. `left` is false when there is no child at all.
pub fn ended() -> (Option<Ended>, bool) {
    let mut status = 0;
    // SAFETY: `status` is written only.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    match pid {
        1.. => (Some(ended_by(pid, status)), true),
        0 => (None, true),
        _ => (None, false),
    }
}

fn ended_by(pid: i32, status: i32) -> Ended {
    let code = match libc::WIFEXITED(status) {
        true => libc::WEXITSTATUS(status) as u8,
        false => 128u8.saturating_add(libc::WTERMSIG(status) as u8),
    };
    Ended { pid, code }
}

/// A file without a name (memfd_create(2)), for what a process elsewhere is to leave.
#[derive(Debug)]
pub struct MemoryFile(std::fs::File);

/// Makes one.
///
/// # Errors
/// memfd_create(2).
pub fn memory_file() -> Result<MemoryFile, crate::SysError> {
    use rustix::fs::{MemfdFlags, memfd_create};
    memfd_create("jaula", MemfdFlags::empty())
        .map(|fd| MemoryFile(fd.into()))
        .map_err(|error| crate::SysError {
            call: "memfd_create",
            target: "what a process leaves".into(),
            errno: Errno(error.raw_os_error()),
        })
}

impl MemoryFile {
    /// From now on no program that is executed is given it. Until then it counts as one that was handed in, which a jail
    /// may keep.
    pub fn keep_from_programs(&self) {
        // SAFETY: takes numbers only.
        unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    }

    /// The number of its descriptor.
    pub fn number(&self) -> u32 {
        u32::try_from(self.0.as_raw_fd()).unwrap_or(u32::MAX)
    }
}

impl std::io::Read for MemoryFile {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl std::io::Write for MemoryFile {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl std::io::Seek for MemoryFile {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}
