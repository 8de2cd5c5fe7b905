//! A directory that is no image as an archive, and such a directory removed.

use super::{About, ExportError, absolute, export};
use crate::engine::Engine;
use crate::error::{At, EngineError};
use crate::event::Observer;
use jaula_plan::step::{Compression, Step};
use jaula_sys::dir::Dir;
use std::path::Path;

impl Engine {
    /// Writes what is in `dir` as an archive.
    ///
    /// # Errors
    /// [`ExportError`]; nothing of the archive is left then.
    pub fn pack(
        &self,
        dir: &Path,
        path: &Path,
        compression: Compression,
        observer: &dyn Observer,
    ) -> Result<(), EngineError> {
        let step = Step::WriteArchive {
            root: dir.to_owned(),
            path: absolute(path)?,
            compression,
        };
        Ok(export(self.store(), &step, &About::default(), observer)?)
    }

    /// Removes a directory that a run of the caller's own filled, with all that is in it. No link is followed and no
    /// mount crossed.
    ///
    /// # Errors
    /// [`ExportError::Io`].
    pub fn discard(&self, dir: &Path) -> Result<(), EngineError> {
        let path = absolute(dir)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ExportError::Occupied { path }.into());
        };
        let parent = Dir::open(parent)
            .at("open", parent)
            .map_err(ExportError::from)?;
        crate::remove::tree(&parent, name)
            .map_err(std::io::Error::other)
            .at("remove", &path)
            .map_err(ExportError::from)?;
        Ok(())
    }
}
