//! How this process was started. Before `main` the standard library changes two things that a program which is
//! executed in its place would inherit: it ignores SIGPIPE, and opens `/dev/null` where one of the first three
//! descriptors was closed.

use std::sync::atomic::{AtomicU8, Ordering};

const PIPE_IGNORED: u8 = 1 << 3;

/// Bits 0 to 2: the descriptor was closed.
static WAS: AtomicU8 = AtomicU8::new(0);

/// Runs before the standard library's own start (System V ABI, "Initialization and Termination Functions").
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let mut was = 0;
    // SAFETY: zero is a valid value of every field.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: `action` is written only; the descriptors are numbers.
    unsafe {
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut action);
        for fd in 0..3 {
            if libc::fcntl(fd, libc::F_GETFD) < 0 {
                was |= 1 << fd;
            }
        }
    }
    if action.sa_sigaction == libc::SIG_IGN {
        was |= PIPE_IGNORED;
    }
    WAS.store(was, Ordering::Relaxed);
}

/// Gives back to SIGPIPE and the first three descriptors what they were. For a process that is about to become
/// another program.
pub(crate) fn as_it_was() {
    let was = WAS.load(Ordering::Relaxed);
    // SAFETY: the dispositions are constants; the descriptors are the standard library's `/dev/null`.
    unsafe {
        if was & PIPE_IGNORED == 0 {
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        }
        for fd in 0..3 {
            if was & (1 << fd) != 0 {
                libc::close(fd);
            }
        }
    }
}
