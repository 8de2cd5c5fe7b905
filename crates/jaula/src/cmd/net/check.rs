//! Trying a network with real packets.

use super::named;
use crate::cmd::{Context, failed};
use crate::output::Done;
use clap::{Arg, ArgMatches, Command};
use serde_json::json;

/// The operands of `net check`.
pub fn check_command(command: Command) -> Command {
    command
        .about("Try a network with real packets")
        .long_about(
            "Put a guest on a bridge that gives something, and have it send along the path of all guests: to the bridge, out, \
             and to the name server, by IPv4 and IPv6. Where nothing comes back, what stands in the way is named: a rule, \
             somebody else's chain, a switch of the kernel. Exit code 1 when something did not go well.",
        )
        .arg(
            Arg::new("name")
                .value_name("NAME")
                .required(true)
                .help("The network"),
        )
}

/// Tries a network.
pub fn check(matches: &ArgMatches, context: &Context) -> Done {
    let name = named(matches, "name")?;
    let engine = context.engine(None, false)?;
    let hops = engine
        .check_network(&name)
        .map_err(|error| failed(format!("cannot check {name}"), error))?;
    context.progress.clear();
    let mut lines = Vec::new();
    for hop in &hops {
        let mark = if hop.ok { "ok" } else { "FAILED" };
        lines.push(format!("{mark:<7} {}: {}", hop.what, hop.said));
        lines.extend(hop.cause.iter().map(|cause| format!("        {cause}")));
        lines.extend(hop.hint.iter().map(|hint| format!("        hint: {hint}")));
    }
    let all = hops.iter().all(|hop| hop.ok);
    context.out.result(
        "network-check",
        || json!({ "ok": all, "hops": hops }),
        || lines.join("\n"),
    )?;
    Ok(u8::from(!all))
}
