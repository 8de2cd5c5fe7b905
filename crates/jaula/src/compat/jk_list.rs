//! jk_list(8): the processes whose root is not the host's.

use super::Face;
use super::getopt::{Opt, Order, Reader, Takes, both};
use super::jk_tree::absolute;
use super::tool;
use crate::output::{Table, clean, write_stderr, write_stdout};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "jk_list",
    of: "jailkit 2.20 to 2.23",
    run,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Help,
    Jail,
    Wide,
}

const TABLE: &[Opt<Key>] = &[
    both(b'h', "help", Takes::Nothing, Key::Help),
    both(b'j', "jail", Takes::Required, Key::Jail),
    both(b'w', "wide", Takes::Nothing, Key::Wide),
];

const HELP: &str = "\
jk_list: lists the processes whose root is not the host's
-h --help       show this and exit
-j --jail=DIR   only those in this jail
-w --wide       whole commands
";

/// Columns of a terminal.
const WIDTH: usize = 80;

struct Process {
    pid: u32,
    user: String,
    jail: PathBuf,
    command: String,
}

fn run(words: &[OsString]) -> ExitCode {
    let (mut jail, mut wide) = (None, false);
    let mut reader = Reader::new(words, TABLE, Order::First);
    for met in &mut reader {
        match met {
            Ok((Key::Help, _)) => return tool::show(HELP),
            Ok((Key::Jail, argument)) => jail = argument.map(|word| absolute(&word)),
            Ok((Key::Wide, _)) => wide = true,
            Err(complaint) => {
                write_stderr(&format!("jk_list: {complaint}\n{HELP}"));
                return ExitCode::from(1);
            }
        }
    }
    let (mut found, hidden) = processes(jail.as_deref());
    found.sort_by(|a, b| (&a.jail, a.pid).cmp(&(&b.jail, b.pid)));
    if hidden > 0 {
        write_stderr(&format!(
            "jk_list: {hidden} processes cannot be looked at by this user\n"
        ));
    }
    if found.is_empty() {
        return tool::show("No jailed processes found\n");
    }
    let mut table = Table::new(&["Pid", "User", "Jail", "Command"]);
    for process in &found {
        let jail = process.jail.display().to_string();
        let taken = process.user.len().max(4) + jail.len().max(4) + 12;
        let room = WIDTH.saturating_sub(taken).max(7);
        let command: String = match wide {
            true => process.command.clone(),
            false => process.command.chars().take(room).collect(),
        };
        let (jail, command) = (clean(&jail).into_owned(), clean(&command).into_owned());
        table.row([&process.pid, &process.user, &jail, &command]);
    }
    match write_stdout(&table.text()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Those in a jail, and how many cannot be looked at. One that ends meanwhile is none.
fn processes(jail: Option<&Path>) -> (Vec<Process>, usize) {
    let names = users();
    let (mut found, mut hidden) = (Vec::new(), 0usize);
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return (found, hidden);
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let dir = entry.path();
        let root = match std::fs::read_link(dir.join("root")) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                hidden = hidden.saturating_add(1);
                continue;
            }
            Err(_) => continue,
            Ok(root) => root,
        };
        if root == Path::new("/") || jail.is_some_and(|jail| jail != root) {
            continue;
        }
        let Ok(meta) = std::fs::metadata(&dir) else {
            continue;
        };
        let uid = meta.uid();
        found.push(Process {
            pid,
            user: names.get(&uid).cloned().unwrap_or_else(|| uid.to_string()),
            jail: root,
            command: command(&dir),
        });
    }
    (found, hidden)
}

fn command(dir: &Path) -> String {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(dir.join("cmdline"))
        .and_then(|file| file.take(4096).read_to_end(&mut bytes));
    let exe = std::fs::read_link(dir.join("exe"));
    let exe = exe.map(|exe| exe.display().to_string()).unwrap_or_default();
    let mut words = bytes.split(|byte| *byte == 0).skip(1);
    let mut text = exe;
    if read.is_ok() {
        for word in words.by_ref().filter(|word| !word.is_empty()) {
            text.push(' ');
            text.push_str(&String::from_utf8_lossy(word));
        }
    }
    text
}

/// Names of users by number.
fn users() -> BTreeMap<u32, String> {
    let mut text = String::new();
    let read = std::fs::File::open("/etc/passwd")
        .and_then(|file| file.take(8 << 20).read_to_string(&mut text));
    let mut names = BTreeMap::new();
    if read.is_ok() {
        for line in text.lines() {
            let mut parts = line.split(':');
            let (name, uid) = (parts.next(), parts.nth(1));
            if let (Some(name), Some(Ok(uid))) = (name, uid.map(str::parse)) {
                names.entry(uid).or_insert_with(|| name.to_owned());
            }
        }
    }
    names
}
