//! What the host has to do with a jail: its accounts, what is mounted in the jail, who runs in it.

use super::{CheckTarget, ContentCheck, FaultKind};
use crate::error::{At, PathError};
use jaula_plan::account::LOGIN_SHELL;
use jaula_plan::account::passwd::groups;
use jaula_plan::account::sshd::{addition_path, check};
use jaula_plan::explain::shown;
use jaula_sys::dir::{Dir, Kind};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An account file is never longer than this.
const MOST_BYTES: u64 = 8 << 20;

/// Lines of passwd(5) by their names, the first of each, as the C library has it; what is none is passed over.
fn accounts_of(text: &[u8]) -> BTreeMap<&[u8], Vec<&[u8]>> {
    let mut accounts = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        if fields.len() == 7 {
            accounts.entry(field(&fields, 0)).or_insert(fields);
        }
    }
    accounts
}

fn field<'a>(fields: &[&'a [u8]], at: usize) -> &'a [u8] {
    fields.get(at).copied().unwrap_or_default()
}

/// An account file; none when it is longer than any.
fn text(file: std::fs::File, path: &Path) -> Result<Option<Vec<u8>>, PathError> {
    let mut bytes = Vec::new();
    file.take(MOST_BYTES.saturating_add(1))
        .read_to_end(&mut bytes)
        .at("read", path)?;
    Ok((bytes.len() as u64 <= MOST_BYTES).then_some(bytes))
}

const LONG: &str = "it is longer than 8 MiB";

/// The accounts of the uppermost layer that has some.
fn jail_accounts(
    layers: &[PathBuf],
    passwd: &Path,
    found: &mut ContentCheck,
) -> Result<Vec<u8>, PathError> {
    for layer in layers {
        let opened = Dir::open(layer).at("open", layer)?;
        let etc = match opened.meta("etc") {
            Err(_) => continue,
            Ok(_) => opened.open_dir("etc"),
        };
        let there = etc.as_ref().map(|etc| etc.meta("passwd"));
        let read = match there {
            Ok(Err(_)) => continue,
            // What an overlay has in the place of what was removed.
            Ok(Ok(meta)) if meta.kind == Kind::CharDevice && meta.node == (0, 0) => break,
            _ => etc.and_then(|etc| etc.open_file("passwd")),
        };
        match read {
            Ok(file) => match text(file, passwd)? {
                Some(text) => return Ok(text),
                None => found.unseen(passwd, LONG),
            },
            Err(error) => found.unseen(passwd, error),
        }
        break;
    }
    Ok(Vec::new())
}

/// The jail's accounts against the host's, and the host's jailed users against the jail's.
pub(super) fn accounts(
    layers: &[PathBuf],
    target: &CheckTarget,
    found: &mut ContentCheck,
) -> Result<(), PathError> {
    let passwd = Path::new("/etc/passwd");
    let host = match std::fs::File::open(passwd) {
        Ok(file) => text(file, passwd)?,
        Err(error) => {
            found.unseen(passwd, format_args!("the host's cannot be read: {error}"));
            return Ok(());
        }
    };
    let Some(host) = host else {
        found.unseen(passwd, format_args!("the host's: {LONG}"));
        return Ok(());
    };
    let jail = jail_accounts(layers, passwd, found)?;
    let (host, jail) = (accounts_of(&host), accounts_of(&jail));
    let words = |bytes: &[u8]| shown(Path::new(OsStr::from_bytes(bytes)));
    for (name, account) in &jail {
        let Some(same) = host.get(name) else { continue };
        let ids =
            |account: &[&[u8]]| [words(field(account, 2)), words(field(account, 3))].join(":");
        if ids(same) != ids(account) {
            let text = format!(
                "has {} as {}, and the host as {}",
                words(name),
                ids(account),
                ids(same)
            );
            found.add(FaultKind::Account, passwd, text, None);
        }
    }
    let root = match target {
        CheckTarget::Directory(dir) => dir,
        CheckTarget::Named(_) => return Ok(()),
    };
    for (name, account) in &host {
        let home = field(account, 5);
        let Some(at) = home.windows(3).rposition(|part| part == b"/./") else {
            continue;
        };
        let (before, after) = home.split_at(at);
        let after = after.strip_prefix(b"/./").unwrap_or_default();
        if Path::new(OsStr::from_bytes(before)) != root {
            continue;
        }
        let shell = field(account, 6);
        if shell != LOGIN_SHELL.as_bytes() && !shell.ends_with(b"/jk_chrootsh") {
            let text = format!(
                "has {} with the shell {}, which does not enter the jail",
                words(name),
                words(shell)
            );
            found.add(FaultKind::Account, passwd, text, None);
        }
        match std::str::from_utf8(name) {
            Ok(name) => sshd(name, &words(field(account, 3)), found)?,
            Err(_) => found.unseen(
                Path::new("/etc/ssh/sshd_config"),
                format_args!("the name {} is not UTF-8", words(name)),
            ),
        }
        match jail.get(name) {
            None => {
                let text = format!("lacks {}, who has a home in this jail", words(name));
                found.add(FaultKind::Account, passwd, text, None);
            }
            Some(inside) if plain(field(inside, 5)) != plain(after) => {
                let text = format!(
                    "has {} as the home of {}, and the host {}",
                    words(field(inside, 5)),
                    words(name),
                    words(&[b"/", after].concat())
                );
                found.add(FaultKind::Account, passwd, text, None);
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// A path without the slashes that it begins with.
fn plain(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|byte| *byte != b'/');
    start
        .and_then(|start| path.get(start..))
        .unwrap_or_default()
}

/// Settings of sshd's that undo the jail for this user.
fn sshd(name: &str, gid: &str, found: &mut ContentCheck) -> Result<(), PathError> {
    let facts = match crate::accounts::sshd_facts() {
        Ok(Some(facts)) => facts,
        Ok(None) => return Ok(()),
        Err(error) => {
            found.unseen(
                &error.path,
                format_args!("it cannot be read: {}", error.source),
            );
            return Ok(());
        }
    };
    let main = Path::new("/etc/ssh/sshd_config");
    if let Some(addition) = crate::accounts::read(&addition_path(name))? {
        let text = crate::accounts::read(Path::new("/etc/group"))?.unwrap_or_default();
        let own = groups(&text).filter(|group| group.gid.to_string() == gid || group.has(name));
        let own: Vec<String> = own.map(|group| group.name).collect();
        if let Err(wrong) = check(&facts, name, &own, &addition) {
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
    let Some(mounts) = mounts_in(dir)? else {
        found.unseen(
            Path::new(MOUNTS),
            "there is no such file, so what is mounted in the jail is not known",
        );
        return Ok(());
    };
    for (at, kind) in mounts {
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

const MOUNTS: &str = "/proc/self/mountinfo";

/// What is mounted in a directory or on it, with the type of its file system; none when nothing tells.
pub(super) fn mounts_in(dir: &Path) -> Result<Option<Vec<(PathBuf, String)>>, PathError> {
    let text = match std::fs::read(MOUNTS) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.at("read", Path::new(MOUNTS))?,
    };
    let mounts = crate::namespaces::mounts(&text).filter(|(at, _)| at.starts_with(dir));
    let kind = |kind: &[u8]| String::from_utf8_lossy(kind).into_owned();
    Ok(Some(mounts.map(|(at, is)| (at, kind(is))).collect()))
}

/// The processes whose root is this directory, by their numbers; none when there is no `/proc` to tell.
pub(in crate::minimal) fn rooted_in(dir: &Dir) -> Result<Option<Vec<String>>, PathError> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Ok(None);
    };
    // Not by its path: in another mount namespace that names another one.
    let own = dir.as_fd().try_clone_to_owned().map(std::fs::File::from);
    let own = own.and_then(|own| own.metadata());
    let own = own.at("look at", Path::new("the jail"))?;
    let mut found = Vec::new();
    let mut processes = false;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name.as_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        processes = true;
        let root = std::fs::metadata(entry.path().join("root"));
        if root.is_ok_and(|root| (root.dev(), root.ino()) == (own.dev(), own.ino())) {
            found.push(name.to_string_lossy().into_owned());
        }
    }
    found.sort();
    Ok(processes.then_some(found))
}

/// Directories outside that a process in the jail holds open: from one of them it leaves.
pub(super) fn processes(dir: &Path, held: &Dir, found: &mut ContentCheck) -> Result<(), PathError> {
    let Some(processes) = rooted_in(held)? else {
        let path = Path::new("/proc");
        found.unseen(path, "there is none, so the jail's processes are not known");
        return Ok(());
    };
    for pid in processes {
        let process = Path::new("/proc").join(&pid);
        let fds = match std::fs::read_dir(process.join("fd")) {
            Ok(fds) => fds,
            // It has ended.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                found.unseen(&process.join("fd"), error);
                continue;
            }
        };
        for fd in fds.flatten() {
            let Ok(target) = std::fs::read_link(fd.path()) else {
                continue;
            };
            let out = target.is_absolute() && !target.starts_with(dir);
            if out && std::fs::metadata(fd.path()).is_ok_and(|meta| meta.is_dir()) {
                let text = format!("is open in process {pid} of the jail, which can leave by it");
                found.add(FaultKind::Open, &target, text, None);
            }
        }
    }
    Ok(())
}
