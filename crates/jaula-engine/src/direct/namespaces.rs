//! Opening and joining what others are in. Everything is opened with the rights of whoever calls, before anything is
//! joined; what is reached by a process's number counts only while a descriptor shows that it still has that number.

use super::{Failure, Part, State};
use jaula_plan::direct::{DirectOp, Kind, Kinds, NamespaceFrom, Place, Target};
use jaula_sys::direct as sys;
use jaula_sys::error::Errno;
use jaula_sys::process;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The most that is read of `/proc/PID/cgroup`.
const CGROUP_TEXT: u64 = 1 << 16;

fn index(kind: Kind) -> usize {
    kind as usize
}

fn flag(kind: Kind) -> i32 {
    use jaula_sys::spawn::ns;
    match kind {
        Kind::User => ns::CLONE_NEWUSER,
        Kind::Cgroup => ns::CLONE_NEWCGROUP,
        Kind::Ipc => ns::CLONE_NEWIPC,
        Kind::Uts => ns::CLONE_NEWUTS,
        Kind::Net => ns::CLONE_NEWNET,
        Kind::Pid => ns::CLONE_NEWPID,
        Kind::Mnt => ns::CLONE_NEWNS,
        Kind::Time => ns::CLONE_NEWTIME,
    }
}

/// `CLONE_NEW*` of all of these.
pub(super) fn flags(kinds: Kinds) -> i32 {
    kinds.iter().fold(0, |flags, kind| flags | flag(kind))
}

/// Holds the target.
pub(super) fn hold(op: &DirectOp, target: Target, state: &mut State) -> Result<(), Failure> {
    let failed = |part, errno: Errno| Failure::step(op, part, errno.0);
    let pidfd = process::pidfd(target.pid).map_err(|error| failed(Part::Pidfd, error.errno))?;
    if let Some(wanted) = target.inode {
        let inode = sys::inode(pidfd.as_fd()).map_err(|errno| failed(Part::Unfit, errno))?;
        if inode != wanted {
            return Err(failed(Part::Unfit, Errno(ESRCH)));
        }
    }
    state.target = Some((target.pid, pidfd));
    Ok(())
}

/// No such process (errno(3)).
const ESRCH: i32 = 3;

/// The number of the held target and its descriptor.
fn target<'a>(op: &DirectOp, state: &'a State) -> Result<(u32, &'a OwnedFd), Failure> {
    let held = state.target.as_ref().map(|(pid, fd)| (*pid, fd));
    held.ok_or_else(|| Failure::step(op, Part::Pidfd, ESRCH))
}

fn of_target(op: &DirectOp, state: &State, name: &str) -> Result<PathBuf, Failure> {
    let (pid, _) = target(op, state)?;
    Ok(PathBuf::from(format!("/proc/{pid}/{name}")))
}

/// Opens a file of the target, or this one.
fn open(op: &DirectOp, path: PathBuf) -> Result<OwnedFd, Failure> {
    sys::open(&path).map_err(|errno| Failure::step(op, Part::Open(path), errno.0))
}

/// A directory: the target's `name`, or this one.
pub(super) fn place(
    op: &DirectOp,
    place: &Place,
    name: &str,
    state: &State,
) -> Result<OwnedFd, Failure> {
    let path = match place {
        Place::Target => of_target(op, state, name)?,
        Place::Path(path) => path.clone(),
    };
    open(op, path)
}

/// A file of the target.
pub(super) fn file(op: &DirectOp, name: &str, state: &State) -> Result<OwnedFd, Failure> {
    open(op, of_target(op, state, name)?)
}

/// The target still has its number: what was opened by it was its own.
pub(super) fn unchanged(op: &DirectOp, state: &State) -> Result<(), Failure> {
    let (_, pidfd) = target(op, state)?;
    if sys::is_there(pidfd.as_fd()) {
        Ok(())
    } else {
        Err(Failure::step(op, Part::Whole, ESRCH))
    }
}

/// Opens one namespace.
pub(super) fn open_namespace(
    op: &DirectOp,
    kind: Kind,
    from: &NamespaceFrom,
    state: &mut State,
) -> Result<(), Failure> {
    let failed = |part, errno: Errno| Failure::step(op, part, errno.0);
    let fd = match from {
        NamespaceFrom::File(path) => open(op, path.clone())?,
        NamespaceFrom::Id(id) => {
            let own = open(op, PathBuf::from("/proc/self/ns/mnt"))?;
            sys::namespace_by_id(own.as_fd(), *id).map_err(|errno| failed(Part::Whole, errno))?
        }
        NamespaceFrom::Socket(number) => {
            let (_, pidfd) = target(op, state)?;
            let socket = sys::descriptor_of(pidfd.as_fd(), *number)
                .map_err(|errno| failed(Part::Descriptor, errno))?;
            sys::socket_namespace(socket.as_fd()).map_err(|errno| failed(Part::Ioctl, errno))?
        }
        NamespaceFrom::Owner(of) => {
            let held = of.and_then(|kind| state.namespaces.get(index(kind))?.as_ref());
            let owner = match held {
                Some(held) => sys::owner_namespace(held.as_fd()),
                None => {
                    let own = open(op, of_target(op, state, Kind::User.file())?)?;
                    unchanged(op, state)?;
                    sys::owner_namespace(own.as_fd())
                }
            };
            owner.map_err(|errno| failed(Part::Ioctl, errno))?
        }
    };
    if let Some(place) = state.namespaces.get_mut(index(kind)) {
        *place = Some(fd);
    }
    Ok(())
}

/// Joins those of the target by its descriptor, all at once, then those of files, one by one. With `try`, what is
/// refused is left for the next time.
pub(super) fn join(
    op: &DirectOp,
    of_target: Kinds,
    files: Kinds,
    attempt: bool,
    state: &mut State,
) -> Result<(), Failure> {
    let left = |kinds: Kinds, state: &State| -> Kinds {
        kinds
            .iter()
            .filter(|kind| !state.joined.has(*kind))
            .collect()
    };
    let by_target = left(of_target, state);
    if !by_target.is_empty() {
        let (_, pidfd) = target(op, state)?;
        match sys::join(pidfd.as_fd(), flags(by_target)) {
            Ok(()) => state.joined = state.joined.and(by_target),
            Err(errno) if !attempt => {
                return Err(Failure::step(op, Part::Join(by_target), errno.0));
            }
            Err(_) => {}
        }
    }
    for kind in left(files, state).iter() {
        let held = state.namespaces.get(index(kind)).and_then(Option::as_ref);
        let done = held.map_or(Err(Errno(9)), |fd| sys::join(fd.as_fd(), flag(kind)));
        match done {
            Ok(()) => state.joined.insert(kind),
            Err(errno) if !attempt => {
                let kinds = Kinds::NONE.with(kind);
                return Err(Failure::step(op, Part::Join(kinds), errno.0));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// Opens the list of processes of the target's control group, to write into it later: whether that is allowed is
/// decided here and now, by the rights of whoever calls (CVE-2026-78408). The group's name comes from the target's
/// side, so its path is followed beneath the mount and nowhere else.
pub(super) fn open_cgroup(op: &DirectOp, state: &State) -> Result<OwnedFd, Failure> {
    let failed = |part, errno: Errno| Failure::step(op, part, errno.0);
    let top = Path::new(CGROUPS);
    let version_2 = sys::is_cgroup2(top).map_err(|e| failed(Part::Look(top.into()), e))?;
    if !version_2 {
        return Err(failed(Part::Unfit, Errno(0)));
    }
    let list = file(op, "cgroup", state)?;
    let mut text = String::new();
    let read = std::io::Read::read_to_string(
        &mut std::io::Read::take(std::fs::File::from(list), CGROUP_TEXT),
        &mut text,
    );
    read.map_err(|error| failed(Part::Read, Errno(error.raw_os_error().unwrap_or(0))))?;
    // Of version 2 there is one line, with number 0 and no controllers (cgroups(7)).
    let group = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let group = group.ok_or_else(|| failed(Part::Read, Errno(0)))?;
    let write = |errno: Errno| failed(Part::Write(top.join(group).join("cgroup.procs")), errno);
    let root = sys::open_directory(top).map_err(write)?;
    let list = Path::new(group).join("cgroup.procs");
    sys::open_to_write_beneath(root.as_fd(), &list).map_err(write)
}
