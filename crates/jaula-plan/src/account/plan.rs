//! What letting a user into a jail changes on the host and in the jail, and what takes it back.

mod entry;
mod error;
mod inside;
mod step;

pub use error::AccountError;
pub use step::{AccountPlan, AccountStep};

use super::entry::EntryFacts;
use super::lines::{self, Edited, LineEdit};
use super::login::{HomeFacts, JailLook};
use super::passwd::{self, GroupLine, PasswdLine};
use super::policy::{Before, Entry, Policy, Service};
use super::sshd::{self, SshdFacts};
use super::{LOGIN_SHELL, joined_home, split_home};
use crate::explain::shown;
use crate::names::UserName;
use std::path::{Path, PathBuf};

/// Numbers below are the system's (login.defs(5), UID_MIN).
pub const FIRST_USER: u32 = 1000;
/// And above (UID_MAX).
pub const LAST_USER: u32 = 60_000;

/// What is seen of the host and of the jail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountFacts {
    /// The host's passwd(5).
    pub passwd: String,
    /// group(5).
    pub group: String,
    /// shadow(5), where there is one.
    pub shadow: Option<String>,
    /// gshadow(5).
    pub gshadow: Option<String>,
    /// shells(5).
    pub shells: Option<String>,
    /// Days since 1970.
    pub today: u64,
    /// Settings of sshd, where there is one.
    pub sshd: Option<SshdFacts>,
    /// The addition to them that there is.
    pub addition: Option<String>,
    /// The policy that there is.
    pub policy: Option<String>,
    /// The program that is to be the login shell; its path, and why it cannot be trusted.
    pub program: (PathBuf, Option<String>),
    /// Whether the name of the login shell is there, and leads to the program.
    pub login_shell: Option<bool>,
    /// Why ordinary users cannot have user namespaces.
    pub namespaces_refused: Option<String>,
    /// The service that lets them in then.
    pub entry: EntryFacts,
    /// The jail: whether it is a directory at all.
    pub jail: bool,
    /// What is seen of it.
    pub look: JailLook,
    /// Its passwd(5).
    pub inside_passwd: Option<String>,
    /// Its group(5).
    pub inside_group: Option<String>,
    /// Directories of [`JAIL_DIRS`] that it lacks.
    pub lacks: Vec<&'static str>,
    /// Whether the shell that is asked for is a program in it.
    pub shell_there: bool,
    /// The home on the host that could be moved.
    pub old_home: Option<HomeFacts>,
    /// Directories on the way to the home inside that are not there.
    pub way: Vec<PathBuf>,
}

/// Directories that a session needs, and their modes.
pub const JAIL_DIRS: [(&str, u32); 4] = [
    ("dev", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("tmp", 0o1777),
];

/// A user to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddSpec {
    /// The jail's directory.
    pub jail: PathBuf,
    /// Who.
    pub user: UserName,
    /// The account is there already.
    pub existing: bool,
    /// The shell inside.
    pub shell: Option<String>,
    /// The home inside; `/home/USER` when absent.
    pub home: Option<PathBuf>,
    /// Full name of a new account.
    pub comment: String,
    /// Primary group of a new account; one of his own name when absent.
    pub group: Option<String>,
    /// Number of a new account; the first free one when absent.
    pub uid: Option<u32>,
    /// The existing home goes along.
    pub move_home: bool,
    /// The login shell on the host.
    pub login_shell: PathBuf,
    /// What he may do.
    pub policy: Policy,
}

fn edit_step(
    root: &Path,
    path: &str,
    text: &str,
    edits: Vec<LineEdit>,
    make: Option<u32>,
) -> Result<Option<AccountStep>, AccountError> {
    let whole = root.join(path);
    let edited: Edited =
        lines::edit(text, &edits).map_err(|_| AccountError::Changed(whole.clone()))?;
    let step = AccountStep::Edit {
        root: root.to_owned(),
        path: path.into(),
        diff: edited.diff(&whole),
        edits,
        make,
    };
    Ok((!edited.is_same()).then_some(step))
}

fn write_step(
    path: PathBuf,
    before: Option<&String>,
    after: Option<String>,
) -> Option<AccountStep> {
    let diff = match (before, &after) {
        (None, Some(after)) => lines::new_file(&path, after),
        (Some(before), None) => lines::gone_file(&path, before),
        (Some(before), Some(after)) if before != after => {
            let gone = before.lines().map(LineEdit::remove);
            let new = after.lines().map(LineEdit::add);
            let edits: Vec<LineEdit> = gone.chain(new).collect();
            lines::edit(before, &edits).ok()?.diff(&path)
        }
        _ => return None,
    };
    Some(AccountStep::Write {
        path,
        before: before.cloned(),
        after,
        diff,
    })
}

fn field(what: &'static str, text: &str) -> Result<(), AccountError> {
    match text.chars().find(|c| *c == ':' || c.is_control()) {
        Some(bad) => Err(AccountError::Field {
            what,
            text: text.to_owned(),
            bad,
        }),
        None => Ok(()),
    }
}

fn path_text(path: &Path) -> Result<&str, AccountError> {
    path.to_str()
        .ok_or_else(|| AccountError::NotText(path.to_owned()))
}

/// Makes the login shell's name lead to the program, and says in shells(5) that it is one.
fn shell_steps(facts: &AccountFacts, shell: &Path) -> Result<Vec<AccountStep>, AccountError> {
    let (program, doubt) = &facts.program;
    if let Some(why) = doubt {
        return Err(AccountError::Program {
            program: program.clone(),
            why: why.clone(),
        });
    }
    let mut steps = Vec::new();
    match facts.login_shell {
        Some(true) => {}
        Some(false) => return Err(AccountError::NotOurs),
        None => steps.push(AccountStep::Link {
            path: LOGIN_SHELL.into(),
            target: program.clone(),
        }),
    }
    if let Some(shells) = &facts.shells {
        let mut names = vec![LOGIN_SHELL.to_owned()];
        names.push(shell.display().to_string());
        names.dedup();
        let lacking = names
            .into_iter()
            .filter(|name| !shells.lines().any(|line| line == name));
        let edits = lacking.map(LineEdit::add).collect();
        steps.extend(edit_step(
            Path::new("/"),
            "etc/shells",
            shells,
            edits,
            None,
        )?);
    }
    Ok(steps)
}

/// The steps that make jaula a login shell at all, and useradd(8) tell it of new users.
///
/// # Errors
/// When the program cannot be one.
pub fn plan_enable(facts: &AccountFacts, hook: Option<bool>) -> Result<AccountPlan, AccountError> {
    let mut steps = shell_steps(facts, Path::new(LOGIN_SHELL))?;
    match hook {
        Some(true) => {}
        Some(false) => return Err(AccountError::NotOurs),
        None => steps.push(AccountStep::Link {
            path: super::USERADD_HOOK.into(),
            target: facts.program.0.clone(),
        }),
    }
    Ok(AccountPlan {
        title:
            "make jaula a login shell, and have useradd tell it of users with a jail in their home"
                .to_owned(),
        steps,
        notes: Vec::new(),
    })
}

/// What letting somebody in takes.
///
/// # Errors
/// [`AccountError`]; nothing was changed.
pub fn plan_add(
    spec: &AddSpec,
    facts: &AccountFacts,
    with_sshd: bool,
) -> Result<AccountPlan, AccountError> {
    let name = spec.user.as_str();
    let root = Path::new("/");
    if name.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AccountError::Number(name.to_owned()));
    }
    spec.policy.check()?;
    jail(facts, &spec.jail)?;
    if let Some(shell) = &spec.shell {
        field("shell", shell)?;
    }
    field("comment", &spec.comment)?;
    field("jail", path_text(&spec.jail)?)?;
    let known = passwd::named(&facts.passwd, name);
    let account = match (&known, spec.existing) {
        (None, true) => return Err(AccountError::Absent(name.to_owned())),
        (Some(account), false) => {
            return Err(match account.uid {
                0 => AccountError::Root(name.to_owned()),
                _ => AccountError::Exists(name.to_owned()),
            });
        }
        (Some(account), true) => ordinary(account)?.clone(),
        (None, false) => new_account(spec, facts)?,
    };
    let home = home_inside(spec, &account)?;
    field("home", path_text(&home)?)?;
    let shell = spec
        .shell
        .clone()
        .unwrap_or_else(|| default_shell(spec, &account, facts));
    if !facts.shell_there && spec.policy.has_shell() {
        return Err(AccountError::NoShell(shell));
    }
    let mut policy = spec.policy.clone();
    policy.jail.clone_from(&spec.jail);
    if policy.entry == Entry::Sshd && (policy.only != [Service::Sftp] || !policy.allow.is_empty()) {
        return Err(AccountError::SshdOnlySftp);
    }
    let mut steps = shell_steps(facts, &spec.login_shell)?;
    // The host lets him in last: nothing is missing by then of what he may do, wherever this ends.
    let mut last = Vec::new();
    let host = PasswdLine {
        home: joined_home(&spec.jail, &home),
        shell: spec.login_shell.display().to_string(),
        ..account.clone()
    };
    let groups: Vec<GroupLine> = match known {
        Some(_) => {
            let line = passwd::line_of(&facts.passwd, name).unwrap_or_default();
            let edits = vec![LineEdit::replace(line, host.to_string())];
            // What it was before the first time.
            let known = facts.policy.as_deref().map(Policy::read).transpose()?;
            policy.before = match known.filter(|known| known.jail == spec.jail) {
                Some(known) => known.before,
                None => Some(Before {
                    home: account.home.clone(),
                    shell: account.shell.clone(),
                }),
            };
            last.extend(edit_step(root, "etc/passwd", &facts.passwd, edits, None)?);
            passwd::groups(&facts.group).collect()
        }
        None => inside::new_lines(spec, facts, &host, &mut last)?,
    };
    let in_jail = PasswdLine {
        password: "x".to_owned(),
        home: home.display().to_string(),
        shell,
        ..account.clone()
    };
    let of_his = |group: &GroupLine| group.gid == account.gid || group.has(name);
    let groups: Vec<GroupLine> = groups.into_iter().filter(of_his).collect();
    policy.inside = inside::add(&spec.jail, facts, &in_jail, &groups, &mut steps)?;
    for (dir, mode) in JAIL_DIRS {
        if facts.lacks.contains(&dir) {
            steps.push(AccountStep::Directory {
                root: spec.jail.clone(),
                path: dir.into(),
                mode,
            });
        }
    }
    inside::home(spec, facts, &account, &home, &mut steps)?;
    let path = Policy::path(name);
    steps.extend(write_step(path, facts.policy.as_ref(), Some(policy.text())));
    let mut notes = Vec::new();
    entry::steps(facts, &policy, &mut steps, &mut notes)?;
    inside::sshd(
        facts, name, &groups, &policy, &home, with_sshd, &mut steps, &mut notes,
    )?;
    steps.extend(last);
    Ok(AccountPlan {
        title: format!("let {name} into the jail {}", shown(&spec.jail)),
        steps,
        notes,
    })
}

/// The steps that keep somebody out of the host until he can be let into his jail: only his login shell changes.
///
/// # Errors
/// When he has no account, or is none to be jailed.
pub fn plan_close(user: &UserName, facts: &AccountFacts) -> Result<AccountPlan, AccountError> {
    let name = user.as_str();
    let account = passwd::named(&facts.passwd, name);
    let account = account.ok_or_else(|| AccountError::Absent(name.to_owned()))?;
    let mut steps = shell_steps(facts, Path::new(LOGIN_SHELL))?;
    let closed = PasswdLine {
        shell: LOGIN_SHELL.to_owned(),
        ..ordinary(&account)?.clone()
    };
    let line = passwd::line_of(&facts.passwd, name).unwrap_or_default();
    let edits = vec![LineEdit::replace(line, closed.to_string())];
    steps.extend(edit_step(
        Path::new("/"),
        "etc/passwd",
        &facts.passwd,
        edits,
        None,
    )?);
    Ok(AccountPlan {
        title: format!("keep {name} out until the jail is there"),
        steps,
        notes: Vec::new(),
    })
}

fn jail(facts: &AccountFacts, jail: &Path) -> Result<(), AccountError> {
    if !facts.jail {
        return Err(AccountError::NoJail(jail.to_owned()));
    }
    match facts.look.dangers.first() {
        Some(danger) => Err(AccountError::Unsafe(danger.clone())),
        None => Ok(()),
    }
}

/// Neither root nor one of the system's.
fn ordinary(account: &PasswdLine) -> Result<&PasswdLine, AccountError> {
    match account.uid {
        0 => Err(AccountError::Root(account.name.clone())),
        FIRST_USER..=LAST_USER => Ok(account),
        uid => Err(AccountError::System {
            name: account.name.clone(),
            uid,
        }),
    }
}

/// The shell inside when none is asked for: that of the account, where it is no login shell of ours.
pub fn default_shell(spec: &AddSpec, account: &PasswdLine, facts: &AccountFacts) -> String {
    if let Some(inside) = facts
        .inside_passwd
        .as_ref()
        .and_then(|text| passwd::named(text, spec.user.as_str()))
    {
        return inside.shell().to_owned();
    }
    match account.shell() {
        own if super::allow::base(own) == super::LOGIN
            || super::allow::base(own) == "jk_chrootsh" =>
        {
            "/bin/sh".to_owned()
        }
        own => own.to_owned(),
    }
}

fn home_inside(spec: &AddSpec, account: &PasswdLine) -> Result<PathBuf, AccountError> {
    let elsewhere = |home: &str| AccountError::HomeElsewhere {
        home: home.to_owned(),
        jail: spec.jail.clone(),
    };
    if let Some(home) = &spec.home {
        // As it is inside, or as it is on the host.
        let inside = home
            .strip_prefix(&spec.jail)
            .map(|rest| Path::new("/").join(rest));
        let home = inside.unwrap_or_else(|_| home.clone());
        let plain = home.is_absolute()
            && !home
                .components()
                .any(|part| part == std::path::Component::ParentDir);
        return match plain && home != Path::new("/") {
            true => Ok(home
                .components()
                .filter(|part| *part != std::path::Component::CurDir)
                .collect()),
            false => Err(elsewhere(&home.to_string_lossy())),
        };
    }
    match split_home(&account.home) {
        Some((jail, inside)) if jail == spec.jail => Ok(inside),
        Some(_) => Err(elsewhere(&account.home)),
        None => Ok(Path::new("/home").join(spec.user.as_str())),
    }
}

fn new_account(spec: &AddSpec, facts: &AccountFacts) -> Result<PasswdLine, AccountError> {
    let uids: Vec<u32> = passwd::accounts(&facts.passwd)
        .map(|account| account.uid)
        .collect();
    let gids: Vec<u32> = passwd::groups(&facts.group)
        .map(|group| group.gid)
        .collect();
    let inside: Vec<u32> = facts
        .inside_passwd
        .iter()
        .flat_map(|text| passwd::accounts(text))
        .map(|account| account.uid)
        .collect();
    let free = |id: &u32| {
        !uids.contains(id) && !inside.contains(id) && (spec.group.is_some() || !gids.contains(id))
    };
    let uid = match spec.uid {
        Some(uid) if (FIRST_USER..=LAST_USER).contains(&uid) && !uids.contains(&uid) => uid,
        Some(uid) => return Err(AccountError::BadId(uid)),
        None => (FIRST_USER..=LAST_USER)
            .find(free)
            .ok_or(AccountError::NoId)?,
    };
    let gid = match &spec.group {
        Some(name) => {
            let mut groups = passwd::groups(&facts.group);
            let found = groups.find(|group| group.name == *name);
            found
                .ok_or_else(|| AccountError::NoGroup(name.clone()))?
                .gid
        }
        None if passwd::groups(&facts.group).any(|group| group.name == spec.user.as_str()) => {
            return Err(AccountError::Exists(spec.user.to_string()));
        }
        None => match gids.contains(&uid) {
            false => uid,
            true => (FIRST_USER..=LAST_USER)
                .find(|id| !gids.contains(id))
                .ok_or(AccountError::NoId)?,
        },
    };
    Ok(PasswdLine {
        name: spec.user.to_string(),
        password: if facts.shadow.is_some() { "x" } else { "*" }.to_owned(),
        uid,
        gid,
        gecos: spec.comment.clone(),
        home: String::new(),
        shell: "/bin/sh".to_owned(),
    })
}

/// What is to change of a user who is in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// The shell inside.
    pub shell: Option<String>,
    /// The policy as it is to be.
    pub policy: Option<Policy>,
}

/// What changing what somebody may do takes.
///
/// # Errors
/// [`AccountError`]; nothing was changed.
pub fn plan_set(
    user: &UserName,
    jail_dir: &Path,
    changes: &Changes,
    facts: &AccountFacts,
    with_sshd: bool,
) -> Result<AccountPlan, AccountError> {
    let (account, home) = lives_in(user, jail_dir, facts)?;
    jail(facts, jail_dir)?;
    let mut steps = Vec::new();
    let mut notes = Vec::new();
    if let Some(shell) = &changes.shell {
        field("shell", shell)?;
        if !facts.shell_there {
            return Err(AccountError::NoShell(shell.clone()));
        }
        let text = facts.inside_passwd.as_deref().unwrap_or_default();
        let (Some(line), Some(inside)) = (
            passwd::line_of(text, user.as_str()),
            passwd::named(text, user.as_str()),
        ) else {
            return Err(AccountError::NotThere {
                user: user.to_string(),
                jail: jail_dir.to_owned(),
            });
        };
        let new = PasswdLine {
            shell: shell.clone(),
            ..inside
        };
        if line != new.to_string() {
            let edits = vec![LineEdit::replace(line, new.to_string())];
            steps.extend(edit_step(jail_dir, "etc/passwd", text, edits, None)?);
        }
    }
    if let Some(policy) = &changes.policy {
        policy.check()?;
        if policy.entry == Entry::Sshd
            && (policy.only != [Service::Sftp] || !policy.allow.is_empty())
        {
            return Err(AccountError::SshdOnlySftp);
        }
        let mut policy = policy.clone();
        if let Some(shell) = &changes.shell {
            // What `rm` looks for is what is there.
            for line in &mut policy.inside {
                if let Some(mut inside) =
                    PasswdLine::read(line).filter(|inside| inside.name == user.as_str())
                {
                    inside.shell.clone_from(shell);
                    *line = inside.to_string();
                }
            }
        }
        let path = Policy::path(user.as_str());
        steps.extend(write_step(path, facts.policy.as_ref(), Some(policy.text())));
        entry::steps(facts, &policy, &mut steps, &mut notes)?;
        let groups: Vec<GroupLine> = passwd::groups(&facts.group)
            .filter(|group| group.gid == account.gid || group.has(user.as_str()))
            .collect();
        inside::sshd(
            facts,
            user.as_str(),
            &groups,
            &policy,
            &home,
            with_sshd,
            &mut steps,
            &mut notes,
        )?;
    }
    match steps.is_empty() {
        true => Err(AccountError::Nothing),
        false => Ok(AccountPlan {
            title: format!("change what {user} may do in the jail {}", shown(jail_dir)),
            steps,
            notes,
        }),
    }
}

fn lives_in(
    user: &UserName,
    jail: &Path,
    facts: &AccountFacts,
) -> Result<(PasswdLine, PathBuf), AccountError> {
    let not_there = || AccountError::NotThere {
        user: user.to_string(),
        jail: jail.to_owned(),
    };
    let account = passwd::named(&facts.passwd, user.as_str()).ok_or_else(not_there)?;
    match split_home(&account.home) {
        Some((dir, home)) if dir == jail => Ok((ordinary(&account)?.clone(), home)),
        _ => Err(not_there()),
    }
}

/// What taking somebody out takes: everything that [`plan_add`] changed is as it was.
///
/// # Errors
/// [`AccountError`]; nothing was changed.
pub fn plan_rm(
    user: &UserName,
    jail_dir: &Path,
    with_home: bool,
    facts: &AccountFacts,
) -> Result<AccountPlan, AccountError> {
    let (account, home) = lives_in(user, jail_dir, facts)?;
    let name = user.as_str();
    let root = Path::new("/");
    let policy = facts.policy.as_deref().map(Policy::read).transpose()?;
    let mut steps = Vec::new();
    let mut notes = Vec::new();
    let addition = facts.addition.as_ref();
    steps.extend(write_step(sshd::addition_path(name), addition, None));
    let line = passwd::line_of(&facts.passwd, name).unwrap_or_default();
    match policy.as_ref().map(|policy| &policy.before) {
        // Somebody else's account, as it was.
        Some(Some(before)) => {
            let was = PasswdLine {
                home: before.home.clone(),
                shell: before.shell.clone(),
                ..account.clone()
            };
            let edits = vec![LineEdit::replace(line, was.to_string())];
            steps.extend(edit_step(root, "etc/passwd", &facts.passwd, edits, None)?);
        }
        Some(None) => inside::remove_account(name, line, facts, &mut steps)?,
        // Made by another tool: only what is inside is ours to take.
        None => notes.push(format!(
            "the account {name} stays on the host: it was not made by jaula user"
        )),
    }
    inside::remove(jail_dir, name, policy.as_ref(), facts, &mut steps)?;
    steps.extend(write_step(Policy::path(name), facts.policy.as_ref(), None));
    let at = home.strip_prefix("/").unwrap_or(&home).to_owned();
    match (with_home, facts.look.home) {
        (true, Some(_)) => steps.push(AccountStep::RemoveHome {
            root: jail_dir.to_owned(),
            path: at,
        }),
        (false, Some(_)) => notes.push(format!(
            "{} stays; --home removes it",
            shown(&jail_dir.join(&at))
        )),
        (_, None) => {}
    }
    Ok(AccountPlan {
        title: format!("take {name} out of the jail {}", shown(jail_dir)),
        steps,
        notes,
    })
}

#[cfg(test)]
mod tests;
