//! A process of its own that outlives the one that starts it, without a program of its own (daemon(7), "SysV
//! Daemons", without the parts that are for services).

use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, RawFd};

/// Runs a function in a new process that belongs to no session and no terminal. Its input is `input`, its output and
/// errors go nowhere, and the function is given `report` to write to; every other descriptor is closed. Returns when
/// the process is on its way.
///
/// # Errors
/// Those of fork(2); `WouldBlock` when this process has more than one thread, because what the others hold would stay
/// locked in the new one.
pub fn detach(
    input: BorrowedFd<'_>,
    report: BorrowedFd<'_>,
    function: &mut dyn FnMut(File) -> u8,
) -> io::Result<()> {
    if !alone()? {
        return Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "this process has several threads",
        ));
    }
    // SAFETY: the process has one thread, so the child may go on as if nothing had happened.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => first_child(input.as_raw_fd(), report.as_raw_fd(), function),
        pid => loop {
            let mut status = 0;
            // SAFETY: `status` is an int that lives as long as the call.
            let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
            match (waited, status) {
                (-1, _) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                (-1, _) => return Err(io::Error::last_os_error()),
                (_, 0) => return Ok(()),
                _ => return Err(Errno::AGAIN.into()),
            }
        },
    }
}

/// Milliseconds that threads whose work is done get to be gone.
const LEAVING: u32 = 1_000;

/// Whether this process has one thread. One whose result was taken may still be on its way out: it is waited for.
fn alone() -> io::Result<bool> {
    for _ in 0..LEAVING {
        if std::fs::read_dir("/proc/self/task")?.count() == 1 {
            return Ok(true);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(false)
}

fn end(code: u8) -> ! {
    // SAFETY: ends the process, with nothing of the parent's flushed or dropped.
    unsafe { libc::_exit(code.into()) }
}

fn first_child(input: RawFd, report: RawFd, function: &mut dyn FnMut(File) -> u8) -> ! {
    // SAFETY: takes nothing.
    unsafe { libc::setsid() };
    // SAFETY: as above, this process has one thread.
    match unsafe { libc::fork() } {
        -1 => end(1),
        0 => {}
        _ => end(0),
    }
    match arrange(input, report) {
        Ok(report) => end(function(report)),
        Err(_) => end(1),
    }
}

/// Descriptors 0 to 3 become input, nothing, nothing and the report; all others are closed.
fn arrange(input: RawFd, report: RawFd) -> io::Result<File> {
    let checked = |result: libc::c_int| {
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(result)
        }
    };
    // SAFETY: numbers and a constant path; the descriptors above 3 of this process are used by nobody any more.
    unsafe {
        // Out of the way of the numbers that are given out below.
        let input = checked(libc::fcntl(input, libc::F_DUPFD_CLOEXEC, 10))?;
        let report = checked(libc::fcntl(report, libc::F_DUPFD_CLOEXEC, 10))?;
        let nothing = checked(libc::open(
            c"/dev/null".as_ptr(),
            libc::O_RDWR | libc::O_CLOEXEC,
        ))?;
        let nothing = checked(libc::fcntl(nothing, libc::F_DUPFD_CLOEXEC, 10))?;
        checked(libc::dup2(input, 0))?;
        checked(libc::dup2(nothing, 1))?;
        checked(libc::dup2(nothing, 2))?;
        checked(libc::dup3(report, 3, libc::O_CLOEXEC))?;
        if libc::syscall(libc::SYS_close_range, 4u32, u32::MAX, 0u32) < 0 {
            for fd in 4..4096 {
                libc::close(fd);
            }
        }
        checked(libc::chdir(c"/".as_ptr()))?;
        Ok(File::from_raw_fd(3))
    }
}

/// Waits until the last writer of this process's standard input is gone, for good: one that has come in between and
/// holds a shared lock on it (flock(2)) is waited for as well. The lock that this takes stays: who finds it cannot have
/// his own any more, and knows that the wait is over.
pub fn wait_for_end_of_input() {
    let mut bytes = [0u8; 64];
    loop {
        // SAFETY: descriptor 0 is not closed by anybody; reading from a closed one is an error, which ends the loop.
        let input = unsafe { BorrowedFd::borrow_raw(0) };
        match rustix::io::read(input, &mut bytes) {
            Ok(0) => {
                use rustix::fs::{FlockOperation, flock};
                match flock(input, FlockOperation::NonBlockingLockExclusive) {
                    Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                    _ => return,
                }
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Waits for a byte of this process's standard input; whether one came before its last writer was gone.
pub fn wait_for_word() -> bool {
    let mut byte = [0u8];
    loop {
        // SAFETY: descriptor 0 is not closed by anybody; reading from a closed one is an error, which ends the loop.
        let input = unsafe { BorrowedFd::borrow_raw(0) };
        match rustix::io::read(input, &mut byte) {
            Err(Errno::INTR) => {}
            other => return matches!(other, Ok(1)),
        }
    }
}

/// Waits until a signal ends this process.
pub fn wait_for_the_end() -> ! {
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}
