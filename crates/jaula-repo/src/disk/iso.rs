//! ISO 9660 as a tree.

use super::{Attributes, DiskEntry, DiskError, DiskTree, NodeKind, ReadAt};
use crate::iso9660::{Ino, Iso, IsoError, Node};

/// Broken entries that are passed over in a row before the directory itself counts as broken.
const BROKEN: usize = 100_000;

/// An ISO 9660 image and the file that was read last.
pub(super) struct IsoTree<S> {
    iso: Iso<S>,
    bytes: u64,
    /// Reading goes on in one file mostly: its record is not parsed again for every part.
    last: Option<Node>,
}

impl<S: ReadAt> IsoTree<S> {
    pub(super) fn open(source: S) -> Result<Self, IsoError> {
        let bytes = source.len();
        Ok(Self {
            iso: Iso::open(source)?,
            bytes,
            last: None,
        })
    }

    fn node(&self, node: u64) -> Result<Node, DiskError> {
        if node == 0 {
            return Err(DiskError::Node {
                node,
                wanted: "node of the image",
            });
        }
        Ok(self.iso.node(Ino::from_number(node))?)
    }
}

impl<S: ReadAt> DiskTree for IsoTree<S> {
    fn attributes(&mut self, node: u64) -> Result<Attributes, DiskError> {
        let node = self.node(node)?;
        Ok(Attributes {
            kind: node.kind,
            ino: node.ino.number(),
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            nlink: node.nlink,
            size: node.size,
            atime: node.atime,
            mtime: node.mtime,
            ctime: node.ctime,
            device: node.device,
        })
    }

    fn lookup(&mut self, dir: u64, name: &[u8]) -> Result<Option<u64>, DiskError> {
        let dir = self.node(dir)?;
        let found = self.iso.lookup(&dir, name)?;
        Ok(found.map(|node| node.ino.number()))
    }

    fn read_dir(
        &mut self,
        dir: u64,
        next: u64,
        each: &mut dyn FnMut(&DiskEntry) -> bool,
    ) -> Result<(), DiskError> {
        let dir = self.node(dir)?;
        let mut broken = 0;
        for entry in self.iso.read_dir_from(&dir, next)? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(_) if broken < BROKEN => {
                    broken += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let entry = DiskEntry {
                name: entry.name,
                node: entry.ino.number(),
                kind: entry.kind,
                next: entry.next,
            };
            if !each(&entry) {
                break;
            }
        }
        Ok(())
    }

    fn read(&mut self, node: u64, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        let last = self.last.take().filter(|last| last.ino.number() == node);
        let file = match last {
            Some(last) => last,
            None => self.node(node)?,
        };
        let got = self.iso.read(&file, offset, buf);
        self.last = Some(file);
        Ok(got?)
    }

    fn read_link(&mut self, node: u64) -> Result<Vec<u8>, DiskError> {
        let link = self.node(node)?;
        match (link.kind, link.target) {
            (NodeKind::Symlink, Some(target)) => Ok(target),
            _ => Err(DiskError::Node {
                node,
                wanted: "symbolic link",
            }),
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}
