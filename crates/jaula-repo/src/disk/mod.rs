//! Disk images as trees: one small trait over the readers of this crate, so that whoever shows a tree, by FUSE or by
//! copying it, does not care what is in the image.
//!
//! A node is named by a number that its reader made and checks again whenever it comes back; the root is [`ROOT`].
//! Nothing is written, and nothing is followed: the target of a symbolic link is a string.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod iso;
pub(crate) mod listing;

use crate::ext::{Ext, ExtError};
use crate::image_kind::ImageKind;
use crate::iso9660::IsoError;
pub use crate::iso9660::{NodeKind, ReadAt};
use crate::squashfs::{Squashfs, SquashfsError};

/// The number of the root directory, as FUSE has it.
pub const ROOT: u64 = 1;

/// What is known of a file, directory, link or device without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: NodeKind,
    /// Number for stat(2).
    pub ino: u64,
    /// Permission bits, `07777`: the image's word, which must not count for set-user-id programs.
    pub mode: u32,
    /// Owner, as stored.
    pub uid: u32,
    /// Group, as stored.
    pub gid: u32,
    /// Number of links, as stored.
    pub nlink: u32,
    /// Bytes: of a file, of a link's target.
    pub size: u64,
    /// Last access, in seconds from 1970.
    pub atime: i64,
    /// Last change of the content.
    pub mtime: i64,
    /// Last change of the attributes.
    pub ctime: i64,
    /// A device's major and minor number.
    pub device: Option<(u32, u32)>,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskEntry {
    /// Its name: 1 to 255 bytes, no slash, no NUL, neither `.` nor `..`.
    pub name: Vec<u8>,
    /// Its number.
    pub node: u64,
    /// What it is.
    pub kind: NodeKind,
    /// Where the next entry is: greater than 0.
    pub next: u64,
}

/// An opened image. Every method takes numbers and names from anybody.
pub trait DiskTree {
    /// What is known of a node.
    ///
    /// # Errors
    /// When the node is damaged, or is none of this image.
    fn attributes(&mut self, node: u64) -> Result<Attributes, DiskError>;

    /// The entry of a directory that has this name.
    ///
    /// # Errors
    /// When `dir` is no directory, or it or the entry is damaged.
    fn lookup(&mut self, dir: u64, name: &[u8]) -> Result<Option<u64>, DiskError>;

    /// Hands out a directory's entries without `.` and `..`, from the one after `next` ([`DiskEntry::next`]; 0 is the
    /// beginning), until `each` says false. Entries that are damaged are left out.
    ///
    /// # Errors
    /// When `dir` is no directory or cannot be read at all.
    fn read_dir(
        &mut self,
        dir: u64,
        next: u64,
        each: &mut dyn FnMut(&DiskEntry) -> bool,
    ) -> Result<(), DiskError>;

    /// Fills `buf` with a file's bytes from `offset` and returns how many there were: fewer than `buf.len()` only at
    /// the file's end.
    ///
    /// # Errors
    /// When the node is no regular file, or its data are damaged.
    fn read(&mut self, node: u64, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError>;

    /// A symbolic link's target: not empty, at most 4095 bytes, no NUL.
    ///
    /// # Errors
    /// When the node is no symbolic link, or it is damaged.
    fn read_link(&mut self, node: u64) -> Result<Vec<u8>, DiskError>;

    /// Bytes that the image takes, for statfs(2).
    fn bytes(&self) -> u64;
}

/// Why an image, or a part of it, cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// ISO 9660.
    #[error(transparent)]
    Iso(#[from] IsoError),
    /// squashfs.
    #[error(transparent)]
    Squashfs(#[from] SquashfsError),
    /// ext2, ext3, ext4.
    #[error(transparent)]
    Ext(#[from] ExtError),
    /// There is no reader for this kind.
    #[error("there is no reader for {0:?}")]
    NoReader(ImageKind),
    /// A number that no node of this image has, or one of another kind.
    #[error("node {node} is no {wanted}")]
    Node {
        /// As it came.
        node: u64,
        /// What it should have been.
        wanted: &'static str,
    },
}

/// Whether this crate can read an image of this kind.
pub fn has_reader(kind: ImageKind) -> bool {
    matches!(
        kind,
        ImageKind::Iso9660
            | ImageKind::Squashfs
            | ImageKind::Ext2
            | ImageKind::Ext3
            | ImageKind::Ext4
    )
}

/// Opens an image: what the file system says of itself, and its root, are read and checked.
///
/// # Errors
/// When the kind has no reader, or the image is damaged, or of a variant that is not supported.
pub fn open<S: ReadAt + 'static>(
    kind: ImageKind,
    source: S,
) -> Result<Box<dyn DiskTree>, DiskError> {
    let mut tree: Box<dyn DiskTree> = match kind {
        ImageKind::Iso9660 => Box::new(iso::IsoTree::open(source)?),
        ImageKind::Squashfs => Box::new(Squashfs::open(source)?),
        ImageKind::Ext2 | ImageKind::Ext3 | ImageKind::Ext4 => Box::new(Ext::open(source)?),
        other => return Err(DiskError::NoReader(other)),
    };
    let root = tree.attributes(ROOT)?;
    if root.kind != NodeKind::Directory {
        return Err(DiskError::Node {
            node: ROOT,
            wanted: "directory",
        });
    }
    // A directory that cannot be read at all is found now, not by the first program.
    tree.read_dir(ROOT, 0, &mut |_| false)?;
    Ok(tree)
}

/// Whether a name can be one: of 1 to 255 bytes, no slash, no NUL, neither `.` nor `..`.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.contains(&b'/')
        && !name.contains(&0)
        && name != b"."
        && name != b".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_without_a_reader_is_named() {
        assert!(!has_reader(ImageKind::Xfs));
        let error = open(ImageKind::Xfs, vec![0u8; 4096]).err().unwrap();
        assert!(matches!(error, DiskError::NoReader(ImageKind::Xfs)));
    }

    #[test]
    fn an_empty_image_of_every_kind_is_refused() {
        for kind in [ImageKind::Iso9660, ImageKind::Squashfs, ImageKind::Ext4] {
            for len in [0, 1, 95, 1024, 2048, 65536] {
                assert!(open(kind, vec![0u8; len]).is_err(), "{kind:?} {len}");
            }
        }
    }

    #[test]
    fn names_are_one_component() {
        for (name, good) in [
            (&b"a"[..], true),
            (b"...", true),
            (b"", false),
            (b".", false),
            (b"..", false),
            (b"a/b", false),
            (b"a\0", false),
            (&[b'x'; 256], false),
        ] {
            assert_eq!(is_name(name), good, "{name:?}");
        }
    }
}
