//! What takes a change of accounts back: at once when a later step fails, or later when jaula was killed.

use super::apply::{aside_name, put};
use super::{AccountsError, parent, read};
use crate::error::{At, PathError};
use jaula_plan::account::lines::{self, LineEdit};
use jaula_sys::dir::Dir;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// One change back. It is idempotent, and touches only what is still as the change left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "snake_case")]
pub enum AccountUndo {
    /// Lines of a file; what others changed of it meanwhile stays.
    Lines {
        /// `/`, or a jail.
        root: PathBuf,
        /// From there.
        path: PathBuf,
        /// The changes back.
        edits: Vec<LineEdit>,
        /// Whether the file was made, and goes when nothing is left in it.
        made: bool,
        /// Whether its last line had no end.
        #[serde(default)]
        open: bool,
    },
    /// A whole file.
    Text {
        /// The file.
        path: PathBuf,
        /// What was in it; none: it was not there.
        before: Option<String>,
        /// What is in it now; none: it is gone.
        after: Option<String>,
    },
    /// A directory of the host's that was made; it goes when nothing is in it.
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// The locks of the files of accounts. Who undoes takes them, and takes away those of the dead.
    Locks {},
    /// A home that was renamed.
    Home {
        /// Where it was.
        from: PathBuf,
        /// Where it is.
        to: PathBuf,
    },
}

impl AccountUndo {
    /// The file or directory.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Lines { root, path, .. } => root.join(path),
            Self::Text { path, .. } | Self::Directory { path } => path.clone(),
            Self::Locks {} => Path::new("/etc").join("passwd.lock"),
            Self::Home { from, .. } => from.clone(),
        }
    }

    /// Takes it back.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn apply(&self) -> Result<(), AccountsError> {
        match self {
            Self::Lines {
                root,
                path,
                edits,
                made,
                open,
            } => {
                let whole = root.join(path);
                // What is gone with its directory needs no more.
                let Some((dir, name)) = there(parent(root, path))? else {
                    return Ok(());
                };
                drop(dir.unlink(aside_name(&name)));
                let text = match dir.open_file(&name) {
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                    other => super::text(other.at("open", &whole)?, &whole)?,
                };
                // Line by line: one that is not there any more is not ours any more.
                let mut now = text.clone();
                for edit in edits {
                    let there = |line: &Option<String>| {
                        line.as_ref()
                            .is_some_and(|line| lines::rows(&now).any(|known| known == line))
                    };
                    if (edit.before.is_none() || there(&edit.before))
                        && !there(&edit.after)
                        && let Ok(edited) = lines::edit(&now, std::slice::from_ref(edit))
                    {
                        now = edited.text();
                    }
                }
                if *made && now.is_empty() {
                    return Ok(dir.unlink(&name).at("remove", &whole)?);
                }
                if now != text {
                    if *open {
                        now.pop();
                    }
                    put(&dir, &name, &whole, &now, None)?;
                }
                Ok(())
            }
            Self::Text {
                path,
                before,
                after,
            } => {
                let Some((dir, name)) = there(beneath(path))? else {
                    return Ok(());
                };
                drop(dir.unlink(aside_name(&name)));
                let now = read(path)?;
                if now == *before || now != *after {
                    return Ok(());
                }
                match before {
                    Some(before) => put(&dir, &name, path, before, Some(0o644)),
                    None => Ok(dir.unlink(&name).at("remove", path)?),
                }
            }
            Self::Directory { path } => {
                let Some((dir, name)) = there(beneath(path))? else {
                    return Ok(());
                };
                match dir.remove_dir(&name) {
                    Err(error)
                        if !matches!(
                            error.kind(),
                            ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty
                        ) =>
                    {
                        Err(error).at("remove", path)?
                    }
                    _ => Ok(()),
                }
            }
            Self::Locks {} => Ok(()),
            Self::Home { from, to } => {
                let (Some((to_dir, to_name)), Some((from_dir, from_name))) =
                    (there(beneath(to))?, there(beneath(from))?)
                else {
                    return Ok(());
                };
                if from_dir.meta(&from_name).is_err() && to_dir.meta(&to_name).is_ok() {
                    to_dir
                        .rename(&to_name, &from_dir, &from_name)
                        .at("move back", to)?;
                }
                Ok(())
            }
        }
    }
}

fn beneath(path: &Path) -> Result<(Dir, OsString), PathError> {
    parent(Path::new("/"), path.strip_prefix("/").unwrap_or(path))
}

/// What was opened; none when it is not there.
fn there<T>(opened: Result<T, PathError>) -> Result<Option<T>, PathError> {
    match opened {
        Err(error) if error.source.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
