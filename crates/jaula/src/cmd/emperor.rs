//! `jaula emperor`: apps of a directory, each in a jail of its own.

use crate::args::{low, options};
use crate::cmd::Context;
use crate::cmd::service::log;
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::emperor::{EmperorError, EmperorSpec};
use jaula_plan::explain::shown;
use jaula_plan::spec::limits::parse_duration;
use serde_json::json;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the directory is looked at.
const FREQ: Duration = Duration::from_secs(1);
/// Between being told to end and being killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let word = |name: &'static str, placeholder, help| {
        Arg::new(name).long(name).value_name(placeholder).help(help)
    };
    let command = command
        .about("Keep an app running for each file of a directory")
        .long_about(
            "Run an app in a jail of its own for each file of a directory: NAME.ini is uWSGI's configuration, whose \
             namespace, namespace-keep-mount and namespace-net are done by jaula, NAME.toml describes a jail and its \
             program. A new file is started, a changed one reads its settings again or is started anew, one that is \
             gone is ended; an app that ends is started again, after longer and longer pauses. SIGTERM ends all, SIGHUP \
             has all read their settings again, SIGUSR1 writes a line for each.",
        )
        .after_help(
            "Examples:\n  jaula emperor /etc/uwsgi-emperor/vassals\n  jaula emperor /srv/apps --stats 127.0.0.1:5005\n  \
             jaula emperor /srv/apps --status",
        )
        .arg(
            Arg::new("dir")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::DirPath)
                .help("The directory of the apps' files"),
        )
        .args([
            Arg::new("status")
                .long("status")
                .action(ArgAction::SetTrue)
                .help("Tell how all are, of an emperor that runs"),
            word("freq", "TIME", "Look at the directory so often [default: 1s]"),
            word(
                "stop-after",
                "TIME",
                "Kill an app when it has not ended this long after it was told to [default: 20s]",
            ),
            word(
                "stats",
                "ADDR:PORT",
                "Tell everybody who connects there how all are, as JSON",
            )
            .value_parser(value_parser!(SocketAddr)),
            word(
                "log",
                "WHERE",
                "stdout, plain (without names), syslog, or syslog:SOCKET [default: stdout]",
            ),
        ]);
    options::preview(command)
}

fn time(matches: &ArgMatches, option: &str, default: Duration) -> Result<Duration, CommandError> {
    let Some(text) = low::text(matches, option) else {
        return Ok(default);
    };
    let wrong = |why: &str| {
        CommandError::usage(format!("cannot use {text:?} for --{option}: {why}"))
            .hint("write a number and s, m or h")
    };
    match parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        Ok(_) => Err(wrong("it is no time")),
        Err(error) => Err(wrong(error)),
    }
}

/// What every jail is started with.
fn launch(context: &Context) -> Result<Vec<OsString>, CommandError> {
    let program = std::env::current_exe()
        .map_err(|error| CommandError::failed("cannot find jaula's own program").because(error))?;
    let mut words = vec![program.into_os_string()];
    let store = context.global.store.as_ref();
    if let Some(store) = store.or(context.around.store.as_ref()) {
        words.push("--store".into());
        words.push(context.around.absolute(store)?.into_os_string());
    }
    words.extend(["--quiet", "run"].map(OsString::from));
    Ok(words)
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let dir = low::path(matches, "dir").unwrap_or_default();
    let spec = EmperorSpec {
        dir: context.around.absolute(&dir)?,
        cwd: context.around.absolute(Path::new("."))?,
        launch: launch(context)?,
        freq: time(matches, "freq", FREQ)?,
        patience: time(matches, "stop-after", PATIENCE)?,
        to: log(matches)?,
        stats: matches.get_one::<SocketAddr>("stats").copied(),
    };
    let shown = low::Shown::read(matches);
    if matches.get_flag("status") {
        return status(context, &spec.dir);
    }
    reign(context, &spec, shown)
}

fn reign(context: &Context, spec: &EmperorSpec, how: low::Shown) -> Done {
    let failed = |error| explained(&spec.dir, error);
    let engine = context.engine(None, false)?;
    if how != low::Shown::Done {
        return context.show(how, &engine.plan_emperor(spec).map_err(failed)?);
    }
    engine.emperor(spec, &context.progress).map_err(failed)?;
    Ok(0)
}

fn explained(dir: &Path, error: EmperorError) -> CommandError {
    let hint = match &error {
        EmperorError::Unsafe { .. } => Some("its files say what is run: chown and chmod go-w help"),
        EmperorError::Nobody(_) => Some("jaula emperor DIR begins"),
        _ => None,
    };
    let failed = CommandError::failed(format!("cannot reign over {}", shown(dir))).because(error);
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

fn status(context: &Context, dir: &Path) -> Done {
    let engine = context.engine(None, false)?;
    let status = engine
        .emperor_status(dir)
        .map_err(|error| explained(dir, error))?;
    let mut table = crate::output::Table::new(&["APP", "PID", "STATE", "STARTS"]);
    for vassal in status["vassals"].as_array().into_iter().flatten() {
        let text = |key: &str| match &vassal[key] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let pid = match vassal["pid"].as_i64() {
            Some(pid) if pid > 0 => pid.to_string(),
            _ => "-".to_owned(),
        };
        table.row([&text("id"), &pid, &text("state"), &text("starts")]);
    }
    context
        .out
        .result("emperor", || json!({ "status": status }), || table.text())
}
