//! Planning disk images: who reads each one, and why.

use crate::explain::{ExplainLine, shown, word};
use crate::facts::disk::DiskFacts;
use crate::spec::disk::{DiskDriver, DiskSpec};
use jaula_repo::disk::has_reader;
use jaula_repo::image_kind::ImageKind;
use std::fmt;
use std::path::{Path, PathBuf};

/// Most images in one jail: each has a server of its own.
pub const MAX_IMAGES: usize = 8;

/// The most that is ever unpacked into memory, in bytes.
const MAX_UNPACKED: u64 = 16 << 30;

/// How an image is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskHow {
    /// By the kernel's driver, on a loop device.
    Kernel,
    /// By a server of ours, through FUSE.
    Fuse,
    /// Copied into memory before the program starts.
    Unpack {
        /// The most that it may take, in bytes.
        limit: u64,
    },
}

/// An image at a place in the jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskPlan {
    /// The image.
    pub file: PathBuf,
    /// Where in it the file system begins.
    pub offset: u64,
    /// In the jail.
    pub at: PathBuf,
    /// What it is.
    pub kind: ImageKind,
    /// How it is shown.
    pub how: DiskHow,
    /// Whether the kernel has a driver for it.
    pub in_kernel: bool,
    /// Whether FUSE was wanted first and could not be had.
    pub without_fuse: bool,
}

/// Why an image cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskPlanError {
    /// It cannot be opened or read.
    #[error("cannot read the image {}: {why}", shown(.file))]
    NotReadable {
        /// The image.
        file: PathBuf,
        /// What was wrong.
        why: String,
    },
    /// Its first bytes say nothing that is known.
    #[error("{} is no disk image that jaula knows; --image FILE@OFFSET says where in it a file system begins", shown(.file))]
    Unknown {
        /// The image.
        file: PathBuf,
    },
    /// `--iso` with something else.
    #[error("{} is not an ISO 9660 image, but {found}: use --image", shown(.file))]
    NotIso {
        /// The image.
        file: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A whole disk.
    #[error("{} has a partition table: --image FILE@OFFSET says where the partition begins, in bytes", shown(.file))]
    Partitioned {
        /// The image.
        file: PathBuf,
    },
    /// Packed.
    #[error("{} is packed ({format}): unpack it first", shown(.file))]
    Wrapped {
        /// The image.
        file: PathBuf,
        /// With what.
        format: &'static str,
    },
    /// Only the kernel reads it.
    #[error("jaula has no reader of its own for {kind} ({}); --image-driver kernel lets root use the kernel's", shown(.file))]
    NoReader {
        /// The image.
        file: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The kernel's driver was asked for.
    #[error("cannot use the kernel's driver for {}: {why}", shown(.file))]
    NoDriver {
        /// The image.
        file: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// FUSE was asked for.
    #[error("cannot use FUSE for {}: /dev/fuse cannot be opened, or the kernel has no FUSE", shown(.file))]
    NoFuse {
        /// The image.
        file: PathBuf,
    },
    /// More than a jail may have.
    #[error("a jail can have {MAX_IMAGES} disk images and no more")]
    TooMany,
}

/// What an image is, in the words of mount(8) where it has some.
pub fn kind_name(kind: ImageKind) -> &'static str {
    kind.kernel_name().unwrap_or(match kind {
        ImageKind::Gpt | ImageKind::Mbr => "a partition table",
        ImageKind::Gzip => "gzip",
        ImageKind::Xz => "xz",
        ImageKind::Zstd => "zstd",
        ImageKind::Qcow2 => "qcow2",
        _ => "something else",
    })
}

/// Who shows an image at `at`, which was checked. Pure.
pub fn plan_disk(
    spec: &DiskSpec,
    at: PathBuf,
    facts: &DiskFacts,
) -> Result<DiskPlan, DiskPlanError> {
    let file = || spec.file.clone();
    let seen = facts
        .images
        .iter()
        .find(|image| image.file == spec.file && image.offset == spec.offset);
    let kind = match seen.map(|image| &image.found) {
        Some(Ok(Some(kind))) => *kind,
        Some(Ok(None)) => return Err(DiskPlanError::Unknown { file: file() }),
        Some(Err(why)) => {
            let why = why.clone();
            return Err(DiskPlanError::NotReadable { file: file(), why });
        }
        None => {
            let why = "nobody looked at it".to_owned();
            return Err(DiskPlanError::NotReadable { file: file(), why });
        }
    };
    let name = kind_name(kind);
    if spec.iso && kind != ImageKind::Iso9660 {
        return Err(DiskPlanError::NotIso {
            file: file(),
            found: name,
        });
    }
    if kind.is_partitioned() {
        return Err(DiskPlanError::Partitioned { file: file() });
    }
    if kind.is_wrapped() {
        return Err(DiskPlanError::Wrapped {
            file: file(),
            format: name,
        });
    }
    let in_kernel = facts.drivers.iter().any(|driver| driver == name);
    let reader = || match has_reader(kind) {
        true => Ok(()),
        false => Err(DiskPlanError::NoReader {
            file: file(),
            kind: name,
        }),
    };
    let unpack = DiskHow::Unpack {
        limit: (facts.memory / 2).min(MAX_UNPACKED),
    };
    let how = match spec.driver {
        DiskDriver::Kernel => {
            let refuse = |why| Err(DiskPlanError::NoDriver { file: file(), why });
            if !in_kernel {
                return refuse("this kernel has none");
            }
            if !facts.loop_devices {
                return refuse("only root gets a loop device, where the host has any");
            }
            DiskHow::Kernel
        }
        DiskDriver::Fuse => {
            reader()?;
            if !facts.fuse {
                return Err(DiskPlanError::NoFuse { file: file() });
            }
            DiskHow::Fuse
        }
        DiskDriver::Unpack => {
            reader()?;
            unpack
        }
        DiskDriver::Auto => {
            reader()?;
            if facts.fuse { DiskHow::Fuse } else { unpack }
        }
    };
    Ok(DiskPlan {
        file: file(),
        offset: spec.offset,
        at,
        kind,
        how,
        in_kernel,
        without_fuse: spec.driver == DiskDriver::Auto && !facts.fuse,
    })
}

impl DiskPlan {
    /// What the user should know before the jail starts, if anything.
    pub fn note(&self) -> Option<String> {
        let kind = kind_name(self.kind);
        let file = shown(&self.file);
        match self.how {
            DiskHow::Kernel => None,
            DiskHow::Unpack { .. } if self.without_fuse => Some(format!(
                "/dev/fuse cannot be used: {file} ({kind}) is unpacked into memory"
            )),
            _ if !self.in_kernel => Some(format!(
                "this kernel has no {kind} driver: jaula's own reader shows {file}"
            )),
            _ => None,
        }
    }

    /// How it is shown, in one word: `kernel`, `fuse`, `unpacked`.
    pub fn how_name(&self) -> &'static str {
        match self.how {
            DiskHow::Kernel => "kernel",
            DiskHow::Fuse => "fuse",
            DiskHow::Unpack { .. } => "unpacked",
        }
    }
}

impl fmt::Display for DiskPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "show disk image {}", shown(&self.file))?;
        if self.offset != 0 {
            write!(f, " from byte {}", self.offset)?;
        }
        let (kind, at) = (kind_name(self.kind), shown(&self.at));
        write!(f, " ({kind}) at {at}, read-only, ")?;
        match self.how {
            DiskHow::Kernel => f.write_str("by the kernel's driver on a loop device"),
            DiskHow::Fuse => f.write_str("by a reader in a process of its own, through FUSE"),
            DiskHow::Unpack { limit } => {
                write!(f, "unpacked into at most {} MiB of memory", limit >> 20)
            }
        }
    }
}

/// The classic command; `at` is the place as the script sees it.
pub(crate) fn explain(plan: &DiskPlan, at: &str) -> ExplainLine {
    let file = word(&plan.file);
    let kind = kind_name(plan.kind);
    let offset = match plan.offset {
        0 => String::new(),
        offset => format!(",offset={offset}"),
    };
    let fuse = match plan.kind {
        ImageKind::Iso9660 if plan.offset == 0 => Some(format!("fuseiso -n {file} {at}")),
        ImageKind::Squashfs if plan.offset == 0 => {
            Some(format!("squashfuse -o allow_other {file} {at}"))
        }
        ImageKind::Squashfs => Some(format!(
            "squashfuse -o allow_other,offset={} {file} {at}",
            plan.offset
        )),
        ImageKind::Ext2 | ImageKind::Ext3 | ImageKind::Ext4 => {
            Some(format!("fuse2fs -o ro,allow_other{} {file} {at}", offset))
        }
        _ => None,
    };
    let make = format!("mkdir -p {at}\n");
    let loops = format!("mount -t {kind} -o loop,ro,nosuid,nodev{offset} {file} {at}");
    match (plan.how, fuse) {
        (DiskHow::Kernel, _) => ExplainLine::new(
            make + &loops,
            "the kernel's driver; needs the rights of the host's root, so by hand this line comes before unshare",
        ),
        (DiskHow::Fuse, Some(fuse)) => ExplainLine::new(
            make + &fuse,
            format!(
                "read-only, by a program and not by the kernel's driver; with that, as root: {loops}"
            ),
        ),
        (_, _) => ExplainLine::new(
            make + &loops,
            "read-only; jaula unpacks it with its own reader, which takes neither root nor a driver",
        ),
    }
}

/// The images that a plan's operations show.
pub fn images<'p>(
    ops: impl IntoIterator<Item = &'p crate::setup_op::SetupOp>,
) -> impl Iterator<Item = &'p DiskPlan> {
    ops.into_iter().filter_map(|op| match op {
        crate::setup_op::SetupOp::Disk(plan) => Some(plan),
        _ => None,
    })
}

/// Whether an image's file is beneath a directory.
pub(crate) fn is_beneath(plan: &DiskPlan, dir: &str) -> bool {
    plan.file.starts_with(Path::new(dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::disk::ImageFacts;

    fn facts(found: Result<Option<ImageKind>, String>) -> DiskFacts {
        DiskFacts {
            drivers: vec!["ext4".into(), "squashfs".into()],
            loop_devices: true,
            fuse: true,
            memory: 8 << 30,
            images: vec![ImageFacts {
                file: "/x/p.img".into(),
                offset: 0,
                found,
            }],
        }
    }

    fn spec(driver: DiskDriver) -> DiskSpec {
        DiskSpec {
            file: "/x/p.img".into(),
            offset: 0,
            at: "/mnt/cd".into(),
            iso: false,
            driver,
        }
    }

    fn plan(
        driver: DiskDriver,
        kind: ImageKind,
        change: impl FnOnce(&mut DiskFacts),
    ) -> Result<DiskPlan, DiskPlanError> {
        let mut facts = facts(Ok(Some(kind)));
        change(&mut facts);
        plan_disk(&spec(driver), "/mnt/cd".into(), &facts)
    }

    #[test]
    fn the_own_reader_goes_first_even_where_root_has_a_driver() {
        let plan = plan(DiskDriver::Auto, ImageKind::Squashfs, |_| ()).unwrap();
        assert_eq!(plan.how, DiskHow::Fuse);
        assert_eq!(plan.note(), None);
        assert_eq!(
            plan.to_string(),
            "show disk image /x/p.img (squashfs) at /mnt/cd, read-only, by a reader in a process of its own, through FUSE"
        );
    }

    #[test]
    fn a_kernel_without_the_driver_is_noted_once() {
        let plan = plan(DiskDriver::Auto, ImageKind::Iso9660, |_| ()).unwrap();
        assert_eq!(
            plan.note().unwrap(),
            "this kernel has no iso9660 driver: jaula's own reader shows /x/p.img"
        );
    }

    #[test]
    fn without_fuse_it_is_unpacked_into_half_of_what_is_free() {
        let plan = plan(DiskDriver::Auto, ImageKind::Iso9660, |f| f.fuse = false).unwrap();
        assert_eq!(plan.how, DiskHow::Unpack { limit: 4 << 30 });
        assert!(
            plan.note()
                .unwrap()
                .starts_with("/dev/fuse cannot be used: ")
        );
    }

    #[test]
    fn the_kernels_driver_is_used_when_it_is_asked_for() {
        let made = plan(DiskDriver::Kernel, ImageKind::Ext4, |_| ()).unwrap();
        assert_eq!((made.how, made.note()), (DiskHow::Kernel, None));
        let error = plan(DiskDriver::Kernel, ImageKind::Iso9660, |_| ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot use the kernel's driver for /x/p.img: this kernel has none"
        );
        let error = plan(DiskDriver::Kernel, ImageKind::Ext4, |f| {
            f.loop_devices = false;
        })
        .unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("only root gets a loop device, where the host has any")
        );
    }

    #[test]
    fn what_cannot_be_shown_says_why() {
        for (kind, text) in [
            (
                ImageKind::Xfs,
                "jaula has no reader of its own for xfs (/x/p.img); --image-driver kernel lets root use the kernel's",
            ),
            (
                ImageKind::Gpt,
                "/x/p.img has a partition table: --image FILE@OFFSET says where the partition begins, in bytes",
            ),
            (
                ImageKind::Qcow2,
                "/x/p.img is packed (qcow2): unpack it first",
            ),
        ] {
            assert_eq!(
                plan(DiskDriver::Auto, kind, |_| ())
                    .unwrap_err()
                    .to_string(),
                text
            );
        }
        let error = plan(DiskDriver::Fuse, ImageKind::Ext4, |f| f.fuse = false).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot use FUSE for /x/p.img: ")
        );
        let unknown = plan_disk(&spec(DiskDriver::Auto), "/a".into(), &facts(Ok(None)));
        assert!(matches!(unknown, Err(DiskPlanError::Unknown { .. })));
        let gone = facts(Err("no such file".into()));
        let gone = plan_disk(&spec(DiskDriver::Auto), "/a".into(), &gone).unwrap_err();
        assert_eq!(
            gone.to_string(),
            "cannot read the image /x/p.img: no such file"
        );
        let mut iso = spec(DiskDriver::Auto);
        iso.iso = true;
        let error = plan_disk(&iso, "/a".into(), &facts(Ok(Some(ImageKind::Ext4)))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/x/p.img is not an ISO 9660 image, but ext4: use --image"
        );
    }

    #[test]
    fn explained_as_mount_and_as_the_fuse_tools() {
        let by = |driver, kind| {
            let plan = plan(driver, kind, |_| ()).unwrap();
            explain(&plan, "./mnt/cd").command
        };
        assert_eq!(
            by(DiskDriver::Kernel, ImageKind::Ext4),
            "mkdir -p ./mnt/cd\nmount -t ext4 -o loop,ro,nosuid,nodev /x/p.img ./mnt/cd"
        );
        assert_eq!(
            by(DiskDriver::Auto, ImageKind::Iso9660),
            "mkdir -p ./mnt/cd\nfuseiso -n /x/p.img ./mnt/cd"
        );
    }
}
