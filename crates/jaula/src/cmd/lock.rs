//! `jaula lock`: the locks of recipes.

use crate::args::{low, options};
use crate::cmd::build::recipe;
use crate::cmd::{Context, failed, session_for};
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::recipe::{Locking, RecipeFileError, change_json, read_lock, told, write_lock};
use jaula_engine::{Dry, EngineError};
use jaula_plan::names::PackageName;
use serde_json::json;
use std::path::PathBuf;

fn file() -> Arg {
    Arg::new("file")
        .value_name("FILE.toml")
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::FilePath)
        .required(true)
        .help("The recipe")
}

/// Operands and options of `lock show`.
pub fn show_command(command: Command) -> Command {
    command
        .about("Show what the lock of a recipe holds")
        .long_about(
            "Show the packages that a locked build of FILE.toml takes, and where they came from.",
        )
        .after_help("Example:\n  jaula lock show web.toml")
        .arg(file())
}

/// Operands and options of `lock update`.
pub fn update_command(command: Command) -> Command {
    let command = command
        .about("Choose the packages of a recipe anew, show what changes, and write its lock")
        .long_about(
            "Choose the packages of FILE.toml from what its archives have now, show each that is new, gone or in another \
             version, and write the lock. When packages are named, only these and what they force move: the others stay at \
             their locked versions, also those that are in no index any more, as long as their files can be had. --plan \
             only shows.",
        )
        .after_help(
            "Examples:\n  jaula lock update web.toml --plan\n  jaula lock update web.toml\n  \
             jaula lock update web.toml openssl libssl3",
        )
        .arg(file())
        .arg(
            Arg::new("packages")
                .value_name("PKG")
                .num_args(0..)
                .help("Only these, and what they force [default: all]"),
        );
    options::preview(command).arg(
        Arg::new("offline")
            .long("offline")
            .action(clap::ArgAction::SetTrue)
            .help("Never use the network: only what the store has"),
    )
}

/// The recipe's path.
fn path(matches: &ArgMatches) -> Result<PathBuf, CommandError> {
    let path = low::path(matches, "file").unwrap_or_default();
    recipe::named(path.as_os_str()).ok_or_else(|| {
        let shown = jaula_plan::explain::shown(&path);
        CommandError::usage(format!("cannot use {shown} as a recipe"))
            .hint("a recipe's name ends in .toml; its lock lies beside it and ends in .lock")
    })
}

/// `jaula lock show`
pub fn show(matches: &ArgMatches, context: &Context) -> Done {
    let path = context.around.absolute(&path(matches)?)?;
    let lock_path = path.with_extension("lock");
    let attempt = format!(
        "cannot show the lock of {}",
        jaula_plan::explain::shown(&path)
    );
    let explained = |error: RecipeFileError| failed(attempt.clone(), EngineError::from(error));
    let lock = read_lock(&lock_path)
        .map_err(explained)?
        .ok_or_else(|| explained(RecipeFileError::NoLock { path: lock_path }))?
        .lock;
    context.out.result(
        "lock",
        || {
            let sources = lock.sources.iter().map(|source| {
                json!({
                    "uri": source.uri, "suite": source.suite, "components": source.components, "date": source.date,
                })
            });
            let packages = lock.packages.iter().map(|package| {
                json!({
                    "name": package.name, "version": package.version, "architecture": package.arch,
                    "size": package.size, "sha256": jaula_plan::names::Digest(package.sha256).to_string(),
                    "source": package.source, "path": package.path, "role": package.role.as_str(),
                })
            });
            json!({
                "distribution": lock.distribution, "architecture": lock.arch, "variant": lock.variant,
                "sources": sources.collect::<Vec<_>>(), "packages": packages.collect::<Vec<_>>(),
            })
        },
        || {
            let mut text = format!("{} {} {}\n", lock.distribution, lock.arch, lock.variant);
            for source in &lock.sources {
                let words = [&source.uri, &source.suite, &source.components];
                let words = words.map(|word| word.replace(',', " ")).join(" ");
                text.push_str(&format!("from {words}\n"));
            }
            let mut packages: Vec<_> = lock.packages.iter().collect();
            packages.sort_by_key(|package| &package.name);
            for package in packages {
                let (name, version, arch) = (&package.name, &package.version, &package.arch);
                text.push_str(&format!("{name} {version} {arch} {}\n", package.role.as_str()));
            }
            text.trim_end().to_owned()
        },
    )
}

/// `jaula lock update`
pub fn update(matches: &ArgMatches, context: &Context) -> Done {
    let path = path(matches)?;
    let shown_path = jaula_plan::explain::shown(&path);
    let attempt = format!("cannot update the lock of {shown_path}");
    let moving = matches.get_many::<String>("packages").into_iter().flatten();
    let moving = moving
        .map(|word| low::parse::<PackageName>("a package", word))
        .collect::<Result<Vec<_>, _>>()?;
    let loaded = recipe::read(context, &path, &attempt)?;
    let shown = low::Shown::read(matches);
    let explained = |error: EngineError| failed(attempt.clone(), error);
    let dry = match shown {
        low::Shown::Done => Dry::MayCache,
        _ => Dry::ReadOnly,
    };
    // Nothing is unpacked: indices are all that is kept.
    let session = session_for(Some(&recipe::reference(&loaded)));
    let engine = context.engine(session, matches.get_flag("offline"))?;
    let plan = match moving.as_slice() {
        [] => engine.plan_recipe(&loaded, Locking::Update, &context.progress, dry),
        moving => engine.plan_lock_of(&loaded, moving, &context.progress, dry),
    }
    .map_err(explained)?;
    if shown == low::Shown::Explain {
        return context.show(shown, &plan);
    }
    let written = match shown {
        low::Shown::Done => write_lock(&plan.lock_path, &plan.lock)
            .map_err(|error| explained(EngineError::from(error)))?,
        _ => false,
    };
    context.progress.clear();
    let changes = plan.changes();
    let size = |lock: &jaula_engine::recipe::RecipeLock| lock.lock.download_size();
    let (before, after) = (plan.old.as_ref().map(size), size(&plan.lock));
    context.out.result(
        "changes",
        || {
            json!({
                "lock": jaula_plan::explain::shown(&plan.lock_path), "written": written, "size": after, "before": before,
                "changes": changes.iter().map(change_json).collect::<Vec<_>>(),
            })
        },
        || {
            let mut lines: Vec<String> = changes.iter().map(told).collect();
            let count = plan.lock.lock.packages.len();
            lines.push(match before {
                None => format!("{count} packages, {after} B"),
                Some(_) if changes.is_empty() => format!("nothing changes: {count} packages, {after} B"),
                Some(before) => format!("{count} packages, {before} B → {after} B"),
            });
            lines.join("\n")
        },
    )
}
