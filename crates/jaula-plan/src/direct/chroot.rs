//! What chroot(1) does. Users and groups are looked up in the new root, and outside where it does not know them.

use super::accounts::Accounts;
use super::{Attempt, DirectOp, DirectPlan, IdFrom, Program, Refusal, Warning};
use std::path::PathBuf;

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChrootSpec {
    /// The new root.
    pub root: PathBuf,
    /// `USER`, `USER:GROUP`, `:GROUP`, names or numbers.
    pub user: Option<String>,
    /// Supplementary groups, names or numbers with commas between; empty for none.
    pub groups: Option<String>,
    /// Stay in the working directory.
    pub stay: bool,
    /// What then runs.
    pub program: Program,
}

/// What the accounts are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChrootFacts {
    /// The new root is the old one.
    pub same_root: bool,
    /// Outside.
    pub outside: Accounts,
    /// In the new root.
    pub inside: Accounts,
}

/// What is known of who the program runs as.
#[derive(Default)]
struct Who {
    uid: Option<u32>,
    gid: Option<u32>,
    /// The user's name, for the groups he is in.
    name: Option<String>,
    groups: Vec<u32>,
}

/// The plan. It always begins with the change of root; what makes no sense is said after that.
pub fn plan_chroot(spec: ChrootSpec, facts: &ChrootFacts) -> DirectPlan {
    let mut ops = vec![DirectOp::Chroot(spec.root.clone())];
    if !spec.stay {
        ops.push(DirectOp::Chdir("/".into()));
    }
    if let Err(refusal) = identity(&spec, facts, &mut ops) {
        ops.push(DirectOp::Refuse(refusal));
    }
    DirectPlan {
        ops,
        program: spec.program,
    }
}

fn identity(
    spec: &ChrootSpec,
    facts: &ChrootFacts,
    ops: &mut Vec<DirectOp>,
) -> Result<(), Refusal> {
    if spec.user.is_none() && spec.groups.is_none() {
        return Ok(());
    }
    // As in an empty list, which asks for no groups.
    let listed = spec.groups.as_deref().filter(|list| !list.is_empty());
    let mut who = Who::default();
    if !facts.same_root {
        look(spec, listed, &facts.outside, &mut who);
    }
    // A login group is that of the new root's own line; coreutils keep the one found outside.
    let outside = who.gid.take();
    if let Some(user) = &spec.user {
        let found = parse_user(user, &facts.inside, &mut who);
        let dotted = found.is_err() && by_dot(user, &facts.inside, &mut who);
        if dotted {
            ops.push(DirectOp::Warn(Warning::Dot));
        } else {
            found?;
        }
    }
    if let Some(uid) = who
        .uid
        .filter(|_| spec.groups.is_none() || who.gid.is_none())
    {
        let known = facts.inside.user_of(uid);
        let login = known.as_ref().map(|user| user.gid);
        who.gid = who.gid.or(login).or(outside);
        match known {
            Some(user) => who.name = Some(user.name),
            None if who.gid.is_none() => return Err(Refusal::NoGroupFor(uid)),
            None => {}
        }
    }
    match (listed, &who.name, who.gid) {
        (Some(list), ..) => match parse_groups(list, &facts.inside) {
            Ok(groups) => who.groups = groups,
            // What was found outside is as good.
            Err(unknown) if who.groups.is_empty() => return Err(Refusal::InvalidGroups(unknown)),
            Err(_) => {}
        },
        (None, Some(name), Some(gid)) if spec.groups.is_none() => {
            who.groups = facts.inside.groups_of(name, gid);
        }
        _ => {}
    }
    if who.uid.is_some() || spec.groups.is_some() {
        ops.push(if who.groups.is_empty() {
            DirectOp::ClearGroups(Attempt::Only)
        } else {
            DirectOp::Groups(who.groups)
        });
    }
    ops.extend(who.gid.map(|gid| DirectOp::SetGid(IdFrom::Number(gid))));
    ops.extend(who.uid.map(|uid| DirectOp::SetUid(IdFrom::Number(uid))));
    Ok(())
}

/// What is known outside; nothing there is an error.
fn look(spec: &ChrootSpec, listed: Option<&str>, accounts: &Accounts, who: &mut Who) {
    if let Some(user) = &spec.user
        && parse_user(user, accounts, who).is_err()
    {
        by_dot(user, accounts, who);
    }
    if let Some(uid) = who
        .uid
        .filter(|_| spec.groups.is_none() || who.gid.is_none())
        && let Some(user) = accounts.user_of(uid)
    {
        who.gid = who.gid.or(Some(user.gid));
        who.name = Some(user.name);
    }
    match (listed, &who.name, who.gid) {
        (Some(list), ..) => who.groups = parse_groups(list, accounts).unwrap_or_default(),
        (None, Some(name), Some(gid)) if spec.groups.is_none() => {
            who.groups = accounts.groups_of(name, gid);
        }
        _ => {}
    }
}

/// `USER:GROUP`; a trailing colon means nothing more than none.
fn parse_user(text: &str, accounts: &Accounts, who: &mut Who) -> Result<(), Refusal> {
    let text = text.strip_suffix(':').unwrap_or(text);
    match text.split_once(':') {
        Some((user, group)) => parse_pair(user, Some(group), accounts, who),
        None => parse_pair(text, None, accounts, who),
    }
}

/// The older `USER.GROUP`.
fn by_dot(text: &str, accounts: &Accounts, who: &mut Who) -> bool {
    !text.contains(':')
        && text
            .split_once('.')
            .is_some_and(|(user, group)| parse_pair(user, Some(group), accounts, who).is_ok())
}

fn parse_pair(
    user: &str,
    group: Option<&str>,
    accounts: &Accounts,
    who: &mut Who,
) -> Result<(), Refusal> {
    let login = group.is_some_and(str::is_empty);
    let group = group.filter(|group| !group.is_empty());
    let mut uid = None;
    let mut gid = None;
    if !user.is_empty() {
        match accounts.user(user) {
            Some(found) => {
                uid = Some(found.uid);
                gid = login.then_some(found.gid);
            }
            None if login => return Err(Refusal::InvalidSpec),
            None => uid = Some(number(user).ok_or(Refusal::InvalidUser)?),
        }
    }
    if let Some(group) = group {
        let known = accounts.group(group);
        gid = Some(
            known
                .or_else(|| number(group))
                .ok_or(Refusal::InvalidGroup)?,
        );
    }
    who.uid = uid.or(who.uid);
    who.gid = gid.or(who.gid);
    Ok(())
}

/// A number, with the plus sign that says it is no name. The largest one means "none" to the kernel.
fn number(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    super::map::parse_id(digits).filter(|id| *id != u32::MAX)
}

/// The groups, or those that are unknown: none when the list held nothing at all.
fn parse_groups(list: &str, accounts: &Accounts) -> Result<Vec<u32>, Vec<String>> {
    let mut known = Vec::new();
    let mut unknown = Vec::new();
    for group in list.split(',').filter(|group| !group.is_empty()) {
        match accounts.group(group).or_else(|| number(group)) {
            Some(gid) => known.push(gid),
            None => unknown.push(group.to_owned()),
        }
    }
    if unknown.is_empty() && !known.is_empty() {
        Ok(known)
    } else {
        Err(unknown)
    }
}
