//! `jaula new --from-trace` and `jaula new --trace`: jails of what a program was seen to use.

use crate::args::{high, low, options};
use crate::cmd::trace::{code, inside, outside, read, tell, tell_difference, time};
use crate::cmd::{Context, trace};
use crate::error::CommandError;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::minimal::Wanted;
use jaula_engine::trace::{difference, wanted, write_file};
use jaula_plan::names::JailName;
use jaula_plan::trace::Trace;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The heading of these options.
const HEADING: &str = "Options for what a program uses";

/// The options of `new`.
pub fn options(command: Command) -> Command {
    command
        .next_help_heading(HEADING)
        .args([
            Arg::new("from-trace")
                .long("from-trace")
                .value_name("FILE")
                .action(ArgAction::Append)
                .value_parser(value_parser!(OsString))
                .value_hint(ValueHint::FilePath)
                .conflicts_with_all(["from", "empty", "with"])
                .help("Make it of what jaula trace has seen; given often, of all together"),
            Arg::new("trace")
                .long("trace")
                .action(ArgAction::SetTrue)
                .requires("command")
                .conflicts_with_all(["from", "empty", "with", "plan", "explain"])
                .help("Run COMMAND, make a jail of what it uses, and run it there to see what is missing"),
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("FILE")
                .value_parser(value_parser!(OsString))
                .value_hint(ValueHint::FilePath)
                .requires("trace")
                .help("Write down what was seen, too"),
            trace::duration().requires("trace"),
        ])
        .arg(options::program("The program of --trace").requires("trace"))
        .next_help_heading(None::<&str>)
}

/// What was seen, when that is what the jail is to be made of.
pub struct Seen {
    /// What is wanted of the host.
    pub wanted: Wanted,
    trace: Trace,
    /// Whether the program is run in the jail too.
    pub again: bool,
}

/// Reads the traces, or runs the program.
///
/// # Errors
/// When a trace cannot be read, or the program not be watched.
pub fn seen(matches: &ArgMatches, context: &Context) -> Result<Option<Seen>, CommandError> {
    let files: Vec<PathBuf> = low::words(matches, "from-trace")
        .into_iter()
        .map(PathBuf::from)
        .collect();
    let again = matches.get_flag("trace");
    if files.is_empty() && !again {
        return Ok(None);
    }
    crate::cmd::run::only_for_distros(matches, None)?;
    let mut all = Trace::default();
    for file in &files {
        all.merge(read(file)?);
    }
    if again {
        let watched = outside(context, low::words(matches, "command"), time(matches)?)?;
        context.progress.clear();
        if code(watched.status) != 0 {
            tell(
                context,
                &format!("the program ended with {}", code(watched.status)),
            );
        }
        all.merge(watched.trace);
        if let Some(file) = matches.get_one::<OsString>("output") {
            write_file(Path::new(file), &all).map_err(|error| {
                CommandError::failed("cannot write down what was seen").because(error)
            })?;
        }
    }
    let (wanted, gone) = wanted(&all, matches.get_flag("secrets"));
    for path in gone {
        tell(
            context,
            &format!(
                "not on this host any more, and left out: {}",
                path.display()
            ),
        );
    }
    Ok(Some(Seen {
        wanted,
        trace: all,
        again,
    }))
}

/// Runs the program in the jail, and tells what it missed there; whether it missed nothing.
///
/// # Errors
/// When it cannot be watched there.
pub fn tried(
    matches: &ArgMatches,
    context: &Context,
    name: &JailName,
    seen: &Seen,
) -> Result<bool, CommandError> {
    let watched = inside(
        context,
        name,
        low::words(matches, "command"),
        time(matches)?,
        high::own_environment(),
    )?;
    let found = difference(&seen.trace, &watched.trace);
    tell_difference(context, name, &found);
    let code = code(watched.status);
    if code != 0 {
        tell(
            context,
            &format!("in jail {name} the program ended with {code}"),
        );
    }
    Ok(found.is_empty())
}
