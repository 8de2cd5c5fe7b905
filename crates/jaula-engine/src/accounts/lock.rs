//! The locks of the programs that change accounts: `/etc/.pwd.lock` (lckpwdf(3)), and for each file `FILE.lock` with the
//! number of the process that has it, made as shadow's own programs make it.

use super::AccountsError;
use crate::error::{At, PathError};
use jaula_sys::record_lock;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long another program is waited for (lckpwdf(3) waits 15 seconds).
const PATIENCE: Duration = Duration::from_secs(15);
const BETWEEN: Duration = Duration::from_millis(50);

/// The files of accounts, held against everybody else; free when it is dropped.
#[derive(Debug)]
pub struct Locks {
    _all: File,
    made: Vec<PathBuf>,
}

impl Locks {
    /// The file that becomes the lock of a file, for as long as nobody can have seen it.
    pub fn aside(name: &str) -> PathBuf {
        Path::new("/etc").join(format!("{name}.lock.{}", std::process::id()))
    }

    /// Takes the locks of these files of `/etc`.
    pub fn take(names: &[&str]) -> Result<Self, AccountsError> {
        let path = Path::new("/etc/.pwd.lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let all = options.open(path).at("open", path)?;
        let start = Instant::now();
        while !record_lock::take(&all)? {
            if start.elapsed() > PATIENCE {
                return Err(AccountsError::Locked {
                    path: path.to_owned(),
                    pid: None,
                });
            }
            std::thread::sleep(BETWEEN);
        }
        let mut locks = Self {
            _all: all,
            made: Vec::new(),
        };
        for name in names {
            let path = Path::new("/etc").join(format!("{name}.lock"));
            loop {
                match own(&path)? {
                    None => break,
                    Some(pid) if start.elapsed() > PATIENCE => {
                        return Err(AccountsError::Locked { path, pid });
                    }
                    Some(_) => std::thread::sleep(BETWEEN),
                }
            }
            locks.made.push(path);
        }
        Ok(locks)
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        for path in &self.made {
            drop(std::fs::remove_file(path));
        }
    }
}

/// Makes the lock; else who has it. That of a process which is gone is taken away.
fn own(path: &Path) -> Result<Option<Option<i32>>, PathError> {
    let aside = path.with_extension(format!("lock.{}", std::process::id()));
    drop(std::fs::remove_file(&aside));
    let mut options = OpenOptions::new();
    let made = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside);
    let mut file = made.at("create", &aside)?;
    let written = file.write_all(format!("{}\0", std::process::id()).as_bytes());
    // link(2) fails when the name is taken, also over NFS.
    let linked = written.and_then(|()| std::fs::hard_link(&aside, path));
    drop(std::fs::remove_file(&aside));
    match linked {
        Ok(()) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).at("lock", path),
    }
    let mut text = String::new();
    if let Ok(file) = File::open(path)
        && file.take(32).read_to_string(&mut text).is_err()
    {
        text.clear();
    }
    let pid = text.trim_matches(['\0', '\n', ' ']).parse::<i32>().ok();
    if pid.is_some_and(|pid| !record_lock::is_process(pid)) {
        drop(std::fs::remove_file(path));
    }
    Ok(Some(pid))
}
