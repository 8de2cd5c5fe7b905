//! A hook that is started from a terminal has one: its own, so that what runs in the tree by it cannot type into the
//! user's. What is typed goes there, and what it shows to standard error, as with mmdebstrap(1): standard output may be an
//! archive.

use crate::configure::Log;
use crate::event::Silent;
use crate::jail::supervise::{RawTerminal, drain};
use jaula_sys::SysError;
use jaula_sys::process::{pidfd, set_nonblocking, wait_for};
use jaula_sys::pty::{self, Led, Raw};
use jaula_sys::signal::{self, Blocked};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, ExitStatus};

const SIGHUP: i32 = 1;
const SIGWINCH: i32 = 28;
/// Those that end it. Others are none of its business.
const HANDED_ON: [i32; 4] = [SIGHUP, 2, 3, 15];

/// A new terminal, and the user's.
pub struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
    input: OwnedFd,
    output: OwnedFd,
}

impl Terminal {
    /// Of the size that the user's has.
    ///
    /// # Errors
    /// When the host has none left.
    pub fn open() -> Result<Self, SysError> {
        let (master, slave) = Led::pair()?;
        let (input, output) = (pty::input()?, pty::errors()?);
        pty::copy_size(input.as_fd(), master.as_fd());
        Ok(Self {
            master,
            slave,
            input,
            output,
        })
    }

    /// Runs what is made, by itself or by a shell (said by the argument): how it ended, and the last lines.
    ///
    /// # Errors
    /// It cannot be started or followed.
    pub fn run(self, make: &dyn Fn(bool) -> Command) -> std::io::Result<(ExitStatus, Vec<String>)> {
        let blocked = Blocked::new().map_err(std::io::Error::other)?;
        let led = super::or_by_a_shell(&|shell| Led::start(make(shell), &self.slave))?;
        let mut log = Log::new(&Silent);
        self.follow(&led, &blocked, &mut log)
            .map_err(std::io::Error::other)?;
        let status = led.wait()?;
        drop(blocked);
        log.end();
        Ok((status, log.tail()))
    }

    fn follow(self, led: &Led, blocked: &Blocked, log: &mut Log<'_>) -> Result<(), SysError> {
        let ended = pidfd(led.pid())?;
        let signals = blocked.descriptor()?;
        // The other side is the program's alone, so that its end is seen.
        drop(self.slave);
        let raw = Raw::new(self.input.as_fd()).ok().map(RawTerminal::new);
        set_nonblocking(self.master.as_fd())?;
        let (master, input) = (File::from(self.master), File::from(self.input));
        let mut output = File::from(self.output);
        let mut show = |bytes: &[u8]| {
            // A terminal that is gone sends SIGHUP, which is handed on.
            drop(output.write_all(bytes));
            log.hear(bytes);
        };
        let (mut typed, mut buffer) = (Vec::new(), vec![0u8; 16 * 1024]);
        let (mut typing, mut open) = (true, true);
        loop {
            let none = ended.as_fd();
            let waits = typing && typed.is_empty();
            let fds = [
                signals.as_fd(),
                ended.as_fd(),
                if open { master.as_fd() } else { none },
                if waits { input.as_fd() } else { none },
            ];
            let ready = wait_for(&fds, (!typed.is_empty()).then(|| master.as_fd()), -1);
            while let Some(signal) = (ready & 1 != 0).then(|| signal::next(&signals)).flatten() {
                match signal {
                    SIGWINCH => pty::copy_size(input.as_fd(), master.as_fd()),
                    other if HANDED_ON.contains(&other) => led.signal(other),
                    _ => {}
                }
            }
            let is_over = ready & 2 != 0;
            if open && (ready & 4 != 0 || is_over) {
                open = drain(&master, &mut buffer, &mut show);
            }
            if is_over {
                drop(raw);
                return Ok(());
            }
            if waits && ready & 8 != 0 {
                match (&input).read(&mut buffer) {
                    Ok(0) => {
                        typing = false;
                        led.signal(SIGHUP);
                    }
                    Ok(count) => typed.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                    Err(error) if again(&error) => {}
                    // Somebody else is typed to by now.
                    Err(_) => typing = false,
                }
            }
            if !typed.is_empty() {
                match (&master).write(&typed) {
                    Ok(count) => drop(typed.drain(..count.min(typed.len()))),
                    Err(error) if again(&error) => {}
                    Err(_) => typed.clear(),
                }
            }
        }
    }
}

fn again(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}
