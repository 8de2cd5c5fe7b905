//! From an [`ImageSpec`] to the signed suites it is made of.

use super::address;
use super::table::{Distro, Release, Table, TableError};
use crate::facts::archive::{AptFacts, AptSource, SignedBy, apt_sources};
use crate::names::{Arch, Component, DistroName, Suite};
use crate::spec::rootfs::ImageSpec;
use std::fmt;
use std::path::{Path, PathBuf};

/// Keys that may sign a suite.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Keyring {
    /// A file on the host, binary or armoured.
    File(PathBuf),
    /// An armoured key that stands in the host's sources.
    Inline(String),
}

/// What a suite is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The release itself.
    Main,
    /// Its updates.
    Updates,
    /// Its security updates.
    Security,
}

/// One signed suite of one archive.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Source {
    /// Address of the archive (`http:`, `https:`, `file:`), without a slash at its end.
    pub uri: String,
    /// What stands after `dists/`.
    pub suite: String,
    /// What it is for.
    pub kind: Kind,
    /// Components.
    pub components: Vec<String>,
    /// Who may sign it. Never empty.
    pub keyrings: Vec<Keyring>,
}

impl Source {
    /// Host of the address; empty for files of this machine.
    pub fn host(&self) -> &str {
        address::host(&self.uri)
    }
}

impl fmt::Display for Source {
    /// As a line of sources.list(5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "deb {} {} {}",
            self.uri,
            self.suite,
            self.components.join(" ")
        )
    }
}

/// Who said where the packages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The user named a mirror.
    Mirror,
    /// The host's own APT sources.
    Host,
    /// The table of distributions.
    Table,
}

/// Everything an image is made from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Sources {
    /// The distribution.
    pub distro: DistroName,
    /// The suite as asked for, or the default one.
    pub suite: Suite,
    /// Architecture of the packages.
    pub arch: Arch,
    /// Whether the release has `/bin` and its like as links into `/usr`.
    pub merged_usr: bool,
    /// Whether the release is an old one, whose Release file may have expired.
    pub old: bool,
    /// Where this comes from.
    pub origin: Origin,
    /// The suites, the release itself first.
    pub entries: Vec<Source>,
}

impl Sources {
    /// The text of the image's `/etc/apt/sources.list`.
    pub fn sources_list(&self) -> String {
        self.entries
            .iter()
            .map(|entry| format!("{entry}\n"))
            .collect()
    }
}

/// Why no sources could be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourcesError {
    /// The table has no such distribution.
    #[error("unknown distribution {name}{}", near(nearest))]
    UnknownDistro {
        /// As asked for.
        name: DistroName,
        /// Names like it, the nearest first.
        nearest: Vec<String>,
    },
    /// The distribution has no such suite, as far as the table knows.
    #[error("{distro} has no suite {suite}{}", near(nearest))]
    UnknownSuite {
        /// The distribution.
        distro: DistroName,
        /// As asked for.
        suite: Suite,
        /// Names like it, the nearest first.
        nearest: Vec<String>,
    },
    /// Programs of this architecture do not run here.
    #[error(
        "this machine does not run {arch} programs (it runs {})",
        list(runnable)
    )]
    ForeignArch {
        /// As asked for.
        arch: Arch,
        /// What runs.
        runnable: Vec<Arch>,
    },
    /// No keyring that could tell a real archive from a false one.
    #[error(
        "no keyring for {distro} on this machine (looked for {})",
        list(candidates)
    )]
    NoKeyring {
        /// The distribution.
        distro: DistroName,
        /// Where one was looked for.
        candidates: Vec<String>,
        /// The package that brings it.
        package: Option<String>,
    },
    /// A mirror that is no address jaula can fetch from.
    #[error("mirror {mirror:?} is no http:, https: or file: address")]
    BadMirror {
        /// As given.
        mirror: String,
    },
    /// A file of distributions that cannot be read.
    #[error("table of distributions {file}")]
    Table {
        /// The file.
        file: String,
        /// Where it is wrong.
        #[source]
        source: TableError,
    },
    /// A name that is none, in the table or in the host's sources.
    #[error("{what} {value:?} makes no sense")]
    BadValue {
        /// What it should be.
        what: &'static str,
        /// As found.
        value: String,
    },
}

impl SourcesError {
    /// What the user can do, one sentence.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownDistro { .. } => {
                Some("add it to the table of distributions with a file of your own".to_owned())
            }
            Self::UnknownSuite { .. } => Some(
                "name its mirror with --mirror to use a suite the table does not know".to_owned(),
            ),
            Self::NoKeyring {
                package: Some(package),
                ..
            } => Some(format!(
                "install the package {package}, or name a keyring with --keyring"
            )),
            Self::NoKeyring { .. } => Some("name a keyring with --keyring".to_owned()),
            Self::ForeignArch { runnable, .. } => Some(format!(
                "use --arch {}, or a machine of that architecture",
                list(runnable)
            )),
            Self::BadMirror { .. } => Some("write http://…, https://… or file:/…".to_owned()),
            Self::Table { .. } | Self::BadValue { .. } => None,
        }
    }
}

fn near(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; nearest: {}", names.join(", "))
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Finds the suites, mirrors and keyrings for `spec`.
///
/// `--mirror` alone decides where it is given, and only the release itself is used then, as debootstrap(8) and
/// mmdebstrap(1) do. Else the host's own APT sources give address and keyring if the host is of the same
/// distribution: exactly its suites if it has this release, else the table's with the host's addresses. Else the
/// table decides.
///
/// # Errors
/// [`SourcesError`].
pub fn resolve_sources(
    spec: &ImageSpec,
    facts: &AptFacts,
    table: &Table,
) -> Result<Sources, SourcesError> {
    let name = spec.distro.as_str();
    let distro = table
        .distro(name)
        .ok_or_else(|| SourcesError::UnknownDistro {
            name: spec.distro.clone(),
            nearest: nearest(name, table.names()),
        })?;
    let suite = match &spec.suite {
        Some(suite) => suite.clone(),
        None => bad("default suite", &distro.default_suite)?,
    };
    let arch = spec
        .options
        .arch
        .clone()
        .unwrap_or_else(|| facts.arch.clone());
    if !facts.runnable.contains(&arch) {
        return Err(SourcesError::ForeignArch {
            arch,
            runnable: facts.runnable.clone(),
        });
    }
    let release = distro.release(suite.as_str());
    let host = HostArchive::find(distro, &apt_sources(&facts.sources, &arch));
    let (origin, mut entries) = match (&spec.options.sources.mirror, release) {
        (Some(mirror), _) => (
            Origin::Mirror,
            vec![entry(check_mirror(mirror)?, suite.as_str(), Kind::Main)],
        ),
        (None, None) => {
            let names = distro
                .releases
                .iter()
                .flat_map(|r| std::iter::once(&r.name).chain(&r.aliases));
            let nearest = nearest(suite.as_str(), names.map(String::as_str));
            return Err(SourcesError::UnknownSuite {
                distro: spec.distro.clone(),
                suite,
                nearest,
            });
        }
        (None, Some(release)) => from_host_or_table(distro, release, suite.as_str(), &arch, &host),
    };
    let components: Vec<String> = if spec.options.sources.components.is_empty() {
        distro.components.clone()
    } else {
        spec.options
            .sources
            .components
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    for component in &components {
        bad::<Component>("component", component)?;
    }
    for entry in &mut entries {
        entry.components.clone_from(&components);
        if !spec.options.sources.keyrings.is_empty() || entry.keyrings.is_empty() {
            entry.keyrings = keyrings(spec, distro, release, facts, &host, entry.kind)?;
        }
    }
    Ok(Sources {
        distro: spec.distro.clone(),
        suite,
        arch,
        // A release the table does not know is newer than the table.
        merged_usr: spec
            .options
            .merged_usr
            .unwrap_or_else(|| release.is_none_or(|release| release.merged_usr)),
        old: release.is_some_and(|release| release.old),
        origin,
        entries,
    })
}

fn bad<T: std::str::FromStr>(what: &'static str, value: &str) -> Result<T, SourcesError> {
    value.parse().map_err(|_| SourcesError::BadValue {
        what,
        value: value.to_owned(),
    })
}

fn entry(uri: String, suite: &str, kind: Kind) -> Source {
    Source {
        uri,
        suite: suite.to_owned(),
        kind,
        components: Vec::new(),
        keyrings: Vec::new(),
    }
}

/// The address without its last slashes, if it is one.
fn check_mirror(mirror: &str) -> Result<String, SourcesError> {
    let known = ["http://", "https://", "file://"]
        .iter()
        .any(|s| mirror.strip_prefix(s).is_some_and(|r| !r.is_empty()));
    let plain = mirror.chars().all(|c| c.is_ascii_graphic());
    if known && plain {
        return Ok(mirror.trim_end_matches('/').to_owned());
    }
    // `file:/path` is what sources.list(5) writes.
    match mirror.strip_prefix("file:") {
        Some(path) if plain && path.starts_with('/') => {
            Ok(format!("file://{}", path.trim_end_matches('/')))
        }
        _ => Err(SourcesError::BadMirror {
            mirror: mirror.to_owned(),
        }),
    }
}

/// What of the host's sources is of one distribution.
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
    if check_mirror(&source.uri).is_err() || source.signed_by == SignedBy::Other {
        return None;
    }
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
    let pattern =
        |pattern: &Option<String>| pattern.as_ref().map(|pattern| pattern.replace("{}", suite));
    let wanted = [
        (Kind::Main, Some(suite.to_owned())),
        (Kind::Updates, pattern(&release.updates)),
        (Kind::Security, pattern(&release.security)),
    ];
    let has_release = host
        .entries
        .iter()
        .any(|(kind, source)| *kind == Kind::Main && source.suite == suite);
    let mut entries = Vec::new();
    for (kind, name) in wanted {
        let Some(name) = name else { continue };
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
            Some(source) => from_host(source, &name, kind),
            None => entry(table_mirror(distro, release, kind, arch), &name, kind),
        });
    }
    let origin = if has_release || (!release.old && host.of(Kind::Main).is_some()) {
        Origin::Host
    } else {
        Origin::Table
    };
    (origin, entries)
}

fn from_host(source: &AptSource, suite: &str, kind: Kind) -> Source {
    let mut made = entry(
        check_mirror(&source.uri).unwrap_or_else(|_| source.uri.clone()),
        suite,
        kind,
    );
    match &source.signed_by {
        SignedBy::Files(files) => {
            made.keyrings = files.iter().cloned().map(Keyring::File).collect()
        }
        SignedBy::Inline(key) => made.keyrings = vec![Keyring::Inline(key.clone())],
        SignedBy::Trusted | SignedBy::Other => {}
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

/// `--keyring`, else what the host trusts for this distribution, else what the table knows and the host has.
fn keyrings(
    spec: &ImageSpec,
    distro: &Distro,
    release: Option<&Release>,
    facts: &AptFacts,
    host: &HostArchive,
    kind: Kind,
) -> Result<Vec<Keyring>, SourcesError> {
    let given = &spec.options.sources.keyrings;
    if !given.is_empty() {
        return Ok(given.iter().cloned().map(Keyring::File).collect());
    }
    let exists = |path: &Path| {
        facts
            .keyrings
            .iter()
            .chain(&facts.trusted)
            .any(|have| have == path)
    };
    let mut found: Vec<Keyring> = Vec::new();
    if let Some(SignedBy::Files(files)) = host
        .of(kind)
        .or_else(|| host.of(Kind::Main))
        .map(|source| &source.signed_by)
    {
        found.extend(files.iter().cloned().map(Keyring::File));
    }
    let table = distro.keyrings.iter().find(|path| exists(path));
    let old = distro
        .old_keyrings
        .iter()
        .filter(|path| release.is_some_and(|r| r.old) && exists(path));
    for path in table.into_iter().chain(old) {
        if !found.contains(&Keyring::File(path.clone())) {
            found.push(Keyring::File(path.clone()));
        }
    }
    if found.is_empty() && !host.entries.is_empty() {
        found.extend(facts.trusted.iter().cloned().map(Keyring::File));
    }
    if found.is_empty() {
        return Err(SourcesError::NoKeyring {
            distro: spec.distro.clone(),
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

/// Up to three names that are near `word`: a few letters away, or with the same start.
fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(usize, &str)> = names
        .map(|name| (distance(word, name), name))
        .filter(|(distance, name)| *distance <= 3 || (word.len() >= 3 && name.starts_with(word)))
        .collect();
    scored.sort();
    scored
        .into_iter()
        .take(3)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// Letters to be changed, added or taken away (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let here = (diagonal + usize::from(from != *to))
                .min(left + 1)
                .min(*cell + 1);
            diagonal = std::mem::replace(cell, here);
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
