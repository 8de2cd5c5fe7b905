//! Verified indices for work on packages that are not those of a new image.

use super::error::BuildError;
use super::indices::{self, Suite};
use super::plan::{Host, millis};
use super::solve;
use crate::engine::Dry;
use crate::event::{Event, Observer, Phase};
use crate::store::Store;
use jaula_plan::rootfs::{Source, resolve_sources};
use jaula_plan::spec::rootfs::ImageSpec;
use jaula_repo::deb::packages::{Index, Package};
use jaula_repo::deb::preferences::Policy;
use jaula_repo::solve::Universe;
use std::time::Instant;

/// The suites of a request, verified and parsed.
pub struct Repositories {
    native: String,
    suites: Vec<Suite>,
    entries: Vec<Source>,
}

impl Repositories {
    /// Finds, reads and verifies them.
    ///
    /// # Errors
    /// [`BuildError`]
    pub fn read(
        spec: &ImageSpec,
        store: &Store,
        host: &Host<'_>,
        observer: &dyn Observer,
        dry: Dry,
    ) -> Result<Self, BuildError> {
        let mut sources = resolve_sources(spec, host.facts, host.table)?;
        let client = host.client.with_logins(&sources.entries);
        let host = &Host {
            client: &client,
            ..*host
        };
        let started = Instant::now();
        let items = sources.entries.len() as u64;
        observer.event(Event::Started {
            phase: Phase::Indices,
            items,
            bytes: 0,
        });
        let suites = indices::read_all(
            &mut sources,
            &spec.options.foreign_archs,
            store,
            host,
            dry,
            &mut |_, _| false,
        )?;
        observer.event(Event::Finished {
            phase: Phase::Indices,
            items,
            bytes: 0,
            millis: millis(started),
        });
        Ok(Self {
            native: sources.arch.to_string(),
            suites,
            entries: sources.entries,
        })
    }

    /// The pins of a request.
    ///
    /// # Errors
    /// [`BuildError::Preferences`]
    pub fn policy(&self, spec: &ImageSpec) -> Result<Policy, BuildError> {
        solve::policy(&spec.options.sources.preferences, &self.native)
    }

    /// Adds every index to a universe, in their order.
    pub fn add_to<'i>(&'i self, universe: &mut Universe<'i>) {
        for suite in &self.suites {
            for (place, index) in suite.indices.iter().enumerate() {
                universe.add_source(index, solve::facts(suite, place));
            }
        }
    }

    /// Where they come from.
    pub fn entries(&self) -> &[Source] {
        &self.entries
    }

    fn indices(&self) -> impl Iterator<Item = (&Suite, &Index)> {
        let of = |suite| {
            let suite: &Suite = suite;
            suite.indices.iter().map(move |index| (suite, index))
        };
        self.suites.iter().flat_map(of)
    }

    /// Every package of a name, in all versions.
    pub fn named(&self, name: &str) -> Vec<Package<'_>> {
        let mut found = Vec::new();
        for (_, index) in self.indices() {
            found.extend(index.by_name(name).map(|id| index.package(id)));
        }
        found
    }

    /// The addresses of a package of the index with this number.
    pub fn urls(&self, index: usize, path: &str) -> Vec<String> {
        let suite = self.indices().nth(index).map(|(suite, _)| suite);
        let uri = suite
            .map(|suite| suite.source.uri.as_str())
            .unwrap_or_default();
        vec![format!("{uri}/{}", super::build::escaped(path))]
    }
}
