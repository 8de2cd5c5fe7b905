//! Work beneath a directory descriptor: nothing here follows a link, leaves the directory or takes a path apart by
//! text. A name given to a [`Dir`] is one component; the caller walks.
//!
//! Sources: openat2(2), linkat(2), renameat2(2), utimensat(2), fchmodat2(2), copy_file_range(2), ioctl_ficlone(2).

use crate::owner;
use rustix::fs::{
    self as sys, AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Uid,
};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

/// What kind of thing a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
    /// Character device.
    Char,
    /// Block device.
    Block,
}

/// What stat(2) tells of a name, the link itself if it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Kind.
    pub kind: Kind,
    /// Permission bits with set-id and sticky (07777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Bytes on disk.
    pub disk: u64,
    /// Last change of content, seconds since the epoch.
    pub mtime: i64,
    /// And its nanoseconds.
    pub mtime_nsec: u32,
    /// Device of the file system.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Names that the inode has.
    pub nlink: u64,
    /// The device a device node stands for.
    pub rdev: u64,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name: never `.` or `..`, never with a slash.
    pub name: CString,
    /// Its kind, where the file system tells it with the name.
    pub kind: Option<Kind>,
}

fn kind_of(kind: FileType) -> Option<Kind> {
    Some(match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::Char,
        FileType::BlockDevice => Kind::Block,
        FileType::Unknown => return None,
    })
}

fn stat_of(stat: &sys::Stat) -> io::Result<Stat> {
    let kind = kind_of(FileType::from_raw_mode(stat.st_mode)).ok_or(Errno::INVAL)?;
    Ok(Stat {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        disk: u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512),
        mtime: stat.st_mtime,
        mtime_nsec: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        dev: stat.st_dev,
        ino: stat.st_ino,
        // The width differs between architectures.
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
        nlink: stat.st_nlink as u64,
        rdev: stat.st_rdev,
    })
}

fn times(mtime: i64, nsec: u32) -> sys::Timestamps {
    let time = sys::Timespec {
        tv_sec: mtime,
        tv_nsec: nsec.into(),
    };
    sys::Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// One component, and no way out.
fn checked(name: &CStr) -> io::Result<&CStr> {
    let bytes = name.to_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(Errno::INVAL.into());
    }
    Ok(name)
}

const DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

impl Dir {
    /// Opens a directory by path; the last component may not be a link.
    ///
    /// # Errors
    /// open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            fd: sys::open(path, DIR, Mode::empty())?,
        })
    }

    /// A directory from a descriptor that is one.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Opens a directory several components below; no link is followed and `..` is refused.
    ///
    /// # Errors
    /// openat2(2); `ELOOP` for a link, `EXDEV` for a way out.
    pub fn open_beneath(&self, path: &Path) -> io::Result<Self> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match sys::openat2(&self.fd, path, DIR, Mode::empty(), resolve) {
            Ok(fd) => Ok(Self { fd }),
            // Filtered or old: the same, one step at a time.
            Err(Errno::NOSYS | Errno::PERM) => {
                let mut here = self.try_clone()?;
                for part in path.components() {
                    let std::path::Component::Normal(name) = part else {
                        return Err(Errno::XDEV.into());
                    };
                    here =
                        here.dir(&CString::new(std::os::unix::ffi::OsStrExt::as_bytes(name))?)?;
                }
                Ok(here)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Another descriptor of the same directory.
    ///
    /// # Errors
    /// fcntl(2) F_DUPFD_CLOEXEC.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
        })
    }

    /// Opens the directory `name`; a link to one is refused.
    ///
    /// # Errors
    /// openat(2).
    pub fn dir(&self, name: &CStr) -> io::Result<Self> {
        Ok(Self {
            fd: sys::openat(&self.fd, checked(name)?, DIR, Mode::empty())?,
        })
    }

    /// Makes the directory `name`, exactly with `mode`.
    ///
    /// # Errors
    /// mkdirat(2); `EEXIST`.
    pub fn make_dir(&self, name: &CStr, mode: u32) -> io::Result<()> {
        Ok(sys::mkdirat(
            &self.fd,
            checked(name)?,
            Mode::from_raw_mode(mode),
        )?)
    }

    /// Makes the file `name`, which may not exist, for writing.
    ///
    /// # Errors
    /// openat(2) with `O_CREAT | O_EXCL`.
    pub fn create(&self, name: &CStr, mode: u32) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(sys::openat(&self.fd, checked(name)?, flags, Mode::from_raw_mode(mode))?.into())
    }

    /// Opens the regular file `name` for reading; anything else is refused, nothing blocks.
    ///
    /// # Errors
    /// openat(2); `EINVAL` if it is no regular file.
    pub fn read(&self, name: &CStr) -> io::Result<File> {
        self.regular(name, OFlags::RDONLY)
    }

    /// Opens the regular file `name` for reading and writing.
    ///
    /// # Errors
    /// As [`Dir::read`].
    pub fn write(&self, name: &CStr) -> io::Result<File> {
        self.regular(name, OFlags::RDWR)
    }

    fn regular(&self, name: &CStr, access: OFlags) -> io::Result<File> {
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = sys::openat(&self.fd, checked(name)?, flags, Mode::empty())?;
        if FileType::from_raw_mode(sys::fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL.into());
        }
        Ok(fd.into())
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// symlinkat(2).
    pub fn symlink(&self, target: &CStr, name: &CStr) -> io::Result<()> {
        Ok(sys::symlinkat(target, &self.fd, checked(name)?)?)
    }

    /// What the symbolic link `name` holds.
    ///
    /// # Errors
    /// readlinkat(2).
    pub fn read_link(&self, name: &CStr) -> io::Result<CString> {
        Ok(sys::readlinkat(&self.fd, checked(name)?, Vec::new())?)
    }

    /// Gives the file `name` a further name; a link is linked itself.
    ///
    /// # Errors
    /// linkat(2).
    pub fn link(&self, name: &CStr, into: &Self, new: &CStr) -> io::Result<()> {
        Ok(sys::linkat(
            &self.fd,
            checked(name)?,
            &into.fd,
            checked(new)?,
            AtFlags::empty(),
        )?)
    }

    /// Makes a named pipe.
    ///
    /// # Errors
    /// mknodat(2).
    pub fn fifo(&self, name: &CStr, mode: u32) -> io::Result<()> {
        Ok(sys::mknodat(
            &self.fd,
            checked(name)?,
            FileType::Fifo,
            Mode::from_raw_mode(mode),
            0,
        )?)
    }

    /// Sets owner and group, of the link itself if it is one. Clears set-id bits: set the mode afterwards.
    ///
    /// # Errors
    /// fchownat(2).
    pub fn chown(&self, name: &CStr, uid: u32, gid: u32) -> io::Result<()> {
        if owner::is_recorded() {
            let stat = sys::statat(&self.fd, checked(name)?, AtFlags::SYMLINK_NOFOLLOW)?;
            return owner::set_at(self.as_fd(), name.to_bytes(), has_own(&stat), uid, gid);
        }
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        Ok(sys::chownat(
            &self.fd,
            checked(name)?,
            uid,
            gid,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Sets the mode of a file, directory or pipe, never through a link.
    ///
    /// # Errors
    /// fchmodat2(2), or open(2) and fchmod(2) by /proc where the kernel lacks it; `ELOOP` or `EOPNOTSUPP` for a link.
    pub fn chmod(&self, name: &CStr, mode: u32) -> io::Result<()> {
        let name = checked(name)?;
        change_mode(&self.fd, name, mode)
    }

    /// Sets the times, of the link itself if it is one.
    ///
    /// # Errors
    /// utimensat(2).
    pub fn set_mtime(&self, name: &CStr, mtime: i64, nsec: u32) -> io::Result<()> {
        Ok(sys::utimensat(
            &self.fd,
            checked(name)?,
            &times(mtime, nsec),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Renames within or between directories, replacing what has the new name.
    ///
    /// # Errors
    /// renameat(2).
    pub fn rename(&self, name: &CStr, into: &Self, new: &CStr) -> io::Result<()> {
        Ok(sys::renameat(
            &self.fd,
            checked(name)?,
            &into.fd,
            checked(new)?,
        )?)
    }

    /// Renames where nothing has the new name.
    ///
    /// # Errors
    /// renameat2(2) RENAME_NOREPLACE; `EEXIST`.
    pub fn rename_new(&self, name: &CStr, into: &Self, new: &CStr) -> io::Result<()> {
        Ok(sys::renameat_with(
            &self.fd,
            checked(name)?,
            &into.fd,
            checked(new)?,
            RenameFlags::NOREPLACE,
        )?)
    }

    /// Exchanges two names at once.
    ///
    /// # Errors
    /// renameat2(2) RENAME_EXCHANGE.
    pub fn exchange(&self, name: &CStr, with: &Self, other: &CStr) -> io::Result<()> {
        Ok(sys::renameat_with(
            &self.fd,
            checked(name)?,
            &with.fd,
            checked(other)?,
            RenameFlags::EXCHANGE,
        )?)
    }

    /// Removes a name that is no directory.
    ///
    /// # Errors
    /// unlinkat(2).
    pub fn unlink(&self, name: &CStr) -> io::Result<()> {
        Ok(sys::unlinkat(&self.fd, checked(name)?, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// unlinkat(2) AT_REMOVEDIR.
    pub fn remove_dir(&self, name: &CStr) -> io::Result<()> {
        Ok(sys::unlinkat(&self.fd, checked(name)?, AtFlags::REMOVEDIR)?)
    }

    /// Tells of a name, the link itself if it is one.
    ///
    /// # Errors
    /// fstatat(2).
    pub fn stat(&self, name: &CStr) -> io::Result<Stat> {
        let stat = sys::statat(&self.fd, checked(name)?, AtFlags::SYMLINK_NOFOLLOW)?;
        let mut told = stat_of(&stat)?;
        if owner::is_recorded()
            && let Some(owner) = owner::of_at(self.as_fd(), name.to_bytes(), has_own(&stat))?
        {
            (told.uid, told.gid) = owner;
        }
        Ok(told)
    }

    /// Tells of the directory itself.
    ///
    /// # Errors
    /// fstat(2).
    pub fn stat_self(&self) -> io::Result<Stat> {
        let mut told = stat_of(&sys::fstat(&self.fd)?)?;
        if owner::is_recorded()
            && let Some(owner) = owner::of(self.as_fd())?
        {
            (told.uid, told.gid) = owner;
        }
        Ok(told)
    }

    /// Sets owner, mode and times of the directory itself, in this order.
    ///
    /// # Errors
    /// fchown(2), fchmod(2), futimens(3).
    pub fn set_self(&self, uid: u32, gid: u32, mode: u32, mtime: i64, nsec: u32) -> io::Result<()> {
        give(self.as_fd(), uid, gid)?;
        sys::fchmod(&self.fd, Mode::from_raw_mode(mode))?;
        Ok(sys::futimens(&self.fd, &times(mtime, nsec))?)
    }

    /// Every entry, in the file system's order, without `.` and `..`.
    ///
    /// # Errors
    /// getdents64(2).
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        // A fresh descriptor: the offset of this one is not touched, so two threads may list at once.
        let fd = sys::openat(&self.fd, c".", DIR, Mode::empty())?;
        let mut buffer = Vec::with_capacity(32 * 1024);
        let mut entries = Vec::new();
        let mut raw = sys::RawDir::new(fd, buffer.spare_capacity_mut());
        while let Some(entry) = raw.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                entries.push(Entry {
                    name: name.to_owned(),
                    kind: kind_of(entry.file_type()),
                });
            }
        }
        Ok(entries)
    }

    /// Sets an extended attribute of the file or directory `name`, which may not be a link.
    ///
    /// # Errors
    /// fsetxattr(2).
    pub fn set_xattr(&self, name: &CStr, key: &CStr, value: &[u8]) -> io::Result<()> {
        let flags =
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = sys::openat(&self.fd, checked(name)?, flags, Mode::empty())?;
        Ok(sys::fsetxattr(&fd, key, value, sys::XattrFlags::empty())?)
    }

    /// Writes everything of this file system that waits to its disk.
    ///
    /// # Errors
    /// syncfs(2).
    pub fn sync_fs(&self) -> io::Result<()> {
        Ok(sys::syncfs(&self.fd)?)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether a record of the owner is an attribute of the thing itself.
fn has_own(stat: &sys::Stat) -> bool {
    matches!(
        FileType::from_raw_mode(stat.st_mode),
        FileType::RegularFile | FileType::Directory
    )
}

/// Owner and group of something open, really or on record.
fn give(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    if owner::is_recorded() {
        return owner::set(fd, uid, gid);
    }
    Ok(sys::fchown(
        fd,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
    )?)
}

/// Sets the mode of what a name is, never through a link (fchmodat2(2)).
///
/// # Errors
/// Of the calls; `ELOOP` or `EOPNOTSUPP` for a link.
pub(crate) fn change_mode<P: rustix::path::Arg + Copy>(
    dir: impl AsFd,
    name: P,
    mode: u32,
) -> io::Result<()> {
    let dir = dir.as_fd();
    let done = name.into_with_c_str(|name| {
        // SAFETY: the name ends with a zero byte and lives as long as the call, which keeps nothing of it.
        let done = unsafe {
            libc::syscall(
                libc::SYS_fchmodat2,
                dir.as_raw_fd(),
                name.as_ptr(),
                mode,
                libc::AT_SYMLINK_NOFOLLOW,
            )
        };
        Ok(done)
    })?;
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::ENOSYS) {
        return Err(error);
    }
    change_mode_before_6_6(dir, name, mode)
}

/// By descriptor: what can be opened for reading as such, the rest by /proc, which may be that of another PID namespace
/// and then has no entry for this process.
fn change_mode_before_6_6<P: rustix::path::Arg + Copy>(
    dir: BorrowedFd<'_>,
    name: P,
    mode: u32,
) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let pinned = sys::openat(dir, name, flags | OFlags::PATH, Mode::empty())?;
    let stat = sys::fstat(&pinned)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Symlink {
        return Err(Errno::LOOP.into());
    }
    if matches!(kind, FileType::RegularFile | FileType::Directory) {
        let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK;
        if let Ok(fd) = sys::openat(dir, name, flags, Mode::empty())
            && let Ok(opened) = sys::fstat(&fd)
            && (opened.st_dev, opened.st_ino) == (stat.st_dev, stat.st_ino)
        {
            return Ok(sys::fchmod(fd, mode)?);
        }
    }
    let path = format!("/proc/self/fd/{}", pinned.as_raw_fd());
    Ok(sys::chmod(path, mode)?)
}

/// Owner, mode and times of an open file, in this order, so that set-id bits stay.
///
/// # Errors
/// fchown(2), fchmod(2), futimens(3).
pub fn set_file(
    file: &File,
    uid: u32,
    gid: u32,
    mode: u32,
    mtime: i64,
    nsec: u32,
) -> io::Result<()> {
    give(file.as_fd(), uid, gid)?;
    sys::fchmod(file, Mode::from_raw_mode(mode))?;
    Ok(sys::futimens(file, &times(mtime, nsec))?)
}

/// An extended attribute of an open file or directory.
///
/// # Errors
/// fsetxattr(2).
pub fn set_xattr(fd: impl AsFd, key: &CStr, value: &[u8]) -> io::Result<()> {
    Ok(sys::fsetxattr(fd, key, value, sys::XattrFlags::empty())?)
}

/// Takes an extended attribute away; that it is not there is no error.
///
/// # Errors
/// fremovexattr(2).
pub fn remove_xattr(fd: impl AsFd, key: &CStr) -> io::Result<()> {
    match sys::fremovexattr(fd, key) {
        Err(Errno::NODATA) => Ok(()),
        other => Ok(other?),
    }
}

/// The times of an open file.
///
/// # Errors
/// futimens(3).
pub fn set_file_times(file: &File, mtime: i64, nsec: u32) -> io::Result<()> {
    Ok(sys::futimens(file, &times(mtime, nsec))?)
}

/// Names and values of the extended attributes of an open file, sorted by name. A file system without any has none.
///
/// # Errors
/// flistxattr(2), fgetxattr(2).
pub fn file_xattrs(file: impl AsFd) -> io::Result<Vec<(CString, Vec<u8>)>> {
    let mut names = vec![0u8; 64 * 1024];
    let length = match sys::flistxattr(&file, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => 0,
        Err(errno) => return Err(errno.into()),
    };
    names.truncate(length);
    let mut found = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !(name.is_empty() || owner::is_recorded() && owner::is_key(name)))
    {
        let name = CString::new(name)?;
        let mut value = vec![0u8; 64 * 1024];
        let length = match sys::fgetxattr(&file, &name, &mut value[..]) {
            Ok(length) => length,
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(errno.into()),
        };
        value.truncate(length);
        found.push((name, value));
    }
    found.sort();
    Ok(found)
}

/// Tells the file system how long the file will be. A file system that cannot is no error.
///
/// # Errors
/// fallocate(2); `ENOSPC` above all.
pub fn allocate(file: &File, size: u64) -> io::Result<()> {
    match sys::fallocate(file, sys::FallocateFlags::KEEP_SIZE, 0, size) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => Ok(other?),
    }
}

/// Lets the empty file `to` share the blocks of `from`.
///
/// # Errors
/// ioctl_ficlone(2); `EOPNOTSUPP` where the file system cannot.
pub fn clone_content(from: &File, to: &File) -> io::Result<()> {
    Ok(sys::ioctl_ficlone(to, from)?)
}

/// Copies the content of `from` into the empty file `to`: shares the blocks where the file system can, else lets the
/// kernel copy.
///
/// # Errors
/// ioctl_ficlone(2), copy_file_range(2), read(2), write(2).
pub fn copy_content(from: &File, to: &File, size: u64) -> io::Result<()> {
    if size == 0 || sys::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let mut left = size;
    while left > 0 {
        let step = usize::try_from(left.min(1 << 30)).unwrap_or(1 << 30);
        match sys::copy_file_range(from, None, to, None, step) {
            Ok(0) => return Ok(()),
            Ok(done) => left = left.saturating_sub(done as u64),
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if left == size => {
                let (mut from, mut to) = (from, to);
                io::copy(&mut from, &mut to)?;
                return Ok(());
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
