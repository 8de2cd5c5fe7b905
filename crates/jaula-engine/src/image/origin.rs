//! Where an image's packages came from, in the words of whoever asked: what later work on a jail of it goes by. It
//! lies beside the tree, never in it, so that nothing in a jail can say where its packages come from.

use super::error::BuildError;
use super::plan::ImagePlan;
use crate::error::At;
use crate::store::{Stage, StoreError, write_new};
use crate::view::Image;
use jaula_plan::names::{Arch, DistroName, Suite};
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec};
use jaula_plan::spec::source::SourceOptions;
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read};

/// The file's name in the image's directory.
const NAME: &str = "origin.json";
/// It is never longer than this: keys may stand in it.
const LIMIT: u64 = 4 << 20;

/// `origin.json` of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    version: u32,
    distro: DistroName,
    suite: Suite,
    arch: Arch,
    recommends: bool,
    sources: SourceOptions,
}

impl Origin {
    /// Writes it into a stage.
    ///
    /// # Errors
    /// [`BuildError::Io`].
    pub(super) fn write(plan: &ImagePlan, stage: &Stage) -> Result<(), BuildError> {
        let origin = Self {
            version: 1,
            distro: plan.sources.distro.clone(),
            suite: plan.sources.suite.clone(),
            arch: plan.sources.arch.clone(),
            recommends: plan.spec.options.recommends,
            sources: plan.spec.options.sources.clone(),
        };
        let path = stage.dir().join(NAME);
        let text = serde_json::to_vec(&origin)
            .map_err(std::io::Error::from)
            .at("write", &path)?;
        Ok(write_new(&path, &text)?)
    }

    /// Of an image; none when it was made of no packages, or before there was such a file.
    ///
    /// # Errors
    /// [`BuildError::Store`] when there is one that cannot be read.
    pub fn read(image: &Image) -> Result<Option<Self>, BuildError> {
        let path = image.dir().join(NAME);
        let mut text = Vec::new();
        match std::fs::File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened
                .and_then(|file| file.take(LIMIT).read_to_end(&mut text))
                .at("read", &path)?,
        };
        let read = serde_json::from_slice(&text);
        Ok(Some(
            read.map_err(|source| StoreError::Damaged { path, source })?,
        ))
    }

    /// What is asked to take more from the same places.
    pub fn spec(&self) -> ImageSpec {
        ImageSpec {
            distro: self.distro.clone(),
            suite: Some(self.suite.clone()),
            options: ImageOptions {
                arch: Some(self.arch.clone()),
                recommends: self.recommends,
                sources: self.sources.clone(),
                ..ImageOptions::default()
            },
        }
    }
}
