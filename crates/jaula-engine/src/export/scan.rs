//! A tree as a list, for outputs that need to know all of it before they write: names sorted by their bytes, each
//! directory before what is in it, files with several names once.

use super::ExportError;
use super::tar::belongs;
use crate::error::At;
use jaula_repo::pack::{Content, Item, NodeKind, PackError, Source};
use jaula_sys::content::data_parts;
use jaula_sys::dir::{Dir, Kind, Meta, xattrs};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most names of a tree that is written as an image: the list of them is held in memory.
const MAX_ITEMS: usize = 20_000_000;
/// Files smaller than this are not asked for holes.
const LEAST_HOLE: u64 = 128 << 10;
/// Most parts of one file that are asked for.
const MAX_PARTS: usize = 1 << 16;
/// Bytes of a path that the kernel takes at once (PATH_MAX is 4096).
const PATH_PIECE: usize = 3000;

/// Opens a directory beneath another, however deep: no link followed, no mount crossed.
pub(super) fn open_deep(dir: &Dir, path: &Path) -> io::Result<Dir> {
    let here = |path: &Path| {
        let empty = path.as_os_str().is_empty();
        if empty {
            PathBuf::from(".")
        } else {
            path.to_owned()
        }
    };
    if path.as_os_str().len() <= PATH_PIECE {
        return dir.open_dir(here(path));
    }
    let mut at = dir.try_clone()?;
    let mut piece = PathBuf::new();
    for part in path.components() {
        if piece
            .as_os_str()
            .len()
            .saturating_add(part.as_os_str().len())
            > PATH_PIECE
        {
            at = at.open_dir(here(&piece))?;
            piece = PathBuf::new();
        }
        piece.push(part);
    }
    at.open_dir(here(&piece))
}

/// The names in a directory, last first.
pub(super) fn sorted(dir: &Dir) -> io::Result<Vec<OsString>> {
    let mut names: Vec<OsString> = dir.entries()?.into_iter().map(|(name, _)| name).collect();
    names.sort_unstable_by(|a, b| b.as_bytes().cmp(a.as_bytes()));
    Ok(names)
}

/// A tree.
pub(crate) struct Scan<'a> {
    dir: &'a Dir,
    root: &'a Path,
    /// Its names; the root is the first.
    pub items: Arc<Vec<Item>>,
    /// Sockets, which no output holds.
    pub skipped: u64,
    /// Files with holes.
    sparse: BTreeSet<usize>,
    /// Bytes of holes in all files.
    pub holes: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Numbers of files on their file system, by place in the list; kept for comparisons.
    pub inodes: Vec<((u32, u32), u64)>,
    opened: Option<(usize, Dir)>,
}

/// Reads the tree beneath `dir`, which is called `root` in errors. Times later than `clamp` become it. What is in the
/// directory `empty` is left out.
pub(crate) fn scan<'a>(
    dir: &'a Dir,
    root: &'a Path,
    clamp: Option<i64>,
    empty: Option<&Path>,
) -> Result<Scan<'a>, ExportError> {
    let meta = dir.own_meta().at("look at", root)?;
    let mut scan = Scan {
        dir,
        root,
        items: Arc::default(),
        skipped: 0,
        sparse: BTreeSet::new(),
        holes: 0,
        bytes: 0,
        inodes: Vec::new(),
        opened: None,
    };
    let mut top = item(0, OsStr::new(""), &meta, clamp);
    top.xattrs = kept(xattrs(dir.as_fd()).at("read the attributes of", root)?);
    let mut items = vec![top];
    scan.inodes.push((meta.device, meta.inode));
    let mut names: HashMap<u64, usize> = HashMap::new();
    let first = sorted(dir).at("list", root)?;
    // The way down: each directory with its place in the list and the names that are left, last first.
    let mut left: Vec<Level> = vec![Level {
        path: PathBuf::new(),
        index: 0,
        names: first,
        dir: Some(dir.try_clone().at("open", root)?),
    }];
    while let Some(level) = left.last_mut() {
        let (path, parent, rest) = (&level.path, &level.index, &mut level.names);
        let Some(name) = rest.pop() else {
            left.pop();
            continue;
        };
        let here = match &mut level.dir {
            Some(held) => &*held,
            none => none.insert(open_deep(dir, path).at("open", root.join(path))?),
        };
        let full = path.join(&name);
        let shown = || root.join(&full);
        let meta = here.meta(&name).at("look at", shown())?;
        let mut item = item(*parent, &name, &meta, clamp);
        let index = items.len();
        if index >= MAX_ITEMS {
            return Err(ExportError::Limit {
                what: "an image",
                why: "so many files",
                path: shown(),
            });
        }
        match meta.kind {
            Kind::Socket | Kind::Unknown => {
                scan.skipped = scan.skipped.saturating_add(1);
                continue;
            }
            Kind::Directory => {
                let below = match meta.mount_root {
                    true => None,
                    false => Some(here.open_dir(&name).at("open", shown())?),
                };
                if let Some(below) = below {
                    item.xattrs =
                        kept(xattrs(below.as_fd()).at("read the attributes of", shown())?);
                    let rest = match empty == Some(full.as_path()) {
                        true => Vec::new(),
                        false => sorted(&below).at("list", shown())?,
                    };
                    items.push(item);
                    scan.inodes.push((meta.device, meta.inode));
                    left.push(Level {
                        path: full,
                        index,
                        names: rest,
                        dir: Some(below),
                    });
                    // Those further up are opened again when it is their turn.
                    let far = left.len().checked_sub(HELD);
                    if let Some(far) = far.and_then(|far| left.get_mut(far)) {
                        far.dir = None;
                    }
                } else {
                    items.push(item);
                    scan.inodes.push((meta.device, meta.inode));
                }
                continue;
            }
            Kind::File => {
                let known = (meta.links > 1)
                    .then(|| names.get(&meta.inode).copied())
                    .flatten();
                if known.is_none() {
                    let file = here.open_file(&name).at("open", shown())?;
                    item.xattrs = kept(xattrs(file.as_fd()).at("read the attributes of", shown())?);
                    scan.bytes = scan.bytes.saturating_add(meta.size);
                    if meta.size >= LEAST_HOLE && meta.disk < meta.size {
                        scan.sparse.insert(index);
                        scan.holes = scan
                            .holes
                            .saturating_add(meta.size.saturating_sub(meta.disk));
                    }
                }
            }
            Kind::Link => {
                item.target = here
                    .read_link(&name)
                    .at("read", shown())?
                    .into_encoded_bytes();
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {}
        }
        if meta.links > 1 {
            match names.get(&meta.inode) {
                Some(first) => {
                    item.same_as = Some(*first);
                    // What the first name has, all have.
                    if let Some(model) = items.get(*first) {
                        item.xattrs.clone_from(&model.xattrs);
                    }
                }
                None => {
                    names.insert(meta.inode, index);
                }
            }
        }
        items.push(item);
        scan.inodes.push((meta.device, meta.inode));
    }
    scan.items = Arc::new(items);
    Ok(scan)
}

/// Directories on the way down that are held open: a tree may be deeper than a process may have descriptors.
pub(super) const HELD: usize = 64;

/// A directory on the way down.
struct Level {
    path: PathBuf,
    index: usize,
    names: Vec<OsString>,
    dir: Option<Dir>,
}

fn kept(found: Vec<(OsString, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let found = found.into_iter().filter(|(name, _)| belongs(name));
    found
        .map(|(name, value)| (name.into_encoded_bytes(), value))
        .collect()
}

fn item(parent: usize, name: &OsStr, meta: &Meta, clamp: Option<i64>) -> Item {
    let kind = match meta.kind {
        Kind::Directory => NodeKind::Directory,
        Kind::Link => NodeKind::Symlink,
        Kind::CharDevice => NodeKind::CharDevice,
        Kind::BlockDevice => NodeKind::BlockDevice,
        Kind::Fifo => NodeKind::Fifo,
        Kind::Socket => NodeKind::Socket,
        Kind::File | Kind::Unknown => NodeKind::File,
    };
    Item {
        parent,
        name: name.as_bytes().to_vec(),
        kind,
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        mtime: clamp.map_or(meta.mtime, |clamp| meta.mtime.min(clamp)),
        size: if kind == NodeKind::File { meta.size } else { 0 },
        device: meta.node,
        target: Vec::new(),
        xattrs: Vec::new(),
        same_as: None,
    }
}

impl Scan<'_> {
    /// The path of an item beneath the root.
    pub fn path(&self, index: usize) -> PathBuf {
        let mut parts = Vec::new();
        let mut at = index;
        while at != 0 {
            let Some(item) = self.items.get(at) else {
                break;
            };
            parts.push(OsStr::from_bytes(&item.name));
            at = item.parent;
        }
        parts.iter().rev().collect()
    }

    /// A file with holes, the first of them.
    pub fn sparsest(&self) -> PathBuf {
        let first = self.sparse.first().copied().unwrap_or(0);
        self.root.join(self.path(first))
    }

    /// An identifier that depends on the names, attributes and sizes of everything (RFC 9562, version 8).
    pub fn uuid(&self) -> [u8; 16] {
        let mut hash = Sha256::new();
        hash.update(b"jaula tree 1\n");
        for item in self.items.iter() {
            for number in [
                item.parent as u64,
                item.kind as u64,
                item.mode.into(),
                item.uid.into(),
                item.gid.into(),
                item.mtime as u64,
                item.size,
                item.device.0.into(),
                item.device.1.into(),
                item.same_as.map_or(u64::MAX, |first| first as u64),
                item.xattrs.len() as u64,
            ] {
                hash.update(number.to_le_bytes());
            }
            let texts = [&item.name, &item.target].into_iter();
            let pairs = item.xattrs.iter().flat_map(|(name, value)| [name, value]);
            for text in texts.chain(pairs) {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
        }
        uuid_of(&hash.finalize())
    }

    /// The error of a writer, with the path of what it was about.
    pub fn explained(&self, error: PackError, target: &Path) -> ExportError {
        let path = |item| self.root.join(self.path(item));
        let failed = |action, path, source| {
            ExportError::Io(crate::error::PathError {
                action,
                path,
                source,
            })
        };
        match error {
            PackError::Io(source) => failed("write", target.to_owned(), source),
            PackError::Read { item, source } => failed("read", path(item), source),
            PackError::Changed { item } => ExportError::Changed { path: path(item) },
            PackError::Limit { what, why, item } => ExportError::Limit {
                what,
                why,
                path: path(item),
            },
            PackError::NoTree => failed("write", target.to_owned(), io::Error::other(error)),
        }
    }

    /// Adds the nodes of devices that everybody may use, beneath a `dev` that is a directory of the tree. What has their
    /// names already stays.
    pub fn add_devices(&mut self, time: i64) {
        let items = Arc::make_mut(&mut self.items);
        let named = |item: &Item, parent: usize, name: &str| {
            item.parent == parent && item.name == name.as_bytes()
        };
        let Some(dev) = items.iter().enumerate().position(|(index, item)| {
            index != 0 && named(item, 0, "dev") && item.kind == NodeKind::Directory
        }) else {
            return;
        };
        for (name, device) in super::DEVICES {
            if items.iter().any(|item| named(item, dev, name)) {
                continue;
            }
            items.push(Item {
                parent: dev,
                name: name.as_bytes().to_vec(),
                kind: NodeKind::CharDevice,
                mode: 0o666,
                mtime: time,
                device,
                ..Item::root()
            });
        }
    }

    /// A file of the tree, opened to be read; it still has the size it had.
    pub fn file(&mut self, item: usize) -> io::Result<std::fs::File> {
        let found = self.items.get(item).ok_or(io::ErrorKind::NotFound)?;
        let (parent, size) = (found.parent, found.size);
        if self.opened.as_ref().is_none_or(|(held, _)| *held != parent) {
            let path = self.path(parent);
            self.opened = Some((parent, open_deep(self.dir, &path)?));
        }
        let Some((_, dir)) = &self.opened else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let name = OsString::from_vec(found.name.clone());
        let file = dir.open_file(&name)?;
        match file.metadata()?.len() == size {
            true => Ok(file),
            false => Err(io::Error::other("it changed while it was read")),
        }
    }
}

/// The first bytes of a hash as an identifier.
pub(crate) fn uuid_of(hash: &[u8]) -> [u8; 16] {
    let mut uuid = hash.first_chunk::<16>().copied().unwrap_or_default();
    let [_, _, _, _, _, _, six, _, eight, ..] = &mut uuid;
    *six = *six & 0x0f | 0x80;
    *eight = *eight & 0x3f | 0x80;
    uuid
}

impl Content for Scan<'_> {
    fn open<'a>(&'a mut self, item: usize) -> io::Result<Box<dyn Source + 'a>> {
        Ok(Box::new(self.file(item)?))
    }

    fn data(&mut self, item: usize) -> io::Result<Option<Vec<(u64, u64)>>> {
        if !self.sparse.contains(&item) {
            return Ok(None);
        }
        let file = self.file(item)?;
        let size = self.items.get(item).map_or(0, |item| item.size);
        data_parts(&file, size, MAX_PARTS)
    }
}
