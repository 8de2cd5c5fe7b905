//! Package indices: fetched by what a verified Release file says of them, parsed, and kept in parsed form.

mod pieces;

use super::error::BuildError;
use super::lists::{self, AptList};
use super::mismatch::Mismatch;
use super::plan::Host;
use super::release::release_text;
use crate::engine::Dry;
use crate::error::At;
use crate::fetch::{Client, FetchError, Small};
use crate::store::Store;
use jaula_plan::names::Arch;
use jaula_plan::rootfs::{Source, Sources};
use jaula_repo::compress::Decoder;
use jaula_repo::deb::packages::Index;
use jaula_repo::deb::release::{FreshnessPolicy, Release, ReleaseFile, check_freshness};
use jaula_repo::hex;
use sha2::{Digest, Sha256};
use std::io::Cursor;
use std::path::Path;

/// Largest compressed index, in bytes.
const INDEX_LIMIT: u64 = 256 << 20;

/// One suite, verified and parsed.
pub struct Suite {
    pub source: Source,
    pub date: u64,
    pub release_sha256: [u8; 32],
    pub facts: ReleaseFacts,
    /// Fingerprints of who signed it.
    pub signers: Vec<String>,
    pub indices: Vec<Index>,
    /// The component of each of `indices`; the empty one of a flat repository.
    pub components: Vec<String>,
    /// The architecture of each of `indices`, `all` too; the image's own for a flat repository.
    pub archs: Vec<String>,
    /// The same as apt keeps it.
    pub lists: Vec<AptList>,
}

/// What pins ask of a Release file (apt_preferences(5)): `o=`, `l=`, `a=`, `n=`, `v=`, and the host for `origin`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReleaseFacts {
    pub origin: Option<String>,
    pub label: Option<String>,
    pub suite: Option<String>,
    pub codename: Option<String>,
    pub version: Option<String>,
    /// Host of the repository's address; empty for files of this machine.
    pub host: String,
    pub not_automatic: bool,
    pub but_automatic_upgrades: bool,
}

impl ReleaseFacts {
    fn new(source: &Source, release: &Release) -> Self {
        Self {
            origin: release.origin.clone(),
            label: release.label.clone(),
            suite: release.suite.clone(),
            codename: release.codename.clone(),
            version: release.version.clone(),
            host: source.host().to_owned(),
            not_automatic: release.not_automatic,
            but_automatic_upgrades: release.but_automatic_upgrades,
        }
    }
}

/// A suite whose Release file has been read.
struct Opened<'s> {
    source: &'s Source,
    url: String,
    base: String,
    /// None only of a flat repository without one, where nobody asks for signatures.
    release: Option<Release>,
    signers: Vec<String>,
    sha256: [u8; 32],
    lists: Vec<AptList>,
}

/// An index that is to be read.
struct Part {
    suite: usize,
    component: String,
    arch: String,
    path: String,
    /// What the Release file says of it.
    file: Option<ReleaseFile>,
    /// The same as apt keeps it.
    list: Option<AptList>,
}

/// Does something with each, all at once.
fn at_once<'i, T: Sync, R: Send>(
    items: &'i [T],
    each: impl Fn(&'i T) -> Result<R, BuildError> + Sync,
) -> Result<Vec<R>, BuildError> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = items
            .iter()
            .map(|item| scope.spawn(|| each(item)))
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}

/// Every suite of `sources`, several at once: first the Release files, which tell what nobody has said (the components,
/// the architecture), then the indices. These are left out when `answered` says that what they would be asked is known: it is
/// given the sources as they are now, and what Release files and indices there are, by their hashes.
pub fn read_all(
    sources: &mut Sources,
    foreign: &[Arch],
    store: &Store,
    host: &Host<'_>,
    dry: Dry,
    answered: &mut dyn FnMut(&Sources, &str) -> bool,
) -> Result<Vec<Suite>, BuildError> {
    let old = sources.old;
    let entries = sources.entries.clone();
    let opened = at_once(&entries, |source| open(source, old, store, host, dry))?;
    if sources.arch_by_release
        && let Some(arch) = arch_of(&opened, sources, host)
    {
        sources.arch = arch;
    }
    let mut parts = Vec::new();
    for (number, suite) in opened.iter().enumerate() {
        parts.extend(parts_of(suite, number, sources, foreign)?);
    }
    let known = match hashes(&opened, &parts) {
        // What the packages alone tell has to be read.
        Some(hashes) if !sources.merged_usr_by_packages => answered(sources, &hashes),
        _ => false,
    };
    let indices = at_once(&parts, |part| match opened.get(part.suite) {
        _ if known => Ok(None),
        Some(suite) => read_part(suite, part, store, host, dry).map(Some),
        None => Ok(None),
    })?;
    let mut suites: Vec<Suite> = opened.into_iter().map(Suite::new).collect();
    for (part, index) in parts.into_iter().zip(indices) {
        let Some(suite) = suites.get_mut(part.suite) else {
            continue;
        };
        if !part.component.is_empty() && !suite.source.components.contains(&part.component) {
            suite.source.components.push(part.component.clone());
        }
        suite.lists.extend(part.list);
        let Some((index, sha256)) = index else {
            continue;
        };
        if part.file.is_none() {
            // Nothing else says what this suite was.
            suite.release_sha256 = sha256;
        }
        suite.indices.push(index);
        suite.components.push(part.component);
        suite.archs.push(part.arch);
    }
    for (entry, suite) in sources.entries.iter_mut().zip(&suites) {
        entry.components.clone_from(&suite.source.components);
    }
    if sources.merged_usr_by_packages {
        sources.merged_usr_as_released = merged_usr(&suites);
        if !sources.merged_usr_asked {
            sources.merged_usr = sources.merged_usr_as_released;
        }
    }
    Ok(suites)
}

/// What Release files and indices there are, a line each; none when an index has no hash before it is read.
fn hashes(opened: &[Opened<'_>], parts: &[Part]) -> Option<String> {
    let mut text = String::new();
    for suite in opened {
        suite.release.as_ref()?;
        text.push_str(&format!("release {}\n", hex::encode(&suite.sha256)));
    }
    for part in parts {
        let file = part.file.as_ref()?;
        let (suite, sha256) = (part.suite, hex::encode(&file.sha256));
        let line = format!("index {suite} {} {} {sha256}\n", part.component, part.arch);
        text.push_str(&line);
    }
    Some(text)
}

impl Suite {
    fn new(opened: Opened<'_>) -> Self {
        let facts = match &opened.release {
            Some(release) => ReleaseFacts::new(opened.source, release),
            None => ReleaseFacts {
                host: opened.source.host().to_owned(),
                ..ReleaseFacts::default()
            },
        };
        Self {
            source: opened.source.clone(),
            date: opened.release.and_then(|release| release.date).unwrap_or(0),
            release_sha256: opened.sha256,
            facts,
            signers: opened.signers,
            indices: Vec::new(),
            components: Vec::new(),
            archs: Vec::new(),
            lists: opened.lists,
        }
    }
}

/// Reads and checks the Release file.
fn open<'s>(
    source: &'s Source,
    old: bool,
    store: &Store,
    host: &Host<'_>,
    dry: Dry,
) -> Result<Opened<'s>, BuildError> {
    let base = source.base();
    let (url, verified, kept) = release_text(source, &base, store, host, dry)?;
    let mut opened = Opened {
        source,
        url,
        base,
        release: None,
        signers: Vec::new(),
        sha256: [0; 32],
        lists: kept
            .map(|kept| lists::of_release(source, kept))
            .unwrap_or_default(),
    };
    if let Some(verified) = verified {
        let broken = |error| BuildError::Release {
            url: opened.url.clone(),
            source: error,
        };
        let release = Release::parse(&verified.text).map_err(broken)?;
        let policy = FreshnessPolicy {
            valid_until: !old && source.check_valid_until,
            ..FreshnessPolicy::default()
        };
        check_freshness(&release, host.now, &policy).map_err(broken)?;
        if !source.flat() {
            check_names(source, &release, &opened.url)?;
        }
        opened.sha256 = Sha256::digest(verified.text.as_bytes()).into();
        opened.signers = verified.signers;
        opened.release = Some(release);
    }
    Ok(opened)
}

/// The architecture of an archive that has none of the host's own: the first that this machine runs.
fn arch_of(opened: &[Opened<'_>], sources: &Sources, host: &Host<'_>) -> Option<Arch> {
    let known = opened.first()?.release.as_ref()?.architectures.as_slice();
    let has = |arch: &Arch| known.iter().any(|known| known == arch.as_str());
    if known.is_empty() || has(&sources.arch) {
        return None;
    }
    host.facts.runnable.iter().find(|arch| has(arch)).cloned()
}

/// The indices of a suite that are to be read.
fn parts_of(
    suite: &Opened<'_>,
    number: usize,
    sources: &Sources,
    foreign: &[Arch],
) -> Result<Vec<Part>, BuildError> {
    let arch = sources.arch.as_str();
    let by_hash = suite
        .release
        .as_ref()
        .is_some_and(|release| release.acquire_by_hash);
    let part = |component: &str, arch: &str, path: String, file: Option<ReleaseFile>| {
        let list = |file| {
            lists::of_index(
                suite.source,
                &path,
                urls(&suite.base, &path, &file, by_hash),
                file,
            )
        };
        Part {
            suite: number,
            component: component.to_owned(),
            arch: arch.to_owned(),
            list: file.map(list),
            path,
            file,
        }
    };
    let Some(release) = &suite.release else {
        return Ok(vec![part("", arch, "Packages".to_owned(), None)]);
    };
    let choice = |stem: &str| {
        [".xz", ".zst", ".gz", ""].iter().find_map(|ending| {
            let path = format!("{stem}{ending}");
            release.file(&path).map(|file| (path.clone(), *file))
        })
    };
    let mismatch = |what| BuildError::Mismatch {
        url: suite.url.clone(),
        what,
    };
    if suite.source.flat() {
        let (path, file) = choice("Packages")
            .or_else(|| choice("./Packages"))
            .ok_or_else(|| mismatch(Mismatch::Other("it lists no Packages")))?;
        return Ok(vec![part("", arch, path, Some(file))]);
    }
    let has = |arch: &str| release.architectures.iter().any(|a| a == arch);
    let wanted = |arch: &str| {
        let only = &suite.source.archs;
        only.is_empty() || only.iter().any(|a| a.as_str() == arch)
    };
    let mut archs = Vec::new();
    if wanted(arch) {
        if !has(arch) && !release.architectures.is_empty() {
            return Err(mismatch(Mismatch::Arch {
                arch: arch.to_owned(),
                known: release.architectures.clone(),
            }));
        }
        archs.push(arch);
    }
    let all_apart = release
        .no_support_for_all
        .as_deref()
        .is_none_or(|what| what != "Packages");
    if all_apart && has("all") {
        archs.push("all");
    }
    // Not every suite has packages of every architecture; that none has is found out when one is asked for.
    for other in foreign.iter().map(Arch::as_str) {
        if has(other) && wanted(other) && !archs.contains(&other) {
            archs.push(other);
        }
    }
    let asked = !suite.source.components.is_empty();
    let components = if asked {
        &suite.source.components
    } else {
        &release.components
    };
    let mut parts = Vec::new();
    for component in components {
        let mut found = false;
        for arch in &archs {
            let Some((path, file)) = choice(&format!("{component}/binary-{arch}/Packages")) else {
                continue;
            };
            found |=
                *arch == sources.arch.as_str() || *arch == "all" || !wanted(sources.arch.as_str());
            parts.push(part(component, arch, path, Some(file)));
        }
        if !found && asked {
            return Err(mismatch(Mismatch::Component {
                component: component.clone(),
                arch: arch.to_owned(),
                known: release.components.clone(),
            }));
        }
    }
    if parts.is_empty() {
        return Err(mismatch(Mismatch::Other(
            "it names no component that has packages",
        )));
    }
    Ok(parts)
}

/// Whether an archive that no table knows has `/bin` and its like as links into `/usr`, by its packages: those that say
/// so came with Debian 12, which has base-files 12 as the first; nothing else is known of younger ones.
fn merged_usr(suites: &[Suite]) -> bool {
    let indices = || suites.iter().flat_map(|suite| &suite.indices);
    let has = |name: &str| indices().any(|index| index.by_name(name).next().is_some());
    if has("usr-is-merged") {
        return true;
    }
    let major = |version: &str| {
        let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
        let digits: String = upstream.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().ok()
    };
    let base_files = indices().flat_map(|index| {
        index
            .by_name("base-files")
            .map(|id| index.package(id).version().to_owned())
    });
    let newest = base_files.filter_map(|version| major(&version)).max();
    newest.is_none_or(|newest| newest >= 12)
}

fn read_part(
    suite: &Opened<'_>,
    part: &Part,
    store: &Store,
    host: &Host<'_>,
    dry: Dry,
) -> Result<(Index, [u8; 32]), BuildError> {
    match (&part.file, &suite.release) {
        (Some(file), Some(release)) => {
            let by_hash = release.acquire_by_hash;
            let index = read_index(&suite.base, &part.path, file, by_hash, store, host, dry)?;
            Ok((index, file.sha256))
        }
        _ => unlisted_index(&suite.base, &part.path, host),
    }
}

/// An index that no Release file tells of, in the first of the forms it may have; and its SHA-256.
fn unlisted_index(
    base: &str,
    stem: &str,
    host: &Host<'_>,
) -> Result<(Index, [u8; 32]), BuildError> {
    let mut last = None;
    for ending in [".xz", ".zst", ".gz", ""] {
        let url = format!("{base}/{stem}{ending}");
        match host.client.small(&url, INDEX_LIMIT, None, None) {
            Ok(Small::Fresh { bytes, .. }) => {
                let sha256 = Sha256::digest(&bytes).into();
                let decoder = Decoder::new(Cursor::new(&bytes))
                    .map_err(std::io::Error::other)
                    .at("decompress", Path::new(&url))?;
                let index =
                    Index::parse(decoder).map_err(|source| BuildError::Index { url, source })?;
                return Ok((index, sha256));
            }
            Ok(Small::Unchanged) => {}
            Err(error @ FetchError::NotFound { .. }) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    let url = format!("{base}/{stem}");
    Err(last.unwrap_or(FetchError::NotFound { url }).into())
}

/// Whether the Release file is of the suite that was asked for, and not of another one of the same archive.
fn check_names(source: &Source, release: &Release, url: &str) -> Result<(), BuildError> {
    let names = [&release.suite, &release.codename];
    let asked = source.suite.as_str();
    // `buster/updates` calls itself `buster`.
    let short = asked.split('/').next().unwrap_or(asked);
    let fits = names
        .iter()
        .copied()
        .flatten()
        .any(|name| name == asked || name == short);
    if fits || names.iter().all(|name| name.is_none()) {
        return Ok(());
    }
    Err(BuildError::Mismatch {
        url: url.to_owned(),
        what: Mismatch::Suite {
            asked: asked.to_owned(),
            suite: release.suite.clone(),
            codename: release.codename.clone(),
        },
    })
}

/// Where an index may be, the likeliest first; the last is the one that errors name.
fn urls(base: &str, path: &str, file: &ReleaseFile, by_hash: bool) -> Vec<String> {
    let by_hash = by_hash.then(|| format!("{base}/{}", Release::by_hash_path(path, file)));
    by_hash
        .into_iter()
        .chain([format!("{base}/{path}")])
        .collect()
}

/// The bytes of an index, as many as its Release file says; its hash is not looked at here.
pub(super) fn fetched(
    urls: &[String],
    file: &ReleaseFile,
    client: &Client,
) -> Result<Vec<u8>, BuildError> {
    let url = urls.last().cloned().unwrap_or_default();
    let limit = file.size.min(INDEX_LIMIT);
    let mut outcome = Err(FetchError::NotFound { url: url.clone() });
    for url in urls {
        outcome = client.small(url, limit, None, None);
        if !matches!(outcome, Err(FetchError::NotFound { .. })) {
            break;
        }
    }
    let bytes = match outcome? {
        Small::Fresh { bytes, .. } => bytes,
        Small::Unchanged => Vec::new(),
    };
    let (got, expected) = (bytes.len() as u64, file.size);
    if got != expected {
        return Err(FetchError::Truncated { url, got, expected }.into());
    }
    Ok(bytes)
}

/// One index: from the store where it was parsed before, else fetched by hash, checked, and parsed as it decompresses.
fn read_index(
    base: &str,
    path: &str,
    file: &ReleaseFile,
    by_hash: bool,
    store: &Store,
    host: &Host<'_>,
    dry: Dry,
) -> Result<Index, BuildError> {
    let kept = store.root().join("indices").join(hex::encode(&file.sha256));
    if let Some(index) = std::fs::read(&kept)
        .ok()
        .and_then(|bytes| Index::from_bytes(bytes).ok())
    {
        return Ok(index);
    }
    let plain = format!("{base}/{path}");
    let bytes = fetched(&urls(base, path, file, by_hash), file, host.client)?;
    let (parsed, sha256) = pieces::parse(&bytes).at("decompress", Path::new(path))?;
    if sha256 != file.sha256 {
        let (expected, got) = (hex::encode(&file.sha256), hex::encode(&sha256));
        return Err(FetchError::Altered {
            url: plain,
            expected,
            got,
        }
        .into());
    }
    let index = parsed.map_err(|source| BuildError::Index { url: plain, source })?;
    if dry == Dry::MayCache {
        store.made("indices")?;
        replace(&kept, index.as_bytes())?;
    }
    Ok(index)
}

/// Writes a file beside and renames it: a reader sees the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(
        ".{}",
        hex::encode(&jaula_sys::dir::random().at("write", path)?)
    ));
    Ok(crate::store::replace_by(Path::new(&beside), path, bytes, None).at("write", path)?)
}
