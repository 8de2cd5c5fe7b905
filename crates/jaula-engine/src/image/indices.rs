//! Release files and package indices: fetched, verified, parsed, and kept in parsed form.

use super::error::BuildError;
use super::mismatch::Mismatch;
use super::plan::Host;
use crate::engine::Dry;
use crate::error::At;
use crate::fetch::{FetchError, Small};
use crate::store::Store;
use crate::unpack::HashReader;
use jaula_plan::names::Arch;
use jaula_plan::rootfs::{Keyring as KeyringAt, Source, Sources};
use jaula_repo::compress::Decoder;
use jaula_repo::deb::packages::Index;
use jaula_repo::deb::release::{FreshnessPolicy, Release, ReleaseFile, check_freshness};
use jaula_repo::hex;
use jaula_repo::verify::{self, Keyring, Policy, Verified};
use sha2::{Digest, Sha256};
use std::io::{Cursor, Write};
use std::path::Path;

/// Largest Release file with its signatures, in bytes.
const RELEASE_LIMIT: u64 = 64 << 20;
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
    /// The architecture of each of `indices`, `all` too.
    pub archs: Vec<String>,
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

/// Every suite of `sources`, several at once.
pub fn read_all(
    sources: &Sources,
    foreign: &[Arch],
    store: &Store,
    host: &Host<'_>,
    dry: Dry,
) -> Result<Vec<Suite>, BuildError> {
    std::thread::scope(|scope| {
        let read =
            |source| scope.spawn(move || read_suite(sources, foreign, source, store, host, dry));
        let threads: Vec<_> = sources.entries.iter().map(read).collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}

fn read_suite(
    sources: &Sources,
    foreign: &[Arch],
    source: &Source,
    store: &Store,
    host: &Host<'_>,
    dry: Dry,
) -> Result<Suite, BuildError> {
    let base = format!("{}/dists/{}", source.uri, source.suite);
    let (url, verified) = release_text(source, &base, store, host, dry)?;
    let release = Release::parse(&verified.text).map_err(|error| BuildError::Release {
        url: url.clone(),
        source: error,
    })?;
    let policy = FreshnessPolicy {
        valid_until: !sources.old,
        ..FreshnessPolicy::default()
    };
    check_freshness(&release, host.now, &policy).map_err(|error| BuildError::Release {
        url: url.clone(),
        source: error,
    })?;
    check_names(source, &release, &url)?;

    let arch = sources.arch.as_str();
    let mut archs = vec![arch];
    let all_apart = release
        .no_support_for_all
        .as_deref()
        .is_none_or(|what| what != "Packages");
    if !release.architectures.iter().any(|a| a == arch) && !release.architectures.is_empty() {
        let what = Mismatch::Arch {
            arch: arch.to_owned(),
            known: release.architectures.clone(),
        };
        return Err(BuildError::Mismatch { url, what });
    }
    if all_apart && release.architectures.iter().any(|a| a == "all") {
        archs.push("all");
    }
    // Not every suite has packages of every architecture; that none has is found out when one is asked for.
    for other in foreign.iter().map(Arch::as_str) {
        if release.architectures.iter().any(|a| a == other) && !archs.contains(&other) {
            archs.push(other);
        }
    }
    let mut indices = Vec::new();
    let mut components = Vec::new();
    let mut of_arch = Vec::new();
    for component in &source.components {
        let mut found = false;
        for arch in &archs {
            let stem = format!("{component}/binary-{arch}/Packages");
            let choice = [".xz", ".zst", ".gz", ""].iter().find_map(|ending| {
                let path = format!("{stem}{ending}");
                release.file(&path).map(|file| (path.clone(), *file))
            });
            let Some((path, file)) = choice else { continue };
            found |= *arch == sources.arch.as_str() || *arch == "all";
            components.push(component.clone());
            of_arch.push((*arch).to_owned());
            indices.push(read_index(
                &base,
                &path,
                &file,
                release.acquire_by_hash,
                store,
                host,
                dry,
            )?);
        }
        if !found {
            let what = Mismatch::Component {
                component: component.clone(),
                arch: arch.to_owned(),
                known: release.components.clone(),
            };
            return Err(BuildError::Mismatch { url, what });
        }
    }
    Ok(Suite {
        source: source.clone(),
        date: release.date.unwrap_or(0),
        release_sha256: Sha256::digest(verified.text.as_bytes()).into(),
        facts: ReleaseFacts::new(source, &release),
        signers: verified.signers,
        indices,
        components,
        archs: of_arch,
    })
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

fn keyring(sources: &[KeyringAt]) -> Result<(Keyring, Vec<String>), BuildError> {
    let mut all = Keyring::default();
    let mut names = Vec::new();
    for source in sources {
        let (name, bytes) = match source {
            KeyringAt::File(path) => {
                let bytes = std::fs::read(path).at("read the keyring", path)?;
                (jaula_plan::explain::shown(path), bytes)
            }
            KeyringAt::Inline(key) => (
                "the key in the host's sources".to_owned(),
                key.clone().into_bytes(),
            ),
        };
        let parsed = Keyring::parse(&bytes);
        all.extend(parsed.map_err(|source| BuildError::Keyring {
            keyring: name.clone(),
            source,
        })?);
        names.push(name);
    }
    Ok((all, names))
}

/// What is kept of a Release file between runs. It is verified anew each time.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    url: String,
    etag: Option<String>,
    modified: Option<String>,
    text: String,
    signature: Option<String>,
}

/// The verified text of `InRelease`, or of `Release` with `Release.gpg` where there is none.
fn release_text(
    source: &Source,
    base: &str,
    store: &Store,
    host: &Host<'_>,
    dry: Dry,
) -> Result<(String, Verified), BuildError> {
    let (keys, names) = keyring(&source.keyrings)?;
    let url = format!("{base}/InRelease");
    let name = hex::encode(&Sha256::digest(url.as_bytes()));
    let path = store.root().join("releases").join(name);
    let kept: Option<Kept> = std::fs::read(&path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .filter(|kept: &Kept| kept.url == url);
    let (etag, modified) = match &kept {
        Some(kept) if kept.signature.is_none() => (kept.etag.as_deref(), kept.modified.as_deref()),
        _ => (None, None),
    };
    let lossless = |bytes: Vec<u8>, url: &str| {
        String::from_utf8(bytes).map_err(|_| BuildError::Mismatch {
            url: url.to_owned(),
            what: Mismatch::Other("not text"),
        })
    };
    let got = match host.client.small(&url, RELEASE_LIMIT, etag, modified) {
        Ok(Small::Fresh {
            bytes,
            etag,
            modified,
        }) => {
            let text = lossless(bytes, &url)?;
            Some(Kept {
                url: url.clone(),
                etag,
                modified,
                text,
                signature: None,
            })
        }
        Ok(Small::Unchanged) => None,
        Err(FetchError::Offline { .. }) if kept.is_some() => None,
        Err(FetchError::NotFound { .. }) => match detached(base, host)? {
            Some((text, signature)) => {
                let (text, signature) = (lossless(text, &url)?, hex::encode(&signature));
                Some(Kept {
                    url: url.clone(),
                    etag: None,
                    modified: None,
                    text,
                    signature: Some(signature),
                })
            }
            None => {
                let what = Mismatch::Absent {
                    suite: source.suite.clone(),
                    base: base.to_owned(),
                };
                return Err(BuildError::Mismatch {
                    url: source.uri.clone(),
                    what,
                });
            }
        },
        Err(error) => return Err(error.into()),
    };
    let fresh = got.is_some();
    let Some(kept) = got.or(kept) else {
        return Err(BuildError::Mismatch {
            url,
            what: Mismatch::Other("the server says that nothing changed since never"),
        });
    };
    let policy = Policy::default();
    let verified = match &kept.signature {
        None => verify::verify_inline(kept.text.as_bytes(), &keys, host.now, &policy),
        Some(signature) => {
            let signature = unhex(signature);
            verify::verify_detached(kept.text.as_bytes(), &signature, &keys, host.now, &policy)
        }
    };
    let verified = verified.map_err(|source| BuildError::Signature {
        url: url.clone(),
        keyrings: names,
        source,
    })?;
    if fresh && dry == Dry::MayCache {
        store.made("releases")?;
        let text = serde_json::to_vec(&kept)
            .map_err(std::io::Error::from)
            .at("write", &path)?;
        replace(&path, &text)?;
    }
    Ok((url, verified))
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: &u8| (*byte as char).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes()
        .chunks(2)
        .map(|pair| pair.iter().fold(0u8, |byte, c| byte << 4 | digit(c)))
        .collect()
}

type TextAndSignature = (Vec<u8>, Vec<u8>);

/// `Release` and `Release.gpg`.
fn detached(base: &str, host: &Host<'_>) -> Result<Option<TextAndSignature>, BuildError> {
    let small =
        |name: &str| match host
            .client
            .small(&format!("{base}/{name}"), RELEASE_LIMIT, None, None)
        {
            Ok(Small::Fresh { bytes, .. }) => Ok(Some(bytes)),
            Ok(Small::Unchanged) | Err(FetchError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        };
    match (small("Release")?, small("Release.gpg")?) {
        (Some(text), Some(signature)) => Ok(Some((text, signature))),
        (Some(_), None) => Err(BuildError::Mismatch {
            url: format!("{base}/Release"),
            what: Mismatch::Other("it is not signed (neither InRelease nor Release.gpg)"),
        }),
        (None, _) => Ok(None),
    }
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
    let mut urls = vec![plain.clone()];
    if by_hash {
        urls.insert(0, format!("{base}/{}", Release::by_hash_path(path, file)));
    }
    let limit = file.size.min(INDEX_LIMIT);
    let mut outcome = Err(FetchError::NotFound { url: plain.clone() });
    for url in &urls {
        outcome = host.client.small(url, limit, None, None);
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
        return Err(FetchError::Truncated {
            url: plain,
            got,
            expected,
        }
        .into());
    }
    let mut reader = HashReader::new(Cursor::new(&bytes));
    let parsed = Decoder::new(&mut reader)
        .map_err(std::io::Error::other)
        .at("decompress", Path::new(path))
        .map(Index::parse);
    let (_, sha256) = reader.finish().at("read", Path::new(path))?;
    if sha256 != file.sha256 {
        let (expected, got) = (hex::encode(&file.sha256), hex::encode(&sha256));
        return Err(FetchError::Altered {
            url: plain,
            expected,
            got,
        }
        .into());
    }
    let index = parsed?.map_err(|source| BuildError::Index { url: plain, source })?;
    if dry == Dry::MayCache {
        store.made("indices")?;
        replace(&kept, index.as_bytes())?;
    }
    Ok(index)
}

/// Writes a file beside and renames it: a reader sees the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(
        ".{}",
        hex::encode(&jaula_sys::dir::random().at("write", path)?)
    ));
    let beside = std::path::PathBuf::from(beside);
    let write = || {
        let mut file = std::fs::File::create_new(&beside)?;
        file.write_all(bytes)?;
        std::fs::rename(&beside, path)
    };
    write()
        .at("write", path)
        .inspect_err(|_| drop(std::fs::remove_file(&beside)))?;
    Ok(())
}
