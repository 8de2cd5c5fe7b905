//! Choosing packages: from a list of wishes and the indices of a distribution to the exact set of
//! packages, in the order in which they can be unpacked.
//!
//! Two engines work on one model of the packages ([`pool`]):
//!
//! 1. [`walk`] chooses as APT does: candidate version first, the first alternative that can be had,
//!    real packages before providers. Its outcome is taken when it is consistent, which is the
//!    normal case, and then it equals what `apt-get install` would choose.
//! 2. [`provider`] states the same problem for a complete SAT solver. It decides when the walk ran
//!    into a contradiction, and it proves when there is no solution; [`explain`] then tells why.
//!
//! `Replaces` never changes the choice (as in APT): it matters when files are unpacked.

mod error;
mod explain;
mod met;
mod nearest;
mod order;
mod pool;
mod provider;
mod select;
mod task;
mod universe;
mod walk;
mod wish;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_apt;

use std::collections::BTreeSet;

pub use error::{SolveError, UnknownName};
pub use explain::{Explanation, Reason};
pub use nearest::nearest_names;
pub use select::{Selection, Variant, select};
pub use task::task_members;
pub use universe::{PackageRef, Source, Universe};
pub use wish::Want;

use crate::deb::packages::Package;
use pool::{CandIx, Pool};
use wish::Worded;

/// Everything that is to be solved.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Solved first and kept, as if installed, when [`Request::roots`] are solved. This is how a
    /// root file system comes to be: its essential packages are there before all others, and an
    /// alternative they already satisfy is not chosen again.
    pub base: Vec<Want>,
    /// What is wanted on top of [`Request::base`].
    pub roots: Vec<Want>,
    /// Names that must not be in the outcome.
    pub exclude: Vec<String>,
    /// Whether `Recommends` are followed where they can be.
    pub recommends: bool,
    /// Packages that are there already. They are kept in their version where possible and are not
    /// part of [`Solution::chosen`], unless a new version replaces them. None is ever removed: a
    /// request that would need it is unsolvable.
    pub installed: Vec<PackageRef>,
}

/// One package of a [`Solution`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Where the package is described.
    pub package: PackageRef,
    /// Whether it was asked for by name (`true`) or came in as a dependency. APT writes the
    /// latter into its `extended_states` file. The whole closure of [`Request::base`] counts as
    /// asked for, as it does after `mmdebstrap`, which installs it with dpkg alone.
    pub manual: bool,
    /// Whether it is of the closure of [`Request::base`], also when it was asked for by name besides.
    pub base: bool,
}

/// The packages that satisfy a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// What has to be unpacked, sorted by name.
    pub chosen: Vec<Chosen>,
    /// Indices into [`Solution::chosen`] in the order of unpacking: the essential base first,
    /// what a package (pre-)depends on before the package itself where no cycle forbids it.
    pub unpack_order: Vec<usize>,
    /// Which engine found it.
    pub found_by: FoundBy,
}

impl Solution {
    /// The chosen packages with their descriptions, sorted by name.
    pub fn packages<'a>(
        &'a self,
        universe: &'a Universe<'a>,
    ) -> impl Iterator<Item = (Package<'a>, bool)> + 'a {
        self.chosen
            .iter()
            .filter_map(|c| Some((universe.package(c.package)?, c.manual)))
    }
}

/// The engine that found a [`Solution`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// The walk that chooses like APT.
    Walk,
    /// The complete solver, because the walk ran into a contradiction.
    Solver,
}

/// How to solve; [`solve`] uses [`Engine::Both`], tests and measurements the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// The walk, and the solver when the walk ends in a contradiction.
    #[default]
    Both,
    /// The solver alone, without the walk's preferences.
    SolverOnly,
}

/// Finds the packages that satisfy `request`.
///
/// The outcome depends on nothing but the arguments.
///
/// # Errors
///
/// [`SolveError::Unknown`] for names nothing in the universe has or provides, with the nearest
/// names; [`SolveError::Unsolvable`] with the reasons; [`SolveError::GaveUp`] when the work grows
/// beyond all bounds that real distributions need.
pub fn solve(universe: &Universe<'_>, request: &Request) -> Result<Solution, SolveError> {
    solve_with(universe, request, Engine::Both)
}

/// [`solve`] with a choice of the engine.
///
/// # Errors
///
/// As [`solve`].
pub fn solve_with(
    universe: &Universe<'_>,
    request: &Request,
    engine: Engine,
) -> Result<Solution, SolveError> {
    // The words of wishes live as long as the pool, which borrows them.
    let worded: Vec<Worded> = request
        .base
        .iter()
        .chain(&request.roots)
        .map(|want| Worded::new(universe, want))
        .collect();
    let mut pool = Pool::new(universe, request);
    let mut base = Vec::new();
    let mut roots = Vec::new();
    let mut unknown = Vec::new();
    let wants = request.base.iter().chain(&request.roots);
    for (number, (worded, want)) in worded.iter().zip(wants).enumerate() {
        match wish::group(&mut pool, want, worded) {
            Ok(group) if number < request.base.len() => base.push(group),
            Ok(group) => roots.push(group),
            Err(SolveError::Unknown(names)) => unknown.extend(names),
            Err(error) => return Err(error),
        }
    }
    if !unknown.is_empty() {
        return Err(SolveError::Unknown(unknown));
    }

    let guide = match engine {
        Engine::Both => walk::walk(&mut pool, &base, &roots, request.recommends),
        Engine::SolverOnly => walk::Outcome::default(),
    };
    if guide.consistent {
        return Ok(finish(&mut pool, guide, FoundBy::Walk));
    }
    let all: Vec<_> = base.iter().chain(&roots).copied().collect();
    let picked = provider::solve(&mut pool, &all, &guide.picked, request.recommends)?;
    let mut outcome = walk::Outcome {
        picked,
        ..walk::Outcome::default()
    };
    walk::mark_manual(&mut pool, &mut outcome, &base, &roots);
    Ok(finish(&mut pool, outcome, FoundBy::Solver))
}

/// Turns the picked candidates into the public form.
fn finish(pool: &mut Pool<'_>, outcome: walk::Outcome, found_by: FoundBy) -> Solution {
    let installed: BTreeSet<CandIx> = pool.installed().iter().copied().collect();
    let mut new: Vec<CandIx> = outcome
        .picked
        .iter()
        .copied()
        .filter(|c| !installed.contains(c))
        .collect();
    new.sort_by(|a, b| pool.cand_name(*a).cmp(pool.cand_name(*b)).then(a.cmp(b)));
    let unpack_order = order::unpack_order(pool, &new);
    let chosen = new
        .iter()
        .map(|c| Chosen {
            package: pool.package_ref(*c),
            manual: outcome.manual.contains(c),
            base: outcome.base.contains(c),
        })
        .collect();
    Solution {
        chosen,
        unpack_order,
        found_by,
    }
}
