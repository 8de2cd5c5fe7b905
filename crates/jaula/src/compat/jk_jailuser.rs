//! jk_jailuser(8): a user of the host becomes one of a jail; and jk_addjailuser, which makes the user first.

use super::Face;
use super::getopt::{Opt, Order, Reader, Takes, both, long};
use super::jk_tree::{absolute, engine};
use super::{making, tool};
use crate::output::{clean, write_stderr, write_stdout};
use jaula_engine::{Engine, EngineError, links};
use jaula_plan::account::plan::AddSpec;
use jaula_plan::account::policy::Policy;
use jaula_plan::account::{LOGIN_SHELL, split_home};
use jaula_plan::explain::shown;
use jaula_plan::names::UserName;
use std::ffi::OsString;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "jk_jailuser",
    of: "jailkit 2.20 to 2.23",
    run: |words| run(words, false),
};

/// The older wrapper.
pub const ADD: Face = Face {
    name: "jk_addjailuser",
    of: "jailkit 2.20 to 2.23",
    run: |words| run(words, true),
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Help,
    Jail,
    Verbose,
    NoQuestions,
    Shell,
    Move,
    Stay,
}

const TABLE: &[Opt<Key>] = &[
    both(b'h', "help", Takes::Nothing, Key::Help),
    both(b'j', "jail", Takes::Required, Key::Jail),
    both(b'v', "verbose", Takes::Nothing, Key::Verbose),
    both(b'n', "noninteractive", Takes::Nothing, Key::NoQuestions),
    both(b's', "shell", Takes::Required, Key::Shell),
    both(b'm', "move", Takes::Nothing, Key::Move),
    long("nomove", Takes::Nothing, Key::Stay),
];

const HELP: &str = "
Usage: jk_jailuser [OPTIONS] username [more usernames]

 -j | --jail= jaildir   : jail directory
 -v | --verbose        : verbose output
 -n | --noninteractive : no user interaction
 -s | --shell= shell    : set shell inside jail (/usr/sbin/jk_lsh default)
 -m | --move           : move home if home outside jail
 -h | --help           : this message

";

/// The shell of the original.
const CHROOTSH: &str = "/usr/sbin/jk_chrootsh";

/// No such jail, no accounts in it, or no such shell.
const NO_JAIL: u8 = 33;
/// No user, none of that name, or one that cannot be jailed. (In the original the last two end with 0.)
const NO_USER: u8 = 2;

/// What was typed.
struct Asked {
    jail: PathBuf,
    shell: String,
    verbose: bool,
    questions: bool,
    moves: Option<bool>,
    make: bool,
}

type End = (u8, String);

fn run(words: &[OsString], make: bool) -> ExitCode {
    match act(words, make) {
        Ok(code) => ExitCode::from(code),
        Err((code, text)) => {
            write_stderr(&text);
            ExitCode::from(code)
        }
    }
}

fn act(words: &[OsString], make: bool) -> Result<u8, End> {
    let mut asked = Asked {
        jail: PathBuf::new(),
        shell: "/usr/sbin/jk_lsh".to_owned(),
        verbose: false,
        questions: true,
        moves: None,
        make,
    };
    let mut reader = Reader::new(words, TABLE, Order::First);
    let mut jail = None;
    for met in &mut reader {
        let (key, argument) = met.map_err(|complaint| (1, format!("{complaint}\n{HELP}")))?;
        match key {
            Key::Help => {
                tool::show(HELP);
                return Ok(0);
            }
            Key::Jail => jail = argument,
            Key::Verbose => asked.verbose = true,
            Key::NoQuestions => asked.questions = false,
            Key::Shell => asked.shell = argument.unwrap_or_default().to_string_lossy().into_owned(),
            Key::Move => asked.moves = Some(true),
            Key::Stay => asked.moves = Some(false),
        }
    }
    let users = reader.operands();
    if users.is_empty() {
        return Err((NO_USER, "aborted, no username specified\n".to_owned()));
    }
    if !making::is_root() {
        return Err((5, "cannot run without root privileges\n".to_owned()));
    }
    let Some(jail) = jail else {
        return Err((NO_JAIL, "aborted, no jail directory specified\n".to_owned()));
    };
    asked.jail = absolute(&jail);
    usable(&asked)?;
    let engine = engine(NO_JAIL)?;
    let mut code = 0;
    // As many as possible, as the original; each as a whole.
    for user in &users {
        if let Err((failed, text)) = one(&engine, &asked, &user.to_string_lossy()) {
            write_stderr(&text);
            code = failed;
        }
    }
    Ok(code)
}

fn usable(asked: &Asked) -> Result<(), End> {
    let (jail, shell) = (shown(&asked.jail), &asked.shell);
    let refuse = |text: String| Err((NO_JAIL, text));
    let inside = |path: &str| asked.jail.join(path.trim_start_matches('/'));
    if !asked.jail.is_dir() {
        return refuse(format!("{jail} does not exist\n"));
    }
    if !inside("etc/passwd").is_file() {
        return refuse(format!("invalid jail, {jail}/etc/passwd does not exist\n"));
    }
    if inside(shell).symlink_metadata().is_err() {
        return refuse(format!(
            "invalid shell, {jail}{} does not exist\n",
            clean(shell)
        ));
    }
    Ok(())
}

fn one(engine: &Engine, asked: &Asked, name: &str) -> Result<(), End> {
    let said = |code, text: String| (code, format!("{}\n", clean(&text)));
    let user: UserName = name
        .parse()
        .map_err(|error| said(NO_USER, format!("{error}")))?;
    let found =
        jaula_engine::accounts::account(name).map_err(|error| said(1, making::line(&error)))?;
    let account = match (&found, asked.make) {
        (None, false) => return Err(said(NO_USER, format!("user {name} does not exist"))),
        (Some(_), true) => return Err(said(NO_USER, format!("user {name} exists already"))),
        (account, _) => account.clone(),
    };
    // A home keeps its path: inside it is the same as it was on the host.
    let home = account.as_ref().map(|account| PathBuf::from(&account.home));
    let outside = account.as_ref().is_some_and(|account| {
        split_home(&account.home).is_none() && !Path::new(&account.home).starts_with(&asked.jail)
    });
    let there = home.as_ref().is_some_and(|home| home.is_dir());
    let moves = match asked.moves {
        _ if !outside || asked.make => false,
        Some(moves) => moves,
        None => asked.questions && ask(home.as_deref().unwrap_or(Path::new("/")), &asked.jail),
    };
    if moves && !there {
        let home = home.as_deref().map(shown).unwrap_or_default();
        write_stderr(&format!(
            "home directory {home} does not exist, nothing moved\n"
        ));
    }
    let program = std::env::current_exe().map_err(|error| said(1, error.to_string()))?;
    let login_shell = match links::leads_to(Path::new(CHROOTSH), &program) {
        true => CHROOTSH,
        false => LOGIN_SHELL,
    };
    let marked = account
        .as_ref()
        .is_some_and(|account| split_home(&account.home).is_some());
    let spec = AddSpec {
        policy: Policy::new(&asked.jail),
        jail: asked.jail.clone(),
        user,
        existing: !asked.make,
        shell: Some(asked.shell.clone()),
        home: home.filter(|_| !marked),
        comment: String::new(),
        group: None,
        uid: None,
        move_home: moves && there,
        login_shell: login_shell.into(),
    };
    let failed = |error: EngineError| {
        let lines: Vec<String> = making::lines(&error)
            .iter()
            .map(|line| clean(line).into_owned())
            .collect();
        (NO_USER, format!("ERROR: {}\n", lines.join("\n  ")))
    };
    let done = engine.users(|engine| engine.plan_user_add(&spec, &program, true));
    let plan = done.map_err(failed)?;
    if asked.verbose {
        let steps = plan.steps.iter().map(|step| format!("{step}\n"));
        let told = write_stdout(&steps.collect::<String>());
        told.map_err(|error| (1, format!("{error}\n")))?;
    }
    Ok(())
}

/// Whether the home is to go along; nobody who cannot be asked is.
fn ask(home: &Path, jail: &Path) -> bool {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return false;
    }
    let text = format!(
        "home directory {} is not within {}, move the directory contents?\n[Y]/[n]",
        shown(home),
        shown(jail)
    );
    if write_stdout(&text).is_err() {
        return false;
    }
    let mut answer = String::new();
    match input.lock().read_line(&mut answer) {
        Ok(read) => read > 0 && matches!(answer.trim(), "" | "Y" | "y"),
        Err(_) => false,
    }
}
