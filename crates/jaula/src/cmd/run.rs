//! `jaula run`: a program in a jail that goes with it.

use crate::args::protection::{self, Protection};
use crate::args::{high, isolation, limits, low, options, settings, sources, tree};
use crate::cmd::image::meant;
use crate::cmd::{Context, failed, session_for};
use crate::error::CommandError;
use crate::output::Done;
use clap::{ArgMatches, Command};
use jaula_engine::session::Need;
use jaula_engine::view::reference_text;
use jaula_engine::{Dry, Engine, EngineError, Kind, RunChanges, RunPlan, RunSpec};
use jaula_plan::spec::jail::{
    Changes, IdSpec, JailSpec, MountSpec, Propagation, RootSpec, Terminal, UserSpec,
};
use jaula_plan::spec::rootfs::Reference;
use serde_json::json;
use std::ffi::OsString;
use std::path::PathBuf;

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Run a program in a jail that goes with it")
        .long_about(
            "Run a program, or an interactive shell, in a jail of its own. REF says what its root is; an image that \
             the store does not have yet is made first. Without REF the root is the host's own programs, read-only, \
             in a fresh private tree. What the program changes goes when it ends.",
        )
        .after_help(
            "Examples:\n  \
             jaula run debian:bookworm -- cat /etc/os-release\n  \
             jaula run debian:bookworm --include nginx-light -- nginx -v\n  \
             jaula run -- sh -c 'id -u; hostname'\n\n\
             The exit code is the program's; 125 when jaula fails, 126 when the program cannot be executed, 127 when \
             it is not found, 128 + n when signal n ended it.",
        )
        .arg(options::reference(false))
        .arg(options::program("Program and arguments [default: an interactive shell]"));
    limits::detach(jail_options(options::preview(command)))
}

/// The options that say what the jail is: those of every verb that makes one for a moment.
pub fn jail_options(command: Command) -> Command {
    let command = options::settings(command);
    let command = options::process(command);
    let command = options::mounts(command);
    let command = protection::jail(command);
    options::image(command)
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let shown = low::Shown::read(matches);
    let (engine, plan, attempt) = planned(matches, context, shown)?;
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    if plan.detach().is_some() {
        let entry = engine
            .run_detached(&plan, &context.progress)
            .map_err(|error| attempt.failed(error))?;
        context.progress.clear();
        return context.out.result(
            "detached",
            || json!({ "run": entry }),
            || entry.name.to_string(),
        );
    }
    let outcome = engine
        .run(&plan, context.around.io(), &context.progress)
        .map_err(|error| attempt.failed(error))?;
    Ok(context.outcome(&outcome))
}

/// What was attempted, for the error to say.
pub struct Attempt {
    text: String,
    typed: Option<Reference>,
}

impl Attempt {
    /// The error of the attempt.
    pub fn failed(&self, error: EngineError) -> CommandError {
        missing(failed(self.text.clone(), error), self.typed.as_ref())
    }
}

/// The plan of the jail that the words ask for, and the engine for it.
///
/// # Errors
/// When the words make no sense together, or there can be no such jail.
pub fn planned(
    matches: &ArgMatches,
    context: &Context,
    shown: low::Shown,
) -> Result<(Engine, RunPlan, Attempt), CommandError> {
    let mut spec = spec(matches, context)?;
    spec.detach = limits::detached(matches)?;
    if spec.detach.is_some() {
        spec.jail.terminal = Terminal::Captured;
    }
    let dry = if shown == low::Shown::Done {
        Dry::MayCache
    } else {
        Dry::ReadOnly
    };
    let text = match &spec.reference {
        Some(reference) => format!("cannot run {}", reference_text(reference)),
        None => "cannot run the host's programs in a jail".to_owned(),
    };
    let typed = spec.reference.clone();
    let attempt = Attempt { text, typed };
    let session = match session_for(spec.reference.as_ref()) {
        // The host's programs as somebody else than root need a second identifier.
        None if spec.jail.user != UserSpec::Root => Some(Need::OneUser),
        // So do ranges.
        None if matches!(spec.jail.ids, IdSpec::Map { .. }) => Some(Need::OneUser),
        session => session,
    };
    let engine = context.engine(session, matches.get_flag("offline"))?;
    if let Some(tag @ Reference::Tag(_)) = spec.reference {
        spec.reference = Some(meant(&engine, tag, context)?);
    }
    let plan = engine
        .plan_run(&spec, &context.progress, dry)
        .map_err(|error| attempt.failed(error))?;
    Ok((engine, plan, attempt))
}

fn spec(matches: &ArgMatches, context: &Context) -> Result<RunSpec, CommandError> {
    let reference = matches
        .get_one::<OsString>("ref")
        .map(|text| sources::reference(matches, context.reference(text)?, true))
        .transpose()?;
    let reference = match isolation::root(matches) {
        Some(dir) => Some(Reference::Directory(context.around.absolute(&dir)?)),
        None => reference,
    };
    let image = settings::image(matches, &context.around)?;
    only_for_distros(matches, reference.as_ref())?;
    let kept = low::settings(matches)?;
    let process = low::process(matches)?;
    let image_language = high::image_language(&process);
    let changes = low::changes(matches);
    if changes == RunChanges::Direct && !matches!(reference, Some(Reference::Directory(_))) {
        return Err(CommandError::usage(
            "cannot use --write: only a directory can be written into",
        )
        .hint("jaula new NAME --from REF makes a jail whose changes last"));
    }
    let mut mounts = tree::read(matches)?;
    for path in mounts.iter_mut().flat_map(MountSpec::sources) {
        *path = context.around.absolute(path)?;
    }
    let own_ids = kept.ids != IdSpec::Host;
    let empty = matches.get_flag("empty");
    let mut jail = JailSpec {
        // The engine puts what REF names in this place.
        root: match &reference {
            None if empty => RootSpec::Empty,
            None => RootSpec::HostPrograms,
            Some(_) => RootSpec::Tree {
                dir: PathBuf::from("/"),
                changes: Changes::ReadOnly,
            },
        },
        namespaces: high::namespaces(&kept.net, own_ids),
        ids: kept.ids,
        env: high::environment(&process, reference.is_none()),
        user: process.user,
        own_names: false,
        hostname: kept.hostname,
        net: kept.net,
        mounts,
        propagation: Propagation::Private,
        clocks: None,
        cwd: process.cwd,
        limits: kept.limits,
        terminal: Terminal::Auto,
        command: process.command,
        ..JailSpec::new(RootSpec::HostPrograms, Vec::new())
    };
    Protection::read(matches)?.apply(&mut jail);
    isolation::apply(matches, &mut jail)?;
    Ok(RunSpec {
        detach: None,
        image_language,
        reference,
        image,
        changes,
        jail,
    })
}

/// Options that say how an image is made need a REF that is a distribution.
///
/// # Errors
/// When one was typed with another REF or none.
pub fn only_for_distros(
    matches: &ArgMatches,
    reference: Option<&Reference>,
) -> Result<(), CommandError> {
    if matches!(reference, Some(Reference::Distro { .. })) {
        return Ok(());
    }
    let Some(option) = low::typed_image_options(matches).first().copied() else {
        return Ok(());
    };
    let what = match reference {
        Some(reference) => format!("{} is no distribution", reference_text(reference)),
        None => "there is no REF".to_owned(),
    };
    let error = CommandError::usage(format!("cannot use --{option}: {what}"));
    Err(match reference.and_then(high::meant_distro) {
        Some(meant) => error.hint(format!("did you mean {meant}?")),
        None => error.hint("name a distribution to make the image from, as in debian:bookworm"),
    })
}

/// A tag that the store does not have may be a mistyped distribution.
pub fn missing(mut error: CommandError, reference: Option<&Reference>) -> CommandError {
    let source = error
        .source
        .as_deref()
        .and_then(|source| source.downcast_ref::<EngineError>());
    if source.is_some_and(|source| source.kind() == Kind::NotFound)
        && let Some(hint) = reference.and_then(sources::unknown_hint)
    {
        error.hints.insert(0, hint);
    }
    error
}
