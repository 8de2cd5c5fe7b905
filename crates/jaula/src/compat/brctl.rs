//! brctl(8) of bridge-utils.

mod number;
mod show;

use super::Face;
use super::getopt::{Opt, Order, Reader, Takes, both};
use super::making::is_root;
use super::tool::{self, Tool};
use crate::args::high::Surroundings;
use crate::args::low::Global;
use crate::output::{clean, write_stderr, write_stdout};
use jaula_engine::net::{NetError, networks, once};
use jaula_engine::{Engine, EngineError};
use jaula_plan::facts::net::NetFacts;
use jaula_plan::names::LinkName;
use jaula_plan::net::step::{LinkKind, NetStep, NewLink};
use jaula_plan::spec::net::{BridgeSet, PortSet};
use number::{double, hundredths, integer};
use std::ffi::OsString;
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "brctl",
    of: "bridge-utils 1.7",
    run,
};

/// The release that is spoken.
const VERSION: &str = "bridge-utils, 1.7\n";

/// Errno(3), as the messages tell them apart.
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ENXIO: i32 = 6;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ELOOP: i32 = 40;
const EOPNOTSUPP: i32 = 95;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Help,
    Version,
}

const TABLE: &[Opt<Key>] = &[
    both(b'h', "help", Takes::Nothing, Key::Help),
    both(b'V', "version", Takes::Nothing, Key::Version),
];

/// What a command says when it fails; nothing when it said all already.
type Done = Result<(), String>;

/// One command: its name, how many arguments it needs, what it does, its line of the usage.
struct Verb {
    name: &'static str,
    needs: usize,
    run: fn(&[String]) -> Done,
    help: &'static str,
}

const fn verb(
    name: &'static str,
    needs: usize,
    run: fn(&[String]) -> Done,
    help: &'static str,
) -> Verb {
    Verb {
        name,
        needs,
        run,
        help,
    }
}

const VERBS: &[Verb] = &[
    verb("addbr", 1, addbr, "<bridge>\t\tadd bridge"),
    verb("delbr", 1, delbr, "<bridge>\t\tdelete bridge"),
    verb(
        "addif",
        2,
        addif,
        "<bridge> <device>\tadd interface to bridge",
    ),
    verb(
        "delif",
        2,
        delif,
        "<bridge> <device>\tdelete interface from bridge",
    ),
    verb(
        "hairpin",
        3,
        hairpin,
        "<bridge> <port> {on|off}\tturn hairpin on/off",
    ),
    verb(
        "setageing",
        2,
        setageing,
        "<bridge> <time>\t\tset ageing time",
    ),
    verb(
        "setbridgeprio",
        2,
        setbridgeprio,
        "<bridge> <prio>\t\tset bridge priority",
    ),
    verb(
        "setfd",
        2,
        setfd,
        "<bridge> <time>\t\tset bridge forward delay",
    ),
    verb("sethello", 2, sethello, "<bridge> <time>\t\tset hello time"),
    verb(
        "setmaxage",
        2,
        setmaxage,
        "<bridge> <time>\t\tset max message age",
    ),
    verb(
        "setpathcost",
        3,
        setpathcost,
        "<bridge> <port> <cost>\tset path cost",
    ),
    verb(
        "setportprio",
        3,
        setportprio,
        "<bridge> <port> <prio>\tset port priority",
    ),
    verb(
        "show",
        0,
        show::show,
        "[ <bridge> ]\t\tshow a list of bridges",
    ),
    verb(
        "showmacs",
        1,
        show::showmacs,
        "<bridge>\t\tshow a list of mac addrs",
    ),
    verb(
        "showstp",
        1,
        show::showstp,
        "<bridge>\t\tshow bridge stp info",
    ),
    verb("stp", 2, stp, "<bridge> {on|off}\tturn stp on/off"),
];

fn usage() -> String {
    let mut text = "Usage: brctl [commands]\ncommands:\n".to_owned();
    for verb in VERBS {
        text.push_str(&format!("\t{:<10}\t{}\n", verb.name, verb.help));
    }
    text
}

fn print(text: &str, code: u8) -> ExitCode {
    match write_stdout(text) {
        Ok(_) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(words: &[OsString]) -> ExitCode {
    let tool = Tool::new("brctl", 1);
    let mut reader = Reader::new(words, TABLE, Order::Anywhere);
    match reader.next() {
        None => {}
        Some(Ok((Key::Help, _))) => return print(&usage(), 0),
        Some(Ok((Key::Version, _))) => return print(VERSION, 0),
        Some(Err(complaint)) => {
            tool::say(&tool.called, &complaint.to_string(), 0);
            write_stderr("Unknown option '?'\n");
            return print(&usage(), 1);
        }
    }
    let operands = reader.operands();
    let operands: Vec<String> = operands
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let Some((name, arguments)) = operands.split_first() else {
        return print(&usage(), 1);
    };
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        write_stderr(&format!("never heard of command [{name}]\n"));
        return print(&usage(), 1);
    };
    if arguments.len() < verb.needs {
        let text = format!(
            "Incorrect number of arguments for command\nUsage: brctl {} {}\n",
            verb.name, verb.help
        );
        return print(&text, 1);
    }
    match (verb.run)(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            if !text.is_empty() {
                write_stderr(&format!("{text}\n"));
            }
            ExitCode::FAILURE
        }
    }
}

fn argument(arguments: &[String], at: usize) -> &str {
    arguments.get(at).map_or("", String::as_str)
}

fn errno(error: &NetError) -> i32 {
    error.errno().map_or(EINVAL, |errno| errno.0)
}

fn look() -> Result<NetFacts, String> {
    networks().map_err(|error| {
        format!(
            "can't setup bridge control: {}",
            tool::reason(errno(&error))
        )
    })
}

fn step(step: &NetStep) -> Result<(), i32> {
    once(step).map_err(|error| errno(&error))
}

/// A step after which what a bridge gives its guests may have to be another. What the tool does is done when that fails.
fn port_step(step: &NetStep) -> Result<(), i32> {
    let around = Surroundings::read();
    let config = around.config(&Global::default(), is_root(), true).ok();
    // Where no network was made no bridge gives anything.
    let config = config.filter(|config| is_root() && config.store.join("net").is_dir());
    let Some(engine) = config.and_then(|config| Engine::open(config).ok()) else {
        return self::step(step);
    };
    match engine.net_once(step) {
        Ok(()) => Ok(()),
        Err(EngineError::Net(error)) => Err(errno(&error)),
        Err(error) => {
            write_stderr(&format!("brctl: {}\n", clean(&error.to_string())));
            Ok(())
        }
    }
}

/// A name that nothing can have stands for nothing that is there.
fn name(word: &str) -> Option<LinkName> {
    word.parse().ok()
}

fn is_there(facts: &NetFacts, word: &str) -> bool {
    name(word).is_some_and(|name| facts.link(&name).is_some())
}

/// A bridge's name, or the errno with which the kernel refuses the word: nothing is called so, or no bridge is.
fn bridge(word: &str) -> Result<LinkName, i32> {
    let facts = networks().map_err(|error| errno(&error))?;
    let name = name(word).ok_or(ENODEV)?;
    match facts.link(&name) {
        None => Err(ENODEV),
        Some(link) if link.bridge.is_none() => Err(EOPNOTSUPP),
        Some(_) => Ok(name),
    }
}

fn addbr(arguments: &[String]) -> Done {
    let word = argument(arguments, 0);
    let failed = |errno| format!("add bridge failed: {}", tool::reason(errno));
    // The kernel's own interface cuts names, and so does the tool.
    let mut end = word.len().min(LinkName::LIMIT);
    while !word.is_char_boundary(end) {
        end -= 1;
    }
    let cut = word.get(..end).unwrap_or_default();
    let name = name(cut).ok_or_else(|| failed(EINVAL))?;
    let link = NewLink {
        name,
        kind: LinkKind::Bridge {
            set: BridgeSet::default(),
        },
        mac: None,
        mtu: None,
        alias: None,
    };
    match step(&NetStep::AddLink { link }) {
        Ok(()) => Ok(()),
        Err(EEXIST) => Err(format!(
            "device {word} already exists; can't create bridge with the same name"
        )),
        Err(errno) => Err(failed(errno)),
    }
}

fn delbr(arguments: &[String]) -> Done {
    let word = argument(arguments, 0);
    let facts = look()?;
    let found = name(word).and_then(|name| facts.link(&name));
    let removed = match found {
        None => Err(ENXIO),
        Some(link) if link.bridge.is_none() => Err(EPERM),
        Some(link) if link.up => Err(EBUSY),
        Some(link) => port_step(&NetStep::RemoveLink {
            name: link.name.clone(),
            index: Some(link.index),
        }),
    };
    removed.map_err(|errno| match errno {
        ENXIO | ENODEV => format!("bridge {word} doesn't exist; can't delete it"),
        EBUSY => format!("bridge {word} is still up; can't delete it"),
        errno => format!("can't delete bridge {word}: {}", tool::reason(errno)),
    })
}

fn addif(arguments: &[String]) -> Done {
    let Some((bridge, ports)) = arguments.split_first() else {
        return Ok(());
    };
    for port in ports {
        let facts = look()?;
        add_port(&facts, bridge, port).map_err(|errno| match errno {
            ENODEV if !is_there(&facts, port) => format!("interface {port} does not exist!"),
            ENODEV => format!("bridge {bridge} does not exist!"),
            EBUSY => format!(
                "device {port} is already a member of a bridge; can't add it to bridge {bridge}."
            ),
            ELOOP => format!(
                "device {port} is a bridge device itself; can't add a bridge device to a bridge device."
            ),
            errno => format!("can't add {port} to bridge {bridge}: {}", tool::reason(errno)),
        })?;
    }
    Ok(())
}

fn add_port(facts: &NetFacts, bridge: &str, port: &str) -> Result<(), i32> {
    let port = name(port)
        .and_then(|name| facts.link(&name))
        .ok_or(ENODEV)?;
    let bridge = name(bridge)
        .and_then(|name| facts.link(&name))
        .ok_or(ENODEV)?;
    if bridge.bridge.is_none() {
        return Err(EOPNOTSUPP);
    }
    // A link that is a port of something else already would silently change over.
    if port.bridge.is_some() {
        return Err(ELOOP);
    }
    if port.master.is_some() {
        return Err(EBUSY);
    }
    port_step(&NetStep::SetMaster {
        name: port.name.clone(),
        to: Some(bridge.name.clone()),
        before: None,
    })
}

fn delif(arguments: &[String]) -> Done {
    let Some((bridge, ports)) = arguments.split_first() else {
        return Ok(());
    };
    for port in ports {
        let facts = look()?;
        remove_port(&facts, bridge, port).map_err(|errno| match errno {
            ENODEV if !is_there(&facts, port) => format!("interface {port} does not exist!"),
            ENODEV => format!("bridge {bridge} does not exist!"),
            EINVAL => format!("device {port} is not a port of {bridge}"),
            errno => format!("can't delete {port} from {bridge}: {}", tool::reason(errno)),
        })?;
    }
    Ok(())
}

fn remove_port(facts: &NetFacts, bridge: &str, port: &str) -> Result<(), i32> {
    let port = name(port)
        .and_then(|name| facts.link(&name))
        .ok_or(ENODEV)?;
    let bridge = name(bridge)
        .and_then(|name| facts.link(&name))
        .ok_or(ENODEV)?;
    if bridge.bridge.is_none() {
        return Err(EOPNOTSUPP);
    }
    if port.master.as_ref() != Some(&bridge.name) {
        return Err(EINVAL);
    }
    port_step(&NetStep::SetMaster {
        name: port.name.clone(),
        to: None,
        before: Some(bridge.name.clone()),
    })
}

fn switch(word: &str) -> Result<bool, String> {
    match word {
        "on" | "yes" | "1" => Ok(true),
        "off" | "no" | "0" => Ok(false),
        _ => Err("expect on/off for argument".to_owned()),
    }
}

fn set_bridge(word: &str, to: BridgeSet) -> Result<(), i32> {
    let name = bridge(word)?;
    let before = BridgeSet::default();
    step(&NetStep::SetBridge { name, to, before })
}

fn stp(arguments: &[String]) -> Done {
    let stp = Some(switch(argument(arguments, 1))?);
    let to = BridgeSet {
        stp,
        ..BridgeSet::default()
    };
    set_bridge(argument(arguments, 0), to)
        .map_err(|errno| format!("set stp status failed: {}", tool::reason(errno)))
}

/// A time of a bridge. `put` places it.
fn set_time(arguments: &[String], what: &str, sort: &str, put: fn(&mut BridgeSet, u32)) -> Done {
    let seconds = double(argument(arguments, 1)).ok_or_else(|| format!("bad {what} value"))?;
    let mut to = BridgeSet::default();
    put(&mut to, hundredths(seconds));
    set_bridge(argument(arguments, 0), to)
        .map_err(|errno| format!("set {sort} failed: {}", tool::reason(errno)))
}

fn setageing(arguments: &[String]) -> Done {
    set_time(arguments, "ageing time", "ageing time", |set, time| {
        set.ageing_time = Some(time);
    })
}

fn setfd(arguments: &[String]) -> Done {
    set_time(arguments, "forward delay", "forward delay", |set, time| {
        set.forward_delay = Some(time);
    })
}

fn sethello(arguments: &[String]) -> Done {
    set_time(arguments, "hello timer", "hello timer", |set, time| {
        set.hello_time = Some(time);
    })
}

fn setmaxage(arguments: &[String]) -> Done {
    set_time(arguments, "max age", "max age", |set, time| {
        set.max_age = Some(time);
    })
}

fn setbridgeprio(arguments: &[String]) -> Done {
    let priority = integer(argument(arguments, 1)).ok_or("bad priority")?;
    let to = BridgeSet {
        // What is above sixteen bits is cut off by the kernel.
        priority: Some(priority as u16),
        ..BridgeSet::default()
    };
    set_bridge(argument(arguments, 0), to)
        .map_err(|errno| format!("set bridge priority failed: {}", tool::reason(errno)))
}

/// A port, whatever bridge was named: the tool looks at the port alone.
fn set_port(port: &str, to: PortSet) -> Result<(), i32> {
    let facts = networks().map_err(|error| errno(&error))?;
    let name = name(port).ok_or(ENODEV)?;
    let link = facts.link(&name).ok_or(ENODEV)?;
    if link.port.is_none() {
        return Err(ENOENT);
    }
    let before = PortSet::default();
    step(&NetStep::SetPort { name, to, before })
}

fn setpathcost(arguments: &[String]) -> Done {
    let cost = integer(argument(arguments, 2)).ok_or("bad path cost value")?;
    let failed = |errno| format!("set path cost failed: {}", tool::reason(errno));
    let cost = u32::try_from(cost).unwrap_or(u32::MAX);
    let to = PortSet {
        cost: Some(cost),
        ..PortSet::default()
    };
    set_port(argument(arguments, 1), to).map_err(failed)
}

fn setportprio(arguments: &[String]) -> Done {
    let priority = integer(argument(arguments, 2)).ok_or("bad path priority value")?;
    let failed = |errno| format!("set port priority failed: {}", tool::reason(errno));
    let to = PortSet {
        // The kernel refuses more than 63; what would be cut to that is refused here.
        priority: Some(u16::try_from(priority).unwrap_or(u16::MAX)),
        ..PortSet::default()
    };
    set_port(argument(arguments, 1), to).map_err(failed)
}

fn hairpin(arguments: &[String]) -> Done {
    let hairpin = Some(switch(argument(arguments, 2))?);
    let (bridge, port) = (argument(arguments, 0), argument(arguments, 1));
    let facts = look()?;
    let to = PortSet {
        hairpin,
        ..PortSet::default()
    };
    let set = if is_there(&facts, bridge) {
        set_port(port, to)
    } else {
        Err(ENODEV)
    };
    set.map_err(|errno| match errno {
        ENODEV if !is_there(&facts, port) => format!("interface {port} does not exist!"),
        ENODEV => format!("bridge {bridge} does not exist!"),
        errno => format!(
            "can't set {port} to hairpin on bridge {bridge}: {}",
            tool::reason(errno)
        ),
    })
}
