//! Pseudo-terminals (pty(7)) and the terminal of the caller (termios(3)).

use crate::beneath::{self, Fd, Links};
use crate::error::{Errno, SysError};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A new pair in the devpts of a `/dev`: master, slave. The slave comes from the master itself (TIOCGPTPEER), so no
/// path of the jail is trusted.
pub(crate) fn open_in(dev: RawFd) -> Result<(Fd, Fd), Errno> {
    let master = beneath::open_raw(
        dev,
        c"pts/ptmx",
        libc::O_RDWR | libc::O_NOCTTY,
        Links::Refuse,
    )?;
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

/// Whether standard input, output and error are all a terminal.
pub fn stdio_is_terminal() -> bool {
    // SAFETY: takes a number only.
    (0..3).all(|fd| unsafe { libc::isatty(fd) } == 1)
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

fn standard(number: i32, what: &str) -> Result<OwnedFd, SysError> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if fd < 0 {
        return Err(SysError::last("fcntl", what));
    }
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
