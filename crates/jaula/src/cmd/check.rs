//! `jaula check`: a jail attacks itself, and says what held.

use crate::args::{high, low, options};
use crate::cmd::{Context, failed, run};
use crate::error::CommandError;
use crate::output::{Done, clean};
use clap::{Arg, ArgAction, ArgMatches, Command};
use jaula_engine::{Finding, Verdict};
use jaula_plan::names::JailName;
use serde_json::json;
use std::ffi::OsString;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Try from inside what leads out of a jail, and say what held")
        .long_about(
            "Start a jail as `jaula run` would with the same options, or join the named jail NAME, and try inside, \
             without doing harm, what hostile programs try: other roots, other processes, devices, settings of the \
             kernel, dangerous system calls by both entries. One line a probe: held, OPEN, or - where it cannot be \
             tried. The exit code is 1 when anything is open.",
        )
        .after_help(
            "Examples:\n  \
             jaula check --from-inside\n  \
             jaula check --from-inside debian:bookworm --net host\n  \
             jaula check --from-inside web",
        )
        .arg(options::reference(false))
        .arg(
            Arg::new("from-inside")
                .long("from-inside")
                .action(ArgAction::SetTrue)
                .required(true)
                .help("Attack from inside"),
        );
    run::jail_options(command)
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let findings = match named(matches, context)? {
        Some(findings) => findings,
        None => {
            let (engine, plan, attempt) = run::planned(matches, context, low::Shown::Done)?;
            engine
                .check_run(&plan, &context.progress)
                .map_err(|error| attempt.failed(error))?
        }
    };
    show(&findings, context)
}

/// The findings of a named jail, when REF is the name of one.
fn named(matches: &ArgMatches, context: &Context) -> Result<Option<Vec<Finding>>, CommandError> {
    let word = matches
        .get_one::<OsString>("ref")
        .and_then(|word| word.to_str());
    let Some(name) = word.and_then(|word| word.parse::<JailName>().ok()) else {
        return Ok(None);
    };
    // Outside the session, as exec does it.
    let engine = context.engine(None, false)?;
    if engine.jail(&name).is_err() {
        return Ok(None);
    }
    let attempt = format!("cannot check jail {name}");
    let explained = |error| failed(attempt.clone(), error);
    let spec = high::exec_spec(&low::process(matches)?, Default::default());
    let plan = engine.plan_exec(&name, &spec).map_err(explained)?;
    engine.check_jail(&plan).map(Some).map_err(explained)
}

fn show(findings: &[Finding], context: &Context) -> Done {
    let count = |verdict| findings.iter().filter(|f| f.verdict == verdict).count();
    let (held, open, absent) = (
        count(Verdict::Held),
        count(Verdict::Open),
        count(Verdict::Absent),
    );
    context.out.result(
        "check",
        || json!({ "findings": findings, "held": held, "open": open, "absent": absent }),
        || {
            let width = findings.iter().map(|f| f.probe.len()).max().unwrap_or(0);
            let mut text = String::new();
            for finding in findings {
                let mark = match finding.verdict {
                    Verdict::Held => "held",
                    Verdict::Open => "OPEN",
                    Verdict::Absent => "-   ",
                };
                text.push_str(&format!(
                    "{mark}  {:<width$}  {}\n",
                    finding.probe,
                    clean(&finding.found)
                ));
            }
            text.push_str(&match open {
                0 => format!("all held: {held} probes\n"),
                _ => format!("{open} of {} open\n", held + open),
            });
            text
        },
    )?;
    Ok(u8::from(open > 0))
}
