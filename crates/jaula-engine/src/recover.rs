//! Healing what a crash left: changes whose makers are dead are undone, and nothing else is touched.

use crate::journal::{Journal, UndoError, remove_path};
use crate::store::{Store, StoreError, is_id};
use jaula_plan::net::step::NetStep;
use std::path::PathBuf;

/// What interrupted changes left, with nothing changed.
pub fn leftovers(store: &Store) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    for path in journals(store)? {
        if let Some(journal) = Journal::adopt(store.root(), &path)? {
            found.extend(journal.leftovers());
            let accounts = journal.account_leftovers();
            found.extend(accounts.iter().map(|undo| undo.path()));
            found.push(path);
        }
    }
    found.extend(orphans(store)?);
    found.extend(crate::named::stale_runs(store)?);
    found.extend(crate::lab::stale(store)?.paths);
    found.extend(crate::emperor::stale(store, false)?);
    let updates = crate::minimal::interrupted(store)?;
    found.extend(updates.into_iter().map(|(_, marker)| marker));
    Ok(found)
}

/// The changes to networks that interrupted ones made, as what takes them back.
pub fn net_leftovers(store: &Store) -> Result<Vec<NetStep>, StoreError> {
    let mut found = Vec::new();
    for path in journals(store)? {
        if let Some(journal) = Journal::adopt(store.root(), &path)? {
            let undos = journal.net_leftovers();
            found.extend(undos.into_iter().map(|undo| undo.step.clone()));
        }
    }
    Ok(found)
}

/// Undoes every interrupted change. Goes on after errors and returns what was removed, and the errors.
pub fn recover(store: &Store) -> Result<(Vec<PathBuf>, Vec<UndoError>), StoreError> {
    let (mut removed, mut errors) = (Vec::new(), Vec::new());
    for path in journals(store)? {
        // A journal that cannot be opened is left for whoever can.
        if let Ok(Some(journal)) = Journal::adopt(store.root(), &path) {
            removed.extend(journal.leftovers());
            let accounts = journal.is_of_accounts();
            let locked = accounts.then(crate::accounts::locked).transpose();
            match locked {
                Ok(held) => errors.extend(journal.undo_holding(held)),
                Err(error) => errors.push(UndoError::Account(Box::new(error))),
            }
        }
    }
    let labs = crate::lab::stale(store)?;
    for path in orphans(store)?
        .into_iter()
        .chain(crate::named::stale_runs(store)?)
        .chain(labs.paths.iter().cloned())
    {
        match remove_path(&path) {
            Ok(()) => removed.push(path),
            Err(error) => errors.push(error),
        }
    }
    removed.extend(crate::emperor::stale(store, true)?);
    for (dir, marker) in crate::minimal::interrupted(store)? {
        match crate::minimal::resume_one(store, &dir) {
            Ok(true) => removed.push(marker),
            Ok(false) => {}
            Err(error) => errors.push(UndoError::Update(Box::new(error))),
        }
    }
    Ok((removed, errors))
}

/// Undoes interrupted changes of accounts, by who holds their locks. What cannot be undone now is left for [`recover`].
pub(crate) fn accounts(store: &Store, _held: &crate::accounts::Locks) -> Result<(), StoreError> {
    for path in journals(store)? {
        if let Ok(Some(journal)) = Journal::adopt(store.root(), &path)
            && journal.is_of_accounts()
        {
            drop(journal.undo());
        }
    }
    Ok(())
}

/// The files in `journal` that are ours by their names.
fn journals(store: &Store) -> Result<Vec<PathBuf>, StoreError> {
    let mut paths = store.paths_in("journal")?;
    paths.retain(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(is_id)
    });
    paths.sort();
    Ok(paths)
}

/// Stages without a journal. A journal is made before its stage and removed after it, and names are never used
/// twice, so such a stage belongs to nobody (the journal's name was lost with the power).
fn orphans(store: &Store) -> Result<Vec<PathBuf>, StoreError> {
    let mut stages = store.paths_in("stages")?;
    stages.retain(|path| {
        let id = path
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|name| is_id(name));
        id.is_some_and(|id| !store.root().join("journal").join(id).exists())
    });
    Ok(stages)
}
