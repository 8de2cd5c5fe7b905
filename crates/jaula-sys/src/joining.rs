//! A child that goes where the processes of a running jail see their files, with no more rights over them than its
//! owner has (setns(2)). It joins neither their process identifiers nor their network: they cannot see it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// A running jail.
#[derive(Debug)]
pub struct Jail {
    pidfd: OwnedFd,
    /// Whoever is root of it, as this process numbers users and groups.
    root: (u32, u32),
    /// Whether the user namespace is joined too: what root of the host lacks nothing for.
    users: bool,
}

impl Jail {
    /// The one with this process in it; `alive` says whether it is still that process.
    pub fn of(pid: u32, alive: &dyn Fn() -> bool) -> io::Result<Self> {
        let pidfd = crate::process::pidfd(pid).map_err(|error| refused(error.errno.0))?;
        let (uid, _) = crate::process::effective_ids();
        let root = (first(pid, "uid_map")?, first(pid, "gid_map")?);
        // Everything above is of the process that the descriptor names, if it is so now.
        if !alive() {
            return Err(refused(libc::ESRCH));
        }
        Ok(Self {
            pidfd,
            root,
            users: uid != 0,
        })
    }

    /// Joins it, for good: for a child with one thread. Gives the user and group that are root inside, as the child
    /// numbers them from then on. The child dies with its parent.
    pub fn join(&self) -> io::Result<(u32, u32)> {
        let users = if self.users { libc::CLONE_NEWUSER } else { 0 };
        // SAFETY: takes numbers only.
        checked(unsafe { libc::setns(self.pidfd.as_raw_fd(), libc::CLONE_NEWNS | users) })?;
        let root = if self.users { (0, 0) } else { self.root };
        if !self.users && root != (0, 0) {
            act_as(root)?;
        }
        // After the change of identity, which forgets it.
        // SAFETY: takes numbers only.
        checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
        Ok(root)
    }
}

fn refused(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The outside identifier of a map's first line (user_namespaces(7)): of 0, wherever 0 is mapped.
fn first(pid: u32, map: &str) -> io::Result<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{map}"))?;
    let outside = text.split_whitespace().nth(1);
    outside
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| refused(libc::ESRCH))
}

/// New files are this user's and group's, which a view that maps identifiers demands; all rights are kept
/// (setfsuid(2), capabilities(7)).
fn act_as((uid, gid): (u32, u32)) -> io::Result<()> {
    // SAFETY: these take numbers only. They tell the former identifier instead of an error: asked twice.
    let now = unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
        (libc::setfsuid(u32::MAX), libc::setfsgid(u32::MAX))
    };
    if (now.0 as u32, now.1 as u32) != (uid, gid) {
        return Err(refused(libc::EPERM));
    }
    crate::caps::raise().map_err(|errno| refused(errno.0))
}
