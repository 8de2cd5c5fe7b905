//! The program that the process becomes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where programs are looked for when there is no `PATH` (execvp(3)).
pub const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The environment of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Environment {
    /// That of this process, untouched.
    Inherited,
    /// This one, `NAME=value`.
    Given(Vec<OsString>),
    /// That of the target process.
    OfTarget,
}

/// A program, its arguments, its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program as it was asked for.
    pub name: OsString,
    /// Its arguments, the first being the name that it is called by.
    pub args: Vec<OsString>,
    /// Where it is looked for when its name has no slash; with [`Environment::OfTarget`] the target's `PATH` counts.
    pub path: Option<OsString>,
    /// Its environment.
    pub env: Environment,
}

impl Program {
    /// The words of a command line.
    pub fn of_words(words: Vec<OsString>, path: Option<OsString>) -> Option<Self> {
        let name = words.first()?.clone();
        Some(Self {
            name,
            args: words,
            path,
            env: Environment::Inherited,
        })
    }

    /// The user's shell as a login shell, as unshare(1) and nsenter(1) start it when no program is named.
    pub fn login_shell(shell: Option<OsString>) -> Self {
        let shell = shell.unwrap_or_else(|| "/bin/sh".into());
        let mut called = OsString::from("-");
        called.push(last_part(&shell));
        Self {
            args: vec![called],
            path: None,
            env: Environment::Inherited,
            name: shell,
        }
    }

    /// Where it may be, in this order (execvp(3)); a relative one is relative to the working directory.
    pub fn candidates(&self, path: Option<&OsStr>) -> Vec<PathBuf> {
        candidates(&self.name, path)
    }
}

/// As basename(3) of the C library has it: of `/` it is `/`.
fn last_part(path: &OsStr) -> &OsStr {
    Path::new(path).file_name().unwrap_or(path)
}

/// Where a program of this name may be.
pub fn candidates(name: &OsStr, path: Option<&OsStr>) -> Vec<PathBuf> {
    if name.is_empty() {
        return Vec::new();
    }
    if name.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(name)];
    }
    let path = path.map_or(DEFAULT_PATH.as_bytes(), OsStr::as_bytes);
    // An empty part is the working directory.
    path.split(|byte| *byte == b':')
        .map(|dir| match dir {
            [] => PathBuf::from(name),
            dir => Path::new(OsStr::from_bytes(dir)).join(name),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_as_execvp_does() {
        let at = |name: &str, path: Option<&str>| candidates(name.as_ref(), path.map(OsStr::new));
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(at("sh", None), paths(&["/bin/sh", "/usr/bin/sh"]));
        assert_eq!(at("sh", Some("/a::b")), paths(&["/a/sh", "sh", "b/sh"]));
        assert_eq!(at("sh", Some("")), paths(&["sh"]));
        assert_eq!(at("./sh", Some("/a")), paths(&["./sh"]));
        assert_eq!(at("", Some("/a")), paths(&[]));
    }

    #[test]
    fn the_shell_is_a_login_shell() {
        let shell = Program::login_shell(Some("/bin/bash".into()));
        assert_eq!(
            (shell.name, shell.args),
            ("/bin/bash".into(), vec!["-bash".into()])
        );
        assert_eq!(Program::login_shell(None).name, "/bin/sh");
    }
}
