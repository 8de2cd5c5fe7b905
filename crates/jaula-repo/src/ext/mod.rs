//! Reads ext2, ext3 and ext4 images, from hostile hands.
//!
//! Nothing is read ahead: any part of any file is found from its node. Checksums are not checked, extended attributes
//! and the index of large directories are passed over; a file system whose journal was not played back is refused.
//! Source: the kernel's `Documentation/filesystems/ext4/` describes the layout.
//!
//! It is our own because the crate `ext4-view` 1.0 panics on sound sparse ext2 files, finds a place in a file by
//! counting its blocks from the beginning, and knows no numbers of nodes.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod layout;
mod map;

use crate::disk::listing::{Listing, Listings, MAX_ENTRIES, Name};
use crate::disk::{Attributes, DiskEntry, DiskError, DiskTree, ROOT, is_name};
use crate::iso9660::{NodeKind, ReadAt};
use layout::{EXTENTS, Node, SUPER_BLOCK, Super, entry_kind, u16_at, u32_at};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

/// The root's own number.
const ROOT_NODE: u32 = 2;
/// Longest target of a symbolic link (`PATH_MAX` without the NUL).
const MAX_TARGET: u64 = 4095;
/// Largest directory, in bytes.
const MAX_DIRECTORY: u64 = 256 << 20;
/// Blocks of metadata that are kept.
const KEPT: usize = 64;

/// Why an image, or one file of it, is refused. `at` is a byte offset in the image.
#[derive(Debug, thiserror::Error)]
pub enum ExtError {
    /// The source could not be read.
    #[error("cannot read the image at byte {at}")]
    Read {
        /// Where the reading began.
        at: u64,
        /// The source's error.
        #[source]
        source: io::Error,
    },
    /// Something lies behind the end of the image: it is cut off, or it lies about itself.
    #[error("{need} bytes at byte {at} are outside the image, which has {len} bytes")]
    Outside {
        /// First byte asked for.
        at: u64,
        /// Bytes asked for.
        need: u64,
        /// Length of the image.
        len: u64,
    },
    /// The super block is none.
    #[error("this is not an ext2, ext3 or ext4 image: {what}")]
    NotExt {
        /// What is wrong.
        what: &'static str,
    },
    /// Valid, but this reader does not do it.
    #[error("not supported: {what}")]
    Unsupported {
        /// What it is.
        what: &'static str,
    },
    /// A node or directory that makes no sense.
    #[error("damaged, at byte {at}: {what}")]
    Damaged {
        /// Where.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A bound of this reader is passed.
    #[error("more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
}

/// An opened image.
#[derive(Debug)]
pub struct Ext<S> {
    source: S,
    len: u64,
    head: Super,
    kept: VecDeque<(u64, Rc<Vec<u8>>)>,
    listings: Listings,
    /// The file that was read last.
    last: Option<(u64, Node)>,
}

impl<S: ReadAt> Ext<S> {
    /// Reads the super block.
    ///
    /// # Errors
    /// [`ExtError::NotExt`] for another kind of file; others when it is damaged or not supported.
    pub fn open(source: S) -> Result<Self, ExtError> {
        let len = source.len();
        let mut head = [0u8; SUPER_BLOCK];
        fill(&source, len, 1024, &mut head)?;
        let head = Super::parse(&head)?;
        let need = head.blocks.saturating_mul(head.block_size);
        if need > len {
            return Err(ExtError::Outside { at: 0, need, len });
        }
        Ok(Self {
            source,
            len,
            head,
            kept: VecDeque::new(),
            listings: Listings::default(),
            last: None,
        })
    }

    fn fill(&self, at: u64, buf: &mut [u8]) -> Result<(), ExtError> {
        fill(&self.source, self.len, at, buf)
    }

    /// A block of metadata.
    fn block(&mut self, block: u64) -> Result<Rc<Vec<u8>>, ExtError> {
        if let Some(index) = self.kept.iter().position(|(of, _)| *of == block)
            && let Some(found) = self.kept.remove(index)
        {
            let bytes = Rc::clone(&found.1);
            self.kept.push_front(found);
            return Ok(bytes);
        }
        let mut bytes = vec![0; self.head.block_size as usize];
        self.fill(block.saturating_mul(self.head.block_size), &mut bytes)?;
        let bytes = Rc::new(bytes);
        self.kept.push_front((block, Rc::clone(&bytes)));
        self.kept.truncate(KEPT);
        Ok(bytes)
    }

    /// The image's own number of a node.
    fn number(&self, node: u64) -> Result<u32, DiskError> {
        let number = match node {
            ROOT => Some(ROOT_NODE),
            _ => u32::try_from(node).ok(),
        };
        number
            .filter(|number| (ROOT_NODE..=self.head.nodes).contains(number))
            .ok_or(DiskError::Node {
                node,
                wanted: "node of the image",
            })
    }

    fn node(&mut self, node: u64) -> Result<Node, DiskError> {
        let (descriptor, index) = self.head.place(self.number(node)?);
        let block = self.block(descriptor / self.head.block_size)?;
        let from = (descriptor % self.head.block_size) as usize;
        let bytes = block.get(from..).unwrap_or_default();
        let bytes = bytes.get(..self.head.descriptor_len()).unwrap_or_default();
        let at = self
            .head
            .table(bytes)
            .saturating_mul(self.head.block_size)
            .saturating_add(index.saturating_mul(self.head.node_size));
        let block = self.block(at / self.head.block_size)?;
        let from = (at % self.head.block_size) as usize;
        let bytes = block.get(from..).unwrap_or_default();
        let bytes = bytes.get(..self.head.node_size as usize);
        Ok(Node::parse(bytes.unwrap_or_default(), at)?)
    }

    /// Fills `buf`, all of which is inside the file, from `offset`.
    fn content(&mut self, node: &Node, offset: u64, buf: &mut [u8]) -> Result<(), ExtError> {
        node.readable()?;
        let size = self.head.block_size;
        let mut done = 0usize;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(done as u64);
            let run = self.map(node, at / size)?;
            let skip = at % size;
            let bytes = run.blocks.max(1).saturating_mul(size).saturating_sub(skip);
            let here = usize::try_from(bytes).unwrap_or(usize::MAX).min(rest.len());
            let (now, _) = rest.split_at_mut(here);
            match run.at {
                Some(block) => {
                    let from = block.saturating_mul(size).saturating_add(skip);
                    fill(&self.source, self.len, from, now)?;
                }
                None => now.fill(0),
            }
            done += here;
        }
        Ok(())
    }

    fn list(&mut self, dir: u64) -> Result<Listing, DiskError> {
        if let Some(kept) = self.listings.kept(dir) {
            return Ok(kept);
        }
        let node = self.node(dir)?;
        if node.kind != NodeKind::Directory {
            return Err(DiskError::Node {
                node: dir,
                wanted: "directory",
            });
        }
        let names = self.names(&node)?;
        Ok(self.listings.keep(dir, names))
    }

    fn names(&mut self, dir: &Node) -> Result<Vec<Name>, DiskError> {
        if dir.size > MAX_DIRECTORY {
            return Err(ExtError::Limit {
                what: "bytes in a directory",
                limit: MAX_DIRECTORY,
            }
            .into());
        }
        let size = self.head.block_size as usize;
        let mut names = Vec::new();
        let mut block = vec![0u8; size];
        for index in 0..dir.size.div_ceil(self.head.block_size) {
            self.content(dir, index.saturating_mul(self.head.block_size), &mut block)?;
            let mut rest = block.as_slice();
            while rest.len() >= 8 {
                let number = u32_at(rest, 0);
                let len = match u16_at(rest, 4) {
                    // What 16 bits cannot say of the largest blocks.
                    0 | u16::MAX => rest.len(),
                    len => usize::from(len),
                };
                let Some((entry, next)) = rest.split_at_checked(len).filter(|_| len >= 8) else {
                    return Err(ExtError::Damaged {
                        at: u64::from(number),
                        what: "the length of a directory's entry",
                    }
                    .into());
                };
                rest = next;
                let (name_len, kind) = match u16_at(entry, 6).to_le_bytes() {
                    [len, kind] if self.head.file_types => (usize::from(len), entry_kind(kind)),
                    both => (usize::from(u16::from_le_bytes(both)), None),
                };
                let name = entry.get(8..).and_then(|bytes| bytes.get(..name_len));
                let Some(name) = name.filter(|name| number != 0 && is_name(name)) else {
                    continue;
                };
                let node = match number {
                    ROOT_NODE => ROOT,
                    other => other.into(),
                };
                let kind = match kind {
                    Some(kind) => kind,
                    // Without types, or with one that is none, the node says it; a damaged one is left out.
                    None => match self.node(node) {
                        Ok(node) => node.kind,
                        Err(_) => continue,
                    },
                };
                names.push((name.to_vec(), node, kind));
                if names.len() > MAX_ENTRIES {
                    return Err(ExtError::Limit {
                        what: "entries in a directory",
                        limit: MAX_ENTRIES as u64,
                    }
                    .into());
                }
            }
        }
        Ok(names)
    }
}

/// Fills the whole buffer, or errs.
fn fill<S: ReadAt>(source: &S, len: u64, at: u64, buf: &mut [u8]) -> Result<(), ExtError> {
    let need = buf.len() as u64;
    let outside = |len| ExtError::Outside { at, need, len };
    if at.checked_add(need).is_none_or(|end| end > len) {
        return Err(outside(len));
    }
    let mut done = 0usize;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match source.read_at(at.saturating_add(done as u64), rest) {
            Ok(0) => return Err(outside(at.saturating_add(done as u64))),
            Ok(n) => done = done.saturating_add(n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(ExtError::Read { at, source }),
        }
    }
    Ok(())
}

impl<S: ReadAt> DiskTree for Ext<S> {
    fn attributes(&mut self, node: u64) -> Result<Attributes, DiskError> {
        let data = self.node(node)?;
        let [atime, mtime, ctime] = data.times;
        Ok(Attributes {
            kind: data.kind,
            ino: self.number(node)?.into(),
            mode: data.mode,
            uid: data.uid,
            gid: data.gid,
            nlink: data.nlink,
            size: data.size,
            atime,
            mtime,
            ctime,
            device: data.device(),
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
        let file = match self.last.take().filter(|(of, _)| *of == node) {
            Some((_, file)) => file,
            None => self.node(node)?,
        };
        if file.kind != NodeKind::File {
            return Err(DiskError::Node {
                node,
                wanted: "regular file",
            });
        }
        let rest = file.size.saturating_sub(offset);
        let want = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
        let result = self.content(&file, offset, buf.get_mut(..want).unwrap_or_default());
        self.last = Some((node, file));
        result?;
        Ok(want)
    }

    fn read_link(&mut self, node: u64) -> Result<Vec<u8>, DiskError> {
        let link = self.node(node)?;
        let wrong = |wanted| DiskError::Node { node, wanted };
        if link.kind != NodeKind::Symlink {
            return Err(wrong("symbolic link"));
        }
        if link.size == 0 || link.size > MAX_TARGET {
            return Err(wrong("symbolic link with a target of sound length"));
        }
        let mut target = vec![0; link.size as usize];
        // The block that its attributes take is not for the target.
        let attributes = match link.has_attributes {
            true => (self.head.block_size / 512) as u32,
            false => 0,
        };
        let inside = link.flags & EXTENTS == 0 && link.sectors <= attributes;
        match link.block.get(..target.len()) {
            Some(bytes) if inside => target.copy_from_slice(bytes),
            _ => self.content(&link, 0, &mut target)?,
        }
        if target.contains(&0) {
            return Err(wrong("symbolic link without a NUL byte"));
        }
        Ok(target)
    }

    fn bytes(&self) -> u64 {
        self.head.blocks.saturating_mul(self.head.block_size)
    }
}
