//! The record of what was placed in a jail: beside the image of a named one, in the store's `trees` for one that lives
//! at a path.

use super::MinimalImageError;
use crate::error::At;
use crate::store::Store;
use jaula_plan::minimal::{Origin, RECORD_VERSION, Record};
use jaula_repo::hex;
use jaula_sys::dir::Dir;
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The record's name beside an image's root.
pub(super) const NAME: &str = "files.json";
/// A record of the most files that a jail may have is below this.
const MOST_BYTES: u64 = 128 << 20;

pub(super) fn origin(meta: &std::fs::Metadata) -> Origin {
    Origin {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.size(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        ctime: (meta.ctime(), meta.ctime_nsec()),
    }
}

/// The same of a name in an open directory.
pub(super) fn origin_of(meta: &jaula_sys::dir::Meta) -> Origin {
    Origin {
        device: meta.device_number(),
        inode: meta.inode,
        size: meta.size,
        mtime: (meta.mtime, meta.mtime_nanos.into()),
        ctime: (meta.ctime, meta.ctime_nanos.into()),
    }
}

/// Where the record of the jail at this path is.
pub(super) fn place(store: &Store, jail: &Path) -> PathBuf {
    let hash = Sha256::digest(jail.as_os_str().as_bytes());
    let name = hex::encode(&hash);
    store.root().join("trees").join(format!("{name}.json"))
}

fn lock_file(store: &Store, jail: &Path) -> Result<(File, PathBuf), MinimalImageError> {
    store.made("trees")?;
    let path = place(store, jail).with_extension("lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).at("open", &path)?;
    Ok((file, path))
}

/// Holds the jail at a path against being filled or updated by others; waits for them. The lock's file stays: whoever
/// waits for it must not be joined by somebody with another one.
pub(super) fn lock(store: &Store, jail: &Path) -> Result<File, MinimalImageError> {
    let (file, path) = lock_file(store, jail)?;
    file.lock().at("lock", &path)?;
    Ok(file)
}

/// The same without waiting; none when somebody else holds it.
pub(super) fn try_lock(store: &Store, jail: &Path) -> Result<Option<File>, MinimalImageError> {
    let (file, path) = lock_file(store, jail)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).at("lock", &path)?,
    }
}

/// Reads a record; none when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Record>, MinimalImageError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.at("open", path)?,
    };
    let mut text = Vec::new();
    file.take(MOST_BYTES)
        .read_to_end(&mut text)
        .at("read", path)?;
    let record: Record =
        serde_json::from_slice(&text).map_err(|source| MinimalImageError::Record {
            path: path.to_owned(),
            source,
        })?;
    match record.version == RECORD_VERSION {
        true => Ok(Some(record)),
        false => Ok(None),
    }
}

/// Writes the record of the jail at a path, there at once or not at all.
pub(super) fn write(store: &Store, jail: &Path, record: &Record) -> Result<(), MinimalImageError> {
    store.made("trees")?;
    put(&place(store, jail), &text(record)?, false)
}

/// Writes a file of the directory of records, there at once or not at all; after a loss of power too when `synced`.
pub(super) fn put(path: &Path, text: &[u8], synced: bool) -> Result<(), MinimalImageError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_owned();
    let mut fresh = name.clone();
    fresh.push(".new");
    let opened = Dir::open(dir).at("open", dir)?;
    match opened.unlink(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(MinimalImageError::Io(crate::error::PathError {
                action: "remove",
                path: dir.join(&fresh),
                source: error,
            }));
        }
        _ => {}
    }
    let mut file = opened.create_file(&fresh, 0o600).at("make", path)?;
    file.write_all(text).at("write", path)?;
    if synced {
        file.sync_data().at("sync", path)?;
    }
    opened.rename(&fresh, &opened, &name).at("rename", path)?;
    Ok(())
}

pub(super) fn text(record: &Record) -> Result<Vec<u8>, MinimalImageError> {
    serde_json::to_vec(record).map_err(|source| MinimalImageError::Record {
        path: PathBuf::from(NAME),
        source,
    })
}
