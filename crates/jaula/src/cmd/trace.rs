//! `jaula trace`: a program under observation, and what it used as a file.

pub mod jailed;

use crate::args::{high, low, options};
use crate::cmd::{Context, failed};
use crate::error::{CommandError, Kind};
use crate::output::{Done, clean, write_stderr};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::trace::{self, TracePlan, TraceSpec, Tried, WatchError, Watched};
use jaula_engine::{EngineError, ExecSpec, Status};
use jaula_plan::names::JailName;
use jaula_plan::spec::limits::Limits;
use jaula_plan::trace::{Difference, Trace};
use serde_json::json;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Run a program and write down what it uses")
        .long_about(
            "Run a program once, with all that it starts, and write down what it opens, executes, connects to and \
             becomes: a file to be read and edited, from which jaula new --from-trace makes a jail and jaula run \
             --seccomp takes a profile. Nothing is refused to it, and nobody has to be root; set-uid programs have no \
             effect.",
        )
        .after_help(
            "Examples:\n  jaula trace -o nginx.toml --for 10s -- nginx -g 'daemon off;'\n  \
             jaula trace -o app.toml --merge app.toml -- python3 app.py --once\n  \
             jaula trace --in web --against nginx.toml --for 10s -- nginx -g 'daemon off;'\n\n\
             The exit code is the program's.",
        )
        .args([
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("FILE")
                .value_parser(value_parser!(OsString))
                .value_hint(ValueHint::FilePath)
                .help("Where it is written; - for standard output"),
            Arg::new("merge")
                .long("merge")
                .value_name("FILE")
                .action(ArgAction::Append)
                .value_parser(value_parser!(OsString))
                .value_hint(ValueHint::FilePath)
                .help("Add what an earlier trace has, if it is there"),
            duration(),
            Arg::new("each-look")
                .long("each-look")
                .action(ArgAction::SetTrue)
                .help("Note each file that a walk through directories looks at, too: this takes some times as long"),
            Arg::new("in")
                .long("in")
                .value_name("NAME")
                .help("Run it in this jail, as jaula exec does"),
            Arg::new("against")
                .long("against")
                .value_name("FILE")
                .value_parser(value_parser!(OsString))
                .value_hint(ValueHint::FilePath)
                .requires("in")
                .help("Tell what is missing in the jail, of what this trace found outside"),
        ])
        .arg(options::program("Program and arguments").required(true));
    options::preview(command)
}

/// `--for`
pub fn duration() -> Arg {
    Arg::new("for")
        .long("for")
        .value_name("TIME")
        .help("Tell it to end (SIGTERM) after this long, as 10s or 2m")
}

/// The time of `--for`.
///
/// # Errors
/// When it is none.
pub fn time(matches: &ArgMatches) -> Result<Option<Duration>, CommandError> {
    let Some(text) = low::text(matches, "for") else {
        return Ok(None);
    };
    jaula_plan::spec::limits::parse_duration(text)
        .map(Some)
        .map_err(|error| {
            CommandError::usage(format!("cannot use {text:?} for --for: {error}"))
                .hint("write a number and s, m or h")
        })
}

/// The error of a watch, with the exit code of its program.
fn unwatched(attempt: String, error: EngineError) -> CommandError {
    let code = match &error {
        EngineError::Watch(error) => error.exit_code(),
        _ => 125,
    };
    let mut failed = failed(attempt, error);
    failed.kind = match code {
        127 => Kind::NotFound,
        126 => Kind::NotExecutable,
        _ => failed.kind,
    };
    failed
}

/// The file of a path.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<Trace, CommandError> {
    trace::read_file(path).map_err(|error| {
        CommandError::usage(format!("cannot read the trace {}", path.display())).because(error)
    })
}

/// Runs a program outside of any jail, and says what it used.
///
/// # Errors
/// When it cannot be watched.
pub fn outside(
    context: &Context,
    command: Vec<OsString>,
    time: Option<Duration>,
    each_look: bool,
) -> Result<Watched, CommandError> {
    let mut spec = spec(context, command, time);
    spec.each_look = each_look;
    let attempt = format!(
        "cannot watch {}",
        spec.command
            .first()
            .map(|w| w.to_string_lossy())
            .unwrap_or_default()
    );
    trace::watch(&spec).map_err(|error: WatchError| unwatched(attempt, error.into()))
}

fn spec(context: &Context, command: Vec<OsString>, time: Option<Duration>) -> TraceSpec {
    TraceSpec {
        command,
        env: high::own_environment(),
        directory: context.around.cwd.clone().unwrap_or_else(|| "/".into()),
        time,
        each_look: false,
    }
}

/// Runs a program in a named jail, and says what it used there.
///
/// # Errors
/// When it cannot be watched.
pub fn inside(
    context: &Context,
    name: &JailName,
    command: Vec<OsString>,
    time: Option<Duration>,
    env: Vec<(OsString, OsString)>,
    tried: &Tried,
) -> Result<Watched, CommandError> {
    let attempt = format!("cannot watch a program in jail {name}");
    let engine = context.engine(None, false)?;
    let exec = ExecSpec {
        env,
        command,
        limits: Limits::default(),
        ..ExecSpec::default()
    };
    engine
        .trace_in_jail(name, &exec, time, tried, &context.progress)
        .map_err(|error| unwatched(attempt, error))
}

/// One line for a person, on standard error: standard output is the program's.
pub fn tell(context: &Context, line: &str) {
    if !context.global.quiet {
        write_stderr(&format!("jaula: {}\n", clean(line)));
    }
}

/// Tells what the trace does not hold.
pub fn tell_unseen(context: &Context, watched: &Watched) {
    if watched.unread > 0 {
        tell(
            context,
            &format!(
                "{} calls could not be read: they are of programs that nobody may look into",
                watched.unread
            ),
        );
    }
    if watched.left_out > 0 {
        tell(
            context,
            &format!(
                "{} uses are left out: there are more different ones than a trace holds",
                watched.left_out
            ),
        );
    }
}

/// Tells what is missing inside.
pub fn tell_difference(context: &Context, name: &JailName, found: &Difference) {
    if context.out.json() {
        let version = crate::output::JSON_VERSION;
        let shape =
            json!({ "version": version, "event": "difference", "jail": name, "difference": found });
        write_stderr(&format!("{shape}\n"));
        return;
    }
    for missing in &found.missing {
        let by = match missing.by.is_empty() {
            true => String::new(),
            false => format!(", asked for by {}", missing.by),
        };
        tell(
            context,
            &format!("missing in jail {name}: {}{by}", missing.path.display()),
        );
    }
    if !found.refused.is_empty() {
        let calls = found.refused.join(" ");
        tell(
            context,
            &format!(
                "refused in jail {name} by the profile of what was seen: {calls}; add what it needs to calls in the file of the trace"
            ),
        );
    }
    match found.is_empty() {
        true => tell(context, &format!("jail {name}: nothing is missing")),
        false => tell(
            context,
            "add what it needs to the file of the trace, under read, and make the jail anew",
        ),
    }
}

/// In a few words.
fn summary(trace: &Trace) -> String {
    format!(
        "{} programs, {} files read, {} written, {} addresses, {} system calls",
        trace.programs.len(),
        trace.read.len().saturating_add(trace.looked.len()),
        trace.written.len(),
        trace.connects.len().saturating_add(trace.binds.len()),
        trace.calls.len()
    )
}

/// The exit code of the program.
pub fn code(status: Status) -> u8 {
    match status {
        Status::Exited(code) => code,
        Status::Signalled(signal) => u8::try_from(signal).map_or(255, |n| n.saturating_add(128)),
    }
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let time = time(matches)?;
    let command = low::words(matches, "command");
    let path = |name: &str| matches.get_one::<OsString>(name).map(PathBuf::from);
    let output = path("output").filter(|path| path != Path::new("-"));
    let jail: Option<JailName> = low::text(matches, "in")
        .map(|name| low::parse("the name of a jail", name))
        .transpose()?;
    if jail.is_none() && !matches.contains_id("output") {
        return Err(CommandError::usage("cannot trace: -o FILE is missing")
            .hint("-o - writes to standard output"));
    }
    let merged: Vec<PathBuf> = low::words(matches, "merge")
        .into_iter()
        .map(PathBuf::from)
        .collect();
    let shown = low::Shown::read(matches);
    if shown != low::Shown::Done {
        let plan = TracePlan {
            spec: spec(context, command, time),
            output,
            merged,
        };
        return context.show(shown, &plan);
    }
    // What cannot be read is told before anything runs.
    let against = path("against").map(|path| read(&path)).transpose()?;
    let mut earlier = Vec::new();
    for path in &merged {
        if path.exists() {
            earlier.push(read(path)?);
        }
    }
    let watched = match &jail {
        Some(name) => {
            let env = high::jail_environment();
            inside(context, name, command, time, env, &Tried::default())?
        }
        None => outside(context, command, time, matches.get_flag("each-look"))?,
    };
    context.progress.clear();
    tell_unseen(context, &watched);
    let mut all = watched.trace.clone();
    for trace in earlier {
        all.merge(trace);
    }
    match &output {
        Some(path) => {
            trace::write_file(path, &all).map_err(|error| {
                CommandError::failed("cannot write down what was seen").because(error)
            })?;
            tell(context, &format!("{}: {}", path.display(), summary(&all)));
        }
        None if matches.contains_id("output") => {
            crate::output::write_stdout(&all.to_string())?;
        }
        None => {}
    }
    if let (Some(name), Some(outside)) = (&jail, against) {
        let found = trace::difference(&outside, &watched.trace);
        tell_difference(context, name, &found);
        if !found.is_empty() && code(watched.status) == 0 {
            return Ok(1);
        }
    }
    Ok(code(watched.status))
}
