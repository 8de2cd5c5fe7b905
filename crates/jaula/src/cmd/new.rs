//! `jaula new`: a named jail.

use crate::args::{files, low, options, settings, sources};
use crate::cmd::image::meant;
use crate::cmd::run::{missing, only_for_distros};
use crate::cmd::trace::jailed;
use crate::cmd::{Context, failed, session_for, session_for_files};
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use jaula_engine::minimal::Wanted;
use jaula_engine::view::reference_text;
use jaula_engine::{Dry, Engine, EngineError, ImageOptions, NewPlan, NewSpec};
use jaula_plan::names::JailName;
use jaula_plan::spec::rootfs::Reference;
use serde_json::json;
use std::ffi::{OsStr, OsString};

/// What a jail starts from when nothing is said.
const DEFAULT_FROM: &str = "debian";

/// Its operands and options.
pub fn command(command: Command) -> Command {
    let command = command
        .about("Make a named jail whose changes last")
        .long_about(
            "Make a named jail: an image, a writable layer that lasts, and settings. An image that the store does \
             not have yet is made first.",
        )
        .after_help(
            "Examples:\n  jaula new web --from debian:bookworm --include nginx-light\n  jaula sh web\n  \
             jaula new c --empty --with-files /bin/bash,/bin/ls\n  \
             jaula new shell --with basicshell,editors\n  jaula new g --with git,/usr/bin/python3",
        )
        .arg(Arg::new("name").value_name("NAME").required(true).help("The jail's name, also its host name"))
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("REF")
                .value_parser(value_parser!(OsString))
                .value_hint(ValueHint::AnyPath)
                .help("What it starts from [default: debian]"),
        );
    let command = jailed::options(files::options(command, "from"));
    options::image(options::settings(options::preview(command)))
}

/// On files of the host.
fn on_files(matches: &ArgMatches, context: &Context, name: JailName, wanted: &Wanted) -> Done {
    let attempt = format!("cannot make jail {name} from files of this host");
    let explained = |error: EngineError| failed(attempt.clone(), error);
    let shown = low::Shown::read(matches);
    let spec = NewSpec {
        name,
        image: ImageOptions::default(),
        settings: low::settings(matches)?,
        from: Reference::Directory("/".into()),
    };
    let engine = context.engine(session_for_files(shown), true)?;
    let plan = engine.plan_wanted(wanted).map_err(explained)?;
    let plan = engine.plan_new_minimal(&spec, plan).map_err(explained)?;
    finish(shown, context, &engine, &plan, &explained)
}

fn finish(
    shown: low::Shown,
    context: &Context,
    engine: &Engine,
    plan: &NewPlan,
    explained: &dyn Fn(EngineError) -> CommandError,
) -> Done {
    if shown != low::Shown::Done {
        return context.show(shown, plan);
    }
    let jail = engine
        .new_jail(plan, &context.progress)
        .map_err(explained)?;
    context.progress.clear();
    context
        .out
        .did("jail", || json!({ "jail": jail }), || jail.name.to_string())
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context) -> Done {
    let name: JailName = low::parse(
        "the name of a jail",
        low::text(matches, "name").unwrap_or_default(),
    )?;
    if let Some(wanted) = files::read(matches, &context.around)? {
        return on_files(matches, context, name, &wanted);
    }
    if let Some(seen) = jailed::seen(matches, context)? {
        if !seen.again {
            return on_files(matches, context, name, &seen.wanted);
        }
        // Who makes the jail is root of a user namespace afterwards, and who starts one must not be.
        let mut make = || {
            let made = on_files(matches, context, name.clone(), &seen.wanted);
            made.unwrap_or_else(|error| context.out.error(&error))
        };
        let made = jaula_engine::trace::apart(&mut make);
        let made = made.map_err(|error| failed(format!("cannot make jail {name}"), error))?;
        if made != 0 {
            return Ok(made);
        }
        let whole = jailed::tried(matches, context, &name, &seen)?;
        return Ok(u8::from(!whole));
    }
    let typed = matches.get_one::<OsString>("from");
    let from = typed.map_or(OsStr::new(DEFAULT_FROM), OsString::as_os_str);
    let from = sources::reference(matches, context.reference(from)?, typed.is_some())?;
    only_for_distros(matches, Some(&from))?;
    let mut spec = NewSpec {
        name,
        image: settings::image(matches, &context.around)?,
        settings: low::settings(matches)?,
        from,
    };
    let shown = low::Shown::read(matches);
    let dry = if shown == low::Shown::Done {
        Dry::MayCache
    } else {
        Dry::ReadOnly
    };
    let attempt = format!(
        "cannot make jail {} from {}",
        spec.name,
        reference_text(&spec.from)
    );
    let typed = spec.from.clone();
    let explained = |error: EngineError| missing(failed(attempt.clone(), error), Some(&typed));

    let session = session_for(Some(&spec.from));
    let engine = context.engine(session, matches.get_flag("offline"))?;
    if let tag @ Reference::Tag(_) = &spec.from {
        spec.from = meant(&engine, tag.clone(), context)?;
    }
    let plan = engine
        .plan_new(&spec, &context.progress, dry)
        .map_err(explained)?;
    finish(shown, context, &engine, &plan, &explained)
}
