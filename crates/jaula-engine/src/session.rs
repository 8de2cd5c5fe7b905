//! Who the engine works as. See [`enter`].

mod kept;

use crate::probe::account;
use jaula_sys::idmap::{self, Range};
use jaula_sys::{SysError, caps, process, userns};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How many identifiers the session of this process has; 0 without one.
static IDS: AtomicU32 = AtomicU32::new(0);

/// Why there is one only.
static ONE: Mutex<Option<String>> = Mutex::new(None);

/// Whether the session is root's, who has his own identifiers in it.
static BARE: AtomicBool = AtomicBool::new(false);

/// The most subordinate identifiers that a session takes: with the caller's own, 0 to 65536.
const SUBORDINATE: u32 = 65536;

/// The most that is read of `/etc/subuid` and `/etc/subgid`.
const LIMIT: u64 = 1 << 20;

/// How many identifiers the session of this process has, from 0; none when it works as whoever started it.
pub fn ids() -> Option<u32> {
    match IDS.load(Ordering::Relaxed) {
        0 => None,
        ids => Some(ids),
    }
}

/// Whether the session is that of root without the right to mount: everybody's files are still whose they are outside.
pub fn is_bare() -> bool {
    BARE.load(Ordering::Relaxed)
}

/// Whether root needs a session: he has not the right to mount, as in a container.
pub fn root_needs_one() -> bool {
    !caps::may_mount()
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// The name in the host's passwd(5), if there is one.
    pub name: Option<String>,
}

impl Caller {
    /// The user of this process.
    pub fn current() -> Self {
        let (uid, gid) = process::effective_ids();
        let passwd = if uid == 0 {
            Vec::new()
        } else {
            read("/etc/passwd")
        };
        let name =
            account::find(&passwd, &account::Wanted::Id(uid), Vec::new).map(|account| account.name);
        Self { uid, gid, name }
    }
}

/// Why this process has one identifier; nothing when it has more, or works as whoever started it.
pub fn one_because() -> Option<String> {
    ONE.lock().ok()?.clone()
}

/// What a verb needs of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Files of several users and groups: everything that makes or uses an image. Where there are no subordinate
    /// identifiers, whose they are is recorded.
    Users,
    /// Several users and groups for certain.
    ManyUsers,
    /// Nothing: one user will do.
    OneUser,
}

/// Who this process works as from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// Root, unchanged.
    Root,
    /// Root of a user namespace of its own with this many identifiers. With one, owners of files are recorded
    /// ([`jaula_sys::owner`]).
    Entered {
        /// How many, from 0.
        ids: u32,
    },
    /// The caller, unchanged: there are no subordinate identifiers.
    Single,
}

/// There can be no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The administrator gave the caller none.
    #[error("user {user} has no subordinate identifiers in {file}")]
    NoRange {
        /// The caller.
        user: String,
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
        /// The line that would give him some.
        line: String,
    },
    /// The program that maps them failed.
    #[error("{program} did not map the subordinate identifiers: {message}")]
    Program {
        /// `newuidmap` or `newgidmap`.
        program: &'static str,
        /// What it said.
        message: String,
    },
    /// The program that maps them is not there.
    #[error("there is no {program}, which maps subordinate identifiers")]
    NoProgram {
        /// `newuidmap`
        program: &'static str,
    },
    /// A kept namespace turned out to be another than it had said.
    #[error("the kept user namespace is not what it was taken for")]
    Kept,
    /// The kernel refused.
    #[error("cannot work in a user namespace")]
    Kernel {
        /// What it said.
        #[from]
        source: SysError,
    },
}

impl SessionError {
    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NoRange { file, line, .. } => {
                vec![format!("let root add this line to {file}: {line}")]
            }
            Self::Program { program, .. } | Self::NoProgram { program } => vec![format!(
                "{program} comes with the package uidmap (shadow-utils)"
            )],
            Self::Kept => {
                vec![
                    "something of yours plays a kept namespace: jaula makes its own next time"
                        .to_owned(),
                ]
            }
            Self::Kernel { .. } => vec!["jaula doctor says what this host allows".to_owned()],
        }
    }
}

fn read(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A file that is not there has no lines.
    if let Ok(file) = std::fs::File::open(path)
        && file.take(LIMIT).read_to_end(&mut bytes).is_err()
    {
        bytes.clear();
    }
    bytes
}

/// The lines of subuid(5): owner, start, count.
fn lines(text: &str) -> impl Iterator<Item = (&str, u32, u32)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (owner, start, count) = (
            fields.next()?,
            fields.next()?.parse().ok()?,
            fields.next()?.parse().ok()?,
        );
        let end = u32::checked_add(start, count)?;
        (fields.next().is_none() && start > 0 && count > 0 && end < u32::MAX)
            .then_some((owner, start, count))
    })
}

/// The caller's largest range.
fn range(text: &str, caller: &Caller) -> Option<(u32, u32)> {
    let number = caller.uid.to_string();
    let own = |owner: &str| Some(owner) == caller.name.as_deref() || owner == number;
    let ranges = lines(text)
        .filter(|(owner, ..)| own(owner))
        .map(|(_, start, count)| (start, count));
    ranges.max_by_key(|(_, count)| (*count).min(SUBORDINATE))
}

/// A line that gives the caller a range nobody has.
fn free_line(text: &str, caller: &Caller) -> String {
    let after = lines(text)
        .map(|(_, start, count)| start.saturating_add(count))
        .max()
        .unwrap_or(0);
    let user = caller
        .name
        .clone()
        .unwrap_or_else(|| caller.uid.to_string());
    format!("{user}:{}:{SUBORDINATE}", after.max(100_000))
}

/// The maps of a session (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Maps {
    /// The caller.
    own: (u32, u32),
    /// First of his subordinate users and groups.
    first: (u32, u32),
    /// How many of each.
    count: u32,
}

/// From now on this process is root of a user namespace of the caller's own, in which his subordinate identifiers are
/// 1 and up; root's process stays as it is. To be called once, early, while the process has one thread.
///
/// newuidmap(1) and newgidmap(1) are run from a child that stays outside, because they ask who runs them.
pub fn enter(caller: &Caller, need: Need) -> Result<Session, SessionError> {
    enter_at(caller, need, None)
}

/// As [`enter`]; the namespace is one that was made before and kept, if there is one, and is kept for the next if not.
/// `dir` is a directory of the caller's own that says where it is; without it, or when others can write there,
/// nothing is kept.
pub fn enter_kept(caller: &Caller, need: Need, dir: &Path) -> Result<Session, SessionError> {
    enter_at(caller, need, Some(dir))
}

fn enter_at(caller: &Caller, need: Need, dir: Option<&Path>) -> Result<Session, SessionError> {
    if let Some(ids) = ids() {
        return Ok(Session::Entered { ids });
    }
    if caller.uid == 0 {
        return bare();
    }
    let mut ranges = [(0, 0); 2];
    for (found, file) in ranges.iter_mut().zip(["/etc/subuid", "/etc/subgid"]) {
        let bytes = read(file);
        let text = String::from_utf8_lossy(&bytes);
        match (range(&text, caller), need) {
            (Some(own), _) => *found = own,
            (None, Need::OneUser) => return Ok(Session::Single),
            (None, Need::Users | Need::ManyUsers) => {
                let user = caller
                    .name
                    .clone()
                    .unwrap_or_else(|| caller.uid.to_string());
                let line = free_line(&text, caller);
                let error = SessionError::NoRange { user, file, line };
                return match need {
                    Need::ManyUsers => Err(error),
                    _ => one(caller, error.to_string()),
                };
            }
        }
    }
    let [users, groups] = ranges;
    let count = users.1.min(groups.1).min(SUBORDINATE);
    let maps = Maps {
        own: (caller.uid, caller.gid),
        first: (users.0, groups.0),
        count,
    };
    let kept = dir.and_then(|dir| kept::Place::new(dir, caller));
    if !kept.as_ref().is_some_and(|place| place.join(&maps)) {
        match map(&maps) {
            // Nothing is mapped yet, and the new namespace is there.
            Err(SessionError::NoProgram { program }) if need == Need::Users => {
                let error = SessionError::NoProgram { program };
                return finish_one(caller, error.to_string());
            }
            other => other?,
        }
        // A session without one that lasts is a session all the same.
        kept.iter().for_each(kept::Place::keep);
    } else if !kept::is_ours(&maps) {
        return Err(SessionError::Kept);
    }
    userns::become_root(true)?;
    let ids = count + 1;
    IDS.store(ids, Ordering::Relaxed);
    Ok(Session::Entered { ids })
}

/// The ranges of a map of proc(5), each onto itself.
fn onto_itself(path: &str) -> Vec<Range> {
    let bytes = read(path);
    let text = String::from_utf8_lossy(&bytes);
    let range = |line: &str| {
        let mut fields = line.split_whitespace().map(str::parse);
        let (inside, count) = (fields.next()?.ok()?, fields.nth(1)?.ok()?);
        Some(Range {
            inside,
            outside: inside,
            count,
        })
    };
    text.lines().filter_map(range).collect()
}

/// Root's session: none when he may mount. Else a user namespace with all the identifiers that he has, in which he may.
/// Where the kernel does not let him have one he stays as he is, and what he cannot do says so itself.
fn bare() -> Result<Session, SessionError> {
    if !root_needs_one() {
        return Ok(Session::Root);
    }
    let users = onto_itself("/proc/self/uid_map");
    let groups = onto_itself("/proc/self/gid_map");
    let fail = |error| SysError::io("pipe2", "the child that maps identifiers", &error);
    let (mut wait, go) = std::io::pipe().map_err(fail)?;
    let mut go = Some(go);
    let pid = userns::own_pid();
    let mut outside = || {
        drop(go.take());
        let mut byte = [0];
        let told = wait.read_exact(&mut byte).is_ok();
        u8::from(!told || idmap::map(pid, &users, &groups, false).is_err())
    };
    let child = userns::fork(&mut outside)?;
    let unshared = userns::unshare();
    if let Some(mut go) = go.take()
        && unshared.is_ok()
    {
        go.write_all(&[1]).map_err(fail)?;
    }
    let mapped = child.wait()? == Some(0);
    if unshared.is_err() {
        return Ok(Session::Root);
    }
    if !mapped {
        let errno = jaula_sys::error::Errno(1);
        let (call, target) = ("write", "the identifiers of a user namespace".to_owned());
        return Err(SysError {
            call,
            target,
            errno,
        }
        .into());
    }
    userns::become_root(true)?;
    BARE.store(true, Ordering::Relaxed);
    let own = users.iter().find(|range| range.inside == 0);
    let ids = own.map_or(1, |range| range.count).min(SUBORDINATE + 1);
    IDS.store(ids, Ordering::Relaxed);
    Ok(Session::Entered { ids })
}

/// A session in which the caller's own identifier is root's, and the only one. Nothing has to be asked for that.
fn one(caller: &Caller, why: String) -> Result<Session, SessionError> {
    userns::unshare()?;
    finish_one(caller, why)
}

fn finish_one(caller: &Caller, why: String) -> Result<Session, SessionError> {
    let own = |outside| Range {
        inside: 0,
        outside,
        count: 1,
    };
    idmap::map(
        userns::own_pid(),
        &[own(caller.uid)],
        &[own(caller.gid)],
        true,
    )?;
    userns::become_root(false)?;
    jaula_sys::owner::record();
    IDS.store(1, Ordering::Relaxed);
    if let Ok(mut held) = ONE.lock() {
        *held = Some(why);
    }
    Ok(Session::Entered { ids: 1 })
}

/// What the child that maps identifiers ends with when there is no newuidmap.
const NO_PROGRAM: u8 = 3;

fn map(maps: &Maps) -> Result<(), SessionError> {
    let failed =
        |call, error: std::io::Error| SysError::io(call, "the child that maps identifiers", &error);
    let (mut wait, mut go) = std::io::pipe().map_err(|e| failed("pipe2", e))?;
    let (mut answer, tell) = std::io::pipe().map_err(|e| failed("pipe2", e))?;
    let pid = userns::own_pid().to_string();
    // The child must see the end of the pipe if this process dies before it unshares.
    let mut held = Some(go.try_clone().map_err(|e| failed("dup", e))?);
    let mut tell = Some(tell);
    let mut outside = || {
        drop(held.take());
        let Some(tell) = tell.take() else { return 1 };
        let mut byte = [0];
        if wait.read_exact(&mut byte).is_err() {
            return 1;
        }
        let start = |program: &str, own: u32, start: u32| {
            let list = [0, own, 1, 1, start, maps.count].map(|n| n.to_string());
            Command::new(program)
                .arg(&pid)
                .args(list)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
        };
        let users = start("newuidmap", maps.own.0, maps.first.0);
        if users
            .as_ref()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        {
            return NO_PROGRAM;
        }
        // Both at once: they do not depend on each other.
        let both = [users, start("newgidmap", maps.own.1, maps.first.1)];
        for (number, started) in (1u8..).zip(both) {
            let message = match started.and_then(|child| child.wait_with_output()) {
                Ok(output) if output.status.success() => continue,
                Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                Err(error) => error.to_string(),
            };
            // Without the message the exit code still says which program it was.
            drop((&tell).write_all(message.as_bytes()));
            return number;
        }
        0
    };
    let child = userns::fork(&mut outside)?;
    drop((held.take(), tell.take()));
    let unshared = userns::unshare();
    if unshared.is_ok() {
        go.write_all(&[1]).map_err(|e| failed("write", e))?;
    }
    drop(go);
    let mut message = String::new();
    if answer.read_to_string(&mut message).is_err() {
        message.clear();
    }
    let code = child.wait()?;
    unshared?;
    match code {
        Some(0) => Ok(()),
        Some(NO_PROGRAM) => Err(SessionError::NoProgram {
            program: "newuidmap",
        }),
        Some(2) => Err(SessionError::Program {
            program: "newgidmap",
            message,
        }),
        _ => Err(SessionError::Program {
            program: "newuidmap",
            message,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ana() -> Caller {
        Caller {
            uid: 1000,
            gid: 1000,
            name: Some("ana".into()),
        }
    }

    #[test]
    fn ranges_of_a_user() {
        let text = "bob:100000:65536\nana:300000:10\n1000:400000:65536\nana:0:65536\nana:1:4294967295\nana:x:1\nana:5\n";
        assert_eq!(range(text, &ana()), Some((400_000, 65536)));
        assert_eq!(range("", &ana()), None);
        assert_eq!(range("anabel:100000:65536\n:100000:65536\n", &ana()), None);
    }

    #[test]
    fn the_line_to_add_is_free() {
        assert_eq!(free_line("", &ana()), "ana:100000:65536");
        assert_eq!(free_line("bob:100000:65536\n", &ana()), "ana:165536:65536");
    }
}
