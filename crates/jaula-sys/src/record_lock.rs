//! Locks of fcntl(2) on whole files: those by which programs that change accounts keep out of each other's way
//! (lckpwdf(3)). They are the process's, and gone when it closes any descriptor of the file.

use crate::error::{Errno, SysError};
use std::fs::File;
use std::os::fd::AsRawFd;

/// Takes the write lock of a whole file, which is open for writing; false when somebody else has it.
///
/// # Errors
/// When the file system has no such locks.
pub fn take(file: &File) -> Result<bool, SysError> {
    // SAFETY: flock is plain numbers, for which zeros are a value: from the beginning, to the end.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open and the lock lives during the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) } == 0 {
        return Ok(true);
    }
    match Errno::last() {
        Errno(libc::EAGAIN | libc::EACCES) => Ok(false),
        errno => Err(SysError {
            call: "fcntl",
            target: "F_SETLK".to_owned(),
            errno,
        }),
    }
}

/// Whether there is a process with this number (kill(2) with signal 0), of whomever.
pub fn is_process(pid: i32) -> bool {
    // SAFETY: takes numbers only; signal 0 is none.
    pid > 0 && (unsafe { libc::kill(pid, 0) } == 0 || Errno::last() == Errno(libc::EPERM))
}
