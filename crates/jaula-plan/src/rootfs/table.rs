//! The table of distributions: data, which a file of the user's may add to.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A text that is no table of distributions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the table of distributions cannot be read")]
pub struct TableError(#[from] toml::de::Error);

/// Every distribution known, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    distros: BTreeMap<String, Distro>,
}

/// One distribution.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Distro {
    /// The suite when none is asked for.
    pub default_suite: String,
    /// The components when none are asked for.
    pub components: Vec<String>,
    /// Address of the archive.
    pub mirror: String,
    /// Address of the archive of security updates; the archive's own when absent.
    pub security_mirror: Option<String>,
    /// Address for all architectures but those of `ports_except`.
    pub ports_mirror: Option<String>,
    /// Architectures that are on `mirror` although there is a `ports_mirror`.
    #[serde(default)]
    pub ports_except: Vec<String>,
    /// Address of the archive of releases no longer on the mirrors.
    pub old_mirror: Option<String>,
    /// The same for their security updates.
    pub old_security_mirror: Option<String>,
    /// Address of an archive that keeps its past, `{}` where the moment stands (`20260606T091213Z`).
    pub snapshot_mirror: Option<String>,
    /// The same for its security updates; that of the archive itself when absent.
    pub snapshot_security_mirror: Option<String>,
    /// The last part of the path of a mirror of this archive, by which the host's sources are told.
    #[serde(default)]
    pub paths: Vec<String>,
    /// The same for mirrors of the security archive.
    #[serde(default)]
    pub security_paths: Vec<String>,
    /// Keyring files, the first that exists is taken.
    pub keyrings: Vec<PathBuf>,
    /// More keyrings, taken besides for old releases.
    #[serde(default)]
    pub old_keyrings: Vec<PathBuf>,
    /// The package that brings the keyring, for a hint.
    pub keyring_package: Option<String>,
    /// Releases, oldest first.
    #[serde(default, rename = "release")]
    pub releases: Vec<Release>,
}

/// One release of a distribution.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Release {
    /// Its codename.
    pub name: String,
    /// Suites that name the same release for now.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// No longer on the mirrors: it comes from the archive of old releases and its Release file has expired.
    #[serde(default)]
    pub old: bool,
    /// `/bin`, `/sbin` and `/lib*` are links into `/usr`.
    #[serde(default)]
    pub merged_usr: bool,
    /// Pattern of the suite of updates.
    pub updates: Option<String>,
    /// Pattern of the suite of security updates.
    pub security: Option<String>,
}

impl Release {
    /// Whether `suite` names this release.
    pub fn answers_to(&self, suite: &str) -> bool {
        self.name == suite || self.aliases.iter().any(|alias| alias == suite)
    }
}

/// The table that comes with the program.
const BUILTIN: &str = include_str!("../distros.toml");

/// The names of the table that comes with the program, told from its headings alone: every start asks what a word
/// means, and reading the whole table would take longer than the rest of the arguments.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    let heading = |line: &'static str| {
        line.strip_prefix('[')?
            .strip_suffix(']')
            .filter(|name| !name.starts_with('['))
    };
    BUILTIN.lines().filter_map(heading)
}

impl Table {
    /// The table that comes with the program.
    ///
    /// # Errors
    /// [`TableError`] if the built-in text were broken, which a test excludes.
    pub fn builtin() -> Result<Self, TableError> {
        Ok(Self {
            distros: toml::from_str(BUILTIN)?,
        })
    }

    /// Adds the entries of a file of the user's; an entry of the same name is replaced whole.
    ///
    /// # Errors
    /// [`TableError`] with line and column.
    pub fn extend(&mut self, text: &str) -> Result<(), TableError> {
        let more: BTreeMap<String, Distro> = toml::from_str(text)?;
        self.distros.extend(more);
        Ok(())
    }

    /// The distribution of that name.
    pub fn distro(&self, name: &str) -> Option<&Distro> {
        self.distros.get(name)
    }

    /// The names known, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.distros.keys().map(String::as_str)
    }
}

impl Distro {
    /// The release that `suite` names.
    pub fn release(&self, suite: &str) -> Option<&Release> {
        self.releases
            .iter()
            .find(|release| release.answers_to(suite))
    }
}
