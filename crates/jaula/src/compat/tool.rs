//! How the old tools speak: their own name before every message, the C library's text of an error after it.

use super::getopt::Complaint;
use crate::output;
use std::ffi::OsStr;
use std::fmt::Display;
use std::process::ExitCode;

/// Who speaks.
#[derive(Debug)]
pub struct Tool {
    /// The tool's name as it was called, with its path: what getopt says and the programs of coreutils say.
    pub called: String,
    /// Its last part: what the programs of util-linux say.
    pub name: String,
    /// The exit code of its own errors.
    pub failure: u8,
}

/// An end that is not the program's: said already.
pub type Stopped = ExitCode;

impl Tool {
    /// The tool of this name, called by a link of that name or through `jaula compat`.
    pub fn new(name: &'static str, failure: u8) -> Self {
        Self {
            called: super::util_linux::called_as(name),
            name: name.to_owned(),
            failure,
        }
    }

    /// Its own failure, with the kernel's reason unless that is 0.
    pub fn fail(&self, text: impl Display, errno: i32) -> Stopped {
        self.end(self.failure, text, errno)
    }

    /// The same with another exit code.
    pub fn end(&self, code: u8, text: impl Display, errno: i32) -> Stopped {
        say(&self.name, &text.to_string(), errno);
        ExitCode::from(code)
    }

    /// Words that make no sense, and where to read which do.
    pub fn complain(&self, complaint: &Complaint) -> Stopped {
        say(&self.called, &complaint.to_string(), 0);
        self.try_help(&self.name)
    }

    /// Where to read what can be asked.
    pub fn try_help(&self, name: impl Display) -> Stopped {
        output::write_stderr(&format!("Try '{name} --help' for more information.\n"));
        ExitCode::from(self.failure)
    }

    /// The program could not be executed (execvp(3); 127 when it is not there).
    pub fn not_executed(&self, name: &OsStr, errno: i32) -> Stopped {
        let code = if errno == ENOENT { 127 } else { 126 };
        self.end(
            code,
            format_args!("failed to execute {}", name.display()),
            errno,
        )
    }

    /// A number that is no number, or too large: `what: 'text'`.
    pub fn no_number(&self, what: &str, text: &OsStr) -> Stopped {
        let bytes = text.as_encoded_bytes();
        let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
        let number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let errno = if number { ERANGE } else { 0 };
        self.fail(format_args!("{what}: '{}'", text.display()), errno)
    }

    /// An identifier in decimal digits.
    ///
    /// # Errors
    /// As [`Tool::no_number`].
    pub fn id(&self, what: &str, text: &OsStr) -> Result<u32, Stopped> {
        let id = text.to_str().and_then(jaula_plan::direct::map::parse_id);
        id.ok_or_else(|| self.no_number(what, text))
    }
}

/// No such file or directory.
pub const ENOENT: i32 = 2;
/// No such process.
pub const ESRCH: i32 = 3;
/// Numerical result out of range.
pub const ERANGE: i32 = 34;

/// One line to standard error.
pub fn say(name: &str, text: &str, errno: i32) {
    let line = if errno == 0 {
        format!("{name}: {text}\n")
    } else {
        format!("{name}: {text}: {}\n", reason(errno))
    };
    output::write_stderr(&line);
}

/// The C library's text (strerror(3)).
pub fn reason(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// A text that was asked for: help, version.
pub fn show(text: &str) -> ExitCode {
    match output::write_stdout(text) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The version line of the programs of util-linux: the release whose options and messages are spoken. Scripts
/// compare the number.
pub fn util_linux_version(name: &str) -> String {
    let jaula = env!("CARGO_PKG_VERSION");
    format!(
        "{name} from {} (jaula {jaula})\n",
        super::util_linux::RELEASE
    )
}
