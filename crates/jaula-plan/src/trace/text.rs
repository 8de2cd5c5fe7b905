//! The file of a trace: TOML, one entry a line, who asked first as a comment.

use super::rules::landlock;
use super::{MAX_BYTES, MAX_ENTRIES, Paths, Run, Trace, TraceError};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::path::{Component, PathBuf};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    #[serde(default)]
    run: Vec<Run>,
    #[serde(default)]
    files: Files,
    #[serde(default)]
    network: Network,
    #[serde(default)]
    accounts: Accounts,
    #[serde(default)]
    protection: Protection,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Files {
    programs: Vec<PathBuf>,
    read: Vec<PathBuf>,
    looked: Vec<PathBuf>,
    listed: Vec<PathBuf>,
    written: Vec<PathBuf>,
    absent: Vec<PathBuf>,
    kernel: Vec<PathBuf>,
    secret: Vec<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Network {
    connect: BTreeSet<String>,
    bind: BTreeSet<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Accounts {
    users: BTreeSet<u32>,
    groups: BTreeSet<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Protection {
    capabilities: BTreeSet<String>,
    calls: BTreeSet<String>,
    /// Written for `--landlock`; made anew from the rest when a trace is read.
    #[serde(rename = "landlock")]
    _landlock: Vec<String>,
}

fn paths(list: Vec<PathBuf>) -> Result<Paths, TraceError> {
    if list.len() > MAX_ENTRIES {
        return Err(TraceError::TooMuch {
            what: "paths in one list",
            most: MAX_ENTRIES,
        });
    }
    list.into_iter()
        .map(|path| {
            let plain = path
                .components()
                .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
            match plain && path.is_absolute() && !path.as_os_str().as_encoded_bytes().contains(&0) {
                true => Ok((path, String::new())),
                false => Err(TraceError::Path(path)),
            }
        })
        .collect()
}

impl Trace {
    /// Reads the text of a trace.
    ///
    /// # Errors
    /// When it is none; keys that do not exist are refused.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        if text.len() > MAX_BYTES {
            return Err(TraceError::TooMuch {
                what: "bytes",
                most: MAX_BYTES,
            });
        }
        let form: Form = toml::from_str(text)
            .map_err(|error| TraceError::Form(error.to_string().trim().to_owned()))?;
        if form.version != 1 {
            return Err(TraceError::Version(form.version));
        }
        Ok(Self {
            runs: form.run.into_iter().collect(),
            programs: paths(form.files.programs)?,
            read: paths(form.files.read)?,
            looked: paths(form.files.looked)?,
            listed: paths(form.files.listed)?,
            written: paths(form.files.written)?,
            absent: paths(form.files.absent)?,
            kernel: paths(form.files.kernel)?,
            secret: paths(form.files.secret)?,
            connects: form.network.connect,
            binds: form.network.bind,
            users: form.accounts.users,
            groups: form.accounts.groups,
            capabilities: form.protection.capabilities,
            calls: form.protection.calls,
            ..Self::default()
        })
    }
}

/// A string as TOML has it; none of what is no text.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                out.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn list<'a>(
    f: &mut impl Write,
    name: &str,
    about: &str,
    entries: impl Iterator<Item = (&'a str, &'a str)>,
) -> fmt::Result {
    if !about.is_empty() {
        writeln!(f, "# {about}")?;
    }
    let entries: Vec<_> = entries.collect();
    if entries.is_empty() {
        return writeln!(f, "{name} = []");
    }
    writeln!(f, "{name} = [")?;
    for (entry, note) in entries {
        let note: String = note.chars().filter(|c| !c.is_control()).collect();
        match note.is_empty() {
            true => writeln!(f, "  {},", quoted(entry))?,
            false => writeln!(f, "  {}, # {note}", quoted(entry))?,
        }
    }
    writeln!(f, "]")
}

fn numbers(f: &mut impl Write, name: &str, list: &BTreeSet<u32>) -> fmt::Result {
    let list: Vec<String> = list.iter().map(u32::to_string).collect();
    writeln!(f, "{name} = [{}]", list.join(", "))
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "# What a program was seen to use (jaula trace). It may be edited: jaula new NAME --from-trace FILE makes a\n\
             # jail of what stands here. Behind a path: the program that used it first.\nversion = 1\n",
        )?;
        for run in &self.runs {
            let words: Vec<String> = run.command.iter().map(|word| quoted(word)).collect();
            let directory = run.directory.to_string_lossy();
            writeln!(
                f,
                "\n[[run]]\ncommand = [{}]\ndirectory = {}",
                words.join(", "),
                quoted(&directory)
            )?;
        }
        let all: [(&str, &Paths, &str); 8] = [
            (
                "programs",
                &self.programs,
                "executed; their loaders and libraries come along",
            ),
            ("read", &self.read, "read: copied from the host"),
            (
                "looked",
                &self.looked,
                "only looked at, and there: copied too",
            ),
            (
                "listed",
                &self.listed,
                "directories that were opened: made, without what is in them",
            ),
            (
                "written",
                &self.written,
                "written, made or removed: the directories they are in are made; a temporary place stands for all in it",
            ),
            (
                "absent",
                &self.absent,
                "asked for and not there; nothing is made of these",
            ),
            (
                "kernel",
                &self.kernel,
                "of the kernel; each jail has its own, PID stands for any process",
            ),
            (
                "secret",
                &self.secret,
                "secrets of the host: left out, unless moved to read",
            ),
        ];
        writeln!(f, "\n[files]")?;
        let mut strange = 0usize;
        for (name, paths, about) in all {
            // TOML is text.
            strange =
                strange.saturating_add(paths.keys().filter(|path| path.to_str().is_none()).count());
            let entries = paths
                .iter()
                .filter_map(|(path, by)| Some((path.to_str()?, by.as_str())));
            list(f, name, about, entries)?;
        }
        if strange > 0 {
            writeln!(f, "# {strange} paths that are no text are left out")?;
        }
        let words = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
        writeln!(f, "\n[network]")?;
        for (name, set) in [("connect", &self.connects), ("bind", &self.binds)] {
            list(
                f,
                name,
                "",
                words(set).iter().map(|word| (word.as_str(), "")),
            )?;
        }
        writeln!(f, "\n[accounts]")?;
        numbers(f, "users", &self.users)?;
        numbers(f, "groups", &self.groups)?;
        writeln!(f, "\n[protection]")?;
        let none = "";
        let capabilities = words(&self.capabilities);
        list(
            f,
            "capabilities",
            "as far as they can be seen",
            capabilities.iter().map(|word| (word.as_str(), none)),
        )?;
        let calls = words(&self.calls);
        let about = "system calls besides those that every program makes: run --seccomp FILE takes this file as a profile";
        list(
            f,
            "calls",
            about,
            calls.iter().map(|word| (word.as_str(), none)),
        )?;
        let rules = landlock(self);
        list(
            f,
            "landlock",
            "as --landlock takes them",
            rules.iter().map(|word| (word.as_str(), none)),
        )
    }
}
