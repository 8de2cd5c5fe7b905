//! `jaula rm`: named jails, removed with their layers.

use crate::args::{low, options};
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgAction, ArgMatches, Command};
use jaula_engine::session::Need;
use jaula_plan::names::JailName;
use serde_json::json;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Remove named jails and all they hold")
        .long_about(
            "Remove named jails with their writable layers. The images stay. Nothing outside the jail is touched, \
             whatever is mounted in it.",
        )
        .arg(Arg::new("name").value_name("NAME").required(true).num_args(1..).help("The jails"))
        .arg(
            Arg::new("force")
                .short('f')
                .long("force")
                .action(ArgAction::SetTrue)
                .help("End the programs of a jail that runs"),
        );
    options::preview(command)
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let words = matches.get_many::<String>("name").into_iter().flatten();
    let names: Vec<JailName> = words
        .map(|word| low::parse("the name of a jail", word))
        .collect::<Result<_, CommandError>>()?;
    let force = matches.get_flag("force");
    let shown = low::Shown::read(matches);
    let engine = context.engine(Some(Need::Users), false)?;
    let mut plans = Vec::new();
    // All are looked at before one is touched.
    for name in &names {
        let plan = engine.plan_rm_jail(name, force);
        plans.push((
            name,
            plan.map_err(|error| failed(format!("cannot remove jail {name}"), error))?,
        ));
    }
    for (name, plan) in &plans {
        if shown != low::Shown::Done {
            context.show(shown, plan)?;
            continue;
        }
        let removed = engine.rm_jail(plan, &context.progress);
        removed.map_err(|error| failed(format!("cannot remove jail {name}"), error))?;
    }
    if shown != low::Shown::Done {
        return Ok(0);
    }
    context.progress.clear();
    context
        .out
        .did("removed", || json!({ "jails": names }), String::new)
}
