//! Names for images: links, each replaced at once.

use super::{Store, StoreError};
use crate::error::At;
use crate::journal::{Intent, Journal};
use jaula_plan::names::{Digest, Tag};
use jaula_plan::spec::rootfs::ImageSpec;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The image a link of the store names; none when there is no such link, or something else in its place.
pub(super) fn target(path: &Path) -> Result<Option<Digest>, StoreError> {
    match std::fs::read_link(path) {
        Ok(target) => Ok(target
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse().ok())),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).at("read", path)?,
    }
}

/// The key of a request, if there is one.
pub(super) fn keys(request: Option<&ImageSpec>) -> Vec<String> {
    request.and_then(super::request_key).into_iter().collect()
}

impl Store {
    /// The file that holds a tag.
    pub fn tag_path(&self, tag: &Tag) -> PathBuf {
        self.root().join("tags").join(tag.as_str())
    }

    /// Gives an image of the store these tags, and makes it the answer to this request. What they named before they
    /// name no longer. Each is replaced at once.
    pub fn label(
        &self,
        image: &Digest,
        tags: &[Tag],
        request: Option<&ImageSpec>,
    ) -> Result<(), StoreError> {
        self.label_keys(image, tags, &keys(request))
    }

    /// The same, with keys that are no requests for packages.
    pub(crate) fn label_keys(
        &self,
        image: &Digest,
        tags: &[Tag],
        keys: &[String],
    ) -> Result<(), StoreError> {
        let wanted = self.links(tags, keys)?;
        if self.image(image)?.is_none() {
            return Err(StoreError::NoImage { digest: *image });
        }
        let stale: Vec<_> = wanted
            .into_iter()
            .filter(|path| !matches!(target(path), Ok(Some(old)) if old == *image))
            .collect();
        if stale.is_empty() {
            return Ok(());
        }
        let (id, mut journal) = self.journal()?;
        match self.write_links(&mut journal, &id, image, &stale) {
            Ok(()) => Ok(journal.finish()?),
            Err(error) => {
                journal.undo();
                Err(error)
            }
        }
    }

    /// The links for these tags and this request; their directories are made.
    pub(super) fn links(&self, tags: &[Tag], keys: &[String]) -> Result<Vec<PathBuf>, StoreError> {
        let mut links = Vec::new();
        if !tags.is_empty() {
            self.made("tags")?;
            links.extend(tags.iter().map(|tag| self.tag_path(tag)));
        }
        if !keys.is_empty() {
            let requests = self.made("requests")?;
            links.extend(keys.iter().map(|key| requests.join(key)));
        }
        Ok(links)
    }

    /// Replaces each link by way of a temporary one beside it. No tag and no request starts with a dot.
    pub(super) fn write_links(
        &self,
        journal: &mut Journal,
        id: &str,
        image: &Digest,
        links: &[PathBuf],
    ) -> Result<(), StoreError> {
        for link in links {
            let aside = link.with_file_name(format!(".{id}"));
            journal.intend(Intent::Create(aside.clone()))?;
            std::os::unix::fs::symlink(format!("../images/{image}"), &aside).at("make", &aside)?;
            journal.point()?;
            std::fs::rename(&aside, link).at("rename", &aside)?;
            journal.point()?;
        }
        Ok(())
    }

    /// Takes a tag away; the image stays.
    pub fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        let path = self.tag_path(tag);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => Ok(other.at("remove", &path)?),
        }
    }

    /// Every tag with its image, sorted by tag. What is no tag is skipped.
    pub fn tags(&self) -> Result<Vec<(Tag, Digest)>, StoreError> {
        let mut tags = Vec::new();
        for path in self.paths_in("tags")? {
            let tag = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.parse::<Tag>().ok());
            if let (Some(tag), Some(digest)) = (tag, target(&path)?) {
                tags.push((tag, digest));
            }
        }
        tags.sort();
        Ok(tags)
    }

    /// The links of `tags` and `requests` that name this image.
    pub(super) fn links_to(&self, image: &Digest) -> Result<Vec<PathBuf>, StoreError> {
        let mut links = self.paths_in("tags")?;
        links.extend(self.paths_in("requests")?);
        links.retain(|path| matches!(target(path), Ok(Some(digest)) if digest == *image));
        Ok(links)
    }

    /// What a directory of the store holds, in no order; nothing when it is not there.
    pub(crate) fn paths_in(&self, name: &str) -> Result<Vec<PathBuf>, StoreError> {
        let dir = self.root().join(name);
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.at("list", &dir)?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.at("list", &dir)?.path());
        }
        Ok(paths)
    }
}
