//! jk_uchroot(8): an ordinary user goes into a jail that root's file lists for him; entered through user namespaces instead
//! of a set-uid bit. What the original tells only the log is said here too.

use super::Face;
use super::getopt::{Opt, Order, Reader, Takes, both};
use super::tool::{self, Tool};
use crate::args::high::Surroundings;
use jaula_engine::accounts::uchroot;
use jaula_plan::account::uchroot::UchrootSpec;
use std::ffi::OsString;
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "jk_uchroot",
    of: "jailkit 2.20 to 2.23",
    run,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Help,
    Jail,
    Program,
}

const TABLE: &[Opt<Key>] = &[
    both(b'h', "help", Takes::Nothing, Key::Help),
    both(b'j', "jail", Takes::Required, Key::Jail),
    both(b'x', "exec", Takes::Required, Key::Program),
];

const HELP: &str = "\
Usage: jk_uchroot -j JAIL -x PROGRAM -- [ARGUMENTS]

-j, --jail=JAIL      the jail's directory, one of those that /etc/jailkit/jk_uchroot.ini lists for you
-x, --exec=PROGRAM   the program, by its path in the jail
-h, --help           show this and exit
";

fn run(words: &[OsString]) -> ExitCode {
    let tool = Tool::new("jk_uchroot", 1);
    let mut spec = UchrootSpec::default();
    let mut reader = Reader::new(words, TABLE, Order::First);
    for met in &mut reader {
        match met {
            Ok((Key::Help, _)) => return tool::show(HELP),
            Ok((Key::Jail, argument)) => spec.jail = argument.unwrap_or_default().into(),
            Ok((Key::Program, argument)) => spec.program = argument.unwrap_or_default().into(),
            Err(complaint) => return tool.fail(complaint, 0),
        }
    }
    spec.args = reader.operands();
    match uchroot(&spec, Surroundings::read().io()) {
        Ok(code) => jaula_engine::leave(code),
        Err((code, text)) => tool.end(code, text, 0),
    }
}
