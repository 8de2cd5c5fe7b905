//! Nodes ("inodes"): what a file, directory, link or device is, and where its content is.

use super::block::{Blocks, Cursor};
use super::error::SquashfsError;
use crate::iso9660::{NodeKind, ReadAt};

/// Longest target of a symbolic link (`PATH_MAX` without the NUL).
const MAX_TARGET: u32 = 4095;
/// No fragment.
const NONE: u32 = u32::MAX;

/// Where a node's content is.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Directory {
        /// Relative to the directory table.
        block: u32,
        offset: u16,
        /// Bytes of entries.
        bytes: u32,
    },
    File {
        start: u64,
        /// Index in the fragment table, and where in that block the end of the file is.
        fragment: Option<(u32, u32)>,
        /// Where the list of block sizes begins.
        sizes: Cursor,
    },
    Link(Vec<u8>),
    Other,
}

/// A node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub kind: NodeKind,
    pub mode: u16,
    pub uid: u16,
    pub gid: u16,
    pub mtime: u32,
    pub number: u32,
    pub nlink: u32,
    pub size: u64,
    pub device: Option<(u32, u32)>,
    pub content: Content,
}

/// The kind by the type of an entry or node; the upper seven are the same with more fields.
pub(super) fn kind_of(number: u16) -> Option<NodeKind> {
    Some(match number {
        1 | 8 => NodeKind::Directory,
        2 | 9 => NodeKind::File,
        3 | 10 => NodeKind::Symlink,
        4 | 11 => NodeKind::BlockDevice,
        5 | 12 => NodeKind::CharDevice,
        6 | 13 => NodeKind::Fifo,
        7 | 14 => NodeKind::Socket,
        _ => return None,
    })
}

/// As the kernel's new_decode_dev() takes a device number apart.
fn device(number: u32) -> (u32, u32) {
    (
        (number & 0xf_ff00) >> 8,
        (number & 0xff) | ((number >> 12) & 0xf_ff00),
    )
}

impl Node {
    pub(super) fn read<S: ReadAt>(
        blocks: &mut Blocks<S>,
        mut at: Cursor,
    ) -> Result<Self, SquashfsError> {
        let block = at.block;
        let damaged = |what| SquashfsError::Damaged { at: block, what };
        let at = &mut at;
        let number = at.u16(blocks)?;
        let kind = kind_of(number).ok_or(damaged("a node of no known type"))?;
        let mut node = Self {
            kind,
            mode: at.u16(blocks)?,
            uid: at.u16(blocks)?,
            gid: at.u16(blocks)?,
            mtime: at.u32(blocks)?,
            number: at.u32(blocks)?,
            nlink: 1,
            size: 0,
            device: None,
            content: Content::Other,
        };
        match number {
            1 => {
                let block = at.u32(blocks)?;
                node.nlink = at.u32(blocks)?;
                let size = at.u16(blocks)?;
                node.directory(block, at.u16(blocks)?, size.into());
            }
            8 => {
                node.nlink = at.u32(blocks)?;
                let size = at.u32(blocks)?;
                let block = at.u32(blocks)?;
                // Its parent, and how many entries an index has.
                at.u32(blocks)?;
                at.u16(blocks)?;
                node.directory(block, at.u16(blocks)?, size);
            }
            2 => {
                let start = at.u32(blocks)?;
                let (fragment, offset) = (at.u32(blocks)?, at.u32(blocks)?);
                node.size = at.u32(blocks)?.into();
                node.file(start.into(), fragment, offset, *at);
            }
            9 => {
                let start = at.u64(blocks)?;
                node.size = at.u64(blocks)?;
                // Bytes of holes.
                at.u64(blocks)?;
                node.nlink = at.u32(blocks)?;
                let (fragment, offset) = (at.u32(blocks)?, at.u32(blocks)?);
                // Extended attributes.
                at.u32(blocks)?;
                node.file(start, fragment, offset, *at);
            }
            3 | 10 => {
                node.nlink = at.u32(blocks)?;
                let len = at.u32(blocks)?;
                if len == 0 || len > MAX_TARGET {
                    return Err(damaged("the length of a link's target"));
                }
                let mut target = vec![0; len as usize];
                at.read(blocks, &mut target)?;
                if target.contains(&0) {
                    return Err(damaged("a link's target with a NUL byte"));
                }
                node.size = len.into();
                node.content = Content::Link(target);
            }
            4 | 5 | 11 | 12 => {
                node.nlink = at.u32(blocks)?;
                node.device = Some(device(at.u32(blocks)?));
            }
            _ => node.nlink = at.u32(blocks)?,
        }
        if node.kind == NodeKind::File && i64::try_from(node.size).is_err() {
            return Err(damaged("the size of a file"));
        }
        Ok(node)
    }

    fn directory(&mut self, block: u32, offset: u16, size: u32) {
        // The three bytes stand for `.` and `..`.
        let bytes = size.saturating_sub(3);
        self.size = size.into();
        self.content = Content::Directory {
            block,
            offset,
            bytes,
        };
    }

    fn file(&mut self, start: u64, fragment: u32, offset: u32, sizes: Cursor) {
        let fragment = (fragment != NONE).then_some((fragment, offset));
        self.content = Content::File {
            start,
            fragment,
            sizes,
        };
    }
}
