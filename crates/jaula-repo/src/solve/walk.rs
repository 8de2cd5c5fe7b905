//! Choosing the way APT chooses (`pkgDepCache::MarkInstall`, APT 2.6).
//!
//! The walk follows dependencies depth first, takes for each the first alternative whose candidate
//! can be marked, and never comes back to a choice. That is quick and what users know, but it can end
//! in a contradiction; whether it did is checked afterwards, independently of the walk.
//!
//! Packages that are there already are never removed here; where APT would do that the walk fails and
//! the solver decides.

use super::pool::{CandIx, Deps, GroupIx, Kind, NameIx, Pool};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// How deep dependencies are followed, a bound for the stack. GNOME needs less than 200.
const DEEPEST: usize = 600;

/// What the walk came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// All packages, also the installed ones.
    pub(super) picked: Vec<CandIx>,
    /// Those that were asked for.
    pub(super) manual: BTreeSet<CandIx>,
    /// What is wanted first, and all that it needs.
    pub(super) base: BTreeSet<CandIx>,
    /// Whether nothing is missing and nothing conflicts.
    pub(super) consistent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Keep,
    Install,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// The version that would be installed; none once it was found to be impossible.
    candidate: Option<CandIx>,
    /// The version that will be there.
    install: Option<CandIx>,
    /// The version that is there.
    current: Option<CandIx>,
    mode: Mode,
    /// Not to be changed any more, because it was asked for or something asked for needs it.
    protect: bool,
}

/// Solves `base`, then `roots` on top of it.
pub(super) fn walk(
    pool: &mut Pool<'_>,
    base: &[GroupIx],
    roots: &[GroupIx],
    recommends: bool,
) -> Outcome {
    let mut there: BTreeMap<NameIx, CandIx> = pool
        .installed()
        .to_vec()
        .into_iter()
        .map(|c| (pool.cand_name_ix(c), c))
        .collect();
    let mut outcome = Outcome {
        consistent: true,
        ..Outcome::default()
    };
    for (stage, wants) in [base, roots].into_iter().enumerate() {
        if wants.is_empty() && stage == 0 {
            continue;
        }
        let mut walk = Walk {
            pool: &mut *pool,
            states: Vec::new(),
            there: &there,
            recommends,
        };
        let (picked, wanted) = walk.stage(wants);
        let everything: Vec<GroupIx> = base.iter().chain(roots).copied().collect();
        let due = if stage == 0 { base } else { &everything };
        outcome.consistent = is_consistent(pool, &picked, due);
        if stage == 0 {
            outcome.manual.extend(picked.iter().copied());
            outcome.base.extend(picked.iter().copied());
        }
        outcome.manual.extend(wanted);
        there = picked.iter().map(|c| (pool.cand_name_ix(*c), *c)).collect();
        outcome.picked = picked;
        if !outcome.consistent {
            break;
        }
    }
    outcome
}

/// Marks what was asked for in a set of packages that the solver found.
pub(super) fn mark_manual(
    pool: &mut Pool<'_>,
    outcome: &mut Outcome,
    base: &[GroupIx],
    roots: &[GroupIx],
) {
    let picked: BTreeSet<CandIx> = outcome.picked.iter().copied().collect();
    let mut todo: Vec<CandIx> = Vec::new();
    for group in base {
        todo.extend(satisfying(pool, *group, &picked));
    }
    while let Some(cand) = todo.pop() {
        if !outcome.manual.insert(cand) {
            continue;
        }
        let deps = pool.deps(cand);
        for (kind, group) in &deps.wanted {
            if kind.critical() {
                todo.extend(satisfying(pool, *group, &picked));
            }
        }
    }
    outcome.base.clone_from(&outcome.manual);
    for group in roots {
        let first = satisfying(pool, *group, &picked).first().copied();
        outcome.manual.extend(first);
    }
}

fn satisfying(pool: &mut Pool<'_>, group: GroupIx, picked: &BTreeSet<CandIx>) -> Vec<CandIx> {
    let mut found = Vec::new();
    for alt in pool.alts(group).iter() {
        found.extend(
            pool.matches(*alt)
                .iter()
                .copied()
                .filter(|c| picked.contains(c)),
        );
    }
    found
}

/// Whether every package of the set has what it needs, none refuses another, no name is there twice,
/// and the wishes are fulfilled. Knows nothing of how the set was found.
pub(super) fn is_consistent(pool: &mut Pool<'_>, picked: &[CandIx], wants: &[GroupIx]) -> bool {
    let set: BTreeSet<CandIx> = picked.iter().copied().collect();
    let names: BTreeSet<NameIx> = picked.iter().map(|c| pool.cand_name_ix(*c)).collect();
    if names.len() != set.len()
        || names.iter().any(|n| pool.is_excluded(*n))
        || picked.iter().any(|c| pool.is_forbidden(*c))
    {
        return false;
    }
    if wants.iter().any(|g| satisfying(pool, *g, &set).is_empty()) {
        return false;
    }
    for cand in picked {
        let deps = pool.deps(*cand);
        for (kind, group) in &deps.wanted {
            if kind.critical() && satisfying(pool, *group, &set).is_empty() {
                return false;
            }
        }
        for alt in &deps.refused {
            if pool.refused(*cand, *alt).iter().any(|c| set.contains(c)) {
                return false;
            }
        }
    }
    true
}

struct Walk<'p, 'u> {
    pool: &'p mut Pool<'u>,
    states: Vec<Option<State>>,
    there: &'p BTreeMap<NameIx, CandIx>,
    recommends: bool,
}

impl Walk<'_, '_> {
    /// Marks all wishes, then what they need, and gives what remains without leftovers.
    fn stage(&mut self, wants: &[GroupIx]) -> (Vec<CandIx>, Vec<CandIx>) {
        for name in self.there.keys() {
            self.state(*name);
        }
        let mut wanted: Vec<NameIx> = Vec::new();
        for group in wants {
            // A wish names one package; where it is virtual the best provider is taken.
            let Some(cand) = self.wish(*group) else {
                continue;
            };
            let name = self.pool.cand_name_ix(cand);
            let state = self.state(name);
            state.candidate = Some(cand);
            state.protect = true;
            self.mark_install(name, false, 0, true);
            wanted.push(name);
        }
        // In the order of the wishes, as apt-get does.
        let mut met = BTreeSet::new();
        wanted.retain(|n| met.insert(*n));
        for name in &wanted {
            self.mark_install(*name, true, 0, true);
        }
        let picked = self.without_leftovers(&wanted);
        let wanted = wanted
            .into_iter()
            .filter_map(|n| self.state(n).install)
            .collect();
        (picked, wanted)
    }

    fn wish(&mut self, group: GroupIx) -> Option<CandIx> {
        let alts = self.pool.alts(group);
        let matches = self.pool.matches(*alts.first()?);
        let target = self.pool.alt_target(*alts.first()?);
        let real: Vec<CandIx> = matches
            .iter()
            .copied()
            .filter(|c| {
                self.pool.cand_name_ix(*c) == target
                    && !self.pool.is_excluded(target)
                    && !self.pool.is_forbidden(*c)
            })
            .collect();
        let candidate = self.state(target).candidate;
        real.iter()
            .copied()
            .find(|c| Some(*c) == candidate)
            .or_else(|| real.first().copied())
            .or_else(|| {
                let first = self.possible(group).into_iter().next();
                self.by_tie(first.unwrap_or_default()).first().copied()
            })
    }

    fn state(&mut self, name: NameIx) -> &mut State {
        let at = name.0 as usize;
        if self.states.len() <= at {
            self.states.resize(self.pool.name_count().max(at + 1), None);
        }
        let (pool, there) = (&mut *self.pool, self.there);
        self.states[at].get_or_insert_with(|| {
            let current = there.get(&name).copied();
            // What is there stays in its version unless a dependency asks for the newer one.
            let candidate = pool.candidate(name);
            State {
                candidate,
                install: current,
                current,
                mode: Mode::Keep,
                protect: false,
            }
        })
    }

    fn of(&mut self, cand: CandIx) -> &mut State {
        let name = self.pool.cand_name_ix(cand);
        self.state(name)
    }

    fn matching(&mut self, group: GroupIx, mut test: impl FnMut(&State, CandIx) -> bool) -> bool {
        for alt in self.pool.alts(group).iter() {
            for cand in self.pool.matches(*alt).iter() {
                if test(self.of(*cand), *cand) {
                    return true;
                }
            }
        }
        false
    }

    fn is_satisfied(&mut self, group: GroupIx) -> bool {
        self.matching(group, |s, c| s.install == Some(c))
    }

    fn is_important(&self, kind: Kind) -> bool {
        kind.critical() || (kind == Kind::Recommends && self.recommends)
    }

    fn is_broken(&mut self, cand: CandIx) -> bool {
        let deps = self.pool.deps(cand);
        deps.wanted
            .iter()
            .any(|(k, g)| self.is_important(*k) && !self.is_satisfied(*g))
            || deps.refused.iter().any(|alt| {
                let refused = self.pool.refused(cand, *alt);
                refused.iter().any(|c| self.of(*c).install == Some(*c))
            })
    }

    /// `pkgDepCache::MarkInstall`.
    fn mark_install(&mut self, name: NameIx, auto: bool, depth: usize, from_user: bool) -> bool {
        if depth > DEEPEST {
            return false;
        }
        let s = *self.state(name);
        let Some(cand) = s.candidate else {
            return false;
        };
        let is_there = s.current == Some(cand);
        // What is protected keeps its mode; what is protected and there may still pass protection on.
        let passes_on = s.mode == Mode::Keep && is_there;
        if s.protect && s.mode != Mode::Install && !passes_on && !from_user {
            return false;
        }
        if !s.protect {
            if is_there && s.install.is_some() && !self.is_broken(cand) {
                return true;
            }
            if !is_there && s.mode == Mode::Install && !self.is_broken(cand) {
                return true;
            }
        }
        if auto && !is_there && !self.satisfiable_by_candidates(name, cand) {
            return false;
        }
        if from_user {
            self.change(name, cand);
        }
        if !auto {
            if !from_user {
                self.change(name, cand);
            }
            return true;
        }
        let give_up = !s.protect && !from_user;
        let deps = self.pool.deps(cand);
        let mut upgrade = Vec::new();
        let mut good = self.push_out(cand, &deps, s.protect, give_up, &mut upgrade);
        if !good && give_up {
            return false;
        }
        if !from_user {
            self.change(name, cand);
        }
        // While its dependencies are looked for nothing may change the package itself.
        self.state(name).protect = true;
        for other in upgrade {
            if self.state(other).mode != Mode::Install
                && !self.mark_install(other, true, depth + 1, false)
            {
                good = false;
            }
        }
        if (good || !give_up) && !self.pull_in(&deps, s.protect, give_up, depth, is_there) {
            good = false;
        }
        self.state(name).protect = s.protect;
        if !good && give_up {
            let state = self.state(name);
            state.install = state.current;
            state.mode = Mode::Keep;
            state.candidate = state.install;
        }
        good
    }

    fn change(&mut self, name: NameIx, cand: CandIx) {
        let state = self.state(name);
        state.install = Some(cand);
        state.mode = if state.current == Some(cand) {
            Mode::Keep
        } else {
            Mode::Install
        };
    }

    /// Drops the candidate when one of its dependencies can never be met.
    fn satisfiable_by_candidates(&mut self, name: NameIx, cand: CandIx) -> bool {
        let deps = self.pool.deps(cand);
        for (kind, group) in &deps.wanted {
            if kind.critical()
                && !self.matching(*group, |s, c| {
                    s.install == Some(c) || s.candidate == Some(c)
                })
            {
                let state = self.state(name);
                if !state.protect {
                    state.candidate = state.current;
                    state.mode = Mode::Keep;
                    state.install = state.current;
                }
                return false;
            }
        }
        true
    }

    /// Makes room for what `cand` refuses (`RemoveConflictsIfNotUpgradeable`).
    fn push_out(
        &mut self,
        cand: CandIx,
        deps: &Deps,
        propagate: bool,
        give_up: bool,
        upgrade: &mut Vec<NameIx>,
    ) -> bool {
        let mut good = true;
        for alt in &deps.refused {
            let refused = self.pool.refused(cand, *alt);
            if !propagate && !refused.iter().any(|c| self.of(*c).install == Some(*c)) {
                continue;
            }
            for other in &refused {
                let name = self.pool.cand_name_ix(*other);
                let state = self.state(name);
                if state.current == Some(*other) {
                    if state.candidate != Some(*other) && state.candidate.is_some() {
                        upgrade.push(name);
                    } else {
                        good = false;
                    }
                } else if state.candidate == Some(*other) {
                    if state.mode == Mode::Install && state.protect {
                        good = false;
                    } else {
                        if state.mode == Mode::Install {
                            state.mode = Mode::Keep;
                            state.install = state.current;
                        }
                        if propagate {
                            state.candidate = state.install;
                            state.protect |= state.current.is_none();
                        }
                    }
                }
                if !good && give_up {
                    return false;
                }
            }
        }
        good
    }

    /// Marks what the package asks for (`MarkInstall_InstallDependencies`).
    fn pull_in(
        &mut self,
        deps: &Rc<Deps>,
        propagate: bool,
        give_up: bool,
        depth: usize,
        is_there: bool,
    ) -> bool {
        let mut good = true;
        // What is satisfied before the first dependency is followed is not looked at again.
        let mut open: Vec<(Kind, GroupIx)> = Vec::new();
        for (kind, group) in &deps.wanted {
            if self.is_important(*kind) && (propagate || !self.is_satisfied(*group)) {
                open.push((*kind, *group));
            }
        }
        for (kind, group) in open {
            let critical = kind.critical();
            if self.is_satisfied(group) {
                if propagate && critical && !self.protect_only_solution(group, depth) {
                    good = false;
                }
                continue;
            }
            if !critical && is_there {
                continue;
            }
            let possible = self.possible(group);
            let only = propagate && critical && possible.iter().map(Vec::len).sum::<usize>() == 1;
            if !self.try_each(possible, only, depth) && critical {
                good = false;
                if give_up {
                    break;
                }
            }
        }
        good
    }

    /// Marks the first that can be marked. `only`: there is no other, so it is protected too.
    fn try_each(&mut self, possible: Vec<Vec<CandIx>>, only: bool, depth: usize) -> bool {
        for equals in possible {
            for cand in self.by_tie(equals) {
                let name = self.pool.cand_name_ix(cand);
                if self.state(name).candidate != Some(cand) {
                    continue;
                }
                if only {
                    if !self.mark_install(name, false, depth + 1, false) {
                        continue;
                    }
                    self.state(name).protect = true;
                }
                if self.mark_install(name, true, depth + 1, false) {
                    return true;
                }
            }
        }
        false
    }

    /// Orders what is equally good. Separate from [`Walk::possible`] because it is dear and most
    /// lists are never looked at.
    fn by_tie(&self, mut equals: Vec<CandIx>) -> Vec<CandIx> {
        if equals.len() > 1 {
            equals.sort_by(|a, b| self.pool.tie(*a, *b));
        }
        equals
    }

    /// What is asked for needs this group, and only one package satisfies it: that one is as good as
    /// asked for.
    fn protect_only_solution(&mut self, group: GroupIx, depth: usize) -> bool {
        let mut only = BTreeSet::new();
        for alt in self.pool.alts(group).iter() {
            for cand in self.pool.matches(*alt).iter() {
                let s = *self.of(*cand);
                let refused = s.protect && s.mode == Mode::Keep && s.current.is_none();
                if (s.candidate == Some(*cand) || s.current == Some(*cand)) && !refused {
                    only.insert(*cand);
                }
            }
        }
        let Some(cand) = only.pop_first() else {
            return true;
        };
        let name = self.pool.cand_name_ix(cand);
        if !only.is_empty() || self.state(name).protect {
            return true;
        }
        self.state(name).protect = true;
        self.mark_install(name, true, depth + 1, false)
    }

    /// The candidates for a group in the order in which they are tried (`getAllPossibleSolutions`):
    /// packages that are there first, then alternative by alternative. Those in one list are equally
    /// good.
    fn possible(&mut self, group: GroupIx) -> Vec<Vec<CandIx>> {
        let (mut there, mut new): (Vec<Vec<CandIx>>, Vec<Vec<CandIx>>) = (Vec::new(), Vec::new());
        let mut met = BTreeSet::new();
        for alt in self.pool.alts(group).iter() {
            let target = self.pool.alt_target(*alt);
            let mut ranked = BTreeMap::new();
            for cand in self.pool.matches(*alt).iter() {
                let s = *self.of(*cand);
                let refused = s.protect && s.mode == Mode::Keep && s.current.is_none();
                if s.candidate != Some(*cand) || refused || !met.insert(*cand) {
                    continue;
                }
                let real = self.pool.is_called(*cand, target);
                let merit = self.pool.merit(*cand);
                let rank = (s.current.is_none(), !s.protect, !real, merit);
                ranked.entry(rank).or_insert_with(Vec::new).push(*cand);
            }
            for ((is_new, ..), equals) in ranked {
                if is_new { &mut new } else { &mut there }.push(equals);
            }
        }
        there.append(&mut new);
        there
    }

    /// What is marked, without new packages nothing needs any more because the path that wanted them
    /// was given up. Whatever a package recommends or suggests counts as needed, as for APT.
    fn without_leftovers(&mut self, wanted: &[NameIx]) -> Vec<CandIx> {
        let mut todo: Vec<CandIx> = Vec::new();
        for name in wanted.iter().chain(self.there.keys()) {
            todo.extend(self.state(*name).install);
        }
        for state in self.states.iter().flatten() {
            todo.extend(state.install.filter(|c| {
                let package = self.pool.package(*c);
                package.essential() || package.protected()
            }));
        }
        let mut kept = BTreeSet::new();
        while let Some(cand) = todo.pop() {
            if !kept.insert(cand) {
                continue;
            }
            let deps = self.pool.deps(cand);
            for (_, group) in &deps.wanted {
                for alt in self.pool.alts(*group).iter() {
                    for other in self.pool.matches(*alt).iter() {
                        if self.of(*other).install == Some(*other) {
                            todo.push(*other);
                        }
                    }
                }
            }
        }
        kept.into_iter().collect()
    }
}
