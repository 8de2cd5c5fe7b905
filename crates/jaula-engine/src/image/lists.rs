//! What apt in the tree knows of its sources while hooks run, where they are to find it: its lists, as they came.

use super::build::Site;
use super::error::BuildError;
use super::indices::{self, replace};
use super::layer;
use super::release::Kept;
use crate::error::At;
use crate::fetch::FetchError;
use jaula_plan::rootfs::Source;
use jaula_repo::deb::release::ReleaseFile;
use jaula_repo::hex;
use jaula_sys::tree::{Dir, Kind};
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::path::Path;

/// Where apt keeps them.
const LISTS: &str = "var/lib/apt/lists";

/// One of apt's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptList {
    /// Its name in the directory.
    name: String,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    /// Verified when it came.
    Release(Vec<u8>),
    /// An index, compressed as it came: apt reads it so.
    Index {
        urls: Vec<String>,
        file: ReleaseFile,
    },
}

/// Names are addresses without what stands before the host, with these written as numbers (URItoFileName of apt's
/// library).
fn name(source: &Source, file: &str) -> String {
    let uri = source.uri.trim_end_matches('/');
    let rest = uri.split_once("://").map_or_else(
        || uri.split_once(':').map_or(uri, |(_, rest)| rest),
        |(_, rest)| rest,
    );
    let dir = match (source.flat(), source.suite.as_str()) {
        (false, suite) => format!("dists/{suite}/"),
        (true, "/") => String::new(),
        (true, suite) => suite.to_owned(),
    };
    let mut text = String::new();
    for letter in format!("{rest}/{dir}{file}").chars() {
        match letter {
            '/' => text.push('_'),
            '\\' | '|' | '{' | '}' | '[' | ']' | '<' | '>' | '"' | '^' | '~' | '_' | '=' | '!'
            | '@' | '#' | '$' | '%' | '&' | '*' => {
                text.push_str(&format!("%{:02x}", letter as u32))
            }
            other => text.push(other),
        }
    }
    text
}

/// The Release file of a source, and its signature where that is another one.
pub fn of_release(source: &Source, kept: Kept) -> Vec<AptList> {
    let list = |file: &str, content| AptList {
        name: name(source, file),
        content: Content::Release(content),
    };
    let signature = kept.signature();
    let text = kept.text.into_bytes();
    match signature {
        None => vec![list("InRelease", text)],
        Some(signature) if signature.is_empty() => vec![list("Release", text)],
        Some(signature) => vec![list("Release", text), list("Release.gpg", signature)],
    }
}

/// An index of it.
pub fn of_index(source: &Source, path: &str, urls: Vec<String>, file: ReleaseFile) -> AptList {
    AptList {
        name: name(source, path),
        content: Content::Index { urls, file },
    }
}

/// Puts them in the tree.
///
/// # Errors
/// One cannot be fetched, or is another one than its Release file says.
pub fn place(site: &Site<'_>) -> Result<(), BuildError> {
    for list in &site.plan.lists {
        let path = format!("{LISTS}/{}", list.name);
        match &list.content {
            Content::Release(text) => site.tree.write(&path, 0o644, text)?,
            Content::Index { urls, file } => {
                site.tree.write(&path, 0o644, &index(site, urls, file)?)?;
            }
        }
    }
    Ok(())
}

/// An index as it came: the store keeps it for the next time.
fn index(site: &Site<'_>, urls: &[String], file: &ReleaseFile) -> Result<Vec<u8>, BuildError> {
    let expected = hex::encode(&file.sha256);
    let kept = site.store.made("indices")?.join(format!("{expected}.raw"));
    let is_it = |bytes: &[u8]| Sha256::digest(bytes).as_slice() == file.sha256.as_slice();
    if let Ok(bytes) = std::fs::read(&kept)
        && is_it(&bytes)
    {
        return Ok(bytes);
    }
    let client = site.arrivals.client();
    let bytes = indices::fetched(urls, file, &client)?;
    if !is_it(&bytes) {
        return Err(FetchError::Altered {
            url: urls.last().cloned().unwrap_or_default(),
            expected,
            got: hex::encode(&Sha256::digest(&bytes)),
        }
        .into());
    }
    replace(&kept, &bytes)?;
    Ok(bytes)
}

/// Takes them out again, and what apt left of its work, unless that is to stay.
///
/// # Errors
/// What cannot be removed.
pub fn clean(site: &Site<'_>) -> Result<(), BuildError> {
    let traces = site.plan.spec.options.apt_traces;
    if !traces.lent {
        return Ok(());
    }
    let goes = |name: &[u8]| name != b"lock" && name != b"partial";
    if !traces.lists {
        empty(site, LISTS, &goes)?;
        empty(site, "var/lib/apt/lists/partial", &|_| true)?;
    }
    if !traces.cache {
        empty(site, "var/cache/apt", &|name| name.ends_with(b".bin"))?;
        empty(site, "var/cache/apt/archives", &goes)?;
        empty(site, "var/cache/apt/archives/partial", &|_| true)?;
    }
    Ok(())
}

/// Removes what goes of a directory of the tree, where the tree has one that no link leads to.
fn empty(site: &Site<'_>, path: &str, goes: &dyn Fn(&[u8]) -> bool) -> Result<(), BuildError> {
    if site.tree.kind(path) != Some(Kind::Dir) {
        return Ok(());
    }
    let shown = site.shown.join(path);
    let opened = site.root.open_beneath(Path::new(path));
    let dir: Dir = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.at("open", &shown)?,
    };
    for entry in dir.entries().at("list", &shown)? {
        if goes(entry.name.to_bytes()) {
            layer::discard(&dir, &entry.name).at("empty", &shown)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jaula_plan::rootfs::Kind;

    #[test]
    fn names_are_those_of_apt() {
        let named = |uri: &str, suite: &str, file: &str| {
            name(&Source::new(uri.to_owned(), suite, Kind::Main), file)
        };
        for (uri, suite, file, expected) in [
            (
                "http://deb.debian.org/debian",
                "bookworm",
                "main/binary-amd64/Packages.xz",
                "deb.debian.org_debian_dists_bookworm_main_binary-amd64_Packages.xz",
            ),
            (
                "http://h:8080/a_b",
                "buster/updates",
                "InRelease",
                "h:8080_a%5fb_dists_buster_updates_InRelease",
            ),
            ("file:/srv/m~r", "./", "InRelease", "_srv_m%7er_._InRelease"),
            ("file:///srv/m", "/", "Packages.xz", "_srv_m_Packages.xz"),
        ] {
            assert_eq!(named(uri, suite, file), expected);
        }
    }
}
