//! jk_update(8): files of a jail that the host has otherwise now. Unlike jailkit's it removes nothing.

use super::Face;
use super::getopt::{Opt, Order, Reader, Takes, both};
use super::jk_tree::{End, absolute, ended, engine, error, fill, safe};
use super::{making, tool};
use crate::output::{clean, write_stdout};
use jaula_engine::minimal::{Looked, TreeSpec, outdated};
use jaula_plan::explain::shown;
use jaula_plan::jailkit::Ini;
use jaula_plan::minimal::{Content, Placing, Rule, Rules, With};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The face.
pub const FACE: Face = Face {
    name: "jk_update",
    of: "jailkit 2.20 to 2.23",
    run,
};

const INI: &str = "/etc/jailkit/jk_update.ini";
const MOST_BYTES: u64 = 1 << 20;
/// The name of the rule that the files become.
const RULE: &str = "jk_update";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Help,
    Verbose,
    Section,
    Jail,
    Dry,
    Skip,
    Hardlink,
}

const TABLE: &[Opt<Key>] = &[
    both(b'h', "help", Takes::Nothing, Key::Help),
    both(b'v', "verbose", Takes::Nothing, Key::Verbose),
    both(b'c', "configsection", Takes::Required, Key::Section),
    both(b'j', "jail", Takes::Required, Key::Jail),
    both(b'd', "dry-run", Takes::Nothing, Key::Dry),
    both(b's', "skip", Takes::Required, Key::Skip),
    both(b'k', "hardlink", Takes::Nothing, Key::Hardlink),
];

const HELP: &str = "
Usage: jk_update [OPTIONS] -j JAIL [DIRECTORIES]
       jk_update [OPTIONS] -c SECTION

-h|--help              show this and exit
-v|--verbose           also say what is looked at
-c|--configsection=    options are in this section of /etc/jailkit/jk_update.ini
-j|--jail=             the jail
-d|--dry-run           only say what would be done
-s|--skip=             leave this file or directory alone; may be given again
-k|--hardlink          give the host's files further names instead of copying them

Without directories /bin /lib /usr and /opt are looked at. Files that the host does not have stay.

";

struct Asked {
    jail: PathBuf,
    dirs: Vec<PathBuf>,
    skips: Vec<PathBuf>,
    verbose: bool,
    dry: bool,
    hardlink: bool,
}

fn run(words: &[OsString]) -> ExitCode {
    match read(words) {
        Ok(Some(asked)) => ended(act(&asked)),
        Ok(None) => ExitCode::SUCCESS,
        Err(end) => ended(Err(end)),
    }
}

fn read(words: &[OsString]) -> Result<Option<Asked>, End> {
    let mut asked = Asked {
        jail: PathBuf::new(),
        dirs: Vec::new(),
        skips: Vec::new(),
        verbose: false,
        dry: false,
        hardlink: false,
    };
    let (mut jail, mut section) = (None, None);
    let mut reader = Reader::new(words, TABLE, Order::First);
    for met in &mut reader {
        let (key, argument) =
            met.map_err(|complaint| (1, format!("ERROR: {complaint}\n{HELP}")))?;
        match key {
            Key::Help => {
                tool::show(HELP);
                return Ok(None);
            }
            Key::Verbose => asked.verbose = true,
            Key::Section => section = argument,
            Key::Jail => jail = argument,
            Key::Dry => asked.dry = true,
            Key::Skip => asked.skips.extend(argument.map(PathBuf::from)),
            Key::Hardlink => asked.hardlink = true,
        }
    }
    let mut dirs: Vec<PathBuf> = reader.operands().into_iter().map(PathBuf::from).collect();
    let jail = match (jail, section) {
        (Some(_), Some(_)) => {
            return Err(error(21, "cannot specify both a jail and a configsection"));
        }
        (None, None) => {
            let text = "must at least specify a jail or a configsection using -j or --jail or -c or --configsection";
            return Err(error(1, text));
        }
        (Some(jail), None) => jail,
        (None, Some(name)) => {
            let name = name.to_string_lossy().into_owned();
            let ini = settings()?;
            let Some(found) = ini.section_named(&name) else {
                let text = format!("configfile {INI} does not have a section called {name}");
                return Err(error(1, text));
            };
            found
                .only(&["skips", "hardlinks", "hardlink", "directories"])
                .map_err(|wrong| error(1, format_args!("{INI}: {wrong}")))?;
            asked
                .skips
                .extend(found.list("skips").into_iter().map(PathBuf::from));
            dirs.extend(found.list("directories").into_iter().map(PathBuf::from));
            let on = |key| {
                found
                    .entry(key)
                    .is_some_and(jaula_plan::jailkit::IniEntry::is_on)
            };
            asked.hardlink |= on("hardlinks") || on("hardlink");
            name.into()
        }
    };
    asked.jail = absolute(&jail);
    if dirs.is_empty() {
        dirs = ["/bin", "/lib", "/usr", "/opt"].map(PathBuf::from).to_vec();
    }
    let inside = |path: PathBuf| match path.strip_prefix(&asked.jail) {
        Ok(rest) => Path::new("/").join(rest),
        Err(_) => Path::new("/").join(path),
    };
    asked.dirs = dirs.into_iter().map(inside).collect();
    asked.skips = std::mem::take(&mut asked.skips)
        .into_iter()
        .map(inside)
        .collect();
    Ok(Some(asked))
}

fn settings() -> Result<Ini, End> {
    let mut text = Vec::new();
    let read = File::open(INI).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text));
    read.map_err(|failed| {
        error(
            1,
            format_args!("configfile {INI}: {}", making::reason(&failed)),
        )
    })?;
    Ini::read(&text).map_err(|wrong| error(1, format_args!("{INI}: {wrong}")))
}

fn say(line: &str) {
    drop(write_stdout(&format!("{}\n", clean(line))));
}

fn act(asked: &Asked) -> Result<(), End> {
    safe(&asked.jail, 1)?;
    let at = |path: &Path| shown(&asked.jail.join(path.strip_prefix("/").unwrap_or(path)));
    let mut tell = |looked: Looked<'_>| match looked {
        Looked::Scanning(path) if asked.verbose => say(&format!("scanning {}", at(path))),
        Looked::Missing(path) if asked.verbose => say(&format!("{} is not there", at(path))),
        Looked::Skipped(path) => say(&format!("skip {}", at(path))),
        Looked::Unseen(path, _) if asked.dirs.iter().any(|dir| dir == path) && !asked.verbose => {}
        Looked::Unseen(path, why) => say(&format!("{} is not looked at: {why}", at(path))),
        Looked::Scanning(_) | Looked::Missing(_) => {}
    };
    let outdated = outdated(&asked.jail, &asked.dirs, &asked.skips, &mut tell);
    let outdated = outdated.map_err(|failed| error(1, making::line(&failed)))?;
    if asked.dry {
        for file in &outdated {
            let at = asked.jail.join(file.trim_start_matches('/'));
            say(&format!("will update outdated file {}", shown(&at)));
        }
        return Ok(());
    }
    if outdated.is_empty() {
        return Ok(());
    }
    let mut rules = Rules::default();
    rules.put(Rule {
        name: RULE.to_owned(),
        comment: "files that the host has otherwise now".to_owned(),
        paths: outdated,
        ..Rule::default()
    });
    let spec = TreeSpec {
        dir: asked.jail.clone(),
        content: Content {
            with: vec![With::Section(RULE.to_owned())],
            rules,
            packs: false,
            make: false,
            secrets: false,
        },
        placing: match asked.hardlink {
            true => Placing::Hardlink,
            false => Placing::Copy,
        },
        force: true,
        hash: true,
    };
    fill(&engine(1)?, &spec, asked.verbose, 1)
}
