//! jk_lsh(8): a shell that only starts what its settings list. It runs inside a jail; `jk_init … jk_lsh` puts it there.

use super::Face;
use jaula_engine::accounts::lsh;
use std::ffi::OsString;
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "jk_lsh",
    of: "jailkit 2.20 to 2.23",
    run,
};

fn run(words: &[OsString]) -> ExitCode {
    let command = match words {
        [option, command] if option == "-c" => command.to_str(),
        _ => None,
    };
    let env: Vec<_> = std::env::vars_os().collect();
    // The original speaks to the log only.
    let (code, _) = lsh(command, &env);
    ExitCode::from(code)
}
