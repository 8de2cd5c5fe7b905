//! The packages a request can reach, read from the indices only when somebody asks for them.
//!
//! Everything gets a small number on first sight: names, candidates (one version of one package),
//! alternatives (`b (>= 1)`) and groups (`a | b (>= 1)`). The numbers are given in the order of
//! discovery, so they are the same in every run.

use super::Request;
use super::universe::{ArchIx, NATIVE, PackageRef, Universe, candidate};
use crate::deb::packages::{MultiArch, Package, Priority};
use crate::deb::relation::{self, Alternative};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// A package name of one architecture, real or virtual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NameIx(pub(super) u32);

/// One version of one package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CandIx(pub(super) u32);

/// One alternative of a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AltIx(u32);

/// A dependency: alternatives of which one is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupIx(u32);

/// The fields that ask for other packages, in the order in which APT reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    PreDepends,
    Depends,
    Recommends,
    Suggests,
}

impl Kind {
    /// Whether the package cannot be installed without.
    pub(super) fn critical(self) -> bool {
        matches!(self, Self::PreDepends | Self::Depends)
    }
}

/// The relations of one candidate.
#[derive(Debug, Default)]
pub(super) struct Deps {
    /// What it asks for. An unreadable group is here too and cannot be satisfied.
    pub(super) wanted: Vec<(Kind, GroupIx)>,
    /// What it conflicts with or breaks.
    pub(super) refused: Vec<AltIx>,
}

/// A package that provides a name, and the provided version where it gives one.
pub(super) type Provision<'u> = (CandIx, Option<&'u str>);

struct NameData<'u> {
    text: &'u str,
    arch: ArchIx,
    /// Newest first, each version once.
    cands: Option<Rc<[CandIx]>>,
    /// Who provides the name, for whichever architecture, in the order of the sources, and in which version.
    provs: Option<Rc<[Provision<'u>]>>,
    candidate: Option<CandIx>,
}

struct CandData<'u> {
    name: NameIx,
    at: PackageRef,
    files: Vec<PackageRef>,
    priority: i32,
    package: Package<'u>,
    deps: Option<Rc<Deps>>,
}

struct AltData<'u> {
    text: &'u str,
    parsed: Alternative<'u>,
    scope: Scope,
    matches: Option<Rc<[CandIx]>>,
}

/// Which architecture an alternative without a qualifier is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scope {
    /// That of who depends.
    One(ArchIx),
    /// Conflicts are with a package of whichever architecture.
    All,
    /// What dpkg demands of packages of one name and several architectures (Multi-Arch, "co-installation"); nobody
    /// wrote it down.
    Siblings,
}

impl Scope {
    fn arch(self) -> ArchIx {
        match self {
            Self::One(arch) => arch,
            Self::All | Self::Siblings => NATIVE,
        }
    }
}

struct GroupData<'u> {
    text: &'u str,
    alts: Rc<[AltIx]>,
    readable: bool,
}

/// See the module.
pub(super) struct Pool<'u> {
    universe: &'u Universe<'u>,
    name_of: HashMap<(&'u str, ArchIx), NameIx>,
    names: Vec<NameData<'u>>,
    cands: Vec<CandData<'u>>,
    alt_of: HashMap<(&'u str, Scope), AltIx>,
    alts: Vec<AltData<'u>>,
    group_of: HashMap<(&'u str, ArchIx), GroupIx>,
    groups: Vec<GroupData<'u>>,
    excluded: HashSet<&'u str>,
    installed: Vec<CandIx>,
    /// The versions that are there.
    current: HashMap<(&'u str, ArchIx), &'u str>,
    /// Versions that were asked for in so many words: no pin forbids them.
    explicit: HashSet<CandIx>,
    recommends: bool,
}

/// A name and nothing more.
fn bare(name: &str) -> Alternative<'_> {
    Alternative {
        name,
        arch_qualifier: None,
        version: None,
        arches: None,
        profiles: None,
    }
}

fn number(len: usize) -> u32 {
    // Every entry comes from distinct text in an index, and an index is smaller than 4 GiB.
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl<'u> Pool<'u> {
    pub(super) fn new(universe: &'u Universe<'u>, request: &'u Request) -> Self {
        let mut pool = Self {
            universe,
            name_of: HashMap::new(),
            names: Vec::new(),
            cands: Vec::new(),
            alt_of: HashMap::new(),
            alts: Vec::new(),
            group_of: HashMap::new(),
            groups: Vec::new(),
            excluded: request.exclude.iter().map(String::as_str).collect(),
            installed: Vec::new(),
            current: HashMap::new(),
            explicit: HashSet::new(),
            recommends: request.recommends,
        };
        for at in &request.installed {
            if let Some(package) = universe.package(*at)
                && let Some(arch) = universe.arch_of(&package)
            {
                pool.current
                    .insert((package.name(), arch), package.version());
            }
        }
        for at in &request.installed {
            if let Some(cand) = pool.cand_of(*at) {
                pool.installed.push(cand);
            }
        }
        pool.installed.sort_unstable();
        pool.installed.dedup();
        pool
    }

    /// The candidate for a package of the universe.
    pub(super) fn cand_of(&mut self, at: PackageRef) -> Option<CandIx> {
        let package = self.universe.package(at)?;
        let arch = self.universe.arch_of(&package)?;
        let name = self.name_in(package.name(), arch);
        let cands = self.cands(name);
        cands
            .iter()
            .copied()
            .find(|c| self.cands[c.0 as usize].files.contains(&at))
    }

    pub(super) fn universe(&self) -> &'u Universe<'u> {
        self.universe
    }

    /// Whether `Recommends` are followed.
    pub(super) fn recommends(&self) -> bool {
        self.recommends
    }

    /// These versions are asked for in so many words.
    pub(super) fn ask_for(&mut self, cands: &[CandIx]) {
        self.explicit.extend(cands);
    }

    /// Whether a source has this candidate.
    pub(super) fn is_in(&self, cand: CandIx, source: usize) -> bool {
        let files = &self.cands[cand.0 as usize].files;
        files.iter().any(|at| at.source == source)
    }

    /// Whether a source of this release has the candidate.
    pub(super) fn is_of_release(&self, cand: CandIx, release: &str) -> bool {
        let files = &self.cands[cand.0 as usize].files;
        let sources = self.universe.sources();
        files
            .iter()
            .filter_map(|at| sources.get(at.source))
            .any(|source| source.facts.is_called(release))
    }

    /// The versions of a name and the releases that have them, for a message.
    pub(super) fn whereabouts(&mut self, name: NameIx) -> Vec<String> {
        let sources = self.universe.sources();
        let mut all = Vec::new();
        for cand in self.cands(name).iter().take(8) {
            let files = &self.cands[cand.0 as usize].files;
            let mut places: Vec<&str> = files
                .iter()
                .filter_map(|at| sources.get(at.source))
                .filter_map(|s| s.facts.codename.as_deref().or(s.facts.archive.as_deref()))
                .collect();
            places.dedup();
            let version = self.version(*cand);
            all.push(match places.as_slice() {
                [] => version.to_owned(),
                places => format!("{version} in {}", places.join(", ")),
            });
        }
        all
    }

    /// Everything that satisfies a group, alternative by alternative.
    pub(super) fn all_matches(&mut self, group: GroupIx) -> Vec<CandIx> {
        let mut all = Vec::new();
        for alt in self.alts(group).iter() {
            for cand in self.matches(*alt).iter() {
                if !all.contains(cand) {
                    all.push(*cand);
                }
            }
        }
        all
    }

    /// A group that one version satisfies and nothing else.
    pub(super) fn exactly(&mut self, text: &'u str, name: &'u str, cand: CandIx) -> GroupIx {
        let arch = self.arch(self.cand_name_ix(cand));
        let alt = AltIx(number(self.alts.len()));
        self.alts.push(AltData {
            text,
            parsed: bare(name),
            scope: Scope::One(arch),
            matches: Some(Rc::from([cand])),
        });
        self.push_group(text, Rc::from([alt]), true)
    }

    pub(super) fn installed(&self) -> &[CandIx] {
        &self.installed
    }

    pub(super) fn name_count(&self) -> usize {
        self.names.len()
    }

    /// A name of the native architecture.
    pub(super) fn name(&mut self, text: &'u str) -> NameIx {
        self.name_in(text, NATIVE)
    }

    fn name_in(&mut self, text: &'u str, arch: ArchIx) -> NameIx {
        if let Some(name) = self.name_of.get(&(text, arch)) {
            return *name;
        }
        let name = NameIx(number(self.names.len()));
        self.names.push(NameData {
            text,
            arch,
            cands: None,
            provs: None,
            candidate: None,
        });
        self.name_of.insert((text, arch), name);
        name
    }

    /// The name without an architecture.
    pub(super) fn name_text(&self, name: NameIx) -> &'u str {
        self.names[name.0 as usize].text
    }

    fn arch(&self, name: NameIx) -> ArchIx {
        self.names[name.0 as usize].arch
    }

    /// The name as a person writes it: with its architecture when that is a foreign one.
    pub(super) fn name_shown(&self, name: NameIx) -> Cow<'u, str> {
        let text = self.name_text(name);
        match self.arch(name) {
            NATIVE => Cow::Borrowed(text),
            arch => Cow::Owned(format!("{text}:{}", self.universe.arch_name(arch))),
        }
    }

    pub(super) fn is_excluded(&self, name: NameIx) -> bool {
        self.excluded.contains(self.name_text(name))
    }

    /// All versions of a real package, newest first.
    pub(super) fn cands(&mut self, name: NameIx) -> Rc<[CandIx]> {
        if let Some(cands) = &self.names[name.0 as usize].cands {
            return Rc::clone(cands);
        }
        let (text, arch) = (self.name_text(name), self.arch(name));
        let current = self.current.get(&(text, arch)).copied();
        let found = self.universe.versions(text, arch, current);
        let best = candidate(&found, current);
        let mut list = Vec::with_capacity(found.len());
        for version in found {
            let cand = CandIx(number(self.cands.len()));
            self.cands.push(CandData {
                name,
                at: version.at,
                files: version.files,
                priority: version.priority,
                package: version.package,
                deps: None,
            });
            list.push(cand);
        }
        let data = &mut self.names[name.0 as usize];
        data.candidate = best.and_then(|at| list.get(at).copied());
        let list: Rc<[CandIx]> = list.into();
        data.cands = Some(Rc::clone(&list));
        list
    }

    /// The version that is taken unless something forbids it; none of an excluded name.
    pub(super) fn candidate(&mut self, name: NameIx) -> Option<CandIx> {
        if self.is_excluded(name) {
            return None;
        }
        self.cands(name);
        self.names[name.0 as usize].candidate
    }

    /// Makes another version the one that is taken.
    pub(super) fn set_candidate(&mut self, name: NameIx, cand: Option<CandIx>) {
        self.cands(name);
        self.names[name.0 as usize].candidate = cand;
    }

    /// Whether a pin forbids this version, and nobody asked for it in so many words.
    pub(super) fn is_forbidden(&self, cand: CandIx) -> bool {
        self.priority(cand) <= 0
            && !self.explicit.contains(&cand)
            && self.installed.binary_search(&cand).is_err()
    }

    /// APT's priority of a version.
    pub(super) fn priority(&self, cand: CandIx) -> i32 {
        self.cands[cand.0 as usize].priority
    }

    /// Who provides `name`, and in which version.
    pub(super) fn provs(&mut self, name: NameIx) -> Rc<[Provision<'u>]> {
        if let Some(provs) = &self.names[name.0 as usize].provs {
            return Rc::clone(provs);
        }
        let text = self.name_text(name);
        let universe = self.universe;
        let mut list: Vec<Provision<'u>> = Vec::new();
        for (source, s) in universe.sources().iter().enumerate() {
            for (id, version) in s.index.providers(text) {
                if let Some(cand) = self.cand_of(PackageRef { source, id })
                    && !list.contains(&(cand, version))
                {
                    list.push((cand, version));
                }
            }
        }
        let list: Rc<[_]> = list.into();
        self.names[name.0 as usize].provs = Some(Rc::clone(&list));
        list
    }

    pub(super) fn cand_name_ix(&self, cand: CandIx) -> NameIx {
        self.cands[cand.0 as usize].name
    }

    /// The name without an architecture.
    pub(super) fn cand_name(&self, cand: CandIx) -> &'u str {
        self.name_text(self.cand_name_ix(cand))
    }

    /// The name as a person writes it.
    pub(super) fn cand_shown(&self, cand: CandIx) -> Cow<'u, str> {
        self.name_shown(self.cand_name_ix(cand))
    }

    /// Whether a candidate is of this name, of whichever architecture.
    pub(super) fn is_called(&self, cand: CandIx, name: NameIx) -> bool {
        self.cand_name(cand) == self.name_text(name)
    }

    pub(super) fn version(&self, cand: CandIx) -> &'u str {
        self.cands[cand.0 as usize].package.version()
    }

    pub(super) fn package(&self, cand: CandIx) -> Package<'u> {
        self.cands[cand.0 as usize].package
    }

    pub(super) fn package_ref(&self, cand: CandIx) -> PackageRef {
        self.cands[cand.0 as usize].at
    }

    /// What a candidate asks for and refuses.
    pub(super) fn deps(&mut self, cand: CandIx) -> Rc<Deps> {
        if let Some(deps) = &self.cands[cand.0 as usize].deps {
            return Rc::clone(deps);
        }
        let package = self.package(cand);
        let arch = self.arch(self.cand_name_ix(cand));
        let mut deps = Deps::default();
        let wanted = [
            (Kind::PreDepends, package.pre_depends()),
            (Kind::Depends, package.depends()),
            (Kind::Recommends, package.recommends()),
            (Kind::Suggests, package.suggests()),
        ];
        for (kind, text) in wanted {
            for text in pieces(text) {
                deps.wanted.push((kind, self.group_in(text, arch)));
            }
        }
        for text in [package.conflicts(), package.breaks()] {
            for text in pieces(text) {
                match self.alt(text, Scope::All) {
                    Some(alt) => deps.refused.push(alt),
                    // Nobody knows what is refused here, so the package is not taken at all.
                    None => deps.wanted.push((Kind::Depends, self.unreadable(text))),
                }
            }
        }
        deps.refused.extend(self.siblings(cand));
        let deps = Rc::new(deps);
        self.cands[cand.0 as usize].deps = Some(Rc::clone(&deps));
        deps
    }

    /// Versions of the package of other architectures that cannot be there with this one: all, unless both are
    /// `Multi-Arch: same` and of one version.
    fn siblings(&mut self, cand: CandIx) -> Option<AltIx> {
        if self.universe.architectures().len() < 2 {
            return None;
        }
        let (text, own) = (self.cand_name(cand), self.cand_name_ix(cand));
        let package = self.package(cand);
        let mut list = Vec::new();
        let own = self.arch(own);
        for arch in self.universe.archs().filter(|a| *a != own) {
            let name = self.name_in(text, arch);
            for other in self.cands(name).iter() {
                let (a, b) = (package.multi_arch(), self.package(*other).multi_arch());
                let together = a == MultiArch::Same
                    && b == MultiArch::Same
                    && package.version() == self.version(*other);
                if !together {
                    list.push(*other);
                }
            }
        }
        if list.is_empty() {
            return None;
        }
        let alt = AltIx(number(self.alts.len()));
        self.alts.push(AltData {
            text,
            parsed: bare(text),
            scope: Scope::Siblings,
            matches: Some(list.into()),
        });
        Some(alt)
    }

    /// The group written as `text` by somebody of the native architecture.
    pub(super) fn group(&mut self, text: &'u str) -> GroupIx {
        self.group_in(text, NATIVE)
    }

    /// The group written as `text`; an unreadable one has no alternatives.
    fn group_in(&mut self, text: &'u str, arch: ArchIx) -> GroupIx {
        if let Some(group) = self.group_of.get(&(text, arch)) {
            return *group;
        }
        let mut alts = Vec::with_capacity(1);
        let mut readable = text.split('|').count() <= relation::MAX_ALTERNATIVES;
        for text in text.split('|').take(relation::MAX_ALTERNATIVES) {
            match self.alt(text.trim(), Scope::One(arch)) {
                Some(alt) => alts.push(alt),
                None => readable = false,
            }
        }
        if !readable {
            return self.unreadable(text);
        }
        let group = self.push_group(text, alts.into(), true);
        self.group_of.insert((text, arch), group);
        group
    }

    fn unreadable(&mut self, text: &'u str) -> GroupIx {
        self.push_group(text, Rc::from([]), false)
    }

    fn push_group(&mut self, text: &'u str, alts: Rc<[AltIx]>, readable: bool) -> GroupIx {
        let group = GroupIx(number(self.groups.len()));
        self.groups.push(GroupData {
            text,
            alts,
            readable,
        });
        group
    }

    pub(super) fn group_text(&self, group: GroupIx) -> &'u str {
        self.groups[group.0 as usize].text
    }

    pub(super) fn is_readable(&self, group: GroupIx) -> bool {
        self.groups[group.0 as usize].readable
    }

    pub(super) fn alts(&self, group: GroupIx) -> Rc<[AltIx]> {
        Rc::clone(&self.groups[group.0 as usize].alts)
    }

    fn alt(&mut self, text: &'u str, scope: Scope) -> Option<AltIx> {
        if let Some(alt) = self.alt_of.get(&(text, scope)) {
            return Some(*alt);
        }
        let parsed = Alternative::parse(text).ok()?;
        let alt = AltIx(number(self.alts.len()));
        self.alts.push(AltData {
            text,
            parsed,
            scope,
            matches: None,
        });
        self.alt_of.insert((text, scope), alt);
        Some(alt)
    }

    pub(super) fn alt_text(&self, alt: AltIx) -> &'u str {
        self.alts[alt.0 as usize].text
    }

    pub(super) fn alt_target(&mut self, alt: AltIx) -> NameIx {
        let AltData { parsed, scope, .. } = &self.alts[alt.0 as usize];
        let arch = match parsed.arch_qualifier {
            None => scope.arch(),
            Some(qualifier) => self.universe.arch(qualifier).unwrap_or(NATIVE),
        };
        let name = parsed.name;
        self.name_in(name, arch)
    }

    /// Every candidate that satisfies the alternative: versions of the real package, newest first, then the packages
    /// that provide it.
    ///
    /// A versioned relation is satisfied by a provider only if it provides that version. A package of another
    /// architecture than the one that is asked for satisfies it when it is `Multi-Arch: foreign`. `:any` asks for
    /// packages that are `Multi-Arch: allowed`, of whichever architecture.
    pub(super) fn matches(&mut self, alt: AltIx) -> Rc<[CandIx]> {
        if let Some(matches) = &self.alts[alt.0 as usize].matches {
            return Rc::clone(matches);
        }
        let (parsed, scope) = {
            let alt = &self.alts[alt.0 as usize];
            (alt.parsed, alt.scope)
        };
        let (scope, any) = match parsed.arch_qualifier {
            None => (scope, false),
            Some("any") => (Scope::All, true),
            Some("native") => (Scope::One(NATIVE), false),
            Some(arch) => match self.universe.arch(arch) {
                Some(arch) => (Scope::One(arch), false),
                None => return self.set_matches(alt, Vec::new()),
            },
        };
        let fits_arch = |arch: ArchIx, kind: MultiArch| match scope {
            Scope::One(wanted) => arch == wanted || kind == MultiArch::Foreign,
            Scope::All | Scope::Siblings => !any || kind == MultiArch::Allowed,
        };
        let mut list: Vec<CandIx> = Vec::new();
        // Of the architecture that is asked for first.
        let mut archs: Vec<ArchIx> = self.universe.archs().collect();
        archs.sort_by_key(|arch| *arch != scope.arch());
        for arch in archs {
            let name = self.name_in(parsed.name, arch);
            for cand in self.cands(name).iter() {
                if parsed.accepts_version(self.version(*cand))
                    && fits_arch(arch, self.package(*cand).multi_arch())
                {
                    list.push(*cand);
                }
            }
        }
        let name = self.name(parsed.name);
        for (cand, version) in self.provs(name).iter() {
            let fits = match version {
                Some(version) => parsed.accepts_version(version),
                None => parsed.version.is_none(),
            };
            let arch = self.arch(self.cand_name_ix(*cand));
            if fits && fits_arch(arch, self.package(*cand).multi_arch()) && !list.contains(cand) {
                list.push(*cand);
            }
        }
        self.set_matches(alt, list)
    }

    fn set_matches(&mut self, alt: AltIx, list: Vec<CandIx>) -> Rc<[CandIx]> {
        let list: Rc<[CandIx]> = list.into();
        self.alts[alt.0 as usize].matches = Some(Rc::clone(&list));
        list
    }

    /// What `cand` refuses through `alt`: its matches but for `cand`'s own name. A package that can be there for several
    /// architectures does not mean its own other ones either.
    pub(super) fn refused(&mut self, cand: CandIx, alt: AltIx) -> Vec<CandIx> {
        let own = self.cand_name_ix(cand);
        let written = self.alts[alt.0 as usize].scope != Scope::Siblings;
        let several = written && self.package(cand).multi_arch() == MultiArch::Same;
        let matches = self.matches(alt);
        matches
            .iter()
            .copied()
            .filter(|c| self.cand_name_ix(*c) != own && !(several && self.is_called(*c, own)))
            .collect()
    }

    /// How APT values a provider among others, apart from what is installed or wanted already: essential before
    /// protected before others, then the native architecture, then by priority. Smaller is better.
    pub(super) fn merit(&self, cand: CandIx) -> (bool, bool, ArchIx, Priority) {
        let package = self.package(cand);
        let arch = self.arch(self.cand_name_ix(cand));
        (
            !(package.essential() && arch == NATIVE),
            !(package.protected() && arch == NATIVE),
            arch,
            package.priority(),
        )
    }

    /// The order of two providers that APT has no reason to prefer one of: the name that it met last
    /// when it read the indices, as a package or in a relation of one, comes first.
    pub(super) fn tie(&self, a: CandIx, b: CandIx) -> Ordering {
        let met = self.universe.met();
        let (a, b) = (self.cand_name(a), self.cand_name(b));
        met.get(b).cmp(&met.get(a)).then_with(|| b.cmp(a))
    }
}

/// The groups of a field as text.
fn pieces(field: &str) -> impl Iterator<Item = &str> {
    field.split(',').map(str::trim).filter(|t| !t.is_empty())
}
