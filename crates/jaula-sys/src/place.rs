//! Places in a tree: directories, files and links made beneath its descriptor, whatever an enemy put there before.
//! Nothing here allocates: all of it may run between clone and exec.

use crate::beneath::{self, Fd, Links};
use crate::child::check;
use crate::error::Errno;
use crate::mount;
use std::ffi::CStr;
use std::os::fd::RawFd;

pub(crate) fn make_dir(dir: RawFd, name: &CStr, mode: u32) -> Result<(), Errno> {
    // SAFETY: the name ends in NUL. The umask is 0 in the child (see `spawn`).
    check(unsafe { libc::mkdirat(dir, name.as_ptr(), mode) })
}

pub(crate) fn make_file(dir: RawFd, name: &CStr, mode: u32) -> Result<(), Errno> {
    // Exclusive as it is, and there is no descriptor to close.
    // SAFETY: the name ends in NUL.
    check(unsafe { libc::mknodat(dir, name.as_ptr(), libc::S_IFREG | mode, 0) })
}

/// The type bits of a file, itself and not what it links to.
pub(crate) fn file_type(dir: RawFd, name: &CStr) -> Result<u32, Errno> {
    // SAFETY: zero is a valid value of every field.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    // SAFETY: the name ends in NUL and `stat` is written only.
    check(unsafe { libc::fstatat(dir, name.as_ptr(), &raw mut stat, flags) })?;
    Ok(stat.st_mode & libc::S_IFMT)
}

/// A path as directory and last component, on the stack.
struct Split {
    buffer: [u8; libc::PATH_MAX as usize],
    /// Where the last component starts.
    last: usize,
}

impl Split {
    fn new(path: &CStr) -> Result<Self, Errno> {
        let mut buffer = [0u8; libc::PATH_MAX as usize];
        let bytes = path.to_bytes_with_nul();
        buffer
            .get_mut(..bytes.len())
            .ok_or(Errno(libc::ENAMETOOLONG))?
            .copy_from_slice(bytes);
        let last = bytes
            .iter()
            .rposition(|b| *b == b'/')
            .map_or(0, |slash| slash + 1);
        if let Some(slash) = last.checked_sub(1).and_then(|slash| buffer.get_mut(slash)) {
            *slash = 0;
        }
        Ok(Self { buffer, last })
    }

    fn text(&self, from: usize) -> Result<&CStr, Errno> {
        let bytes = self.buffer.get(from..).ok_or(Errno(libc::EINVAL))?;
        CStr::from_bytes_until_nul(bytes).map_err(|_| Errno(libc::EINVAL))
    }

    /// The directory: `.` for a path of one component.
    fn parent(&self) -> Result<&CStr, Errno> {
        let parent = if self.last == 0 { c"." } else { self.text(0)? };
        Ok(if parent.is_empty() { c"." } else { parent })
    }

    fn name(&self) -> Result<&CStr, Errno> {
        self.text(self.last)
    }
}

pub(crate) const DIRECTORY: i32 = libc::O_PATH | libc::O_DIRECTORY;

/// A link; its directory is made if there is none. One that is there already and says the same is as good when `same`.
/// Otherwise what is there is told through `found`, as far as it is a link.
pub(crate) fn symlink(
    dir: RawFd,
    path: &CStr,
    to: &CStr,
    same: bool,
    found: &mut Note,
) -> Result<(), Errno> {
    if !path.to_bytes().contains(&b'/') {
        return symlink_at(dir, path, to, same, found);
    }
    let split = Split::new(path)?;
    found.stage = Stage::Parents;
    place(dir, split.parent()?, Some(0o755), 0o755)?;
    found.stage = Stage::Last;
    let parent = beneath::open_raw(dir, split.parent()?, DIRECTORY, Links::InRoot)?;
    symlink_at(parent.0, split.name()?, to, same, found)
}

fn symlink_at(
    dir: RawFd,
    name: &CStr,
    to: &CStr,
    same: bool,
    found: &mut Note,
) -> Result<(), Errno> {
    // SAFETY: both strings end in NUL.
    match check(unsafe { libc::symlinkat(to.as_ptr(), dir, name.as_ptr()) }) {
        Err(Errno(libc::EEXIST)) if same => {}
        other => return other,
    }
    let mut text = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the name ends in NUL and the buffer is as long as said.
    let read =
        unsafe { libc::readlinkat(dir, name.as_ptr(), text.as_mut_ptr().cast(), text.len()) };
    let text = usize::try_from(read).ok().and_then(|n| text.get(..n));
    match text {
        Some(text) if text == to.to_bytes() => Ok(()),
        Some(text) => {
            found.set(text);
            Err(Errno(libc::EEXIST))
        }
        None => Err(Errno(libc::EEXIST)),
    }
}

pub(crate) fn plain(dir: RawFd, path: &CStr, directory: bool, replace: bool) -> Result<(), Errno> {
    if !path.to_bytes().contains(&b'/') {
        return plain_in(dir, path, directory, replace);
    }
    let split = Split::new(path)?;
    let parent = beneath::open_raw(dir, split.parent()?, DIRECTORY, Links::Refuse)?;
    plain_in(parent.0, split.name()?, directory, replace)
}

fn plain_in(parent: RawFd, name: &CStr, directory: bool, replace: bool) -> Result<(), Errno> {
    let wanted = if directory {
        libc::S_IFDIR
    } else {
        libc::S_IFREG
    };
    match file_type(parent, name) {
        Ok(found) if found == wanted => return Ok(()),
        Ok(found) if replace => {
            let flags = if found == libc::S_IFDIR {
                libc::AT_REMOVEDIR
            } else {
                0
            };
            // SAFETY: the name ends in NUL; a link itself is removed, not what it leads to.
            check(unsafe { libc::unlinkat(parent, name.as_ptr(), flags) })?;
        }
        Ok(libc::S_IFLNK) => return Err(Errno(libc::ELOOP)),
        Ok(_) => {
            return Err(Errno(if directory {
                libc::ENOTDIR
            } else {
                libc::EEXIST
            }));
        }
        Err(Errno(libc::ENOENT)) => {}
        Err(errno) => return Err(errno),
    }
    if directory {
        make_dir(parent, name, 0o755)
    } else {
        make_file(parent, name, 0o644)
    }
}

/// A place to mount on: a directory of mode `directory`, or anything else when that is none, then a file of mode
/// `file`; what is missing on the way is made, links stay inside.
pub(crate) fn place(
    dir: RawFd,
    path: &CStr,
    directory: Option<u32>,
    file: u32,
) -> Result<(), Errno> {
    place_below(dir, path, directory, file, 0o755, &mut Note::new())
}

/// As [`place`], with the mode of directories on the way; tells through `note` how far it came.
pub(crate) fn place_below(
    dir: RawFd,
    path: &CStr,
    directory: Option<u32>,
    file: u32,
    parents: u32,
    note: &mut Note,
) -> Result<(), Errno> {
    let kind = if directory.is_some() {
        DIRECTORY
    } else {
        libc::O_PATH
    };
    note.stage = Stage::Last;
    // Mostly it is there.
    match beneath::open_raw(dir, path, kind, Links::InRoot) {
        Ok(_) => return Ok(()),
        // Not there, or one on the way is in the way: which, is found below.
        Err(Errno(libc::ENOENT | libc::ENOTDIR)) => {}
        Err(errno) => return Err(errno),
    }
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    let bytes = path.to_bytes();
    buffer
        .get_mut(..bytes.len())
        .ok_or(Errno(libc::ENAMETOOLONG))?
        .copy_from_slice(bytes);
    // Every prefix that ends before a slash, then the whole.
    for end in 1..=bytes.len() {
        let whole = end == bytes.len();
        if !whole && bytes.get(end) != Some(&b'/') {
            continue;
        }
        note.stage = if whole { Stage::Last } else { Stage::Parents };
        if let Some(slash) = buffer.get_mut(end) {
            *slash = 0;
        }
        let prefix = CStr::from_bytes_until_nul(&buffer).map_err(|_| Errno(libc::EINVAL))?;
        let wanted = if whole { kind } else { DIRECTORY };
        match beneath::open_raw(dir, prefix, wanted, Links::InRoot) {
            Ok(_) => {}
            Err(Errno(libc::ENOENT)) => {
                let split = Split::new(prefix)?;
                let parent = beneath::open_raw(dir, split.parent()?, DIRECTORY, Links::InRoot)?;
                match directory {
                    None if whole => make_file(parent.0, split.name()?, file)?,
                    Some(mode) if whole => make_dir(parent.0, split.name()?, mode)?,
                    _ => make_dir(parent.0, split.name()?, parents)?,
                }
            }
            Err(errno) => return Err(errno),
        }
        if let (Some(slash), false) = (buffer.get_mut(end), whole) {
            *slash = b'/';
        }
    }
    Ok(())
}

/// Makes or empties a file beneath `dir`, its directory made if there is none, and copies all that a descriptor gives
/// into it.
pub(crate) fn write_file(
    from: RawFd,
    dir: RawFd,
    path: &CStr,
    mode: u32,
    parents: u32,
    note: &mut Note,
) -> Result<(), Errno> {
    let split = Split::new(path)?;
    if split.last != 0 {
        place_below(dir, split.parent()?, Some(parents), 0, parents, note)
            .inspect_err(|_| note.stage = Stage::Parents)?;
    }
    note.stage = Stage::Last;
    let parent = beneath::open_raw(dir, split.parent()?, DIRECTORY, Links::InRoot)?;
    // Not through a link: it is looked up beneath the root above, and this is the last of it.
    let flags = libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY | libc::O_NOFOLLOW;
    let flags = flags | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    // SAFETY: the name ends in NUL.
    let mut fd = unsafe { libc::openat(parent.0, split.name()?.as_ptr(), flags, mode) };
    if fd < 0 && Errno::last().0 == libc::ELOOP {
        let flags = libc::O_TRUNC | libc::O_WRONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = beneath::open_raw(dir, path, flags, Links::InRoot)?;
        fd = file.0;
        std::mem::forget(file);
    }
    check(fd)?;
    let to = Fd(fd);
    note.stage = Stage::Data;
    copy(from, to.0)
}

/// A new file in a directory of ours, with all that a descriptor gives.
pub(crate) fn data_file(
    from: RawFd,
    dir: RawFd,
    name: &CStr,
    mode: u32,
    note: &mut Note,
) -> Result<(), Errno> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    note.stage = Stage::Last;
    // SAFETY: the name ends in NUL.
    let fd = unsafe { libc::openat(dir, name.as_ptr(), flags, 0o600) };
    check(fd)?;
    let to = Fd(fd);
    // SAFETY: takes numbers only.
    check(unsafe { libc::fchmod(to.0, mode) })?;
    note.stage = Stage::Data;
    copy(from, to.0)
}

fn copy(from: RawFd, to: RawFd) -> Result<(), Errno> {
    let mut buffer = [0u8; 8192];
    loop {
        // SAFETY: the buffer is as long as said.
        let got = unsafe { libc::read(from, buffer.as_mut_ptr().cast(), buffer.len()) };
        let Ok(got) = usize::try_from(got) else {
            match Errno::last() {
                Errno(libc::EINTR) => continue,
                errno => return Err(errno),
            }
        };
        let mut rest = buffer.get(..got).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            // SAFETY: the bytes are as many as said.
            let done = unsafe { libc::write(to, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(done) {
                Ok(0) => return Err(Errno(libc::ENOSPC)),
                Ok(done) => rest = rest.get(done..).unwrap_or_default(),
                Err(_) if Errno::last().0 == libc::EINTR => {}
                Err(_) => return Err(Errno::last()),
            }
        }
    }
}

/// Changes the mode of what is at a path beneath `dir`.
pub(crate) fn chmod(dir: RawFd, path: &CStr, mode: u32) -> Result<(), Errno> {
    const SYS_FCHMODAT2: libc::c_long = 452;
    let file = beneath::open_raw(dir, path, libc::O_PATH, Links::InRoot)?;
    // SAFETY: the path is an empty string.
    let done = unsafe {
        libc::syscall(
            SYS_FCHMODAT2,
            file.0,
            c"".as_ptr(),
            mode,
            libc::AT_EMPTY_PATH,
        )
    };
    if done == 0 || Errno::last().0 != libc::ENOSYS {
        return if done == 0 {
            Ok(())
        } else {
            Err(Errno::last())
        };
    }
    // Before Linux 6.6 only through the process's own list of descriptors.
    let mut room = [0u8; 32];
    let link = descriptor_path(file.0, &mut room)?;
    // SAFETY: the path ends in NUL.
    check(unsafe { libc::chmod(link.as_ptr(), mode) })
}

/// Makes the mount at a path beneath `dir` read-only, and nothing that is mounted beneath it.
pub(crate) fn remount_read_only(dir: RawFd, path: &CStr) -> Result<(), Errno> {
    let at = beneath::open_raw(dir, path, libc::O_PATH, Links::InRoot)?;
    mount::set_attr(at.0, mount::attr::RDONLY, None, false)
}

/// Makes a part of a mount of ours read-only where it could be written; whether there was one.
pub(crate) fn freeze_part(dir: RawFd, path: &CStr) -> Result<bool, Errno> {
    // SAFETY: the path ends in NUL.
    match check(unsafe { libc::faccessat(dir, path.as_ptr(), libc::W_OK, 0) }) {
        Err(Errno(libc::EACCES | libc::ENOENT | libc::EROFS)) => return Ok(false),
        other => other?,
    }
    let part = mount::open_tree(dir, path, true)?;
    let set = mount::attr::RDONLY | mount::attr::NOSUID | mount::attr::NODEV;
    mount::set_attr(part.0, set, None, true)?;
    let at = beneath::open_raw(dir, path, libc::O_PATH, Links::Refuse)?;
    mount::attach(part.0, at.0)?;
    Ok(true)
}

/// `/proc/self/fd/N`
pub(crate) fn descriptor_path(fd: RawFd, room: &mut [u8; 32]) -> Result<&CStr, Errno> {
    const PREFIX: &[u8] = b"/proc/self/fd/";
    let mut digits = [0u8; 10];
    let mut rest = u32::try_from(fd).map_err(|_| Errno(libc::EBADF))?;
    let mut start = digits.len();
    loop {
        start -= 1;
        if let Some(digit) = digits.get_mut(start) {
            *digit = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 || start == 0 {
            break;
        }
    }
    let digits = digits.get(start..).unwrap_or_default();
    let text = PREFIX.iter().chain(digits).chain([&0]);
    room.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    CStr::from_bytes_until_nul(room).map_err(|_| Errno(libc::EINVAL))
}

/// How far an operation came that makes several things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// It has no parts.
    #[default]
    Whole,
    /// The directories on the way.
    Parents,
    /// The last of the path.
    Last,
    /// What is written into it.
    Data,
}

impl Stage {
    /// As it is told from one process to another.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Whole => 0,
            Self::Parents => 1,
            Self::Last => 2,
            Self::Data => 3,
        }
    }

    /// From what [`Stage::number`] told.
    pub(crate) fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Parents,
            2 => Self::Last,
            3 => Self::Data,
            _ => Self::Whole,
        }
    }
}

/// What can be said of a failure besides its errno.
pub(crate) struct Note {
    pub(crate) stage: Stage,
    text: [u8; NOTE],
    length: usize,
}

/// How much text a [`Note`] holds; more is cut off.
pub(crate) const NOTE: usize = 512;

impl Note {
    pub(crate) fn new() -> Self {
        Self {
            stage: Stage::Whole,
            text: [0; NOTE],
            length: 0,
        }
    }

    fn set(&mut self, text: &[u8]) {
        self.length = text.len().min(NOTE);
        self.text
            .iter_mut()
            .zip(text)
            .for_each(|(to, from)| *to = *from);
    }

    pub(crate) fn text(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_has_a_path() {
        for (fd, path) in [
            (0, c"/proc/self/fd/0"),
            (31, c"/proc/self/fd/31"),
            (i32::MAX, c"/proc/self/fd/2147483647"),
        ] {
            assert_eq!(descriptor_path(fd, &mut [0; 32]), Ok(path));
        }
        assert!(descriptor_path(-1, &mut [0; 32]).is_err());
    }
}
