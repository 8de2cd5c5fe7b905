//! Opening paths inside a tree that may have been made by an enemy: never out of it, never through a magic link.

use crate::error::{Errno, SysError};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The most links followed in one path, as the kernel has it (path_resolution(7)).
const LINKS: usize = 40;

/// How links in the path are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Refused, wherever they are in the path: for places that we make ourselves.
    Refuse,
    /// Followed inside the tree, whose top is `/` to them.
    InRoot,
}

/// A file descriptor that is closed on drop. Unlike `OwnedFd`, usable between clone and exec: nothing is asserted.
pub(crate) struct Fd(pub RawFd);

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours, and nothing uses it after this.
        unsafe { libc::close(self.0) };
    }
}

/// Opens `path` (relative, or absolute as seen from `dir`) beneath `dir`. Allocates nothing: usable in the child
/// of a clone.
pub(crate) fn open_raw(dir: RawFd, path: &CStr, flags: i32, links: Links) -> Result<Fd, Errno> {
    let resolve = libc::RESOLVE_NO_MAGICLINKS
        | match links {
            Links::Refuse => libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS,
            Links::InRoot => libc::RESOLVE_IN_ROOT,
        };
    // SAFETY: zero is a valid value of every field of this plain structure.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.resolve = resolve;
    // A rename elsewhere in the tree makes the kernel give up with EAGAIN (openat2(2)); a few tries are enough.
    for _ in 0..16 {
        // SAFETY: `path` ends in NUL and `how` is a whole open_how of the size given.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir,
                path.as_ptr(),
                &raw const how,
                size_of::<libc::open_how>(),
            )
        };
        if fd >= 0 {
            return Ok(Fd(fd as RawFd));
        }
        match Errno::last().0 {
            libc::EAGAIN | libc::EINTR => {}
            libc::ENOSYS | libc::EPERM => return stepwise(dir, path, flags, links),
            other => return Err(Errno(other)),
        }
    }
    Err(Errno(libc::EAGAIN))
}

/// The same where openat2(2) is missing or filtered: one component at a time, links read and pushed back by hand.
/// `..` is refused after the first link, where it could be raced out of the tree; otherwise it is refused too.
fn stepwise(dir: RawFd, path: &CStr, flags: i32, links: Links) -> Result<Fd, Errno> {
    const MAX: usize = libc::PATH_MAX as usize;
    let mut rest = [0u8; MAX];
    let mut length = path.to_bytes().len();
    rest.get_mut(..length)
        .ok_or(Errno(libc::ENAMETOOLONG))?
        .copy_from_slice(path.to_bytes());
    let open = |at: RawFd, name: &CStr, flags: i32| {
        // SAFETY: `name` ends in NUL.
        let fd = unsafe { libc::openat(at, name.as_ptr(), flags | libc::O_CLOEXEC) };
        if fd < 0 {
            Err(Errno::last())
        } else {
            Ok(Fd(fd))
        }
    };
    let mut here = open(dir, c".", libc::O_PATH | libc::O_DIRECTORY)?;
    let mut followed = 0;
    loop {
        let text = rest.get(..length).unwrap_or_default();
        let start = text.iter().position(|b| *b != b'/').unwrap_or(length);
        let text = text.get(start..).unwrap_or_default();
        let end = text.iter().position(|b| *b == b'/').unwrap_or(text.len());
        let (name, after) = text.split_at_checked(end).unwrap_or((text, &[]));
        let last = after.iter().all(|b| *b == b'/');
        if name.is_empty() {
            return open(here.0, c".", flags);
        }
        let mut buffer = [0u8; 256];
        buffer
            .get_mut(..name.len())
            .ok_or(Errno(libc::ENAMETOOLONG))?
            .copy_from_slice(name);
        let name = CStr::from_bytes_until_nul(&buffer).map_err(|_| Errno(libc::ENAMETOOLONG))?;
        if name == c".." {
            return Err(Errno(libc::EXDEV));
        }
        let next = open(here.0, name, libc::O_PATH | libc::O_NOFOLLOW)?;
        let mut target = [0u8; MAX];
        // SAFETY: the buffer is as long as said; an empty path with a descriptor of a link reads that link.
        let read =
            unsafe { libc::readlinkat(next.0, c"".as_ptr(), target.as_mut_ptr().cast(), MAX) };
        let link = usize::try_from(read).ok().and_then(|n| target.get(..n));
        if let Some(link) = link {
            followed += 1;
            if links == Links::Refuse || followed > LINKS {
                return Err(Errno(libc::ELOOP));
            }
            if link.first() == Some(&b'/') {
                here = open(dir, c".", libc::O_PATH | libc::O_DIRECTORY)?;
            }
            let mut joined = [0u8; MAX];
            let total = link.len() + 1 + after.len();
            let room = joined.get_mut(..total).ok_or(Errno(libc::ENAMETOOLONG))?;
            let (head, tail) = room
                .split_at_mut_checked(link.len())
                .ok_or(Errno(libc::ENAMETOOLONG))?;
            head.copy_from_slice(link);
            if let Some((slash, tail)) = tail.split_first_mut() {
                *slash = b'/';
                tail.copy_from_slice(after);
            }
            (rest, length) = (joined, total);
            continue;
        }
        if last {
            // The name may have become a link since: O_NOFOLLOW makes that an error.
            return open(here.0, name, flags | libc::O_NOFOLLOW);
        }
        here = next;
        let kept = after.len();
        let mut shifted = [0u8; MAX];
        shifted
            .get_mut(..kept)
            .ok_or(Errno(libc::ENAMETOOLONG))?
            .copy_from_slice(after);
        (rest, length) = (shifted, kept);
    }
}

/// Opens a path beneath a directory, for reading (or whatever `flags` of open(2) say; never with `O_CREAT`).
pub fn open(
    dir: &impl AsRawFd,
    path: &Path,
    flags: i32,
    links: Links,
) -> Result<OwnedFd, SysError> {
    let refuse = |errno| SysError {
        call: "openat2",
        target: path.display().to_string(),
        errno,
    };
    let text =
        CString::new(path.as_os_str().as_bytes()).map_err(|_| refuse(Errno(libc::EINVAL)))?;
    let fd = open_raw(dir.as_raw_fd(), &text, flags, links).map_err(refuse)?;
    let raw = fd.0;
    std::mem::forget(fd);
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Opens a directory as a place only (O_PATH), as the caller sees it.
pub fn open_path(path: &str) -> Result<OwnedFd, SysError> {
    use std::os::unix::fs::OpenOptionsExt;
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(path);
    opened
        .map(OwnedFd::from)
        .map_err(|e| SysError::io("open", path, &e))
}

/// Whether there is something at a path beneath `root`, links followed inside only.
pub fn is_there(root: &Path, path: &str) -> bool {
    let dir = File::open(root);
    dir.is_ok_and(|dir| open(&dir, Path::new(path), libc::O_PATH, Links::InRoot).is_ok())
}

/// Opens a regular file for reading, by a path beneath a directory in which no link may be; mounts are crossed.
/// Anything but a regular file is refused (EINVAL), and is not waited for.
pub fn open_file(dir: &impl AsRawFd, path: &Path) -> Result<File, SysError> {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::from(open(dir, path, flags, Links::Refuse)?);
    let shown = || path.display().to_string();
    let meta = file.metadata();
    match meta
        .map_err(|e| SysError::io("fstat", shown(), &e))?
        .is_file()
    {
        true => Ok(file),
        false => Err(SysError {
            call: "open",
            target: shown(),
            errno: Errno(libc::EINVAL),
        }),
    }
}

/// Opens a directory as a place only (O_PATH), by a path beneath another one in which no link may be; mounts are crossed.
pub fn open_dir(dir: &impl AsRawFd, path: &Path) -> Result<OwnedFd, SysError> {
    open(dir, path, libc::O_PATH | libc::O_DIRECTORY, Links::Refuse)
}

/// Reads at most `limit` bytes of a regular file beneath `root`, links followed inside only. Anything but a regular
/// file is refused (EINVAL), and is not waited for.
pub fn read_in_root(root: &Path, path: &str, limit: usize) -> Result<Vec<u8>, SysError> {
    let fail = |call, error: std::io::Error| SysError::io(call, path, &error);
    let dir = File::open(root).map_err(|e| SysError::io("open", root.display().to_string(), &e))?;
    let fd = open(
        &dir,
        Path::new(path),
        libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY,
        Links::InRoot,
    )?;
    let file = File::from(fd);
    if !file.metadata().map_err(|e| fail("fstat", e))?.is_file() {
        return Err(SysError {
            call: "open",
            target: path.into(),
            errno: Errno(libc::EINVAL),
        });
    }
    let mut bytes = Vec::new();
    file.take(limit as u64)
        .read_to_end(&mut bytes)
        .map_err(|e| fail("read", e))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn both(dir: &Path, path: &str, links: Links) -> [Result<u64, i32>; 2] {
        let file = File::open(dir).unwrap();
        let text = CString::new(path).unwrap();
        let inode = |fd: Result<Fd, Errno>| {
            use std::os::unix::fs::MetadataExt;
            let fd = fd.map_err(|e| e.0)?;
            let meta = std::fs::metadata(format!("/proc/self/fd/{}", fd.0)).unwrap();
            Ok(meta.ino())
        };
        let flags = libc::O_RDONLY | libc::O_NONBLOCK;
        [
            inode(open_raw(file.as_raw_fd(), &text, flags, links)),
            inode(stepwise(file.as_raw_fd(), &text, flags, links)),
        ]
    }

    #[test]
    fn no_link_leads_out() {
        use std::os::unix::fs::MetadataExt;
        let top = std::env::temp_dir().join(format!("jaula-beneath-{}", std::process::id()));
        std::fs::create_dir_all(top.join("root/etc")).unwrap();
        std::fs::create_dir_all(top.join("root/secret.d")).unwrap();
        std::fs::write(top.join("passwd"), "outside").unwrap();
        std::fs::write(top.join("root/etc/passwd"), "inside").unwrap();
        let root = top.join("root");
        symlink("/etc/passwd", root.join("absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("gone", root.join("dangling")).unwrap();
        symlink("etc", root.join("dir")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        let inside = std::fs::metadata(root.join("etc/passwd")).unwrap().ino();
        for path in [
            "absolute",
            "etc/passwd",
            "/etc/passwd",
            "dir/passwd",
            "./etc//passwd",
        ] {
            assert_eq!(
                both(&root, path, Links::InRoot),
                [Ok(inside), Ok(inside)],
                "{path}"
            );
        }
        for path in ["absolute", "dir/passwd", "loop"] {
            assert_eq!(
                both(&root, path, Links::Refuse),
                [Err(libc::ELOOP), Err(libc::ELOOP)],
                "{path}"
            );
        }
        assert_eq!(both(&root, "loop", Links::InRoot), [Err(libc::ELOOP); 2]);
        for path in ["dangling", "gone", "magic/etc"] {
            assert_eq!(
                both(&root, path, Links::InRoot),
                [Err(libc::ENOENT); 2],
                "{path}"
            );
        }
        let outside = std::fs::metadata(top.join("passwd")).unwrap().ino();
        for result in both(&root, "../passwd", Links::InRoot) {
            assert_ne!(result, Ok(outside));
        }
        std::fs::remove_dir_all(&top).unwrap();
    }
}
