//! jaula: makes, isolates, connects, shares and exports jails. This is the command line: it reads arguments, asks
//! the engine, prints. It decides nothing about the host.
#![forbid(unsafe_code)]

mod args;
mod bars;
mod cmd;
mod compat;
mod error;
mod output;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let (argv0, rest) = match words.split_first() {
        Some((argv0, rest)) => (argv0.clone(), rest),
        None => (OsString::from("jaula"), &[][..]),
    };
    match compat::called(&argv0, rest) {
        Some((face, words)) => (face.run)(words),
        None => ExitCode::from(cmd::dispatch(rest)),
    }
}
