//! From an [`ImageSpec`] to the signed suites it is made of.

use super::address::{checked, split_login, without_login};
use super::nearest::nearest;
use super::sources::{Keyring, Kind, Origin, Source, Sources, SourcesError};
use super::table::{Distro, Release, Table};
use crate::facts::archive::{AptFacts, AptSource, apt_sources};
use crate::names::{Arch, Component, Suite};
use crate::spec::rootfs::ImageSpec;
use crate::spec::source::{Repository, SignedBy, SourceOptions, Trust, Used};
use jaula_repo::date;
use std::path::Path;

/// A day, `2026-06-06`, or a moment in UTC, `2026-06-06T09:12:13Z`, as seconds since 1970.
pub fn moment(text: &str) -> Option<u64> {
    date::parse_rfc3339(text)
}

/// Finds the suites, mirrors and keyrings for `spec`.
///
/// `--mirror` alone decides where it is given, and only the release itself is used then, as debootstrap(8) and
/// mmdebstrap(1) do. Else the host's own APT sources give address and keyring if the host is of the same
/// distribution: exactly its suites if it has this release, else the table's with the host's addresses. Else the
/// table decides. With [`SourceOptions::snapshot`] the table's archive of the past takes the place of all of these.
/// Repositories of the user's come after, or are all there is.
///
/// # Errors
/// [`SourcesError`].
pub fn resolve_sources(
    spec: &ImageSpec,
    facts: &AptFacts,
    table: &Table,
) -> Result<Sources, SourcesError> {
    let name = spec.distro.as_str();
    let asked = &spec.options.sources;
    let distro = table.distro(name);
    if distro.is_none() && asked.mirror.is_none() && !asked.only_repositories {
        return Err(SourcesError::UnknownDistro {
            name: spec.distro.clone(),
            nearest: nearest(name, table.names()),
        });
    }
    let suite = suite(spec, distro)?;
    let arch = spec
        .options
        .arch
        .clone()
        .unwrap_or_else(|| facts.arch.clone());
    if !facts.runnable.contains(&arch) && !spec.options.unpack_only {
        return Err(SourcesError::ForeignArch {
            arch,
            runnable: facts.runnable.clone(),
        });
    }
    let release = distro.and_then(|distro| distro.release(suite.as_str()));
    let host = match distro {
        Some(distro) => HostArchive::find(distro, &apt_sources(&facts.sources, &arch)),
        None => HostArchive::default(),
    };
    let request = Request {
        spec,
        asked,
        distro,
        release,
        facts,
        host: &host,
        arch: &arch,
    };
    let (origin, mut entries) = if asked.only_repositories {
        (Origin::Repositories, Vec::new())
    } else {
        request.own(&suite)?
    };
    request.repositories(&mut entries)?;
    let wanted = |source: &Source| {
        let foreign = &spec.options.foreign_archs;
        let fits = |a: &Arch| *a == arch || foreign.contains(a);
        source.used != Used::Image && (source.archs.is_empty() || source.archs.iter().any(fits))
    };
    let (entries, mut image_only): (Vec<Source>, Vec<Source>) =
        entries.into_iter().partition(wanted);
    image_only.retain(|source| source.used != Used::Build);
    if entries.is_empty() {
        return Err(SourcesError::NoRepository);
    }
    // A release the table does not know of a distribution that it knows is newer than the table.
    let released = release.map(|release| release.merged_usr);
    let released = released.or_else(|| distro.filter(|_| !asked.only_repositories).map(|_| true));
    let chosen = spec.options.merged_usr;
    Ok(Sources {
        distro: spec.distro.clone(),
        suite,
        arch,
        merged_usr: chosen.or(released).unwrap_or(true),
        merged_usr_as_released: released.unwrap_or(true),
        merged_usr_asked: chosen.is_some(),
        merged_usr_by_packages: released.is_none(),
        arch_by_release: spec.options.arch.is_none() && released.is_none(),
        old: release.is_some_and(|release| release.old),
        origin,
        entries,
        image_only,
    })
}

/// The suite as asked for, or the distribution's default one.
fn suite(spec: &ImageSpec, distro: Option<&Distro>) -> Result<Suite, SourcesError> {
    let no_suite = || SourcesError::NoSuite {
        distro: spec.distro.clone(),
    };
    match (&spec.suite, distro) {
        (Some(suite), _) => Ok(suite.clone()),
        (None, Some(distro)) => bad("default suite", &distro.default_suite),
        (None, None) => {
            // Only a name then: each repository has its suites.
            let first = spec.options.sources.repositories.first();
            let first = first.filter(|_| spec.options.sources.only_repositories);
            let named = first.and_then(|repository| repository.suites.first());
            named
                .and_then(|suite| suite.parse().ok())
                .or_else(|| first.and(spec.distro.as_str().parse().ok()))
                .ok_or_else(no_suite)
        }
    }
}

/// What one request is resolved with.
struct Request<'a> {
    spec: &'a ImageSpec,
    asked: &'a SourceOptions,
    distro: Option<&'a Distro>,
    release: Option<&'a Release>,
    facts: &'a AptFacts,
    host: &'a HostArchive,
    arch: &'a Arch,
}

impl Request<'_> {
    /// The distribution's own suites.
    fn own(&self, suite: &Suite) -> Result<(Origin, Vec<Source>), SourcesError> {
        let Self { asked, release, .. } = *self;
        let (origin, mut entries) = match (&asked.mirror, self.distro, release) {
            (Some(mirror), ..) => (Origin::Mirror, vec![self.mirror(mirror, suite)?]),
            (None, Some(distro), Some(release)) => match asked.snapshot {
                Some(moment) => (
                    Origin::Table,
                    from_the_past(distro, release, suite.as_str(), moment).ok_or_else(|| {
                        SourcesError::NoSnapshot {
                            what: self.spec.distro.to_string(),
                        }
                    })?,
                ),
                None => from_host_or_table(distro, release, suite.as_str(), self.arch, self.host),
            },
            (None, distro, _) => return Err(self.unknown_suite(distro, suite)),
        };
        if let Some(main) = entries.first().cloned() {
            let named: Vec<&str> = entries.iter().map(|entry| entry.suite.as_str()).collect();
            let more = asked
                .extra_suites
                .iter()
                .filter(|s| !named.contains(&s.as_str()));
            let more: Vec<Source> = more
                .map(|suite| Source {
                    suite: suite.to_string(),
                    kind: Kind::Extra,
                    ..main.clone()
                })
                .collect();
            entries.extend(more);
        }
        let components: Vec<String> = match (&asked.components, self.distro) {
            (asked, Some(distro)) if asked.is_empty() => distro.components.clone(),
            (asked, _) => asked.iter().map(ToString::to_string).collect(),
        };
        for component in &components {
            bad::<Component>("component", component)?;
        }
        for entry in &mut entries {
            entry.components.clone_from(&components);
            entry.trust = asked.trust;
            entry.check_valid_until &= asked.snapshot.is_none();
            entry.own_keys = self.distro.is_none();
            if asked.trust == Trust::Unsigned {
                entry.keyrings.clear();
            } else if !asked.keyrings.is_empty() || entry.keyrings.is_empty() {
                entry.keyrings = self.keyrings(entry)?;
            }
        }
        Ok((origin, entries))
    }

    fn mirror(&self, mirror: &str, suite: &Suite) -> Result<Source, SourcesError> {
        let mirror = match self.asked.snapshot {
            Some(moment) if mirror.contains("{}") => mirror.replace("{}", &date::stamp(moment)),
            Some(_) => {
                return Err(SourcesError::NoSnapshot {
                    what: format!("mirror {}", without_login(mirror)),
                });
            }
            None => mirror.to_owned(),
        };
        let (uri, login) = split_login(&check_mirror(&mirror)?);
        let mut made = Source::new(uri, suite.as_str(), Kind::Main);
        made.login = login;
        Ok(made)
    }

    fn unknown_suite(&self, distro: Option<&Distro>, suite: &Suite) -> SourcesError {
        let releases = distro
            .map(|distro| distro.releases.as_slice())
            .unwrap_or_default();
        let names = releases
            .iter()
            .flat_map(|r| std::iter::once(&r.name).chain(&r.aliases));
        SourcesError::UnknownSuite {
            distro: self.spec.distro.clone(),
            suite: suite.clone(),
            nearest: nearest(suite.as_str(), names.map(String::as_str)),
        }
    }

    /// The user's repositories, behind the distribution's own suites.
    fn repositories(&self, entries: &mut Vec<Source>) -> Result<(), SourcesError> {
        let mut names: Vec<String> = Vec::new();
        for repository in &self.asked.repositories {
            let name = match &repository.name {
                Some(name) => file_name(name),
                // Told apart by numbers: two archives of one host and suite are two files.
                None => (1u32..)
                    .map(|number| match number {
                        1 => derived_name(repository),
                        _ => format!("{}-{number}", derived_name(repository)),
                    })
                    .find(|name| !names.contains(name))
                    .unwrap_or_default(),
            };
            for made in self.repository(repository, &name)? {
                entries.push(made);
            }
            names.push(name);
        }
        Ok(())
    }

    fn repository(&self, repository: &Repository, name: &str) -> Result<Vec<Source>, SourcesError> {
        let address = match self.asked.snapshot {
            Some(moment) => repository.uri.replace("{}", &date::stamp(moment)),
            None => repository.uri.clone(),
        };
        let (uri, login) = split_login(&check_mirror(&address)?);
        let wrong = |what: String| SourcesError::BadRepository {
            uri: uri.clone(),
            what,
        };
        if repository.suites.is_empty() {
            return Err(wrong("has no suite".to_owned()));
        }
        let mut made = Vec::new();
        for suite in &repository.suites {
            let mut entry = Source::new(uri.clone(), suite, Kind::Repository);
            let parts = if entry.flat() {
                suite.trim_end_matches('/')
            } else {
                suite
            };
            let good = |part: &str| {
                part != ".."
                    && part
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "-_.+~:".contains(c))
            };
            if suite.is_empty() || !parts.split('/').all(good) || parts.starts_with('-') {
                return Err(wrong(format!("has no suite {suite:?}: that is no name")));
            }
            if entry.flat() && !repository.components.is_empty() {
                return Err(wrong(format!("is flat ({suite}), and has no components")));
            }
            for component in &repository.components {
                // `updates/main` is one.
                for part in component.split('/') {
                    bad::<Component>("component", part)?;
                }
            }
            entry.login.clone_from(&login);
            entry.components.clone_from(&repository.components);
            entry.archs.clone_from(&repository.archs);
            entry.name = Some(name.to_owned());
            entry.used = repository.used;
            entry.source_packages = repository.source_packages;
            entry.check_valid_until = repository.check_valid_until
                && (self.asked.snapshot.is_none() || address == repository.uri);
            entry.own_keys = repository.signed_by != SignedBy::Default || self.distro.is_none();
            entry.trust = match self.asked.trust {
                Trust::Signed => repository.trust,
                Trust::Unsigned => Trust::Unsigned,
            };
            entry.trusted_always = repository.trust == Trust::Unsigned;
            entry.keyrings = match (&repository.signed_by, entry.trust) {
                (_, Trust::Unsigned) => Vec::new(),
                (SignedBy::Files(files), _) => files.iter().cloned().map(Keyring::File).collect(),
                (SignedBy::Inline(key), _) => vec![Keyring::Inline(key.clone())],
                (SignedBy::Default, _) => self.keyrings(&entry)?,
            };
            if entry.trust == Trust::Signed
                && entry.keyrings.is_empty()
                && entry.used != Used::Image
            {
                return Err(no_key(&entry));
            }
            made.push(entry);
        }
        Ok(made)
    }

    /// `--keyring`, else what the host trusts for this distribution, else what the table knows and the host has.
    fn keyrings(&self, entry: &Source) -> Result<Vec<Keyring>, SourcesError> {
        let given = &self.asked.keyrings;
        if !given.is_empty() {
            return Ok(given.iter().cloned().map(Keyring::File).collect());
        }
        let Some(distro) = self.distro else {
            return match entry.used {
                Used::Image => Ok(Vec::new()),
                _ => Err(no_key(entry)),
            };
        };
        let facts = self.facts;
        let exists = |path: &Path| {
            facts
                .keyrings
                .iter()
                .chain(&facts.trusted)
                .any(|have| have == path)
        };
        let mut found: Vec<Keyring> = Vec::new();
        let by_host = self
            .host
            .of(entry.kind)
            .or_else(|| self.host.of(Kind::Main));
        match by_host.map(|source| &source.signed_by) {
            Some(SignedBy::Files(files)) => found.extend(files.iter().cloned().map(Keyring::File)),
            Some(SignedBy::Inline(key)) => found.push(Keyring::Inline(key.clone())),
            Some(SignedBy::Default) | None => {}
        }
        let table = distro.keyrings.iter().find(|path| exists(path));
        let old = distro
            .old_keyrings
            .iter()
            .filter(|path| self.release.is_some_and(|r| r.old) && exists(path));
        for path in table.into_iter().chain(old) {
            if !found.contains(&Keyring::File(path.clone())) {
                found.push(Keyring::File(path.clone()));
            }
        }
        if found.is_empty() && !self.host.entries.is_empty() {
            found.extend(facts.trusted.iter().cloned().map(Keyring::File));
        }
        if found.is_empty() {
            return Err(SourcesError::NoKeyring {
                distro: self.spec.distro.clone(),
                candidates: distro
                    .keyrings
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect(),
                package: distro.keyring_package.clone(),
            });
        }
        Ok(found)
    }
}

fn no_key(entry: &Source) -> SourcesError {
    SourcesError::NoKey {
        source_line: entry.to_string(),
    }
}

/// A name as apt takes it for a file of `sources.list.d`: letters, digits, `_`, `-` and `.`.
fn file_name(text: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String = text
        .chars()
        .map(|c| if good(c) { c } else { '_' })
        .collect();
    let name: String = name
        .trim_matches(['.', '_', '-'])
        .chars()
        .take(100)
        .collect();
    if name.is_empty() {
        "repository".to_owned()
    } else {
        name
    }
}

/// A name for a repository that has none: where it is, and its first suite.
fn derived_name(repository: &Repository) -> String {
    let plain = without_login(&repository.uri);
    let place = match super::address::host(&plain) {
        "" => plain.rsplit('/').next().unwrap_or("").to_owned(),
        host => host.to_owned(),
    };
    let suite = repository.suites.first().map_or("", String::as_str);
    let suite = suite.trim_matches(['.', '/']);
    let join = if suite.is_empty() { "" } else { "-" };
    file_name(&format!("{place}{join}{suite}"))
}

fn bad<T: std::str::FromStr>(what: &'static str, value: &str) -> Result<T, SourcesError> {
    value.parse().map_err(|_| SourcesError::BadValue {
        what,
        value: value.to_owned(),
    })
}

/// The address in its one spelling, if it is one.
fn check_mirror(mirror: &str) -> Result<String, SourcesError> {
    checked(mirror).ok_or_else(|| SourcesError::BadMirror {
        mirror: without_login(mirror),
    })
}

/// The suites of a release in the archive that keeps its past, as they were at a moment.
fn from_the_past(
    distro: &Distro,
    release: &Release,
    suite: &str,
    moment: u64,
) -> Option<Vec<Source>> {
    let stamp = date::stamp(moment);
    let main = distro.snapshot_mirror.as_ref()?;
    let security = distro.snapshot_security_mirror.as_ref().unwrap_or(main);
    let entries = suites_of(release, suite);
    let entries = entries.into_iter().map(|(kind, name)| {
        let mirror = if kind == Kind::Security {
            security
        } else {
            main
        };
        Source::new(mirror.replace("{}", &stamp), &name, kind)
    });
    Some(entries.collect())
}

/// What a release is made of: itself, its updates and its security updates.
fn suites_of(release: &Release, suite: &str) -> Vec<(Kind, String)> {
    let pattern = |kind, pattern: &Option<String>| {
        pattern
            .as_ref()
            .map(|pattern| (kind, pattern.replace("{}", suite)))
    };
    let mut suites = vec![(Kind::Main, suite.to_owned())];
    suites.extend(pattern(Kind::Updates, &release.updates));
    suites.extend(pattern(Kind::Security, &release.security));
    suites
}

/// What of the host's sources is of one distribution.
#[derive(Default)]
struct HostArchive {
    entries: Vec<(Kind, AptSource)>,
}

impl HostArchive {
    fn find(distro: &Distro, sources: &[AptSource]) -> Self {
        let entries = sources
            .iter()
            .filter_map(|source| Some((kind_of(distro, source)?, source.clone())))
            .collect();
        Self { entries }
    }

    fn of(&self, kind: Kind) -> Option<&AptSource> {
        self.entries
            .iter()
            .find(|(k, _)| *k == kind)
            .map(|(_, source)| source)
    }
}

/// What an entry of the host's is to this distribution: told by the suite's name, and by the last part of the
/// address where the table knows its paths.
fn kind_of(distro: &Distro, source: &AptSource) -> Option<Kind> {
    check_mirror(&source.uri).ok()?;
    let last = source.uri.rsplit('/').next().unwrap_or("");
    for release in &distro.releases {
        for name in std::iter::once(&release.name).chain(&release.aliases) {
            let is = |pattern: &Option<String>| {
                pattern
                    .as_ref()
                    .is_some_and(|pattern| pattern.replace("{}", name) == source.suite)
            };
            let (kind, paths) = if *name == source.suite {
                (Kind::Main, &distro.paths)
            } else if is(&release.updates) {
                (Kind::Updates, &distro.paths)
            } else if is(&release.security) {
                (Kind::Security, &distro.security_paths)
            } else {
                continue;
            };
            return paths.iter().any(|path| path == last).then_some(kind);
        }
    }
    None
}

fn from_host_or_table(
    distro: &Distro,
    release: &Release,
    suite: &str,
    arch: &Arch,
    host: &HostArchive,
) -> (Origin, Vec<Source>) {
    let has_release = host
        .entries
        .iter()
        .any(|(kind, source)| *kind == Kind::Main && source.suite == suite);
    let mut entries = Vec::new();
    for (kind, name) in suites_of(release, suite) {
        if has_release {
            // As APT on this host: its suites, each once.
            let same = host
                .entries
                .iter()
                .find(|(k, source)| *k == kind && source.suite == name);
            if let Some((_, source)) = same {
                entries.push(from_host(source, &name, kind));
            }
            continue;
        }
        let by_host = if release.old { None } else { host.of(kind) };
        entries.push(match by_host {
            Some(by_host) => from_host(by_host, &name, kind),
            None => Source::new(table_mirror(distro, release, kind, arch), &name, kind),
        });
    }
    let origin = if has_release || (!release.old && host.of(Kind::Main).is_some()) {
        Origin::Host
    } else {
        Origin::Table
    };
    (origin, entries)
}

fn from_host(by_host: &AptSource, suite: &str, kind: Kind) -> Source {
    let address = checked(&by_host.uri).unwrap_or_else(|| by_host.uri.clone());
    let (uri, login) = split_login(&address);
    let mut made = Source::new(uri, suite, kind);
    made.login = login;
    match &by_host.signed_by {
        SignedBy::Files(files) => {
            made.keyrings = files.iter().cloned().map(Keyring::File).collect()
        }
        SignedBy::Inline(key) => made.keyrings = vec![Keyring::Inline(key.clone())],
        SignedBy::Default => {}
    }
    made
}

fn table_mirror(distro: &Distro, release: &Release, kind: Kind, arch: &Arch) -> String {
    let ports =
        !distro.ports_except.is_empty() && !distro.ports_except.iter().any(|a| a == arch.as_str());
    let main = match (&distro.old_mirror, &distro.ports_mirror) {
        (Some(old), _) if release.old => old,
        (_, Some(mirror)) if ports => return mirror.clone(),
        _ => &distro.mirror,
    };
    let security = if release.old {
        &distro.old_security_mirror
    } else {
        &distro.security_mirror
    };
    let mirror = if kind == Kind::Security {
        security.as_ref().unwrap_or(main)
    } else {
        main
    };
    mirror.clone()
}
