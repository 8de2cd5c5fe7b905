//! Operations on the process itself, for sandboxes that are made up freely.

use super::{Done, Slot, Table, check, check_long};
use crate::beneath::Fd;
use crate::caps;
use crate::error::Errno;
use crate::seccomp::Filter;
use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

/// An operation on this process.
#[derive(Debug)]
pub enum SelfOp {
    /// Keeps a directory of the host reachable when the root is another.
    OpenHost {
        /// Host path.
        path: &'static CStr,
        /// Where it goes.
        slot: Slot,
    },
    /// Writes this process's own identifier maps (user_namespaces(7)).
    MapSelf {
        /// A slot with a procfs.
        proc: Slot,
        /// `uid_map`
        users: CString,
        /// `gid_map`
        groups: CString,
        /// Gives up setgroups(2) first.
        deny: bool,
    },
    /// New namespaces (unshare(2)).
    Unshare(i32),
    /// Lets one more user namespace be made beneath this one, and no other.
    LastUserNamespace {
        /// A slot with a procfs.
        proc: Slot,
    },
    /// Fails unless no user namespace can be made any more.
    NoUserNamespace,
    /// A time namespace whose clocks differ: lines of `/proc/PID/timens_offsets` (time_namespaces(7)).
    Clocks(CString),
    /// Takes everything but these from the bounding set, as far as this process may.
    TryBound(u64),
    /// These capabilities permitted, effective and inheritable.
    Inheritable {
        /// The set.
        set: u64,
        /// Whether it is no error that this may not be done.
        lenient: bool,
    },
    /// Adds these to the ambient set, as far as they are inheritable.
    Ambient(u64),
    /// Changes user or group, capabilities kept as the kernel keeps them.
    ChangeIds {
        /// User.
        uid: Option<u32>,
        /// Group.
        gid: Option<u32>,
    },
    /// What the kernel says it is (personality(2)), kept by what is executed.
    Personality(u32),
    /// Lets the same user's processes look at this one.
    Dumpable,
    /// Waits until a descriptor can be read or is at its end, and closes it.
    BlockOn(RawFd),
    /// The umask as it was before the walk.
    RestoreUmask,
    /// The signal that Rust's start-up ignores as a program expects it.
    DefaultSigpipe,
    /// A lock for reading on a file, held as long as this process lives.
    LockFile(CString),
    /// Loads a filter.
    Filter(Filter),
    /// Closes descriptors of the caller's.
    Close(Vec<RawFd>),
}

pub(super) fn apply(op: &SelfOp, table: &mut Table) -> Result<Done, Errno> {
    match op {
        SelfOp::OpenHost { path, slot } => {
            let fd = open(libc::AT_FDCWD, path, libc::O_PATH | libc::O_DIRECTORY)?;
            table.put(*slot, fd)?;
        }
        SelfOp::MapSelf {
            proc,
            users,
            groups,
            deny,
        } => {
            let proc = table.at(*proc)?;
            write(proc, c"self/uid_map", users.to_bytes())?;
            if *deny {
                write(proc, c"self/setgroups", b"deny\n")?;
            }
            write(proc, c"self/gid_map", groups.to_bytes())?;
        }
        // SAFETY: takes a number only.
        SelfOp::Unshare(flags) => check(unsafe { libc::unshare(*flags) })?,
        SelfOp::LastUserNamespace { proc } => {
            write(table.at(*proc)?, c"sys/user/max_user_namespaces", b"1")?;
        }
        SelfOp::NoUserNamespace => {
            // SAFETY: takes a number only.
            if unsafe { libc::unshare(libc::CLONE_NEWUSER) } == 0 {
                return Err(Errno(0));
            }
        }
        SelfOp::Clocks(text) => clocks(text)?,
        SelfOp::TryBound(keep) => caps::try_bound(*keep)?,
        SelfOp::Inheritable { set, lenient } => match caps::set_inheritable(*set) {
            Err(Errno(libc::EPERM)) if *lenient => {}
            other => other?,
        },
        SelfOp::Ambient(set) => caps::ambient(*set)?,
        SelfOp::ChangeIds { uid, gid } => {
            // By raw calls: those of the C library would tell other threads, which there are none of.
            if let Some(uid) = *uid {
                // SAFETY: takes a number only.
                check_long(unsafe { libc::syscall(libc::SYS_setuid, uid) })?;
            }
            if let Some(gid) = *gid {
                // SAFETY: takes a number only.
                check_long(unsafe { libc::syscall(libc::SYS_setgid, gid) })?;
            }
        }
        SelfOp::Personality(number) => {
            // SAFETY: takes a number only.
            let before = unsafe { libc::personality(libc::c_ulong::from(*number)) };
            check(before)?;
        }
        // SAFETY: takes numbers only.
        SelfOp::Dumpable => check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) })?,
        SelfOp::BlockOn(fd) => {
            let mut byte = 0u8;
            loop {
                // SAFETY: one byte of room, as said.
                let got = unsafe { libc::read(*fd, (&raw mut byte).cast(), 1) };
                if got >= 0 || Errno::last().0 != libc::EINTR {
                    break;
                }
            }
            drop(Fd(*fd));
        }
        SelfOp::RestoreUmask => {
            // SAFETY: takes a number only.
            unsafe { libc::umask(table.umask) };
        }
        SelfOp::DefaultSigpipe => {
            // SAFETY: a constant disposition.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        }
        SelfOp::LockFile(path) => {
            table.note.stage = crate::place::Stage::Whole;
            let fd = open(libc::AT_FDCWD, path, libc::O_RDONLY)?;
            // SAFETY: zero is a valid value of every field.
            let mut lock: libc::flock = unsafe { std::mem::zeroed() };
            lock.l_type = libc::F_RDLCK as libc::c_short;
            lock.l_whence = libc::SEEK_SET as libc::c_short;
            table.note.stage = crate::place::Stage::Last;
            // SAFETY: `lock` is a whole flock.
            check(unsafe { libc::fcntl(fd.0, libc::F_SETLK, &raw const lock) })?;
            // Held until the process ends.
            std::mem::forget(fd);
        }
        SelfOp::Filter(filter) => filter.load_by_prctl()?,
        SelfOp::Close(fds) => fds.iter().for_each(|fd| drop(Fd(*fd))),
    }
    Ok(Done::Applied)
}

fn open(dir: RawFd, path: &CStr, flags: i32) -> Result<Fd, Errno> {
    // SAFETY: the path ends in NUL.
    let fd = unsafe { libc::openat(dir, path.as_ptr(), flags | libc::O_CLOEXEC) };
    check(fd)?;
    Ok(Fd(fd))
}

fn write(dir: RawFd, path: &CStr, text: &[u8]) -> Result<(), Errno> {
    let file = open(dir, path, libc::O_WRONLY)?;
    // SAFETY: the text is as long as said. One write(2): the kernel takes a map only once.
    let done = unsafe { libc::write(file.0, text.as_ptr().cast(), text.len()) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// The clocks can be set as long as no process is in the namespace, so it is made first and then joined.
fn clocks(text: &CStr) -> Result<(), Errno> {
    const NEWTIME: i32 = 0x80;
    // SAFETY: takes a number only.
    check(unsafe { libc::unshare(NEWTIME) })?;
    write(
        libc::AT_FDCWD,
        c"/proc/self/timens_offsets",
        text.to_bytes(),
    )?;
    let namespace = open(
        libc::AT_FDCWD,
        c"/proc/self/ns/time_for_children",
        libc::O_RDONLY,
    )?;
    // SAFETY: takes numbers only.
    check(unsafe { libc::setns(namespace.0, NEWTIME) })
}
