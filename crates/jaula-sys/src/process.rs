//! Who and what this process is, and waiting.

use crate::error::SysError;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The effective user and group.
pub fn effective_ids() -> (u32, u32) {
    // SAFETY: these calls take nothing and cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// The real user and group: who started this process, whatever set-uid bit its program has.
pub fn real_ids() -> (u32, u32) {
    // SAFETY: these calls take nothing and cannot fail.
    unsafe { (libc::getuid(), libc::getgid()) }
}

/// Sets the mode bits that new files do not get (umask(2)).
pub fn set_umask(mask: u32) {
    // SAFETY: takes a number only and cannot fail.
    unsafe { libc::umask(mask & 0o777) };
}

/// Whether a descriptor was given to this program when it was started: it is open, and not one that is closed on exec as
/// all of ours are.
pub fn was_inherited(fd: i32) -> bool {
    // SAFETY: takes numbers only.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

/// A second descriptor of an open file, numbered from `least` on, that programs started by this one are given: see
/// [`was_inherited`].
pub fn lend(fd: BorrowedFd<'_>, least: i32) -> Result<OwnedFd, SysError> {
    // SAFETY: takes numbers only; the new descriptor is nobody else's.
    unsafe {
        match libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD, least) {
            -1 => Err(SysError::last("fcntl", "a descriptor")),
            number => Ok(OwnedFd::from_raw_fd(number)),
        }
    }
}

/// The version of the running kernel, its first two numbers (uname(2)); zeros when it has none that can be read.
pub fn kernel_version() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_str().unwrap_or_default();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The size of a page in bytes (sysconf(3)).
pub fn page_size() -> u64 {
    // SAFETY: takes a number only.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}

/// Gives the pages of this program's own code back to the page cache (madvise(2), MADV_DONTNEED): those that are still
/// needed come back by themselves, from there. A supervisor that waits for hours needs few of those that it started with,
/// and a process with few pages ends sooner.
pub fn release_code() {
    unsafe extern "C" {
        // The linker's names for the first byte of the program and for the first behind its code (end(3)).
        static __executable_start: u8;
        static etext: u8;
    }
    const PAGE: usize = 4096;
    let (start, end) = (
        &raw const __executable_start as usize,
        &raw const etext as usize,
    );
    let start = start.next_multiple_of(PAGE);
    let end = end / PAGE * PAGE;
    if start < end {
        // SAFETY: constants and code only, which nobody writes: dropped pages are read from the file again.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

/// Ends this process at once (_exit(2)): nothing is freed, nothing that standard output may still hold is written.
pub fn leave(code: u8) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code.into()) }
}

/// Waits until one of these descriptors is readable or its other side is gone, or for `millis` (-1: without end).
/// One bit each, in their order; none when a signal came first.
pub fn readable(fds: &[BorrowedFd<'_>], millis: i32) -> u32 {
    wait_for(fds, None, millis)
}

/// As [`readable`]; the last bit (31) is set when `writable` can be written to.
pub fn wait_for(fds: &[BorrowedFd<'_>], writable: Option<BorrowedFd<'_>>, millis: i32) -> u32 {
    let mut polls = [libc::pollfd {
        fd: -1,
        events: 0,
        revents: 0,
    }; 8];
    for (poll, fd) in polls.iter_mut().zip(fds) {
        *poll = libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
    }
    if let (Some(last), Some(fd)) = (polls.last_mut(), writable) {
        *last = libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLOUT,
            revents: 0,
        };
    }
    // SAFETY: as many structures as said; descriptors of -1 are left out by the kernel.
    if unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, millis) } <= 0 {
        return 0;
    }
    let bits = polls
        .iter()
        .enumerate()
        .filter(|(_, poll)| poll.revents != 0);
    bits.fold(0, |set, (i, _)| set | if i == 7 { 1 << 31 } else { 1 << i })
}

/// Makes a descriptor answer EAGAIN instead of waiting.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<(), SysError> {
    // SAFETY: takes numbers only.
    let done = unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
    };
    if done < 0 {
        Err(SysError::last("fcntl", "a pipe"))
    } else {
        Ok(())
    }
}

/// A descriptor of a process, by which it is known even when its number is used again (pidfd_open(2)).
pub fn pidfd(pid: u32) -> Result<OwnedFd, SysError> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0u32) };
    if fd < 0 {
        return Err(SysError::last("pidfd_open", format!("process {pid}")));
    }
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal to the process of a descriptor (pidfd_send_signal(2)).
pub fn signal(process: &OwnedFd, signal: i32) -> Result<(), SysError> {
    // SAFETY: takes numbers and a null pointer.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            std::ptr::null::<u8>(),
            0u32,
        )
    };
    if done < 0 {
        return Err(SysError::last("pidfd_send_signal", "a process"));
    }
    Ok(())
}

/// Lets this process have as many descriptors open as it may (getrlimit(2), RLIMIT_NOFILE).
pub fn more_descriptors() -> Result<(), SysError> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a whole rlimit, read and written as such.
    let done = unsafe {
        let got = libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        if got < 0 {
            got
        } else {
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
        }
    };
    if done < 0 {
        return Err(SysError::last("setrlimit", "RLIMIT_NOFILE"));
    }
    Ok(())
}

/// Lets processes of the same user look at this one (ptrace(2), proc(5)), though it has changed who it is.
pub fn let_be_seen() -> Result<(), SysError> {
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) } < 0 {
        return Err(SysError::last("prctl", "PR_SET_DUMPABLE"));
    }
    Ok(())
}

/// This process goes on in a session of its own, and what it writes goes to this descriptor.
///
/// # Errors
/// dup2(2).
pub fn apart_with_output(output: BorrowedFd<'_>) -> Result<(), crate::Errno> {
    // SAFETY: takes nothing. The leader of a group stays in its session, which does no harm.
    unsafe { libc::setsid() };
    for fd in 1..3 {
        // SAFETY: takes numbers only; output and errors are owned by nobody.
        if unsafe { libc::dup2(output.as_raw_fd(), fd) } < 0 {
            return Err(crate::Errno::last());
        }
    }
    Ok(())
}

/// Closes every descriptor past `last`, and lets those from 3 to `last` be given to programs (sd_listen_fds(3)).
///
/// # Errors
/// fcntl(2) when one of them is not open, close_range(2).
pub fn only_up_to(last: u32) -> Result<(), crate::Errno> {
    let keep: Vec<i32> = (3..=last).filter_map(|fd| i32::try_from(fd).ok()).collect();
    crate::child::close_all_but(&keep)
}

/// This process goes on in a session of its own, with nothing open but these descriptors, all past 2; input, output and
/// errors lead nowhere.
///
/// # Errors
/// open(2), dup(2), close_range(2).
pub fn alone_with(keep: &[i32]) -> Result<(), SysError> {
    let fail = |call| {
        move |errno| SysError {
            call,
            target: "descriptors of a process of its own".into(),
            errno,
        }
    };
    // SAFETY: takes nothing. The leader of a group stays in its session, which does no harm.
    unsafe { libc::setsid() };
    let path = c"/dev/null";
    // SAFETY: the path ends in NUL.
    let nothing = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if nothing < 0 {
        return Err(SysError::last("open", "/dev/null"));
    }
    for fd in 0..3 {
        // SAFETY: takes numbers only; nothing here reads or writes these three any more.
        if unsafe { libc::dup2(nothing, fd) } < 0 {
            return Err(SysError::last("dup2", "/dev/null"));
        }
    }
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    crate::child::close_all_but(&keep).map_err(fail("close_range"))
}
