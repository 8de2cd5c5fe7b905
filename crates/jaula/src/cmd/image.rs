//! `jaula image`: the images of the store.

use crate::args::{low, options};
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::{Done, Table, bytes, facts};
use clap::{ArgMatches, Command};
use jaula_engine::session::Need;
use jaula_engine::view::reference_text;
use jaula_engine::{Engine, ImageInfo};
use jaula_plan::spec::rootfs::Reference;
use serde_json::json;
use std::ffi::OsString;

/// The operands and options of `image ls`.
pub fn ls_command(command: Command) -> Command {
    command.about("List the images, newest first")
}

/// Lists the images.
pub fn ls(_matches: &ArgMatches, context: &Context) -> Done {
    let engine = context.engine(None, false)?;
    let images = engine
        .images(&context.progress)
        .map_err(|error| failed("cannot list the images", error))?;
    context.out.result(
        "images",
        || json!({ "images": images }),
        || {
            let mut table = Table::new(&[
                "FROM", "TAGS", "DIGEST", "ARCH", "VARIANT", "PACKAGES", "SIZE",
            ]);
            for image in &images {
                let digest = short_digest(image);
                let tags = joined(&image.tags);
                let variant = dash(&image.variant);
                let from = from(image);
                table.row([
                    &from,
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
    let engine = context.engine(None, false)?;
    let reference = meant(&engine, reference, context)?;
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
    let engine = context.engine(Some(Need::Users), false)?;
    let attempt =
        |reference: &Reference| format!("cannot remove image {}", reference_text(reference));
    let mut removed = Vec::new();
    for typed in references {
        let reference = &meant(&engine, typed, context)?;
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

/// What a REF names that the store does not know by it: the start of a digest, or a distribution of which it has
/// one image, however that was made. Anything else stays what it is.
///
/// # Errors
/// When several images are named.
pub fn meant(
    engine: &Engine,
    reference: Reference,
    context: &Context,
) -> Result<Reference, CommandError> {
    let short = match &reference {
        Reference::Tag(tag) => {
            let tag = tag.as_str();
            let hex = tag.len() >= SHORTEST && tag.bytes().all(|b| b.is_ascii_hexdigit());
            Some(tag.to_ascii_lowercase()).filter(|_| hex)
        }
        Reference::Distro { .. } => None,
        _ => return Ok(reference),
    };
    if matches!(reference, Reference::Tag(_)) && short.is_none() {
        return Ok(reference);
    }
    let attempt = || format!("cannot look for image {}", reference_text(&reference));
    let explained = |error| failed(attempt(), error);
    if engine.find(&reference).map_err(explained)?.is_some() {
        return Ok(reference);
    }
    let fits = |image: &ImageInfo| match (&reference, &short) {
        (_, Some(start)) => image.digest.to_string().starts_with(start),
        (Reference::Distro { distro, suite }, _) => {
            let same = suite
                .as_ref()
                .is_none_or(|suite| suite.as_str() == image.suite);
            distro.as_str() == image.distro && same
        }
        _ => false,
    };
    let images = engine.images(&context.progress).map_err(explained)?;
    let found: Vec<&ImageInfo> = images.iter().filter(|image| fits(image)).collect();
    match found.as_slice() {
        [] => Ok(reference),
        [only] => Ok(Reference::Digest(only.digest)),
        several => {
            let digests = several
                .iter()
                .take(8)
                .map(|image| short_digest(image))
                .collect::<Vec<_>>();
            Err(CommandError::usage(format!(
                "cannot tell which image {} is",
                reference_text(&reference)
            ))
            .hint(format!("name it by its digest: {}", digests.join(", "))))
        }
    }
}

/// The least digits of a digest that name an image.
const SHORTEST: usize = 6;

fn short_digest(image: &ImageInfo) -> String {
    image.digest.to_string().chars().take(12).collect()
}

/// The distribution and suite, or what else it came from.
fn from(image: &ImageInfo) -> String {
    if image.suite.is_empty() {
        dash(&image.distro)
    } else {
        format!("{}:{}", image.distro, image.suite)
    }
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
