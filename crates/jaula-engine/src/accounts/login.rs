//! A login: what is seen of the user and his jail, the decision, the session, and what the log is told of it.

use super::log::{Log, Said};
use super::look::{inside, look, namespaces_refused, policy};
use super::{entry, read};
use crate::jail::JailError;
use crate::outcome::Io;
use jaula_plan::account::hours::Moment;
use jaula_plan::account::login::{
    LoginFacts, LoginPlan, LoginRefusal, LoginRequest, Relax, plan_login,
};
use jaula_plan::account::passwd::{self, PasswdLine};
use jaula_plan::account::split_home;
use jaula_plan::facts::host::HostFacts;
use jaula_plan::jail::{JailPlan, plan_jail};
use jaula_sys::{local_time, process};
use std::path::Path;
use std::time::Instant;

/// How a login ended.
#[derive(Debug)]
pub enum Login {
    /// It went on, and ended with this code.
    Ended(u8),
    /// He was not let in.
    Refused(LoginRefusal),
    /// The jail could not be started; what the log was told.
    Failed(String),
    /// The service for those without namespaces did not let him in; what he may know of the cause.
    Told(Option<String>),
}

/// Lets the user of this process into his jail. `relax` is what the old settings say of him, by his name and group.
pub fn login(
    request: &LoginRequest,
    io: Io<'_>,
    relax: &dyn Fn(&str, u32) -> Result<Relax, String>,
) -> Login {
    let log = Log::open(jaula_plan::account::LOGIN);
    let uid = process::real_ids().0;
    if uid != 0 && entry::stands_in() {
        return entry::ask(request, io);
    }
    let facts = facts(relax);
    let said = Said::new(&name(&facts), uid, request);
    let plan = match plan_login(&facts, request) {
        Ok(plan) => plan,
        Err(refusal) => {
            log.say(&said.refused(&refusal.to_string()));
            return Login::Refused(refusal);
        }
    };
    drop(facts);
    let terminal = matches!(io, Io::Pty);
    match enter(&plan, io, &log, &said) {
        Err(Failed { refused: true, .. }) if entry::is_there() => entry::ask(
            request,
            match terminal {
                true => Io::Pty,
                false => Io::Inherit,
            },
        ),
        Err(failed) => Login::Failed(failed.text),
        Ok(code) => Login::Ended(code),
    }
}

/// A session that did not come to be.
struct Failed {
    /// What the log was told.
    text: String,
    /// Whether the kernel gave its user no namespace of his own.
    refused: bool,
}

/// His name, for the log.
pub(super) fn name(facts: &LoginFacts) -> String {
    match facts.accounts.as_slice() {
        [account] => account.name.clone(),
        _ => format!("#{}", facts.uid),
    }
}

/// The jail that a login of this user would be, for its check from inside.
///
/// # Errors
/// Why he would not be let in.
pub fn jail_of_login() -> Result<JailPlan, LoginRefusal> {
    let facts = facts(&|_, _| Ok(Relax::default()));
    let request = LoginRequest::default();
    let mut facts = facts;
    // What he may start is no matter of what holds it.
    if let Some(Ok(policy)) = &mut facts.policy {
        policy.only.clear();
        policy.allow.clear();
    }
    let plan = plan_login(&facts, &request)?;
    let jail = plan_jail(&plan.jail, &host_facts(&plan));
    jail.map_err(|error| LoginRefusal::Policy(error.to_string()))
}

pub(super) fn host_facts(plan: &LoginPlan) -> HostFacts {
    let mut host = crate::probe::host(&plan.jail);
    // There has to be a file to show the host's on.
    host.resolv_conf &= jaula_sys::beneath::is_there(&plan.dir, "etc/resolv.conf");
    host
}

/// An error with all its causes, on one line.
pub(super) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let more = source.to_string();
        if !text.contains(&more) {
            text.push_str(&format!(": {more}"));
        }
        cause = source.source();
    }
    text
}

fn enter(plan: &LoginPlan, io: Io<'_>, log: &Log, said: &Said) -> Result<u8, Failed> {
    let failed = |error: &dyn std::error::Error, refused| {
        let text = whole(error);
        log.say(&said.refused(&text));
        Err(Failed { text, refused })
    };
    let jail = match plan_jail(&plan.jail, &host_facts(plan)) {
        Ok(jail) => jail,
        Err(error) => return failed(&error, false),
    };
    log.say(&said.opened(&plan.dir));
    let start = Instant::now();
    match crate::jail::run(&jail, io) {
        Ok(outcome) => {
            log.say(&said.closed(outcome.code(), start.elapsed()));
            Ok(outcome.code())
        }
        Err(error) => failed(&error, is_refused(&error)),
    }
}

/// Whether the kernel gives this user no namespace: none at all, or one without rights (AppArmor).
fn is_refused(error: &JailError) -> bool {
    const EPERM: i32 = 1;
    const EACCES: i32 = 13;
    match error {
        JailError::Namespaces { .. } => true,
        JailError::Step { errno, .. } => {
            matches!(errno.0, EPERM | EACCES) && namespaces_refused().is_some()
        }
        _ => false,
    }
}

fn facts(relax: &dyn Fn(&str, u32) -> Result<Relax, String>) -> LoginFacts {
    let (uid, gid) = process::real_ids();
    let changed = process::effective_ids() != (uid, gid);
    facts_of(uid, Some(gid), changed, &|account, gid| {
        relax(&account.name, gid)
    })
}

/// What is seen of a user by his number. Without a group it is that of his account.
pub(super) fn facts_of(
    uid: u32,
    gid: Option<u32>,
    changed: bool,
    relax: &dyn Fn(&PasswdLine, u32) -> Result<Relax, String>,
) -> LoginFacts {
    // Accounts of other sources than the file are not known to it (nsswitch.conf(5)).
    let text = read(Path::new("/etc/passwd"))
        .ok()
        .flatten()
        .unwrap_or_default();
    let accounts: Vec<_> = passwd::accounts(&text)
        .filter(|account| account.uid == uid)
        .collect();
    // The user may have set another zone for himself.
    let now = local_time::of_the_host();
    let mut facts = LoginFacts {
        uid,
        gid: gid.unwrap_or(u32::MAX),
        changed,
        accounts,
        policy: None,
        relax: Relax::default(),
        jail: None,
        now: Moment {
            day: now.weekday,
            minute: u16::from(now.hour) * 60 + u16::from(now.minute),
        },
        hard: crate::cgroup::hard_limits(),
    };
    let [account] = facts.accounts.as_slice() else {
        return facts;
    };
    facts.gid = gid.unwrap_or(account.gid);
    facts.policy = policy(&account.name);
    match relax(account, facts.gid) {
        Ok(relax) => facts.relax = relax,
        Err(why) => facts.policy = Some(Err(why)),
    }
    if let Some((jail, home)) = split_home(&account.home) {
        let looked = inside(&jail, "etc/passwd")
            .and_then(|text| look(&jail, &account.name, &home, text.as_deref()));
        facts.jail = Some(match looked {
            Ok(look) => look,
            Err(error) => {
                use std::error::Error;
                let cause = error
                    .source()
                    .map(|source| format!(": {source}"))
                    .unwrap_or_default();
                jaula_plan::account::login::JailLook {
                    dangers: vec![format!("{error}{cause}")],
                    ..Default::default()
                }
            }
        });
    }
    facts
}
