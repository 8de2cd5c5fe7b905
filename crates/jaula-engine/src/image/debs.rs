//! Package files of the host: read for planning, and taken into the store when the image is made.

use super::error::BuildError;
use super::plan::ImagePlan;
use crate::error::At;
use crate::store::Store;
use jaula_repo::deb::archive;
use jaula_repo::deb::packages::Index;
use jaula_repo::hex;
use jaula_repo::lock::LockSource;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The address of package files of the host in a lock: they are known by their hash alone.
const LOCAL: &str = "local:/";
/// Most files of one request.
const MOST_FILES: usize = 10_000;

/// Package files as an index of their own.
pub struct Local {
    pub index: Index,
}

/// How a lock names the host as a source.
pub fn lock_source() -> LockSource {
    LockSource {
        date: 0,
        uri: LOCAL.to_owned(),
        suite: "local".to_owned(),
        components: String::new(),
        release_sha256: [0; 32],
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    // A pipe in its place does not keep us waiting.
    let file = File::options().read(true).custom_flags(0o4000).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::new(
            ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    Ok(file)
}

/// SHA-256 and size of a file.
fn hash(path: &Path) -> std::io::Result<([u8; 32], u64)> {
    let mut file = open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0u64;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((hash.finalize().into(), size));
        }
        hash.update(buffer.get(..count).unwrap_or_default());
        size = size.saturating_add(count as u64);
    }
}

/// Reads the control data of every file.
pub fn read(paths: &[PathBuf]) -> Result<Local, BuildError> {
    let mut text = String::new();
    if paths.len() > MOST_FILES {
        let error = std::io::Error::from(ErrorKind::InvalidInput);
        return Err(error).at("read so many package files as", Path::new(""))?;
    }
    for path in paths {
        let (sha256, size) = hash(path).at("read", path)?;
        let reader = BufReader::new(open(path).at("read", path)?);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let about = About {
            shown: &jaula_plan::explain::shown(path),
            name: &name,
            size,
            sha256,
        };
        text.push_str(&stanza(&about, reader)?);
    }
    let index = Index::parse(text.as_bytes()).map_err(|error| BuildError::DebControl {
        file: "the package files".to_owned(),
        what: error.to_string(),
    })?;
    Ok(Local { index })
}

/// What an index says of a package file besides what is in it.
pub(super) struct About<'a> {
    /// As messages call it.
    pub shown: &'a str,
    /// Its name. It is for people: the file is found by its hash.
    pub name: &'a str,
    /// Its bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// The stanza of an index for a package file: one package, whatever its control file holds.
pub(super) fn stanza(about: &About<'_>, reader: impl Read) -> Result<String, BuildError> {
    let file = || about.shown.to_owned();
    let (control, _) = archive::open(reader).map_err(|source| BuildError::Deb {
        file: file(),
        source,
    })?;
    let wrong = |what: String| BuildError::DebControl { file: file(), what };
    let stanza = control.stanza().map_err(|error| wrong(error.to_string()))?;
    let mut text = String::new();
    for field in stanza.fields() {
        if ["filename", "size", "sha256"].contains(&field.name.to_ascii_lowercase().as_str()) {
            continue;
        }
        let value = field.raw.trim_end_matches('\n');
        text.push_str(&format!("{}:{value}\n", field.name));
    }
    let safe: String = about
        .name
        .chars()
        .map(|c| match c {
            c if c.is_control() || c == '\\' => '_',
            c => c,
        })
        .collect();
    text.push_str(&format!(
        "Filename: {safe}\nSize: {}\nSHA256: {}\n\n",
        about.size,
        hex::encode(&about.sha256)
    ));
    Index::parse(text.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    Ok(text)
}

/// Takes the package files of a plan that the store does not have into it, by their hashes.
pub fn keep(plan: &ImagePlan, store: &Store) -> Result<(), BuildError> {
    let is_local = |source: usize| {
        let source = plan.lock.sources.get(source);
        source.is_some_and(|source| source.uri == LOCAL)
    };
    let missing: Vec<_> = plan
        .lock
        .packages
        .iter()
        .filter(|package| is_local(package.source) && store.package(&package.sha256).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for path in &plan.spec.options.debs {
        let (sha256, _) = hash(path).at("read", path)?;
        if !missing.iter().any(|package| package.sha256 == sha256) {
            continue;
        }
        let part = store.partial_path(&sha256)?;
        let mut copied = Sha256::new();
        let mut copy = || -> std::io::Result<()> {
            drop(std::fs::remove_file(&part));
            let (mut from, mut to) = (open(path)?, File::create_new(&part)?);
            let mut buffer = vec![0; 256 << 10];
            loop {
                let count = from.read(&mut buffer)?;
                let bytes = buffer.get(..count).unwrap_or_default();
                if bytes.is_empty() {
                    return Ok(());
                }
                copied.update(bytes);
                to.write_all(bytes)?;
            }
        };
        copy().at("copy", path)?;
        let copied: [u8; 32] = copied.finalize().into();
        if copied != sha256 {
            drop(std::fs::remove_file(&part));
            return Err(std::io::Error::other("it changed meanwhile")).at("copy", path)?;
        }
        store.keep_package(&sha256)?;
    }
    match missing
        .iter()
        .find(|package| store.package(&package.sha256).is_none())
    {
        Some(package) => Err(BuildError::NoSuchDeb {
            file: package.path.clone(),
            sha256: hex::encode(&package.sha256),
        }),
        None => Ok(()),
    }
}
