//! Files of the host as one number: so that what was made from them is not taken for what they are now.

use jaula_plan::names::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Deeper trees are refused, as everywhere.
const DEPTH: usize = 256;

/// The digest of a file's content, or of everything in a directory: names, kinds, modes, owners and contents. Times
/// count for nothing. A link at the top is followed, those below are what they say.
///
/// # Errors
/// What cannot be read.
pub fn digest(path: &Path) -> std::io::Result<Digest> {
    let mut hash = Sha256::new();
    let meta = std::fs::metadata(path)?;
    feed(&mut hash, path, &meta, 0)?;
    Ok(Digest(hash.finalize().into()))
}

/// A length before each part: no two trees give the same bytes.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn feed(
    hash: &mut Sha256,
    path: &Path,
    meta: &std::fs::Metadata,
    depth: usize,
) -> std::io::Result<()> {
    if depth > DEPTH {
        return Err(ErrorKind::InvalidInput.into());
    }
    for number in [meta.mode(), meta.uid(), meta.gid()] {
        hash.update(number.to_le_bytes());
    }
    if meta.is_dir() {
        let mut names = std::fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<std::io::Result<Vec<_>>>()?;
        names.sort();
        hash.update((names.len() as u64).to_le_bytes());
        for name in names {
            let below = path.join(&name);
            part(hash, name.as_bytes());
            feed(hash, &below, &std::fs::symlink_metadata(&below)?, depth + 1)?;
        }
    } else if meta.is_symlink() {
        part(hash, std::fs::read_link(path)?.as_os_str().as_bytes());
    } else if meta.is_file() {
        // Whatever took its place meanwhile: a pipe does not keep us waiting.
        let mut file = File::options().read(true).custom_flags(0o4000).open(path)?;
        let mut buffer = vec![0; 64 << 10];
        let mut size = 0u64;
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            size += count as u64;
            hash.update(buffer.get(..count).unwrap_or_default());
        }
        hash.update(size.to_le_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_it_counts_and_when_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        std::fs::write(&file, "one").unwrap();
        let (of_file, of_dir) = (digest(&file).unwrap(), digest(dir.path()).unwrap());
        std::fs::File::open(&file)
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
        assert_eq!(digest(dir.path()).unwrap(), of_dir);
        std::fs::write(&file, "two").unwrap();
        assert_ne!(digest(&file).unwrap(), of_file);
        assert_ne!(digest(dir.path()).unwrap(), of_dir);
        std::fs::write(&file, "one").unwrap();
        std::fs::rename(&file, dir.path().join("b")).unwrap();
        assert_ne!(digest(dir.path()).unwrap(), of_dir);
        assert!(digest(&file).is_err());
    }
}
