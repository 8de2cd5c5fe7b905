//! Following a jail to its end: signals are handed on, a terminal or a pipe is read.

use super::JailError;
pub(super) use super::clock::Clock;
use jaula_sys::process::{readable, release_code, set_nonblocking, wait_for};
use jaula_sys::pty::{self, Raw};
use jaula_sys::signal::{self, Blocked};
use jaula_sys::spawn::Child;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const SIGALRM: i32 = 14;
const SIGTERM: i32 = 15;
const SIGINT: i32 = 2;
const SIGHUP: i32 = 1;
const SIGTSTP: i32 = 20;
const SIGCONT: i32 = 18;
const SIGCHLD: i32 = 17;
const SIGWINCH: i32 = 28;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;
const SIGPIPE: i32 = 13;

/// How long a jail may take before its supervisor gives back the memory that it started with: most are over sooner,
/// and it costs more than their end.
const LONG: i32 = 200;

/// How long to wait for the first thing to happen, and what then.
struct Settling(bool);

impl Settling {
    fn new() -> Self {
        Self(true)
    }

    /// For how many milliseconds; -1 for ever.
    fn millis(&self) -> i32 {
        if self.0 { LONG } else { -1 }
    }

    /// Nothing happened in that time.
    fn settle(&mut self) {
        if std::mem::take(&mut self.0) {
            release_code();
        }
    }
}

/// Whether somebody told this process to end what it supervises: also when that had ended just before.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Whether that happened since this was asked last.
pub(crate) fn told_to_end() -> bool {
    TOLD.swap(false, Ordering::Relaxed)
}

/// Hands a signal on; stops with the jail when told to stop.
fn hand_on(signal: i32, child: &Child, blocked: &Blocked, clock: &Clock) {
    if matches!(signal, SIGTERM | SIGINT) {
        TOLD.store(true, Ordering::Relaxed);
    }
    match signal {
        SIGALRM if clock.runs() => clock.strike(child),
        SIGCHLD | SIGTTIN | SIGTTOU | SIGPIPE | SIGCONT => {}
        SIGTSTP => {
            child.signal(SIGTSTP);
            blocked.stop_self();
            child.signal(SIGCONT);
        }
        other => child.signal(other),
    }
}

/// The jail has the caller's own input and output: nothing to do but wait.
pub(super) fn plain(child: &Child, blocked: &Blocked, clock: &Clock) {
    let mut first = blocked.wait_within(LONG);
    if first.is_none() {
        release_code();
    }
    loop {
        let signal = first.take().unwrap_or_else(|| blocked.wait());
        hand_on(signal, child, blocked, clock);
        // Another child of this process may have ended.
        if signal == SIGCHLD && readable(&[child.pidfd()], 0) != 0 {
            return;
        }
    }
}

/// The jail's output goes to a function.
pub(super) fn captured(
    child: &Child,
    blocked: &Blocked,
    clock: &Clock,
    output: File,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<(), JailError> {
    let signals = blocked.descriptor()?;
    set_nonblocking(output.as_fd())?;
    let mut buffer = vec![0u8; 32 * 1024];
    let mut open = true;
    let mut settling = Settling::new();
    loop {
        let fds = [signals.as_fd(), child.pidfd(), output.as_fd()];
        let fds = fds.get(..if open { 3 } else { 2 }).unwrap_or_default();
        let ready = readable(fds, settling.millis());
        if ready == 0 {
            settling.settle();
        }
        if ready & 1 != 0 {
            while let Some(signal) = signal::next(&signals) {
                hand_on(signal, child, blocked, clock);
            }
        }
        let ended = ready & 2 != 0;
        if ready & 4 != 0 || ended {
            open &= drain(&output, &mut buffer, sink);
        }
        if ended {
            return Ok(());
        }
    }
}

/// Reads what is there; whether more may come.
pub(crate) fn drain(mut from: &File, buffer: &mut [u8], sink: &mut dyn FnMut(&[u8])) -> bool {
    loop {
        match from.read(buffer) {
            Ok(0) => return false,
            Ok(n) => sink(buffer.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            // EIO: no process has the other side of the terminal any more.
            Err(_) => return false,
        }
    }
}

/// The caller's terminal in raw mode, given back on drop and before a panic is told.
pub(crate) struct RawTerminal(Arc<Mutex<Option<Raw>>>);

type Hook = Box<dyn Fn(&std::panic::PanicHookInfo<'_>) + Sync + Send>;

impl RawTerminal {
    pub(crate) fn new(raw: Raw) -> Self {
        let shared = Arc::new(Mutex::new(Some(raw)));
        let inside = Arc::clone(&shared);
        let before: Hook = std::panic::take_hook();
        // The release build aborts on a panic: nothing is dropped then.
        std::panic::set_hook(Box::new(move |info| {
            if let Ok(mut raw) = inside.lock() {
                drop(raw.take());
            }
            before(info);
        }));
        Self(shared)
    }

    pub(crate) fn with(&self, f: impl FnOnce(&Raw)) {
        if let Ok(Some(raw)) = self.0.lock().as_deref() {
            f(raw);
        }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Ok(mut raw) = self.0.lock() {
            drop(raw.take());
        }
    }
}

/// The jail has a terminal of its own; what is typed goes to it, what it shows to the caller's.
pub(super) fn terminal(
    child: &Child,
    blocked: &Blocked,
    clock: &Clock,
    master: OwnedFd,
) -> Result<(), JailError> {
    let stdin = pty::input()?;
    let signals = blocked.descriptor()?;
    pty::copy_size(stdin.as_fd(), master.as_fd());
    // Where input is no terminal (asked for all the same) there is no raw mode to be had.
    let raw = Raw::new(stdin.as_fd()).ok().map(RawTerminal::new);
    set_nonblocking(master.as_fd())?;
    let master = File::from(master);
    // Not through the standard library's buffers: the terminal sees every byte at once.
    let input = File::from(stdin.as_fd().try_clone_to_owned().map_err(follow)?);
    let output = File::from(pty::output()?);
    let mut show = |bytes: &[u8]| {
        // A caller's terminal that is gone sends SIGHUP, which is handed on.
        drop((&output).write_all(bytes));
    };
    let (mut typed, mut buffer) = (Vec::<u8>::new(), vec![0u8; 16 * 1024]);
    let (mut typing, mut open) = (true, true);
    let mut settling = Settling::new();
    loop {
        let pending = !typed.is_empty();
        let none = child.pidfd();
        let fds = [
            signals.as_fd(),
            child.pidfd(),
            if open { master.as_fd() } else { none },
            if typing && !pending {
                input.as_fd()
            } else {
                none
            },
        ];
        let ready = wait_for(&fds, pending.then(|| master.as_fd()), settling.millis());
        if ready == 0 {
            settling.settle();
        }
        if ready & 1 != 0 {
            while let Some(signal) = signal::next(&signals) {
                match signal {
                    SIGWINCH => pty::copy_size(stdin.as_fd(), master.as_fd()),
                    SIGTSTP => {
                        raw.iter().for_each(|raw| raw.with(Raw::leave));
                        hand_on(signal, child, blocked, clock);
                        raw.iter().for_each(|raw| raw.with(|raw| drop(raw.enter())));
                        pty::copy_size(stdin.as_fd(), master.as_fd());
                    }
                    other => hand_on(other, child, blocked, clock),
                }
            }
        }
        let ended = ready & 2 != 0;
        if open && (ready & 4 != 0 || ended) {
            open = drain(&master, &mut buffer, &mut show);
        }
        if ended {
            return Ok(());
        }
        if typing && !pending && ready & 8 != 0 {
            match (&input).read(&mut buffer) {
                Ok(0) => {
                    typing = false;
                    if raw.is_some() {
                        child.signal(SIGHUP);
                    } else {
                        // End of a file or pipe: what a terminal gives for it is Ctrl-D.
                        typed.push(4);
                    }
                }
                Ok(n) => typed.extend_from_slice(buffer.get(..n).unwrap_or_default()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(_) => {
                    typing = false;
                    child.signal(SIGHUP);
                }
            }
        }
        if !typed.is_empty() {
            match (&master).write(&typed) {
                Ok(n) => drop(typed.drain(..n.min(typed.len()))),
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(_) => typed.clear(),
            }
        }
    }
}

fn follow(error: std::io::Error) -> JailError {
    JailError::Follow {
        source: jaula_sys::SysError::io("dup", "the terminal", &error),
    }
}
