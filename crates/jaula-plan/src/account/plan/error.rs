//! Why there is no plan.

use super::super::policy::PolicyError;
use super::super::sshd::Contradiction;
use super::{FIRST_USER, LAST_USER};
use crate::account::LOGIN_SHELL;
use crate::explain::shown;
use std::path::PathBuf;

/// Why a user is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// Root needs no jail and could leave it.
    #[error("{0} is root")]
    Root(String),
    /// The system's own accounts.
    #[error(
        "{name} is an account of the system: its number {uid} is not between {FIRST_USER} and {LAST_USER}"
    )]
    System {
        /// The name.
        name: String,
        /// Its number.
        uid: u32,
    },
    /// A name that looks like a number.
    #[error("{0:?} is a number and no name")]
    Number(String),
    /// The account is there.
    #[error("there is a user {0} already")]
    Exists(String),
    /// It is not.
    #[error("there is no user {0} on this host")]
    Absent(String),
    /// No such group.
    #[error("there is no group {0} on this host")]
    NoGroup(String),
    /// The number is taken, or out of range.
    #[error("the number {0} is taken, or not between {FIRST_USER} and {LAST_USER}")]
    BadId(u32),
    /// No free number.
    #[error("no number from {FIRST_USER} to {LAST_USER} is free")]
    NoId,
    /// Something a line cannot hold.
    #[error("the {what} {text:?} holds {bad:?}, which an account cannot")]
    Field {
        /// What.
        what: &'static str,
        /// As given.
        text: String,
        /// The first bad character.
        bad: char,
    },
    /// The jail is none.
    #[error("{} is no directory", shown(.0))]
    NoJail(PathBuf),
    /// Others can change it.
    #[error("the jail is not safe: {0}")]
    Unsafe(String),
    /// The home is elsewhere.
    #[error("the home {home:?} is not in the jail {}", shown(.jail))]
    HomeElsewhere {
        /// The home.
        home: String,
        /// The jail.
        jail: PathBuf,
    },
    /// The shell is not in it.
    #[error("the jail has no program {0}")]
    NoShell(String),
    /// The jail has another account of that name or number.
    #[error("the jail knows {0} already, as {1}")]
    Taken(String, String),
    /// sshd would do otherwise.
    #[error("sshd's settings contradict: {0}")]
    Sshd(#[from] Contradiction),
    /// sshd cannot be told of such a path.
    #[error(transparent)]
    SshdPath(#[from] super::super::sshd::Unwritable),
    /// A path that no file of accounts can hold.
    #[error("the path {} is not UTF-8", shown(.0))]
    NotText(PathBuf),
    /// The program cannot be a login shell.
    #[error("{} cannot be a login shell: {why}", shown(.program))]
    Program {
        /// The program.
        program: PathBuf,
        /// Why not.
        why: String,
    },
    /// Something else has the name.
    #[error("{LOGIN_SHELL} is there and leads to another program")]
    NotOurs,
    /// What sshd alone can do.
    #[error("sshd itself lets users in for sftp only: it takes --only sftp and nothing else")]
    SshdOnlySftp,
    /// There is no sshd.
    #[error("there is no /etc/ssh/sshd_config, and sshd is to let this user in")]
    NoSshd,
    /// He is not in that jail.
    #[error("{user} does not live in the jail {}", shown(.jail))]
    NotThere {
        /// The user.
        user: String,
        /// The jail.
        jail: PathBuf,
    },
    /// The policy makes no sense.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A file changed meanwhile, or has no such line.
    #[error("{} has no such line any more", shown(.0))]
    Changed(PathBuf),
    /// Something in place of an account's line.
    #[error("the account has no home on the host to be moved")]
    NothingToMove,
    /// Nothing to do.
    #[error("nothing is to be changed")]
    Nothing,
}

impl AccountError {
    /// What may be done about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Exists(name) => format!("--from-existing lets {name} in"),
            Self::Absent(_) => "without --from-existing an account is made".to_owned(),
            Self::Unsafe(_) => {
                "the jail and every directory above it belong to root and are writable by root only"
                    .to_owned()
            }
            Self::NoShell(_) => {
                "--shell names one that is there; jaula cp or jk_cp puts one in".to_owned()
            }
            Self::Program { .. } => {
                "install jaula where only root can write, as in /usr/bin".to_owned()
            }
            Self::Sshd(_) => {
                "--no-sshd changes nothing of sshd's, which then may go past the jail".to_owned()
            }
            Self::NotThere { .. } => "jaula user ls lists who lives where".to_owned(),
            Self::NothingToMove => "leave --move-home out".to_owned(),
            _ => return None,
        })
    }
}
