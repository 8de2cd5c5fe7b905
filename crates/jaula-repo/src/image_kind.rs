//! What an image file holds, told from its first bytes.
//!
//! The answer is a guess from magic numbers: enough to choose a reader, or the type for `mount`, which
//! then checks the rest. Sources: the kernel's `magic.h` and the file systems' own super block layouts,
//! UEFI 2.10 section 5, RFC 1952 and 8878, the xz file format 1.2, QEMU's `docs/interop/qcow2`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

/// How many bytes from the beginning of an image [`ImageKind::sniff`] looks at. With fewer, it sees less.
pub const SNIFF_LEN: usize = 0x1_1000;

/// What an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageKind {
    /// An ISO 9660 file system, perhaps with a partition table (a "hybrid" image) or UDF beside it.
    Iso9660,
    /// UDF without ISO 9660.
    Udf,
    /// squashfs 4, little end first.
    Squashfs,
    /// ext2.
    Ext2,
    /// ext3: ext2 with a journal.
    Ext3,
    /// ext4, by features that ext3 does not have.
    Ext4,
    /// EROFS.
    Erofs,
    /// btrfs.
    Btrfs,
    /// XFS.
    Xfs,
    /// F2FS.
    F2fs,
    /// FAT12, FAT16 or FAT32.
    Vfat,
    /// exFAT.
    Exfat,
    /// A whole disc with a GUID partition table.
    Gpt,
    /// A whole disc with a DOS partition table.
    Mbr,
    /// Compressed with gzip.
    Gzip,
    /// Compressed with xz.
    Xz,
    /// Compressed with zstd.
    Zstd,
    /// A QEMU disc image, version 2 or 3.
    Qcow2,
}

impl ImageKind {
    /// Tells what begins with `head`, of which [`SNIFF_LEN`] bytes are enough. `None`: nothing known.
    ///
    /// Where several fit, a wrapping goes before a file system and a file system before a partition
    /// table, because a file system may leave room for boot code before it.
    pub fn sniff(head: &[u8]) -> Option<Self> {
        wrapping(head)
            .or_else(|| file_system(head))
            .or_else(|| partitions(head))
    }

    /// The kernel's name of the file system, as `mount -t` takes it; `None` for what is none.
    pub fn kernel_name(self) -> Option<&'static str> {
        Some(match self {
            Self::Iso9660 => "iso9660",
            Self::Udf => "udf",
            Self::Squashfs => "squashfs",
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Erofs => "erofs",
            Self::Btrfs => "btrfs",
            Self::Xfs => "xfs",
            Self::F2fs => "f2fs",
            Self::Vfat => "vfat",
            Self::Exfat => "exfat",
            Self::Gpt | Self::Mbr | Self::Gzip | Self::Xz | Self::Zstd | Self::Qcow2 => {
                return None;
            }
        })
    }

    /// Whether a file system is inside, behind a partition table.
    pub fn is_partitioned(self) -> bool {
        matches!(self, Self::Gpt | Self::Mbr)
    }

    /// Whether the image must be unpacked or converted first.
    pub fn is_wrapped(self) -> bool {
        matches!(self, Self::Gzip | Self::Xz | Self::Zstd | Self::Qcow2)
    }
}

fn has(head: &[u8], at: usize, magic: &[u8]) -> bool {
    head.get(at..).is_some_and(|rest| rest.starts_with(magic))
}

fn u32_at(head: &[u8], at: usize) -> u32 {
    let raw = head
        .get(at..)
        .and_then(|r| r.first_chunk::<4>())
        .copied()
        .unwrap_or_default();
    u32::from_le_bytes(raw)
}

fn wrapping(head: &[u8]) -> Option<ImageKind> {
    if has(head, 0, b"\x1f\x8b\x08") {
        Some(ImageKind::Gzip)
    } else if has(head, 0, b"\xfd7zXZ\0") {
        Some(ImageKind::Xz)
    } else if has(head, 0, b"\x28\xb5\x2f\xfd") {
        Some(ImageKind::Zstd)
    } else if has(head, 0, b"QFI\xfb") && matches!(head.get(4..8), Some([0, 0, 0, 2 | 3])) {
        Some(ImageKind::Qcow2)
    } else {
        None
    }
}

/// Bytes of a sector of a compact disc.
const SECTOR: usize = 2048;

fn file_system(head: &[u8]) -> Option<ImageKind> {
    if has(head, 0, b"hsqs") {
        Some(ImageKind::Squashfs)
    } else if has(head, 0, b"XFSB") {
        Some(ImageKind::Xfs)
    } else if has(head, 1024, &[0xe2, 0xe1, 0xf5, 0xe0]) {
        Some(ImageKind::Erofs)
    } else if has(head, 1024, &[0x10, 0x20, 0xf5, 0xf2]) {
        Some(ImageKind::F2fs)
    } else if has(head, 1024 + 56, &[0x53, 0xef]) {
        ext(head)
    } else if has(head, 0x1_0040, b"_BHRfS_M") {
        Some(ImageKind::Btrfs)
    } else if has(head, 16 * SECTOR + 1, b"CD001") {
        Some(ImageKind::Iso9660)
    } else if has(head, 16 * SECTOR + 1, b"BEA01")
        && (17..20).any(|s| has(head, s * SECTOR + 1, b"NSR0"))
    {
        Some(ImageKind::Udf)
    } else {
        fat(head)
    }
}

/// The features say which driver is needed at least.
fn ext(head: &[u8]) -> Option<ImageKind> {
    /// `incompat` of ext3: file types, recovery, meta block groups.
    const EXT3_INCOMPAT: u32 = 0x2 | 0x4 | 0x10;
    /// `ro_compat` of ext3: sparse super blocks, large files, directory trees.
    const EXT3_RO_COMPAT: u32 = 0x1 | 0x2 | 0x4;
    const HAS_JOURNAL: u32 = 0x4;
    const JOURNAL_DEVICE: u32 = 0x8;
    let (compat, incompat, ro_compat) = (
        u32_at(head, 1024 + 0x5c),
        u32_at(head, 1024 + 0x60),
        u32_at(head, 1024 + 0x64),
    );
    if incompat & JOURNAL_DEVICE != 0 {
        return None;
    }
    Some(
        if incompat & !EXT3_INCOMPAT != 0 || ro_compat & !EXT3_RO_COMPAT != 0 {
            ImageKind::Ext4
        } else if compat & HAS_JOURNAL != 0 || incompat & 0x4 != 0 {
            ImageKind::Ext3
        } else {
            ImageKind::Ext2
        },
    )
}

/// FAT has no magic number of its own, but a boot sector whose numbers must be plausible.
fn fat(head: &[u8]) -> Option<ImageKind> {
    if has(head, 3, b"EXFAT   ") {
        return Some(ImageKind::Exfat);
    }
    let named = has(head, 54, b"FAT12   ")
        || has(head, 54, b"FAT16   ")
        || has(head, 54, b"FAT     ")
        || has(head, 82, b"FAT32   ");
    let sector = u32_at(head, 11) & 0xffff;
    let cluster = head.get(13).copied().unwrap_or(0);
    let copies = head.get(16).copied().unwrap_or(0);
    let plausible = matches!(sector, 512 | 1024 | 2048 | 4096)
        && cluster.is_power_of_two()
        && matches!(copies, 1 | 2);
    (named && plausible && has(head, 510, &[0x55, 0xaa])).then_some(ImageKind::Vfat)
}

fn partitions(head: &[u8]) -> Option<ImageKind> {
    if has(head, 512, b"EFI PART") || has(head, 4096, b"EFI PART") {
        return Some(ImageKind::Gpt);
    }
    let entries: Vec<&[u8]> = head.get(446..510)?.chunks_exact(16).collect();
    let state_ok = entries.iter().all(|e| matches!(e.first(), Some(0 | 0x80)));
    // A type, a first sector and a number of sectors.
    let any = entries
        .iter()
        .any(|e| e.get(4).is_some_and(|t| *t != 0) && u32_at(e, 12) != 0);
    (has(head, 510, &[0x55, 0xaa]) && state_ok && any).then_some(ImageKind::Mbr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; SNIFF_LEN];
        for (at, bytes) in parts {
            head[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn magic_numbers() {
        let fat = [
            (3, &b"MSDOS5.0"[..]),
            (11, &[0, 2, 8, 32, 0, 2]),
            (54, b"FAT16   "),
            (510, &[0x55, 0xaa]),
        ];
        let ext = |compat: u8, incompat: u8, ro: u8| {
            with(&[
                (1080, &[0x53, 0xef]),
                (
                    1024 + 0x5c,
                    &[
                        compat,
                        0,
                        0,
                        0,
                        incompat,
                        2 * u8::from(incompat & 0x40 != 0),
                        0,
                        0,
                        ro,
                    ],
                ),
            ])
        };
        let mbr: (usize, &[u8]) = (446, &[0x80, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0]);
        let signed: (usize, &[u8]) = (510, &[0x55, 0xaa]);
        for (head, kind, name) in [
            (
                with(&[(32769, b"CD001")]),
                ImageKind::Iso9660,
                Some("iso9660"),
            ),
            (
                with(&[(32769, b"BEA01"), (34817, b"NSR03")]),
                ImageKind::Udf,
                Some("udf"),
            ),
            (with(&[(0, b"hsqs")]), ImageKind::Squashfs, Some("squashfs")),
            (ext(0, 2, 1), ImageKind::Ext2, Some("ext2")),
            (ext(4, 2, 3), ImageKind::Ext3, Some("ext3")),
            (ext(4, 0x42, 3), ImageKind::Ext4, Some("ext4")),
            (ext(0, 2, 8), ImageKind::Ext4, Some("ext4")),
            (
                with(&[(1024, &[0xe2, 0xe1, 0xf5, 0xe0])]),
                ImageKind::Erofs,
                Some("erofs"),
            ),
            (
                with(&[(1024, &[0x10, 0x20, 0xf5, 0xf2])]),
                ImageKind::F2fs,
                Some("f2fs"),
            ),
            (
                with(&[(0x1_0040, b"_BHRfS_M")]),
                ImageKind::Btrfs,
                Some("btrfs"),
            ),
            (with(&[(0, b"XFSB")]), ImageKind::Xfs, Some("xfs")),
            (with(&fat), ImageKind::Vfat, Some("vfat")),
            (
                with(&[(3, b"EXFAT   "), signed]),
                ImageKind::Exfat,
                Some("exfat"),
            ),
            (with(&[mbr, signed]), ImageKind::Mbr, None),
            (
                with(&[mbr, signed, (512, b"EFI PART")]),
                ImageKind::Gpt,
                None,
            ),
            (with(&[(0, &[0x1f, 0x8b, 8])]), ImageKind::Gzip, None),
            (with(&[(0, b"\xfd7zXZ\0")]), ImageKind::Xz, None),
            (
                with(&[(0, &[0x28, 0xb5, 0x2f, 0xfd])]),
                ImageKind::Zstd,
                None,
            ),
            (with(&[(0, b"QFI\xfb\0\0\0\x03")]), ImageKind::Qcow2, None),
            // A hybrid image boots from a stick too.
            (
                with(&[mbr, signed, (32769, b"CD001")]),
                ImageKind::Iso9660,
                Some("iso9660"),
            ),
        ] {
            assert_eq!(ImageKind::sniff(&head), Some(kind));
            assert_eq!(kind.kernel_name(), name, "{kind:?}");
            assert_eq!(kind.is_partitioned() || kind.is_wrapped(), name.is_none());
        }
    }

    #[test]
    fn nothing_known() {
        for head in [
            Vec::new(),
            vec![0; SNIFF_LEN],
            vec![0xff; SNIFF_LEN],
            b"#!/bin/sh\n".to_vec(),
            // A boot sector without partitions, one with an impossible state, a FAT without numbers.
            with(&[(510, &[0x55, 0xaa])]),
            with(&[
                (446, &[7, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 1]),
                (510, &[0x55, 0xaa]),
            ]),
            with(&[(54, b"FAT16   "), (510, &[0x55, 0xaa])]),
            // A journal alone is no file system; version 1 of qcow is another format.
            with(&[(1080, &[0x53, 0xef]), (1024 + 0x60, &[8])]),
            with(&[(0, b"QFI\xfb\0\0\0\x01")]),
        ] {
            assert_eq!(ImageKind::sniff(&head), None, "{:?}", head.get(..4));
        }
    }

    #[test]
    fn any_length_is_safe() {
        let whole = with(&[(1080, &[0x53, 0xef]), (510, &[0x55, 0xaa])]);
        for len in (0..2048).chain([32768, 32770, 0x1_0040, 0x1_0048]) {
            ImageKind::sniff(&whole[..len]);
        }
        assert_eq!(ImageKind::sniff(&whole[..1082]), Some(ImageKind::Ext2));
        assert_eq!(ImageKind::sniff(&whole[..1081]), None);
    }
}
