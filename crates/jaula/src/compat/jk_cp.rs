//! jk_cp(8): files of the host into a jail, with all they need.

use super::Face;
use super::getopt::{Opt, Order, Reader, Takes, both, short};
use super::jk_tree::{End, absolute, ended, engine, error, fill, safe};
use super::{making, tool};
use crate::output::write_stderr;
use jaula_engine::minimal::TreeSpec;
use jaula_plan::explain::shown;
use jaula_plan::minimal::{Content, Placing, Rule, Rules, With};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "jk_cp",
    of: "jailkit 2.20 to 2.23",
    run,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Help,
    Jail,
    Verbose,
    Force,
    Hardlink,
    Owner,
    SetId,
}

const TABLE: &[Opt<Key>] = &[
    both(b'h', "help", Takes::Nothing, Key::Help),
    short(b'?', Takes::Nothing, Key::Help),
    both(b'j', "jail", Takes::Required, Key::Jail),
    both(b'v', "verbose", Takes::Nothing, Key::Verbose),
    both(b'f', "force", Takes::Nothing, Key::Force),
    both(b'k', "hardlink", Takes::Nothing, Key::Hardlink),
    both(b'o', "owner", Takes::Nothing, Key::Owner),
    both(b's', "setuid", Takes::Nothing, Key::SetId),
];

const HELP: &str = "\
Usage: jk_cp [-j] JAIL [OPTIONS] FILES...

-h, --help      show this and exit
-j, --jail=JAIL the jail; without it the first word is
-v, --verbose   say everything that is done
-f, --force     replace files that are there, and take secrets of the host too
-k, --hardlink  give the host's files further names instead of copying them
-o, --owner     keep the owner
-s, --setuid    keep owner and set-id bits
";

/// Where commands are looked up.
const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The name of the rule that the files become.
const RULE: &str = "jk_cp";

fn run(words: &[OsString]) -> ExitCode {
    if !making::is_root() {
        write_stderr("cannot run without root privileges\n");
        return ExitCode::from(5);
    }
    match act(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(end) => ended(Err(end)),
    }
}

fn act(words: &[OsString]) -> Result<(), End> {
    let usage = |code: u8, text: String| (code, format!("ERROR: {text}\n\n{HELP}"));
    let (mut verbose, mut force, mut hardlink, mut owner, mut set_id) =
        (false, false, false, false, false);
    let mut jail = None;
    let mut reader = Reader::new(words, TABLE, Order::First);
    for met in &mut reader {
        let (key, argument) = met.map_err(|complaint| usage(1, complaint.to_string()))?;
        match key {
            Key::Help => {
                tool::show(HELP);
                return Ok(());
            }
            Key::Jail => jail = argument,
            Key::Verbose => verbose = true,
            Key::Force => force = true,
            Key::Hardlink => hardlink = true,
            Key::Owner => owner = true,
            Key::SetId => set_id = true,
        }
    }
    let mut files = reader.operands();
    if jail.is_none() && !files.is_empty() {
        jail = Some(files.remove(0));
    }
    let Some(jail) = jail.filter(|_| !files.is_empty()) else {
        let text = "need at least a chroot directory and a file to copy";
        return Err(usage(2, text.to_owned()));
    };
    let jail = absolute(&jail);
    if !jail.is_dir() {
        return Err(usage(3, format!("{} is not a directory", shown(&jail))));
    }
    let files: Vec<PathBuf> = files.iter().map(found).collect();
    if let Some(missing) = files.iter().find(|file| !file.exists()) {
        return Err(usage(4, format!("{} does not exist", shown(missing))));
    }
    safe(&jail, 6)?;
    let spec = TreeSpec {
        dir: jail,
        content: content(&files, owner, set_id, force)?,
        placing: match hardlink {
            true => Placing::Hardlink,
            false => Placing::Copy,
        },
        force,
        hash: true,
    };
    fill(&engine(7)?, &spec, verbose, 7)
}

/// A command without a slash is looked up, anything else is a path.
fn found(word: &OsString) -> PathBuf {
    let path = Path::new(word);
    if !word.to_string_lossy().contains('/') {
        for directory in PATH {
            let candidate = Path::new(directory).join(path);
            if candidate.is_file() {
                return candidate;
            }
        }
    }
    absolute(word)
}

fn content(files: &[PathBuf], owner: bool, set_id: bool, secrets: bool) -> Result<Content, End> {
    let mut rules = Rules::default();
    let mut with = Vec::new();
    let mut rule = Rule {
        name: RULE.to_owned(),
        ..Rule::default()
    };
    for file in files {
        let Some(text) = file.to_str() else {
            return Err(error(4, format_args!("{} is no UTF-8 name", shown(file))));
        };
        with.push(With::Program(text.to_owned()));
        match (set_id, owner) {
            (true, _) => rule.keep_setuid.push(text.to_owned()),
            (false, true) => rule.keep_owner.push(text.to_owned()),
            (false, false) => {}
        }
    }
    if owner || set_id {
        rules.put(rule);
        with.push(With::Section(RULE.to_owned()));
    }
    Ok(Content {
        with,
        rules,
        packs: false,
        make: false,
        secrets,
    })
}
