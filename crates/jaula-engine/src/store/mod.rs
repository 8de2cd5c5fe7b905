//! What jaula keeps, all in one directory that only its owner can enter:
//!
//! ```text
//! packages/sha256/ab/<hex>   packages as fetched, named by their own SHA-256 (resumable halves in packages/part/)
//! unpacked/<hex>/            the same packages unpacked, by the same names: contents and an index
//! share                      how files of those get into trees, as it was found the last time
//! indices/<hex>              parsed package indices, named by the SHA-256 of the index they were parsed from;
//!                            indices/<hex>.raw is that one itself, where hooks wanted it
//! solved/<hex>             packages that were chosen before, named by the hash of all that the choice depends on; the last 256
//! releases/<hex>             the last verified InRelease of an archive, named by the SHA-256 of its URL
//! images/<hex>/              a finished image, named by its digest; never written again
//!     root/                  the tree
//!     lock                   the packages that are in it
//!     manifest.json          [`Manifest`]
//! tags/<tag>                 link to ../images/<hex>
//! requests/<words>           link to ../images/<hex>, named by what was asked ([`request_key`])
//! jails/<name>/              a named jail: jail.json, upper/ (what it wrote), work/ (the overlay's own)
//! stages/<id>/               a tree that comes to be, or is being removed; renamed into place when whole
//! journal/<id>               the journal of that change ([`crate::journal`]), locked by whoever makes it
//! locks/<hex>                locked by the one who builds that image
//! leases/all.json             addresses of jails' cards; leases/lock is held while they are given
//! content.lock               held by everyone who makes a tree, and by a collection of garbage alone
//! detached/<name>.json, .log  a run in the background and what it wrote; .lock is held by its supervisor
//! trees/<hash>.json          what was placed in the jail at a path; .lock is held while it is filled or updated, and
//!                            .updating says how far an update is
//! run/<name>.json            the first process of a running jail; run/<name>.lock is held by its sessions
//! ```
//!
//! An image is there whole or not at all: it is synced, then renamed. Readers take no lock. What cannot be read is
//! skipped and noted, so that one strange file does not stop the rest.

mod error;
mod gc;
mod list;
pub(crate) mod local;
mod manifest;
mod request;
mod stage;
mod tags;
mod unpacked;

pub use error::StoreError;
pub use gc::{Garbage, GcPlan, GcSpec, Sort};
pub use manifest::{Ids, Manifest};
pub use request::request_key;
pub use stage::{Begin, Stage};
pub(crate) use stage::{replace, replace_by, write_new};

use crate::error::At;
use crate::fault::Faults;
use crate::journal::Journal;
use crate::unpack::Share;
use crate::view::Image;
use jaula_plan::names::{Digest, Tag};
use jaula_plan::spec::rootfs::{ImageSpec, Reference};
use std::fs::{DirBuilder, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Marks a store in which owners are on record.
const OWNERS: &str = "owners";

/// An open store. Cheap to open and to clone: nothing is read before it is needed.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    faults: Option<Arc<Faults>>,
    forced: Option<Share>,
}

impl Store {
    /// Opens the store in this directory, which need not exist yet.
    ///
    /// # Errors
    /// [`StoreError::NotOurs`] when it belongs to somebody else or others may write in it.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        let root = if root.is_absolute() {
            root
        } else {
            std::path::absolute(&root).at("find", &root)?
        };
        match std::fs::metadata(&root) {
            Ok(meta) => refuse_foreign(&root, &meta)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("open", &root)?,
        }
        let store = Self {
            root,
            faults: None,
            forced: None,
        };
        store.refuse_other_owners()?;
        Ok(store)
    }

    /// Whether owners of files are on record in this store, since it was filled with one identifier.
    pub fn records_owners(&self) -> bool {
        self.root.join(OWNERS).symlink_metadata().is_ok()
    }

    /// Whose files are is on record in all of a store or in nothing of it: a file `owners` says that it is.
    fn refuse_other_owners(&self) -> Result<(), StoreError> {
        let recorded = jaula_sys::owner::is_recorded();
        // Who is not root, here or in a namespace, looks at names only.
        if !recorded && jaula_sys::dir::effective_uid() != 0 {
            return Ok(());
        }
        let mark = self.root.join(OWNERS);
        let marked = self.records_owners();
        let used = ["images", "unpacked", "jails"]
            .iter()
            .any(|name| self.root.join(name).exists());
        if recorded && !marked && !used {
            // One that is not there yet is marked when the first thing of it is made.
            if self.root.is_dir() {
                std::fs::write(&mark, "recorded\n").at("write", &mark)?;
            }
        } else if recorded != marked {
            return Err(StoreError::OtherOwners {
                path: self.root.clone(),
                recorded: marked,
            });
        }
        Ok(())
    }

    /// The same store, with a fault made on purpose in what is changed through it.
    #[doc(hidden)]
    pub fn with_faults(mut self, faults: Arc<Faults>) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Its directory, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A directory of the store by its name in the layout, made when it is not there yet.
    pub fn made(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.root.join(name);
        if !path.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .at("make", &path)?;
            if jaula_sys::owner::is_recorded() && !self.records_owners() {
                let mark = self.root.join(OWNERS);
                std::fs::write(&mark, "recorded\n").at("write", &mark)?;
            }
        }
        Ok(path)
    }

    /// Where a package is kept, whether it is there or not.
    pub fn package_path(&self, sha256: &[u8; 32]) -> PathBuf {
        let hex = Digest(*sha256).to_string();
        let first = hex.get(..2).unwrap_or_default();
        self.root.join("packages/sha256").join(first).join(&hex)
    }

    /// A package, when it is there. Its bytes were checked before it got its name, and are checked again by whoever
    /// unpacks them.
    pub fn package(&self, sha256: &[u8; 32]) -> Option<PathBuf> {
        Some(self.package_path(sha256)).filter(|path| path.is_file())
    }

    /// Where a package is put while it is fetched; a half one is resumed.
    pub fn partial_path(&self, sha256: &[u8; 32]) -> Result<PathBuf, StoreError> {
        Ok(self
            .made("packages/part")?
            .join(Digest(*sha256).to_string()))
    }

    /// Takes a package that was fetched whole and checked from its partial path into the store.
    pub fn keep_package(&self, sha256: &[u8; 32]) -> Result<PathBuf, StoreError> {
        let (from, to) = (self.partial_path(sha256)?, self.package_path(sha256));
        if let Some(parent) = to.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .at("make", parent)?;
        }
        std::fs::rename(&from, &to).at("rename", &from)?;
        Ok(to)
    }

    /// The image with this digest.
    pub fn image(&self, digest: &Digest) -> Result<Option<Image>, StoreError> {
        let image = Image::new(*digest, self.image_dir(digest));
        match std::fs::symlink_metadata(image.root()) {
            Ok(meta) if meta.is_dir() => Ok(Some(image)),
            Ok(_) => Ok(None),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).at("look at", image.root())?,
        }
    }

    /// What an image says of itself.
    pub fn manifest(&self, image: &Image) -> Result<Manifest, StoreError> {
        Manifest::read(image.dir(), image.digest())
    }

    /// The language that an image's programs are started with, if it says one.
    pub fn language(&self, digest: &Digest) -> Option<String> {
        // What cannot be read says nothing.
        let manifest = Manifest::read(&self.image_dir(digest), digest).ok()?;
        manifest.language()
    }

    /// Whether a directory, by its real path, is in what the store never changes.
    pub(crate) fn holds_image(&self, dir: &Path) -> bool {
        let real = std::fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
        ["images", "unpacked"]
            .iter()
            .any(|name| dir.starts_with(real.join(name)))
    }

    /// Where an image is, or would be.
    pub fn image_dir(&self, digest: &Digest) -> PathBuf {
        self.root.join("images").join(digest.to_string())
    }

    /// The image that has this tag.
    pub fn by_tag(&self, tag: &Tag) -> Result<Option<Image>, StoreError> {
        self.by_link(&self.root.join("tags").join(tag.as_str()))
    }

    /// The image that was made for exactly this request.
    pub fn by_request(&self, spec: &ImageSpec) -> Result<Option<Image>, StoreError> {
        request_key(spec).map_or(Ok(None), |key| self.by_key(&key))
    }

    /// The image that has this key among the requests.
    pub(crate) fn by_key(&self, key: &str) -> Result<Option<Image>, StoreError> {
        self.by_link(&self.root.join("requests").join(key))
    }

    /// The image a reference names: a link read and its target looked at. For a distribution: the image made for it
    /// with no option, else one tagged so. None for a directory or an archive.
    pub fn find(&self, reference: &Reference) -> Result<Option<Image>, StoreError> {
        match reference {
            Reference::Digest(digest) => self.image(digest),
            Reference::Tag(tag) => self.by_tag(tag),
            Reference::Distro { .. } => {
                let spec = crate::spec::ImageOptions::default().spec(reference);
                let found = spec.map_or(Ok(None), |spec| self.by_request(&spec))?;
                match (found, crate::view::reference_text(reference).parse::<Tag>()) {
                    (None, Ok(tag)) => self.by_tag(&tag),
                    (found, _) => Ok(found),
                }
            }
            Reference::Directory(_) | Reference::Archive(_) => Ok(None),
        }
    }

    fn by_link(&self, path: &Path) -> Result<Option<Image>, StoreError> {
        match tags::target(path)? {
            Some(digest) => self.image(&digest),
            None => Ok(None),
        }
    }

    /// A point between two effects, at which a test may strike.
    pub(crate) fn point(&self) -> Result<(), StoreError> {
        let faults = self.faults.as_ref();
        Ok(faults
            .map_or(Ok(()), |faults| faults.point())
            .at("go on in", &self.root)?)
    }

    /// A name that nobody else uses, for a stage and its journal.
    pub(crate) fn fresh_id(&self) -> Result<String, StoreError> {
        let bytes = jaula_sys::dir::random().at("name a stage in", &self.root)?;
        Ok(jaula_repo::hex::encode(&bytes))
    }

    /// Begins a change: heals what dead ones left, then opens a journal.
    pub(crate) fn journal(&self) -> Result<(String, Journal), StoreError> {
        self.made("journal")?;
        // What cannot be healed now does not stop this change; `recover` reports it.
        drop(crate::recover::recover(self));
        let id = self.fresh_id()?;
        let journal = Journal::create(&self.root, &id, self.faults.clone())?;
        Ok((id, journal))
    }
}

/// State is taken only from where nobody but its owner can write.
fn refuse_foreign(root: &Path, meta: &Metadata) -> Result<(), StoreError> {
    let own = jaula_sys::dir::effective_uid();
    if !meta.is_dir() {
        return Err(std::io::Error::from(ErrorKind::NotADirectory)).at("open", root)?;
    }
    if meta.uid() != own || meta.mode() & 0o022 != 0 {
        return Err(StoreError::NotOurs {
            path: root.to_owned(),
            owner: meta.uid(),
            mode: meta.mode() & 0o7777,
            own,
        });
    }
    Ok(())
}

/// Whether a name in `stages` and `journal` is one of ours.
pub(crate) fn is_id(name: &str) -> bool {
    name.len() == 32
        && name
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
