//! mmdebstrap's words about where packages come from.

use super::voice::Voice;
use jaula_plan::facts::sources_list::{Form, Reading, entries};
use jaula_plan::spec::source::{Repository, SignedBy, SourceOptions};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most that is read of a list of sources, in bytes.
const LIMIT: u64 = 1 << 20;

/// What is known before the mirrors are read.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The suite, when there is one.
    pub suite: Option<&'a str>,
    /// `--components`
    pub components: &'a [String],
    /// `--keyring`, files and directories.
    pub keyrings: &'a [PathBuf],
    /// `--aptopt` says that `Valid-Until` does not count.
    pub outdated: bool,
}

/// The sources.
///
/// # Errors
/// One line, in the tool's words where it has some.
pub fn sources(
    asked: &Asked<'_>,
    mirrors: &[String],
    voice: &Voice,
) -> Result<SourceOptions, String> {
    let mut repositories = Vec::new();
    if asked.suite.is_none() {
        repositories.extend(standard_input(voice)?);
    }
    for mirror in mirrors {
        if mirror == "-" {
            repositories.extend(standard_input(voice)?);
        } else if mirror.starts_with("deb ") || mirror.starts_with("deb-src ") {
            repositories.extend(read(mirror, Form::Lines, "the mirror")?);
        } else if mirror.contains("://") {
            repositories.push(Repository {
                uri: mirror.trim_end_matches('/').to_owned(),
                suites: asked.suite.iter().map(ToString::to_string).collect(),
                components: asked.components.to_vec(),
                ..Repository::default()
            });
        } else if Path::new(mirror).is_file() {
            let path = Path::new(mirror);
            let file = std::fs::File::open(path)
                .map_err(|error| format!("cannot open {mirror}: {error}"))?;
            let text = text(file, mirror)?;
            if text.is_empty() {
                voice.warning(&format!("{mirror} is empty"));
                continue;
            }
            let form = match path.extension().and_then(|ending| ending.to_str()) {
                Some("list") => Form::Lines,
                Some("sources") => Form::Stanzas,
                _ => guess(&text)?,
            };
            repositories.extend(read(&text, form, mirror)?);
        } else if !mirror.is_empty() {
            return Err(format!("invalid mirror: {mirror}"));
        }
    }
    let none_asked = mirrors.is_empty() && asked.suite.is_some();
    if repositories.is_empty() && !none_asked {
        voice.warning("empty apt sources.list");
    }
    for repository in &mut repositories {
        if repository.signed_by == SignedBy::Default && !asked.keyrings.is_empty() {
            repository.signed_by = SignedBy::Files(asked.keyrings.to_vec());
        }
        if asked.outdated {
            repository.check_valid_until = false;
        }
    }
    Ok(SourceOptions {
        components: Vec::new(),
        keyrings: asked.keyrings.to_vec(),
        only_repositories: !none_asked,
        repositories,
        ..SourceOptions::default()
    })
}

fn standard_input(voice: &Voice) -> Result<Vec<Repository>, String> {
    voice.info("reading sources.list from standard input...");
    let text = text(std::io::stdin(), "standard input")?;
    if text.is_empty() {
        voice.warning("sources.list from standard input is empty");
        return Ok(Vec::new());
    }
    read(&text, guess(&text)?, "standard input")
}

fn text(from: impl Read, name: &str) -> Result<String, String> {
    let mut text = String::new();
    let read = from.take(LIMIT.saturating_add(1)).read_to_string(&mut text);
    read.map_err(|error| format!("cannot read {name}: {error}"))?;
    if text.len() as u64 > LIMIT {
        return Err(format!("{name} is too long for a list of sources"));
    }
    Ok(text)
}

/// Which form a text has: told by its first line that means anything.
fn guess(text: &str) -> Result<Form, String> {
    for line in text.lines() {
        if line.starts_with("deb ") || line.starts_with("deb-src ") {
            return Ok(Form::Lines);
        }
        let field = line.split(':').next().unwrap_or_default();
        if line.contains(':') && !field.is_empty() && !field.contains(['#', ' ', '\t']) {
            return Ok(Form::Stanzas);
        }
    }
    Err("cannot determine sources.list format".to_owned())
}

fn read(text: &str, form: Form, name: &str) -> Result<Vec<Repository>, String> {
    let mut repositories = Vec::new();
    for entry in entries(text, form, Reading::Request) {
        let entry = entry.map_err(|error| format!("{name}: {error}"))?;
        repositories.extend(entry.repositories.into_iter().filter(|_| entry.binary));
    }
    Ok(repositories)
}
