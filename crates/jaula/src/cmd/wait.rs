//! `jaula wait`: until a run or a jail has ended.

use crate::cmd::exec::named;
use crate::cmd::{Context, exec, failed};
use crate::output::Done;
use clap::{ArgMatches, Command};
use jaula_engine::detached::Ended;
use serde_json::json;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    command
        .about("Wait until what runs has ended")
        .long_about(
            "Wait until a run in the background has ended, and end with its exit code: 124 when its time was up, 125 \
             when jaula failed or its supervisor was killed. For a named jail, until its last session has ended.",
        )
        .arg(exec::name())
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let name = named(matches)?;
    let engine = context.engine(None, false)?;
    let explained = |error| failed(format!("cannot wait for {name}"), error);
    let ended: Option<Ended> = engine.wait(&name, &context.progress).map_err(explained)?;
    let is_run = engine.run_entry(&name).map_err(explained)?.is_some();
    context.progress.clear();
    if context.out.json() {
        context.out.result(
            "ended",
            || json!({ "name": name, "ended": ended }),
            String::new,
        )?;
    }
    Ok(match ended {
        Some(ended) => ended.code,
        None if is_run => 125,
        None => 0,
    })
}
