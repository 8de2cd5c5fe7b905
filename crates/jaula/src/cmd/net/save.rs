//! Networks that are there again when the machine has started anew.

use super::{named, one};
use crate::args::low;
use crate::cmd::{Context, failed};
use crate::output::Done;
use clap::{Arg, ArgMatches, Command};
use jaula_engine::{Event, Observer};
use jaula_plan::net::save::Form;
use serde_json::json;

/// The operands and options of `net save`.
pub fn save_command(command: Command) -> Command {
    command
        .about("Write what makes a bridge again when the machine starts")
        .long_about(
            "Write what makes a bridge again when the machine starts, as it is now: a unit of systemd that calls jaula, \
             or the files of systemd-networkd or ifupdown, who know less. It is shown; -o writes it, and replaces nothing.",
        )
        .arg(
            Arg::new("name")
                .value_name("BRIDGE")
                .required(true)
                .help("The bridge"),
        )
        .arg(
            one("as", "FORM", "Whose files [default: systemd]")
                .value_parser(Form::ALL.map(Form::word)),
        )
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("DIR")
                .value_parser(clap::value_parser!(std::path::PathBuf))
                .help("Write them into DIR"),
        )
}

/// Shows or writes it.
pub fn save(matches: &ArgMatches, context: &Context) -> Done {
    let name = named(matches, "name")?;
    let form = low::text(matches, "as").and_then(Form::of_word);
    let engine = context.engine(None, false)?;
    let attempt = format!("save {name}");
    let save = engine
        .plan_net_save(&name, form.unwrap_or(Form::Systemd))
        .map_err(|error| failed(format!("cannot {attempt}"), error))?;
    for note in &save.notes {
        context.progress.event(Event::Note { text: note.clone() });
    }
    let shown = || {
        let files = save.files.iter();
        let texts: Vec<_> = files
            .map(|file| format!("# {}/{}\n{}", file.dir, file.name, file.text.trim_end()))
            .collect();
        texts.join("\n\n")
    };
    let Some(dir) = low::path(matches, "output") else {
        return context
            .out
            .result("network-files", || json!({ "save": save }), shown);
    };
    let written = engine
        .net_save(&save, &dir)
        .map_err(|error| failed(format!("cannot {attempt}"), error))?;
    context.out.result(
        "network-files",
        || json!({ "save": save, "written": written }),
        || {
            let mut lines: Vec<_> = written
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            lines.push(format!("in force with: {}", save.then));
            lines.join("\n")
        },
    )
}
