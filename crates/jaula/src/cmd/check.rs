//! `jaula check`: what is wrong with a jail's content, or, from inside, what leads out of it.

use crate::args::{high, low, options};
use crate::cmd::{Context, failed, run};
use crate::error::CommandError;
use crate::output::{Done, clean};
use clap::{Arg, ArgAction, ArgMatches, Command};
use jaula_engine::minimal::{CheckTarget, ContentCheck};
use jaula_engine::{Finding, Verdict};
use jaula_plan::explain::shown;
use jaula_plan::names::JailName;
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Look for what is wrong with a jail, or try what leads out of it")
        .long_about(
            "Look at the content of the named jail REF, or of the jail in the directory REF: set-id files and file \
             capabilities, places that others can write, devices, files that are not what was placed, that are missing or \
             that the host has otherwise now, programs that do not find their libraries, accounts that are not the \
             host's, ways out to the host, and what could not be looked at. One line a fault; the exit code is 1 when there is one. With --from-inside \
             start a jail as `jaula run` would with the same options, or join the named jail REF, and try inside, without \
             doing harm, what hostile programs try: one line a probe, held, OPEN, or - where it cannot be tried; the exit \
             code is 1 when anything is open.",
        )
        .after_help(
            "Examples:\n  \
             jaula check web\n  \
             jaula check /srv/jail --fix\n  \
             jaula check --from-inside\n  \
             jaula check --from-inside debian:bookworm --net host\n  \
             jaula check --from-inside web",
        )
        .arg(options::reference(false).required_unless_present("from-inside"))
        .arg(
            Arg::new("from-inside")
                .long("from-inside")
                .action(ArgAction::SetTrue)
                .help("Attack from inside"),
        )
        .arg(
            Arg::new("fix")
                .long("fix")
                .action(ArgAction::SetTrue)
                .conflicts_with("from-inside")
                .help("Take away set-id bits, file capabilities, and that others can write"),
        )
        .arg(
            Arg::new("login")
                .long("login")
                .action(ArgAction::SetTrue)
                .conflicts_with("ref")
                .requires("from-inside")
                .help("The jail that a login of the calling user gets"),
        );
    run::jail_options(command)
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    if !matches.get_flag("from-inside") {
        return content(matches, context);
    }
    if matches.get_flag("login") {
        let engine = context.engine(None, false)?;
        let findings = engine
            .check_login()
            .map_err(|error| failed("cannot check the jail of a login", error))?;
        return show(&findings, context);
    }
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

/// A word with a slash is a directory, any other one a named jail.
///
/// # Errors
/// When it is neither.
pub fn target(word: &OsStr, context: &Context) -> Result<CheckTarget, CommandError> {
    if word.as_bytes().contains(&b'/') || word == "." {
        let path = context.around.absolute(word.as_ref())?;
        let clean: std::path::PathBuf = path.components().collect();
        let dotted = clean
            .components()
            .any(|part| part == std::path::Component::ParentDir);
        if dotted || !clean.is_dir() {
            return Err(CommandError::failed(format!(
                "{} is no directory",
                shown(&clean)
            )));
        }
        return Ok(CheckTarget::Directory(clean));
    }
    let name = word.to_str().unwrap_or_default();
    Ok(CheckTarget::Named(low::parse::<JailName>(
        "the name of a jail",
        name,
    )?))
}

fn content(matches: &ArgMatches, context: &Context) -> Done {
    let word = matches
        .get_one::<OsString>("ref")
        .cloned()
        .unwrap_or_default();
    let target = target(&word, context)?;
    let attempt = format!("cannot check {}", word.display());
    let explained = |error| failed(attempt.clone(), error);
    let engine = context.engine(None, true)?;
    let mut check = engine.check_content(&target).map_err(explained)?;
    let mut fixed = 0;
    if matches.get_flag("fix") {
        fixed = engine.fix_content(&check).map_err(explained)?;
        if fixed > 0 {
            check = engine.check_content(&target).map_err(explained)?;
        }
    }
    context.out.result(
        "content-check",
        || {
            json!({
                "faults": check.faults,
                "unlisted": check.unlisted,
                "looked": check.looked,
                "recorded": check.recorded,
                "fixed": fixed,
            })
        },
        || lines(&check, fixed),
    )?;
    Ok(u8::from(!check.faults.is_empty()))
}

fn lines(check: &ContentCheck, fixed: usize) -> String {
    let mut text = String::new();
    for fault in &check.faults {
        let line = format!("{:<10}  {} {}", fault.kind, shown(&fault.path), fault.text);
        text.push_str(&clean(&line));
        text.push('\n');
    }
    if fixed > 0 {
        text.push_str(&format!("{fixed} fixed\n"));
    }
    if !check.recorded {
        text.push_str(
            "note: there is no record of what was placed, so nothing is compared with it\n",
        );
    }
    if check.unlisted > 0 {
        text.push_str(&format!("{} more are not listed\n", check.unlisted));
    }
    let listed = u64::try_from(check.faults.len()).unwrap_or(u64::MAX);
    let (faults, looked) = (listed.saturating_add(check.unlisted), check.looked);
    text.push_str(&match faults {
        0 => format!("nothing is wrong: {looked} files and directories\n"),
        1 => "1 fault\n".to_owned(),
        _ => format!("{faults} faults\n"),
    });
    text
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
