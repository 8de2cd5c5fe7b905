//! What making an image takes.

use super::apt_files::AptFiles;
use super::error::BuildError;
use super::hold::Hold;
use super::identity::{self, Identity};
use super::lists::AptList;
use super::settings;
use super::{base, debs, hooks, indices, solve, solved, unfinished};
use crate::engine::Dry;
use crate::event::{Event, Observer, Phase};
use crate::fetch::Client;
use crate::plan::Preview;
use crate::store::Store;
use crate::unpack::Share;
use crate::view::Image;
use jaula_plan::explain::{ExplainLine, word};
use jaula_plan::facts::archive::{AptFacts, SourcesFile};
use jaula_plan::names::{Arch, Digest};
use jaula_plan::path_filter::PathFilter;
use jaula_plan::rootfs::{Keyring, Origin, Source, Sources, Table, resolve_sources};
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec};
use jaula_plan::spec::source::Trust;
use jaula_repo::lock::{Lock, LockPackage, Role};
use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What planning needs besides the store.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// The host's APT.
    pub facts: &'a AptFacts,
    /// The distributions.
    pub table: &'a Table,
    /// The network.
    pub client: &'a Client,
    /// Seconds since 1970, UTC.
    pub now: u64,
}

/// Whether an image may be made from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From nothing: the same request and the same archive give the same bytes.
    Whole,
    /// From an image of the store that has part of the packages, where there is one.
    Reuse,
}

/// An image to begin from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its digest.
    pub digest: Digest,
    /// Its tree.
    pub root: PathBuf,
    /// How many of the wanted packages it has.
    pub packages: usize,
}

/// A package of the plan, in unpack order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPackage {
    /// What it replaces (`Replaces`).
    pub replaces: String,
    /// Installed size in KiB.
    pub installed_size: u64,
    /// In the store already.
    pub kept: bool,
    /// In the store already, and unpacked.
    pub unpacked: bool,
    /// In the base already.
    pub in_base: bool,
}

/// What making an image takes. [`super::build`] does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePlan {
    pub(super) spec: ImageSpec,
    pub(super) sources: Sources,
    pub(super) apt: AptFiles,
    pub(super) lock: Lock,
    pub(super) packages: Vec<PlannedPackage>,
    pub(super) digest: Digest,
    /// The image that it becomes when it is finished, when it is only unpacked.
    pub(super) becomes: Option<Digest>,
    pub(super) base: Option<Base>,
    pub(super) ready: Option<Image>,
    pub(super) stage: PathBuf,
    pub(super) share: Option<Share>,
    /// Made by a lock: where else its packages may be.
    pub(super) mirrors: Option<Vec<String>>,
    /// What apt knows of the sources, where hooks' programs of apt are to find it.
    pub(super) lists: Vec<AptList>,
}

impl ImagePlan {
    /// The digest that the image has, or will have.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The packages and where they come from.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// The image, if the store has it.
    pub fn ready(&self) -> Option<&Image> {
        self.ready.as_ref()
    }

    /// The image this one is made from, if any.
    pub fn base(&self) -> Option<&Base> {
        self.base.as_ref()
    }

    /// The language that programs of the image are started with, if it is to have one.
    pub fn language(&self) -> Option<String> {
        settings::language(&self.spec.options)
    }

    /// What was asked.
    pub fn spec(&self) -> &ImageSpec {
        &self.spec
    }

    /// Where the packages come from.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Packages to be fetched: how many, and their bytes.
    pub fn to_fetch(&self) -> (usize, u64) {
        let missing = self
            .packages
            .iter()
            .zip(&self.lock.packages)
            .filter(|(planned, _)| !planned.kept && !planned.unpacked && !planned.in_base);
        missing.fold((0, 0), |(count, bytes), (_, locked)| {
            (count + 1, bytes + locked.size)
        })
    }

    /// No file of the image is later than this (SOURCE_DATE_EPOCH): the newest date of a Release file.
    pub fn epoch(&self) -> u64 {
        self.lock
            .sources
            .iter()
            .map(|source| source.date)
            .max()
            .unwrap_or(0)
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

impl fmt::Display for ImagePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sources, lock, .. } = self;
        writeln!(
            f,
            "image {} {} {} {}",
            sources.distro, sources.suite, sources.arch, self.spec.options.variant
        )?;
        let origin = match sources.origin {
            Origin::Mirror => "the mirror that was named",
            Origin::Host => "this host's APT sources",
            Origin::Table => "the table of distributions",
            Origin::Repositories => "the repositories that were named",
        };
        writeln!(f, "  digest {}", self.digest)?;
        writeln!(f, "  from {origin}")?;
        for entry in &sources.entries {
            let keys: Vec<String> = entry.keyrings.iter().map(keyring_name).collect();
            match entry.trust {
                Trust::Signed => writeln!(f, "    {entry} (signed by {})", keys.join(", "))?,
                Trust::Unsigned => writeln!(f, "    {entry} (SIGNATURES ARE NOT LOOKED AT)")?,
            }
        }
        if self.ready.is_some() {
            return writeln!(f, "  the store has it: nothing to do");
        }
        let (count, bytes) = self.to_fetch();
        let all = lock.packages.len();
        let installed: u64 = self
            .packages
            .iter()
            .map(|package| package.installed_size * 1024)
            .sum();
        writeln!(f, "  {all} packages, {} unpacked", size(installed))?;
        let mut step = 0;
        let mut next = |f: &mut fmt::Formatter<'_>, text: String| {
            step += 1;
            writeln!(f, "  {step}. {text}")
        };
        next(
            f,
            format!("fetch {count} of {all} packages, {}", size(bytes)),
        )?;
        if let Some(base) = &self.base {
            next(
                f,
                format!(
                    "begin with image {}, which has {} of the packages",
                    base.digest, base.packages
                ),
            )?;
        }
        let new = self
            .packages
            .iter()
            .filter(|package| !package.in_base)
            .count();
        next(
            f,
            format!("unpack {new} packages into a stage of the store, and write dpkg's database"),
        )?;
        let known = self
            .packages
            .iter()
            .filter(|package| package.unpacked && !package.in_base);
        let (known, way) = (known.count(), self.share.map(Share::as_str));
        writeln!(
            f,
            "     {known} of them were unpacked before; files of the tree are made by {}",
            way.unwrap_or("reflink, hard link or copy, as is found out in this store then")
        )?;
        match self.becomes {
            None => next(
                f,
                "run the preinst scripts and dpkg --configure in a jail without network".to_owned(),
            )?,
            Some(_) => next(f, "note which scripts are left for jaula finish".to_owned())?,
        }
        for text in settings::texts(&self.spec.options) {
            next(f, text)?;
        }
        next(
            f,
            "remove what only one run has: logs, caches, times later than the archive's".to_owned(),
        )?;
        next(f, "put the tree into the store".to_owned())?;
        for (planned, package) in self.packages.iter().zip(&lock.packages) {
            let place = match (planned.in_base, planned.unpacked, planned.kept) {
                (true, _, _) => "in the base",
                (false, true, _) => "unpacked in the store",
                (false, false, true) => "in the store",
                (false, false, false) => "to be fetched",
            };
            let (name, version, arch) = (&package.name, &package.version, &package.arch);
            writeln!(
                f,
                "    {name} {version} {arch}, {}, {place}",
                size(package.size)
            )?;
        }
        Ok(())
    }
}

fn keyring_name(keyring: &Keyring) -> String {
    match keyring {
        Keyring::File(path) => jaula_plan::explain::shown(path),
        Keyring::Inline(_) => "the key in the source itself".to_owned(),
    }
}

impl Preview for ImagePlan {
    fn to_json(&self) -> Value {
        let packages: Vec<Value> = self
            .packages
            .iter()
            .zip(&self.lock.packages)
            .map(|(planned, package)| {
                json!({
                    "name": package.name,
                    "version": package.version,
                    "architecture": package.arch,
                    "size": package.size,
                    "sha256": jaula_repo::hex::encode(&package.sha256),
                    "source": package.source,
                    "path": package.path,
                    "role": package.role.as_str(),
                    "kept": planned.kept,
                    "unpacked": planned.unpacked,
                    "in_base": planned.in_base,
                })
            })
            .collect();
        let (count, bytes) = self.to_fetch();
        json!({
            "version": 1,
            "digest": self.digest,
            "ready": self.ready.is_some(),
            "variant": self.spec.options.variant,
            "sources": &self.sources,
            "base": self.base.as_ref().map(|base| base.digest),
            "fetch": { "packages": count, "bytes": bytes },
            "share": self.share,
            "epoch": self.epoch(),
            "settings": settings::texts(&self.spec.options),
            "packages": packages,
        })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        if let Some(image) = &self.ready {
            return vec![ExplainLine::new(
                "",
                format!("image {} is in the store: nothing to do", image.digest()),
            )];
        }
        let root = word(&self.stage);
        let Some(main) = self.sources.entries.first() else {
            return Vec::new();
        };
        let wanted = self
            .lock
            .packages
            .iter()
            .filter(|package| package.role == Role::Requested);
        let include: Vec<&str> = wanted.map(|package| package.name.as_str()).collect();
        let mut command = format!(
            "mmdebstrap --mode=root --variant={}",
            self.spec.options.variant
        );
        if let Some(Keyring::File(path)) = main.keyrings.first() {
            command.push_str(&format!(" --keyring={}", word(path)));
        }
        if !include.is_empty() {
            command.push_str(&format!(" --include={}", word(include.join(","))));
        }
        command.push_str(&format!(
            " --architectures={}",
            word(self.sources.arch.as_str())
        ));
        command.push_str(&settings::arguments(&self.spec.options));
        command.push_str(&format!(" {} {root}", word(self.sources.suite.as_str())));
        for entry in &self.sources.entries {
            command.push_str(&format!(" {}", word(entry.to_string())));
        }
        let mut lines = vec![ExplainLine::new(
            format!("SOURCE_DATE_EPOCH={} {command}", self.epoch()),
            "make a root file system from signed packages, each unpacked once and configured in a jail",
        )];
        lines.extend(settings::explain(&self.spec.options, &self.stage));
        lines
    }
}

/// Reads what the host knows of archives.
pub fn apt_facts(arch: Arch, runnable: Vec<Arch>) -> AptFacts {
    let mut files: Vec<PathBuf> = vec!["/etc/apt/sources.list".into()];
    files.extend(listed(
        Path::new("/etc/apt/sources.list.d"),
        &["list", "sources"],
    ));
    let sources = files
        .into_iter()
        // A file that cannot be read (the owner's password is in it) is as good as none.
        .filter_map(|path| {
            Some(SourcesFile {
                text: std::fs::read_to_string(&path).ok()?,
                path,
            })
        })
        .collect();
    let endings = ["gpg", "asc", "pgp"];
    let mut trusted: Vec<PathBuf> = Some(PathBuf::from("/etc/apt/trusted.gpg"))
        .filter(|path| path.is_file())
        .into_iter()
        .collect();
    trusted.extend(listed(Path::new("/etc/apt/trusted.gpg.d"), &endings));
    let mut keyrings = listed(Path::new("/usr/share/keyrings"), &endings);
    keyrings.extend(listed(Path::new("/etc/apt/keyrings"), &endings));
    AptFacts {
        arch,
        runnable,
        sources,
        trusted,
        keyrings,
    }
}

/// Files of a directory with one of these endings, sorted by name.
pub(super) fn listed(dir: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .and_then(|e| e.to_str())
                .is_some_and(|e| endings.contains(&e))
                && path.is_file()
        })
        .collect();
    paths.sort();
    paths
}

/// Finds sources, reads and verifies their indices, chooses packages, and says what making the image takes. With
/// [`Dry::ReadOnly`] nothing is written anywhere. What is held of a lock stays as it is where that can be.
///
/// # Errors
/// [`BuildError`].
pub fn plan(
    spec: &ImageSpec,
    hold: Option<Hold<'_>>,
    store: &Store,
    host: &Host<'_>,
    way: Way,
    observer: &dyn Observer,
    dry: Dry,
) -> Result<ImagePlan, BuildError> {
    check(spec)?;
    let mut sources = resolve_sources(spec, host.facts, host.table)?;
    let unsigned = |entry: &&Source| entry.trust == Trust::Unsigned;
    for entry in sources.entries.iter().filter(unsigned) {
        let text = format!(
            "the signatures of {} {} are not looked at: whoever is between can replace every package",
            entry.uri, entry.suite
        );
        observer.event(Event::Note { text });
    }
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
    let local = debs::read(&spec.options.debs)?;
    let mut key = None;
    let mut known = None;
    let foreign = &spec.options.foreign_archs;
    let mut answered = |sources: &Sources, hashes: &str| {
        // What was chosen for a lock is no answer to the same request without it.
        key = match hold {
            Some(_) => None,
            None => solved::key(spec, sources, &local, hashes),
        };
        known = key.as_ref().and_then(|key| solved::find(store, key));
        known.is_some()
    };
    let suites = indices::read_all(&mut sources, foreign, store, host, dry, &mut answered)?;
    for suite in suites.iter().filter(|suite| !suite.signers.is_empty()) {
        observer.event(Event::Verified {
            uri: suite.source.uri.clone(),
            suite: suite.source.suite.clone(),
            signers: suite.signers.clone(),
        });
    }
    observer.event(Event::Finished {
        phase: Phase::Indices,
        items,
        bytes: 0,
        millis: millis(started),
    });

    let started = Instant::now();
    observer.event(Event::Started {
        phase: Phase::Solve,
        items: 0,
        bytes: 0,
    });
    let (lock, packages) = match known {
        Some(answer) => answer,
        None => {
            let has = |name: &str| {
                let mut indices = suites.iter().flat_map(|suite| &suite.indices);
                indices.any(|index| index.by_name(name).next().is_some())
            };
            let wanted = settings::with_packages(spec, &has)?;
            let held = match hold {
                Some(hold) => {
                    let places: Vec<String> =
                        sources.entries.iter().map(|e| e.uri.clone()).collect();
                    let listed = |package: &LockPackage| {
                        let mut indices = suites.iter().flat_map(|suite| &suite.indices);
                        indices.any(|index| {
                            let mut versions = index.by_name(&package.name);
                            versions.any(|id| index.package(id).sha256() == package.sha256)
                        })
                    };
                    Some(hold.read(&listed, &places, store, host)?)
                }
                None => None,
            };
            let answer = solve::solve(&wanted, &sources, &suites, &local, held.as_ref())?;
            if let (Some(key), Dry::MayCache) = (&key, dry) {
                solved::keep(store, key, &answer);
            }
            answer
        }
    };
    let lists = match spec.options.apt_traces.lent {
        true => suites.into_iter().flat_map(|suite| suite.lists).collect(),
        false => Vec::new(),
    };
    observer.event(Event::Finished {
        phase: Phase::Solve,
        items: packages.len() as u64,
        bytes: lock.download_size(),
        millis: millis(started),
    });
    let plan = assemble(spec, sources, (lock, packages), store, way)?;
    Ok(ImagePlan { lists, ..plan })
}

/// What can be refused before anything is read.
fn check(spec: &ImageSpec) -> Result<(), BuildError> {
    hooks::check(&spec.options.hooks)?;
    PathFilter::new(&spec.options.paths)?;
    Ok(jaula_plan::settings::check(&spec.options.settings)?)
}

/// The plan of an image whose packages are chosen.
pub(super) fn assemble(
    spec: &ImageSpec,
    sources: Sources,
    (lock, mut packages): (Lock, Vec<PlannedPackage>),
    store: &Store,
    way: Way,
) -> Result<ImagePlan, BuildError> {
    for (planned, locked) in packages.iter_mut().zip(&lock.packages) {
        planned.kept = store.package(&locked.sha256).is_some();
        planned.unpacked = store.has_unpacked(&locked.sha256);
    }
    check(spec)?;
    settings::check_packages(spec, &lock)?;
    if spec.options.unpack_only {
        unfinished::needs_nothing(&spec.options)?;
    }
    let apt = AptFiles::read(&spec.options, &sources)?;
    let packages_alone = Digest(lock.digest());
    let over = |options: &ImageOptions| {
        let identity = Identity::read(options, sources.merged_usr_as_released)?;
        let identity = identity.and(apt.identity());
        Ok::<_, BuildError>((identity.over(packages_alone), identity))
    };
    let (whole, identity) = over(&spec.options)?;
    let becomes = match spec.options.unpack_only {
        true => {
            let finished = ImageOptions {
                unpack_only: false,
                ..spec.options.clone()
            };
            Some(over(&finished)?.0)
        }
        false => None,
    };
    let stage = store.root().join("stages/new/root");
    let mut plan = ImagePlan {
        spec: spec.clone(),
        sources,
        apt,
        lock,
        packages,
        digest: whole,
        becomes,
        base: None,
        ready: store.image(&whole)?,
        stage,
        share: store.last_share(),
        mirrors: None,
        lists: Vec::new(),
    };
    if plan.ready.is_none() && way == Way::Reuse && identity::may_go_on(&spec.options) {
        base::choose(&mut plan, store)?;
        if plan.base.is_some() {
            plan.digest = identity.over(plan.digest);
            plan.ready = store.image(&plan.digest)?;
        }
    }
    Ok(plan)
}

pub(super) fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
