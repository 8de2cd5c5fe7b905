//! What an entry is.

use super::Iso;
use super::error::IsoError;
use super::record::{DIRECTORY, HIDDEN, MORE, Record, SECTOR, Step, step};
use super::rock::{Fields, Packed};
use super::source::ReadAt;

/// Parts of a file that consists of several: 256 of 4 GiB, far more than an image of a disc has.
const MAX_PARTS: u64 = 256;
/// Default rights of what has none recorded, as in Linux: a disc written for DOS marks nothing executable.
const MODE: u32 = 0o555;

/// The number of a file or directory: the same as long as the image's bytes are. It is the offset of the
/// record that describes it, except for the root, whose number is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(u64);

impl Ino {
    /// The root directory's number, as FUSE has it. No record can begin there.
    pub const ROOT: Self = Self(1);

    /// The number, never 0.
    pub fn number(self) -> u64 {
        self.0
    }

    /// A number that came back from a caller. [`Iso::node`] checks what is there.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }

    pub(super) fn at(offset: u64) -> Self {
        Self(offset)
    }
}

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl NodeKind {
    /// By the type bits of a mode (`inode(7)`); `None` if they are not set, or mean nothing.
    pub(super) fn of_mode(mode: u32) -> Option<Self> {
        match mode & 0o170_000 {
            0o100_000 => Some(Self::File),
            0o040_000 => Some(Self::Directory),
            0o120_000 => Some(Self::Symlink),
            0o020_000 => Some(Self::CharDevice),
            0o060_000 => Some(Self::BlockDevice),
            0o010_000 => Some(Self::Fifo),
            0o140_000 => Some(Self::Socket),
            _ => None,
        }
    }
}

/// A part of a file, in one piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Byte in the image.
    pub at: u64,
    /// Bytes.
    pub len: u64,
}

/// A file, directory, link or device.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its number.
    pub ino: Ino,
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits, `07777`. They are the image's word: set-user-id and devices must not count where
    /// the image is mounted (`nosuid`, `nodev`).
    pub mode: u32,
    /// Owner as recorded; 0 if nothing is recorded.
    pub uid: u32,
    /// Group as recorded; 0 if nothing is recorded.
    pub gid: u32,
    /// Number of links as recorded; 1 if nothing is recorded (as in Linux, also for directories).
    pub nlink: u32,
    /// Bytes: of a file unpacked, of a link's target, of a directory's records, 0 for others.
    pub size: u64,
    /// Time of the last change of the content, in seconds from 1970.
    pub mtime: i64,
    /// Time of the last access, in seconds from 1970.
    pub atime: i64,
    /// Time of the last change of the attributes (or of creation, where a writer mixed them up).
    pub ctime: i64,
    /// A device's major and minor number.
    pub device: Option<(u32, u32)>,
    /// A symbolic link's target: not empty, at most 4095 bytes, no NUL. Otherwise the image's word.
    pub target: Option<Vec<u8>>,
    /// Marked as hidden. Linux shows such files, and so does this reader.
    pub hidden: bool,
    pub(super) parts: Vec<Part>,
    pub(super) packed: Option<Packed>,
}

impl Node {
    /// Bytes on the image, which for a compressed file are fewer than [`Node::size`].
    pub fn stored(&self) -> u64 {
        self.parts.iter().map(|p| p.len).sum()
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == NodeKind::Directory
    }

    fn new(
        ino: Ino,
        kind: NodeKind,
        record: &Record<'_>,
        fields: Fields,
        parts: Vec<Part>,
    ) -> Self {
        let posix = fields.posix;
        let mtime = fields.mtime.unwrap_or(record.mtime);
        Self {
            ino,
            kind,
            mode: posix.map_or(MODE, |p| p.mode & 0o7777),
            uid: posix.map_or(0, |p| p.uid),
            gid: posix.map_or(0, |p| p.gid),
            nlink: posix.map_or(1, |p| p.nlink),
            size: parts.iter().map(|p| p.len).sum(),
            mtime,
            atime: fields.atime.unwrap_or(record.mtime),
            ctime: fields.ctime.unwrap_or(record.mtime),
            device: None,
            target: None,
            hidden: record.has(HIDDEN),
            parts,
            packed: None,
        }
    }

    pub(super) fn directory(
        ino: Ino,
        record: &Record<'_>,
        fields: Fields,
    ) -> Result<Self, IsoError> {
        let at = record.at;
        let broken = |what| Err(IsoError::Record { at, what });
        if record.has(MORE) || record.interleaved {
            return broken("a directory in several pieces");
        }
        if fields
            .posix
            .and_then(|p| NodeKind::of_mode(p.mode))
            .is_some_and(|k| k != NodeKind::Directory)
        {
            return broken("a directory that Rock Ridge says is none");
        }
        let parts = vec![Part {
            at,
            len: record.size.into(),
        }];
        Ok(Self::new(ino, NodeKind::Directory, record, fields, parts))
    }
}

impl<S: ReadAt> Iso<S> {
    /// What the record of an entry stands for.
    pub(super) fn resolve(&self, record: &Record<'_>) -> Result<Node, IsoError> {
        let at = record.at;
        let fields = self.fields(record, false)?;
        if let Some(block) = fields.child {
            return self.directory(block.into());
        }
        if record.has(DIRECTORY) {
            return self.directory(record.block);
        }
        if let Some(at) = fields.sparse {
            return Err(IsoError::Unsupported {
                at,
                what: "sparse files",
            });
        }
        let kind = entry_kind(record, &fields)?;
        let parts = if kind == NodeKind::File {
            self.parts(record)?
        } else {
            Vec::new()
        };
        let (device, target, packed) = (fields.device, fields.target.clone(), fields.packed);
        let mut node = Node::new(Ino::at(at), kind, record, fields, parts);
        match kind {
            NodeKind::File => {
                node.packed = packed;
                if let Some(packed) = packed {
                    node.size = packed.size.into();
                    super::zisofs::check(&node, packed)?;
                }
            }
            NodeKind::Symlink => {
                let target = target.filter(|t| !t.is_empty() && !t.contains(&0));
                let target = target.ok_or(IsoError::RockRidge {
                    at,
                    what: "a link without a target, or with a NUL in it",
                })?;
                node.size = target.len() as u64;
                node.target = Some(target);
            }
            NodeKind::CharDevice | NodeKind::BlockDevice => {
                node.device = Some(device.ok_or(IsoError::RockRidge {
                    at,
                    what: "a device without a number",
                })?);
            }
            NodeKind::Directory | NodeKind::Fifo | NodeKind::Socket => {}
        }
        Ok(node)
    }

    /// The parts of a file, whose first record is given: one, or several in records that follow.
    fn parts(&self, first: &Record<'_>) -> Result<Vec<Part>, IsoError> {
        let broken = |at, what| IsoError::Record { at, what };
        let mut parts = Vec::new();
        self.add_part(first, &mut parts)?;
        if !first.has(MORE) {
            return Ok(parts);
        }
        let mut at = first.at.saturating_add(self.length_at(first.at)?);
        loop {
            let mut raw = self.sector_rest(at)?;
            if step(&raw) == Step::NextSector && at % SECTOR != 0 {
                at = at.next_multiple_of(SECTOR);
                raw = self.sector_rest(at)?;
            }
            let record = Record::parse(&raw, at)?;
            if record.name != first.name {
                return Err(broken(first.at, "the last part of the file is missing"));
            }
            self.add_part(&record, &mut parts)?;
            if !record.has(MORE) {
                return Ok(parts);
            }
            if parts.len() as u64 >= MAX_PARTS {
                return Err(IsoError::Limit {
                    at,
                    what: "parts of a file",
                    limit: MAX_PARTS,
                });
            }
            at = at.saturating_add(self.length_at(at)?);
        }
    }

    /// The length of the record at `at`.
    fn length_at(&self, at: u64) -> Result<u64, IsoError> {
        let mut length = [0u8; 1];
        self.image.fill(at, &mut length)?;
        let [length] = length;
        Ok(length.into())
    }

    fn add_part(&self, record: &Record<'_>, parts: &mut Vec<Part>) -> Result<(), IsoError> {
        if record.interleaved {
            return Err(IsoError::Unsupported {
                at: record.at,
                what: "interleaved files",
            });
        }
        let len = u64::from(record.size);
        if record.has(MORE) && !len.is_multiple_of(self.block_size) {
            return Err(IsoError::Record {
                at: record.at,
                what: "a part in the middle of a file is not whole blocks",
            });
        }
        parts.push(Part {
            at: record.block.saturating_mul(self.block_size),
            len,
        });
        Ok(())
    }

    /// Fills `buf`, all of which is inside the stored bytes, with those from `offset`.
    pub(super) fn read_stored(
        &self,
        node: &Node,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), IsoError> {
        let mut skip = offset;
        let mut rest = buf;
        for part in &node.parts {
            if skip >= part.len {
                skip -= part.len;
                continue;
            }
            let here = usize::try_from(part.len - skip)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let (now, later) = rest.split_at_mut(here);
            self.image.fill(part.at.saturating_add(skip), now)?;
            rest = later;
            skip = 0;
            if rest.is_empty() {
                return Ok(());
            }
        }
        Err(IsoError::Outside {
            at: node.ino.number(),
            need: rest.len() as u64,
            len: node.stored(),
        })
    }
}

/// The kind of an entry by its record and fields. The two must not contradict each other.
pub(super) fn entry_kind(record: &Record<'_>, fields: &Fields) -> Result<NodeKind, IsoError> {
    if fields.child.is_some() {
        return Ok(NodeKind::Directory);
    }
    let by_flag = if record.has(DIRECTORY) {
        NodeKind::Directory
    } else {
        NodeKind::File
    };
    let Some(posix) = fields.posix.filter(|p| p.mode & 0o170_000 != 0) else {
        return Ok(by_flag);
    };
    let at = record.at;
    match NodeKind::of_mode(posix.mode) {
        None => Err(IsoError::RockRidge {
            at,
            what: "a mode of no known type",
        }),
        Some(kind) if (kind == NodeKind::Directory) == record.has(DIRECTORY) => Ok(kind),
        Some(_) => Err(IsoError::RockRidge {
            at,
            what: "a directory in one place, something else in the other",
        }),
    }
}
