//! What a run in the background wrote, with a bound: a program must not fill the disk of the store.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// When a log is as long as this it becomes `.log.1`, and the former one of that name goes.
const BOUND: u64 = 16 << 20;

/// The end of a run's output, at least 16 MiB of it.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    length: u64,
}

fn open(path: &Path) -> io::Result<File> {
    // O_NOFOLLOW goes without saying in a directory that is ours alone.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

impl Log {
    /// A new one; those of an earlier run go.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path.with_extension("log.1")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self {
            file: open(path)?,
            path: path.to_owned(),
            length: 0,
        })
    }

    /// Adds to it. What cannot be written is lost: the program goes on.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if self.length >= BOUND {
            let older = self.path.with_extension("log.1");
            if std::fs::rename(&self.path, older).is_ok()
                && let Ok(file) = open(&self.path)
            {
                self.file = file;
                self.length = 0;
            } else {
                return;
            }
        }
        if self.file.write_all(bytes).is_ok() {
            self.length = self.length.saturating_add(bytes.len() as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_a_bound_and_keeps_the_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.log");
        let mut log = Log::new(&path).expect("a log");
        let block = vec![b'x'; 1 << 20];
        for _ in 0..40 {
            log.add(&block);
        }
        log.add(b"the end\n");
        let size = |path: &Path| std::fs::metadata(path).expect("a file").len();
        let older = path.with_extension("log.1");
        assert!(size(&path) + size(&older) <= 2 * BOUND + (2 << 20));
        assert!(size(&path) + size(&older) >= BOUND);
        let text = std::fs::read(&path).expect("a log");
        assert!(text.ends_with(b"the end\n"));
        drop(Log::new(&path).expect("a new log"));
        assert!(!older.exists() && size(&path) == 0);
    }
}
