//! What an image is made of, for people and for programs: the packages of dpkg's database, with the hashes of the
//! lock and the licences of machine-readable `copyright` files, as a manifest, as SPDX and as CycloneDX. The same
//! image gives the same text: its time is the image's, its identifier comes from what is listed.

mod cyclonedx;
mod spdx;

use crate::error::{At, PathError};
use crate::export::scan::uuid_of;
use jaula_repo::deb::control::stanzas;
use jaula_repo::deb::copyright;
use jaula_repo::hex;
use jaula_repo::lock::Lock;
use jaula_sys::dir::Dir;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Most bytes of dpkg's database.
const STATUS_LIMIT: u64 = 64 << 20;
/// Most bytes of a `copyright` file.
const COPYRIGHT_LIMIT: u64 = 1 << 20;
/// Most bytes of os-release(5) and of a lock.
const LOCK_LIMIT: u64 = 64 << 20;

/// The form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SbomFormat {
    /// SPDX 2.3, JSON.
    Spdx,
    /// CycloneDX 1.5, JSON.
    CycloneDx,
}

impl SbomFormat {
    /// By the word a user types.
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "spdx" => Some(Self::Spdx),
            "cyclonedx" => Some(Self::CycloneDx),
            _ => None,
        }
    }

    /// What is put behind the name of the image it lies beside.
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Spdx => ".spdx.json",
            Self::CycloneDx => ".cdx.json",
        }
    }
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// The source package, and its version where that is another.
    pub source: String,
    /// SHA-256 of the package file, where the image's lock has it.
    pub sha256: Option<String>,
    /// Short names of licences, where the package says them so that a program can read them.
    pub licences: Vec<String>,
    /// Who maintains it.
    pub maintainer: String,
    /// Where it comes from.
    pub homepage: String,
    /// What it is, in a line.
    pub summary: String,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Contents {
    /// The distribution.
    pub distro: String,
    /// Its suite.
    pub suite: String,
    /// Architecture.
    pub arch: String,
    /// No file is younger: seconds since 1970.
    pub created: i64,
    /// The packages, by name and architecture.
    pub packages: Vec<Package>,
}

/// Reads a file beneath a directory, links in it followed inside of it only.
fn text(root: &Dir, dir: &str, name: &str, limit: u64) -> std::io::Result<String> {
    let dir = root.open_dir_in_root(Path::new(dir))?;
    let mut bytes = Vec::new();
    let got = dir
        .open_file(name)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if got as u64 > limit {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One line without control characters.
fn plain(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    line.chars().filter(|c| !c.is_control()).take(400).collect()
}

/// The packages that dpkg's database in a tree says are installed, by name and architecture; none without one.
pub fn packages(tree: &Path) -> Result<Vec<Package>, PathError> {
    let root = Dir::open(tree).at("open", tree)?;
    let shown = tree.join("var/lib/dpkg/status");
    let status = match text(&root, "var/lib/dpkg", "status", STATUS_LIMIT) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        other => other.at("read", &shown)?,
    };
    let mut found = Vec::new();
    for stanza in stanzas(&status) {
        let stanza = stanza.map_err(std::io::Error::other).at("read", &shown)?;
        let field = |name: &str| plain(stanza.field(name).unwrap_or_default());
        if !field("Status").ends_with(" installed") {
            continue;
        }
        let (name, version) = (field("Package"), field("Version"));
        let source = match field("Source") {
            none if none.is_empty() => name.clone(),
            source => source,
        };
        found.push(Package {
            arch: field("Architecture"),
            maintainer: field("Maintainer"),
            homepage: field("Homepage"),
            summary: field("Description"),
            source,
            name,
            version,
            ..Package::default()
        });
    }
    found.sort_by(|a, b| (&a.name, &a.arch).cmp(&(&b.name, &b.arch)));
    Ok(found)
}

/// The Debian architecture of a tree: dpkg's own, else this machine's.
pub(crate) fn architecture(tree: &Path) -> String {
    let all = packages(tree).unwrap_or_default();
    let own = all
        .iter()
        .find(|package| package.name == "dpkg" || package.name == "base-files");
    match own {
        Some(own) => own.arch.clone(),
        None => match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "i386",
            other => other,
        }
        .to_owned(),
    }
}

/// A value of os-release(5).
fn release(text: &str, key: &str) -> String {
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    plain(found.unwrap_or_default().trim_matches(['"', '\'']))
}

impl Contents {
    /// Of a tree. `lock` is the text of the image's lock; what is known of the image otherwise goes before what the
    /// tree says of itself.
    pub fn read(tree: &Path, known: Self, lock: Option<&str>) -> Result<Self, PathError> {
        let mut all = Self {
            packages: packages(tree)?,
            ..known
        };
        let root = Dir::open(tree).at("open", tree)?;
        let os = ["usr/lib", "etc"]
            .into_iter()
            .find_map(|dir| text(&root, dir, "os-release", LOCK_LIMIT).ok());
        let os = os.unwrap_or_default();
        if all.distro.is_empty() || all.distro == "archive" {
            all.distro = release(&os, "ID");
        }
        if all.suite.is_empty() {
            all.suite = release(&os, "VERSION_CODENAME");
        }
        if all.distro.is_empty() {
            all.distro = "linux".to_owned();
        }
        if all.arch.is_empty() {
            all.arch = architecture(tree);
        }
        let lock = lock.and_then(|text| Lock::parse(text).ok());
        let mut hashes = BTreeMap::new();
        for package in lock.iter().flat_map(|lock| &lock.packages) {
            let key = (&*package.name, &*package.version, &*package.arch);
            hashes.insert(key, hex::encode(&package.sha256));
        }
        for package in &mut all.packages {
            let key = (&*package.name, &*package.version, &*package.arch);
            package.sha256 = hashes.get(&key).cloned();
            let dir = format!("usr/share/doc/{}", package.name);
            // Many have none that a program can read.
            if let Ok(text) = text(&root, &dir, "copyright", COPYRIGHT_LIMIT) {
                package.licences = copyright::licences(&text);
            }
        }
        Ok(all)
    }

    /// Name, tabulator, version: a package a line, as Debian's live images have it. Packages of another
    /// architecture have it behind their name.
    pub fn manifest(&self) -> String {
        let lines = self.packages.iter().map(|package| {
            let foreign = package.arch != self.arch && package.arch != "all";
            let arch = if foreign {
                format!(":{}", package.arch)
            } else {
                String::new()
            };
            format!("{}{arch}\t{}\n", package.name, package.version)
        });
        lines.collect()
    }

    /// The list in this form, with a newline at its end.
    pub fn written(&self, format: SbomFormat) -> String {
        let value = match format {
            SbomFormat::Spdx => spdx::document(self),
            SbomFormat::CycloneDx => cyclonedx::document(self),
        };
        format!("{value:#}\n")
    }

    /// `debian-bookworm-amd64`
    fn name(&self) -> String {
        let parts = [&self.distro, &self.suite, &self.arch];
        let parts: Vec<&str> = parts
            .into_iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        parts.join("-")
    }

    /// An identifier that comes from what is listed (RFC 9562, version 8).
    fn uuid(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        add("jaula contents 1");
        for text in [
            &self.distro,
            &self.suite,
            &self.arch,
            &self.created.to_string(),
        ] {
            add(text);
        }
        for package in &self.packages {
            for text in [&package.name, &package.version, &package.arch] {
                add(text);
            }
            add(package.sha256.as_deref().unwrap_or_default());
        }
        let hex = jaula_repo::hex::encode(&uuid_of(&hash.finalize()));
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-{}-{}-{}",
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32)
        )
    }

    /// The address of a package among all packages (the package URL specification, type `deb`).
    fn purl(&self, package: &Package) -> String {
        let mut purl = format!(
            "pkg:deb/{}/{}@{}?arch={}",
            encoded(&self.distro.to_lowercase()),
            encoded(&package.name),
            encoded(&package.version),
            encoded(&package.arch)
        );
        if !self.suite.is_empty() {
            purl.push_str(&format!("&distro={}", encoded(&self.suite)));
        }
        purl
    }
}

/// Percent-encoded as package URLs want it.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                encoded.push(char::from(byte))
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// Seconds since 1970 as RFC 3339 has them, `2026-06-06T09:12:13Z`.
pub(crate) fn timestamp(seconds: i64) -> String {
    let text = jaula_repo::date::format(u64::try_from(seconds).unwrap_or(0));
    text.replacen(' ', "T", 1).replace(" UTC", "Z")
}

#[cfg(test)]
mod tests;
