//! Starting a jail: one clone3(2) of a process with one thread, PID 1 that walks the first list, and a second process
//! that shares PID 1's memory until it execs, and walks the second list.

use crate::beneath::Fd;
pub use crate::caps::Found;
use crate::child::{self, Op, Table};
use crate::error::{Errno, SysError};
use crate::page::{Page, Shared};
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

/// Namespaces for [`Spawn::namespaces`] (clone(2)).
pub mod ns {
    pub use libc::{
        CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER,
        CLONE_NEWUTS,
    };
    /// A time namespace, for clone3(2) only.
    pub const CLONE_NEWTIME: i32 = 0x80;
}

/// What runs once everything is set up.
pub enum Payload<'a> {
    /// A program: the first of `paths` that can be executed.
    Exec {
        /// Where it may be.
        paths: &'a [CString],
        /// Its arguments.
        args: &'a [CString],
        /// Its environment, `NAME=value`.
        env: &'a [CString],
    },
    /// A function; what it gives is the exit code.
    Call(&'a mut dyn FnMut() -> u8),
}

/// A jail to be started.
pub struct Spawn<'a> {
    /// `CLONE_NEW*` of [`ns`].
    pub namespaces: i32,
    /// What PID 1 does.
    pub first: &'a [Op],
    /// What the program's process does before it is the program.
    pub last: &'a [Op],
    /// What then runs.
    pub payload: Payload<'a>,
    /// Whether a program that is executed is PID 1 itself, where nothing reaps what others leave to it or hands signals on.
    pub as_pid_1: bool,
    /// Whether the program's process tells who it is, for others to join it: see [`Child::announced`].
    pub announce: bool,
}

/// How far the child came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It was killed while it set the jail up.
    Unfinished,
    /// An operation failed: its index, `first` and `last` counted through.
    Failed(usize, Errno),
    /// The program could not be executed.
    NotExecuted(Errno),
    /// The program ran and ended with this status of wait(2).
    Ended(i32),
    /// The program ran; PID 1 was killed before it ended.
    Killed,
}

const SETTING_UP: u32 = 0;
const FAILED: u32 = 1;
const NO_EXEC: u32 = 2;
const RUNNING: u32 = 3;
const ENDED: u32 = 4;

/// How many operations can be noted as without anything to apply to.
const NOTED: usize = 256;

/// A page that both processes see. The program never does: it has memory of its own after execve(2).
#[repr(C)]
struct Report {
    state: AtomicU32,
    op: AtomicU32,
    value: AtomicI32,
    program: AtomicI32,
    /// Whether the program is PID 1 itself, whose end is its own.
    alone: AtomicU32,
    absent: [AtomicU64; NOTED / 64],
    /// [`Found`], as words; the first tells whether it is there.
    found: [AtomicU64; 5],
}

/// Operations that found nothing to apply themselves to, by index in [`Spawn::first`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absent([u64; NOTED / 64]);

impl Absent {
    /// Whether the operation with this index is one of them.
    pub fn holds(&self, op: usize) -> bool {
        let word = self.0.get(op / 64);
        word.is_some_and(|word| word >> (op % 64) & 1 == 1)
    }
}

// SAFETY: zero is a value of every field, each of which is an atomic.
unsafe impl Shared for Report {}

/// A jail that was started. Its processes are killed when this is dropped before [`Child::wait`].
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    page: Page<Report>,
    reaped: bool,
    /// Of wait(2), once it is reaped.
    status: i32,
}

#[repr(C)]
pub(crate) struct CloneArgs {
    pub(crate) flags: u64,
    pub(crate) pidfd: u64,
    pub(crate) child_tid: u64,
    pub(crate) parent_tid: u64,
    pub(crate) exit_signal: u64,
    pub(crate) stack: u64,
    pub(crate) stack_size: u64,
    pub(crate) tls: u64,
}

/// The memory that the program's process walks its list on.
pub(crate) const STACK: usize = 96 * 1024;

pub(crate) fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// A pair of connected sockets, closed on exec.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), SysError> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: room for two descriptors.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) } < 0 {
        return Err(SysError::last("socketpair", "supervisor and jail"));
    }
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

impl Spawn<'_> {
    /// Clones. The caller must have one thread and all signals blocked ([`crate::signal::Blocked`]); the child waits
    /// at its first [`Op::Await`] for [`Child::go`].
    pub fn start(mut self) -> Result<Child, SysError> {
        let page = Page::new()?;
        let (socket, other) = pair()?;
        // Everything the child needs of the heap is made here.
        let (args, env) = match &self.payload {
            Payload::Exec { args, env, .. } => (pointers(args), pointers(env)),
            Payload::Call(_) => (Vec::new(), Vec::new()),
        };
        let mut stack = match &self.payload {
            Payload::Exec { .. } => Vec::<MaybeUninit<u8>>::with_capacity(STACK),
            Payload::Call(_) => Vec::new(),
        };
        let mut pidfd: RawFd = -1;
        let request = CloneArgs {
            flags: (self.namespaces as u32 as u64) | libc::CLONE_PIDFD as u64,
            pidfd: &raw mut pidfd as u64,
            child_tid: 0,
            parent_tid: 0,
            exit_signal: libc::SIGCHLD as u64,
            stack: 0,
            stack_size: 0,
            tls: 0,
        };
        // SAFETY: as fork(2): without CLONE_VM the child has a copy of the memory and of this stack.
        let pid =
            unsafe { libc::syscall(libc::SYS_clone3, &raw const request, size_of::<CloneArgs>()) };
        match pid {
            0 => {
                // The supervisor's end, or its death would never be seen.
                drop(socket);
                let code = first_process(
                    &mut self,
                    page.report(),
                    other.as_raw_fd(),
                    &args,
                    &env,
                    &mut stack,
                );
                // SAFETY: ends the process; nothing of the copied memory is dropped or flushed.
                unsafe { libc::_exit(code) }
            }
            1.. => {
                // SAFETY: the kernel put a descriptor there that nobody else owns.
                let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
                Ok(Child {
                    pid: pid as i32,
                    pidfd,
                    socket,
                    page,
                    reaped: false,
                    status: 0,
                })
            }
            _ => Err(SysError::last("clone3", "new namespaces")),
        }
    }
}

/// Everything that PID 1 does; its exit code.
fn first_process(
    spawn: &mut Spawn<'_>,
    report: &Report,
    socket: RawFd,
    args: &[*const libc::c_char],
    env: &[*const libc::c_char],
    stack: &mut Vec<MaybeUninit<u8>>,
) -> i32 {
    // SAFETY: takes a number only. Modes are said in full while the jail is made.
    unsafe { libc::umask(0) };
    let mut table = Table::new(socket);
    let mut absent = |index: usize| {
        if let Some(word) = report.absent.get(index / 64) {
            word.fetch_or(1 << (index % 64), Ordering::Relaxed);
        }
    };
    if let Err((op, errno)) = child::walk(spawn.first, &mut table, &mut absent) {
        fail(report, FAILED, op, errno);
        return 125;
    }
    let mut last = Last {
        ops: spawn.last,
        offset: spawn.first.len(),
        table,
        report,
        announce: spawn.announce && matches!(spawn.payload, Payload::Call(_)),
        paths: &[],
        args,
        env,
    };
    let program = match &mut spawn.payload {
        Payload::Exec { paths, .. } if spawn.as_pid_1 => {
            last.paths = paths;
            report.alone.store(1, Ordering::Relaxed);
            return become_program(&mut last);
        }
        Payload::Exec { paths, .. } => {
            last.paths = paths;
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            // SAFETY: the stack is STACK bytes that nothing else uses; this process sleeps until the other has
            // execed or ended, so nothing is used by both at once.
            unsafe {
                let top = stack.as_mut_ptr().add(STACK & !15);
                libc::clone(last_process, top.cast(), flags, (&raw mut last).cast())
            }
        }
        Payload::Call(function) => {
            // SAFETY: a fork: the child has a copy of all memory, and the process has one thread.
            let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as i32;
            if pid == 0 {
                let code = if last.prepare() {
                    report.state.store(RUNNING, Ordering::Release);
                    i32::from(function())
                } else {
                    125
                };
                // SAFETY: ends the process.
                unsafe { libc::_exit(code) }
            }
            pid
        }
    };
    if program < 0 {
        fail(report, FAILED, last.offset + last.ops.len(), Errno::last());
        return 125;
    }
    if !matches!(report.state.load(Ordering::Acquire), SETTING_UP | RUNNING) {
        // Left to the host's PID 1, one that joined a running jail would hold up that jail's end until it is reaped.
        // SAFETY: a null status is not written.
        unsafe { libc::waitpid(program, ptr::null_mut(), 0) };
        return 125;
    }
    report.program.store(program, Ordering::Relaxed);
    // Only now: until it has execed, the program's process is this one's memory, which nobody may join.
    let exec = matches!(spawn.payload, Payload::Exec { .. });
    if spawn.announce && exec && send(last.table.socket, None).is_err() {
        return 125;
    }
    // The program's pipes end when it closes them, not when this process ends.
    // SAFETY: takes numbers only; no descriptor is used after this.
    unsafe { libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, 0u32) };
    // What is left to do is to send signals to processes of any user inside.
    if crate::caps::set(1 << 5).is_err() {
        return 125;
    }
    let status = reap(program);
    // One that was killed before it was the program is no program that ended.
    if report.state.load(Ordering::Acquire) == RUNNING {
        report.value.store(status, Ordering::Relaxed);
        report.state.store(ENDED, Ordering::Release);
    }
    // Processes that are left are killed by the kernel, as their PID 1 ends.
    0
}

fn fail(report: &Report, state: u32, op: usize, errno: Errno) {
    report.op.store(op as u32, Ordering::Relaxed);
    report.value.store(errno.0, Ordering::Relaxed);
    report.state.store(state, Ordering::Release);
}

/// PID 1: hands signals on to the program's process group, reaps everything, and ends with the program.
fn reap(program: i32) -> i32 {
    let all = crate::signal::all();
    loop {
        // SAFETY: the set is read only; no information is asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const all, ptr::null_mut()) };
        if signal == libc::SIGCHLD {
            loop {
                let mut status = 0;
                // SAFETY: `status` is written only.
                let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
                if pid == program {
                    return status;
                }
                if pid <= 0 {
                    break;
                }
            }
        } else if signal > 0 {
            // A session leader's group is an orphan, which SIGTSTP does not stop.
            let signal = if signal == libc::SIGTSTP {
                libc::SIGSTOP
            } else {
                signal
            };
            // SAFETY: takes numbers only. The group may be gone already.
            unsafe { libc::kill(-program, signal) };
        }
    }
}

struct Last<'a> {
    ops: &'a [Op],
    /// How many operations were before these.
    offset: usize,
    table: Table,
    report: &'a Report,
    announce: bool,
    paths: &'a [CString],
    args: &'a [*const libc::c_char],
    env: &'a [*const libc::c_char],
}

impl Last<'_> {
    /// Walks the list; whether all went well.
    fn prepare(&mut self) -> bool {
        if self.announce && send(self.table.socket, None).is_err() {
            fail(self.report, FAILED, self.offset, Errno::last());
            return false;
        }
        let (report, offset) = (self.report, self.offset);
        let mut absent = |_: usize| ();
        match child::walk(self.ops, &mut self.table, &mut absent) {
            Ok(()) => {
                if let Some(found) = self.table.found {
                    let flags =
                        1 | u64::from(found.no_new_privs) << 1 | u64::from(found.securebits) << 2;
                    let words = [
                        flags,
                        found.bounding,
                        found.permitted,
                        found.effective,
                        found.inheritable,
                    ];
                    for (place, word) in report.found.iter().zip(words) {
                        place.store(word, Ordering::Relaxed);
                    }
                }
                true
            }
            Err((op, errno)) => {
                fail(report, FAILED, offset + op, errno);
                false
            }
        }
    }
}

extern "C" fn last_process(last: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `first_process` gives a Last and sleeps until this process has execed or ended.
    become_program(unsafe { &mut *last.cast::<Last<'_>>() })
}

/// Prepares and executes; comes back with the exit code when it cannot.
fn become_program(last: &mut Last<'_>) -> i32 {
    if !last.prepare() {
        return 125;
    }
    last.report.state.store(RUNNING, Ordering::Release);
    let mut errno = Errno(libc::ENOENT);
    for path in last.paths {
        // SAFETY: the path and all strings end in NUL, both lists in a null pointer.
        unsafe { libc::execve(path.as_ptr(), last.args.as_ptr(), last.env.as_ptr()) };
        match Errno::last() {
            // Not here: the next; but that one was found and may not be run is said in the end (execvp(3)).
            Errno(libc::ENOENT | libc::ENOTDIR) => {}
            found @ Errno(libc::EACCES) => errno = found,
            found => {
                errno = found;
                break;
            }
        }
    }
    fail(last.report, NO_EXEC, 0, errno);
    127
}

/// The most descriptors in one message.
pub(crate) const DESCRIPTORS: usize = 12;

/// Room for as many descriptors in a control message (cmsg(3)), aligned as the header wants.
#[repr(align(8))]
struct Control([u8; 80]);

/// Sends one byte, with a descriptor or without.
pub(crate) fn send(socket: RawFd, fds: Option<&[RawFd]>) -> Result<(), Errno> {
    let mut byte = 0u8;
    let mut vector = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let mut control = Control([0; 80]);
    // SAFETY: zero is a valid value of every field.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    if let Some(fds) = fds.filter(|fds| !fds.is_empty() && fds.len() <= DESCRIPTORS) {
        let bytes = size_of_val(fds) as u32;
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: `control` has room for a header and all descriptors; the header is inside it.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(bytes) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(bytes) as _;
            ptr::copy_nonoverlapping(fds.as_ptr().cast(), libc::CMSG_DATA(header), bytes as usize);
        }
    }
    // SAFETY: the message and all it points to live until the call returns.
    let sent = unsafe { libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// Sends a descriptor.
pub(crate) fn send_fd(socket: RawFd, fd: RawFd) -> Result<(), Errno> {
    send(socket, Some(&[fd]))
}

/// Sends several descriptors.
pub(crate) fn send_fds(socket: RawFd, fds: &[RawFd]) -> Result<(), Errno> {
    send(socket, Some(fds))
}

/// Receives a message: how many descriptors came. The end of the stream is ESRCH: the other side is dead.
pub(crate) fn receive(socket: RawFd, fds: &mut [RawFd; DESCRIPTORS]) -> Result<usize, Errno> {
    let mut byte = 0u8;
    let mut vector = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let mut control = Control([0; 80]);
    // SAFETY: zero is a valid value of every field.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: the message and all it points to live until the call returns.
    let got = unsafe { libc::recvmsg(socket, &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    if got <= 0 {
        return Err(if got == 0 {
            Errno(libc::ESRCH)
        } else {
            Errno::last()
        });
    }
    // SAFETY: the kernel wrote whole control messages into `control`; of the descriptors at most as many are copied as fit.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
            return Ok(0);
        }
        let bytes = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
        let bytes = bytes.min(size_of_val(fds));
        ptr::copy_nonoverlapping(libc::CMSG_DATA(header), fds.as_mut_ptr().cast(), bytes);
        Ok(bytes / size_of::<RawFd>())
    }
}

impl Child {
    /// Its process identifier, as this process sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Readable when it has ended (pidfd_open(2)).
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.pidfd.as_fd()
    }

    /// Lets it go on, with descriptors for the slots of its [`Op::Await`].
    pub fn go(&self, fds: &[RawFd]) -> Result<(), SysError> {
        let fail = |errno| SysError {
            call: "sendmsg",
            target: "the jail".into(),
            errno,
        };
        match send(self.socket.as_raw_fd(), Some(fds)) {
            // It is dead already, and its report says why.
            Err(Errno(libc::EPIPE | libc::ECONNRESET)) => Ok(()),
            other => other.map_err(fail),
        }
    }

    /// The descriptor that it sends ([`Op::Pty`]); none when it ended before it did.
    pub fn descriptor(&self) -> Result<Option<OwnedFd>, SysError> {
        let mut fds = [-1; DESCRIPTORS];
        match receive(self.socket.as_raw_fd(), &mut fds) {
            // SAFETY: just received, and owned by nobody else.
            Ok(1..) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fds[0]) })),
            Ok(0) | Err(Errno(libc::ESRCH | libc::ECONNRESET)) => Ok(None),
            Err(errno) => Err(SysError {
                call: "recvmsg",
                target: "the jail".into(),
                errno,
            }),
        }
    }

    /// Waits until the program's process is there ([`Spawn::announce`]); its identifier as this process sees it, none
    /// when the jail ended before.
    pub fn announced(&self) -> Option<i32> {
        let mut fds = [-1; DESCRIPTORS];
        receive(self.socket.as_raw_fd(), &mut fds).ok()?;
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = std::fs::read_to_string(path).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// Sends it a signal; PID 1 hands it on. That it has ended already is no error.
    pub fn signal(&self, signal: i32) {
        // SAFETY: takes numbers and a null pointer.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                signal,
                ptr::null::<u8>(),
                0u32,
            );
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<Progress, SysError> {
        self.reap()?;
        let report = self.page.report();
        if report.state.load(Ordering::Acquire) == RUNNING
            && report.alone.load(Ordering::Relaxed) == 1
        {
            return Ok(Progress::Ended(self.status));
        }
        let value = report.value.load(Ordering::Acquire);
        Ok(match report.state.load(Ordering::Acquire) {
            SETTING_UP => Progress::Unfinished,
            FAILED => Progress::Failed(report.op.load(Ordering::Relaxed) as usize, Errno(value)),
            NO_EXEC => Progress::NotExecuted(Errno(value)),
            ENDED => Progress::Ended(value),
            _ => Progress::Killed,
        })
    }

    /// The operations of `first` that found nothing to apply themselves to.
    pub fn absent(&self) -> Absent {
        let words = &self.page.report().absent;
        Absent(std::array::from_fn(|i| {
            words.get(i).map_or(0, |word| word.load(Ordering::Relaxed))
        }))
    }

    /// What the program's process had of capabilities just before it was the program, as the kernel said; none when a
    /// filter of its own kept the kernel from saying.
    pub fn found(&self) -> Option<Found> {
        let [flags, bounding, permitted, effective, inheritable] = self
            .page
            .report()
            .found
            .each_ref()
            .map(|word| word.load(Ordering::Relaxed));
        (flags & 1 == 1).then_some(Found {
            bounding,
            permitted,
            effective,
            inheritable,
            securebits: (flags >> 2) as u32,
            no_new_privs: flags & 2 != 0,
        })
    }

    fn reap(&mut self) -> Result<(), SysError> {
        while !self.reaped {
            // SAFETY: zero is a valid value of every field, and the structure is written only.
            let done = unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                let done = libc::waitid(
                    libc::P_PIDFD,
                    self.pidfd.as_raw_fd() as u32,
                    &raw mut info,
                    libc::WEXITED | libc::__WALL,
                );
                if done == 0 {
                    self.status = match info.si_code {
                        libc::CLD_EXITED => (info.si_status() & 0xff) << 8,
                        libc::CLD_DUMPED => info.si_status() | 0x80,
                        _ => info.si_status(),
                    };
                }
                done
            };
            self.reaped = done == 0;
            if done < 0 && Errno::last().0 != libc::EINTR {
                return Err(SysError::last("waitid", "the jail"));
            }
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(libc::SIGKILL);
            // Killed; that it cannot be waited for changes nothing any more.
            drop(self.reap());
        }
    }
}

/// Closes a descriptor that was received and is not wanted.
impl From<Fd> for OwnedFd {
    fn from(fd: Fd) -> Self {
        let raw = fd.0;
        std::mem::forget(fd);
        // SAFETY: owned by `fd` until now.
        unsafe { Self::from_raw_fd(raw) }
    }
}
