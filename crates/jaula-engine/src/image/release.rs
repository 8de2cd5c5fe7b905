//! Release files: fetched, verified, and kept to be verified again.

use super::error::BuildError;
use super::indices::replace;
use super::mismatch::Mismatch;
use super::plan::Host;
use crate::engine::Dry;
use crate::error::At;
use crate::fetch::{FetchError, Small};
use crate::store::Store;
use jaula_plan::rootfs::{Keyring as KeyringAt, Source};
use jaula_plan::spec::source::Trust;
use jaula_repo::hex;
use jaula_repo::verify::{self, Keyring, Policy, Verified};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Largest Release file with its signatures, in bytes.
const RELEASE_LIMIT: u64 = 64 << 20;
/// Largest keyring file, in bytes.
const KEYRING_LIMIT: u64 = 16 << 20;

/// The bytes of a keyring on the host: of a file, or of each of a directory's.
pub fn keyring_bytes(path: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, BuildError> {
    let read = |path: &Path| -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path)?;
        std::io::Read::read_to_end(&mut std::io::Read::take(file, KEYRING_LIMIT), &mut bytes)?;
        Ok(bytes)
    };
    if !path.is_dir() {
        return Ok(vec![(
            path.to_owned(),
            read(path).at("read the keyring", path)?,
        )]);
    }
    let files = super::plan::listed(path, &["gpg", "asc", "pgp"]);
    if files.is_empty() {
        let none =
            std::io::Error::other("the directory has no file that ends in .gpg, .asc or .pgp");
        return Err(none)
            .at("read the keyring", path)
            .map_err(BuildError::from);
    }
    files
        .into_iter()
        .map(|file| {
            let bytes = read(&file).at("read the keyring", &file)?;
            Ok((file, bytes))
        })
        .collect()
}

fn keyring(sources: &[KeyringAt]) -> Result<(Keyring, Vec<String>), BuildError> {
    let mut all = Keyring::default();
    let mut names = Vec::new();
    for source in sources {
        let found = match source {
            KeyringAt::File(path) => keyring_bytes(path)?
                .into_iter()
                .map(|(path, bytes)| (jaula_plan::explain::shown(&path), bytes))
                .collect(),
            KeyringAt::Inline(key) => {
                vec![(
                    "the key in the source itself".to_owned(),
                    key.clone().into_bytes(),
                )]
            }
        };
        for (name, bytes) in found {
            let parsed = Keyring::parse(&bytes);
            all.extend(parsed.map_err(|source| BuildError::Keyring {
                keyring: name.clone(),
                source,
            })?);
            names.push(name);
        }
    }
    Ok((all, names))
}

/// What is kept of a Release file between runs. It is verified anew each time.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Kept {
    url: String,
    etag: Option<String>,
    modified: Option<String>,
    /// As it came: with its signature, where that is not a file of its own.
    pub text: String,
    /// The bytes of `Release.gpg`, in hexadecimal digits.
    signature: Option<String>,
}

impl Kept {
    /// The bytes of `Release.gpg`, where there is one.
    pub fn signature(&self) -> Option<Vec<u8>> {
        self.signature.as_deref().map(unhex)
    }
}

/// The verified text of `InRelease`, or of `Release` with `Release.gpg` where there is none, and what came. None at all only where
/// nobody asks for signatures.
pub fn release_text(
    source: &Source,
    base: &str,
    store: &Store,
    host: &Host<'_>,
    dry: Dry,
) -> Result<(String, Option<Verified>, Option<Kept>), BuildError> {
    let signed = source.trust == Trust::Signed;
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
        Err(FetchError::NotFound { .. }) => match detached(base, host, signed)? {
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
            None if !signed && source.flat() => return Ok((url, None, None)),
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
    // What was told when it came need not be found out again.
    let policy = Policy {
        every_signature: fresh,
        ..Policy::default()
    };
    let verified = match &kept.signature {
        _ if !signed => Ok(verify::unverified(kept.text.as_bytes()).map_err(|source| {
            BuildError::Signature {
                url: url.clone(),
                keyrings: Vec::new(),
                source,
            }
        })?),
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
    Ok((url, Some(verified), Some(kept)))
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
fn detached(
    base: &str,
    host: &Host<'_>,
    signed: bool,
) -> Result<Option<TextAndSignature>, BuildError> {
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
        (Some(text), None) if !signed => Ok(Some((text, Vec::new()))),
        (Some(_), None) => Err(BuildError::Mismatch {
            url: format!("{base}/Release"),
            what: Mismatch::Other("it is not signed (neither InRelease nor Release.gpg)"),
        }),
        (None, _) => Ok(None),
    }
}
