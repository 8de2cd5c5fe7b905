//! Files of the host from which a small root is to be made: what is at a path, and what a file's content says it
//! needs. Facts are asked for one by one, because which are needed is known only from the others.

use jaula_repo::elf::{Dynamic, ElfError};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What is at a path, a last link not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Missing,
    /// A directory.
    Directory {
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it leads, as written.
        target: PathBuf,
    },
    /// A regular file.
    File {
        /// Its permission bits, set-id bits included.
        mode: u32,
    },
    /// A device, a pipe, a socket.
    Special,
}

/// What a regular file is.
#[derive(Debug)]
pub enum Content {
    /// A program or a library.
    Elf(Dynamic),
    /// It begins as ELF does, and cannot be read.
    Damaged(ElfError),
    /// It begins with `#!`: what follows, as far as the kernel reads, up to the end of the line; none when the line
    /// has no end there.
    Script(Option<Vec<u8>>),
    /// Anything else.
    Other,
}

/// A fact that could not be learnt.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", crate::explain::shown(.path))]
pub struct Unreadable {
    /// What was attempted: `open`, `read`.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: std::io::Error,
}

/// The files of a host, as they are at the moment. All paths are absolute.
pub trait HostFiles {
    /// What is at a path, whose directories are no links.
    ///
    /// # Errors
    /// When that cannot be seen.
    fn look(&mut self, path: &Path) -> Result<Seen, Unreadable>;

    /// What a regular file is, at a path without any link.
    ///
    /// # Errors
    /// When it cannot be read.
    fn content(&mut self, path: &Path) -> Result<Content, Unreadable>;

    /// The text of a file of settings; none when it does not exist.
    ///
    /// # Errors
    /// When it cannot be read, or is far too long.
    fn text(&mut self, path: &Path) -> Result<Option<Vec<u8>>, Unreadable>;

    /// The names in a directory; none when it does not exist.
    ///
    /// # Errors
    /// When it cannot be read.
    fn names(&mut self, path: &Path) -> Result<Vec<OsString>, Unreadable>;

    /// The names in a directory with what is at each; none when it does not exist.
    ///
    /// # Errors
    /// When it cannot be read, or something in it cannot be seen.
    fn entries(&mut self, path: &Path) -> Result<Vec<(OsString, Seen)>, Unreadable> {
        let names = self.names(path)?.into_iter();
        names
            .map(|name| Ok((name.clone(), self.look(&path.join(&name))?)))
            .collect()
    }

    /// The paths that an RPM database of the tree lists for a package; none when there is no such package or no
    /// database. `machines` are the names of machines whose packages are meant where there are several.
    ///
    /// # Errors
    /// When there is a database that cannot be read.
    fn rpm(&mut self, name: &str, machines: &[&str]) -> Result<Option<Vec<Vec<u8>>>, Unreadable> {
        let _ = (name, machines);
        Ok(None)
    }
}
