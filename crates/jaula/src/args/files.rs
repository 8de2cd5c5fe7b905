//! `--with`, `--empty --with-files`: a root from files of the host instead of REF.

use crate::args::high::Surroundings;
use crate::args::low;
use crate::cmd::run::only_for_distros;
use crate::error::CommandError;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::minimal::Wanted;
use jaula_plan::minimal::{Content, Placing, Rules, With};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The heading of these options.
const HEADING: &str = "Options for files of this host";
/// A file of rules is never longer than this.
const MOST_BYTES: u64 = 1 << 20;

/// The options; `instead` is the argument that they stand for.
pub fn options(command: Command, instead: &'static str) -> Command {
    command.args([
        Arg::new("empty")
            .long("empty")
            .action(ArgAction::SetTrue)
            .requires("with-files")
            .conflicts_with(instead)
            .help("Start from an empty root, for --with-files"),
        Arg::new("with-files")
            .long("with-files")
            .value_name("PATH,…")
            .action(ArgAction::Append)
            .value_delimiter(',')
            .value_parser(value_parser!(OsString))
            .value_hint(ValueHint::FilePath)
            .requires("empty")
            .help("Programs, libraries and scripts of the host; what they need comes along"),
        Arg::new("with")
            .long("with")
            .value_name("WORD,…")
            .action(ArgAction::Append)
            .value_delimiter(',')
            .conflicts_with_all([instead, "empty"])
            .help_heading(HEADING)
            .help(
                "Sections, programs and packages of this host, and paths: what they need comes along, as libraries and \
                 rules say",
            ),
        rules(),
        Arg::new("secrets")
            .long("secrets")
            .action(ArgAction::SetTrue)
            .help_heading(HEADING)
            .help("Take password hashes and private keys too"),
        Arg::new("live")
            .long("live")
            .action(ArgAction::SetTrue)
            .requires("with")
            .help_heading(HEADING)
            .help("Copy nothing: bind the host's files read-only at each start"),
    ])
}

/// `--hardlink`, `--reflink`
pub fn placing(command: Command) -> Command {
    command.args([
        Arg::new("hardlink")
            .long("hardlink")
            .action(ArgAction::SetTrue)
            .requires("with")
            .conflicts_with_all(["reflink", "live"])
            .help_heading(HEADING)
            .help("Give the host's files further names in the directory instead of copying them"),
        Arg::new("reflink")
            .long("reflink")
            .action(ArgAction::SetTrue)
            .requires("with")
            .conflicts_with("live")
            .help_heading(HEADING)
            .help("Share their bytes until one of both is written, or fail"),
        Arg::new("replace")
            .long("replace")
            .action(ArgAction::SetTrue)
            .requires("with")
            .help_heading(HEADING)
            .help("Replace files that the directory has"),
    ])
}

/// `--rules`
pub fn rules() -> Arg {
    Arg::new("rules")
        .long("rules")
        .value_name("FILE")
        .action(ArgAction::Append)
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::FilePath)
        .help_heading(HEADING)
        .help("Also use the sections and packs of a file")
}

/// What is wanted of the host, when that is what was asked for.
///
/// # Errors
/// With an option that says how an image is made of packages, and for words that mean nothing.
pub fn read(matches: &ArgMatches, around: &Surroundings) -> Result<Option<Wanted>, CommandError> {
    if let Some(content) = content(matches, around)? {
        only_for_distros(matches, None)?;
        let placing = match matches.get_flag("live") {
            true => Placing::Live,
            false => Placing::Copy,
        };
        return Ok(Some(Wanted::Content(Box::new(content), placing)));
    }
    if !matches.get_flag("empty") {
        return Ok(None);
    }
    only_for_distros(matches, None)?;
    let words = low::words(matches, "with-files");
    let files = words.into_iter().map(PathBuf::from).collect();
    Ok(Some(Wanted::Files(files)))
}

/// What `--with` asks for.
fn content(matches: &ArgMatches, around: &Surroundings) -> Result<Option<Content>, CommandError> {
    let Some(words) = matches.get_many::<String>("with") else {
        return Ok(None);
    };
    let mut with = Vec::new();
    for word in words {
        let parsed: With = word.parse().map_err(|error| {
            CommandError::usage(format!("cannot use --with {word:?}")).because(error)
        })?;
        with.push(parsed);
    }
    Ok(Some(Content {
        with,
        rules: all_rules(matches, around)?,
        packs: true,
        make: true,
        secrets: matches.get_flag("secrets"),
    }))
}

/// The program's own rules, and those of `--rules`.
///
/// # Errors
/// When a file cannot be read or holds no rules.
pub fn all_rules(matches: &ArgMatches, around: &Surroundings) -> Result<Rules, CommandError> {
    let mut rules = Rules::own().clone();
    for file in matches.get_many::<PathBuf>("rules").into_iter().flatten() {
        let file = around.absolute(file)?;
        let text = text(&file)?;
        rules
            .add(&file, &text)
            .map_err(|error| CommandError::usage("cannot use --rules".to_owned()).because(error))?;
    }
    Ok(rules)
}

fn text(file: &Path) -> Result<String, CommandError> {
    let mut text = String::new();
    let read =
        std::fs::File::open(file).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(CommandError::usage(format!(
            "cannot read {}",
            jaula_plan::explain::shown(file)
        ))
        .because(error)),
    }
}
