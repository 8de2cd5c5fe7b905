//! `jaula finish`: what was unpacked only is configured.

use crate::args::{low, options};
use crate::cmd::{Context, failed, session_for};
use crate::output::Done;
use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::{FinishSpec, Finished};
use jaula_plan::explain::shown;
use jaula_plan::names::{JailName, Tag};
use serde_json::json;
use std::ffi::OsString;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Configure what `build --foreign` unpacked only")
        .long_about(
            "Run the scripts that `jaula build --foreign` left: of the image that a jail of this name stands on, of an \
             image, or of a directory. An image becomes a new one, the one that a build without --foreign makes; a \
             directory is finished in place. The programs of its architecture have to run here.",
        )
        .after_help(
            "Examples:\n  \
             jaula build debian --arch arm64 --foreign -o tree   # anywhere\n  \
             jaula finish ./tree                                 # where arm64 programs run",
        )
        .arg(
            Arg::new("what")
                .value_name("NAME|DIR|REF")
                .required(true)
                .value_parser(value_parser!(OsString))
                .value_hint(ValueHint::AnyPath)
                .help("A named jail, a directory (with a slash), a tag or a digest"),
        )
        .arg(
            Arg::new("tag")
                .long("tag")
                .value_name("TAG")
                .help("Give the finished image a tag"),
        );
    options::preview(command)
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let word = matches
        .get_one::<OsString>("what")
        .cloned()
        .unwrap_or_default();
    let tag = low::text(matches, "tag")
        .map(|tag| low::parse::<Tag>("--tag", tag))
        .transpose()?;
    let preview = low::Shown::read(matches);
    let reference = context.reference(&word)?;
    let attempt = format!("cannot finish {}", word.display());
    let session = session_for(Some(&reference));
    let engine = context.engine(session, false)?;
    let name = word.to_str().and_then(|word| word.parse::<JailName>().ok());
    let spec = match name {
        Some(name) if engine.jail(&name).is_ok() => FinishSpec::Jail(name),
        _ => FinishSpec::Reference(reference),
    };
    let plan = engine
        .plan_finish(&spec)
        .map_err(|error| failed(attempt.clone(), error))?;
    if preview != low::Shown::Done {
        return context.show(preview, &plan);
    }
    let made = engine
        .finish(&plan, tag.as_slice(), &context.progress)
        .map_err(|error| failed(attempt.clone(), error))?;
    context.progress.clear();
    let (digest, path) = match &made {
        Finished::Image(image) => (Some(image.digest()), None),
        Finished::Directory(path) => (None, Some(shown(path))),
    };
    context.out.did(
        "finished",
        || json!({ "digest": digest, "path": path, "tag": tag }),
        || match (digest, &path) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, path) => path.clone().unwrap_or_default(),
        },
    )
}
