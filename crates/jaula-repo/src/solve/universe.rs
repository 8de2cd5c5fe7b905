//! The indices a request is solved against.

use super::met::names_as_met;
use crate::deb::packages::{Index, Package, PackageId};
use crate::deb::preferences::{Policy, ReleaseFacts, Subject};
use crate::deb::version::cmp_versions;
use std::collections::HashMap;
use std::sync::OnceLock;

/// One index and how much it is preferred.
#[derive(Clone)]
pub struct Source<'i> {
    /// The packages of one suite, component and architecture.
    pub index: &'i Index,
    /// APT's priority of what it has, where no pin names a package: the version of the highest priority is the
    /// candidate, among equal ones the newest (apt_preferences(5)).
    pub priority: i32,
    /// What pins look at.
    pub facts: ReleaseFacts,
    /// Whether it stands for package files of this machine that were named one by one.
    pub local: bool,
}

/// A package in one of the sources of a [`Universe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageRef {
    /// Position of the source in the order it was added.
    pub source: usize,
    /// The package in that source's index.
    pub id: PackageId,
}

/// An architecture by its place: the native one first, then the foreign ones in the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ArchIx(pub(super) u8);

pub(super) const NATIVE: ArchIx = ArchIx(0);

/// More foreign architectures than this are not looked at: dpkg knows some forty in all.
const MOST_ARCHS: usize = 64;

/// One version of one package, in all sources that have the very same file.
pub(super) struct Version<'i> {
    /// Where it is taken from: the first of `files` that a pin does not rule out.
    pub(super) at: PackageRef,
    pub(super) package: Package<'i>,
    pub(super) files: Vec<PackageRef>,
    /// APT's priority. Not above zero: never the candidate.
    pub(super) priority: i32,
}

/// All sources of a system, in order, for one architecture and the foreign ones it has.
///
/// The same version of a package in two sources counts once when it is the same file, as a package of the earlier
/// source.
pub struct Universe<'i> {
    sources: Vec<Source<'i>>,
    archs: Vec<String>,
    policy: Policy,
    /// See [`Universe::met`].
    // Of its own text: a borrow here would tie down the lifetime of everything that is solved.
    met: OnceLock<HashMap<Box<str>, u32>>,
}

impl<'i> Universe<'i> {
    /// An empty universe for `architecture` (and `all`).
    pub fn new(architecture: impl Into<String>) -> Self {
        let architecture = architecture.into();
        Self {
            sources: Vec::new(),
            policy: Policy::new(&architecture, []),
            met: OnceLock::new(),
            archs: vec![architecture],
        }
    }

    /// The same with foreign architectures (`dpkg --add-architecture`), the preferred ones first.
    #[must_use]
    pub fn with_foreign(mut self, archs: impl IntoIterator<Item = String>) -> Self {
        for arch in archs {
            if !self.archs.contains(&arch) && self.archs.len() < MOST_ARCHS {
                self.archs.push(arch);
            }
        }
        self
    }

    /// The same with preferences. Sources are judged when they are added, so this comes first.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Adds a source of which nothing is known behind the others.
    pub fn add(&mut self, index: &'i Index) -> &mut Self {
        self.add_source(index, ReleaseFacts::default())
    }

    /// Adds a source behind the others.
    pub fn add_source(&mut self, index: &'i Index, facts: ReleaseFacts) -> &mut Self {
        self.met = OnceLock::new();
        self.sources.push(Source {
            index,
            priority: self.policy.of_source(&facts),
            facts,
            local: false,
        });
        self
    }

    /// Adds the index of package files of this machine; its number.
    pub fn add_local(&mut self, index: &'i Index) -> usize {
        self.add_source(index, ReleaseFacts::default());
        if let Some(source) = self.sources.last_mut() {
            source.local = true;
        }
        self.sources.len().saturating_sub(1)
    }

    /// The sources in order.
    pub fn sources(&self) -> &[Source<'i>] {
        &self.sources
    }

    /// The native architecture, in Debian's words (`amd64`).
    pub fn architecture(&self) -> &str {
        self.archs.first().map_or("", String::as_str)
    }

    /// All architectures, the native one first.
    pub fn architectures(&self) -> &[String] {
        &self.archs
    }

    /// The package behind a reference; `None` when the reference is of another universe.
    pub fn package(&self, at: PackageRef) -> Option<Package<'i>> {
        let index = self.sources.get(at.source)?.index;
        Some(index.package(at.id))
    }

    /// The candidate version of a package of the native architecture: what APT would install.
    pub fn candidate(&self, name: &str) -> Option<PackageRef> {
        let versions = self.versions(name, NATIVE, None);
        candidate(&versions, None).and_then(|at| versions.get(at).map(|version| version.at))
    }

    /// The versions of a package of one architecture, newest first, with their priorities, and which of them is the
    /// candidate: what `apt-cache policy` tells.
    pub fn policy_of(&self, name: &str, arch: &str) -> (Vec<(&'i str, i32)>, Option<usize>) {
        let Some(arch) = self.arch(arch) else {
            return (Vec::new(), None);
        };
        let versions = self.versions(name, arch, None);
        let candidate = candidate(&versions, None);
        let listed = versions.iter().map(|v| (v.package.version(), v.priority));
        (listed.collect(), candidate)
    }

    /// Another source that has the same version of a package with another content, if there is one. Package files of
    /// this machine and sources that a pin rules out do not count.
    pub fn disagreement(&self, at: PackageRef) -> Option<PackageRef> {
        let package = self.package(at)?;
        let counts = |source: &Source<'_>| !source.local && source.priority > 0;
        if self
            .sources
            .get(at.source)
            .is_some_and(|source| source.local)
        {
            return None;
        }
        let mut all = self.sources.iter().enumerate().filter(|(_, s)| counts(s));
        all.find_map(|(source, s)| {
            s.index.by_name(package.name()).find_map(|id| {
                let other = s.index.package(id);
                let same = other.version() == package.version()
                    && other.architecture() == package.architecture();
                (same && other.sha256() != package.sha256()).then_some(PackageRef { source, id })
            })
        })
    }

    /// All names, numbered in the order in which APT meets them. Made when it is first asked for, and of the sources
    /// that are there by then.
    pub(super) fn met(&self) -> &HashMap<Box<str>, u32> {
        let own = || names_as_met(self).into_iter();
        self.met
            .get_or_init(|| own().map(|(name, at)| (name.into(), at)).collect())
    }

    /// The place of an architecture.
    pub(super) fn arch(&self, name: &str) -> Option<ArchIx> {
        let place = self.archs.iter().position(|arch| arch == name)?;
        u8::try_from(place).ok().map(ArchIx)
    }

    pub(super) fn arch_name(&self, arch: ArchIx) -> &str {
        self.archs
            .get(usize::from(arch.0))
            .map_or("", String::as_str)
    }

    pub(super) fn archs(&self) -> impl Iterator<Item = ArchIx> + use<> {
        // There are at most MOST_ARCHS.
        (0..u8::try_from(self.archs.len()).unwrap_or(u8::MAX)).map(ArchIx)
    }

    /// As which architecture a package is installed here; none when it cannot be.
    pub(super) fn arch_of(&self, package: &Package<'_>) -> Option<ArchIx> {
        match package.architecture() {
            "all" => Some(NATIVE),
            other => self.arch(other),
        }
    }

    /// Every version of a package, newest first. `installed` is the version that is there.
    pub(super) fn versions(
        &self,
        name: &str,
        arch: ArchIx,
        installed: Option<&str>,
    ) -> Vec<Version<'i>> {
        let mut found: Vec<Version<'i>> = Vec::new();
        for (source, s) in self.sources.iter().enumerate() {
            for id in s.index.by_name(name) {
                let (package, at) = (s.index.package(id), PackageRef { source, id });
                if self.arch_of(&package) != Some(arch) {
                    continue;
                }
                let same = found.iter_mut().find(|v| {
                    cmp_versions(v.package.version(), package.version()).is_eq()
                        && v.package.sha256() == package.sha256()
                });
                match same {
                    Some(version) => version.files.push(at),
                    None => found.push(Version {
                        at,
                        package,
                        files: vec![at],
                        priority: 0,
                    }),
                }
            }
        }
        for version in &mut found {
            let of = |at: &PackageRef| self.sources.get(at.source).map_or(0, |s| s.priority);
            let there = installed == Some(version.package.version());
            version.priority =
                self.priority(version, arch)
                    .max(if there { Policy::INSTALLED } else { i32::MIN });
            if let Some(usable) = version.files.iter().find(|at| of(at) > 0)
                && let Some(package) = self.package(*usable)
            {
                (version.at, version.package) = (*usable, package);
            }
        }
        found.sort_by(|a, b| cmp_versions(b.package.version(), a.package.version()));
        found
    }

    fn priority(&self, version: &Version<'_>, arch: ArchIx) -> i32 {
        let sources = || {
            let at = version.files.iter();
            at.filter_map(|at| self.sources.get(at.source))
        };
        if self.policy.has_specific() && sources().any(|s| s.priority != Policy::NEVER) {
            let subject = Subject {
                name: version.package.name(),
                arch: self.arch_name(arch),
                source: version.package.source(),
                version: version.package.version(),
            };
            let files = sources().map(|s| &s.facts).collect::<Vec<_>>();
            if let Some(priority) = self.policy.of_version(subject, files.iter().copied()) {
                return priority;
            }
        }
        sources().map(|s| s.priority).max().unwrap_or(0)
    }
}

/// Which of these versions, newest first, APT takes: the highest priority, and never one that is not above zero or
/// that goes back behind what is installed for less than 1000.
pub(super) fn candidate(versions: &[Version<'_>], installed: Option<&str>) -> Option<usize> {
    let mut best: Option<(i32, usize)> = None;
    for (at, version) in versions.iter().enumerate() {
        let goes_back = installed
            .is_some_and(|there| cmp_versions(version.package.version(), there).is_lt())
            && version.priority < 1000;
        if version.priority > 0
            && !goes_back
            && best.is_none_or(|(priority, _)| version.priority > priority)
        {
            best = Some((version.priority, at));
        }
    }
    best.map(|(_, at)| at)
}
