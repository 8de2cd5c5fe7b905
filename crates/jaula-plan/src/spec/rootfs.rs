//! What an image is to be made of.

use crate::names::{Arch, Component, Digest, DistroName, PackageName, Suite, Tag};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// How much of the distribution goes in, as debootstrap(8) and mmdebstrap(1) define it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Packages marked `Essential: yes` and what they need.
    Essential,
    /// Essential and apt.
    Apt,
    /// Essential, priority `required`, and apt. The default.
    #[default]
    Minbase,
    /// Minbase and build-essential.
    Buildd,
    /// Minbase and priority `important`.
    Important,
    /// Important and priority `standard`.
    Standard,
}

impl Variant {
    /// Every variant, smallest first.
    pub const ALL: [Self; 6] = [
        Self::Essential,
        Self::Apt,
        Self::Minbase,
        Self::Buildd,
        Self::Important,
        Self::Standard,
    ];

    /// The word a user types.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Essential => "essential",
            Self::Apt => "apt",
            Self::Minbase => "minbase",
            Self::Buildd => "buildd",
            Self::Important => "important",
            Self::Standard => "standard",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Variant {
    type Err = UnknownVariant;

    fn from_str(word: &str) -> Result<Self, UnknownVariant> {
        Self::ALL
            .into_iter()
            .find(|v| v.as_str() == word)
            .ok_or_else(|| UnknownVariant(word.to_owned()))
    }
}

/// A word that names no variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown variant {0:?}: use essential, apt, minbase, buildd, important or standard")]
pub struct UnknownVariant(pub String);

/// What `run`, `new` and `build` may be given as REF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A distribution of the table, with a suite or its default one.
    Distro {
        /// The distribution.
        distro: DistroName,
        /// The suite, when one was named after the colon.
        suite: Option<Suite>,
    },
    /// A tag given to an image of the store.
    Tag(Tag),
    /// An image of the store by its digest.
    Digest(Digest),
    /// A directory of the host (a REF with a slash, or `.`).
    Directory(PathBuf),
    /// A tar archive of the host (a REF with a slash or that ends in `.tar`, `.tar.gz`, `.tar.xz`, `.tar.zst`, `.tgz`).
    Archive(PathBuf),
}

/// An image to be made from Debian-family packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// The distribution.
    pub distro: DistroName,
    /// Its suite; the distribution's default when absent.
    pub suite: Option<Suite>,
    /// Architecture; the host's when absent.
    pub arch: Option<Arch>,
    /// How much goes in.
    pub variant: Variant,
    /// Packages asked for besides the variant, `name` or `name=version`.
    pub include: Vec<Want>,
    /// Packages that may not be chosen.
    pub exclude: Vec<PackageName>,
    /// Mirror URL (`http:`, `https:`, `file:`) instead of the host's or the table's.
    pub mirror: Option<String>,
    /// Components instead of the table's.
    pub components: Vec<Component>,
    /// A keyring file instead of the host's or the table's.
    pub keyring: Option<PathBuf>,
}

/// A package asked for by name, perhaps in one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Want {
    /// The package.
    pub name: PackageName,
    /// Exactly this version, when given.
    pub version: Option<String>,
}
