//! `jaula new --from-trace` and `jaula new --trace`: jails of what a program was seen to use.

use crate::args::{high, low, options};
use crate::cmd::trace::{code, inside, outside, read, tell, tell_difference, tell_unseen, time};
use crate::cmd::{Context, trace};
use crate::error::CommandError;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::minimal::Wanted;
use jaula_engine::trace::{Tried, Watched, difference, wanted, write_file};
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
    /// The exit code of the program outside.
    code: u8,
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
    let mut ended = 0;
    for file in &files {
        all.merge(read(file)?);
    }
    if again {
        let watched = outside(
            context,
            low::words(matches, "command"),
            time(matches)?,
            false,
        )?;
        context.progress.clear();
        tell_unseen(context, &watched);
        ended = code(watched.status);
        if ended != 0 {
            tell(context, &format!("the program ended with {ended}"));
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
        code: ended,
        again,
    }))
}

/// Runs the program in the jail under the protections that the trace proposes, and tells what it missed and what was refused
/// to it there; whether that changed nothing.
///
/// # Errors
/// When it cannot be watched there.
pub fn tried(
    matches: &ArgMatches,
    context: &Context,
    name: &JailName,
    seen: &Seen,
) -> Result<bool, CommandError> {
    let profile = seen.trace.profile("what was seen").map_err(|error| {
        CommandError::failed("cannot make a profile of what was seen").because(error)
    })?;
    let protected = Tried {
        profile: Some(profile),
        landlock: seen.trace.landlock(),
    };
    let run = |tried: &Tried| -> Result<Watched, CommandError> {
        let command = low::words(matches, "command");
        let env = high::own_environment();
        inside(context, name, command, time(matches)?, env, tried)
    };
    let watched = run(&protected)?;
    let mut found = difference(&seen.trace, &watched.trace);
    found.refused = watched.refused.into_iter().collect();
    tell_difference(context, name, &found);
    let ended = code(watched.status);
    if ended != 0 {
        tell(
            context,
            &format!("in jail {name} the program ended with {ended}"),
        );
    }
    if !found.is_empty() || ended == seen.code {
        return Ok(found.is_empty());
    }
    // Nothing is missing, and yet it ended otherwise: it may be what it was not allowed.
    let free = code(run(&Tried::default())?.status);
    if free == seen.code {
        tell(
            context,
            &format!(
                "without the calls and the landlock rules that the trace lists it ended with {free}: they are too few"
            ),
        );
    }
    Ok(false)
}
