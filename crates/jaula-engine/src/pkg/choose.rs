//! From what is wished and what is installed to what comes and what goes.

use super::plan::{Leaving, PkgPlan, Taken};
use super::{Inventory, PkgError, PkgSpec, PkgVerb};
use crate::engine::Dry;
use crate::event::{Event, Observer, Phase};
use crate::image::{BuildError, Host, Logins, Repositories};
use crate::store::Store;
use jaula_plan::names::PackageName;
use jaula_plan::spec::rootfs::{ImageSpec, Want as Wanted};
use jaula_plan::spec::source::SourceOptions;
use jaula_repo::deb::installed::{AutoMarks, Installed};
use jaula_repo::deb::packages::{Index, Package};
use jaula_repo::deb::relation;
use jaula_repo::deb::version::cmp_versions;
use jaula_repo::solve::{self, PackageRef, Request, Solution, SolveError, Universe, Want};
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// What removing packages takes.
pub fn remove(
    spec: &PkgSpec,
    inventory: &Inventory,
    names: &[PackageName],
) -> Result<PkgPlan, PkgError> {
    let set = &inventory.set;
    let mut asked = BTreeSet::new();
    let mut absent = Vec::new();
    for name in names {
        let mut found = false;
        for (number, package) in set.packages.iter().enumerate() {
            if package.name == name.as_str() {
                asked.insert(number);
                found = true;
            }
        }
        if !found {
            absent.push(name.to_string());
        }
    }
    if !absent.is_empty() {
        let of = spec.target.shown();
        return Err(PkgError::NotInstalled { of, names: absent });
    }
    let gone = set.dependents(&asked);
    let barred: Vec<String> = gone
        .iter()
        .filter_map(|number| set.packages.get(*number))
        .filter(|package| package.essential || package.held)
        .map(|package| package.name.clone())
        .collect();
    if !barred.is_empty() {
        return Err(PkgError::Essential { names: barred });
    }
    let unneeded = set.unneeded(&inventory.auto, &gone);
    let before = set.unneeded(&inventory.auto, &BTreeSet::new());
    let mut plan = PkgPlan {
        target: spec.target.clone(),
        verb: spec.verb.clone(),
        purge: spec.purge,
        install: Vec::new(),
        remove: Vec::new(),
        kept_back: Vec::new(),
        unneeded: Vec::new(),
        states: None,
        sources: SourceOptions::default(),
        logins: Logins::Hosts,
        entries: Vec::new(),
    };
    let mut auto = inventory.auto.clone();
    let mut goes = |numbers: &BTreeSet<usize>, why: &dyn Fn(usize) -> &'static str| {
        for number in numbers {
            if let Some(package) = set.packages.get(*number) {
                auto.forget(&package.name);
                plan.remove.push(leaving(package, why(*number)));
            }
        }
    };
    goes(&gone, &|number| match asked.contains(&number) {
        true => "asked for",
        false => "needs what goes",
    });
    if spec.autoremove {
        goes(&unneeded, &|_| "needed no more");
    } else {
        let new = unneeded.difference(&before);
        let name = |number: &usize| set.packages.get(*number).map(|p| p.name.clone());
        plan.unneeded = new.filter_map(name).collect();
    }
    plan.states = changed(&inventory.auto, &auto);
    Ok(plan)
}

fn leaving(package: &Installed, why: &'static str) -> Leaving {
    Leaving {
        name: package.name.clone(),
        version: package.version.clone(),
        arch: package.arch.clone(),
        why,
    }
}

fn changed(before: &AutoMarks, after: &AutoMarks) -> Option<String> {
    (before != after).then(|| after.to_string())
}

/// The installed packages as an index, in which a package is the archive's own where the archive has that version.
fn installed_index(
    of: &str,
    inventory: &Inventory,
    repositories: &Repositories,
) -> Result<Index, PkgError> {
    let file = |package: &Installed| {
        let same = |found: &Package<'_>| {
            found.version() == package.version && found.architecture() == package.arch
        };
        let found = repositories.named(&package.name).into_iter().find(same);
        found.map(|found| (found.size(), found.sha256()))
    };
    let text = inventory.set.index_text(&file);
    Index::parse(text.as_bytes()).map_err(|source| PkgError::Installed {
        of: of.to_owned(),
        source,
    })
}

/// What installing or upgrading packages takes.
pub fn install(
    spec: &PkgSpec,
    origin: &ImageSpec,
    inventory: &Inventory,
    store: &Store,
    host: &Host<'_>,
    observer: &dyn Observer,
    dry: Dry,
) -> Result<PkgPlan, PkgError> {
    let repositories = Repositories::read(origin, store, host, observer, dry)?;
    let started = Instant::now();
    observer.event(Event::Started {
        phase: Phase::Solve,
        items: 0,
        bytes: 0,
    });
    let shown = spec.target.shown();
    let there = installed_index(&shown, inventory, &repositories)?;
    let mut universe =
        Universe::new(inventory.arch.as_str()).with_policy(repositories.policy(origin)?);
    // First: the same version in an archive is then the one that is there.
    universe.add(&there);
    repositories.add_to(&mut universe);
    let installed: Vec<PackageRef> = there
        .iter()
        .map(|package| PackageRef {
            source: 0,
            id: package.id(),
        })
        .collect();
    let held: Vec<&str> = inventory
        .set
        .packages
        .iter()
        .filter(|package| package.held)
        .map(|package| package.name.as_str())
        .collect();
    let mut request = Request {
        installed,
        recommends: spec.recommends.unwrap_or(origin.options.recommends),
        ..Request::default()
    };
    let mut auto = inventory.auto.clone();
    let mut kept_back = Vec::new();
    let solution = match &spec.verb {
        PkgVerb::Install(wants) => {
            request.roots = wants.iter().map(want).collect();
            for want in wants {
                // Named, it is wanted for itself from now on.
                auto.set(want.name.as_str(), &inventory.arch, false);
            }
            solve::solve(&universe, &request).map_err(BuildError::from)?
        }
        PkgVerb::Upgrade(names) => {
            let newer = newer(&universe, inventory, names, spec)?;
            let (held, free): (Vec<Want>, Vec<Want>) = newer
                .into_iter()
                .partition(|want| held.contains(&want.name.as_str()));
            kept_back.extend(held.into_iter().map(|want| want.name));
            request.roots = free;
            upgrade(&universe, &mut request, &mut kept_back)?
        }
        PkgVerb::Remove(_) => Solution {
            chosen: Vec::new(),
            unpack_order: Vec::new(),
            found_by: solve::FoundBy::Walk,
        },
    };
    let install = taken(&universe, &solution, inventory, &repositories);
    for package in &install {
        let new = package.old.is_none();
        if new {
            auto.set(&package.name, &inventory.arch, package.auto);
        }
    }
    observer.event(Event::Finished {
        phase: Phase::Solve,
        items: install.len() as u64,
        bytes: install.iter().map(|taken| taken.size).sum(),
        millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    let mut plan = PkgPlan {
        target: spec.target.clone(),
        verb: spec.verb.clone(),
        purge: spec.purge,
        install,
        remove: Vec::new(),
        kept_back,
        unneeded: Vec::new(),
        states: None,
        sources: origin.options.sources.clone(),
        logins: spec.origin.logins(),
        entries: repositories.entries().to_vec(),
    };
    if spec.autoremove {
        let set = &inventory.set;
        for number in set.unneeded(&inventory.auto, &BTreeSet::new()) {
            let Some(package) = set.packages.get(number) else {
                continue;
            };
            // What is upgraded in the same change is needed by somebody.
            if !plan.install.iter().any(|taken| taken.name == package.name) {
                auto.forget(&package.name);
                plan.remove.push(leaving(package, "needed no more"));
            }
        }
    }
    plan.states = changed(&inventory.auto, &auto);
    Ok(plan)
}

fn want(asked: &Wanted) -> Want {
    Want {
        name: asked.name.to_string(),
        arch: asked.arch.as_ref().map(ToString::to_string),
        version: asked.version.as_ref().map(|version| format!("= {version}")),
        release: asked.suite.clone(),
        from: None,
    }
}

/// What is installed and could be newer.
fn newer(
    universe: &Universe<'_>,
    inventory: &Inventory,
    names: &[PackageName],
    spec: &PkgSpec,
) -> Result<Vec<Want>, PkgError> {
    let absent: Vec<String> = names
        .iter()
        .filter(|name| inventory.set.find(name.as_str(), &inventory.arch).is_none())
        .map(ToString::to_string)
        .collect();
    if !absent.is_empty() {
        let of = spec.target.shown();
        return Err(PkgError::NotInstalled { of, names: absent });
    }
    let mut found = Vec::new();
    for package in &inventory.set.packages {
        let native = package.arch == inventory.arch || package.arch == "all";
        let asked = names.is_empty() || names.iter().any(|name| name.as_str() == package.name);
        let candidate = universe.candidate(&package.name);
        let candidate = candidate.and_then(|at| universe.package(at));
        let Some(candidate) = candidate.filter(|_| native && asked) else {
            continue;
        };
        if cmp_versions(candidate.version(), &package.version).is_gt() {
            found.push(Want {
                version: Some(format!("= {}", candidate.version())),
                ..Want::new(package.name.clone())
            });
        }
    }
    Ok(found)
}

/// Upgrades as much as goes together: everything, else one by one what does not stand against the others.
fn upgrade(
    universe: &Universe<'_>,
    request: &mut Request,
    kept_back: &mut Vec<String>,
) -> Result<Solution, PkgError> {
    let error = match solve::solve(universe, request) {
        Ok(solution) => return Ok(solution),
        Err(error @ SolveError::Unsolvable(_)) => error,
        Err(error) => return Err(BuildError::from(error).into()),
    };
    let all = std::mem::take(&mut request.roots);
    let mut last = None;
    for want in all {
        request.roots.push(want);
        match solve::solve(universe, request) {
            Ok(solution) => last = Some(solution),
            Err(_) => kept_back.extend(request.roots.pop().map(|want| want.name)),
        }
    }
    last.ok_or_else(|| BuildError::from(error).into())
}

/// What comes, in unpack order.
fn taken(
    universe: &Universe<'_>,
    solution: &Solution,
    inventory: &Inventory,
    repositories: &Repositories,
) -> Vec<Taken> {
    let chosen: Vec<(Package<'_>, bool, usize)> = solution
        .unpack_order
        .iter()
        .filter_map(|at| solution.chosen.get(*at))
        .filter_map(|chosen| {
            let package = universe.package(chosen.package)?;
            Some((package, chosen.manual, chosen.package.source))
        })
        .collect();
    let mut place: HashMap<&str, Vec<usize>> = HashMap::new();
    for (number, (package, _, _)) in chosen.iter().enumerate() {
        place.entry(package.name()).or_default().push(number);
        for provide in relation::provides(package.provides()).filter_map(Result::ok) {
            place.entry(provide.name).or_default().push(number);
        }
    }
    // Which of them a field of a package may mean.
    let meant = |text: &str| -> BTreeSet<usize> {
        let groups = relation::groups(text).filter_map(Result::ok);
        let names = groups.flat_map(|group| {
            let names: Vec<String> = group
                .alternatives
                .iter()
                .map(|a| a.name.to_owned())
                .collect();
            names
        });
        let places = names.filter_map(|name| place.get(name.as_str()));
        places.flatten().copied().collect()
    };
    let closure = |text: &str, below: usize| -> Vec<usize> {
        let mut found = BTreeSet::new();
        let mut todo: Vec<usize> = meant(text).into_iter().collect();
        while let Some(number) = todo.pop() {
            // What is behind it in the order cannot be configured before it: a cycle.
            if number >= below || !found.insert(number) {
                continue;
            }
            if let Some((package, _, _)) = chosen.get(number) {
                todo.extend(meant(package.depends()));
                todo.extend(meant(package.pre_depends()));
            }
        }
        found.into_iter().collect()
    };
    let describe = |(number, (package, manual, source)): (usize, &(Package<'_>, bool, usize))| {
        let old = inventory.set.packages.iter().find(|old| {
            old.name == package.name()
                && (old.arch == package.architecture()
                    || old.arch == "all"
                    || package.architecture() == "all")
        });
        Taken {
            name: package.name().to_owned(),
            version: package.version().to_owned(),
            arch: package.architecture().to_owned(),
            old: old.map(|old| old.version.clone()),
            auto: !manual,
            size: package.size(),
            sha256: package.sha256(),
            // The first source of the universe is what is installed.
            urls: repositories.urls(source.saturating_sub(1), package.filename()),
            before: closure(package.pre_depends(), number),
        }
    };
    chosen.iter().enumerate().map(describe).collect()
}

/// Packages whose names hold all words: name, the version that would be installed, and the one that is.
pub fn search(
    origin: &ImageSpec,
    inventory: &Inventory,
    words: &[String],
    store: &Store,
    host: &Host<'_>,
    observer: &dyn Observer,
) -> Result<Vec<(String, String, Option<String>)>, PkgError> {
    let repositories = Repositories::read(origin, store, host, observer, Dry::MayCache)?;
    let mut universe =
        Universe::new(inventory.arch.as_str()).with_policy(repositories.policy(origin)?);
    repositories.add_to(&mut universe);
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for source in universe.sources() {
        let fits = |name: &&str| words.iter().all(|word| name.contains(word.as_str()));
        names.extend(source.index.names().filter(fits));
    }
    let mut found = Vec::new();
    for name in names {
        let candidate = universe.candidate(name).and_then(|at| universe.package(at));
        if let Some(candidate) = candidate {
            let there = inventory.set.find(name, &inventory.arch);
            found.push((
                name.to_owned(),
                candidate.version().to_owned(),
                there.map(|there| there.version.clone()),
            ));
        }
    }
    Ok(found)
}
