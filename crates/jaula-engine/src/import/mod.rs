//! Images from what others made: a tar archive, taken into the store once; a directory, used where it is and never
//! written.

mod error;

pub use error::ImportError;

use crate::error::At;
use crate::event::{Event, Observer, Phase};
use crate::store::{Begin, Manifest, Store};
use crate::unpack::{Devices, Extractor, HashReader};
use crate::view::Image;
use jaula_plan::names::{Digest, Tag};
use jaula_plan::step::{Compression, Step};
use jaula_repo::compress::Format;
use jaula_sys::tree::Dir;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// An archive to be taken into the store: its digest is the SHA-256 of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The file, absolute, links followed.
    pub path: PathBuf,
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// How it is compressed, as its first bytes say.
    pub compression: Compression,
    /// Its size in bytes.
    pub size: u64,
    key: String,
}

/// The image that an archive became earlier, found without reading it: the file has the same name, number, size and
/// times (as make(1) tells what is up to date).
pub fn find(store: &Store, path: &Path) -> Result<Option<Image>, ImportError> {
    let (path, file) = open(path)?;
    Ok(store.by_key(&key(&path, &file)?)?)
}

/// Reads the whole archive once to learn its digest.
pub fn plan(path: &Path) -> Result<Archive, ImportError> {
    let (path, mut file) = open(path)?;
    let key = key(&path, &file)?;
    let mut start = Vec::new();
    (&file).take(6).read_to_end(&mut start).at("read", &path)?;
    let compression = match Format::sniff(&start).map_err(|source| ImportError::Format {
        path: path.clone(),
        source,
    })? {
        Format::Plain => Compression::None,
        Format::Gzip => Compression::Gzip,
        Format::Xz => Compression::Xz,
        Format::Zstd => Compression::Zstd,
    };
    file.rewind().at("read", &path)?;
    let (size, digest) = HashReader::new(file).finish().at("read", &path)?;
    Ok(Archive {
        path,
        digest: Digest(digest),
        compression,
        size,
        key,
    })
}

impl Archive {
    /// What taking it into the store takes.
    pub fn steps(&self, store: &Store) -> Vec<Step> {
        let (root, to) = (
            store.root().join("stages/NEW/root"),
            store.image_dir(&self.digest),
        );
        vec![
            Step::MakeStage { root: root.clone() },
            Step::UnpackArchive {
                archive: self.path.clone(),
                compression: self.compression,
                root: root.clone(),
            },
            Step::Publish {
                image: self.digest,
                from: root,
                to,
            },
        ]
    }

    /// Unpacks it into the store, and gives the image these tags. Its bytes are hashed again as they are unpacked:
    /// another archive that was put in its place meanwhile is refused.
    pub fn import(
        &self,
        store: &Store,
        tags: &[Tag],
        observer: &dyn Observer,
    ) -> Result<Image, ImportError> {
        let stage = match store.begin(&self.digest)? {
            Begin::Ready(image) => {
                store.label_keys(&self.digest, tags, std::slice::from_ref(&self.key))?;
                return Ok(image);
            }
            Begin::Stage(stage) => stage,
        };
        let start = Instant::now();
        observer.event(Event::Started {
            phase: Phase::Unpack,
            items: 0,
            bytes: self.size,
        });
        let root = Dir::open(stage.root()).at("open", stage.root())?;
        let mut hashed = HashReader::new(File::open(&self.path).at("open", &self.path)?);
        let damaged = |source| ImportError::Archive {
            path: self.path.clone(),
            source,
        };
        let tar = |source| {
            damaged(crate::unpack::UnpackError::Tar {
                package: None,
                source,
            })
        };
        let mut told = Instant::now();
        let mut items = 0u64;
        let done = Extractor::new(&root, Devices::Skip)
            .extract(
                jaula_repo::tar::open(&mut hashed).map_err(tar)?,
                &mut |path, bytes| {
                    items = items.saturating_add(1);
                    if told.elapsed().as_millis() >= 40 {
                        told = Instant::now();
                        let item = jaula_plan::explain::shown(Path::new(
                            std::ffi::OsStr::from_bytes(path),
                        ));
                        observer.event(Event::Progress {
                            phase: Phase::Unpack,
                            items,
                            bytes,
                            item,
                        });
                    }
                },
            )
            .map_err(damaged)?;
        let (_, digest) = hashed.finish().at("read", &self.path)?;
        if digest != self.digest.0 {
            return Err(ImportError::Changed {
                path: self.path.clone(),
            });
        }
        if done.devices > 0 {
            let text = format!("left out {} device nodes: a jail has its own", done.devices);
            observer.event(Event::Note { text });
        }
        let manifest = Manifest {
            distro: "archive".to_owned(),
            created: done.newest,
            ..Manifest::default()
        };
        let lock = format!("archive sha256:{}\n", self.digest);
        let image = stage.publish_keys(
            self.digest,
            &lock,
            &manifest,
            tags,
            std::slice::from_ref(&self.key),
        )?;
        let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        observer.event(Event::Finished {
            phase: Phase::Unpack,
            items: done.entries,
            bytes: done.bytes,
            millis,
        });
        observer.event(Event::Made {
            what: "image",
            path: image.root().to_owned(),
        });
        Ok(image)
    }
}

fn open(path: &Path) -> Result<(PathBuf, File), ImportError> {
    let real = std::fs::canonicalize(path).at("find", path)?;
    let meta = std::fs::metadata(&real).at("look at", &real)?;
    if !meta.is_file() {
        return Err(ImportError::NoArchive { path: real });
    }
    let file = File::open(&real).at("open", &real)?;
    Ok((real, file))
}

fn key(path: &Path, file: &File) -> Result<String, ImportError> {
    let meta = file.metadata().at("look at", path)?;
    let mut hash = Sha256::new();
    hash.update(b"jaula archive 1\n");
    let parts = [
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime() as u64,
        meta.mtime_nsec() as u64,
    ];
    parts
        .iter()
        .for_each(|part| hash.update(part.to_le_bytes()));
    hash.update((meta.ctime() as u64).to_le_bytes());
    hash.update((meta.ctime_nsec() as u64).to_le_bytes());
    hash.update(path.as_os_str().as_bytes());
    Ok(jaula_repo::hex::encode(&hash.finalize()))
}

/// A directory to be used where it is: absolute, links followed. One that holds no program to run is refused before
/// anything is set up for it.
pub fn directory(path: &Path) -> Result<PathBuf, ImportError> {
    let real = std::fs::canonicalize(path).at("find", path)?;
    let mut entries = std::fs::read_dir(&real).at("list", &real)?;
    let empty = entries.next().transpose().at("list", &real)?.is_none();
    if empty || real == Path::new("/") {
        return Err(ImportError::NoTree { path: real });
    }
    Ok(real)
}
