//! What a program did not find inside that it had found outside.

use super::Trace;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Missing {
    /// What was asked for.
    pub path: PathBuf,
    /// The program that asked.
    pub by: String,
}

/// How a run inside differs from those outside.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Difference {
    /// Asked for inside, not there, and there outside.
    pub missing: Vec<Missing>,
    /// Calls that the profile of the trace refused inside.
    pub refused: Vec<String>,
    /// Calls made inside only.
    pub calls: Vec<String>,
    /// Addresses connected to or bound inside only.
    pub addresses: Vec<String>,
}

impl Difference {
    /// Whether there is none that matters.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
    }
}

/// Compares; `exists` says whether something is there outside.
pub fn compare(
    outside: &Trace,
    inside: &Trace,
    exists: &mut dyn FnMut(&Path) -> bool,
) -> Difference {
    let mut missing: Vec<Missing> = Vec::new();
    for (path, by) in &inside.absent {
        let made = outside.written.contains_key(path) || outside.absent.contains_key(path);
        if !made && exists(path) {
            missing.push(Missing {
                path: path.clone(),
                by: by.clone(),
            });
        }
    }
    let more = |inside: &BTreeSet<String>, outside: &BTreeSet<String>| -> Vec<String> {
        inside.difference(outside).cloned().collect()
    };
    let mut addresses = more(&inside.connects, &outside.connects);
    addresses.extend(more(&inside.binds, &outside.binds));
    Difference {
        missing,
        refused: Vec::new(),
        calls: more(&inside.calls, &outside.calls),
        addresses,
    }
}
