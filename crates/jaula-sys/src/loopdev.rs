//! Loop devices (loop(4)), and the kernel's own file systems on them.

use crate::beneath::Fd;
use crate::error::{Errno, SysError};
use crate::mount;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// `linux/loop.h`
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// Tries when others take the same free device.
const TRIES: usize = 64;

/// Who owns the files of a mounted image inside.
#[derive(Debug)]
pub enum Owners<'a> {
    /// Those stored, as the host counts.
    AsStored,
    /// Those stored, as this user namespace counts.
    Mapped(&'a OwnedFd),
    /// One user and group of the host, for drivers that cannot map.
    All(u32),
}

fn fail(call: &'static str, target: &str) -> impl Fn(Errno) -> SysError {
    let target = target.to_owned();
    move |errno| SysError {
        call,
        target: target.clone(),
        errno,
    }
}

fn open(path: &CStr, flags: i32) -> Result<Fd, Errno> {
    // SAFETY: the path ends in NUL.
    match unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) } {
        -1 => Err(Errno::last()),
        fd => Ok(Fd(fd)),
    }
}

/// Whether a loop device can be had.
pub fn available() -> bool {
    open(c"/dev/loop-control", libc::O_RDWR).is_ok()
}

/// A free device with the image behind it, and its path. It is free again when nobody uses it any more.
fn attach(image: &impl AsFd, offset: u64) -> Result<(Fd, CString), SysError> {
    let control =
        open(c"/dev/loop-control", libc::O_RDWR).map_err(fail("open", "/dev/loop-control"))?;
    let mut busy = Errno(libc::EBUSY);
    for _ in 0..TRIES {
        // SAFETY: takes no argument.
        let number = unsafe { libc::ioctl(control.0, LOOP_CTL_GET_FREE as _) };
        if number < 0 {
            return Err(SysError::last("LOOP_CTL_GET_FREE", "/dev/loop-control"));
        }
        let path = format!("/dev/loop{number}");
        let text =
            CString::new(path.clone()).map_err(|_| fail("open", &path)(Errno(libc::EINVAL)))?;
        let device = open(&text, libc::O_RDONLY).map_err(fail("open", &path))?;
        // SAFETY: zero is a valid value of every field.
        let mut config: LoopConfig = unsafe { std::mem::zeroed() };
        config.fd = image.as_fd().as_raw_fd() as u32;
        config.info.offset = offset;
        config.info.flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
        // SAFETY: reads a whole loop_config.
        if unsafe { libc::ioctl(device.0, LOOP_CONFIGURE as _, &raw const config) } == 0 {
            return Ok((device, text));
        }
        busy = Errno::last();
        if busy.0 != libc::EBUSY {
            return Err(fail("LOOP_CONFIGURE", &path)(busy));
        }
    }
    Err(fail("LOOP_CONFIGURE", "a free loop device")(busy))
}

/// An image mounted by the kernel's driver, read-only, attached nowhere: who has the descriptor attaches it, and with
/// the mount the loop device goes.
pub fn mount_image(
    image: &impl AsFd,
    offset: u64,
    fs: &CStr,
    owners: &Owners<'_>,
) -> Result<OwnedFd, SysError> {
    let name = fs.to_string_lossy().into_owned();
    let (device, path) = attach(image, offset)?;
    let attrs = mount::attr::NOSUID | mount::attr::NODEV | mount::attr::RDONLY;
    let id = match owners {
        Owners::All(id) => CString::new(id.to_string()).unwrap_or_default(),
        _ => CString::default(),
    };
    let mut options = vec![(c"source", Some(path.as_c_str())), (c"ro", None)];
    if matches!(owners, Owners::All(_)) {
        options.push((c"uid", Some(&id)));
        options.push((c"gid", Some(&id)));
    }
    let mount = mount::new_fs(fs, options.into_iter(), attrs).map_err(fail("mount", &name))?;
    drop(device);
    if let Owners::Mapped(userns) = owners {
        let userns = Some(userns.as_raw_fd());
        mount::set_attr(mount.0, mount::attr::IDMAP, userns, false)
            .map_err(fail("mount_setattr", &name))?;
    }
    Ok(mount.into())
}
