//! The files of a jail's tree as facts, read beneath its descriptor: what a jail has is hostile.

use jaula_plan::facts::elf::{Content, HostFiles, Seen, Unreadable};
use jaula_sys::dir::{Dir, Kind};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// A tree.
#[derive(Debug)]
pub(super) struct Within {
    root: Dir,
    path: PathBuf,
}

impl Within {
    /// The tree in an open directory, which is called so.
    pub(super) fn of(root: Dir, path: &Path) -> Self {
        Self {
            root,
            path: path.to_owned(),
        }
    }

    fn failed(&self, action: &'static str, path: &Path, source: io::Error) -> Unreadable {
        Unreadable {
            action,
            path: self.path.join(inside(path)),
            source,
        }
    }
}

/// A path of the tree, relative to its root.
pub(super) fn inside(path: &Path) -> &Path {
    let inside = path.strip_prefix("/").unwrap_or(path);
    match inside.as_os_str().is_empty() {
        true => Path::new("."),
        false => inside,
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

impl HostFiles for Within {
    fn look(&mut self, path: &Path) -> Result<Seen, Unreadable> {
        let (parent, name) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => (inside(parent), name),
            _ => return Ok(Seen::Directory { mode: 0o755 }),
        };
        let looked = self
            .root
            .open_dir(parent)
            .and_then(|dir| Ok((dir.meta(name)?, dir)));
        let (meta, dir) = match looked {
            Err(error) if is_nothing(&error) => return Ok(Seen::Missing),
            Err(error) => return Err(self.failed("look at", path, error)),
            Ok(found) => found,
        };
        let mode = meta.mode & 0o7777;
        Ok(match meta.kind {
            Kind::Directory => Seen::Directory { mode },
            Kind::File => Seen::File { mode },
            Kind::Link => {
                let target = dir.read_link(name);
                let target = target.map_err(|error| self.failed("read", path, error))?;
                Seen::Link {
                    target: target.into(),
                }
            }
            _ => Seen::Special,
        })
    }

    fn content(&mut self, path: &Path) -> Result<Content, Unreadable> {
        let file = self.root.open_file(inside(path));
        let file = file.map_err(|error| self.failed("open", path, error))?;
        super::host::content_of(file).map_err(|error| self.failed("read", path, error))
    }

    fn text(&mut self, path: &Path) -> Result<Option<Vec<u8>>, Unreadable> {
        let opened = self.root.open_file_in_root(inside(path));
        match opened.and_then(super::host::whole) {
            Err(error) if is_nothing(&error) => Ok(None),
            Err(error) => Err(self.failed("read", path, error)),
            Ok(text) => Ok(Some(text)),
        }
    }

    fn names(&mut self, path: &Path) -> Result<Vec<OsString>, Unreadable> {
        let entries = self
            .root
            .open_dir_in_root(inside(path))
            .and_then(|dir| dir.entries());
        match entries {
            Err(error) if is_nothing(&error) => Ok(Vec::new()),
            Err(error) => Err(self.failed("list", path, error)),
            Ok(entries) => Ok(entries.into_iter().map(|(name, _)| name).collect()),
        }
    }
}
