//! Whose files are, where the kernel has one identifier only: an ordinary user without subordinate identifiers cannot
//! give a file to anybody. Then the owner is recorded beside the file, and everything of [`crate::tree`] and
//! [`crate::dir`] that sets or tells an owner goes by the record.
//!
//! Of a file or a directory it is an extended attribute, `user.jaula.owner`, with `UID:GID` in decimal; the kernel carries
//! it along with every name, renaming and copy of an overlay. Links, pipes and nodes can have none (xattr(7)): theirs is
//! an attribute of the directory they are in, `user.jaula.owner.NAME`. No record means root.

use crate::error::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

static RECORDED: AtomicBool = AtomicBool::new(false);

/// The attribute of a file or directory.
const KEY: &CStr = c"user.jaula.owner";

/// From now on this process records owners and goes by what is recorded.
pub fn record() {
    RECORDED.store(true, Ordering::Relaxed);
}

/// Whether owners are recorded.
pub fn is_recorded() -> bool {
    RECORDED.load(Ordering::Relaxed)
}

/// Whether an attribute is such a record, and so no part of what a file is.
pub fn is_key(name: &[u8]) -> bool {
    let key = KEY.to_bytes();
    name.strip_prefix(key)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
}

fn parse(value: &[u8]) -> Option<(u32, u32)> {
    let (uid, gid) = std::str::from_utf8(value).ok()?.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

fn text(uid: u32, gid: u32) -> Vec<u8> {
    format!("{uid}:{gid}").into_bytes()
}

/// The attribute for a name that can have none of its own.
fn key_of(name: &[u8]) -> io::Result<CString> {
    Ok(CString::new([KEY.to_bytes(), b".", name].concat())?)
}

fn found(length: isize, value: &[u8]) -> io::Result<Option<(u32, u32)>> {
    match usize::try_from(length) {
        Ok(length) => Ok(value.get(..length).and_then(parse)),
        Err(_) => match Errno::last().0 {
            libc::ENODATA | libc::EOPNOTSUPP | libc::EPERM => Ok(None),
            errno => Err(io::Error::from_raw_os_error(errno)),
        },
    }
}

fn done(result: libc::c_int, absent_is_fine: bool) -> io::Result<()> {
    if result >= 0 {
        return Ok(());
    }
    match Errno::last().0 {
        libc::ENODATA | libc::EOPNOTSUPP if absent_is_fine => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn read_fd(fd: RawFd, key: &CStr) -> io::Result<Option<(u32, u32)>> {
    let mut value = [0u8; 32];
    // SAFETY: the key ends in NUL, and the room is as long as said.
    let got = unsafe { libc::fgetxattr(fd, key.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    found(got, &value)
}

fn write_fd(fd: RawFd, key: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    if (uid, gid) == (0, 0) {
        // SAFETY: the key ends in NUL.
        return done(unsafe { libc::fremovexattr(fd, key.as_ptr()) }, true);
    }
    let value = text(uid, gid);
    // SAFETY: the key ends in NUL, and the value is as long as said.
    let set = unsafe { libc::fsetxattr(fd, key.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    done(set, false)
}

/// What is recorded of an open file or directory.
///
/// # Errors
/// fgetxattr(2); a file system without attributes has no record.
pub fn of(fd: BorrowedFd<'_>) -> io::Result<Option<(u32, u32)>> {
    read_fd(fd.as_raw_fd(), KEY)
}

/// Records the owner of an open file or directory.
///
/// # Errors
/// fsetxattr(2); `EOPNOTSUPP` where the file system has no `user.` attributes.
pub fn set(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    write_fd(fd.as_raw_fd(), KEY, uid, gid)
}

/// A path that leads to `path` beneath the directory, whatever the working directory is.
fn by_descriptor(dir: BorrowedFd<'_>, path: &[u8]) -> io::Result<CString> {
    let mut full = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    full.extend_from_slice(path);
    Ok(CString::new(full)?)
}

/// The directory of a path and its last component.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
        None => (b".", path),
    }
}

fn read_path(path: &CStr, key: &CStr) -> io::Result<Option<(u32, u32)>> {
    let mut value = [0u8; 32];
    let (value_at, length) = (value.as_mut_ptr().cast(), value.len());
    // SAFETY: both strings end in NUL, and the room is as long as said.
    let got = unsafe { libc::lgetxattr(path.as_ptr(), key.as_ptr(), value_at, length) };
    found(got, &value)
}

fn write_path(path: &CStr, key: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    if (uid, gid) == (0, 0) {
        // SAFETY: both strings end in NUL.
        return done(
            unsafe { libc::lremovexattr(path.as_ptr(), key.as_ptr()) },
            true,
        );
    }
    let value = text(uid, gid);
    let (value_at, length) = (value.as_ptr().cast(), value.len());
    // SAFETY: both strings end in NUL, and the value is as long as said.
    let set = unsafe { libc::lsetxattr(path.as_ptr(), key.as_ptr(), value_at, length, 0) };
    done(set, false)
}

/// What is recorded of a path beneath a directory, a link itself; `own` says that it is a file or a directory, which
/// have an attribute of their own.
///
/// # Errors
/// lgetxattr(2).
pub fn of_at(dir: BorrowedFd<'_>, path: &[u8], own: bool) -> io::Result<Option<(u32, u32)>> {
    if own {
        return read_path(&by_descriptor(dir, path)?, KEY);
    }
    let (parent, name) = split(path);
    read_path(&by_descriptor(dir, parent)?, &key_of(name)?)
}

/// Records the owner of a path beneath a directory, of a link itself.
///
/// # Errors
/// lsetxattr(2); `ERANGE` for a link whose name is too long to be part of an attribute's.
pub fn set_at(dir: BorrowedFd<'_>, path: &[u8], own: bool, uid: u32, gid: u32) -> io::Result<()> {
    if own {
        return write_path(&by_descriptor(dir, path)?, KEY, uid, gid);
    }
    let (parent, name) = split(path);
    write_path(&by_descriptor(dir, parent)?, &key_of(name)?, uid, gid)
}

/// What is recorded of the file or directory that a name leads to, as one of this process's descriptors is called in
/// proc(5).
pub(crate) fn of_path(path: &CStr) -> io::Result<Option<(u32, u32)>> {
    let mut value = [0u8; 32];
    let (value_at, length) = (value.as_mut_ptr().cast(), value.len());
    // SAFETY: both strings end in NUL, and the room is as long as said.
    let got = unsafe { libc::getxattr(path.as_ptr(), KEY.as_ptr(), value_at, length) };
    found(got, &value)
}

/// The same, recorded.
pub(crate) fn set_path(path: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    if (uid, gid) == (0, 0) {
        // SAFETY: both strings end in NUL.
        return done(
            unsafe { libc::removexattr(path.as_ptr(), KEY.as_ptr()) },
            true,
        );
    }
    let value = text(uid, gid);
    let (value_at, length) = (value.as_ptr().cast(), value.len());
    // SAFETY: both strings end in NUL, and the value is as long as said.
    let set = unsafe { libc::setxattr(path.as_ptr(), KEY.as_ptr(), value_at, length, 0) };
    done(set, false)
}

/// What is recorded, in its open directory, of something that has no attribute itself.
pub(crate) fn of_child(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<(u32, u32)>> {
    read_fd(dir.as_raw_fd(), &key_of(name)?)
}

/// The same, recorded.
pub(crate) fn set_child(dir: BorrowedFd<'_>, name: &[u8], uid: u32, gid: u32) -> io::Result<()> {
    write_fd(dir.as_raw_fd(), &key_of(name)?, uid, gid)
}

/// Takes the records of links, pipes and nodes along when what is in a directory moves to another.
///
/// # Errors
/// flistxattr(2), fsetxattr(2).
pub fn carry(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0u8; 64 * 1024];
    let from = from.as_raw_fd();
    // SAFETY: the room is as long as said.
    let got = unsafe { libc::flistxattr(from, names.as_mut_ptr().cast(), names.len()) };
    // A file system without attributes has no records.
    let names = names
        .get(..usize::try_from(got).unwrap_or(0))
        .unwrap_or_default();
    for name in names.split(|byte| *byte == 0) {
        if name != KEY.to_bytes() && is_key(name) {
            let key = CString::new(name)?;
            if let Some((uid, gid)) = read_fd(from, &key)? {
                write_fd(to.as_raw_fd(), &key, uid, gid)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    #[test]
    fn records_are_told_from_other_attributes() {
        assert!(is_key(b"user.jaula.owner"));
        assert!(is_key(b"user.jaula.owner.mail"));
        assert!(!is_key(b"user.jaula.owners"));
        assert_eq!(parse(b"8:42"), Some((8, 42)));
        for bad in [&b"8"[..], b"", b"8:", b"-1:0", b"8:9:1", b"\xff:1"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn files_directories_and_links_have_records() {
        let path = std::env::temp_dir().join(format!("jaula-owner-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("file"), "").unwrap();
        symlink("nowhere", path.join("link")).unwrap();
        let dir = std::fs::File::open(&path).unwrap();
        let dir = dir.as_fd();
        let tried = set_at(dir, b"file", true, 8, 42);
        if tried.is_ok() {
            assert_eq!(of_at(dir, b"file", true).unwrap(), Some((8, 42)));
            assert_eq!(of_at(dir, b"link", false).unwrap(), None);
            set_at(dir, b"link", false, 5, 6).unwrap();
            assert_eq!(of_at(dir, b"link", false).unwrap(), Some((5, 6)));
            std::fs::create_dir(path.join("other")).unwrap();
            let other = std::fs::File::open(path.join("other")).unwrap();
            carry(dir, other.as_fd()).unwrap();
            assert_eq!(of_at(other.as_fd(), b"link", false).unwrap(), Some((5, 6)));
            set(dir, 1, 2).unwrap();
            assert_eq!(of(dir).unwrap(), Some((1, 2)));
            // Root's again.
            set(dir, 0, 0).unwrap();
            set_at(dir, b"file", true, 0, 0).unwrap();
            assert_eq!(
                (of(dir).unwrap(), of_at(dir, b"file", true).unwrap()),
                (None, None)
            );
        }
        std::fs::remove_dir_all(&path).unwrap();
        // A file system without such attributes says so.
        if let Err(error) = tried {
            assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{error}");
        }
    }
}
