//! `jaula ls`: the named jails.

use crate::cmd::{Context, failed};
use crate::output::{Done, Table};
use clap::{ArgMatches, Command};
use serde_json::json;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    command
        .about("List the named jails")
        .long_about("List the named jails: what each was made from, its network, and its first process when it runs.")
}

/// Does it.
pub fn run(_matches: &ArgMatches, context: &Context) -> Done {
    let engine = context.engine(None, false)?;
    let jails = engine
        .jails(&context.progress)
        .map_err(|error| failed("cannot list the jails", error))?;
    context.out.result(
        "jails",
        || json!({ "jails": jails }),
        || {
            let mut table = Table::new(&["NAME", "FROM", "NET", "PID"]);
            for jail in &jails {
                let pid = jail
                    .pid
                    .map_or_else(|| "-".to_owned(), |pid| pid.to_string());
                table.row([&jail.name, &jail.from, &jail.net, &pid]);
            }
            table.text()
        },
    )
}
