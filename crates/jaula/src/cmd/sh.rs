//! `jaula sh`: an interactive shell in a named jail.

use crate::args::{limits, options, protection};
use crate::cmd::{Context, exec};
use crate::output::Done;
use clap::{ArgMatches, Command};

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Start an interactive shell in a named jail")
        .long_about("Start the user's shell in a named jail, on a terminal of its own.")
        .arg(exec::name())
        // `exec` without a command is a shell; the operand is there so that both read the same matches.
        .arg(options::program("Program and arguments").hide(true));
    protection::program(limits::options(options::process(options::preview(command))))
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    exec::run(matches, context)
}
