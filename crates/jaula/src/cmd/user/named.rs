//! Users of named jails: accounts inside, made and removed by the jail's own tools. Nobody logs in to them from the host.

use crate::args::{high, low};
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::Done;
use clap::ArgMatches;
use jaula_engine::EngineError;
use jaula_plan::names::{JailName, UserName};
use std::ffi::OsString;

/// Options that are about a login from the host.
const LOGIN_ONLY: [&str; 8] = [
    "only",
    "allow-command",
    "net",
    "limit",
    "hours",
    "entry",
    "from-existing",
    "move-home",
];

/// What is asked of the jail's own tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// useradd(8)
    Add,
    /// usermod(8)
    Set,
    /// userdel(8)
    Remove,
}

/// Does it for each user, or shows it.
pub fn act(
    matches: &ArgMatches,
    context: &Context,
    name: &JailName,
    users: &[UserName],
    act: Act,
) -> Done {
    let given = |option: &&&str| {
        matches.try_contains_id(option).is_ok_and(|known| {
            known && matches.value_source(option) == Some(clap::parser::ValueSource::CommandLine)
        })
    };
    if let Some(option) = LOGIN_ONLY.iter().find(given) {
        return Err(CommandError::usage(format!(
            "cannot use --{option} with the named jail {name}"
        ))
        .hint(
            "it is about logins from the host, which need a jail at a path: write one with a slash",
        ));
    }
    let shown = low::Shown::read(matches);
    for user in users {
        let (what, command) = command(matches, user, act);
        let attempt = format!("cannot {what} {user} in jail {name}");
        let args = low::ProcessArgs {
            command,
            ..low::ProcessArgs::default()
        };
        let spec = high::exec_spec(&args, Default::default());
        let refused = |error: EngineError| failed(attempt.clone(), error);
        let engine = context.engine(None, false)?;
        let plan = engine.plan_exec(name, &spec).map_err(refused)?;
        if shown != low::Shown::Done {
            context.show(shown, &plan)?;
            continue;
        }
        let outcome = engine
            .exec(&plan, context.around.io(), &context.progress)
            .map_err(refused)?;
        context.progress.clear();
        if outcome.code() != 0 {
            return Err(CommandError::failed(format!(
                "{attempt}: its own tool ended with {}",
                outcome.code()
            )));
        }
    }
    Ok(0)
}

fn command(matches: &ArgMatches, user: &UserName, act: Act) -> (&'static str, Vec<OsString>) {
    let mut words: Vec<OsString> = Vec::new();
    let option = |words: &mut Vec<OsString>, name: &str, letter: &str| {
        if let Ok(Some(value)) = matches.try_get_one::<String>(name) {
            words.extend([letter.into(), value.into()]);
        }
    };
    let set = |name: &str| matches!(matches.try_get_one::<bool>(name), Ok(Some(true)));
    let what = match act {
        Act::Add => {
            words.extend(["useradd".into(), "-m".into(), "-s".into()]);
            let shell = low::text(matches, "shell").unwrap_or("/bin/sh");
            words.push(shell.into());
            option(&mut words, "comment", "-c");
            option(&mut words, "group", "-g");
            if let Some(uid) = matches.get_one::<u32>("uid") {
                words.extend(["-u".into(), uid.to_string().into()]);
            }
            if let Some(home) = low::path(matches, "home") {
                words.extend(["-d".into(), home.into()]);
            }
            if set("sudo") {
                words.extend(["-G".into(), "sudo".into()]);
            }
            "define"
        }
        Act::Set => {
            words.push("usermod".into());
            option(&mut words, "shell", "-s");
            "change"
        }
        Act::Remove => {
            words.push("userdel".into());
            if set("home") {
                words.push("-r".into());
            }
            "remove"
        }
    };
    words.extend(["--".into(), user.as_str().into()]);
    (what, words)
}
