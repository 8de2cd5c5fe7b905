//! What apt in the image knows of its sources: lists, and keys of archives that no package
//! brings.

use super::error::BuildError;
use super::layout::Tree;
use super::release::keyring_bytes;
use jaula_plan::rootfs::{Keyring, Source, Sources};
use jaula_plan::spec::rootfs::ImageOptions;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Where keys lie in the image (sources.list(5) names this directory for keys that no package brings).
const KEYRINGS: &str = "etc/apt/keyrings";

/// The files, read once: what is written is what counted for the image's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptFiles {
    /// Path below the root, and content. The main list first.
    files: Vec<(String, Vec<u8>)>,
    /// Whether there is nothing but the main list, and nothing in it but what the lock says.
    plain: bool,
}

impl AptFiles {
    /// Of a request whose sources have been found.
    ///
    /// # Errors
    /// A keyring cannot be read.
    pub fn read(options: &ImageOptions, sources: &Sources) -> Result<Self, BuildError> {
        let mut keys: Vec<(String, Vec<u8>)> = Vec::new();
        let mut of_source: BTreeMap<(String, Vec<Keyring>), Vec<String>> = BTreeMap::new();
        // What the user wrote himself takes the place of everything that would follow from the sources.
        let own_list = options.settings.sources_list.is_some();
        for source in sources.with_own_keys().filter(|_| !own_list) {
            let name = source.name.clone();
            let name = name.unwrap_or_else(|| sources.distro.to_string());
            let place = (name.clone(), source.keyrings.clone());
            if of_source.contains_key(&place) {
                continue;
            }
            let mut paths = Vec::new();
            for bytes in contents(source)? {
                let path = (1u32..)
                    .map(|number| key_path(&name, number, &bytes))
                    .find(|path| keys.iter().all(|(known, _)| known != path))
                    .unwrap_or_default();
                paths.push(format!("/{path}"));
                keys.push((path, bytes));
            }
            of_source.insert(place, paths);
        }
        let signed_by = |source: &Source| -> Vec<String> {
            let name = source.name.clone();
            let name = name.unwrap_or_else(|| sources.distro.to_string());
            let place = (name, source.keyrings.clone());
            let paths = of_source.get(&place).filter(|_| source.own_keys);
            paths.cloned().unwrap_or_default()
        };
        let mut files: Vec<(String, Vec<u8>)> = sources
            .image_files(&signed_by)
            .into_iter()
            .map(|file| (file.path, file.text.into_bytes()))
            .collect();
        if own_list {
            files.truncate(1);
        }
        let plain =
            matches!(files.as_slice(), [(_, text)] if *text == plain_list(sources).as_bytes());
        files.extend(keys);
        Ok(Self { files, plain })
    }

    /// What makes the image another one than its packages: nothing where the lock says it all.
    pub fn identity(&self) -> Option<String> {
        if self.plain {
            return None;
        }
        let mut text = String::new();
        for (path, bytes) in &self.files {
            let digest = jaula_repo::hex::encode(&Sha256::digest(bytes));
            text.push_str(&format!("apt {digest} {path}\n"));
        }
        Some(text)
    }

    /// The text of the main list.
    pub fn main_list(&self) -> String {
        let first = self.files.first().map(|(_, bytes)| bytes.as_slice());
        String::from_utf8_lossy(first.unwrap_or_default()).into_owned()
    }

    /// Writes all but the main list, which the tree begins with.
    pub fn write(&self, tree: &Tree<'_>) -> Result<(), BuildError> {
        for (path, bytes) in self.files.iter().skip(1) {
            if let Some((dir, _)) = path.rsplit_once('/') {
                tree.make_dirs(dir, 0o755)?;
            }
            tree.write(path, 0o644, bytes)?;
        }
        Ok(())
    }
}

/// What follows from the lock alone.
fn plain_list(sources: &Sources) -> String {
    let line = |source: &Source| {
        let components: String = source.components.iter().map(|c| format!(" {c}")).collect();
        format!("deb {} {}{components}\n", source.uri, source.suite)
    };
    sources.entries.iter().map(line).collect()
}

fn contents(source: &Source) -> Result<Vec<Vec<u8>>, BuildError> {
    let mut found = Vec::new();
    for keyring in &source.keyrings {
        match keyring {
            Keyring::File(path) => {
                found.extend(keyring_bytes(path)?.into_iter().map(|(_, bytes)| bytes));
            }
            Keyring::Inline(key) => found.push(key.clone().into_bytes()),
        }
    }
    Ok(found)
}

/// Its ending tells apt whether a key is armoured.
fn key_path(name: &str, number: u32, bytes: &[u8]) -> String {
    let armoured = bytes.trim_ascii_start().starts_with(b"-----BEGIN PGP");
    let ending = if armoured { "asc" } else { "gpg" };
    match number {
        1 => format!("{KEYRINGS}/{name}.{ending}"),
        _ => format!("{KEYRINGS}/{name}-{number}.{ending}"),
    }
}
