//! `jaula completions`: what a shell needs to complete jaula's words.

use crate::cmd::{Context, tree};
use crate::error::CommandError;
use crate::output::{Done, write_stdout_bytes};
use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    command
        .about("Print completions for a shell")
        .after_help(
            "Examples:\n  \
             jaula completions bash > /etc/bash_completion.d/jaula\n  \
             jaula completions zsh > ~/.zfunc/_jaula\n  \
             jaula completions fish > ~/.config/fish/completions/jaula.fish",
        )
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(value_parser!(Shell))
                .help("The shell"),
        )
}

/// Does it.
pub fn run(matches: &ArgMatches, _context: &Context) -> Done {
    let Some(shell) = matches.get_one::<Shell>("shell").copied() else {
        return Err(CommandError::usage(
            "cannot start jaula completions: SHELL is missing",
        ));
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree(), "jaula", &mut script);
    write_stdout_bytes(&script)
}
