//! `jaula doctor`: what this host allows.

use crate::cmd::Context;
use crate::output::Done;
use clap::{ArgMatches, Command};
use serde_json::json;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    command
        .about("Say what this host allows, and how to allow the rest")
        .long_about(
            "Try each thing that jaula needs of the host by doing it, and say for each that is refused what follows \
             and the narrowest fix. The exit code is 1 when something is refused.",
        )
}

/// Does it.
pub fn run(_matches: &ArgMatches, context: &Context) -> Done {
    let gates = context.engine(None, false)?.doctor();
    let refused = gates.iter().filter(|gate| !gate.open).count();
    let width = gates
        .iter()
        .map(|gate| gate.name.chars().count())
        .max()
        .unwrap_or(0);
    context.out.result(
        "gates",
        || json!({ "gates": gates, "refused": refused }),
        || {
            let mut text = String::new();
            for gate in &gates {
                let mark = if gate.open { "ok" } else { "no" };
                text.push_str(&format!(
                    "{mark}  {:<width$}  {}\n",
                    gate.name,
                    crate::output::clean(&gate.found)
                ));
                if !gate.open {
                    for (word, what) in [("so", &gate.follows), ("fix", &gate.fix)] {
                        if !what.is_empty() {
                            text.push_str(&format!("    {word}: {}\n", crate::output::clean(what)));
                        }
                    }
                }
            }
            text.push_str(&match refused {
                0 => format!("all {} work\n", gates.len()),
                _ => format!("{refused} of {} refused\n", gates.len()),
            });
            text
        },
    )?;
    Ok(u8::from(refused > 0))
}
