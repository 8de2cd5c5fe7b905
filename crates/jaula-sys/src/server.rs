//! A process beside a jail that serves it: forked from the supervisor before the clone, ends with it, and can do no
//! more than it needs. What it reads is hostile; when it dies of that, nothing else does.

use crate::beneath::Fd;
use crate::child::set_ids;
use crate::error::{Errno, SysError};
use crate::spawn::{self, CloneArgs, DESCRIPTORS};
use crate::{caps, disk_op};
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A server as the supervisor sees it. It is killed and waited for when this is dropped.
#[derive(Debug)]
pub struct Server {
    pidfd: OwnedFd,
    pid: i32,
    /// The jail's end of the socket to it.
    jail: OwnedFd,
    report: File,
}

/// A server as it sees itself.
#[derive(Debug)]
pub struct Inside {
    /// What it serves, until it is taken.
    pub file: Option<File>,
    /// The socket to the jail.
    pub jail: OwnedFd,
    /// What the supervisor reads.
    pub report: File,
}

/// The most memory a server takes for itself, in bytes (`RLIMIT_DATA` of getrlimit(2)).
const MEMORY: u64 = 1 << 30;

impl Server {
    /// Forks a server that works on `file`; its exit code is what `function` gives. The caller has one thread, and all
    /// signals blocked, which the server inherits: it is no part of what a terminal's keys end or stop.
    pub fn start(
        file: BorrowedFd<'_>,
        function: &mut dyn FnMut(Inside) -> u8,
    ) -> Result<Self, SysError> {
        let (jail, own) = spawn::pair()?;
        let (report, tell) =
            std::io::pipe().map_err(|e| SysError::io("pipe2", "a server's report", &e))?;
        let mut pidfd: RawFd = -1;
        let request = CloneArgs {
            flags: libc::CLONE_PIDFD as u64,
            pidfd: &raw mut pidfd as u64,
            child_tid: 0,
            parent_tid: 0,
            exit_signal: libc::SIGCHLD as u64,
            stack: 0,
            stack_size: 0,
            tls: 0,
        };
        let parent = crate::userns::own_pid();
        // SAFETY: as fork(2): the process has one thread, and the child a copy of its memory and stack.
        let pid =
            unsafe { libc::syscall(libc::SYS_clone3, &raw const request, size_of::<CloneArgs>()) };
        match pid {
            0 => {
                let fds = [file.as_raw_fd(), own.as_raw_fd(), tell.as_raw_fd()];
                // Nothing of the supervisor's is to be unwound or told in this process.
                // SAFETY: ends the process.
                std::panic::set_hook(Box::new(|_| unsafe { libc::_exit(134) }));
                let code = match alone(fds, parent) {
                    Ok(inside) => function(inside),
                    Err(_) => 125,
                };
                // SAFETY: ends the process; nothing of the copied memory is dropped or flushed.
                unsafe { libc::_exit(code.into()) }
            }
            1.. => Ok(Self {
                // SAFETY: the kernel put a descriptor there that nobody else owns.
                pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
                pid: pid as i32,
                jail,
                report: OwnedFd::from(report).into(),
            }),
            _ => Err(SysError::last("clone3", "a server")),
        }
    }

    /// Its identifier, as this process sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The jail's end of the socket to it, for operations of the child.
    pub fn jail(&self) -> RawFd {
        self.jail.as_raw_fd()
    }

    /// What it reports; ends when it ends.
    pub fn report(&self) -> &File {
        &self.report
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: takes numbers and a null pointer; that it has ended already is no error.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<u8>(),
                0u32,
            );
        }
        loop {
            // SAFETY: zero is a valid value of every field, and the structure is written only.
            let done = unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                let fd = self.pidfd.as_raw_fd() as u32;
                libc::waitid(libc::P_PIDFD, fd, &raw mut info, libc::WEXITED)
            };
            if done == 0 || Errno::last().0 != libc::EINTR {
                break;
            }
        }
    }
}

fn check(result: libc::c_int) -> Result<libc::c_int, Errno> {
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

/// Nothing of the supervisor but these three descriptors, and no life after it.
fn alone(fds: [RawFd; 3], parent: i32) -> Result<Inside, Errno> {
    // SAFETY: these take numbers only.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))?;
        if libc::getppid() != parent {
            return Err(Errno(libc::ESRCH));
        }
        check(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0))?;
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check(libc::prctl(
            libc::PR_SET_NAME,
            c"jaula-disk".as_ptr(),
            0,
            0,
            0,
        ))?;
        check(libc::setsid())?;
        libc::umask(0);
    }
    // SAFETY: a constant path.
    let null = Fd(check(unsafe {
        libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC)
    })?);
    // Out of the way first, then in order: 0, 1 and 2 are nothing, 3 to 5 are the three.
    let mut high = [-1; 6];
    let from = [null.0, null.0, null.0].into_iter().chain(fds);
    for (to, from) in high.iter_mut().zip(from) {
        // SAFETY: takes numbers only.
        *to = check(unsafe { libc::fcntl(from, libc::F_DUPFD_CLOEXEC, 10) })?;
    }
    for (number, fd) in (0..).zip(high) {
        let flags = if number < 3 { 0 } else { libc::O_CLOEXEC };
        // SAFETY: takes numbers only.
        check(unsafe { libc::dup3(fd, number, flags) })?;
    }
    std::mem::forget(null);
    // SAFETY: takes numbers only; what was open before is used by nobody in this process.
    if unsafe { libc::syscall(libc::SYS_close_range, 6u32, u32::MAX, 0u32) } < 0 {
        return Err(Errno::last());
    }
    limit(libc::RLIMIT_DATA, MEMORY)?;
    limit(libc::RLIMIT_CORE, 0)?;
    // The one signal that a server sends itself: the end of its patience.
    // SAFETY: the set is initialised by sigemptyset, and read.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGALRM);
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        check(libc::sigprocmask(
            libc::SIG_UNBLOCK,
            &raw const set,
            std::ptr::null_mut(),
        ))?;
    }
    // SAFETY: opened just now, and owned by nobody else.
    Ok(unsafe {
        Inside {
            file: Some(File::from_raw_fd(3)),
            jail: OwnedFd::from_raw_fd(4),
            report: File::from_raw_fd(5),
        }
    })
}

#[cfg(target_env = "musl")]
type Resource = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Resource = libc::__rlimit_resource_t;

fn limit(resource: Resource, most: u64) -> Result<(), Errno> {
    // SAFETY: zero is a valid value of every field; the structure is written, then read.
    unsafe {
        let mut now: libc::rlimit = std::mem::zeroed();
        check(libc::getrlimit(resource, &raw mut now))?;
        now.rlim_max = now.rlim_max.min(most as libc::rlim_t);
        now.rlim_cur = now.rlim_cur.min(now.rlim_max);
        check(libc::setrlimit(resource, &raw const now)).map(drop)
    }
}

/// The process ends unless this is called again within so many seconds; 0 ends that (alarm(2)).
pub fn deadline(seconds: u32) {
    // SAFETY: takes a number only.
    unsafe { libc::alarm(seconds) };
}

/// What a server may still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// Read and write what is open.
    Serve,
    /// And make files beneath the directory it was given.
    Write,
}

impl Inside {
    /// No capabilities, and a list of system calls: from here on, what is read may be hostile.
    pub fn confine(&self, to: Confinement) -> Result<(), SysError> {
        let failed = |call, errno| SysError {
            call,
            target: "a server".into(),
            errno,
        };
        // CHOWN, DAC_OVERRIDE, FOWNER, FSETID: over files of the jail's own identifiers alone.
        let keep = match to {
            Confinement::Serve => 0,
            Confinement::Write => 1 | 1 << 1 | 1 << 3 | 1 << 4,
        };
        caps::set(keep).map_err(|errno| failed("capset", errno))?;
        let mut calls = SERVE.to_vec();
        if to == Confinement::Write {
            calls.extend(WRITE);
        }
        allow(&calls).map_err(|errno| failed("seccomp", errno))
    }

    /// The descriptors that the jail sends; none when it has ended.
    pub fn receive(&self) -> Vec<OwnedFd> {
        let mut fds = [-1; DESCRIPTORS];
        let count = spawn::receive(self.jail.as_raw_fd(), &mut fds).unwrap_or(0);
        // SAFETY: just received, and owned by nobody else.
        let own = |fd: &RawFd| unsafe { OwnedFd::from_raw_fd(*fd) };
        fds.iter().take(count).map(own).collect()
    }

    /// Tells the jail how it went: 0, or an errno(3).
    pub fn answer(&self, errno: u8) -> Result<(), SysError> {
        disk_op::tell(self.jail.as_raw_fd(), errno).map_err(|errno| SysError {
            call: "send",
            target: "the jail".into(),
            errno,
        })
    }
}

/// Goes on as root of the user namespace of a jail (unless it has none of its own), with the directory as root of all
/// paths.
pub fn move_in(
    userns: Option<&OwnedFd>,
    ids: (u32, u32),
    set_groups: bool,
    directory: &OwnedFd,
) -> Result<(), SysError> {
    let failed = |call, errno| SysError {
        call,
        target: "the jail".into(),
        errno,
    };
    if let Some(userns) = userns {
        // SAFETY: takes numbers only.
        check(unsafe { libc::setns(userns.as_raw_fd(), libc::CLONE_NEWUSER) })
            .map_err(|errno| failed("setns", errno))?;
        let groups: Option<&[u32]> = set_groups.then_some(&[]);
        // Capabilities in the new namespace are lost with the change of identifiers, unless root inside.
        // SAFETY: takes numbers only.
        check(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) })
            .map_err(|errno| failed("prctl", errno))?;
        set_ids(groups, ids.0, ids.1).map_err(|errno| failed("setresuid", errno))?;
        caps::raise().map_err(|errno| failed("capset", errno))?;
        // Forgotten by the kernel when identifiers change.
        // SAFETY: takes numbers only.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })
            .map_err(|errno| failed("prctl", errno))?;
    }
    // SAFETY: takes a descriptor only.
    check(unsafe { libc::fchdir(directory.as_raw_fd()) }).map_err(|e| failed("fchdir", e))?;
    // SAFETY: a constant path.
    check(unsafe { libc::chroot(c".".as_ptr()) }).map_err(|e| failed("chroot", e))?;
    Ok(())
}

/// What every server does: read, write, take memory, end.
const SERVE: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_setitimer,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_alarm,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What one that makes files does besides.
const WRITE: &[libc::c_long] = &[
    libc::SYS_openat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_fchownat,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_utimensat,
    libc::SYS_ftruncate,
    libc::SYS_pwrite64,
    libc::SYS_openat2,
    libc::SYS_fchmodat2,
    // What the standard library asks of a descriptor in debug builds.
    libc::SYS_fcntl,
];

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// CLONE_NEWNS and the like, all that clone(2) takes.
const NAMESPACES: u32 = 0x7e02_0000;

/// Every call but these fails with EPERM (seccomp(2)). Where clone(2) is among them it makes no namespaces, and clone3(2),
/// whose arguments cannot be looked at, is not there.
pub(crate) fn allow(calls: &[libc::c_long]) -> Result<(), Errno> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const ANY: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![
        // `struct seccomp_data`: the number, then the architecture.
        step(LOAD, 0, 0, 4),
        step(EQUAL, 1, 0, ARCH),
        step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(LOAD, 0, 0, 0),
    ];
    let failing = |errno: i32| step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32);
    for call in calls {
        let number = *call as u32;
        match *call {
            libc::SYS_clone => program.extend([
                step(EQUAL, 0, 4, number),
                // The low half of the first argument.
                step(LOAD, 0, 0, 16),
                step(ANY, 0, 1, NAMESPACES),
                failing(libc::EPERM),
                step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
            ]),
            libc::SYS_clone3 => {
                program.extend([step(EQUAL, 0, 1, number), failing(libc::ENOSYS)]);
            }
            _ => program.extend([
                step(EQUAL, 0, 1, number),
                step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
            ]),
        }
    }
    program.push(failing(libc::EPERM));
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program is as long as said, and read only.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0u32,
            &raw const filter,
        )
    };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}
