//! What comes out of images: `image export`, `image sbom`, `image diff`.

use crate::args::{low, options, output};
use crate::cmd::image::meant;
use crate::cmd::{Context, failed, session_for};
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::Diff;
use jaula_engine::sbom::SbomFormat;
use jaula_engine::view::reference_text;
use jaula_plan::spec::rootfs::Reference;
use serde_json::json;
use std::ffi::OsString;
use std::path::PathBuf;

/// The operands and options of `image export`.
pub fn export_command(command: Command) -> Command {
    let command = command
        .about("Write an image of the store as a directory, an archive or a disk image")
        .after_help(
            "Examples:\n  \
             jaula image export web -o web.oci.tar\n  \
             jaula image export web -o web.ext4 --size 2G\n  \
             jaula image export web --format cpio.gz -o - > initrd",
        )
        .arg(options::reference(true));
    output::options(options::preview(command))
}

/// Writes an image.
pub fn export(matches: &ArgMatches, context: &Context) -> Done {
    let reference = operand(matches, "ref", context)?;
    if let Reference::Directory(_) | Reference::Archive(_) = reference {
        return Err(CommandError::usage(format!(
            "cannot export {}: it is a path",
            reference_text(&reference)
        ))
        .hint("an image is named by a tag or a digest; jaula image ls lists them"));
    }
    let Some(output) = output::read(matches, &context.around)? else {
        return Err(CommandError::usage("cannot export: no place is given")
            .hint("add --output FILE, or --output - for standard output"));
    };
    let attempt = format!("cannot export {}", reference_text(&reference));
    let explained = |error| failed(attempt.clone(), error);
    let shown = low::Shown::read(matches);
    let engine = context.engine(session_for(Some(&reference)), false)?;
    let reference = meant(&engine, reference, context)?;
    let digest = engine.image_info(&reference).map_err(explained)?.digest;
    if shown != low::Shown::Done {
        return match output.plan(&engine, &digest).map_err(explained)? {
            Some(plan) => context.show(shown, &plan),
            None => Ok(0),
        };
    }
    output.write(&engine, &digest, context).map_err(explained)?;
    context.progress.clear();
    if output.takes_stdout() {
        return Ok(0);
    }
    let written = output.shown();
    context.out.did(
        "exported",
        || json!({ "digest": digest, "output": written }),
        || written.clone().unwrap_or_default(),
    )
}

/// The operands and options of `image sbom`.
pub fn sbom_command(command: Command) -> Command {
    command
        .about("List what an image is made of, as SPDX, CycloneDX or a manifest")
        .arg(options::reference(true))
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(["spdx", "cyclonedx", "manifest"])
                .default_value("spdx")
                .help("SPDX 2.3 or CycloneDX 1.5 as JSON, or name and version a line"),
        )
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .help("Write it there [default: standard output]"),
        )
}

/// Lists what an image is made of.
pub fn sbom(matches: &ArgMatches, context: &Context) -> Done {
    let reference = operand(matches, "ref", context)?;
    let format = low::text(matches, "format").unwrap_or("spdx");
    let path = low::path(matches, "output").filter(|path| path.as_os_str() != "-");
    let path = path
        .map(|path| context.around.absolute(&path))
        .transpose()?;
    let attempt = format!("cannot list what {} is made of", reference_text(&reference));
    let explained = |error| failed(attempt.clone(), error);
    let engine = context.engine(need(&[&reference]), false)?;
    let reference = meant(&engine, reference, context)?;
    let contents = engine
        .contents(&reference, &context.progress)
        .map_err(explained)?;
    let text = match SbomFormat::of_word(format) {
        Some(format) => contents.written(format),
        None => contents.manifest(),
    };
    context.progress.clear();
    match path {
        None => crate::output::write_stdout(&text),
        Some(path) => {
            engine
                .put(&path, &text, &context.progress)
                .map_err(explained)?;
            let shown = jaula_plan::explain::shown(&path);
            let (shape, line) = (shown.clone(), shown);
            context.out.did(
                "listed",
                || json!({ "output": shape, "packages": contents.packages.len() }),
                || line.clone(),
            )
        }
    }
}

/// The operands and options of `image diff`.
pub fn diff_command(command: Command) -> Command {
    let operand = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .value_name(name)
            .value_parser(value_parser!(OsString))
            .value_hint(ValueHint::AnyPath)
            .required(true)
            .help(help)
    };
    command
        .about("Tell what differs between two images, directories or archives")
        .long_about(
            "Tell which packages and files two images, directories or archives differ in: + only in B, - only in A, \
             ~ in both and not the same. Times of files do not count. The exit code is 0 when nothing differs, 1 when \
             something does.",
        )
        .arg(operand("A", "The first: a REF"))
        .arg(operand("B", "The second: a REF"))
        .arg(
            Arg::new("packages")
                .long("packages")
                .action(ArgAction::SetTrue)
                .help("Compare packages only"),
        )
}

/// Tells what differs.
pub fn diff(matches: &ArgMatches, context: &Context) -> Done {
    let (a, b) = (
        operand(matches, "A", context)?,
        operand(matches, "B", context)?,
    );
    let attempt = format!(
        "cannot compare {} with {}",
        reference_text(&a),
        reference_text(&b)
    );
    let engine = context.engine(need(&[&a, &b]), false)?;
    let (a, b) = (meant(&engine, a, context)?, meant(&engine, b, context)?);
    let diff = engine
        .diff(&a, &b, matches.get_flag("packages"), &context.progress)
        .map_err(|error| failed(attempt, error))?;
    context.progress.clear();
    let same = diff.is_empty();
    let code = context.out.result(
        "diff",
        || json!({ "same": same, "diff": diff }),
        || lines(&diff),
    )?;
    Ok(if code == 0 && !same { 1 } else { code })
}

fn lines(diff: &Diff) -> String {
    let mut text = String::new();
    let mut line = |sign: &str, of: &str| {
        text.push_str(&format!("{sign} {}\n", crate::output::clean(of)));
    };
    for (sign, packages) in [("+", &diff.packages_added), ("-", &diff.packages_removed)] {
        for package in packages {
            line(
                sign,
                &format!(
                    "package {}:{} {}",
                    package.name, package.arch, package.version
                ),
            );
        }
    }
    for (word, packages) in [
        ("upgraded", &diff.packages_upgraded),
        ("downgraded", &diff.packages_downgraded),
    ] {
        for package in packages {
            let (name, arch) = (&package.name, &package.arch);
            line(
                "~",
                &format!(
                    "package {name}:{arch} {} -> {} ({word})",
                    package.from, package.to
                ),
            );
        }
    }
    diff.files_added.iter().for_each(|path| line("+", path));
    diff.files_removed.iter().for_each(|path| line("-", path));
    for file in &diff.files_changed {
        line("~", &format!("{} ({})", file.path, file.what.join("; ")));
    }
    text
}

/// The session that looking at these needs: files of an ordinary user's images belong to his subordinate users.
fn need(references: &[&Reference]) -> Option<jaula_engine::session::Need> {
    let all = references
        .iter()
        .all(|reference| matches!(reference, Reference::Directory(_)));
    match all {
        true => None,
        false => Some(jaula_engine::session::Need::Users),
    }
}

fn operand(matches: &ArgMatches, name: &str, context: &Context) -> Result<Reference, CommandError> {
    let word = matches
        .get_one::<OsString>(name)
        .cloned()
        .unwrap_or_default();
    context.reference(&word)
}
