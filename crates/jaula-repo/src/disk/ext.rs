//! ext2, ext3 and ext4 as a tree, by the crate `ext4-view`.
//!
//! The crate names files by their paths, so a node here is a path that was handed out. A journal that was not played
//! back is read through, as the kernel would after playing it back.

use super::{Attributes, DiskEntry, DiskError, DiskTree, NodeKind, ReadAt, is_name};
use ext4_view::{Ext4, Ext4Error, Ext4Read, File, FileType, Metadata};
use std::collections::HashMap;
use std::error::Error;
use std::io;

/// Longest path below the root, in bytes (`PATH_MAX` without the NUL): a loop of directories ends here.
const MAX_PATH: usize = 4095;
/// Most nodes that are handed out.
const MAX_NODES: usize = 4_000_000;
/// Largest directory, in entries.
const MAX_ENTRIES: usize = 1_000_000;

struct Source<S>(S);

impl<S: ReadAt> Ext4Read for Source<S> {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> Result<(), Box<dyn Error + Send + Sync + 'static>> {
        let mut done = 0usize;
        while let Some(rest) = dst.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(start_byte.saturating_add(done as u64), rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(n) => done = done.saturating_add(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The names of a directory, and what each is.
type Names = Vec<(Vec<u8>, NodeKind)>;

/// An image, the paths that were handed out, and what was used last.
pub(super) struct ExtTree {
    fs: Ext4,
    bytes: u64,
    /// The path of node `n + 1`, absolute.
    paths: Vec<Vec<u8>>,
    nodes: HashMap<Vec<u8>, u64>,
    listed: Option<(u64, Names)>,
    open: Option<(u64, File)>,
}

impl ExtTree {
    pub(super) fn open<S: ReadAt + 'static>(source: S) -> Result<Self, DiskError> {
        let bytes = source.len();
        let fs = Ext4::load(Box::new(Source(source)))?;
        Ok(Self {
            fs,
            bytes,
            paths: vec![b"/".to_vec()],
            nodes: HashMap::new(),
            listed: None,
            open: None,
        })
    }

    fn path(&self, node: u64) -> Result<&[u8], DiskError> {
        let index = node
            .checked_sub(1)
            .and_then(|index| usize::try_from(index).ok());
        let path = index.and_then(|index| self.paths.get(index));
        path.map(Vec::as_slice).ok_or(DiskError::Node {
            node,
            wanted: "node of the image",
        })
    }

    fn metadata(&self, node: u64) -> Result<Metadata, DiskError> {
        Ok(self.fs.symlink_metadata(self.path(node)?)?)
    }

    fn below(&self, dir: u64, name: &[u8]) -> Result<Vec<u8>, DiskError> {
        let mut path = self.path(dir)?.to_vec();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        if path.len() > MAX_PATH {
            return Err(DiskError::Limit {
                what: "bytes in a path",
                limit: MAX_PATH as u64,
            });
        }
        Ok(path)
    }

    fn node_of(&mut self, path: Vec<u8>) -> Result<u64, DiskError> {
        if let Some(node) = self.nodes.get(&path) {
            return Ok(*node);
        }
        if self.paths.len() >= MAX_NODES {
            return Err(DiskError::Limit {
                what: "files in use",
                limit: MAX_NODES as u64,
            });
        }
        self.paths.push(path.clone());
        let node = self.paths.len() as u64;
        self.nodes.insert(path, node);
        Ok(node)
    }

    fn list(&self, dir: u64) -> Result<Names, DiskError> {
        let mut entries = Vec::new();
        for entry in self.fs.read_dir(self.path(dir)?)? {
            // What is wrong with one entry is wrong with the block it is in: the rest cannot be told.
            let entry = entry?;
            let name = entry.file_name().as_ref().to_vec();
            if !is_name(&name) {
                continue;
            }
            // An entry whose node is damaged is left out.
            if let Ok(kind) = entry.file_type() {
                entries.push((name, kind_of(kind)));
            }
            if entries.len() >= MAX_ENTRIES {
                return Err(DiskError::Limit {
                    what: "entries in a directory",
                    limit: MAX_ENTRIES as u64,
                });
            }
        }
        Ok(entries)
    }
}

fn kind_of(kind: FileType) -> NodeKind {
    if kind.is_dir() {
        NodeKind::Directory
    } else if kind.is_symlink() {
        NodeKind::Symlink
    } else if kind.is_char_dev() {
        NodeKind::CharDevice
    } else if kind.is_block_dev() {
        NodeKind::BlockDevice
    } else if kind.is_fifo() {
        NodeKind::Fifo
    } else if kind.is_socket() {
        NodeKind::Socket
    } else {
        NodeKind::File
    }
}

impl DiskTree for ExtTree {
    fn attributes(&mut self, node: u64) -> Result<Attributes, DiskError> {
        let data = self.metadata(node)?;
        let seconds = |time: ext4_view::Timestamp| time.seconds();
        Ok(Attributes {
            kind: kind_of(data.file_type()),
            ino: node,
            mode: u32::from(data.mode()),
            uid: data.uid(),
            gid: data.gid(),
            nlink: if data.is_dir() { 2 } else { 1 },
            size: data.len(),
            atime: seconds(data.accessed()),
            mtime: seconds(data.modified()),
            ctime: seconds(data.modified()),
            device: None,
        })
    }

    fn lookup(&mut self, dir: u64, name: &[u8]) -> Result<Option<u64>, DiskError> {
        if !is_name(name) {
            return Ok(None);
        }
        let path = self.below(dir, name)?;
        match self.fs.symlink_metadata(path.as_slice()) {
            Ok(_) => Ok(Some(self.node_of(path)?)),
            Err(Ext4Error::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn read_dir(
        &mut self,
        dir: u64,
        next: u64,
        each: &mut dyn FnMut(&DiskEntry) -> bool,
    ) -> Result<(), DiskError> {
        let listed = match self.listed.take() {
            Some((of, entries)) if of == dir => entries,
            _ => self.list(dir)?,
        };
        let skip = usize::try_from(next).unwrap_or(usize::MAX);
        let mut result = Ok(());
        for (index, (name, kind)) in listed.iter().enumerate().skip(skip) {
            let entry = self.below(dir, name).and_then(|path| {
                Ok(DiskEntry {
                    name: name.clone(),
                    node: self.node_of(path)?,
                    kind: *kind,
                    next: index as u64 + 1,
                })
            });
            match entry {
                Ok(entry) if each(&entry) => {}
                Ok(_) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.listed = Some((dir, listed));
        result
    }

    fn read(&mut self, node: u64, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        let mut file = match self.open.take() {
            Some((of, file)) if of == node => file,
            _ => {
                let path = self.path(node)?;
                // A path that ends in a link would lead elsewhere.
                if kind_of(self.fs.symlink_metadata(path)?.file_type()) != NodeKind::File {
                    return Err(DiskError::Node {
                        node,
                        wanted: "regular file",
                    });
                }
                self.fs.open(path)?
            }
        };
        if offset >= file.metadata().len() {
            self.open = Some((node, file));
            return Ok(0);
        }
        if file.position() != offset {
            file.seek_to(offset)?;
        }
        let mut done = 0usize;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match file.read_bytes(rest)? {
                0 => break,
                n => done = done.saturating_add(n),
            }
        }
        self.open = Some((node, file));
        Ok(done)
    }

    fn read_link(&mut self, node: u64) -> Result<Vec<u8>, DiskError> {
        let target: &ext4_view::PathBuf = &self.fs.read_link(self.path(node)?)?;
        let target: &[u8] = target.as_ref();
        if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) {
            return Err(DiskError::Node {
                node,
                wanted: "symbolic link that can be followed",
            });
        }
        Ok(target.to_vec())
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}
