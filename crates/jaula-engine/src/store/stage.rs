//! A tree that comes to be: private until it is whole, then an image at once.

use super::{Manifest, Store, StoreError};
use crate::error::At;
use crate::journal::{Intent, Journal};
use crate::view::Image;
use jaula_plan::names::{Digest, Tag};
use jaula_plan::spec::rootfs::ImageSpec;
use jaula_sys::dir::Dir;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What beginning an image finds.
#[derive(Debug)]
pub enum Begin {
    /// Somebody made it already. [`Store::label`] gives it further names.
    Ready(Image),
    /// It is to be made here.
    Stage(Stage),
}

/// An image under way. Dropped, it is removed; killed, the next change to the store removes it.
#[derive(Debug)]
pub struct Stage {
    store: Store,
    id: String,
    dir: PathBuf,
    root: PathBuf,
    digest: Option<Digest>,
    journal: Option<Journal>,
    lock: Option<(File, PathBuf)>,
    /// Packages stay while it is open.
    _content: File,
}

impl Store {
    /// Begins an image. When somebody else builds the same one, waits for him.
    pub fn begin(&self, digest: &Digest) -> Result<Begin, StoreError> {
        if let Some(image) = self.image(digest)? {
            return Ok(Begin::Ready(image));
        }
        let lock = self.lock_image(digest)?;
        if let Some(image) = self.image(digest)? {
            drop(std::fs::remove_file(&lock.1));
            return Ok(Begin::Ready(image));
        }
        let mut stage = self.stage()?;
        stage.digest = Some(*digest);
        stage.lock = Some(lock);
        Ok(Begin::Stage(stage))
    }

    /// A stage of its own, for what has no digest yet (an archive that is read once).
    pub fn stage(&self) -> Result<Stage, StoreError> {
        let content = self.use_content()?;
        let stages = self.made("stages")?;
        let (id, journal) = self.journal()?;
        let dir = stages.join(&id);
        let root = dir.join("root");
        // From here on, dropping the stage undoes the journal.
        let mut stage = Stage {
            store: self.clone(),
            id,
            dir,
            root,
            digest: None,
            journal: Some(journal),
            lock: None,
            _content: content,
        };
        stage.intend(Intent::Create(Path::new("stages").join(&stage.id)))?;
        DirBuilder::new()
            .mode(0o700)
            .create(&stage.dir)
            .at("make", &stage.dir)?;
        stage.point()?;
        DirBuilder::new()
            .mode(0o755)
            .create(&stage.root)
            .at("make", &stage.root)?;
        // Whatever the umask says.
        std::fs::set_permissions(&stage.root, PermissionsExt::from_mode(0o755))
            .at("change", &stage.root)?;
        Ok(stage)
    }

    /// Takes the lock of an image, waiting for whoever has it. The file goes with the image's publication, so after
    /// waiting it may be no more the one that has the name.
    fn lock_image(&self, digest: &Digest) -> Result<(File, PathBuf), StoreError> {
        let path = self.made("locks")?.join(digest.to_string());
        loop {
            let mut options = OpenOptions::new();
            let file = options
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .at("open", &path)?;
            file.lock().at("lock", &path)?;
            if file.metadata().at("look at", &path)?.nlink() > 0 {
                return Ok((file, path));
            }
        }
    }
}

impl Stage {
    /// The root of the tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The stage's own directory, 0700; other files may lie beside `root` until it is published.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A point at which a test may strike.
    pub fn point(&self) -> Result<(), StoreError> {
        self.journal
            .as_ref()
            .map_or(Ok(()), Journal::point)
            .map_err(StoreError::from)
    }

    fn intend(&mut self, intent: Intent) -> Result<(), StoreError> {
        self.journal
            .as_mut()
            .map_or(Ok(()), |journal| journal.intend(intent).map(drop))?;
        Ok(())
    }

    /// Makes the tree an image: writes its lock and manifest, syncs the file system once, renames. With `digest`
    /// given to [`Store::begin`] it gets that; a stage of its own needs one here.
    pub fn publish(
        self,
        digest: Digest,
        lock_text: &str,
        manifest: &Manifest,
        tags: &[Tag],
        request: Option<&ImageSpec>,
    ) -> Result<Image, StoreError> {
        self.publish_keys(
            digest,
            lock_text,
            manifest,
            tags,
            &super::tags::keys(request),
        )
    }

    /// The same, with keys that are no requests for packages.
    pub(crate) fn publish_keys(
        mut self,
        digest: Digest,
        lock_text: &str,
        manifest: &Manifest,
        tags: &[Tag],
        keys: &[String],
    ) -> Result<Image, StoreError> {
        let digest = self.digest.unwrap_or(digest);
        if self.lock.is_none() {
            self.lock = Some(self.store.lock_image(&digest)?);
        }
        if let Some(image) = self.store.image(&digest)? {
            drop(self.lock.take().map(|(_, path)| std::fs::remove_file(path)));
            self.store.label_keys(&digest, tags, keys)?;
            return Ok(image);
        }
        let mut manifest = Manifest {
            version: 1,
            digest: digest.to_string(),
            ..manifest.clone()
        };
        if manifest.size == 0 {
            manifest.size = super::list::disk_usage(&self.root)?;
        }
        write_new(&self.dir.join("lock"), lock_text.as_bytes())?;
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(std::io::Error::from)
            .at("write", &self.dir)?;
        write_new(&self.dir.join("manifest.json"), &text)?;
        let links = self.store.links(tags, keys)?;
        self.point()?;
        let stage = Dir::open(&self.dir).at("open", &self.dir)?;
        stage.sync_file_system().at("sync", &self.dir)?;
        self.point()?;
        self.store.adopt_unpacked(&self.dir)?;
        self.point()?;
        let (stages, images) = (self.store.made("stages")?, self.store.made("images")?);
        let (from, to) = (
            Dir::open(&stages).at("open", &stages)?,
            Dir::open(&images).at("open", &images)?,
        );
        from.rename_new(&self.id, &to, digest.to_string())
            .at("rename", &self.dir)?;
        self.point()?;
        if let Some(mut journal) = self.journal.take() {
            match self
                .store
                .write_links(&mut journal, &self.id, &digest, &links)
            {
                Ok(()) => journal.finish()?,
                Err(error) => {
                    journal.undo();
                    return Err(error);
                }
            }
        }
        Ok(Image::new(digest, self.store.image_dir(&digest)))
    }

    /// How files of kept packages get into the tree, and where those packages come to be that are not kept yet.
    pub(crate) fn unpacking(&self) -> Result<(crate::unpack::Share, PathBuf), StoreError> {
        let share = self.store.probe_share(&self.dir)?;
        let place = self.dir.join(super::unpacked::PLACE);
        DirBuilder::new()
            .mode(0o700)
            .create(&place)
            .at("make", &place)?;
        Ok((share, place))
    }

    /// The tree comes to nothing, but its packages were unpacked: they are kept, so that this is not done again.
    pub(crate) fn keep_unpacked(&self) -> Result<(), StoreError> {
        let stage = Dir::open(&self.dir).at("open", &self.dir)?;
        stage.sync_file_system().at("sync", &self.dir)?;
        self.store.adopt_unpacked(&self.dir)
    }

    /// Removes the stage and says whether that worked; dropping it does the same without a word.
    pub fn abandon(mut self) -> Result<(), StoreError> {
        let errors = self.journal.take().map(Journal::undo).unwrap_or_default();
        errors
            .into_iter()
            .next()
            .map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(journal) = self.journal.take() {
            // What cannot be removed now stays in the journal for the next recovery.
            drop(journal.undo());
        }
        if let Some((_, path)) = self.lock.take() {
            // While the lock is held; whoever waits for it sees that the file has no name any more.
            drop(std::fs::remove_file(path));
        }
    }
}

/// Writes a file whole: a reader sees the old one or the new one. One writer at a time, who holds a lock.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    replace_by(Path::new(&aside), path, bytes, None)
}

/// As [`replace`], by way of another name in the same file system, which only this writer uses. Others read it
/// where a mode is given; some who write may not change one.
pub(crate) fn replace_by(
    aside: &Path,
    path: &Path,
    bytes: &[u8],
    mode: Option<Permissions>,
) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(aside)
        .and_then(|mut file| {
            if let Some(mode) = mode {
                file.set_permissions(mode)?;
            }
            file.write_all(bytes)
        })
        .and_then(|()| std::fs::rename(aside, path))
        .inspect_err(|_| drop(std::fs::remove_file(aside)))
}

pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .at("create", path)?;
    Ok(file.write_all(bytes).at("write", path)?)
}
