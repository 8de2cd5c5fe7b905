//! An overlay that is mounted nowhere: seen through one descriptor, and gone with it (overlayfs, fsmount(2)).

use crate::dir::Dir;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// A mounted overlay.
#[derive(Debug)]
pub struct Overlay {
    root: Dir,
    // Once this is closed the mount is in no namespace, and every release of a reference to it takes the lock that
    // makes openat2(2) answer EAGAIN to `..`.
    _mount: Dir,
}

impl Overlay {
    /// Its root.
    pub fn root(&self) -> &Dir {
        &self.root
    }
}

/// The tree that a jail with this layer over that tree sees, writable. Needs to be root, of a user namespace at least.
/// Two overlays on one layer at a time are not allowed; the caller sees to that.
pub fn detached(lower: &Dir, upper: &Dir, work: &Dir) -> io::Result<Overlay> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // By descriptor: a value may have 255 bytes only, and a colon in a path would be another layer.
    for (key, dir) in [("lowerdir", lower), ("upperdir", upper), ("workdir", work)] {
        fsconfig_set_string(
            context.as_fd(),
            key,
            format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()),
        )?;
    }
    // As the jail's own mount, so that both read the same marks in the layer.
    fsconfig_set_flag(context.as_fd(), "userxattr")?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    // The mount's own descriptor names a path only; the root is to be read.
    let mount = Dir::from(mount);
    let root = mount.open_dir_in_root(std::path::Path::new("."))?;
    Ok(Overlay {
        root,
        _mount: mount,
    })
}
