//! Packages of a lock that stay at their versions while others are chosen anew.

use super::debs;
use super::error::BuildError;
use super::locked;
use super::plan::Host;
use crate::fetch::{Client, FetchError, Small};
use crate::store::Store;
use jaula_plan::names::PackageName;
use jaula_repo::deb::packages::Index;
use jaula_repo::deb::preferences::Preferences;
use jaula_repo::hex;
use jaula_repo::lock::recipe::RecipeLock;
use jaula_repo::lock::{LockPackage, LockSource};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::Cursor;

/// What preferences of the lock are called in messages.
const NAME: &str = "the lock";
/// Above this a version is taken whatever else there is (apt_preferences(5)).
const PRIORITY: u32 = 1001;

/// A lock, and which of its packages may move.
#[derive(Debug, Clone, Copy)]
pub struct Hold<'a> {
    /// The lock.
    pub lock: &'a RecipeLock,
    /// Those that are chosen anew.
    pub moving: &'a [PackageName],
    /// Further places for its packages.
    pub mirrors: &'a [String],
}

/// What is held, as a choice of packages needs it.
pub(super) struct Held<'a> {
    hold: Hold<'a>,
    /// Those that no archive's index has any more.
    pub index: Index,
}

impl<'a> Hold<'a> {
    /// The packages that stay where that can be. Package files of this host are what the recipe says of them.
    fn packages(&self) -> impl Iterator<Item = &'a LockPackage> {
        let (lock, moving) = (&self.lock.lock, self.moving);
        let host = debs::lock_source().uri;
        lock.packages.iter().filter(move |package| {
            let of_host = lock.sources.get(package.source);
            let of_host = of_host.is_none_or(|source| source.uri == host);
            !of_host && moving.iter().all(|name| name.as_str() != package.name)
        })
    }

    /// Reads the control data of the packages that are in no index any more, from the store or from where they still
    /// are. Nothing is written.
    ///
    /// # Errors
    /// [`BuildError::Gone`] with all that are nowhere, and what fetching says.
    pub(super) fn read(
        self,
        has: &dyn Fn(&LockPackage) -> bool,
        places: &[String],
        store: &Store,
        host: &Host<'_>,
    ) -> Result<Held<'a>, BuildError> {
        let (mut gone, mut text) = (Vec::new(), String::new());
        for package in self.packages().filter(|package| !has(package)) {
            let bytes = match store.package(&package.sha256) {
                Some(path) => std::fs::read(path).ok(),
                None => None,
            };
            let bytes = match bytes.filter(|bytes| is_it(package, bytes)) {
                Some(bytes) => bytes,
                None => {
                    let own = self.lock.lock.sources.get(package.source);
                    let own = own.map(|source| source.uri.as_str()).unwrap_or_default();
                    let places = places.iter().chain(self.mirrors).map(String::as_str);
                    let urls = locked::addresses(own, places, package);
                    match fetch(package, &urls, host.client)? {
                        Some(bytes) => bytes,
                        None => {
                            gone.push(locked::named(package));
                            continue;
                        }
                    }
                }
            };
            let shown = locked::named(package);
            let file = debs::About {
                shown: &shown,
                name: &hex::encode(&package.sha256),
                size: package.size,
                sha256: package.sha256,
            };
            text.push_str(&debs::stanza(&file, Cursor::new(bytes))?);
        }
        if !gone.is_empty() {
            gone.sort();
            return Err(BuildError::Gone { packages: gone });
        }
        let index = Index::parse(text.as_bytes()).map_err(|error| BuildError::DebControl {
            file: NAME.to_owned(),
            what: error.to_string(),
        })?;
        Ok(Held { hold: self, index })
    }
}

impl Held<'_> {
    /// Preferences that make the held versions the candidates, before all others.
    pub fn preferences(&self, native: &str) -> Result<Preferences, BuildError> {
        let mut text = String::new();
        for package in self.hold.packages() {
            let arch = match package.arch.as_str() {
                "all" => String::new(),
                arch if arch == native => String::new(),
                arch => format!(":{arch}"),
            };
            let (name, version) = (&package.name, &package.version);
            text.push_str(&format!(
                "Package: {name}{arch}\nPin: version {version}\nPin-Priority: {PRIORITY}\n\n"
            ));
        }
        Ok(Preferences::parse(NAME, &text)?)
    }

    /// The package of the lock with this content, and its source there.
    pub fn locked(&self, sha256: &[u8; 32]) -> Option<(&LockPackage, &LockSource)> {
        let lock = &self.hold.lock.lock;
        let package = lock.packages.iter().find(|p| p.sha256 == *sha256)?;
        Some((package, lock.sources.get(package.source)?))
    }
}

/// The names of these that are in no place of the lock.
pub fn absent(lock: &RecipeLock, names: &[PackageName]) -> Vec<String> {
    let known: BTreeSet<&str> = lock.lock.packages.iter().map(|p| p.name.as_str()).collect();
    let names = names.iter().map(PackageName::as_str);
    names
        .filter(|name| !known.contains(name))
        .map(str::to_owned)
        .collect()
}

fn is_it(package: &LockPackage, bytes: &[u8]) -> bool {
    bytes.len() as u64 == package.size && Sha256::digest(bytes).as_slice() == package.sha256
}

/// The first that has the package's very bytes; none when all answer that they have no such file.
fn fetch(
    package: &LockPackage,
    urls: &[String],
    client: &Client,
) -> Result<Option<Vec<u8>>, BuildError> {
    let mut altered = None;
    for url in urls {
        match client.small(url, package.size, None, None) {
            Ok(Small::Fresh { bytes, .. }) if is_it(package, &bytes) => return Ok(Some(bytes)),
            Ok(Small::Fresh { bytes, .. }) => {
                altered = Some(FetchError::Altered {
                    url: url.clone(),
                    expected: hex::encode(&package.sha256),
                    got: hex::encode(&Sha256::digest(&bytes)),
                });
            }
            Ok(Small::Unchanged) | Err(FetchError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    altered.map_or(Ok(None), |error| Err(error.into()))
}
