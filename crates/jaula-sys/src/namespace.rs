//! What the kernel tells of a namespace through a descriptor of it (ioctl_nsfs(2)), and mounts of such descriptors.

use crate::error::SysError;
use crate::mount;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The kinds, each by its name below `/proc/PID/ns` and its `CLONE_NEW*` (namespaces(7)).
pub const KINDS: [(&str, i32); 8] = [
    ("mnt", libc::CLONE_NEWNS),
    ("net", libc::CLONE_NEWNET),
    ("pid", libc::CLONE_NEWPID),
    ("uts", libc::CLONE_NEWUTS),
    ("ipc", libc::CLONE_NEWIPC),
    ("user", libc::CLONE_NEWUSER),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", libc::CLONE_NEWTIME),
];

/// linux/nsfs.h, `_IO(0xb7, n)`.
const NS_GET_USERNS: libc::Ioctl = 0xb701;
const NS_GET_PARENT: libc::Ioctl = 0xb702;
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
const NS_GET_OWNER_UID: libc::Ioctl = 0xb704;
/// linux/sockios.h
const SIOCGSKNS: libc::Ioctl = 0x894c;

fn target(fd: BorrowedFd<'_>) -> String {
    format!("descriptor {}", fd.as_raw_fd())
}

fn ask(call: &'static str, fd: BorrowedFd<'_>, request: libc::Ioctl) -> Result<i32, SysError> {
    // SAFETY: these requests take no argument.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), request) };
    if answer < 0 {
        return Err(SysError::last(call, target(fd)));
    }
    Ok(answer)
}

fn related(
    call: &'static str,
    fd: BorrowedFd<'_>,
    request: libc::Ioctl,
) -> Result<OwnedFd, SysError> {
    let fd = ask(call, fd, request)?;
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Its kind, as a `CLONE_NEW*`. ENOTTY when the descriptor is of no namespace.
pub fn kind(namespace: BorrowedFd<'_>) -> Result<i32, SysError> {
    ask("NS_GET_NSTYPE", namespace, NS_GET_NSTYPE)
}

/// The namespace above it; only user and pid namespaces have one (EINVAL for the others). EPERM when the caller may
/// not see it or there is none.
pub fn parent(namespace: BorrowedFd<'_>) -> Result<OwnedFd, SysError> {
    related("NS_GET_PARENT", namespace, NS_GET_PARENT)
}

/// The user namespace that owns it. EPERM when the caller may not see it or there is none.
pub fn owner(namespace: BorrowedFd<'_>) -> Result<OwnedFd, SysError> {
    related("NS_GET_USERNS", namespace, NS_GET_USERNS)
}

/// The user who made a user namespace; EINVAL for other kinds.
pub fn owner_uid(namespace: BorrowedFd<'_>) -> Result<u32, SysError> {
    let mut uid: libc::uid_t = 0;
    // SAFETY: the request writes one uid_t.
    if unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) } < 0 {
        return Err(SysError::last("NS_GET_OWNER_UID", target(namespace)));
    }
    Ok(uid)
}

/// The network namespace of a socket that another process has open as `number` (pidfd_getfd(2)). Needs the right to
/// trace that process.
pub fn of_socket(process: BorrowedFd<'_>, number: i32) -> Result<OwnedFd, SysError> {
    let name = || format!("descriptor {number}");
    // SAFETY: takes numbers only.
    let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
    if copy < 0 {
        return Err(SysError::last("pidfd_getfd", name()));
    }
    // SAFETY: just opened, and owned by nobody else.
    let copy = unsafe { OwnedFd::from_raw_fd(copy as i32) };
    related("SIOCGSKNS", copy.as_fd(), SIOCGSKNS)
}

/// Asks the kernel for the numbers by which this process's network namespace knows others (rtnetlink(7),
/// RTM_GETNSID).
#[derive(Debug)]
pub struct NetNumbers(OwnedFd);

impl NetNumbers {
    /// A socket to ask through.
    pub fn open() -> Result<Self, SysError> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        );
        socket
            .map(Self)
            .map_err(|error| SysError::io("socket", "NETLINK_ROUTE", &error.into()))
    }

    /// The number of a network namespace; -1 when it was given none (NETNSA_NSID_NOT_ASSIGNED).
    pub fn of(&self, namespace: BorrowedFd<'_>) -> Result<i32, SysError> {
        let failed = |errno: Errno| SysError::io("RTM_GETNSID", target(namespace), &errno.into());
        const RTM_NEWNSID: u16 = 88;
        const RTM_GETNSID: u16 = 90;
        const NLM_F_REQUEST: u16 = 1;
        const NETNSA_NSID: u16 = 1;
        const NETNSA_FD: u16 = 3;
        // nlmsghdr, rtgenmsg with its padding, one attribute with an int (netlink(7)).
        let mut request = Vec::with_capacity(28);
        request.extend_from_slice(&28u32.to_ne_bytes());
        request.extend_from_slice(&RTM_GETNSID.to_ne_bytes());
        request.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
        request.extend_from_slice(&[0; 12]);
        request.extend_from_slice(&8u16.to_ne_bytes());
        request.extend_from_slice(&NETNSA_FD.to_ne_bytes());
        request.extend_from_slice(&namespace.as_raw_fd().to_ne_bytes());
        rustix::net::send(&self.0, &request, SendFlags::empty()).map_err(failed)?;
        let mut answer = [0u8; 512];
        let (length, _) =
            rustix::net::recv(&self.0, &mut answer[..], RecvFlags::empty()).map_err(failed)?;
        let answer = answer.get(..length).unwrap_or_default();
        let half = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
        let word = |at: usize| Some(i32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
        if half(4) != Some(RTM_NEWNSID) {
            return Err(failed(Errno::INVAL));
        }
        // The first attribute stands behind both heads.
        match (half(22), word(24)) {
            (Some(NETNSA_NSID), Some(number)) => Ok(number),
            _ => Err(failed(Errno::INVAL)),
        }
    }
}

/// Does something in another network namespace, where this thread goes for as long as it takes. Needs CAP_SYS_ADMIN
/// over both.
///
/// # Errors
/// When the namespace cannot be entered. When this thread cannot come back, which leaves it where nothing else would
/// be right, the process ends.
pub fn in_network<T>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T) -> Result<T, SysError> {
    let home = own_net()?;
    join(namespace)?;
    let done = work();
    if join(home.as_fd()).is_err() {
        crate::process::leave(125);
    }
    Ok(done)
}

/// The network namespace of this thread.
pub fn own_net() -> Result<OwnedFd, SysError> {
    const PATH: &str = "/proc/thread-self/ns/net";
    let file = std::fs::File::open(PATH).map_err(|error| SysError::io("open", PATH, &error))?;
    Ok(file.into())
}

/// This thread goes on in a network namespace of its own, which is returned. Needs CAP_SYS_ADMIN.
pub fn unshare_net() -> Result<OwnedFd, SysError> {
    // SAFETY: takes a number only.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
        return Err(SysError::last("unshare", "network namespace"));
    }
    own_net()
}

/// This thread goes on in a network namespace. Needs CAP_SYS_ADMIN over it.
pub fn join(net: BorrowedFd<'_>) -> Result<(), SysError> {
    join_kind(net, libc::CLONE_NEWNET)
}

/// This thread goes on in a namespace of that kind (`CLONE_NEW*`, setns(2)); in a process namespace only its children.
/// A user namespace gives all rights over it; this process must then have one thread.
pub fn join_kind(namespace: BorrowedFd<'_>, kind: i32) -> Result<(), SysError> {
    // SAFETY: takes numbers only.
    if unsafe { libc::setns(namespace.as_raw_fd(), kind) } < 0 {
        return Err(SysError::last("setns", target(namespace)));
    }
    Ok(())
}

/// Mounts a namespace on a file, so that it stays without processes (namespaces(7), "The /proc/[pid]/ns/ directory").
/// The file is of a directory that only this process's user can change.
pub fn keep(namespace: BorrowedFd<'_>, file: &Path) -> Result<(), SysError> {
    let from = c_path(Path::new(&format!(
        "/proc/self/fd/{}",
        namespace.as_raw_fd()
    )))?;
    let to = c_path(file)?;
    mount::mount(Some(&from), &to, libc::MS_BIND).map_err(|errno| SysError {
        call: "mount",
        target: file.display().to_string(),
        errno,
    })
}

/// Mounts a directory on itself and keeps what is mounted beneath from any other mount namespace: the kernel refuses
/// a mount namespace on a mount that is shared.
pub fn make_private(dir: &Path) -> Result<(), SysError> {
    let path = c_path(dir)?;
    let failed = |errno| SysError {
        call: "mount",
        target: dir.display().to_string(),
        errno,
    };
    mount::mount(Some(&path), &path, libc::MS_BIND).map_err(failed)?;
    let private = mount::mount(None, &path, libc::MS_PRIVATE);
    if let Err(errno) = private {
        drop(unmount(dir));
        return Err(failed(errno));
    }
    Ok(())
}

/// Takes the uppermost mount of a path away, at once for whoever looks and in the end when nobody uses it any more
/// (umount2(2), MNT_DETACH). A link is not followed.
pub fn unmount(path: &Path) -> Result<(), SysError> {
    let name = c_path(path)?;
    // SAFETY: the path ends in NUL.
    if unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) } < 0 {
        return Err(SysError::last("umount2", path.display().to_string()));
    }
    Ok(())
}

fn c_path(path: &Path) -> Result<CString, SysError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| SysError {
        call: "mount",
        target: path.display().to_string(),
        errno: crate::error::Errno(libc::EINVAL),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn own_namespaces_tell_their_kind_and_their_owner() {
        let own = |name: &str| File::open(format!("/proc/self/ns/{name}")).expect("proc(5)");
        for (name, flag) in KINDS {
            assert_eq!(kind(own(name).as_fd()).expect(name), flag);
        }
        let net = own("net");
        let Ok(owner) = owner(net.as_fd()) else {
            return;
        };
        assert_eq!(kind(owner.as_fd()).expect("user"), libc::CLONE_NEWUSER);
        let inode = File::from(owner).metadata().expect("a file").ino();
        assert_ne!(inode, net.metadata().expect("a file").ino());
        assert_eq!(parent(net.as_fd()).expect_err("none").errno.0, libc::EINVAL);
    }

    #[test]
    fn a_file_is_no_namespace() {
        let file = File::open("/proc/self/status").expect("proc(5)");
        assert_eq!(kind(file.as_fd()).expect_err("no").errno.0, libc::ENOTTY);
    }

    #[test]
    fn a_socket_tells_its_network_namespace() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let own = crate::process::pidfd(std::process::id()).expect("this process");
        let found = of_socket(own.as_fd(), socket.as_raw_fd());
        let found = match found {
            Ok(found) => found,
            // SIOCGSKNS needs CAP_NET_ADMIN over the namespace.
            Err(error) => {
                assert_eq!(error.errno.0, libc::EPERM, "{error}");
                return;
            }
        };
        let own = std::fs::metadata("/proc/self/ns/net")
            .expect("proc(5)")
            .ino();
        assert_eq!(File::from(found).metadata().expect("a file").ino(), own);
    }

    #[test]
    fn a_network_namespace_has_a_number_or_none() {
        let numbers = NetNumbers::open().expect("a socket");
        let own = File::open("/proc/self/ns/net").expect("proc(5)");
        assert!(numbers.of(own.as_fd()).expect("an answer") >= -1);
        let user = File::open("/proc/self/ns/user").expect("proc(5)");
        numbers.of(user.as_fd()).expect_err("no network namespace");
    }
}
