//! `--empty --with-files`: a root from single files of the host instead of REF.

use crate::args::low;
use crate::cmd::run::only_for_distros;
use crate::error::CommandError;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use std::ffi::OsString;
use std::path::PathBuf;

/// The two options; `instead` is the argument that they stand for.
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
    ])
}

/// The files, when that is what was asked for.
///
/// # Errors
/// With an option that says how an image is made of packages.
pub fn read(matches: &ArgMatches) -> Result<Option<Vec<PathBuf>>, CommandError> {
    if !matches.get_flag("empty") {
        return Ok(None);
    }
    only_for_distros(matches, None)?;
    let words = low::words(matches, "with-files");
    Ok(Some(words.into_iter().map(PathBuf::from).collect()))
}
