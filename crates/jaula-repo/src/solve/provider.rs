//! The problem as the SAT solver wants it.
//!
//! A solvable is one version of one real package; of a name at most one can be chosen. A dependency
//! becomes the union of exactly those versions that satisfy it, whether by name or by `Provides`, so
//! the solver knows nothing of virtual packages. `Conflicts` and `Breaks` become constraints that
//! forbid exactly the versions they mean.

use super::error::SolveError;
use super::explain::{self, Explanation};
use super::pool::{CandIx, GroupIx, Kind, NameIx, Pool};
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, DenseIndex, Dependencies,
    DependencyProvider, HintDependenciesAvailable, Interner, KnownDependencies, NameId, Problem,
    Requirement, SolvableId, Solver, SolverCache, StringId, UnsolvableOrCancelled, VersionSetId,
    VersionSetUnionId,
};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;

/// After so many questions whether to go on the search is given up. GNOME, KDE and LibreOffice
/// together need six thousand.
const MOST_STEPS: u64 = 50_000;

/// How often the set is extended by recommended packages, each time by those of the packages that
/// came last.
const RECOMMEND_ROUNDS: usize = 16;

/// Finds a set of packages for `wants`. `guide` is a set that nearly is a solution: it is preferred
/// wherever there is a choice.
pub(super) fn solve(
    pool: &mut Pool<'_>,
    wants: &[GroupIx],
    guide: &[CandIx],
    recommends: bool,
) -> Result<Vec<CandIx>, SolveError> {
    let mut soft: Vec<CandIx> = Vec::new();
    let mut rounds = if recommends { RECOMMEND_ROUNDS } else { 0 };
    loop {
        let picked = solve_once(pool, wants, guide, &soft)?;
        if rounds == 0 {
            return Ok(picked);
        }
        rounds -= 1;
        let more = unmet_recommends(pool, &picked, &soft);
        if more.is_empty() {
            return Ok(picked);
        }
        soft.extend(more);
    }
}

/// For each unmet recommendation of the set the first choice, without those tried before.
fn unmet_recommends(pool: &mut Pool<'_>, picked: &[CandIx], tried: &[CandIx]) -> Vec<CandIx> {
    let set: BTreeSet<CandIx> = picked.iter().copied().collect();
    let mut more = Vec::new();
    for cand in picked {
        let deps = pool.deps(*cand);
        for (_, group) in deps.wanted.iter().filter(|(k, _)| *k == Kind::Recommends) {
            let choices = choices(pool, *group, &set);
            if choices.iter().any(|c| set.contains(c)) {
                continue;
            }
            more.extend(
                choices
                    .into_iter()
                    .find(|c| !pool.is_forbidden(*c) && !tried.contains(c) && !more.contains(c)),
            );
        }
    }
    more
}

/// All that satisfies a group, best first: what is preferred, then alternative by alternative the
/// real package, newest first, then the providers as APT values them.
fn choices(pool: &mut Pool<'_>, group: GroupIx, preferred: &BTreeSet<CandIx>) -> Vec<CandIx> {
    let mut all: Vec<CandIx> = Vec::new();
    for alt in pool.alts(group).iter() {
        let target = pool.alt_target(*alt);
        let mut list: Vec<CandIx> = pool.matches(*alt).to_vec();
        let older: BTreeSet<CandIx> = list
            .iter()
            .copied()
            .filter(|c| {
                let name = pool.cand_name_ix(*c);
                pool.candidate(name) != Some(*c)
            })
            .collect();
        // Stable: among versions of one package the newest stays first, among equally good providers
        // the one that the indices name first.
        list.sort_by(|a, b| {
            let key = |c: &CandIx| {
                (
                    !pool.is_called(*c, target),
                    older.contains(c),
                    pool.merit(*c),
                )
            };
            key(a).cmp(&key(b))
        });
        for cand in list {
            if !all.contains(&cand) {
                all.push(cand);
            }
        }
    }
    all.sort_by_key(|c| !preferred.contains(c));
    all
}

fn solve_once(
    pool: &mut Pool<'_>,
    wants: &[GroupIx],
    guide: &[CandIx],
    soft: &[CandIx],
) -> Result<Vec<CandIx>, SolveError> {
    let mut preferred: BTreeSet<CandIx> = guide.iter().copied().collect();
    preferred.extend(pool.installed());
    let installed = pool.installed().to_vec();
    let provider = Provider {
        pool: RefCell::new(pool),
        sets: RefCell::default(),
        requirements: RefCell::default(),
        preferred,
        steps: Cell::new(0),
    };
    let mut roots: Vec<ConditionalRequirement> = Vec::new();
    for cand in &installed {
        roots.push(provider.stays(*cand).into());
    }
    for group in wants {
        roots.push(provider.requirement(*group).into());
    }
    let mut solver = Solver::new(provider);
    let problem = Problem::new()
        .requirements(roots)
        .soft_requirements(soft.iter().map(|c| solvable(*c)).collect::<Vec<_>>());
    match solver.solve(problem) {
        Ok(solvables) => {
            let mut picked: Vec<CandIx> = solvables.into_iter().map(cand).collect();
            picked.sort_unstable();
            Ok(picked)
        }
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            let graph = conflict.graph(&solver);
            let explanation: Explanation = explain::explain(solver.provider(), &graph, wants);
            Err(SolveError::Unsolvable(explanation))
        }
        Err(UnsolvableOrCancelled::Cancelled(_)) => Err(SolveError::GaveUp { steps: MOST_STEPS }),
    }
}

pub(super) fn solvable(cand: CandIx) -> SolvableId {
    SolvableId::from_raw(cand.0)
}

pub(super) fn cand(solvable: SolvableId) -> CandIx {
    CandIx(solvable.into_raw())
}

fn name_id(name: NameIx) -> NameId {
    NameId::from_raw(name.0)
}

fn name_ix(id: NameId) -> NameIx {
    NameIx(id.into_raw())
}

/// Versions of one name.
struct Set {
    name: NameIx,
    members: Vec<CandIx>,
    /// All but the members.
    negated: bool,
}

#[derive(Default)]
struct Sets {
    sets: Vec<Set>,
    unions: Vec<Vec<VersionSetId>>,
}

impl Sets {
    fn push(&mut self, set: Set) -> VersionSetId {
        let id = VersionSetId::from_index(self.sets.len());
        self.sets.push(set);
        id
    }
}

/// What a requirement stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A dependency or a wish.
    Group(GroupIx),
    /// An installed package stays, in whatever version.
    Stays(CandIx),
}

#[derive(Default)]
struct Requirements {
    of_group: HashMap<GroupIx, Requirement>,
    meaning: HashMap<Requirement, Meaning>,
}

pub(super) struct Provider<'p, 'u> {
    pub(super) pool: RefCell<&'p mut Pool<'u>>,
    sets: RefCell<Sets>,
    requirements: RefCell<Requirements>,
    preferred: BTreeSet<CandIx>,
    steps: Cell<u64>,
}

impl Provider<'_, '_> {
    pub(super) fn meaning(&self, requirement: Requirement) -> Option<Meaning> {
        self.requirements
            .borrow()
            .meaning
            .get(&requirement)
            .copied()
    }

    fn stays(&self, cand: CandIx) -> Requirement {
        let pool = &mut **self.pool.borrow_mut();
        let name = pool.cand_name_ix(cand);
        let members = pool.cands(name).to_vec();
        let set = self.sets.borrow_mut().push(Set {
            name,
            members,
            negated: false,
        });
        let requirement = Requirement::Single(set);
        self.requirements
            .borrow_mut()
            .meaning
            .insert(requirement, Meaning::Stays(cand));
        requirement
    }

    fn requirement(&self, group: GroupIx) -> Requirement {
        if let Some(requirement) = self.requirements.borrow().of_group.get(&group) {
            return *requirement;
        }
        let pool = &mut **self.pool.borrow_mut();
        let mut by_name: Vec<(NameIx, Vec<CandIx>)> = Vec::new();
        for cand in choices(pool, group, &self.preferred) {
            let name = pool.cand_name_ix(cand);
            match by_name.iter_mut().find(|(n, _)| *n == name) {
                Some((_, members)) => members.push(cand),
                None => by_name.push((name, vec![cand])),
            }
        }
        if by_name.is_empty() {
            // Nobody satisfies it: an empty set of any name says so.
            let text = pool.group_text(group);
            let name = pool.name(text);
            by_name.push((name, Vec::new()));
        }
        let mut sets = self.sets.borrow_mut();
        let mut ids: Vec<VersionSetId> = by_name
            .into_iter()
            .map(|(name, members)| {
                sets.push(Set {
                    name,
                    members,
                    negated: false,
                })
            })
            .collect();
        let requirement = match ids.pop() {
            Some(only) if ids.is_empty() => Requirement::Single(only),
            last => {
                ids.extend(last);
                let union = VersionSetUnionId::from_index(sets.unions.len());
                sets.unions.push(ids);
                Requirement::Union(union)
            }
        };
        let mut requirements = self.requirements.borrow_mut();
        requirements.of_group.insert(group, requirement);
        requirements
            .meaning
            .insert(requirement, Meaning::Group(group));
        requirement
    }

    fn constraints(&self, cand: CandIx) -> Vec<VersionSetId> {
        let pool = &mut **self.pool.borrow_mut();
        let deps = pool.deps(cand);
        let mut by_name: Vec<(NameIx, Vec<CandIx>)> = Vec::new();
        for alt in &deps.refused {
            for refused in pool.refused(cand, *alt) {
                let name = pool.cand_name_ix(refused);
                match by_name.iter_mut().find(|(n, _)| *n == name) {
                    Some((_, members)) if members.contains(&refused) => {}
                    Some((_, members)) => members.push(refused),
                    None => by_name.push((name, vec![refused])),
                }
            }
        }
        let mut sets = self.sets.borrow_mut();
        by_name
            .into_iter()
            .map(|(name, members)| {
                sets.push(Set {
                    name,
                    members,
                    negated: true,
                })
            })
            .collect()
    }
}

impl Interner for Provider<'_, '_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        let pool = self.pool.borrow();
        let cand = cand(solvable);
        format!("{} {}", pool.cand_shown(cand), pool.version(cand))
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        self.pool.borrow().name_text(name_ix(name)).to_owned()
    }

    fn display_version_set(&self, version_set: VersionSetId) -> impl Display + '_ {
        format!("set {}", version_set.to_index())
    }

    fn display_string(&self, _: StringId) -> impl Display + '_ {
        "excluded by the request or by a pin"
    }

    fn version_set_name(&self, version_set: VersionSetId) -> NameId {
        name_id(self.sets.borrow().sets[version_set.to_index()].name)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        name_id(self.pool.borrow().cand_name_ix(cand(solvable)))
    }

    fn version_sets_in_union(
        &self,
        union: VersionSetUnionId,
    ) -> impl Iterator<Item = VersionSetId> {
        self.sets.borrow().unions[union.to_index()]
            .clone()
            .into_iter()
    }

    fn resolve_condition(&self, _: ConditionId) -> Condition {
        // No requirement of ours has a condition, so there is no id to resolve.
        Condition::Requirement(VersionSetId::from_index(0))
    }
}

impl DependencyProvider for Provider<'_, '_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        version_set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let sets = self.sets.borrow();
        let set = &sets.sets[version_set.to_index()];
        let keep = |s: &SolvableId| (set.members.contains(&cand(*s)) != set.negated) != inverse;
        candidates.iter().copied().filter(keep).collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates<SolvableId>> {
        let pool = &mut **self.pool.borrow_mut();
        let name = name_ix(name);
        let candidates: Vec<SolvableId> = pool.cands(name).iter().map(|c| solvable(*c)).collect();
        let all = pool.is_excluded(name);
        let excluded = candidates
            .iter()
            .filter(|s| all || pool.is_forbidden(cand(**s)))
            .map(|s| (*s, StringId::from_index(0)))
            .collect();
        Some(Candidates {
            candidates,
            excluded,
            hint_dependencies_available: HintDependenciesAvailable::None,
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        let pool = &mut **self.pool.borrow_mut();
        // Numbers of one name are given newest first.
        solvables.sort_by_cached_key(|s| {
            let cand = cand(*s);
            let name = pool.cand_name_ix(cand);
            (
                !self.preferred.contains(&cand),
                pool.candidate(name) != Some(cand),
                cand,
            )
        });
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let cand = cand(solvable);
        let deps = self.pool.borrow_mut().deps(cand);
        let requirements = deps
            .wanted
            .iter()
            .filter(|(kind, _)| kind.critical())
            .map(|(_, group)| self.requirement(*group).into())
            .collect();
        Dependencies::Known(KnownDependencies {
            requirements,
            constrains: self.constraints(cand),
        })
    }

    fn should_cancel_with_value(&self) -> Option<Box<dyn Any>> {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        (steps > MOST_STEPS).then(|| Box::new(()) as Box<dyn Any>)
    }
}
