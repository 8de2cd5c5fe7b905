//! `jaula cp`: files into and out of a named jail.

use crate::args::low::{self, Copy};
use crate::args::options;
use crate::cmd::{Context, failed};
use crate::output::Done;
use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::EngineError;
use serde_json::json;
use std::ffi::OsString;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let operand = |name: &'static str, shown: &'static str, help: &'static str| {
        Arg::new(name)
            .value_name(shown)
            .value_parser(value_parser!(OsString))
            .value_hint(ValueHint::AnyPath)
            .required(true)
            .help(help)
    };
    let command = command
        .about("Copy files into or out of a named jail")
        .long_about(
            "Copy a file or a whole directory. Exactly one operand is NAME:PATH, a path inside the jail NAME; no link \
             inside the jail leads the copy out of it.",
        )
        .after_help("Examples:\n  jaula cp site web:/var/www\n  jaula cp web:/var/log/nginx/error.log .")
        .arg(operand("from", "SRC", "What to copy: a path, or NAME:PATH"))
        .arg(operand("to", "DST", "Where to: a path, or NAME:PATH"));
    options::preview(command)
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let word = |name: &str| {
        matches
            .get_one::<OsString>(name)
            .cloned()
            .unwrap_or_default()
    };
    let (from, to) = (word("from"), word("to"));
    let copy = low::copy(&from, &to)?;
    let shown = low::Shown::read(matches);
    let attempt = format!(
        "cannot copy {} to {}",
        from.to_string_lossy(),
        to.to_string_lossy()
    );
    let explained = |error: EngineError| failed(attempt.clone(), error);
    let copy = match copy {
        Copy::In { from, name, to } => Copy::In {
            from: context.around.absolute(&from)?,
            name,
            to,
        },
        Copy::Out { name, from, to } => Copy::Out {
            name,
            from,
            to: context.around.absolute(&to)?,
        },
    };
    // Outside the session: a jail that runs is joined from there.
    let engine = context.engine(None, false)?;
    let plan = match &copy {
        Copy::In { from, name, to } => engine.plan_copy_in(name, from, to),
        Copy::Out { name, from, to } => engine.plan_copy_out(name, from, to),
    }
    .map_err(explained)?;
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    match &copy {
        Copy::In { .. } => engine.copy_in(&plan, &context.progress),
        Copy::Out { .. } => engine.copy_out(&plan, &context.progress),
    }
    .map_err(explained)?;
    context.progress.clear();
    context.out.did(
        "copied",
        || json!({ "from": from.to_string_lossy(), "to": to.to_string_lossy() }),
        // As cp(1): silence is success.
        String::new,
    )
}
