//! What brctl shows: tables by tabs, byte for byte.

use super::{Done, ENODEV, EOPNOTSUPP, argument, bridge, errno, look, name};
use crate::compat::tool;
use crate::output::{write_stderr, write_stdout};
use jaula_engine::net::stations;
use jaula_plan::facts::net::{BridgeFacts, LinkFacts, NetFacts, PortFacts};
use std::fmt::Write;

fn print(text: &str) -> Done {
    write_stdout(text).map(drop).map_err(|_| String::new())
}

/// The ports of a bridge, by their names as the directory of the kernel's that lists them is sorted.
fn ports<'a>(facts: &'a NetFacts, bridge: &'a LinkFacts) -> Vec<&'a LinkFacts> {
    let mut ports = facts.ports(&bridge.name);
    ports.sort_by(|a, b| a.name.cmp(&b.name));
    ports
}

fn row(text: &mut String, facts: &NetFacts, link: &LinkFacts, bridge: &BridgeFacts) {
    if text.is_empty() {
        text.push_str("bridge name\tbridge id\t\tSTP enabled\tinterfaces\n");
    }
    let stp = if bridge.stp { "yes" } else { "no" };
    text.push_str(&format!("{}\t\t{}\t{stp}\t\t", link.name, bridge.id));
    for (at, port) in ports(facts, link).iter().enumerate() {
        if at > 0 {
            text.push_str("\n\t\t\t\t\t\t\t");
        }
        text.push_str(port.name.as_str());
    }
    text.push('\n');
}

/// `show [BRIDGE…]`
pub fn show(arguments: &[String]) -> Done {
    let facts = look()?;
    let mut text = String::new();
    let mut wrong = false;
    if arguments.is_empty() {
        for link in facts.bridges() {
            if let Some(bridge) = &link.bridge {
                row(&mut text, &facts, link, bridge);
            }
        }
        return print(&text);
    }
    for word in arguments {
        let found = name(word).and_then(|name| facts.link(&name));
        match found.map(|link| (link, &link.bridge)) {
            Some((link, Some(bridge))) => row(&mut text, &facts, link, bridge),
            Some((_, None)) => {
                wrong = true;
                write_stderr(&format!("device {word} is not a bridge!\n"));
            }
            None => {
                wrong = true;
                write_stderr(&format!("bridge {word} does not exist!\n"));
            }
        }
    }
    print(&text)?;
    if wrong { Err(String::new()) } else { Ok(()) }
}

fn timer(hundredths: impl Into<u64>) -> String {
    let hundredths = hundredths.into();
    format!("{:4}.{:02}", hundredths / 100, hundredths % 100)
}

/// `showmacs BRIDGE`
pub fn showmacs(arguments: &[String]) -> Done {
    let failed = |errno| format!("read of forward table failed: {}", tool::reason(errno));
    let name = bridge(argument(arguments, 0)).map_err(failed)?;
    let stations = stations(&name).map_err(|error| failed(errno(&error)))?;
    let mut text = "port no\tmac addr\t\tis local?\tageing timer\n".to_owned();
    for station in stations {
        let local = if station.local { "yes" } else { "no" };
        text.push_str(&format!(
            "{:3}\t{}\t{local}\t\t{}\n",
            station.number,
            station.mac,
            timer(station.age)
        ));
    }
    print(&text)
}

/// `showstp BRIDGE`
pub fn showstp(arguments: &[String]) -> Done {
    let word = argument(arguments, 0);
    let name = bridge(word).map_err(|errno| match errno {
        ENODEV => format!("bridge {word} does not exist!"),
        EOPNOTSUPP => format!("device {word} is not a bridge!"),
        errno => format!("can't get ports: {}", tool::reason(errno)),
    })?;
    let facts = look()?;
    let mut text = String::new();
    let Some((link, Some(of))) = facts.link(&name).map(|link| (link, &link.bridge)) else {
        return Err(format!("bridge {word} does not exist!"));
    };
    let unwritten = |_| String::new();
    about_bridge(&mut text, link, of).map_err(unwritten)?;
    for port in ports(&facts, link) {
        if let Some(of) = &port.port {
            about_port(&mut text, port, of).map_err(unwritten)?;
        }
    }
    print(&text)
}

fn about_bridge(text: &mut String, link: &LinkFacts, of: &BridgeFacts) -> std::fmt::Result {
    let mut flags = String::new();
    if of.topology_change {
        flags.push_str("TOPOLOGY_CHANGE ");
    }
    if of.topology_change_detected {
        flags.push_str("TOPOLOGY_CHANGE_DETECTED ");
    }
    writeln!(text, "{}", link.name)?;
    writeln!(text, " bridge id\t\t{}", of.id)?;
    writeln!(text, " designated root\t{}", of.root_id)?;
    writeln!(
        text,
        " root port\t\t{:4}\t\t\tpath cost\t\t{:4}",
        of.root_port, of.root_path_cost
    )?;
    let age = timer(of.max_age);
    writeln!(text, " max age\t\t{age}\t\t\tbridge max age\t\t{age}")?;
    let hello = timer(of.hello_time);
    writeln!(
        text,
        " hello time\t\t{hello}\t\t\tbridge hello time\t{hello}"
    )?;
    let delay = timer(of.forward_delay);
    writeln!(
        text,
        " forward delay\t\t{delay}\t\t\tbridge forward delay\t{delay}"
    )?;
    writeln!(text, " ageing time\t\t{}", timer(of.ageing_time))?;
    writeln!(
        text,
        " hello timer\t\t{}\t\t\ttcn timer\t\t{}",
        timer(of.hello_timer),
        timer(of.tcn_timer)
    )?;
    writeln!(
        text,
        " topology change timer\t{}\t\t\tgc timer\t\t{}",
        timer(of.topology_change_timer),
        timer(of.gc_timer)
    )?;
    write!(text, " flags\t\t\t{flags}\n\n\n")
}

fn about_port(text: &mut String, port: &LinkFacts, of: &PortFacts) -> std::fmt::Result {
    let mut flags = String::new();
    if of.config_pending {
        flags.push_str("CONFIG_PENDING ");
    }
    if of.topology_change_ack {
        flags.push_str("TOPOLOGY_CHANGE_ACK ");
    }
    writeln!(text, "{} ({})", port.name, of.number)?;
    writeln!(
        text,
        " port id\t\t{:04x}\t\t\tstate\t\t{:>15}",
        of.id,
        of.state.word()
    )?;
    writeln!(
        text,
        " designated root\t{}\tpath cost\t\t{:4}",
        of.root_id, of.cost
    )?;
    writeln!(
        text,
        " designated bridge\t{}\tmessage age timer\t{}",
        of.bridge_id,
        timer(of.message_age_timer)
    )?;
    writeln!(
        text,
        " designated port\t{:04x}\t\t\tforward delay timer\t{}",
        of.designated_port,
        timer(of.forward_delay_timer)
    )?;
    writeln!(
        text,
        " designated cost\t{:4}\t\t\thold timer\t\t{}",
        of.designated_cost,
        timer(of.hold_timer)
    )?;
    writeln!(text, " flags\t\t\t{flags}")?;
    if of.hairpin {
        writeln!(text, " hairpin mode\t\t{:4}", 1)?;
    }
    writeln!(text)
}
