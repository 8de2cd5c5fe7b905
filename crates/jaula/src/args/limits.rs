//! Limits, as options and as typed.

use crate::args::low::{parse, text};
use crate::error::CommandError;
use clap::{Arg, ArgAction, ArgMatches, Command};
use jaula_engine::{DetachSpec, Reached};
use jaula_plan::spec::limits::{Limit, LimitError, Limits, parse_duration};
use std::time::Duration;

/// `--limit`, `--best-effort`, `--timeout` and `--kill-after`.
pub fn options(command: Command) -> Command {
    let command = command.next_help_heading("Limits").args([
        Arg::new("limit")
            .long("limit")
            .value_name("KEY=VALUE,…")
            .action(ArgAction::Append)
            .help("Use at most so much: memory=64M,pids=20,cpu=1.5,files=256,…")
            .long_help(
                "Use at most so much. Of the whole jail: memory=SIZE, swap=SIZE, cpu=CPUS or PERCENT%, cpu-weight=N, \
                 cpus=LIST, pids=N, io-read=DEVICE:SIZE and io-write=DEVICE:SIZE (a second), io-weight=N, time=DURATION. \
                 Of each process: files=N, file-size=SIZE, core=SIZE, stack=SIZE, data=SIZE, cpu-time=DURATION, nice=N; \
                 processes=N, which its user may have. SIZE is bytes, or a number with K, M, G or T; DURATION a number with ms, s, m, h or d",
            ),
        Arg::new("timeout")
            .long("timeout")
            .value_name("DURATION")
            .help("End it after DURATION; the exit code is 124 then (the same as --limit time=)"),
        Arg::new("kill-after")
            .long("kill-after")
            .value_name("DURATION")
            .help("Kill what has not ended so long after that [default: 10s]"),
    ]);
    best_effort(command)
}

/// `--detach` and what belongs to it.
pub fn detach(command: Command) -> Command {
    command.next_help_heading("Background").args([
        Arg::new("detach")
            .long("detach")
            .short('d')
            .action(ArgAction::SetTrue)
            .conflicts_with("as-pid-1")
            .help("Go on in the background, without input; print the name of the run"),
        Arg::new("name")
            .long("name")
            .value_name("NAME")
            .requires("detach")
            .help("Call the run NAME, for logs, stop, wait and stats [default: made up]"),
        Arg::new("no-log")
            .long("no-log")
            .action(ArgAction::SetTrue)
            .requires("detach")
            .help("Keep nothing of what it writes"),
    ])
}

/// Whether the run goes on in the background; never for verbs that do not have the option.
///
/// # Errors
/// When its name is none.
pub fn detached(matches: &ArgMatches) -> Result<Option<DetachSpec>, CommandError> {
    let asked = |name| matches!(matches.try_get_one::<bool>(name), Ok(Some(true)));
    if !asked("detach") {
        return Ok(None);
    }
    Ok(Some(DetachSpec {
        name: text(matches, "name")
            .map(|word| parse("--name", word))
            .transpose()?,
        logged: !asked("no-log"),
    }))
}

/// `--best-effort`, once.
pub fn best_effort(command: Command) -> Command {
    if command
        .get_arguments()
        .any(|known| known.get_id() == "best-effort")
    {
        return command;
    }
    command.arg(
        Arg::new("best-effort")
            .long("best-effort")
            .action(ArgAction::SetTrue)
            .help("Leave out, aloud, what this host cannot hold, instead of refusing"),
    )
}

/// A duration of an option.
///
/// # Errors
/// When it is none.
pub fn duration(matches: &ArgMatches, name: &str) -> Result<Option<Duration>, CommandError> {
    text(matches, name)
        .map(|word| {
            parse_duration(word).map_err(|why| {
                CommandError::usage(format!("cannot use {word:?} for --{name}: {why}"))
            })
        })
        .transpose()
}

/// The limits that were typed.
///
/// # Errors
/// When one is not in its form.
pub fn limits(matches: &ArgMatches) -> Result<Limits, CommandError> {
    let mut limits = Limits::default();
    for word in matches.get_many::<String>("limit").into_iter().flatten() {
        limits.add(word).map_err(|error| {
            let form = matches!(error, LimitError::Form { .. });
            let refused =
                CommandError::usage(format!("cannot use {word:?} for --limit")).because(error);
            match form {
                true => refused.hint("write KEY=VALUE, several with commas: memory=64M,pids=20"),
                false => refused,
            }
        })?;
    }
    if let Some(time) = duration(matches, "timeout")? {
        limits.set(Limit::Time(time));
    }
    if let Some(time) = duration(matches, "kill-after")? {
        limits.kill_after = time;
    }
    limits.best_effort = matches.get_flag("best-effort");
    Ok(limits)
}

/// What a program that was ended by a limit is told of it.
pub fn reached(reached: Reached, enforced: &serde_json::Value) -> Vec<String> {
    let limits = enforced.get("limits").and_then(serde_json::Value::as_array);
    let named = |key: &str| {
        let limits = limits.into_iter().flatten();
        let texts = limits.filter_map(|held| held.get("limit")?.as_str());
        texts
            .filter(|text| text.split('=').next() == Some(key))
            .map(str::to_owned)
            .next()
            .unwrap_or_else(|| key.to_owned())
    };
    match reached {
        Reached::Time => vec![format!("it was ended: its time was up ({})", named("time"))],
        Reached::Memory { killed } => vec![format!(
            "the kernel killed {killed} of its processes: it was out of memory ({})",
            named("memory")
        )],
    }
}
