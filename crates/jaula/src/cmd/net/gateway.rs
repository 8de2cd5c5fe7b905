//! What a bridge gives its guests: a way out, addresses, names.

use super::{named, switch};
use crate::args::low;
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgMatches, Command};
use jaula_engine::net::NetChange;
use jaula_engine::plan::Preview;
use jaula_engine::{Event, Observer};
use jaula_plan::explain::ExplainLine;
use jaula_plan::gateway::{GatewayPlan, GatewaySpec};
use jaula_plan::names::LinkName;
use jaula_plan::net::address::{Cidr, Mac};
use jaula_plan::net::bridge::NetPlan;
use jaula_plan::nft::link_local;
use jaula_plan::spec::net::BridgeSpec;
use serde_json::{Value, json};
use std::fmt;

/// Options of `net add`.
pub fn arguments() -> [Arg; 5] {
    [
        switch(
            "dhcp",
            "The bridge asks for its own address by DHCP, and a process renews it while the bridge is there",
        ),
        switch(
            "nat",
            "Guests reach the outside under the host's address, and nobody reaches them unasked",
        ),
        Arg::new("uplink")
            .long("uplink")
            .value_name("LINK")
            .help("As --nat, and LINK is the only way out; for cards that cannot be ports, as wireless ones"),
        switch(
            "dhcp-server",
            "Give addresses to guests that ask: by DHCP, and of IPv6 by router advertisements",
        ),
        switch(
            "dns",
            "Resolve names for guests at the bridge's addresses: each other's, and others by the host's resolvers",
        ),
    ]
}

/// What is asked for.
///
/// # Errors
/// When a name is none.
pub fn wanted(matches: &ArgMatches, bridge: &LinkName) -> Result<GatewaySpec, CommandError> {
    let uplink = matches
        .contains_id("uplink")
        .then(|| named(matches, "uplink"))
        .transpose()?;
    Ok(GatewaySpec {
        bridge: bridge.clone(),
        nat: matches.get_flag("nat") || uplink.is_some(),
        uplink,
        dhcp: matches.get_flag("dhcp-server"),
        dns: matches.get_flag("dns"),
    })
}

/// A bridge and what it gives, as one plan.
struct Both {
    bridge: NetPlan,
    gives: Option<GatewayPlan>,
    asks: bool,
}

impl fmt::Display for Both {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.bridge.to_string().trim_end())?;
        if self.asks {
            writeln!(f, "ask for an address by DHCP")?;
        }
        match &self.gives {
            Some(gives) => fmt::Display::fmt(gives, f),
            None => Ok(()),
        }
    }
}

impl Preview for Both {
    fn to_json(&self) -> Value {
        let gives = self.gives.as_ref().map(Preview::to_json);
        json!({ "version": 1, "plan": self.bridge, "asks": self.asks, "gives": gives })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        let mut lines = Preview::explain(&self.bridge);
        if self.asks {
            lines.push(ExplainLine::new(
                "",
                "a process asks for the bridge's address by DHCP and renews it (dhclient(8) does the same)",
            ));
        }
        lines.extend(self.gives.iter().flat_map(Preview::explain));
        lines
    }
}

/// Makes a bridge that gives something, or is given its address.
pub fn add(
    matches: &ArgMatches,
    context: &Context,
    spec: BridgeSpec,
    (gives, asks): (&GatewaySpec, bool),
    attempt: &str,
) -> Done {
    let engine = context.engine(None, false)?;
    let refused = |error| failed(format!("cannot {attempt}"), error);
    if asks && gives.dhcp {
        return Err(CommandError::usage("cannot use --dhcp with --dhcp-server")
            .hint("a bridge asks for addresses or gives them"));
    }
    let mut addresses = spec.addresses.clone();
    let mut spec = spec;
    spec.up |= asks;
    if gives.gives() && spec.mac.is_none() && spec.ports.is_empty() {
        let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        spec.mac = Some(Mac::of_bridge(machine.trim(), gives.bridge.as_str()));
    }
    addresses.extend(spec.mac.map(|mac| Cidr {
        address: link_local(mac.0).into(),
        prefix: 64,
    }));
    let bridge = engine.plan_net(&NetChange::Add(spec)).map_err(refused)?;
    let planned = (gives.gives() && !asks).then(|| engine.plan_gateway(gives, &addresses));
    let both = Both {
        bridge,
        gives: planned.transpose().map_err(refused)?,
        asks,
    };
    let shown = low::Shown::read(matches);
    if shown != low::Shown::Done {
        return context.show(shown, &both);
    }
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host_name = host_name.trim();
    let host_name = (!host_name.is_empty()).then_some(host_name);
    let mut made = false;
    // Until all is done what takes it back is on record, whoever kills this process.
    let done = engine.net_then(&both.bridge, || {
        made = true;
        let done = (|| {
            let asked = asks.then(|| engine.ask_address(&gives.bridge, host_name));
            let given = asked.transpose()?;
            let plan = gives.gives().then(|| engine.give(gives)).transpose()?;
            Ok((given, plan))
        })();
        if done.is_err() && asks {
            // Who renews the address; the bridge goes anyway.
            drop(engine.take_away(&gives.bridge));
        }
        done
    });
    let (given, plan) = match done {
        Ok(done) => done,
        Err(error) if made => {
            let gone = "the bridge is not there: it was taken away again";
            return Err(refused(error).hint(gone));
        }
        Err(error) => return Err(refused(error)),
    };
    let note = |text: String| context.progress.event(Event::Note { text });
    both.bridge.notes.iter().cloned().for_each(note);
    if let Some(given) = &given {
        let servers: Vec<String> = given.name_servers.iter().map(ToString::to_string).collect();
        let servers = match servers.as_slice() {
            [] => String::new(),
            all => format!("; names are resolved by {}", all.join(", ")),
        };
        note(format!(
            "{} has {}/{}{servers}",
            gives.bridge, given.address, given.prefix
        ));
    }
    if let Some(plan) = &plan {
        for sysctl in &plan.sysctls {
            note(format!("set {sysctl}; it stays so"));
        }
        tell_of_others(context, &gives.bridge)?;
    }
    context.progress.clear();
    let gives = plan.as_ref().map(Preview::to_json);
    context.out.did(
        "made",
        || json!({ "plan": both.bridge, "given": given, "gives": gives }),
        String::new,
    )
}

/// Says whose chains drop what guests send, and what helps.
fn tell_of_others(context: &Context, bridge: &LinkName) -> Result<(), CommandError> {
    let engine = context.engine(None, false)?;
    let found = engine
        .others(bridge)
        .map_err(|error| failed("cannot look at the firewall", error))?;
    for other in found.iter().filter(|other| other.stands_in_the_way()) {
        let text = format!(
            "{} drops what guests of {bridge} send, in the chain {} of its table {} {} (hook {}): {}",
            other.owner,
            other.chain,
            other.family,
            other.table,
            other.hook,
            other.hint(bridge.as_str())
        );
        context.progress.event(Event::Note { text });
    }
    Ok(())
}

/// The operands of `net heal`.
pub fn heal_command(command: Command) -> Command {
    command
        .about("Put back what of a network others have flushed or changed")
        .long_about(
            "Compare the firewall, the kernel's switches and the serving process of a network, or of all, with what they \
             should be, and put back what is not. Programs that load their own firewall anew often flush everybody's.",
        )
        .arg(
            Arg::new("name")
                .value_name("NAME")
                .help("The network [default: all that give something]"),
        )
}

/// Heals networks.
pub fn heal(matches: &ArgMatches, context: &Context) -> Done {
    let engine = context.engine(None, false)?;
    let bridges = match low::text(matches, "name") {
        Some(_) => vec![named(matches, "name")?],
        None => engine
            .gateways()
            .map_err(|error| failed("cannot look at networks", error))?,
    };
    let mut lines = Vec::new();
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for bridge in &bridges {
        let healed = match engine.heal(bridge) {
            Ok(healed) => healed,
            // One network is no reason to leave the others open.
            Err(error) => {
                failures.push(failed(format!("cannot heal {bridge}"), error));
                continue;
            }
        };
        let started = healed
            .started
            .then(|| "the serving process was gone".to_owned());
        let sysctls = healed.sysctls.iter().map(|key| format!("{key} was not so"));
        let all = healed
            .firewall
            .iter()
            .cloned()
            .chain(sysctls)
            .chain(started);
        lines.extend(all.map(|text| format!("{bridge}: {text}")));
        rows.push(json!({ "network": bridge.to_string(), "healed": healed }));
        tell_of_others(context, bridge)?;
    }
    context.progress.clear();
    let mut failures = failures.into_iter();
    if let Some(first) = failures.next() {
        for text in lines {
            context.progress.event(Event::Note { text });
        }
        let also = |more: CommandError| {
            let causes = more.causes().join(": ");
            format!("{} too: {causes}", more.headline())
        };
        return Err(failures.map(also).fold(first, CommandError::hint));
    }
    context.out.did(
        "healed",
        || json!({ "networks": rows }),
        || lines.join("\n"),
    )
}
