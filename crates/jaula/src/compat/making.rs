//! What the bootstrappers' names have in common: the engine opened as jaula's own verbs open it, and errors as lines.

use crate::args::high::Surroundings;
use crate::args::low::Global;
use jaula_engine::session::{Caller, Need, SessionError, enter_kept, root_needs_one};
use jaula_engine::{Engine, EngineError};
use std::error::Error;

/// Why there is no engine.
#[derive(Debug)]
pub enum NotOpened {
    /// An ordinary user without subordinate identifiers: the tool's own "only root".
    OnlyRoot(SessionError),
    /// Something else, in one line.
    Failed(String),
}

/// Opens the store of the caller; an ordinary user goes on as root of his own identifiers, of which there are as many as
/// `need` says.
///
/// # Errors
/// [`NotOpened`].
pub fn open(need: Need) -> Result<Engine, NotOpened> {
    let around = Surroundings::read();
    let root = is_root();
    let config = around
        .config(&Global::default(), root, false)
        .map_err(|error| NotOpened::Failed(line(&error)))?;
    if !root || root_needs_one() {
        enter_kept(&Caller::current(), need, &config.store).map_err(|error| match error {
            SessionError::NoRange { .. } => NotOpened::OnlyRoot(error),
            other => NotOpened::Failed(line(&other)),
        })?;
    }
    Engine::open(config).map_err(|error| NotOpened::Failed(line(&error)))
}

/// Whether the caller is root, of the host or of the namespace that he is in.
pub fn is_root() -> bool {
    jaula_engine::probe::caller().uid == 0
}

/// An error and its causes in one line, each said once.
pub fn line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    // A chain longer than this would be a loop in somebody's `source()`.
    for _ in 0..32 {
        let Some(cause) = next else { break };
        let more = cause.to_string();
        if !more.trim().is_empty() && !text.contains(more.trim()) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text.replace('\n', " ")
}

/// An engine's error with its hints: one line each.
pub fn lines(error: &EngineError) -> Vec<String> {
    let mut lines = vec![line(error)];
    lines.extend(error.hints());
    lines
}

/// What the kernel said, without its number.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}
