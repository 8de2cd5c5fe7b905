//! A child that goes where the processes of a running jail see their files, with no more rights over them than its
//! owner has (setns(2)). It joins neither their process identifiers nor their network: they cannot see it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

/// A namespace held open, and its `CLONE_NEW*`.
pub type Held = (OwnedFd, i32);

/// The namespaces of a child that has just been cloned into them, in the order in which they can be joined. The child
/// must still allow its parent to look at it.
pub fn namespaces(pid: i32, flags: i32) -> io::Result<Vec<Held>> {
    let names = [
        ("user", libc::CLONE_NEWUSER),
        ("mnt", libc::CLONE_NEWNS),
        ("pid", libc::CLONE_NEWPID),
        ("net", libc::CLONE_NEWNET),
        ("ipc", libc::CLONE_NEWIPC),
        ("uts", libc::CLONE_NEWUTS),
        ("cgroup", libc::CLONE_NEWCGROUP),
        ("time", libc::CLONE_NEWTIME),
    ];
    let mut held = Vec::with_capacity(names.len());
    for (name, flag) in names {
        // The user namespace also when it is not the child's own: whoever joins is outside of it.
        if flag == libc::CLONE_NEWUSER || flags & flag != 0 {
            let file = std::fs::File::open(format!("/proc/{pid}/ns/{name}"))?;
            held.push((file.into(), flag));
        }
    }
    Ok(held)
}

/// A running jail.
#[derive(Debug)]
pub struct Jail {
    /// What is joined.
    held: Vec<Held>,
    /// Whoever is root of it, as a process that has joined numbers users and groups.
    root: (u32, u32),
}

impl Jail {
    /// The one with this process in it, for root of the host; `alive` says whether it is still that process. Root
    /// stays root of the host: it sees the jail's files and lacks no right over its own.
    pub fn for_root(pid: u32, alive: &dyn Fn() -> bool) -> io::Result<Self> {
        let pidfd = crate::process::pidfd(pid).map_err(|error| refused(error.errno.0))?;
        let root = (first(pid, "uid_map")?, first(pid, "gid_map")?);
        // Everything above is of the process that the descriptor names, if it is so now.
        if !alive() {
            return Err(refused(libc::ESRCH));
        }
        let held = vec![(pidfd, libc::CLONE_NEWNS)];
        Ok(Self { held, root })
    }

    /// The one with these namespaces, for its owner.
    pub fn for_owner(held: Vec<Held>) -> Self {
        let wanted = libc::CLONE_NEWUSER | libc::CLONE_NEWNS;
        let held = held.into_iter().filter(|(_, flag)| flag & wanted != 0);
        Self {
            held: held.collect(),
            root: (0, 0),
        }
    }

    /// Joins it, for good: for a child with one thread. Gives the user and group that are root inside, as the child
    /// numbers them from then on. The child dies with its parent.
    pub fn join(&self) -> io::Result<(u32, u32)> {
        for (fd, namespaces) in &self.held {
            // SAFETY: takes numbers only.
            checked(unsafe { libc::setns(fd.as_raw_fd(), *namespaces) })?;
        }
        if self.root != (0, 0) {
            act_as(self.root)?;
        }
        // After the change of identity, which forgets it.
        // SAFETY: takes numbers only.
        checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
        Ok(self.root)
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

/// The flag of a process identifier namespace, for [`signal_all`].
pub const PROCESSES: i32 = libc::CLONE_NEWPID;

/// Sends a signal to every process of the process identifier namespace among these, but to its first one (kill(2),
/// `-1`): a child joins it, with the user namespace where that is among them too. This process must have one thread.
///
/// # Errors
/// Those of setns(2) and fork(2); `InvalidInput` when the namespace is that of this process.
pub fn signal_all(held: &[Held], signal: i32) -> io::Result<()> {
    let wanted = libc::CLONE_NEWUSER | libc::CLONE_NEWPID;
    let mut child = || {
        let ours = std::fs::metadata("/proc/self/ns/user").map(|meta| meta.ino());
        for (fd, namespaces) in held.iter().filter(|(_, flag)| flag & wanted != 0) {
            // Nobody may join the user namespace he is in.
            let theirs = fd.try_clone().map(std::fs::File::from);
            let theirs = theirs
                .and_then(|file| file.metadata())
                .map(|meta| meta.ino());
            if *namespaces == libc::CLONE_NEWUSER
                && matches!((&ours, theirs), (Ok(a), Ok(b)) if *a == b)
            {
                continue;
            }
            // SAFETY: takes numbers only.
            if unsafe { libc::setns(fd.as_raw_fd(), *namespaces) } < 0 {
                return failure();
            }
        }
        // Children from here on are in the namespace joined. Were that ours, everybody would be signalled.
        let link = |name| std::fs::read_link(format!("/proc/self/ns/{name}"));
        match (link("pid"), link("pid_for_children")) {
            (Ok(own), Ok(joined)) if own != joined => {}
            _ => return libc::EINVAL as u8,
        }
        let mut inside = || {
            // SAFETY: takes numbers only.
            match unsafe { libc::kill(-1, signal) } {
                0 => 0,
                _ => failure(),
            }
        };
        match crate::userns::fork(&mut inside).and_then(crate::userns::Forked::wait) {
            Ok(code) => code.unwrap_or(libc::EIO as u8),
            Err(error) => error.errno.0 as u8,
        }
    };
    let forked = crate::userns::fork(&mut child).map_err(|error| refused(error.errno.0))?;
    let code = forked.wait().map_err(|error| refused(error.errno.0))?;
    match code {
        // There is nobody but the first.
        Some(0) => Ok(()),
        Some(code) if i32::from(code) == libc::ESRCH => Ok(()),
        Some(code) => Err(refused(code.into())),
        // SIGKILL takes the one that sends it with it when the namespace ends.
        None if signal == libc::SIGKILL => Ok(()),
        None => Err(refused(libc::EIO)),
    }
}

fn failure() -> u8 {
    io::Error::last_os_error()
        .raw_os_error()
        .and_then(|errno| u8::try_from(errno).ok())
        .unwrap_or(libc::EIO as u8)
}
