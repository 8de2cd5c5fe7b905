//! Reads ISO 9660 images (ECMA-119) with Rock Ridge, Joliet and zisofs, from hostile hands.
//!
//! What is shown is what Linux's own driver shows when it mounts the image without options: the Rock
//! Ridge tree if there is one, else the Joliet tree, else the plain names in lower case without `;1`.
//! Hidden files are shown, associated files are not. El Torito, UDF and further sessions are ignored.
//! Where this reader is stricter than Linux (numbers that differ between their two byte orders, sparse
//! and interleaved files, names with slashes), the entry is an error and the others stay readable.
//! Where it is wider: names of the plain tree are found in any case, as those of Joliet are.
//!
//! Nothing is read ahead and nothing is kept but a block and some names, so an image of any size costs
//! little. An [`Ino`] is all the state a caller needs: [`Iso::node`] reads the rest again.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod dir;
mod error;
mod field;
mod name;
mod node;
mod record;
mod rock;
mod source;
mod volume;
mod walk;
mod zisofs;

pub use dir::{Entry, ReadDir};
pub use error::IsoError;
pub use node::{Ino, Node, NodeKind};
pub use source::ReadAt;
pub use volume::{Tree, Volume};
pub use walk::{Found, Skipped, Walk, WalkLimits};

use record::{DIRECTORY, Record, SECTOR, SELF};
use source::Image;
use std::sync::Mutex;
use volume::{Descriptor, Descriptors};

/// ECMA-119 6.2.1: these bytes at the image's beginning are not for files.
const SYSTEM_AREA: u64 = 16 * SECTOR;

/// An opened image. It is read-only and can be shared between threads if its source can.
#[derive(Debug)]
pub struct Iso<S> {
    image: Image<S>,
    volume: Volume,
    block_size: u64,
    root_block: u64,
    /// Bytes to leave out of a system use field before Rock Ridge begins: of the root's own record, and
    /// of the others.
    skip: (usize, usize),
    unpacked: Mutex<Option<zisofs::Block>>,
    names: Mutex<dir::Names>,
}

/// How Rock Ridge begins.
struct Start {
    declared: bool,
    /// As [`Iso::skip`].
    skip: (usize, usize),
}

impl<S: ReadAt> Iso<S> {
    /// Reads the volume descriptors and chooses a tree.
    ///
    /// # Errors
    /// [`IsoError::NotIso`] for another kind of file; others if the descriptors or the root directory are
    /// broken.
    pub fn open(source: S) -> Result<Self, IsoError> {
        let image = Image::new(source);
        let Descriptors { primary, joliet } = Descriptors::read(&image)?;
        let (iso, joliet) = match (primary, joliet) {
            (Some(primary), joliet) => (Self::new(image, Tree::Plain, &primary), joliet),
            (None, Some(joliet)) => (Self::new(image, Tree::Joliet, &joliet), None),
            (None, None) => {
                return Err(IsoError::NotIso {
                    what: "it has no volume descriptor `CD001`",
                });
            }
        };
        iso.choose(joliet)
    }

    fn new(image: Image<S>, tree: Tree, from: &Descriptor) -> Self {
        let block_size = u64::from(from.block_size);
        let missing = u64::from(from.blocks)
            .saturating_mul(block_size)
            .saturating_sub(image.len());
        let (label, blocks, block_size_32) = (from.label.clone(), from.blocks, from.block_size);
        Self {
            image,
            volume: Volume {
                label,
                block_size: block_size_32,
                blocks,
                tree,
                missing,
            },
            block_size,
            root_block: from.root_block,
            skip: (0, 0),
            unpacked: Mutex::new(None),
            names: Mutex::default(),
        }
    }

    /// Rock Ridge, if it is declared (`ER`); else Joliet; else Rock Ridge that is there but not declared.
    /// A Rock Ridge tree with nothing in it gives way to Joliet, as in Linux.
    fn choose(mut self, joliet: Option<Descriptor>) -> Result<Self, IsoError> {
        if self.volume.tree == Tree::Joliet {
            self.root()?;
            return Ok(self);
        }
        let declared = match self.rock_start() {
            Ok(Some(Start { declared, skip })) if declared || joliet.is_none() => {
                self.volume.tree = Tree::RockRidge;
                self.skip = skip;
                declared
            }
            Ok(_) => false,
            // The primary tree's root is broken; the Joliet tree may be whole.
            Err(_) if joliet.is_some() => false,
            Err(e) => return Err(e),
        };
        if let Some(joliet) = joliet {
            let shown = declared && self.read_dir(&self.root()?)?.next().is_some();
            if !shown {
                self = Self::new(self.image, Tree::Joliet, &joliet);
            }
        }
        self.root()?;
        Ok(self)
    }

    /// How Rock Ridge begins, if the root's own record has it.
    fn rock_start(&self) -> Result<Option<Start>, IsoError> {
        self.directory_ino(self.root_block)?;
        let at = self.root_block.saturating_mul(self.block_size);
        let raw = self.sector_rest(at)?;
        let record = Record::parse(&raw, at)?;
        let Some((from, skip)) = rock::start(record.system_use) else {
            return Ok(None);
        };
        let area = record.system_use.get(from..).unwrap_or_default();
        let fields = rock::parse(
            &self.image,
            self.block_size,
            area,
            record.system_use_at.saturating_add(from as u64),
        )?;
        let start = Start {
            declared: fields.declared,
            skip: (from, skip),
        };
        Ok((fields.declared || fields.posix.is_some()).then_some(start))
    }

    /// The volume's name, sizes and tree.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// The root directory.
    ///
    /// # Errors
    /// As [`Iso::node`].
    pub fn root(&self) -> Result<Node, IsoError> {
        self.directory(self.root_block)
    }

    /// The file or directory with this number: one that this image has given out before.
    ///
    /// # Errors
    /// If the record there is broken, or not supported (sparse and interleaved files), or lies outside.
    pub fn node(&self, ino: Ino) -> Result<Node, IsoError> {
        if ino == Ino::ROOT {
            return self.root();
        }
        let at = ino.number();
        let raw = self.sector_rest(at)?;
        let record = Record::parse(&raw, at)?;
        if record.name != SELF {
            return self.resolve(&record);
        }
        if !at.is_multiple_of(self.block_size) {
            return Err(IsoError::Record {
                at,
                what: "a directory begins inside a block",
            });
        }
        self.directory(at / self.block_size)
    }

    /// The entry of a directory that has this name. The plain and the Joliet tree know no case: an exact
    /// match goes first, then any. Entries that are broken are passed over.
    ///
    /// # Errors
    /// If `dir` is no directory, it cannot be read, or the entry is broken.
    pub fn lookup(&self, dir: &Node, name: &[u8]) -> Result<Option<Node>, IsoError> {
        self.find(dir, name)?.map(|ino| self.node(ino)).transpose()
    }

    /// The entries of a directory, without `.` and `..`, in the image's order. An entry that is broken is
    /// an `Err` item; the iteration goes on behind it.
    ///
    /// # Errors
    /// If `dir` is no directory, or lies outside of the image.
    pub fn read_dir(&self, dir: &Node) -> Result<ReadDir<'_, S>, IsoError> {
        self.read_dir_from(dir, 0)
    }

    /// As [`Iso::read_dir`], beginning behind the entry whose [`Entry::next`] is given. Any number is
    /// safe: the iteration begins at a record, never inside one.
    ///
    /// # Errors
    /// As [`Iso::read_dir`].
    pub fn read_dir_from(&self, dir: &Node, next: u64) -> Result<ReadDir<'_, S>, IsoError> {
        ReadDir::new(self, dir, next)
    }

    /// Fills `buf` with a file's bytes from `offset` and returns how many there were: fewer than
    /// `buf.len()` only at the file's end. Compressed files are unpacked.
    ///
    /// # Errors
    /// If `node` is no file, a byte of the wanted part is outside the image, or its compression is broken.
    pub fn read(&self, node: &Node, offset: u64, buf: &mut [u8]) -> Result<usize, IsoError> {
        if node.kind != NodeKind::File {
            return Err(IsoError::Kind {
                at: node.ino.number(),
                wanted: "regular file",
            });
        }
        let rest = node.size.saturating_sub(offset);
        let want = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
        let Some(buf) = buf.get_mut(..want).filter(|b| !b.is_empty()) else {
            return Ok(0);
        };
        match node.packed {
            Some(packed) => self.read_packed(node, packed, offset, buf)?,
            None => self.read_stored(node, offset, buf)?,
        }
        Ok(want)
    }

    /// Every entry below the root, directories before what is in them. Nothing is followed, and no
    /// directory is entered twice.
    ///
    /// # Errors
    /// If the root cannot be read.
    pub fn walk(&self, limits: WalkLimits) -> Result<Walk<'_, S>, IsoError> {
        Walk::new(self, limits)
    }

    /// The bytes from `at` to the end of its sector, or of the image.
    fn sector_rest(&self, at: u64) -> Result<Vec<u8>, IsoError> {
        let to_end = self.image.len().saturating_sub(at);
        let len = (SECTOR - at % SECTOR).min(to_end);
        if len == 0 {
            return Err(IsoError::Outside {
                at,
                need: 1,
                len: self.image.len(),
            });
        }
        self.image.bytes(at, len as usize)
    }

    /// The Rock Ridge fields of a record; none in another tree.
    fn fields(&self, record: &Record<'_>, root: bool) -> Result<rock::Fields, IsoError> {
        if self.volume.tree != Tree::RockRidge {
            return Ok(rock::Fields::default());
        }
        let skip = if root { self.skip.0 } else { self.skip.1 };
        let area = record.system_use.get(skip..).unwrap_or_default();
        rock::parse(
            &self.image,
            self.block_size,
            area,
            record.system_use_at.saturating_add(skip as u64),
        )
    }

    /// Where a directory's own record is, as its number. The first sectors belong to no directory, so
    /// that no number is 0 or the root's by chance.
    fn directory_ino(&self, block: u64) -> Result<Ino, IsoError> {
        let at = block.saturating_mul(self.block_size);
        if at < SYSTEM_AREA {
            return Err(IsoError::Record {
                at,
                what: "a directory in the system area",
            });
        }
        Ok(if block == self.root_block {
            Ino::ROOT
        } else {
            Ino::at(at)
        })
    }

    /// The directory whose data begin at `block`. Its own first record describes it, as in Linux.
    fn directory(&self, block: u64) -> Result<Node, IsoError> {
        let ino = self.directory_ino(block)?;
        let at = block.saturating_mul(self.block_size);
        let broken = |what| IsoError::Record { at, what };
        let raw = self.sector_rest(at)?;
        let record = Record::parse(&raw, at)?;
        if record.name != SELF || !record.has(DIRECTORY) {
            return Err(broken("a directory does not begin with a record of itself"));
        }
        if record.block != block {
            return Err(broken("a directory's record of itself is of another one"));
        }
        let fields = self.fields(&record, ino == Ino::ROOT)?;
        Node::directory(ino, &record, fields)
    }
}
