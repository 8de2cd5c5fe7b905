//! The program as a stranger would run it: empty environment, own store, fixed locale.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A place to run the jaula binary from, with nothing of the caller's environment.
#[derive(Debug)]
pub struct Hermetic {
    program: PathBuf,
    dir: TempDir,
    variables: Vec<(String, String)>,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit code; 128 + n when signal n ended it.
    pub code: i32,
    /// Standard output, lossily decoded.
    pub stdout: String,
    /// Standard error, lossily decoded.
    pub stderr: String,
    /// From start to end.
    pub elapsed: Duration,
}

impl Ran {
    /// # Panics
    /// When the exit code is not `code`; shows both outputs.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "exit code\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }
}

/// `Hermetic` for the jaula binary of the running integration test.
#[macro_export]
macro_rules! hermetic {
    () => {
        $crate::Hermetic::of_test(env!("CARGO_BIN_EXE_jaula"))
    };
}

/// The variable that names the program where the one cargo built cannot be reached, as in the run
/// of the tests by an ordinary user.
pub const PROGRAM: &str = "JAULA_TEST_PROGRAM";

impl Hermetic {
    /// [`Hermetic::new`] for the program that [`PROGRAM`] names, else `built`.
    #[must_use]
    pub fn of_test(built: &str) -> Self {
        Hermetic::new(std::env::var_os(PROGRAM).unwrap_or_else(|| built.into()))
    }

    /// A fresh home with an empty store for `program`.
    ///
    /// # Panics
    /// When no temporary directory can be made.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("jaula-test-")
            .tempdir()
            .expect("a temporary directory");
        for part in ["home", "store", "run", "work"] {
            std::fs::create_dir(dir.path().join(part)).expect("a directory in a fresh directory");
        }
        Hermetic {
            program: program.into(),
            dir,
            variables: Vec::new(),
        }
    }

    /// Adds a variable to the environment of every run.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// The directory all of it is in.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The store that every run uses.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// The current directory of every run.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The command, ready to be changed and started.
    #[must_use]
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("HOME", self.dir.path().join("home"))
            .env("XDG_RUNTIME_DIR", self.dir.path().join("run"))
            .env("JAULA_STORE", self.store())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.work())
            .stdin(Stdio::null());
        command
    }

    /// Runs with the arguments to the end.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ran {
        use std::os::unix::process::ExitStatusExt;
        let start = Instant::now();
        let output = self
            .command(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        let code = output
            .status
            .code()
            .or_else(|| output.status.signal().map(|signal| 128 + signal))
            .expect("an ended process has a code or a signal");
        Ran {
            code,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            elapsed: start.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_callers_environment_gets_in() {
        let place = Hermetic::new("/usr/bin/env").with("PLANTED", "yes");
        let ran = place.run::<&str>(&[]).expect(0);
        let mut names: Vec<&str> = ran
            .stdout
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|pair| pair.0)
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "HOME",
                "JAULA_STORE",
                "LC_ALL",
                "PATH",
                "PLANTED",
                "TZ",
                "XDG_RUNTIME_DIR"
            ]
        );
    }

    #[test]
    fn a_signal_becomes_128_plus_n() {
        let ran = Hermetic::new("/bin/sh").run(&["-c", "kill -TERM $$"]);
        assert_eq!(ran.code, 143);
    }
}
