//! The journal: one append-only file for each change under way, in the store's `journal/`.
//!
//! An intent is written and synced before its effect. There are no records of what was done, because undo is
//! idempotent: it takes the intents newest first and looks at what is there. Whoever makes a change holds the
//! flock(2) of his journal for as long as he lives; a journal whose lock is free belongs to nobody any more, and
//! [`crate::recover`] undoes it. What an intent names is created exclusively: had it existed before, the change
//! would have failed and the intent been [disowned](Journal::disown), so undo never removes what was not ours.

use crate::accounts::AccountUndo;
use crate::error::{At, PathError};
use crate::fault::Faults;
use crate::net::Undo;
use crate::remove;
use jaula_sys::dir::Dir;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A journal is never longer than this; a longer file is garbage.
const LIMIT: u64 = 1 << 20;

/// What is about to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// This path comes to be, with all beneath it. In the store when relative.
    Create(PathBuf),
    /// This control group comes to be.
    Group(PathBuf),
    /// This directory comes to be, with namespaces mounted on its files.
    Mounts(PathBuf),
    /// Networks change; this takes it back.
    Net(Box<Undo>),
    /// Accounts change; this takes it back.
    Account(Box<AccountUndo>),
    /// What an earlier intent of this journal named, by its number from 0, was there already: it is not ours.
    Disown(usize),
    /// All that was intended before is done and stays. What is still to go: trees, and directories if they are empty.
    Done {
        /// Trees that go.
        remove: Vec<PathBuf>,
        /// Directories that go when nothing is in them.
        prune: Vec<PathBuf>,
    },
}

/// The line of a journal. Paths are bytes, so they are written as hexadecimal digits; `shown` is for people.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "intent", rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Create {
        path: String,
        shown: String,
    },
    Group {
        path: String,
        shown: String,
    },
    Mounts {
        path: String,
        shown: String,
    },
    Net {
        undo: Box<Undo>,
    },
    Account {
        undo: Box<AccountUndo>,
    },
    Disown {
        intent_number: usize,
    },
    Done {
        remove: Vec<String>,
        prune: Vec<String>,
    },
}

fn hex(path: &Path) -> String {
    jaula_repo::hex::encode(path.as_os_str().as_bytes())
}

fn unhex(text: &str) -> Option<PathBuf> {
    let bytes = jaula_repo::hex::decode(text)?;
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

impl Line {
    fn of(intent: &Intent) -> Self {
        match intent {
            Intent::Create(path) => Self::Create {
                path: hex(path),
                shown: jaula_plan::explain::shown(path),
            },
            Intent::Mounts(path) => Self::Mounts {
                path: hex(path),
                shown: jaula_plan::explain::shown(path),
            },
            Intent::Group(path) => Self::Group {
                path: hex(path),
                shown: jaula_plan::explain::shown(path),
            },
            Intent::Net(undo) => Self::Net { undo: undo.clone() },
            Intent::Account(undo) => Self::Account { undo: undo.clone() },
            Intent::Disown(number) => Self::Disown {
                intent_number: *number,
            },
            Intent::Done { remove, prune } => Self::Done {
                remove: remove.iter().map(|path| hex(path)).collect(),
                prune: prune.iter().map(|path| hex(path)).collect(),
            },
        }
    }

    fn intent(self) -> Option<Intent> {
        match self {
            Self::Create { path, .. } => Some(Intent::Create(unhex(&path)?)),
            Self::Group { path, .. } => Some(Intent::Group(unhex(&path)?)),
            Self::Mounts { path, .. } => Some(Intent::Mounts(unhex(&path)?)),
            Self::Net { undo } => Some(Intent::Net(undo)),
            Self::Account { undo } => Some(Intent::Account(undo)),
            Self::Disown { intent_number } => Some(Intent::Disown(intent_number)),
            Self::Done { remove, prune } => {
                let all = |paths: Vec<String>| -> Option<Vec<PathBuf>> {
                    paths.iter().map(|path| unhex(path)).collect()
                };
                Some(Intent::Done {
                    remove: all(remove)?,
                    prune: all(prune)?,
                })
            }
        }
    }
}

/// The journal of one change under way.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    store: PathBuf,
    intents: Vec<Intent>,
    faults: Option<Arc<Faults>>,
}

impl Journal {
    /// A new journal in the store at `store`, locked by this process.
    pub fn create(store: &Path, id: &str, faults: Option<Arc<Faults>>) -> Result<Self, PathError> {
        let path = store.join("journal").join(id);
        loop {
            let mut options = OpenOptions::new();
            options.append(true).read(true).create_new(true).mode(0o600);
            let file = options.open(&path).at("create", &path)?;
            file.lock().at("lock", &path)?;
            // Between the two calls a recovery may have taken the empty file for a dead one and removed it.
            if file.metadata().at("look at", &path)?.nlink() > 0 {
                return Ok(Self {
                    file,
                    path,
                    store: store.to_owned(),
                    intents: Vec::new(),
                    faults,
                });
            }
        }
    }

    /// Opens the journal of somebody who may be dead: `None` when he lives, or when it is gone.
    pub fn adopt(store: &Path, path: &Path) -> Result<Option<Self>, PathError> {
        let file = match OpenOptions::new().append(true).read(true).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.at("open", path)?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error).at("lock", path),
        }
        if file.metadata().at("look at", path)?.nlink() == 0 {
            return Ok(None);
        }
        let mut text = Vec::new();
        (&file)
            .take(LIMIT)
            .read_to_end(&mut text)
            .at("read", path)?;
        let intents = read_intents(&text);
        Ok(Some(Self {
            file,
            path: path.to_owned(),
            store: store.to_owned(),
            intents,
            faults: None,
        }))
    }

    /// A point at which a test may strike.
    pub fn point(&self) -> Result<(), PathError> {
        self.faults
            .as_ref()
            .map_or(Ok(()), |faults| faults.point())
            .at("go on after", &self.path)
    }

    /// Writes an intent and syncs it; the effect may follow. Returns its number.
    pub fn intend(&mut self, intent: Intent) -> Result<usize, PathError> {
        self.intend_all(vec![intent])?;
        Ok(self.intents.len().saturating_sub(1))
    }

    /// The same for several, synced once; their effects follow in the same order. What an intent names that never
    /// came to be is nothing to undo, so it does no harm that some are written long before.
    pub fn intend_all(&mut self, intents: Vec<Intent>) -> Result<(), PathError> {
        self.point()?;
        let mut lines = Vec::new();
        for intent in &intents {
            let line = serde_json::to_vec(&Line::of(intent)).map_err(std::io::Error::from);
            lines.extend(line.at("write", &self.path)?);
            lines.push(b'\n');
        }
        // More than is read again would be half forgotten after a crash.
        let length = self.file.metadata().at("look at", &self.path)?.len();
        if length.saturating_add(lines.len() as u64) > LIMIT {
            let long = std::io::Error::from(std::io::ErrorKind::FileTooLarge);
            return Err(long).at("write", &self.path);
        }
        self.file.write_all(&lines).at("write", &self.path)?;
        self.file.sync_data().at("sync", &self.path)?;
        self.intents.extend(intents);
        self.point()
    }

    /// Says that what the intent names was there before: it will not be removed.
    pub fn disown(&mut self, number: usize) -> Result<(), PathError> {
        self.intend(Intent::Disown(number)).map(drop)
    }

    /// From here on the change is complete, and is not undone by whoever finds this journal: he does what is left of it.
    pub fn done(&mut self, remove: Vec<PathBuf>, prune: Vec<PathBuf>) -> Result<(), PathError> {
        self.intend(Intent::Done { remove, prune }).map(drop)
    }

    /// Whether accounts are changed, under locks that the dead may have left.
    pub fn is_of_accounts(&self) -> bool {
        let accounts = |intent: &Intent| matches!(intent, Intent::Account(_));
        self.intents.iter().any(accounts)
    }

    /// The intents that can still be undone, with their numbers, newest first.
    fn open(&self) -> impl Iterator<Item = (usize, &Intent)> {
        let done = |intent: &Intent| matches!(intent, Intent::Done { .. });
        let from = self.intents.iter().rposition(done);
        let all = self.intents.iter().enumerate().rev();
        all.take_while(move |(number, _)| from.is_none_or(|from| *number >= from))
    }

    /// The change is complete: the journal goes, and nothing will be undone.
    pub fn finish(self) -> Result<(), PathError> {
        let struck = self.point();
        std::fs::remove_file(&self.path).at("remove", &self.path)?;
        struck
    }

    /// What undo would remove, newest first.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let disowned = |number: usize| self.intents.contains(&Intent::Disown(number));
        let paths = self
            .open()
            .flat_map(|(number, intent)| match intent {
                Intent::Create(path) | Intent::Group(path) | Intent::Mounts(path)
                    if !disowned(number) =>
                {
                    vec![path]
                }
                Intent::Done { remove, .. } => remove.iter().collect(),
                _ => Vec::new(),
            })
            .filter(|path| sound(path))
            .map(|path| self.store.join(path));
        paths
            .filter(|path| path.symlink_metadata().is_ok())
            .collect()
    }

    /// The changes to networks that undo would make, newest first.
    pub fn net_leftovers(&self) -> Vec<&Undo> {
        self.open()
            .filter_map(|(number, intent)| match intent {
                Intent::Net(undo) if !self.intents.contains(&Intent::Disown(number)) => {
                    Some(&**undo)
                }
                _ => None,
            })
            .collect()
    }

    /// The changes of accounts that undo would make, newest first.
    pub fn account_leftovers(&self) -> Vec<&AccountUndo> {
        self.open()
            .filter_map(|(_, intent)| match intent {
                Intent::Account(undo) => Some(&**undo),
                _ => None,
            })
            .collect()
    }

    /// Undoes every intent, newest first, going on after errors, and removes the journal when there were none.
    pub fn undo(self) -> Vec<UndoError> {
        self.undo_holding(())
    }

    /// The same by who holds locks: they go before the journal, which tells of them as long as they are there.
    pub(crate) fn undo_holding<Locks>(self, locks: Locks) -> Vec<UndoError> {
        let mut errors = Vec::new();
        for undo in self.net_leftovers() {
            errors.extend(undo.apply(&self.store).err());
        }
        for undo in self.account_leftovers() {
            let taken = undo.apply();
            errors.extend(taken.err().map(|error| UndoError::Account(Box::new(error))));
        }
        for path in self.leftovers() {
            let removed = if self.intents.contains(&Intent::Group(path.clone())) {
                crate::cgroup::remove_group(&path).map_err(UndoError::Io)
            } else if self.intents.contains(&Intent::Mounts(path.clone())) {
                crate::namespaces::remove_mounts(&path).map_err(UndoError::Io)
            } else {
                remove_path(&path)
            };
            if let Err(error) = removed {
                errors.push(error);
            }
        }
        for (_, intent) in self.open() {
            if let Intent::Done { prune, .. } = intent {
                for dir in prune.iter().filter(|dir| sound(dir)) {
                    // One that is not empty is somebody's.
                    drop(std::fs::remove_dir(self.store.join(dir)));
                }
            }
        }
        drop(locks);
        if errors.is_empty()
            && let Err(error) = std::fs::remove_file(&self.path).at("remove", &self.path)
        {
            errors.push(UndoError::Io(error));
        }
        errors
    }
}

/// A path that a journal of ours may name: absolute or inside the store, without `..`, and no root.
fn sound(path: &Path) -> bool {
    path.file_name().is_some()
        && path
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::RootDir))
}

/// The intents of a journal's text. A last line cut off by a crash was never followed by an effect, and a line that
/// cannot be read names nothing.
fn read_intents(text: &[u8]) -> Vec<Intent> {
    let Some(whole) = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .and_then(|end| text.get(..end))
    else {
        return Vec::new();
    };
    whole
        .split(|byte| *byte == b'\n')
        .map(|line| {
            serde_json::from_slice::<Line>(line)
                .ok()
                .and_then(Line::intent)
        })
        // Numbers count lines, so what cannot be read keeps its place.
        .map(|intent| intent.unwrap_or(Intent::Disown(usize::MAX)))
        .collect()
}

/// What was left could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// A file operation.
    #[error(transparent)]
    Io(#[from] PathError),
    /// Accounts.
    #[error(transparent)]
    Account(Box<crate::accounts::AccountsError>),
    /// An update of a jail that lives at a path.
    #[error("cannot finish an update that was interrupted")]
    Update(#[source] Box<crate::minimal::MinimalImageError>),
    /// Taking back a change to networks.
    #[error("cannot {step}")]
    Net {
        /// The change that takes back.
        step: String,
        /// What the kernel said.
        #[source]
        source: jaula_sys::SysError,
    },
    /// Taking back what belongs to a network.
    #[error("cannot {step}")]
    Gives {
        /// The change that takes back.
        step: String,
        /// Why.
        #[source]
        source: Box<crate::gateway::GatewayFailure>,
    },
    /// It was made in another network namespace, and is taken back from there.
    #[error("to {step} belongs to the network namespace {namespace}, where jaula recover does it")]
    Elsewhere {
        /// The change that takes back.
        step: String,
        /// The inode of the network namespace.
        namespace: u64,
    },
    /// Removing a tree.
    #[error("cannot remove {}", jaula_plan::explain::shown(.path))]
    Remove {
        /// The tree.
        path: PathBuf,
        /// Why.
        #[source]
        source: remove::RemoveError,
    },
}

/// Removes a path with all beneath it; what is absent is removed already.
pub fn remove_path(path: &Path) -> Result<(), UndoError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let parent = match Dir::open(parent) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.at("open", parent)?,
    };
    remove::tree(&parent, name).map_err(|source| UndoError::Remove {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_any_bytes_survives_the_journal() {
        let path = PathBuf::from(std::ffi::OsString::from_vec(b"a\n\xff\"b".to_vec()));
        let line =
            serde_json::to_string(&Line::of(&Intent::Create(path.clone()))).unwrap_or_default();
        assert!(!line.contains('\n'));
        assert_eq!(
            read_intents(format!("{line}\n").as_bytes()),
            [Intent::Create(path)]
        );
    }

    #[test]
    fn garbage_and_half_lines_name_nothing() {
        let text = b"\xff\xfe\n{\"intent\":\"create\",\"path\":\"6\",\"shown\":\"\"}\n\n{\"intent\":\"create\",\"path\":\"61";
        assert!(
            read_intents(text)
                .iter()
                .all(|intent| *intent == Intent::Disown(usize::MAX))
        );
        assert_eq!(read_intents(b""), []);
    }

    #[test]
    fn what_is_done_is_not_undone_and_what_is_left_of_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("journal")).unwrap();
        for name in ["made", "old/deep", "empty", "full/x"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let mut journal = Journal::create(dir.path(), "1", None).unwrap();
        journal.intend(Intent::Create("made".into())).unwrap();
        let prune = vec!["empty".into(), "full".into()];
        journal.done(vec!["old".into()], prune).unwrap();
        let path = journal.path.clone();
        drop(journal);
        let journal = Journal::adopt(dir.path(), &path).unwrap().unwrap();
        assert_eq!(journal.leftovers(), [dir.path().join("old")]);
        assert!(journal.undo().is_empty());
        let there = |name: &str| dir.path().join(name).exists();
        let all = ["made", "old", "empty", "full/x"].map(there);
        assert_eq!(all, [true, false, false, true]);
        assert!(!path.exists());
    }

    #[test]
    fn unsound_paths_are_never_undone() {
        for path in ["", "/", "..", "../x", "/tmp/../etc", "stages/.."] {
            assert!(!sound(Path::new(path)), "{path:?}");
        }
        assert!(sound(Path::new("stages/1")) && sound(Path::new("/srv/out.part")));
    }
}
