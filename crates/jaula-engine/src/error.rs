//! What can go wrong, by area, with what the user may do about it.

use crate::enter::TargetError;
use crate::export::ExportError;
use crate::image::BuildError;
use crate::import::ImportError;
use crate::jail::JailError;
use crate::named::NamedError;
use crate::store::StoreError;
use jaula_plan::enter::EnterPlanError;
use jaula_plan::jail::JailPlanError;
use std::path::PathBuf;

/// What sort of failure it is; the faces make exit codes and colours from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What was asked cannot be meant: another wording works.
    User,
    /// There is no such image, jail, package, file or suite.
    NotFound,
    /// A server did not answer, or not as it should.
    Network,
    /// A signature, digest or size is not the expected one.
    Verification,
    /// The kernel, or a right the caller lacks, stands against it.
    KernelRefused,
    /// No space, or a quota, on some file system.
    DiskFull,
    /// Anything else.
    Internal,
}

/// A verb of the engine failed. Nothing it began is left half-made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Making an image from packages.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Packages of a jail.
    #[error(transparent)]
    Pkg(Box<crate::pkg::PkgError>),
    /// A recipe or its lock.
    #[error(transparent)]
    Recipe(#[from] crate::recipe::RecipeFileError),
    /// An archive of packages.
    #[error(transparent)]
    Collection(#[from] crate::image::CollectionError),
    /// Writing a directory or an archive.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Reading a directory or an archive as an image.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Making an image of files of the host.
    #[error(transparent)]
    Minimal(#[from] crate::minimal::MinimalImageError),
    /// Users who live in jails.
    #[error(transparent)]
    Accounts(#[from] crate::accounts::AccountsError),
    /// Namespaces kept by name.
    #[error(transparent)]
    Keep(#[from] crate::namespaces::KeepError),
    /// Networks.
    #[error(transparent)]
    Net(#[from] crate::net::NetError),
    /// What a bridge gives its guests.
    #[error(transparent)]
    Gateway(#[from] crate::gateway::GatewayFailure),
    /// A simulated network.
    #[error(transparent)]
    Lab(#[from] crate::lab::LabRunError),
    /// Looking around in proc(5).
    #[error(transparent)]
    Look(#[from] PathError),
    /// A named jail.
    #[error(transparent)]
    Named(#[from] NamedError),
    /// A jail that cannot be planned.
    #[error(transparent)]
    JailPlan(#[from] JailPlanError),
    /// A process that cannot be looked at.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A process that cannot be joined as asked.
    #[error(transparent)]
    EnterPlan(#[from] EnterPlanError),
    /// A jail that could not be started, or be waited for.
    #[error(transparent)]
    Jail(#[from] JailError),
    /// A program that could not be watched.
    #[error(transparent)]
    Watch(#[from] crate::trace::WatchError),
    /// Nothing in the store is called so.
    #[error("there is no image {reference} in the store")]
    NoSuchImage {
        /// As asked.
        reference: String,
        /// What is there and looks alike.
        nearest: Vec<String>,
    },
    /// The verb does not apply to that kind of reference.
    #[error("{reference} cannot be used here: {why}")]
    BadReference {
        /// As asked.
        reference: String,
        /// Why not.
        why: &'static str,
    },
    /// Its packages are unpacked and not configured.
    #[error("nothing can be run in {what}: its packages are only unpacked")]
    Unfinished {
        /// The image or directory.
        what: String,
    },
    /// The probes of a check did not come to their end.
    #[error("the probes inside ended early ({status:?})")]
    Check {
        /// How.
        status: crate::outcome::Status,
    },
    /// A plan was handed to a verb that did not make it.
    #[error("this verb does not do: {step}")]
    Foreign {
        /// The step that does not belong.
        step: String,
    },
    /// This build of the engine lacks the part.
    #[error("{what} is not part of this build")]
    Absent {
        /// The part.
        what: &'static str,
    },
}

impl From<crate::pkg::PkgError> for EngineError {
    fn from(error: crate::pkg::PkgError) -> Self {
        Self::Pkg(Box::new(error))
    }
}

impl EngineError {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Build(error) => error.kind(),
            Self::Recipe(error) => error.kind(),
            Self::Collection(_) => Kind::User,
            Self::Pkg(error) => error.kind(),
            Self::Export(error) => error.kind(),
            Self::Import(error) => error.kind(),
            Self::Minimal(error) => error.kind(),
            Self::Named(error) => error.kind(),
            Self::Accounts(error) => error.kind(),
            Self::Keep(error) => error.kind(),
            Self::Net(error) => error.kind(),
            Self::Gateway(error) => error.kind(),
            Self::Lab(error) => error.kind(),
            Self::Look(error) => error.kind(),
            Self::JailPlan(JailPlanError::UnknownUser { .. }) | Self::NoSuchImage { .. } => {
                Kind::NotFound
            }
            Self::Target(TargetError::NotYours { .. }) => Kind::KernelRefused,
            Self::Target(_) => Kind::NotFound,
            Self::JailPlan(_) | Self::EnterPlan(_) => Kind::User,
            Self::Jail(error) => error.kind(),
            Self::BadReference { .. } | Self::Unfinished { .. } => Kind::User,
            Self::Watch(error) => error.kind(),
            Self::Absent { .. } | Self::Foreign { .. } | Self::Check { .. } => Kind::Internal,
        }
    }

    /// What the user may do, each a sentence; none when nothing is known to help.
    pub fn hints(&self) -> Vec<String> {
        let hints = self.own_hints();
        // Whatever ran into it, the way out is the same.
        if hints.is_empty() && (self.kind() == Kind::DiskFull || no_space(self)) {
            return vec!["free space, or use another place with --store DIR".to_owned()];
        }
        hints
    }

    fn own_hints(&self) -> Vec<String> {
        match self {
            Self::NoSuchImage { nearest, .. } if !nearest.is_empty() => {
                vec![format!("the store has {}", nearest.join(", "))]
            }
            Self::NoSuchImage { .. } => vec!["jaula image ls lists what the store has".to_owned()],
            Self::JailPlan(JailPlanError::Limit { group, .. }) => {
                let mut hints = Vec::new();
                if *group && jaula_sys::process::effective_ids().0 != 0
                    || crate::session::ids().is_some()
                {
                    hints.push(
                        "work in a group of your own: systemd-run --user --scope -p Delegate=yes jaula …"
                            .to_owned(),
                    );
                }
                hints.push("--best-effort goes on without what cannot be enforced".to_owned());
                hints
            }
            Self::Unfinished { what } => {
                vec![format!(
                    "jaula finish {what} configures them, where its programs run"
                )]
            }
            Self::Store(error) => error.hints(),
            Self::Named(error) => error.hints(),
            Self::Accounts(error) => error.hints(),
            Self::Keep(error) => error.hints(),
            Self::Net(error) => error.hints(),
            Self::Gateway(error) => error.hints(),
            Self::Lab(error) => error.hints(),
            Self::Jail(error) => error.hints(),
            Self::JailPlan(JailPlanError::Net(error)) => error.hints(),
            Self::JailPlan(error) => error.hint().map(str::to_owned).into_iter().collect(),
            Self::Target(TargetError::NotYours { .. }) => {
                vec!["only root and whoever made the namespaces may join them".to_owned()]
            }
            Self::Target(TargetError::DeadPids { .. }) => {
                vec!["name the others with --only: user,mnt,uts,…".to_owned()]
            }
            Self::EnterPlan(EnterPlanError::UsersToo { .. }) => {
                vec!["add user to --only, or leave --only out".to_owned()]
            }
            Self::EnterPlan(EnterPlanError::Nowhere { .. }) => vec![
                "give the process inside, not the one that started it: jaula ns ls shows both"
                    .to_owned(),
            ],
            Self::Build(error) => error.hints(),
            Self::Recipe(error) => error.hints(),
            Self::Collection(_) => Vec::new(),
            Self::Pkg(error) => error.hints(),
            Self::Export(error) => error.hints(),
            Self::Import(error) => error.hints(),
            Self::Minimal(error) => error.hints(),
            Self::Watch(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

/// Whether one of an error's causes is a file system without room.
fn no_space(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && kind_of_io(error) == Kind::DiskFull
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// The sort of an I/O error.
pub(crate) fn kind_of_io(error: &std::io::Error) -> Kind {
    use std::io::ErrorKind as E;
    match error.kind() {
        E::StorageFull | E::QuotaExceeded | E::FileTooLarge => Kind::DiskFull,
        E::PermissionDenied | E::ReadOnlyFilesystem | E::Unsupported => Kind::KernelRefused,
        E::NotFound => Kind::NotFound,
        E::AlreadyExists | E::DirectoryNotEmpty | E::NotADirectory | E::IsADirectory => Kind::User,
        _ => Kind::Internal,
    }
}

/// An I/O error and where it happened.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", jaula_plan::explain::shown(.path))]
pub struct PathError {
    /// What was attempted: `open`, `write`.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: std::io::Error,
}

impl PathError {
    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        kind_of_io(&self.source)
    }
}

/// Names the action and the path of an I/O result.
pub(crate) trait At<T> {
    /// `cannot ACTION PATH: …`
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, PathError>;
}

impl<T, E: Into<std::io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, PathError> {
        self.map_err(|source| PathError {
            action,
            path: path.into(),
            source: source.into(),
        })
    }
}
