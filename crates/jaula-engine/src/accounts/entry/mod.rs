//! The service that lets users in where they get no user namespace of their own.
//!
//! Three processes have a part in a session. The *service* accepts, asks the kernel who is there, counts, and forks: it reads
//! nothing that others wrote. The fork, the *door*, reads one request, decides as the login shell would have, and makes the
//! control groups; from then on it takes numbers of signals and waits. The *session* starts the jail and becomes the user with
//! no right but to send signals, before it touches the descriptors that came. Each ends with the one before it, and the
//! jail with the session.

mod ask;
mod door;

pub(super) use ask::{ask, is_there, stands_in};

use super::log::Log;
use crate::error::{At, PathError};
use crate::store::Store;
use jaula_plan::account::LOGIN;
use jaula_plan::account::entry::{Answer, EntryFacts, SOCKET, UNITS, WANTED};
use jaula_plan::explain::shown;
use jaula_sys::peer::{self, Peer};
use jaula_sys::process::readable;
use jaula_sys::signal::{self, Blocked};
use jaula_sys::{SysError, userns};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The most sessions of one user, and of all.
const OF_ONE: usize = 32;
const OF_ALL: usize = 512;

/// How many milliseconds a service that systemd started stays without a session.
const IDLE: i32 = 30_000;

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Why nobody is let in.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Only root can.
    #[error("only root lets users in")]
    NotRoot,
    /// Somebody does already.
    #[error("somebody listens at {} already", shown(.0))]
    Taken(PathBuf),
    /// Something else is there, or others could put something there.
    #[error("cannot listen at {}: {why}", shown(.path))]
    Place {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// What the process was started with is something else.
    #[error("the socket that this was started with is none that listens for messages")]
    NoSocket,
    /// A file.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The kernel.
    #[error(transparent)]
    Sys(#[from] SysError),
}

/// Where logins come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntrySocket {
    /// The first socket that this process was started with, which listens already (sd_listen_fds(3)).
    Given,
    /// The usual place.
    Usual,
}

/// What is said of a session when who let it in is gone.
fn ended() -> Answer {
    Answer::Refused(Some(
        "the service that lets in has ended the session".to_owned(),
    ))
}

/// Lets users in until it is told to end. `ready` is called when it listens.
///
/// # Errors
/// [`EntryError`]. A session that fails is told to the log and to its user.
pub fn serve(
    store: &Store,
    socket: EntrySocket,
    ready: &mut dyn FnMut(),
) -> Result<(), EntryError> {
    if jaula_sys::process::effective_ids().0 != 0 {
        return Err(EntryError::NotRoot);
    }
    let (listener, made) = match socket {
        EntrySocket::Given => {
            let fd = peer::given()?;
            match peer::listens(fd.as_fd()) {
                true => (fd, None),
                false => return Err(EntryError::NoSocket),
            }
        }
        EntrySocket::Usual => (listen()?, Some(Made)),
    };
    peer::hold_standard()?;
    let blocked = Blocked::new()?;
    ready();
    Service {
        store,
        log: Log::open(LOGIN),
        listener: Some(listener),
        sessions: HashMap::new(),
        idle: if made.is_some() { -1 } else { IDLE },
    }
    .run(&blocked)
}

/// What is seen of it.
pub(super) fn facts() -> Result<EntryFacts, PathError> {
    let [socket, service] = UNITS.map(|path| super::read(Path::new(path)));
    Ok(EntryFacts {
        listens: is_there(),
        // sd_booted(3)
        systemd: Path::new("/run/systemd/system").is_dir(),
        units: [socket?, service?],
        wanted: Path::new(WANTED).symlink_metadata().is_ok(),
    })
}

/// The socket's name, which goes with the service.
struct Made;

impl Drop for Made {
    fn drop(&mut self) {
        drop(std::fs::remove_file(SOCKET));
    }
}

/// Listens in a directory of root's, in place of a socket where nobody listens any more.
fn listen() -> Result<OwnedFd, EntryError> {
    let path = Path::new(SOCKET);
    let place = |why| EntryError::Place {
        path: path.to_owned(),
        why,
    };
    let dir = path.parent().unwrap_or(Path::new("/"));
    let meta = std::fs::symlink_metadata(dir).at("look at", dir)?;
    if !meta.is_dir() || meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        return Err(place("its directory is not root's alone"));
    }
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() {
            return Err(place("something else is there"));
        }
        if peer::connect(path).is_ok() {
            return Err(EntryError::Taken(path.to_owned()));
        }
        std::fs::remove_file(path).at("remove", path)?;
    }
    let listener = peer::listen(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o666)).at("change", path)?;
    Ok(listener)
}

struct Service<'a> {
    store: &'a Store,
    log: Log,
    /// Gone in the forks.
    listener: Option<OwnedFd>,
    /// Doors, and whose they are.
    sessions: HashMap<i32, u32>,
    idle: i32,
}

impl Service<'_> {
    fn run(&mut self, blocked: &Blocked) -> Result<(), EntryError> {
        let signals = blocked.descriptor()?;
        // Each door holds the one end: it is told when this process is gone, however it went.
        let (alive, end) = std::io::pipe().at("make", "a pipe")?;
        let mut end = Some(end);
        loop {
            let Some(listener) = &self.listener else {
                return Ok(());
            };
            let millis = match self.sessions.is_empty() {
                true => self.idle,
                false => -1,
            };
            let ready = readable(&[signals.as_fd(), listener.as_fd()], millis);
            if ready == 0 && millis >= 0 && self.sessions.is_empty() {
                return Ok(());
            }
            if ready & 1 != 0 {
                while let Some(signal) = signal::next(&signals) {
                    if matches!(signal, SIGTERM | SIGINT | SIGHUP) {
                        return Ok(());
                    }
                }
                while let Some(pid) = peer::reap() {
                    self.sessions.remove(&pid);
                }
            }
            if ready & 2 == 0 {
                continue;
            }
            let Some(connection) = peer::accept(listener.as_fd())? else {
                continue;
            };
            let Ok(peer) = Peer::of(connection.as_fd()) else {
                continue;
            };
            let own = self.sessions.values().filter(|uid| **uid == peer.uid);
            if own.count() >= OF_ONE || self.sessions.len() >= OF_ALL {
                let text = format!(
                    "refused user=#{0} uid={0} from=- command=- cause=\"too many sessions\"",
                    peer.uid
                );
                self.log.say(&text);
                let answer = Answer::Refused(Some("there are too many sessions".to_owned()));
                drop(peer::send(connection.as_fd(), &answer.bytes(), &[]));
                continue;
            }
            let uid = peer.uid;
            let mut came = Some((connection, peer));
            let forked = userns::fork(&mut || {
                // What only the service has: its own socket, and the end of the pipe that tells of it.
                drop((self.listener.take(), end.take()));
                if let Some((connection, peer)) = came.take() {
                    door::open(self.store, connection, &peer, &alive);
                }
                0
            });
            match forked {
                Ok(forked) => drop(self.sessions.insert(forked.pid(), uid)),
                Err(error) => self.log.say(&format!("cannot let anybody in: {error}")),
            }
        }
    }
}
