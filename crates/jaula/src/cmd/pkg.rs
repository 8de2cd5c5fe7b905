//! `jaula pkg`: packages of a named jail, or of a tree.

use crate::args::{low, options};
use crate::cmd::{Context, failed};
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::pkg::{PkgOrigin, PkgPlan, PkgSpec, PkgTarget, PkgVerb};
use jaula_engine::session::Need;
use jaula_engine::{Dry, Engine, EngineError};
use jaula_plan::names::{DistroName, PackageName, Suite};
use jaula_plan::spec::rootfs::{Reference, Want};
use jaula_plan::spec::source::SourceOptions;
use serde_json::json;
use std::ffi::OsStr;
use std::path::PathBuf;

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

/// NAME, `--root`, and the words after them.
pub fn target(command: Command, words: &'static str, help: &'static str) -> Command {
    command.args([
        Arg::new("words").value_name(words).num_args(0..).help(help),
        Arg::new("root")
            .long("root")
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::DirPath)
            .help("A tree of the host instead of a named jail; NAME is left out then"),
    ])
}

/// Where packages come from.
pub fn origin(command: Command) -> Command {
    command.next_help_heading("Source options").args([
        Arg::new("from")
            .long("from")
            .value_name("DISTRO[:SUITE]")
            .help("Distribution that packages are taken from [default: that of the jail's image]"),
        Arg::new("mirror")
            .long("mirror")
            .value_name("URL")
            .value_hint(ValueHint::Url)
            .help("Archive to fetch from [default: that of the jail's image]"),
        Arg::new("components")
            .long("components")
            .value_name("NAME,…")
            .action(ArgAction::Append)
            .value_delimiter(',')
            .help("Components of the archive"),
        Arg::new("keyring")
            .long("keyring")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help("OpenPGP keys that may sign the archive"),
        switch(
            "sources-from-jail",
            "The archives that sources.list inside the jail names; keys are the host's",
        )
        .conflicts_with_all(["mirror", "components"]),
        switch("offline", "Never use the network: only what the store has"),
    ])
}

/// Operands and options of `pkg install`.
pub fn install_command(command: Command) -> Command {
    let command = command
        .about("Install packages in a named jail")
        .long_about(
            "Install packages, and what they need, in the jail NAME, from where its image came from. They are chosen, \
             fetched and checked outside; the jail's own dpkg unpacks and configures them inside, without services being \
             started. A running jail is joined. Nothing that is installed is removed for it.",
        )
        .after_help(
            "Examples:\n  jaula pkg install web nginx-light\n  jaula pkg install web hello=2.10-3 gcc libc6-dev\n  \
             jaula pkg install --root /srv/tree --from debian:bookworm hello",
        );
    let command = target(
        command,
        "NAME PKG",
        "The jail, and packages: name[:arch][=version][/suite]",
    );
    let command = options::preview(command).args([
        switch("recommends", "Follow Recommends"),
        switch("no-recommends", "Do not [default: as the image was made]")
            .conflicts_with("recommends"),
    ]);
    origin(command)
}

/// Operands and options of `pkg remove`.
pub fn remove_command(command: Command) -> Command {
    let command = command
        .about("Remove packages from a named jail")
        .long_about(
            "Remove packages, and what cannot be without them, from the jail NAME. Essential packages and held ones are \
             never removed.",
        )
        .after_help("Examples:\n  jaula pkg remove web nginx-light --plan\n  jaula pkg remove web nginx-light --purge --autoremove");
    let command = target(command, "NAME PKG", "The jail, and packages");
    options::preview(command).args([
        switch("purge", "Their configuration files too"),
        switch(
            "autoremove",
            "Also what came for others and is needed no more",
        ),
    ])
}

/// Operands and options of `pkg upgrade`.
pub fn upgrade_command(command: Command) -> Command {
    let command = command
        .about("Upgrade packages of a named jail")
        .long_about(
            "Upgrade packages of the jail NAME to what its sources have, all when none is named. New ones come along where \
             they are needed; none is removed. What is held, or does not go together with the others, is kept back and told.",
        )
        .after_help("Examples:\n  jaula pkg upgrade web --plan\n  jaula pkg upgrade web openssl");
    let command = target(command, "NAME PKG", "The jail, and packages [default: all]");
    let command = options::preview(command).args([
        switch("recommends", "Follow Recommends"),
        switch("no-recommends", "Do not [default: as the image was made]")
            .conflicts_with("recommends"),
        switch(
            "autoremove",
            "Also remove what came for others and is needed no more",
        ),
        switch("purge", "With --autoremove: configuration files too"),
    ]);
    origin(command)
}

/// Operands and options of `pkg ls`.
pub fn ls_command(command: Command) -> Command {
    let command = command
        .about("List the packages of a named jail")
        .after_help("Example:\n  jaula pkg ls web");
    target(command, "NAME", "The jail")
}

/// Operands and options of `pkg search`.
pub fn search_command(command: Command) -> Command {
    let command = command
        .about("Find packages by name in the sources of a named jail")
        .after_help("Example:\n  jaula pkg search web nginx");
    origin(target(command, "NAME WORD", "The jail, and parts of names"))
}

/// The target, and the words that are no jail.
///
/// # Errors
/// When the jail is missing or its name breaks the rules.
pub fn read_target(
    matches: &ArgMatches,
    context: &Context,
) -> Result<(PkgTarget, Vec<String>), CommandError> {
    let words = matches.get_many::<String>("words").into_iter().flatten();
    let mut words: Vec<String> = words.cloned().collect();
    if let Some(root) = low::path(matches, "root") {
        return Ok((PkgTarget::Tree(context.around.absolute(&root)?), words));
    }
    if words.is_empty() {
        return Err(CommandError::usage("cannot find the jail: NAME is missing")
            .hint("jaula ls lists the jails; --root DIR works on a tree"));
    }
    let name = low::parse("the name of a jail", &words.remove(0))?;
    Ok((PkgTarget::Jail(name), words))
}

/// The engine for a target: a jail is joined from outside of the session, a tree is worked on in it.
///
/// # Errors
/// When the session or the store cannot be opened.
pub fn engine(
    context: &Context,
    target: &PkgTarget,
    offline: bool,
) -> Result<Engine, CommandError> {
    let session = match target {
        PkgTarget::Jail(_) => None,
        PkgTarget::Tree(_) => Some(Need::Users),
    };
    context.engine(session, offline)
}

/// Where packages come from, as far as it was typed.
///
/// # Errors
/// When a word is in none of the forms.
pub fn read_origin(matches: &ArgMatches, context: &Context) -> Result<PkgOrigin, CommandError> {
    let from: Option<(DistroName, Option<Suite>)> = match low::text(matches, "from") {
        None => None,
        Some(word) => match context.reference(OsStr::new(word))? {
            Reference::Distro { distro, suite } => Some((distro, suite)),
            _ => {
                return Err(
                    CommandError::usage(format!("cannot use {word:?} for --from"))
                        .hint("write DISTRO or DISTRO:SUITE, as debian:bookworm"),
                );
            }
        },
    };
    let components = matches
        .get_many::<String>("components")
        .into_iter()
        .flatten();
    let sources = SourceOptions {
        mirror: low::text(matches, "mirror")
            .map(crate::args::sources::mirror)
            .transpose()?,
        components: components
            .map(|word| low::parse("--components", word))
            .collect::<Result<_, _>>()?,
        keyrings: low::path(matches, "keyring")
            .map(|path| context.around.absolute(&path))
            .transpose()?
            .into_iter()
            .collect(),
        ..SourceOptions::default()
    };
    Ok(PkgOrigin {
        from,
        sources: Some(sources).filter(|sources| *sources != SourceOptions::default()),
        from_jail: matches.get_flag("sources-from-jail"),
    })
}

fn packages(words: &[String]) -> Result<Vec<PackageName>, CommandError> {
    words
        .iter()
        .map(|word| low::parse("a package", word))
        .collect()
}

/// Plans a change, and does or shows it.
fn change(
    matches: &ArgMatches,
    context: &Context,
    attempt: &str,
    make: impl Fn(Vec<String>) -> Result<PkgVerb, CommandError>,
) -> Done {
    let (target, words) = read_target(matches, context)?;
    let flag = |name: &str| matches.try_get_one::<bool>(name).ok().flatten() == Some(&true);
    let recommends = match (flag("recommends"), flag("no-recommends")) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    let verb = make(words)?;
    let has_origin = !matches!(verb, PkgVerb::Remove(_));
    let spec = PkgSpec {
        verb,
        purge: flag("purge"),
        autoremove: flag("autoremove"),
        recommends,
        origin: match has_origin {
            true => read_origin(matches, context)?,
            false => PkgOrigin::default(),
        },
        target,
    };
    run(
        context,
        &spec,
        low::Shown::read(matches),
        has_origin && flag("offline"),
        attempt,
    )
}

/// Does or shows a change.
///
/// # Errors
/// What the engine could not do.
pub fn run(
    context: &Context,
    spec: &PkgSpec,
    shown: low::Shown,
    offline: bool,
    attempt: &str,
) -> Done {
    let attempt = format!("cannot {attempt} packages of {}", spec.target.shown());
    let explained = |error: EngineError| failed(attempt.clone(), error);
    let engine = engine(context, &spec.target, offline)?;
    let dry = match shown {
        low::Shown::Done => Dry::MayCache,
        _ => Dry::ReadOnly,
    };
    let plan = engine
        .plan_pkg(spec, &context.progress, dry)
        .map_err(explained)?;
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    engine.pkg(&plan, &context.progress).map_err(explained)?;
    context.progress.clear();
    context.out.did("packages", || shape(&plan), || text(&plan))
}

fn shape(plan: &PkgPlan) -> serde_json::Value {
    let taken = plan.install.iter().map(|taken| {
        json!({ "name": taken.name, "version": taken.version, "architecture": taken.arch, "old": taken.old, "auto": taken.auto })
    });
    let gone = plan.remove.iter().map(
        |gone| json!({ "name": gone.name, "version": gone.version, "architecture": gone.arch, "why": gone.why }),
    );
    json!({
        "installed": taken.collect::<Vec<_>>(), "removed": gone.collect::<Vec<_>>(),
        "kept_back": plan.kept_back, "unneeded": plan.unneeded,
    })
}

fn text(plan: &PkgPlan) -> String {
    let mut lines = Vec::new();
    for gone in &plan.remove {
        lines.push(format!("- {} {}", gone.name, gone.version));
    }
    for taken in &plan.install {
        lines.push(match &taken.old {
            None => format!("+ {} {}", taken.name, taken.version),
            Some(old) => format!("{} {old} → {}", taken.name, taken.version),
        });
    }
    for name in &plan.kept_back {
        lines.push(format!("kept back: {name}"));
    }
    for name in &plan.unneeded {
        lines.push(format!("needed no more: {name}"));
    }
    lines.join("\n")
}

fn some(words: Vec<String>, verb: &str) -> Result<Vec<String>, CommandError> {
    if words.is_empty() {
        return Err(
            CommandError::usage(format!("cannot {verb}: no package is named"))
                .hint(format!("write jaula pkg {verb} NAME PKG…")),
        );
    }
    Ok(words)
}

/// `jaula pkg install`
pub fn install(matches: &ArgMatches, context: &Context) -> Done {
    change(matches, context, "install", |words| {
        let wants: Result<Vec<Want>, _> = some(words, "install")?
            .iter()
            .map(|word| crate::args::packages::want(word))
            .collect();
        Ok(PkgVerb::Install(wants?))
    })
}

/// `jaula pkg remove`
pub fn remove(matches: &ArgMatches, context: &Context) -> Done {
    change(matches, context, "remove", |words| {
        Ok(PkgVerb::Remove(packages(&some(words, "remove")?)?))
    })
}

/// `jaula pkg upgrade`
pub fn upgrade(matches: &ArgMatches, context: &Context) -> Done {
    change(matches, context, "upgrade", |words| {
        Ok(PkgVerb::Upgrade(packages(&words)?))
    })
}

/// `jaula pkg ls`
pub fn ls(matches: &ArgMatches, context: &Context) -> Done {
    let (target, _) = read_target(matches, context)?;
    let attempt = format!("cannot list the packages of {}", target.shown());
    let engine = engine(context, &target, true)?;
    let found = engine
        .packages(&target)
        .map_err(|error| failed(attempt, error))?;
    context.progress.clear();
    let auto = |name: &str| {
        if found.auto.is_auto(name) {
            "auto"
        } else {
            "manual"
        }
    };
    context.out.result(
        "packages",
        || {
            let packages = found.set.packages.iter().map(|package| {
                json!({
                    "name": package.name, "version": package.version, "architecture": package.arch,
                    "state": package.state, "held": package.held, "auto": found.auto.is_auto(&package.name),
                    "installed_size": package.installed_size,
                })
            });
            json!({ "architecture": found.arch, "packages": packages.collect::<Vec<_>>() })
        },
        || {
            let line = |package: &jaula_engine::pkg::Installed| {
                let (name, version, arch) = (&package.name, &package.version, &package.arch);
                let mut line = format!("{name} {version} {arch} {}", auto(name));
                if package.held {
                    line.push_str(" held");
                }
                if package.state != "installed" {
                    line.push_str(&format!(" {}", package.state));
                }
                line
            };
            let lines: Vec<String> = found.set.packages.iter().map(line).collect();
            lines.join("\n")
        },
    )
}

/// `jaula pkg search`
pub fn search(matches: &ArgMatches, context: &Context) -> Done {
    let (target, words) = read_target(matches, context)?;
    let words = some(words, "search")?;
    let origin = read_origin(matches, context)?;
    let attempt = format!("cannot search the sources of {}", target.shown());
    let engine = engine(context, &target, matches.get_flag("offline"))?;
    let found = engine
        .search_pkg(&target, &origin, &words, &context.progress)
        .map_err(|error| failed(attempt, error))?;
    context.progress.clear();
    context.out.result(
        "found",
        || {
            let found = found.iter().map(
                |(name, version, installed)| json!({ "name": name, "version": version, "installed": installed }),
            );
            json!({ "packages": found.collect::<Vec<_>>() })
        },
        || {
            let line = |(name, version, installed): &(String, String, Option<String>)| match installed {
                Some(installed) => format!("{name} {version} [installed {installed}]"),
                None => format!("{name} {version}"),
            };
            found.iter().map(line).collect::<Vec<_>>().join("\n")
        },
    )
}
