//! clap's refusals, in jaula's voice and with jaula's exit code.

use crate::error::CommandError;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What came of arguments that were not accepted.
#[derive(Debug)]
pub enum Refused {
    /// It is no refusal: this text was asked for.
    Help(String),
    /// They make no sense.
    Wrong(CommandError),
}

/// Says it. `called` is the verb with the program's name, `jaula run`; `takes_program`: the verb has `-- COMMAND`.
pub fn complain(called: &str, takes_program: bool, error: &clap::Error) -> Refused {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return Refused::Help(error.render().to_string());
    }
    let one = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        Some(ContextValue::StyledStr(text)) => Some(text.to_string()),
        _ => None,
    };
    let argument = one(ContextKind::InvalidArg).unwrap_or_default();
    let help = format!("{called} --help lists what it takes");
    let option = option_name(&argument);
    let wrong = match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let error = CommandError::usage(format!(
                "cannot understand {argument:?}: {called} has no such option"
            ));
            match one(ContextKind::SuggestedArg) {
                Some(meant) => error.hint(format!("did you mean {meant}?")),
                None => error.hint(help),
            }
        }
        ErrorKind::UnknownArgument if takes_program => CommandError::usage(format!(
            "cannot understand {argument:?}: {called} takes its command after --"
        ))
        .hint(format!("write {called} … -- {}", quoted(&argument))),
        ErrorKind::UnknownArgument => CommandError::usage(format!(
            "cannot understand {argument:?}: {called} takes no more operands"
        ))
        .hint(help),
        ErrorKind::InvalidValue => {
            let value = one(ContextKind::InvalidValue).unwrap_or_default();
            let valid = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(words)) => words.clone(),
                _ => Vec::new(),
            };
            let error = if value.is_empty() {
                CommandError::usage(format!("cannot use {option} without a value"))
            } else {
                CommandError::usage(format!("cannot use {value:?} for {option}"))
            };
            let error = match one(ContextKind::SuggestedValue) {
                Some(meant) => error.hint(format!("did you mean {meant}?")),
                None => error,
            };
            if valid.is_empty() {
                error.hint(help)
            } else {
                error.hint(format!("{option} takes {}", either(&valid)))
            }
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(names)) => {
                    names.iter().map(|name| operand(name)).collect::<Vec<_>>()
                }
                _ => vec![operand(&argument)],
            };
            let verb = if missing.len() > 1 { "are" } else { "is" };
            CommandError::usage(format!(
                "cannot start {called}: {} {verb} missing",
                missing.join(" and ")
            ))
            .hint(help)
        }
        ErrorKind::ArgumentConflict => {
            let prior = one(ContextKind::PriorArg).map(|prior| option_name(&prior));
            match prior {
                Some(prior) if prior != option => {
                    CommandError::usage(format!("cannot use {option} together with {prior}"))
                }
                _ => CommandError::usage(format!("cannot use {option} twice")),
            }
        }
        ErrorKind::InvalidUtf8 => {
            CommandError::usage(format!("cannot read the arguments of {called}: not UTF-8"))
        }
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            let line = line.strip_prefix("error: ").unwrap_or(line);
            CommandError::usage(format!("cannot read the arguments of {called}: {line}")).hint(help)
        }
    };
    Refused::Wrong(wrong)
}

/// `--variant <VARIANT>` is `--variant`.
fn option_name(argument: &str) -> String {
    argument
        .split(['=', ' '])
        .next()
        .unwrap_or_default()
        .trim_matches(['<', '>'])
        .to_owned()
}

/// `<REF>` is `REF`; `--output <OUT>` stays.
fn operand(argument: &str) -> String {
    argument
        .split_whitespace()
        .map(|word| word.trim_end_matches("...").trim_matches(['<', '>']))
        .collect::<Vec<_>>()
        .join(" ")
}

/// `a, b or c`.
fn either(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn quoted(word: &str) -> String {
    jaula_plan::explain::word(word)
}
