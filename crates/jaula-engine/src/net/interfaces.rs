//! The files of ifupdown, and those that they name.

use crate::error::At;
use crate::net::error::NetError;
use jaula_plan::net::interfaces::{InterfacesError, Source, named};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A file is never longer than this, and there are never more of them.
const LONGEST: u64 = 1 << 20;
const MOST: usize = 256;

/// A file and those that it names, in that order.
///
/// # Errors
/// What cannot be read, and patterns that are not one directory's files.
pub(crate) fn sources(file: &Path) -> Result<Vec<Source>, NetError> {
    let mut found = Vec::new();
    let mut waiting = vec![file.to_owned()];
    while let Some(path) = waiting.pop() {
        let name = path.display().to_string();
        let wrong = |why: String| InterfacesError::Line {
            file: name.clone(),
            line: 1,
            why,
        };
        if found.len() == MOST {
            return Err(wrong(format!("more than {MOST} files name each other")).into());
        }
        let mut bytes = Vec::new();
        let opened = File::open(&path).at("open", &path)?;
        let read = opened.take(LONGEST + 1).read_to_end(&mut bytes);
        read.at("read", &path)?;
        if bytes.len() as u64 > LONGEST {
            return Err(wrong("it is longer than a mebibyte".into()).into());
        }
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is no text".into()))?;
        let base = path.parent().unwrap_or(Path::new("/"));
        for (directory, pattern) in named(&text) {
            match pattern.strip_suffix("/*").filter(|_| !directory) {
                Some(dir) => waiting.extend(files(&base.join(dir))?),
                None if directory => waiting.extend(files(&base.join(&pattern))?),
                None if pattern.contains(['*', '?', '[', '$', '~', '`']) => {
                    let why = format!("source {pattern} is not read: a file, or DIR/*");
                    return Err(wrong(why).into());
                }
                None => waiting.push(base.join(&pattern)),
            }
        }
        found.push(Source { file: name, text });
    }
    Ok(found)
}

/// The files of a directory, the last first; one that is not there has none.
fn files(dir: &Path) -> Result<Vec<PathBuf>, NetError> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        other => other.at("list", dir)?,
    };
    for entry in entries {
        let entry = entry.at("list", dir)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.path().is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    found.reverse();
    Ok(found)
}
