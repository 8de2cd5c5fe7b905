//! The mount calls by descriptor: open_tree(2), move_mount(2), fsopen(2), fsmount(2), mount_setattr(2). Nothing here
//! allocates: all of it may run between clone and exec.

use crate::beneath::Fd;
use crate::error::Errno;
use std::ffi::CStr;
use std::os::fd::RawFd;
use std::ptr;

/// Attributes of a mount (mount_setattr(2)).
pub mod attr {
    /// Not writable.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id bits mean nothing.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes open nothing.
    pub const NODEV: u64 = 0x4;
    /// Nothing is executed.
    pub const NOEXEC: u64 = 0x8;
    /// Identifiers are mapped.
    pub const IDMAP: u64 = 0x0010_0000;
}

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
const OPEN_TREE_CLONE: u32 = 1;

fn checked(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

fn fd(result: libc::c_long) -> Result<Fd, Errno> {
    checked(result).map(|fd| Fd(fd as RawFd))
}

/// A copy of the mount at `path`, attached nowhere.
pub(crate) fn open_tree(dir: RawFd, path: &CStr, recursive: bool) -> Result<Fd, Errno> {
    let mut flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | libc::AT_NO_AUTOMOUNT as u32;
    if recursive {
        flags |= libc::AT_RECURSIVE as u32;
    }
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH as u32;
    }
    // SAFETY: `path` ends in NUL.
    fd(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}

/// Attaches the mount of a descriptor at the file of another.
pub(crate) fn attach(mount: RawFd, at: RawFd) -> Result<(), Errno> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are empty strings.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount,
            c"".as_ptr(),
            at,
            c"".as_ptr(),
            flags,
        )
    };
    checked(done).map(drop)
}

/// Attaches the mount of a descriptor at a path from `dir`, of which all but the last component, which is not followed
/// if it is a link, must be trusted.
pub(crate) fn attach_at(mount: RawFd, dir: RawFd, path: &CStr) -> Result<(), Errno> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH;
    // SAFETY: both paths end in NUL.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount,
            c"".as_ptr(),
            dir,
            path.as_ptr(),
            flags,
        )
    };
    checked(done).map(drop)
}

/// A file system that is being made up (fsopen(2)).
pub(crate) struct Context(Fd);

/// Starts one.
pub(crate) fn open_fs(name: &CStr) -> Result<Context, Errno> {
    // SAFETY: `name` ends in NUL.
    fd(unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), 1u32) }).map(Context)
}

impl Context {
    fn command(
        &self,
        command: u32,
        key: *const libc::c_char,
        value: *const libc::c_char,
    ) -> Result<(), Errno> {
        // SAFETY: key and value are NUL-terminated or null, as the command wants them.
        let done = unsafe { libc::syscall(libc::SYS_fsconfig, self.0.0, command, key, value, 0) };
        checked(done).map(drop)
    }

    /// An option with a value of at most 255 bytes.
    pub(crate) fn set(&self, key: &CStr, value: &CStr) -> Result<(), Errno> {
        self.command(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
    }

    /// An option without a value.
    pub(crate) fn flag(&self, key: &CStr) -> Result<(), Errno> {
        self.command(FSCONFIG_SET_FLAG, key.as_ptr(), ptr::null())
    }

    /// Makes it, mounted nowhere yet.
    pub(crate) fn create(&self, attrs: u64) -> Result<Fd, Errno> {
        self.command(FSCONFIG_CMD_CREATE, ptr::null(), ptr::null())?;
        // SAFETY: takes numbers only.
        fd(unsafe { libc::syscall(libc::SYS_fsmount, self.0.0, 1u32, attrs as u32) })
    }
}

/// A new file system, mounted nowhere yet.
pub(crate) fn new_fs<'a>(
    name: &CStr,
    options: impl Iterator<Item = (&'a CStr, Option<&'a CStr>)>,
    attrs: u64,
) -> Result<Fd, Errno> {
    let context = open_fs(name)?;
    for (key, value) in options {
        match value {
            Some(value) => context.set(key, value)?,
            None => context.flag(key)?,
        };
    }
    context.create(attrs)
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Sets attributes of the mount of a descriptor; `userns` is that of [`attr::IDMAP`].
pub(crate) fn set_attr(
    mount: RawFd,
    set: u64,
    userns: Option<RawFd>,
    recursive: bool,
) -> Result<(), Errno> {
    let userns = userns.and_then(|fd| u64::try_from(fd).ok()).unwrap_or(0);
    let attr = MountAttr {
        set,
        clear: 0,
        propagation: 0,
        userns,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty string, and `attr` is a mount_attr of the size given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount,
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    checked(done).map(drop)
}

/// How a mount travels: `MS_PRIVATE`, `MS_UNBINDABLE` and their like (mount_setattr(2)).
pub(crate) fn set_propagation(mount: RawFd, kind: libc::c_ulong) -> Result<(), Errno> {
    let attr = MountAttr {
        set: 0,
        clear: 0,
        propagation: kind,
        userns: 0,
    };
    // SAFETY: the path is an empty string, and `attr` is a mount_attr of the size given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    checked(done).map(drop)
}

/// mount(2), for what is cheaper that way.
pub(crate) fn mount(from: Option<&CStr>, to: &CStr, flags: libc::c_ulong) -> Result<(), Errno> {
    let from = from.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: the strings end in NUL or are null.
    let done = unsafe { libc::mount(from, to.as_ptr(), ptr::null(), flags, ptr::null()) };
    checked(done.into()).map(drop)
}

/// Makes the current directory the root and lets go of the old root with all that is mounted on it (pivot_root(2),
/// "pivot_root(".", ".")").
pub(crate) fn pivot_here() -> Result<(), Errno> {
    // SAFETY: constant strings.
    checked(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    // SAFETY: as above.
    checked(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }.into())?;
    // SAFETY: as above.
    checked(unsafe { libc::chdir(c"/".as_ptr()) }.into()).map(drop)
}
