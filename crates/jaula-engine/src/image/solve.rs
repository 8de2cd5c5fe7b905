//! From verified indices to a lock.

use super::error::BuildError;
use super::indices::Suite;
use super::plan::PlannedPackage;
use jaula_plan::rootfs::Sources;
use jaula_plan::spec::rootfs::{ImageSpec, Variant as Asked};
use jaula_repo::lock::{Lock, LockPackage, LockSource, Role};
use jaula_repo::solve::{self, Universe, Variant, Want};
use std::collections::BTreeSet;

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

pub fn solve(
    spec: &ImageSpec,
    sources: &Sources,
    suites: &[Suite],
) -> Result<(Lock, Vec<PlannedPackage>), BuildError> {
    let mut universe = Universe::new(sources.arch.as_str());
    let mut of_index = Vec::new();
    for (number, suite) in suites.iter().enumerate() {
        for index in &suite.indices {
            universe.add(index);
            of_index.push(number);
        }
    }
    let include: Vec<String> = spec
        .options
        .include
        .iter()
        .map(|want| want.name.to_string())
        .collect();
    let exclude: Vec<String> = spec
        .options
        .exclude
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut request =
        solve::select(&universe, variant(spec.options.variant), &include, &exclude).request;
    for want in spec
        .options
        .include
        .iter()
        .filter(|want| want.version.is_some())
    {
        let version = want.version.as_ref().map(|version| format!("= {version}"));
        let wanted = Want {
            name: want.name.to_string(),
            version,
        };
        match request
            .roots
            .iter_mut()
            .find(|root| root.name == wanted.name)
        {
            Some(root) => *root = wanted,
            None => request.roots.push(wanted),
        }
    }
    let solution = solve::solve(&universe, &request)?;
    let essential: BTreeSet<&str> = request.base.iter().map(|want| want.name.as_str()).collect();
    let requested: BTreeSet<&str> = include.iter().map(String::as_str).collect();
    let roots: BTreeSet<&str> = request
        .roots
        .iter()
        .map(|want| want.name.as_str())
        .collect();
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
        let name = package.name();
        let role = match name {
            _ if essential.contains(name) => Role::Essential,
            _ if requested.contains(name) => Role::Requested,
            _ if roots.contains(name) => Role::Variant,
            // Everything that the essential packages need counts as they do.
            _ if chosen.manual => Role::Essential,
            _ => Role::Dependency,
        };
        packages.push(LockPackage {
            name: name.to_owned(),
            version: package.version().to_owned(),
            arch: package.architecture().to_owned(),
            size: package.size(),
            sha256: package.sha256(),
            source: of_index.get(chosen.package.source).copied().unwrap_or(0),
            path: package.filename().to_owned(),
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
        variant: spec.options.variant.to_string(),
        sources: suites
            .iter()
            .map(|suite| LockSource {
                date: suite.date,
                uri: without_password(&suite.source.uri),
                suite: suite.source.suite.clone(),
                components: suite.source.components.join(","),
                release_sha256: suite.release_sha256,
            })
            .collect(),
        packages,
    };
    Ok((lock, planned))
}

/// An address without a user's name and password.
fn without_password(uri: &str) -> String {
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
