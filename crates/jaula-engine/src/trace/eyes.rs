//! From a call to what it says: paths as the caller means them, addresses, identities, capabilities.

use super::watch::by_number;
use jaula_plan::trace::{Trace, Used, Was, capability_of};
use jaula_sys::notify::{About, Address, Call, Place, Touch, Use, sends_datagrams};
use jaula_sys::{direct, process};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

/// Different uses that are remembered, so that each is looked at once.
const REMEMBERED: usize = 400_000;
/// Threads whose programs and working directories are remembered.
const PROGRAMS: usize = 4096;
/// Addresses, users and groups that are written down, of each kind: a program that asks for random ones shall not fill
/// memory and file.
const DIFFERENT: usize = 10_000;
/// The last of the ports that only root may bind (ip(7)).
const LOW_PORT: u16 = 1023;

pub(super) struct Eyes {
    trace: Trace,
    names: BTreeMap<u32, &'static str>,
    calls: HashSet<u32>,
    /// One bit for each use of a path.
    uses: HashMap<PathBuf, u8>,
    /// Whether somebody has changed its root.
    rooted: bool,
    unread: u64,
    /// Uses past what is remembered.
    left_out: u64,
    /// This program's own file: until the first execve(2), the process that is watched is it too.
    own: PathBuf,
    /// What each thread runs, until it executes something else.
    programs: HashMap<u32, Rc<str>>,
    /// Where each thread works, until one of them moves.
    places: HashMap<u32, PathBuf>,
    /// Threads whose last call moves something when it is done.
    moving: HashSet<u32>,
}

impl Eyes {
    pub(super) fn new() -> Self {
        Self {
            trace: Trace::default(),
            names: by_number(),
            calls: HashSet::new(),
            uses: HashMap::new(),
            rooted: false,
            unread: 0,
            left_out: 0,
            own: std::fs::read_link("/proc/self/exe").unwrap_or_default(),
            programs: HashMap::new(),
            places: HashMap::new(),
            moving: HashSet::new(),
        }
    }

    /// What was seen, calls that could not be read, and uses that were left out.
    pub(super) fn done(self) -> (Trace, u64, u64) {
        (self.trace, self.unread, self.left_out)
    }

    pub(super) fn see(&mut self, call: &Call) {
        // What it did last is done now.
        if self.moving.remove(&call.pid) {
            self.places.clear();
        }
        if call.moves() {
            self.places.clear();
            if self.moving.len() < PROGRAMS {
                self.moving.insert(call.pid);
            }
        }
        if self.calls.insert(call.number())
            && let Some(name) = self.names.get(&call.number())
        {
            self.trace.calls.insert((*name).to_owned());
            if let Some(capability) = capability_of(name) {
                self.trace.capabilities.insert(capability.to_owned());
            }
            self.rooted |= matches!(*name, "chroot" | "pivot_root");
        }
        for touch in call.touches().into_iter().flatten() {
            self.touch(call, &touch);
        }
        self.about(call);
        if call.executes() {
            // It becomes another program, if the call succeeds.
            self.programs.remove(&call.pid);
        }
    }

    fn touch(&mut self, call: &Call, touch: &Touch) {
        let Some(path) = self.path(call, &touch.place) else {
            return;
        };
        let by = self.program(call.pid);
        // Its own search for the program is nothing of the program's, and hides nothing that this does later.
        let own = by.is_empty();
        if own && path.symlink_metadata().is_err() {
            return;
        }
        let kind = 1u8 << touch.used as u8;
        match self.uses.get_mut(&path) {
            Some(known) if *known & kind != 0 => return,
            Some(known) => *known |= kind,
            None => {
                if self.uses.len() >= REMEMBERED {
                    self.left_out = self.left_out.saturating_add(1);
                    return;
                }
                self.uses.insert(path.clone(), kind);
            }
        }
        let found = path.metadata();
        let was = match &found {
            Ok(found) if found.is_dir() => Was::Directory,
            Ok(found) if found.is_file() => Was::File,
            Ok(_) => Was::Special,
            Err(_) if path.symlink_metadata().is_ok() => Was::Special,
            Err(_) => Was::Absent,
        };
        let used = match touch.used {
            Use::Look => Used::Look,
            Use::Read => Used::Read,
            Use::List => Used::List,
            Use::Update => Used::Update,
            Use::Write => Used::Write,
            Use::Execute => Used::Execute,
        };
        self.overriding(call, &path, used, found.ok());
        self.trace.saw(&path, used, was, &by);
    }

    /// The program that a thread is of; empty while it is still this one.
    fn program(&mut self, thread: u32) -> Rc<str> {
        if let Some(known) = self.programs.get(&thread) {
            return known.clone();
        }
        let file = std::fs::read_link(format!("/proc/{thread}/exe")).unwrap_or_default();
        let name: Rc<str> = match file == self.own {
            true => "".into(),
            false => file.to_string_lossy().into(),
        };
        if self.programs.len() >= PROGRAMS {
            self.programs.clear();
        }
        self.programs.insert(thread, name.clone());
        name
    }

    /// Root that goes past the permission bits of what is another's does so by a capability.
    fn overriding(
        &mut self,
        call: &Call,
        path: &Path,
        used: Used,
        found: Option<std::fs::Metadata>,
    ) {
        if used == Used::Look {
            return;
        }
        let Ok(caller) = std::fs::metadata(format!("/proc/{}", call.pid)) else {
            return;
        };
        if caller.uid() != 0 {
            return;
        }
        let write = matches!(used, Used::Write | Used::Update);
        let parent = || path.parent().and_then(|parent| parent.metadata().ok());
        let Some(file) = found.or_else(|| parent().filter(|_| write)) else {
            return;
        };
        let bits = if write { 0o2 } else { 0o4 };
        let group = file.gid() == caller.gid() && file.mode() & (bits << 3) != 0;
        if file.uid() != 0 && file.mode() & bits == 0 && !group {
            self.trace.capabilities.insert("DAC_OVERRIDE".into());
        }
    }

    /// An absolute path without `..`.
    fn path(&mut self, call: &Call, place: &Place) -> Option<PathBuf> {
        let text = match place.path.map(|at| call.text(at)) {
            Some(Ok(text)) => text.into_bytes(),
            Some(Err(_)) => {
                // Of what is still this program nobody may look into a jail's.
                if !self.program(call.pid).is_empty() {
                    self.unread = self.unread.saturating_add(1);
                }
                return None;
            }
            None => Vec::new(),
        };
        if text.is_empty() {
            return None;
        }
        let text = Path::new(OsStr::from_bytes(&text));
        let process = format!("/proc/{}", call.pid);
        let mut path = match text.is_absolute() {
            true => text.to_owned(),
            // AT_FDCWD
            false if place.dir == -100 => self.working_directory(call.pid)?.join(text),
            false => absolute_link(format!("{process}/fd/{}", place.dir))?.join(text),
        };
        let bytes = path.as_os_str().as_bytes();
        if bytes.windows(3).any(|three| three == b"/..")
            && path.components().any(|part| part == Component::ParentDir)
        {
            path = upward(&path);
        }
        if self.rooted
            && text.is_absolute()
            && let Ok(root) = std::fs::read_link(format!("{process}/root"))
            && root != Path::new("/")
        {
            path = root.join(path.strip_prefix("/").unwrap_or(&path));
        }
        let bytes = path.as_os_str().as_bytes();
        let untidy = bytes.windows(2).any(|two| matches!(two, b"//" | b"/."));
        Some(match untidy || bytes.len() > 1 && bytes.ends_with(b"/") {
            true => path.components().collect(),
            false => path,
        })
    }

    /// Where a thread works; none where that is nowhere any more.
    fn working_directory(&mut self, thread: u32) -> Option<&Path> {
        if self.places.len() >= PROGRAMS {
            self.places.clear();
        }
        match self.places.entry(thread) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(new) => {
                let found = absolute_link(format!("/proc/{thread}/cwd"))?;
                Some(new.insert(found))
            }
        }
    }

    fn about(&mut self, call: &Call) {
        match call.about() {
            About::Connect(fd, at, length) => {
                if let Some(address) = self.address(call, fd, at, length) {
                    let more = put(&mut self.trace.connects, [address]);
                    self.left_out = self.left_out.saturating_add(more);
                }
            }
            About::Bind(fd, at, length) => {
                if let Some(Address::Ip(address)) = call.address(at, length)
                    && (1..=LOW_PORT).contains(&address.port())
                {
                    self.trace.capabilities.insert("NET_BIND_SERVICE".into());
                }
                if let Some(address) = self.address(call, fd, at, length) {
                    let more = put(&mut self.trace.binds, [address]);
                    self.left_out = self.left_out.saturating_add(more);
                }
            }
            About::Users(ids) => {
                let ids = ids.into_iter().filter(|id| *id != u32::MAX);
                let more = put(&mut self.trace.users, ids);
                self.left_out = self.left_out.saturating_add(more);
                self.trace.capabilities.insert("SETUID".into());
            }
            About::Groups(ids) => {
                let ids = ids.into_iter().filter(|id| *id != u32::MAX);
                let more = put(&mut self.trace.groups, ids);
                self.left_out = self.left_out.saturating_add(more);
                self.trace.capabilities.insert("SETGID".into());
            }
            About::GroupList(count, at) => {
                let groups = call.groups(count, at).unwrap_or_default();
                let more = put(&mut self.trace.groups, groups);
                self.left_out = self.left_out.saturating_add(more);
                self.trace.capabilities.insert("SETGID".into());
            }
            About::Signal(pid) if pid > 0 => {
                let owner =
                    |pid: String| Some(std::fs::metadata(format!("/proc/{pid}")).ok()?.uid());
                let (from, to) = (owner(call.pid.to_string()), owner(pid.to_string()));
                if let (Some(from), Some(to)) = (from, to)
                    && from != to
                {
                    self.trace.capabilities.insert("KILL".into());
                }
            }
            About::RawSocket(true) => {
                self.trace.capabilities.insert("NET_RAW".into());
            }
            About::Signal(_) | About::RawSocket(false) | About::Nothing => {}
        }
    }

    fn address(&mut self, call: &Call, fd: i32, at: u64, length: usize) -> Option<String> {
        let plain = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.chars().filter(|c| !c.is_control()).collect::<String>()
        };
        match call.address(at, length)? {
            Address::Ip(address) => {
                // Asked of the socket, not of the address.
                let group = leader(call.pid);
                let socket = process::pidfd(group)
                    .ok()
                    .and_then(|process| direct::descriptor_of(process.as_fd(), fd).ok());
                let datagrams = socket.and_then(|socket| sends_datagrams(socket.as_fd()));
                let kind = if datagrams == Some(true) {
                    "udp"
                } else {
                    "tcp"
                };
                Some(format!("{kind} {address}"))
            }
            Address::Unix(path) => {
                let path = Path::new(OsStr::from_bytes(&path));
                let path = match path.is_absolute() {
                    true => path.to_owned(),
                    false => std::fs::read_link(format!("/proc/{}/cwd", call.pid))
                        .ok()?
                        .join(path),
                };
                Some(format!("unix {}", plain(path.as_os_str().as_bytes())))
            }
            Address::Abstract(name) => Some(format!("abstract {}", plain(&name))),
        }
    }
}

/// Where a link of proc(5) leads; none where that is no path.
fn absolute_link(link: String) -> Option<PathBuf> {
    std::fs::read_link(link).ok().filter(|to| to.is_absolute())
}

/// Puts what is new into a set that has a bound; how much did not fit.
fn put<T: Ord>(set: &mut BTreeSet<T>, new: impl IntoIterator<Item = T>) -> u64 {
    let mut left_out = 0u64;
    for entry in new {
        if set.len() < DIFFERENT {
            set.insert(entry);
        } else if !set.contains(&entry) {
            left_out = left_out.saturating_add(1);
        }
    }
    left_out
}

/// The process that a thread is of.
fn leader(thread: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line.and_then(|group| group.trim().parse().ok())
        .unwrap_or(thread)
}

/// Resolves `..` as the kernel does; by the words alone where something on the way is not there.
fn upward(path: &Path) -> PathBuf {
    let (parent, name) = (path.parent(), path.file_name());
    if let (Some(Ok(parent)), Some(name)) = (parent.map(Path::canonicalize), name) {
        return parent.join(name);
    }
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut set = BTreeSet::new();
        let most = u32::try_from(DIFFERENT).expect("a number");
        assert_eq!(put(&mut set, 0..most), 0);
        assert_eq!(put(&mut set, [0, 1, most, most + 1]), 2);
        assert_eq!(set.len(), DIFFERENT);
    }
}
