//! Why a root cannot be made of some files.

use crate::explain::shown;
use crate::facts::elf::Unreadable;
use jaula_repo::elf::ElfError;
use std::path::{Path, PathBuf};

/// What stands against it.
#[derive(Debug, thiserror::Error)]
pub enum MinimalError {
    /// A file of the host.
    #[error(transparent)]
    Host(#[from] Unreadable),
    /// A path that depends on where one is.
    #[error("{} is not absolute{}", shown(.path), of(.by))]
    Relative {
        /// The path.
        path: PathBuf,
        /// Whose it is; the user's when absent.
        by: Option<PathBuf>,
    },
    /// Nothing is there.
    #[error("{} does not exist{}", shown(.path), of(.by))]
    Missing {
        /// The path.
        path: PathBuf,
        /// Who needs it; the user when absent.
        by: Option<PathBuf>,
    },
    /// A directory, a device, a data file.
    #[error("{} is neither a program, nor a library, nor a script", shown(.path))]
    NoProgram {
        /// The path.
        path: PathBuf,
    },
    /// It does not run here.
    #[error("{} is for another machine ({is}; this host is {host})", shown(.path))]
    Machine {
        /// The path.
        path: PathBuf,
        /// What it is for.
        is: String,
        /// What runs here.
        host: String,
    },
    /// A library is nowhere.
    #[error("cannot find the library {}, which {} needs; sought in {}", shown(Path::new(.name)), shown(.by), list(.sought))]
    Library {
        /// Its name.
        name: String,
        /// Who needs it.
        by: PathBuf,
        /// The directories, in their order.
        sought: Vec<PathBuf>,
    },
    /// What env(1) is to start is nowhere.
    #[error("cannot find the program {}, which {} has env start; sought in {}", shown(Path::new(.name)), shown(.by), list(.sought))]
    Program {
        /// Its name.
        name: String,
        /// The script.
        by: PathBuf,
        /// The directories, in their order.
        sought: Vec<PathBuf>,
    },
    /// An ELF file that breaks its rules.
    #[error("cannot read what {} needs", shown(.path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ElfError,
    },
    /// A first line that cannot be followed.
    #[error("cannot follow the first line of {}: {why}", shown(.path))]
    Script {
        /// The script.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A word that names nothing.
    #[error("there is no section, program or package {}{}", shown(Path::new(.word)), meant(.nearest))]
    Nothing {
        /// The word.
        word: String,
        /// A section of nearly this name.
        nearest: Option<String>,
    },
    /// What no jail should have.
    #[error("{} is a secret of this host", shown(.path))]
    Secret {
        /// The path.
        path: PathBuf,
    },
    /// Links that lead nowhere.
    #[error("too many links on the way to {}", shown(.path))]
    Loop {
        /// The path.
        path: PathBuf,
    },
    /// Two programs find different libraries by one name, and without a cache the loader has one place for it.
    #[error("{} would have to be two libraries: one is {first}, the other {then}", shown(.path))]
    Clash {
        /// The place.
        path: PathBuf,
        /// Why one of them is there.
        first: String,
        /// Why the other should be.
        then: String,
    },
    /// More than any program needs.
    #[error("too much is needed: more than {most} {what}")]
    TooMuch {
        /// How many.
        most: usize,
        /// Of what.
        what: &'static str,
    },
}

impl MinimalError {
    /// What the user may do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Relative { by: None, .. } => {
                Some("name each file with its whole path, as in /bin/ls")
            }
            Self::Library { .. } => {
                Some("install the package that has it, or list its directory in /etc/ld.so.conf")
            }
            Self::Clash { .. } => Some("make a jail for each of the two programs"),
            Self::NoProgram { .. } => Some(
                "name programs, libraries and scripts; jaula cp copies other files into the jail",
            ),
            Self::Nothing { .. } => Some("jaula profiles lists the sections"),
            Self::Secret { .. } => {
                Some("a jail that reads it can become anybody; --secrets takes it all the same")
            }
            _ => None,
        }
    }
}

fn meant(nearest: &Option<String>) -> String {
    let nearest = nearest.as_ref();
    let said = nearest.map(|nearest| format!("; did you mean {nearest}?"));
    said.unwrap_or_default()
}

fn of(by: &Option<PathBuf>) -> String {
    by.as_ref()
        .map(|by| format!(", and {} needs it", shown(by)))
        .unwrap_or_default()
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().map(|path| shown(path)).collect();
    shown.join(", ")
}
