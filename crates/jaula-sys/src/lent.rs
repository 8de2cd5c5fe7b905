//! What a program outside of a tree wants to find mounted in it, so that it can use chroot(1) there: `/proc`, `/sys` and
//! a `/dev` with the devices that every program uses. For as long as a value is held, in this process's mount namespace.

use crate::beneath::{Fd, Links, open_raw};
use crate::error::{Errno, SysError};
use crate::mount::{self, attr};
use std::ffi::{CStr, CString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const DEVICES: [(&CStr, &CStr); 6] = [
    (c"/dev/null", c"null"),
    (c"/dev/zero", c"zero"),
    (c"/dev/full", c"full"),
    (c"/dev/random", c"random"),
    (c"/dev/urandom", c"urandom"),
    (c"/dev/tty", c"tty"),
];
const LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
    (c"pts/ptmx", c"ptmx"),
];

/// This process from now on has a mount namespace of its own: what it mounts is seen by nobody else, and gone when it
/// and its children are. Must be called where there is one thread.
pub fn own_mounts() -> Result<(), SysError> {
    // SAFETY: takes a number only.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } < 0 {
        return Err(SysError::last("unshare", "mount namespace"));
    }
    mount::mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE).map_err(|errno| SysError {
        call: "mount",
        target: "/".to_owned(),
        errno,
    })
}

/// The mounts in one tree; they are taken away on drop.
#[derive(Debug)]
pub struct Lent {
    placed: Vec<CString>,
}

impl Lent {
    /// Mounts those of `/proc`, `/sys` and `/dev` that are named and that the tree has directories for. A link in place
    /// of one is none.
    pub fn place(tree: &Path, wanted: &[&str]) -> Result<Self, SysError> {
        let fail = |call, name: &CStr, errno| SysError {
            call,
            target: tree
                .join(name.to_string_lossy().as_ref())
                .display()
                .to_string(),
            errno,
        };
        let path = CString::new(tree.as_os_str().as_bytes())
            .map_err(|_| fail("open", c"", Errno(libc::EINVAL)))?;
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: the path ends in NUL.
        let root = unsafe { libc::open(path.as_ptr(), flags) };
        if root < 0 {
            return Err(fail("open", c"", Errno::last()));
        }
        let root = Fd(root);
        let mut lent = Self { placed: Vec::new() };
        for (name, place) in [
            (c"proc", proc as fn(RawFd, RawFd) -> Result<(), Errno>),
            (c"sys", sys),
            (c"dev", dev),
        ] {
            if !wanted.iter().any(|word| word.as_bytes() == name.to_bytes()) {
                continue;
            }
            let at = match open_raw(root.0, name, flags, Links::Refuse) {
                Ok(at) => at,
                Err(Errno(libc::ENOENT | libc::ELOOP | libc::ENOTDIR)) => continue,
                Err(errno) => return Err(fail("open", name, errno)),
            };
            let whole = [path.to_bytes(), b"/", name.to_bytes()].concat();
            // Before it is done: half of it is taken away as well.
            lent.placed.extend(CString::new(whole));
            place(root.0, at.0).map_err(|errno| fail("mount", name, errno))?;
        }
        Ok(lent)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        for path in self.placed.iter().rev() {
            // SAFETY: the path ends in NUL. Where nothing is mounted, the kernel says EINVAL, and nothing is done.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) };
        }
    }
}

fn proc(_: RawFd, at: RawFd) -> Result<(), Errno> {
    // Nobody writes through it what is the kernel's or another process's.
    let attrs = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    if let Ok(fresh) = mount::new_fs(c"proc", std::iter::empty(), attrs) {
        return mount::attach(fresh.0, at);
    }
    // Without what is mounted in it, but where that hides something from us it may not be left behind.
    let copy = mount::open_tree(libc::AT_FDCWD, c"/proc", false)
        .or_else(|_| mount::open_tree(libc::AT_FDCWD, c"/proc", true))?;
    mount::set_attr(copy.0, attrs, None, true)?;
    mount::attach(copy.0, at)
}

fn sys(_: RawFd, at: RawFd) -> Result<(), Errno> {
    let copy = mount::open_tree(libc::AT_FDCWD, c"/sys", true)?;
    let attrs = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    mount::set_attr(copy.0, attrs, None, true)?;
    mount::attach(copy.0, at)
}

fn dev(root: RawFd, at: RawFd) -> Result<(), Errno> {
    let options = [(c"mode", Some(c"0755")), (c"size", Some(c"1m"))];
    let fs = mount::new_fs(c"tmpfs", options.into_iter(), attr::NOSUID | attr::NOEXEC)?;
    mount::attach(fs.0, at)?;
    // The place as it is now, with the new file system on it.
    let dev = open_raw(
        root,
        c"dev",
        libc::O_PATH | libc::O_DIRECTORY,
        Links::Refuse,
    )?;
    for (from, name) in DEVICES {
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC;
        // SAFETY: the name ends in NUL.
        let file = unsafe { libc::openat(dev.0, name.as_ptr(), flags, 0o666) };
        if file < 0 {
            return Err(Errno::last());
        }
        let file = Fd(file);
        match mount::open_tree(libc::AT_FDCWD, from, false) {
            Ok(copy) => mount::attach(copy.0, file.0)?,
            // A host without this device has none to lend.
            Err(Errno(libc::ENOENT)) => {}
            Err(errno) => return Err(errno),
        }
    }
    for (to, name) in LINKS {
        // SAFETY: both end in NUL.
        if unsafe { libc::symlinkat(to.as_ptr(), dev.0, name.as_ptr()) } < 0 {
            return Err(Errno::last());
        }
    }
    for (name, mode) in [(c"pts", 0o755), (c"shm", 0o1777)] {
        // SAFETY: the name ends in NUL. The umask is no matter of a place for mounts.
        if unsafe { libc::mkdirat(dev.0, name.as_ptr(), mode) } < 0 {
            return Err(Errno::last());
        }
    }
    let pts = open_raw(
        dev.0,
        c"pts",
        libc::O_PATH | libc::O_DIRECTORY,
        Links::Refuse,
    )?;
    // Terminals of the tree's own, which everybody in it may open; the host's instance may be for its root alone.
    let options = [(c"ptmxmode", Some(c"0666")), (c"mode", Some(c"0620"))];
    let own = mount::new_fs(c"devpts", options.into_iter(), attr::NOSUID | attr::NOEXEC);
    if let Ok(own) = own {
        return mount::attach(own.0, pts.0);
    }
    match mount::open_tree(libc::AT_FDCWD, c"/dev/pts", true) {
        Ok(copy) => mount::attach(copy.0, pts.0),
        Err(Errno(libc::ENOENT)) => Ok(()),
        Err(errno) => Err(errno),
    }
}
