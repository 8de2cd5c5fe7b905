//! What jk_init and jk_cp have in common: a jail's directory, judged and filled, told in jailkit's words.

use super::making;
use crate::output::{clean, write_stderr, write_stdout};
use jaula_engine::minimal::{Told, TreePlan, TreeSpec, unsafe_parts};
use jaula_engine::session::Need;
use jaula_engine::{Engine, EngineError};
use jaula_plan::explain::shown;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

/// Text kept before it is written: one write for many lines.
const PIECE: usize = 32 << 10;

/// Why a tool ends: its exit code and what it says before.
pub type End = (u8, String);

/// One error line, as jailkit's, and the exit code.
pub fn error(code: u8, text: impl std::fmt::Display) -> End {
    (code, format!("ERROR: {}\n", clean(&text.to_string())))
}

/// Ends the tool.
pub fn ended(result: Result<(), End>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, text)) => {
            write_stderr(&text);
            ExitCode::from(code)
        }
    }
}

/// An absolute path without `.`, `..` and double slashes, as os.path.abspath(3) of Python makes it.
pub fn absolute(word: &OsStr) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let mut path = PathBuf::from("/");
    for part in here.join(word).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            _ => {}
        }
    }
    path
}

/// Every reason why the jail's directory is not safe, a line each.
///
/// # Errors
/// With them, or when it cannot be looked at.
pub fn safe(jail: &Path, code: u8) -> Result<(), End> {
    let reasons = unsafe_parts(jail).map_err(|failed| error(code, making::line(&failed)))?;
    if reasons.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for reason in reasons {
        text.push_str(&format!("ERROR: {reason}\n"));
    }
    text.push_str(&format!(
        "ERROR: jail directory {} is not safe\n",
        shown(jail)
    ));
    Err((code, text))
}

/// The engine.
///
/// # Errors
/// When the store cannot be opened.
pub fn engine(code: u8) -> Result<Engine, End> {
    making::open(Need::OneUser).map_err(|failed| match failed {
        making::NotOpened::OnlyRoot(failed) => error(code, making::line(&failed)),
        making::NotOpened::Failed(text) => error(code, text),
    })
}

/// Plans and fills.
///
/// # Errors
/// With what stands against it.
pub fn fill(engine: &Engine, spec: &TreeSpec, verbose: bool, code: u8) -> Result<(), End> {
    let failed = |failed: EngineError| {
        let mut text = String::new();
        for line in making::lines(&failed) {
            text.push_str(&format!("ERROR: {}\n", clean(&line)));
        }
        (code, text)
    };
    let plan = engine.plan_fill(spec).map_err(failed)?;
    let mut voice = Voice {
        jail: spec.dir.as_os_str().as_bytes().to_vec(),
        verbose,
        text: Vec::new(),
    };
    voice.notes(&plan);
    let done = engine.fill(&plan, &mut |told| voice.tell(told));
    voice.flush();
    done.map(drop).map_err(failed)
}

/// Speaks as jailkit does.
struct Voice {
    jail: Vec<u8>,
    verbose: bool,
    text: Vec<u8>,
}

impl Voice {
    fn notes(&mut self, plan: &TreePlan) {
        for note in plan.notes() {
            let missing =
                note.text.starts_with("is not on") || note.text.starts_with("fits nothing");
            match (missing, self.verbose) {
                (true, false) => {}
                (true, true) => {
                    let path = note.path.as_os_str().as_bytes();
                    self.line(&[b"Source file ", path, b" does not exist"]);
                }
                (false, true) => self.line(&[note.to_string().as_bytes()]),
                // What was left out though it is there is always said.
                (false, false) if note.text.contains("secret") => {
                    self.line(&[note.to_string().as_bytes()]);
                }
                (false, false) => {}
            }
        }
    }

    fn line(&mut self, parts: &[&[u8]]) {
        let whole: Vec<u8> = parts.concat();
        // A name may hold anything.
        match whole.iter().any(u8::is_ascii_control) {
            true => {
                let text = OsString::from_vec(whole).to_string_lossy().into_owned();
                self.text.extend_from_slice(clean(&text).as_bytes());
            }
            false => self.text.extend_from_slice(&whole),
        }
        self.text.push(b'\n');
        if self.text.len() > PIECE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let text = String::from_utf8_lossy(&self.text);
        // Who stops listening does not stop the work.
        drop(write_stdout(&text));
        self.text.clear();
    }

    fn tell(&mut self, told: Told<'_>) {
        let jail = std::mem::take(&mut self.jail);
        let at = |path: &Path| [&jail[..], path.as_os_str().as_bytes()].concat();
        match told {
            Told::Directory(path) if self.verbose => {
                self.line(&[b"Create directory ", &at(path)]);
            }
            Told::Link(path, target) => {
                let target = target.as_os_str().as_bytes();
                self.line(&[b"Creating symlink ", &at(path), b" to ", target]);
            }
            Told::Copied(path) => {
                let from = path.as_os_str().as_bytes();
                self.line(&[b"Copying ", from, b" to ", &at(path)]);
            }
            Told::Linked(path) => {
                let from = path.as_os_str().as_bytes();
                self.line(&[b"Trying to link ", from, b" to ", &at(path)]);
            }
            Told::NotLinked(path) => {
                let from = path.as_os_str().as_bytes();
                self.line(&[
                    b"Linking ",
                    from,
                    b" to ",
                    &at(path),
                    b" failed, will revert to copying",
                ]);
            }
            Told::Exists(path) if self.verbose => {
                self.line(&[&at(path), b" already exists, will not touch it"]);
            }
            Told::Replaced(path) if self.verbose => {
                self.line(&[
                    b"Destination file ",
                    &at(path),
                    b" exists, will delete to force update",
                ]);
            }
            Told::SetId(path) => {
                self.line(&[b"removing setuid and setgid permissions from ", &at(path)]);
            }
            Told::Device(path) => self.line(&[b"Creating device ", &at(path)]),
            Told::NoDevice(path) => self.line(&[b"Failed to create device ", &at(path)]),
            Told::Account(name, path) if self.verbose => {
                let what = account(path);
                self.line(&[b"writing ", what, b" ", name.as_bytes(), b" to ", &at(path)]);
            }
            Told::HasAccount(name, path) if self.verbose => {
                let what = account(path);
                self.line(&[what, b" ", name.as_bytes(), b" exists in ", &at(path)]);
            }
            _ => {}
        }
        self.jail = jail;
    }
}

fn account(path: &Path) -> &'static [u8] {
    match path.ends_with("passwd") {
        true => b"user",
        false => b"group",
    }
}
