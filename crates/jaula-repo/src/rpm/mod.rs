//! What an RPM database says of installed packages: their files. Read are the two forms of today, SQLite (Fedora, RHEL
//! 9) and rpm's own `ndb` (SUSE), without locking anything.

mod header;
mod ndb;
mod sqlite;

use crate::disk::ReadAt;
use header::Header;
use std::io;

/// Bytes of one header: rpm's own bound is 256 MiB, and the largest packages have some ten.
const MOST_HEADER: usize = 64 << 20;
/// Packages of one name: kernels are kept, and machines are mixed.
const MOST_SAME: usize = 256;

/// The database was not read.
#[derive(Debug, thiserror::Error)]
pub enum RpmError {
    /// It is another form than those that are known.
    #[error("it is no RPM database that can be read here: SQLite and ndb are")]
    Unknown,
    /// It is not what its form asks for.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// More than there ever is.
    #[error("it has too much: {0}")]
    TooMuch(&'static str),
    /// The file.
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// A database.
#[derive(Debug)]
pub struct RpmDb<D: ReadAt>(Form<D>);

#[derive(Debug)]
enum Form<D: ReadAt> {
    Sqlite(sqlite::Sqlite<D>),
    Ndb(ndb::Ndb<D>),
}

impl<D: ReadAt> RpmDb<D> {
    /// Opens it.
    ///
    /// # Errors
    /// When its form is not known.
    pub fn open(data: D) -> Result<Self, RpmError> {
        let mut start = [0; 16];
        if data.len() < start.len() as u64 {
            return Err(RpmError::Unknown);
        }
        read_exact(&data, 0, &mut start)?;
        Ok(Self(match start {
            start if start == *b"SQLite format 3\0" => Form::Sqlite(sqlite::Sqlite::open(data)?),
            start if start.starts_with(b"RpmP") => Form::Ndb(ndb::Ndb::open(data)?),
            _ => return Err(RpmError::Unknown),
        }))
    }

    /// The absolute paths of a package's files and directories; none when there is no such package. Where several have
    /// the name, those for one of these machines count, and if none is, all do.
    ///
    /// # Errors
    /// When the database is damaged or cannot be read.
    pub fn files(&self, name: &str, machines: &[&str]) -> Result<Option<Vec<Vec<u8>>>, RpmError> {
        let blobs = match &self.0 {
            Form::Sqlite(sqlite) => sqlite.headers(name.as_bytes())?,
            Form::Ndb(ndb) => ndb.headers(name.as_bytes())?,
        };
        let mut headers = Vec::new();
        for blob in &blobs {
            let header = Header::read(blob)?;
            // An index that leads to another one is none of this package's.
            if header.text(header::NAME)? == Some(name.as_bytes()) {
                headers.push(header);
            }
        }
        let fits = |header: &Header<'_>| -> Result<bool, RpmError> {
            let machine = header.text(header::ARCH)?.unwrap_or_default();
            Ok(machines.iter().any(|fit| fit.as_bytes() == machine))
        };
        let mut right = Vec::new();
        for header in &headers {
            right.push(fits(header)?);
        }
        let all = !right.contains(&true);
        let mut files = Vec::new();
        for (header, right) in headers.iter().zip(right) {
            if all || right {
                files.extend(header.files()?);
            }
        }
        Ok((!headers.is_empty()).then_some(files))
    }
}

fn read_exact(data: &impl ReadAt, mut offset: u64, mut into: &mut [u8]) -> Result<(), RpmError> {
    while !into.is_empty() {
        let read = data.read_at(offset, into)?;
        if read == 0 {
            return Err(RpmError::Damaged("it ends too early"));
        }
        offset = offset.saturating_add(read as u64);
        into = into.get_mut(read..).unwrap_or_default();
    }
    Ok(())
}

fn big(bytes: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    Some(u32::from_be_bytes(bytes.get(at..end)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
