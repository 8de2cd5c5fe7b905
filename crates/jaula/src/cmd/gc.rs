//! `jaula gc`: what the store keeps only because it may be of use again, removed.

use crate::args::{limits, low, options, tree};
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::{Done, bytes};
use clap::{Arg, ArgMatches, Command};
use jaula_engine::session::Need;
use jaula_engine::store::{GcPlan, GcSpec};
use serde_json::json;

/// Its options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Remove from the store what nothing needs")
        .long_about(
            "Remove from the store what nothing needs: packages, unpacked packages and indices that no image was made \
             of, what was half fetched, images that no tag, no request and no jail leads to, and names that lead \
             nowhere. With --older-than also what could be used again but was not for so long, and with --keep-bytes as \
             much of that, the longest unused first, until the store is that small. Images with a tag, with a named \
             jail or with something that runs from them stay, and so do packages while an image is being made.",
        )
        .arg(
            Arg::new("keep-bytes")
                .long("keep-bytes")
                .value_name("SIZE")
                .help("Go on until the store has no more than SIZE bytes (k, M, G: units of 1024)"),
        )
        .arg(
            Arg::new("older-than")
                .long("older-than")
                .value_name("DURATION")
                .help("Remove what was not used for DURATION: 30d, 12h"),
        );
    options::preview(command)
}

fn spec(matches: &ArgMatches) -> Result<GcSpec, CommandError> {
    let keep_bytes = matches
        .get_one::<String>("keep-bytes")
        .map(|word| {
            let zero = (word == "0").then_some(0);
            zero.or_else(|| tree::size(word.as_bytes())).ok_or_else(|| {
                CommandError::usage(format!("cannot use {word:?} for --keep-bytes"))
                    .hint("write a number of bytes, with k, M, G or T for units of 1024: 20G")
            })
        })
        .transpose()?;
    Ok(GcSpec {
        keep_bytes,
        older_than: limits::duration(matches, "older-than")?,
    })
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let (shown, spec) = (low::Shown::read(matches), spec(matches)?);
    let engine = context.engine(Some(Need::Users), false)?;
    let explained = |error| failed("cannot collect garbage", error);
    if shown != low::Shown::Done {
        let plan = engine.plan_gc(&spec).map_err(explained)?;
        return context.show(shown, &plan);
    }
    let done = engine.gc(&spec).map_err(explained)?;
    context.progress.clear();
    context.out.did(
        "collected",
        || json!({ "freed": done.freed(), "before": done.before, "removed": done.garbage, "notes": done.notes }),
        || said(&done),
    )
}

fn said(done: &GcPlan) -> String {
    let mut text = String::new();
    for note in &done.notes {
        text.push_str(&format!("{note}\n"));
    }
    let (count, freed) = (done.garbage.len(), bytes(done.freed()));
    let left = bytes(done.before.saturating_sub(done.freed()));
    text.push_str(&match count {
        0 => "nothing to remove".to_owned(),
        _ => format!("removed {count} things; {freed} are free, the store has {left}"),
    });
    text
}
