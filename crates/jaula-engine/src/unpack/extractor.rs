//! One archive into one tree.

use super::error::UnpackError;
use super::writer::{Attributes, FillError, Writer, failed, shown};
use jaula_repo::tar::{Entries, Kind, Meta, TarError};
use jaula_sys::tree::{Dir, Kind as Made};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};

/// What becomes of device nodes in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// Refused.
    Refuse,
    /// Left out: a jail has a fresh `/dev` anyway.
    Skip,
}

/// What an archive brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extracted {
    /// Entries.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Device nodes left out.
    pub devices: u64,
    /// The newest time of a file.
    pub newest: i64,
}

/// Extracts archives beneath a directory: no link is followed, nothing outside is touched.
pub struct Extractor<'a> {
    writer: Writer<'a>,
    devices: Devices,
    fractions: bool,
    dirs: BTreeMap<Vec<u8>, Attributes>,
}

impl<'a> Extractor<'a> {
    /// Beneath `root`.
    pub fn new(root: &'a Dir, devices: Devices) -> Self {
        Self {
            writer: Writer::new(root),
            devices,
            fractions: false,
            dirs: BTreeMap::new(),
        }
    }

    /// The same, with fractions of seconds where the archive has them. Images have whole seconds.
    pub fn with_fractions(self) -> Self {
        Self {
            fractions: true,
            ..self
        }
    }

    /// Extracts a whole archive. `tell` hears of every entry: its path, and the bytes so far.
    ///
    /// # Errors
    /// [`UnpackError`]; what was extracted before stays, the caller discards the tree.
    pub fn extract<R: Read>(
        &mut self,
        mut entries: Entries<R>,
        tell: &mut dyn FnMut(&[u8], u64),
    ) -> Result<Extracted, UnpackError> {
        let tar = |source| UnpackError::Tar {
            package: None,
            source,
        };
        let mut done = Extracted::default();
        while let Some(mut entry) = entries.next_entry().map_err(tar)? {
            let meta = entry.meta().clone();
            self.entry(&meta, &mut entry, &mut done)?;
            done.entries += 1;
            done.bytes = done.bytes.saturating_add(meta.size);
            done.newest = done.newest.max(meta.mtime);
            tell(meta.path.as_bytes(), done.bytes);
        }
        self.finish()?;
        Ok(done)
    }

    fn entry(
        &mut self,
        meta: &Meta,
        content: &mut impl Read,
        done: &mut Extracted,
    ) -> Result<(), UnpackError> {
        let path = meta.path.as_bytes();
        let attributes = Attributes {
            uid: meta.uid,
            gid: meta.gid,
            mode: meta.mode,
            mtime: meta.mtime,
            nanos: if self.fractions { meta.mtime_nanos } else { 0 },
        };
        let implicit = &mut |_: &[u8]| {};
        match &meta.kind {
            Kind::Directory => {
                self.writer.dir(path, implicit)?;
                self.dirs.insert(path.to_vec(), attributes);
                return Ok(());
            }
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
                return match self.devices {
                    Devices::Refuse => Err(UnpackError::Device {
                        path: shown(path),
                        package: None,
                    }),
                    Devices::Skip => {
                        done.devices += 1;
                        Ok(())
                    }
                };
            }
            _ => {}
        }
        let (dir, name) = self.writer.place(path, implicit)?;
        // The reader lets an entry come twice if it is of the same kind; the last one counts.
        match dir.stat(&name) {
            Ok(stat) if stat.kind == Made::Dir => {
                return Err(failed("replace the directory", path)(
                    ErrorKind::IsADirectory.into(),
                ));
            }
            Ok(_) => dir.unlink(&name).map_err(failed("replace", path))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look at", path)(error)),
        }
        match &meta.kind {
            Kind::File => {
                let mut file = dir.create(&name, 0o600).map_err(failed("make", path))?;
                self.writer
                    .fill(
                        &mut file,
                        path,
                        meta.size,
                        content,
                        attributes,
                        &meta.xattrs,
                    )
                    .map_err(|error| match error {
                        FillError::Tree(error) => error,
                        FillError::Content(source) => UnpackError::Tar {
                            package: None,
                            source: TarError::Read {
                                entry: done.entries,
                                source,
                            },
                        },
                    })
            }
            Kind::Symlink(target) => {
                dir.symlink(&super::c_name(target), &name)
                    .map_err(failed("make the link", path))?;
                Writer::finish_link(&dir, &name, path, attributes)
            }
            Kind::Hardlink(target) => {
                let (from, old) = self.writer.place(target.as_bytes(), implicit)?;
                from.link(&old, &dir, &name)
                    .map_err(failed("make the hard link", path))
            }
            Kind::Fifo => {
                dir.fifo(&name, 0o600)
                    .map_err(failed("make the pipe", path))?;
                dir.chown(&name, attributes.uid, attributes.gid)
                    .map_err(failed("set the owner of", path))?;
                dir.chmod(&name, attributes.mode)
                    .map_err(failed("set the mode of", path))?;
                dir.set_mtime(&name, attributes.mtime, attributes.nanos)
                    .map_err(failed("set the time of", path))
            }
            Kind::Directory | Kind::CharDevice { .. } | Kind::BlockDevice { .. } => Ok(()),
        }
    }

    /// Directories get owner, mode and time last, the deepest first: making things in them changes the time, and a
    /// mode may forbid it.
    fn finish(&mut self) -> Result<(), UnpackError> {
        for (path, a) in std::mem::take(&mut self.dirs).iter().rev() {
            let dir = self.writer.dir(path, &mut |_| {})?;
            dir.set_self(a.uid, a.gid, a.mode, a.mtime, a.nanos)
                .map_err(failed("set the mode of", path))?;
        }
        self.writer.forget();
        Ok(())
    }
}
