//! A program that runs beside a jail for as long as its supervisor does.

use crate::error::SysError;
use crate::process::{readable, set_nonblocking};
use std::ffi::OsString;
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// CLOSE_RANGE_CLOEXEC (close_range(2)).
const CLOSE_ON_EXEC: u32 = 4;
/// The most of what it said that is kept.
const SAID: usize = 4096;

/// A program that runs; it is killed when this is dropped, and by the kernel when this process is.
#[derive(Debug)]
pub struct Companion {
    child: Child,
    said: PipeReader,
}

/// Why a companion is not there.
#[derive(Debug)]
pub enum Absent {
    /// It could not be started.
    NotStarted(SysError),
    /// It ended, or was not ready in time. What it said.
    NotReady(String),
}

/// What this command starts has no descriptor of this process's but 0, 1 and 2, and is killed when the thread that
/// starts it ends (prctl(2), PR_SET_PDEATHSIG).
pub fn bound(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: system calls that take numbers only, which any process may do between fork(2) and execve(2).
    unsafe {
        command.pre_exec(move || {
            // Whoever started this process may have left some open.
            let (first, last) = (3u32, u32::MAX);
            if libc::syscall(libc::SYS_close_range, first, last, CLOSE_ON_EXEC) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            match u32::try_from(libc::getppid()) == Ok(parent) {
                true => Ok(()),
                false => Err(std::io::ErrorKind::NotFound.into()),
            }
        });
    }
}

impl Companion {
    /// Starts a program in a directory and waits until it is ready: until it writes to its descriptor 0, which is no
    /// input but a pipe.
    /// It has an empty environment, a process group of its own (what is typed does not end it before the jail) and no
    /// descriptor of this process's. What it says after that nobody reads, and it never waits for a reader.
    ///
    /// # Errors
    /// When there is no such program, or it does not become ready within `millis`.
    pub fn start(
        program: &Path,
        arguments: &[OsString],
        directory: &Path,
        millis: i32,
    ) -> Result<Self, Absent> {
        let shown = program.display().to_string();
        let failed = |call, error: std::io::Error| {
            Absent::NotStarted(SysError::io(call, shown.clone(), &error))
        };
        let (ready, tell) = std::io::pipe().map_err(|error| failed("pipe2", error))?;
        let (said, say) = std::io::pipe().map_err(|error| failed("pipe2", error))?;
        set_nonblocking(say.as_fd()).map_err(Absent::NotStarted)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir(directory)
            .stdin(Stdio::from(OwnedFd::from(tell)))
            .stdout(Stdio::null())
            .stderr(Stdio::from(OwnedFd::from(say)))
            .process_group(0);
        bound(&mut command);
        let child = command.spawn().map_err(|error| failed("execve", error))?;
        // It holds the other ends of both pipes, and they are to be nobody's when it ends.
        drop(command);
        let mut this = Self { child, said };
        let told = readable(&[ready.as_fd()], millis) != 0
            && (&ready).read(&mut [0; 16]).is_ok_and(|count| count > 0);
        match told {
            true => Ok(this),
            false => Err(Absent::NotReady(this.last_words())),
        }
    }

    /// Its process identifier.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it; what it had said.
    fn last_words(&mut self) -> String {
        self.end();
        let mut said = vec![0; SAID];
        // A process of its own that it left behind may still hold the pipe.
        let count = match readable(&[self.said.as_fd()], 0) {
            0 => 0,
            _ => self.said.read(&mut said).unwrap_or(0),
        };
        said.truncate(count);
        String::from_utf8_lossy(&said).into_owned()
    }

    fn end(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_companion_gets_nothing_that_its_parent_has_open() {
        let left = std::fs::File::open("/dev/zero").unwrap();
        // SAFETY: takes numbers only; without close-on-exec, as a careless caller leaves it.
        let open = unsafe { libc::dup(left.as_raw_fd()) };
        let words = ["-c", "readlink /proc/self/fd/* >&2; echo end >&2"].map(OsString::from);
        let said = match Companion::start(Path::new("/bin/sh"), &words, Path::new("/"), 5000) {
            Err(Absent::NotReady(said)) => said,
            other => panic!("{other:?}"),
        };
        // SAFETY: takes a number only; it is ours.
        unsafe { libc::close(open) };
        assert!(said.ends_with("end\n"), "{said}");
        assert!(!said.contains("/dev/zero"), "{said}");
    }
}
