//! What the host can do with disk images, and what the images are. Observed by `jaula_engine::probe`.

use jaula_repo::image_kind::ImageKind;
use std::path::PathBuf;

/// The host as far as disk images are concerned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskFacts {
    /// The file systems on block devices that the kernel has drivers for (proc_filesystems(5)).
    pub drivers: Vec<String>,
    /// Whether a loop device can be had: real root, and `/dev/loop-control` (loop(4)).
    pub loop_devices: bool,
    /// Whether `/dev/fuse` can be opened, and the kernel has FUSE (fuse(4)).
    pub fuse: bool,
    /// Bytes of memory that are free for use (`MemAvailable` of proc_meminfo(5)).
    pub memory: u64,
    /// The images that were asked for, in their order.
    pub images: Vec<ImageFacts>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// As asked.
    pub file: PathBuf,
    /// As asked.
    pub offset: u64,
    /// What its first bytes say; in words why they could not be read.
    pub found: Result<Option<ImageKind>, String>,
}
