//! Writes trees as images of file systems and as archives: squashfs, erofs, cpio. What they hold comes as a list of
//! [`Item`]s and, for the bytes of files, from a [`Content`]; the same list and bytes give the same image, whatever
//! the machine, the clock or the number of threads.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod cpio;
pub mod erofs;
pub mod lanes;
pub mod squashfs;

pub use crate::iso9660::NodeKind;

use std::io::{self, Read, Seek};

/// An extended attribute: its whole name, and its value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// One name of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The directory it is in, by its place in the list; its own for the root, which is the first.
    pub parent: usize,
    /// Its name; empty for the root.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits, `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modified: seconds since 1970.
    pub mtime: i64,
    /// Bytes of a file.
    pub size: u64,
    /// A device's major and minor number.
    pub device: (u32, u32),
    /// Where a symbolic link leads.
    pub target: Vec<u8>,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// The first name of the same file, by its place in the list, for its other names.
    pub same_as: Option<usize>,
}

impl Item {
    /// An empty directory, the root of a tree.
    pub fn root() -> Self {
        Self {
            parent: 0,
            name: Vec::new(),
            kind: NodeKind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
            size: 0,
            device: (0, 0),
            target: Vec::new(),
            xattrs: Vec::new(),
            same_as: None,
        }
    }
}

/// What the bytes of a file are read from.
pub trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

/// Where the bytes of files come from.
pub trait Content {
    /// A file's bytes from its beginning. Asked for in the order of the list, once for each file that is not empty.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open<'a>(&'a mut self, item: usize) -> io::Result<Box<dyn Source + 'a>>;

    /// The parts of a file that are not holes, from where to where, in order; none when nothing is known of holes.
    /// What is left out reads as zeros.
    ///
    /// # Errors
    /// When it cannot be looked at.
    fn data(&mut self, _item: usize) -> io::Result<Option<Vec<(u64, u64)>>> {
        Ok(None)
    }
}

/// Why a tree cannot be written as asked.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Reading a file's bytes, or writing the image.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Reading a file's bytes.
    #[error("cannot read a file")]
    Read {
        /// Which, by its place in the list.
        item: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file became shorter while it was read.
    #[error("a file changed while it was read")]
    Changed {
        /// Which, by its place in the list.
        item: usize,
    },
    /// The format has no room for it.
    #[error("{what} has no room for {why}")]
    Limit {
        /// The format.
        what: &'static str,
        /// What it is that does not fit.
        why: &'static str,
        /// Which, by its place in the list.
        item: usize,
    },
    /// The list is no tree: its first item is no root, or an item stands before its directory.
    #[error("the list of files is no tree")]
    NoTree,
}

/// What was left out because the format cannot hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Packed {
    /// Names.
    pub items: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Extended attributes that are not in it.
    pub xattrs: u64,
}

/// Who is told how far it is: names and bytes so far, the item.
pub type Tell<'a> = &'a mut dyn FnMut(u64, u64, usize);

/// The children of every directory of a list, in the order of the list.
///
/// # Errors
/// [`PackError::NoTree`].
pub(crate) fn children(items: &[Item]) -> Result<Vec<Vec<usize>>, PackError> {
    let mut found: Vec<Vec<usize>> = vec![Vec::new(); items.len()];
    match items.first() {
        Some(root) if root.kind == NodeKind::Directory => {}
        _ => return Err(PackError::NoTree),
    }
    for (index, item) in items.iter().enumerate().skip(1) {
        let parent = items.get(item.parent).ok_or(PackError::NoTree)?;
        let sound = item.parent < index
            && parent.kind == NodeKind::Directory
            && crate::disk::is_name(&item.name)
            && item.same_as.is_none_or(|first| {
                first < index
                    && item.kind != NodeKind::Directory
                    && items
                        .get(first)
                        .is_some_and(|first| first.same_as.is_none() && first.kind == item.kind)
            });
        if !sound {
            return Err(PackError::NoTree);
        }
        found
            .get_mut(item.parent)
            .ok_or(PackError::NoTree)?
            .push(index);
    }
    Ok(found)
}

/// How many names each file has: at its first name's place.
pub(crate) fn link_counts(items: &[Item]) -> Vec<u32> {
    let mut counts = vec![1u32; items.len()];
    for item in items {
        if let Some(count) = item.same_as.and_then(|first| counts.get_mut(first)) {
            *count = count.saturating_add(1);
        }
    }
    counts
}

/// A device's numbers in the kernel's 32 bits (`new_encode_dev`); none when they do not fit.
pub(crate) fn device_word((major, minor): (u32, u32)) -> Option<u32> {
    (major < 1 << 12 && minor < 1 << 20)
        .then_some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// Fills `buffer` from a file; what is short of it is an error.
pub(crate) fn read_exactly(
    reader: &mut dyn Read,
    buffer: &mut [u8],
    item: usize,
) -> Result<(), PackError> {
    reader
        .read_exact(buffer)
        .map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => PackError::Changed { item },
            _ => PackError::Read { item, source },
        })
}

#[cfg(test)]
pub(crate) mod tests;
