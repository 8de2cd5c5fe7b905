//! `jaula exec`: a program in a named jail.

use crate::args::protection::{self, Protection};
use crate::args::{high, limits, low, options};
use crate::cmd::{Context, failed};
use crate::output::Done;
use clap::{Arg, ArgMatches, Command};
use jaula_engine::EngineError;
use jaula_plan::jail::JailPlanError;
use jaula_plan::names::JailName;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Run a program in a named jail")
        .long_about(
            "Run a program, or an interactive shell, in a named jail. A jail that runs already is joined, with the \
             same protections; else it is started for as long as the program runs.",
        )
        .after_help("Examples:\n  jaula exec web -- apt-get install -y nginx-light\n  jaula exec web --user www-data -- id")
        .arg(name())
        .arg(options::program("Program and arguments [default: an interactive shell]"));
    protection::program(limits::options(options::process(options::preview(command))))
}

/// NAME.
pub fn name() -> Arg {
    Arg::new("name")
        .value_name("NAME")
        .required(true)
        .help("The jail")
}

/// The jail of the operand NAME.
///
/// # Errors
/// When it is no name.
pub fn named(matches: &ArgMatches) -> Result<JailName, crate::error::CommandError> {
    low::parse(
        "the name of a jail",
        low::text(matches, "name").unwrap_or_default(),
    )
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let name = named(matches)?;
    let mut spec = high::exec_spec(&low::process(matches)?, limits::limits(matches)?);
    spec.guards = Protection::read(matches)?.guards;
    let shown = low::Shown::read(matches);
    let explained = |error: EngineError| unknown_user(&name, error);
    // Outside the session: what starts the jail enters it, what joins it may not have.
    let engine = context.engine(None, false)?;
    let plan = engine.plan_exec(&name, &spec).map_err(explained)?;
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    let outcome = engine
        .exec(&plan, context.around.io(), &context.progress)
        .map_err(explained)?;
    Ok(context.outcome(&outcome))
}

/// Why a program is not run in a jail; of a user that the jail does not know, with the command that makes it known.
pub fn unknown_user(name: &JailName, error: EngineError) -> crate::error::CommandError {
    let user = match &error {
        EngineError::JailPlan(JailPlanError::UnknownUser { name }) => Some(name.clone()),
        _ => None,
    };
    let failed = failed(format!("cannot run a program in jail {name}"), error);
    match user {
        Some(user) => failed.hint(format!(
            "jaula user add {name} {} defines that user",
            jaula_plan::explain::word(&user)
        )),
        None => failed,
    }
}
