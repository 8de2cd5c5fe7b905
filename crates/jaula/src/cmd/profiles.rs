//! `jaula profiles`: the sections that `--with` knows, and the packs that come by themselves.

use crate::args::files;
use crate::cmd::Context;
use crate::error::CommandError;
use crate::output::{Done, Table};
use clap::{Arg, ArgAction, ArgMatches, Command};
use jaula_plan::minimal::Rule;
use serde_json::json;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    command
        .about("List what a jail can be made with from this host's files")
        .long_about(
            "List the sections that `jaula new NAME --with SECTION` takes. With --packs list what comes by itself, \
             because of a program or library that is there. With NAME show one of them whole.",
        )
        .after_help(
            "Examples:\n  jaula profiles\n  jaula profiles basicshell\n  jaula profiles --packs",
        )
        .arg(Arg::new("name").value_name("NAME").help("Show this one"))
        .arg(
            Arg::new("packs")
                .long("packs")
                .action(ArgAction::SetTrue)
                .help("List what comes by itself"),
        )
        .arg(files::rules())
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let rules = files::all_rules(matches, &context.around)?;
    if let Some(name) = matches.get_one::<String>("name") {
        let Some(rule) = rules.named(name) else {
            let error = CommandError::failed(format!("there is no section or pack {name:?}"));
            return Err(error.hint("jaula profiles lists them"));
        };
        return context.out.result(
            "profile",
            || json!({ "name": rule.name, "rule": rule }),
            || whole(rule),
        );
    }
    let listed: Vec<&Rule> = match matches.get_flag("packs") {
        true => rules.packs().collect(),
        false => rules.sections().collect(),
    };
    context.out.result(
        "profiles",
        || {
            let one = |rule: &&Rule| json!({ "name": rule.name, "rule": rule });
            json!({ "profiles": listed.iter().map(one).collect::<Vec<_>>() })
        },
        || {
            let mut table = Table::new(&["NAME", "WHAT"]);
            for rule in &listed {
                table.row([&rule.name, &rule.comment]);
            }
            table.text()
        },
    )
}

fn whole(rule: &Rule) -> String {
    let mut text = format!("{} - {}\n", rule.name, rule.comment);
    for (key, values) in [
        ("when", &rule.when),
        ("programs", &rule.programs),
        ("required", &rule.required),
        ("paths", &rule.paths),
        ("keep_owner", &rule.keep_owner),
        ("keep_setuid", &rule.keep_setuid),
        ("without", &rule.without),
        ("users", &rule.users),
        ("groups", &rule.groups),
        ("devices", &rule.devices),
        ("dirs", &rule.dirs),
        ("includes", &rule.includes),
    ] {
        if !values.is_empty() {
            text.push_str(&format!("{key}: {}\n", values.join(" ")));
        }
    }
    text
}
