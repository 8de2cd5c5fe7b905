//! jk_chrootsh(8): the login shell of jailed users, with its settings and its exit codes; entered through user namespaces
//! instead of a set-uid bit. It says nothing on the terminal.

use super::{Face, login};
use crate::args::high::Surroundings;
use jaula_engine::accounts::{Login, chrootsh_relax, login as enter};
use std::ffi::OsString;
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "jk_chrootsh",
    of: "jailkit 2.20 to 2.23",
    run,
};

/// chroot(2) failed, in the original's words.
const NO_JAIL: u8 = 33;

fn run(words: &[OsString]) -> ExitCode {
    let Some(request) = login::request(words) else {
        return ExitCode::from(1);
    };
    let io = Surroundings::read().io();
    let code = match enter(&request, io, &chrootsh_relax) {
        Login::Ended(code) => code,
        Login::Refused(refusal) => refusal.jailkit_code(),
        Login::Failed(_) | Login::Told(_) => NO_JAIL,
    };
    jaula_engine::leave(code)
}
