//! Seeing what another process means by a path: from its root and its working directory.

use super::{CWD, Call, Place};
use crate::error::{Errno, SysError};
use crate::owner;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A process that looks with others' eyes. It has one thread, and its root and working directory are whatever it looked
/// at last.
#[derive(Debug)]
pub struct Eyes {
    /// proc(5) of this process's own pid namespace.
    proc: OwnedFd,
    /// The descriptors of this process.
    own: OwnedFd,
    /// The file systems that this process sees mounted, by the numbers of their devices: nothing that a jail made for
    /// itself is among them.
    outside: BTreeSet<Vec<u8>>,
}

/// What the kernel had better do itself: a path by which it alone may lead the caller, or a file that is not the jail's
/// own.
pub const ITS_OWN: Errno = Errno(libc::ELOOP);

/// The most of mountinfo that is read of a caller, in bytes.
const MOUNTS: u64 = 4 << 20;

/// Mounts of proc_pid_mountinfo(5): the number, and the file system's device.
fn mounts(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        Some((fields.next()?, fields.nth(1)?))
    })
}

fn read_all(file: OwnedFd) -> Result<Vec<u8>, Errno> {
    use std::io::Read;
    let mut text = Vec::new();
    let read = std::fs::File::from(file)
        .take(MOUNTS)
        .read_to_end(&mut text);
    read.map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EIO)))?;
    Ok(text)
}

/// Something that was found.
#[derive(Debug)]
pub struct Seen {
    /// It (open(2), O_PATH).
    fd: OwnedFd,
    /// The directory it is in and its name, where it can have no attribute itself.
    within: Option<(OwnedFd, Vec<u8>)>,
    /// The root of who named it.
    root: OwnedFd,
}

impl AsFd for Seen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open(dir: RawFd, path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the path ends in NUL.
    let fd = unsafe { libc::openat(dir, path.as_ptr(), flags | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The same beneath the root that this process has just now, and never by a magic link of proc(5): those lead where this
/// process may go, and the one that asks may not.
fn open_plainly(path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    let flags = OFlags::from_bits_retain(flags.cast_unsigned()) | OFlags::CLOEXEC;
    rustix::fs::openat2(
        rustix::fs::CWD,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|error| Errno(error.raw_os_error()))
}

fn errno(error: std::io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

/// The number of the mount that something is in.
fn mount_of(fd: &OwnedFd) -> Result<u64, Errno> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let found = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID);
    let found = found.map_err(|error| Errno(error.raw_os_error()))?;
    Ok(found.stx_mnt_id)
}

fn go(dir: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: takes a number only.
    match unsafe { libc::fchdir(dir.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(Errno::last()),
    }
}

/// The number of a descriptor's own file in proc(5), of whoever looks.
fn own_descriptor(path: &CStr) -> Option<i32> {
    let path = path.to_str().ok()?;
    let name = path
        .strip_prefix("/proc/self/fd/")
        .or_else(|| path.strip_prefix("/dev/fd/"))?;
    name.parse().ok()
}

impl Eyes {
    /// To be made by the process that looks.
    ///
    /// # Errors
    /// open(2).
    pub fn new() -> Result<Self, SysError> {
        let fail = |target: &'static str| {
            move |errno| SysError {
                call: "open",
                target: target.into(),
                errno,
            }
        };
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let own = c"/proc/self/mountinfo";
        let text = open(CWD, own, libc::O_RDONLY).and_then(read_all);
        let text = text.map_err(fail("/proc/self/mountinfo"))?;
        Ok(Self {
            proc: open(CWD, c"/proc", flags).map_err(fail("/proc"))?,
            own: open(CWD, c"/proc/self/fd", flags).map_err(fail("/proc/self/fd"))?,
            outside: mounts(&text).map(|(_, device)| device.to_vec()).collect(),
        })
    }

    /// Whether something is the jail's own: in the file system of its root, or in one that it was given empty. The files
    /// that it was lent are others', and keep what they have. What is nowhere, as a pipe, is anybody's.
    ///
    /// # Errors
    /// statx(2), open(2).
    pub fn is_of_jail(&self, call: &Call, seen: &Seen) -> Result<bool, Errno> {
        let (at, top) = (mount_of(&seen.fd)?, mount_of(&seen.root)?);
        if at == top || seen.within.is_none() && !seen.has_own()? {
            return Ok(true);
        }
        let path = CString::new(format!("{}/mountinfo", call.pid));
        let path = path.map_err(|_| Errno(libc::EINVAL))?;
        let text = read_all(open(self.proc.as_raw_fd(), &path, libc::O_RDONLY)?)?;
        let number = at.to_string().into_bytes();
        // One that is not listed there is nobody's that is known.
        Ok(mounts(&text)
            .find(|(mount, _)| *mount == number)
            .is_some_and(|(_, device)| !self.outside.contains(device)))
    }

    /// The descriptors that are in use.
    pub fn raw(&self) -> [RawFd; 2] {
        [self.proc.as_raw_fd(), self.own.as_raw_fd()]
    }

    fn of(&self, call: &Call, what: &str, flags: i32) -> Result<OwnedFd, Errno> {
        let path = CString::new(format!("{}/{what}", call.pid)).map_err(|_| Errno(libc::EINVAL))?;
        open(self.proc.as_raw_fd(), &path, flags | libc::O_PATH)
    }

    /// What the caller names.
    ///
    /// # Errors
    /// What the kernel would say to the caller, mostly; then it had better say so itself.
    pub fn see(&self, call: &Call, place: &Place) -> Result<Seen, Errno> {
        let path = place.path.map(|at| call.text(at)).transpose()?;
        let root = self.of(call, "root", libc::O_DIRECTORY)?;
        let descriptor = match &path {
            // A number that only means something beside a path.
            None if place.dir == CWD => return Err(Errno(libc::EBADF)),
            None => Some(place.dir),
            Some(path) if path.is_empty() && place.empty => Some(place.dir),
            Some(path) if place.follow => own_descriptor(path),
            Some(_) => None,
        };
        if let Some(number) = descriptor {
            let fd = match number {
                CWD => self.of(call, "cwd", 0)?,
                number => self.descriptor(call, number, 0)?,
            };
            let within = None;
            return Ok(Seen { fd, within, root });
        }
        let path = path.unwrap_or_default();
        let from = match place.dir {
            // Wherever it is said to be: the descriptor counts for nothing then, and may be none.
            _ if path.to_bytes().starts_with(b"/") => root.try_clone().map_err(errno)?,
            CWD => self.of(call, "cwd", libc::O_DIRECTORY)?,
            number => self.descriptor(call, number, libc::O_DIRECTORY)?,
        };
        go(&root)?;
        // SAFETY: the path ends in NUL.
        if unsafe { libc::chroot(c".".as_ptr()) } < 0 {
            return Err(Errno::last());
        }
        go(&from)?;
        let follow = if place.follow { 0 } else { libc::O_NOFOLLOW };
        let fd = open_plainly(&path, libc::O_PATH | follow)?;
        let within = None;
        let mut seen = Seen { fd, within, root };
        if !seen.has_own()? {
            seen.within = self.place_of(&seen)?;
        }
        Ok(seen)
    }

    /// A descriptor of the caller's.
    fn descriptor(&self, call: &Call, number: i32, flags: i32) -> Result<OwnedFd, Errno> {
        self.of(call, &format!("fd/{number}"), flags)
            .map_err(|error| match error {
                Errno(libc::ENOENT) => Errno(libc::EBADF),
                other => other,
            })
    }

    /// The directory that something is in, and its name there: not that of a link by which it was found. None when it has
    /// none any more.
    fn place_of(&self, seen: &Seen) -> Result<Option<(OwnedFd, Vec<u8>)>, Errno> {
        use rustix::fs::{AtFlags, readlinkat, statat};
        let path = readlinkat(&self.own, seen.name(), Vec::new())
            .map_err(|error| Errno(error.raw_os_error()))?;
        let bytes = path.to_bytes();
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'/') else {
            return Ok(None);
        };
        let (dir, name) = bytes.split_at(end);
        let name = name.get(1..).unwrap_or_default();
        let dir = match dir {
            [] => c"/".to_owned(),
            dir => CString::new(dir).map_err(|_| Errno(libc::EINVAL))?,
        };
        let dir = open_plainly(&dir, libc::O_RDONLY | libc::O_DIRECTORY)?;
        let found = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let same = found.ok().zip(rustix::fs::fstat(&seen.fd).ok());
        let same =
            same.is_some_and(|(one, two)| (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino));
        Ok(same.then(|| (dir, name.to_vec())))
    }

    /// What is recorded of it.
    ///
    /// # Errors
    /// lgetxattr(2).
    pub fn owner(&self, seen: &Seen) -> Result<Option<(u32, u32)>, Errno> {
        let found = match &seen.within {
            Some((dir, name)) => owner::of_child(dir.as_fd(), name),
            None => {
                go(&self.own)?;
                owner::of_path(&seen.name())
            }
        };
        found.map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EIO)))
    }

    /// Records its owner. As the kernel does when something is given to somebody, set-id bits and file capabilities go.
    ///
    /// # Errors
    /// fchownat(2), setxattr(2).
    pub fn give(&self, seen: &Seen, uid: u32, gid: u32) -> Result<(), Errno> {
        let flags = libc::AT_EMPTY_PATH;
        // SAFETY: the path ends in NUL.
        if unsafe { libc::fchownat(seen.fd.as_raw_fd(), c"".as_ptr(), 0, 0, flags) } < 0 {
            return Err(Errno::last());
        }
        let done = match &seen.within {
            Some((dir, name)) => owner::set_child(dir.as_fd(), name, uid, gid),
            // A pipe, a socket: nothing that lasts.
            None if !seen.has_own()? => Ok(()),
            None => {
                go(&self.own)?;
                owner::set_path(&seen.name(), uid, gid)
            }
        };
        done.map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EIO)))
    }
}

impl Seen {
    /// As its descriptor is called among this process's.
    fn name(&self) -> CString {
        CString::new(self.fd.as_raw_fd().to_string()).unwrap_or_default()
    }

    /// Whether it can have attributes: a file or a directory.
    fn has_own(&self) -> Result<bool, Errno> {
        // SAFETY: zero is a valid value of every field.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the structure is written only.
        if unsafe { libc::fstat(self.fd.as_raw_fd(), &raw mut stat) } < 0 {
            return Err(Errno::last());
        }
        Ok(matches!(
            stat.st_mode & libc::S_IFMT,
            libc::S_IFREG | libc::S_IFDIR
        ))
    }
}
