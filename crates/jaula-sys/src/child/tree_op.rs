//! Operations that make up a tree beyond what every jail has.

use super::{Done, Slot, Table, check};
use crate::beneath::Fd;
use crate::error::Errno;
use crate::{mount, place};
use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

/// The most directories an overlay is made of. The kernel's own bound is 500; more than a few dozen cost every look-up.
pub const OVERLAY_LAYERS: usize = 64;

/// The longest value that fsconfig(2) takes.
const VALUE: usize = 255;

/// An operation on a tree. Paths named "host" are resolved in the root that this process still has; all others beneath
/// the descriptor of a slot, whose top is `/` to links.
#[derive(Debug)]
pub enum TreeOp {
    /// Several directories of the host as one.
    Overlay {
        /// Host paths, the uppermost first.
        lower: Vec<CString>,
        /// Where it is written.
        top: OverlayDirs,
        /// Attributes of [`crate::mount::attr`].
        attrs: u64,
        /// Where it goes.
        slot: Slot,
    },
    /// A file, made or emptied, with all that a descriptor gives, which was there before the clone.
    WriteFile {
        /// The descriptor.
        from: RawFd,
        /// The tree.
        dir: Slot,
        /// Where.
        path: CString,
        /// Its mode if it is made, whatever the umask.
        mode: u32,
        /// The mode of directories on the way that have to be made.
        parents: u32,
    },
    /// A new file in a directory of ours, with all that a descriptor gives.
    DataFile {
        /// The descriptor.
        from: RawFd,
        /// The directory.
        dir: Slot,
        /// The name.
        name: &'static CStr,
        /// Its mode.
        mode: u32,
    },
    /// Fails unless the mount of a slot is what a descriptor of the caller's is; errno 0 when it is not.
    Same {
        /// The mount.
        slot: Slot,
        /// The descriptor.
        fd: RawFd,
    },
    /// Removes a name of a directory of ours.
    Unlink {
        /// The directory.
        dir: Slot,
        /// The name.
        name: &'static CStr,
    },
    /// Changes a mode (chmod(2)).
    Chmod {
        /// The tree.
        dir: Slot,
        /// Where.
        path: CString,
        /// The mode.
        mode: u32,
    },
    /// Makes a mount read-only, and nothing that is mounted beneath it.
    RemountReadOnly {
        /// The tree.
        dir: Slot,
        /// Where it is mounted.
        path: CString,
    },
    /// Makes a part of a mount of ours read-only, where it exists and could be written.
    FreezePart {
        /// The mount.
        dir: Slot,
        /// The part.
        path: &'static CStr,
    },
    /// What is in a slot is in another from now on.
    Move {
        /// The slot.
        from: Slot,
        /// The other.
        to: Slot,
    },
    /// How mounts travel from and to other namespaces: `MS_SLAVE`, `MS_SHARED` and their like (mount_namespaces(7)).
    Propagation(u64),
}

/// Where an overlay is written.
#[derive(Debug)]
pub enum OverlayDirs {
    /// Nowhere.
    Nothing,
    /// In these directories of the host.
    Host {
        /// What is written.
        upper: CString,
        /// The work directory.
        work: CString,
    },
    /// In these directories of a slot.
    Own {
        /// The slot.
        dir: Slot,
        /// What is written.
        upper: CString,
        /// The work directory.
        work: CString,
    },
}

pub(super) fn apply(op: &TreeOp, table: &mut Table) -> Result<Done, Errno> {
    match op {
        TreeOp::Overlay {
            lower,
            top,
            attrs,
            slot,
        } => {
            let overlay = overlay(lower, top, *attrs, table)?;
            table.put(*slot, overlay)?;
        }
        TreeOp::WriteFile {
            from,
            dir,
            path,
            mode,
            parents,
        } => {
            let dir = table.at(*dir)?;
            place::write_file(*from, dir, path, *mode, *parents, &mut table.note)?;
        }
        TreeOp::DataFile {
            from,
            dir,
            name,
            mode,
        } => place::data_file(*from, table.at(*dir)?, name, *mode, &mut table.note)?,
        TreeOp::Same { slot, fd } => {
            if identity(table.at(*slot)?)? != identity(*fd)? {
                return Err(Errno(0));
            }
        }
        TreeOp::Unlink { dir, name } => {
            // SAFETY: the name ends in NUL.
            check(unsafe { libc::unlinkat(table.at(*dir)?, name.as_ptr(), 0) })?;
        }
        TreeOp::Chmod { dir, path, mode } => place::chmod(table.at(*dir)?, path, *mode)?,
        TreeOp::RemountReadOnly { dir, path } => place::remount_read_only(table.at(*dir)?, path)?,
        TreeOp::FreezePart { dir, path } => {
            if !place::freeze_part(table.at(*dir)?, path)? {
                return Ok(Done::Absent);
            }
        }
        TreeOp::Move { from, to } => table.shift(*from, *to)?,
        TreeOp::Propagation(kind) => {
            mount::mount(None, c"/", libc::MS_REC | *kind as libc::c_ulong)?
        }
    }
    Ok(Done::Applied)
}

fn identity(fd: RawFd) -> Result<(u64, u64), Errno> {
    // SAFETY: zero is a valid value of every field.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is written only.
    check(unsafe { libc::fstat(fd, &raw mut stat) })?;
    Ok((stat.st_dev, stat.st_ino))
}

fn open_host(dir: RawFd, path: &CStr) -> Result<Fd, Errno> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the path ends in NUL.
    let fd = unsafe { libc::openat(dir, path.as_ptr(), flags) };
    check(fd)?;
    Ok(Fd(fd))
}

/// By descriptors: no path of the host is in the options, so that none can be taken for two, and upper and work
/// directory are of the mount that they are seen on.
fn overlay(lower: &[CString], top: &OverlayDirs, attrs: u64, table: &Table) -> Result<Fd, Errno> {
    let mut fds = [const { None::<Fd> }; OVERLAY_LAYERS];
    if lower.len() > fds.len() {
        return Err(Errno(libc::E2BIG));
    }
    let mut joined = [0u8; VALUE + 1];
    let mut length = 0;
    let mut fits = true;
    for (held, path) in fds.iter_mut().zip(lower) {
        let fd = open_host(libc::AT_FDCWD, path)?;
        let mut room = [0u8; 32];
        let text = place::descriptor_path(fd.0, &mut room)?.to_bytes();
        let colon: &[u8] = if length == 0 { b"" } else { b":" };
        let end = length + colon.len() + text.len();
        match joined.get_mut(length..end) {
            Some(part) if end <= VALUE => {
                let bytes = colon.iter().chain(text);
                part.iter_mut()
                    .zip(bytes)
                    .for_each(|(to, from)| *to = *from);
                length = end;
            }
            _ => fits = false,
        }
        *held = Some(fd);
    }
    let context = mount::open_fs(c"overlay")?;
    if fits {
        let value = CStr::from_bytes_until_nul(&joined).map_err(|_| Errno(libc::EINVAL))?;
        context.set(c"lowerdir", value)?;
    } else {
        // One by one, which kernels from 6.5 on know.
        for fd in fds.iter().flatten() {
            context.set(c"lowerdir+", place::descriptor_path(fd.0, &mut [0; 32])?)?;
        }
    }
    let (dir, upper, work) = match top {
        OverlayDirs::Nothing => (libc::AT_FDCWD, None, None),
        OverlayDirs::Host { upper, work } => (libc::AT_FDCWD, Some(upper), Some(work)),
        OverlayDirs::Own { dir, upper, work } => (table.at(*dir)?, Some(upper), Some(work)),
    };
    let open = |path: Option<&CString>| path.map(|path| open_host(dir, path)).transpose();
    let (upper, work) = (open(upper)?, open(work)?);
    for (key, fd) in [(c"upperdir", &upper), (c"workdir", &work)] {
        if let Some(fd) = fd {
            context.set(key, place::descriptor_path(fd.0, &mut [0; 32])?)?;
        }
    }
    context.flag(c"userxattr")?;
    context.create(attrs)
}
