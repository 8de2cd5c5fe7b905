//! What single operations do, where it takes more than a call.

use super::{Done, Slot, Source, Table, check, check_long};
use crate::beneath::{self, Fd, Links};
use crate::error::Errno;
use crate::mount;
use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

/// Closes what is between the descriptors that stay, and after the last; those lose their mark to be closed on exec.
pub(crate) fn close_but(keep: &[RawFd]) -> Result<(), Errno> {
    let close = |first: u32, last: u32| {
        if first > last {
            return Ok(());
        }
        // SAFETY: takes numbers only; nothing of the child uses a descriptor past 2 after this.
        check_long(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) })
    };
    let mut first = 3u32;
    for fd in keep {
        let number = u32::try_from(*fd).map_err(|_| Errno(libc::EBADF))?;
        close(first, number.saturating_sub(1))?;
        // SAFETY: takes numbers only.
        check(unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) })?;
        first = number.saturating_add(1);
    }
    close(first, u32::MAX)
}

pub(super) fn await_go(slots: &[Slot], table: &mut Table) -> Result<(), Errno> {
    let mut fds = [-1; crate::spawn::DESCRIPTORS];
    let count = crate::spawn::receive(table.socket, &mut fds)?;
    if count != slots.len() {
        return Err(Errno(libc::EPROTO));
    }
    for (slot, fd) in slots.iter().zip(fds) {
        table.put(*slot, Fd(fd))?;
    }
    Ok(())
}

/// Raw calls: those of the C library would tell other threads, which a cloned child does not have.
pub(crate) fn set_ids(groups: Option<&[u32]>, uid: u32, gid: u32) -> Result<(), Errno> {
    if let Some(groups) = groups {
        // SAFETY: the list is as long as said.
        check_long(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    }
    // SAFETY: takes numbers only.
    check_long(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: takes numbers only.
    check_long(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

pub(super) fn loopback_up() -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(socket)?;
    let socket = Fd(socket);
    // SAFETY: zero is a valid value of every field.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq.
    check(unsafe { libc::ioctl(socket.0, libc::SIOCSIFFLAGS, &raw const request) })
}

/// A route of one address that leads nowhere (SIOCADDRT, RTF_REJECT).
pub(super) fn reject(address: std::net::Ipv4Addr) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(socket)?;
    let socket = Fd(socket);
    // SAFETY: zero is a valid value of every field.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    let to = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.octets()),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: both are 16 bytes, and any bytes are a sockaddr.
    route.rt_dst = unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(to) };
    route.rt_flags = libc::RTF_UP | libc::RTF_HOST | libc::RTF_REJECT;
    // SAFETY: SIOCADDRT reads an rtentry.
    check(unsafe { libc::ioctl(socket.0, libc::SIOCADDRT, &raw const route) })
}

pub(super) fn mask(with: &CStr, or_with: &CStr, to: &CStr) -> Result<Done, Errno> {
    let mut result = mount::mount(Some(with), to, libc::MS_BIND);
    if result == Err(Errno(libc::ENOTDIR)) {
        result = mount::mount(Some(or_with), to, libc::MS_BIND);
    }
    match result {
        Ok(()) => Ok(Done::Applied),
        Err(Errno(libc::ENOENT)) => Ok(Done::Absent),
        Err(errno) => Err(errno),
    }
}

pub(super) fn stdio(sources: &[Source; 3], table: &Table) -> Result<(), Errno> {
    let mut fds = [-1; 3];
    for (fd, source) in fds.iter_mut().zip(sources) {
        let raw = match source {
            Source::Raw(raw) => *raw,
            Source::Slot(slot) => table.at(*slot)?,
        };
        // Out of the way first: a source may be one of 0, 1 and 2 itself.
        // SAFETY: takes numbers only.
        *fd = unsafe { libc::fcntl(raw, libc::F_DUPFD_CLOEXEC, 10) };
        check(*fd)?;
    }
    for (number, fd) in (0..).zip(fds) {
        // SAFETY: takes numbers only.
        check(unsafe { libc::dup3(fd, number, 0) })?;
    }
    Ok(())
}

pub(super) fn work_in(dirs: &[CString]) -> Result<usize, Errno> {
    // A descriptor of ours beneath /proc/self/fd is no way in: magic links are refused.
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the path ends in NUL.
    let root = unsafe { libc::open(c"/".as_ptr(), flags) };
    check(root)?;
    let root = Fd(root);
    let mut result = Err(Errno(libc::ENOENT));
    let mut worked = 0;
    for (index, dir) in dirs.iter().enumerate() {
        worked = index;
        result = beneath::open_raw(root.0, dir, libc::O_PATH | libc::O_DIRECTORY, Links::InRoot)
            // SAFETY: takes a descriptor only.
            .and_then(|at| check(unsafe { libc::fchdir(at.0) }));
        if result.is_ok() {
            break;
        }
    }
    result?;
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is as long as said.
    check_long(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    // Outside of the root the kernel says "(unreachable)" (getcwd(3)).
    if buffer.first() == Some(&b'/') {
        Ok(worked)
    } else {
        Err(Errno(libc::EXDEV))
    }
}
