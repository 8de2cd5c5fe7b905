//! `jaula enter`: a program where a process or a running jail is.

use crate::args::{high, low, options};
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgAction, ArgMatches, Command};
use jaula_engine::detached::Entry;
use jaula_engine::{Engine, EngineError};
use jaula_plan::enter::EnterSpec;
use jaula_plan::names::JailName;
use jaula_plan::spec::limits::Limits;

/// The kinds of namespaces, as below `/proc/PID/ns`.
const KINDS: [&str; 8] = ["mnt", "net", "pid", "uts", "ipc", "user", "cgroup", "time"];

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Run a program where a process or a running jail is")
        .long_about(
            "Run a program, or an interactive shell, in the namespaces, the root and the jail's control groups of a \
             process (PID) or of a named jail that runs (NAME), under what holds it: its bounding set, no new \
             privileges and a system call filter when it has them. A pid that is used again by another process is \
             not entered.",
        )
        .after_help(
            "Examples:\n  \
             jaula enter 4242 -- hostname\n  \
             jaula enter 4242 --only uts,net -- ip addr\n  \
             jaula enter web",
        )
        .arg(
            Arg::new("target")
                .value_name("PID|NAME")
                .required(true)
                .help("A process, a named jail or a run in the background that goes on, or what ns keep kept"),
        )
        .arg(options::program(
            "Program and arguments [default: an interactive shell]",
        ))
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("KIND,…")
                .action(ArgAction::Append)
                .value_delimiter(',')
                .value_parser(KINDS)
                .hide_possible_values(true)
                .help("Join only these: mnt, net, pid, uts, ipc, user, cgroup, time"),
        );
    options::process(options::preview(command))
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let target = low::text(matches, "target").unwrap_or_default();
    let process = low::process(matches)?;
    let only: Vec<String> = matches
        .get_many::<String>("only")
        .map(|kinds| kinds.cloned().collect())
        .unwrap_or_default();
    if let Some(pid) = pid(target)? {
        return enter_process(pid, &spec(&process, only), matches, context);
    }
    let name: JailName = low::parse("PID or the name of a jail", target)?;
    let engine = context.engine(None, false)?;
    let attempt = format!("cannot enter {name}");
    // A run in the background is its program; what is kept has no process.
    let run = engine
        .run_entry(&name)
        .map_err(|error| failed(attempt.clone(), error))?;
    if let Some(entry) = run.filter(Entry::is_alive) {
        let spec = spec(&process, only);
        return enter_process(entry.running.pid, &spec, matches, context);
    }
    if engine.jail(&name).is_err() && engine.find_kept(&name).is_ok() {
        let spec = spec(&process, only);
        return enter_kept(&engine, &name, &spec, matches, context);
    }
    if !only.is_empty() {
        return Err(
            CommandError::usage(format!("cannot join a part of jail {name} only"))
                .hint("give the pid of one of its processes: jaula ps lists them"),
        );
    }
    enter_jail(&name, &process, matches, context)
}

fn spec(process: &low::ProcessArgs, only: Vec<String>) -> EnterSpec {
    let exec = high::exec_spec(process, Limits::default());
    EnterSpec {
        only,
        user: exec.user,
        cwd: exec.cwd,
        env: exec.env,
        terminal: exec.terminal,
        command: exec.command,
    }
}

fn enter_kept(
    engine: &Engine,
    name: &JailName,
    spec: &EnterSpec,
    matches: &ArgMatches,
    context: &Context,
) -> Done {
    let shown = low::Shown::read(matches);
    let explained = |error: EngineError| failed(format!("cannot enter {name}"), error);
    let plan = engine.plan_enter_kept(name, spec).map_err(explained)?;
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    let outcome = engine
        .enter(&plan, context.around.io())
        .map_err(explained)?;
    Ok(context.outcome(&outcome))
}

/// The operand as a process; a name starts with a letter.
fn pid(word: &str) -> Result<Option<u32>, CommandError> {
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(None);
    }
    let digits = word.bytes().all(|b| b.is_ascii_digit());
    match word.parse::<u32>() {
        Ok(pid) if digits && (1..=i32::MAX as u32).contains(&pid) => Ok(Some(pid)),
        _ => Err(CommandError::usage(format!(
            "cannot enter {word:?}: it is neither a pid nor the name of a jail"
        ))),
    }
}

fn enter_process(pid: u32, spec: &EnterSpec, matches: &ArgMatches, context: &Context) -> Done {
    let shown = low::Shown::read(matches);
    let explained = |error: EngineError| failed(format!("cannot enter process {pid}"), error);
    // Outside the session, whose root has no more rights over the process than its user.
    let engine = context.engine(None, false)?;
    let plan = engine.plan_enter(pid, spec).map_err(explained)?;
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    let outcome = engine
        .enter(&plan, context.around.io())
        .map_err(explained)?;
    Ok(context.outcome(&outcome))
}

fn enter_jail(
    name: &JailName,
    process: &low::ProcessArgs,
    matches: &ArgMatches,
    context: &Context,
) -> Done {
    let shown = low::Shown::read(matches);
    let explained = |error: EngineError| failed(format!("cannot enter jail {name}"), error);
    let mut spec = high::exec_spec(process, Limits::default());
    spec.cwd.get_or_insert_with(|| "/".into());
    let engine = context.engine(None, false)?;
    let plan = engine.plan_exec(name, &spec).map_err(explained)?;
    if !plan.joins() {
        return Err(
            CommandError::failed(format!("cannot enter jail {name}: it does not run"))
                .hint(format!("jaula exec {name} starts it")),
        );
    }
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    let outcome = engine
        .exec(&plan, context.around.io(), &context.progress)
        .map_err(explained)?;
    Ok(context.outcome(&outcome))
}
