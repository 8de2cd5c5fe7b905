//! The login shell's side: it hands its input, output and errors over, passes signals on, and waits.

use super::super::login::Login;
use super::super::look::namespaces_refused;
use super::ended;
use crate::jail::supervise::RawTerminal;
use crate::outcome::Io;
use jaula_plan::account::entry::{ANSWER, Answer, SOCKET, request, signal_bytes};
use jaula_plan::account::login::LoginRequest;
use jaula_sys::SysError;
use jaula_sys::peer::{self, Peer};
use jaula_sys::process::readable;
use jaula_sys::pty::{self, Raw};
use jaula_sys::signal::{self, Blocked};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

const SIGTSTP: i32 = 20;
const SIGCONT: i32 = 18;
const SIGWINCH: i32 = 28;
const EAGAIN: i32 = 11;

/// Whether there is such a service.
pub(in super::super) fn is_there() -> bool {
    Path::new(SOCKET).symlink_metadata().is_ok()
}

/// Whether a namespace of one's own need not be tried: the kernel's settings refuse it, and there is such a service.
pub(in super::super) fn stands_in() -> bool {
    is_there() && namespaces_refused().is_some_and(|why| !why.contains("apparmor"))
}

/// Asks it, and follows the session to its end.
pub(in super::super) fn ask(login: &LoginRequest, io: Io<'_>) -> Login {
    match session(login, io) {
        Ok(Answer::Ended(code)) => Login::Ended(code),
        Ok(Answer::Refused(told)) => Login::Told(told),
        Err(error) => Login::Failed(error.to_string()),
    }
}

fn session(login: &LoginRequest, io: Io<'_>) -> Result<Answer, SysError> {
    let Ok(bytes) = request(login) else {
        return Ok(Answer::Refused(Some("the command is too long".to_owned())));
    };
    let socket = peer::connect(Path::new(SOCKET))?;
    // Nobody but root is handed a terminal.
    if Peer::of(socket.as_fd())?.uid != 0 {
        return Ok(Answer::Refused(None));
    }
    let (input, output, errors) = (pty::input()?, pty::output()?, pty::errors()?);
    let terminal = matches!(io, Io::Pty);
    let blocked = Blocked::new()?;
    let signals = blocked.descriptor()?;
    peer::send(
        socket.as_fd(),
        &bytes,
        &[input.as_fd(), output.as_fd(), errors.as_fd()],
    )?;
    // Given back as it is now, whatever becomes of who has it meanwhile.
    let raw = terminal.then(|| Raw::new(input.as_fd()).ok().map(RawTerminal::new));
    let raw = raw.flatten();
    loop {
        let ready = readable(&[signals.as_fd(), socket.as_fd()], -1);
        if ready & 1 != 0 {
            while let Some(number) = signal::next(&signals) {
                hand_on(number, socket.as_fd(), &blocked, raw.as_ref());
            }
        }
        if ready & 2 == 0 {
            continue;
        }
        match peer::receive(socket.as_fd(), ANSWER) {
            Ok((bytes, _)) => return Ok(Answer::read(&bytes).unwrap_or_else(ended)),
            Err(error) if error.errno.0 == EAGAIN => {}
            Err(_) => return Ok(ended()),
        }
    }
}

fn hand_on(number: i32, socket: BorrowedFd<'_>, blocked: &Blocked, raw: Option<&RawTerminal>) {
    let tell = |number| {
        if let Some(bytes) = signal_bytes(number) {
            // Who does not read them has ended, which is seen next.
            drop(peer::send(socket, &bytes, &[]));
        }
    };
    match number {
        // A terminal that goes on tells this process, too.
        SIGCONT => {}
        SIGTSTP => {
            tell(SIGTSTP);
            raw.iter().for_each(|raw| raw.with(Raw::leave));
            blocked.stop_self();
            raw.iter().for_each(|raw| raw.with(|raw| drop(raw.enter())));
            tell(SIGCONT);
            tell(SIGWINCH);
        }
        other => tell(other),
    }
}
