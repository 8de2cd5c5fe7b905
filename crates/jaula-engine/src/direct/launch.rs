//! What jk_chrootlaunch(8) looks at, and the number that it leaves.

use super::accounts;
use crate::error::{At, PathError};
use crate::minimal::unsafe_parts;
use jaula_plan::jailkit::{LaunchFacts, LaunchSpec, ProgramFacts};
use jaula_sys::dir::{self, Dir};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Looks at the jail, its program and the host's accounts.
///
/// # Errors
/// When something is there and cannot be looked at.
pub fn probe_launch(spec: &LaunchSpec) -> Result<LaunchFacts, PathError> {
    let mut reasons = unsafe_parts(&spec.jail)?;
    if reasons.is_empty() && !spec.jail.is_dir() {
        reasons.push(jaula_plan::minimal::Unsafe {
            path: spec.jail.clone(),
            what: jaula_plan::minimal::UnsafePart::NoDirectory,
        });
    }
    Ok(LaunchFacts {
        reasons,
        program: program(spec)?,
        accounts: accounts(Path::new("/")),
    })
}

fn program(spec: &LaunchSpec) -> Result<ProgramFacts, PathError> {
    let path = spec.outside();
    let there = |result: io::Result<_>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        result => result.map(Some),
    };
    // The kernel will look for it from the new root: a link must mean the same from here.
    let parent = path.parent().unwrap_or(&path);
    let jail = there(std::fs::canonicalize(&spec.jail)).at("look at", &spec.jail)?;
    let real = there(std::fs::canonicalize(parent)).at("look at", parent)?;
    let (Some(jail), Some(real)) = (jail, real) else {
        return Ok(ProgramFacts::Missing);
    };
    if !real.starts_with(&jail) {
        return Ok(ProgramFacts::Outside);
    }
    let meta = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ProgramFacts::Missing),
        meta => meta.at("look at", &path)?,
    };
    Ok(if meta.is_symlink() {
        ProgramFacts::Link
    } else if meta.is_file() {
        ProgramFacts::File {
            uid: meta.uid(),
            gid: meta.gid(),
            mode: meta.mode() & 0o7777,
        }
    } else {
        ProgramFacts::NoFile
    })
}

/// The file of this process's number, which can be taken back even from another root.
#[derive(Debug)]
pub struct NumberFile {
    dir: Dir,
    name: OsString,
    file: File,
}

impl NumberFile {
    /// Removes it, where it still is this one. Who has given up the right to that empties it, so that nobody takes the
    /// number for that of a daemon.
    pub fn take_back(self) {
        let own = dir::meta_of(self.file.as_fd()).map(|meta| (meta.device, meta.inode));
        let there = self.dir.meta(&self.name);
        let same = there.is_ok_and(|meta| own.is_ok_and(|own| own == (meta.device, meta.inode)));
        if !same || self.dir.unlink(&self.name).is_err() {
            drop(self.file.set_len(0));
        }
    }
}

/// Writes the number of this process, which is the daemon's after [`super::apply`]. Whatever is at the path is
/// replaced: a link there is not followed.
///
/// # Errors
/// When it cannot be written.
pub fn write_number(path: &Path) -> Result<NumberFile, PathError> {
    let number = std::process::id();
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{number}"));
    let aside = Path::new(&aside);
    // Others may write in the directory: what they put under this name is neither followed nor replaced.
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o644);
    let mut file = options.open(aside).at("write", path)?;
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    let dir = file
        .set_permissions(Permissions::from_mode(0o644))
        .and_then(|()| file.write_all(format!("{number}\n").as_bytes()))
        .and_then(|()| Dir::open(above))
        .and_then(|dir| std::fs::rename(aside, path).map(|()| dir))
        .inspect_err(|_| drop(std::fs::remove_file(aside)))
        .at("write", path)?;
    Ok(NumberFile {
        dir,
        name: path.file_name().unwrap_or_default().to_owned(),
        file,
    })
}
