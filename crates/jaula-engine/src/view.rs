//! What the engine shows: images and jails, in shapes that serialise with a version.

use crate::store::Ids;
use jaula_plan::names::{Digest, JailName, Tag};
use jaula_plan::spec::rootfs::Reference;
use std::path::{Path, PathBuf};

/// A finished image of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    digest: Digest,
    dir: PathBuf,
    root: PathBuf,
}

impl Image {
    pub(crate) fn new(digest: Digest, dir: PathBuf) -> Self {
        let root = dir.join("root");
        Self { digest, dir, root }
    }

    /// Its directory in the store: the tree, the lock and the manifest.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its tree; never to be written.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Everything the store knows of an image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ImageInfo {
    /// The version of this shape.
    pub version: u32,
    /// Its digest.
    pub digest: Digest,
    /// Its tags, sorted.
    pub tags: Vec<Tag>,
    /// Where it came from: a distribution's name, `archive`.
    pub distro: String,
    /// The suite; empty for what was imported.
    pub suite: String,
    /// Debian architecture; empty when unknown.
    pub arch: String,
    /// The variant; empty for what was imported.
    pub variant: String,
    /// How many packages.
    pub packages: u64,
    /// Size on disk in bytes.
    pub size: u64,
    /// The time all its files are no later than, seconds since 1970 UTC.
    pub created: i64,
    /// Whose identifiers its files have on disk.
    pub ids: Ids,
    /// Its tree.
    pub root: PathBuf,
    /// Named jails that stand on it.
    pub jails: Vec<JailName>,
}

/// A named jail.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Jail {
    /// The version of this shape.
    pub version: u32,
    /// Its name.
    pub name: JailName,
    /// The image it stands on; absent when it stands on a directory.
    pub image: Option<Digest>,
    /// That directory.
    pub directory: Option<PathBuf>,
    /// The reference it was made from, as typed.
    pub from: String,
    /// Host name.
    pub hostname: String,
    /// Network: `none` or `host`.
    pub net: String,
    /// Its limits, each `KEY=VALUE`.
    pub limits: Vec<String>,
    /// Seconds since 1970, UTC.
    pub created: i64,
    /// Its directory in the store.
    pub path: PathBuf,
    /// The first process of it, as seen by the caller, when it runs.
    pub pid: Option<u32>,
}

/// A reference as a user types it.
pub fn reference_text(reference: &Reference) -> String {
    match reference {
        Reference::Distro {
            distro,
            suite: Some(suite),
        } => format!("{distro}:{suite}"),
        Reference::Distro {
            distro,
            suite: None,
        } => distro.to_string(),
        Reference::Tag(tag) => tag.to_string(),
        Reference::Digest(digest) => digest.to_string(),
        Reference::Directory(path) | Reference::Archive(path) => jaula_plan::explain::shown(path),
    }
}
