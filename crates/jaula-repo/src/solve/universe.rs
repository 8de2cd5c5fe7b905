//! The indices a request is solved against.

use crate::deb::packages::{Index, Package, PackageId};

/// One index and how much it is preferred.
#[derive(Clone, Copy)]
pub struct Source<'i> {
    /// The packages of one suite, component and architecture.
    pub index: &'i Index,
    /// APT's pin priority: the version of the highest pin is the candidate, among equal pins the
    /// newest. 500 is a normal source, 100 one marked `NotAutomatic` with `ButAutomaticUpgrades`
    /// (apt_preferences(5)).
    pub pin: i16,
}

/// A package in one of the sources of a [`Universe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageRef {
    /// Position of the source in the order it was added.
    pub source: usize,
    /// The package in that source's index.
    pub id: PackageId,
}

/// All sources of a system, in order, for one architecture.
///
/// The same version of a package in two sources counts once, as a package of the earlier source.
pub struct Universe<'i> {
    sources: Vec<Source<'i>>,
    architecture: String,
}

impl<'i> Universe<'i> {
    /// The pin priority of an ordinary source (apt_preferences(5)).
    pub const DEFAULT_PIN: i16 = 500;

    /// An empty universe for `architecture` (and `all`).
    pub fn new(architecture: impl Into<String>) -> Self {
        Self {
            sources: Vec::new(),
            architecture: architecture.into(),
        }
    }

    /// Adds a source of ordinary priority behind the others.
    pub fn add(&mut self, index: &'i Index) -> &mut Self {
        self.add_pinned(index, Self::DEFAULT_PIN)
    }

    /// Adds a source with its own pin priority behind the others.
    pub fn add_pinned(&mut self, index: &'i Index, pin: i16) -> &mut Self {
        self.sources.push(Source { index, pin });
        self
    }

    /// The sources in order.
    pub fn sources(&self) -> &[Source<'i>] {
        &self.sources
    }

    /// The native architecture, in Debian's words (`amd64`).
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The package behind a reference; `None` when the reference is of another universe.
    pub fn package(&self, at: PackageRef) -> Option<Package<'i>> {
        let index = self.sources.get(at.source)?.index;
        Some(index.package(at.id))
    }

    /// Whether a package of this architecture can be installed natively here.
    pub(super) fn fits(&self, package: &Package<'_>) -> bool {
        let architecture = package.architecture();
        architecture == "all" || architecture == self.architecture
    }
}
