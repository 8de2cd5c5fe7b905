//! Reads squashfs images, version 4, from hostile hands: compressed with gzip, xz or zstd, or not at all.
//!
//! Nothing is read ahead: any part of any file is found from its node. Extended attributes are passed over. Source:
//! the kernel's `fs/squashfs/squashfs_fs.h` and `Documentation/filesystems/squashfs.rst` describe the layout.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod block;
mod error;
mod node;

pub use error::SquashfsError;

use crate::disk::listing::{Listing, Listings, MAX_ENTRIES, Name};
use crate::disk::{Attributes, DiskEntry, DiskError, DiskTree, ROOT, is_name};
use crate::iso9660::ReadAt;
use block::{Blocks, Compression, Cursor, STORED};
use node::{Content, Node, kind_of};

/// Bytes of the super block.
const SUPER_BLOCK: usize = 96;
/// Most blocks of one file: 512 GiB of blocks of the usual size.
const MAX_BLOCKS: u64 = 4 << 20;
/// Bytes before each group of entries.
const ENTRY_HEADER: u32 = 12;

/// An opened image.
#[derive(Debug)]
pub struct Squashfs<S> {
    blocks: Blocks<S>,
    block_size: u64,
    used: u64,
    root: u64,
    inodes: u64,
    directories: u64,
    fragments: u64,
    fragment_count: u32,
    ids: Vec<u32>,
    listings: Listings,
    open: Option<Open>,
}

/// The file that was read last.
#[derive(Debug)]
struct Open {
    node: u64,
    size: u64,
    /// Where each block is, and its size as stored; 0 is a hole.
    blocks: Vec<(u64, u32)>,
    fragment: Option<(u32, u32)>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let raw = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
    u16::from_le_bytes(raw.copied().unwrap_or_default())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let raw = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    u32::from_le_bytes(raw.copied().unwrap_or_default())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let raw = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    u64::from_le_bytes(raw.copied().unwrap_or_default())
}

impl<S: ReadAt> Squashfs<S> {
    /// Reads the super block and the table of identifiers.
    ///
    /// # Errors
    /// [`SquashfsError::NotSquashfs`] for another kind of file; others when it is damaged or not supported.
    pub fn open(source: S) -> Result<Self, SquashfsError> {
        let not = |what| SquashfsError::NotSquashfs { what };
        let mut head = [0u8; SUPER_BLOCK];
        let len = source.len();
        block::fill(&source, len, 0, &mut head)?;
        if !head.starts_with(b"hsqs") {
            return Err(not("it does not begin with `hsqs`"));
        }
        if (u16_at(&head, 28), u16_at(&head, 30)) != (4, 0) {
            return Err(SquashfsError::Unsupported {
                what: "a version other than 4.0",
            });
        }
        let compression = Compression::from_id(u16_at(&head, 20))?;
        let block_size = u32_at(&head, 12);
        if !(4096..=1 << 20).contains(&block_size)
            || 1u32.checked_shl(u16_at(&head, 22).into()) != Some(block_size)
        {
            return Err(not("its block size makes no sense"));
        }
        let used = u64_at(&head, 40);
        if used > len {
            return Err(SquashfsError::Outside {
                at: 0,
                need: used,
                len,
            });
        }
        let mut this = Self {
            blocks: Blocks::new(source, used, compression, block_size as usize),
            block_size: block_size.into(),
            used,
            root: u64_at(&head, 32),
            inodes: u64_at(&head, 64),
            directories: u64_at(&head, 72),
            fragments: u64_at(&head, 80),
            fragment_count: u32_at(&head, 16),
            ids: Vec::new(),
            listings: Listings::default(),
            open: None,
        };
        let (ids, table) = (u16_at(&head, 26), u64_at(&head, 48));
        for index in 0..ids {
            let mut at = this.table(table, u64::from(index), 4)?;
            let id = at.u32(&mut this.blocks)?;
            this.ids.push(id);
        }
        Ok(this)
    }

    /// Where an element of a table is that is stored in metadata blocks behind a list of their places.
    fn table(&self, table: u64, index: u64, element: u64) -> Result<Cursor, SquashfsError> {
        let byte = index.saturating_mul(element);
        let mut place = [0u8; 8];
        let at = (byte / block::METADATA as u64)
            .saturating_mul(8)
            .saturating_add(table);
        self.blocks.fill(at, &mut place)?;
        Ok(Cursor {
            block: u64::from_le_bytes(place),
            offset: (byte % block::METADATA as u64) as usize,
        })
    }

    fn node(&mut self, number: u64) -> Result<Node, DiskError> {
        let reference = match number {
            ROOT => self.root,
            _ => number.checked_sub(2).ok_or(DiskError::Node {
                node: number,
                wanted: "node of the image",
            })?,
        };
        let at = Cursor {
            block: self.inodes.saturating_add(reference >> 16),
            offset: (reference & 0xffff) as usize,
        };
        Ok(Node::read(&mut self.blocks, at)?)
    }

    fn list(&mut self, dir: u64) -> Result<Listing, DiskError> {
        if let Some(kept) = self.listings.kept(dir) {
            return Ok(kept);
        }
        let Content::Directory {
            block,
            offset,
            bytes,
        } = self.node(dir)?.content
        else {
            return Err(DiskError::Node {
                node: dir,
                wanted: "directory",
            });
        };
        let names = self.entries(block, offset, bytes)?;
        Ok(self.listings.keep(dir, names))
    }

    fn entries(&mut self, block: u32, offset: u16, bytes: u32) -> Result<Vec<Name>, SquashfsError> {
        let mut at = Cursor {
            block: self.directories.saturating_add(block.into()),
            offset: offset.into(),
        };
        let start = at.block;
        let damaged = |what| SquashfsError::Damaged { at: start, what };
        let mut left = bytes;
        let mut entries = Vec::new();
        let blocks = &mut self.blocks;
        while left >= ENTRY_HEADER {
            let count = at.u32(blocks)?;
            let inodes = at.u32(blocks)?;
            at.u32(blocks)?;
            left -= ENTRY_HEADER;
            // One less than there are; 256 at most (SQUASHFS_DIR_COUNT).
            if count > 255 {
                return Err(damaged("a directory's count of entries"));
            }
            for _ in 0..=count {
                let offset = at.u16(blocks)?;
                at.u16(blocks)?;
                let kind = kind_of(at.u16(blocks)?);
                let len = u32::from(at.u16(blocks)?) + 1;
                left = left
                    .checked_sub(8 + len)
                    .filter(|_| len <= 256)
                    .ok_or(damaged("a directory's entry is longer than the directory"))?;
                let mut name = vec![0; len as usize];
                at.read(blocks, &mut name)?;
                let node = (u64::from(inodes) << 16 | u64::from(offset)) + 2;
                // A name that cannot be one on Linux is left out, and so is a node of no known type.
                if let (Some(kind), true) = (kind, is_name(&name)) {
                    entries.push((name, node, kind));
                }
            }
            if entries.len() > MAX_ENTRIES {
                return Err(SquashfsError::Limit {
                    what: "entries in a directory",
                    limit: MAX_ENTRIES as u64,
                });
            }
        }
        Ok(entries)
    }

    /// The file's list of blocks.
    fn open_file(&mut self, node: u64) -> Result<Open, DiskError> {
        let data = self.node(node)?;
        let Content::File {
            start,
            fragment,
            mut sizes,
        } = data.content
        else {
            return Err(DiskError::Node {
                node,
                wanted: "regular file",
            });
        };
        let count = match fragment {
            Some(_) => data.size / self.block_size,
            None => data.size.div_ceil(self.block_size),
        };
        if count > MAX_BLOCKS {
            return Err(SquashfsError::Limit {
                what: "blocks in a file",
                limit: MAX_BLOCKS,
            }
            .into());
        }
        let mut blocks = Vec::new();
        let mut at = start;
        for _ in 0..count {
            let size = sizes.u32(&mut self.blocks)?;
            blocks.push((at, size));
            at = at.saturating_add((size & !STORED).into());
        }
        Ok(Open {
            node,
            size: data.size,
            blocks,
            fragment,
        })
    }

    /// Copies what of a block is there from `skip` on into `to`; the rest of a short block is zero.
    fn read_block(
        &mut self,
        file: &Open,
        index: u64,
        skip: usize,
        to: &mut [u8],
    ) -> Result<(), DiskError> {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let (block, skip) = match (file.blocks.get(index), file.fragment) {
            (Some((_, 0)), _) => {
                to.fill(0);
                return Ok(());
            }
            (Some((at, size)), _) => (self.blocks.data(*at, *size)?, skip),
            (None, Some((fragment, offset))) => {
                if fragment >= self.fragment_count {
                    return Err(SquashfsError::Damaged {
                        at: self.fragments,
                        what: "a fragment that the table does not have",
                    }
                    .into());
                }
                let mut entry = self.table(self.fragments, fragment.into(), 16)?;
                let at = entry.u64(&mut self.blocks)?;
                let size = entry.u32(&mut self.blocks)?;
                let skip = skip.saturating_add(offset as usize);
                (self.blocks.data(at, size)?, skip)
            }
            (None, None) => {
                return Err(DiskError::Node {
                    node: file.node,
                    wanted: "file with this block",
                });
            }
        };
        match block.get(skip..).and_then(|rest| rest.get(..to.len())) {
            Some(from) => to.copy_from_slice(from),
            None => {
                return Err(SquashfsError::Damaged {
                    at: file.blocks.get(index).map_or(self.fragments, |b| b.0),
                    what: "a block is shorter than the file says",
                }
                .into());
            }
        }
        Ok(())
    }

    fn id(&self, index: u16) -> u32 {
        // One that the table does not have is nobody's.
        self.ids.get(usize::from(index)).copied().unwrap_or(65534)
    }
}

impl<S: ReadAt> DiskTree for Squashfs<S> {
    fn attributes(&mut self, number: u64) -> Result<Attributes, DiskError> {
        let node = self.node(number)?;
        let time = i64::from(node.mtime);
        Ok(Attributes {
            kind: node.kind,
            ino: node.number.into(),
            mode: u32::from(node.mode) & 0o7777,
            uid: self.id(node.uid),
            gid: self.id(node.gid),
            nlink: node.nlink,
            size: node.size,
            atime: time,
            mtime: time,
            ctime: time,
            device: node.device,
        })
    }

    fn lookup(&mut self, dir: u64, name: &[u8]) -> Result<Option<u64>, DiskError> {
        Ok(self.list(dir)?.find(name))
    }

    fn read_dir(
        &mut self,
        dir: u64,
        next: u64,
        each: &mut dyn FnMut(&DiskEntry) -> bool,
    ) -> Result<(), DiskError> {
        self.list(dir)?.hand_out(next, each);
        Ok(())
    }

    fn read(&mut self, node: u64, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        let file = match self.open.take().filter(|open| open.node == node) {
            Some(open) => open,
            None => self.open_file(node)?,
        };
        let rest = file.size.saturating_sub(offset);
        let want = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
        let mut done = 0usize;
        let mut result = Ok(want);
        while done < want {
            let at = offset.saturating_add(done as u64);
            let skip = at % self.block_size;
            let len = usize::try_from(self.block_size - skip)
                .unwrap_or(usize::MAX)
                .min(want - done);
            let Some(to) = buf.get_mut(done..done + len) else {
                break;
            };
            if let Err(error) = self.read_block(&file, at / self.block_size, skip as usize, to) {
                result = Err(error);
                break;
            }
            done += len;
        }
        self.open = Some(file);
        result
    }

    fn read_link(&mut self, node: u64) -> Result<Vec<u8>, DiskError> {
        match self.node(node)?.content {
            Content::Link(target) => Ok(target),
            _ => Err(DiskError::Node {
                node,
                wanted: "symbolic link",
            }),
        }
    }

    fn bytes(&self) -> u64 {
        self.used
    }
}
