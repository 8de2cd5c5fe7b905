//! Attempts that do no harm even where they succeed: what a hostile program would try first, made by a jail's own
//! check of itself. Every call here takes arguments with which the kernel either refuses or changes nothing that
//! lasts; where that cannot be had, it is made in a process that ends at once.

use crate::error::Errno;
use crate::userns;
use std::ffi::CStr;
use std::os::fd::AsRawFd;

/// A system call with arguments that change nothing: its name, its numbers at the native and the 32-bit entry (-1
/// where there is none), its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    native: i64,
    /// At the 32-bit entry.
    other: i64,
    args: [u64; 5],
    /// Made in a process of its own, because success would change this one.
    apart: bool,
}

const NONE: u64 = u64::MAX;
const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;

const fn call(name: &'static str, native: i64, other: i64, args: [u64; 5]) -> Call {
    Call {
        name,
        native,
        other,
        args,
        apart: false,
    }
}

const fn apart(name: &'static str, native: i64, other: i64, args: [u64; 5]) -> Call {
    Call {
        name,
        native,
        other,
        args,
        apart: true,
    }
}

/// Calls that reach the whole machine or much of the kernel, by topic. A jail answers EPERM, ENOSYS or EACCES to
/// each. Numbers: asm/unistd_64.h and asm/unistd_32.h of x86.
#[cfg(target_arch = "x86_64")]
pub const TOPICS: &[(&str, &[Call])] = &[
    (
        "keys",
        &[
            call("add_key", 248, 286, [0; 5]),
            call("request_key", 249, 287, [0; 5]),
            // KEYCTL_GET_KEYRING_ID of the session's, not to be created.
            call("keyctl", 250, 288, [0, NONE - 2, 0, 0, 0]),
        ],
    ),
    ("bpf", &[call("bpf", 321, 357, [NONE >> 33, 0, 0, 0, 0])]),
    (
        "perf",
        &[call("perf_event_open", 298, 336, [0, 0, NONE, NONE, 0])],
    ),
    (
        "userfaultfd",
        &[call("userfaultfd", 323, 374, [0xffff, 0, 0, 0, 0])],
    ),
    (
        "io-uring",
        &[
            call("io_uring_setup", 425, 425, [0; 5]),
            call("io_uring_enter", 426, 426, [NONE, 0, 0, 0, 0]),
            call("io_uring_register", 427, 427, [NONE, NONE, 0, 0, 0]),
        ],
    ),
    (
        "modules",
        &[
            call("init_module", 175, 128, [0; 5]),
            call("finit_module", 313, 350, [NONE, 0, 0, 0, 0]),
            call("delete_module", 176, 129, [0; 5]),
        ],
    ),
    (
        "reboot",
        &[
            call("kexec_load", 246, 283, [0, 0, 0, NONE, 0]),
            call("kexec_file_load", 320, -1, [NONE, NONE, 0, 0, NONE]),
            // Without the magic numbers of reboot(2).
            call("reboot", 169, 88, [0, 0, 0, 0, 0]),
        ],
    ),
    (
        "user-namespaces",
        &[
            apart("unshare", 272, 310, [NEWUSER, 0, 0, 0, 0]),
            // Refused by every kernel for CLONE_FS beside it, but by the filter first.
            call(
                "clone",
                56,
                120,
                [NEWUSER | libc::CLONE_FS as u64, 0, 0, 0, 0],
            ),
            call("clone3", 435, 435, [0; 5]),
        ],
    ),
    ("setns", &[call("setns", 308, 346, [NONE, 0, 0, 0, 0])]),
    (
        "file-handles",
        &[call("open_by_handle_at", 304, 342, [NONE, 0, 0, 0, 0])],
    ),
    (
        "mounts",
        &[
            call("mount", 165, 21, [0; 5]),
            call("umount2", 166, 52, [0; 5]),
            call("pivot_root", 155, 217, [0; 5]),
            call("open_tree", 428, 428, [NONE, 0, 1, 0, 0]),
            call("move_mount", 429, 429, [NONE, 0, NONE, 0, 0]),
            call("fsopen", 430, 430, [0; 5]),
            call("fsmount", 432, 432, [NONE, 0, 0, 0, 0]),
            call("fspick", 433, 433, [NONE, 0, 0, 0, 0]),
            call("mount_setattr", 442, 442, [NONE, 0, 0, 0, 0]),
        ],
    ),
    (
        "clock",
        &[
            call("settimeofday", 164, 79, [0, 0, 0, 0, 0]),
            call("clock_settime", 227, 264, [NONE, 0, 0, 0, 0]),
        ],
    ),
    (
        "swap-and-accounting",
        &[
            // An address where nothing is: NULL would end accounting.
            call("acct", 163, 51, [1, 0, 0, 0, 0]),
            call("swapon", 167, 87, [0; 5]),
            call("swapoff", 168, 115, [0; 5]),
            call("quotactl", 179, 131, [NONE, 0, 0, 0, 0]),
        ],
    ),
    (
        // SYSLOG_ACTION_SIZE_UNREAD of syslog(2).
        "kernel-log",
        &[call("syslog", 103, 103, [9, 0, 0, 0, 0])],
    ),
    (
        "io-ports",
        &[
            call("iopl", 172, 110, [NONE >> 33, 0, 0, 0, 0]),
            call("ioperm", 173, 101, [0, 0, 0, 0, 0]),
        ],
    ),
];

/// None is known for this machine.
#[cfg(not(target_arch = "x86_64"))]
pub const TOPICS: &[(&str, &[Call])] = &[];

/// What the kernel answered.
fn answer(value: i64) -> Result<(), Errno> {
    if (-4095..0).contains(&value) {
        Err(Errno(-value as i32))
    } else {
        Ok(())
    }
}

impl Call {
    /// Makes the call by the native entry.
    ///
    /// # Errors
    /// What the kernel or a filter answers.
    pub fn native(&self) -> Result<(), Errno> {
        let [a, b, c, d, e] = self.args;
        let number = self.native;
        self.made(&mut || {
            // SAFETY: every entry of TOPICS has null pointers, addresses and descriptors where nothing is, or flags
            // that are refused; what could change this process is made in another.
            let result = unsafe { libc::syscall(number, a, b, c, d, e) };
            if result < 0 {
                -i64::from(Errno::last().0)
            } else {
                result
            }
        })
    }

    /// Makes the call by the 32-bit entry; none where there is no such call or no such entry.
    ///
    /// # Errors
    /// What the kernel or a filter answers.
    #[cfg(target_arch = "x86_64")]
    pub fn other(&self) -> Option<Result<(), Errno>> {
        if self.other < 0 {
            return None;
        }
        let [a, b, c, d, e] = self.args;
        let number = self.other;
        Some(self.made(&mut || {
            let result: u64;
            // SAFETY: as above; the kernel takes the low halves of the registers. rbx is not to be named as an
            // operand, so it is exchanged around the call; r8 to r11 are not kept by this entry.
            unsafe {
                std::arch::asm!(
                    "xchg {b}, rbx",
                    "int 0x80",
                    "xchg {b}, rbx",
                    b = inout(reg) a & 0xffff_ffff => _,
                    inlateout("rax") number as u64 => result,
                    in("rcx") b & 0xffff_ffff,
                    in("rdx") c & 0xffff_ffff,
                    in("rsi") d & 0xffff_ffff,
                    in("rdi") e & 0xffff_ffff,
                    out("r8") _,
                    out("r9") _,
                    out("r10") _,
                    out("r11") _,
                );
            }
            i64::from(result as u32 as i32)
        }))
    }

    /// No such entry.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn other(&self) -> Option<Result<(), Errno>> {
        None
    }

    fn made(&self, make: &mut dyn FnMut() -> i64) -> Result<(), Errno> {
        if !self.apart {
            return answer(make());
        }
        // The exit code is the errno, which is less than 256 where it matters.
        apart_from_here(&mut || answer(make()).map_or_else(|errno| errno.0 as u8, |()| 0))
    }
}

/// Runs a function in a process of its own; its code is an errno, 0 is success.
fn apart_from_here(function: &mut dyn FnMut() -> u8) -> Result<(), Errno> {
    let ended = userns::fork(function).and_then(userns::Forked::wait);
    match ended {
        Ok(Some(0)) => Ok(()),
        Ok(Some(code)) => Err(Errno(i32::from(code))),
        // Killed by the filter.
        Ok(None) => Err(Errno(libc::EPERM)),
        Err(error) => Err(error.errno),
    }
}

/// Asks what is no terminal to take a character as typed (TIOCSTI, TIOCLINUX of ioctl_tty(2)), the request with these
/// high bits, which the kernel does not look at. It is a pipe that is asked, so that nothing is typed anywhere.
///
/// # Errors
/// What a filter answers; ENOTTY where none looks, the kernel's own word of a pipe.
pub fn type_into(request: u32, high: u32) -> Result<(), Errno> {
    let (reader, _writer) = std::io::pipe().map_err(|_| Errno::last())?;
    let request = u64::from(high) << 32 | u64::from(request);
    let byte = 0u8;
    // SAFETY: both requests read and write one byte at most.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ioctl,
            reader.as_raw_fd(),
            request,
            &raw const byte,
        )
    };
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(())
    }
}

/// Whether a process can be signalled (signal 0 of kill(2)).
///
/// # Errors
/// What the kernel answers.
pub fn signal(pid: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers only; signal 0 is no signal.
    if unsafe { libc::kill(pid as i32, 0) } < 0 {
        return Err(Errno::last());
    }
    Ok(())
}

/// Whether a process can be traced (PTRACE_SEIZE, which does not stop it, of ptrace(2)); made in a process that ends
/// at once, which lets it go.
///
/// # Errors
/// What the kernel answers.
pub fn trace(pid: u32) -> Result<(), Errno> {
    apart_from_here(&mut || {
        // SAFETY: takes numbers only.
        if unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid as i32, 0usize, 0usize) } < 0 {
            Errno::last().0 as u8
        } else {
            0
        }
    })
}

/// The way out of a plain chroot that root knows: change the root to a directory below while the working directory
/// stays above it, then climb. Made in a process that ends at once.
///
/// Whether the climb ended at another directory than the root it started with.
///
/// # Errors
/// When the root cannot be changed: there is no such way.
pub fn climb_out(below: &CStr) -> Result<bool, Errno> {
    const ELSEWHERE: u8 = 255;
    let climbed = apart_from_here(&mut || {
        let place = || {
            // SAFETY: zero is a valid value of every field.
            let mut stat: libc::stat = unsafe { std::mem::zeroed() };
            // SAFETY: the path ends in NUL and the structure is written only.
            let done = unsafe { libc::stat(c".".as_ptr(), &raw mut stat) };
            (done == 0).then_some((stat.st_dev, stat.st_ino))
        };
        // SAFETY: the paths end in NUL.
        unsafe {
            if libc::chdir(c"/".as_ptr()) < 0 {
                return Errno::last().0 as u8;
            }
            let before = place();
            if libc::chroot(below.as_ptr()) < 0 {
                return Errno::last().0 as u8;
            }
            for _ in 0..64 {
                libc::chdir(c"..".as_ptr());
            }
            if place() == before { 0 } else { ELSEWHERE }
        }
    });
    match climbed {
        Ok(()) => Ok(false),
        Err(Errno(code)) if code == i32::from(ELSEWHERE) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// Makes a character device `number` (major, minor) and opens it; the name is removed again.
///
/// # Errors
/// What the kernel answers to either.
pub fn make_device(path: &CStr, number: (u32, u32)) -> Result<(), Errno> {
    let device = libc::makedev(number.0, number.1);
    // SAFETY: the path ends in NUL.
    unsafe {
        if libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, device) < 0 {
            return Err(Errno::last());
        }
        let fd = libc::open(
            path.as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK,
        );
        let answer = if fd < 0 {
            Err(Errno::last())
        } else {
            libc::close(fd);
            Ok(())
        };
        libc::unlink(path.as_ptr());
        answer
    }
}

/// The session this process is in, as it numbers processes itself; none when its leader is none of them.
pub fn session() -> Option<u32> {
    // SAFETY: takes a number only.
    let sid = unsafe { libc::getsid(0) };
    u32::try_from(sid).ok().filter(|sid| *sid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_entries_answer_what_the_kernel_says_of_what_is_not_there() {
        let bad = call("close", 3, 6, [NONE >> 33, 0, 0, 0, 0]);
        assert_eq!(bad.native(), Err(Errno(libc::EBADF)));
        if let Some(answer) = bad.other() {
            // A kernel without the 32-bit entry ends the process instead; this one has it or the test is not here.
            assert_eq!(answer, Err(Errno(libc::EBADF)));
        }
    }

    #[test]
    fn a_process_can_signal_itself_and_nobody_that_is_not_there() {
        assert_eq!(signal(std::process::id()), Ok(()));
        assert_eq!(signal(0x7fff_fff0), Err(Errno(libc::ESRCH)));
        assert_eq!(trace(0x7fff_fff0), Err(Errno(libc::ESRCH)));
        assert_eq!(type_into(0x5412, 0), Err(Errno(libc::ENOTTY)));
        assert_eq!(type_into(0x541c, 1), Err(Errno(libc::ENOTTY)));
    }

    #[test]
    fn attempts_leave_this_process_as_it_is() {
        let before = std::fs::read_link("/proc/self/ns/user").expect("a namespace");
        for (_, calls) in TOPICS {
            for call in *calls {
                // Whatever the answer: here nothing is kept away.
                assert_ne!(call.native(), Err(Errno(0)));
            }
        }
        assert_eq!(
            std::fs::read_link("/proc/self/ns/user").expect("one"),
            before
        );
    }
}
