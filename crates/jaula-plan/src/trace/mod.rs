//! What a program was seen to use, as a file that a person reads and edits: the evidence from which a jail is made.
//!
//! Merging is the union of sets, so the order of traces does not matter. What holds for one run only (a temporary file, a
//! process's directory in proc(5)) is generalised when it is taken in.

mod compare;
mod rules;
mod text;

pub use compare::{Difference, Missing, compare};
pub use rules::{UNASKED, capability_of, profile_text};

use crate::landlock::LandlockRule;
use crate::minimal::is_secret;
use crate::seccomp::{Profile, ProfileError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The most bytes of a trace that is read.
pub const MAX_BYTES: usize = 16 << 20;
/// The most entries of one list.
const MAX_ENTRIES: usize = 200_000;

/// Paths, each with the program that used it first; empty where that is not on record.
pub type Paths = BTreeMap<PathBuf, String>;

/// A program that was run, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Its working directory.
    pub directory: PathBuf,
}

/// Everything seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Trace {
    /// What was run.
    pub runs: BTreeSet<Run>,
    /// Executed.
    pub programs: Paths,
    /// Read.
    pub read: Paths,
    /// Only looked at, and there.
    pub looked: Paths,
    /// Directories that were opened.
    pub listed: Paths,
    /// Written, made or removed.
    pub written: Paths,
    /// Asked for and not there.
    pub absent: Paths,
    /// Of `/proc`, `/sys` and `/dev`, which each jail has its own of.
    pub kernel: Paths,
    /// Secrets: never taken into a jail unless somebody moves them to `read`.
    pub secret: Paths,
    /// Where sockets were connected to: `tcp 127.0.0.1:80`, `udp [::1]:53`, `unix /run/x`, `abstract x`.
    pub connects: BTreeSet<String>,
    /// Where sockets were bound.
    pub binds: BTreeSet<String>,
    /// Users that it became.
    pub users: BTreeSet<u32>,
    /// Groups that it became.
    pub groups: BTreeSet<u32>,
    /// What it did needs these, as far as that can be seen.
    pub capabilities: BTreeSet<String>,
    /// System calls besides [`UNASKED`].
    pub calls: BTreeSet<String>,
    /// What it made itself; of a run only, not of its file.
    #[serde(skip)]
    made: BTreeSet<PathBuf>,
}

/// Why a file is no trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// Not TOML, or not of this form; with line and column.
    #[error("it is no trace: {0}")]
    Form(String),
    /// Of another version.
    #[error("it has version {0}, and this jaula reads version 1")]
    Version(u32),
    /// More than is read.
    #[error("it has more than {most} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The bound.
        most: usize,
    },
    /// A path that means nothing by itself.
    #[error("{} is not absolute, or holds \"..\"", crate::explain::shown(.0))]
    Path(PathBuf),
}

/// What becomes of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used {
    /// It is looked at.
    Look,
    /// It is read.
    Read,
    /// It is opened as a directory.
    List,
    /// It is read and written, with what is in it.
    Update,
    /// It is written, made or removed.
    Write,
    /// It is executed.
    Execute,
}

/// What was at a path when it was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Was {
    /// Nothing.
    Absent,
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// Anything else.
    Special,
}

/// Places whose files hold for one run only, and what stands for them.
const TEMPORARY: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/run/lock"];

/// Files that are secrets of the host, besides those of every jail.
const SECRETS: [&str; 3] = [
    "/etc/security/opasswd",
    "/etc/krb5.keytab",
    "/etc/machine-id",
];

/// The place that stands for a path which holds for one run only.
fn general(path: &Path) -> Option<PathBuf> {
    for place in TEMPORARY {
        if path.starts_with(place) {
            return Some(place.into());
        }
    }
    // A user's own: /run/user/UID
    let rest = path.strip_prefix("/run/user").ok()?;
    let user = rest.components().next()?;
    Some(Path::new("/run/user").join(user))
}

fn of_kernel(path: &Path) -> Option<PathBuf> {
    if path.starts_with("/proc") {
        let mut parts = path.components().skip(2);
        let first = parts.next().map(|part| part.as_os_str().to_owned());
        let first = first.unwrap_or_default();
        // A process's number is another one the next time.
        let number = first
            .to_str()
            .is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()));
        return Some(match number {
            true => Path::new("/proc/PID").join(
                parts
                    .next()
                    .map_or(Path::new(""), |part| Path::new(part.as_os_str())),
            ),
            false => path.to_owned(),
        });
    }
    (path.starts_with("/sys") || path.starts_with("/dev")).then(|| path.to_owned())
}

impl Trace {
    /// Notes one use of a path, which is absolute and without `..`.
    pub fn saw(&mut self, path: &Path, used: Used, was: Was, by: &str) {
        let writes = matches!(used, Used::Write | Used::Update);
        if writes && was == Was::Absent && self.made.len() < MAX_ENTRIES {
            self.made.insert(path.to_owned());
        }
        // What the program made itself is nothing of the host's.
        if !writes && self.made.contains(path) {
            return;
        }
        if let Some(place) = general(path) {
            if writes {
                note(&mut self.written, &place, by);
                return;
            }
            // A program or a configuration that lies there is evidence all the same.
            if was != Was::File {
                return;
            }
        }
        if let Some(path) = of_kernel(path) {
            if was != Was::Absent {
                note(&mut self.kernel, &path, by);
            }
            return;
        }
        let secret = is_secret(path) || SECRETS.iter().any(|secret| Path::new(secret) == path);
        if secret && used != Used::Look {
            note(&mut self.secret, path, by);
            return;
        }
        match (used, was) {
            (Used::Write, _) => note(&mut self.written, path, by),
            (Used::Update, Was::File) => {
                note(&mut self.written, path, by);
                note(&mut self.read, path, by);
            }
            (Used::Update, _) => note(&mut self.written, path, by),
            (_, Was::Absent) => note(&mut self.absent, path, by),
            (Used::Execute, _) => note(&mut self.programs, path, by),
            (_, Was::Directory) if used != Used::Look => note(&mut self.listed, path, by),
            (Used::Look, Was::Directory) => note(&mut self.listed, path, by),
            (Used::Look, Was::File) => note(&mut self.looked, path, by),
            (_, Was::File) => note(&mut self.read, path, by),
            (_, Was::Special) | (Used::List, _) | (_, Was::Directory) => {}
        }
    }

    /// Adds everything of another one.
    pub fn merge(&mut self, other: Self) {
        let add = |to: &mut Paths, from: Paths| {
            for (path, by) in from {
                to.entry(path).or_insert(by);
            }
        };
        self.runs.extend(other.runs);
        add(&mut self.programs, other.programs);
        add(&mut self.read, other.read);
        add(&mut self.looked, other.looked);
        add(&mut self.listed, other.listed);
        add(&mut self.written, other.written);
        add(&mut self.absent, other.absent);
        add(&mut self.kernel, other.kernel);
        add(&mut self.secret, other.secret);
        self.connects.extend(other.connects);
        self.binds.extend(other.binds);
        self.users.extend(other.users);
        self.groups.extend(other.groups);
        self.capabilities.extend(other.capabilities);
        self.calls.extend(other.calls);
    }

    /// Leaves out what is no text: nothing that is written down can name it.
    pub fn only_text(&mut self) {
        for paths in [
            &mut self.programs,
            &mut self.read,
            &mut self.looked,
            &mut self.listed,
            &mut self.written,
            &mut self.absent,
            &mut self.kernel,
            &mut self.secret,
        ] {
            paths.retain(|path, _| path.to_str().is_some());
        }
    }

    /// Files of the host that come into a jail: programs, and what was read or looked at.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let all = [&self.programs, &self.read, &self.looked];
        all.iter().flat_map(|paths| paths.keys().cloned()).collect()
    }

    /// Directories of the jail: those that were opened, and those in which something was written.
    pub fn directories(&self) -> BTreeSet<PathBuf> {
        let written = self.written.keys().filter_map(|path| match general(path) {
            Some(place) => Some(place),
            None => path.parent().map(Path::to_owned),
        });
        self.listed.keys().cloned().chain(written).collect()
    }

    /// What a program that does this and no more may touch.
    pub fn landlock(&self) -> Vec<LandlockRule> {
        // What cannot be written as a rule is none that a file of a trace lists.
        let rules = rules::landlock(self);
        rules.iter().filter_map(|rule| rule.parse().ok()).collect()
    }

    /// The system calls that a jail for this needs, as a profile.
    ///
    /// # Errors
    /// When the trace names calls that make no profile.
    pub fn profile(&self, name: &str) -> Result<Profile, ProfileError> {
        // A call is seen without its arguments: what the built-in list refuses of them stays refused.
        Ok(Profile::parse(name, &profile_text(self))?.beside_the_list())
    }
}

fn note(paths: &mut Paths, path: &Path, by: &str) {
    if paths.len() < MAX_ENTRIES && !paths.contains_key(path) {
        paths.insert(path.to_owned(), by.to_owned());
    }
}

#[cfg(test)]
mod tests;
