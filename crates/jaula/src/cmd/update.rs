//! `jaula update`: a jail of the host's files gets what the host has now.

use crate::args::{low, options};
use crate::cmd::check::target;
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::{Done, write_stdout};
use clap::{Arg, ArgAction, ArgMatches, Command};
use jaula_engine::minimal::{Change, CheckTarget, UpdateSpec};
use serde_json::json;
use std::ffi::OsString;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Bring a jail of the host's files up to what the host has now")
        .long_about(
            "Find again what the jail was made of, and replace what the host has otherwise now. The new content is made \
             beside the old one, every program is seen to find its libraries there, and both are exchanged at once; on \
             any failure the jail is as it was. Files that jaula did not place stay, and so does what was changed in the \
             jail.",
        )
        .after_help(
            "Examples:\n  jaula update web --plan\n  jaula update /srv/jail\n  \
             jaula update web --hook apt >/etc/apt/apt.conf.d/80jaula-web",
        )
        .arg(
            Arg::new("jail")
                .value_name("NAME|DIR")
                .required(true)
                .value_parser(clap::value_parser!(OsString))
                .help("A named jail, or the directory of one"),
        )
        .arg(
            Arg::new("force")
                .long("force")
                .action(ArgAction::SetTrue)
                .help("Also replace what was changed in the jail"),
        )
        .arg(
            Arg::new("in-use")
                .long("in-use")
                .action(ArgAction::SetTrue)
                .help("Also while programs run in a directory: they go on in the old one"),
        )
        .arg(
            Arg::new("hook")
                .long("hook")
                .value_name("KIND")
                .value_parser(["apt", "systemd-path", "systemd-service"])
                .help("Only print what has the host do this after its packages changed"),
        );
    options::preview(command)
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let word = matches
        .get_one::<OsString>("jail")
        .cloned()
        .unwrap_or_default();
    let target = target(&word, context)?;
    let name = match &target {
        CheckTarget::Named(name) => name.to_string(),
        CheckTarget::Directory(dir) => dir.display().to_string(),
    };
    if let Some(kind) = low::text(matches, "hook") {
        return write_stdout(&hook(kind, &name)?);
    }
    let attempt = format!("cannot update {name}");
    let explained = |error| failed(attempt.clone(), error);
    let engine = context.engine(None, true)?;
    let spec = UpdateSpec {
        force: matches.get_flag("force"),
        in_use: matches.get_flag("in-use"),
    };
    let plan = engine.plan_update(&target, spec).map_err(explained)?;
    let shown = low::Shown::read(matches);
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    engine.update(&plan, &context.progress).map_err(explained)?;
    context.progress.clear();
    let count = |wanted: Change| plan.changes().values().filter(|is| **is == wanted).count();
    let (added, replaced, removed, kept) = (
        count(Change::Added),
        count(Change::Replaced),
        count(Change::Removed),
        count(Change::Kept),
    );
    context.out.did(
        "updated",
        || json!({ "jail": name, "added": added, "replaced": replaced, "removed": removed, "kept": kept }),
        || match plan.is_empty() {
            true => format!("{name} has what the host has"),
            false => format!("{name}: {replaced} replaced, {added} added, {removed} removed, {kept} kept"),
        },
    )
}

/// A file for apt or systemd. Both have rules of their own for odd characters, so a name has none.
fn hook(kind: &str, name: &str) -> Result<String, CommandError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !name.chars().all(plain) {
        return Err(
            CommandError::usage(format!("cannot write a hook for {name:?}"))
                .hint("its name may have letters, digits, / . _ and -"),
        );
    }
    Ok(match kind {
        "apt" => format!(
            "// After packages changed, the jail follows. A failure leaves it as it was.\n\
             DPkg::Post-Invoke {{ \"jaula --quiet update {name} || true\"; }};\n"
        ),
        "systemd-path" => format!(
            "# Beside a service of the same name: jaula update {name} --hook systemd-service\n[Unit]\n\
             Description=Packages of the host, for jail {name}\n\n[Path]\nPathChanged=/var/lib/dpkg/status\n\
             PathChanged=/var/lib/rpm\n\n[Install]\nWantedBy=paths.target\n"
        ),
        _ => format!(
            "[Unit]\nDescription=Jail {name} gets what the host has\n\n[Service]\nType=oneshot\n\
             ExecStart=jaula --quiet update {name}\n"
        ),
    })
}
