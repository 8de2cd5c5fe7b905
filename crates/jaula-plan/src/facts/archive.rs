//! What the host knows of package archives: its own APT sources and the keyrings that lie on it.

use super::sources_list::{Form, Reading, entries};
use crate::names::Arch;
use crate::spec::source::{Repository, SignedBy};
use std::path::PathBuf;

/// One of the files `/etc/apt/sources.list`, `/etc/apt/sources.list.d/*.list` and `*.sources`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcesFile {
    /// Where it lies. Its ending tells its format (sources.list(5)).
    pub path: PathBuf,
    /// What it holds.
    pub text: String,
}

/// The host as APT sees it, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptFacts {
    /// The host's own architecture.
    pub arch: Arch,
    /// Every architecture whose programs this processor and kernel run, the host's own first.
    pub runnable: Vec<Arch>,
    /// The host's sources, in APT's order.
    pub sources: Vec<SourcesFile>,
    /// Keyrings that APT trusts for every source (`/etc/apt/trusted.gpg`, `/etc/apt/trusted.gpg.d/*`).
    pub trusted: Vec<PathBuf>,
    /// Keyrings below `/usr/share/keyrings` and `/etc/apt/keyrings`.
    pub keyrings: Vec<PathBuf>,
}

/// One line or stanza of the host's sources, for one suite and one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptSource {
    /// Address of the archive, without a slash at its end.
    pub uri: String,
    /// Suite, as it stands in the address after `dists/`.
    pub suite: String,
    /// Components.
    pub components: Vec<String>,
    /// What `Signed-By` (`signed-by=`) says; the default is any keyring that APT trusts.
    pub signed_by: SignedBy,
}

/// Reads the binary-package entries of `files`. Lines that make no sense are skipped, as are source packages
/// (`deb-src`), disabled stanzas, flat archives (a suite that ends in a slash), entries signed by fingerprints and other
/// architectures than `arch`.
pub fn apt_sources(files: &[SourcesFile], arch: &Arch) -> Vec<AptSource> {
    let mut found = Vec::new();
    for file in files {
        let form = Form::of(&file.path);
        for entry in entries(&file.text, form, Reading::Host)
            .into_iter()
            .flatten()
        {
            let of_arch = |repository: &Repository| {
                repository.archs.is_empty() || repository.archs.contains(arch)
            };
            for repository in entry
                .repositories
                .into_iter()
                .filter(|repository| entry.binary && of_arch(repository))
            {
                for suite in repository.suites.iter().filter(|s| !s.ends_with('/')) {
                    found.push(AptSource {
                        uri: repository.uri.clone(),
                        suite: suite.clone(),
                        components: repository.components.clone(),
                        signed_by: repository.signed_by.clone(),
                    });
                }
            }
        }
    }
    found
}
