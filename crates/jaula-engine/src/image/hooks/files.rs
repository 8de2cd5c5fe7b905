//! Files into the tree and out of it. What is inside is opened beneath the tree's own descriptor: a link in it leads
//! to what it leads to inside.

use super::super::error::BuildError;
use super::copy::{Merge, merge, merge_all};
use crate::error::At;
use crate::export::{TarOptions, write_tar};
use crate::unpack::{Devices, Extractor};
use jaula_plan::spec::hook::HookAction;
use jaula_sys::dir;
use jaula_sys::tree::Dir;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// O_NONBLOCK: a pipe in the place of a file does not keep us waiting.
const NO_WAIT: i32 = 0o4000;

/// A tree, and the time of what is made in it: seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub shown: &'a Path,
    pub epoch: u64,
}

pub fn run(place: &Place<'_>, action: &HookAction) -> Result<(), BuildError> {
    match action {
        HookAction::CopyIn { from, to } => {
            let target = Rc::new(inside(place, to)?);
            for from in from {
                copy(&host(from)?, &target, &place.shown.join(relative(to)))?;
            }
            Ok(())
        }
        HookAction::CopyOut { from, to } => {
            std::fs::create_dir_all(to).at("make", to)?;
            let target = Rc::new(Dir::open(to).at("open", to)?);
            for from in from {
                copy(&in_tree(place, from)?, &target, to)?;
            }
            Ok(())
        }
        HookAction::TarIn {
            from,
            to,
            no_devices,
        } => {
            let devices = match no_devices {
                true => Devices::Skip,
                false => Devices::Refuse,
            };
            let target = inside(place, to)?;
            let file = file_of_host(from)?;
            let entries = jaula_repo::tar::open(BufReader::new(file))
                .map_err(std::io::Error::other)
                .at("read", from)?;
            let extractor = Extractor::new(&target, devices);
            extractor
                .with_fractions()
                .extract(entries, &mut |_, _| {})?;
            Ok(())
        }
        HookAction::TarOut { from, to, named } => tar_out(place, from, to, *named),
        HookAction::Upload { from, to } => upload(place, from, to),
        HookAction::Download { from, to } => download(place, from, to),
        // These are programs.
        HookAction::Inside { .. } | HookAction::Outside { .. } => Ok(()),
    }
}

/// Something to be copied: the directory that holds it and its name, or a directory whose content is meant.
struct Source {
    dir: Dir,
    name: Option<CString>,
    shown: PathBuf,
}

/// Whether what is in a directory is meant, and not itself.
fn of_content(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes == b"." || bytes.ends_with(b"/.") || bytes == b"/"
}

/// Without what would make it absolute.
fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn c_name(name: &OsStr, shown: &Path) -> Result<CString, BuildError> {
    Ok(CString::new(name.as_bytes())
        .map_err(std::io::Error::from)
        .at("find", shown)?)
}

/// Parent and name of a path that has both.
fn split(path: &Path) -> Result<(PathBuf, OsString), BuildError> {
    match path.file_name() {
        Some(name) => {
            let parent = path.parent().unwrap_or(Path::new(""));
            Ok((parent.to_owned(), name.to_owned()))
        }
        None => Err(std::io::Error::from(ErrorKind::InvalidInput)).at("find", path)?,
    }
}

fn host(path: &Path) -> Result<Source, BuildError> {
    let shown = path.to_owned();
    if of_content(path) {
        let dir = Dir::open(path).at("open", path)?;
        let name = None;
        return Ok(Source { dir, name, shown });
    }
    let (parent, name) = split(path)?;
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => &parent,
    };
    Ok(Source {
        // The way there may lead through links; only the last component is taken as it is.
        dir: Dir::open(&std::fs::canonicalize(parent).at("find", parent)?).at("open", parent)?,
        name: Some(c_name(&name, path)?),
        shown,
    })
}

/// A directory of the tree; links lead to what they lead to inside.
fn inside(place: &Place<'_>, path: &Path) -> Result<Dir, BuildError> {
    let shown = place.shown.join(relative(path));
    let root = dir::Dir::open(place.shown).at("open", place.shown)?;
    let found = root
        .open_dir_in_root(&Path::new("/").join(path))
        .and_then(|dir| dir.as_fd().try_clone_to_owned());
    Ok(Dir::from_fd(found.at("open", shown)?))
}

fn in_tree(place: &Place<'_>, path: &Path) -> Result<Source, BuildError> {
    let shown = place.shown.join(relative(path));
    if of_content(path) {
        let (dir, name) = (inside(place, path)?, None);
        return Ok(Source { dir, name, shown });
    }
    let (parent, name) = split(path)?;
    Ok(Source {
        dir: inside(place, &parent)?,
        name: Some(c_name(&name, path)?),
        shown,
    })
}

fn copy(source: &Source, target: &Rc<Dir>, to: &Path) -> Result<(), BuildError> {
    let mut links = Merge::default();
    match &source.name {
        Some(name) => merge(&source.dir, name, &source.shown, target, to, &mut links),
        None => merge_all(&source.dir, &source.shown, target, to, &mut links),
    }
}

/// A regular file of the host, to be read.
fn file_of_host(path: &Path) -> Result<File, BuildError> {
    let file = File::options()
        .read(true)
        .custom_flags(NO_WAIT)
        .open(path)
        .at("open", path)?;
    regular(file, path)
}

fn regular(file: File, shown: &Path) -> Result<File, BuildError> {
    if file.metadata().at("look at", shown)?.is_file() {
        return Ok(file);
    }
    Err(std::io::Error::other("it is no regular file")).at("read", shown)?
}

fn parents(to: &Path) -> Result<(), BuildError> {
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok(parent.map_or(Ok(()), |parent| {
        std::fs::create_dir_all(parent).at("make", parent)
    })?)
}

fn tar_out(place: &Place<'_>, from: &Path, to: &Path, named: bool) -> Result<(), BuildError> {
    parents(to)?;
    let root = dir::Dir::open(place.shown).at("open", place.shown)?;
    let (inside, only) = match (named && !of_content(from)).then(|| split(from)) {
        Some(parts) => {
            let (parent, name) = parts?;
            (parent, Some(name))
        }
        None => (from.to_owned(), None),
    };
    let shown = place.shown.join(relative(&inside));
    let tree = root
        .open_dir_in_root(&Path::new("/").join(&inside))
        .at("open", &shown)?;
    if let Some(name) = &only {
        tree.meta(name).at("find", shown.join(name))?;
    }
    let out = File::create(to).at("write", to)?;
    let options = TarOptions {
        // As tar(1) writes it, where that is what is meant.
        clamp: i64::try_from(place.epoch).ok().filter(|_| !named),
        only,
        as_gnu: named,
        ..TarOptions::default()
    };
    let (mut out, _) = write_tar(&tree, &shown, out, to, &options, &mut |_, _, _| {})
        .map_err(std::io::Error::other)
        .at("write", to)?;
    out.flush().at("write", to)?;
    Ok(())
}

fn upload(place: &Place<'_>, from: &Path, to: &Path) -> Result<(), BuildError> {
    let mut file = file_of_host(from)?;
    let shown = place.shown.join(relative(to));
    let (parent, name) = split(to)?;
    let (dir, name) = (inside(place, &parent)?, c_name(&name, to)?);
    match dir.unlink(&name) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at("replace", &shown)?,
        _ => {}
    }
    let mut made = dir.create(&name, 0o600).at("make", &shown)?;
    std::io::copy(&mut file, &mut made).at("write", &shown)?;
    let epoch = i64::try_from(place.epoch).unwrap_or(i64::MAX);
    jaula_sys::tree::set_file(&made, 0, 0, 0o644, epoch, 0).at("set the owner of", &shown)?;
    Ok(())
}

fn download(place: &Place<'_>, from: &Path, to: &Path) -> Result<(), BuildError> {
    parents(to)?;
    let shown = place.shown.join(relative(from));
    let root = dir::Dir::open(place.shown).at("open", place.shown)?;
    let found = root.open_file_in_root(&Path::new("/").join(from));
    let mut file = regular(found.at("open", &shown)?, &shown)?;
    let mut made = File::create(to).at("write", to)?;
    std::io::copy(&mut file, &mut made).at("write", to)?;
    Ok(())
}
