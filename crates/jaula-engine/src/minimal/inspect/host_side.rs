//! What the host has to do with a jail: its accounts, what is mounted in the jail, who runs in it.

use super::{CheckTarget, ContentCheck, FaultKind};
use crate::error::{At, PathError};
use jaula_plan::account::LOGIN_SHELL;
use jaula_plan::account::sshd::{addition_path, check};
use jaula_plan::explain::shown;
use jaula_sys::dir::Dir;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An account file is never longer than this.
const MOST_BYTES: u64 = 8 << 20;

/// A line of passwd(5).
struct Account {
    uid: String,
    gid: String,
    home: String,
    shell: String,
}

fn accounts_of(text: &str) -> BTreeMap<String, Account> {
    let lines = text.lines().filter_map(|line| {
        let parts: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = parts.as_slice() else {
            return None;
        };
        let account = Account {
            uid: (*uid).to_owned(),
            gid: (*gid).to_owned(),
            home: (*home).to_owned(),
            shell: (*shell).to_owned(),
        };
        Some(((*name).to_owned(), account))
    });
    lines.collect()
}

fn text(file: std::fs::File, path: &Path) -> Result<String, PathError> {
    let mut bytes = Vec::new();
    file.take(MOST_BYTES)
        .read_to_end(&mut bytes)
        .at("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The jail's accounts against the host's, and the host's jailed users against the jail's.
pub(super) fn accounts(
    layers: &[PathBuf],
    target: &CheckTarget,
    found: &mut ContentCheck,
) -> Result<(), PathError> {
    let passwd = Path::new("/etc/passwd");
    let host = match std::fs::File::open(passwd) {
        Ok(file) => accounts_of(&text(file, passwd)?),
        Err(_) => return Ok(()),
    };
    let mut jail = None;
    for layer in layers {
        let opened = Dir::open(layer).at("open", layer)?;
        if let Ok(file) = opened.open_file("etc/passwd") {
            jail = Some(accounts_of(&text(file, passwd)?));
            break;
        }
    }
    let jail = jail.unwrap_or_default();
    for (name, account) in &jail {
        let Some(same) = host.get(name) else { continue };
        if (&same.uid, &same.gid) != (&account.uid, &account.gid) {
            let text = format!(
                "has {name} as {}:{}, and the host as {}:{}",
                account.uid, account.gid, same.uid, same.gid
            );
            found.add(FaultKind::Account, passwd, text, None);
        }
    }
    let root = match target {
        CheckTarget::Directory(dir) => dir,
        CheckTarget::Named(_) => return Ok(()),
    };
    for (name, account) in &host {
        let Some((before, after)) = account.home.rsplit_once("/./") else {
            continue;
        };
        if Path::new(before) != root {
            continue;
        }
        if account.shell != LOGIN_SHELL && !account.shell.ends_with("/jk_chrootsh") {
            let text = format!(
                "has {name} with the shell {}, which does not enter the jail",
                shown(Path::new(&account.shell))
            );
            found.add(FaultKind::Account, passwd, text, None);
        }
        sshd(name, found)?;
        match jail.get(name) {
            None => {
                let text = format!("lacks {name}, who has a home in this jail");
                found.add(FaultKind::Account, passwd, text, None);
            }
            Some(inside)
                if inside.home.trim_start_matches('/') != after.trim_start_matches('/') =>
            {
                let text = format!(
                    "has {} as the home of {name}, and the host /{after}",
                    shown(Path::new(&inside.home))
                );
                found.add(FaultKind::Account, passwd, text, None);
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Settings of sshd's that undo the jail for this user.
fn sshd(name: &str, found: &mut ContentCheck) -> Result<(), PathError> {
    let Some(facts) = crate::accounts::sshd_facts()? else {
        return Ok(());
    };
    let main = Path::new("/etc/ssh/sshd_config");
    if addition_path(name).is_file() {
        // What an ordinary group of his matches is not looked at here: `jaula user` does.
        if let Err(wrong) = check(&facts, name, &[]) {
            found.add(
                FaultKind::Sshd,
                &wrong.file.clone(),
                wrong.to_string(),
                None,
            );
        }
        return Ok(());
    }
    let included = facts.included.iter().flat_map(|(_, files)| files);
    let texts = included.map(|(path, text)| (path.as_path(), text));
    for (path, text) in std::iter::once((main, &facts.main)).chain(texts) {
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let serves = match words.as_slice() {
                [key, sftp, server, ..] => {
                    key.eq_ignore_ascii_case("subsystem")
                        && *sftp == "sftp"
                        && *server == "internal-sftp"
                }
                _ => false,
            };
            if serves {
                let text = format!(
                    "serves sftp by itself (line {number}), which starts no shell: {name} is in no jail by it"
                );
                found.add(FaultKind::Sshd, path, text, None);
            }
        }
    }
    Ok(())
}

/// What is mounted in the jail and is neither the kernel's own nor memory.
pub(super) fn mounts(dir: &Path, found: &mut ContentCheck) -> Result<(), PathError> {
    let path = Path::new("/proc/self/mountinfo");
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        // Without /proc nothing can be said of it.
        Err(_) => return Ok(()),
    };
    for (at, kind) in mounted(&text(file, path)?) {
        let Ok(inside) = at.strip_prefix(dir) else {
            continue;
        };
        let own = [
            "proc", "sysfs", "tmpfs", "devpts", "mqueue", "overlay", "cgroup2",
        ];
        if inside.as_os_str().is_empty() || own.contains(&kind.as_str()) {
            continue;
        }
        let text = format!("has a file system of the host mounted ({kind})");
        found.add(FaultKind::Open, &Path::new("/").join(inside), text, None);
    }
    Ok(())
}

/// The first thing that is mounted in a directory, or on it.
pub(super) fn mount_in(dir: &Path) -> Result<Option<PathBuf>, PathError> {
    let path = Path::new("/proc/self/mountinfo");
    let Ok(file) = std::fs::File::open(path) else {
        return Ok(None);
    };
    let mounts = mounted(&text(file, path)?);
    Ok(mounts
        .into_iter()
        .map(|(at, _)| at)
        .find(|at| at.starts_with(dir)))
}

/// Where something is mounted, and its type (proc_pid_mountinfo(5)).
fn mounted(text: &str) -> Vec<(PathBuf, String)> {
    let mut mounts = Vec::new();
    for line in text.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let at = before.split(' ').nth(4).unwrap_or_default();
        let kind = after.split(' ').next().unwrap_or_default();
        mounts.push((unescaped(at), kind.to_owned()));
    }
    mounts
}

/// Octal escapes of the kernel's lists.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let octal = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

/// The processes whose root is this directory.
pub(super) fn rooted(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let number = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().as_bytes();
        name.iter().all(u8::is_ascii_digit)
    };
    let processes = entries.flatten().map(|entry| entry.path()).filter(number);
    // Not by its path: in another mount namespace that names another one.
    let Ok(own) = std::fs::metadata(dir) else {
        return Vec::new();
    };
    let there = |process: &PathBuf| {
        let root = std::fs::metadata(process.join("root"));
        root.is_ok_and(|root| (root.dev(), root.ino()) == (own.dev(), own.ino()))
    };
    processes.filter(there).collect()
}

/// Directories outside that a process in the jail holds open: from one of them it leaves.
pub(super) fn processes(dir: &Path, found: &mut ContentCheck) {
    for process in rooted(dir) {
        let Ok(fds) = std::fs::read_dir(process.join("fd")) else {
            continue;
        };
        for fd in fds.flatten() {
            let Ok(target) = std::fs::read_link(fd.path()) else {
                continue;
            };
            let out = target.is_absolute() && !target.starts_with(dir);
            if out && std::fs::metadata(fd.path()).is_ok_and(|meta| meta.is_dir()) {
                let pid = process.file_name().unwrap_or_default().to_string_lossy();
                let text = format!("is open in process {pid} of the jail, which can leave by it");
                found.add(FaultKind::Open, &target, text, None);
            }
        }
    }
}
