//! The record of what was placed in a jail: beside the image of a named one, in the store's `trees` for one that lives
//! at a path.

use super::MinimalImageError;
use crate::error::At;
use crate::store::Store;
use jaula_plan::minimal::{Origin, RECORD_VERSION, Record};
use jaula_sys::dir::Dir;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
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

/// Where the record of the jail at this path is.
pub(super) fn place(store: &Store, jail: &Path) -> PathBuf {
    let hash = Sha256::digest(jail.as_os_str().as_bytes());
    let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    store.root().join("trees").join(format!("{name}.json"))
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
    let dir = store.made("trees")?;
    let path = place(store, jail);
    let name = path.file_name().unwrap_or_default().to_owned();
    let mut fresh = name.clone();
    fresh.push(".new");
    let text = text(record)?;
    let opened = Dir::open(&dir).at("open", &dir)?;
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
    let mut file = opened.create_file(&fresh, 0o600).at("make", &path)?;
    file.write_all(&text).at("write", &path)?;
    opened.rename(&fresh, &opened, &name).at("rename", &path)?;
    Ok(())
}

pub(super) fn text(record: &Record) -> Result<Vec<u8>, MinimalImageError> {
    serde_json::to_vec(record).map_err(|source| MinimalImageError::Record {
        path: PathBuf::from(NAME),
        source,
    })
}
