//! Going on in a user namespace of one's own, and children that try something out.

use crate::child;
use crate::error::SysError;
use crate::mount;
use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A child that was forked.
#[derive(Debug)]
pub struct Forked(i32);

/// Runs a function in a child with a copy of everything; its exit code is what the function gives. The caller must
/// have one thread.
pub fn fork(function: &mut dyn FnMut() -> u8) -> Result<Forked, SysError> {
    // SAFETY: the process has one thread, so the child may go on as if nothing had happened.
    match unsafe { libc::fork() } {
        0 => {
            let code = function();
            // SAFETY: ends the process, with nothing of the parent's flushed or dropped.
            unsafe { libc::_exit(code.into()) }
        }
        -1 => Err(SysError::last("fork", "a child")),
        pid => Ok(Forked(pid)),
    }
}

/// As [`fork`]; the child is killed when this thread ends (prctl(2), PR_SET_PDEATHSIG).
pub fn fork_bound(function: &mut dyn FnMut() -> u8) -> Result<Forked, SysError> {
    // Its number may mean nothing where the child is: another namespace of processes.
    let own = rustix::process::getpid();
    let own = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty())
        .map_err(|errno| SysError::io("pidfd_open", "this process", &errno.into()))?;
    fork(&mut || {
        // SAFETY: takes numbers only.
        let bound = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
        // A parent that ended before that was asked for kills nobody.
        if bound < 0 || crate::direct::has_ended(own.as_fd()) != Ok(false) {
            return 125;
        }
        function()
    })
}

impl Forked {
    /// Its number.
    pub fn pid(&self) -> i32 {
        self.0
    }

    /// As [`Self::wait`]; signals that were sent to this process alone are sent on. Those of a terminal's keys go to the
    /// child by themselves, for it is in the same group.
    pub fn wait_passing_signals(self) -> Result<Option<u8>, SysError> {
        let blocked = crate::signal::Blocked::new()?;
        loop {
            let mut status = 0;
            // SAFETY: `status` is written only.
            if unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG) } == self.0 {
                return Ok(libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status) as u8));
            }
            // The limit is for a child that ended before signals were blocked.
            if let Some(signal @ (libc::SIGTERM | libc::SIGHUP | libc::SIGUSR1 | libc::SIGUSR2)) =
                blocked.wait_within(100)
            {
                // SAFETY: the child was not waited for, so the number is its.
                unsafe { libc::kill(self.0, signal) };
            }
        }
    }

    /// Waits for its end: its exit code, none when a signal ended it.
    pub fn wait(self) -> Result<Option<u8>, SysError> {
        let mut status = 0;
        loop {
            // SAFETY: `status` is written only.
            if unsafe { libc::waitpid(self.0, &raw mut status, 0) } == self.0 {
                return Ok(libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status) as u8));
            }
            let error = SysError::last("waitpid", "a child");
            if error.errno.0 != libc::EINTR {
                return Err(error);
            }
        }
    }
}

/// This process from now on is in a user namespace of its own. Fails with EINVAL when it has more than one thread.
pub fn unshare() -> Result<(), SysError> {
    // SAFETY: takes a number only.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } < 0 {
        return Err(SysError::last("unshare", "user namespace"));
    }
    Ok(())
}

/// This process from now on is in this user namespace, with all rights there. Fails with EPERM when it has none over it
/// (user_namespaces(7)), with EINVAL when it has more than one thread.
pub fn join(namespace: BorrowedFd<'_>) -> Result<(), SysError> {
    // SAFETY: takes numbers only.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWUSER) } < 0 {
        return Err(SysError::last("setns", "user namespace"));
    }
    Ok(())
}

/// User and group 0 of the namespace, no supplementary groups where they can be dropped (not with one identifier), and a
/// mount namespace of its own whose mounts stay private.
pub fn become_root(set_groups: bool) -> Result<(), SysError> {
    // SAFETY: takes a number only.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } < 0 {
        return Err(SysError::last("unshare", "mount namespace"));
    }
    let fail = |call, errno| SysError {
        call,
        target: "root of the user namespace".into(),
        errno,
    };
    let groups: Option<&[u32]> = if set_groups { Some(&[]) } else { None };
    child::set_ids(groups, 0, 0).map_err(|e| fail("setresuid", e))?;
    mount::mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE).map_err(|e| fail("mount", e))
}

/// This process's identifier.
pub fn own_pid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::getpid() }
}

/// Whether a file of the working directory's file system can have a `user.` attribute (xattr(7)).
pub fn user_xattr_here() -> Result<(), SysError> {
    // SAFETY: the strings end in NUL, and the value is as long as said.
    let done = unsafe {
        libc::setxattr(
            c".".as_ptr(),
            c"user.jaula".as_ptr(),
            c"1".as_ptr().cast(),
            1,
            0,
        )
    };
    if done < 0 {
        Err(SysError::last("setxattr", "user.jaula"))
    } else {
        Ok(())
    }
}

/// Whether openat2(2) is there and not filtered.
pub fn openat2() -> Result<(), SysError> {
    // SAFETY: zero is a valid value of every field.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
    // SAFETY: `how` is a whole open_how of the size given.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            libc::AT_FDCWD,
            c"/".as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    if fd < 0 {
        return Err(SysError::last("openat2", "/"));
    }
    // SAFETY: just opened, and owned by nobody else.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    Ok(())
}

/// Whether a netlink socket to the packet filter can be had (nft(8) starts with one).
pub fn netfilter_socket() -> Result<(), SysError> {
    // SAFETY: takes numbers only.
    let fd = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_NETFILTER,
        )
    };
    if fd < 0 {
        return Err(SysError::last("socket", "NETLINK_NETFILTER"));
    }
    // SAFETY: just opened, and owned by nobody else.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

/// Gives up root for good: this user and group, no others.
pub fn become_user(uid: u32, gid: u32) -> Result<(), SysError> {
    let fail = |errno| SysError {
        call: "setresuid",
        target: format!("user {uid}"),
        errno,
    };
    child::set_ids(Some(&[gid]), uid, gid).map_err(fail)?;
    // A change of user makes a process undumpable, and its /proc files root's: then nothing could be mapped.
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) } < 0 {
        return Err(SysError::last("prctl", "PR_SET_DUMPABLE"));
    }
    Ok(())
}
