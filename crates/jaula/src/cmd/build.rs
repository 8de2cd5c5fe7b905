//! `jaula build`: an image, and a directory or an archive of it.

pub mod recipe;

use crate::args::{files, low, options, output, settings, sources};
use crate::cmd::image::meant;
use crate::cmd::run::{missing, only_for_distros};
use crate::cmd::{Context, failed, session_for, session_for_files};
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgAction, ArgMatches, Command};
use jaula_engine::minimal::{TreeSpec, Wanted};
use jaula_engine::view::reference_text;
use jaula_engine::{Dry, Engine, EngineError, Image, ImageOptions};
use jaula_plan::minimal::{Content, Placing};
use jaula_plan::names::Tag;
use jaula_plan::spec::rootfs::Reference;
use serde_json::json;
use std::ffi::OsString;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Make an image, and write it as a directory, an archive or a disk image")
        .long_about(
            "Make the image that REF names, unless the store has it, and write it to a directory, an archive, an image \
             of a file system or an OCI image layout. The same packages give the same bytes. Without --output the image \
             is only kept in the store. A REF that ends in .toml is a recipe, which says all of this in a file, and is \
             locked by one beside it.",
        )
        .after_help(
            "Examples:\n  \
             jaula build debian:bookworm --variant minbase -o d.tar\n  \
             jaula build ubuntu:noble --include openssh-server -o /srv/noble\n  \
             jaula build debian --include nginx-light --tag web\n  \
             jaula build debian -o d.squashfs --sbom spdx\n  \
             jaula build debian -o - | ssh host tar -x -C /srv/d\n  \
             jaula build web.toml --locked\n  \
             jaula build --empty --with-files /bin/bash,/bin/ls -o /srv/small\n  \
             jaula build --with nginx --tag web",
        )
        .arg(options::reference(true).required_unless_present_any(["schema", "empty", "with"]).required(false))
        .arg(
            Arg::new("foreign")
                .long("foreign")
                .action(ArgAction::SetTrue)
                .help("Only unpack, and leave the packages' scripts to `jaula finish`"),
        )
        .arg(Arg::new("tag").long("tag").value_name("TAG").help("Give the image a further tag"));
    let command = files::placing(files::options(command, "ref"));
    recipe::options(options::image(output::options(options::preview(command))))
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
    if let Some(wanted) = files::read(matches, &context.around)? {
        return of_files(matches, context, &wanted);
    }
    if let Some(path) = recipe::named(&word) {
        return recipe::run(matches, context, &path);
    }
    let reference = sources::reference(matches, context.reference(&word)?, true)?;
    only_for_distros(matches, Some(&reference))?;
    if let Reference::Directory(_) | Reference::Archive(_) = reference {
        return Err(CommandError::usage(format!("cannot build {}", reference_text(&reference)))
            .hint("REF is a distribution, or a tag or digest of the store; jaula new NAME --from takes a tree or an archive"));
    }
    let options = ImageOptions {
        unpack_only: matches.get_flag("foreign"),
        ..settings::image(matches, &context.around)?
    };
    if options.unpack_only && !matches!(reference, Reference::Distro { .. }) {
        return Err(CommandError::usage(
            "--foreign is for images that are made: REF is a distribution",
        ));
    }
    let tag = low::text(matches, "tag")
        .map(|tag| low::parse::<Tag>("--tag", tag))
        .transpose()?;
    let output = output::read(matches, &context.around)?;
    let shown = low::Shown::read(matches);
    let attempt = format!("cannot build {}", reference_text(&reference));
    let explained = |error: EngineError| missing(failed(attempt.clone(), error), Some(&reference));

    let session = session_for(Some(&reference));
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
    finish(&engine, &image, tag, output, shown, context, &explained)
}

/// An image of files of the host.
fn of_files(matches: &ArgMatches, context: &Context, wanted: &Wanted) -> Done {
    if matches.get_flag("foreign") {
        return Err(CommandError::usage(
            "cannot use --foreign: files of this host have no packages' scripts",
        ));
    }
    let tag = low::text(matches, "tag")
        .map(|tag| low::parse::<Tag>("--tag", tag))
        .transpose()?;
    let output = output::read(matches, &context.around)?;
    let shown = low::Shown::read(matches);
    let attempt = "cannot build an image from files of this host";
    let explained = |error: EngineError| failed(attempt.to_owned(), error);
    let engine = context.engine(session_for_files(shown), true)?;
    let directory = output.as_ref().and_then(output::Output::directory);
    let placing = match (matches.get_flag("hardlink"), matches.get_flag("reflink")) {
        (true, _) => Placing::Hardlink,
        (_, true) => Placing::Reflink,
        _ => Placing::Copy,
    };
    let replace = matches.get_flag("replace");
    match (wanted, directory) {
        (Wanted::Content(content, Placing::Copy), Some(dir)) if tag.is_none() => {
            let spec = TreeSpec {
                dir: dir.to_owned(),
                content: Content::clone(content),
                placing,
                force: replace,
                hash: true,
            };
            let plan = engine.plan_fill(&spec).map_err(explained)?;
            if shown != low::Shown::Done {
                return context.show(shown, &plan);
            }
            engine.fill(&plan, &mut |_| {}).map_err(explained)?;
            let path = jaula_plan::explain::shown(dir);
            return context.out.did(
                "built",
                || json!({ "digest": null, "output": path, "tag": null }),
                || path.clone(),
            );
        }
        _ if placing != Placing::Copy || replace => {
            return Err(CommandError::usage(
                "cannot use --hardlink, --reflink or --replace: nothing is put into a directory",
            )
            .hint("add -o DIR"));
        }
        _ => {}
    }
    let plan = engine.plan_wanted(wanted).map_err(explained)?;
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    let image = engine
        .minimal(&plan, &context.progress)
        .map_err(explained)?;
    finish(&engine, &image, tag, output, shown, context, &explained)
}

/// Gives the tag and writes the output.
fn finish(
    engine: &Engine,
    image: &Image,
    tag: Option<Tag>,
    output: Option<output::Output>,
    shown: low::Shown,
    context: &Context,
    explained: &dyn Fn(EngineError) -> CommandError,
) -> Done {
    if let Some(tag) = &tag {
        engine.tag(image.digest(), tag).map_err(explained)?;
    }
    if let Some(output) = &output {
        if shown != low::Shown::Done {
            return match output.plan(engine, image.digest()).map_err(explained)? {
                Some(plan) => context.show(shown, &plan),
                None => Ok(0),
            };
        }
        output
            .write(engine, image.digest(), context)
            .map_err(explained)?;
    }
    context.progress.clear();
    if output.as_ref().is_some_and(output::Output::takes_stdout) {
        return Ok(0);
    }
    let written = output.as_ref().and_then(output::Output::shown);
    context.out.did(
        "built",
        || json!({ "digest": image.digest(), "output": written, "tag": tag }),
        || match &written {
            Some(path) => path.clone(),
            None => format!("sha256:{}", image.digest()),
        },
    )
}
