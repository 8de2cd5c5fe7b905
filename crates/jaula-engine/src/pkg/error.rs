use crate::configure::ConfigureError;
use crate::error::{Kind, PathError};
use crate::image::BuildError;
use crate::jail::JailError;
use crate::named::NamedError;
use crate::outcome::Status;
use crate::store::StoreError;
use jaula_plan::facts::jail_sources::JailSourcesError;
use jaula_repo::deb::installed::InstalledError;
use jaula_repo::deb::packages::IndexError;

/// Why packages of a jail could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum PkgError {
    /// Where packages come from, choosing and fetching them.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The jail.
    #[error(transparent)]
    Named(#[from] NamedError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file.
    #[error(transparent)]
    Io(#[from] PathError),
    /// A jail that could not be started.
    #[error(transparent)]
    Jail(#[from] JailError),
    /// A jail that could not be started.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// There is no dpkg database.
    #[error("{of} has no packages: there is no /var/lib/dpkg/status in it")]
    NoDatabase {
        /// The jail or tree.
        of: String,
    },
    /// The database makes no sense.
    #[error("/var/lib/dpkg/{file} of {of} cannot be used")]
    Database {
        /// The jail or tree.
        of: String,
        /// Which file.
        file: &'static str,
        /// What is wrong.
        #[source]
        source: InstalledError,
    },
    /// What is installed cannot be solved with.
    #[error("what is installed in {of} cannot be used")]
    Installed {
        /// The jail or tree.
        of: String,
        /// What is wrong.
        #[source]
        source: IndexError,
    },
    /// Nothing is known of where its packages came from.
    #[error("it is not known where packages of {of} come from")]
    NoSources {
        /// The jail or tree.
        of: String,
    },
    /// The sources inside the jail.
    #[error("the sources inside {of} cannot be used")]
    JailSources {
        /// The jail or tree.
        of: String,
        /// What is wrong.
        #[source]
        source: JailSourcesError,
    },
    /// Packages that are not there.
    #[error("not installed in {of}: {}", .names.join(", "))]
    NotInstalled {
        /// The jail or tree.
        of: String,
        /// Their names.
        names: Vec<String>,
    },
    /// A removal that would break the system.
    #[error("{} cannot be removed: essential to the system, or held", .names.join(", "))]
    Essential {
        /// Their names.
        names: Vec<String>,
    },
    /// dpkg, or a script that it ran.
    #[error(
        "{}{}{}",
        failure(package, script, status),
        lines(tail),
        states(unfinished)
    )]
    Dpkg {
        /// The package, if dpkg named one.
        package: String,
        /// What failed of it, as dpkg calls it.
        script: String,
        /// How dpkg ended.
        status: Status,
        /// The last lines that were written.
        tail: Vec<String>,
        /// Packages that are not wholly installed now, and their state.
        unfinished: Vec<(String, String)>,
    },
}

fn failure(package: &str, script: &str, status: &Status) -> String {
    let status = match status {
        Status::Exited(code) => format!("status {code}"),
        Status::Signalled(signal) => format!("signal {signal}"),
    };
    match package {
        "" => format!("dpkg failed ({status})"),
        package => format!("dpkg failed at package {package} ({script}, {status})"),
    }
}

fn lines(tail: &[String]) -> String {
    tail.iter().map(|line| format!("\n  {line}")).collect()
}

fn states(unfinished: &[(String, String)]) -> String {
    let list: Vec<String> = unfinished
        .iter()
        .map(|(name, state)| format!("{name} ({state})"))
        .collect();
    match list.is_empty() {
        true => "\n  as dpkg left it, every package is whole".to_owned(),
        false => format!("\n  as dpkg left it, not whole: {}", list.join(", ")),
    }
}

impl PkgError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Build(error) => error.kind(),
            Self::Named(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Io(error) => error.kind(),
            Self::Jail(error) => error.kind(),
            Self::Configure(error) => error.kind(),
            Self::NoDatabase { .. } | Self::NotInstalled { .. } => Kind::NotFound,
            Self::NoSources { .. } | Self::Essential { .. } | Self::JailSources { .. } => {
                Kind::User
            }
            Self::Database { .. } | Self::Installed { .. } | Self::Dpkg { .. } => Kind::Internal,
        }
    }

    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        let one = |hint: &str| vec![hint.to_owned()];
        match self {
            Self::Build(error) => error.hints(),
            Self::Named(error) => error.hints(),
            Self::Store(error) => error.hints(),
            Self::Jail(error) => error.hints(),
            Self::Configure(error) => error.hints(),
            Self::NoSources { .. } => one(
                "name a distribution with --from DISTRO:SUITE, and its --mirror and --keyring if need be",
            ),
            Self::JailSources { .. } => one(
                "say yourself where packages come from: --from DISTRO:SUITE, --mirror, --keyring",
            ),
            Self::NotInstalled { .. } => one("jaula pkg ls lists what is installed"),
            Self::Essential { .. } => one("make an image without it: --exclude"),
            Self::Database {
                source: InstalledError::Broken { .. },
                ..
            } => one("dpkg was interrupted in it: repair it with dpkg inside the jail"),
            Self::Dpkg { .. } => {
                one("the jail is as dpkg left it: mend the cause, then run the same again")
            }
            _ => Vec::new(),
        }
    }
}
