//! From verified indices to a lock.

use super::debs::{self, Local};
use super::error::BuildError;
use super::hold::Held;
use super::indices::Suite;
use super::plan::PlannedPackage;
use jaula_plan::names::PackageName;
use jaula_plan::rootfs::Sources;
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec, Variant as Asked, Want as Wanted};
use jaula_plan::spec::source::Preferences as Given;
use jaula_repo::deb::preferences::{self, Policy, Preferences, ReleaseFacts};
use jaula_repo::hex;
use jaula_repo::lock::{Lock, LockPackage, LockSource, Role};
use jaula_repo::solve::{self, PackageRef, Universe, Variant, Want, task_members};
use std::collections::BTreeSet;

/// Instead of the number of a suite: in the lock, and in no index.
const HELD: usize = usize::MAX;

fn variant(asked: Asked) -> Variant {
    match asked {
        Asked::Custom => Variant::Custom,
        Asked::Essential => Variant::Essential,
        Asked::Apt => Variant::Apt,
        Asked::Minbase => Variant::Minbase,
        Asked::Buildd => Variant::Buildd,
        Asked::Important => Variant::Important,
        Asked::Standard => Variant::Standard,
    }
}

/// The policy of the preferences of a request, in the order in which APT would read them from `preferences.d`.
pub(super) fn policy(given: &[Given], native: &str) -> Result<Policy, BuildError> {
    let mut given: Vec<&Given> = given.iter().collect();
    given.sort_by(|a, b| a.name.cmp(&b.name));
    let mut files = Vec::new();
    for file in given {
        if !preferences::is_preferences_name(&file.name) {
            return Err(BuildError::PreferencesName {
                name: file.name.clone(),
            });
        }
        files.push(Preferences::parse(&file.name, &file.text)?);
    }
    Ok(Policy::new(native, files))
}

/// What pins look at in an index of a suite.
pub(super) fn facts(suite: &Suite, index: usize) -> ReleaseFacts {
    let facts = &suite.facts;
    ReleaseFacts {
        archive: facts.suite.clone(),
        codename: facts.codename.clone(),
        version: facts.version.clone(),
        origin: facts.origin.clone(),
        label: facts.label.clone(),
        component: suite.components.get(index).cloned(),
        architecture: suite.archs.get(index).cloned(),
        site: facts.host.clone(),
        not_automatic: facts.not_automatic,
        but_automatic_upgrades: facts.but_automatic_upgrades,
    }
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

/// Everything that is asked for besides the variant: packages, tasks, package files.
fn wanted(
    options: &ImageOptions,
    universe: &Universe<'_>,
    local: Option<(usize, &Local)>,
) -> Result<Vec<Want>, BuildError> {
    let mut all: Vec<Want> = options.include.iter().map(want).collect();
    for task in &options.tasks {
        all.extend(task_members(universe, task)?.into_iter().map(Want::new));
    }
    if let Some((source, local)) = local {
        for package in local.index.iter() {
            let arch = Some(package.architecture()).filter(|arch| *arch != "all");
            all.push(Want {
                name: package.name().to_owned(),
                arch: arch
                    .filter(|arch| *arch != universe.architecture())
                    .map(str::to_owned),
                version: Some(format!("= {}", package.version())),
                release: None,
                from: Some(source),
            });
        }
    }
    Ok(all)
}

pub fn solve(
    spec: &ImageSpec,
    sources: &Sources,
    suites: &[Suite],
    local: &Local,
    held: Option<&Held<'_>>,
) -> Result<(Lock, Vec<PlannedPackage>), BuildError> {
    let options = &spec.options;
    let native = sources.arch.as_str();
    let first = held.map(|held| held.preferences(native)).transpose()?;
    let mut universe = Universe::new(native)
        .with_foreign(options.foreign_archs.iter().map(ToString::to_string))
        .with_policy(policy(&options.sources.preferences, native)?.behind(first));
    let mut of_index = Vec::new();
    for (number, suite) in suites.iter().enumerate() {
        for (place, index) in suite.indices.iter().enumerate() {
            universe.add_source(index, facts(suite, place));
            of_index.push(number);
        }
    }
    let mut with_local = None;
    if !local.index.is_empty() {
        with_local = Some((universe.add_local(&local.index), local));
        of_index.push(suites.len());
    }
    if let Some(held) = held {
        universe.add_source(&held.index, ReleaseFacts::default());
        of_index.push(HELD);
    }
    let mut include = wanted(options, &universe, with_local)?;
    let text = |names: &[PackageName]| names.iter().map(ToString::to_string).collect();
    let (exclude, spared): (Vec<String>, Vec<String>) =
        (text(&options.exclude), text(&options.spared));
    include.retain(|want| !spared.contains(&want.name));
    let unchosen = [&exclude[..], &spared].concat();
    let mut request =
        solve::select(&universe, variant(options.variant), &include, &unchosen).request;
    request.exclude = exclude;
    request.recommends = options.recommends;
    let solution = solve::solve(&universe, &request)?;
    let essential: BTreeSet<&str> = request.base.iter().map(|want| want.name.as_str()).collect();
    let requested: BTreeSet<&str> = include.iter().map(|want| want.name.as_str()).collect();
    let roots: BTreeSet<&str> = request
        .roots
        .iter()
        .map(|want| want.name.as_str())
        .collect();
    let mut places: Vec<LockSource> = suites
        .iter()
        .map(|suite| LockSource {
            date: suite.date,
            uri: without_password(&suite.source.uri),
            suite: suite.source.suite.clone(),
            components: suite.source.components.join(","),
            release_sha256: suite.release_sha256,
        })
        .collect();
    if !local.index.is_empty() {
        places.push(debs::lock_source());
    }
    let mut packages = Vec::new();
    let mut planned = Vec::new();
    for chosen in solution
        .unpack_order
        .iter()
        .filter_map(|at| solution.chosen.get(*at))
    {
        let Some(package) = universe.package(chosen.package) else {
            continue;
        };
        if let Some(other) = universe.disagreement(chosen.package) {
            return Err(disagreement(
                &universe,
                suites,
                &of_index,
                chosen.package,
                other,
            ));
        }
        let name = package.name();
        let foreign = !matches!(package.architecture(), "all") && package.architecture() != native;
        let role = match name {
            _ if foreign && requested.contains(name) && chosen.manual => Role::Requested,
            _ if foreign => Role::Dependency,
            // Everything that the essential packages need counts as they do: it is configured with them.
            _ if chosen.base => Role::Essential,
            _ if requested.contains(name) => Role::Requested,
            _ if roots.contains(name) => Role::Variant,
            // It provides what was asked for.
            _ if chosen.manual => Role::Requested,
            _ => Role::Dependency,
        };
        let source = of_index.get(chosen.package.source).copied().unwrap_or(0);
        let as_locked = held
            .filter(|_| source == HELD)
            .and_then(|held| held.locked(&package.sha256()));
        let (source, path) = match as_locked {
            Some((locked, of)) => (place(&mut places, of), locked.path.clone()),
            None => (source, package.filename().to_owned()),
        };
        if options.alone && !is_named(name, &[&essential, &requested, &roots]) {
            continue;
        }
        packages.push(LockPackage {
            name: name.to_owned(),
            version: package.version().to_owned(),
            arch: package.architecture().to_owned(),
            size: package.size(),
            sha256: package.sha256(),
            source,
            path,
            role,
        });
        planned.push(PlannedPackage {
            replaces: package.replaces().to_owned(),
            installed_size: package.installed_size(),
            kept: false,
            unpacked: false,
            in_base: false,
        });
    }
    let lock = Lock {
        distribution: sources.distro.to_string(),
        arch: sources.arch.to_string(),
        variant: options.variant.to_string(),
        sources: places,
        packages,
    };
    Ok((lock, planned))
}

/// Where a source of an earlier lock is among those of this one, now or as it was.
fn place(places: &mut Vec<LockSource>, of: &LockSource) -> usize {
    let same = |place: &LockSource| place.uri == of.uri && place.suite == of.suite;
    places.iter().position(same).unwrap_or_else(|| {
        places.push(of.clone());
        places.len() - 1
    })
}

/// Whether a package is there for its own sake, and not because another needs it.
fn is_named(name: &str, parts: &[&BTreeSet<&str>]) -> bool {
    parts.iter().any(|part| part.contains(name))
}

/// Two sources say different things of one package.
fn disagreement(
    universe: &Universe<'_>,
    suites: &[Suite],
    of_index: &[usize],
    one: PackageRef,
    other: PackageRef,
) -> BuildError {
    let said = |at: PackageRef| {
        let suite = of_index.get(at.source).and_then(|place| suites.get(*place));
        let place = suite.map_or_else(String::new, |suite| {
            let uri = without_password(&suite.source.uri);
            format!("{uri} {}", suite.source.suite)
        });
        let hash = universe.package(at).map(|p| hex::encode(&p.sha256()));
        (place, hash.unwrap_or_default())
    };
    let package = universe.package(one).map_or_else(String::new, |package| {
        format!(
            "{} {} {}",
            package.name(),
            package.version(),
            package.architecture()
        )
    });
    BuildError::Disagreement {
        package,
        one: said(one),
        other: said(other),
    }
}

/// An address without a user's name and password.
pub(super) fn without_password(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return uri.to_owned();
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if path.is_empty() {
        format!("{scheme}://{host}")
    } else {
        format!("{scheme}://{host}/{path}")
    }
}
