//! `jaula show`: one named jail.

use crate::cmd::{Context, exec, failed};
use crate::output::{Done, facts};
use clap::{ArgMatches, Command};
use serde_json::json;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    command
        .about("Show what is known of a named jail")
        .arg(exec::name())
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let name = exec::named(matches)?;
    let engine = context.engine(None, false)?;
    let jail = engine
        .jail(&name)
        .map_err(|error| failed(format!("cannot show jail {name}"), error))?;
    context.out.result(
        "jail",
        || json!({ "jail": jail }),
        || {
            let image = jail.image.map_or_else(
                || "none: it stands on a directory".to_owned(),
                |d| format!("sha256:{d}"),
            );
            facts(&[
                ("name", jail.name.to_string()),
                ("from", jail.from.clone()),
                ("image", image),
                ("hostname", jail.hostname.clone()),
                ("net", jail.net.clone()),
                (
                    "limits",
                    match jail.limits.as_slice() {
                        [] => "none".to_owned(),
                        limits => limits.join(" "),
                    },
                ),
                ("created", crate::output::utc(jail.created)),
                ("path", jaula_plan::explain::shown(&jail.path)),
                (
                    "pid",
                    jail.pid
                        .map_or_else(|| "not running".to_owned(), |pid| pid.to_string()),
                ),
            ])
        },
    )
}
