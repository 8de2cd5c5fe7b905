//! `jaula recover`: what interrupted runs left, removed.

use crate::args::{low, options};
use crate::cmd::{Context, failed};
use crate::output::Done;
use clap::{ArgMatches, Command};
use jaula_engine::session::Need;
use serde_json::json;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command.about("Remove what interrupted runs left").long_about(
        "Remove what runs that were killed left in the store: half-made images and layers. Every verb that writes \
         does this for what it touches; recover does it for all, and leaves what is in use alone.",
    );
    options::preview(command)
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let shown = low::Shown::read(matches);
    let engine = context.engine(Some(Need::Users), false)?;
    let explained = |error| failed("cannot recover the store", error);
    let plan = engine.plan_recover().map_err(explained)?;
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    engine
        .recover(&plan, &context.progress)
        .map_err(explained)?;
    context.progress.clear();
    let nothing = plan.is_empty();
    context.out.did(
        "recovered",
        || json!({ "nothing_to_do": nothing }),
        || {
            if nothing {
                "nothing to recover".to_owned()
            } else {
                plan.to_string()
            }
        },
    )
}
