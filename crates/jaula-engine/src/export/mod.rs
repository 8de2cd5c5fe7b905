//! A tree as something others can use: a directory or a tar archive. Both are made beside the place they are for and
//! renamed when they are whole.

mod compress;
mod copy;
mod error;
mod mixed;
mod pack;
mod tar;

pub use compress::Compressor;
pub use copy::{Copied, CopyOptions, Owner, copy_tree};
pub use error::ExportError;
pub use mixed::{Extra, ExtraKind, MixPlan, MixTarget};
pub use tar::{TarOptions, Written, write_tar};

use crate::error::At;
use crate::event::{Event, Observer, Phase};
use crate::journal::{Intent, Journal};
use crate::store::Store;
use jaula_plan::step::{Compression, Step};
use jaula_sys::dir::Dir;
use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{BufWriter, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a tree is exported to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportTarget {
    /// An ordinary tree; new, or an empty directory.
    Directory(PathBuf),
    /// A tar archive.
    Archive {
        /// The file.
        path: PathBuf,
        /// How it is compressed.
        compression: Compression,
    },
}

impl ExportTarget {
    /// The step that writes the tree at `root`. Looks at the target: a directory that holds something is refused.
    pub fn plan(&self, root: &Path) -> Result<Step, ExportError> {
        let root = root.to_owned();
        match self {
            Self::Directory(path) => {
                let path = absolute(path)?;
                vacant(&path)?;
                Ok(Step::WriteDirectory { root, path })
            }
            Self::Archive { path, compression } => {
                let path = absolute(path)?;
                if path.is_dir() {
                    return Err(ExportError::IsDirectory { path });
                }
                Ok(Step::WriteArchive {
                    root,
                    path,
                    compression: *compression,
                })
            }
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, ExportError> {
    let path = std::path::absolute(path).at("find", path)?;
    if path.file_name().is_none()
        || path
            .components()
            .any(|part| part == std::path::Component::ParentDir)
    {
        // `..` cannot be taken out of a path without following links: the directory it means is asked for.
        let parent = path.parent().unwrap_or(Path::new("/"));
        let real = std::fs::canonicalize(parent).at("find", parent)?;
        let name = path
            .file_name()
            .ok_or_else(|| ExportError::Occupied { path: path.clone() })?;
        return Ok(real.join(name));
    }
    Ok(path)
}

/// Whether a directory may be made at `path`: `true` when an empty one is there already.
fn vacant(path: &Path) -> Result<bool, ExportError> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            // What every new ext file system holds.
            None => Ok(true),
            Some(_) => Err(ExportError::Occupied {
                path: path.to_owned(),
            }),
        },
        Err(error) if error.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err() => {
            Ok(false)
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::NotFound) => {
            Err(ExportError::Occupied {
                path: path.to_owned(),
            })
        }
        Err(error) => Err(error).at("list", path)?,
    }
}

/// Tells how far an export is.
struct Meter<'a> {
    observer: &'a dyn Observer,
    start: Instant,
}

impl<'a> Meter<'a> {
    fn start(observer: &'a dyn Observer, items: u64, bytes: u64) -> Self {
        observer.event(Event::Started {
            phase: Phase::Export,
            items,
            bytes,
        });
        Self {
            observer,
            start: Instant::now(),
        }
    }

    fn progress(&self, items: u64, bytes: u64, item: String) {
        self.observer.event(Event::Progress {
            phase: Phase::Export,
            items,
            bytes,
            item,
        });
    }

    fn finish(&self, items: u64, bytes: u64) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.observer.event(Event::Finished {
            phase: Phase::Export,
            items,
            bytes,
            millis,
        });
    }
}

/// Does a step that [`ExportTarget::plan`] made. Times later than `clamp` (seconds since 1970) become it.
pub fn export(
    store: &Store,
    step: &Step,
    clamp: Option<i64>,
    size: u64,
    observer: &dyn Observer,
) -> Result<(), ExportError> {
    let (id, mut journal) = store.journal()?;
    let done = match step {
        Step::WriteArchive {
            root,
            path,
            compression,
        } => archive(
            &mut journal,
            &id,
            root,
            path,
            *compression,
            clamp,
            size,
            observer,
        ),
        Step::WriteDirectory { root, path } => {
            directory(&mut journal, &id, root, path, size, observer)
        }
        other => Err(ExportError::Foreign {
            step: other.to_string(),
        }),
    };
    match done {
        Ok(()) => {
            journal.finish()?;
            let (what, path) = match step {
                Step::WriteArchive { path, .. } => ("archive", path),
                Step::WriteDirectory { path, .. } => ("directory", path),
                _ => return Ok(()),
            };
            observer.event(Event::Made {
                what,
                path: path.clone(),
            });
            Ok(())
        }
        Err(error) => {
            let left = journal.undo();
            for error in left {
                observer.event(Event::Note {
                    text: error.to_string(),
                });
            }
            Err(error)
        }
    }
}

/// The name beside `path` under which it is made.
fn beside(path: &Path, id: &str) -> PathBuf {
    let mut name = OsString::from(".");
    // A name may have 255 bytes; the identifier alone is unique.
    if let Some(own) = path.file_name().filter(|own| own.len() <= 180) {
        name.push(own);
    }
    name.push(format!(".{id}.part"));
    path.with_file_name(name)
}

#[expect(
    clippy::too_many_arguments,
    reason = "the fields of one step and who makes it"
)]
fn archive(
    journal: &mut Journal,
    id: &str,
    root: &Path,
    path: &Path,
    compression: Compression,
    clamp: Option<i64>,
    size: u64,
    observer: &dyn Observer,
) -> Result<(), ExportError> {
    let meter = Meter::start(observer, 0, size);
    let part = beside(path, id);
    let tree = Dir::open(root).at("open", root)?;
    journal.intend(Intent::Create(part.clone()))?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&part)
        .at("create", &part)?;
    journal.point()?;
    let out = Compressor::new(BufWriter::with_capacity(256 << 10, file), compression)
        .at("compress", &part)?;
    let mut told = Instant::now();
    let mut tell = |items: u64, bytes: u64, name: &Path| {
        if told.elapsed().as_millis() >= 40 {
            told = Instant::now();
            meter.progress(items, bytes, jaula_plan::explain::shown(name));
        }
    };
    let (out, written) = write_tar(&tree, root, out, &part, &TarOptions { clamp }, &mut tell)?;
    let file = out
        .finish()
        .at("write", &part)?
        .into_inner()
        .map_err(|error| error.into_error())
        .at("write", &part)?;
    file.sync_data().at("sync", &part)?;
    journal.point()?;
    std::fs::rename(&part, path).at("rename", &part)?;
    journal.point()?;
    meter.finish(written.items, written.bytes);
    Ok(())
}

fn directory(
    journal: &mut Journal,
    id: &str,
    root: &Path,
    path: &Path,
    size: u64,
    observer: &dyn Observer,
) -> Result<(), ExportError> {
    let meter = Meter::start(observer, 0, size);
    // An empty directory that something is mounted on cannot be replaced, nor is what lies beside it on the same
    // file system: there the tree is made inside.
    let inside = vacant(path)?
        && Dir::open(path)
            .and_then(|dir| dir.own_meta())
            .at("look at", path)?
            .mount_root;
    let part = if inside {
        path.join(format!(".{id}.part"))
    } else {
        beside(path, id)
    };
    let tree = Dir::open(root).at("open", root)?;
    journal.intend(Intent::Create(part.clone()))?;
    DirBuilder::new()
        .mode(0o700)
        .create(&part)
        .at("make", &part)?;
    journal.point()?;
    let target = Dir::open(&part).at("open", &part)?;
    let tell = |items: u64, bytes: u64, name: &Path| {
        meter.progress(items, bytes, jaula_plan::explain::shown(name))
    };
    let copied = copy_tree(&tree, root, &target, &part, &CopyOptions::default(), &tell)?;
    target.sync_file_system().at("sync", &part)?;
    journal.point()?;
    if inside {
        let place = Dir::open(path).at("open", path)?;
        for (name, _) in target.entries().at("list", &part)? {
            journal.intend(Intent::Create(path.join(&name)))?;
            target
                .rename_new(&name, &place, &name)
                .at("rename", part.join(&name))?;
            journal.point()?;
        }
        let meta = tree.own_meta().at("look at", root)?;
        place
            .remove_dir(part.file_name().unwrap_or_default())
            .at("remove", &part)?;
        copy::dress(&place, ".", &meta, Owner::Same).at("change", path)?;
    } else {
        // rename(2) replaces an empty directory, and nothing else.
        std::fs::rename(&part, path).at("rename", &part)?;
    }
    journal.point()?;
    if copied.skipped > 0 {
        observer.event(Event::Note {
            text: format!(
                "left out {} sockets and device nodes that may not be made here",
                copied.skipped
            ),
        });
    }
    meter.finish(copied.items, copied.bytes);
    Ok(())
}
