//! Starting a program in namespaces that are made up freely, with as few processes as it takes: the first process
//! becomes the program itself, or stays as the one that reaps. Unlike a jail ([`crate::spawn`]), it forwards nothing and
//! lives as long as any process that it has to reap.

use crate::child::{self, Op, Stage, Table};
use crate::error::{Errno, SysError};
use crate::page::{Page, Shared};
use crate::place::NOTE;
use crate::spawn::{CloneArgs, DESCRIPTORS, STACK, pair, pointers, receive, send};
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, Ordering};

/// A program to be executed.
pub struct Program<'a> {
    /// Where it may be; the first that can be executed is.
    pub paths: &'a [CString],
    /// Its arguments.
    pub args: &'a [CString],
    /// Its environment, one for each directory of the [`Op::WorkIn`] that was walked.
    pub envs: &'a [Vec<CString>],
}

/// What the first process does when it stays.
pub struct Reaper<'a> {
    /// Descriptors that it keeps, besides 0, 1 and 2.
    pub keep: &'a [RawFd],
    /// Operations after the program's process is there, and before it waits.
    pub ops: &'a [Op],
}

/// A sandbox to be started.
pub struct Sandbox<'a> {
    /// `CLONE_NEW*` of [`crate::spawn::ns`].
    pub namespaces: i32,
    /// Whether the first process is to be the first of a new pid namespace beneath one that this process has joined
    /// for its children.
    pub inner_pid: bool,
    /// What the first process does.
    pub first: &'a [Op],
    /// What the program's process does before it is the program.
    pub last: &'a [Op],
    /// The program.
    pub program: Program<'a>,
    /// Whether the first process stays, to reap.
    pub reaper: Option<Reaper<'a>>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The program ended with this status of wait(2).
    Program(i32),
    /// An operation failed.
    Failed {
        /// Its index: `first`, `last` and the reaper's counted through.
        index: usize,
        /// What the kernel said; 0 when it did what it should not.
        errno: Errno,
        /// How far it came.
        stage: Stage,
        /// What was found in its way.
        note: Vec<u8>,
    },
    /// The program could not be executed.
    NotExecuted(Errno),
    /// The first process ended with this status of wait(2) before anything was said.
    Lost(i32),
}

const FAILED: u32 = 1;
const NO_EXEC: u32 = 2;
const RUNNING: u32 = 3;
const ENDED: u32 = 4;

/// A page that all processes see until they execute.
#[repr(C)]
struct Report {
    state: AtomicU32,
    op: AtomicU32,
    stage: AtomicU32,
    value: AtomicI32,
    length: AtomicU32,
    note: [AtomicU8; NOTE],
}

// SAFETY: zero is a value of every field, each of which is an atomic.
unsafe impl Shared for Report {}

impl Report {
    fn fail(&self, state: u32, op: usize, errno: Errno, table: &Table) {
        let text = table.note.text();
        for (to, from) in self.note.iter().zip(text) {
            to.store(*from, Ordering::Relaxed);
        }
        self.length.store(text.len() as u32, Ordering::Relaxed);
        self.stage
            .store(table.note.stage.number(), Ordering::Relaxed);
        self.op.store(op as u32, Ordering::Relaxed);
        self.value.store(errno.0, Ordering::Relaxed);
        self.state.store(state, Ordering::Release);
    }
}

/// What is prepared before the clone, because nothing may be allocated after it.
struct Prepared<'a> {
    sandbox: &'a Sandbox<'a>,
    args: Vec<*const libc::c_char>,
    /// As execvp(3) runs what is no program: by the shell.
    script: Vec<*const libc::c_char>,
    envs: Vec<Vec<*const libc::c_char>>,
}

struct Walk<'a, 'b> {
    prepared: &'a mut Prepared<'b>,
    table: Table,
    report: &'a Report,
}

/// A sandbox that was started.
pub struct Running {
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    page: Page<Report>,
    /// Whether a byte on the socket tells of the program's end.
    tells: bool,
    reaped: Option<i32>,
}

impl Sandbox<'_> {
    /// Clones. The caller must have one thread and no handler for any signal. The child waits at an
    /// [`Op::Await`] for [`Running::go`].
    pub fn start(&self) -> Result<Running, SysError> {
        let page = Page::new()?;
        let (socket, other) = pair()?;
        let args = pointers(self.program.args);
        let mut script = vec![c"/bin/sh".as_ptr(), ptr::null()];
        script.extend(args.iter().skip(1));
        let mut prepared = Prepared {
            sandbox: self,
            args,
            script,
            envs: self.program.envs.iter().map(|env| pointers(env)).collect(),
        };
        let mut stack = match &self.reaper {
            Some(_) => Vec::<MaybeUninit<u8>>::with_capacity(STACK),
            None => Vec::new(),
        };
        let mut pidfd: RawFd = -1;
        let pid = clone(self.namespaces as u32 as u64, true, &mut pidfd);
        match pid {
            0 => {
                drop(socket);
                if self.inner_pid {
                    inner(other.as_raw_fd(), page.report());
                }
                let code =
                    first_process(&mut prepared, page.report(), other.as_raw_fd(), &mut stack);
                // SAFETY: ends the process; nothing of the copied memory is dropped or flushed.
                unsafe { libc::_exit(code) }
            }
            1.. => {
                // SAFETY: the kernel put a descriptor there that nobody else owns.
                let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
                drop(other);
                let mut running = Running {
                    pid: pid as i32,
                    pidfd,
                    socket,
                    page,
                    tells: self.reaper.is_some(),
                    reaped: None,
                };
                if self.inner_pid {
                    running.replace()?;
                }
                Ok(running)
            }
            _ => Err(SysError::last("clone3", "new namespaces")),
        }
    }
}

fn clone(flags: u64, own: bool, pidfd: &mut RawFd) -> libc::c_long {
    let request = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: pidfd as *mut RawFd as u64,
        child_tid: 0,
        parent_tid: 0,
        // A child of the parent has the signal of its maker.
        exit_signal: if own { libc::SIGCHLD as u64 } else { 0 },
        stack: 0,
        stack_size: 0,
        tls: 0,
    };
    // SAFETY: as fork(2): without CLONE_VM the child has a copy of the memory and of this stack.
    unsafe { libc::syscall(libc::SYS_clone3, &raw const request, size_of::<CloneArgs>()) }
}

/// Goes on as the first process of a new pid namespace, a child of this process's parent; the process before it tells
/// the parent who that is, and ends.
fn inner(socket: RawFd, report: &Report) {
    let table = Table::new(socket);
    let fail = |table: &Table| {
        report.fail(FAILED, usize::MAX, Errno::last(), table);
        // SAFETY: ends the process.
        unsafe { libc::_exit(1) }
    };
    // SAFETY: takes a number only.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } < 0 {
        fail(&table);
    }
    let mut pidfd = -1;
    match clone(libc::CLONE_PARENT as u64, false, &mut pidfd) {
        0 => {}
        1.. => {
            // That the parent is gone is seen by the child too.
            let sent = send(socket, Some(&[pidfd]));
            // SAFETY: ends the process.
            unsafe { libc::_exit(i32::from(sent.is_err())) }
        }
        _ => fail(&table),
    }
}

fn first_process(
    prepared: &mut Prepared<'_>,
    report: &Report,
    socket: RawFd,
    stack: &mut Vec<MaybeUninit<u8>>,
) -> i32 {
    let sandbox = prepared.sandbox;
    let mut table = Table::new(socket);
    // SAFETY: takes a number only. Modes are said in full while the tree is made.
    table.umask = unsafe { libc::umask(0) };
    let mut absent = |_: usize| ();
    if let Err((op, errno)) = child::walk(sandbox.first, &mut table, &mut absent) {
        report.fail(FAILED, op, errno, &table);
        return 1;
    }
    let mut walk = Walk {
        prepared,
        table,
        report,
    };
    let Some(reaper) = &sandbox.reaper else {
        return walk.execute();
    };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is STACK bytes that nothing else uses; this process sleeps until the other has execed or
    // ended, so nothing is used by both at once.
    let program = unsafe {
        let top = stack.as_mut_ptr().add(STACK & !15);
        libc::clone(last_process, top.cast(), flags, (&raw mut walk).cast())
    };
    let offset = sandbox.first.len() + sandbox.last.len();
    if program < 0 {
        report.fail(FAILED, offset, Errno::last(), &walk.table);
        return 1;
    }
    if report.state.load(Ordering::Acquire) != RUNNING {
        // SAFETY: a null status is not written.
        unsafe { libc::waitpid(program, ptr::null_mut(), 0) };
        return 1;
    }
    close_all_but(reaper.keep, Some(socket));
    if let Err((op, errno)) = child::walk(reaper.ops, &mut walk.table, &mut absent) {
        report.fail(FAILED, offset + op, errno, &walk.table);
        return 1;
    }
    let mut code = 1;
    loop {
        let mut status = 0;
        // SAFETY: `status` is written only.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if pid == program {
            code = exit_code(status);
            report.value.store(status, Ordering::Relaxed);
            report.state.store(ENDED, Ordering::Release);
            // By the plainest call, which a filter of the caller's knows. A supervisor that is gone is told nothing.
            // SAFETY: one byte, as said.
            unsafe { libc::write(socket, [0u8].as_ptr().cast(), 1) };
        } else if pid < 0 && Errno::last().0 != libc::EINTR {
            return code;
        }
    }
}

/// As shells have it: 128 and the signal's number for one that a signal ended.
fn exit_code(status: i32) -> i32 {
    match status & 0x7f {
        0 => status >> 8 & 0xff,
        signal => 128 + signal,
    }
}

extern "C" fn last_process(walk: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `first_process` gives a Walk and sleeps until this process has execed or ended.
    let walk = unsafe { &mut *walk.cast::<Walk<'_, '_>>() };
    walk.execute()
}

impl Walk<'_, '_> {
    fn execute(&mut self) -> i32 {
        let sandbox = self.prepared.sandbox;
        let mut absent = |_: usize| ();
        if let Err((op, errno)) = child::walk(sandbox.last, &mut self.table, &mut absent) {
            let op = sandbox.first.len() + op;
            self.report.fail(FAILED, op, errno, &self.table);
            return 1;
        }
        self.report.state.store(RUNNING, Ordering::Release);
        let env = self.prepared.envs.get(self.table.worked_in);
        let env = env.map_or(ptr::null(), |env| env.as_ptr());
        let mut errno = Errno(libc::ENOENT);
        for path in sandbox.program.paths {
            // SAFETY: the path and all strings end in NUL, both lists in a null pointer.
            unsafe { libc::execve(path.as_ptr(), self.prepared.args.as_ptr(), env) };
            match Errno::last() {
                Errno(libc::ENOENT | libc::ENOTDIR) => {}
                found @ Errno(libc::EACCES) => errno = found,
                Errno(libc::ENOEXEC) => {
                    if let Some(slot) = self.prepared.script.get_mut(1) {
                        *slot = path.as_ptr();
                    }
                    // SAFETY: as above.
                    unsafe {
                        libc::execve(c"/bin/sh".as_ptr(), self.prepared.script.as_ptr(), env)
                    };
                    errno = Errno::last();
                    break;
                }
                found => {
                    errno = found;
                    break;
                }
            }
        }
        self.report.fail(NO_EXEC, 0, errno, &self.table);
        1
    }
}

/// Closes every descriptor past 2 but these.
fn close_all_but(keep: &[RawFd], socket: Option<RawFd>) {
    let mut first = 3u32;
    loop {
        // The lowest that stays, from here on.
        let next = keep
            .iter()
            .chain(&socket)
            .filter_map(|fd| u32::try_from(*fd).ok());
        let next = next.filter(|fd| *fd >= first).min();
        let last = next.map_or(u32::MAX, |fd| fd.saturating_sub(1));
        if first <= last {
            // SAFETY: takes numbers only; what is closed is used by nothing after this.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) };
        }
        match next {
            Some(fd) => first = fd.saturating_add(1),
            None => return,
        }
    }
}

impl Running {
    /// Its process identifier, as this process sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Lets it go on from its [`Op::Await`]. That it is dead already is told by [`Running::wait`].
    pub fn go(&self) -> Result<(), SysError> {
        match send(self.socket.as_raw_fd(), None) {
            Ok(()) | Err(Errno(libc::EPIPE | libc::ECONNRESET)) => Ok(()),
            Err(errno) => Err(SysError {
                call: "sendmsg",
                target: "the sandbox".into(),
                errno,
            }),
        }
    }

    /// Closes every other descriptor past 2 of this process but these: others may wait for their end.
    pub fn close_others(&self, keep: &[RawFd]) {
        let own = [self.pidfd.as_raw_fd(), self.socket.as_raw_fd()];
        let all: Vec<RawFd> = keep.iter().copied().chain(own).collect();
        close_all_but(&all, None);
    }

    /// Waits for the program's end; what it leaves behind may go on.
    pub fn wait(&mut self) -> Result<End, SysError> {
        if self.tells {
            // A byte: it ended. The end of the stream: the process that would have told is gone.
            let mut fds = [-1; DESCRIPTORS];
            let told = receive(self.socket.as_raw_fd(), &mut fds).is_ok();
            if told {
                return Ok(self.end(0));
            }
        }
        let status = self.reap()?;
        Ok(self.end(status))
    }

    fn end(&self, status: i32) -> End {
        let report = self.page.report();
        let value = report.value.load(Ordering::Acquire);
        match report.state.load(Ordering::Acquire) {
            FAILED => {
                let length = report.length.load(Ordering::Relaxed) as usize;
                let note = report.note.iter().take(length);
                End::Failed {
                    index: report.op.load(Ordering::Relaxed) as usize,
                    errno: Errno(value),
                    stage: Stage::from_number(report.stage.load(Ordering::Relaxed)),
                    note: note.map(|byte| byte.load(Ordering::Relaxed)).collect(),
                }
            }
            NO_EXEC => End::NotExecuted(Errno(value)),
            ENDED => End::Program(value),
            // The program is the process that was waited for, or went with its first one.
            RUNNING => End::Program(status),
            _ => End::Lost(status),
        }
    }

    fn reap(&mut self) -> Result<i32, SysError> {
        if let Some(status) = self.reaped {
            return Ok(status);
        }
        loop {
            // SAFETY: zero is a valid value of every field, and the structure is written only.
            let (done, info) = unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                let fd = self.pidfd.as_raw_fd() as u32;
                let flags = libc::WEXITED | libc::__WALL;
                (libc::waitid(libc::P_PIDFD, fd, &raw mut info, flags), info)
            };
            if done == 0 {
                // SAFETY: waitid(2) fills the status in.
                let value = unsafe { info.si_status() };
                let status = match info.si_code {
                    libc::CLD_EXITED => (value & 0xff) << 8,
                    _ => value & 0x7f,
                };
                self.reaped = Some(status);
                return Ok(status);
            }
            if Errno::last().0 != libc::EINTR {
                return Err(SysError::last("waitid", "the sandbox"));
            }
        }
    }

    /// The process that was cloned has handed over to another.
    fn replace(&mut self) -> Result<(), SysError> {
        let mut fds = [-1; DESCRIPTORS];
        let got = receive(self.socket.as_raw_fd(), &mut fds);
        self.reap()?;
        if !matches!(got, Ok(1..)) {
            // Its report says why.
            return Ok(());
        }
        let [fd, ..] = fds;
        // SAFETY: just received, and owned by nobody else.
        self.pidfd = unsafe { OwnedFd::from_raw_fd(fd) };
        self.reaped = None;
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
        self.pid = pid.and_then(|pid| pid.trim().parse().ok()).unwrap_or(0);
        Ok(())
    }
}

/// How a supervisor waits for its child: SIGCHLD with its usual effect, without which a status is lost.
pub fn expect_children() {
    // SAFETY: a constant disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// This process is killed when its parent ends (prctl(2), PR_SET_PDEATHSIG).
pub fn die_with_parent() -> Result<(), SysError> {
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) } < 0 {
        return Err(SysError::last("prctl", "PR_SET_PDEATHSIG"));
    }
    Ok(())
}

/// This process joins a namespace by a descriptor of the caller's (setns(2)); with a pid namespace, its children do.
pub fn join(fd: RawFd, namespace: i32) -> Result<(), SysError> {
    // SAFETY: takes numbers only.
    if unsafe { libc::setns(fd, namespace) } < 0 {
        return Err(SysError::last("setns", format!("descriptor {fd}")));
    }
    Ok(())
}

/// Gives up every capability, as far as that is allowed, and lets the same user's processes look at this one: only when
/// it has none left that they could use through it.
pub fn give_up_capabilities() {
    // A filter may forbid it; there is nothing that this process does with them.
    if crate::caps::set(0).is_ok() {
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    }
}

/// What capabilities this process has: effective and permitted.
pub fn capabilities() -> (u64, u64) {
    crate::caps::found().map_or((0, 0), |found| (found.effective, found.permitted))
}

/// The real user and group.
pub fn real_ids() -> (u32, u32) {
    // SAFETY: these calls take nothing and cannot fail.
    unsafe { (libc::getuid(), libc::getgid()) }
}

/// Takes a descriptor that the caller was given by its number, whoever opened it; none when there is no such one.
pub fn given(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: takes numbers only.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, and was opened by nobody in this program; whoever names it gives it away.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}
