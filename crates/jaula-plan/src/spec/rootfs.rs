//! What an image is to be made of.

use super::hook::Hook;
use super::settings::{PathRule, Settings};
use super::source::SourceOptions;
use crate::names::{Arch, Digest, DistroName, PackageName, Suite, Tag};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How much of the distribution goes in, as debootstrap(8) and mmdebstrap(1) define it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Nothing but what is asked for by name, and what that needs.
    Custom,
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
    pub const ALL: [Self; 7] = [
        Self::Custom,
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
            Self::Custom => "custom",
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
#[error(
    "unknown variant {0:?}: use custom, essential, apt, minbase, buildd, important or standard"
)]
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

/// What keeps packages' scripts from starting services while an image is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Guard {
    /// A `policy-rc.d` that allows nothing (invoke-rc.d(8)).
    Policy,
    /// A start-stop-daemon(8) that does nothing.
    Starter,
}

/// What programs of apt(8) that are run by hooks find in the tree, and what of it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct AptTraces {
    /// The lists of packages are there from the setup hooks on, and what apt leaves in the tree goes at the end.
    pub lent: bool,
    /// Lists stay all the same.
    pub lists: bool,
    /// Package files and caches stay all the same.
    pub cache: bool,
}

/// An image to be made from Debian-family packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// The distribution.
    pub distro: DistroName,
    /// Its suite; the distribution's default when absent.
    pub suite: Option<Suite>,
    /// How it is made.
    pub options: ImageOptions,
}

/// How an image is made: everything of an [`ImageSpec`] but what a reference names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ImageOptions {
    /// Architecture; the host's when absent.
    pub arch: Option<Arch>,
    /// Further architectures, for packages asked for as `NAME:ARCH` and what they need (Multi-Arch).
    pub foreign_archs: Vec<Arch>,
    /// How much goes in.
    pub variant: Variant,
    /// Packages asked for besides the variant.
    pub include: Vec<Want>,
    /// Tasks asked for (`Task` of the indices), as tasksel(8) names them.
    pub tasks: Vec<String>,
    /// Package files of the host to be installed too.
    pub debs: Vec<PathBuf>,
    /// Packages that may not be chosen.
    pub exclude: Vec<PackageName>,
    /// Packages that are not chosen for their own sake, but come where others need them.
    pub spared: Vec<PackageName>,
    /// Whether `Recommends` are followed.
    pub recommends: bool,
    /// Only what is named or chosen by the variant, without what that needs; whether it can be configured is dpkg's to say.
    pub alone: bool,
    /// Where packages come from.
    pub sources: SourceOptions,
    /// Whether `/bin` and its like are links into `/usr`; as the release has it when absent.
    pub merged_usr: Option<bool>,
    /// Unpack only: the packages are configured later, where they can run (`jaula finish`).
    pub unpack_only: bool,
    /// What does not keep packages' scripts from starting services.
    pub unguarded: Vec<Guard>,
    /// What hooks' programs of apt(8) find, and what stays of them.
    pub apt_traces: AptTraces,
    /// Files of packages that are left out.
    pub paths: Vec<PathRule>,
    /// What is set afterwards.
    pub settings: Settings,
    /// What the user runs meanwhile.
    pub hooks: Vec<Hook>,
}

impl ImageOptions {
    /// The files of the host whose content goes into the image.
    pub fn local_files(&self) -> Vec<&Path> {
        let hooks = self.hooks.iter().flat_map(|hook| hook.action.reads());
        self.debs
            .iter()
            .map(PathBuf::as_path)
            .chain(hooks)
            .collect()
    }

    /// Whether the same request gives the same image. When not, it is made anew each time that it is asked for.
    pub fn is_repeatable(&self) -> bool {
        self.hooks.iter().all(|hook| hook.action.is_of_the_tree())
    }

    /// The specification of an image of this distribution; none when the reference names no distribution.
    pub fn spec(&self, reference: &Reference) -> Option<ImageSpec> {
        let Reference::Distro { distro, suite } = reference else {
            return None;
        };
        Some(ImageSpec {
            distro: distro.clone(),
            suite: suite.clone(),
            options: self.clone(),
        })
    }
}

/// A package asked for: `name[:arch][=version][/suite]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Want {
    /// The package.
    pub name: PackageName,
    /// Of this architecture, when given.
    pub arch: Option<Arch>,
    /// Exactly this version, when given.
    pub version: Option<String>,
    /// From this suite, when given.
    pub suite: Option<String>,
}

impl Want {
    /// Any version of this package.
    pub const fn any(name: PackageName) -> Self {
        Self {
            name,
            arch: None,
            version: None,
            suite: None,
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if let Some(arch) = &self.arch {
            write!(f, ":{arch}")?;
        }
        if let Some(version) = &self.version {
            write!(f, "={version}")?;
        }
        if let Some(suite) = &self.suite {
            write!(f, "/{suite}")?;
        }
        Ok(())
    }
}
