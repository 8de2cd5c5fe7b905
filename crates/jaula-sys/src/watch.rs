//! Waiting until a file is gone, or something in a directory changes (inotify(7)).

use crate::error::SysError;
use crate::process::readable;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Tells when a file is removed, moved or replaced, or when files of a directory are.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// Watches the file that is at `path` now.
    ///
    /// # Errors
    /// Those of inotify(7).
    pub fn new(path: &Path) -> Result<Self, SysError> {
        Self::of(path, libc::IN_DELETE_SELF | libc::IN_MOVE_SELF)
    }

    /// Watches which files there are in a directory.
    ///
    /// # Errors
    /// Those of inotify(7).
    pub fn entries(path: &Path) -> Result<Self, SysError> {
        let came = libc::IN_CREATE | libc::IN_MOVED_TO;
        let went = libc::IN_DELETE | libc::IN_MOVED_FROM;
        Self::of(path, came | went | libc::IN_ONLYDIR)
    }

    fn of(path: &Path, events: u32) -> Result<Self, SysError> {
        let fail = |call| SysError::last(call, path.display().to_string());
        let text = CString::new(path.as_os_str().as_bytes()).map_err(|_| fail("inotify"))?;
        // SAFETY: takes a number only.
        let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
        if fd < 0 {
            return Err(fail("inotify_init1"));
        }
        // SAFETY: just opened, and owned by nobody else.
        let this = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        let events = events | libc::IN_DONT_FOLLOW;
        // SAFETY: the path ends in NUL.
        if unsafe { libc::inotify_add_watch(fd, text.as_ptr(), events) } < 0 {
            return Err(fail("inotify_add_watch"));
        }
        Ok(this)
    }

    /// Whether something happened to the file within `millis`; what it is has to be looked at.
    pub fn wait(&self, millis: i32) -> bool {
        if readable(&[self.0.as_fd()], millis) == 0 {
            return false;
        }
        let mut events = [0u8; 512];
        // SAFETY: as much room as said. What is read is of no interest.
        while unsafe { libc::read(self.0.as_raw_fd(), events.as_mut_ptr().cast(), events.len()) }
            > 0
        {}
        true
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}
