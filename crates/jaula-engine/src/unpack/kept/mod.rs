//! Packages that were unpacked once and are kept so: the content of each file, and one index of everything else. Trees
//! are put together from them without anything being decompressed again.
//!
//! A kept package is a directory:
//!
//! ```text
//! index        entries, control part and the SHA-256 of both ([`format`])
//! 0, 1, 7, …   the content of the entry of that number, if it is a regular file, with its owner, mode, time and
//!              extended attributes
//! ```
//!
//! It is made while the package is unpacked for the first time: each file is written here and then given its name in the
//! tree. Where several trees share one inode, nobody may write into it: scripts run on an overlay above such a tree.

mod format;
#[cfg(test)]
mod tests;

use super::hash::HashReader;
use super::writer::{Attributes, FillError, Writer, c_name, failed};
use jaula_repo::deb::archive::Control;
use jaula_repo::tar::{Kind, Meta};
use jaula_sys::tree::{self, Dir, Kind as Made};
use std::ffi::{CStr, CString};
use std::io::{self, Read, Write};

/// The name of the index. No content has it: those are numbers.
const INDEX: &CStr = c"index";

/// How files of a kept package get into a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// The tree's file is its own and shares the blocks (ioctl_ficlone(2)).
    Clone,
    /// The tree has a further name of the same file (link(2)). Nobody may write into it.
    Link,
    /// Nothing is shared.
    Copy,
}

impl Share {
    /// What it is called in a plan.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clone => "reflink",
            Self::Link => "hard link",
            Self::Copy => "copy",
        }
    }
}

/// An entry of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEntry {
    /// All of it but the content.
    pub meta: Meta,
    /// The MD5 of a configuration file.
    pub md5: Option<[u8; 16]>,
}

impl KeptEntry {
    fn attributes(&self) -> Attributes {
        Attributes {
            uid: self.meta.uid,
            gid: self.meta.gid,
            mode: self.meta.mode,
            mtime: self.meta.mtime,
            nanos: 0,
        }
    }
}

/// A kept package, complete.
#[derive(Debug)]
pub struct Kept {
    dir: Dir,
    control: Control,
    entries: Vec<KeptEntry>,
}

fn content_name(number: usize) -> CString {
    c_name(number.to_string().as_bytes())
}

impl Kept {
    /// Opens what is kept in `dir`, if it is whole: the index has its digest, and every file the size, owner, mode and
    /// time that it says. The content was checked when it was written and is not read.
    ///
    /// # Errors
    /// None for what is absent or damaged; those of the file system.
    pub fn open(dir: Dir) -> io::Result<Option<Self>> {
        let mut text = Vec::new();
        match dir.read(INDEX) {
            Ok(file) => file.take(format::LIMIT).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some((control, entries)) = format::decode(&text) else {
            return Ok(None);
        };
        for (number, entry) in entries.iter().enumerate() {
            if entry.meta.kind != Kind::File {
                continue;
            }
            let stat = match dir.stat(&content_name(number)) {
                Ok(stat) => stat,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            let there = Attributes {
                uid: stat.uid,
                gid: stat.gid,
                mode: stat.mode,
                mtime: stat.mtime,
                nanos: 0,
            };
            if stat.kind != Made::File
                || stat.size != entry.meta.size
                || there != entry.attributes()
            {
                return Ok(None);
            }
        }
        Ok(Some(Self {
            dir,
            control,
            entries,
        }))
    }

    /// Its control part.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Its entries, in the archive's order; a file's content has the number of its entry.
    pub fn entries(&self) -> &[KeptEntry] {
        &self.entries
    }

    /// Marks it as used just now, for whoever looks for what was not used for long. Best effort.
    pub fn used(&self) {
        if let Ok(file) = self.dir.read(INDEX) {
            drop(file.set_modified(std::time::SystemTime::now()));
        }
    }

    fn contents(&self) -> Contents<'_> {
        Contents(&self.dir)
    }
}

/// A package while it is unpacked for the first time.
pub struct Keeper {
    dir: Dir,
    entries: Vec<KeptEntry>,
}

impl Keeper {
    /// Begins to keep a package in a new directory.
    ///
    /// # Errors
    /// mkdirat(2).
    pub fn new(place: &Dir, name: &CStr) -> io::Result<Self> {
        place.make_dir(name, 0o700)?;
        Ok(Self {
            dir: place.dir(name)?,
            entries: Vec::new(),
        })
    }

    /// Takes an entry with its content. `conffile` has its MD5 taken.
    ///
    /// # Errors
    /// Which side failed.
    pub fn add(
        &mut self,
        writer: &mut Writer<'_>,
        meta: &Meta,
        content: &mut impl Read,
        conffile: bool,
    ) -> Result<(), FillError> {
        let path = meta.path.as_bytes();
        let mut entry = KeptEntry {
            meta: meta.clone(),
            md5: None,
        };
        if meta.kind == Kind::File {
            let name = content_name(self.entries.len());
            let mut file = self
                .dir
                .create(&name, 0o600)
                .map_err(failed("keep", path))
                .map_err(FillError::Tree)?;
            let attributes = entry.attributes();
            let mut fill = |content: &mut dyn Read| {
                writer.fill(
                    &mut file,
                    path,
                    meta.size,
                    content,
                    attributes,
                    &meta.xattrs,
                )
            };
            if conffile {
                let mut hashed: HashReader<_, md5::Md5> = HashReader::new(content);
                fill(&mut hashed)?;
                entry.md5 = hashed.digest().try_into().ok();
            } else {
                fill(content)?;
            }
        }
        self.entries.push(entry);
        Ok(())
    }

    /// What is there so far.
    pub fn contents(&self) -> Contents<'_> {
        Contents(&self.dir)
    }

    /// The entry taken last, and its number.
    pub fn last(&self) -> Option<(usize, &KeptEntry)> {
        let number = self.entries.len().checked_sub(1)?;
        Some((number, self.entries.get(number)?))
    }

    /// The archive was what it should be: writes the index.
    ///
    /// # Errors
    /// openat(2), write(2).
    pub fn finish(self, control: &Control) -> io::Result<Kept> {
        let text = format::encode(control, &self.entries);
        self.dir.create(INDEX, 0o600)?.write_all(&text)?;
        Ok(Kept {
            dir: self.dir,
            control: control.clone(),
            entries: self.entries,
        })
    }
}

/// Where the contents of a package's files are.
#[derive(Clone, Copy)]
pub struct Contents<'k>(&'k Dir);

impl<'k> From<&'k Kept> for Contents<'k> {
    fn from(kept: &'k Kept) -> Self {
        kept.contents()
    }
}

impl Contents<'_> {
    /// Makes the file `name` of `into` from the content of an entry. With other attributes than the package has, or a
    /// time later than `newest`, which would be changed later, it gets an inode of its own.
    ///
    /// # Errors
    /// Those of making, copying and changing a file; `EEXIST` only if the name is taken.
    pub fn lay(
        self,
        number: usize,
        entry: &KeptEntry,
        (into, name): (&Dir, &CStr),
        attributes: Attributes,
        (share, newest): (Share, i64),
    ) -> io::Result<()> {
        let content = content_name(number);
        if share == Share::Link && attributes == entry.attributes() && attributes.mtime <= newest {
            match self.0.link(&content, into, name) {
                // As many names as the file system allows.
                Err(error) if error.kind() == io::ErrorKind::TooManyLinks => {}
                other => return other,
            }
        }
        let from = self.0.read(&content)?;
        let file = into.create(name, 0o600)?;
        tree::copy_content(&from, &file, entry.meta.size)?;
        let Attributes {
            uid,
            gid,
            mode,
            mtime,
            nanos,
        } = attributes;
        tree::set_file(&file, uid, gid, mode, mtime, nanos)?;
        for (key, value) in &entry.meta.xattrs {
            tree::set_xattr(&file, &c_name(key.as_bytes()), value)?;
        }
        Ok(())
    }
}
