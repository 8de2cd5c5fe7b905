//! Directories as descriptors. Every operation names its object by an open directory and a path beneath it; no
//! operation here follows a link out of that directory, and those that say so do not cross a mount either
//! (openat2(2), statx(2), and for kernels or filters without openat2 a walk by single components).

use crate::owner;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, StatxAttributes,
    StatxFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

/// What a name in a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Something this kernel has and inode(7) does not.
    Unknown,
}

impl From<FileType> for Kind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Link,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::Unknown => Self::Unknown,
        }
    }
}

/// What statx(2) says of a name, links not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Type.
    pub kind: Kind,
    /// Permission bits, set-id and sticky included (`0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Bytes on disk.
    pub disk: u64,
    /// Modified: seconds since 1970.
    pub mtime: i64,
    /// And nanoseconds.
    pub mtime_nanos: u32,
    /// Anything of it changed: seconds since 1970.
    pub ctime: i64,
    /// And nanoseconds.
    pub ctime_nanos: u32,
    /// Names of the same file.
    pub links: u32,
    /// Number of the file on its file system.
    pub inode: u64,
    /// The file system: major and minor.
    pub device: (u32, u32),
    /// Of a device node: major and minor.
    pub node: (u32, u32),
    /// Whether something is mounted exactly here (`STATX_ATTR_MOUNT_ROOT`).
    pub mount_root: bool,
}

impl Meta {
    /// The file system as one number, as stat(2) gives it.
    pub fn device_number(&self) -> u64 {
        rustix::fs::makedev(self.device.0, self.device.1)
    }
}

/// An open directory.
#[derive(Debug)]
pub struct Dir(OwnedFd);

const WALK: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Dir {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl Dir {
    /// A directory of the host, by path; links on the way are followed, as for any path a user types.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(
            CWD,
            path,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?))
    }

    /// A second descriptor of the same directory.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Opens a path beneath this directory without following any link and without crossing a mount.
    fn walk(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat2(&self.0, path, flags, mode, WALK) {
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => {
                self.walk_by_component(path, flags, mode)
            }
            other => Ok(other?),
        }
    }

    /// The same where openat2(2) is missing or filtered: one component at a time.
    fn walk_by_component(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let mut at = self.0.try_clone()?;
        let mut names = path.components().peekable();
        let mut reached = None;
        while let Some(component) = names.next() {
            let name = match component {
                Component::Normal(name) => name,
                Component::CurDir => OsStr::new("."),
                _ => return Err(Errno::XDEV.into()),
            };
            let last = names.peek().is_none();
            let how = if last {
                flags
            } else {
                OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW
            };
            if !(last && flags.contains(OFlags::CREATE))
                && meta_at(at.as_fd(), Path::new(name))?.mount_root
            {
                return Err(Errno::XDEV.into());
            }
            let next = rustix::fs::openat(&at, name, how, if last { mode } else { Mode::empty() })?;
            if last {
                reached = Some(next);
                break;
            }
            at = next;
        }
        reached.ok_or_else(|| Errno::NOENT.into())
    }

    /// A directory beneath this one: no link followed, no mount crossed (`EXDEV`).
    pub fn open_dir(&self, path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self(self.walk(
            path.as_ref(),
            OFlags::DIRECTORY | OFlags::RDONLY,
            Mode::empty(),
        )?))
    }

    /// A regular file beneath this directory, to be read: no link followed, no mount crossed. Does not hang on a
    /// pipe: anything but a regular file is an error.
    pub fn open_file(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(self.walk(path.as_ref(), flags, Mode::empty())?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::from(io::ErrorKind::InvalidInput))
        }
    }

    /// A new regular file beneath this directory; an error when the name is taken. The mode is exactly this.
    pub fn create_file(&self, path: impl AsRef<Path>, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        Ok(File::from(self.walk(
            path.as_ref(),
            flags,
            Mode::from_raw_mode(mode & 0o7777),
        )?))
    }

    /// Opens a file to read it, as a process would whose root this directory is: links are followed, but only inside,
    /// and no magic link of proc(5). Mounts are crossed. Who opens a pipe does not wait for a writer.
    pub fn open_file_in_root(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(File::from(openat2(
            &self.0,
            path,
            flags,
            Mode::empty(),
            how,
        )?))
    }

    /// The same for a directory that is to be read.
    pub fn open_dir_in_root(&self, path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(Self(openat2(&self.0, path, flags, Mode::empty(), how)?))
    }

    /// The names in this directory with their types as far as the file system tells (`Unknown` otherwise), in no
    /// order, without `.` and `..`. Reading starts at the beginning each time.
    pub fn entries(&self) -> io::Result<Vec<(OsString, Kind)>> {
        names_of(&rustix::fs::openat(
            &self.0,
            ".",
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }

    /// The same of a directory that was opened just now: it can be asked once.
    pub fn entries_once(&self) -> io::Result<Vec<(OsString, Kind)>> {
        names_of(&self.0)
    }

    /// What a name beneath this directory is; links not followed at the last component.
    pub fn meta(&self, path: impl AsRef<Path>) -> io::Result<Meta> {
        meta_at(self.0.as_fd(), path.as_ref())
    }

    /// What this directory itself is.
    pub fn own_meta(&self) -> io::Result<Meta> {
        meta_of(self.0.as_fd())
    }

    /// Whether device nodes or programs in it have no effect: mounted nodev or noexec (statvfs(3)).
    pub fn inert(&self) -> io::Result<bool> {
        use rustix::fs::StatVfsMountFlags;
        let flags = rustix::fs::fstatvfs(&self.0)?.f_flag;
        Ok(flags.intersects(StatVfsMountFlags::NODEV | StatVfsMountFlags::NOEXEC))
    }

    /// Where a link leads, as written.
    pub fn read_link(&self, path: impl AsRef<Path>) -> io::Result<OsString> {
        let target = rustix::fs::readlinkat(&self.0, path.as_ref(), Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// A new directory; an error when the name is taken.
    pub fn make_dir(&self, path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(
            &self.0,
            path.as_ref(),
            Mode::from_raw_mode(mode & 0o7777),
        )?)
    }

    /// A new symbolic link.
    pub fn make_link(&self, target: &OsStr, path: impl AsRef<Path>) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.0, path.as_ref())?)
    }

    /// A further name for a file beneath this directory; a link is linked, not followed.
    pub fn hard_link(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        Ok(rustix::fs::linkat(
            &self.0,
            from.as_ref(),
            &self.0,
            to.as_ref(),
            AtFlags::empty(),
        )?)
    }

    /// Another name, in another directory, of something here. A link is not followed.
    pub fn hard_link_to(
        &self,
        from: impl AsRef<Path>,
        dir: &Self,
        to: impl AsRef<Path>,
    ) -> io::Result<()> {
        Ok(rustix::fs::linkat(
            &self.0,
            from.as_ref(),
            &dir.0,
            to.as_ref(),
            AtFlags::empty(),
        )?)
    }

    /// A pipe, socket or device node. `node` is major and minor, of a device only.
    pub fn make_node(
        &self,
        path: impl AsRef<Path>,
        kind: Kind,
        mode: u32,
        node: (u32, u32),
    ) -> io::Result<()> {
        let kind = match kind {
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            _ => return Err(Errno::INVAL.into()),
        };
        let device = rustix::fs::makedev(node.0, node.1);
        Ok(rustix::fs::mknodat(
            &self.0,
            path.as_ref(),
            kind,
            Mode::from_raw_mode(mode & 0o7777),
            device,
        )?)
    }

    /// Removes a name that is no directory.
    pub fn unlink(&self, path: impl AsRef<Path>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &self.0,
            path.as_ref(),
            AtFlags::empty(),
        )?)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &self.0,
            path.as_ref(),
            AtFlags::REMOVEDIR,
        )?)
    }

    /// Renames into another directory of the same file system; what is there is replaced as rename(2) does.
    pub fn rename(
        &self,
        from: impl AsRef<Path>,
        to_dir: &Dir,
        to: impl AsRef<Path>,
    ) -> io::Result<()> {
        Ok(rustix::fs::renameat(
            &self.0,
            from.as_ref(),
            &to_dir.0,
            to.as_ref(),
        )?)
    }

    /// Renames; an error (`EEXIST`) when the new name is taken. Where the file system lacks RENAME_NOREPLACE the
    /// name is looked up first.
    pub fn rename_new(
        &self,
        from: impl AsRef<Path>,
        to_dir: &Dir,
        to: impl AsRef<Path>,
    ) -> io::Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        match rustix::fs::renameat_with(&self.0, from, &to_dir.0, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => match to_dir.meta(to) {
                Ok(_) => Err(Errno::EXIST.into()),
                Err(_) => self.rename(from, to_dir, to),
            },
            other => Ok(other?),
        }
    }

    /// Sets owner and group of a name; a link itself, not what it leads to.
    pub fn set_owner(&self, path: impl AsRef<Path>, uid: u32, gid: u32) -> io::Result<()> {
        if owner::is_recorded() {
            let path = path.as_ref();
            let own = has_own(meta_at(self.as_fd(), path)?.kind);
            return owner::set_at(self.as_fd(), path.as_os_str().as_bytes(), own, uid, gid);
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(rustix::fs::chownat(
            &self.0,
            path.as_ref(),
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Sets the mode of what a name is, which is no link.
    pub fn set_mode(&self, path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
        crate::tree::change_mode(&self.0, path.as_ref(), mode & 0o7777)
    }

    /// Sets the time of modification of a name, and that of access to the same; a link's own.
    pub fn set_mtime(&self, path: impl AsRef<Path>, seconds: i64, nanos: u32) -> io::Result<()> {
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: nanos.into(),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        Ok(rustix::fs::utimensat(
            &self.0,
            path.as_ref(),
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Writes to disk all that the file system of this directory holds (syncfs(2)).
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

fn names_of(dir: &OwnedFd) -> io::Result<Vec<(OsString, Kind)>> {
    // Room that nobody clears: large trees have thousands of directories.
    let mut space: Vec<u8> = Vec::with_capacity(32 << 10);
    let mut reader = RawDir::new(dir, space.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = reader.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((
                OsString::from_vec(name.to_vec()),
                Kind::from(entry.file_type()),
            ));
        }
    }
    Ok(names)
}

/// openat2(2), again when a rename or a mount somewhere on the system came between (`EAGAIN`: it cannot tell then
/// whether `..` still leads where it did).
fn openat2(
    dir: &OwnedFd,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    how: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let mut left = 256u32;
    loop {
        match rustix::fs::openat2(dir, path, flags, mode, how) {
            Err(Errno::AGAIN | Errno::INTR) if left > 0 => left = left.saturating_sub(1),
            other => return other,
        }
    }
}

fn meta_at(dir: BorrowedFd<'_>, path: &Path) -> io::Result<Meta> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let mut meta = convert(&rustix::fs::statx(
        dir,
        path,
        flags,
        StatxFlags::BASIC_STATS,
    )?)?;
    if owner::is_recorded()
        && let Some(owner) = owner::of_at(dir, path.as_os_str().as_bytes(), has_own(meta.kind))?
    {
        (meta.uid, meta.gid) = owner;
    }
    Ok(meta)
}

/// Whether a record of the owner is an attribute of the thing itself.
fn has_own(kind: Kind) -> bool {
    matches!(kind, Kind::File | Kind::Directory)
}

/// What an open descriptor is.
pub fn meta_of(fd: BorrowedFd<'_>) -> io::Result<Meta> {
    let mut meta = convert(&rustix::fs::statx(
        fd,
        "",
        AtFlags::EMPTY_PATH,
        StatxFlags::BASIC_STATS,
    )?)?;
    if owner::is_recorded()
        && has_own(meta.kind)
        && let Some(owner) = owner::of(fd)?
    {
        (meta.uid, meta.gid) = owner;
    }
    Ok(meta)
}

fn convert(found: &rustix::fs::Statx) -> io::Result<Meta> {
    Ok(Meta {
        kind: FileType::from_raw_mode(found.stx_mode.into()).into(),
        mode: u32::from(found.stx_mode) & 0o7777,
        uid: found.stx_uid,
        gid: found.stx_gid,
        size: found.stx_size,
        disk: found.stx_blocks.saturating_mul(512),
        mtime: found.stx_mtime.tv_sec,
        mtime_nanos: found.stx_mtime.tv_nsec,
        ctime: found.stx_ctime.tv_sec,
        ctime_nanos: found.stx_ctime.tv_nsec,
        links: found.stx_nlink,
        inode: found.stx_ino,
        device: (found.stx_dev_major, found.stx_dev_minor),
        node: (found.stx_rdev_major, found.stx_rdev_minor),
        mount_root: found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
    })
}

/// The extended attributes of an open file or directory, sorted by name (listxattr(2)). A file system without
/// them has none.
pub fn xattrs(fd: BorrowedFd<'_>) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let mut names: Vec<u8> = Vec::new();
    loop {
        let need = match rustix::fs::flistxattr_query(fd) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
            other => other?,
        };
        names.resize(need, 0);
        match rustix::fs::flistxattr(fd, &mut names[..]) {
            Ok(got) => {
                names.truncate(got);
                break;
            }
            // It grew between the two calls.
            Err(Errno::RANGE) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut found = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !(name.is_empty() || owner::is_recorded() && owner::is_key(name)))
    {
        let name = OsStr::from_bytes(name);
        let mut value = vec![0u8; 64 << 10];
        match rustix::fs::fgetxattr(fd, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                found.push((name.to_owned(), value));
            }
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    found.sort();
    Ok(found)
}

/// Sets an extended attribute of an open file or directory.
pub fn set_xattr(fd: BorrowedFd<'_>, name: &OsStr, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty())?)
}

/// Sets owner and group of an open file.
pub fn set_owner(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    if owner::is_recorded() {
        return owner::set(fd, uid, gid);
    }
    Ok(rustix::fs::fchown(
        fd,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
    )?)
}

/// Sets the mode of an open file.
pub fn set_mode(fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(fd, Mode::from_raw_mode(mode & 0o7777))?)
}

/// Sets the times of an open file.
pub fn set_mtime(fd: BorrowedFd<'_>, seconds: i64, nanos: u32) -> io::Result<()> {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos.into(),
    };
    Ok(rustix::fs::futimens(
        fd,
        &Timestamps {
            last_access: time,
            last_modification: time,
        },
    )?)
}

/// Bytes from the kernel's generator (getrandom(2)).
pub fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0u8; 16];
    let mut filled = 0usize;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(got) => filled = filled.saturating_add(got),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// Makes reading from a pipe wait again that was opened without waiting.
pub fn set_blocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags - OFlags::NONBLOCK)?)
}

/// Kills a process, but only while `right` says of its number that it still is the one meant (pidfd_open(2): from
/// then on the number cannot become another's), and waits at most `millis` for its end. Whether it has ended.
pub fn kill_and_wait(pid: u32, right: &dyn Fn() -> bool, millis: i64) -> io::Result<bool> {
    let number = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .ok_or(Errno::SRCH)?;
    let process = match rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(true),
        other => other?,
    };
    if !right() {
        return Ok(true);
    }
    match rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => return Err(error.into()),
    }
    let limit = Timespec {
        tv_sec: millis / 1000,
        tv_nsec: (millis % 1000).saturating_mul(1_000_000),
    };
    let mut waited = [rustix::event::PollFd::new(
        &process,
        rustix::event::PollFlags::IN,
    )];
    Ok(rustix::event::poll(&mut waited, Some(&limit))? > 0)
}

/// The effective user of this process, as its user namespace numbers it.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Ends this process at once, as `kill -9` does. For tests of what is left behind.
pub fn kill_self() -> ! {
    let own = rustix::process::getpid();
    if rustix::process::kill_process(own, rustix::process::Signal::KILL).is_err() {
        std::process::abort();
    }
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests;
