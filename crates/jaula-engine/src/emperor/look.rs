//! The directory and its files: only what nobody else can write is run.

use super::EmperorError;
use crate::error::At;
use jaula_plan::emperor::{App, Stamp, is_app};
use jaula_plan::service::Known;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The longest file.
const LONGEST: u64 = 1 << 20;
/// More apps than this are not looked at.
const MOST: usize = 1000;

/// Who else can write, if somebody can.
fn others(meta: &Metadata) -> Option<String> {
    let own = jaula_sys::process::effective_ids().0;
    if meta.uid() != 0 && meta.uid() != own {
        return Some(format!("it belongs to user {}", meta.uid()));
    }
    match meta.mode() & 0o022 {
        0 => None,
        bits => Some(format!(
            "its {} may write",
            if bits & 0o002 != 0 { "others" } else { "group" }
        )),
    }
}

/// Whether a directory may be reigned over.
pub fn check_dir(dir: &Path) -> Result<(), EmperorError> {
    let meta = dir.metadata().at("look at", dir)?;
    if !meta.is_dir() {
        return Err(std::io::Error::from(std::io::ErrorKind::NotADirectory)).at("open", dir)?;
    }
    match others(&meta) {
        None => Ok(()),
        Some(why) => Err(EmperorError::Unsafe {
            path: dir.to_owned(),
            why,
        }),
    }
}

/// The apps' files that are there now.
pub fn files(dir: &Path) -> Result<BTreeMap<String, Stamp>, EmperorError> {
    check_dir(dir)?;
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).at("read", dir)? {
        let name = entry.at("read", dir)?.file_name();
        let Some(name) = name.to_str().filter(|name| is_app(name)) else {
            continue;
        };
        // What is gone by now, or is a link to nothing, is not there.
        let Ok(meta) = dir.join(name).metadata() else {
            continue;
        };
        if meta.is_file() && found.len() < MOST {
            found.insert(name.to_owned(), stamp(&meta));
        }
    }
    Ok(found)
}

fn stamp(meta: &Metadata) -> Stamp {
    Stamp {
        mtime: (
            meta.mtime(),
            u32::try_from(meta.mtime_nsec()).unwrap_or_default(),
        ),
        size: meta.size(),
        inode: meta.ino(),
    }
}

/// The app that a file describes, or what keeps it from being one.
pub fn app(dir: &Path, name: &str) -> Result<App, String> {
    let bytes = read(dir, name).map_err(|error| whole(&error))?;
    let app = App::read(name, &bytes).map_err(|error| error.to_string())?;
    for signal in [&app.stop].into_iter().chain(&app.reload) {
        if Known::number(signal).is_none() {
            return Err(format!("{signal:?} is no signal that it could be told by"));
        }
    }
    Ok(app)
}

/// An error with its causes.
pub fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

/// A file's content.
fn read(dir: &Path, name: &str) -> Result<Vec<u8>, EmperorError> {
    let path = dir.join(name);
    let file = File::open(&path).at("open", &path)?;
    let meta = file.metadata().at("look at", &path)?;
    if let Some(why) = others(&meta) {
        return Err(EmperorError::Unsafe { path, why });
    }
    if meta.len() > LONGEST {
        return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge)).at("read", &path)?;
    }
    let mut bytes = Vec::new();
    file.take(LONGEST)
        .read_to_end(&mut bytes)
        .at("read", &path)?;
    Ok(bytes)
}
