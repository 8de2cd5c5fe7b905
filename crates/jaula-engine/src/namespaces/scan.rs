//! Every namespace the caller can see: of processes, held open by descriptors, of sockets, kept by mounts, and those
//! above and owning them.

use super::kind::NsKind;
use super::mountinfo::{NsMount, ns_mounts};
use crate::error::{At, PathError};
use jaula_sys::namespace::{self, NetNumbers};
use jaula_sys::procfs::ProcDir;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// No more of a process's command line is read: what lsns(8) reads.
const COMMAND: usize = 8192;
/// No more of a list of mounts is read.
const MOUNTINFO: usize = 16 << 20;
/// No more of `stat`: 52 numbers and a name of 16 bytes, or 64 for the kernel's own threads (proc_pid_stat(5)).
const STAT: usize = 2048;

/// What to look for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The kinds, by [`NsKind::index`].
    pub kinds: [bool; 8],
    /// Namespaces above and owning those of processes too; those of what is held otherwise are always looked for.
    pub ancestors: bool,
    /// Mounts in every mount namespace that a process is in, not only in the caller's.
    pub all_mounts: bool,
    /// Network namespaces' numbers.
    pub net_numbers: bool,
    /// Command lines: of every process, or only of the first one of each namespace.
    pub all_commands: bool,
}

impl Wanted {
    /// Everything.
    pub const ALL: Self = Self {
        kinds: [true; 8],
        ancestors: true,
        all_mounts: true,
        net_numbers: true,
        all_commands: true,
    };

    fn kind(&self, kind: NsKind) -> bool {
        self.kinds.get(kind.index()).copied().unwrap_or(false)
    }
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's number.
    pub ppid: u32,
    /// Whose it is, as far as proc(5) tells the caller.
    pub uid: u32,
    /// Clock ticks since boot.
    pub start_time: u64,
    /// Its namespaces' inodes by [`NsKind::index`]; 0 where the caller may not look.
    pub namespaces: [u64; 8],
    /// Its arguments with blanks between, or its name when it has none; empty when that was not asked for. Any bytes:
    /// the process chooses them.
    pub command: Vec<u8>,
}

/// One namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// The inode that names it.
    pub inode: u64,
    /// Its kind.
    pub kind: NsKind,
    /// The inode of the one above it; 0 when there is none or the caller may not see it.
    pub parent: u64,
    /// The inode of the user namespace that owns it; 0 as above.
    pub owner: u64,
    /// Who made it, where the kernel says so: for user namespaces that were found without a process.
    pub owner_uid: u32,
    /// The number by which the caller's network namespace knows it; -1 when it has none, none when not asked.
    pub net_number: Option<i32>,
    /// Its processes in [`Snapshot::processes`], by number.
    pub processes: Vec<usize>,
    /// How it was found.
    pub found: Found,
}

/// How a namespace was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// A process is in it.
    Process,
    /// A process of this number holds it open.
    Descriptor(u32),
    /// A process of this number has a socket of it.
    Socket(u32),
    /// It is mounted on a file.
    Mount,
    /// It is above another one or owns it.
    Relative,
}

/// A mount of a namespace, and who sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenMount {
    /// The mount.
    pub mount: NsMount,
    /// A process in whose mount namespace it is; none for the caller's.
    pub of: Option<u32>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Processes, by number.
    pub processes: Vec<Process>,
    /// Namespaces, by inode.
    pub namespaces: Vec<Namespace>,
    /// Mounts of namespaces; those in the caller's mount namespace first.
    pub mounts: Vec<SeenMount>,
}

impl Snapshot {
    /// The namespace of an inode.
    pub fn namespace(&self, inode: u64) -> Option<&Namespace> {
        let at = self.namespaces.binary_search_by_key(&inode, |ns| ns.inode);
        at.ok().and_then(|at| self.namespaces.get(at))
    }

    /// The process of a number.
    pub fn process(&self, pid: u32) -> Option<&Process> {
        let at = self
            .processes
            .binary_search_by_key(&pid, |process| process.pid);
        at.ok().and_then(|at| self.processes.get(at))
    }

    /// The process with the lowest number in a namespace.
    pub fn first(&self, namespace: &Namespace) -> Option<&Process> {
        namespace
            .processes
            .first()
            .and_then(|at| self.processes.get(*at))
    }

    /// Where a namespace is mounted.
    pub fn mounts_of<'a>(&'a self, namespace: &Namespace) -> impl Iterator<Item = &'a SeenMount> {
        let (kind, inode) = (namespace.kind.name(), namespace.inode);
        self.mounts
            .iter()
            .filter(move |seen| seen.mount.inode == inode && seen.mount.kind == kind)
    }
}

/// Looks around in `/proc`. What ends while it is looked at is left out, what the caller may not look at is not
/// known; neither is an error.
///
/// # Errors
/// When there is no proc(5).
pub fn scan(wanted: &Wanted) -> Result<Snapshot, PathError> {
    let mut scan = Scan {
        wanted,
        device: own_device()?,
        numbers: wanted
            .net_numbers
            .then(|| NetNumbers::open().ok())
            .flatten(),
        namespaces: BTreeMap::new(),
        processes: Vec::new(),
    };
    for pid in pids()? {
        scan.process(pid);
    }
    let mounts = scan.mounts();
    let mut snapshot = Snapshot {
        processes: scan.processes,
        namespaces: scan.namespaces.into_values().collect(),
        mounts,
    };
    snapshot.processes.sort_by_key(|process| process.pid);
    for (at, process) in snapshot.processes.iter().enumerate() {
        for inode in process.namespaces.iter().filter(|inode| **inode != 0) {
            let found = snapshot
                .namespaces
                .binary_search_by_key(inode, |ns| ns.inode);
            if let Some(ns) = found.ok().and_then(|at| snapshot.namespaces.get_mut(at)) {
                ns.processes.push(at);
            }
        }
    }
    Ok(snapshot)
}

/// The numbers of all processes, from the lowest.
pub(crate) fn pids() -> Result<Vec<u32>, PathError> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").at("read", "/proc")? {
        let name = entry.at("read", "/proc")?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    pids.sort_unstable();
    Ok(pids)
}

/// The device of the kernel's own file system of namespaces.
pub(crate) fn own_device() -> Result<u64, PathError> {
    use std::os::unix::fs::MetadataExt;
    // A kernel may lack some kinds, not all.
    let found = NsKind::ALL
        .iter()
        .find_map(|kind| fs::metadata(format!("/proc/self/ns/{kind}")).ok());
    match found {
        Some(meta) => Ok(meta.dev()),
        None => fs::metadata("/proc/self/ns/mnt")
            .at("look at", "/proc/self/ns/mnt")
            .map(|meta| meta.dev()),
    }
}

/// What proc_pid_stat(5) says of a process: number, state, parent and start.
pub(crate) fn parse_stat(text: &[u8]) -> Option<(u32, u8, u32, u64)> {
    // The name is in parentheses and may hold anything but NUL.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let (before, behind) = text.split_at_checked(end)?;
    let open = before.iter().position(|byte| *byte == b'(')?;
    let pid = std::str::from_utf8(before.get(..open)?)
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let fields = std::str::from_utf8(behind.get(2..)?).ok()?;
    let mut fields = fields.split(' ');
    let state = fields.next()?.bytes().next()?;
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some((pid, state, parent, start))
}

/// A process's arguments with blanks between, or its name when it has none: its own choice, not to be trusted.
pub(crate) fn command_of(dir: &ProcDir) -> Vec<u8> {
    let read = |file: &str| dir.read(file, COMMAND).ok().filter(|text| !text.is_empty());
    let mut text = read("cmdline").or_else(|| read("comm")).unwrap_or_default();
    // The last byte ends the last argument, or the line.
    text.pop();
    text.iter_mut()
        .filter(|byte| **byte == 0)
        .for_each(|byte| *byte = b' ');
    text
}

/// A namespace above or owning another one, with its inode, where there is one that may be seen.
type Relative = Option<(OwnedFd, u64)>;

struct Scan<'a> {
    wanted: &'a Wanted,
    device: u64,
    numbers: Option<NetNumbers>,
    namespaces: BTreeMap<u64, Namespace>,
    processes: Vec<Process>,
}

impl Scan<'_> {
    fn process(&mut self, pid: u32) {
        let Ok(dir) = ProcDir::open(pid) else { return };
        let stat = || {
            dir.read("stat", STAT)
                .ok()
                .and_then(|text| parse_stat(&text))
        };
        let Some((_, _, ppid, start_time)) = stat() else {
            return;
        };
        let mut process = Process {
            pid,
            ppid,
            uid: dir.uid().unwrap_or(0),
            start_time,
            namespaces: [0; 8],
            command: Vec::new(),
        };
        let mut first = false;
        for kind in NsKind::ALL {
            if self.wanted.kind(kind) {
                first |= self.assigned(&dir, kind, &mut process);
            }
        }
        if first || self.wanted.all_commands {
            process.command = command_of(&dir);
        }
        self.opened(&dir);
        // One that ended meanwhile has told only half.
        if stat().is_some() {
            self.processes.push(process);
        } else {
            self.forget(&process);
        }
    }

    /// Namespaces that only a process was in that is gone.
    fn forget(&mut self, process: &Process) {
        for inode in process.namespaces {
            let others = self
                .processes
                .iter()
                .any(|other| other.namespaces.contains(&inode));
            let held = self
                .namespaces
                .get(&inode)
                .is_some_and(|ns| ns.found != Found::Process);
            if !others && !held {
                self.namespaces.remove(&inode);
            }
        }
    }

    /// A namespace the process is in. Says whether it is the first one there.
    fn assigned(&mut self, dir: &ProcDir, kind: NsKind, process: &mut Process) -> bool {
        let link = format!("ns/{kind}");
        let Ok(identity) = dir.identity(&link) else {
            return false;
        };
        let inode = identity.ino;
        if let Some(slot) = process.namespaces.get_mut(kind.index()) {
            *slot = inode;
        }
        if let Some(known) = self.namespaces.get_mut(&inode) {
            let first = known.found != Found::Process;
            known.found = Found::Process;
            return first;
        }
        let mut namespace = Namespace {
            inode,
            kind,
            parent: 0,
            owner: 0,
            owner_uid: 0,
            net_number: None,
            processes: Vec::new(),
            found: Found::Process,
        };
        let opened = dir.open_of_device(&link, self.device).ok();
        let opened = opened.filter(|(_, found)| found.ino == inode);
        if let Some((fd, _)) = &opened {
            let (parent, owner) = self.relatives(fd, kind);
            namespace.parent = parent.as_ref().map_or(0, |(_, inode)| *inode);
            namespace.owner = owner.as_ref().map_or(0, |(_, inode)| *inode);
            namespace.net_number = self.number(fd, kind);
            self.namespaces.insert(inode, namespace);
            if self.wanted.ancestors {
                for (fd, inode) in parent.into_iter().chain(owner) {
                    self.held(&fd, inode, Found::Relative);
                }
            }
        } else {
            self.namespaces.insert(inode, namespace);
        }
        true
    }

    fn number(&self, fd: &OwnedFd, kind: NsKind) -> Option<i32> {
        let numbers = self.numbers.as_ref().filter(|_| kind == NsKind::Net)?;
        numbers.of(fd.as_fd()).ok()
    }

    /// The namespaces above it and owning it, with their inodes.
    fn relatives(&self, fd: &OwnedFd, kind: NsKind) -> (Relative, Relative) {
        let inode = |fd: OwnedFd| {
            let meta = jaula_sys::dir::meta_of(fd.as_fd()).ok()?;
            Some((fd, meta.inode))
        };
        let parent = kind.nested().then(|| namespace::parent(fd.as_fd()).ok());
        let owner = namespace::owner(fd.as_fd()).ok();
        (parent.flatten().and_then(inode), owner.and_then(inode))
    }

    /// A namespace that was found without a process in it, and those it stands below.
    fn held(&mut self, fd: &OwnedFd, inode: u64, found: Found) {
        if self.namespaces.contains_key(&inode) {
            return;
        }
        let kind = namespace::kind(fd.as_fd()).ok().and_then(NsKind::of_flag);
        let Some(kind) = kind.filter(|kind| self.wanted.kind(*kind)) else {
            return;
        };
        let (parent, owner) = self.relatives(fd, kind);
        let of = |relative: &Relative| relative.as_ref().map_or(0, |(_, inode)| *inode);
        self.namespaces.insert(
            inode,
            Namespace {
                inode,
                kind,
                parent: of(&parent),
                owner: of(&owner),
                owner_uid: namespace::owner_uid(fd.as_fd()).unwrap_or(0),
                net_number: self.number(fd, kind),
                processes: Vec::new(),
                found,
            },
        );
        for (fd, inode) in parent.into_iter().chain(owner) {
            self.held(&fd, inode, Found::Relative);
        }
    }

    /// Namespaces that the process holds open, itself or by a socket.
    fn opened(&mut self, dir: &ProcDir) {
        let mut pidfd = None;
        for number in dir.descriptors().unwrap_or_default() {
            let link = format!("fd/{number}");
            let Ok(identity) = dir.identity(&link) else {
                continue;
            };
            if identity.dev == self.device {
                if self.namespaces.contains_key(&identity.ino) {
                    continue;
                }
                if let Ok((fd, found)) = dir.open_of_device(&link, self.device) {
                    self.held(&fd, found.ino, Found::Descriptor(dir.pid()));
                }
            } else if identity.socket && self.wanted.kind(NsKind::Net) {
                let pidfd = pidfd.get_or_insert_with(|| pidfd_of(dir));
                let Some(pidfd) = pidfd else { continue };
                let Ok(fd) = namespace::of_socket(pidfd.as_fd(), number) else {
                    continue;
                };
                if let Ok(meta) = jaula_sys::dir::meta_of(fd.as_fd()) {
                    self.held(&fd, meta.inode, Found::Socket(dir.pid()));
                }
            }
        }
    }

    /// Mounts of namespaces, and the namespaces that only they keep.
    fn mounts(&mut self) -> Vec<SeenMount> {
        let mut seen = Vec::new();
        let mut looked: HashSet<u64> = HashSet::new();
        let own = std::process::id();
        if let Ok(dir) = ProcDir::open(own) {
            looked.extend(dir.identity("ns/mnt").map(|identity| identity.ino));
            self.mounts_seen_by(&dir, None, &mut seen);
        }
        if !self.wanted.all_mounts {
            return seen;
        }
        for pid in self
            .processes
            .iter()
            .map(|process| process.pid)
            .collect::<Vec<_>>()
        {
            let Ok(dir) = ProcDir::open(pid) else {
                continue;
            };
            if dir
                .identity("ns/mnt")
                .is_ok_and(|identity| looked.insert(identity.ino))
            {
                self.mounts_seen_by(&dir, Some(pid), &mut seen);
            }
        }
        seen
    }

    fn mounts_seen_by(&mut self, dir: &ProcDir, of: Option<u32>, seen: &mut Vec<SeenMount>) {
        let Ok(text) = dir.read("mountinfo", MOUNTINFO) else {
            return;
        };
        for mount in ns_mounts(&text) {
            if !self.namespaces.contains_key(&mount.inode)
                && let Ok((fd, found)) = dir.open_in_its_root(&mount.target, self.device)
                // Something else may be mounted above it.
                && found.ino == mount.inode
            {
                self.held(&fd, mount.inode, Found::Mount);
            }
            seen.push(SeenMount { mount, of });
        }
    }
}

/// A descriptor of the very process that the directory is of.
fn pidfd_of(dir: &ProcDir) -> Option<OwnedFd> {
    let pidfd = jaula_sys::process::pidfd(dir.pid()).ok()?;
    // The number was not used again when the directory still answers.
    dir.read("stat", STAT).ok().map(|_| pidfd)
}

/// The file below `/proc` by which a process's namespace is opened.
pub fn path_of(pid: u32, kind: NsKind) -> PathBuf {
    Path::new("/proc")
        .join(pid.to_string())
        .join("ns")
        .join(kind.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_newlines_misleads_nobody() {
        let stat = b"42 (a) S 1 (b\n) R 7 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987 1 1\n";
        assert_eq!(parse_stat(stat), Some((42, b'R', 7, 987)));
        for broken in [
            &b""[..],
            b"42",
            b"42 (x",
            b"42 x) R 7",
            b"42 (x) R",
            b"42 (x)",
            b"x (y) R 1 2",
        ] {
            assert_eq!(parse_stat(broken), None);
        }
    }

    #[test]
    fn this_process_is_found_with_its_namespaces() {
        use std::os::unix::fs::MetadataExt;
        let snapshot = scan(&Wanted::ALL).expect("proc(5)");
        let own = snapshot.process(std::process::id()).expect("this process");
        for kind in NsKind::ALL {
            let Ok(meta) = fs::metadata(format!("/proc/self/ns/{kind}")) else {
                continue;
            };
            assert_eq!(own.namespaces[kind.index()], meta.ino());
            let namespace = snapshot.namespace(meta.ino()).expect("its namespace");
            assert_eq!((namespace.kind, namespace.found), (kind, Found::Process));
            assert!(
                namespace
                    .processes
                    .iter()
                    .any(|at| snapshot.processes[*at].pid == own.pid)
            );
        }
        assert!(!own.command.is_empty());
    }
}
