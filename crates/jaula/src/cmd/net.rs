//! `jaula net`: bridges and what hangs on them.

mod check;
mod gateway;
mod look;
mod save;

pub use check::{check, check_command};
pub use gateway::{heal, heal_command};
pub use look::{ls, ls_command, macs, macs_command, show, show_command};
pub use save::{save, save_command};

use crate::args::{low, options};
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgAction, ArgMatches, Command};
use jaula_engine::Event;
use jaula_engine::Observer;
use jaula_engine::net::{NetChange, NetError};
use jaula_plan::names::LinkName;
use jaula_plan::net::address::{Cidr, Mac};
use jaula_plan::net::set::{read_link, read_port};
use jaula_plan::spec::net::{BondMode, BridgeSpec};
use serde_json::json;

fn link_arg(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .value_name(placeholder)
        .required(true)
        .help(help)
}

fn ports_arg(help: &'static str) -> Arg {
    link_arg("port", "LINK", help).num_args(1..)
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn many(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(placeholder)
        .action(ArgAction::Append)
        .value_delimiter(',')
        .help(help)
}

fn one(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(placeholder).help(help)
}

fn move_address() -> Arg {
    switch(
        "move-address",
        "Give the addresses and routes of its ports to the bridge; they go back when a port is detached",
    )
}

/// A name of a link, as typed.
fn name(word: &str) -> Result<LinkName, CommandError> {
    let refused =
        |error| CommandError::usage(format!("cannot use {word:?} as a link's name")).because(error);
    word.parse().map_err(refused)
}

fn named(matches: &ArgMatches, id: &str) -> Result<LinkName, CommandError> {
    name(low::text(matches, id).unwrap_or_default())
}

fn names(matches: &ArgMatches, id: &str) -> Result<Vec<LinkName>, CommandError> {
    let words = matches.get_many::<String>(id).into_iter().flatten();
    words.map(|word| name(word)).collect()
}

fn words(matches: &ArgMatches, id: &str) -> Vec<String> {
    let words = matches.get_many::<String>(id).into_iter().flatten();
    words.cloned().collect()
}

fn number(what: &str, word: &str) -> Result<u32, CommandError> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let number = word.parse().ok().filter(|_| digits);
    number.ok_or_else(|| CommandError::usage(format!("cannot use {word:?} for {what}")))
}

/// Shows a change or makes it.
fn change(
    matches: &ArgMatches,
    context: &Context,
    change: &NetChange,
    attempt: &str,
    kind: &str,
) -> Done {
    let engine = context.engine(None, false)?;
    let refused = |error| failed(format!("cannot {attempt}"), error);
    let plan = engine.plan_net(change).map_err(refused)?;
    let shown = low::Shown::read(matches);
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    engine.net(&plan).map_err(refused)?;
    for text in &plan.notes {
        let text = text.clone();
        context.progress.event(Event::Note { text });
    }
    context.progress.clear();
    context
        .out
        .did(kind, || json!({ "plan": plan }), String::new)
}

/// The operands and options of `net add`.
pub fn add_command(command: Command) -> Command {
    let command = command
        .about("Make a bridge")
        .long_about(
            "Make a bridge: a switch inside the kernel, to which cards of the host and of jails are attached. It is \
             down until it has an address or a port, or --up is given.",
        )
        .arg(link_arg("name", "NAME", "Its name, at most 15 bytes"))
        .args([
            many("addr", "ADDRESS/BITS,…", "Its addresses, IPv4 or IPv6"),
            many("port", "LINK,…", "Links that become its ports"),
            move_address(),
            one("mtu", "BYTES", "Its largest packet [default: that of its ports]"),
            one("mac", "MAC", "Its address [default: the lowest of its ports']"),
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE,…")
                .action(ArgAction::Append)
                .value_delimiter(',')
                .help("stp=, priority=, fd=, hello=, maxage=, ageing=, vlan-filtering=, as net set has them"),
            switch("up", "Set it up, also without address and port"),
            Arg::new("from-interfaces")
                .long("from-interfaces")
                .value_name("FILE")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("/etc/network/interfaces")
                .value_parser(clap::value_parser!(std::path::PathBuf))
                .help("As ifupdown's stanzas for NAME say, in FILE and what it sources [default: /etc/network/interfaces]"),
        ])
        .args(gateway::arguments());
    options::preview(command)
}

/// Makes a bridge.
pub fn add(matches: &ArgMatches, context: &Context) -> Done {
    let mut spec = BridgeSpec::new(named(matches, "name")?);
    let mut asks = matches.get_flag("dhcp");
    if let Some(file) = low::path(matches, "from-interfaces") {
        let attempt = format!("read {} for {}", file.display(), spec.name);
        let engine = context.engine(None, false)?;
        let stanza = engine
            .net_stanza(&spec.name, &file)
            .map_err(|error| failed(format!("cannot {attempt}"), error))?;
        for text in stanza.notes {
            context.progress.event(jaula_engine::Event::Note { text });
        }
        asks |= stanza.dhcp;
        spec = stanza.spec;
    }
    for word in words(matches, "addr") {
        let address: Cidr = low::parse("--addr", &word)?;
        spec.addresses.push(address);
    }
    spec.ports.extend(names(matches, "port")?);
    spec.move_address = matches.get_flag("move-address");
    spec.up |= matches.get_flag("up");
    if let Some(word) = low::text(matches, "mtu") {
        spec.mtu = Some(number("--mtu", word)?);
    }
    if let Some(word) = low::text(matches, "mac") {
        let mac: Mac = low::parse("--mac", word)?;
        if !mac.is_station() {
            return Err(
                CommandError::usage(format!("cannot use {word:?} for --mac"))
                    .hint("it is an address of a group, not of one station"),
            );
        }
        spec.mac = Some(mac);
    }
    let attempt = format!("make the bridge {}", spec.name);
    let (link, set) = read_link(&words(matches, "set"))
        .map_err(|error| failed(format!("cannot {attempt}"), NetError::Plan(error).into()))?;
    if link != jaula_plan::spec::net::LinkSet::default() {
        return Err(
            CommandError::usage("cannot use --set for what has an option of its own")
                .hint("--up, --mtu and --mac"),
        );
    }
    spec.set = set.over(spec.set);
    let gives = gateway::wanted(matches, &spec.name)?;
    if gives.gives() || asks {
        return gateway::add(matches, context, spec, (&gives, asks), &attempt);
    }
    change(matches, context, &NetChange::Add(spec), &attempt, "made")
}

/// The operands and options of `net rm`.
pub fn rm_command(command: Command) -> Command {
    let command = command
        .about("Remove a bridge, or another link, that jaula made")
        .long_about(
            "Remove a bridge, or another link, that jaula made. What moved to it with --move-address goes back first. \
             What somebody else made, or what jails use, stays unless --force is given; a card is never removed.",
        )
        .arg(link_arg("name", "NAME", "The bridge"))
        .arg(switch("force", "Also when somebody else made it, or guests use it"));
    options::preview(command)
}

/// Removes a link.
pub fn rm(matches: &ArgMatches, context: &Context) -> Done {
    let name = named(matches, "name")?;
    let attempt = format!("remove {name}");
    let forced = matches.get_flag("force");
    let wanted = NetChange::Remove { name, forced };
    change(matches, context, &wanted, &attempt, "removed")
}

/// The operands and options of `net attach`.
pub fn attach_command(command: Command) -> Command {
    let command = command
        .about("Make links ports of a bridge")
        .long_about(
            "Make links ports of a bridge. A link that has addresses is refused unless they move to the bridge, for \
             nobody would reach them any more.",
        )
        .arg(link_arg("name", "BRIDGE", "The bridge"))
        .arg(ports_arg("The links"))
        .arg(move_address());
    options::preview(command)
}

/// Attaches links.
pub fn attach(matches: &ArgMatches, context: &Context) -> Done {
    let bridge = named(matches, "name")?;
    let attempt = format!("attach to {bridge}");
    let wanted = NetChange::Attach {
        bridge,
        ports: names(matches, "port")?,
        move_address: matches.get_flag("move-address"),
    };
    change(matches, context, &wanted, &attempt, "attached")
}

/// The operands and options of `net detach`.
pub fn detach_command(command: Command) -> Command {
    let command = command
        .about("Take ports from a bridge")
        .long_about("Take ports from a bridge. The addresses and routes that moved with one go back with it.")
        .arg(link_arg("name", "BRIDGE", "The bridge"))
        .arg(ports_arg("The ports"));
    options::preview(command)
}

/// Detaches links.
pub fn detach(matches: &ArgMatches, context: &Context) -> Done {
    let bridge = named(matches, "name")?;
    let attempt = format!("detach from {bridge}");
    let ports = names(matches, "port")?;
    let wanted = NetChange::Detach { bridge, ports };
    change(matches, context, &wanted, &attempt, "detached")
}

/// The operands and options of `net set`.
pub fn set_command(command: Command) -> Command {
    let command = command
        .about("Change a bridge, a port or another link")
        .long_about(
            "Change a link: up, down, mtu=BYTES, mac=MAC; a bridge: stp=on|off, priority=0..65535, fd=SECONDS, \
             hello=SECONDS, maxage=SECONDS, ageing=SECONDS, vlan-filtering=on|off; a port, written BRIDGE/PORT: \
             cost=, priority=0..63, hairpin=on|off, learning=on|off, isolated=on|off. Only what is not so already is \
             changed.",
        )
        .arg(link_arg("name", "LINK|BRIDGE/PORT", "What"))
        .arg(
            Arg::new("what")
                .value_name("KEY=VALUE")
                .required(true)
                .num_args(1..)
                .help("To what"),
        );
    options::preview(command)
}

/// Changes a link.
pub fn set(matches: &ArgMatches, context: &Context) -> Done {
    let target = low::text(matches, "name").unwrap_or_default();
    let attempt = format!("set {target}");
    let wrong = |error| failed(format!("cannot {attempt}"), NetError::Plan(error).into());
    let what = words(matches, "what");
    let wanted = match target.split_once('/') {
        Some((bridge, port)) => NetChange::SetPort {
            bridge: name(bridge)?,
            port: name(port)?,
            set: read_port(&what).map_err(wrong)?,
        },
        None => {
            let (link, bridge) = read_link(&what).map_err(wrong)?;
            NetChange::Set {
                name: name(target)?,
                link,
                bridge,
            }
        }
    };
    change(matches, context, &wanted, &attempt, "set")
}

/// The operands and options of `net vlan`.
pub fn vlan_command(command: Command) -> Command {
    let command = command
        .about("Make a link for one VLAN of a card")
        .long_about(
            "Make a link for one VLAN of a card (IEEE 802.1Q): it sends and receives the card's frames with that tag.",
        )
        .arg(link_arg("link", "LINK", "The card"))
        .arg(link_arg("id", "NUMBER", "The VLAN, 1 to 4094"))
        .arg(one("name", "NAME", "Its name [default: LINK.NUMBER]"));
    options::preview(command)
}

/// Makes a VLAN.
pub fn vlan(matches: &ArgMatches, context: &Context) -> Done {
    let below = named(matches, "link")?;
    let word = low::text(matches, "id").unwrap_or_default();
    let id = number("the number of a VLAN", word)?;
    let name = match low::text(matches, "name") {
        Some(word) => name(word)?,
        None => name(&format!("{below}.{id}"))?,
    };
    let attempt = format!("make the VLAN {name}");
    let id = u16::try_from(id).unwrap_or(u16::MAX);
    let wanted = NetChange::Vlan { name, below, id };
    change(matches, context, &wanted, &attempt, "made")
}

/// The operands and options of `net bond`.
pub fn bond_command(command: Command) -> Command {
    let command = command
        .about("Make one link of several cards")
        .long_about(
            "Make one link of several cards, for more throughput or to live on when one fails. Needs a kernel with its \
             bonding driver.",
        )
        .arg(link_arg("name", "NAME", "Its name"))
        .arg(ports_arg("The cards"))
        .arg(
            one("mode", "MODE", "How they work together [default: active-backup]")
                .value_parser(BondMode::ALL.map(BondMode::word)),
        );
    options::preview(command)
}

/// Makes a bond.
pub fn bond(matches: &ArgMatches, context: &Context) -> Done {
    let name = named(matches, "name")?;
    let attempt = format!("make the bond {name}");
    let mode = low::text(matches, "mode").and_then(BondMode::of_word);
    let wanted = NetChange::Bond {
        name,
        mode: mode.unwrap_or(BondMode::ActiveBackup),
        cards: names(matches, "port")?,
    };
    change(matches, context, &wanted, &attempt, "made")
}
