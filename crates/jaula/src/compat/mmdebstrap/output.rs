//! Where mmdebstrap writes to, and as what.

use super::voice::Voice;
use crate::compat::making::reason;
use jaula_engine::export::{
    DEVICES, DevDir, ExportTarget, Extra, ExtraKind, MixTarget, StreamOptions,
};
use jaula_engine::{Engine, EngineError};
use jaula_plan::names::Digest;
use jaula_plan::output::{BlockCompression, OutputKind};
use jaula_plan::step::Compression;
use std::ffi::OsStr;
use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Directory,
    Tar(Compression),
    Squashfs,
    /// Under the name of ext2 as well.
    Ext4,
    Null,
}

/// The output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    format: Format,
    /// Whether device nodes are left out (`--skip=output/mknod`), or all of `/dev` (`--skip=output/dev`).
    no_nodes: bool,
    /// See `no_nodes`.
    no_dev: bool,
    /// None for standard output.
    path: Option<PathBuf>,
}

/// What is held of an output from before anything is made until it is written.
#[derive(Debug)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// The archive's file, opened early so that a place that cannot be written is found early.
    File(File),
}

/// /dev/null: its device number (null(4)).
fn is_null(meta: &std::fs::Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == 0x103
}

/// How the name of an archive says it is compressed.
fn compression(name: &str) -> Result<Option<Compression>, String> {
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if ends(&[".gz", "tgz", "taz"]) && name.contains('.') {
        return Ok(Some(Compression::Gzip));
    }
    if ends(&[".xz", ".txz"]) {
        return Ok(Some(Compression::Xz));
    }
    if ends(&[".zst"]) {
        return Ok(Some(Compression::Zstd));
    }
    if ends(&[
        ".Z", ".taZ", ".bz2", ".tbz", ".tbz2", ".tz2", ".lz", ".lzma", ".tlz", ".lzo", ".lz4",
    ]) {
        return Err(format!(
            "cannot write {name}: archives are written plain or compressed by gzip, xz or zstd"
        ));
    }
    Ok(name.ends_with(".tar").then_some(Compression::None))
}

impl Output {
    /// Chooses by the words, and by what is there.
    ///
    /// # Errors
    /// One line.
    pub fn choose(
        asked: &str,
        target: &str,
        simulate: bool,
        voice: &Voice,
    ) -> Result<Self, String> {
        let stdout = target == "-";
        let path = match stdout {
            true => {
                let [_, terminal, _] = crate::output::terminals();
                if terminal && !simulate {
                    return Err("stdout is a an interactive tty".to_owned());
                }
                None
            }
            false => Some(resolve(Path::new(target)).ok_or_else(|| {
                format!("unable to get absolute path of target directory {target}")
            })?),
        };
        if path.as_deref() == Some(Path::new("/")) {
            return Err("refusing to use the filesystem root as output directory".to_owned());
        }
        let meta = path.as_ref().and_then(|path| std::fs::metadata(path).ok());
        let by_name = compression(target);
        let format = match asked {
            "auto" => {
                let chosen = if meta.as_ref().is_some_and(is_null) || stdout && stdout_is_null() {
                    Format::Null
                } else if meta.as_ref().is_some_and(std::fs::Metadata::is_dir) {
                    Format::Directory
                } else if let Some(compression) = by_name? {
                    Format::Tar(compression)
                } else if stdout || meta.as_ref().is_some_and(is_stream) {
                    Format::Tar(Compression::None)
                } else if target.ends_with(".squashfs") || target.ends_with(".sqfs") {
                    Format::Squashfs
                } else if target.ends_with(".ext2") || target.ends_with(".ext4") {
                    Format::Ext4
                } else {
                    Format::Directory
                };
                voice.info(&format!("automatically chosen format: {}", word(chosen)));
                chosen
            }
            "directory" | "dir" => Format::Directory,
            "tar" => Format::Tar(by_name?.unwrap_or_default()),
            "squashfs" | "sqfs" => Format::Squashfs,
            "ext2" | "ext4" => Format::Ext4,
            _ => Format::Null,
        };
        if stdout && matches!(format, Format::Squashfs | Format::Ext4) {
            return Err(format!(
                "the {} format is unable to write to standard output: its image needs a file",
                word(format)
            ));
        }
        if format == Format::Ext4 && (asked == "ext2" || target.ends_with(".ext2")) {
            voice.info("the image is an ext4 file system, with a journal; ext2 is not written");
        }
        if stdout && format == Format::Directory {
            return Err("the directory format is unable to write to standard output".to_owned());
        }
        if format == Format::Null && !stdout && target != "/dev/null" {
            voice.info(&format!("ignoring target {target} with null format"));
        }
        Ok(Self {
            format,
            no_nodes: false,
            no_dev: false,
            path,
        })
    }

    /// The same without device nodes, or without anything in `/dev`.
    pub fn without(self, nodes: bool, dev: bool) -> Self {
        Self {
            no_nodes: nodes || dev,
            no_dev: dev,
            ..self
        }
    }

    /// The format in the tool's word.
    pub fn word(&self) -> &'static str {
        word(self.format)
    }

    /// What the tool leaves in a directory after it only looked: places, and no packages.
    ///
    /// # Errors
    /// The engine's.
    pub fn skeleton(
        &self,
        engine: &Engine,
        sources: &str,
        arch: &str,
        voice: &Voice,
    ) -> Result<(), EngineError> {
        let (Format::Directory, Some(path)) = (self.format, &self.path) else {
            return Ok(());
        };
        let file = |path: &str, content: &str| Extra {
            path: path.into(),
            what: ExtraKind::File {
                mode: 0o644,
                content: content.as_bytes().to_vec(),
            },
            replaces: false,
        };
        let mut extras = vec![
            file("etc/apt/sources.list", sources),
            file("etc/fstab", "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n"),
            file("var/lib/apt/lists/lock", ""),
            file("var/lib/dpkg/arch", &format!("{arch}\n")),
            file("var/lib/dpkg/status", ""),
        ];
        for name in ["etc/hostname", "etc/resolv.conf"] {
            let from = Path::new("/").join(name);
            // As there: a host without one has none to give.
            if !from.is_file() {
                continue;
            }
            let what = ExtraKind::Copy { from };
            extras.push(Extra {
                what,
                ..file(name, "")
            });
        }
        if !self.no_dev {
            for (name, to) in [
                ("fd", "/proc/self/fd"),
                ("stdin", "/proc/self/fd/0"),
                ("stdout", "/proc/self/fd/1"),
                ("stderr", "/proc/self/fd/2"),
            ] {
                let what = ExtraKind::Link(to.into());
                extras.push(Extra {
                    what,
                    ..file(&format!("dev/{name}"), "")
                });
            }
        }
        if !self.no_nodes {
            extras.extend(devices());
        }
        let target = MixTarget {
            path: path.clone(),
            mixed: true,
            usable: false,
            extras,
        };
        engine.mix(&engine.plan_mix(None, &target)?, voice)
    }

    /// Looks whether it can be written, and makes the place.
    ///
    /// # Errors
    /// One line.
    pub fn prepare(&self, occupied: bool, simulate: bool, voice: &Voice) -> Result<Held, String> {
        let Some(path) = &self.path else {
            return Ok(Held::Nothing);
        };
        let shown = path.display();
        match self.format {
            Format::Null => Ok(Held::Nothing),
            Format::Tar(_) if simulate => {
                if path.exists() {
                    voice.info(&format!("not overwriting {shown} because in dry-run mode"));
                }
                Ok(Held::Nothing)
            }
            // Made beside its place and renamed when it is whole: only what a rename cannot replace is told early.
            Format::Squashfs | Format::Ext4 => {
                if path.is_dir() {
                    return Err(format!("{shown} already exists and is a directory"));
                }
                if simulate && path.exists() {
                    voice.info(&format!("not overwriting {shown} because in dry-run mode"));
                }
                Ok(Held::Nothing)
            }
            Format::Tar(_) => File::create(path)
                .map(Held::File)
                .map_err(|error| format!("cannot open {shown} for writing: {}", reason(&error))),
            Format::Directory => {
                if path.exists() {
                    if !path.is_dir() {
                        return Err(format!("{shown} exists and is not a directory"));
                    }
                    if occupied {
                        voice.info("skipping check/empty as requested");
                    } else {
                        empty(path)?;
                    }
                } else {
                    std::fs::create_dir_all(path)
                        .map_err(|error| format!("cannot create {shown}: {}", reason(&error)))?;
                }
                Ok(Held::Nothing)
            }
        }
    }

    /// Writes the image.
    ///
    /// # Errors
    /// The engine's.
    pub fn write(
        &self,
        held: Held,
        engine: &Engine,
        image: &Digest,
        voice: &Voice,
    ) -> Result<(), EngineError> {
        let newest = std::env::var("SOURCE_DATE_EPOCH")
            .ok()
            .and_then(|text| text.parse().ok());
        let dev = match (self.no_dev, self.no_nodes) {
            (true, _) => DevDir::Empty,
            (false, true) => DevDir::AsItIs,
            (false, false) => DevDir::WithNodes,
        };
        let options = |compression| StreamOptions {
            compression,
            newest,
            dev,
        };
        if let (Format::Squashfs | Format::Ext4, Some(path)) = (self.format, &self.path) {
            let kind = match self.format {
                Format::Squashfs => OutputKind::Squashfs(BlockCompression::default()),
                _ => OutputKind::Ext4,
            };
            let target = ExportTarget::Image {
                path: path.clone(),
                kind,
                size: None,
            };
            voice.info(&format!("creating {} image...", word(self.format)));
            engine.export_as(&engine.plan_export(image, &target)?, dev, newest, voice)?;
            voice.info("done");
            return Ok(());
        }
        match (self.format, held, &self.path) {
            (Format::Null | Format::Squashfs | Format::Ext4, ..) => Ok(()),
            (Format::Tar(compression), Held::File(file), _) => {
                voice.info("creating tarball...");
                let out = BufWriter::with_capacity(256 << 10, file);
                engine.stream(image, options(compression), out, voice)?;
                voice.info("done");
                Ok(())
            }
            (Format::Tar(compression), Held::Nothing, _) => {
                voice.info("creating tarball...");
                let out = crate::output::stdout_writer();
                engine.stream(image, options(compression), out, voice)?;
                voice.info("done");
                Ok(())
            }
            (Format::Directory, _, Some(path)) => {
                let target = MixTarget {
                    path: path.clone(),
                    mixed: true,
                    usable: false,
                    extras: match self.no_nodes {
                        true => Vec::new(),
                        false => devices(),
                    },
                };
                engine.mix(&engine.plan_mix(Some(image), &target)?, voice)
            }
            (Format::Directory, _, None) => Ok(()),
        }
    }
}

fn devices() -> Vec<Extra> {
    let node = |(name, node): (&str, (u32, u32))| Extra {
        path: format!("dev/{name}").into(),
        what: ExtraKind::Device { node },
        replaces: false,
    };
    DEVICES.into_iter().map(node).collect()
}

fn word(format: Format) -> &'static str {
    match format {
        Format::Directory => "directory",
        Format::Tar(_) => "tar",
        Format::Squashfs => "squashfs",
        Format::Ext4 => "ext4",
        Format::Null => "null",
    }
}

fn is_stream(meta: &std::fs::Metadata) -> bool {
    meta.file_type().is_fifo() || meta.file_type().is_char_device()
}

fn stdout_is_null() -> bool {
    std::fs::metadata("/proc/self/fd/1").is_ok_and(|meta| is_null(&meta))
}

/// The path without links on the way; the last part need not be there.
fn resolve(path: &Path) -> Option<PathBuf> {
    if let Ok(real) = std::fs::canonicalize(path) {
        return Some(real);
    }
    let absolute = std::path::absolute(path).ok()?;
    let there = absolute.ancestors().find(|path| path.exists())?;
    let rest = absolute.strip_prefix(there).ok()?;
    Some(std::fs::canonicalize(there).ok()?.join(rest))
}

/// A directory may hold an empty `lost+found`, as every new ext file system does.
fn empty(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let cannot = |error: std::io::Error| format!("Can't opendir({shown}): {}", reason(&error));
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name();
        let inner = path.join(&name);
        if name != OsStr::new("lost+found") || !inner.is_dir() {
            return Err(format!("{shown} is not empty"));
        }
        if std::fs::read_dir(&inner).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(format!("{shown} contains a non-empty lost+found directory"));
        }
    }
    Ok(())
}
