//! `jaula compat`: the old tools' names. A tool itself is called as `jaula compat TOOL ARGUMENTS…`, before any verb
//! is looked for ([`crate::compat::called`]).

use crate::args::low;
use crate::args::nearest::nearest;
use crate::args::options;
use crate::cmd::Context;
use crate::compat::{FACES, Face, by_name};
use crate::error::CommandError;
use crate::output::{Done, Table};
use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::links;
use jaula_plan::explain::shown;
use serde_json::json;
use std::ffi::OsString;
use std::path::PathBuf;

/// The word before a tool's name.
pub const GROUP: &str = "compat";

/// The operands and options of `compat ls`.
pub fn ls_command(command: Command) -> Command {
    command
        .about("List the old tools whose names jaula answers to")
        .long_about(
            "List the old tools whose names jaula answers to, by `jaula compat TOOL` or through a link, and what a \
             shell finds under each name in PATH.",
        )
}

/// Lists the faces.
pub fn ls(_matches: &ArgMatches, context: &Context) -> Done {
    let program = program()?;
    let found = |face: &Face| {
        let mut candidates = context.around.path.iter().map(|dir| dir.join(face.name));
        candidates.find(|path| path.is_file())
    };
    let rows: Vec<_> = FACES
        .iter()
        .map(|face| {
            let path = found(face);
            let ours = path
                .as_ref()
                .is_some_and(|path| links::leads_to(path, &program));
            (face, path, ours)
        })
        .collect();
    context.out.result(
        "tools",
        || {
            let tools = rows.iter().map(|(face, path, ours)| {
                let path = path.as_ref().map(|path| path.to_string_lossy());
                json!({ "name": face.name, "of": face.of, "path": path, "jaula": ours })
            });
            json!({ "tools": tools.collect::<Vec<_>>() })
        },
        || {
            let mut table = Table::new(&["TOOL", "OF", "IN PATH"]);
            for (face, path, ours) in &rows {
                let path = match path {
                    Some(path) if *ours => format!("{} (jaula)", shown(path)),
                    Some(path) => shown(path),
                    None => "-".to_owned(),
                };
                table.row([&face.name, &face.of, &path]);
            }
            table.text()
        },
    )
}

/// The operands and options of `compat install`.
pub fn install_command(command: Command) -> Command {
    let command = command
        .about("Make links with the old tools' names in a directory")
        .long_about(
            "Make a symbolic link to this program in DIR for each old tool, or for the TOOLs named. With DIR first in \
             PATH, the old command lines are answered by jaula. A link that leads to this program already stays; \
             anything else of that name is never touched: then nothing is made at all. To take them back, remove the \
             links.",
        )
        .arg(
            Arg::new("dir")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::DirPath)
                .help("The directory, which exists"),
        )
        .arg(
            Arg::new("tool")
                .value_name("TOOL")
                .num_args(0..)
                .value_parser(value_parser!(OsString))
                .help("The tools [default: all of them]"),
        );
    options::preview(command)
}

/// Makes the links.
pub fn install(matches: &ArgMatches, context: &Context) -> Done {
    let dir = context
        .around
        .absolute(&low::path(matches, "dir").unwrap_or_default())?;
    let names = match low::words(matches, "tool") {
        typed if typed.is_empty() => FACES.iter().map(|face| face.name).collect(),
        typed => typed.iter().map(tool).collect::<Result<Vec<_>, _>>()?,
    };
    let attempt = || format!("cannot make the links in {}", shown(&dir));
    let refused = |error: links::LinkError| {
        let hints = error.hints();
        let mut failed = CommandError::failed(attempt()).because(error);
        failed.hints = hints;
        failed
    };
    let plan = links::plan(&dir, &program()?, &names).map_err(refused)?;
    let preview = low::Shown::read(matches);
    if preview != low::Shown::Done {
        return context.show(preview, &plan);
    }
    links::make(&plan).map_err(refused)?;
    let made = plan.steps().len();
    context.out.did(
        "links",
        || json!({ "dir": dir.to_string_lossy(), "tools": names, "made": made }),
        || match made {
            0 => format!("every link is in {} already", shown(&dir)),
            1 => format!("made 1 link in {}", shown(&dir)),
            _ => format!("made {made} links in {}", shown(&dir)),
        },
    )
}

fn tool(word: &OsString) -> Result<&'static str, CommandError> {
    if let Some(face) = by_name(word) {
        return Ok(face.name);
    }
    let word = word.to_string_lossy();
    let error = CommandError::usage(format!("cannot answer as {word:?}: jaula has no such tool"));
    Err(match nearest(&word, FACES.iter().map(|face| face.name)) {
        Some(meant) => error.hint(format!("did you mean {meant}?")),
        None => error.hint("jaula compat ls lists the tools"),
    })
}

/// This program's own file.
pub(super) fn program() -> Result<PathBuf, CommandError> {
    std::env::current_exe()
        .map_err(|error| CommandError::failed("cannot find the program's own file").because(error))
}
