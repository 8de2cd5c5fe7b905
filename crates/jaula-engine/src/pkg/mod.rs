//! Packages of a jail that is there: chosen by our solver with what is installed in it, fetched and checked outside,
//! unpacked and configured by its own dpkg inside.
//!
//! Copies of the package files are given to dpkg as open descriptors, so that nothing of ours is ever a file in the
//! jail, not when it is killed either, and nothing in the jail reaches the store. Where packages come from is said by the image's origin ([`Origin`]) or by the
//! user, never by a file inside the jail.

mod apply;
mod choose;
mod error;
mod locale;
mod plan;
mod read;

pub use error::PkgError;
pub use jaula_repo::deb::installed::Installed;
pub use locale::LocalePlan;
pub use plan::{Leaving, PkgPlan, Taken};

use crate::engine::{Dry, Engine};
use crate::error::EngineError;
use crate::event::Observer;
use crate::image::{Logins, Origin};
use crate::named::Record;
use jaula_plan::names::{DistroName, JailName, PackageName, Suite};
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec, Want};
use jaula_plan::spec::source::SourceOptions;
use jaula_repo::deb::installed::{AutoMarks, InstalledSet};
use std::path::PathBuf;

/// Where packages are changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PkgTarget {
    /// A named jail.
    Jail(JailName),
    /// A tree of the host.
    Tree(PathBuf),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PkgVerb {
    /// These, and what they need.
    Install(Vec<Want>),
    /// These go, and what needs them.
    Remove(Vec<PackageName>),
    /// These in newer versions; all when empty.
    Upgrade(Vec<PackageName>),
}

/// A change of the packages of a jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PkgSpec {
    /// Where.
    pub target: PkgTarget,
    /// What.
    pub verb: PkgVerb,
    /// Whether configuration files of what goes go too.
    pub purge: bool,
    /// Whether what came for others and is needed no more goes too.
    pub autoremove: bool,
    /// Whether `Recommends` are followed; as the image was made when absent.
    pub recommends: Option<bool>,
    /// Where packages come from.
    pub origin: PkgOrigin,
}

/// Where packages come from, as far as the user says it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PkgOrigin {
    /// This distribution and suite instead of those of the jail's image.
    pub from: Option<(DistroName, Option<Suite>)>,
    /// Mirror, keyrings, components and the like instead of those of the jail's image.
    pub sources: Option<SourceOptions>,
    /// The places that the sources.list(5) inside the jail names. Keys are the host's all the same.
    pub from_jail: bool,
}

impl PkgOrigin {
    /// Whose passwords are told to servers: the host's to none that a jail names.
    fn logins(&self) -> Logins {
        match self.from_jail {
            true => Logins::None,
            false => Logins::Hosts,
        }
    }
}

/// What is installed in a jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// The packages.
    pub set: InstalledSet,
    /// Which of them came for others.
    pub auto: AutoMarks,
    /// The architecture of the jail.
    pub arch: String,
}

impl PkgTarget {
    /// As errors call it.
    pub fn shown(&self) -> String {
        match self {
            Self::Jail(name) => format!("jail {name}"),
            Self::Tree(path) => jaula_plan::explain::shown(path),
        }
    }
}

impl Engine {
    fn record_of(&self, target: &PkgTarget) -> Result<Option<Record>, PkgError> {
        Ok(match target {
            PkgTarget::Jail(name) => Some(crate::named::record(self.store(), name)?),
            PkgTarget::Tree(_) => None,
        })
    }

    /// The distribution and the sources that a jail's packages come from.
    fn packages_of(
        &self,
        target: &PkgTarget,
        origin: &PkgOrigin,
        native: &str,
    ) -> Result<ImageSpec, PkgError> {
        let recorded = self.recorded(target)?;
        let no_sources = || PkgError::NoSources { of: target.shown() };
        let mut spec = match (&origin.from, recorded) {
            (Some((distro, suite)), _) => ImageSpec {
                distro: distro.clone(),
                suite: suite.clone(),
                options: ImageOptions {
                    arch: native.parse().ok(),
                    ..ImageOptions::default()
                },
            },
            (None, Some(recorded)) => recorded,
            // Known by no table: a keyring has to be named.
            (None, None) if origin.from_jail => ImageSpec {
                distro: "jail".parse().map_err(|_| no_sources())?,
                suite: None,
                options: ImageOptions {
                    arch: native.parse().ok(),
                    ..ImageOptions::default()
                },
            },
            (None, None) => return Err(no_sources()),
        };
        if let Some(sources) = &origin.sources {
            spec.options.sources = sources.clone();
        }
        if origin.from_jail {
            // Of all that was said of the image's sources only keys and pins hold for what a jail names.
            let said = std::mem::take(&mut spec.options.sources);
            spec.options.sources = SourceOptions {
                repositories: self.jail_repositories(target)?,
                only_repositories: true,
                keyrings: said.keyrings,
                preferences: said.preferences,
                ..SourceOptions::default()
            };
        }
        Ok(spec)
    }

    /// What the image of a jail was made from.
    fn recorded(&self, target: &PkgTarget) -> Result<Option<ImageSpec>, PkgError> {
        let Some(digest) = self.record_of(target)?.and_then(|record| record.image) else {
            return Ok(None);
        };
        let Some(image) = self.store().image(&digest)? else {
            return Ok(None);
        };
        if let Some(origin) = Origin::read(&image)? {
            return Ok(Some(origin.spec()));
        }
        // Made before there was such a note: by its distribution.
        let info = self.store().info(&digest)?;
        let named = info.distro.parse().ok().zip(info.suite.parse().ok());
        Ok(named.map(|(distro, suite)| ImageSpec {
            distro,
            suite: Some(suite),
            options: ImageOptions {
                arch: info.arch.parse().ok(),
                ..ImageOptions::default()
            },
        }))
    }

    /// What is installed in a jail.
    ///
    /// # Errors
    /// [`EngineError::Pkg`].
    pub fn packages(&self, target: &PkgTarget) -> Result<Inventory, EngineError> {
        Ok(self.inventory(target)?)
    }

    /// What a change of a jail's packages takes.
    ///
    /// # Errors
    /// [`EngineError::Pkg`].
    pub fn plan_pkg(
        &self,
        spec: &PkgSpec,
        observer: &dyn Observer,
        dry: Dry,
    ) -> Result<PkgPlan, EngineError> {
        let target = self.changeable(&spec.target)?;
        let spec = &PkgSpec {
            target,
            ..spec.clone()
        };
        let inventory = self.inventory(&spec.target)?;
        if let PkgVerb::Remove(names) = &spec.verb {
            return Ok(choose::remove(spec, &inventory, names)?);
        }
        let origin = self.packages_of(&spec.target, &spec.origin, &inventory.arch)?;
        let logins = spec.origin.logins();
        self.with_host_as(&origin.options, logins, |host| {
            let planned =
                choose::install(spec, &origin, &inventory, self.store(), host, observer, dry);
            Ok(planned?)
        })
    }

    /// What is to be changed, by its real path. Images of the store share files with each other and with kept packages:
    /// none is ever written.
    fn changeable(&self, target: &PkgTarget) -> Result<PkgTarget, EngineError> {
        let PkgTarget::Tree(path) = target else {
            return Ok(target.clone());
        };
        let path = crate::import::directory(path)?;
        if self.store().holds_image(&path) {
            return Err(EngineError::BadReference {
                reference: jaula_plan::explain::shown(&path),
                why: "it is an image of the store, and an image is never written",
            });
        }
        Ok(PkgTarget::Tree(path))
    }

    /// The packages of a jail's sources whose names hold all of these words: name, version, whether it is installed.
    ///
    /// # Errors
    /// [`EngineError::Pkg`].
    pub fn search_pkg(
        &self,
        target: &PkgTarget,
        origin: &PkgOrigin,
        words: &[String],
        observer: &dyn Observer,
    ) -> Result<Vec<(String, String, Option<String>)>, EngineError> {
        let inventory = self.inventory(target)?;
        let spec = self.packages_of(target, origin, &inventory.arch)?;
        self.with_host_as(&spec.options, origin.logins(), |host| {
            let found = choose::search(&spec, &inventory, words, self.store(), host, observer);
            Ok(found?)
        })
    }
}
