//! Making things in a tree, one thread's view of it: parents are opened step by step, never through a link, and the
//! last few stay open.

use super::error::UnpackError;
use jaula_sys::tree::{self, Dir};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

/// Directories kept open, per thread.
const OPEN_DIRS: usize = 48;
/// Files up to this size are read whole and written with one call.
const SMALL: u64 = 128 << 10;

/// Owner, mode and time of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub mtime: i64,
    /// Of a second, of the time.
    pub nanos: u32,
}

/// A name for the kernel. A NUL inside, which no archive reader lets through, makes it the empty name, which is refused.
pub(crate) fn c_name(name: &[u8]) -> CString {
    CString::new(name).unwrap_or_default()
}

pub fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path).escape_debug())
}

pub fn failed(action: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> UnpackError {
    let path = shown(path);
    move |source| UnpackError::Tree {
        action,
        path,
        source,
    }
}

/// Told of every directory that had to be made without an entry of its own.
pub type Implicit<'a> = &'a mut dyn FnMut(&[u8]);

pub struct Writer<'a> {
    root: &'a Dir,
    open: HashMap<Vec<u8>, (Rc<Dir>, u64)>,
    clock: u64,
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub fn new(root: &'a Dir) -> Self {
        Self {
            root,
            open: HashMap::new(),
            clock: 0,
            buffer: Vec::new(),
        }
    }

    pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
        match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (
                path.get(..at).unwrap_or_default(),
                path.get(at + 1..).unwrap_or_default(),
            ),
            None => (&[], path),
        }
    }

    /// The directory at `path`, made with its parents where it is missing.
    pub fn dir(&mut self, path: &[u8], implicit: Implicit<'_>) -> Result<Rc<Dir>, UnpackError> {
        self.clock += 1;
        let now = self.clock;
        if let Some((dir, used)) = self.open.get_mut(path) {
            *used = now;
            return Ok(dir.clone());
        }
        let dir = if path.is_empty() {
            self.root.try_clone().map_err(failed("open", path))?
        } else {
            let (parent, name) = Self::split(path);
            let parent = self.dir(parent, implicit)?;
            let name = c_name(name);
            match parent.dir(&name) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    match parent.make_dir(&name, 0o755) {
                        Ok(()) => implicit(path),
                        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                        Err(error) => return Err(failed("make the directory", path)(error)),
                    }
                    parent.dir(&name)
                }
                other => other,
            }
            .map_err(failed("open the directory", path))?
        };
        if self.open.len() >= OPEN_DIRS {
            let oldest = self
                .open
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(path, _)| path.clone());
            oldest.and_then(|oldest| self.open.remove(&oldest));
        }
        let dir = Rc::new(dir);
        self.open.insert(path.to_vec(), (dir.clone(), now));
        Ok(dir)
    }

    /// Forgets what is open: something else changed the tree.
    pub fn forget(&mut self) {
        self.open.clear();
    }

    /// Parent and name.
    pub fn place(
        &mut self,
        path: &[u8],
        implicit: Implicit<'_>,
    ) -> Result<(Rc<Dir>, CString), UnpackError> {
        let (parent, name) = Self::split(path);
        Ok((self.dir(parent, implicit)?, c_name(name)))
    }

    /// Fills the new `file` and gives it its attributes.
    pub fn fill(
        &mut self,
        file: &mut File,
        path: &[u8],
        size: u64,
        content: &mut (impl Read + ?Sized),
        attributes: Attributes,
        xattrs: &[(String, Vec<u8>)],
    ) -> Result<(), FillError> {
        let tree = |error| FillError::Tree(failed("write", path)(error));
        if size <= SMALL {
            self.buffer.clear();
            Read::take(&mut *content, size)
                .read_to_end(&mut self.buffer)
                .map_err(FillError::Content)?;
            file.write_all(&self.buffer).map_err(tree)?;
        } else {
            tree::allocate(file, size).map_err(tree)?;
            self.buffer.resize(SMALL as usize, 0);
            let mut left = size;
            while left > 0 {
                let step = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(self.buffer.len());
                let Some(part) = self.buffer.get_mut(..step) else {
                    break;
                };
                content.read_exact(part).map_err(FillError::Content)?;
                file.write_all(part).map_err(tree)?;
                left -= step as u64;
            }
        }
        let Attributes {
            uid,
            gid,
            mode,
            mtime,
            nanos,
        } = attributes;
        // File capabilities go away with a change of owner: attributes come last but for the time.
        if xattrs.is_empty() {
            return tree::set_file(file, uid, gid, mode, mtime, nanos).map_err(tree);
        }
        tree::set_file(file, uid, gid, mode, mtime, nanos).map_err(tree)?;
        for (key, value) in xattrs {
            tree::set_xattr(&*file, &c_name(key.as_bytes()), value).map_err(tree)?;
        }
        Ok(())
    }

    /// Owner and time of a link.
    pub fn finish_link(
        dir: &Dir,
        name: &CStr,
        path: &[u8],
        attributes: Attributes,
    ) -> Result<(), UnpackError> {
        dir.chown(name, attributes.uid, attributes.gid)
            .map_err(failed("set the owner of", path))?;
        dir.set_mtime(name, attributes.mtime, attributes.nanos)
            .map_err(failed("set the time of", path))
    }
}

/// Which side failed.
pub enum FillError {
    Content(io::Error),
    Tree(UnpackError),
}
