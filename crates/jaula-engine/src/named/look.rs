//! Files of a named jail as they are now, read beneath its root by a child of this process, so that whatever it has to
//! enter for that ends with it.

use super::copy::inside;
use super::{NamedError, Record};
use crate::error::At;
use crate::store::Store;
use jaula_sys::dir::Dir;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

/// Names and what is in them, at most this many bytes in all.
const LIMIT: u64 = 256 << 20;

/// Files by name.
pub type Files = Vec<(String, Vec<u8>)>;

/// Calls `look` with the jail's root and hands on what it gives.
pub fn look(
    store: &Store,
    record: &Record,
    prepare: Option<fn() -> Result<(), String>>,
    look: &mut dyn FnMut(&Dir) -> std::io::Result<Files>,
) -> Result<Files, NamedError> {
    let path = store
        .made("run")?
        .join(format!("{}.look", store.fresh_id()?));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let mut file = options.open(&path).at("make", &path)?;
    std::fs::remove_file(&path).at("remove", &path)?;
    let mut answer = file.try_clone().at("open", &path)?;
    let mut child = || {
        let found = inside(store, record, prepare, &mut |inside| {
            let files = look(inside.root()).at("read", inside.shown("/".as_ref()))?;
            let written = write(&mut answer, 0, &files);
            Ok(written.at("write", &path)?)
        });
        match found {
            Ok(()) => 0,
            Err(error) => {
                let text = super::chain(&error);
                // Without the text the exit code still says that it failed.
                drop(write(&mut answer, 1, &[(text, Vec::new())]));
                1
            }
        }
    };
    let failed = |text: String| NamedError::Copying {
        name: record.name.clone(),
        text,
    };
    let forked = jaula_sys::userns::fork(&mut child).map_err(|error| failed(error.to_string()))?;
    let code = forked.wait().map_err(|error| failed(error.to_string()))?;
    file.seek(SeekFrom::Start(0)).at("read", &path)?;
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).at("read", &path)?;
    match (code, read(&bytes)) {
        (Some(0), Some((0, files))) => Ok(files),
        (_, Some((1, files))) => {
            let text = files.into_iter().next().map(|(text, _)| text);
            let text = text.unwrap_or_default();
            Err(failed(text.chars().filter(|c| !c.is_control()).collect()))
        }
        _ => Err(failed("its files could not be read".to_owned())),
    }
}

fn write(file: &mut std::fs::File, kind: u8, files: &[(String, Vec<u8>)]) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = vec![kind];
    for (name, content) in files {
        for part in [name.as_bytes(), content] {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend(part);
        }
    }
    file.write_all(&bytes)
}

fn read(bytes: &[u8]) -> Option<(u8, Files)> {
    let (kind, mut rest) = bytes.split_first()?;
    let mut part = || {
        let (length, after) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (part, after) = after.split_at_checked(length)?;
        rest = after;
        Some(part.to_vec())
    };
    let mut files = Vec::new();
    while let Some(name) = part() {
        files.push((String::from_utf8(name).ok()?, part()?));
    }
    Some((*kind, files))
}
