//! Services that many run, as data.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How a service is run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Where it is in a jail.
    pub program: PathBuf,
    /// What is run.
    pub command: Vec<String>,
    /// The signal by which it reads its settings again, without `SIG`.
    pub reload: String,
    /// The signal by which it ends in peace.
    pub stop: String,
    /// Directories that it expects.
    pub dirs: Vec<PathBuf>,
    /// Its log files.
    pub logs: Vec<PathBuf>,
}

impl Known {
    /// The number of a signal of this table (signal(7)).
    pub fn number(name: &str) -> Option<i32> {
        Some(match name {
            "HUP" => 1,
            "INT" => 2,
            "QUIT" => 3,
            "USR1" => 10,
            "USR2" => 12,
            "TERM" => 15,
            "WINCH" => 28,
            _ => return None,
        })
    }
}

const TABLE: &str = include_str!("known.toml");

/// All of them by name.
///
/// # Errors
/// When the table that this program was built with is damaged.
pub fn known() -> Result<BTreeMap<String, Known>, toml::de::Error> {
    toml::from_str(TABLE)
}
