//! `jaula kill`: a signal for what runs.

use crate::args::{low, options};
use crate::cmd::stop::{names, targets};
use crate::cmd::{Context, failed};
use crate::compat::signals::by_name;
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgMatches, Command};
use serde_json::json;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Send a signal to what runs in jails")
        .long_about(
            "Send a signal to the program of a run in the background, or to every program of a named jail. KILL ends \
             the jail as a whole.",
        )
        .arg(names("The jails and runs, by name or by a process in them"))
        .arg(
            Arg::new("signal")
                .long("signal")
                .short('s')
                .value_name("SIGNAL")
                .help("Signal by name or number [default: KILL]"),
        );
    options::preview(command)
}

/// A signal as kill(1) takes it.
fn signal(word: &str) -> Result<i32, CommandError> {
    let number =
        by_name(word).or_else(|| word.parse().ok().filter(|number| (1..=64).contains(number)));
    number.ok_or_else(|| {
        CommandError::usage(format!("cannot use {word:?} for --signal"))
            .hint("write a name as HUP or SIGHUP, or a number from 1 to 64")
    })
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let signal = signal(low::text(matches, "signal").unwrap_or("KILL"))?;
    let engine = context.engine(None, false)?;
    let targets = targets(matches, &engine, context, "signal")?;
    let shown = low::Shown::read(matches);
    if shown != low::Shown::Done {
        return context.show(shown, &engine.plan_signal(&targets, signal));
    }
    for target in &targets {
        let name = target.name();
        engine
            .signal(target, signal)
            .map_err(|error| failed(format!("cannot signal {name}"), error))?;
    }
    context.progress.clear();
    let names: Vec<_> = targets.iter().map(|target| target.name().clone()).collect();
    context.out.did(
        "signalled",
        || json!({ "jails": names, "signal": signal }),
        String::new,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (word, number) in [
            ("HUP", 1),
            ("sigterm", 15),
            ("9", 9),
            ("64", 64),
            ("kill", 9),
        ] {
            assert_eq!(signal(word).ok(), Some(number));
        }
        for bad in ["", "SIG", "0", "65", "-9", "TERMINATE"] {
            assert!(signal(bad).is_err(), "{bad:?}");
        }
    }
}
