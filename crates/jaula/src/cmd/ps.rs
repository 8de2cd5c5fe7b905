//! `jaula ps`: the processes of jails that run.

use crate::cmd::{Context, failed};
use crate::compat::smartcols::{Column, Form, Row, Table};
use crate::compat::util_linux::utf8;
use crate::error::CommandError;
use crate::output::{Done, bytes, terminals, write_stdout_bytes};
use clap::{Arg, ArgMatches, Command};
use jaula_engine::probe::{output_width, user_names};
use jaula_engine::processes::JailProcess;
use serde_json::json;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    command
        .about("List the processes of jails that run")
        .long_about(
            "List the processes of named jails and runs of this store that go on, and of runs in the foreground, \
             which have no name: their numbers outside and inside, whose they are, their state, time on CPUs and \
             memory. An ordinary user sees his own.",
        )
        .arg(
            Arg::new("name")
                .value_name("NAME|PID")
                .num_args(0..)
                .help("The jails and runs [default: all that run]"),
        )
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let engine = context.engine(None, false)?;
    let targets = engine
        .running(&context.progress)
        .map_err(|error| failed("cannot list what runs", error))?;
    let jails: Vec<_> = targets
        .iter()
        .map(|target| {
            let running = target.running();
            (target.name().clone(), running.pid, running.start_time)
        })
        .collect();
    let mut found = engine
        .processes(&jails)
        .map_err(|error| failed("cannot list the processes", error))?;
    let words: Vec<&String> = matches.get_many("name").into_iter().flatten().collect();
    // A process stands for the jail that it is in.
    let firsts: Vec<Option<u32>> = words
        .iter()
        .map(|word| {
            let meant = found.iter().find(|process| is_meant(process, word));
            meant.map(|process| process.first)
        })
        .collect();
    for (word, first) in words.iter().zip(&firsts) {
        if first.is_none() {
            return Err(CommandError::failed(format!(
                "cannot list the processes of {word}: nothing of that name or pid runs in a jail"
            ))
            .hint("jaula ps lists all that run; jaula ls the jails that can be started"));
        }
    }
    found.retain(|process| words.is_empty() || firsts.contains(&Some(process.first)));
    let users = user_names();
    let user = |uid: u32| users.get(&uid).cloned().unwrap_or_else(|| uid.to_string());
    if context.out.json() {
        let shapes = found.iter().map(|process| {
            json!({
                "jail": process.jail, "first": process.first, "pid": process.pid, "inner": process.inner,
                "uid": process.uid, "user": user(process.uid), "state": process.state.to_string(),
                "cpu_millis": process.cpu_millis, "memory": process.memory,
                "command": String::from_utf8_lossy(&process.command),
            })
        });
        let shapes: Vec<_> = shapes.collect();
        return context
            .out
            .result("processes", || json!({ "processes": shapes }), String::new);
    }
    let rows = found.iter().map(|process| {
        let name = process
            .jail
            .as_ref()
            .map_or("-".to_owned(), |name| name.to_string());
        let cells = [
            name,
            process.pid.to_string(),
            process.inner.to_string(),
            user(process.uid),
            process.state.to_string(),
            time(process.cpu_millis),
            bytes(process.memory),
        ];
        let mut cells: Vec<Vec<u8>> = cells.into_iter().map(String::into_bytes).collect();
        cells.push(process.command.clone());
        Row {
            cells,
            parent: None,
        }
    });
    let table = Table {
        name: "processes",
        columns: columns(),
        rows: rows.collect(),
        headings: true,
        utf8: utf8(),
    };
    let [_, stdout, _] = terminals();
    let terminal = stdout.then(|| output_width().unwrap_or(80));
    write_stdout_bytes(&table.text(Form::Aligned { terminal }))
}

/// Whether a word names a process's jail, or the process.
fn is_meant(process: &JailProcess, word: &str) -> bool {
    let name = process
        .jail
        .as_ref()
        .is_some_and(|name| name.as_str() == word);
    name || word.parse() == Ok(process.pid)
}

fn columns() -> Vec<Column> {
    let column = |name, right| Column {
        name,
        hint: 0,
        right,
        cut: name == "COMMAND",
        tree: false,
        lines: false,
        number: false,
    };
    vec![
        column("JAIL", false),
        column("PID", true),
        column("INSIDE", true),
        column("USER", false),
        column("S", false),
        column("TIME", true),
        column("MEMORY", true),
        column("COMMAND", false),
    ]
}

/// `3.2 s`, `1:02:03`.
fn time(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..60 => format!("{}.{} s", seconds, millis % 1000 / 100),
        60..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => format!(
            "{}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        ),
    }
}
