//! What an image is, for images that the file systems' own tools made.

use jaula_repo::image_kind::{ImageKind, SNIFF_LEN};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// Runs a shell line in a directory with `tree/`; `None` if the tool is not there.
fn made(dir: &Path, tool: &str, line: &str) -> Option<Vec<u8>> {
    let sh = |line: &str| {
        let path = "export PATH=\"$PATH:/usr/sbin:/sbin\"; ";
        Command::new("sh")
            .args(["-c", &format!("{path}{line}")])
            .current_dir(dir)
            .output()
            .unwrap()
    };
    if !sh(&format!("command -v {tool}")).status.success() {
        eprintln!("skipped: {tool} is not installed");
        return None;
    }
    let output = sh(&format!("rm -f image && ({line})"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {text}");
    let mut head = vec![];
    let image = File::open(dir.join("image")).unwrap();
    image.take(SNIFF_LEN as u64).read_to_end(&mut head).unwrap();
    Some(head)
}

#[test]
fn images_of_the_tools() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tree")).unwrap();
    fs::write(dir.path().join("tree/a"), vec![7; 5000]).unwrap();
    let cut = |size: &str, line: &str| format!("truncate -s {size} image && {line}");
    for (tool, line, kind) in [
        (
            "mke2fs",
            cut("8M", "mke2fs -q -t ext2 image"),
            ImageKind::Ext2,
        ),
        (
            "mke2fs",
            cut("8M", "mke2fs -q -t ext3 image"),
            ImageKind::Ext3,
        ),
        (
            "mke2fs",
            cut("8M", "mke2fs -q -t ext4 image"),
            ImageKind::Ext4,
        ),
        (
            "mke2fs",
            cut("8M", "mke2fs -q -t ext4 -O ^has_journal image"),
            ImageKind::Ext4,
        ),
        (
            "mksquashfs",
            "mksquashfs tree image -quiet -no-progress".into(),
            ImageKind::Squashfs,
        ),
        (
            "mkfs.erofs",
            "mkfs.erofs --quiet image tree".into(),
            ImageKind::Erofs,
        ),
        (
            "mkfs.btrfs",
            cut("128M", "mkfs.btrfs -q image"),
            ImageKind::Btrfs,
        ),
        ("mkfs.xfs", cut("320M", "mkfs.xfs -q image"), ImageKind::Xfs),
        ("mkfs.vfat", cut("1M", "mkfs.vfat image"), ImageKind::Vfat),
        (
            "mkfs.vfat",
            cut("40M", "mkfs.vfat -F 32 image"),
            ImageKind::Vfat,
        ),
        (
            "mkfs.exfat",
            cut("8M", "mkfs.exfat image"),
            ImageKind::Exfat,
        ),
        (
            "sfdisk",
            cut("8M", "echo ',,L' | sfdisk -q --label dos image"),
            ImageKind::Mbr,
        ),
        (
            "sfdisk",
            cut("8M", "echo ',,L' | sfdisk -q --label gpt image"),
            ImageKind::Gpt,
        ),
        (
            "qemu-img",
            "qemu-img create -q -f qcow2 image 8M".into(),
            ImageKind::Qcow2,
        ),
        ("gzip", "gzip -c tree/a > image".into(), ImageKind::Gzip),
        ("xz", "xz -c tree/a > image".into(), ImageKind::Xz),
        ("zstd", "zstd -qc tree/a > image".into(), ImageKind::Zstd),
        (
            "genisoimage",
            "genisoimage -quiet -o image tree".into(),
            ImageKind::Iso9660,
        ),
        (
            "xorriso",
            "xorriso -as mkisofs -quiet -partition_offset 16 -o image tree".into(),
            ImageKind::Iso9660,
        ),
    ] {
        if let Some(head) = made(dir.path(), tool, &line) {
            assert_eq!(ImageKind::sniff(&head), Some(kind), "{line}");
        }
    }
}
