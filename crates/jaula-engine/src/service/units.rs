//! Files of systemd's: written whole, shown as differences, removed only when they are ours.

use crate::error::{At, PathError};
use crate::plan::Preview;
use jaula_plan::explain::{ExplainLine, shown, word};
use jaula_plan::names::JailName;
use jaula_plan::service::{Unit, is_ours, unit_names};
use serde_json::{Value, json};
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// A unit is never longer than this.
const MOST: u64 = 64 << 10;
/// Units in one directory.
const MANY: usize = 100_000;

/// Why units cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum UnitsError {
    /// A file.
    #[error(transparent)]
    Io(#[from] PathError),
    /// Somebody else's.
    #[error("{} was not written by jaula service add", shown(.0))]
    Foreign(PathBuf),
    /// There is none.
    #[error("jail {0} has no service")]
    None(JailName),
}

/// One file's change.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// The file.
    pub path: PathBuf,
    /// What is there.
    pub before: Option<String>,
    /// What will be.
    pub after: Option<String>,
}

/// Changes of units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitPlan {
    title: String,
    /// The changes.
    pub changes: Vec<Change>,
}

fn read(path: &Path) -> Result<Option<String>, UnitsError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Err::<(), _>(error)
            .at("read", path)
            .expect_err("it failed")
            .into()),
    }
}

impl UnitPlan {
    /// What writing these units takes.
    ///
    /// # Errors
    /// When a file is there that is not ours.
    pub fn add(jail: &JailName, dir: &Path, units: &[Unit]) -> Result<Self, UnitsError> {
        let mut changes = Vec::new();
        for name in unit_names(jail) {
            let path = dir.join(&name);
            let before = read(&path)?;
            if before.as_deref().is_some_and(|text| !is_ours(text)) {
                return Err(UnitsError::Foreign(path));
            }
            // A socket that the service no longer has goes.
            let after = units
                .iter()
                .find(|unit| unit.name == name)
                .map(|unit| unit.text.clone());
            if before != after {
                changes.push(Change {
                    path,
                    before,
                    after,
                });
            }
        }
        Ok(Self {
            title: format!("service of jail {jail}"),
            changes,
        })
    }

    /// What removing a jail's service takes.
    ///
    /// # Errors
    /// When there is none, or it is not ours.
    pub fn remove(jail: &JailName, dir: &Path) -> Result<Self, UnitsError> {
        let mut plan = Self::add(jail, dir, &[])?;
        if plan.changes.is_empty() {
            return Err(UnitsError::None(jail.clone()));
        }
        plan.title = format!("remove the service of jail {jail}");
        Ok(plan)
    }

    /// Does it: each file whole or not at all; when one fails, those before it are put back.
    ///
    /// # Errors
    /// When a file cannot be changed.
    pub fn apply(&self) -> Result<(), UnitsError> {
        for (index, change) in self.changes.iter().enumerate() {
            if let Err(error) = put(&change.path, change.after.as_deref()) {
                for done in self.changes.iter().take(index).rev() {
                    put(&done.path, done.before.as_deref()).ok();
                }
                return Err(error.into());
            }
        }
        Ok(())
    }
}

fn put(path: &Path, text: Option<&str>) -> Result<(), PathError> {
    let Some(text) = text else {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.at("remove", path),
        };
    };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).at("make", dir)?;
    }
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let aside = path.with_file_name(name);
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).at("remove", &aside);
        }
        _ => {}
    }
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .open(&aside)
        .at("make", &aside)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .at("write", &aside)?;
    std::fs::rename(&aside, path).at("rename", &aside)
}

/// The units of ours in a directory: the jail, and what is started.
///
/// # Errors
/// When the directory cannot be read.
pub fn services(dir: &Path) -> Result<Vec<(JailName, String)>, UnitsError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("list", dir)?,
    };
    let mut found = Vec::new();
    for entry in entries.take(MANY).flatten() {
        let name = entry.file_name();
        let jail = name.to_str().and_then(|name| {
            name.strip_prefix("jaula-")?
                .strip_suffix(".service")?
                .parse()
                .ok()
        });
        let Some(jail) = jail else { continue };
        // One that cannot be read is passed over.
        let Ok(Some(text)) = read(&entry.path()) else {
            continue;
        };
        if is_ours(&text) {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("ExecStart="));
            found.push((jail, line.unwrap_or_default().to_owned()));
        }
    }
    found.sort();
    Ok(found)
}

impl fmt::Display for UnitPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for change in &self.changes {
            let old = change
                .before
                .as_ref()
                .map_or("/dev/null".to_owned(), |_| shown(&change.path));
            let new = change
                .after
                .as_ref()
                .map_or("/dev/null".to_owned(), |_| shown(&change.path));
            writeln!(f, "--- {old}\n+++ {new}")?;
            let lines = |text: &Option<String>| -> Vec<String> {
                text.iter()
                    .flat_map(|text| text.lines().map(str::to_owned))
                    .collect()
            };
            let (before, after) = (lines(&change.before), lines(&change.after));
            let start = |lines: &[String]| usize::from(!lines.is_empty());
            writeln!(
                f,
                "@@ -{},{} +{},{} @@",
                start(&before),
                before.len(),
                start(&after),
                after.len()
            )?;
            let same = |(a, b): &(&String, &String)| a == b;
            let head = before.iter().zip(&after).take_while(same).count();
            let left = before.len().min(after.len()).saturating_sub(head);
            let tail = before
                .iter()
                .rev()
                .zip(after.iter().rev())
                .take(left)
                .take_while(same)
                .count();
            let middle = |lines: &[String]| {
                lines
                    .get(head..lines.len().saturating_sub(tail))
                    .unwrap_or_default()
                    .to_vec()
            };
            for line in before.iter().take(head) {
                writeln!(f, " {line}")?;
            }
            for line in middle(&before) {
                writeln!(f, "-{line}")?;
            }
            for line in middle(&after) {
                writeln!(f, "+{line}")?;
            }
            for line in before.iter().skip(before.len().saturating_sub(tail)) {
                writeln!(f, " {line}")?;
            }
        }
        Ok(())
    }
}

impl Preview for UnitPlan {
    fn to_json(&self) -> Value {
        json!({ "version": 1, "changes": self.changes })
    }

    fn explain(&self) -> Vec<ExplainLine> {
        let mut lines: Vec<ExplainLine> = self
            .changes
            .iter()
            .map(|change| match &change.after {
                Some(text) => ExplainLine::new(
                    format!("printf %s {} > {}", word(text), word(&change.path)),
                    "the unit, written beside and renamed",
                ),
                None => ExplainLine::new(
                    format!("rm {}", word(&change.path)),
                    "a unit that jaula wrote",
                ),
            })
            .collect();
        if !lines.is_empty() {
            lines.push(ExplainLine::new(
                "systemctl daemon-reload",
                "left to you: jaula starts and stops no unit",
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jaula_plan::service::MARK;

    fn unit(text: &str) -> Unit {
        Unit {
            name: "jaula-web.service".into(),
            text: format!("{MARK}\n{text}"),
        }
    }

    #[test]
    fn units_are_written_shown_and_removed_and_others_are_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let jail: JailName = "web".parse().expect("a name");
        let plan = UnitPlan::add(&jail, dir.path(), &[unit("a\nb\n")]).expect("a plan");
        assert!(
            plan.to_string().contains("--- /dev/null\n+++ ")
                && plan.to_string().contains("@@ -0,0 +1,3 @@"),
            "{plan}"
        );
        plan.apply().expect("written");
        assert!(
            UnitPlan::add(&jail, dir.path(), &[unit("a\nb\n")])
                .expect("a plan")
                .changes
                .is_empty()
        );
        let plan = UnitPlan::add(&jail, dir.path(), &[unit("a\nc\n")]).expect("a plan");
        assert!(plan.to_string().ends_with(" a\n-b\n+c\n"), "{plan}");
        assert_eq!(services(dir.path()).expect("a list").len(), 1);
        UnitPlan::remove(&jail, dir.path())
            .expect("a plan")
            .apply()
            .expect("removed");
        assert!(matches!(
            UnitPlan::remove(&jail, dir.path()),
            Err(UnitsError::None(_))
        ));
        assert_eq!(
            std::fs::read_dir(dir.path()).expect("a directory").count(),
            0
        );
        std::fs::write(dir.path().join("jaula-web.service"), "[Unit]\n").expect("a file");
        assert!(matches!(
            UnitPlan::remove(&jail, dir.path()),
            Err(UnitsError::Foreign(_))
        ));
        assert!(matches!(
            UnitPlan::add(&jail, dir.path(), &[unit("a")]),
            Err(UnitsError::Foreign(_))
        ));
    }
}
