//! `--output` and what goes with it: where an image is written to, as what, with which lists beside it.

use crate::args::high::Surroundings;
use crate::args::low;
use crate::cmd::Context;
use crate::error::CommandError;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::sbom::SbomFormat;
use jaula_engine::{Engine, EngineError, ExportTarget, StepPlan};
use jaula_plan::names::Digest;
use jaula_plan::output::{OutputKind, WORDS};
use jaula_plan::spec::rootfs::Reference;
use jaula_plan::step::Compression;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The heading of these options.
const HEADING: &str = "Output options";

/// Adds `--output`, `--format`, `--size` and `--sbom`.
pub fn options(command: Command) -> Command {
    command.args([
        Arg::new("output")
            .short('o')
            .long("output")
            .value_name("DIR|FILE|-")
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::AnyPath)
            .help_heading(HEADING)
            .help("Write it there: a file is replaced, a directory must be new or empty; - is standard output"),
        Arg::new("format")
            .long("format")
            .value_name("FORMAT")
            .help_heading(HEADING)
            .help("directory, tar[.gz|.xz|.zst], squashfs[-gzip|-xz], ext4, erofs, cpio[.gz|.xz|.zst], oci[-zstd] or null [default: by the ending]"),
        Arg::new("size")
            .long("size")
            .value_name("BYTES[K|M|G]")
            .help_heading(HEADING)
            .help("Size of an ext4 image [default: what is needed, and room]"),
        Arg::new("sbom")
            .long("sbom")
            .value_name("FORMAT,…")
            .action(ArgAction::Append)
            .value_delimiter(',')
            .value_parser(["spdx", "cyclonedx"])
            .help_heading(HEADING)
            .help("Also write FILE.manifest and lists of the packages: spdx, cyclonedx"),
    ])
}

/// Where an image goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it stays in the store.
    Store,
    /// Standard output.
    Stdout,
    /// There.
    Target(ExportTarget),
}

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    place: Place,
    kind: OutputKind,
    lists: Vec<SbomFormat>,
}

/// What was asked for; none without `--output`.
///
/// # Errors
/// When the options contradict each other, or standard output is a terminal.
pub fn read(matches: &ArgMatches, around: &Surroundings) -> Result<Option<Output>, CommandError> {
    let path = low::path(matches, "output");
    let format = low::text(matches, "format").map(kind_of_word).transpose()?;
    let size = low::text(matches, "size").map(bytes).transpose()?;
    let mut lists: Vec<SbomFormat> = Vec::new();
    for word in matches.get_many::<String>("sbom").into_iter().flatten() {
        if let Some(list) = SbomFormat::of_word(word).filter(|list| !lists.contains(list)) {
            lists.push(list);
        }
    }
    let output = match (path, format) {
        (None, None) => None,
        (_, Some(OutputKind::Null)) => Some((Place::Store, OutputKind::Null)),
        (None, Some(kind)) => {
            return Err(
                CommandError::usage(format!("cannot write {kind}: no place is given"))
                    .hint("add --output FILE, or --output - for standard output"),
            );
        }
        (Some(path), format) if path == Path::new("-") => {
            let kind = format.unwrap_or(OutputKind::Tar(Compression::None));
            if !kind.streams() {
                return Err(
                    CommandError::usage(format!("cannot write {kind} to standard output"))
                        .hint("tar and cpio can be written to a pipe; for others name a file"),
                );
            }
            if around.stdout_terminal {
                return Err(CommandError::usage("cannot write an archive to a terminal")
                    .hint("send it to a file or a program: -o - | … or -o FILE"));
            }
            Some((Place::Stdout, kind))
        }
        (Some(path), format) => {
            let kind = kind(&path, format)?;
            let target = ExportTarget::of(kind, around.absolute(&path)?, size);
            Some((target.map_or(Place::Store, Place::Target), kind))
        }
    };
    if size.is_some() && !matches!(output, Some((_, OutputKind::Ext4))) {
        return Err(
            CommandError::usage("cannot use --size here: only an ext4 image has a size")
                .hint("add --output FILE.ext4"),
        );
    }
    if !lists.is_empty() && !matches!(output, Some((Place::Target(_), _))) {
        return Err(CommandError::usage(
            "cannot use --sbom here: there is no file to put lists beside",
        )
        .hint("add --output FILE, or use jaula image sbom REF"));
    }
    Ok(output.map(|(place, kind)| Output { place, kind, lists }))
}

fn kind_of_word(word: &str) -> Result<OutputKind, CommandError> {
    word.parse().map_err(|_| {
        CommandError::usage(format!(
            "cannot write {word:?}: jaula does not know that format"
        ))
        .hint(format!("it knows {}", WORDS.join(", ")))
    })
}

/// What to write, by the word or the ending of the name.
fn kind(path: &Path, format: Option<OutputKind>) -> Result<OutputKind, CommandError> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    match format {
        // An OCI image layout is a directory, or an archive of it.
        Some(OutputKind::OciDirectory(how)) if name.ends_with(".tar") => {
            Ok(OutputKind::OciArchive(how))
        }
        Some(kind) => Ok(kind),
        None => OutputKind::of_name(name)
            .map(|kind| kind.unwrap_or(OutputKind::Directory))
            .map_err(|_| {
                CommandError::usage(format!(
                    "cannot write {}: jaula does not write that kind of file",
                    jaula_plan::explain::shown(path)
                ))
                .hint(format!(
                    "name a directory, or end it as one of {}",
                    WORDS.join(", ")
                ))
            }),
    }
}

/// The target of a path and a format's word, as a recipe has them; none when nothing is to be written.
///
/// # Errors
/// When the word or the ending names nothing that is written.
pub fn target(path: &Path, word: Option<&str>) -> Result<Option<ExportTarget>, CommandError> {
    let kind = kind(path, word.map(kind_of_word).transpose()?)?;
    Ok(ExportTarget::of(kind, path.to_owned(), None))
}

/// A number of bytes, with `K`, `M` or `G` for powers of 1024.
fn bytes(text: &str) -> Result<u64, CommandError> {
    let wrong = || {
        CommandError::usage(format!("cannot use {text:?} as a size"))
            .hint("write a number of bytes, or one with K, M, G or T behind it: 512M")
    };
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (text.get(..text.len().saturating_sub(1)), 10),
        Some(b'M' | b'm') => (text.get(..text.len().saturating_sub(1)), 20),
        Some(b'G' | b'g') => (text.get(..text.len().saturating_sub(1)), 30),
        Some(b'T' | b't') => (text.get(..text.len().saturating_sub(1)), 40),
        _ => (Some(text), 0),
    };
    let number: u64 = digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(wrong)?;
    number
        .checked_mul(1u64 << shift)
        .filter(|size| *size > 0 && *size <= 1 << 44)
        .ok_or_else(wrong)
}

impl Output {
    /// The directory, when it is one that an ordinary tree is written to.
    pub fn directory(&self) -> Option<&Path> {
        match &self.place {
            Place::Target(ExportTarget::Directory(path)) if self.lists.is_empty() => Some(path),
            _ => None,
        }
    }

    /// The plan of writing this image; none when nothing is written to a file.
    ///
    /// # Errors
    /// When what is there stands against it.
    pub fn plan(&self, engine: &Engine, image: &Digest) -> Result<Option<StepPlan>, EngineError> {
        match &self.place {
            Place::Target(target) => engine.plan_export(image, target).map(Some),
            Place::Store | Place::Stdout => Ok(None),
        }
    }

    /// Writes this image, and the lists beside it. `reference` names it.
    ///
    /// # Errors
    /// When something cannot be read or written; nothing half-made is left.
    pub fn write(
        &self,
        engine: &Engine,
        image: &Digest,
        context: &Context,
    ) -> Result<(), EngineError> {
        let path = match &self.place {
            Place::Store => return Ok(()),
            Place::Stdout => {
                let out = crate::output::stdout_writer();
                return engine.export_to(image, self.kind, out, &context.progress);
            }
            Place::Target(target) => {
                if let Some(plan) = self.plan(engine, image)? {
                    engine.export(&plan, &context.progress)?;
                }
                target.path()
            }
        };
        if !self.lists.is_empty() {
            let contents = engine.contents(&Reference::Digest(*image), &context.progress)?;
            engine.put(
                &beside(path, ".manifest"),
                &contents.manifest(),
                &context.progress,
            )?;
            for list in &self.lists {
                engine.put(
                    &beside(path, list.ending()),
                    &contents.written(*list),
                    &context.progress,
                )?;
            }
        }
        Ok(())
    }

    /// The target, when there is one and nothing is written beside it.
    pub fn alone(&self) -> Option<&ExportTarget> {
        match &self.place {
            Place::Target(target) if self.lists.is_empty() => Some(target),
            _ => None,
        }
    }

    /// Whether standard output is taken.
    pub fn takes_stdout(&self) -> bool {
        self.place == Place::Stdout
    }

    /// Where it goes, to be shown.
    pub fn shown(&self) -> Option<String> {
        match &self.place {
            Place::Target(target) => Some(jaula_plan::explain::shown(target.path())),
            Place::Store | Place::Stdout => None,
        }
    }
}

/// The name with more behind it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_or_the_word_says_what_is_written() {
        let of = |name: &str, word: Option<&str>| {
            kind(Path::new(name), word.map(|word| word.parse().unwrap()))
                .ok()
                .map(|kind| kind.to_string())
        };
        for (name, word, wanted) in [
            ("/x/d.tar", None, Some("tar")),
            ("d.tar.zst", None, Some("tar.zst")),
            ("d.img", None, Some("ext4")),
            ("/x/d", None, Some("directory")),
            ("/x/d", Some("squashfs"), Some("squashfs")),
            ("d.tar", Some("directory"), Some("directory")),
            ("d.tar.bz2", None, None),
            ("d.iso", None, None),
        ] {
            assert_eq!(of(name, word).as_deref(), wanted, "{name}");
        }
        let archive = kind(Path::new("d.tar"), "oci".parse().ok());
        assert_eq!(
            archive.ok(),
            Some(OutputKind::OciArchive(Compression::Gzip))
        );
    }

    #[test]
    fn sizes_are_numbers_with_a_letter() {
        assert_eq!(bytes("512M").ok(), Some(512 << 20));
        assert_eq!(bytes("4096").ok(), Some(4096));
        for wrong in [
            "",
            "M",
            "0",
            "-1",
            "1.5G",
            "99999T",
            "18446744073709551615K",
            "1é",
        ] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
