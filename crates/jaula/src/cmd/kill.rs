//! `jaula kill`: a signal for what runs.

use crate::args::{low, options};
use crate::cmd::stop::{names, targets};
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgMatches, Command};
use serde_json::json;

/// The signals of signal(7) that have a number of their own everywhere we run.
const SIGNALS: [(&str, i32); 30] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("SYS", 31),
];

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
    let upper = word.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = SIGNALS.iter().find(|(name, _)| *name == bare);
    let number = named
        .map(|(_, number)| *number)
        .or_else(|| word.parse().ok().filter(|number| (1..=64).contains(number)));
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
