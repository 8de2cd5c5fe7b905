//! `jaula locale`: locales of a named jail, or of a tree.

use crate::args::{low, options};
use crate::cmd::pkg::{self, engine, origin, read_origin, read_target};
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::Done;
use clap::{ArgMatches, Command};
use jaula_engine::{Dry, EngineError};
use jaula_plan::settings::locale::Locale;
use serde_json::json;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Set locales of a named jail")
        .long_about(
            "Generate locales in the jail NAME and make the first of them the default one. What they take is installed \
             first, from where the jail's image came from: the package locales, and the language packs where the \
             distribution has some.",
        )
        .after_help("Examples:\n  jaula locale web es_ES.UTF-8\n  jaula locale web es_AR.UTF-8 en_US.UTF-8 --plan");
    let command = pkg::target(command, "NAME LOCALE", "The jail, and locales: es_ES.UTF-8");
    origin(options::preview(command))
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let (target, words) = read_target(matches, context)?;
    let mut locales = Vec::new();
    for word in &words {
        let locale = Locale::parse(word).map_err(|_| {
            CommandError::usage(format!("cannot use {word:?} as a locale"))
                .hint("write it as es_ES.UTF-8")
        })?;
        locales.push(locale.to_string());
    }
    if locales.is_empty() {
        return Err(CommandError::usage("cannot set locales: none is named")
            .hint("write jaula locale NAME es_ES.UTF-8"));
    }
    let origin = read_origin(matches, context)?;
    let shown = low::Shown::read(matches);
    let attempt = format!("cannot set locales of {}", target.shown());
    let explained = |error: EngineError| failed(attempt.clone(), error);
    let engine = engine(context, &target, matches.get_flag("offline"))?;
    let dry = match shown {
        low::Shown::Done => Dry::MayCache,
        _ => Dry::ReadOnly,
    };
    let plan = engine
        .plan_locale(&target, &origin, &locales, &context.progress, dry)
        .map_err(explained)?;
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    engine.locale(&plan, &context.progress).map_err(explained)?;
    context.progress.clear();
    context.out.did(
        "locales",
        || json!({ "locales": locales }),
        || locales.join("\n"),
    )
}
