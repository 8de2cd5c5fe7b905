//! `jaula net lab`: whole networks, simulated.

mod look;

pub use look::{check, check_command, graph, graph_command, ls, ls_command, show, show_command};

use crate::args::{high, low, options};
use crate::cmd::{Context, failed};
use crate::error::{CommandError, Kind};
use crate::output::{Done, write_stderr};
use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::EngineError;
use jaula_engine::lab::{Bounds, LabEntry, LabRunError};
use jaula_plan::explain::shown;
use jaula_plan::names::JailName;
use jaula_plan::spec::limits::{Limits, parse_duration};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// A capture ends by itself after so many bytes.
const MAX_BYTES: u64 = 64 << 20;

fn node_arg() -> Arg {
    Arg::new("node")
        .value_name("HOST")
        .required(true)
        .help("The node: a host or a router")
}

fn lab_arg() -> Arg {
    Arg::new("lab")
        .value_name("LAB")
        .help("The lab [default: the only one that runs]")
}

fn which() -> Arg {
    lab_arg().long("lab").value_name("NAME")
}

/// The lab that `lab` names, or the only one. As the caller himself: who joins it may not have gone elsewhere.
fn lab(
    matches: &ArgMatches,
    context: &Context,
    attempt: &str,
) -> Result<(jaula_engine::Engine, LabEntry), CommandError> {
    let name: Option<JailName> = match low::text(matches, "lab") {
        Some(word) => Some(low::parse("the name of a lab", word)?),
        None => None,
    };
    let engine = context.engine(None, false)?;
    let entry = engine.lab(name.as_ref());
    let entry = entry.map_err(|error| failed(attempt, error))?;
    Ok((engine, entry))
}

/// The operands and options of `net lab up`.
pub fn up_command(command: Command) -> Command {
    let command = command
        .about("Start a simulated network that a file describes")
        .long_about(
            "Start a simulated network that a TOML file describes: LANs, routers, hosts and links between them. All of \
             it is in one user and network namespace: an ordinary user may start it, and the host's own network shows \
             nothing of it. It goes on until lab down.",
        )
        .after_help(
            "Examples:\n  \
             jaula net lab up campus.toml\n  \
             jaula net lab up campus.toml --explain > campus.sh\n  \
             jaula net lab run ana -- ping -c1 bob",
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .help("The file"),
        )
        .arg(
            Arg::new("name")
                .long("name")
                .value_name("NAME")
                .help("What it is called [default: as the file says, or the file's name]"),
        );
    options::preview(command)
}

/// Starts a lab.
pub fn up(matches: &ArgMatches, context: &Context) -> Done {
    let file = low::path(matches, "file").unwrap_or_default();
    let name = match low::text(matches, "name") {
        Some(word) => Some(low::parse("the name of a lab", word)?),
        None => None,
    };
    let attempt = format!("cannot start the lab of {}", shown(&file));
    let refused = |error| failed(attempt.clone(), error);
    let engine = context.engine(None, false)?;
    let plan = engine.plan_lab(&file, name).map_err(refused)?;
    let asked = low::Shown::read(matches);
    if asked != low::Shown::Done {
        return context.show(asked, &plan);
    }
    let entry = engine.lab_up(&plan, &context.progress).map_err(refused)?;
    context.progress.clear();
    let plan = &entry.plan;
    let text = || {
        let (nodes, lans) = (plan.nodes.len(), plan.switches.len());
        let many = |count: usize, one: &str| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {one}s"),
        };
        format!(
            "{}: {}, {}",
            plan.name,
            many(nodes, "node"),
            many(lans, "LAN")
        )
    };
    context.out.did(
        "lab",
        || json!({ "name": plan.name, "pid": entry.keeper.pid, "plan": plan }),
        text,
    )
}

/// The operands and options of `net lab down`.
pub fn down_command(command: Command) -> Command {
    command
        .about("End a simulated network with all that runs in it")
        .arg(lab_arg())
}

/// Ends a lab.
pub fn down(matches: &ArgMatches, context: &Context) -> Done {
    let (engine, entry) = lab(matches, context, "cannot end the lab")?;
    let name = &entry.plan.name;
    engine
        .lab_down(&entry)
        .map_err(|error| failed(format!("cannot end lab {name}"), error))?;
    context
        .out
        .did("ended", || json!({ "name": name }), String::new)
}

/// The operands and options of `net lab run`.
pub fn run_command(command: Command) -> Command {
    let command = command
        .about("Run a program in a node of a simulated network")
        .long_about(
            "Run a program in a node: with the node's network, host name, and /etc/hosts that names all nodes, and with \
             processes and mounts of its own, as in any jail. Its root may change the node's addresses and routes.",
        )
        .after_help("Examples:\n  jaula net lab run ana -- ping -c1 bob\n  jaula net lab run r1 -- ip route")
        .arg(node_arg())
        .arg(options::program("Program and arguments [default: an interactive shell]"))
        .arg(which());
    options::process(command)
}

/// Runs a program in a node.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let node = low::text(matches, "node").unwrap_or_default();
    let attempt = format!("cannot run a program in {node}");
    let mut spec = high::exec_spec(&low::process(matches)?, Limits::default());
    spec.cwd.get_or_insert_with(|| "/".into());
    let (engine, entry) = lab(matches, context, &attempt)?;
    match engine.lab_run(&entry, node, &spec, context.around.io()) {
        Ok(code) => jaula_engine::leave(code),
        Err(error) => {
            let kind = match &error {
                EngineError::Lab(LabRunError::Node { code: 126, .. }) => Some(Kind::NotExecutable),
                EngineError::Lab(LabRunError::Node { code: 127, .. }) => Some(Kind::NotFound),
                _ => None,
            };
            let mut refused = failed(attempt, error);
            refused.kind = kind.unwrap_or(refused.kind);
            Err(refused)
        }
    }
}

/// The operands and options of `net lab sh`.
pub fn sh_command(command: Command) -> Command {
    let command = command
        .about("Start an interactive shell in a node of a simulated network")
        .arg(node_arg())
        .arg(options::program("Program and arguments").hide(true))
        .arg(which());
    options::process(command)
}

/// Starts a shell in a node.
pub fn sh(matches: &ArgMatches, context: &Context) -> Done {
    run(matches, context)
}

/// The operands and options of `net lab pcap`.
pub fn pcap_command(command: Command) -> Command {
    let one = |name: &'static str, placeholder: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(placeholder).help(help)
    };
    command
        .about("Capture what passes a node, as a pcapng file")
        .long_about(
            "Write what passes a node's interface, or all of them, into a pcapng file, which Wireshark and tcpdump read. \
             It ends with a signal (Ctrl-C), or after --count frames, --seconds, or --size, which is 64 MiB unless told \
             otherwise.",
        )
        .after_help("Examples:\n  jaula net lab pcap r1/eth0 -o r1.pcapng --seconds 10")
        .arg(
            Arg::new("node")
                .value_name("HOST[/IF]")
                .required(true)
                .help("The node, and its interface"),
        )
        .arg(
            one("output", "FILE", "Where")
                .short('o')
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath),
        )
        .arg(one("count", "N", "End after so many frames").value_parser(value_parser!(u64).range(1..)))
        .arg(one("seconds", "TIME", "End after so long: 10, 1m, 500ms"))
        .arg(one("size", "BYTES", "End before the file is longer [default: 67108864]").value_parser(value_parser!(u64).range(1024..)))
        .arg(which())
}

/// Captures.
pub fn pcap(matches: &ArgMatches, context: &Context) -> Done {
    let word = low::text(matches, "node").unwrap_or_default();
    let (node, interface) = match word.split_once('/') {
        Some((node, interface)) => (node, Some(interface)),
        None => (word, None),
    };
    let file = low::path(matches, "output").unwrap_or_default();
    let number = |name: &str| matches.get_one::<u64>(name).copied();
    let time: Option<Duration> = match low::text(matches, "seconds") {
        None => None,
        Some(word) => Some(parse_duration(word).map_err(|why| {
            CommandError::usage(format!("cannot use {word:?} for --seconds: {why}"))
        })?),
    };
    let bounds = Bounds {
        frames: number("count").unwrap_or(u64::MAX),
        time,
        bytes: number("size").unwrap_or(MAX_BYTES),
    };
    let attempt = format!("cannot capture what passes {word}");
    let (engine, entry) = lab(matches, context, &attempt)?;
    let mut ready = || {
        if !context.global.quiet && !context.out.json() {
            write_stderr(&format!("capturing into {}\n", shown(&file)));
        }
    };
    let captured = engine.lab_capture(&entry, node, interface, &file, bounds, &mut ready);
    let captured = captured.map_err(|error| failed(attempt, error))?;
    context.out.did(
        "captured",
        || json!({ "file": file, "frames": captured.frames, "bytes": captured.bytes, "lost": captured.lost }),
        || {
            let lost = match captured.lost {
                0 => String::new(),
                lost => format!("; {lost} more came faster than they could be written, and are lost"),
            };
            format!("{} frames, {} bytes{lost}", captured.frames, captured.bytes)
        },
    )
}
