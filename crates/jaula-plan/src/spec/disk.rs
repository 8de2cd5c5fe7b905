//! Disk images to be shown in a jail.

use std::path::PathBuf;

/// Who reads a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiskDriver {
    /// jaula's own reader: by FUSE where that can be had, else unpacked into memory.
    #[default]
    Auto,
    /// The kernel's driver on a loop device (root only). Said aloud, because the drivers trust images.
    Kernel,
    /// jaula's own reader, by FUSE and in no other way.
    Fuse,
    /// jaula's own reader, unpacked into memory.
    Unpack,
}

/// A disk image at a place in the jail, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    /// The image: a file or block device of the host.
    pub file: PathBuf,
    /// Byte of the file where the file system begins.
    pub offset: u64,
    /// In the jail.
    pub at: PathBuf,
    /// Whether it has to be ISO 9660; else its content says what it is.
    pub iso: bool,
    /// Who reads it.
    pub driver: DiskDriver,
}
