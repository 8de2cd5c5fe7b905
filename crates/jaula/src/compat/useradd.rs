//! What useradd(8) calls when it has added somebody (`/etc/shadow-maint/useradd-post.d`): a user whose home names a jail
//! is let into it.

use crate::args::high::Surroundings;
use crate::args::low::Global;
use crate::output::{clean, write_stderr};
use jaula_engine::{Engine, EngineError};
use jaula_plan::account::plan::AddSpec;
use jaula_plan::account::policy::Policy;
use jaula_plan::account::{LOGIN_SHELL, split_home};
use jaula_plan::names::UserName;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// The name of the call.
pub const NAME: &str = "jaula-useradd";

/// Lets the new user in, if he is to live in a jail. When that cannot be, he is kept out of the host all the same: his
/// login shell refuses him until it can.
pub fn run(_words: &[OsString]) -> ExitCode {
    let subject = std::env::var("SUBJECT").unwrap_or_default();
    match let_in(&subject) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            write_stderr(&format!("{NAME}: {}\n", clean(&text)));
            // useradd would end at once, and not call what comes after.
            ExitCode::SUCCESS
        }
    }
}

fn let_in(subject: &str) -> Result<(), String> {
    let found = jaula_engine::accounts::account(subject).map_err(|error| error.to_string())?;
    let Some(account) = found else {
        return Ok(());
    };
    let Some((jail, _)) = split_home(&account.home) else {
        return Ok(());
    };
    let user: UserName = subject.parse().map_err(|error| format!("{error}"))?;
    let program: PathBuf = std::env::current_exe().map_err(|error| error.to_string())?;
    let around = Surroundings::read();
    let config = around.config(&Global::default(), true, true);
    let config = config.map_err(|error| error.to_string())?;
    let engine = Engine::open(config).map_err(|error| error.to_string())?;
    let spec = AddSpec {
        policy: Policy::new(&jail),
        jail,
        user: user.clone(),
        existing: true,
        shell: None,
        home: None,
        comment: String::new(),
        group: None,
        uid: None,
        move_home: false,
        login_shell: LOGIN_SHELL.into(),
    };
    let done = engine.users(|engine| engine.plan_user_add(&spec, &program, true));
    done.map(drop).map_err(|error| {
        let closed = engine.users(|engine| engine.plan_user_close(&user, &program));
        let after = match closed {
            Ok(_) => "; the login shell keeps the user out until that is so",
            Err(_) => "",
        };
        format!(
            "{subject} is not let into the jail: {}{after}",
            line(&error)
        )
    })
}

fn line(error: &EngineError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        let more = source.to_string();
        if !text.contains(&more) {
            text.push_str(&format!(": {more}"));
        }
        cause = source.source();
    }
    text
}
