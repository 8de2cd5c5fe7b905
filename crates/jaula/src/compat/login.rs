//! The login shell of users who live in jails, as sshd(8), su(1) and login(1) start it: without words, or with
//! `-c COMMAND`. It has no right of its own.

use crate::args::high::Surroundings;
use crate::output::{clean, write_stderr};
use jaula_engine::accounts::{Login, login};
use jaula_plan::account::LOGIN;
use jaula_plan::account::login::{LoginRequest, Relax};
use std::ffi::OsString;
use std::process::ExitCode;

/// The exit code of a login that does not come to be.
const REFUSED: u8 = 125;

/// What is said of a login whose user is not told why.
pub const SILENT: &str = "the login is refused; the system's log says why";

/// What is asked for; none when the words are none of a login shell's.
pub fn request(words: &[OsString]) -> Option<LoginRequest> {
    let mut request = LoginRequest {
        command: None,
        env: std::env::vars_os().collect(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("-l" | "--login" | "-i") => {}
            Some("-c") if request.command.is_none() => {
                request.command = Some(words.next()?.clone())
            }
            _ => return None,
        }
    }
    Some(request)
}

/// Lets the user in.
pub fn run(words: &[OsString]) -> ExitCode {
    let Some(request) = request(words) else {
        write_stderr(&format!(
            "{LOGIN}: a login shell takes -c COMMAND and nothing else\n"
        ));
        return ExitCode::from(REFUSED);
    };
    let io = Surroundings::read().io();
    let (code, said) = match login(&request, io, &|_, _| Ok(Relax::default())) {
        Login::Ended(code) => (code, None),
        Login::Refused(refusal) if refusal.is_told() => (REFUSED, Some(refusal.to_string())),
        Login::Told(Some(text)) => (REFUSED, Some(text)),
        Login::Refused(_) | Login::Failed(_) | Login::Told(None) => {
            (REFUSED, Some(SILENT.to_owned()))
        }
    };
    if let Some(said) = said {
        write_stderr(&format!("{LOGIN}: {}\n", clean(&said)));
    }
    jaula_engine::leave(code)
}
