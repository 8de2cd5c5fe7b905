//! What a process does to itself before it becomes another program: it leaves and joins namespaces where it stands
//! (unshare(2), setns(2)), changes its root and who it is, forks and waits. The process must have one thread.

use crate::error::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;

fn checked(result: libc::c_int) -> Result<libc::c_int, Errno> {
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

/// A path for the kernel; EINVAL when it holds a NUL.
pub fn c_path(path: &Path) -> Result<CString, Errno> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno(libc::EINVAL))
}

/// unshare(2) of `CLONE_NEW*`.
pub fn unshare(namespaces: i32) -> Result<(), Errno> {
    // SAFETY: takes a number only.
    checked(unsafe { libc::unshare(namespaces) }).map(drop)
}

/// setns(2): with a descriptor of a namespace or of a process.
pub fn join(fd: BorrowedFd, namespaces: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    checked(unsafe { libc::setns(fd.as_raw_fd(), namespaces) }).map(drop)
}

/// Opens a file for reading, or only to go there when that is all that may be done.
pub fn open(path: &Path) -> Result<OwnedFd, Errno> {
    open_flags(path, libc::O_RDONLY)
}

/// Opens a directory, without the right to read it.
pub fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    open_flags(path, libc::O_PATH | libc::O_DIRECTORY)
}

/// Opens a file to write.
pub fn open_to_write(path: &Path) -> Result<OwnedFd, Errno> {
    open_flags(path, libc::O_WRONLY)
}

fn open_flags(path: &Path, flags: i32) -> Result<OwnedFd, Errno> {
    let path = c_path(path)?;
    open_at(libc::AT_FDCWD, &path, flags)
}

fn open_at(dir: RawFd, path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the path ends in NUL.
    let fd = checked(unsafe {
        libc::openat(dir, path.as_ptr(), flags | libc::O_CLOEXEC | libc::O_NOCTTY)
    })?;
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens a file of a directory to write.
pub fn open_to_write_in(dir: BorrowedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    open_at(dir.as_raw_fd(), name, libc::O_WRONLY)
}

/// Opens a file beneath a directory to write: no link is followed, nothing above is reached.
pub fn open_to_write_beneath(dir: BorrowedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = libc::O_WRONLY | libc::O_NOCTTY;
    let links = crate::beneath::Links::Refuse;
    crate::beneath::open(&dir, path, flags, links).map_err(|error| error.errno)
}

/// Writes all of it by one write(2), as files of proc(5) want it.
pub fn write_once(fd: BorrowedFd, bytes: &[u8]) -> Result<(), Errno> {
    loop {
        // SAFETY: the pointer and length are those of a slice.
        let done = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(done) {
            Ok(written) if written == bytes.len() => return Ok(()),
            Ok(_) => return Err(Errno(libc::EIO)),
            Err(_) => {
                let errno = Errno::last();
                if errno.0 != libc::EINTR {
                    return Err(errno);
                }
            }
        }
    }
}

/// The owner of a file as this process numbers users and groups now (fstat(2)).
pub fn owner(fd: BorrowedFd) -> Result<(u32, u32), Errno> {
    stat(fd).map(|stat| (stat.st_uid, stat.st_gid))
}

/// The inode number of a descriptor: of a pidfd it names the process until the next boot (pidfs).
pub fn inode(fd: BorrowedFd) -> Result<u64, Errno> {
    stat(fd).map(|stat| stat.st_ino)
}

fn stat(fd: BorrowedFd) -> Result<libc::stat, Errno> {
    // SAFETY: zero is a valid value of every field.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is written only.
    checked(unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) })?;
    Ok(stat)
}

/// A file's device and inode number, links followed (stat(2)).
pub fn identity(path: &Path) -> Result<(u64, u64), Errno> {
    let path = c_path(path)?;
    // SAFETY: zero is a valid value of every field.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends in NUL; `stat` is written only.
    checked(unsafe { libc::stat(path.as_ptr(), &raw mut stat) })?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Whether the version 2 of control groups is mounted there (statfs(2)).
pub fn is_cgroup2(path: &Path) -> Result<bool, Errno> {
    let path = c_path(path)?;
    // SAFETY: zero is a valid value of every field.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends in NUL; `stat` is written only.
    checked(unsafe { libc::statfs(path.as_ptr(), &raw mut stat) })?;
    Ok(stat.f_type as u64 == libc::CGROUP2_SUPER_MAGIC as u64)
}

/// Whether the process of a pidfd has ended: it was waited for, or only waits for that.
pub fn has_ended(pidfd: BorrowedFd) -> Result<bool, Errno> {
    let mut poll = libc::pollfd {
        fd: pidfd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one structure, as said.
    checked(unsafe { libc::poll(&raw mut poll, 1, 0) }).map(|ready| ready > 0)
}

/// Whether the process of a pidfd still has its number: it may have ended, if nobody has waited for it.
pub fn is_there(pidfd: BorrowedFd) -> bool {
    // SAFETY: takes numbers and a null pointer; signal 0 is sent to nobody.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            0,
            ptr::null::<libc::siginfo_t>(),
            0u32,
        )
    };
    sent == 0 || Errno::last().0 != libc::ESRCH
}

/// A copy of a descriptor of another process (pidfd_getfd(2)).
pub fn descriptor_of(pidfd: BorrowedFd, fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0u32) };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// `_IO(0xb7, 1)` of linux/nsfs.h.
const NS_GET_USERNS: libc::Ioctl = 0xb701;
/// Of linux/sockios.h.
const SIOCGSKNS: libc::Ioctl = 0x894c;

fn related(fd: BorrowedFd, request: libc::Ioctl) -> Result<OwnedFd, Errno> {
    // SAFETY: both requests take no argument and give a new descriptor.
    let fd = checked(unsafe { libc::ioctl(fd.as_raw_fd(), request) })?;
    // SAFETY: just opened, and owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: takes numbers only.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    Ok(fd)
}

/// The user namespace that owns a namespace; of a user namespace, the one above (ioctl_ns(2)).
pub fn owner_namespace(namespace: BorrowedFd) -> Result<OwnedFd, Errno> {
    related(namespace, NS_GET_USERNS)
}

/// The network namespace of a socket (SIOCGSKNS).
pub fn socket_namespace(socket: BorrowedFd) -> Result<OwnedFd, Errno> {
    related(socket, SIOCGSKNS)
}

/// The file handle of nsfs (linux/nsfs.h, `struct nsfs_file_handle`) with its head (name_to_handle_at(2)).
#[repr(C)]
struct NsHandle {
    bytes: u32,
    kind: i32,
    id: u64,
    kind_of_namespace: u32,
    inode: u32,
}

/// `AT_HANDLE_FID` of linux/fcntl.h.
const AT_HANDLE_FID: i32 = 0x200;

/// The namespace with this identifier, where the kernel opens nsfs file handles by the identifier alone: Linux 6.18
/// wants the namespace's inode number as well, and answers ESTALE. Any namespace of this process will do
/// as `like`: its handle says of which type handles are.
pub fn namespace_by_id(like: BorrowedFd, id: u64) -> Result<OwnedFd, Errno> {
    let mut handle = NsHandle {
        bytes: 16,
        kind: 0,
        id: 0,
        kind_of_namespace: 0,
        inode: 0,
    };
    let mut mount = 0;
    // SAFETY: the path is an empty string; the handle has room for as many bytes as it says.
    let done = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            like.as_raw_fd(),
            c"".as_ptr(),
            &raw mut handle,
            &raw mut mount,
            libc::AT_EMPTY_PATH | AT_HANDLE_FID,
        )
    };
    if done < 0 {
        return Err(Errno::last());
    }
    handle.id = id;
    handle.kind_of_namespace = 0;
    handle.inode = 0;
    // SAFETY: the handle is whole and was made by the kernel, but for the identifier.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            like.as_raw_fd(),
            &raw mut handle,
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// chroot(2).
pub fn chroot(path: &Path) -> Result<(), Errno> {
    let path = c_path(path)?;
    // SAFETY: the path ends in NUL.
    checked(unsafe { libc::chroot(path.as_ptr()) }).map(drop)
}

/// chdir(2).
pub fn chdir(path: &Path) -> Result<(), Errno> {
    let path = c_path(path)?;
    // SAFETY: the path ends in NUL.
    checked(unsafe { libc::chdir(path.as_ptr()) }).map(drop)
}

/// fchdir(2).
pub fn fchdir(dir: BorrowedFd) -> Result<(), Errno> {
    // SAFETY: takes a number only.
    checked(unsafe { libc::fchdir(dir.as_raw_fd()) }).map(drop)
}

/// Flags of [`mount`].
pub mod mount_flag {
    pub use libc::{
        MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE,
    };
}

/// mount(2).
pub fn mount(from: &CStr, to: &Path, fs: Option<&CStr>, flags: libc::c_ulong) -> Result<(), Errno> {
    let to = c_path(to)?;
    let fs = fs.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: the strings end in NUL, or are null where that is allowed.
    checked(unsafe { libc::mount(from.as_ptr(), to.as_ptr(), fs, flags, ptr::null()) }).map(drop)
}

/// setgroups(2).
pub fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the pointer and length are those of a slice.
    checked(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }).map(drop)
}

/// setgid(2). The number that means "unchanged" to other calls is refused.
pub fn set_gid(gid: u32) -> Result<(), Errno> {
    // SAFETY: takes a number only.
    checked(unsafe { libc::setgid(gid) }).map(drop)
}

/// setuid(2), as [`set_gid`].
pub fn set_uid(uid: u32) -> Result<(), Errno> {
    // SAFETY: takes a number only.
    checked(unsafe { libc::setuid(uid) }).map(drop)
}

/// The signal that this process gets when its parent ends (prctl(2)). A change of identity forgets it.
pub fn on_parents_death(signal: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) }).map(drop)
}

/// Two ends by which a process and its child talk; messages keep their bounds, and an end that is closed is noticed.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: room for two descriptors.
    checked(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Sends a message of two numbers.
pub fn send(end: BorrowedFd, message: [i32; 2]) -> Result<(), Errno> {
    let flags = libc::MSG_NOSIGNAL;
    // SAFETY: the pointer and size are those of the array.
    let sent = unsafe {
        libc::send(
            end.as_raw_fd(),
            message.as_ptr().cast(),
            size_of_val(&message),
            flags,
        )
    };
    if sent < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// Waits for a message; none when the other end is closed.
pub fn receive(end: BorrowedFd) -> Result<Option<[i32; 2]>, Errno> {
    let mut message = [0; 2];
    loop {
        // SAFETY: the pointer and size are those of the array.
        let got = unsafe {
            libc::recv(
                end.as_raw_fd(),
                message.as_mut_ptr().cast(),
                size_of_val(&message),
                0,
            )
        };
        match usize::try_from(got) {
            Ok(length) => return Ok((length == size_of_val(&message)).then_some(message)),
            Err(_) => {
                let errno = Errno::last();
                if errno.0 != libc::EINTR {
                    return Err(errno);
                }
            }
        }
    }
}

/// On which side of fork(2) a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that was there, and its child.
    Parent(i32),
    /// The child.
    Child,
}

/// fork(2): both sides go on from here, with a copy of everything each.
pub fn fork() -> Result<Side, Errno> {
    // SAFETY: the process has one thread, so the child may go on as if nothing had happened.
    match checked(unsafe { libc::fork() })? {
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(pid)),
    }
}

/// Ends this process, with nothing of its parent's flushed or dropped.
pub fn exit(code: u8) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code.into()) }
}

/// What became of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It ended with this code.
    Exited(u8),
    /// This signal ended it.
    Killed(i32),
    /// It was stopped.
    Stopped,
}

fn change(status: i32) -> Change {
    if libc::WIFEXITED(status) {
        Change::Exited(libc::WEXITSTATUS(status) as u8)
    } else if libc::WIFSTOPPED(status) {
        Change::Stopped
    } else {
        Change::Killed(libc::WTERMSIG(status))
    }
}

/// Waits for a child's end, or, when asked, for its being stopped.
pub fn wait(child: i32, stopped: bool) -> Result<Change, Errno> {
    let flags = if stopped { libc::WUNTRACED } else { 0 };
    let mut status = 0;
    loop {
        // SAFETY: `status` is written only.
        match checked(unsafe { libc::waitpid(child, &raw mut status, flags) }) {
            Ok(_) => return Ok(change(status)),
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// What became of a child, if anything did.
pub fn look(child: i32) -> Result<Option<Change>, Errno> {
    let mut status = 0;
    // SAFETY: `status` is written only.
    let found = checked(unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) })?;
    Ok((found > 0).then(|| change(status)))
}

/// No such file or directory.
pub const ENOENT: i32 = libc::ENOENT;

/// kill(2).
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    checked(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Sends a signal to this process, by the number it has now: in a new namespace getpid(2) tells another.
pub fn raise(signal: i32) {
    // SAFETY: takes a number only.
    unsafe { libc::raise(signal) };
}

/// Signals by number.
pub mod signo {
    pub use libc::{SIGCHLD, SIGCONT, SIGINT, SIGKILL, SIGSTOP, SIGTERM};
}

/// Gives a signal its default effect.
pub fn default_effect(signal: i32) -> Result<(), Errno> {
    // SAFETY: the disposition is a constant.
    if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(Errno::last());
    }
    Ok(())
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set; sigaddset changes it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// Which signals were blocked before some were held back.
#[derive(Clone, Copy)]
pub struct Mask(libc::sigset_t);

/// Blocks these signals.
pub fn hold(signals: &[i32]) -> Result<Mask, Errno> {
    let set = set_of(signals);
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the first set is read, the second written.
    checked(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, before.as_mut_ptr()) })?;
    // SAFETY: written by the call.
    Ok(Mask(unsafe { before.assume_init() }))
}

impl Mask {
    /// As it was.
    pub fn restore(&self) -> Result<(), Errno> {
        // SAFETY: the set is read only.
        checked(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) })
            .map(drop)
    }
}

/// The next of these signals, which must be held back.
pub fn next_signal(signals: &[i32]) -> i32 {
    let set = set_of(signals);
    loop {
        // SAFETY: the set is read only; no information is asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const set, ptr::null_mut()) };
        if signal > 0 {
            return signal;
        }
    }
}

/// Ends this process by this signal; comes back when the signal ends nothing.
pub fn end_by(signal: i32) -> Result<(), Errno> {
    if signal != libc::SIGKILL {
        default_effect(signal)?;
    }
    let set = set_of(&[signal]);
    // SAFETY: the set is read only.
    checked(unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) })?;
    raise(signal);
    Ok(())
}

/// execve(2) of the first of these files that can be executed; comes back with the reason why none could. Without an
/// environment the program gets that of this process. A file that is no program is given to `/bin/sh` (execvp(3)).
pub fn exec(paths: &[CString], args: &[CString], env: Option<&[CString]>) -> Errno {
    crate::start::as_it_was();
    let pointers = |list: &[CString]| {
        let mut pointers: Vec<_> = list.iter().map(|text| text.as_ptr()).collect();
        pointers.push(ptr::null());
        pointers
    };
    let argv = pointers(args);
    let given = env.map(pointers);
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    // SAFETY: read once; nothing changes the environment of a process with one thread meanwhile.
    let inherited = unsafe { environ };
    let envp = given.as_ref().map_or(inherited, |list| list.as_ptr());
    let mut answer = Errno(libc::ENOENT);
    for path in paths {
        // SAFETY: the path ends in NUL, both lists end in null and their strings live.
        unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp) };
        let errno = Errno::last();
        match errno.0 {
            libc::ENOEXEC => {
                let mut script = vec![c"/bin/sh".as_ptr(), path.as_ptr()];
                script.extend(argv.iter().skip(1));
                // SAFETY: as above.
                unsafe { libc::execve(c"/bin/sh".as_ptr(), script.as_ptr(), envp) };
                return Errno::last();
            }
            // Not here: the next; but that one was found and may not be run is said in the end.
            libc::EACCES => answer = errno,
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {
                if paths.len() == 1 {
                    answer = errno;
                }
            }
            _ => return errno,
        }
    }
    answer
}

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}
