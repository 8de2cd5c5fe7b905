//! `jaula net lab ls`, `lab show`, `lab graph` and `lab check`.

use super::{lab, lab_arg, which};
use crate::args::low;
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::{Done, Table, write_stdout};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_plan::lab::{LabNode, dot, drawing, route_word, svg};
use serde_json::json;
use std::path::PathBuf;

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn kind(node: &LabNode) -> &'static str {
    if node.router { "router" } else { "host" }
}

/// The operands and options of `net lab ls`.
pub fn ls_command(command: Command) -> Command {
    command.about("List the simulated networks that run")
}

/// Lists labs.
pub fn ls(_matches: &ArgMatches, context: &Context) -> Done {
    let engine = context.engine(None, false)?;
    let labs = engine.labs();
    let labs = labs.map_err(|error| failed("cannot list the labs", error))?;
    let shape = || {
        let shapes = labs.iter().map(|lab| {
            json!({
                "name": lab.plan.name, "pid": lab.keeper.pid, "nodes": lab.plan.nodes.len(),
                "lans": lab.plan.switches.len(), "cables": lab.plan.cables.len(),
            })
        });
        json!({ "labs": shapes.collect::<Vec<_>>() })
    };
    context.out.result("labs", shape, || {
        let mut table = Table::new(&["LAB", "NODES", "LANS", "CABLES", "PID"]);
        for lab in &labs {
            let plan = &lab.plan;
            let (nodes, lans, cables) = (plan.nodes.len(), plan.switches.len(), plan.cables.len());
            table.row([&plan.name, &nodes, &lans, &cables, &lab.keeper.pid]);
        }
        table.text()
    })
}

/// The operands and options of `net lab show`.
pub fn show_command(command: Command) -> Command {
    command
        .about("Show the nodes of a simulated network, their interfaces, addresses and routes")
        .arg(
            Arg::new("node")
                .value_name("HOST")
                .help("Only this node, with its routes"),
        )
        .arg(which())
}

/// Shows a lab.
pub fn show(matches: &ArgMatches, context: &Context) -> Done {
    let attempt = "cannot show the lab";
    let (_, entry) = lab(matches, context, attempt)?;
    let plan = &entry.plan;
    let only = match low::text(matches, "node") {
        None => None,
        Some(name) => {
            let at = entry.node(name);
            Some(at.map_err(|error| failed(attempt, error.into()))?)
        }
    };
    let nodes = || {
        let all = plan.nodes.iter().enumerate();
        all.filter(|(at, _)| only.is_none_or(|only| only == *at))
            .map(|(_, node)| node)
    };
    let shape = || {
        let nodes: Vec<&LabNode> = nodes().collect();
        json!({ "name": plan.name, "pid": entry.keeper.pid, "lans": plan.switches, "nodes": nodes })
    };
    context.out.result("lab", shape, || {
        let mut links = Table::new(&["NODE", "KIND", "IF", "ON", "MAC", "ADDRESSES"]);
        let mut routes = Table::new(&["NODE", "TO", "VIA", "IF"]);
        let mut any = false;
        for node in nodes() {
            for (place, link) in node.interfaces.iter().enumerate() {
                let list: Vec<String> = link.addresses.iter().map(ToString::to_string).collect();
                let (name, kind) = match place {
                    0 => (node.name.as_str(), kind(node)),
                    _ => ("", ""),
                };
                links.row([
                    &name,
                    &kind,
                    &link.name,
                    &link.to,
                    &link.mac,
                    &list.join(" "),
                ]);
            }
            if node.interfaces.is_empty() {
                links.row([&node.name, &kind(node), &"-", &"-", &"-", &"-"]);
            }
            for way in &node.routes {
                any = true;
                let device = node.interfaces.get(way.interface);
                let device = device.map_or("-", |device| device.name.as_str());
                routes.row([&node.name, &route_word(way.to), &way.via, &device]);
            }
        }
        match any {
            true => format!("{}\n{}", links.text(), routes.text()),
            false => links.text(),
        }
    })
}

/// The operands and options of `net lab graph`.
pub fn graph_command(command: Command) -> Command {
    command
        .about("Draw a simulated network: in the terminal, as SVG, or for Graphviz")
        .arg(lab_arg())
        .arg(switch("ascii", "With plain characters").conflicts_with_all(["svg", "dot"]))
        .arg(switch("dot", "In the language of Graphviz").conflicts_with("svg"))
        .arg(
            Arg::new("svg")
                .long("svg")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .help("As SVG, into a file"),
        )
}

/// Draws a lab.
pub fn graph(matches: &ArgMatches, context: &Context) -> Done {
    let (_, entry) = lab(matches, context, "cannot draw the lab")?;
    let plan = &entry.plan;
    if let Some(file) = low::path(matches, "svg") {
        return match std::fs::write(&file, svg(plan)) {
            Ok(()) => context
                .out
                .did("drawn", || json!({ "file": file }), String::new),
            Err(error) => {
                let file = jaula_plan::explain::shown(&file);
                Err(CommandError::failed(format!("cannot write {file}")).because(error))
            }
        };
    }
    if matches.get_flag("dot") {
        return write_stdout(&dot(plan));
    }
    let ascii = matches.get_flag("ascii");
    let text = || drawing(plan, ascii);
    context.out.result("lab", || json!({ "plan": plan }), text)
}

/// The operands and options of `net lab check`.
pub fn check_command(command: Command) -> Command {
    command
        .about("Try who reaches whom in a simulated network, with real packets")
        .long_about(
            "Send echo requests, IPv4 and IPv6, between the pairs that the file expects ([[expect]]), or else between \
             all nodes. The exit code is 1 when something is not as expected.",
        )
        .arg(lab_arg())
}

/// Checks a lab.
pub fn check(matches: &ArgMatches, context: &Context) -> Done {
    let attempt = "cannot check the lab";
    let (engine, entry) = lab(matches, context, attempt)?;
    let answers = engine.lab_check(&entry);
    let answers = answers.map_err(|error| failed(attempt, error))?;
    let wrong: Vec<_> = answers.iter().filter(|a| a.reached != a.expected).collect();
    let code = u8::from(!wrong.is_empty());
    let shape = || json!({ "name": entry.plan.name, "tried": answers.len(), "wrong": wrong, "answers": answers });
    context.out.result("check", shape, || {
        if wrong.is_empty() {
            return format!("{}: all {} are as expected", entry.plan.name, answers.len());
        }
        let mut table = Table::new(&["FROM", "TO", "ADDRESS", "EXPECTED", "FOUND"]);
        let word = |reached| if reached { "an answer" } else { "no answer" };
        for answer in &wrong {
            let (expected, found) = (word(answer.expected), word(answer.reached));
            table.row([&answer.from, &answer.to, &answer.address, &expected, &found]);
        }
        format!(
            "{}{} of {} are not as expected",
            table.text(),
            wrong.len(),
            answers.len()
        )
    })?;
    Ok(code)
}
