//! Sockets of this machine on which the kernel says who is on the other side (unix(7)), messages with descriptors, and what
//! a process gives up that goes on for somebody else.

use crate::caps;
use crate::child::set_ids;
use crate::error::{Errno, SysError};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The most descriptors that a message may bring.
pub const DESCRIPTORS: usize = 8;

/// How many connections may wait to be taken.
const BACKLOG: i32 = 64;

/// CAP_KILL.
const KILL: u64 = 1 << 5;

fn failed(call: &'static str, path: &OsStr) -> SysError {
    SysError::last(call, path.to_string_lossy().into_owned())
}

fn socket(path: &OsStr) -> Result<OwnedFd, SysError> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(failed("socket", path));
    }
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn address(path: &OsStr) -> Result<(libc::sockaddr_un, libc::socklen_t), SysError> {
    // SAFETY: zero is a valid value of every field.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_bytes();
    // The NUL behind it counts too.
    if bytes.is_empty() || bytes.contains(&0) || bytes.len() >= address.sun_path.len() {
        return Err(SysError {
            call: "bind",
            target: path.to_string_lossy().into_owned(),
            errno: Errno(libc::ENAMETOOLONG),
        });
    }
    for (place, byte) in address.sun_path.iter_mut().zip(bytes) {
        *place = *byte as libc::c_char;
    }
    let size = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    Ok((address, size))
}

/// Listens for messages at a path that is not there yet.
///
/// # Errors
/// bind(2), listen(2).
pub fn listen(path: &Path) -> Result<OwnedFd, SysError> {
    let path = path.as_os_str();
    let (address, size) = address(path)?;
    let socket = socket(path)?;
    // SAFETY: the address is a whole sockaddr_un of the size said.
    unsafe {
        if libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) < 0 {
            return Err(failed("bind", path));
        }
        if libc::listen(socket.as_raw_fd(), BACKLOG) < 0 {
            return Err(failed("listen", path));
        }
    }
    Ok(socket)
}

/// Connects to who listens there.
///
/// # Errors
/// connect(2).
pub fn connect(path: &Path) -> Result<OwnedFd, SysError> {
    let path = path.as_os_str();
    let (address, size) = address(path)?;
    let socket = socket(path)?;
    // SAFETY: the address is a whole sockaddr_un of the size said.
    if unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size) } < 0 {
        return Err(failed("connect", path));
    }
    Ok(socket)
}

/// Whether a descriptor is a socket of messages that listens: one that this process was started with may be anything.
pub fn listens(fd: BorrowedFd<'_>) -> bool {
    let option = |name| {
        let mut value: libc::c_int = 0;
        let mut size = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: room for one number, as said.
        let got = unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                name,
                (&raw mut value).cast(),
                &raw mut size,
            )
        };
        (got == 0).then_some(value)
    };
    option(libc::SO_DOMAIN) == Some(libc::AF_UNIX)
        && option(libc::SO_TYPE) == Some(libc::SOCK_SEQPACKET)
        && option(libc::SO_ACCEPTCONN) == Some(1)
}

/// The first socket that this process was started with (sd_listen_fds(3)).
///
/// # Errors
/// fcntl(2) when there is none.
pub fn given() -> Result<OwnedFd, SysError> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::fcntl(3, libc::F_DUPFD_CLOEXEC, 3) };
    if fd < 0 {
        return Err(SysError::last("fcntl", "the first socket"));
    }
    // SAFETY: just opened, and owned by nobody else; what was copied is closed, for nothing here goes by its number.
    unsafe {
        libc::close(3);
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The next connection; none when who wanted it is gone again.
///
/// # Errors
/// accept4(2), but for what is over with the connection itself.
pub fn accept(listener: BorrowedFd<'_>) -> Result<Option<OwnedFd>, SysError> {
    // SAFETY: no address is asked for.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_CLOEXEC,
        )
    };
    if fd >= 0 {
        // SAFETY: just opened, and owned by nobody else.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
    }
    match Errno::last().0 {
        libc::EAGAIN | libc::EINTR | libc::ECONNABORTED | libc::EPROTO => Ok(None),
        // There may be room later: the connection waits, and so do others for a moment.
        libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => {
            crate::process::readable(&[], 100);
            Ok(None)
        }
        _ => Err(SysError::last("accept4", "a login")),
    }
}

/// Who is on the other side, as the kernel noted it when the connection was made (unix(7), SO_PEERCRED).
#[derive(Debug)]
pub struct Peer {
    /// His user.
    pub uid: u32,
    /// The process, as this namespace numbers it; 0 when it is in another one.
    pub pid: i32,
    /// The same process, whatever has its number later (SO_PEERPIDFD, since Linux 6.5).
    pub process: Option<OwnedFd>,
}

impl Peer {
    /// Asks the kernel.
    ///
    /// # Errors
    /// getsockopt(2).
    pub fn of(socket: BorrowedFd<'_>) -> Result<Self, SysError> {
        const SO_PEERPIDFD: libc::c_int = 77;
        let mut who = libc::ucred {
            pid: 0,
            uid: u32::MAX,
            gid: u32::MAX,
        };
        let mut size = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: room for one structure, as said.
        let got = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut who).cast(),
                &raw mut size,
            )
        };
        if got < 0 || size as usize != size_of::<libc::ucred>() {
            return Err(SysError::last("getsockopt", "SO_PEERCRED"));
        }
        let mut fd: RawFd = -1;
        let mut size = size_of::<RawFd>() as libc::socklen_t;
        // SAFETY: room for one number, as said.
        let got = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_PEERPIDFD,
                (&raw mut fd).cast(),
                &raw mut size,
            )
        };
        // SAFETY: just opened, and owned by nobody else.
        let process = (got == 0 && fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self {
            uid: who.uid,
            pid: who.pid,
            process,
        })
    }
}

/// Room for descriptors in a control message (cmsg(3)), aligned as the header wants.
#[repr(align(8))]
struct Control([u8; 128]);

/// Sends one message, without waiting for room.
///
/// # Errors
/// sendmsg(2); EPIPE when the other side is gone.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), SysError> {
    let mut vector = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let mut control = Control([0; 128]);
    // SAFETY: zero is a valid value of every field.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    if !raw.is_empty() && raw.len() <= DESCRIPTORS {
        let size = size_of_val(raw.as_slice());
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: `control` has room for a header and DESCRIPTORS descriptors; the header is inside it.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size as u32) as _;
            std::ptr::copy_nonoverlapping(raw.as_ptr().cast(), libc::CMSG_DATA(header), size);
        }
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the message and all it points to live until the call returns.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    if sent < 0 {
        return Err(SysError::last("sendmsg", "a login"));
    }
    Ok(())
}

/// Receives one message of at most `most` bytes and [`DESCRIPTORS`] descriptors; nothing at all is the end.
///
/// # Errors
/// recvmsg(2); EMSGSIZE when something was more than may be.
pub fn receive(socket: BorrowedFd<'_>, most: usize) -> Result<(Vec<u8>, Vec<OwnedFd>), SysError> {
    let mut bytes = vec![0u8; most];
    let mut vector = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut control = Control([0; 128]);
    // SAFETY: zero is a valid value of every field.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: the message and all it points to live until the call returns.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let Ok(got) = usize::try_from(got) else {
        return Err(SysError::last("recvmsg", "a login"));
    };
    let mut fds = Vec::new();
    // SAFETY: the kernel wrote whole control messages into `control`, each with as many descriptors as its length says;
    // every one is ours from now on.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let size = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                for index in 0..size / size_of::<RawFd>() {
                    let place = libc::CMSG_DATA(header).add(index * size_of::<RawFd>());
                    fds.push(OwnedFd::from_raw_fd(place.cast::<RawFd>().read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 || fds.len() > DESCRIPTORS {
        return Err(SysError {
            call: "recvmsg",
            target: "a login".into(),
            errno: Errno(libc::EMSGSIZE),
        });
    }
    bytes.truncate(got);
    Ok((bytes, fds))
}

/// Receives one message of at most `most` bytes; descriptors in it are let go by the kernel, so that nobody waits for what
/// closing one may wait for. Nothing at all is the end.
///
/// # Errors
/// recv(2); EMSGSIZE when it was more than may be.
pub fn receive_bytes(socket: BorrowedFd<'_>, most: usize) -> Result<Vec<u8>, SysError> {
    let mut bytes = vec![0u8; most];
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: as much room as said. With MSG_TRUNC the length is that of the whole message.
    let got = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            flags,
        )
    };
    let Ok(got) = usize::try_from(got) else {
        return Err(SysError::last("recv", "a login"));
    };
    if got > most {
        return Err(SysError {
            call: "recv",
            target: "a login".into(),
            errno: Errno(libc::EMSGSIZE),
        });
    }
    bytes.truncate(got);
    Ok(bytes)
}

/// Whether a descriptor that somebody else opened is a terminal of the kernel's: no file system's idea of one.
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: zero is a valid value of every field; the structure is written only.
    let device = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        libc::fstat(fd.as_raw_fd(), &raw mut stat) == 0
            && stat.st_mode & libc::S_IFMT == libc::S_IFCHR
    };
    // SAFETY: takes a number only.
    device && unsafe { libc::isatty(fd.as_raw_fd()) } == 1
}

/// These are standard input, output and error of this process from now on.
///
/// # Errors
/// dup2(2).
pub fn take_as_standard(fds: &[OwnedFd; 3]) -> Result<(), SysError> {
    for (number, fd) in (0..).zip(fds) {
        // SAFETY: takes numbers only. Those that came are all past 2: these three are open in whoever serves.
        if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 {
            return Err(SysError::last("dup2", "standard input and output"));
        }
    }
    Ok(())
}

/// Opens `/dev/null` for those of 0, 1 and 2 that are closed, so that nothing else gets these numbers.
///
/// # Errors
/// open(2).
pub fn hold_standard() -> Result<(), SysError> {
    loop {
        // SAFETY: the path ends in NUL.
        let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        match fd {
            0..=2 => {}
            3.. => {
                // SAFETY: just opened, and owned by nobody else.
                drop(unsafe { OwnedFd::from_raw_fd(fd) });
                return Ok(());
            }
            _ => return Err(SysError::last("open", "/dev/null")),
        }
    }
}

/// This process goes on as a user, for good: of all rights it keeps the one to send signals. It is killed when `parent`, the
/// process that started it, ends, and nobody may look into it.
///
/// # Errors
/// The call that the kernel refuses.
pub fn go_on_as(uid: u32, gid: u32, parent: BorrowedFd<'_>) -> Result<(), SysError> {
    let failed = |call| {
        move |errno| SysError {
            call,
            target: format!("user {uid}"),
            errno,
        }
    };
    let control = |option, value: libc::c_ulong| {
        // SAFETY: takes numbers only.
        match unsafe { libc::prctl(option, value, 0, 0, 0) } {
            0.. => Ok(()),
            _ => Err(SysError::last("prctl", format!("user {uid}"))),
        }
    };
    caps::try_bound(KILL).map_err(failed("prctl"))?;
    control(libc::PR_SET_KEEPCAPS, 1)?;
    control(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    set_ids(Some(&[]), uid, gid).map_err(failed("setresuid"))?;
    caps::set(KILL).map_err(failed("capset"))?;
    control(libc::PR_SET_DUMPABLE, 0)?;
    // Another user means that this is forgotten (PR_SET_PDEATHSIG(2const)).
    control(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)?;
    match crate::direct::has_ended(parent.as_fd()) {
        Ok(false) => Ok(()),
        _ => Err(failed("prctl")(Errno(libc::ESRCH))),
    }
}

/// Waits for a child of this process that ended already: its number, none when there is none.
pub fn reap() -> Option<i32> {
    // SAFETY: a null status is not written.
    let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
    (pid > 0).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        crate::spawn::pair().expect("a pair")
    }

    #[test]
    fn a_message_brings_its_bytes_and_descriptors() {
        let (one, two) = pair();
        let file = std::fs::File::open("/dev/null").expect("a file");
        send(one.as_fd(), b"words", &[file.as_fd(), file.as_fd()]).expect("sent");
        let (bytes, fds) = receive(two.as_fd(), 16).expect("a message");
        assert_eq!((bytes.as_slice(), fds.len()), (b"words".as_slice(), 2));
        assert!(!is_terminal(fds[0].as_fd()));
        send(one.as_fd(), b"words", &[file.as_fd()]).expect("sent");
        assert_eq!(receive_bytes(two.as_fd(), 5).expect("a message"), b"words");
        send(one.as_fd(), b"words", &[]).expect("sent");
        let error = receive_bytes(two.as_fd(), 4).expect_err("too long");
        assert_eq!(error.errno.0, libc::EMSGSIZE);
        send(one.as_fd(), b"more than may be", &[]).expect("sent");
        let error = receive(two.as_fd(), 4).expect_err("too long");
        assert_eq!(error.errno.0, libc::EMSGSIZE);
        drop(one);
        let (bytes, fds) = receive(two.as_fd(), 4).expect("the end");
        assert!(bytes.is_empty() && fds.is_empty());
    }

    #[test]
    fn the_kernel_says_who_is_there() {
        let (one, two) = pair();
        let peer = Peer::of(one.as_fd()).expect("somebody");
        let own = crate::process::effective_ids().0;
        assert_eq!((peer.uid, peer.pid), (own, crate::userns::own_pid()));
        if let Some(process) = &peer.process {
            assert_eq!(crate::direct::has_ended(process.as_fd()), Ok(false));
        }
        assert!(!listens(two.as_fd()));
    }

    #[test]
    fn a_path_that_is_too_long_or_empty_is_refused() {
        for path in [String::new(), "x".repeat(108), "a\0b".to_owned()] {
            assert!(listen(Path::new(&path)).is_err(), "{path:?}");
        }
    }
}
