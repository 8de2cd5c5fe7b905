//! What stands where: the super block, and nodes ("inodes").

use super::ExtError;
use crate::iso9660::NodeKind;

/// Bytes of the super block.
pub(super) const SUPER_BLOCK: usize = 1024;

/// `incompat` features that change nothing for a reader, or that this one handles: file types, meta block groups,
/// extents, 64 bit, mount protection, flexible groups, attribute nodes, checksum seeds, large directories. Inline data
/// and encryption make single files unreadable.
const INCOMPAT: u32 = 0x2
    | 0x10
    | 0x40
    | 0x80
    | 0x100
    | 0x200
    | 0x400
    | 0x2000
    | 0x4000
    | 0x8000
    | 0x1_0000
    | 0x2_0000;
const RECOVER: u32 = 0x4;
const META_BG: u32 = 0x10;
const BITS_64: u32 = 0x80;
const FILE_TYPE: u32 = 0x2;
const SPARSE_SUPER: u32 = 0x1;
const SPARSE_SUPER_2: u32 = 0x200;

/// A node that begins with an extent tree.
pub(super) const EXTENTS: u32 = 0x8_0000;
const INLINE_DATA: u32 = 0x1000_0000;
const ENCRYPTED: u32 = 0x800;

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let raw = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
    u16::from_le_bytes(raw.copied().unwrap_or_default())
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let raw = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    u32::from_le_bytes(raw.copied().unwrap_or_default())
}

/// The super block, checked.
#[derive(Debug, Clone)]
pub(super) struct Super {
    pub block_size: u64,
    pub blocks: u64,
    pub nodes: u32,
    pub node_size: u64,
    pub file_types: bool,
    first_block: u64,
    blocks_per_group: u64,
    nodes_per_group: u32,
    descriptor: u64,
    /// The first meta block group; none without the feature.
    meta: Option<u64>,
    sparse: bool,
    backups: Option<[u32; 2]>,
}

impl Super {
    pub(super) fn parse(head: &[u8]) -> Result<Self, ExtError> {
        let not = |what| ExtError::NotExt { what };
        if u16_at(head, 0x38) != 0xef53 {
            return Err(not("it has no super block"));
        }
        let (compat, incompat, ro_compat) =
            (u32_at(head, 0x5c), u32_at(head, 0x60), u32_at(head, 0x64));
        if incompat & RECOVER != 0 {
            return Err(ExtError::Unsupported {
                what: "it was not unmounted, and e2fsck has to play back its journal first",
            });
        }
        if incompat & !INCOMPAT != 0 {
            return Err(ExtError::Unsupported {
                what: "a feature of the file system that is not known",
            });
        }
        let shift = u32_at(head, 0x18);
        if shift > 6 {
            return Err(not("its block size makes no sense"));
        }
        let wide = incompat & BITS_64 != 0;
        let block_size = 1024u64 << shift;
        let node_size = match u32_at(head, 0x4c) {
            0 => 128,
            _ => u64::from(u16_at(head, 0x58)),
        };
        if !(128..=block_size).contains(&node_size) || !node_size.is_power_of_two() {
            return Err(not("the size of its nodes makes no sense"));
        }
        let descriptor = if wide { u16_at(head, 0xfe).into() } else { 32 };
        if !(32..=1024.min(block_size)).contains(&descriptor) || !descriptor.is_power_of_two() {
            return Err(not("the size of its descriptors makes no sense"));
        }
        let (blocks_per_group, nodes_per_group) = (u32_at(head, 0x20), u32_at(head, 0x28));
        if blocks_per_group == 0 || nodes_per_group == 0 {
            return Err(not("its groups are empty"));
        }
        let high = if wide { u32_at(head, 0x150) } else { 0 };
        Ok(Self {
            block_size,
            blocks: u64::from(high) << 32 | u64::from(u32_at(head, 4)),
            nodes: u32_at(head, 0),
            node_size,
            file_types: incompat & FILE_TYPE != 0,
            first_block: u32_at(head, 0x14).into(),
            blocks_per_group: blocks_per_group.into(),
            nodes_per_group,
            descriptor,
            meta: (incompat & META_BG != 0).then(|| u32_at(head, 0x104).into()),
            sparse: ro_compat & SPARSE_SUPER != 0,
            backups: (compat & SPARSE_SUPER_2 != 0)
                .then(|| [u32_at(head, 0x24c), u32_at(head, 0x250)]),
        })
    }

    /// Where the descriptor of a node's group is, as a byte of the image, and the node's place in the group's table.
    pub(super) fn place(&self, node: u32) -> (u64, u64) {
        let index = node.saturating_sub(1);
        let group = u64::from(index / self.nodes_per_group);
        let per_block = self.block_size / self.descriptor;
        let (meta, rest) = (group / per_block, group % per_block);
        let block = match self.meta {
            Some(first) if meta >= first => {
                let leader = meta.saturating_mul(per_block);
                leader
                    .saturating_mul(self.blocks_per_group)
                    .saturating_add(self.first_block)
                    .saturating_add(self.has_super(leader).into())
            }
            _ => self.first_block.saturating_add(1).saturating_add(meta),
        };
        let at = block
            .saturating_mul(self.block_size)
            .saturating_add(rest * self.descriptor);
        (at, u64::from(index % self.nodes_per_group))
    }

    /// The node table's block, by a group's descriptor.
    pub(super) fn table(&self, descriptor: &[u8]) -> u64 {
        let high = if self.descriptor >= 64 {
            u32_at(descriptor, 0x28)
        } else {
            0
        };
        u64::from(high) << 32 | u64::from(u32_at(descriptor, 8))
    }

    pub(super) fn descriptor_len(&self) -> usize {
        self.descriptor as usize
    }

    /// Whether a group begins with a copy of the super block.
    fn has_super(&self, group: u64) -> bool {
        if let Some(backups) = self.backups {
            return group == 0 || backups.iter().any(|one| u64::from(*one) == group);
        }
        if group <= 1 || !self.sparse {
            return true;
        }
        [3u64, 5, 7].into_iter().any(|base| {
            let mut power = base;
            while power < group {
                power = power.saturating_mul(base);
            }
            power == group
        })
    }
}

/// A node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub kind: NodeKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub size: u64,
    /// Access, content, attributes.
    pub times: [i64; 3],
    pub flags: u32,
    /// Sectors that it takes, its attributes' among them.
    pub sectors: u32,
    pub has_attributes: bool,
    /// 60 bytes: block numbers, or an extent tree, or a link's target, or a device number.
    pub block: [u8; 60],
}

impl Node {
    pub(super) fn parse(bytes: &[u8], at: u64) -> Result<Self, ExtError> {
        let damaged = |what| ExtError::Damaged { at, what };
        let mode = u16_at(bytes, 0);
        let kind = match mode >> 12 {
            0o10 => NodeKind::File,
            0o4 => NodeKind::Directory,
            0o12 => NodeKind::Symlink,
            0o2 => NodeKind::CharDevice,
            0o6 => NodeKind::BlockDevice,
            0o1 => NodeKind::Fifo,
            0o14 => NodeKind::Socket,
            _ => return Err(damaged("a node of no known type")),
        };
        let nlink = u16_at(bytes, 0x1a);
        if nlink == 0 {
            return Err(damaged("a node that was deleted"));
        }
        let high = u64::from(u32_at(bytes, 0x6c));
        let size = high << 32 | u64::from(u32_at(bytes, 4));
        if i64::try_from(size).is_err() {
            return Err(damaged("the size of a file"));
        }
        let extra = match bytes.len() {
            0..=128 => 0,
            _ => usize::from(u16_at(bytes, 0x80)),
        };
        // Two more bits of seconds, where the node is large enough.
        let time = |low: usize, more: usize| {
            let seconds = i64::from(u32_at(bytes, low).cast_signed());
            let epoch = if 0x80 + extra >= more + 4 {
                u32_at(bytes, more) & 3
            } else {
                0
            };
            seconds + (i64::from(epoch) << 32)
        };
        let id = |low: usize, high: usize| {
            u32::from(u16_at(bytes, low)) | u32::from(u16_at(bytes, high)) << 16
        };
        let block = bytes.get(0x28..).and_then(|rest| rest.first_chunk::<60>());
        Ok(Self {
            kind,
            mode: u32::from(mode & 0o7777),
            uid: id(2, 0x78),
            gid: id(0x18, 0x7a),
            nlink: nlink.into(),
            size,
            times: [time(8, 0x8c), time(0x10, 0x88), time(0xc, 0x84)],
            flags: u32_at(bytes, 0x20),
            sectors: u32_at(bytes, 0x1c),
            has_attributes: u32_at(bytes, 0x68) != 0,
            block: *block.ok_or(damaged("a short node"))?,
        })
    }

    /// Errs for content that is not in blocks, or that nobody can read.
    pub(super) fn readable(&self) -> Result<(), ExtError> {
        let what = if self.flags & ENCRYPTED != 0 {
            "an encrypted file"
        } else if self.flags & INLINE_DATA != 0 {
            "a file whose content is in its node"
        } else {
            return Ok(());
        };
        Err(ExtError::Unsupported { what })
    }

    /// As the kernel's old_decode_dev() and new_decode_dev() take it apart.
    pub(super) fn device(&self) -> Option<(u32, u32)> {
        if !matches!(self.kind, NodeKind::CharDevice | NodeKind::BlockDevice) {
            return None;
        }
        let (old, new) = (u32_at(&self.block, 0), u32_at(&self.block, 4));
        Some(if old != 0 {
            (old >> 8 & 0xff, old & 0xff)
        } else {
            (new >> 8 & 0xfff, (new & 0xff) | (new >> 12 & 0xf_ff00))
        })
    }
}

/// The kind by the type byte of a directory's entry.
pub(super) fn entry_kind(byte: u8) -> Option<NodeKind> {
    Some(match byte {
        1 => NodeKind::File,
        2 => NodeKind::Directory,
        3 => NodeKind::CharDevice,
        4 => NodeKind::BlockDevice,
        5 => NodeKind::Fifo,
        6 => NodeKind::Socket,
        7 => NodeKind::Symlink,
        _ => return None,
    })
}
