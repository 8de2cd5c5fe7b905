//! Identifier maps (user_namespaces(7)) and id-mapped mounts (mount_setattr(2)).

use crate::error::{Errno, SysError};
use crate::mount;
use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `count` identifiers from `inside` are those from `outside`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First inside.
    pub inside: u32,
    /// First outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

fn write(pid: i32, file: &'static str, text: &str) -> Result<(), SysError> {
    let path = format!("/proc/{pid}/{file}");
    let fail = |error: std::io::Error| SysError::io("write", file, &error);
    // One write(2): the kernel takes a map only once.
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(fail)?
        .write_all(text.as_bytes())
        .map_err(fail)
}

/// Maps users and groups of a child in a new user namespace. `deny` gives up setgroups(2) first, without which an
/// ordinary user may map no group.
///
/// A range outside has to lie within one range of the caller's own map: the kernel splits none.
pub fn map(pid: i32, users: &[Range], groups: &[Range], deny: bool) -> Result<(), SysError> {
    let lines = |ranges: &[Range]| {
        let line = |r: &Range| format!("{} {} {}\n", r.inside, r.outside, r.count);
        ranges.iter().map(line).collect::<String>()
    };
    write(pid, "uid_map", &lines(users))?;
    if deny {
        write(pid, "setgroups", "deny")?;
    }
    write(pid, "gid_map", &lines(groups))
}

/// The user namespace of a process.
pub fn user_namespace(pid: i32) -> Result<OwnedFd, SysError> {
    let path = format!("/proc/{pid}/ns/user");
    File::open(&path)
        .map(OwnedFd::from)
        .map_err(|e| SysError::io("open", path, &e))
}

/// A copy of the mount at `path`, attached nowhere, in which what belongs to identifier 0 on disk belongs to what
/// `userns` has for 0.
pub fn mapped_tree(path: &Path, userns: &OwnedFd) -> Result<OwnedFd, SysError> {
    let fail = |call, errno: Errno| SysError {
        call,
        target: path.display().to_string(),
        errno,
    };
    let text = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| fail("open_tree", Errno(libc::EINVAL)))?;
    let tree = mount::open_tree(libc::AT_FDCWD, &text, false).map_err(|e| fail("open_tree", e))?;
    mount::set_attr(tree.0, mount::attr::IDMAP, Some(userns.as_raw_fd()), false)
        .map_err(|e| fail("mount_setattr", e))?;
    let raw = tree.0;
    std::mem::forget(tree);
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
