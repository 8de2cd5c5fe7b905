//! Paths of the host, followed as the kernel does.

use super::closure::{SET_ID, Search};
use super::{ItemKind, MinimalError};
use crate::facts::elf::Seen;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Links followed in one path, as the kernel has it (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A path followed to its end.
pub(super) struct Walked {
    /// Directories and links on the way, and the end; nothing where that is missing.
    pub(super) way: Vec<(PathBuf, ItemKind)>,
    /// The end, without links.
    pub(super) real: PathBuf,
    /// What is there.
    pub(super) end: Seen,
}

impl Search<'_> {
    pub(super) fn look(&mut self, path: &Path) -> Result<Seen, MinimalError> {
        if let Some(seen) = self.seen.get(path.as_os_str()) {
            return Ok(seen.clone());
        }
        let seen = self.host.look(path)?;
        self.seen.insert(path.into(), seen.clone());
        Ok(seen)
    }

    /// What was seen at a path, so that nobody looks again.
    pub(super) fn saw(&mut self, path: &Path, seen: &Seen) {
        self.seen.insert(path.into(), seen.clone());
    }

    /// Follows a path as the kernel does.
    pub(super) fn walk(&mut self, path: &Path) -> Result<Walked, MinimalError> {
        match self.walk_from_known(path)? {
            Some(walked) => Ok(walked),
            None => self.walk_whole(path),
        }
    }

    /// The same where the directory was reached before: what is in it is mostly asked for more than once. None when
    /// the whole way has to be gone.
    fn walk_from_known(&mut self, path: &Path) -> Result<Option<Walked>, MinimalError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(None);
        };
        if !self.ways.contains_key(parent.as_os_str()) {
            // Why it cannot be reached is said of the whole path.
            let Ok(known) = self.walk_whole(parent) else {
                return Ok(None);
            };
            self.ways.insert(parent.into(), known);
        }
        let Some(known) = self.ways.get(parent.as_os_str()) else {
            return Ok(None);
        };
        let missing = Walked {
            way: Vec::new(),
            real: known.real.clone(),
            end: Seen::Missing,
        };
        if !matches!(known.end, Seen::Directory { .. }) {
            return Ok(Some(missing));
        }
        let here = known.real.join(name);
        let seen = self.look(&here)?;
        let kind = match &seen {
            Seen::Missing => return Ok(Some(missing)),
            // Where it leads has its own way, and all links are counted together.
            Seen::Link { .. } => return Ok(None),
            Seen::Directory { mode } => Some(ItemKind::Directory {
                mode: mode & !SET_ID,
            }),
            Seen::File { mode } => Some(ItemKind::of_file(*mode)),
            Seen::Special => None,
        };
        let known = self.ways.get(parent.as_os_str());
        let mut way = known.map(|known| known.way.clone()).unwrap_or_default();
        way.extend(kind.map(|kind| (here.clone(), kind)));
        Ok(Some(Walked {
            way,
            real: here,
            end: seen,
        }))
    }

    fn walk_whole(&mut self, path: &Path) -> Result<Walked, MinimalError> {
        let mut walked = Walked {
            way: Vec::new(),
            real: PathBuf::from("/"),
            end: Seen::Directory { mode: 0o755 },
        };
        let mut rest: Vec<OsString> = names(path);
        let mut links = 0usize;
        while let Some(name) = rest.pop() {
            if name == ".." {
                walked.real.pop();
                continue;
            }
            if !matches!(walked.end, Seen::Directory { .. }) {
                walked.end = Seen::Missing;
                return Ok(walked);
            }
            let here = walked.real.join(&name);
            let seen = self.look(&here)?;
            match &seen {
                Seen::Missing => {
                    walked.end = seen;
                    return Ok(walked);
                }
                Seen::Link { target } => {
                    links = links.saturating_add(1);
                    if links > MOST_LINKS {
                        return Err(MinimalError::Loop {
                            path: path.to_owned(),
                        });
                    }
                    let target = target.clone();
                    if target.is_absolute() {
                        walked.real = PathBuf::from("/");
                    }
                    rest.extend(names(&target));
                    walked.way.push((here, ItemKind::Link { target }));
                }
                Seen::Directory { mode } => {
                    let kind = ItemKind::Directory {
                        mode: mode & !SET_ID,
                    };
                    walked.way.push((here.clone(), kind));
                    (walked.real, walked.end) = (here, seen);
                }
                Seen::File { mode } => {
                    walked.way.push((here.clone(), ItemKind::of_file(*mode)));
                    (walked.real, walked.end) = (here, seen);
                }
                Seen::Special => (walked.real, walked.end) = (here, seen),
            }
        }
        Ok(walked)
    }
}

/// The names of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect();
    names.reverse();
    names
}
