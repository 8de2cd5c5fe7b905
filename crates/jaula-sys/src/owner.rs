//! Whose files are, where the kernel has one identifier only: an ordinary user without subordinate identifiers cannot
//! give a file to anybody. Then the owner is recorded beside the file, and everything of [`crate::tree`] and
//! [`crate::dir`] that sets or tells an owner goes by the record.
//!
//! Of a file or a directory it is an extended attribute, `user.jaula.owner`, with `UID:GID` in decimal; the kernel carries
//! it along with every name, renaming and copy of an overlay. Links, pipes and nodes can have none (xattr(7)): theirs is
//! an attribute of the directory they are in, `user.jaula.owner.NAME`, with the time when it was recorded behind an `@`:
//! what was made there under this name later is another thing, and root's. No record means root.

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

/// The most bytes of a record.
const LONGEST: usize = 64;
/// Room for the name of an attribute, without its NUL (XATTR_NAME_MAX).
const KEY_ROOM: usize = 255;

/// Seconds since 1970 and nanoseconds after them.
type Time = (i64, u32);

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    owner: (u32, u32),
    /// When, where the thing itself may have become another since.
    at: Option<Time>,
}

fn parse(value: &[u8]) -> Option<Record> {
    let text = std::str::from_utf8(value).ok()?;
    let (owner, at) = match text.split_once('@') {
        Some((owner, at)) => (owner, Some(at)),
        None => (text, None),
    };
    let (uid, gid) = owner.split_once(':')?;
    let time = |text: &str| {
        let (seconds, nanos) = text.split_once('.')?;
        Some((seconds.parse().ok()?, nanos.parse().ok()?))
    };
    Some(Record {
        owner: (uid.parse().ok()?, gid.parse().ok()?),
        at: match at {
            Some(at) => Some(time(at)?),
            None => None,
        },
    })
}

fn text(uid: u32, gid: u32) -> Vec<u8> {
    format!("{uid}:{gid}").into_bytes()
}

fn now() -> Time {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    (time.tv_sec, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// When a name came to be; none where the file system does not tell.
fn born(dir: BorrowedFd<'_>, name: &[u8]) -> Option<Time> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let name = CString::new(name).ok()?;
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let found = statx(dir, &name, flags, StatxFlags::BTIME).ok()?;
    let tells = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    tells.then_some((found.stx_btime.tv_sec, found.stx_btime.tv_nsec))
}

/// Whose the thing of a name is: of one that was made after the record nothing is recorded.
fn still(record: Option<Record>, dir: BorrowedFd<'_>, name: &[u8]) -> Option<(u32, u32)> {
    let record = record?;
    let later = |at: Time| born(dir, name).is_some_and(|born| born > at);
    (!record.at.is_some_and(later)).then_some(record.owner)
}

/// The attribute for a name that can have none of its own. One that is too long to be part of an attribute's is there by
/// a sum (FNV-1a), behind a slash, which is in no name.
fn key_of(name: &[u8]) -> io::Result<CString> {
    let key = [KEY.to_bytes(), b".", name].concat();
    if key.len() <= KEY_ROOM {
        return Ok(CString::new(key)?);
    }
    let sum = name.iter().fold(
        0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128,
        |sum, byte| {
            (sum ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        },
    );
    let key = format!("{}./{sum:032x}", KEY.to_string_lossy());
    Ok(CString::new(key)?)
}

fn found(length: isize, value: &[u8]) -> io::Result<Option<Record>> {
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

fn read_fd(fd: RawFd, key: &CStr) -> io::Result<Option<Record>> {
    let mut value = [0u8; LONGEST];
    // SAFETY: the key ends in NUL, and the room is as long as said.
    let got = unsafe { libc::fgetxattr(fd, key.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    found(got, &value)
}

fn forget_fd(fd: RawFd, key: &CStr) -> io::Result<()> {
    // SAFETY: the key ends in NUL.
    done(unsafe { libc::fremovexattr(fd, key.as_ptr()) }, true)
}

fn put_fd(fd: RawFd, key: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: the key ends in NUL, and the value is as long as said.
    let set = unsafe { libc::fsetxattr(fd, key.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    done(set, false)
}

/// Of a name, when `named`; else of the thing itself.
fn write_fd(fd: RawFd, key: &CStr, uid: u32, gid: u32, named: bool) -> io::Result<()> {
    if (uid, gid) == (0, 0) {
        return forget_fd(fd, key);
    }
    put_fd(fd, key, &value_of(uid, gid, named))
}

fn value_of(uid: u32, gid: u32, named: bool) -> Vec<u8> {
    let mut value = text(uid, gid);
    if named {
        let (seconds, nanos) = now();
        value.extend_from_slice(format!("@{seconds}.{nanos:09}").as_bytes());
    }
    value
}

/// What is recorded of an open file or directory.
///
/// # Errors
/// fgetxattr(2); a file system without attributes has no record.
pub fn of(fd: BorrowedFd<'_>) -> io::Result<Option<(u32, u32)>> {
    Ok(read_fd(fd.as_raw_fd(), KEY)?.map(|record| record.owner))
}

/// Records the owner of an open file or directory.
///
/// # Errors
/// fsetxattr(2); `EOPNOTSUPP` where the file system has no `user.` attributes.
pub fn set(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    write_fd(fd.as_raw_fd(), KEY, uid, gid, false)
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

fn read_path(path: &CStr, key: &CStr) -> io::Result<Option<Record>> {
    let mut value = [0u8; LONGEST];
    let (value_at, length) = (value.as_mut_ptr().cast(), value.len());
    // SAFETY: both strings end in NUL, and the room is as long as said.
    let got = unsafe { libc::lgetxattr(path.as_ptr(), key.as_ptr(), value_at, length) };
    found(got, &value)
}

fn write_path(path: &CStr, key: &CStr, uid: u32, gid: u32, named: bool) -> io::Result<()> {
    if (uid, gid) == (0, 0) {
        // SAFETY: both strings end in NUL.
        return done(
            unsafe { libc::lremovexattr(path.as_ptr(), key.as_ptr()) },
            true,
        );
    }
    let value = value_of(uid, gid, named);
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
        let record = read_path(&by_descriptor(dir, path)?, KEY)?;
        return Ok(record.map(|record| record.owner));
    }
    let (parent, name) = split(path);
    let record = read_path(&by_descriptor(dir, parent)?, &key_of(name)?)?;
    Ok(still(record, dir, path))
}

/// Records the owner of a path beneath a directory, of a link itself.
///
/// # Errors
/// lsetxattr(2).
pub fn set_at(dir: BorrowedFd<'_>, path: &[u8], own: bool, uid: u32, gid: u32) -> io::Result<()> {
    if own {
        return write_path(&by_descriptor(dir, path)?, KEY, uid, gid, false);
    }
    let (parent, name) = split(path);
    write_path(&by_descriptor(dir, parent)?, &key_of(name)?, uid, gid, true)
}

/// What is recorded of the file or directory that a name leads to, as one of this process's descriptors is called in
/// proc(5).
pub(crate) fn of_path(path: &CStr) -> io::Result<Option<(u32, u32)>> {
    let mut value = [0u8; LONGEST];
    let (value_at, length) = (value.as_mut_ptr().cast(), value.len());
    // SAFETY: both strings end in NUL, and the room is as long as said.
    let got = unsafe { libc::getxattr(path.as_ptr(), KEY.as_ptr(), value_at, length) };
    Ok(found(got, &value)?.map(|record| record.owner))
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
    let record = read_fd(dir.as_raw_fd(), &key_of(name)?)?;
    Ok(still(record, dir, name))
}

/// The same, recorded.
pub(crate) fn set_child(dir: BorrowedFd<'_>, name: &[u8], uid: u32, gid: u32) -> io::Result<()> {
    write_fd(dir.as_raw_fd(), &key_of(name)?, uid, gid, true)
}

/// The records of names that a directory has.
fn names_in(dir: RawFd) -> io::Result<Vec<CString>> {
    let mut names = vec![0u8; 64 * 1024];
    // SAFETY: the room is as long as said.
    let got = unsafe { libc::flistxattr(dir, names.as_mut_ptr().cast(), names.len()) };
    // A file system without attributes has no records.
    let names = names
        .get(..usize::try_from(got).unwrap_or(0))
        .unwrap_or_default();
    let of_names = names
        .split(|byte| *byte == 0)
        .filter(|name| *name != KEY.to_bytes() && is_key(name));
    Ok(of_names.map(CString::new).collect::<Result<_, _>>()?)
}

/// Takes the records of links, pipes and nodes along when what is in an upper directory of an overlay moves into the lower
/// one: it had the lower one's as long as nobody changed them, so that afterwards there are those that it has.
///
/// # Errors
/// flistxattr(2), fsetxattr(2).
pub fn carry(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    let ours = names_in(from)?;
    for gone in names_in(to)?.iter().filter(|key| !ours.contains(key)) {
        forget_fd(to, gone)?;
    }
    for key in &ours {
        let mut value = [0u8; LONGEST];
        // SAFETY: the key ends in NUL, and the room is as long as said.
        let got =
            unsafe { libc::fgetxattr(from, key.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        // As it is, with its time.
        if found(got, &value)?.is_some()
            && let Some(value) = usize::try_from(got).ok().and_then(|got| value.get(..got))
        {
            put_fd(to, key, value)?;
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
        let owner = (8, 42);
        assert_eq!(parse(b"8:42"), Some(Record { owner, at: None }));
        let at = Some((-5, 600));
        assert_eq!(parse(b"8:42@-5.000000600"), Some(Record { owner, at }));
        for bad in [
            &b"8"[..],
            b"",
            b"8:",
            b"-1:0",
            b"8:9:1",
            b"\xff:1",
            b"8:9@",
            b"8:9@5",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    /// When a record was written.
    fn now_of(dir: &std::fs::File, key: &CStr) -> Time {
        let record = read_fd(dir.as_raw_fd(), key).unwrap();
        record.and_then(|record| record.at).unwrap()
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
            // The longest name that there is.
            let long = [b'l'; 255];
            symlink("nowhere", path.join("l".repeat(255))).unwrap();
            set_at(dir, &long, false, 7, 9).unwrap();
            assert_eq!(of_at(dir, &long, false).unwrap(), Some((7, 9)));
            assert_eq!(of_child(dir, &long).unwrap(), Some((7, 9)));
            assert_eq!(of_child(dir, &[b'l'; 254]).unwrap(), None);
            std::fs::create_dir(path.join("other")).unwrap();
            let other = std::fs::File::open(path.join("other")).unwrap();
            carry(dir, other.as_fd()).unwrap();
            assert_eq!(of_at(other.as_fd(), b"link", false).unwrap(), Some((5, 6)));
            // What was taken back is taken back there too.
            set_at(dir, b"link", false, 0, 0).unwrap();
            carry(dir, other.as_fd()).unwrap();
            assert_eq!(of_at(other.as_fd(), b"link", false).unwrap(), None);
            assert_eq!(of_child(other.as_fd(), &long).unwrap(), Some((7, 9)));
            // Another thing by this name is nobody's but root's.
            let before = born(dir, &long);
            std::fs::remove_file(path.join("l".repeat(255))).unwrap();
            for _ in 0..1000 {
                symlink("elsewhere", path.join("l".repeat(255))).unwrap();
                // The kernel's clock for files has its own, coarser ticks.
                if born(dir, &long) > Some(now_of(&other, &key_of(&long).unwrap())) {
                    break;
                }
                std::fs::remove_file(path.join("l".repeat(255))).unwrap();
                std::thread::yield_now();
            }
            if before.is_some() {
                assert_eq!(of_at(dir, &long, false).unwrap(), None);
            }
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
