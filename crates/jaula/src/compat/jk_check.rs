//! jk_check(8): what is wrong with jails. Unlike jailkit's it says so by its exit code.

use super::Face;
use super::getopt::{Opt, Order, Reader, Takes, both};
use super::jk_tree::{End, absolute, ended, engine, error};
use super::{making, tool};
use crate::output::{clean, write_stdout};
use jaula_engine::minimal::{CheckTarget, Fault, FaultKind};
use jaula_plan::explain::shown;
use jaula_plan::jailkit::{Ini, IniSection};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "jk_check",
    of: "jailkit 2.20 to 2.23",
    run,
};

const INI: &str = "/etc/jailkit/jk_check.ini";
const MOST_BYTES: u64 = 1 << 20;
const KEYS: [&str; 7] = [
    "ignorepatheverywhere",
    "ignorepathoncompare",
    "ignorewritableforgroup",
    "ignorewritableforothers",
    "ignoresetuidexecuteforuser",
    "ignoresetuidexecuteforgroup",
    "ignoresetuidexecuteforothers",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Help,
    Verbose,
    File,
}

const TABLE: &[Opt<Key>] = &[
    both(b'h', "help", Takes::Nothing, Key::Help),
    both(b'v', "verbose", Takes::Nothing, Key::Verbose),
    both(b'c', "config", Takes::Required, Key::File),
];

const HELP: &str = "\
Usage: jk_check [-h] [-v] [-c INI] [JAIL...]

Without a JAIL those of the ini file and those in which an account has its home are checked.
-h, --help       show this and exit
-v, --verbose    also say what is checked
-c, --config=INI instead of /etc/jailkit/jk_check.ini
The exit code is 0 when nothing is wrong, 1 when something is, 2 when a jail cannot be checked.
";

fn run(words: &[OsString]) -> ExitCode {
    match act(words) {
        Ok(code) => ExitCode::from(code),
        Err(end) => ended(Err(end)),
    }
}

fn act(words: &[OsString]) -> Result<u8, End> {
    let (mut file, mut typed, mut verbose) = (PathBuf::from(INI), false, false);
    let mut reader = Reader::new(words, TABLE, Order::Anywhere);
    for met in &mut reader {
        let (key, argument) =
            met.map_err(|complaint| (2, format!("ERROR: {complaint}\n{HELP}")))?;
        match key {
            Key::Help => {
                tool::show(HELP);
                return Ok(0);
            }
            Key::Verbose => verbose = true,
            Key::File => (file, typed) = (argument.unwrap_or_default().into(), true),
        }
    }
    let ini = settings(&file, typed)?;
    let mut jails: BTreeMap<PathBuf, Option<&IniSection>> = BTreeMap::new();
    for section in &ini.sections {
        jails.insert(absolute(section.name.as_ref()), Some(section));
    }
    let asked: Vec<PathBuf> = reader
        .operands()
        .iter()
        .map(|word| absolute(word))
        .collect();
    if asked.is_empty() {
        for jail in homes()? {
            jails.entry(jail).or_insert(None);
        }
    } else {
        jails.retain(|jail, _| asked.contains(jail));
        for jail in asked {
            jails.entry(jail).or_insert(None);
        }
    }
    let engine = engine(2)?;
    let mut code = 0;
    for (jail, section) in &jails {
        if !jail.is_dir() {
            say(&format!("ERROR: {} is no directory", shown(jail)));
            code = 2;
            continue;
        }
        if verbose {
            say(&format!("checking {}", shown(jail)));
        }
        let target = CheckTarget::Directory(jail.clone());
        let check = match engine.check_content(&target) {
            Ok(check) => check,
            // The others are checked all the same.
            Err(failed) => {
                let text = making::line(&failed);
                say(&format!("ERROR: cannot check {}: {text}", shown(jail)));
                code = 2;
                continue;
            }
        };
        for fault in check
            .faults
            .iter()
            .filter(|fault| !ignored(fault, jail, *section))
        {
            say(&line(fault, jail));
            code = code.max(1);
        }
        if check.unlisted > 0 {
            let (more, jail) = (check.unlisted, shown(jail));
            say(&format!(
                "ERROR: {jail} has {more} faults more, which are not listed"
            ));
            code = code.max(1);
        }
    }
    Ok(code)
}

fn say(line: &str) {
    drop(write_stdout(&format!("{}\n", clean(line))));
}

fn line(fault: &Fault, jail: &Path) -> String {
    let path = match fault.kind {
        FaultKind::Unsafe => fault.path.clone(),
        _ => jail.join(fault.path.strip_prefix("/").unwrap_or(&fault.path)),
    };
    let level = match fault.kind {
        FaultKind::SetId | FaultKind::Writable | FaultKind::Capability => "WARNING",
        _ => "ERROR",
    };
    format!("{level}: {} {}", shown(&path), fault.text)
}

fn settings(file: &Path, typed: bool) -> Result<Ini, End> {
    let mut text = Vec::new();
    let read =
        std::fs::File::open(file).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text));
    if let Err(failed) = read {
        if typed || failed.kind() != std::io::ErrorKind::NotFound {
            let reason = making::reason(&failed);
            return Err(error(
                2,
                format_args!("configfile {}: {reason}", shown(file)),
            ));
        }
        say(&format!(
            "WARNING: {} does not exist, only checking jails found in /etc/passwd",
            shown(file)
        ));
        return Ok(Ini::default());
    }
    let wrong = |wrong| error(2, format_args!("{}: {wrong}", shown(file)));
    let ini = Ini::read(&text).map_err(wrong)?;
    for section in &ini.sections {
        section.only(&KEYS).map_err(wrong)?;
    }
    Ok(ini)
}

/// The jails in which accounts of the host have their homes.
fn homes() -> Result<Vec<PathBuf>, End> {
    // One name that is not UTF-8 does not hide the others.
    let mut text = Vec::new();
    let read = std::fs::File::open("/etc/passwd").and_then(|file| {
        let whole = file.take((8 << 20) + 1).read_to_end(&mut text)?;
        match whole > 8 << 20 {
            true => Err(std::io::ErrorKind::FileTooLarge.into()),
            false => Ok(()),
        }
    });
    let found = read.map_err(|failed| {
        let reason = making::reason(&failed);
        error(2, format_args!("cannot read /etc/passwd: {reason}"))
    });
    let home = |line: &[u8]| {
        let home = line.split(|byte| *byte == b':').nth(5)?;
        let end = home.windows(3).rposition(|part| part == b"/./")?;
        Some(PathBuf::from(OsStr::from_bytes(home.get(..end)?)))
    };
    found.map(|()| text.split(|byte| *byte == b'\n').filter_map(home).collect())
}

/// Whether the ini file says that this is no fault.
fn ignored(fault: &Fault, jail: &Path, section: Option<&IniSection>) -> bool {
    let Some(section) = section else { return false };
    let path = jail.join(fault.path.strip_prefix("/").unwrap_or(&fault.path));
    let beneath = |key: &str| section.list(key).iter().any(|dir| path.starts_with(dir));
    if beneath("ignorepatheverywhere") {
        return true;
    }
    match fault.kind {
        FaultKind::Changed | FaultKind::Missing | FaultKind::Stale => {
            beneath("ignorepathoncompare")
        }
        FaultKind::Writable if fault.text.contains("everybody") => {
            beneath("ignorewritableforothers")
        }
        FaultKind::Writable => beneath("ignorewritableforgroup"),
        // It must be said for each of those who can execute it; others and the owner are always among them.
        FaultKind::SetId => ["ignoresetuidexecuteforuser", "ignoresetuidexecuteforothers"]
            .iter()
            .all(|key| section.list(key).iter().any(|file| path == Path::new(file))),
        _ => false,
    }
}
