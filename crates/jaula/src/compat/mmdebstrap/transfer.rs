//! What hooks call `mmdebstrap` itself for: `--hook-helper` moves files into the tree and out of it, and
//! `--hook-listener` is who it speaks to. There, the first is inside of a namespace and asks the second for what is outside;
//! here a hook sees both, so that the helper does everything and the listener only waits for the end.

use super::hooks;
use crate::compat::making;
use crate::output::write_stderr;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Length and word of a message, before what it carries.
const HEAD: usize = 7;
/// The word that ends a conversation.
const END: &[u8] = b"\0\0adios";

/// The exit code when the words are of one of them.
pub fn run(words: &[OsString]) -> Option<ExitCode> {
    let words: Vec<String> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let (first, rest) = words.split_first()?;
    let done = match (first.as_str(), rest) {
        ("--hook-helper", [root, _mode, hook, _env, _verbosity, command, arguments @ ..]) => {
            help(root, hook, command, arguments)
                .map_err(|error| format!("hookhelper failed: {error}"))
        }
        ("--hook-listener", [_verbosity]) => listen(&mut std::io::stdin().lock()),
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            write_stderr(&format!("E: {}\n", crate::output::clean(&error)));
            ExitCode::from(super::FAILURE)
        }
    })
}

fn help(root: &str, hook: &str, command: &str, arguments: &[String]) -> Result<(), String> {
    if !["setup", "extract", "essential", "customize"].contains(&hook) {
        return Err(format!("unknown hook: {hook}"));
    }
    if !hooks::SPECIAL.contains(&command) {
        return Err(format!("unknown command: {command}"));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let epoch = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| now.map_or(0, |now| now.as_secs()));
    for action in hooks::transfers(command, arguments)? {
        jaula_engine::image::transfer(Path::new(root), &action, epoch)
            .map_err(|error| making::line(&error))?;
    }
    Ok(())
}

/// Waits for the word that ends it: nobody here asks for anything.
fn listen(from: &mut impl Read) -> Result<(), String> {
    let mut message = [0; HEAD];
    from.read_exact(&mut message)
        .map_err(|_| "received eof on socket".to_owned())?;
    match message.as_slice() == END {
        true => Ok(()),
        false => Err("unknown message: the other side is no jaula".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_waits_for_the_end_and_obeys_nobody() {
        assert_eq!(listen(&mut &b"\0\0adios"[..]), Ok(()));
        assert!(listen(&mut &b"\0\x04openr/x/y"[..]).is_err());
        assert!(listen(&mut &b"\0\0adi"[..]).is_err());
    }

    #[test]
    fn the_helper_knows_its_commands() {
        let words = |text: &str| -> Vec<OsString> { text.split(' ').map(Into::into).collect() };
        assert!(run(&words("--hook-helper /x root setup")).is_none());
        assert!(run(&words("sid /x")).is_none());
        assert!(help("/x", "setup", "rm", &[]).is_err());
        assert!(help("/x", "later", "upload", &[]).is_err());
        assert!(help("/x", "setup", "upload", &["a".into()]).is_err());
    }
}
