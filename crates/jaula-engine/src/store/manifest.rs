//! What an image says of itself.

use super::StoreError;
use crate::error::At;
use jaula_plan::names::Digest;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::Path;

/// A manifest is never longer than this.
const LIMIT: u64 = 64 << 10;

/// Whose identifiers the files have on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ids {
    /// Every owner as the packages say, numbered from 0 as the session sees it.
    #[default]
    Full,
    /// One owner for all: the caller had no subordinate identifiers.
    Single,
}

/// `manifest.json` of an image. Texts are shown, never used as paths.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this shape: 1.
    pub version: u32,
    /// The image's digest in hexadecimal digits; set when it is published.
    pub digest: String,
    /// The distribution, or `archive`.
    pub distro: String,
    /// The suite.
    pub suite: String,
    /// The Debian architecture.
    pub arch: String,
    /// The variant.
    pub variant: String,
    /// How many packages.
    pub packages: u64,
    /// Size on disk in bytes; 0 has it counted when it is published.
    pub size: u64,
    /// Its files are no later than this: seconds since 1970, UTC (SOURCE_DATE_EPOCH).
    pub created: i64,
    /// Whose identifiers the files have.
    pub ids: Ids,
    /// The digest of the image that it becomes by `finish`, when its packages are unpacked only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<String>,
    /// The language that its programs are started with (`LANG`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
}

impl Manifest {
    /// Of the image in `dir`. Control characters in its texts are dropped.
    pub(crate) fn read(dir: &Path, digest: &Digest) -> Result<Self, StoreError> {
        let path = dir.join("manifest.json");
        // Enough for most, in one reading.
        let mut text = Vec::with_capacity(4 << 10);
        std::fs::File::open(&path)
            .and_then(|file| file.take(LIMIT).read_to_end(&mut text))
            .at("read", &path)?;
        let mut manifest: Self =
            serde_json::from_slice(&text).map_err(|source| StoreError::Damaged { path, source })?;
        manifest.digest = digest.to_string();
        for text in [
            &mut manifest.distro,
            &mut manifest.suite,
            &mut manifest.arch,
            &mut manifest.variant,
        ] {
            text.retain(|c| !c.is_control());
        }
        Ok(manifest)
    }

    /// The language that its programs are started with, if it says one.
    pub(crate) fn language(&self) -> Option<String> {
        let locale = jaula_plan::settings::locale::Locale::parse(self.lang.as_deref()?);
        locale.ok().map(|locale| locale.to_string())
    }
}
