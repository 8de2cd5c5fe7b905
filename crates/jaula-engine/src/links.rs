//! Links through which the program is called by the names of old tools.

use crate::error::{At, PathError};
use crate::plan::StepPlan;
use jaula_plan::explain::shown;
use jaula_plan::step::Step;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// Links that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The kernel says no.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The directory is none.
    #[error("{} is no directory", shown(.dir))]
    NoDirectory {
        /// As given.
        dir: PathBuf,
    },
    /// Something that is no link to the program has the name.
    #[error("{} is there already and {what}", shown(.path))]
    Taken {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: String,
    },
}

impl LinkError {
    /// What the user may do.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NoDirectory { dir } => vec![format!("make it first: mkdir {}", shown(dir))],
            Self::Taken { .. } => vec![
                "use a directory of its own, and put it first in PATH; or remove what is there"
                    .to_owned(),
            ],
            Self::Path(_) => Vec::new(),
        }
    }
}

/// Whether a path leads, through any number of links, to the same file as `program`.
pub fn leads_to(path: &Path, program: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    identity(program).is_some_and(|own| identity(path) == Some(own))
}

/// The links that `dir` lacks: one for each name, to `program`, which is absolute.
///
/// # Errors
/// When there is no such directory, or something else has one of the names.
pub fn plan(dir: &Path, program: &Path, names: &[&str]) -> Result<StepPlan, LinkError> {
    fs::metadata(program).at("look at", program)?;
    match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => {}
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at("look at", dir)?,
        _ => {
            return Err(LinkError::NoDirectory {
                dir: dir.to_owned(),
            });
        }
    }
    let mut steps = Vec::new();
    for name in names {
        let path = dir.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() && leads_to(&path, program) => {}
            Ok(meta) => {
                let what = taken(&path, &meta)?;
                return Err(LinkError::Taken { path, what });
            }
            Err(error) if error.kind() == ErrorKind::NotFound => steps.push(Step::MakeLink {
                path,
                target: program.to_owned(),
            }),
            Err(error) => Err(error).at("look at", &path)?,
        }
    }
    Ok(StepPlan::new(format!("links in {}", shown(dir)), steps))
}

fn taken(path: &Path, meta: &fs::Metadata) -> Result<String, PathError> {
    if !meta.is_symlink() {
        return Ok("is no link".to_owned());
    }
    let target = fs::read_link(path).at("read", path)?;
    Ok(format!("leads to {}", shown(&target)))
}

/// Makes the links of a plan: all of them or none. A name that was taken since the plan was made is not touched.
///
/// # Errors
/// When one cannot be made; those before it are taken back.
pub fn make(plan: &StepPlan) -> Result<(), LinkError> {
    let mut made: Vec<&Path> = Vec::new();
    for step in plan.steps() {
        let Step::MakeLink { path, target } = step else {
            continue;
        };
        // symlink(2) never replaces anything.
        if let Err(error) = symlink(target, path) {
            for path in &made {
                drop(fs::remove_file(path));
            }
            if error.kind() == ErrorKind::AlreadyExists {
                return Err(LinkError::Taken {
                    path: path.clone(),
                    what: "was made a moment ago".to_owned(),
                });
            }
            Err(error).at("make", path)?;
        }
        made.push(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let place = tempfile::tempdir().expect("a place");
        let (program, bin) = (place.path().join("program"), place.path().join("bin"));
        fs::write(&program, "x").expect("a program");
        fs::create_dir(&bin).expect("a directory");
        (place, program, bin)
    }

    #[test]
    fn links_are_made_once() {
        let (_place, program, bin) = place();
        let first = plan(&bin, &program, &["a", "b"]).expect("free names");
        assert_eq!(first.steps().len(), 2);
        make(&first).expect("links");
        assert_eq!(fs::read_link(bin.join("b")).expect("a link"), program);
        assert!(plan(&bin, &program, &["a", "b"]).expect("ours").is_empty());
        let more = plan(&bin, &program, &["b", "c"]).expect("one is missing");
        assert_eq!(more.steps().len(), 1);
    }

    #[test]
    fn what_is_not_ours_is_never_touched() {
        let (_place, program, bin) = place();
        fs::write(bin.join("b"), "theirs").expect("a file");
        let refused = plan(&bin, &program, &["a", "b"]).expect_err("taken");
        assert!(matches!(refused, LinkError::Taken { .. }), "{refused}");
        for target in ["/nowhere", "/bin/sh"] {
            drop(fs::remove_file(bin.join("b")));
            symlink(target, bin.join("b")).expect("a link");
            let refused = plan(&bin, &program, &["a", "b"]).expect_err("taken");
            assert!(refused.to_string().contains(target), "{refused}");
        }
        assert!(!bin.join("a").exists());
        // A copy of the program is a file of its own.
        fs::remove_file(bin.join("b")).expect("gone");
        fs::copy(&program, bin.join("b")).expect("a copy");
        plan(&bin, &program, &["b"]).expect_err("no link");
    }

    #[test]
    fn a_name_taken_after_the_plan_takes_the_others_back() {
        let (_place, program, bin) = place();
        let planned = plan(&bin, &program, &["a", "b"]).expect("free names");
        fs::write(bin.join("b"), "theirs").expect("a file");
        make(&planned).expect_err("taken");
        assert!(fs::symlink_metadata(bin.join("a")).is_err());
        assert_eq!(fs::read(bin.join("b")).expect("theirs"), b"theirs");
    }

    #[test]
    fn a_directory_that_is_not_there_is_said() {
        let (_place, program, bin) = place();
        let refused = plan(&bin.join("x"), &program, &["a"]).expect_err("none");
        assert!(refused.hints()[0].starts_with("make it first"));
        let refused = plan(&program, &program, &["a"]).expect_err("a file");
        assert!(matches!(refused, LinkError::NoDirectory { .. }));
    }
}
