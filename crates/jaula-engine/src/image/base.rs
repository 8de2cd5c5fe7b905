//! Going on from an image that has part of the packages.

use super::error::BuildError;
use super::plan::{Base, ImagePlan};
use crate::error::At;
use crate::store::{Store, StoreError};
use crate::unpack::Share;
use jaula_plan::names::Digest;
use jaula_repo::lock::Lock;
use jaula_sys::tree::{self, Dir, Kind};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Looks for the image of the store with the most of the wanted packages and no other, of the same distribution,
/// architecture and sources, and makes it the base of the plan.
pub fn choose(plan: &mut ImagePlan, store: &Store) -> Result<(), BuildError> {
    let wanted: HashSet<[u8; 32]> = plan
        .lock
        .packages
        .iter()
        .map(|package| package.sha256)
        .collect();
    let mut best: Option<(usize, Digest, Lock)> = None;
    let (images, _) = store.images()?;
    for info in images {
        // An image that cannot be read is no base; `image ls` tells of it.
        let Ok(text) = store.lock_text(&info.digest) else {
            continue;
        };
        let Ok(lock) = Lock::parse(&text) else {
            continue;
        };
        let same = lock.distribution == plan.lock.distribution && lock.arch == plan.lock.arch;
        let places = |lock: &Lock| -> Vec<(String, String, String)> {
            lock.sources
                .iter()
                .map(|s| (s.uri.clone(), s.suite.clone(), s.components.clone()))
                .collect()
        };
        let part = lock
            .packages
            .iter()
            .all(|package| wanted.contains(&package.sha256));
        let has = lock.packages.len();
        // Made whole: what was gone on from already would make the outcome depend on too much.
        let whole = Digest(lock.digest()) == info.digest;
        let better = best
            .as_ref()
            .is_none_or(|(most, digest, _)| (has, info.digest) > (*most, *digest));
        if same && whole && part && has > 0 && better && places(&lock) == places(&plan.lock) {
            best = Some((has, info.digest, lock));
        }
    }
    let Some((packages, digest, lock)) = best else {
        return Ok(());
    };
    let Some(image) = store.image(&digest)? else {
        return Ok(());
    };
    let have: HashSet<[u8; 32]> = lock.packages.iter().map(|package| package.sha256).collect();
    for (planned, locked) in plan.packages.iter_mut().zip(&plan.lock.packages) {
        planned.in_base = have.contains(&locked.sha256);
    }
    let text = format!(
        "jaula image from a base 1\nbase {digest}\nlock {}\n",
        Digest(plan.lock.digest())
    );
    plan.digest = Digest(Sha256::digest(text.as_bytes()).into());
    plan.ready = store.image(&plan.digest)?;
    plan.base = Some(Base {
        digest,
        root: image.root().to_owned(),
        packages,
    });
    Ok(())
}

/// Begins a stage with the tree of a base. The base is not removed while the file is open.
pub fn begin(base: &Base, store: &Store, to: &Path, share: Share) -> Result<File, BuildError> {
    let digest = base.digest;
    let image = store
        .image(&digest)?
        .ok_or(StoreError::NoImage { digest })?;
    let held = image.hold()?;
    copy_tree(&base.root, to, share)?;
    Ok(held)
}

/// Copies a tree. Its files are shared as `share` says; where they are the same inodes, nobody may write into them.
fn copy_tree(from: &Path, to: &Path, share: Share) -> Result<(), BuildError> {
    let (source, target) = (
        Dir::open(from).at("open", from)?,
        Dir::open(to).at("open", to)?,
    );
    let mut copy = Copy {
        share,
        top: &target,
        links: HashMap::new(),
    };
    copy.dir(&source, from, &target, &PathBuf::new(), 0)
}

/// Hard links of the source: where the first of them was put.
type Links = HashMap<(u64, u64), (PathBuf, CString)>;

struct Copy<'a> {
    share: Share,
    top: &'a Dir,
    links: Links,
}

impl Copy<'_> {
    fn dir(
        &mut self,
        from: &Dir,
        shown: &Path,
        to: &Dir,
        path: &Path,
        depth: usize,
    ) -> Result<(), BuildError> {
        if depth > 256 {
            let error = std::io::Error::from(std::io::ErrorKind::InvalidInput);
            Err(error).at("go down into", shown)?;
        }
        for entry in from.entries().at("list", shown)? {
            let name = &entry.name;
            let below = shown.join(OsStr::from_bytes(name.to_bytes()));
            let copied = self.entry(from, to, path, name);
            if copied.at("copy", &below)? {
                let (from, to) = (
                    from.dir(name).at("open", &below)?,
                    to.dir(name).at("open", &below)?,
                );
                let path = path.join(OsStr::from_bytes(name.to_bytes()));
                self.dir(&from, &below, &to, &path, depth + 1)?;
            }
        }
        let stat = from.stat_self().at("look at", shown)?;
        to.set_self(stat.uid, stat.gid, stat.mode, stat.mtime, stat.mtime_nsec)
            .at("set the mode of", shown)?;
        Ok(())
    }

    /// Copies one name; tells whether it is a directory, whose content is still to come.
    fn entry(
        &mut self,
        from: &Dir,
        to: &Dir,
        path: &Path,
        name: &CString,
    ) -> std::io::Result<bool> {
        let stat = from.stat(name)?;
        if self.share == Share::Link && stat.kind == Kind::File {
            match from.link(name, to, name) {
                // As many names as the file system allows.
                Err(error) if error.kind() == std::io::ErrorKind::TooManyLinks => {}
                other => return other.map(|()| false),
            }
        }
        if stat.nlink > 1 && stat.kind != Kind::Dir {
            if let Some((dir, first)) = self.links.get(&(stat.dev, stat.ino)) {
                let dir = if dir.as_os_str().is_empty() {
                    self.top.try_clone()?
                } else {
                    self.top.open_beneath(dir)?
                };
                dir.link(first, to, name)?;
                return Ok(false);
            }
            self.links
                .insert((stat.dev, stat.ino), (path.to_owned(), name.clone()));
        }
        copy_one(from, to, name, &stat)
    }
}

/// Copies one name with owner, mode, time and extended attributes; tells whether it is a directory, whose content is
/// still to come.
pub(super) fn copy_one(
    from: &Dir,
    to: &Dir,
    name: &CString,
    stat: &tree::Stat,
) -> std::io::Result<bool> {
    match stat.kind {
        Kind::Dir => {
            to.make_dir(name, 0o700)?;
            let (from, to) = (from.dir(name)?, to.dir(name)?);
            for (key, value) in tree::file_xattrs(&from)? {
                tree::set_xattr(&to, &key, &value)?;
            }
            Ok(true)
        }
        Kind::File => {
            let (source, target) = (from.read(name)?, to.create(name, 0o600)?);
            tree::copy_content(&source, &target, stat.size)?;
            tree::set_file(
                &target,
                stat.uid,
                stat.gid,
                stat.mode,
                stat.mtime,
                stat.mtime_nsec,
            )?;
            let mut any = false;
            for (key, value) in tree::file_xattrs(&source)? {
                tree::set_xattr(&target, &key, &value)?;
                any = true;
            }
            if any {
                tree::set_file_times(&target, stat.mtime, stat.mtime_nsec)?;
            }
            Ok(false)
        }
        Kind::Symlink => {
            to.symlink(&from.read_link(name)?, name)?;
            to.chown(name, stat.uid, stat.gid)?;
            to.set_mtime(name, stat.mtime, stat.mtime_nsec)?;
            Ok(false)
        }
        Kind::Fifo => {
            to.fifo(name, 0o600)?;
            to.chown(name, stat.uid, stat.gid)?;
            to.chmod(name, stat.mode)?;
            to.set_mtime(name, stat.mtime, stat.mtime_nsec)?;
            Ok(false)
        }
        // A socket is nothing without who listens; devices are none in an image.
        Kind::Socket | Kind::Char | Kind::Block => Ok(false),
    }
}
