//! `jaula stop`: what runs is told to end.

use crate::args::{limits, low, options};
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgMatches, Command};
use jaula_engine::Engine;
use jaula_engine::detached::Target;
use serde_json::json;
use std::time::Duration;

/// How long a jail has when nothing is said.
const TIME: Duration = Duration::from_secs(10);

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("End what runs in jails")
        .long_about(
            "Tell jails to end: every program of a named jail, or the program of a run in the background, is sent \
             SIGTERM; what has not ended in time is killed. Returns when it has ended.",
        )
        .arg(names("The jails and runs, by name or by a process in them"))
        .arg(
            Arg::new("time")
                .long("time")
                .short('t')
                .value_name("DURATION")
                .help("Kill it after DURATION [default: 10s]"),
        );
    options::preview(command)
}

/// NAME|PID…
pub fn names(help: &'static str) -> Arg {
    Arg::new("name")
        .value_name("NAME|PID")
        .required(true)
        .num_args(1..)
        .help(help)
}

/// What the operands name.
///
/// # Errors
/// When one names nothing that runs.
pub fn targets(
    matches: &ArgMatches,
    engine: &Engine,
    context: &Context,
    verb: &str,
) -> Result<Vec<Target>, CommandError> {
    let words = matches.get_many::<String>("name").into_iter().flatten();
    let found = words.map(|word| {
        let target = engine.target(word, &context.progress);
        target.map_err(|error| failed(format!("cannot {verb} {word:?}"), error))
    });
    found.collect()
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let time = limits::duration(matches, "time")?.unwrap_or(TIME);
    // Outside of a session: its owner may signal what is in any of them.
    let engine = context.engine(None, false)?;
    let targets = targets(matches, &engine, context, "stop")?;
    let shown = low::Shown::read(matches);
    if shown != low::Shown::Done {
        return context.show(shown, &engine.plan_stop(&targets, time));
    }
    let mut ended = Vec::new();
    for target in &targets {
        let name = target.name();
        let willing = engine
            .stop(target, time)
            .map_err(|error| failed(format!("cannot stop {name}"), error))?;
        ended.push(json!({ "name": name, "killed": !willing }));
    }
    context.progress.clear();
    context
        .out
        .did("stopped", || json!({ "jails": ended }), String::new)
}
