//! jk_chrootlaunch(8): a daemon in a jail by chroot(2), as another user. What the original tells only the log is said here.

use super::Face;
use super::getopt::{Opt, Order, Reader, Takes, both};
use super::making;
use super::tool::{self, Stopped, Tool};
use jaula_engine::direct::{self, End, Failure};
use jaula_plan::direct::DirectOp;
use jaula_plan::jailkit::{LaunchSpec, plan_launch};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "jk_chrootlaunch",
    of: "jailkit 2.20 to 2.23",
    run,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Help,
    Number,
    Jail,
    Program,
    User,
    Group,
}

const TABLE: &[Opt<Key>] = &[
    both(b'h', "help", Takes::Nothing, Key::Help),
    both(b'p', "pidfile", Takes::Required, Key::Number),
    both(b'j', "jail", Takes::Required, Key::Jail),
    both(b'x', "exec", Takes::Required, Key::Program),
    both(b'u', "user", Takes::Required, Key::User),
    both(b'g', "group", Takes::Required, Key::Group),
];

const HELP: &str = "\
Usage: jk_chrootlaunch -j JAIL [-u USER] [-g GROUP] [-p FILE] -x PROGRAM -- [ARGUMENTS]

-j, --jail=JAIL      the jail's directory, an absolute path
-x, --exec=PROGRAM   the program, by its path in the jail
-u, --user=USER      a user of this host to run as, by name or number [default: root]
-g, --group=GROUP    a group of this host, by name or number [default: the user's own]
-p, --pidfile=FILE   write the number of the process here
-h, --help           show this and exit

A root directory holds root by nothing: name a user, or take jaula run or jaula service.
";

/// Words that make no sense, as the original ends with them.
const USAGE: u8 = 21;
/// The program could not be executed.
const EXEC: u8 = 31;

fn run(words: &[OsString]) -> ExitCode {
    let tool = Tool::new("jk_chrootlaunch", 1);
    match act(&tool, words) {
        Ok(code) | Err(code) => code,
    }
}

fn act(tool: &Tool, words: &[OsString]) -> Result<ExitCode, Stopped> {
    let mut spec = LaunchSpec::default();
    let mut number = None;
    let mut reader = Reader::new(words, TABLE, Order::First);
    for met in &mut reader {
        let (key, argument) = met.map_err(|complaint| tool.end(USAGE, complaint, 0))?;
        let argument = argument.unwrap_or_default();
        let text = || argument.to_string_lossy().into_owned();
        match key {
            Key::Help => return Err(tool::show(HELP)),
            Key::Number => number = Some(PathBuf::from(argument)),
            Key::Jail => spec.jail = argument.into(),
            Key::Program => spec.program = argument.into(),
            Key::User => spec.user = Some(text()),
            Key::Group => spec.group = Some(text()),
        }
    }
    spec.args = reader.operands();
    let spec = spec
        .checked()
        .map_err(|refusal| tool.end(refusal.code(), &refusal, 0))?;
    let facts = direct::probe_launch(&spec);
    let facts = facts.map_err(|error| tool.fail(making::line(&error), 0))?;
    let plan = plan_launch(&spec, &facts);
    let plan = plan.map_err(|refusal| tool.end(refusal.code(), &refusal, 0))?;
    let written = number.map(|path| direct::write_number(&path)).transpose();
    let written = written.map_err(|error| tool.fail(making::line(&error), 0))?;
    let failure = match direct::apply(&plan, &mut |_| ()) {
        // Nothing is forked.
        Ok(End::Exited(_) | End::Survived(_)) => return Ok(ExitCode::SUCCESS),
        Err(failure) => failure,
    };
    // No daemon has this number.
    if let Some(written) = written {
        written.take_back();
    }
    let (code, errno) = match &failure {
        Failure::Exec { errno, .. } => (EXEC, *errno),
        Failure::Step { op, errno, .. } => (code_of(op), *errno),
        _ => (tool.failure, 0),
    };
    let jail = jaula_plan::explain::shown(&spec.jail);
    let text = match &failure {
        Failure::Exec { name, .. } => format!(
            "cannot execute {} in the jail {jail}",
            jaula_plan::explain::shown(name.as_ref())
        ),
        Failure::Step { op, .. } => format!("cannot {op}"),
        other => other.to_string(),
    };
    Err(tool.end(code, text, errno))
}

/// The original's codes for the steps of leaving.
fn code_of(op: &DirectOp) -> u8 {
    match op {
        DirectOp::Chdir(_) => 33,
        DirectOp::Chroot(_) => 35,
        DirectOp::SetUid(_) => 39,
        _ => 37,
    }
}
