//! `jaula help`: the help text of jaula or of a verb.

use crate::args::low;
use crate::args::nearest::nearest;
use crate::cmd::{Context, GROUPS, VERBS, group, tree};
use crate::error::CommandError;
use crate::output::{Done, write_stdout};
use clap::{Arg, ArgMatches, Command, value_parser};
use std::ffi::OsString;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    command.about("Print help, of a verb if one is named").arg(
        Arg::new("verb")
            .value_name("VERB")
            .num_args(0..=3)
            .value_parser(value_parser!(OsString))
            .help("The verb"),
    )
}

/// Does it.
pub fn run(matches: &ArgMatches, _context: &Context) -> Done {
    write_stdout(&text(&low::words(matches, "verb"))?)
}

/// The help text of jaula (no words), of a group, or of a verb.
///
/// # Errors
/// When the words name none.
pub fn text(words: &[OsString]) -> Result<String, CommandError> {
    if words.is_empty() {
        return Ok(tree().render_help().to_string());
    }
    let mut command = find(words)?;
    // A group has nothing more to say at length.
    let long = !command.has_subcommands();
    Ok(if long {
        command.render_long_help()
    } else {
        command.render_help()
    }
    .to_string())
}

/// The command that the words name.
///
/// # Errors
/// When they name none.
pub fn find(words: &[OsString]) -> Result<Command, CommandError> {
    let name = words
        .iter()
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    if let Some(verb) = VERBS.iter().find(|verb| verb.name == name) {
        return Ok(verb.build());
    }
    if let Some((group_name, about)) = GROUPS.iter().find(|(group, _)| *group == name) {
        return Ok(group(group_name, about));
    }
    let error = CommandError::usage(format!("cannot explain {name:?}: jaula has no such verb"));
    Err(match nearest(&name, VERBS.iter().map(|verb| verb.name)) {
        Some(meant) => error.hint(format!("did you mean jaula help {meant}?")),
        None => error.hint("jaula help lists the verbs"),
    })
}
