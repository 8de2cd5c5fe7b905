//! Users who live in jails: what is seen of their accounts, the changes that let them in, and their way in.

mod apply;
mod entry;
mod error;
mod home;
mod jailkit;
mod lock;
pub mod log;
mod login;
mod look;
mod undo;

pub use entry::{EntryError, EntrySocket, serve};
pub use error::AccountsError;
pub use jailkit::{chrootsh_relax, lsh, uchroot};
pub use login::{Login, jail_of_login, login};
pub use look::{Looked, Resident, account, facts, residents};
pub use undo::AccountUndo;

pub(crate) use apply::apply;
pub(crate) use lock::Locks;
pub(crate) use look::{leads, sshd_facts};

use crate::error::{At, PathError};
use jaula_sys::dir::Dir;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

/// The locks of all files of accounts.
pub(crate) fn locked() -> Result<Locks, AccountsError> {
    Locks::take(&apply::LOCKED)
}

/// The most that is read of a file of accounts.
const LIMIT: u64 = 8 << 20;

/// The text of a file of the host; none when it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<String>, PathError> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.at("open", path)?,
    };
    Ok(Some(text(file, path)?))
}

/// All that is in a file; one that is longer than may be is refused and not cut.
fn text(file: std::fs::File, path: &Path) -> Result<String, PathError> {
    let mut bytes = Vec::new();
    file.take(LIMIT.saturating_add(1))
        .read_to_end(&mut bytes)
        .at("read", path)?;
    if bytes.len() as u64 > LIMIT {
        return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge)).at("read", path);
    }
    let text =
        String::from_utf8(bytes).map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData));
    text.at("read", path)
}

/// The directory that holds a path beneath a root, links on the way followed inside only, and its last part.
fn parent(root: &Path, path: &Path) -> Result<(Dir, OsString), PathError> {
    let whole = root.join(path);
    let missing = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
    let name = path.file_name().ok_or_else(missing).at("find", &whole)?;
    let top = Dir::open(root).at("open", root)?;
    let dir = match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        None => top,
        Some(parent) => top.open_dir_in_root(parent).at("open", root.join(parent))?,
    };
    Ok((dir, name.to_owned()))
}
