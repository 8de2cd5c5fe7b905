//! jk_socketd(8): sockets in jails whose lines go on to the host's log, so many bytes in a time.

use super::Face;
use super::getopt::{Opt, Order, Reader, Takes, both, long};
use super::making;
use super::tool::{self, Stopped, Tool};
use jaula_engine::service::serve_sockets;
use jaula_plan::jailkit::LogSocket;
use jaula_plan::service::Flow;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "jk_socketd",
    of: "jailkit 2.20 to 2.23",
    run,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Help,
    Stay,
    Number,
    Socket,
    Base,
    Peak,
    Interval,
}

const TABLE: &[Opt<Key>] = &[
    both(b'h', "help", Takes::Nothing, Key::Help),
    both(b'n', "nodetach", Takes::Nothing, Key::Stay),
    both(b'p', "pidfile", Takes::Required, Key::Number),
    long("socket", Takes::Required, Key::Socket),
    long("base", Takes::Required, Key::Base),
    long("peak", Takes::Required, Key::Peak),
    long("peek", Takes::Required, Key::Peak),
    long("interval", Takes::Required, Key::Interval),
];

const HELP: &str = "\
Usage: jk_socketd [-n] [-p FILE] [--socket=PATH [--base=BYTES] [--peak=BYTES] [--interval=SECONDS]]

-n, --nodetach      stay in the foreground
-p, --pidfile=FILE  write the number of the process here
    --socket=PATH   this socket, and none of /etc/jailkit/jk_socketd.ini
    --base=BYTES    so many bytes in an interval, 10 to 1000000 [default: 511]
    --peak=BYTES    so many after an interval with less than the base, 100 to 10000000 [default: 2048]
    --interval=SECONDS  0.01 to 60 [default: 5]
-h, --help          show this and exit
";

const INI: &str = "/etc/jailkit/jk_socketd.ini";
/// A file of settings is never longer.
const MOST: u64 = 1 << 20;

fn run(words: &[OsString]) -> ExitCode {
    let tool = Tool::new("jk_socketd", 1);
    match act(&tool, words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn act(tool: &Tool, words: &[OsString]) -> Result<(), Stopped> {
    let (mut stay, mut number, mut socket) = (false, None, None);
    let (mut base, mut peak, mut interval) = (None, None, None);
    let mut reader = Reader::new(words, TABLE, Order::First);
    for met in &mut reader {
        let (key, argument) = met.map_err(|complaint| tool.fail(complaint, 0))?;
        let argument = argument.unwrap_or_default();
        let text = || Some(argument.to_string_lossy().into_owned());
        match key {
            Key::Help => return Err(tool::show(HELP)),
            Key::Stay => stay = true,
            Key::Number => number = Some(PathBuf::from(&argument)),
            Key::Socket => socket = text(),
            Key::Base => base = text(),
            Key::Peak => peak = text(),
            Key::Interval => interval = text(),
        }
    }
    let sockets = match socket {
        Some(path) => {
            let flow = Flow::parse(base.as_deref(), peak.as_deref(), interval.as_deref());
            let flow = flow.map_err(|error| tool.fail(error, 0))?;
            vec![LogSocket::new(&path, flow).map_err(|error| tool.fail(error, 0))?]
        }
        None => {
            let bytes = read().map_err(|error| tool.fail(format_args!("{INI}: {error}"), 0))?;
            LogSocket::read(&bytes).map_err(|error| tool.fail(format_args!("{INI}: {error}"), 0))?
        }
    };
    let served = serve_sockets(&sockets, number.as_deref(), !stay);
    served.map_err(|error| tool.fail(making::line(&error), 0))
}

fn read() -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(INI)?;
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
