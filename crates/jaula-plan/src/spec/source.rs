//! Where packages come from, as a user says it.

use crate::names::{Arch, Component, Suite};
use crate::rootfs::address::without_login;
use serde::{Deserialize, Serialize, Serializer};
use std::path::PathBuf;

/// What is said of sources besides the distribution and its suite. The default: what the host or the table knows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SourceOptions {
    /// The archive to use instead of the host's or the table's (`http:`, `https:`, `file:`, `copy:`, `cdrom:`).
    #[serde(serialize_with = "mirror_without_login")]
    pub mirror: Option<String>,
    /// Components instead of the table's.
    pub components: Vec<Component>,
    /// Keyring files, or directories of some, instead of the host's or the table's.
    pub keyrings: Vec<PathBuf>,
    /// More suites of the same archive.
    pub extra_suites: Vec<Suite>,
    /// Repositories besides the distribution's own.
    pub repositories: Vec<Repository>,
    /// Only `repositories`, nothing that the host or the table knows.
    pub only_repositories: bool,
    /// What apt_preferences(5) would say: the text of a file each, with its name.
    pub preferences: Vec<Preferences>,
    /// The archive as it was then: seconds since 1970, for archives that keep their past.
    pub snapshot: Option<u64>,
    /// Whether signatures are asked for.
    pub trust: Trust,
    /// Who jaula says it is to servers that ask for a certificate.
    pub client: Option<TlsClient>,
}

/// One repository, as an entry of sources.list(5) describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Its name, for messages and for the file it is written to in the image.
    pub name: Option<String>,
    /// Address. A user and a password in it are used, and neither shown nor written anywhere.
    #[serde(serialize_with = "uri_without_login")]
    pub uri: String,
    /// What stands after `dists/`; a suite that ends in `/` is a flat repository's directory.
    pub suites: Vec<String>,
    /// Components; none for a flat repository.
    pub components: Vec<String>,
    /// Only these architectures; all of the image when empty.
    pub archs: Vec<Arch>,
    /// Who may sign it.
    pub signed_by: SignedBy,
    /// Whether signatures are asked for.
    pub trust: Trust,
    /// Whether `Valid-Until` counts.
    pub check_valid_until: bool,
    /// Whether packages are taken from it while the image is made, and whether it stays in the image's own sources.
    pub used: Used,
    /// Whether its source packages are among the image's own sources too (`deb-src`).
    pub source_packages: bool,
}

impl Default for Repository {
    /// A signed one whose `Valid-Until` counts, used for both.
    fn default() -> Self {
        Self {
            name: None,
            uri: String::new(),
            suites: Vec::new(),
            components: Vec::new(),
            archs: Vec::new(),
            signed_by: SignedBy::Default,
            trust: Trust::Signed,
            check_valid_until: true,
            used: Used::Both,
            source_packages: false,
        }
    }
}

fn uri_without_login<S: Serializer>(uri: &str, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&without_login(uri))
}

fn mirror_without_login<S: Serializer>(uri: &Option<String>, to: S) -> Result<S::Ok, S::Error> {
    uri.as_deref().map(without_login).serialize(to)
}

/// When a repository counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Used {
    /// While the image is made, and by apt in the image.
    #[default]
    Both,
    /// While the image is made.
    Build,
    /// By apt in the image.
    Image,
}

/// Keys of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SignedBy {
    /// What the distribution is signed by.
    #[default]
    Default,
    /// Keyring files.
    Files(Vec<PathBuf>),
    /// An armoured key in the entry itself.
    Inline(String),
}

/// Whether what a repository says must be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Trust {
    /// A good signature by a known key, or an error.
    #[default]
    Signed,
    /// Signatures are not looked at: whoever is between can replace every package. Said aloud wherever it is used.
    Unsigned,
}

/// A file of apt_preferences(5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// Its name in `/etc/apt/preferences.d` of the image.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A certificate and its key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsClient {
    /// The certificate, with its chain.
    pub certificate: PathBuf,
    /// The private key; in the same file when absent.
    pub key: Option<PathBuf>,
}
