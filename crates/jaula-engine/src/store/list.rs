//! What images there are, and their removal.

use super::{Manifest, Store, StoreError};
use crate::error::At;
use crate::journal::Intent;
use crate::view::{Image, ImageInfo};
use jaula_plan::names::{Digest, JailName, Tag};
use jaula_plan::step::Step;
use jaula_sys::dir::Dir;
use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

/// How exactly the time of an image's last use is kept.
const USED: Duration = Duration::from_secs(3600);

impl Store {
    /// Every image, by distribution, suite and digest, and a sentence on each that could not be read.
    pub fn images(&self) -> Result<(Vec<ImageInfo>, Vec<String>), StoreError> {
        let (mut images, mut notes) = (Vec::new(), Vec::new());
        let tags = self.tags()?;
        for path in self.paths_in("images")? {
            let digest = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.parse::<Digest>().ok());
            let found = digest.map(|digest| self.info_with(&digest, &tags, &mut notes));
            match found {
                Some(Ok(info)) => images.push(info),
                Some(Err(error)) => {
                    notes.push(format!(
                        "skipped {}: {error}",
                        jaula_plan::explain::shown(&path)
                    ));
                }
                None => notes.push(format!(
                    "skipped {}: no image",
                    jaula_plan::explain::shown(&path)
                )),
            }
        }
        images.sort_by(|a, b| {
            (&a.distro, &a.suite, &a.digest).cmp(&(&b.distro, &b.suite, &b.digest))
        });
        Ok((images, notes))
    }

    /// Everything known of one image.
    pub fn info(&self, digest: &Digest) -> Result<ImageInfo, StoreError> {
        self.image(digest)?
            .ok_or(StoreError::NoImage { digest: *digest })?;
        self.info_with(digest, &self.tags()?, &mut Vec::new())
    }

    fn info_with(
        &self,
        digest: &Digest,
        tags: &[(Tag, Digest)],
        notes: &mut Vec<String>,
    ) -> Result<ImageInfo, StoreError> {
        let dir = self.image_dir(digest);
        let manifest = Manifest::read(&dir, digest)?;
        Ok(ImageInfo {
            version: 1,
            digest: *digest,
            tags: tags
                .iter()
                .filter(|(_, of)| of == digest)
                .map(|(tag, _)| tag.clone())
                .collect(),
            distro: manifest.distro,
            suite: manifest.suite,
            arch: manifest.arch,
            variant: manifest.variant,
            packages: manifest.packages,
            size: manifest.size,
            created: manifest.created,
            ids: manifest.ids,
            root: dir.join("root"),
            jails: self.jails_on(digest, notes)?,
        })
    }

    /// The named jails that stand on an image.
    pub fn jails_on(
        &self,
        digest: &Digest,
        notes: &mut Vec<String>,
    ) -> Result<Vec<JailName>, StoreError> {
        let (jails, skipped) = crate::named::records(self)?;
        for note in skipped {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        Ok(jails
            .into_iter()
            .filter(|jail| jail.image.as_ref() == Some(digest))
            .map(|jail| jail.name)
            .collect())
    }

    /// The text of an image's lock.
    pub fn lock_text(&self, digest: &Digest) -> Result<String, StoreError> {
        let path = self.image_dir(digest).join("lock");
        Ok(std::fs::read_to_string(&path).at("read", &path)?)
    }

    /// The steps that remove an image with all its tags.
    pub fn plan_remove(&self, digest: &Digest) -> Result<Vec<Step>, StoreError> {
        self.image(digest)?
            .ok_or(StoreError::NoImage { digest: *digest })?;
        if let Some(jail) = self.jails_on(digest, &mut Vec::new())?.into_iter().next() {
            return Err(StoreError::UsedByJail {
                digest: *digest,
                jail,
            });
        }
        let tags = self.tags()?.into_iter().filter(|(_, of)| of == digest);
        let mut steps: Vec<Step> = tags
            .map(|(tag, _)| Step::Untag {
                path: self.tag_path(&tag),
                tag,
            })
            .collect();
        steps.push(Step::RemoveImage {
            image: *digest,
            path: self.image_dir(digest),
        });
        Ok(steps)
    }

    /// Removes an image with its tags: names first, then at once from where images are, then file by file.
    pub fn remove_image(&self, digest: &Digest) -> Result<(), StoreError> {
        let image = self
            .image(digest)?
            .ok_or(StoreError::NoImage { digest: *digest })?;
        if let Some(jail) = self.jails_on(digest, &mut Vec::new())?.into_iter().next() {
            return Err(StoreError::UsedByJail {
                digest: *digest,
                jail,
            });
        }
        let _held = image
            .hold_alone()?
            .ok_or(StoreError::Running { digest: *digest })?;
        for link in self.links_to(digest)? {
            std::fs::remove_file(&link).at("remove", &link)?;
        }
        self.discard("images", &digest.to_string())
    }

    /// Moves `name` out of a directory of the store at once, and then removes it. Killed after the move, the rest is
    /// removed by the next recovery; before it, nothing happened.
    pub(crate) fn discard(&self, dir: &str, name: &str) -> Result<(), StoreError> {
        let (from_path, to_path) = (self.root().join(dir), self.made("stages")?);
        let (id, mut journal) = self.journal()?;
        let moved = (|| {
            journal.intend(Intent::Create(Path::new("stages").join(&id)))?;
            let (from, to) = (
                Dir::open(&from_path).at("open", &from_path)?,
                Dir::open(&to_path).at("open", &to_path)?,
            );
            from.rename_new(name, &to, &id)
                .at("rename", from_path.join(name))?;
            journal.point()?;
            Ok::<(), StoreError>(())
        })();
        // Not moved: undo finds nothing. Moved: undo is the removal.
        let errors = journal.undo();
        moved?;
        errors
            .into_iter()
            .next()
            .map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Image {
    /// Keeps the image from being removed for as long as the file is open (flock(2), shared).
    pub fn hold(&self) -> Result<File, StoreError> {
        let path = self.dir().join("manifest.json");
        let file = File::open(&path).at("open", &path)?;
        file.lock_shared().at("lock", &path)?;
        // For whoever looks for what was not used for long; best effort, and not more often than it matters.
        let now = std::time::SystemTime::now();
        let last = file.metadata().and_then(|meta| meta.modified());
        if last.is_ok_and(|last| now.duration_since(last).is_ok_and(|age| age > USED)) {
            drop(file.set_modified(now));
        }
        Ok(file)
    }

    /// The same for somebody who wants to remove it; none while others hold it.
    pub(super) fn hold_alone(&self) -> Result<Option<File>, StoreError> {
        let path = self.dir().join("manifest.json");
        let file = match File::open(&path) {
            // Damaged, and still to be removed: the directory does as well.
            Err(_) => File::open(self.dir()).at("open", self.dir())?,
            Ok(file) => file,
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).at("lock", path)?,
        }
    }
}

/// Bytes on disk of a tree, a file with several names counted once. Mounts are not crossed.
pub(crate) fn disk_usage(root: &Path) -> Result<u64, StoreError> {
    let dir = Dir::open(root).at("open", root)?;
    let (mut total, mut seen, mut left) =
        (0u64, HashSet::new(), vec![std::path::PathBuf::from(".")]);
    while let Some(path) = left.pop() {
        let at = dir.open_dir(&path).at("open", root.join(&path))?;
        for (name, _) in at.entries().at("list", root.join(&path))? {
            let meta = at.meta(&name).at("look at", root.join(&path).join(&name))?;
            if meta.links < 2
                || meta.kind == jaula_sys::dir::Kind::Directory
                || seen.insert(meta.inode)
            {
                total = total.saturating_add(meta.disk);
            }
            if meta.kind == jaula_sys::dir::Kind::Directory && !meta.mount_root {
                left.push(path.join(&name));
            }
        }
    }
    Ok(total)
}
