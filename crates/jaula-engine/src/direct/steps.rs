//! One step.

use super::{End, Failure, Part, State, namespaces, standby, wait};
use jaula_plan::direct::{
    Attempt, Clock, DirectOp, IdFrom, Kept, Propagation, SetGroups, Wait, Which,
};
use jaula_sys::caps::{self, AmbientCall};
use jaula_sys::direct::{self as sys, Side, mount_flag as flag, signo};
use jaula_sys::error::Errno;
use jaula_sys::{process, userns};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

const SETGROUPS: &str = "/proc/self/setgroups";
const OFFSETS: &str = "/proc/self/timens_offsets";
/// Numbers of errno(3) that are no failure of some steps.
const ENOENT: i32 = 2;
const EBADF: i32 = 9;
const EINVAL: i32 = 22;

/// Does it. Gives an end in the parent of a fork only.
pub(super) fn step(op: &DirectOp, state: &mut State) -> Result<Option<End>, Failure> {
    let failed = |part, errno: Errno| Failure::step(op, part, errno.0);
    let whole = |errno| failed(Part::Whole, errno);
    match op {
        DirectOp::ChildSignal => sys::default_effect(signo::SIGCHLD).map_err(whole)?,
        DirectOp::Target(target) => namespaces::hold(op, *target, state)?,
        DirectOp::OpenNamespace { kind, from } => {
            namespaces::open_namespace(op, *kind, from, state)?;
        }
        DirectOp::OpenRoot(place) => {
            state.root = Some(namespaces::place(op, place, "root", state)?);
        }
        DirectOp::OpenWork(place) => {
            state.work = Some(namespaces::place(op, place, "cwd", state)?);
        }
        DirectOp::OpenEnvironment => {
            state.environment = Some(namespaces::file(op, "environ", state)?);
        }
        DirectOp::OpenIds => state.ids = Some(namespaces::file(op, "", state)?),
        DirectOp::OpenCgroup => state.cgroup = Some(namespaces::open_cgroup(op, state)?),
        DirectOp::TargetUnchanged => namespaces::unchanged(op, state)?,
        DirectOp::Start(work) => state.helpers.start(op, work)?,
        DirectOp::Release(name) => state.helpers.release(op, *name)?,
        DirectOp::Unshare(kinds) => sys::unshare(namespaces::flags(*kinds)).map_err(whole)?,
        DirectOp::TryJoin { target, files } => namespaces::join(op, *target, *files, true, state)?,
        DirectOp::Join { target, files } => namespaces::join(op, *target, *files, false, state)?,
        DirectOp::ClockOffset { clock, seconds } => {
            let name = match clock {
                Clock::Monotonic => "monotonic",
                Clock::Boottime => "boottime",
            };
            write(op, Path::new(OFFSETS), &format!("{name} {seconds} 0"))?;
        }
        DirectOp::Fork {
            wait,
            kill_child,
            parent,
        } => return fork(op, *wait, *kill_child, parent, state),
        DirectOp::Keep(files) => keep(op, files)?,
        DirectOp::MapOne {
            which,
            inside,
            outside,
        } => {
            let file = match which {
                Which::Users => "/proc/self/uid_map",
                Which::Groups => "/proc/self/gid_map",
            };
            write(op, Path::new(file), &format!("{inside} {outside} 1"))?;
        }
        DirectOp::SetGroups(set) => set_groups(op, *set)?,
        DirectOp::Propagation(how) => propagation(*how).map_err(whole)?,
        DirectOp::Chroot(path) => sys::chroot(path).map_err(whole)?,
        DirectOp::Chdir(path) => sys::chdir(path).map_err(whole)?,
        DirectOp::HoldWork => state.work = Some(sys::open(Path::new(".")).map_err(whole)?),
        DirectOp::EnterRoot => {
            sys::fchdir(held(op, state.root.as_ref())?).map_err(|e| failed(Part::Go, e))?;
            sys::chroot(Path::new(".")).map_err(|e| failed(Part::Chroot, e))?;
            sys::chdir(Path::new("/")).map_err(|e| failed(Part::Top, e))?;
            state.root = None;
        }
        DirectOp::OpenWorkInside(path) => state.work = Some(sys::open(path).map_err(whole)?),
        DirectOp::EnterWork => {
            sys::fchdir(held(op, state.work.as_ref())?).map_err(whole)?;
            state.work = None;
        }
        DirectOp::PrivateAt(path) => {
            let done = sys::mount(c"none", path, None, flag::MS_PRIVATE | flag::MS_REC);
            // Nothing is mounted there yet.
            done.or_else(|e| if e.0 == EINVAL { Ok(()) } else { Err(whole(e)) })?;
        }
        DirectOp::MountProc(path) => fresh(c"proc", path).map_err(whole)?,
        DirectOp::MountBinfmt(path) => fresh(c"binfmt_misc", path).map_err(whole)?,
        DirectOp::Register { at, text } => register(op, at, text)?,
        DirectOp::ClearGroups(attempt) => match (sys::set_groups(&[]), attempt) {
            (Err(_), Attempt::First) => state.kept_groups = true,
            (Err(errno), Attempt::Second) if state.kept_groups => return Err(whole(errno)),
            (Err(errno), Attempt::Only) => return Err(whole(errno)),
            _ => {}
        },
        DirectOp::Groups(groups) => sys::set_groups(groups).map_err(whole)?,
        DirectOp::SetGid(id) => {
            let gid = number(op, *id, state, |(_, gid)| gid)?;
            sys::set_gid(gid).map_err(whole)?;
        }
        DirectOp::SetUid(id) => {
            let uid = number(op, *id, state, |(uid, _)| uid)?;
            sys::set_uid(uid).map_err(whole)?;
        }
        DirectOp::DieWithParent(signal) => {
            sys::on_parents_death(*signal).map_err(|e| failed(Part::Prctl, e))?;
        }
        DirectOp::JoinCgroup => {
            let list = held(op, state.cgroup.as_ref())?;
            sys::write_once(list, userns::own_pid().to_string().as_bytes()).map_err(whole)?;
        }
        DirectOp::Ambient => caps::keep_over_exec().map_err(|(call, errno)| {
            let part = match call {
                AmbientCall::Get => Part::CapGet,
                AmbientCall::Set => Part::CapSet,
                AmbientCall::Raise => Part::Prctl,
            };
            failed(part, errno)
        })?,
        DirectOp::ReadIds => {
            let ids = held(op, state.ids.as_ref())?;
            state.target_ids = Some(sys::owner(ids).map_err(whole)?);
        }
        DirectOp::Refuse(refusal) => return Err(Failure::Refused(refusal.clone())),
        // The caller of `step` passes it on.
        DirectOp::Warn(_) => {}
    }
    Ok(None)
}

fn held<'a>(
    op: &DirectOp,
    fd: Option<&'a std::os::fd::OwnedFd>,
) -> Result<BorrowedFd<'a>, Failure> {
    fd.map(AsFd::as_fd)
        .ok_or_else(|| Failure::step(op, Part::Whole, EBADF))
}

fn number(
    op: &DirectOp,
    id: IdFrom,
    state: &State,
    of: fn((u32, u32)) -> u32,
) -> Result<u32, Failure> {
    match (id, state.target_ids) {
        (IdFrom::Number(id), _) => Ok(id),
        (IdFrom::Target, Some(ids)) => Ok(of(ids)),
        (IdFrom::Target, None) => Err(Failure::step(op, Part::Whole, EINVAL)),
    }
}

fn write(op: &DirectOp, path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |part, errno: Errno| Failure::step(op, part, errno.0);
    let file = sys::open_to_write(path).map_err(|e| failed(Part::Open(path.into()), e))?;
    sys::write_once(file.as_fd(), text.as_bytes()).map_err(|e| failed(Part::Write(path.into()), e))
}

fn set_groups(op: &DirectOp, set: SetGroups) -> Result<(), Failure> {
    let text = match set {
        SetGroups::Allow => "allow",
        SetGroups::Deny => "deny",
    };
    match write(op, Path::new(SETGROUPS), text) {
        // Kernels before 3.19 have no such file, and nothing to forbid.
        Err(Failure::Step {
            part: Part::Open(_),
            errno: ENOENT,
            ..
        }) => Ok(()),
        done => done,
    }
}

fn propagation(how: Propagation) -> Result<(), Errno> {
    let flags = match how {
        Propagation::Private => flag::MS_PRIVATE,
        Propagation::Shared => flag::MS_SHARED,
        Propagation::Slave => flag::MS_SLAVE,
        Propagation::Unchanged => return Ok(()),
    };
    sys::mount(c"none", Path::new("/"), None, flags | flag::MS_REC)
}

fn fresh(fs: &std::ffi::CStr, on: &Path) -> Result<(), Errno> {
    let flags = flag::MS_NOSUID | flag::MS_NOEXEC | flag::MS_NODEV;
    sys::mount(fs, on, Some(fs), flags)
}

fn register(op: &DirectOp, at: &Path, text: &[u8]) -> Result<(), Failure> {
    let failed = |part, errno: Errno| Failure::step(op, part, errno.0);
    let file = at.join("register");
    let dir = sys::open_directory(at).map_err(|e| failed(Part::Open(at.into()), e))?;
    let fd = sys::open_to_write_in(dir.as_fd(), c"register")
        .map_err(|e| failed(Part::Open(file.clone()), e))?;
    sys::write_once(fd.as_fd(), text).map_err(|e| failed(Part::Write(file), e))
}

fn keep(op: &DirectOp, files: &[Kept]) -> Result<(), Failure> {
    standby::keep(userns::own_pid(), files).map_err(|(index, from, errno)| {
        let on = files
            .get(index)
            .map_or_else(PathBuf::new, |kept| kept.on.clone());
        Failure::step(op, Part::Mount(from, on), errno.0)
    })
}

fn fork(
    op: &DirectOp,
    wait: Wait,
    kill_child: Option<i32>,
    parent: &[DirectOp],
    state: &mut State,
) -> Result<Option<End>, Failure> {
    let failed = |part, errno: Errno| Failure::step(op, part, errno.0);
    let held = wait::held(wait);
    let before = if held.is_empty() {
        None
    } else {
        Some(sys::hold(held).map_err(|e| failed(Part::Signals, e))?)
    };
    let this = match kill_child {
        Some(_) => {
            let pid = u32::try_from(userns::own_pid()).unwrap_or_default();
            Some(process::pidfd(pid).map_err(|e| failed(Part::Pidfd, e.errno))?)
        }
        None => None,
    };
    match sys::fork().map_err(|e| failed(Part::Fork, e))? {
        Side::Parent(child) => {
            for op in parent {
                step(op, state)?;
            }
            wait::wait(op, wait, child).map(Some)
        }
        Side::Child => {
            wait::in_child(wait, before.as_ref()).map_err(|e| failed(Part::Signals, e))?;
            state.helpers.forget();
            if let (Some(signal), Some(parent)) = (kill_child, this) {
                sys::on_parents_death(signal).map_err(|e| failed(Part::Prctl, e))?;
                // It may have ended before that.
                if sys::has_ended(parent.as_fd()).map_err(|e| failed(Part::Poll, e))? {
                    return Err(Failure::Orphaned);
                }
            }
            Ok(None)
        }
    }
}
