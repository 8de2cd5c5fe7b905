//! What takes a change of accounts back: at once when a later step fails, or later when jaula was killed.

use super::apply::put;
use super::{AccountsError, parent, read};
use crate::error::At;
use jaula_plan::account::lines::{self, LineEdit};
use serde::{Deserialize, Serialize};
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
            Self::Text { path, .. } => path.clone(),
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
            } => {
                let (dir, name) = parent(root, path)?;
                let whole = root.join(path);
                let text = match dir.open_file(&name) {
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                    other => super::text(other.at("open", &whole)?, &whole)?,
                };
                // Line by line: one that is not there any more is not ours any more.
                let mut now = text.clone();
                for edit in edits {
                    let there = |line: &Option<String>| {
                        line.as_ref()
                            .is_some_and(|line| now.lines().any(|known| known == line))
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
                    put(&dir, &name, &whole, &now, None)?;
                }
                Ok(())
            }
            Self::Text {
                path,
                before,
                after,
            } => {
                let now = read(path)?;
                if now == *before || now != *after {
                    return Ok(());
                }
                let (dir, name) = parent(Path::new("/"), path.strip_prefix("/").unwrap_or(path))?;
                match before {
                    Some(before) => put(&dir, &name, path, before, Some(0o644)),
                    None => Ok(dir.unlink(&name).at("remove", path)?),
                }
            }
            Self::Home { from, to } => {
                let beneath =
                    |path: &Path| parent(Path::new("/"), path.strip_prefix("/").unwrap_or(path));
                let ((to_dir, to_name), (from_dir, from_name)) = (beneath(to)?, beneath(from)?);
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
