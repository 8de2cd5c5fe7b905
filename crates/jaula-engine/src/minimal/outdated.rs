//! Files of a jail that the host has otherwise now, whoever placed them: looked at beneath the jail's descriptor,
//! because its users may exchange anything in it meanwhile.

use super::MinimalImageError;
use super::within::inside;
use crate::error::At;
use jaula_sys::dir::{Dir, Kind};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Directories within each other.
const MOST_DEPTH: usize = 64;

/// What is told meanwhile, each with its path in the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked<'a> {
    /// This directory is looked at.
    Scanning(&'a Path),
    /// It was to be looked at and is not there.
    Missing(&'a Path),
    /// It is left alone, as was asked.
    Skipped(&'a Path),
    /// It is not looked at: its name is not UTF-8, it is too deep, or something is mounted there.
    Unseen(&'a Path, &'static str),
}

/// The regular files beneath these directories of the jail that the host has too, with other bytes. `dirs` and `skips`
/// are paths in the jail.
///
/// # Errors
/// When a directory cannot be listed.
pub fn outdated(
    jail: &Path,
    dirs: &[PathBuf],
    skips: &[PathBuf],
    tell: &mut dyn FnMut(Looked<'_>),
) -> Result<Vec<String>, MinimalImageError> {
    let root = Dir::open(jail).at("open", jail)?;
    let mut scan = Scan {
        skips,
        tell,
        found: Vec::new(),
    };
    for path in dirs {
        // What a link leads to is looked at where it is.
        match root.open_dir(inside(path)) {
            Ok(dir) => scan.dir(&dir, path, 0)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (scan.tell)(Looked::Missing(path));
            }
            Err(_) => (scan.tell)(Looked::Unseen(path, "it is no directory of the jail's own")),
        }
    }
    Ok(scan.found)
}

struct Scan<'a> {
    skips: &'a [PathBuf],
    tell: &'a mut dyn FnMut(Looked<'_>),
    found: Vec<String>,
}

impl Scan<'_> {
    fn dir(&mut self, dir: &Dir, path: &Path, depth: usize) -> Result<(), MinimalImageError> {
        if self.skips.iter().any(|skip| skip == path) {
            return Ok(());
        }
        if depth > MOST_DEPTH {
            (self.tell)(Looked::Unseen(
                path,
                "more than 64 directories are within each other",
            ));
            return Ok(());
        }
        (self.tell)(Looked::Scanning(path));
        let mut names = dir.entries().at("list", path)?;
        names.sort();
        for (name, _) in names {
            let here = path.join(&name);
            if self.skips.contains(&here) {
                (self.tell)(Looked::Skipped(&here));
                continue;
            }
            match dir.meta(&name).map(|meta| meta.kind) {
                Ok(Kind::Directory) => match dir.open_dir(&name) {
                    Ok(inner) => self.dir(&inner, &here, depth.saturating_add(1))?,
                    Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                        (self.tell)(Looked::Unseen(&here, "something is mounted there"));
                    }
                    // It became something else meanwhile.
                    Err(_) => (self.tell)(Looked::Unseen(&here, "it cannot be opened")),
                },
                Ok(Kind::File) if differs(dir, &name, &here) => match here.to_str() {
                    Some(text) => self.found.push(text.to_owned()),
                    None => (self.tell)(Looked::Unseen(&here, "its name is not UTF-8")),
                },
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether the host has a regular file there with other bytes.
fn differs(dir: &Dir, name: &std::ffi::OsStr, host: &Path) -> bool {
    let Ok(meta) = host.symlink_metadata() else {
        return false;
    };
    if !meta.is_file() {
        return false;
    }
    let (Ok(one), Ok(other)) = (File::open(host), dir.open_file(name)) else {
        return false;
    };
    let length = other.metadata().map(|meta| meta.len());
    length.map_or(true, |length| length != meta.len()) || !same(one, other).unwrap_or(true)
}

fn same(mut one: File, mut other: File) -> io::Result<bool> {
    let (mut a, mut b) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let read = one.read(&mut a)?;
        if read == 0 {
            return Ok(other.read(&mut b)? == 0);
        }
        let Some(piece) = b.get_mut(..read) else {
            return Ok(false);
        };
        if other.read_exact(piece).is_err() || a.get(..read) != b.get(..read) {
            return Ok(false);
        }
    }
}
