//! What the child does for a disk image. Like all that it does: nothing is allocated, nothing decided.

use crate::beneath::Fd;
use crate::child::{Slot, Table};
use crate::error::Errno;
use crate::{mount, spawn};
use std::ffi::CString;
use std::os::fd::RawFd;
use std::ptr;

/// An operation for a disk image.
#[derive(Debug)]
pub enum DiskOp {
    /// Open `/dev/fuse`. The kernel wants it opened in the user namespace that mounts (fuse(4)); with the rights of
    /// who this process is now, so before it becomes somebody else.
    OpenFuse {
        /// Where it goes.
        slot: Slot,
    },
    /// A new file system by that descriptor, which is then handed to the server.
    Fuse {
        /// The descriptor.
        device: Slot,
        /// The socket to the server, there before the clone.
        server: RawFd,
        /// Who the server counts as inside: user and group.
        owner: (u32, u32),
        /// Where the mount goes.
        slot: Slot,
    },
    /// Memory that the server fills, and then nobody can write.
    Unpacked {
        /// The socket to the server, there before the clone.
        server: RawFd,
        /// `size=` of tmpfs(5): bytes.
        size: CString,
        /// Where the mount goes.
        slot: Slot,
    },
}

/// What is told to a server together with the descriptors.
const ATTRS: u64 = mount::attr::NOSUID | mount::attr::NODEV;

/// A number as a C string, without allocating.
struct Digits([u8; 12]);

impl Digits {
    fn new(mut number: u32, radix: u32) -> Self {
        let mut reversed = [0u8; 11];
        let mut len = 0usize;
        for place in &mut reversed {
            *place = b'0' + (number % radix) as u8;
            len += 1;
            number /= radix;
            if number == 0 {
                break;
            }
        }
        let mut text = [0u8; 12];
        let digits = reversed.iter().take(len).rev();
        for (to, from) in text.iter_mut().zip(digits) {
            *to = *from;
        }
        Self(text)
    }

    fn text(&self) -> Result<&std::ffi::CStr, Errno> {
        std::ffi::CStr::from_bytes_until_nul(&self.0).map_err(|_| Errno(libc::EINVAL))
    }
}

impl DiskOp {
    pub(crate) fn apply(&self, table: &mut Table) -> Result<(), Errno> {
        match self {
            Self::OpenFuse { slot } => {
                let flags = libc::O_RDWR | libc::O_CLOEXEC;
                // SAFETY: a constant path; the host's root is trusted.
                let fd = unsafe { libc::open(c"/dev/fuse".as_ptr(), flags) };
                if fd < 0 {
                    return Err(Errno::last());
                }
                table.put(*slot, Fd(fd))
            }
            Self::Fuse {
                device,
                server,
                owner,
                slot,
            } => {
                let device = table.at(*device)?;
                let number = Digits::new(device as u32, 10);
                let (user, group) = (Digits::new(owner.0, 10), Digits::new(owner.1, 10));
                let options = [
                    (c"source", Some(c"jaula")),
                    (c"fd", Some(number.text()?)),
                    (c"rootmode", Some(c"40000")),
                    (c"user_id", Some(user.text()?)),
                    (c"group_id", Some(group.text()?)),
                    (c"allow_other", None),
                    // The modes of the image count, as on any other file system.
                    (c"default_permissions", None),
                    (c"ro", None),
                ];
                let attrs = ATTRS | mount::attr::RDONLY;
                let mount = mount::new_fs(c"fuse", options.into_iter(), attrs)?;
                spawn::send_fd(*server, device)?;
                table.put(*slot, mount)
            }
            Self::Unpacked { server, size, slot } => {
                let options = [(c"mode", Some(c"0755")), (c"size", Some(size.as_c_str()))];
                let memory = mount::new_fs(c"tmpfs", options.into_iter(), ATTRS)?;
                let flags = libc::O_RDONLY | libc::O_CLOEXEC;
                // SAFETY: a constant path; the host's procfs is trusted.
                let own = unsafe { libc::open(c"/proc/self/ns/user".as_ptr(), flags) };
                if own < 0 {
                    return Err(Errno::last());
                }
                let own = Fd(own);
                spawn::send_fds(*server, &[memory.0, own.0])?;
                answer(*server)?;
                mount::set_attr(memory.0, mount::attr::RDONLY, None, false)?;
                table.put(*slot, memory)
            }
        }
    }
}

/// One byte from the server: 0, or the errno(3) of what failed.
fn answer(server: RawFd) -> Result<(), Errno> {
    let mut byte = 0u8;
    // SAFETY: one byte of room, as said.
    let got = unsafe { libc::recv(server, (&raw mut byte).cast(), 1, 0) };
    match (got, byte) {
        (1, 0) => Ok(()),
        (1, errno) => Err(Errno(errno.into())),
        // It is dead, and its report says why.
        _ => Err(Errno(libc::EIO)),
    }
}

/// Makes `/dev/fuse` known to the probe: opened and closed again.
pub fn fuse_can_be_opened() -> bool {
    let flags = libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: a constant path.
    let fd = unsafe { libc::open(c"/dev/fuse".as_ptr(), flags) };
    if fd >= 0 {
        drop(Fd(fd));
    }
    fd >= 0
}

/// Tells who waits at [`DiskOp::Unpacked`] how it went: 0, or an errno(3).
pub(crate) fn tell(socket: RawFd, errno: u8) -> Result<(), Errno> {
    // SAFETY: one byte, as said.
    let sent = unsafe { libc::send(socket, ptr::from_ref(&errno).cast(), 1, libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(Errno::last()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_allocating() {
        for (number, radix, text) in [
            (0, 10, "0"),
            (7, 10, "7"),
            (1000, 10, "1000"),
            (u32::MAX, 10, "4294967295"),
            (0o40000, 8, "40000"),
        ] {
            let digits = Digits::new(number, radix);
            assert_eq!(digits.text().unwrap().to_str().unwrap(), text);
        }
    }
}
