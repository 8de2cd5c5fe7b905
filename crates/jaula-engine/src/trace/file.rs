//! The file of a trace, and what watching takes as a plan.

use super::TraceSpec;
use crate::error::{At, PathError};
use crate::plan::Preview;
use jaula_plan::explain::{ExplainLine, shown, word};
use jaula_plan::trace::{MAX_BYTES, Trace, TraceError};
use serde_json::{Value, json};
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A file of a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceFileError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] PathError),
    /// It is none.
    #[error("cannot use {}", shown(.path))]
    Content {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: TraceError,
    },
}

/// Reads a trace.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn read_file(path: &Path) -> Result<Trace, TraceFileError> {
    let mut text = String::new();
    let most = u64::try_from(MAX_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    File::open(path)
        .and_then(|file| file.take(most).read_to_string(&mut text))
        .at("read", path)?;
    Trace::parse(&text).map_err(|source| TraceFileError::Content {
        path: path.to_owned(),
        source,
    })
}

/// Writes a trace, whole or not at all; a file that is there is replaced, anything else is written to as it is.
///
/// # Errors
/// When it cannot be written.
pub fn write_file(path: &Path, trace: &Trace) -> Result<(), PathError> {
    let text = trace.to_string();
    let meta = std::fs::metadata(path);
    if meta.is_ok_and(|meta| !meta.is_file()) {
        let mut file = File::options().write(true).open(path).at("open", path)?;
        return file.write_all(text.as_bytes()).at("write", path);
    }
    // A link goes on to lead to the file.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let chance = jaula_sys::dir::random().at("name", path)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", jaula_repo::hex::encode(&chance)));
    let aside = path.with_file_name(name);
    let mut options = File::options();
    let made = options.write(true).create_new(true).open(&aside);
    made.at("make", &aside)?
        .write_all(text.as_bytes())
        .and_then(|()| std::fs::rename(&aside, path))
        .inspect_err(|_| drop(std::fs::remove_file(&aside)))
        .at("write", path)
}

/// What watching a program takes.
#[derive(Debug, Clone)]
pub struct TracePlan {
    /// The program.
    pub spec: TraceSpec,
    /// Where what is seen goes; none: it is printed.
    pub output: Option<PathBuf>,
    /// Traces that it is added to.
    pub merged: Vec<PathBuf>,
}

impl TracePlan {
    fn command(&self) -> String {
        let words: Vec<String> = self.spec.command.iter().map(word).collect();
        words.join(" ")
    }
}

impl fmt::Display for TracePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "watch {}", self.command())?;
        for path in &self.merged {
            writeln!(f, "  add what is in {}", shown(path))?;
        }
        match &self.output {
            Some(path) => writeln!(f, "  write {}", shown(path)),
            None => writeln!(f, "  print what was seen"),
        }
    }
}

impl Preview for TracePlan {
    fn to_json(&self) -> Value {
        let words: Vec<_> = self
            .spec
            .command
            .iter()
            .map(|w| w.to_string_lossy())
            .collect();
        json!({
            "version": 1, "command": words, "directory": self.spec.directory, "output": self.output,
            "merged": self.merged,
        })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        let to = self
            .output
            .as_ref()
            .map_or_else(|| "/dev/stdout".to_owned(), word);
        vec![ExplainLine::new(
            format!(
                "strace -f -e trace=%file,%network,%creds -o {to} {}",
                self.command()
            ),
            "every call that says something is told, by a filter that asks instead of by ptrace",
        )]
    }
}
