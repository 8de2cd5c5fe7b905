//! System calls that somebody else answers (seccomp_unotify(2)): the kernel stops the caller and asks.

use crate::error::{Errno, SysError};
use crate::seccomp::Filter;
use crate::seccomp::program::{Answer, Entry, Flags, Rule, Table};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Which of the calls that [`filter`] asks about it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Give something to somebody: chown(2), lchown(2), fchown(2), fchownat(2).
    Give(Give),
    /// Tell of something: stat(2), lstat(2), fstat(2), fstatat(2), statx(2).
    Tell(Place, Told),
    /// Become somebody else: set*id(2), setgroups(2); whether anybody else than root is meant.
    Become(bool),
}

/// chown(2) and its kin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Give {
    /// What.
    pub place: Place,
    /// To whom; none to leave it.
    pub uid: Option<u32>,
    /// To which group; none to leave it.
    pub gid: Option<u32>,
}

/// Something in the file system as a caller names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Directory or file of the caller's; `AT_FDCWD` (-100) for its working directory.
    pub dir: i32,
    /// Where in the caller's memory the path is; none where there is none.
    pub path: Option<u64>,
    /// Whether a link at its end is followed.
    pub follow: bool,
    /// Whether an empty path means the descriptor itself.
    pub empty: bool,
}

/// In which form something is told, and where in the caller's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// `struct stat`
    Stat(u64),
    /// `struct statx`, with what is asked for and how it is synchronised.
    Statx(u64, u32, i32),
}

/// A call that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    id: u64,
    /// The thread, as this process sees it.
    pub pid: u32,
    number: i64,
    args: [u64; 6],
}

/// Where the kernel asks.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// What [`Listener::wait_beside`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// A call waits.
    pub call: bool,
    /// Nobody is left who could make one.
    pub end: bool,
    /// The other descriptor is readable.
    pub other: bool,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What is filled by `SECCOMP_IOCTL_NOTIF_RECV`.
#[repr(C)]
#[derive(Default)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    arch: u32,
    instruction: u64,
    args: [u64; 6],
}

#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// _IOWR('!', 0, struct seccomp_notif), _IOWR('!', 1, struct seccomp_notif_resp), _IOW('!', 2, u64)
const RECV: u64 = 0xc050_2100;
const SEND: u64 = 0xc018_2101;
const VALID: u64 = 0x4008_2102;
/// _IOW('!', 4, u64)
const SET_FLAGS: u64 = 0x4008_2104;
/// The call goes on as if nobody had asked (SECCOMP_USER_NOTIF_FLAG_CONTINUE).
const CONTINUE: u32 = 1;
const CWD: i32 = libc::AT_FDCWD;

fn number(call: libc::c_long) -> u32 {
    call as u32
}

/// The numbers of the calls of each kind.
fn give() -> Vec<u32> {
    let mut calls = vec![number(libc::SYS_fchown), number(libc::SYS_fchownat)];
    #[cfg(target_arch = "x86_64")]
    calls.extend([number(libc::SYS_chown), number(libc::SYS_lchown)]);
    calls
}

fn tell() -> Vec<u32> {
    let mut calls = vec![
        number(libc::SYS_fstat),
        number(libc::SYS_newfstatat),
        number(libc::SYS_statx),
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([number(libc::SYS_stat), number(libc::SYS_lstat)]);
    calls
}

fn r#become() -> Vec<u32> {
    [
        libc::SYS_setuid,
        libc::SYS_setgid,
        libc::SYS_setreuid,
        libc::SYS_setregid,
        libc::SYS_setresuid,
        libc::SYS_setresgid,
        libc::SYS_setfsuid,
        libc::SYS_setfsgid,
        libc::SYS_setgroups,
    ]
    .map(number)
    .to_vec()
}

/// The filter that asks about owners, and with `users` about changes of user; all else, and every call of a 32-bit
/// program, is the kernel's own matter.
pub fn filter(users: bool) -> Option<Filter> {
    let mut calls: Vec<u32> = give();
    calls.extend(tell());
    if users {
        calls.extend(r#become());
    }
    calls.sort_unstable();
    let asks = |call: u32| {
        let rule = Rule {
            conditions: Vec::new(),
            answer: Answer::Notify,
        };
        (call, vec![rule])
    };
    let table = |entry, calls| Table {
        entry,
        calls,
        default: Answer::Allow,
        newer: None,
    };
    let native = calls.into_iter().map(asks).collect();
    let tables = if cfg!(target_arch = "x86_64") {
        vec![table(Entry::X86_64, native), table(Entry::I386, Vec::new())]
    } else {
        vec![table(Entry::Aarch64, native)]
    };
    Filter::from_rules(&tables, Flags::default()).ok()
}

impl Call {
    fn arg(&self, at: usize) -> u64 {
        self.args.get(at).copied().unwrap_or(0)
    }

    fn word(&self, at: usize) -> u32 {
        self.arg(at) as u32
    }

    /// What it asks.
    pub fn asked(&self) -> Option<Asked> {
        let id = |at: usize| Some(self.word(at)).filter(|id| *id != u32::MAX);
        let place = |dir, path, follow, empty| Place {
            dir,
            path,
            follow,
            empty,
        };
        let descriptor = |at: usize| place(self.word(at) as i32, None, true, true);
        let by_path = |follow| place(CWD, Some(self.arg(0)), follow, false);
        // The directory, the path, and flags.
        let at = |flags: u64| {
            let flags = flags as i32;
            place(
                self.word(0) as i32,
                Some(self.arg(1)),
                flags & libc::AT_SYMLINK_NOFOLLOW == 0,
                flags & libc::AT_EMPTY_PATH != 0,
            )
        };
        let give = |place, uid, gid| Some(Asked::Give(Give { place, uid, gid }));
        match self.number {
            libc::SYS_fchown => give(descriptor(0), id(1), id(2)),
            libc::SYS_fchownat => give(at(self.arg(4)), id(2), id(3)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_chown => give(by_path(true), id(1), id(2)),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_lchown => give(by_path(false), id(1), id(2)),
            libc::SYS_fstat => Some(Asked::Tell(descriptor(0), Told::Stat(self.arg(1)))),
            libc::SYS_newfstatat => Some(Asked::Tell(at(self.arg(3)), Told::Stat(self.arg(2)))),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_stat => Some(Asked::Tell(by_path(true), Told::Stat(self.arg(1)))),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_lstat => Some(Asked::Tell(by_path(false), Told::Stat(self.arg(1)))),
            libc::SYS_statx => {
                let flags = self.arg(2) as i32 & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH);
                let told = Told::Statx(self.arg(4), self.word(3), flags);
                Some(Asked::Tell(at(self.arg(2)), told))
            }
            // In one word a change of group too: where there is one identifier, none other can be taken.
            libc::SYS_setgroups => Some(Asked::Become(true)),
            call if r#become().contains(&number(call)) => {
                let count = match call {
                    libc::SYS_setresuid | libc::SYS_setresgid => 3,
                    libc::SYS_setreuid | libc::SYS_setregid => 2,
                    _ => 1,
                };
                let other = (0..count).any(|at| !matches!(self.word(at), 0 | u32::MAX));
                Some(Asked::Become(other))
            }
            _ => None,
        }
    }

    /// The text at an address of the caller's memory, up to its NUL.
    ///
    /// # Errors
    /// process_vm_readv(2); `ENAMETOOLONG` past `PATH_MAX`.
    pub fn text(&self, address: u64) -> Result<CString, Errno> {
        let mut text = Vec::new();
        let mut at = address;
        while text.len() < libc::PATH_MAX as usize {
            // Up to the end of a page: the next may not be there.
            let step = 4096 - (at % 4096) as usize;
            let mut part = [0u8; 256];
            let part = part.get_mut(..step.min(256)).unwrap_or_default();
            let (local, remote) = (
                libc::iovec {
                    iov_base: part.as_mut_ptr().cast(),
                    iov_len: part.len(),
                },
                libc::iovec {
                    iov_base: at as *mut libc::c_void,
                    iov_len: part.len(),
                },
            );
            // SAFETY: the room is as long as said; the other address is the other process's.
            let got = unsafe {
                libc::process_vm_readv(
                    self.pid as i32,
                    &raw const local,
                    1,
                    &raw const remote,
                    1,
                    0,
                )
            };
            let Ok(got @ 1..) = usize::try_from(got) else {
                return Err(Errno::last());
            };
            let part = part.get(..got).unwrap_or_default();
            if let Some(end) = part.iter().position(|byte| *byte == 0) {
                text.extend_from_slice(part.get(..end).unwrap_or_default());
                return CString::new(text).map_err(|_| Errno(libc::EINVAL));
            }
            text.extend_from_slice(part);
            at = at.wrapping_add(got as u64);
        }
        Err(Errno(libc::ENAMETOOLONG))
    }

    /// Writes into the caller's memory what is told of an open thing, with another owner.
    ///
    /// # Errors
    /// fstat(2), statx(2), process_vm_writev(2).
    pub fn tell(&self, told: Told, of: BorrowedFd<'_>, owner: (u32, u32)) -> Result<(), Errno> {
        let fd = of.as_raw_fd();
        match told {
            Told::Stat(address) => {
                // SAFETY: zero is a valid value of every field.
                let mut stat: libc::stat = unsafe { std::mem::zeroed() };
                // SAFETY: the structure is written only. On 64-bit machines the library's is the kernel's.
                if unsafe { libc::fstat(fd, &raw mut stat) } < 0 {
                    return Err(Errno::last());
                }
                (stat.st_uid, stat.st_gid) = owner;
                self.write(address, (&raw const stat).cast(), size_of::<libc::stat>())
            }
            Told::Statx(address, mask, flags) => {
                // SAFETY: zero is a valid value of every field.
                let mut stat: libc::statx = unsafe { std::mem::zeroed() };
                let flags = flags | libc::AT_EMPTY_PATH;
                // SAFETY: the path ends in NUL, and the structure is written only.
                let done = unsafe { libc::statx(fd, c"".as_ptr(), flags, mask, &raw mut stat) };
                if done < 0 {
                    return Err(Errno::last());
                }
                (stat.stx_uid, stat.stx_gid) = owner;
                self.write(address, (&raw const stat).cast(), size_of::<libc::statx>())
            }
        }
    }

    fn write(&self, address: u64, from: *const u8, length: usize) -> Result<(), Errno> {
        let local = libc::iovec {
            iov_base: from.cast_mut().cast(),
            iov_len: length,
        };
        let remote = libc::iovec {
            iov_base: address as *mut libc::c_void,
            iov_len: length,
        };
        // SAFETY: the caller gives a structure of this length, which is read only.
        let put = unsafe {
            libc::process_vm_writev(
                self.pid as i32,
                &raw const local,
                1,
                &raw const remote,
                1,
                0,
            )
        };
        if usize::try_from(put) == Ok(length) {
            Ok(())
        } else {
            Err(Errno(libc::EFAULT))
        }
    }
}

impl Listener {
    /// What [`crate::child::Op::Listen`] sent.
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Its descriptor, to be kept open.
    pub fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The next call; none when nobody is left who could make one.
    ///
    /// # Errors
    /// poll(2), ioctl(2).
    pub fn next(&self) -> Result<Option<Call>, SysError> {
        loop {
            let mut poll = libc::pollfd {
                fd: self.raw(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one structure, as said.
            let ready = unsafe { libc::poll(&raw mut poll, 1, -1) };
            if ready < 0 {
                let error = SysError::last("poll", "system calls to be answered");
                if error.errno.0 == libc::EINTR {
                    continue;
                }
                return Err(error);
            }
            if poll.revents & libc::POLLIN == 0 {
                return Ok(None);
            }
            let mut asked = Notification::default();
            // SAFETY: the structure is as large as the request says, and zero, as the kernel wants it.
            if unsafe { libc::ioctl(self.raw(), RECV as _, &raw mut asked) } == 0 {
                return Ok(Some(Call {
                    id: asked.id,
                    pid: asked.pid,
                    number: asked.number.into(),
                    args: asked.args,
                }));
            }
            let error = SysError::last("ioctl", "a system call to be answered");
            // The caller was killed meanwhile, or got a signal.
            if !matches!(error.errno.0, libc::ENOENT | libc::EINTR) {
                return Err(error);
            }
        }
    }

    /// Waits for a call or for another descriptor, or for `millis` (-1: without end).
    pub fn wait_beside(&self, other: BorrowedFd<'_>, millis: i32) -> Ready {
        let poll = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut polls = [poll(self.raw()), poll(other.as_raw_fd())];
        // SAFETY: as many structures as said.
        let done = unsafe { libc::poll(polls.as_mut_ptr(), 2, millis) };
        let [own, other] = polls.map(|poll| if done > 0 { poll.revents } else { 0 });
        Ready {
            call: own & libc::POLLIN != 0,
            end: own & libc::POLLIN == 0 && own & libc::POLLHUP != 0,
            other: other != 0,
        }
    }

    /// The call that waits; none when whoever made it is gone.
    ///
    /// # Errors
    /// ioctl(2).
    pub fn take(&self) -> Result<Option<Call>, SysError> {
        let mut asked = Notification::default();
        // SAFETY: the structure is as large as the request says, and zero, as the kernel wants it.
        if unsafe { libc::ioctl(self.raw(), RECV as _, &raw mut asked) } == 0 {
            return Ok(Some(Call {
                id: asked.id,
                pid: asked.pid,
                number: asked.number.into(),
                args: asked.args,
            }));
        }
        let error = SysError::last("ioctl", "a system call to be answered");
        match error.errno.0 {
            libc::ENOENT | libc::EINTR => Ok(None),
            _ => Err(error),
        }
    }

    /// Asks the kernel to run who answers where the caller ran, and back: both wait for each other anyway. Kernels
    /// before 6.6 do not know it.
    pub fn prefer_this_processor(&self) {
        // SAFETY: takes numbers only.
        unsafe { libc::ioctl(self.raw(), SET_FLAGS as _, 1u64) };
    }

    /// Whether the caller still waits: only then what was read by its number was of it.
    pub fn waits(&self, call: &Call) -> bool {
        // SAFETY: the number is read only.
        unsafe { libc::ioctl(self.raw(), VALID as _, &raw const call.id) == 0 }
    }

    /// The call is done, or failed. That the caller is gone is no error.
    pub fn answer(&self, call: &Call, result: Result<(), Errno>) {
        let error = result.err().map_or(0, |errno| -errno.0);
        self.send(call, error, 0);
    }

    /// The kernel does the call.
    pub fn proceed(&self, call: &Call) {
        self.send(call, 0, CONTINUE);
    }

    fn send(&self, call: &Call, error: i32, flags: u32) {
        let response = Response {
            id: call.id,
            value: 0,
            error,
            flags,
        };
        // SAFETY: the structure is as large as the request says, and read only.
        unsafe { libc::ioctl(self.raw(), SEND as _, &raw const response) };
    }
}

mod look;
mod touch;
pub use look::{Eyes, ITS_OWN, Seen};
pub use touch::{About, Address, Touch, Use, sends_datagrams, watch};
