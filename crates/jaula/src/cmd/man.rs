//! `jaula man`: the manual pages.

use crate::args::low;
use crate::cmd::{Context, VERBS, help, tree};
use crate::error::CommandError;
use crate::output::{Done, write_stdout, write_stdout_bytes};
use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use clap_mangen::Man;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Its operands and options.
pub fn command(command: Command) -> Command {
    command
        .about("Print a manual page, or write them all")
        .after_help(
            "Examples:\n  jaula man run | man -l -\n  jaula man --dir /usr/local/share/man/man1",
        )
        .arg(
            Arg::new("verb")
                .value_name("VERB")
                .num_args(0..=2)
                .value_parser(value_parser!(OsString))
                .help("The verb [default: jaula itself]"),
        )
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::DirPath)
                .conflicts_with("verb")
                .help("Write every page into DIR"),
        )
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    if let Some(dir) = low::path(matches, "dir") {
        return write_all(&context.around.absolute(&dir)?);
    }
    let words = low::words(matches, "verb");
    let command = if words.is_empty() {
        tree()
    } else {
        help::find(&words)?
    };
    write_stdout_bytes(&page(command)?.1)
}

/// A page: the name of its file and its text, roff(7).
fn page(command: Command) -> Result<(String, Vec<u8>), CommandError> {
    let name = command.get_display_name().unwrap_or("jaula").to_owned();
    let called = command.get_bin_name().unwrap_or("jaula").to_owned();
    let command = command.bin_name(called);
    let mut text = Vec::new();
    Man::new(command)
        .title(name.to_uppercase())
        .manual("jaula")
        .source(concat!("jaula ", env!("CARGO_PKG_VERSION")))
        .render(&mut text)
        .map_err(|error| {
            CommandError::failed(format!("cannot write the page of {name}")).because(error)
        })?;
    Ok((format!("{name}.1"), text))
}

fn write_all(dir: &Path) -> Done {
    let attempt = |path: &Path| format!("cannot write {}", path.display());
    fs::create_dir_all(dir).map_err(|error| CommandError::failed(attempt(dir)).because(error))?;
    let mut written = String::new();
    let commands = std::iter::once(tree()).chain(VERBS.iter().map(super::Verb::build));
    for command in commands {
        let (name, text) = page(command)?;
        let path = dir.join(&name);
        fs::write(&path, text)
            .map_err(|error| CommandError::failed(attempt(&path)).because(error))?;
        written.push_str(&format!("{}\n", jaula_plan::explain::shown(&path)));
    }
    write_stdout(&written)
}
