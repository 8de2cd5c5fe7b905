//! `jaula build FILE.toml`: the image of a recipe, its outputs and its lock.

use crate::args::{low, output};
use crate::cmd::{Context, failed, session_for};
use crate::error::CommandError;
use crate::output::Done;
use clap::{Arg, ArgAction, ArgMatches, Command};
use jaula_engine::recipe::{Loaded, Locking, load, write_lock};
use jaula_engine::{Dry, Engine, EngineError, ExportTarget};
use jaula_plan::names::Tag;
use jaula_plan::spec::recipe::schema::json_schema;
use jaula_plan::spec::rootfs::Reference;
use serde_json::json;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The options of a build that are about recipes.
pub fn options(command: Command) -> Command {
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    command.next_help_heading("Recipe options").args([
        switch(
            "locked",
            "Exactly by the lock beside FILE.toml, or not at all",
        )
        .conflicts_with("update-lock"),
        switch("update-lock", "Choose packages anew, and write the lock"),
        switch("schema", "Print the JSON Schema of recipes").exclusive(true),
    ])
}

/// Prints the schema.
pub fn schema() -> Done {
    crate::output::write_stdout(&format!("{:#}\n", json_schema()))
}

/// The recipe that a REF names: it ends in `.toml`.
pub fn named(word: &OsStr) -> Option<PathBuf> {
    let path = Path::new(word);
    path.extension()
        .is_some_and(|ending| ending == "toml")
        .then(|| path.to_owned())
}

/// What is asked about the lock.
pub fn locking(matches: &ArgMatches) -> Locking {
    match (matches.get_flag("locked"), matches.get_flag("update-lock")) {
        (true, _) => Locking::Locked,
        (_, true) => Locking::Update,
        _ => Locking::Usual,
    }
}

/// Reads the recipe, with its paths absolute.
///
/// # Errors
/// What is wrong with it, and where.
pub fn read(context: &Context, path: &Path, attempt: &str) -> Result<Loaded, CommandError> {
    let path = context.around.absolute(path)?;
    load(&path).map_err(|error| failed(attempt, EngineError::from(error)))
}

/// Does it.
pub fn run(matches: &ArgMatches, context: &Context, path: &Path) -> Done {
    let shown_path = jaula_plan::explain::shown(path);
    let attempt = format!("cannot build {shown_path}");
    let typed = low::typed_image_options(matches);
    if let Some(option) = typed.first() {
        return Err(CommandError::usage(attempt).hint(format!(
            "--{option} belongs into the recipe, which says everything of its image"
        )));
    }
    let loaded = read(context, path, &attempt)?;
    let tag = low::text(matches, "tag")
        .map(|tag| low::parse::<Tag>("--tag", tag))
        .transpose()?;
    let mut outputs: Vec<(PathBuf, ExportTarget)> = Vec::new();
    for wished in &loaded.recipe.outputs {
        let made = output::target(&wished.path, wished.format.as_deref());
        let target =
            made.map_err(|error| error.hint(format!("it is asked for at {}", wished.place)))?;
        outputs.extend(target.map(|target| (wished.path.clone(), target)));
    }
    let mut further = output::read(matches, &context.around)?;
    if let Some(target) = further.as_ref().and_then(output::Output::alone) {
        outputs.push((target.path().to_owned(), target.clone()));
        further = None;
    }
    let shown = low::Shown::read(matches);
    let dry = match shown {
        low::Shown::Done => Dry::MayCache,
        _ => Dry::ReadOnly,
    };
    let explained = |error: EngineError| failed(attempt.clone(), error);
    let session = session_for(Some(&reference(&loaded)));
    let engine = context.engine(session, matches.get_flag("offline"))?;
    let plan = engine
        .plan_recipe(&loaded, locking(matches), &context.progress, dry)
        .map_err(explained)?;
    if shown != low::Shown::Done {
        return context.show(shown, &plan);
    }
    let image = engine
        .image(&plan.image, &context.progress)
        .map_err(explained)?;
    // Only what could be built is worth locking.
    let written = write_lock(&plan.lock_path, &plan.lock)
        .map_err(|error| explained(EngineError::from(error)))?;
    for tag in loaded.recipe.tags.iter().chain(&tag) {
        engine.tag(image.digest(), tag).map_err(explained)?;
    }
    let mut made = Vec::new();
    for (path, target) in &outputs {
        let fresh = write(&engine, context, image.digest(), path, target).map_err(explained)?;
        made.push(json!({ "path": jaula_plan::explain::shown(path), "written": fresh }));
    }
    if let Some(further) = &further {
        further
            .write(&engine, image.digest(), context)
            .map_err(explained)?;
        if further.takes_stdout() {
            return Ok(0);
        }
    }
    context.progress.clear();
    let first = outputs
        .first()
        .map(|(path, _)| jaula_plan::explain::shown(path));
    context.out.did(
        "built",
        || {
            json!({
                "digest": image.digest(), "outputs": made, "tags": loaded.recipe.tags,
                "lock": { "path": jaula_plan::explain::shown(&plan.lock_path), "written": written },
            })
        },
        || first.unwrap_or_else(|| format!("sha256:{}", image.digest())),
    )
}

/// The distribution, as a REF would name it.
pub fn reference(loaded: &Loaded) -> Reference {
    Reference::Distro {
        distro: loaded.recipe.spec.distro.clone(),
        suite: loaded.recipe.spec.suite.clone(),
    }
}

/// Writes an output, unless it is what was written of this image before. Tells whether it did.
fn write(
    engine: &Engine,
    context: &Context,
    digest: &jaula_plan::names::Digest,
    path: &Path,
    target: &ExportTarget,
) -> Result<bool, EngineError> {
    if engine.is_written(digest, path, target) {
        return Ok(false);
    }
    let plan = engine.plan_export(digest, target)?;
    engine.export(&plan, &context.progress)?;
    engine.note_written(digest, path, target)?;
    Ok(true)
}
