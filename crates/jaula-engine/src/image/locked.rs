//! Images by a lock: exactly its packages, without an index and without solving, from wherever they still are.

use super::error::BuildError;
use super::plan::{Host, ImagePlan, PlannedPackage, Way, assemble};
use crate::fetch::{Client, FetchError, Wanted, download_all};
use crate::store::Store;
use jaula_plan::path_filter::PathFilter;
use jaula_plan::rootfs::{Source, Sources, resolve_sources};
use jaula_plan::spec::rootfs::ImageSpec;
use jaula_repo::lock::LockPackage;
use jaula_repo::lock::recipe::{RecipeLock, Unpacks};

/// What making the image of a lock takes. `mirrors` are further places for its packages.
///
/// # Errors
/// [`BuildError::Sources`] and [`BuildError::Store`].
pub fn plan_locked(
    spec: &ImageSpec,
    locked: &RecipeLock,
    mirrors: &[String],
    store: &Store,
    host: &Host<'_>,
) -> Result<ImagePlan, BuildError> {
    super::hooks::check(&spec.options.hooks)?;
    PathFilter::new(&spec.options.paths)?;
    let mut sources = resolve_sources(spec, host.facts, host.table)?;
    let mut places: Vec<String> = sources.entries.iter().map(|e| e.uri.clone()).collect();
    places.extend(
        mirrors
            .iter()
            .map(|uri| uri.trim_end_matches('/').to_owned()),
    );
    places.dedup();
    sources.entries = entries(&sources, locked);
    // What is told by indices elsewhere.
    sources.merged_usr_as_released = locked.merged_usr;
    sources.merged_usr = spec.options.merged_usr.unwrap_or(locked.merged_usr);
    if let Ok(arch) = locked.lock.arch.parse() {
        sources.arch = arch;
    }
    let packages = locked.unpacks.iter().map(|of| PlannedPackage {
        replaces: of.replaces.clone(),
        installed_size: of.installed_size,
        kept: false,
        unpacked: false,
        in_base: false,
    });
    let chosen = (locked.lock.clone(), packages.collect());
    let mut plan = assemble(spec, sources, chosen, store, Way::Whole)?;
    plan.mirrors = Some(places);
    Ok(plan)
}

/// The suites as the lock has them, which is what the image's own sources say too; the host gives what no lock holds:
/// passwords of mirrors, and keyrings.
fn entries(sources: &Sources, locked: &RecipeLock) -> Vec<Source> {
    let mut entries = Vec::new();
    // Package files of this host are the last source, and none of the image's own.
    let host = super::debs::lock_source().uri;
    for source in locked
        .lock
        .sources
        .iter()
        .filter(|source| source.uri != host)
    {
        let components: Vec<String> = source
            .components
            .split(',')
            .filter(|component| !component.is_empty())
            .map(str::to_owned)
            .collect();
        let of_suite = |entry: &&Source| entry.suite == source.suite;
        let same = |entry: &&Source| {
            of_suite(entry) && super::solve::without_password(&entry.uri) == source.uri
        };
        let found = sources.entries.iter().find(same);
        let like = found.or_else(|| sources.entries.iter().find(of_suite));
        let Some(like) = like.or(sources.entries.first()) else {
            continue;
        };
        let mut entry = like.clone();
        if found.is_none() {
            entry.uri.clone_from(&source.uri);
        }
        entry.suite.clone_from(&source.suite);
        entry.components = components;
        entries.push(entry);
    }
    entries
}

impl ImagePlan {
    /// Whether it is made by a lock.
    pub fn is_locked(&self) -> bool {
        self.mirrors.is_some()
    }

    /// What a lock of this plan's packages would say, for a recipe with this digest.
    pub fn recipe_lock(&self, recipe: [u8; 32]) -> RecipeLock {
        let unpacks = self.packages.iter().map(|planned| Unpacks {
            installed_size: planned.installed_size,
            replaces: planned.replaces.clone(),
        });
        RecipeLock {
            recipe,
            merged_usr: self.sources.merged_usr_as_released,
            lock: self.lock.clone(),
            unpacks: unpacks.collect(),
        }
    }
}

/// The addresses of a package, the likeliest first.
pub(super) fn urls(plan: &ImagePlan, package: &LockPackage) -> Vec<String> {
    // With the password, if any, that the lock leaves out.
    let own = plan.sources.entries.get(package.source);
    let own = own.map(|entry| entry.uri.as_str()).unwrap_or_default();
    let mirrors = plan.mirrors.iter().flatten().map(String::as_str);
    addresses(own, mirrors, package)
}

/// The addresses of a package of a source, and of further places.
pub(super) fn addresses<'m>(
    own: &str,
    mirrors: impl Iterator<Item = &'m str>,
    package: &LockPackage,
) -> Vec<String> {
    let path = super::build::escaped(&package.path);
    let mut urls = vec![format!("{own}/{path}")];
    for place in mirrors {
        let url = format!("{}/{path}", place.trim_end_matches('/'));
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

/// A package as messages call it.
pub(super) fn named(package: &LockPackage) -> String {
    let LockPackage {
        name,
        version,
        arch,
        ..
    } = package;
    format!("{name} {version} ({arch})")
}

/// Fetches the packages of a plan. When some are on no mirror of a lock any more, all the others are fetched and these
/// are named.
pub(super) fn download(
    plan: &ImagePlan,
    client: &Client,
    mut wanted: Vec<Wanted>,
    tell: &(dyn Fn(u64, u64, &str) + Sync),
) -> Result<(), BuildError> {
    let mut gone = Vec::new();
    loop {
        match download_all(client, &wanted, tell) {
            Err(FetchError::NotFound { url }) if plan.is_locked() => {
                let missing = |file: &Wanted| file.urls.last() == Some(&url);
                let Some(at) = wanted.iter().position(missing) else {
                    return Err(FetchError::NotFound { url }.into());
                };
                let file = wanted.remove(at);
                let package = plan.lock.packages.iter().find(|p| p.sha256 == file.sha256);
                gone.push(package.map_or(file.label, named));
            }
            Err(error) => return Err(error.into()),
            Ok(()) if gone.is_empty() => return Ok(()),
            Ok(()) => {
                gone.sort();
                return Err(BuildError::Gone { packages: gone });
            }
        }
    }
}
