//! The packages a request can reach, read from the indices only when somebody asks for them.
//!
//! Everything gets a small number on first sight: names, candidates (one version of one package),
//! alternatives (`b (>= 1)`) and groups (`a | b (>= 1)`). The numbers are given in the order of
//! discovery, so they are the same in every run.

use super::Request;
use super::universe::{PackageRef, Universe};
use crate::deb::packages::{MultiArch, Package, Priority};
use crate::deb::relation::{self, Alternative};
use crate::deb::version::cmp_versions;
use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// A package name, real or virtual.
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
    /// Newest first, each version once.
    cands: Option<Rc<[CandIx]>>,
    /// Who provides the name, in the order of the sources, and in which version.
    provs: Option<Rc<[Provision<'u>]>>,
    candidate: Option<CandIx>,
}

struct CandData<'u> {
    name: NameIx,
    at: PackageRef,
    package: Package<'u>,
    deps: Option<Rc<Deps>>,
}

struct AltData<'u> {
    text: &'u str,
    parsed: Alternative<'u>,
    matches: Option<Rc<[CandIx]>>,
}

struct GroupData<'u> {
    text: &'u str,
    alts: Rc<[AltIx]>,
    readable: bool,
}

/// See the module.
pub(super) struct Pool<'u> {
    universe: &'u Universe<'u>,
    name_of: HashMap<&'u str, NameIx>,
    names: Vec<NameData<'u>>,
    cands: Vec<CandData<'u>>,
    alt_of: HashMap<&'u str, AltIx>,
    alts: Vec<AltData<'u>>,
    group_of: HashMap<&'u str, GroupIx>,
    groups: Vec<GroupData<'u>>,
    excluded: HashSet<&'u str>,
    /// See [`Pool::tie`].
    met: OnceCell<HashMap<&'u str, u32>>,
    installed: Vec<CandIx>,
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
            met: OnceCell::new(),
            installed: Vec::new(),
        };
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
        if !self.universe.fits(&package) {
            return None;
        }
        let name = self.name(package.name());
        let version = package.version();
        let cands = self.cands(name);
        cands
            .iter()
            .copied()
            .find(|c| self.cands[c.0 as usize].at == at)
            .or_else(|| cands.iter().copied().find(|c| self.version(*c) == version))
    }

    pub(super) fn installed(&self) -> &[CandIx] {
        &self.installed
    }

    pub(super) fn name_count(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name(&mut self, text: &'u str) -> NameIx {
        if let Some(name) = self.name_of.get(text) {
            return *name;
        }
        let name = NameIx(number(self.names.len()));
        self.names.push(NameData {
            text,
            cands: None,
            provs: None,
            candidate: None,
        });
        self.name_of.insert(text, name);
        name
    }

    pub(super) fn name_text(&self, name: NameIx) -> &'u str {
        self.names[name.0 as usize].text
    }

    pub(super) fn is_excluded(&self, name: NameIx) -> bool {
        self.excluded.contains(self.name_text(name))
    }

    /// All versions of a real package, newest first.
    pub(super) fn cands(&mut self, name: NameIx) -> Rc<[CandIx]> {
        if let Some(cands) = &self.names[name.0 as usize].cands {
            return Rc::clone(cands);
        }
        let text = self.name_text(name);
        let mut found: Vec<(PackageRef, Package<'u>, i16)> = Vec::new();
        for (source, s) in self.universe.sources().iter().enumerate() {
            for id in s.index.by_name(text) {
                let package = s.index.package(id);
                if !self.universe.fits(&package)
                    || found
                        .iter()
                        .any(|(_, p, _)| cmp_versions(p.version(), package.version()).is_eq())
                {
                    continue;
                }
                found.push((PackageRef { source, id }, package, s.pin));
            }
        }
        found.sort_by(|a, b| cmp_versions(b.1.version(), a.1.version()));
        let mut best: Option<(i16, CandIx)> = None;
        let mut list = Vec::with_capacity(found.len());
        for (at, package, pin) in found {
            let cand = CandIx(number(self.cands.len()));
            self.cands.push(CandData {
                name,
                at,
                package,
                deps: None,
            });
            list.push(cand);
            if best.is_none_or(|(p, _)| pin > p) {
                best = Some((pin, cand));
            }
        }
        let list: Rc<[CandIx]> = list.into();
        let data = &mut self.names[name.0 as usize];
        data.cands = Some(Rc::clone(&list));
        data.candidate = best.map(|(_, c)| c);
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

    pub(super) fn cand_name(&self, cand: CandIx) -> &'u str {
        self.name_text(self.cand_name_ix(cand))
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
        let mut deps = Deps::default();
        let wanted = [
            (Kind::PreDepends, package.pre_depends()),
            (Kind::Depends, package.depends()),
            (Kind::Recommends, package.recommends()),
            (Kind::Suggests, package.suggests()),
        ];
        for (kind, text) in wanted {
            for text in pieces(text) {
                deps.wanted.push((kind, self.group(text)));
            }
        }
        for text in [package.conflicts(), package.breaks()] {
            for text in pieces(text) {
                match self.alt(text) {
                    Some(alt) => deps.refused.push(alt),
                    // Nobody knows what is refused here, so the package is not taken at all.
                    None => deps.wanted.push((Kind::Depends, self.unreadable(text))),
                }
            }
        }
        let deps = Rc::new(deps);
        self.cands[cand.0 as usize].deps = Some(Rc::clone(&deps));
        deps
    }

    /// The group written as `text`; an unreadable one has no alternatives.
    pub(super) fn group(&mut self, text: &'u str) -> GroupIx {
        if let Some(group) = self.group_of.get(text) {
            return *group;
        }
        let mut alts = Vec::with_capacity(1);
        let mut readable = text.split('|').count() <= relation::MAX_ALTERNATIVES;
        for text in text.split('|').take(relation::MAX_ALTERNATIVES) {
            match self.alt(text.trim()) {
                Some(alt) => alts.push(alt),
                None => readable = false,
            }
        }
        if !readable {
            return self.unreadable(text);
        }
        self.push_group(text, alts.into(), true)
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
        if readable {
            self.group_of.insert(text, group);
        }
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

    fn alt(&mut self, text: &'u str) -> Option<AltIx> {
        if let Some(alt) = self.alt_of.get(text) {
            return Some(*alt);
        }
        let parsed = Alternative::parse(text).ok()?;
        let alt = AltIx(number(self.alts.len()));
        self.alts.push(AltData {
            text,
            parsed,
            matches: None,
        });
        self.alt_of.insert(text, alt);
        Some(alt)
    }

    pub(super) fn alt_text(&self, alt: AltIx) -> &'u str {
        self.alts[alt.0 as usize].text
    }

    pub(super) fn alt_target(&mut self, alt: AltIx) -> NameIx {
        let name = self.alts[alt.0 as usize].parsed.name;
        self.name(name)
    }

    /// Every candidate that satisfies the alternative: versions of the real package, newest first,
    /// then the packages that provide it.
    ///
    /// A versioned relation is satisfied by a provider only if it provides that version. `:any`
    /// asks for packages that are `Multi-Arch: allowed`; `:native` and the own architecture ask for
    /// nothing more than the name; a foreign architecture is not on offer.
    pub(super) fn matches(&mut self, alt: AltIx) -> Rc<[CandIx]> {
        if let Some(matches) = &self.alts[alt.0 as usize].matches {
            return Rc::clone(matches);
        }
        let parsed = self.alts[alt.0 as usize].parsed;
        let any = match parsed.arch_qualifier {
            None | Some("native") => false,
            Some("any") => true,
            Some(architecture) if architecture == self.universe.architecture() => false,
            Some(_) => return self.set_matches(alt, Vec::new()),
        };
        let name = self.name(parsed.name);
        let mut list: Vec<CandIx> = Vec::new();
        for cand in self.cands(name).iter() {
            if parsed.accepts_version(self.version(*cand)) {
                list.push(*cand);
            }
        }
        for (cand, version) in self.provs(name).iter() {
            let fits = match version {
                Some(version) => parsed.accepts_version(version),
                None => parsed.version.is_none(),
            };
            if fits && !list.contains(cand) {
                list.push(*cand);
            }
        }
        if any {
            list.retain(|c| self.package(*c).multi_arch() == MultiArch::Allowed);
        }
        self.set_matches(alt, list)
    }

    fn set_matches(&mut self, alt: AltIx, list: Vec<CandIx>) -> Rc<[CandIx]> {
        let list: Rc<[CandIx]> = list.into();
        self.alts[alt.0 as usize].matches = Some(Rc::clone(&list));
        list
    }

    /// What `cand` refuses through `alt`: its matches but for `cand`'s own name.
    pub(super) fn refused(&mut self, cand: CandIx, alt: AltIx) -> Vec<CandIx> {
        let own = self.cand_name_ix(cand);
        let matches = self.matches(alt);
        matches
            .iter()
            .copied()
            .filter(|c| self.cand_name_ix(*c) != own)
            .collect()
    }

    /// How APT values a provider among others, apart from what is installed or wanted already:
    /// essential before protected before others, then by priority. Smaller is better.
    pub(super) fn merit(&self, cand: CandIx) -> (bool, bool, Priority) {
        let package = self.package(cand);
        (
            !package.essential(),
            !package.protected(),
            package.priority(),
        )
    }

    /// The order of two providers that APT has no reason to prefer one of: the name that it met last
    /// when it read the indices, as a package or in a relation of one, comes first.
    pub(super) fn tie(&self, a: CandIx, b: CandIx) -> Ordering {
        let met = self.met.get_or_init(|| names_as_met(self.universe));
        let (a, b) = (self.cand_name(a), self.cand_name(b));
        met.get(b).cmp(&met.get(a)).then_with(|| b.cmp(a))
    }
}

/// All names of the universe, numbered in the order in which APT meets them. A pass over every
/// relation of every package: some ten milliseconds, paid only when two providers are equally good.
fn names_as_met<'u>(universe: &Universe<'u>) -> HashMap<&'u str, u32> {
    let mut met: HashMap<&'u str, u32> = HashMap::new();
    let mut meet = |name: &'u str| {
        let next = number(met.len());
        met.entry(name).or_insert(next);
    };
    for source in universe.sources() {
        for package in source.index.iter().filter(|p| universe.fits(p)) {
            meet(package.name());
            for field in [
                package.pre_depends(),
                package.depends(),
                package.conflicts(),
                package.breaks(),
                package.recommends(),
                package.suggests(),
                package.replaces(),
                package.provides(),
            ] {
                for text in field.split([',', '|']) {
                    let text = text.trim_start();
                    let end = text
                        .find([' ', '(', ':', '[', '<', '\n', '\t'])
                        .unwrap_or(text.len());
                    if let Some(name) = text.get(..end).filter(|n| !n.is_empty()) {
                        meet(name);
                    }
                }
            }
        }
    }
    met
}

/// The groups of a field as text.
fn pieces(field: &str) -> impl Iterator<Item = &str> {
    field.split(',').map(str::trim).filter(|t| !t.is_empty())
}
