//! Files of known size and digest, several at once, each resumed where it stopped.

use super::client::{Client, refused};
use super::error::FetchError;
use super::local;
use jaula_repo::hex;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A file to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Addresses, tried one after the other when one does not have it.
    pub urls: Vec<String>,
    /// Its bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// What it is called in messages.
    pub label: String,
    /// Where it grows. What is there already is gone on from.
    pub part: PathBuf,
    /// Where it is moved when it is whole and right.
    pub path: PathBuf,
}

/// Fetches everything. `tell` hears of every piece: files whole, bytes so far, and the file at hand.
///
/// # Errors
/// The [`FetchError`] of the first file, in the order given, that could not be fetched. The others are left whole or
/// as parts to go on from.
pub fn download_all(
    client: &Client,
    wanted: &[Wanted],
    tell: &(dyn Fn(u64, u64, &str) + Sync),
) -> Result<(), FetchError> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let counters = (AtomicU64::new(0), AtomicU64::new(0));
    let failure: Mutex<Option<(usize, FetchError)>> = Mutex::new(None);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = wanted.get(index) else {
                return;
            };
            let mut heard = |bytes: u64| {
                let bytes = counters.1.fetch_add(bytes, Ordering::Relaxed) + bytes;
                tell(counters.0.load(Ordering::Relaxed), bytes, &file.label);
            };
            match one(client, file, &mut heard) {
                Ok(()) => {
                    let files = counters.0.fetch_add(1, Ordering::Relaxed) + 1;
                    tell(files, counters.1.load(Ordering::Relaxed), &file.label);
                }
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    if failure.as_ref().is_none_or(|(first, _)| index < *first) {
                        *failure = Some((index, error));
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..client.settings.connections.max(1).min(wanted.len()) {
            scope.spawn(work);
        }
        work();
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => Ok(()),
        Some((_, error)) => Err(error),
    }
}

/// One file, from the first address that has it.
fn one(client: &Client, file: &Wanted, heard: &mut dyn FnMut(u64)) -> Result<(), FetchError> {
    let mut last = FetchError::BadAddress {
        url: file.label.clone(),
    };
    for url in &file.urls {
        match client.retry(&mut || attempt(client, file, url, heard)) {
            Ok(()) => return Ok(()),
            Err(error @ FetchError::Write { .. }) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn attempt(
    client: &Client,
    file: &Wanted,
    url: &str,
    heard: &mut dyn FnMut(u64),
) -> Result<(), FetchError> {
    client.wanted(url)?;
    let write = |source| FetchError::Write {
        path: file.part.clone(),
        source,
    };
    let Some(mut part) = own_part(file).map_err(write)? else {
        return Ok(());
    };
    // The part is hashed again: it is checked as it lies there now.
    let mut hash = Sha256::new();
    let mut have = hash_rest(&mut part, &mut hash, file.size).map_err(write)?;
    if have > file.size {
        (hash, have) = restart(&part).map_err(write)?;
    }
    if have < file.size {
        let (source, start) = open(client, url, have)?;
        if start != have {
            (hash, have) = restart(&part).map_err(write)?;
        }
        let mut heard = |bytes| {
            heard(bytes);
            client.wanted(url)
        };
        have = copy(source, &mut part, &mut hash, have, file, url, &mut heard)?;
    }
    if have < file.size {
        return Err(FetchError::Truncated {
            url: url.to_owned(),
            got: have,
            expected: file.size,
        });
    }
    let got: [u8; 32] = hash.finalize().into();
    if got != file.sha256 {
        // Not worth going on from.
        std::fs::remove_file(&file.part).map_err(write)?;
        let (expected, got) = (hex::encode(&file.sha256), hex::encode(&got));
        return Err(FetchError::Altered {
            url: url.to_owned(),
            expected,
            got,
        });
    }
    std::fs::rename(&file.part, &file.path).map_err(|source| FetchError::Write {
        path: file.path.clone(),
        source,
    })
}

/// The part, locked: another program that fetches the same file is waited for, and what it made is taken. None when the
/// file is whole by then.
fn own_part(file: &Wanted) -> std::io::Result<Option<File>> {
    loop {
        let part = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&file.part)?;
        part.lock()?;
        if file.path.exists() {
            // Ours is empty, and new since the other one was renamed.
            if part.metadata()?.nlink() > 0 && !same(&part, &file.path)? {
                std::fs::remove_file(&file.part)?;
            }
            return Ok(None);
        }
        if part.metadata()?.nlink() > 0 {
            return Ok(Some(part));
        }
    }
}

fn same(part: &File, path: &Path) -> std::io::Result<bool> {
    let (a, b) = (part.metadata()?, std::fs::metadata(path)?);
    Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
}

fn restart(part: &File) -> std::io::Result<(Sha256, u64)> {
    part.set_len(0)?;
    Ok((Sha256::new(), 0))
}

fn hash_rest(part: &mut File, hash: &mut Sha256, limit: u64) -> std::io::Result<u64> {
    let mut buffer = vec![0u8; 64 << 10];
    let mut have = 0u64;
    while have <= limit {
        let read = part.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        have = have.saturating_add(read as u64);
    }
    Ok(have)
}

/// The bytes from `have` on, or from the start where the server does not go on: the second value tells which.
fn open(client: &Client, url: &str, have: u64) -> Result<(Box<dyn Read>, u64), FetchError> {
    if let Some(file) = local::open(url, have) {
        return Ok((file?, have));
    }
    let mut headers = Vec::new();
    if have > 0 {
        // No If-Range: the digest tells a changed file, and a part of an older run has no validator.
        headers.push(("Range", format!("bytes={have}-")));
    }
    let response = client.request(url, &headers)?;
    let start = match response.status().as_u16() {
        206 => {
            let range = response
                .headers()
                .get("content-range")
                .and_then(|value| value.to_str().ok())
                .unwrap_or("");
            let first = range
                .strip_prefix("bytes ")
                .and_then(|range| range.split('-').next()?.parse::<u64>().ok());
            match first {
                Some(first) if first == have => have,
                // A server that answers with another range than asked for.
                _ => {
                    return Err(FetchError::Status {
                        url: url.to_owned(),
                        status: 206,
                    });
                }
            }
        }
        200 => 0,
        // The part is as long as the file there, or longer: begin anew.
        416 => return open(client, url, 0),
        status => return Err(refused(url, status)),
    };
    Ok((Box::new(response.into_body().into_reader()), start))
}

fn copy(
    source: Box<dyn Read>,
    part: &mut File,
    hash: &mut Sha256,
    mut have: u64,
    file: &Wanted,
    url: &str,
    heard: &mut dyn FnMut(u64) -> Result<(), FetchError>,
) -> Result<u64, FetchError> {
    let mut source = source.take(file.size.saturating_sub(have).saturating_add(1));
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => return Ok(have),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            // A connection that ends early is a truncation, whatever it is called.
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset
                ) =>
            {
                return Ok(have);
            }
            Err(source) => {
                return Err(FetchError::Read {
                    url: url.to_owned(),
                    source,
                });
            }
        };
        let piece = buffer.get(..read).unwrap_or_default();
        have = have.saturating_add(read as u64);
        if have > file.size {
            return Err(FetchError::TooLarge {
                url: url.to_owned(),
                limit: file.size,
            });
        }
        part.write_all(piece).map_err(|source| FetchError::Write {
            path: file.part.clone(),
            source,
        })?;
        hash.update(piece);
        heard(read as u64)?;
    }
}
