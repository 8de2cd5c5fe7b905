use super::hooks::HookError;
use super::mismatch::Mismatch;
use crate::configure::ConfigureError;
use crate::error::{Kind, PathError};
use crate::fetch::FetchError;
use crate::outcome::Status;
use crate::store::StoreError;
use crate::unpack::UnpackError;
use jaula_plan::path_filter::BadPattern;
use jaula_plan::rootfs::SourcesError;
use jaula_plan::settings::SettingError;
use jaula_repo::deb::archive::DebError;
use jaula_repo::deb::packages::IndexError;
use jaula_repo::deb::preferences::PreferencesError;
use jaula_repo::deb::release::ReleaseError;
use jaula_repo::solve::SolveError;
use jaula_repo::verify::{KeyringError, VerifyError};
use std::path::PathBuf;

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Where the packages come from.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// Fetching.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A keyring.
    #[error("keyring {keyring} cannot be used")]
    Keyring {
        /// Which.
        keyring: String,
        /// What is wrong.
        #[source]
        source: KeyringError,
    },
    /// Nobody who may has signed the index.
    #[error("{url} is not signed by {}", .keyrings.join(", "))]
    Signature {
        /// The Release file.
        url: String,
        /// The keyrings it was checked against.
        keyrings: Vec<String>,
        /// What is wrong.
        #[source]
        source: VerifyError,
    },
    /// The Release file: unreadable, expired, from the future.
    #[error("{url} cannot be used")]
    Release {
        /// The Release file.
        url: String,
        /// What is wrong.
        #[source]
        source: ReleaseError,
    },
    /// The Release file is of something else, or lacks what is needed.
    #[error("{url}: {what}")]
    Mismatch {
        /// The Release file.
        url: String,
        /// What is missing or different.
        what: Mismatch,
    },
    /// The index of packages.
    #[error("{url} cannot be read")]
    Index {
        /// The index.
        url: String,
        /// What is wrong.
        #[source]
        source: IndexError,
    },
    /// Packages of a lock that are nowhere any more.
    #[error("no mirror has {} of the lock's packages any more: {}", .packages.len(), .packages.join(", "))]
    Gone {
        /// Name, version and architecture of each.
        packages: Vec<String>,
    },
    /// Choosing packages.
    #[error(transparent)]
    Solve(#[from] SolveError),
    /// A preferences file.
    #[error(transparent)]
    Preferences(#[from] PreferencesError),
    /// A preferences file that APT would pass over because of its name.
    #[error("APT reads no preferences from a file called {name:?}")]
    PreferencesName {
        /// Its name.
        name: String,
    },
    /// Two sources that have a package of one version with different contents.
    #[error("two sources disagree on {package}: {} has {}, {} has {}", one.0, one.1, other.0, other.1)]
    Disagreement {
        /// Name, version and architecture.
        package: String,
        /// A source and the SHA-256 it gives.
        one: (String, String),
        /// The other.
        other: (String, String),
    },
    /// A package file of the host.
    #[error("{file} is no package that can be read")]
    Deb {
        /// Which.
        file: String,
        /// What is wrong.
        #[source]
        source: DebError,
    },
    /// The control data of a package file of the host.
    #[error("{file} is no package that can be installed: {what}")]
    DebControl {
        /// Which.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// A package file that the lock names and nobody gave.
    #[error("no package file {file} with SHA-256 {sha256} was given, and the store has none")]
    NoSuchDeb {
        /// Its name when the lock was made.
        file: String,
        /// What it has to be.
        sha256: String,
    },
    /// Unpacking.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The packages' scripts.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// Something to be set.
    #[error(transparent)]
    Settings(#[from] SettingError),
    /// A program of the tree that a setting needs.
    #[error("cannot {what}: {}{}", ended(status), tail.iter().map(|line| format!("\n  {line}")).collect::<String>())]
    Setting {
        /// What was attempted.
        what: &'static str,
        /// How it ended.
        status: Status,
        /// The last lines it wrote.
        tail: Vec<String>,
    },
    /// A pattern of files to be left out.
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    /// What the user runs meanwhile.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// There is nothing to finish.
    #[error("{what} is finished: nothing of it is left to be configured")]
    NothingLeft {
        /// The image, directory or jail.
        what: String,
    },
    /// What a tree says of itself, and what is no such note.
    #[error("the note of what is left to do makes no sense: {line:?}")]
    Unfinished {
        /// The line.
        line: String,
    },
    /// Something that takes programs of the image, when none is to run.
    #[error("{what} needs programs of the image, and --foreign runs none")]
    NothingRuns {
        /// What was asked.
        what: &'static str,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the host or of the new tree.
    #[error(transparent)]
    Io(#[from] PathError),
}

fn ended(status: &Status) -> String {
    match status {
        Status::Exited(code) => format!("status {code}"),
        Status::Signalled(signal) => format!("signal {signal}"),
    }
}

impl BuildError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Sources(_) | Self::Pattern(_) | Self::Settings(_) => Kind::User,
            Self::Setting { .. } => Kind::Internal,
            Self::Fetch(error) => error.kind(),
            Self::Keyring { .. }
            | Self::Signature { .. }
            | Self::Release { .. }
            | Self::Index { .. } => Kind::Verification,
            Self::Mismatch { .. } | Self::Gone { .. } => Kind::NotFound,
            Self::Solve(
                SolveError::Unknown(_)
                | SolveError::NoArch { .. }
                | SolveError::NoTask { .. }
                | SolveError::NotInRelease { .. },
            )
            | Self::NoSuchDeb { .. } => Kind::NotFound,
            Self::Disagreement { .. } => Kind::Verification,
            Self::Preferences(_)
            | Self::PreferencesName { .. }
            | Self::Deb { .. }
            | Self::DebControl { .. } => Kind::User,
            Self::NothingLeft { .. } | Self::Unfinished { .. } | Self::NothingRuns { .. } => {
                Kind::User
            }
            Self::Solve(_) => Kind::User,
            Self::Unpack(error) => error.kind(),
            Self::Configure(error) => error.kind(),
            Self::Hook(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Io(error) => error.kind(),
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        let one = |hint: &str| vec![hint.to_owned()];
        match self {
            Self::Sources(error) => error.hint().into_iter().collect(),
            Self::Fetch(error) => error.hints(),
            Self::Gone { .. } => vec![
                "name a place that still has them in sources.mirrors of the recipe: an archive that keeps its past by date, such as https://snapshot.debian.org/archive/debian/DATE".to_owned(),
                "jaula lock update takes what the archive has now; jaula lock update FILE PKG… only for these".to_owned(),
            ],
            Self::Keyring { .. } => one("name another keyring with --keyring"),
            Self::Signature { .. } => {
                one("if the mirror is right, name the keyring of its archive with --keyring")
            }
            Self::Release {
                source: ReleaseError::Expired { .. },
                ..
            } => one(
                "the mirror is no longer updated, or the clock of this machine is wrong; try another with --mirror",
            ),
            Self::Solve(SolveError::Unknown(_)) => {
                one("look at the name, or at the components (main is the usual one)")
            }
            Self::Solve(SolveError::NoArch { .. }) => {
                one("add the architecture with --foreign-arch")
            }
            Self::Solve(SolveError::NotInRelease { .. }) => {
                one("name another suite behind the slash, or add the one that has it")
            }
            Self::Solve(SolveError::NoTask { .. }) => {
                one("look at the name; Debian's tasks are its packages task-*")
            }
            Self::Preferences(_) => {
                one("apt_preferences(5) describes the file; nothing in it is passed over")
            }
            Self::PreferencesName { .. } => {
                one("letters, digits, - and _, and no ending but .pref")
            }
            Self::Disagreement { .. } => one(
                "one of them is altered or was rebuilt: leave one source out, or give it a negative priority",
            ),
            Self::Deb { .. } | Self::DebControl { .. } => {
                one("dpkg-deb --info shows what is in it")
            }
            Self::NoSuchDeb { .. } => one("give the file again"),
            Self::Solve(_) => {
                one("ask for other packages or versions with --include and --exclude")
            }
            Self::Mismatch { .. } => {
                one("look at the suite's name and the mirror's address; --mirror names another")
            }
            Self::Index { .. } => {
                one("do not use what this mirror gives; use another with --mirror")
            }
            Self::Release { .. } => one(
                "the mirror is broken or its archive is not Debian's kind; try another with --mirror",
            ),
            Self::Io(PathError {
                action: "read the keyring",
                ..
            }) => one("name another keyring with --keyring"),
            Self::Unpack(error) => error.hints(),
            Self::Configure(error) => error.hints(),
            Self::Pattern(_) => {
                one("write it as dpkg(1) says of --path-exclude, such as /usr/share/doc/*")
            }
            Self::Settings(error) => error.hint().into_iter().map(str::to_owned).collect(),
            Self::Setting { .. } => Vec::new(),
            Self::Hook(error) => error.hints(),
            Self::Store(error) => error.hints(),
            Self::NothingRuns { .. } => one("leave it to a hook or a jail after jaula finish"),
            Self::NothingLeft { .. } | Self::Unfinished { .. } | Self::Io(_) => Vec::new(),
        }
    }

    /// A file that must not stay in the store.
    pub(super) fn bad_file(&self) -> Option<&PathBuf> {
        match self {
            Self::Unpack(UnpackError::Altered { path, .. }) => Some(path),
            _ => None,
        }
    }
}
