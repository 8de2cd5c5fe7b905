//! Directories of control groups, by descriptor (cgroups(7)).

use crate::error::SysError;
use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat, fstatfs, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A control group, held open.
#[derive(Debug)]
pub struct Group {
    dir: OwnedFd,
    unified: bool,
}

/// `CGROUP_SUPER_MAGIC` and `CGROUP2_SUPER_MAGIC` (statfs(2)).
const MAGIC: [rustix::fs::FsWord; 2] = [0x0027_e0eb, 0x6367_7270];

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::RDONLY);

/// Whether this process may make groups in a group's directory, and move processes into them.
pub fn writable(dir: &Path, unified: bool) -> bool {
    let may =
        |path: &Path, access| accessat(rustix::fs::CWD, path, access, AtFlags::EACCESS).is_ok();
    let file = |name| may(&dir.join(name), Access::WRITE_OK);
    may(dir, Access::WRITE_OK | Access::EXEC_OK)
        && file("cgroup.procs")
        && (!unified || file("cgroup.subtree_control"))
}

impl Group {
    /// Opens a group by its path on the host.
    ///
    /// # Errors
    /// Those of open(2); `Unsupported` when it is on no file system of control groups.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let dir = openat(rustix::fs::CWD, path, flags, Mode::empty())?;
        Self::of(dir)
    }

    fn of(dir: OwnedFd) -> io::Result<Self> {
        let magic = fstatfs(&dir)?.f_type;
        if !MAGIC.contains(&magic) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "it is no control group",
            ));
        }
        Ok(Self {
            dir,
            unified: Some(&magic) == MAGIC.last(),
        })
    }

    /// Whether it is of the unified hierarchy.
    pub fn is_unified(&self) -> bool {
        self.unified
    }

    /// Makes a group in it, which must not be there yet.
    pub fn make(&self, name: &str) -> io::Result<Self> {
        mkdirat(&self.dir, name, Mode::from_raw_mode(0o755))?;
        self.child(name)
    }

    /// A group in it.
    pub fn child(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        Self::of(openat(&self.dir, name.as_ref(), DIRECTORY, Mode::empty())?)
    }

    /// Removes a group in it, which has no processes and no groups; one that is not there is removed already.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        match unlinkat(&self.dir, name.as_ref(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Writes one of its files, in one call.
    pub fn write(&self, file: &str, value: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.dir, file, flags, Mode::empty())?;
        let written = rustix::io::write(&fd, value.as_bytes())?;
        if written == value.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Reads one of its files, up to a megabyte.
    pub fn read(&self, file: &str) -> io::Result<String> {
        use std::io::Read;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.dir, file, flags, Mode::empty())?;
        let mut text = String::new();
        std::fs::File::from(fd)
            .take(1 << 20)
            .read_to_string(&mut text)?;
        Ok(text)
    }

    /// Puts a process into it, with all its threads.
    pub fn place(&self, pid: i32) -> io::Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// The names of the groups in it.
    pub fn children(&self) -> io::Result<Vec<std::ffi::OsString>> {
        use std::os::unix::ffi::OsStrExt;
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(self.dir.as_fd())? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if entry.file_type() == rustix::fs::FileType::Directory && name != "." && name != ".." {
                found.push(name.to_owned());
            }
        }
        Ok(found)
    }

    /// Kills every process in it, and in the groups of it, once (cgroup.kill, or one by one in the first version). A
    /// process that is gone already, or that may not be killed, is passed over: the caller sees who is left.
    pub fn kill_once(&self) -> io::Result<()> {
        if self.unified && self.write("cgroup.kill", "1").is_ok() {
            return Ok(());
        }
        for name in self.children()? {
            self.child(name)?.kill_once()?;
        }
        for line in self.read("cgroup.procs")?.lines() {
            // 0 is a process that this one cannot see.
            let Some(pid) = line.parse::<i32>().ok().filter(|pid| *pid > 0) else {
                continue;
            };
            let Ok(process) = crate::process::pidfd(pid.unsigned_abs()) else {
                continue;
            };
            // The number was of a process in the group; the descriptor is of that one only if it still is there.
            let still = self.read("cgroup.procs")?;
            if still.lines().any(|known| known == line) {
                crate::process::signal(&process, libc::SIGKILL).unwrap_or_default();
            }
        }
        Ok(())
    }
}

impl From<Group> for OwnedFd {
    fn from(group: Group) -> Self {
        group.dir
    }
}

/// A failure of a call on a group, with its path.
pub fn failed(call: &'static str, path: &Path, error: &io::Error) -> SysError {
    SysError::io(call, path.display().to_string(), error)
}
