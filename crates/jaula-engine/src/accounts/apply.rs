//! Doing a plan of accounts: all of it, or nothing.

use super::lock::Locks;
use super::undo::AccountUndo;
use super::{AccountsError, home, parent, read};
use crate::error::{At, EngineError};
use crate::journal::{Intent, Journal};
use crate::store::Store;
use jaula_plan::account::lines;
use jaula_plan::account::{AccountError, AccountPlan, AccountStep};
use jaula_sys::dir::{self, Dir, Kind};
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The files of `/etc` that are locked one by one.
pub(super) const LOCKED: [&str; 4] = ["passwd", "group", "shadow", "gshadow"];

/// Decides under the locks of all files of accounts, and does what was decided: what was looked at is as it was. On an
/// error everything that was done is taken back.
///
/// # Errors
/// [`EngineError::Accounts`], or why there is no plan.
pub(crate) fn apply(
    store: &Store,
    plan: impl FnOnce() -> Result<AccountPlan, EngineError>,
) -> Result<AccountPlan, EngineError> {
    if !crate::probe::is_real_root() {
        plan()?;
        return Err(AccountsError::NotRoot.into());
    }
    let (_, mut journal) = store.journal()?;
    let locks = match held(&mut journal) {
        Ok(locks) => locks,
        Err(error) => {
            drop(journal.undo());
            return Err(error.into());
        }
    };
    // Who was killed between the two has left something all the same.
    drop(crate::recover::accounts(store, &locks));
    match plan() {
        Ok(plan) => {
            whole(&plan, journal, locks)?;
            Ok(plan)
        }
        Err(error) => {
            drop(journal.undo_holding(locks));
            Err(error)
        }
    }
}

fn held(journal: &mut Journal) -> Result<Locks, AccountsError> {
    let mut intents = vec![Intent::Account(Box::new(AccountUndo::Locks {}))];
    intents.extend(LOCKED.iter().map(|name| Intent::Create(Locks::aside(name))));
    journal.intend_all(intents)?;
    Locks::take(&LOCKED)
}

/// All of a plan, or nothing.
fn whole(plan: &AccountPlan, mut journal: Journal, locks: Locks) -> Result<(), AccountsError> {
    let mut old = Vec::new();
    let later = |step: &&AccountStep| matches!(step, AccountStep::RemoveHome { .. });
    for (number, step) in (1usize..).zip(plan.steps.iter().filter(|step| !later(step))) {
        if let Err(source) = one(step, &mut journal, &mut old) {
            let errors = journal.undo_holding(locks);
            let done = number.saturating_sub(1);
            let undone = match errors.first() {
                None => format!("undone: {done} of {done} steps; nothing is changed"),
                Some(error) => {
                    format!("not everything could be undone: {error}; jaula recover tries again")
                }
            };
            return Err(AccountsError::Step {
                number,
                count: plan.steps.len(),
                step: step.to_string(),
                undone,
                source: Box::new(source),
            });
        }
    }
    // What cannot be taken back comes when nothing has to be any more; ours when they are empty are those of the policies.
    let homes = plan.steps.iter().filter_map(|step| match step {
        AccountStep::RemoveHome { root, path } => Some((root, path)),
        _ => None,
    });
    let homes: Vec<_> = homes.collect();
    let gone = homes.iter().map(|(root, path)| root.join(path));
    let prune = vec!["/etc/jaula/users".into(), "/etc/jaula".into()];
    if let Err(error) = journal.done(gone.chain(old.iter().cloned()).collect(), prune) {
        drop(journal.undo_holding(locks));
        return Err(error.into());
    }
    for (root, path) in homes {
        let (dir, name) = parent(root, path)?;
        if let Err(source) = crate::remove::tree(&dir, &name) {
            // What is left of it is told, and not tried again at the next start.
            drop(locks);
            journal.finish()?;
            return Err(AccountsError::Home {
                path: root.join(path),
                source: Box::new(source),
            });
        }
    }
    journal
        .undo_holding(locks)
        .into_iter()
        .next()
        .map_or(Ok(()), |error| {
            Err(AccountsError::Odd {
                path: PathBuf::from(error.to_string()),
            })
        })
}

fn one(
    step: &AccountStep,
    journal: &mut Journal,
    old: &mut Vec<PathBuf>,
) -> Result<(), AccountsError> {
    match step {
        AccountStep::Edit {
            root,
            path,
            edits,
            make,
            ..
        } => {
            let whole = root.join(path);
            let (dir, name) = parent(root, path)?;
            let mut text = String::new();
            let made = match dir.meta(&name) {
                Ok(meta) if meta.kind != Kind::File => {
                    return Err(AccountsError::NotPlain { path: whole });
                }
                Ok(_) => {
                    let file = dir.open_file(&name).at("open", &whole)?;
                    text = super::text(file, &whole)?;
                    false
                }
                Err(error) if error.kind() == ErrorKind::NotFound && make.is_some() => true,
                Err(error) => return Err(error).at("look at", &whole)?,
            };
            let edited =
                lines::edit(&text, edits).map_err(|_| AccountError::Changed(whole.clone()))?;
            let undo = AccountUndo::Lines {
                root: root.clone(),
                path: path.clone(),
                edits: edited.undo().to_vec(),
                made,
                open: !text.is_empty() && !text.ends_with('\n'),
            };
            journal.intend_all(vec![
                Intent::Create(aside(&whole)),
                Intent::Account(Box::new(undo)),
            ])?;
            put(&dir, &name, &whole, &edited.text(), make.filter(|_| made))?;
        }
        AccountStep::Write {
            path,
            before,
            after,
            ..
        } => {
            if read(path)? != *before {
                return Err(AccountsError::Changed { path: path.clone() });
            }
            make_missing(journal, path)?;
            let undo = AccountUndo::Text {
                path: path.clone(),
                before: before.clone(),
                after: after.clone(),
            };
            journal.intend_all(vec![
                Intent::Create(aside(path)),
                Intent::Account(Box::new(undo)),
            ])?;
            let (dir, name) = parent(Path::new("/"), path.strip_prefix("/").unwrap_or(path))?;
            match after {
                Some(after) => put(&dir, &name, path, after, Some(0o644))?,
                None => dir.unlink(&name).at("remove", path)?,
            }
        }
        AccountStep::Link { path, target } => {
            make_missing(journal, path)?;
            let number = journal.intend(Intent::Create(path.clone()))?;
            exclusive(journal, number, symlink(target, path)).at("make", path)?;
        }
        AccountStep::Directory { root, path, mode } => {
            let whole = root.join(path);
            let (dir, name) = parent(root, path)?;
            let number = journal.intend(Intent::Create(whole.clone()))?;
            exclusive(journal, number, dir.make_dir(&name, *mode)).at("make", &whole)?;
            dir.set_mode(&name, *mode).at("change", &whole)?;
        }
        AccountStep::Home {
            root,
            path,
            uid,
            gid,
        } => {
            let whole = root.join(path);
            let (dir, name) = parent(root, path)?;
            let number = journal.intend(Intent::Create(whole.clone()))?;
            exclusive(journal, number, dir.make_dir(&name, 0o700)).at("make", &whole)?;
            let home = dir.open_dir(&name).at("open", &whole)?;
            if let Ok(skeleton) = Dir::open(Path::new("/etc/skel")) {
                home::copy(&skeleton, &home, Path::new("/etc/skel"), Some((*uid, *gid)))?;
            }
            dir::set_owner(home.as_fd(), *uid, *gid).at("change", &whole)?;
        }
        AccountStep::MoveHome {
            from, root, path, ..
        } => {
            let whole = root.join(path);
            let (dir, name) = parent(root, path)?;
            match dir.meta(&name) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                _ => return Err(AccountsError::Changed { path: whole }),
            }
            let relative = from.strip_prefix("/").unwrap_or(from);
            let (above, own) = parent(Path::new("/"), relative)?;
            let undo = AccountUndo::Home {
                from: from.clone(),
                to: whole.clone(),
            };
            journal.intend(Intent::Account(Box::new(undo)))?;
            match above.rename(&own, &dir, &name) {
                Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                    let source = above.open_dir(&own).at("open", from)?;
                    let meta = source.own_meta().at("look at", from)?;
                    let number = journal.intend(Intent::Create(whole.clone()))?;
                    exclusive(journal, number, dir.make_dir(&name, 0o700)).at("make", &whole)?;
                    let home = dir.open_dir(&name).at("open", &whole)?;
                    home::copy(&source, &home, from, None)?;
                    dir::set_owner(home.as_fd(), meta.uid, meta.gid).at("change", &whole)?;
                    dir::set_mode(home.as_fd(), meta.mode).at("change", &whole)?;
                    old.push(from.clone());
                }
                other => other.at("move", from)?,
            }
        }
        // Done when all else is.
        AccountStep::RemoveHome { .. } => {}
    }
    Ok(())
}

/// What was there already is not ours.
fn exclusive(
    journal: &mut Journal,
    number: usize,
    made: std::io::Result<()>,
) -> std::io::Result<()> {
    if made
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::AlreadyExists)
        && journal.disown(number).is_err()
    {
        return Err(std::io::Error::from(ErrorKind::Other));
    }
    made
}

/// The directories above a path that are not there, the uppermost first.
fn missing(path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().skip(1);
    let mut missing: Vec<PathBuf> = above
        .take_while(|dir| dir.symlink_metadata().is_err())
        .map(Path::to_owned)
        .collect();
    missing.reverse();
    missing
}

/// Makes them, root's and open to be read.
fn make_missing(journal: &mut Journal, path: &Path) -> Result<(), AccountsError> {
    for dir in missing(path) {
        let undo = AccountUndo::Directory { path: dir.clone() };
        journal.intend(Intent::Account(Box::new(undo)))?;
        std::fs::create_dir(&dir).at("make", &dir)?;
        std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .at("change", &dir)?;
    }
    Ok(())
}

/// The name under which a file is written before it takes the place of another.
pub(super) fn aside_name(name: &OsStr) -> OsString {
    let mut aside = OsString::from(".");
    aside.push(name);
    aside.push(".jaula");
    aside
}

fn aside(path: &Path) -> PathBuf {
    path.with_file_name(aside_name(path.file_name().unwrap_or_default()))
}

/// Writes a file anew, whole or not at all, with the owner, mode and attributes of what it replaces; a new one is root's.
pub(super) fn put(
    dir: &Dir,
    name: &OsStr,
    whole: &Path,
    text: &str,
    mode: Option<u32>,
) -> Result<(), AccountsError> {
    let aside = aside_name(name);
    // One that was left is nobody's: whoever changes this file holds its lock.
    drop(dir.unlink(&aside));
    let mut file = dir.create_file(&aside, 0o600).at("create", whole)?;
    let written = (|| {
        match dir.open_file(name) {
            Ok(before) => {
                let meta = dir::meta_of(before.as_fd())?;
                dir::set_owner(file.as_fd(), meta.uid, meta.gid)?;
                dir::set_mode(file.as_fd(), meta.mode)?;
                for (key, value) in dir::xattrs(before.as_fd())? {
                    dir::set_xattr(file.as_fd(), &key, &value)?;
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                dir::set_mode(file.as_fd(), mode.unwrap_or(0o600))?;
            }
            Err(error) => return Err(error),
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        dir.rename(&aside, dir, name)
    })();
    if written.is_err() {
        drop(dir.unlink(&aside));
    }
    Ok(written.at("write", whole)?)
}
