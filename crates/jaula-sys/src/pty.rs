//! Pseudo-terminals (pty(7)) and the terminal of the caller (termios(3)).

use crate::beneath::{self, Fd, Links};
use crate::error::{Errno, SysError};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// A new pair in the devpts of a `/dev`: master, slave. The slave comes from the master itself (TIOCGPTPEER), so no
/// path of the jail is trusted.
pub(crate) fn open_in(dev: RawFd) -> Result<(Fd, Fd), Errno> {
    let master = beneath::open_raw(
        dev,
        c"pts/ptmx",
        libc::O_RDWR | libc::O_NOCTTY,
        Links::Refuse,
    )?;
    slave_of(master)
}

fn slave_of(master: Fd) -> Result<(Fd, Fd), Errno> {
    let unlock = 0i32;
    // SAFETY: TIOCSPTLCK reads an int.
    if unsafe { libc::ioctl(master.0, libc::TIOCSPTLCK, &raw const unlock) } < 0 {
        return Err(Errno::last());
    }
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes numbers only.
    let slave = unsafe { libc::ioctl(master.0, libc::TIOCGPTPEER, flags) };
    if slave < 0 {
        Err(Errno::last())
    } else {
        Ok((master, Fd(slave)))
    }
}

/// A program of the host with a terminal of its own, in a session of its own.
#[derive(Debug)]
pub struct Led(Child);

impl Led {
    /// A new pair of the host's devpts: master, slave.
    ///
    /// # Errors
    /// When there is no `/dev/ptmx` for the caller, or no terminal left.
    pub fn pair() -> Result<(OwnedFd, OwnedFd), SysError> {
        let fail = |errno| SysError {
            call: "open",
            target: "/dev/ptmx".into(),
            errno,
        };
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: the path ends in NUL.
        let master = unsafe { libc::open(c"/dev/ptmx".as_ptr(), flags) };
        if master < 0 {
            return Err(fail(Errno::last()));
        }
        let pair = slave_of(Fd(master)).map_err(fail)?;
        let raw = [pair.0.0, pair.1.0];
        std::mem::forget(pair);
        // SAFETY: both just opened, and owned by nobody else.
        Ok(unsafe { (OwnedFd::from_raw_fd(raw[0]), OwnedFd::from_raw_fd(raw[1])) })
    }

    /// Starts a program that has the terminal `slave` as its input, output and errors, and as the one that its keys'
    /// signals come from.
    ///
    /// # Errors
    /// execve(2)
    pub fn start(mut command: Command, slave: &OwnedFd) -> std::io::Result<Self> {
        command
            .stdin(Stdio::from(slave.try_clone()?))
            .stdout(Stdio::from(slave.try_clone()?))
            .stderr(Stdio::from(slave.try_clone()?));
        // SAFETY: system calls that take numbers only, between fork and exec.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                crate::signal::unblock().map_err(|errno| std::io::Error::from_raw_os_error(errno.0))
            });
        }
        command.spawn().map(Self)
    }

    /// Its process identifier.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal to it and to all that stayed in its process group. That they have ended already is no error.
    pub fn signal(&self, signal: i32) {
        let Ok(group) = i32::try_from(self.0.id()) else {
            return;
        };
        // SAFETY: takes numbers only; it was not waited for, so the number is its.
        unsafe { libc::kill(-group, signal) };
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// waitpid(2)
    pub fn wait(mut self) -> std::io::Result<std::process::ExitStatus> {
        self.0.wait()
    }
}

/// Whether standard input, output and error are all a terminal.
pub fn stdio_is_terminal() -> bool {
    // SAFETY: takes a number only.
    (0..3).all(|fd| unsafe { libc::isatty(fd) } == 1)
}

/// Whether standard input is a terminal that this process may read now: one who runs in the background of a shell would
/// be stopped.
pub fn may_be_typed_to() -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::tcgetpgrp(0) == libc::getpgrp() }
}

/// The caller's terminal in raw mode; as it was again on drop.
pub struct Raw {
    fd: RawFd,
    before: libc::termios,
    raw: libc::termios,
}

impl Raw {
    /// Puts the terminal of a descriptor that outlives this into raw mode.
    pub fn new(fd: BorrowedFd<'_>) -> Result<Self, SysError> {
        let fd = fd.as_raw_fd();
        // SAFETY: zero is a valid value of every field.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: `before` is written only.
        if unsafe { libc::tcgetattr(fd, &raw mut before) } < 0 {
            return Err(SysError::last("tcgetattr", "the terminal"));
        }
        let mut raw = before;
        // SAFETY: changes the structure only.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        let this = Self { fd, before, raw };
        this.enter()?;
        Ok(this)
    }

    /// Into raw mode again, after [`Raw::leave`].
    pub fn enter(&self) -> Result<(), SysError> {
        // SAFETY: the structure is read only.
        if unsafe { libc::tcsetattr(self.fd, libc::TCSADRAIN, &raw const self.raw) } < 0 {
            return Err(SysError::last("tcsetattr", "the terminal"));
        }
        Ok(())
    }

    /// As it was before.
    pub fn leave(&self) {
        // SAFETY: the structure is read only. A terminal that is gone needs nothing restored.
        unsafe { libc::tcsetattr(self.fd, libc::TCSADRAIN, &raw const self.before) };
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.leave();
    }
}

/// How many characters wide the terminal of standard output is; none when it is no terminal or does not tell.
pub fn output_width() -> Option<usize> {
    // SAFETY: zero is a valid value of every field.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: TIOCGWINSZ writes a winsize.
    let told = unsafe { libc::ioctl(1, libc::TIOCGWINSZ, &raw mut size) } == 0;
    told.then(|| usize::from(size.ws_col))
        .filter(|width| *width > 0)
}

/// Gives a terminal the size of another; nothing happens when one of them has none.
pub fn copy_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    // SAFETY: zero is a valid value of every field.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: TIOCGWINSZ writes a winsize, TIOCSWINSZ reads one.
    unsafe {
        if libc::ioctl(from.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) == 0 {
            libc::ioctl(to.as_raw_fd(), libc::TIOCSWINSZ, &raw const size);
        }
    }
}

/// A descriptor of its own for standard input, past all buffers.
pub fn input() -> Result<OwnedFd, SysError> {
    standard(0, "standard input")
}

/// A descriptor of its own for standard output, past all buffers.
pub fn output() -> Result<OwnedFd, SysError> {
    standard(1, "standard output")
}

/// A descriptor of its own for standard error, past all buffers.
pub fn errors() -> Result<OwnedFd, SysError> {
    standard(2, "standard error")
}

fn standard(number: i32, what: &str) -> Result<OwnedFd, SysError> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if fd < 0 {
        return Err(SysError::last("fcntl", what));
    }
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
