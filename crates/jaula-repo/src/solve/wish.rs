//! What was asked for, as groups of the pool.

use super::error::{SolveError, UnknownName};
use super::nearest::nearest_names;
use super::pool::{CandIx, GroupIx, Kind, NameIx, Pool};
use super::universe::Universe;
use std::fmt;

/// How far versions of the dependencies are switched to a release that was asked for.
const DEEPEST_SWITCH: usize = 100;

/// A package (or virtual package) somebody asked for, perhaps in certain versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Want {
    /// Name of a real or virtual package, without an architecture.
    pub name: String,
    /// Of this architecture; `None`: the native one, or the first other that has the package.
    pub arch: Option<String>,
    /// Which versions will do, in the words of a relation, e.g. `>= 1.2`; `None`: the candidate.
    pub version: Option<String>,
    /// The version of this release, by its archive or code name (`NAME/RELEASE` of apt-get(8)). Dependencies that the
    /// candidates do not satisfy are taken from there too.
    pub release: Option<String>,
    /// From this source of the universe alone.
    pub from: Option<usize>,
}

impl Want {
    /// A wish for the candidate version of `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Whether it is a name and nothing more.
    pub fn is_plain(&self) -> bool {
        self.arch.is_none()
            && self.version.is_none()
            && self.release.is_none()
            && self.from.is_none()
    }
}

impl fmt::Display for Want {
    /// As a relation, with the release behind it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(arch) = &self.arch {
            write!(f, ":{arch}")?;
        }
        if let Some(version) = &self.version {
            write!(f, " ({version})")?;
        }
        if let Some(release) = &self.release {
            write!(f, "/{release}")?;
        }
        Ok(())
    }
}

/// A wish with the texts that the pool borrows.
pub(super) struct Worded {
    /// As it is shown.
    text: String,
    /// As a relation; of the first architecture that has it.
    relation: String,
}

impl Worded {
    pub(super) fn new(universe: &Universe<'_>, want: &Want) -> Self {
        let mut placed = Want {
            release: None,
            ..want.clone()
        };
        if placed.arch.is_none() {
            // A package that is only there for a foreign architecture is meant when it is named.
            let there = |arch| !universe.versions(&want.name, arch, None).is_empty();
            placed.arch = universe
                .archs()
                .find(|arch| there(*arch))
                .filter(|arch| *arch != super::universe::NATIVE)
                .map(|arch| universe.arch_name(arch).to_owned());
        }
        Self {
            text: want.to_string(),
            relation: placed.to_string(),
        }
    }
}

/// The group of a wish.
///
/// # Errors
/// When nothing has this name, or not in the release that is asked for.
pub(super) fn group<'u>(
    pool: &mut Pool<'u>,
    want: &'u Want,
    worded: &'u Worded,
) -> Result<GroupIx, SolveError> {
    let universe = pool.universe();
    if let Some(arch) = &want.arch
        && universe.arch(arch).is_none()
    {
        return Err(SolveError::NoArch {
            wanted: worded.text.clone(),
            archs: universe.architectures().to_vec(),
        });
    }
    let group = pool.group(&worded.relation);
    let Some(target) = pool
        .alts(group)
        .first()
        .copied()
        .map(|alt| pool.alt_target(alt))
    else {
        return Ok(group);
    };
    let offered = |pool: &mut Pool<'u>| {
        !pool.cands(target).is_empty()
            || pool
                .universe()
                .sources()
                .iter()
                .any(|s| s.index.providers(&want.name).next().is_some())
    };
    if !offered(pool) {
        let elsewhere: Vec<String> = universe
            .archs()
            .filter(|arch| !universe.versions(&want.name, *arch, None).is_empty())
            .map(|arch| universe.arch_name(arch).to_owned())
            .collect();
        let nearest = match elsewhere.as_slice() {
            [] => nearest_names(universe, &want.name, 3),
            _ => Vec::new(),
        };
        let mut name = want.name.clone();
        if let Some(arch) = &want.arch {
            name = format!("{name}:{arch}");
        }
        return Err(SolveError::Unknown(vec![UnknownName {
            name,
            nearest,
            elsewhere,
        }]));
    }
    if want.release.is_none() && want.from.is_none() {
        if want.version.is_some() {
            let all = pool.all_matches(group);
            pool.ask_for(&all);
        }
        return Ok(group);
    }
    let matching: Vec<CandIx> = pool
        .all_matches(group)
        .into_iter()
        .filter(|c| pool.cand_name_ix(*c) == target)
        .filter(|c| want.from.is_none_or(|source| pool.is_in(*c, source)))
        .filter(|c| {
            let release = want.release.as_deref();
            release.is_none_or(|release| pool.is_of_release(*c, release))
        })
        .collect();
    // The newest of the release, as apt-get(8) takes it.
    let Some(cand) = matching.first().copied() else {
        return Err(SolveError::NotInRelease {
            wanted: worded.text.clone(),
            there: pool.whereabouts(target),
        });
    };
    pool.ask_for(&[cand]);
    match &want.release {
        Some(release) => _ = switch(pool, cand, release, 0),
        None => pool.set_candidate(target, Some(cand)),
    }
    Ok(pool.exactly(&worded.text, &want.name, cand))
}

/// Makes a version the candidate, and of its dependencies that no candidate satisfies the versions of the same release
/// (`pkgDepCache::SetCandidateRelease`).
fn switch(pool: &mut Pool<'_>, cand: CandIx, release: &str, depth: usize) -> bool {
    if depth > DEEPEST_SWITCH {
        return false;
    }
    let name = pool.cand_name_ix(cand);
    pool.set_candidate(name, Some(cand));
    let deps = pool.deps(cand);
    for (kind, group) in &deps.wanted {
        let followed = kind.critical() || (*kind == Kind::Recommends && pool.recommends());
        if !followed {
            continue;
        }
        let any = pool.all_matches(*group).into_iter().any(|c| {
            let name = pool.cand_name_ix(c);
            pool.candidate(name) == Some(c)
        });
        if !any && !switch_one_of(pool, *group, release, depth) && kind.critical() {
            return false;
        }
    }
    true
}

fn switch_one_of(pool: &mut Pool<'_>, group: GroupIx, release: &str, depth: usize) -> bool {
    for alt in pool.alts(group).iter() {
        let target: NameIx = pool.alt_target(*alt);
        let version = pool
            .cands(target)
            .iter()
            .copied()
            .find(|c| pool.is_of_release(*c, release));
        let Some(version) = version.filter(|v| pool.matches(*alt).contains(v)) else {
            continue;
        };
        let before = pool.candidate(target);
        pool.ask_for(&[version]);
        if switch(pool, version, release, depth + 1) {
            return true;
        }
        pool.set_candidate(target, before);
    }
    false
}
