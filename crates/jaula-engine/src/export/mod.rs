//! A tree as something others can use: a directory, an archive, an image of a file system, an OCI image layout. All
//! are made beside the place they are for and renamed when they are whole.

mod compress;
mod copy;
mod error;
mod ext4;
mod image;
mod mixed;
mod oci;
mod pack;
pub(crate) mod scan;
mod stream;
mod tar;

pub use compress::Compressor;
pub use copy::{Copied, CopyOptions, Owner, copy_tree};
pub use error::ExportError;
pub use mixed::{DEVICES, Extra, ExtraKind, MixPlan, MixTarget};
pub use stream::StreamOptions;
pub use tar::{TarOptions, Written, write_tar};

use crate::error::At;
use crate::event::{Event, Observer, Phase};
use crate::journal::{Intent, Journal};
use crate::store::Store;
use jaula_plan::output::OutputKind;
use jaula_plan::step::{Compression, Step};
use jaula_sys::dir::Dir;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
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
    /// An image of a file system, a cpio archive, an OCI image layout.
    Image {
        /// The file, or for the layout a directory that is new or empty.
        path: PathBuf,
        /// What.
        kind: OutputKind,
        /// Bytes of the image, where that is free.
        size: Option<u64>,
    },
}

/// What is known of a tree besides what is in it.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Times later than this become this: seconds since 1970.
    pub newest: Option<i64>,
    /// Its size on disk, for the progress; 0 when unknown.
    pub size: u64,
    /// Its Debian architecture.
    pub arch: String,
    /// What is in `/dev` of an image of a file system.
    pub dev: DevDir,
}

/// What is in `/dev` of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DevDir {
    /// What the tree has: one of the store has no nodes.
    #[default]
    AsItIs,
    /// That, and [`DEVICES`].
    WithNodes,
    /// Nothing.
    Empty,
}

impl ExportTarget {
    /// The target of this kind at this path; none for [`OutputKind::Null`].
    pub fn of(kind: OutputKind, path: PathBuf, size: Option<u64>) -> Option<Self> {
        Some(match kind {
            OutputKind::Null => return None,
            OutputKind::Directory => Self::Directory(path),
            OutputKind::Tar(compression) => Self::Archive { path, compression },
            kind => Self::Image { path, kind, size },
        })
    }

    /// Where it comes to be.
    pub fn path(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::Archive { path, .. } | Self::Image { path, .. } => path,
        }
    }

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
                let path = free(path)?;
                Ok(Step::WriteArchive {
                    root,
                    path,
                    compression: *compression,
                })
            }
            Self::Image { path, kind, size } => {
                let path = if kind.is_directory() {
                    let path = absolute(path)?;
                    vacant(&path)?;
                    path
                } else {
                    free(path)?
                };
                Ok(Step::WriteImage {
                    root,
                    path,
                    kind: *kind,
                    size: *size,
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

/// A place where a file may be put: nothing is there, or a regular file, which is replaced.
fn free(path: &Path) -> Result<PathBuf, ExportError> {
    let path = absolute(path)?;
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => Err(ExportError::IsDirectory { path }),
        Ok(meta) if !meta.is_file() => Err(ExportError::NoFile { path }),
        Ok(_) => Ok(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path),
        Err(error) => Err(error).at("look at", &path)?,
    }
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

    /// What is told of every name, a few times a second.
    fn teller(&self) -> impl FnMut(u64, u64, &Path) {
        let mut told = Instant::now();
        move |items, bytes, name| {
            if told.elapsed().as_millis() >= 40 {
                told = Instant::now();
                self.progress(items, bytes, jaula_plan::explain::shown(name));
            }
        }
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

/// Does a step that [`ExportTarget::plan`] made.
pub fn export(
    store: &Store,
    step: &Step,
    about: &About,
    observer: &dyn Observer,
) -> Result<(), ExportError> {
    let (id, mut journal) = store.journal()?;
    let mut work = Work {
        journal: &mut journal,
        id: &id,
        about,
        observer,
    };
    let done = match step {
        Step::WriteArchive {
            root,
            path,
            compression,
        } => work.file(path, |work, file, part| {
            let tree = Dir::open(root).at("open", root)?;
            work.stream(&tree, root, OutputKind::Tar(*compression), file, part)
        }),
        Step::WriteImage {
            root,
            path,
            kind,
            size,
        } => match kind {
            OutputKind::OciDirectory(how) => work.layout(root, path, *how),
            OutputKind::OciArchive(how) => work.layout_archive(root, path, *how),
            OutputKind::Cpio(_) => work.file(path, |work, file, part| {
                let tree = Dir::open(root).at("open", root)?;
                work.stream(&tree, root, *kind, file, part)
            }),
            kind => work.file(path, |work, file, part| {
                work.image(root, *kind, *size, file, part)
            }),
        },
        Step::WriteDirectory { root, path } => work.directory(root, path),
        other => Err(ExportError::Foreign {
            step: other.to_string(),
        }),
    };
    match done {
        Ok(()) => {
            journal.finish()?;
            let (what, path) = match step {
                Step::WriteArchive { path, .. } => ("archive", path),
                Step::WriteImage { path, .. } => ("image", path),
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

/// Writes a tree as an archive to somebody who takes it from its beginning to its end.
///
/// # Errors
/// [`ExportError::Foreign`] for kinds that need a file.
pub fn export_to<W: Write>(
    root: &Path,
    kind: OutputKind,
    about: &About,
    out: W,
    target: &Path,
    observer: &dyn Observer,
) -> Result<W, ExportError> {
    let tree = Dir::open(root).at("open", root)?;
    stream(&tree, root, kind, about, out, target, observer)
}

fn stream<W: Write>(
    tree: &Dir,
    root: &Path,
    kind: OutputKind,
    about: &About,
    out: W,
    target: &Path,
    observer: &dyn Observer,
) -> Result<W, ExportError> {
    let meter = Meter::start(observer, 0, about.size);
    let mut tell = meter.teller();
    let (out, items, bytes) = match kind {
        OutputKind::Tar(how) => {
            let out = Compressor::new(out, how).at("compress", target)?;
            let options = TarOptions {
                clamp: about.newest,
                ..TarOptions::default()
            };
            let (out, written) = write_tar(tree, root, out, target, &options, &mut tell)?;
            left_out(observer, written.skipped, "sockets");
            (
                out.finish().at("write", target)?,
                written.items,
                written.bytes,
            )
        }
        OutputKind::Cpio(how) => {
            let mut scan = scan::scan(tree, root, about.newest, None)?;
            let (out, packed) = image::write_cpio(&mut scan, out, target, how, &mut tell)?;
            left_out(observer, scan.skipped, "sockets");
            left_out(
                observer,
                packed.xattrs,
                "extended attributes, which a cpio archive cannot hold",
            );
            (out, packed.items, packed.bytes)
        }
        other => {
            return Err(ExportError::Foreign {
                step: other.to_string(),
            });
        }
    };
    drop(tell);
    meter.finish(items, bytes);
    Ok(out)
}

/// Writes a text beside its place, and renames it there when it is whole. What is there is replaced, when it is a
/// regular file.
pub fn put(
    store: &Store,
    path: &Path,
    text: &str,
    observer: &dyn Observer,
) -> Result<(), ExportError> {
    let path = free(path)?;
    let (id, mut journal) = store.journal()?;
    let mut work = Work {
        journal: &mut journal,
        id: &id,
        about: &About::default(),
        observer,
    };
    let done = work.file(&path, |_, mut file, part| {
        file.write_all(text.as_bytes()).at("write", part)?;
        Ok(file)
    });
    match done {
        Ok(()) => Ok(journal.finish()?),
        Err(error) => {
            drop(journal.undo());
            Err(error)
        }
    }
}

/// Files that become zeros may have only so many holes.
fn bounded(scan: &scan::Scan<'_>) -> Result<(), ExportError> {
    if scan.holes <= tar::MOST_HOLES {
        return Ok(());
    }
    let path = scan.sparsest();
    Err(ExportError::Holes { path })
}

/// Says what is not in an output.
fn left_out(observer: &dyn Observer, count: u64, what: &str) {
    if count > 0 {
        observer.event(Event::Note {
            text: format!("left out {count} {what}"),
        });
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

/// One export under way.
struct Work<'a> {
    journal: &'a mut Journal,
    id: &'a str,
    about: &'a About,
    observer: &'a dyn Observer,
}

impl Work<'_> {
    /// A file that `fill` fills, beside its place first.
    fn file(
        &mut self,
        path: &Path,
        fill: impl FnOnce(&mut Self, File, &Path) -> Result<File, ExportError>,
    ) -> Result<(), ExportError> {
        let part = beside(path, self.id);
        self.journal.intend(Intent::Create(part.clone()))?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&part)
            .at("create", &part)?;
        self.journal.point()?;
        let file = fill(self, file, &part)?;
        file.sync_data().at("sync", &part)?;
        self.journal.point()?;
        std::fs::rename(&part, path).at("rename", &part)?;
        Ok(self.journal.point()?)
    }

    fn stream(
        &mut self,
        tree: &Dir,
        root: &Path,
        kind: OutputKind,
        file: File,
        part: &Path,
    ) -> Result<File, ExportError> {
        let out = BufWriter::with_capacity(1 << 20, file);
        let out = stream(tree, root, kind, self.about, out, part, self.observer)?;
        Ok(out
            .into_inner()
            .map_err(|error| error.into_error())
            .at("write", part)?)
    }

    fn image(
        &mut self,
        root: &Path,
        kind: OutputKind,
        size: Option<u64>,
        file: File,
        part: &Path,
    ) -> Result<File, ExportError> {
        let meter = Meter::start(self.observer, 0, self.about.size);
        let tree = Dir::open(root).at("open", root)?;
        let empty = (self.about.dev == DevDir::Empty).then_some(Path::new("dev"));
        let mut scan = scan::scan(&tree, root, self.about.newest, empty)?;
        let time = self.about.newest.unwrap_or_else(|| image::newest(&scan));
        if self.about.dev == DevDir::WithNodes {
            scan.add_devices(time);
        }
        let wish = image::Wish { kind, time, size };
        let mut tell = meter.teller();
        let (file, packed) = image::write(&mut scan, file, part, wish, &mut tell)?;
        drop(tell);
        left_out(self.observer, scan.skipped, "sockets");
        left_out(
            self.observer,
            packed.xattrs,
            "extended attributes, which this kind of image cannot hold",
        );
        meter.finish(packed.items, packed.bytes);
        Ok(file)
    }

    /// An OCI image layout in a directory of its own.
    fn layout(&mut self, root: &Path, path: &Path, how: Compression) -> Result<(), ExportError> {
        let part = beside(path, self.id);
        self.lay_out(root, &part, how)?;
        self.journal.point()?;
        // rename(2) replaces an empty directory, and nothing else.
        std::fs::rename(&part, path).at("rename", &part)?;
        Ok(self.journal.point()?)
    }

    fn lay_out(&mut self, root: &Path, part: &Path, how: Compression) -> Result<(), ExportError> {
        let meter = Meter::start(self.observer, 0, self.about.size);
        let tree = Dir::open(root).at("open", root)?;
        self.journal.intend(Intent::Create(part.to_owned()))?;
        DirBuilder::new()
            .mode(0o755)
            .create(part)
            .at("make", part)?;
        self.journal.point()?;
        let mut tell = meter.teller();
        let written = oci::write(&tree, root, part, how, self.about, &mut tell)?;
        drop(tell);
        left_out(self.observer, written.skipped, "sockets");
        meter.finish(written.items, written.bytes);
        Ok(())
    }

    /// An OCI image layout as a tar archive.
    fn layout_archive(
        &mut self,
        root: &Path,
        path: &Path,
        how: Compression,
    ) -> Result<(), ExportError> {
        let dir = beside(path, &format!("{}.dir", self.id));
        self.lay_out(root, &dir, how)?;
        self.file(path, |work, file, part| {
            let layout = Dir::open(&dir).at("open", &dir)?;
            let options = TarOptions {
                plain: Some(work.about.newest.unwrap_or(0)),
                ..TarOptions::default()
            };
            let out = BufWriter::with_capacity(1 << 20, file);
            let (out, _) = write_tar(&layout, &dir, out, part, &options, &mut |_, _, _| {})?;
            Ok(out
                .into_inner()
                .map_err(|error| error.into_error())
                .at("write", part)?)
        })?;
        match crate::journal::remove_path(&dir) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.observer.event(Event::Note {
                    text: error.to_string(),
                });
                Ok(())
            }
        }
    }

    fn directory(&mut self, root: &Path, path: &Path) -> Result<(), ExportError> {
        let (id, size) = (self.id, self.about.size);
        directory(self.journal, id, root, path, size, self.observer)
    }
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
