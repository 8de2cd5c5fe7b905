//! One package of many, entry by entry: where each really goes, whose it is, and how it is made.

use super::{Done, Unpacker};
use crate::unpack::deb::Unpacked;
use crate::unpack::error::UnpackError;
use crate::unpack::kept::{Contents, KeptEntry};
use crate::unpack::registry::Verdict;
use crate::unpack::writer::{Attributes, Writer, c_name, failed, shown};
use jaula_repo::deb::archive::Control;
use jaula_repo::tar::{Kind, Meta};
use jaula_sys::tree::{Dir, Kind as Made};
use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;

/// A package under way.
pub(super) struct OnePackage<'p, 'a, 'w> {
    pub unpacker: &'p Unpacker<'a>,
    pub number: u32,
    pub name: &'p str,
    pub writer: &'p mut Writer<'w>,
    /// By path: whether it came, and how it was laid.
    pub conffiles: HashMap<Vec<u8>, Option<Option<[u8; 16]>>>,
    pub list: Vec<Vec<u8>>,
    pub listed: HashSet<Vec<u8>>,
}

impl OnePackage<'_, '_, '_> {
    /// All entries came.
    pub fn end(self, index: usize, control: Control, again: bool) -> Result<Done, UnpackError> {
        let declared = control.conffiles().map_err(|source| UnpackError::Deb {
            package: self.name.to_owned(),
            source,
        })?;
        let conffiles = declared
            .iter()
            .filter_map(|conffile| {
                let md5 = self
                    .conffiles
                    .get(conffile.path.trim_start_matches('/').as_bytes())
                    .copied()
                    .flatten()?;
                Some((conffile.path.to_owned(), md5))
            })
            .collect();
        Ok(Done::Unpacked(Box::new(Unpacked {
            index,
            control,
            conffiles,
            list: self.list,
            again,
        })))
    }

    /// Where a path of the archive really is: diverted, led through our links, and with the ending of a new
    /// configuration file.
    fn locate(&mut self, as_written: &[u8], conffile: bool) -> Result<Vec<u8>, UnpackError> {
        let diverted = self
            .unpacker
            .diversions
            .of(as_written, self.name)
            .unwrap_or(as_written);
        let mut path = match self.unpacker.aliases.rewrite(diverted) {
            Some((path, ours)) => {
                if let Some((link, to)) = ours {
                    self.unpacker.ensure_link(self.writer, link, to)?;
                }
                path
            }
            None => diverted.to_vec(),
        };
        if conffile {
            path.extend_from_slice(b".dpkg-new");
        }
        Ok(path)
    }

    pub fn entry(
        &mut self,
        number: usize,
        entry: &KeptEntry,
        contents: Contents<'_>,
    ) -> Result<(), UnpackError> {
        let meta = &entry.meta;
        let as_written = meta.path.as_bytes();
        if as_written.contains(&b'\n') {
            // The list of files could not hold it; dpkg refuses it too.
            return Err(failed("list", as_written)(ErrorKind::InvalidInput.into()));
        }
        if self.listed.insert(as_written.to_vec()) {
            self.list.push(if meta.path.is_root() {
                b"/.".to_vec()
            } else {
                [b"/", as_written].concat()
            });
        }
        // As dpkg does: what is left out is on the list all the same.
        let may_hold = matches!(meta.kind, Kind::Directory | Kind::Symlink(_));
        let absolute = || [b"/", as_written].concat();
        if !self.unpacker.filter.is_empty() && self.unpacker.filter.skips(&absolute(), may_hold) {
            return Ok(());
        }
        let mut attributes = Attributes {
            uid: meta.uid,
            gid: meta.gid,
            mode: meta.mode,
            mtime: meta.mtime,
            nanos: 0,
        };
        if let Some((uid, gid, mode)) = self.unpacker.overrides.of(as_written) {
            attributes = Attributes {
                uid,
                gid,
                mode,
                ..attributes
            };
        }
        if meta.kind == Kind::Directory {
            return self.directory(as_written, attributes);
        }
        if let (Kind::Symlink(target), Some(to)) =
            (&meta.kind, self.unpacker.aliases.is_link(as_written))
            && self.unpacker.aliases.means(as_written, target)
        {
            let link = self.unpacker.aliases.link(as_written).unwrap_or(to);
            return self.unpacker.ensure_link(self.writer, link, to);
        }
        let conffile = meta.kind == Kind::File && self.conffiles.contains_key(as_written);
        // In a new tree there is no older one that dpkg would have to compare with.
        let waits = conffile && self.unpacker.before > 0;
        let path = self.locate(as_written, waits)?;
        let diverts = self.unpacker.diversions.is_by(as_written, self.name);
        if self
            .unpacker
            .registry
            .claim(&path, as_written, self.number, diverts)?
            == Verdict::Leave
        {
            return Ok(());
        }
        self.make(&path, number, entry, contents, attributes)?;
        if conffile {
            let md5 = entry.md5.filter(|_| !waits);
            self.conffiles.insert(as_written.to_vec(), Some(md5));
        }
        Ok(())
    }

    fn directory(&mut self, as_written: &[u8], attributes: Attributes) -> Result<(), UnpackError> {
        if self.unpacker.aliases.is_link(as_written).is_some() {
            // `/bin` as a directory: it is the link, which is made when something is in it.
            return Ok(());
        }
        let path = self.locate(as_written, false)?;
        let registry = &self.unpacker.registry;
        registry.dir(&path, self.number, Some(attributes))?;
        self.writer.dir(&path, &mut |path| registry.made(path))?;
        Ok(())
    }

    fn make(
        &mut self,
        path: &[u8],
        number: usize,
        entry: &KeptEntry,
        contents: Contents<'_>,
        attributes: Attributes,
    ) -> Result<(), UnpackError> {
        let meta = &entry.meta;
        let sharing = (self.unpacker.keeping.share, self.unpacker.default.mtime);
        let registry = &self.unpacker.registry;
        // Parents that have no entry of their own still exclude anything else at their path.
        let (parent, _) = Writer::split(path);
        if !parent.is_empty() {
            registry.dir(parent, self.number, None)?;
        }
        // Another thread may be making the same path for a package that lost it, once; more rounds are not needed.
        for _ in 0..16 {
            let (dir, name) = self.writer.place(path, &mut |path| registry.made(path))?;
            // What is finished by name and not by descriptor is made by one thread at a time, so that a package that
            // lost the path meanwhile cannot touch what the winner made.
            let by_name = (meta.kind != Kind::File).then(|| registry.by_name());
            if by_name.is_some() && !registry.holds(path, self.number) {
                return Ok(());
            }
            let made = match &meta.kind {
                Kind::File => contents.lay(number, entry, (&dir, &name), attributes, sharing),
                Kind::Symlink(target) => dir.symlink(&c_name(target), &name),
                Kind::Fifo => dir.fifo(&name, 0o600),
                Kind::Hardlink(target) => {
                    let target = target.as_bytes();
                    let waits = self.conffiles.get(target) == Some(&Some(None));
                    let real = self.locate(target, waits)?;
                    let (from, old) = self.writer.place(&real, &mut |path| registry.made(path))?;
                    registry.linked(self.number, path, &real);
                    from.link(&old, &dir, &name)
                }
                Kind::Directory => return Ok(()),
                Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
                    return Err(UnpackError::Device {
                        path: shown(path),
                        package: Some(self.name.to_owned()),
                    });
                }
            };
            match made {
                Ok(()) => return Self::finish(path, meta, &dir, &name, attributes),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if !registry.holds(path, self.number) {
                        return Ok(());
                    }
                    match dir.stat(&name) {
                        // A directory that was there before stays (dpkg does the same).
                        Ok(stat)
                            if stat.kind == Made::Dir && matches!(meta.kind, Kind::Symlink(_)) =>
                        {
                            return Ok(());
                        }
                        Ok(stat) if stat.kind == Made::Dir => {
                            return Err(failed("replace the directory", path)(error));
                        }
                        Ok(_) => match dir.unlink(&name) {
                            Err(error) if error.kind() != ErrorKind::NotFound => {
                                return Err(failed("replace", path)(error));
                            }
                            _ => {}
                        },
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        Err(error) => return Err(failed("look at", path)(error)),
                    }
                }
                Err(error) => return Err(failed("make", path)(error)),
            }
        }
        Err(failed("make", path)(ErrorKind::AlreadyExists.into()))
    }

    /// Owner, mode and time of what was not filled by descriptor.
    fn finish(
        path: &[u8],
        meta: &Meta,
        dir: &Dir,
        name: &std::ffi::CStr,
        attributes: Attributes,
    ) -> Result<(), UnpackError> {
        match meta.kind {
            Kind::Symlink(_) => Writer::finish_link(dir, name, path, attributes),
            Kind::Fifo => dir
                .chown(name, attributes.uid, attributes.gid)
                .and_then(|()| dir.chmod(name, attributes.mode))
                .and_then(|()| dir.set_mtime(name, attributes.mtime, 0))
                .map_err(failed("set the owner of", path)),
            _ => Ok(()),
        }
    }
}
