//! The signed suites that an image is made of.

use super::address::Login;
use super::table::TableError;
use crate::names::{Arch, DistroName, Suite};
use crate::spec::source::{Trust, Used};
use std::fmt;
use std::path::PathBuf;

/// Keys that may sign a suite.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Keyring {
    /// A file on the host, binary or armoured.
    File(PathBuf),
    /// An armoured key that stands in the host's sources.
    Inline(String),
}

/// What a suite is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The release itself.
    Main,
    /// Its updates.
    Updates,
    /// Its security updates.
    Security,
    /// A further suite of the distribution's archive.
    Extra,
    /// A repository that the user named.
    Repository,
}

/// One suite of one archive.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Source {
    /// Address of the archive (`http:`, `https:`, `file:`, `copy:`, `cdrom:`), without a slash at its end, and without
    /// a user and a password.
    pub uri: String,
    /// Who asks for it, where the server wants to know. Never shown or written.
    #[serde(skip)]
    pub login: Option<Login>,
    /// What stands after `dists/`; with a slash at its end, a directory of a flat repository.
    pub suite: String,
    /// What it is for.
    pub kind: Kind,
    /// Components; none of a flat repository. None at all: those that its Release file names.
    pub components: Vec<String>,
    /// Who may sign it. Empty only where no signature is asked for.
    pub keyrings: Vec<Keyring>,
    /// Whether a signature is asked for.
    pub trust: Trust,
    /// Whether apt in the image is to take it without a signature too: its entry says so.
    pub trusted_always: bool,
    /// Whether its `Valid-Until` counts.
    pub check_valid_until: bool,
    /// Only these architectures; all when empty.
    pub archs: Vec<Arch>,
    /// Name of its file below `/etc/apt/sources.list.d` of the image, without the ending; it stands in
    /// `/etc/apt/sources.list` when absent.
    pub name: Option<String>,
    /// Whether apt in the image needs its keys: they belong to nothing that the distribution brings.
    pub own_keys: bool,
    /// When it counts.
    pub used: Used,
    /// Whether the image's own sources name its source packages too.
    pub source_packages: bool,
}

impl Source {
    /// A signed suite with nothing special about it, and no keys yet.
    pub fn new(uri: String, suite: &str, kind: Kind) -> Self {
        Self {
            uri,
            login: None,
            suite: suite.to_owned(),
            kind,
            components: Vec::new(),
            keyrings: Vec::new(),
            trust: Trust::Signed,
            trusted_always: false,
            check_valid_until: true,
            archs: Vec::new(),
            name: None,
            own_keys: false,
            used: Used::Both,
            source_packages: false,
        }
    }

    /// Host of the address; empty for files of this machine.
    pub fn host(&self) -> &str {
        super::address::host(&self.uri)
    }

    /// Whether it is a flat repository: no `dists`, no components, `Release` beside `Packages`.
    pub fn flat(&self) -> bool {
        self.suite.ends_with('/')
    }

    /// The directory of its Release file.
    pub fn base(&self) -> String {
        if !self.flat() {
            return format!("{}/dists/{}", self.uri, self.suite);
        }
        let parts = self.suite.split('/');
        parts
            .filter(|part| !part.is_empty() && *part != ".")
            .fold(self.uri.clone(), |base, part| format!("{base}/{part}"))
    }

    /// What differs from a plain entry, as the one-line form writes it.
    fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        if !self.archs.is_empty() {
            let archs: Vec<&str> = self.archs.iter().map(Arch::as_str).collect();
            options.push(format!("arch={}", archs.join(",")));
        }
        if self.trust == Trust::Unsigned {
            options.push("trusted=yes".to_owned());
        }
        if !self.check_valid_until {
            options.push("check-valid-until=no".to_owned());
        }
        options
    }
}

impl fmt::Display for Source {
    /// As a line of sources.list(5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deb ")?;
        let options = self.options();
        if !options.is_empty() {
            write!(f, "[{}] ", options.join(" "))?;
        }
        write!(f, "{} {}", self.uri, self.suite)?;
        self.components
            .iter()
            .try_for_each(|component| write!(f, " {component}"))
    }
}

/// Who said where the packages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The user named a mirror.
    Mirror,
    /// The host's own APT sources.
    Host,
    /// The table of distributions.
    Table,
    /// The user named every repository.
    Repositories,
}

/// Everything an image is made from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Sources {
    /// The distribution.
    pub distro: DistroName,
    /// The suite as asked for, or the default one.
    pub suite: Suite,
    /// Architecture of the packages.
    pub arch: Arch,
    /// Whether the release has `/bin` and its like as links into `/usr`.
    pub merged_usr: bool,
    /// The same as the release has it, whatever the user asked.
    pub merged_usr_as_released: bool,
    /// Whether the user has said.
    pub merged_usr_asked: bool,
    /// Whether only the packages know how the release has it: no table does.
    pub merged_usr_by_packages: bool,
    /// Whether nobody has said for which architecture, of an archive that no table knows.
    pub arch_by_release: bool,
    /// Whether the release is an old one, whose Release file may have expired.
    pub old: bool,
    /// Where this comes from.
    pub origin: Origin,
    /// The suites that packages come from, the release itself first.
    pub entries: Vec<Source>,
    /// What is only written into the image.
    pub image_only: Vec<Source>,
}

/// Why no sources could be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourcesError {
    /// The table has no such distribution.
    #[error("unknown distribution {name}{}", near(nearest))]
    UnknownDistro {
        /// As asked for.
        name: DistroName,
        /// Names like it, the nearest first.
        nearest: Vec<String>,
    },
    /// The distribution has no such suite, as far as the table knows.
    #[error("{distro} has no suite {suite}{}", near(nearest))]
    UnknownSuite {
        /// The distribution.
        distro: DistroName,
        /// As asked for.
        suite: Suite,
        /// Names like it, the nearest first.
        nearest: Vec<String>,
    },
    /// Programs of this architecture do not run here.
    #[error(
        "this machine does not run {arch} programs (it runs {})",
        list(runnable)
    )]
    ForeignArch {
        /// As asked for.
        arch: Arch,
        /// What runs.
        runnable: Vec<Arch>,
    },
    /// No keyring that could tell a real archive from a false one.
    #[error(
        "no keyring for {distro} on this machine (looked for {})",
        list(candidates)
    )]
    NoKeyring {
        /// The distribution.
        distro: DistroName,
        /// Where one was looked for.
        candidates: Vec<String>,
        /// The package that brings it.
        package: Option<String>,
    },
    /// A source that nobody's keys belong to.
    #[error("no key for {source_line}: nothing tells the real archive from a false one")]
    NoKey {
        /// The source, as a line of sources.list(5).
        source_line: String,
    },
    /// A mirror that is no address jaula can fetch from.
    #[error("{mirror:?} is no http:, https:, file:, copy: or cdrom: address of an archive")]
    BadMirror {
        /// As given, without a password.
        mirror: String,
    },
    /// A distribution that the table does not know, and no suite.
    #[error("which suite of {distro}? the table of distributions does not know it")]
    NoSuite {
        /// The distribution.
        distro: DistroName,
    },
    /// Nothing to take packages from.
    #[error("no repository is left to take packages from")]
    NoRepository,
    /// A repository of which something is missing or too much.
    #[error("repository {uri} {what}")]
    BadRepository {
        /// Its address.
        uri: String,
        /// What is wrong.
        what: String,
    },
    /// An archive as it was, where nobody keeps that.
    #[error("there is no archive of the past for {what}")]
    NoSnapshot {
        /// Of which distribution or mirror.
        what: String,
    },
    /// A file of distributions that cannot be read.
    #[error("table of distributions {file}")]
    Table {
        /// The file.
        file: String,
        /// Where it is wrong.
        #[source]
        source: TableError,
    },
    /// A name that is none, in the table or in the host's sources.
    #[error("{what} {value:?} makes no sense")]
    BadValue {
        /// What it should be.
        what: &'static str,
        /// As found.
        value: String,
    },
}

impl SourcesError {
    /// What the user can do, one sentence.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownDistro { .. } => Some(
                "name its archive with --mirror URL --suite SUITE --keyring FILE, or add it to the table of \
                 distributions with a file of your own"
                    .to_owned(),
            ),
            Self::NoKey { .. } => Some(
                "name the keyring of its archive with --keyring FILE or signed-by=FILE; trusted=yes does without \
                 signatures, and anybody between can then replace every package"
                    .to_owned(),
            ),
            Self::NoSuite { .. } => Some("name it as DISTRO:SUITE, or with --suite SUITE".to_owned()),
            Self::NoRepository => Some("name one with --source or --sources".to_owned()),
            Self::NoSnapshot { .. } => Some(
                "name an archive that keeps its past with --mirror, {} where the moment stands in its address"
                    .to_owned(),
            ),
            Self::UnknownSuite { .. } => Some(
                "name its mirror with --mirror to use a suite the table does not know".to_owned(),
            ),
            Self::NoKeyring {
                package: Some(package),
                ..
            } => Some(format!(
                "install the package {package}, or name a keyring with --keyring"
            )),
            Self::NoKeyring { .. } => Some("name a keyring with --keyring".to_owned()),
            Self::ForeignArch { arch, .. } => Some(format!(
                "install qemu-user-static, which a jail's own binfmt_misc (Linux 6.7) or the host's starts for {arch} \
                 programs; or only unpack it with --foreign, and let jaula finish configure it where they run"
            )),
            Self::BadMirror { .. } => Some(
                "write http://…, https://…, file:/DIRECTORY, copy:/DIRECTORY or cdrom:/FILE.iso".to_owned(),
            ),
            Self::Table { .. } | Self::BadValue { .. } | Self::BadRepository { .. } => None,
        }
    }
}

fn near(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; nearest: {}", names.join(", "))
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
