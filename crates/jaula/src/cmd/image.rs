//! `jaula image`: the images of the store.

use crate::args::{low, options};
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::{Done, Table, bytes, facts};
use clap::{ArgMatches, Command};
use jaula_engine::ImageInfo;
use jaula_engine::view::reference_text;
use jaula_plan::spec::rootfs::Reference;
use serde_json::json;
use std::ffi::OsString;

/// The operands and options of `image ls`.
pub fn ls_command(command: Command) -> Command {
    command.about("List the images, newest first")
}

/// Lists the images.
pub fn ls(_matches: &ArgMatches, context: &Context) -> Done {
    let engine = context.engine(false)?;
    let images = engine
        .images(&context.progress)
        .map_err(|error| failed("cannot list the images", error))?;
    context.out.result(
        "images",
        || json!({ "images": images }),
        || {
            let mut table = Table::new(&["TAG", "DIGEST", "ARCH", "VARIANT", "PACKAGES", "SIZE"]);
            for image in &images {
                let digest: String = image.digest.to_string().chars().take(12).collect();
                let tags = joined(&image.tags);
                let variant = dash(&image.variant);
                table.row([
                    &tags,
                    &digest,
                    &dash(&image.arch),
                    &variant,
                    &image.packages,
                    &bytes(image.size),
                ]);
            }
            table.text()
        },
    )
}

/// The operands and options of `image show`.
pub fn show_command(command: Command) -> Command {
    command
        .about("Show what is known of an image")
        .arg(options::reference(true))
}

/// Shows an image.
pub fn show(matches: &ArgMatches, context: &Context) -> Done {
    let reference = stored(
        matches
            .get_one::<OsString>("ref")
            .cloned()
            .unwrap_or_default(),
        context,
    )?;
    let attempt = format!("cannot show image {}", reference_text(&reference));
    let engine = context.engine(false)?;
    let image = engine
        .image_info(&reference)
        .map_err(|error| failed(attempt, error))?;
    context
        .out
        .result("image", || json!({ "image": image }), || described(&image))
}

fn described(image: &ImageInfo) -> String {
    facts(&[
        ("digest", format!("sha256:{}", image.digest)),
        ("tags", joined(&image.tags)),
        ("distro", dash(&image.distro)),
        ("suite", dash(&image.suite)),
        ("arch", dash(&image.arch)),
        ("variant", dash(&image.variant)),
        ("packages", image.packages.to_string()),
        ("size", bytes(image.size)),
        ("files up to", crate::output::utc(image.created)),
        ("jails", joined(&image.jails)),
        ("root", jaula_plan::explain::shown(&image.root)),
    ])
}

/// The operands and options of `image rm`.
pub fn rm_command(command: Command) -> Command {
    let command = command
        .about("Remove images, or a tag of an image that has others")
        .long_about(
            "Remove images. A tag of an image that has other tags is only taken from it. An image on which a named \
             jail stands stays.",
        )
        .arg(options::reference(true).num_args(1..).help("The images: tags, digests or DISTRO[:SUITE]"));
    options::preview(command)
}

/// Removes images.
pub fn rm(matches: &ArgMatches, context: &Context) -> Done {
    let references: Vec<Reference> = low::words(matches, "ref")
        .into_iter()
        .map(|word| stored(word, context))
        .collect::<Result<_, _>>()?;
    let shown = low::Shown::read(matches);
    let engine = context.engine(false)?;
    let attempt =
        |reference: &Reference| format!("cannot remove image {}", reference_text(reference));
    let mut removed = Vec::new();
    for reference in &references {
        let plan = engine
            .plan_rm_image(reference)
            .map_err(|error| failed(attempt(reference), error))?;
        if shown != low::Shown::Done {
            context.show(shown, &plan)?;
            continue;
        }
        engine
            .rm_image(&plan, &context.progress)
            .map_err(|error| failed(attempt(reference), error))?;
        removed.push(reference_text(reference));
    }
    if shown != low::Shown::Done {
        return Ok(0);
    }
    context.progress.clear();
    context
        .out
        .did("removed", || json!({ "images": removed }), String::new)
}

/// A REF that can name an image of the store.
fn stored(word: OsString, context: &Context) -> Result<Reference, CommandError> {
    let reference = context.reference(&word)?;
    if let Reference::Directory(_) | Reference::Archive(_) = reference {
        return Err(CommandError::usage(format!(
            "cannot use {} here: it is a path",
            reference_text(&reference)
        ))
        .hint("an image is named by a tag or a digest; jaula image ls lists them"));
    }
    Ok(reference)
}

fn dash(text: &str) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text.to_owned()
    }
}

fn joined<T: ToString>(names: &[T]) -> String {
    dash(
        &names
            .iter()
            .map(T::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    )
}
