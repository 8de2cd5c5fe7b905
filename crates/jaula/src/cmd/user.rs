//! `jaula user`: users who live in a jail.

mod named;
mod serve;

pub use serve::{serve, serve_command};

use crate::args::{low, options};
use crate::cmd::{Context, compat, failed};
use crate::error::CommandError;
use crate::output::{Done, Table};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::accounts::{self, Resident};
use jaula_engine::{EngineError, Event, Observer};
use jaula_plan::account::plan::{AccountPlan, AddSpec, Changes};
use jaula_plan::account::policy::{Before, Entry, LoginNet, Policy};
use jaula_plan::account::{LOGIN_SHELL, Service};
use jaula_plan::explain::shown;
use jaula_plan::names::{JailName, UserName};
use named::Act;
use serde_json::json;
use std::path::{Path, PathBuf};

fn jail() -> Arg {
    Arg::new("jail")
        .value_name("JAIL")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::DirPath)
        .help("The jail's directory, with a slash; or the name of a jail, whose users then are only inside")
}

fn users(required: bool) -> Arg {
    Arg::new("user")
        .value_name("USER")
        .num_args(1..)
        .required(required)
        .help("The users")
}

fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

/// What a user may do, as options.
fn rights(command: Command) -> Command {
    let command = command.next_help_heading("What the user may do").args([
        text("shell", "PROGRAM", "The shell inside [default: that of the account, else /bin/sh]"),
        text("only", "SERVICE,…", "No shell: only sftp, scp, rsync, git, each as ssh starts it")
            .value_delimiter(',')
            .action(ArgAction::Append),
        text("allow-command", "PATTERN", "No shell: this command too, its arguments as patterns: 'git-upload-pack *'")
            .action(ArgAction::Append)
            .long_help(
                "No shell: this command too. Its arguments are patterns: * stands for any letters, ? for one, a last ** \
                 for any further arguments; an argument that starts with a dash is only permitted by a pattern that does. \
                 No shell ever reads the command",
            ),
        text("net", "NET", "The network of a session: none, or the host's [default: none]")
            .value_parser(["none", "host"]),
        text("limit", "KEY=VALUE,…", "Use at most so much in a session, as jaula run takes it [default: processes=256,data=2G,files=1024,core=0]")
            .action(ArgAction::Append),
        text("hours", "HOURS", "Log in then only: 'mon-fri 8:00-18:00, sat 10-14', in the host's time zone"),
        switch("forward", "Let sshd forward TCP ports for the user"),
        text("entry", "WHO", "Who lets the user in: shell, or sshd itself, for --only sftp [default: shell]")
            .value_parser(["shell", "sshd"]),
        switch("no-sshd", "Change nothing of sshd's settings"),
    ]);
    options::preview(command)
}

/// The operands and options of `user add`.
pub fn add_command(command: Command) -> Command {
    let command = command
        .about("Let users into a jail: with a shell, or for certain services only")
        .long_about(
            "Let users into a jail. Each gets an account on the host, whose home is written JAIL/./home/USER and whose login \
             shell is jaula, and an account of the same numbers in the jail. By su, login and ssh, with a command or without, \
             and by sftp, scp, rsync and git, the user is then in the jail, with all protections of jaula run, in a user \
             namespace of the user's own: no set-uid program is needed. The change is shown with --plan; it is made as a \
             whole or not at all, and jaula user rm takes it back.",
        )
        .after_help(
            "Examples:\n  jaula user add /srv/golden ana\n  jaula user add /srv/golden luis --only sftp,rsync\n  \
             jaula user add --from-existing --move-home /srv/golden bob --plan",
        )
        .args([jail(), users(true)])
        .next_help_heading("Account")
        .args([
            switch("from-existing", "The account is there: its home and login shell change"),
            switch("sudo", "In a named jail: one of its group sudo").conflicts_with("from-existing"),
            switch("move-home", "The home goes along into the jail").requires("from-existing"),
            text("home", "DIR", "The home inside [default: /home/USER]").value_parser(value_parser!(PathBuf)),
            text("comment", "TEXT", "Full name of a new account").conflicts_with("from-existing"),
            text("group", "GROUP", "Primary group of a new account [default: one of its own]")
                .conflicts_with("from-existing"),
            text("uid", "NUMBER", "Number of a new account [default: the first free one]")
                .value_parser(value_parser!(u32))
                .conflicts_with("from-existing"),
        ]);
    rights(command)
}

/// The operands and options of `user set`.
pub fn set_command(command: Command) -> Command {
    let command = command
        .about("Change what users of a jail may do")
        .long_about(
            "Change what users of a jail may do. What is not said stays; --only and --allow-command take the place of both, \
             and --only shell gives the shell back.",
        )
        .after_help(
            "Examples:\n  jaula user set /srv/golden ana --shell /bin/bash\n  jaula user set /srv/golden luis --only shell",
        )
        .args([jail(), users(true)])
        .arg(switch("no-forward", "Let sshd forward nothing any more").conflicts_with("forward"));
    rights(command)
}

/// The operands and options of `user rm`.
pub fn rm_command(command: Command) -> Command {
    let command = command
        .about("Take users out of a jail")
        .long_about(
            "Take users out of a jail: an account that jaula made goes, one that was there gets its home and login shell back; \
             the account inside and what was told to sshd go. The home stays unless --home is given.",
        )
        .args([jail(), users(true)])
        .arg(switch("home", "Remove the home with everything in it"));
    options::preview(command)
}

/// The operands and options of `user ls`.
pub fn ls_command(command: Command) -> Command {
    command
        .about("List the users who live in jails, what each may do, and what keeps them out")
        .arg(jail().required(false))
}

/// The operands and options of `user log`.
pub fn log_command(command: Command) -> Command {
    command
        .about("Show who was in a jail, when, with which command, and who was refused and why")
        .long_about(
            "Show what the system's log has of sessions: who, when, from where, with which command, how it ended; and of those \
             who were refused, with the cause. Where only the journal keeps the log: journalctl -t jaula-login.",
        )
        .arg(users(false).num_args(0..=1))
        .arg(
            text("file", "FILE", "The log [default: /var/log/auth.log and its like]")
                .value_parser(value_parser!(PathBuf)),
        )
}

/// The operands and options of `user enable`.
pub fn enable_command(command: Command) -> Command {
    let command = command
        .about("Make jaula a login shell, and have useradd tell it of users with a jail in their home")
        .long_about(
            "Make the name /usr/sbin/jaula-login, say in /etc/shells that it is a login shell, and have useradd(8) call it for \
             each new user. A user who is then added with a home as JAIL/./home/USER is in that jail at once, whatever login \
             shell was named; that shell is the one inside.",
        );
    options::preview(command)
}

fn names(matches: &ArgMatches) -> Result<Vec<UserName>, CommandError> {
    let words = matches.get_many::<String>("user").into_iter().flatten();
    words.map(|word| low::parse("a user", word)).collect()
}

/// Where users live: the directory at a path, or a named jail.
enum Place {
    Directory(PathBuf),
    Named(JailName),
}

fn place(matches: &ArgMatches, context: &Context) -> Result<Place, CommandError> {
    let typed = low::path(matches, "jail").unwrap_or_default();
    if !typed.as_os_str().as_encoded_bytes().contains(&b'/') {
        let name: JailName = low::parse("a jail", &typed.to_string_lossy())?;
        let known = context.engine(None, false)?.jail(&name);
        return known.map(|_| Place::Named(name)).map_err(|error| {
            failed(format!("cannot find the jail {}", shown(&typed)), error)
                .hint("the jail of users who log in is a directory: write its path, with a slash")
        });
    }
    let path = context.around.absolute(&typed)?;
    Ok(Place::Directory(
        path.components()
            .filter(|part| *part != std::path::Component::CurDir)
            .collect(),
    ))
}

fn many<T: Clone>(
    matches: &ArgMatches,
    name: &str,
    read: impl Fn(&str) -> Result<T, CommandError>,
) -> Result<Option<Vec<T>>, CommandError> {
    let Some(words) = matches.get_many::<String>(name) else {
        return Ok(None);
    };
    words
        .map(|word| read(word))
        .collect::<Result<Vec<T>, _>>()
        .map(Some)
}

/// What was typed over what is.
fn policy(matches: &ArgMatches, mut policy: Policy) -> Result<Policy, CommandError> {
    let only = many(matches, "only", |word| Ok(word.to_owned()))?;
    let allow = many(matches, "allow-command", |word| Ok(word.to_owned()))?;
    if only.is_some() || allow.is_some() {
        let shell = only.as_ref().is_some_and(|words| words == &["shell"]);
        policy.only = match only {
            Some(words) if !shell => words
                .iter()
                .map(|word| low::parse::<Service>("--only", word))
                .collect::<Result<_, _>>()?,
            _ => Vec::new(),
        };
        policy.only.sort();
        policy.only.dedup();
        policy.allow = allow.unwrap_or_default();
    }
    if let Some(net) = low::text(matches, "net") {
        policy.net = low::parse::<LoginNet>("--net", net)?;
    }
    if let Some(limit) = many(matches, "limit", |word| Ok(word.to_owned()))? {
        policy.limit = limit;
    }
    if let Some(hours) = low::text(matches, "hours") {
        policy.hours = (!matches!(hours, "always" | "")).then(|| hours.to_owned());
    }
    policy.forward |= matches.get_flag("forward");
    match low::text(matches, "entry") {
        Some("sshd") => policy.entry = Entry::Sshd,
        Some(_) => policy.entry = Entry::Shell,
        None => {}
    }
    policy.check().map_err(|error| {
        CommandError::usage("cannot understand what the user may do").because(error)
    })?;
    Ok(policy)
}

/// Shows each plan, or does it.
fn each(
    matches: &ArgMatches,
    context: &Context,
    attempt: impl Fn(&UserName) -> String,
    done: &str,
    plan: impl Fn(&jaula_engine::Engine, &UserName) -> Result<AccountPlan, EngineError>,
) -> Done {
    let shown = low::Shown::read(matches);
    let names = names(matches)?;
    let engine = context.engine(None, false)?;
    for name in &names {
        let refused = |error| failed(attempt(name), error);
        if shown != low::Shown::Done {
            context.show(shown, &plan(&engine, name).map_err(refused)?)?;
            continue;
        }
        let plan = engine.users(|engine| plan(engine, name)).map_err(refused)?;
        for text in &plan.notes {
            context.progress.event(Event::Note { text: text.clone() });
        }
        context.progress.clear();
        context.out.did(
            "user",
            || json!({ "user": name.as_str(), "done": done }),
            String::new,
        )?;
    }
    Ok(0)
}

/// Lets users in.
pub fn add(matches: &ArgMatches, context: &Context) -> Done {
    let dir = match place(matches, context)? {
        Place::Directory(dir) => dir,
        Place::Named(name) => {
            return named::act(matches, context, &name, &names(matches)?, Act::Add);
        }
    };
    let program = compat::program()?;
    let policy = policy(matches, Policy::new(&dir))?;
    each(
        matches,
        context,
        |name| format!("cannot let {name} into the jail {}", shown(&dir)),
        "added",
        |engine, name| {
            let spec = AddSpec {
                jail: dir.clone(),
                user: name.clone(),
                existing: matches.get_flag("from-existing"),
                shell: low::text(matches, "shell").map(str::to_owned),
                home: low::path(matches, "home"),
                comment: low::text(matches, "comment").unwrap_or_default().to_owned(),
                group: low::text(matches, "group").map(str::to_owned),
                uid: matches.get_one::<u32>("uid").copied(),
                move_home: matches.get_flag("move-home"),
                login_shell: LOGIN_SHELL.into(),
                policy: policy.clone(),
            };
            engine.plan_user_add(&spec, &program, !matches.get_flag("no-sshd"))
        },
    )
}

/// Changes what users may do.
pub fn set(matches: &ArgMatches, context: &Context) -> Done {
    let dir = match place(matches, context)? {
        Place::Directory(dir) => dir,
        Place::Named(name) => {
            return named::act(matches, context, &name, &names(matches)?, Act::Set);
        }
    };
    let program = compat::program()?;
    let residents = residents()?;
    let rights = ["only", "allow-command", "net", "limit", "hours", "entry"];
    let typed = rights.iter().any(|name| matches.contains_id(name))
        || matches.get_flag("forward")
        || matches.get_flag("no-forward");
    let mut policies = Vec::new();
    for name in names(matches)? {
        let known = residents
            .iter()
            .find(|known| known.account.name == name.as_str());
        let before = match known.and_then(|known| known.policy.clone()) {
            Some(Ok(policy)) => policy,
            // An account that another tool has made is not ours to remove later.
            None => Policy {
                before: known.map(|known| Before {
                    home: known.account.home.clone(),
                    shell: known.account.shell.clone(),
                }),
                ..Policy::new(&dir)
            },
            Some(Err(why)) => {
                return Err(CommandError::failed(format!(
                    "cannot change what {name} may do: {why}"
                )));
            }
        };
        let mut after = policy(matches, before.clone())?;
        after.forward &= !matches.get_flag("no-forward");
        // The lines inside are kept true with the shell.
        let kept = known.is_some_and(|known| known.policy.is_some());
        policies.push((name, (typed || kept).then_some(after)));
    }
    each(
        matches,
        context,
        |name| {
            format!(
                "cannot change what {name} may do in the jail {}",
                shown(&dir)
            )
        },
        "changed",
        |engine, name| {
            let found = policies.iter().find(|(known, _)| known == name);
            let changes = Changes {
                shell: low::text(matches, "shell").map(str::to_owned),
                policy: found.and_then(|(_, policy)| policy.clone()),
            };
            engine.plan_user_set(name, &dir, &changes, &program, !matches.get_flag("no-sshd"))
        },
    )
}

/// Takes users out.
pub fn rm(matches: &ArgMatches, context: &Context) -> Done {
    let dir = match place(matches, context)? {
        Place::Directory(dir) => dir,
        Place::Named(name) => {
            return named::act(matches, context, &name, &names(matches)?, Act::Remove);
        }
    };
    let program = compat::program()?;
    each(
        matches,
        context,
        |name| format!("cannot take {name} out of the jail {}", shown(&dir)),
        "removed",
        |engine, name| engine.plan_user_rm(name, &dir, matches.get_flag("home"), &program),
    )
}

fn residents() -> Result<Vec<Resident>, CommandError> {
    accounts::residents()
        .map_err(|error| CommandError::failed("cannot list the users of jails").because(error))
}

/// Lists them.
pub fn ls(matches: &ArgMatches, context: &Context) -> Done {
    let only = low::path(matches, "jail")
        .map(|path| context.around.absolute(&path))
        .transpose()?;
    let mut found = residents()?;
    found.retain(|known| only.as_ref().is_none_or(|jail| *jail == known.jail));
    let may = |known: &Resident| match (&known.policy, &known.shell) {
        (Some(Ok(policy)), _) if !policy.has_shell() => policy.words(),
        (_, Some(shell)) => shell.clone(),
        (_, None) => "-".to_owned(),
    };
    context.out.result(
        "users",
        || {
            let users = found.iter().map(|known| {
                let policy = known
                    .policy
                    .as_ref()
                    .and_then(|policy| policy.as_ref().ok());
                json!({
                    "user": known.account.name, "uid": known.account.uid, "gid": known.account.gid,
                    "jail": known.jail, "home": known.home, "shell": known.shell,
                    "login_shell": known.account.shell, "policy": policy, "trouble": known.trouble,
                })
            });
            json!({ "users": users.collect::<Vec<_>>() })
        },
        || {
            let mut table = Table::new(&["USER", "UID", "JAIL", "MAY", "NET", "HOURS", "STATE"]);
            for known in &found {
                let policy = known
                    .policy
                    .as_ref()
                    .and_then(|policy| policy.as_ref().ok());
                let net = match policy.map(|policy| policy.net) {
                    Some(LoginNet::Host) => "host",
                    _ => "none",
                };
                let hours = policy
                    .and_then(|policy| policy.hours.clone())
                    .unwrap_or_else(|| "always".to_owned());
                let state = match (&known.trouble, &known.policy) {
                    (Some(trouble), _) => trouble.clone(),
                    (None, Some(Err(why))) => why.clone(),
                    (None, _) => "ok".to_owned(),
                };
                let (name, uid, jail) =
                    (&known.account.name, known.account.uid, shown(&known.jail));
                table.row([name, &uid, &jail, &may(known), &net, &hours, &state]);
            }
            table.text()
        },
    )
}

/// Shows the log.
pub fn log(matches: &ArgMatches, context: &Context) -> Done {
    let file = low::path(matches, "file");
    let user = low::text(matches, "user");
    let found = accounts::log::lines(file.as_deref(), user)
        .map_err(|error| CommandError::failed("cannot read the log").because(error))?;
    let Some(lines) = found else {
        let known = accounts::log::FILES.map(Path::new).map(shown).join(", ");
        return Err(
            CommandError::failed(format!("cannot find a log: there is none of {known}"))
                .hint("journalctl -t jaula-login shows what the journal has"),
        );
    };
    context.out.result(
        "sessions",
        || json!({ "sessions": lines }),
        || {
            let mut table = Table::new(&["WHEN", "WHAT", "USER", "FROM", "DETAILS"]);
            for line in &lines {
                table.row([&line.when, &line.what, &line.user, &line.from, &line.rest]);
            }
            table.text()
        },
    )
}

/// Makes jaula a login shell.
pub fn enable(matches: &ArgMatches, context: &Context) -> Done {
    let refused = |error| failed("cannot make jaula a login shell", error);
    let engine = context.engine(None, false)?;
    let program = compat::program()?;
    let shown = low::Shown::read(matches);
    if shown != low::Shown::Done {
        return context.show(shown, &engine.plan_user_enable(&program).map_err(refused)?);
    }
    let planned = engine.users(|engine| engine.plan_user_enable(&program));
    planned.map_err(refused)?;
    Ok(0)
}
