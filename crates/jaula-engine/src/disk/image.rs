//! The file that an image is in.

use jaula_plan::facts::disk::{DiskFacts, ImageFacts};
use jaula_plan::spec::jail::{JailSpec, MountSpec};
use jaula_repo::disk::ReadAt;
use jaula_repo::image_kind::{ImageKind, SNIFF_LEN};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

/// An opened image.
#[derive(Debug)]
pub(super) struct Image {
    file: File,
    offset: u64,
    len: u64,
}

/// Its bytes from where the file system begins.
pub(super) struct Source {
    file: File,
    offset: u64,
    len: u64,
}

impl ReadAt for Source {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let at = offset.checked_add(self.offset);
        let at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.file.read_at(buf, at)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

fn usable(meta: &Metadata) -> Result<(), String> {
    if meta.is_dir() {
        return Err("it is a directory".into());
    }
    if meta.is_file() || meta.file_type().is_block_device() {
        return Ok(());
    }
    Err("it is neither a file nor a block device".into())
}

impl Image {
    pub(super) fn open(path: &Path, offset: u64) -> Result<Self, String> {
        let text = |e: io::Error| e.to_string();
        // Before it is opened: a fifo would wait for a writer.
        usable(&std::fs::metadata(path).map_err(text)?)?;
        let mut file = File::open(path).map_err(text)?;
        usable(&file.metadata().map_err(text)?)?;
        let len = file.seek(SeekFrom::End(0)).map_err(text)?;
        if offset >= len {
            return Err(format!("it ends at byte {len}"));
        }
        Ok(Self {
            file,
            offset,
            len: len - offset,
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The bytes, for a server, whose descriptor of the file this is.
    pub(super) fn source(&self, file: File) -> Source {
        Source {
            file,
            offset: self.offset,
            len: self.len,
        }
    }

    fn kind(&mut self) -> io::Result<Option<ImageKind>> {
        self.file.seek(SeekFrom::Start(self.offset))?;
        let mut head = Vec::with_capacity(SNIFF_LEN);
        (&self.file).take(SNIFF_LEN as u64).read_to_end(&mut head)?;
        Ok(ImageKind::sniff(&head))
    }
}

/// What the host can do with the images of a spec, and what they are; none when it has none.
pub(crate) fn look(spec: &JailSpec) -> Option<DiskFacts> {
    let disks = spec.mounts.iter().filter_map(|mount| match mount {
        MountSpec::Disk(disk) => Some(disk),
        _ => None,
    });
    let images: Vec<ImageFacts> = disks
        .map(|disk| ImageFacts {
            file: disk.file.clone(),
            offset: disk.offset,
            found: Image::open(&disk.file, disk.offset)
                .and_then(|mut image| image.kind().map_err(|e| e.to_string())),
        })
        .collect();
    if images.is_empty() {
        return None;
    }
    // FUSE may be a module that is loaded when its device is opened, so the list is read after that.
    let fuse = jaula_sys::disk_op::fuse_can_be_opened();
    let text = |path| std::fs::read_to_string(path).unwrap_or_default();
    let list = text("/proc/filesystems");
    let real_root = crate::probe::is_real_root();
    Some(DiskFacts {
        drivers: list
            .lines()
            .filter_map(|line| line.strip_prefix('\t').map(str::to_owned))
            .collect(),
        loop_devices: real_root && jaula_sys::loopdev::available(),
        fuse: fuse && list.lines().any(|line| line == "nodev\tfuse"),
        memory: available(&text("/proc/meminfo")),
        images,
    })
}

/// `MemAvailable` of proc_meminfo(5), in bytes; 256 MiB when it is not told.
fn available(meminfo: &str) -> u64 {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or(256 << 20, |kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_available() {
        let text = "MemTotal:       16 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(available(text), 2 << 20);
        assert_eq!(available("MemTotal: 1 kB\n"), 256 << 20);
    }

    #[test]
    fn what_is_no_image_file_is_refused_before_it_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let why = Image::open(dir.path(), 0).unwrap_err();
        assert_eq!(why, "it is a directory");
        let file = dir.path().join("short");
        std::fs::write(&file, b"abc").unwrap();
        assert_eq!(Image::open(&file, 3).unwrap_err(), "it ends at byte 3");
        assert_eq!(
            Image::open(Path::new("/dev/null"), 0).unwrap_err(),
            "it is neither a file nor a block device"
        );
    }
}
