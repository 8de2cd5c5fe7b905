//! `jaula service`: a program of a named jail that is kept running, and the units of systemd that start it.

use crate::args::protection::{self, Protection};
use crate::args::{high, limits, low, options};
use crate::cmd::exec::{name, named};
use crate::cmd::{Context, failed};
use crate::compat::signals::by_name;
use crate::error::CommandError;
use crate::output::{Done, Table};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::EngineError;
use jaula_engine::service::{self, ServiceSpec, Sink, To, UnitPlan};
use jaula_plan::service::{Flow, Listen, Restart, UnitSpec, units};
use serde_json::json;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between being told to end and being killed.
const STOP_AFTER: Duration = Duration::from_secs(20);
/// The host's log.
const LOG: &str = "/dev/log";

/// The operands and options of `run`.
pub fn run_command(command: Command) -> Command {
    let command = command
        .about("Keep a program of a named jail running")
        .long_about(
            "Run a program in a named jail, in the foreground, and start it again when it fails. SIGHUP makes it read \
             its settings again, SIGTERM ends it. What it writes, its log files and what it sends to /dev/log come \
             out as lines behind the jail's name. Without COMMAND it is whichever of the known services the jail has.",
        )
        .after_help(
            "Examples:\n  jaula new web --with nginx && jaula service run web\n  \
             jaula service run web --log syslog --restart always -- nginx -g 'daemon off;'\n\n\
             The exit code is the program's last one.",
        );
    options::preview(running(command))
}

/// What both `run` and `add` take.
fn running(command: Command) -> Command {
    let path = |name: &'static str, placeholder, help| {
        Arg::new(name)
            .long(name)
            .value_name(placeholder)
            .action(ArgAction::Append)
            .value_parser(value_parser!(OsString))
            .value_hint(ValueHint::AnyPath)
            .help(help)
    };
    let word = |name: &'static str, placeholder, help| {
        Arg::new(name).long(name).value_name(placeholder).help(help)
    };
    let command = command
        .arg(name())
        .arg(options::program(
            "Program and arguments [default: the known service that the jail has]",
        ))
        .args([
            word(
                "log",
                "WHERE",
                "stdout, plain (without the name), syslog, or syslog:SOCKET [default: stdout]",
            ),
            word(
                "restart",
                "WHEN",
                "never, on-failure or always [default: on-failure]",
            )
            .value_parser(["never", "on-failure", "always"])
            .hide_possible_values(true),
            word(
                "stop-after",
                "TIME",
                "Kill it when it has not ended this long after SIGTERM [default: 20s]",
            ),
            word(
                "stop-signal",
                "SIGNAL",
                "What SIGTERM becomes [default: what the service knows]",
            ),
            word(
                "reload-signal",
                "SIGNAL",
                "What SIGHUP becomes [default: what the service knows]",
            ),
            path(
                "make-dir",
                "DIR",
                "Make a directory of the jail before it starts",
            ),
            path(
                "log-file",
                "FILE",
                "Make a log file of the jail a pipe, and pass its lines on",
            ),
            word(
                "log-rate",
                "BASE:PEAK:SECONDS",
                "Pass on so many bytes in so many seconds; PEAK after a quiet time",
            ),
            Arg::new("no-dev-log")
                .long("no-dev-log")
                .action(ArgAction::SetTrue)
                .help("Give the jail no /dev/log"),
        ]);
    protection::program(limits::options(options::process(command)))
}

/// The operands and options of `add`.
pub fn add_command(command: Command) -> Command {
    let command = command
        .about("Write a unit of systemd for a service in a jail")
        .long_about(
            "Write a unit of systemd that runs jaula service run with the same options, and with --listen one for its \
             sockets. Units are written to /etc/systemd/system, an ordinary user's to ~/.config/systemd/user; nothing \
             is started.",
        )
        .after_help(
            "Examples:\n  jaula service add web -- nginx -g 'daemon off;'\n  \
             jaula service add app --listen 127.0.0.1:8000 --plan -- /srv/app\n  systemctl enable --now jaula-web",
        )
        .args([
            Arg::new("listen")
                .long("listen")
                .value_name("WHERE")
                .action(ArgAction::Append)
                .help("Let systemd listen at a port, ADDRESS:PORT or path (with /udp for datagrams), and hand it on"),
            unit_dir(),
        ]);
    options::preview(running(command))
}

/// The operands and options of `rm`.
pub fn rm_command(command: Command) -> Command {
    let command = command
        .about("Remove the units of a service in a jail")
        .arg(name())
        .arg(unit_dir());
    options::preview(command)
}

/// The options of `ls`.
pub fn ls_command(command: Command) -> Command {
    command
        .about("List the services in jails that systemd has units for")
        .arg(unit_dir())
}

fn unit_dir() -> Arg {
    Arg::new("unit-dir")
        .long("unit-dir")
        .value_name("DIR")
        .value_parser(value_parser!(OsString))
        .value_hint(ValueHint::DirPath)
        .help("Where the units are")
}

fn dir(matches: &ArgMatches, context: &Context) -> Result<PathBuf, CommandError> {
    if let Some(dir) = matches.get_one::<OsString>("unit-dir") {
        return context.around.absolute(Path::new(dir));
    }
    if context.root {
        return Ok("/etc/systemd/system".into());
    }
    let config = context.around.config_home.clone();
    let config = config.or_else(|| Some(context.around.home.as_ref()?.join(".config")));
    config.map(|dir| dir.join("systemd/user")).ok_or_else(|| {
        CommandError::failed("cannot find a place for units: HOME is not set")
            .hint("name one with --unit-dir DIR")
    })
}

fn signal(matches: &ArgMatches, option: &str) -> Result<Option<i32>, CommandError> {
    let Some(word) = low::text(matches, option) else {
        return Ok(None);
    };
    let number =
        by_name(word).or_else(|| word.parse().ok().filter(|number| (1..=64).contains(number)));
    number.map(Some).ok_or_else(|| {
        CommandError::usage(format!("cannot use {word:?} for --{option}"))
            .hint("write a name as HUP or SIGHUP, or a number from 1 to 64")
    })
}

fn stop_after(matches: &ArgMatches) -> Result<Duration, CommandError> {
    let Some(text) = low::text(matches, "stop-after") else {
        return Ok(STOP_AFTER);
    };
    jaula_plan::spec::limits::parse_duration(text).map_err(|error| {
        CommandError::usage(format!("cannot use {text:?} for --stop-after: {error}"))
            .hint("write a number and s, m or h")
    })
}

fn paths(matches: &ArgMatches, option: &str) -> Result<Vec<PathBuf>, CommandError> {
    let paths: Vec<PathBuf> = low::words(matches, option)
        .into_iter()
        .map(PathBuf::from)
        .collect();
    for path in &paths {
        low::inside(path, option)?;
    }
    Ok(paths)
}

/// `--log`
///
/// # Errors
/// When it is none of the places.
pub fn log(matches: &ArgMatches) -> Result<To, CommandError> {
    match low::text(matches, "log").unwrap_or("stdout") {
        "stdout" => Ok(To::Output),
        "plain" => Ok(To::Plain),
        "syslog" => Ok(To::Syslog(LOG.into())),
        word => match word
            .strip_prefix("syslog:")
            .filter(|path| path.starts_with('/'))
        {
            Some(path) => Ok(To::Syslog(path.into())),
            None => Err(
                CommandError::usage(format!("cannot use {word:?} for --log"))
                    .hint("write stdout, plain, syslog, or syslog:/a/socket"),
            ),
        },
    }
}

fn flow(matches: &ArgMatches) -> Result<Option<Flow>, CommandError> {
    let Some(text) = low::text(matches, "log-rate") else {
        return Ok(None);
    };
    let words: Vec<&str> = text.split(':').collect();
    let wrong = || CommandError::usage(format!("cannot use {text:?} for --log-rate"));
    match words[..] {
        [base, peak, seconds] => Flow::parse(Some(base), Some(peak), Some(seconds))
            .map(Some)
            .map_err(|error| wrong().because(error)),
        _ => Err(wrong().hint("write BASE:PEAK:SECONDS, as 512:2048:10")),
    }
}

fn spec(matches: &ArgMatches) -> Result<ServiceSpec, CommandError> {
    let process = low::process(matches)?;
    let given = high::given_sockets();
    Ok(ServiceSpec {
        command: process.command.clone(),
        env: high::environment(&process, false),
        dirs: paths(matches, "make-dir")?,
        logs: paths(matches, "log-file")?,
        relay: !matches.get_flag("no-dev-log"),
        flow: flow(matches)?,
        reload: signal(matches, "reload-signal")?,
        stop: signal(matches, "stop-signal")?,
        stop_after: stop_after(matches)?,
        sockets: given.as_ref().map(|(count, _)| *count),
        socket_names: given.and_then(|(_, names)| names),
        restart: match low::text(matches, "restart") {
            Some("never") => Restart::Never,
            Some("always") => Restart::Always,
            _ => Restart::OnFailure,
        },
    })
}

/// Does `run`.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let jail = named(matches)?;
    let spec = spec(matches)?;
    let mut exec = high::exec_spec(&low::process(matches)?, limits::limits(matches)?);
    exec.guards = Protection::read(matches)?.guards;
    let to = log(matches)?;
    let explained =
        |error: EngineError| failed(format!("cannot run the service of jail {jail}"), error);
    let engine = context.engine(None, false)?;
    let plan = engine
        .plan_service(&jail, &spec, &exec)
        .map_err(explained)?;
    let shown = low::Shown::read(matches);
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    let mut sink = Sink::new(jail.as_str(), to).map_err(|error| {
        CommandError::failed(format!("cannot log for jail {jail}")).because(error)
    })?;
    let code = engine
        .service(&plan, &mut sink, &context.progress)
        .map_err(explained)?;
    context.progress.clear();
    Ok(code)
}

/// The option of a word that holds its value too.
fn option(word: &str) -> &str {
    word.split_once('=').map_or(word, |(option, _)| option)
}

/// The words of `run` that were typed for `add`, each option with its value in one word.
fn words(matches: &ArgMatches) -> Result<Vec<String>, CommandError> {
    const OWN: [&str; 7] = [
        "listen", "unit-dir", "plan", "explain", "name", "command", "store",
    ];
    const GLOBAL: [&str; 4] = ["json", "quiet", "verbose", "color"];
    let text = |word: &std::ffi::OsStr| {
        word.to_str().map(str::to_owned).ok_or_else(|| {
            CommandError::usage(format!("cannot write {word:?} into a unit: it is no text"))
        })
    };
    let mut words = Vec::new();
    for id in matches.ids() {
        let id = id.as_str();
        let typed = matches.value_source(id) == Some(ValueSource::CommandLine);
        if !typed || OWN.contains(&id) || GLOBAL.contains(&id) {
            continue;
        }
        if let Ok(Some(set)) = matches.try_get_one::<bool>(id) {
            if *set {
                words.push(format!("--{id}"));
            }
            continue;
        }
        for value in matches.get_raw(id).into_iter().flatten() {
            words.push(format!("--{id}={}", text(value)?));
        }
    }
    // In an order that does not hang on how they were typed, but what is given often keeps its own: the last counts.
    words.sort_by(|a: &String, b: &String| option(a).cmp(option(b)));
    words.insert(0, low::text(matches, "name").unwrap_or_default().to_owned());
    let command = low::words(matches, "command");
    if !command.is_empty() {
        words.push("--".to_owned());
        for word in &command {
            words.push(text(word)?);
        }
    }
    Ok(words)
}

/// Does `add`.
pub fn add(matches: &ArgMatches, context: &Context) -> Done {
    let jail = named(matches)?;
    // Everything is read as run would read it: what it refuses is refused now.
    let service = spec(matches)?;
    let to = log(matches)?;
    Protection::read(matches)?;
    limits::limits(matches)?;
    let attempt = || format!("cannot add a service to jail {jail}");
    let engine = context.engine(None, false)?;
    engine
        .jail(&jail)
        .map_err(|error| failed(attempt(), error))?;
    let listen = matches
        .get_many::<String>("listen")
        .into_iter()
        .flatten()
        .map(|word| word.parse::<Listen>())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CommandError::usage(attempt()).because(error))?;
    let mut words = words(matches)?;
    if to == To::Output && matches.value_source("log") != Some(ValueSource::CommandLine) {
        // systemd tags lines itself.
        words.insert(1, "--log=plain".to_owned());
    }
    if matches.value_source("restart") != Some(ValueSource::CommandLine) {
        words.insert(1, "--restart=never".to_owned());
    }
    let about = service.command.first().map(|word| {
        let name = Path::new(word).file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    });
    let program = std::env::current_exe()
        .map_err(|error| CommandError::failed("cannot find jaula's own program").because(error))?;
    let typed = context
        .global
        .store
        .as_ref()
        .or(context.around.store.as_ref());
    let spec = UnitSpec {
        jail: jail.clone(),
        program,
        store: typed
            .map(|store| context.around.absolute(store))
            .transpose()?,
        words,
        about: about.unwrap_or_else(|| "service".to_owned()),
        listen,
        stop_after: service.stop_after.as_secs(),
        user: !context.root,
    };
    let units = units(&spec).map_err(|error| CommandError::usage(attempt()).because(error))?;
    let plan = UnitPlan::add(&jail, &dir(matches, context)?, &units)
        .map_err(|error| CommandError::failed(attempt()).because(error))?;
    let user = if context.root { "" } else { " --user" };
    change(
        matches,
        context,
        &plan,
        &attempt(),
        &format!("systemctl{user} daemon-reload && systemctl{user} enable --now jaula-{jail}"),
    )
}

fn change(
    matches: &ArgMatches,
    context: &Context,
    plan: &UnitPlan,
    attempt: &str,
    next: &str,
) -> Done {
    let shown = low::Shown::read(matches);
    if shown != low::Shown::Done {
        return context.show(shown, plan);
    }
    plan.apply()
        .map_err(|error| CommandError::failed(attempt).because(error))?;
    let paths: Vec<String> = plan
        .changes
        .iter()
        .map(|change| change.path.display().to_string())
        .collect();
    let text = || {
        let mut lines = paths.clone();
        lines.push(match plan.changes.is_empty() {
            true => "nothing changes".to_owned(),
            false => format!("next: {next}"),
        });
        lines.join("\n")
    };
    context
        .out
        .result("service", || json!({ "units": paths, "next": next }), text)
}

/// Does `rm`.
pub fn rm(matches: &ArgMatches, context: &Context) -> Done {
    let jail = named(matches)?;
    let attempt = format!("cannot remove the service of jail {jail}");
    let plan = UnitPlan::remove(&jail, &dir(matches, context)?).map_err(|error| {
        CommandError::failed(&attempt)
            .because(error)
            .hint("jaula service ls lists what there is")
    })?;
    let user = if context.root { "" } else { " --user" };
    change(
        matches,
        context,
        &plan,
        &attempt,
        &format!("systemctl{user} disable --now jaula-{jail}; systemctl{user} daemon-reload"),
    )
}

/// Does `ls`.
pub fn ls(matches: &ArgMatches, context: &Context) -> Done {
    let found = service::services(&dir(matches, context)?)
        .map_err(|error| CommandError::failed("cannot list services").because(error))?;
    let shape = || {
        let all: Vec<_> = found
            .iter()
            .map(|(jail, line)| json!({ "jail": jail, "command": line }))
            .collect();
        json!({ "services": all })
    };
    context.out.result("services", shape, || {
        let mut table = Table::new(&["JAIL", "UNIT", "COMMAND"]);
        for (jail, line) in &found {
            table.row([&jail, &format!("jaula-{jail}.service"), line]);
        }
        table.text()
    })
}
