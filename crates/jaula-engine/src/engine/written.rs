//! What was written of images, so that it is not written again while it is there as it was left.

use super::Engine;
use crate::error::{At, EngineError};
use crate::export::ExportTarget;
use jaula_plan::names::Digest;
use sha2::{Digest as _, Sha256};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

impl Engine {
    /// Where it is noted what was written to a path.
    fn note_of(&self, path: &Path) -> PathBuf {
        let hash: [u8; 32] = Sha256::digest(path.as_os_str().as_bytes()).into();
        self.store()
            .root()
            .join("written")
            .join(Digest(hash).to_string())
    }

    /// Whether what is at `path` is what was last written there of this image, as far as inode, size and time tell.
    pub fn is_written(&self, image: &Digest, path: &Path, target: &ExportTarget) -> bool {
        let noted = std::fs::read_to_string(self.note_of(path));
        noted.is_ok_and(|noted| mark(image, path, target).is_ok_and(|mark| noted == mark))
    }

    /// Notes it.
    ///
    /// # Errors
    /// [`EngineError::Look`] when it cannot be looked at or noted.
    pub fn note_written(
        &self,
        image: &Digest,
        path: &Path,
        target: &ExportTarget,
    ) -> Result<(), EngineError> {
        self.store().made("written")?;
        let (note, mark) = (self.note_of(path), mark(image, path, target));
        let mark = mark.at("look at", path)?;
        Ok(std::fs::write(&note, mark).at("write", &note)?)
    }
}

fn mark(image: &Digest, path: &Path, target: &ExportTarget) -> std::io::Result<String> {
    let meta = std::fs::symlink_metadata(path)?;
    let (dev, inode, size) = (meta.dev(), meta.ino(), meta.size());
    // A directory's size and time say what was put into it; what lies deeper is its owner's.
    let (second, nano) = (meta.ctime(), meta.ctime_nsec());
    Ok(format!(
        "1 {image} {target:?} {dev} {inode} {size} {second}.{nano}\n"
    ))
}
