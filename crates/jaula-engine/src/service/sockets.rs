//! What jk_socketd(8) does: sockets in jails whose lines go on to the host's log, so many bytes in a time. Who writes more
//! waits, for nobody reads meanwhile.

use crate::error::{At, PathError};
use crate::minimal::unsafe_parts;
use jaula_plan::jailkit::LogSocket;
use jaula_plan::minimal::Unsafe;
use jaula_plan::service::{Bucket, Flow};
use jaula_sys::confine::{Kept, confine};
use jaula_sys::detach::detach;
use jaula_sys::{SysError, process};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Where the host's log listens (syslog(3)).
const LOG: &str = "/dev/log";
/// The longest line; syslog(3) and its readers cut at less.
const LINE: usize = 8192;
/// daemon.notice and daemon.warning (RFC 3164).
const NOTICE: u8 = 3 << 3 | 5;
const WARNING: u8 = 3 << 3 | 4;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum SocketsFailure {
    /// The host's log.
    #[error("cannot reach the log at {LOG}")]
    Log(#[source] std::io::Error),
    /// A file.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Something else is where the socket is to be.
    #[error("{} is there already and is not a socket", jaula_plan::explain::shown(.0))]
    Taken(PathBuf),
    /// Others could have it made elsewhere.
    #[error("cannot make {}: {reason}", jaula_plan::explain::shown(.path))]
    Unsafe {
        /// The socket.
        path: PathBuf,
        /// What is wrong on the way to it.
        reason: Unsafe,
    },
    /// The kernel.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// The process in the background says so.
    #[error("{0}")]
    Said(String),
}

/// Serves them until it is ended: in this process, or in one of its own, whose number is written first. The sockets are
/// opened by who calls, all else is done by nobody.
///
/// # Errors
/// When one of them cannot be opened; none is served then.
pub fn serve_sockets(
    sockets: &[LogSocket],
    number: Option<&Path>,
    background: bool,
) -> Result<(), SocketsFailure> {
    if !background {
        let open = open(sockets, number)?;
        relay(&open);
        return Ok(());
    }
    let nothing = File::open("/dev/null").at("open", Path::new("/dev/null"))?;
    let pipe = Path::new("a pipe to a process");
    let (mut answer, report) = std::io::pipe().at("make", pipe)?;
    let mut serve = |mut report: File| match open(sockets, number) {
        Ok(open) => {
            drop(report.write_all(b"!"));
            drop(report);
            relay(&open);
            0
        }
        Err(error) => {
            drop(report.write_all(crate::named::chain(&error).as_bytes()));
            1
        }
    };
    detach(nothing.as_fd(), report.as_fd(), &mut serve).at("start", pipe)?;
    drop(report);
    let mut first = [0; 1024];
    let length = answer.read(&mut first).at("read", pipe)?;
    match first.get(..length) {
        Some(b"!") => Ok(()),
        said => {
            let text = String::from_utf8_lossy(said.unwrap_or_default());
            let text = text.chars().filter(|c| !c.is_control()).collect();
            Err(SocketsFailure::Said(text))
        }
    }
}

struct Open {
    sockets: Vec<(UnixDatagram, PathBuf, Flow)>,
    log: Mutex<UnixDatagram>,
}

fn open(sockets: &[LogSocket], number: Option<&Path>) -> Result<Open, SocketsFailure> {
    let log = connected().map_err(SocketsFailure::Log)?;
    // Everybody in the jail may write.
    process::set_umask(0o111);
    let mut opened = Vec::new();
    for LogSocket { path, flow } in sockets {
        let dir = path.parent().unwrap_or(path);
        if let Some(reason) = unsafe_parts(dir)?.into_iter().next() {
            return Err(SocketsFailure::Unsafe {
                path: path.clone(),
                reason,
            });
        }
        match path.symlink_metadata() {
            Ok(meta) if meta.file_type().is_socket() => {
                std::fs::remove_file(path).at("remove", path)?;
            }
            Ok(_) => return Err(SocketsFailure::Taken(path.clone())),
            Err(_) => {}
        }
        let socket = UnixDatagram::bind(path).at("make", path)?;
        opened.push((socket, path.clone(), *flow));
    }
    process::set_umask(0o022);
    if let Some(path) = number {
        drop(crate::direct::write_number(path)?);
    }
    confine(&Kept::default())?;
    Ok(Open {
        sockets: opened,
        log: Mutex::new(log),
    })
}

fn connected() -> std::io::Result<UnixDatagram> {
    let log = UnixDatagram::unbound()?;
    log.connect(LOG)?;
    Ok(log)
}

fn relay(open: &Open) {
    let began = Instant::now();
    std::thread::scope(|threads| {
        for (socket, path, flow) in &open.sockets {
            threads.spawn(move || lines(open, socket, path, *flow, began));
        }
    });
}

/// Hands on what comes.
fn lines(open: &Open, socket: &UnixDatagram, path: &Path, flow: Flow, began: Instant) {
    let shown = jaula_plan::explain::shown(path);
    let seconds = flow.interval.as_secs_f64();
    let text = format!(
        "listening on socket {shown} with rates [{}:{}]/{seconds:.6}",
        flow.base, flow.peak
    );
    say(open, NOTICE, &text);
    let mut bucket = Bucket::new(flow, began.elapsed());
    let mut line = vec![0; LINE];
    loop {
        let Ok(length) = socket.recv(&mut line) else {
            // It is the only one of its kind that can fail: without memory for it.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        send(open, line.get(..length).unwrap_or_default());
        if let Some(wait) = bucket.take(length, began.elapsed()) {
            let text = format!("device {shown} is writing too much, it waits");
            say(open, WARNING, &text);
            std::thread::sleep(wait);
        }
    }
}

fn say(open: &Open, priority: u8, text: &str) {
    let id = std::process::id();
    send(
        open,
        format!("<{priority}>jk_socketd[{id}]: {text}").as_bytes(),
    );
}

/// The log may be another one by now, as after an update of its program: it is looked for again.
fn send(open: &Open, line: &[u8]) {
    let Ok(mut log) = open.log.lock() else { return };
    if log.send(line).is_err()
        && let Ok(fresh) = connected()
    {
        drop(fresh.send(line));
        *log = fresh;
    }
}
