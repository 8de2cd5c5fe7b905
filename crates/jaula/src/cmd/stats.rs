//! `jaula stats`: what jails use.

use crate::cmd::stop::targets;
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::{Done, Table, bytes, terminals, write_stdout};
use clap::{Arg, ArgAction, ArgMatches, Command};
use jaula_engine::Engine;
use jaula_engine::cgroup::Figures;
use jaula_engine::detached::Target;
use jaula_plan::names::JailName;
use serde_json::json;
use std::time::{Duration, Instant};

/// How often the figures are read again.
const PERIOD: Duration = Duration::from_secs(1);

/// Its operands and options.
pub fn command(command: Command) -> Command {
    command
        .about("Show what running jails use")
        .long_about(
            "Show the time on CPUs, memory, processes, input and output of running jails, all of them when none is \
             named: from their control groups, and where a jail has none, summed over its processes. On a terminal \
             the table is made anew every second.",
        )
        .arg(
            Arg::new("name")
                .value_name("NAME|PID")
                .num_args(0..)
                .help("The jails and runs [default: all that run]"),
        )
        .arg(
            Arg::new("once")
                .long("once")
                .action(ArgAction::SetTrue)
                .help("Show it once, on a terminal too"),
        )
}

/// The figures of one jail at one time.
struct Sample {
    name: JailName,
    pid: u32,
    figures: Figures,
}

fn samples(
    matches: &ArgMatches,
    engine: &Engine,
    context: &Context,
) -> Result<Vec<Sample>, CommandError> {
    let targets: Vec<Target> = match matches.contains_id("name") {
        true => targets(matches, engine, context, "show what is used by")?,
        false => engine
            .running(&context.progress)
            .map_err(|error| failed("cannot list what runs", error))?,
    };
    let sample = |target: Target| {
        Some(Sample {
            figures: engine.figures(&target)?,
            pid: target.running().pid,
            name: target.name().clone(),
        })
    };
    Ok(targets.into_iter().filter_map(sample).collect())
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let engine = context.engine(None, false)?;
    let [_, terminal, _] = terminals();
    let mut before = (samples(matches, &engine, context)?, Instant::now());
    if matches.get_flag("once") || !terminal || context.out.json() {
        return context.out.result(
            "stats",
            || {
                let all = before.0.iter().map(|sample| {
                    json!({ "name": sample.name, "pid": sample.pid, "figures": sample.figures })
                });
                json!({ "jails": all.collect::<Vec<_>>() })
            },
            || table(&before.0, None),
        );
    }
    loop {
        std::thread::sleep(PERIOD);
        let now = (samples(matches, &engine, context)?, Instant::now());
        let text = table(&now.0, Some((&before.0, now.1 - before.1)));
        // From the top of the screen; what was there before goes (ECMA-48, CUP and ED).
        write_stdout(&format!("\x1b[H\x1b[J{text}\n"))?;
        before = now;
    }
}

fn table(samples: &[Sample], before: Option<(&[Sample], Duration)>) -> String {
    let mut table = Table::new(&[
        "NAME", "PID", "CPU", "TIME", "MEMORY", "PIDS", "READ", "WRITTEN", "RECEIVED", "SENT",
    ]);
    let optional = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), bytes);
    for sample in samples {
        let figures = &sample.figures;
        let share = before.and_then(|(all, time)| {
            let former = all.iter().find(|other| other.pid == sample.pid)?;
            let used = figures.cpu_micros.saturating_sub(former.figures.cpu_micros);
            Some(format!(
                "{:.1}%",
                used as f64 * 100.0 / time.as_micros() as f64
            ))
        });
        let memory = match figures.memory_limit {
            Some(limit) => format!("{} / {}", bytes(figures.memory), bytes(limit)),
            None => bytes(figures.memory),
        };
        let pids = match figures.pids_limit {
            Some(limit) => format!("{} / {limit}", figures.pids),
            None => figures.pids.to_string(),
        };
        table.row([
            &sample.name,
            &sample.pid,
            &share.unwrap_or_else(|| "-".to_owned()),
            &format!("{:.2}s", figures.cpu_micros as f64 / 1e6),
            &memory,
            &pids,
            &optional(figures.io_read),
            &optional(figures.io_written),
            &optional(figures.net_received),
            &optional(figures.net_sent),
        ]);
    }
    table.text()
}
