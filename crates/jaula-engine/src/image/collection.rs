//! An archive of packages that debootstrap(8) made (`--make-tarball`): opened as a repository of its own in the store,
//! for as long as an image is made from it.

use crate::engine::Engine;
use crate::error::{At, EngineError};
use crate::event::{Event, Observer};
use crate::journal::{Intent, Journal};
use crate::unpack::HashReader;
use jaula_repo::deb::archive;
use jaula_repo::hex;
use jaula_repo::tar::{self, Kind, TarError};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Most packages of one archive.
const MOST: usize = 65_536;
/// Longest note, in bytes.
const NOTE: u64 = 1 << 20;

/// Why an archive is no collection of packages.
#[derive(Debug, thiserror::Error)]
pub enum CollectionError {
    /// As an archive.
    #[error("{} cannot be read", jaula_plan::explain::shown(.path))]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: TarError,
    },
    /// Something that has to be in it is not.
    #[error("{} is no archive of packages: it has no {what}", jaula_plan::explain::shown(.path))]
    Lacks {
        /// The file.
        path: PathBuf,
        /// What.
        what: &'static str,
    },
    /// More packages than there are.
    #[error("{} holds more than {MOST} packages", jaula_plan::explain::shown(.path))]
    TooMany {
        /// The file.
        path: PathBuf,
    },
}

/// A collection that is open. It is gone when it is closed, or when this process ends.
#[derive(Debug)]
pub struct Collection {
    journal: Journal,
    dir: PathBuf,
    /// What the archive says besides, by name: `suite`, `arch`, `variant`, `mirror`, `required`, `base`.
    pub notes: BTreeMap<String, String>,
    /// The packages' names, in the archive's order.
    pub packages: Vec<String>,
}

impl Collection {
    /// The address of the repository. Nobody signed it.
    pub fn mirror(&self) -> String {
        format!("file://{}", self.dir.display())
    }

    /// A note's words.
    pub fn words(&self, note: &str) -> Vec<String> {
        let text = self.notes.get(note).map(String::as_str).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Removes it from the store.
    pub fn close(self, observer: &dyn Observer) {
        for error in self.journal.undo() {
            observer.event(Event::Note {
                text: error.to_string(),
            });
        }
    }
}

impl Engine {
    /// Opens an archive.
    ///
    /// # Errors
    /// [`CollectionError`]; nothing of it is left in the store then.
    pub fn open_collection(&self, archive: &Path) -> Result<Collection, EngineError> {
        let (id, mut journal) = self.store().journal()?;
        let dir = self.store().made("stages")?.join(&id);
        journal.intend(Intent::Create(dir.clone()))?;
        DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .at("make", &dir)?;
        let mut collection = Collection {
            journal,
            dir,
            notes: BTreeMap::new(),
            packages: Vec::new(),
        };
        let filled = fill(&mut collection, archive);
        if let Err(error) = filled {
            drop(collection.journal.undo());
            return Err(error);
        }
        Ok(collection)
    }
}

fn fill(collection: &mut Collection, archive: &Path) -> Result<(), EngineError> {
    let wrong = |source| CollectionError::Archive {
        path: archive.to_owned(),
        source,
    };
    let pool = collection.dir.join("pool");
    std::fs::create_dir(&pool).at("make", &pool)?;
    let file = File::open(archive).at("read", archive)?;
    let mut entries = tar::open(BufReader::new(file)).map_err(wrong)?;
    let (mut index, mut newest) = (String::new(), 0);
    while let Some(mut entry) = entries.next_entry().map_err(wrong)? {
        if entry.meta().kind != Kind::File {
            continue;
        }
        let name = String::from_utf8_lossy(entry.meta().path.as_bytes()).into_owned();
        if let Some(note) = name.strip_prefix("debootstrap/") {
            if entry.meta().size <= NOTE && !note.contains('/') {
                let mut text = String::new();
                if entry.read_to_string(&mut text).is_ok() {
                    collection
                        .notes
                        .insert(note.to_owned(), text.trim().to_owned());
                }
            }
        } else if name.starts_with("var/cache/apt/archives/") && name.ends_with(".deb") {
            if collection.packages.len() >= MOST {
                return Err(CollectionError::TooMany {
                    path: archive.to_owned(),
                }
                .into());
            }
            newest = newest.max(entry.meta().mtime);
            let own = format!("pool/{}.deb", collection.packages.len());
            let (stanza, package) = take(&mut entry, &collection.dir, &own)?;
            index.push_str(&stanza);
            collection.packages.push(package);
        }
    }
    let lacks = |what| CollectionError::Lacks {
        path: archive.to_owned(),
        what,
    };
    let word = |note: &str| collection.words(note).into_iter().next();
    let suite = word("suite").ok_or_else(|| lacks("debootstrap/suite"))?;
    let arch = word("arch").ok_or_else(|| lacks("debootstrap/arch"))?;
    if collection.packages.is_empty() {
        return Err(lacks("package in var/cache/apt/archives").into());
    }
    // Both become parts of a path.
    if suite.contains(['/', '\0']) || suite.starts_with('.') || arch.contains(['/', '\0', '.']) {
        return Err(lacks("suite or architecture that is one").into());
    }
    publish(&collection.dir, &suite, &arch, &index, newest)
}

/// Writes a package into the pool: its stanza of the index, and its name.
fn take(entry: &mut impl Read, dir: &Path, own: &str) -> Result<(String, String), EngineError> {
    let path = dir.join(own);
    let mut reader = HashReader::new(entry);
    let mut out = File::create_new(&path).at("create", &path)?;
    std::io::copy(&mut reader, &mut out).at("write", &path)?;
    let (size, sha256) = reader.finish().at("read", &path)?;
    let file = File::open(&path).at("read", &path)?;
    let (control, _) = archive::open(BufReader::new(file))
        .map_err(std::io::Error::other)
        .at("read", &path)?;
    let stanza = control
        .stanza()
        .map_err(std::io::Error::other)
        .at("read", &path)?;
    let package = stanza.field("Package").unwrap_or_default().to_owned();
    let text = format!(
        "{}\nFilename: {own}\nSize: {size}\nSHA256: {}\n\n",
        control.text().trim_end(),
        hex::encode(&sha256)
    );
    Ok((text, package))
}

/// Writes the index, and the Release file that names it.
fn publish(
    dir: &Path,
    suite: &str,
    arch: &str,
    index: &str,
    newest: i64,
) -> Result<(), EngineError> {
    let place = dir.join("dists").join(suite);
    let binary = format!("main/binary-{arch}");
    std::fs::create_dir_all(place.join(&binary)).at("make", &place)?;
    let packages = place.join(&binary).join("Packages");
    std::fs::write(&packages, index).at("write", &packages)?;
    let release = format!(
        "Suite: {suite}\nCodename: {suite}\nDate: {}\nArchitectures: {arch}\nComponents: main\nSHA256:\n {} {} \
         {binary}/Packages\n",
        rfc_date(u64::try_from(newest).unwrap_or(0)),
        hex::encode(&Sha256::digest(index.as_bytes())),
        index.len(),
    );
    let path = place.join("Release");
    std::fs::write(&path, release).at("write", &path)?;
    Ok(())
}

/// A date as RFC 2822 has it, without the name of the day.
fn rfc_date(seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = jaula_repo::date::format(seconds);
    let (date, time) = text.split_once(' ').unwrap_or((&text, "00:00:00 UTC"));
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next(), parts.next(), parts.next());
    let month = month
        .and_then(|month| month.parse::<usize>().ok())
        .and_then(|month| MONTHS.get(month.saturating_sub(1)))
        .unwrap_or(&"Jan");
    format!(
        "{} {month} {} {time}",
        day.unwrap_or("01"),
        year.unwrap_or("1970")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_again() {
        for seconds in [0, 951_782_400, 1_798_761_599] {
            let text = rfc_date(seconds);
            assert_eq!(
                jaula_repo::date::parse_rfc2822(&text),
                Some(seconds),
                "{text}"
            );
        }
    }
}
