//! Who may sign the archives of a configuration file: keys by the packages that bring them.

use super::settings::Settings;
use super::translate::Keyrings;
use super::{Failed, Voice, own_arch};
use crate::compat::making;
use crate::compat::tool::show;
use jaula_engine::image::apt_facts;
use jaula_engine::{Dry, Engine, EngineError};
use jaula_plan::facts::sources_list::{Form, Reading, entries};
use jaula_plan::names::{Arch, DistroName};
use jaula_plan::spec::rootfs::{ImageOptions, ImageSpec, Variant, Want};
use jaula_plan::spec::source::{Repository, SignedBy, SourceOptions};
use std::path::{Path, PathBuf};

/// The keys of the packages that sections name: those that the host has, else out of the package as the host's own
/// sources sign it. A file is taken as it is.
///
/// # Errors
/// A sentence, and the exit code of a package that cannot be had.
pub fn keyrings(engine: &Engine, settings: &Settings) -> Result<Keyrings, Failed> {
    let mut all = Keyrings::new();
    for section in settings.repositories.values() {
        let name = section.keyring.as_str();
        if name.is_empty() || all.contains_key(name) {
            continue;
        }
        let found = match name.contains('/') {
            true => vec![PathBuf::from(name)],
            false => match in_directory(Path::new("/usr/share/keyrings"), name) {
                found if found.is_empty() => fetched(engine, name)?,
                found => found,
            },
        };
        all.insert(name.to_owned(), found);
    }
    Ok(all)
}

/// Keyrings that belong to a package by their names: `NAME.gpg`, `NAME.pgp`, `NAME.asc`; not those of removed keys.
fn in_directory(dir: &Path, package: &str) -> Vec<PathBuf> {
    ["gpg", "pgp", "asc"]
        .iter()
        .map(|end| dir.join(format!("{package}.{end}")))
        .filter(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_file()) || path.is_file())
        .collect()
}

/// Where the host's APT would look for a package; nothing when it has no sources.
fn sources_of_host(arch: Arch) -> Vec<Repository> {
    let facts = apt_facts(arch.clone(), vec![arch]);
    let mut found = Vec::new();
    for file in &facts.sources {
        let entries = entries(&file.text, Form::of(&file.path), Reading::Host);
        for entry in entries.into_iter().flatten().filter(|entry| entry.binary) {
            found.extend(entry.repositories);
        }
    }
    for repository in &mut found {
        if repository.signed_by == SignedBy::Default && !facts.trusted.is_empty() {
            repository.signed_by = SignedBy::Files(facts.trusted.clone());
        }
    }
    found
}

/// Fetches a package of keys from where the host's APT would, and unpacks it.
fn fetched(engine: &Engine, package: &str) -> Result<Vec<PathBuf>, Failed> {
    let why = |text: String| {
        (
            100,
            format!("Unable to download keyring package: '{package}': {text}"),
        )
    };
    let failed = |error: EngineError| why(making::lines(&error).join("\n"));
    let _said = show(&format!("I: Downloading {package}\n"));
    let name = package
        .parse()
        .map_err(|_| why("this is no package's name".into()))?;
    let distro: DistroName = "debian"
        .parse()
        .map_err(|_| why("no distribution".into()))?;
    let own: Arch = own_arch()
        .parse()
        .map_err(|_| why("no architecture".into()))?;
    let repositories = sources_of_host(own.clone());
    let spec = ImageSpec {
        distro,
        suite: None,
        options: ImageOptions {
            variant: Variant::Custom,
            include: vec![Want::any(name)],
            unpack_only: true,
            arch: Some(own),
            sources: SourceOptions {
                only_repositories: !repositories.is_empty(),
                repositories,
                ..SourceOptions::default()
            },
            ..ImageOptions::default()
        },
    };
    let plan = engine
        .plan_image(&spec, &Voice, Dry::MayCache)
        .map_err(failed)?;
    let image = engine.image(&plan, &Voice).map_err(failed)?;
    let mut dir = image.root().to_path_buf();
    for part in ["usr", "share", "keyrings"] {
        dir.push(part);
        // A link in a tree leads anywhere, and what is found there would be trusted.
        if dir.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
            return Err(why(format!("its {part} is a link")));
        }
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        // Links in a tree lead anywhere.
        let plain = entry.file_type().is_ok_and(|kind| kind.is_file());
        let keys = ["gpg", "pgp", "asc"]
            .iter()
            .any(|end| path.extension().is_some_and(|e| e == *end));
        if plain && keys && !name.contains("removed") {
            found.push(path);
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(why("it has no keys in /usr/share/keyrings".into())),
        false => Ok(found),
    }
}
