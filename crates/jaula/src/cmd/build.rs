//! `jaula build`: an image, and a directory or an archive of it.

pub mod recipe;

use crate::args::{low, options};
use crate::cmd::image::meant;
use crate::cmd::run::{missing, only_for_distros};
use crate::cmd::{Context, failed, session_for};
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::view::reference_text;
use jaula_engine::{Dry, EngineError, ExportTarget, ImageOptions};
use jaula_plan::names::Tag;
use jaula_plan::spec::rootfs::Reference;
use jaula_plan::step::Compression;
use serde_json::json;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Make an image, and write it as a directory or an archive")
        .long_about(
            "Make the image that REF names, unless the store has it, and write it to a directory or a tar archive. \
             The same packages give the same bytes. Without --output the image is only kept in the store. A REF that ends \
             in .toml is a recipe, which says all of this in a file, and is locked by one beside it.",
        )
        .after_help(
            "Examples:\n  \
             jaula build debian:bookworm --variant minbase -o d.tar\n  \
             jaula build ubuntu:noble --include openssh-server -o /srv/noble\n  \
             jaula build debian --include nginx-light --tag web\n  \
             jaula build web.toml --locked",
        )
        .arg(options::reference(true).required_unless_present("schema").required(false))
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("DIR|FILE.tar[.zst|.xz|.gz]")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::AnyPath)
                .help("Write it there: an archive is replaced, a directory must be new or empty"),
        )
        .arg(
            Arg::new("foreign")
                .long("foreign")
                .action(ArgAction::SetTrue)
                .help("Only unpack, and leave the packages' scripts to `jaula finish`"),
        )
        .arg(Arg::new("tag").long("tag").value_name("TAG").help("Give the image a further tag"));
    recipe::options(options::image(options::preview(command)))
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let word = matches
        .get_one::<OsString>("ref")
        .cloned()
        .unwrap_or_default();
    if matches.get_flag("schema") {
        return recipe::schema();
    }
    if let Some(path) = recipe::named(&word) {
        return recipe::run(matches, context, &path);
    }
    let reference = context.reference(&word)?;
    only_for_distros(matches, Some(&reference))?;
    if let Reference::Directory(_) | Reference::Archive(_) = reference {
        return Err(CommandError::usage(format!("cannot build {}", reference_text(&reference)))
            .hint("REF is a distribution, or a tag or digest of the store; jaula new NAME --from takes a tree or an archive"));
    }
    let options = ImageOptions {
        unpack_only: matches.get_flag("foreign"),
        ..low::image(matches)?
    };
    if options.unpack_only && !matches!(reference, Reference::Distro { .. }) {
        return Err(CommandError::usage(
            "--foreign is for images that are made: REF is a distribution",
        ));
    }
    let tag = low::text(matches, "tag")
        .map(|tag| low::parse::<Tag>("--tag", tag))
        .transpose()?;
    let output = low::path(matches, "output")
        .map(|path| context.around.absolute(&path))
        .transpose()?;
    let shown = low::Shown::read(matches);
    let attempt = format!("cannot build {}", reference_text(&reference));
    let explained = |error: EngineError| missing(failed(attempt.clone(), error), Some(&reference));

    let session = session_for(Some(&reference), shown);
    let engine = context.engine(session, matches.get_flag("offline"))?;
    let image = match options.spec(&reference) {
        Some(spec) => {
            let dry = if shown == low::Shown::Done {
                Dry::MayCache
            } else {
                Dry::ReadOnly
            };
            let plan = engine
                .plan_image(&spec, &context.progress, dry)
                .map_err(explained)?;
            if shown != low::Shown::Done {
                return context.show(shown, &plan);
            }
            engine.image(&plan, &context.progress).map_err(explained)?
        }
        None => {
            // Says what is there instead, when it is not.
            let named = meant(&engine, reference.clone(), context)?;
            let info = engine.image_info(&named).map_err(explained)?;
            let found = engine
                .find(&Reference::Digest(info.digest))
                .map_err(explained)?;
            found.ok_or_else(|| {
                CommandError::failed(attempt.clone()).hint("jaula image ls lists the images")
            })?
        }
    };
    if let Some(tag) = &tag {
        engine.tag(image.digest(), tag).map_err(explained)?;
    }
    if let Some(path) = &output {
        let target = target(path)?;
        let plan = engine
            .plan_export(image.digest(), &target)
            .map_err(explained)?;
        if shown != low::Shown::Done {
            return context.show(shown, &plan);
        }
        engine.export(&plan, &context.progress).map_err(explained)?;
    }
    context.progress.clear();
    let written = output.as_deref().map(jaula_plan::explain::shown);
    context.out.did(
        "built",
        || json!({ "digest": image.digest(), "output": written, "tag": tag }),
        || match &written {
            Some(path) => path.clone(),
            None => format!("sha256:{}", image.digest()),
        },
    )
}

/// What to write, by the ending of its name.
pub fn target(path: &Path) -> Result<ExportTarget, CommandError> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if let Some(compression) = Compression::of_name(name) {
        Ok(ExportTarget::Archive {
            path: path.to_owned(),
            compression,
        })
    } else if name.contains(".tar.") || ends(&[".zip", ".iso", ".img", ".squashfs"]) {
        Err(CommandError::usage(format!(
            "cannot write {}: jaula does not write that kind of file",
            path.display()
        ))
        .hint("end it in .tar, .tar.zst, .tar.xz or .tar.gz, or name a directory"))
    } else {
        Ok(ExportTarget::Directory(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_what_is_written() {
        let kind = |name: &str| target(Path::new(name)).ok();
        let archive = |name: &str, compression| {
            Some(ExportTarget::Archive {
                path: name.into(),
                compression,
            })
        };
        assert_eq!(kind("/x/d.tar"), archive("/x/d.tar", Compression::None));
        assert_eq!(kind("d.tar.zst"), archive("d.tar.zst", Compression::Zstd));
        assert_eq!(kind("d.txz"), archive("d.txz", Compression::Xz));
        assert_eq!(kind("d.tgz"), archive("d.tgz", Compression::Gzip));
        assert_eq!(kind("/x/d"), Some(ExportTarget::Directory("/x/d".into())));
        assert_eq!(kind("d.tar.bz2"), None);
        assert_eq!(kind("d.img"), None);
    }
}
