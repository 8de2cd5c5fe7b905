//! jk_init(8): a jail's directory from sections of an ini file.

use super::Face;
use super::getopt::{Opt, Order, Reader, Takes, both};
use super::jk_tree::{End, absolute, ended, engine, error, fill, safe};
use super::{making, tool};
use crate::output::{write_stderr, write_stdout};
use jaula_engine::minimal::TreeSpec;
use jaula_plan::explain::shown;
use jaula_plan::jailkit::Init;
use jaula_plan::minimal::{Content, Placing, Rules, With};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "jk_init",
    of: "jailkit 2.20 to 2.23",
    run,
};

/// Where the sections are when nothing is said.
const INI: &str = "/etc/jailkit/jk_init.ini";
/// jk_socketd's settings.
const SOCKETD: &str = "/etc/jailkit/jk_socketd.ini";
/// An ini file is never longer than this.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Help,
    File,
    List,
    Jail,
    Verbose,
    Force,
    Hardlink,
}

const TABLE: &[Opt<Key>] = &[
    both(b'h', "help", Takes::Nothing, Key::Help),
    both(b'c', "configfile", Takes::Required, Key::File),
    both(b'l', "list", Takes::Nothing, Key::List),
    both(b'j', "jail", Takes::Required, Key::Jail),
    both(b'v', "verbose", Takes::Nothing, Key::Verbose),
    both(b'f', "force", Takes::Nothing, Key::Force),
    both(b'k', "hardlink", Takes::Nothing, Key::Hardlink),
];

const HELP: &str = "
Usage: jk_init [OPTIONS] JAIL SECTIONS...
       jk_init [OPTIONS] -j JAIL SECTIONS...

-h, --help            show this and exit
-c, --configfile=FILE sections are in FILE instead of /etc/jailkit/jk_init.ini
-l, --list            list the sections
-j, --jail=JAIL       the jail's directory; without it the first word is
-v, --verbose         say everything that is done
-f, --force           replace files that are there
-k, --hardlink        give the host's files further names instead of copying them

";

struct Asked {
    file: PathBuf,
    jail: PathBuf,
    sections: Vec<String>,
    verbose: bool,
    force: bool,
    hardlink: bool,
}

fn run(words: &[OsString]) -> ExitCode {
    if !making::is_root() {
        write_stderr("Cannot create chroot jail without root privileges. Abort.\n");
        return ExitCode::from(5);
    }
    match read(words) {
        Ok(Some(asked)) => ended(act(&asked)),
        Ok(None) => ExitCode::SUCCESS,
        Err(end) => ended(Err(end)),
    }
}

fn usage(code: u8, text: &str) -> End {
    let line = match text {
        "" => String::new(),
        text => format!("ERROR: {text}\n"),
    };
    (code, format!("{line}{HELP}"))
}

fn read(words: &[OsString]) -> Result<Option<Asked>, End> {
    let mut asked = Asked {
        file: INI.into(),
        jail: PathBuf::new(),
        sections: Vec::new(),
        verbose: false,
        force: false,
        hardlink: false,
    };
    let (mut jail, mut list) = (None, false);
    let mut reader = Reader::new(words, TABLE, Order::First);
    for met in &mut reader {
        let (key, argument) = met.map_err(|complaint| usage(1, &complaint.to_string()))?;
        let argument = argument.unwrap_or_default();
        match key {
            Key::Help => {
                tool::show(HELP);
                return Ok(None);
            }
            Key::File => asked.file = argument.into(),
            Key::List => list = true,
            Key::Jail => jail = Some(argument),
            Key::Verbose => asked.verbose = true,
            Key::Force => asked.force = true,
            Key::Hardlink => asked.hardlink = true,
        }
    }
    let mut rest = reader.operands();
    if list {
        show(&asked.file)?;
        return Ok(None);
    }
    if jail.is_none() && !rest.is_empty() {
        jail = Some(rest.remove(0));
    }
    let few = "need at least a jail directory and a configfile-section";
    let Some(jail) = jail.filter(|jail| !jail.is_empty() && !rest.is_empty()) else {
        return Err(usage(2, few));
    };
    asked.jail = absolute(&jail);
    for word in rest {
        let word = word.to_string_lossy().into_owned();
        asked.sections.push(word);
    }
    Ok(Some(asked))
}

fn sections(file: &Path) -> Result<Init, End> {
    let mut text = Vec::new();
    let opened = std::fs::File::open(file);
    let opened = opened.and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text));
    if let Err(failed) = opened {
        let reason = match failed.kind() {
            std::io::ErrorKind::NotFound => "does not exist".to_owned(),
            _ => format!("cannot be read: {}", making::reason(&failed)),
        };
        return Err(error(
            3,
            format_args!("configfile {} {reason}", shown(file)),
        ));
    }
    Init::read(&text).map_err(|wrong| error(3, format_args!("{}: {wrong}", shown(file))))
}

fn show(file: &Path) -> Result<(), End> {
    let init = sections(file)?;
    let mut lines: Vec<String> = Vec::new();
    for section in &init.sections {
        lines.push(match section.rule.comment.as_str() {
            "" => section.rule.name.clone(),
            comment => format!("{} - {comment}", section.rule.name),
        });
    }
    lines.sort();
    let text = format!(
        "\n** Available sections in {} **\n\n{}\n\n",
        shown(file),
        lines.join("\n")
    );
    drop(write_stdout(&text));
    Ok(())
}

fn act(asked: &Asked) -> Result<(), End> {
    safe(&asked.jail, 3)?;
    let init = sections(&asked.file)?;
    // All of it is looked at before anything is done; jailkit warns and does the rest.
    let known = followed(&init, asked)?;
    let mut rules = Rules::default();
    for section in &init.sections {
        rules.put(section.rule.clone());
    }
    let with = asked.sections.iter().cloned().map(With::Section);
    let spec = TreeSpec {
        dir: asked.jail.clone(),
        content: Content {
            with: with.collect(),
            rules,
            packs: false,
            make: false,
            secrets: false,
        },
        placing: match asked.hardlink {
            true => Placing::Hardlink,
            false => Placing::Copy,
        },
        force: asked.force,
        hash: true,
    };
    let engine = engine(3)?;
    if asked.jail.symlink_metadata().is_err() {
        drop(write_stdout(&format!(
            "Creating jail {}\n",
            shown(&asked.jail)
        )));
    }
    fill(&engine, &spec, asked.verbose, 3)?;
    for name in known {
        let Some(section) = init.section(&name) else {
            continue;
        };
        if section.log_socket {
            log_socket(&asked.jail, asked.verbose)?;
        }
        if section.proc {
            let line = "note: /proc is not mounted in the host; jaula mounts one in each jail that it starts\n";
            write_stderr(line);
        }
    }
    Ok(())
}

/// The sections with all that they include.
fn followed(init: &Init, asked: &Asked) -> Result<BTreeSet<String>, End> {
    let mut known = BTreeSet::new();
    let mut open: Vec<(String, Option<String>)> = Vec::new();
    open.extend(asked.sections.iter().map(|name| (name.clone(), None)));
    while let Some((name, by)) = open.pop() {
        let Some(section) = init.section(&name) else {
            let by = by
                .map(|by| format!(", which [{by}] includes,"))
                .unwrap_or_default();
            let file = shown(&asked.file);
            return Err(error(
                1,
                format_args!("section {name}{by} does not exist in {file}"),
            ));
        };
        if known.insert(name.clone()) {
            let included = section.rule.includes.iter();
            open.extend(included.map(|included| (included.clone(), Some(name.clone()))));
        }
    }
    Ok(known)
}

/// The jail's log socket in jk_socketd's settings, once.
fn log_socket(jail: &Path, verbose: bool) -> Result<(), End> {
    let socket = jail.join("dev/log");
    let heading = format!("[{}]", socket.display());
    let failed = |action: &str, failed: &std::io::Error| {
        let reason = making::reason(failed);
        error(3, format_args!("cannot {action} {SOCKETD}: {reason}"))
    };
    if heading.chars().any(char::is_control) {
        return Err(error(3, "the jail's name cannot be written to an ini file"));
    }
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(SOCKETD);
    let mut file = match file {
        Ok(file) => file,
        // Without jailkit's directory there is no jk_socketd that would serve it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("open", &error)),
    };
    let mut text = String::new();
    (&mut file)
        .take(MOST_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| failed("read", &error))?;
    if text.lines().any(|line| line.trim() == heading) {
        if verbose {
            let line = format!("we already have {} in {SOCKETD}\n", socket.display());
            drop(write_stdout(&line));
        }
        return Ok(());
    }
    let entry = format!("\n{heading}\nbase=512\npeak=2048\ninterval=10\n");
    file.write_all(entry.as_bytes())
        .map_err(|error| failed("write", &error))
}
