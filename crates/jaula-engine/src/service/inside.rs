//! The first process of a service, in the jail: makes what the service expects to find, starts it, hands signals on,
//! and passes its lines out, those of its log files and of the jail's `/dev/log` too.

use super::ServiceSpec;
use crate::descendants;
use jaula_plan::service::{Bucket, Flow, Known, known};
use jaula_sys::dir::{Dir, Kind};
use jaula_sys::direct;
use jaula_sys::observe;
use jaula_sys::process::{self, readable};
use jaula_sys::signal::{self, Blocked};
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The most log files that are passed on.
const MOST_LOGS: usize = 5;
/// Where programs send their messages (syslog(3)).
const DEV_LOG: &str = "/dev/log";
/// The longest line.
const LINE: usize = 8192;
/// What passes when nothing is said: a flood of lines costs the host something.
const PLENTY: Flow = Flow {
    base: 1 << 20,
    peak: 8 << 20,
    interval: Duration::from_secs(1),
};
/// Datagrams of one socket that are read at once, so that signals have their turn.
const AT_ONCE: usize = 256;

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;
const SIGUSR1: i32 = 10;
const SIGUSR2: i32 = 12;
const SIGTERM: i32 = 15;
/// What this process gets when the one that started it ends: nobody else sends it.
const SIGPWR: i32 = 30;
/// How long the end of what a service has left is waited for: what is killed is gone at once, but in a full jail.
const GONE: Duration = Duration::from_secs(5);

/// A log file of the service's that is a pipe.
struct Log {
    file: File,
    /// What came after the last end of a line.
    rest: Vec<u8>,
}

/// Runs the service; its exit code. `told` gets a byte when somebody asked for its end. `output` is where lines go.
pub(super) fn serve(spec: &ServiceSpec, told: &mut dyn FnMut(), output: &mut dyn Write) -> u8 {
    let Ok(blocked) = Blocked::new() else {
        return 125;
    };
    let Ok(signals) = blocked.descriptor() else {
        return 125;
    };
    // The jail may go on for others: all that the service starts has to end with it, and with who watches over it.
    observe::adopt();
    // Its number is 0 when it is outside of the jail, and 1 when the jail's first process has taken its place.
    let parent = parent_id();
    if direct::on_parents_death(SIGPWR).is_err() || parent_id() != parent || parent == 1 {
        return 125;
    }
    let spec = &completed(spec);
    if spec.command.is_empty() {
        say(
            output,
            b"there is none of the known services in this jail: name a command",
        );
        return 127;
    }
    for dir in &spec.dirs {
        // One that cannot be made is missed by the service itself, which says it better.
        fs::create_dir_all(dir).ok();
    }
    let mut logs: Vec<Log> = spec
        .logs
        .iter()
        .take(MOST_LOGS)
        .filter_map(|path| pipe(path))
        .collect();
    let socket = spec.relay.then(relay).flatten();
    let code = watched(spec, &signals, socket.as_ref(), &mut logs, told, output);
    descendants::end(GONE);
    if socket.is_some() {
        fs::remove_file(DEV_LOG).ok();
    }
    code
}

fn watched(
    spec: &ServiceSpec,
    signals: &OwnedFd,
    socket: Option<&UnixDatagram>,
    logs: &mut Vec<Log>,
    told: &mut dyn FnMut(),
    output: &mut dyn Write,
) -> u8 {
    let child = match start(spec) {
        Ok((pid, output)) => {
            logs.push(output);
            pid
        }
        Err(code) => return code,
    };
    let began = Instant::now();
    let mut watch = Watch {
        child,
        spec,
        bucket: Bucket::new(spec.flow.unwrap_or(PLENTY), Duration::ZERO),
        began,
        kill: None,
        quiet_until: None,
        code: None,
    };
    loop {
        let mut fds: Vec<BorrowedFd<'_>> = vec![signals.as_fd()];
        let now = Instant::now();
        let open = watch.quiet_until.is_none_or(|until| until <= now);
        if open {
            watch.quiet_until = None;
            fds.extend(socket.map(|socket| socket.as_fd()));
            fds.extend(logs.iter().map(|log| log.file.as_fd()));
        }
        let ready = readable(&fds, watch.wait());
        drop(fds);
        if open {
            if let Some(socket) = socket {
                watch.datagrams(socket, output);
            }
            logs.retain_mut(|log| watch.lines(log, output));
        }
        if ready & 1 != 0 {
            while let Some(signal) = signal::next(signals) {
                if signal == SIGPWR {
                    // Nobody is left who would be told how it ends, or read its lines.
                    return 128 + 9;
                }
                watch.signal(signal, told);
            }
        }
        watch.late();
        if let Some(code) = watch.ended() {
            descendants::end(GONE);
            if let Some(socket) = socket {
                watch.datagrams(socket, output);
            }
            for log in logs.iter_mut() {
                watch.lines(log, output);
                if !log.rest.is_empty() {
                    say(output, &std::mem::take(&mut log.rest));
                }
            }
            return code;
        }
    }
}

/// With what the table of services knows about the command, or about what the jail has.
fn completed(spec: &ServiceSpec) -> ServiceSpec {
    let mut spec = spec.clone();
    let mut all = known().unwrap_or_default().into_values();
    let typed = spec
        .command
        .first()
        .map(|word| Path::new(word).file_name().unwrap_or_default().to_owned());
    let found = match &typed {
        Some(name) => all.find(|known| known.program.file_name() == Some(name)),
        None => all.find(|known| known.program.is_file()),
    };
    let Some(known) = found else { return spec };
    if spec.command.is_empty() {
        spec.command = known.command.iter().map(OsString::from).collect();
    }
    spec.reload = spec.reload.or_else(|| Known::number(&known.reload));
    spec.stop = spec.stop.or_else(|| Known::number(&known.stop));
    spec.dirs.extend(known.dirs);
    spec.logs.extend(known.logs);
    spec
}

/// A log file as a pipe whose lines are passed on; none where something else is already, or it cannot be made.
fn pipe(path: &Path) -> Option<Log> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).ok();
    }
    match path.symlink_metadata() {
        Ok(found) if found.file_type().is_fifo() => {}
        // What was written before is kept aside.
        Ok(found) if found.is_file() && found.len() == 0 => fs::remove_file(path).ok()?,
        Ok(_) => return None,
        Err(_) => {}
    }
    if path.symlink_metadata().is_err() {
        let dir = Dir::open(path.parent()?).ok()?;
        dir.make_node(path.file_name()?, Kind::Fifo, 0o620, (0, 0))
            .ok()?;
    }
    // Both ways: so it is never at its end, and opening it waits for nobody (fifo(7)).
    const O_NONBLOCK: i32 = 0o4000;
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(O_NONBLOCK)
        .open(path)
        .ok()?;
    // What was there may have been replaced meanwhile.
    file.metadata().ok()?.file_type().is_fifo().then_some(Log {
        file,
        rest: Vec::new(),
    })
}

/// The jail's `/dev/log`; none where somebody has it, or it cannot be made.
fn relay() -> Option<UnixDatagram> {
    let path = Path::new(DEV_LOG);
    if let Ok(found) = path.symlink_metadata() {
        // One that was left by the run before.
        if !found.file_type().is_socket() {
            return None;
        }
        fs::remove_file(path).ok()?;
    }
    let socket = UnixDatagram::bind(path).ok()?;
    socket.set_nonblocking(true).ok()?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).ok();
    Some(socket)
}

/// Starts the program: its process, and what it writes.
fn start(spec: &ServiceSpec) -> Result<(i32, Log), u8> {
    let strings = |words: &[OsString]| -> Option<Vec<CString>> {
        words
            .iter()
            .map(|word| CString::new(word.as_bytes()).ok())
            .collect()
    };
    let args = strings(&spec.command).ok_or(125u8)?;
    let program = spec.command.first().ok_or(125u8)?;
    let path = spec
        .env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(OsStr::new("/usr/sbin:/usr/bin:/sbin:/bin"), |(_, value)| {
            value
        });
    let paths: Vec<PathBuf> = match program.as_bytes().contains(&b'/') {
        true => vec![program.into()],
        false => path
            .as_bytes()
            .split(|byte| *byte == b':')
            .filter(|dir| !dir.is_empty())
            .map(|dir| Path::new(OsStr::from_bytes(dir)).join(program))
            .collect(),
    };
    let paths: Vec<OsString> = paths.into_iter().map(PathBuf::into_os_string).collect();
    let paths = strings(&paths).ok_or(125u8)?;
    let (output, input) = std::io::pipe().map_err(|_| 125u8)?;
    process::set_nonblocking(output.as_fd()).map_err(|_| 125u8)?;
    let log = Log {
        file: File::from(OwnedFd::from(output)),
        rest: Vec::new(),
    };
    let parent = std::process::id();
    match direct::fork() {
        Ok(direct::Side::Parent(pid)) => Ok((pid, log)),
        Ok(direct::Side::Child) => {
            let mut env: Vec<OsString> = Vec::new();
            for (name, value) in &spec.env {
                let mut pair = name.clone();
                pair.push("=");
                pair.push(value);
                env.push(pair);
            }
            if let Some(count) = spec.sockets {
                // sd_listen_fds(3): the process that they are for says its own number.
                env.push(format!("LISTEN_FDS={count}").into());
                env.push(format!("LISTEN_PID={}", std::process::id()).into());
                if let Some(names) = &spec.socket_names {
                    env.push(format!("LISTEN_FDNAMES={names}").into());
                }
            }
            let last = 2u32.saturating_add(spec.sockets.unwrap_or(0));
            let code = match strings(&env) {
                Some(env)
                    if direct::on_parents_death(SIGKILL).is_ok()
                        && parent_id() == parent
                        && process::apart_with_output(input.as_fd()).is_ok()
                        && process::only_up_to(last).is_ok() =>
                {
                    let errno = signal::as_a_program_expects().err();
                    let errno = errno.unwrap_or_else(|| direct::exec(&paths, &args, Some(&env)));
                    if errno.0 == direct::ENOENT { 127 } else { 126 }
                }
                _ => 125,
            };
            direct::exit(code)
        }
        Err(_) => Err(125),
    }
}

/// One line out, with its end.
fn say(output: &mut dyn Write, line: &[u8]) {
    let mut whole = line.to_vec();
    whole.push(b'\n');
    output.write_all(&whole).ok();
}

struct Watch<'a> {
    child: i32,
    spec: &'a ServiceSpec,
    bucket: Bucket,
    began: Instant,
    /// When patience is at its end.
    kill: Option<Instant>,
    /// Until when nothing is passed on: too much came.
    quiet_until: Option<Instant>,
    /// The exit code, once it has ended.
    code: Option<u8>,
}

impl Watch<'_> {
    /// Milliseconds until something has to be done.
    fn wait(&self) -> i32 {
        let next = self.kill.into_iter().chain(self.quiet_until).min();
        next.map_or(-1, |next| {
            let left = next.saturating_duration_since(Instant::now()).as_millis();
            i32::try_from(left).unwrap_or(i32::MAX).saturating_add(1)
        })
    }

    fn signal(&mut self, signal: i32, told: &mut dyn FnMut()) {
        let sent = match signal {
            SIGTERM | SIGINT => {
                told();
                if self.kill.is_none() {
                    self.kill = Some(Instant::now() + self.spec.stop_after);
                }
                self.spec.stop.unwrap_or(SIGTERM)
            }
            SIGHUP => self.spec.reload.unwrap_or(SIGHUP),
            SIGUSR1 | SIGUSR2 => signal,
            _ => return,
        };
        direct::kill(self.child, sent).ok();
    }

    fn late(&mut self) {
        if self.kill.is_some_and(|kill| kill <= Instant::now()) {
            direct::kill(self.child, SIGKILL).ok();
            self.kill = None;
        }
    }

    /// The exit code, once it has ended. What it has left is reaped meanwhile.
    fn ended(&mut self) -> Option<u8> {
        loop {
            match observe::ended() {
                (Some(ended), _) if ended.pid == self.child => self.code = Some(ended.code),
                (Some(_), _) => {}
                (None, true) => return self.code,
                (None, false) => return Some(self.code.unwrap_or(125)),
            }
        }
    }

    /// Counts what passes.
    fn pass(&mut self, line: &[u8], output: &mut dyn Write) -> bool {
        say(output, line);
        let now = self.began.elapsed();
        let pause = self.bucket.take(line.len().saturating_add(1), now);
        if let Some(pause) = pause {
            self.quiet_until = Some(Instant::now() + pause);
            say(output, b"too much is logged: what follows has to wait");
        }
        pause.is_none()
    }

    fn datagrams(&mut self, socket: &UnixDatagram, output: &mut dyn Write) {
        let mut buffer = vec![0u8; LINE];
        for _ in 0..AT_ONCE {
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    let message = buffer.get(..length).unwrap_or_default();
                    let message = message.split(|byte| *byte == 0).next().unwrap_or_default();
                    let line = super::message(message).trim_ascii_end();
                    if !line.is_empty() && !self.pass(line, output) {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn lines(&mut self, log: &mut Log, output: &mut dyn Write) -> bool {
        let mut buffer = vec![0u8; LINE];
        for _ in 0..AT_ONCE {
            // What came before has its turn before more is taken.
            while let Some(end) = log.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = log.rest.drain(..=end).collect();
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                if !self.pass(line, output) {
                    return true;
                }
            }
            let length = match log.file.read(&mut buffer) {
                // Nobody has the other end any more.
                Ok(0) => {
                    if !log.rest.is_empty() {
                        say(output, &std::mem::take(&mut log.rest));
                    }
                    return false;
                }
                Err(_) => return true,
                Ok(length) => length,
            };
            log.rest
                .extend_from_slice(buffer.get(..length).unwrap_or_default());
            if log.rest.len() > LINE && !log.rest.contains(&b'\n') {
                let line = std::mem::take(&mut log.rest);
                self.pass(&line, output);
            }
        }
        true
    }
}
