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
    /// Whether keys are looked for: not with `--skip=check/signed-by`.
    pub signed_by: bool,
    /// `--aptopt` says that `Valid-Until` does not count.
    pub outdated: bool,
}

/// Where packages come from, and what is told of it in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// The sources.
    pub sources: SourceOptions,
    /// The text of the tree's `sources.list`, where all of it was given as lines.
    pub list: Option<String>,
}

/// The sources.
///
/// # Errors
/// One line, in the tool's words where it has some.
pub fn sources(asked: &Asked<'_>, mirrors: &[String], voice: &Voice) -> Result<Mirrors, String> {
    let mut given = Given::default();
    if asked.suite.is_none() {
        standard_input(&mut given, voice)?;
    }
    for mirror in mirrors {
        if mirror == "-" {
            standard_input(&mut given, voice)?;
        } else if mirror.starts_with("deb ") || mirror.starts_with("deb-src ") {
            given.read(mirror, Form::Lines, "the mirror")?;
        } else if mirror.contains("://") {
            let (suite, components) = (asked.suite.unwrap_or_default(), asked.components.join(" "));
            let line = format!("deb {mirror} {suite} {components}");
            given.read(&line, Form::Lines, "the mirror")?;
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
            given.read(&text, form, mirror)?;
        } else if !mirror.is_empty() {
            return Err(format!("invalid mirror: {mirror}"));
        }
    }
    let none_asked = mirrors.is_empty() && asked.suite.is_some();
    // Lines say themselves whose signature counts.
    if asked.signed_by && (none_asked || mirrors.iter().any(|mirror| mirror.starts_with("http"))) {
        voice.info("finding correct signed-by value...");
    }
    let Given {
        mut repositories,
        list,
    } = given;
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
    Ok(Mirrors {
        sources: SourceOptions {
            components: Vec::new(),
            keyrings: asked.keyrings.to_vec(),
            only_repositories: !none_asked,
            repositories,
            ..SourceOptions::default()
        },
        list: list.filter(|_| !none_asked),
    })
}

/// What was read so far.
struct Given {
    repositories: Vec<Repository>,
    /// The lines, as long as there are only lines.
    list: Option<String>,
}

impl Default for Given {
    fn default() -> Self {
        Self {
            repositories: Vec::new(),
            list: Some(String::new()),
        }
    }
}

impl Given {
    /// Reads a text of sources.list(5).
    fn read(&mut self, text: &str, form: Form, name: &str) -> Result<(), String> {
        for entry in entries(text, form, Reading::Request) {
            let entry = entry.map_err(|error| format!("{name}: {error}"))?;
            if entry.binary {
                self.repositories.extend(entry.repositories);
            }
        }
        match (&mut self.list, form) {
            (Some(list), Form::Lines) => list.push_str(&format!("{}\n", text.trim_end())),
            _ => self.list = None,
        }
        Ok(())
    }
}

fn standard_input(given: &mut Given, voice: &Voice) -> Result<(), String> {
    voice.info("reading sources.list from standard input...");
    let text = text(std::io::stdin(), "standard input")?;
    if text.is_empty() {
        voice.warning("sources.list from standard input is empty");
        return Ok(());
    }
    given.read(&text, guess(&text)?, "standard input")
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
