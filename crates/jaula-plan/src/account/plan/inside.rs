//! The parts of a plan: accounts of the host and of the jail, the home, sshd.

use super::*;

/// The lines of a new account; gives the groups he is in.
pub(super) fn new_lines(
    spec: &AddSpec,
    facts: &AccountFacts,
    host: &PasswdLine,
    steps: &mut Vec<AccountStep>,
) -> Result<Vec<GroupLine>, AccountError> {
    let root = Path::new("/");
    let name = spec.user.as_str();
    let mut groups: Vec<GroupLine> = passwd::groups(&facts.group).collect();
    if spec.group.is_none() {
        let own = GroupLine {
            name: name.to_owned(),
            password: "x".to_owned(),
            gid: host.gid,
            members: Vec::new(),
        };
        let edits = vec![LineEdit::add(own.to_string())];
        steps.extend(edit_step(root, "etc/group", &facts.group, edits, None)?);
        if let Some(gshadow) = &facts.gshadow {
            let edits = vec![LineEdit::add(format!("{name}:!::"))];
            steps.extend(edit_step(root, "etc/gshadow", gshadow, edits, None)?);
        }
        groups.push(own);
    }
    let edits = vec![LineEdit::add(host.to_string())];
    steps.extend(edit_step(root, "etc/passwd", &facts.passwd, edits, None)?);
    if let Some(shadow) = &facts.shadow {
        // No password, and not locked: keys will do.
        let line = format!("{name}:*:{}:0:99999:7:::", facts.today);
        steps.extend(edit_step(
            root,
            "etc/shadow",
            shadow,
            vec![LineEdit::add(line)],
            None,
        )?);
    }
    Ok(groups)
}

/// The user and his groups in the jail's files; gives the lines that were added.
pub(super) fn add(
    jail: &Path,
    facts: &AccountFacts,
    user: &PasswdLine,
    groups: &[GroupLine],
    steps: &mut Vec<AccountStep>,
) -> Result<Vec<String>, AccountError> {
    let mut added = Vec::new();
    let text = facts.inside_passwd.as_deref().unwrap_or_default();
    let edits = match (
        passwd::line_of(text, &user.name),
        passwd::named(text, &user.name),
    ) {
        (Some(line), Some(known)) => {
            if (known.uid, known.gid) != (user.uid, user.gid) {
                return Err(AccountError::Taken(
                    user.name.clone(),
                    format!("user {} and group {}", known.uid, known.gid),
                ));
            }
            let new = PasswdLine {
                gecos: known.gecos,
                password: known.password,
                ..user.clone()
            };
            match new.to_string() == line {
                true => Vec::new(),
                false => vec![LineEdit::replace(line, new.to_string())],
            }
        }
        _ => {
            if let Some(other) = passwd::accounts(text).find(|other| other.uid == user.uid) {
                return Err(AccountError::Taken(
                    format!("user {}", user.uid),
                    other.name,
                ));
            }
            added.push(user.to_string());
            vec![LineEdit::add(user.to_string())]
        }
    };
    steps.extend(edit_step(jail, "etc/passwd", text, edits, Some(0o644))?);
    let text = facts.inside_group.as_deref().unwrap_or_default();
    let inside: Vec<GroupLine> = passwd::groups(text).collect();
    let mut edits = Vec::new();
    for group in groups {
        let member = group.has(&user.name);
        if group.gid != user.gid && !member {
            continue;
        }
        let known = inside
            .iter()
            .find(|known| known.gid == group.gid || known.name == group.name);
        match known {
            Some(known) if member && !known.has(&user.name) => {
                let line = passwd::line_of(text, &known.name).unwrap_or_default();
                let mut new = known.clone();
                new.members.push(user.name.clone());
                edits.push(LineEdit::replace(line, new.to_string()));
            }
            Some(_) => {}
            None => {
                let new = GroupLine {
                    password: "x".to_owned(),
                    members: match member {
                        true => vec![user.name.clone()],
                        false => Vec::new(),
                    },
                    ..group.clone()
                };
                added.push(new.to_string());
                edits.push(LineEdit::add(new.to_string()));
            }
        }
    }
    steps.extend(edit_step(jail, "etc/group", text, edits, Some(0o644))?);
    Ok(added)
}

/// The home: made, moved, or left as it is.
pub(super) fn home(
    spec: &AddSpec,
    facts: &AccountFacts,
    account: &PasswdLine,
    home: &Path,
    steps: &mut Vec<AccountStep>,
) -> Result<(), AccountError> {
    let path = home.strip_prefix("/").unwrap_or(home).to_owned();
    let (root, uid, gid) = (spec.jail.clone(), account.uid, account.gid);
    match (facts.look.home, spec.move_home, facts.old_home) {
        (Some(_), _, _) => return Ok(()),
        (None, true, None) => return Err(AccountError::NothingToMove),
        _ => {}
    }
    for dir in &facts.way {
        steps.push(AccountStep::Directory {
            root: root.clone(),
            path: dir.clone(),
            mode: 0o755,
        });
    }
    steps.push(match spec.move_home {
        true => AccountStep::MoveHome {
            from: PathBuf::from(&account.home),
            root,
            path,
            uid,
            gid,
        },
        false => AccountStep::Home {
            root,
            path,
            uid,
            gid,
        },
    });
    Ok(())
}

/// The addition to sshd's settings.
#[expect(clippy::too_many_arguments, reason = "one call's own words")]
pub(super) fn sshd(
    facts: &AccountFacts,
    name: &str,
    groups: &[GroupLine],
    policy: &Policy,
    home: &Path,
    wanted: bool,
    steps: &mut Vec<AccountStep>,
    notes: &mut Vec<String>,
) -> Result<(), AccountError> {
    let Some(settings) = facts.sshd.as_ref() else {
        return match policy.entry {
            Entry::Sshd => Err(AccountError::NoSshd),
            Entry::Shell => Ok(()),
        };
    };
    if !wanted {
        notes.push(
            "sshd's settings are left as they are: a Subsystem internal-sftp and forwarding go past the login shell"
                .to_owned(),
        );
        return Ok(());
    }
    let names: Vec<String> = groups.iter().map(|group| group.name.clone()).collect();
    let text = sshd::addition(name, policy, home)?;
    sshd::check(settings, name, &names, &text)?;
    let step = write_step(
        sshd::addition_path(name),
        facts.addition.as_ref(),
        Some(text),
    );
    if step.is_some() {
        notes.push(
            "an sshd that runs reads it when it is told to: systemctl reload ssh, or kill -HUP"
                .to_owned(),
        );
    }
    steps.extend(step);
    Ok(())
}

/// An account that was made by us goes.
pub(super) fn remove_account(
    name: &str,
    line: &str,
    facts: &AccountFacts,
    steps: &mut Vec<AccountStep>,
) -> Result<(), AccountError> {
    let root = Path::new("/");
    let mut remove = |path: &str, text: &str, line: &str| {
        let step = edit_step(root, path, text, vec![LineEdit::remove(line)], None)?;
        steps.extend(step);
        Ok::<_, AccountError>(())
    };
    remove("etc/passwd", &facts.passwd, line)?;
    if let Some((text, line)) = with_line(facts.shadow.as_deref(), name) {
        remove("etc/shadow", text, line)?;
    }
    // His own group, when nobody else is in it.
    let own = passwd::groups(&facts.group).find(|group| group.name == name);
    let shared = |group: &GroupLine| {
        group.members.iter().any(|member| member != name)
            || passwd::accounts(&facts.passwd)
                .any(|other| other.gid == group.gid && other.name != name)
    };
    if own.is_some_and(|group| !shared(&group)) {
        if let Some((text, line)) = with_line(Some(&facts.group), name) {
            remove("etc/group", text, line)?;
        }
        if let Some((text, line)) = with_line(facts.gshadow.as_deref(), name) {
            remove("etc/gshadow", text, line)?;
        }
    }
    Ok(())
}

fn with_line<'a>(text: Option<&'a str>, name: &str) -> Option<(&'a str, &'a str)> {
    Some((text?, passwd::line_of(text?, name)?))
}

/// What we added to the jail's files goes; of a user that is not ours, his line.
pub(super) fn remove(
    jail: &Path,
    name: &str,
    policy: Option<&Policy>,
    facts: &AccountFacts,
    steps: &mut Vec<AccountStep>,
) -> Result<(), AccountError> {
    let ours = policy
        .map(|policy| policy.inside.as_slice())
        .unwrap_or_default();
    if let Some(text) = &facts.inside_passwd {
        let known = passwd::line_of(text, name);
        let added = ours
            .iter()
            .any(|line| PasswdLine::read(line).is_some_and(|line| line.name == name));
        if let Some(line) = known.filter(|_| added || policy.is_none()) {
            let edits = vec![LineEdit::remove(line)];
            steps.extend(edit_step(jail, "etc/passwd", text, edits, None)?);
        }
    }
    if let Some(text) = &facts.inside_group {
        let others = facts.inside_passwd.as_deref().unwrap_or_default();
        let mut edits = Vec::new();
        for line in ours.iter().filter(|line| GroupLine::read(line).is_some()) {
            let Some(group) = GroupLine::read(line) else {
                continue;
            };
            let needed =
                passwd::accounts(others).any(|other| other.gid == group.gid && other.name != name);
            if text.lines().any(|known| known == line) && !needed {
                edits.push(LineEdit::remove(line.clone()));
            }
        }
        for group in passwd::groups(text).filter(|group| group.has(name)) {
            let line = group.to_string();
            if !edits.iter().any(|edit| edit.before.as_ref() == Some(&line)) {
                let mut new = group;
                new.members.retain(|member| member != name);
                edits.push(LineEdit::replace(line, new.to_string()));
            }
        }
        steps.extend(edit_step(jail, "etc/group", text, edits, None)?);
    }
    Ok(())
}
