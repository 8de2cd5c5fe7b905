//! `jaula net ls`, `net show` and `net macs`.

use super::{link_arg, named, switch};
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::{Done, Table, facts};
use clap::{ArgMatches, Command};
use jaula_engine::net::{networks, stations};
use jaula_plan::facts::net::{LinkFacts, NetFacts};
use jaula_plan::names::LinkName;
use serde_json::{Value, json};

/// The operands and options of `net ls`.
pub fn ls_command(command: Command) -> Command {
    command
        .about("List the bridges, and with --all every link")
        .long_about(
            "List the bridges: their state, identifier, spanning tree, addresses, ports, and who made them as far as \
             that can be told. With --all every link is listed.",
        )
        .arg(switch("all", "Every link, not only bridges"))
}

fn state(link: &LinkFacts) -> &'static str {
    match (link.up, link.carrier) {
        (false, _) => "down",
        (true, true) => "up",
        (true, false) => "no carrier",
    }
}

fn joined<T: ToString>(all: impl Iterator<Item = T>) -> String {
    let all: Vec<_> = all.map(|one| one.to_string()).collect();
    if all.is_empty() {
        "-".to_owned()
    } else {
        all.join(",")
    }
}

fn shape(facts: &NetFacts, link: &LinkFacts) -> Value {
    let mut shape = serde_json::to_value(link).unwrap_or_default();
    if let Some(fields) = shape.as_object_mut() {
        let addresses = facts.addresses_of(&link.name);
        let routes = facts.routes_of(&link.name);
        fields.insert("state".to_owned(), json!(state(link)));
        fields.insert("maker".to_owned(), json!(link.maker()));
        fields.insert("addresses".to_owned(), json!(addresses.collect::<Vec<_>>()));
        fields.insert("routes".to_owned(), json!(routes.collect::<Vec<_>>()));
        if link.bridge.is_some() {
            let ports = facts.ports(&link.name);
            let ports: Vec<_> = ports.iter().map(|port| &port.name).collect();
            fields.insert("ports".to_owned(), json!(ports));
        }
    }
    shape
}

fn look() -> Result<NetFacts, CommandError> {
    networks().map_err(|error| failed("cannot list the networks", error.into()))
}

/// Lists bridges or links.
pub fn ls(matches: &ArgMatches, context: &Context) -> Done {
    let found = look()?;
    let all = matches.get_flag("all");
    let links: Vec<&LinkFacts> = if all {
        found.links.iter().collect()
    } else {
        found.bridges()
    };
    let shapes = || {
        links
            .iter()
            .map(|link| shape(&found, link))
            .collect::<Vec<_>>()
    };
    let addresses = |name: &LinkName| joined(found.addresses_of(name).map(|a| a.address));
    let text = || {
        let maker = |link: &LinkFacts| link.maker().map_or("-", |maker| maker.word());
        if all {
            let mut table = Table::new(&["LINK", "KIND", "STATE", "MTU", "MAC", "OF", "ADDRESSES"]);
            for link in &links {
                let mac = joined(link.mac.iter());
                let master = joined(link.master.iter());
                let list = addresses(&link.name);
                let (kind, state) = (link.kind_word(), state(link));
                table.row([&link.name, &kind, &state, &link.mtu, &mac, &master, &list]);
            }
            return table.text();
        }
        let mut table = Table::new(&[
            "BRIDGE",
            "STATE",
            "ID",
            "STP",
            "MADE BY",
            "ADDRESSES",
            "PORTS",
        ]);
        for link in &links {
            let Some(bridge) = &link.bridge else { continue };
            let stp = if bridge.stp { "on" } else { "off" };
            let ports = joined(found.ports(&link.name).iter().map(|port| &port.name));
            let (list, state, maker) = (addresses(&link.name), state(link), maker(link));
            table.row([&link.name, &state, &bridge.id, &stp, &maker, &list, &ports]);
        }
        table.text()
    };
    context
        .out
        .result("networks", || json!({ "links": shapes() }), text)
}

/// The operands and options of `net show`.
pub fn show_command(command: Command) -> Command {
    command
        .about("Show a bridge or another link")
        .long_about(
            "Show a bridge or another link: address, addresses, routes, ports; with --stp also the spanning tree and \
             its timers.",
        )
        .arg(link_arg("name", "NAME", "The link"))
        .arg(switch("stp", "The spanning tree as well"))
}

fn find<'a>(facts: &'a NetFacts, name: &LinkName) -> Result<&'a LinkFacts, CommandError> {
    facts.link(name).ok_or_else(|| {
        let error = CommandError::failed(format!("cannot show {name}: there is no such link"));
        let there = joined(facts.links.iter().map(|link| &link.name));
        error.hint(format!("there are {there}"))
    })
}

/// Shows a link.
pub fn show(matches: &ArgMatches, context: &Context) -> Done {
    let name = named(matches, "name")?;
    let found = look()?;
    let link = find(&found, &name)?;
    let whole = || {
        let mut shape = shape(&found, link);
        if let Some(fields) = shape.as_object_mut() {
            let ports = found.ports(&link.name);
            fields.insert("members".to_owned(), json!(ports));
        }
        json!({ "link": shape })
    };
    context.out.result("network", whole, || {
        described(&found, link, matches.get_flag("stp"))
    })
}

/// Hundredths of a second for a person.
fn seconds(hundredths: impl Into<u64>) -> String {
    let hundredths = hundredths.into();
    format!("{}.{:02} s", hundredths / 100, hundredths % 100)
}

fn described(found: &NetFacts, link: &LinkFacts, stp: bool) -> String {
    let mut pairs = vec![
        ("link", link.name.to_string()),
        ("kind", link.kind_word().to_owned()),
        ("state", state(link).to_owned()),
        ("mtu", link.mtu.to_string()),
    ];
    pairs.extend(link.mac.map(|mac| ("mac", mac.to_string())));
    pairs.extend(
        link.maker()
            .map(|maker| ("made by", maker.word().to_owned())),
    );
    pairs.extend(link.master.as_ref().map(|of| ("port of", of.to_string())));
    pairs.extend(
        link.below
            .as_ref()
            .map(|below| ("below", below.to_string())),
    );
    pairs.extend(link.vlan.map(|id| ("vlan", id.to_string())));
    let lines = |all: Vec<String>| all.join("\n");
    let addresses: Vec<_> = found
        .addresses_of(&link.name)
        .map(|address| address.address.to_string())
        .collect();
    if !addresses.is_empty() {
        pairs.push(("addresses", lines(addresses)));
    }
    let routes: Vec<_> = found
        .routes_of(&link.name)
        .map(|route| {
            let to = if route.to.prefix == 0 {
                "default".to_owned()
            } else {
                route.to.to_string()
            };
            let via = route.via.map(|via| format!(" via {via}"));
            format!("{to}{}", via.unwrap_or_default())
        })
        .collect();
    if !routes.is_empty() {
        pairs.push(("routes", lines(routes)));
    }
    let on = |on: bool| if on { "on" } else { "off" }.to_owned();
    if let Some(bridge) = &link.bridge {
        pairs.push(("bridge id", bridge.id.to_string()));
        pairs.push(("stp", on(bridge.stp)));
        pairs.push(("vlan filtering", on(bridge.vlan_filtering)));
        if stp {
            let root = if bridge.root_id == bridge.id {
                "this bridge".to_owned()
            } else {
                format!("{} by port {}", bridge.root_id, bridge.root_port)
            };
            pairs.push(("root", root));
            pairs.push(("cost to root", bridge.root_path_cost.to_string()));
            pairs.push(("forward delay", seconds(bridge.forward_delay)));
            pairs.push(("hello time", seconds(bridge.hello_time)));
            pairs.push(("max age", seconds(bridge.max_age)));
            pairs.push(("ageing time", seconds(bridge.ageing_time)));
            if bridge.topology_change || bridge.topology_change_detected {
                pairs.push(("topology", "changing".to_owned()));
            }
        }
    }
    let ports = found.ports(&link.name);
    if link.bridge.is_none() && !ports.is_empty() {
        let cards = ports
            .iter()
            .map(|card| format!("{} {}", card.name, state(card)));
        pairs.push(("cards", lines(cards.collect())));
    }
    let mut text = facts(&pairs);
    if link.bridge.is_some() && !ports.is_empty() {
        text.push('\n');
        let mut table = Table::new(&[
            "PORT", "NUMBER", "STATE", "COST", "PRIORITY", "MAC", "GUEST",
        ]);
        for port in ports {
            let of = port.port.unwrap_or_default();
            let mac = joined(port.mac.iter());
            let guest = if port.leads_away { "yes" } else { "-" };
            let state = of.state.word();
            table.row([
                &port.name,
                &of.number,
                &state,
                &of.cost,
                &of.priority,
                &mac,
                &guest,
            ]);
        }
        text.push_str(&table.text());
    }
    text
}

/// The operands and options of `net macs`.
pub fn macs_command(command: Command) -> Command {
    command
        .about("List the stations that a bridge knows")
        .long_about(
            "List the stations that a bridge knows, each with the port it is behind and for how long it was not seen, \
             and the addresses that this host knows it by.",
        )
        .arg(link_arg("name", "BRIDGE", "The bridge"))
}

/// Lists stations.
pub fn macs(matches: &ArgMatches, context: &Context) -> Done {
    let name = named(matches, "name")?;
    let known = stations(&name)
        .map_err(|error| failed(format!("cannot list the stations of {name}"), error.into()))?;
    let text = || {
        let mut table = Table::new(&["MAC", "PORT", "LOCAL", "AGE", "VLAN", "ADDRESSES"]);
        for station in &known {
            let port = joined(station.port.iter());
            let local = if station.local { "yes" } else { "no" };
            let age = if station.local {
                "-".to_owned()
            } else {
                seconds(station.age)
            };
            let vlan = joined(station.vlan.iter());
            let addresses = joined(station.addresses.iter());
            table.row([&station.mac, &port, &local, &age, &vlan, &addresses]);
        }
        table.text()
    };
    context
        .out
        .result("stations", || json!({ "stations": known }), text)
}
