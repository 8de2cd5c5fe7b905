//! The engine's verbs for images made from packages.

use super::arrivals::Arrivals;
use super::plan::{Host, ImagePlan, Way, apt_facts, plan};
use super::{BuildError, Hold, build, plan_locked};
use crate::engine::{Dry, Engine};
use crate::error::{At, EngineError};
use crate::event::Observer;
use crate::fetch::{AptConfig, Client, Settings};
use crate::spec::ImageOptions;
use crate::view::Image;
use jaula_plan::names::Tag;
use jaula_plan::rootfs::{SourcesError, Table, TableError};
use jaula_plan::spec::rootfs::{ImageSpec, Reference};
use jaula_plan::spec::source::SourceOptions;
use jaula_repo::lock::recipe::RecipeLock;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Whose passwords are told to servers that ask for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logins {
    /// Those of the host's apt_auth.conf(5).
    Hosts,
    /// Nobody's, but what an address says itself: whoever named it has no right to the host's.
    None,
}

/// Packages that were fetched. No collection takes them as long as this is there.
#[derive(Debug)]
#[must_use = "a collection may take the packages as soon as this is dropped"]
pub struct Fetched {
    /// Where they lie, in the plan's order.
    pub paths: Vec<PathBuf>,
    _held: File,
}

impl Engine {
    /// Who fetches for a request.
    pub(crate) fn client(&self, asked: &SourceOptions) -> Result<Client, BuildError> {
        self.client_as(asked, Logins::Hosts)
    }

    /// The same, with a say in whose passwords are told to servers.
    pub(crate) fn client_as(
        &self,
        asked: &SourceOptions,
        logins: Logins,
    ) -> Result<Client, BuildError> {
        let config = self.config();
        let mut apt = AptConfig::read();
        if logins == Logins::None {
            apt.machines.clear();
        }
        let settings = Settings {
            proxies: config.proxies.clone(),
            offline: config.offline,
            apt_proxies: apt.proxies,
            machines: apt.machines,
            tls_client: asked.client.clone(),
            ..Settings::default()
        };
        Ok(Client::new(settings)?)
    }

    /// The distributions known, with the user's own.
    ///
    /// # Errors
    /// [`BuildError::Sources`], [`BuildError::Io`].
    pub fn table(&self) -> Result<Table, EngineError> {
        let mut table =
            Table::builtin().map_err(|source| table_error("built in".as_ref(), source))?;
        if let Some(path) = &self.config().distros {
            let text = std::fs::read_to_string(path)
                .at("read", path)
                .map_err(BuildError::from)?;
            table
                .extend(&text)
                .map_err(|source| table_error(path, source))?;
        }
        Ok(table)
    }

    /// As [`Engine::plan_image`], with a say in whether another image may be gone on from.
    ///
    /// # Errors
    /// [`EngineError::Build`].
    pub fn plan_image_by(
        &self,
        spec: &ImageSpec,
        way: Way,
        observer: &dyn Observer,
        dry: Dry,
    ) -> Result<ImagePlan, EngineError> {
        self.with_host(&spec.options, |host| {
            Ok(plan(spec, None, self.store(), host, way, observer, dry)?)
        })
    }

    /// What making the image of a recipe's lock takes; `mirrors` are further places for its packages.
    ///
    /// # Errors
    /// [`EngineError::Build`].
    pub fn plan_image_locked(
        &self,
        spec: &ImageSpec,
        lock: &RecipeLock,
        mirrors: &[String],
    ) -> Result<ImagePlan, EngineError> {
        self.with_host(&spec.options, |host| {
            Ok(plan_locked(spec, lock, mirrors, self.store(), host)?)
        })
    }

    /// As [`Engine::plan_image`], with all packages of a lock but some at their versions where that can be.
    ///
    /// # Errors
    /// [`EngineError::Build`].
    pub fn plan_image_holding(
        &self,
        spec: &ImageSpec,
        hold: Hold<'_>,
        observer: &dyn Observer,
        dry: Dry,
    ) -> Result<ImagePlan, EngineError> {
        self.with_host(&spec.options, |host| {
            let hold = Some(hold);
            Ok(plan(
                spec,
                hold,
                self.store(),
                host,
                Way::Whole,
                observer,
                dry,
            )?)
        })
    }

    /// Looks at the host for what planning needs of it.
    pub(crate) fn with_host<T>(
        &self,
        asked: &ImageOptions,
        work: impl FnOnce(&Host<'_>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.with_host_as(asked, Logins::Hosts, work)
    }

    /// The same, with a say in whose passwords are told to servers.
    pub(crate) fn with_host_as<T>(
        &self,
        asked: &ImageOptions,
        logins: Logins,
        work: impl FnOnce(&Host<'_>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let runnable = super::foreign::runnable_for(asked.arch.as_ref());
        let Some(arch) = runnable.first().cloned() else {
            return Err(EngineError::Absent {
                what: "making images on this architecture",
            });
        };
        let facts = apt_facts(arch, runnable);
        let (table, client) = (self.table()?, self.client_as(&asked.sources, logins)?);
        // Before 1970 the clock is wrong, and a Release file says so.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let host = Host {
            facts: &facts,
            table: &table,
            client: &client,
            now,
        };
        work(&host)
    }

    /// Fetches the packages of a plan into the store, and unpacks nothing. They stay as long as the answer is held.
    ///
    /// # Errors
    /// [`EngineError::Build`].
    pub fn fetch_packages(
        &self,
        plan: &ImagePlan,
        observer: &dyn Observer,
    ) -> Result<Fetched, EngineError> {
        let held = self.store().use_content().map_err(BuildError::from)?;
        // The archives themselves are wanted, whatever is unpacked.
        let none = std::collections::HashMap::new();
        let client = self.client(&plan.spec().options.sources)?;
        Arrivals::new(plan, self.store(), &none, &client, observer)?.fetch()?;
        let packages = plan.lock().packages.iter();
        Ok(Fetched {
            paths: packages
                .map(|package| self.store().package_path(&package.sha256))
                .collect(),
            _held: held,
        })
    }

    /// As [`Engine::image`].
    pub(crate) fn make_image(
        &self,
        plan: &ImagePlan,
        observer: &dyn Observer,
    ) -> Result<Image, EngineError> {
        Ok(build(
            plan,
            &tags(plan.spec()),
            self.store(),
            &self.client(&plan.spec().options.sources)?,
            observer,
        )?)
    }
}

fn table_error(path: &Path, source: TableError) -> BuildError {
    SourcesError::Table {
        file: jaula_plan::explain::shown(path),
        source,
    }
    .into()
}

/// An image made with no option has the tag `debian:bookworm`, or `debian` if no suite was asked for either.
fn tags(spec: &ImageSpec) -> Vec<Tag> {
    let reference = Reference::Distro {
        distro: spec.distro.clone(),
        suite: spec.suite.clone(),
    };
    if ImageOptions::default().spec(&reference).as_ref() != Some(spec) {
        return Vec::new();
    }
    crate::view::reference_text(&reference)
        .parse()
        .ok()
        .into_iter()
        .collect()
}
